/* scripted_store.h - a store in memory that does as it is told: fails, keeps answers back, loses
 * all. Several engines may share one: each has a port of its own.
 *
 * A call does its work at once, under a lock, and answers later on the caller's loop; answers that
 * are kept back say what was so when they were asked.
 */
#ifndef DJ_TEST_CACHE_SCRIPTED_STORE_H
#define DJ_TEST_CACHE_SCRIPTED_STORE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "loops.h"
#include "store/store.h"

enum { SCRIPTED_ENTRIES = 256, SCRIPTED_COUNTERS = 32, SCRIPTED_LOCKS = 8 };

struct scripted_entry {
    struct dj_store_key key;
    struct dj_value *value; /* NULL: a tombstone */
    uint64_t version;
};

struct scripted_counter {
    uint8_t tenant[DJ_ID_BYTES];
    char tag[64];
    size_t tag_len;
    uint64_t generation;
    uint64_t sequence;
};

/* Its lease ends when the test says so. */
struct scripted_lock {
    bool is_held;
    struct dj_store_key key;
    uint8_t token[16];
    uint32_t lease_ms;
};

struct scripted_answer;

struct scripted {
    pthread_mutex_t lock;
    struct scripted_entry entries[SCRIPTED_ENTRIES];
    size_t entry_count;
    struct scripted_counter counters[SCRIPTED_COUNTERS];
    size_t counter_count;
    uint64_t sequence;
    struct scripted_lock locks[SCRIPTED_LOCKS];
    /* what it was told */
    struct dj_store_match match; /* of every search, if its id is not zero */
    /* the same, also while calls are under way */
    _Atomic(enum deja_status) failure; /* of every call, in its answer */
    _Atomic bool is_refusing;          /* every call is refused with DEJA_ERR_BUSY */
    _Atomic bool is_holding;           /* gets are answered by scripted_release */
    _Atomic bool is_holding_locks;     /* and so are questions for locks */
    _Atomic bool is_losing_pulls;      /* pulls fail */
    struct scripted_answer *held;
    /* what it was asked */
    uint32_t gets, puts, removes, pulls, searches, lockings, unlockings;
};

struct scripted_port {
    struct dj_store store;
    struct dj_store_ops ops;
    struct scripted *shared;
};

struct scripted_answer {
    struct dj_task task;
    struct dj_loop *loop;
    struct scripted_answer *next;
    enum deja_status status;
    uint64_t number;
    struct dj_value *value;
    struct scripted *shared;
    struct dj_store_match match;
    void *ctx;
    dj_store_got_fn *got;
    dj_store_done_fn *done;
    dj_store_raised_fn *raised;
    dj_store_generation_fn *each;
    dj_store_pulled_fn *pulled;
    dj_store_searched_fn *searched;
    dj_store_locked_fn *locked;
    uint64_t since;
};

static inline void scripted_init(struct scripted *s)
{
    *s = (struct scripted){.sequence = 1};
    pthread_mutex_init(&s->lock, NULL);
}

static inline void scripted_fini(struct scripted *s)
{
    for (size_t i = 0; i < s->entry_count; i++)
        dj_value_unref(s->entries[i].value);
    pthread_mutex_destroy(&s->lock);
}

static inline void scripted_give_counters(const struct scripted_answer *a)
{
    struct scripted_counter counters[SCRIPTED_COUNTERS];
    pthread_mutex_lock(&a->shared->lock);
    size_t count = a->shared->counter_count;
    memcpy(counters, a->shared->counters, sizeof counters);
    pthread_mutex_unlock(&a->shared->lock);
    for (size_t i = 0; i < count; i++) {
        struct dj_store_generation counter = {.tag =
                                                  deja_slice(counters[i].tag, counters[i].tag_len),
                                              .generation = counters[i].generation};
        memcpy(counter.tenant, counters[i].tenant, sizeof counter.tenant);
        if (counters[i].sequence > a->since && counters[i].sequence <= a->number)
            a->each(a->ctx, &counter);
    }
}

