/* crypto/tls_server.c - see tls_server.h.
 *
 *   server ── current ──▶ bundle (counted): one context for each certificate
 *     │                      ▲
 *     └─ ticket keys         └── each wire holds the one it began with
 *
 * (1) The lock covers `current` and the ticket keys. It is taken once for a handshake and once for
 *     a ticket, never around OpenSSL's own work.
 *
 * Trust: the files are the operator's; host names are strangers' and only compared.
 */
#include "crypto/tls_server.h"

#include <pthread.h>
#include <stdatomic.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/alloc.h"
#include "crypto/digest.h"
#include "crypto/tls_internal.h"

enum {
    TICKET_NAME_BYTES = 16,
    TICKET_LIFE_S = 7200,
    PEER_CERTS_BYTES_MAX = 32 * 1024,
};

#define CIPHERS_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"

struct dj_tls_bundle {
    _Atomic uint32_t refs;
    size_t count;
    SSL_CTX *contexts[DJ_TLS_CERTS_MAX];
};

struct ticket_key {
    uint8_t name[TICKET_NAME_BYTES];
    uint8_t cipher[32];
    uint8_t mac[32];
};

struct dj_tls_server {
    pthread_mutex_t lock;
    struct dj_tls_bundle *current;
    struct ticket_key keys[2]; /* for new tickets, and the one before */
    BIO_METHOD *bio;
};

/* ---- tickets ---- */

/* false: no key has that name. out_is_new: it is the one for new tickets. */
static bool find_key(struct dj_tls_server *server, const uint8_t name[TICKET_NAME_BYTES],
                     struct ticket_key *out_key, bool *out_is_new)
{
    bool is_found = false;
    pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < 2 && !is_found; i++)
        if (!name || memcmp(server->keys[i].name, name, TICKET_NAME_BYTES) == 0) {
            *out_key = server->keys[i];
            *out_is_new = i == 0;
            is_found = true;
        }
    pthread_mutex_unlock(&server->lock);
    return is_found;
}

static bool set_mac(EVP_MAC_CTX *mac, struct ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* OpenSSL's question; its answers: 0 no such key, 1 ready, 2 ready and a new ticket is due, < 0. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int is_new)
{
    struct dj_tls_server *server = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct ticket_key key;
    bool is_newest = false;
    if (!find_key(server, is_new ? NULL : name, &key, &is_newest))
        return 0;
    if (is_new) {
        memcpy(name, key.name, sizeof key.name);
        dj_random_bytes(iv, (size_t)EVP_CIPHER_get_iv_length(EVP_aes_256_cbc()));
    }
    bool is_ready = set_mac(mac, &key) && EVP_CipherInit_ex2(cipher, EVP_aes_256_cbc(), key.cipher,
                                                             iv, is_new, NULL) == 1;
    dj_wipe(&key, sizeof key);
    if (!is_ready)
        return -1;
    return is_newest ? 1 : 2;
}

void dj_tls_server_rotate(struct dj_tls_server *server)
{
    struct ticket_key fresh;
    dj_random_bytes(&fresh, sizeof fresh);
    pthread_mutex_lock(&server->lock);
    server->keys[1] = server->keys[0];
    server->keys[0] = fresh;
    pthread_mutex_unlock(&server->lock);
    dj_wipe(&fresh, sizeof fresh);
}

/* ---- contexts ---- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *offered, unsigned int offered_len, void *ctx)
{
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl;
    (void)ctx;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int on_server_name(SSL *ssl, int *out_alert, void *ctx)
{
    (void)out_alert;
    (void)ctx;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    SSL_CTX *context = name ? dj_tls_bundle_find(dj_tls_wire_bundle(ssl), name) : NULL;
    if (context && context != SSL_get_SSL_CTX(ssl))
        SSL_set_SSL_CTX(ssl, context);
    return name ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

static enum deja_status trust_clients(SSL_CTX *context, const struct dj_tls_server_options *options,
                                      struct deja_error *error)
{
    if (options->client_auth == DJ_TLS_CLIENT_NONE)
        return DEJA_OK;
    if (!options->client_ca_file)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "clients' certificates need a file of the authority they come from");
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(options->client_ca_file);
    if (!names || SSL_CTX_load_verify_locations(context, options->client_ca_file, NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "%s: %s; a PEM file of the authority's certificate is needed",
                              options->client_ca_file, dj_tls_last_reason());
    }
    SSL_CTX_set_client_CA_list(context, names); /* taken */
    int mode = SSL_VERIFY_PEER;
    if (options->client_auth == DJ_TLS_CLIENT_REQUIRED)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(context, mode, NULL);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    return SSL_CTX_set_num_tickets(context, 0) == 1 ? DEJA_OK : DEJA_ERR_NOMEM;
}

