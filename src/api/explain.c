/* api/explain.c - GET and POST /api/v1/explain: why a question would hit or miss, and what is near.
 *
 *   key      look by key: an exact hit needs no further reason
 *   near     fetch the nearest candidates whatever the threshold, with the guards' verdicts
 *   verdict  the decision as a look-up would make it, with the vector that is there already
 *
 * A question without a scope (only "query") searches all scopes of the tenant and says of each
 * candidate whether it is of another scope: only those of the own one could be served.
 */
#include <math.h>
#include <stdio.h>

#include "api/handlers.h"
#include "api/query.h"
#include "api/user.h"
#include "base/num.h"
#include "base/slice.h"
#include "policy/guards.h"
#include "proxy/call.h"
#include "proxy/family.h"
#include "proxy/identity.h"

#define NEAREST 5u
#define TEXT_SHOWN_BYTES 2000u
#define API_BYTES_MAX 64u
#define ANTHROPIC_VERSION "2023-06-01" /* what its SDKs say */

/* In the request's arena. */
struct explain {
    struct dj_request *request;
    struct dj_fingerprint fingerprint;
    const char *surface; /* whose rules: "api" or a family's name */
    bool is_all_scopes;
    bool has_scope;     /* there is a scope in which a look-up would search */
    double threshold;   /* in force */
    struct dj_buf near; /* JSON of the candidates; owned */
    uint32_t near_count;
    float nearest;
    const char *near_reason;
    uint32_t embed_us;
    uint32_t search_us;
};

static void put_similarity(struct dj_json_writer *w, float similarity)
{
    dj_json_member_double(w, "similarity", round((double)similarity * 1e6) / 1e6);
}

/* ---- the answer ---- */

static void write_verdict(struct dj_json_writer *w, const struct explain *explain,
                          enum dj_hit_kind kind, const struct dj_value *value, const char *level,
                          const char *reason)
{
    bool is_hit = kind != DJ_HIT_NONE;
    dj_json_member_bool(w, "hit", is_hit);
    dj_json_member_text(w, "kind", is_hit ? dj_hit_kind_text(kind) : NULL);
    dj_json_member_text(w, "reason", is_hit ? dj_hit_kind_text(kind) : reason);
    dj_json_member_text(w, "tier", is_hit ? level : NULL);
    if (value)
        dj_request_put_id(w, "id", dj_value_entry(value)->id);
    dj_json_member_double(w, "threshold", explain->threshold);
    dj_json_member_text(w, "surface", explain->surface);
    dj_json_member_text(w, "searched",
                        explain->is_all_scopes ? "all scopes of the tenant" : "this scope");
}

