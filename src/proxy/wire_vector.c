/* proxy/wire_vector.c - see wire_vector.h. */
#include "proxy/wire_vector.h"

#include <math.h>

#include "base/base64.h"

static enum deja_status read_numbers(const struct dj_json *array, struct dj_buf *out)
{
    if (dj_json_count(array) > DJ_WIRE_VECTOR_DIM_MAX)
        return DEJA_ERR_INVALID;
    for (struct dj_json_walk walk = dj_json_walk(array); dj_json_walk_next(&walk);) {
        if (!dj_json_is(walk.value, DJ_JSON_NUMBER))
            return DEJA_ERR_INVALID;
        float number = (float)dj_json_double(walk.value, NAN);
        if (!isfinite(number))
            return DEJA_ERR_INVALID;
        dj_buf_append(out, &number, sizeof number);
    }
    return out->status;
}

enum deja_status dj_wire_vector_read(const struct dj_json *embedding, struct dj_buf *out)
{
    size_t before = out->len;
    enum deja_status status = DEJA_ERR_INVALID;
    if (dj_json_is(embedding, DJ_JSON_STRING))
        status = dj_base64_decode(dj_json_string(embedding), out);
    else if (dj_json_is(embedding, DJ_JSON_ARRAY))
        status = read_numbers(embedding, out);
    size_t len = out->len - before;
    bool is_sized =
        len && len % sizeof(float) == 0 && len / sizeof(float) <= DJ_WIRE_VECTOR_DIM_MAX;
    return status == DEJA_OK && !is_sized ? DEJA_ERR_INVALID : status;
}
