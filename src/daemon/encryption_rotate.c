/* daemon/encryption_rotate.c - new keys, and what the old ones sealed under them.
 *
 *   worker: whose turn ──> tenant: worker: new key ──> store: list a page ── worker: seal anew ──
 *     put each ──> next page … next store … a round that met none: worker: old keys destroyed ──>
 *     next tenant
 *
 * (1) Old keys are destroyed only after a whole round met nothing under them and no tier failed:
 *     what is under way when a round begins is met by the next. Programs that share a tier learn of
 *     a new key within encryption.refresh, so rounds are twice that apart there.
 * (2) A tenant that fails keeps its old keys and is tried again at the next look; the next tenant's
 *     turn comes all the same.
 * (3) What is put carries the next version outside (store/sealed_form.h), so an entry that was
 *     written or removed meanwhile wins.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "daemon/encryption_internal.h"
#include "store/sealed_form.h"

#define ROUNDS_MAX 20u
#define PAUSE_MS_MIN 50u

static void next_tenant(struct dj_encryption *encryption);
static void next_page(struct dj_encryption *encryption);

static struct rotation *rotation_of(struct dj_encryption *encryption)
{
    return &encryption->rotation;
}

static const uint8_t *tenant_of(const struct rotation *rotation)
{
    return rotation->tenants[rotation->index];
}

/* On a worker, then done on loop 0. */
static enum deja_status work(struct dj_encryption *encryption, dj_work_fn *run, dj_task_fn *done)
{
    struct rotation *rotation = rotation_of(encryption);
    rotation->job = (struct dj_job){
        .work = run, .done = done, .ctx = encryption, .loop = encryption->daemon->loops[0]};
    return dj_pool_submit(encryption->daemon->work, &rotation->job);
}

/* ---- whose turn it is ---- */

/* The newest living key of a tenant, out of a walk in no order. */
struct seen {
    uint8_t tenant[DJ_TENANT_BYTES];
    uint32_t newest;
    int64_t created_ms;
    uint32_t living;
    bool is_locked;
    bool is_previous; /* one of them is of the previous master key */
};

struct look {
    struct key_counts counts;
    struct seen *seen;
    size_t count;
    size_t room;
    bool is_out_of_memory;
};

static struct seen *seen_of(struct look *look, const uint8_t tenant[DJ_TENANT_BYTES])
{
    /* Most authorities tell a tenant's keys one after the other. */
    for (size_t i = look->count; i > 0 && i + 8 > look->count; i--)
        if (memcmp(look->seen[i - 1].tenant, tenant, DJ_TENANT_BYTES) == 0)
            return &look->seen[i - 1];
    if (look->count == look->room) {
        size_t room = look->room ? look->room * 2 : 64;
        struct seen *more = dj_realloc(look->seen, room * sizeof *more);
        if (!more) {
            look->is_out_of_memory = true;
            return NULL;
        }
        look->seen = more;
        look->room = room;
    }
    struct seen *seen = &look->seen[look->count++];
    *seen = (struct seen){.newest = 0};
    memcpy(seen->tenant, tenant, DJ_TENANT_BYTES);
    return seen;
}

static void on_key(void *ctx, const struct dj_data_key *key)
{
    struct look *look = ctx;
    if (key->is_destroyed) {
        look->counts.destroyed++;
        return;
    }
    struct seen *seen = seen_of(look, key->tenant);
    if (!seen)
        return;
    seen->living++;
    look->counts.locked += key->is_locked;
    seen->is_locked |= key->is_locked;
    look->counts.previous += key->is_previous;
    seen->is_previous |= key->is_previous;
    if (key->id > seen->newest) {
        seen->newest = key->id;
        seen->created_ms = key->created_ms;
    }
}

static int compare_seen(const void *a, const void *b)
{
    return memcmp(((const struct seen *)a)->tenant, ((const struct seen *)b)->tenant,
                  DJ_TENANT_BYTES);
}

/* Those told of apart from each other become one. */
static void merge(struct look *look)
{
    size_t count = 0;
    if (look->count)
        qsort(look->seen, look->count, sizeof *look->seen, compare_seen);
    for (size_t i = 0; i < look->count; i++) {
        struct seen *last = count ? &look->seen[count - 1] : NULL;
        const struct seen *seen = &look->seen[i];
        if (!last || memcmp(last->tenant, seen->tenant, DJ_TENANT_BYTES) != 0) {
            look->seen[count++] = *seen;
            continue;
        }
        last->living += seen->living;
        last->is_locked |= seen->is_locked;
        last->is_previous |= seen->is_previous;
        if (seen->newest > last->newest) {
            last->newest = seen->newest;
            last->created_ms = seen->created_ms;
        }
    }
    look->count = count;
}

