/* cache/write.c - put, remove, get.
 *
 *   put     origin -> home: memory -> origin: embed, index -> home: all tiers -> origin: done
 *   remove  origin -> home: tombstone, memory, all tiers -> worker: index -> origin: done
 *
 * (1) Every write to a key runs on its home loop, so put and remove of one key have one order.
 * (2) A remove leaves a tombstone; a put whose fill began before it stops at the next home visit.
 * (3) Each tier is written in the order in which home asked for it (its queue).
 * (4) A put waits for the tiers that are not written behind; a remove for all that are written: it
 *     is done when nobody can be served the entry any more.
 * (5) After a delete a shared tier has a tombstone of at least its version: a fill that began
 * before it is older, on whatever program it runs.
 * (6) A value that some levels shall not have takes what they had before with it: it would be
 * served again once the newer one is gone from the others.
 * (7) What was computed before something made it void, or a newer version lies below, does not stay
 * in memory either: memory takes what it does not know a newer version of, and is told afterwards.
 */
#include <assert.h>

#include "base/alloc.h"
#include "base/num.h"
#include "cache/engine_internal.h"
#include "store/memory.h"

/* A removal that failed: from then on that tier is believed only after a look at the tombstones
 * (tiers.c). *first: the first failure of several. */
static void note_removal(struct dj_tier_slot *slot, enum deja_status status,
                         enum deja_status *first)
{
    if (status == DEJA_OK)
        return;
    if (!slot->tier.is_journaled)
        atomic_store(&slot->is_doubtful, true);
    if (*first == DEJA_OK)
        *first = status;
}

struct put;

struct put_call {
    struct put *put;
    struct dj_tier_slot *slot;
};

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
    uint32_t skip;
    uint32_t cleared;
    bool is_through;
    bool is_outrun; /* a tier has what is newer */
    uint64_t as_of;
    struct put_call calls[DJ_TIERS_MAX];
    uint32_t calling; /* under way, and one for the start */
    bool is_in_memory;
    bool is_refused;
    uint32_t kept; /* levels that have it, or will */
    struct dj_put_outcome outcome;
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
    put->outcome.is_outrun = put->is_refused || put->is_outrun;
    put->outcome.is_stored = !put->outcome.is_outrun && (put->is_in_memory || put->kept);
    if (put->outcome.is_stored) {
        const struct dj_happening happening = dj_happening_of(
            DJ_HAPPENED_SET, dj_value_entry(put->value), dj_loop_now_ms(put->origin));
        dj_happenings_note(put->engine->options.happenings, &happening);
    }
    if (put->done)
        put->done(put->ctx, put->status, &put->outcome);
    put_destroy(put);
}

bool dj_engine_is_outrun(struct dj_engine *engine, const struct dj_loop *home,
                         const struct dj_store_key *key, const struct dj_entry *entry,
                         uint64_t as_of)
{
    const struct dj_tombstones *tombstones = engine->tombstones[dj_loop_index(home)];
    return dj_tombstones_refuse(tombstones, key, entry->version) ||
           (as_of && dj_voids_refuse(engine->voids, entry, as_of)) ||
           !dj_engine_is_current(engine, entry);
}

static bool is_refused(const struct put *put)
{
    return dj_engine_is_outrun(put->engine, put->home, &put->key, dj_value_entry(put->value),
                               put->as_of);
}

/* (7) */
static void leave_memory(const struct put *put)
{
    if (put->is_in_memory)
        dj_memory_remove(put->engine->options.memory, &put->key,
                         dj_value_entry(put->value)->version);
}

static void end_call(struct put *put)
{
    if (--put->calling == 0)
        post(&put->task, put->origin, on_put_finished, put);
}

static void note_call(struct put *put, const struct dj_tier_slot *slot, enum deja_status status)
{
    if (status == DEJA_OK)
        put->kept |= slot->bit;
    else
        put->outcome.missed |= slot->bit;
    if (put->status == DEJA_OK && !slot->tier.is_behind)
        put->status = status;
}

