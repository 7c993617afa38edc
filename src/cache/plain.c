/* cache/plain.c - see plain.h: names, reads and figures; writes are plain_change.c, names by
 * pattern plain_scan.c. Trust: keys are untrusted.
 */
#include "cache/plain.h"

#include "base/alloc.h"
#include "cache/plain_internal.h"

#define FAMILY "deja plain 1"
#define CHANGES_MAX_DEFAULT 65536u
#define LEASE_MS_DEFAULT 5000u
#define WAIT_MS_DEFAULT 3000u
#define TENANTS_MAX 20000u

static enum deja_status create_loop(const struct dj_plain_options *options, uint32_t index,
                                    struct dj_plain_loop *here)
{
    here->loop = options->loops[index];
    here->has_mutex = pthread_mutex_init(&here->mutex, NULL) == 0;
    enum deja_status status = here->has_mutex ? DEJA_OK : DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        status = dj_map_create(options->changes_max, NULL, NULL, &here->lines);
    if (status == DEJA_OK)
        status = dj_map_create(TENANTS_MAX, NULL, NULL, &here->tenants);
    return status;
}

static void destroy_loop(struct dj_plain_loop *here)
{
    size_t cursor = 0;
    struct deja_slice tenant;
    void *counters = NULL;
    while (here->tenants && dj_map_next(here->tenants, &cursor, &tenant, &counters))
        dj_free(counters);
    dj_map_destroy(here->tenants);
    dj_map_destroy(here->lines);
    if (here->has_mutex)
        pthread_mutex_destroy(&here->mutex);
}

static enum deja_status create_loops(struct dj_plain *plain)
{
    const struct dj_plain_options *options = &plain->options;
    plain->loops =
        dj_alloc_aligned(DJ_PLAIN_CACHE_LINE, options->loop_count * sizeof *plain->loops);
    if (!plain->loops)
        return DEJA_ERR_NOMEM;
    memset(plain->loops, 0, options->loop_count * sizeof *plain->loops);
    enum deja_status status = DEJA_OK;
    for (uint32_t i = 0; i < options->loop_count && status == DEJA_OK; i++) {
        status = create_loop(options, i, &plain->loops[i]);
    }
    return status;
}

enum deja_status dj_plain_create(const struct dj_plain_options *options,
                                 struct dj_plain **out_plain)
{
    struct dj_plain *plain = dj_alloc_zeroed(1, sizeof *plain);
    if (!plain)
        return DEJA_ERR_NOMEM;
    plain->options = *options;
    if (!plain->options.changes_max)
        plain->options.changes_max = CHANGES_MAX_DEFAULT;
    if (!plain->options.lease_ms)
        plain->options.lease_ms = LEASE_MS_DEFAULT;
    if (!plain->options.wait_ms)
        plain->options.wait_ms = WAIT_MS_DEFAULT;
    plain->is_shared = dj_engine_has_lock(options->engine) &&
                       (dj_engine_levels(options->engine, DJ_ENTRY_PLAIN) & DJ_LEVELS_SHARED) != 0;
    enum deja_status status = create_loops(plain);
    if (status == DEJA_OK)
        status = dj_plain_walks_create(&plain->walks);
    if (status != DEJA_OK) {
        dj_plain_destroy(plain);
        return status;
    }
    *out_plain = plain;
    return DEJA_OK;
}

void dj_plain_destroy(struct dj_plain *plain)
{
    if (!plain)
        return;
    for (uint32_t i = 0; plain->loops && i < plain->options.loop_count; i++)
        destroy_loop(&plain->loops[i]);
    dj_free(plain->loops);
    dj_plain_walks_destroy(plain->walks);
    dj_free(plain);
}

/* ---- names ---- */

void dj_plain_space_init(struct dj_plain_space *space, const uint8_t tenant[DJ_ID_BYTES],
                         const uint8_t fingerprint_key[DJ_SHA256_BYTES],
                         struct deja_slice name_space, struct deja_slice user_tag)
{
    memcpy(space->tenant, tenant, sizeof space->tenant);
    dj_hmac_key_init(&space->names, fingerprint_key);
    space->name_space = name_space;
    space->user_tag = user_tag;
}

