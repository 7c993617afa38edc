/* However answers are cut, the same ones come out, with the same bodies, up to the same end. */
#include "fuzz.h"

#include "base/buf.h"
#include "proto/http_reply.h"

static const struct dj_http_reply_limits limits = {.head_bytes_max = 16384, .body_bytes_max = 4096};

static bool on_body(void *ctx, struct deja_slice bytes)
{
    FUZZ_CHECK(bytes.len > 0);
    dj_buf_append_slice(ctx, bytes);
    return true;
}

static void run(struct deja_slice bytes, uint8_t first, struct dj_buf *log)
{
    struct dj_http_reply *reply = NULL;
    enum dj_http_step step = DJ_HTTP_STEP_MORE;
    FUZZ_CHECK(dj_http_reply_create(&limits, &reply) == DEJA_OK);
    while (bytes.len && step != DJ_HTTP_STEP_FAILED) {
        size_t len = fuzz_piece(first, bytes.len);
        size_t taken = 0;
        step = dj_http_reply_feed(reply, deja_slice(bytes.data, len), &taken, log, on_body);
        FUZZ_CHECK(taken <= len && (step != DJ_HTTP_STEP_MORE || taken == len));
        bytes = deja_slice(bytes.data + taken, bytes.len - taken);
        if (step == DJ_HTTP_STEP_DONE) {
            dj_buf_append_slice(log, dj_http_reply_find(reply, "x-a"));
            dj_buf_append_format(log, "%d%d", dj_http_reply_status(reply),
                                 dj_http_reply_is_keep_alive(reply));
            dj_http_reply_next(reply);
        }
    }
    if (step == DJ_HTTP_STEP_FAILED)
        dj_buf_append_text(log, *dj_http_reply_detail(reply) ? "failed" : "");
    dj_http_reply_destroy(reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_buf whole = {0};
    struct dj_buf pieces = {0};
    if (len < 2 || len > 8192)
        return 0;
    run(deja_slice(data + 1, len - 1), 0, &whole);
    run(deja_slice(data + 1, len - 1), data[0], &pieces);
    FUZZ_CHECK(whole.status == DEJA_OK);
    FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&whole), dj_buf_slice(&pieces)));
    dj_buf_fini(&whole);
    dj_buf_fini(&pieces);
    return 0;
}