static bool is_turn(const struct dj_encryption *encryption, const struct rotation *rotation,
                    const struct seen *seen)
{
    int64_t age_ms = dj_clock_now_ms() - seen->created_ms;
    if (rotation->has_one)
        return memcmp(seen->tenant, rotation->one, DJ_TENANT_BYTES) == 0;
    if (rotation->is_asked)
        return true;
    return seen->living > 1 || /* a rotation that was not finished */
           seen->is_previous ||
           age_ms >= (int64_t)encryption->daemon->settings->encryption.rotation_ms ||
           dj_keyring_is_due(encryption->keyring, seen->tenant);
}

enum deja_status encryption_look(struct dj_encryption *encryption, struct rotation *rotation)
{
    struct look look = {.count = 0};
    enum deja_status status = dj_keyring_walk(encryption->keyring, &look, on_key);
    if (status == DEJA_OK && look.is_out_of_memory)
        status = DEJA_ERR_NOMEM;
    merge(&look);
    look.counts.tenants = look.count;
    for (size_t i = 0; i < look.count; i++) {
        look.counts.active++;
        look.counts.old += look.seen[i].living - 1;
    }
    if (status == DEJA_OK && rotation && look.count) {
        rotation->tenants = dj_alloc_zeroed(look.count, sizeof *rotation->tenants);
        if (!rotation->tenants)
            status = DEJA_ERR_NOMEM;
        for (size_t i = 0; i < look.count && status == DEJA_OK; i++)
            if (rotation->tenant_count < ENCRYPTION_TENANTS_MAX &&
                is_turn(encryption, rotation, &look.seen[i]))
                memcpy(rotation->tenants[rotation->tenant_count++], look.seen[i].tenant,
                       DJ_TENANT_BYTES);
    }
    if (status == DEJA_OK) {
        pthread_mutex_lock(&encryption->mutex);
        encryption->counts = look.counts;
        pthread_mutex_unlock(&encryption->mutex);
    }
    dj_free(look.seen);
    return status;
}

/* ---- beginning and ending ---- */

void encryption_drop_rotation(struct dj_encryption *encryption)
{
    struct rotation *rotation = rotation_of(encryption);
    for (uint32_t i = 0; i < rotation->page.count; i++)
        dj_value_unref(rotation->page.values[i]);
    dj_free(rotation->tenants);
    *rotation = (struct rotation){.tenants = NULL};
}

static void note_end(struct dj_encryption *encryption)
{
    pthread_mutex_lock(&encryption->mutex);
    struct rotation_progress *progress = &encryption->progress;
    progress->is_running = false;
    progress->ended_ms = dj_clock_now_ms();
    struct rotation_progress told = *progress;
    pthread_mutex_unlock(&encryption->mutex);
    const struct dj_log_field fields[] = {DJ_LOG_I64("tenants", (int64_t)told.tenants),
                                          DJ_LOG_I64("failed", (int64_t)told.tenants_failed),
                                          DJ_LOG_I64("records", (int64_t)told.records),
                                          DJ_LOG_I64("took_ms", told.ended_ms - told.started_ms),
                                          {.name = NULL}};
    if (told.tenants)
        dj_log_write(encryption->daemon->log, told.tenants_failed ? DJ_LOG_WARN : DJ_LOG_INFO,
                     "data keys were rotated", fields);
}

static void on_counted(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    encryption_drop_rotation(encryption);
    note_end(encryption);
}

static void count_again(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    if (encryption_look(encryption, NULL) != DEJA_OK)
        return; /* the figures stay those of the last look */
}

static void end(struct dj_encryption *encryption)
{
    if (work(encryption, count_again, on_counted) != DEJA_OK)
        on_counted(encryption);
}

static void collect(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    struct rotation *rotation = rotation_of(encryption);
    rotation->status = encryption_look(encryption, rotation);
}

static void on_collected(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    struct rotation *rotation = rotation_of(encryption);
    if (atomic_load(&encryption->is_stopping))
        return;
    pthread_mutex_lock(&encryption->mutex);
    encryption->progress.tenants = rotation->tenant_count;
    encryption->progress.tenants_failed = rotation->status != DEJA_OK;
    pthread_mutex_unlock(&encryption->mutex);
    next_tenant(encryption);
}

