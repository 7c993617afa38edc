/* store/lmdb_read.c - reads on the pool: those that queue together share a job and a transaction.
 *
 *   get: filter says no ──> the callback is posted, no worker is touched
 *        else ──> the open batch (submitted, not begun) ──worker──> copy rows, end the transaction,
 *                                                                   decode ──> one message per loop
 *
 * (1) Rows are copied and the transaction ended before anything is decoded, so that a slow body
 *     does not keep the writer from reusing pages.
 * (2) A row is served only if its record verifies and names the very key that was asked (I1); else
 *     it is a miss, counted, and the writer is asked to drop it.
 */
#include "store/lmdb_internal.h"

#include <assert.h>

#include "base/alloc.h"

enum { BATCH_READS_MAX = 64, LOOPS_PER_BATCH_MAX = 64, SCAN_ROWS_PER_TXN = 1024 };
/* Copied before a transaction is ended and the copies decoded. */
#define BATCH_BYTES_MAX ((size_t)8 << 20)

struct read {
    struct read *next;
    struct dj_store_key key;
    struct dj_loop *loop;
    void *ctx;
    dj_store_got_fn *got;
    struct dj_task task;
    enum deja_status status;
    struct dj_buf row;      /* copied */
    struct dj_value *value; /* one reference, the callee's in the end */
};

struct dj_lmdb_batch {
    struct dj_job job;
    struct dj_lmdb *lmdb;
    struct read *first;
    struct read *last;
    uint32_t count;
};

static void on_results(void *ctx)
{
    struct read *read = ctx;
    while (read) {
        struct read *next = read->next;
        read->got(read->ctx, read->status, read->value);
        dj_buf_fini(&read->row);
        dj_free(read);
        read = next;
    }
}

static void post_results(struct read *first)
{
    first->task = (struct dj_task){.run = on_results, .ctx = first};
    dj_loop_post(first->loop, &first->task);
}

/* One message per loop. */
static void answer(struct read *reads)
{
    while (reads) {
        struct read *mine = reads;
        struct read **mine_end = &mine->next;
        struct read *others = NULL;
        struct read **others_end = &others;
        for (struct read *read = reads->next; read; read = read->next) {
            struct read ***end = read->loop == mine->loop ? &mine_end : &others_end;
            **end = read;
            *end = &read->next;
        }
        *mine_end = NULL;
        *others_end = NULL;
        post_results(mine);
        reads = others;
    }
}

enum deja_status dj_lmdb_decode(const struct dj_store_key *key, struct deja_slice row,
                                struct dj_value **out_value)
{
    struct dj_row_head head;
    if (!dj_row_head_read(row, &head))
        return DEJA_ERR_CORRUPT;
    struct dj_value *value;
    enum deja_status status = dj_value_from_record(
        deja_slice(row.data + DJ_ROW_HEAD_BYTES, row.len - DJ_ROW_HEAD_BYTES), &value);
    if (status == DEJA_ERR_NOMEM)
        return status;
    if (status != DEJA_OK)
        return DEJA_ERR_CORRUPT; /* of another format or too big: not ours any more */
    const struct dj_entry *entry = dj_value_entry(value);
    struct dj_store_key named = dj_store_key_of(entry);
    if (!dj_store_key_is_equal(&named, key) || entry->version != head.version ||
        dj_row_order(entry) != head.order) {
        dj_value_unref(value);
        return DEJA_ERR_CORRUPT;
    }
    *out_value = value;
    return DEJA_OK;
}

/* Copies rows until the bound; returns the first read that was left. */
static struct read *copy_rows(struct dj_lmdb *lmdb, struct read *first)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(lmdb->entries, NULL, MDB_RDONLY, &txn);
    if (code != MDB_SUCCESS) {
        for (struct read *read = first; read; read = read->next)
            read->status = dj_lmdb_status(code);
        return NULL;
    }
    size_t bytes = 0;
    struct read *read = first;
    for (; read && bytes < BATCH_BYTES_MAX; read = read->next) {
        MDB_val key = dj_lmdb_val(&read->key, sizeof read->key);
        MDB_val value;
        code = mdb_get(txn, lmdb->tables[DJ_LMDB_ENTRIES], &key, &value);
        if (code == MDB_SUCCESS) {
            dj_buf_append(&read->row, value.mv_data, value.mv_size);
            read->status = read->row.status;
            bytes += value.mv_size;
        } else if (code != MDB_NOTFOUND) {
            read->status = dj_lmdb_status(code);
        }
    }
    mdb_txn_abort(txn);
    return read;
}

