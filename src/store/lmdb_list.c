/* store/lmdb_list.c - a tenant's entries in the order of their ids, a piece per job on the pool.
 *
 *   list ──worker: transaction, cursor after `after`, copy rows, end it; decode──> loop: done
 *
 * As in lmdb_read.c the transaction has ended before anything is decoded; rows that do not verify
 * are dropped and skipped.
 */
#include "store/lmdb_internal.h"

#include "base/alloc.h"

/* Copied in one job; with it a page may be short. */
#define LIST_BYTES_MAX ((size_t)8 << 20)

struct list {
    struct dj_job job;
    struct dj_lmdb *lmdb;
    struct dj_store_key from; /* tenant, and the id after which to begin */
    bool has_after;
    struct dj_store_page *page;
    struct dj_buf rows; /* copied, one behind the other */
    struct {
        struct dj_store_key key;
        size_t offset;
        size_t len;
        size_t vector_len; /* behind the row: its vector, sealed or its floats */
    } places[DJ_STORE_PAGE_MAX];
    uint32_t count;
    bool is_end;
    enum deja_status status;
    void *ctx;
    dj_store_done_fn *done;
};

/* Behind the row of its entry. What is not there is left out. */
static void copy_vector(struct list *list, MDB_txn *txn, MDB_val row)
{
    struct dj_row_head head;
    struct dj_row_vector vector;
    char at[DJ_ROW_VECTOR_KEY_BYTES];
    uint32_t index = list->count;
    if (!list->page->has_vectors || !dj_row_head_read(dj_lmdb_slice(row), &head) ||
        !head.has_vector)
        return;
    dj_row_vector_key_write(&list->places[index].key, head.scope, at);
    MDB_val key = dj_lmdb_val(at, sizeof at);
    MDB_val value;
    if (mdb_get(txn, list->lmdb->tables[DJ_LMDB_VECTORS], &key, &value) != MDB_SUCCESS ||
        !dj_row_vector_read(deja_slice(at, sizeof at), dj_lmdb_slice(value), &vector))
        return;
    struct deja_slice bytes =
        vector.dim ? deja_slice(vector.floats, vector.dim * sizeof(float)) : vector.sealed;
    list->places[index].vector_len = bytes.len;
    dj_buf_append_slice(&list->rows, bytes);
}

/* DEJA_ERR_NOT_FOUND: past the tenant's last row. */
static enum deja_status copy_row(struct list *list, MDB_txn *txn, MDB_val key, MDB_val value)
{
    if (key.mv_size != sizeof list->from ||
        memcmp(key.mv_data, list->from.tenant, DJ_ID_BYTES) != 0)
        return DEJA_ERR_NOT_FOUND;
    memcpy(&list->places[list->count].key, key.mv_data, sizeof list->from);
    list->places[list->count].offset = list->rows.len;
    list->places[list->count].len = value.mv_size;
    dj_buf_append(&list->rows, value.mv_data, value.mv_size);
    copy_vector(list, txn, value);
    if (list->rows.status == DEJA_OK)
        list->count++;
    return list->rows.status;
}

static enum deja_status copy_rows(struct list *list, MDB_txn *txn)
{
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn, list->lmdb->tables[DJ_LMDB_ENTRIES], &cursor);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    MDB_val key = dj_lmdb_val(&list->from, sizeof list->from);
    MDB_val value;
    code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (code == MDB_SUCCESS && list->has_after && key.mv_size == sizeof list->from &&
        memcmp(key.mv_data, &list->from, sizeof list->from) == 0)
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    enum deja_status status = dj_lmdb_status(code);
    while (status == DEJA_OK && list->count < DJ_STORE_PAGE_MAX &&
           list->rows.len < LIST_BYTES_MAX) {
        status = copy_row(list, txn, key, value);
        if (status == DEJA_OK)
            status = dj_lmdb_status(mdb_cursor_get(cursor, &key, &value, MDB_NEXT));
    }
    mdb_cursor_close(cursor);
    list->is_end = status == DEJA_ERR_NOT_FOUND;
    return list->is_end ? DEJA_OK : status;
}

