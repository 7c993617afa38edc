/* store/lmdb_internal.h - the embedded tier's parts and the steps its files share.
 *
 *   lmdb.c         open, close, the store table      lmdb_write.c   queue, writer and sync threads
 *   lmdb_env.c     environments, codes, discarding   lmdb_apply.c   one write inside a transaction
 *   lmdb_verify.c  the walk after a power cut        lmdb_read.c    batched reads, scan of vectors
 *   lmdb_tally.c   what each tenant has              lmdb_meta.c    the meta environment
 *   lmdb_list.c    a tenant's entries, in pieces     lmdb_access.c  access statistics
 *
 * Codes of LMDB become enum deja_status in the file that received them: DEJA_ERR_LIMIT means the
 * map is full, DEJA_ERR_CORRUPT that a page made no sense.
 *
 * Locks: reads_mutex -> the pool's own. queue_mutex, sync_mutex, tally_mutex and the filter's are
 * leaves. None is held during a transaction or a callback. A gate is held for reading during every
 * transaction, and for writing while its environment is closed and opened (lmdb_scrub.c).
 */
#ifndef DJ_STORE_LMDB_INTERNAL_H
#define DJ_STORE_LMDB_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <lmdb.h>

#include "base/buf.h"
#include "base/map.h"
#include "store/key_filter.h"
#include "store/key_internal.h"
#include "store/lmdb.h"
#include "store/lmdb_row.h"

enum dj_lmdb_table {
    DJ_LMDB_ENTRIES,
    DJ_LMDB_VECTORS,
    DJ_LMDB_EXPIRY,
    DJ_LMDB_ACCESS,
    DJ_LMDB_FORMAT,
    DJ_LMDB_TABLE_COUNT
};

/* What a transaction did to one key; applied to tally and filter once it is committed. */
struct dj_lmdb_change {
    struct dj_store_key key;
    int64_t bytes; /* added; negative: removed */
    enum { DJ_CHANGE_ADDED, DJ_CHANGE_REMOVED, DJ_CHANGE_EVICTED, DJ_CHANGE_EXPIRED } kind;
};

#define DJ_LMDB_CHANGES_MAX 8192u

/* A write transaction under way; the writer's own. */
struct dj_lmdb_txn {
    MDB_txn *mdb;
    pthread_rwlock_t *gate;         /* the environment's */
    struct dj_lmdb_change *changes; /* DJ_LMDB_CHANGES_MAX */
    uint32_t change_count;
    int64_t bytes; /* sum of changes */
    int64_t now_ms;
};

enum dj_lmdb_write_kind {
    DJ_WRITE_PUT,
    DJ_WRITE_REMOVE,
    DJ_WRITE_CLEAR,
    DJ_WRITE_DROP_CORRUPT, /* remove the row unless it verifies by now */
    DJ_WRITE_ACCESS,       /* record: rows of dj_store_access */
};

/* A queued write: owned by the queue, then the writer, then the loop that is told. */
struct dj_lmdb_write {
    struct dj_lmdb_write *next;
    enum dj_lmdb_write_kind kind;
    struct dj_store_key key;
    struct dj_value *value; /* one reference; put only */
    struct dj_buf record;   /* made by the writer */
    struct dj_loop *loop;   /* NULL: nobody is told */
    void *ctx;
    dj_store_done_fn *done;
    struct dj_task task;
    enum deja_status status;
    uint64_t removed;
    uint64_t version_max; /* remove: newer ones stay */
    size_t bytes;         /* held in the queue */
    uint32_t dim;
    float vector[];
};

struct dj_lmdb_meta {
    char *directory; /* owned */
    int lock_fd;     /* -1: not locked */
    pthread_rwlock_t gate;
    MDB_env *env; /* under gate, as is the next; NULL: it could not be opened again */
    MDB_dbi table;
};

struct dj_lmdb_batch; /* reads that go in one job; lmdb_read.c */

struct dj_lmdb {
    struct dj_store store; /* base */
    struct dj_lmdb_options options;
    uint64_t bytes_max;

    struct dj_lmdb_meta *meta;
    bool is_meta_own; /* closed with the tier */
    pthread_rwlock_t gate;
    MDB_env *entries; /* under gate, as is the next; NULL: it could not be opened again */
    MDB_dbi tables[DJ_LMDB_TABLE_COUNT];
    uint64_t map_bytes;

