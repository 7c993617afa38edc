/* proxy/telemetry_kinds.c - hits and misses of plain keys: what they saved, when they come; how
 * many of each kind, when somebody reads the metrics.
 *
 * They are counted where keys are looked up (cache/kinds.h); here what came on top is added to the
 * families that count every answer, with the kind's name as cache_type.
 */
#include "cache/kinds.h"

#include "base/slice.h"
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

struct name {
    char text[DJ_KIND_NAME_MAX + 1];
};

static struct name name_of(const struct dj_kind *kind)
{
    struct name name = {"plain"};
    if (kind) {
        memcpy(name.text, kind->name.data, kind->name.len);
        name.text[kind->name.len] = '\0';
    }
    return name;
}

/* What a model makes has a price that can be guessed; what else is kept, only who put it knows. */
static enum dj_saving_class class_of(const struct dj_kind *kind)
{
    static const char *const families[] = {"template", "document", "ocr", "ai"};
    for (size_t i = 0; kind && i < sizeof families / sizeof *families; i++)
        if (dj_slice_is(kind->family, families[i]))
            return dj_saving_class_of(kind->name);
    return DJ_SAVING_NOTHING;
}

void dj_telemetry_plain(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                        const struct dj_kind *kind, const struct dj_entry *entry)
{
    struct name name = name_of(kind);
    if (entry)
        dj_telemetry_saved_class(telemetry, entry, name.text, class_of(kind));
    else
        dj_telemetry_missed(telemetry, tenant, name.text);
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
    for (size_t i = 0; i <= dj_kinds_count(kinds); i++) {
        const struct dj_kind *kind = i < dj_kinds_count(kinds) ? dj_kinds_at(kinds, i) : NULL;
        struct dj_kind_figures more;
        struct name name_of_kind = name_of(kind);
        const char *name = name_of_kind.text;
        dj_kind_book_tell(telling->book, tenant, kind, &more);
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
