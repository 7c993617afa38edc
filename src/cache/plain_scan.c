/* cache/plain_scan.c - names of plain keys by pattern: told piece by piece, counted, removed.
 *
 *   memory ── tier ── tier ...    each listed in turn; what was told is remembered by its id
 *
 * (1) A walk is what a cursor names: a place, a position in it, and the ids told so far, so that an
 *     entry that several tiers have is told once. Beyond SEEN_MAX ids (of all walks together) one
 *     may be told again, never left out.
 * (2) WALKS_MAX walks are remembered; the one longest not used gives way, first of those of the
 * same tenant when that has more than its share. (3) A walk in use is nobody else's: a second call
 * with its cursor is told DEJA_ERR_BUSY.
 */
#include "base/alloc.h"
#include "base/slice.h"
#include "cache/plain_internal.h"
#include "policy/glob.h"
#include "security/user.h"

#define WALKS_MAX 1024u
#define TENANT_WALKS_MAX 64u
#define SEEN_MAX 2097152u
#define LOOKED_MAX 4096u                   /* entries looked at for one piece */
#define VALUES_BYTES_MAX ((size_t)8 << 20) /* a piece that holds more is told as it is */

struct walk {
    struct dj_list member; /* of walks->list: longest not used first */
    uint64_t cursor;
    uint8_t tenant[DJ_ID_BYTES];
    bool is_busy;
    uint32_t place; /* 0: memory, then the tiers */
    struct dj_store_page page;
    struct dj_map *seen; /* NULL: there is one place only */
};

struct dj_plain_walks {
    pthread_mutex_t mutex; /* of all below, and of each walk's member and is_busy */
    struct dj_list list;
    uint32_t count;
    _Atomic uint64_t seen; /* ids remembered by all walks */
};

enum deja_status dj_plain_walks_create(struct dj_plain_walks **out_walks)
{
    struct dj_plain_walks *walks = dj_alloc_zeroed(1, sizeof *walks);
    if (!walks)
        return DEJA_ERR_NOMEM;
    if (pthread_mutex_init(&walks->mutex, NULL) != 0) {
        dj_free(walks);
        return DEJA_ERR_NOMEM;
    }
    dj_list_init(&walks->list);
    *out_walks = walks;
    return DEJA_OK;
}

static void walk_destroy(struct dj_plain_walks *walks, struct walk *walk)
{
    if (!walk)
        return;
    if (walk->seen)
        atomic_fetch_sub(&walks->seen, dj_map_count(walk->seen));
    dj_map_destroy(walk->seen);
    dj_free(walk);
}

void dj_plain_walks_destroy(struct dj_plain_walks *walks)
{
    if (!walks)
        return;
    while (!dj_list_is_empty(&walks->list)) {
        struct walk *walk = DJ_CONTAINER(walks->list.next, struct walk, member);
        dj_list_remove(&walk->member);
        walk_destroy(walks, walk);
    }
    pthread_mutex_destroy(&walks->mutex);
    dj_free(walks);
}

/* ---- the table ---- */

/* Under mutex: who has to go so that one of that tenant finds room; NULL: nobody. */
static struct walk *choose_victim(struct dj_plain_walks *walks, const uint8_t *tenant)
{
    struct walk *oldest = NULL;
    struct walk *own = NULL;
    uint32_t own_count = 0;
    for (struct dj_list *at = walks->list.next; at != &walks->list; at = at->next) {
        struct walk *walk = DJ_CONTAINER(at, struct walk, member);
        bool is_own = memcmp(walk->tenant, tenant, DJ_ID_BYTES) == 0;
        own_count += is_own;
        if (walk->is_busy)
            continue;
        if (!oldest)
            oldest = walk;
        if (is_own && !own)
            own = walk;
    }
    if (own_count >= TENANT_WALKS_MAX)
        return own;
    return walks->count >= WALKS_MAX ? oldest : NULL;
}

/* Takes walk, which is in use. */
static void add_walk(struct dj_plain_walks *walks, struct walk *walk)
{
    pthread_mutex_lock(&walks->mutex);
    struct walk *victim = choose_victim(walks, walk->tenant);
    if (victim) {
        dj_list_remove(&victim->member);
        walks->count--;
    }
    dj_list_push_back(&walks->list, &walk->member);
    walks->count++;
    pthread_mutex_unlock(&walks->mutex);
    walk_destroy(walks, victim);
}

