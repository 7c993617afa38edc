/* A TLS server without a socket, and OpenSSL's client on the other side of two buffers. */
#include "crypto/tls_wire.h"

#include <openssl/ssl.h>

#include "check.h"
#include "certificate.h"
#include "failing_malloc.h"

struct world {
    struct certificate authority;
    struct certificate host;  /* localhost */
    struct certificate other; /* other.example */
    struct certificate client;
    struct certificate stranger; /* signed by itself */
};

static struct world world;

static int make_world(void **state)
{
    (void)state;
    world.authority = certificate_make("authority", NULL, NULL);
    world.host = certificate_make("localhost", "DNS:localhost", &world.authority);
    world.other = certificate_make("other", "DNS:other.example", &world.authority);
    world.client = certificate_make("a client", NULL, &world.authority);
    world.stranger = certificate_make("stranger", "DNS:localhost", NULL);
    return 0;
}

static int end_world(void **state)
{
    (void)state;
    struct certificate *const all[] = {&world.authority, &world.host, &world.other, &world.client,
                                       &world.stranger};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        certificate_end(all[i]);
    return 0;
}

/* ---- both sides ---- */

struct pair {
    struct dj_tls_server *server;
    struct dj_tls_wire *wire;
    SSL_CTX *context;
    SSL *client;
    enum dj_tls_step step; /* of the last take */
    struct dj_buf got;     /* plain text at the server */
};

static struct dj_tls_server *make_server(enum dj_tls_client_auth auth)
{
    const char *const certs[] = {world.host.cert_file, world.other.cert_file};
    const char *const keys[] = {world.host.key_file, world.other.key_file};
    const struct dj_tls_server_options options = {
        .cert_files = certs,
        .key_files = keys,
        .count = 2,
        .client_ca_file = auth == DJ_TLS_CLIENT_NONE ? NULL : world.authority.cert_file,
        .client_auth = auth,
    };
    struct dj_tls_server *server = NULL;
    assert_int_equal(dj_tls_server_create(&options, &server, NULL), DEJA_OK);
    return server;
}

static void pair_connect(struct pair *pair)
{
    assert_int_equal(dj_tls_wire_create(pair->server, &pair->wire), DEJA_OK);
    pair->client = SSL_new(pair->context);
    SSL_set_bio(pair->client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(pair->client);
}

static struct pair pair_make(enum dj_tls_client_auth auth)
{
    struct pair pair = {.server = make_server(auth), .context = SSL_CTX_new(TLS_client_method())};
    pair_connect(&pair);
    return pair;
}

static void pair_disconnect(struct pair *pair)
{
    SSL_free(pair->client);
    dj_tls_wire_destroy(pair->wire);
    dj_buf_fini(&pair->got);
}

static void pair_end(struct pair *pair)
{
    pair_disconnect(pair);
    SSL_CTX_free(pair->context);
    dj_tls_server_destroy(pair->server);
}

/* Gives the server these bytes in pieces of each, and the client its answer. */
static void feed(struct pair *pair, const char *bytes, size_t len, size_t each)
{
    char plain[DJ_TLS_RECORD_BYTES_MAX];
    struct dj_buf out = {0};
    for (size_t at = 0; at < len; at += each) {
        struct deja_slice piece = deja_slice(bytes + at, len - at < each ? len - at : each);
        do {
            size_t plain_len = 0;
            pair->step = dj_tls_wire_take(pair->wire, &piece, plain, &plain_len, &out);
            dj_buf_append(&pair->got, plain, plain_len);
        } while (pair->step == DJ_TLS_DATA);
    }
    if (out.len > 0)
        assert_int_equal(BIO_write(SSL_get_rbio(pair->client), out.data, (int)out.len), out.len);
    dj_buf_fini(&out);
}

/* What the client wants to send goes to the server. */
static void carry(struct pair *pair, size_t each)
{
    char bytes[65536];
    int len = BIO_read(SSL_get_wbio(pair->client), bytes, sizeof bytes);
    if (len > 0)
        feed(pair, bytes, (size_t)len, each);
}

/* True: both sides have their handshake. */
static bool shake_hands(struct pair *pair, size_t each)
{
    for (int turn = 0; turn < 6; turn++) {
        SSL_do_handshake(pair->client);
        carry(pair, each);
    }
    return SSL_is_init_finished(pair->client) && dj_tls_wire_is_open(pair->wire);
}

static void send_plain(struct pair *pair, const char *text)
{
    assert_int_equal(SSL_write(pair->client, text, (int)strlen(text)), strlen(text));
    carry(pair, 65536);
}

/* The server says text; what the client reads of it. */
static size_t say(struct pair *pair, struct deja_slice text, char *out, size_t cap)
{
    struct dj_buf records = {0};
    size_t total = 0;
    assert_int_equal(dj_tls_wire_put(pair->wire, text, &records), DEJA_OK);
    assert_int_equal(BIO_write(SSL_get_rbio(pair->client), records.data, (int)records.len),
                     records.len);
    dj_buf_fini(&records);
    for (int count;
         total < cap && (count = SSL_read(pair->client, out + total, (int)(cap - total))) > 0;)
        total += (size_t)count;
    return total;
}

/* ---- tests ---- */

static void bytes_go_both_ways_however_they_are_cut(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 7, 1000, 65536};
    static char big[100000];
    static char back[sizeof big];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 7);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct pair pair = pair_make(DJ_TLS_CLIENT_NONE);
        assert_true(shake_hands(&pair, sizes[i]));
        send_plain(&pair, "hello");
        assert_int_equal(pair.got.len, 5);
        assert_memory_equal(pair.got.data, "hello", 5);
        assert_int_equal(say(&pair, deja_slice(big, sizeof big), back, sizeof back), sizeof big);
        assert_memory_equal(back, big, sizeof big);
        assert_int_equal(dj_tls_wire_fingerprint(pair.wire).len, 0);
        pair_end(&pair);
    }
}

