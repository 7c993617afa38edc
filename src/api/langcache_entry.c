/* api/langcache_entry.c - see langcache_entry.h. Trust: untrusted. */
#include "api/langcache_entry.h"

#include <math.h>

#include "api/draft.h"
#include "api/entry.h"
#include "base/slice.h"
#include "proxy/identity.h"
#include "text/question.h"

/* ---- reading ---- */

static bool complain(struct dj_request *request, const char *name, const char *rule,
                     const char *message)
{
    dj_request_complain(request, "invalid_request", name, rule, message);
    return false;
}

bool dj_prompt_read_text(struct dj_request *request, const char *name, struct deja_slice *out_text)
{
    const struct dj_json *value = dj_json_get(request->body, name);
    if (!value || dj_json_is(value, DJ_JSON_NULL))
        return complain(request, name, "required", "must be there");
    if (!dj_json_is(value, DJ_JSON_STRING))
        return complain(request, name, "type", "must be a string");
    struct deja_slice text = dj_json_string(value);
    if (text.len > DJ_PROMPT_BYTES_MAX)
        return complain(request, name, "length",
                        dj_request_text(request, "at most %u bytes, these are %zu",
                                        DJ_PROMPT_BYTES_MAX, text.len));
    enum deja_status status = dj_question_check(text, DJ_PROMPT_BYTES_MAX, NULL);
    if (status == DEJA_ERR_QUERY_INVALID_CHARACTERS)
        return complain(request, name, "characters", "control characters are not allowed");
    if (status != DEJA_OK)
        return complain(request, name, "length", "is empty");
    *out_text = text;
    return true;
}

static bool is_name(struct deja_slice name)
{
    return name.len > 0 && name.len <= DJ_ATTRIBUTE_NAME_BYTES_MAX && name.data[0] != '$' &&
           dj_question_is_name(name);
}

bool dj_prompt_read_attributes(struct dj_request *request, const struct dj_json **out_attributes)
{
    static const char member[] = "attributes";
    const struct dj_json *object = dj_json_get(request->body, member);
    size_t bytes = 0;
    if (!object || dj_json_is(object, DJ_JSON_NULL))
        return true;
    if (!dj_json_is(object, DJ_JSON_OBJECT))
        return complain(request, member, "type", "must be an object of strings");
    if (dj_json_count(object) > DJ_ATTRIBUTES_MAX)
        return complain(request, member, "size",
                        dj_request_text(request, "at most %u attributes", DJ_ATTRIBUTES_MAX));
    for (struct dj_json_walk w = dj_json_walk(object); dj_json_walk_next(&w);) {
        int shown = w.key.len < 64 ? (int)w.key.len : 64;
        const char *place = dj_request_text(request, "%s.%.*s", member, shown, w.key.data);
        if (!is_name(w.key))
            return complain(
                request, place, "name",
                dj_request_text(request,
                                "a name has 1 to %u bytes, no control characters and does "
                                "not begin with $",
                                DJ_ATTRIBUTE_NAME_BYTES_MAX));
        if (!dj_json_is(w.value, DJ_JSON_STRING))
            return complain(request, place, "type", "must be a string");
        bytes += dj_json_string(w.value).len;
    }
    if (bytes > DJ_ATTRIBUTE_BYTES_MAX)
        return complain(request, member, "length",
                        dj_request_text(request, "all values together: at most %u bytes",
                                        DJ_ATTRIBUTE_BYTES_MAX));
    if (dj_json_count(object) > 0)
        *out_attributes = object;
    return true;
}

/* ---- LangChain's messages ---- */

/* A message as LangChain writes it out: {"lc":1,"id":[…,"HumanMessage"],"kwargs":{"content":…}}. */
static bool is_message(const struct dj_json *object)
{
    return dj_json_is(dj_json_get(object, "lc"), DJ_JSON_NUMBER) &&
           dj_json_count(dj_json_get(object, "id")) > 0 &&
           dj_json_get(dj_json_get(object, "kwargs"), "content");
}

/* object without one member. */
static void write_rest(struct dj_json_writer *w, const struct dj_json *object, const char *left_out)
{
    dj_json_begin_object(w);
    for (struct dj_json_walk walk = dj_json_walk(object); dj_json_walk_next(&walk);) {
        if (dj_slice_is(walk.key, left_out))
            continue;
        dj_json_key_slice(w, walk.key);
        dj_json_put_value(w, walk.value);
    }
    dj_json_end_object(w);
}

/* The message as a turn of a chat request; all else that it says stays beside its content, so that
 * two lists have one key only if they are the same. */
static void write_turn(struct dj_json_writer *w, const struct dj_json *message)
{
    const struct dj_json *id = dj_json_get(message, "id");
    const struct dj_json *kwargs = dj_json_get(message, "kwargs");
    struct deja_slice class = dj_json_string(dj_json_at(id, dj_json_count(id) - 1));
    bool is_human = dj_slice_is(class, "HumanMessage");
    dj_json_begin_object(w);
    dj_json_member_text(w, "role", is_human ? "user" : "other");
    dj_json_key(w, "content");
    dj_json_put_value(w, dj_json_get(kwargs, "content"));
    dj_json_key(w, "kwargs");
    write_rest(w, kwargs, "content");
    dj_json_key(w, "message");
    write_rest(w, message, "kwargs");
    dj_json_end_object(w);
}

