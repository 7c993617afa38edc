/* store/lmdb_apply.c - one write inside a transaction of the writer.
 *
 * (1) A row of `entries`, its row of `expiry` and its row of `vectors` come and go together; its
 * row of `access` goes with them, but stays when a newer version takes their place. (2) Each row of
 * `expiry` that comes or goes is one change; tally and filter follow after the commit, in order,
 * and before anyone is told. (3) Bytes that LMDB shows are used up before the next change of the
 * transaction.
 */
#include "store/lmdb_internal.h"

#include <assert.h>

/* Of what one write may add (an older version out, itself in), without the sweep. */
enum { CHANGES_PER_WRITE = 2, SWEEP_PER_WRITE = 64 };

enum deja_status dj_lmdb_txn_begin(struct dj_lmdb *lmdb, int64_t now_ms,
                                   struct dj_lmdb_txn *out_txn)
{
    *out_txn =
        (struct dj_lmdb_txn){.gate = &lmdb->gate, .changes = lmdb->changes, .now_ms = now_ms};
    return dj_lmdb_status(dj_lmdb_enter(&lmdb->gate, &lmdb->entries, 0, &out_txn->mdb));
}

void dj_lmdb_txn_abort(struct dj_lmdb_txn *txn)
{
    dj_lmdb_leave(txn->gate, txn->mdb);
    txn->mdb = NULL;
}

enum deja_status dj_lmdb_txn_commit(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn)
{
    enum deja_status status = dj_lmdb_status(dj_lmdb_commit(txn->gate, txn->mdb));
    txn->mdb = NULL;
    if (status != DEJA_OK)
        return status;
    atomic_store_explicit(&lmdb->is_dirty, true, memory_order_release);
    dj_lmdb_tally_apply(lmdb, txn);
    return DEJA_OK;
}

bool dj_lmdb_txn_has_room(const struct dj_lmdb_txn *txn)
{
    return txn->change_count + CHANGES_PER_WRITE + SWEEP_PER_WRITE <= DJ_LMDB_CHANGES_MAX;
}

static void note(struct dj_lmdb_txn *txn, const struct dj_store_key *key, int kind, int64_t bytes)
{
    assert(txn->change_count < DJ_LMDB_CHANGES_MAX);
    struct dj_lmdb_change *change = &txn->changes[txn->change_count++];
    change->key = *key;
    change->bytes = bytes;
    change->kind = kind;
    txn->bytes += bytes;
}

/* DEJA_ERR_NOT_FOUND is an outcome here: the row was not there. */
static enum deja_status delete_row(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                   enum dj_lmdb_table table, const void *key, size_t key_len)
{
    MDB_val at = dj_lmdb_val(key, key_len);
    return dj_lmdb_status(mdb_del(txn->mdb, lmdb->tables[table], &at, NULL));
}

static enum deja_status unless_missing(enum deja_status status)
{
    return status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status;
}

/* The row of `expiry` and, if it was there, the change. */
static enum deja_status delete_expiry(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn, uint64_t order,
                                      const struct dj_store_key *key, int kind)
{
    char at[DJ_ROW_EXPIRY_KEY_BYTES];
    dj_row_expiry_key_write(order, key, at);
    MDB_val index = dj_lmdb_val(at, sizeof at);
    MDB_val value;
    int code = mdb_get(txn->mdb, lmdb->tables[DJ_LMDB_EXPIRY], &index, &value);
    if (code != MDB_SUCCESS)
        return unless_missing(dj_lmdb_status(code));
    uint32_t cost = 0;
    if (!dj_row_cost_read(dj_lmdb_slice(value), &cost))
        return DEJA_ERR_CORRUPT;
    enum deja_status status = delete_row(lmdb, txn, DJ_LMDB_EXPIRY, at, sizeof at);
    if (status == DEJA_OK)
        note(txn, key, kind, -(int64_t)cost);
    return status;
}

/* DEJA_ERR_NOT_FOUND: no such entry. A head that cannot be read leaves its other rows to sweep. */
static enum deja_status find_head(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                  const struct dj_store_key *key, struct dj_row_head *out_head,
                                  bool *out_is_readable)
{
    MDB_val at = dj_lmdb_val(key, sizeof *key);
    MDB_val value;
    int code = mdb_get(txn->mdb, lmdb->tables[DJ_LMDB_ENTRIES], &at, &value);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    *out_is_readable = dj_row_head_read(dj_lmdb_slice(value), out_head);
    return DEJA_OK;
}