static void an_end_is_told_by_either_side(void **state)
{
    (void)state;
    struct pair pair = pair_make(DJ_TLS_CLIENT_NONE);
    char text[16];
    assert_true(shake_hands(&pair, 65536));
    SSL_shutdown(pair.client);
    carry(&pair, 65536);
    assert_int_equal(pair.step, DJ_TLS_END);
    /* The client has ended only its side. */
    assert_int_equal(say(&pair, deja_slice_text("still"), text, sizeof text), 5);
    struct dj_buf out = {0};
    dj_tls_wire_end(pair.wire, &out);
    assert_true(out.len > 0);
    BIO_write(SSL_get_rbio(pair.client), out.data, (int)out.len);
    size_t len = out.len;
    dj_tls_wire_end(pair.wire, &out); /* once */
    assert_int_equal(out.len, len);
    assert_int_equal(dj_tls_wire_put(pair.wire, deja_slice_text("more"), &out), DEJA_ERR_IO);
    assert_int_equal(SSL_read(pair.client, text, sizeof text), 0);
    assert_int_equal(SSL_get_error(pair.client, 0), SSL_ERROR_ZERO_RETURN);
    dj_buf_fini(&out);
    pair_end(&pair);
}

static void old_versions_are_refused(void **state)
{
    (void)state;
    struct pair pair = pair_make(DJ_TLS_CLIENT_NONE);
    SSL_set_security_level(pair.client, 0);
    SSL_set_min_proto_version(pair.client, TLS1_VERSION);
    SSL_set_max_proto_version(pair.client, TLS1_1_VERSION);
    assert_false(shake_hands(&pair, 65536));
    assert_int_equal(pair.step, DJ_TLS_FAILED);
    assert_false(dj_tls_wire_is_http(pair.wire));
    pair_end(&pair);
}

