/* store/lmdb_access.c - access statistics beside the entries: written in batches by the writer,
 * read once at start.
 *
 *   access   tenant ‖ id (zeros: the tenant's sums) -> hits 8 ‖ last 8 ‖ verdicts 8 ‖ wrong 8
 *
 * Numbers are big-endian. A row goes with its entry; one without an entry is not written.
 */
#include "store/lmdb_internal.h"

#include "base/alloc.h"

#define ROW_BYTES 32u

static void put_number(char *out, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        out[i] = (char)(unsigned char)(value & 0xff);
}

static uint64_t take_number(const char *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | (unsigned char)bytes[i];
    return value;
}

bool dj_lmdb_access_read(struct deja_slice key, struct deja_slice value,
                         struct dj_store_access *out_row)
{
    if (key.len != sizeof out_row->key || value.len != ROW_BYTES)
        return false;
    memcpy(&out_row->key, key.data, sizeof out_row->key);
    out_row->hits = take_number(value.data);
    out_row->last_ms = (int64_t)take_number(value.data + 8);
    out_row->verdicts = take_number(value.data + 16);
    out_row->verdicts_wrong = take_number(value.data + 24);
    return true;
}

enum deja_status dj_lmdb_access_put(struct dj_store *store, const struct dj_store_access *rows,
                                    size_t count)
{
    struct dj_lmdb *lmdb = (struct dj_lmdb *)store;
    struct dj_lmdb_write *write = dj_lmdb_write_create(DJ_WRITE_ACCESS, &rows[0].key, 0);
    if (!write)
        return DEJA_ERR_NOMEM;
    dj_buf_append(&write->record, rows, count * sizeof *rows);
    write->bytes += count * sizeof *rows;
    enum deja_status status = write->record.status;
    if (status == DEJA_OK)
        status = dj_lmdb_enqueue(lmdb, write);
    if (status != DEJA_OK)
        dj_lmdb_write_destroy(write);
    return status;
}

/* DEJA_ERR_NOT_FOUND: no entry, and not the tenant's own row. */
static enum deja_status find_owner(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                   const struct dj_store_key *key)
{
    static const uint8_t no_id[DJ_ID_BYTES];
    MDB_val at = dj_lmdb_val(key, sizeof *key);
    MDB_val value;
    if (memcmp(key->id, no_id, sizeof no_id) == 0)
        return DEJA_OK;
    return dj_lmdb_status(mdb_get(txn->mdb, lmdb->tables[DJ_LMDB_ENTRIES], &at, &value));
}

enum deja_status dj_lmdb_apply_access(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                      const struct dj_lmdb_write *write)
{
    size_t count = write->record.len / sizeof(struct dj_store_access);
    for (size_t i = 0; i < count; i++) {
        struct dj_store_access row;
        char bytes[ROW_BYTES];
        memcpy(&row, write->record.data + i * sizeof row, sizeof row);
        enum deja_status status = find_owner(lmdb, txn, &row.key);
        if (status == DEJA_ERR_NOT_FOUND)
            continue;
        if (status != DEJA_OK)
            return status;
        put_number(bytes, row.hits);
        put_number(bytes + 8, (uint64_t)row.last_ms);
        put_number(bytes + 16, row.verdicts);
        put_number(bytes + 24, row.verdicts_wrong);
        MDB_val at = dj_lmdb_val(&row.key, sizeof row.key);
        MDB_val value = dj_lmdb_val(bytes, sizeof bytes);
        status = dj_lmdb_status(mdb_put(txn->mdb, lmdb->tables[DJ_LMDB_ACCESS], &at, &value, 0));
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

enum deja_status dj_lmdb_access_walk(struct dj_store *store, void *ctx, dj_store_access_fn *each)
{
    struct dj_lmdb *lmdb = (struct dj_lmdb *)store;
    MDB_txn *txn;
    MDB_cursor *cursor = NULL;
    int code = dj_lmdb_enter(&lmdb->gate, &lmdb->entries, MDB_RDONLY, &txn);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    code = mdb_cursor_open(txn, lmdb->tables[DJ_LMDB_ACCESS], &cursor);
    MDB_val key;
    MDB_val value;
    while (code == MDB_SUCCESS &&
           (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        struct dj_store_access row;
        if (!dj_lmdb_access_read(dj_lmdb_slice(key), dj_lmdb_slice(value), &row))
            continue; /* counts of damaged form are no counts */
        if (!each(ctx, &row))
            break;
    }
    if (cursor)
        mdb_cursor_close(cursor);
    dj_lmdb_leave(&lmdb->gate, txn);
    return code == MDB_NOTFOUND ? DEJA_OK : dj_lmdb_status(code);
}
