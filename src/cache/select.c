/* cache/select.c - every entry that a selector names: counted, or removed.
 *
 *   start ──(only a tag, a namespace or nothing: raise its generation, durably, on a worker)──┐
 *     │  └───(to be removed by something else: raise the selection counter: (6))──────────────┐ │
 *     ┌───────────────────────────────────────────────────────────────────────────────────────┘
 *     v
 *   memory: piece by piece ──> each tier: piece by piece ──> all removals answered ──> done
 *                each entry: selected? count; remove from all tiers
 *
 * (1) An entry is counted once: what a tier has is noted with its version, and a lower tier's twin
 *     of the same or a lower version is passed over. Beyond SEEN_MAX notes it may be counted again.
 * (2) Removing takes only versions given before it began: what is put meanwhile stays. Fills that
 *     began before meet the raised generation, or the tombstone of their key.
 * (3) After a raise nothing is current any more: what counts is what was so just before it.
 * (4) At most REMOVALS_MAX removals are under way, so the writer's queue is never filled by one
 *     call.
 * (5) A shared tier that cannot be read fails a count and a removal by anything else; after a raise
 *     it is passed over.
 * (6) What an answer under way will be like nobody knows: those that began before are not kept
 *     (voids.h). But for an age: what is made from now on is not that old.
 */
#include "base/alloc.h"
#include "base/map.h"
#include "cache/engine_internal.h"

#define SEEN_MAX (1u << 24)
#define REMOVALS_MAX 1024u

enum raised { RAISED_NOTHING, RAISED_TAGS, RAISED_NAMESPACE, RAISED_TENANT };

struct selection;

struct raise_call {
    struct selection *selection;
    size_t index;
};

struct selection {
    struct dj_engine *engine;
    struct dj_loop *loop;
    uint8_t tenant[DJ_ID_BYTES];
    const struct dj_selector *selector; /* the caller's */
    bool is_removing;
    enum raised raised;
    uint64_t before;           /* the namespace's or the tenant's counter, until then */
    struct dj_entry_tag *tags; /* owned; the tags raised, and their counters until then */
    struct raise_call *calls;  /* owned; one for each */
    size_t tag_count;
    size_t raises_left; /* under way, and one for the start */
    uint64_t version_max;
    uint32_t place; /* being listed: 0: memory, then the tiers */
    struct dj_store_page page;
    struct dj_map *seen;  /* id -> version << 1 | was counted; NULL: there is memory only */
    uint32_t removals;    /* under way */
    bool is_listing;      /* a piece is under way */
    bool is_listed;       /* there are no more pieces */
    bool is_foreign_left; /* what is left is to empty a foreign store */
    uint64_t count;
    enum deja_status status; /* the first failure */
    struct dj_job job;
    struct dj_task task;
    void *ctx;
    dj_selected_fn *done;
};

static void list_next(struct selection *selection);

static void destroy(struct selection *selection)
{
    dj_engine_leave(selection->engine);
    dj_map_destroy(selection->seen);
    dj_free(selection->tags);
    dj_free(selection->calls);
    dj_free(selection);
}

static void finish_if_over(struct selection *selection)
{
    if (!selection->is_listed || selection->is_listing || selection->removals > 0)
        return;
    if (selection->is_removing && selection->status == DEJA_OK)
        dj_engine_tell(selection->engine, selection->loop, selection->tenant, selection->selector,
                       selection->count);
    selection->done(selection->ctx, selection->status, selection->count);
    destroy(selection);
}

static void fail(struct selection *selection, enum deja_status status)
{
    if (selection->status == DEJA_OK)
        selection->status = status;
    selection->is_listed = true;
}

/* ---- one entry ---- */

/* Could be served, or could until this call raised the generation (3). */
static bool is_live(const struct selection *selection, const struct dj_entry *entry)
{
    int64_t now_ms = dj_loop_now_ms(selection->loop);
    if (memcmp(entry->tenant, selection->tenant, DJ_ID_BYTES) != 0 ||
        (entry->expires_ms && now_ms >= entry->expires_ms))
        return false;
    struct dj_raise raise = {.tags = selection->tags,
                             .tag_count = selection->tag_count,
                             .is_entry = selection->raised == RAISED_NAMESPACE ||
                                         selection->raised == RAISED_TENANT,
                             .before = selection->before,
                             .is_tenant = selection->raised == RAISED_TENANT};
    return dj_engine_was_current(selection->engine, entry, &raise);
}

static void on_cleared(void *ctx, enum deja_status status, uint64_t removed)
{
    struct selection *selection = ctx;
    selection->is_listing = false;
    selection->is_listed = true;
    selection->count += removed; /* what memory had was removed from it before */
    if (status != DEJA_OK)
        fail(selection, status);
    finish_if_over(selection);
}

