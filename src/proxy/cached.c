/* proxy/cached.c - questions to a model, whose answers are kept: the way that all families share
 * (family.h); what becomes of an answer is cached_make.c's.
 *
 *   body -> keys (a worker, when it is large) -> memory: hit, answered here
 *        -> home loop: running flight | the tiers, meaning, upstream -> answered as it comes
 *
 * One entry serves both modes: it keeps the complete object; streams are assembled and replayed.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/num.h"
#include "base/slice.h"
#include "policy/ttl.h"
#include "proxy/cache_debug.h"
#include "proxy/cached_internal.h"
#include "proxy/identity.h"
#include "proxy/proxy.h"
#include "proxy/ride_internal.h"
#include "proxy/tenant_rules.h"

#define INLINE_BODY_MAX (64u << 10)
#define ID_RANDOM_BYTES 12u
#define EARLY_BETA 1.0

static void answer_hit(struct ride *ride, const struct dj_flight_end *end);
static void refresh(struct ride *ride, const struct dj_flight_end *end);

static const struct ride_ops chat_ops = {
    .api = "chat", .family = &dj_family_chat, .answer_hit = answer_hit};
static const struct ride_ops completions_ops = {
    .api = "completions", .family = &dj_family_completions, .answer_hit = answer_hit};
static const struct ride_ops messages_ops = {
    .api = "messages", .family = &dj_family_messages, .answer_hit = answer_hit};
static const struct ride_ops responses_ops = {
    .api = "responses", .family = &dj_family_responses, .answer_hit = answer_hit};

/* ---- hits ---- */

static void rewrite(const struct ride *ride, const struct dj_json *object, struct dj_buf *out)
{
    const struct dj_family *family = ride->ops->family;
    uint8_t random[ID_RANDOM_BYTES];
    char hex[2 * ID_RANDOM_BYTES + 1];
    char id[sizeof hex + 16];
    dj_random_bytes(random, sizeof random);
    dj_hex_encode(random, sizeof random, hex);
    int len = snprintf(id, sizeof id, "%s%s", family->id_prefix, hex);
    const struct dj_rewrite changes = {
        .is_usage_zero = ride->policy->is_usage_zero_on_hit,
        .id = ride->policy->is_id_new_on_hit && len > 0 ? id : NULL,
        .created_s = dj_loop_now_ms(ride->loop) / 1000,
    };
    dj_family_rewrite(family, object, &changes, out);
}

/* The stored object as the client wants it; DEJA_OK and *out_body borrowed from value or scratch.
 */
static enum deja_status render(struct ride *ride, const struct dj_entry *entry,
                               struct dj_buf *rewritten, struct dj_buf *scratch,
                               struct deja_slice *out_body)
{
    const struct dj_proxy_policy *policy = ride->policy;
    struct deja_slice body = entry->body;
    bool is_rewritten = policy->is_usage_zero_on_hit || policy->is_id_new_on_hit;
    if (!ride->is_stream && !is_rewritten) {
        *out_body = body; /* byte for byte what was stored */
        return DEJA_OK;
    }
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_json_parse(body, &doc, NULL);
    if (status == DEJA_OK && is_rewritten) {
        rewrite(ride, dj_json_root(doc), rewritten);
        dj_json_doc_destroy(doc);
        doc = NULL;
        body = dj_buf_slice(rewritten);
        status = rewritten->status == DEJA_OK ? dj_json_parse(body, &doc, NULL) : rewritten->status;
    }
    if (status == DEJA_OK && ride->is_stream) {
        /* What is kept otherwise than it came has no tape, nor what is told otherwise. */
        bool is_as_recorded = !is_rewritten && !dj_sensitive_is_redacted(entry);
        const struct dj_replay_options options = {
            .has_usage = ride->has_usage,
            .tape = is_as_recorded ? entry->metadata : deja_slice(NULL, 0),
        };
        status = ride->ops->family->replay(dj_json_root(doc), &options, scratch);
        body = dj_buf_slice(scratch);
    }
    dj_json_doc_destroy(doc);
    if (status == DEJA_OK)
        *out_body = body;
    return status;
}

