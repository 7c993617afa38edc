/* store/postgres_row.h - values of PostgreSQL's binary format: numbers, times, vectors, arrays.
 *
 * Trust: untrusted; a reader checks the length and says false. Numbers are big-endian; times are
 * microseconds since 2000. Pure. Threads: any.
 */
#ifndef DJ_STORE_POSTGRES_ROW_H
#define DJ_STORE_POSTGRES_ROW_H

#include <deja/base.h>

#include "base/buf.h"
#include "store/store.h"

#define DJ_PG_DIM_MAX 4096u

/* One field of a row; is_null: data is empty. */
struct dj_pg_field {
    struct deja_slice bytes; /* borrowed from the result */
    bool is_null;
};

void dj_pg_put_u16(struct dj_buf *out, uint16_t value);
void dj_pg_put_u32(struct dj_buf *out, uint32_t value);
void dj_pg_put_u64(struct dj_buf *out, uint64_t value);
void dj_pg_put_time(struct dj_buf *out, int64_t ms); /* clamped to what the server can hold */
/* pgvector's: dimensions 2, unused 2, a float4 each. */
void dj_pg_put_vector(struct dj_buf *out, const float *vector, uint32_t dim);

/* A one-dimensional array without NULLs; then `count` times dj_pg_put_element and its bytes. */
void dj_pg_begin_array(struct dj_buf *out, uint32_t element_oid, uint32_t count);
void dj_pg_put_element(struct dj_buf *out, const void *data, uint32_t len);

bool dj_pg_is_true(struct dj_pg_field field); /* bool; NULL and anything else: false */
/* As much of it as fits, terminated. */
void dj_pg_copy_text(struct dj_pg_field field, char *out_text, size_t cap);
bool dj_pg_read_u32(struct dj_pg_field field, uint32_t *out_value);
bool dj_pg_read_u64(struct dj_pg_field field, uint64_t *out_value);
bool dj_pg_read_double(struct dj_pg_field field, double *out_value); /* float8, not NaN */
bool dj_pg_read_time(struct dj_pg_field field, int64_t *out_ms);     /* NULL: 0 */
bool dj_pg_read_id(struct dj_pg_field field, uint8_t out_id[DJ_ID_BYTES]);
/* At most dim_max finite numbers into out_vector. */
bool dj_pg_read_vector(struct dj_pg_field field, uint32_t dim_max, float *out_vector,
                       uint32_t *out_dim);

/* A record that names this key, as a value. DEJA_ERR_CORRUPT: it does not verify or names another;
 * DEJA_ERR_NOMEM. */
enum deja_status dj_pg_read_value(struct dj_pg_field record, const struct dj_store_key *key,
                                  struct dj_value **out_value) DEJA_NODISCARD;

/* Version of the table and of SQL's signed 64 bits. */
static inline uint64_t dj_pg_version(uint64_t version)
{
    return version < INT64_MAX ? version : INT64_MAX;
}

#endif
