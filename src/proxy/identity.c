/* proxy/identity.c - see identity.h. */
#include "proxy/identity.h"

#include <stdio.h>

#include "base/num.h"
#include "crypto/digest.h"
#include "proto/http_text.h"
#include "security/user.h"

/* ---- what a request shows ---- */

/* Borrowed from the request; data NULL: not sent. */
struct claims {
    struct deja_slice authorization; /* as sent */
    struct deja_slice keys[4];       /* as key_names */
    struct deja_slice deja_key;
    struct deja_slice token;
    struct deja_slice tenant;
    struct deja_slice user;
    bool is_ambiguous; /* one of them twice */
};

static struct deja_slice *claim_of(struct claims *claims, struct deja_slice name)
{
    static const char *const key_names[] = {"x-api-key", "api-key", "x-goog-api-key", "x-bf-vk"};
    const struct {
        const char *name;
        struct deja_slice *value;
    } others[] = {{"authorization", &claims->authorization},
                  {"x-deja-key", &claims->deja_key},
                  {"x-deja-token", &claims->token},
                  {"x-deja-tenant", &claims->tenant},
                  {"x-deja-user", &claims->user}};
    for (size_t i = 0; i < sizeof key_names / sizeof *key_names; i++)
        if (dj_http_is_same(name, key_names[i]))
            return &claims->keys[i];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (dj_http_is_same(name, others[i].name))
            return others[i].value;
    return NULL;
}

/* One pass over the headers: this is on the hit path. */
static struct claims read_claims(const struct dj_http_request *request)
{
    struct claims claims = {.is_ambiguous = false};
    for (size_t i = 0; i < request->header_count; i++) {
        const struct dj_http_header *header = &request->headers[i];
        char first = header->name.len ? (char)(header->name.data[0] | 0x20) : '\0';
        if (first != 'a' && first != 'x')
            continue;
        struct deja_slice *claim = claim_of(&claims, header->name);
        if (!claim)
            continue;
        claims.is_ambiguous |= claim->data != NULL;
        *claim = header->value;
        if (!claim->data)
            claim->data = "";
    }
    return claims;
}

static struct deja_slice without_scheme(struct deja_slice authorization)
{
    static const char bearer[] = "bearer ";
    if (authorization.len <= sizeof bearer - 1 ||
        !dj_http_is_same(deja_slice(authorization.data, sizeof bearer - 1), bearer))
        return authorization;
    return dj_http_trim(deja_slice(authorization.data + sizeof bearer - 1,
                                   authorization.len - (sizeof bearer - 1)));
}

/* As dj_identity_credential. */
static struct deja_slice credential_of(const struct claims *claims)
{
    struct deja_slice value = without_scheme(claims->authorization);
    for (size_t i = 0; i < sizeof claims->keys / sizeof *claims->keys && !value.len; i++)
        value = claims->keys[i];
    return value;
}

struct deja_slice dj_identity_credential(const struct dj_http_request *request)
{
    struct claims claims = read_claims(request);
    return credential_of(&claims);
}

void dj_identity_tenant(const struct dj_proxy_context *context,
                        const struct dj_http_request *request, uint8_t out_tenant[DJ_ID_BYTES])
{
    struct deja_slice credential = context->forced_tenant ? deja_slice_text(context->forced_tenant)
                                                          : dj_identity_credential(request);
    dj_tenant_derive(context->root, credential, out_tenant);
}

/* The first that says it is a key of Deja's. */
static struct deja_slice own_key_of(const struct claims *claims)
{
    struct deja_slice bearer = without_scheme(claims->authorization);
    if (claims->deja_key.data)
        return claims->deja_key;
    if (dj_key_is_claimed(bearer))
        return bearer;
    for (size_t i = 0; i < sizeof claims->keys / sizeof *claims->keys; i++)
        if (dj_key_is_claimed(claims->keys[i]))
            return claims->keys[i];
    return deja_slice(NULL, 0);
}