static inline void scripted_run(void *ctx)
{
    struct scripted_answer *a = ctx;
    static const uint8_t nobody[DJ_ID_BYTES];
    if (a->got)
        a->got(a->ctx, a->status, a->value);
    if (a->done)
        a->done(a->ctx, a->status, a->number);
    if (a->raised)
        a->raised(a->ctx, a->status, a->number);
    if (a->pulled && a->status == DEJA_OK)
        scripted_give_counters(a);
    if (a->pulled)
        a->pulled(a->ctx, a->status, a->number);
    if (a->locked)
        a->locked(a->ctx, a->status, a->number != 0);
    if (a->searched)
        a->searched(a->ctx, a->status, &a->match,
                    memcmp(a->match.id, nobody, sizeof nobody) ? 1 : 0);
    free(a);
}

/* Under the lock. NULL: the call is refused. */
static inline struct scripted_answer *scripted_answer(struct scripted *s, struct dj_loop *loop,
                                                      void *ctx)
{
    struct scripted_answer *a = s->is_refusing ? NULL : calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->shared = s;
    a->loop = loop;
    a->ctx = ctx;
    a->status = s->failure;
    a->task = (struct dj_task){.run = scripted_run, .ctx = a};
    return a;
}

static inline enum deja_status scripted_send(struct scripted *s, struct scripted_answer *a)
{
    if (a && ((a->got && s->is_holding) || (a->locked && s->is_holding_locks))) {
        a->next = s->held;
        s->held = a;
    } else if (a) {
        dj_loop_post(a->loop, &a->task);
    }
    pthread_mutex_unlock(&s->lock);
    return a ? DEJA_OK : DEJA_ERR_BUSY;
}

static inline struct scripted *scripted_enter(struct dj_store *store)
{
    struct scripted *s = ((struct scripted_port *)store)->shared;
    pthread_mutex_lock(&s->lock);
    return s;
}

/* Answers what was kept back, and keeps back no more. */
static inline void scripted_release(struct scripted *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_holding = false;
    s->is_holding_locks = false;
    while (s->held) {
        struct scripted_answer *a = s->held;
        s->held = a->next;
        dj_loop_post(a->loop, &a->task);
    }
    pthread_mutex_unlock(&s->lock);
}

static inline struct scripted_entry *scripted_find(struct scripted *s,
                                                   const struct dj_store_key *key)
{
    for (size_t i = 0; i < s->entry_count; i++)
        if (memcmp(&s->entries[i].key, key, sizeof *key) == 0)
            return &s->entries[i];
    return NULL;
}

static inline struct scripted_entry *scripted_place(struct scripted *s,
                                                    const struct dj_store_key *key)
{
    struct scripted_entry *entry = scripted_find(s, key);
    if (!entry) {
        assert(s->entry_count < SCRIPTED_ENTRIES);
        entry = &s->entries[s->entry_count++];
        entry->key = *key;
    }
    return entry;
}

static inline enum deja_status scripted_get(struct dj_store *store, struct dj_loop *loop,
                                            const struct dj_store_key *key, void *ctx,
                                            dj_store_got_fn *got)
{
    struct scripted *s = scripted_enter(store);
    struct scripted_answer *a = scripted_answer(s, loop, ctx);
    struct scripted_entry *entry = scripted_find(s, key);
    s->gets++;
    if (a) {
        a->got = got;
        if (entry && entry->value && a->status == DEJA_OK)
            a->value = dj_value_ref(entry->value);
    }
    return scripted_send(s, a);
}

static inline enum deja_status scripted_put(struct dj_store *store, struct dj_loop *loop,
                                            struct dj_value *value, const float *vector,
                                            uint32_t dim, void *ctx, dj_store_done_fn *done)
{
    struct scripted *s = scripted_enter(store);
    struct scripted_answer *a = scripted_answer(s, loop, ctx);
    const struct dj_entry *entry = dj_value_entry(value);
    struct dj_store_key key;
    (void)vector;
    (void)dim;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    s->puts++;
    if (a)
        a->done = done;
    if (a && a->status == DEJA_OK) {
        struct scripted_entry *place = scripted_place(s, &key);
        if (entry->version > place->version) {
            dj_value_unref(place->value);
            place->value = dj_value_ref(value);
            place->version = entry->version;
        }
    }
    return scripted_send(s, a);
}

