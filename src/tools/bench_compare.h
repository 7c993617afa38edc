/* tools/bench_compare.h - did it become slower? Two runs side by side, result by result.
 *
 * What is compared is the median of a result's rounds. It is worse when it moved in the wrong
 * direction by more than the limit and the middle halves of both runs' rounds lie apart: a move
 * inside what the runs scatter by themselves says nothing. Fewer successes are always worse.
 */
#ifndef DJ_TOOLS_BENCH_COMPARE_H
#define DJ_TOOLS_BENCH_COMPARE_H

#include "tools/bench_report.h"

enum dj_bench_verdict {
    DJ_BENCH_SAME,    /* within the limit */
    DJ_BENCH_SCATTER, /* beyond the limit, within the spread */
    DJ_BENCH_BETTER,
    DJ_BENCH_WORSE,
    DJ_BENCH_NOT_COMPARED, /* `why` says why */
};

struct dj_bench_change {
    enum dj_bench_verdict verdict;
    double change;   /* 0.1: the figure grew by a tenth; NAN: cannot be said */
    const char *why; /* constant text; NULL: nothing to add */
};

/* limit: 0.1 is a tenth. before or after NULL: missing in that run. is_same_machine false: times
 * are not compared, sizes and ratios are. */
struct dj_bench_change dj_bench_judge(const struct dj_bench_result *before,
                                      const struct dj_bench_result *after, double limit,
                                      bool is_same_machine);
bool dj_bench_is_same_machine(const struct dj_bench_machine *a, const struct dj_bench_machine *b);

struct dj_bench_comparison {
    const struct dj_bench_report *before;
    const struct dj_bench_report *after;
    double limit;
};
/* Appends the table (or JSON) and returns how many results are worse; *out_compared: how many were
 * compared at all. */
size_t dj_bench_compare(const struct dj_bench_comparison *comparison, bool wants_json,
                        struct dj_buf *out, size_t *out_compared);

#endif
