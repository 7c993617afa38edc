/* cache/cascade.c - see cache/cascade.h.
 *
 *   list: a piece ──> worker: its entries into the graph ──┐
 *     ^──────────────────── the next piece ────────────────┤
 *                                            worker: walk <┘──(dry run)──────> done
 *              ┌─────────────────────────────────┘
 *              └──> roots: key, selector ──> raise names ──> remove dependants ──> done
 *
 * (1) Nothing is changed before the whole of what will go is known and within bounds.
 * (2) Roots go first: what is made from them after the raise is made from what came after.
 * (3) Names are raised before their dependants are removed, so a fill that began before is void.
 * (4) An entry that lies in several tiers is one node; what a newer copy depends on is added.
 * (5) The graph is made, walked and freed on workers, one job at a time, so no loop waits for it
 *     (I3): a cascade is either its job's or its loop's, never both's.
 */
#include "cache/cascade.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/map.h"
#include "base/num.h"
#include "cache/depends.h"
#include "cache/engine_internal.h"
#include "crypto/digest.h"

#define ARENA_BYTES_MAX (256u << 20) /* names and labels */
#define REMOVALS_MAX 1024u
#define NONE UINT32_MAX
#define UNSEEN UINT32_MAX

struct node {
    uint8_t id[DJ_ID_BYTES];
    uint64_t version; /* of the newest copy whose dependencies are known */
    uint8_t kind;
    bool is_root;
    bool has_key; /* the whole of a plain key is its label */
    struct deja_slice label;
    uint32_t told; /* its place among the reached; UNSEEN */
};

/* Of a name to one that depends on it; the list of a name begins in `names`. */
struct edge {
    uint32_t node;
    uint32_t next; /* index + 1; 0: the last */
};

struct cascade {
    struct dj_engine *engine;
    struct dj_loop *loop;
    uint8_t tenant[DJ_ID_BYTES];
    struct dj_cascade_options options;
    struct deja_slice user_tag;
    uint64_t version_max;
    uint8_t hash_key[16];
    struct dj_arena arena;
    struct dj_map *ids;   /* id -> index + 1 */
    struct dj_map *names; /* name -> first edge, index + 1 */
    struct node *nodes;
    size_t node_count;
    size_t node_cap;
    struct edge *edges;
    size_t edge_count;
    size_t edge_cap;
    uint32_t place; /* being listed: 0: memory, then the tiers */
    struct dj_store_page page;
    struct dj_cascade_node *reached;
    size_t reached_count;
    struct deja_slice raises[DJ_CASCADE_RAISES_MAX]; /* names, nearest first */
    size_t raise_count;
    size_t under_way; /* raises or removals, and one for the start */
    size_t removing;  /* the next of `reached` */
    struct dj_task task;
    struct dj_job job;
    enum deja_status status; /* of the job */
    int64_t now_ms;          /* when the job was handed over */
    struct dj_cascade_result result;
    void *ctx;
    dj_cascaded_fn *done;
};

static void list_next(struct cascade *cascade);
static void remove_more(struct cascade *cascade);

static uint64_t hash(void *ctx, struct deja_slice key)
{
    return dj_siphash(ctx, key);
}

static void destroy(void *ctx)
{
    struct cascade *cascade = ctx;
    struct dj_engine *engine = cascade->engine;
    dj_map_destroy(cascade->ids);
    dj_map_destroy(cascade->names);
    dj_arena_fini(&cascade->arena);
    dj_free(cascade->nodes);
    dj_free(cascade->edges);
    dj_free(cascade->reached);
    dj_free(cascade);
    dj_engine_leave(engine);
}

/* done NULL: work may free the cascade. */
static enum deja_status hand_over(struct cascade *cascade, dj_work_fn *work, dj_task_fn *done)
{
    cascade->now_ms = dj_loop_now_ms(cascade->loop);
    cascade->job = (struct dj_job){
        .work = work, .done = done, .ctx = cascade, .loop = done ? cascade->loop : NULL};
    return dj_pool_submit(cascade->engine->options.pool, &cascade->job);
}

static bool is_stopping(const struct cascade *cascade)
{
    return atomic_load(&cascade->engine->is_stopping);
}

