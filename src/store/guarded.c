/* store/guarded.c - the table around another store, opening and ending; see guarded.h. */
#include "store/guarded.h"

#include <assert.h>

#include "base/alloc.h"
#include "store/guarded_internal.h"

struct dj_guarded_options dj_guarded_options_of(bool is_low_latency)
{
    return (struct dj_guarded_options){
        .sentry = dj_sentry_options_of(is_low_latency),
        .get_ms = is_low_latency ? 500 : 1000,
        .put_ms = is_low_latency ? 1000 : 2000,
        .remove_ms = 1000,
        .health_ms = 5000,
        .long_ms = 30000,
        .probe_ms = is_low_latency ? 5000 : 30000,
        .journal = {.records_max = 50000, .bytes_max = 64u << 20},
    };
}

const char *dj_tier_state_text(enum dj_tier_state state)
{
    static const char *const texts[] = {"up", "behind", "down", "lost"};
    return texts[state];
}

void guarded_ref(struct guarded *guarded)
{
    atomic_fetch_add(&guarded->refs, 1);
}

void guarded_unref(struct guarded *guarded)
{
    if (atomic_fetch_sub(&guarded->refs, 1) != 1)
        return;
    dj_journal_destroy(guarded->journal);
    pthread_mutex_destroy(&guarded->mutex);
    dj_free(guarded);
}

/* ---- reads: while the store is behind they are misses ---- */

static enum deja_status start_read(struct op *op)
{
    struct guarded *guarded = op->owner;
    if (atomic_load(&guarded->is_behind)) {
        atomic_fetch_add_explicit(&guarded->missed_reads, 1, memory_order_relaxed);
        guarded_op_answer(op, DEJA_ERR_CIRCUIT_OPEN);
    } else {
        guarded_op_run(op);
    }
    return DEJA_OK;
}

static enum deja_status guarded_get(struct dj_store *store, struct dj_loop *loop,
                                    const struct dj_store_key *key, void *ctx, dj_store_got_fn *got)
{
    struct op *op = guarded_op_create((struct guarded *)store, loop, OP_GET, 0, NULL);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->key = *key;
    op->ctx = ctx;
    op->told.got = got;
    return start_read(op);
}

static enum deja_status guarded_list(struct dj_store *store, struct dj_loop *loop,
                                     const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                                     void *ctx, dj_store_done_fn *done)
{
    void *memory;
    struct op *op =
        guarded_op_create((struct guarded *)store, loop, OP_LIST, sizeof *page, &memory);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->own_page = memory;
    memcpy(op->key.tenant, tenant, DJ_ID_BYTES);
    op->page = page;
    op->ctx = ctx;
    op->told.done = done;
    return start_read(op);
}

static enum deja_status guarded_search(struct dj_store *store, struct dj_loop *loop,
                                       const struct dj_store_search *search, void *ctx,
                                       dj_store_searched_fn *searched)
{
    size_t vector_bytes = sizeof(float) * search->dim;
    size_t extra = vector_bytes + DJ_ID_BYTES + search->embedder_id.len;
    void *memory;
    struct op *op = guarded_op_create((struct guarded *)store, loop, OP_SEARCH, extra, &memory);
    if (!op)
        return DEJA_ERR_NOMEM;
    uint8_t *at = memory;
    memcpy(at, search->vector, vector_bytes);
    op->vector = memory;
    op->dim = search->dim;
    at += vector_bytes;
    if (search->scope)
        op->scope = memcpy(at, search->scope, DJ_ID_BYTES);
    at += DJ_ID_BYTES;
    if (search->embedder_id.len)
        memcpy(at, search->embedder_id.data, search->embedder_id.len);
    op->text = deja_slice(at, search->embedder_id.len);
    memcpy(op->key.tenant, search->tenant, DJ_ID_BYTES);
    op->limit = search->limit;
    op->threshold = search->threshold;
    op->ctx = ctx;
    op->told.searched = searched;
    return start_read(op);
}

static enum deja_status guarded_pull(struct dj_store *store, struct dj_loop *loop, uint64_t since,
                                     void *ctx, dj_store_generation_fn *each,
                                     dj_store_pulled_fn *pulled)
{
    struct op *op = guarded_op_create((struct guarded *)store, loop, OP_PULL, 0, NULL);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->number = since;
    op->each = each;
    op->ctx = ctx;
    op->told.pulled = pulled;
    return start_read(op);
}

static enum deja_status guarded_probe(struct dj_store *store, struct dj_loop *loop, void *ctx,
                                      dj_store_got_fn *got)
{
    struct op *op = guarded_op_create((struct guarded *)store, loop, OP_PROBE, 0, NULL);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->ctx = ctx;
    op->told.got = got;
    guarded_op_run(op);
    return DEJA_OK;
}