/* A store of somebody else cannot be listed, and remembers no generation: it is emptied, after the
 * removals that memory's entries asked of it. */
static void clear_foreign(struct selection *selection)
{
    struct dj_store *store = selection->engine->options.lmdb;
    if (selection->removals > 0 || selection->is_listed)
        return;
    selection->is_foreign_left = false;
    enum deja_status status =
        store->ops->clear(store, selection->loop, selection->tenant, selection, on_cleared);
    if (status == DEJA_OK)
        selection->is_listing = true;
    else
        fail(selection, status);
}

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)removed; /* may have gone by itself: it is counted all the same */
    struct selection *selection = ctx;
    bool is_void = selection->raised != RAISED_NOTHING && selection->engine->authority; /* (5) */
    selection->removals--;
    if (status != DEJA_OK && !is_void)
        fail(selection, status);
    if (selection->is_foreign_left)
        clear_foreign(selection);
    else if (!selection->is_listed && !selection->is_listing &&
             selection->removals <= REMOVALS_MAX - DJ_STORE_PAGE_MAX)
        list_next(selection);
    finish_if_over(selection);
}

static void remove_entry(struct selection *selection, const struct dj_entry *entry)
{
    struct dj_store_key key;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    const struct dj_removal_options options = {
        .version_max = selection->version_max,
        .is_tombstone = selection->raised == RAISED_NOTHING,
        .is_vector = selection->raised != RAISED_TENANT, /* its indexes are empty by now */
    };
    enum deja_status status = dj_engine_remove_version(selection->engine, selection->loop, &key,
                                                       &options, selection, on_removed);
    if (status == DEJA_OK)
        selection->removals++;
    else
        fail(selection, status);
}

static bool is_last_place(const struct selection *selection)
{
    return selection->place == selection->engine->tier_count;
}

/* False: a twin in a tier above has spoken for it (1). */
static bool is_news(const struct selection *selection, const struct dj_entry *entry)
{
    if (!selection->seen || selection->place == 0)
        return true;
    uint64_t noted =
        (uint64_t)(uintptr_t)dj_map_find(selection->seen, deja_slice(entry->id, sizeof entry->id));
    return noted == 0 || (!(noted & 1) && noted >> 1 < entry->version);
}

static void take_entry(struct selection *selection, const struct dj_entry *entry)
{
    if (!is_news(selection, entry))
        return;
    bool is_wanted = entry->version <= selection->version_max &&
                     dj_selector_is_match(selection->selector, entry);
    bool is_counted = is_wanted && is_live(selection, entry);
    if (selection->seen && !is_last_place(selection)) {
        uintptr_t note = (uintptr_t)(entry->version << 1 | (is_counted ? 1 : 0));
        enum deja_status status = dj_map_put(
            selection->seen, deja_slice(entry->id, sizeof entry->id), (void *)note, NULL);
        if (status != DEJA_OK && status != DEJA_ERR_LIMIT) {
            fail(selection, status);
            return;
        }
    }
    if (is_counted) {
        selection->count++;
        if (selection->selector->counted)
            selection->selector->counted(selection->selector->ctx, entry);
    }
    if (is_wanted && selection->is_removing)
        remove_entry(selection, entry);
}

/* ---- pieces ---- */

static struct dj_store *store_of(const struct selection *selection)
{
    const struct dj_engine *engine = selection->engine;
    return selection->place == 0 ? engine->options.memory
                                 : engine->tiers[selection->place - 1].tier.store;
}

static void enter_next_place(struct selection *selection)
{
    if (is_last_place(selection)) {
        selection->is_listed = true;
        return;
    }
    selection->place++;
    selection->page = (struct dj_store_page){0};
}

/* What was raised is void wherever it lies, so a tier that cannot be read only misses its sweep and
 * its count (5). */
static void pass_over(struct selection *selection, enum deja_status status)
{
    bool is_shared = selection->place > 0 &&
                     (selection->engine->tiers[selection->place - 1].bit & DJ_LEVELS_SHARED);
    if (is_shared && selection->raised != RAISED_NOTHING)
        enter_next_place(selection);
    else
        fail(selection, status);
}

static void on_page(void *ctx, enum deja_status status, uint64_t count)
{
    (void)count;
    struct selection *selection = ctx;
    struct dj_store_page *page = &selection->page;
    selection->is_listing = false;
    if (status != DEJA_OK) {
        page->is_last = false;
        pass_over(selection, status);
    }
    for (uint32_t i = 0; i < page->count; i++) {
        if (selection->status == DEJA_OK)
            take_entry(selection, dj_value_entry(page->values[i]));
        dj_value_unref(page->values[i]);
    }
    page->count = 0;
    bool is_foreign = selection->engine->options.is_lmdb_foreign;
    if (page->is_last && is_foreign && selection->raised == RAISED_TENANT) {
        selection->is_foreign_left = true;
        clear_foreign(selection);
        finish_if_over(selection);
        return;
    }
    if (page->is_last)
        enter_next_place(selection);
    if (!selection->is_listed && selection->removals <= REMOVALS_MAX - DJ_STORE_PAGE_MAX)
        list_next(selection);
    finish_if_over(selection);
}