void encryption_begin_rotation(struct dj_encryption *encryption)
{
    pthread_mutex_lock(&encryption->mutex);
    encryption->is_requested = false;
    encryption->rotation = encryption->wanted;
    encryption->progress =
        (struct rotation_progress){.is_running = true, .started_ms = dj_clock_now_ms()};
    pthread_mutex_unlock(&encryption->mutex);
    if (work(encryption, collect, on_collected) != DEJA_OK)
        note_end(encryption);
}

/* ---- one tenant ---- */

static void finish_tenant(struct dj_encryption *encryption, enum deja_status status)
{
    struct rotation *rotation = rotation_of(encryption);
    pthread_mutex_lock(&encryption->mutex);
    encryption->progress.tenants_done++;
    encryption->progress.tenants_failed += status != DEJA_OK;
    pthread_mutex_unlock(&encryption->mutex);
    if (status != DEJA_OK) {
        char tenant[DJ_TENANT_TEXT_BYTES];
        dj_tenant_text(tenant_of(rotation), tenant);
        const struct dj_log_field fields[] = {
            DJ_LOG_TEXT("tenant", tenant),
            DJ_LOG_TEXT("reason", deja_status_text(status)),
            DJ_LOG_TEXT("cure", "it is tried again; its old keys are kept until then"),
            {.name = NULL}};
        dj_log_write(encryption->daemon->log, DJ_LOG_WARN, "a tenant's keys were not rotated",
                     fields);
    }
    rotation->index++;
    next_tenant(encryption);
}

static void make_key(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    struct rotation *rotation = rotation_of(encryption);
    const uint8_t *tenant = tenant_of(rotation);
    uint32_t before = 0;
    enum deja_status status = dj_keyring_fetch(encryption->keyring, tenant);
    if (status == DEJA_OK)
        before = dj_keyring_active(encryption->keyring, tenant);
    bool is_due = rotation->is_asked || dj_keyring_is_due(encryption->keyring, tenant) ||
                  dj_keyring_is_older(encryption->keyring, tenant,
                                      encryption->daemon->settings->encryption.rotation_ms);
    if (is_due && (status == DEJA_OK || (status == DEJA_ERR_DENIED && rotation->has_lost_master)))
        status = dj_keyring_rotate(encryption->keyring, tenant, rotation->has_lost_master);
    rotation->active = dj_keyring_active(encryption->keyring, tenant);
    if (status == DEJA_OK && rotation->active < before)
        status = DEJA_ERR_BUSY;
    rotation->status = status;
}

static void begin_round(struct dj_encryption *encryption)
{
    struct rotation *rotation = rotation_of(encryption);
    rotation->store = 0;
    rotation->found = 0;
    rotation->round++;
    rotation->page = (struct dj_store_page){.has_vectors = true};
    next_page(encryption);
}

static void on_made(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    struct rotation *rotation = rotation_of(encryption);
    if (atomic_load(&encryption->is_stopping))
        return;
    if (rotation->status != DEJA_OK) {
        finish_tenant(encryption, rotation->status);
        return;
    }
    rotation->round = 0;
    rotation->failed = 0;
    begin_round(encryption);
}

static void next_tenant(struct dj_encryption *encryption)
{
    struct rotation *rotation = rotation_of(encryption);
    if (rotation->index == rotation->tenant_count)
        end(encryption);
    else if (work(encryption, make_key, on_made) != DEJA_OK)
        end(encryption);
}

static void destroy_old(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    struct rotation *rotation = rotation_of(encryption);
    rotation->status =
        dj_keyring_destroy_old(encryption->keyring, tenant_of(rotation), rotation->active);
}

static void on_destroyed(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    if (!atomic_load(&encryption->is_stopping))
        finish_tenant(encryption, rotation_of(encryption)->status);
}

void encryption_on_pause(void *ctx)
{
    begin_round(ctx);
}

static void finish_round(struct dj_encryption *encryption)
{
    struct rotation *rotation = rotation_of(encryption);
    uint64_t apart_ms = PAUSE_MS_MIN;
    if (encryption->is_remote)
        apart_ms = 2 * encryption->daemon->settings->encryption.refresh_ms;
    bool is_clean = rotation->found == 0 && rotation->round > 1;
    if (rotation->failed || (!is_clean && rotation->round == ROUNDS_MAX))
        finish_tenant(encryption, DEJA_ERR_CACHE_UNAVAILABLE);
    else if (!is_clean)
        dj_timer_start(encryption->pause, apart_ms, 0);
    else if (work(encryption, destroy_old, on_destroyed) != DEJA_OK)
        finish_tenant(encryption, DEJA_ERR_BUSY);
}

