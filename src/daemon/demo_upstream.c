/* daemon/demo_upstream.c - see demo_upstream.h. */
#include "daemon/demo_upstream.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/slice.h"
#include "net/http_server.h"
#include "proto/json.h"

#define DRAIN_MS 1000u
#define TOKEN_BYTES 4u /* what a token is held to be */

struct dj_demo_upstream {
    struct dj_loop *loop;
    struct dj_http_server *server;
    struct dj_task stop;
    pthread_t thread;
    uint32_t delay_ms;
    uint16_t port;
    _Atomic uint32_t calls;
    uint32_t waiting; /* exchanges whose delay runs; the loop's */
    bool is_drained;
};

/* One request whose answer is due; owned by its timer. */
struct waiter {
    struct dj_demo_upstream *upstream;
    struct dj_http_exchange *exchange;
    struct dj_timer *timer;
};

/* The first whose mark the request holds is the answer. */
static const struct {
    const char *mark, *text;
} answers[] = {
    {"2023", "Laptops bought in 2023 have a warranty of two years, until the end of 2025."},
    {"2024", "Laptops bought in 2024 have a warranty of three years, until the end of 2027."},
    {"", "We ship within two working days, and delivery takes another three."},
};

static const char *answer_to(struct deja_slice request)
{
    size_t i = 0;
    size_t last = sizeof answers / sizeof *answers - 1;
    while (i < last && !dj_slice_contains(request, answers[i].mark))
        i++;
    return answers[i].text;
}

static void write_usage(struct dj_json_writer *w, size_t input_bytes, size_t output_bytes)
{
    uint64_t input = input_bytes / TOKEN_BYTES + 1;
    uint64_t output = output_bytes / TOKEN_BYTES + 1;
    dj_json_key(w, "usage");
    dj_json_begin_object(w);
    dj_json_key(w, "prompt_tokens");
    dj_json_put_u64(w, input);
    dj_json_key(w, "completion_tokens");
    dj_json_put_u64(w, output);
    dj_json_key(w, "total_tokens");
    dj_json_put_u64(w, input + output);
    dj_json_end_object(w);
}

static void write_completion(struct dj_buf *body, struct deja_slice request, uint32_t number)
{
    const char *text = answer_to(request);
    struct dj_json_writer w = dj_json_writer(body);
    char id[32];
    snprintf(id, sizeof id, "chatcmpl-demo-%u", number);
    dj_json_begin_object(&w);
    dj_json_key(&w, "id");
    dj_json_put_text(&w, id);
    dj_json_key(&w, "object");
    dj_json_put_text(&w, "chat.completion");
    dj_json_key(&w, "created");
    dj_json_put_i64(&w, dj_clock_now_ms() / 1000);
    dj_json_key(&w, "model");
    dj_json_put_text(&w, "demo");
    dj_json_key(&w, "choices");
    dj_json_put_raw(&w, deja_slice_text("[{\"index\":0,\"finish_reason\":\"stop\",\"message\":"
                                        "{\"role\":\"assistant\",\"content\":\""));
    dj_json_escape(body, deja_slice_text(text));
    dj_buf_append_text(body, "\"}}]");
    write_usage(&w, request.len, strlen(text));
    dj_json_end_object(&w);
}

static void answer(struct dj_http_exchange *exchange, uint32_t number)
{
    static const struct dj_http_header json[] = {
        {{"Content-Type", sizeof "Content-Type" - 1},
         {"application/json", sizeof "application/json" - 1}}};
    struct dj_buf body = {0};
    write_completion(&body, dj_http_exchange_request(exchange)->body, number);
    if (body.status == DEJA_OK)
        dj_http_respond(exchange, 200, json, 1, dj_buf_slice(&body));
    else
        dj_http_respond(exchange, 503, NULL, 0, deja_slice_text("out of memory"));
    dj_buf_fini(&body);
}

static void end_if_quiet(struct dj_demo_upstream *upstream)
{
    if (!upstream->is_drained || upstream->waiting)
        return;
    dj_http_server_destroy(upstream->server);
    dj_loop_stop(upstream->loop);
}

