/* tools/config_tool.h - `deja config check|print|describe`.
 *
 * The table and its values come from daemon, which alone knows them.
 */
#ifndef DJ_TOOLS_CONFIG_TOOL_H
#define DJ_TOOLS_CONFIG_TOOL_H

#include <stdio.h>

#include "config/command.h"

extern const struct dj_command dj_config_command;

struct dj_config_tool {
    const struct dj_option *table; /* borrowed throughout */
    size_t count;
    const struct dj_options *options;         /* NULL: the configuration has errors */
    const struct dj_diagnostics *diagnostics; /* what loading said */
};

/* words: after "config". Results on out, what loading said on
 * errors. Returns the exit code. */
int dj_config_tool_run(const struct dj_config_tool *tool, int argc, char *const *argv, FILE *out,
                       FILE *errors);

#endif