static bool is_token(const struct dj_proxy_context *context, struct deja_slice value)
{
    struct deja_slice token = deja_slice_text(context->operator_token);
    return token.len > 0 && value.len == token.len &&
           dj_is_equal_constant_time(value.data, token.data, token.len);
}

bool dj_identity_is_own(const struct dj_proxy_context *context, const struct dj_http_header *header)
{
    struct claims claims = {.is_ambiguous = false};
    const struct deja_slice *claim = claim_of(&claims, header->name);
    struct deja_slice value =
        claim == &claims.authorization ? without_scheme(header->value) : header->value;
    return claim && (dj_key_is_claimed(value) || is_token(context, value));
}

/* ---- who that is ---- */

struct taking {
    const struct dj_proxy_context *context;
    const struct dj_http_request *request;
    struct claims claims;
    int64_t now_ms;
    struct dj_principal *who;
    struct dj_identity_refusal *refusal;
};

static bool refuse(struct taking *taking, int status, const char *type, const char *detail)
{
    *taking->refusal =
        (struct dj_identity_refusal){.status = status, .type = type, .detail = detail};
    return false;
}

static bool take_verdict(struct taking *taking, enum dj_key_verdict verdict, int64_t retry_ms)
{
    static const char *const details[] = {
        [DJ_KEY_WRONG] = "this API key is not known here",
        [DJ_KEY_REPLACED] = "this API key was rotated, and its former secret has ended",
        [DJ_KEY_EXPIRED] = "this API key has expired",
        [DJ_KEY_REVOKED] = "this API key was revoked",
    };
    switch (verdict) {
    case DJ_KEY_GOOD:
        return true;
    case DJ_KEY_LOCKED:
        refuse(taking, 429, "rate_limited", "too many attempts with wrong keys; try again later");
        taking->refusal->retry_after_s = (uint32_t)((retry_ms + 999) / 1000);
        return false;
    case DJ_KEY_UNSURE:
        return refuse(taking, 503, "cache_unavailable",
                      "keys cannot be checked: where they are kept does not answer");
    default:
        return refuse(taking, 401, "unauthorized", details[verdict]);
    }
}

static void become(struct taking *taking, const struct dj_key *key, enum dj_principal_origin origin)
{
    struct dj_principal *who = taking->who;
    who->origin = origin;
    who->roles = key->roles;
    who->has_tenant = key->has_tenant;
    who->key_requests_per_s = key->requests_per_s;
    who->key_burst = key->burst;
    memcpy(who->tenant, key->tenant, sizeof who->tenant);
    memcpy(who->key_id, key->id, sizeof key->id);
}

static bool take_key(struct taking *taking, struct deja_slice credential)
{
    struct dj_key key;
    int64_t retry_ms = 0;
    enum dj_key_verdict verdict = DJ_KEY_WRONG;
    if (taking->context->keys)
        verdict = dj_keys_check(taking->context->keys, credential, taking->request->peer,
                                taking->now_ms, &key, &retry_ms);
    if (!take_verdict(taking, verdict, retry_ms))
        return false;
    become(taking, &key, DJ_ORIGIN_KEY);
    return true;
}

/* False: it was refused. A certificate that nobody named says nothing. */
static bool take_certificate(struct taking *taking, bool *out_is_taken)
{
    struct dj_key key;
    struct deja_slice fingerprint = taking->request->peer_identity;
    if (!taking->context->keys || !fingerprint.len)
        return true;
    enum dj_key_verdict verdict =
        dj_keys_check_certificate(taking->context->keys, fingerprint, taking->now_ms, &key);
    if (verdict == DJ_KEY_WRONG)
        return true;
    if (!take_verdict(taking, verdict, 0))
        return false;
    become(taking, &key, DJ_ORIGIN_CERTIFICATE);
    *out_is_taken = true;
    return true;
}

