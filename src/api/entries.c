/* api/entries.c - PUT, GET and DELETE of entries.
 *
 *   read every item -> look at each for sensitive data -> embed their texts as one batch
 *   -> put each -> answer
 *
 * An item that cannot be stored has its error in its place, the others are stored. The answer comes
 * when the last one was acknowledged as durably as the tiers promise. Entries are told apart by
 * their query and namespace (a bare vector by its name): the same again is a new version.
 */
#include <assert.h>
#include <math.h>

#include "api/as_of.h"
#include "api/draft.h"
#include "api/entry.h"
#include "api/entry_kind.h"
#include "api/handlers.h"
#include "api/user.h"
#include "base/num.h"
#include "base/slice.h"
#include "policy/admit.h"
#include "policy/ttl.h"
#include "cache/depends.h"
#include "proxy/identity.h"
#include "proxy/spending.h"

/* ---- put ---- */

struct put_item {
    struct put *put;
    struct dj_entry_input input;
    struct dj_fingerprint fingerprint;
    struct dj_fault fault; /* its own; the other items go on */
    struct dj_draft draft;
    uint64_t version;
    int64_t expires_ms;
    bool is_unsure; /* of itself: not admitted, which is no fault */
    bool is_stored;
    bool is_outrun;
    uint32_t missed; /* levels */
};

/* In the request's arena. */
struct put {
    struct dj_request *request;
    bool is_batch;
    size_t count;
    size_t left; /* acknowledgements that have not come */
    struct put_item *items;
    struct dj_drafts drafts;
    struct deja_slice texts[DJ_EMBED_BATCH_MAX]; /* what is embedded together */
    size_t text_count;
};

static void write_item(struct dj_json_writer *w, const struct put_item *item)
{
    dj_json_begin_object(w);
    if (item->fault.problem.status) {
        dj_request_put_fault(w, &item->fault);
    } else {
        dj_request_put_id(w, "id", item->fingerprint.key.id);
        dj_json_member_u64(w, "version", item->version);
        dj_request_put_time(w, "expires_at", item->expires_ms);
        dj_request_put_levels(w, "tiers_missing", item->missed);
        dj_draft_put_verdict(w, &item->draft);
        /* Overtaken by a newer put, a delete or an invalidation before it was kept. */
        dj_as_of_write(w, item->is_stored, item->is_outrun);
        if (item->is_unsure)
            dj_json_member_text(w, "reason", "confidence");
    }
    dj_json_end_object(w);
}

static void write_items(const struct put *put, struct dj_buf *body)
{
    struct dj_json_writer w = dj_json_writer(body);
    if (put->is_batch) {
        dj_json_begin_object(&w);
        dj_json_key(&w, "results");
        dj_json_begin_array(&w);
    }
    for (size_t i = 0; i < put->count; i++)
        write_item(&w, &put->items[i]);
    if (put->is_batch) {
        dj_json_end_array(&w);
        dj_json_end_object(&w);
    }
}

static void answer_put(struct put *put)
{
    struct dj_request *request = put->request;
    const struct dj_fault *fault = &put->items[0].fault;
    struct dj_buf body = {0};
    size_t failed = 0;
    double seconds =
        (double)(dj_loop_monotonic_us(request->loop) - request->http->started_us) / 1e6;
    for (size_t i = 0; i < put->count; i++)
        failed += put->items[i].fault.problem.status != 0;
    dj_telemetry_operation(request->api->proxy->telemetry, "set", "none", failed ? "error" : "ok",
                           seconds);
    if (failed && !put->is_batch) {
        dj_request_problem(request, fault->problem.status, fault->problem.type,
                           fault->problem.detail);
        return;
    }
    /* On the local surface no upstream proves a tenant; having stored something does. */
    if (request->http->is_loopback_peer && request->who.has_proof && failed < put->count)
        dj_registry_confirm(request->api->proxy->registry, request->who.proof,
                            dj_loop_now_ms(request->loop));
    write_items(put, &body);
    dj_request_answer(request, failed ? 207 : 201, NULL, &body);
    dj_buf_fini(&body);
}

