/* cache/lookup.c - what happens after a miss in memory: the tiers below, then meaning.
 *
 *   start -> [walk down the tiers] -> hit? done
 *         -> scope empty, and no tier that searches? done, without embedding
 *         -> [embed + search, one job] -> nothing near enough? [search in a tier]
 *         -> [fetch the candidates] -> decide -> done
 *
 * Steps in brackets leave the loop and come back by callback. A sick tier or embedder is a miss
 * (I4). Every fetched record is checked again: tenant, scope, generations, expiry (I1, I10).
 */
#include "base/alloc.h"
#include "cache/engine_internal.h"
#include "policy/guards.h"
#include "policy/reuse.h"
#include "store/memory.h"

struct lookup;

/* One candidate's record on its way. */
struct fetch {
    struct lookup *lookup;
    uint32_t index;
};

struct lookup {
    struct dj_engine *engine;
    struct dj_loop *loop;
    struct dj_fingerprint fingerprint; /* text: owned copy */
    struct dj_lookup_options options;
    struct dj_lookup_result result;
    struct dj_semantic_job job;
    struct dj_task later;
    struct dj_value *hit;
    struct dj_value *stale;          /* owned; the newest that was met */
    struct dj_candidate *candidates; /* `looked_at` of them; owned */
    struct fetch *fetches;           /* as many; owned */
    uint32_t looked_at;
    uint32_t fetching; /* under way, and one for the start */
    float *vector;     /* owned; NULL: neither a vector nor an embedder */
    bool is_own;       /* the caller's vector */
    bool is_near;      /* there are vectors in the scope, whether or not near enough */
    char label[DJ_INDEX_LABEL_BYTES];
    char *text;
    uint64_t fetch_started_us;
    void *ctx;
    dj_lookup_done_fn *done;
};

static void start_semantic(struct lookup *lookup);

static void destroy(struct lookup *lookup)
{
    dj_engine_leave(lookup->engine);
    for (uint32_t i = 0; lookup->candidates && i < lookup->looked_at; i++)
        dj_value_unref(lookup->candidates[i].value);
    dj_free(lookup->candidates);
    dj_free(lookup->fetches);
    dj_free(lookup->job.matches);
    dj_value_unref(lookup->hit);
    dj_value_unref(lookup->stale);
    dj_free(lookup->vector);
    dj_free(lookup->text);
    dj_free(lookup);
}

static void finish(struct lookup *lookup)
{
    lookup->result.value = lookup->hit;
    lookup->result.stale = lookup->hit ? NULL : lookup->stale;
    lookup->result.has_vector = lookup->vector && lookup->job.has_vector;
    lookup->result.vector = lookup->result.has_vector ? lookup->vector : NULL;
    lookup->result.dim = lookup->result.has_vector ? lookup->job.name.dim : 0;
    lookup->done(lookup->ctx, &lookup->result);
    destroy(lookup);
}

static void finish_miss(struct lookup *lookup, const char *reason)
{
    lookup->result.reason = reason;
    finish(lookup);
}

/* ---- exact ---- */

static bool is_usable(struct lookup *lookup, const struct dj_value *value)
{
    const struct dj_entry *entry = dj_value_entry(value);
    const struct dj_fresh_rules rules = {.max_age_ms = lookup->options.max_age_ms,
                                         .min_fresh_ms = lookup->options.fresh.min_fresh_ms};
    return dj_engine_judge(lookup->engine, lookup->fingerprint.key.tenant, entry,
                           dj_loop_now_ms(lookup->loop), &rules) == DJ_FRESH &&
           dj_filter_is_match(lookup->options.filter, entry);
}

