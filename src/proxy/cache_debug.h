/* proxy/cache_debug.h - what Bifrost's clients read of a hit: "extra_fields": {"cache_debug": {…}}
 * in the answer's object, of a stream in its last one (WIRE §5.2).
 *
 * Only for who speaks that family's headers, or has it configured: others get answers as they were
 * stored. Threads: any.
 */
#ifndef DJ_PROXY_CACHE_DEBUG_H
#define DJ_PROXY_CACHE_DEBUG_H

#include <deja/base.h>

#include "base/buf.h"
#include "proxy/respond.h"

/* Appends body with the member put in; as it is where there is no object to put it into. outcome:
 * of a hit. body: JSON, or events where is_stream. out's status tells when memory ran out. */
void dj_cache_debug_put(struct deja_slice body, bool is_stream, const struct dj_outcome *outcome,
                        double threshold, struct dj_buf *out);

#endif
