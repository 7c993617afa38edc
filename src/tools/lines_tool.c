/* tools/lines_tool.c - see lines_tool.h. */
#include "tools/lines_tool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/slice.h"
#include "tools/import_source.h"
#include "tools/lines_internal.h"

#define BATCH_MAX 100u
#define BATCH_BYTES_MAX ((size_t)4 << 20)
#define TOLD_MAX 50u /* bad units, to people */

#define AT(member) offsetof(struct dj_lines_flags, member)
#define ROWS(table)                              \
    {                                            \
        (table), sizeof(table) / sizeof *(table) \
    }

/* clang-format off: tables are read by their columns */
static const struct dj_command_option common[] = {
    {"--resume", DJ_COMMAND_TEXT, "STATE", "How far it is is kept there; started again it goes on",
     AT(resume)},
    {"--tenant", DJ_COMMAND_TEXT, "TENANT",
     "Act for that tenant (its name or id); needs the admin token", AT(tenant)},
    {"--offline", DJ_COMMAND_SWITCH, NULL,
     "On the data directory of this machine, while no daemon has it: all tenants", AT(is_offline)},
    {"--server", DJ_COMMAND_TEXT, "URL", "The daemon; else $DEJA_SERVER", AT(server)},
    {"--key", DJ_COMMAND_TEXT, "KEY", "The credential that names the tenant; else $DEJA_KEY",
     AT(key)},
    {"--token", DJ_COMMAND_TEXT, "TOKEN", "The admin token printed at start; else $DEJA_TOKEN",
     AT(token)},
    {"--json", DJ_COMMAND_SWITCH, NULL, "Print the figures as JSON", AT(wants_json)},
};
static const struct dj_command_option export[] = {
    {"--vectors", DJ_COMMAND_SWITCH, NULL, "Vectors, too, as base64 of their floats",
     AT(has_vectors)},
};
static const struct dj_command_option import[] = {
    {"--format", DJ_COMMAND_TEXT, "FORMAT", "jsonl, gptcache, litellm or redis; else found out",
     AT(format)},
    {"--skip-bad", DJ_COMMAND_SWITCH, NULL, "What cannot be brought over is told and left out",
     AT(skips_bad)},
};
/* clang-format on */

const struct dj_command dj_export_command = {
    .name = "export",
    .summary = "a tenant's entries as lines of JSON",
    .synopsis = "FILE|- [--vectors] [--resume STATE] [--tenant TENANT]\n--offline FILE.jsonl",
    .examples = "deja export all.jsonl --resume all.state\tstopped? the same again\n"
                "deja export - | jq -r .query\n"
                "deja export --offline everything.jsonl\tall tenants, without a daemon",
    .description = "Every field of every entry that could be served (docs/migration.md). An entry "
                   "that several tiers keep may come more than once. A file that is there is never "
                   "written over.",
    .options = {ROWS(export), ROWS(common)},
    .takes_settings = true,
};
const struct dj_command dj_import_command = {
    .name = "import",
    .summary = "entries of an export, a GPTCache or a Redis",
    .synopsis = "FILE|-|redis://HOST:PORT/DB[?match=GLOB] [--format FORMAT] [--skip-bad]\n"
                "--offline FILE.jsonl",
    .examples = "deja import all.jsonl --resume import.state\n"
                "deja import sqlite.db --skip-bad\ta GPTCache: its texts are embedded anew\n"
                "deja import 'redis://127.0.0.1:6379/0?match=litellm:*' --format litellm",
    .description = "Lines of deja export need the admin token and keep their ids: they are found "
                   "where the deployment's secret is the same. The questions of a GPTCache and the "
                   "keys of a Redis become the tenant's own, which --key names.",
    .options = {ROWS(import), ROWS(common)},
    .takes_settings = true,
};

