/* store/postgres_admin.c - what is kept and how well it is indexed, and its upkeep, for tools.
 *
 * Trust: untrusted rows; what has not its shape is left out.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "store/postgres_internal.h"

#define ROWS_MAX 10000u
#define INDEXES_MAX 256
/* "deja", and what is locked: one program at a time optimises or sweeps. */
#define LOCK_KEY "(1684368993, 2)"

/* ---- lists ---- */

enum deja_status dj_postgres_tenants(struct dj_postgres *postgres, uint32_t limit, void *ctx,
                                     dj_postgres_tenant_fn *each, struct deja_error *error)
{
    static const char sql[] =
        "SELECT tenant, count(*), coalesce(sum(octets), 0)::bigint, count(embedding),"
        " coalesce(sum(hit_count), 0)::bigint, max(last_access) FROM cache_metadata WHERE active"
        " GROUP BY tenant ORDER BY 2 DESC LIMIT $1::bigint";
    struct dj_pg_params params = {.count = 0};
    PGresult *result = NULL;
    dj_pg_param_u64(&params, limit);
    enum deja_status status = dj_pg_query(postgres, sql, &params, &result, error);
    if (status != DEJA_OK)
        return status;
    for (int i = 0; i < PQntuples(result); i++) {
        struct dj_postgres_tenant row;
        if (dj_pg_read_id(dj_pg_field(result, i, 0), row.tenant) &&
            dj_pg_read_u64(dj_pg_field(result, i, 1), &row.entries) &&
            dj_pg_read_u64(dj_pg_field(result, i, 2), &row.bytes) &&
            dj_pg_read_u64(dj_pg_field(result, i, 3), &row.vectors) &&
            dj_pg_read_u64(dj_pg_field(result, i, 4), &row.hits) &&
            dj_pg_read_time(dj_pg_field(result, i, 5), &row.last_access_ms) && !each(ctx, &row))
            break;
    }
    PQclear(result);
    return DEJA_OK;
}

enum deja_status dj_postgres_lru(struct dj_postgres *postgres, const uint8_t *tenant,
                                 uint32_t limit, void *ctx, dj_postgres_entry_fn *each,
                                 struct deja_error *error)
{
    static const char sql[] =
        "SELECT tenant, key, hit_count, last_access, created_at, octets FROM cache_metadata"
        " WHERE ($1::uuid IS NULL OR tenant = $1::uuid) AND active ORDER BY last_access, id"
        " LIMIT $2::bigint";
    struct dj_pg_params params = {.count = 0};
    PGresult *result = NULL;
    if (!limit || limit > ROWS_MAX)
        return deja_error_set(error, DEJA_ERR_INVALID, "a limit is 1 … %u", ROWS_MAX);
    if (tenant)
        dj_pg_param(&params, tenant, DJ_ID_BYTES);
    else
        dj_pg_param_null(&params);
    dj_pg_param_u64(&params, limit);
    enum deja_status status = dj_pg_query(postgres, sql, &params, &result, error);
    if (status != DEJA_OK)
        return status;
    for (int i = 0; i < PQntuples(result); i++) {
        struct dj_postgres_entry row;
        if (dj_pg_read_id(dj_pg_field(result, i, 0), row.key.tenant) &&
            dj_pg_read_id(dj_pg_field(result, i, 1), row.key.id) &&
            dj_pg_read_u64(dj_pg_field(result, i, 2), &row.hits) &&
            dj_pg_read_time(dj_pg_field(result, i, 3), &row.last_access_ms) &&
            dj_pg_read_time(dj_pg_field(result, i, 4), &row.created_ms) &&
            dj_pg_read_u64(dj_pg_field(result, i, 5), &row.bytes) && !each(ctx, &row))
            break;
    }
    PQclear(result);
    return DEJA_OK;
}

