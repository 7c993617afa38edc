/* cli/cli_internal.h - what the client commands share: the session, the call, the tables. */
#ifndef DJ_CLI_CLI_INTERNAL_H
#define DJ_CLI_CLI_INTERNAL_H

#include "config/command.h"
#include "net/client.h"
#include "net/tenant_name.h"
#include "proto/json.h"

#define DJ_CLI_PATH_MAX 8000u

/* One command line: what the rows of commands.c were filled with, and the server it goes to. */
struct dj_session {
    const struct dj_command *command;
    const char *const *environment;
    struct dj_client client;
    char server[512];
    char tenant_id[37]; /* of --tenant */
    struct dj_words words;
    bool has_color; /* stdout takes colours */
    bool wants_json, is_plain, has_no_color;
    const char *flag_server, *flag_key, *user;
    const char *ttl, *threshold, *name_space, *query, *request, *api;
    struct dj_arg_values tags, depends;
    const char *kind, *version; /* of a plain key */
    bool is_if_absent;
    const char *key, *tag, *older_than, *reason; /* selectors */
    const char *pattern, *event, *cascade, *at, *after, *cron;
    struct dj_arg_values fields; /* of the event: NAME=VALUE */
    bool is_cascade;
    bool is_all, is_dry_run, is_agreed, is_data, has_lost_master;
    const char *limit, *order, *period;
    bool is_once;
    bool is_void; /* tail: of what is made void */
    const char *tenant, *bytes, *token;
    const char *id, *name, *inherits, *file, *credential; /* tenants */
    bool is_replacement;
    const char *budget_requests, *budget_usd, *model; /* warm, as are the next */
    struct dj_arg_values sources, patterns;
    bool is_predict;
    struct dj_arg_values roles; /* keys, as are the next */
    const char *expires, *rate, *burst, *certificate, *overlap, *scheme;
};

/* One call. *out_doc (NULL for an empty answer): the caller's. Returns an exit code; problems are
 * told on stderr. With --json the body goes to stdout as it came unless is_quiet. */
int dj_session_call(const struct dj_session *session, const char *method, const char *path,
                    struct deja_slice body, bool is_quiet, struct dj_json_doc **out_doc);
/* The same for an answer of any bytes and any HTTP status; the code tells only whether one came.
 * *out_answer: the caller's, ended with dj_client_answer_fini whatever the code. */
int dj_session_fetch(const struct dj_session *session, const char *method, const char *path,
                     struct deja_slice body, struct dj_client_answer *out_answer);
/* A status that is not 2xx and its problem document (NULL: there is none), told on stderr in the
 * words of the command line: the one table of exit codes for all commands. A field that was a flag
 * of the command is wrong use. */
int dj_session_report(const struct dj_session *session, int http_status,
                      const struct dj_json *problem);
int dj_session_misused(const struct dj_session *session, const char *message);
/* " Go on? [y/N] " behind what the caller wrote on stderr; false: told that nothing was removed. */
bool dj_session_is_agreed(void);

/* "name": "text", unless text is NULL. */
void dj_session_put_member(struct dj_json_writer *w, const char *name, const char *text);
/* Whole milliseconds of a --ttl or --older-than; false: told on stderr. */
bool dj_session_duration(const struct dj_session *session, const char *flag, const char *text,
                         uint64_t *out_ms);
/* --limit as a number from 1 to max; absent: fallback. False: told on stderr. */
bool dj_session_limit(const struct dj_session *session, uint64_t fallback, uint64_t max,
                      uint64_t *out_limit);
/* "2.3 KiB" on stdout. */
void dj_session_write_bytes(double bytes);
/* --token, else $DEJA_TOKEN, goes with the session's calls. */
void dj_session_take_token(struct dj_session *session);
/* The whole of a file, or of stdin for "-"; failures are told on stderr. */
enum deja_status dj_read_input(const char *path, struct dj_buf *out) DEJA_NODISCARD;

/* Each takes a parsed session and returns an exit code. */
int dj_cli_put(struct dj_session *session);           /* entries.c */
int dj_cli_get(struct dj_session *session);           /* entries.c */
int dj_cli_del(struct dj_session *session);           /* entries.c */
int dj_cli_explain(struct dj_session *session);       /* explain.c */
int dj_cli_invalidate(struct dj_session *session);    /* invalidate.c */
int dj_cli_flush(struct dj_session *session);         /* invalidate.c */
int dj_cli_schedule(struct dj_session *session);      /* schedule.c */
int dj_cli_invalidations(struct dj_session *session); /* schedule.c */
int dj_cli_feedback(struct dj_session *session);      /* explain.c */
int dj_cli_stats(struct dj_session *session);         /* watch.c */
int dj_cli_top(struct dj_session *session);           /* watch.c */
int dj_cli_tail(struct dj_session *session);          /* watch.c */
int dj_cli_evict(struct dj_session *session);         /* upkeep.c */
int dj_cli_index(struct dj_session *session);         /* upkeep.c */
int dj_cli_tenant(struct dj_session *session);        /* tenant.c */
int dj_cli_encryption(struct dj_session *session);    /* encryption.c, as is the next */
int dj_cli_rotate_data_keys(struct dj_session *session);
int dj_cli_key(struct dj_session *session);   /* key.c */
int dj_cli_kinds(struct dj_session *session); /* kinds.c, as are the next */
int dj_cli_patterns(struct dj_session *session);
int dj_cli_key_name(struct dj_session *session);
int dj_cli_warm(struct dj_session *session); /* warm.c */
int dj_cli_kv(struct dj_session *session);   /* kv.c */

/* tenant.c: the id of a tenant that is named by it or by its name; an exit code. */
int dj_cli_find_tenant(struct dj_session *session, const char *text,
                       char out_id[DJ_TENANT_NAME_ID_BYTES]);

struct dj_cli_command {
    struct dj_command about;
    int (*run)(struct dj_session *session);
};
extern const struct dj_cli_command dj_cli_table[]; /* commands.c */
extern const size_t dj_cli_count;

#endif
