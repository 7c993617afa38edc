/* store/postgres_shared.c - what programs that share the database keep together: counters of
 * generations, and locks that end by themselves.
 *
 * A sequence is drawn under one lock, kept until the raise is committed: who has seen a sequence
 * has seen all before it, so a pull misses none.
 */
#include "store/postgres_internal.h"

#define PULL_ROWS 1000u
/* Of one pull, told together; the next begins behind the last of them. */
#define PULL_BYTES_MAX ((size_t)16 << 20)

static bool is_row_of(struct dj_pg_call *call, const PGresult *result, int columns, int rows_max)
{
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQnfields(result) == columns &&
        PQntuples(result) <= rows_max)
        return true;
    call->status = DEJA_ERR_CORRUPT;
    return false;
}

/* ---- raise ---- */

static bool on_raised(struct dj_pg_call *call, const PGresult *result)
{
    if (is_row_of(call, result, 1, 1) && !dj_pg_read_u64(dj_pg_field(result, 0, 0), &call->count))
        call->status = DEJA_ERR_CORRUPT;
    return true;
}

static void tell_raised(struct dj_pg_call *call)
{
    call->raised(call->ctx, call->status, call->status == DEJA_OK ? call->count : 0);
}

enum deja_status dj_pg_raise(struct dj_store *store, struct dj_loop *loop,
                             const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag, void *ctx,
                             dj_store_raised_fn *raised)
{
    struct dj_pg_call *call =
        dj_pg_call_create((struct dj_pg_store *)store, loop, DJ_PG_RAISE, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    dj_pg_param(&call->params, tenant, DJ_ID_BYTES);
    dj_pg_param(&call->params, tag.data, tag.len);
    call->is_locked = true; /* of the key of zeros: one lock for all */
    call->is_write = true;
    call->raised = raised;
    call->tell = tell_raised;
    call->on_reply = on_raised;
    return dj_pg_submit(call);
}

/* ---- pull ---- */

static void put_since(struct dj_pg_call *call)
{
    call->params.count = 0;
    dj_buf_clear(&call->params.bytes);
    dj_pg_param_u64(&call->params, dj_pg_version(call->count));
    dj_pg_param_u64(&call->params, PULL_ROWS);
}

/* tenant 16 ‖ generation 8 ‖ tag length 4 ‖ tag, in this machine's order: never leaves the call. */
static enum deja_status keep_counter(struct dj_pg_call *call, const PGresult *result, int row)
{
    uint8_t tenant[DJ_ID_BYTES];
    uint64_t generation;
    uint64_t sequence;
    struct dj_pg_field tag = dj_pg_field(result, row, 1);
    uint32_t tag_len = (uint32_t)tag.bytes.len;
    if (!dj_pg_read_id(dj_pg_field(result, row, 0), tenant) || tag.is_null ||
        !dj_pg_read_u64(dj_pg_field(result, row, 2), &generation) ||
        !dj_pg_read_u64(dj_pg_field(result, row, 3), &sequence) || sequence <= call->count)
        return DEJA_ERR_CORRUPT;
    dj_buf_append(&call->counters, tenant, sizeof tenant);
    dj_buf_append(&call->counters, &generation, sizeof generation);
    dj_buf_append(&call->counters, &tag_len, sizeof tag_len);
    dj_buf_append_slice(&call->counters, tag.bytes);
    call->count = sequence;
    return call->counters.status;
}

static bool on_pulled(struct dj_pg_call *call, const PGresult *result)
{
    if (!is_row_of(call, result, 4, PULL_ROWS))
        return true;
    int rows = PQntuples(result);
    for (int i = 0; i < rows && call->status == DEJA_OK; i++)
        call->status = keep_counter(call, result, i);
    if (call->status != DEJA_OK || rows < (int)PULL_ROWS || call->counters.len > PULL_BYTES_MAX)
        return true;
    put_since(call);
    return false;
}

static void tell_pulled(struct dj_pg_call *call)
{
    const char *at = call->counters.data;
    const char *end = call->counters.len ? at + call->counters.len : at;
    while (call->status == DEJA_OK && at < end) {
        struct dj_store_generation counter;
        uint32_t tag_len;
        memcpy(counter.tenant, at, sizeof counter.tenant);
        at += sizeof counter.tenant;
        memcpy(&counter.generation, at, sizeof counter.generation);
        at += sizeof counter.generation;
        memcpy(&tag_len, at, sizeof tag_len);
        at += sizeof tag_len;
        counter.tag = deja_slice(at, tag_len);
        at += tag_len;
        call->each(call->ctx, &counter);
    }
    call->pulled(call->ctx, call->status, call->status == DEJA_OK ? call->count : 0);
}

enum deja_status dj_pg_pull(struct dj_store *store, struct dj_loop *loop, uint64_t since, void *ctx,
                            dj_store_generation_fn *each, dj_store_pulled_fn *pulled)
{
    struct dj_pg_call *call = dj_pg_call_create((struct dj_pg_store *)store, loop, DJ_PG_PULL, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    call->count = since;
    put_since(call);
    call->reply_bytes_max += PULL_BYTES_MAX;
    call->each = each;
    call->pulled = pulled;
    call->tell = tell_pulled;
    call->on_reply = on_pulled;
    return dj_pg_submit(call);
}

/* ---- leases ---- */

static void tell_locked(struct dj_pg_call *call)
{
    call->locked(call->ctx, call->status, call->status == DEJA_OK && call->count > 0);
}

static struct dj_pg_call *create_lease(struct dj_store *store, struct dj_loop *loop,
                                       enum dj_pg_statement statement,
                                       const struct dj_store_key *key, const uint8_t token[16],
                                       void *ctx)
{
    struct dj_pg_call *call = dj_pg_call_create((struct dj_pg_store *)store, loop, statement, ctx);
    if (!call)
        return NULL;
    dj_pg_param(&call->params, key->tenant, sizeof key->tenant);
    dj_pg_param(&call->params, key->id, sizeof key->id);
    dj_pg_param(&call->params, token, 16);
    call->on_reply = dj_pg_on_done;
    return call;
}

enum deja_status dj_pg_take_lease(struct dj_store *store, struct dj_loop *loop,
                                  const struct dj_store_key *key, const uint8_t token[16],
                                  uint32_t lease_ms, void *ctx, dj_store_locked_fn *locked)
{
    struct dj_pg_call *call = create_lease(store, loop, DJ_PG_TAKE_LEASE, key, token, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    dj_pg_param_u64(&call->params, lease_ms);
    call->locked = locked;
    call->tell = tell_locked;
    return dj_pg_submit(call);
}

enum deja_status dj_pg_end_lease(struct dj_store *store, struct dj_loop *loop,
                                 const struct dj_store_key *key, const uint8_t token[16], void *ctx,
                                 dj_store_done_fn *done)
{
    struct dj_pg_call *call = create_lease(store, loop, DJ_PG_END_LEASE, key, token, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    call->done = done;
    return dj_pg_submit(call);
}
