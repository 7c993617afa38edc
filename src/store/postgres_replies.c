/* store/postgres_replies.c - rows into answers; the store's loop.
 *
 * Trust: untrusted. A reply has the shape its statement gives it, or the call ends with
 * DEJA_ERR_CORRUPT; a record that does not verify is a miss, counted and dropped.
 */
#include "store/postgres_internal.h"

struct dj_pg_field dj_pg_field(const PGresult *result, int row, int column)
{
    bool is_null = PQgetisnull(result, row, column) != 0;
    size_t len = is_null ? 0 : (size_t)PQgetlength(result, row, column);
    return (struct dj_pg_field){deja_slice(PQgetvalue(result, row, column), len), is_null};
}

static bool has_shape(struct dj_pg_call *call, const PGresult *result, int columns, int rows_max)
{
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQnfields(result) == columns &&
        PQntuples(result) <= rows_max)
        return true;
    call->status = DEJA_ERR_CORRUPT;
    return false;
}

/* By now a newer one may be in its place, so only that version goes. */
static void drop(struct dj_pg_store *pg, const struct dj_store_key *key, uint64_t version)
{
    atomic_fetch_add(&pg->corrupt, 1);
    struct dj_pg_call *call = dj_pg_call_create(pg, NULL, DJ_PG_DROP, NULL);
    if (!call)
        return;
    call->key = *key;
    call->is_locked = true;
    dj_pg_param(&call->params, key->tenant, sizeof key->tenant);
    dj_pg_param(&call->params, key->id, sizeof key->id);
    dj_pg_param_u64(&call->params, version);
    call->on_reply = dj_pg_on_done;
    if (dj_pg_submit(call) != DEJA_OK)
        return; /* the next reader tries again */
}

bool dj_pg_on_got(struct dj_pg_call *call, const PGresult *result)
{
    uint64_t version = 0;
    if (!has_shape(call, result, 2, 1) || PQntuples(result) == 0)
        return true;
    enum deja_status status = dj_pg_read_value(dj_pg_field(result, 0, 0), &call->key, &call->value);
    if (status == DEJA_ERR_CORRUPT) {
        if (dj_pg_read_u64(dj_pg_field(result, 0, 1), &version))
            drop(call->pg, &call->key, version);
        return true; /* a miss */
    }
    call->status = status;
    if (status == DEJA_OK &&
        dj_store_is_gone(dj_store_gone_ms(dj_value_entry(call->value)), dj_clock_now_ms())) {
        dj_value_unref(call->value);
        call->value = NULL;
    }
    return true;
}

bool dj_pg_on_probed(struct dj_pg_call *call, const PGresult *result)
{
    uint64_t count = 0;
    if (has_shape(call, result, 1, 1) && !dj_pg_read_u64(dj_pg_field(result, 0, 0), &count))
        call->status = DEJA_ERR_CORRUPT;
    return true;
}

/* With a count of rows, or without. */
bool dj_pg_on_done(struct dj_pg_call *call, const PGresult *result)
{
    if (PQresultStatus(result) == PGRES_TUPLES_OK && has_shape(call, result, 1, 1) &&
        !dj_pg_read_u64(dj_pg_field(result, 0, 0), &call->count))
        call->status = DEJA_ERR_CORRUPT;
    return true;
}

bool dj_pg_on_cleared(struct dj_pg_call *call, const PGresult *result)
{
    uint64_t count = 0;
    if (!has_shape(call, result, 1, 1))
        return true;
    if (!dj_pg_read_u64(dj_pg_field(result, 0, 0), &count)) {
        call->status = DEJA_ERR_CORRUPT;
        return true;
    }
    call->count += count;
    if (!count)
        return true;
    dj_pg_params_clear(call);
    return false;
}

bool dj_pg_on_evicted(struct dj_pg_call *call, const PGresult *result)
{
    uint64_t count = 0;
    uint64_t bytes = 0;
    if (!has_shape(call, result, 2, 1))
        return true;
    if (!dj_pg_read_u64(dj_pg_field(result, 0, 0), &count) ||
        !dj_pg_read_u64(dj_pg_field(result, 0, 1), &bytes)) {
        call->status = DEJA_ERR_CORRUPT;
        return true;
    }
    call->count += count;
    atomic_fetch_add(&call->pg->evictions, count);
    if (!count || bytes >= call->bytes_wanted)
        return true;
    call->bytes_wanted -= bytes;
    dj_pg_params_evict(call);
    return false;
}

