/* proxy/embeddings.c - POST /v1/embeddings, cached per input item.
 *
 *   items -> memory -> the tiers -> the missing ones, as one upstream call in a flight -> merge
 *
 * Vectors are kept as float32 and rendered as the client asks (float or base64). An answer of which
 * nothing was cached reaches the client as the upstream wrote it. Exact only, never by meaning.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/slice.h"
#include "proxy/embeddings_internal.h"
#include "proxy/gate.h"
#include "proxy/identity.h"
#include "proxy/proxy.h"
#include "proxy/ride_internal.h"
#include "proxy/storing.h"
#include "proxy/tenant_rules.h"
#include "proxy/wire_vector.h"

/* What the call needs; in the call's arena. */
struct wanted {
    struct dj_fingerprint *items;
    size_t count;
    bool is_base64;
    struct dj_sensitive_verdict *verdicts; /* of the inputs; made, as are the next */
    struct deja_slice *vectors;            /* made: bytes in call->made, set at the end of make */
    size_t *offsets;
    struct deja_slice model;
    uint32_t tokens;
    double cost_usd; /* of all; 0: nobody knows */
};

static void answer_items(struct ride *ride, const struct dj_flight_end *end);
static void drop_values(struct ride *ride);
static const struct ride_ops embeddings_ops = {
    .api = "embeddings", .answer_hit = answer_items, .leave = drop_values};
/* Without inputs there is nothing to drop. */
static const struct ride_ops failed_ops = {.api = "embeddings"};

static void drop_values(struct ride *ride)
{
    struct inputs *inputs = ride->extra;
    for (size_t i = 0; i < inputs->count; i++)
        dj_value_unref(inputs->items[i].value);
    dj_free(inputs->items);
    dj_free(inputs);
}

/* ---- answering ---- */

void embeddings_put_vector(struct dj_json_writer *w, struct deja_slice bytes, bool is_base64)
{
    if (is_base64) {
        struct dj_buf text = {0};
        dj_base64_encode(bytes, &text);
        if (text.status != DEJA_OK)
            w->buf->status = text.status;
        dj_json_put_string(w, dj_buf_slice(&text));
        dj_buf_fini(&text);
        return;
    }
    dj_json_begin_array(w);
    for (size_t i = 0; i + sizeof(float) <= bytes.len; i += sizeof(float)) {
        char text[32];
        float number = 0;
        memcpy(&number, bytes.data + i, sizeof number);
        int len = snprintf(text, sizeof text, "%.9g", (double)number); /* exact for float32 */
        dj_json_put_raw(w, deja_slice(text, len > 0 ? (size_t)len : 0));
    }
    dj_json_end_array(w);
}

static void write_answer(const struct inputs *inputs, struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    uint64_t tokens = 0;
    struct deja_slice model = deja_slice(NULL, 0);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "object", "list");
    dj_json_key(&w, "data");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < inputs->count; i++) {
        const struct dj_entry *entry = dj_value_entry(inputs->items[i].value);
        dj_json_begin_object(&w);
        dj_json_member_text(&w, "object", "embedding");
        dj_json_member_u64(&w, "index", i);
        dj_json_key(&w, "embedding");
        embeddings_put_vector(&w, entry->body, inputs->is_base64);
        dj_json_end_object(&w);
        tokens += entry->input_tokens;
        model = entry->model;
    }
    dj_json_end_array(&w);
    dj_json_key(&w, "model");
    dj_json_put_string(&w, model);
    dj_json_key(&w, "usage");
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "prompt_tokens", tokens);
    dj_json_member_u64(&w, "total_tokens", tokens);
    dj_json_end_object(&w);
    dj_json_end_object(&w);
}

