/* store/lmdb_verify.c - is `entries` whole? Asked after a power cut, when the kernel may have
 * written a newer meta page and older data pages.
 *
 * (1) The file is as long as the newest meta page says: else the first touch would be a SIGBUS.
 * (2) Used pages and free pages add up to all pages: a stale free list would hand out pages that
 *     are in use, and no walk of the rows would notice.
 * (3) Every row of every table verifies.
 *
 * LMDB itself trusts its pages, so a walk of damaged ones could still crash: the caller leaves a
 * mark before it and discards when it finds the mark (lmdb.c).
 */
#include "store/lmdb_internal.h"

#include <sys/stat.h>

#include "base/alloc.h"

/* Numbers of LMDB's own tables, as its tools use them. */
enum { FREE_TABLE = 0, MAIN_TABLE = 1, META_PAGES = 2 };

static enum deja_status check_file(struct dj_lmdb *lmdb, const MDB_envinfo *info, size_t page_bytes)
{
    char *path = dj_lmdb_path(lmdb->options.directory, "entries/data.mdb");
    if (!path)
        return DEJA_ERR_NOMEM;
    struct stat file;
    int code = stat(path, &file);
    dj_free(path);
    if (code != 0)
        return DEJA_ERR_IO;
    uint64_t pages = (uint64_t)info->me_last_pgno + 1;
    return (uint64_t)file.st_size / page_bytes >= pages ? DEJA_OK : DEJA_ERR_CORRUPT;
}

static enum deja_status count_free(MDB_txn *txn, uint64_t *out_pages)
{
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn, FREE_TABLE, &cursor);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    uint64_t pages = 0;
    enum deja_status status = DEJA_OK;
    MDB_val key;
    MDB_val value;
    while (status == DEJA_OK &&
           (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        size_t count = 0;
        if (value.mv_size >= sizeof count)
            memcpy(&count, value.mv_data, sizeof count);
        if (value.mv_size < sizeof count || count > value.mv_size / sizeof count - 1)
            status = DEJA_ERR_CORRUPT;
        pages += count;
    }
    mdb_cursor_close(cursor);
    if (status == DEJA_OK && code != MDB_NOTFOUND)
        status = dj_lmdb_status(code);
    if (status == DEJA_OK)
        *out_pages = pages;
    return status;
}

static enum deja_status count_used(MDB_txn *txn, MDB_dbi table, uint64_t *pages)
{
    MDB_stat stat;
    int code = mdb_stat(txn, table, &stat);
    if (code == MDB_SUCCESS)
        *pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    return dj_lmdb_status(code);
}

static enum deja_status check_pages(struct dj_lmdb *lmdb, MDB_txn *txn, const MDB_envinfo *info)
{
    uint64_t pages = 0;
    enum deja_status status = count_free(txn, &pages);
    if (status == DEJA_OK)
        status = count_used(txn, FREE_TABLE, &pages);
    if (status == DEJA_OK)
        status = count_used(txn, MAIN_TABLE, &pages);
    for (int i = 0; status == DEJA_OK && i < DJ_LMDB_TABLE_COUNT; i++)
        status = count_used(txn, lmdb->tables[i], &pages);
    if (status == DEJA_OK && pages + META_PAGES != (uint64_t)info->me_last_pgno + 1)
        status = DEJA_ERR_CORRUPT;
    return status;
}

typedef enum deja_status check_row_fn(struct deja_slice key, struct deja_slice value);

static enum deja_status check_entry(struct deja_slice key, struct deja_slice value)
{
    struct dj_store_key wanted;
    if (key.len != sizeof wanted)
        return DEJA_ERR_CORRUPT;
    memcpy(&wanted, key.data, sizeof wanted);
    struct dj_value *decoded = NULL;
    enum deja_status status = dj_lmdb_decode(&wanted, value, &decoded);
    dj_value_unref(decoded);
    return status;
}

static enum deja_status check_expiry(struct deja_slice key, struct deja_slice value)
{
    uint64_t order;
    struct dj_store_key entry;
    uint32_t cost;
    bool is_whole = dj_row_expiry_key_read(key, &order, &entry) && dj_row_cost_read(value, &cost);
    return is_whole ? DEJA_OK : DEJA_ERR_CORRUPT;
}

static enum deja_status check_vector(struct deja_slice key, struct deja_slice value)
{
    struct dj_row_vector row;
    return dj_row_vector_read(key, value, &row) ? DEJA_OK : DEJA_ERR_CORRUPT;
}

static enum deja_status check_access(struct deja_slice key, struct deja_slice value)
{
    struct dj_store_access row;
    return dj_lmdb_access_read(key, value, &row) ? DEJA_OK : DEJA_ERR_CORRUPT;
}

static enum deja_status check_table(MDB_txn *txn, MDB_dbi table, check_row_fn *check)
{
    MDB_stat stat;
    MDB_cursor *cursor = NULL;
    int code = mdb_stat(txn, table, &stat);
    if (code == MDB_SUCCESS)
        code = mdb_cursor_open(txn, table, &cursor);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    enum deja_status status = DEJA_OK;
    size_t count = 0;
    MDB_val key;
    MDB_val value;
    while (status == DEJA_OK &&
           (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        status = check(dj_lmdb_slice(key), dj_lmdb_slice(value));
        if (++count > stat.ms_entries) /* branches that lead in circles */
            status = DEJA_ERR_CORRUPT;
    }
    mdb_cursor_close(cursor);
    if (status == DEJA_OK && code != MDB_NOTFOUND)
        status = dj_lmdb_status(code);
    if (status == DEJA_OK && count != stat.ms_entries)
        status = DEJA_ERR_CORRUPT;
    return status;
}

enum deja_status dj_lmdb_verify(struct dj_lmdb *lmdb)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(lmdb->entries, NULL, MDB_RDONLY, &txn);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    MDB_envinfo info;
    MDB_stat stat;
    enum deja_status status = dj_lmdb_status(mdb_env_info(lmdb->entries, &info));
    if (status == DEJA_OK)
        status = dj_lmdb_status(mdb_env_stat(lmdb->entries, &stat));
    if (status == DEJA_OK)
        status = check_file(lmdb, &info, stat.ms_psize);
    if (status == DEJA_OK)
        status = check_pages(lmdb, txn, &info);
    if (status == DEJA_OK)
        status = check_table(txn, lmdb->tables[DJ_LMDB_ENTRIES], check_entry);
    if (status == DEJA_OK)
        status = check_table(txn, lmdb->tables[DJ_LMDB_EXPIRY], check_expiry);
    if (status == DEJA_OK)
        status = check_table(txn, lmdb->tables[DJ_LMDB_VECTORS], check_vector);
    if (status == DEJA_OK)
        status = check_table(txn, lmdb->tables[DJ_LMDB_ACCESS], check_access);
    mdb_txn_abort(txn);
    return status;
}
