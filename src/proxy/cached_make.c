/* proxy/cached_make.c - see cached_internal.h: what becomes of a whole answer. */
#include "proxy/cached_internal.h"

#include <math.h>

#include "base/num.h"
#include "net/http_headers.h"
#include "policy/admit.h"
#include "policy/guards.h"
#include "policy/ttl.h"
#include "proto/http_text.h"
#include "proxy/family.h"
#include "proxy/gate.h"
#include "proxy/storing.h"
#include "proxy/tenant_rules.h"

/* Says it is something else: a page of a gateway on the way, say. application/json, and +json. */
static bool is_other_type(const struct dj_flight_head *head)
{
    struct deja_slice type = dj_http_find(head->headers, head->header_count, "content-type");
    for (size_t i = 0; i + 4 <= type.len; i++)
        if (dj_http_is_same(deja_slice(type.data + i, 4), "json"))
            return false;
    return type.len > 0 && !head->is_stream;
}

/* What is not to be kept because of what it says. */
static void judge(struct dj_call *call, const struct dj_json *body, bool is_signed)
{
    if (!call->is_admitted)
        return;
    dj_sensitive_judge(call->context->detector, dj_rules_of(call->rules), &call->entry, body,
                       &call->sensitive);
    if (call->sensitive.is_redacted && call->entry.metadata.len > call->labels.len) {
        /* A tape may hold in pieces what is found in the whole: a redacted copy has none. */
        call->entry.metadata = call->labels;
        dj_sensitive_fini(&call->sensitive);
        dj_sensitive_judge(call->context->detector, dj_rules_of(call->rules), &call->entry, body,
                           &call->sensitive);
    }
    if (call->sensitive.is_refused || (call->sensitive.is_redacted && is_signed)) {
        call->is_admitted = false;
        call->refused = call->sensitive.reason;
    }
}

/* Beside the labels: {"metadata":{…},"tape":[…]}. */
static enum deja_status keep_tape(struct dj_call *call, struct deja_slice tape)
{
    struct deja_slice labels = call->labels;
    struct dj_buf text = {0};
    if (labels.len) {
        dj_buf_append(&text, labels.data, labels.len - 1);
        dj_buf_append_byte(&text, ',');
        tape = deja_slice(tape.data + 1, tape.len - 1);
    }
    dj_buf_append_slice(&text, tape);
    call->entry.metadata = text.status == DEJA_OK ? dj_arena_copy(&call->arena, dj_buf_slice(&text))
                                                  : deja_slice(NULL, 0);
    dj_buf_fini(&text);
    return call->entry.metadata.data ? DEJA_OK : DEJA_ERR_NOMEM;
}

/* The whole of it as one object, in call->made, and what else is to be kept of a stream. */
static enum deja_status make_object(struct dj_call *call, struct deja_slice whole,
                                    bool *out_is_done)
{
    if (!call->head.is_stream) {
        dj_buf_append_slice(&call->made, whole);
        return call->made.status;
    }
    struct dj_assembly assembly = {.is_done = false};
    enum deja_status status = call->answers->assemble(whole, &assembly);
    if (status == DEJA_OK) {
        *out_is_done = assembly.is_done;
        call->made = assembly.object;
        assembly.object = (struct dj_buf){0};
    }
    if (status == DEJA_OK && assembly.tape.len)
        status = keep_tape(call, dj_buf_slice(&assembly.tape));
    dj_assembly_fini(&assembly);
    return status;
}

/* What a model server says of its own answer, in a header of Deja's; NAN: nothing. */
static double confidence_of(const struct dj_flight_head *head)
{
    double confidence = NAN;
    struct deja_slice said = dj_http_find(head->headers, head->header_count, "x-deja-confidence");
    if (said.data && dj_num_parse_double(said, &confidence) != DEJA_OK)
        confidence = -1; /* it says something: not what would be trusted */
    return confidence;
}

