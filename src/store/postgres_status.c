/* store/postgres_status.c - what libpq and the server say, in our words. Codes end here. */
#include "store/postgres_internal.h"

#include "base/slice.h"

static bool is_of_class(const char *code, const char *class)
{
    return strncmp(code, class, strlen(class)) == 0;
}

enum deja_status dj_pg_status_of(const PGresult *result)
{
    ExecStatusType kind = PQresultStatus(result);
    if (kind == PGRES_TUPLES_OK || kind == PGRES_COMMAND_OK || kind == PGRES_PIPELINE_SYNC)
        return DEJA_OK;
    const char *code = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    if (!code)
        return DEJA_ERR_IO;
    if (is_of_class(code, "57014") || is_of_class(code, "25P03"))
        return DEJA_ERR_TIMEOUT; /* statement_timeout, idle transaction */
    if (is_of_class(code, "40") || is_of_class(code, "55") || is_of_class(code, "53"))
        return DEJA_ERR_BUSY; /* deadlock, lock, memory or disk of the server */
    if (is_of_class(code, "28") || is_of_class(code, "42501"))
        return DEJA_ERR_DENIED;
    if (is_of_class(code, "42") || is_of_class(code, "3F") || is_of_class(code, "26"))
        return DEJA_ERR_CONFIG; /* no such table, function, type: not our schema */
    if (is_of_class(code, "54"))
        return DEJA_ERR_LIMIT;
    if (is_of_class(code, "22") || is_of_class(code, "23"))
        return DEJA_ERR_INVALID;
    if (is_of_class(code, "XX001") || is_of_class(code, "XX002"))
        return DEJA_ERR_CORRUPT;
    return DEJA_ERR_IO;
}

/* The first line of the server's text, without the file and line of its source. */
static int first_line(const char *text)
{
    size_t len = text ? strcspn(text, "\n") : 0;
    return len < 240 ? (int)len : 240;
}

enum deja_status dj_pg_explain(const char *text, struct deja_error *error)
{
    static const struct {
        const char *said;
        enum deja_status status;
        const char *cure;
    } known[] = {
        {"password authentication failed", DEJA_ERR_DENIED,
         "check user and password in l3.postgres.url, l3.postgres.password or PGPASSFILE"},
        {"no password supplied", DEJA_ERR_DENIED,
         "give one in l3.postgres.password, PGPASSWORD or PGPASSFILE"},
        {"no pg_hba.conf entry", DEJA_ERR_DENIED,
         "the server's pg_hba.conf must let this user in from here (sslmode=require may be "
         "wanted)"},
        {"does not support SSL", DEJA_ERR_DENIED,
         "set up TLS on the server, or sslmode=prefer in l3.postgres.url on a trusted network"},
        {"certificate", DEJA_ERR_DENIED,
         "check sslrootcert and sslmode in l3.postgres.url against the server's certificate"},
        {"does not exist", DEJA_ERR_CONFIG, "create it, or name another in l3.postgres.url"},
        {"too many clients", DEJA_ERR_BUSY,
         "raise max_connections of the server or lower l3.postgres.pool"},
        {"remaining connection slots", DEJA_ERR_BUSY,
         "raise max_connections of the server or lower l3.postgres.pool"},
        {"could not translate host name", DEJA_ERR_IO, "check the host in l3.postgres.url"},
        {"Connection refused", DEJA_ERR_IO,
         "start the server, or check host and port in l3.postgres.url"},
        {"starting up", DEJA_ERR_IO, "it is tried again"},
    };
    struct deja_slice said = deja_slice_text(text);
    if (!said.len)
        return deja_error_set(error, DEJA_ERR_IO, "PostgreSQL closed the connection");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (dj_slice_contains(said, known[i].said))
            return deja_error_set(error, known[i].status, "PostgreSQL: %.*s; %s", first_line(text),
                                  text, known[i].cure);
    return deja_error_set(error, DEJA_ERR_IO, "PostgreSQL: %.*s", first_line(text), text);
}
