/* tools/doctor_postgres.c - the PostgreSQL tier: is it there, how safely is it reached, its schema.
 */
#include "tools/doctor_internal.h"

static void look_at_security(const struct dj_postgres_state *state, struct dj_findings *findings)
{
    if (state->is_encrypted)
        dj_findings_add(findings, DJ_FINDING_OK, "postgres security", "encrypted with TLS");
    else if (state->is_local)
        dj_findings_add(findings, DJ_FINDING_OK, "postgres security",
                        "not encrypted, on this machine");
    else
        dj_findings_add(findings, DJ_FINDING_WARN, "postgres security",
                        "not encrypted, over the network");
    if (!state->is_encrypted && !state->is_local)
        dj_findings_advise(findings, "sslmode=verify-full and sslrootcert=FILE in l3.postgres.url");
    if (!state->is_superuser)
        return;
    dj_findings_add(findings, DJ_FINDING_WARN, "postgres role",
                    "a superuser, which it needs not be");
    dj_findings_advise(findings, "a role of its own that owns the schema; a superuser only for "
                                 "CREATE EXTENSION vector");
}

static void look_at_schema(const struct dj_postgres_state *state, struct dj_findings *findings)
{
    struct deja_error error = {{0}};
    bool is_creatable = *state->vector_available != '\0';
    if (*state->vector_version)
        dj_findings_add(findings, DJ_FINDING_OK, "pgvector", "%s", state->vector_version);
    else
        dj_findings_add(findings, is_creatable ? DJ_FINDING_WARN : DJ_FINDING_FAIL, "pgvector",
                        is_creatable ? "not created in this database"
                                     : "not installed on the server");
    if (!*state->vector_version)
        dj_findings_advise(findings, is_creatable
                                         ? "deja migrate up, or as a superuser: CREATE EXTENSION "
                                           "vector"
                                         : "install it there (Debian: postgresql-17-pgvector), "
                                           "then deja migrate up");
    if (dj_postgres_check(state, &error) == DEJA_OK)
        dj_findings_add(findings, DJ_FINDING_OK, "postgres schema", "version %u",
                        state->schema_version);
    else
        dj_findings_add(
            findings, state->schema == DJ_POSTGRES_SCHEMA_NONE ? DJ_FINDING_WARN : DJ_FINDING_FAIL,
            "postgres schema", "%s", error.message);
}

void dj_doctor_look_at_postgres(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    struct deja_error error = {{0}};
    struct dj_postgres *postgres = NULL;
    struct dj_postgres_state state;
    if (!facts->postgres)
        return;
    enum deja_status status = dj_postgres_connect(facts->postgres, &postgres, &error);
    if (status == DEJA_OK)
        status = dj_postgres_look(postgres, &state, &error);
    dj_postgres_disconnect(postgres);
    if (status != DEJA_OK) {
        dj_findings_add(findings, DJ_FINDING_FAIL, "postgres", "%s", error.message);
        return;
    }
    dj_findings_add(findings, DJ_FINDING_OK, "postgres", "PostgreSQL %u.%u answers",
                    state.server_version / 10000, state.server_version % 10000);
    look_at_security(&state, findings);
    look_at_schema(&state, findings);
}
