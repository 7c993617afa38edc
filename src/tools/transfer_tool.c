/* tools/transfer_tool.c - see transfer_tool.h. */
#include "tools/transfer_tool.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/slice.h"
#include "config/terminal.h"
#include "tools/call.h"

#define POLL_MS 100
#define TOLD_MAX 20u /* mismatches, to people */
#define TOLD_NAME_BYTES 80u
#define S3_SCHEME "s3://"

#define AT(member) offsetof(struct dj_transfer_flags, member)
#define ROWS(table)                              \
    {                                            \
        (table), sizeof(table) / sizeof *(table) \
    }

/* clang-format off: tables are read by their columns */
static const struct dj_command_option common[] = {
    {"--tenant", DJ_COMMAND_TEXT, "TENANT", "Only that tenant's entries; its name or id",
     AT(tenant)},
    {"--offline", DJ_COMMAND_SWITCH, NULL,
     "On the data directory of this machine, while no daemon has it", AT(is_offline)},
    {"--server", DJ_COMMAND_TEXT, "URL", "The daemon; else $DEJA_SERVER", AT(server)},
    {"--key", DJ_COMMAND_TEXT, "KEY", "A key with the role admin; else $DEJA_KEY", AT(key)},
    {"--token", DJ_COMMAND_TEXT, "TOKEN", "The admin token printed at start; else $DEJA_TOKEN",
     AT(token)},
    {"--json", DJ_COMMAND_SWITCH, NULL, "Print JSON", AT(wants_json)},
};
static const struct dj_command_option backup[] = {
    {"--with-config", DJ_COMMAND_SWITCH, NULL,
     "Tenants, links, API keys and upstream credentials, too", AT(has_config)},
    {"--from", DJ_COMMAND_TEXT, "lmdb|redis|postgres|s3", "Only of that tier", AT(from)},
};
static const struct dj_command_option restore[] = {
    {"--merge", DJ_COMMAND_SWITCH, NULL, "Into a cache that is not empty: newer versions win",
     AT(is_merge)},
    {"--with-config", DJ_COMMAND_SWITCH, NULL,
     "Tenants, links, API keys and upstream credentials, where there are none", AT(has_config)},
    {"--check", DJ_COMMAND_SWITCH, NULL, "Only read the backup to its end", AT(is_check)},
    {"--to", DJ_COMMAND_TEXT, "lmdb|redis|postgres|s3", "Only into that tier", AT(to)},
};
static const struct dj_command_option verify[] = {
    {"--from", DJ_COMMAND_TEXT, "lmdb|redis|postgres|s3", "Only that tier", AT(from)},
    {"--to", DJ_COMMAND_TEXT, "lmdb|redis|postgres|s3", "Compared with that one", AT(to)},
};
static const struct dj_command_option migrate[] = {
    {"--from", DJ_COMMAND_TEXT, "lmdb|redis|postgres|s3|FILE", "A tier, or a backup", AT(from)},
    {"--to", DJ_COMMAND_TEXT, "lmdb|redis|postgres|s3|FILE", "Into that tier, or file", AT(to)},
    {"--name", DJ_COMMAND_TEXT, "NAME", "What the migration is called; else FROM-to-TO", AT(name)},
    {"--confirm", DJ_COMMAND_TEXT, "NAME", "It stays: what it replaced is forgotten", AT(confirm)},
    {"--force", DJ_COMMAND_SWITCH, NULL,
     "With --confirm: although something was missing or different at its end", AT(is_forced)},
    {"--rollback", DJ_COMMAND_TEXT, "NAME", "What it brought goes, what it replaced comes back",
     AT(rollback)},
};
/* clang-format on */