void dj_lmdb_drop_corrupt(struct dj_lmdb *lmdb, const struct dj_store_key *key)
{
    atomic_fetch_add_explicit(&lmdb->corrupt, 1, memory_order_relaxed);
    struct dj_lmdb_write *write = dj_lmdb_write_create(DJ_WRITE_DROP_CORRUPT, key, 0);
    /* When it cannot be queued, the next reader tries. */
    if (write && dj_lmdb_enqueue(lmdb, write) != DEJA_OK)
        dj_lmdb_write_destroy(write);
}

static void decode_row(struct dj_lmdb *lmdb, struct read *read, int64_t now_ms)
{
    if (read->status != DEJA_OK || read->row.len == 0)
        return;
    struct dj_value *value = NULL;
    enum deja_status status = dj_lmdb_decode(&read->key, dj_buf_slice(&read->row), &value);
    dj_buf_fini(&read->row);
    if (status == DEJA_ERR_CORRUPT) {
        dj_lmdb_drop_corrupt(lmdb, &read->key);
        return;
    }
    read->status = status;
    if (value && dj_store_is_gone(dj_store_gone_ms(dj_value_entry(value)), now_ms)) {
        dj_value_unref(value);
        value = NULL;
    }
    read->value = value;
}

static void run_batch(void *ctx)
{
    struct dj_lmdb_batch *batch = ctx;
    struct dj_lmdb *lmdb = batch->lmdb;
    pthread_mutex_lock(&lmdb->reads_mutex);
    if (lmdb->open_batch == batch)
        lmdb->open_batch = NULL;
    pthread_mutex_unlock(&lmdb->reads_mutex);

    int64_t now_ms = dj_clock_now_ms();
    struct read *left = batch->first;
    while (left) {
        struct read *from = left;
        left = copy_rows(lmdb, from);
        for (struct read *read = from; read != left; read = read->next)
            decode_row(lmdb, read, now_ms);
    }
    answer(batch->first);
    dj_free(batch); /* done is NULL: nobody else ends it */

    dj_lmdb_reads_end(lmdb);
}

/* Under reads_mutex. */
static enum deja_status submit_batch(struct dj_lmdb *lmdb, struct read *read)
{
    struct dj_lmdb_batch *batch = dj_alloc_zeroed(1, sizeof *batch);
    if (!batch)
        return DEJA_ERR_NOMEM;
    batch->lmdb = lmdb;
    batch->first = read;
    batch->last = read;
    batch->count = 1;
    batch->job.work = run_batch;
    batch->job.ctx = batch;
    enum deja_status status = dj_pool_submit(lmdb->options.pool, &batch->job);
    if (status != DEJA_OK) {
        dj_free(batch);
        return status;
    }
    lmdb->batches++;
    lmdb->open_batch = batch;
    return DEJA_OK;
}

static enum deja_status enqueue_read(struct dj_lmdb *lmdb, struct read *read)
{
    enum deja_status status = DEJA_OK;
    pthread_mutex_lock(&lmdb->reads_mutex);
    struct dj_lmdb_batch *batch = lmdb->open_batch;
    if (batch && batch->count < BATCH_READS_MAX) {
        batch->last->next = read;
        batch->last = read;
        batch->count++;
    } else {
        status = submit_batch(lmdb, read);
    }
    pthread_mutex_unlock(&lmdb->reads_mutex);
    return status;
}

enum deja_status dj_lmdb_get(struct dj_store *store, struct dj_loop *loop,
                             const struct dj_store_key *key, void *ctx, dj_store_got_fn *got)
{
    struct dj_lmdb *lmdb = (struct dj_lmdb *)store;
    struct read *read = dj_alloc_zeroed(1, sizeof *read);
    if (!read)
        return DEJA_ERR_NOMEM;
    read->key = *key;
    read->loop = loop;
    read->ctx = ctx;
    read->got = got;
    if (!dj_key_filter_has(lmdb->filter, dj_store_key_hash(key))) {
        post_results(read);
        return DEJA_OK;
    }
    enum deja_status status = enqueue_read(lmdb, read);
    if (status != DEJA_OK)
        dj_free(read);
    return status;
}

/* A get past the filter, of a key that nobody has. */
enum deja_status dj_lmdb_probe(struct dj_store *store, struct dj_loop *loop, void *ctx,
                               dj_store_got_fn *got)
{
    struct read *read = dj_alloc_zeroed(1, sizeof *read);
    if (!read)
        return DEJA_ERR_NOMEM;
    read->loop = loop;
    read->ctx = ctx;
    read->got = got;
    enum deja_status status = enqueue_read((struct dj_lmdb *)store, read);
    if (status != DEJA_OK)
        dj_free(read);
    return status;
}

