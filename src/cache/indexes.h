/* cache/indexes.h - the vector indexes of each tenant: the embedder's, and those of callers' own
 * vectors.
 *
 * An index is told by label and dimension; the label of the engine's embedder is empty. Indexes are
 * made when something is put and live as long as the room. Bounds: DJ_INDEXES_PER_TENANT of
 * vectors_max vectors each, 20,000 tenants. Threads: any.
 */
#ifndef DJ_CACHE_INDEXES_H
#define DJ_CACHE_INDEXES_H

#include <deja/base.h>

#include "proto/record.h"
#include "vector/flat.h"

#define DJ_INDEXES_PER_TENANT 9u

struct dj_indexes;

struct dj_index_name {
    struct deja_slice label;
    uint32_t dim;
};

enum deja_status dj_indexes_create(uint32_t vectors_max,
                                   struct dj_indexes **out_indexes) DEJA_NODISCARD;
void dj_indexes_destroy(struct dj_indexes *indexes); /* accepts NULL */

/* NULL: not there. Lives as long as the room. */
struct dj_flat *dj_indexes_find(struct dj_indexes *indexes, const uint8_t tenant[DJ_ID_BYTES],
                                const struct dj_index_name *name);
/* The vector of an id is in one of the tenant's indexes: the others lose theirs. DEJA_ERR_LIMIT:
 * one index too many; DEJA_ERR_INVALID as dj_flat_put; DEJA_ERR_NOMEM. */
enum deja_status dj_indexes_put(struct dj_indexes *indexes, const uint8_t tenant[DJ_ID_BYTES],
                                const struct dj_index_name *name, const uint8_t scope[DJ_ID_BYTES],
                                const uint8_t id[DJ_ID_BYTES], const float *vector,
                                int64_t expires_ms, uint64_t version) DEJA_NODISCARD;
/* False: the tenant has as many as it may, and this is not one of them. */
bool dj_indexes_has_room(struct dj_indexes *indexes, const uint8_t tenant[DJ_ID_BYTES],
                         const struct dj_index_name *name);
void dj_indexes_remove(struct dj_indexes *indexes, const uint8_t tenant[DJ_ID_BYTES],
                       const uint8_t id[DJ_ID_BYTES], uint64_t version_max);
void dj_indexes_clear(struct dj_indexes *indexes, const uint8_t tenant[DJ_ID_BYTES]);
/* Vectors in all indexes of the tenant; scope NULL: of any scope. */
uint32_t dj_indexes_count(struct dj_indexes *indexes, const uint8_t tenant[DJ_ID_BYTES],
                          const uint8_t *scope);
/* The indexes of a tenant (NULL: of all) as they are now, to be gone through without a lock.
 * *out_flats: the caller's array, ended with dj_free, of indexes that live as long as the room. */
enum deja_status dj_indexes_list(struct dj_indexes *indexes, const uint8_t *tenant,
                                 struct dj_flat ***out_flats, size_t *out_count) DEJA_NODISCARD;
/* tenant NULL: all. */
void dj_indexes_stats(struct dj_indexes *indexes, const uint8_t *tenant, uint64_t *out_vectors,
                      uint64_t *out_bytes);

#endif
