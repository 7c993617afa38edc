/* tools/bench_basic.c - put, look up, remove; the hit path; a batch: through the library's calls,
 * which cross from the caller's thread to the cache's and back.
 */
#include <pthread.h>
#include <stdio.h>

#include "loop/loop.h"
#include "tools/bench_internal.h"

#define KEYS 1000u        /* that the basic operations go round */
#define TIMEOUT_MS 10000u /* a slow machine is measured, not refused */
#define MISSES_FROM 1000000u

enum deja_status dj_bench_put(struct deja *deja, uint64_t index, bool is_exact_only)
{
    char text[DJ_BENCH_TEXT_BYTES];
    char body[DJ_BENCH_ANSWER_BYTES];
    struct deja_entry entry;
    deja_entry_init(&entry);
    dj_bench_answer(index, body);
    entry.text = dj_bench_question(index, false, text);
    entry.body = deja_slice(body, sizeof body);
    entry.is_exact_only = is_exact_only;
    entry.timeout_ms = TIMEOUT_MS;
    return deja_put(deja, &entry, NULL);
}

enum deja_status dj_bench_fill(struct dj_bench *bench, struct deja *deja, uint64_t count,
                               uint64_t *out_count)
{
    uint64_t end_us = dj_clock_monotonic_us() + bench->fill_us;
    uint64_t done = 0;
    while (done < count && (done % 64 || dj_clock_monotonic_us() < end_us)) {
        enum deja_status status = dj_bench_put(deja, done, true);
        if (status != DEJA_OK)
            return deja_error_set(&bench->error, status, "filling a cache: %s",
                                  deja_status_text(status));
        done++;
        if (done % 64 == 0 && dj_bench_is_interrupted())
            return DEJA_ERR_CANCELLED;
    }
    *out_count = done;
    return DEJA_OK;
}

/* ---- steps ---- */

struct basic {
    struct deja *deja;
    const char *level; /* where hits must come from */
    uint64_t keys;
    bool is_scattered;       /* any key next; else one after the other */
    struct deja_entry entry; /* made before the clock runs */
    char text[DJ_BENCH_TEXT_BYTES];
    char body[DJ_BENCH_ANSWER_BYTES];
};

static uint64_t key_of(const struct basic *basic, uint64_t index)
{
    return (basic->is_scattered ? index * 7877 + 11 : index) % basic->keys;
}

static bool prepare(void *ctx, uint64_t index)
{
    struct basic *basic = ctx;
    uint64_t key = key_of(basic, index);
    deja_entry_init(&basic->entry);
    dj_bench_answer(key, basic->body);
    basic->entry.text = dj_bench_question(key, false, basic->text);
    basic->entry.body = deja_slice(basic->body, sizeof basic->body);
    basic->entry.is_exact_only = true;
    basic->entry.timeout_ms = TIMEOUT_MS;
    return true;
}

static bool put(void *ctx, uint64_t index)
{
    struct basic *basic = ctx;
    uint64_t count = 0;
    (void)index;
    return deja_put(basic->deja, &basic->entry, &count) == DEJA_OK && count == 1;
}

static bool prepare_remove(void *ctx, uint64_t index)
{
    return prepare(ctx, index) && put(ctx, index);
}

static struct deja_query query_of(const struct basic *basic)
{
    struct deja_query query;
    deja_query_init(&query);
    query.text = basic->entry.text;
    query.is_exact_only = true;
    query.timeout_ms = TIMEOUT_MS;
    return query;
}

static bool look_up(void *ctx, uint64_t index)
{
    struct basic *basic = ctx;
    struct deja_query query = query_of(basic);
    struct deja_answer *answer = NULL;
    if (deja_lookup(basic->deja, &query, &answer) != DEJA_OK)
        return false;
    bool is_right = deja_answer_outcome(answer) == DEJA_HIT_EXACT &&
                    strcmp(deja_answer_reason(answer), basic->level) == 0 &&
                    dj_bench_is_answer(key_of(basic, index), deja_answer_body(answer));
    deja_answer_release(answer);
    return is_right;
}

static bool remove_entry(void *ctx, uint64_t index)
{
    struct basic *basic = ctx;
    struct deja_query query = query_of(basic);
    uint64_t count = 0;
    (void)index;
    return deja_remove(basic->deja, &query, &count) == DEJA_OK && count == 1;
}

