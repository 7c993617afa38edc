/* lib/calls.c - the public calls but open and close: what is given is read and copied in the
 * caller's thread, everything else happens on the loop.
 *
 * Trust: a program that links us is trusted with its pointers; texts may be a stranger's.
 */
#include <math.h>

#include "base/alloc.h"
#include "cache/depends.h"
#include "lib/lib_internal.h"
#include "policy/ttl.h"
#include "security/user.h"
#include "text/question.h"

#define LOOKUP_TIMEOUT_MS 1000u
#define PUT_TIMEOUT_MS 2000u
#define COMPUTE_TIMEOUT_MS 30000u
#define CLEAR_TIMEOUT_MS 10000u
#define FAMILY "library"

static uint32_t timeout_or(uint32_t timeout_ms, uint32_t fallback_ms)
{
    return timeout_ms ? timeout_ms : fallback_ms;
}

/* ---- reading what the caller gave ---- */

/* A struct of an older, equal or newer header: what it lacks is zero, what we do not know must be.
 */
enum deja_status dj_read_struct(const void *given, size_t given_bytes, size_t bytes_min, void *out,
                                size_t out_bytes)
{
    const char *bytes = given;
    if (given_bytes < bytes_min || given_bytes > 4096)
        return DEJA_ERR_INVALID; /* its _init was not called */
    for (size_t i = out_bytes; i < given_bytes; i++)
        if (bytes[i])
            return DEJA_ERR_UNSUPPORTED;
    memset(out, 0, out_bytes);
    memcpy(out, given, given_bytes < out_bytes ? given_bytes : out_bytes);
    return DEJA_OK;
}

const uint8_t *dj_tenant_of(const struct deja *deja, const uint8_t *tenant)
{
    static const uint8_t zero[DEJA_TENANT_BYTES];
    return tenant && memcmp(tenant, zero, sizeof zero) != 0 ? tenant : deja->local_tenant;
}

void dj_name_key(const struct deja *deja, const uint8_t tenant[DEJA_TENANT_BYTES],
                 uint8_t out_key[DJ_SHA256_BYTES])
{
    struct dj_secret key;
    if (memcmp(tenant, deja->local_tenant, DEJA_TENANT_BYTES) == 0) {
        memcpy(out_key, deja->local_key.bytes, DJ_SHA256_BYTES);
        return;
    }
    dj_tenant_fingerprint_key(&deja->root, tenant, &key);
    memcpy(out_key, key.bytes, DJ_SHA256_BYTES);
    dj_secret_fini(&key);
}

/* Key and scope. Families keep the library's entries, whose bodies are any bytes, apart from the
 * daemon's in the same data directory. */
static enum deja_status fingerprint(struct dj_operation *operation, const uint8_t *tenant,
                                    struct deja_slice name_space, struct deja_slice text)
{
    struct deja *deja = operation->deja;
    struct dj_key_prefix prefix = {.name_space = name_space, .family = FAMILY};
    if (name_space.len > DEJA_NAME_SPACE_BYTES_MAX)
        return DEJA_ERR_INVALID;
    enum deja_status status = dj_question_check(text, deja->options.query_chars_max, NULL);
    if (status != DEJA_OK)
        return status;
    memcpy(prefix.tenant, dj_tenant_of(deja, tenant), sizeof prefix.tenant);
    dj_name_key(deja, prefix.tenant, prefix.fingerprint_key);
    status = dj_key_query(&prefix, text, &operation->arena, &operation->fingerprint);
    if (status == DEJA_OK)
        dj_key_scope(&prefix, &operation->fingerprint);
    dj_wipe(prefix.fingerprint_key, sizeof prefix.fingerprint_key);
    return status;
}

enum deja_status dj_operation_copy(struct dj_operation *operation, struct deja_slice bytes,
                                   size_t bytes_max, struct deja_slice *out_copy)
{
    if (bytes.len > bytes_max)
        return DEJA_ERR_LIMIT;
    *out_copy = dj_arena_copy(&operation->arena, bytes);
    return bytes.len && !out_copy->data ? DEJA_ERR_NOMEM : DEJA_OK;
}

