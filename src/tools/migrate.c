/* tools/migrate.c - see migrate.h. */
#include "tools/migrate.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/date.h"
#include "base/num.h"
#include "proto/json.h"

struct request {
    const char *to;
    bool wants_json;
};

/* clang-format off: a table is read by its columns */
static const struct dj_command_option rows[] = {
    {"--to", DJ_COMMAND_TEXT, "N", "up: not beyond version N; down: to it instead of one step",
     offsetof(struct request, to)},
    {"--json", DJ_COMMAND_SWITCH, NULL, "Print JSON", offsetof(struct request, wants_json)},
};
/* clang-format on */

const struct dj_command dj_migrate_command = {
    .name = "migrate",
    .summary = "the schema of the PostgreSQL tier, up and down",
    .synopsis = "status\nup [--to N]\ndown [--to N]",
    .examples =
        "deja migrate status\twhat is applied; exit 1 unless it is what this program wants\n"
        "deja migrate up\tmakes the tables, or brings them up to date\n"
        "deja migrate down\ttakes the last step back; --to 0 removes everything",
    .description = "The database is l3.postgres.url. Each step is one transaction; programs that "
                   "migrate at the same time wait for one another. down removes what the step "
                   "made, with the data in it. A schema newer than this program is left alone.",
    .first_words = "status|up|down",
    .options = {{rows, sizeof rows / sizeof *rows}},
    .takes_settings = true,
};

struct report {
    struct dj_json_writer *w; /* NULL: for people */
    const char *verb;
};

static int fail(const struct deja_error *error, enum deja_status status)
{
    fprintf(stderr, "deja migrate: %s\n", error->message);
    switch (status) {
    case DEJA_ERR_CONFIG:
    case DEJA_ERR_INVALID:
        return DJ_EXIT_CONFIG;
    case DEJA_ERR_DENIED:
        return DJ_EXIT_DENIED;
    case DEJA_ERR_IO:
    case DEJA_ERR_TIMEOUT:
        return DJ_EXIT_UNREACHABLE;
    case DEJA_ERR_BUSY:
        return DJ_EXIT_TRY_AGAIN;
    default:
        return DJ_EXIT_FAILED;
    }
}

static void put_migration(struct dj_json_writer *w, const struct dj_postgres_migration *migration)
{
    char date[DJ_DATE_RFC3339_BYTES];
    dj_json_begin_object(w);
    dj_json_member_u64(w, "version", migration->version);
    dj_json_member_text(w, "name", migration->name);
    dj_json_member_bool(w, "applied", migration->is_applied);
    if (migration->applied_ms) {
        dj_date_rfc3339(migration->applied_ms, date);
        dj_json_member_text(w, "applied_at", date);
    }
    dj_json_end_object(w);
}

static void on_row(void *ctx, const struct dj_postgres_migration *migration)
{
    struct report *report = ctx;
    char date[DJ_DATE_RFC3339_BYTES] = "-";
    if (report->w) {
        put_migration(report->w, migration);
        return;
    }
    if (migration->applied_ms)
        dj_date_rfc3339(migration->applied_ms, date);
    printf("%3u  %-24s  %s\n", migration->version, migration->is_applied ? date : "not applied",
           migration->name);
}

static void on_step(void *ctx, const struct dj_postgres_migration *migration)
{
    struct report *report = ctx;
    if (report->w)
        put_migration(report->w, migration);
    else
        printf("%s %u: %s\n", report->verb, migration->version, migration->name);
}

static const char *word_of(enum dj_postgres_schema schema)
{
    static const char *const words[] = {[DJ_POSTGRES_SCHEMA_NONE] = "none",
                                        [DJ_POSTGRES_SCHEMA_OLD] = "old",
                                        [DJ_POSTGRES_SCHEMA_CURRENT] = "current",
                                        [DJ_POSTGRES_SCHEMA_NEWER] = "newer"};
    return words[schema];
}

static void put_state(struct dj_json_writer *w, const struct dj_postgres_state *state)
{
    dj_json_member_text(w, "schema", word_of(state->schema));
    dj_json_member_u64(w, "version", state->schema_version);
    dj_json_member_u64(w, "newest", dj_postgres_schema_newest());
    dj_json_member_u64(w, "server_version", state->server_version);
    dj_json_member_text(w, "pgvector", *state->vector_version ? state->vector_version : NULL);
}

