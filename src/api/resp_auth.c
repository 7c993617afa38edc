/* api/resp_auth.c - who a client is, and what it may.
 *
 * What AUTH shows is handed to proxy/identity as the bearer of a request, so that a key, a linked
 * credential or a derived tenant mean the same on both ways in. A connection lives long: who it is
 * is asked again after RECHECK_US, so a key that was revoked and rules that were changed count a
 * second later.
 */
#include <stdio.h>

#include "api/resp_internal.h"
#include "base/alloc.h"
#include "base/num.h"
#include "proxy/gate.h"
#include "proxy/identity.h"
#include "proxy/tenant_rules.h"

#define RECHECK_US UINT64_C(1000000)
#define USER_PREFIX "user:"
#define SURFACE "{\"surface\":\"resp\"}" /* of audit events */

static void wipe(char **text, size_t *len)
{
    if (*text)
        dj_wipe(*text, *len);
    dj_free(*text);
    *text = NULL;
    *len = 0;
}

/* ---- the tenant's connections ---- */

static void leave_tenant(struct dj_resp_client *client)
{
    if (client->is_counted)
        dj_limiter_disconnect(client->api->proxy->limiter, client->counted);
    client->is_counted = false;
}

/* False: it has as many as it may. */
static bool enter_tenant(struct dj_resp_client *client)
{
    struct dj_limiter *limiter = client->api->proxy->limiter;
    const struct dj_principal *who = &client->who;
    if (client->is_counted && memcmp(client->counted, who->tenant, DJ_TENANT_BYTES) == 0)
        return true;
    leave_tenant(client);
    if (!limiter || !dj_rules_of(who->rules)->limits.connections_max)
        return true;
    if (!dj_limiter_connect(limiter, who, dj_loop_turn_us(client->loop)))
        return false;
    memcpy(client->counted, who->tenant, DJ_TENANT_BYTES);
    client->is_counted = true;
    return true;
}

/* ---- the space ---- */

void dj_resp_space_of(const struct dj_resp_client *client, uint32_t database, char name_space[16],
                      struct dj_plain_space *out_space)
{
    struct dj_secret key;
    if (database)
        snprintf(name_space, 16, "db%u", database);
    else
        name_space[0] = '\0';
    dj_identity_fingerprint_key(client->api->proxy, &client->who, &key);
    dj_plain_space_init(out_space, client->who.tenant, key.bytes, deja_slice_text(name_space),
                        deja_slice_text(client->user_tag));
    dj_secret_fini(&key);
}

static void make_space(struct dj_resp_client *client)
{
    client->user_tag[0] = '\0';
    if (client->who.has_user)
        dj_user_tag(client->who.user, client->user_tag);
    dj_plain_space_fini(&client->space);
    dj_resp_space_of(client, client->database, client->name_space, &client->space);
}

void dj_resp_select(struct dj_resp_client *client, uint32_t database)
{
    client->database = database;
    if (client->is_known)
        make_space(client);
}

/* ---- who ---- */

static void forget_principal(struct dj_resp_client *client)
{
    dj_principal_fini(&client->who);
    dj_plain_space_fini(&client->space);
    client->is_known = false;
}

void dj_resp_forget_who(struct dj_resp_client *client)
{
    forget_principal(client);
    leave_tenant(client);
    client->is_refused = false;
    wipe(&client->credential, &client->credential_len);
    wipe(&client->user, &client->user_len);
}

