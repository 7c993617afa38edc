/* store/archive_file.c - a backup as a file: PATH.part while it is written, then PATH, durably. */
#include "store/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

struct file {
    int fd;
    char *path; /* owned */
    char *part; /* owned; NULL: for reading */
    bool is_finished;
};

static void close_file(void *ctx)
{
    struct file *file = ctx;
    close(file->fd);
    if (file->part && !file->is_finished)
        unlink(file->part);
    dj_free(file->path);
    dj_free(file->part);
    dj_free(file);
}

static enum deja_status fail(const char *path, struct deja_error *error)
{
    return deja_error_set(error, DEJA_ERR_IO, "%s: %s", path, strerror(errno));
}

static enum deja_status write_file(void *ctx, struct deja_slice bytes, struct deja_error *error)
{
    const struct file *file = ctx;
    while (bytes.len) {
        ssize_t done = write(file->fd, bytes.data, bytes.len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail(file->part, error);
        bytes = deja_slice(bytes.data + done, bytes.len - (size_t)done);
    }
    return DEJA_OK;
}

/* The folder remembers the new name only once it is synced itself. */
static enum deja_status sync_folder(const char *path, struct deja_error *error)
{
    struct dj_buf folder = {0};
    const char *slash = strrchr(path, '/');
    dj_buf_append_slice(&folder, slash ? deja_slice(path, (size_t)(slash - path) + 1)
                                       : deja_slice_text("."));
    char *text = dj_buf_take_text(&folder);
    if (!text)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    int fd = open(text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_ok = fd >= 0 && fsync(fd) == 0;
    enum deja_status status = is_ok ? DEJA_OK : fail(text, error);
    if (fd >= 0)
        close(fd);
    dj_free(text);
    return status;
}

static enum deja_status finish_file(void *ctx, struct deja_error *error)
{
    struct file *file = ctx;
    if (fsync(file->fd) != 0)
        return fail(file->part, error);
    /* A link, unlike a rename, refuses what came there meanwhile. */
    if (link(file->part, file->path) != 0)
        return fail(file->path, error);
    file->is_finished = true;
    unlink(file->part);
    return sync_folder(file->path, error);
}

static struct file *make(const char *path, bool is_written)
{
    struct file *file = dj_alloc_zeroed(1, sizeof *file);
    struct dj_buf part = {0};
    if (!file)
        return NULL;
    file->fd = -1;
    file->path = dj_strdup(deja_slice_text(path));
    if (is_written) {
        dj_buf_append_format(&part, "%s.part", path);
        file->part = dj_buf_take_text(&part);
    }
    if (file->path && (file->part || !is_written))
        return file;
    dj_free(file->path);
    dj_free(file->part);
    dj_free(file);
    return NULL;
}

static void drop(struct file *file)
{
    dj_free(file->path);
    dj_free(file->part);
    dj_free(file);
}

enum deja_status dj_archive_file_create(const char *path, struct dj_archive_out *out_out,
                                        struct deja_error *error)
{
    struct stat info;
    if (lstat(path, &info) == 0)
        return deja_error_set(error, DEJA_ERR_BUSY, "%s is there already: choose another name",
                              path);
    struct file *file = make(path, true);
    if (!file)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    file->fd = open(file->part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file->fd < 0) {
        enum deja_status status = fail(file->part, error);
        drop(file);
        return status;
    }
    *out_out = (struct dj_archive_out){
        .ctx = file, .write = write_file, .finish = finish_file, .close = close_file};
    return DEJA_OK;
}

static enum deja_status read_file(void *ctx, char *out_bytes, size_t len, size_t *out_len,
                                  struct deja_error *error)
{
    const struct file *file = ctx;
    size_t got = 0;
    while (got < len) {
        ssize_t done = read(file->fd, out_bytes + got, len - got);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail(file->path, error);
        if (done == 0)
            break;
        got += (size_t)done;
    }
    *out_len = got;
    return DEJA_OK;
}

enum deja_status dj_archive_file_open(const char *path, struct dj_archive_in *out_in,
                                      struct deja_error *error)
{
    struct file *file = make(path, false);
    if (!file)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0) {
        enum deja_status status = fail(path, error);
        drop(file);
        return status;
    }
    *out_in = (struct dj_archive_in){.ctx = file, .read = read_file, .close = close_file};
    return DEJA_OK;
}
