/* vector/flat.h - vectors of one tenant and one embedder, found by scope: int8 scan, fp32
 * rescoring.
 *
 * One slab of slots, one map scope -> slots. Cosine over unit vectors. The graph index for large
 * scopes will stand behind the same calls. Deterministic. Bounded by vectors_max (I7).
 * Threads: any; readers share, a writer excludes them for one insert.
 */
#ifndef DJ_VECTOR_FLAT_H
#define DJ_VECTOR_FLAT_H

#include <deja/base.h>

struct dj_flat;

struct dj_flat_match {
    uint8_t id[16];
    float similarity; /* fp32 cosine in [-1, 1] */
};

/* dim 1 … 8,192; vectors_max 1 … 2^31; else DEJA_ERR_INVALID. dj_simd_init() comes first. */
enum deja_status dj_flat_create(uint32_t dim, uint32_t vectors_max,
                                struct dj_flat **out_index) DEJA_NODISCARD;
void dj_flat_destroy(struct dj_flat *index); /* accepts NULL */

/* Inserts or replaces the vector of id (also when its scope changed). vector: dim finite floats,
 * normalised here; DEJA_ERR_INVALID: not finite or zero. At vectors_max the vector that expires
 * first (the oldest of those that never do) of an idle scope goes, or of this scope when there is
 * no other; counted. expires_ms 0: never. A newer version that is there already stays. */
enum deja_status dj_flat_put(struct dj_flat *index, const uint8_t scope[16], const uint8_t id[16],
                             const float *vector, int64_t expires_ms,
                             uint64_t version) DEJA_NODISCARD;
/* Unless it is of a version above version_max. */
bool dj_flat_remove(struct dj_flat *index, const uint8_t id[16], uint64_t version_max);
void dj_flat_clear(struct dj_flat *index);

/* Best first, at most k (k <= 100), expired ones left out. query: dim finite floats, normalised
 * here into a copy; DEJA_ERR_INVALID as above. */
enum deja_status dj_flat_search(struct dj_flat *index, const uint8_t scope[16], const float *query,
                                uint32_t k, int64_t now_ms, struct dj_flat_match *out_matches,
                                uint32_t *out_count) DEJA_NODISCARD;
/* The same over all scopes (explain). */
enum deja_status dj_flat_search_all(struct dj_flat *index, const float *query, uint32_t k,
                                    int64_t now_ms, struct dj_flat_match *out_matches,
                                    uint32_t *out_count) DEJA_NODISCARD;

/* Vectors of a scope one beside the other, expired ones gone, memory for no more than there are.
 * Searches go on while the copy is made, unless puts come faster than it is done twice: then both
 * wait for it. Worker. out (may be NULL): what it gave. */
struct dj_flat_compacted {
    uint64_t expired; /* vectors */
    uint64_t bytes;   /* freed */
};
enum deja_status dj_flat_compact(struct dj_flat *index, int64_t now_ms,
                                 struct dj_flat_compacted *out_compacted) DEJA_NODISCARD;

uint32_t dj_flat_free_slots(struct dj_flat *index); /* there is memory for, and no vector */
uint32_t dj_flat_scope_count(struct dj_flat *index, const uint8_t scope[16]); /* vectors there */
uint32_t dj_flat_count(struct dj_flat *index);
size_t dj_flat_bytes(struct dj_flat *index);
uint64_t dj_flat_evictions(struct dj_flat *index); /* vectors that gave way since creation */

#endif