static bool identify(struct dj_resp_client *client, struct dj_principal *out_who,
                     struct dj_identity_refusal *out_refusal)
{
    struct dj_http_header headers[2];
    char bearer[sizeof "Bearer " + DJ_RESP_CREDENTIAL_BYTES_MAX];
    struct dj_http_request request = {
        .headers = headers,
        .is_loopback_peer = dj_resp_session_is_loopback(client->session),
        .peer_identity = dj_resp_session_certificate(client->session),
    };
    dj_resp_session_peer(client->session, request.peer);
    if (client->credential) {
        memcpy(bearer, "Bearer ", 7);
        memcpy(bearer + 7, client->credential, client->credential_len);
        headers[request.header_count++] = (struct dj_http_header){
            deja_slice_text("authorization"), deja_slice(bearer, 7 + client->credential_len)};
    }
    if (client->user)
        headers[request.header_count++] = (struct dj_http_header){
            deja_slice_text("x-deja-user"), deja_slice(client->user, client->user_len)};
    bool is_taken = dj_identity_take(client->api->proxy, &request, dj_loop_now_ms(client->loop),
                                     out_who, out_refusal);
    dj_wipe(bearer, sizeof bearer);
    return is_taken;
}

/* As Redis says such things, with the reason behind. */
static void put_refusal(const struct dj_identity_refusal *refusal, bool is_auth, struct dj_buf *out)
{
    if (refusal->status == 429)
        dj_resp_put_error(out, "ERR %s (%u s)", refusal->detail, refusal->retry_after_s);
    else if (refusal->status == 503)
        dj_resp_put_error(out, "ERR %s", refusal->detail);
    else if (refusal->status == 403)
        dj_resp_put_error(out, "NOPERM %s", refusal->detail);
    else if (is_auth)
        dj_resp_put_error(out, "WRONGPASS invalid username-password pair or user is disabled: %s",
                          refusal->detail);
    else
        dj_resp_put_error(out, "NOAUTH Authentication required: AUTH with an API key");
}

/* Who listens hears all of the tenant: no user of it may, and nobody of another tenant. */
static bool may_listen(const struct dj_resp_client *client)
{
    return !client->who.has_user && dj_identity_may(&client->who, DJ_ROLE_READ) &&
           memcmp(dj_resp_listened(client), client->who.tenant, DJ_TENANT_BYTES) == 0;
}

static bool know(struct dj_resp_client *client, bool is_auth, struct dj_buf *out)
{
    struct dj_identity_refusal refusal;
    struct dj_principal who;
    const char *trouble = NULL;
    if (!identify(client, &who, &refusal)) {
        forget_principal(client);
        client->is_refused = client->credential && refusal.status != 503;
        put_refusal(&refusal, is_auth, out);
        return false;
    }
    forget_principal(client);
    client->who = who;
    if (!dj_tenant_has(&who, DJ_FEATURE_API))
        trouble = dj_tenant_lacks_text(DJ_FEATURE_API);
    else if (who.is_unknown)
        trouble = "too many tenants are in use";
    else if (!who.may_hit)
        trouble = "the upstream refused this credential";
    else if (!enter_tenant(client))
        trouble = dj_limit_detail(DJ_LIMIT_CONNECTIONS);
    if (trouble) {
        forget_principal(client);
        dj_resp_put_error(out, "NOPERM %s", trouble);
        return false;
    }
    client->is_known = true;
    client->checked_us = dj_loop_turn_us(client->loop);
    make_space(client);
    if (dj_resp_subscriptions(client) > 0 && !may_listen(client))
        dj_resp_session_end(client->session);
    dj_resp_session_trust(client->session);
    return true;
}

bool dj_resp_is_welcome(struct dj_resp_client *client, struct dj_buf *out)
{
    size_t before = out->len;
    if (!client->is_refused && (client->is_known || know(client, false, out)))
        return true;
    out->len = before;
    dj_resp_put_error(out, "NOAUTH HELLO must be called with the client already authenticated, "
                           "otherwise the HELLO <proto> AUTH <user> <pass> option can be used: "
                           "the user is \"default\", the password an API key");
    return false;
}

bool dj_resp_is_still(struct dj_resp_client *client)
{
    struct dj_buf ignored = {0};
    bool is_fresh =
        client->is_known && dj_loop_turn_us(client->loop) - client->checked_us < RECHECK_US;
    uint8_t tenant[DJ_TENANT_BYTES];
    memcpy(tenant, client->who.tenant, sizeof tenant);
    bool is_still = is_fresh || (!client->is_refused && know(client, false, &ignored) &&
                                 memcmp(tenant, client->who.tenant, sizeof tenant) == 0);
    dj_buf_fini(&ignored);
    return is_still;
}