const struct dj_command dj_backup_command = {
    .name = "backup",
    .summary = "every entry into one sealed file, or a bucket",
    .synopsis = "FILE|s3://NAME [--with-config] [--tenant TENANT] [--offline]",
    .examples = "deja backup nightly.djb\tby the daemon, into its backup.dir\n"
                "deja backup s3://nightly --with-config\tinto the bucket of l3.s3\n"
                "deja backup --offline /var/backups/deja.djb\twhile no daemon runs",
    .description = "All tenants, all kinds of entries, with what they are named under. Sealed: to "
                   "restore it elsewhere the master key is needed, and nothing else "
                   "(docs/migration.md). A file that is there is never written over.",
    .options = {ROWS(backup), ROWS(common)},
    .takes_settings = true,
};
const struct dj_command dj_restore_command = {
    .name = "restore",
    .summary = "the entries of a backup into a cache",
    .synopsis = "FILE|s3://NAME [--merge] [--with-config] [--offline]\nFILE|s3://NAME --check",
    .examples = "deja restore nightly.djb --check\tis it whole?\n"
                "deja restore nightly.djb --merge\tinto the daemon that runs\n"
                "deja restore --offline /var/backups/deja.djb\tinto an empty data directory",
    .description = "The backup is read to its end first: a damaged one is refused, and where it is "
                   "damaged is said. What was erased, or made void, since it was made stays so.",
    .options = {ROWS(restore), ROWS(common)},
    .takes_settings = true,
};
const struct dj_command dj_verify_command = {
    .name = "verify",
    .summary = "compare a cache with a backup, a tier with another",
    .synopsis = "[FILE|s3://NAME] [--tenant TENANT] [--offline]\n--from TIER --to TIER",
    .examples = "deja verify --offline\tevery record of the data directory\n"
                "deja verify nightly.djb\tis everything of the backup there, and as it was?\n"
                "deja verify --from lmdb --to redis --json | jq .mismatches",
    .description = "Keys, values, ends of life and what is known of each entry. Exit 1: there is a "
                   "difference; the report has each, and says which fields.",
    .options = {ROWS(verify), ROWS(common)},
    .takes_settings = true,
};
const struct dj_command dj_migrate_data_command = {
    .name = "migrate-data",
    .summary = "entries of one tier into another, and back",
    .synopsis = "--from TIER|FILE --to TIER|FILE [--name NAME] [--offline]\n"
                "--confirm NAME [--force]\n--rollback NAME",
    .examples = "deja migrate-data --from lmdb --to redis\tagain after a stop: it goes on\n"
                "deja migrate-data --rollback lmdb-to-redis\tas if it had not been\n"
                "deja migrate-data --confirm lmdb-to-redis\tit stays",
    .description = "The source is only read. Until it is confirmed a migration between tiers can "
                   "be rolled back. At its end both sides are compared: if something is missing or "
                   "different it can be started again, rolled back, or confirmed with --force.",
    .options = {ROWS(migrate), ROWS(common)},
    .takes_settings = true,
};

static bool is_s3(const char *file)
{
    return strncmp(file, S3_SCHEME, sizeof S3_SCHEME - 1) == 0;
}

static bool is_tier(const char *text)
{
    static const char *const tiers[] = {"memory", "lmdb", "redis", "postgres",
                                        "s3",     "l1",   "l2",    "l3"};
    for (size_t i = 0; text && i < sizeof tiers / sizeof *tiers; i++)
        if (strcmp(tiers[i], text) == 0)
            return true;
    return false;
}

/* ---- words ---- */

/* A file on one side is a backup or a restore. NULL: fine; else what is wrong. */
static const char *read_migration(struct dj_transfer_request *request)
{
    struct dj_transfer_flags *flags = &request->flags;
    if (flags->confirm && flags->rollback)
        return "--confirm or --rollback";
    if (flags->is_forced && !flags->confirm)
        return "--force goes with --confirm";
    if (flags->confirm || flags->rollback)
        return flags->from || flags->to ? "--confirm and --rollback take only a name" : NULL;
    if (!flags->from || !flags->to)
        return "from where to where? --from lmdb --to redis";
    if (is_tier(flags->from) && is_tier(flags->to))
        return NULL;
    if (!is_tier(flags->from) && !is_tier(flags->to))
        return "one side must be a tier: lmdb, redis, postgres or s3";
    bool is_backup = is_tier(flags->from);
    request->command = is_backup ? &dj_backup_command : &dj_restore_command;
    request->file = is_backup ? flags->to : flags->from;
    if (is_backup)
        flags->to = NULL;
    else
        flags->from = NULL;
    flags->is_merge = true;
    return NULL;
}

