/* lib/kv_internal.h - what the files of plain keys share. */
#ifndef DJ_LIB_KV_INTERNAL_H
#define DJ_LIB_KV_INTERNAL_H

#include "lib/lib_internal.h"

/* An operation over what the caller gave, with its own copy of it; not submitted. is_key: there
 * must be a key. Ended with dj_operation_finish or dj_operation_destroy. */
enum deja_status dj_kv_begin(struct deja *deja, const struct deja_kv *kv, uint32_t timeout_ms,
                             dj_operation_fn *start, bool is_key,
                             struct dj_operation **out_operation) DEJA_NODISCARD;
void dj_kv_done(struct dj_operation *operation, enum deja_status status, uint64_t count);
deja_done_fn dj_kv_ignore;

typedef enum deja_status dj_kv_async_fn(struct deja *deja, const struct deja_kv *kv, void *ctx,
                                        deja_done_fn *done);
/* The blocking twin. */
enum deja_status dj_kv_wait(struct deja *deja, const struct deja_kv *kv, dj_kv_async_fn *async,
                            uint64_t *out_count) DEJA_NODISCARD;

#endif