static inline enum deja_status scripted_remove(struct dj_store *store, struct dj_loop *loop,
                                               const struct dj_store_key *key, uint64_t version_max,
                                               void *ctx, dj_store_done_fn *done)
{
    struct scripted *s = scripted_enter(store);
    struct scripted_answer *a = scripted_answer(s, loop, ctx);
    s->removes++;
    if (a)
        a->done = done;
    if (a && a->status == DEJA_OK) {
        struct scripted_entry *place = scripted_place(s, key);
        uint64_t now_us = (uint64_t)dj_clock_now_ms() * 1000;
        uint64_t version = version_max == UINT64_MAX ? now_us : version_max;
        if (place->version <= version_max) {
            a->number = place->value != NULL;
            dj_value_unref(place->value);
            place->value = NULL;
            place->version = place->version > version ? place->version : version;
        }
    }
    return scripted_send(s, a);
}

static inline enum deja_status scripted_clear(struct dj_store *store, struct dj_loop *loop,
                                              const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                                              dj_store_done_fn *done)
{
    struct scripted *s = scripted_enter(store);
    struct scripted_answer *a = scripted_answer(s, loop, ctx);
    if (a)
        a->done = done;
    for (size_t i = 0; a && i < s->entry_count; i++)
        if (memcmp(s->entries[i].key.tenant, tenant, DJ_ID_BYTES) == 0 && s->entries[i].value) {
            a->number++;
            dj_value_unref(s->entries[i].value);
            s->entries[i].value = NULL;
        }
    return scripted_send(s, a);
}

static inline enum deja_status scripted_list(struct dj_store *store, struct dj_loop *loop,
                                             const uint8_t tenant[DJ_ID_BYTES],
                                             struct dj_store_page *page, void *ctx,
                                             dj_store_done_fn *done)
{
    struct scripted *s = scripted_enter(store);
    struct scripted_answer *a = scripted_answer(s, loop, ctx);
    if (a) {
        a->done = done;
        page->count = 0;
        while (a->status == DEJA_OK && page->position < s->entry_count &&
               page->count < DJ_STORE_PAGE_MAX) {
            struct scripted_entry *entry = &s->entries[page->position++];
            if (entry->value && memcmp(entry->key.tenant, tenant, DJ_ID_BYTES) == 0)
                page->values[page->count++] = dj_value_ref(entry->value);
        }
        page->is_last = page->position == s->entry_count;
        a->number = page->count;
    }
    return scripted_send(s, a);
}

static inline void scripted_stats(struct dj_store *store, const uint8_t *tenant,
                                  struct dj_store_stats *out_stats)
{
    struct scripted *s = scripted_enter(store);
    (void)tenant;
    *out_stats = (struct dj_store_stats){.entries = s->entry_count};
    pthread_mutex_unlock(&s->lock);
}

static inline enum deja_status scripted_raise(struct dj_store *store, struct dj_loop *loop,
                                              const uint8_t tenant[DJ_ID_BYTES],
                                              struct deja_slice tag, void *ctx,
                                              dj_store_raised_fn *raised)
{
    struct scripted *s = scripted_enter(store);
    struct scripted_answer *a = scripted_answer(s, loop, ctx);
    struct scripted_counter *counter = NULL;
    if (a)
        a->raised = raised;
    for (size_t i = 0; i < s->counter_count && !counter; i++)
        if (memcmp(s->counters[i].tenant, tenant, DJ_ID_BYTES) == 0 &&
            deja_slice_is_equal(deja_slice(s->counters[i].tag, s->counters[i].tag_len), tag))
            counter = &s->counters[i];
    if (a && a->status == DEJA_OK && !counter) {
        assert(s->counter_count < SCRIPTED_COUNTERS && tag.len <= sizeof counter->tag);
        counter = &s->counters[s->counter_count++];
        *counter = (struct scripted_counter){.tag_len = tag.len};
        memcpy(counter->tenant, tenant, DJ_ID_BYTES);
        if (tag.len)
            memcpy(counter->tag, tag.data, tag.len);
    }
    if (a && a->status == DEJA_OK) {
        a->number = ++counter->generation;
        counter->sequence = ++s->sequence;
    }
    return scripted_send(s, a);
}

static inline enum deja_status scripted_pull(struct dj_store *store, struct dj_loop *loop,
                                             uint64_t since, void *ctx,
                                             dj_store_generation_fn *each,
                                             dj_store_pulled_fn *pulled)
{
    struct scripted *s = scripted_enter(store);
    struct scripted_answer *a = scripted_answer(s, loop, ctx);
    s->pulls++;
    if (a) {
        a->each = each;
        a->pulled = pulled;
        a->since = since;
        a->number = s->sequence;
        if (s->is_losing_pulls)
            a->status = DEJA_ERR_IO;
    }
    return scripted_send(s, a);
}

