/* store/lmdb_env.c - opening the two environments: paths, map sizes, format marks.
 *
 * `entries` uses MDB_NOSYNC unless durability is always: a commit is then one write() per page run
 * into the page cache, which a killed process leaves whole, and the sync comes from its own thread.
 * With always LMDB syncs data, then the meta page, inside the commit.
 */
#include "store/lmdb_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/slice.h"

#define META_MAP_BYTES ((size_t)256 << 20) /* 10,000 tenants of 16 KiB, and their keys */
#define META_MAP_BYTES_MIN ((size_t)16 << 20)
#define ENTRIES_MAP_BYTES_MAX ((uint64_t)64 << 30)
#define ENTRIES_MAP_BYTES_MIN ((uint64_t)1 << 20)
#define META_FORMAT "deja-meta 1"
#define ENTRIES_FORMAT "deja-entries 1"
/* One per worker and a few for scans and tools. */
#define READERS_MAX 254u

static const char *const table_names[DJ_LMDB_TABLE_COUNT] = {
    [DJ_LMDB_ENTRIES] = "entries", [DJ_LMDB_VECTORS] = "vectors", [DJ_LMDB_EXPIRY] = "expiry",
    [DJ_LMDB_ACCESS] = "access",   [DJ_LMDB_FORMAT] = "format",
};

enum deja_status dj_lmdb_status(int code)
{
    switch (code) {
    case MDB_SUCCESS:
        return DEJA_OK;
    case ENOMEM:
        return DEJA_ERR_NOMEM;
    case MDB_NOTFOUND:
        return DEJA_ERR_NOT_FOUND;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
        return DEJA_ERR_LIMIT;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_PANIC:
    case MDB_INCOMPATIBLE:
    case MDB_CURSOR_FULL:
        return DEJA_ERR_CORRUPT;
    default:
        return DEJA_ERR_IO;
    }
}

void dj_lmdb_gate_init(pthread_rwlock_t *gate, bool is_nested)
{
    pthread_rwlockattr_t kind;
    pthread_rwlockattr_init(&kind);
    /* Readers that come one after another must not keep the one who closes out for ever. */
    if (!is_nested)
        pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(gate, &kind);
    pthread_rwlockattr_destroy(&kind);
}

int dj_lmdb_enter(pthread_rwlock_t *gate, MDB_env *const *env, unsigned int flags,
                  MDB_txn **out_txn)
{
    pthread_rwlock_rdlock(gate);
    int code = *env ? mdb_txn_begin(*env, NULL, flags, out_txn) : EIO;
    if (code != MDB_SUCCESS)
        pthread_rwlock_unlock(gate);
    return code;
}

void dj_lmdb_leave(pthread_rwlock_t *gate, MDB_txn *txn)
{
    mdb_txn_abort(txn);
    pthread_rwlock_unlock(gate);
}

int dj_lmdb_commit(pthread_rwlock_t *gate, MDB_txn *txn)
{
    int code = mdb_txn_commit(txn);
    pthread_rwlock_unlock(gate);
    return code;
}

char *dj_lmdb_path(const char *directory, const char *name)
{
    struct dj_buf path;
    dj_buf_init(&path, 0);
    dj_buf_append_text(&path, directory);
    dj_buf_append_byte(&path, '/');
    dj_buf_append_text(&path, name);
    char *text = path.status == DEJA_OK ? dj_strdup(dj_buf_slice(&path)) : NULL;
    dj_buf_fini(&path);
    return text;
}

/* Writes the mark into a new environment; DEJA_ERR_CORRUPT: there is another one. */
static enum deja_status check_format(MDB_txn *txn, MDB_dbi table, const char *format)
{
    MDB_val key = dj_lmdb_val("format", 6);
    MDB_val found;
    int code = mdb_get(txn, table, &key, &found);
    if (code == MDB_SUCCESS) {
        bool is_ours = dj_slice_is(dj_lmdb_slice(found), format);
        return is_ours ? DEJA_OK : DEJA_ERR_CORRUPT;
    }
    if (code != MDB_NOTFOUND)
        return dj_lmdb_status(code);
    MDB_stat stat;
    code = mdb_stat(txn, table, &stat);
    if (code != MDB_SUCCESS || stat.ms_entries > 0)
        return code ? dj_lmdb_status(code) : DEJA_ERR_CORRUPT;
    MDB_val value = dj_lmdb_val(format, strlen(format));
    return dj_lmdb_status(mdb_put(txn, table, &key, &value, 0));
}

struct table_set {
    const char *const *names;
    MDB_dbi *tables;
    size_t count;
    size_t format_index; /* the table that has the mark */
    const char *format;
};

static enum deja_status open_tables(MDB_env *env, const struct table_set *set)
{
    MDB_txn *txn;
    enum deja_status status = dj_lmdb_status(mdb_txn_begin(env, NULL, 0, &txn));
    if (status != DEJA_OK)
        return status;
    for (size_t i = 0; status == DEJA_OK && i < set->count; i++)
        status = dj_lmdb_status(mdb_dbi_open(txn, set->names[i], MDB_CREATE, &set->tables[i]));
    if (status == DEJA_OK)
        status = check_format(txn, set->tables[set->format_index], set->format);
    if (status == DEJA_OK)
        return dj_lmdb_status(mdb_txn_commit(txn));
    mdb_txn_abort(txn);
    return status;
}

