/* cache/lookup.c - what happens after a miss in memory: embedded tier, then meaning.
 *
 *   start -> [embedded get] -> hit? done
 *         -> scope empty? done, without embedding
 *         -> [embed + search, one job] -> [fetch the candidates] -> decide -> done
 *
 * Steps in brackets leave the loop and come back by callback. A sick tier or embedder is a miss
 * (I4). Every fetched record is checked again: tenant, scope, generations, expiry (I1, I10).
 */
#include "base/alloc.h"
#include "cache/engine_internal.h"
#include "policy/guards.h"
#include "policy/reuse.h"
#include "store/memory.h"

struct lookup {
    struct dj_engine *engine;
    struct dj_loop *loop;
    struct dj_fingerprint fingerprint; /* text: owned copy */
    struct dj_lookup_options options;
    struct dj_lookup_result result;
    struct dj_semantic_job job;
    struct dj_task later;
    struct dj_value *hit;
    float *vector;
    char *text;
    uint32_t fetch_next;
    uint64_t fetch_started_us;
    void *ctx;
    dj_lookup_done_fn *done;
};

static void start_semantic(struct lookup *lookup);

static void destroy(struct lookup *lookup)
{
    dj_engine_leave(lookup->engine);
    for (uint32_t i = 0; i < lookup->result.candidate_count; i++)
        dj_value_unref(lookup->result.candidates[i].value);
    dj_value_unref(lookup->hit);
    dj_free(lookup->vector);
    dj_free(lookup->text);
    dj_free(lookup);
}

static void finish(struct lookup *lookup)
{
    lookup->result.value = lookup->hit;
    lookup->result.has_vector = lookup->vector && lookup->job.has_vector;
    lookup->result.vector = lookup->result.has_vector ? lookup->vector : NULL;
    lookup->done(lookup->ctx, &lookup->result);
    destroy(lookup);
}

static void finish_miss(struct lookup *lookup, const char *reason)
{
    lookup->result.reason = reason;
    finish(lookup);
}

/* ---- exact ---- */

static void on_embedded(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct lookup *lookup = ctx;
    struct dj_engine *engine = lookup->engine;
    bool is_usable =
        status == DEJA_OK && value &&
        dj_engine_is_valid(engine, lookup->fingerprint.key.tenant, dj_value_entry(value),
                           dj_loop_now_ms(lookup->loop), lookup->options.max_age_ms);
    lookup->result.fetch_us =
        (uint32_t)(dj_loop_monotonic_us(lookup->loop) - lookup->fetch_started_us);
    if (!is_usable) {
        dj_value_unref(value);
        start_semantic(lookup);
        return;
    }
    dj_engine_promote(engine, value);
    lookup->hit = value;
    lookup->result.kind = dj_engine_hit_kind(value, lookup->fingerprint.exact);
    lookup->result.level = engine->options.lmdb->ops->level;
    lookup->result.similarity = 1.0f;
    finish(lookup);
}

static void start(void *ctx)
{
    struct lookup *lookup = ctx;
    struct dj_engine *engine = lookup->engine;
    if (!lookup->options.is_exact) {
        start_semantic(lookup);
        return;
    }
    struct dj_value *value =
        dj_engine_find(engine, lookup->loop, &lookup->fingerprint.key, lookup->options.max_age_ms);
    if (value) {
        lookup->hit = value;
        lookup->result.kind = dj_engine_hit_kind(value, lookup->fingerprint.exact);
        lookup->result.level = "memory";
        lookup->result.similarity = 1.0f;
        finish(lookup);
        return;
    }
    lookup->fetch_started_us = dj_loop_monotonic_us(lookup->loop);
    struct dj_store *lmdb = engine->options.lmdb;
    if (!lmdb || lmdb->ops->get(lmdb, lookup->loop, &lookup->fingerprint.key, lookup,
                                on_embedded) != DEJA_OK)
        start_semantic(lookup);
}

/* ---- meaning ---- */

