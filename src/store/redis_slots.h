/* store/redis_slots.h - where a cluster keeps a key, and what its servers say about that.
 *
 * Trust: untrusted (replies of a server). Threads: none of its own.
 */
#ifndef DJ_STORE_REDIS_SLOTS_H
#define DJ_STORE_REDIS_SLOTS_H

#include "store/redis.h"
#include "store/redis_reply.h"

#define DJ_REDIS_SLOTS 16384u

/* CRC16 (XMODEM) of the key, or of what stands between its first { and the next }, mod 16,384. */
uint16_t dj_redis_slot(struct deja_slice key);

/* "host:port", "[v6]:port" or "v6:port" (the last colon counts). An empty host: `fallback`'s
 * (servers that do not know their own name say so). false: not an address. */
bool dj_redis_address_parse(struct deja_slice text, const char *fallback,
                            struct dj_redis_address *out_address);

struct dj_redis_redirect {
    bool is_asking; /* for this one command only */
    uint16_t slot;
    struct dj_redis_address address;
};
/* An error "MOVED 3999 host:port" or "ASK 3999 host:port", told by the server at `from`. */
bool dj_redis_redirect_parse(const struct dj_redis_reply *reply, const char *from,
                             struct dj_redis_redirect *out_redirect);

/* The master of slots first … last, as CLUSTER SLOTS has it. Return false to stop. */
typedef bool dj_redis_range_fn(void *ctx, uint16_t first, uint16_t last,
                               const struct dj_redis_address *master);
/* Gives each range to `each`. false: the reply is not of that form; some may have been given. */
bool dj_redis_slots_parse(const struct dj_redis_reply *reply, const char *from, void *ctx,
                          dj_redis_range_fn *each);

#endif