/* Every item has its value. */
static void answer_all(struct inputs *inputs, bool is_hit, const char *level)
{
    struct ride *ride = inputs->ride;
    struct dj_buf body = {0};
    struct dj_outcome outcome = ride_outcome(ride);
    const struct dj_entry *first = dj_value_entry(inputs->items[0].value);
    write_answer(inputs, &body);
    if (is_hit) {
        outcome.is_hit = true;
        outcome.kind = DJ_HIT_EXACT;
        outcome.level = level;
        outcome.similarity = 1.0f;
        outcome.entry = first;
    }
    if (body.status != DEJA_OK) {
        ride_fail(ride, 503, "Deja is out of memory.", NULL, "cache_unavailable");
    } else {
        for (size_t i = 0; is_hit && i < inputs->count; i++) {
            const struct dj_entry *entry = dj_value_entry(inputs->items[i].value);
            dj_telemetry_saved(ride->context->telemetry, entry);
            dj_engine_note_hit(ride->context->engine, ride->loop, entry);
        }
        ride_answer(ride, &outcome, dj_buf_slice(&body), false);
        enum dj_result result = is_hit            ? DJ_RESULT_HIT_EXACT
                                : ride->is_leader ? DJ_RESULT_MISS
                                                  : DJ_RESULT_COLLAPSED;
        ride_end(ride, result, is_hit ? level : "none");
    }
    dj_buf_fini(&body);
}

static void answer_items(struct ride *ride, const struct dj_flight_end *end)
{
    struct inputs *inputs = ride->extra;
    const struct dj_call *call = dj_flight_owner(ride->rider.flight);
    const struct wanted *wanted = call->extra;
    if (!ride->is_partial && wanted->is_base64 == inputs->is_base64) {
        ride_answer_whole(ride); /* nothing was cached: as the upstream wrote it */
        return;
    }
    size_t next = 0;
    for (size_t i = 0; i < inputs->count; i++)
        if (!inputs->items[i].value && next < end->item_count)
            inputs->items[i].value = dj_value_ref(end->items[next++]);
    answer_all(inputs, false, "none");
}

/* ---- making entries (worker) ---- */

static enum deja_status take_vectors(struct dj_call *call, const struct dj_json *root)
{
    struct wanted *wanted = call->extra;
    const struct dj_json *data = dj_json_get(root, "data");
    if (dj_json_count(data) != wanted->count)
        return DEJA_ERR_INVALID;
    for (size_t i = 0; i < wanted->count; i++)
        wanted->offsets[i] = SIZE_MAX;
    for (struct dj_json_walk walk = dj_json_walk(data); dj_json_walk_next(&walk);) {
        int64_t index = dj_json_i64(dj_json_get(walk.value, "index"), (int64_t)walk.index);
        if (index < 0 || (size_t)index >= wanted->count || wanted->offsets[index] != SIZE_MAX)
            return DEJA_ERR_INVALID;
        size_t offset = call->made.len;
        if (dj_wire_vector_read(dj_json_get(walk.value, "embedding"), &call->made) != DEJA_OK)
            return DEJA_ERR_INVALID;
        wanted->offsets[index] = offset;
        wanted->vectors[index].len = call->made.len - offset;
    }
    for (size_t i = 0; i < wanted->count; i++)
        wanted->vectors[i].data = call->made.data + wanted->offsets[i];
    return DEJA_OK;
}

/* A vector tells what was said: it is kept only where the text it was made of could be. */
static void judge_inputs(struct dj_call *call)
{
    struct wanted *wanted = call->extra;
    const struct dj_detector *detector = call->context->detector;
    const struct dj_rules_values *rules = dj_rules_of(call->rules);
    struct dj_json_doc *doc = NULL;
    if (!detector || !dj_sensitive_classes(rules))
        return;
    dj_sensitive_judge(detector, rules, &call->entry, NULL, &call->sensitive);
    if (dj_json_parse(call->body, &doc, NULL) != DEJA_OK) {
        call->sensitive.is_refused = true; /* it was read before: memory ran out */
        call->sensitive.reason = "sensitive-memory";
        return;
    }
    const struct dj_json *input = dj_json_get(dj_json_root(doc), "input");
    bool is_list =
        dj_json_is(input, DJ_JSON_ARRAY) && !dj_json_is(dj_json_at(input, 0), DJ_JSON_NUMBER);
    struct dj_json_walk w = dj_json_walk(input);
    for (size_t i = 0; i < wanted->count; i++) {
        bool is_there = !is_list || dj_json_walk_next(&w);
        dj_sensitive_judge_source(detector, rules, is_list && is_there ? w.value : input,
                                  &wanted->verdicts[i]);
    }
    dj_json_doc_destroy(doc);
}

