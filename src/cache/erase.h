/* cache/erase.h - everything of a tenant, or of one of its users, out of every tier, and a look
 * whether it is.
 *
 *   raise the generation, durably: void everywhere ──> remove entry by entry ──> each level:
 *   empty it of the tenant ──> list what is left
 *
 * Safe to be done again: it goes on until nothing is left. Threads: as cache/engine.h.
 */
#ifndef DJ_CACHE_ERASE_H
#define DJ_CACHE_ERASE_H

#include <deja/base.h>

#include "cache/engine.h"

struct dj_erase_level {
    const char *level;       /* constant: "memory", "lmdb", … */
    enum deja_status status; /* not DEJA_OK: it could not be reached, or not be looked at */
    uint64_t removed;        /* by emptying it; what went entry by entry is in dj_erase_result */
    uint64_t left;           /* entries that should not be there */
    bool is_read_only;       /* others write it: only looked at */
    bool is_unlisted;        /* nobody can look what is in it */
};

/* Borrowed until done returns. */
struct dj_erase_result {
    enum deja_status status; /* of making it void everywhere and removing entry by entry */
    uint64_t removed;        /* live entries that were found, each once */
    uint32_t count;
    struct dj_erase_level levels[1 + DJ_TIERS_MAX]; /* top down */
    bool is_complete;                               /* all of it, every level, nothing left */
};
typedef void dj_erased_fn(void *ctx, const struct dj_erase_result *result);

/* tag: what marks the entries (copied); empty: all of the tenant. What is put while it runs may be
 * removed too. done runs once, later, on loop. DEJA_ERR_NOMEM. */
enum deja_status dj_engine_erase(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                 void *ctx, dj_erased_fn *done) DEJA_NODISCARD;

#endif
