/* store/postgres_link.c - one connection in pipeline mode.
 *
 *   CLOSED --a call waits, pause over--> CONNECTING --libpq is done--> GREETING --all prepared-->
 *   READY;  anything that goes wrong --> CLOSED, what is in flight fails, the pause doubles
 *
 * (1) Each statement or group of one call is followed by a sync; the answer to the sync ends the
 * call. (2) A connection that says nothing for timeout_ms while somebody waits is given up. (3) It
 * is also given up when more bytes came without a result than the call at the head may take: libpq
 * keeps them in memory. (4) The poll watches the descriptor libpq names; while connecting that may
 * change.
 */
#include "store/postgres_internal.h"

#include <assert.h>
#include <sys/ioctl.h>

#define IN_FLIGHT_MAX 64u
#define PAUSE_MS_MIN 50u
#define PAUSE_MS_MAX 2000u
/* libpq reads ahead; what it may do beyond one reply. */
#define READ_AHEAD_BYTES ((size_t)1 << 20)

static_assert(DJ_PG_STATEMENT_COUNT <= 26, "a letter names each prepared statement");

static void on_ready(void *ctx, int events);

static uint64_t now_us(const struct dj_pg_link *link)
{
    return dj_loop_monotonic_us(link->pg->loop);
}

static void on_notice(void *ctx, const char *message)
{
    (void)ctx; /* libpq would print it */
    (void)message;
}

static void watch(struct dj_pg_link *link, int events)
{
    int fd = PQsocket(link->conn);
    if (fd < 0 || (link->poll && fd == link->fd && events == link->events))
        return;
    if (link->poll && fd != link->fd) {
        dj_poll_close(link->poll);
        link->poll = NULL;
    }
    if (!link->poll && dj_poll_open(link->pg->loop, fd, link, on_ready, &link->poll) != DEJA_OK) {
        link->poll = NULL;
        return; /* the tick gives it up after a while */
    }
    link->fd = fd;
    link->events = events;
    dj_poll_set(link->poll, events);
}

static struct dj_pg_call *head_of(const struct dj_pg_link *link)
{
    return DJ_CONTAINER(link->in_flight.next, struct dj_pg_call, node);
}

/* Commands of the call, each with a result of its own. */
static uint32_t results_of(const struct dj_pg_call *call)
{
    return call->is_locked ? 2 : 1;
}

void dj_pg_link_close(struct dj_pg_link *link)
{
    dj_poll_close(link->poll); /* before the descriptor */
    link->poll = NULL;
    if (link->conn)
        PQfinish(link->conn);
    link->conn = NULL;
    if (link->state == DJ_PG_READY)
        atomic_fetch_sub(&link->pg->link_count, 1);
    link->state = DJ_PG_CLOSED;
}

/* text: libpq's, copied before the connection goes; NULL: trouble has been said. */
void dj_pg_link_fail(struct dj_pg_link *link, enum deja_status status, const char *text)
{
    struct deja_error error = {{0}};
    struct dj_list lost;
    if (text) {
        enum deja_status found = dj_pg_explain(text, &error);
        status = status == DEJA_ERR_IO ? found : status;
        dj_pg_set_trouble(link->pg, &error);
    }
    link->pg->last_failure = status;
    link->pause_ms = link->pause_ms * 2 < PAUSE_MS_MIN   ? PAUSE_MS_MIN
                     : link->pause_ms * 2 > PAUSE_MS_MAX ? PAUSE_MS_MAX
                                                         : link->pause_ms * 2;
    link->open_after_us = now_us(link) + (uint64_t)link->pause_ms * 1000;
    dj_pg_link_close(link);
    dj_list_init(&lost);
    while (!dj_list_is_empty(&link->in_flight)) {
        struct dj_list *node = link->in_flight.next;
        dj_list_remove(node);
        dj_list_push_back(&lost, node);
    }
    link->in_flight_count = 0;
    while (!dj_list_is_empty(&lost)) {
        struct dj_list *node = lost.next;
        dj_list_remove(node);
        dj_pg_answer(DJ_CONTAINER(node, struct dj_pg_call, node), status);
    }
}

/* ---- sending ---- */