/* ---- locks: not while it is down, whatever it missed ---- */

static enum deja_status guarded_lock(struct dj_store *store, struct dj_loop *loop,
                                     const struct dj_store_key *key, const uint8_t token[16],
                                     uint32_t lease_ms, void *ctx, dj_store_locked_fn *locked)
{
    struct op *op = guarded_op_create((struct guarded *)store, loop, OP_LOCK, 0, NULL);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->key = *key;
    op->lease_ms = lease_ms;
    memcpy(op->token, token, sizeof op->token);
    op->ctx = ctx;
    op->told.locked = locked;
    guarded_op_run(op);
    return DEJA_OK;
}

static enum deja_status guarded_unlock(struct dj_store *store, struct dj_loop *loop,
                                       const struct dj_store_key *key, const uint8_t token[16],
                                       void *ctx, dj_store_done_fn *done)
{
    struct op *op = guarded_op_create((struct guarded *)store, loop, OP_UNLOCK, 0, NULL);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->key = *key;
    memcpy(op->token, token, sizeof op->token);
    op->ctx = ctx;
    op->told.done = done;
    guarded_op_run(op);
    return DEJA_OK;
}

/* ---- writes: kept while the store is down or behind ---- */

static enum deja_status start_write(struct op *op)
{
    if (guarded_keep_behind(op->owner, op))
        guarded_op_answer(op, DEJA_ERR_CIRCUIT_OPEN);
    else
        guarded_op_run(op);
    return DEJA_OK;
}

static enum deja_status guarded_put(struct dj_store *store, struct dj_loop *loop,
                                    struct dj_value *value, const float *vector, uint32_t dim,
                                    void *ctx, dj_store_done_fn *done)
{
    void *memory;
    size_t bytes = vector ? sizeof *vector * dim : 0;
    struct op *op = guarded_op_create((struct guarded *)store, loop, OP_PUT, bytes, &memory);
    if (!op)
        return DEJA_ERR_NOMEM;
    if (bytes) {
        op->vector = memcpy(memory, vector, bytes);
        op->dim = dim;
    }
    const struct dj_entry *entry = dj_value_entry(value);
    memcpy(op->key.tenant, entry->tenant, DJ_ID_BYTES);
    memcpy(op->key.id, entry->id, DJ_ID_BYTES);
    op->value = dj_value_ref(value);
    op->ctx = ctx;
    op->told.done = done;
    return start_write(op);
}

static enum deja_status guarded_remove(struct dj_store *store, struct dj_loop *loop,
                                       const struct dj_store_key *key, uint64_t version_max,
                                       void *ctx, dj_store_done_fn *done)
{
    struct op *op = guarded_op_create((struct guarded *)store, loop, OP_REMOVE, 0, NULL);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->key = *key;
    op->number = version_max;
    op->ctx = ctx;
    op->told.done = done;
    return start_write(op);
}

static enum deja_status guarded_clear(struct dj_store *store, struct dj_loop *loop,
                                      const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                                      dj_store_done_fn *done)
{
    struct op *op = guarded_op_create((struct guarded *)store, loop, OP_CLEAR, 0, NULL);
    if (!op)
        return DEJA_ERR_NOMEM;
    memcpy(op->key.tenant, tenant, DJ_ID_BYTES);
    op->ctx = ctx;
    op->told.done = done;
    return start_write(op);
}

static enum deja_status guarded_raise(struct dj_store *store, struct dj_loop *loop,
                                      const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                      void *ctx, dj_store_raised_fn *raised)
{
    void *memory;
    struct op *op = guarded_op_create((struct guarded *)store, loop, OP_RAISE, tag.len, &memory);
    if (!op)
        return DEJA_ERR_NOMEM;
    if (tag.len)
        memcpy(memory, tag.data, tag.len);
    op->text = deja_slice(memory, tag.len);
    memcpy(op->key.tenant, tenant, DJ_ID_BYTES);
    op->ctx = ctx;
    op->told.raised = raised;
    return start_write(op);
}

static enum deja_status guarded_evict(struct dj_store *store, struct dj_loop *loop,
                                      const uint8_t *tenant, uint64_t bytes, void *ctx,
                                      dj_store_done_fn *done)
{
    struct op *op = guarded_op_create((struct guarded *)store, loop, OP_EVICT, 0, NULL);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->has_tenant = tenant != NULL;
    if (tenant)
        memcpy(op->key.tenant, tenant, DJ_ID_BYTES);
    op->number = bytes;
    op->ctx = ctx;
    op->told.done = done;
    guarded_op_run(op);
    return DEJA_OK;
}

