/* proxy/cached_internal.h - between the two files of the cached surface: cached.c takes the
 * question and gives the answer, cached_make.c makes an entry of what the upstream answered.
 */
#ifndef DJ_PROXY_CACHED_INTERNAL_H
#define DJ_PROXY_CACHED_INTERNAL_H

#include "proxy/call.h"

/* A call's make: on a worker. Answers that are not understood or not admitted leave the reason in
 * call->refused. */
void dj_cached_make(struct dj_call *call, struct deja_slice whole);
/* A call's store: on home. */
void dj_cached_store(struct dj_call *call, struct dj_flight_end *end);

#endif
