/* store/lmdb.c - opening and closing the embedded tier, and its side of the store table.
 *
 * What `meta` remembers about `entries`, in table "state":
 *
 *   boot       the boot id of the last process that opened it
 *   clean      "1" after a close that synced; "0" while open
 *   verifying  "1" during a walk: found at start, the walk did not survive the damage
 *   suspect    "1": LMDB met a damaged page while running
 *
 *   clean, or the same boot id  ──> trusted: a killed process leaves its pages with the kernel
 *   else                        ──> verified; damaged ──> discarded (a cache may forget)
 */
#include "store/lmdb_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"

#define STATE "state"
#define BYTES_MAX_DEFAULT ((uint64_t)10 << 30)
#define QUEUE_MAX_DEFAULT 65536u

enum { BOOT_ID_BYTES = 64 };

/* ---- the state of `entries` ---- */

struct state {
    char text[BOOT_ID_BYTES];
    size_t len;
};

static void on_state(void *ctx, struct deja_slice value)
{
    struct state *state = ctx;
    if (value.len > sizeof state->text)
        return;
    memcpy(state->text, value.data, value.len);
    state->len = value.len;
}

/* Empty when it was never written. */
static enum deja_status read_state(struct dj_lmdb *lmdb, const char *name, struct state *out_state)
{
    struct state state = {.len = 0};
    enum deja_status status =
        dj_lmdb_meta_get(lmdb->meta, STATE, deja_slice_text(name), &state, on_state);
    if (status == DEJA_ERR_NOT_FOUND)
        status = DEJA_OK;
    if (status == DEJA_OK)
        *out_state = state;
    return status;
}

static enum deja_status write_state(struct dj_lmdb *lmdb, const char *name, const char *text,
                                    size_t len)
{
    return dj_lmdb_meta_put(lmdb->meta, STATE, deja_slice_text(name), deja_slice(text, len));
}

/* A write is two syncs, and most starts change nothing but `clean`. */
static enum deja_status update_state(struct dj_lmdb *lmdb, const char *name, const char *text,
                                     size_t len)
{
    struct state old;
    enum deja_status status = read_state(lmdb, name, &old);
    if (status != DEJA_OK || (old.len == len && memcmp(old.text, text, len) == 0))
        return status;
    return write_state(lmdb, name, text, len);
}

static bool is_set(const struct state *state)
{
    return state->len == 1 && state->text[0] == '1';
}

void dj_lmdb_suspect(struct dj_lmdb *lmdb)
{
    if (write_state(lmdb, "suspect", "1", 1) != DEJA_OK)
        return; /* meta is sick too; the operator hears of that from its own callers */
}

/* Empty when the kernel does not tell. */
static struct state boot_id(void)
{
    struct state id = {.len = 0};
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return id;
    ssize_t len = read(fd, id.text, sizeof id.text);
    if (len > 0)
        id.len = (size_t)len;
    close(fd);
    return id;
}

static enum deja_status needs_verify(struct dj_lmdb *lmdb, const struct state *boot,
                                     bool *out_is_needed, bool *out_is_lost)
{
    struct state was_boot;
    struct state was_clean;
    struct state was_verifying;
    struct state was_suspect;
    enum deja_status status = read_state(lmdb, "boot", &was_boot);
    if (status == DEJA_OK)
        status = read_state(lmdb, "clean", &was_clean);
    if (status == DEJA_OK)
        status = read_state(lmdb, "verifying", &was_verifying);
    if (status == DEJA_OK)
        status = read_state(lmdb, "suspect", &was_suspect);
    if (status != DEJA_OK)
        return status;
    bool is_same_boot = boot->len > 0 && boot->len == was_boot.len &&
                        memcmp(boot->text, was_boot.text, boot->len) == 0;
    bool is_first = was_clean.len == 0;
    *out_is_lost = is_set(&was_verifying);
    *out_is_needed = is_set(&was_suspect) || (!is_first && !is_set(&was_clean) && !is_same_boot);
    return DEJA_OK;
}

/* ---- open ---- */

static enum deja_status discard(struct dj_lmdb *lmdb, bool *out_discarded)
{
    enum deja_status status = dj_lmdb_env_discard_entries(lmdb);
    if (status == DEJA_OK)
        status = dj_lmdb_env_open_entries(lmdb);
    if (status == DEJA_OK)
        *out_discarded = true;
    return status;
}

/* The walk, with its mark around it. */
static enum deja_status verify(struct dj_lmdb *lmdb)
{
    enum deja_status status = write_state(lmdb, "verifying", "1", 1);
    if (status != DEJA_OK)
        return status;
    enum deja_status verdict = dj_lmdb_verify(lmdb);
    status = write_state(lmdb, "verifying", "0", 1);
    return verdict == DEJA_OK ? status : verdict;
}