static void fill_hit(struct ride *ride, const struct dj_flight_end *end, struct dj_outcome *outcome)
{
    outcome->is_hit = true;
    outcome->kind = end->hit;
    outcome->level = end->level;
    outcome->similarity = end->similarity;
    outcome->entry = dj_value_entry(end->value);
    outcome->is_if_error = end->is_if_error;
    outcome->upstream_status = end->is_if_error ? dj_flight_head(ride->rider.flight)->status : 0;
    if (end->is_stale)
        outcome->stale = end->is_if_error ? "stale-if-error" : "stale-while-revalidate";
}

static void count_hit(struct ride *ride, const struct dj_outcome *outcome)
{
    dj_telemetry_saved(ride->context->telemetry, outcome->entry);
    dj_engine_note_hit(ride->context->engine, ride->loop, outcome->entry);
    if (outcome->stale)
        dj_telemetry_stale(ride->context->telemetry, outcome->stale);
}

/* end->value: held until it returns. */
static void answer_value(struct ride *ride, const struct dj_flight_end *end)
{
    const struct dj_entry *entry = dj_value_entry(end->value);
    struct dj_buf rewritten = {0};
    struct dj_buf scratch = {0};
    struct dj_buf told = {0};
    struct deja_slice body;
    struct dj_outcome outcome = ride_outcome(ride);
    enum dj_result result = DJ_RESULT_COLLAPSED;
    if (end->hit != DJ_HIT_NONE) {
        fill_hit(ride, end, &outcome);
        result = end->hit == DJ_HIT_SEMANTIC ? DJ_RESULT_HIT_SEMANTIC : DJ_RESULT_HIT_EXACT;
        if (entry->kind == DJ_ENTRY_NEGATIVE) {
            ride_answer_negative(ride, &outcome);
            return;
        }
        refresh(ride, end);
    } else if (ride->is_leader) {
        result = DJ_RESULT_MISS;
    }
    if (render(ride, entry, &rewritten, &scratch, &body) != DEJA_OK) {
        ride_fail(ride, 503, "The stored answer could not be replayed.", NULL, "cache_unavailable");
    } else {
        if (outcome.is_hit && (outcome.compat & DJ_COMPAT_BIFROST)) {
            dj_cache_debug_put(body, ride->is_stream, &outcome, end->threshold, &told);
            body = told.status == DEJA_OK ? dj_buf_slice(&told) : body;
        }
        ride_answer(ride, &outcome, body, ride->is_stream);
        if (outcome.is_hit)
            count_hit(ride, &outcome);
        ride_end(ride, result, outcome.is_hit ? end->level : "none");
    }
    dj_buf_fini(&rewritten);
    dj_buf_fini(&scratch);
    dj_buf_fini(&told);
}

/* The flight's value outlives the ride's reference only if we hold it. */
static void answer_hit(struct ride *ride, const struct dj_flight_end *end)
{
    struct dj_flight_end held = *end;
    struct dj_value *value = dj_value_ref(end->value);
    answer_value(ride, &held);
    dj_value_unref(value);
}

/* ---- the question ---- */

/* Root members as they go upstream: without the cache's own, with usage asked for. */
static enum deja_status write_body(const struct dj_json *root, bool has_usage_option,
                                   struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    const struct dj_json *options = dj_json_get(root, "stream_options");
    dj_json_begin_object(&w);
    for (struct dj_json_walk m = dj_json_walk(root); dj_json_walk_next(&m);) {
        if (dj_slice_is(m.key, "cache") || dj_slice_is(m.key, "cache_skip") ||
            (has_usage_option && m.value == options))
            continue;
        dj_json_key_slice(&w, m.key);
        dj_json_put_value(&w, m.value);
    }
    if (has_usage_option) {
        dj_json_key(&w, "stream_options");
        dj_json_begin_object(&w);
        for (struct dj_json_walk m = dj_json_walk(options); dj_json_walk_next(&m);) {
            if (dj_slice_is(m.key, "include_usage"))
                continue;
            dj_json_key_slice(&w, m.key);
            dj_json_put_value(&w, m.value);
        }
        dj_json_member_bool(&w, "include_usage", true);
        dj_json_end_object(&w);
    }
    dj_json_end_object(&w);
    return out->status;
}

