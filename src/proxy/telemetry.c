/* proxy/telemetry.c - counting requests without a lock on the way.
 *
 * Two tables of atomic pointers, insert only: tenants by id, and label sets by their text. A reader
 * probes with acquire loads; who misses takes the lock, looks again and inserts with a release
 * store. Nothing is removed while the daemon runs, so a pointer once read stays good.
 *
 * (1) tenant_count <= DJ_TELEMETRY_TENANTS_MAX and labelled_count <= LABELLED_MAX, so every probe
 *     meets an empty slot (I7).
 * (2) labels of a tenant beyond DJ_TELEMETRY_LABELS_MAX are those of "other".
 * (3) A NULL series (memory ran out) is dropped by the registry's updates: counting cannot fail.
 */
#include "proxy/telemetry.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "crypto/digest.h"
#include "cache/sensitive.h"
#include "proxy/telemetry_internal.h"

/* So little below the threshold a miss counts as near. */
#define NEAR_MISS 0.05

static const char *const api_names[API_COUNT] = {
    "chat", "completions", "messages", "responses", "embeddings", "api", "passthrough", "other"};
const char *const dj_telemetry_level_names[LEVEL_COUNT] = {"none",  "memory",   "lmdb",
                                                           "redis", "postgres", "s3"};
static const char *const result_names[DJ_RESULT_COUNT] = {
    "hit_exact", "hit_semantic", "miss", "bypass", "refresh", "error", "collapsed"};
static const char *const stage_names[DJ_STAGE_COUNT] = {"auth",   "canon", "embed",    "search",
                                                        "verify", "fetch", "upstream", "store"};

struct labelled {
    struct dj_series *series;
    size_t key_len;
    char key[];
};