static void answer(struct explain *explain, enum dj_hit_kind kind, const struct dj_value *value,
                   const char *level, const char *reason)
{
    struct dj_request *request = explain->request;
    const struct dj_embedder *embedder = dj_engine_embedder(request->api->proxy->engine);
    struct dj_fingerprint *fingerprint = &explain->fingerprint;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    write_verdict(&w, explain, kind, value, level, reason);
    dj_json_key(&w, "query");
    if (fingerprint->text.data)
        dj_json_put_string(&w, fingerprint->text);
    else
        dj_json_put_null(&w);
    dj_request_put_id(&w, "key", fingerprint->key.id);
    if (fingerprint->text.data)
        dj_request_put_id(&w, "scope", fingerprint->scope);
    dj_json_member_text(&w, "embedder", embedder ? embedder->id : NULL);
    dj_json_key(&w, "candidates");
    dj_json_begin_array(&w);
    if (explain->near.len)
        dj_json_put_raw(&w, dj_buf_slice(&explain->near));
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    if (explain->near.status != DEJA_OK)
        body.status = explain->near.status;
    dj_buf_fini(&explain->near);
    dj_request_header(
        request, "Server-Timing",
        dj_request_text(request, "embed;dur=%.3f, search;dur=%.3f, total;dur=%.3f",
                        explain->embed_us / 1e3, explain->search_us / 1e3,
                        (double)(dj_loop_monotonic_us(request->loop) - request->http->started_us) /
                            1e3));
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

/* ---- verdict ---- */

static void on_verdict(void *ctx, const struct dj_lookup_result *result)
{
    answer(ctx, result->kind, result->value, result->level, result->reason);
}

static void decide(struct explain *explain, const struct dj_lookup_result *near)
{
    struct dj_request *request = explain->request;
    const struct dj_lookup_options options = {
        .is_semantic = dj_request_may_search(request),
        .guards_off = dj_request_guards_off(request),
        .threshold = explain->threshold,
        .is_threshold_free = true,
    };
    const struct dj_query_vector vector = {.floats = near->vector, .dim = near->dim};
    bool is_askable = explain->has_scope && explain->fingerprint.is_semantic;
    if (!is_askable ||
        dj_engine_lookup(request->api->proxy->engine, request->loop, &explain->fingerprint,
                         &options, near->has_vector ? &vector : NULL, explain,
                         on_verdict) != DEJA_OK)
        answer(explain, DJ_HIT_NONE, NULL, NULL, is_askable ? "cache-unavailable" : near->reason);
}

/* ---- near ---- */

static void write_guards(struct dj_json_writer *w, uint32_t refused)
{
    dj_json_key(w, "guards");
    dj_json_begin_object(w);
    for (unsigned guard = 0; guard < DJ_GUARD_COUNT; guard++)
        dj_json_member_text(w, dj_guard_name((enum dj_guard)guard),
                            refused >> guard & 1 ? "refused" : "ok");
    dj_json_end_object(w);
    dj_json_key(w, "refused_by");
    dj_json_begin_array(w);
    for (unsigned guard = 0; guard < DJ_GUARD_COUNT; guard++)
        if (refused >> guard & 1)
            dj_json_put_text(w, dj_guard_name((enum dj_guard)guard));
    dj_json_end_array(w);
}

/* At most TEXT_SHOWN_BYTES of a stored question, cut between characters. */
static struct deja_slice shown(struct deja_slice text)
{
    if (text.len <= TEXT_SHOWN_BYTES)
        return text;
    size_t len = TEXT_SHOWN_BYTES;
    while (len > 0 && ((uint8_t)text.data[len] & 0xc0) == 0x80)
        len--;
    return deja_slice(text.data, len);
}

static void write_candidate(struct dj_json_writer *w, const struct explain *explain,
                            const struct dj_candidate *candidate)
{
    int64_t now_ms = dj_loop_now_ms(explain->request->loop);
    bool is_above = (double)candidate->similarity >= explain->threshold;
    dj_json_begin_object(w);
    dj_request_put_id(w, "id", candidate->id);
    put_similarity(w, candidate->similarity);
    dj_json_member_bool(w, "above_threshold", is_above);
    if (!candidate->is_fetched) {
        dj_json_member_text(w, "verdict", "gone");
        dj_json_end_object(w);
        return;
    }
    const struct dj_entry *entry = dj_value_entry(candidate->value);
    dj_json_member_text(w, "verdict",
                        candidate->is_other_scope ? "other-scope"
                        : candidate->guards_refused
                            ? dj_guard_reason(dj_guard_first(candidate->guards_refused))
                        : is_above ? "ok"
                                   : "below-threshold");
    write_guards(w, candidate->guards_refused);
    dj_json_key(w, "query");
    dj_json_put_string(w, shown(entry->query));
    dj_json_key(w, "model");
    dj_json_put_string(w, entry->model);
    dj_json_key(w, "namespace");
    dj_json_put_string(w, entry->name_space);
    dj_request_put_id(w, "scope", candidate->scope);
    dj_json_member_bool(w, "same_scope", !candidate->is_other_scope);
    dj_json_key(w, "age_s");
    dj_json_put_i64(w, now_ms > entry->created_ms ? (now_ms - entry->created_ms) / 1000 : 0);
    dj_request_put_time(w, "expires_at", entry->expires_ms);
    dj_json_end_object(w);
}

static void on_near(void *ctx, const struct dj_lookup_result *result)
{
    struct explain *explain = ctx;
    /* An array's inside: the brackets are the answer's. */
    for (uint32_t i = 0; i < result->candidate_count; i++) {
        struct dj_json_writer w = dj_json_writer(&explain->near);
        if (i > 0)
            dj_buf_append_byte(&explain->near, ',');
        write_candidate(&w, explain, &result->candidates[i]);
    }
    explain->embed_us = result->embed_us;
    explain->search_us = result->search_us;
    decide(explain, result);
}

/* ---- key ---- */

static void on_key(void *ctx, const struct dj_lookup_result *result)
{
    struct explain *explain = ctx;
    struct dj_request *request = explain->request;
    const struct dj_lookup_options options = {
        .is_semantic = dj_request_may_search(request),
        .guards_off = dj_request_guards_off(request),
        .is_explain = true,
        .is_all_scopes = explain->is_all_scopes,
        .threshold = explain->threshold,
        .is_threshold_free = true,
        .limit = NEAREST,
    };
    if (result->kind != DJ_HIT_NONE) {
        answer(explain, result->kind, result->value, result->level, NULL);
        return;
    }
    if (!explain->fingerprint.text.data) {
        answer(explain, DJ_HIT_NONE, NULL, NULL, "no-text");
        return;
    }
    if (dj_engine_lookup(request->api->proxy->engine, request->loop, &explain->fingerprint,
                         &options, NULL, explain, on_near) != DEJA_OK)
        answer(explain, DJ_HIT_NONE, NULL, NULL, "cache-unavailable");
}

static void start(struct explain *explain)
{
    struct dj_request *request = explain->request;
    const struct dj_lookup_options options = {.is_exact = true};
    enum deja_status status =
        dj_engine_lookup(request->api->proxy->engine, request->loop, &explain->fingerprint,
                         &options, NULL, explain, on_key);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

/* What would hold for a request of that surface, or what is asked for. */
static double threshold_of(const struct dj_request *request, bool is_api, double asked)
{
    const struct dj_rules *rules = request->who.rules;
    double own = rules ? dj_rules_of(rules)->threshold : 0;
    if (is_api)
        return dj_request_threshold(request, asked);
    if (!isnan(asked))
        return asked;
    return own > 0 ? own : dj_engine_threshold(request->api->proxy->engine, false);
}

static struct explain *create(struct dj_request *request, const char *surface, bool is_api,
                              double threshold)
{
    struct explain *explain = dj_arena_alloc(request->arena, sizeof *explain);
    if (!explain) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return NULL;
    }
    *explain = (struct explain){
        .request = request,
        .surface = surface,
        .threshold = threshold_of(request, is_api, threshold),
        .has_scope = true,
    };
    return explain;
}

/* ---- what is asked about ---- */

/* name_space data NULL: none was said. */
static void explain_query(struct dj_request *request, struct deja_slice query,
                          struct deja_slice name_space, double threshold)
{
    if (!dj_query_check_text(request, query, "")) {
        dj_request_has_complaints(request);
        return;
    }
    struct explain *explain = create(request, "api", true, threshold);
    if (!explain)
        return;
    /* A user's scope is one of the tenant's: the others' are not his to see (I1). */
    explain->is_all_scopes = name_space.data == NULL && !request->who.has_user;
    enum deja_status status =
        dj_query_fingerprint(request, name_space, query, &explain->fingerprint);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
    else
        start(explain);
}

/* Headers of the request that is asked about, in the place of ours. */
static void set_headers(const struct dj_family *family, const struct dj_json *headers,
                        struct dj_key_prefix *prefix)
{
    for (size_t i = 0; i < DJ_FAMILY_HEADERS_MAX; i++) {
        const char *name = family->key_headers[i];
        const struct dj_json *value = name ? dj_json_get(headers, name) : NULL;
        bool is_version = name && strcmp(name, "anthropic-version") == 0;
        prefix->headers[i] = value        ? dj_json_string(value)
                             : is_version ? deja_slice_text(ANTHROPIC_VERSION)
                                          : deja_slice(NULL, 0);
    }
}

struct asked {
    const struct dj_family *family;
    const struct dj_json *body;
    const struct dj_json *headers;
    struct deja_slice name_space;
    double threshold;
};

static void explain_request(struct dj_request *request, const struct asked *asked)
{
    const struct dj_proxy_context *proxy = request->api->proxy;
    const struct dj_family *family = asked->family;
    struct explain *explain = create(request, family->name, false, asked->threshold);
    struct dj_key_prefix prefix;
    if (!explain)
        return;
    dj_identity_prefix(proxy, request->http, &request->who, family->name, &prefix);
    if (!dj_call_own_upstream(&request->who))
        prefix.upstream_id = deja_slice_text(proxy->targets[family->target].id);
    set_headers(family, asked->headers, &prefix);
    prefix.name_space = asked->name_space;
    enum deja_status status =
        family->key(&prefix, asked->body, request->arena, &explain->fingerprint);
    if (status == DEJA_OK)
        dj_key_scope(&prefix, &explain->fingerprint);
    dj_wipe(prefix.fingerprint_key, sizeof prefix.fingerprint_key);
    if (status == DEJA_ERR_INVALID)
        dj_request_problem(
            request, 400, "invalid_request",
            "request must be a body of that API, with its messages, input or prompt");
    else if (status != DEJA_OK)
        dj_request_refuse(request, status);
    else
        start(explain);
}

/* False: there are complaints. */
static bool read_headers(struct dj_request *request, const struct dj_json *body,
                         const struct dj_json **out_headers)
{
    const struct dj_json *headers = dj_json_get(body, "headers");
    bool is_good = dj_json_type(headers) == DJ_JSON_NULL || dj_json_is(headers, DJ_JSON_OBJECT);
    for (struct dj_json_walk m = dj_json_walk(headers); is_good && dj_json_walk_next(&m);)
        is_good = dj_json_is(m.value, DJ_JSON_STRING);
    if (!is_good)
        dj_request_complain(request, "invalid_request", "headers", "type",
                            "must be an object of texts");
    *out_headers = headers;
    return is_good;
}

/* False: there are complaints. */
static bool find_family(struct dj_request *request, struct deja_slice api, struct asked *asked)
{
    asked->family = api.data ? dj_family_find(api) : dj_family_guess(asked->body);
    if (!asked->family)
        dj_request_complain(request, "invalid_request", "api", "one_of",
                            "must be chat, completions, messages or responses");
    return asked->family != NULL;
}

static void on_body(struct dj_request *request)
{
    static const char *const members[] = {"query",     "request",   "api", "headers",
                                          "namespace", "threshold", NULL};
    static const double unit[2] = {0, 1};
    const struct dj_json *body = request->body;
    const struct dj_json *chat = dj_json_get(body, "request");
    struct deja_slice query = {0};
    struct deja_slice name_space = {0};
    struct deja_slice api = {0};
    struct asked asked = {.body = chat};
    double threshold = NAN;
    bool is_read =
        dj_query_check_members(request, body, "", members) &&
        dj_query_label(request, body, "query", "", SIZE_MAX, &query) &&
        dj_query_label(request, body, "namespace", "", DJ_NAMESPACE_BYTES_MAX, &name_space) &&
        dj_query_label(request, body, "api", "", API_BYTES_MAX, &api) &&
        read_headers(request, body, &asked.headers) && find_family(request, api, &asked) &&
        dj_query_number(request, body, "threshold", "", unit, &threshold);
    if (is_read && chat && query.data)
        dj_request_complain(request, "invalid_request", "query", "unsupported",
                            "give a query or a request, not both");
    else if (is_read && !dj_json_is(chat, DJ_JSON_OBJECT) && !query.data)
        dj_request_complain(
            request, chat ? "invalid_request" : "query_empty", "query", "required",
            "give a query, or a request: the body of a chat completion, a message, …");
    if (dj_request_has_complaints(request))
        return;
    asked.name_space = name_space;
    asked.threshold = threshold;
    if (chat)
        explain_request(request, &asked);
    else
        explain_query(request, query, name_space, threshold);
}

void dj_explain(struct dj_request *request)
{
    struct deja_slice query = {0};
    struct deja_slice name_space = {0};
    struct deja_slice number = {0};
    double threshold = NAN;
    if (dj_slice_is(request->http->method, "POST")) {
        dj_request_read(request, on_body);
        return;
    }
    bool is_read = dj_query_url_member(request, "query", &query) &&
                   dj_query_url_namespace(request, &name_space) &&
                   dj_query_url_member(request, "threshold", &number);
    if (is_read && number.data &&
        (dj_num_parse_double(number, &threshold) != DEJA_OK || threshold < 0 || threshold > 1))
        dj_request_complain(request, "invalid_request", "threshold", "range",
                            "must be from 0 to 1");
    if (!dj_request_has_complaints(request))
        explain_query(request, query, name_space, threshold);
}
