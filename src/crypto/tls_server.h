/* crypto/tls_server.h - what a server needs to speak TLS: its certificates, whom it trusts, and the
 * keys of its session tickets.
 *
 * TLS 1.2 (forward secrecy and AEAD only) or newer, http/1.1 by ALPN, no renegotiation, no
 * compression, no early data. Sessions are resumed by tickets alone, whose keys live in memory and
 * are changed by dj_tls_server_rotate; where clients are asked for certificates nothing is resumed,
 * so that one that is no longer trusted is refused at its next connection.
 *
 * Threads: any. Sessions keep the certificates with which they began, so new ones may be loaded
 * under load; they end before the server does.
 */
#ifndef DJ_CRYPTO_TLS_SERVER_H
#define DJ_CRYPTO_TLS_SERVER_H

#include <deja/base.h>

struct dj_tls_server;

#define DJ_TLS_CERTS_MAX 16u

enum dj_tls_client_auth {
    DJ_TLS_CLIENT_NONE,     /* clients are not asked for certificates */
    DJ_TLS_CLIENT_OPTIONAL, /* asked; a bad one is refused, none is fine */
    DJ_TLS_CLIENT_REQUIRED,
};

/* Everything is borrowed for the call; files are PEM and read now. */
struct dj_tls_server_options {
    const char *const *cert_files; /* with chain; the first is for clients that name no host of */
    const char *const *key_files;  /* the others; one key for each certificate, not encrypted */
    size_t count;                  /* 1 … DJ_TLS_CERTS_MAX */
    const char *client_ca_file;    /* whom clients' certificates must come from; NULL: none */
    enum dj_tls_client_auth client_auth;
    bool is_1_3_only;
};

/* DEJA_ERR_CONFIG (error: which file and why), DEJA_ERR_NOMEM. */
enum deja_status dj_tls_server_create(const struct dj_tls_server_options *options,
                                      struct dj_tls_server **out_server,
                                      struct deja_error *error) DEJA_NODISCARD;
void dj_tls_server_destroy(struct dj_tls_server *server); /* accepts NULL */

/* New sessions have these from now on. Errors as above, and then the old ones stay. */
enum deja_status dj_tls_server_load(struct dj_tls_server *server,
                                    const struct dj_tls_server_options *options,
                                    struct deja_error *error) DEJA_NODISCARD;
/* When that certificate begins and ends to be valid, seconds since 1970. DEJA_ERR_CONFIG (error:
 * which file and why). */
enum deja_status dj_tls_certificate_life(const char *cert_file, int64_t *out_begins_s,
                                         int64_t *out_ends_s,
                                         struct deja_error *error) DEJA_NODISCARD;
/* A new key for tickets; those of the one before are taken still, older ones no more. */
void dj_tls_server_rotate(struct dj_tls_server *server);

#endif
