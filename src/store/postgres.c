/* store/postgres.c - the tier of PostgreSQL: options, the queue, the loop of its own.
 *
 * Life: open -> (calls, from any loop) -> close. The thread runs until close; a timer gives
 * connections up that say nothing, and lets waiting calls fail when no connection comes about.
 */
#include "store/postgres_internal.h"

#include <assert.h>

#define CONNECTIONS_DEFAULT 4u
#define QUEUE_DEFAULT 4096u
#define QUEUE_BYTES_DEFAULT ((uint64_t)256 << 20)
#define RECORD_BYTES_DEFAULT ((uint64_t)64 << 20)
#define CONNECT_TIMEOUT_MS_DEFAULT 5000u
#define TIMEOUT_MS_DEFAULT 10000u
#define EXACT_ROWS_DEFAULT 5000u
#define UPKEEP_MS_DEFAULT 60000u
#define TICK_MS 100u
#define CLOSE_MS_MAX 5000u
/* Another connection is opened when those that are have so much to do. */
#define BUSY_IN_FLIGHT 4u

/* ---- calls ---- */

struct dj_pg_call *dj_pg_call_create(struct dj_pg_store *pg, struct dj_loop *loop,
                                     enum dj_pg_statement statement, void *ctx)
{
    struct dj_pg_call *call = dj_alloc_zeroed(1, sizeof *call);
    if (!call)
        return NULL;
    dj_list_init(&call->node);
    call->pg = pg;
    call->loop = loop;
    call->statement = statement;
    call->ctx = ctx;
    call->reply_bytes_max = DJ_PG_REPLY_BYTES;
    return call;
}

void dj_pg_call_destroy(struct dj_pg_call *call)
{
    if (!call)
        return;
    dj_value_unref(call->value);
    dj_free(call->vector);
    dj_free(call->matches);
    dj_free(call->embedder_id);
    dj_buf_fini(&call->params.bytes);
    dj_buf_fini(&call->sql);
    dj_buf_fini(&call->counters);
    dj_free(call);
}

/* On the caller's loop. */
static void tell(void *ctx)
{
    struct dj_pg_call *call = ctx;
    struct dj_value *value = call->value;
    if (call->tell) {
        call->tell(call);
    } else if (call->got) {
        call->value = NULL; /* the callee's now */
        call->got(call->ctx, call->status, value);
    } else if (call->searched) {
        call->searched(call->ctx, call->status, call->matches, call->match_count);
    } else {
        call->done(call->ctx, call->status, call->status == DEJA_OK ? call->count : 0);
    }
    dj_pg_call_destroy(call);
}

void dj_pg_answer(struct dj_pg_call *call, enum deja_status status)
{
    struct dj_pg_store *pg = call->pg;
    call->status = status;
    if (status != DEJA_OK && call->got) {
        dj_value_unref(call->value);
        call->value = NULL;
    }
    if (status != DEJA_OK && call->page) /* a piece is whole or not at all */
        while (call->page->count > 0)
            dj_value_unref(call->page->values[--call->page->count]);
    if (status != DEJA_OK)
        call->match_count = 0;
    if (status != DEJA_OK && call->is_write)
        atomic_fetch_add(&pg->dropped, 1);
    atomic_fetch_sub(&pg->queued_bytes, call->bytes);
    atomic_fetch_sub(&pg->queued, 1);
    if (!call->loop) {
        dj_pg_call_destroy(call);
        return;
    }
    call->task = (struct dj_task){.run = tell, .ctx = call};
    dj_loop_post(call->loop, &call->task);
}

/* ---- the store's loop ---- */

static void fail_waiting(struct dj_pg_store *pg, enum deja_status status)
{
    while (!dj_list_is_empty(&pg->waiting)) {
        struct dj_list *node = pg->waiting.next;
        dj_list_remove(node);
        dj_pg_answer(DJ_CONTAINER(node, struct dj_pg_call, node), status);
    }
}

