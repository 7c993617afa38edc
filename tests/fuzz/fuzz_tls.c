/* Strangers' bytes before a handshake: nothing comes out as plain text, what failed stays so, and
 * little is said in return. */
#include "fuzz.h"

#define assert_true FUZZ_CHECK
#define assert_non_null FUZZ_CHECK
#include "certificate.h"

#include "crypto/tls_wire.h"

enum { SAID_BYTES_MAX = 65536 };

static struct dj_tls_server *make_server(void)
{
    struct certificate made = certificate_make("localhost", "DNS:localhost", NULL);
    const char *cert = made.cert_file;
    const char *key = made.key_file;
    const struct dj_tls_server_options options = {
        &cert, &key, 1, made.cert_file, DJ_TLS_CLIENT_OPTIONAL, false};
    struct dj_tls_server *server = NULL;
    FUZZ_CHECK(dj_tls_server_create(&options, &server, NULL) == DEJA_OK);
    certificate_end(&made);
    return server;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct dj_tls_server *server; /* for all inputs: a key takes time */
    static char plain[DJ_TLS_RECORD_BYTES_MAX];
    struct dj_tls_wire *wire = NULL;
    struct dj_buf out = {0};
    bool has_failed = false;
    if (len < 2 || len > 131072)
        return 0;
    if (!server)
        server = make_server();
    FUZZ_CHECK(dj_tls_wire_create(server, &wire) == DEJA_OK);
    for (size_t at = 1; at < len;) {
        size_t piece = fuzz_piece(data[0], len - at);
        struct deja_slice bytes = deja_slice(data + at, piece);
        size_t plain_len = 0;
        enum dj_tls_step step = dj_tls_wire_take(wire, &bytes, plain, &plain_len, &out);
        FUZZ_CHECK(plain_len == 0 && step != DJ_TLS_DATA && !dj_tls_wire_is_open(wire));
        FUZZ_CHECK(!has_failed || step == DJ_TLS_FAILED);
        FUZZ_CHECK(step != DJ_TLS_MORE || bytes.len == 0);
        has_failed = step == DJ_TLS_FAILED;
        at += piece;
    }
    FUZZ_CHECK(out.len <= SAID_BYTES_MAX);
    FUZZ_CHECK(dj_tls_wire_put(wire, deja_slice("x", 1), &out) == DEJA_ERR_IO);
    FUZZ_CHECK(dj_tls_wire_fingerprint(wire).len == 0);
    dj_buf_fini(&out);
    dj_tls_wire_destroy(wire);
    return 0;
}
