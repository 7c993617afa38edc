/* daemon/commands.h - every command of the program, in the order of the help.
 *
 * The parts list: cli and tools declare theirs, the rest is declared in commands.c; main.c says who
 * runs which. Threads: constant tables.
 */
#ifndef DJ_DAEMON_COMMANDS_H
#define DJ_DAEMON_COMMANDS_H

#include "config/command.h"

#define DJ_PARTS_MAX 48u

struct dj_serve_flags {
    bool is_check_only;
};

struct dj_demo_flags {
    bool wants_json, is_plain, has_no_color;
};

extern const struct dj_command dj_demo_command;  /* parsed into struct dj_demo_flags */
extern const struct dj_command dj_serve_command; /* parsed into struct dj_serve_flags */
extern const struct dj_command dj_completions_command;
extern const struct dj_command dj_version_command;
extern const struct dj_command dj_help_command;
extern const struct dj_command dj_manual_command; /* hidden: man pages, for the build */

struct dj_parts {
    const struct dj_command *commands[DJ_PARTS_MAX];
    struct dj_manual manual; /* of those; do not copy */
};
void dj_parts_collect(struct dj_parts *parts);

/* What deja alone prints: what it is, examples, the commands. */
void dj_parts_overview(const struct dj_manual *manual, struct dj_buf *out);

#endif