static bool may_derive(const struct dj_proxy_context *context)
{
    if (context->derive != DJ_DERIVE_AUTO)
        return context->derive == DJ_DERIVE_ALWAYS;
    return !context->directory || !dj_directory_has_tenants(context->directory);
}

/* What is no key: a linked credential, a certificate, a tenant of its own. */
static bool take_stranger(struct taking *taking)
{
    const struct dj_proxy_context *context = taking->context;
    struct dj_principal *who = taking->who;
    struct deja_slice credential = context->forced_tenant ? deja_slice_text(context->forced_tenant)
                                                          : credential_of(&taking->claims);
    bool is_taken = false;
    uint8_t derived[DJ_TENANT_BYTES];
    if (is_token(context, credential))
        credential = deja_slice(NULL, 0); /* shown in the place of one */
    who->origin = credential.len ? DJ_ORIGIN_CREDENTIAL : DJ_ORIGIN_LOCAL;
    who->roles = DJ_ROLE_READ | DJ_ROLE_WRITE;
    dj_tenant_derive(context->root, credential, derived);
    memcpy(who->proof, derived, sizeof who->proof);
    if (context->directory && credential.len &&
        dj_directory_link(context->directory, derived, who->tenant)) {
        who->has_tenant = who->has_proof = true;
        return true;
    }
    if (!take_certificate(taking, &is_taken))
        return false;
    if (is_taken)
        return true;
    who->has_tenant = who->is_derived = who->has_proof = may_derive(context);
    if (who->is_derived)
        memcpy(who->tenant, derived, sizeof who->tenant);
    else
        who->roles = 0;
    return true;
}

/* X-Deja-Tenant: an administrator acts for it. */
static bool take_named_tenant(struct taking *taking)
{
    struct dj_principal *who = taking->who;
    struct deja_slice name = taking->claims.tenant;
    uint8_t tenant[DJ_TENANT_BYTES];
    if (!name.data)
        return true;
    if (dj_tenant_parse(name, tenant) != DEJA_OK)
        return refuse(taking, 400, "invalid_request", "X-Deja-Tenant must be a tenant's UUID");
    if (who->has_tenant && memcmp(who->tenant, tenant, sizeof tenant) == 0)
        return true;
    if (!(who->roles & DJ_ROLE_ADMIN))
        return who->has_tenant
                   ? refuse(taking, 403, "forbidden",
                            "X-Deja-Tenant: only an administrator acts for another tenant")
                   : true;
    memcpy(who->tenant, tenant, sizeof tenant);
    who->has_tenant = true;
    who->is_derived = who->has_proof = false;
    return true;
}

static bool take_user(struct taking *taking)
{
    struct dj_principal *who = taking->who;
    struct deja_slice name = taking->claims.user;
    struct dj_secret key;
    if (!name.data)
        return true;
    if (!name.len || name.len > DJ_USER_NAME_BYTES_MAX)
        return refuse(taking, 400, "invalid_request", "X-Deja-User must have 1 to 256 bytes");
    dj_tenant_fingerprint_key(taking->context->root, who->tenant, &key);
    dj_user_digest(key.bytes, name, who->user);
    dj_secret_fini(&key);
    who->has_user = true;
    return true;
}

/* The rules of a tenant that was named by its id, and may it still? */
static bool take_rules(struct taking *taking)
{
    struct dj_principal *who = taking->who;
    struct dj_directory *directory = taking->context->directory;
    struct dj_rules *rules = directory ? dj_directory_find(directory, who->tenant) : NULL;
    if (rules) {
        dj_rules_unref(who->rules);
        who->rules = rules;
    }
    who->may_hit = true;
    if (who->roles & DJ_ROLE_ADMIN)
        return true;
    if (rules && dj_rules_of(rules)->is_suspended)
        return refuse(taking, 403, "tenant_suspended", "this tenant is suspended");
    if (directory && !rules && !who->is_derived)
        return refuse(taking, 401, "tenant_missing", "the tenant of this credential is no more");
    return true;
}

