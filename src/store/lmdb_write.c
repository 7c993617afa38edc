/* store/lmdb_write.c - one writer thread with group commit, and one that syncs.
 *
 *   any thread ──enqueue──> queue ──writer: up to 1,024 writes, 16 MB, 5 ms──> one transaction
 *        ^                                                     │ commit
 *        └──── one message per loop <── tally, filter <────────┘
 *   syncer (everysec): once a second, if anything was committed
 *
 * (1) Nobody is told before the commit that holds the write; with durability always LMDB syncs
 *     inside the commit. Nothing waits for company: a batch is what arrived during the last commit.
 * (2) First in, first out, and nothing overtakes: a put queued before a remove is removed.
 * (3) A sync may take 0.4 s. It runs beside the writer: with MDB_NOSYNC mdb_env_sync() is one
 *     fdatasync() of the file and touches nothing the writer has.
 * (4) A full map aborts the transaction. Smaller batches are tried, at last one write alone; for
 * that the oldest entries go, in two transactions because pages freed in one are reused from the
 *     next but one. What still finds no room is dropped, counted and told so.
 */
#include "store/lmdb_internal.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/alloc.h"

enum {
    BATCH_WRITES_MAX = 1024,
    BATCH_US_MAX = 5000,
    SWEEP_ENTRIES_MAX = 1024,
    SWEEP_INTERVAL_US = 60 * 1000 * 1000,
    SYNC_INTERVAL_US = 1000 * 1000,
    FULL_TRIES_MAX = 3,
    LOOPS_PER_ACK_MAX = 64,
};
#define BATCH_BYTES_MAX ((size_t)16 << 20)
#define QUEUE_BYTES_MAX ((size_t)256 << 20)

struct dj_lmdb_write *dj_lmdb_write_create(enum dj_lmdb_write_kind kind,
                                           const struct dj_store_key *key, uint32_t dim)
{
    struct dj_lmdb_write *write = dj_alloc_zeroed(1, sizeof *write + dim * sizeof write->vector[0]);
    if (!write)
        return NULL;
    write->kind = kind;
    write->key = *key;
    write->version_max = UINT64_MAX;
    write->dim = dim;
    write->bytes = sizeof *write + dim * sizeof write->vector[0];
    return write;
}

void dj_lmdb_write_destroy(struct dj_lmdb_write *write)
{
    dj_buf_fini(&write->record);
    dj_value_unref(write->value);
    dj_free(write);
}

enum deja_status dj_lmdb_enqueue(struct dj_lmdb *lmdb, struct dj_lmdb_write *write)
{
    enum deja_status status = DEJA_ERR_BUSY;
    write->next = NULL;
    pthread_mutex_lock(&lmdb->queue_mutex);
    if (lmdb->queued < lmdb->options.queue_max &&
        lmdb->queued_bytes + write->bytes <= QUEUE_BYTES_MAX) {
        if (lmdb->last)
            lmdb->last->next = write;
        else
            lmdb->first = write;
        lmdb->last = write;
        lmdb->queued++;
        lmdb->queued_bytes += write->bytes;
        pthread_cond_signal(&lmdb->has_writes);
        status = DEJA_OK;
    }
    pthread_mutex_unlock(&lmdb->queue_mutex);
    return status;
}

/* ---- acknowledgements ---- */

static void on_acks(void *ctx)
{
    struct dj_lmdb_write *write = ctx;
    while (write) {
        struct dj_lmdb_write *next = write->next;
        if (write->done)
            write->done(write->ctx, write->status, write->removed);
        dj_lmdb_write_destroy(write);
        write = next;
    }
}

static void post_acks(struct dj_lmdb_write *first)
{
    if (!first)
        return;
    first->task = (struct dj_task){.run = on_acks, .ctx = first};
    dj_loop_post(first->loop, &first->task);
}