static void make_embeddings(struct dj_call *call, struct deja_slice whole)
{
    struct wanted *wanted = call->extra;
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_json_parse(whole, &doc, NULL);
    const struct dj_json *root = status == DEJA_OK ? dj_json_root(doc) : NULL;
    if (status == DEJA_OK)
        status = take_vectors(call, root);
    if (status == DEJA_OK) {
        int64_t tokens = dj_json_i64(dj_json_get(dj_json_get(root, "usage"), "prompt_tokens"), 0);
        wanted->tokens = tokens > 0 && tokens < INT32_MAX ? (uint32_t)tokens : 0;
        wanted->model = dj_arena_copy(&call->arena, dj_json_string(dj_json_get(root, "model")));
        const struct dj_gate_usage usage = {
            .kind = "embedding", .model = wanted->model, .input_tokens = wanted->tokens};
        wanted->cost_usd =
            dj_gate_spend(call->context, call->fingerprint.key.tenant, call->rules, &usage);
        call->is_admitted = true;
        judge_inputs(call);
    } else {
        call->refused = "answer-not-understood";
    }
    dj_json_doc_destroy(doc);
}

static bool store_vector(struct dj_call *call, const struct dj_entry *entry,
                         const struct dj_sensitive_verdict *verdict, struct dj_flight_end *end)
{
    struct dj_put_options options = {.is_semantic = false};
    bool is_refused = verdict->is_refused || call->sensitive.is_refused;
    if (!call->is_storable)
        return false;
    dj_telemetry_sensitive(call->context->telemetry, verdict);
    if (is_refused) {
        end->reason = verdict->reason ? verdict->reason : call->sensitive.reason;
        return false;
    }
    struct dj_entry kept = *entry;
    dj_sensitive_apply(verdict, call->context->sealed_levels, &kept, &options);
    if (call->sensitive.is_sealed_only)
        dj_sensitive_apply(&call->sensitive, call->context->sealed_levels, &kept, &options);
    return dj_storing_begin(call, &kept, &options, false);
}

static void store_embeddings(struct dj_call *call, struct dj_flight_end *end)
{
    struct wanted *wanted = call->extra;
    struct dj_engine *engine = call->context->engine;
    const struct dj_proxy_policy *policy = atomic_load(&call->context->policy);
    uint64_t ttl_ms = dj_tenant_cut_ttl(call->rules, policy->embedding_ttl_ms);
    if (call->knobs.ttl_ms && call->knobs.ttl_ms < ttl_ms)
        ttl_ms = call->knobs.ttl_ms;
    if (!call->is_admitted)
        return;
    end->items = dj_alloc_zeroed(wanted->count, sizeof *end->items);
    if (!end->items)
        return;
    struct dj_entry entry = call->entry;
    entry.kind = DJ_ENTRY_EMBEDDING;
    entry.model = wanted->model;
    entry.created_ms = dj_loop_now_ms(call->home);
    entry.expires_ms = dj_engine_expiry(engine, call->home, ttl_ms, ttl_ms);
    entry.make_ms = call->upstream_us / 1000;
    for (size_t i = 0; i < wanted->count; i++) {
        /* The sum of the items is what the upstream counted. */
        entry.input_tokens = (uint32_t)(wanted->tokens / wanted->count +
                                        (i < wanted->tokens % wanted->count ? 1 : 0));
        entry.cost_usd =
            wanted->tokens ? wanted->cost_usd * entry.input_tokens / wanted->tokens : 0;
        memcpy(entry.id, wanted->items[i].key.id, sizeof entry.id);
        memcpy(entry.exact, wanted->items[i].exact, sizeof entry.exact);
        entry.body = wanted->vectors[i];
        if (dj_value_create(&entry, &end->items[i]) != DEJA_OK)
            break;
        end->item_count++;
        if (store_vector(call, &entry, &wanted->verdicts[i], end))
            end->is_stored = true;
    }
    if (end->item_count == wanted->count)
        return;
    for (size_t i = 0; i < end->item_count; i++)
        dj_value_unref(end->items[i]);
    dj_free(end->items);
    end->items = NULL;
    end->item_count = 0;
}