static void list_next(struct selection *selection)
{
    while (!selection->is_listed && !selection->is_listing) {
        struct dj_store *store = store_of(selection);
        enum deja_status status = DEJA_ERR_UNSUPPORTED; /* what lists nothing cannot be counted */
        if (store->ops->list)
            status = store->ops->list(store, selection->loop, selection->tenant, &selection->page,
                                      selection, on_page);
        selection->is_listing = status == DEJA_OK;
        if (status != DEJA_OK)
            pass_over(selection, status);
    }
}

static void start(void *ctx)
{
    struct selection *selection = ctx;
    if (selection->status == DEJA_OK)
        list_next(selection);
    else
        selection->is_listed = true;
    finish_if_over(selection);
}

/* ---- beginning ---- */

/* Worker. */
static void clear_indexes(void *ctx)
{
    struct selection *selection = ctx;
    dj_indexes_clear(dj_semantic_indexes(selection->engine->semantic), selection->tenant);
}

static void end_raise(struct selection *selection, enum deja_status status)
{
    if (selection->status == DEJA_OK)
        selection->status = status;
    if (--selection->raises_left > 0)
        return;
    selection->job = (struct dj_job){
        .work = clear_indexes, .done = start, .ctx = selection, .loop = selection->loop};
    if (selection->status != DEJA_OK || selection->raised != RAISED_TENANT)
        start(selection);
    else if (dj_pool_submit(selection->engine->options.pool, &selection->job) != DEJA_OK)
        start(selection); /* the index may lag */
}

static void on_raised(void *ctx, enum deja_status status, uint64_t before)
{
    struct selection *selection = ctx;
    selection->before = before;
    end_raise(selection, status);
}

static void on_tag_raised(void *ctx, enum deja_status status, uint64_t before)
{
    const struct raise_call *call = ctx;
    call->selection->tags[call->index].generation = before;
    end_raise(call->selection, status);
}

static void on_raises_begun(void *ctx)
{
    end_raise(ctx, DEJA_OK);
}

/* One after another they are durable; all of them before anything is swept. Those that could not be
 * begun are the selection's failure, told when the others have ended. */
static enum deja_status raise_tags(struct selection *selection)
{
    const struct dj_selector *selector = selection->selector;
    struct deja_slice one = dj_selector_tag(selector);
    size_t count = one.len ? 1 : selector->any_tag_count;
    selection->tags = dj_alloc_zeroed(count, sizeof *selection->tags);
    selection->calls = dj_alloc_zeroed(count, sizeof *selection->calls);
    if (!selection->tags || !selection->calls)
        return DEJA_ERR_NOMEM;
    selection->tag_count = count;
    selection->raises_left = 1;
    for (size_t i = 0; i < count; i++) {
        selection->tags[i].name = one.len ? one : selector->any_tags[i];
        selection->calls[i] = (struct raise_call){.selection = selection, .index = i};
        enum deja_status status =
            dj_engine_raise(selection->engine, selection->loop, selection->tenant,
                            selection->tags[i].name, &selection->calls[i], on_tag_raised);
        if (status == DEJA_OK)
            selection->raises_left++;
        else if (selection->status == DEJA_OK)
            selection->status = status;
    }
    if (selector->maker && selection->status == DEJA_OK) { /* of which no counter tells (6) */
        selection->status = dj_engine_raise(selection->engine, selection->loop, selection->tenant,
                                            dj_voids_selection(), selection, on_raised);
        selection->raises_left += selection->status == DEJA_OK;
    }
    selection->task = (struct dj_task){.run = on_raises_begun, .ctx = selection};
    dj_loop_post(selection->loop, &selection->task);
    return DEJA_OK;
}

/* Only what is void where all can see it is then swept. */
static enum deja_status raise_generation(struct selection *selection)
{
    char bytes[DJ_NAMESPACE_TAG_BYTES];
    struct deja_slice tag = deja_slice(NULL, 0);
    if (selection->raised == RAISED_TAGS)
        return raise_tags(selection);
    if (selection->raised == RAISED_NAMESPACE)
        tag = dj_engine_namespace_tag(selection->selector->name_space, bytes);
    if (selection->raised == RAISED_NOTHING)
        tag = dj_voids_selection();
    selection->raises_left = 1;
    return dj_engine_raise(selection->engine, selection->loop, selection->tenant, tag, selection,
                           on_raised);
}