static void only_http_1_1_is_agreed_on(void **state)
{
    (void)state;
    static const struct {
        const char *offered;
        bool is_fine;
    } rows[] = {{"\x02h2\x08http/1.1", true}, {"\x08http/1.1", true}, {"\x02h2", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pair pair = pair_make(DJ_TLS_CLIENT_NONE);
        const unsigned char *chosen = NULL;
        unsigned int len = 0;
        SSL_set_alpn_protos(pair.client, (const unsigned char *)rows[i].offered,
                            (unsigned int)strlen(rows[i].offered));
        assert_int_equal(shake_hands(&pair, 65536), rows[i].is_fine);
        SSL_get0_alpn_selected(pair.client, &chosen, &len);
        assert_int_equal(len, rows[i].is_fine ? 8 : 0);
        pair_end(&pair);
    }
}

static void each_host_name_has_its_certificate(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool is_other;
    } rows[] = {{"localhost", false}, {"other.example", true}, {"unknown.example", false}, {0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pair pair = pair_make(DJ_TLS_CLIENT_NONE);
        if (rows[i].name)
            SSL_set_tlsext_host_name(pair.client, rows[i].name);
        assert_true(shake_hands(&pair, 65536));
        const X509 *shown = SSL_get0_peer_certificate(pair.client);
        assert_int_equal(X509_cmp(shown, rows[i].is_other ? world.other.x509 : world.host.x509), 0);
        pair_end(&pair);
    }
}

static void use_client(const struct pair *pair, const struct certificate *certificate)
{
    SSL_use_certificate(pair->client, certificate->x509);
    SSL_use_PrivateKey(pair->client, certificate->key);
}

static void a_clients_certificate_is_verified_and_named(void **state)
{
    (void)state;
    struct pair pair = pair_make(DJ_TLS_CLIENT_REQUIRED);
    use_client(&pair, &world.client);
    assert_true(shake_hands(&pair, 65536));
    struct deja_slice subject = dj_tls_wire_subject(pair.wire);
    assert_true(deja_slice_is_equal(subject, deja_slice_text("CN=a client")));
    assert_int_equal(dj_tls_wire_fingerprint(pair.wire).len, 64);
    unsigned char digest[32];
    unsigned int len = 0;
    X509_digest(world.client.x509, EVP_sha256(), digest, &len);
    char text[3];
    snprintf(text, sizeof text, "%02x", digest[31]);
    assert_memory_equal(dj_tls_wire_fingerprint(pair.wire).data + 62, text, 2);
    pair_end(&pair);

    pair = pair_make(DJ_TLS_CLIENT_REQUIRED); /* none */
    assert_false(shake_hands(&pair, 65536));
    pair_end(&pair);
    pair = pair_make(DJ_TLS_CLIENT_OPTIONAL);
    assert_true(shake_hands(&pair, 65536));
    assert_int_equal(dj_tls_wire_fingerprint(pair.wire).len, 0);
    pair_end(&pair);
    pair = pair_make(DJ_TLS_CLIENT_OPTIONAL);
    use_client(&pair, &world.stranger);
    assert_false(shake_hands(&pair, 65536));
    assert_int_equal(dj_tls_wire_subject(pair.wire).len, 0);
    pair_end(&pair);
}

/* One connection with session (NULL: none); the session it ends with. */
static SSL_SESSION *visit(struct pair *pair, SSL_SESSION *session, bool *out_is_resumed)
{
    char text[8];
    pair_connect(pair);
    if (session)
        SSL_set_session(pair->client, session);
    assert_true(shake_hands(pair, 65536));
    assert_int_equal(say(pair, deja_slice_text("x"), text, sizeof text), 1);
    *out_is_resumed = SSL_session_reused(pair->client);
    SSL_SESSION *next = SSL_get1_session(pair->client);
    SSL_shutdown(pair->client);
    pair_disconnect(pair);
    pair->got = (struct dj_buf){0};
    return next;
}

static void sessions_are_resumed_until_their_key_is_two_old(void **state)
{
    (void)state;
    struct pair pair = {.server = make_server(DJ_TLS_CLIENT_NONE),
                        .context = SSL_CTX_new(TLS_client_method())};
    bool is_resumed = true;
    SSL_SESSION *session = visit(&pair, NULL, &is_resumed);
    assert_false(is_resumed);
    SSL_SESSION_free(visit(&pair, session, &is_resumed));
    assert_true(is_resumed);
    dj_tls_server_rotate(pair.server);
    SSL_SESSION_free(visit(&pair, session, &is_resumed));
    assert_true(is_resumed);
    dj_tls_server_rotate(pair.server);
    SSL_SESSION_free(visit(&pair, session, &is_resumed));
    assert_false(is_resumed);
    SSL_SESSION_free(session);
    SSL_CTX_free(pair.context);
    dj_tls_server_destroy(pair.server);
}

static void nothing_is_resumed_where_clients_show_certificates(void **state)
{
    (void)state;
    struct pair pair = {.server = make_server(DJ_TLS_CLIENT_OPTIONAL),
                        .context = SSL_CTX_new(TLS_client_method())};
    bool is_resumed = true;
    SSL_SESSION *session = visit(&pair, NULL, &is_resumed);
    SSL_SESSION_free(visit(&pair, session, &is_resumed));
    assert_false(is_resumed);
    SSL_SESSION_free(session);
    SSL_CTX_free(pair.context);
    dj_tls_server_destroy(pair.server);
}

static void new_certificates_are_shown_from_now_on_and_bad_ones_never(void **state)
{
    (void)state;
    struct pair before = pair_make(DJ_TLS_CLIENT_NONE);
    assert_true(shake_hands(&before, 65536));
    const char *certs[] = {world.stranger.cert_file};
    const char *keys[] = {world.stranger.key_file};
    const struct dj_tls_server_options options = {certs, keys, 1, NULL, DJ_TLS_CLIENT_NONE, false};
    struct deja_error error = {""};
    keys[0] = world.host.key_file; /* of another certificate */
    assert_int_equal(dj_tls_server_load(before.server, &options, &error), DEJA_ERR_CONFIG);
    assert_non_null(strstr(error.message, world.host.key_file));
    keys[0] = world.stranger.key_file;
    struct pair after = {.server = before.server, .context = SSL_CTX_new(TLS_client_method())};
    pair_connect(&after);
    assert_true(shake_hands(&after, 65536));
    assert_int_equal(X509_cmp(SSL_get0_peer_certificate(after.client), world.host.x509), 0);
    pair_disconnect(&after);
    assert_int_equal(dj_tls_server_load(before.server, &options, NULL), DEJA_OK);
    pair_connect(&after);
    assert_true(shake_hands(&after, 65536));
    assert_int_equal(X509_cmp(SSL_get0_peer_certificate(after.client), world.stranger.x509), 0);
    pair_disconnect(&after);
    SSL_CTX_free(after.context);
    send_plain(&before, "goes on");
    assert_int_equal(before.got.len, 7);
    pair_end(&before);
}

static void files_that_cannot_be_used_are_named(void **state)
{
    (void)state;
    const char *cert = world.host.cert_file;
    const char *key = world.host.key_file;
    const char *missing = "/nonexistent/file";
    const struct {
        struct dj_tls_server_options options;
        const char *what;
    } rows[] = {
        {{&missing, &key, 1, NULL, DJ_TLS_CLIENT_NONE, false}, missing},
        {{&cert, &missing, 1, NULL, DJ_TLS_CLIENT_NONE, false}, missing},
        {{&cert, &key, 1, missing, DJ_TLS_CLIENT_REQUIRED, false}, missing},
        {{&cert, &key, 1, key, DJ_TLS_CLIENT_REQUIRED, false}, key},
        {{&cert, &key, 1, NULL, DJ_TLS_CLIENT_REQUIRED, false}, "authority"},
        {{&cert, &key, 0, NULL, DJ_TLS_CLIENT_NONE, false}, "certificates are needed"},
        {{&cert, &key, 17, NULL, DJ_TLS_CLIENT_NONE, false}, "certificates are needed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct deja_error error = {""};
        struct dj_tls_server *server = NULL;
        assert_int_equal(dj_tls_server_create(&rows[i].options, &server, &error), DEJA_ERR_CONFIG);
        assert_non_null(strstr(error.message, rows[i].what));
        assert_null(server);
    }
}

static void the_life_of_a_certificate_is_read(void **state)
{
    (void)state;
    struct deja_error error = {""};
    int64_t begins_s = 0;
    int64_t ends_s = 0;
    assert_int_equal(dj_tls_certificate_life(world.host.cert_file, &begins_s, &ends_s, &error),
                     DEJA_OK);
    assert_int_equal(ends_s - begins_s, 86400 + 3600);
    assert_true(begins_s > 1700000000);
    begins_s = 7;
    assert_int_equal(dj_tls_certificate_life(world.host.key_file, &begins_s, &ends_s, &error),
                     DEJA_ERR_CONFIG);
    assert_non_null(strstr(error.message, world.host.key_file));
    assert_int_equal(begins_s, 7);
}

static void what_is_no_tls_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        bool is_http;
    } rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", 18, true},   {"POST /v1/chat HTTP/1.1\r\n", 24, true},
        {"\x16\x03\x01\xff\xff\x01", 6, false}, {"\0\0\0\0\0\0\0\0\0\0\0\0", 12, false},
        {"\x17\x03\x03\x00\x02hi", 7, false},   {"\x15\x03\x03\x00\x02\x02\x28", 7, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pair pair = pair_make(DJ_TLS_CLIENT_NONE);
        feed(&pair, rows[i].bytes, rows[i].len, rows[i].len);
        assert_int_equal(pair.step, DJ_TLS_FAILED);
        assert_int_equal(dj_tls_wire_is_http(pair.wire), rows[i].is_http);
        feed(&pair, "more", 4, 4);
        assert_int_equal(pair.step, DJ_TLS_FAILED);
        struct dj_buf out = {0};
        assert_int_equal(dj_tls_wire_put(pair.wire, deja_slice_text("x"), &out), DEJA_ERR_IO);
        dj_tls_wire_end(pair.wire, &out);
        assert_int_equal(out.len, 0);
        dj_buf_fini(&out);
        pair_end(&pair);
    }
}