static void on_put_kept(void *ctx, enum deja_status status, uint64_t is_outrun)
{
    const struct put_call *call = ctx;
    struct put *put = call->put;
    if (status == DEJA_OK && is_outrun && put->as_of) {
        put->is_outrun = true;
        leave_memory(put);
    }
    note_call(put, call->slot, status);
    end_call(put);
}

static void put_tier(struct put *put, uint32_t index)
{
    struct dj_tier_slot *slot = &put->engine->tiers[index];
    struct dj_store *store = slot->tier.store;
    bool has_vector = put->job.has_vector && put->vector;
    const struct dj_tier_vector vector = {.floats = has_vector ? put->vector : NULL,
                                          .dim = has_vector ? put->job.name.dim : 0};
    if (!dj_tier_is_written(slot, dj_value_entry(put->value), put->skip))
        return;
    if (slot->tier.is_behind && !put->is_through) {
        bool is_taken =
            dj_tier_put_behind(put->engine, put->home, slot, put->value, &vector, put->as_of > 0);
        note_call(put, slot, is_taken ? DEJA_OK : DEJA_ERR_BUSY);
        return;
    }
    put->calls[index] = (struct put_call){.put = put, .slot = slot};
    enum deja_status status = store->ops->put(store, put->home, put->value, vector.floats,
                                              vector.dim, &put->calls[index], on_put_kept);
    if (status == DEJA_OK)
        put->calling++;
    else
        note_call(put, slot, status);
}

static void on_cleared(void *ctx, enum deja_status status, uint64_t removed)
{
    const struct put_call *call = ctx;
    struct put *put = call->put;
    (void)removed;
    note_removal(call->slot, status, &put->status);
    end_call(put);
}

/* (6) */
static void clear_tier(struct put *put, uint32_t index)
{
    struct dj_tier_slot *slot = &put->engine->tiers[index];
    struct dj_store *store = slot->tier.store;
    if (slot->tier.is_read_only || !(put->cleared & slot->bit))
        return;
    put->calls[index] = (struct put_call){.put = put, .slot = slot};
    enum deja_status status =
        store->ops->remove(store, put->home, &put->key, dj_value_entry(put->value)->version - 1,
                           &put->calls[index], on_cleared);
    if (status == DEJA_OK)
        put->calling++;
    else
        note_removal(slot, status, &put->status);
}

/* On home, the second time. */
static void put_tiers(void *ctx)
{
    struct put *put = ctx;
    put->calling = 1;
    /* Deleted meanwhile? The index may have it: harmless (its record is gone), and freed when the
     * vector expires. */
    if (put->as_of && put->engine->authority) /* before the look: a pull may come in between */
        dj_voids_keep(put->engine->voids,
                      &(struct dj_kept){put->key, dj_value_entry(put->value)->version});
    put->is_refused = is_refused(put);
    /* What is made void here is left to who does it: it was in memory before he looks there, and he
     * counts what he finds. Another program's selection looks into no memory of ours. */
    if (put->is_refused && put->as_of && put->engine->authority &&
        dj_voids_refuse_selected(put->engine->voids, put->key.tenant, put->as_of))
        leave_memory(put);
    for (uint32_t i = 0; i < put->engine->tier_count && !put->is_refused; i++) {
        put_tier(put, i);
        clear_tier(put, i);
    }
    end_call(put);
}

static void on_indexed(void *ctx)
{
    struct put *put = ctx;
    post(&put->task, put->home, put_tiers, put);
}

/* Back on origin, so that the worker's result has a loop to come to. */
static void put_index(void *ctx)
{
    struct put *put = ctx;
    const struct dj_entry *entry = dj_value_entry(put->value);
    struct dj_semantic *semantic = put->engine->semantic;
    put->job.loop = put->origin;
    put->job.ctx = put;
    put->job.done = on_indexed;
    put->job.text = entry->query;
    put->job.vector = put->vector;
    put->job.is_insert = true;
    put->job.expires_ms = entry->expires_ms;
    put->job.version = entry->version;
    memcpy(put->job.tenant, entry->tenant, sizeof put->job.tenant);
    memcpy(put->job.scope, entry->scope, sizeof put->job.scope);
    memcpy(put->job.id, entry->id, sizeof put->job.id);
    if (put->is_refused)
        on_put_finished(put);
    else if (!put->vector || dj_semantic_submit(semantic, &put->job) != DEJA_OK)
        on_indexed(put); /* found exactly, not by meaning (I4) */
}

