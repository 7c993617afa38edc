/* api/erase.h - what the erase routes ask of the composition, which knows the tiers, the authority
 * and the keys: a table of functions.
 *
 * An erasure is known by its id and is a JSON document ("state": "open" or "done") that survives
 * restarts. Threads: any loop; told runs there, once, later.
 */
#ifndef DJ_API_ERASE_H
#define DJ_API_ERASE_H

#include <deja/base.h>

#include "loop/loop.h"
#include "security/principal.h"
#include "security/user.h"

#define DJ_ERASURE_ID_BYTES 16u

/* Copied, but for who and request_id: valid until told. */
struct dj_erase_order {
    uint8_t tenant[DJ_TENANT_BYTES];
    bool has_user;
    uint8_t user[DJ_USER_BYTES];
    const struct dj_principal *who; /* NULL: the operator's token */
    const char *request_id;
};

/* document: borrowed until return; data NULL unless status is DEJA_OK. DEJA_ERR_NOT_FOUND: no such
 * erasure; DEJA_ERR_IO: it could not be written down, and nothing was done. */
typedef void dj_erase_told_fn(void *ctx, enum deja_status status, struct deja_slice document);

struct dj_erase_service {
    void *ctx;
    /* Told when the first attempt is over: the document says whether all of it is done.
     * DEJA_ERR_BUSY: too many are open; DEJA_ERR_NOMEM. */
    enum deja_status (*start)(void *ctx, struct dj_loop *loop, const struct dj_erase_order *order,
                              void *told_ctx, dj_erase_told_fn *told);
    enum deja_status (*get)(void *ctx, struct dj_loop *loop, const uint8_t id[DJ_ERASURE_ID_BYTES],
                            void *told_ctx, dj_erase_told_fn *told);
};

#endif