/* Checked and brought to unit length, whatever it was. */
static enum deja_status copy_vector(struct dj_operation *operation, const float *vector,
                                    uint32_t dim, struct deja_slice model)
{
    double sum = 0;
    if (!vector)
        return DEJA_OK;
    if (dim == 0 || dim > DJ_VECTOR_DIM_MAX)
        return DEJA_ERR_INVALID;
    for (uint32_t i = 0; i < dim; i++)
        sum += (double)vector[i] * (double)vector[i];
    if (!(sum > 0) || !isfinite(sum))
        return DEJA_ERR_INVALID;
    float *floats = dj_arena_alloc(&operation->arena, sizeof(float) * dim);
    if (!floats)
        return DEJA_ERR_NOMEM;
    for (uint32_t i = 0; i < dim; i++)
        floats[i] = (float)((double)vector[i] / sqrt(sum));
    operation->vector_given = (struct dj_query_vector){.floats = floats, .dim = dim};
    operation->vector = &operation->vector_given;
    return dj_operation_copy(operation, model, DJ_VECTOR_MODEL_BYTES_MAX,
                             &operation->vector_given.embedder);
}

/* The columns an entry has of its key. */
static enum deja_status begin_entry(struct dj_operation *operation, struct deja_slice name_space)
{
    const struct dj_fingerprint *fp = &operation->fingerprint;
    struct dj_entry *entry = &operation->entry;
    entry->kind = DJ_ENTRY_BYTES;
    entry->query = fp->text;
    entry->provider = deja_slice_text("library");
    memcpy(entry->tenant, fp->key.tenant, sizeof entry->tenant);
    memcpy(entry->id, fp->key.id, sizeof entry->id);
    memcpy(entry->exact, fp->exact, sizeof entry->exact);
    memcpy(entry->scope, fp->scope, sizeof entry->scope);
    return dj_operation_copy(operation, name_space, DEJA_NAME_SPACE_BYTES_MAX, &entry->name_space);
}

static enum deja_status read_query(struct dj_operation *operation, const struct deja_query *query)
{
    enum deja_status status = fingerprint(operation, query->tenant, query->name_space, query->text);
    if (status == DEJA_OK)
        status = copy_vector(operation, query->vector, query->vector_dim, query->vector_model);
    if (status != DEJA_OK)
        return status;
    double threshold = query->threshold > 0 ? query->threshold : operation->deja->options.threshold;
    if (!(query->threshold >= 0 && query->threshold <= 1))
        return DEJA_ERR_INVALID;
    operation->is_semantic = !query->is_exact_only;
    operation->lookup = (struct dj_lookup_options){.is_exact = true,
                                                   .is_semantic = !query->is_exact_only,
                                                   .threshold = threshold,
                                                   .is_threshold_free = true,
                                                   .max_age_ms = query->max_age_ms};
    return DEJA_OK;
}

enum deja_status dj_operation_copy_depends(struct dj_operation *operation,
                                           const struct deja_slice *names, size_t count,
                                           size_t tag_count, struct deja_slice *out_tags)
{
    enum deja_status status = DEJA_OK;
    if (tag_count > DEJA_TAGS_MAX || count > DEJA_TAGS_MAX - tag_count)
        return DEJA_ERR_LIMIT;
    for (size_t i = 0; i < count && status == DEJA_OK; i++) {
        char bytes[DJ_DEPENDS_TAG_BYTES];
        if (names[i].len == 0 || names[i].len > DEJA_TAG_BYTES_MAX)
            return names[i].len ? DEJA_ERR_LIMIT : DEJA_ERR_INVALID;
        status = dj_operation_copy(operation, dj_depends_tag(names[i], bytes), sizeof bytes,
                                   &out_tags[i]);
    }
    return status;
}

static enum deja_status copy_dependencies(struct dj_operation *operation,
                                          const struct deja_entry *given)
{
    struct dj_entry *entry = &operation->entry;
    struct deja_slice tags[DEJA_TAGS_MAX];
    enum deja_status status = dj_operation_copy_depends(
        operation, given->depends_on, given->depends_on_count, given->tag_count, tags);
    for (size_t i = 0; i < given->depends_on_count && status == DEJA_OK; i++)
        entry->tags[entry->tag_count++].name = tags[i];
    return status;
}