static unsigned index_of(const char *const *names, unsigned count, const char *name,
                         unsigned fallback)
{
    for (unsigned i = 0; name && i < count; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return fallback;
}

/* ---- label sets ---- */

/* Found, or NULL with *out_slot at the empty slot where it would go. */
static struct labelled *find_labelled(const struct dj_telemetry *telemetry, const char *key,
                                      size_t len, size_t *out_slot)
{
    /* Models are named by strangers, and every hit with tokens comes here. */
    size_t slot = dj_siphash(telemetry->hash_key, deja_slice(key, len)) & (LABELLED_SLOTS - 1);
    for (;;) {
        struct labelled *at =
            atomic_load_explicit(&telemetry->labelled[slot], memory_order_acquire);
        if (!at) {
            *out_slot = slot;
            return NULL;
        }
        if (at->key_len == len && memcmp(at->key, key, len) == 0)
            return at;
        slot = (slot + 1) & (LABELLED_SLOTS - 1);
    }
}

size_t dj_telemetry_label_probes_max(const struct dj_telemetry *telemetry)
{
    size_t longest = 0;
    for (size_t i = 0; i < LABELLED_SLOTS; i++) {
        const struct labelled *at =
            atomic_load_explicit(&telemetry->labelled[i], memory_order_acquire);
        uint64_t home = at ? dj_siphash(telemetry->hash_key, deja_slice(at->key, at->key_len)) : 0;
        size_t probes = at ? ((i - home) & (LABELLED_SLOTS - 1)) + 1 : 0;
        longest = probes > longest ? probes : longest;
    }
    return longest;
}

static struct dj_series *insert_labelled(struct dj_telemetry *telemetry, enum family family,
                                         const char *const *values, const char *key, size_t len)
{
    struct dj_series *series = NULL;
    size_t slot = 0;
    pthread_mutex_lock(&telemetry->lock);
    struct labelled *at = find_labelled(telemetry, key, len, &slot);
    if (at) {
        series = at->series;
    } else {
        series = dj_metric_series(telemetry->families[family], values);
        at = series && telemetry->labelled_count < LABELLED_MAX ? dj_alloc(sizeof *at + len) : NULL;
        if (at) {
            at->series = series;
            at->key_len = len;
            memcpy(at->key, key, len);
            telemetry->labelled_count++;
            atomic_store_explicit(&telemetry->labelled[slot], at, memory_order_release);
        }
    }
    pthread_mutex_unlock(&telemetry->lock);
    return series;
}

struct dj_series *dj_telemetry_series(struct dj_telemetry *telemetry, enum family family,
                                      const char *const *values)
{
    char key[400];
    size_t len = 0;
    key[len++] = (char)family;
    for (size_t i = 0; i < DJ_METRIC_LABELS_MAX && dj_telemetry_families[family].labels[i]; i++) {
        size_t value_len = strlen(values[i]);
        if (value_len > 90)
            return NULL; /* our own callers keep to 64 */
        memcpy(key + len, values[i], value_len + 1);
        len += value_len + 1;
    }
    size_t slot = 0;
    struct labelled *found = find_labelled(telemetry, key, len, &slot);
    if (found)
        return found->series;
    return insert_labelled(telemetry, family, values, key, len);
}

/* The series in a slot of an array, made at first use. Two threads may both make it: the registry
 * gives both the same one. */
struct dj_series *dj_telemetry_slot_series(struct dj_telemetry *telemetry, series_slot *slot,
                                           enum family family, const char *const *values)
{
    struct dj_series *series = atomic_load_explicit(slot, memory_order_acquire);
    if (series)
        return series;
    series = dj_metric_series(telemetry->families[family], values);
    atomic_store_explicit(slot, series, memory_order_release);
    return series;
}

/* ---- tenants ---- */

static struct tenant *find_tenant(const struct dj_telemetry *telemetry,
                                  const uint8_t id[DJ_ID_BYTES], size_t *out_slot)
{
    uint64_t hash = 0;
    memcpy(&hash, id, sizeof hash); /* tenants are bytes of an HMAC */
    size_t slot = (hash ^ (hash >> 32)) & (TENANT_SLOTS - 1);
    for (;;) {
        struct tenant *at = atomic_load_explicit(&telemetry->tenants[slot], memory_order_acquire);
        if (!at) {
            *out_slot = slot;
            return NULL;
        }
        if (memcmp(at->id, id, DJ_ID_BYTES) == 0)
            return at;
        slot = (slot + 1) & (TENANT_SLOTS - 1);
    }
}

/* Under the lock. NULL: memory ran out. */
static struct tenant *make_tenant(struct dj_telemetry *telemetry, const uint8_t id[DJ_ID_BYTES])
{
    struct tenant *tenant = dj_alloc_zeroed(1, sizeof *tenant);
    if (!tenant)
        return NULL;
    memcpy(tenant->id, id, DJ_ID_BYTES);
    tenant->labels = &telemetry->other_labels;
    if (telemetry->labels_count < DJ_TELEMETRY_LABELS_MAX) {
        struct labels *labels = dj_alloc_zeroed(1, sizeof *labels);
        if (labels) {
            dj_tenant_text(id, labels->tenant);
            tenant->labels = labels;
            telemetry->labels_count++;
        }
    }
    telemetry->tenant_count++;
    return tenant;
}

static struct tenant *insert_tenant(struct dj_telemetry *telemetry, const uint8_t id[DJ_ID_BYTES])
{
    size_t slot = 0;
    pthread_mutex_lock(&telemetry->lock);
    struct tenant *at = find_tenant(telemetry, id, &slot);
    if (!at && telemetry->tenant_count < DJ_TELEMETRY_TENANTS_MAX) {
        at = make_tenant(telemetry, id);
        atomic_store_explicit(&telemetry->tenants[slot], at, memory_order_release);
    }
    pthread_mutex_unlock(&telemetry->lock);
    return at ? at : &telemetry->other;
}

struct tenant *dj_telemetry_tenant_of(struct dj_telemetry *telemetry, const uint8_t id[DJ_ID_BYTES],
                                      bool is_made)
{
    size_t slot = 0;
    struct tenant *found = find_tenant(telemetry, id, &slot);
    if (found)
        return found;
    return is_made ? insert_tenant(telemetry, id) : &telemetry->other;
}

/* ---- life cycle ---- */

enum deja_status dj_telemetry_create(struct dj_metrics *metrics,
                                     struct dj_telemetry **out_telemetry)
{
    enum deja_status status = DEJA_OK;
    struct dj_telemetry *telemetry = dj_alloc_zeroed(1, sizeof *telemetry);
    if (!telemetry)
        return DEJA_ERR_NOMEM;
    pthread_mutex_init(&telemetry->lock, NULL); /* default attributes cannot fail on Linux */
    pthread_mutex_init(&telemetry->gauges_lock, NULL);
    dj_random_bytes(telemetry->hash_key, sizeof telemetry->hash_key);
    telemetry->tenants = dj_alloc_zeroed(TENANT_SLOTS, sizeof *telemetry->tenants);
    telemetry->labelled = dj_alloc_zeroed(LABELLED_SLOTS, sizeof *telemetry->labelled);
    memcpy(telemetry->other_labels.tenant, "other", sizeof "other");
    telemetry->other.labels = &telemetry->other_labels;
    if (!telemetry->tenants || !telemetry->labelled) {
        status = DEJA_ERR_NOMEM;
        goto done;
    }
    telemetry->guess = DJ_PRICE_GUESS;
    status = dj_recent_create(&telemetry->recent);
    if (status == DEJA_OK)
        status = dj_ledger_create(&telemetry->ledger);
    for (size_t i = 0; i < FAMILY_COUNT && status == DEJA_OK; i++)
        status = dj_metrics_declare(metrics, &dj_telemetry_families[i], &telemetry->families[i]);
    if (status != DEJA_OK)
        goto done;
    for (size_t i = 0; i < DJ_STAGE_COUNT; i++) {
        telemetry->stages[i] = dj_metric_series(telemetry->families[FAMILY_STAGE], &stage_names[i]);
        if (!telemetry->stages[i])
            status = DEJA_ERR_NOMEM;
    }
    telemetry->inflight = dj_metric_series(telemetry->families[FAMILY_INFLIGHT], NULL);
    telemetry->key_duration = dj_metric_series(telemetry->families[FAMILY_KEY_DURATION], NULL);
    telemetry->memory_hits = dj_metric_series(telemetry->families[FAMILY_OPERATION],
                                              (const char *const[]){"lookup", "memory", "hit"});
    if (!telemetry->inflight || !telemetry->key_duration || !telemetry->memory_hits)
        status = DEJA_ERR_NOMEM;
done:
    if (status != DEJA_OK) {
        dj_telemetry_destroy(telemetry);
        return status;
    }
    *out_telemetry = telemetry;
    return DEJA_OK;
}

void dj_telemetry_destroy(struct dj_telemetry *telemetry)
{
    if (!telemetry)
        return;
    for (size_t i = 0; telemetry->tenants && i < TENANT_SLOTS; i++) {
        struct tenant *tenant = atomic_load_explicit(&telemetry->tenants[i], memory_order_relaxed);
        if (tenant && tenant->labels != &telemetry->other_labels)
            dj_free(tenant->labels);
        dj_free(tenant);
    }
    for (size_t i = 0; telemetry->labelled && i < LABELLED_SLOTS; i++)
        dj_free(atomic_load_explicit(&telemetry->labelled[i], memory_order_relaxed));
    dj_recent_destroy(telemetry->recent);
    dj_ledger_destroy(telemetry->ledger);
    dj_free(telemetry->tenants);
    dj_free(telemetry->labelled);
    pthread_mutex_destroy(&telemetry->lock);
    pthread_mutex_destroy(&telemetry->gauges_lock);
    dj_free(telemetry);
}

/* ---- counting ---- */

const char *dj_result_text(enum dj_result result)
{
    return result < DJ_RESULT_COUNT ? result_names[result] : "error";
}

const struct dj_recent *dj_telemetry_recent(const struct dj_telemetry *telemetry)
{
    return telemetry->recent;
}

void dj_telemetry_request(struct dj_telemetry *telemetry, const struct dj_finished *finished)
{
    enum dj_result result = finished->result;
    enum api api = (enum api)index_of(api_names, API_COUNT, finished->api, API_OTHER);
    enum level level =
        (enum level)index_of(dj_telemetry_level_names, LEVEL_COUNT, finished->level, LEVEL_NONE);
    struct tenant *tenant =
        dj_telemetry_tenant_of(telemetry, finished->tenant, result != DJ_RESULT_ERROR);
    struct labels *labels = tenant->labels;
    atomic_fetch_add_explicit(&tenant->results[result], 1, memory_order_relaxed);
    dj_recent_put(telemetry->recent, finished);

    const char *const values[] = {labels->tenant, api_names[api], result_names[result],
                                  dj_telemetry_level_names[level]};
    dj_series_add(dj_telemetry_slot_series(telemetry, &labels->requests[api][result][level],
                                           FAMILY_REQUESTS, values),
                  1);
    dj_series_observe(dj_telemetry_slot_series(telemetry, &telemetry->durations[api][result],
                                               FAMILY_REQUEST_DURATION, values + 1),
                      finished->seconds);
    const char *const looked[] = {labels->tenant, dj_telemetry_cache_types[api],
                                  dj_telemetry_level_names[level]};
    if (!dj_telemetry_cache_types[api])
        return;
    if (result == DJ_RESULT_HIT_EXACT || result == DJ_RESULT_HIT_SEMANTIC) {
        atomic_fetch_add_explicit(&tenant->levels[level].hits, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&tenant->levels[level].us, (uint64_t)(finished->seconds * 1e6),
                                  memory_order_relaxed);
        dj_series_add(
            dj_telemetry_slot_series(telemetry, &labels->hits[api][level], FAMILY_HITS, looked), 1);
        if (level == LEVEL_MEMORY && api != API_API) /* what lies below tells itself */
            dj_series_observe(telemetry->memory_hits, finished->seconds);
    } else if (result == DJ_RESULT_MISS) {
        dj_series_add(
            dj_telemetry_slot_series(telemetry, &labels->misses[api], FAMILY_MISSES, looked), 1);
        dj_telemetry_missed(telemetry, finished->tenant,
                            finished->kind && *finished->kind ? finished->kind
                                                              : dj_telemetry_cache_types[api]);
    }
}

void dj_telemetry_exemplar(struct dj_telemetry *telemetry, const char *api_name,
                           enum dj_result result, double seconds, const char *trace_id)
{
    enum api api = (enum api)index_of(api_names, API_COUNT, api_name, API_OTHER);
    dj_series_exemplar(
        atomic_load_explicit(&telemetry->durations[api][result], memory_order_acquire), seconds,
        trace_id);
}

void dj_telemetry_stage(struct dj_telemetry *telemetry, enum dj_stage stage, double seconds)
{
    dj_series_observe(telemetry->stages[stage], seconds);
}

void dj_telemetry_similarity(struct dj_telemetry *telemetry, const char *outcome, double value)
{
    const char *const values[] = {outcome};
    dj_series_observe(dj_telemetry_series(telemetry, FAMILY_SIMILARITY, values), value);
}

void dj_telemetry_upstream(struct dj_telemetry *telemetry, const char *provider, int code)
{
    char text[16];
    snprintf(text, sizeof text, "%d", code);
    const char *const values[] = {provider, text};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_UPSTREAM, values), 1);
}