static void on_put(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome)
{
    struct put_item *item = ctx;
    struct put *put = item->put;
    bool is_kept = outcome->is_stored &&
                   !(item->input.is_shared_required && (outcome->missed & DJ_LEVELS_SHARED));
    if (status != DEJA_OK && !is_kept)
        item->fault.problem =
            dj_problem_of(item->input.is_shared_required ? DEJA_ERR_CIRCUIT_OPEN : status);
    item->is_stored = outcome->is_stored;
    item->is_outrun = outcome->is_outrun;
    item->missed = outcome->missed;
    if (--put->left == 0)
        answer_put(put);
}

/* What it cost to make: said, or at the price of its model; 0: nobody knows. */
static double cost_of(const struct put_item *item)
{
    const struct dj_entry_input *input = &item->input;
    const struct dj_request *request = item->put->request;
    const struct dj_price_usage usage = {.input_tokens = input->input_tokens,
                                         .output_tokens = input->output_tokens};
    struct dj_spending spending = {.is_guess = true};
    if (input->cost_usd > 0 || !input->model.len)
        return input->cost_usd;
    dj_spending_work_out(request->api->proxy, request->who.rules, "response", input->model, &usage,
                         &spending);
    return spending.is_guess ? 0 : spending.cost_usd;
}

/* As tags of our own (cache/depends.h); dj_entry_read has left room for them. */
static enum deja_status add_dependencies(struct dj_request *request,
                                         const struct dj_entry_input *input, struct dj_entry *entry)
{
    for (struct dj_json_walk w = dj_json_walk(input->depends_on); dj_json_walk_next(&w);) {
        char *bytes = dj_arena_alloc(request->arena, DJ_DEPENDS_TAG_BYTES);
        if (!bytes)
            return DEJA_ERR_NOMEM;
        entry->tags[entry->tag_count++].name = dj_depends_tag(dj_json_string(w.value), bytes);
    }
    return DEJA_OK;
}

/* What would be kept, without times and version. */
static void write_draft(struct put_item *item)
{
    const struct dj_entry_input *input = &item->input;
    struct dj_draft *draft = &item->draft;
    struct dj_json_writer w = dj_json_writer(&draft->body);
    draft->entry = (struct dj_entry){
        .kind = DJ_ENTRY_API,
        .input_tokens = input->input_tokens,
        .output_tokens = input->output_tokens,
        .cost_usd = cost_of(item),
        .make_ms = input->make_ms,
        .name_space = input->name_space,
        .model = input->model,
        .provider = input->provider,
    };
    if (!dj_identity_tag(&item->put->request->who, item->put->request->arena, &draft->entry))
        draft->status = DEJA_ERR_NOMEM;
    for (size_t i = 0; draft->status == DEJA_OK && i < input->tag_count; i++)
        draft->entry.tags[draft->entry.tag_count++].name = input->tags[i];
    if (draft->status == DEJA_OK)
        draft->status = add_dependencies(item->put->request, input, &draft->entry);
    dj_draft_set_key(draft, &item->fingerprint);
    draft->response = input->response;
    if (input->response)
        dj_json_put_value(&w, input->response);
    else
        dj_json_put_null(&w);
    dj_entry_write_metadata(input, item->fingerprint.text, &draft->metadata);
}

/* The caller's ttl; else, of what says that it is an AI's answer, by what it says; else 0. */
static uint64_t life_of(const struct put_item *item)
{
    const struct dj_proxy_policy *policy = atomic_load(&item->put->request->api->proxy->policy);
    const struct dj_entry_input *input = &item->input;
    bool is_typed = input->type.len > 0 || !isnan(input->confidence) || input->cost_usd > 0;
    if (input->ttl_ms || !is_typed || !policy->is_ttl_dynamic)
        return input->ttl_ms;
    return dj_ttl_dynamic(
        dj_request_ttl(item->put->request, item->fingerprint.text, policy->ttl_base_ms),
        input->confidence, item->draft.entry.cost_usd, dj_slice_is(input->type, "analysis"));
}

