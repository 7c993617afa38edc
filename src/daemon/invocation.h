/* daemon/invocation.h - a command line, once the flags that belong to settings were taken out. */
#ifndef DJ_DAEMON_INVOCATION_H
#define DJ_DAEMON_INVOCATION_H

#include "daemon/settings.h"

#define DJ_FLAGS_MAX 128u

struct invocation {
    const char *config_path;
    struct dj_flag flags[DJ_FLAGS_MAX];
    size_t flag_count;
    char *names[DJ_FLAGS_MAX]; /* owned: the KEY of --set KEY=VALUE */
    size_t name_count;
    int argc;
    char **argv; /* owned array of borrowed texts */
};

/* Takes what belongs to settings and leaves the rest in argv. 0, or an exit code: it was told. */
int invocation_take(struct invocation *invocation, int argc, char **argv);
void invocation_fini(struct invocation *invocation);
/* Says so on stderr; the exit code for it. command may be NULL. */
int invocation_misused(const char *command, const char *what, const char *text);

/* Borrows from the invocation. */
struct dj_settings_source invocation_source(const struct invocation *invocation);
void invocation_tell(const struct dj_diagnostics *diagnostics); /* on stderr */
/* The settings of a command that needs nothing else of them; what is wrong was told on stderr. They
 * are to be finished, also when it says false. */
bool invocation_load(const struct invocation *invocation, struct dj_settings *out_settings);

/* NULL: neither a flag nor the environment names it. */
const char *invocation_named(const char *flag, const char *variable);
/* The server that was named, else the first that the settings listen on, without trailing "/":
 * every address is answered on the loopback one too. */
void invocation_server(const char *name, const struct dj_settings *settings, char out_url[512]);

/* daemon/doctor_command.c: deja doctor. */
int invocation_run_doctor(struct invocation *invocation);

#endif