static enum deja_status take_body(struct ride *ride, struct dj_call *call)
{
    const struct dj_json *root = dj_json_root(ride->doc);
    bool is_ours = dj_json_get(root, "cache") || dj_json_get(root, "cache_skip");
    struct dj_buf body = {0};
    enum deja_status status = DEJA_OK;
    if (is_ours) {
        status = write_body(root, false, &body);
        call->body_plain = dj_arena_copy(&call->arena, dj_buf_slice(&body));
    } else {
        call->body_plain = dj_arena_copy(&call->arena, ride->body); /* untouched */
    }
    call->body = call->body_plain;
    if (status == DEJA_OK && ride->ops->family->has_usage_option && ride->is_stream &&
        !ride->has_usage && !atomic_load(&ride->context->is_usage_refused)) {
        dj_buf_clear(&body);
        status = write_body(root, true, &body);
        call->body = dj_arena_copy(&call->arena, dj_buf_slice(&body));
        call->is_usage_added = true;
    }
    dj_buf_fini(&body);
    return status == DEJA_OK && call->body.data && call->body_plain.data ? DEJA_OK : DEJA_ERR_NOMEM;
}

static enum deja_status fill_call(struct ride *ride, struct dj_call *call)
{
    const struct dj_http_request *request = dj_http_exchange_request(ride->exchange);
    struct dj_entry *entry = &call->entry;
    call->fingerprint = ride->fingerprint;
    call->fingerprint.canonical = deja_slice(NULL, 0);
    if (ride->fingerprint.text.data) {
        call->fingerprint.text = dj_arena_copy(&call->arena, ride->fingerprint.text);
        if (!call->fingerprint.text.data)
            return DEJA_ERR_NOMEM;
    }
    call->answers = ride->ops->family;
    call->answer_count = ride->ops->family->count_answers
                             ? ride->ops->family->count_answers(dj_json_root(ride->doc))
                             : 1;
    call->make = dj_cached_make;
    call->store = dj_cached_store;
    call->is_stream = ride->is_stream;
    call->is_lookup = !ride->knobs.is_no_read && !ride->knobs.is_bypass && ride->is_cacheable;
    call->is_semantic = ride->policy->is_semantic && ride->fingerprint.is_semantic;
    call->is_storable = !ride->knobs.is_no_store && !ride->knobs.is_bypass && ride->is_cacheable;
    call->fresh = ride->fresh;
    memcpy(entry->id, ride->fingerprint.key.id, sizeof entry->id);
    memcpy(entry->exact, ride->fingerprint.exact, sizeof entry->exact);
    memcpy(entry->scope, ride->fingerprint.scope, sizeof entry->scope);
    entry->kind = DJ_ENTRY_CHAT;
    entry->query = call->fingerprint.text;
    if (!ride_introduce(ride, call))
        return DEJA_ERR_NOMEM;
    enum deja_status status = dj_call_take_request(call, request, &ride->who, &ride->trace, true);
    if (status != DEJA_OK)
        return status;
    entry->provider = deja_slice_text(call->target->id);
    return take_body(ride, call);
}

static bool is_end_near(const struct ride *ride, const struct dj_entry *entry)
{
    uint64_t random = 0;
    int64_t left_ms = entry->expires_ms - dj_loop_now_ms(ride->loop);
    if (!ride->policy->is_early_refresh || entry->expires_ms == 0 ||
        !dj_ttl_may_be_early(left_ms, entry->make_ms, EARLY_BETA))
        return false;
    dj_random_bytes(&random, sizeof random);
    return dj_ttl_is_early(left_ms, entry->make_ms, EARLY_BETA, random);
}

