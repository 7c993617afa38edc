/* tools/file.c - see file.h. */
#include "tools/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"

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

static bool write_part(const char *part, struct deja_slice bytes)
{
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!file) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    bool is_written = !bytes.len || fwrite(bytes.data, 1, bytes.len, file) == bytes.len;
    is_written = is_written && fflush(file) == 0 && fsync(fd) == 0;
    return fclose(file) == 0 && is_written;
}

enum deja_status dj_tool_replace_file(const char *path, struct deja_slice bytes,
                                      struct deja_error *error)
{
    struct dj_buf name = {0};
    dj_buf_append_format(&name, "%s.part", path);
    char *part = dj_buf_take_text(&name);
    if (!part)
        return deja_error_set(error, DEJA_ERR_NOMEM, "%s: no memory", path);
    enum deja_status status = DEJA_OK;
    if (!write_part(part, bytes) || rename(part, path) != 0)
        status = deja_error_set(error, DEJA_ERR_IO, "%s: %s", path, strerror(errno));
    dj_free(part);
    return status;
}