/* ---- asking ---- */

static enum deja_status write_body(const struct inputs *inputs, const struct dj_json *root,
                                   struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    const struct dj_json *input = dj_json_get(root, "input");
    dj_json_begin_object(&w);
    for (struct dj_json_walk m = dj_json_walk(root); dj_json_walk_next(&m);) {
        if (dj_slice_is(m.key, "cache") || dj_slice_is(m.key, "cache_skip"))
            continue;
        dj_json_key_slice(&w, m.key);
        if (m.value != input) {
            dj_json_put_value(&w, m.value);
            continue;
        }
        dj_json_begin_array(&w);
        for (size_t i = 0; i < inputs->count; i++)
            if (!inputs->items[i].value)
                dj_json_put_value(&w, inputs->items[i].json);
        dj_json_end_array(&w);
    }
    dj_json_end_object(&w);
    return out->status;
}

static enum deja_status take_wanted(const struct inputs *inputs, struct dj_call *call)
{
    struct wanted *wanted = dj_arena_alloc(&call->arena, sizeof *wanted);
    if (!wanted)
        return DEJA_ERR_NOMEM;
    *wanted = (struct wanted){.is_base64 = inputs->is_base64};
    wanted->items = dj_arena_alloc(&call->arena, sizeof *wanted->items * inputs->count);
    wanted->vectors = dj_arena_alloc(&call->arena, sizeof *wanted->vectors * inputs->count);
    wanted->offsets = dj_arena_alloc(&call->arena, sizeof *wanted->offsets * inputs->count);
    wanted->verdicts = dj_arena_alloc(&call->arena, sizeof *wanted->verdicts * inputs->count);
    if (!wanted->items || !wanted->vectors || !wanted->offsets || !wanted->verdicts)
        return DEJA_ERR_NOMEM;
    memset(wanted->verdicts, 0, sizeof *wanted->verdicts * inputs->count);
    for (size_t i = 0; i < inputs->count; i++) {
        if (inputs->items[i].value)
            continue;
        wanted->items[wanted->count] = inputs->items[i].fingerprint;
        wanted->items[wanted->count++].canonical = deja_slice(NULL, 0);
    }
    call->extra = wanted;
    return DEJA_OK;
}

static enum deja_status fill_call(struct inputs *inputs, struct dj_call *call)
{
    struct ride *ride = inputs->ride;
    const struct dj_json *root = dj_json_root(ride->doc);
    bool is_ours = dj_json_get(root, "cache") || dj_json_get(root, "cache_skip");
    struct dj_buf body = {0};
    enum deja_status status = ride->is_cacheable ? take_wanted(inputs, call) : DEJA_OK;
    if (status == DEJA_OK && (ride->is_partial || (is_ours && ride->is_cacheable)))
        status = write_body(inputs, root, &body);
    call->body = dj_arena_copy(&call->arena, body.len ? dj_buf_slice(&body) : ride->body);
    dj_buf_fini(&body);
    call->is_storable = !ride->knobs.is_no_store && !ride->knobs.is_bypass;
    call->entry.provider = deja_slice_text(call->context->targets[DJ_TARGET_OPENAI].id);
    if (!ride_introduce(ride, call))
        status = DEJA_ERR_NOMEM;
    if (ride->is_cacheable) {
        const struct wanted *wanted = call->extra;
        call->make = make_embeddings;
        call->store = store_embeddings;
        call->fingerprint = wanted->items[0];
    }
    memcpy(call->fingerprint.key.tenant, ride->tenant, sizeof ride->tenant);
    if (status == DEJA_OK && !call->body.data)
        status = DEJA_ERR_NOMEM;
    return status == DEJA_OK ? dj_call_take_request(call, dj_http_exchange_request(ride->exchange),
                                                    &ride->who, &ride->trace, true)
                             : status;
}