/* One try with one map size; *out_env NULL on failure. */
static int open_env(const char *path, uint64_t map_bytes, unsigned int flags, MDB_env **out_env)
{
    MDB_env *env = NULL;
    int code = mdb_env_create(&env);
    if (code == MDB_SUCCESS)
        code = mdb_env_set_mapsize(env, map_bytes);
    if (code == MDB_SUCCESS)
        code = mdb_env_set_maxdbs(env, DJ_LMDB_TABLE_COUNT);
    if (code == MDB_SUCCESS)
        code = mdb_env_set_maxreaders(env, READERS_MAX);
    /* Read transactions belong to jobs, not to threads. */
    if (code == MDB_SUCCESS)
        code = mdb_env_open(env, path, MDB_NOTLS | flags, 0600);
    if (code != MDB_SUCCESS) {
        if (env)
            mdb_env_close(env);
        env = NULL;
    }
    *out_env = env;
    return code;
}

static enum deja_status make_directory(const char *path)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return DEJA_OK;
    return DEJA_ERR_IO;
}

enum deja_status dj_lmdb_env_open_meta(struct dj_lmdb_meta *meta)
{
    char *path = dj_lmdb_path(meta->directory, "meta");
    if (!path)
        return DEJA_ERR_NOMEM;
    enum deja_status status = make_directory(path);
    int code = 0;
    size_t map_bytes = META_MAP_BYTES;
    if (status == DEJA_OK) {
        while ((code = open_env(path, map_bytes, 0, &meta->env)) == ENOMEM &&
               map_bytes / 2 >= META_MAP_BYTES_MIN)
            map_bytes /= 2;
        status = dj_lmdb_status(code);
    }
    dj_free(path);
    static const char *const name[] = {"meta"};
    const struct table_set set = {
        .names = name, .tables = &meta->table, .count = 1, .format = META_FORMAT};
    if (status == DEJA_OK)
        status = open_tables(meta->env, &set);
    return status;
}

enum deja_status dj_lmdb_env_peek_meta(const char *directory, struct dj_lmdb_meta *meta)
{
    char *path = dj_lmdb_path(directory, "meta");
    MDB_txn *txn = NULL;
    if (!path)
        return DEJA_ERR_NOMEM;
    int code = open_env(path, META_MAP_BYTES, MDB_RDONLY, &meta->env);
    if (code == EACCES ||
        code == EROFS) /* a copy on what cannot be written: nobody else is there */
        code = open_env(path, META_MAP_BYTES, MDB_RDONLY | MDB_NOLOCK, &meta->env);
    dj_free(path);
    if (code == MDB_SUCCESS)
        code = mdb_txn_begin(meta->env, NULL, MDB_RDONLY, &txn);
    if (code == MDB_SUCCESS)
        code = mdb_dbi_open(txn, "meta", 0, &meta->table);
    if (code == MDB_SUCCESS) /* keeps the handle */
        code = mdb_txn_commit(txn);
    else if (txn)
        mdb_txn_abort(txn);
    return code == ENOENT ? DEJA_ERR_NOT_FOUND : dj_lmdb_status(code);
}

enum deja_status dj_lmdb_env_open_entries(struct dj_lmdb *lmdb)
{
    uint64_t map_bytes = lmdb->bytes_max * 2;
    if (map_bytes > ENTRIES_MAP_BYTES_MAX)
        map_bytes = ENTRIES_MAP_BYTES_MAX;
    if (map_bytes < ENTRIES_MAP_BYTES_MIN)
        map_bytes = ENTRIES_MAP_BYTES_MIN;
    unsigned int flags = lmdb->options.durability == DJ_DURABILITY_ALWAYS ? 0 : MDB_NOSYNC;
    char *path = dj_lmdb_path(lmdb->options.directory, "entries");
    if (!path)
        return DEJA_ERR_NOMEM;
    enum deja_status status = make_directory(path);
    int code = 0;
    if (status == DEJA_OK) {
        /* ulimit -v and TSan leave little address space. */
        while ((code = open_env(path, map_bytes, flags, &lmdb->entries)) == ENOMEM &&
               map_bytes / 2 >= ENTRIES_MAP_BYTES_MIN)
            map_bytes /= 2;
        status = dj_lmdb_status(code);
    }
    dj_free(path);
    lmdb->map_bytes = map_bytes;
    const struct table_set set = {.names = table_names,
                                  .tables = lmdb->tables,
                                  .count = DJ_LMDB_TABLE_COUNT,
                                  .format_index = DJ_LMDB_FORMAT,
                                  .format = ENTRIES_FORMAT};
    if (status == DEJA_OK)
        status = open_tables(lmdb->entries, &set);
    if (status != DEJA_OK)
        dj_lmdb_env_close_entries(lmdb);
    return status;
}

bool dj_lmdb_env_sync_entries(struct dj_lmdb *lmdb)
{
    pthread_rwlock_rdlock(&lmdb->gate);
    bool is_synced = lmdb->entries && mdb_env_sync(lmdb->entries, 1) == MDB_SUCCESS;
    pthread_rwlock_unlock(&lmdb->gate);
    return is_synced;
}

void dj_lmdb_env_close_entries(struct dj_lmdb *lmdb)
{
    if (lmdb->entries)
        mdb_env_close(lmdb->entries);
    lmdb->entries = NULL;
}

enum deja_status dj_lmdb_env_discard_entries(struct dj_lmdb *lmdb)
{
    dj_lmdb_env_close_entries(lmdb);
    static const char *const files[] = {"entries/data.mdb", "entries/lock.mdb"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = dj_lmdb_path(lmdb->options.directory, files[i]);
        if (!path)
            return DEJA_ERR_NOMEM;
        int code = unlink(path);
        dj_free(path);
        if (code != 0 && errno != ENOENT)
            return DEJA_ERR_IO;
    }
    return DEJA_OK;
}
