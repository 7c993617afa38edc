/* cache/filter.h - a filter over entries, as the cache API takes it.
 *
 *   {"lang": "en", "score": {"gte": 0.5, "lt": 1}, "$model": {"in": ["a", "b"]}}
 *
 * Members are ANDed. A name is a member of the entry's metadata object (that of a question answered
 * by the upstream is what its client's headers said of it); names that begin with `$`
 * are the entry's own columns: $provider, $model, $type, $kind, $namespace, $tag (any of its tags),
 * $confidence, $cost, $version. A scalar means equality; an object of operators: eq, ne, in, gt,
 * gte, lt, lte, exists, ANDed too. Texts compare by bytes, numbers by value, types never with each
 * other. A field that is not there matches only `ne` and `exists: false`. A field that is an array
 * matches when one of its elements does (ne: when none does). $kind is what the writer said and
 * also "chat", "embedding" or "api"; $version the writer's label (text) and Deja's number.
 *
 * Trust: untrusted. Threads: a filter is immutable; any.
 */
#ifndef DJ_CACHE_FILTER_H
#define DJ_CACHE_FILTER_H

#include <deja/base.h>

#include "base/arena.h"
#include "proto/json.h"
#include "proto/record.h"

#define DJ_FILTER_MEMBERS_MAX 32u
#define DJ_FILTER_VALUES_MAX 100u /* of one `in` */

struct dj_filter;

/* Reads object into arena; object need not outlive the call. DEJA_ERR_INVALID: *out_fault (may be
 * NULL) is then text in the arena that says what is wrong; DEJA_ERR_NOMEM. */
enum deja_status dj_filter_read(const struct dj_json *object, struct dj_arena *arena,
                                const struct dj_filter **out_filter,
                                const char **out_fault) DEJA_NODISCARD;
/* Worth parsing: people's words are in the entry's column of metadata, {"metadata":{…},…}. That of
 * an answer of the upstream may be a long tape and no more (proxy/tape.h). */
bool dj_filter_has_words(const struct dj_entry *entry);

/* filter NULL: matches. No memory to read the entry's metadata: does not match. */
bool dj_filter_is_match(const struct dj_filter *filter, const struct dj_entry *entry);

#endif
