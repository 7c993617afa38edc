/* proxy/identity.h - who asks: the tenant of a request's credential, and the front of its keys.
 *
 * The one place where a credential becomes a tenant, so that the proxy and the cache API agree
 * (I1). Threads: any. Trust: requests are untrusted.
 */
#ifndef DJ_PROXY_IDENTITY_H
#define DJ_PROXY_IDENTITY_H

#include <deja/base.h>

#include "cache/key.h"
#include "net/http_server.h"
#include "proxy/context.h"
#include "proxy/knobs.h"
#include "security/principal.h"

/* The bearer value, any other Authorization as sent, or x-api-key, api-key (Azure),
 * x-goog-api-key, x-bf-vk; empty: none. Borrowed from request. */
struct deja_slice dj_identity_credential(const struct dj_http_request *request);

/* --tenant if the operator named one, otherwise derived from the credential. */
void dj_identity_tenant(const struct dj_proxy_context *context,
                        const struct dj_http_request *request, uint8_t out_tenant[DJ_ID_BYTES]);

/* Why a request gets no principal: what is answered instead. Texts are constant. */
struct dj_identity_refusal {
    int status; /* 401, 403, 429 */
    const char *type;
    const char *detail;
    uint32_t retry_after_s; /* 0: none is told */
};

/* Who asks; ended with dj_principal_fini. False: *out_refusal is the answer. */
bool dj_identity_take(const struct dj_proxy_context *context, const struct dj_http_request *request,
                      int64_t now_ms, struct dj_principal *out_principal,
                      struct dj_identity_refusal *out_refusal) DEJA_NODISCARD;

/* The namespace of the knobs into the prefix, narrowed by what else tells entries apart: the
 * virtual key of a gateway upstream (x-bf-vk) and one of knobs->variants, picked at random
 * (*out_variant). False: out of memory, the cache must not be used. Text in the request's arena. */
bool dj_identity_narrow(const struct dj_http_request *request, const struct dj_knobs *knobs,
                        struct dj_key_prefix *prefix, uint32_t *out_variant) DEJA_NODISCARD;

/* Everything in front of a body that is meant for the upstream; family: "chat", "embeddings".
 * Slices are borrowed from request and context. Wipe its fingerprint_key after use. */
void dj_identity_prefix(const struct dj_proxy_context *context,
                        const struct dj_http_request *request, const uint8_t tenant[DJ_ID_BYTES],
                        const char *family, struct dj_key_prefix *out_prefix);

#endif
