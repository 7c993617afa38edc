/* cli/cli.h - client commands: put, get, del, explain, stats, over HTTP to a running daemon. */
#ifndef DJ_CLI_CLI_H
#define DJ_CLI_CLI_H

#include <deja/base.h>

/* argv[0] is the command. Results on stdout, messages on stderr. Returns the exit code of
 * DESIGN §9: 0, 1 failure, 2 usage, 3 miss, 69 unreachable, 75 try again, 77 denied. */
int dj_cli_run(int argc, char *const *argv, const char *const *environment);

#endif
