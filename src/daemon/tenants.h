/* daemon/tenants.h - keeps proven tenants in the meta environment, in the order they changed.
 *
 * The registry tells of a change under its lock; here it is queued and written by one job at a
 * time, so the last word on disk is the last word said. Threads: any.
 */
#ifndef DJ_DAEMON_TENANTS_H
#define DJ_DAEMON_TENANTS_H

#include <deja/base.h>

#include "cache/engine.h"
#include "loop/pool.h"
#include "security/registry.h"
#include "store/lmdb.h"

struct dj_telemetry;
struct dj_tenants;

/* meta NULL: nothing is kept. engine, pool and meta are borrowed until dj_tenants_destroy.
 * *out_registry: the caller's, filled with what was kept. */
enum deja_status dj_tenants_create(struct dj_engine *engine, struct dj_lmdb_meta *meta,
                                   struct dj_pool *pool, size_t tenants_max,
                                   struct dj_tenants **out_tenants,
                                   struct dj_registry **out_registry) DEJA_NODISCARD;
/* What cannot be kept is counted there; before other threads know the registry. */
void dj_tenants_set_telemetry(struct dj_tenants *tenants, struct dj_telemetry *telemetry);
/* After the pool has been destroyed: all is written. Accepts NULL. */
void dj_tenants_destroy(struct dj_tenants *tenants);

#endif