/* The ready link with the least to do, or NULL. */
static struct dj_pg_link *best_link(struct dj_pg_store *pg)
{
    struct dj_pg_link *best = NULL;
    for (uint32_t i = 0; i < pg->options.connections_max; i++)
        if (dj_pg_link_can_take(&pg->links[i]) &&
            (!best || pg->links[i].in_flight_count < best->in_flight_count))
            best = &pg->links[i];
    return best;
}

static bool is_coming(const struct dj_pg_store *pg)
{
    for (uint32_t i = 0; i < pg->options.connections_max; i++)
        if (pg->links[i].state != DJ_PG_CLOSED)
            return true;
    return false;
}

/* One at a time, so that a server that is down sees one attempt and not a crowd. */
static void open_another(struct dj_pg_store *pg)
{
    uint64_t now_us = dj_loop_monotonic_us(pg->loop);
    struct dj_pg_link *closed = NULL;
    for (uint32_t i = 0; i < pg->options.connections_max; i++) {
        struct dj_pg_link *link = &pg->links[i];
        if (link->state == DJ_PG_CONNECTING || link->state == DJ_PG_GREETING)
            return;
        if (link->state == DJ_PG_CLOSED && now_us < link->open_after_us && !pg->link_count)
            return; /* it failed just now, and the others would too */
        if (link->state == DJ_PG_CLOSED && now_us >= link->open_after_us && !closed)
            closed = link;
    }
    if (closed && !pg->is_stopping)
        dj_pg_link_open(closed);
}

void dj_pg_dispatch(struct dj_pg_store *pg)
{
    if (pg->is_dispatching) /* a link that fails or becomes ready calls again */
        return;
    pg->is_dispatching = true;
    while (!dj_list_is_empty(&pg->waiting)) {
        struct dj_pg_link *link = best_link(pg);
        if (!link)
            break;
        struct dj_pg_call *call = DJ_CONTAINER(pg->waiting.next, struct dj_pg_call, node);
        dj_list_remove(&call->node);
        enum deja_status status = DEJA_OK;
        if (call->statement == DJ_PG_PUT)
            status = dj_pg_prepare_put(call);
        if (status == DEJA_OK)
            status = dj_pg_link_send(link, call);
        if (status != DEJA_OK)
            dj_pg_answer(call, status);
    }
    for (uint32_t i = 0; i < pg->options.connections_max; i++)
        dj_pg_link_flush(&pg->links[i]);
    struct dj_pg_link *least = best_link(pg);
    if (!dj_list_is_empty(&pg->waiting) || (least && least->in_flight_count > BUSY_IN_FLIGHT))
        open_another(pg);
    if (!is_coming(pg))
        fail_waiting(pg,
                     pg->last_failure); /* promptly: the next call after the pause tries again */
    pg->is_dispatching = false;
}

static void on_flush(void *ctx)
{
    struct dj_pg_store *pg = ctx;
    pg->is_flush_posted = false;
    dj_pg_dispatch(pg);
}

/* What a turn brings goes out together: the dispatch is a turn later. */
static void on_call(void *ctx)
{
    struct dj_pg_call *call = ctx;
    struct dj_pg_store *pg = call->pg;
    dj_list_push_back(&pg->waiting, &call->node);
    if (pg->is_flush_posted)
        return;
    pg->is_flush_posted = true;
    pg->flush_task = (struct dj_task){.run = on_flush, .ctx = pg};
    dj_loop_post(pg->loop, &pg->flush_task);
}

enum deja_status dj_pg_submit(struct dj_pg_call *call)
{
    struct dj_pg_store *pg = call->pg;
    uint32_t queued = atomic_fetch_add(&pg->queued, 1);
    uint64_t bytes = atomic_fetch_add(&pg->queued_bytes, call->bytes);
    bool is_full = queued >= pg->options.queue_max ||
                   (bytes && bytes + call->bytes > pg->options.queue_bytes_max);
    if (is_full || call->params.bytes.status != DEJA_OK || call->sql.status != DEJA_OK) {
        atomic_fetch_sub(&pg->queued, 1);
        atomic_fetch_sub(&pg->queued_bytes, call->bytes);
        if (call->is_write)
            atomic_fetch_add(&pg->dropped, 1);
        dj_pg_call_destroy(call);
        return is_full ? DEJA_ERR_BUSY : DEJA_ERR_NOMEM;
    }
    call->task = (struct dj_task){.run = on_call, .ctx = call};
    dj_loop_post(pg->loop, &call->task);
    return DEJA_OK;
}