/* `entries`, whole and counted; *out_discarded: it had to begin anew. */
static enum deja_status open_entries(struct dj_lmdb *lmdb, const struct state *boot,
                                     bool *out_discarded)
{
    bool is_needed = false;
    bool is_lost = false;
    enum deja_status status = needs_verify(lmdb, boot, &is_needed, &is_lost);
    if (status != DEJA_OK)
        return status;
    if (lmdb->options.is_fresh)
        status = dj_lmdb_env_discard_entries(lmdb);
    if (status == DEJA_OK)
        status = is_lost ? DEJA_ERR_CORRUPT : dj_lmdb_env_open_entries(lmdb);
    if (status == DEJA_OK && is_needed)
        status = verify(lmdb);
    if (status == DEJA_OK)
        status = dj_lmdb_tally_load(lmdb);
    if (status == DEJA_ERR_CORRUPT) {
        status = discard(lmdb, out_discarded);
        if (status == DEJA_OK)
            status = dj_lmdb_tally_load(lmdb);
    }
    if (status == DEJA_OK)
        status = update_state(lmdb, "boot", boot->text, boot->len);
    if (status == DEJA_OK)
        status = update_state(lmdb, "verifying", "0", 1);
    if (status == DEJA_OK)
        status = update_state(lmdb, "suspect", "0", 1);
    if (status == DEJA_OK)
        status = update_state(lmdb, "clean", "0", 1);
    return status;
}

/* 10 GiB or a fifth of the disk. */
static uint64_t default_bytes_max(const char *directory)
{
    struct statvfs disk;
    if (statvfs(directory, &disk) != 0)
        return BYTES_MAX_DEFAULT;
    uint64_t fifth = (uint64_t)disk.f_blocks * disk.f_frsize / 5;
    return fifth < BYTES_MAX_DEFAULT ? fifth : BYTES_MAX_DEFAULT;
}