/* The same value with its vector. */
static enum deja_status add_vector(struct list *list, uint32_t index, struct dj_value **value)
{
    struct dj_entry entry = *dj_value_entry(*value);
    struct dj_value *whole;
    if (!list->places[index].vector_len)
        return DEJA_OK;
    entry.vector =
        deja_slice(list->rows.data + list->places[index].offset + list->places[index].len,
                   list->places[index].vector_len);
    enum deja_status status = dj_value_create(&entry, &whole);
    if (status != DEJA_OK)
        return status;
    dj_value_unref(*value);
    *value = whole;
    return DEJA_OK;
}

static void decode_rows(struct list *list)
{
    struct dj_store_page *page = list->page;
    int64_t now_ms = dj_clock_now_ms();
    for (uint32_t i = 0; i < list->count && list->status == DEJA_OK; i++) {
        struct dj_value *value = NULL;
        enum deja_status status = dj_lmdb_decode(
            &list->places[i].key,
            deja_slice(list->rows.data + list->places[i].offset, list->places[i].len), &value);
        memcpy(page->after, list->places[i].key.id, sizeof page->after);
        page->position = 1;
        if (status == DEJA_ERR_CORRUPT) {
            dj_lmdb_drop_corrupt(list->lmdb, &list->places[i].key);
            continue;
        }
        list->status = status == DEJA_OK ? add_vector(list, i, &value) : status;
        if (value && dj_store_is_gone(dj_store_gone_ms(dj_value_entry(value)), now_ms))
            dj_value_unref(value);
        else if (value)
            page->values[page->count++] = value;
    }
    page->is_last = list->is_end;
}

static void run_list(void *ctx)
{
    struct list *list = ctx;
    struct dj_lmdb *lmdb = list->lmdb;
    MDB_txn *txn;
    list->status = dj_lmdb_status(dj_lmdb_enter(&lmdb->gate, &lmdb->entries, MDB_RDONLY, &txn));
    if (list->status == DEJA_OK) {
        list->status = copy_rows(list, txn);
        dj_lmdb_leave(&lmdb->gate, txn);
    }
    if (list->status == DEJA_OK)
        decode_rows(list);
    dj_lmdb_reads_end(lmdb);
}

static void on_listed(void *ctx)
{
    struct list *list = ctx;
    struct dj_store_page *page = list->page;
    if (list->status != DEJA_OK) { /* a piece is whole or not at all */
        while (page->count > 0)
            dj_value_unref(page->values[--page->count]);
    }
    list->done(list->ctx, list->status, page->count);
    dj_buf_fini(&list->rows);
    dj_free(list);
}

enum deja_status dj_lmdb_list(struct dj_store *store, struct dj_loop *loop,
                              const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                              void *ctx, dj_store_done_fn *done)
{
    struct list *list = dj_alloc_zeroed(1, sizeof *list);
    if (!list)
        return DEJA_ERR_NOMEM;
    list->lmdb = (struct dj_lmdb *)store;
    list->page = page;
    list->ctx = ctx;
    list->done = done;
    list->has_after = page->position != 0;
    memcpy(list->from.tenant, tenant, sizeof list->from.tenant);
    memcpy(list->from.id, page->after, sizeof list->from.id);
    page->count = 0;
    list->job = (struct dj_job){.work = run_list, .done = on_listed, .ctx = list, .loop = loop};
    dj_lmdb_reads_begin(list->lmdb);
    enum deja_status status = dj_pool_submit(list->lmdb->options.pool, &list->job);
    if (status != DEJA_OK) {
        dj_lmdb_reads_end(list->lmdb);
        dj_free(list);
    }
    return status;
}
