/* store/sealed_internal.h - what sealed.c (the table) and sealed_call.c (one call that needs more
 * than a look) share.
 *
 * Lock order: `mutex` is a leaf: nothing is called under it.
 */
#ifndef DJ_STORE_SEALED_INTERNAL_H
#define DJ_STORE_SEALED_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/sealed.h"
#include "store/sealed_form.h"

#define SEALED_LOOPS_MAX 64u
#define SEALED_WAITS_MAX 1024u /* calls that wait for a worker */

struct sealed_call;

struct sealed {
    struct dj_store store;   /* first */
    struct dj_store_ops ops; /* of this one: members of the inner store */
    struct dj_store *inner;
    struct dj_sealed_options options;
    struct dj_unpacker *unpackers[SEALED_LOOPS_MAX]; /* each its loop's own */
    _Atomic uint32_t refs;                           /* the owner and every call */
    atomic_bool is_closed;

    pthread_mutex_t mutex;
    pthread_cond_t jobs_ended;
    struct sealed_call *puts; /* that wait for a key; under mutex, as is the next */
    uint32_t jobs;            /* in the pool */

    _Atomic uint64_t sealed;
    _Atomic uint64_t opened;
    _Atomic uint64_t plain;
    _Atomic uint64_t refused;
    _Atomic uint64_t unreadable;
    _Atomic uint64_t waited;
    _Atomic uint64_t record_bytes;
    _Atomic uint64_t plain_bytes;
};

enum sealed_kind { SEALED_GET, SEALED_PUT, SEALED_LIST };

/* Owned by its loop. */
struct sealed_call {
    struct sealed *sealed;
    struct dj_loop *loop;
    enum sealed_kind kind;
    struct dj_store_key key;
    struct dj_value *value;     /* put: what is to be sealed; get: what was kept, then what it is */
    struct dj_store_page *page; /* list */
    struct sealed_call *next;   /* of puts */
    struct dj_job job;
    bool is_cancelled;
    bool has_fetched;
    enum deja_status status;
    void *ctx;
    union {
        dj_store_got_fn *got;
        dj_store_done_fn *done;
    } told;
    uint32_t dim;
    float *vector; /* behind the call; NULL: none */
};

/* NULL: no memory. vector: copied. */
struct sealed_call *sealed_call_create(struct sealed *sealed, struct dj_loop *loop,
                                       enum sealed_kind kind, const float *vector, uint32_t dim);
void sealed_call_destroy(struct sealed_call *call);
/* Goes on with what the inner store found; the call ends itself. On its loop. */
void sealed_call_open(struct sealed_call *call);
void sealed_call_open_page(struct sealed_call *call);
/* A put without a key: waits for one. DEJA_OK: done will be called. */
enum deja_status sealed_call_wait(struct sealed_call *call) DEJA_NODISCARD;
/* Puts of the key up to the version, or of the tenant (key NULL), that wait come to nothing. */
void sealed_cancel(struct sealed *sealed, const uint8_t tenant[DJ_ID_BYTES],
                   const struct dj_store_key *key, uint64_t version_max);
/* Seals and hands on to the inner store. DEJA_ERR_NOT_FOUND: it has no key yet. */
enum deja_status sealed_put(struct sealed *sealed, struct dj_loop *loop, struct dj_value *value,
                            const float *vector, uint32_t dim, void *ctx,
                            dj_store_done_fn *done) DEJA_NODISCARD;
void sealed_ref(struct sealed *sealed);
void sealed_unref(struct sealed *sealed);

#endif
