/* tools/erase_tool.c - see erase_tool.h. */
#include "tools/erase_tool.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/slice.h"
#include "tools/call.h"
#include "tools/erase_scan.h"
#include "tools/file.h"

#define WAIT_S 60
#define CANARY_FILE_BYTES_MAX (16u << 20)

/* clang-format off: a table is read by its columns */
static const struct dj_command_option rows[] = {
    {"--tenant", DJ_COMMAND_TEXT, "TENANT", "Whose data goes: its name or id",
     offsetof(struct dj_erase_flags, tenant)},
    {"--user", DJ_COMMAND_TEXT, "USER", "Only that user's of the tenant, as X-Deja-User names it",
     offsetof(struct dj_erase_flags, user)},
    {"--dry-run", DJ_COMMAND_SWITCH, NULL, "Only count what would go",
     offsetof(struct dj_erase_flags, is_dry_run)},
    {"--yes", DJ_COMMAND_SWITCH, NULL, "Do not ask", offsetof(struct dj_erase_flags, is_agreed)},
    {"--verify", DJ_COMMAND_SWITCH, NULL, "Only look whether something is left",
     offsetof(struct dj_erase_flags, is_verify)},
    {"--canary-file", DJ_COMMAND_TEXT, "FILE",
     "With --verify: texts that must not be found in the data directory, one a line; - is stdin",
     offsetof(struct dj_erase_flags, canary_file)},
    {"--server", DJ_COMMAND_TEXT, "URL", "The daemon; else $DEJA_SERVER",
     offsetof(struct dj_erase_flags, server)},
    {"--key", DJ_COMMAND_TEXT, "KEY", "A key with the role admin; else $DEJA_KEY",
     offsetof(struct dj_erase_flags, key)},
    {"--token", DJ_COMMAND_TEXT, "TOKEN", "The admin token printed at start; else $DEJA_TOKEN",
     offsetof(struct dj_erase_flags, token)},
    {"--json", DJ_COMMAND_SWITCH, NULL, "Print JSON", offsetof(struct dj_erase_flags, wants_json)},
};
/* clang-format on */

const struct dj_command dj_erase_command = {
    .name = "erase",
    .summary = "everything of a tenant, or of one of its users, for good",
    .synopsis = "--tenant TENANT [--user USER] [--yes | --dry-run]\n"
                "--verify [--canary-file FILE] [--tenant TENANT [--user USER]]",
    .examples = "deja erase --tenant TENANT --dry-run\thow many entries would go\n"
                "deja erase --tenant TENANT --user alice --yes\n"
                "deja erase --verify --canary-file canaries.txt\texit 1: something is left",
    .description = "Its data cannot be served any more, on no node, seconds later; it goes out of "
                   "every tier, its keys are destroyed, the files are wiped, and the audit log "
                   "gets a receipt. Where a tier cannot be reached the erasure stays open and is "
                   "tried again by itself: exit 75. --verify reads the data directory of this "
                   "machine byte by byte, and with --tenant asks the daemon what its tiers list.",
    .options = {{rows, sizeof rows / sizeof *rows}},
    .takes_settings = true,
};

/* ---- the daemon ---- */

struct erasing {
    struct dj_tool_caller caller;
    const struct dj_erase_flags *flags;
    char tenant[DJ_TENANT_NAME_ID_BYTES]; /* "": none */
};

/* *out_doc: the caller's; the body goes to stdout where JSON is wanted. */
static int order(const struct erasing *erasing, bool is_dry_run, struct dj_client_answer *answer,
                 struct dj_json_doc **out_doc)
{
    const struct dj_erase_flags *flags = erasing->flags;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "tenant", erasing->tenant);
    if (flags->user)
        dj_json_member_text(&w, "user", flags->user);
    if (is_dry_run)
        dj_json_member_bool(&w, "dry_run", true);
    dj_json_end_object(&w);
    int code = body.status == DEJA_OK ? dj_tool_call(&erasing->caller, "POST", "/api/v1/erase",
                                                     dj_buf_slice(&body), answer, out_doc)
                                      : DJ_EXIT_FAILED;
    dj_buf_fini(&body);
    return code;
}

/* *out_count: entries that a listing of the tiers shows. */
static int count_entries(const struct erasing *erasing, uint64_t *out_count)
{
    struct dj_client_answer answer = {0};
    struct dj_json_doc *doc = NULL;
    int code = order(erasing, true, &answer, &doc);
    if (code == DJ_EXIT_OK)
        *out_count = (uint64_t)dj_json_i64(dj_json_get(dj_json_root(doc), "would_remove"), 0);
    dj_json_doc_destroy(doc);
    dj_client_answer_fini(&answer);
    return code;
}

