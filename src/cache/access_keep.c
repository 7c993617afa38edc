/* cache/access_keep.c - counts that outlive the process: handed to the tiers that keep them, and
 * read from the first of these.
 */
#include "base/alloc.h"
#include "cache/access_internal.h"

#define PIECE_MAX 1024u /* rows handed over in one go: the table's bound */

static uint32_t take_changed(struct dj_access *access, uint32_t count_max,
                             struct dj_store_access *rows)
{
    uint32_t count = 0;
    for (size_t i = 0; i < DJ_ACCESS_SHARDS && count < count_max; i++) {
        struct dj_access_shard *shard = &access->shards[i];
        pthread_mutex_lock(&shard->lock);
        while (count < count_max && !dj_list_is_empty(&shard->changed)) {
            struct dj_access_row *row =
                DJ_CONTAINER(shard->changed.next, struct dj_access_row, changed);
            dj_list_remove(&row->changed);
            rows[count++] = (struct dj_store_access){
                .key = row->key, .hits = row->hits, .last_ms = row->last_ms};
        }
        pthread_mutex_unlock(&shard->lock);
    }
    return count;
}

static uint32_t take_changed_tenants(struct dj_access *access, uint32_t count_max,
                                     struct dj_store_access *rows)
{
    uint32_t count = 0;
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    pthread_mutex_lock(&access->tenants_lock);
    while (count < count_max && dj_map_next(access->tenants, &cursor, &key, &value)) {
        struct dj_access_tenant *tenant = value;
        if (!tenant->is_changed)
            continue;
        tenant->is_changed = false;
        struct dj_store_access *row = &rows[count++];
        *row = (struct dj_store_access){.hits = tenant->sums.hits,
                                        .last_ms = tenant->last_ms,
                                        .verdicts = tenant->sums.verdicts,
                                        .verdicts_wrong = tenant->sums.verdicts_wrong};
        memcpy(row->key.tenant, key.data, sizeof row->key.tenant);
    }
    pthread_mutex_unlock(&access->tenants_lock);
    return count;
}

/* They differ from what a tier has, still. */
static void put_back(struct dj_access *access, const struct dj_store_access *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct dj_access_shard *shard = dj_access_shard_of(access, &rows[i].key);
        pthread_mutex_lock(&shard->lock);
        struct dj_access_row *row =
            dj_map_find(shard->rows, deja_slice(&rows[i].key, sizeof rows[i].key));
        if (row && dj_list_is_empty(&row->changed))
            dj_list_push_back(&shard->changed, &row->changed);
        pthread_mutex_unlock(&shard->lock);
    }
}

static void put_back_tenants(struct dj_access *access, const struct dj_store_access *rows,
                             uint32_t count)
{
    pthread_mutex_lock(&access->tenants_lock);
    for (uint32_t i = 0; i < count; i++) {
        struct dj_access_tenant *tenant =
            dj_map_find(access->tenants, deja_slice(rows[i].key.tenant, DJ_ID_BYTES));
        if (tenant)
            tenant->is_changed = true;
    }
    pthread_mutex_unlock(&access->tenants_lock);
}

/* False: one of those that keep them has no room now. */
static bool hand_over(struct dj_access *access, const struct dj_store_access *rows, uint32_t count)
{
    bool is_taken = true;
    for (uint32_t i = 0; i < access->options.store_count; i++) {
        struct dj_store *store = access->options.stores[i];
        if (store->ops->keep_access && store->ops->keep_access(store, rows, count) != DEJA_OK)
            is_taken = false;
    }
    return is_taken;
}

static bool has_keeper(const struct dj_access *access)
{
    for (uint32_t i = 0; i < access->options.store_count; i++)
        if (access->options.stores[i]->ops->keep_access)
            return true;
    return false;
}

void dj_access_keep(struct dj_access *access)
{
    uint32_t piece = access->options.batch < PIECE_MAX ? access->options.batch : PIECE_MAX;
    struct dj_store_access *rows = has_keeper(access) ? dj_alloc(piece * sizeof *rows) : NULL;
    if (!rows)
        return;
    dj_access_drain(access);
    uint32_t pieces_max = (access->options.rows_max + DJ_ACCESS_TENANTS_MAX) / piece + 2;
    bool is_tenants = false;
    bool is_taken = true;
    for (uint32_t i = 0; i < pieces_max && is_taken; i++) {
        uint32_t count = is_tenants ? 0 : take_changed(access, piece, rows);
        if (count == 0) {
            is_tenants = true;
            count = take_changed_tenants(access, piece, rows);
        }
        if (count == 0)
            break;
        is_taken = hand_over(access, rows, count);
        if (!is_taken && is_tenants)
            put_back_tenants(access, rows, count);
        else if (!is_taken)
            put_back(access, rows, count);
    }
    dj_free(rows);
}

static bool on_row(void *ctx, const struct dj_store_access *row)
{
    static const uint8_t no_id[DJ_ID_BYTES];
    struct dj_access *access = ctx;
    if (memcmp(row->key.id, no_id, DJ_ID_BYTES) == 0) {
        const struct dj_access_sums sums = {
            .hits = row->hits, .verdicts = row->verdicts, .verdicts_wrong = row->verdicts_wrong};
        dj_access_add_sums(access, row->key.tenant, &sums, row->last_ms, false);
    } else {
        dj_access_add_hits(access, &row->key, row->hits, row->last_ms, false);
    }
    return true;
}

void dj_access_load(struct dj_access *access)
{
    for (uint32_t i = 0; i < access->options.store_count; i++) {
        struct dj_store *store = access->options.stores[i];
        if (!store->ops->scan_access)
            continue;
        if (store->ops->scan_access(store, access, on_row) != DEJA_OK) {
            /* Counts begin anew: no reason not to serve. */
        }
        return; /* others keep the same */
    }
}