void dj_plain_space_fini(struct dj_plain_space *space)
{
    dj_hmac_key_fini(&space->names);
}

void dj_plain_digest(const struct dj_plain_space *space, struct deja_slice key,
                     uint8_t out_digest[DJ_SHA256_BYTES])
{
    uint32_t len = (uint32_t)space->name_space.len; /* so that the two do not run together */
    const struct deja_slice parts[] = {
        deja_slice(FAMILY, sizeof FAMILY),
        deja_slice(space->tenant, sizeof space->tenant),
        deja_slice(&len, sizeof len),
        space->name_space,
        key,
    };
    dj_hmac_ready(&space->names, parts, sizeof parts / sizeof *parts, out_digest);
}

void dj_plain_key(const struct dj_plain_space *space, struct deja_slice key,
                  struct dj_store_key *out_key)
{
    uint8_t digest[DJ_SHA256_BYTES];
    dj_plain_digest(space, key, digest);
    memcpy(out_key->tenant, space->tenant, sizeof out_key->tenant);
    memcpy(out_key->id, digest, sizeof out_key->id);
}

/* ---- reads ---- */

static enum dj_level level_of(const char *level)
{
    uint32_t bit = dj_level_bit(deja_slice_text(level));
    uint32_t index = DJ_LEVEL_LMDB; /* a store that stands in its place */
    for (uint32_t i = 0; i < DJ_LEVEL_COUNT; i++)
        if (bit == DJ_LEVEL_BIT(i))
            index = i;
    return (enum dj_level)index;
}

uint64_t dj_plain_ttl_ms(const struct dj_plain *plain, struct deja_slice key)
{
    const struct dj_kind *kind = dj_plain_kind(plain, key);
    return kind ? dj_kind_ttl_ms(kind, key) : 0;
}

/* Whose look-up it was. */
struct asked {
    const uint8_t *tenant;
    const struct dj_kind *kind; /* NULL: none */
};

static void count(struct dj_plain_counters *counters, enum dj_plain_event event,
                  enum dj_level level)
{
    _Atomic uint64_t *const counts[] = {
        [DJ_PLAIN_HIT] = &counters->hits[level],
        [DJ_PLAIN_MISS] = &counters->misses,
        [DJ_PLAIN_WRITTEN] = &counters->puts,
        [DJ_PLAIN_REMOVED] = &counters->removals,
    };
    atomic_fetch_add_explicit(counts[event], 1, memory_order_relaxed);
}

/* NULL: there are too many, or no memory. */
static struct dj_plain_counters *counters_of(struct dj_plain_loop *here,
                                             const uint8_t tenant[DJ_ID_BYTES])
{
    struct deja_slice name = deja_slice(tenant, DJ_ID_BYTES);
    struct dj_plain_counters *counters = dj_map_find(here->tenants, name);
    if (counters || dj_map_count(here->tenants) == TENANTS_MAX)
        return counters;
    counters = dj_alloc_zeroed(1, sizeof *counters);
    pthread_mutex_lock(&here->mutex);
    if (counters && dj_map_put(here->tenants, name, counters, NULL) != DEJA_OK) {
        dj_free(counters);
        counters = NULL;
    }
    pthread_mutex_unlock(&here->mutex);
    return counters;
}

void dj_plain_note(struct dj_plain_loop *here, const uint8_t tenant[DJ_ID_BYTES],
                   enum dj_plain_event event, enum dj_level level)
{
    struct dj_plain_counters *counters = counters_of(here, tenant);
    count(&here->all, event, level);
    if (counters)
        count(counters, event, level);
}

/* level: NULL where value is. */
static void note_read(const struct dj_plain *plain, struct dj_loop *loop, const struct asked *asked,
                      const struct dj_value *value, const char *level)
{
    struct dj_plain_loop *here = dj_plain_here(plain, loop);
    if (plain->options.looked)
        plain->options.looked(plain->options.looked_ctx, asked->tenant, asked->kind,
                              value ? dj_value_entry(value) : NULL);
    enum dj_level place = value ? level_of(level) : DJ_LEVEL_MEMORY;
    dj_kind_book_note(plain->options.kinds, asked->tenant, asked->kind,
                      value ? DJ_KIND_NOTE_HIT : DJ_KIND_NOTE_MISS, place, 1);
    if (!value) {
        dj_plain_note(here, asked->tenant, DJ_PLAIN_MISS, DJ_LEVEL_MEMORY);
        return;
    }
    dj_plain_note(here, asked->tenant, DJ_PLAIN_HIT, place);
    dj_engine_note_hit(plain->options.engine, loop, dj_value_entry(value));
}

