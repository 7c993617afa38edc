/* cache/depends.h - what an answer was made from, as tags that nobody else can name.
 *
 *   depends_on: ["doc:7"]  ->  the tag 01 "dep:doc:7"
 *
 * So an entry that was made from doc:7 is void as soon as that tag's counter is raised, wherever it
 * lies, like with every tag (validity by generations). A name is a text of the writer's choice: a
 * plain key, the id of an entry (32 hex digits), or the name of something outside the cache.
 * Names are the tenant's: namespaces do not part them.
 *
 * Pure. Threads: any.
 */
#ifndef DJ_CACHE_DEPENDS_H
#define DJ_CACHE_DEPENDS_H

#include <deja/base.h>

#include "proto/record.h"

#define DJ_DEPENDS_NAME_BYTES_MAX 256u
#define DJ_DEPENDS_TAG_BYTES (DJ_DEPENDS_NAME_BYTES_MAX + 5u)

/* A name that is too long is cut off: more is void then, never less. */
struct deja_slice dj_depends_tag(struct deja_slice name, char bytes[DJ_DEPENDS_TAG_BYTES]);
/* The name that stands in such a tag; data NULL: it is another one. */
struct deja_slice dj_depends_name(struct deja_slice tag);

#endif
