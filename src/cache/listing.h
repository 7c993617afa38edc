/* cache/listing.h - every entry of a tenant that could be served, a piece at a time: for exports,
 * backups, migrations and checks.
 *
 *   memory ──> tier ──> tier ──> end       each place piece by piece, top down
 *
 * Where it stands is plain data, so that a caller may go on another day, on another connection. An
 * entry that several places keep is met in each of them; in the tiers it is passed over while
 * memory has the same version. What is put or removed meanwhile may or may not be met.
 * Threads: the loop that is named. Tenants: one.
 */
#ifndef DJ_CACHE_LISTING_H
#define DJ_CACHE_LISTING_H

#include "cache/engine.h"

struct dj_listing_at {
    uint32_t place; /* 0: memory, then the tiers; zeroed: the beginning */
    uint64_t position;
    uint8_t after[DJ_ID_BYTES];
};
/* 58 characters; may be handed to strangers and taken back from them. */
#define DJ_LISTING_TEXT_BYTES 59u
void dj_listing_text(const struct dj_listing_at *at, char out_text[DJ_LISTING_TEXT_BYTES]);
enum deja_status dj_listing_read(struct deja_slice text,
                                 struct dj_listing_at *out_at) DEJA_NODISCARD; /* INVALID */

struct dj_listing_options {
    uint8_t tenant[DJ_ID_BYTES];
    uint32_t levels;  /* bits of enum dj_level; 0: all */
    bool has_vectors; /* of the tiers that give them; then memory is listed last, for what no tier
                       * has */
    bool is_whole;    /* what has expired or was made void is met, too */
};

struct dj_listing_piece {
    struct dj_value *values[DJ_STORE_PAGE_MAX]; /* the callee's references */
    uint32_t count;                             /* may be 0 although more follow */
    uint32_t passed_over;                       /* expired, void, or told of before */
    const char *level;                          /* where they lie */
    struct dj_listing_at next;
    bool is_last;
};
/* piece: borrowed until return; NULL unless status is DEJA_OK. A tier that cannot be read: its
 * status. DEJA_ERR_UNSUPPORTED: it cannot be listed. */
typedef void dj_listed_fn(void *ctx, enum deja_status status, const struct dj_listing_piece *piece);
/* Runs once, later, on loop. Everything is copied. DEJA_ERR_NOMEM. */
enum deja_status dj_engine_list(struct dj_engine *engine, struct dj_loop *loop,
                                const struct dj_listing_options *options,
                                const struct dj_listing_at *at, void *ctx,
                                dj_listed_fn *listed) DEJA_NODISCARD;

/* Every tenant that a place of this program knows to have entries, some more than once: memory and
 * the embedded tier do; others are not asked. Any thread. */
void dj_engine_tenants(struct dj_engine *engine, void *ctx, dj_store_tenant_fn *each);

/* What is kept under another deployment's counters, or was kept before counters were lost, made
 * current here: DEJA_OK. DEJA_ERR_CANCELLED: something it depends on was raised since: it is void.
 * Any thread. */
enum deja_status dj_engine_adopt(struct dj_engine *engine, struct dj_entry *entry) DEJA_NODISCARD;

#endif