static bool take_tenant(struct taking *taking)
{
    struct dj_principal *who = taking->who;
    if (!who->has_tenant)
        return refuse(taking, 401, "tenant_missing",
                      who->roles ? "this credential has no tenant of its own: name one with "
                                   "X-Deja-Tenant"
                                 : "say who asks: an API key as Authorization: Bearer deja_..., "
                                   "x-api-key or X-Deja-Key");
    if (!take_rules(taking) || !take_user(taking))
        return false;
    /* No room for another tenant: answered without the cache. */
    if (who->has_proof)
        who->is_unknown = dj_registry_touch(taking->context->registry, who->proof, taking->now_ms,
                                            &who->may_hit) != DEJA_OK;
    return true;
}

/* Deja itself, for a tenant: with the rules that hold for it, and no more than its clients may. */
static bool take_inner(struct taking *taking)
{
    struct dj_principal *who = taking->who;
    struct dj_directory *directory = taking->context->directory;
    memcpy(who->tenant, taking->request->inner_tenant, sizeof who->tenant);
    who->origin = DJ_ORIGIN_LOCAL;
    who->roles = DJ_ROLE_READ | DJ_ROLE_WRITE;
    who->has_tenant = true;
    struct dj_rules *rules = directory ? dj_directory_find(directory, who->tenant) : NULL;
    who->is_derived = !rules;
    dj_rules_unref(rules);
    return take_rules(taking) && take_user(taking);
}

static bool take(struct taking *taking, bool wants_tenant)
{
    struct dj_principal *who = taking->who;
    struct claims *claims = &taking->claims;
    *taking->who = (struct dj_principal){.rules = dj_rules_ref(taking->context->rules)};
    *taking->refusal = (struct dj_identity_refusal){0};
    *claims = read_claims(taking->request);
    if (taking->request->inner_tenant)
        return take_inner(taking);
    if (claims->is_ambiguous)
        return refuse(taking, 400, "invalid_request",
                      "a header that says who asks was sent more than once");
    struct deja_slice key = own_key_of(claims);
    if (!(key.data ? take_key(taking, key) : take_stranger(taking)))
        return false;
    if (is_token(taking->context, claims->token) ||
        is_token(taking->context, credential_of(claims))) {
        who->origin = DJ_ORIGIN_OPERATOR;
        who->roles = DJ_ROLES_ALL;
    }
    return take_named_tenant(taking) && (!wants_tenant || take_tenant(taking));
}

/* Wrong keys, keys that have ended, and who tried too often; never the credential. */
static void note_refusal(const struct taking *taking)
{
    const struct dj_identity_refusal *refusal = taking->refusal;
    const struct dj_audit_event event = {
        .type = DJ_AUDIT_ACCESS,
        .who = taking->who->key_id[0] ? taking->who : NULL,
        .operation = refusal->status == 429 ? "access.locked_out" : "access.refused",
        .is_failure = true,
        .error = refusal->type,
    };
    if (refusal->status == 401 || refusal->status == 403 || refusal->status == 429)
        dj_audit_note(taking->context->audit, &event, taking->now_ms);
}

static bool take_or_end(const struct dj_proxy_context *context,
                        const struct dj_http_request *request, int64_t now_ms, bool wants_tenant,
                        struct dj_principal *out_principal, struct dj_identity_refusal *out_refusal)
{
    struct taking taking = {.context = context,
                            .request = request,
                            .now_ms = now_ms,
                            .who = out_principal,
                            .refusal = out_refusal};
    bool is_taken = take(&taking, wants_tenant);
    if (!is_taken) {
        dj_principal_fini(out_principal);
        note_refusal(&taking);
    }
    return is_taken;
}

bool dj_identity_take(const struct dj_proxy_context *context, const struct dj_http_request *request,
                      int64_t now_ms, struct dj_principal *out_principal,
                      struct dj_identity_refusal *out_refusal)
{
    return take_or_end(context, request, now_ms, true, out_principal, out_refusal);
}

