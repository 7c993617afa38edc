/* store/lmdb_tally.c - entries and bytes, per tenant and in all, kept beside the tables.
 *
 * The rows of `expiry` are what is counted: each carries the cost of its entry, so start-up walks
 * that small table and nothing else, and fills the key filter on the way.
 */
#include "store/lmdb_internal.h"

#include "base/alloc.h"

/* Beyond it tenants are counted in the sums only. */
#define TENANTS_MAX 1000000u

struct tally {
    uint64_t entries;
    uint64_t bytes;
};

static struct deja_slice id_slice(const uint8_t *tenant)
{
    return deja_slice(tenant, DJ_ID_BYTES);
}

static uint64_t moved(uint64_t value, int64_t by)
{
    if (by < 0 && value < (uint64_t)-by)
        return 0;
    return value + (uint64_t)by;
}

/* Under tally_mutex. A tenant that finds no memory is missing from its own figures only. */
static void count(struct dj_lmdb *lmdb, const struct dj_store_key *key, int entries, int64_t bytes)
{
    lmdb->entry_count = moved(lmdb->entry_count, entries);
    lmdb->total_bytes = moved(lmdb->total_bytes, bytes);
    struct tally *tally = dj_map_find(lmdb->tally, id_slice(key->tenant));
    if (!tally && entries > 0) {
        tally = dj_alloc_zeroed(1, sizeof *tally);
        if (tally && dj_map_put(lmdb->tally, id_slice(key->tenant), tally, NULL) != DEJA_OK) {
            dj_free(tally);
            return;
        }
    }
    if (!tally)
        return;
    tally->entries = moved(tally->entries, entries);
    tally->bytes = moved(tally->bytes, bytes);
    if (tally->entries == 0) {
        dj_map_remove(lmdb->tally, id_slice(key->tenant));
        dj_free(tally);
    }
}

/* Every row of `expiry` into tally and filter. */
static enum deja_status count_rows(struct dj_lmdb *lmdb, MDB_cursor *cursor)
{
    MDB_val key;
    MDB_val value;
    int code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (; code == MDB_SUCCESS; code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        uint64_t order;
        uint32_t cost;
        struct dj_store_key entry;
        if (!dj_row_expiry_key_read(dj_lmdb_slice(key), &order, &entry) ||
            !dj_row_cost_read(dj_lmdb_slice(value), &cost))
            return DEJA_ERR_CORRUPT;
        count(lmdb, &entry, 1, cost);
        dj_key_filter_add(lmdb->filter, dj_store_key_hash(&entry));
    }
    return code == MDB_NOTFOUND ? DEJA_OK : dj_lmdb_status(code);
}

enum deja_status dj_lmdb_tally_load(struct dj_lmdb *lmdb)
{
    dj_lmdb_tally_destroy(lmdb);
    MDB_txn *txn;
    enum deja_status status = dj_lmdb_status(mdb_txn_begin(lmdb->entries, NULL, MDB_RDONLY, &txn));
    if (status != DEJA_OK)
        return status;
    MDB_stat stat = {0};
    MDB_cursor *cursor = NULL;
    status = dj_lmdb_status(mdb_stat(txn, lmdb->tables[DJ_LMDB_EXPIRY], &stat));
    if (status == DEJA_OK)
        status = dj_lmdb_status(mdb_cursor_open(txn, lmdb->tables[DJ_LMDB_EXPIRY], &cursor));
    if (status == DEJA_OK)
        status = dj_map_create(TENANTS_MAX, NULL, NULL, &lmdb->tally);
    if (status == DEJA_OK)
        status = dj_key_filter_create(stat.ms_entries, &lmdb->filter);
    if (status == DEJA_OK)
        status = count_rows(lmdb, cursor);
    if (cursor)
        mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return status;
}

void dj_lmdb_tally_apply(struct dj_lmdb *lmdb, const struct dj_lmdb_txn *txn)
{
    pthread_mutex_lock(&lmdb->tally_mutex);
    for (uint32_t i = 0; i < txn->change_count; i++) {
        const struct dj_lmdb_change *change = &txn->changes[i];
        count(lmdb, &change->key, change->kind == DJ_CHANGE_ADDED ? 1 : -1, change->bytes);
    }
    pthread_mutex_unlock(&lmdb->tally_mutex);
    for (uint32_t i = 0; i < txn->change_count; i++) {
        const struct dj_lmdb_change *change = &txn->changes[i];
        uint64_t hash = dj_store_key_hash(&change->key);
        if (change->kind == DJ_CHANGE_ADDED)
            dj_key_filter_add(lmdb->filter, hash);
        else
            dj_key_filter_remove(lmdb->filter, hash);
        bool is_evicted = change->kind == DJ_CHANGE_EVICTED;
        if (!is_evicted && change->kind != DJ_CHANGE_EXPIRED)
            continue;
        atomic_fetch_add_explicit(is_evicted ? &lmdb->evictions : &lmdb->expired, 1,
                                  memory_order_relaxed);
        if (lmdb->options.gone)
            lmdb->options.gone(lmdb->options.gone_ctx, change->key.tenant,
                               is_evicted ? DJ_GONE_SIZE : DJ_GONE_TTL);
    }
}

uint64_t dj_lmdb_tally_bytes(struct dj_lmdb *lmdb)
{
    pthread_mutex_lock(&lmdb->tally_mutex);
    uint64_t bytes = lmdb->total_bytes;
    pthread_mutex_unlock(&lmdb->tally_mutex);
    return bytes;
}

void dj_lmdb_tally_stats(struct dj_lmdb *lmdb, const uint8_t *tenant,
                         struct dj_store_stats *out_stats)
{
    pthread_mutex_lock(&lmdb->tally_mutex);
    if (!tenant) {
        out_stats->entries = lmdb->entry_count;
        out_stats->bytes = lmdb->total_bytes;
    } else {
        const struct tally *tally = dj_map_find(lmdb->tally, id_slice(tenant));
        out_stats->entries = tally ? tally->entries : 0;
        out_stats->bytes = tally ? tally->bytes : 0;
    }
    pthread_mutex_unlock(&lmdb->tally_mutex);
}

void dj_lmdb_tally_tenants(struct dj_store *store, void *ctx, dj_store_tenant_fn *each)
{
    struct dj_lmdb *lmdb = (struct dj_lmdb *)store;
    size_t cursor = 0;
    struct deja_slice key;
    void *tally;
    pthread_mutex_lock(&lmdb->tally_mutex);
    while (dj_map_next(lmdb->tally, &cursor, &key, &tally))
        each(ctx, (const uint8_t *)key.data);
    pthread_mutex_unlock(&lmdb->tally_mutex);
}

void dj_lmdb_tally_destroy(struct dj_lmdb *lmdb)
{
    size_t cursor = 0;
    struct deja_slice key;
    void *tally;
    while (lmdb->tally && dj_map_next(lmdb->tally, &cursor, &key, &tally))
        dj_free(tally);
    dj_map_destroy(lmdb->tally);
    lmdb->tally = NULL;
    dj_key_filter_destroy(lmdb->filter);
    lmdb->filter = NULL;
    lmdb->entry_count = 0;
    lmdb->total_bytes = 0;
}
