/* However commands are cut, they are the same, and their error too; written again as an array they
 * parse to themselves; nothing beyond a limit comes through. */
#include "fuzz.h"

#include "base/buf.h"
#include "proto/resp.h"

static const struct dj_resp_limits limits = {
    .args_max = 40, .inline_bytes_max = 300, .bulk_bytes_max = 1000, .command_bytes_max = 3000};

static void check_again(const struct dj_resp_parser *parser)
{
    struct dj_resp_parser again = {.cap = 0};
    struct dj_buf text = {0};
    size_t used = 0;
    dj_resp_put_array(&text, parser->count);
    for (size_t i = 0; i < parser->count; i++)
        dj_resp_put_bulk(&text, parser->args[i]);
    FUZZ_CHECK(dj_resp_parse(&again, &limits, dj_buf_slice(&text), &used) == DJ_RESP_COMMAND);
    FUZZ_CHECK(used == text.len && again.count == parser->count);
    for (size_t i = 0; i < parser->count; i++)
        FUZZ_CHECK(deja_slice_is_equal(again.args[i], parser->args[i]));
    dj_resp_parser_fini(&again);
    dj_buf_fini(&text);
}

static void note(const struct dj_resp_parser *parser, struct dj_buf *log)
{
    FUZZ_CHECK(parser->count <= limits.args_max);
    dj_buf_append_byte(log, '*');
    for (size_t i = 0; i < parser->count; i++) {
        FUZZ_CHECK(parser->args[i].len <= limits.bulk_bytes_max);
        dj_buf_append_u64(log, parser->args[i].len);
        dj_buf_append_byte(log, ' ');
        dj_buf_append_slice(log, parser->args[i]);
    }
    if (parser->count > 0)
        check_again(parser);
}

static void run(struct deja_slice bytes, uint8_t first, struct dj_buf *log)
{
    struct dj_resp_parser parser = {.cap = 0};
    struct dj_buf input = {0};
    enum dj_resp_step step = DJ_RESP_MORE;
    while (bytes.len > 0 && step != DJ_RESP_BAD) {
        size_t used = 0;
        size_t len = fuzz_piece(first, bytes.len);
        dj_buf_append(&input, bytes.data, len);
        bytes = deja_slice(bytes.data + len, bytes.len - len);
        do {
            step = dj_resp_parse(&parser, &limits, dj_buf_slice(&input), &used);
            FUZZ_CHECK(step != DJ_RESP_NOMEM);
            if (step == DJ_RESP_BAD)
                dj_buf_append_text(log, parser.error);
            if (step != DJ_RESP_COMMAND && step != DJ_RESP_HTTP)
                break;
            FUZZ_CHECK(used > 0 && used <= input.len);
            if (step == DJ_RESP_HTTP)
                dj_buf_append_text(log, "http");
            note(&parser, log);
            dj_buf_consume(&input, used);
            dj_resp_parser_trim(&parser);
        } while (input.len > 0);
        if (step == DJ_RESP_MORE)
            FUZZ_CHECK(input.len <= limits.command_bytes_max + 64);
    }
    dj_resp_parser_fini(&parser);
    dj_buf_fini(&input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_buf whole = {0};
    struct dj_buf pieces = {0};
    if (len < 2 || len > 65536)
        return 0;
    struct deja_slice bytes = deja_slice(data + 1, len - 1);
    run(bytes, 0, &whole);
    run(bytes, data[0], &pieces);
    FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&whole), dj_buf_slice(&pieces)));
    dj_buf_fini(&whole);
    dj_buf_fini(&pieces);
    return 0;
}
