/* crypto/tls.c - see tls.h. Trust: certificates of the peer are OpenSSL's to judge. */
#include "crypto/tls.h"

#include <arpa/inet.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/alloc.h"
#include "crypto/tls_internal.h"

struct dj_tls_client {
    SSL_CTX *context;
    char *server_name; /* NULL: the host */
};

const char *dj_tls_last_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason ? reason : "it cannot be read";
}

/* A key under a passphrase is refused instead of asking the terminal for it. */
static int on_passphrase(char *buffer, int cap, int is_writing, void *ctx)
{
    (void)buffer;
    (void)cap;
    (void)is_writing;
    (void)ctx;
    return -1;
}

enum deja_status dj_tls_use_pair(SSL_CTX *context, const char *cert_file, const char *key_file,
                                 struct deja_error *error)
{
    SSL_CTX_set_default_passwd_cb(context, on_passphrase);
    if (SSL_CTX_use_certificate_chain_file(context, cert_file) != 1)
        return deja_error_set(error, DEJA_ERR_CONFIG, "%s: %s; a PEM certificate is needed",
                              cert_file, dj_tls_last_reason());
    if (SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "%s: %s; the certificate's PEM key without a passphrase is needed",
                              key_file, dj_tls_last_reason());
    return DEJA_OK;
}

static enum deja_status load_files(SSL_CTX *context, const struct dj_tls_client_options *options,
                                   struct deja_error *error)
{
    if (!options->ca_file) {
        if (SSL_CTX_set_default_verify_paths(context) != 1)
            return deja_error_set(error, DEJA_ERR_CONFIG, "the system's certificates: %s",
                                  dj_tls_last_reason());
    } else if (SSL_CTX_load_verify_locations(context, options->ca_file, NULL) != 1) {
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "%s: %s; a PEM file of the authority's certificate is needed",
                              options->ca_file, dj_tls_last_reason());
    }
    if (!options->cert_file != !options->key_file)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "a client certificate needs both its file and its key's");
    if (!options->cert_file)
        return DEJA_OK;
    return dj_tls_use_pair(context, options->cert_file, options->key_file, error);
}

enum deja_status dj_tls_client_create(const struct dj_tls_client_options *options,
                                      struct dj_tls_client **out_client, struct deja_error *error)
{
    struct dj_tls_client *client = dj_alloc_zeroed(1, sizeof *client);
    if (!client)
        return DEJA_ERR_NOMEM;
    enum deja_status status = DEJA_ERR_NOMEM;
    client->context = SSL_CTX_new(TLS_client_method());
    if (!client->context || SSL_CTX_set_min_proto_version(client->context, TLS1_2_VERSION) != 1)
        goto failed;
    SSL_CTX_set_verify(client->context, SSL_VERIFY_PEER, NULL);
    if (options->server_name) {
        client->server_name = dj_strdup(deja_slice_text(options->server_name));
        if (!client->server_name)
            goto failed;
    }
    status = load_files(client->context, options, error);
    if (status != DEJA_OK)
        goto failed;
    *out_client = client;
    return DEJA_OK;
failed:
    dj_tls_client_destroy(client);
    return status;
}

void dj_tls_client_destroy(struct dj_tls_client *client)
{
    if (!client)
        return;
    SSL_CTX_free(client->context);
    dj_free(client->server_name);
    dj_free(client);
}

static bool is_address(const char *host)
{
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

struct ssl_st *dj_tls_session_create(struct dj_tls_client *client, const char *host)
{
    const char *name = client->server_name ? client->server_name : host;
    SSL *session = SSL_new(client->context);
    if (!session)
        return NULL;
    bool is_set =
        is_address(name)
            ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), name) == 1
            : SSL_set1_host(session, name) == 1 && SSL_set_tlsext_host_name(session, name) == 1;
    if (!is_set) {
        SSL_free(session);
        return NULL;
    }
    return session;
}

void dj_tls_session_destroy(struct ssl_st *session)
{
    SSL_free(session);
}

const char *dj_tls_session_doubt(const struct ssl_st *session)
{
    long result = SSL_get_verify_result(session);
    return result == X509_V_OK ? NULL : X509_verify_cert_error_string(result);
}
