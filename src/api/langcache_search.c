/* api/langcache_search.c - searches of the LangCache REST API.
 *
 * Two looks. The first is by key: the prompt with the very attributes that were named, in memory
 * without leaving the loop. If that is not enough the second goes by the prompt's vector through
 * the whole cache and keeps what has at least the attributes that were named; among what it meets
 * are entries of the very same words with more attributes, which are exact all the same.
 *
 *   searchStrategies  in their order: what the first one finds comes first, what the next one
 *                     finds beside it follows, up to maxResults. Nobody asks which: exact, semantic
 *   exact             the same words, to the byte; similarity 1
 *   semantic          at least the threshold, and no guard of policy/guards.h speaks against it:
 *                     callers use the answer as it is, so this is the same as being served one
 *
 * similarity and similarityThreshold are on the scale of proxy/context.h's policy, normally
 * (1 + cosine) / 2; inside all is cosine.
 *
 * Questions asked before ("context") cannot be folded into the prompt by a rule, only by a model.
 * They are put before it instead, one to a line: a follow-up is found again within the same
 * conversation and never answered out of another one. actualPrompt tells that text; it is what is
 * to be set on a miss.
 */
#include <math.h>

#include "api/langcache.h"
#include "api/langcache_entry.h"
#include "base/slice.h"
#include "cache/filter.h"
#include "policy/guards.h"

#define RESULTS_MAX DJ_CANDIDATES_MAX
#define CONTEXT_MAX 50u
/* Guards read the texts on the loop: what is beyond this is not told by meaning (I3). */
#define JUDGED_BYTES_MAX (256u * 1024u)
/* Rounding of a kept vector moves the similarity of a text with itself by less than this. */
#define SAME_WORDS_SIMILARITY 0.98

enum strategy { STRATEGY_EXACT, STRATEGY_SEMANTIC, STRATEGIES };

struct hit {
    struct dj_value *value; /* owned */
    double similarity;      /* cosine */
    bool is_exact;
    bool is_semantic;
    bool is_given; /* is in the answer already */
};

/* In the request's arena; owns the hits' values. */
struct search {
    struct dj_request *request;
    struct dj_prompt prompt;
    const struct dj_filter *filter; /* NULL: any attributes */
    struct dj_fingerprint fingerprint;
    bool is_conversation;
    bool is_asked[STRATEGIES];
    enum strategy order[STRATEGIES];
    size_t strategy_count;
    double threshold; /* cosine */
    uint32_t results_max;
    const char *level;
    size_t hit_count;
    size_t judged_bytes;
    uint32_t semantic_count; /* of them, by meaning too */
    struct hit hits[RESULTS_MAX + 1];
};

/* ---- the scale ---- */

static bool is_normalized(const struct dj_request *request)
{
    return !atomic_load(&request->api->proxy->policy)->is_langcache_cosine;
}

static double to_cosine(const struct dj_request *request, double shown)
{
    double cosine = is_normalized(request) ? 2.0 * shown - 1.0 : shown;
    return cosine < 0.0 ? 0.0 : cosine;
}

static double to_shown(const struct dj_request *request, double cosine)
{
    double shown = is_normalized(request) ? (1.0 + cosine) / 2.0 : cosine;
    shown = shown < 0.0 ? 0.0 : shown > 1.0 ? 1.0 : shown;
    return round(shown * 1e6) / 1e6;
}

/* ---- reading ---- */

static void complain(struct dj_request *request, const char *name, const char *rule,
                     const char *message)
{
    dj_request_complain(request, "invalid_request", name, rule, message);
}

static void read_strategies(struct search *search)
{
    static const char name[] = "searchStrategies";
    static const char *const names[STRATEGIES] = {"exact", "semantic"};
    struct dj_request *request = search->request;
    const struct dj_json *list = dj_json_get(request->body, name);
    if (!list || dj_json_is(list, DJ_JSON_NULL)) {
        for (int i = 0; i < STRATEGIES; i++) {
            search->order[search->strategy_count++] = (enum strategy)i;
            search->is_asked[i] = true;
        }
        return;
    }
    if (!dj_json_is(list, DJ_JSON_ARRAY) || dj_json_count(list) == 0) {
        complain(request, name, "type", "must be an array of \"exact\", \"semantic\"");
        return;
    }
    for (struct dj_json_walk w = dj_json_walk(list); dj_json_walk_next(&w);) {
        int found = 0;
        while (found < STRATEGIES && !dj_slice_is(dj_json_string(w.value), names[found]))
            found++;
        if (found == STRATEGIES) {
            complain(request, name, "enum", "knows \"exact\" and \"semantic\"");
            return;
        }
        if (!search->is_asked[found])
            search->order[search->strategy_count++] = (enum strategy)found;
        search->is_asked[found] = true;
    }
}

