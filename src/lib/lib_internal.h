/* lib/lib_internal.h - what the files of this room share: the instance, and one call under way. */
#ifndef DJ_LIB_LIB_INTERNAL_H
#define DJ_LIB_LIB_INTERNAL_H

#include <deja/deja.h>
#include <deja/kv.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/list.h"
#include "base/map.h"
#include "cache/engine.h"
#include "cache/kinds.h"
#include "cache/plain_op.h"
#include "cache/plain_version.h"
#include "cache/sensitive.h"
#include "security/tenant.h"

#define DJ_MODEL_BYTES_MAX 256u
#define DJ_VECTOR_MODEL_BYTES_MAX 95u
#define DJ_METADATA_BYTES_MAX (64u * 1024u)

struct dj_counters {
    _Atomic uint64_t lookups;
    _Atomic uint64_t hits[DJ_HIT_SEMANTIC + 1]; /* by kind; DJ_HIT_NONE: misses */
    _Atomic uint64_t puts;
    _Atomic uint64_t removes;
    _Atomic uint64_t computations;
    _Atomic uint64_t joined;
    _Atomic uint64_t timeouts;
    _Atomic uint64_t failures;
};

struct deja {
    struct deja_options options; /* defaults filled in; pointers are gone */
    struct dj_metrics *metrics;
    struct dj_pool *work;      /* embedding, search */
    struct dj_lmdb_meta *meta; /* NULL: nothing is kept on disk, as is the next */
    struct dj_sealing *sealing;
    struct dj_pool *reads;     /* the embedded tier's, or the caller's store's */
    struct dj_pool *computing; /* functions of deja_get_or_compute_async */
    struct dj_loop *loop;
    struct dj_loop *loops[1]; /* the engine's list */
    struct dj_timer *sweep;   /* loop-bound */
    struct dj_timer *settle;
    struct dj_task settle_task;
    struct dj_engine *engine;
    struct dj_plain *plain;
    struct dj_kinds *kind_table; /* the shipped ones, and options.kinds */
    struct dj_kind_book *kinds;  /* over it; asked by the tiers: ends after them */
    struct dj_events *events;
    struct dj_store *plugin_store; /* the engine's; NULL: none of the caller's */
    struct dj_embedder *plugin_embedder;
    bool is_store_foreign;        /* the caller's: nothing remembers generations */
    struct dj_detector *detector; /* NULL: nothing is looked for */
    struct dj_rules_values rules; /* of these only what becomes of sensitive data */
    uint32_t sealed_levels;       /* bits of those below memory */
    struct dj_tenant_root root;
    uint8_t local_tenant[DJ_TENANT_BYTES];
    struct dj_secret local_key;
    struct dj_counters counters;

    struct dj_map *computations;        /* loop-bound: tenant and id to struct dj_computation */
    struct dj_list computations_mapped; /* the same, in the order they began */

    pthread_t thread; /* runs loop */
    pthread_mutex_t mutex;
    pthread_cond_t is_idle;
    /* Under mutex: calls that are not freed yet; those of them that count against the bounds (one
     * that was answered does not, one that timed out does), and the bytes these hold. */
    uint32_t under_way;
    uint32_t counted;
    uint64_t bytes_counted;
    bool is_closing;         /* under mutex */
    struct dj_list computes; /* those whose function runs now; under mutex */
};

/* ---- one call ----
 *
 *   caller: create, fill, submit --> loop: start --> ... engine ... --> answer --> release
 *                                          +-- timer --> answer DEJA_ERR_TIMEOUT
 *
 * It is freed when what holds it (the engine's callback, a computation) let go, which may be long
 * after it was answered. From submit on it is loop-bound. */
struct dj_operation;
struct dj_computation;
typedef void dj_operation_fn(struct dj_operation *operation);

struct dj_waiter; /* a blocked caller */

/* What a call of deja/kv.h has beside. In the operation's arena. */
struct dj_kv_call {
    struct dj_plain_op op; /* ended with the operation, as is space */
    struct dj_plain_space space;
    struct dj_operation *operation;
    struct deja_slice key;         /* or a pattern; data NULL: every key */
    int read;                      /* what of a key is wanted: enum in kv.c */
    struct deja_slice version;     /* its name; empty: not said */
    const struct deja_slice *keys; /* of many */
    size_t count;
    struct deja_answer **out_answers; /* the blocked caller's */
    uint64_t cursor;
    uint32_t limit;
    deja_keys_fn *told;
    void *told_ctx;
    deja_done_fn *done; /* after told; may be NULL */
    void *done_ctx;
    struct deja_kv_stats *out_stats; /* the blocked caller's */
};