/* (6) In memory, and of what is on its way to the tiers. */
static void forget_older(struct put *put)
{
    struct dj_engine *engine = put->engine;
    uint64_t older = dj_value_entry(put->value)->version - 1;
    dj_tombstones_add(engine->tombstones[dj_loop_index(put->home)], &put->key, older);
    if (put->cleared & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY))
        dj_memory_remove(engine->options.memory, &put->key, older);
}

/* Will a tier have it that programs share? Else nobody can change it but here. */
static bool is_shared(const struct put *put)
{
    const struct dj_engine *engine = put->engine;
    for (uint32_t i = 0; i < engine->tier_count; i++)
        if (dj_tier_is_shared(&engine->tiers[i], dj_value_entry(put->value), put->skip))
            return true;
    return false;
}

static void keep_in_memory(struct put *put)
{
    struct dj_store *memory = put->engine->options.memory;
    int64_t now_ms = dj_loop_now_ms(put->home);
    put->is_refused = is_refused(put);
    if (put->is_refused)
        return;
    /* Too large for memory, or older than what is there: the tiers decide for themselves. */
    if (!(put->skip & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY)))
        put->is_in_memory = is_shared(put) ? dj_memory_put(memory, put->value, now_ms)
                                           : dj_memory_put_alone(memory, put->value, now_ms);
    if (put->cleared)
        forget_older(put);
    put->is_refused = !put->is_in_memory && put->engine->tier_count == 0;
}

/* On home, the first time: exact repeats hit from here on. */
static void put_memory(void *ctx)
{
    struct put *put = ctx;
    keep_in_memory(put);
    post(&put->task, put->origin, put_index, put);
}

enum deja_status dj_engine_put_here(struct dj_engine *engine, struct dj_loop *home,
                                    struct dj_value *value, const struct dj_put_options *options,
                                    void *ctx, dj_put_done_fn *done)
{
    struct put *put = dj_alloc_zeroed(1, sizeof *put);
    if (!put)
        return DEJA_ERR_NOMEM;
    *put = (struct put){.engine = engine,
                        .origin = home,
                        .home = home,
                        .value = dj_value_ref(value),
                        .key = dj_engine_key_of(dj_value_entry(value)),
                        .skip = options->skip,
                        .cleared = options->cleared & options->skip,
                        .is_through = options->is_through,
                        .as_of = options->as_of,
                        .ctx = ctx,
                        .done = done};
    assert(engine->options.loops[dj_engine_home(engine, &put->key)] == home);
    dj_engine_enter(engine);
    keep_in_memory(put);
    if (put->is_refused)
        post(&put->task, home, on_put_finished, put);
    else
        put_tiers(put);
    return DEJA_OK;
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
                               const struct dj_entry *entry, const struct dj_put_options *options,
                               void *ctx, dj_put_done_fn *done)
{
    static const struct dj_put_options none;
    struct put *put = dj_alloc_zeroed(1, sizeof *put);
    if (!put)
        return DEJA_ERR_NOMEM;
    options = options ? options : &none;
    *put = (struct put){.engine = engine,
                        .origin = loop,
                        .skip = options->skip,
                        .cleared = options->cleared & options->skip,
                        .is_through = options->is_through,
                        .as_of = options->as_of,
                        .ctx = ctx,
                        .done = done};
    dj_engine_enter(engine);
    put->key = dj_engine_key_of(entry);
    put->home = engine->options.loops[dj_engine_home(engine, &put->key)];
    struct dj_entry labelled = *entry;
    enum deja_status status = DEJA_OK;
    if (options->is_semantic)
        status = take_vector(put, options->vector, &labelled);
    if (status == DEJA_OK)
        status = dj_value_create(&labelled, &put->value);
    if (status != DEJA_OK) {
        put_destroy(put);
        return status;
    }
    post(&put->task, put->home, put_memory, put);
    return DEJA_OK;
}