/* ---- what needs no guard, for it is on a worker or is only looked at ---- */

static void guarded_stats(struct dj_store *store, const uint8_t *tenant,
                          struct dj_store_stats *out_stats)
{
    struct guarded *guarded = (struct guarded *)store;
    guarded->inner->ops->stats(guarded->inner, tenant, out_stats);
    if (tenant)
        return;
    struct dj_journal_figures figures;
    pthread_mutex_lock(&guarded->mutex);
    dj_journal_look(guarded->journal, &figures);
    pthread_mutex_unlock(&guarded->mutex);
    out_stats->queued += figures.records;
    out_stats->dropped += figures.puts_dropped;
}

static enum deja_status guarded_scan_vectors(struct dj_store *store, void *ctx,
                                             dj_store_vector_fn *each)
{
    struct guarded *guarded = (struct guarded *)store;
    return guarded->inner->ops->scan_vectors(guarded->inner, ctx, each);
}

static enum deja_status guarded_keep_access(struct dj_store *store,
                                            const struct dj_store_access *rows, size_t count)
{
    struct guarded *guarded = (struct guarded *)store;
    if (dj_sentry_is_open(guarded->sentry))
        return DEJA_ERR_CIRCUIT_OPEN;
    return guarded->inner->ops->keep_access(guarded->inner, rows, count);
}

static enum deja_status guarded_scan_access(struct dj_store *store, void *ctx,
                                            dj_store_access_fn *each)
{
    struct guarded *guarded = (struct guarded *)store;
    return guarded->inner->ops->scan_access(guarded->inner, ctx, each);
}

static void guarded_tenants(struct dj_store *store, void *ctx, dj_store_tenant_fn *each)
{
    struct guarded *guarded = (struct guarded *)store;
    guarded->inner->ops->tenants(guarded->inner, ctx, each);
}

/* ---- opening and ending ---- */

static void guarded_leave(struct dj_store *store, struct dj_loop *loop)
{
    struct guarded *guarded = (struct guarded *)store;
    guarded->inner->ops->leave(guarded->inner, loop);
}

static void guarded_close(struct dj_store *store)
{
    struct guarded *guarded = (struct guarded *)store;
    struct dj_journal_figures missed;
    dj_journal_look(guarded->journal, &missed);
    if (missed.records && guarded->events && guarded->events->left_behind)
        guarded->events->left_behind(guarded->ctx, guarded->ops.level, missed.puts, missed.removes);
    dj_timer_destroy(guarded->timer);
    guarded->timer = NULL;
    guarded->events = NULL;             /* late answers come when the loops are destroyed */
    dj_sentry_destroy(guarded->sentry); /* first: nothing new is asked of a store that ends */
    guarded->inner->ops->close(guarded->inner);
    guarded_unref(guarded);
}

static struct dj_store_ops ops_around(const struct dj_store_ops *inner)
{
    return (struct dj_store_ops){
        .level = inner->level,
        .get = guarded_get,
        .put = guarded_put,
        .remove = guarded_remove,
        .clear = guarded_clear,
        .list = inner->list ? guarded_list : NULL,
        .stats = guarded_stats,
        .probe = inner->probe ? guarded_probe : NULL,
        .scan_vectors = inner->scan_vectors ? guarded_scan_vectors : NULL,
        .keep_access = inner->keep_access ? guarded_keep_access : NULL,
        .scan_access = inner->scan_access ? guarded_scan_access : NULL,
        .search = inner->search ? guarded_search : NULL,
        .raise = inner->raise ? guarded_raise : NULL,
        .pull = inner->pull ? guarded_pull : NULL,
        .lock = inner->lock ? guarded_lock : NULL,
        .unlock = inner->unlock ? guarded_unlock : NULL,
        .evict = inner->evict ? guarded_evict : NULL,
        .tenants = inner->tenants ? guarded_tenants : NULL,
        .leave = inner->leave ? guarded_leave : NULL,
        .close = guarded_close,
    };
}

static void on_attempted(void *ctx, const char *operation, enum deja_status status,
                         uint64_t took_us)
{
    const struct guarded *guarded = ctx;
    if (guarded->events && guarded->events->attempted)
        guarded->events->attempted(guarded->ctx, guarded->ops.level, operation, status, took_us);
}

static void on_changed(void *ctx, enum dj_breaker_state state, const char *text)
{
    struct guarded *guarded = ctx;
    if (state == DJ_BREAKER_OPEN)
        guarded_wake(guarded); /* somebody has to probe, even if nobody asks any more */
    if (guarded->events && guarded->events->changed)
        guarded->events->changed(guarded->ctx, guarded->ops.level, state, text);
}

