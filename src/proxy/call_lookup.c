/* proxy/call_lookup.c - what a call does before it asks upstream.
 *
 *   look up ─┬─ found ────────────────────────────────────────────────────> land
 *            └─ missed: ask for the turn
 *                 ├─ it is ours: look once more ─┬─ found ────────────────> land
 *                 │                              └─ missed ───────────────> upstream
 *                 ├─ nobody can tell ────────────────────────────────────> upstream
 *                 └─ another program's: wait, ask for both again; in the end > upstream
 *
 * (1) A hit of the shared tier is one question to it: hits are many, and whoever misses is about to
 *     wait for the upstream, beside which two more round trips are nothing.
 * (2) Who has the turn looks once more: what the holder before stored has been found, then. It is
 *     asked for when the turn is there, as two connections of the tier know no order.
 * (3) Waiting ends with the policy's peer_wait_ms: a holder that is slow or dead keeps nobody.
 */
#include "proxy/call_internal.h"

static void ask_again(void *ctx);
static void look_again(struct dj_call *call);

static bool wants_turn(const struct dj_call *call)
{
    bool may_find = call->is_lookup || call->is_refresh;
    return may_find && call->is_storable && call->make && !call->knobs.is_only_if_cached &&
           atomic_load(&call->context->policy)->peer_wait_ms > 0;
}

static void count_turn(struct dj_call *call, const char *outcome)
{
    if (call->turn)
        dj_telemetry_turn(call->context->telemetry, outcome);
}

/* Both answers are there, and nothing was found. */
static void decide(struct dj_call *call)
{
    const struct dj_proxy_policy *policy = atomic_load(&call->context->policy);
    uint64_t waited_us = dj_loop_monotonic_us(call->home) - call->lookup_started_us;
    if (call->turn && call->turn_state == DJ_TURN_OTHERS) {
        if (call->is_refresh && !dj_flight_is_joined(call->flight)) {
            count_turn(call, "left");
            call->is_left = true;
            dj_call_fail(call, DEJA_ERR_BUSY, "another program is at it");
            return;
        }
        if (waited_us < (uint64_t)policy->peer_wait_ms * 1000 &&
            !atomic_load(&call->context->is_stopping)) {
            dj_turn_wait(call->turn, dj_turn_pause_ms(call->turn_asks++), call, ask_again);
            return;
        }
    }
    if (call->turn && call->turn_state == DJ_TURN_HELD && !call->is_turn_taken) {
        call->is_turn_taken = true;
        call->asking = 1;
        look_again(call);
        return;
    }
    count_turn(call, call->turn_state == DJ_TURN_OTHERS    ? "overdue"
                     : call->turn_state == DJ_TURN_UNKNOWN ? "unknown"
                     : call->turn_asks                     ? "taken"
                                                           : "held");
    dj_call_ask_upstream(call);
}

static void leave_asking(struct dj_call *call)
{
    if (--call->asking == 0)
        decide(call);
}

static void on_turn(void *ctx, enum dj_turn_state state)
{
    struct dj_call *call = ctx;
    call->turn_state = state;
    leave_asking(call);
}

static void ask_turn(struct dj_call *call)
{
    call->turn_state = DJ_TURN_UNKNOWN;
    if (call->turn && dj_turn_ask(call->turn, call, on_turn) == DEJA_OK)
        call->asking++;
}

/* Looked up, and nothing was found. */
static void begin_turn(struct dj_call *call)
{
    if (wants_turn(call) && dj_turn_create(call->context->engine, call->home,
                                           &call->fingerprint.key, 0, &call->turn) != DEJA_OK)
        call->turn = NULL; /* no tier with locks, or no memory: everybody asks for himself */
    call->asking = 1;
    ask_turn(call);
    leave_asking(call);
}

