/* cache/kinds.c - see kinds.h.
 *
 *   slots[hash(tenant)] … ──> the tenant's figures: one row per kind, one for keys of none
 *
 * (1) A slot is filled once, by compare and swap, and never emptied: readers need no lock.
 * (2) Figures are relaxed counters; a tenant that finds no place counts with the others'.
 */
#include "cache/kinds.h"

#include <assert.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "cache/key_maker.h"

#define SLOTS (2 * DJ_KIND_TENANTS_MAX)
#define KIND_TAG "kind:"

static_assert((int)DJ_KIND_L1 == (int)DJ_LEVEL_MEMORY && (int)DJ_KIND_DISK == (int)DJ_LEVEL_LMDB &&
                  (int)DJ_KIND_L2 == (int)DJ_LEVEL_REDIS &&
                  (int)DJ_KIND_POSTGRES == (int)DJ_LEVEL_POSTGRES &&
                  (int)DJ_KIND_S3 == (int)DJ_LEVEL_S3 &&
                  (int)DJ_KIND_LEVEL_COUNT == (int)DJ_LEVEL_COUNT,
              "policy and cache name the same levels");

enum { KEY_MADE, KEY_REFUSED, KEY_HASHED, KEY_BYTES, KEY_STREAMED, KEY_EMPTY, KEY_FIGURES };

struct row {
    _Atomic uint64_t hits[DJ_LEVEL_COUNT];
    _Atomic uint64_t misses;
    _Atomic uint64_t puts;
    _Atomic uint64_t put_bytes;
    _Atomic uint64_t removals;
    _Atomic uint64_t slides;
    struct dj_kind_figures told; /* of whoever tells the metrics */
};

struct tenant {
    uint8_t id[DJ_ID_BYTES];
    struct row rows[]; /* one per kind, and one for plain keys of none */
};

struct level {
    struct dj_kind_book *book;
    enum dj_level level;
};

struct dj_kind_book {
    const struct dj_kinds *kinds; /* borrowed */
    struct level levels[DJ_LEVEL_COUNT];
    _Atomic(struct tenant *) slots[SLOTS];
    _Atomic uint32_t tenant_count;
    struct tenant *others;
    _Atomic uint64_t keys[KEY_FIGURES];
};

static struct tenant *tenant_create(const struct dj_kind_book *book, const uint8_t *id)
{
    size_t rows = (dj_kinds_count(book->kinds) + 1) * sizeof(struct row);
    struct tenant *tenant = dj_alloc_zeroed(1, sizeof *tenant + rows);
    if (tenant && id)
        memcpy(tenant->id, id, DJ_ID_BYTES);
    return tenant;
}

enum deja_status dj_kind_book_create(const struct dj_kinds *kinds, struct dj_kind_book **out_book)
{
    struct dj_kind_book *book = dj_alloc_zeroed(1, sizeof *book);
    if (!book)
        return DEJA_ERR_NOMEM;
    book->kinds = kinds;
    for (uint32_t i = 0; i < DJ_LEVEL_COUNT; i++)
        book->levels[i] = (struct level){book, (enum dj_level)i};
    book->others = tenant_create(book, NULL);
    if (!book->others) {
        dj_free(book);
        return DEJA_ERR_NOMEM;
    }
    *out_book = book;
    return DEJA_OK;
}

void dj_kind_book_destroy(struct dj_kind_book *book)
{
    if (!book)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        dj_free(atomic_load(&book->slots[i]));
    dj_free(book->others);
    dj_free(book);
}

const struct dj_kinds *dj_kind_book_table(const struct dj_kind_book *book)
{
    return book ? book->kinds : NULL;
}

/* ---- kinds of entries ---- */

const struct dj_kind *dj_kind_of(const struct dj_kinds *kinds, const struct dj_entry *entry)
{
    const size_t prefix = sizeof KIND_TAG - 1;
    const struct dj_kind *kind = NULL;
    if (kinds && entry->kind == DJ_ENTRY_PLAIN)
        kind = dj_kinds_match(kinds, entry->query, NULL);
    for (size_t i = 0; kinds && !kind && i < entry->tag_count; i++) {
        struct deja_slice tag = entry->tags[i].name;
        if (tag.len > prefix && memcmp(tag.data, KIND_TAG, prefix) == 0)
            kind = dj_kinds_find(kinds, deja_slice(tag.data + prefix, tag.len - prefix));
    }
    return kind;
}

