/* daemon/serve.h - composition: builds the rooms from settings, runs them, takes them down. */
#ifndef DJ_DAEMON_SERVE_H
#define DJ_DAEMON_SERVE_H

#include "daemon/settings.h"

struct dj_daemon; /* valid from on_ready until on_stopping */

/* For a command that runs a daemon inside itself, which then prints neither welcome nor summary.
 * Both run on the thread that serves, once each, on_stopping only after on_ready. */
struct dj_serve_hooks {
    const char *command; /* its name: a start that fails is told in it */
    void *ctx;
    /* The listeners are open; requests are answered when this has returned. port: the first's. */
    void (*on_ready)(void *ctx, struct dj_daemon *daemon, uint16_t port);
    void (*on_stopping)(void *ctx); /* asked by a signal or dj_daemon_stop: see there */
};

/* Drains and ends the daemon, as SIGTERM does. Any thread; at most once. The caller makes sure that
 * on_stopping has not returned yet, by a lock that on_stopping takes too. */
void dj_daemon_stop(struct dj_daemon *daemon);

/* Runs until SIGTERM or SIGINT (or dj_daemon_stop) and returns the exit code of DESIGN §9. settings
 * and the options behind them are borrowed until it returns; source is what they were loaded from,
 * for SIGHUP. hooks: NULL for a process that is nothing but the daemon; borrowed likewise. */
int dj_daemon_serve(const struct dj_settings *settings, const struct dj_options *options,
                    const struct dj_settings_source *source, const struct dj_serve_hooks *hooks);

#endif