static void read_threshold(struct search *search)
{
    static const char name[] = "similarityThreshold";
    static const double unit[2] = {0, 1};
    struct dj_request *request = search->request;
    double shown = NAN;
    if (!dj_query_number(request, request->body, name, "", unit, &shown))
        return;
    search->threshold =
        dj_request_threshold(request, isnan(shown) ? shown : to_cosine(request, shown));
}

static void read_results_max(struct search *search)
{
    static const char name[] = "maxResults";
    struct dj_request *request = search->request;
    const struct dj_json *value = dj_json_get(request->body, name);
    int64_t count = 1;
    if (value && !dj_json_is(value, DJ_JSON_NULL))
        count = dj_json_i64(value, 0);
    if (count < 1 || count > RESULTS_MAX)
        complain(request, name, "range",
                 dj_request_text(request, "must be a whole number from 1 to %u", RESULTS_MAX));
    else
        search->results_max = (uint32_t)count;
}

/* The questions before, then the prompt, one to a line. */
static void read_context(struct search *search)
{
    static const char name[] = "context";
    struct dj_request *request = search->request;
    const struct dj_json *list = dj_json_get(request->body, name);
    if (!list || dj_json_is(list, DJ_JSON_NULL) || request->complaint)
        return;
    if (!dj_json_is(list, DJ_JSON_ARRAY) || dj_json_count(list) > CONTEXT_MAX) {
        complain(request, name, "type",
                 dj_request_text(request, "must be an array of at most %u strings", CONTEXT_MAX));
        return;
    }
    struct dj_buf joined;
    dj_buf_init(&joined, DJ_PROMPT_BYTES_MAX);
    for (struct dj_json_walk w = dj_json_walk(list); dj_json_walk_next(&w);) {
        if (!dj_json_is(w.value, DJ_JSON_STRING)) {
            complain(request, name, "type", "must hold strings only");
            break;
        }
        dj_buf_append_slice(&joined, dj_json_string(w.value));
        dj_buf_append_byte(&joined, '\n');
    }
    dj_buf_append_slice(&joined, search->prompt.text);
    struct deja_slice text = dj_arena_copy(request->arena, dj_buf_slice(&joined));
    if (joined.status != DEJA_OK || !text.data)
        complain(
            request, name, "length",
            dj_request_text(request, "with the prompt: at most %u bytes", DJ_PROMPT_BYTES_MAX));
    else
        search->prompt.text = text;
    dj_buf_fini(&joined);
}

/* ---- answering ---- */

static void write_hit(struct dj_json_writer *w, const struct search *search, const struct hit *hit,
                      enum strategy strategy)
{
    const struct dj_entry *entry = dj_value_entry(hit->value);
    dj_json_begin_object(w);
    dj_request_put_id(w, "id", entry->id);
    dj_json_key(w, "prompt");
    dj_prompt_put_words(w, entry);
    dj_json_key(w, "response");
    dj_prompt_put_response(w, entry);
    dj_json_key(w, "attributes");
    dj_prompt_put_attributes(w, entry);
    dj_json_member_double(w, "similarity", to_shown(search->request, hit->similarity));
    dj_json_member_text(w, "searchStrategy", strategy == STRATEGY_EXACT ? "exact" : "semantic");
    dj_json_end_object(w);
}

/* The hits of one strategy that are not there yet; returns the first one's, or NULL. */
static const struct hit *write_strategy(struct dj_json_writer *w, struct search *search,
                                        enum strategy strategy, uint32_t *left)
{
    const struct hit *first = NULL;
    for (size_t i = 0; i<search->hit_count && * left> 0; i++) {
        struct hit *hit = &search->hits[i];
        bool is_wanted = strategy == STRATEGY_EXACT ? hit->is_exact : hit->is_semantic;
        if (hit->is_given || !is_wanted)
            continue;
        write_hit(w, search, hit, strategy);
        hit->is_given = true;
        (*left)--;
        first = first ? first : hit;
    }
    return first;
}

