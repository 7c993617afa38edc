/* tools/bench_slow.h - `deja bench slow`: are others served while thousands go slowly?
 *
 * One client of one tenant asks what is in the cache: alone, then beside connections that send a
 * head byte by byte, a body byte by byte, or read nothing of a long answer, first to a server that
 * only reads them (the sink), then to the daemon that is asked; those it closes are opened anew.
 * What counts is the ratio of the latter two p99, so that what making slow clients costs the
 * machine is in both, and that no slow connection outlives its bound. A daemon of its own with its
 * defaults, and a model behind it; both end with the run.
 *
 * Threads: blocks the caller's, and has one of its own for the slow ones; the sink is a process.
 */
#ifndef DJ_TOOLS_BENCH_SLOW_H
#define DJ_TOOLS_BENCH_SLOW_H

#include "tools/bench_internal.h"

struct dj_slow_options {
    uint32_t connections; /* slow ones; 10,000 */
    uint32_t seconds;     /* beside them; 45, so that each bound is reached */
};
extern const struct dj_slow_options dj_slow_options_default;

/* Adds results and checks to bench->report, as dj_bench_load does. */
enum deja_status dj_bench_slow(struct dj_bench *bench,
                               const struct dj_slow_options *options) DEJA_NODISCARD;

#endif
