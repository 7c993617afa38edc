/* daemon/transfers_verify.c - what is kept, compared entry by entry; see transfers.h.
 *
 *   a backup against the cache    every entry of the backup is looked up; then the cache's entries
 *                                 are looked for in the backup
 *   a tier against another        likewise
 *   the cache alone               every entry is read, which verifies its record, seal and form
 *
 * What has expired since the one was written is no difference. Compared: what it is, what it says,
 * until when, and what is known of it; not the generations, which are the place's own.
 */
#include <stdio.h>

#include "base/map.h"
#include "cache/listing.h"
#include "daemon/transfers_internal.h"

#define SEEN_MAX (1u << 24)
#define KEY_BYTES (2u * DJ_ID_BYTES)
#define FIELDS_BYTES 160u

/* Ids first: they are digests, which the map wants. */
static void key_of(const struct dj_entry *entry, uint8_t out_key[KEY_BYTES])
{
    memcpy(out_key, entry->id, DJ_ID_BYTES);
    memcpy(out_key + DJ_ID_BYTES, entry->tenant, DJ_ID_BYTES);
}

/* ---- one entry ---- */

static void note(char fields[FIELDS_BYTES], bool is_equal, const char *name)
{
    size_t len = strlen(fields);
    if (!is_equal)
        snprintf(fields + len, FIELDS_BYTES - len, "%s%s", len ? ", " : "", name);
}

static bool are_tags_equal(const struct dj_entry *a, const struct dj_entry *b)
{
    bool is_equal = a->tag_count == b->tag_count;
    for (size_t i = 0; is_equal && i < a->tag_count; i++)
        is_equal = deja_slice_is_equal(a->tags[i].name, b->tags[i].name);
    return is_equal;
}

static bool is_cost_equal(const struct dj_entry *a, const struct dj_entry *b)
{
    return a->input_tokens == b->input_tokens && a->output_tokens == b->output_tokens &&
           memcmp(&a->cost_usd, &b->cost_usd, sizeof a->cost_usd) == 0 && a->make_ms == b->make_ms;
}

/* fields: which differ, as people call them; empty: none. */
static void compare(const struct dj_entry *a, const struct dj_entry *b, char fields[FIELDS_BYTES])
{
    fields[0] = '\0';
    note(fields, a->version == b->version, "version");
    note(fields, a->kind == b->kind, "kind");
    note(fields, deja_slice_is_equal(a->body, b->body), "value");
    note(fields, a->expires_ms == b->expires_ms && a->stale_until_ms == b->stale_until_ms, "ttl");
    note(fields, a->created_ms == b->created_ms, "created");
    note(fields, deja_slice_is_equal(a->query, b->query), "query");
    note(fields,
         memcmp(a->exact, b->exact, sizeof a->exact) == 0 &&
             memcmp(a->scope, b->scope, sizeof a->scope) == 0,
         "key");
    note(fields, deja_slice_is_equal(a->name_space, b->name_space), "namespace");
    note(fields, are_tags_equal(a, b), "tags");
    note(fields,
         deja_slice_is_equal(a->metadata, b->metadata) && deja_slice_is_equal(a->model, b->model) &&
             deja_slice_is_equal(a->provider, b->provider),
         "metadata");
    note(fields, is_cost_equal(a, b), "cost");
}

static bool is_over(const struct dj_entry *entry)
{
    return entry->expires_ms && dj_clock_now_ms() >= entry->expires_ms;
}

static void tell_difference(struct transfer *transfer, const struct dj_entry *entry,
                            const struct dj_entry *other)
{
    char fields[FIELDS_BYTES];
    /* What a migration finds newer at its target stays there: nothing is missing. */
    bool is_newer = transfer->order.kind == DJ_TRANSFER_MIGRATE && other->version > entry->version;
    compare(entry, other, fields);
    if (!fields[0] || is_newer) {
        atomic_fetch_add(&transfer->matched, 1);
        return;
    }
    atomic_fetch_add(&transfer->differing, 1);
    const struct transfer_difference difference = {
        .what = "differs", .fields = fields, .source = entry, .target = other};
    transfer_report(transfer, &difference);
}

