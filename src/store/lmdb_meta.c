/* store/lmdb_meta.c - small values under text keys, each write synced before it returns.
 *
 * One table; a pair's key is table ‖ 0 ‖ key. LMDB's own lock orders the writers.
 */
#include "store/lmdb_internal.h"

#include <assert.h>

#define META_KEY_BYTES_MAX 511u /* LMDB's own bound */
#define META_VALUE_BYTES_MAX ((size_t)1 << 20)

struct meta_key {
    char bytes[META_KEY_BYTES_MAX];
    size_t len;
};

static enum deja_status make_key(const char *table, struct deja_slice key, struct meta_key *out_key)
{
    size_t table_len = strlen(table);
    assert(table_len > 0);
    if (key.len > META_KEY_BYTES_MAX || table_len + 1 + key.len > META_KEY_BYTES_MAX)
        return DEJA_ERR_LIMIT;
    memcpy(out_key->bytes, table, table_len + 1);
    if (key.len > 0)
        memcpy(out_key->bytes + table_len + 1, key.data, key.len);
    out_key->len = table_len + 1 + key.len;
    return DEJA_OK;
}

enum deja_status dj_lmdb_meta_get(struct dj_store *store, const char *table, struct deja_slice key,
                                  void *ctx, void (*found)(void *ctx, struct deja_slice value))
{
    struct dj_lmdb *lmdb = (struct dj_lmdb *)store;
    struct meta_key full;
    enum deja_status status = make_key(table, key, &full);
    if (status != DEJA_OK)
        return status;
    MDB_txn *txn;
    int code = mdb_txn_begin(lmdb->meta, NULL, MDB_RDONLY, &txn);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    MDB_val at = dj_lmdb_val(full.bytes, full.len);
    MDB_val value;
    code = mdb_get(txn, lmdb->meta_table, &at, &value);
    if (code == MDB_SUCCESS)
        found(ctx, dj_lmdb_slice(value));
    mdb_txn_abort(txn);
    return dj_lmdb_status(code);
}

/* One synced transaction that puts value, or removes the pair (NULL). */
static enum deja_status change(struct dj_lmdb *lmdb, const char *table, struct deja_slice key,
                               const struct deja_slice *value)
{
    struct meta_key full;
    enum deja_status status = make_key(table, key, &full);
    if (status != DEJA_OK)
        return status;
    MDB_txn *txn;
    int code = mdb_txn_begin(lmdb->meta, NULL, 0, &txn);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    MDB_val at = dj_lmdb_val(full.bytes, full.len);
    if (value) {
        MDB_val bytes = dj_lmdb_val(value->data, value->len);
        code = mdb_put(txn, lmdb->meta_table, &at, &bytes, 0);
    } else {
        code = mdb_del(txn, lmdb->meta_table, &at, NULL);
    }
    if (code == MDB_SUCCESS)
        return dj_lmdb_status(mdb_txn_commit(txn));
    mdb_txn_abort(txn);
    return dj_lmdb_status(code);
}

enum deja_status dj_lmdb_meta_put(struct dj_store *store, const char *table, struct deja_slice key,
                                  struct deja_slice value)
{
    if (value.len > META_VALUE_BYTES_MAX)
        return DEJA_ERR_LIMIT;
    return change((struct dj_lmdb *)store, table, key, &value);
}

enum deja_status dj_lmdb_meta_remove(struct dj_store *store, const char *table,
                                     struct deja_slice key)
{
    return change((struct dj_lmdb *)store, table, key, NULL);
}

enum deja_status dj_lmdb_meta_walk(struct dj_store *store, const char *table, void *ctx,
                                   bool (*each)(void *ctx, struct deja_slice key,
                                                struct deja_slice value))
{
    struct dj_lmdb *lmdb = (struct dj_lmdb *)store;
    struct meta_key prefix;
    enum deja_status status = make_key(table, deja_slice(NULL, 0), &prefix);
    if (status != DEJA_OK)
        return status;
    MDB_txn *txn;
    int code = mdb_txn_begin(lmdb->meta, NULL, MDB_RDONLY, &txn);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    MDB_cursor *cursor = NULL;
    code = mdb_cursor_open(txn, lmdb->meta_table, &cursor);
    MDB_val key = dj_lmdb_val(prefix.bytes, prefix.len);
    MDB_val value;
    if (code == MDB_SUCCESS)
        code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (code == MDB_SUCCESS) {
        struct deja_slice full = dj_lmdb_slice(key);
        if (full.len < prefix.len || memcmp(full.data, prefix.bytes, prefix.len) != 0 ||
            !each(ctx, deja_slice(full.data + prefix.len, full.len - prefix.len),
                  dj_lmdb_slice(value)))
            break;
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (cursor)
        mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return code == MDB_NOTFOUND ? DEJA_OK : dj_lmdb_status(code);
}
