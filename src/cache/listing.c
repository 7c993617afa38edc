/* cache/listing.c - see listing.h. */
#include "cache/listing.h"

#include "base/alloc.h"
#include "base/num.h"
#include "cache/engine_internal.h"

struct listing;

struct twin {
    struct listing *listing;
    uint32_t index; /* of the piece's value */
};

struct listing {
    struct dj_engine *engine;
    struct dj_loop *loop;
    struct dj_listing_options options;
    struct dj_listing_at at;
    struct dj_store_page page;
    struct dj_listing_piece piece;
    struct twin twins[DJ_STORE_PAGE_MAX];
    uint32_t left; /* twins that are being looked for, and one for the start */
    struct dj_task task;
    enum deja_status status;
    void *ctx;
    dj_listed_fn *listed;
};

/* ---- where it stands ---- */

static void put_number(uint8_t *at, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(number >> (8 * (bytes - 1 - i)));
}

static uint64_t get_number(const uint8_t *at, size_t bytes)
{
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++)
        number = number << 8 | at[i];
    return number;
}

void dj_listing_text(const struct dj_listing_at *at, char out_text[DJ_LISTING_TEXT_BYTES])
{
    uint8_t bytes[(DJ_LISTING_TEXT_BYTES - 1) / 2];
    put_number(bytes, 1, 4); /* the form */
    put_number(bytes + 4, at->place, 1);
    put_number(bytes + 5, at->position, 8);
    memcpy(bytes + 13, at->after, sizeof at->after);
    dj_hex_encode(bytes, sizeof bytes, out_text);
}

enum deja_status dj_listing_read(struct deja_slice text, struct dj_listing_at *out_at)
{
    uint8_t bytes[(DJ_LISTING_TEXT_BYTES - 1) / 2];
    if (dj_hex_decode(text, bytes, sizeof bytes) != DEJA_OK || get_number(bytes, 4) != 1 ||
        bytes[4] > DJ_TIERS_MAX)
        return DEJA_ERR_INVALID;
    out_at->place = bytes[4];
    out_at->position = get_number(bytes + 5, 8);
    memcpy(out_at->after, bytes + 13, sizeof out_at->after);
    return DEJA_OK;
}

/* ---- places ---- */

/* Tiers first where vectors are wanted: memory has none. */
static uint32_t slot_of(const struct listing *listing)
{
    uint32_t count = listing->engine->tier_count + 1;
    return listing->options.has_vectors ? (listing->at.place + 1) % count : listing->at.place;
}

static struct dj_store *store_of(const struct listing *listing)
{
    const struct dj_engine *engine = listing->engine;
    uint32_t slot = slot_of(listing);
    return slot == 0 ? engine->options.memory : engine->tiers[slot - 1].tier.store;
}

static bool is_wanted(const struct listing *listing)
{
    uint32_t slot = slot_of(listing);
    uint32_t bit = slot == 0 ? DJ_LEVEL_BIT(DJ_LEVEL_MEMORY) : listing->engine->tiers[slot - 1].bit;
    return !listing->options.levels || (listing->options.levels & bit);
}

static bool is_over(const struct listing *listing)
{
    return listing->at.place > listing->engine->tier_count;
}

static void enter_next_place(struct listing *listing)
{
    listing->at = (struct dj_listing_at){.place = listing->at.place + 1};
    while (!is_over(listing) && !is_wanted(listing))
        listing->at.place++;
}

/* ---- entries ---- */

/* Memory tells of it, or (where it comes last) has told of it by its tier. */
static bool is_told_elsewhere(const struct listing *listing, const struct dj_entry *entry)
{
    const struct dj_listing_options *options = &listing->options;
    bool has_memory = !options->levels || (options->levels & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY));
    struct dj_store_key key = dj_engine_key_of(entry);
    if (slot_of(listing) == 0 || options->has_vectors || !has_memory || options->is_whole)
        return false;
    struct dj_value *value = dj_engine_find(listing->engine, listing->loop, &key, 0);
    bool is_told = value && dj_value_entry(value)->version >= entry->version;
    dj_value_unref(value);
    return is_told;
}

static bool is_met(const struct listing *listing, const struct dj_entry *entry)
{
    int64_t now_ms = dj_loop_now_ms(listing->loop);
    if (memcmp(entry->tenant, listing->options.tenant, DJ_ID_BYTES) != 0)
        return false;
    if (!listing->options.is_whole &&
        !dj_engine_is_valid(listing->engine, listing->options.tenant, entry, now_ms, 0))
        return false;
    return !is_told_elsewhere(listing, entry);
}

/* ---- pieces ---- */

static void end(struct listing *listing, enum deja_status status,
                const struct dj_listing_piece *piece)
{
    listing->listed(listing->ctx, status, piece);
    dj_engine_leave(listing->engine);
    dj_free(listing);
}

/* What was passed over leaves the piece. */
static void close_gaps(struct dj_listing_piece *piece)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < piece->count; i++) {
        if (piece->values[i])
            piece->values[count++] = piece->values[i];
        else
            piece->passed_over++;
    }
    piece->count = count;
}

static void end_twin(struct listing *listing)
{
    if (--listing->left > 0)
        return;
    struct dj_listing_piece piece = listing->piece;
    close_gaps(&piece);
    end(listing, DEJA_OK, &piece);
}

