/* proxy/telemetry_kinds.c - hits and misses of each kind of plain key, when somebody reads the
 * metrics.
 *
 * They are counted where keys are looked up (cache/kinds.h); here what came on top is added to the
 * families that count every answer, with the kind's name as cache_type.
 */
#include "cache/kinds.h"

#include "proxy/telemetry_internal.h"

struct telling {
    struct dj_telemetry *telemetry;
    struct dj_kind_book *book;
};

static const char *label_of(const struct dj_telemetry *telemetry, const uint8_t id[DJ_ID_BYTES])
{
    for (size_t i = 0; i < TENANT_SLOTS; i++) {
        const struct tenant *tenant =
            atomic_load_explicit(&telemetry->tenants[i], memory_order_acquire);
        if (tenant && memcmp(tenant->id, id, DJ_ID_BYTES) == 0)
            return tenant->labels->tenant;
    }
    return telemetry->other_labels.tenant;
}

static void add(const struct telling *telling, enum family family, const char *const *values,
                uint64_t amount)
{
    if (amount)
        dj_series_add(dj_telemetry_series(telling->telemetry, family, values), (double)amount);
}

static void tell(const struct telling *telling, const char *label, const uint8_t *tenant)
{
    const struct dj_kinds *kinds = dj_kind_book_table(telling->book);
    for (size_t i = 0; i < dj_kinds_count(kinds); i++) {
        const struct dj_kind *kind = dj_kinds_at(kinds, i);
        struct dj_kind_figures more;
        char name[DJ_KIND_NAME_MAX + 1] = "";
        dj_kind_book_tell(telling->book, tenant, kind, &more);
        memcpy(name, kind->name.data, kind->name.len);
        for (uint32_t level = 0; level < DJ_LEVEL_COUNT; level++) {
            const char *const hit[] = {label, name, dj_level_text((enum dj_level)level)};
            add(telling, FAMILY_HITS, hit, more.hits[level]);
        }
        const char *const missed[] = {label, name, "none"};
        add(telling, FAMILY_MISSES, missed, more.misses);
    }
}

static bool on_tenant(void *ctx, const uint8_t tenant[DJ_ID_BYTES])
{
    const struct telling *telling = ctx;
    tell(telling, label_of(telling->telemetry, tenant), tenant);
    return true;
}

void dj_telemetry_kinds(struct dj_telemetry *telemetry, struct dj_kind_book *book)
{
    struct telling telling = {.telemetry = telemetry, .book = book};
    if (!book)
        return;
    dj_kind_book_tenants(book, &telling, on_tenant);
    tell(&telling, telemetry->other_labels.tenant, NULL);
}
