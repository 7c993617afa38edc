/* scripted_store.h - a store over a small table that answers, fails, hangs or breaks as told. */
#ifndef DJ_TEST_STORE_SCRIPTED_STORE_H
#define DJ_TEST_STORE_SCRIPTED_STORE_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/list.h"
#include "entries.h"
#include "store/store.h"

enum scripted_mode {
    SCRIPTED_ANSWERS,
    SCRIPTED_REFUSES, /* at once, by the call itself */
    SCRIPTED_FAILS,   /* a moment later */
    SCRIPTED_GARBAGE, /* what came back was not the protocol */
    SCRIPTED_HANGS    /* until let go, or closed */
};

enum { SCRIPTED_ROWS = 4096 };

enum scripted_kind { SCRIPTED_GET, SCRIPTED_DONE, SCRIPTED_RAISE };

struct scripted_answer {
    struct dj_task task;
    struct dj_list held;
    struct dj_loop *loop;
    enum scripted_kind kind;
    void *ctx;
    dj_store_got_fn *got;
    dj_store_done_fn *done;
    dj_store_raised_fn *raised;
    enum deja_status status;
    struct dj_value *value;
    uint64_t number;
    bool is_remove;
};

struct scripted {
    struct dj_store store;
    pthread_mutex_t mutex;
    _Atomic int mode;
    _Atomic bool fails_puts;    /* and nothing else */
    _Atomic bool holds_removes; /* until let go; whatever the mode */
    _Atomic uint32_t fail_next; /* so many calls fail, then it answers */
    _Atomic uint32_t calls;
    _Atomic uint32_t probes;
    struct dj_list held;
    struct dj_value *rows[SCRIPTED_ROWS];
    uint32_t row_count;
    uint64_t generation;
    bool *is_closed;
};

static inline void scripted_run(void *ctx)
{
    struct scripted_answer *answer = ctx;
    if (answer->kind == SCRIPTED_GET)
        answer->got(answer->ctx, answer->status, answer->value);
    else if (answer->kind == SCRIPTED_DONE)
        answer->done(answer->ctx, answer->status, answer->number);
    else
        answer->raised(answer->ctx, answer->status, answer->number);
    dj_free(answer);
}

static inline bool scripted_is_key(const struct dj_value *value, const struct dj_store_key *key)
{
    const struct dj_entry *entry = dj_value_entry(value);
    return memcmp(entry->tenant, key->tenant, DJ_ID_BYTES) == 0 &&
           memcmp(entry->id, key->id, DJ_ID_BYTES) == 0;
}

/* Under the mutex: the row of the key, or -1. */
static inline int scripted_find(const struct scripted *scripted, const struct dj_store_key *key)
{
    for (uint32_t i = 0; i < scripted->row_count; i++)
        if (scripted_is_key(scripted->rows[i], key))
            return (int)i;
    return -1;
}

/* NULL: refused, *out_status says why. The answer's status is what the mode makes of it. */
static inline struct scripted_answer *scripted_begin(struct scripted *scripted,
                                                     struct dj_loop *loop, void *ctx,
                                                     enum deja_status *out_status)
{
    atomic_fetch_add(&scripted->calls, 1);
    int mode = atomic_load(&scripted->mode);
    uint32_t left = atomic_load(&scripted->fail_next);
    if (left && atomic_compare_exchange_strong(&scripted->fail_next, &left, left - 1))
        mode = SCRIPTED_FAILS;
    *out_status = mode == SCRIPTED_REFUSES ? DEJA_ERR_IO : DEJA_ERR_NOMEM;
    struct scripted_answer *answer =
        mode == SCRIPTED_REFUSES ? NULL : dj_alloc_zeroed(1, sizeof *answer);
    if (!answer)
        return NULL;
    answer->loop = loop;
    answer->ctx = ctx;
    dj_list_init(&answer->held);
    answer->status = mode == SCRIPTED_FAILS     ? DEJA_ERR_IO
                     : mode == SCRIPTED_GARBAGE ? DEJA_ERR_CORRUPT
                                                : DEJA_OK;
    answer->task = (struct dj_task){.run = scripted_run, .ctx = answer};
    return answer;
}

static inline enum deja_status scripted_end(struct scripted *scripted,
                                            struct scripted_answer *answer)
{
    bool is_held = atomic_load(&scripted->mode) == SCRIPTED_HANGS;
    if (answer->kind == SCRIPTED_DONE && answer->is_remove)
        is_held = is_held || atomic_load(&scripted->holds_removes);
    if (answer->status == DEJA_OK && is_held) {
        pthread_mutex_lock(&scripted->mutex);
        dj_list_push_back(&scripted->held, &answer->held);
        pthread_mutex_unlock(&scripted->mutex);
    } else {
        dj_loop_post(answer->loop, &answer->task);
    }
    return DEJA_OK;
}

