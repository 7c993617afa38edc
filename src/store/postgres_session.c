/* store/postgres_session.c - what every connection begins with: where to, settings, which schema.
 */
#include "store/postgres_sync.h"
#include "store/postgres_migrations.h"

#define SCHEMA_DEFAULT "deja"
/* Of 1 … 1,000: how many candidates the ANN index looks at together. */
#define EF_SEARCH "200"
/* Where a tenant has few of an index's vectors, it goes on until it met so many. */
#define SCAN_TUPLES_MAX "40000"

const char dj_pg_version_sql[] = "SELECT coalesce(max(version), 0) FROM deja_migrations";

bool dj_pg_schema_name(const char *text, char out_schema[DJ_PG_SCHEMA_BYTES])
{
    if (!text || !*text)
        text = SCHEMA_DEFAULT;
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (text[len] != '\0' || len >= DJ_PG_SCHEMA_BYTES || (text[0] >= '0' && text[0] <= '9') ||
        strncmp(text, "pg_", 3) == 0)
        return false;
    memcpy(out_schema, text, len + 1);
    return true;
}

void dj_pg_connect_params(const struct dj_postgres_options *options,
                          const char *keywords[DJ_PG_CONNECT_PARAMS_MAX],
                          const char *values[DJ_PG_CONNECT_PARAMS_MAX])
{
    size_t count = 0;
    keywords[count] = "application_name"; /* first, so that the url may name another */
    values[count++] = "deja";
    keywords[count] = "gssencmode"; /* libpq would look for a Kerberos ticket at each connection */
    values[count++] = "disable";
    keywords[count] = "dbname"; /* with expand_dbname: a whole conninfo or URI */
    values[count++] = options->url;
    if (options->password && *options->password) {
        keywords[count] = "password";
        values[count++] = options->password;
    }
    keywords[count] = "client_encoding";
    values[count++] = "UTF8";
    keywords[count] = NULL;
    values[count] = NULL;
}

void dj_pg_session_sql(const struct dj_postgres_options *options, const char *schema,
                       struct dj_buf *out)
{
    dj_buf_append_format(
        out,
        "SELECT set_config('search_path', '\"%s\", ' || coalesce((SELECT quote_ident(n.nspname)"
        " FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = 'vector'), 'public'), false),"
        " set_config('client_min_messages', 'error', false),"
        " set_config('synchronous_commit', '%s', false),"
        " set_config('statement_timeout', '%u', false),"
        " set_config('deja.history_max', '%u', false),"
        " set_config('hnsw.ef_search', '" EF_SEARCH "', false),"
        " set_config('hnsw.iterative_scan', 'strict_order', false),"
        " set_config('hnsw.max_scan_tuples', '" SCAN_TUPLES_MAX "', false)",
        schema, options->is_sync ? "on" : "off", options->timeout_ms, options->history_max);
}

enum dj_postgres_schema dj_pg_schema_of(const PGresult *result, uint32_t *out_version)
{
    uint32_t version = 0;
    *out_version = 0;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        PQnfields(result) != 1 ||
        !dj_pg_read_u32((struct dj_pg_field){deja_slice(PQgetvalue(result, 0, 0),
                                                        (size_t)PQgetlength(result, 0, 0)),
                                             PQgetisnull(result, 0, 0) != 0},
                        &version) ||
        version == 0)
        return DJ_POSTGRES_SCHEMA_NONE;
    *out_version = version;
    return version < dj_pg_migration_count   ? DJ_POSTGRES_SCHEMA_OLD
           : version > dj_pg_migration_count ? DJ_POSTGRES_SCHEMA_NEWER
                                             : DJ_POSTGRES_SCHEMA_CURRENT;
}

enum deja_status dj_postgres_check(const struct dj_postgres_state *state, struct deja_error *error)
{
    return dj_pg_check_schema(state->schema, state->schema_version, error);
}

enum deja_status dj_pg_check_schema(enum dj_postgres_schema schema, uint32_t version,
                                    struct deja_error *error)
{
    switch (schema) {
    case DJ_POSTGRES_SCHEMA_CURRENT:
        return DEJA_OK;
    case DJ_POSTGRES_SCHEMA_NONE:
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "PostgreSQL: the database has no tables of Deja yet; run: deja "
                              "migrate up");
    case DJ_POSTGRES_SCHEMA_OLD:
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "PostgreSQL: the schema is at version %u and this program wants %u; "
                              "run: deja migrate up",
                              version, dj_pg_migration_count);
    case DJ_POSTGRES_SCHEMA_NEWER:
        break;
    }
    return deja_error_set(
        error, DEJA_ERR_MISMATCH,
        "PostgreSQL: the schema is at version %u and this program knows %u; "
        "install a newer Deja here, or run with the newer one: deja migrate down --to %u",
        version, dj_pg_migration_count, dj_pg_migration_count);
}
