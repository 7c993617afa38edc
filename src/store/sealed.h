/* store/sealed.h - a store around another one: what goes in is sealed with its tenant's data key,
 * what comes out is opened. No tier knows of keys, and whatever keeps bytes is covered.
 *
 *   cache ── sealed ── guarded ── redis, postgres, s3
 *              └────── lmdb
 *
 *   put    sealed on the caller's loop; where the tenant's key is not in memory yet, a worker
 *          fetches it while the put waits; a removal meanwhile ends the put that waits
 *   get    opened on the loop, a large one on a worker; a key that is not here is fetched while the
 *          read waits
 *
 * A record that does not verify is a miss, counted and removed. One whose key is destroyed, unknown
 * or of another master key is a miss. What was kept before (plain) is read as it is, or, with
 * refuses_plain, a miss: nothing proves who wrote it. With keyring NULL nothing is sealed any more
 * and what was sealed is a miss.
 *
 * Threads, lifetimes: as store.h.
 */
#ifndef DJ_STORE_SEALED_H
#define DJ_STORE_SEALED_H

#include "loop/pool.h"
#include "security/keyring.h"
#include "store/store.h"

enum dj_sealed_vectors {
    DJ_SEALED_VECTORS_NONE,     /* the tier gets none, and is not searched */
    DJ_SEALED_VECTORS_SEALED,   /* kept beside the record */
    DJ_SEALED_VECTORS_READABLE, /* so that the tier can search; whoever reads it can recover texts
                                 */
};

struct dj_sealed_options {
    struct dj_keyring *keyring; /* borrowed until close returned; NULL: nothing is sealed */
    struct dj_pool *pool;       /* borrowed; alive until close returned */
    enum dj_sealed_vectors vectors;
    bool refuses_plain;  /* entries that are not sealed are not served; with a keyring only */
    struct dj_stay stay; /* asked here, where entries can still be read; the tier sees that end */
    struct dj_packing packing; /* of records */
};

/* inner: taken on DEJA_OK. */
enum deja_status dj_sealed_store_open(struct dj_store *inner,
                                      const struct dj_sealed_options *options,
                                      struct dj_store **out_store) DEJA_NODISCARD;

/* Any thread. */
bool dj_store_is_sealed(const struct dj_store *store); /* of any store; NULL: no */
struct dj_store *dj_sealed_store_inner(
    struct dj_store *store); /* borrowed; what is kept as it is */

struct dj_sealed_report {
    uint64_t sealed;
    uint64_t opened;
    uint64_t plain;      /* found as it was kept before, served or not */
    uint64_t refused;    /* did not verify */
    uint64_t unreadable; /* key unknown, destroyed or of another master key */
    uint64_t waited;     /* for a key */
};
void dj_sealed_store_report(struct dj_store *store, struct dj_sealed_report *out_report);

#endif