    struct dj_key_filter *filter;
    pthread_mutex_t tally_mutex;
    struct dj_map *tally; /* tenant -> sums, under tally_mutex */
    uint64_t entry_count; /* under tally_mutex, as is total_bytes */
    uint64_t total_bytes;
    _Atomic(uint64_t) evictions;
    _Atomic(uint64_t) expired;
    _Atomic(uint64_t) corrupt;
    _Atomic(uint64_t) dropped;
    _Atomic(uint64_t) record_bytes; /* written by the writer alone */
    _Atomic(uint64_t) plain_bytes;

    pthread_mutex_t queue_mutex;
    pthread_cond_t has_writes;
    struct dj_lmdb_write *first; /* oldest, under queue_mutex, as are the next four */
    struct dj_lmdb_write *last;
    uint32_t queued;
    size_t queued_bytes;
    bool is_stopping;
    struct dj_lmdb_change *changes; /* the writer's, as is the next */
    uint32_t batch_writes_max;      /* shrinks when the map is full, grows back */
    pthread_t writer;
    bool has_writer;

    pthread_mutex_t sync_mutex;
    pthread_cond_t sync_wakeup;
    bool is_sync_stopping; /* under sync_mutex */
    pthread_t syncer;
    bool has_syncer;
    atomic_bool is_dirty; /* committed, not synced */

    pthread_mutex_t reads_mutex;
    pthread_cond_t reads_ended;
    struct dj_lmdb_batch *open_batch; /* submitted, not begun; under reads_mutex */
    uint32_t batches;                 /* in the pool, under reads_mutex */
};

/* lmdb.c: `entries` is verified at the next start. */
void dj_lmdb_suspect(struct dj_lmdb *lmdb);

/* lmdb_env.c */
enum deja_status dj_lmdb_status(int code);
void dj_lmdb_gate_init(pthread_rwlock_t *gate, bool is_nested); /* may readers be within readers? */
/* A transaction while the environment stays open; a code of LMDB. Ended by one of the next two,
 * on the same thread. */
int dj_lmdb_enter(pthread_rwlock_t *gate, MDB_env *const *env, unsigned int flags,
                  MDB_txn **out_txn);
void dj_lmdb_leave(pthread_rwlock_t *gate, MDB_txn *txn); /* aborts */
int dj_lmdb_commit(pthread_rwlock_t *gate, MDB_txn *txn);
/* The path below the directory; the caller frees. */
char *dj_lmdb_path(const char *directory, const char *name);
enum deja_status dj_lmdb_env_open_meta(struct dj_lmdb_meta *meta) DEJA_NODISCARD;
/* To read only; fills env and table. DEJA_ERR_NOT_FOUND: there is none. */
enum deja_status dj_lmdb_env_peek_meta(const char *directory,
                                       struct dj_lmdb_meta *meta) DEJA_NODISCARD;
/* DEJA_ERR_CORRUPT: not ours, another format, or damaged beyond opening. */
enum deja_status dj_lmdb_env_open_entries(struct dj_lmdb *lmdb) DEJA_NODISCARD;
/* What was committed is on the disk. */
bool dj_lmdb_env_sync_entries(struct dj_lmdb *lmdb);
void dj_lmdb_env_close_entries(struct dj_lmdb *lmdb);
/* Closes and deletes `entries`. */
enum deja_status dj_lmdb_env_discard_entries(struct dj_lmdb *lmdb) DEJA_NODISCARD;

/* lmdb_verify.c: DEJA_ERR_CORRUPT when anything is wrong. */
enum deja_status dj_lmdb_verify(struct dj_lmdb *lmdb) DEJA_NODISCARD;

/* lmdb_tally.c: any thread, but load. */
enum deja_status dj_lmdb_tally_load(struct dj_lmdb *lmdb) DEJA_NODISCARD;
void dj_lmdb_tally_apply(struct dj_lmdb *lmdb, const struct dj_lmdb_txn *txn);
uint64_t dj_lmdb_tally_bytes(struct dj_lmdb *lmdb);
void dj_lmdb_tally_stats(struct dj_lmdb *lmdb, const uint8_t *tenant,
                         struct dj_store_stats *out_stats);
void dj_lmdb_tally_tenants(struct dj_store *store, void *ctx, dj_store_tenant_fn *each);
void dj_lmdb_tally_destroy(struct dj_lmdb *lmdb);

