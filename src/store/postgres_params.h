/* store/postgres_params.h - parameters of a statement in PostgreSQL's binary form.
 *
 * A zeroed one has none. Appending is sticky about failure: bytes.status tells at the end; bytes is
 * the caller's to end. Threads: none of its own.
 */
#ifndef DJ_STORE_POSTGRES_PARAMS_H
#define DJ_STORE_POSTGRES_PARAMS_H

#include "base/buf.h"

#define DJ_PG_PARAMS_MAX 24u

/* Binary parameters, one behind the other. */
struct dj_pg_params {
    struct dj_buf bytes;
    size_t offsets[DJ_PG_PARAMS_MAX];
    int lens[DJ_PG_PARAMS_MAX]; /* -1: NULL */
    int count;
};
/* After the bytes of a parameter have been appended, or nothing for an empty one. */
void dj_pg_param_end(struct dj_pg_params *params, size_t began);
void dj_pg_param_null(struct dj_pg_params *params);
void dj_pg_param(struct dj_pg_params *params, const void *data, size_t len);
void dj_pg_param_u64(struct dj_pg_params *params, uint64_t value);
void dj_pg_param_u32(struct dj_pg_params *params, uint32_t value);
void dj_pg_param_double(struct dj_pg_params *params, double value);
void dj_pg_param_time(struct dj_pg_params *params, int64_t ms); /* 0: NULL */
void dj_pg_param_vector(struct dj_pg_params *params, const float *vector, uint32_t dim);
/* PostgreSQL's text holds neither zero bytes nor what is not UTF-8: such a one is NULL. */
void dj_pg_param_text(struct dj_pg_params *params, struct deja_slice text);

#endif
