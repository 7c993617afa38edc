/* store/postgres_params.c - the parameters of a statement in binary, one behind the other. */
#include "store/postgres_params.h"

#include <assert.h>

#include "store/postgres_row.h"

void dj_pg_param_end(struct dj_pg_params *params, size_t began)
{
    assert(params->count < (int)DJ_PG_PARAMS_MAX);
    size_t len = params->bytes.len - began;
    if (len > INT32_MAX && params->bytes.status == DEJA_OK)
        params->bytes.status = DEJA_ERR_LIMIT;
    params->offsets[params->count] = began;
    params->lens[params->count++] = len > INT32_MAX ? 0 : (int)len;
}

void dj_pg_param_null(struct dj_pg_params *params)
{
    dj_pg_param_end(params, params->bytes.len);
    params->lens[params->count - 1] = -1;
}

void dj_pg_param(struct dj_pg_params *params, const void *data, size_t len)
{
    size_t began = params->bytes.len;
    dj_buf_append(&params->bytes, data, len);
    dj_pg_param_end(params, began);
}

void dj_pg_param_u64(struct dj_pg_params *params, uint64_t value)
{
    size_t began = params->bytes.len;
    dj_pg_put_u64(&params->bytes, value);
    dj_pg_param_end(params, began);
}

void dj_pg_param_u32(struct dj_pg_params *params, uint32_t value)
{
    size_t began = params->bytes.len;
    dj_pg_put_u32(&params->bytes, value);
    dj_pg_param_end(params, began);
}

void dj_pg_param_double(struct dj_pg_params *params, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    dj_pg_param_u64(params, bits);
}

void dj_pg_param_time(struct dj_pg_params *params, int64_t ms)
{
    size_t began = params->bytes.len;
    if (ms == 0) {
        dj_pg_param_null(params);
        return;
    }
    dj_pg_put_time(&params->bytes, ms);
    dj_pg_param_end(params, began);
}

void dj_pg_param_vector(struct dj_pg_params *params, const float *vector, uint32_t dim)
{
    size_t began = params->bytes.len;
    dj_pg_put_vector(&params->bytes, vector, dim);
    dj_pg_param_end(params, began);
}

/* The length of the character that begins here; 0: none does. */
static size_t character(const unsigned char *text, size_t len)
{
    unsigned char lead = text[0];
    size_t want = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (want == 0 || lead > 0xf4 || lead == 0 || len < want)
        return 0;
    for (size_t i = 1; i < want; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((lead == 0xe0 && text[1] < 0xa0) || (lead == 0xed && text[1] > 0x9f) ||
        (lead == 0xf0 && text[1] < 0x90) || (lead == 0xf4 && text[1] > 0x8f))
        return 0; /* overlong, half of a pair, beyond Unicode */
    return want;
}

void dj_pg_param_text(struct dj_pg_params *params, struct deja_slice text)
{
    size_t offset = 0;
    while (offset < text.len) {
        size_t len = character((const unsigned char *)text.data + offset, text.len - offset);
        if (len == 0) {
            dj_pg_param_null(params);
            return;
        }
        offset += len;
    }
    dj_pg_param(params, text.data, text.len);
}
