/* store/postgres_internal.h - the parts of the PostgreSQL tier.
 *
 *   postgres.c         options, queue, life cycle        postgres_calls.c    the table's functions
 *   postgres_link.c    one connection in pipeline mode   postgres_replies.c  rows into answers
 *   postgres_shared.c  counters and locks that programs share
 *   postgres_search.c  which way neighbours are found    postgres_upkeep.c   the second thread
 *
 *   loop r --post--> pg loop: waiting --send--> link.in_flight --rows--> --post--> loop r: callback
 *
 * (1) A call is on exactly one of: the way in, `waiting`, a link's in_flight, the way out. (2) What
 * is counted in `queued` and `queued_bytes` is not answered yet. (3) A link that fails fails all it
 * has in flight; none is sent twice, so a write is never done twice. (4) Each call is followed by a
 * sync: an error ends its own transaction and nobody else's.
 */
#ifndef DJ_STORE_POSTGRES_INTERNAL_H
#define DJ_STORE_POSTGRES_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <libpq-fe.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/list.h"
#include "loop/stream.h"
#include "store/key_internal.h"
#include "store/postgres.h"
#include "store/postgres_params.h"
#include "store/postgres_row.h"
#include "store/postgres_sync.h"

#define DJ_PG_TOMBSTONE_MS 86400000LL /* longer than a node may be away and replay */
/* Beside the record: column names, other fields, what libpq has not handed on. */
#define DJ_PG_REPLY_BYTES ((size_t)1 << 20)

enum dj_pg_statement {
    DJ_PG_GET,
    DJ_PG_LOCK,
    DJ_PG_PUT,
    DJ_PG_REMOVE,
    DJ_PG_DROP,
    DJ_PG_CLEAR,
    DJ_PG_LIST,
    DJ_PG_PROBE,
    DJ_PG_EXACT,
    DJ_PG_KEEP_ACCESS,
    DJ_PG_ADD_ACCESS,
    DJ_PG_KEEP_TENANTS,
    DJ_PG_RAISE,
    DJ_PG_PULL,
    DJ_PG_TAKE_LEASE,
    DJ_PG_END_LEASE,
    DJ_PG_EVICT,
    DJ_PG_STATEMENT_COUNT,
    DJ_PG_ANN /* not prepared: the index's condition is part of its text */
};
extern const char *const dj_pg_sql[DJ_PG_STATEMENT_COUNT];

/* Of access statistics, in the order of parameters. */
enum dj_pg_column {
    DJ_PG_COLUMN_TENANT,
    DJ_PG_COLUMN_KEY,
    DJ_PG_COLUMN_HITS,
    DJ_PG_COLUMN_LAST,
    DJ_PG_COLUMN_VERDICTS,
    DJ_PG_COLUMN_WRONG,
};

struct dj_pg_store;
struct dj_pg_link;
struct dj_pg_call;

/* The call's last reply is here (result is borrowed). Returns true when the call is answered, false
 * when it is to be sent once more (with what call->statement says now). */
typedef bool dj_pg_reply_fn(struct dj_pg_call *call, const PGresult *result);

typedef void dj_pg_tell_fn(struct dj_pg_call *call); /* on the caller's loop */

/* Owned by the way it is on (1). */
struct dj_pg_call {
    struct dj_list node;
    struct dj_task task;
    struct dj_pg_store *pg;
    struct dj_loop *loop; /* the caller's; NULL: nobody is told */
    enum dj_pg_statement statement;
    struct dj_pg_params params;
    struct dj_buf sql; /* of DJ_PG_ANN */
    bool is_write;     /* counted as dropped when it fails */
    bool is_again;     /* the reply wants another statement to be sent */
    bool is_locked;    /* the key's lock is taken before, in the same transaction */
    dj_pg_reply_fn *on_reply;
    size_t bytes; /* counted in queued_bytes */
    size_t reply_bytes_max;
    enum deja_status status; /* of the call; a failed statement sets it */

    struct dj_store_key key;
    struct dj_value *value; /* put: what is written; get: what was found */
    float *vector;          /* put and search, owned */
    uint32_t dim;
    struct dj_store_page *page;
    struct dj_store_match *matches; /* search, owned */
    uint32_t match_count, match_max;
    char *embedder_id; /* search, owned */
    uint64_t rows_max; /* search: of an exact one; 0: all */
    bool has_scope;    /* evict: one tenant */
    uint8_t scope[DJ_ID_BYTES];
    double threshold;
    uint64_t bytes_wanted; /* evict */
    uint64_t count;        /* removed, or rows of a step */
    void *ctx;
    dj_store_got_fn *got;
    dj_store_done_fn *done;
    dj_store_searched_fn *searched;
    dj_pg_tell_fn *tell; /* instead of these: postgres_shared.c */
    dj_store_raised_fn *raised;
    dj_store_generation_fn *each;
    dj_store_pulled_fn *pulled;
    dj_store_locked_fn *locked;
    struct dj_buf counters; /* pull: what is told at the end */
};

enum dj_pg_link_state {
    DJ_PG_CLOSED,     /* until the next call, after the pause */
    DJ_PG_CONNECTING, /* PQconnectPoll */
    DJ_PG_GREETING,   /* looks at the schema, prepares */
    DJ_PG_READY,
};

/* One connection; the store's loop. */
struct dj_pg_link {
    struct dj_pg_store *pg;
    enum dj_pg_link_state state;
    PGconn *conn;
    struct dj_poll *poll;
    int fd; /* that poll watches */
    int events;
    struct dj_list in_flight;
    uint32_t in_flight_count;
    uint32_t results_left; /* of the call at the head, lock first */
    uint32_t greetings_left;
    size_t unread_bytes;   /* since the last result */
    uint64_t heard_us;     /* last sign of the server, or begin of the wait for one */
    bool has_result_ended; /* the NULL behind a result was read */
    uint64_t open_after_us;
    uint32_t pause_ms;
    struct deja_error trouble; /* of the greeting */
};