enum deja_status dj_postgres_indexes(struct dj_postgres *postgres, void *ctx,
                                     dj_postgres_index_fn *each, struct deja_error *error)
{
    static const char sql[] =
        "SELECT c.relname::text, a.amname::text, pg_relation_size(c.oid),"
        " coalesce(s.idx_scan, 0), i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid ="
        " i.indexrelid JOIN pg_am a ON a.oid = c.relam LEFT JOIN pg_stat_all_indexes s"
        " ON s.indexrelid = c.oid WHERE i.indrelid = to_regclass('cache_metadata')"
        " ORDER BY c.relname LIMIT 256";
    PGresult *result = NULL;
    enum deja_status status = dj_pg_query(postgres, sql, NULL, &result, error);
    if (status != DEJA_OK)
        return status;
    for (int i = 0; i < PQntuples(result); i++) {
        struct dj_postgres_index row;
        dj_pg_copy_text(dj_pg_field(result, i, 0), row.name, sizeof row.name);
        dj_pg_copy_text(dj_pg_field(result, i, 1), row.method, sizeof row.method);
        row.is_valid = dj_pg_is_true(dj_pg_field(result, i, 4));
        if (dj_pg_read_u64(dj_pg_field(result, i, 2), &row.bytes) &&
            dj_pg_read_u64(dj_pg_field(result, i, 3), &row.scans))
            each(ctx, &row);
    }
    PQclear(result);
    return DEJA_OK;
}

/* ---- indexes ---- */

/* One half-made by a program that ended takes its name and is of no use. */
static enum deja_status drop_invalid(struct dj_postgres *postgres, const char *name,
                                     struct deja_error *error)
{
    struct dj_buf sql = {0};
    PGresult *result = NULL;
    dj_buf_append_format(&sql,
                         "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('%s') AND NOT "
                         "indisvalid",
                         name);
    dj_buf_append_byte(&sql, '\0');
    enum deja_status status = sql.status;
    if (status == DEJA_OK)
        status = dj_pg_exec(postgres, sql.data, 0, &result, error);
    bool is_invalid = status == DEJA_OK && PQntuples(result) > 0;
    PQclear(result);
    dj_buf_clear(&sql);
    dj_buf_append_format(&sql, "DROP INDEX CONCURRENTLY IF EXISTS %s", name);
    dj_buf_append_byte(&sql, '\0');
    if (is_invalid)
        status =
            sql.status == DEJA_OK ? dj_pg_exec(postgres, sql.data, 0, NULL, error) : sql.status;
    dj_buf_fini(&sql);
    return status;
}

static enum deja_status make_index(struct dj_postgres *postgres, struct deja_slice embedder_id,
                                   uint32_t dim, struct deja_error *error)
{
    char name[48];
    char *embedder = dj_strdup(embedder_id);
    const char *type = dj_pg_index_type(dim);
    struct dj_buf sql = {0};
    snprintf(name, sizeof name, "cache_metadata_ann_%016" PRIx64,
             dj_hash64(embedder_id.data, embedder_id.len, dim));
    dj_buf_append_format(&sql,
                         "CREATE INDEX CONCURRENTLY IF NOT EXISTS %s ON cache_metadata USING hnsw"
                         " ((embedding::%s(%u)) %s_cosine_ops) WITH (m = 16, ef_construction = 100)"
                         " WHERE ",
                         name, type, dim, type);
    if (embedder)
        dj_pg_append_index_condition(&sql, embedder, dim);
    dj_buf_append_byte(&sql, '\0');
    enum deja_status status = embedder ? sql.status : DEJA_ERR_NOMEM;
    if (status != DEJA_OK)
        status = deja_error_set(error, status, "out of memory");
    if (status == DEJA_OK)
        status = drop_invalid(postgres, name, error);
    if (status == DEJA_OK)
        status = dj_pg_exec(postgres, sql.data, 0, NULL, error);
    dj_buf_fini(&sql);
    dj_free(embedder);
    return status;
}

enum deja_status dj_pg_make_indexes(struct dj_postgres *postgres, uint32_t rows_min,
                                    struct deja_error *error)
{
    static const char sql[] =
        "SELECT embedder_id, dim FROM cache_metadata WHERE active AND embedding IS NOT NULL"
        " GROUP BY embedder_id, dim HAVING count(*) >= $1::bigint LIMIT 64";
    struct dj_pg_params params = {.count = 0};
    PGresult *result = NULL;
    dj_pg_param_u64(&params, rows_min);
    enum deja_status status = dj_pg_query(postgres, sql, &params, &result, error);
    for (int i = 0; status == DEJA_OK && i < PQntuples(result); i++) {
        uint32_t dim = 0;
        struct dj_pg_field embedder_id = dj_pg_field(result, i, 0);
        if (dj_pg_read_u32(dj_pg_field(result, i, 1), &dim) && dj_pg_index_type(dim) &&
            embedder_id.bytes.len)
            status = make_index(postgres, embedder_id.bytes, dim, error);
    }
    PQclear(result);
    return status;
}

