/* security/secret.c - see secret.h. Written to a temporary name, synced and linked into place, so
 * that two daemons that start at once agree and a crash leaves no half of a secret. */
#include "security/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/num.h"

#define PATH_LEN_MAX 4096u

static enum deja_status read_secret(const char *path, struct dj_secret *out_secret,
                                    struct deja_error *error)
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
                              "makes every stored entry unreachable)",
                              path);
    }
    memcpy(out_secret->bytes, bytes, DJ_SHA256_BYTES);
    dj_wipe(bytes, sizeof bytes);
    return DEJA_OK;
}

static enum deja_status make_secret(const char *path, const char *temporary,
                                    struct deja_error *error)
{
    uint8_t bytes[DJ_SHA256_BYTES];
    dj_random_bytes(bytes, sizeof bytes);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool is_ok = fd >= 0 && write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes &&
                 fsync(fd) == 0 && (link(temporary, path) == 0 || errno == EEXIST);
    int code = errno;
    if (fd >= 0) {
        close(fd);
        unlink(temporary);
    }
    dj_wipe(bytes, sizeof bytes);
    return is_ok ? DEJA_OK
                 : deja_error_set(error, DEJA_ERR_IO, "cannot make %s: %s", path, strerror(code));
}

enum deja_status dj_secret_load(const char *hex, const char *directory,
                                struct dj_secret *out_secret, struct deja_error *error)
{
    char path[PATH_LEN_MAX];
    char temporary[PATH_LEN_MAX];
    if (hex) {
        if (dj_hex_decode(deja_slice_text(hex), out_secret->bytes, DJ_SHA256_BYTES) == DEJA_OK)
            return DEJA_OK;
        return deja_error_set(error, DEJA_ERR_CONFIG, "security.secret must be 64 hex digits");
    }
    int len = snprintf(path, sizeof path, "%s/secret", directory);
    int temporary_len =
        snprintf(temporary, sizeof temporary, "%s/secret.%ld", directory, (long)getpid());
    if (len < 0 || temporary_len < 0 || (size_t)temporary_len >= sizeof temporary)
        return deja_error_set(error, DEJA_ERR_CONFIG, "the data directory's name is too long");
    enum deja_status status = read_secret(path, out_secret, error);
    if (status != DEJA_ERR_NOT_FOUND)
        return status;
    status = make_secret(path, temporary, error);
    return status == DEJA_OK ? read_secret(path, out_secret, error) : status;
}