static inline enum deja_status scripted_search(struct dj_store *store, struct dj_loop *loop,
                                               const struct dj_store_search *search, void *ctx,
                                               dj_store_searched_fn *searched)
{
    struct scripted *s = scripted_enter(store);
    struct scripted_answer *a = scripted_answer(s, loop, ctx);
    s->searches++;
    if (a) {
        a->searched = searched;
        a->match = s->match;
        if (s->match.similarity < search->threshold)
            a->match = (struct dj_store_match){.similarity = 0};
    }
    return scripted_send(s, a);
}

static inline enum deja_status scripted_lock(struct dj_store *store, struct dj_loop *loop,
                                             const struct dj_store_key *key,
                                             const uint8_t token[16], uint32_t lease_ms, void *ctx,
                                             dj_store_locked_fn *locked)
{
    struct scripted *s = scripted_enter(store);
    struct scripted_answer *a = scripted_answer(s, loop, ctx);
    struct scripted_lock *lock = NULL;
    s->lockings++;
    if (a)
        a->locked = locked;
    for (size_t i = 0; i < SCRIPTED_LOCKS; i++)
        if (s->locks[i].is_held && memcmp(&s->locks[i].key, key, sizeof *key) == 0)
            lock = &s->locks[i];
    bool is_free = !lock;
    for (size_t i = 0; i < SCRIPTED_LOCKS && !lock; i++)
        if (!s->locks[i].is_held)
            lock = &s->locks[i];
    assert(lock);
    if (a && a->status == DEJA_OK && (is_free || memcmp(lock->token, token, 16) == 0)) {
        *lock = (struct scripted_lock){.is_held = true, .key = *key, .lease_ms = lease_ms};
        memcpy(lock->token, token, sizeof lock->token);
        a->number = 1;
    }
    return scripted_send(s, a);
}

static inline enum deja_status scripted_unlock(struct dj_store *store, struct dj_loop *loop,
                                               const struct dj_store_key *key,
                                               const uint8_t token[16], void *ctx,
                                               dj_store_done_fn *done)
{
    struct scripted *s = scripted_enter(store);
    struct scripted_answer *a = scripted_answer(s, loop, ctx);
    s->unlockings++;
    if (a)
        a->done = done;
    for (size_t i = 0; a && a->status == DEJA_OK && i < SCRIPTED_LOCKS; i++)
        if (s->locks[i].is_held && memcmp(&s->locks[i].key, key, sizeof *key) == 0 &&
            memcmp(s->locks[i].token, token, 16) == 0) {
            s->locks[i].is_held = false;
            a->number = 1;
        }
    return scripted_send(s, a);
}

static inline void scripted_close(struct dj_store *store)
{
    free(store);
}

/* As a tier of that level; is_authority: it keeps generations. */
static inline struct dj_store *scripted_open(struct scripted *s, const char *level,
                                             bool is_authority)
{
    struct scripted_port *port = calloc(1, sizeof *port);
    assert(port);
    port->shared = s;
    port->ops = (struct dj_store_ops){.level = level,
                                      .get = scripted_get,
                                      .put = scripted_put,
                                      .remove = scripted_remove,
                                      .clear = scripted_clear,
                                      .list = scripted_list,
                                      .stats = scripted_stats,
                                      .lock = scripted_lock,
                                      .unlock = scripted_unlock,
                                      .close = scripted_close};
    if (strcmp(level, "postgres") == 0)
        port->ops.search = scripted_search;
    if (is_authority) {
        port->ops.raise = scripted_raise;
        port->ops.pull = scripted_pull;
    }
    port->store.ops = &port->ops;
    return &port->store;
}

/* An authority that has lost what it counted. */
static inline void scripted_forget_counters(struct scripted *s)
{
    pthread_mutex_lock(&s->lock);
    s->counter_count = 0;
    s->sequence = 0;
    pthread_mutex_unlock(&s->lock);
}

static inline bool scripted_has(struct scripted *s, const struct dj_store_key *key)
{
    pthread_mutex_lock(&s->lock);
    struct scripted_entry *entry = scripted_find(s, key);
    bool has = entry && entry->value;
    pthread_mutex_unlock(&s->lock);
    return has;
}

#endif
