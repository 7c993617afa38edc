/* store/sealed.c - the table around another store; see sealed.h. */
#include "store/sealed.h"

#include <assert.h>

#include "base/alloc.h"
#include "store/key_internal.h"
#include "store/sealed_internal.h"

static struct sealed *sealed_of(struct dj_store *store)
{
    return (struct sealed *)store;
}

void sealed_ref(struct sealed *sealed)
{
    atomic_fetch_add(&sealed->refs, 1);
}

void sealed_unref(struct sealed *sealed)
{
    if (atomic_fetch_sub(&sealed->refs, 1) != 1)
        return;
    for (size_t i = 0; i < SEALED_LOOPS_MAX; i++)
        dj_unpacker_destroy(sealed->unpackers[i]);
    pthread_cond_destroy(&sealed->jobs_ended);
    pthread_mutex_destroy(&sealed->mutex);
    dj_free(sealed);
}

/* ---- reads ---- */

static void on_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct sealed_call *call = ctx;
    struct sealed *sealed = call->sealed;
    if (value && atomic_load(&sealed->is_closed)) { /* no key is left to open it with */
        dj_value_unref(value);
        value = NULL;
        status = DEJA_ERR_CANCELLED;
    }
    if (status != DEJA_OK || !value) {
        call->told.got(call->ctx, status, value);
        sealed_call_destroy(call);
        return;
    }
    call->value = value;
    call->key = dj_store_key_of(dj_value_entry(value));
    sealed_call_open(call);
}

static enum deja_status get(struct dj_store *store, struct dj_loop *loop,
                            const struct dj_store_key *key, void *ctx, dj_store_got_fn *got)
{
    struct sealed *sealed = sealed_of(store);
    struct sealed_call *call = sealed_call_create(sealed, loop, SEALED_GET, NULL, 0);
    if (!call)
        return DEJA_ERR_NOMEM;
    call->ctx = ctx;
    call->told.got = got;
    enum deja_status status = sealed->inner->ops->get(sealed->inner, loop, key, call, on_got);
    if (status != DEJA_OK)
        sealed_call_destroy(call);
    return status;
}

static enum deja_status probe(struct dj_store *store, struct dj_loop *loop, void *ctx,
                              dj_store_got_fn *got)
{
    struct sealed *sealed = sealed_of(store);
    return sealed->inner->ops->probe(sealed->inner, loop, ctx, got);
}

static void on_listed(void *ctx, enum deja_status status, uint64_t count)
{
    struct sealed_call *call = ctx;
    if (status == DEJA_OK && !atomic_load(&call->sealed->is_closed)) {
        sealed_call_open_page(call);
        return;
    }
    call->told.done(call->ctx, status, count);
    sealed_call_destroy(call);
}

static enum deja_status list(struct dj_store *store, struct dj_loop *loop,
                             const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                             void *ctx, dj_store_done_fn *done)
{
    struct sealed *sealed = sealed_of(store);
    struct sealed_call *call = sealed_call_create(sealed, loop, SEALED_LIST, NULL, 0);
    if (!call)
        return DEJA_ERR_NOMEM;
    call->page = page;
    memcpy(call->key.tenant, tenant, sizeof call->key.tenant);
    call->ctx = ctx;
    call->told.done = done;
    enum deja_status status =
        sealed->inner->ops->list(sealed->inner, loop, tenant, page, call, on_listed);
    if (status != DEJA_OK)
        sealed_call_destroy(call);
    return status;
}

static enum deja_status search(struct dj_store *store, struct dj_loop *loop,
                               const struct dj_store_search *asked, void *ctx,
                               dj_store_searched_fn *searched)
{
    struct sealed *sealed = sealed_of(store);
    return sealed->inner->ops->search(sealed->inner, loop, asked, ctx, searched);
}

/* ---- vectors ---- */

struct scan {
    struct sealed *sealed;
    struct dj_buf scratch;
    void *ctx;
    dj_store_vector_fn *each;
};

