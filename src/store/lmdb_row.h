/* store/lmdb_row.h - the bytes of one row in each table of `entries` (docs/adr/0005).
 *
 *   entries   tenant ‖ id             -> version 8 ‖ order 8 ‖ scope 16 ‖ cost 4 ‖ has_vector 4 ‖
 * record expiry    order ‖ tenant ‖ id     -> cost 4 vectors   tenant ‖ scope ‖ id     -> checksum
 * 8 ‖ order 8 ‖ dim 4 ‖ embedder_len 4 ‖ embedder ‖ floats
 *             sealed: dim and embedder_len are 0, and the sealed vector follows
 *
 * Numbers are big-endian, so that memcmp orders them; floats are as the machine has them (all
 * targets are little-endian). order: when the entry is gone; entries that never are come after all
 * others, oldest first. Trust: our own files; every length is checked.
 */
#ifndef DJ_STORE_LMDB_ROW_H
#define DJ_STORE_LMDB_ROW_H

#include "store/key_internal.h"

#define DJ_ROW_HEAD_BYTES 40u
#define DJ_ROW_EXPIRY_KEY_BYTES (8u + sizeof(struct dj_store_key))
#define DJ_ROW_EXPIRY_BYTES 4u
#define DJ_ROW_VECTOR_KEY_BYTES (sizeof(struct dj_store_key) + DJ_ID_BYTES)
#define DJ_ROW_VECTOR_HEAD_BYTES 24u
#define DJ_ROW_ORDER_NEVER ((uint64_t)1 << 62)
#define DJ_ROW_DIM_MAX 16384u

struct dj_row_head {
    uint64_t version;
    uint64_t order;
    uint8_t scope[DJ_ID_BYTES];
    uint32_t cost; /* bytes charged for all rows of the entry */
    bool has_vector;
};

struct dj_row_vector {
    struct dj_store_key key;
    uint8_t scope[DJ_ID_BYTES];
    uint64_t order;
    uint32_t dim;
    struct deja_slice embedder_id;
    const char *floats;       /* not aligned */
    struct deja_slice sealed; /* dim is 0 */
};

static inline int64_t dj_row_gone_ms(uint64_t order)
{
    return order < DJ_ROW_ORDER_NEVER ? (int64_t)order : 0;
}

/* Every entry expires at 1 ms or later: 0 means never. */
uint64_t dj_row_order(const struct dj_entry *entry);
/* What the rows of an entry take on disk, page rounding and tree fill included. */
uint32_t dj_row_cost(size_t record_bytes, size_t vector_bytes);

void dj_row_head_write(const struct dj_row_head *head, char out[DJ_ROW_HEAD_BYTES]);
/* false: too short or not of the form. */
bool dj_row_head_read(struct deja_slice bytes, struct dj_row_head *out_head);

void dj_row_expiry_key_write(uint64_t order, const struct dj_store_key *key,
                             char out[DJ_ROW_EXPIRY_KEY_BYTES]);
bool dj_row_expiry_key_read(struct deja_slice bytes, uint64_t *out_order,
                            struct dj_store_key *out_key);
void dj_row_cost_write(uint32_t cost, char out[DJ_ROW_EXPIRY_BYTES]);
bool dj_row_cost_read(struct deja_slice bytes, uint32_t *out_cost);

void dj_row_vector_key_write(const struct dj_store_key *key, const uint8_t scope[DJ_ID_BYTES],
                             char out[DJ_ROW_VECTOR_KEY_BYTES]);
size_t dj_row_vector_bytes(size_t embedder_len, uint32_t dim);
/* Of what is put: dim floats or, if dim is 0, the entry's sealed vector; 0: neither. */
size_t dj_row_vector_size(const struct dj_entry *entry, uint32_t dim);
/* out: dj_row_vector_size(). The checksum is keyed by the id, so a row is worth nothing under
 * another one. */
void dj_row_vector_write(const struct dj_entry *entry, uint64_t order, const float *vector,
                         uint32_t dim, char *out);
/* false: lengths or checksum do not hold. Slices borrow from value. */
bool dj_row_vector_read(struct deja_slice key, struct deja_slice value,
                        struct dj_row_vector *out_vector);

#endif
