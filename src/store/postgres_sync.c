/* store/postgres_sync.c - a connection for tools, start-up and the upkeep's thread: it blocks, up
 * to its deadline or until its owner stops.
 */
#include "store/postgres_sync.h"

#include <errno.h>
#include <poll.h>

#include "base/alloc.h"

#define CONNECT_TIMEOUT_MS 5000u
#define TIMEOUT_MS 30000u
/* How late a stop is seen. */
#define SLICE_MS 100

static bool is_stopped(const struct dj_postgres *postgres)
{
    return postgres->is_stopping && atomic_load(postgres->is_stopping);
}

static enum deja_status give_up(const struct dj_postgres *postgres, struct deja_error *error)
{
    return is_stopped(postgres)
               ? deja_error_set(error, DEJA_ERR_CANCELLED, "stopped")
               : deja_error_set(error, DEJA_ERR_TIMEOUT, "PostgreSQL: the server does not answer");
}

/* until_us 0: no end. DEJA_ERR_TIMEOUT, DEJA_ERR_CANCELLED: told in error. */
static enum deja_status wait_for(struct dj_postgres *postgres, short events, uint64_t until_us,
                                 struct deja_error *error)
{
    for (;;) {
        struct pollfd fd = {.fd = PQsocket(postgres->conn), .events = events};
        int code = poll(&fd, 1, SLICE_MS);
        if (code > 0)
            return DEJA_OK;
        if (code < 0 && errno != EINTR)
            return deja_error_set(error, DEJA_ERR_IO, "PostgreSQL: the connection broke");
        if (is_stopped(postgres) || (until_us && dj_clock_monotonic_us() > until_us))
            return give_up(postgres, error);
    }
}

static void on_notice(void *ctx, const char *message)
{
    (void)ctx;
    (void)message;
}

static enum deja_status connect_up(struct dj_postgres *postgres, struct deja_error *error)
{
    uint64_t until_us =
        dj_clock_monotonic_us() + (uint64_t)postgres->options.connect_timeout_ms * 1000;
    short events = POLLOUT;
    for (;;) {
        enum deja_status status = wait_for(postgres, events, until_us, error);
        if (status != DEJA_OK)
            return status;
        switch (PQconnectPoll(postgres->conn)) {
        case PGRES_POLLING_OK:
            return DEJA_OK;
        case PGRES_POLLING_READING:
            events = POLLIN;
            break;
        case PGRES_POLLING_WRITING:
            events = POLLOUT;
            break;
        default:
            return dj_pg_explain(PQerrorMessage(postgres->conn), error);
        }
    }
}

static enum deja_status begin_session(struct dj_postgres *postgres, struct deja_error *error)
{
    struct dj_buf sql = {0};
    enum deja_status status = connect_up(postgres, error);
    dj_pg_session_sql(&postgres->options, postgres->schema, &sql);
    dj_buf_append_byte(&sql, '\0');
    if (status == DEJA_OK && sql.status != DEJA_OK)
        status = deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    if (status == DEJA_OK)
        status = dj_pg_exec(postgres, sql.data, TIMEOUT_MS, NULL, error);
    dj_buf_fini(&sql);
    return status;
}

enum deja_status dj_postgres_connect(const struct dj_postgres_options *options,
                                     struct dj_postgres **out_postgres, struct deja_error *error)
{
    return dj_pg_connect(options, NULL, out_postgres, error);
}

enum deja_status dj_pg_connect(const struct dj_postgres_options *options,
                               const atomic_bool *is_stopping, struct dj_postgres **out_postgres,
                               struct deja_error *error)
{
    const char *keywords[DJ_PG_CONNECT_PARAMS_MAX];
    const char *values[DJ_PG_CONNECT_PARAMS_MAX];
    struct dj_postgres *postgres = dj_alloc_zeroed(1, sizeof *postgres);
    if (!postgres)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    postgres->options = *options;
    postgres->options.timeout_ms = 0; /* what is done here may take long */
    postgres->options.is_sync = true;
    postgres->is_stopping = is_stopping;
    if (!postgres->options.connect_timeout_ms)
        postgres->options.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    enum deja_status status = dj_pg_check_options(options, postgres->schema, error);
    if (status != DEJA_OK)
        goto done;
    dj_pg_connect_params(options, keywords, values);
    postgres->conn = PQconnectStartParams(keywords, values, 1);
    if (!postgres->conn) {
        status = deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
        goto done;
    }
    PQsetNoticeProcessor(postgres->conn, on_notice, NULL);
    status = PQstatus(postgres->conn) == CONNECTION_BAD
                 ? dj_pg_explain(PQerrorMessage(postgres->conn), error)
                 : begin_session(postgres, error);
done:
    if (status != DEJA_OK) {
        dj_postgres_disconnect(postgres);
        return status;
    }
    *out_postgres = postgres;
    return DEJA_OK;
}

