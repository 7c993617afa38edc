/* api/keys.c - /api/v1/keys…: API keys made, listed, rotated, revoked; and
 * /api/v1/upstream-credentials/…: what Deja shows the upstream for a tenant, written and never
 * read.
 *
 *   loop: read the body ──> worker: keys or vault, which block ──> loop: answer
 *
 * A key's secret is in one answer, the one that made it, and nowhere else.
 */
#include "api/handlers.h"
#include "api/query.h"
#include "base/alloc.h"
#include "base/num.h"
#include "loop/pool.h"
#include "security/directory.h"
#include "security/keys.h"
#include "security/roles.h"
#include "security/vault.h"

#define PAGE_DEFAULT 100u
#define PAGE_MAX 1000u
#define OVERLAP_MS_DEFAULT 86400000u
#define OVERLAP_MS_MAX INT64_C(7776000000) /* 90 days */
#define RATE_MAX 1e6

enum operation { MAKE, ROTATE, REVOKE, HOLD, DROP };

/* One request on its way through a worker; in the request's arena. */
struct call {
    struct dj_job job;
    struct dj_request *request;
    enum operation operation;
    int64_t now_ms;
    struct dj_key key; /* wished, then as it is */
    uint64_t overlap_ms;
    char text[DJ_KEY_TEXT_BYTES]; /* wiped */
    uint8_t tenant[DJ_TENANT_BYTES];
    enum dj_vault_scheme scheme;
    struct deja_slice value;
    enum deja_status status;
};

/* ---- on a worker ---- */

static void work(void *ctx)
{
    struct call *call = ctx;
    struct dj_proxy_context *context = call->request->api->proxy;
    struct dj_key made = {.id = ""};
    switch (call->operation) {
    case MAKE:
        call->status = dj_keys_make(context->keys, &call->key, call->now_ms, call->text, &made);
        break;
    case ROTATE:
        call->status = dj_keys_rotate(context->keys, call->request->rest, call->overlap_ms,
                                      call->now_ms, call->text, &made);
        break;
    case REVOKE:
        call->status = dj_keys_revoke(context->keys, call->request->rest, call->now_ms, &made);
        break;
    case HOLD:
        call->status =
            dj_vault_set(context->vault, call->tenant, call->scheme, call->value, call->now_ms);
        break;
    case DROP:
        call->status = dj_vault_remove(context->vault, call->tenant);
        break;
    }
    if (made.id[0])
        call->key = made;
}

/* ---- answers ---- */

static const char *state_of(const struct dj_key *key, int64_t now_ms)
{
    return key->revoked_ms                                ? "revoked"
           : key->expires_ms && now_ms >= key->expires_ms ? "expired"
                                                          : "active";
}

static void put_key(struct dj_json_writer *w, const struct dj_key *key, int64_t now_ms)
{
    char tenant[DJ_TENANT_TEXT_BYTES];
    dj_tenant_text(key->tenant, tenant);
    dj_json_begin_object(w);
    dj_json_member_text(w, "id", key->id);
    dj_json_member_text(w, "name", key->name);
    dj_json_member_text(w, "tenant", key->has_tenant ? tenant : NULL);
    dj_json_key(w, "roles");
    dj_json_begin_array(w);
    for (unsigned role = 1; role <= DJ_ROLES_ALL; role <<= 1)
        if (key->roles & role)
            dj_json_put_text(w, dj_role_text(role));
    dj_json_end_array(w);
    dj_json_member_text(w, "state", state_of(key, now_ms));
    dj_request_put_time(w, "created", key->created_ms);
    dj_request_put_time(w, "expires", key->expires_ms);
    dj_request_put_time(w, "rotated", key->rotated_ms);
    dj_request_put_time(w, "overlap_until",
                        key->overlap_until_ms > now_ms ? key->overlap_until_ms : 0);
    dj_request_put_time(w, "revoked", key->revoked_ms);
    dj_request_put_time(w, "last_used", key->used_ms);
    dj_json_member_double(w, "requests_per_s", key->requests_per_s);
    dj_json_member_u64(w, "burst", key->burst);
    dj_json_member_text(w, "certificate", key->certificate[0] ? key->certificate : NULL);
    dj_json_end_object(w);
}

static void answer_key(struct dj_request *request, int status, const struct dj_key *key,
                       const char *secret)
{
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_key(&w, "key");
    put_key(&w, key, dj_loop_now_ms(request->loop));
    if (secret)
        dj_json_member_text(&w, "secret", secret);
    dj_json_end_object(&w);
    dj_request_answer(request, status, NULL, &body);
    if (secret && body.data)
        dj_wipe(body.data, body.cap);
    dj_buf_fini(&body);
}