/* ---- erasing ---- */

static void tell(const struct dj_json *root)
{
    struct deja_slice id = dj_json_string(dj_json_get(root, "id"));
    struct deja_slice state = dj_json_string(dj_json_get(root, "state"));
    struct dj_json_walk walk = dj_json_walk(dj_json_get(root, "levels"));
    printf("erasure %.*s: %.*s, %lld entries removed\n", (int)id.len, id.data, (int)state.len,
           state.data, (long long)dj_json_i64(dj_json_get(root, "removed"), 0));
    while (dj_json_walk_next(&walk)) {
        struct deja_slice level = dj_json_string(dj_json_get(walk.value, "state"));
        struct deja_slice error = dj_json_string(dj_json_get(walk.value, "error"));
        printf("  %-9.*s %.*s%s%.*s\n", (int)walk.key.len, walk.key.data, (int)level.len,
               level.data, error.len ? ": " : "", (int)error.len, error.len ? error.data : "");
    }
}

static bool is_done(const struct dj_json_doc *doc)
{
    return dj_slice_is(dj_json_string(dj_json_get(dj_json_root(doc), "state")), "done");
}

/* Until it is done, or as long as somebody may be expected to wait. */
static int await(const struct erasing *erasing, struct dj_client_answer *answer,
                 struct dj_json_doc **doc)
{
    char path[96];
    struct deja_slice id = dj_json_string(dj_json_get(dj_json_root(*doc), "id"));
    snprintf(path, sizeof path, "/api/v1/erase/%.*s", (int)(id.len < 64 ? id.len : 64), id.data);
    for (unsigned waited = 0; !is_done(*doc) && waited < WAIT_S; waited++) {
        const struct timespec second = {.tv_sec = 1};
        if (waited == 0)
            fputs("deja erase: not everything could be reached; it is tried again\n", stderr);
        nanosleep(&second, NULL);
        dj_json_doc_destroy(*doc);
        int code = dj_tool_call(&erasing->caller, "GET", path, deja_slice("", 0), answer, doc);
        if (code != DJ_EXIT_OK)
            return code;
    }
    return is_done(*doc) ? DJ_EXIT_OK : DJ_EXIT_TRY_AGAIN;
}