/* May what was found by its key be served? What is for the upstream's failure is kept aside. */
static bool is_exact_usable(void *ctx, struct dj_value *value, const char *level)
{
    struct lookup *lookup = ctx;
    const struct dj_entry *entry = dj_value_entry(value);
    struct dj_fresh_rules rules = lookup->options.fresh;
    rules.max_age_ms = lookup->options.max_age_ms;
    enum dj_freshness freshness = dj_engine_judge(lookup->engine, lookup->fingerprint.key.tenant,
                                                  entry, dj_loop_now_ms(lookup->loop), &rules);
    if (freshness == DJ_FRESH_OVER || !dj_filter_is_match(lookup->options.filter, entry))
        return false;
    bool is_older = lookup->stale && dj_value_entry(lookup->stale)->version >= entry->version;
    if (freshness == DJ_FRESH_IF_ERROR && !is_older) {
        dj_value_unref(lookup->stale);
        lookup->stale = dj_value_ref(value);
        lookup->result.stale_level = level;
    }
    lookup->result.is_stale = freshness == DJ_FRESH_STALE;
    return freshness != DJ_FRESH_IF_ERROR;
}

static void finish_exact(struct lookup *lookup, struct dj_value *value, const char *level)
{
    lookup->hit = value;
    lookup->result.kind = dj_engine_hit_kind(value, lookup->fingerprint.exact);
    lookup->result.level = level;
    lookup->result.similarity = 1.0f;
    finish(lookup);
}

static void on_walked(void *ctx, struct dj_value *value, const char *level)
{
    struct lookup *lookup = ctx;
    lookup->result.fetch_us =
        (uint32_t)(dj_loop_monotonic_us(lookup->loop) - lookup->fetch_started_us);
    if (value)
        finish_exact(lookup, value, level);
    else
        start_semantic(lookup);
}

/* A reference, or NULL; valid or not. */
static struct dj_value *find_in_memory(struct lookup *lookup, const struct dj_store_key *key)
{
    if (lookup->options.skip & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY))
        return NULL;
    return dj_memory_find(lookup->engine->options.memory, dj_loop_index(lookup->loop), key,
                          dj_loop_now_ms(lookup->loop));
}

static void start(void *ctx)
{
    struct lookup *lookup = ctx;
    struct dj_engine *engine = lookup->engine;
    if (!lookup->options.is_exact) {
        start_semantic(lookup);
        return;
    }
    struct dj_value *value = find_in_memory(lookup, &lookup->fingerprint.key);
    if (value && is_exact_usable(lookup, value, "memory")) {
        finish_exact(lookup, value, "memory");
        return;
    }
    dj_value_unref(value);
    lookup->fetch_started_us = dj_loop_monotonic_us(lookup->loop);
    const struct dj_walk_options walk = {.key = lookup->fingerprint.key,
                                         .skip = lookup->options.skip};
    if (dj_engine_walk(engine, lookup->loop, &walk, lookup, is_exact_usable, on_walked) != DEJA_OK)
        start_semantic(lookup);
}

/* ---- meaning ---- */

/* Guards for each fetched candidate, then the policy's word. */
static void decide(struct lookup *lookup)
{
    struct dj_lookup_result *result = &lookup->result;
    struct dj_reuse_candidate pairs[DJ_CANDIDATES_MAX] = {0};
    struct dj_guard_features asked;
    uint64_t started_us = dj_loop_monotonic_us(lookup->loop);
    lookup->result.fetch_us += (uint32_t)(started_us - lookup->fetch_started_us);
    if (dj_guard_features_init(&asked, lookup->fingerprint.text) != DEJA_OK) {
        finish_miss(lookup, "text-too-long");
        return;
    }
    for (uint32_t i = 0; i < result->candidate_count; i++) {
        struct dj_candidate *c = &result->candidates[i];
        struct dj_guard_features stored;
        pairs[i] = (struct dj_reuse_candidate){.similarity = c->similarity};
        pairs[i].is_usable = c->is_fetched && !c->is_other_scope;
        if (!c->is_fetched || !lookup->fingerprint.text.data)
            continue; /* without words there is nothing for guards to read */
        bool has_features =
            dj_guard_features_init(&stored, dj_value_entry(c->value)->query) == DEJA_OK;
        if (!has_features) {
            pairs[i].is_usable = false;
            continue;
        }
        struct dj_guard_verdict verdict;
        dj_guards_compare(&asked, &stored, &verdict);
        c->guards_refused = verdict.refused & ~lookup->options.guards_off;
        pairs[i].guards_refused = c->guards_refused;
        dj_guard_features_fini(&stored);
    }
    dj_guard_features_fini(&asked);
    struct dj_reuse_decision decision;
    dj_reuse_decide(pairs, result->candidate_count, result->threshold, &decision);
    result->verify_us = (uint32_t)(dj_loop_monotonic_us(lookup->loop) - started_us);
    result->reason = decision.reason;
    if (decision.is_served && !lookup->options.is_explain) {
        const struct dj_candidate *served = &result->candidates[decision.index];
        lookup->hit = dj_value_ref(served->value);
        result->level = served->level;
        result->similarity = served->similarity;
        result->kind = DJ_HIT_SEMANTIC;
    }
    finish(lookup);
}