/* *out_walk NULL: it is not known any more. */
static enum deja_status take_walk(struct dj_plain_walks *walks, const uint8_t *tenant,
                                  uint64_t cursor, struct walk **out_walk)
{
    enum deja_status status = DEJA_OK;
    *out_walk = NULL;
    pthread_mutex_lock(&walks->mutex);
    for (struct dj_list *at = walks->list.next; at != &walks->list; at = at->next) {
        struct walk *walk = DJ_CONTAINER(at, struct walk, member);
        if (walk->cursor != cursor || memcmp(walk->tenant, tenant, DJ_ID_BYTES) != 0)
            continue;
        if (walk->is_busy) {
            status = DEJA_ERR_BUSY;
            break;
        }
        walk->is_busy = true;
        dj_list_remove(&walk->member);
        dj_list_push_back(&walks->list, &walk->member);
        *out_walk = walk;
        break;
    }
    pthread_mutex_unlock(&walks->mutex);
    return status;
}

static void return_walk(struct dj_plain_walks *walks, struct walk *walk, bool is_over)
{
    pthread_mutex_lock(&walks->mutex);
    walk->is_busy = false;
    if (is_over) {
        dj_list_remove(&walk->member);
        walks->count--;
    }
    pthread_mutex_unlock(&walks->mutex);
    if (is_over)
        walk_destroy(walks, walk);
}

/* ---- what is wanted ---- */

/* Slices: of whoever holds it. */
struct wanted {
    struct deja_slice name_space;
    struct deja_slice user_tag; /* empty: what no user stored */
    bool is_every_user;
    struct deja_slice pattern; /* data NULL: any */
    struct deja_slice reason;  /* of a removal */
};

static bool is_of_user(const struct wanted *wanted, const struct dj_entry *entry)
{
    struct deja_slice tag = deja_slice("", 0);
    for (size_t i = 0; i < entry->tag_count && tag.len == 0; i++)
        if (dj_tag_is_of_user(entry->tags[i].name))
            tag = entry->tags[i].name;
    return wanted->is_every_user || deja_slice_is_equal(tag, wanted->user_tag);
}

static bool is_wanted(const struct wanted *wanted, const struct dj_entry *entry)
{
    return entry->kind == DJ_ENTRY_PLAIN &&
           deja_slice_is_equal(entry->name_space, wanted->name_space) &&
           is_of_user(wanted, entry) &&
           (!wanted->pattern.data || dj_glob_is_match(wanted->pattern, entry->query));
}

static struct deja_slice keep(char **at, struct deja_slice bytes)
{
    return bytes.data ? dj_slice_place(at, bytes) : bytes;
}

static size_t wanted_bytes(const struct dj_plain_space *space,
                           const struct dj_plain_selector *selector)
{
    return space->name_space.len + space->user_tag.len + selector->pattern.len +
           selector->reason.len;
}

static struct wanted keep_wanted(const struct dj_plain_space *space,
                                 const struct dj_plain_selector *selector, char *bytes)
{
    struct wanted wanted = {0};
    wanted.name_space = keep(&bytes, space->name_space);
    wanted.user_tag = keep(&bytes, space->user_tag);
    wanted.is_every_user = selector->is_every_user;
    wanted.pattern = keep(&bytes, selector->pattern);
    wanted.reason = keep(&bytes, selector->reason);
    return wanted;
}

static bool is_pattern(const struct dj_plain_selector *selector)
{
    return selector->pattern.len <= DJ_GLOB_PATTERN_BYTES_MAX;
}

/* ---- one piece ---- */

struct scan {
    struct dj_plain *plain;
    struct dj_loop *loop;
    struct walk *walk; /* NULL: the cursor was not known */
    struct wanted wanted;
    uint8_t tenant[DJ_ID_BYTES];
    uint32_t limit;
    uint32_t looked;
    bool is_over;
    enum deja_status status;
    struct dj_task task;
    void *ctx;
    dj_plain_scanned_fn *scanned;
    struct dj_value *values[DJ_PLAIN_PAGE_MAX + DJ_STORE_PAGE_MAX]; /* owned */
    uint32_t count;
    size_t values_bytes; /* of all of them */
    char bytes[];
};

static void end_scan(void *ctx)
{
    struct scan *scan = ctx;
    struct dj_engine *engine = scan->plain->options.engine;
    bool is_over = scan->is_over || scan->status != DEJA_OK || !scan->walk;
    uint64_t cursor = is_over ? 0 : scan->walk->cursor;
    if (scan->walk)
        return_walk(scan->plain->walks, scan->walk, is_over);
    scan->scanned(scan->ctx, scan->status, cursor, scan->values, scan->count);
    for (uint32_t i = 0; i < scan->count; i++)
        dj_value_unref(scan->values[i]);
    dj_free(scan);
    dj_engine_leave(engine);
}

