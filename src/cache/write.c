/* cache/write.c - put, remove, promote, get.
 *
 *   put     origin -> home: memory -> origin: embed, index -> home: embedded tier -> origin: done
 *   remove  origin -> home: tombstone, memory, embedded tier -> worker: index -> origin: done
 *
 * (1) Every write to a key runs on its home loop, so put and remove of one key have one order.
 * (2) A remove leaves a tombstone; a put whose fill began before it stops at the next home visit.
 * (3) The embedded tier is written in the order in which home asked for it (its queue).
 */
#include "base/alloc.h"
#include "cache/engine_internal.h"
#include "store/memory.h"

struct put {
    struct dj_engine *engine;
    struct dj_loop *origin;
    struct dj_loop *home;
    struct dj_value *value;
    struct dj_store_key key;
    struct dj_semantic_job job;
    struct dj_task task;
    float *vector; /* owned; NULL: not indexed */
    char label[DJ_INDEX_LABEL_BYTES];
    bool is_stored;
    enum deja_status status;
    void *ctx;
    dj_put_done_fn *done;
};

static void put_destroy(struct put *put)
{
    dj_engine_leave(put->engine);
    dj_value_unref(put->value);
    dj_free(put->vector);
    dj_free(put);
}

static void post(struct dj_task *task, struct dj_loop *loop, dj_task_fn *run, void *ctx)
{
    *task = (struct dj_task){.run = run, .ctx = ctx};
    dj_loop_post(loop, task);
}

static void on_put_finished(void *ctx)
{
    struct put *put = ctx;
    if (put->done)
        put->done(put->ctx, put->status, put->is_stored);
    put_destroy(put);
}

static void on_put_kept(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)removed;
    struct put *put = ctx;
    put->status = status;
    post(&put->task, put->origin, on_put_finished, put);
}

/* Outrun by a delete, or by a clear or an invalidation: nobody could be served it. */
static bool is_refused(const struct put *put)
{
    const struct dj_entry *entry = dj_value_entry(put->value);
    const struct dj_tombstones *tombstones = put->engine->tombstones[dj_loop_index(put->home)];
    return dj_tombstones_refuse(tombstones, &put->key, entry->version) ||
           !dj_engine_is_current(put->engine, entry);
}

/* On home, the second time. */
static void put_embedded(void *ctx)
{
    struct put *put = ctx;
    struct dj_store *lmdb = put->engine->options.lmdb;
    bool has_vector = put->job.has_vector && put->vector;
    if (is_refused(put)) {
        /* Deleted meanwhile. The index may have it: harmless (its record is gone), and freed when
         * the vector expires. */
        put->is_stored = false;
        post(&put->task, put->origin, on_put_finished, put);
        return;
    }
    if (!lmdb) {
        post(&put->task, put->origin, on_put_finished, put);
        return;
    }
    uint32_t dim = has_vector ? put->job.name.dim : 0;
    put->status = lmdb->ops->put(lmdb, put->home, put->value, has_vector ? put->vector : NULL, dim,
                                 put, on_put_kept);
    if (put->status != DEJA_OK)
        post(&put->task, put->origin, on_put_finished, put);
}

static void on_put_embedded(void *ctx)
{
    struct put *put = ctx;
    post(&put->task, put->home, put_embedded, put);
}

/* Back on origin, so that the worker's result has a loop to come to. */
static void put_index(void *ctx)
{
    struct put *put = ctx;
    const struct dj_entry *entry = dj_value_entry(put->value);
    struct dj_semantic *semantic = put->engine->semantic;
    bool is_wanted = put->is_stored && put->vector;
    put->job.loop = put->origin;
    put->job.ctx = put;
    put->job.done = on_put_embedded;
    put->job.text = entry->query;
    put->job.vector = put->vector;
    put->job.is_insert = true;
    put->job.expires_ms = entry->expires_ms;
    put->job.version = entry->version;
    memcpy(put->job.tenant, entry->tenant, sizeof put->job.tenant);
    memcpy(put->job.scope, entry->scope, sizeof put->job.scope);
    memcpy(put->job.id, entry->id, sizeof put->job.id);
    if (!put->is_stored)
        on_put_finished(put);
    else if (!is_wanted || dj_semantic_submit(semantic, &put->job) != DEJA_OK)
        on_put_embedded(put); /* found exactly, not by meaning (I4) */
}

/* On home, the first time: exact repeats hit from here on. */
static void put_memory(void *ctx)
{
    struct put *put = ctx;
    struct dj_engine *engine = put->engine;
    int64_t now_ms = dj_loop_now_ms(put->home);
    if (!is_refused(put)) {
        put->is_stored = true;
        /* Too large for memory, or older than what is there: the embedded tier decides for itself.
         */
        bool is_in_memory = dj_memory_put(engine->options.memory, put->value, now_ms);
        put->is_stored = is_in_memory || engine->options.lmdb;
    }
    post(&put->task, put->origin, put_index, put);
}

