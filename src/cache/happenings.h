/* cache/happenings.h - what was done with keys and entries, for an operator who wants each told.
 *
 *   note (any thread) ──> ring of the last ones ──> readers, each with a place of its own
 *
 * Nothing of what is kept is in it: no key, no text, no value. Who reads slower than things happen
 * loses the oldest and is told how many; nobody ever waits for a reader, and nobody is woken: who
 * wants to know looks. What is not wanted costs its comparison.
 *
 * Threads: any. Tenants: of all; for the composition alone.
 */
#ifndef DJ_CACHE_HAPPENINGS_H
#define DJ_CACHE_HAPPENINGS_H

#include <deja/base.h>

#include "proto/json.h"
#include "proto/record.h"

enum dj_happening_kind {
    DJ_HAPPENED_GET,      /* found and served: entry_kind, tier, ttl_ms */
    DJ_HAPPENED_MISS,     /* not found: entry_kind */
    DJ_HAPPENED_SET,      /* kept: entry_kind, ttl_ms */
    DJ_HAPPENED_DELETE,   /* there was something, and it was removed by its key */
    DJ_HAPPENED_EVICTION, /* left a tier without being asked to: tier, reason */
    DJ_HAPPENING_KINDS
};
/* "get_success", "get_miss", "set_success", "delete_success", "eviction". */
const char *dj_happening_text(enum dj_happening_kind kind);

#define DJ_HAPPENINGS_KEPT 32768u
#define DJ_HAPPENING_NEVER UINT64_MAX

/* Texts are constant. */
struct dj_happening {
    enum dj_happening_kind kind;
    int64_t time_ms;
    uint8_t tenant[DJ_ID_BYTES];
    bool has_id;
    uint8_t id[DJ_ID_BYTES]; /* of the key or entry */
    const char *entry_kind;  /* "plain", "api", "chat", …; NULL: not told */
    const char *tier;        /* "memory", "lmdb", …; NULL: not told */
    const char *reason;      /* "ttl", "size", "tenant_limit"; NULL: not told */
    uint64_t ttl_ms;         /* left; DJ_HAPPENING_NEVER: it never ends; 0: not told */
};

struct dj_happenings;

/* kinds: bits 1 << enum dj_happening_kind; others are passed over. */
enum deja_status dj_happenings_create(unsigned kinds,
                                      struct dj_happenings **out_happenings) DEJA_NODISCARD;
void dj_happenings_destroy(struct dj_happenings *happenings); /* accepts NULL */

/* Copied. happenings NULL: nothing. */
void dj_happenings_note(struct dj_happenings *happenings, const struct dj_happening *happening);
/* What an entry's facts say of it. now_ms: for its life. */
struct dj_happening dj_happening_of(enum dj_happening_kind kind, const struct dj_entry *entry,
                                    int64_t now_ms);

/* The next ones after *place (a reader's own; 0: from the oldest that is kept), at most max, which
 * are passed then; how many. Adds to *lost how many came and went since the last call. */
size_t dj_happenings_read(struct dj_happenings *happenings, uint64_t *place,
                          struct dj_happening *out_items, size_t max, uint64_t *lost);

/* As a JSON object: event, time, tenant, id, kind, tier, reason, ttl_s. */
void dj_happening_write(struct dj_json_writer *w, const struct dj_happening *happening);

#endif
