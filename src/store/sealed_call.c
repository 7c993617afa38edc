/* store/sealed_call.c - one call that has something to open, or waits for a key; see sealed.h.
 *
 *   kept ── key here ── small: opened on the loop
 *             │           └ large: a worker opens ──> loop: told
 *             └─ not here: a worker fetches the tenant's keys, and opens ──> loop: told
 *
 * (1) A put that waits for its key is in a list until it goes on, on its loop: a removal that is
 *     called meanwhile takes it out, so that it cannot come after the removal.
 * (2) Once the store is closed no key and no inner store is touched any more.
 */
#include <assert.h>

#include "base/alloc.h"
#include "crypto/digest.h"
#include "store/key_internal.h"
#include "store/sealed_internal.h"

/* Beyond, a worker opens: 64 KB take 23 us, 1 KB 2 us (docs/adr/0017). */
#define LOOP_BYTES_MAX ((size_t)64 << 10)

struct sealed_call *sealed_call_create(struct sealed *sealed, struct dj_loop *loop,
                                       enum sealed_kind kind, const float *vector, uint32_t dim)
{
    struct sealed_call *call = dj_alloc(sizeof *call + dim * sizeof *vector);
    if (!call)
        return NULL;
    *call = (struct sealed_call){.sealed = sealed, .loop = loop, .kind = kind, .dim = dim};
    if (dim) {
        call->vector = (float *)(void *)(call + 1);
        memcpy(call->vector, vector, dim * sizeof *vector);
    }
    sealed_ref(sealed);
    return call;
}

void sealed_call_destroy(struct sealed_call *call)
{
    dj_value_unref(call->value);
    sealed_unref(call->sealed);
    dj_free(call);
}

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- what does not verify leaves ---- */

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct sealed *sealed = ctx;
    (void)status; /* the next reader tries again */
    (void)removed;
    sealed_unref(sealed);
}

static void drop(struct sealed_call *call, const struct dj_entry *kept)
{
    struct sealed *sealed = call->sealed;
    struct dj_store_key key = dj_store_key_of(kept);
    count(&sealed->refused);
    sealed_ref(sealed);
    if (atomic_load(&sealed->is_closed) ||
        sealed->inner->ops->remove(sealed->inner, call->loop, &key, kept->version, sealed,
                                   on_removed) != DEJA_OK)
        sealed_unref(sealed);
}

/* ---- opening ---- */

/* Of the loop; NULL: one is made for the record. */
static struct dj_unpacker *unpacker_of(struct sealed *sealed, const struct dj_loop *loop)
{
    uint32_t index = dj_loop_index(loop);
    if (index >= SEALED_LOOPS_MAX)
        return NULL;
    if (!sealed->unpackers[index])
        sealed->unpackers[index] = dj_unpacker_create();
    return sealed->unpackers[index];
}

/* What was found, or that there is nothing for the caller. */
static void tell_got(struct sealed_call *call)
{
    struct sealed *sealed = call->sealed;
    struct dj_value *value = call->value;
    enum deja_status status = call->status;
    call->value = NULL;
    if (status == DEJA_OK) {
        count(&sealed->opened);
    } else {
        if (status == DEJA_ERR_CORRUPT)
            drop(call, dj_value_entry(value));
        else if (status == DEJA_ERR_DENIED || status == DEJA_ERR_NOT_FOUND)
            count(&sealed->unreadable);
        dj_value_unref(value);
        value = NULL;
    }
    bool is_trouble = status == DEJA_ERR_NOMEM || status == DEJA_ERR_CANCELLED;
    call->told.got(call->ctx, is_trouble ? status : DEJA_OK, value);
    sealed_call_destroy(call);
}

static void open_value(struct sealed_call *call, struct dj_unpacker *unpacker)
{
    const struct dj_sealed_options *options = &call->sealed->options;
    const struct dj_entry *kept = dj_value_entry(call->value);
    struct dj_value *opened;
    /* Who can write to the tier could leave the seal away. */
    if (!kept->key_id && options->refuses_plain && options->keyring)
        call->status = DEJA_ERR_DENIED;
    else
        call->status = dj_unseal_entry(options->keyring, unpacker, kept, &opened);
    if (call->status != DEJA_OK)
        return;
    dj_value_unref(call->value);
    call->value = opened;
}

/* The opened entry with its vector's floats. One that does not open is left out: its entry is found
 * by its words, and made anew when it is put again. */
