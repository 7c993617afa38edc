/* store/value.h - one stored answer in memory: immutable, shared by count.
 *
 * Threads: any. The count is atomic; the bytes never change after creation.
 */
#ifndef DJ_STORE_VALUE_H
#define DJ_STORE_VALUE_H

#include <deja/base.h>

#include "proto/record.h"

struct dj_value; /* opaque; holds one dj_entry and all bytes its slices point to */

/* Copies everything entry points to. Count 1. */
enum deja_status dj_value_create(const struct dj_entry *entry,
                                 struct dj_value **out_value) DEJA_NODISCARD;
/* Decodes a record into a new value. Errors as dj_record_decode. */
enum deja_status dj_value_from_record(struct deja_slice record,
                                      struct dj_value **out_value) DEJA_NODISCARD;
/* The same; unpacker NULL: one is made for this record. */
enum deja_status dj_value_from_record_with(struct dj_unpacker *unpacker, struct deja_slice record,
                                           struct dj_value **out_value) DEJA_NODISCARD;
struct dj_value *dj_value_ref(struct dj_value *value); /* returns value */
void dj_value_unref(struct dj_value *value);           /* accepts NULL */
const struct dj_entry *dj_value_entry(const struct dj_value *value);
size_t dj_value_bytes(const struct dj_value *value); /* memory it costs, bookkeeping included */

#endif
