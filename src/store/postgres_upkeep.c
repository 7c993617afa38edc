/* store/postgres_upkeep.c - the second thread: what takes long and nobody waits for.
 *
 *   wait upkeep_ms -> connect -> one program holds the lock: sweep, indexes, history
 *                             -> each counts for itself -> disconnect
 *
 * What fails is tried again in the next round; a server that is down costs an attempt a round.
 */
#include <time.h>

#include "base/map.h"
#include "store/postgres_internal.h"

#define SWEEP_ROUNDS_MAX 1000u
#define TENANTS_MAX 100000u
#define PAUSE_BY_ROUND 20u
#define PAUSE_MS_MAX 3600000u
#define HISTORY_DAYS "30"

struct counts {
    uint64_t entries, bytes;
};

struct dj_pg_upkeep {
    struct dj_pg_store *pg;
    struct dj_postgres_options options; /* those of the store */
    pthread_t thread;
    bool has_thread;
    atomic_bool is_stopping;
    pthread_mutex_t mutex;
    pthread_cond_t wakeup;
    struct counts total;    /* under mutex */
    struct dj_map *tenants; /* tenant -> struct counts, under mutex; NULL: nothing counted yet */
};

/* ---- counting ---- */

static void destroy_counts(struct dj_map *tenants)
{
    size_t cursor = 0;
    struct deja_slice key;
    void *value;
    while (tenants && dj_map_next(tenants, &cursor, &key, &value))
        dj_free(value);
    dj_map_destroy(tenants);
}

struct counting {
    struct dj_map *tenants;
    struct counts total;
    enum deja_status status;
};

static bool on_tenant(void *ctx, const struct dj_postgres_tenant *row)
{
    struct counting *counting = ctx;
    struct counts *counts = dj_alloc(sizeof *counts);
    void *old = NULL;
    counting->status = counts ? DEJA_OK : DEJA_ERR_NOMEM;
    if (!counts)
        return false;
    *counts = (struct counts){row->entries, row->bytes};
    counting->total.entries += row->entries;
    counting->total.bytes += row->bytes;
    counting->status =
        dj_map_put(counting->tenants, deja_slice(row->tenant, sizeof row->tenant), counts, &old);
    dj_free(counting->status == DEJA_OK ? old : counts);
    return counting->status == DEJA_OK;
}

static enum deja_status count_all(struct dj_pg_upkeep *upkeep, struct dj_postgres *postgres,
                                  struct deja_error *error)
{
    struct counting counting = {.status = DEJA_OK};
    enum deja_status status = dj_map_create(TENANTS_MAX + 1, NULL, NULL, &counting.tenants);
    if (status == DEJA_OK)
        status = dj_postgres_tenants(postgres, TENANTS_MAX, &counting, on_tenant, error);
    if (status == DEJA_OK)
        status = counting.status;
    if (status == DEJA_OK) {
        struct dj_map *old;
        pthread_mutex_lock(&upkeep->mutex);
        old = upkeep->tenants;
        upkeep->tenants = counting.tenants;
        upkeep->total = counting.total;
        pthread_mutex_unlock(&upkeep->mutex);
        counting.tenants = old;
    }
    destroy_counts(counting.tenants);
    return status;
}

void dj_pg_upkeep_stats(struct dj_pg_store *pg, const uint8_t *tenant,
                        struct dj_store_stats *out_stats)
{
    struct dj_pg_upkeep *upkeep = pg->upkeep;
    struct counts counts = {0, 0};
    pthread_mutex_lock(&upkeep->mutex);
    const struct counts *found = &upkeep->total;
    if (tenant)
        found =
            upkeep->tenants ? dj_map_find(upkeep->tenants, deja_slice(tenant, DJ_ID_BYTES)) : NULL;
    if (found)
        counts = *found;
    pthread_mutex_unlock(&upkeep->mutex);
    out_stats->entries = counts.entries;
    out_stats->bytes = counts.bytes;
}

/* ---- a round ---- */

/* Deletes in pieces; *out_count: how many rows went. */
static enum deja_status sweep(struct dj_postgres *postgres, const char *sql, uint64_t *out_count,
                              struct deja_error *error)
{
    for (uint32_t i = 0; i < SWEEP_ROUNDS_MAX; i++) {
        struct dj_pg_params params = {.count = 0};
        PGresult *result = NULL;
        uint64_t count = 0;
        dj_pg_param_time(&params, dj_clock_now_ms());
        enum deja_status status = dj_pg_query(postgres, sql, &params, &result, error);
        if (status != DEJA_OK)
            return status;
        bool has_count =
            PQntuples(result) == 1 && dj_pg_read_u64(dj_pg_field(result, 0, 0), &count);
        PQclear(result);
        *out_count += count;
        if (!has_count || count == 0)
            break;
    }
    return DEJA_OK;
}

