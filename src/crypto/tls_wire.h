/* crypto/tls_wire.h - one connection of a TLS server: records in, bytes out, and back. It knows
 * no socket: who holds it moves the bytes.
 *
 * Trust: everything the peer sends is untrusted; OpenSSL reads it. Threads: its connection's.
 * Bounds: at most one record (16 KiB) is held in either direction, and a peer's certificates up to
 * 32 KiB.
 */
#ifndef DJ_CRYPTO_TLS_WIRE_H
#define DJ_CRYPTO_TLS_WIRE_H

#include <deja/base.h>

#include "base/buf.h"
#include "crypto/tls_server.h"

struct dj_tls_wire;

#define DJ_TLS_RECORD_BYTES_MAX 16384u

enum dj_tls_step {
    DJ_TLS_MORE,   /* all bytes were taken, and more are needed */
    DJ_TLS_DATA,   /* plain text came out; ask again */
    DJ_TLS_END,    /* the peer has ended its side; what follows is not looked at */
    DJ_TLS_FAILED, /* for good; out may hold the reason for the peer */
};

enum deja_status dj_tls_wire_create(struct dj_tls_server *server,
                                    struct dj_tls_wire **out_wire) DEJA_NODISCARD;
void dj_tls_wire_destroy(struct dj_tls_wire *wire); /* accepts NULL */

/* Takes bytes of the peer, consumed from *bytes, until one record of plain text is there: *out_len
 * bytes in plain, which has room for DJ_TLS_RECORD_BYTES_MAX; 0 unless DJ_TLS_DATA. What the peer
 * must be sent is appended to out, whose failure is the session's. */
enum dj_tls_step dj_tls_wire_take(struct dj_tls_wire *wire, struct deja_slice *bytes, char *plain,
                                  size_t *out_len, struct dj_buf *out);
/* plain as records, appended to out. DEJA_ERR_IO: before the handshake is done, or after a failure;
 * DEJA_ERR_NOMEM. */
enum deja_status dj_tls_wire_put(struct dj_tls_wire *wire, struct deja_slice plain,
                                 struct dj_buf *out) DEJA_NODISCARD;
/* Our side ends: close_notify, appended to out once, if there is a session to end. */
void dj_tls_wire_end(struct dj_tls_wire *wire, struct dj_buf *out);

bool dj_tls_wire_is_open(const struct dj_tls_wire *wire); /* the handshake is done */
/* It failed because the peer speaks HTTP without TLS. */
bool dj_tls_wire_is_http(const struct dj_tls_wire *wire);
/* Of the client's verified certificate: SHA-256 of it as 64 hex digits, and its subject as in RFC
 * 2253, ASCII, cut at 1 KiB. Empty: there is none. Until the session ends. */
struct deja_slice dj_tls_wire_fingerprint(const struct dj_tls_wire *wire);
struct deja_slice dj_tls_wire_subject(const struct dj_tls_wire *wire);

#endif