static enum raised what_to_raise(const struct dj_selector *selector)
{
    bool has_tags = dj_selector_tag(selector).len || selector->any_tag_count;
    int tags =
        (selector->tag.len > 0) + (selector->user_tag.len > 0) + (selector->any_tag_count > 0);
    if (selector->created_before_ms || selector->filter || selector->pattern.data ||
        selector->matches || tags > 1 || (has_tags && selector->has_name_space) ||
        (!has_tags && selector->maker))
        return RAISED_NOTHING;
    return has_tags ? RAISED_TAGS : selector->has_name_space ? RAISED_NAMESPACE : RAISED_TENANT;
}

static enum deja_status begin(struct dj_engine *engine, struct dj_loop *loop,
                              const uint8_t tenant[DJ_ID_BYTES], const struct dj_selector *selector,
                              bool is_removing, void *ctx, dj_selected_fn *done)
{
    enum deja_status status = DEJA_OK;
    struct selection *selection = dj_alloc_zeroed(1, sizeof *selection);
    if (!selection)
        return DEJA_ERR_NOMEM;
    *selection = (struct selection){.engine = engine,
                                    .loop = loop,
                                    .selector = selector,
                                    .is_removing = is_removing,
                                    .version_max = dj_engine_next_version(engine),
                                    .ctx = ctx,
                                    .done = done};
    dj_engine_enter(engine);
    memcpy(selection->tenant, tenant, sizeof selection->tenant);
    if (engine->tier_count)
        status = dj_map_create(SEEN_MAX, NULL, NULL, &selection->seen);
    selection->raised = is_removing ? what_to_raise(selector) : RAISED_NOTHING;
    bool is_raising = is_removing && !(selection->raised == RAISED_NOTHING &&
                                       selector->created_before_ms); /* (6) */
    if (status == DEJA_OK && !is_raising) {
        selection->task = (struct dj_task){.run = start, .ctx = selection};
        dj_loop_post(loop, &selection->task);
    } else if (status == DEJA_OK) {
        status = raise_generation(selection);
    }
    if (status != DEJA_OK)
        destroy(selection);
    return status;
}

enum deja_status dj_engine_count(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t tenant[DJ_ID_BYTES],
                                 const struct dj_selector *selector, void *ctx,
                                 dj_selected_fn *done)
{
    return begin(engine, loop, tenant, selector, false, ctx, done);
}

enum deja_status dj_engine_remove_selected(struct dj_engine *engine, struct dj_loop *loop,
                                           const uint8_t tenant[DJ_ID_BYTES],
                                           const struct dj_selector *selector, void *ctx,
                                           dj_selected_fn *done)
{
    return begin(engine, loop, tenant, selector, true, ctx, done);
}

/* ---- the two selectors that existed first ---- */

struct invalidation {
    struct dj_selector selector;
    char *tag; /* owned */
    void *ctx;
    dj_remove_done_fn *done; /* may be NULL */
};

static void invalidation_destroy(struct invalidation *invalidation)
{
    dj_free(invalidation->tag);
    dj_free(invalidation);
}

static void on_invalidated(void *ctx, enum deja_status status, uint64_t count)
{
    struct invalidation *invalidation = ctx;
    if (invalidation->done)
        invalidation->done(invalidation->ctx, status, count);
    invalidation_destroy(invalidation);
}

static enum deja_status invalidate(struct dj_engine *engine, struct dj_loop *loop,
                                   const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                   void *ctx, dj_remove_done_fn *done)
{
    struct invalidation *invalidation = dj_alloc_zeroed(1, sizeof *invalidation);
    if (!invalidation)
        return DEJA_ERR_NOMEM;
    invalidation->ctx = ctx;
    invalidation->done = done;
    invalidation->tag = dj_strdup(tag);
    invalidation->selector.tag = deja_slice(invalidation->tag, tag.len);
    enum deja_status status = invalidation->tag ? DEJA_OK : DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        status = dj_engine_remove_selected(engine, loop, tenant, &invalidation->selector,
                                           invalidation, on_invalidated);
    if (status != DEJA_OK)
        invalidation_destroy(invalidation);
    return status;
}

enum deja_status dj_engine_clear(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                                 dj_remove_done_fn *done)
{
    return invalidate(engine, loop, tenant, deja_slice("", 0), ctx, done);
}

enum deja_status dj_engine_invalidate_tag(struct dj_engine *engine, struct dj_loop *loop,
                                          const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                          void *ctx, dj_remove_done_fn *done)
{
    if (!tag.len)
        return DEJA_ERR_INVALID;
    return invalidate(engine, loop, tenant, tag, ctx, done);
}