uint32_t dj_kind_skip(const struct dj_kind *kind)
{
    return kind ? ~kind->levels & ((1u << DJ_LEVEL_COUNT) - 1) : 0;
}

static int64_t stay_until(void *ctx, const struct dj_entry *entry, int64_t now_ms)
{
    const struct level *level = ctx;
    const struct dj_kind *kind = dj_kind_of(level->book->kinds, entry);
    bool is_plain = entry->kind == DJ_ENTRY_PLAIN;
    if (!kind)
        return is_plain && level->level != DJ_LEVEL_MEMORY ? INT64_MAX : 0;
    if (!dj_kind_is_kept(kind, (enum dj_kind_level)level->level))
        return now_ms;
    uint64_t life_ms = entry->expires_ms > entry->created_ms
                           ? (uint64_t)(entry->expires_ms - entry->created_ms)
                           : 0;
    uint64_t stay_ms = dj_kind_stay_ms(kind, (enum dj_kind_level)level->level,
                                       is_plain ? entry->query : deja_slice(NULL, 0), life_ms);
    return stay_ms > (uint64_t)(INT64_MAX - now_ms) ? INT64_MAX : now_ms + (int64_t)stay_ms;
}

struct dj_stay dj_kind_book_stay(struct dj_kind_book *book, enum dj_level level)
{
    if (!book)
        return (struct dj_stay){.of = NULL};
    return (struct dj_stay){.of = stay_until, .ctx = &book->levels[level]};
}

/* ---- figures ---- */

/* Tenants are random numbers already. */
static size_t slot_of(const uint8_t id[DJ_ID_BYTES])
{
    uint64_t hash = 0;
    memcpy(&hash, id + DJ_ID_BYTES - sizeof hash, sizeof hash);
    return (size_t)(hash % SLOTS);
}

static struct tenant *find(const struct dj_kind_book *book, const uint8_t id[DJ_ID_BYTES],
                           size_t *out_slot)
{
    size_t slot = slot_of(id);
    for (size_t i = 0; i < SLOTS; i++, slot = (slot + 1) % SLOTS) {
        struct tenant *tenant = atomic_load_explicit(&book->slots[slot], memory_order_acquire);
        *out_slot = slot;
        if (!tenant || memcmp(tenant->id, id, DJ_ID_BYTES) == 0)
            return tenant;
    }
    return NULL;
}

/* Its own place, or that of the others (2). */
static struct tenant *take(struct dj_kind_book *book, const uint8_t id[DJ_ID_BYTES])
{
    size_t slot = 0;
    struct tenant *tenant = find(book, id, &slot);
    if (tenant)
        return tenant;
    if (atomic_load_explicit(&book->tenant_count, memory_order_relaxed) >= DJ_KIND_TENANTS_MAX)
        return book->others;
    tenant = tenant_create(book, id);
    if (!tenant)
        return book->others;
    for (;;) {
        struct tenant *none = NULL;
        if (atomic_compare_exchange_strong(&book->slots[slot], &none, tenant)) {
            atomic_fetch_add_explicit(&book->tenant_count, 1, memory_order_relaxed);
            return tenant;
        }
        struct tenant *other = find(book, id, &slot);
        if (other) { /* somebody made it meanwhile */
            dj_free(tenant);
            return other;
        }
    }
}

static size_t row_of(const struct dj_kind_book *book, const struct dj_kind *kind)
{
    return kind ? kind->index : dj_kinds_count(book->kinds);
}