/* Seconds of a directive "name=seconds"; false: it is another one. */
static bool read_age(struct deja_slice directive, const char *name, uint64_t *out_ms)
{
    size_t len = strlen(name);
    uint64_t seconds = 0;
    if (directive.len <= len + 1 || directive.data[len] != '=' ||
        !dj_http_is_same(deja_slice(directive.data, len), name) ||
        dj_num_parse_u64(deja_slice(directive.data + len + 1, directive.len - len - 1), &seconds) !=
            DEJA_OK)
        return false;
    *out_ms = seconds < UINT32_MAX ? seconds * 1000 : (uint64_t)UINT32_MAX * 1000;
    return true;
}

/* The upstream's Cache-Control, as a cache that many share has to take it (RFC 9111 §3); false: the
 * answer is not to be kept. */
static bool obey_upstream(struct dj_call *call)
{
    const struct dj_flight_head *head = &call->head;
    const struct dj_http_header *headers = head->headers;
    uint64_t max_age_ms = UINT64_MAX;
    uint64_t shared_ms = UINT64_MAX;
    uint64_t age_ms = 0;
    for (size_t i = 0; i < head->header_count; i++) {
        struct deja_slice list = headers[i].value;
        struct deja_slice item;
        if (!dj_http_is_same(headers[i].name, "cache-control"))
            continue;
        while (dj_http_list_next(&list, &item)) {
            if (dj_http_is_same(item, "no-store") || dj_http_is_same(item, "no-cache") ||
                dj_http_is_same(item, "private"))
                return false;
            if (dj_http_is_same(item, "must-revalidate") ||
                dj_http_is_same(item, "proxy-revalidate"))
                call->is_never_stale = true;
            else if (!read_age(item, "max-age", &max_age_ms))
                read_age(item, "s-maxage", &shared_ms);
        }
    }
    uint64_t life_ms = shared_ms != UINT64_MAX ? shared_ms : max_age_ms;
    uint64_t age_s = 0;
    struct deja_slice age = dj_http_find(head->headers, head->header_count, "age");
    if (age.data && dj_num_parse_u64(age, &age_s) == DEJA_OK)
        age_ms = age_s < UINT32_MAX ? age_s * 1000 : (uint64_t)UINT32_MAX * 1000;
    if (life_ms == UINT64_MAX)
        return true;
    call->upstream_ttl_ms = life_ms > age_ms ? life_ms - age_ms : 0;
    return call->upstream_ttl_ms > 0;
}

static void decide(struct dj_call *call, const struct dj_answer_facts *facts)
{
    const struct dj_proxy_policy *policy = atomic_load(&call->context->policy);
    struct dj_guard_features features = {0};
    bool is_volatile = dj_guard_features_init(&features, call->entry.query) == DEJA_OK &&
                       dj_guard_features_is_volatile(&features);
    dj_guard_features_fini(&features);
    const struct dj_admit_question question = {
        .is_volatile = is_volatile,
        .status = call->head.status,
        .is_complete = true,
        .is_other_type = is_other_type(&call->head),
        /* Of several prompts each has one. */
        .choice_count =
            facts->choice_count == call->answer_count ? 1 : (uint32_t)facts->choice_count,
        .is_every_choice_stopped = facts->is_every_choice_stopped,
        .has_length = facts->has_length,
        .has_content_filter = facts->has_content_filter,
        .has_tool_calls = facts->has_tool_calls,
        .has_hosted_tools = facts->has_hosted_tools,
        .has_refusal = facts->has_refusal,
        .has_content = facts->has_content,
        .is_moderated = facts->is_moderated,
        .is_tool_calls_cached = policy->is_tool_calls_cached,
        .is_several_kept = policy->is_several_kept,
        .has_confidence = !isnan(call->confidence),
        .confidence = call->confidence,
        .confidence_min = policy->confidence_min,
    };
    struct dj_admit_answer answer;
    dj_admit_decide(&question, &answer);
    bool is_kept = dj_tenant_keeps(call->rules, call->made.len);
    call->is_admitted = answer.is_admitted && call->is_storable && is_kept;
    call->refused = !answer.is_admitted ? answer.reason : is_kept ? NULL : "too-large";
    const struct dj_rules_values *rules = call->rules ? dj_rules_of(call->rules) : NULL;
    bool is_obeyed =
        (!call->guard && policy->is_upstream_obeyed) || (rules && rules->is_upstream_obeyed);
    if (call->is_admitted && is_obeyed && !obey_upstream(call)) {
        call->is_admitted = false;
        call->refused = "upstream-cache-control";
    }
    call->is_short_lived = answer.is_short_lived;
}

