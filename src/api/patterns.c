/* api/patterns.c - GET /api/v1/patterns: how many plain keys there are of each pattern, how large
 * they are, how often they were found.
 *
 * The names are walked, a piece a turn; the sizes are estimated: of each pattern SAMPLES values are
 * drawn, each key with the same chance, and their mean is taken for all. A key of a kind counts
 * with its kind; another with those that begin like it up to the first ':'.
 *
 * Bounds: KEYS_MAX keys are looked at and GROUPS_MAX patterns told; `complete` says whether that
 * was all. Trust: keys are untrusted: a pattern is told only if it can be shown.
 */
#include <stdlib.h>

#include "api/handlers.h"
#include "api/query.h"
#include "api/user.h"
#include "base/alloc.h"
#include "base/map.h"
#include "cache/kinds.h"
#include "cache/plain.h"
#include "text/utf8.h"

#define SAMPLES 100u
#define GROUPS_MAX 256u
#define KEYS_MAX 1000000u
#define PREFIX_MAX 64u

struct group {
    const struct dj_kind *kind; /* NULL: `pattern` alone tells it */
    char pattern[PREFIX_MAX + 3];
    uint64_t keys;
    uint32_t sampled;
    uint64_t sampled_bytes;
    uint32_t samples[SAMPLES]; /* bytes of each, while there are more keys than samples */
};

struct walk {
    struct dj_request *request;
    struct dj_plain_space space;
    struct dj_map *map; /* pattern to group */
    struct group *groups;
    size_t group_count;
    uint64_t keys;
    uint64_t random;
    uint8_t hash_key[16];
    bool is_incomplete;
};

static void end_walk(struct walk *walk)
{
    dj_plain_space_fini(&walk->space);
    dj_map_destroy(walk->map);
    dj_free(walk->groups);
    dj_free(walk);
}

/* "user:*", or "*" for what has no ':' or cannot be shown. */
static void name_pattern(struct deja_slice key, char out[PREFIX_MAX + 3])
{
    const char *colon = memchr(key.data, ':', key.len);
    size_t len = colon ? (size_t)(colon - key.data) + 1 : 0;
    bool is_shown = len <= PREFIX_MAX && dj_utf8_is_valid(deja_slice(key.data, len));
    for (size_t i = 0; i < len && is_shown; i++)
        is_shown = (unsigned char)key.data[i] >= ' ' && key.data[i] != 0x7f;
    if (!is_shown)
        len = 0;
    memcpy(out, key.data, len);
    out[len] = '*';
    out[len + 1] = '\0';
}

/* NULL: there are too many patterns. */
static struct group *group_of(struct walk *walk, struct deja_slice key)
{
    const struct dj_kinds *kinds = dj_kind_book_table(walk->request->api->proxy->kinds);
    const struct dj_kind *kind = dj_kinds_match(kinds, key, NULL);
    char pattern[PREFIX_MAX + 3];
    struct deja_slice name;
    if (kind) {
        name = kind->name;
    } else {
        name_pattern(key, pattern);
        name = deja_slice_text(pattern);
    }
    struct group *group = dj_map_find(walk->map, name);
    if (group || walk->group_count == GROUPS_MAX)
        return group;
    group = &walk->groups[walk->group_count];
    if (dj_map_put(walk->map, name, group, NULL) != DEJA_OK)
        return NULL;
    walk->group_count++;
    group->kind = kind;
    if (!kind)
        memcpy(group->pattern, pattern, sizeof pattern);
    return group;
}

/* Each key of the group stays in the sample with the same chance. */
static void sample(struct walk *walk, struct group *group, size_t bytes)
{
    uint32_t size = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
    size_t place = group->sampled;
    group->keys++;
    if (group->sampled < SAMPLES) {
        group->sampled++;
    } else {
        walk->random = walk->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        place = (size_t)((walk->random >> 33) % group->keys);
        if (place >= SAMPLES)
            return;
        group->sampled_bytes -= group->samples[place];
    }
    group->samples[place] = size;
    group->sampled_bytes += size;
}

static int by_keys(const void *a, const void *b)
{
    const struct group *x = a;
    const struct group *y = b;
    return x->keys < y->keys ? 1 : x->keys > y->keys ? -1 : 0;
}

