/* cli/cli.h - client commands over HTTP to a running daemon: put, get, del, explain, feedback,
 * invalidate, flush, stats, top, tail. */
#ifndef DJ_CLI_CLI_H
#define DJ_CLI_CLI_H

#include <deja/base.h>

#include "config/command.h"

/* argv[0] is the command. Results on stdout, messages on stderr. Returns one of enum dj_exit. */
int dj_cli_run(int argc, char *const *argv, const char *const *environment);

/* The commands in the order of the help; NULL behind the last. */
const struct dj_command *dj_cli_command_at(size_t index);

#endif