bool dj_lines_parse(const struct dj_command *command, int argc, char *const *argv,
                    struct dj_lines_flags *out_flags, const char **out_file, int *out_code)
{
    static const char *const formats[] = {"jsonl", "gptcache", "litellm", "redis"};
    struct dj_words words;
    struct deja_error error;
    const char *wrong = NULL;
    *out_flags = (struct dj_lines_flags){.server = NULL};
    if (dj_command_parse(command, argc, argv, out_flags, &words, &error) != DEJA_OK) {
        *out_code = dj_command_misused(command, error.message);
        return false;
    }
    const char *file = words.count ? words.items[0] : NULL;
    size_t len = file ? strlen(file) : 0;
    bool is_known = !out_flags->format;
    for (size_t i = 0; i < sizeof formats / sizeof *formats && !is_known; i++)
        is_known = strcmp(out_flags->format, formats[i]) == 0;
    if (words.count != 1)
        wrong = "expects one file; - is stdin or stdout";
    else if (!is_known)
        wrong = "--format is jsonl, gptcache, litellm or redis";
    else if (out_flags->resume && strcmp(file, "-") == 0)
        wrong = "--resume needs a file, not -";
    else if (out_flags->is_offline && (len < 7 || strcmp(file + len - 6, ".jsonl") != 0))
        wrong = "--offline reads and writes files that end in .jsonl";
    else if (out_flags->is_offline && out_flags->resume)
        wrong = "--resume goes without --offline";
    if (wrong)
        *out_code = dj_command_misused(command, wrong);
    *out_file = file;
    return !wrong;
}

static int complain(const char *command, const struct deja_error *error)
{
    lines_show_end();
    fprintf(stderr, "deja %s: %s\n", command, error->message);
    return DJ_EXIT_FAILED;
}

static void tell(const struct dj_lines_flags *flags, const struct lines_state *state,
                 const char *what, const char *into)
{
    lines_show_end();
    if (flags->wants_json)
        fprintf(strcmp(into, "-") == 0 ? stderr : stdout,
                "{\"%s\":%" PRIu64 ",\"stored\":%" PRIu64 ",\"bad\":%" PRIu64 "}\n", what,
                state->units, state->stored, state->bad);
    else
        fprintf(stderr, "%" PRIu64 " %s, %" PRIu64 " stored, %" PRIu64 " left out\n", state->units,
                what, state->stored, state->bad);
}

/* ---- export ---- */

static uint64_t count_lines(struct deja_slice text)
{
    uint64_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += text.data[i] == '\n';
    return count;
}

struct output {
    const char *path;
    const struct dj_lines_flags *flags;
    FILE *file;  /* NULL: not open yet */
    bool is_new; /* made by this run */
};

static enum deja_status fail(const struct output *output, struct deja_error *error)
{
    return deja_error_set(error, DEJA_ERR_IO, "%s: %s", output->path, strerror(errno));
}

static enum deja_status is_there(const struct output *output, struct deja_error *error)
{
    return deja_error_set(error, DEJA_ERR_BUSY,
                          "%s is there already and is not written over: choose another name, or "
                          "--resume STATE with the state it was begun with",
                          output->path);
}

/* What the state says is there is there, and nothing behind it. A new file is made only when there
 * is something for it. */
static enum deja_status look_at_output(struct output *output, struct lines_state *state,
                                       struct deja_error *error)
{
    char digest[2 * DJ_SHA256_BYTES + 1];
    const char *resume = output->flags->resume;
    if (strcmp(output->path, "-") == 0) {
        output->file = stdout;
        return DEJA_OK;
    }
    enum deja_status status = resume ? lines_state_read(resume, state, error) : DEJA_ERR_NOT_FOUND;
    output->is_new = status == DEJA_ERR_NOT_FOUND;
    if (output->is_new)
        return access(output->path, F_OK) == 0 ? is_there(output, error) : DEJA_OK;
    if (status == DEJA_OK)
        status = lines_digest(output->path, state->position, digest, error);
    if (status == DEJA_OK && strcmp(digest, state->digest) != 0)
        status = deja_error_set(error, DEJA_ERR_INVALID,
                                "%s is not what %s was kept for: begin anew without it",
                                output->path, resume);
    if (status == DEJA_OK && truncate(output->path, (off_t)state->position) != 0)
        status = fail(output, error);
    return status;
}