/* Misses that differ only in a time or an id of the system prompt are told, with the cure. */
static void look_for_volatile(struct ride *ride)
{
    struct dj_json_doc *doc = NULL;
    struct deja_slice folded;
    struct dj_fingerprint fingerprint;
    struct dj_arena *arena = dj_http_exchange_request(ride->exchange)->arena;
    const unsigned all = DJ_FOLD_TIME | DJ_FOLD_UUID | DJ_FOLD_REQUEST_ID | DJ_FOLD_DATE;
    unsigned kinds = 0;
    if (!ride->fingerprint.is_semantic || ride->body.len > INLINE_BODY_MAX ||
        dj_key_fold(dj_json_root(ride->doc), all, arena, &folded, &kinds) != DEJA_OK ||
        dj_json_parse(folded, &doc, NULL) != DEJA_OK)
        return;
    if (ride->ops->family->key(&ride->prefix, dj_json_root(doc), arena, &fingerprint) == DEJA_OK) {
        dj_key_scope(&ride->prefix, &fingerprint);
        if (dj_volatile_note(ride->context->volatiles, fingerprint.scope, ride->fingerprint.scope))
            ride->detail = kinds & DJ_FOLD_TIME   ? "volatile-system-prompt-time"
                           : kinds & DJ_FOLD_DATE ? "volatile-system-prompt-date"
                           : kinds & DJ_FOLD_UUID ? "volatile-system-prompt-uuid"
                                                  : "volatile-system-prompt-request_id";
    }
    dj_json_doc_destroy(doc);
}

/* A hit that has expired, or is about to, is made anew behind the answer by the one who met it in
 * memory or leads the flight that found it. It goes upstream as his request: with his credential,
 * and with what he asked for of a new entry. */
static void refresh(struct ride *ride, const struct dj_flight_end *end)
{
    struct dj_proxy_context *context = ride->context;
    const struct dj_entry *entry = dj_value_entry(end->value);
    int64_t now_ms = dj_loop_now_ms(ride->loop);
    bool is_mine = ride->is_leader || !ride->is_boarded;
    bool may_store = !ride->knobs.is_no_store && !ride->knobs.is_only_if_cached;
    bool is_early = !end->is_stale && end->hit != DJ_HIT_SEMANTIC && is_end_near(ride, entry);
    uint32_t place = 0;
    if ((!end->is_stale && !is_early) || end->is_if_error || !is_mine || !may_store ||
        atomic_load(&context->is_stopping) ||
        !dj_refreshes_begin(&context->refreshes, &ride->fingerprint.key,
                            ride->policy->refreshes_max, now_ms, &place))
        return;
    struct dj_call *call = dj_call_create(context);
    dj_key_scope(&ride->prefix, &ride->fingerprint);
    if (!call || fill_call(ride, call) != DEJA_OK) {
        dj_call_destroy(call);
        dj_refreshes_end(&context->refreshes, place, DJ_REFRESH_REST_MS, now_ms);
        return;
    }
    ride_flight_key(ride, &ride->fingerprint, call->flight_key);
    call->is_refresh = true;
    call->is_early = is_early;
    call->refresh_place = place;
    call->is_lookup = !is_early; /* another program may have made it anew in a shared tier */
    call->is_semantic = false;
    call->fresh = (struct dj_fresh_rules){0};
    dj_call_refresh(call);
}

static void go_home(struct ride *ride)
{
    struct dj_call *call = dj_call_create(ride->context);
    bool is_plain = ride->is_cacheable && !ride->knobs.is_bypass;
    if (is_plain) {
        dj_key_scope(&ride->prefix, &ride->fingerprint);
        look_for_volatile(ride);
    }
    if (!call || fill_call(ride, call) != DEJA_OK) {
        dj_call_destroy(call);
        ride_fail(ride, 503, "Deja is out of memory.", NULL, "cache_unavailable");
        return;
    }
    ride->join.is_alone = !is_plain || ride->knobs.is_no_read || ride->knobs.is_no_store ||
                          ride->knobs.is_only_if_cached;
    ride_flight_key(ride, &ride->fingerprint, call->flight_key);
    ride_join(ride, call);
}

