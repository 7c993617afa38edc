/* lib/compute.c - get or compute: one computation per key, everybody else waits for it.
 *
 *   miss --nobody computes--> RUNNING --function returns--> LANDED --tiers have it--> (freed)
 *     `---somebody does-----> waits on it ------------------> told
 *
 * (1) All but dj_computation_run happens on the loop, so finding, joining and landing have one
 *     order; the function itself runs in the caller's thread or on the pool.
 * (2) A landed computation stays findable until the tiers have its answer: who missed before it was
 *     stored and comes here after is told, not made to compute again.
 * (3) remove, clear and invalidate detach: who asks after them computes anew. The fill's version
 * and generations are those of the beginning, so what they outrun is not stored either (I10). (4)
 * The first caller owns the function and its ctx, so it is not told before the function has
 *     returned, timeout or not.
 */
#include <assert.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "lib/lib_internal.h"
#include "security/user.h"

struct deja_made {
    struct deja *deja;
    struct dj_arena arena; /* tags, model, metadata */
    struct dj_buf body;
    struct dj_entry entry;
    uint64_t ttl_ms;
    bool is_kept_out;
    bool is_nothing;
    struct dj_sensitive_verdict verdict;
    enum deja_status status; /* what did not fit */
};

struct dj_computation {
    struct deja *deja;
    struct dj_store_key key;
    struct dj_list mapped; /* in computations_mapped while findable */
    bool is_mapped;
    struct dj_operation *first; /* until landed */
    struct dj_list waiters;     /* dj_operation.waiting */
    uint32_t waiter_count;
    struct deja_made made;
    enum deja_status status; /* of the function */
    struct dj_value *value;  /* landed; owned */
    struct dj_job job;
    struct dj_task task;
    struct dj_list running; /* in computes */
    pthread_t thread;
};

static struct deja_slice key_slice(const struct dj_store_key *key)
{
    return deja_slice(key, sizeof *key);
}

/* ---- being findable ---- */

static enum deja_status map(struct dj_computation *computation)
{
    struct deja *deja = computation->deja;
    enum deja_status status =
        dj_map_put(deja->computations, key_slice(&computation->key), computation, NULL);
    if (status != DEJA_OK)
        return status;
    dj_list_push_back(&deja->computations_mapped, &computation->mapped);
    computation->is_mapped = true;
    return DEJA_OK;
}

static void unmap(struct dj_computation *computation)
{
    if (!computation->is_mapped)
        return;
    dj_map_remove(computation->deja->computations, key_slice(&computation->key));
    dj_list_remove(&computation->mapped);
    computation->is_mapped = false;
}

void dj_computation_detach(struct deja *deja, const struct dj_store_key *key)
{
    struct dj_computation *computation = dj_map_find(deja->computations, key_slice(key));
    if (computation)
        unmap(computation);
}

void dj_computation_detach_tenant(struct deja *deja, const uint8_t tenant[DJ_TENANT_BYTES])
{
    struct dj_list *next = NULL;
    for (struct dj_list *at = deja->computations_mapped.next; at != &deja->computations_mapped;
         at = next) {
        struct dj_computation *computation = DJ_CONTAINER(at, struct dj_computation, mapped);
        next = at->next;
        if (memcmp(computation->key.tenant, tenant, DJ_TENANT_BYTES) == 0)
            unmap(computation);
    }
}

/* ---- life ---- */

static void destroy(struct dj_computation *computation)
{
    unmap(computation);
    dj_value_unref(computation->value);
    dj_sensitive_fini(&computation->made.verdict);
    dj_buf_fini(&computation->made.body);
    dj_arena_fini(&computation->made.arena);
    dj_free(computation);
}

static struct dj_computation *create(struct dj_operation *first)
{
    struct deja *deja = first->deja;
    struct dj_fill fill;
    struct dj_computation *computation = dj_alloc_zeroed(1, sizeof *computation);
    if (!computation)
        return NULL;
    computation->deja = deja;
    computation->first = first;
    computation->key = first->fingerprint.key;
    dj_list_init(&computation->mapped);
    dj_list_init(&computation->waiters);
    dj_list_init(&computation->running);
    computation->made.deja = deja;
    computation->made.entry = first->entry;
    computation->made.ttl_ms = first->ttl_ms;
    dj_buf_init(&computation->made.body, DEJA_BODY_BYTES_MAX);
    dj_engine_begin_fill(deja->engine, &computation->made.entry, &fill);
    return computation;
}

/* ---- landing ---- */