static uint32_t limit_of(const struct lookup *lookup)
{
    uint32_t limit =
        lookup->options.limit ? lookup->options.limit : lookup->engine->options.candidates;
    return limit < DJ_CANDIDATES_MAX ? limit : DJ_CANDIDATES_MAX;
}

/* Drops what is not to be had, keeps the order, and no more than was asked for. */
static void keep_fetched(struct lookup *lookup)
{
    struct dj_lookup_result *result = &lookup->result;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < result->candidate_count; i++) {
        struct dj_candidate *c = &lookup->candidates[i];
        if (!c->is_fetched || kept == limit_of(lookup)) {
            dj_value_unref(c->value);
            c->value = NULL;
            continue;
        }
        struct dj_candidate moved = *c;
        c->value = NULL;
        lookup->candidates[kept++] = moved;
    }
    result->candidate_count = kept;
}

static void finish_find(struct lookup *lookup)
{
    struct dj_lookup_result *result = &lookup->result;
    for (uint32_t i = 0; i < result->candidate_count; i++) {
        struct dj_candidate *c = &lookup->candidates[i];
        struct dj_store_key key = lookup->fingerprint.key;
        struct dj_access_stats access;
        memcpy(key.id, c->id, sizeof key.id);
        dj_engine_access(lookup->engine, &key, &access);
        c->hits = access.hits;
        c->last_access_ms = access.last_access_ms;
    }
    result->similarity = result->candidate_count ? lookup->candidates[0].similarity : 0;
    result->reason = result->candidate_count ? "found" : "not-stored";
    finish(lookup);
}

static void on_fetched(struct lookup *lookup)
{
    struct dj_lookup_result *result = &lookup->result;
    result->fetch_us += (uint32_t)(dj_loop_monotonic_us(lookup->loop) - lookup->fetch_started_us);
    if (lookup->options.is_find || lookup->options.filter)
        keep_fetched(lookup);
    if (lookup->options.is_find)
        finish_find(lookup);
    else if (result->candidate_count == 0)
        finish_miss(lookup, "filter");
    else
        decide(lookup);
}

static bool is_in_scope(const struct lookup *lookup, const struct dj_value *value)
{
    return memcmp(dj_value_entry(value)->scope, lookup->fingerprint.scope, DJ_ID_BYTES) == 0;
}

/* The record behind a vector: of this tenant, in this scope, still valid? */
static bool is_candidate(struct lookup *lookup, const struct dj_value *value)
{
    return dj_value_entry(value)->kind != DJ_ENTRY_NEGATIVE && /* its vector is an older answer's */
           (lookup->options.is_all_scopes || is_in_scope(lookup, value)) &&
           is_usable(lookup, value);
}

static void take_candidate(struct lookup *lookup, uint32_t index, struct dj_value *value,
                           const char *level)
{
    struct dj_candidate *c = &lookup->candidates[index];
    if (!value || !is_candidate(lookup, value)) {
        dj_value_unref(value);
        return;
    }
    memcpy(c->scope, dj_value_entry(value)->scope, DJ_ID_BYTES);
    c->is_other_scope = !is_in_scope(lookup, value);
    c->is_fetched = true;
    c->value = value;
    c->level = level;
}