struct dj_operation {
    struct deja *deja;
    struct dj_task task;
    struct dj_timer *timer; /* NULL: no timeout, or answered */
    uint32_t timeout_ms;
    bool is_answered;
    dj_operation_fn *start;
    dj_operation_fn *expired; /* NULL, or undoes what waits before a timeout is told */

    struct dj_arena arena; /* copies of what the caller gave */
    uint64_t bytes;        /* of it, in bytes_counted */
    bool is_counted;
    struct dj_fingerprint fingerprint;
    struct dj_lookup_options lookup;
    struct dj_entry entry;
    uint64_t ttl_ms;
    bool is_semantic;
    struct dj_sensitive_verdict verdict; /* on what is written */
    struct dj_query_vector vector_given;
    const struct dj_query_vector *vector; /* NULL, or the one above */
    struct deja_slice tag;
    const struct dj_invalidation *invalidation; /* of a selection; in the arena */
    bool is_dry_run;
    struct dj_kv_call *kv;   /* NULL: no plain key */
    deja_event_fn *on_event; /* of this call; NULL: none */
    void *event_ctx;

    deja_compute_fn *compute;
    void *compute_ctx;
    struct dj_computation *computation; /* waits for it */
    struct dj_list waiting;             /* among its waiters */

    void *ctx;
    deja_answer_fn *on_answer; /* one of the two */
    deja_done_fn *on_done;
    struct dj_waiter *waiter; /* NULL: nobody is blocked */
};

/* DEJA_ERR_CANCELLED (closing), DEJA_ERR_RATE_LIMITED, DEJA_ERR_NOMEM. */
enum deja_status dj_operation_create(struct deja *deja, uint32_t timeout_ms, dj_operation_fn *start,
                                     struct dj_operation **out_operation) DEJA_NODISCARD;
/* Instead of submit: nobody is told. Also the last step of an operation that was answered. */
void dj_operation_destroy(struct dj_operation *operation);
/* What was copied counts from here on. DEJA_ERR_RATE_LIMITED: too much is under way; not submitted.
 */
enum deja_status dj_operation_submit(struct dj_operation *operation) DEJA_NODISCARD;
/* The caller is told, unless it was already; answer is taken. */
void dj_operation_answer(struct dj_operation *operation, enum deja_status status,
                         struct deja_answer *answer);
void dj_operation_done(struct dj_operation *operation, enum deja_status status, uint64_t count);
void dj_operation_stop_timer(struct dj_operation *operation);

/* ---- blocked callers ---- */

struct dj_waiter {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_done;
    struct dj_computation *computation; /* to be computed by this thread */
    enum deja_status status;
    struct deja_answer *answer;
    uint64_t count;
};

/* DEJA_ERR_INVALID: in a callback, where nothing would ever wake it. */
enum deja_status dj_waiter_init(struct dj_waiter *waiter, const struct deja *deja) DEJA_NODISCARD;
/* submitted: what the _async twin returned. Computes what it is handed meanwhile; returns the
 * call's status. Ends the waiter. */
enum deja_status dj_waiter_wait(struct dj_waiter *waiter, enum deja_status submitted);
deja_answer_fn dj_waiter_on_answer; /* ctx: the waiter */
deja_done_fn dj_waiter_on_done;
/* This blocked caller is the one to compute. */
void dj_waiter_compute(struct dj_waiter *waiter, struct dj_computation *computation);

/* ---- what the caller gave (calls.c) ---- */

/* A struct of an older, equal or newer header: what it lacks is zero, what we do not know must be.
 */
enum deja_status dj_read_struct(const void *given, size_t given_bytes, size_t bytes_min, void *out,
                                size_t out_bytes) DEJA_NODISCARD;
const uint8_t *dj_tenant_of(const struct deja *deja, const uint8_t *tenant);
/* What names of its entries are made with. Wipe it. */
void dj_name_key(const struct deja *deja, const uint8_t tenant[DEJA_TENANT_BYTES],
                 uint8_t out_key[DJ_SHA256_BYTES]);