static bool on_vector(void *ctx, const struct dj_store_vector *kept)
{
    struct scan *scan = ctx;
    struct sealed *sealed = scan->sealed;
    struct dj_keyring *keyring = sealed->options.keyring;
    struct dj_store_vector vector;
    if (kept->floats)
        return scan->each(scan->ctx, kept);
    enum deja_status status = dj_unseal_vector(keyring, kept, &scan->scratch, &vector);
    if (status == DEJA_ERR_NOT_FOUND && dj_keyring_fetch(keyring, kept->key.tenant) == DEJA_OK)
        status = dj_unseal_vector(keyring, kept, &scan->scratch, &vector);
    if (status == DEJA_ERR_CORRUPT) /* its entry is still found by its words */
        atomic_fetch_add_explicit(&sealed->refused, 1, memory_order_relaxed);
    else if (status != DEJA_OK)
        atomic_fetch_add_explicit(&sealed->unreadable, 1, memory_order_relaxed);
    return status == DEJA_OK ? scan->each(scan->ctx, &vector) : status != DEJA_ERR_NOMEM;
}

static enum deja_status scan_vectors(struct dj_store *store, void *ctx, dj_store_vector_fn *each)
{
    struct sealed *sealed = sealed_of(store);
    struct scan scan = {.sealed = sealed, .ctx = ctx, .each = each};
    enum deja_status status = sealed->inner->ops->scan_vectors(sealed->inner, &scan, on_vector);
    if (scan.scratch.len)
        dj_wipe(scan.scratch.data, scan.scratch.len);
    dj_buf_fini(&scan.scratch);
    return status;
}

/* ---- writes ---- */

enum deja_status sealed_put(struct sealed *sealed, struct dj_loop *loop, struct dj_value *value,
                            const float *vector, uint32_t dim, void *ctx, dj_store_done_fn *done)
{
    enum dj_sealed_vectors vectors = sealed->options.vectors;
    bool is_sealing = sealed->options.keyring != NULL;
    bool is_hidden = is_sealing && vectors == DJ_SEALED_VECTORS_SEALED;
    bool is_shown = !is_sealing || vectors == DJ_SEALED_VECTORS_READABLE;
    uint64_t plain_bytes = 0;
    const struct dj_stay *stay = &sealed->options.stay;
    const struct dj_entry *entry = dj_value_entry(value);
    const struct dj_seal seal = {
        .keyring = sealed->options.keyring,
        .entry = entry,
        .stay_until_ms = stay->of ? stay->of(stay->ctx, entry, dj_loop_now_ms(loop)) : 0,
        .vector = is_hidden && dim ? vector : NULL,
        .dim = dim,
        .has_embedder = is_shown && vector,
        .packing = &sealed->options.packing,
        .plain_bytes = &plain_bytes};
    struct dj_value *kept;
    enum deja_status status = dj_seal_entry(&seal, &kept);
    if (status != DEJA_OK)
        return status;
    struct dj_store *inner = sealed->inner;
    status =
        inner->ops->put(inner, loop, kept, is_shown ? vector : NULL, is_shown ? dim : 0, ctx, done);
    if (status == DEJA_OK && is_sealing) {
        atomic_fetch_add_explicit(&sealed->sealed, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&sealed->plain_bytes, plain_bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&sealed->record_bytes, dj_value_entry(kept)->body.len,
                                  memory_order_relaxed);
    }
    dj_value_unref(kept);
    return status;
}

static enum deja_status put(struct dj_store *store, struct dj_loop *loop, struct dj_value *value,
                            const float *vector, uint32_t dim, void *ctx, dj_store_done_fn *done)
{
    struct sealed *sealed = sealed_of(store);
    enum deja_status status = sealed_put(sealed, loop, value, vector, dim, ctx, done);
    /* As a tier that cannot be written: the answer stays where it is. */
    if (status == DEJA_ERR_DENIED)
        return DEJA_ERR_CIRCUIT_OPEN;
    if (status != DEJA_ERR_NOT_FOUND)
        return status;
    struct sealed_call *call =
        sealed_call_create(sealed, loop, SEALED_PUT, vector, vector ? dim : 0);
    if (!call)
        return DEJA_ERR_NOMEM;
    call->value = dj_value_ref(value);
    call->key = dj_store_key_of(dj_value_entry(value));
    call->ctx = ctx;
    call->told.done = done;
    status = sealed_call_wait(call);
    if (status != DEJA_OK)
        sealed_call_destroy(call);
    return status;
}

