/* api/resp_hello.c - what clients say about the connection itself. */
#include <stdio.h>

#include "api/resp_internal.h"
#include "base/num.h"

/* ---- PING and the like ---- */

enum dj_resp_flow dj_resp_ping(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    struct deja_slice message = args->count > 1 ? args->items[1] : deja_slice(NULL, 0);
    if (args->count > 2)
        return dj_resp_wrong_arity("ping", out);
    if (client->version < 3 && dj_resp_subscriptions(client) > 0) {
        dj_resp_put_array(out, 2);
        dj_resp_put_text(out, "pong");
        dj_resp_put_bulk(out, message);
    } else if (args->count == 2) {
        dj_resp_put_bulk(out, message);
    } else {
        dj_resp_put_status(out, "PONG");
    }
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_echo(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    (void)client;
    dj_resp_put_bulk(out, args->items[1]);
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_time(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    int64_t now_ms = dj_loop_now_ms(client->loop);
    char text[DJ_NUM_U64_DIGITS_MAX];
    (void)args;
    dj_resp_put_array(out, 2);
    dj_resp_put_bulk(out, deja_slice(text, dj_num_write_u64((uint64_t)now_ms / 1000, text)));
    dj_resp_put_bulk(out, deja_slice(text, dj_num_write_u64((uint64_t)now_ms % 1000 * 1000, text)));
    return DJ_RESP_ANSWERED;
}

/* There are no replicas to wait for. */
enum dj_resp_flow dj_resp_wait(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    int64_t number = 0;
    (void)client;
    if (dj_resp_take_integer(args->items[1], &number, out) &&
        dj_resp_take_integer(args->items[2], &number, out))
        dj_resp_put_integer(out, 0);
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_select_db(struct dj_resp_client *client, const struct dj_resp_args *args,
                                    struct dj_buf *out)
{
    int64_t number = 0;
    if (!dj_resp_take_integer(args->items[1], &number, out))
        return DJ_RESP_ANSWERED;
    if (number < 0 || number >= DJ_RESP_DATABASES) {
        dj_resp_put_error(out, "ERR DB index is out of range");
        return DJ_RESP_ANSWERED;
    }
    dj_resp_select(client, (uint32_t)number);
    dj_resp_put_status(out, "OK");
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_reset(struct dj_resp_client *client, const struct dj_resp_args *args,
                                struct dj_buf *out)
{
    (void)args;
    dj_resp_end_transaction(client);
    dj_resp_unsubscribe_all(client);
    dj_resp_forget_who(client);
    client->version = 2;
    client->database = 0;
    client->muting = DJ_RESP_REPLY_ON;
    client->is_muted = false;
    client->name[0] = '\0';
    dj_resp_put_status(out, "RESET");
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_quit(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    (void)client;
    (void)args;
    dj_resp_put_status(out, "OK");
    return DJ_RESP_CLOSE;
}

/* ---- HELLO ---- */

static bool set_text(char *out_text, const char *what, struct deja_slice value, struct dj_buf *out)
{
    bool is_sane = value.len <= DJ_RESP_NAME_BYTES_MAX;
    for (size_t i = 0; i < value.len && is_sane; i++)
        is_sane = value.data[i] > ' ' && value.data[i] <= '~';
    if (!is_sane) {
        dj_resp_put_error(out, "ERR %s cannot contain spaces, newlines or special characters.",
                          what);
        return false;
    }
    if (value.len)
        memcpy(out_text, value.data, value.len);
    out_text[value.len] = '\0';
    return true;
}

static void put_hello(const struct dj_resp_client *client, struct dj_buf *out)
{
    dj_resp_put_map(out, client->version, 7);
    dj_resp_put_text(out, "server");
    dj_resp_put_text(out, "deja");
    dj_resp_put_text(out, "version");
    dj_resp_put_text(out, DJ_RESP_REDIS_VERSION);
    dj_resp_put_text(out, "proto");
    dj_resp_put_integer(out, client->version);
    dj_resp_put_text(out, "id");
    dj_resp_put_integer(out, (int64_t)client->id);
    dj_resp_put_text(out, "mode");
    dj_resp_put_text(out, "standalone");
    dj_resp_put_text(out, "role");
    dj_resp_put_text(out, "master");
    dj_resp_put_text(out, "modules");
    dj_resp_put_array(out, 0);
}

/* What follows the version: [AUTH user password] [SETNAME name]. Borrowed. */
struct greeting {
    struct deja_slice user;
    struct deja_slice password;
    struct deja_slice name;
};

static bool read_greeting(const struct dj_resp_args *args, struct greeting *out_greeting,
                          struct dj_buf *out)
{
    for (size_t i = 2; i < args->count;) {
        if (dj_resp_is(args->items[i], "auth") && i + 2 < args->count) {
            out_greeting->user = args->items[i + 1];
            out_greeting->password = args->items[i + 2];
            i += 3;
        } else if (dj_resp_is(args->items[i], "setname") && i + 1 < args->count) {
            out_greeting->name = args->items[i + 1];
            i += 2;
        } else {
            dj_resp_put_error(out, "ERR Syntax error in HELLO option '%.*s'",
                              (int)(args->items[i].len < 64 ? args->items[i].len : 64),
                              args->items[i].data);
            return false;
        }
    }
    return true;
}

enum dj_resp_flow dj_resp_hello(struct dj_resp_client *client, const struct dj_resp_args *args,
                                struct dj_buf *out)
{
    struct greeting greeting = {.user = {0}};
    int64_t version = client->version;
    if (args->count > 1 && dj_num_parse_i64(args->items[1], &version) != DEJA_OK) {
        dj_resp_put_error(out, "ERR Protocol version is not an integer or out of range");
        return DJ_RESP_ANSWERED;
    }
    if (version < 2 || version > 3) {
        dj_resp_put_error(out, "NOPROTO unsupported protocol version");
        return DJ_RESP_ANSWERED;
    }
    if (!read_greeting(args, &greeting, out))
        return DJ_RESP_ANSWERED;
    if (greeting.password.data &&
        !dj_resp_authenticate(client, greeting.user, greeting.password, out))
        return DJ_RESP_ANSWERED;
    if (!greeting.password.data && !dj_resp_is_welcome(client, out))
        return DJ_RESP_ANSWERED;
    if (greeting.name.data && !set_text(client->name, "Client names", greeting.name, out))
        return DJ_RESP_ANSWERED;
    client->version = (int)version;
    put_hello(client, out);
    return DJ_RESP_ANSWERED;
}

/* ---- CLIENT ---- */

static void put_address(const struct dj_resp_client *client, char *out_text, size_t cap)
{
    uint8_t peer[16];
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    dj_resp_session_peer(client->session, peer);
    if (memcmp(peer, mapped, sizeof mapped) == 0) {
        snprintf(out_text, cap, "%u.%u.%u.%u", peer[12], peer[13], peer[14], peer[15]);
        return;
    }
    char hex[33];
    dj_hex_encode(peer, sizeof peer, hex);
    snprintf(out_text, cap, "[%s]", hex);
}

/* One client sees only itself: others may be other tenants'. */
static void put_self(const struct dj_resp_client *client, struct dj_buf *out)
{
    char address[64];
    char text[1024];
    int64_t now_ms = dj_loop_now_ms(client->loop);
    put_address(client, address, sizeof address);
    int len = snprintf(
        text, sizeof text,
        "id=%llu addr=%s name=%s age=%lld idle=0 flags=%s db=%u sub=%u psub=0 multi=-1 cmd=%s "
        "user=%s resp=%d lib-name=%s lib-ver=%s\n",
        (unsigned long long)client->id, address, client->name,
        (long long)(now_ms - client->opened_ms) / 1000, dj_resp_subscriptions(client) ? "P" : "N",
        client->database, dj_resp_subscriptions(client), client->last ? client->last->name : "",
        client->user ? "user" : "default", client->version, client->library,
        client->library_version);
    size_t kept = len > 0 && (size_t)len < sizeof text ? (size_t)len : 0;
    dj_resp_put_verbatim(out, client->version, "txt", deja_slice(text, kept));
}

static void set_info(struct dj_resp_client *client, const struct dj_resp_args *args,
                     struct dj_buf *out)
{
    bool is_name = dj_resp_is(args->items[2], "lib-name");
    if (!is_name && !dj_resp_is(args->items[2], "lib-ver"))
        dj_resp_put_error(out, "ERR Unrecognized option '%.*s'",
                          (int)(args->items[2].len < 64 ? args->items[2].len : 64),
                          args->items[2].data);
    else if (set_text(is_name ? client->library : client->library_version,
                      is_name ? "lib-name" : "lib-ver", args->items[3], out))
        dj_resp_put_status(out, "OK");
}

static void set_replies(struct dj_resp_client *client, struct deja_slice word, struct dj_buf *out)
{
    if (dj_resp_is(word, "on")) {
        client->muting = DJ_RESP_REPLY_ON;
        client->is_muted = false;
        dj_resp_put_status(out, "OK");
    } else if (dj_resp_is(word, "off")) {
        client->muting = DJ_RESP_REPLY_OFF;
        client->is_muted = true;
    } else if (dj_resp_is(word, "skip")) {
        if (client->muting == DJ_RESP_REPLY_ON)
            client->muting = DJ_RESP_REPLY_SKIP;
        client->is_muted = true;
    } else {
        dj_resp_syntax_error(out);
    }
}

static void put_name(const struct dj_resp_client *client, struct dj_buf *out)
{
    if (client->name[0])
        dj_resp_put_text(out, client->name);
    else
        dj_resp_put_null(out, client->version);
}

enum dj_resp_flow dj_resp_client(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    struct deja_slice word = args->items[1];
    size_t count = args->count;
    if (dj_resp_is(word, "id") && count == 2) {
        dj_resp_put_integer(out, (int64_t)client->id);
    } else if (dj_resp_is(word, "getname") && count == 2) {
        put_name(client, out);
    } else if (dj_resp_is(word, "setname") && count == 3) {
        if (set_text(client->name, "Client names", args->items[2], out))
            dj_resp_put_status(out, "OK");
    } else if (dj_resp_is(word, "setinfo") && count == 4) {
        set_info(client, args, out);
    } else if (dj_resp_is(word, "info") || dj_resp_is(word, "list")) {
        put_self(client, out);
    } else if (dj_resp_is(word, "reply") && count == 3) {
        set_replies(client, args->items[2], out);
    } else if ((dj_resp_is(word, "no-evict") || dj_resp_is(word, "no-touch")) && count == 3) {
        dj_resp_put_status(out, "OK");
    } else if (dj_resp_is(word, "getredir") && count == 2) {
        dj_resp_put_integer(out, -1);
    } else {
        dj_resp_put_error(out,
                          "ERR unknown subcommand or wrong number of arguments for '%.*s'; CLIENT "
                          "has ID, INFO, LIST, GETNAME, SETNAME, SETINFO, REPLY, NO-EVICT, "
                          "NO-TOUCH and GETREDIR here",
                          (int)(word.len < 64 ? word.len : 64), word.data);
    }
    return DJ_RESP_ANSWERED;
}