/* The vector, or the room for one, and the name of its index. */
static enum deja_status take_vector(struct put *put, const struct dj_query_vector *vector,
                                    struct dj_entry *entry)
{
    struct dj_engine *engine = put->engine;
    struct dj_semantic_job *job = &put->job;
    enum deja_status status =
        dj_engine_take_vector(engine, vector, put->label, &job->name, &put->vector);
    if (status != DEJA_OK || !put->vector)
        return status;
    job->has_vector = vector != NULL;
    entry->embedder_id =
        job->name.label.len ? job->name.label : deja_slice_text(engine->options.embedder->id);
    bool has_room =
        dj_indexes_has_room(dj_semantic_indexes(engine->semantic), entry->tenant, &job->name);
    return has_room ? DEJA_OK : DEJA_ERR_LIMIT;
}

enum deja_status dj_engine_put(struct dj_engine *engine, struct dj_loop *loop,
                               const struct dj_entry *entry, bool is_semantic,
                               const struct dj_query_vector *vector, void *ctx,
                               dj_put_done_fn *done)
{
    struct put *put = dj_alloc_zeroed(1, sizeof *put);
    if (!put)
        return DEJA_ERR_NOMEM;
    *put = (struct put){.engine = engine, .origin = loop, .ctx = ctx, .done = done};
    dj_engine_enter(engine);
    memcpy(put->key.tenant, entry->tenant, sizeof put->key.tenant);
    memcpy(put->key.id, entry->id, sizeof put->key.id);
    put->home = engine->options.loops[dj_engine_home(engine, &put->key)];
    struct dj_entry labelled = *entry;
    enum deja_status status = DEJA_OK;
    if (is_semantic)
        status = take_vector(put, vector, &labelled);
    if (status == DEJA_OK)
        status = dj_value_create(&labelled, &put->value);
    if (status != DEJA_OK) {
        put_destroy(put);
        return status;
    }
    post(&put->task, put->home, put_memory, put);
    return DEJA_OK;
}

/* ---- promote ---- */

struct promotion {
    struct dj_engine *engine;
    struct dj_value *value;
    struct dj_loop *home;
    struct dj_task task;
};

static void promote(void *ctx)
{
    struct promotion *promotion = ctx;
    struct dj_engine *engine = promotion->engine;
    const struct dj_entry *entry = dj_value_entry(promotion->value);
    struct dj_store_key key;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    const struct dj_tombstones *tombstones = engine->tombstones[dj_loop_index(promotion->home)];
    bool is_promoted =
        !dj_tombstones_refuse(tombstones, &key, entry->version) &&
        dj_engine_is_current(engine, entry) &&
        dj_memory_put(engine->options.memory, promotion->value, dj_loop_now_ms(promotion->home));
    (void)is_promoted; /* a value that does not fit stays in the tier it came from */
    dj_value_unref(promotion->value);
    dj_free(promotion);
    dj_engine_leave(engine);
}

void dj_engine_promote(struct dj_engine *engine, struct dj_value *value)
{
    const struct dj_entry *entry = dj_value_entry(value);
    struct dj_store_key key;
    struct promotion *promotion = dj_alloc_zeroed(1, sizeof *promotion);
    if (!promotion)
        return; /* it stays where it is */
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    dj_engine_enter(engine);
    promotion->engine = engine;
    promotion->value = dj_value_ref(value);
    promotion->home = engine->options.loops[dj_engine_home(engine, &key)];
    post(&promotion->task, promotion->home, promote, promotion);
}

/* ---- remove, get ---- */

struct removal {
    struct dj_engine *engine;
    struct dj_loop *origin;
    struct dj_loop *home;
    struct dj_store_key key;
    struct dj_removal_options options;
    uint64_t version; /* of this removal: vectors and fills above it are newer */
    struct dj_task task;
    struct dj_job job;
    uint64_t removed;
    enum deja_status status;
    void *ctx;
    dj_remove_done_fn *done;
};

static void removal_destroy(struct removal *removal)
{
    dj_engine_leave(removal->engine);
    dj_free(removal);
}

static void on_removed(void *ctx)
{
    struct removal *removal = ctx;
    if (removal->done)
        removal->done(removal->ctx, removal->status, removal->removed);
    removal_destroy(removal);
}

static void remove_vector(void *ctx)
{
    struct removal *removal = ctx;
    dj_indexes_remove(dj_semantic_indexes(removal->engine->semantic), removal->key.tenant,
                      removal->key.id, removal->version);
}

static void on_removed_embedded(void *ctx, enum deja_status status, uint64_t removed)
{
    struct removal *removal = ctx;
    removal->status = status;
    if (removed)
        removal->removed = 1;
    removal->job = (struct dj_job){
        .work = remove_vector, .done = on_removed, .ctx = removal, .loop = removal->origin};
    /* A full pool leaves the vector: its record is gone, so it serves nothing. */
    if (!removal->options.is_vector ||
        dj_pool_submit(removal->engine->options.pool, &removal->job) != DEJA_OK)
        post(&removal->task, removal->origin, on_removed, removal);
}

