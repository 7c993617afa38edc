/* tools/model_add.c - deja model add: local files, refused unless they load. */
#include <stdio.h>

#include "config/command.h"
#include "embed/transformer.h"
#include "simd/simd.h"
#include "tools/model_internal.h"

/* The files of a folder with their sizes and digests. */
static enum deja_status survey(const char *folder, struct dj_model_file *out_files,
                               struct deja_error *error)
{
    char path[DJ_MODEL_PATH_MAX];
    for (size_t i = 0; i < DJ_MODEL_FILES; i++) {
        struct dj_model_file *file = &out_files[i];
        snprintf(file->name, sizeof file->name, "%s", dj_model_known[0].files[i].name);
        enum deja_status status = dj_model_path(path, folder, file->name, "");
        if (status == DEJA_OK)
            status = dj_model_digest(path, &file->bytes, file->sha256);
        if (status != DEJA_OK)
            return deja_error_set(error, status, "%s: %s", path, deja_status_text(status));
    }
    return DEJA_OK;
}

static enum deja_status add_folder(const char *folder, const struct dj_model_file *files,
                                   const char *directory, struct deja_error *error)
{
    char from[DJ_MODEL_PATH_MAX], part[DJ_MODEL_PATH_MAX];
    for (size_t i = 0; i < DJ_MODEL_FILES; i++) {
        if (dj_model_path(from, folder, files[i].name, "") != DEJA_OK ||
            dj_model_path(part, directory, files[i].name, ".part") != DEJA_OK)
            return deja_error_set(error, DEJA_ERR_LIMIT, "the path is too long");
        if (dj_model_copy(from, part) != DEJA_OK)
            return deja_error_set(error, DEJA_ERR_IO, "cannot copy %s to %s", from, part);
        enum deja_status status = dj_model_accept(directory, &files[i], error);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

static const struct dj_model *recognise(const struct dj_model_file *files)
{
    for (size_t i = 0; i < dj_model_known_count; i++)
        if (strcmp(dj_model_known[i].files[DJ_MODEL_FILES - 1].sha256,
                   files[DJ_MODEL_FILES - 1].sha256) == 0)
            return &dj_model_known[i];
    return NULL;
}

/* What cannot be loaded is not ready, whatever its digests say. */
static enum deja_status try_model(const char *directory, struct deja_error *error)
{
    struct dj_embedder *embedder = NULL;
    dj_simd_init();
    enum deja_status status = dj_transformer_open(directory, &embedder, error);
    dj_embedder_destroy(embedder);
    return status;
}

int dj_model_add(const struct dj_model_tool *tool, const char *source)
{
    struct dj_model_file files[DJ_MODEL_FILES];
    struct deja_error error = {.message = "the path is too long"};
    char directory[DJ_MODEL_PATH_MAX];
    size_t len = strlen(source);
    bool is_wheel = len > 4 && strcmp(source + len - 4, ".whl") == 0;
    const struct dj_model *model = &dj_model_known[0];
    const char *name = tool->name;
    if (is_wheel) {
        memcpy(files, model->files, sizeof files);
    } else {
        if (survey(source, files, &error) != DEJA_OK)
            return dj_model_fail(&error, DJ_EXIT_FAILED);
        model = recognise(files);
    }
    if (!name && model)
        name = model->name;
    if (!name || !dj_model_is_name(name)) {
        fputs("deja model: not a model that is known: give it a --name\n", stderr);
        return DJ_EXIT_USAGE;
    }
    const struct dj_model *named = dj_model_find(name);
    if (named) /* a known name holds the known files, nothing else */
        memcpy(files, named->files, sizeof files);
    if (dj_model_path(directory, tool->models_dir, name, "") != DEJA_OK)
        return dj_model_fail(&error, DJ_EXIT_FAILED);
    if (dj_model_make_folders(directory) != DEJA_OK) {
        fprintf(stderr, "deja model: cannot make the folder %s\n", directory);
        return DJ_EXIT_FAILED;
    }
    enum deja_status status = is_wheel ? dj_model_unpack_all(model, source, directory, &error)
                                       : add_folder(source, files, directory, &error);
    if (status == DEJA_OK)
        status = try_model(directory, &error);
    if (status == DEJA_OK && dj_model_write_marker(directory, files) != DEJA_OK)
        status = deja_error_set(&error, DEJA_ERR_IO, "cannot write in %s", directory);
    if (status != DEJA_OK)
        return dj_model_fail(&error, DJ_EXIT_FAILED);
    dj_model_tell_ready(tool, name, directory);
    return DJ_EXIT_OK;
}