static void a_buffer_that_is_full_ends_the_wire(void **state)
{
    (void)state;
    struct pair pair = pair_make(DJ_TLS_CLIENT_NONE);
    struct dj_buf out = {0};
    assert_true(shake_hands(&pair, 65536));
    dj_buf_init(&out, 4);
    assert_int_equal(dj_tls_wire_put(pair.wire, deja_slice_text("longer"), &out), DEJA_ERR_LIMIT);
    assert_int_equal(dj_tls_wire_put(pair.wire, deja_slice_text("x"), &out), DEJA_ERR_IO);
    dj_buf_fini(&out);
    pair_end(&pair);
}

static void dj_tls_server_create_survives_each_failed_allocation(void **state)
{
    (void)state;
    const char *cert = world.host.cert_file;
    const char *key = world.host.key_file;
    const struct dj_tls_server_options options = {&cert, &key, 1, NULL, DJ_TLS_CLIENT_NONE, false};
    for (size_t n = 1;; n++) {
        struct dj_tls_server *server = NULL;
        struct dj_tls_wire *wire = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_tls_server_create(&options, &server, NULL);
        if (status == DEJA_OK)
            status = dj_tls_wire_create(server, &wire);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_tls_wire_destroy(wire);
        dj_tls_server_destroy(server);
        if (!has_failed)
            return;
    }
}