void dj_lmdb_reads_begin(struct dj_lmdb *lmdb)
{
    pthread_mutex_lock(&lmdb->reads_mutex);
    lmdb->batches++;
    pthread_mutex_unlock(&lmdb->reads_mutex);
}

void dj_lmdb_reads_end(struct dj_lmdb *lmdb)
{
    pthread_mutex_lock(&lmdb->reads_mutex);
    if (--lmdb->batches == 0)
        pthread_cond_broadcast(&lmdb->reads_ended);
    pthread_mutex_unlock(&lmdb->reads_mutex);
}

void dj_lmdb_reads_wait(struct dj_lmdb *lmdb)
{
    pthread_mutex_lock(&lmdb->reads_mutex);
    while (lmdb->batches > 0)
        pthread_cond_wait(&lmdb->reads_ended, &lmdb->reads_mutex);
    pthread_mutex_unlock(&lmdb->reads_mutex);
}

/* ---- vectors ---- */

struct scan {
    struct dj_lmdb *lmdb;
    void *ctx;
    dj_store_vector_fn *each;
    float *floats; /* aligned, DJ_ROW_DIM_MAX of them */
    char last[DJ_ROW_VECTOR_KEY_BYTES];
    size_t last_len; /* 0: nothing yet */
    int64_t now_ms;
};

/* false: the caller wants no more. */
static bool give_row(struct scan *scan, MDB_val key, MDB_val value)
{
    struct dj_row_vector row;
    if (!dj_row_vector_read(dj_lmdb_slice(key), dj_lmdb_slice(value), &row)) {
        atomic_fetch_add_explicit(&scan->lmdb->corrupt, 1, memory_order_relaxed);
        return true;
    }
    if (dj_store_is_gone(dj_row_gone_ms(row.order), scan->now_ms))
        return true;
    memcpy(scan->floats, row.floats, row.dim * sizeof *scan->floats);
    const struct dj_store_vector vector = {.key = row.key,
                                           .scope = row.scope,
                                           .embedder_id = row.embedder_id,
                                           .floats = row.dim ? scan->floats : NULL,
                                           .sealed = row.sealed,
                                           .dim = row.dim,
                                           .expires_ms = dj_row_gone_ms(row.order)};
    return scan->each(scan->ctx, &vector);
}

/* A piece in a transaction of its own, so that a long scan does not pin old pages.
 * DEJA_ERR_NOT_FOUND: that was all; DEJA_ERR_CANCELLED: the caller wants no more. */
static enum deja_status scan_piece(struct scan *scan, MDB_txn *txn)
{
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn, scan->lmdb->tables[DJ_LMDB_VECTORS], &cursor);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    MDB_val key = dj_lmdb_val(scan->last, scan->last_len);
    MDB_val value;
    code = mdb_cursor_get(cursor, &key, &value, scan->last_len ? MDB_SET_RANGE : MDB_FIRST);
    if (code == MDB_SUCCESS && scan->last_len && key.mv_size == scan->last_len &&
        memcmp(key.mv_data, scan->last, scan->last_len) == 0)
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    enum deja_status status = dj_lmdb_status(code);
    for (int i = 0; status == DEJA_OK && i < SCAN_ROWS_PER_TXN; i++) {
        if (key.mv_size != sizeof scan->last) {
            status = DEJA_ERR_CORRUPT;
            break;
        }
        memcpy(scan->last, key.mv_data, sizeof scan->last);
        scan->last_len = sizeof scan->last;
        status = give_row(scan, key, value)
                     ? dj_lmdb_status(mdb_cursor_get(cursor, &key, &value, MDB_NEXT))
                     : DEJA_ERR_CANCELLED;
    }
    mdb_cursor_close(cursor);
    return status;
}

enum deja_status dj_lmdb_scan_vectors(struct dj_store *store, void *ctx, dj_store_vector_fn *each)
{
    struct scan scan = {.lmdb = (struct dj_lmdb *)store, .ctx = ctx, .each = each};
    scan.now_ms = dj_clock_now_ms();
    scan.floats = dj_alloc_aligned(64, DJ_ROW_DIM_MAX * sizeof *scan.floats);
    if (!scan.floats)
        return DEJA_ERR_NOMEM;
    enum deja_status status = DEJA_OK;
    while (status == DEJA_OK) {
        MDB_txn *txn;
        status = dj_lmdb_status(mdb_txn_begin(scan.lmdb->entries, NULL, MDB_RDONLY, &txn));
        if (status != DEJA_OK)
            break;
        status = scan_piece(&scan, txn);
        mdb_txn_abort(txn);
    }
    dj_free(scan.floats);
    bool is_end = status == DEJA_ERR_NOT_FOUND || status == DEJA_ERR_CANCELLED;
    return is_end ? DEJA_OK : status;
}