static enum deja_status open_output(struct output *output, struct deja_error *error)
{
    int how = O_WRONLY | O_APPEND | O_CLOEXEC | (output->is_new ? O_CREAT | O_EXCL : 0);
    int fd = output->file ? -1 : open(output->path, how, 0600);
    if (output->file)
        return DEJA_OK;
    if (fd < 0) {
        bool is_taken = errno == EEXIST;
        output->is_new = false; /* it is not ours to remove */
        return is_taken ? is_there(output, error) : fail(output, error);
    }
    output->file = fdopen(fd, "a");
    if (!output->file)
        close(fd);
    return output->file ? DEJA_OK : deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
}

/* Half an export that nobody can go on with is taken for a whole one: it goes. */
static enum deja_status close_output(const struct output *output, bool is_whole,
                                     struct deja_error *error)
{
    const char *resume = output->flags->resume;
    enum deja_status status = DEJA_OK;
    if (output->file && (output->file == stdout ? fflush(stdout) : fclose(output->file)) != 0)
        status = fail(output, error);
    bool can_go_on = is_whole || (resume && access(resume, F_OK) == 0);
    if (output->file && output->is_new && (status != DEJA_OK || !can_go_on))
        unlink(output->path);
    return status;
}

static enum deja_status keep_piece(struct output *output, const struct lines_call *call,
                                   struct lines_state *state, struct deja_error *error)
{
    const char *resume = output->flags->resume;
    enum deja_status status = open_output(output, error);
    struct deja_slice body = dj_buf_slice(&call->answer.body);
    struct deja_slice cursor = dj_client_answer_header(&call->answer, "x-deja-cursor");
    if (status != DEJA_OK)
        return status;
    if (body.len && fwrite(body.data, 1, body.len, output->file) != body.len)
        return fail(output, error);
    state->units += count_lines(body);
    state->stored = state->units;
    state->position += body.len;
    state->is_done = cursor.len == 0;
    if (cursor.len >= sizeof state->cursor)
        return deja_error_set(error, DEJA_ERR_INVALID, "the server's cursor makes no sense");
    memcpy(state->cursor, cursor.len ? cursor.data : "", cursor.len);
    state->cursor[cursor.len] = '\0';
    if (!resume)
        return DEJA_OK;
    if (fflush(output->file) != 0 || fsync(fileno(output->file)) != 0)
        return fail(output, error);
    status = lines_digest(output->path, state->position, state->digest, error);
    return status == DEJA_OK ? lines_state_write(resume, state, error) : status;
}

int dj_export_run(const struct dj_lines_facts *facts, const struct dj_lines_flags *flags,
                  const char *path)
{
    assert(path);
    struct lines_call call = {.facts = facts, .flags = flags, .command = "export"};
    struct output output = {.path = path, .flags = flags};
    struct lines_state state = {.units = 0};
    struct deja_error error = {.message = ""};
    enum deja_status status = look_at_output(&output, &state, &error);
    int code = status == DEJA_OK ? lines_begin(&call) : DJ_EXIT_OK;
    while (status == DEJA_OK && code == DJ_EXIT_OK && !state.is_done) {
        char target[256];
        snprintf(target, sizeof target, "/api/v1/export?vectors=%s%s%s",
                 flags->has_vectors ? "true" : "false", state.cursor[0] ? "&cursor=" : "",
                 state.cursor);
        code = lines_ask(&call, "GET", target, deja_slice("", 0));
        if (code == DJ_EXIT_OK)
            status = keep_piece(&output, &call, &state, &error);
        lines_show("entries", state.units);
    }
    bool is_whole = status == DEJA_OK && code == DJ_EXIT_OK;
    enum deja_status closed = close_output(&output, is_whole, is_whole ? &error : NULL);
    dj_client_answer_fini(&call.answer);
    if (status != DEJA_OK || (is_whole && closed != DEJA_OK))
        return complain("export", &error);
    if (code == DJ_EXIT_OK)
        tell(flags, &state, "entries", path);
    return code;
}