void dj_pg_set_trouble(struct dj_pg_store *pg, const struct deja_error *error)
{
    bool is_new;
    pthread_mutex_lock(&pg->trouble_mutex);
    is_new = strcmp(pg->trouble.message, error ? error->message : "") != 0;
    if (error)
        pg->trouble = *error;
    else
        pg->trouble.message[0] = '\0';
    pthread_mutex_unlock(&pg->trouble_mutex);
    if (is_new && pg->options.told)
        pg->options.told(pg->options.told_ctx, error);
}

void dj_postgres_trouble(struct dj_store *store, struct deja_error *out_trouble)
{
    struct dj_pg_store *pg = (struct dj_pg_store *)store;
    pthread_mutex_lock(&pg->trouble_mutex);
    *out_trouble = pg->trouble;
    pthread_mutex_unlock(&pg->trouble_mutex);
}

/* ---- life ---- */

static void end_links(struct dj_pg_store *pg)
{
    fail_waiting(pg, DEJA_ERR_CANCELLED);
    for (uint32_t i = 0; i < pg->options.connections_max; i++)
        if (pg->links[i].state != DJ_PG_CLOSED)
            dj_pg_link_fail(&pg->links[i], DEJA_ERR_CANCELLED, NULL);
    fail_waiting(pg, DEJA_ERR_CANCELLED); /* what wanted to be sent once more */
    dj_timer_destroy(pg->timer);
    pg->timer = NULL;
    dj_loop_stop(pg->loop);
}

static void on_tick(void *ctx)
{
    struct dj_pg_store *pg = ctx;
    uint64_t now_us = dj_loop_monotonic_us(pg->loop);
    for (uint32_t i = 0; i < pg->options.connections_max; i++)
        dj_pg_link_tick(&pg->links[i], now_us);
    dj_pg_dispatch(pg);
    if (pg->is_stopping && (now_us > pg->stop_after_us || atomic_load(&pg->queued) == 0))
        end_links(pg);
}

/* The last calls were posted before: they are in `waiting` or on their way. */
static void on_stop(void *ctx)
{
    struct dj_pg_store *pg = ctx;
    pg->is_stopping = true;
    pg->stop_after_us = dj_loop_monotonic_us(pg->loop) + CLOSE_MS_MAX * 1000u;
}

static void *run(void *ctx)
{
    struct dj_pg_store *pg = ctx;
    dj_loop_run(pg->loop);
    return NULL;
}

static void destroy(struct dj_pg_store *pg)
{
    if (!pg)
        return;
    dj_loop_destroy(pg->loop);
    pthread_mutex_destroy(&pg->trouble_mutex);
    dj_free(pg->url);
    if (pg->password)
        explicit_bzero(pg->password, strlen(pg->password));
    dj_free(pg->password);
    dj_free(pg);
}

void dj_pg_close(struct dj_store *store)
{
    struct dj_pg_store *pg = (struct dj_pg_store *)store;
    dj_pg_upkeep_stop(pg);
    pg->stop_task = (struct dj_task){.run = on_stop, .ctx = pg};
    dj_loop_post(pg->loop, &pg->stop_task);
    pthread_join(pg->thread, NULL);
    destroy(pg);
}

