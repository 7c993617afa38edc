/* daemon/tenants.c - see tenants.h. A kept record is one byte of state and eight of last_seen_ms.
 */
#include "daemon/tenants.h"

#include <pthread.h>

#include "base/alloc.h"
#include "proxy/telemetry.h"
#include "store/lmdb.h"

#define TABLE "tenants"
#define RECORD_BYTES 9u
#define QUEUE_MAX 20000u

struct change {
    struct change *next;
    struct dj_tenant_record record;
    bool is_removal;
};

struct dj_tenants {
    struct dj_engine *engine;
    struct dj_lmdb_meta *meta;
    struct dj_pool *pool;
    struct dj_telemetry *telemetry; /* NULL: nobody counts */
    pthread_mutex_t lock;
    struct change *first;
    struct change **last;
    size_t count;
    struct dj_job job;
    bool is_job_running;
};

static void write_change(struct dj_tenants *tenants, const struct change *change)
{
    char bytes[RECORD_BYTES];
    struct deja_slice key = deja_slice(change->record.tenant, DJ_TENANT_BYTES);
    enum deja_status status = DEJA_OK;
    bytes[0] = (char)change->record.state;
    memcpy(bytes + 1, &change->record.last_seen_ms, sizeof change->record.last_seen_ms);
    if (change->is_removal) {
        /* Its suspension is forgotten with it, so what it stored must not come back. */
        status = dj_engine_forget(tenants->engine, change->record.tenant);
        if (status == DEJA_OK)
            status = dj_lmdb_meta_remove(tenants->meta, TABLE, key);
    } else {
        status = dj_lmdb_meta_put(tenants->meta, TABLE, key, deja_slice(bytes, sizeof bytes));
    }
    /* Not kept: after a restart the tenant proves itself again. */
    if (tenants->telemetry)
        dj_telemetry_contained(tenants->telemetry, "keep_tenant", status);
}

static struct change *take(struct dj_tenants *tenants)
{
    pthread_mutex_lock(&tenants->lock);
    struct change *change = tenants->first;
    if (change) {
        tenants->first = change->next;
        if (!tenants->first)
            tenants->last = &tenants->first;
        tenants->count--;
    } else {
        tenants->is_job_running = false;
    }
    pthread_mutex_unlock(&tenants->lock);
    return change;
}

static void write_changes(void *ctx)
{
    struct dj_tenants *tenants = ctx;
    struct change *change = NULL;
    while ((change = take(tenants))) {
        write_change(tenants, change);
        dj_free(change);
    }
}

static void add(struct dj_tenants *tenants, const struct dj_tenant_record *record, bool is_removal)
{
    struct change *change = dj_alloc_zeroed(1, sizeof *change);
    if (!change) {
        if (tenants->telemetry)
            dj_telemetry_contained(tenants->telemetry, "keep_tenant", DEJA_ERR_NOMEM);
        return;
    }
    *change = (struct change){.record = *record, .is_removal = is_removal};
    pthread_mutex_lock(&tenants->lock);
    bool is_kept = tenants->count < QUEUE_MAX;
    if (is_kept) {
        *tenants->last = change;
        tenants->last = &change->next;
        tenants->count++;
    }
    if (!tenants->is_job_running) {
        tenants->job = (struct dj_job){.work = write_changes, .ctx = tenants};
        tenants->is_job_running = dj_pool_submit(tenants->pool, &tenants->job) == DEJA_OK;
    }
    pthread_mutex_unlock(&tenants->lock);
    if (!is_kept)
        dj_free(change);
}

static void on_persist(void *ctx, const struct dj_tenant_record *record)
{
    add(ctx, record, false);
}

static void on_remove(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES])
{
    struct dj_tenant_record record = {.last_seen_ms = 0};
    memcpy(record.tenant, tenant, sizeof record.tenant);
    add(ctx, &record, true);
}

static bool on_kept(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct dj_registry *registry = ctx;
    struct dj_tenant_record record;
    if (key.len != sizeof record.tenant || value.len != RECORD_BYTES)
        return true;
    memcpy(record.tenant, key.data, sizeof record.tenant);
    record.state = (enum dj_tenant_state)value.data[0];
    memcpy(&record.last_seen_ms, value.data + 1, sizeof record.last_seen_ms);
    enum deja_status status = dj_registry_load(registry, &record);
    return status != DEJA_ERR_NOMEM && status != DEJA_ERR_LIMIT;
}

enum deja_status dj_tenants_create(struct dj_engine *engine, struct dj_lmdb_meta *meta,
                                   struct dj_pool *pool, size_t tenants_max,
                                   struct dj_tenants **out_tenants,
                                   struct dj_registry **out_registry)
{
    struct dj_tenants *tenants = dj_alloc_zeroed(1, sizeof *tenants);
    struct dj_registry *registry = NULL;
    if (!tenants)
        return DEJA_ERR_NOMEM;
    tenants->engine = engine;
    tenants->meta = meta;
    tenants->pool = pool;
    tenants->last = &tenants->first;
    pthread_mutex_init(&tenants->lock, NULL);
    const struct dj_registry_storage storage = {
        .ctx = tenants, .persist = on_persist, .remove = on_remove};
    enum deja_status status = dj_registry_create(tenants_max, meta ? &storage : NULL, &registry);
    if (status == DEJA_OK && meta) {
        status = dj_lmdb_meta_walk(meta, TABLE, registry, on_kept);
        if (status == DEJA_ERR_NOT_FOUND)
            status = DEJA_OK; /* first start */
    }
    if (status != DEJA_OK) {
        dj_registry_destroy(registry);
        dj_tenants_destroy(tenants);
        return status;
    }
    *out_tenants = tenants;
    *out_registry = registry;
    return DEJA_OK;
}

void dj_tenants_destroy(struct dj_tenants *tenants)
{
    if (!tenants)
        return;
    while (tenants->first) {
        struct change *next = tenants->first->next;
        dj_free(tenants->first);
        tenants->first = next;
    }
    pthread_mutex_destroy(&tenants->lock);
    dj_free(tenants);
}

void dj_tenants_set_telemetry(struct dj_tenants *tenants, struct dj_telemetry *telemetry)
{
    tenants->telemetry = telemetry;
}