static inline void scripted_let_go(struct scripted *scripted)
{
    pthread_mutex_lock(&scripted->mutex);
    while (!dj_list_is_empty(&scripted->held)) {
        struct scripted_answer *answer =
            DJ_CONTAINER(scripted->held.next, struct scripted_answer, held);
        dj_list_remove(&answer->held);
        dj_loop_post(answer->loop, &answer->task);
    }
    pthread_mutex_unlock(&scripted->mutex);
}

static inline enum deja_status scripted_get(struct dj_store *store, struct dj_loop *loop,
                                            const struct dj_store_key *key, void *ctx,
                                            dj_store_got_fn *got)
{
    struct scripted *scripted = (struct scripted *)store;
    enum deja_status status;
    struct scripted_answer *answer = scripted_begin(scripted, loop, ctx, &status);
    if (!answer)
        return status;
    answer->kind = SCRIPTED_GET;
    answer->got = got;
    pthread_mutex_lock(&scripted->mutex);
    int row = scripted_find(scripted, key);
    if (row >= 0 && answer->status == DEJA_OK)
        answer->value = dj_value_ref(scripted->rows[row]);
    pthread_mutex_unlock(&scripted->mutex);
    return scripted_end(scripted, answer);
}

static inline enum deja_status scripted_probe(struct dj_store *store, struct dj_loop *loop,
                                              void *ctx, dj_store_got_fn *got)
{
    static const struct dj_store_key nobody = {{0}, {0}};
    atomic_fetch_add(&((struct scripted *)store)->probes, 1);
    return scripted_get(store, loop, &nobody, ctx, got);
}

static inline enum deja_status scripted_put(struct dj_store *store, struct dj_loop *loop,
                                            struct dj_value *value, const float *vector,
                                            uint32_t dim, void *ctx, dj_store_done_fn *done)
{
    struct scripted *scripted = (struct scripted *)store;
    enum deja_status status;
    struct scripted_answer *answer = scripted_begin(scripted, loop, ctx, &status);
    (void)vector;
    (void)dim;
    if (!answer)
        return status;
    if (atomic_load(&scripted->fails_puts))
        answer->status = DEJA_ERR_TIMEOUT;
    answer->kind = SCRIPTED_DONE;
    answer->done = done;
    struct dj_store_key key;
    memcpy(key.tenant, dj_value_entry(value)->tenant, DJ_ID_BYTES);
    memcpy(key.id, dj_value_entry(value)->id, DJ_ID_BYTES);
    pthread_mutex_lock(&scripted->mutex);
    int row = scripted_find(scripted, &key);
    if (answer->status == DEJA_OK && row < 0) {
        assert(scripted->row_count < SCRIPTED_ROWS);
        scripted->rows[scripted->row_count++] = dj_value_ref(value);
    } else if (answer->status == DEJA_OK &&
               dj_value_entry(value)->version > dj_value_entry(scripted->rows[row])->version) {
        dj_value_unref(scripted->rows[row]);
        scripted->rows[row] = dj_value_ref(value);
    }
    pthread_mutex_unlock(&scripted->mutex);
    return scripted_end(scripted, answer);
}

static inline void scripted_drop(struct scripted *scripted, uint32_t row)
{
    dj_value_unref(scripted->rows[row]);
    scripted->rows[row] = scripted->rows[--scripted->row_count];
}

static inline enum deja_status scripted_remove(struct dj_store *store, struct dj_loop *loop,
                                               const struct dj_store_key *key, uint64_t version_max,
                                               void *ctx, dj_store_done_fn *done)
{
    struct scripted *scripted = (struct scripted *)store;
    enum deja_status status;
    struct scripted_answer *answer = scripted_begin(scripted, loop, ctx, &status);
    if (!answer)
        return status;
    answer->kind = SCRIPTED_DONE;
    answer->done = done;
    answer->is_remove = true;
    pthread_mutex_lock(&scripted->mutex);
    int row = scripted_find(scripted, key);
    if (answer->status == DEJA_OK && row >= 0 &&
        dj_value_entry(scripted->rows[row])->version <= version_max) {
        scripted_drop(scripted, (uint32_t)row);
        answer->number = 1;
    }
    pthread_mutex_unlock(&scripted->mutex);
    return scripted_end(scripted, answer);
}

static inline enum deja_status scripted_clear(struct dj_store *store, struct dj_loop *loop,
                                              const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                                              dj_store_done_fn *done)
{
    struct scripted *scripted = (struct scripted *)store;
    enum deja_status status;
    struct scripted_answer *answer = scripted_begin(scripted, loop, ctx, &status);
    if (!answer)
        return status;
    answer->kind = SCRIPTED_DONE;
    answer->done = done;
    pthread_mutex_lock(&scripted->mutex);
    for (uint32_t i = scripted->row_count; answer->status == DEJA_OK && i-- > 0;)
        if (memcmp(dj_value_entry(scripted->rows[i])->tenant, tenant, DJ_ID_BYTES) == 0)
            scripted_drop(scripted, i);
    pthread_mutex_unlock(&scripted->mutex);
    return scripted_end(scripted, answer);
}