static void look_up(struct ride *ride)
{
    struct dj_proxy_context *context = ride->context;
    if (!ride->who.may_hit) {
        ride->knobs.is_no_read = true; /* suspended: ask the upstream, which decides */
        ride->detail = "credential-suspended";
    }
    bool may_read = ride->is_cacheable && !ride->knobs.is_bypass && !ride->knobs.is_no_read;
    struct dj_value *value = NULL;
    enum dj_freshness freshness = DJ_FRESH_OVER;
    if (may_read && !(ride->knobs.skip & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY)))
        value = dj_engine_find_stale(context->engine, ride->loop, &ride->fingerprint.key,
                                     &ride->fresh, &freshness);
    if (freshness == DJ_FRESH || freshness == DJ_FRESH_STALE) {
        const struct dj_flight_end end = {
            .value = value,
            .hit = dj_engine_hit_kind(value, ride->fingerprint.exact),
            .is_stale = freshness == DJ_FRESH_STALE,
            .level = "memory",
            .similarity = 1.0f,
        };
        answer_value(ride, &end);
    } else {
        go_home(ride);
    }
    dj_value_unref(value);
}

/* The body without what the client leaves out of its key and may; NULL: all of it counts. */
static enum deja_status leave_out(const struct ride *ride, struct dj_json_doc **out_doc)
{
    const struct dj_json *root = dj_json_root(ride->doc);
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    bool has_any = false;
    dj_json_begin_object(&w);
    for (struct dj_json_walk m = dj_json_walk(root); dj_json_walk_next(&m);) {
        if (dj_knobs_ignores(&ride->knobs, m.key) && ride_may_ignore(ride, m.key)) {
            has_any = true;
            continue;
        }
        dj_json_key_slice(&w, m.key);
        dj_json_put_value(&w, m.value);
    }
    dj_json_end_object(&w);
    enum deja_status status = text.status;
    if (status == DEJA_OK && has_any)
        status = dj_json_parse(dj_buf_slice(&text), out_doc, NULL);
    dj_buf_fini(&text);
    return status;
}

static enum deja_status make_keys(struct ride *ride)
{
    const struct dj_json *root = dj_json_root(ride->doc);
    struct dj_arena *arena = dj_http_exchange_request(ride->exchange)->arena;
    struct dj_json_doc *folded_doc = NULL;
    struct dj_json_doc *shorter = NULL;
    struct deja_slice folded;
    if (ride->knobs.ignored.len && leave_out(ride, &shorter) != DEJA_OK)
        return DEJA_ERR_NOMEM;
    if (shorter)
        root = dj_json_root(shorter);
    if (ride->policy->fold &&
        dj_key_fold(root, ride->policy->fold, arena, &folded, NULL) == DEJA_OK &&
        dj_json_parse(folded, &folded_doc, NULL) == DEJA_OK)
        root = dj_json_root(folded_doc);
    enum deja_status status =
        ride->ops->family->key(&ride->prefix, root, arena, &ride->fingerprint);
    dj_json_doc_destroy(folded_doc);
    dj_json_doc_destroy(shorter);
    return status;
}

