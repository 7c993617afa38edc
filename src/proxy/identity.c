/* proxy/identity.c - see identity.h. */
#include "proxy/identity.h"

#include <stdio.h>

#include "base/num.h"
#include "crypto/digest.h"
#include "proto/http_text.h"

struct deja_slice dj_identity_credential(const struct dj_http_request *request)
{
    struct deja_slice value = dj_http_find_header(request, "authorization");
    static const char bearer[] = "bearer ";
    static const char *const key_headers[] = {"x-api-key", "api-key", "x-goog-api-key", "x-bf-vk"};
    for (size_t i = 0; !value.len && i < sizeof key_headers / sizeof *key_headers; i++) {
        struct deja_slice key = dj_http_find_header(request, key_headers[i]);
        if (key.len)
            return key;
    }
    if (value.len > sizeof bearer - 1 &&
        dj_http_is_same(deja_slice(value.data, sizeof bearer - 1), bearer))
        return dj_http_trim(
            deja_slice(value.data + sizeof bearer - 1, value.len - (sizeof bearer - 1)));
    return value;
}

void dj_identity_tenant(const struct dj_proxy_context *context,
                        const struct dj_http_request *request, uint8_t out_tenant[DJ_ID_BYTES])
{
    struct deja_slice credential = context->forced_tenant ? deja_slice_text(context->forced_tenant)
                                                          : dj_identity_credential(request);
    dj_tenant_derive(context->root, credential, out_tenant);
}

bool dj_identity_take(const struct dj_proxy_context *context, const struct dj_http_request *request,
                      int64_t now_ms, struct dj_principal *out_principal,
                      struct dj_identity_refusal *out_refusal)
{
    *out_principal = (struct dj_principal){
        .origin = dj_identity_credential(request).len ? DJ_ORIGIN_CREDENTIAL : DJ_ORIGIN_LOCAL,
        .roles = DJ_ROLE_READ | DJ_ROLE_WRITE,
        .rules = dj_rules_ref(context->rules),
    };
    *out_refusal = (struct dj_identity_refusal){0};
    dj_identity_tenant(context, request, out_principal->tenant);
    /* No room for another tenant: answered without the cache. */
    out_principal->is_unknown = dj_registry_touch(context->registry, out_principal->tenant, now_ms,
                                                  &out_principal->may_hit) != DEJA_OK;
    return true;
}

void dj_identity_prefix(const struct dj_proxy_context *context,
                        const struct dj_http_request *request, const uint8_t tenant[DJ_ID_BYTES],
                        const char *family, struct dj_key_prefix *out_prefix)
{
    *out_prefix = (struct dj_key_prefix){
        .family = family,
        .upstream_id = deja_slice_text(context->upstream_id),
        .headers = {dj_http_find_header(request, "anthropic-beta"),
                    dj_http_find_header(request, "openai-organization"),
                    dj_http_find_header(request, "openai-project")},
    };
    memcpy(out_prefix->tenant, tenant, sizeof out_prefix->tenant);
    struct dj_secret key;
    dj_tenant_fingerprint_key(context->root, tenant, &key);
    memcpy(out_prefix->fingerprint_key, key.bytes, sizeof out_prefix->fingerprint_key);
    dj_secret_fini(&key);
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
