/* daemon/keys.h - API keys and held upstream credentials in the running daemon: read at the start,
 * and told of every change.
 */
#ifndef DJ_DAEMON_KEYS_H
#define DJ_DAEMON_KEYS_H

#include <deja/base.h>

struct dj_daemon;

/* Blocking; after the authority, and while daemon->secret is there. What cannot be read now is read
 * later, and until then no key is right: told in the log. */
enum deja_status dj_daemon_make_keys(struct dj_daemon *daemon) DEJA_NODISCARD;
/* On a worker, after the authority was heard in full. */
void dj_daemon_heard_keys(struct dj_daemon *daemon, int64_t now_ms);
/* A listener that strangers reach is only opened where somebody may be let in: there is a key, or
 * an admin token that was chosen. */
enum deja_status dj_daemon_check_keys(const struct dj_daemon *daemon,
                                      struct deja_error *error) DEJA_NODISCARD;
/* After the workers have ended. */
void dj_daemon_end_keys(struct dj_daemon *daemon);

#endif