/* Pure: parse, knobs, keys. On the loop, or on a worker for a large body. */
static void prepare(void *ctx)
{
    struct ride *ride = ctx;
    uint64_t started = dj_clock_monotonic_us();
    const struct dj_http_request *request = dj_http_exchange_request(ride->exchange);
    ride->prepare_status = dj_json_parse(ride->body, &ride->doc, &ride->error);
    if (ride->prepare_status != DEJA_OK)
        return;
    const struct dj_json *root = dj_json_root(ride->doc);
    if (!dj_json_is(root, DJ_JSON_OBJECT)) {
        ride->prepare_status = deja_error_set(&ride->error, DEJA_ERR_INVALID,
                                              "The request body must be a JSON object.");
        return;
    }
    ride->is_stream = dj_json_bool(dj_json_get(root, "stream"), false);
    ride->has_usage =
        dj_json_bool(dj_json_get(dj_json_get(root, "stream_options"), "include_usage"), false);
    const struct dj_rules *rules = ride->who.rules;
    if (!dj_tenant_allows(rules, root)) {
        ride->prepare_status = deja_error_set(&ride->error, DEJA_ERR_DENIED, DJ_MODEL_REFUSED);
        return;
    }
    dj_knobs_read(request, root, &ride->knobs);
    ride->knobs.is_exact_only |= !dj_tenant_has(&ride->who, DJ_FEATURE_SEMANTIC);
    ride_set_rules(ride);
    ride->is_unknown |= !dj_identity_narrow(request, &ride->knobs, &ride->prefix, &ride->variant);
    ride->detail = ride->ops->family->objection(root, ride->policy);
    ride->is_cacheable = !ride->is_unknown && !ride->detail;
    uint64_t keys_started = dj_clock_monotonic_us();
    if (ride->is_cacheable)
        ride->prepare_status = make_keys(ride);
    else
        memcpy(ride->fingerprint.key.tenant, ride->tenant, sizeof ride->tenant);
    dj_knobs_cut_ttl(&ride->knobs,
                     dj_tenant_ttl(rules, &ride->policy->ttl_sizes, ride->fingerprint.text,
                                   dj_rules_of(rules)->response_ttl_ms,
                                   ride->policy->response_ttl_ms));
    uint64_t ended = dj_clock_monotonic_us();
    ride->canon_us = (uint32_t)(ended - started);
    ride->key_us = (uint32_t)(ended - keys_started);
}

static void on_prepared(void *ctx)
{
    struct ride *ride = ctx;
    if (ride->is_gone) {
        ride_end(ride, DJ_RESULT_ERROR, "none");
    } else if (ride->prepare_status == DEJA_OK) {
        ride_count_prepared(ride);
        look_up(ride);
    } else if (ride->prepare_status == DEJA_ERR_DENIED) {
        ride_fail(ride, 403, ride->error.message, "model", "model_not_allowed");
    } else if (ride->prepare_status == DEJA_ERR_NOMEM) {
        ride_fail(ride, 503, "Deja is out of memory.", NULL, "cache_unavailable");
    } else {
        ride_fail(ride, 400, ride->error.message[0] ? ride->error.message : "Invalid request.",
                  NULL, "invalid_json");
    }
}

static void begin(const struct ride_ops *ops, struct dj_proxy_context *context,
                  struct dj_http_exchange *exchange, struct deja_slice request_id)
{
    struct ride *ride = ride_create(ops, context, exchange, request_id);
    if (!ride)
        return;
    if (!ride_identify(ride, ops->family->name) || !ride_decode(ride))
        return;
    dj_family_set_headers(ops->family, dj_http_exchange_request(exchange), &ride->prefix);
    if (ride->body.len <= INLINE_BODY_MAX) {
        prepare(ride);
        on_prepared(ride);
        return;
    }
    /* The exchange is not watched yet, so it stays valid until it is answered. */
    ride->job =
        (struct dj_job){.work = prepare, .done = on_prepared, .ctx = ride, .loop = ride->loop};
    if (dj_pool_submit(context->pool, &ride->job) != DEJA_OK)
        ride_fail(ride, 503, "Too many large requests wait.", NULL, "cache_unavailable");
}

void dj_proxy_chat(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                   struct deja_slice request_id)
{
    begin(&chat_ops, context, exchange, request_id);
}

void dj_proxy_completions(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                          struct deja_slice request_id)
{
    begin(&completions_ops, context, exchange, request_id);
}

void dj_proxy_messages(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                       struct deja_slice request_id)
{
    begin(&messages_ops, context, exchange, request_id);
}

void dj_proxy_responses(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                        struct deja_slice request_id)
{
    begin(&responses_ops, context, exchange, request_id);
}
