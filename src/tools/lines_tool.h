/* tools/lines_tool.h - `deja export` and `deja import` over a daemon: lines of JSON out, and lines,
 * a GPTCache or a Redis in. Bounded memory; with --resume they go on where they were stopped.
 */
#ifndef DJ_TOOLS_LINES_TOOL_H
#define DJ_TOOLS_LINES_TOOL_H

#include "config/command.h"

extern const struct dj_command dj_export_command;
extern const struct dj_command dj_import_command;

struct dj_lines_flags {
    const char *server, *key, *token, *tenant;
    const char *resume; /* the state's file */
    const char *format;
    bool has_vectors;
    bool skips_bad;
    bool is_offline;
    bool wants_json;
};

struct dj_lines_facts {
    const char *server; /* "http://127.0.0.1:7070"; the next may be NULL */
    const char *key;
    const char *token;
    const char *ca_file;
    bool is_named; /* somebody said which server */
};

/* argv: after the command's name. False: told on stderr, *out_code is the exit code. *out_file: the
 * word. */
bool dj_lines_parse(const struct dj_command *command, int argc, char *const *argv,
                    struct dj_lines_flags *out_flags, const char **out_file, int *out_code);
/* Return the exit code; 1: some were not brought over. */
int dj_export_run(const struct dj_lines_facts *facts, const struct dj_lines_flags *flags,
                  const char *file);
int dj_import_run(const struct dj_lines_facts *facts, const struct dj_lines_flags *flags,
                  const char *file);

#endif