static void leave_fetching(struct lookup *lookup)
{
    if (--lookup->fetching == 0)
        on_fetched(lookup);
}

static bool is_fetch_usable(void *ctx, struct dj_value *value, const char *level)
{
    (void)level;
    const struct fetch *fetch = ctx;
    return is_candidate(fetch->lookup, value);
}

static void on_candidate(void *ctx, struct dj_value *value, const char *level)
{
    struct fetch *fetch = ctx;
    struct lookup *lookup = fetch->lookup;
    take_candidate(lookup, fetch->index, value, level);
    leave_fetching(lookup);
}

/* All at once: a tier reads what comes together in one transaction, or one round trip. */
static void fetch_all(struct lookup *lookup)
{
    struct dj_engine *engine = lookup->engine;
    lookup->fetch_started_us = dj_loop_monotonic_us(lookup->loop);
    lookup->fetching = 1;
    for (uint32_t i = 0; i < lookup->result.candidate_count; i++) {
        struct dj_store_key key = lookup->fingerprint.key;
        memcpy(key.id, lookup->candidates[i].id, sizeof key.id);
        struct dj_value *value = find_in_memory(lookup, &key);
        /* A search for its own sake warms nothing. */
        const struct dj_walk_options walk = {
            .key = key, .skip = lookup->options.skip, .is_no_promotion = lookup->options.is_find};
        lookup->fetches[i] = (struct fetch){.lookup = lookup, .index = i};
        if (!value && dj_engine_walk(engine, lookup->loop, &walk, &lookup->fetches[i],
                                     is_fetch_usable, on_candidate) == DEJA_OK)
            lookup->fetching++;
        else
            take_candidate(lookup, i, value, "memory");
    }
    leave_fetching(lookup);
}

static const char *search_failure(const struct lookup *lookup)
{
    if (lookup->job.status == DEJA_OK)
        return "scope-empty";
    if (lookup->job.status == DEJA_ERR_CIRCUIT_OPEN)
        return "embedder-circuit-open";
    return lookup->is_own ? "search-failed" : "embedder-failed";
}

/* Best first; an id once. No more than there is room for. */
static void add_candidate(struct lookup *lookup, const uint8_t id[DJ_ID_BYTES], float similarity)
{
    struct dj_lookup_result *result = &lookup->result;
    uint32_t at = result->candidate_count;
    for (uint32_t i = 0; i < result->candidate_count; i++)
        if (memcmp(lookup->candidates[i].id, id, DJ_ID_BYTES) == 0)
            return;
    while (at > 0 && lookup->candidates[at - 1].similarity < similarity)
        at--;
    if (at == lookup->looked_at)
        return;
    uint32_t moved = result->candidate_count - at;
    if (result->candidate_count == lookup->looked_at)
        moved--;
    else
        result->candidate_count++;
    memmove(&lookup->candidates[at + 1], &lookup->candidates[at],
            moved * sizeof *lookup->candidates);
    lookup->candidates[at] = (struct dj_candidate){.similarity = similarity};
    memcpy(lookup->candidates[at].id, id, DJ_ID_BYTES);
}

/* Below the threshold nothing can be served: it is not fetched, but said how near it was. */
static void offer(struct lookup *lookup, const uint8_t id[DJ_ID_BYTES], float similarity)
{
    struct dj_lookup_result *result = &lookup->result;
    if (similarity > result->similarity)
        result->similarity = similarity;
    if (lookup->options.is_explain || (double)similarity >= result->threshold)
        add_candidate(lookup, id, similarity);
}

static void fetch_or_miss(struct lookup *lookup)
{
    if (lookup->result.candidate_count > 0)
        fetch_all(lookup);
    else if (lookup->is_near)
        finish_miss(lookup, "below-threshold");
    else
        finish_miss(lookup, lookup->result.status == DEJA_ERR_MISMATCH ? "vector-mismatch"
                                                                       : search_failure(lookup));
}

