/* confused_store.h - a tier that mixes everything up: it answers a get with anybody's record, and a
 * search with anybody's ids, as near as can be. What it gives may be used only if it happens to be
 * right. Threads: any; one lock.
 */
#ifndef DJ_TEST_ISOLATION_CONFUSED_STORE_H
#define DJ_TEST_ISOLATION_CONFUSED_STORE_H

#include <pthread.h>

#include "store/store.h"
#include "world.h"

enum { CONFUSED_MAX = EVERYBODY * STORED, CONFUSED_MATCHES = 8 };

struct confused {
    struct dj_store store;
    pthread_mutex_t lock;
    struct world *world; /* its generator */
    struct dj_value *values[CONFUSED_MAX];
    uint32_t count;
};

struct confused_answer {
    struct dj_task task;
    void *ctx;
    struct dj_value *value;
    struct dj_store_match matches[CONFUSED_MATCHES];
    uint32_t match_count;
    dj_store_got_fn *got;
    dj_store_done_fn *done;
    dj_store_searched_fn *searched;
};

static inline void confused_run(void *ctx)
{
    struct confused_answer *answer = ctx;
    if (answer->got)
        answer->got(answer->ctx, DEJA_OK, answer->value);
    else if (answer->done)
        answer->done(answer->ctx, DEJA_OK, 0);
    else
        answer->searched(answer->ctx, DEJA_OK, answer->matches, answer->match_count);
    free(answer);
}

static inline struct confused_answer *confused_answer(void *ctx)
{
    struct confused_answer *answer = calloc(1, sizeof *answer);
    assert(answer);
    answer->ctx = ctx;
    answer->task = (struct dj_task){.run = confused_run, .ctx = answer};
    return answer;
}

static inline enum deja_status confused_get(struct dj_store *store, struct dj_loop *loop,
                                            const struct dj_store_key *key, void *ctx,
                                            dj_store_got_fn *got)
{
    struct confused *confused = (struct confused *)store;
    struct confused_answer *answer = confused_answer(ctx);
    (void)key;
    pthread_mutex_lock(&confused->lock);
    uint32_t which = draw_below(confused->world, confused->count);
    /* Now and then the right id, of whichever tenant comes first. */
    bool is_id_kept = draw_below(confused->world, 2) == 0;
    for (uint32_t i = 0; is_id_kept && i < confused->count; i++)
        if (memcmp(dj_value_entry(confused->values[(which + i) % confused->count])->id, key->id,
                   DJ_ID_BYTES) == 0) {
            which = (which + i) % confused->count;
            break;
        }
    answer->value = dj_value_ref(confused->values[which]);
    pthread_mutex_unlock(&confused->lock);
    answer->got = got;
    dj_loop_post(loop, &answer->task);
    return DEJA_OK;
}

static inline enum deja_status confused_put(struct dj_store *store, struct dj_loop *loop,
                                            struct dj_value *value, const float *vector,
                                            uint32_t dim, void *ctx, dj_store_done_fn *done)
{
    struct confused *confused = (struct confused *)store;
    struct confused_answer *answer = confused_answer(ctx);
    (void)vector;
    (void)dim;
    pthread_mutex_lock(&confused->lock);
    assert(confused->count < CONFUSED_MAX);
    confused->values[confused->count++] = dj_value_ref(value);
    pthread_mutex_unlock(&confused->lock);
    answer->done = done;
    dj_loop_post(loop, &answer->task);
    return DEJA_OK;
}

static inline enum deja_status confused_search(struct dj_store *store, struct dj_loop *loop,
                                               const struct dj_store_search *search, void *ctx,
                                               dj_store_searched_fn *searched)
{
    struct confused *confused = (struct confused *)store;
    struct confused_answer *answer = confused_answer(ctx);
    pthread_mutex_lock(&confused->lock);
    while (answer->match_count < CONFUSED_MATCHES && answer->match_count < search->limit) {
        uint32_t which = draw_below(confused->world, confused->count);
        const struct dj_entry *entry = dj_value_entry(confused->values[which]);
        struct dj_store_match *match = &answer->matches[answer->match_count++];
        *match = (struct dj_store_match){.similarity = 1.0f};
        memcpy(match->id, entry->id, sizeof match->id);
        memcpy(match->scope, entry->scope, sizeof match->scope);
    }
    pthread_mutex_unlock(&confused->lock);
    answer->searched = searched;
    dj_loop_post(loop, &answer->task);
    return DEJA_OK;
}

static inline enum deja_status confused_done(void *ctx, struct dj_loop *loop,
                                             dj_store_done_fn *done)
{
    struct confused_answer *answer = confused_answer(ctx);
    answer->done = done;
    dj_loop_post(loop, &answer->task);
    return DEJA_OK;
}

static inline enum deja_status confused_remove(struct dj_store *store, struct dj_loop *loop,
                                               const struct dj_store_key *key, uint64_t version_max,
                                               void *ctx, dj_store_done_fn *done)
{
    (void)store;
    (void)key;
    (void)version_max;
    return confused_done(ctx, loop, done);
}

static inline enum deja_status confused_clear(struct dj_store *store, struct dj_loop *loop,
                                              const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                                              dj_store_done_fn *done)
{
    (void)store;
    (void)tenant;
    return confused_done(ctx, loop, done);
}

static inline void confused_stats(struct dj_store *store, const uint8_t *tenant,
                                  struct dj_store_stats *out_stats)
{
    (void)store;
    (void)tenant;
    *out_stats = (struct dj_store_stats){0};
}

static inline void confused_close(struct dj_store *store)
{
    struct confused *confused = (struct confused *)store;
    for (uint32_t i = 0; i < confused->count; i++)
        dj_value_unref(confused->values[i]);
    pthread_mutex_destroy(&confused->lock);
    free(confused);
}

/* Ended by the engine that takes it. */
static inline struct dj_store *confused_open(struct world *world)
{
    static const struct dj_store_ops ops = {.level = "postgres",
                                            .get = confused_get,
                                            .put = confused_put,
                                            .remove = confused_remove,
                                            .clear = confused_clear,
                                            .stats = confused_stats,
                                            .search = confused_search,
                                            .close = confused_close};
    struct confused *confused = calloc(1, sizeof *confused);
    assert(confused);
    confused->store.ops = &ops;
    confused->world = world;
    pthread_mutex_init(&confused->lock, NULL);
    return &confused->store;
}

#endif