/* All rows of one entry. */
static enum deja_status delete_entry(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                     const struct dj_store_key *key, const struct dj_row_head *head,
                                     int kind)
{
    enum deja_status status = delete_row(lmdb, txn, DJ_LMDB_ENTRIES, key, sizeof *key);
    if (status != DEJA_OK || !head)
        return status;
    status = delete_expiry(lmdb, txn, head->order, key, kind);
    if (status != DEJA_OK || !head->has_vector)
        return status;
    char at[DJ_ROW_VECTOR_KEY_BYTES];
    dj_row_vector_key_write(key, head->scope, at);
    return unless_missing(delete_row(lmdb, txn, DJ_LMDB_VECTORS, at, sizeof at));
}

/* The entry and what is known of its use: it does not come back as itself. */
static enum deja_status delete_for_good(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                        const struct dj_store_key *key,
                                        const struct dj_row_head *head, int kind)
{
    enum deja_status status = delete_entry(lmdb, txn, key, head, kind);
    if (status != DEJA_OK)
        return status;
    return unless_missing(delete_row(lmdb, txn, DJ_LMDB_ACCESS, key, sizeof *key));
}

/* Room of len bytes under the key; *out is written before the next change. */
static enum deja_status put_reserved(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                     enum dj_lmdb_table table, MDB_val key, size_t len, char **out)
{
    MDB_val value = {.mv_size = len};
    int code = mdb_put(txn->mdb, lmdb->tables[table], &key, &value, MDB_RESERVE);
    if (code == MDB_SUCCESS)
        *out = value.mv_data;
    return dj_lmdb_status(code);
}

static enum deja_status insert_rows(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                    const struct dj_lmdb_write *write)
{
    const struct dj_entry *entry = dj_value_entry(write->value);
    size_t vector_bytes = dj_row_vector_size(entry, write->dim);
    struct dj_row_head head = {.version = entry->version,
                               .order = dj_row_order(entry),
                               .cost = dj_row_cost(write->record.len, vector_bytes),
                               .has_vector = vector_bytes > 0};
    memcpy(head.scope, entry->scope, sizeof head.scope);
    char *row = NULL;
    enum deja_status status =
        put_reserved(lmdb, txn, DJ_LMDB_ENTRIES, dj_lmdb_val(&write->key, sizeof write->key),
                     DJ_ROW_HEAD_BYTES + write->record.len, &row);
    if (status != DEJA_OK)
        return status;
    dj_row_head_write(&head, row);
    memcpy(row + DJ_ROW_HEAD_BYTES, write->record.data, write->record.len);
    char index[DJ_ROW_EXPIRY_KEY_BYTES];
    dj_row_expiry_key_write(head.order, &write->key, index);
    status = put_reserved(lmdb, txn, DJ_LMDB_EXPIRY, dj_lmdb_val(index, sizeof index),
                          DJ_ROW_EXPIRY_BYTES, &row);
    if (status != DEJA_OK)
        return status;
    dj_row_cost_write(head.cost, row);
    note(txn, &write->key, DJ_CHANGE_ADDED, head.cost);
    if (!head.has_vector)
        return DEJA_OK;
    char at[DJ_ROW_VECTOR_KEY_BYTES];
    dj_row_vector_key_write(&write->key, head.scope, at);
    status =
        put_reserved(lmdb, txn, DJ_LMDB_VECTORS, dj_lmdb_val(at, sizeof at), vector_bytes, &row);
    if (status == DEJA_OK)
        dj_row_vector_write(entry, head.order, write->vector, write->dim, row);
    return status;
}

static void count_record(struct dj_lmdb *lmdb, struct deja_slice record)
{
    atomic_fetch_add_explicit(&lmdb->record_bytes, record.len, memory_order_relaxed);
    atomic_fetch_add_explicit(&lmdb->plain_bytes, dj_record_plain_bytes(record),
                              memory_order_relaxed);
}