/* ---- remove, get ---- */

struct removal;

struct removal_call {
    struct removal *removal;
    struct dj_tier_slot *slot;
};

struct removal {
    struct dj_engine *engine;
    struct dj_loop *origin;
    struct dj_loop *home;
    struct dj_store_key key;
    struct dj_removal_options options;
    uint64_t version; /* of this removal: vectors and fills above it are newer */
    struct dj_task task;
    struct dj_job job;
    struct removal_call calls[DJ_TIERS_MAX];
    uint32_t calling; /* under way, and one for the start */
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

static void note_removed(const struct removal *removal)
{
    struct dj_happening happening = {.kind = DJ_HAPPENED_DELETE,
                                     .time_ms = dj_loop_now_ms(removal->origin),
                                     .has_id = true,
                                     .entry_kind = removal->options.entry_kind};
    memcpy(happening.tenant, removal->key.tenant, sizeof happening.tenant);
    memcpy(happening.id, removal->key.id, sizeof happening.id);
    if (removal->removed && removal->options.is_noted)
        dj_happenings_note(removal->engine->options.happenings, &happening);
}

static void on_removed(void *ctx)
{
    struct removal *removal = ctx;
    note_removed(removal);
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

static void end_removal_call(struct removal *removal)
{
    if (--removal->calling > 0)
        return;
    removal->job = (struct dj_job){
        .work = remove_vector, .done = on_removed, .ctx = removal, .loop = removal->origin};
    /* A full pool leaves the vector: its record is gone, so it serves nothing. */
    if (!removal->options.is_vector ||
        dj_pool_submit(removal->engine->options.pool, &removal->job) != DEJA_OK)
        post(&removal->task, removal->origin, on_removed, removal);
}

static void on_removed_below(void *ctx, enum deja_status status, uint64_t removed)
{
    const struct removal_call *call = ctx;
    struct removal *removal = call->removal;
    note_removal(call->slot, status, &removal->status);
    if (removed)
        removal->removed = 1;
    end_removal_call(removal);
}

/* A shared tier is asked twice, in whatever order it does that: any version goes, even of a clock
 * that is ahead of ours; and a tombstone of ours refuses what other programs began to make before
 * (5). */
static void remove_tier(struct removal *removal, uint32_t index)
{
    struct dj_tier_slot *slot = &removal->engine->tiers[index];
    struct dj_store *store = slot->tier.store;
    if (slot->tier.is_read_only || (removal->options.skip & slot->bit))
        return;
    removal->calls[index] = (struct removal_call){.removal = removal, .slot = slot};
    uint64_t versions[2] = {removal->options.version_max, removal->version};
    bool is_twice = (slot->bit & DJ_LEVELS_SHARED) && removal->options.version_max == UINT64_MAX;
    for (uint32_t i = 0; i < (is_twice ? 2 : 1); i++) {
        enum deja_status status =
            store->ops->remove(store, removal->home, &removal->key, versions[i],
                               &removal->calls[index], on_removed_below);
        if (status == DEJA_OK)
            removal->calling++;
        else
            note_removal(slot, status, &removal->status);
    }
}

static void remove_home(void *ctx)
{
    struct removal *removal = ctx;
    struct dj_engine *engine = removal->engine;
    removal->version = removal->options.version_max;
    if (removal->version == UINT64_MAX)
        removal->version =
            dj_engine_next_version(engine); /* here, so that puts are before or after */
    if (removal->options.is_tombstone)
        dj_tombstones_add(engine->tombstones[dj_loop_index(removal->home)], &removal->key,
                          removal->version);
    if (!removal->options.skip)
        dj_access_forget(engine->access, &removal->key);
    if (!(removal->options.skip & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY)) &&
        dj_memory_remove(engine->options.memory, &removal->key, removal->options.version_max))
        removal->removed = 1;
    removal->calling = 1;
    for (uint32_t i = 0; i < engine->tier_count; i++)
        remove_tier(removal, i);
    end_removal_call(removal);
}

static struct removal *removal_create(struct dj_engine *engine, struct dj_loop *loop,
                                      const struct dj_store_key *key,
                                      const struct dj_removal_options *options, void *ctx,
                                      dj_remove_done_fn *done)
{
    struct removal *removal = dj_alloc_zeroed(1, sizeof *removal);
    if (!removal)
        return NULL;
    *removal = (struct removal){.engine = engine,
                                .origin = loop,
                                .home = engine->options.loops[dj_engine_home(engine, key)],
                                .key = *key,
                                .options = *options,
                                .ctx = ctx,
                                .done = done};
    dj_engine_enter(engine);
    return removal;
}

enum deja_status dj_engine_remove_version(struct dj_engine *engine, struct dj_loop *loop,
                                          const struct dj_store_key *key,
                                          const struct dj_removal_options *options, void *ctx,
                                          dj_remove_done_fn *done)
{
    struct removal *removal = removal_create(engine, loop, key, options, ctx, done);
    if (!removal)
        return DEJA_ERR_NOMEM;
    post(&removal->task, removal->home, remove_home, removal);
    return DEJA_OK;
}

/* A removal by key that is told of. */
struct told {
    struct dj_engine *engine;
    struct dj_loop *loop;
    struct dj_store_key key;
    struct dj_cause cause;
    char *texts; /* owned: the cause's name and reason */
    void *ctx;
    dj_remove_done_fn *done;
};

static void told_destroy(struct told *told)
{
    dj_free(told->texts);
    dj_free(told);
}

static void on_told(void *ctx, enum deja_status status, uint64_t removed)
{
    struct told *told = ctx;
    char id[2 * DJ_ID_BYTES + 1];
    struct dj_notice notice = {.time_ms = dj_loop_now_ms(told->loop),
                               .kind = told->cause.kind ? told->cause.kind : "entry",
                               .source = told->cause.source,
                               .name = told->cause.name,
                               .reason = told->cause.reason,
                               .removed = removed ? 1 : 0};
    dj_hex_encode(told->key.id, sizeof told->key.id, id);
    memcpy(notice.tenant, told->key.tenant, sizeof notice.tenant);
    if (!notice.name.len)
        notice.name = deja_slice(id, 2 * DJ_ID_BYTES);
    if (removed && !told->cause.is_untold)
        dj_notices_publish(told->engine->options.notices, &notice);
    if (told->done)
        told->done(told->ctx, status, removed);
    told_destroy(told);
}

enum deja_status dj_engine_remove_because(struct dj_engine *engine, struct dj_loop *loop,
                                          const struct dj_store_key *key,
                                          const struct dj_cause *cause, void *ctx,
                                          dj_remove_done_fn *done)
{
    static const struct dj_removal_options options = {
        .version_max = UINT64_MAX, .is_tombstone = true, .is_vector = true, .is_noted = true};
    struct told *told = dj_alloc_zeroed(1, sizeof *told);
    char *texts = told ? dj_alloc(cause->name.len + cause->reason.len + 1) : NULL;
    if (!texts) {
        dj_free(told);
        return DEJA_ERR_NOMEM;
    }
    *told = (struct told){.engine = engine,
                          .loop = loop,
                          .key = *key,
                          .cause = *cause,
                          .texts = texts,
                          .ctx = ctx,
                          .done = done};
    if (cause->name.len)
        memcpy(texts, cause->name.data, cause->name.len);
    if (cause->reason.len)
        memcpy(texts + cause->name.len, cause->reason.data, cause->reason.len);
    told->cause.name = deja_slice(texts, cause->name.len);
    told->cause.reason = deja_slice(texts + cause->name.len, cause->reason.len);
    enum deja_status status = dj_engine_remove_version(engine, loop, key, &options, told, on_told);
    if (status != DEJA_OK)
        told_destroy(told);
    return status;
}

enum deja_status dj_engine_remove_here(struct dj_engine *engine, struct dj_loop *home,
                                       const struct dj_store_key *key, void *ctx,
                                       dj_remove_done_fn *done)
{
    static const struct dj_removal_options options = {
        .version_max = UINT64_MAX, .is_tombstone = true, .is_noted = true, .entry_kind = "plain"};
    struct removal *removal = removal_create(engine, home, key, &options, ctx, done);
    if (!removal)
        return DEJA_ERR_NOMEM;
    assert(removal->home == home);
    remove_home(removal);
    return DEJA_OK;
}

enum deja_status dj_engine_remove(struct dj_engine *engine, struct dj_loop *loop,
                                  const struct dj_store_key *key, void *ctx,
                                  dj_remove_done_fn *done)
{
    static const struct dj_cause nothing;
    return dj_engine_remove_because(engine, loop, key, &nothing, ctx, done);
}

enum deja_status dj_engine_drop(struct dj_engine *engine, struct dj_loop *loop,
                                const uint8_t tenant[DJ_ID_BYTES], const struct dj_store_key *key,
                                void *ctx, dj_remove_done_fn *done)
{
    struct dj_store *memory = engine->options.memory;
    return key ? memory->ops->remove(memory, loop, key, UINT64_MAX, ctx, done)
               : memory->ops->clear(memory, loop, tenant, ctx, done);
}

struct get {
    struct dj_engine *engine;
    struct dj_value *value;
    struct dj_task task;
    void *ctx;
    dj_engine_got_fn *got;
};

static void get_end(struct get *get, struct dj_value *value, const char *level)
{
    get->got(get->ctx, value, level);
    dj_engine_leave(get->engine);
    dj_free(get);
}

static void on_got_in_memory(void *ctx)
{
    struct get *get = ctx;
    get_end(get, get->value, get->value ? dj_level_text(DJ_LEVEL_MEMORY) : NULL);
}

static void on_got_below(void *ctx, struct dj_value *value, const char *level)
{
    get_end(ctx, value, level);
}

enum deja_status dj_engine_get(struct dj_engine *engine, struct dj_loop *loop,
                               const struct dj_store_key *key, uint32_t skip, void *ctx,
                               dj_engine_got_fn *got)
{
    struct get *get = dj_alloc_zeroed(1, sizeof *get);
    if (!get)
        return DEJA_ERR_NOMEM;
    *get = (struct get){.engine = engine, .ctx = ctx, .got = got};
    dj_engine_enter(engine);
    if (!(skip & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY)))
        get->value = dj_engine_find(engine, loop, key, 0);
    const struct dj_walk_options walk = {.key = *key, .skip = skip};
    if (get->value || dj_engine_walk(engine, loop, &walk, get, NULL, on_got_below) != DEJA_OK)
        post(&get->task, loop, on_got_in_memory, get);
    return DEJA_OK;
}

