/* What parses is written again as the same value, and its canonical form is its own. */
#include "fuzz.h"

#include "base/buf.h"
#include "proto/json.h"

static void canonical_of(struct deja_slice text, struct dj_buf *out)
{
    struct dj_json_doc *doc = NULL;
    struct deja_error error;
    FUZZ_CHECK(dj_json_parse(text, &doc, &error) == DEJA_OK);
    dj_json_canonical(out, dj_json_root(doc), NULL, NULL, NULL, NULL);
    FUZZ_CHECK(out->status == DEJA_OK);
    dj_json_doc_destroy(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_json_doc *doc = NULL;
    if (dj_json_parse(deja_slice(data, len), &doc, NULL) != DEJA_OK)
        return 0;
    struct dj_buf written = {0};
    struct dj_buf once = {0};
    struct dj_buf twice = {0};
    struct dj_buf thrice = {0};
    struct dj_json_writer writer = dj_json_writer(&written);
    dj_json_put_value(&writer, dj_json_root(doc));
    canonical_of(deja_slice(data, len), &once);
    canonical_of(dj_buf_slice(&written), &twice);
    canonical_of(dj_buf_slice(&once), &thrice);
    FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&once), dj_buf_slice(&twice)));
    FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&once), dj_buf_slice(&thrice)));
    dj_json_doc_destroy(doc);
    dj_buf_fini(&written);
    dj_buf_fini(&once);
    dj_buf_fini(&twice);
    dj_buf_fini(&thrice);
    return 0;
}