static void on_tier_searched(void *ctx, enum deja_status status,
                             const struct dj_store_match *matches, uint32_t count)
{
    struct lookup *lookup = ctx;
    lookup->result.search_us +=
        (uint32_t)(dj_loop_monotonic_us(lookup->loop) - lookup->fetch_started_us);
    for (uint32_t i = 0; status == DEJA_OK && i < count; i++) {
        offer(lookup, matches[i].id, matches[i].similarity);
        lookup->is_near = true;
        lookup->result.status = DEJA_OK; /* there are vectors of that kind, elsewhere */
    }
    fetch_or_miss(lookup);
}

/* Vectors of other programs: asked for where the own index has nothing to serve, and always where
 * all that is near is wanted. */
static bool search_tier(struct lookup *lookup)
{
    struct dj_engine *engine = lookup->engine;
    const struct dj_semantic_job *job = &lookup->job;
    struct dj_tier_slot *slot =
        dj_engine_searcher(engine, lookup->options.skip, dj_loop_now_ms(lookup->loop));
    bool is_all_wanted = lookup->options.is_find || lookup->options.is_explain;
    if (!slot || (lookup->result.candidate_count > 0 && !is_all_wanted))
        return false;
    struct dj_store_search search = {
        .scope = lookup->options.is_all_scopes ? NULL : lookup->fingerprint.scope,
        .embedder_id =
            job->name.label.len ? job->name.label : deja_slice_text(engine->options.embedder->id),
        .vector = lookup->vector,
        .dim = job->name.dim,
        .limit = lookup->looked_at,
        .threshold = lookup->options.is_explain ? -1 : lookup->result.threshold};
    memcpy(search.tenant, lookup->fingerprint.key.tenant, sizeof search.tenant);
    lookup->fetch_started_us = dj_loop_monotonic_us(lookup->loop);
    struct dj_store *store = slot->tier.store;
    return store->ops->search(store, lookup->loop, &search, lookup, on_tier_searched) == DEJA_OK;
}

static void on_searched(void *ctx)
{
    struct lookup *lookup = ctx;
    struct dj_lookup_result *result = &lookup->result;
    const struct dj_semantic_job *job = &lookup->job;
    if (job->status != DEJA_OK)
        result->status = job->status;
    result->embed_us = job->embed_us;
    result->search_us = job->search_us;
    for (uint32_t i = 0; job->status == DEJA_OK && i < job->match_count; i++)
        offer(lookup, job->matches[i].id, job->matches[i].similarity);
    lookup->is_near = job->status == DEJA_OK && job->match_count > 0;
    if (job->status != DEJA_OK || !search_tier(lookup))
        fetch_or_miss(lookup);
}

static bool make_room(struct lookup *lookup)
{
    lookup->looked_at = lookup->options.filter ? DJ_CANDIDATES_MAX : limit_of(lookup);
    lookup->candidates = dj_alloc_zeroed(lookup->looked_at, sizeof *lookup->candidates);
    lookup->fetches = dj_alloc_zeroed(lookup->looked_at, sizeof *lookup->fetches);
    lookup->job.matches = dj_alloc_zeroed(lookup->looked_at, sizeof *lookup->job.matches);
    lookup->result.candidates = lookup->candidates;
    return lookup->candidates && lookup->fetches && lookup->job.matches;
}

/* Vectors that could be found; when there are some of other kinds only, a caller's vector is told
 * so (A4). */
static uint32_t count_vectors(struct lookup *lookup)
{
    struct dj_indexes *indexes = dj_semantic_indexes(lookup->engine->semantic);
    const uint8_t *tenant = lookup->fingerprint.key.tenant;
    const uint8_t *scope = lookup->options.is_all_scopes ? NULL : lookup->fingerprint.scope;
    struct dj_flat *flat = dj_indexes_find(indexes, tenant, &lookup->job.name);
    uint32_t count = 0;
    if (flat)
        count = scope ? dj_flat_scope_count(flat, scope) : dj_flat_count(flat);
    if (count == 0 && lookup->is_own && dj_indexes_count(indexes, tenant, scope) > 0)
        lookup->result.status = DEJA_ERR_MISMATCH;
    return count;
}