/* Hands one entry to the engine. vector NULL: the engine embeds the text. */
static enum deja_status store(struct put_item *item, const struct dj_query_vector *vector)
{
    struct dj_request *request = item->put->request;
    struct dj_proxy_context *context = request->api->proxy;
    struct dj_entry *entry = &item->draft.entry;
    struct dj_fill fill;
    struct dj_put_options options = {.is_semantic = vector || item->fingerprint.is_semantic,
                                     .vector = vector,
                                     .is_through = item->input.is_shared_required,
                                     .as_of = item->input.as_of};
    dj_request_skip(request, &options);
    entry->created_ms = dj_loop_now_ms(request->loop);
    entry->expires_ms = dj_request_expiry(request, item->fingerprint.text, life_of(item));
    dj_sensitive_apply(&item->draft.verdict, context->sealed_levels, entry, &options);
    dj_engine_begin_fill(context->engine, entry, &fill);
    if (options.as_of)
        entry->version = options.as_of;
    item->version = entry->version;
    item->expires_ms = entry->expires_ms;
    return dj_engine_put(context->engine, request->loop, entry, &options, item, on_put);
}

static bool is_embedded_together(const struct put_item *item)
{
    return !item->fault.problem.status && !item->input.vector && item->fingerprint.is_semantic &&
           !item->draft.verdict.is_query_redacted;
}

/* They are the engine's now, or nobody's; what was found is told in the answer. */
static void free_texts(struct put_item *item)
{
    struct dj_sensitive_verdict *verdict = &item->draft.verdict;
    dj_buf_fini(&item->draft.body);
    dj_buf_fini(&item->draft.metadata);
    dj_buf_fini(&verdict->query);
    dj_buf_fini(&verdict->body);
    dj_buf_fini(&verdict->metadata);
}

static const struct dj_problem too_many_indexes = {
    .status = 400,
    .type = "invalid_request",
    .detail = "there are vectors of 8 embedders and dimensions already, which is the most a tenant "
              "may have",
};
static const struct dj_problem too_large = {
    .status = 413,
    .type = "payload_too_large",
    .detail = "the response is longer than this tenant may keep (limits.max_entry_bytes)",
};
static const struct dj_problem nothing_shared = {
    .status = 400,
    .type = "invalid_request",
    .detail = "require: no shared tier is configured that such entries go to",
};
static const struct dj_problem shared_skipped = {
    .status = 400,
    .type = "invalid_request",
    .detail = "require: X-Deja-Skip-Tiers leaves out a shared tier that must keep it",
};
static const struct dj_problem nothing_sealed = {
    .status = 422,
    .type = "sensitive_data",
    .detail = "require: it holds sensitive data, and no shared tier seals what it keeps",
};
static_assert(DJ_VECTOR_INDEXES_MAX == 8, "as the text says");

/* vectors: of those that are embedded together, in their order, dim floats each; NULL: none. */
static void store_all(struct put *put, const float *vectors, uint32_t dim)
{
    uint32_t shared =
        dj_engine_levels(put->request->api->proxy->engine, DJ_ENTRY_API) & DJ_LEVELS_SHARED;
    bool is_sealed = put->request->api->proxy->sealed_levels & DJ_LEVELS_SHARED;
    const struct dj_proxy_policy *policy = atomic_load(&put->request->api->proxy->policy);
    put->left = put->count + 1; /* one more, so that nobody answers while puts are being started */
    for (size_t i = 0; i < put->count; i++) {
        struct put_item *item = &put->items[i];
        struct dj_query_vector made = {.floats = vectors, .dim = dim};
        const struct dj_query_vector *vector = item->input.vector;
        if (vectors && is_embedded_together(item)) {
            vector = &made;
            vectors += dim;
        }
        if (!dj_request_keeps(put->request, item->draft.body.len) && !item->fault.problem.status)
            item->fault.problem = too_large;
        item->is_unsure = !isnan(item->input.confidence) &&
                          !dj_admit_is_confident(item->input.confidence, policy->confidence_min);
        if (item->input.is_shared_required && !item->fault.problem.status &&
            (!shared || (shared & put->request->skip)))
            item->fault.problem = shared ? shared_skipped : nothing_shared;
        if (item->input.is_shared_required && item->draft.verdict.is_sealed_only && !is_sealed &&
            !item->fault.problem.status)
            item->fault.problem = nothing_sealed;
        bool is_left_out = item->is_unsure || item->fault.problem.status;
        enum deja_status status = is_left_out ? DEJA_OK : store(item, vector);
        if (status == DEJA_ERR_LIMIT && item->input.vector)
            item->fault.problem = too_many_indexes;
        else if (status != DEJA_OK)
            item->fault.problem = dj_problem_of(status);
        if (item->is_unsure || item->fault.problem.status)
            put->left--;
        free_texts(item);
    }
    if (--put->left == 0) /* none was taken: nothing else will answer */
        answer_put(put);
}