bool dj_transfer_parse(const struct dj_command *command, int argc, char *const *argv,
                       struct dj_transfer_request *out_request, int *out_code)
{
    struct dj_words words;
    struct deja_error error;
    const char *wrong = NULL;
    *out_request = (struct dj_transfer_request){.command = command, .name = command->name};
    struct dj_transfer_flags *flags = &out_request->flags;
    if (dj_command_parse(command, argc, argv, flags, &words, &error) != DEJA_OK) {
        *out_code = dj_command_misused(command, error.message);
        return false;
    }
    bool is_migration = command == &dj_migrate_data_command;
    bool needs_file = command == &dj_backup_command || command == &dj_restore_command;
    out_request->file = words.count ? words.items[0] : NULL;
    if (words.count > 1 || (is_migration && words.count))
        wrong = is_migration ? "takes no words" : "takes one file";
    else if (needs_file && !words.count)
        wrong = "which file? a name, or s3://NAME";
    else if ((flags->from && !is_tier(flags->from) && !is_migration) ||
             (flags->to && !is_tier(flags->to) && !is_migration))
        wrong = "a tier is one of lmdb, redis, postgres and s3";
    else if (flags->is_offline && (flags->server || flags->token || flags->key))
        wrong = "--offline needs no --server, --key or --token";
    else if (is_migration)
        wrong = read_migration(out_request);
    if (wrong)
        *out_code = dj_command_misused(command, wrong);
    return !wrong;
}

static bool has_folder(const struct dj_transfer_request *request)
{
    return request->file && !is_s3(request->file) && strchr(request->file, '/');
}

char *dj_transfer_folder(const struct dj_transfer_request *request)
{
    char folder[PATH_MAX];
    const char *slash = has_folder(request) ? strrchr(request->file, '/') : NULL;
    if (!request->file || is_s3(request->file))
        return NULL;
    if (!slash)
        return getcwd(folder, sizeof folder) ? dj_strdup(deja_slice_text(folder)) : NULL;
    char *given = dj_strdup(deja_slice(request->file, (size_t)(slash - request->file) + 1));
    const char *whole = given ? realpath(given, folder) : NULL;
    char *result = dj_strdup(deja_slice_text(whole ? whole : given));
    dj_free(given);
    return result;
}

/* As the daemon knows it: offline its folder is the file's (dj_transfer_folder). One that runs is
 * given all of it, and refuses a folder that is not its own. */
static const char *name_of(const struct dj_transfer_request *request)
{
    bool is_cut = request->flags.is_offline && has_folder(request);
    return is_cut ? strrchr(request->file, '/') + 1 : request->file;
}

/* ---- the daemon ---- */

struct order {
    struct dj_tool_caller caller;
    const struct dj_transfer_request *request;
    char tenant[DJ_TENANT_NAME_ID_BYTES]; /* "": all */
    struct dj_client_answer answer;
    struct dj_json_doc *doc;
};

static int call(struct order *order, const char *method, const char *path, struct deja_slice body)
{
    dj_json_doc_destroy(order->doc);
    return dj_tool_call(&order->caller, method, path, body, &order->answer, &order->doc);
}

static void member(struct dj_json_writer *w, const char *name, const char *text)
{
    if (text)
        dj_json_member_text(w, name, text);
}

static void flag(struct dj_json_writer *w, const char *name, bool value)
{
    if (value)
        dj_json_member_bool(w, name, true);
}

static int start(struct order *order)
{
    const struct dj_transfer_request *request = order->request;
    const struct dj_transfer_flags *flags = &request->flags;
    bool is_migration = request->command == &dj_migrate_data_command;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    member(&w, "file", request->file ? name_of(request) : NULL);
    member(&w, "tenant", order->tenant[0] ? order->tenant : NULL);
    member(&w, "from", flags->from);
    member(&w, "to", flags->to);
    flag(&w, "config", flags->has_config);
    flag(&w, "check", flags->is_check);
    flag(&w, "force", flags->is_forced);
    if (flags->is_merge && request->command == &dj_restore_command)
        dj_json_member_text(&w, "into", "merge");
    if (is_migration) {
        const char *ended = flags->confirm ? flags->confirm : flags->rollback;
        member(&w, "name", ended ? ended : flags->name);
        member(&w, "action", flags->confirm ? "confirm" : flags->rollback ? "rollback" : NULL);
    }
    dj_json_end_object(&w);
    char path[64];
    snprintf(path, sizeof path, "/api/v1/%s", is_migration ? "migrate" : request->command->name);
    int code =
        body.status == DEJA_OK ? call(order, "POST", path, dj_buf_slice(&body)) : DJ_EXIT_FAILED;
    dj_buf_fini(&body);
    return code;
}

