/* proxy/identity.h - who asks: the tenant of a request's credential, and the front of its keys.
 *
 * The one place where a credential becomes a tenant, so that the proxy and the cache API agree
 * (I1). In this order, the first that is there:
 *
 *   a key of Deja's    X-Deja-Key, Authorization: Bearer, x-api-key, api-key, x-goog-api-key,
 * x-bf-vk a linked one       an upstream credential that an administrator gave to a tenant a
 * certificate      of the client, that a key names a derived tenant   made of the upstream
 * credential, or the local one without any; only where context->derive has it so
 *
 * The admin token (X-Deja-Token, or as a bearer) adds every role to whichever it is. Who has the
 * role admin acts for any tenant with X-Deja-Tenant: UUID. X-Deja-User: NAME narrows every key to
 * one user of the tenant (security/user.h). Nothing but these headers is a credential: no cookie,
 * no member of the address.
 *
 * Threads: any. Trust: requests are untrusted.
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
    int status; /* 400, 401, 403, 429, 503 */
    const char *type;
    const char *detail;
    uint32_t retry_after_s; /* 0: none is told */
};

/* Who asks, for what belongs to a tenant; ended with dj_principal_fini. False: *out_refusal is the
 * answer, and *out_principal holds nothing. */
bool dj_identity_take(const struct dj_proxy_context *context, const struct dj_http_request *request,
                      int64_t now_ms, struct dj_principal *out_principal,
                      struct dj_identity_refusal *out_refusal) DEJA_NODISCARD;
/* The same for what belongs to nobody, administration: a tenant is not wanted, and where there is
 * none out_principal->has_tenant is false. */
bool dj_identity_take_roles(const struct dj_proxy_context *context,
                            const struct dj_http_request *request, int64_t now_ms,
                            struct dj_principal *out_principal,
                            struct dj_identity_refusal *out_refusal) DEJA_NODISCARD;
/* Does it have one of these roles? An administrator reads and writes too. */
bool dj_identity_may(const struct dj_principal *principal, unsigned roles);

/* Is this header, with its value, a credential of Deja's own? Such headers never go upstream. */
bool dj_identity_is_own(const struct dj_proxy_context *context,
                        const struct dj_http_header *header);

/* The namespace of the knobs into the prefix, narrowed by what else tells entries apart: the
 * virtual key of a gateway upstream (x-bf-vk) and one of knobs->variants, picked at random
 * (*out_variant). False: out of memory, the cache must not be used. Text in the request's arena. */
bool dj_identity_narrow(const struct dj_http_request *request, const struct dj_knobs *knobs,
                        struct dj_key_prefix *prefix, uint32_t *out_variant) DEJA_NODISCARD;

/* The key that all fingerprints of this principal are made with: of its tenant, or of the user
 * inside it. */
void dj_identity_fingerprint_key(const struct dj_proxy_context *context,
                                 const struct dj_principal *who, struct dj_secret *out_key);
/* Everything in front of a body that is meant for the upstream; family: "chat", "embeddings".
 * Slices are borrowed from request and context. Wipe its fingerprint_key after use. */
void dj_identity_prefix(const struct dj_proxy_context *context,
                        const struct dj_http_request *request, const struct dj_principal *who,
                        const char *family, struct dj_key_prefix *out_prefix);
/* Room for the tag of the user, if there is one, in front of the entry's others; text in arena.
 * False: out of memory, the entry must not be kept. */
bool dj_identity_tag(const struct dj_principal *who, struct dj_arena *arena,
                     struct dj_entry *entry) DEJA_NODISCARD;

#endif