void dj_cached_make(struct dj_call *call, struct deja_slice whole)
{
    bool is_done = true;
    struct dj_json_doc *doc = NULL;
    struct dj_answer_facts facts;
    enum deja_status status = make_object(call, whole, &is_done);
    if (status == DEJA_OK)
        status = dj_json_parse(dj_buf_slice(&call->made), &doc, NULL);
    if (status != DEJA_OK || !is_done || !dj_json_is(dj_json_root(doc), DJ_JSON_OBJECT)) {
        call->refused = is_done ? "answer-not-understood" : "stream-not-ended";
        dj_buf_clear(&call->made);
        dj_json_doc_destroy(doc);
        return;
    }
    call->answers->inspect(dj_json_root(doc), &facts);
    call->confidence = confidence_of(&call->head);
    const struct dj_gate_usage usage = {.kind = "response",
                                        .model = facts.model,
                                        .input_tokens = facts.input_tokens,
                                        .output_tokens = facts.output_tokens,
                                        .cached_tokens = facts.cached_tokens};
    call->entry.cost_usd =
        dj_gate_spend(call->context, call->fingerprint.key.tenant, call->rules, &usage);
    decide(call, &facts);
    call->entry.model = dj_arena_copy(&call->arena, facts.model);
    call->entry.input_tokens = facts.input_tokens;
    call->entry.output_tokens = facts.output_tokens;
    call->entry.body = dj_buf_slice(&call->made);
    judge(call, dj_json_root(doc), facts.is_signed);
    dj_json_doc_destroy(doc);
}

/* On home. */
void dj_cached_store(struct dj_call *call, struct dj_flight_end *end)
{
    struct dj_engine *engine = call->context->engine;
    const struct dj_proxy_policy *policy = atomic_load(&call->context->policy);
    uint64_t said_ms = dj_rules_of(call->rules)->response_ttl_ms;
    uint64_t ttl_ms = call->is_short_lived
                          ? dj_tenant_cut_ttl(call->rules, policy->refusal_ttl_ms)
                          : dj_tenant_ttl(call->rules, &policy->ttl_sizes, call->fingerprint.text,
                                          said_ms, policy->response_ttl_ms);
    if (!call->made.len)
        return;
    if (policy->is_ttl_dynamic && !call->is_short_lived)
        ttl_ms = dj_tenant_cut_ttl(
            call->rules, dj_ttl_dynamic(ttl_ms, call->confidence, call->entry.cost_usd, false));
    if (call->knobs.ttl_ms && call->knobs.ttl_ms < ttl_ms)
        ttl_ms = call->knobs.ttl_ms;
    if (call->upstream_ttl_ms && call->upstream_ttl_ms < ttl_ms)
        ttl_ms = call->upstream_ttl_ms;
    call->entry.created_ms = dj_loop_now_ms(call->home);
    call->entry.expires_ms = dj_engine_expiry(engine, call->home, ttl_ms, ttl_ms);
    call->entry.stale_until_ms =
        call->is_never_stale ? 0 : dj_call_stale_until(policy, call->entry.expires_ms);
    call->entry.make_ms =
        (uint32_t)((dj_loop_monotonic_us(call->home) - call->upstream_started_us) / 1000);
    if (dj_value_create(&call->entry, &end->value) != DEJA_OK)
        end->value = NULL;
    dj_telemetry_sensitive(call->context->telemetry, &call->sensitive);
    if (!call->is_admitted)
        return;
    bool is_indexed = policy->is_semantic &&
                      (call->vector || dj_engine_is_worth_indexing(engine, &call->fingerprint));
    const struct dj_query_vector vector = {.floats = call->vector, .dim = call->vector_dim};
    struct dj_put_options options = {.is_semantic = is_indexed && call->fingerprint.is_semantic,
                                     .vector = call->vector ? &vector : NULL};
    struct dj_entry kept = call->entry; /* riders have the answer as it came */
    dj_sensitive_apply(&call->sensitive, call->context->sealed_levels, &kept, &options);
    end->is_stored = dj_storing_begin(call, &kept, &options, true);
}
