/* store/guarded_call.c - one call of a guarded store; see guarded.h.
 *
 * (1) A call owns copies of all it was asked, for it may wait in the bulkhead and be tried again,
 *     and the inner store may answer after the caller was told.
 * (2) What comes for an attempt nobody waits for is given back: entries unreferenced, pages and
 *     matches not copied out.
 */
#include <assert.h>

#include "base/alloc.h"
#include "store/guarded_internal.h"

static const char *const operations[] = {
    [OP_GET] = "get",   [OP_PUT] = "set",      [OP_REMOVE] = "delete", [OP_CLEAR] = "clear",
    [OP_LIST] = "list", [OP_PROBE] = "health", [OP_SEARCH] = "search", [OP_RAISE] = "raise",
    [OP_PULL] = "pull", [OP_LOCK] = "lock",    [OP_UNLOCK] = "unlock", [OP_EVICT] = "evict",
};

static struct op *op_of(const struct dj_sentry_attempt *attempt)
{
    return (struct op *)(void *)attempt->call; /* first member */
}

void guarded_op_unref(struct op *op)
{
    if (--op->refs)
        return;
    struct guarded *guarded = op->owner;
    dj_value_unref(op->value);
    dj_free(op->matches);
    dj_free(op);
    guarded_unref(guarded);
}

/* ---- what the inner store answers ---- */

static void on_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct dj_sentry_attempt *attempt = ctx;
    struct op *op = op_of(attempt);
    const struct dj_guarded_events *events = op->owner->events;
    if (dj_sentry_is_wanted(attempt)) {
        op->value = value;
    } else { /* (2) */
        if (value && op->kind == OP_GET && events && events->late)
            events->late(op->owner->ctx, op->loop, value);
        dj_value_unref(value);
    }
    dj_sentry_end(attempt, status);
}

static void free_page(struct dj_store_page *page)
{
    for (uint32_t i = 0; i < page->count && i < DJ_STORE_PAGE_MAX; i++)
        dj_value_unref(page->values[i]);
    page->count = 0;
}

static void on_done(void *ctx, enum deja_status status, uint64_t removed)
{
    struct dj_sentry_attempt *attempt = ctx;
    struct op *op = op_of(attempt);
    bool is_wanted = dj_sentry_is_wanted(attempt);
    if (is_wanted)
        op->result = removed;
    if (op->kind == OP_LIST && is_wanted && status == DEJA_OK)
        *op->page = *op->own_page;
    else if (op->kind == OP_LIST && status == DEJA_OK)
        free_page(op->own_page);
    dj_sentry_end(attempt, status);
}

static void on_searched(void *ctx, enum deja_status status, const struct dj_store_match *matches,
                        uint32_t count)
{
    struct dj_sentry_attempt *attempt = ctx;
    struct op *op = op_of(attempt);
    if (status == DEJA_OK && count && dj_sentry_is_wanted(attempt)) {
        assert(count <= DJ_STORE_MATCHES_MAX);
        op->matches = dj_alloc(sizeof *matches * count);
        op->match_count = op->matches ? count : 0;
        if (op->matches)
            memcpy(op->matches, matches, sizeof *matches * count);
        else
            status = DEJA_ERR_NOMEM;
    }
    dj_sentry_end(attempt, status);
}

static void on_number(void *ctx, enum deja_status status, uint64_t number)
{
    struct dj_sentry_attempt *attempt = ctx;
    if (dj_sentry_is_wanted(attempt))
        op_of(attempt)->result = number;
    dj_sentry_end(attempt, status);
}

static void on_each(void *ctx, const struct dj_store_generation *counter)
{
    struct dj_sentry_attempt *attempt = ctx;
    struct op *op = op_of(attempt);
    if (dj_sentry_is_wanted(attempt))
        op->each(op->ctx, counter);
}

static void on_locked(void *ctx, enum deja_status status, bool is_held)
{
    struct dj_sentry_attempt *attempt = ctx;
    if (dj_sentry_is_wanted(attempt))
        op_of(attempt)->is_held = is_held;
    dj_sentry_end(attempt, status);
}

/* ---- asking it ---- */

static enum deja_status ask_search(struct op *op, struct dj_sentry_attempt *attempt)
{
    struct dj_store_search search = {.scope = op->scope,
                                     .embedder_id = op->text,
                                     .vector = op->vector,
                                     .dim = op->dim,
                                     .limit = op->limit,
                                     .threshold = op->threshold};
    memcpy(search.tenant, op->key.tenant, sizeof search.tenant);
    struct dj_store *inner = op->owner->inner;
    return inner->ops->search(inner, op->loop, &search, attempt, on_searched);
}

