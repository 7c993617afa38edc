/* api/schedules.h - what the routes of scheduled invalidations ask of the composition, which keeps
 * them with the authority and runs them: a table of functions.
 *
 * Threads: any loop; told runs there, once, later. list does not wait.
 */
#ifndef DJ_API_SCHEDULES_H
#define DJ_API_SCHEDULES_H

#include <deja/base.h>

#include "cache/invalidation.h"
#include "loop/loop.h"
#include "proto/json.h"
#include "security/tenant.h"

#define DJ_SCHEDULE_ID_BYTES 16u
#define DJ_SCHEDULES_TENANT_MAX 100u
#define DJ_SCHEDULES_MAX 10000u /* of all tenants */

/* What is to be kept; borrowed during the call. */
struct dj_schedule_order {
    uint8_t tenant[DJ_TENANT_BYTES];
    const struct dj_invalidation *invalidation;
    struct deja_slice cron; /* empty: once */
    int64_t at_ms;          /* once: when; otherwise the first time */
    const char *by;         /* who asked: name of a key, or NULL */
};

/* status: DEJA_OK: it is kept durably; DEJA_ERR_NOT_FOUND: there is no such schedule of that
 * tenant; DEJA_ERR_IO: the authority does not answer, and nothing changed. */
typedef void dj_schedule_told_fn(void *ctx, enum deja_status status,
                                 const uint8_t id[DJ_SCHEDULE_ID_BYTES]);

struct dj_schedule_service {
    void *ctx;
    /* DEJA_ERR_LIMIT: the tenant has as many as it may; DEJA_ERR_BUSY, DEJA_ERR_NOMEM. */
    enum deja_status (*add)(void *ctx, struct dj_loop *loop, const struct dj_schedule_order *order,
                            void *told_ctx, dj_schedule_told_fn *told);
    enum deja_status (*remove)(void *ctx, struct dj_loop *loop,
                               const uint8_t tenant[DJ_TENANT_BYTES],
                               const uint8_t id[DJ_SCHEDULE_ID_BYTES], void *told_ctx,
                               dj_schedule_told_fn *told);
    /* Items of an array, soonest first; id NULL: all of the tenant. How many. */
    size_t (*list)(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES], const uint8_t *id,
                   struct dj_json_writer *w);
};

#endif