static enum deja_status add_vector(struct dj_keyring *keyring, const struct dj_entry *kept,
                                   struct dj_value **opened)
{
    struct dj_buf scratch = {0};
    struct dj_value *whole;
    struct dj_entry entry = *dj_value_entry(*opened);
    struct dj_store_vector vector = {.key = dj_store_key_of(kept), .sealed = kept->vector};
    enum deja_status status = DEJA_OK;
    if (kept->key_id && kept->vector.len) {
        status = dj_unseal_vector(keyring, &vector, &scratch, &vector);
        if (status == DEJA_OK) {
            entry.vector = deja_slice(vector.floats, vector.dim * sizeof *vector.floats);
            entry.embedder_id = vector.embedder_id;
            status = dj_value_create(&entry, &whole);
            if (status == DEJA_OK) {
                dj_value_unref(*opened);
                *opened = whole;
            }
        }
    }
    if (scratch.len)
        dj_wipe(scratch.data, scratch.len);
    dj_buf_fini(&scratch);
    return status == DEJA_ERR_NOMEM ? status : DEJA_OK;
}

/* Entries that do not open leave the page; DEJA_ERR_NOT_FOUND: a key is not here, and the rest of
 * the page is as it was kept. What was opened already has no key id any more. */
static enum deja_status open_values(struct sealed_call *call, bool is_last_try)
{
    struct sealed *sealed = call->sealed;
    struct dj_store_page *page = call->page;
    uint32_t left = 0;
    enum deja_status result = DEJA_OK;
    for (uint32_t i = 0; i < page->count; i++) {
        struct dj_value *value = page->values[i];
        const struct dj_entry *kept = dj_value_entry(value);
        struct dj_value *opened = NULL;
        enum deja_status status = result;
        if (result == DEJA_OK && !dj_sealed_is_open(kept))
            status = dj_unseal_entry(sealed->options.keyring, NULL, kept, &opened);
        if (opened && page->has_vectors)
            status = add_vector(sealed->options.keyring, kept, &opened);
        if (opened) {
            dj_value_unref(value);
            value = opened;
        }
        if (status == DEJA_ERR_NOMEM || (status == DEJA_ERR_NOT_FOUND && !is_last_try))
            result = status;
        if (status == DEJA_OK || result != DEJA_OK) {
            page->values[left++] = value;
            continue;
        }
        if (status == DEJA_ERR_CORRUPT)
            count(&sealed->refused); /* its next reader removes it */
        else
            count(&sealed->unreadable);
        dj_value_unref(value);
    }
    page->count = left;
    return result;
}

static void tell_page(struct sealed_call *call)
{
    struct dj_store_page *page = call->page;
    if (call->status != DEJA_OK) /* a piece is whole or not at all */
        while (page->count > 0)
            dj_value_unref(page->values[--page->count]);
    call->told.done(call->ctx, call->status, page->count);
    sealed_call_destroy(call);
}

/* ---- on a worker ---- */

static void work(void *ctx)
{
    struct sealed_call *call = ctx;
    struct sealed *sealed = call->sealed;
    struct dj_keyring *keyring = sealed->options.keyring;
    bool is_fetching = keyring && (call->has_fetched || call->kind == SEALED_PUT);
    enum deja_status status = DEJA_OK;
    if (is_fetching)
        status = dj_keyring_fetch(keyring, call->key.tenant);
    if (call->kind == SEALED_PUT)
        call->status = status;
    else if (call->kind == SEALED_LIST)
        call->status = open_values(call, is_fetching);
    else
        open_value(call, NULL);
    pthread_mutex_lock(&sealed->mutex);
    if (--sealed->jobs == 0)
        pthread_cond_broadcast(&sealed->jobs_ended);
    pthread_mutex_unlock(&sealed->mutex);
}

static void fetch_and_open(struct sealed_call *call);

static void on_worked(void *ctx)
{
    struct sealed_call *call = ctx;
    bool needs_key = call->status == DEJA_ERR_NOT_FOUND && !call->has_fetched &&
                     call->sealed->options.keyring && !atomic_load(&call->sealed->is_closed);
    if (needs_key)
        fetch_and_open(call);
    else if (call->kind == SEALED_LIST)
        tell_page(call);
    else
        tell_got(call);
}