static void finish(struct cascade *cascade, enum deja_status status)
{
    static const struct dj_selector nobody;
    struct dj_selector told = cascade->options.selector ? *cascade->options.selector : nobody;
    struct dj_cause cause = {.kind = "cascade", .name = cascade->options.name};
    if (cascade->result.status == DEJA_OK)
        cascade->result.status = status;
    if (cascade->options.cause) {
        cause = *cascade->options.cause;
        cause.kind = cause.kind ? cause.kind : "cascade";
        cause.name = cause.name.len ? cause.name : cascade->options.name;
    }
    told.cause = &cause;
    if (cascade->result.status == DEJA_OK && !cascade->options.is_dry_run)
        dj_engine_tell(cascade->engine, cascade->loop, cascade->tenant, &told,
                       cascade->result.removed);
    cascade->result.nodes = cascade->reached;
    cascade->result.count = cascade->reached_count;
    cascade->done(cascade->ctx, &cascade->result);
    if (hand_over(cascade, destroy, NULL) != DEJA_OK)
        destroy(cascade); /* too much is waiting: late is better than never */
}

static enum deja_status too_large(struct cascade *cascade, const char *trouble)
{
    cascade->result.trouble = trouble;
    return DEJA_ERR_LIMIT;
}

/* ---- the graph ---- */

static enum deja_status grow(void **array, size_t *cap, size_t size)
{
    size_t wanted = *cap ? *cap * 2 : 64;
    void *grown = dj_realloc(*array, wanted * size);
    if (!grown)
        return DEJA_ERR_NOMEM;
    *array = grown;
    *cap = wanted;
    return DEJA_OK;
}

static enum deja_status add_node(struct cascade *cascade, const struct dj_entry *entry,
                                 bool is_root, uint32_t *out_index)
{
    struct deja_slice id = deja_slice(entry->id, sizeof entry->id);
    size_t known = (size_t)(uintptr_t)dj_map_find(cascade->ids, id);
    enum deja_status status = DEJA_OK;
    if (known) {
        *out_index = (uint32_t)(known - 1);
        cascade->nodes[known - 1].is_root = cascade->nodes[known - 1].is_root || is_root;
        return DEJA_OK;
    }
    if (cascade->node_count == DJ_CASCADE_NODES_MAX)
        return too_large(cascade, "more than 262144 entries depend on something");
    if (cascade->node_count == cascade->node_cap)
        status = grow((void **)&cascade->nodes, &cascade->node_cap, sizeof *cascade->nodes);
    bool is_plain = entry->kind == DJ_ENTRY_PLAIN && entry->query.len <= DJ_DEPENDS_NAME_BYTES_MAX;
    size_t label = is_plain || entry->query.len < DJ_CASCADE_LABEL_BYTES_MAX
                       ? entry->query.len
                       : DJ_CASCADE_LABEL_BYTES_MAX;
    struct node node = {.kind = entry->kind,
                        .is_root = is_root,
                        .has_key = is_plain,
                        .told = UNSEEN,
                        .label =
                            dj_arena_copy(&cascade->arena, deja_slice(entry->query.data, label))};
    memcpy(node.id, entry->id, sizeof node.id);
    if (label && !node.label.data)
        return DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        status = dj_map_put(cascade->ids, id, (void *)(uintptr_t)(cascade->node_count + 1), NULL);
    if (status != DEJA_OK)
        return status;
    *out_index = (uint32_t)cascade->node_count;
    cascade->nodes[cascade->node_count++] = node;
    return DEJA_OK;
}

static enum deja_status add_edge(struct cascade *cascade, struct deja_slice name, uint32_t node)
{
    enum deja_status status = DEJA_OK;
    size_t first = (size_t)(uintptr_t)dj_map_find(cascade->names, name);
    if (cascade->edge_count == DJ_CASCADE_EDGES_MAX)
        return too_large(cascade, "there are more than 1048576 dependencies");
    if (cascade->edge_count == cascade->edge_cap)
        status = grow((void **)&cascade->edges, &cascade->edge_cap, sizeof *cascade->edges);
    if (status == DEJA_OK)
        status =
            dj_map_put(cascade->names, name, (void *)(uintptr_t)(cascade->edge_count + 1), NULL);
    if (status != DEJA_OK)
        return status;
    cascade->edges[cascade->edge_count++] = (struct edge){.node = node, .next = (uint32_t)first};
    return DEJA_OK;
}

static bool is_root(const struct cascade *cascade, const struct dj_entry *entry)
{
    const struct dj_cascade_options *options = &cascade->options;
    if (options->key && memcmp(options->key->id, entry->id, DJ_ID_BYTES) == 0)
        return true;
    return options->selector && !options->is_selector_a_bound &&
           dj_selector_is_match(options->selector, entry);
}

