/* proxy/call_admit.c - may a call go upstream now? First the tenant's budget, once a call; then its
 * turn among the tenants, kept until the upstream has answered; then breaker and throttle (call.c),
 * each time it asks. */
#include "proxy/call_internal.h"
#include "proxy/gate.h"

#define OVERLOAD_WAIT_MS 1000u

/* The tenant's budget of calls and money; a breaker that is open costs it nothing. */
static bool has_budget(struct dj_call *call)
{
    struct dj_proxy_context *context = call->context;
    struct dj_limit_verdict verdict;
    bool is_free = dj_upstream_is_open(dj_call_upstream(call), call->family);
    if (call->attempts || !call->rules || is_free ||
        dj_gate_take_miss(context, call->fingerprint.key.tenant, call->rules, &verdict))
        return true;
    call->wait_ms = verdict.wait_ms;
    dj_call_fail(call, DEJA_ERR_RATE_LIMITED, dj_limit_detail(verdict.limit));
    return false;
}

static void fail_overloaded(struct dj_call *call)
{
    call->wait_ms = OVERLOAD_WAIT_MS;
    dj_telemetry_overloaded(call->context->telemetry);
    dj_call_fail(call, DEJA_ERR_LIMIT,
                 "Too many calls to the upstream wait here. Try again after the time given.");
}

static void on_told(void *ctx, bool is_let)
{
    struct dj_call *call = ctx;
    call->is_placed = is_let;
    if (is_let || atomic_load(&call->context->is_stopping))
        dj_call_ask_now(call);
    else
        fail_overloaded(call);
}

void dj_call_ask_upstream(struct dj_call *call)
{
    struct dj_proxy_context *context = call->context;
    if (call->is_placed || atomic_load(&context->is_stopping)) {
        dj_call_ask_now(call);
        return;
    }
    if (!has_budget(call))
        return;
    const struct dj_admission_question question = {
        .tenant = call->fingerprint.key.tenant,
        .weight = call->rules ? dj_rules_of(call->rules)->limits.weight : 0,
        .is_patient = !call->is_refresh && !call->is_background,
        .loop = call->home,
        .ctx = call,
        .told = on_told,
    };
    switch (dj_admission_enter(context->admission, &call->place, &question)) {
    case DJ_ADMISSION_LET:
        call->is_placed = true;
        dj_call_ask_now(call);
        break;
    case DJ_ADMISSION_WAITS:
        break;
    case DJ_ADMISSION_REFUSED:
        fail_overloaded(call);
        break;
    }
}
