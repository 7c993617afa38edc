/* daemon/encryption.c - see encryption.h: making, wrapping, the timers, and what people are told.
 */
#include "daemon/encryption.h"

#include <assert.h>

#include "base/alloc.h"
#include "daemon/encryption_internal.h"
#include "daemon/tier_redis.h"
#include "proto/json.h"

#define KEYS_TIMEOUT_MS 3000u /* of one look at keys in a shared tier */

/* ---- life ---- */

static void warn(const struct dj_encryption *encryption, const char *what, const char *reason,
                 const char *cure)
{
    const struct dj_log_field fields[] = {
        DJ_LOG_TEXT("reason", reason), DJ_LOG_TEXT("cure", cure), {.name = NULL}};
    dj_log_write(encryption->daemon->log, DJ_LOG_WARN, what, fields);
}

/* Once, at the start. */
static void say_state(const struct dj_encryption *encryption)
{
    if (!encryption->keyring)
        warn(encryption, "what is kept outside memory is not encrypted",
             "encryption.enabled is false", "take that out, unless it is meant so");
    else if (encryption->source == DJ_MASTER_KEY_DERIVED)
        warn(encryption, "encryption protects only against who cannot read the deployment's secret",
             "the master key is derived from that secret, which a shared Valkey keeps, too",
             "set encryption.master_key, the same for every program");
    if (encryption->keyring && encryption->counts.locked) {
        const struct dj_log_field fields[] = {
            DJ_LOG_I64("keys", (int64_t)encryption->counts.locked),
            DJ_LOG_TEXT("master_key", dj_master_key_source_text(encryption->source)),
            DJ_LOG_TEXT("cure",
                        "bring the right master key back; or, if it is lost, deja "
                        "encryption rotate --lost-master: what was sealed is then given up"),
            {.name = NULL}};
        dj_log_write(encryption->daemon->log, DJ_LOG_ERROR,
                     "stored keys are of another master key: what they sealed is not read, and "
                     "nothing is written for their tenants",
                     fields);
    }
}

static enum deja_status make_keyring(struct dj_encryption *encryption, struct deja_error *error)
{
    struct dj_daemon *daemon = encryption->daemon;
    struct dj_secret master;
    struct dj_secret previous;
    bool has_previous = false;
    enum deja_status status =
        dj_master_key_load(daemon->settings, encryption->is_remote ? daemon->secret.bytes : NULL,
                           &master, &encryption->source, error);
    if (status != DEJA_OK)
        return status;
    status = dj_master_key_load_previous(daemon->settings, encryption->source, &previous,
                                         &has_previous, error);
    const struct dj_keyring_options options = {.master = master.bytes,
                                               .previous = has_previous ? previous.bytes : NULL,
                                               .authority = &encryption->authority,
                                               .now_ms = dj_clock_now_ms};
    bool is_loaded = status == DEJA_OK;
    if (is_loaded)
        status = dj_keyring_create(&options, &encryption->keyring);
    dj_secret_fini(&master);
    dj_secret_fini(&previous);
    if (!is_loaded)
        return status;
    /* A cold one's loop does not run yet. An authority that is away, or answers what makes no
     * sense, does not keep the daemon from starting (I4): it is looked at again and again. */
    if (status == DEJA_OK && !encryption->cold &&
        encryption_look(encryption, NULL) == DEJA_ERR_NOMEM)
        status = DEJA_ERR_NOMEM;
    return status == DEJA_OK
               ? status
               : deja_error_set(error, status, "data keys: %s", deja_status_text(status));
}

static uint64_t now_us(void)
{
    return (uint64_t)dj_clock_now_ms() * 1000;
}

/* Where wrapped keys are kept: this deployment's authority, or, where it is this machine's alone
 * and programs share a Valkey or Redis, that one. */