/* The flight of a set of items: equal sets meet, whatever encoding is asked for. */
static void set_flight_key(const struct inputs *inputs, struct dj_call *call)
{
    const struct wanted *wanted = call->extra;
    struct dj_fingerprint fingerprint = {.key = wanted->items[0].key};
    uint8_t chain[DJ_SHA256_BYTES];
    memcpy(chain, wanted->items[0].exact, sizeof chain);
    for (size_t i = 1; i < wanted->count; i++) {
        const struct deja_slice parts[] = {
            deja_slice(chain, sizeof chain),
            deja_slice(wanted->items[i].exact, sizeof wanted->items[i].exact)};
        dj_hmac(inputs->ride->prefix.fingerprint_key, parts, 2, chain);
    }
    memcpy(fingerprint.key.id, chain, sizeof fingerprint.key.id);
    ride_flight_key(inputs->ride, &fingerprint, call->flight_key);
}

static void ask_upstream(struct inputs *inputs)
{
    struct ride *ride = inputs->ride;
    if (ride->knobs.is_only_if_cached && ride->is_cacheable) {
        ride_fail(ride, 504, "Not in the cache, and the request asked for nothing else.", NULL,
                  "not_cached");
        return;
    }
    size_t missing = 0;
    for (size_t i = 0; i < inputs->count; i++)
        missing += inputs->items[i].value == NULL;
    ride->is_partial = ride->is_cacheable && missing < inputs->count;
    if (ride->is_partial)
        ride->detail = "partial";
    else if (ride->is_cacheable && !ride->who.may_hit)
        ride->detail = "credential-suspended";
    else if (ride->is_cacheable && !ride->knobs.is_bypass && !ride->knobs.is_no_read)
        ride->detail = "not-stored";
    struct dj_call *call = dj_call_create(ride->context);
    if (call)
        call->family = DJ_UPSTREAM_EMBEDDINGS;
    if (!call || fill_call(inputs, call) != DEJA_OK) {
        dj_call_destroy(call);
        ride_fail(ride, 503, "Deja is out of memory.", NULL, "cache_unavailable");
        return;
    }
    ride->join.is_alone = !ride->is_cacheable || ride->knobs.is_bypass || ride->knobs.is_no_read ||
                          ride->knobs.is_no_store;
    if (ride->is_cacheable)
        set_flight_key(inputs, call);
    ride_join(ride, call);
}

struct fetch {
    struct inputs *inputs;
    size_t index;
};

static void on_fetched(void *ctx, struct dj_value *value, const char *level)
{
    struct fetch *fetch = ctx;
    struct inputs *inputs = fetch->inputs;
    struct item *item = &inputs->items[fetch->index];
    item->value = value;
    /* The lowest tier that was needed is where the whole came from. */
    if (level && (!inputs->level || dj_level_bit(deja_slice_text(level)) >
                                        dj_level_bit(deja_slice_text(inputs->level))))
        inputs->level = level;
    if (--inputs->waiting)
        return;
    for (size_t i = 0; i < inputs->count; i++)
        if (!inputs->items[i].value) {
            ask_upstream(inputs);
            return;
        }
    answer_all(inputs, true, inputs->level);
}