static enum deja_status submit(struct sealed_call *call, dj_task_fn *done)
{
    struct sealed *sealed = call->sealed;
    pthread_mutex_lock(&sealed->mutex);
    bool has_room = sealed->jobs < SEALED_WAITS_MAX;
    if (has_room)
        sealed->jobs++;
    pthread_mutex_unlock(&sealed->mutex);
    if (!has_room)
        return DEJA_ERR_BUSY;
    call->job = (struct dj_job){.work = work, .done = done, .ctx = call, .loop = call->loop};
    enum deja_status status = dj_pool_submit(sealed->options.pool, &call->job);
    if (status == DEJA_OK)
        return DEJA_OK;
    pthread_mutex_lock(&sealed->mutex);
    sealed->jobs--;
    pthread_mutex_unlock(&sealed->mutex);
    return status;
}

/* Without a worker to fetch the key it is a miss. */
static void fetch_and_open(struct sealed_call *call)
{
    call->has_fetched = true;
    count(&call->sealed->waited);
    if (submit(call, on_worked) != DEJA_OK)
        on_worked(call);
}

void sealed_call_open(struct sealed_call *call)
{
    struct sealed *sealed = call->sealed;
    const struct dj_entry *kept = dj_value_entry(call->value);
    if (!kept->key_id)
        count(&sealed->plain);
    if (kept->body.len > LOOP_BYTES_MAX && kept->key_id && submit(call, on_worked) == DEJA_OK)
        return;
    open_value(call, unpacker_of(sealed, call->loop));
    on_worked(call);
}

void sealed_call_open_page(struct sealed_call *call)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < call->page->count; i++)
        bytes += dj_value_entry(call->page->values[i])->body.len;
    if (bytes > LOOP_BYTES_MAX && submit(call, on_worked) == DEJA_OK)
        return;
    call->status = open_values(call, false);
    on_worked(call);
}

/* ---- puts that wait ---- */

static void unlink_put(struct sealed_call *call)
{
    struct sealed *sealed = call->sealed;
    pthread_mutex_lock(&sealed->mutex);
    for (struct sealed_call **at = &sealed->puts; *at; at = &(*at)->next) {
        if (*at != call)
            continue;
        *at = call->next;
        break;
    }
    pthread_mutex_unlock(&sealed->mutex);
}

static void on_key(void *ctx)
{
    struct sealed_call *call = ctx;
    struct sealed *sealed = call->sealed;
    unlink_put(call);
    enum deja_status status = call->status;
    if (atomic_load(&sealed->is_closed))
        status = DEJA_ERR_CANCELLED;
    if (status == DEJA_OK && !call->is_cancelled) {
        status = sealed_put(sealed, call->loop, call->value, call->vector, call->dim, call->ctx,
                            call->told.done);
        if (status == DEJA_OK) {
            sealed_call_destroy(call);
            return;
        }
    }
    /* A tier that cannot be written now: the answer stays where it is. */
    bool has_no_key = status != DEJA_OK && status != DEJA_ERR_NOMEM && status != DEJA_ERR_LIMIT &&
                      status != DEJA_ERR_BUSY && status != DEJA_ERR_CANCELLED;
    call->told.done(call->ctx, has_no_key ? DEJA_ERR_CIRCUIT_OPEN : status, 0);
    sealed_call_destroy(call);
}

enum deja_status sealed_call_wait(struct sealed_call *call)
{
    struct sealed *sealed = call->sealed;
    count(&sealed->waited);
    pthread_mutex_lock(&sealed->mutex);
    call->next = sealed->puts;
    sealed->puts = call;
    pthread_mutex_unlock(&sealed->mutex);
    enum deja_status status = submit(call, on_key);
    if (status != DEJA_OK)
        unlink_put(call);
    return status;
}

void sealed_cancel(struct sealed *sealed, const uint8_t tenant[DJ_ID_BYTES],
                   const struct dj_store_key *key, uint64_t version_max)
{
    pthread_mutex_lock(&sealed->mutex);
    for (struct sealed_call *call = sealed->puts; call; call = call->next) {
        bool is_meant = key ? dj_store_key_is_equal(&call->key, key) &&
                                  dj_value_entry(call->value)->version <= version_max
                            : memcmp(call->key.tenant, tenant, DJ_ID_BYTES) == 0;
        call->is_cancelled = call->is_cancelled || is_meant;
    }
    pthread_mutex_unlock(&sealed->mutex);
}
