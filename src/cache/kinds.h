/* cache/kinds.h - kinds at work: whose entry is of which, how long each level keeps it, what became
 * of their look-ups.
 *
 *   entry ── plain: its key; others: their tag "kind:NAME" ──> kind ── dj_stay ──> each level
 *
 * Nothing of a kind is in a record: what the table says is looked up by the key (or the tag) each
 * time, so a table that changed holds for what was kept before.
 *
 * Threads: any. Bounds: figures of DJ_KIND_TENANTS_MAX tenants, the others' together. Time: given.
 */
#ifndef DJ_CACHE_KINDS_H
#define DJ_CACHE_KINDS_H

#include <deja/base.h>

#include "cache/tiers.h"
#include "policy/kinds.h"
#include "proto/record.h"

#define DJ_KIND_TENANTS_MAX 1024u

struct dj_kind_book; /* opaque */

/* kinds: borrowed until destroy. */
enum deja_status dj_kind_book_create(const struct dj_kinds *kinds,
                                     struct dj_kind_book **out_book) DEJA_NODISCARD;
void dj_kind_book_destroy(struct dj_kind_book *book);                       /* accepts NULL */
const struct dj_kinds *dj_kind_book_table(const struct dj_kind_book *book); /* NULL: NULL */

/* What that level asks about what is put into it; borrowed from the book. Below memory an entry
 * that was put under a plain key stays as long as it lives, of a kind or of none. book NULL: never
 * asked. */
struct dj_stay dj_kind_book_stay(struct dj_kind_book *book, enum dj_level level);

/* Of an entry that can be read; NULL: of none. */
const struct dj_kind *dj_kind_of(const struct dj_kinds *kinds, const struct dj_entry *entry);
/* Levels that keep none of that kind, as a mask of levels to skip; NULL: 0. */
uint32_t dj_kind_skip(const struct dj_kind *kind);

/* ---- figures ---- */

enum dj_kind_note {
    DJ_KIND_NOTE_HIT, /* found on that level */
    DJ_KIND_NOTE_MISS,
    DJ_KIND_NOTE_PUT, /* of so many bytes */
    DJ_KIND_NOTE_REMOVE,
    DJ_KIND_NOTE_SLIDE, /* a life began anew */
};
/* kind NULL, here and below: plain keys that are of none. book NULL: does nothing. level: of a hit;
 * amount: bytes of a put, else 1. */
void dj_kind_book_note(struct dj_kind_book *book, const uint8_t tenant[DJ_ID_BYTES],
                       const struct dj_kind *kind, enum dj_kind_note note, enum dj_level level,
                       uint64_t amount);

struct dj_kind_figures {
    uint64_t hits[DJ_LEVEL_COUNT];
    uint64_t misses;
    uint64_t puts;
    uint64_t put_bytes;
    uint64_t removals;
    uint64_t slides;
};
/* Since the start; tenant NULL: of all. */
void dj_kind_book_figures(const struct dj_kind_book *book, const uint8_t *tenant,
                          const struct dj_kind *kind, struct dj_kind_figures *out_figures);
/* Of the tenants that found no place of their own. */
void dj_kind_book_others(const struct dj_kind_book *book, const struct dj_kind *kind,
                         struct dj_kind_figures *out_figures);
/* Each tenant that has figures of its own, once, in no order. false: stops. */
typedef bool dj_kind_tenant_fn(void *ctx, const uint8_t tenant[DJ_ID_BYTES]);
void dj_kind_book_tenants(const struct dj_kind_book *book, void *ctx, dj_kind_tenant_fn *each);

/* What came on top since the last call for that tenant (NULL: those of no place of their own) and
 * kind: for metrics. One caller at a time. */
void dj_kind_book_tell(struct dj_kind_book *book, const uint8_t *tenant, const struct dj_kind *kind,
                       struct dj_kind_figures *out_more);

/* ---- keys that were made (cache/key_maker.h) ---- */

struct dj_key_figures {
    uint64_t made;
    uint64_t refused; /* what was missing, or too much */
    uint64_t hashed;  /* of those made, as are the next */
    uint64_t hashed_bytes;
    uint64_t streamed;
    uint64_t empty; /* something in them was */
};
struct dj_made_key;
/* made NULL: it was refused. book NULL: does nothing. */
void dj_kind_book_note_key(struct dj_kind_book *book, const struct dj_made_key *made);
void dj_kind_book_keys(const struct dj_kind_book *book, struct dj_key_figures *out_figures);

#endif