/* ---- may it ---- */

static bool enter(struct dj_resp_client *client, const struct dj_resp_args *args,
                  struct dj_buf *out)
{
    struct dj_proxy_context *proxy = client->api->proxy;
    struct dj_limit_verdict verdict;
    size_t bytes = 0;
    for (size_t i = 0; i < args->count; i++)
        bytes += args->items[i].len;
    client->pass = (struct dj_limit_pass){.limiter = NULL};
    if (dj_limiter_enter(proxy->limiter, &client->who, bytes, dj_loop_turn_us(client->loop),
                         &client->pass, &verdict))
        return true;
    dj_telemetry_limited(proxy->telemetry, client->who.tenant, dj_limit_text(verdict.limit));
    dj_resp_put_error(out, "ERR %s; try again in %llu ms", dj_limit_detail(verdict.limit),
                      (unsigned long long)verdict.wait_ms);
    return false;
}

/* As over HTTP: whatever the tenant wants noted of its operations. */
static void note_refusal(const struct dj_resp_client *client, const struct dj_resp_command *command)
{
    const struct dj_audit_event event = {
        .type = DJ_AUDIT_ACCESS,
        .who = &client->who,
        .operation = command->audit ? command->audit : command->name,
        .is_failure = true,
        .error = "forbidden",
        .metadata = SURFACE,
    };
    dj_audit_note(client->api->proxy->audit, &event, dj_loop_now_ms(client->loop));
}

bool dj_resp_admit(struct dj_resp_client *client, const struct dj_resp_command *command,
                   const struct dj_resp_args *args, struct dj_buf *out)
{
    unsigned wanted = (command->flags & DJ_RESP_READ ? DJ_ROLE_READ : 0u) |
                      (command->flags & DJ_RESP_WRITE ? DJ_ROLE_WRITE : 0u);
    if (command->flags & DJ_RESP_ANYBODY)
        return true;
    bool is_fresh =
        client->is_known && dj_loop_turn_us(client->loop) - client->checked_us < RECHECK_US;
    if (client->is_refused) {
        /* Never as somebody else: what was meant for that tenant is not written to another. */
        dj_resp_put_error(out, "NOAUTH Authentication required: what AUTH showed is not, or no "
                               "longer, accepted");
        return false;
    }
    if (!is_fresh && !know(client, false, out))
        return false;
    if (!wanted)
        return true;
    if (!dj_identity_may(&client->who, wanted)) {
        dj_resp_put_error(out, "NOPERM this key has not the role %s, which '%s' needs",
                          wanted & DJ_ROLE_WRITE ? "write" : "read", command->name);
        note_refusal(client, command);
        return false;
    }
    return enter(client, args, out);
}

/* ---- AUTH ---- */

/* "default", "": the tenant; "user:NAME": one user of it. */
static bool take_user(struct dj_resp_client *client, struct deja_slice user, struct dj_buf *out)
{
    size_t prefix = sizeof USER_PREFIX - 1;
    if (user.len == 0 || dj_resp_is(user, "default"))
        return true;
    if (user.len <= prefix || user.len > prefix + DJ_USER_NAME_BYTES_MAX ||
        memcmp(user.data, USER_PREFIX, prefix) != 0) {
        dj_resp_put_error(out, "WRONGPASS invalid username-password pair: the user is \"default\", "
                               "or \"user:NAME\" for one user of the tenant; the password is the "
                               "API key");
        return false;
    }
    client->user_len = user.len - prefix;
    client->user = dj_strdup(deja_slice(user.data + prefix, client->user_len));
    if (!client->user)
        dj_resp_put_failure(out, DEJA_ERR_NOMEM);
    return client->user != NULL;
}

