/* proxy/gate.h - a request at the limiter: one step for the proxy and the cache API, right after it
 * is known who asks.
 *
 * Sets the answer's RateLimit headers, counts who is refused, and charges the connection to the
 * first tenant that names itself on it. Threads: loop-bound to the exchange.
 */
#ifndef DJ_PROXY_GATE_H
#define DJ_PROXY_GATE_H

#include <deja/base.h>

#include "net/http_server.h"
#include "proxy/context.h"
#include "proxy/limiter.h"

/* True: the request goes on and leaves with *out_pass (dj_gate_leave). False: it is answered with
 * 429 rate_limited, dj_limit_detail and out_verdict->wait_ms; Retry-After and the like are among
 * the exchange's headers already. */
bool dj_gate_enter(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                   const struct dj_principal *who, struct dj_limit_pass *out_pass,
                   struct dj_limit_verdict *out_verdict) DEJA_NODISCARD;
/* When the request was answered; the exchange may be gone. Twice: does nothing. */
void dj_gate_leave(struct dj_limit_pass *pass, uint64_t answer_bytes);

/* A call upstream for a tenant; false: out_verdict says why not. Counts the refusal. */
bool dj_gate_take_miss(struct dj_proxy_context *context, const uint8_t tenant[DJ_TENANT_BYTES],
                       const struct dj_rules *rules,
                       struct dj_limit_verdict *out_verdict) DEJA_NODISCARD;
/* What it used, as the upstream counted. */
struct dj_gate_usage {
    const char *kind; /* "response", "embedding", "passthrough": constant */
    struct deja_slice model;
    uint64_t input_tokens;
    uint64_t output_tokens;
    uint64_t cached_tokens; /* of the input: had by the provider's own prompt cache */
};
/* What it cost (proxy/spending.h) is taken from the tenant's budget and kept in the accounts; that,
 * in dollars, 0 where the price is a guess: an entry without a price of its own is guessed at again
 * when it is served. */
double dj_gate_spend(struct dj_proxy_context *context, const uint8_t tenant[DJ_TENANT_BYTES],
                     const struct dj_rules *rules, const struct dj_gate_usage *usage);

#endif