static enum deja_status read_entry(struct dj_operation *operation, const struct deja_entry *given)
{
    struct dj_entry *entry = &operation->entry;
    enum deja_status status = fingerprint(operation, given->tenant, given->name_space, given->text);
    if (status == DEJA_OK)
        status = begin_entry(operation, given->name_space);
    if (status == DEJA_OK)
        status = copy_vector(operation, given->vector, given->vector_dim, given->vector_model);
    if (status == DEJA_OK)
        status = dj_operation_copy(operation, given->body, DEJA_BODY_BYTES_MAX, &entry->body);
    if (status == DEJA_OK)
        status = dj_operation_copy(operation, given->model, DJ_MODEL_BYTES_MAX, &entry->model);
    if (status == DEJA_OK)
        status =
            dj_operation_copy(operation, given->metadata, DJ_METADATA_BYTES_MAX, &entry->metadata);
    if (status == DEJA_OK && given->tag_count > DEJA_TAGS_MAX)
        status = DEJA_ERR_LIMIT;
    for (size_t i = 0; i < given->tag_count && status == DEJA_OK; i++) {
        /* Those that begin so are Deja's own. */
        bool is_usable = given->tags[i].len > 0 && given->tags[i].data[0] != '\0' &&
                         !dj_tag_is_internal(given->tags[i]);
        status = !is_usable ? DEJA_ERR_INVALID
                            : dj_operation_copy(operation, given->tags[i], DEJA_TAG_BYTES_MAX,
                                                &entry->tags[i].name);
        entry->tag_count = i + 1;
    }
    if (status == DEJA_OK)
        status = copy_dependencies(operation, given);
    if (status == DEJA_OK)
        status = dj_look(operation->deja, entry, &operation->verdict);
    operation->is_semantic = !given->is_exact_only;
    operation->ttl_ms = given->ttl_ms;
    return status;
}

void dj_entry_date(struct deja *deja, struct dj_entry *entry, uint64_t ttl_ms)
{
    entry->created_ms = dj_loop_now_ms(deja->loop);
    if (entry->kind == DJ_ENTRY_PLAIN) { /* it ends when it was said to */
        entry->expires_ms = dj_kv_end(deja, ttl_ms);
        return;
    }
    const struct deja_options *options = &deja->options;
    const struct dj_ttl_sizes sizes = {
        .life_ms = {options->ttl_small_ms, options->ttl_medium_ms, options->ttl_large_ms},
        .small_max = options->text_small_max,
        .medium_max = options->text_medium_max};
    uint64_t size_ms = entry->query.len ? sizes.life_ms[dj_ttl_size_of(&sizes, entry->query)] : 0;
    entry->expires_ms =
        dj_engine_expiry(deja->engine, deja->loop, ttl_ms, size_ms ? size_ms : options->ttl_ms);
}

/* Submits what was read, or drops it. */
enum deja_status dj_operation_finish(struct dj_operation *operation, enum deja_status status)
{
    if (status == DEJA_OK)
        status = dj_operation_submit(operation);
    if (status != DEJA_OK)
        dj_operation_destroy(operation);
    return status;
}

/* ---- lookup ---- */

static const enum deja_outcome outcomes[] = {[DJ_HIT_NONE] = DEJA_MISS,
                                             [DJ_HIT_EXACT] = DEJA_HIT_EXACT,
                                             [DJ_HIT_NORMALIZED] = DEJA_HIT_NORMALIZED,
                                             [DJ_HIT_SEMANTIC] = DEJA_HIT_SEMANTIC};

static void on_found(void *ctx, const struct dj_lookup_result *result)
{
    struct dj_operation *operation = ctx;
    struct deja *deja = operation->deja;
    atomic_fetch_add(&deja->counters.lookups, 1);
    atomic_fetch_add(&deja->counters.hits[result->value ? result->kind : DJ_HIT_NONE], 1);
    dj_event_got(operation, operation->fingerprint.text, result->value,
                 result->value ? result->level : NULL);
    if (result->value)
        dj_engine_note_hit(deja->engine, deja->loop, dj_value_entry(result->value), result->level);
    else if (result->status == DEJA_ERR_MISMATCH) {
        dj_operation_answer(operation, result->status, NULL);
        dj_operation_destroy(operation);
        return;
    } else if (operation->compute) {
        dj_computation_enter(operation);
        return;
    }
    struct deja_answer *answer = dj_answer_create(
        result->value ? outcomes[result->kind] : DEJA_MISS, result->value,
        (double)result->similarity, result->value ? result->level : result->reason);
    dj_operation_answer(operation, answer ? DEJA_OK : DEJA_ERR_NOMEM, answer);
    dj_operation_destroy(operation);
}

static void start_lookup(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    enum deja_status status =
        dj_engine_lookup(deja->engine, deja->loop, &operation->fingerprint, &operation->lookup,
                         operation->vector, operation, on_found);
    if (status != DEJA_OK) {
        dj_operation_answer(operation, status, NULL);
        dj_operation_destroy(operation);
    }
}