void dj_postgres_disconnect(struct dj_postgres *postgres)
{
    if (!postgres)
        return;
    if (postgres->conn)
        PQfinish(postgres->conn);
    dj_free(postgres);
}

/* ---- statements ---- */

static enum deja_status sent(struct dj_postgres *postgres, uint64_t until_us,
                             struct deja_error *error)
{
    for (;;) {
        int left = PQflush(postgres->conn);
        if (left < 0)
            return dj_pg_explain(PQerrorMessage(postgres->conn), error);
        if (left == 0)
            return DEJA_OK;
        enum deja_status status = wait_for(postgres, POLLIN | POLLOUT, until_us, error);
        if (status != DEJA_OK)
            return status;
        if (PQconsumeInput(postgres->conn) != 1)
            return dj_pg_explain(PQerrorMessage(postgres->conn), error);
    }
}

/* The last result, or the first that says what went wrong. */
static enum deja_status collect(struct dj_postgres *postgres, uint64_t until_us,
                                PGresult **out_result, struct deja_error *error)
{
    PGresult *last = NULL;
    enum deja_status status = DEJA_OK;
    for (;;) {
        while (status == DEJA_OK && PQisBusy(postgres->conn)) {
            status = wait_for(postgres, POLLIN, until_us, error);
            if (status == DEJA_OK && PQconsumeInput(postgres->conn) != 1)
                status = dj_pg_explain(PQerrorMessage(postgres->conn), error);
        }
        if (PQisBusy(postgres->conn))
            break; /* the connection is of no more use */
        PGresult *result = PQgetResult(postgres->conn);
        if (!result)
            break;
        enum deja_status found = dj_pg_status_of(result);
        if (found != DEJA_OK && status == DEJA_OK)
            status =
                deja_error_set(error, found, "PostgreSQL: %.300s", PQresultErrorMessage(result));
        PQclear(last);
        last = result;
    }
    if (status == DEJA_OK && !last)
        status = dj_pg_explain(PQerrorMessage(postgres->conn), error);
    if (status == DEJA_OK && out_result)
        *out_result = last;
    else
        PQclear(last);
    return status;
}

static enum deja_status finish(struct dj_postgres *postgres, int is_sent, uint32_t timeout_ms,
                               PGresult **out_result, struct deja_error *error)
{
    uint64_t until_us = timeout_ms ? dj_clock_monotonic_us() + (uint64_t)timeout_ms * 1000 : 0;
    if (is_sent != 1)
        return dj_pg_explain(PQerrorMessage(postgres->conn), error);
    enum deja_status status = sent(postgres, until_us, error);
    return status == DEJA_OK ? collect(postgres, until_us, out_result, error) : status;
}

enum deja_status dj_pg_exec(struct dj_postgres *postgres, const char *sql, uint32_t timeout_ms,
                            PGresult **out_result, struct deja_error *error)
{
    return finish(postgres, PQsendQuery(postgres->conn, sql), timeout_ms, out_result, error);
}

enum deja_status dj_pg_query(struct dj_postgres *postgres, const char *sql,
                             struct dj_pg_params *params, PGresult **out_result,
                             struct deja_error *error)
{
    const char *values[DJ_PG_PARAMS_MAX] = {NULL};
    int formats[DJ_PG_PARAMS_MAX] = {0};
    int count = params ? params->count : 0;
    if (params && params->bytes.status != DEJA_OK) {
        enum deja_status status = params->bytes.status;
        dj_buf_fini(&params->bytes);
        return deja_error_set(error, status, "out of memory");
    }
    for (int i = 0; i < count; i++) {
        values[i] = params->lens[i] < 0 ? NULL : params->bytes.data + params->offsets[i];
        formats[i] = 1;
    }
    int is_sent = PQsendQueryParams(postgres->conn, sql, count, NULL, values,
                                    params ? params->lens : NULL, formats, 1);
    if (params)
        dj_buf_fini(&params->bytes);
    return finish(postgres, is_sent,
                  postgres->options.timeout_ms ? postgres->options.timeout_ms : TIMEOUT_MS,
                  out_result, error);
}