/* lmdb_apply.c: the writer only. Any status but DEJA_OK: abort. */
enum deja_status dj_lmdb_txn_begin(struct dj_lmdb *lmdb, int64_t now_ms,
                                   struct dj_lmdb_txn *out_txn) DEJA_NODISCARD;
void dj_lmdb_txn_abort(struct dj_lmdb_txn *txn);
/* Then tally and filter know of it. */
enum deja_status dj_lmdb_txn_commit(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn) DEJA_NODISCARD;
bool dj_lmdb_txn_has_room(const struct dj_lmdb_txn *txn); /* for one more write */
/* Sets write->status and removed; what it returns concerns the whole transaction. */
enum deja_status dj_lmdb_apply(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                               struct dj_lmdb_write *write) DEJA_NODISCARD;
/* Up to count_max entries of the tenant. */
enum deja_status dj_lmdb_apply_clear(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                     const uint8_t tenant[DJ_ID_BYTES], uint32_t count_max,
                                     uint64_t *out_removed) DEJA_NODISCARD;
/* Up to count_max entries that are gone, and any others, oldest first, while the tier is above
 * bytes_max. */
enum deja_status dj_lmdb_apply_sweep(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                     uint64_t bytes_max, uint32_t count_max,
                                     uint32_t *out_removed) DEJA_NODISCARD;

/* lmdb_write.c */
enum deja_status dj_lmdb_writer_start(struct dj_lmdb *lmdb) DEJA_NODISCARD;
void dj_lmdb_writer_stop(struct dj_lmdb *lmdb); /* queued writes are done first */
struct dj_lmdb_write *dj_lmdb_write_create(enum dj_lmdb_write_kind kind,
                                           const struct dj_store_key *key, uint32_t dim);
/* Takes write on DEJA_OK; DEJA_ERR_BUSY: the queue is full. Any thread. */
enum deja_status dj_lmdb_enqueue(struct dj_lmdb *lmdb, struct dj_lmdb_write *write) DEJA_NODISCARD;
void dj_lmdb_write_destroy(struct dj_lmdb_write *write);

/* lmdb_read.c */
enum deja_status dj_lmdb_probe(struct dj_store *store, struct dj_loop *loop, void *ctx,
                               dj_store_got_fn *got);
enum deja_status dj_lmdb_get(struct dj_store *store, struct dj_loop *loop,
                             const struct dj_store_key *key, void *ctx, dj_store_got_fn *got);
enum deja_status dj_lmdb_scan_vectors(struct dj_store *store, void *ctx, dj_store_vector_fn *each);
void dj_lmdb_reads_wait(struct dj_lmdb *lmdb); /* until no job is in the pool */
/* Around a job in the pool that reads; close waits for the end of all. */
void dj_lmdb_reads_begin(struct dj_lmdb *lmdb);
void dj_lmdb_reads_end(struct dj_lmdb *lmdb);
/* The row cannot be read: counted, and the writer looks again and drops it. Any thread. */
void dj_lmdb_drop_corrupt(struct dj_lmdb *lmdb, const struct dj_store_key *key);
/* Of the row's bytes, checked against the key: DEJA_ERR_CORRUPT. */
enum deja_status dj_lmdb_decode(const struct dj_store_key *key, struct deja_slice row,
                                struct dj_value **out_value) DEJA_NODISCARD;

/* lmdb_access.c */
enum deja_status dj_lmdb_access_put(struct dj_store *store, const struct dj_store_access *rows,
                                    size_t count);
enum deja_status dj_lmdb_access_walk(struct dj_store *store, void *ctx, dj_store_access_fn *each);
enum deja_status dj_lmdb_apply_access(struct dj_lmdb *lmdb, struct dj_lmdb_txn *txn,
                                      const struct dj_lmdb_write *write) DEJA_NODISCARD;
bool dj_lmdb_access_read(struct deja_slice key, struct deja_slice value,
                         struct dj_store_access *out_row); /* false: not of the form */

/* lmdb_list.c */
enum deja_status dj_lmdb_list(struct dj_store *store, struct dj_loop *loop,
                              const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                              void *ctx, dj_store_done_fn *done);

static inline struct deja_slice dj_lmdb_slice(MDB_val val)
{
    return deja_slice(val.mv_data, val.mv_size);
}

/* LMDB takes keys as void *, and does not write to them. */
static inline MDB_val dj_lmdb_val(const void *data, size_t len)
{
    return (MDB_val){.mv_size = len, .mv_data = (void *)(uintptr_t)data};
}

#endif