static enum deja_status remove_one(struct dj_store *store, struct dj_loop *loop,
                                   const struct dj_store_key *key, uint64_t version_max, void *ctx,
                                   dj_store_done_fn *done)
{
    struct sealed *sealed = sealed_of(store);
    sealed_cancel(sealed, key->tenant, key, version_max);
    return sealed->inner->ops->remove(sealed->inner, loop, key, dj_sealed_version_max(version_max),
                                      ctx, done);
}

static enum deja_status clear(struct dj_store *store, struct dj_loop *loop,
                              const uint8_t tenant[DJ_ID_BYTES], void *ctx, dj_store_done_fn *done)
{
    struct sealed *sealed = sealed_of(store);
    sealed_cancel(sealed, tenant, NULL, UINT64_MAX);
    return sealed->inner->ops->clear(sealed->inner, loop, tenant, ctx, done);
}

/* ---- what has nothing to be sealed ---- */

static void stats(struct dj_store *store, const uint8_t *tenant, struct dj_store_stats *out_stats)
{
    struct sealed *sealed = sealed_of(store);
    sealed->inner->ops->stats(sealed->inner, tenant, out_stats);
    if (!sealed->options.keyring)
        return;
    out_stats->record_bytes = atomic_load(&sealed->record_bytes);
    out_stats->plain_bytes = atomic_load(&sealed->plain_bytes);
    if (!tenant)
        out_stats->corrupt += atomic_load(&sealed->refused);
}

static enum deja_status keep_access(struct dj_store *store, const struct dj_store_access *rows,
                                    size_t count)
{
    struct sealed *sealed = sealed_of(store);
    return sealed->inner->ops->keep_access(sealed->inner, rows, count);
}

static enum deja_status scan_access(struct dj_store *store, void *ctx, dj_store_access_fn *each)
{
    struct sealed *sealed = sealed_of(store);
    return sealed->inner->ops->scan_access(sealed->inner, ctx, each);
}

static enum deja_status raise_generation(struct dj_store *store, struct dj_loop *loop,
                                         const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                         void *ctx, dj_store_raised_fn *raised)
{
    struct sealed *sealed = sealed_of(store);
    return sealed->inner->ops->raise(sealed->inner, loop, tenant, tag, ctx, raised);
}

static enum deja_status pull(struct dj_store *store, struct dj_loop *loop, uint64_t since,
                             void *ctx, dj_store_generation_fn *each, dj_store_pulled_fn *pulled)
{
    struct sealed *sealed = sealed_of(store);
    return sealed->inner->ops->pull(sealed->inner, loop, since, ctx, each, pulled);
}

static enum deja_status lock(struct dj_store *store, struct dj_loop *loop,
                             const struct dj_store_key *key, const uint8_t token[16],
                             uint32_t lease_ms, void *ctx, dj_store_locked_fn *locked)
{
    struct sealed *sealed = sealed_of(store);
    return sealed->inner->ops->lock(sealed->inner, loop, key, token, lease_ms, ctx, locked);
}

static enum deja_status unlock(struct dj_store *store, struct dj_loop *loop,
                               const struct dj_store_key *key, const uint8_t token[16], void *ctx,
                               dj_store_done_fn *done)
{
    struct sealed *sealed = sealed_of(store);
    return sealed->inner->ops->unlock(sealed->inner, loop, key, token, ctx, done);
}

