/* tools/bench_internal.h - what the measurements of `deja bench` share.
 *
 * One thread; the caches it opens have their own. Each group measures through the library's public
 * calls, adds its results to the report, and returns when its share of the time is used: nothing
 * here depends on how fast the machine is, but for how many operations were done.
 */
#ifndef DJ_TOOLS_BENCH_INTERNAL_H
#define DJ_TOOLS_BENCH_INTERNAL_H

#include <sys/types.h>

#include <deja/deja.h>

#include "base/buf.h"
#include "tools/bench_report.h"
#include "tools/bench_texts.h"

#define DJ_BENCH_SERIES_CAP 131072u
#define DJ_BENCH_BATCH 100u

struct dj_bench {
    struct dj_bench_report *report; /* borrowed */
    bool is_quick;
    bool shows_progress;
    uint32_t rounds;
    uint64_t slice_us;     /* of one round of one case */
    uint64_t fill_us;      /* at most, to fill a cache beforehand */
    uint64_t entries;      /* a full cache has */
    const char *model_dir; /* borrowed; NULL: none, lexical */
    const char *server;    /* borrowed; a checked URL; NULL: no such group */
    const char *key;       /* borrowed; may be NULL */
    uint32_t clients;
    struct deja_error error; /* what went wrong, when a group fails */
};

/* One operation; false: it failed or answered wrongly. index counts from 0 and never repeats. */
typedef bool dj_bench_step_fn(void *ctx, uint64_t index);

struct dj_bench_case {
    const char *name;
    void *ctx;
    dj_bench_step_fn *before; /* not timed; may be NULL */
    dj_bench_step_fn *step;   /* timed */
    uint64_t steps_max;       /* all in all, warm-up too; 0: any */
    uint32_t ops_per_step;    /* 0: 1 */
    bool is_slow;             /* milliseconds a step: gets more of the time */
    uint64_t entries;         /* as in a result */
    const char *embedder;     /* as in a result; may be NULL */
};

/* ---- bench_measure.c ---- */

/* Warm-up, rounds, and one more result. DEJA_ERR_CANCELLED: Ctrl-C. DEJA_ERR_LIMIT: the report is
 * full. */
enum deja_status dj_bench_measure(struct dj_bench *bench,
                                  const struct dj_bench_case *item) DEJA_NODISCARD;
/* Adds what a series says; given has everything but the figures. */
enum deja_status dj_bench_keep(struct dj_bench *bench, const struct dj_bench_result *given,
                               struct dj_bench_series *series) DEJA_NODISCARD;
struct dj_bench_result dj_bench_result(const char *name, const char *unit);
/* SIGINT or SIGTERM waits to be delivered (dj_tool_bench has blocked them). */
bool dj_bench_is_interrupted(void);
void dj_bench_progress(const struct dj_bench *bench, const char *name); /* NULL: wipe the line */
/* Anonymous memory of this process, or of another one, in bytes; NAN: not known. */
double dj_bench_memory(void);
double dj_bench_memory_of(pid_t process);
/* A new empty folder in TMPDIR; path has room for DJ_BENCH_PATH_BYTES. */
#define DJ_BENCH_PATH_BYTES 256u
enum deja_status dj_bench_folder_make(char *out_path, struct deja_error *error) DEJA_NODISCARD;
void dj_bench_folder_remove(const char *path); /* with what is in it */

/* ---- bench_basic.c ---- */

/* A cache with the questions from 0 to below count; as many as fit into bench->fill_us.
 * *out_count: how many. */
enum deja_status dj_bench_fill(struct dj_bench *bench, struct deja *deja, uint64_t count,
                               uint64_t *out_count) DEJA_NODISCARD;
enum deja_status dj_bench_put(struct deja *deja, uint64_t index, bool is_exact_only) DEJA_NODISCARD;

/* ---- the groups ---- */

typedef enum deja_status dj_bench_group_fn(struct dj_bench *bench);
dj_bench_group_fn dj_bench_memory_group;      /* bench_sizes.c */
dj_bench_group_fn dj_bench_compression_group; /* bench_sizes.c */
dj_bench_group_fn dj_bench_basic_group;       /* bench_basic.c */
dj_bench_group_fn dj_bench_exact_group;       /* bench_basic.c */
dj_bench_group_fn dj_bench_engine_group;      /* bench_engine.c */
dj_bench_group_fn dj_bench_batch_group;       /* bench_basic.c */
dj_bench_group_fn dj_bench_semantic_group;    /* bench_semantic.c */
dj_bench_group_fn dj_bench_server_group;      /* bench_server.c */

#endif
