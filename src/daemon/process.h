/* daemon/process.h - what the process may do, given up before it touches anything secret: no memory
 * on disk, no debugger, no new privileges, and root's rights where it was started with them.
 *
 * Threads: before any is started. */
#ifndef DJ_DAEMON_PROCESS_H
#define DJ_DAEMON_PROCESS_H

#include "daemon/settings.h"

/* Sockets that only root may bind are bound by now. DEJA_ERR_CONFIG: server.user is not known, or
 * we may not become it. */
enum deja_status dj_process_begin(const struct dj_settings_process *settings,
                                  struct deja_error *error) DEJA_NODISCARD;

#endif
