/* daemon/directory.h - the tenants that administrators made, in the running daemon: read at the
 * start, and kept as new as the authority knows them.
 *
 * poll: loop 0, once a second; what it starts runs on a worker, one at a time.
 */
#ifndef DJ_DAEMON_DIRECTORY_H
#define DJ_DAEMON_DIRECTORY_H

#include <deja/base.h>

struct dj_daemon;

/* Blocking; after authority and log. What cannot be read now is read later: told in the log. */
enum deja_status dj_daemon_make_directory(struct dj_daemon *daemon) DEJA_NODISCARD;
void dj_daemon_poll_directory(struct dj_daemon *daemon);
/* After the workers have ended. */
void dj_daemon_end_directory(struct dj_daemon *daemon);

#endif