static void on_embedded(void *ctx, enum deja_status status, const float *vectors, uint32_t dim,
                        uint32_t embed_us)
{
    struct put *put = ctx;
    if (embed_us)
        dj_telemetry_stage(put->request->api->proxy->telemetry, DJ_STAGE_EMBED, embed_us / 1e6);
    /* Without vectors each put tries for itself, and is found by its words at least (I4). */
    store_all(put, status == DEJA_OK ? vectors : NULL, dim);
}

/* One batch of the embedder for all texts of the request that may be found by meaning. */
static void embed_all(void *ctx)
{
    struct put *put = ctx;
    struct dj_request *request = put->request;
    for (size_t i = 0; i < put->count; i++)
        if (!put->items[i].fault.problem.status)
            put->items[i].fault.problem = dj_draft_problem(&put->items[i].draft);
    for (size_t i = 0; i < put->count; i++)
        if (is_embedded_together(&put->items[i]))
            put->texts[put->text_count++] = put->items[i].fingerprint.text;
    if (put->text_count < 2 ||
        dj_engine_embed(request->api->proxy->engine, request->loop, request->tenant, put->texts,
                        put->text_count, put, on_embedded) != DEJA_OK)
        store_all(put, NULL, 0);
}

/* NULL in the drafts: it was faulty, the others are looked at. */
static void judge_all(struct put *put)
{
    struct dj_request *request = put->request;
    struct dj_draft **drafts = dj_arena_alloc(request->arena, put->count * sizeof *drafts);
    if (!drafts) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    for (size_t i = 0; i < put->count; i++) {
        drafts[i] = put->items[i].fault.problem.status ? NULL : &put->items[i].draft;
        if (drafts[i])
            write_draft(&put->items[i]);
    }
    put->drafts = (struct dj_drafts){
        .request = request, .items = drafts, .count = put->count, .ctx = put, .judged = embed_all};
    dj_drafts_judge(&put->drafts);
}

static void read_item(struct put_item *item, const struct dj_json *object, const char *where)
{
    struct dj_request *request = item->put->request;
    struct dj_entry_input *input = &item->input;
    if (!dj_entry_read(request, object, where, input)) {
        if (item->put->is_batch) /* otherwise it is the whole request's */
            dj_request_take_fault(request, &item->fault);
        return;
    }
    struct deja_slice space =
        dj_entry_kind_space(request, dj_entry_kind(request, input->kind), input->name_space);
    enum deja_status status =
        input->query.len ? dj_query_fingerprint(request, space, input->query, &item->fingerprint)
                         : dj_query_fingerprint_vector(request, space, input->name, input->vector,
                                                       &item->fingerprint);
    if (status != DEJA_OK)
        item->fault.problem = dj_problem_of(status);
}