/* ---- telling ---- */

static long long count_of(const struct dj_json *object, const char *name)
{
    return (long long)dj_json_i64(dj_json_get(object, name), 0);
}

static bool is_text(const struct dj_json *object, const char *name, const char *text)
{
    return dj_slice_is(dj_json_string(dj_json_get(object, name)), text);
}

static void show_progress(const struct dj_json *root)
{
    struct deja_slice phase = dj_json_string(dj_json_get(root, "phase"));
    long long expected = count_of(root, "entries_expected");
    fprintf(stderr, "\r\033[K%.*s: %lld", (int)phase.len, phase.data, count_of(root, "entries"));
    if (expected)
        fprintf(stderr, " of %lld", expected);
    fputs(" entries", stderr);
    fflush(stderr);
}

static int follow(struct order *order)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    bool is_shown = isatty(STDERR_FILENO) == 1;
    char path[128];
    struct deja_slice id = dj_json_string(dj_json_get(dj_json_root(order->doc), "id"));
    snprintf(path, sizeof path, "/api/v1/transfers/%.*s", (int)(id.len < 64 ? id.len : 64),
             id.data);
    int code = DJ_EXIT_OK;
    while (code == DJ_EXIT_OK && is_text(dj_json_root(order->doc), "state", "running")) {
        nanosleep(&pause, NULL);
        code = call(order, "GET", path, deja_slice("", 0));
        if (code == DJ_EXIT_OK && is_shown)
            show_progress(dj_json_root(order->doc));
    }
    if (is_shown)
        fputs("\r\033[K", stderr);
    return code;
}

/* One line of it, and nothing that drives a terminal. */
static void put_name(struct deja_slice name)
{
    char line[TOLD_NAME_BYTES];
    size_t len = name.len < sizeof line ? name.len : sizeof line;
    for (size_t i = 0; i < len; i++)
        line[i] = strchr("\n\r\t", name.data[i]) ? ' ' : name.data[i];
    dj_terminal_write(stdout, deja_slice(line, len));
}

static void put_side(const struct dj_json *mismatch, const char *name)
{
    const struct dj_json *side = dj_json_get(mismatch, name);
    struct deja_slice end = dj_json_string(dj_json_get(side, "expires_at"));
    if (!side)
        return;
    printf("; %s %lld bytes, ", name, count_of(side, "bytes"));
    if (end.len)
        printf("until %.*s", (int)end.len, end.data);
    else
        fputs("for ever", stdout);
}

static void tell_mismatch(const struct dj_json *mismatch)
{
    static const char *const names[] = {"key", "query", "key_base64", "query_base64"};
    struct deja_slice what = dj_json_string(dj_json_get(mismatch, "what"));
    struct deja_slice kind = dj_json_string(dj_json_get(mismatch, "kind"));
    struct deja_slice id = dj_json_string(dj_json_get(mismatch, "id"));
    struct deja_slice tenant = dj_json_string(dj_json_get(mismatch, "tenant"));
    struct deja_slice fields = dj_json_string(dj_json_get(mismatch, "fields"));
    printf("  %-8.*s %-9.*s ", (int)what.len, what.data, (int)kind.len, kind.data);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        put_name(dj_json_string(dj_json_get(mismatch, names[i])));
    if (dj_json_bool(dj_json_get(mismatch, "sensitive"), false))
        fputs("(sensitive)", stdout);
    printf("  %.*s of %.*s%s%.*s", (int)id.len, id.data, (int)tenant.len, tenant.data,
           fields.len ? ": " : "", (int)fields.len, fields.len ? fields.data : "");
    put_side(mismatch, "source");
    put_side(mismatch, "target");
    putchar('\n');
}

static void tell_mismatches(const struct dj_json *root)
{
    struct dj_json_walk walk = dj_json_walk(dj_json_get(root, "mismatches"));
    for (unsigned told = 0; dj_json_walk_next(&walk) && told < TOLD_MAX; told++)
        tell_mismatch(walk.value);
    long long all =
        count_of(root, "missing") + count_of(root, "extra") + count_of(root, "differing");
    if (all > (long long)TOLD_MAX)
        printf("  … %lld in all; --json has up to 1,000\n", all);
}