/* The record is made once, however often the transaction is tried. */
static enum deja_status encode(struct dj_lmdb *lmdb, struct dj_lmdb_write *write)
{
    enum deja_status status = DEJA_OK;
    if (write->record.len == 0) {
        status = dj_record_encode_with(&lmdb->options.packing, dj_value_entry(write->value),
                                       &write->record);
        if (status == DEJA_OK)
            count_record(lmdb, dj_buf_slice(&write->record));
    }
    if (status == DEJA_OK &&
        dj_row_cost(write->record.len,
                    dj_row_vector_size(dj_value_entry(write->value), write->dim)) > lmdb->bytes_max)
        status = DEJA_ERR_LIMIT;
    if (status != DEJA_OK)
        dj_buf_fini(&write->record); /* half a record must not pass for one that is made */
    return status;
}

static enum deja_status apply_put(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                  struct dj_lmdb_write *write)
{
    const struct dj_entry *entry = dj_value_entry(write->value);
    write->status = encode(lmdb, write);
    if (write->status != DEJA_OK)
        return DEJA_OK;
    /* What ended while it waited for the disk still ends the version before it. */
    bool is_over = dj_store_is_gone(dj_store_gone_ms(entry), txn->now_ms);
    struct dj_row_head old;
    bool is_readable = false;
    enum deja_status status = find_head(lmdb, txn, &write->key, &old, &is_readable);
    if (status != DEJA_OK && status != DEJA_ERR_NOT_FOUND)
        return status;
    if (status == DEJA_OK) {
        bool is_gone = is_readable && dj_store_is_gone(dj_row_gone_ms(old.order), txn->now_ms);
        if (is_readable && !is_gone && old.version >= entry->version) {
            write->removed = 1; /* outrun */
            return DEJA_OK;
        }
        status = delete_entry(lmdb, txn, &write->key, is_readable ? &old : NULL, DJ_CHANGE_REMOVED);
        if (status != DEJA_OK)
            return status;
    }
    return is_over ? DEJA_OK : insert_rows(lmdb, txn, write);
}

static enum deja_status apply_remove(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                     struct dj_lmdb_write *write)
{
    struct dj_row_head head;
    bool is_readable = false;
    enum deja_status status = find_head(lmdb, txn, &write->key, &head, &is_readable);
    if (status == DEJA_ERR_NOT_FOUND)
        return DEJA_OK;
    if (status == DEJA_OK && is_readable && head.version > write->version_max)
        return DEJA_OK;
    if (status == DEJA_OK)
        status =
            delete_for_good(lmdb, txn, &write->key, is_readable ? &head : NULL, DJ_CHANGE_REMOVED);
    if (status == DEJA_OK &&
        !(is_readable && dj_store_is_gone(dj_row_gone_ms(head.order), txn->now_ms)))
        write->removed = 1;
    return status;
}

/* A reader found the row damaged; by now a newer one may be in its place. */
static enum deja_status apply_drop_corrupt(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                           struct dj_lmdb_write *write)
{
    MDB_val at = dj_lmdb_val(&write->key, sizeof write->key);
    MDB_val value;
    int code = mdb_get(txn->mdb, lmdb->tables[DJ_LMDB_ENTRIES], &at, &value);
    if (code != MDB_SUCCESS)
        return unless_missing(dj_lmdb_status(code));
    struct dj_value *decoded = NULL;
    enum deja_status status = dj_lmdb_decode(&write->key, dj_lmdb_slice(value), &decoded);
    dj_value_unref(decoded);
    return status == DEJA_ERR_CORRUPT ? apply_remove(lmdb, txn, write) : DEJA_OK;
}

enum deja_status dj_lmdb_apply(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                               struct dj_lmdb_write *write)
{
    write->status = DEJA_OK;
    write->removed = 0;
    if (write->kind == DJ_WRITE_REMOVE)
        return apply_remove(lmdb, txn, write);
    if (write->kind == DJ_WRITE_ACCESS)
        return dj_lmdb_apply_access(lmdb, txn, write);
    if (write->kind == DJ_WRITE_DROP_CORRUPT)
        return apply_drop_corrupt(lmdb, txn, write);
    enum deja_status status = apply_put(lmdb, txn, write);
    if (status != DEJA_OK || write->status != DEJA_OK)
        return status;
    uint32_t removed;
    return dj_lmdb_apply_sweep(lmdb, txn, lmdb->bytes_max, SWEEP_PER_WRITE, &removed);
}

