/* No line breaks the reader; what it reads is written and read again as the same entry. */
#include "fuzz.h"

#include "proto/entry_json.h"

#define NOW_MS INT64_C(1700000000000)

static bool is_same(struct deja_slice a, struct deja_slice b)
{
    return deja_slice_is_equal(a, b);
}

static void check_again(const struct dj_entry_line *line)
{
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    struct dj_entry_line again;
    struct deja_error error;
    dj_entry_json_write(&w, &line->entry, line->vector, line->dim, NOW_MS);
    FUZZ_CHECK(text.status == DEJA_OK);
    FUZZ_CHECK(dj_entry_json_read(dj_buf_slice(&text), NOW_MS, &again, &error) == DEJA_OK);
    FUZZ_CHECK(is_same(again.entry.query, line->entry.query));
    FUZZ_CHECK(is_same(again.entry.body, line->entry.body));
    FUZZ_CHECK(is_same(again.entry.metadata, line->entry.metadata));
    FUZZ_CHECK(again.entry.expires_ms == line->entry.expires_ms);
    FUZZ_CHECK(again.entry.tag_count == line->entry.tag_count);
    for (size_t i = 0; i < line->entry.tag_count; i++)
        FUZZ_CHECK(is_same(again.entry.tags[i].name, line->entry.tags[i].name));
    FUZZ_CHECK(again.dim == line->dim);
    dj_entry_line_fini(&again);
    dj_buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_entry_line line;
    struct deja_error error;
    if (dj_entry_json_read(deja_slice(data, len), NOW_MS, &line, &error) == DEJA_OK)
        check_again(&line);
    dj_entry_line_fini(&line);
    return 0;
}
