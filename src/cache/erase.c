/* cache/erase.c - see erase.h.
 *
 * (1) A level is emptied of the whole tenant by its own clear, which also takes what no listing
 *     shows: what has expired, what is void, what cannot be read any more.
 * (2) Only what was there before it began counts as left: a tenant may go on putting.
 * (3) A level that fails keeps its error; the others are done all the same.
 * (4) A level that is only read is not emptied, but looked at: it is done when those who write it
 *     have erased there, too. Entries whose keys are destroyed cannot be read, so they are not
 * left.
 */
#include "cache/erase.h"

#include "base/alloc.h"
#include "cache/engine_internal.h"

struct erasing {
    struct dj_engine *engine;
    struct dj_loop *loop;
    uint8_t tenant[DJ_ID_BYTES];
    char *tag; /* owned */
    struct dj_selector selector;
    uint64_t version_max;
    uint32_t place; /* 0: memory, then the tiers */
    struct dj_store_page page;
    struct dj_erase_result result;
    void *ctx;
    dj_erased_fn *done;
};

static void next_level(struct erasing *erasing);
static void list_next(struct erasing *erasing);

static void destroy(struct erasing *erasing)
{
    dj_engine_leave(erasing->engine);
    dj_free(erasing->tag);
    dj_free(erasing);
}

static struct dj_store *store_of(const struct erasing *erasing)
{
    return erasing->place == 0 ? erasing->engine->options.memory
                               : erasing->engine->tiers[erasing->place - 1].tier.store;
}

static struct dj_erase_level *level_of(struct erasing *erasing)
{
    return &erasing->result.levels[erasing->place];
}

static void end_level(struct erasing *erasing, enum deja_status status)
{
    struct dj_erase_level *level = level_of(erasing);
    if (level->status == DEJA_OK)
        level->status = status;
    erasing->place++;
    next_level(erasing);
}

/* ---- what is left ---- */

static bool has_tag(const struct dj_entry *entry, struct deja_slice tag)
{
    for (size_t i = 0; i < entry->tag_count; i++)
        if (deja_slice_is_equal(entry->tags[i].name, tag))
            return true;
    return tag.len == 0;
}

static void on_listed(void *ctx, enum deja_status status, uint64_t count)
{
    struct erasing *erasing = ctx;
    (void)count;
    for (uint32_t i = 0; status == DEJA_OK && i < erasing->page.count; i++) {
        const struct dj_entry *entry = dj_value_entry(erasing->page.values[i]);
        if (entry->version <= erasing->version_max && has_tag(entry, erasing->selector.tag))
            level_of(erasing)->left++;
        dj_value_unref(erasing->page.values[i]);
    }
    if (status != DEJA_OK || erasing->page.is_last)
        end_level(erasing, status);
    else
        list_next(erasing);
}

static void list_next(struct erasing *erasing)
{
    struct dj_store *store = store_of(erasing);
    if (!store->ops->list) {
        level_of(erasing)->is_unlisted = true;
        end_level(erasing, DEJA_OK);
        return;
    }
    enum deja_status status =
        store->ops->list(store, erasing->loop, erasing->tenant, &erasing->page, erasing, on_listed);
    if (status != DEJA_OK)
        end_level(erasing, status);
}

/* ---- levels ---- */

static void on_cleared(void *ctx, enum deja_status status, uint64_t removed)
{
    struct erasing *erasing = ctx;
    level_of(erasing)->removed = removed;
    if (status != DEJA_OK)
        end_level(erasing, status);
    else
        list_next(erasing);
}

static bool is_empty(const struct dj_erase_level *level)
{
    bool is_unknown = level->is_read_only && level->is_unlisted;
    return level->status == DEJA_OK && level->left == 0 && !is_unknown;
}

static void finish(struct erasing *erasing)
{
    struct dj_erase_result *result = &erasing->result;
    result->count = erasing->place;
    result->is_complete = result->status == DEJA_OK;
    for (uint32_t i = 0; i < result->count; i++)
        result->is_complete = result->is_complete && is_empty(&result->levels[i]);
    erasing->done(erasing->ctx, result);
    destroy(erasing);
}

static void next_level(struct erasing *erasing)
{
    if (erasing->place > erasing->engine->tier_count) {
        finish(erasing);
        return;
    }
    struct dj_store *store = store_of(erasing);
    struct dj_erase_level *level = level_of(erasing);
    *level = (struct dj_erase_level){
        .level = store->ops->level,
        .is_read_only =
            erasing->place > 0 && erasing->engine->tiers[erasing->place - 1].tier.is_read_only};
    erasing->page = (struct dj_store_page){.count = 0};
    if (level->is_read_only || erasing->selector.tag.len) {
        list_next(erasing);
    } else {
        enum deja_status status =
            store->ops->clear(store, erasing->loop, erasing->tenant, erasing, on_cleared);
        if (status != DEJA_OK)
            end_level(erasing, status);
    }
}

static void on_removed(void *ctx, enum deja_status status, uint64_t count)
{
    struct erasing *erasing = ctx;
    /* Also the error of a tier that could not be listed: its level tells which, below. */
    erasing->result.status = status;
    erasing->result.removed = count;
    next_level(erasing);
}

enum deja_status dj_engine_erase(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                 void *ctx, dj_erased_fn *done)
{
    struct erasing *erasing = dj_alloc_zeroed(1, sizeof *erasing);
    if (!erasing)
        return DEJA_ERR_NOMEM;
    *erasing = (struct erasing){.engine = engine, .loop = loop, .ctx = ctx, .done = done};
    dj_engine_enter(engine);
    memcpy(erasing->tenant, tenant, sizeof erasing->tenant);
    erasing->tag = dj_strdup(tag);
    erasing->selector.tag = deja_slice(erasing->tag, tag.len);
    erasing->version_max = dj_engine_next_version(engine);
    enum deja_status status = erasing->tag ? DEJA_OK : DEJA_ERR_NOMEM;
    dj_semantic_forget_texts(engine->semantic);
    if (status == DEJA_OK)
        status = dj_engine_remove_selected(engine, loop, tenant, &erasing->selector, erasing,
                                           on_removed);
    if (status != DEJA_OK)
        destroy(erasing);
    return status;
}
