/* store/postgres_scan.c - everything kept, in pieces over a connection of its own; blocking.
 *
 * Trust: untrusted rows; what has not its shape is left out. Each piece begins behind the last row
 * of the one before, so nothing is held on the server between them.
 */
#include "store/postgres_internal.h"

static const char vectors_sql[] =
    "SELECT tenant, scope, key, embedder_id, embedding, gone_at FROM cache_metadata"
    " WHERE embedding IS NOT NULL AND active AND (gone_at IS NULL OR gone_at > $4::timestamptz)"
    " AND (tenant, scope, key) > ($1::uuid, $2::uuid, $3::uuid)"
    " ORDER BY tenant, scope, key LIMIT 500";
static const char access_sql[] =
    "SELECT tenant, key, hit_count, last_access FROM cache_metadata WHERE hit_count > 0"
    " AND (tenant, key) > ($1::uuid, $2::uuid) ORDER BY tenant, key LIMIT 5000";
static const char tenant_access_sql[] =
    "SELECT tenant, hit_count, last_access, verdicts, verdicts_wrong FROM tenant_access"
    " WHERE tenant > $1::uuid ORDER BY tenant LIMIT 5000";

struct scan {
    struct dj_postgres *postgres;
    uint8_t tenant[DJ_ID_BYTES], scope[DJ_ID_BYTES], key[DJ_ID_BYTES];
    bool is_stopped;
    void *ctx;
    dj_store_vector_fn *each_vector;
    dj_store_access_fn *each_access;
    float vector[DJ_PG_DIM_MAX];
};

static void take_vector(struct scan *scan, const PGresult *result, int row)
{
    struct dj_store_vector vector = {.scope = scan->scope, .floats = scan->vector};
    if (!dj_pg_read_id(dj_pg_field(result, row, 0), scan->tenant) ||
        !dj_pg_read_id(dj_pg_field(result, row, 1), scan->scope) ||
        !dj_pg_read_id(dj_pg_field(result, row, 2), scan->key)) {
        scan->is_stopped = true; /* where the next piece begins is not known */
        return;
    }
    if (!dj_pg_read_vector(dj_pg_field(result, row, 4), DJ_PG_DIM_MAX, scan->vector, &vector.dim) ||
        !dj_pg_read_time(dj_pg_field(result, row, 5), &vector.expires_ms))
        return;
    memcpy(vector.key.tenant, scan->tenant, sizeof vector.key.tenant);
    memcpy(vector.key.id, scan->key, sizeof vector.key.id);
    vector.embedder_id = dj_pg_field(result, row, 3).bytes;
    scan->is_stopped = !scan->each_vector(scan->ctx, &vector);
}

static void take_access(struct scan *scan, const PGresult *result, int row)
{
    struct dj_store_access access = {.hits = 0};
    if (!dj_pg_read_id(dj_pg_field(result, row, 0), scan->tenant) ||
        !dj_pg_read_id(dj_pg_field(result, row, 1), scan->key)) {
        scan->is_stopped = true;
        return;
    }
    memcpy(access.key.tenant, scan->tenant, sizeof access.key.tenant);
    memcpy(access.key.id, scan->key, sizeof access.key.id);
    if (dj_pg_read_u64(dj_pg_field(result, row, 2), &access.hits) &&
        dj_pg_read_time(dj_pg_field(result, row, 3), &access.last_ms))
        scan->is_stopped = !scan->each_access(scan->ctx, &access);
}

static void take_tenant_access(struct scan *scan, const PGresult *result, int row)
{
    struct dj_store_access access = {.hits = 0};
    if (!dj_pg_read_id(dj_pg_field(result, row, 0), scan->tenant)) {
        scan->is_stopped = true;
        return;
    }
    memcpy(access.key.tenant, scan->tenant, sizeof access.key.tenant);
    if (dj_pg_read_u64(dj_pg_field(result, row, 1), &access.hits) &&
        dj_pg_read_time(dj_pg_field(result, row, 2), &access.last_ms) &&
        dj_pg_read_u64(dj_pg_field(result, row, 3), &access.verdicts) &&
        dj_pg_read_u64(dj_pg_field(result, row, 4), &access.verdicts_wrong))
        scan->is_stopped = !scan->each_access(scan->ctx, &access);
}

static void put_position(const struct scan *scan, const char *sql, struct dj_pg_params *params)
{
    dj_pg_param(params, scan->tenant, sizeof scan->tenant);
    if (sql == tenant_access_sql)
        return;
    if (sql == vectors_sql)
        dj_pg_param(params, scan->scope, sizeof scan->scope);
    dj_pg_param(params, scan->key, sizeof scan->key);
    if (sql == vectors_sql)
        dj_pg_param_time(params, dj_clock_now_ms());
}

static enum deja_status walk(struct scan *scan, const char *sql, int columns,
                             void (*take)(struct scan *scan, const PGresult *result, int row))
{
    enum deja_status status = DEJA_OK;
    int rows = 1;
    memset(scan->tenant, 0, sizeof scan->tenant);
    memset(scan->scope, 0, sizeof scan->scope);
    memset(scan->key, 0, sizeof scan->key);
    while (rows > 0 && status == DEJA_OK && !scan->is_stopped) {
        struct dj_pg_params params = {.count = 0};
        PGresult *result = NULL;
        struct deja_error error;
        put_position(scan, sql, &params);
        status = dj_pg_query(scan->postgres, sql, &params, &result, &error);
        rows = status == DEJA_OK ? PQntuples(result) : 0;
        if (rows && PQnfields(result) != columns)
            status = DEJA_ERR_CORRUPT;
        for (int i = 0; i < rows && status == DEJA_OK && !scan->is_stopped; i++)
            take(scan, result, i);
        PQclear(result);
    }
    return status;
}

static enum deja_status begin(struct dj_store *store, void *ctx, struct scan **out_scan)
{
    struct dj_pg_store *pg = (struct dj_pg_store *)store;
    struct deja_error error;
    struct scan *scan = dj_alloc_zeroed(1, sizeof *scan);
    if (!scan)
        return DEJA_ERR_NOMEM;
    scan->ctx = ctx;
    enum deja_status status = dj_postgres_connect(&pg->options, &scan->postgres, &error);
    if (status != DEJA_OK)
        dj_free(scan);
    else
        *out_scan = scan;
    return status;
}

static enum deja_status end(struct scan *scan, enum deja_status status)
{
    dj_postgres_disconnect(scan->postgres);
    dj_free(scan);
    return status;
}

enum deja_status dj_pg_scan_vectors(struct dj_store *store, void *ctx, dj_store_vector_fn *each)
{
    struct scan *scan = NULL;
    enum deja_status status = begin(store, ctx, &scan);
    if (status != DEJA_OK)
        return status;
    scan->each_vector = each;
    return end(scan, walk(scan, vectors_sql, 6, take_vector));
}

enum deja_status dj_pg_scan_access(struct dj_store *store, void *ctx, dj_store_access_fn *each)
{
    struct scan *scan = NULL;
    enum deja_status status = begin(store, ctx, &scan);
    if (status != DEJA_OK)
        return status;
    scan->each_access = each;
    status = walk(scan, access_sql, 4, take_access);
    if (status == DEJA_OK && !scan->is_stopped)
        status = walk(scan, tenant_access_sql, 5, take_tenant_access);
    return end(scan, status);
}
