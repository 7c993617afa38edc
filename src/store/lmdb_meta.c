/* store/lmdb_meta.c - small values under text keys, each write synced before it returns.
 *
 * One table; a pair's key is table ‖ 0 ‖ key. LMDB's own lock orders the writers.
 */
#include "store/lmdb_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/alloc.h"

#define META_KEY_BYTES_MAX 511u /* LMDB's own bound */
#define META_VALUE_BYTES_MAX ((size_t)1 << 20)

static enum deja_status lock_directory(struct dj_lmdb_meta *meta, struct deja_error *error)
{
    char *path = dj_lmdb_path(meta->directory, "lock");
    if (!path)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    meta->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    dj_free(path);
    if (meta->lock_fd < 0)
        return deja_error_set(error, DEJA_ERR_IO, "%s/lock cannot be opened (error %d)",
                              meta->directory, errno);
    if (flock(meta->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return DEJA_OK;
    enum deja_status status = errno == EWOULDBLOCK ? DEJA_ERR_BUSY : DEJA_ERR_IO;
    return deja_error_set(error, status, "%s belongs to another process", meta->directory);
}

enum deja_status dj_lmdb_meta_open(const char *directory, struct dj_lmdb_meta **out_meta,
                                   struct deja_error *error)
{
    struct dj_lmdb_meta *meta = dj_alloc_zeroed(1, sizeof *meta);
    if (!meta)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    meta->lock_fd = -1;
    dj_lmdb_gate_init(&meta->gate, true); /* who walks may get, too */
    meta->directory = dj_strdup(deja_slice_text(directory));
    enum deja_status status = meta->directory
                                  ? lock_directory(meta, error)
                                  : deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    if (status == DEJA_OK) {
        status = dj_lmdb_env_open_meta(meta);
        if (status != DEJA_OK)
            deja_error_set(error, status, "%s/meta cannot be opened: %s", directory,
                           deja_status_text(status));
    }
    if (status != DEJA_OK) {
        dj_lmdb_meta_close(meta);
        return status;
    }
    *out_meta = meta;
    return DEJA_OK;
}

void dj_lmdb_meta_close(struct dj_lmdb_meta *meta)
{
    if (!meta)
        return;
    if (meta->env)
        mdb_env_close(meta->env);
    if (meta->lock_fd >= 0)
        close(meta->lock_fd);
    pthread_rwlock_destroy(&meta->gate);
    dj_free(meta->directory);
    dj_free(meta);
}

struct dj_lmdb_meta *dj_lmdb_meta_of(struct dj_store *store)
{
    return ((struct dj_lmdb *)store)->meta;
}

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

enum deja_status dj_lmdb_meta_get(struct dj_lmdb_meta *meta, const char *table,
                                  struct deja_slice key, void *ctx,
                                  void (*found)(void *ctx, struct deja_slice value))
{
    struct meta_key full;
    enum deja_status status = make_key(table, key, &full);
    if (status != DEJA_OK)
        return status;
    MDB_txn *txn;
    int code = dj_lmdb_enter(&meta->gate, &meta->env, MDB_RDONLY, &txn);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    MDB_val at = dj_lmdb_val(full.bytes, full.len);
    MDB_val value;
    code = mdb_get(txn, meta->table, &at, &value);
    if (code == MDB_SUCCESS)
        found(ctx, dj_lmdb_slice(value));
    dj_lmdb_leave(&meta->gate, txn);
    return dj_lmdb_status(code);
}

/* One synced transaction that puts value, or removes the pair (NULL). */
static enum deja_status change(struct dj_lmdb_meta *meta, const char *table, struct deja_slice key,
                               const struct deja_slice *value, unsigned int flags)
{
    struct meta_key full;
    enum deja_status status = make_key(table, key, &full);
    if (status != DEJA_OK)
        return status;
    MDB_txn *txn;
    int code = dj_lmdb_enter(&meta->gate, &meta->env, 0, &txn);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    MDB_val at = dj_lmdb_val(full.bytes, full.len);
    if (value) {
        MDB_val bytes = dj_lmdb_val(value->data, value->len);
        code = mdb_put(txn, meta->table, &at, &bytes, flags);
    } else {
        code = mdb_del(txn, meta->table, &at, NULL);
    }
    if (code == MDB_SUCCESS)
        return dj_lmdb_status(dj_lmdb_commit(&meta->gate, txn));
    dj_lmdb_leave(&meta->gate, txn);
    return code == MDB_KEYEXIST ? DEJA_ERR_BUSY : dj_lmdb_status(code);
}

enum deja_status dj_lmdb_meta_put(struct dj_lmdb_meta *meta, const char *table,
                                  struct deja_slice key, struct deja_slice value)
{
    if (value.len > META_VALUE_BYTES_MAX)
        return DEJA_ERR_LIMIT;
    return change(meta, table, key, &value, 0);
}

enum deja_status dj_lmdb_meta_add(struct dj_lmdb_meta *meta, const char *table,
                                  struct deja_slice key, struct deja_slice value)
{
    if (value.len > META_VALUE_BYTES_MAX)
        return DEJA_ERR_LIMIT;
    return change(meta, table, key, &value, MDB_NOOVERWRITE);
}

enum deja_status dj_lmdb_meta_remove(struct dj_lmdb_meta *meta, const char *table,
                                     struct deja_slice key)
{
    return change(meta, table, key, NULL, 0);
}

struct pair {
    size_t key_len;
    size_t value_len;
};

/* The table's pairs, each behind its lengths. */
static int copy_pairs(MDB_txn *txn, MDB_dbi table, const struct meta_key *prefix,
                      struct dj_buf *pairs)
{
    MDB_cursor *cursor = NULL;
    int code = mdb_cursor_open(txn, table, &cursor);
    MDB_val key = dj_lmdb_val(prefix->bytes, prefix->len);
    MDB_val value;
    if (code == MDB_SUCCESS)
        code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (code == MDB_SUCCESS) {
        struct deja_slice full = dj_lmdb_slice(key);
        if (full.len < prefix->len || memcmp(full.data, prefix->bytes, prefix->len) != 0)
            break;
        const struct pair pair = {.key_len = full.len - prefix->len, .value_len = value.mv_size};
        dj_buf_append(pairs, &pair, sizeof pair);
        dj_buf_append(pairs, full.data + prefix->len, pair.key_len);
        dj_buf_append_slice(pairs, dj_lmdb_slice(value));
        code = pairs->status == DEJA_OK ? mdb_cursor_get(cursor, &key, &value, MDB_NEXT) : ENOMEM;
    }
    if (cursor)
        mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? MDB_SUCCESS : code;
}

/* The pairs are copied first: `each` may take locks under which others write here. */
enum deja_status dj_lmdb_meta_walk(struct dj_lmdb_meta *meta, const char *table, void *ctx,
                                   bool (*each)(void *ctx, struct deja_slice key,
                                                struct deja_slice value))
{
    struct meta_key prefix;
    struct dj_buf pairs = {0};
    enum deja_status status = make_key(table, deja_slice(NULL, 0), &prefix);
    if (status != DEJA_OK)
        return status;
    MDB_txn *txn;
    int code = dj_lmdb_enter(&meta->gate, &meta->env, MDB_RDONLY, &txn);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    code = copy_pairs(txn, meta->table, &prefix, &pairs);
    dj_lmdb_leave(&meta->gate, txn);
    status = dj_lmdb_status(code);
    bool goes_on = status == DEJA_OK;
    for (size_t at = 0; goes_on && at < pairs.len;) {
        struct pair pair;
        memcpy(&pair, pairs.data + at, sizeof pair);
        const char *key = pairs.data + at + sizeof pair;
        goes_on = each(ctx, deja_slice(key, pair.key_len),
                       deja_slice(key + pair.key_len, pair.value_len));
        at += sizeof pair + pair.key_len + pair.value_len;
    }
    dj_buf_fini(&pairs);
    return status;
}

static enum deja_status peek_open(const char *directory, struct dj_lmdb_meta *meta)
{
    *meta = (struct dj_lmdb_meta){.lock_fd = -1};
    dj_lmdb_gate_init(&meta->gate, true);
    return dj_lmdb_env_peek_meta(directory, meta);
}

static void peek_close(struct dj_lmdb_meta *meta)
{
    if (meta->env)
        mdb_env_close(meta->env);
    pthread_rwlock_destroy(&meta->gate);
}

enum deja_status dj_lmdb_meta_peek(const char *directory, const char *table, struct deja_slice key,
                                   void *ctx, void (*found)(void *ctx, struct deja_slice value))
{
    struct dj_lmdb_meta meta;
    enum deja_status status = peek_open(directory, &meta);
    if (status == DEJA_OK)
        status = dj_lmdb_meta_get(&meta, table, key, ctx, found);
    peek_close(&meta);
    return status;
}

enum deja_status dj_lmdb_meta_peek_all(const char *directory, const char *table, void *ctx,
                                       bool (*each)(void *ctx, struct deja_slice key,
                                                    struct deja_slice value))
{
    struct dj_lmdb_meta meta;
    enum deja_status status = peek_open(directory, &meta);
    if (status == DEJA_OK)
        status = dj_lmdb_meta_walk(&meta, table, ctx, each);
    peek_close(&meta);
    return status;
}