enum deja_status dj_lmdb_apply_clear(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                     const uint8_t tenant[DJ_ID_BYTES], uint32_t count_max,
                                     uint64_t *out_removed)
{
    uint64_t removed = 0;
    struct dj_store_key from = {{0}, {0}};
    memcpy(from.tenant, tenant, sizeof from.tenant);
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn->mdb, lmdb->tables[DJ_LMDB_ENTRIES], &cursor);
    enum deja_status status = dj_lmdb_status(code);
    if (status != DEJA_OK)
        return status;
    while (status == DEJA_OK && removed < count_max) {
        MDB_val at = dj_lmdb_val(&from, sizeof from);
        MDB_val value;
        code = mdb_cursor_get(cursor, &at, &value, MDB_SET_RANGE);
        struct dj_store_key key;
        if (code != MDB_SUCCESS || at.mv_size != sizeof key ||
            memcmp(at.mv_data, tenant, DJ_ID_BYTES) != 0) {
            status = unless_missing(dj_lmdb_status(code));
            break;
        }
        memcpy(&key, at.mv_data, sizeof key);
        struct dj_row_head head;
        bool is_readable = dj_row_head_read(dj_lmdb_slice(value), &head);
        status = delete_for_good(lmdb, txn, &key, is_readable ? &head : NULL, DJ_CHANGE_REMOVED);
        removed++;
    }
    mdb_cursor_close(cursor);
    if (status == DEJA_OK)
        *out_removed = removed;
    return status;
}

/* The entry that is gone first. DEJA_ERR_NOT_FOUND: the tier is empty. */
static enum deja_status find_oldest(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                    uint64_t *out_order, struct dj_store_key *out_key)
{
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn->mdb, lmdb->tables[DJ_LMDB_EXPIRY], &cursor);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    MDB_val at;
    MDB_val value;
    code = mdb_cursor_get(cursor, &at, &value, MDB_FIRST);
    enum deja_status status = dj_lmdb_status(code);
    if (status == DEJA_OK && !dj_row_expiry_key_read(dj_lmdb_slice(at), out_order, out_key))
        status = DEJA_ERR_CORRUPT;
    mdb_cursor_close(cursor);
    return status;
}

/* The row of `expiry`, and the entry if that is still the one it was made for. */
static enum deja_status drop_oldest(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn, uint64_t order,
                                    const struct dj_store_key *key, int kind)
{
    struct dj_row_head head;
    bool is_readable = false;
    enum deja_status status = find_head(lmdb, txn, key, &head, &is_readable);
    if (status == DEJA_OK && is_readable && head.order == order)
        return delete_for_good(lmdb, txn, key, &head, kind);
    if (status != DEJA_OK && status != DEJA_ERR_NOT_FOUND)
        return status;
    return delete_expiry(lmdb, txn, order, key, kind);
}

enum deja_status dj_lmdb_apply_sweep(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                     uint64_t bytes_max, uint32_t count_max, uint32_t *out_removed)
{
    uint32_t removed = 0;
    int64_t before = (int64_t)dj_lmdb_tally_bytes(lmdb);
    while (removed < count_max && txn->change_count < DJ_LMDB_CHANGES_MAX) {
        uint64_t order;
        struct dj_store_key key;
        enum deja_status status = find_oldest(lmdb, txn, &order, &key);
        if (status == DEJA_ERR_NOT_FOUND)
            break;
        if (status != DEJA_OK)
            return status;
        bool is_gone = dj_store_is_gone(dj_row_gone_ms(order), txn->now_ms);
        if (!is_gone && before + txn->bytes <= (int64_t)bytes_max)
            break;
        status =
            drop_oldest(lmdb, txn, order, &key, is_gone ? DJ_CHANGE_EXPIRED : DJ_CHANGE_EVICTED);
        if (status != DEJA_OK)
            return status;
        removed++;
    }
    *out_removed = removed;
    return DEJA_OK;
}