static bool prepare_miss(void *ctx, uint64_t index)
{
    struct basic *basic = ctx;
    int len = snprintf(basic->text, sizeof basic->text, "Question %llu that nobody asked before",
                       (unsigned long long)(MISSES_FROM + index));
    basic->entry.text = deja_slice(basic->text, (size_t)len);
    return true;
}

static bool miss(void *ctx, uint64_t index)
{
    struct basic *basic = ctx;
    struct deja_query query = query_of(basic);
    struct deja_answer *answer = NULL;
    (void)index;
    if (deja_lookup(basic->deja, &query, &answer) != DEJA_OK)
        return false;
    bool is_right = deja_answer_outcome(answer) == DEJA_MISS;
    deja_answer_release(answer);
    return is_right;
}

/* ---- basic operations ---- */

static enum deja_status measure_tier(struct dj_bench *bench, struct basic *basic,
                                     const char *const names[3])
{
    const struct dj_bench_case items[] = {
        {.name = names[0], .ctx = basic, .before = prepare, .step = put, .entries = KEYS},
        {.name = names[1], .ctx = basic, .before = prepare, .step = look_up, .entries = KEYS},
        {.name = names[2],
         .ctx = basic,
         .before = prepare_remove,
         .step = remove_entry,
         .entries = KEYS},
    };
    enum deja_status status = dj_bench_measure(bench, &items[0]);
    /* A slow machine has not put all of them yet. */
    for (uint64_t i = 0; i < KEYS && status == DEJA_OK; i++)
        status = dj_bench_put(basic->deja, i, true);
    if (status == DEJA_OK)
        status = dj_bench_measure(bench, &items[1]);
    if (status == DEJA_OK)
        status = dj_bench_measure(bench, &items[2]);
    return status;
}

static enum deja_status open_exact(struct dj_bench *bench, struct deja_options *options,
                                   struct deja **out_deja)
{
    options->embed = DEJA_EMBED_NONE;
    return deja_open(options, out_deja, &bench->error);
}

static enum deja_status close_after(struct deja *deja, enum deja_status status)
{
    enum deja_status closed = deja_close(deja);
    return status == DEJA_OK ? closed : status;
}

static enum deja_status measure_memory(struct dj_bench *bench)
{
    static const char *const names[] = {"basic.put.memory", "basic.lookup.memory",
                                        "basic.remove.memory"};
    struct basic basic = {.level = "memory", .keys = KEYS};
    struct deja_options options;
    deja_options_init(&options);
    enum deja_status status = open_exact(bench, &options, &basic.deja);
    if (status != DEJA_OK)
        return status;
    return close_after(basic.deja, measure_tier(bench, &basic, names));
}

/* Memory keeps one entry, so that lookups are answered from the disk's tier. */
static enum deja_status measure_lmdb(struct dj_bench *bench)
{
    static const char *const names[] = {"basic.put.lmdb", "basic.lookup.lmdb", "basic.remove.lmdb"};
    struct basic basic = {.level = "lmdb", .keys = KEYS};
    struct deja_options options;
    char folder[DJ_BENCH_PATH_BYTES];
    enum deja_status status = dj_bench_folder_make(folder, &bench->error);
    if (status != DEJA_OK)
        return status;
    deja_options_init(&options);
    options.data_dir = folder;
    options.memory_entries_max = 1;
    status = open_exact(bench, &options, &basic.deja);
    if (status == DEJA_OK)
        status = close_after(basic.deja, measure_tier(bench, &basic, names));
    dj_bench_folder_remove(folder);
    return status;
}

enum deja_status dj_bench_basic_group(struct dj_bench *bench)
{
    enum deja_status status = measure_memory(bench);
    return status == DEJA_OK ? measure_lmdb(bench) : status;
}

/* ---- the hit path ---- */

