/* crypto/tls_wire.c - see tls_wire.h.
 *
 * OpenSSL reads and writes through a BIO of ours: it takes from the bytes that are being given, and
 * appends to the buffer that is to be sent, so nothing is copied twice and nothing waits here but
 * what OpenSSL keeps of a record that is not whole.
 *
 * (1) `in` and `out` are set for the length of one call only.
 */
#include "crypto/tls_wire.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include "base/alloc.h"
#include "base/num.h"
#include "crypto/digest.h"
#include "crypto/tls_internal.h"

enum { SUBJECT_BYTES_MAX = 1024 };

struct dj_tls_wire {
    SSL *ssl;
    struct dj_tls_bundle *bundle;
    struct deja_slice *in; /* (1) */
    struct dj_buf *out;    /* (1) */
    bool is_open;
    bool has_failed;
    bool has_ended_ours;
    bool is_http;
    char fingerprint[2 * DJ_SHA256_BYTES + 1]; /* empty: no certificate */
    char *subject;                             /* NULL likewise */
};

/* ---- the BIO ---- */

static int on_bio_read(BIO *bio, char *data, size_t cap, size_t *out_len)
{
    struct dj_tls_wire *wire = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (!wire->in || wire->in->len == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t len = wire->in->len < cap ? wire->in->len : cap;
    memcpy(data, wire->in->data, len);
    wire->in->data += len;
    wire->in->len -= len;
    *out_len = len;
    return 1;
}

static int on_bio_write(BIO *bio, const char *data, size_t len, size_t *out_len)
{
    struct dj_tls_wire *wire = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (wire->out)
        dj_buf_append(wire->out, data, len);
    if (!wire->out || wire->out->status != DEJA_OK)
        return -1; /* 0 is no failure to OpenSSL 3.2 and later, but a write of nothing */
    *out_len = len;
    return 1;
}

static long on_bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *dj_tls_wire_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "deja");
    if (!method)
        return NULL;
    if (BIO_meth_set_read_ex(method, on_bio_read) == 1 &&
        BIO_meth_set_write_ex(method, on_bio_write) == 1 &&
        BIO_meth_set_ctrl(method, on_bio_control) == 1)
        return method;
    BIO_meth_free(method);
    return NULL;
}

struct dj_tls_bundle *dj_tls_wire_bundle(SSL *ssl)
{
    const struct dj_tls_wire *wire = SSL_get_app_data(ssl);
    return wire->bundle;
}

/* ---- life ---- */

enum deja_status dj_tls_wire_create(struct dj_tls_server *server, struct dj_tls_wire **out_wire)
{
    struct dj_tls_wire *wire = dj_alloc_zeroed(1, sizeof *wire);
    if (!wire)
        return DEJA_ERR_NOMEM;
    wire->bundle = dj_tls_bundle_acquire(server);
    wire->ssl = SSL_new(dj_tls_bundle_first(wire->bundle));
    BIO *bio = wire->ssl ? BIO_new(dj_tls_server_bio(server)) : NULL;
    if (!bio || SSL_set_app_data(wire->ssl, wire) != 1) {
        BIO_free(bio);
        dj_tls_wire_destroy(wire);
        ERR_clear_error();
        return DEJA_ERR_NOMEM;
    }
    BIO_set_data(bio, wire);
    BIO_set_init(bio, 1);
    SSL_set_bio(wire->ssl, bio, bio); /* taken */
    SSL_set_accept_state(wire->ssl);
    *out_wire = wire;
    return DEJA_OK;
}

void dj_tls_wire_destroy(struct dj_tls_wire *wire)
{
    if (!wire)
        return;
    SSL_free(wire->ssl);
    dj_tls_bundle_release(wire->bundle);
    dj_free(wire->subject);
    dj_free(wire);
}

/* ---- use ---- */