static void on_twin(void *ctx, enum deja_status status, struct dj_value *value)
{
    const struct twin *twin = ctx;
    struct listing *listing = twin->listing;
    struct dj_value **mine = &listing->piece.values[twin->index];
    if (status == DEJA_OK && value &&
        dj_value_entry(value)->version >= dj_value_entry(*mine)->version) {
        dj_value_unref(*mine);
        *mine = NULL;
    }
    dj_value_unref(value);
    end_twin(listing);
}

/* Memory comes last: what the first tier has was told of there, with its vector. */
static void look_for_twins(struct listing *listing)
{
    struct dj_store *store = listing->engine->tiers[0].tier.store;
    uint32_t count = listing->piece.count;
    listing->left = 1;
    for (uint32_t i = 0; i < count; i++) {
        struct dj_store_key key = dj_engine_key_of(dj_value_entry(listing->piece.values[i]));
        listing->twins[i] = (struct twin){.listing = listing, .index = i};
        listing->left++;
        if (store->ops->get(store, listing->loop, &key, &listing->twins[i], on_twin) != DEJA_OK)
            listing->left--;
    }
    end_twin(listing);
}

static void on_page(void *ctx, enum deja_status status, uint64_t count)
{
    struct listing *listing = ctx;
    struct dj_store_page *page = &listing->page;
    struct dj_listing_piece *piece = &listing->piece;
    bool has_twins = slot_of(listing) == 0 && listing->options.has_vectors &&
                     !listing->options.levels && listing->engine->tier_count > 0;
    (void)count;
    piece->level = store_of(listing)->ops->level;
    for (uint32_t i = 0; i < page->count; i++) {
        bool is_told = status == DEJA_OK && is_met(listing, dj_value_entry(page->values[i]));
        piece->values[piece->count++] = is_told ? page->values[i] : NULL;
        if (!is_told)
            dj_value_unref(page->values[i]);
    }
    if (status != DEJA_OK) {
        end(listing, status, NULL);
        return;
    }
    close_gaps(piece);
    if (page->is_last) {
        enter_next_place(listing);
    } else {
        listing->at.position = page->position;
        memcpy(listing->at.after, page->after, sizeof page->after);
    }
    piece->next = listing->at;
    piece->is_last = is_over(listing);
    if (has_twins)
        look_for_twins(listing);
    else
        end(listing, DEJA_OK, piece);
}

static void on_nothing(void *ctx)
{
    struct listing *listing = ctx;
    const struct dj_listing_piece piece = {.level = "", .next = listing->at, .is_last = true};
    end(listing, listing->status, listing->status == DEJA_OK ? &piece : NULL);
}

enum deja_status dj_engine_list(struct dj_engine *engine, struct dj_loop *loop,
                                const struct dj_listing_options *options,
                                const struct dj_listing_at *at, void *ctx, dj_listed_fn *listed)
{
    struct listing *listing = dj_alloc_zeroed(1, sizeof *listing);
    if (!listing)
        return DEJA_ERR_NOMEM;
    *listing = (struct listing){.engine = engine,
                                .loop = loop,
                                .options = *options,
                                .at = *at,
                                .ctx = ctx,
                                .listed = listed};
    dj_engine_enter(engine);
    if (!is_over(listing) && !is_wanted(listing))
        enter_next_place(listing);
    if (!is_over(listing)) {
        struct dj_store *store = store_of(listing);
        listing->page.has_vectors = options->has_vectors;
        listing->page.position = listing->at.position;
        memcpy(listing->page.after, listing->at.after, sizeof listing->page.after);
        listing->status = DEJA_ERR_UNSUPPORTED;
        if (store->ops->list)
            listing->status =
                store->ops->list(store, loop, options->tenant, &listing->page, listing, on_page);
        if (listing->status == DEJA_OK)
            return DEJA_OK;
    }
    listing->task = (struct dj_task){.run = on_nothing, .ctx = listing};
    dj_loop_post(loop, &listing->task);
    return DEJA_OK;
}

void dj_engine_tenants(struct dj_engine *engine, void *ctx, dj_store_tenant_fn *each)
{
    struct dj_store *memory = engine->options.memory;
    if (memory->ops->tenants)
        memory->ops->tenants(memory, ctx, each);
    for (uint32_t i = 0; i < engine->tier_count; i++) {
        struct dj_store *store = engine->tiers[i].tier.store;
        if (store->ops->tenants)
            store->ops->tenants(store, ctx, each);
    }
}

/* ---- adopting ---- */

enum deja_status dj_engine_adopt(struct dj_engine *engine, struct dj_entry *entry)
{
    struct dj_entry now = *entry;
    struct dj_fill fill;
    dj_engine_begin_fill(engine, &now, &fill);
    if (now.tenant_generation > entry->tenant_generation)
        return DEJA_ERR_CANCELLED;
    for (size_t i = 0; i < entry->tag_count; i++)
        if (now.tags[i].generation > entry->tags[i].generation)
            return DEJA_ERR_CANCELLED;
    uint64_t version = entry->version;
    *entry = now;
    entry->version = version;
    return DEJA_OK;
}