/* ---- one side against the other ---- */

struct sides {
    struct transfer *transfer;
    uint32_t levels; /* of the other side */
    struct dj_map *seen;
    struct transfer_erasures *erasures;
};

static enum deja_status look_up(struct sides *sides, const struct dj_entry *entry,
                                struct deja_error *error)
{
    struct transfer *transfer = sides->transfer;
    struct dj_store_key key;
    struct dj_entry now = *entry;
    struct dj_value *value = NULL;
    if (is_over(entry)) {
        atomic_fetch_add(&transfer->counts.expired, 1);
        return DEJA_OK;
    }
    if (!transfer_erasures_allow(sides->erasures, entry) ||
        dj_engine_adopt(transfer->lane.engine, &now) != DEJA_OK) {
        atomic_fetch_add(&transfer->counts.voided, 1);
        return DEJA_OK;
    }
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    enum deja_status status = dj_transfer_get(&transfer->lane, &key, sides->levels, &value);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "an entry cannot be looked up: %s",
                              deja_status_text(status));
    if (value) {
        tell_difference(transfer, entry, dj_value_entry(value));
    } else if (!is_over(entry)) { /* not meanwhile */
        atomic_fetch_add(&transfer->missing, 1);
        const struct transfer_difference difference = {.what = "missing", .source = entry};
        transfer_report(transfer, &difference);
    }
    dj_value_unref(value);
    return DEJA_OK;
}

static enum deja_status look_up_all(struct sides *sides, struct dj_transfer_source *source,
                                    struct deja_error *error)
{
    struct transfer *transfer = sides->transfer;
    struct dj_archive_item item;
    uint8_t key[KEY_BYTES];
    enum deja_status status = DEJA_OK;
    atomic_store(&transfer->phase, "comparing");
    while (status == DEJA_OK) {
        if (atomic_load(&transfer->is_cancelled))
            return deja_error_set(error, DEJA_ERR_CANCELLED, "it was stopped");
        status = source->next(source->ctx, &item, error);
        if (status != DEJA_OK || item.is_document)
            continue;
        if (transfer->order.has_tenant &&
            memcmp(item.entry->tenant, transfer->order.tenant, DJ_TENANT_BYTES) != 0)
            continue;
        atomic_fetch_add(&transfer->counts.items, 1);
        atomic_fetch_add(&transfer->counts.bytes, item.entry->body.len);
        key_of(item.entry, key);
        status = dj_map_put(sides->seen, deja_slice(key, sizeof key), transfer, NULL);
        if (status != DEJA_OK)
            return deja_error_set(error, status,
                                  "there are too many entries to compare at once: "
                                  "compare tenant by tenant");
        status = look_up(sides, item.entry, error);
    }
    return status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status;
}

/* What the other side has and this one has not. */
static enum deja_status look_for_more(struct sides *sides,
                                      const struct dj_transfer_tenants *tenants,
                                      struct deja_error *error)
{
    struct transfer *transfer = sides->transfer;
    const struct dj_transfer_from options = {
        .lane = transfer->lane, .tenants = tenants, .levels = sides->levels};
    struct dj_transfer_source source;
    struct dj_archive_item item;
    uint8_t key[KEY_BYTES];
    enum deja_status status = dj_transfer_from_cache(&options, &source);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "out of memory");
    atomic_store(&transfer->phase, "looking for more");
    while ((status = source.next(source.ctx, &item, error)) == DEJA_OK) {
        key_of(item.entry, key);
        if (dj_map_find(sides->seen, deja_slice(key, sizeof key)))
            continue;
        atomic_fetch_add(&transfer->extra, 1);
        const struct transfer_difference difference = {.what = "extra", .target = item.entry};
        transfer_report(transfer, &difference);
    }
    source.close(source.ctx);
    return status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status;
}

/* ---- the cache alone ---- */