/* ---- probe ---- */

struct probe {
    struct dj_engine *engine;
    void *ctx;
    dj_store_got_fn *got;
};

static void on_probed(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct probe *probe = ctx;
    dj_store_got_fn *got = probe->got;
    void *told = probe->ctx;
    dj_value_unref(value);
    dj_engine_leave(probe->engine); /* first: who asks may be counting what is under way */
    dj_free(probe);
    got(told, status, NULL);
}

enum deja_status dj_engine_probe(struct dj_engine *engine, struct dj_loop *loop, uint32_t index,
                                 void *ctx, dj_store_got_fn *got)
{
    static const struct dj_store_key nobody = {{0}, {0}}; /* no tenant has this id */
    if (index >= engine->tier_count)
        return DEJA_ERR_NOT_FOUND;
    struct dj_store *store = engine->tiers[index].tier.store;
    struct probe *probe = dj_alloc_zeroed(1, sizeof *probe);
    if (!probe)
        return DEJA_ERR_NOMEM;
    *probe = (struct probe){.engine = engine, .ctx = ctx, .got = got};
    dj_engine_enter(engine);
    enum deja_status status = store->ops->probe
                                  ? store->ops->probe(store, loop, probe, on_probed)
                                  : store->ops->get(store, loop, &nobody, probe, on_probed);
    if (status != DEJA_OK) {
        dj_engine_leave(engine);
        dj_free(probe);
    }
    return status;
}