/* One message per loop, each with its writes in their order. */
static void acknowledge(struct dj_lmdb *lmdb, struct dj_lmdb_write *writes)
{
    struct dj_lmdb_write *firsts[LOOPS_PER_ACK_MAX];
    struct dj_lmdb_write *lasts[LOOPS_PER_ACK_MAX];
    size_t count = 0;
    while (writes) {
        struct dj_lmdb_write *write = writes;
        writes = write->next;
        write->next = NULL;
        if (write->status != DEJA_OK)
            atomic_fetch_add_explicit(&lmdb->dropped, 1, memory_order_relaxed);
        if (!write->loop) {
            dj_lmdb_write_destroy(write);
            continue;
        }
        size_t i = 0;
        while (i < count && firsts[i]->loop != write->loop)
            i++;
        if (i < count) {
            lasts[i]->next = write;
            lasts[i] = write;
        } else if (count < LOOPS_PER_ACK_MAX) {
            firsts[count] = write;
            lasts[count++] = write;
        } else {
            post_acks(write);
        }
    }
    for (size_t i = 0; i < count; i++)
        post_acks(firsts[i]);
}

/* ---- one batch ---- */

/* Applies writes from first on until a bound of the batch is reached; *out_end is the first that
 * was left. Nothing is committed on failure. */
static enum deja_status try_batch(struct dj_lmdb *lmdb, struct dj_lmdb_write *first,
                                  uint32_t count_max, struct dj_lmdb_write **out_end)
{
    struct dj_lmdb_txn txn;
    enum deja_status status = dj_lmdb_txn_begin(lmdb, dj_clock_now_ms(), &txn);
    if (status != DEJA_OK)
        return status;
    uint64_t start_us = dj_clock_monotonic_us();
    struct dj_lmdb_write *write = first;
    for (uint32_t i = 0; i < count_max && write && write->kind != DJ_WRITE_CLEAR; i++) {
        if (!dj_lmdb_txn_has_room(&txn) ||
            (i > 0 && dj_clock_monotonic_us() - start_us > BATCH_US_MAX))
            break;
        status = dj_lmdb_apply(lmdb, &txn, write);
        if (status != DEJA_OK) {
            dj_lmdb_txn_abort(&txn);
            return status;
        }
        write = write->next;
    }
    status = dj_lmdb_txn_commit(lmdb, &txn);
    if (status == DEJA_OK)
        *out_end = write;
    return status;
}

/* Drops up to count_max of the oldest, whatever the tier's size. */
static enum deja_status evict_oldest(struct dj_lmdb *lmdb, uint32_t count_max)
{
    struct dj_lmdb_txn txn;
    enum deja_status status = dj_lmdb_txn_begin(lmdb, dj_clock_now_ms(), &txn);
    if (status != DEJA_OK)
        return status;
    uint32_t removed;
    status = dj_lmdb_apply_sweep(lmdb, &txn, 0, count_max, &removed);
    if (status == DEJA_OK)
        return dj_lmdb_txn_commit(lmdb, &txn);
    dj_lmdb_txn_abort(&txn);
    return status;
}

/* A sixteenth at a time, so that a small tier is not emptied for one write. */
static void make_room(struct dj_lmdb *lmdb, int attempt)
{
    struct dj_store_stats stats;
    dj_lmdb_tally_stats(lmdb, NULL, &stats);
    uint64_t count = (stats.entries >> (4 - attempt)) + 1;
    if (count > SWEEP_ENTRIES_MAX)
        count = SWEEP_ENTRIES_MAX;
    for (int round = 0; round < 2; round++)
        if (evict_oldest(lmdb, (uint32_t)count) != DEJA_OK)
            return; /* the write is tried once more all the same, then dropped */
}

/* Smaller batches need fewer fresh pages at once; only for a lone write others have to go. */
static enum deja_status commit_writes(struct dj_lmdb *lmdb, struct dj_lmdb_write *first,
                                      struct dj_lmdb_write **out_end)
{
    enum deja_status status = try_batch(lmdb, first, lmdb->batch_writes_max, out_end);
    while (status == DEJA_ERR_LIMIT && lmdb->batch_writes_max > 1) {
        lmdb->batch_writes_max = (lmdb->batch_writes_max + 7) / 8;
        status = try_batch(lmdb, first, lmdb->batch_writes_max, out_end);
    }
    for (int attempt = 0; status == DEJA_ERR_LIMIT && attempt < FULL_TRIES_MAX; attempt++) {
        make_room(lmdb, attempt);
        status = try_batch(lmdb, first, 1, out_end);
    }
    if (status != DEJA_OK && status != DEJA_ERR_LIMIT) /* a write that upsets LMDB stays alone */
        status = try_batch(lmdb, first, 1, out_end);
    if (status == DEJA_OK && lmdb->batch_writes_max < BATCH_WRITES_MAX)
        lmdb->batch_writes_max *= 2;
    return status;
}

