/* store/postgres_row.c - see postgres_row.h.
 *
 * Trust: untrusted. The server sends what its tables hold, and somebody else may have written them.
 */
#include "store/postgres_row.h"

#include <endian.h>
#include <math.h>

/* 2000-01-01 in ms since 1970. */
#define EPOCH_MS 946684800000LL
/* Years 1 to 9999 or so: inside what timestamptz holds, also in microseconds. */
#define TIME_MS_MIN (-62135596800000LL)
#define TIME_MS_MAX 253402300799000LL

void dj_pg_put_u16(struct dj_buf *out, uint16_t value)
{
    const uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    dj_buf_append(out, bytes, sizeof bytes);
}

void dj_pg_put_u32(struct dj_buf *out, uint32_t value)
{
    dj_pg_put_u16(out, (uint16_t)(value >> 16));
    dj_pg_put_u16(out, (uint16_t)value);
}

void dj_pg_put_u64(struct dj_buf *out, uint64_t value)
{
    dj_pg_put_u32(out, (uint32_t)(value >> 32));
    dj_pg_put_u32(out, (uint32_t)value);
}

void dj_pg_put_time(struct dj_buf *out, int64_t ms)
{
    ms = ms < TIME_MS_MIN ? TIME_MS_MIN : ms > TIME_MS_MAX ? TIME_MS_MAX : ms;
    dj_pg_put_u64(out, (uint64_t)((ms - EPOCH_MS) * 1000));
}

void dj_pg_put_vector(struct dj_buf *out, const float *vector, uint32_t dim)
{
    dj_pg_put_u16(out, (uint16_t)dim);
    dj_pg_put_u16(out, 0);
    char *into = dj_buf_reserve(out, (size_t)dim * sizeof(float));
    if (!into)
        return;
    for (uint32_t i = 0; i < dim; i++) {
        uint32_t bits;
        memcpy(&bits, &vector[i], sizeof bits);
        bits = htobe32(bits);
        memcpy(into + i * sizeof bits, &bits, sizeof bits);
    }
    out->len += (size_t)dim * sizeof(float);
}

void dj_pg_begin_array(struct dj_buf *out, uint32_t element_oid, uint32_t count)
{
    dj_pg_put_u32(out, 1); /* dimensions */
    dj_pg_put_u32(out, 0); /* has no NULLs */
    dj_pg_put_u32(out, element_oid);
    dj_pg_put_u32(out, count);
    dj_pg_put_u32(out, 1); /* the first index */
}

void dj_pg_put_element(struct dj_buf *out, const void *data, uint32_t len)
{
    dj_pg_put_u32(out, len);
    dj_buf_append(out, data, len);
}

static uint64_t take(const char *bytes, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value << 8 | (unsigned char)bytes[i];
    return value;
}

bool dj_pg_is_true(struct dj_pg_field field)
{
    return !field.is_null && field.bytes.len == 1 && field.bytes.data[0] == 1;
}

void dj_pg_copy_text(struct dj_pg_field field, char *out_text, size_t cap)
{
    size_t len = field.bytes.len < cap - 1 ? field.bytes.len : cap - 1;
    if (len)
        memcpy(out_text, field.bytes.data, len);
    out_text[len] = '\0';
}

bool dj_pg_read_u32(struct dj_pg_field field, uint32_t *out_value)
{
    if (field.is_null || field.bytes.len != 4)
        return false;
    *out_value = (uint32_t)take(field.bytes.data, 4);
    return true;
}

bool dj_pg_read_u64(struct dj_pg_field field, uint64_t *out_value)
{
    if (field.is_null || field.bytes.len != 8)
        return false;
    *out_value = take(field.bytes.data, 8);
    return true;
}

bool dj_pg_read_double(struct dj_pg_field field, double *out_value)
{
    uint64_t bits;
    double value;
    if (!dj_pg_read_u64(field, &bits))
        return false;
    memcpy(&value, &bits, sizeof value);
    if (isnan(value))
        return false;
    *out_value = value;
    return true;
}

bool dj_pg_read_time(struct dj_pg_field field, int64_t *out_ms)
{
    uint64_t bits = 0;
    if (field.is_null) {
        *out_ms = 0;
        return true;
    }
    if (!dj_pg_read_u64(field, &bits))
        return false;
    *out_ms = (int64_t)bits / 1000 + EPOCH_MS; /* far from the ends: |us| / 1000 < 2^54 */
    return true;
}

bool dj_pg_read_id(struct dj_pg_field field, uint8_t out_id[DJ_ID_BYTES])
{
    if (field.is_null || field.bytes.len != DJ_ID_BYTES)
        return false;
    memcpy(out_id, field.bytes.data, DJ_ID_BYTES);
    return true;
}

bool dj_pg_read_vector(struct dj_pg_field field, uint32_t dim_max, float *out_vector,
                       uint32_t *out_dim)
{
    if (field.is_null || field.bytes.len < 4)
        return false;
    uint32_t dim = (uint32_t)take(field.bytes.data, 2);
    if (dim == 0 || dim > dim_max || field.bytes.len != 4 + (size_t)dim * sizeof(float))
        return false;
    for (uint32_t i = 0; i < dim; i++) {
        uint32_t bits = (uint32_t)take(field.bytes.data + 4 + (size_t)i * 4, 4);
        if ((bits & 0x7f800000) == 0x7f800000) /* infinite or not a number */
            return false;
        memcpy(&out_vector[i], &bits, sizeof bits);
    }
    *out_dim = dim;
    return true;
}

enum deja_status dj_pg_read_value(struct dj_pg_field record, const struct dj_store_key *key,
                                  struct dj_value **out_value)
{
    struct dj_value *value = NULL;
    if (record.is_null)
        return DEJA_ERR_CORRUPT;
    enum deja_status status = dj_value_from_record(record.bytes, &value);
    if (status == DEJA_ERR_NOMEM)
        return status;
    if (status != DEJA_OK)
        return DEJA_ERR_CORRUPT;
    const struct dj_entry *entry = dj_value_entry(value);
    if (memcmp(entry->tenant, key->tenant, DJ_ID_BYTES) != 0 ||
        memcmp(entry->id, key->id, DJ_ID_BYTES) != 0) {
        dj_value_unref(value);
        return DEJA_ERR_CORRUPT;
    }
    *out_value = value;
    return DEJA_OK;
}