/* False: it was told before. */
static bool is_news(struct scan *scan, const struct dj_entry *entry)
{
    struct walk *walk = scan->walk;
    struct deja_slice id = deja_slice(entry->id, sizeof entry->id);
    if (!walk->seen)
        return true;
    if (dj_map_find(walk->seen, id))
        return false;
    if (walk->place == scan->plain->options.engine->tier_count)
        return true; /* the last place: nobody will ask again */
    if (atomic_load(&scan->plain->walks->seen) < SEEN_MAX &&
        dj_map_put(walk->seen, id, walk, NULL) == DEJA_OK)
        atomic_fetch_add(&scan->plain->walks->seen, 1);
    return true;
}

static void take(struct scan *scan, struct dj_value *value)
{
    const struct dj_entry *entry = dj_value_entry(value);
    scan->looked++;
    if (is_wanted(&scan->wanted, entry) && !dj_plain_is_previous(entry->query) &&
        dj_engine_is_valid(scan->plain->options.engine, scan->tenant, entry,
                           dj_loop_now_ms(scan->loop), 0) &&
        is_news(scan, entry)) {
        scan->values[scan->count++] = value;
        scan->values_bytes += dj_value_bytes(value);
    } else {
        dj_value_unref(value);
    }
}

static void list_next(struct scan *scan);

static void on_page(void *ctx, enum deja_status status, uint64_t count)
{
    struct scan *scan = ctx;
    struct walk *walk = scan->walk;
    struct dj_store_page *page = &walk->page;
    (void)count;
    scan->status = status;
    for (uint32_t i = 0; i < page->count; i++)
        take(scan, page->values[i]);
    page->count = 0;
    if (page->is_last) {
        *page = (struct dj_store_page){0};
        scan->is_over = walk->place++ == scan->plain->options.engine->tier_count;
    }
    if (scan->is_over || scan->status != DEJA_OK || scan->count >= scan->limit ||
        scan->values_bytes >= VALUES_BYTES_MAX || scan->looked >= LOOKED_MAX)
        end_scan(scan);
    else
        list_next(scan);
}

/* A tier that cannot be listed or read now tells nothing (I4), like one that is not there. */
static void list_next(struct scan *scan)
{
    struct dj_engine *engine = scan->plain->options.engine;
    struct walk *walk = scan->walk;
    for (; walk->place <= engine->tier_count; walk->place++) {
        struct dj_store *store =
            walk->place == 0 ? engine->options.memory : engine->tiers[walk->place - 1].tier.store;
        bool is_readable =
            walk->place == 0 ||
            dj_engine_may_read(engine, &engine->tiers[walk->place - 1], dj_loop_now_ms(scan->loop));
        if (store->ops->list && is_readable &&
            store->ops->list(store, scan->loop, scan->tenant, &walk->page, scan, on_page) ==
                DEJA_OK)
            return;
        walk->page = (struct dj_store_page){0};
    }
    scan->is_over = true;
    scan->task = (struct dj_task){.run = end_scan, .ctx = scan};
    dj_loop_post(scan->loop, &scan->task);
}

bool dj_plain_is_previous(struct deja_slice key)
{
    const size_t len = sizeof DJ_PLAIN_PREVIOUS - 1;
    return key.len > len && memcmp(key.data + key.len - len, DJ_PLAIN_PREVIOUS, len) == 0;
}

static enum deja_status begin_walk(struct dj_plain *plain, const uint8_t tenant[DJ_ID_BYTES],
                                   struct walk **out_walk)
{
    struct walk *walk = dj_alloc_zeroed(1, sizeof *walk);
    enum deja_status status = walk ? DEJA_OK : DEJA_ERR_NOMEM;
    if (walk && plain->options.engine->tier_count > 0)
        status = dj_map_create(SEEN_MAX, NULL, NULL, &walk->seen);
    if (status != DEJA_OK) {
        dj_free(walk);
        return status;
    }
    memcpy(walk->tenant, tenant, sizeof walk->tenant);
    walk->is_busy = true;
    while (walk->cursor == 0) { /* a number that all clients can carry, and nobody guesses */
        dj_random_bytes(&walk->cursor, sizeof walk->cursor);
        walk->cursor >>= 11;
    }
    add_walk(plain->walks, walk);
    *out_walk = walk;
    return DEJA_OK;
}

