/* cache/invalidation.h - an order to make something void: data that can be run now, kept for later,
 * or come from another program.
 *
 *   an HTTP request, a schedule that is due, a message of a channel
 *        └──> struct dj_invalidation ──dj_invalidation_run──> engine (one key, a selection, a
 * cascade)
 *
 * What it says is what is void: exactly one of a key and a selection (is_all, or members of the
 * selector that must all hold), or nothing but `cascade_name`. With is_cascade, what depends on
 * what goes, goes too.
 *
 * Trust: what read() reads are documents of our own; every member is checked all the same. Threads
 * and tenants: as cache/engine.h.
 */
#ifndef DJ_CACHE_INVALIDATION_H
#define DJ_CACHE_INVALIDATION_H

#include <deja/base.h>

#include "base/arena.h"
#include "cache/cascade.h"
#include "cache/depends.h"
#include "cache/engine.h"
#include "policy/kinds.h"
#include "proto/json.h"

#define DJ_INVALIDATION_NAME_BYTES_MAX 1024u

/* Plain data; everything is borrowed. */
struct dj_invalidation {
    const char *kind; /* constant: "entry", "query", "tag", "pattern", "event", "cascade", … */
    bool has_key;
    struct dj_store_key key;
    struct dj_selector selector; /* its cause is not looked at; created_before_ms: of older_ms */
    uint64_t older_ms;           /* older than that when it is run; 0: any age */
    struct deja_slice filter;    /* the selector's as it was said (JSON), for write; empty: none */
    struct dj_maker maker;       /* the selector's, if it has one */
    bool is_cascade;
    struct deja_slice cascade_name; /* what has changed, as others name it; implies is_cascade */
    struct deja_slice name;         /* what was said, for people: the event; empty: by kind */
    struct deja_slice reason;
    enum dj_notice_source source;
};

/* What that event voids, as the selector's; copied into arena. DEJA_ERR_NOT_FOUND: no kind names
 * it; DEJA_ERR_LIMIT: too many tags; DEJA_ERR_INVALID: what it carries is in no tag, so nothing
 * would go; DEJA_ERR_NOMEM. */
enum deja_status dj_invalidation_set_event(struct dj_invalidation *invalidation,
                                           const struct dj_kinds *kinds, struct deja_slice event,
                                           const struct dj_kind_field *fields, size_t count,
                                           struct dj_arena *arena) DEJA_NODISCARD;

/* A word for the kind that was constant once; "selection" for others. */
const char *dj_invalidation_kind(struct deja_slice text);

/* A JSON object; tags and names that are not UTF-8 cannot be written (DEJA_ERR_INVALID is the
 * buf's). */
void dj_invalidation_write(struct dj_json_writer *w, const struct dj_invalidation *invalidation);
/* What write wrote, of that tenant; slices are copied into arena. DEJA_ERR_INVALID,
 * DEJA_ERR_NOMEM. */
enum deja_status dj_invalidation_read(const struct dj_json *object,
                                      const uint8_t tenant[DJ_ID_BYTES], struct dj_arena *arena,
                                      struct dj_invalidation *out_invalidation) DEJA_NODISCARD;

/* cascade: NULL where there was none; borrowed until return. count: each live entry once. */
typedef void dj_invalidated_fn(void *ctx, enum deja_status status, uint64_t count,
                               const struct dj_cascade_result *cascade);
/* invalidation and what it points to are borrowed until done ran (once, later, on loop).
 * is_dry_run: counts, changes nothing. Errors as dj_engine_remove_selected; DEJA_ERR_LIMIT: see the
 * cascade. */
enum deja_status dj_invalidation_run(struct dj_engine *engine, struct dj_loop *loop,
                                     const uint8_t tenant[DJ_ID_BYTES],
                                     const struct dj_invalidation *invalidation, bool is_dry_run,
                                     void *ctx, dj_invalidated_fn *done) DEJA_NODISCARD;

#endif
