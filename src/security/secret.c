/* security/secret.c - see secret.h. Written to a temporary name, synced and linked into place, so
 * that two daemons that start at once agree and a crash leaves no half of a secret. */
#include "security/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/num.h"

#define PATH_LEN_MAX 4096u

static enum deja_status read_secret(const char *path, const char *loss,
                                    struct dj_secret *out_secret, struct deja_error *error)
{
    uint8_t bytes[DJ_SHA256_BYTES + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? DEJA_ERR_NOT_FOUND
                               : deja_error_set(error, DEJA_ERR_IO, "cannot open %s: %s", path,
                                                strerror(errno));
    ssize_t len = read(fd, bytes, sizeof bytes);
    close(fd);
    if (len != (ssize_t)DJ_SHA256_BYTES) {
        dj_wipe(bytes, sizeof bytes);
        return deja_error_set(error, DEJA_ERR_CORRUPT,
                              "%s must hold exactly 32 bytes; restore it from a backup (a new one "
                              "%s)",
                              path, loss);
    }
    memcpy(out_secret->bytes, bytes, DJ_SHA256_BYTES);
    dj_wipe(bytes, sizeof bytes);
    return DEJA_OK;
}

/* How the temporary file comes into place: errno as link and rename leave it. */
typedef int place_fn(const char *temporary, const char *path);

static int place_first(const char *temporary, const char *path)
{
    return link(temporary, path) == 0 || errno == EEXIST ? 0 : -1;
}

static enum deja_status write_secret(const char *path, const char *temporary,
                                     const uint8_t bytes[DJ_SHA256_BYTES], place_fn *place,
                                     struct deja_error *error)
{
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool is_ok = fd >= 0 && write(fd, bytes, DJ_SHA256_BYTES) == (ssize_t)DJ_SHA256_BYTES &&
                 fsync(fd) == 0 && place(temporary, path) == 0;
    int code = errno;
    if (fd >= 0) {
        close(fd);
        unlink(temporary);
    }
    return is_ok ? DEJA_OK
                 : deja_error_set(error, DEJA_ERR_IO, "cannot make %s: %s", path, strerror(code));
}

static enum deja_status make_secret(const char *path, const char *temporary,
                                    struct deja_error *error)
{
    uint8_t bytes[DJ_SHA256_BYTES];
    dj_random_bytes(bytes, sizeof bytes);
    enum deja_status status = write_secret(path, temporary, bytes, place_first, error);
    dj_wipe(bytes, sizeof bytes);
    return status;
}

static enum deja_status name_files(const char *directory, const char *name, char path[PATH_LEN_MAX],
                                   char temporary[PATH_LEN_MAX], struct deja_error *error)
{
    int len = snprintf(path, PATH_LEN_MAX, "%s/%s", directory, name);
    int temporary_len =
        snprintf(temporary, PATH_LEN_MAX, "%s/%s.%ld", directory, name, (long)getpid());
    if (len < 0 || temporary_len < 0 || (size_t)temporary_len >= PATH_LEN_MAX)
        return deja_error_set(error, DEJA_ERR_CONFIG, "the data directory's name is too long");
    return DEJA_OK;
}

enum deja_status dj_secret_load(const char *hex, const char *directory,
                                struct dj_secret *out_secret, struct deja_error *error)
{
    if (hex) {
        if (dj_hex_decode(deja_slice_text(hex), out_secret->bytes, DJ_SHA256_BYTES) == DEJA_OK)
            return DEJA_OK;
        return deja_error_set(error, DEJA_ERR_CONFIG, "security.secret must be 64 hex digits");
    }
    return dj_secret_load_named(directory, "secret", "makes every stored entry unreachable",
                                out_secret, error);
}

enum deja_status dj_secret_load_named(const char *directory, const char *name, const char *loss,
                                      struct dj_secret *out_secret, struct deja_error *error)
{
    char path[PATH_LEN_MAX];
    char temporary[PATH_LEN_MAX];
    enum deja_status status = name_files(directory, name, path, temporary, error);
    if (status == DEJA_OK)
        status = read_secret(path, loss, out_secret, error);
    if (status != DEJA_ERR_NOT_FOUND)
        return status;
    status = make_secret(path, temporary, error);
    return status == DEJA_OK ? read_secret(path, loss, out_secret, error) : status;
}

enum deja_status dj_secret_keep(const char *directory, const struct dj_secret *secret,
                                struct deja_error *error)
{
    char path[PATH_LEN_MAX];
    char temporary[PATH_LEN_MAX];
    enum deja_status status = name_files(directory, "secret", path, temporary, error);
    return status == DEJA_OK ? write_secret(path, temporary, secret->bytes, rename, error) : status;
}
