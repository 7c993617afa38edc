/* cache/voids.h - when something was made void, for what was computed meanwhile.
 *
 * Whoever computes an answer, this program or a client of it, began at some version (the engine's
 * clock, cache/engine.h): its answer is as of then. It is not kept if a counter that speaks for it
 * was raised since: the tenant's, its namespace's, one of its tags', or the tenant's *selection*
 * counter, which is raised by what names entries one by one (a pattern, a filter): nobody knows
 * which name or which columns an answer under way will have. That counter voids nothing that is
 * kept: no entry notes it.
 *
 *   selection counter   the tag 01 "selected", which nobody else can name
 *
 * Bounds: DJ_TOMBSTONES_MAX raises; when there are more, what is older than those is refused,
 * whatever it is. DJ_KEPT_MAX notes of what was kept. What began before this program did is
 * refused, too. So it may refuse too much, never too little. Threads: any; a lock, held for a few
 * lookups.
 */
#ifndef DJ_CACHE_VOIDS_H
#define DJ_CACHE_VOIDS_H

#include <deja/base.h>

#include "store/store.h"

#define DJ_KEPT_MAX 16384u

struct dj_voids;

/* start: the first version of this program. */
enum deja_status dj_voids_create(uint64_t start, struct dj_voids **out_voids) DEJA_NODISCARD;
void dj_voids_destroy(struct dj_voids *voids); /* accepts NULL */

/* The tag of the selection counter, and: is it that? */
struct deja_slice dj_voids_selection(void);
bool dj_voids_is_selection(struct deja_slice tag);

/* A counter (named as in cache/generations.h) was raised at version. */
void dj_voids_note(struct dj_voids *voids, const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                   uint64_t version);
/* What began up to that version is refused, whatever it is. */
void dj_voids_note_all(struct dj_voids *voids, uint64_t version);
/* True: an entry that is as of then must not be kept any more. */
bool dj_voids_refuse(struct dj_voids *voids, const struct dj_entry *entry, uint64_t as_of);
/* The same, but only for what voids nothing that is kept: a selection, a beginning too long ago. */
bool dj_voids_refuse_selected(struct dj_voids *voids, const uint8_t tenant[DJ_ID_BYTES],
                              uint64_t as_of);

/* ---- among programs ----
 *
 * What another program raised is known here a pull later. A tag's entry notes the counter, and is
 * void by it then; what the selection counter speaks for is not. So what was kept since the pull
 * before the last is remembered, and goes when a pull brings that counter. */

struct dj_kept {
    struct dj_store_key key;
    uint64_t version;
};
/* It is about to be kept. */
void dj_voids_keep(struct dj_voids *voids, const struct dj_kept *kept);
/* A pull has begun: what is kept from here on is that one's, or the next one's. */
void dj_voids_begin_pull(struct dj_voids *voids);
/* It ended well: what was kept before it began is forgotten. */
void dj_voids_end_pull(struct dj_voids *voids);
/* Those of the tenant, oldest first, from *cursor (0: the first); false: there are no more. */
bool dj_voids_next(struct dj_voids *voids, const uint8_t tenant[DJ_ID_BYTES], uint64_t *cursor,
                   struct dj_kept *out_kept);
/* There were more than could be remembered. */
bool dj_voids_is_kept_lost(struct dj_voids *voids);

#endif