static void init_locks(struct dj_lmdb *lmdb)
{
    dj_lmdb_gate_init(&lmdb->gate, false);
    pthread_mutex_init(&lmdb->tally_mutex, NULL);
    pthread_mutex_init(&lmdb->queue_mutex, NULL);
    pthread_mutex_init(&lmdb->sync_mutex, NULL);
    pthread_mutex_init(&lmdb->reads_mutex, NULL);
    pthread_cond_init(&lmdb->reads_ended, NULL);
    /* Intervals are not wall time: a clock set back must not put a sync off. */
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&lmdb->has_writes, &monotonic);
    pthread_cond_init(&lmdb->sync_wakeup, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static void fini_locks(struct dj_lmdb *lmdb)
{
    pthread_cond_destroy(&lmdb->sync_wakeup);
    pthread_cond_destroy(&lmdb->has_writes);
    pthread_cond_destroy(&lmdb->reads_ended);
    pthread_mutex_destroy(&lmdb->reads_mutex);
    pthread_mutex_destroy(&lmdb->sync_mutex);
    pthread_rwlock_destroy(&lmdb->gate);
    pthread_mutex_destroy(&lmdb->queue_mutex);
    pthread_mutex_destroy(&lmdb->tally_mutex);
}

static void lmdb_destroy(struct dj_lmdb *lmdb)
{
    dj_lmdb_tally_destroy(lmdb);
    dj_lmdb_env_close_entries(lmdb);
    if (lmdb->is_meta_own)
        dj_lmdb_meta_close(lmdb->meta);
    fini_locks(lmdb);
    dj_free(lmdb);
}

static void lmdb_close(struct dj_store *store)
{
    struct dj_lmdb *lmdb = (struct dj_lmdb *)store;
    dj_lmdb_reads_wait(lmdb);
    dj_lmdb_writer_stop(lmdb);
    /* Not synced, not clean: the next start on another boot then looks closely. */
    if (dj_lmdb_env_sync_entries(lmdb) && write_state(lmdb, "clean", "1", 1) != DEJA_OK)
        dj_lmdb_suspect(lmdb);
    lmdb_destroy(lmdb);
}

/* ---- the table ---- */

static enum deja_status enqueue(struct dj_store *store, struct dj_loop *loop,
                                struct dj_lmdb_write *write, void *ctx, dj_store_done_fn *done)
{
    write->loop = loop;
    write->ctx = ctx;
    write->done = done;
    enum deja_status status = dj_lmdb_enqueue((struct dj_lmdb *)store, write);
    if (status != DEJA_OK)
        dj_lmdb_write_destroy(write);
    return status;
}

static enum deja_status lmdb_put(struct dj_store *store, struct dj_loop *loop,
                                 struct dj_value *value, const float *vector, uint32_t dim,
                                 void *ctx, dj_store_done_fn *done)
{
    if (!vector)
        dim = 0;
    if (dim > DJ_ROW_DIM_MAX)
        return DEJA_ERR_LIMIT;
    struct dj_store_key key = dj_store_key_of(dj_value_entry(value));
    struct dj_lmdb_write *write = dj_lmdb_write_create(DJ_WRITE_PUT, &key, dim);
    if (!write)
        return DEJA_ERR_NOMEM;
    write->value = dj_value_ref(value);
    write->bytes += dj_value_bytes(value);
    if (dim > 0)
        memcpy(write->vector, vector, dim * sizeof *vector);
    return enqueue(store, loop, write, ctx, done);
}

static enum deja_status lmdb_remove(struct dj_store *store, struct dj_loop *loop,
                                    const struct dj_store_key *key, uint64_t version_max, void *ctx,
                                    dj_store_done_fn *done)
{
    struct dj_lmdb_write *write = dj_lmdb_write_create(DJ_WRITE_REMOVE, key, 0);
    if (!write)
        return DEJA_ERR_NOMEM;
    write->version_max = version_max;
    return enqueue(store, loop, write, ctx, done);
}

static enum deja_status lmdb_clear(struct dj_store *store, struct dj_loop *loop,
                                   const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                                   dj_store_done_fn *done)
{
    struct dj_store_key key = {{0}, {0}};
    memcpy(key.tenant, tenant, sizeof key.tenant);
    struct dj_lmdb_write *write = dj_lmdb_write_create(DJ_WRITE_CLEAR, &key, 0);
    if (!write)
        return DEJA_ERR_NOMEM;
    return enqueue(store, loop, write, ctx, done);
}

static void lmdb_stats(struct dj_store *store, const uint8_t *tenant,
                       struct dj_store_stats *out_stats)
{
    struct dj_lmdb *lmdb = (struct dj_lmdb *)store;
    *out_stats = (struct dj_store_stats){.bytes_max = lmdb->bytes_max};
    dj_lmdb_tally_stats(lmdb, tenant, out_stats);
    if (tenant)
        return;
    out_stats->evictions = atomic_load_explicit(&lmdb->evictions, memory_order_relaxed);
    out_stats->expired = atomic_load_explicit(&lmdb->expired, memory_order_relaxed);
    out_stats->corrupt = atomic_load_explicit(&lmdb->corrupt, memory_order_relaxed);
    out_stats->dropped = atomic_load_explicit(&lmdb->dropped, memory_order_relaxed);
    out_stats->record_bytes = atomic_load_explicit(&lmdb->record_bytes, memory_order_relaxed);
    out_stats->plain_bytes = atomic_load_explicit(&lmdb->plain_bytes, memory_order_relaxed);
    pthread_mutex_lock(&lmdb->queue_mutex);
    out_stats->queued = lmdb->queued;
    pthread_mutex_unlock(&lmdb->queue_mutex);
}

static const struct dj_store_ops lmdb_ops = {
    .level = "lmdb",
    .get = dj_lmdb_get,
    .put = lmdb_put,
    .remove = lmdb_remove,
    .clear = lmdb_clear,
    .list = dj_lmdb_list,
    .stats = lmdb_stats,
    .probe = dj_lmdb_probe,
    .scan_vectors = dj_lmdb_scan_vectors,
    .keep_access = dj_lmdb_access_put,
    .scan_access = dj_lmdb_access_walk,
    .tenants = dj_lmdb_tally_tenants,
    .close = lmdb_close,
};

static struct dj_lmdb *lmdb_create(const struct dj_lmdb_options *options)
{
    struct dj_lmdb *lmdb = dj_alloc_zeroed(1, sizeof *lmdb);
    if (!lmdb)
        return NULL;
    lmdb->store.ops = &lmdb_ops;
    lmdb->options = *options;
    if (lmdb->options.queue_max == 0)
        lmdb->options.queue_max = QUEUE_MAX_DEFAULT;
    lmdb->bytes_max =
        options->bytes_max ? options->bytes_max : default_bytes_max(options->directory);
    init_locks(lmdb);
    return lmdb;
}

enum deja_status dj_lmdb_open(const struct dj_lmdb_options *options, struct dj_store **out_store,
                              bool *out_discarded, struct deja_error *error)
{
    assert(options->directory && options->pool);
    struct dj_lmdb *lmdb = lmdb_create(options);
    if (!lmdb)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    bool is_discarded = false;
    enum deja_status status = DEJA_OK;
    lmdb->meta = options->meta;
    lmdb->is_meta_own = !options->meta;
    if (lmdb->is_meta_own)
        status = dj_lmdb_meta_open(options->directory, &lmdb->meta, error);
    if (status != DEJA_OK)
        goto failed;
    lmdb->options.directory = lmdb->meta->directory; /* the caller's may end before */
    struct state boot = boot_id();
    status = open_entries(lmdb, &boot, &is_discarded);
    if (status == DEJA_OK && lmdb->bytes_max > lmdb->map_bytes / 2)
        lmdb->bytes_max = lmdb->map_bytes / 2; /* little address space: halved on the way */
    if (status == DEJA_OK)
        status = dj_lmdb_writer_start(lmdb);
    if (status != DEJA_OK) {
        deja_error_set(error, status, "%s/entries cannot be opened: %s", options->directory,
                       deja_status_text(status));
        goto failed;
    }
    *out_store = &lmdb->store;
    if (out_discarded)
        *out_discarded = is_discarded;
    return DEJA_OK;
failed:
    lmdb_destroy(lmdb);
    return status;
}