static enum deja_status choose_authority(struct dj_encryption *encryption,
                                         struct dj_store *const *stores, uint32_t count)
{
    struct dj_daemon *daemon = encryption->daemon;
    encryption->authority = *daemon->authority;
    encryption->authority.pull = NULL; /* its changes come by the watcher */
    if (strcmp(daemon->authority->name, "lmdb") != 0 || count == 0)
        return DEJA_OK;
    if (!daemon->redis) {
        enum deja_status made = dj_store_documents_create(stores[count - 1], daemon->loops[0],
                                                          KEYS_TIMEOUT_MS, &encryption->cold);
        if (made == DEJA_OK)
            encryption->authority = dj_store_documents_table(encryption->cold);
        return made;
    }
    const struct dj_redis_options options = dj_tier_redis_options(daemon->settings);
    enum deja_status status =
        dj_redis_documents_create(&options, KEYS_TIMEOUT_MS, now_us, &encryption->documents);
    if (status == DEJA_OK)
        encryption->authority = dj_redis_documents_table(encryption->documents);
    return status;
}

enum deja_status dj_encryption_create(struct dj_daemon *daemon, struct dj_store *const *stores,
                                      uint32_t count, struct deja_error *error)
{
    struct dj_encryption *encryption = dj_alloc_zeroed(1, sizeof *encryption);
    if (!encryption)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    encryption->daemon = daemon;
    encryption->is_remote = count > 0;
    int code = pthread_mutex_init(&encryption->mutex, NULL);
    assert(code == 0);
    daemon->encryption = encryption;
    enum deja_status status = choose_authority(encryption, stores, count);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "data keys: %s", deja_status_text(status));
    if (daemon->settings->encryption.is_enabled)
        status = make_keyring(encryption, error);
    if (status != DEJA_OK)
        return status;
    if (encryption->keyring && !encryption->documents && !encryption->cold) {
        const struct dj_authority_watcher watcher = {.ctx = encryption->keyring,
                                                     .changed = dj_keyring_changed};
        dj_authorities_watch(daemon->authorities, &watcher);
    }
    say_state(encryption);
    return DEJA_OK;
}

void dj_encryption_destroy(struct dj_encryption *encryption)
{
    if (!encryption)
        return;
    encryption_drop_rotation(encryption);
    dj_keyring_destroy(encryption->keyring);
    dj_redis_documents_destroy(encryption->documents);
    dj_store_documents_destroy(encryption->cold);
    pthread_mutex_destroy(&encryption->mutex);
    dj_free(encryption);
}

/* How long the tier keeps entries of a kind; a store that has no level's name stands for LMDB. */
static struct dj_stay stay_of(const struct dj_daemon *daemon, const struct dj_store *store)
{
    uint32_t bit = dj_level_bit(deja_slice_text(store->ops->level));
    enum dj_level level = DJ_LEVEL_LMDB;
    for (uint32_t i = 0; i < DJ_LEVEL_COUNT; i++)
        if (bit == DJ_LEVEL_BIT(i))
            level = (enum dj_level)i;
    return dj_kind_book_stay(daemon->kinds, level);
}

enum deja_status dj_encryption_wrap(struct dj_encryption *encryption, struct dj_store *store,
                                    enum dj_sealed_vectors vectors, bool is_rotated,
                                    struct dj_store **out_store)
{
    const struct dj_sealed_options options = {
        .keyring = encryption->keyring,
        .pool = encryption->daemon->work,
        .vectors = vectors,
        .packing = dj_settings_packing(&encryption->daemon->settings->compression),
        .stay = stay_of(encryption->daemon, store),
        .refuses_plain = !encryption->daemon->settings->encryption.accept_plain};
    assert(encryption->store_count < ENCRYPTION_STORES_MAX);
    struct dj_store *sealed;
    enum deja_status status = dj_sealed_store_open(store, &options, &sealed);
    if (status != DEJA_OK)
        return status;
    encryption->is_rotated[encryption->store_count] = is_rotated;
    encryption->stores[encryption->store_count++] = sealed;
    *out_store = sealed;
    return DEJA_OK;
}

struct dj_keyring *dj_encryption_keyring(struct dj_encryption *encryption)
{
    return encryption ? encryption->keyring : NULL;
}

/* ---- following others ---- */

static void refresh(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    atomic_store(&encryption->refresh_status, dj_keyring_refresh(encryption->keyring));
}