static uint64_t corrupt_of(struct transfer *transfer)
{
    struct dj_engine_stats stats;
    uint64_t corrupt = 0;
    dj_engine_stats(transfer->lane.engine, NULL, &stats);
    for (uint32_t i = 0; i < stats.tier_count; i++)
        corrupt += stats.tiers[i].store.corrupt;
    return corrupt;
}

static enum deja_status read_all(struct transfer *transfer,
                                 const struct dj_transfer_tenants *tenants,
                                 struct deja_error *error)
{
    uint64_t corrupt = corrupt_of(transfer);
    enum deja_status status = DEJA_OK;
    atomic_store(&transfer->phase, "reading");
    /* Place by place: an entry that several keep is to be whole in each of them. */
    for (uint32_t level = 0; level < DJ_LEVEL_COUNT && status == DEJA_OK; level++) {
        const struct dj_transfer_from options = {.lane = transfer->lane,
                                                 .tenants = tenants,
                                                 .levels = DJ_LEVEL_BIT(level),
                                                 .is_whole = true};
        struct dj_transfer_source source;
        struct dj_archive_item item;
        if (transfer->order.from && !(transfer->order.from & DJ_LEVEL_BIT(level)))
            continue;
        status = dj_transfer_from_cache(&options, &source);
        if (status != DEJA_OK)
            return deja_error_set(error, status, "out of memory");
        while ((status = source.next(source.ctx, &item, error)) == DEJA_OK) {
            atomic_fetch_add(&transfer->counts.items, 1);
            atomic_fetch_add(&transfer->counts.bytes, item.entry->body.len);
        }
        source.close(source.ctx);
        status = status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status;
    }
    atomic_store(&transfer->unreadable, corrupt_of(transfer) - corrupt);
    return status;
}

static enum deja_status compare_sides(struct transfer *transfer,
                                      const struct dj_transfer_tenants *tenants,
                                      struct deja_error *error)
{
    struct sides sides = {.transfer = transfer, .levels = transfer->order.to};
    struct dj_transfer_source source = {.close = NULL};
    const struct dj_transfer_from options = {
        .lane = transfer->lane, .tenants = tenants, .levels = transfer->order.from};
    enum deja_status status = dj_map_create(SEEN_MAX, NULL, NULL, &sides.seen);
    if (status != DEJA_OK)
        deja_error_set(error, status, "out of memory");
    if (status == DEJA_OK)
        status = transfer_erasures_read(transfer, &sides.erasures, error);
    if (status == DEJA_OK && transfer->file[0]) {
        sides.levels = transfer->order.to ? transfer->order.to : transfer->order.from;
        status = transfer_open_source(transfer, &source, error);
    } else if (status == DEJA_OK) {
        status = dj_transfer_from_cache(&options, &source);
    }
    if (status == DEJA_OK)
        status = look_up_all(&sides, &source, error);
    if (status == DEJA_OK)
        status = look_for_more(&sides, tenants, error);
    if (source.close)
        source.close(source.ctx);
    dj_map_destroy(sides.seen);
    transfer_erasures_destroy(sides.erasures);
    return status;
}

enum deja_status transfer_verify(struct transfer *transfer, struct deja_error *error)
{
    struct dj_transfer_tenants tenants = {.ids = NULL};
    enum deja_status status = transfer_find_tenants(transfer, &tenants, error);
    if (status == DEJA_OK)
        status = transfer->file[0] || transfer->order.to ? compare_sides(transfer, &tenants, error)
                                                         : read_all(transfer, &tenants, error);
    dj_transfer_tenants_fini(&tenants);
    uint64_t wrong = atomic_load(&transfer->missing) + atomic_load(&transfer->extra) +
                     atomic_load(&transfer->differing) + atomic_load(&transfer->unreadable);
    if (status == DEJA_OK && wrong)
        return deja_error_set(error, DEJA_ERR_MISMATCH,
                              "%llu missing, %llu too many, %llu different, %llu unreadable",
                              (unsigned long long)atomic_load(&transfer->missing),
                              (unsigned long long)atomic_load(&transfer->extra),
                              (unsigned long long)atomic_load(&transfer->differing),
                              (unsigned long long)atomic_load(&transfer->unreadable));
    return status;
}