/* Guards for each fetched candidate, then the policy's word. */
static void decide(struct lookup *lookup)
{
    struct dj_lookup_result *result = &lookup->result;
    struct dj_reuse_candidate pairs[DJ_CANDIDATES_MAX];
    struct dj_guard_features asked;
    lookup->result.fetch_us +=
        (uint32_t)(dj_loop_monotonic_us(lookup->loop) - lookup->fetch_started_us);
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
        c->guards_refused = verdict.refused;
        pairs[i].guards_refused = verdict.refused;
        dj_guard_features_fini(&stored);
    }
    dj_guard_features_fini(&asked);
    struct dj_reuse_decision decision;
    dj_reuse_decide(pairs, result->candidate_count, result->threshold, &decision);
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

static void fetch_rest(struct lookup *lookup);

/* The record behind a vector: of this tenant, in this scope, still valid? */
static void take_candidate(struct lookup *lookup, struct dj_value *value, const char *level)
{
    struct dj_candidate *c = &lookup->result.candidates[lookup->fetch_next++];
    const struct dj_entry *entry = value ? dj_value_entry(value) : NULL;
    bool is_valid =
        entry && dj_engine_is_valid(lookup->engine, lookup->fingerprint.key.tenant, entry,
                                    dj_loop_now_ms(lookup->loop), lookup->options.max_age_ms);
    bool is_scope = entry && memcmp(entry->scope, lookup->fingerprint.scope, DJ_ID_BYTES) == 0;
    if (!is_valid || (!is_scope && !lookup->options.is_all_scopes)) {
        dj_value_unref(value);
        return;
    }
    memcpy(c->scope, entry->scope, DJ_ID_BYTES);
    c->is_other_scope = !is_scope;
    c->is_fetched = true;
    c->value = value;
    c->level = level;
}

static void on_candidate(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct lookup *lookup = ctx;
    if (status == DEJA_OK && value)
        dj_engine_promote(lookup->engine, value);
    take_candidate(lookup, status == DEJA_OK ? value : NULL,
                   lookup->engine->options.lmdb->ops->level);
    fetch_rest(lookup);
}

static void fetch_rest(struct lookup *lookup)
{
    struct dj_engine *engine = lookup->engine;
    struct dj_lookup_result *result = &lookup->result;
    while (lookup->fetch_next < result->candidate_count) {
        struct dj_candidate *c = &result->candidates[lookup->fetch_next];
        struct dj_store_key key = lookup->fingerprint.key;
        memcpy(key.id, c->id, sizeof key.id);
        struct dj_value *value = dj_memory_find(engine->options.memory, dj_loop_index(lookup->loop),
                                                &key, dj_loop_now_ms(lookup->loop));
        struct dj_store *lmdb = engine->options.lmdb;
        if (!value && lmdb &&
            lmdb->ops->get(lmdb, lookup->loop, &key, lookup, on_candidate) == DEJA_OK)
            return; /* on_candidate goes on */
        take_candidate(lookup, value, "memory");
    }
    decide(lookup);
}

static void on_searched(void *ctx)
{
    struct lookup *lookup = ctx;
    struct dj_lookup_result *result = &lookup->result;
    const struct dj_semantic_job *job = &lookup->job;
    result->status = job->status;
    result->embed_us = job->embed_us;
    result->search_us = job->search_us;
    if (job->status != DEJA_OK || job->match_count == 0) {
        finish_miss(lookup, job->status != DEJA_OK ? "embedder-failed" : "scope-empty");
        return;
    }
    for (uint32_t i = 0; i < job->match_count && i < DJ_CANDIDATES_MAX; i++) {
        /* Below the threshold nothing can be served: do not fetch it, but say how near it was. */
        struct dj_candidate *c = &result->candidates[result->candidate_count];
        memcpy(c->id, job->matches[i].id, sizeof c->id);
        c->similarity = job->matches[i].similarity;
        if (!lookup->options.is_explain && !(c->similarity >= result->threshold))
            break;
        result->candidate_count++;
    }
    if (result->candidate_count == 0) {
        result->similarity = job->matches[0].similarity;
        finish_miss(lookup, "below-threshold");
        return;
    }
    result->similarity = job->matches[0].similarity;
    lookup->fetch_started_us = dj_loop_monotonic_us(lookup->loop);
    fetch_rest(lookup);
}

