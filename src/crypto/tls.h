/* crypto/tls.h - what a client needs to speak TLS through a library that takes OpenSSL's sessions.
 *
 * TLS 1.2 or newer; the peer's certificate and its name are always checked. Threads: a client may
 * make sessions on any thread; a session is its connection's.
 */
#ifndef DJ_CRYPTO_TLS_H
#define DJ_CRYPTO_TLS_H

#include <deja/base.h>

struct dj_tls_client; /* any thread, immutable */
struct ssl_st;        /* OpenSSL's SSL */

struct dj_tls_client_options {
    const char *ca_file;     /* PEM; NULL: the system's */
    const char *cert_file;   /* PEM, with chain; NULL: no certificate of our own */
    const char *key_file;    /* PEM; with cert_file */
    const char *server_name; /* asked for and checked; NULL: the host that is connected to */
};

/* Files are read now. DEJA_ERR_CONFIG (error: which file and why), DEJA_ERR_NOMEM. */
enum deja_status dj_tls_client_create(const struct dj_tls_client_options *options,
                                      struct dj_tls_client **out_client,
                                      struct deja_error *error) DEJA_NODISCARD;
void dj_tls_client_destroy(struct dj_tls_client *client); /* accepts NULL */

/* A session for one connection to host (a name or a numeric address). The caller's, ended with
 * dj_tls_session_destroy unless a library has taken it. NULL: out of memory. */
struct ssl_st *dj_tls_session_create(struct dj_tls_client *client, const char *host) DEJA_NODISCARD;
void dj_tls_session_destroy(struct ssl_st *session); /* accepts NULL */
/* Why the peer's certificate was not accepted; NULL: it was, or none came yet. Constant text. */
const char *dj_tls_session_doubt(const struct ssl_st *session);

#endif