/* Found in memory: a life that slides begins anew behind the answer. */
static void slide(struct dj_plain *plain, struct dj_loop *loop, const struct dj_kind *kind,
                  const struct dj_plain_space *space, struct deja_slice key,
                  const struct dj_value *value)
{
    const struct dj_entry *entry = dj_value_entry(value);
    if (kind &&
        dj_kind_is_slide_due(kind, entry->created_ms, entry->expires_ms, dj_loop_now_ms(loop)))
        dj_plain_slide_found(dj_plain_slide_create(plain, loop, kind, space, key), value);
}

struct dj_value *dj_plain_find(struct dj_plain *plain, struct dj_loop *loop,
                               const struct dj_plain_space *space, struct deja_slice key)
{
    struct dj_store_key name;
    dj_plain_key(space, key, &name);
    struct dj_value *value = dj_engine_find(plain->options.engine, loop, &name, 0);
    if (value) {
        const struct asked asked = {space->tenant, dj_plain_kind(plain, key)};
        note_read(plain, loop, &asked, value, dj_level_text(DJ_LEVEL_MEMORY));
        slide(plain, loop, asked.kind, space, key, value);
    }
    return value;
}

struct get {
    struct dj_plain *plain;
    struct dj_loop *loop;
    uint8_t tenant[DJ_ID_BYTES];
    const struct dj_kind *kind;
    struct dj_plain_slide *slide; /* NULL: its life does not slide */
    void *ctx;
    dj_plain_got_fn *got;
};

static void on_got(void *ctx, struct dj_value *value, const char *level)
{
    struct get *get = ctx;
    const struct asked asked = {get->tenant, get->kind};
    note_read(get->plain, get->loop, &asked, value, level);
    dj_plain_slide_found(get->slide, value);
    get->got(get->ctx, value, level);
    dj_free(get);
}

enum deja_status dj_plain_get(struct dj_plain *plain, struct dj_loop *loop,
                              const struct dj_plain_space *space, struct deja_slice key,
                              uint32_t skip, void *ctx, dj_plain_got_fn *got)
{
    struct dj_store_key name;
    struct get *get = dj_alloc(sizeof *get);
    if (!get)
        return DEJA_ERR_NOMEM;
    *get = (struct get){
        .plain = plain, .loop = loop, .kind = dj_plain_kind(plain, key), .ctx = ctx, .got = got};
    memcpy(get->tenant, space->tenant, sizeof get->tenant);
    get->slide = dj_plain_slide_create(plain, loop, get->kind, space, key);
    dj_plain_key(space, key, &name);
    enum deja_status status = dj_engine_get(plain->options.engine, loop, &name,
                                            skip | dj_kind_skip(get->kind), get, on_got);
    if (status != DEJA_OK) {
        dj_plain_slide_found(get->slide, NULL);
        dj_free(get);
    }
    return status;
}

/* ---- many ---- */

struct many;

struct many_item {
    struct many *many;
    size_t index;
    const struct dj_kind *kind;
    struct dj_plain_slide *slide; /* as a get's */
};

/* One block: the items, then the values, then the levels. */
struct many {
    struct dj_plain *plain;
    struct dj_loop *loop;
    uint8_t tenant[DJ_ID_BYTES];
    size_t count;
    size_t left; /* under way, and one for the start */
    struct dj_value **values;
    const char **levels;
    struct dj_task task;
    void *ctx;
    dj_plain_got_many_fn *got;
    struct many_item items[];
};

static void finish_many(void *ctx)
{
    struct many *many = ctx;
    for (size_t i = 0; i < many->count; i++) {
        const struct asked asked = {many->tenant, many->items[i].kind};
        note_read(many->plain, many->loop, &asked, many->values[i], many->levels[i]);
        dj_plain_slide_found(many->items[i].slide, many->values[i]);
    }
    many->got(many->ctx, many->values, many->levels, many->count);
    dj_engine_leave(many->plain->options.engine);
    dj_free(many);
}

