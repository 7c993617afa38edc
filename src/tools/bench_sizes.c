/* tools/bench_sizes.c - what an entry takes: memory beyond its own bytes, and packed on disk. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop/loop.h"
#include "proto/record.h"
#include "tools/bench_internal.h"

#define MEMORY_ENTRIES 10000u
#define MEMORY_ENTRIES_MIN 1000u
#define MEMORY_ROUNDS 3u
#define VECTOR_DIM 384u
#define TEXT_BYTES 4096u
#define TIMEOUT_MS 10000u
#define FILL_US 1500000u

/* ---- memory ---- */

struct sized {
    double bytes;     /* anonymous, of one entry, beyond question and answer; NAN: it failed */
    uint64_t entries; /* there were */
};

/* In a process that did nothing before; not all entries when FILL_US have passed. */
static struct sized measure_entries(bool has_vector)
{
    struct sized sized = {.bytes = NAN};
    struct deja *deja = NULL;
    struct deja_options options;
    float vector[VECTOR_DIM];
    uint64_t payload = 0;
    deja_options_init(&options);
    options.embed = has_vector ? DEJA_EMBED_LEXICAL : DEJA_EMBED_NONE;
    options.memory_entries_max = 2 * MEMORY_ENTRIES;
    if (deja_open(&options, &deja, NULL) != DEJA_OK)
        return sized;
    uint64_t end_us = dj_clock_monotonic_us() + FILL_US;
    double before = dj_bench_memory();
    for (uint64_t i = 0; i < MEMORY_ENTRIES; i++) {
        if (i >= MEMORY_ENTRIES_MIN && dj_clock_monotonic_us() > end_us)
            break;
        char text[DJ_BENCH_TEXT_BYTES];
        char body[DJ_BENCH_ANSWER_BYTES];
        struct deja_entry entry;
        deja_entry_init(&entry);
        dj_bench_answer(i, body);
        entry.text = dj_bench_question(i, false, text);
        entry.body = deja_slice(body, sizeof body);
        entry.timeout_ms = TIMEOUT_MS;
        entry.is_exact_only = !has_vector;
        if (has_vector) {
            dj_bench_vector(i, vector, VECTOR_DIM);
            entry.vector = vector;
            entry.vector_dim = VECTOR_DIM;
            entry.vector_model = deja_slice_text("bench");
        }
        if (deja_put(deja, &entry, NULL) != DEJA_OK)
            return sized; /* the process ends: nothing to give back */
        payload += entry.text.len + entry.body.len;
        sized.entries++;
    }
    double after = dj_bench_memory();
    if (deja_close(deja) == DEJA_OK)
        sized.bytes = (after - before - (double)payload) / (double)sized.entries;
    return sized;
}

/* In a child: what this process freed before would be used again and not be seen. No cache is open
 * and no thread runs here, so the child may do everything. */
static struct sized measure_apart(bool has_vector)
{
    int ends[2];
    struct sized sized = {.bytes = NAN};
    if (pipe(ends) != 0)
        return sized;
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        sized = measure_entries(has_vector);
        _exit(write(ends[1], &sized, sizeof sized) == (ssize_t)sizeof sized ? 0 : 1);
    }
    close(ends[1]);
    if (child > 0 && read(ends[0], &sized, sizeof sized) != (ssize_t)sizeof sized)
        sized = (struct sized){.bytes = NAN};
    close(ends[0]);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
    return sized;
}

static enum deja_status measure_memory(struct dj_bench *bench, const char *name, bool has_vector)
{
    struct dj_bench_series series = {.values = NULL};
    uint32_t rounds = bench->is_quick ? 1 : MEMORY_ROUNDS;
    struct dj_bench_result result = dj_bench_result(name, "bytes");
    dj_bench_progress(bench, name);
    if (dj_bench_series_init(&series, rounds) != DEJA_OK)
        return deja_error_set(&bench->error, DEJA_ERR_NOMEM, "out of memory");
    for (uint32_t i = 0; i < rounds && !dj_bench_is_interrupted(); i++) {
        struct sized sized = measure_apart(has_vector);
        dj_bench_series_add(&series, sized.bytes, isfinite(sized.bytes));
        dj_bench_series_end_round(&series, 0);
        result.entries = sized.entries;
    }
    enum deja_status status = DEJA_ERR_CANCELLED;
    if (!dj_bench_is_interrupted())
        status = dj_bench_keep(bench, &result, &series);
    dj_bench_series_fini(&series);
    return status;
}

