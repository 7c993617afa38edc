/* tools/transfer_tool.h - `deja backup`, `restore`, `verify`, `migrate-data`: the order to a
 * daemon, how far it is, and what came of it. Offline the daemon is one that the command runs
 * itself.
 */
#ifndef DJ_TOOLS_TRANSFER_TOOL_H
#define DJ_TOOLS_TRANSFER_TOOL_H

#include "config/command.h"

extern const struct dj_command dj_backup_command;
extern const struct dj_command dj_restore_command;
extern const struct dj_command dj_verify_command;
extern const struct dj_command dj_migrate_data_command;

/* Filled by the rows of any of the four. */
struct dj_transfer_flags {
    const char *server, *key, *token;
    const char *tenant;
    const char *from, *to;
    const char *name; /* of a migration, as are the next */
    const char *confirm, *rollback;
    bool is_offline;
    bool has_config;
    bool is_merge;
    bool is_check;
    bool is_forced;
    bool wants_json;
};

/* What the words and flags ask for, or what is wrong with them. */
struct dj_transfer_request {
    const struct dj_command *command; /* what is ordered */
    const char *name;                 /* of the command that was called: "export" is a backup */
    struct dj_transfer_flags flags;
    const char *file; /* as it was given; NULL: none */
};

/* argv: after the command's name. False: told on stderr, *out_code is the exit code. */
bool dj_transfer_parse(const struct dj_command *command, int argc, char *const *argv,
                       struct dj_transfer_request *out_request, int *out_code);

/* The folder of a file that the daemon is to write or read, absolute: the caller's; NULL: there is
 * no file, or it lies in a bucket, or there is no memory. */
char *dj_transfer_folder(const struct dj_transfer_request *request);

struct dj_transfer_facts {
    const char *server; /* "http://127.0.0.1:7070"; key and token may be NULL */
    const char *key;
    const char *token;
    const char *ca_file;
    bool is_named; /* somebody said which server */
};
/* Results on stdout, progress on a terminal's stderr. Returns the exit code: 1 where something is
 * missing, differs, is damaged or was not kept. */
int dj_transfer_tool_run(const struct dj_transfer_facts *facts,
                         const struct dj_transfer_request *request);

#endif
