/* crypto/tls_internal.h - what the files about TLS share. */
#ifndef DJ_CRYPTO_TLS_INTERNAL_H
#define DJ_CRYPTO_TLS_INTERNAL_H

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "crypto/tls_server.h"

/* Certificates that were loaded together. */
struct dj_tls_bundle;

/* The innermost reason OpenSSL has noted; forgets the rest. */
const char *dj_tls_last_reason(void);
/* A certificate with its chain and its key become the context's. DEJA_ERR_CONFIG. */
enum deja_status dj_tls_use_pair(SSL_CTX *context, const char *cert_file, const char *key_file,
                                 struct deja_error *error) DEJA_NODISCARD;

/* The one in force, counted. */
struct dj_tls_bundle *dj_tls_bundle_acquire(struct dj_tls_server *server);
void dj_tls_bundle_release(struct dj_tls_bundle *bundle); /* accepts NULL */
SSL_CTX *dj_tls_bundle_first(const struct dj_tls_bundle *bundle);
/* The one for that host name, or the first. */
SSL_CTX *dj_tls_bundle_find(const struct dj_tls_bundle *bundle, const char *name);
BIO_METHOD *dj_tls_server_bio(const struct dj_tls_server *server);

/* How OpenSSL reaches a session's bytes, and by which host name it chooses. */
BIO_METHOD *dj_tls_wire_bio_method(void); /* the caller's; NULL: out of memory */
struct dj_tls_bundle *dj_tls_wire_bundle(SSL *ssl);

#endif
