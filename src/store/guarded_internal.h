/* store/guarded_internal.h - what guarded.c (the table), guarded_call.c (one call) and
 * guarded_tend.c (recovery) share.
 *
 * Lock order: `mutex` is held for a look at the journal and released before anything is called.
 */
#ifndef DJ_STORE_GUARDED_INTERNAL_H
#define DJ_STORE_GUARDED_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/guarded.h"

#define GUARDED_BATCH_MAX 64u     /* records replayed at once */
#define GUARDED_PAUSE_MS_MIN 100u /* after a replay that failed */

struct guarded {
    struct dj_store store;   /* first */
    struct dj_store_ops ops; /* of this one: members of the inner store */
    struct dj_store *inner;
    struct dj_sentry *sentry;
    const struct dj_guarded_events *events;
    void *ctx;
    _Atomic uint32_t refs; /* the owner and every call */

    _Atomic uint32_t get_ms;
    _Atomic uint32_t put_ms;
    _Atomic uint32_t remove_ms;
    _Atomic uint32_t health_ms;
    _Atomic uint32_t long_ms;
    _Atomic uint32_t attempt_ms;
    _Atomic uint64_t probe_ms;

    pthread_mutex_t mutex;
    struct dj_journal *journal;
    uint64_t replayed;
    uint64_t replay_dropped;
    _Atomic bool is_behind; /* the journal is not empty; set under mutex */
    _Atomic uint64_t missed_reads;
    _Atomic bool is_wake_posted; /* any thread; not in one word with what is the loop's */

    /* recovery; on `loop` */
    struct dj_loop *loop;
    struct dj_timer *timer; /* in the background; NULL: closed */
    struct dj_task wake;
    bool is_probing;
    bool is_armed;
    uint32_t replaying; /* records under way */
    bool has_replay_failed;
    uint64_t pause_ms;        /* after a replay that failed */
    uint64_t replayed_in_row; /* since it was last up */
};

enum op_kind {
    OP_GET,
    OP_PUT,
    OP_REMOVE,
    OP_CLEAR,
    OP_LIST,
    OP_PROBE,
    OP_SEARCH,
    OP_RAISE,
    OP_PULL,
    OP_LOCK,
    OP_UNLOCK,
    OP_EVICT
};

/* One call. Owned by its loop; ended by whoever counts it down last. */
struct op {
    struct dj_sentry_call call; /* first */
    struct guarded *owner;
    struct dj_loop *loop;
    enum op_kind kind;
    uint32_t refs;                    /* the guard's and, while it is to be told, ours */
    struct dj_journal_record *record; /* of a replay; NULL: somebody else's call */
    struct dj_task task;
    enum deja_status status;
    void *ctx;
    union {
        dj_store_got_fn *got;
        dj_store_done_fn *done;
        dj_store_searched_fn *searched;
        dj_store_raised_fn *raised;
        dj_store_pulled_fn *pulled;
        dj_store_locked_fn *locked;
        void (*replayed)(struct op *op, enum deja_status status);
    } told;
    dj_store_generation_fn *each; /* pull */

    /* what is asked */
    struct dj_store_key key;
    struct dj_value *value; /* put: a reference; get, probe: what was found */
    const float *vector;    /* into extra, as are the next two */
    struct deja_slice text; /* tag, embedder */
    const uint8_t *scope;
    bool has_tenant; /* evict */
    uint32_t dim;
    uint32_t limit;
    uint32_t lease_ms;
    double threshold;
    uint64_t number; /* version_max, since, bytes */
    uint8_t token[16];

    /* what came */
    uint64_t result; /* removed, generation, sequence */
    bool is_held;
    struct dj_store_match *matches; /* owned */
    uint32_t match_count;
    struct dj_store_page *page;     /* the caller's */
    struct dj_store_page *own_page; /* in extra: a late answer must not write to the caller's */
};

/* extra: bytes behind the op, *out_extra (may be NULL). NULL: out of memory. */
struct op *guarded_op_create(struct guarded *guarded, struct dj_loop *loop, enum op_kind kind,
                             size_t extra, void **out_extra);
void guarded_op_unref(struct op *op);
/* Starts it, or answers it soon with why not. */
void guarded_op_run(struct op *op);
/* Its answer, without asking, in a moment. */
void guarded_op_answer(struct op *op, enum deja_status status);

void guarded_ref(struct guarded *guarded);
void guarded_unref(struct guarded *guarded);

/* Keeps what a call of put, remove, clear or raise was about. */
void guarded_keep(struct guarded *guarded, const struct op *op);
/* Keeps it if others wait already: order. False: it may be asked directly. */
bool guarded_keep_behind(struct guarded *guarded, const struct op *op);
/* Something changed that the recovery should look at. Any thread. */
void guarded_wake(struct guarded *guarded);
void guarded_on_timer(void *ctx);

#endif