/* A prompt that is a list of LangChain's messages as the body of a chat request; NULL: it is none.
 * Compared as texts such lists are all alike, for most of them is wrapping. */
static struct dj_json_doc *read_messages(struct deja_slice prompt)
{
    struct dj_json_doc *list = NULL;
    struct dj_json_doc *body = NULL;
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    if (prompt.data[0] != '[' || dj_json_parse(prompt, &list, NULL) != DEJA_OK)
        return NULL;
    bool is_list = dj_json_count(dj_json_root(list)) > 0;
    dj_json_begin_object(&w);
    dj_json_key(&w, "messages");
    dj_json_begin_array(&w);
    for (struct dj_json_walk walk = dj_json_walk(dj_json_root(list));
         is_list && dj_json_walk_next(&walk);) {
        is_list = is_message(walk.value);
        if (is_list)
            write_turn(&w, walk.value);
    }
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    if (!is_list || text.status != DEJA_OK ||
        dj_json_parse(dj_buf_slice(&text), &body, NULL) != DEJA_OK)
        body = NULL;
    dj_json_doc_destroy(list);
    dj_buf_fini(&text);
    return body;
}

/* ---- keys ---- */

enum deja_status dj_prompt_fingerprint(struct dj_request *request, const struct dj_prompt *prompt,
                                       struct dj_fingerprint *out_fingerprint)
{
    struct dj_key_prefix prefix;
    struct dj_fingerprint fingerprint;
    uint8_t digest[DJ_SHA256_BYTES];
    struct dj_buf canonical = {0};
    struct dj_json_doc *chat = read_messages(prompt->text);
    enum deja_status status = DEJA_OK;
    dj_query_prefix(request, prompt->name_space, &prefix);
    if (prompt->attributes) {
        size_t mark_offset = 0;
        size_t mark_len = 0;
        dj_json_canonical(&canonical, prompt->attributes, NULL, NULL, &mark_offset, &mark_len);
        dj_sha256(dj_buf_slice(&canonical), digest);
        prefix.headers[0] = deja_slice(digest, sizeof digest);
        status = canonical.status;
    }
    if (status == DEJA_OK)
        status = chat ? dj_key_chat(&prefix, dj_json_root(chat), request->arena, &fingerprint)
                      : dj_key_query(&prefix, prompt->text, request->arena, &fingerprint);
    if (status == DEJA_OK) {
        /* Attributes are no part of the scope: a search may name fewer than were put. */
        prefix.headers[0] = deja_slice(NULL, 0);
        dj_key_scope(&prefix, &fingerprint);
        *out_fingerprint = fingerprint;
    }
    dj_buf_fini(&canonical);
    dj_json_doc_destroy(chat);
    dj_wipe(prefix.fingerprint_key, sizeof prefix.fingerprint_key);
    return status;
}

/* ---- putting ---- */

/* In the request's arena. */
struct prompt_put {
    struct dj_request *request;
    struct dj_draft draft;
    struct dj_draft *list[1];
    struct dj_drafts drafts;
    struct dj_put_options options;
    uint64_t ttl_ms;
    uint8_t *out_id;
    void *ctx;
    dj_put_done_fn *done;
};

static void put_judged(void *ctx)
{
    struct prompt_put *put = ctx;
    struct dj_request *request = put->request;
    struct dj_proxy_context *context = request->api->proxy;
    struct dj_entry *entry = &put->draft.entry;
    struct dj_fill fill;
    struct dj_problem problem = dj_draft_problem(&put->draft);
    if (!problem.status && !dj_request_keeps(request, put->draft.body.len))
        problem = (struct dj_problem){
            .status = 413,
            .type = "payload_too_large",
            .detail = "the response is longer than this tenant may keep (limits.max_entry_bytes)"};
    enum deja_status status = DEJA_OK;
    if (problem.status == 0) {
        entry->created_ms = dj_loop_now_ms(request->loop);
        entry->expires_ms = dj_request_expiry(request, entry->query, put->ttl_ms);
        dj_sensitive_apply(&put->draft.verdict, context->sealed_levels, entry, &put->options);
        dj_engine_begin_fill(context->engine, entry, &fill);
        status = dj_engine_put(context->engine, request->loop, entry, &put->options, put->ctx,
                               put->done);
        memcpy(put->out_id, entry->id, sizeof entry->id);
    }
    dj_draft_fini(&put->draft);
    if (problem.status == 0 && status == DEJA_OK)
        return;
    dj_prompt_count(request, "set", "none", "error");
    if (problem.status)
        dj_request_problem(request, problem.status, problem.type, problem.detail);
    else
        dj_prompt_refuse(request, status);
}