bool dj_identity_take_roles(const struct dj_proxy_context *context,
                            const struct dj_http_request *request, int64_t now_ms,
                            struct dj_principal *out_principal,
                            struct dj_identity_refusal *out_refusal)
{
    return take_or_end(context, request, now_ms, false, out_principal, out_refusal);
}

bool dj_identity_may(const struct dj_principal *principal, unsigned roles)
{
    unsigned has = principal->roles;
    if (has & DJ_ROLE_ADMIN)
        has |= DJ_ROLE_READ | DJ_ROLE_WRITE;
    return (has & roles) != 0;
}

/* ---- keys ---- */

void dj_identity_fingerprint_key(const struct dj_proxy_context *context,
                                 const struct dj_principal *who, struct dj_secret *out_key)
{
    dj_tenant_fingerprint_key(context->root, who->tenant, out_key);
    if (who->has_user)
        dj_user_narrow(out_key->bytes, who->user);
}

void dj_identity_prefix(const struct dj_proxy_context *context,
                        const struct dj_http_request *request, const struct dj_principal *who,
                        const char *family, struct dj_key_prefix *out_prefix)
{
    const char *own = who->rules ? dj_rules_of(who->rules)->upstream_url : NULL;
    *out_prefix = (struct dj_key_prefix){
        .family = family,
        .upstream_id = deja_slice_text(own ? own : context->targets[dj_target_of(request)].id),
        .headers = {dj_http_find_header(request, "anthropic-beta"),
                    dj_http_find_header(request, "openai-organization"),
                    dj_http_find_header(request, "openai-project")},
    };
    memcpy(out_prefix->tenant, who->tenant, sizeof out_prefix->tenant);
    struct dj_secret key;
    dj_identity_fingerprint_key(context, who, &key);
    memcpy(out_prefix->fingerprint_key, key.bytes, sizeof out_prefix->fingerprint_key);
    dj_secret_fini(&key);
}

bool dj_identity_tag(const struct dj_principal *who, struct dj_arena *arena, struct dj_entry *entry)
{
    if (!who->has_user)
        return true;
    char *tag = dj_arena_alloc(arena, DJ_USER_TAG_BYTES);
    if (!tag)
        return false;
    dj_user_tag(who->user, tag);
    entry->tags[0].name = deja_slice(tag, DJ_USER_TAG_BYTES - 1);
    entry->tag_count = 1;
    return true;
}

bool dj_identity_narrow(const struct dj_http_request *request, const struct dj_knobs *knobs,
                        struct dj_key_prefix *prefix, uint32_t *out_variant)
{
    struct deja_slice virtual_key = dj_http_find_header(request, "x-bf-vk");
    char key_text[2 * DJ_SHA256_BYTES + 1] = "";
    uint32_t variant = 0;
    prefix->name_space = knobs->name_space;
    *out_variant = 0;
    if (knobs->variants > 1) {
        dj_random_bytes(&variant, sizeof variant);
        variant %= knobs->variants;
    }
    if (!virtual_key.len && !variant)
        return true;
    if (virtual_key.len) {
        /* Keyed, so that no namespace a client may name reads the same. */
        uint8_t digest[DJ_SHA256_BYTES];
        dj_hmac(prefix->fingerprint_key, &virtual_key, 1, digest);
        dj_hex_encode(digest, sizeof digest, key_text);
    }
    size_t size = knobs->name_space.len + sizeof key_text + 16;
    char *text = dj_arena_alloc(request->arena, size);
    if (!text)
        return false;
    int len = snprintf(text, size, "%.*s\x1f%s\x1f%u", (int)knobs->name_space.len,
                       knobs->name_space.len ? knobs->name_space.data : "", key_text, variant);
    prefix->name_space = deja_slice(text, (size_t)len);
    *out_variant = variant;
    return true;
}