/* ---- a page of a store ---- */

static void note(struct dj_encryption *encryption, bool is_ok)
{
    pthread_mutex_lock(&encryption->mutex);
    encryption->progress.records += is_ok;
    encryption->progress.records_failed += !is_ok;
    pthread_mutex_unlock(&encryption->mutex);
    rotation_of(encryption)->failed += !is_ok;
}

static void next_store(struct dj_encryption *encryption)
{
    struct rotation *rotation = rotation_of(encryption);
    rotation->store++;
    rotation->page = (struct dj_store_page){.has_vectors = true};
    next_page(encryption);
}

static void end_put(struct dj_encryption *encryption)
{
    struct rotation *rotation = rotation_of(encryption);
    if (--rotation->pending > 0)
        return;
    if (rotation->page.is_last)
        next_store(encryption);
    else
        next_page(encryption);
}

static void on_put(void *ctx, enum deja_status status, uint64_t removed)
{
    struct dj_encryption *encryption = ctx;
    (void)removed;
    if (atomic_load(&encryption->is_stopping))
        return;
    note(encryption, status == DEJA_OK);
    end_put(encryption);
}

/* On a worker: what is under an old key becomes what is to be put, and the rest leaves the page. */
static void seal_page(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    struct rotation *rotation = rotation_of(encryption);
    uint32_t left = 0;
    for (uint32_t i = 0; i < rotation->page.count; i++) {
        struct dj_value *value = rotation->page.values[i];
        const struct dj_entry *kept = dj_value_entry(value);
        struct dj_value *anew;
        if (kept->key_id && kept->key_id < rotation->active) {
            enum deja_status status = dj_seal_anew(encryption->keyring, kept, &anew);
            rotation->found += status == DEJA_OK;
            if (status == DEJA_OK)
                rotation->page.values[left++] = anew;
            else if (status == DEJA_ERR_NOMEM)
                rotation->status = status;
            /* What does not open is lost already; it ends with its key. */
        }
        dj_value_unref(value);
    }
    rotation->page.count = left;
}

static void on_sealed(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    struct rotation *rotation = rotation_of(encryption);
    if (atomic_load(&encryption->is_stopping))
        return;
    struct dj_store *inner = dj_sealed_store_inner(encryption->stores[rotation->store]);
    uint32_t count = rotation->page.count;
    rotation->failed += rotation->status != DEJA_OK;
    rotation->pending = 1;
    for (uint32_t i = 0; i < count; i++) {
        struct dj_value *value = rotation->page.values[i];
        enum deja_status status = inner->ops->put(inner, encryption->daemon->loops[0], value, NULL,
                                                  0, encryption, on_put);
        dj_value_unref(value);
        if (status == DEJA_OK)
            rotation->pending++;
        else
            note(encryption, false);
    }
    rotation->page.count = 0;
    end_put(encryption);
}

static void on_listed(void *ctx, enum deja_status status, uint64_t count)
{
    struct dj_encryption *encryption = ctx;
    struct rotation *rotation = rotation_of(encryption);
    (void)count;
    if (atomic_load(&encryption->is_stopping))
        return;
    rotation->status = DEJA_OK;
    if (status == DEJA_OK && work(encryption, seal_page, on_sealed) == DEJA_OK)
        return;
    if (status == DEJA_OK)
        while (rotation->page.count > 0)
            dj_value_unref(rotation->page.values[--rotation->page.count]);
    rotation->failed++;
    next_store(encryption);
}

static void next_page(struct dj_encryption *encryption)
{
    struct rotation *rotation = rotation_of(encryption);
    for (; rotation->store < encryption->store_count; rotation->store++) {
        struct dj_store *inner = dj_sealed_store_inner(encryption->stores[rotation->store]);
        rotation->page.count = 0;
        if (!encryption->is_rotated[rotation->store] || !inner->ops->list)
            continue;
        if (inner->ops->list(inner, encryption->daemon->loops[0], tenant_of(rotation),
                             &rotation->page, encryption, on_listed) == DEJA_OK)
            return;
        rotation->failed++;
        rotation->page = (struct dj_store_page){.has_vectors = true};
    }
    finish_round(encryption);
}
