/* cache/tiers.h - the tiers below memory, top down, and what may go through each.
 *
 *   memory ── lmdb ── redis ── postgres ── s3        any subset, always in this order
 *
 * A read walks down until a tier has a valid answer, and on the way back puts it into every tier
 * above; a write goes to all. A tier that errs, is busy or takes longer than its soft timeout is a
 * miss (I4): the walk goes on below it, and what it answers late is promoted all the same.
 * Threads: plain data.
 */
#ifndef DJ_CACHE_TIERS_H
#define DJ_CACHE_TIERS_H

#include <deja/base.h>

#include "store/store.h"

#define DJ_TIERS_MAX 5u              /* below memory */
#define DJ_TIER_KINDS_ALL UINT32_MAX /* bits: 1 << enum dj_entry_kind */
#define DJ_TIER_KIND(kind) (1u << (kind))

/* Where an answer may be. In masks of tiers, as `skip`, each is the bit 1 << level. */
enum dj_level {
    DJ_LEVEL_MEMORY,
    DJ_LEVEL_LMDB, /* or another program's store in its place */
    DJ_LEVEL_REDIS,
    DJ_LEVEL_POSTGRES,
    DJ_LEVEL_S3,
    DJ_LEVEL_COUNT
};
#define DJ_LEVEL_BIT(level) (1u << (level))
/* Of programs that share a tier: what is kept there is not ours alone. */
#define DJ_LEVELS_SHARED \
    (DJ_LEVEL_BIT(DJ_LEVEL_REDIS) | DJ_LEVEL_BIT(DJ_LEVEL_POSTGRES) | DJ_LEVEL_BIT(DJ_LEVEL_S3))

/* "memory" or "l1", "lmdb", "redis" or "l2", "postgres", "s3" or "l3": the bit; 0: no such level.
 */
uint32_t dj_level_bit(struct deja_slice name);
const char *dj_level_text(enum dj_level level);

struct dj_tier {
    struct dj_store *store;
    bool is_read_only;        /* never written: neither puts nor removals nor promotions */
    bool is_behind;           /* puts are not waited for */
    uint32_t soft_timeout_ms; /* of a read; 0: none */
    uint32_t kinds;           /* that may be put there; 0: all */
    bool is_journaled;        /* what it missed is made good before it is read (store/guarded.h) */
};

#endif