static bool set_up_context(struct dj_tls_server *server, SSL_CTX *context,
                           const struct dj_tls_server_options *options)
{
    static const unsigned char id[] = "deja";
    int oldest = options->is_1_3_only ? TLS1_3_VERSION : TLS1_2_VERSION;
    SSL_CTX_set_app_data(context, server);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(context, TICKET_LIFE_S);
    SSL_CTX_set_max_cert_list(context, PEER_CERTS_BYTES_MAX);
    SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
    SSL_CTX_set_tlsext_servername_callback(context, on_server_name);
    return SSL_CTX_set_min_proto_version(context, oldest) == 1 &&
           SSL_CTX_set_cipher_list(context, CIPHERS_1_2) == 1 &&
           SSL_CTX_set_session_id_context(context, id, sizeof id - 1) == 1 &&
           SSL_CTX_set_num_tickets(context, 1) == 1 &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket) == 1;
}

/* ---- bundles ---- */

void dj_tls_bundle_release(struct dj_tls_bundle *bundle)
{
    if (!bundle || atomic_fetch_sub(&bundle->refs, 1) != 1)
        return;
    for (size_t i = 0; i < bundle->count; i++)
        SSL_CTX_free(bundle->contexts[i]);
    dj_free(bundle);
}

struct dj_tls_bundle *dj_tls_bundle_acquire(struct dj_tls_server *server)
{
    pthread_mutex_lock(&server->lock);
    struct dj_tls_bundle *bundle = server->current;
    atomic_fetch_add(&bundle->refs, 1);
    pthread_mutex_unlock(&server->lock);
    return bundle;
}

SSL_CTX *dj_tls_bundle_first(const struct dj_tls_bundle *bundle)
{
    return bundle->contexts[0];
}

SSL_CTX *dj_tls_bundle_find(const struct dj_tls_bundle *bundle, const char *name)
{
    for (size_t i = 0; i < bundle->count; i++)
        if (X509_check_host(SSL_CTX_get0_certificate(bundle->contexts[i]), name, 0, 0, NULL) == 1)
            return bundle->contexts[i];
    return bundle->contexts[0];
}

static enum deja_status load_bundle(struct dj_tls_server *server,
                                    const struct dj_tls_server_options *options,
                                    struct dj_tls_bundle **out_bundle, struct deja_error *error)
{
    if (options->count == 0 || options->count > DJ_TLS_CERTS_MAX)
        return deja_error_set(error, DEJA_ERR_CONFIG, "1 to %u certificates are needed, not %zu",
                              DJ_TLS_CERTS_MAX, options->count);
    struct dj_tls_bundle *bundle = dj_alloc_zeroed(1, sizeof *bundle);
    enum deja_status status = bundle ? DEJA_OK : DEJA_ERR_NOMEM;
    if (bundle)
        atomic_init(&bundle->refs, 1);
    for (size_t i = 0; i < options->count && status == DEJA_OK; i++) {
        SSL_CTX *context = SSL_CTX_new(TLS_server_method());
        if (!context) {
            status = DEJA_ERR_NOMEM;
            break;
        }
        bundle->contexts[bundle->count++] = context;
        status = set_up_context(server, context, options) ? DEJA_OK : DEJA_ERR_NOMEM;
        if (status == DEJA_OK)
            status = dj_tls_use_pair(context, options->cert_files[i], options->key_files[i], error);
        if (status == DEJA_OK)
            status = trust_clients(context, options, error);
    }
    if (status == DEJA_OK)
        *out_bundle = bundle;
    else
        dj_tls_bundle_release(bundle);
    ERR_clear_error();
    return status;
}