static void count(struct search *search, const struct hit *best, enum strategy strategy)
{
    struct dj_request *request = search->request;
    struct dj_telemetry *telemetry = request->api->proxy->telemetry;
    double seconds =
        (double)(dj_loop_monotonic_us(request->loop) - request->http->started_us) / 1e6;
    enum dj_result result = DJ_RESULT_MISS;
    if (best)
        result = strategy == STRATEGY_EXACT ? DJ_RESULT_HIT_EXACT : DJ_RESULT_HIT_SEMANTIC;
    const char *level = best && search->level ? search->level : "none";
    dj_telemetry_request(
        telemetry, &(struct dj_finished){.tenant = request->tenant,
                                         .api = "langcache",
                                         .result = result,
                                         .level = level,
                                         .seconds = seconds,
                                         .similarity = best ? best->similarity : NAN,
                                         .entry_id = best ? dj_value_entry(best->value)->id : NULL,
                                         .now_ms = dj_loop_now_ms(request->loop)});
    dj_prompt_count(request, "lookup", level, best ? "hit" : "miss");
    if (best)
        dj_telemetry_saved(telemetry, dj_value_entry(best->value));
    for (size_t i = 0; i < search->hit_count; i++)
        if (search->hits[i].is_given)
            dj_engine_note_hit(request->api->proxy->engine, request->loop,
                               dj_value_entry(search->hits[i].value));
}

static void answer(struct search *search)
{
    struct dj_request *request = search->request;
    uint32_t left = search->results_max;
    const struct hit *best = NULL;
    enum strategy best_strategy = STRATEGY_EXACT;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    if (search->is_conversation) {
        dj_json_key(&w, "actualPrompt");
        dj_json_put_string(&w, search->prompt.text);
    }
    dj_json_key(&w, "data");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < search->strategy_count; i++) {
        const struct hit *first = write_strategy(&w, search, search->order[i], &left);
        if (first && !best) {
            best = first;
            best_strategy = search->order[i];
        }
    }
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    count(search, best, best_strategy);
    dj_request_header(request, "X-Cache-Hit", best ? "true" : "false");
    dj_request_header(request, "X-Cache-Status", best ? "HIT" : "MISS");
    dj_request_header(request, "Cache-Status",
                      !best                             ? "deja; fwd=miss"
                      : best_strategy == STRATEGY_EXACT ? "deja; hit; detail=exact"
                                                        : "deja; hit; detail=semantic");
    for (size_t i = 0; i < search->hit_count; i++)
        dj_value_unref(search->hits[i].value);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

/* ---- looking ---- */

static bool is_known(const struct search *search, const uint8_t id[DJ_ID_BYTES])
{
    for (size_t i = 0; i < search->hit_count; i++)
        if (memcmp(dj_value_entry(search->hits[i].value)->id, id, DJ_ID_BYTES) == 0)
            return true;
    return false;
}

/* A text that cannot be judged is refused. */
static bool is_past_guards(struct search *search, const struct dj_guard_features *asked,
                           const struct dj_entry *entry)
{
    struct dj_guard_features stored;
    struct dj_guard_verdict verdict;
    search->judged_bytes += entry->query.len;
    if (!asked || search->judged_bytes > JUDGED_BYTES_MAX ||
        dj_guard_features_init(&stored, entry->query) != DEJA_OK)
        return false;
    dj_guards_compare(asked, &stored, &verdict);
    dj_guard_features_fini(&stored);
    return (verdict.refused & ~dj_request_guards_off(search->request)) == 0;
}

/* Takes one candidate if a strategy has use for it. asked: NULL: nothing may be told by meaning. */
static void take_candidate(struct search *search, const struct dj_candidate *c,
                           const struct dj_guard_features *asked)
{
    const struct dj_entry *entry = dj_value_entry(c->value);
    struct hit hit = {.similarity = (double)c->similarity};
    hit.is_exact =
        hit.similarity >= SAME_WORDS_SIMILARITY && dj_prompt_is_words(entry, search->prompt.text);
    hit.is_semantic = hit.is_exact || (hit.similarity >= search->threshold &&
                                       search->semantic_count < search->results_max &&
                                       is_past_guards(search, asked, entry));
    if (!hit.is_exact && !hit.is_semantic)
        return;
    if (hit.is_exact)
        hit.similarity = 1.0;
    if (!search->level)
        search->level = c->level;
    hit.value = dj_value_ref(c->value);
    search->hits[search->hit_count++] = hit;
    search->semantic_count++;
}