static void count_lookup(struct dj_call *call, const struct dj_lookup_result *result)
{
    bool is_hit = result->kind != DJ_HIT_NONE;
    call->lookup_us = (uint32_t)(dj_loop_monotonic_us(call->home) - call->lookup_started_us);
    dj_telemetry_lookup(call->context->telemetry, &(struct dj_telemetry_lookup){
                                                      .is_hit = is_hit,
                                                      .level = is_hit ? result->level : "none",
                                                      .embed_us = result->embed_us,
                                                      .search_us = result->search_us,
                                                      .fetch_us = result->fetch_us,
                                                      .verify_us = result->verify_us,
                                                      .similarity = (double)result->similarity,
                                                      .threshold = result->threshold,
                                                      .seconds = call->lookup_us / 1e6,
                                                  });
    /* A sick embedder: the request goes on as a miss (I4). */
    dj_telemetry_contained(call->context->telemetry, "lookup", result->status);
}

static void land_hit(struct dj_call *call, const struct dj_lookup_result *result)
{
    dj_call_land(call, &(struct dj_flight_end){.value = dj_value_ref(result->value),
                                               .hit = result->kind,
                                               .is_stale = result->is_stale,
                                               .level = result->level,
                                               .similarity = result->similarity,
                                               .threshold = result->threshold});
}

static void keep_stale(struct dj_call *call, const struct dj_lookup_result *result)
{
    if (!result->stale || call->stale)
        return;
    call->had_stale = true;
    call->stale = dj_value_ref(result->stale);
    call->stale_level = result->stale_level;
}

static void on_looked_up(void *ctx, const struct dj_lookup_result *result)
{
    struct dj_call *call = ctx;
    count_lookup(call, result);
    call->embed_us = result->embed_us;
    call->search_us = result->search_us;
    call->why = result->reason;
    call->nearest = result->similarity;
    if (result->kind != DJ_HIT_NONE) {
        land_hit(call, result);
        return;
    }
    if (call->knobs.is_only_if_cached) {
        dj_call_fail(call, DEJA_ERR_NOT_FOUND, "only-if-cached");
        return;
    }
    keep_stale(call, result);
    if (result->has_vector) {
        call->vector = dj_arena_alloc(&call->arena, sizeof(float) * result->dim);
        call->vector_dim = result->dim;
        if (call->vector)
            memcpy(call->vector, result->vector, sizeof(float) * result->dim);
    }
    begin_turn(call);
}

void dj_call_look_up(struct dj_call *call)
{
    struct dj_engine *engine = call->context->engine;
    struct dj_fill fill;
    const struct dj_lookup_options options = {
        .is_exact = true,
        .is_semantic = call->is_semantic && !call->knobs.is_exact_only,
        .threshold = call->knobs.threshold,
        .base_threshold = call->rules ? dj_rules_of(call->rules)->threshold : 0,
        .guards_off = call->rules ? dj_rules_of(call->rules)->guards_off : 0,
        .max_age_ms = call->knobs.max_age_ms,
        .fresh = call->fresh,
        .skip = call->knobs.skip,
    };
    dj_engine_begin_fill(engine, &call->entry, &fill);
    call->lookup_started_us = dj_loop_monotonic_us(call->home);
    if (!call->is_lookup || dj_engine_lookup(engine, call->home, &call->fingerprint, &options, NULL,
                                             call, on_looked_up) != DEJA_OK)
        begin_turn(call);
}

/* ---- with the turn, or while another program has it ---- */

static void on_looked_again(void *ctx, const struct dj_lookup_result *result)
{
    struct dj_call *call = ctx;
    if (result->kind != DJ_HIT_NONE) {
        count_turn(call, "found");
        land_hit(call, result);
        return;
    }
    keep_stale(call, result);
    leave_asking(call);
}

/* What another program has stored meanwhile is in the tier of the locks. */
static void look_again(struct dj_call *call)
{
    struct dj_engine *engine = call->context->engine;
    const struct dj_lookup_options options = {
        .is_exact = true,
        .max_age_ms = call->knobs.max_age_ms,
        .fresh = call->fresh,
        .skip = dj_engine_lock_skip(engine, DJ_ENTRY_CHAT, call->knobs.skip),
    };
    if (!call->is_lookup || dj_engine_lookup(engine, call->home, &call->fingerprint, &options, NULL,
                                             call, on_looked_again) != DEJA_OK)
        leave_asking(call);
}

static void ask_again(void *ctx)
{
    struct dj_call *call = ctx;
    call->asking = 1;
    ask_turn(call);
    look_again(call);
}
