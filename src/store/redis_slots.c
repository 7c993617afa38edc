/* store/redis_slots.c - see redis_slots.h. Trust: untrusted. */
#include "store/redis_slots.h"

#include <string.h>

#include "base/num.h"

/* A table would be quicker; a key has some hundred bytes less than what is hashed here: the tag. */
static uint16_t crc16(struct deja_slice bytes)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= (uint32_t)(uint8_t)bytes.data[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000u) ? (crc << 1) ^ 0x1021u : crc << 1;
    }
    return (uint16_t)crc;
}

uint16_t dj_redis_slot(struct deja_slice key)
{
    const char *open = key.len ? memchr(key.data, '{', key.len) : NULL;
    if (open) {
        size_t rest = key.len - (size_t)(open + 1 - key.data);
        const char *close = rest ? memchr(open + 1, '}', rest) : NULL;
        if (close && close > open + 1)
            key = deja_slice(open + 1, (size_t)(close - open - 1));
    }
    return crc16(key) % DJ_REDIS_SLOTS;
}

static bool set_host(struct deja_slice host, const char *fallback, char *out_host)
{
    if (host.len == 0 || (host.len == 1 && host.data[0] == '?'))
        host = deja_slice_text(fallback);
    if (host.len == 0 || host.len >= DJ_REDIS_HOST_BYTES || memchr(host.data, '\0', host.len))
        return false;
    memmove(out_host, host.data, host.len);
    out_host[host.len] = '\0';
    return true;
}

bool dj_redis_address_parse(struct deja_slice text, const char *fallback,
                            struct dj_redis_address *out_address)
{
    size_t colon = text.len;
    while (colon > 0 && text.data[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return false;
    uint64_t port = 0;
    if (dj_num_parse_u64(deja_slice(text.data + colon, text.len - colon), &port) != DEJA_OK ||
        port == 0 || port > UINT16_MAX)
        return false;
    struct deja_slice host = deja_slice(text.data, colon - 1);
    if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
        host = deja_slice(host.data + 1, host.len - 2);
    struct dj_redis_address address = {.port = (uint16_t)port};
    if (!set_host(host, fallback, address.host))
        return false;
    *out_address = address;
    return true;
}

bool dj_redis_redirect_parse(const struct dj_redis_reply *reply, const char *from,
                             struct dj_redis_redirect *out_redirect)
{
    struct dj_redis_redirect redirect = {.is_asking = dj_redis_is_error(reply, "ASK")};
    if (!redirect.is_asking && !dj_redis_is_error(reply, "MOVED"))
        return false;
    const char *at = reply->text.data + (redirect.is_asking ? 3 : 5);
    const char *end = reply->text.data + reply->text.len;
    if (at >= end)
        return false;
    at++; /* the blank */
    const char *blank = memchr(at, ' ', (size_t)(end - at));
    uint64_t slot = 0;
    if (!blank || dj_num_parse_u64(deja_slice(at, (size_t)(blank - at)), &slot) != DEJA_OK ||
        slot >= DJ_REDIS_SLOTS)
        return false;
    redirect.slot = (uint16_t)slot;
    if (!dj_redis_address_parse(deja_slice(blank + 1, (size_t)(end - blank - 1)), from,
                                &redirect.address))
        return false;
    *out_redirect = redirect;
    return true;
}

bool dj_redis_slots_parse(const struct dj_redis_reply *reply, const char *from, void *ctx,
                          dj_redis_range_fn *each)
{
    if (!reply || reply->type != DJ_REDIS_ARRAY)
        return false;
    for (size_t i = 0; i < reply->count; i++) {
        const struct dj_redis_reply *range = dj_redis_at(reply, i);
        const struct dj_redis_reply *master = dj_redis_at(range, 2);
        int64_t first = 0;
        int64_t last = 0;
        int64_t port = 0;
        struct deja_slice host = deja_slice(NULL, 0);
        if (!dj_redis_integer(dj_redis_at(range, 0), &first) ||
            !dj_redis_integer(dj_redis_at(range, 1), &last) ||
            !dj_redis_integer(dj_redis_at(master, 1), &port) || first < 0 || first > last ||
            last >= (int64_t)DJ_REDIS_SLOTS || port < 1 || port > UINT16_MAX)
            return false;
        const struct dj_redis_reply *name = dj_redis_at(master, 0);
        if (name->type != DJ_REDIS_NIL && !dj_redis_text(name, &host))
            return false;
        struct dj_redis_address address = {.port = (uint16_t)port};
        if (!set_host(host, from, address.host))
            return false;
        if (!each(ctx, (uint16_t)first, (uint16_t)last, &address))
            return true;
    }
    return true;
}