static enum deja_status ask(struct deja *deja, const struct deja_query *query, uint32_t fallback_ms,
                            struct dj_waiter *waiter, const struct dj_operation *template)
{
    struct deja_query given;
    struct dj_operation *operation = NULL;
    enum deja_status status =
        dj_read_struct(query, query->struct_bytes, offsetof(struct deja_query, vector_model),
                       &given, sizeof given);
    if (status == DEJA_OK)
        status = dj_operation_create(deja, timeout_or(given.timeout_ms, fallback_ms), start_lookup,
                                     &operation);
    if (status != DEJA_OK)
        return status;
    operation->compute = template->compute;
    operation->compute_ctx = template->compute_ctx;
    operation->ctx = template->ctx;
    operation->on_answer = template->on_answer;
    operation->waiter = waiter;
    status = read_query(operation, &given);
    if (status == DEJA_OK && operation->compute)
        status = begin_entry(operation, given.name_space);
    return dj_operation_finish(operation, status);
}

enum deja_status deja_lookup_async(struct deja *deja, const struct deja_query *query, void *ctx,
                                   deja_answer_fn *done)
{
    const struct dj_operation template = {.ctx = ctx, .on_answer = done};
    return ask(deja, query, LOOKUP_TIMEOUT_MS, NULL, &template);
}

enum deja_status deja_get_or_compute_async(struct deja *deja, const struct deja_query *query,
                                           void *compute_ctx, deja_compute_fn *compute, void *ctx,
                                           deja_answer_fn *done)
{
    const struct dj_operation template = {
        .ctx = ctx, .on_answer = done, .compute = compute, .compute_ctx = compute_ctx};
    return ask(deja, query, COMPUTE_TIMEOUT_MS, NULL, &template);
}

static enum deja_status ask_and_wait(struct deja *deja, const struct deja_query *query,
                                     uint32_t fallback_ms, struct dj_operation *template,
                                     struct deja_answer **out_answer)
{
    struct dj_waiter waiter;
    enum deja_status status = dj_waiter_init(&waiter, deja);
    if (status != DEJA_OK)
        return status;
    template->ctx = &waiter;
    template->on_answer = dj_waiter_on_answer;
    status = dj_waiter_wait(&waiter, ask(deja, query, fallback_ms, &waiter, template));
    if (status == DEJA_OK)
        *out_answer = waiter.answer;
    return status;
}

enum deja_status deja_lookup(struct deja *deja, const struct deja_query *query,
                             struct deja_answer **out_answer)
{
    struct dj_operation template = {.ctx = NULL};
    return ask_and_wait(deja, query, LOOKUP_TIMEOUT_MS, &template, out_answer);
}

enum deja_status deja_get_or_compute(struct deja *deja, const struct deja_query *query,
                                     void *compute_ctx, deja_compute_fn *compute,
                                     struct deja_answer **out_answer)
{
    struct dj_operation template = {.compute = compute, .compute_ctx = compute_ctx};
    return ask_and_wait(deja, query, COMPUTE_TIMEOUT_MS, &template, out_answer);
}

/* ---- writing ---- */

static void end(struct dj_operation *operation, enum deja_status status, uint64_t count)
{
    dj_operation_done(operation, status, count);
    dj_operation_destroy(operation);
}

/* What a tier says when it cannot, in the caller's words. */
enum deja_status dj_tier_status(enum deja_status status)
{
    bool is_own =
        status == DEJA_ERR_NOMEM || status == DEJA_ERR_LIMIT || status == DEJA_ERR_CIRCUIT_OPEN;
    return status == DEJA_OK || is_own ? status : DEJA_ERR_CACHE_UNAVAILABLE;
}

static void on_put(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome)
{
    struct dj_operation *operation = ctx;
    if (status == DEJA_OK && outcome->is_stored) {
        atomic_fetch_add(&operation->deja->counters.puts, 1);
        dj_event_stored(operation->deja, operation, &operation->entry);
    }
    end(operation, dj_tier_status(status), outcome->is_stored ? 1 : 0);
}