/* Candidates come best first, so guards have to judge no more than can be given. */
static void on_near(void *ctx, const struct dj_lookup_result *result)
{
    struct search *search = ctx;
    struct dj_guard_features features = {0};
    bool has_features = search->is_asked[STRATEGY_SEMANTIC] &&
                        dj_guard_features_init(&features, search->fingerprint.text) == DEJA_OK;
    for (uint32_t i = 0; i < result->candidate_count; i++) {
        const struct dj_candidate *c = &result->candidates[i];
        if (c->is_fetched && c->value && !is_known(search, c->id) &&
            search->hit_count < sizeof search->hits / sizeof *search->hits)
            take_candidate(search, c, has_features ? &features : NULL);
    }
    dj_guard_features_fini(&features);
    answer(search);
}

static void look_near(struct search *search)
{
    struct dj_request *request = search->request;
    bool is_semantic = search->is_asked[STRATEGY_SEMANTIC];
    double threshold = is_semantic ? search->threshold : SAME_WORDS_SIMILARITY;
    if (threshold > SAME_WORDS_SIMILARITY && search->is_asked[STRATEGY_EXACT])
        threshold = SAME_WORDS_SIMILARITY;
    const struct dj_lookup_options options = {
        .is_semantic = dj_request_may_search(request),
        .is_find = true,
        .is_threshold_free = true,
        .threshold = threshold,
        .limit = RESULTS_MAX,
        .filter = search->filter,
    };
    if (dj_engine_lookup(request->api->proxy->engine, request->loop, &search->fingerprint, &options,
                         NULL, search, on_near) != DEJA_OK)
        answer(search); /* out of memory: a miss (I4) */
}

/* value: taken; NULL: nothing under the key. */
static void take_key_hit(struct search *search, struct dj_value *value, const char *level)
{
    bool is_enough = false;
    if (value) {
        struct hit *hit = &search->hits[search->hit_count++];
        bool is_same = dj_engine_hit_kind(value, search->fingerprint.exact) == DJ_HIT_EXACT;
        *hit = (struct hit){
            .value = value, .similarity = 1.0, .is_exact = is_same, .is_semantic = true};
        search->level = level;
        search->semantic_count++;
        is_enough = search->results_max == 1 && (is_same || search->is_asked[STRATEGY_SEMANTIC]);
    }
    if (is_enough)
        answer(search);
    else
        look_near(search);
}

static void on_key(void *ctx, const struct dj_lookup_result *result)
{
    take_key_hit(ctx, result->value ? dj_value_ref(result->value) : NULL, result->level);
}

static void look(struct search *search)
{
    struct dj_request *request = search->request;
    struct dj_engine *engine = request->api->proxy->engine;
    const struct dj_lookup_options options = {.is_exact = true};
    struct dj_value *value = dj_engine_find(engine, request->loop, &search->fingerprint.key, 0);
    if (value)
        take_key_hit(search, value, "memory");
    else if (dj_engine_lookup(engine, request->loop, &search->fingerprint, &options, NULL, search,
                              on_key) != DEJA_OK)
        look_near(search);
}

static void read_and_look(struct dj_request *request, bool is_conversation)
{
    struct search *search = dj_arena_alloc(request->arena, sizeof *search);
    if (!search) {
        dj_prompt_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    memset(search, 0, sizeof *search);
    search->request = request;
    search->is_conversation = is_conversation;
    dj_langcache_cache_id(request, &search->prompt.name_space);
    dj_prompt_read_text(request, "prompt", &search->prompt.text);
    dj_prompt_read_attributes(request, &search->prompt.attributes);
    read_strategies(search);
    read_threshold(search);
    read_results_max(search);
    if (is_conversation)
        read_context(search);
    if (dj_request_has_complaints(request))
        return;
    enum deja_status status = dj_prompt_fingerprint(request, &search->prompt, &search->fingerprint);
    if (status == DEJA_OK && search->prompt.attributes)
        status = dj_filter_read(search->prompt.attributes, request->arena, &search->filter, NULL);
    if (status == DEJA_OK)
        look(search);
    else
        dj_prompt_refuse(request, status);
}

static void search_body(struct dj_request *request)
{
    read_and_look(request, false);
}

static void conversation_body(struct dj_request *request)
{
    read_and_look(request, true);
}

void dj_langcache_search(struct dj_request *request)
{
    if (dj_langcache_is_named(request))
        dj_request_read(request, search_body);
}

void dj_langcache_search_conversation(struct dj_request *request)
{
    if (dj_langcache_is_named(request))
        dj_request_read(request, conversation_body);
}