/* ---- import ---- */

struct importing {
    struct dj_import_source source;
    struct lines_call call;
    const struct dj_lines_flags *flags;
    const char *path;
    struct lines_state state;
    struct dj_buf body;
    uint64_t numbers[BATCH_MAX];
    size_t count;
    bool is_over;
    struct deja_error error;
};

static void tell_bad(struct importing *importing, uint64_t number, struct deja_slice what)
{
    if (importing->state.bad++ >= TOLD_MAX)
        return;
    lines_show_end();
    fprintf(stderr, "deja import: %s %" PRIu64 ": %.*s%s\n", importing->source.unit, number,
            (int)what.len, what.len ? what.data : "",
            importing->state.bad == TOLD_MAX ? "; further ones are only counted" : "");
}

/* DEJA_ERR_NOT_FOUND: the end. */
static enum deja_status collect(struct importing *importing)
{
    struct dj_import_source *source = &importing->source;
    dj_buf_clear(&importing->body);
    dj_buf_append_format(&importing->body, "{\"%s\":[", source->member);
    importing->count = 0;
    while (importing->count < BATCH_MAX && importing->body.len < BATCH_BYTES_MAX) {
        size_t before = importing->body.len;
        uint64_t number = 0;
        struct dj_buf one = {0};
        enum deja_status status = source->next(source->ctx, &one, &number, &importing->error);
        if (status == DEJA_OK) {
            if (importing->count)
                dj_buf_append_byte(&importing->body, ',');
            dj_buf_append_slice(&importing->body, dj_buf_slice(&one));
            importing->numbers[importing->count++] = number;
        }
        dj_buf_fini(&one);
        if (status == DEJA_ERR_NOT_FOUND) {
            importing->is_over = true;
            break;
        }
        if (status == DEJA_OK)
            continue;
        importing->body.len = before;
        if (status != DEJA_ERR_INVALID)
            return status;
        importing->state.units++;
        tell_bad(importing, number, deja_slice_text(importing->error.message));
        if (!importing->flags->skips_bad)
            return deja_error_set(&importing->error, DEJA_ERR_INVALID,
                                  "stopped there; --skip-bad leaves out what cannot be read");
    }
    dj_buf_append_text(&importing->body, "]}");
    return importing->body.status;
}

/* An error in its place, or an outcome that is none of the good ones. */
static bool is_bad(const struct dj_json *result, struct deja_slice *out_what)
{
    const struct dj_json *error = dj_json_get(result, "error");
    struct deja_slice outcome = dj_json_string(dj_json_get(result, "outcome"));
    if (!error && (!outcome.len || dj_slice_is(outcome, "stored") ||
                   dj_slice_is(outcome, "expired") || dj_slice_is(outcome, "refused")))
        return false;
    const struct dj_json *field = dj_json_at(dj_json_get(error, "fields"), 0);
    *out_what = dj_json_string(error);
    if (!out_what->len)
        *out_what = dj_json_string(dj_json_get(field, "message"));
    if (!out_what->len)
        *out_what = dj_json_string(dj_json_get(error, "detail"));
    if (!out_what->len)
        *out_what = outcome.len ? outcome : deja_slice_text("it was refused");
    return true;
}

static bool is_stored(const struct dj_json *result)
{
    struct deja_slice outcome = dj_json_string(dj_json_get(result, "outcome"));
    return !outcome.len || dj_slice_is(outcome, "stored");
}

