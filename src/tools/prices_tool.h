/* tools/prices_tool.h - `deja prices`: what models cost, and which row says so. */
#ifndef DJ_TOOLS_PRICES_TOOL_H
#define DJ_TOOLS_PRICES_TOOL_H

#include "config/command.h"
#include "policy/prices.h"

extern const struct dj_command dj_prices_command;

/* Tables as they are asked, borrowed. */
struct dj_prices_tool {
    const struct dj_prices *own; /* of prices.file; NULL: none */
    const char *own_name;
    const struct dj_prices *shipped;
};
/* argv: after "prices". Results on stdout; the exit code: 3 where a model is named that no row
 * speaks of. */
int dj_prices_tool_run(const struct dj_prices_tool *tool, int argc, char *const *argv);

#endif