static void on_due(void *ctx)
{
    struct waiter *waiter = ctx;
    struct dj_demo_upstream *upstream = waiter->upstream;
    answer(waiter->exchange, atomic_load(&upstream->calls));
    dj_timer_destroy(waiter->timer);
    dj_free(waiter);
    upstream->waiting--;
    end_if_quiet(upstream);
}

static void on_request(void *ctx, struct dj_http_exchange *exchange)
{
    struct dj_demo_upstream *upstream = ctx;
    const struct dj_http_request *request = dj_http_exchange_request(exchange);
    if (!deja_slice_is_equal(request->path, deja_slice_text("/v1/chat/completions"))) {
        dj_http_respond(exchange, 404, NULL, 0, deja_slice_text("only chat completions here\n"));
        return;
    }
    atomic_fetch_add(&upstream->calls, 1);
    struct waiter *waiter = dj_alloc_zeroed(1, sizeof *waiter);
    if (!waiter || dj_timer_create(upstream->loop, waiter, on_due, &waiter->timer) != DEJA_OK) {
        dj_free(waiter);
        dj_http_respond(exchange, 503, NULL, 0, deja_slice_text("out of memory\n"));
        return;
    }
    waiter->upstream = upstream;
    waiter->exchange = exchange;
    upstream->waiting++;
    dj_timer_start(waiter->timer, upstream->delay_ms, 0);
}

static void on_drained(void *ctx)
{
    struct dj_demo_upstream *upstream = ctx;
    upstream->is_drained = true;
    end_if_quiet(upstream);
}

static void run_stop(void *ctx)
{
    struct dj_demo_upstream *upstream = ctx;
    dj_http_server_drain(upstream->server, DRAIN_MS, upstream, on_drained);
}

static void *run_loop(void *ctx)
{
    struct dj_demo_upstream *upstream = ctx;
    dj_loop_run(upstream->loop);
    return NULL;
}

/* Signals are the daemon's. */
static bool start_thread(struct dj_demo_upstream *upstream)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool is_started = pthread_create(&upstream->thread, NULL, run_loop, upstream) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return is_started;
}

enum deja_status dj_demo_upstream_create(uint32_t delay_ms, struct dj_demo_upstream **out_upstream,
                                         struct deja_error *error)
{
    struct dj_demo_upstream *upstream = dj_alloc_zeroed(1, sizeof *upstream);
    if (!upstream)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    upstream->delay_ms = delay_ms;
    upstream->stop = (struct dj_task){.run = run_stop, .ctx = upstream};
    enum deja_status status = dj_loop_create(0, &upstream->loop);
    if (status != DEJA_OK) {
        dj_free(upstream);
        return deja_error_set(error, status, "%s", deja_status_text(status));
    }
    status = dj_http_server_open(upstream->loop, "127.0.0.1", 0, &dj_http_limits_default, upstream,
                                 on_request, NULL, &upstream->server, error);
    if (status == DEJA_OK)
        upstream->port = dj_http_server_port(upstream->server);
    if (status == DEJA_OK && start_thread(upstream)) {
        *out_upstream = upstream;
        return DEJA_OK;
    }
    if (status == DEJA_OK) {
        status = deja_error_set(error, DEJA_ERR_LIMIT, "no more threads can be started");
        dj_loop_post(upstream->loop, &upstream->stop);
    } else {
        dj_loop_stop(upstream->loop);
    }
    dj_loop_run(upstream->loop);
    dj_loop_destroy(upstream->loop);
    dj_free(upstream);
    return status;
}

void dj_demo_upstream_destroy(struct dj_demo_upstream *upstream)
{
    if (!upstream)
        return;
    dj_loop_post(upstream->loop, &upstream->stop);
    pthread_join(upstream->thread, NULL);
    dj_loop_destroy(upstream->loop);
    dj_free(upstream);
}

uint16_t dj_demo_upstream_port(const struct dj_demo_upstream *upstream)
{
    return upstream->port;
}

uint32_t dj_demo_upstream_calls(const struct dj_demo_upstream *upstream)
{
    return atomic_load(&upstream->calls);
}