static enum deja_status evict(struct dj_store *store, struct dj_loop *loop, const uint8_t *tenant,
                              uint64_t bytes, void *ctx, dj_store_done_fn *done)
{
    struct sealed *sealed = sealed_of(store);
    return sealed->inner->ops->evict(sealed->inner, loop, tenant, bytes, ctx, done);
}

static void tenants(struct dj_store *store, void *ctx, dj_store_tenant_fn *each)
{
    struct sealed *sealed = sealed_of(store);
    sealed->inner->ops->tenants(sealed->inner, ctx, each);
}

static void leave(struct dj_store *store, struct dj_loop *loop)
{
    struct sealed *sealed = sealed_of(store);
    sealed->inner->ops->leave(sealed->inner, loop);
}

/* ---- opening and ending ---- */

static void close_sealed(struct dj_store *store)
{
    struct sealed *sealed = sealed_of(store);
    atomic_store(&sealed->is_closed, true);
    pthread_mutex_lock(&sealed->mutex);
    while (sealed->jobs > 0)
        pthread_cond_wait(&sealed->jobs_ended, &sealed->mutex);
    pthread_mutex_unlock(&sealed->mutex);
    sealed->inner->ops->close(sealed->inner);
    sealed_unref(sealed);
}

static struct dj_store_ops ops_around(const struct dj_store_ops *inner, bool is_searched)
{
    return (struct dj_store_ops){
        .level = inner->level,
        .get = get,
        .put = put,
        .remove = remove_one,
        .clear = clear,
        .list = inner->list ? list : NULL,
        .stats = stats,
        .probe = inner->probe ? probe : NULL,
        .scan_vectors = inner->scan_vectors ? scan_vectors : NULL,
        .keep_access = inner->keep_access ? keep_access : NULL,
        .scan_access = inner->scan_access ? scan_access : NULL,
        .search = inner->search && is_searched ? search : NULL,
        .raise = inner->raise ? raise_generation : NULL,
        .pull = inner->pull ? pull : NULL,
        .lock = inner->lock ? lock : NULL,
        .unlock = inner->unlock ? unlock : NULL,
        .evict = inner->evict ? evict : NULL,
        .tenants = inner->tenants ? tenants : NULL,
        .leave = inner->leave ? leave : NULL,
        .close = close_sealed,
    };
}

enum deja_status dj_sealed_store_open(struct dj_store *inner,
                                      const struct dj_sealed_options *options,
                                      struct dj_store **out_store)
{
    assert(options->pool);
    struct sealed *sealed = dj_alloc_zeroed(1, sizeof *sealed);
    if (!sealed)
        return DEJA_ERR_NOMEM;
    int code = pthread_mutex_init(&sealed->mutex, NULL);
    assert(code == 0);
    code = pthread_cond_init(&sealed->jobs_ended, NULL);
    assert(code == 0);
    sealed->ops =
        ops_around(inner->ops, !options->keyring || options->vectors == DJ_SEALED_VECTORS_READABLE);
    sealed->store.ops = &sealed->ops;
    sealed->inner = inner;
    sealed->options = *options;
    atomic_init(&sealed->refs, 1);
    *out_store = &sealed->store;
    return DEJA_OK;
}

bool dj_store_is_sealed(const struct dj_store *store)
{
    return store && store->ops->close == close_sealed;
}

struct dj_store *dj_sealed_store_inner(struct dj_store *store)
{
    assert(dj_store_is_sealed(store));
    return sealed_of(store)->inner;
}

void dj_sealed_store_report(struct dj_store *store, struct dj_sealed_report *out_report)
{
    assert(dj_store_is_sealed(store));
    const struct sealed *sealed = sealed_of(store);
    *out_report = (struct dj_sealed_report){
        .sealed = atomic_load(&sealed->sealed),
        .opened = atomic_load(&sealed->opened),
        .plain = atomic_load(&sealed->plain),
        .refused = atomic_load(&sealed->refused),
        .unreadable = atomic_load(&sealed->unreadable),
        .waited = atomic_load(&sealed->waited),
    };
}