/* ---- lists ---- */

static enum deja_status take_listed(struct dj_pg_call *call, const PGresult *result, int row)
{
    struct dj_store_page *page = call->page;
    struct dj_store_key key = call->key;
    struct dj_value *value = NULL;
    struct dj_pg_field gone = dj_pg_field(result, row, 2);
    uint64_t version = 0;
    if (!dj_pg_read_id(dj_pg_field(result, row, 0), key.id) || gone.bytes.len != 1)
        return DEJA_ERR_CORRUPT;
    memcpy(page->after, key.id, sizeof page->after);
    page->position = 1;
    struct dj_pg_field record = dj_pg_field(result, row, 4);
    if (gone.bytes.data[0] || record.is_null) /* or larger than is read here */
        return DEJA_OK;
    enum deja_status status = dj_pg_read_value(record, &key, &value);
    if (status == DEJA_ERR_CORRUPT) {
        if (dj_pg_read_u64(dj_pg_field(result, row, 3), &version))
            drop(call->pg, &key, version);
        return DEJA_OK;
    }
    if (status == DEJA_OK)
        page->values[page->count++] = value;
    return status;
}

bool dj_pg_on_listed(struct dj_pg_call *call, const PGresult *result)
{
    uint64_t before = 0;
    if (!has_shape(call, result, 5, DJ_STORE_PAGE_MAX))
        return true;
    int rows = PQntuples(result);
    for (int row = 0; row < rows && call->status == DEJA_OK; row++)
        call->status = take_listed(call, result, row);
    if (call->status == DEJA_OK && rows && !dj_pg_read_u64(dj_pg_field(result, 0, 1), &before))
        call->status = DEJA_ERR_CORRUPT;
    /* How many the page would have had without the bound on its bytes. */
    call->page->is_last = before < DJ_STORE_PAGE_MAX && (uint64_t)rows >= before;
    call->count = call->page->count;
    return true;
}

/* ---- neighbours ---- */

static bool take_match(struct dj_pg_call *call, const PGresult *result, int row, int column)
{
    struct dj_store_match match;
    double similarity;
    if (!dj_pg_read_id(dj_pg_field(result, row, column), match.id) ||
        !dj_pg_read_id(dj_pg_field(result, row, column + 1), match.scope) ||
        !dj_pg_read_double(dj_pg_field(result, row, column + 2), &similarity))
        return false;
    if (similarity < call->threshold || call->match_count == call->match_max)
        return true;
    match.similarity = (float)(similarity > 1 ? 1 : similarity);
    call->matches[call->match_count++] = match;
    return true;
}

bool dj_pg_on_exact(struct dj_pg_call *call, const PGresult *result)
{
    uint64_t count = 0;
    if (!has_shape(call, result, 4, (int)call->match_max) || PQntuples(result) == 0 ||
        !dj_pg_read_u64(dj_pg_field(result, 0, 0), &count)) {
        call->status = DEJA_ERR_CORRUPT;
        return true;
    }
    if (call->rows_max && count > call->rows_max) { /* too many to look at each */
        call->status = dj_pg_search_ann(call);
        return call->status != DEJA_OK;
    }
    for (int row = 0; row < PQntuples(result); row++)
        if (!dj_pg_field(result, row, 1).is_null && !take_match(call, result, row, 1))
            call->status = DEJA_ERR_CORRUPT;
    return true;
}

bool dj_pg_on_ann(struct dj_pg_call *call, const PGresult *result)
{
    if (!has_shape(call, result, 3, (int)call->match_max))
        return true;
    for (int row = 0; row < PQntuples(result); row++)
        if (!take_match(call, result, row, 0))
            call->status = DEJA_ERR_CORRUPT;
    if (call->status != DEJA_OK || (uint32_t)PQntuples(result) == call->match_max)
        return true;
    /* The index gave up before it had met enough of this tenant's: all of them, then. */
    call->match_count = 0;
    call->status = dj_pg_search_exact(call, 0);
    return call->status != DEJA_OK;
}