static void start_put(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    struct dj_put_options options = {.is_semantic = operation->is_semantic,
                                     .vector = operation->vector};
    struct dj_fill fill;
    dj_entry_date(deja, &operation->entry, operation->ttl_ms);
    dj_engine_begin_fill(deja->engine, &operation->entry, &fill);
    enum deja_status status =
        dj_look_apply(deja, &operation->verdict, &operation->arena, &operation->entry, &options);
    if (status == DEJA_OK)
        status =
            dj_engine_put(deja->engine, deja->loop, &operation->entry, &options, operation, on_put);
    if (status != DEJA_OK)
        end(operation, status, 0);
}

enum deja_status deja_put_async(struct deja *deja, const struct deja_entry *entry, void *ctx,
                                deja_done_fn *done)
{
    struct deja_entry given;
    struct dj_operation *operation = NULL;
    enum deja_status status =
        dj_read_struct(entry, entry->struct_bytes, offsetof(struct deja_entry, vector_model),
                       &given, sizeof given);
    if (status == DEJA_OK)
        status = dj_operation_create(deja, timeout_or(given.timeout_ms, PUT_TIMEOUT_MS), start_put,
                                     &operation);
    if (status != DEJA_OK)
        return status;
    operation->ctx = ctx;
    operation->on_done = done;
    return dj_operation_finish(operation, read_entry(operation, &given));
}

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct dj_operation *operation = ctx;
    if (status == DEJA_OK) {
        atomic_fetch_add(&operation->deja->counters.removes, removed);
        dj_event_removed(operation, operation->fingerprint.text, removed);
    }
    end(operation, dj_tier_status(status), removed);
}

static void start_remove(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    const struct dj_store_key *key = &operation->fingerprint.key;
    dj_computation_detach(deja, key);
    enum deja_status status =
        dj_engine_remove(deja->engine, deja->loop, key, operation, on_removed);
    if (status != DEJA_OK)
        end(operation, status, 0);
}

enum deja_status deja_remove_async(struct deja *deja, const struct deja_query *query, void *ctx,
                                   deja_done_fn *done)
{
    struct deja_query given;
    struct dj_operation *operation = NULL;
    enum deja_status status =
        dj_read_struct(query, query->struct_bytes, offsetof(struct deja_query, vector_model),
                       &given, sizeof given);
    if (status == DEJA_OK)
        status = dj_operation_create(deja, timeout_or(given.timeout_ms, LOOKUP_TIMEOUT_MS),
                                     start_remove, &operation);
    if (status != DEJA_OK)
        return status;
    operation->ctx = ctx;
    operation->on_done = done;
    return dj_operation_finish(operation,
                               fingerprint(operation, given.tenant, given.name_space, given.text));
}

static void start_raise(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    const uint8_t *tenant = operation->fingerprint.key.tenant;
    dj_computation_detach_tenant(deja, tenant);
    enum deja_status status =
        operation->tag.len
            ? dj_engine_invalidate_tag(deja->engine, deja->loop, tenant, operation->tag, operation,
                                       on_removed)
            : dj_engine_clear(deja->engine, deja->loop, tenant, operation, on_removed);
    if (status != DEJA_OK)
        end(operation, status == DEJA_ERR_BUSY ? DEJA_ERR_RATE_LIMITED : status, 0);
}

/* tag empty: all. */
static enum deja_status raise_async(struct deja *deja, const uint8_t *tenant, struct deja_slice tag,
                                    uint32_t timeout_ms, void *ctx, deja_done_fn *done)
{
    struct dj_operation *operation = NULL;
    enum deja_status status = dj_operation_create(deja, timeout_or(timeout_ms, CLEAR_TIMEOUT_MS),
                                                  start_raise, &operation);
    if (status != DEJA_OK)
        return status;
    operation->ctx = ctx;
    operation->on_done = done;
    memcpy(operation->fingerprint.key.tenant, dj_tenant_of(deja, tenant), DEJA_TENANT_BYTES);
    return dj_operation_finish(
        operation, dj_operation_copy(operation, tag, DEJA_TAG_BYTES_MAX, &operation->tag));
}

enum deja_status deja_clear_async(struct deja *deja, const uint8_t *tenant, uint32_t timeout_ms,
                                  void *ctx, deja_done_fn *done)
{
    return raise_async(deja, tenant, deja_slice(NULL, 0), timeout_ms, ctx, done);
}

enum deja_status deja_invalidate_async(struct deja *deja, const uint8_t *tenant,
                                       struct deja_slice tag, uint32_t timeout_ms, void *ctx,
                                       deja_done_fn *done)
{
    if (tag.len == 0)
        return DEJA_ERR_INVALID;
    if (deja->is_store_foreign)
        return DEJA_ERR_FEATURE_DISABLED;
    return raise_async(deja, tenant, tag, timeout_ms, ctx, done);
}

