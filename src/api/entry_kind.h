/* api/entry_kind.h - what a kind (policy/kinds.h) does to an entry of the cache API, and to a
 * question.
 *
 *   put     "kind": its TTL where none is said; its tags, their fields out of the entry's metadata,
 *           provider and model; of a semantic kind: kept apart from what is of no kind
 *   lookup  "kind": among entries of that kind only, by its threshold and limit where none is said
 *
 * A word that is no kind's name is a label, as it always was. Threads: the request's loop.
 */
#ifndef DJ_API_ENTRY_KIND_H
#define DJ_API_ENTRY_KIND_H

#include <deja/base.h>

#include "api/entry.h"
#include "policy/kinds.h"

/* NULL: no kind has that name. */
const struct dj_kind *dj_entry_kind(const struct dj_request *request, struct deja_slice name);
/* Fills what the put left open. False after complaining (where: as in api/query.h). */
bool dj_entry_kind_apply(struct dj_request *request, const char *where,
                         struct dj_entry_input *input);
/* Of fingerprints: entries of a semantic kind have a room of their own in the namespace. In the
 * arena; data NULL: out of memory. */
struct deja_slice dj_entry_kind_space(struct dj_request *request, const struct dj_kind *kind,
                                      struct deja_slice name_space);

#endif