void dj_telemetry_operation(struct dj_telemetry *telemetry, const char *operation,
                            const char *level, const char *status, double seconds)
{
    const char *const values[] = {operation, level, status};
    dj_series_observe(dj_telemetry_series(telemetry, FAMILY_OPERATION, values), seconds);
}

void dj_telemetry_lookup(struct dj_telemetry *telemetry, const struct dj_telemetry_lookup *lookup)
{
    const struct {
        enum dj_stage stage;
        uint32_t us;
    } stages[] = {{DJ_STAGE_EMBED, lookup->embed_us},
                  {DJ_STAGE_SEARCH, lookup->search_us},
                  {DJ_STAGE_FETCH, lookup->fetch_us},
                  {DJ_STAGE_VERIFY, lookup->verify_us}};
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
        if (stages[i].us)
            dj_telemetry_stage(telemetry, stages[i].stage, stages[i].us / 1e6);
    if (lookup->search_us && lookup->similarity > 0) {
        bool is_near = lookup->similarity >= lookup->threshold - NEAR_MISS;
        const char *outcome = lookup->is_hit ? "hit" : is_near ? "near_miss" : "miss";
        dj_telemetry_similarity(telemetry, outcome, lookup->similarity);
    }
    dj_telemetry_operation(telemetry, "lookup", lookup->level, lookup->is_hit ? "hit" : "miss",
                           lookup->seconds);
}