enum deja_status dj_bench_memory_group(struct dj_bench *bench)
{
    enum deja_status status = measure_memory(bench, "memory.entry", false);
    return status == DEJA_OK ? measure_memory(bench, "memory.entry.vector384", true) : status;
}

/* ---- compression: a record as the disk's tier keeps it ---- */

struct packing {
    enum dj_bench_text_kind kind;
    struct dj_buf text;
    struct dj_buf record;
    struct dj_buf scratch;
};

static bool prepare(void *ctx, uint64_t index)
{
    struct packing *packing = ctx;
    dj_buf_clear(&packing->text);
    dj_buf_clear(&packing->record);
    dj_buf_clear(&packing->scratch);
    dj_bench_text(packing->kind, index, TEXT_BYTES, &packing->text);
    return packing->text.status == DEJA_OK;
}

static bool pack(void *ctx, uint64_t index)
{
    struct packing *packing = ctx;
    const struct dj_entry entry = {.kind = DJ_ENTRY_BYTES,
                                   .query = deja_slice_text("How do I rename the old invoice?"),
                                   .body = dj_buf_slice(&packing->text)};
    (void)index;
    return dj_record_encode(&entry, &packing->record) == DEJA_OK;
}

static bool prepare_unpack(void *ctx, uint64_t index)
{
    return prepare(ctx, index) && pack(ctx, index);
}

static bool unpack(void *ctx, uint64_t index)
{
    struct packing *packing = ctx;
    struct dj_entry entry;
    (void)index;
    return dj_record_decode(dj_buf_slice(&packing->record), 2 * TEXT_BYTES, &packing->scratch,
                            &entry) == DEJA_OK &&
           deja_slice_is_equal(entry.body, dj_buf_slice(&packing->text));
}

/* How many times smaller. The same texts in every run: the same figures, on any machine. */
static enum deja_status measure_ratio(struct dj_bench *bench, struct packing *packing,
                                      const char *name)
{
    struct dj_bench_series series = {.values = NULL};
    if (dj_bench_series_init(&series, bench->rounds) != DEJA_OK)
        return deja_error_set(&bench->error, DEJA_ERR_NOMEM, "out of memory");
    for (uint32_t i = 0; i < bench->rounds; i++) {
        bool is_ok = prepare_unpack(packing, i);
        struct deja_slice record = dj_buf_slice(&packing->record);
        double ratio = is_ok ? (double)dj_record_plain_bytes(record) / (double)record.len : 0;
        dj_bench_series_add(&series, ratio, is_ok);
        dj_bench_series_end_round(&series, 0);
    }
    struct dj_bench_result result = dj_bench_result(name, "ratio");
    result.is_higher_better = true;
    enum deja_status status = dj_bench_keep(bench, &result, &series);
    dj_bench_series_fini(&series);
    return status;
}

static enum deja_status measure_kind(struct dj_bench *bench, enum dj_bench_text_kind kind,
                                     const char *const names[3])
{
    struct packing packing = {.kind = kind};
    const struct dj_bench_case items[] = {
        {.name = names[1], .ctx = &packing, .before = prepare, .step = pack},
        {.name = names[2], .ctx = &packing, .before = prepare_unpack, .step = unpack},
    };
    enum deja_status status = measure_ratio(bench, &packing, names[0]);
    for (size_t i = 0; i < 2 && status == DEJA_OK; i++)
        status = dj_bench_measure(bench, &items[i]);
    dj_buf_fini(&packing.text);
    dj_buf_fini(&packing.record);
    dj_buf_fini(&packing.scratch);
    return status;
}

enum deja_status dj_bench_compression_group(struct dj_bench *bench)
{
    static const char *const names[][3] = {
        {"compression.prose.ratio", "compression.prose.pack", "compression.prose.unpack"},
        {"compression.json.ratio", "compression.json.pack", "compression.json.unpack"},
        {"compression.random.ratio", "compression.random.pack", "compression.random.unpack"},
    };
    enum deja_status status = DEJA_OK;
    for (unsigned kind = DJ_BENCH_PROSE; kind <= DJ_BENCH_RANDOM && status == DEJA_OK; kind++)
        status = measure_kind(bench, (enum dj_bench_text_kind)kind, names[kind]);
    return status;
}
