/* However a stream is cut, its events are the same. */
#include "fuzz.h"

#include "base/buf.h"
#include "proto/sse.h"

static bool on_event(void *ctx, const struct dj_sse_event *event)
{
    dj_buf_append_u64(ctx, event->name.len);
    dj_buf_append_slice(ctx, event->name);
    dj_buf_append_u64(ctx, event->data.len);
    dj_buf_append_slice(ctx, event->data);
    return true;
}

static bool run(struct deja_slice bytes, uint8_t first, struct dj_buf *log)
{
    struct dj_sse_parser parser;
    enum deja_status status = DEJA_OK;
    dj_sse_init(&parser, (size_t)1 << 20); /* no bound that could fall differently */
    while (bytes.len && status == DEJA_OK) {
        size_t len = fuzz_piece(first, bytes.len);
        status = dj_sse_feed(&parser, deja_slice(bytes.data, len), log, on_event);
        bytes = deja_slice(bytes.data + len, bytes.len - len);
    }
    FUZZ_CHECK(status == DEJA_OK);
    bool is_at_boundary = dj_sse_is_at_boundary(&parser);
    dj_sse_fini(&parser);
    return is_at_boundary;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_buf whole = {0};
    struct dj_buf pieces = {0};
    if (len < 2 || len > 65536)
        return 0;
    struct deja_slice bytes = deja_slice(data + 1, len - 1);
    bool a = run(bytes, 0, &whole);
    bool b = run(bytes, data[0], &pieces);
    FUZZ_CHECK(a == b && deja_slice_is_equal(dj_buf_slice(&whole), dj_buf_slice(&pieces)));
    dj_buf_fini(&whole);
    dj_buf_fini(&pieces);
    return 0;
}