static void on_refreshed(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    encryption->is_refreshing = false;
}

static void on_refresh(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    if (encryption->is_refreshing)
        return;
    encryption->refreshing = (struct dj_job){.work = refresh,
                                             .done = on_refreshed,
                                             .ctx = encryption,
                                             .loop = encryption->daemon->loops[0]};
    encryption->is_refreshing =
        dj_pool_submit(encryption->daemon->work, &encryption->refreshing) == DEJA_OK;
}

/* ---- rotation by the clock and on demand ---- */

static void on_check(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    pthread_mutex_lock(&encryption->mutex);
    bool is_idle = !encryption->progress.is_running && !encryption->is_requested;
    if (is_idle)
        encryption->wanted = (struct rotation){.is_asked = false};
    pthread_mutex_unlock(&encryption->mutex);
    if (is_idle)
        encryption_begin_rotation(encryption);
}

static void on_request(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    if (!atomic_load(&encryption->is_stopping))
        encryption_begin_rotation(encryption);
}

enum deja_status dj_encryption_rotate(void *ctx, const uint8_t *tenant, bool has_lost_master)
{
    struct dj_encryption *encryption = ctx;
    if (!encryption->keyring)
        return DEJA_ERR_UNSUPPORTED;
    pthread_mutex_lock(&encryption->mutex);
    bool is_busy = encryption->progress.is_running || encryption->is_requested;
    if (!is_busy) {
        encryption->is_requested = true;
        encryption->wanted = (struct rotation){
            .is_asked = true, .has_lost_master = has_lost_master, .has_one = tenant != NULL};
        if (tenant)
            memcpy(encryption->wanted.one, tenant, DJ_TENANT_BYTES);
    }
    pthread_mutex_unlock(&encryption->mutex);
    if (is_busy)
        return DEJA_ERR_BUSY;
    encryption->request = (struct dj_task){.run = on_request, .ctx = encryption};
    dj_loop_post(encryption->daemon->loops[0], &encryption->request);
    return DEJA_OK;
}

enum deja_status dj_encryption_start(struct dj_encryption *encryption)
{
    const struct dj_settings_encryption *settings = &encryption->daemon->settings->encryption;
    struct dj_loop *loop = encryption->daemon->loops[0];
    if (!encryption->keyring)
        return DEJA_OK;
    enum deja_status status = dj_timer_create(loop, encryption, on_refresh, &encryption->refresh);
    if (status == DEJA_OK)
        status = dj_timer_create(loop, encryption, on_check, &encryption->check);
    if (status == DEJA_OK)
        status = dj_timer_create(loop, encryption, encryption_on_pause, &encryption->pause);
    if (status != DEJA_OK)
        return status;
    dj_timer_start(encryption->refresh, settings->refresh_ms, settings->refresh_ms);
    /* Soon, too: a rotation that the last stop cut short goes on. */
    uint64_t soon_ms = settings->check_ms < 60000 ? settings->check_ms : 60000;
    if (encryption->counts.previous)
        soon_ms = 1;
    dj_timer_start(encryption->check, soon_ms, settings->check_ms);
    return DEJA_OK;
}

void dj_encryption_stop(struct dj_encryption *encryption)
{
    if (!encryption)
        return;
    atomic_store(&encryption->is_stopping, true);
    if (encryption->cold)
        dj_store_documents_stop(encryption->cold);
    dj_timer_destroy(encryption->refresh);
    dj_timer_destroy(encryption->check);
    dj_timer_destroy(encryption->pause);
    encryption->refresh = NULL;
    encryption->check = NULL;
    encryption->pause = NULL;
}

/* ---- what people are told ---- */

static void write_keys(struct dj_json_writer *w, const struct key_counts *counts)
{
    dj_json_key(w, "keys");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "tenants", counts->tenants);
    dj_json_member_u64(w, "active", counts->active);
    dj_json_member_u64(w, "old", counts->old);
    dj_json_member_u64(w, "destroyed", counts->destroyed);
    dj_json_member_u64(w, "of_another_master_key", counts->locked);
    dj_json_member_u64(w, "of_previous_master_key", counts->previous);
    dj_json_end_object(w);
}