static void put_group(struct dj_json_writer *w, const struct walk *walk, const struct group *group)
{
    const struct dj_request *request = walk->request;
    uint64_t mean = group->sampled ? group->sampled_bytes / group->sampled : 0;
    dj_json_begin_object(w);
    dj_json_key(w, "pattern");
    if (group->kind)
        dj_json_put_string(w, group->kind->patterns.items[0]);
    else
        dj_json_put_text(w, group->pattern);
    dj_json_key(w, "kind");
    if (group->kind)
        dj_json_put_string(w, group->kind->name);
    else
        dj_json_put_null(w);
    dj_json_member_u64(w, "keys", group->keys);
    dj_json_member_u64(w, "estimated_bytes", mean * group->keys);
    dj_json_member_u64(w, "mean_bytes", mean);
    dj_json_member_u64(w, "sampled", group->sampled);
    dj_json_key(w, "hit_rate");
    struct dj_kind_figures figures = {.misses = 0};
    if (group->kind)
        dj_kind_book_figures(request->api->proxy->kinds, request->tenant, group->kind, &figures);
    uint64_t hits = 0;
    for (uint32_t i = 0; i < DJ_LEVEL_COUNT; i++)
        hits += figures.hits[i];
    if (hits + figures.misses)
        dj_json_put_double(w, (double)hits / (double)(hits + figures.misses));
    else
        dj_json_put_null(w);
    dj_json_end_object(w);
}

static void finish(struct walk *walk, enum deja_status status)
{
    struct dj_request *request = walk->request;
    const struct dj_api *api = request->api;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        end_walk(walk);
        return;
    }
    qsort(walk->groups, walk->group_count, sizeof *walk->groups, by_keys);
    dj_json_begin_object(&w);
    dj_json_key(&w, "patterns");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < walk->group_count; i++)
        put_group(&w, walk, &walk->groups[i]);
    dj_json_end_array(&w);
    dj_json_member_u64(&w, "keys", walk->keys);
    dj_json_member_bool(&w, "complete", !walk->is_incomplete);
    dj_json_key(&w, "shared"); /* of everybody: for who operates it */
    if (api->describe && dj_request_is_operators(request)) {
        dj_json_begin_object(&w);
        api->describe(api->describe_ctx, "redis", &w);
        dj_json_end_object(&w);
    } else {
        dj_json_put_null(&w);
    }
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
    end_walk(walk);
}

static void on_scanned(void *ctx, enum deja_status status, uint64_t cursor,
                       struct dj_value *const *values, size_t count);

static void ask(struct walk *walk, uint64_t cursor)
{
    const struct dj_plain_selector everything = {.is_every_user = true};
    enum deja_status status =
        dj_plain_scan(walk->request->api->proxy->plain, walk->request->loop, &walk->space,
                      &everything, cursor, DJ_PLAIN_PAGE_MAX, walk, on_scanned);
    if (status != DEJA_OK)
        finish(walk, status);
}

static void on_scanned(void *ctx, enum deja_status status, uint64_t cursor,
                       struct dj_value *const *values, size_t count)
{
    struct walk *walk = ctx;
    for (size_t i = 0; i < count; i++) {
        const struct dj_entry *entry = dj_value_entry(values[i]);
        struct group *group = group_of(walk, entry->query);
        walk->keys++;
        walk->is_incomplete = walk->is_incomplete || !group;
        if (group)
            sample(walk, group, entry->query.len + entry->body.len + entry->metadata.len);
    }
    if (status != DEJA_OK || !cursor || walk->keys >= KEYS_MAX) {
        walk->is_incomplete = walk->is_incomplete || cursor;
        finish(walk, status);
        return;
    }
    ask(walk, cursor);
}

static uint64_t hash_name(void *ctx, struct deja_slice name)
{
    return dj_siphash(ctx, name);
}

void dj_patterns(struct dj_request *request)
{
    struct deja_slice name_space = deja_slice("", 0);
    if (dj_user_is_refused(request))
        return;
    if (!dj_query_url_namespace(request, &name_space)) {
        if (!dj_request_has_complaints(request))
            dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    struct walk *walk = dj_alloc_zeroed(1, sizeof *walk);
    if (!walk) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    walk->request = request;
    dj_random_bytes(&walk->random, sizeof walk->random);
    dj_plain_space_init(&walk->space, request->tenant, request->fingerprint_key.bytes, name_space,
                        deja_slice("", 0));
    walk->groups = dj_alloc_zeroed(GROUPS_MAX, sizeof *walk->groups);
    dj_random_bytes(walk->hash_key, sizeof walk->hash_key);
    enum deja_status status = walk->groups
                                  ? dj_map_create(GROUPS_MAX, hash_name, walk->hash_key, &walk->map)
                                  : DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        ask(walk, 0);
    else
        finish(walk, status);
}
