/* tools/bench.h - `deja bench`: how fast is it on this machine, and did it become slower?
 *
 * Measures in its own process, in memory and in a temporary folder, through the library's calls;
 * with --server also a running daemon over HTTP. Ends within a minute, with --quick within ten
 * seconds, on a machine of any speed: what is short of time does fewer operations. Results on
 * stdout, messages on stderr.
 */
#ifndef DJ_TOOLS_BENCH_H
#define DJ_TOOLS_BENCH_H

/* argv[0] is "bench". model_dir: where `deja serve` would look for its model; none there: lexical.
 * Exit codes: 0; 1 (something failed; compare: a regression); 2 (usage); 69 and 77 (--server is
 * not there, refuses). */
int dj_tool_bench(const char *model_dir, int argc, char *const *argv);

#endif