/* list: the array of a batch, or NULL for the body itself. */
static void put_all(struct dj_request *request, const struct dj_json *list, size_t count)
{
    struct put *put = dj_arena_alloc(request->arena, sizeof *put);
    struct put_item *items = dj_arena_alloc(request->arena, count * sizeof *items);
    if (!put || !items) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *put =
        (struct put){.request = request, .is_batch = list != NULL, .count = count, .items = items};
    uint64_t as_of = 0;
    if (!dj_as_of_read(request, &as_of)) {
        dj_request_has_complaints(request);
        return;
    }
    for (size_t i = 0; i < count; i++)
        items[i] = (struct put_item){.put = put, .input = {.as_of = as_of}};
    if (!list)
        read_item(&items[0], request->body, "");
    for (struct dj_json_walk w = dj_json_walk(list); list && dj_json_walk_next(&w);)
        read_item(&items[w.index], w.value, dj_request_text(request, "entries[%zu].", w.index));
    if (!dj_request_has_complaints(request))
        judge_all(put);
}

static void on_body(struct dj_request *request)
{
    static const char *const members[] = {"entries", NULL};
    const struct dj_json *list = dj_json_get(request->body, "entries");
    if (!list) {
        put_all(request, NULL, 1);
        return;
    }
    size_t count = dj_json_count(list);
    if (!dj_json_is(list, DJ_JSON_ARRAY) || count == 0 || count > DJ_BATCH_MAX)
        dj_request_complain(
            request, "invalid_request", "entries", "type",
            dj_request_text(request, "must be an array of 1 to %u entries", DJ_BATCH_MAX));
    else
        dj_query_check_members(request, request->body, "", members);
    if (!dj_request_has_complaints(request))
        put_all(request, list, count);
}

void dj_entries_put(struct dj_request *request)
{
    dj_request_read_once(request, on_body);
}

/* ---- get and delete by id ---- */

static bool read_id(struct dj_request *request, struct dj_store_key *out_key)
{
    if (dj_query_id(request, request->rest, out_key))
        return true;
    dj_request_problem(request, 404, "not_found", "an entry's id is 32 hex digits");
    return false;
}

static void finish_operation(struct dj_request *request, const char *operation, const char *status)
{
    double seconds =
        (double)(dj_loop_monotonic_us(request->loop) - request->http->started_us) / 1e6;
    dj_telemetry_operation(request->api->proxy->telemetry, operation, "none", status, seconds);
}

static void write_access(struct dj_json_writer *w, struct dj_request *request,
                         const struct dj_entry *entry)
{
    struct dj_access_stats access;
    struct dj_store_key key;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    dj_engine_access(request->api->proxy->engine, &key, &access);
    dj_entry_write_access(w, &access);
}

static void on_got(void *ctx, struct dj_value *value, const char *level)
{
    struct dj_request *request = ctx;
    (void)level;
    if (value && !dj_user_owns(request, dj_value_entry(value))) {
        dj_value_unref(value);
        value = NULL;
    }
    finish_operation(request, "get", value ? "ok" : "miss");
    if (!value) {
        dj_request_problem(request, 404, "not_found", "there is no such entry");
        return;
    }
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_entry_write(&w, dj_value_entry(value), dj_loop_now_ms(request->loop));
    write_access(&w, request, dj_value_entry(value));
    dj_json_end_object(&w);
    dj_value_unref(value);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

void dj_entries_get(struct dj_request *request)
{
    struct dj_store_key key;
    if (!read_id(request, &key))
        return;
    enum deja_status status = dj_engine_get(request->api->proxy->engine, request->loop, &key,
                                            request->skip, request, on_got);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct dj_request *request = ctx;
    finish_operation(request, "delete", status != DEJA_OK ? "error" : removed ? "ok" : "miss");
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    if (removed == 0) {
        dj_request_problem(request, 404, "not_found", "there is no such entry");
        return;
    }
    dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant, "entry");
    struct dj_buf body = {0};
    dj_buf_append_text(&body, "{\"removed\":1}");
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

void dj_entries_remove(struct dj_request *request)
{
    struct dj_store_key key;
    if (!read_id(request, &key))
        return;
    if (!dj_query_url_reason(request)) {
        dj_request_has_complaints(request);
        return;
    }
    enum deja_status status = dj_user_remove(request, &key, request, on_removed);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}