static bool is_within(const struct cascade *cascade, const struct dj_entry *entry)
{
    bool is_own = cascade->user_tag.len == 0;
    for (size_t i = 0; i < entry->tag_count && !is_own; i++)
        is_own = deja_slice_is_equal(entry->tags[i].name, cascade->user_tag);
    return is_own && entry->version <= cascade->version_max &&
           dj_engine_is_valid(cascade->engine, cascade->tenant, entry, cascade->now_ms, 0);
}

static enum deja_status take_entry(struct cascade *cascade, const struct dj_entry *entry)
{
    enum deja_status status = DEJA_OK;
    uint32_t index = NONE;
    if (!is_within(cascade, entry))
        return DEJA_OK;
    if (is_root(cascade, entry))
        status = add_node(cascade, entry, true, &index);
    for (size_t i = 0; i < entry->tag_count && status == DEJA_OK; i++) {
        struct deja_slice name = dj_depends_name(entry->tags[i].name);
        if (!name.data)
            continue;
        if (index == NONE)
            status = add_node(cascade, entry, false, &index);
        if (status == DEJA_OK && cascade->nodes[index].version < entry->version)
            status = add_edge(cascade, name, index);
    }
    if (index != NONE && status == DEJA_OK && cascade->nodes[index].version < entry->version)
        cascade->nodes[index].version = entry->version;
    return status;
}

/* ---- the walk ---- */

static void reach(struct cascade *cascade, uint32_t index, uint32_t parent,
                  struct deja_slice because)
{
    struct node *node = &cascade->nodes[index];
    uint32_t depth = parent == NONE ? because.len > 0 : cascade->reached[parent].depth + 1;
    if (node->told != UNSEEN)
        return;
    node->told = (uint32_t)cascade->reached_count;
    struct dj_cascade_node *told = &cascade->reached[cascade->reached_count++];
    *told = (struct dj_cascade_node){.kind = node->kind,
                                     .depth = depth,
                                     .parent = parent,
                                     .label = node->label,
                                     .because = because};
    if (told->label.len > DJ_CASCADE_LABEL_BYTES_MAX)
        told->label.len = DJ_CASCADE_LABEL_BYTES_MAX;
    memcpy(told->id, node->id, sizeof told->id);
    if (depth > cascade->result.depth)
        cascade->result.depth = depth;
}

/* Who depends on that name. always: its counter is raised though nobody does. */
static enum deja_status follow(struct cascade *cascade, struct deja_slice name, uint32_t parent,
                               bool is_always)
{
    size_t at = (size_t)(uintptr_t)dj_map_find(cascade->names, name);
    if (!at && !is_always)
        return DEJA_OK;
    struct deja_slice kept = dj_arena_copy(&cascade->arena, name);
    if (!kept.data)
        return DEJA_ERR_NOMEM;
    if (cascade->raise_count < DJ_CASCADE_RAISES_MAX)
        cascade->raises[cascade->raise_count++] = kept;
    for (; at; at = cascade->edges[at - 1].next)
        reach(cascade, cascade->edges[at - 1].node, parent, kept);
    if (cascade->result.depth > DJ_CASCADE_DEPTH_MAX)
        return too_large(cascade, "the dependencies are more than 64 levels deep");
    return DEJA_OK;
}

static enum deja_status follow_node(struct cascade *cascade, uint32_t at)
{
    char hex[2 * DJ_ID_BYTES + 1];
    uint32_t index =
        (uint32_t)((size_t)(uintptr_t)dj_map_find(
                       cascade->ids, deja_slice(cascade->reached[at].id, DJ_ID_BYTES)) -
                   1);
    const struct node *node = &cascade->nodes[index];
    struct deja_slice key = node->label;
    dj_hex_encode(node->id, DJ_ID_BYTES, hex);
    enum deja_status status = follow(cascade, deja_slice(hex, 2 * DJ_ID_BYTES), at, node->is_root);
    if (status == DEJA_OK && node->has_key && key.len)
        status = follow(cascade, key, at, node->is_root);
    return status;
}