void dj_telemetry_key(struct dj_telemetry *telemetry, double seconds)
{
    dj_series_observe(telemetry->key_duration, seconds);
}

void dj_telemetry_recovered(struct dj_telemetry *telemetry, const char *operation, double count)
{
    const char *const values[] = {operation};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_RECOVERED, values), count);
}

void dj_telemetry_refreshed(struct dj_telemetry *telemetry, const char *reason, const char *outcome)
{
    const char *const values[] = {reason, outcome};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_REFRESHES, values), 1);
}

void dj_telemetry_warmed(struct dj_telemetry *telemetry, const char *source, double cost_usd)
{
    const char *const values[] = {source};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_WARMED, values), 1);
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_WARMED_COST, values), cost_usd);
}

void dj_telemetry_warmed_used(struct dj_telemetry *telemetry)
{
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_WARMED_USED, NULL), 1);
}

void dj_telemetry_turn(struct dj_telemetry *telemetry, const char *outcome)
{
    const char *const values[] = {outcome};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_TURNS, values), 1);
}

void dj_telemetry_dropped(struct dj_telemetry *telemetry, const char *reason)
{
    const char *const values[] = {reason};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_DROPPED, values), 1);
}

void dj_telemetry_sensitive(struct dj_telemetry *telemetry,
                            const struct dj_sensitive_verdict *verdict)
{
    const char *action = verdict->is_refused    ? "refused"
                         : verdict->is_redacted ? "redacted"
                                                : "sealed";
    for (unsigned i = 0; i < DJ_SENSITIVE_CLASS_COUNT; i++) {
        const char *const values[] = {dj_sensitive_class_text((enum dj_sensitive_class)i), action};
        if (verdict->classes & DJ_SENSITIVE_BIT(i))
            dj_series_add(dj_telemetry_series(telemetry, FAMILY_SENSITIVE, values), 1);
    }
}