bool dj_pg_link_can_take(const struct dj_pg_link *link)
{
    return link->state == DJ_PG_READY && link->in_flight_count < IN_FLIGHT_MAX;
}

static bool send_params(PGconn *conn, const struct dj_pg_call *call)
{
    const struct dj_pg_params *params = &call->params;
    const char *values[DJ_PG_PARAMS_MAX];
    int formats[DJ_PG_PARAMS_MAX];
    for (int i = 0; i < params->count; i++) {
        values[i] = params->lens[i] < 0
                        ? NULL
                        : (params->bytes.data ? params->bytes.data + params->offsets[i] : "");
        formats[i] = 1;
    }
    if (call->statement == DJ_PG_ANN)
        return PQsendQueryParams(conn, call->sql.data, params->count, NULL, values, params->lens,
                                 formats, 1) == 1;
    char name[16] = "d";
    name[1] = (char)('a' + (int)call->statement);
    return PQsendQueryPrepared(conn, name, params->count, values, params->lens, formats, 1) == 1;
}

static bool send_lock(PGconn *conn, const struct dj_pg_call *call)
{
    struct dj_buf bytes = {0};
    dj_pg_put_u64(&bytes, dj_store_key_hash(&call->key));
    const char *value = bytes.data;
    int len = 8;
    int format = 1;
    char name[3] = "d";
    name[1] = (char)('a' + DJ_PG_LOCK);
    bool is_sent = bytes.status == DEJA_OK &&
                   PQsendQueryPrepared(conn, name, 1, &value, &len, &format, 1) == 1;
    dj_buf_fini(&bytes);
    return is_sent;
}

static void begin_head(struct dj_pg_link *link)
{
    link->results_left = results_of(head_of(link));
    link->unread_bytes = 0;
    link->heard_us = now_us(link);
}

enum deja_status dj_pg_link_send(struct dj_pg_link *link, struct dj_pg_call *call)
{
    assert(link->state == DJ_PG_READY);
    if ((call->is_locked && !send_lock(link->conn, call)) || !send_params(link->conn, call) ||
        PQpipelineSync(link->conn) != 1) {
        /* Part of it may be on its way, and how much is not known. */
        dj_pg_link_fail(link, DEJA_ERR_IO, PQerrorMessage(link->conn));
        return DEJA_ERR_IO;
    }
    dj_list_push_back(&link->in_flight, &call->node);
    if (link->in_flight_count++ == 0)
        begin_head(link);
    dj_buf_fini(&call->params.bytes); /* libpq has a copy */
    return DEJA_OK;
}

void dj_pg_link_flush(struct dj_pg_link *link)
{
    if (link->state != DJ_PG_READY && link->state != DJ_PG_GREETING)
        return;
    int left = PQflush(link->conn);
    if (left < 0) {
        dj_pg_link_fail(link, DEJA_ERR_IO, PQerrorMessage(link->conn));
        return;
    }
    watch(link, DJ_POLL_READ | (left ? DJ_POLL_WRITE : 0));
}

/* ---- connecting ---- */

void dj_pg_link_open(struct dj_pg_link *link)
{
    const char *keywords[DJ_PG_CONNECT_PARAMS_MAX];
    const char *values[DJ_PG_CONNECT_PARAMS_MAX];
    assert(link->state == DJ_PG_CLOSED && !link->conn);
    dj_pg_connect_params(&link->pg->options, keywords, values);
    link->state = DJ_PG_CONNECTING;
    link->heard_us = now_us(link);
    link->trouble.message[0] = '\0';
    link->conn = PQconnectStartParams(keywords, values, 1);
    if (!link->conn || PQstatus(link->conn) == CONNECTION_BAD) {
        dj_pg_link_fail(link, DEJA_ERR_IO,
                        link->conn ? PQerrorMessage(link->conn) : "out of memory");
        return;
    }
    PQsetNoticeProcessor(link->conn, on_notice, NULL);
    watch(link, DJ_POLL_WRITE);
}