static uint32_t candidate_limit(const struct lookup *lookup)
{
    uint32_t limit =
        lookup->options.limit ? lookup->options.limit : lookup->engine->options.candidates;
    return limit < DJ_CANDIDATES_MAX ? limit : DJ_CANDIDATES_MAX;
}

static void start_semantic(struct lookup *lookup)
{
    struct dj_engine *engine = lookup->engine;
    struct dj_fingerprint *fp = &lookup->fingerprint;
    struct dj_semantic_job *job = &lookup->job;
    if (!lookup->options.is_semantic || !engine->semantic) {
        finish_miss(lookup, engine->semantic ? "exact-only" : "no-embedder");
        return;
    }
    static const uint8_t no_scope[DJ_ID_BYTES];
    bool has_scope = memcmp(fp->scope, no_scope, sizeof no_scope) != 0;
    if ((!fp->text.data && !job->has_vector) ||
        (!has_scope && !lookup->options.is_all_scopes)) { /* zero: could not be told */
        finish_miss(lookup, "no-text");
        return;
    }
    bool is_empty = lookup->options.is_all_scopes
                        ? dj_semantic_tenant_count(engine->semantic, fp->key.tenant) == 0
                        : dj_semantic_scope_count(engine->semantic, fp->key.tenant, fp->scope) == 0;
    if (is_empty) {
        finish_miss(lookup, "scope-empty");
        return;
    }
    job->loop = lookup->loop;
    job->ctx = lookup;
    job->done = on_searched;
    memcpy(job->tenant, fp->key.tenant, sizeof job->tenant);
    memcpy(job->scope, fp->scope, sizeof job->scope);
    job->text = fp->text;
    job->vector = lookup->vector;
    job->search = lookup->options.is_all_scopes ? DJ_SEARCH_ALL : DJ_SEARCH_SCOPE;
    job->limit = candidate_limit(lookup);
    job->now_ms = dj_loop_now_ms(lookup->loop);
    if (dj_semantic_submit(engine->semantic, job) != DEJA_OK)
        finish_miss(lookup, "embedder-busy");
}

static double threshold_of(struct dj_engine *engine, const struct dj_lookup_options *options)
{
    if (options->is_threshold_free)
        return options->threshold;
    return dj_reuse_threshold(dj_engine_threshold(engine, false), 0, options->threshold); /* I12 */
}

enum deja_status dj_engine_lookup(struct dj_engine *engine, struct dj_loop *loop,
                                  const struct dj_fingerprint *fingerprint,
                                  const struct dj_lookup_options *options, const float *vector,
                                  void *ctx, dj_lookup_done_fn *done)
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
    uint32_t dim = engine->semantic ? engine->options.embedder->dim : 0;
    bool is_copied = true;
    if (fingerprint->text.data) {
        lookup->text = dj_strdup(fingerprint->text);
        is_copied = lookup->text != NULL;
        lookup->fingerprint.text = deja_slice(lookup->text, fingerprint->text.len);
    }
    if (is_copied && dim && options->is_semantic) {
        lookup->vector = dj_alloc(sizeof(float) * dim);
        is_copied = lookup->vector != NULL;
        if (is_copied && vector) {
            memcpy(lookup->vector, vector, sizeof(float) * dim);
            lookup->job.has_vector = true;
        }
    }
    if (!is_copied) {
        destroy(lookup);
        return DEJA_ERR_NOMEM;
    }
    lookup->later = (struct dj_task){.run = start, .ctx = lookup};
    dj_loop_post(loop, &lookup->later);
    return DEJA_OK;
}
