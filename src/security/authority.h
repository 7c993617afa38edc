/* security/authority.h - where tenants, keys and other documents of this deployment are kept: a
 * table of functions that the composition fills (LMDB's meta environment, or PostgreSQL).
 *
 * A document is bytes under a key in a named table. What was put is durable before put returns.
 * Blocking: workers and start-up only. Threads: any; the implementation takes care of order.
 */
#ifndef DJ_SECURITY_AUTHORITY_H
#define DJ_SECURITY_AUTHORITY_H

#include <deja/base.h>

#define DJ_AUTHORITY_KEY_BYTES_MAX 128u
#define DJ_AUTHORITY_VALUE_BYTES_MAX (64u << 10)

/* value: borrowed until return. */
typedef void dj_authority_found_fn(void *ctx, struct deja_slice value);
/* False: stop. */
typedef bool dj_authority_each_fn(void *ctx, struct deja_slice key, struct deja_slice value);
/* A document changed; value.data NULL: it was removed. */
typedef void dj_authority_change_fn(void *ctx, const char *table, struct deja_slice key,
                                    struct deja_slice value);

struct dj_authority {
    void *ctx;
    const char *name; /* "lmdb", "postgres": for people */
    /* DEJA_ERR_NOT_FOUND, DEJA_ERR_IO, DEJA_ERR_TIMEOUT, DEJA_ERR_NOMEM. */
    enum deja_status (*get)(void *ctx, const char *table, struct deja_slice key, void *found_ctx,
                            dj_authority_found_fn *found);
    /* is_new: DEJA_ERR_BUSY where one is there already. */
    enum deja_status (*put)(void *ctx, const char *table, struct deja_slice key,
                            struct deja_slice value, bool is_new);
    enum deja_status (*remove)(void *ctx, const char *table, struct deja_slice key);
    enum deja_status (*walk)(void *ctx, const char *table, void *each_ctx,
                             dj_authority_each_fn *each);
    /* NULL: nobody else writes here. What any program changed after `since` (0: everything that is
     * there), in order, and where to go on; asked about once a second. DEJA_ERR_NOT_FOUND: `since`
     * is too long ago, or of another history: begin at 0, and what is not told then is gone. */
    enum deja_status (*pull)(void *ctx, uint64_t since, void *change_ctx,
                             dj_authority_change_fn *change, uint64_t *out_sequence);
};

#endif