/* All of a tenant, in as many transactions as it takes. */
static void clear(struct dj_lmdb *lmdb, struct dj_lmdb_write *write)
{
    uint64_t removed = SWEEP_ENTRIES_MAX;
    while (write->status == DEJA_OK && removed == SWEEP_ENTRIES_MAX) {
        struct dj_lmdb_txn txn;
        write->status = dj_lmdb_txn_begin(lmdb, dj_clock_now_ms(), &txn);
        if (write->status != DEJA_OK)
            return;
        removed = 0;
        write->status =
            dj_lmdb_apply_clear(lmdb, &txn, write->key.tenant, SWEEP_ENTRIES_MAX, &removed);
        if (write->status != DEJA_OK) {
            dj_lmdb_txn_abort(&txn);
            return;
        }
        write->status = dj_lmdb_txn_commit(lmdb, &txn);
        if (write->status == DEJA_OK)
            write->removed += removed;
    }
}

/* Ends first, and as many after it as fit one transaction; returns the first that is left. */
static struct dj_lmdb_write *process(struct dj_lmdb *lmdb, struct dj_lmdb_write *first)
{
    struct dj_lmdb_write *end = first->next;
    if (first->kind == DJ_WRITE_CLEAR) {
        clear(lmdb, first);
        return end;
    }
    enum deja_status status = commit_writes(lmdb, first, &end);
    if (status == DEJA_OK)
        return end;
    if (status == DEJA_ERR_CORRUPT)
        dj_lmdb_suspect(lmdb);
    first->status = status;
    first->removed = 0;
    return first->next;
}

static void process_all(struct dj_lmdb *lmdb, struct dj_lmdb_write *first)
{
    while (first) {
        struct dj_lmdb_write *end = process(lmdb, first);
        struct dj_lmdb_write *last = first;
        while (last->next != end)
            last = last->next;
        last->next = NULL;
        acknowledge(lmdb, first);
        first = end;
    }
}

/* Expired entries, and the oldest while above the bound; false: nothing more to do now. */
static bool sweep(struct dj_lmdb *lmdb)
{
    struct dj_lmdb_txn txn;
    if (dj_lmdb_txn_begin(lmdb, dj_clock_now_ms(), &txn) != DEJA_OK)
        return false;
    uint32_t removed = 0;
    enum deja_status status =
        dj_lmdb_apply_sweep(lmdb, &txn, lmdb->bytes_max, SWEEP_ENTRIES_MAX, &removed);
    if (status != DEJA_OK || removed == 0) {
        dj_lmdb_txn_abort(&txn);
        return false;
    }
    return dj_lmdb_txn_commit(lmdb, &txn) == DEJA_OK && removed == SWEEP_ENTRIES_MAX;
}

/* ---- threads ---- */

static struct timespec timespec_of(uint64_t at_us)
{
    return (struct timespec){.tv_sec = (time_t)(at_us / 1000000),
                             .tv_nsec = (long)(at_us % 1000000) * 1000};
}

/* Waits for writes until the time given. NULL: none came. */
static struct dj_lmdb_write *take_batch(struct dj_lmdb *lmdb, uint64_t until_us,
                                        bool *out_is_stopping)
{
    struct timespec until = timespec_of(until_us);
    pthread_mutex_lock(&lmdb->queue_mutex);
    int code = 0;
    while (!lmdb->first && !lmdb->is_stopping && code != ETIMEDOUT)
        code = pthread_cond_timedwait(&lmdb->has_writes, &lmdb->queue_mutex, &until);
    struct dj_lmdb_write *taken = lmdb->first;
    struct dj_lmdb_write *last = NULL;
    size_t bytes = 0;
    for (uint32_t i = 0; lmdb->first && i < BATCH_WRITES_MAX && bytes < BATCH_BYTES_MAX; i++) {
        last = lmdb->first;
        bytes += last->bytes;
        lmdb->first = last->next;
        lmdb->queued--;
        lmdb->queued_bytes -= last->bytes;
    }
    if (last)
        last->next = NULL;
    if (!lmdb->first)
        lmdb->last = NULL;
    *out_is_stopping = lmdb->is_stopping;
    pthread_mutex_unlock(&lmdb->queue_mutex);
    return taken;
}