static void look_up(struct inputs *inputs)
{
    struct ride *ride = inputs->ride;
    struct dj_engine *engine = ride->context->engine;
    struct dj_arena *arena = dj_http_exchange_request(ride->exchange)->arena;
    size_t missing = 0;
    bool may_read = !ride->knobs.is_no_read && ride->who.may_hit;
    uint32_t skip = ride->knobs.skip;
    bool may_find = !(skip & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY));
    for (size_t i = 0; may_read && i < inputs->count; i++) {
        const struct dj_store_key *key = &inputs->items[i].fingerprint.key;
        inputs->items[i].value =
            may_find ? dj_engine_find(engine, ride->loop, key, ride->knobs.max_age_ms) : NULL;
        missing += inputs->items[i].value == NULL;
    }
    if (may_read && !missing) {
        answer_all(inputs, true, "memory");
        return;
    }
    struct fetch *fetches =
        may_read ? dj_arena_alloc(arena, sizeof *fetches * inputs->count) : NULL;
    inputs->waiting = 1; /* this function itself */
    for (size_t i = 0; fetches && i < inputs->count; i++) {
        if (inputs->items[i].value)
            continue;
        fetches[i] = (struct fetch){.inputs = inputs, .index = i};
        if (dj_engine_get(engine, ride->loop, &inputs->items[i].fingerprint.key, skip, &fetches[i],
                          on_fetched) == DEJA_OK)
            inputs->waiting++;
    }
    if (--inputs->waiting == 0)
        ask_upstream(inputs);
}

static bool is_item(const struct dj_json *value)
{
    return dj_json_is(value, DJ_JSON_STRING) || dj_json_is(value, DJ_JSON_ARRAY);
}

/* A string, strings, tokens, or lists of tokens. False: not a form that is known. */
static bool list_items(struct inputs *inputs, const struct dj_json *input)
{
    inputs->is_array = dj_json_is(input, DJ_JSON_ARRAY) && is_item(dj_json_at(input, 0));
    size_t count = inputs->is_array ? dj_json_count(input) : 1;
    if (!is_item(input) || count == 0 || count > EMBEDDINGS_ITEMS_MAX ||
        (!inputs->is_array && dj_json_is(input, DJ_JSON_ARRAY) && dj_json_count(input) == 0))
        return false;
    inputs->items = dj_alloc_zeroed(count, sizeof *inputs->items);
    if (!inputs->items)
        return false;
    if (!inputs->is_array)
        inputs->items[0].json = input;
    for (struct dj_json_walk walk = dj_json_walk(inputs->is_array ? input : NULL);
         dj_json_walk_next(&walk);) {
        if (!is_item(walk.value))
            return false;
        inputs->items[walk.index].json = walk.value;
    }
    inputs->count = count;
    return true;
}

static enum deja_status make_keys(struct inputs *inputs, const struct dj_json *root,
                                  struct dj_arena *arena)
{
    static const char *const skip[] = {"input", "encoding_format", "cache", "cache_skip", NULL};
    struct dj_buf text = {0};
    size_t offset = 0;
    size_t len = 0;
    dj_json_canonical(&text, root, skip, NULL, &offset, &len);
    inputs->rest = dj_arena_copy(arena, dj_buf_slice(&text));
    for (size_t i = 0; i < inputs->count && text.status == DEJA_OK; i++) {
        dj_buf_clear(&text);
        dj_json_canonical(&text, inputs->items[i].json, NULL, NULL, &offset, &len);
        dj_key_item(&inputs->ride->prefix, inputs->rest, dj_buf_slice(&text),
                    &inputs->items[i].fingerprint);
    }
    enum deja_status status = text.status;
    dj_buf_fini(&text);
    return status == DEJA_OK && inputs->rest.data ? DEJA_OK : DEJA_ERR_NOMEM;
}

