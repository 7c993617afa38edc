/* tools/bench_semantic.c - found in other words: the encoder alone, storing, and the hit.
 *
 * Only as many questions as there is time for are embedded; the cache is then filled up with
 * vectors of its own kind that are near nothing, which cost the search the same and the encoder
 * nothing. Each question is asked once: what the cache remembers of texts does not help.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "embed/lexical.h"
#include "embed/transformer.h"
#include "loop/loop.h"
#include "simd/simd.h"
#include "tools/bench_internal.h"

#define QUESTIONS_MAX 4000u
#define THRESHOLD 0.7 /* below what both embedders give "How do I" beside "How can I" */
#define TIMEOUT_MS 10000u

struct semantic {
    struct deja *deja;
    struct dj_embedder *embedder;
    float *vector; /* owned; of the embedder's dimension */
    uint64_t stored;
    char text[DJ_BENCH_TEXT_BYTES];
    struct deja_slice question;
};

static bool prepare(void *ctx, uint64_t index)
{
    struct semantic *semantic = ctx;
    semantic->question = dj_bench_question(index, true, semantic->text);
    return true;
}

static bool embed(void *ctx, uint64_t index)
{
    struct semantic *semantic = ctx;
    (void)index;
    return dj_embedder_embed(semantic->embedder, &semantic->question, 1, semantic->vector) ==
           DEJA_OK;
}

static bool put(void *ctx, uint64_t index)
{
    struct semantic *semantic = ctx;
    if (dj_bench_put(semantic->deja, index, false) != DEJA_OK)
        return false;
    semantic->stored = index + 1;
    return true;
}

static bool ask(void *ctx, uint64_t index)
{
    struct semantic *semantic = ctx;
    struct deja_answer *answer = NULL;
    struct deja_query query;
    deja_query_init(&query);
    query.text = semantic->question;
    query.threshold = THRESHOLD;
    query.timeout_ms = TIMEOUT_MS;
    if (deja_lookup(semantic->deja, &query, &answer) != DEJA_OK)
        return false;
    bool is_right = deja_answer_outcome(answer) == DEJA_HIT_SEMANTIC &&
                    dj_bench_is_answer(index, deja_answer_body(answer));
    deja_answer_release(answer);
    return is_right;
}

/* Up to bench->entries in all. */
static enum deja_status fill_up(struct dj_bench *bench, struct semantic *semantic)
{
    uint64_t end_us = dj_clock_monotonic_us() + bench->fill_us;
    dj_bench_progress(bench, "semantic: filling");
    for (; semantic->stored < bench->entries; semantic->stored++) {
        char text[DJ_BENCH_TEXT_BYTES];
        struct deja_entry entry;
        deja_entry_init(&entry);
        int len = snprintf(text, sizeof text, "filling %llu", (unsigned long long)semantic->stored);
        dj_bench_vector(semantic->stored, semantic->vector, semantic->embedder->dim);
        entry.text = deja_slice(text, (size_t)len);
        entry.body = entry.text;
        entry.vector = semantic->vector;
        entry.vector_dim = semantic->embedder->dim;
        entry.timeout_ms = TIMEOUT_MS;
        enum deja_status status = deja_put(semantic->deja, &entry, NULL);
        if (status != DEJA_OK)
            return deja_error_set(&bench->error, status, "filling a cache: %s",
                                  deja_status_text(status));
        if (semantic->stored % 64 == 0 && dj_bench_is_interrupted())
            return DEJA_ERR_CANCELLED;
        if (semantic->stored % 64 == 0 && dj_clock_monotonic_us() >= end_us)
            break;
    }
    return DEJA_OK;
}

static enum deja_status open_parts(struct dj_bench *bench, struct semantic *semantic)
{
    struct deja_options options;
    enum deja_status status = DEJA_ERR_NOT_FOUND;
    dj_simd_init();
    deja_options_init(&options);
    if (bench->model_dir)
        status = dj_transformer_open(bench->model_dir, &semantic->embedder, &bench->error);
    if (status == DEJA_OK)
        options.model_dir = bench->model_dir;
    else if (status == DEJA_ERR_NOT_FOUND)
        status = dj_lexical_create(&semantic->embedder);
    if (status != DEJA_OK)
        return status;
    semantic->vector = dj_alloc_zeroed(semantic->embedder->dim, sizeof *semantic->vector);
    if (!semantic->vector)
        return deja_error_set(&bench->error, DEJA_ERR_NOMEM, "out of memory");
    options.memory_entries_max = 2 * bench->entries;
    return deja_open(&options, &semantic->deja, &bench->error);
}

static enum deja_status measure(struct dj_bench *bench, struct semantic *semantic)
{
    const char *embedder = semantic->embedder->id;
    const struct dj_bench_case encoding = {.name = "semantic.embed",
                                           .ctx = semantic,
                                           .before = prepare,
                                           .step = embed,
                                           .is_slow = true,
                                           .embedder = embedder};
    const struct dj_bench_case storing = {
        .name = "semantic.put",
        .ctx = semantic,
        .step = put,
        .steps_max = bench->entries < QUESTIONS_MAX ? bench->entries : QUESTIONS_MAX,
        .is_slow = true,
        .embedder = embedder};
    enum deja_status status = dj_bench_measure(bench, &encoding);
    if (status == DEJA_OK)
        status = dj_bench_measure(bench, &storing);
    uint64_t questions = semantic->stored;
    if (status == DEJA_OK)
        status = fill_up(bench, semantic);
    const struct dj_bench_case asking = {.name = "semantic.hit",
                                         .ctx = semantic,
                                         .before = prepare,
                                         .step = ask,
                                         .steps_max = questions,
                                         .is_slow = true,
                                         .entries = semantic->stored,
                                         .embedder = embedder};
    if (status == DEJA_OK)
        status = dj_bench_measure(bench, &asking);
    return status;
}

enum deja_status dj_bench_semantic_group(struct dj_bench *bench)
{
    struct semantic semantic = {.stored = 0};
    dj_bench_progress(bench, "semantic: reading the model");
    enum deja_status status = open_parts(bench, &semantic);
    if (status == DEJA_OK)
        status = measure(bench, &semantic);
    enum deja_status closed = deja_close(semantic.deja);
    dj_free(semantic.vector);
    dj_embedder_destroy(semantic.embedder);
    return status == DEJA_OK ? closed : status;
}
