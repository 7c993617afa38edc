/* tools/erase_tool.h - `deja erase`: the order to a running daemon, and the look afterwards. */
#ifndef DJ_TOOLS_ERASE_TOOL_H
#define DJ_TOOLS_ERASE_TOOL_H

#include "config/command.h"

extern const struct dj_command dj_erase_command;

struct dj_erase_flags {
    const char *tenant;
    const char *user;
    const char *canary_file;
    const char *server;
    const char *key;
    const char *token;
    bool is_agreed;
    bool is_dry_run;
    bool is_verify;
    bool wants_json;
};

struct dj_erase_facts {
    const char *data_dir; /* of this machine */
    const char *server;   /* "http://127.0.0.1:7070"; key and token may be NULL */
    const char *key;
    const char *token;
    const char *ca_file;
};

/* Results on stdout. Returns the exit code: DJ_EXIT_FAILED where something is left,
 * DJ_EXIT_TRY_AGAIN while the erasure is open. */
int dj_erase_run(const struct dj_erase_facts *facts, const struct dj_erase_flags *flags);

#endif