/* ---- the server ---- */

BIO_METHOD *dj_tls_server_bio(const struct dj_tls_server *server)
{
    return server->bio;
}

enum deja_status dj_tls_server_create(const struct dj_tls_server_options *options,
                                      struct dj_tls_server **out_server, struct deja_error *error)
{
    struct dj_tls_server *server = dj_alloc_zeroed(1, sizeof *server);
    if (!server)
        return DEJA_ERR_NOMEM;
    pthread_mutex_init(&server->lock, NULL); /* cannot fail on Linux */
    server->bio = dj_tls_wire_bio_method();
    enum deja_status status = server->bio ? DEJA_OK : DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        status = load_bundle(server, options, &server->current, error);
    if (status != DEJA_OK) {
        dj_tls_server_destroy(server);
        return status;
    }
    dj_tls_server_rotate(server);
    dj_tls_server_rotate(server); /* no key is left zero */
    *out_server = server;
    return DEJA_OK;
}

enum deja_status dj_tls_server_load(struct dj_tls_server *server,
                                    const struct dj_tls_server_options *options,
                                    struct deja_error *error)
{
    struct dj_tls_bundle *fresh = NULL;
    enum deja_status status = load_bundle(server, options, &fresh, error);
    if (status != DEJA_OK)
        return status;
    pthread_mutex_lock(&server->lock);
    struct dj_tls_bundle *old = server->current;
    server->current = fresh;
    pthread_mutex_unlock(&server->lock);
    dj_tls_bundle_release(old);
    return DEJA_OK;
}

void dj_tls_server_destroy(struct dj_tls_server *server)
{
    if (!server)
        return;
    dj_tls_bundle_release(server->current);
    BIO_meth_free(server->bio);
    pthread_mutex_destroy(&server->lock);
    dj_wipe(server->keys, sizeof server->keys);
    dj_free(server);
}

/* ---- to look at ---- */

static bool read_time(const ASN1_TIME *time, int64_t *out_s)
{
    int days = 0;
    int seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    bool is_read = epoch && ASN1_TIME_diff(&days, &seconds, epoch, time) == 1;
    ASN1_TIME_free(epoch);
    if (is_read)
        *out_s = (int64_t)days * 86400 + seconds;
    return is_read;
}

enum deja_status dj_tls_certificate_life(const char *cert_file, int64_t *out_begins_s,
                                         int64_t *out_ends_s, struct deja_error *error)
{
    int64_t begins_s = 0;
    int64_t ends_s = 0;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context)
        return deja_error_set(error, DEJA_ERR_NOMEM, "no memory to read a certificate");
    const X509 *read = SSL_CTX_use_certificate_chain_file(context, cert_file) == 1
                           ? SSL_CTX_get0_certificate(context)
                           : NULL;
    bool is_read = read && read_time(X509_get0_notBefore(read), &begins_s) &&
                   read_time(X509_get0_notAfter(read), &ends_s);
    SSL_CTX_free(context);
    if (!is_read)
        return deja_error_set(error, DEJA_ERR_CONFIG, "%s: %s; a PEM certificate is needed",
                              cert_file, dj_tls_last_reason());
    *out_begins_s = begins_s;
    *out_ends_s = ends_s;
    return DEJA_OK;
}