/* ---- the blocking twins ---- */

enum deja_status dj_waiter_count(struct dj_waiter *waiter, enum deja_status submitted,
                                 uint64_t *out_count)
{
    enum deja_status status = dj_waiter_wait(waiter, submitted);
    if (status == DEJA_OK && out_count)
        *out_count = waiter->count;
    return status;
}

enum deja_status deja_put(struct deja *deja, const struct deja_entry *entry, uint64_t *out_count)
{
    struct dj_waiter waiter;
    enum deja_status status = dj_waiter_init(&waiter, deja);
    if (status != DEJA_OK)
        return status;
    status = deja_put_async(deja, entry, &waiter, dj_waiter_on_done);
    return dj_waiter_count(&waiter, status, out_count);
}

enum deja_status deja_remove(struct deja *deja, const struct deja_query *query, uint64_t *out_count)
{
    struct dj_waiter waiter;
    enum deja_status status = dj_waiter_init(&waiter, deja);
    if (status != DEJA_OK)
        return status;
    status = deja_remove_async(deja, query, &waiter, dj_waiter_on_done);
    return dj_waiter_count(&waiter, status, out_count);
}

enum deja_status deja_clear(struct deja *deja, const uint8_t *tenant, uint32_t timeout_ms,
                            uint64_t *out_count)
{
    struct dj_waiter waiter;
    enum deja_status status = dj_waiter_init(&waiter, deja);
    if (status != DEJA_OK)
        return status;
    status = deja_clear_async(deja, tenant, timeout_ms, &waiter, dj_waiter_on_done);
    return dj_waiter_count(&waiter, status, out_count);
}

enum deja_status deja_invalidate(struct deja *deja, const uint8_t *tenant, struct deja_slice tag,
                                 uint32_t timeout_ms, uint64_t *out_count)
{
    struct dj_waiter waiter;
    enum deja_status status = dj_waiter_init(&waiter, deja);
    if (status != DEJA_OK)
        return status;
    status = deja_invalidate_async(deja, tenant, tag, timeout_ms, &waiter, dj_waiter_on_done);
    return dj_waiter_count(&waiter, status, out_count);
}

/* ---- inspect ---- */

enum deja_status deja_stats(struct deja *deja, const uint8_t *tenant, struct deja_stats *out_stats)
{
    struct dj_counters *counters = &deja->counters;
    struct dj_engine_stats engine;
    size_t bytes = out_stats->struct_bytes;
    if (bytes < offsetof(struct deja_stats, vectors))
        return DEJA_ERR_INVALID;
    dj_engine_stats(deja->engine, tenant ? dj_tenant_of(deja, tenant) : NULL, &engine);
    struct deja_stats stats = {
        .struct_bytes = bytes,
        .lookups = atomic_load(&counters->lookups),
        .hits_exact = atomic_load(&counters->hits[DJ_HIT_EXACT]),
        .hits_normalized = atomic_load(&counters->hits[DJ_HIT_NORMALIZED]),
        .hits_semantic = atomic_load(&counters->hits[DJ_HIT_SEMANTIC]),
        .misses = atomic_load(&counters->hits[DJ_HIT_NONE]),
        .puts = atomic_load(&counters->puts),
        .removes = atomic_load(&counters->removes),
        .computations = atomic_load(&counters->computations),
        .joined = atomic_load(&counters->joined),
        .timeouts = atomic_load(&counters->timeouts),
        .failures = atomic_load(&counters->failures),
        .memory_entries = engine.memory.entries,
        .memory_bytes = engine.memory.bytes,
        .disk_entries = engine.has_lmdb ? engine.lmdb.entries : 0,
        .disk_bytes = engine.has_lmdb ? engine.lmdb.bytes : 0,
        .vectors = engine.vectors,
    };
    pthread_mutex_lock(&deja->mutex);
    stats.operations = deja->counted;
    pthread_mutex_unlock(&deja->mutex);
    memcpy(out_stats, &stats, bytes < sizeof stats ? bytes : sizeof stats);
    return DEJA_OK;
}

const char *deja_embedder_id(const struct deja *deja)
{
    const struct dj_embedder *embedder = dj_engine_embedder(deja->engine);
    return embedder ? embedder->id : "";
}