enum deja_status dj_plain_scan(struct dj_plain *plain, struct dj_loop *loop,
                               const struct dj_plain_space *space,
                               const struct dj_plain_selector *selector, uint64_t cursor,
                               uint32_t limit, void *ctx, dj_plain_scanned_fn *scanned)
{
    if (limit == 0 || limit > DJ_PLAIN_PAGE_MAX || !is_pattern(selector))
        return DEJA_ERR_INVALID;
    struct scan *scan = dj_alloc_zeroed(1, sizeof *scan + wanted_bytes(space, selector));
    if (!scan)
        return DEJA_ERR_NOMEM;
    scan->plain = plain;
    scan->loop = loop;
    scan->limit = limit;
    scan->ctx = ctx;
    scan->scanned = scanned;
    scan->wanted = keep_wanted(space, selector, scan->bytes);
    memcpy(scan->tenant, space->tenant, sizeof scan->tenant);
    enum deja_status status = cursor ? take_walk(plain->walks, space->tenant, cursor, &scan->walk)
                                     : begin_walk(plain, space->tenant, &scan->walk);
    if (status != DEJA_OK) {
        dj_free(scan);
        return status;
    }
    dj_engine_enter(plain->options.engine);
    if (scan->walk) {
        list_next(scan);
    } else {
        scan->task = (struct dj_task){.run = end_scan, .ctx = scan};
        dj_loop_post(loop, &scan->task);
    }
    return DEJA_OK;
}

/* ---- all of them ---- */

struct sum {
    struct dj_selector selector;
    struct wanted wanted;
    struct dj_cause cause;
    struct dj_plain_sum total;
    void *ctx;
    dj_plain_counted_fn *done;
    char bytes[];
};

static bool sum_matches(void *ctx, const struct dj_entry *entry)
{
    const struct sum *sum = ctx;
    return is_wanted(&sum->wanted, entry);
}

static void sum_add(void *ctx, const struct dj_entry *entry)
{
    struct sum *sum = ctx;
    if (dj_plain_is_previous(entry->query))
        return;
    sum->total.keys++;
    sum->total.ending += entry->expires_ms != 0;
    sum->total.bytes += entry->query.len + entry->body.len + entry->metadata.len;
}

static void on_selected(void *ctx, enum deja_status status, uint64_t count)
{
    struct sum *sum = ctx;
    (void)count;
    sum->done(sum->ctx, status, &sum->total);
    dj_free(sum);
}

static enum deja_status begin_sum(struct dj_plain *plain, struct dj_loop *loop,
                                  const struct dj_plain_space *space,
                                  const struct dj_plain_selector *selector, bool is_removing,
                                  struct sum *sum)
{
    struct dj_engine *engine = plain->options.engine;
    sum->wanted = keep_wanted(space, selector, sum->bytes);
    sum->selector = (struct dj_selector){
        .has_name_space = true,
        .name_space = sum->wanted.name_space,
        .matches = sum_matches,
        .counted = sum_add,
        .ctx = sum,
        .cause = &sum->cause,
    };
    sum->cause = (struct dj_cause){.kind = "pattern",
                                   .name = sum->wanted.pattern.len ? sum->wanted.pattern
                                                                   : deja_slice_text("*"),
                                   .reason = sum->wanted.reason};
    return is_removing
               ? dj_engine_remove_selected(engine, loop, space->tenant, &sum->selector, sum,
                                           on_selected)
               : dj_engine_count(engine, loop, space->tenant, &sum->selector, sum, on_selected);
}

static enum deja_status sum_up(struct dj_plain *plain, struct dj_loop *loop,
                               const struct dj_plain_space *space,
                               const struct dj_plain_selector *selector, bool is_removing,
                               void *ctx, dj_plain_counted_fn *done)
{
    if (!is_pattern(selector))
        return DEJA_ERR_INVALID;
    struct sum *sum = dj_alloc_zeroed(1, sizeof *sum + wanted_bytes(space, selector));
    if (!sum)
        return DEJA_ERR_NOMEM;
    sum->ctx = ctx;
    sum->done = done;
    enum deja_status status = begin_sum(plain, loop, space, selector, is_removing, sum);
    if (status != DEJA_OK)
        dj_free(sum);
    return status;
}

enum deja_status dj_plain_count(struct dj_plain *plain, struct dj_loop *loop,
                                const struct dj_plain_space *space,
                                const struct dj_plain_selector *selector, void *ctx,
                                dj_plain_counted_fn *done)
{
    return sum_up(plain, loop, space, selector, false, ctx, done);
}

enum deja_status dj_plain_clear(struct dj_plain *plain, struct dj_loop *loop,
                                const struct dj_plain_space *space,
                                const struct dj_plain_selector *selector, void *ctx,
                                dj_plain_counted_fn *done)
{
    return sum_up(plain, loop, space, selector, true, ctx, done);
}
