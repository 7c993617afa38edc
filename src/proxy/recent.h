/* proxy/recent.h - the last requests that were answered, for those who watch (GET /api/v1/tail).
 *
 * A ring of DJ_RECENT_SLOTS fixed records of plain data: no text of a request, no name that a
 * stranger chose. Numbers count up from 0 over all tenants, in the order in which requests ended;
 * they are not for clients (they tell how busy others are). Whoever reads names a tenant and gets
 * that tenant's alone.
 * Threads: any for all functions but create and destroy; writers never wait, nor do readers.
 */
#ifndef DJ_PROXY_RECENT_H
#define DJ_PROXY_RECENT_H

#include <deja/base.h>

#include "proxy/telemetry.h"

#define DJ_RECENT_SLOTS 4096u /* power of two */

struct dj_recent;

struct dj_recent_request {
    const char *api;    /* "chat", "messages", "embeddings", "api", "passthrough", ... "other" */
    const char *result; /* as in the metrics: "hit_exact", "miss", ... */
    const char *level;  /* "none", "memory", "lmdb", ... */
    double similarity;  /* NaN: none was measured */
    int64_t time_ms;    /* when it ended, since 1970 */
    uint64_t duration_us;
    uint8_t id[DJ_ID_BYTES]; /* of the entry that was served */
    bool has_id;
};

enum deja_status dj_recent_create(struct dj_recent **out_recent) DEJA_NODISCARD;
void dj_recent_destroy(struct dj_recent *recent); /* accepts NULL */

/* Takes its place at the head of the ring. Allocates nothing, waits for nobody. */
void dj_recent_put(struct dj_recent *recent, const struct dj_finished *finished);

/* The number of the next request. */
uint64_t dj_recent_next(const struct dj_recent *recent);
/* Where the last `count` requests of the tenant begin, or as many as are still there. */
uint64_t dj_recent_last(const struct dj_recent *recent, const uint8_t tenant[DJ_ID_BYTES],
                        uint32_t count);
/* The tenant's requests from number *from on, oldest first, up to max (>= 1) of them; returns how
 * many, and moves *from behind the last record that was looked at. What was overwritten before it
 * was read is added to *lost, whosever it was. */
uint32_t dj_recent_read(const struct dj_recent *recent, const uint8_t tenant[DJ_ID_BYTES],
                        uint64_t *from, uint64_t *lost, struct dj_recent_request *out_requests,
                        uint32_t max);

#endif