/* Who the client is, once its certificate was verified. False: no memory to note it. */
static bool note_peer(struct dj_tls_wire *wire)
{
    X509 *peer = SSL_get0_peer_certificate(wire->ssl);
    if (!peer)
        return true;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned int digest_len = 0;
    BIO *text = BIO_new(BIO_s_mem());
    char *bytes = NULL;
    bool is_noted = false;
    if (text && SSL_get_verify_result(wire->ssl) == X509_V_OK &&
        X509_digest(peer, EVP_sha256(), digest, &digest_len) == 1 &&
        digest_len == DJ_SHA256_BYTES &&
        X509_NAME_print_ex(text, X509_get_subject_name(peer), 0, XN_FLAG_RFC2253) >= 0) {
        long len = BIO_get_mem_data(text, &bytes);
        if (len > SUBJECT_BYTES_MAX)
            len = SUBJECT_BYTES_MAX;
        wire->subject = dj_strdup(deja_slice(bytes, len > 0 ? (size_t)len : 0));
        dj_hex_encode(digest, DJ_SHA256_BYTES, wire->fingerprint);
        is_noted = wire->subject != NULL;
    }
    BIO_free(text);
    return is_noted;
}

static enum dj_tls_step fail(struct dj_tls_wire *wire)
{
    wire->has_failed = true;
    return DJ_TLS_FAILED;
}

/* After a call that did not succeed. */
static enum dj_tls_step why(struct dj_tls_wire *wire, int code)
{
    switch (SSL_get_error(wire->ssl, code)) {
    case SSL_ERROR_WANT_READ:
        return DJ_TLS_MORE;
    case SSL_ERROR_ZERO_RETURN:
        return DJ_TLS_END;
    default:
        wire->is_http = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
        ERR_clear_error();
        return fail(wire);
    }
}

static enum dj_tls_step take(struct dj_tls_wire *wire, char *plain, size_t *out_len)
{
    if (!wire->is_open) {
        int code = SSL_do_handshake(wire->ssl);
        if (code != 1)
            return why(wire, code);
        if (!note_peer(wire))
            return fail(wire);
        wire->is_open = true;
    }
    int code = SSL_read_ex(wire->ssl, plain, DJ_TLS_RECORD_BYTES_MAX, out_len);
    return code == 1 ? DJ_TLS_DATA : why(wire, code);
}

enum dj_tls_step dj_tls_wire_take(struct dj_tls_wire *wire, struct deja_slice *bytes, char *plain,
                                  size_t *out_len, struct dj_buf *out)
{
    *out_len = 0;
    if (wire->has_failed)
        return DJ_TLS_FAILED;
    wire->in = bytes;
    wire->out = out;
    ERR_clear_error();
    enum dj_tls_step step = take(wire, plain, out_len);
    wire->in = NULL;
    wire->out = NULL;
    if (step != DJ_TLS_DATA)
        *out_len = 0;
    bool is_stuck = step == DJ_TLS_MORE && bytes->len > 0; /* not seen, but it would be for ever */
    return out->status == DEJA_OK && !is_stuck ? step : fail(wire);
}

enum deja_status dj_tls_wire_put(struct dj_tls_wire *wire, struct deja_slice plain,
                                 struct dj_buf *out)
{
    if (!wire->is_open || wire->has_failed || wire->has_ended_ours)
        return DEJA_ERR_IO;
    if (plain.len == 0)
        return DEJA_OK;
    size_t written = 0;
    wire->out = out;
    ERR_clear_error();
    /* The BIO takes everything, so a write is whole or has failed for good. */
    bool is_whole = SSL_write_ex(wire->ssl, plain.data, plain.len, &written) == 1;
    wire->out = NULL;
    if (is_whole)
        return DEJA_OK;
    ERR_clear_error();
    wire->has_failed = true;
    return out->status != DEJA_OK ? out->status : DEJA_ERR_IO;
}

void dj_tls_wire_end(struct dj_tls_wire *wire, struct dj_buf *out)
{
    if (!wire->is_open || wire->has_failed || wire->has_ended_ours)
        return;
    wire->has_ended_ours = true;
    wire->out = out;
    ERR_clear_error();
    if (SSL_shutdown(wire->ssl) < 0)
        ERR_clear_error(); /* the peer sees the end of the connection all the same */
    wire->out = NULL;
}

bool dj_tls_wire_is_open(const struct dj_tls_wire *wire)
{
    return wire->is_open;
}

bool dj_tls_wire_is_http(const struct dj_tls_wire *wire)
{
    return wire->is_http;
}

struct deja_slice dj_tls_wire_fingerprint(const struct dj_tls_wire *wire)
{
    return deja_slice_text(wire->fingerprint);
}

struct deja_slice dj_tls_wire_subject(const struct dj_tls_wire *wire)
{
    return wire->subject ? deja_slice_text(wire->subject) : deja_slice(NULL, 0);
}