enum deja_status dj_bench_exact_group(struct dj_bench *bench)
{
    struct basic basic = {.level = "memory", .is_scattered = true};
    struct deja_options options;
    deja_options_init(&options);
    options.memory_entries_max = 2 * bench->entries;
    enum deja_status status = open_exact(bench, &options, &basic.deja);
    if (status != DEJA_OK)
        return status;
    dj_bench_progress(bench, "exact: filling");
    status = dj_bench_fill(bench, basic.deja, bench->entries, &basic.keys);
    const struct dj_bench_case items[] = {
        {.name = "exact.hit",
         .ctx = &basic,
         .before = prepare,
         .step = look_up,
         .entries = basic.keys},
        {.name = "exact.miss",
         .ctx = &basic,
         .before = prepare_miss,
         .step = miss,
         .entries = basic.keys},
    };
    for (size_t i = 0; i < 2 && status == DEJA_OK; i++)
        status = dj_bench_measure(bench, &items[i]);
    return close_after(basic.deja, status);
}

/* ---- a batch ---- */

struct batch {
    struct deja *deja;
    uint64_t keys;
    char texts[DJ_BENCH_BATCH][DJ_BENCH_TEXT_BYTES];
    struct deja_query queries[DJ_BENCH_BATCH];
    pthread_mutex_t mutex;
    pthread_cond_t is_done;
    size_t left; /* under mutex */
    size_t hits; /* under mutex */
};

static bool prepare_batch(void *ctx, uint64_t index)
{
    struct batch *batch = ctx;
    for (uint64_t i = 0; i < DJ_BENCH_BATCH; i++) {
        struct deja_query *query = &batch->queries[i];
        uint64_t key = ((index * DJ_BENCH_BATCH + i) * 7877 + 11) % batch->keys;
        deja_query_init(query);
        query->text = dj_bench_question(key, false, batch->texts[i]);
        query->is_exact_only = true;
        query->timeout_ms = TIMEOUT_MS;
    }
    return true;
}

static void settle(struct batch *batch, size_t settled, size_t hits)
{
    pthread_mutex_lock(&batch->mutex);
    batch->left -= settled;
    batch->hits += hits;
    if (batch->left == 0)
        pthread_cond_signal(&batch->is_done);
    pthread_mutex_unlock(&batch->mutex);
}

static void on_answer(void *ctx, enum deja_status status, struct deja_answer *answer)
{
    settle(ctx, 1, status == DEJA_OK && deja_answer_outcome(answer) == DEJA_HIT_EXACT);
    deja_answer_release(answer);
}

static bool ask_batch(void *ctx, uint64_t index)
{
    struct batch *batch = ctx;
    (void)index;
    batch->left = DJ_BENCH_BATCH;
    batch->hits = 0;
    for (size_t i = 0; i < DJ_BENCH_BATCH; i++)
        if (deja_lookup_async(batch->deja, &batch->queries[i], batch, on_answer) != DEJA_OK)
            settle(batch, 1, 0);
    pthread_mutex_lock(&batch->mutex);
    while (batch->left > 0)
        pthread_cond_wait(&batch->is_done, &batch->mutex);
    bool are_all_hits = batch->hits == DJ_BENCH_BATCH;
    pthread_mutex_unlock(&batch->mutex);
    return are_all_hits;
}

enum deja_status dj_bench_batch_group(struct dj_bench *bench)
{
    struct batch batch = {.keys = 0};
    struct deja_options options;
    deja_options_init(&options);
    options.memory_entries_max = 2 * bench->entries;
    enum deja_status status = open_exact(bench, &options, &batch.deja);
    if (status != DEJA_OK)
        return status;
    if (pthread_mutex_init(&batch.mutex, NULL) != 0)
        return close_after(batch.deja, DEJA_ERR_NOMEM);
    if (pthread_cond_init(&batch.is_done, NULL) != 0) {
        pthread_mutex_destroy(&batch.mutex);
        return close_after(batch.deja, DEJA_ERR_NOMEM);
    }
    dj_bench_progress(bench, "batch: filling");
    status = dj_bench_fill(bench, batch.deja, bench->entries, &batch.keys);
    const struct dj_bench_case item = {.name = "batch.lookup100",
                                       .ctx = &batch,
                                       .before = prepare_batch,
                                       .step = ask_batch,
                                       .ops_per_step = DJ_BENCH_BATCH,
                                       .entries = batch.keys};
    if (status == DEJA_OK)
        status = dj_bench_measure(bench, &item);
    status = close_after(batch.deja, status);
    pthread_cond_destroy(&batch.is_done);
    pthread_mutex_destroy(&batch.mutex);
    return status;
}