static bool send_greeting(struct dj_pg_link *link)
{
    struct dj_buf sql = {0};
    PGconn *conn = link->conn;
    dj_pg_session_sql(&link->pg->options, link->pg->schema, &sql);
    dj_buf_append_byte(&sql, '\0');
    bool is_sent = sql.status == DEJA_OK && PQsetnonblocking(conn, 1) == 0 &&
                   PQenterPipelineMode(conn) == 1 &&
                   PQsendQueryParams(conn, sql.data, 0, NULL, NULL, NULL, NULL, 1) == 1 &&
                   PQpipelineSync(conn) == 1 &&
                   PQsendQueryParams(conn, dj_pg_version_sql, 0, NULL, NULL, NULL, NULL, 1) == 1 &&
                   PQpipelineSync(conn) == 1;
    dj_buf_fini(&sql);
    for (int i = 0; is_sent && i < DJ_PG_STATEMENT_COUNT; i++) {
        char name[3] = "d";
        name[1] = (char)('a' + i);
        is_sent =
            PQsendPrepare(conn, name, dj_pg_sql[i], 0, NULL) == 1 && PQpipelineSync(conn) == 1;
    }
    link->greetings_left = 2 + DJ_PG_STATEMENT_COUNT;
    return is_sent;
}

static void on_connecting(struct dj_pg_link *link)
{
    switch (PQconnectPoll(link->conn)) {
    case PGRES_POLLING_READING:
        watch(link, DJ_POLL_READ);
        return;
    case PGRES_POLLING_WRITING:
        watch(link, DJ_POLL_WRITE);
        return;
    case PGRES_POLLING_OK:
        break;
    default:
        dj_pg_link_fail(link, DEJA_ERR_IO, PQerrorMessage(link->conn));
        return;
    }
    link->state = DJ_PG_GREETING;
    link->heard_us = now_us(link);
    link->unread_bytes = 0;
    if (!send_greeting(link)) {
        dj_pg_link_fail(link, DEJA_ERR_IO, PQerrorMessage(link->conn));
        return;
    }
    dj_pg_link_flush(link);
}

/* ---- reading ---- */

static void on_greeting_result(struct dj_pg_link *link, const PGresult *result)
{
    uint32_t version = 0;
    if (link->greetings_left == 1 + DJ_PG_STATEMENT_COUNT) {
        enum dj_postgres_schema schema = dj_pg_schema_of(result, &version);
        if (dj_pg_check_schema(schema, version, &link->trouble) == DEJA_OK)
            link->trouble.message[0] = '\0';
    } else if (dj_pg_status_of(result) != DEJA_OK && !link->trouble.message[0]) {
        const char *text = PQresultErrorMessage(result);
        deja_error_set(&link->trouble, DEJA_ERR_CONFIG,
                       "PostgreSQL: %.*s; the schema is not what this program made: deja migrate "
                       "status",
                       (int)strcspn(text, "\n"), text);
    }
}

static void on_greeted(struct dj_pg_link *link)
{
    if (link->trouble.message[0]) {
        dj_pg_set_trouble(link->pg, &link->trouble);
        dj_pg_link_fail(link, DEJA_ERR_CONFIG, NULL);
        return;
    }
    link->state = DJ_PG_READY;
    link->pause_ms = 0;
    atomic_fetch_add(&link->pg->link_count, 1);
    dj_pg_set_trouble(link->pg, NULL);
    dj_pg_dispatch(link->pg);
}

/* The sync's answer: the call at the head is over, or has another statement to send. */
static void on_sync(struct dj_pg_link *link)
{
    struct dj_pg_call *call = head_of(link);
    dj_list_remove(&call->node);
    link->in_flight_count--;
    if (link->in_flight_count)
        begin_head(link);
    if (call->status == DEJA_OK && call->is_again) {
        call->is_again = false;
        dj_list_push_front(&link->pg->waiting, &call->node);
        return;
    }
    dj_pg_answer(call, call->status);
}

static void on_call_result(struct dj_pg_link *link, const PGresult *result)
{
    struct dj_pg_call *call = head_of(link);
    enum deja_status status = dj_pg_status_of(result);
    if (link->results_left == 0) { /* two answers to one statement */
        call->status = DEJA_ERR_CORRUPT;
        return;
    }
    link->results_left--;
    if (status != DEJA_OK) {
        if (call->status == DEJA_OK && PQresultStatus(result) != PGRES_PIPELINE_ABORTED)
            call->status = status;
        return;
    }
    if (link->results_left == 0 && call->status == DEJA_OK)
        call->is_again = !call->on_reply(call, result);
}