static void new_certificates_survive_each_failed_allocation(void **state)
{
    (void)state;
    const char *cert = world.host.cert_file;
    const char *key = world.host.key_file;
    const struct dj_tls_server_options options = {&cert, &key, 1, NULL, DJ_TLS_CLIENT_NONE, false};
    struct dj_tls_server *server = make_server(DJ_TLS_CLIENT_NONE);
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = dj_tls_server_load(server, &options, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed)
            break;
    }
    dj_tls_server_destroy(server);
}

static void what_is_said_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct pair pair = pair_make(DJ_TLS_CLIENT_NONE);
        struct dj_buf out = {0};
        assert_true(shake_hands(&pair, 65536));
        failing_malloc_arm(n);
        enum deja_status status = dj_tls_wire_put(pair.wire, deja_slice_text("hello"), &out);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_buf_fini(&out);
        pair_end(&pair);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways_however_they_are_cut),
        cmocka_unit_test(an_end_is_told_by_either_side),
        cmocka_unit_test(old_versions_are_refused),
        cmocka_unit_test(only_http_1_1_is_agreed_on),
        cmocka_unit_test(each_host_name_has_its_certificate),
        cmocka_unit_test(a_clients_certificate_is_verified_and_named),
        cmocka_unit_test(sessions_are_resumed_until_their_key_is_two_old),
        cmocka_unit_test(nothing_is_resumed_where_clients_show_certificates),
        cmocka_unit_test(new_certificates_are_shown_from_now_on_and_bad_ones_never),
        cmocka_unit_test(files_that_cannot_be_used_are_named),
        cmocka_unit_test(the_life_of_a_certificate_is_read),
        cmocka_unit_test(what_is_no_tls_is_refused),
        cmocka_unit_test(a_buffer_that_is_full_ends_the_wire),
        cmocka_unit_test(dj_tls_server_create_survives_each_failed_allocation),
        cmocka_unit_test(new_certificates_survive_each_failed_allocation),
        cmocka_unit_test(what_is_said_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, make_world, end_world);
}
