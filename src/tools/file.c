/* tools/file.c - see file.h. */
#include "tools/file.h"

#include <errno.h>
#include <stdio.h>

#define CHUNK_BYTES 65536u

enum deja_status dj_tool_read_file(const char *path, struct dj_buf *out, struct deja_error *error)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return deja_error_set(error, DEJA_ERR_NOT_FOUND, "%s: %s", path, strerror(errno));
    enum deja_status status = DEJA_OK;
    for (;;) {
        char *room = dj_buf_reserve(out, CHUNK_BYTES);
        if (!room) {
            status = deja_error_set(error, out->status, "%s: larger than memory or %llu bytes",
                                    path, (unsigned long long)out->bytes_max);
            break;
        }
        size_t len = fread(room, 1, CHUNK_BYTES, file);
        out->len += len;
        if (len == 0)
            break;
    }
    if (status == DEJA_OK && ferror(file))
        status = deja_error_set(error, DEJA_ERR_IO, "%s: cannot be read", path);
    if (fclose(file) != 0 && status == DEJA_OK)
        status = deja_error_set(error, DEJA_ERR_IO, "%s: cannot be read", path);
    return status;
}
