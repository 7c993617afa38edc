/* postgres_many.h - many entries into the tier of PostgreSQL, hundreds under way at a time; and how
 * many: the long run asks for more. */
#ifndef DJ_TEST_POSTGRES_MANY_H
#define DJ_TEST_POSTGRES_MANY_H

#include "postgres_fixture.h"

#include "base/num.h"

#define PUTS_UNDER_WAY 200u

/* Of the environment, or what is usual. */
static inline uint32_t how_many(const char *variable, uint32_t usual)
{
    const char *text = getenv(variable);
    uint64_t count = usual;
    if (text)
        assert_int_equal(dj_num_parse_u64(deja_slice_text(text), &count), DEJA_OK);
    return (uint32_t)count;
}

/* Number i of the source: its entry, and its vector or NULL. */
typedef struct dj_entry make_entry_fn(const void *source, uint32_t i, const float **out_vector,
                                      uint32_t *out_dim);

struct putting {
    struct fixture *fixture;
    const void *source;
    make_entry_fn *make;
    uint32_t count, next, under_way, failed, put;
    struct dj_task task;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static inline void put_more(void *ctx);

/* The last word is the count: whoever waits for it takes putting away. */
static inline void on_put(void *ctx, enum deja_status status, uint64_t removed)
{
    struct putting *putting = ctx;
    (void)removed;
    putting->under_way--;
    put_more(putting);
    pthread_mutex_lock(&putting->mutex);
    putting->put++;
    putting->failed += status != DEJA_OK;
    pthread_cond_signal(&putting->cond);
    pthread_mutex_unlock(&putting->mutex);
}

static inline void put_more(void *ctx)
{
    struct putting *putting = ctx;
    struct fixture *fixture = putting->fixture;
    while (putting->next < putting->count && putting->under_way < PUTS_UNDER_WAY) {
        struct dj_value *value = NULL;
        const float *vector = NULL;
        uint32_t dim = 0;
        struct dj_entry entry = putting->make(putting->source, putting->next++, &vector, &dim);
        assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
        putting->under_way++;
        assert_int_equal(fixture->store->ops->put(fixture->store, loop_of(fixture), value, vector,
                                                  dim, putting, on_put),
                         DEJA_OK);
        dj_value_unref(value);
    }
}

static inline void put_many(struct fixture *fixture, const void *source, make_entry_fn *make,
                            uint32_t count)
{
    struct putting putting = {.fixture = fixture, .source = source, .make = make, .count = count};
    pthread_mutex_init(&putting.mutex, NULL);
    pthread_cond_init(&putting.cond, NULL);
    putting.task = (struct dj_task){.run = put_more, .ctx = &putting};
    dj_loop_post(loop_of(fixture), &putting.task);
    pthread_mutex_lock(&putting.mutex);
    while (putting.put < count)
        pthread_cond_wait(&putting.cond, &putting.mutex);
    pthread_mutex_unlock(&putting.mutex);
    assert_int_equal(putting.failed, 0);
}

#endif
