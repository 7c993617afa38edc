/* store/postgres_schema.c - the schema: what it is at, and its steps up and down.
 *
 * (1) One program at a time: an advisory lock of the database, waited for with an end. (2) A step
 * and the note that it was done are one transaction. (3) A schema newer than this program is left
 * as it is. (4) Statistics are refreshed at the end, or the first searches would be planned blind.
 */
#include <stdio.h>

#include "store/postgres_internal.h"
#include "store/postgres_migrations.h"

#define STEP_TIMEOUT_MS 600000u
#define LOCK_WAIT_MS 60000u
/* "deja" in ASCII, and a number for each thing that is locked. */
#define LOCK_KEY "(1684368993, 1)"

static const char make_schema[] =
    "CREATE TABLE IF NOT EXISTS deja_migrations ("
    "version integer PRIMARY KEY, name text NOT NULL,"
    " applied_at timestamptz NOT NULL DEFAULT now(), program text NOT NULL)";

uint32_t dj_postgres_schema_newest(void)
{
    return dj_pg_migration_count;
}

/* An unknown table is an answer here, and no error. */
static enum deja_status read_version(struct dj_postgres *postgres, uint32_t *out_version,
                                     enum dj_postgres_schema *out_schema, struct deja_error *error)
{
    PGresult *result = NULL;
    enum deja_status status = dj_pg_query(
        postgres, "SELECT to_regclass('deja_migrations') IS NOT NULL", NULL, &result, error);
    if (status != DEJA_OK)
        return status;
    bool is_there = PQntuples(result) == 1 && dj_pg_is_true(dj_pg_field(result, 0, 0));
    PQclear(result);
    *out_version = 0;
    *out_schema = DJ_POSTGRES_SCHEMA_NONE;
    if (!is_there)
        return DEJA_OK;
    status = dj_pg_query(postgres, dj_pg_version_sql, NULL, &result, error);
    if (status != DEJA_OK)
        return status;
    *out_schema = dj_pg_schema_of(result, out_version);
    PQclear(result);
    return DEJA_OK;
}

enum deja_status dj_postgres_look(struct dj_postgres *postgres, struct dj_postgres_state *out_state,
                                  struct deja_error *error)
{
    static const char sql[] =
        "SELECT coalesce((SELECT extversion FROM pg_extension WHERE extname = 'vector'), ''),"
        " coalesce((SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),"
        " ''), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)";
    struct dj_postgres_state state = {.schema_version = 0};
    PGresult *result = NULL;
    enum deja_status status = dj_pg_query(postgres, sql, NULL, &result, error);
    if (status != DEJA_OK)
        return status;
    if (PQntuples(result) == 1 && PQnfields(result) == 3) {
        dj_pg_copy_text(dj_pg_field(result, 0, 0), state.vector_version,
                        sizeof state.vector_version);
        dj_pg_copy_text(dj_pg_field(result, 0, 1), state.vector_available,
                        sizeof state.vector_available);
        state.is_superuser = dj_pg_is_true(dj_pg_field(result, 0, 2));
    }
    PQclear(result);
    status = read_version(postgres, &state.schema_version, &state.schema, error);
    if (status != DEJA_OK)
        return status;
    const char *host = PQhostaddr(postgres->conn);
    state.server_version = (uint32_t)PQserverVersion(postgres->conn);
    state.is_encrypted = PQsslInUse(postgres->conn) != 0;
    state.is_local = !host || !*host || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
    *out_state = state;
    return DEJA_OK;
}

/* ---- steps ---- */

static enum deja_status lock(struct dj_postgres *postgres, struct deja_error *error)
{
    char sql[160];
    snprintf(sql, sizeof sql, "SET lock_timeout = %u; SELECT pg_advisory_lock" LOCK_KEY,
             LOCK_WAIT_MS);
    enum deja_status status = dj_pg_exec(postgres, sql, LOCK_WAIT_MS * 2, NULL, error);
    if (status == DEJA_ERR_BUSY)
        return deja_error_set(error, DEJA_ERR_BUSY,
                              "another program migrates this database and has not ended for %u s",
                              LOCK_WAIT_MS / 1000);
    return status;
}

static enum deja_status make_home(struct dj_postgres *postgres, struct deja_error *error)
{
    struct dj_buf sql = {0};
    dj_buf_append_format(&sql, "CREATE SCHEMA IF NOT EXISTS \"%s\"; %s", postgres->schema,
                         make_schema);
    dj_buf_append_byte(&sql, '\0');
    enum deja_status status = sql.status;
    if (status == DEJA_OK)
        status = dj_pg_exec(postgres, sql.data, STEP_TIMEOUT_MS, NULL, error);
    dj_buf_fini(&sql);
    return status;
}

static enum deja_status explain_step(const struct dj_pg_migration *migration, uint32_t version,
                                     enum deja_status status, struct deja_error *error)
{
    struct deja_error reason = *error;
    if (strstr(reason.message, "extension \"vector\"") || strstr(reason.message, "vector.control"))
        return deja_error_set(error, status,
                              "%.240s\npgvector is wanted: install it on the server (Debian: "
                              "postgresql-17-pgvector), then as a superuser of this database: "
                              "CREATE EXTENSION vector",
                              reason.message);
    return deja_error_set(error, status, "step %u (%s): %.300s; nothing of it was done", version,
                          migration->name, reason.message);
}

