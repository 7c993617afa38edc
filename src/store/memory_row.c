/* store/memory_row.c - which tenant has how much, per shard and in all.
 *
 * A row is a tenant in one shard and the writer's own; the sums over the shards are atomics that
 * the rows share. tenants_mutex is taken only when a row comes or goes, and by stats.
 */
#include "store/memory_internal.h"

#include "base/alloc.h"

static struct deja_slice id_slice(const uint8_t tenant[DJ_ID_BYTES])
{
    return deja_slice(tenant, DJ_ID_BYTES);
}

static struct dj_memory_tenant *tenant_acquire(struct dj_memory *memory,
                                               const uint8_t id[DJ_ID_BYTES])
{
    pthread_mutex_lock(&memory->tenants_mutex);
    struct dj_memory_tenant *tenant = dj_map_find(memory->tenants, id_slice(id));
    if (!tenant) {
        tenant = dj_alloc_zeroed(1, sizeof *tenant);
        if (tenant && dj_map_put(memory->tenants, id_slice(id), tenant, NULL) != DEJA_OK) {
            dj_free(tenant);
            tenant = NULL;
        }
    }
    if (tenant)
        tenant->row_count++;
    pthread_mutex_unlock(&memory->tenants_mutex);
    return tenant;
}

static void tenant_release(struct dj_memory *memory, struct dj_memory_tenant *tenant,
                           const uint8_t id[DJ_ID_BYTES])
{
    pthread_mutex_lock(&memory->tenants_mutex);
    if (--tenant->row_count == 0) {
        dj_map_remove(memory->tenants, id_slice(id));
        dj_free(tenant);
    }
    pthread_mutex_unlock(&memory->tenants_mutex);
}

/* Keeps the row's place on the shard's list of those above their share. */
static void note_share(struct dj_memory_shard *shard, struct dj_memory_row *row)
{
    bool is_over = row->count > shard->memory->row_entries_max;
    bool is_listed = !dj_list_is_empty(&row->over);
    if (is_over && !is_listed) {
        dj_list_push_back(&shard->over_rows, &row->over);
        shard->over_count++;
    } else if (!is_over && is_listed) {
        dj_list_remove(&row->over);
        shard->over_count--;
    }
}

static struct dj_memory_row *row_create(struct dj_memory_shard *shard,
                                        const uint8_t tenant[DJ_ID_BYTES])
{
    struct dj_memory_row *row = dj_alloc_zeroed(1, sizeof *row);
    if (!row)
        return NULL;
    memcpy(row->tenant_id, tenant, DJ_ID_BYTES);
    dj_list_init(&row->nodes);
    dj_list_init(&row->over);
    row->tenant = tenant_acquire(shard->memory, tenant);
    if (!row->tenant) {
        dj_free(row);
        return NULL;
    }
    if (dj_map_put(shard->rows, id_slice(tenant), row, NULL) != DEJA_OK) {
        tenant_release(shard->memory, row->tenant, tenant);
        dj_free(row);
        return NULL;
    }
    return row;
}

struct dj_memory_row *dj_memory_row_acquire(struct dj_memory_shard *shard,
                                            const uint8_t tenant[DJ_ID_BYTES])
{
    struct dj_memory_row *row = dj_map_find(shard->rows, id_slice(tenant));
    if (!row)
        row = row_create(shard, tenant);
    if (!row)
        return NULL;
    row->count++;
    note_share(shard, row);
    return row;
}

void dj_memory_row_release(struct dj_memory_shard *shard, struct dj_memory_row *row)
{
    row->count--;
    note_share(shard, row);
    if (row->count > 0)
        return;
    dj_map_remove(shard->rows, id_slice(row->tenant_id));
    tenant_release(shard->memory, row->tenant, row->tenant_id);
    dj_free(row);
}
