/* api/handlers.h - the handlers behind the routes; each ends its request exactly once.
 *
 * Threads: the exchange's loop.
 */
#ifndef DJ_API_HANDLERS_H
#define DJ_API_HANDLERS_H

#include "api/request.h"

/* entries.c */
void dj_entries_put(struct dj_request *request);    /* PUT /api/v1/entries */
void dj_entries_get(struct dj_request *request);    /* GET /api/v1/entries/{id} */
void dj_entries_remove(struct dj_request *request); /* DELETE /api/v1/entries/{id} */
/* kv.c, kv_keys.c, kv_batch.c, kv_lock.c: below /api/v1/kv */
void dj_kv_get(struct dj_request *request);
void dj_kv_put(struct dj_request *request);
void dj_kv_patch(struct dj_request *request);
void dj_kv_remove(struct dj_request *request);
void dj_kv_list(struct dj_request *request);
void dj_kv_clear(struct dj_request *request);
void dj_kv_stats(struct dj_request *request);
void dj_kv_batch(struct dj_request *request);
void dj_kv_lock(struct dj_request *request);
void dj_kv_unlock(struct dj_request *request);
/* find.c */
void dj_find(struct dj_request *request); /* POST /api/v1/lookup */
/* invalidate.c */
void dj_invalidate(struct dj_request *request);       /* POST /api/v1/invalidate */
void dj_invalidate_query(struct dj_request *request); /* DELETE /api/v1/entries?query= */
/* schedule.c */
void dj_schedules_list(struct dj_request *request);   /* GET /api/v1/schedules */
void dj_schedules_get(struct dj_request *request);    /* GET /api/v1/schedules/{id} */
void dj_schedules_remove(struct dj_request *request); /* DELETE /api/v1/schedules/{id} */
/* notices.c */
void dj_follow_invalidations(struct dj_request *request); /* GET /api/v1/invalidations */
/* access.c */
void dj_top(struct dj_request *request);      /* GET /api/v1/top */
void dj_feedback(struct dj_request *request); /* POST /api/v1/feedback */
/* tail.c */
void dj_tail(struct dj_request *request); /* GET /api/v1/tail */
/* upkeep.c */
void dj_evict(struct dj_request *request);      /* POST /api/v1/evict */
void dj_index_get(struct dj_request *request);  /* GET /api/v1/index */
void dj_index_post(struct dj_request *request); /* POST /api/v1/index */
/* GET /api/v1/top with an order of its own; k checked. */
void dj_idle(struct dj_request *request, bool is_by_score, uint32_t k);
/* explain.c */
void dj_explain(struct dj_request *request); /* GET and POST /api/v1/explain */
/* erase.c */
void dj_erase(struct dj_request *request);     /* POST /api/v1/erase */
void dj_erase_get(struct dj_request *request); /* GET /api/v1/erase/{id} */
/* audit.c */
void dj_audit_get(struct dj_request *request); /* GET /api/v1/audit */
/* stats.c */
void dj_stats(struct dj_request *request); /* GET /api/v1/stats */
/* kinds.c */
void dj_kinds_list(struct dj_request *request);     /* GET /api/v1/kinds */
void dj_kinds_make_key(struct dj_request *request); /* POST /api/v1/kv:key */
/* patterns.c */
void dj_patterns(struct dj_request *request); /* GET /api/v1/patterns */
/* limits.c */
void dj_limits(struct dj_request *request); /* GET /api/v1/limits */
/* gptcache.c: below /gptcache */
void dj_gptcache_hello(struct dj_request *request);
void dj_gptcache_put(struct dj_request *request);
void dj_gptcache_get(struct dj_request *request);
void dj_gptcache_flush(struct dj_request *request);
/* litellm.c: below /cache */
void dj_bifrost_clear(struct dj_request *request);
void dj_bifrost_clear_key(struct dj_request *request);
void dj_litellm_ping(struct dj_request *request);
void dj_litellm_delete(struct dj_request *request);
void dj_litellm_flush(struct dj_request *request);
void dj_litellm_redis_info(struct dj_request *request);
/* keys.c: below /api/v1/keys and /api/v1/upstream-credentials */
void dj_keys_api_list(struct dj_request *request);
void dj_keys_api_make(struct dj_request *request);
void dj_keys_api_get(struct dj_request *request);
void dj_keys_api_rotate(struct dj_request *request);
void dj_keys_api_revoke(struct dj_request *request);
void dj_keys_api_hold(struct dj_request *request);
void dj_keys_api_held(struct dj_request *request);
void dj_keys_api_drop(struct dj_request *request);
/* ops.c */
void dj_ops_metrics(struct dj_request *request);
void dj_ops_livez(struct dj_request *request);
void dj_ops_readyz(struct dj_request *request);
void dj_ops_healthz(struct dj_request *request);
void dj_ops_startupz(struct dj_request *request);
void dj_ops_reload(struct dj_request *request);  /* POST /admin/reload */
void dj_ops_openapi(struct dj_request *request); /* GET /openapi.json */
/* tenants.c: below /api/v1/tenants, for administrators */
void dj_tenants_list(struct dj_request *request);
void dj_tenants_create_one(struct dj_request *request);
void dj_tenants_get(struct dj_request *request);
void dj_tenants_replace(struct dj_request *request);
void dj_tenants_patch(struct dj_request *request);
void dj_tenants_remove(struct dj_request *request);
void dj_tenants_suspend(struct dj_request *request);
void dj_tenants_resume(struct dj_request *request);
void dj_tenants_link(struct dj_request *request);
void dj_tenants_unlink(struct dj_request *request);
void dj_tenants_reload(struct dj_request *request);
/* export.c */
void dj_export(struct dj_request *request); /* GET /api/v1/export */
void dj_import(struct dj_request *request); /* POST /api/v1/import */
/* transfers.c */
void dj_transfers_backup(struct dj_request *request);  /* POST /api/v1/backup */
void dj_transfers_restore(struct dj_request *request); /* POST /api/v1/restore */
void dj_transfers_verify(struct dj_request *request);  /* POST /api/v1/verify */
void dj_transfers_migrate(struct dj_request *request); /* POST /api/v1/migrate */
void dj_transfers_list(struct dj_request *request);    /* GET /api/v1/transfers */
void dj_transfers_get(struct dj_request *request);     /* GET /api/v1/transfers/{id} */
void dj_transfers_cancel(struct dj_request *request);  /* DELETE /api/v1/transfers/{id} */
/* encryption.c */
void dj_encryption_get(struct dj_request *request);        /* GET /api/v1/encryption */
void dj_encryption_rotate_now(struct dj_request *request); /* POST /api/v1/encryption/rotate */
/* health.c */
void dj_ops_health(struct dj_request *request);
void dj_ops_health_detailed(struct dj_request *request);

#endif
