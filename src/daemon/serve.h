/* daemon/serve.h - composition: builds the rooms from settings, runs them, takes them down. */
#ifndef DJ_DAEMON_SERVE_H
#define DJ_DAEMON_SERVE_H

#include "daemon/settings.h"

/* Runs until SIGTERM or SIGINT and returns the exit code of DESIGN §9. settings and the options
 * behind them are borrowed until it returns; source is what they were loaded from, for SIGHUP. */
int dj_daemon_serve(const struct dj_settings *settings, const struct dj_options *options,
                    const struct dj_settings_source *source);

#endif
