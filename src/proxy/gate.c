/* proxy/gate.c - see gate.h.
 *
 * Two families of headers are written. RateLimit-Limit, -Remaining and -Reset are what clients read
 * today; RateLimit and RateLimit-Policy, to which the IETF's draft has moved, and OpenAI's
 * x-ratelimit-*-requests come with a refusal only: an answer of the upstream brings its own of the
 * latter, which speak of the upstream's limits.
 */
#include "proxy/gate.h"

#include <assert.h>
#include <stdio.h>

#include "base/num.h"
#include "loop/loop.h"
#include "proxy/spending.h"
#include "security/principal.h"

#define HEADERS_MAX 10u
#define VALUE_BYTES 64u
/* Waiting longer is not for a client that tries again by itself. */
#define PATIENCE_MS 60000u

struct told {
    struct dj_http_header items[HEADERS_MAX];
    char values[HEADERS_MAX][VALUE_BYTES];
    size_t count;
};

/* A header whose value is text, a number, and what follows; not by printf, for hits are many. */
static void tell(struct told *told, const char *name, const char *before, uint64_t number,
                 const char *after)
{
    char *value = told->values[told->count];
    size_t before_len = strlen(before);
    size_t after_len = strlen(after);
    assert(before_len + DJ_NUM_U64_DIGITS_MAX + after_len <= VALUE_BYTES);
    memcpy(value, before, before_len);
    size_t len = before_len + dj_num_write_u64(number, value + before_len);
    memcpy(value + len, after, after_len);
    told->items[told->count++] =
        (struct dj_http_header){deja_slice_text(name), deja_slice(value, len + after_len)};
}

static uint64_t seconds(uint64_t ms)
{
    return (ms + 999) / 1000;
}

static void tell_refusal(struct told *told, const struct dj_limit_verdict *verdict)
{
    char after[VALUE_BYTES / 2] = "";
    uint64_t per_second = verdict->per_second ? verdict->per_second : 1;
    uint64_t wait_s = seconds(verdict->wait_ms);
    tell(told, "Retry-After", "", wait_s, "");
    told->items[told->count++] = (struct dj_http_header){
        deja_slice_text("x-should-retry"),
        deja_slice_text(verdict->wait_ms <= PATIENCE_MS ? "true" : "false")};
    if (!verdict->has_quota)
        return;
    snprintf(after, sizeof after, ";w=%llu",
             (unsigned long long)((verdict->quota + per_second - 1) / per_second));
    tell(told, "RateLimit-Policy", "\"requests\";q=", verdict->quota, after);
    snprintf(after, sizeof after, ";t=%llu", (unsigned long long)wait_s);
    tell(told, "RateLimit", "\"requests\";r=", verdict->left, after);
    tell(told, "x-ratelimit-limit-requests", "", verdict->quota, "");
    tell(told, "x-ratelimit-remaining-requests", "", verdict->left, "");
    tell(told, "x-ratelimit-reset-requests", "", verdict->full_ms, "ms");
}

/* Without memory the headers are left out; the answer itself is not. */
static void tell_headers(struct dj_http_exchange *exchange, const struct dj_limit_verdict *verdict)
{
    bool is_refused = verdict->limit != DJ_LIMIT_NONE;
    if (!is_refused && !verdict->has_quota)
        return;
    struct told *told = dj_arena_alloc(dj_http_exchange_request(exchange)->arena, sizeof *told);
    if (!told)
        return;
    told->count = 0;
    if (verdict->has_quota) {
        tell(told, "RateLimit-Limit", "", verdict->quota, "");
        tell(told, "RateLimit-Remaining", "", verdict->left, "");
        tell(told, "RateLimit-Reset", "", seconds(verdict->full_ms), "");
    }
    if (is_refused)
        tell_refusal(told, verdict);
    dj_http_exchange_add_headers(exchange, told->items, told->count);
}

static void count(struct dj_proxy_context *context, const uint8_t tenant[DJ_TENANT_BYTES],
                  const struct dj_limit_verdict *verdict)
{
    dj_telemetry_limited(context->telemetry, tenant, dj_limit_text(verdict->limit));
}

static void on_connection_closed(void *ctx, const uint8_t id[16])
{
    dj_limiter_disconnect(ctx, id);
}

/* The first request of a connection that names a tenant with such a limit counts it. */
static bool take_connection(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                            const struct dj_principal *who, uint64_t now_us)
{
    if (!dj_rules_of(who->rules)->limits.connections_max || !context->limiter ||
        dj_http_exchange_has_owner(exchange))
        return true;
    if (!dj_limiter_connect(context->limiter, who, now_us))
        return false;
    struct dj_http_owner owner = {.ctx = context->limiter, .on_closed = on_connection_closed};
    static_assert(sizeof owner.id == DJ_TENANT_BYTES, "a tenant fits");
    memcpy(owner.id, who->tenant, sizeof owner.id);
    dj_http_exchange_own(exchange, &owner);
    return true;
}

bool dj_gate_enter(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                   const struct dj_principal *who, struct dj_limit_pass *out_pass,
                   struct dj_limit_verdict *out_verdict)
{
    uint64_t now_us = dj_loop_turn_us(dj_http_exchange_loop(exchange));
    bool may_enter =
        dj_limiter_enter(context->limiter, who, dj_http_exchange_request(exchange)->body.len,
                         now_us, out_pass, out_verdict);
    if (may_enter && !take_connection(context, exchange, who, now_us)) {
        dj_limiter_leave(out_pass, 0, now_us);
        out_verdict->limit = DJ_LIMIT_CONNECTIONS;
        out_verdict->wait_ms = 1000;
        dj_http_exchange_close_after(exchange); /* not to be kept on without being counted */
        may_enter = false;
    }
    tell_headers(exchange, out_verdict);
    if (!may_enter)
        count(context, who->tenant, out_verdict);
    return may_enter;
}

void dj_gate_leave(struct dj_limit_pass *pass, uint64_t answer_bytes)
{
    if (pass->is_counted || pass->bytes_per_s)
        dj_limiter_leave(pass, answer_bytes, dj_clock_monotonic_us());
}

bool dj_gate_take_miss(struct dj_proxy_context *context, const uint8_t tenant[DJ_TENANT_BYTES],
                       const struct dj_rules *rules, struct dj_limit_verdict *out_verdict)
{
    if (dj_limiter_take_miss(context->limiter, tenant, rules, dj_clock_monotonic_us(),
                             dj_clock_now_ms(), out_verdict))
        return true;
    count(context, tenant, out_verdict);
    return false;
}

double dj_gate_spend(struct dj_proxy_context *context, const uint8_t tenant[DJ_TENANT_BYTES],
                     const struct dj_rules *rules, const struct dj_gate_usage *usage)
{
    const struct dj_price_usage used = {.input_tokens = usage->input_tokens,
                                        .cached_tokens = usage->cached_tokens,
                                        .output_tokens = usage->output_tokens};
    struct dj_spending spending;
    dj_spending_work_out(context, rules, usage->kind, usage->model, &used, &spending);
    dj_telemetry_spent(context->telemetry, tenant, usage->kind, spending.cost_usd);
    if (rules && dj_rules_of(rules)->limits.spend_usd_per_day > 0)
        dj_limiter_spend(context->limiter, tenant, rules, spending.cost_usd,
                         dj_clock_monotonic_us(), dj_clock_now_ms());
    return spending.is_guess ? 0 : spending.cost_usd;
}