bool dj_resp_authenticate(struct dj_resp_client *client, struct deja_slice user,
                          struct deja_slice password, struct dj_buf *out)
{
    if (password.len == 0 || password.len > DJ_RESP_CREDENTIAL_BYTES_MAX) {
        dj_resp_put_error(out,
                          "WRONGPASS invalid username-password pair: a password has 1 to %d "
                          "bytes",
                          DJ_RESP_CREDENTIAL_BYTES_MAX);
        return false;
    }
    /* What was shown before is over, whatever comes of this; and what it listened to. */
    dj_resp_unsubscribe_all(client);
    dj_resp_forget_who(client);
    client->is_refused = true;
    if (!take_user(client, user, out))
        return false;
    client->credential = dj_strdup(password);
    client->credential_len = client->credential ? password.len : 0;
    if (!client->credential)
        dj_resp_put_failure(out, DEJA_ERR_NOMEM);
    if (!client->credential || !know(client, true, out)) {
        dj_resp_forget_who(client);
        client->is_refused = true;
        return false;
    }
    client->is_refused = false;
    return true;
}

enum dj_resp_flow dj_resp_auth(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    if (args->count > 3)
        return dj_resp_syntax_error(out);
    struct deja_slice user = args->count == 3 ? args->items[1] : deja_slice(NULL, 0);
    if (dj_resp_authenticate(client, user, args->items[args->count - 1], out))
        dj_resp_put_status(out, "OK");
    return DJ_RESP_ANSWERED;
}

/* ---- rules ---- */

int64_t dj_resp_cut_expiry(const struct dj_resp_client *client, int64_t expires_ms, int64_t now_ms)
{
    uint64_t max_ms = dj_tenant_cut_ttl(client->who.rules, UINT64_MAX);
    if (max_ms > (uint64_t)(INT64_MAX - now_ms))
        return expires_ms;
    int64_t latest_ms = now_ms + (int64_t)max_ms;
    return expires_ms == 0 || expires_ms > latest_ms ? latest_ms : expires_ms;
}

#define ERROR_BYTES_MAX 96u

/* The words of an error, without what the client said: that stands behind "option", and nowhere
 * else in errors of commands that are noted. */
static void copy_error(struct deja_slice reply, char out_text[ERROR_BYTES_MAX])
{
    size_t len = 0;
    while (len + 1 < reply.len && len + 1 < ERROR_BYTES_MAX && reply.data[len + 1] != '\r') {
        out_text[len] = reply.data[len + 1];
        len++;
    }
    out_text[len] = '\0';
    char *said = strstr(out_text, " option");
    if (said)
        *said = '\0';
}

void dj_resp_note_audit(const struct dj_resp_client *client, const struct dj_resp_command *command,
                        struct deja_slice key, struct deja_slice reply)
{
    const struct dj_proxy_context *proxy = client->api->proxy;
    bool is_failure = reply.len > 0 && reply.data[0] == '-';
    char error[ERROR_BYTES_MAX];
    char id[2 * DJ_ID_BYTES + 1] = "";
    if (!proxy->audit || !client->is_known ||
        !dj_audit_wants(client->who.rules, (command->flags & DJ_RESP_WRITE) != 0))
        return;
    if (key.len > 0 && key.len <= DJ_PLAIN_KEY_BYTES_MAX) {
        struct dj_store_key store_key;
        dj_plain_key(&client->space, key, &store_key);
        dj_hex_encode(store_key.id, sizeof store_key.id, id);
    }
    if (is_failure)
        copy_error(reply, error);
    const struct dj_audit_event event = {
        .type = DJ_AUDIT_CACHE_OPERATION,
        .who = &client->who,
        .operation = command->audit,
        .resource = id[0] ? id : NULL,
        .is_failure = is_failure,
        .error = is_failure ? error : NULL,
        .metadata = SURFACE,
    };
    dj_audit_note(proxy->audit, &event, dj_loop_now_ms(client->loop));
}
