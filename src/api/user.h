/* api/user.h - a request with X-Deja-User sees and removes what this user stored, and nothing else
 * of its tenant (security/user.h); without one, everything of the tenant.
 *
 * Threads: the request's loop.
 */
#ifndef DJ_API_USER_H
#define DJ_API_USER_H

#include <deja/base.h>

#include "api/request.h"
#include "cache/engine.h"

bool dj_user_owns(const struct dj_request *request, const struct dj_entry *entry);
/* selector: of this user's entries only, too. False: out of memory. */
bool dj_user_select(struct dj_request *request, struct dj_selector *selector) DEJA_NODISCARD;
/* For what only a whole tenant can be told or asked to do. True: the request names a user, and was
 * answered with 403. */
bool dj_user_is_refused(struct dj_request *request) DEJA_NODISCARD;
/* dj_engine_remove of what the user owns; of what it does not nothing is removed. */
enum deja_status dj_user_remove(struct dj_request *request, const struct dj_store_key *key,
                                void *ctx, dj_remove_done_fn *done) DEJA_NODISCARD;

#endif