static void write_records(struct dj_json_writer *w, const struct dj_encryption *encryption)
{
    struct dj_sealed_report sum = {.sealed = 0};
    for (uint32_t i = 0; i < encryption->store_count; i++) {
        struct dj_sealed_report report;
        dj_sealed_store_report(encryption->stores[i], &report);
        sum.sealed += report.sealed;
        sum.opened += report.opened;
        sum.plain += report.plain;
        sum.refused += report.refused;
        sum.unreadable += report.unreadable;
    }
    dj_json_key(w, "records");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "sealed", sum.sealed);
    dj_json_member_u64(w, "opened", sum.opened);
    dj_json_member_u64(w, "plain", sum.plain);
    dj_json_member_u64(w, "refused", sum.refused);
    dj_json_member_u64(w, "unreadable", sum.unreadable);
    dj_json_end_object(w);
}

static void write_rotation(struct dj_json_writer *w, const struct rotation_progress *progress)
{
    dj_json_key(w, "rotation");
    if (!progress->started_ms) {
        dj_json_put_null(w);
        return;
    }
    dj_json_begin_object(w);
    dj_json_member_text(w, "status",
                        progress->is_running       ? "running"
                        : progress->tenants_failed ? "failed"
                                                   : "done");
    dj_json_member_u64(w, "started_ms", (uint64_t)progress->started_ms);
    dj_json_key(w, "ended_ms");
    if (progress->is_running)
        dj_json_put_null(w);
    else
        dj_json_put_i64(w, progress->ended_ms);
    dj_json_member_u64(w, "tenants", progress->tenants);
    dj_json_member_u64(w, "tenants_done", progress->tenants_done);
    dj_json_member_u64(w, "tenants_failed", progress->tenants_failed);
    dj_json_member_u64(w, "records", progress->records);
    dj_json_member_u64(w, "records_failed", progress->records_failed);
    dj_json_end_object(w);
}

void dj_encryption_write(void *ctx, struct dj_json_writer *w)
{
    struct dj_encryption *encryption = ctx;
    dj_json_member_bool(w, "enabled", encryption->keyring != NULL);
    if (!encryption->keyring)
        return;
    struct dj_keyring_figures figures;
    dj_keyring_look(encryption->keyring, &figures);
    pthread_mutex_lock(&encryption->mutex);
    struct key_counts counts = encryption->counts;
    struct rotation_progress progress = encryption->progress;
    progress.is_running = progress.is_running || encryption->is_requested;
    pthread_mutex_unlock(&encryption->mutex);
    if (progress.is_running && !progress.started_ms)
        progress.started_ms = dj_clock_now_ms();
    dj_json_member_text(w, "master_key", dj_master_key_source_text(encryption->source));
    dj_json_member_text(w, "authority", encryption->authority.name);
    dj_json_member_bool(w, "keys_swappable", figures.is_swappable);
    write_keys(w, &counts);
    write_records(w, encryption);
    write_rotation(w, &progress);
}

bool dj_encryption_is_on(void *ctx)
{
    const struct dj_encryption *encryption = ctx;
    return encryption->keyring != NULL;
}

const char *dj_encryption_trouble(void *ctx)
{
    struct dj_encryption *encryption = ctx;
    struct dj_keyring_figures figures;
    if (!encryption->keyring)
        return NULL;
    dj_keyring_look(encryption->keyring, &figures);
    pthread_mutex_lock(&encryption->mutex);
    bool is_locked = encryption->counts.locked || figures.locked;
    bool has_failed = !encryption->progress.is_running && encryption->progress.tenants_failed;
    pthread_mutex_unlock(&encryption->mutex);
    if (is_locked)
        return "stored keys are of another master key: bring it back, or deja encryption rotate "
               "--lost-master";
    if (atomic_load(&encryption->refresh_status) != DEJA_OK)
        return "the store of keys does not answer: keys that are not in memory are missed";
    return has_failed ? "the last rotation of keys was not finished for every tenant; it is tried "
                        "again"
                      : NULL;
}
