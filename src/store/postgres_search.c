/* store/postgres_search.c - nearest neighbours: each vector looked at, or the ANN index.
 *
 *   exact, if there are at most rows_max --more--> ANN, iterative --fewer than asked for--> exact
 *
 * An index over all tenants filters after it has walked: where a tenant has few of its vectors, it
 * would meet too few of them, and a small tenant is looked at whole faster anyway. So the number of
 * vectors that qualify decides, counted by the same statement that looks at them.
 */
#include "store/postgres_internal.h"

#define VECTOR_DIM_MAX 2000u /* of an HNSW index over vector; halfvec beyond */
#define HALFVEC_DIM_MAX 4000u

const char *dj_pg_index_type(uint32_t dim)
{
    return dim <= VECTOR_DIM_MAX ? "vector" : dim <= HALFVEC_DIM_MAX ? "halfvec" : NULL;
}

void dj_pg_append_literal(struct dj_buf *out, const char *text)
{
    dj_buf_append_text(out, strchr(text, '\\') ? " E'" : "'");
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            dj_buf_append_byte(out, *text);
        dj_buf_append_byte(out, *text);
    }
    dj_buf_append_byte(out, '\'');
}

/* The neighbour's condition of the index with this embedder and dimension. */
void dj_pg_append_index_condition(struct dj_buf *out, const char *embedder_id, uint32_t dim)
{
    dj_buf_append_text(out, "active AND embedder_id = ");
    dj_pg_append_literal(out, embedder_id);
    dj_buf_append_format(out, " AND dim = %u", dim);
}

static void begin(struct dj_pg_call *call)
{
    call->params.count = 0;
    dj_buf_clear(&call->params.bytes);
    dj_pg_param_vector(&call->params, call->vector, call->dim);
    dj_pg_param(&call->params, call->key.tenant, DJ_ID_BYTES);
}

static void put_scope(struct dj_pg_call *call)
{
    if (call->has_scope)
        dj_pg_param(&call->params, call->scope, DJ_ID_BYTES);
    else
        dj_pg_param_null(&call->params);
}

enum deja_status dj_pg_search_exact(struct dj_pg_call *call, uint64_t rows_max)
{
    struct dj_pg_params *params = &call->params;
    if (!dj_pg_index_type(call->dim))
        rows_max = 0; /* no index has so many dimensions */
    begin(call);
    dj_pg_param(params, call->embedder_id, strlen(call->embedder_id));
    dj_pg_param_u32(params, call->dim);
    dj_pg_param_time(params, dj_clock_now_ms());
    put_scope(call);
    dj_pg_param_double(params, call->threshold);
    dj_pg_param_u64(params, call->match_max);
    dj_pg_param_u64(params, rows_max ? rows_max : INT64_MAX - 1);
    call->rows_max = rows_max;
    call->statement = DJ_PG_EXACT;
    call->on_reply = dj_pg_on_exact;
    return params->bytes.status;
}

enum deja_status dj_pg_search_ann(struct dj_pg_call *call)
{
    const char *type = dj_pg_index_type(call->dim);
    struct dj_buf *sql = &call->sql;
    begin(call);
    dj_pg_param_time(&call->params, dj_clock_now_ms());
    put_scope(call);
    dj_pg_param_u64(&call->params, call->match_max);
    dj_buf_clear(sql);
    dj_buf_append_text(sql, "SELECT key, scope, 1 - (embedding <=> $1::vector)"
                            " FROM cache_metadata WHERE ");
    dj_pg_append_index_condition(sql, call->embedder_id, call->dim);
    dj_buf_append_format(sql,
                         " AND tenant = $2::uuid AND (gone_at IS NULL OR gone_at >"
                         " $3::timestamptz) AND ($4::uuid IS NULL OR scope = $4::uuid)"
                         " ORDER BY (embedding::%s(%u)) <=> ($1::vector::%s(%u))"
                         " LIMIT $5::bigint",
                         type, call->dim, type, call->dim);
    dj_buf_append_byte(sql, '\0');
    call->statement = DJ_PG_ANN;
    call->on_reply = dj_pg_on_ann;
    return sql->status != DEJA_OK ? sql->status : call->params.bytes.status;
}