static void tell(struct dj_computation *computation, struct dj_operation *operation,
                 enum deja_outcome outcome)
{
    enum deja_status status = computation->status;
    struct deja_answer *answer = NULL;
    if (status == DEJA_OK) {
        answer = dj_answer_create(outcome, computation->value, 1, "computed");
        status = answer ? DEJA_OK : DEJA_ERR_NOMEM;
    }
    if (outcome == DEJA_JOINED && status == DEJA_OK)
        atomic_fetch_add(&computation->deja->counters.joined, 1);
    dj_operation_answer(operation, status, answer);
    dj_operation_destroy(operation);
}

static void on_stored(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome)
{
    struct dj_computation *computation = ctx;
    if (status == DEJA_OK && outcome->is_stored) {
        atomic_fetch_add(&computation->deja->counters.puts, 1);
        dj_event_stored(computation->deja, NULL, &computation->made.entry);
    }
    destroy(computation); /* not stored: those who wait have it all the same (I4) */
}

/* An entry that says so, for at most as long as the cache's options let it. */
static void make_nothing(struct deja_made *made)
{
    uint64_t ttl_ms = made->deja->options.nothing_ttl_ms;
    made->entry.kind = DJ_ENTRY_NEGATIVE;
    made->entry.body = deja_slice(NULL, 0);
    made->is_kept_out = made->is_kept_out || ttl_ms == 0;
    if (!made->ttl_ms || made->ttl_ms > ttl_ms)
        made->ttl_ms = ttl_ms;
}

/* The answer as it will be served, and the store told of it; false: nothing will call back. */
static bool keep(struct dj_computation *computation, struct dj_operation *first)
{
    struct deja *deja = computation->deja;
    struct deja_made *made = &computation->made;
    if (computation->status == DEJA_OK)
        computation->status = made->body.status != DEJA_OK ? made->body.status : made->status;
    if (computation->status != DEJA_OK)
        return false;
    if (made->is_nothing)
        make_nothing(made);
    dj_entry_date(deja, &made->entry, made->ttl_ms);
    computation->status = dj_value_create(&made->entry, &computation->value);
    if (computation->status != DEJA_OK || made->is_kept_out)
        return false;
    struct dj_put_options options = {.is_semantic = first->is_semantic && !made->is_nothing,
                                     .vector = first->vector,
                                     .skip =
                                         dj_kind_skip(dj_kind_of(deja->kind_table, &made->entry)),
                                     .as_of = made->entry.version};
    return dj_look_apply(deja, &made->verdict, &made->arena, &made->entry, &options) == DEJA_OK &&
           dj_engine_put(deja->engine, deja->loop, &made->entry, &options, computation,
                         on_stored) == DEJA_OK;
}

static void on_computed(void *ctx)
{
    struct dj_computation *computation = ctx;
    struct dj_operation *first = computation->first;
    struct dj_list told;
    bool is_being_stored = keep(computation, first);
    computation->first = NULL;
    if (!is_being_stored)
        unmap(computation);
    dj_list_init(&told);
    while (!dj_list_is_empty(&computation->waiters)) {
        struct dj_list *node = computation->waiters.next;
        dj_list_remove(node);
        dj_list_push_back(&told, node);
    }
    tell(computation, first, DEJA_COMPUTED);
    while (!dj_list_is_empty(&told)) {
        struct dj_list *node = told.next;
        dj_list_remove(node);
        tell(computation, DJ_CONTAINER(node, struct dj_operation, waiting), DEJA_JOINED);
    }
    if (!is_being_stored)
        destroy(computation);
}

/* ---- computing ---- */

static void look_at(struct deja_made *made)
{
    made->entry.body = dj_buf_slice(&made->body);
    if (dj_look(made->deja, &made->entry, &made->verdict) != DEJA_OK)
        made->is_kept_out = true;
}

void dj_computation_run(struct dj_computation *computation)
{
    struct deja *deja = computation->deja;
    struct dj_operation *first = computation->first;
    computation->thread = pthread_self();
    pthread_mutex_lock(&deja->mutex);
    dj_list_push_back(&deja->computes, &computation->running);
    pthread_mutex_unlock(&deja->mutex);
    enum deja_status status = first->compute(first->compute_ctx, &computation->made);
    pthread_mutex_lock(&deja->mutex);
    dj_list_remove(&computation->running);
    pthread_mutex_unlock(&deja->mutex);
    computation->status = status > DEJA_OK ? DEJA_ERR_INVALID : status;
    look_at(&computation->made);
    atomic_fetch_add(&deja->counters.computations, 1);
    computation->task = (struct dj_task){.run = on_computed, .ctx = computation};
    dj_loop_post(deja->loop, &computation->task);
}

bool dj_computation_is_here(const struct deja *deja)
{
    for (struct dj_list *at = deja->computes.next; at != &deja->computes; at = at->next) {
        struct dj_computation *computation = DJ_CONTAINER(at, struct dj_computation, running);
        if (pthread_equal(computation->thread, pthread_self()))
            return true;
    }
    return false;
}

static void run_on_pool(void *ctx)
{
    dj_computation_run(ctx);
}