void dj_telemetry_stale(struct dj_telemetry *telemetry, const char *reason)
{
    const char *const values[] = {reason};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_STALE, values), 1);
}

void dj_telemetry_false_hit(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                            const char *source)
{
    const char *const values[] = {dj_telemetry_tenant_of(telemetry, tenant, false)->labels->tenant,
                                  source};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_FALSE_HITS, values), 1);
}

void dj_telemetry_limited(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                          const char *reason)
{
    const char *const values[] = {dj_telemetry_tenant_of(telemetry, tenant, false)->labels->tenant};
    const char *const reasons[] = {reason};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_LIMITED, values), 1);
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_LIMITED_REASONS, reasons), 1);
}

void dj_telemetry_overloaded(struct dj_telemetry *telemetry)
{
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_OVERLOADED, NULL), 1);
}

void dj_telemetry_inflight(struct dj_telemetry *telemetry, int change)
{
    dj_series_add(telemetry->inflight, change);
}

void dj_telemetry_invalidation(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                               const char *kind)
{
    const char *const values[] = {dj_telemetry_tenant_of(telemetry, tenant, false)->labels->tenant,
                                  kind};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_INVALIDATIONS, values), 1);
}

void dj_telemetry_webhook(struct dj_telemetry *telemetry, const char *result)
{
    const char *const values[] = {result};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_WEBHOOKS, values), 1);
}