/* Returns the exit code; text: what is printed as JSON. */
static int show_status(struct dj_postgres *postgres, const struct dj_postgres_state *state,
                       struct dj_json_writer *w, struct deja_error *error)
{
    struct report report = {.w = w};
    struct deja_error trouble = {{0}};
    enum deja_status check = dj_postgres_check(state, &trouble);
    if (w) {
        dj_json_begin_object(w);
        put_state(w, state);
        dj_json_key(w, "migrations");
        dj_json_begin_array(w);
    } else {
        printf("PostgreSQL %u.%u, pgvector %s; schema at version %u of %u\n",
               state->server_version / 10000, state->server_version % 10000,
               *state->vector_version ? state->vector_version : "not created",
               state->schema_version, dj_postgres_schema_newest());
    }
    enum deja_status status = dj_postgres_migrations(postgres, &report, on_row, error);
    if (w) {
        dj_json_end_array(w);
        dj_json_end_object(w);
    }
    if (status != DEJA_OK)
        return fail(error, status);
    if (check == DEJA_OK)
        return DJ_EXIT_OK;
    fprintf(stderr, "deja migrate: %s\n", trouble.message);
    return DJ_EXIT_FAILED;
}

/* Where up or down leads; false: there is no such number. */
static bool find_target(const struct request *request, const struct dj_postgres_state *state,
                        bool is_up, uint32_t *out_version)
{
    uint64_t version = is_up                   ? dj_postgres_schema_newest()
                       : state->schema_version ? state->schema_version - 1
                                               : 0;
    if (request->to && (dj_num_parse_u64(deja_slice_text(request->to), &version) != DEJA_OK ||
                        version > UINT32_MAX))
        return false;
    *out_version = (uint32_t)version;
    return true;
}

static int move(struct dj_postgres *postgres, const struct dj_postgres_state *state,
                const struct request *request, bool is_up, struct dj_json_writer *w)
{
    struct report report = {.w = w, .verb = is_up ? "up" : "down"};
    struct deja_error error = {{0}};
    uint32_t version = 0;
    if (!find_target(request, state, is_up, &version))
        return dj_command_misused(&dj_migrate_command, "--to expects a version, as 0 or 2");
    if (state->schema != DJ_POSTGRES_SCHEMA_NEWER &&
        (is_up ? version < state->schema_version : version > state->schema_version)) {
        deja_error_set(&error, DEJA_ERR_INVALID, "the schema is at version %u: %s leads %s",
                       state->schema_version, report.verb, is_up ? "up" : "down");
        return fail(&error, DEJA_ERR_INVALID);
    }
    if (w) {
        dj_json_begin_object(w);
        dj_json_key(w, "steps");
        dj_json_begin_array(w);
    }
    enum deja_status status = dj_postgres_migrate(postgres, version, &report, on_step, &error);
    if (w) {
        dj_json_end_array(w);
        dj_json_member_bool(w, "ok", status == DEJA_OK);
        dj_json_end_object(w);
    } else if (status == DEJA_OK && version == state->schema_version) {
        printf("nothing to do: the schema is at version %u\n", version);
    }
    return status == DEJA_OK ? DJ_EXIT_OK : fail(&error, status);
}

static int run(struct dj_postgres *postgres, const struct request *request, const char *word)
{
    struct dj_buf text = {0};
    struct dj_json_writer writer = dj_json_writer(&text);
    struct dj_json_writer *w = request->wants_json ? &writer : NULL;
    struct dj_postgres_state state;
    struct deja_error error = {{0}};
    enum deja_status status = dj_postgres_look(postgres, &state, &error);
    int code = status != DEJA_OK ? fail(&error, status)
               : strcmp(word, "status") == 0
                   ? show_status(postgres, &state, w, &error)
                   : move(postgres, &state, request, strcmp(word, "up") == 0, w);
    if (text.len && text.status == DEJA_OK)
        printf("%.*s\n", (int)text.len, text.data);
    dj_buf_fini(&text);
    return fflush(stdout) == 0 ? code : DJ_EXIT_FAILED;
}

int dj_migrate_run(const struct dj_postgres_options *options, int argc, char *const *argv)
{
    struct request request = {.to = NULL};
    struct dj_words words;
    struct deja_error error = {{0}};
    struct dj_postgres *postgres = NULL;
    if (dj_command_parse(&dj_migrate_command, argc, argv, &request, &words, &error) != DEJA_OK)
        return dj_command_misused(&dj_migrate_command, error.message);
    const char *word = words.count ? words.items[0] : "";
    if (words.count != 1 ||
        (strcmp(word, "status") != 0 && strcmp(word, "up") != 0 && strcmp(word, "down") != 0))
        return dj_command_misplaced(&dj_migrate_command, word);
    if (!options->url) {
        deja_error_set(&error, DEJA_ERR_CONFIG,
                       "l3.postgres.url is not set: say which database in deja.yaml or in "
                       "DEJA_L3__POSTGRES__URL");
        return fail(&error, DEJA_ERR_CONFIG);
    }
    enum deja_status status = dj_postgres_connect(options, &postgres, &error);
    if (status != DEJA_OK)
        return fail(&error, status);
    int code = run(postgres, &request, word);
    dj_postgres_disconnect(postgres);
    return code;
}
