/* api/langcache.h - the LangCache REST API (WIRE §8), for the SDKs that speak it.
 *
 *   POST   /v1/caches/{cacheId}/entries               set: 201
 *   POST   /v1/caches/{cacheId}/entries/search        search
 *   POST   /v1/caches/{cacheId}/conversations/search  the same, with the questions asked before
 *   DELETE /v1/caches/{cacheId}/entries               by attributes, in a body
 *   DELETE /v1/caches/{cacheId}/entries/{entryId}     204
 *   POST   /v1/caches/{cacheId}/flush                 204
 *
 * cacheId is a namespace of the tenant that the bearer names. Errors are the surface's own
 * (problem.h). Unlike the native API this one ignores members it does not know, as the service does
 * whose clients these are: a newer SDK goes on working.
 *
 * Threads: the request's loop. Trust: untrusted.
 */
#ifndef DJ_API_LANGCACHE_H
#define DJ_API_LANGCACHE_H

#include "api/request.h"

/* Who asks must say so: this surface has no local tenant. False: the request was answered. */
bool dj_langcache_is_named(struct dj_request *request);
/* The cacheId of the path, decoded, in the arena; false after complaining. */
bool dj_langcache_cache_id(struct dj_request *request, struct deja_slice *out_cache_id);

/* langcache.c */
void dj_langcache_set(struct dj_request *request);
void dj_langcache_remove(struct dj_request *request);
void dj_langcache_remove_matching(struct dj_request *request);
void dj_langcache_flush(struct dj_request *request);
/* langcache_search.c */
void dj_langcache_search(struct dj_request *request);
void dj_langcache_search_conversation(struct dj_request *request);

#endif