static void refuse(struct call *call)
{
    struct dj_request *request = call->request;
    bool is_key = call->operation < HOLD;
    switch (call->status) {
    case DEJA_ERR_NOT_FOUND:
        dj_request_problem(request, 404, "not_found",
                           is_key ? "there is no such key"
                                  : "no upstream credential is held for this tenant");
        break;
    case DEJA_ERR_DENIED:
        dj_request_problem(request, 409, "key_ended", "this key is revoked or has expired");
        break;
    case DEJA_ERR_BUSY:
        dj_request_problem(request, 409, "certificate_taken",
                           "another key stands for this certificate already");
        break;
    case DEJA_ERR_LIMIT:
        dj_request_problem(request, 409, "limit_reached",
                           is_key ? "there are as many keys as this deployment holds"
                                  : "credentials are held for as many tenants as can be");
        break;
    default:
        dj_request_refuse(request, call->status);
        break;
    }
}

static void done(void *ctx)
{
    struct call *call = ctx;
    struct dj_request *request = call->request;
    enum operation operation = call->operation;
    struct dj_key key = call->key;
    char secret[DJ_KEY_TEXT_BYTES];
    memcpy(secret, call->text, sizeof secret); /* the call ends with its request */
    dj_wipe(call->text, sizeof call->text);
    if (call->status != DEJA_OK)
        refuse(call);
    else if (operation >= HOLD)
        dj_request_answer(request, 204, NULL, NULL);
    else
        answer_key(request, operation == MAKE ? 201 : 200, &key,
                   operation == REVOKE ? NULL : secret);
    dj_wipe(secret, sizeof secret);
}

static struct call *begin(struct dj_request *request, enum operation operation)
{
    struct call *call = dj_arena_alloc(request->arena, sizeof *call);
    if (!call) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return NULL;
    }
    memset(call, 0, sizeof *call);
    call->request = request;
    call->operation = operation;
    call->now_ms = dj_loop_now_ms(request->loop);
    return call;
}

