/* However requests are cut, the same ones come out, with the same bodies, up to the same end. */
#include "fuzz.h"

#include "base/buf.h"
#include "proto/http.h"
#include "proto/http_text.h"

static const struct dj_http_parser_limits limits = {
    .head_bytes_max = 65536, .fields_max = 20, .body_bytes_max = 4096};

static bool on_body(void *ctx, struct deja_slice bytes)
{
    FUZZ_CHECK(bytes.len > 0);
    dj_buf_append_slice(ctx, bytes);
    return true;
}

static void log_head(struct dj_buf *log, const struct dj_http_head *head)
{
    dj_buf_append_slice(log, head->method);
    dj_buf_append_slice(log, head->target);
    for (size_t i = 0; i < head->field_count; i++) {
        FUZZ_CHECK(dj_http_is_token(head->fields[i].name));
        FUZZ_CHECK(dj_http_is_value(head->fields[i].value));
        dj_buf_append_slice(log, head->fields[i].name);
        dj_buf_append_slice(log, head->fields[i].value);
    }
    FUZZ_CHECK(!head->is_chunked || !head->content_length);
    FUZZ_CHECK(!head->minor_version || dj_http_is_host(head->host));
    dj_buf_append_format(log, "%d%d%d%llu", head->is_keep_alive, head->expects_continue,
                         head->is_chunked, (unsigned long long)head->content_length);
}

/* Appends all that was understood, and whether it failed; not how, as a request with two faults may
 * show either first. */
static void run(struct deja_slice bytes, uint8_t first, struct dj_buf *log)
{
    struct dj_http_parser *parser = NULL;
    enum dj_http_step step = DJ_HTTP_STEP_MORE;
    FUZZ_CHECK(dj_http_parser_create(&limits, &parser) == DEJA_OK);
    while (bytes.len && step != DJ_HTTP_STEP_FAILED) {
        size_t len = fuzz_piece(first, bytes.len);
        size_t taken = 0;
        step = dj_http_parser_feed(parser, deja_slice(bytes.data, len), &taken, log, on_body);
        FUZZ_CHECK(taken <= len && (step != DJ_HTTP_STEP_MORE || taken == len));
        bytes = deja_slice(bytes.data + taken, bytes.len - taken);
        if (step == DJ_HTTP_STEP_DONE) {
            log_head(log, dj_http_parser_head(parser));
            dj_http_parser_next(parser);
        }
    }
    if (step == DJ_HTTP_STEP_FAILED)
        dj_buf_append_text(log, dj_http_parser_status(parser) >= 400 ? "failed" : "");
    dj_http_parser_destroy(parser);
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