/* ---- optimise ---- */

enum deja_status dj_pg_try_lock(struct dj_postgres *postgres, bool *out_is_held,
                                struct deja_error *error)
{
    PGresult *result = NULL;
    enum deja_status status =
        dj_pg_query(postgres, "SELECT pg_try_advisory_lock" LOCK_KEY, NULL, &result, error);
    if (status != DEJA_OK)
        return status;
    *out_is_held = PQntuples(result) == 1 && dj_pg_is_true(dj_pg_field(result, 0, 0));
    PQclear(result);
    return DEJA_OK;
}

void dj_pg_unlock(struct dj_postgres *postgres)
{
    struct deja_error ignored;
    if (dj_pg_exec(postgres, "SELECT pg_advisory_unlock" LOCK_KEY, 0, NULL, &ignored) != DEJA_OK)
        return; /* it goes with the connection */
}

struct names {
    char items[INDEXES_MAX][64];
    uint32_t count;
};

static void on_index(void *ctx, const struct dj_postgres_index *row)
{
    struct names *names = ctx;
    if (names->count < INDEXES_MAX)
        memcpy(names->items[names->count++], row->name, sizeof row->name);
}

static enum deja_status rebuild(struct dj_postgres *postgres, const struct names *names, void *ctx,
                                dj_postgres_progress_fn *progress, struct deja_error *error)
{
    enum deja_status status = DEJA_OK;
    for (uint32_t i = 0; i < names->count && status == DEJA_OK; i++) {
        char what[128];
        snprintf(what, sizeof what, "REINDEX INDEX CONCURRENTLY \"%s\"", names->items[i]);
        if (progress && !progress(ctx, i + 2, names->count + 2, what))
            return deja_error_set(error, DEJA_ERR_CANCELLED, "stopped");
        status = dj_pg_exec(postgres, what, 0, NULL, error);
    }
    return status;
}

static enum deja_status optimise(struct dj_postgres *postgres, struct names *names, void *ctx,
                                 dj_postgres_progress_fn *progress, struct deja_error *error)
{
    enum deja_status status = dj_postgres_indexes(postgres, names, on_index, error);
    if (status != DEJA_OK)
        return status;
    if (progress && !progress(ctx, 1, names->count + 2, "indexes that are missing"))
        return deja_error_set(error, DEJA_ERR_CANCELLED, "stopped");
    status = dj_pg_make_indexes(postgres, postgres->options.exact_rows_max, error);
    if (status == DEJA_OK)
        status = rebuild(postgres, names, ctx, progress, error);
    if (status == DEJA_OK && progress &&
        !progress(ctx, names->count + 2, names->count + 2, "VACUUM ANALYZE"))
        return deja_error_set(error, DEJA_ERR_CANCELLED, "stopped");
    if (status == DEJA_OK)
        status = dj_pg_exec(postgres, "VACUUM (ANALYZE) cache_metadata", 0, NULL, error);
    return status == DEJA_OK ? dj_pg_exec(postgres, "VACUUM (ANALYZE) tombstones", 0, NULL, error)
                             : status;
}

enum deja_status dj_postgres_optimise(struct dj_postgres *postgres, void *ctx,
                                      dj_postgres_progress_fn *progress, struct deja_error *error)
{
    bool is_held = false;
    enum deja_status status = dj_pg_try_lock(postgres, &is_held, error);
    if (status != DEJA_OK)
        return status;
    if (!is_held)
        return deja_error_set(error, DEJA_ERR_BUSY, "another program looks after this database");
    struct names *names = dj_alloc_zeroed(1, sizeof *names);
    status = names ? optimise(postgres, names, ctx, progress, error)
                   : deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    dj_free(names);
    dj_pg_unlock(postgres);
    return status;
}