static enum deja_status take_step(struct dj_postgres *postgres, uint32_t version, bool is_up,
                                  struct deja_error *error)
{
    const struct dj_pg_migration *migration = &dj_pg_migrations[version - 1];
    struct deja_error ignored;
    struct dj_buf sql = {0};
    dj_buf_append_format(&sql, "BEGIN;\n%s", is_up ? migration->up : migration->down);
    if (is_up) {
        dj_buf_append_format(&sql,
                             "INSERT INTO deja_migrations (version, name, program) "
                             "VALUES (%u, ",
                             version);
        dj_pg_append_literal(&sql, migration->name);
        dj_buf_append_text(&sql, ", 'deja " DEJA_VERSION "');\nCOMMIT");
    } else {
        dj_buf_append_format(&sql, "DELETE FROM deja_migrations WHERE version = %u;\nCOMMIT",
                             version);
    }
    dj_buf_append_byte(&sql, '\0');
    enum deja_status status = sql.status;
    if (status == DEJA_OK)
        status = dj_pg_exec(postgres, sql.data, STEP_TIMEOUT_MS, NULL, error);
    dj_buf_fini(&sql);
    if (status == DEJA_OK)
        return DEJA_OK;
    if (dj_pg_exec(postgres, "ROLLBACK", STEP_TIMEOUT_MS, NULL, &ignored) != DEJA_OK)
        return explain_step(migration, version, status, error); /* the server does it then */
    return explain_step(migration, version, status, error);
}

static enum deja_status refresh_statistics(struct dj_postgres *postgres, uint32_t version,
                                           struct deja_error *error)
{
    if (version == 0)
        return DEJA_OK;
    return dj_pg_exec(postgres, "ANALYZE cache_metadata; ANALYZE tombstones", STEP_TIMEOUT_MS, NULL,
                      error);
}

static enum deja_status take_steps(struct dj_postgres *postgres, uint32_t to, void *ctx,
                                   dj_postgres_step_fn *done, struct deja_error *error)
{
    uint32_t at = 0;
    enum dj_postgres_schema schema;
    enum deja_status status = make_home(postgres, error);
    if (status == DEJA_OK)
        status = read_version(postgres, &at, &schema, error);
    if (status != DEJA_OK)
        return status;
    if (schema == DJ_POSTGRES_SCHEMA_NEWER)
        return dj_pg_check_schema(schema, at, error);
    while (at != to) {
        uint32_t version = at < to ? at + 1 : at;
        status = take_step(postgres, version, at < to, error);
        if (status != DEJA_OK)
            return status;
        struct dj_postgres_migration migration = {
            .version = version, .name = dj_pg_migrations[version - 1].name, .is_applied = at < to};
        at = at < to ? at + 1 : at - 1;
        if (done)
            done(ctx, &migration);
    }
    return refresh_statistics(postgres, at, error);
}

enum deja_status dj_postgres_migrate(struct dj_postgres *postgres, uint32_t version, void *ctx,
                                     dj_postgres_step_fn *done, struct deja_error *error)
{
    struct deja_error ignored;
    if (version > dj_pg_migration_count)
        return deja_error_set(error, DEJA_ERR_INVALID,
                              "there is no version %u: this program knows 0 … %u", version,
                              dj_pg_migration_count);
    enum deja_status status = lock(postgres, error);
    if (status != DEJA_OK)
        return status;
    status = take_steps(postgres, version, ctx, done, error);
    if (dj_pg_exec(postgres, "SELECT pg_advisory_unlock" LOCK_KEY, STEP_TIMEOUT_MS, NULL,
                   &ignored) != DEJA_OK)
        return status; /* it goes with the connection */
    return status;
}

enum deja_status dj_postgres_migrations(struct dj_postgres *postgres, void *ctx,
                                        dj_postgres_step_fn *each, struct deja_error *error)
{
    int64_t *applied_ms = dj_alloc_zeroed(dj_pg_migration_count, sizeof *applied_ms);
    uint32_t at = 0;
    enum dj_postgres_schema schema;
    PGresult *result = NULL;
    enum deja_status status = applied_ms ? read_version(postgres, &at, &schema, error)
                                         : deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    if (status == DEJA_OK && at > 0)
        status = dj_pg_query(postgres, "SELECT version, applied_at FROM deja_migrations", NULL,
                             &result, error);
    for (int i = 0; status == DEJA_OK && i < PQntuples(result); i++) {
        uint32_t version = 0;
        if (dj_pg_read_u32(dj_pg_field(result, i, 0), &version) && version > 0 &&
            version <= dj_pg_migration_count &&
            !dj_pg_read_time(dj_pg_field(result, i, 1), &applied_ms[version - 1]))
            applied_ms[version - 1] = 0;
    }
    for (uint32_t i = 0; status == DEJA_OK && i < dj_pg_migration_count; i++)
        each(ctx, &(struct dj_postgres_migration){.version = i + 1,
                                                  .name = dj_pg_migrations[i].name,
                                                  .is_applied = i < at,
                                                  .applied_ms = applied_ms[i]});
    PQclear(result);
    dj_free(applied_ms);
    return status;
}