struct dj_pg_store {
    struct dj_store store; /* base */
    struct dj_postgres_options options;
    char *url, *password; /* owned */
    char schema[DJ_PG_SCHEMA_BYTES];

    struct dj_loop *loop;
    pthread_t thread;
    bool has_thread;
    struct dj_timer *timer; /* the loop's, while it has links */
    struct dj_list waiting;
    struct dj_pg_link links[DJ_POSTGRES_POOL_MAX];
    enum deja_status last_failure; /* of a link */
    bool is_flush_posted;
    bool is_dispatching;
    struct dj_task flush_task;
    struct dj_task stop_task;
    bool is_stopping;
    uint64_t stop_after_us;

    _Atomic(uint32_t) queued;
    _Atomic(uint64_t) queued_bytes;
    _Atomic(uint64_t) corrupt, dropped, evictions, expired, record_bytes, plain_bytes;
    _Atomic(uint64_t) link_count; /* ready */

    pthread_mutex_t trouble_mutex;
    struct deja_error trouble; /* under trouble_mutex */

    struct dj_pg_upkeep *upkeep; /* owned */
};

/* postgres.c */
/* Zeroed but for what is named; NULL: no memory. loop NULL: nobody is told. */
struct dj_pg_call *dj_pg_call_create(struct dj_pg_store *pg, struct dj_loop *loop,
                                     enum dj_pg_statement statement, void *ctx);
void dj_pg_call_destroy(struct dj_pg_call *call); /* accepts NULL */
/* Takes call in any case. DEJA_ERR_BUSY: the queue is full. Any thread. */
enum deja_status dj_pg_submit(struct dj_pg_call *call) DEJA_NODISCARD;
/* The caller is told, on its loop; the store's loop. */
void dj_pg_answer(struct dj_pg_call *call, enum deja_status status);
void dj_pg_set_trouble(struct dj_pg_store *pg, const struct deja_error *error); /* NULL: none */
void dj_pg_dispatch(struct dj_pg_store *pg); /* sends what waits, as far as links take it */

void dj_pg_close(struct dj_store *store);

/* postgres_link.c: the store's loop */
bool dj_pg_link_can_take(const struct dj_pg_link *link);
void dj_pg_link_open(struct dj_pg_link *link);
/* Takes call on DEJA_OK; else the link has failed. */
enum deja_status dj_pg_link_send(struct dj_pg_link *link, struct dj_pg_call *call) DEJA_NODISCARD;
void dj_pg_link_flush(struct dj_pg_link *link);
void dj_pg_link_fail(struct dj_pg_link *link, enum deja_status status, const char *text);
void dj_pg_link_close(struct dj_pg_link *link);
void dj_pg_link_tick(struct dj_pg_link *link, uint64_t now_us);

/* postgres_calls.c */
extern const struct dj_store_ops dj_pg_ops;
/* Makes the record and the parameters of a put; the store's loop. */
enum deja_status dj_pg_prepare_put(struct dj_pg_call *call) DEJA_NODISCARD;
/* The parameters of the next piece. */
void dj_pg_params_clear(struct dj_pg_call *call);
void dj_pg_params_evict(struct dj_pg_call *call);

/* postgres_replies.c */
dj_pg_reply_fn dj_pg_on_got, dj_pg_on_probed, dj_pg_on_done, dj_pg_on_listed, dj_pg_on_exact,
    dj_pg_on_ann, dj_pg_on_cleared, dj_pg_on_evicted;

/* postgres_shared.c */
enum deja_status dj_pg_raise(struct dj_store *store, struct dj_loop *loop,
                             const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag, void *ctx,
                             dj_store_raised_fn *raised);
enum deja_status dj_pg_pull(struct dj_store *store, struct dj_loop *loop, uint64_t since, void *ctx,
                            dj_store_generation_fn *each, dj_store_pulled_fn *pulled);
enum deja_status dj_pg_take_lease(struct dj_store *store, struct dj_loop *loop,
                                  const struct dj_store_key *key, const uint8_t token[16],
                                  uint32_t lease_ms, void *ctx, dj_store_locked_fn *locked);
enum deja_status dj_pg_end_lease(struct dj_store *store, struct dj_loop *loop,
                                 const struct dj_store_key *key, const uint8_t token[16], void *ctx,
                                 dj_store_done_fn *done);

/* postgres_search.c */
/* What an ANN index of so many dimensions is over: "vector", "halfvec"; NULL: there is none. */
const char *dj_pg_index_type(uint32_t dim);
void dj_pg_append_literal(struct dj_buf *out, const char *text);
void dj_pg_append_index_condition(struct dj_buf *out, const char *embedder_id, uint32_t dim);
enum deja_status dj_pg_search_exact(struct dj_pg_call *call, uint64_t rows_max) DEJA_NODISCARD;
enum deja_status dj_pg_search_ann(struct dj_pg_call *call) DEJA_NODISCARD;

/* postgres_upkeep.c */
enum deja_status dj_pg_upkeep_start(struct dj_pg_store *pg) DEJA_NODISCARD;
void dj_pg_upkeep_stop(struct dj_pg_store *pg);
void dj_pg_upkeep_stats(struct dj_pg_store *pg, const uint8_t *tenant,
                        struct dj_store_stats *out_stats);
/* postgres_scan.c */
enum deja_status dj_pg_scan_vectors(struct dj_store *store, void *ctx, dj_store_vector_fn *each);
enum deja_status dj_pg_scan_access(struct dj_store *store, void *ctx, dj_store_access_fn *each);

#endif
