/* library.h - short forms of the public calls for the tests of this room. */
#ifndef DJ_TEST_LIB_LIBRARY_H
#define DJ_TEST_LIB_LIBRARY_H

#include "check.h"

#include <pthread.h>
#include <stdio.h>

#include <deja/deja.h>
#include <deja/kv.h>

#define STORED "How do I reset my password on the website?"
#define REWORDED "how can I reset my password on the website"
#define NO_LIMIT_MS 60000u /* generous: a hung test ends, a slow machine does not fail */

static inline struct deja_query query_of(const char *text)
{
    struct deja_query query;
    deja_query_init(&query);
    query.text = deja_slice_text(text);
    query.timeout_ms = NO_LIMIT_MS;
    query.threshold = 0.7;
    return query;
}

static inline struct deja_entry entry_of(const char *text, const char *body)
{
    struct deja_entry entry;
    deja_entry_init(&entry);
    entry.text = deja_slice_text(text);
    entry.body = deja_slice_text(body);
    entry.timeout_ms = NO_LIMIT_MS;
    return entry;
}

static inline struct deja_kv kv_of(const char *key, const char *body)
{
    struct deja_kv kv;
    deja_kv_init(&kv);
    kv.key = deja_slice_text(key);
    kv.body = deja_slice_text(body);
    kv.timeout_ms = NO_LIMIT_MS;
    return kv;
}

static inline struct deja *open_memory(void)
{
    struct deja *deja = NULL;
    assert_int_equal(deja_open(NULL, &deja, NULL), DEJA_OK);
    return deja;
}

static inline void put(struct deja *deja, const char *text, const char *body)
{
    struct deja_entry entry = entry_of(text, body);
    uint64_t count = 0;
    assert_int_equal(deja_put(deja, &entry, &count), DEJA_OK);
    assert_int_equal(count, 1);
}

static inline enum deja_outcome lookup(struct deja *deja, const struct deja_query *query)
{
    struct deja_answer *answer = NULL;
    assert_int_equal(deja_lookup(deja, query, &answer), DEJA_OK);
    enum deja_outcome outcome = deja_answer_outcome(answer);
    deja_answer_release(answer);
    return outcome;
}

static inline enum deja_outcome lookup_text(struct deja *deja, const char *text)
{
    struct deja_query query = query_of(text);
    return lookup(deja, &query);
}

static inline void assert_slice(struct deja_slice slice, const char *text)
{
    assert_int_equal(slice.len, strlen(text));
    if (slice.len)
        assert_memory_equal(slice.data, text, slice.len);
}

/* Something that happens on another thread, counted and waited for. */
struct tally {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int count;
};

static inline void tally_init(struct tally *tally)
{
    pthread_mutex_init(&tally->mutex, NULL);
    pthread_cond_init(&tally->changed, NULL);
    tally->count = 0;
}

static inline void tally_fini(struct tally *tally)
{
    pthread_cond_destroy(&tally->changed);
    pthread_mutex_destroy(&tally->mutex);
}

static inline void tally_add(struct tally *tally)
{
    pthread_mutex_lock(&tally->mutex);
    tally->count++;
    pthread_cond_broadcast(&tally->changed);
    pthread_mutex_unlock(&tally->mutex);
}

static inline void tally_wait(struct tally *tally, int count)
{
    pthread_mutex_lock(&tally->mutex);
    while (tally->count < count)
        pthread_cond_wait(&tally->changed, &tally->mutex);
    pthread_mutex_unlock(&tally->mutex);
}

#endif