static bool has_end(struct deja_slice text, const char *end)
{
    size_t len = strlen(end);
    return text.len > len && memcmp(text.data + text.len - len, end, len) == 0;
}

/* Who restores after an accident looks for what that took away. */
static void warn_of_voided(const struct dj_transfer_request *request, const struct dj_json *root)
{
    long long voided = count_of(root, "voided");
    if (is_text(root, "kind", "restore") && voided)
        fprintf(stderr,
                "deja %s: %lld were made void (a flush, tags, namespaces) or erased since the "
                "backup was made, and stay so; in an empty data directory, restored with "
                "--offline, they come back\n",
                request->name, voided);
}

/* Done, and nothing of it is lost. */
static bool is_fine(const struct dj_json *root)
{
    bool is_in_vain =
        is_text(root, "kind", "restore") && count_of(root, "voided") && !count_of(root, "stored");
    return is_text(root, "state", "done") && !count_of(root, "failed") &&
           !count_of(root, "unreadable") && !is_in_vain;
}

static void tell(const struct dj_transfer_request *request, const struct dj_json *root)
{
    static const char *const counts[] = {"stored",    "matched",    "missing",  "extra",
                                         "differing", "expired",    "voided",   "refused",
                                         "failed",    "unreadable", "documents"};
    const struct dj_transfer_flags *flags = &request->flags;
    bool is_done = is_text(root, "state", "done");
    struct deja_slice made = dj_json_string(dj_json_get(root, "made_at"));
    struct deja_slice state = is_fine(root) && flags->is_check
                                  ? deja_slice_text("whole")
                                  : dj_json_string(dj_json_get(root, "state"));
    struct deja_slice path = dj_json_string(dj_json_get(root, "path"));
    if (!is_done && !count_of(root, "entries") && !is_text(root, "kind", "verify"))
        return; /* nothing was done: the error says why */
    printf("%s: %.*s, %lld entries of %lld bytes",
           flags->confirm    ? "confirm"
           : flags->rollback ? "rollback"
                             : request->name,
           (int)state.len, state.data, count_of(root, "entries"), count_of(root, "bytes"));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (count_of(root, counts[i]))
            printf(", %lld %s", count_of(root, counts[i]), counts[i]);
    if (made.len)
        printf(", backup of %.*s", (int)made.len, made.data);
    if (is_text(root, "kind", "backup") && has_end(path, ".jsonl"))
        fputs(", lines that are not sealed", stdout);
    if (path.len)
        printf(": %.*s", (int)path.len, path.data);
    putchar('\n');
    tell_mismatches(root);
}

int dj_transfer_tool_run(const struct dj_transfer_facts *facts,
                         const struct dj_transfer_request *request)
{
    struct order order = {.caller = {.client = {.server = facts->server,
                                                .key = facts->key,
                                                .token = facts->token,
                                                .ca_file = facts->ca_file},
                                     .command = request->name,
                                     .without = facts->is_named ? NULL : "--offline"},
                          .request = request};
    int code = dj_tool_find_tenant(&order.caller, request->flags.tenant, order.tenant);
    if (code == DJ_EXIT_OK)
        code = start(&order);
    if (code == DJ_EXIT_OK)
        code = follow(&order);
    if (code == DJ_EXIT_OK) {
        const struct dj_json *root = dj_json_root(order.doc);
        struct deja_slice error = dj_json_string(dj_json_get(root, "error"));
        if (request->flags.wants_json)
            printf("%.*s\n", (int)order.answer.body.len, order.answer.body.data);
        else
            tell(request, root);
        warn_of_voided(request, root);
        if (error.len)
            fprintf(stderr, "deja %s: %.*s\n", request->name, (int)error.len, error.data);
        code = is_fine(root) ? DJ_EXIT_OK : DJ_EXIT_FAILED;
    }
    dj_json_doc_destroy(order.doc);
    dj_client_answer_fini(&order.answer);
    return fflush(stdout) == 0 ? code : DJ_EXIT_FAILED;
}