/* false: the link has failed. */
static bool take_result(struct dj_pg_link *link, PGresult *result)
{
    ExecStatusType kind = PQresultStatus(result);
    bool is_greeting = link->state == DJ_PG_GREETING;
    link->unread_bytes = 0;
    if (kind == PGRES_COPY_IN || kind == PGRES_COPY_OUT || kind == PGRES_COPY_BOTH) {
        PQclear(result);
        dj_pg_link_fail(link, DEJA_ERR_CORRUPT, "the server answers what was not asked");
        return false;
    }
    if (kind != PGRES_PIPELINE_SYNC) {
        if (is_greeting)
            on_greeting_result(link, result);
        else
            on_call_result(link, result);
        PQclear(result);
        return true;
    }
    PQclear(result);
    if (!is_greeting)
        on_sync(link);
    else if (--link->greetings_left == 0)
        on_greeted(link);
    return link->state != DJ_PG_CLOSED;
}

static bool awaits_results(const struct dj_pg_link *link)
{
    return link->state == DJ_PG_GREETING || (link->state == DJ_PG_READY && link->in_flight_count);
}

static void read_results(struct dj_pg_link *link)
{
    uint32_t nulls = 0;
    while (awaits_results(link) && !PQisBusy(link->conn)) {
        PGresult *result = PQgetResult(link->conn);
        if (PQstatus(link->conn) == CONNECTION_BAD) {
            PQclear(result);
            dj_pg_link_fail(link, DEJA_ERR_IO, PQerrorMessage(link->conn));
            return;
        }
        if (!result) { /* ends the results of a statement; twice: nothing more to read */
            if (++nulls > 1)
                break;
            continue;
        }
        nulls = 0;
        if (!take_result(link, result))
            return;
    }
    if (link->state == DJ_PG_READY)
        dj_pg_dispatch(link->pg);
}

static void on_readable(struct dj_pg_link *link)
{
    int available = 0;
    size_t bytes_max = READ_AHEAD_BYTES;
    if (ioctl(link->fd, FIONREAD, &available) == 0 && available > 0)
        link->unread_bytes += (size_t)available;
    if (PQconsumeInput(link->conn) != 1) {
        dj_pg_link_fail(link, DEJA_ERR_IO, PQerrorMessage(link->conn));
        return;
    }
    link->heard_us = now_us(link);
    if (link->state == DJ_PG_READY && link->in_flight_count)
        bytes_max += head_of(link)->reply_bytes_max;
    read_results(link);
    if (link->state != DJ_PG_CLOSED && link->unread_bytes > bytes_max)
        dj_pg_link_fail(link, DEJA_ERR_CORRUPT, "the server sends more than was asked for");
}

static void on_ready(void *ctx, int events)
{
    struct dj_pg_link *link = ctx;
    if (link->state == DJ_PG_CLOSED)
        return;
    if (link->state == DJ_PG_CONNECTING) {
        on_connecting(link);
        return;
    }
    if (events < 0 || events & DJ_POLL_READ)
        on_readable(link);
    if (link->state == DJ_PG_GREETING || link->state == DJ_PG_READY)
        dj_pg_link_flush(link);
}

void dj_pg_link_tick(struct dj_pg_link *link, uint64_t time_us)
{
    bool is_connecting = link->state == DJ_PG_CONNECTING || link->state == DJ_PG_GREETING;
    uint64_t limit_ms =
        is_connecting ? link->pg->options.connect_timeout_ms : link->pg->options.timeout_ms;
    if (link->state == DJ_PG_CLOSED || (!is_connecting && !link->in_flight_count))
        return;
    if (time_us < link->heard_us + limit_ms * 1000)
        return;
    dj_pg_link_fail(link, DEJA_ERR_TIMEOUT,
                    is_connecting ? "the server does not finish the connection"
                                  : "the server does not answer");
}