static void fail(struct dj_operation *operation, enum deja_status status)
{
    dj_operation_answer(operation, status, NULL);
    dj_operation_destroy(operation);
}

static void on_wait_expired(struct dj_operation *operation)
{
    dj_list_remove(&operation->waiting);
    operation->computation->waiter_count--;
    dj_operation_destroy(operation);
}

static void join(struct dj_computation *computation, struct dj_operation *operation)
{
    if (!computation->first) { /* landed (2) */
        tell(computation, operation, DEJA_JOINED);
        return;
    }
    if (computation->waiter_count >= computation->deja->options.waiters_max) {
        fail(operation, DEJA_ERR_RATE_LIMITED);
        return;
    }
    operation->computation = computation;
    operation->expired = on_wait_expired;
    dj_list_push_back(&computation->waiters, &operation->waiting);
    computation->waiter_count++;
}

/* What landed and was stored between this call's miss and now. */
static bool answer_from_memory(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    struct dj_value *value = dj_engine_find(deja->engine, deja->loop, &operation->fingerprint.key,
                                            operation->lookup.max_age_ms);
    if (!value)
        return false;
    bool is_exact = dj_engine_hit_kind(value, operation->fingerprint.exact) == DJ_HIT_EXACT;
    struct deja_answer *answer =
        dj_answer_create(is_exact ? DEJA_HIT_EXACT : DEJA_HIT_NORMALIZED, value, 1, "memory");
    dj_value_unref(value);
    dj_operation_answer(operation, answer ? DEJA_OK : DEJA_ERR_NOMEM, answer);
    dj_operation_destroy(operation);
    return true;
}

void dj_computation_enter(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    struct dj_computation *computation =
        dj_map_find(deja->computations, key_slice(&operation->fingerprint.key));
    if (operation->is_answered) { /* timed out while it looked */
        dj_operation_destroy(operation);
        return;
    }
    if (computation) {
        join(computation, operation);
        return;
    }
    if (answer_from_memory(operation))
        return;
    computation = create(operation);
    if (!computation || map(computation) != DEJA_OK) {
        if (computation)
            destroy(computation);
        fail(operation, DEJA_ERR_NOMEM);
        return;
    }
    dj_operation_stop_timer(operation); /* (4) */
    if (operation->waiter) {
        dj_waiter_compute(operation->waiter, computation);
        return;
    }
    computation->job = (struct dj_job){.work = run_on_pool, .ctx = computation};
    if (dj_pool_submit(deja->computing, &computation->job) != DEJA_OK) {
        destroy(computation);
        fail(operation, DEJA_ERR_RATE_LIMITED);
    }
}

/* ---- for the function ---- */

void deja_made_append(struct deja_made *made, struct deja_slice bytes)
{
    dj_buf_append_slice(&made->body, bytes);
}

void deja_made_set_ttl(struct deja_made *made, uint64_t ttl_ms)
{
    made->ttl_ms = ttl_ms;
}

static void set(struct deja_made *made, struct deja_slice bytes, size_t len_max,
                struct deja_slice *out_slice)
{
    struct deja_slice copy = dj_arena_copy(&made->arena, bytes);
    if (bytes.len > len_max)
        made->status = DEJA_ERR_LIMIT;
    else if (bytes.len && !copy.data)
        made->status = DEJA_ERR_NOMEM;
    else
        *out_slice = copy;
}

void deja_made_set_model(struct deja_made *made, struct deja_slice model)
{
    set(made, model, DJ_MODEL_BYTES_MAX, &made->entry.model);
}

void deja_made_set_metadata(struct deja_made *made, struct deja_slice metadata)
{
    set(made, metadata, DJ_METADATA_BYTES_MAX, &made->entry.metadata);
}

void deja_made_add_tag(struct deja_made *made, struct deja_slice tag)
{
    struct dj_fill unused;
    struct dj_entry noted = {.tag_count = 1};
    struct dj_entry *entry = &made->entry;
    if (entry->tag_count == DEJA_TAGS_MAX || tag.len == 0 || tag.data[0] == 0 ||
        dj_tag_is_internal(tag)) {
        made->status = DEJA_ERR_LIMIT;
        return;
    }
    set(made, tag, DEJA_TAG_BYTES_MAX, &noted.tags[0].name);
    if (!noted.tags[0].name.len)
        return;
    memcpy(noted.tenant, entry->tenant, sizeof noted.tenant);
    dj_engine_begin_fill(made->deja->engine, &noted, &unused); /* for the tag's generation */
    entry->tags[entry->tag_count++] = noted.tags[0];
}

void deja_made_keep_out(struct deja_made *made)
{
    made->is_kept_out = true;
}

void deja_made_set_nothing(struct deja_made *made)
{
    made->is_nothing = true;
}
