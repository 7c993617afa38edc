/* tools/eval.h - `deja eval`: what would the cache have reused, and how much of it wrongly?
 *
 * Each file is a stream of requests in order, one JSON object a line: {"prompt", "answer_class"}.
 * A miss inserts its prompt, a hit reuses the entry it found; a hit is wrong when the classes
 * differ. Exact repeats are hits. Results on stdout, messages on stderr.
 */
#ifndef DJ_TOOLS_EVAL_H
#define DJ_TOOLS_EVAL_H

#include "config/command.h"

extern const struct dj_command dj_eval_command;

/* argv[0] is "eval". Exit codes: 0, 1 (a file or the model cannot be used), 2 (usage). */
int dj_tool_eval(int argc, char *const *argv);

#endif