static int agree(const struct erasing *erasing)
{
    const struct dj_erase_flags *flags = erasing->flags;
    char line[16] = "";
    uint64_t count = 0;
    if (flags->is_agreed)
        return DJ_EXIT_OK;
    if (isatty(STDIN_FILENO) != 1)
        return dj_command_misused(&dj_erase_command, "this cannot be undone: say --yes");
    int code = count_entries(erasing, &count);
    if (code != DJ_EXIT_OK)
        return code;
    fprintf(stderr, "%llu entries and all keys of %s%s%s are erased for good. Go on? [y/N] ",
            (unsigned long long)count, flags->user ? flags->user : "", flags->user ? " of " : "",
            flags->tenant);
    if (fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y'))
        return DJ_EXIT_OK;
    fputs("nothing was erased\n", stderr);
    return DJ_EXIT_FAILED;
}

static int erase(const struct erasing *erasing)
{
    const struct dj_erase_flags *flags = erasing->flags;
    struct dj_client_answer answer = {0};
    struct dj_json_doc *doc = NULL;
    int code = agree(erasing);
    if (code != DJ_EXIT_OK)
        return code;
    code = order(erasing, false, &answer, &doc);
    if (code == DJ_EXIT_OK)
        code = await(erasing, &answer, &doc);
    if (doc && (code == DJ_EXIT_OK || code == DJ_EXIT_TRY_AGAIN) && flags->wants_json)
        printf("%.*s\n", (int)answer.body.len, answer.body.data);
    else if (doc && (code == DJ_EXIT_OK || code == DJ_EXIT_TRY_AGAIN))
        tell(dj_json_root(doc));
    dj_json_doc_destroy(doc);
    dj_client_answer_fini(&answer);
    return code;
}

/* ---- the look afterwards ---- */

struct verifying {
    struct dj_json_writer *w; /* NULL: for people */
    uint64_t found;
};

static void on_found(void *ctx, const struct dj_canary_find *find)
{
    struct verifying *verifying = ctx;
    verifying->found++;
    if (!verifying->w) {
        printf("%s: canary of line %u, as %s, at byte %llu\n", find->path, find->line, find->form,
               (unsigned long long)find->offset);
        return;
    }
    dj_json_begin_object(verifying->w);
    dj_json_member_text(verifying->w, "file", find->path);
    dj_json_member_u64(verifying->w, "line", find->line);
    dj_json_member_text(verifying->w, "form", find->form);
    dj_json_member_u64(verifying->w, "offset", find->offset);
    dj_json_end_object(verifying->w);
}

static enum deja_status read_canaries(const char *path, struct dj_canaries **out_canaries,
                                      struct deja_error *error)
{
    struct dj_buf text;
    dj_buf_init(&text, CANARY_FILE_BYTES_MAX);
    enum deja_status status =
        dj_tool_read_file(strcmp(path, "-") == 0 ? "/dev/stdin" : path, &text, error);
    if (status == DEJA_OK)
        status = dj_canaries_create(dj_buf_slice(&text), out_canaries, error);
    dj_buf_fini(&text);
    return status;
}

static int verify(const struct erasing *erasing, const char *data_dir)
{
    const struct dj_erase_flags *flags = erasing->flags;
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    struct verifying verifying = {.w = flags->wants_json ? &w : NULL};
    struct dj_canaries *canaries = NULL;
    struct deja_error error = {""};
    uint64_t files = 0;
    uint64_t bytes = 0;
    uint64_t listed = 0;
    int code = DJ_EXIT_OK;
    enum deja_status status = DEJA_OK;
    if (flags->tenant)
        code = count_entries(erasing, &listed);
    if (flags->canary_file)
        status = read_canaries(flags->canary_file, &canaries, &error);
    dj_json_begin_object(&w);
    dj_json_key(&w, "found");
    dj_json_begin_array(&w);
    if (canaries)
        status = dj_canaries_scan(canaries, data_dir, &files, &bytes, &verifying, on_found, &error);
    dj_json_end_array(&w);
    dj_json_member_u64(&w, "files", files);
    dj_json_member_u64(&w, "bytes", bytes);
    dj_json_member_u64(&w, "entries_listed", listed);
    dj_json_end_object(&w);
    dj_canaries_destroy(canaries);
    if (status != DEJA_OK) {
        fprintf(stderr, "deja erase: %s\n", error.message);
        code = DJ_EXIT_FAILED;
    } else if (flags->wants_json && text.status == DEJA_OK) {
        printf("%.*s\n", (int)text.len, text.data);
    } else {
        printf("%llu places found in %llu files of %llu bytes; %llu entries in the tiers' lists\n",
               (unsigned long long)verifying.found, (unsigned long long)files,
               (unsigned long long)bytes, (unsigned long long)listed);
    }
    dj_buf_fini(&text);
    return code != DJ_EXIT_OK ? code : verifying.found || listed ? DJ_EXIT_FAILED : DJ_EXIT_OK;
}

/* NULL: the flags go together. */
static const char *complaint(const struct dj_erase_flags *flags)
{
    if (flags->user && !flags->tenant)
        return "--user goes with --tenant";
    if (flags->is_verify && !flags->canary_file && !flags->tenant)
        return "--verify wants --canary-file, --tenant, or both";
    if (flags->canary_file && !flags->is_verify)
        return "--canary-file goes with --verify";
    return flags->is_verify || flags->tenant ? NULL : "whose? --tenant TENANT";
}

int dj_erase_run(const struct dj_erase_facts *facts, const struct dj_erase_flags *flags)
{
    struct erasing erasing = {.caller = {.client = {.server = facts->server,
                                                    .key = facts->key,
                                                    .token = facts->token,
                                                    .ca_file = facts->ca_file,
                                                    .timeout_ms = 600000},
                                         .command = dj_erase_command.name},
                              .flags = flags};
    uint64_t count = 0;
    const char *wrong = complaint(flags);
    if (wrong)
        return dj_command_misused(&dj_erase_command, wrong);
    int code = dj_tool_find_tenant(&erasing.caller, flags->tenant, erasing.tenant);
    if (code != DJ_EXIT_OK)
        return code;
    if (flags->is_verify)
        return verify(&erasing, facts->data_dir);
    if (!flags->is_dry_run)
        return erase(&erasing);
    code = count_entries(&erasing, &count);
    if (code == DJ_EXIT_OK)
        printf(flags->wants_json ? "{\"dry_run\":true,\"would_remove\":%llu}\n"
                                 : "%llu entries would be removed\n",
               (unsigned long long)count);
    return code;
}
