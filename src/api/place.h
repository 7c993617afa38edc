/* api/place.h - a place in a ring of all tenants, as one tenant is told it.
 *
 * Plain numbers would tell a tenant how busy the others are, and one of an earlier daemon could not
 * be told from one of this. So a place is told scrambled: a permutation keyed by the tenant's
 * secret, a purpose and this start. Threads: any.
 */
#ifndef DJ_API_PLACE_H
#define DJ_API_PLACE_H

#include "api/request.h"

#define DJ_PLACE_BITS 52u /* every JSON number can hold it */

/* purpose: at most 16 bytes. number: below 1 << DJ_PLACE_BITS. Needs request->fingerprint_key. */
uint64_t dj_place_scramble(const struct dj_request *request, const char *purpose, uint64_t number);
/* Of another tenant, purpose or start: a number that was none. */
uint64_t dj_place_unscramble(const struct dj_request *request, const char *purpose, uint64_t place);

#endif