static void add(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

void dj_kind_book_note(struct dj_kind_book *book, const uint8_t tenant[DJ_ID_BYTES],
                       const struct dj_kind *kind, enum dj_kind_note note, enum dj_level level,
                       uint64_t amount)
{
    if (!book)
        return;
    struct row *row = &take(book, tenant)->rows[row_of(book, kind)];
    switch (note) {
    case DJ_KIND_NOTE_HIT:
        add(&row->hits[level < DJ_LEVEL_COUNT ? level : DJ_LEVEL_MEMORY], 1);
        break;
    case DJ_KIND_NOTE_MISS:
        add(&row->misses, 1);
        break;
    case DJ_KIND_NOTE_PUT:
        add(&row->puts, 1);
        add(&row->put_bytes, amount);
        break;
    case DJ_KIND_NOTE_REMOVE:
        add(&row->removals, 1);
        break;
    case DJ_KIND_NOTE_SLIDE:
        add(&row->slides, 1);
        break;
    }
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void sum(const struct row *row, struct dj_kind_figures *figures)
{
    for (size_t i = 0; i < DJ_LEVEL_COUNT; i++)
        figures->hits[i] += read_counter(&row->hits[i]);
    figures->misses += read_counter(&row->misses);
    figures->puts += read_counter(&row->puts);
    figures->put_bytes += read_counter(&row->put_bytes);
    figures->removals += read_counter(&row->removals);
    figures->slides += read_counter(&row->slides);
}

void dj_kind_book_figures(const struct dj_kind_book *book, const uint8_t *tenant,
                          const struct dj_kind *kind, struct dj_kind_figures *out_figures)
{
    struct dj_kind_figures figures = {.misses = 0};
    size_t slot = 0;
    for (size_t i = 0; !tenant && i < SLOTS; i++) {
        const struct tenant *each = atomic_load_explicit(&book->slots[i], memory_order_acquire);
        if (each)
            sum(&each->rows[row_of(book, kind)], &figures);
    }
    const struct tenant *one = tenant ? find(book, tenant, &slot) : book->others;
    if (one)
        sum(&one->rows[row_of(book, kind)], &figures);
    *out_figures = figures;
}

void dj_kind_book_others(const struct dj_kind_book *book, const struct dj_kind *kind,
                         struct dj_kind_figures *out_figures)
{
    *out_figures = (struct dj_kind_figures){.misses = 0};
    sum(&book->others->rows[row_of(book, kind)], out_figures);
}

void dj_kind_book_tell(struct dj_kind_book *book, const uint8_t *tenant, const struct dj_kind *kind,
                       struct dj_kind_figures *out_more)
{
    size_t slot = 0;
    struct tenant *one = tenant ? find(book, tenant, &slot) : book->others;
    struct dj_kind_figures now = {.misses = 0};
    *out_more = now;
    if (!one)
        return;
    struct row *row = &one->rows[row_of(book, kind)];
    struct dj_kind_figures *told = &row->told;
    sum(row, &now);
    for (size_t i = 0; i < DJ_LEVEL_COUNT; i++)
        out_more->hits[i] = now.hits[i] - told->hits[i];
    out_more->misses = now.misses - told->misses;
    out_more->puts = now.puts - told->puts;
    out_more->put_bytes = now.put_bytes - told->put_bytes;
    out_more->removals = now.removals - told->removals;
    out_more->slides = now.slides - told->slides;
    *told = now;
}

void dj_kind_book_tenants(const struct dj_kind_book *book, void *ctx, dj_kind_tenant_fn *each)
{
    for (size_t i = 0; i < SLOTS; i++) {
        const struct tenant *tenant = atomic_load_explicit(&book->slots[i], memory_order_acquire);
        if (tenant && !each(ctx, tenant->id))
            return;
    }
}

void dj_kind_book_note_key(struct dj_kind_book *book, const struct dj_made_key *made)
{
    if (!book)
        return;
    add(&book->keys[made ? KEY_MADE : KEY_REFUSED], 1);
    if (!made)
        return;
    add(&book->keys[KEY_HASHED], made->hash.len > 0);
    add(&book->keys[KEY_BYTES], made->hashed_bytes);
    add(&book->keys[KEY_STREAMED], made->is_streamed);
    add(&book->keys[KEY_EMPTY], made->is_empty);
}

void dj_kind_book_keys(const struct dj_kind_book *book, struct dj_key_figures *out_figures)
{
    *out_figures = (struct dj_key_figures){.made = read_counter(&book->keys[KEY_MADE]),
                                           .refused = read_counter(&book->keys[KEY_REFUSED]),
                                           .hashed = read_counter(&book->keys[KEY_HASHED]),
                                           .hashed_bytes = read_counter(&book->keys[KEY_BYTES]),
                                           .streamed = read_counter(&book->keys[KEY_STREAMED]),
                                           .empty = read_counter(&book->keys[KEY_EMPTY])};
}