static inline enum deja_status scripted_list(struct dj_store *store, struct dj_loop *loop,
                                             const uint8_t tenant[DJ_ID_BYTES],
                                             struct dj_store_page *page, void *ctx,
                                             dj_store_done_fn *done)
{
    struct scripted *scripted = (struct scripted *)store;
    enum deja_status status;
    struct scripted_answer *answer = scripted_begin(scripted, loop, ctx, &status);
    if (!answer)
        return status;
    answer->kind = SCRIPTED_DONE;
    answer->done = done;
    page->count = 0;
    page->is_last = true;
    pthread_mutex_lock(&scripted->mutex);
    for (uint32_t i = 0; i < scripted->row_count && answer->status == DEJA_OK; i++)
        if (memcmp(dj_value_entry(scripted->rows[i])->tenant, tenant, DJ_ID_BYTES) == 0 &&
            page->count < DJ_STORE_PAGE_MAX)
            page->values[page->count++] = dj_value_ref(scripted->rows[i]);
    pthread_mutex_unlock(&scripted->mutex);
    answer->number = page->count;
    return scripted_end(scripted, answer);
}

static inline enum deja_status scripted_raise(struct dj_store *store, struct dj_loop *loop,
                                              const uint8_t tenant[DJ_ID_BYTES],
                                              struct deja_slice tag, void *ctx,
                                              dj_store_raised_fn *raised)
{
    struct scripted *scripted = (struct scripted *)store;
    enum deja_status status;
    struct scripted_answer *answer = scripted_begin(scripted, loop, ctx, &status);
    (void)tenant;
    (void)tag;
    if (!answer)
        return status;
    answer->kind = SCRIPTED_RAISE;
    answer->raised = raised;
    pthread_mutex_lock(&scripted->mutex);
    if (answer->status == DEJA_OK)
        scripted->generation++;
    answer->number = scripted->generation;
    pthread_mutex_unlock(&scripted->mutex);
    return scripted_end(scripted, answer);
}

static inline enum deja_status scripted_pull(struct dj_store *store, struct dj_loop *loop,
                                             uint64_t since, void *ctx,
                                             dj_store_generation_fn *each,
                                             dj_store_pulled_fn *pulled)
{
    struct scripted *scripted = (struct scripted *)store;
    enum deja_status status;
    struct scripted_answer *answer = scripted_begin(scripted, loop, ctx, &status);
    (void)since;
    (void)each;
    if (!answer)
        return status;
    answer->kind = SCRIPTED_RAISE;
    answer->raised = pulled;
    return scripted_end(scripted, answer);
}

static inline void scripted_stats(struct dj_store *store, const uint8_t *tenant,
                                  struct dj_store_stats *out_stats)
{
    (void)store;
    (void)tenant;
    *out_stats = (struct dj_store_stats){.entries = 0};
}

static inline void scripted_close(struct dj_store *store)
{
    struct scripted *scripted = (struct scripted *)store;
    scripted_let_go(scripted);
    while (scripted->row_count)
        scripted_drop(scripted, scripted->row_count - 1);
    pthread_mutex_destroy(&scripted->mutex);
    if (scripted->is_closed)
        *scripted->is_closed = true;
    dj_free(scripted);
}

static inline struct scripted *scripted_open(void)
{
    static const struct dj_store_ops ops = {
        .level = "redis",
        .get = scripted_get,
        .put = scripted_put,
        .remove = scripted_remove,
        .clear = scripted_clear,
        .list = scripted_list,
        .stats = scripted_stats,
        .probe = scripted_probe,
        .raise = scripted_raise,
        .pull = scripted_pull,
        .close = scripted_close,
    };
    struct scripted *scripted = dj_alloc_zeroed(1, sizeof *scripted);
    assert(scripted);
    scripted->store.ops = &ops;
    pthread_mutex_init(&scripted->mutex, NULL);
    dj_list_init(&scripted->held);
    return scripted;
}

/* What the table has under the key: its version, 0: nothing. Any thread. */
static inline uint64_t scripted_version(struct scripted *scripted, struct dj_store_key key)
{
    pthread_mutex_lock(&scripted->mutex);
    int row = scripted_find(scripted, &key);
    uint64_t version = row < 0 ? 0 : dj_value_entry(scripted->rows[row])->version;
    pthread_mutex_unlock(&scripted->mutex);
    return version;
}

#endif
