/* No reply of a server breaks what reads it, however it is cut, and none grows past its bounds. */
#include "fuzz.h"

#include <hiredis/hiredis.h>

#include "store/redis_slots.h"

#define REPLY_MAX 4096u

static bool on_range(void *ctx, uint16_t first, uint16_t last,
                     const struct dj_redis_address *master)
{
    (void)ctx;
    FUZZ_CHECK(first <= last && last < DJ_REDIS_SLOTS);
    FUZZ_CHECK(master->port != 0 && master->host[0] != '\0');
    return true;
}

static void look(const struct dj_redis_reply *reply)
{
    struct dj_redis_redirect redirect;
    struct deja_slice text;
    int64_t number = 0;
    (void)dj_redis_slots_parse(reply, "from", NULL, on_range);
    if (dj_redis_redirect_parse(reply, "from", &redirect))
        FUZZ_CHECK(redirect.slot < DJ_REDIS_SLOTS && redirect.address.port != 0);
    if (dj_redis_text(reply, &text) && text.len > 0)
        FUZZ_CHECK(text.data != NULL);
    (void)dj_redis_integer(reply, &number);
    FUZZ_CHECK((dj_redis_status_of(reply) == DEJA_OK) == (reply->type != DJ_REDIS_ERROR));
    for (size_t i = 0; i < reply->count; i++)
        look(&reply->elements[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    redisContext wire = {.err = 0};
    struct dj_redis_reader reader;
    if (len == 0)
        return 0;
    wire.reader = redisReaderCreateWithFunctions(NULL);
    FUZZ_CHECK(wire.reader);
    dj_redis_reader_attach(&reader, &wire, REPLY_MAX);
    enum deja_status status = DEJA_OK;
    for (size_t at = 1; at < len && status == DEJA_OK;) {
        size_t piece = fuzz_piece(data[0], len - at);
        status = dj_redis_reader_feed(&reader, deja_slice(data + at, piece));
        at += piece;
        const struct dj_redis_reply *reply = NULL;
        do {
            reply = NULL;
            if (status == DEJA_OK)
                status = dj_redis_reader_next(&reader, &reply);
            if (status == DEJA_OK && reply)
                look(reply);
            FUZZ_CHECK(reader.arena.used_bytes <= reader.arena.bytes_max);
        } while (status == DEJA_OK && reply);
    }
    redisReaderFree(wire.reader);
    dj_redis_reader_fini(&reader);
    return 0;
}