static int send_batch(struct importing *importing)
{
    struct dj_import_source *source = &importing->source;
    struct dj_json_doc *doc = NULL;
    if (!importing->count)
        return DJ_EXIT_OK;
    int code =
        lines_ask(&importing->call, source->method, source->path, dj_buf_slice(&importing->body));
    if (code != DJ_EXIT_OK)
        return code;
    if (dj_json_parse(dj_buf_slice(&importing->call.answer.body), &doc, NULL) != DEJA_OK)
        return DJ_EXIT_FAILED;
    struct dj_json_walk walk = dj_json_walk(dj_json_get(dj_json_root(doc), "results"));
    for (size_t i = 0; i < importing->count && dj_json_walk_next(&walk); i++) {
        struct deja_slice what;
        importing->state.units++;
        if (is_bad(walk.value, &what))
            tell_bad(importing, importing->numbers[i], what);
        else
            importing->state.stored += is_stored(walk.value);
    }
    dj_json_doc_destroy(doc);
    if (importing->state.bad && !importing->flags->skips_bad) {
        deja_error_set(&importing->error, DEJA_ERR_INVALID,
                       "stopped there; --skip-bad leaves out what cannot be kept");
        return complain("import", &importing->error);
    }
    return DJ_EXIT_OK;
}

static enum deja_status keep_state(struct importing *importing)
{
    struct lines_state *state = &importing->state;
    struct dj_import_source *source = &importing->source;
    bool is_file = strcmp(source->form, "jsonl") == 0;
    enum deja_status status = DEJA_OK;
    state->position = source->position(source->ctx);
    state->is_done = importing->is_over;
    if (!importing->flags->resume)
        return DEJA_OK;
    if (is_file)
        status = lines_digest(importing->path, state->position, state->digest, &importing->error);
    return status == DEJA_OK ? lines_state_write(importing->flags->resume, state, &importing->error)
                             : status;
}

static enum deja_status go_on(struct importing *importing)
{
    struct lines_state *state = &importing->state;
    struct dj_import_source *source = &importing->source;
    char digest[2 * DJ_SHA256_BYTES + 1];
    if (!importing->flags->resume)
        return DEJA_OK;
    enum deja_status status = lines_state_read(importing->flags->resume, state, &importing->error);
    if (status != DEJA_OK)
        return status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status;
    importing->is_over = state->is_done;
    if (state->digest[0]) {
        status = lines_digest(importing->path, state->position, digest, &importing->error);
        if (status == DEJA_OK && strcmp(digest, state->digest) != 0)
            status = deja_error_set(&importing->error, DEJA_ERR_INVALID,
                                    "%s is not what %s was kept for: begin anew without it",
                                    importing->path, importing->flags->resume);
    }
    return status == DEJA_OK ? source->seek(source->ctx, state->position, &importing->error)
                             : status;
}

int dj_import_run(const struct dj_lines_facts *facts, const struct dj_lines_flags *flags,
                  const char *path)
{
    struct importing importing = {.call = {.facts = facts, .flags = flags, .command = "import"},
                                  .flags = flags,
                                  .path = path};
    int code = lines_begin(&importing.call);
    if (code != DJ_EXIT_OK)
        return code;
    enum deja_status status =
        dj_import_open(path, flags->format, &importing.source, &importing.error);
    if (status != DEJA_OK)
        return complain("import", &importing.error);
    status = go_on(&importing);
    while (status == DEJA_OK && code == DJ_EXIT_OK && !importing.is_over) {
        status = collect(&importing);
        if (status == DEJA_OK)
            code = send_batch(&importing);
        if (status == DEJA_OK && code == DJ_EXIT_OK)
            status = keep_state(&importing);
        lines_show(importing.source.unit, importing.state.units);
    }
    if (importing.source.skipped)
        importing.state.bad += importing.source.skipped(importing.source.ctx);
    importing.source.close(importing.source.ctx);
    dj_buf_fini(&importing.body);
    dj_client_answer_fini(&importing.call.answer);
    if (status != DEJA_OK)
        return complain("import", &importing.error);
    if (code != DJ_EXIT_OK)
        return code;
    char what[32];
    snprintf(what, sizeof what, "%ss", importing.source.unit);
    tell(flags, &importing.state, what, "");
    return importing.state.bad ? DJ_EXIT_FAILED : DJ_EXIT_OK;
}