static void start_semantic(struct lookup *lookup)
{
    struct dj_engine *engine = lookup->engine;
    struct dj_fingerprint *fp = &lookup->fingerprint;
    struct dj_semantic_job *job = &lookup->job;
    if (!lookup->options.is_semantic || !lookup->vector) {
        finish_miss(lookup, lookup->options.is_semantic ? "no-embedder" : "exact-only");
        return;
    }
    static const uint8_t no_scope[DJ_ID_BYTES];
    bool has_scope = memcmp(fp->scope, no_scope, sizeof no_scope) != 0;
    if ((!fp->text.data && !job->has_vector) ||
        (!has_scope && !lookup->options.is_all_scopes)) { /* zero: could not be told */
        finish_miss(lookup, "no-text");
        return;
    }
    bool is_found_elsewhere =
        dj_engine_searcher(engine, lookup->options.skip, dj_loop_now_ms(lookup->loop)) != NULL;
    if (count_vectors(lookup) == 0 && !is_found_elsewhere) {
        bool is_mismatch = lookup->result.status == DEJA_ERR_MISMATCH;
        finish_miss(lookup, is_mismatch ? "vector-mismatch" : "scope-empty");
        return;
    }
    if (!make_room(lookup)) {
        lookup->result.status = DEJA_ERR_NOMEM;
        finish_miss(lookup, "out-of-memory");
        return;
    }
    job->loop = lookup->loop;
    job->ctx = lookup;
    job->done = on_searched;
    memcpy(job->tenant, fp->key.tenant, sizeof job->tenant);
    memcpy(job->scope, fp->scope, sizeof job->scope);
    job->text = fp->text;
    job->vector = lookup->vector;
    job->limit = lookup->looked_at;
    job->search = lookup->options.is_all_scopes ? DJ_SEARCH_ALL : DJ_SEARCH_SCOPE;
    job->now_ms = dj_loop_now_ms(lookup->loop);
    if (dj_semantic_submit(engine->semantic, job) != DEJA_OK)
        finish_miss(lookup, "embedder-busy");
}

static double threshold_of(struct dj_engine *engine, const struct dj_lookup_options *options)
{
    if (options->is_threshold_free || options->is_find)
        return options->threshold;
    double base =
        options->base_threshold > 0 ? options->base_threshold : dj_engine_threshold(engine, false);
    return dj_reuse_threshold(base, 0, options->threshold); /* I12 */
}

enum deja_status dj_engine_lookup(struct dj_engine *engine, struct dj_loop *loop,
                                  const struct dj_fingerprint *fingerprint,
                                  const struct dj_lookup_options *options,
                                  const struct dj_query_vector *vector, void *ctx,
                                  dj_lookup_done_fn *done)
{
    struct lookup *lookup = dj_alloc_zeroed(1, sizeof *lookup);
    if (!lookup)
        return DEJA_ERR_NOMEM;
    *lookup = (struct lookup){.engine = engine,
                              .loop = loop,
                              .fingerprint = *fingerprint,
                              .options = *options,
                              .ctx = ctx,
                              .done = done};
    dj_engine_enter(engine);
    lookup->fingerprint.canonical = deja_slice(NULL, 0);
    lookup->result.threshold = threshold_of(engine, options);
    lookup->result.reason = "not-stored";
    lookup->is_own = vector != NULL;
    lookup->job.has_vector = vector != NULL;
    enum deja_status status = DEJA_OK;
    if (fingerprint->text.data) {
        lookup->text = dj_strdup(fingerprint->text);
        status = lookup->text ? DEJA_OK : DEJA_ERR_NOMEM;
        lookup->fingerprint.text = deja_slice(lookup->text, fingerprint->text.len);
    }
    if (status == DEJA_OK && options->is_semantic)
        status = dj_engine_take_vector(engine, vector, lookup->label, &lookup->job.name,
                                       &lookup->vector);
    if (status != DEJA_OK) {
        destroy(lookup);
        return status;
    }
    lookup->later = (struct dj_task){.run = start, .ctx = lookup};
    dj_loop_post(loop, &lookup->later);
    return DEJA_OK;
}
