/* api/as_of.h - when a client began to compute what it puts.
 *
 *   GET a key: 404, X-Deja-As-Of: T  ->  the client computes  ->  PUT, X-Deja-As-Of: T
 *
 * T is a version of the engine (microseconds of the server's clock); the value is put with it, and
 * is not kept if something that speaks for it was made void, or a newer value was put, since.
 * Trust: untrusted; who lies voids or keeps only what is his own. Threads: the request's loop.
 */
#ifndef DJ_API_AS_OF_H
#define DJ_API_AS_OF_H

#include <deja/base.h>

#include "api/request.h"

#define DJ_AS_OF_HEADER "X-Deja-As-Of"

/* Now: what a computation that this answer leads to is as of. */
uint64_t dj_as_of_now(const struct dj_request *request);
/* Says it in the header of the answer, or of the problem. */
void dj_as_of_tell(struct dj_request *request);

/* X-Deja-As-Of, or as_of in the URL's query; 0: not said. False: complained. What is older than an
 * hour is 1, which nothing is kept with. */
bool dj_as_of_read(struct dj_request *request, uint64_t *out_as_of);
/* The member as_of of an object; missing: untouched. where as in api/query.h. */
bool dj_as_of_member(struct dj_request *request, const struct dj_json *object, const char *where,
                     uint64_t *as_of);
/* Of an object that is put: what it took to make it, in milliseconds, for the time that hits save:
 * its member make_ms, else the time since as_of; 0: nobody knows. False: complained. */
bool dj_as_of_make_member(struct dj_request *request, const struct dj_json *object,
                          const char *where, uint64_t as_of, uint32_t *out_make_ms);
/* The same of X-Deja-Make-Ms, or make_ms in the URL's query. */
bool dj_as_of_make_read(struct dj_request *request, uint64_t as_of, uint32_t *out_make_ms);
/* "stored": false, and why, unless it is. */
void dj_as_of_write(struct dj_json_writer *w, bool is_stored, bool is_outrun);

#endif
