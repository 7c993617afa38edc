/* What was read, written again and read again is the same; so is what a copy of the bytes says. */
#include "fuzz.h"

#include "base/buf.h"
#include "proto/xml.h"

enum { TEXT_BYTES_MAX = 65536 };

static bool on_event(void *ctx, enum dj_xml_event event, uint32_t depth, struct deja_slice name,
                     struct deja_slice text)
{
    struct dj_buf *out = ctx;
    FUZZ_CHECK(depth >= 1 && depth <= DJ_XML_DEPTH_MAX);
    if (event == DJ_XML_BEGIN) {
        dj_buf_append_byte(out, '<');
        dj_buf_append_slice(out, name);
        dj_buf_append_byte(out, '>');
        return true;
    }
    FUZZ_CHECK(text.len <= TEXT_BYTES_MAX);
    dj_xml_append(out, text);
    dj_buf_append_text(out, "</");
    dj_buf_append_slice(out, name);
    dj_buf_append_byte(out, '>');
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_buf scratch = {0};
    struct dj_buf once = {0};
    struct dj_buf twice = {0};
    if (len < 2 || len > 65536)
        return 0;
    struct deja_slice document = deja_slice(data + 1, len - 1);
    enum deja_status status = dj_xml_read(document, TEXT_BYTES_MAX, &scratch, &once, on_event);
    struct deja_slice written = dj_buf_slice(&once);
    if (status == DEJA_OK) {
        status = dj_xml_read(written, TEXT_BYTES_MAX, &scratch, &twice, on_event);
        FUZZ_CHECK(status == DEJA_OK);
        FUZZ_CHECK(deja_slice_is_equal(written, dj_buf_slice(&twice)));
    }
    dj_buf_fini(&scratch);
    dj_buf_fini(&once);
    dj_buf_fini(&twice);
    return 0;
}