static void *run_writer(void *ctx)
{
    struct dj_lmdb *lmdb = ctx;
    prctl(PR_SET_NAME, "dj-lmdb-write"); /* a nameless thread works as well */
    uint64_t sweep_at_us = 0;            /* at once: what expired while nobody ran */
    for (;;) {
        bool is_stopping;
        struct dj_lmdb_write *batch = take_batch(lmdb, sweep_at_us, &is_stopping);
        if (batch)
            process_all(lmdb, batch);
        else if (is_stopping)
            return NULL;
        /* A bounded piece between batches. */
        uint64_t now_us = dj_clock_monotonic_us();
        if (now_us >= sweep_at_us || dj_lmdb_tally_bytes(lmdb) > lmdb->bytes_max)
            sweep_at_us = sweep(lmdb) ? now_us : now_us + SWEEP_INTERVAL_US;
    }
}

static void *run_syncer(void *ctx)
{
    struct dj_lmdb *lmdb = ctx;
    prctl(PR_SET_NAME, "dj-lmdb-sync");
    pthread_mutex_lock(&lmdb->sync_mutex);
    while (!lmdb->is_sync_stopping) {
        struct timespec until = timespec_of(dj_clock_monotonic_us() + SYNC_INTERVAL_US);
        int code = 0;
        while (!lmdb->is_sync_stopping && code != ETIMEDOUT)
            code = pthread_cond_timedwait(&lmdb->sync_wakeup, &lmdb->sync_mutex, &until);
        pthread_mutex_unlock(&lmdb->sync_mutex);
        /* Cleared first: a commit during the sync is synced in the next second. */
        if (atomic_exchange_explicit(&lmdb->is_dirty, false, memory_order_acquire) &&
            !dj_lmdb_env_sync_entries(lmdb))
            atomic_store_explicit(&lmdb->is_dirty, true, memory_order_release);
        pthread_mutex_lock(&lmdb->sync_mutex);
    }
    pthread_mutex_unlock(&lmdb->sync_mutex);
    return NULL;
}

enum deja_status dj_lmdb_writer_start(struct dj_lmdb *lmdb)
{
    lmdb->batch_writes_max = BATCH_WRITES_MAX;
    lmdb->changes = dj_alloc_zeroed(DJ_LMDB_CHANGES_MAX, sizeof *lmdb->changes);
    if (!lmdb->changes)
        return DEJA_ERR_NOMEM;
    /* Signals are the main loop's. */
    sigset_t all;
    sigset_t mask_before;
    sigfillset(&all);
    int code = pthread_sigmask(SIG_SETMASK, &all, &mask_before);
    assert(code == 0);
    lmdb->has_writer = pthread_create(&lmdb->writer, NULL, run_writer, lmdb) == 0;
    bool needs_syncer = lmdb->options.durability == DJ_DURABILITY_EVERYSEC;
    if (lmdb->has_writer && needs_syncer)
        lmdb->has_syncer = pthread_create(&lmdb->syncer, NULL, run_syncer, lmdb) == 0;
    code = pthread_sigmask(SIG_SETMASK, &mask_before, NULL);
    assert(code == 0);
    if (lmdb->has_writer && lmdb->has_syncer == needs_syncer)
        return DEJA_OK;
    dj_lmdb_writer_stop(lmdb);
    return DEJA_ERR_LIMIT;
}

void dj_lmdb_writer_stop(struct dj_lmdb *lmdb)
{
    if (lmdb->has_writer) {
        pthread_mutex_lock(&lmdb->queue_mutex);
        lmdb->is_stopping = true;
        pthread_cond_signal(&lmdb->has_writes);
        pthread_mutex_unlock(&lmdb->queue_mutex);
        pthread_join(lmdb->writer, NULL);
        lmdb->has_writer = false;
    }
    if (lmdb->has_syncer) {
        pthread_mutex_lock(&lmdb->sync_mutex);
        lmdb->is_sync_stopping = true;
        pthread_cond_signal(&lmdb->sync_wakeup);
        pthread_mutex_unlock(&lmdb->sync_mutex);
        pthread_join(lmdb->syncer, NULL);
        lmdb->has_syncer = false;
    }
    dj_free(lmdb->changes);
    lmdb->changes = NULL;
}
