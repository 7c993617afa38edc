/* proxy/negative.c - refusals of the upstream, kept for a while where the policy says so. */
#include <stdio.h>

#include "net/http_headers.h"
#include "policy/admit.h"
#include "proto/http_text.h"
#include "proxy/call_internal.h"
#include "proxy/ride_internal.h"
#include "proxy/storing.h"
#include "proxy/tenant_rules.h"

#define BODY_BYTES_MAX (64u << 10)

/* Only what a look-up missed: a refusal never takes the place of an answer that is still good. */
static bool may_keep(const struct dj_call *call)
{
    static const char json[] = "application/json";
    const struct dj_flight_head *head = &call->head;
    struct deja_slice type = dj_http_find(head->headers, head->header_count, "content-type");
    bool is_json = type.len >= sizeof json - 1 &&
                   dj_http_is_same(deja_slice(type.data, sizeof json - 1), json);
    return dj_admit_is_negative(head->status) && is_json && call->make && call->is_lookup &&
           call->is_storable && !call->is_refresh && !call->is_encoded && !call->is_store_lost &&
           dj_flight_is_recorded(call->flight) &&
           dj_flight_bytes(call->flight) + call->entry.query.len <= BODY_BYTES_MAX;
}

void dj_call_keep_negative(struct dj_call *call, struct dj_flight_end *end)
{
    struct dj_engine *engine = call->context->engine;
    uint64_t ttl_ms =
        dj_tenant_cut_ttl(call->rules, atomic_load(&call->context->policy)->negative_ttl_ms);
    char metadata[32];
    if (!ttl_ms || !may_keep(call))
        return;
    int len = snprintf(metadata, sizeof metadata, "{\"status\":%d}", call->head.status);
    if (call->knobs.ttl_ms && call->knobs.ttl_ms < ttl_ms)
        ttl_ms = call->knobs.ttl_ms;
    dj_flight_copy(call->flight, &call->whole);
    if (call->whole.status != DEJA_OK || len < 0)
        return;
    struct dj_entry entry = call->entry;
    entry.kind = DJ_ENTRY_NEGATIVE;
    entry.metadata = deja_slice(metadata, (size_t)len);
    entry.body = dj_buf_slice(&call->whole);
    entry.created_ms = dj_loop_now_ms(call->home);
    entry.expires_ms = dj_engine_expiry(engine, call->home, ttl_ms, ttl_ms);
    struct dj_put_options exact_only = {.is_semantic = false};
    /* Short, and only where refusals are kept at all: looked at here. */
    dj_sensitive_judge(call->context->detector, dj_rules_of(call->rules), &entry, NULL,
                       &call->sensitive);
    dj_telemetry_sensitive(call->context->telemetry, &call->sensitive);
    if (call->sensitive.is_refused) {
        end->reason = call->sensitive.reason;
        return;
    }
    dj_sensitive_apply(&call->sensitive, call->context->sealed_levels, &entry, &exact_only);
    end->is_stored = dj_storing_begin(call, &entry, &exact_only, true);
}

/* 502 if it does not say. */
static int status_of(const struct dj_entry *entry)
{
    struct dj_json_doc *doc = NULL;
    int64_t status = 0;
    if (dj_json_parse(entry->metadata, &doc, NULL) == DEJA_OK)
        status = dj_json_i64(dj_json_get(dj_json_root(doc), "status"), 0);
    dj_json_doc_destroy(doc);
    return status > 0 && status < 600 && dj_admit_is_negative((int)status) ? (int)status : 502;
}

void ride_answer_negative(struct ride *ride, struct dj_outcome *outcome)
{
    const struct dj_http_request *request = dj_http_exchange_request(ride->exchange);
    const struct dj_entry *entry = outcome->entry;
    struct dj_answer_headers headers;
    outcome->is_negative = true;
    dj_answer_init(&headers, request->arena);
    dj_answer_add(&headers, "Content-Type", deja_slice_text("application/json"));
    dj_answer_add_outcome(&headers, outcome);
    dj_answer_add(&headers, "x-should-retry", deja_slice_text("false"));
    dj_http_exchange_watch(ride->exchange, NULL, NULL);
    ride->code = status_of(entry);
    ride->answer_bytes += entry->body.len;
    dj_http_respond(ride->exchange, ride->code, headers.items, headers.count, entry->body);
    dj_engine_note_hit(ride->context->engine, ride->loop, entry, outcome->level);
    ride_end(ride, DJ_RESULT_ERROR, outcome->level);
}