void dj_guarded_store_set_options(struct dj_store *store, const struct dj_guarded_options *options)
{
    struct guarded *guarded = (struct guarded *)store;
    assert(dj_store_is_guarded(store));
    dj_sentry_set_options(guarded->sentry, &options->sentry);
    atomic_store(&guarded->get_ms, options->get_ms);
    atomic_store(&guarded->put_ms, options->put_ms);
    atomic_store(&guarded->remove_ms, options->remove_ms);
    atomic_store(&guarded->health_ms, options->health_ms);
    atomic_store(&guarded->long_ms, options->long_ms);
    atomic_store(&guarded->attempt_ms, options->attempt_ms);
    atomic_store(&guarded->probe_ms, options->probe_ms);
}

enum deja_status dj_guarded_store_open(struct dj_store *inner, struct dj_loop *loop,
                                       const struct dj_guarded_options *options,
                                       const struct dj_guarded_events *events, void *ctx,
                                       struct dj_store **out_store)
{
    static const struct dj_sentry_events sentry_events = {.attempted = on_attempted,
                                                          .changed = on_changed};
    const struct dj_store_ops *ops = inner->ops;
    assert(ops->get && ops->put && ops->remove && ops->clear && ops->stats && ops->close);
    assert(!ops->raise == !ops->pull && !ops->lock == !ops->unlock);
    assert(!ops->keep_access == !ops->scan_access);
    struct guarded *guarded = dj_alloc_zeroed(1, sizeof *guarded);
    if (!guarded)
        return DEJA_ERR_NOMEM;
    int code = pthread_mutex_init(&guarded->mutex, NULL);
    assert(code == 0);
    atomic_store(&guarded->refs, 1);
    guarded->ops = ops_around(ops);
    guarded->store.ops = &guarded->ops;
    guarded->inner = inner;
    guarded->loop = loop;
    guarded->events = events;
    guarded->ctx = ctx;
    guarded->pause_ms = GUARDED_PAUSE_MS_MIN;
    enum deja_status status = dj_journal_create(&options->journal, &guarded->journal);
    if (status == DEJA_OK)
        status = dj_sentry_create(ops->level, &options->sentry, &sentry_events, guarded,
                                  &guarded->sentry);
    if (status == DEJA_OK)
        status = dj_timer_create(loop, guarded, guarded_on_timer, &guarded->timer);
    if (status != DEJA_OK) {
        dj_sentry_destroy(guarded->sentry);
        guarded_unref(guarded);
        return status;
    }
    dj_timer_set_background(guarded->timer);
    dj_guarded_store_set_options(&guarded->store, options);
    *out_store = &guarded->store;
    return DEJA_OK;
}

bool dj_store_is_guarded(const struct dj_store *store)
{
    return store && store->ops->close == guarded_close;
}

struct dj_store *dj_guarded_store_inner(struct dj_store *store)
{
    assert(dj_store_is_guarded(store));
    return ((struct guarded *)store)->inner;
}

void dj_guarded_store_report(struct dj_store *store, struct dj_guarded_report *out_report)
{
    struct guarded *guarded = (struct guarded *)store;
    assert(dj_store_is_guarded(store));
    struct dj_guarded_report report = {.missed_reads = atomic_load(&guarded->missed_reads)};
    dj_sentry_look(guarded->sentry, &report.sentry);
    pthread_mutex_lock(&guarded->mutex);
    dj_journal_look(guarded->journal, &report.journal);
    report.replayed = guarded->replayed;
    report.replay_dropped = guarded->replay_dropped;
    pthread_mutex_unlock(&guarded->mutex);
    report.state = report.journal.is_lost                   ? DJ_TIER_LOST
                   : report.sentry.state == DJ_BREAKER_OPEN ? DJ_TIER_DOWN
                   : report.journal.records                 ? DJ_TIER_BEHIND
                                                            : DJ_TIER_UP;
    *out_report = report;
}

void dj_guarded_store_look(void *store, struct dj_sentry_sight *out_sight)
{
    struct dj_guarded_report report;
    dj_guarded_store_report(store, &report);
    bool is_tried = report.state == DJ_TIER_UP && report.sentry.state == DJ_BREAKER_HALF_OPEN;
    *out_sight = (struct dj_sentry_sight){
        .sentry = report.sentry,
        .state = is_tried ? dj_breaker_state_text(DJ_BREAKER_HALF_OPEN)
                          : dj_tier_state_text(report.state),
        .is_tier = true,
        .missed_puts = report.journal.puts,
        .missed_removes = report.journal.removes,
        .missed_bytes = report.journal.bytes,
        .missed_reads = report.missed_reads,
        .replayed = report.replayed,
        .dropped = report.journal.puts_dropped + report.replay_dropped,
    };
}