static void on_got_one(void *ctx, struct dj_value *value, const char *level)
{
    struct many_item *item = ctx;
    struct many *many = item->many;
    many->values[item->index] = value;
    many->levels[item->index] = level;
    if (--many->left == 0)
        finish_many(many);
}

/* All walks begin in one turn of the loop, so each tier gets its questions together. */
static void ask_one(struct many *many, const struct dj_plain_space *space, struct deja_slice key,
                    uint32_t skip, size_t index)
{
    struct dj_engine *engine = many->plain->options.engine;
    struct dj_store_key name;
    const struct dj_kind *kind = dj_plain_kind(many->plain, key);
    many->items[index] = (struct many_item){
        .many = many,
        .index = index,
        .kind = kind,
        .slide = dj_plain_slide_create(many->plain, many->loop, kind, space, key)};
    skip |= dj_kind_skip(kind);
    dj_plain_key(space, key, &name);
    if (!(skip & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY)))
        many->values[index] = dj_engine_find(engine, many->loop, &name, 0);
    if (many->values[index]) {
        many->levels[index] = dj_level_text(DJ_LEVEL_MEMORY);
        return;
    }
    const struct dj_walk_options walk = {.key = name, .skip = skip};
    if (dj_engine_walk(engine, many->loop, &walk, &many->items[index], NULL, on_got_one) == DEJA_OK)
        many->left++;
}

enum deja_status dj_plain_get_many(struct dj_plain *plain, struct dj_loop *loop,
                                   const struct dj_plain_space *space,
                                   const struct deja_slice *keys, size_t count, uint32_t skip,
                                   void *ctx, dj_plain_got_many_fn *got)
{
    if (count == 0 || count > DJ_PLAIN_MANY_MAX)
        return DEJA_ERR_INVALID;
    size_t bytes = sizeof(struct many) +
                   count * (sizeof(struct many_item) + sizeof(struct dj_value *) + sizeof(char *));
    struct many *many = dj_alloc_zeroed(1, bytes);
    if (!many)
        return DEJA_ERR_NOMEM;
    many->plain = plain;
    many->loop = loop;
    memcpy(many->tenant, space->tenant, sizeof many->tenant);
    many->count = count;
    many->left = 1;
    many->values = (struct dj_value **)(void *)(many->items + count);
    many->levels = (const char **)(void *)(many->values + count);
    many->ctx = ctx;
    many->got = got;
    dj_engine_enter(plain->options.engine);
    for (size_t i = 0; i < count; i++)
        ask_one(many, space, keys[i], skip, i);
    if (--many->left == 0) {
        many->task = (struct dj_task){.run = finish_many, .ctx = many};
        dj_loop_post(loop, &many->task);
    }
    return DEJA_OK;
}

/* ---- inspect ---- */

static void add(const struct dj_plain_counters *counters, struct dj_plain_stats *stats)
{
    for (uint32_t level = 0; level < DJ_LEVEL_COUNT; level++)
        stats->hits[level] += atomic_load(&counters->hits[level]);
    stats->misses += atomic_load(&counters->misses);
    stats->puts += atomic_load(&counters->puts);
    stats->removals += atomic_load(&counters->removals);
}

void dj_plain_stats(const struct dj_plain *plain, const uint8_t *tenant,
                    struct dj_plain_stats *out_stats)
{
    *out_stats = (struct dj_plain_stats){0};
    for (uint32_t i = 0; i < plain->options.loop_count; i++) {
        struct dj_plain_loop *here = &plain->loops[i];
        if (!tenant) {
            add(&here->all, out_stats);
            out_stats->waiting += atomic_load(&here->waiting);
            continue;
        }
        pthread_mutex_lock(&here->mutex);
        const struct dj_plain_counters *counters =
            dj_map_find(here->tenants, deja_slice(tenant, DJ_ID_BYTES));
        pthread_mutex_unlock(&here->mutex);
        if (counters) /* it stays as long as plain does */
            add(counters, out_stats);
    }
}
