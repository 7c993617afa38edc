/* store/postgres_calls.c - the table's functions: a call is filled on the caller's loop and sent on
 * the store's. What takes time (records, vectors) is done there.
 */
#include "store/postgres_internal.h"

#include <assert.h>

#define CLEAR_ROWS 5000u
#define LIST_BYTES_MAX ((size_t)8 << 20)
#define ACCESS_ROWS_MAX 1024u
/* Without dim and embedder id: what a put costs in the queue beside its value. */
#define CALL_BYTES sizeof(struct dj_pg_call)

enum { OID_INT8 = 20, OID_TIMESTAMPTZ = 1184, OID_UUID = 2950 };

static struct dj_pg_store *pg_of(struct dj_store *store)
{
    return (struct dj_pg_store *)store;
}

static void put_key(struct dj_pg_call *call, const struct dj_store_key *key)
{
    call->key = *key;
    dj_pg_param(&call->params, key->tenant, sizeof key->tenant);
    dj_pg_param(&call->params, key->id, sizeof key->id);
}

static enum deja_status get(struct dj_store *store, struct dj_loop *loop,
                            const struct dj_store_key *key, void *ctx, dj_store_got_fn *got)
{
    struct dj_pg_store *pg = pg_of(store);
    struct dj_pg_call *call = dj_pg_call_create(pg, loop, DJ_PG_GET, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    put_key(call, key);
    dj_pg_param_time(&call->params, dj_loop_now_ms(loop));
    dj_pg_param_u64(&call->params, pg->options.record_bytes_max);
    call->reply_bytes_max += pg->options.record_bytes_max;
    call->got = got;
    call->on_reply = dj_pg_on_got;
    return dj_pg_submit(call);
}

/* ---- put ---- */

/* A column for people: of a sealed entry there is nothing to show. */
static void put_shown(struct dj_pg_params *params, const struct dj_entry *entry,
                      struct deja_slice text)
{
    if (entry->key_id)
        dj_pg_param_null(params);
    else
        dj_pg_param_text(params, text);
}

static void put_about(struct dj_pg_params *params, const struct dj_entry *entry)
{
    dj_pg_param_u64(params, dj_pg_version(entry->version));
    dj_pg_param(params, entry->exact, sizeof entry->exact);
    put_shown(params, entry, entry->query);
    dj_pg_param(params, entry->scope, sizeof entry->scope);
    put_shown(params, entry, entry->name_space);
    dj_pg_param_u32(params, entry->kind);
    put_shown(params, entry, entry->model);
    put_shown(params, entry, entry->provider);
    if (entry->metadata.len)
        dj_pg_param_text(params, entry->metadata);
    else
        dj_pg_param_null(params);
    dj_pg_param_u64(params, entry->input_tokens);
    dj_pg_param_u64(params, entry->output_tokens);
    dj_pg_param_double(params, entry->cost_usd);
}

static void put_embedding(struct dj_pg_call *call, const struct dj_entry *entry)
{
    if (!call->dim) {
        dj_pg_param_null(&call->params);
        dj_pg_param_null(&call->params);
        dj_pg_param_null(&call->params);
        return;
    }
    dj_pg_param(&call->params, entry->embedder_id.data, entry->embedder_id.len);
    dj_pg_param_u32(&call->params, call->dim);
    dj_pg_param_vector(&call->params, call->vector, call->dim);
}

static void count_record(struct dj_pg_store *pg, struct deja_slice record)
{
    atomic_fetch_add_explicit(&pg->record_bytes, record.len, memory_order_relaxed);
    atomic_fetch_add_explicit(&pg->plain_bytes, dj_record_plain_bytes(record),
                              memory_order_relaxed);
}

enum deja_status dj_pg_prepare_put(struct dj_pg_call *call)
{
    struct dj_pg_store *pg = call->pg;
    struct dj_pg_params *params = &call->params;
    const struct dj_entry *entry = dj_value_entry(call->value);
    int64_t now_ms = dj_loop_now_ms(pg->loop);
    put_key(call, &call->key);
    put_about(params, entry);
    put_embedding(call, entry);
    size_t began = params->bytes.len;
    enum deja_status status = params->bytes.status;
    if (status == DEJA_OK)
        status = dj_record_encode_with(&pg->options.packing, entry, &params->bytes);
    if (status != DEJA_OK)
        return status;
    size_t octets = params->bytes.len - began;
    if (octets > pg->options.record_bytes_max)
        return DEJA_ERR_LIMIT;
    count_record(pg, deja_slice(params->bytes.data + began, octets));
    dj_pg_param_end(params, began);
    dj_pg_param_u64(params, octets);
    dj_pg_param_time(params, entry->created_ms ? entry->created_ms : now_ms);
    dj_pg_param_time(params, entry->expires_ms);
    dj_pg_param_time(params, dj_store_stay_until(entry, pg->options.ttl_ms, now_ms));
    dj_pg_param_time(params, now_ms);
    dj_value_unref(call->value);
    call->value = NULL;
    return params->bytes.status;
}

static enum deja_status copy_vector(struct dj_pg_call *call, const float *vector, uint32_t dim)
{
    call->vector = dj_alloc(dim * sizeof *vector);
    if (!call->vector)
        return DEJA_ERR_NOMEM;
    memcpy(call->vector, vector, dim * sizeof *vector);
    call->dim = dim;
    return DEJA_OK;
}

/* Neither put in nor in its place: what is there, or a tombstone, is no older. */
static bool on_put(struct dj_pg_call *call, const PGresult *result)
{
    call->count = deja_slice_is_equal(deja_slice_text(PQcmdTuples((PGresult *)(uintptr_t)result)),
                                      deja_slice_text("0"));
    return true;
}

static enum deja_status put(struct dj_store *store, struct dj_loop *loop, struct dj_value *value,
                            const float *vector, uint32_t dim, void *ctx, dj_store_done_fn *done)
{
    struct dj_pg_store *pg = pg_of(store);
    const struct dj_entry *entry = dj_value_entry(value);
    if (dim > DJ_PG_DIM_MAX)
        return DEJA_ERR_INVALID;
    struct dj_pg_call *call = dj_pg_call_create(pg, loop, DJ_PG_PUT, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    if (vector && dim && entry->embedder_id.len && copy_vector(call, vector, dim) != DEJA_OK) {
        dj_pg_call_destroy(call);
        return DEJA_ERR_NOMEM;
    }
    call->key = dj_store_key_of(entry);
    call->value = dj_value_ref(value);
    call->bytes = CALL_BYTES + dj_value_bytes(value) + dim * sizeof *vector;
    call->is_write = true;
    call->is_locked = true;
    call->done = done;
    call->on_reply = on_put;
    return dj_pg_submit(call);
}

/* ---- removing ---- */

static enum deja_status remove_key(struct dj_store *store, struct dj_loop *loop,
                                   const struct dj_store_key *key, uint64_t version_max, void *ctx,
                                   dj_store_done_fn *done)
{
    struct dj_pg_call *call = dj_pg_call_create(pg_of(store), loop, DJ_PG_REMOVE, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    put_key(call, key);
    dj_pg_param_u64(&call->params, dj_pg_version(version_max));
    if (version_max == UINT64_MAX) /* any: what was there does not come back, what comes may */
        dj_pg_param_null(&call->params);
    else
        dj_pg_param_u64(&call->params, dj_pg_version(version_max));
    dj_pg_param_time(&call->params, dj_loop_now_ms(loop) + DJ_PG_TOMBSTONE_MS);
    call->is_write = true;
    call->is_locked = true;
    call->done = done;
    call->on_reply = dj_pg_on_done;
    return dj_pg_submit(call);
}

/* In pieces, so that each is short; the call is sent again until nothing is left. */
static enum deja_status clear(struct dj_store *store, struct dj_loop *loop,
                              const uint8_t tenant[DJ_ID_BYTES], void *ctx, dj_store_done_fn *done)
{
    struct dj_pg_call *call = dj_pg_call_create(pg_of(store), loop, DJ_PG_CLEAR, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    memcpy(call->key.tenant, tenant, DJ_ID_BYTES);
    dj_pg_params_clear(call);
    call->is_write = true;
    call->done = done;
    call->on_reply = dj_pg_on_cleared;
    return dj_pg_submit(call);
}

void dj_pg_params_clear(struct dj_pg_call *call)
{
    call->params.count = 0;
    dj_buf_clear(&call->params.bytes);
    dj_pg_param(&call->params, call->key.tenant, DJ_ID_BYTES);
    dj_pg_param_u64(&call->params, CLEAR_ROWS);
}

void dj_pg_params_evict(struct dj_pg_call *call)
{
    call->params.count = 0;
    dj_buf_clear(&call->params.bytes);
    if (call->has_scope) /* of one tenant */
        dj_pg_param(&call->params, call->key.tenant, DJ_ID_BYTES);
    else
        dj_pg_param_null(&call->params);
    dj_pg_param_u64(&call->params, call->bytes_wanted);
}

static enum deja_status evict(struct dj_store *store, struct dj_loop *loop, const uint8_t *tenant,
                              uint64_t bytes, void *ctx, dj_store_done_fn *done)
{
    struct dj_pg_call *call = dj_pg_call_create(pg_of(store), loop, DJ_PG_EVICT, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    if (tenant)
        memcpy(call->key.tenant, tenant, DJ_ID_BYTES);
    call->has_scope = tenant != NULL;
    call->bytes_wanted = dj_pg_version(bytes);
    dj_pg_params_evict(call);
    call->done = done;
    call->on_reply = dj_pg_on_evicted;
    return dj_pg_submit(call);
}

/* ---- reading more than one ---- */

static enum deja_status list(struct dj_store *store, struct dj_loop *loop,
                             const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                             void *ctx, dj_store_done_fn *done)
{
    struct dj_pg_store *pg = pg_of(store);
    struct dj_pg_call *call = dj_pg_call_create(pg, loop, DJ_PG_LIST, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    memcpy(call->key.tenant, tenant, DJ_ID_BYTES);
    dj_pg_param(&call->params, tenant, DJ_ID_BYTES);
    if (page->position)
        dj_pg_param(&call->params, page->after, sizeof page->after);
    else
        dj_pg_param_null(&call->params);
    dj_pg_param_u64(&call->params, DJ_STORE_PAGE_MAX);
    dj_pg_param_time(&call->params, dj_loop_now_ms(loop));
    dj_pg_param_u64(&call->params, LIST_BYTES_MAX);
    dj_pg_param_u64(&call->params, pg->options.record_bytes_max);
    call->reply_bytes_max += LIST_BYTES_MAX + pg->options.record_bytes_max;
    page->count = 0;
    call->page = page;
    call->done = done;
    call->on_reply = dj_pg_on_listed;
    return dj_pg_submit(call);
}

static enum deja_status probe(struct dj_store *store, struct dj_loop *loop, void *ctx,
                              dj_store_got_fn *got)
{
    struct dj_pg_call *call = dj_pg_call_create(pg_of(store), loop, DJ_PG_PROBE, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    call->got = got;
    call->on_reply = dj_pg_on_probed;
    return dj_pg_submit(call);
}

static enum deja_status search(struct dj_store *store, struct dj_loop *loop,
                               const struct dj_store_search *search, void *ctx,
                               dj_store_searched_fn *searched)
{
    struct dj_pg_store *pg = pg_of(store);
    if (!search->dim || search->dim > DJ_PG_DIM_MAX || !search->limit ||
        search->limit > DJ_STORE_MATCHES_MAX || !search->embedder_id.len)
        return DEJA_ERR_INVALID;
    struct dj_pg_call *call = dj_pg_call_create(pg, loop, DJ_PG_EXACT, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    memcpy(call->key.tenant, search->tenant, DJ_ID_BYTES);
    call->has_scope = search->scope != NULL;
    if (search->scope)
        memcpy(call->scope, search->scope, DJ_ID_BYTES);
    call->threshold = search->threshold;
    call->match_max = search->limit;
    call->searched = searched;
    call->embedder_id = dj_strdup(search->embedder_id);
    call->matches = dj_alloc_zeroed(search->limit, sizeof *call->matches);
    enum deja_status status = copy_vector(call, search->vector, search->dim);
    call->bytes = CALL_BYTES + search->dim * sizeof *search->vector;
    if (status == DEJA_OK && call->embedder_id && call->matches)
        status = dj_pg_search_exact(call, pg->options.exact_rows_max);
    else
        status = DEJA_ERR_NOMEM;
    if (status != DEJA_OK) {
        dj_pg_call_destroy(call);
        return status;
    }
    return dj_pg_submit(call);
}

/* ---- access statistics ---- */

static bool is_tenant_row(const struct dj_store_access *row)
{
    static const uint8_t no_id[DJ_ID_BYTES];
    return memcmp(row->key.id, no_id, sizeof no_id) == 0;
}

static void begin_column(struct dj_pg_params *params, enum dj_pg_column column, uint32_t count)
{
    static const uint32_t oids[] = {OID_UUID,        OID_UUID, OID_INT8,
                                    OID_TIMESTAMPTZ, OID_INT8, OID_INT8};
    dj_pg_begin_array(&params->bytes, oids[column], count);
}

static void put_cell(struct dj_pg_params *params, enum dj_pg_column column,
                     const struct dj_store_access *row)
{
    struct dj_buf *out = &params->bytes;
    if (column == DJ_PG_COLUMN_TENANT || column == DJ_PG_COLUMN_KEY) {
        dj_pg_put_element(out, column == DJ_PG_COLUMN_TENANT ? row->key.tenant : row->key.id,
                          DJ_ID_BYTES);
        return;
    }
    dj_pg_put_u32(out, 8);
    if (column == DJ_PG_COLUMN_LAST)
        dj_pg_put_time(out, row->last_ms);
    else
        dj_pg_put_u64(out, dj_pg_version(column == DJ_PG_COLUMN_HITS       ? row->hits
                                         : column == DJ_PG_COLUMN_VERDICTS ? row->verdicts
                                                                           : row->verdicts_wrong));
}

/* The rows of entries or those of tenants; none: DEJA_OK, and nothing is sent. */
static enum deja_status send_access(struct dj_pg_store *pg, enum dj_pg_statement statement,
                                    const struct dj_store_access *rows, size_t count)
{
    bool is_of_tenants = statement == DJ_PG_KEEP_TENANTS;
    uint32_t wanted = 0;
    for (size_t i = 0; i < count; i++)
        wanted += is_tenant_row(&rows[i]) == is_of_tenants;
    if (!wanted)
        return DEJA_OK;
    struct dj_pg_call *call = dj_pg_call_create(pg, NULL, statement, NULL);
    if (!call)
        return DEJA_ERR_NOMEM;
    for (int column = 0; column <= DJ_PG_COLUMN_WRONG; column++) {
        if (is_of_tenants ? column == DJ_PG_COLUMN_KEY : column >= DJ_PG_COLUMN_VERDICTS)
            continue;
        size_t began = call->params.bytes.len;
        begin_column(&call->params, (enum dj_pg_column)column, wanted);
        for (size_t i = 0; i < count; i++)
            if (is_tenant_row(&rows[i]) == is_of_tenants)
                put_cell(&call->params, (enum dj_pg_column)column, &rows[i]);
        dj_pg_param_end(&call->params, began);
    }
    call->bytes = CALL_BYTES + call->params.bytes.len;
    call->on_reply = dj_pg_on_done;
    return dj_pg_submit(call);
}

static enum deja_status keep_access(struct dj_store *store, const struct dj_store_access *rows,
                                    size_t count)
{
    assert(count <= ACCESS_ROWS_MAX);
    enum deja_status status = send_access(pg_of(store), DJ_PG_KEEP_ACCESS, rows, count);
    return status == DEJA_OK ? send_access(pg_of(store), DJ_PG_KEEP_TENANTS, rows, count) : status;
}

enum deja_status dj_postgres_add_access(struct dj_store *store, const struct dj_store_access *rows,
                                        size_t count)
{
    assert(count <= ACCESS_ROWS_MAX);
    return send_access(pg_of(store), DJ_PG_ADD_ACCESS, rows, count);
}

static void stats(struct dj_store *store, const uint8_t *tenant, struct dj_store_stats *out_stats)
{
    struct dj_pg_store *pg = pg_of(store);
    *out_stats = (struct dj_store_stats){.entries = 0};
    dj_pg_upkeep_stats(pg, tenant, out_stats);
    if (tenant)
        return;
    out_stats->evictions = atomic_load(&pg->evictions);
    out_stats->expired = atomic_load(&pg->expired);
    out_stats->corrupt = atomic_load(&pg->corrupt);
    out_stats->dropped = atomic_load(&pg->dropped);
    out_stats->queued = atomic_load(&pg->queued);
    out_stats->record_bytes = atomic_load(&pg->record_bytes);
    out_stats->plain_bytes = atomic_load(&pg->plain_bytes);
}

const struct dj_store_ops dj_pg_ops = {
    .level = "postgres",
    .get = get,
    .put = put,
    .remove = remove_key,
    .clear = clear,
    .list = list,
    .stats = stats,
    .probe = probe,
    .scan_vectors = dj_pg_scan_vectors,
    .keep_access = keep_access,
    .scan_access = dj_pg_scan_access,
    .search = search,
    .raise = dj_pg_raise,
    .pull = dj_pg_pull,
    .lock = dj_pg_take_lease,
    .unlock = dj_pg_end_lease,
    .evict = evict,
    .close = dj_pg_close,
};