enum deja_status dj_operation_copy(struct dj_operation *operation, struct deja_slice bytes,
                                   size_t bytes_max, struct deja_slice *out_copy) DEJA_NODISCARD;
/* What it was made from, as tags of Deja's own (cache/depends.h); tag_count: those it has beside.
 */
enum deja_status dj_operation_copy_depends(struct dj_operation *operation,
                                           const struct deja_slice *names, size_t count,
                                           size_t tag_count,
                                           struct deja_slice *out_tags) DEJA_NODISCARD;
/* Submits what was read, or drops it. */
enum deja_status dj_operation_finish(struct dj_operation *operation,
                                     enum deja_status status) DEJA_NODISCARD;
/* What a tier says when it cannot, in the caller's words. */
enum deja_status dj_tier_status(enum deja_status status);
enum deja_status dj_waiter_count(struct dj_waiter *waiter, enum deja_status submitted,
                                 uint64_t *out_count) DEJA_NODISCARD;

/* ---- sensitive data (sensitive.c) ---- */

/* Reads options.sensitive_…; nothing to look for: no detector. */
enum deja_status dj_look_create(struct deja *deja, struct deja_error *error) DEJA_NODISCARD;
/* In the caller's thread, or the computing one. DEJA_ERR_DENIED: it must not be stored. */
enum deja_status dj_look(const struct deja *deja, const struct dj_entry *entry,
                         struct dj_sensitive_verdict *out_verdict) DEJA_NODISCARD;
/* entry, which borrows from verdict then, and options as the verdict wants them; arena: for the
 * metadata of a plain value. Loop-bound. DEJA_ERR_DENIED, DEJA_ERR_NOMEM: not to be stored. */
enum deja_status dj_look_apply(const struct deja *deja, const struct dj_sensitive_verdict *verdict,
                               struct dj_arena *arena, struct dj_entry *entry,
                               struct dj_put_options *options) DEJA_NODISCARD;

/* ---- plain keys (kv.c), events (events.c) ---- */

/* Of a plain key put now; ttl_ms 0: an hour, DEJA_TTL_NEVER. Loop-bound. */
int64_t dj_kv_end(const struct deja *deja, uint64_t ttl_ms);

struct dj_events;
enum deja_status dj_events_create(struct dj_events **out_events) DEJA_NODISCARD;
void dj_events_destroy(struct dj_events *events); /* accepts NULL */
uint64_t dj_events_failed(const struct dj_events *events);
/* A dj_store_gone_fn; ctx: the deja. */
void dj_events_gone(void *deja, const uint8_t tenant[DJ_ID_BYTES], enum dj_gone_reason reason);
/* operation: whose own callback is told too. value NULL: a miss. */
void dj_event_got(struct dj_operation *operation, struct deja_slice text,
                  const struct dj_value *value, const char *level);
void dj_event_stored(struct deja *deja, struct dj_operation *operation,
                     const struct dj_entry *entry);
/* count 0: nobody is told. */
void dj_event_removed(struct dj_operation *operation, struct deja_slice text, uint64_t count);

/* ---- answers ---- */

/* value: NULL on a miss, referenced. NULL: no memory. reason: constant text. */
struct deja_answer *dj_answer_create(enum deja_outcome outcome, struct dj_value *value,
                                     double similarity, const char *reason);

/* ---- get or compute (compute.c) ---- */

/* After a miss: computes, or waits for who does. Takes the operation. */
void dj_computation_enter(struct dj_operation *operation);
void dj_computation_run(struct dj_computation *computation); /* the function itself; any thread */
/* Nobody joins that key's / that tenant's running computations any more. Loop-bound. */
void dj_computation_detach(struct deja *deja, const struct dj_store_key *key);
void dj_computation_detach_tenant(struct deja *deja, const uint8_t tenant[DJ_TENANT_BYTES]);
/* True in a compute function of this instance. Under mutex. */
bool dj_computation_is_here(const struct deja *deja);

/* created and expires of an entry made now. Loop-bound. */
void dj_entry_date(struct deja *deja, struct dj_entry *entry, uint64_t ttl_ms);

#endif