/* Worker. */
static void walk(void *ctx)
{
    struct cascade *cascade = ctx;
    enum deja_status status = DEJA_OK;
    cascade->reached =
        dj_alloc_zeroed(cascade->node_count ? cascade->node_count : 1, sizeof *cascade->reached);
    if (!cascade->reached) {
        cascade->status = DEJA_ERR_NOMEM;
        return;
    }
    for (uint32_t i = 0; i < cascade->node_count; i++)
        if (cascade->nodes[i].is_root)
            reach(cascade, i, NONE, deja_slice(NULL, 0));
    if (cascade->options.name.len)
        status = follow(cascade, cascade->options.name, NONE, true);
    if (cascade->options.key && !cascade->reached_count) { /* gone, but what was made from it? */
        char hex[2 * DJ_ID_BYTES + 1];
        dj_hex_encode(cascade->options.key->id, DJ_ID_BYTES, hex);
        status = follow(cascade, deja_slice(hex, 2 * DJ_ID_BYTES), NONE, true);
    }
    for (uint32_t at = 0; at < cascade->reached_count && status == DEJA_OK; at++)
        status = follow_node(cascade, at);
    cascade->result.removed = cascade->reached_count;
    cascade->status = status;
}

/* ---- dependants ---- */

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct cascade *cascade = ctx;
    (void)removed; /* gone by itself meanwhile: counted all the same */
    if (cascade->result.status == DEJA_OK)
        cascade->result.status = status;
    cascade->under_way--;
    remove_more(cascade);
}

static void remove_more(struct cascade *cascade)
{
    const struct dj_removal_options options = {
        .version_max = cascade->version_max, .is_tombstone = true, .is_vector = true};
    if (is_stopping(cascade) && cascade->removing < cascade->reached_count) {
        cascade->removing = cascade->reached_count;
        if (cascade->result.status == DEJA_OK)
            cascade->result.status = DEJA_ERR_CANCELLED;
    }
    while (cascade->removing < cascade->reached_count && cascade->under_way < REMOVALS_MAX) {
        const struct dj_cascade_node *node = &cascade->reached[cascade->removing++];
        struct dj_store_key key;
        if (node->depth == 0)
            continue; /* a root */
        memcpy(key.tenant, cascade->tenant, sizeof key.tenant);
        memcpy(key.id, node->id, sizeof key.id);
        enum deja_status status = dj_engine_remove_version(cascade->engine, cascade->loop, &key,
                                                           &options, cascade, on_removed);
        if (status == DEJA_OK)
            cascade->under_way++;
        else if (cascade->result.status == DEJA_OK)
            cascade->result.status = status;
    }
    if (cascade->removing == cascade->reached_count && !cascade->under_way)
        finish(cascade, DEJA_OK);
}

static void end_raise(struct cascade *cascade, enum deja_status status)
{
    if (cascade->result.status == DEJA_OK)
        cascade->result.status = status;
    if (--cascade->under_way > 0)
        return;
    if (cascade->result.status == DEJA_OK)
        remove_more(cascade);
    else
        finish(cascade, DEJA_OK);
}

static void on_raised(void *ctx, enum deja_status status, uint64_t before)
{
    (void)before;
    end_raise(ctx, status);
}

static void raise_names(struct cascade *cascade)
{
    cascade->under_way = 1;
    for (size_t i = 0; i < cascade->raise_count && !cascade->user_tag.len; i++) {
        char bytes[DJ_DEPENDS_TAG_BYTES];
        enum deja_status status =
            dj_engine_raise(cascade->engine, cascade->loop, cascade->tenant,
                            dj_depends_tag(cascade->raises[i], bytes), cascade, on_raised);
        if (status == DEJA_OK)
            cascade->under_way++;
        else if (cascade->result.status == DEJA_OK)
            cascade->result.status = status;
    }
    end_raise(cascade, DEJA_OK);
}

/* ---- roots ---- */

static struct dj_cause untold(const struct cascade *cascade)
{
    struct dj_cause cause = {.is_untold = true};
    if (cascade->options.cause)
        cause.source = cascade->options.cause->source;
    return cause;
}

static void on_selected(void *ctx, enum deja_status status, uint64_t count)
{
    struct cascade *cascade = ctx;
    (void)count; /* they are nodes, counted with the others */
    if (status == DEJA_OK)
        raise_names(cascade);
    else
        finish(cascade, status);
}

static void on_key_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    on_selected(ctx, status, removed);
}

