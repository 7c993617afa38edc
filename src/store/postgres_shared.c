/* store/postgres_shared.c - generations, which all programs of the database keep together.
 *
 * A raise gives its counter a number above all that the database ever gave it, for it begins at the
 * time, and a place in the one order of raises. Raises take a lock that their transaction holds to
 * its end, so places become visible in their order and a pull that has seen one has seen all below.
 */
#include "store/postgres_internal.h"

#define PULL_ROWS 2000
#define PULL_BYTES_MAX ((size_t)64 << 20)
#define TAG_BYTES_MAX 1024u

/* One counter in call->counters, before its tag. */
struct counter {
    uint8_t tenant[DJ_ID_BYTES];
    uint64_t generation;
    uint64_t tag_len;
};

static bool on_raised(struct dj_pg_call *call, const PGresult *result)
{
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        PQnfields(result) != 1 || !dj_pg_read_u64(dj_pg_field(result, 0, 0), &call->count))
        call->status = DEJA_ERR_CORRUPT;
    return true;
}

enum deja_status dj_pg_raise(struct dj_store *store, struct dj_loop *loop,
                             const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag, void *ctx,
                             dj_store_raised_fn *raised)
{
    if (tag.len > TAG_BYTES_MAX)
        return DEJA_ERR_LIMIT;
    struct dj_pg_call *call =
        dj_pg_call_create((struct dj_pg_store *)store, loop, DJ_PG_RAISE, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    dj_pg_param(&call->params, tenant, DJ_ID_BYTES);
    dj_pg_param(&call->params, tag.len ? tag.data : "", tag.len);
    call->is_write = true;
    call->is_locked = true; /* of the key of zeros: one raise after the other */
    call->raised = raised;
    call->on_reply = on_raised;
    return dj_pg_submit(call);
}

/* ---- pull ---- */

static enum deja_status take_counter(struct dj_pg_call *call, const PGresult *result, int row)
{
    struct counter counter;
    struct dj_pg_field tag = dj_pg_field(result, row, 2);
    if (!dj_pg_read_id(dj_pg_field(result, row, 1), counter.tenant) || tag.is_null ||
        tag.bytes.len > TAG_BYTES_MAX ||
        !dj_pg_read_u64(dj_pg_field(result, row, 3), &counter.generation) ||
        !dj_pg_read_u64(dj_pg_field(result, row, 4), &call->since))
        return DEJA_ERR_CORRUPT;
    counter.tag_len = tag.bytes.len;
    dj_buf_append(&call->counters, &counter, sizeof counter);
    dj_buf_append_slice(&call->counters, tag.bytes);
    return call->counters.status;
}

static void prepare_piece(struct dj_pg_call *call)
{
    call->params.count = 0;
    dj_buf_clear(&call->params.bytes);
    dj_pg_param_u64(&call->params, call->since);
    dj_pg_param_u64(&call->params, PULL_ROWS);
}

/* The last place, then the counters; one row at least. */
static bool on_pulled(struct dj_pg_call *call, const PGresult *result)
{
    int rows = PQntuples(result);
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQnfields(result) != 5 || rows < 1 ||
        rows > PULL_ROWS || !dj_pg_read_u64(dj_pg_field(result, 0, 0), &call->count)) {
        call->status = DEJA_ERR_CORRUPT;
        return true;
    }
    for (int row = 0; row < rows && call->status == DEJA_OK; row++)
        if (!dj_pg_field(result, row, 1).is_null)
            call->status = take_counter(call, result, row);
    if (call->status != DEJA_OK || rows < PULL_ROWS)
        return true;
    prepare_piece(call);
    return false;
}

void dj_pg_tell_pulled(struct dj_pg_call *call)
{
    const char *at = call->counters.data;
    const char *end = at + (call->status == DEJA_OK ? call->counters.len : 0);
    while (at < end) {
        struct counter counter;
        memcpy(&counter, at, sizeof counter);
        struct dj_store_generation told = {
            .tag = deja_slice(at + sizeof counter, (size_t)counter.tag_len),
            .generation = counter.generation};
        memcpy(told.tenant, counter.tenant, sizeof told.tenant);
        call->each(call->ctx, &told);
        at += sizeof counter + counter.tag_len;
    }
    call->pulled(call->ctx, call->status, call->status == DEJA_OK ? call->count : 0);
}

enum deja_status dj_pg_pull(struct dj_store *store, struct dj_loop *loop, uint64_t since, void *ctx,
                            dj_store_generation_fn *each, dj_store_pulled_fn *pulled)
{
    struct dj_pg_call *call = dj_pg_call_create((struct dj_pg_store *)store, loop, DJ_PG_PULL, ctx);
    if (!call)
        return DEJA_ERR_NOMEM;
    dj_buf_init(&call->counters, PULL_BYTES_MAX);
    call->since = since;
    call->reply_bytes_max += (size_t)PULL_ROWS * (TAG_BYTES_MAX + 128);
    prepare_piece(call);
    call->each = each;
    call->pulled = pulled;
    call->on_reply = on_pulled;
    return dj_pg_submit(call);
}