enum deja_status dj_prompt_put(struct dj_request *request, const struct dj_prompt *prompt,
                               struct deja_slice response, uint64_t ttl_ms,
                               uint8_t out_id[DJ_ID_BYTES], void *ctx, dj_put_done_fn *done)
{
    const struct dj_entry_input input = {
        .query = prompt->text, .metadata = prompt->attributes, .confidence = NAN};
    struct dj_fingerprint fingerprint;
    struct prompt_put *put = dj_arena_alloc(request->arena, sizeof *put);
    enum deja_status status = dj_prompt_fingerprint(request, prompt, &fingerprint);
    if (status != DEJA_OK || !put)
        return put ? status : DEJA_ERR_NOMEM;
    *put = (struct prompt_put){.request = request,
                               .options = {.is_semantic = fingerprint.is_semantic},
                               .ttl_ms = ttl_ms,
                               .out_id = out_id,
                               .ctx = ctx,
                               .done = done};
    put->draft.entry = (struct dj_entry){.kind = DJ_ENTRY_API, .name_space = prompt->name_space};
    dj_draft_set_key(&put->draft, &fingerprint);
    if (!dj_identity_tag(&request->who, request->arena, &put->draft.entry))
        return DEJA_ERR_NOMEM;
    struct dj_json_writer w = dj_json_writer(&put->draft.body);
    dj_json_put_string(&w, response);
    dj_entry_write_metadata(&input, fingerprint.text, &put->draft.metadata);
    put->list[0] = &put->draft;
    put->drafts = (struct dj_drafts){
        .request = request, .items = put->list, .count = 1, .ctx = put, .judged = put_judged};
    dj_drafts_judge(&put->drafts);
    return DEJA_OK;
}

void dj_prompt_finish_put(struct dj_request *request)
{
    /* On the local surface no upstream proves a tenant; having stored something does. */
    if (request->http->is_loopback_peer && request->who.has_proof)
        dj_registry_confirm(request->api->proxy->registry, request->who.proof,
                            dj_loop_now_ms(request->loop));
}

/* ---- writing ---- */

/* The kept form of metadata (entry.h); NULL doc: none. */
static const struct dj_json *read_kept(const struct dj_entry *entry, struct dj_json_doc **out_doc)
{
    struct dj_json_doc *doc = NULL;
    if (!entry->metadata.len || dj_json_parse(entry->metadata, &doc, NULL) != DEJA_OK)
        return NULL;
    *out_doc = doc;
    return dj_json_root(doc);
}

void dj_prompt_put_words(struct dj_json_writer *w, const struct dj_entry *entry)
{
    struct dj_json_doc *doc = NULL;
    const struct dj_json *asked = dj_json_get(read_kept(entry, &doc), "query");
    dj_json_put_string(w, asked ? dj_json_string(asked) : entry->query);
    dj_json_doc_destroy(doc);
}

bool dj_prompt_is_words(const struct dj_entry *entry, struct deja_slice text)
{
    struct dj_json_doc *doc = NULL;
    const struct dj_json *asked = dj_json_get(read_kept(entry, &doc), "query");
    bool is_same = deja_slice_is_equal(asked ? dj_json_string(asked) : entry->query, text);
    dj_json_doc_destroy(doc);
    return is_same;
}

void dj_prompt_put_response(struct dj_json_writer *w, const struct dj_entry *entry)
{
    struct dj_json_doc *doc = NULL;
    const struct dj_json *value = NULL;
    if (dj_json_parse(entry->body, &doc, NULL) == DEJA_OK)
        value = dj_json_root(doc);
    bool is_text = dj_json_is(value, DJ_JSON_STRING);
    dj_json_put_string(w, is_text ? dj_json_string(value) : entry->body);
    dj_json_doc_destroy(doc);
}

void dj_prompt_put_attributes(struct dj_json_writer *w, const struct dj_entry *entry)
{
    struct dj_json_doc *doc = NULL;
    const struct dj_json *metadata = dj_json_get(read_kept(entry, &doc), "metadata");
    dj_json_begin_object(w);
    for (struct dj_json_walk walk = dj_json_walk(metadata); dj_json_walk_next(&walk);) {
        if (!dj_json_is(walk.value, DJ_JSON_STRING))
            continue; /* put by the native API: clients of this surface take texts only */
        dj_json_key_slice(w, walk.key);
        dj_json_put_string(w, dj_json_string(walk.value));
    }
    dj_json_end_object(w);
    dj_json_doc_destroy(doc);
}

/* ---- ending ---- */

void dj_prompt_count(struct dj_request *request, const char *operation, const char *level,
                     const char *status)
{
    double seconds =
        (double)(dj_loop_monotonic_us(request->loop) - request->http->started_us) / 1e6;
    dj_telemetry_operation(request->api->proxy->telemetry, operation, level, status, seconds);
}

void dj_prompt_refuse(struct dj_request *request, enum deja_status status)
{
    if (status == DEJA_ERR_BUSY)
        dj_request_problem(request, 503, "overloaded", "a queue is full; try again");
    else
        dj_request_refuse(request, status);
}
