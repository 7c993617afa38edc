/* store/redis_keys.h - every key of a Valkey or Redis that somebody else filled, with its text and
 * its end: for bringing it over. Blocking: tools. Trust: the server is not trusted.
 */
#ifndef DJ_STORE_REDIS_KEYS_H
#define DJ_STORE_REDIS_KEYS_H

#include "store/redis.h"

/* Borrowed until return. */
struct dj_redis_pair {
    struct deja_slice key;
    struct deja_slice value;
    int64_t ttl_ms; /* -1: never ends */
};
typedef void dj_redis_pair_fn(void *ctx, const struct dj_redis_pair *pair);

struct dj_redis_keys {
    uint64_t cursor; /* 0: the beginning; kept for the next piece */
    bool is_last;
    uint64_t skipped; /* so far: not strings, or gone meanwhile */
};
/* The next piece: some of the keys that match (NULL: all), on a connection of its own; a key may
 * come twice. DEJA_ERR_IO, _TIMEOUT, _DENIED, _UNSUPPORTED (a cluster), _NOMEM; error says what. */
enum deja_status dj_redis_read_keys(const struct dj_redis_options *options, uint32_t timeout_ms,
                                    const char *match, struct dj_redis_keys *keys, void *ctx,
                                    dj_redis_pair_fn *each,
                                    struct deja_error *error) DEJA_NODISCARD;

#endif
