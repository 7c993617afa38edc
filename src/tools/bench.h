/* tools/bench.h - `deja bench`: how fast is it on this machine, and did it become slower?
 *
 * Measures in its own process, in memory and in a temporary folder, through the library's calls;
 * with --server also a running daemon over HTTP. Ends within a minute, with --quick within ten
 * seconds, on a machine of any speed: what is short of time does fewer operations. Results on
 * stdout, messages on stderr.
 */
#ifndef DJ_TOOLS_BENCH_H
#define DJ_TOOLS_BENCH_H

#include "config/command.h"

extern const struct dj_command dj_bench_command;

/* argv[0] is "bench". model_dir: where `deja serve` would look for its model; none there: lexical.
 * Returns an enum dj_exit; DJ_EXIT_FAILED: something failed; compare: a regression. */
int dj_tool_bench(const char *model_dir, int argc, char *const *argv);

#endif