static enum deja_status tidy(struct dj_pg_upkeep *upkeep, struct dj_postgres *postgres,
                             struct deja_error *error)
{
    static const char expired_sql[] =
        "WITH gone AS (DELETE FROM cache_metadata WHERE id = ANY (ARRAY(SELECT id FROM"
        " cache_metadata WHERE gone_at <= $1::timestamptz LIMIT 1000)) RETURNING 1)"
        " SELECT count(*) FROM gone";
    static const char tombstones_sql[] =
        "WITH gone AS (DELETE FROM tombstones WHERE (tenant, key) IN (SELECT tenant, key FROM"
        " tombstones WHERE expires_at <= $1::timestamptz LIMIT 1000) RETURNING 1)"
        " SELECT count(*) FROM gone";
    static const char history_sql[] =
        "WITH gone AS (DELETE FROM answer_history WHERE (tenant, key, version) IN (SELECT tenant,"
        " key, version FROM answer_history WHERE replaced_at <= $1::timestamptz - interval"
        " '" HISTORY_DAYS " days' LIMIT 1000) RETURNING 1) SELECT count(*) FROM gone";
    static const char leases_sql[] =
        "WITH gone AS (DELETE FROM leases WHERE (tenant, key) IN (SELECT tenant, key FROM leases"
        " WHERE expires_at <= $1::timestamptz - interval '1 hour' LIMIT 1000) RETURNING 1)"
        " SELECT count(*) FROM gone";
    uint64_t expired = 0;
    uint64_t ignored = 0;
    enum deja_status status = sweep(postgres, expired_sql, &expired, error);
    atomic_fetch_add(&upkeep->pg->expired, expired);
    if (status == DEJA_OK)
        status = sweep(postgres, tombstones_sql, &ignored, error);
    if (status == DEJA_OK)
        status = sweep(postgres, history_sql, &ignored, error);
    if (status == DEJA_OK)
        status = sweep(postgres, leases_sql, &ignored, error);
    if (status == DEJA_OK)
        status = dj_pg_make_indexes(postgres, upkeep->options.exact_rows_max, error);
    return status;
}

static enum deja_status go_round(struct dj_pg_upkeep *upkeep, struct deja_error *error)
{
    struct dj_postgres *postgres = NULL;
    struct dj_postgres_state state;
    bool is_held = false;
    enum deja_status status =
        dj_pg_connect(&upkeep->options, &upkeep->is_stopping, &postgres, error);
    if (status == DEJA_OK)
        status = dj_postgres_look(postgres, &state, error);
    if (status == DEJA_OK)
        status = dj_pg_check_schema(state.schema, state.schema_version, error);
    if (status == DEJA_OK)
        status = dj_pg_try_lock(postgres, &is_held, error);
    if (status == DEJA_OK && is_held) {
        status = tidy(upkeep, postgres, error);
        dj_pg_unlock(postgres);
    }
    if (status == DEJA_OK)
        status = count_all(upkeep, postgres, error);
    dj_postgres_disconnect(postgres);
    return status;
}

/* Counting many millions takes a while: it has the server for a small part of the time only. */
static uint32_t pause_after(const struct dj_pg_upkeep *upkeep, uint64_t round_us)
{
    uint64_t pause_ms = round_us / 1000 * PAUSE_BY_ROUND;
    if (pause_ms < upkeep->options.upkeep_ms)
        pause_ms = upkeep->options.upkeep_ms;
    return pause_ms < PAUSE_MS_MAX ? (uint32_t)pause_ms : PAUSE_MS_MAX;
}

static void *run(void *ctx)
{
    struct dj_pg_upkeep *upkeep = ctx;
    uint32_t wait_ms = 1000; /* the first round soon: nothing has been counted yet */
    pthread_mutex_lock(&upkeep->mutex);
    while (!atomic_load(&upkeep->is_stopping)) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += wait_ms / 1000;
        until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        int code = 0;
        while (code == 0 && !atomic_load(&upkeep->is_stopping))
            code = pthread_cond_timedwait(&upkeep->wakeup, &upkeep->mutex, &until);
        if (atomic_load(&upkeep->is_stopping))
            break;
        pthread_mutex_unlock(&upkeep->mutex);
        uint64_t began_us = dj_clock_monotonic_us();
        struct deja_error error = {{0}};
        enum deja_status status = go_round(upkeep, &error);
        if (status == DEJA_OK && atomic_load(&upkeep->pg->link_count) > 0)
            dj_pg_set_trouble(upkeep->pg, NULL);
        if (status != DEJA_OK && !atomic_load(&upkeep->is_stopping))
            dj_pg_set_trouble(upkeep->pg, &error);
        pthread_mutex_lock(&upkeep->mutex);
        wait_ms = pause_after(upkeep, dj_clock_monotonic_us() - began_us);
    }
    pthread_mutex_unlock(&upkeep->mutex);
    return NULL;
}

/* ---- life ---- */

enum deja_status dj_pg_upkeep_start(struct dj_pg_store *pg)
{
    struct dj_pg_upkeep *upkeep = dj_alloc_zeroed(1, sizeof *upkeep);
    pthread_condattr_t attributes;
    if (!upkeep)
        return DEJA_ERR_NOMEM;
    upkeep->pg = pg;
    upkeep->options = pg->options;
    pthread_mutex_init(&upkeep->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&upkeep->wakeup, &attributes);
    pthread_condattr_destroy(&attributes);
    pg->upkeep = upkeep;
    upkeep->has_thread = pthread_create(&upkeep->thread, NULL, run, upkeep) == 0;
    return upkeep->has_thread ? DEJA_OK : DEJA_ERR_IO;
}

void dj_pg_upkeep_stop(struct dj_pg_store *pg)
{
    struct dj_pg_upkeep *upkeep = pg->upkeep;
    if (!upkeep)
        return;
    pthread_mutex_lock(&upkeep->mutex);
    atomic_store(&upkeep->is_stopping, true);
    pthread_cond_signal(&upkeep->wakeup);
    pthread_mutex_unlock(&upkeep->mutex);
    if (upkeep->has_thread)
        pthread_join(upkeep->thread, NULL);
    pg->upkeep = NULL;
    destroy_counts(upkeep->tenants);
    pthread_cond_destroy(&upkeep->wakeup);
    pthread_mutex_destroy(&upkeep->mutex);
    dj_free(upkeep);
}
