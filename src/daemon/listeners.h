/* daemon/listeners.h - the sockets clients come to: which there are, their TLS, and what each
 * serves. Threads: as said. */
#ifndef DJ_DAEMON_LISTENERS_H
#define DJ_DAEMON_LISTENERS_H

#include "crypto/tls_server.h"
#include "daemon/settings.h"

struct dj_daemon;

/* Where root will become server.user: the sockets that only root may bind. First of all. */
enum deja_status dj_listeners_bind(struct dj_daemon *daemon,
                                   struct deja_error *error) DEJA_NODISCARD;
/* Certificates of server.listen and admin.listen, where TLS is wanted, and the table of client
 * addresses. At start; DEJA_ERR_CONFIG, DEJA_ERR_NOMEM. */
enum deja_status dj_listeners_make(struct dj_daemon *daemon,
                                   struct deja_error *error) DEJA_NODISCARD;
/* All servers of all loops; before these run. */
enum deja_status dj_listeners_open(struct dj_daemon *daemon,
                                   struct deja_error *error) DEJA_NODISCARD;
/* The socket an address is served on: one that the service manager has bound, or one that all loops
 * share (*shared_fd, made by the first where it is a Unix socket). *out_fd < 0: each loop has its
 * own. DEJA_ERR_BUSY: somebody else listens there. */
enum deja_status dj_listeners_socket(const struct dj_settings_address *address, int *shared_fd,
                                     bool is_first, int *out_fd,
                                     struct deja_error *error) DEJA_NODISCARD;
/* Files of these settings are read anew; on failure what was in force stays, of one pair of
 * sections at least. Loop 0. */
enum deja_status dj_listeners_reload(struct dj_daemon *daemon, const struct dj_settings *settings,
                                     struct deja_error *error) DEJA_NODISCARD;
/* Loop 0, before it ends. */
void dj_listeners_stop(struct dj_daemon *daemon);
/* After the loops have ended; half-made is fine. */
void dj_listeners_fini(struct dj_daemon *daemon);
/* Borrows from tls. */
struct dj_tls_server_options dj_listeners_tls(const struct dj_settings_tls *tls);
/* Does any address of these settings serve operations and administration? */
bool dj_listeners_has_operations(const struct dj_settings *settings);
/* What a client types to reach that address: "https://127.0.0.1:7070", "unix:/run/deja/admin". */
void dj_listeners_url(const struct dj_settings_address *address, uint16_t port, char *out_text,
                      size_t cap);

#endif