static void remove_home(void *ctx)
{
    struct removal *removal = ctx;
    struct dj_engine *engine = removal->engine;
    struct dj_store *lmdb = engine->options.lmdb;
    removal->version = removal->options.version_max;
    if (removal->version == UINT64_MAX)
        removal->version =
            dj_engine_next_version(engine); /* here, so that puts are before or after */
    if (removal->options.is_tombstone)
        dj_tombstones_add(engine->tombstones[dj_loop_index(removal->home)], &removal->key,
                          removal->version);
    dj_access_forget(engine->access, &removal->key);
    removal->removed =
        dj_memory_remove(engine->options.memory, &removal->key, removal->options.version_max) ? 1
                                                                                              : 0;
    if (!lmdb) {
        on_removed_embedded(removal, DEJA_OK, 0);
        return;
    }
    enum deja_status status =
        lmdb->ops->remove(lmdb, removal->home, &removal->key, removal->options.version_max, removal,
                          on_removed_embedded);
    if (status != DEJA_OK)
        on_removed_embedded(removal, status, 0);
}

enum deja_status dj_engine_remove_version(struct dj_engine *engine, struct dj_loop *loop,
                                          const struct dj_store_key *key,
                                          const struct dj_removal_options *options, void *ctx,
                                          dj_remove_done_fn *done)
{
    struct removal *removal = dj_alloc_zeroed(1, sizeof *removal);
    if (!removal)
        return DEJA_ERR_NOMEM;
    *removal = (struct removal){.engine = engine,
                                .origin = loop,
                                .home = engine->options.loops[dj_engine_home(engine, key)],
                                .key = *key,
                                .options = *options,
                                .ctx = ctx,
                                .done = done};
    dj_engine_enter(engine);
    post(&removal->task, removal->home, remove_home, removal);
    return DEJA_OK;
}

enum deja_status dj_engine_remove(struct dj_engine *engine, struct dj_loop *loop,
                                  const struct dj_store_key *key, void *ctx,
                                  dj_remove_done_fn *done)
{
    static const struct dj_removal_options options = {
        .version_max = UINT64_MAX, .is_tombstone = true, .is_vector = true};
    return dj_engine_remove_version(engine, loop, key, &options, ctx, done);
}

struct get {
    struct dj_engine *engine;
    struct dj_loop *loop;
    uint8_t tenant[DJ_ID_BYTES];
    struct dj_value *value;
    struct dj_task task;
    void *ctx;
    dj_store_got_fn *got;
};

static void on_got(void *ctx)
{
    struct get *get = ctx;
    get->got(get->ctx, DEJA_OK, get->value);
    dj_engine_leave(get->engine);
    dj_free(get);
}

static void on_got_embedded(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct get *get = ctx;
    if (value &&
        (status != DEJA_OK || !dj_engine_is_valid(get->engine, get->tenant, dj_value_entry(value),
                                                  dj_loop_now_ms(get->loop), 0))) {
        dj_value_unref(value);
        value = NULL;
    }
    get->value = value;
    on_got(get);
}

static void on_probed(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct get *get = ctx;
    dj_store_got_fn *got = get->got;
    void *told = get->ctx;
    dj_value_unref(value);
    dj_engine_leave(get->engine); /* first: who asks may be counting what is under way */
    dj_free(get);
    got(told, status, NULL);
}

enum deja_status dj_engine_probe(struct dj_engine *engine, struct dj_loop *loop, void *ctx,
                                 dj_store_got_fn *got)
{
    struct dj_store *lmdb = engine->options.lmdb;
    if (!lmdb || !lmdb->ops->probe)
        return DEJA_ERR_UNSUPPORTED;
    struct get *get = dj_alloc_zeroed(1, sizeof *get);
    if (!get)
        return DEJA_ERR_NOMEM;
    *get = (struct get){.engine = engine, .loop = loop, .ctx = ctx, .got = got};
    dj_engine_enter(engine);
    enum deja_status status = lmdb->ops->probe(lmdb, loop, get, on_probed);
    if (status != DEJA_OK) {
        dj_engine_leave(engine);
        dj_free(get);
    }
    return status;
}

enum deja_status dj_engine_get(struct dj_engine *engine, struct dj_loop *loop,
                               const struct dj_store_key *key, void *ctx, dj_store_got_fn *got)
{
    struct get *get = dj_alloc_zeroed(1, sizeof *get);
    if (!get)
        return DEJA_ERR_NOMEM;
    *get = (struct get){.engine = engine, .loop = loop, .ctx = ctx, .got = got};
    dj_engine_enter(engine);
    memcpy(get->tenant, key->tenant, sizeof get->tenant);
    get->value = dj_engine_find(engine, loop, key, 0);
    struct dj_store *lmdb = engine->options.lmdb;
    if (get->value || !lmdb || lmdb->ops->get(lmdb, loop, key, get, on_got_embedded) != DEJA_OK)
        post(&get->task, loop, on_got, get);
    return DEJA_OK;
}