static void submit(struct call *call)
{
    struct dj_request *request = call->request;
    call->job = (struct dj_job){.work = work, .done = done, .ctx = call, .loop = request->loop};
    enum deja_status status = dj_pool_submit(request->api->proxy->pool, &call->job);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

/* Without them there is nothing to ask, as in a program without storage. False: answered. */
static bool has_keys(struct dj_request *request)
{
    if (request->api->proxy->keys && request->api->proxy->vault)
        return true;
    dj_request_problem(request, 501, "unsupported", "this daemon keeps no keys");
    return false;
}

/* ---- reading ---- */

/* A tenant that an administrator made. */
static bool check_tenant(struct dj_request *request, const char *field, struct deja_slice text,
                         uint8_t out_tenant[DJ_TENANT_BYTES])
{
    struct dj_directory *directory = request->api->proxy->directory;
    if (dj_tenant_parse(text, out_tenant) != DEJA_OK) {
        dj_request_complain(request, "invalid_request", field, "format", "must be a tenant's UUID");
        return false;
    }
    struct dj_rules *rules = directory ? dj_directory_find(directory, out_tenant) : NULL;
    if (directory && !rules)
        dj_request_complain(request, "invalid_request", field, "exists",
                            "there is no such tenant: make it first (POST /api/v1/tenants)");
    dj_rules_unref(rules);
    return !directory || rules;
}

static bool read_roles(struct dj_request *request, struct dj_key *key)
{
    const struct dj_json *roles = dj_json_get(request->body, "roles");
    bool is_good = !roles || dj_json_is(roles, DJ_JSON_ARRAY);
    if (!roles)
        key->roles = DJ_ROLE_READ | DJ_ROLE_WRITE;
    for (struct dj_json_walk w = dj_json_walk(roles); is_good && dj_json_walk_next(&w);) {
        unsigned role = dj_role_of(dj_json_string(w.value));
        is_good = role != 0;
        key->roles |= role;
    }
    if (!is_good || !key->roles)
        dj_request_complain(request, "invalid_request", "roles", "value",
                            "expects one or more of read, write, admin, audit");
    return is_good && key->roles;
}

static bool read_certificate(struct dj_request *request, struct dj_key *key)
{
    struct deja_slice text = {0};
    uint8_t digest[DJ_CERTIFICATE_BYTES / 2];
    if (!dj_query_label(request, request->body, "certificate", "", DJ_CERTIFICATE_BYTES, &text))
        return false;
    if (!text.len)
        return true;
    if (dj_hex_decode(text, digest, sizeof digest) != DEJA_OK) {
        dj_request_complain(request, "invalid_request", "certificate", "format",
                            "must be the SHA-256 of the client certificate, 64 hex digits");
        return false;
    }
    dj_hex_encode(digest, sizeof digest, key->certificate);
    return true;
}

static bool read_key_limits(struct dj_request *request, struct call *call)
{
    static const double range[2] = {0, RATE_MAX};
    double burst = 0;
    uint64_t life_ms = 0;
    if (!dj_query_number(request, request->body, "requests_per_s", "", range,
                         &call->key.requests_per_s) ||
        !dj_query_number(request, request->body, "burst", "", range, &burst) ||
        !dj_query_duration(request, request->body, "expires_in", "", &life_ms))
        return false;
    call->key.burst = (uint32_t)burst;
    if (life_ms)
        call->key.expires_ms =
            life_ms < (uint64_t)(INT64_MAX - call->now_ms) ? call->now_ms + (int64_t)life_ms : 0;
    return true;
}

static bool read_wish(struct dj_request *request, struct call *call)
{
    static const char *const members[] = {"name",           "tenant", "roles",       "expires_in",
                                          "requests_per_s", "burst",  "certificate", NULL};
    struct deja_slice name = {0};
    struct deja_slice tenant = {0};
    struct dj_key *key = &call->key;
    if (!dj_query_check_members(request, request->body, "", members) ||
        !dj_query_label(request, request->body, "name", "", DJ_KEY_NAME_BYTES_MAX, &name) ||
        !dj_query_label(request, request->body, "tenant", "", DJ_LABEL_BYTES_MAX, &tenant) ||
        !read_roles(request, key) || !read_certificate(request, key) ||
        !read_key_limits(request, call))
        return false;
    if (name.len)
        memcpy(key->name, name.data, name.len);
    key->has_tenant = tenant.len > 0;
    if (key->has_tenant)
        return check_tenant(request, "tenant", tenant, key->tenant);
    if (key->roles & (DJ_ROLE_READ | DJ_ROLE_WRITE) && !(key->roles & DJ_ROLE_ADMIN))
        dj_request_complain(request, "invalid_request", "tenant", "required",
                            "a key that reads or writes belongs to a tenant");
    return true;
}

static void make_body(struct dj_request *request)
{
    struct call *call = begin(request, MAKE);
    if (!call)
        return;
    if (read_wish(request, call) && !request->complaint)
        submit(call);
    else
        dj_request_has_complaints(request);
}

void dj_keys_api_make(struct dj_request *request)
{
    if (has_keys(request))
        dj_request_read(request, make_body);
}

static void rotate_body(struct dj_request *request)
{
    static const char *const members[] = {"overlap", NULL};
    struct call *call = begin(request, ROTATE);
    const struct dj_json *overlap = dj_json_get(request->body, "overlap");
    bool is_at_once = dj_json_is(overlap, DJ_JSON_NUMBER) && dj_json_i64(overlap, 1) == 0;
    if (!call)
        return;
    call->overlap_ms = is_at_once ? 0 : OVERLAP_MS_DEFAULT;
    if (dj_query_check_members(request, request->body, "", members) &&
        (is_at_once ||
         dj_query_duration(request, request->body, "overlap", "", &call->overlap_ms)) &&
        call->overlap_ms > (uint64_t)OVERLAP_MS_MAX)
        dj_request_complain(request, "invalid_request", "overlap", "range", "is at most 90 days");
    if (!dj_request_has_complaints(request))
        submit(call);
}

void dj_keys_api_rotate(struct dj_request *request)
{
    if (has_keys(request))
        dj_request_read(request, rotate_body);
}

void dj_keys_api_revoke(struct dj_request *request)
{
    struct call *call = has_keys(request) ? begin(request, REVOKE) : NULL;
    if (call)
        submit(call);
}

/* ---- looking ---- */

void dj_keys_api_get(struct dj_request *request)
{
    struct dj_key key;
    if (!has_keys(request))
        return;
    if (dj_keys_get(request->api->proxy->keys, request->rest, &key) == DEJA_OK)
        answer_key(request, 200, &key, NULL);
    else
        dj_request_problem(request, 404, "not_found", "there is no such key");
}

static bool read_page(struct dj_request *request, struct deja_slice *out_tenant,
                      struct deja_slice *out_after, uint64_t *out_limit)
{
    struct deja_slice limit = {0};
    if (!dj_query_url_member(request, "tenant", out_tenant) ||
        !dj_query_url_member(request, "after", out_after) ||
        !dj_query_url_member(request, "limit", &limit))
        return false;
    if (limit.data &&
        (dj_num_parse_u64(limit, out_limit) != DEJA_OK || *out_limit < 1 || *out_limit > PAGE_MAX))
        dj_request_complain(request, "invalid_request", "limit", "range",
                            "must be a number from 1 to 1000");
    return true;
}

void dj_keys_api_list(struct dj_request *request)
{
    struct deja_slice name = {0};
    struct deja_slice after = {0};
    uint8_t tenant[DJ_TENANT_BYTES];
    uint64_t limit = PAGE_DEFAULT;
    struct dj_key *keys = NULL;
    size_t count = 0;
    if (!has_keys(request))
        return;
    if (read_page(request, &name, &after, &limit) && name.data &&
        dj_tenant_parse(name, tenant) != DEJA_OK)
        dj_request_complain(request, "invalid_request", "tenant", "format",
                            "must be a tenant's UUID");
    if (dj_request_has_complaints(request))
        return;
    enum deja_status status = dj_keys_list(request->api->proxy->keys, name.data ? tenant : NULL,
                                           after, (size_t)limit + 1, &keys, &count);
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    bool has_more = count > limit;
    dj_json_begin_object(&w);
    dj_json_key(&w, "keys");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < count && i < limit; i++)
        put_key(&w, &keys[i], dj_loop_now_ms(request->loop));
    dj_json_end_array(&w);
    dj_json_member_text(&w, "next", has_more ? keys[limit - 1].id : NULL);
    dj_json_end_object(&w);
    dj_free(keys);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

/* ---- what the upstream is shown ---- */

/* The tenant of the path, which is there; false: the request was answered. */
static bool take_tenant(struct dj_request *request, uint8_t out_tenant[DJ_TENANT_BYTES])
{
    struct dj_directory *directory = request->api->proxy->directory;
    struct dj_rules *rules = NULL;
    bool is_id = dj_tenant_parse(request->rest, out_tenant) == DEJA_OK;
    if (is_id && directory)
        rules = dj_directory_find(directory, out_tenant);
    bool is_there = is_id && (!directory || rules);
    dj_rules_unref(rules);
    if (!is_there)
        dj_request_problem(request, 404, "not_found", "there is no such tenant");
    return is_there;
}

static void hold_body(struct dj_request *request)
{
    static const char *const members[] = {"value", "scheme", NULL};
    struct call *call = begin(request, HOLD);
    struct deja_slice scheme = {0};
    if (!call || !take_tenant(request, call->tenant))
        return;
    if (dj_query_check_members(request, request->body, "", members) &&
        dj_query_label(request, request->body, "value", "", DJ_VAULT_VALUE_BYTES_MAX,
                       &call->value) &&
        dj_query_label(request, request->body, "scheme", "", DJ_LABEL_BYTES_MAX, &scheme)) {
        if (!call->value.len)
            dj_request_complain(request, "invalid_request", "value", "required",
                                "the credential as the upstream gave it");
        else if (scheme.len && dj_vault_scheme_of(scheme, &call->scheme) != DEJA_OK)
            dj_request_complain(request, "invalid_request", "scheme", "value",
                                "must be bearer, x-api-key, api-key or x-goog-api-key");
        else if (dj_key_is_claimed(call->value))
            dj_request_complain(request, "invalid_request", "value", "value",
                                "is a key of Deja's, not of an upstream");
    }
    if (!dj_request_has_complaints(request))
        submit(call);
}

void dj_keys_api_hold(struct dj_request *request)
{
    if (has_keys(request))
        dj_request_read(request, hold_body);
}

void dj_keys_api_drop(struct dj_request *request)
{
    struct call *call = has_keys(request) ? begin(request, DROP) : NULL;
    if (call && take_tenant(request, call->tenant))
        submit(call);
}

void dj_keys_api_held(struct dj_request *request)
{
    struct dj_vault_facts facts;
    uint8_t tenant[DJ_TENANT_BYTES];
    char name[DJ_TENANT_TEXT_BYTES];
    if (!has_keys(request))
        return;
    if (dj_tenant_parse(request->rest, tenant) != DEJA_OK ||
        dj_vault_get(request->api->proxy->vault, tenant, &facts) != DEJA_OK) {
        dj_request_problem(request, 404, "not_found",
                           "no upstream credential is held for this tenant");
        return;
    }
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_tenant_text(tenant, name);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "tenant", name);
    dj_json_member_text(&w, "scheme", dj_vault_scheme_text(facts.scheme));
    dj_request_put_time(&w, "set", facts.set_ms);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}