void dj_telemetry_webhook_lost(struct dj_telemetry *telemetry, uint64_t count)
{
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_WEBHOOK_LOST, NULL), (double)count);
}

void dj_telemetry_evicted(struct dj_telemetry *telemetry, const uint8_t tenant_id[DJ_ID_BYTES],
                          const char *level_name, const char *reason)
{
    struct tenant *tenant = dj_telemetry_tenant_of(telemetry, tenant_id, true);
    unsigned level = index_of(dj_telemetry_level_names, LEVEL_COUNT, level_name, LEVEL_NONE);
    const char *const values[] = {tenant->labels->tenant, reason};
    bool is_expired = strcmp(reason, "ttl") == 0;
    atomic_fetch_add_explicit(is_expired ? &tenant->levels[level].expired
                                         : &tenant->levels[level].evictions,
                              1, memory_order_relaxed);
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_EVICTIONS, values), 1);
}

void dj_telemetry_reloaded(struct dj_telemetry *telemetry, bool is_ok, int64_t now_ms)
{
    dj_series_set(dj_telemetry_series(telemetry, FAMILY_RELOAD_SUCCESS, NULL), is_ok ? 1 : 0);
    if (is_ok)
        dj_series_set(dj_telemetry_series(telemetry, FAMILY_RELOAD_TIME, NULL),
                      (double)now_ms / 1000.0);
}

uint32_t dj_telemetry_tenant_count(struct dj_telemetry *telemetry)
{
    pthread_mutex_lock(&telemetry->lock);
    uint32_t count = telemetry->tenant_count;
    pthread_mutex_unlock(&telemetry->lock);
    return count;
}

static void add_totals(struct tenant *tenant, struct dj_telemetry_totals *totals)
{
    for (size_t i = 0; i < DJ_RESULT_COUNT; i++) {
        uint64_t count = atomic_load_explicit(&tenant->results[i], memory_order_relaxed);
        totals->results[i] += count;
        totals->requests += count;
    }
    for (size_t i = 0; i < LEVEL_COUNT; i++) {
        struct dj_level_totals *level = &totals->levels[i];
        level->hits += atomic_load_explicit(&tenant->levels[i].hits, memory_order_relaxed);
        level->us += atomic_load_explicit(&tenant->levels[i].us, memory_order_relaxed);
        level->evictions +=
            atomic_load_explicit(&tenant->levels[i].evictions, memory_order_relaxed);
        level->expired += atomic_load_explicit(&tenant->levels[i].expired, memory_order_relaxed);
    }
    totals->saved_input_tokens +=
        atomic_load_explicit(&tenant->saved_input_tokens, memory_order_relaxed);
    totals->saved_output_tokens +=
        atomic_load_explicit(&tenant->saved_output_tokens, memory_order_relaxed);
    totals->saved_seconds +=
        (double)atomic_load_explicit(&tenant->saved_ms, memory_order_relaxed) / 1e3;
    totals->saved_cost_usd +=
        (double)atomic_load_explicit(&tenant->saved_nano_usd, memory_order_relaxed) / 1e9;
}

void dj_telemetry_totals(struct dj_telemetry *telemetry, const uint8_t *tenant_id,
                         struct dj_telemetry_totals *out_totals)
{
    struct dj_telemetry_totals totals = {0};
    size_t slot = 0;
    if (tenant_id) {
        struct tenant *tenant = find_tenant(telemetry, tenant_id, &slot);
        if (tenant)
            add_totals(tenant, &totals);
    } else {
        add_totals(&telemetry->other, &totals);
        for (slot = 0; slot < TENANT_SLOTS; slot++) {
            struct tenant *tenant =
                atomic_load_explicit(&telemetry->tenants[slot], memory_order_acquire);
            if (tenant)
                add_totals(tenant, &totals);
        }
    }
    *out_totals = totals;
}