static void fill_defaults(struct dj_postgres_options *options)
{
    if (!options->connections_max)
        options->connections_max = CONNECTIONS_DEFAULT;
    if (options->connections_max > DJ_POSTGRES_POOL_MAX)
        options->connections_max = DJ_POSTGRES_POOL_MAX;
    if (!options->queue_max)
        options->queue_max = QUEUE_DEFAULT;
    if (!options->queue_bytes_max)
        options->queue_bytes_max = QUEUE_BYTES_DEFAULT;
    if (!options->record_bytes_max)
        options->record_bytes_max = RECORD_BYTES_DEFAULT;
    if (!options->connect_timeout_ms)
        options->connect_timeout_ms = CONNECT_TIMEOUT_MS_DEFAULT;
    if (!options->timeout_ms)
        options->timeout_ms = TIMEOUT_MS_DEFAULT;
    if (!options->exact_rows_max)
        options->exact_rows_max = EXACT_ROWS_DEFAULT;
    if (!options->upkeep_ms)
        options->upkeep_ms = UPKEEP_MS_DEFAULT;
}

enum deja_status dj_pg_check_options(const struct dj_postgres_options *options,
                                     char out_schema[DJ_PG_SCHEMA_BYTES], struct deja_error *error)
{
    char *text = NULL;
    if (!dj_pg_schema_name(options->schema, out_schema))
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "l3.postgres.schema expects a name of a-z, 0-9 and _, at most 63");
    PQconninfoOption *parts = PQconninfoParse(options->url, &text);
    if (!parts) { /* libpq's text may quote the password, so it is not shown */
        bool is_memory = !text;
        PQfreemem(text);
        return is_memory ? deja_error_set(error, DEJA_ERR_NOMEM, "out of memory")
                         : deja_error_set(error, DEJA_ERR_CONFIG,
                                          "l3.postgres.url expects postgresql://USER@HOST/DATABASE "
                                          "or \"host=… dbname=…\"");
    }
    PQconninfoFree(parts);
    return DEJA_OK;
}

static enum deja_status start(struct dj_pg_store *pg, struct deja_error *error)
{
    enum deja_status status = dj_loop_create(0, &pg->loop);
    if (status == DEJA_OK)
        status = dj_timer_create(pg->loop, pg, on_tick, &pg->timer);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "out of memory");
    dj_timer_start(pg->timer, TICK_MS, TICK_MS);
    status = dj_pg_upkeep_start(pg);
    if (status == DEJA_OK && pthread_create(&pg->thread, NULL, run, pg) != 0)
        status = DEJA_ERR_IO;
    if (status == DEJA_OK)
        return DEJA_OK;
    dj_pg_upkeep_stop(pg);
    return deja_error_set(error, status, "the threads of the PostgreSQL tier cannot be started");
}

enum deja_status dj_postgres_open(const struct dj_postgres_options *options,
                                  struct dj_store **out_store, struct deja_error *error)
{
    char schema[DJ_PG_SCHEMA_BYTES];
    enum deja_status status = dj_pg_check_options(options, schema, error);
    if (status != DEJA_OK)
        return status;
    struct dj_pg_store *pg = dj_alloc_zeroed(1, sizeof *pg);
    if (!pg)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    pthread_mutex_init(&pg->trouble_mutex, NULL);
    pg->store.ops = &dj_pg_ops;
    pg->last_failure = DEJA_ERR_IO;
    pg->options = *options;
    fill_defaults(&pg->options);
    memcpy(pg->schema, schema, sizeof schema);
    dj_list_init(&pg->waiting);
    for (uint32_t i = 0; i < DJ_POSTGRES_POOL_MAX; i++) {
        pg->links[i].pg = pg;
        dj_list_init(&pg->links[i].in_flight);
    }
    pg->url = dj_strdup(deja_slice_text(options->url));
    if (options->password)
        pg->password = dj_strdup(deja_slice_text(options->password));
    status = pg->url && (!options->password || pg->password)
                 ? DEJA_OK
                 : deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    pg->options.url = pg->url;
    pg->options.password = pg->password;
    pg->options.schema = pg->schema;
    if (status == DEJA_OK)
        status = start(pg, error);
    if (status != DEJA_OK) {
        dj_timer_destroy(pg->timer);
        destroy(pg);
        return status;
    }
    *out_store = &pg->store;
    return DEJA_OK;
}