static void remove_roots(struct cascade *cascade)
{
    const struct dj_cascade_options *options = &cascade->options;
    const struct dj_cause cause = untold(cascade);
    enum deja_status status = DEJA_OK;
    bool is_found = cascade->reached_count && cascade->reached[0].depth == 0;
    if (options->key && (is_found || !cascade->user_tag.len))
        status = dj_engine_remove_because(cascade->engine, cascade->loop, options->key, &cause,
                                          cascade, on_key_removed);
    else if (options->selector && !options->is_selector_a_bound) {
        struct dj_selector *selector = dj_arena_alloc(&cascade->arena, sizeof *selector);
        struct dj_cause *kept = dj_arena_alloc(&cascade->arena, sizeof *kept);
        status = DEJA_ERR_NOMEM;
        if (selector && kept) {
            *kept = cause;
            *selector = *options->selector;
            selector->cause = kept;
            status = dj_engine_remove_selected(cascade->engine, cascade->loop, cascade->tenant,
                                               selector, cascade, on_selected);
        }
    } else {
        raise_names(cascade);
    }
    if (status != DEJA_OK)
        finish(cascade, status);
}

/* ---- reading ---- */

static void on_walked(void *ctx)
{
    struct cascade *cascade = ctx;
    if (cascade->status == DEJA_OK && is_stopping(cascade))
        cascade->status = DEJA_ERR_CANCELLED;
    if (cascade->status != DEJA_OK || cascade->options.is_dry_run)
        finish(cascade, cascade->status);
    else
        remove_roots(cascade);
}

/* Worker. */
static void take_page(void *ctx)
{
    struct cascade *cascade = ctx;
    struct dj_store_page *page = &cascade->page;
    for (uint32_t i = 0; i < page->count; i++) {
        if (cascade->status == DEJA_OK)
            cascade->status = take_entry(cascade, dj_value_entry(page->values[i]));
        dj_value_unref(page->values[i]);
    }
    page->count = 0;
}

static void on_taken(void *ctx)
{
    struct cascade *cascade = ctx;
    enum deja_status status = cascade->status;
    if (status == DEJA_OK && is_stopping(cascade))
        status = DEJA_ERR_CANCELLED;
    if (status == DEJA_OK && cascade->page.is_last) {
        cascade->place++;
        cascade->page = (struct dj_store_page){0};
    }
    if (status == DEJA_OK && cascade->place <= cascade->engine->tier_count)
        list_next(cascade);
    else if (status == DEJA_OK)
        status = hand_over(cascade, walk, on_walked);
    if (status != DEJA_OK)
        finish(cascade, status);
}

static void on_page(void *ctx, enum deja_status status, uint64_t count)
{
    struct cascade *cascade = ctx;
    (void)count;
    cascade->status = status;
    status = hand_over(cascade, take_page, on_taken);
    if (status == DEJA_OK)
        return;
    cascade->status = status; /* the references are given back all the same */
    take_page(cascade);
    finish(cascade, status);
}

static void list_next(struct cascade *cascade)
{
    struct dj_engine *engine = cascade->engine;
    struct dj_store *store =
        cascade->place == 0 ? engine->options.memory : engine->tiers[cascade->place - 1].tier.store;
    enum deja_status status = DEJA_ERR_UNSUPPORTED;
    if (store->ops->list)
        status = store->ops->list(store, cascade->loop, cascade->tenant, &cascade->page, cascade,
                                  on_page);
    if (status != DEJA_OK)
        finish(cascade, status);
}

static void start(void *ctx)
{
    list_next(ctx);
}

enum deja_status dj_engine_cascade(struct dj_engine *engine, struct dj_loop *loop,
                                   const uint8_t tenant[DJ_ID_BYTES],
                                   const struct dj_cascade_options *options, void *ctx,
                                   dj_cascaded_fn *done)
{
    struct cascade *cascade = dj_alloc_zeroed(1, sizeof *cascade);
    if (!cascade)
        return DEJA_ERR_NOMEM;
    *cascade = (struct cascade){.engine = engine,
                                .loop = loop,
                                .options = *options,
                                .version_max = dj_engine_next_version(engine),
                                .ctx = ctx,
                                .done = done};
    dj_engine_enter(engine);
    memcpy(cascade->tenant, tenant, sizeof cascade->tenant);
    if (options->selector)
        cascade->user_tag = options->selector->user_tag;
    dj_arena_init(&cascade->arena, ARENA_BYTES_MAX);
    dj_random_bytes(cascade->hash_key, sizeof cascade->hash_key);
    enum deja_status status = dj_map_create(DJ_CASCADE_NODES_MAX, NULL, NULL, &cascade->ids);
    if (status == DEJA_OK)
        status = dj_map_create(DJ_CASCADE_EDGES_MAX, hash, cascade->hash_key, &cascade->names);
    if (status != DEJA_OK) {
        destroy(cascade);
        return status;
    }
    cascade->task = (struct dj_task){.run = start, .ctx = cascade};
    dj_loop_post(loop, &cascade->task);
    return DEJA_OK;
}