/* Pure: parse and keys. On a worker: inputs may be large. */
static void prepare(void *ctx)
{
    struct ride *ride = ctx;
    struct inputs *inputs = ride->extra;
    const struct dj_http_request *request = dj_http_exchange_request(ride->exchange);
    uint64_t started = dj_clock_monotonic_us();
    ride->prepare_status = dj_json_parse(ride->body, &ride->doc, &ride->error);
    const struct dj_json *root = ride->doc ? dj_json_root(ride->doc) : NULL;
    if (ride->prepare_status == DEJA_OK && !dj_json_is(root, DJ_JSON_OBJECT))
        ride->prepare_status = deja_error_set(&ride->error, DEJA_ERR_INVALID,
                                              "The request body must be a JSON object.");
    if (ride->prepare_status != DEJA_OK)
        return;
    if (!dj_tenant_allows(ride->who.rules, root)) {
        ride->prepare_status = deja_error_set(&ride->error, DEJA_ERR_DENIED, DJ_MODEL_REFUSED);
        return;
    }
    dj_knobs_read(request, root, &ride->knobs);
    dj_knobs_cut_ttl(&ride->knobs,
                     dj_tenant_cut_ttl(ride->who.rules, ride->policy->embedding_ttl_ms));
    ride_set_rules(ride);
    ride->is_unknown |= !dj_identity_narrow(request, &ride->knobs, &ride->prefix, &ride->variant);
    inputs->is_base64 = dj_slice_is(dj_json_string(dj_json_get(root, "encoding_format")), "base64");
    if (!list_items(inputs, dj_json_get(root, "input")))
        ride->detail = "no-input";
    if (embeddings_is_local(root)) {
        embeddings_prepare_local(inputs, root);
        return;
    }
    ride->is_cacheable = !ride->is_unknown && !ride->detail;
    uint64_t keys_started = dj_clock_monotonic_us();
    if (ride->is_cacheable)
        ride->prepare_status = make_keys(inputs, root, request->arena);
    uint64_t ended = dj_clock_monotonic_us();
    ride->canon_us = (uint32_t)(ended - started);
    ride->key_us = (uint32_t)(ended - keys_started);
}

static void on_prepared(void *ctx)
{
    struct ride *ride = ctx;
    struct inputs *inputs = ride->extra;
    if (ride->prepare_status == DEJA_OK)
        ride_count_prepared(ride);
    if (ride->prepare_status == DEJA_ERR_NOMEM)
        ride_fail(ride, 503, "Deja is out of memory.", NULL, "cache_unavailable");
    else if (ride->prepare_status == DEJA_ERR_DENIED)
        ride_fail(ride, 403, ride->error.message, "model", "model_not_allowed");
    else if (inputs->is_local)
        embeddings_answer_local(inputs);
    else if (ride->prepare_status != DEJA_OK)
        ride_fail(ride, 400, ride->error.message, NULL, "invalid_json");
    else if (ride->is_cacheable && !ride->knobs.is_bypass)
        look_up(ride->extra);
    else
        ask_upstream(ride->extra);
}

void dj_proxy_embeddings(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                         struct deja_slice request_id)
{
    struct ride *ride = ride_create(&embeddings_ops, context, exchange, request_id);
    if (!ride)
        return;
    struct inputs *inputs = dj_alloc_zeroed(1, sizeof *inputs);
    if (!inputs) {
        ride->ops = &failed_ops;
        ride_fail(ride, 503, "Deja is out of memory.", NULL, "cache_unavailable");
        return;
    }
    inputs->ride = ride;
    ride->extra = inputs;
    if (!ride_identify(ride, "embeddings") || !ride_decode(ride))
        return;
    ride->job =
        (struct dj_job){.work = prepare, .done = on_prepared, .ctx = ride, .loop = ride->loop};
    if (dj_pool_submit(context->pool, &ride->job) != DEJA_OK)
        ride_fail(ride, 503, "Too many large requests wait.", NULL, "cache_unavailable");
}