static enum deja_status on_start(struct dj_sentry_call *call, struct dj_sentry_attempt *attempt)
{
    struct op *op = (struct op *)(void *)call;
    struct dj_store *inner = op->owner->inner;
    const struct dj_store_ops *ops = inner->ops;
    const uint8_t *tenant = op->key.tenant;
    switch (op->kind) {
    case OP_GET:
        return ops->get(inner, op->loop, &op->key, attempt, on_got);
    case OP_PUT:
        return ops->put(inner, op->loop, op->value, op->vector, op->dim, attempt, on_done);
    case OP_REMOVE:
        return ops->remove(inner, op->loop, &op->key, op->number, attempt, on_done);
    case OP_CLEAR:
        return ops->clear(inner, op->loop, tenant, attempt, on_done);
    case OP_LIST:
        *op->own_page = *op->page;
        return ops->list(inner, op->loop, tenant, op->own_page, attempt, on_done);
    case OP_PROBE:
        if (!ops->probe)
            return ops->get(inner, op->loop, &op->key, attempt, on_got);
        return ops->probe(inner, op->loop, attempt, on_got);
    case OP_SEARCH:
        return ask_search(op, attempt);
    case OP_RAISE:
        return ops->raise(inner, op->loop, tenant, op->text, attempt, on_number);
    case OP_PULL:
        return ops->pull(inner, op->loop, op->number, attempt, on_each, on_number);
    case OP_LOCK:
        return ops->lock(inner, op->loop, &op->key, op->token, op->lease_ms, attempt, on_locked);
    case OP_UNLOCK:
        return ops->unlock(inner, op->loop, &op->key, op->token, attempt, on_done);
    case OP_EVICT:
        return ops->evict(inner, op->loop, op->has_tenant ? tenant : NULL, op->number, attempt,
                          on_done);
    }
    return DEJA_ERR_UNSUPPORTED;
}

/* ---- telling ---- */

static bool is_write(const struct op *op)
{
    return op->kind == OP_PUT || op->kind == OP_REMOVE || op->kind == OP_CLEAR ||
           op->kind == OP_RAISE;
}

static void tell(struct op *op, enum deja_status status)
{
    bool is_ok = status == DEJA_OK;
    struct dj_value *value = op->value;
    if (op->record) {
        op->told.replayed(op, status);
        return;
    }
    switch (op->kind) {
    case OP_GET:
    case OP_PROBE:
        op->value = NULL;
        if (!is_ok) {
            dj_value_unref(value);
            value = NULL;
        }
        op->told.got(op->ctx, status, value);
        break;
    case OP_SEARCH:
        op->told.searched(op->ctx, status, op->matches, is_ok ? op->match_count : 0);
        break;
    case OP_RAISE:
        op->told.raised(op->ctx, status, op->result);
        break;
    case OP_PULL:
        op->told.pulled(op->ctx, status, op->result);
        break;
    case OP_LOCK:
        op->told.locked(op->ctx, status, is_ok && op->is_held);
        break;
    case OP_PUT:
    case OP_REMOVE:
    case OP_CLEAR:
    case OP_LIST:
    case OP_UNLOCK:
    case OP_EVICT:
        op->told.done(op->ctx, status, is_ok ? op->result : 0);
        break;
    }
}

static void on_over(struct dj_sentry_call *call, enum deja_status status)
{
    struct op *op = (struct op *)(void *)call;
    bool is_missed = status == DEJA_ERR_CIRCUIT_OPEN || dj_sentry_is_failure(status);
    if (is_missed && is_write(op) && !op->record)
        guarded_keep(op->owner, op);
    tell(op, status);
    guarded_op_unref(op);
}

static void on_release(struct dj_sentry_call *call)
{
    guarded_op_unref((struct op *)(void *)call);
}

static void on_answer(void *ctx)
{
    struct op *op = ctx;
    tell(op, op->status);
    guarded_op_unref(op);
}

void guarded_op_answer(struct op *op, enum deja_status status)
{
    op->status = status;
    op->task = (struct dj_task){.run = on_answer, .ctx = op};
    dj_loop_post(op->loop, &op->task);
}

void guarded_op_run(struct op *op)
{
    op->refs++;
    enum deja_status status = dj_sentry_run(op->owner->sentry, op->loop, &op->call);
    if (status == DEJA_OK)
        return;
    bool is_missed = status == DEJA_ERR_CIRCUIT_OPEN || dj_sentry_is_failure(status);
    if (is_missed && is_write(op) && !op->record)
        guarded_keep(op->owner, op);
    guarded_op_answer(op, status);
}

/* ---- making one ---- */

static uint32_t deadline_of(const struct guarded *guarded, enum op_kind kind)
{
    switch (kind) {
    case OP_PUT:
    case OP_RAISE:
    case OP_LIST:
        return atomic_load(&guarded->put_ms);
    case OP_REMOVE:
    case OP_UNLOCK:
        return atomic_load(&guarded->remove_ms);
    case OP_PROBE:
        return atomic_load(&guarded->health_ms);
    case OP_CLEAR:
    case OP_EVICT:
        return atomic_load(&guarded->long_ms);
    case OP_GET:
    case OP_SEARCH:
    case OP_PULL:
    case OP_LOCK:
        break;
    }
    return atomic_load(&guarded->get_ms);
}

struct op *guarded_op_create(struct guarded *guarded, struct dj_loop *loop, enum op_kind kind,
                             size_t extra, void **out_extra)
{
    static const struct dj_sentry_work work = {
        .start = on_start, .done = on_over, .release = on_release};
    struct op *op = dj_alloc(sizeof *op + extra);
    if (!op)
        return NULL;
    memset(op, 0, sizeof *op);
    op->call.work = &work;
    op->call.operation = operations[kind];
    op->call.deadline_ms = deadline_of(guarded, kind);
    op->call.is_long = kind == OP_CLEAR || kind == OP_EVICT;
    op->call.attempt_ms = op->call.is_long ? 0 : atomic_load(&guarded->attempt_ms);
    op->call.is_once = kind == OP_LIST || kind == OP_PULL || kind == OP_LOCK || kind == OP_EVICT;
    op->owner = guarded;
    op->loop = loop;
    op->kind = kind;
    op->refs = 1;
    guarded_ref(guarded);
    if (out_extra)
        *out_extra = op + 1;
    return op;
}
