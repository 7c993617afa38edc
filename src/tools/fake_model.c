/* tools/fake_model.c - see tools/fake_model.h. */
#include "tools/fake_model.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/slice.h"
#include "proto/json.h"

#define DRAIN_MS 1000u
#define TOKEN_BYTES 4u /* what a token is held to be */

struct dj_fake_model {
    struct dj_loop *loop;
    struct dj_http_server *server;
    struct dj_task stop;
    pthread_t thread;
    struct dj_fake_model_options options;
    uint16_t port;
    _Atomic uint32_t calls;
    uint32_t waiting; /* exchanges whose delay runs; the loop's */
    bool is_drained;
};

/* One request whose answer is due; owned by its timer. */
struct waiter {
    struct dj_fake_model *model;
    struct dj_http_exchange *exchange;
    struct dj_timer *timer;
};

static void write_usage(struct dj_json_writer *w, size_t input_bytes, size_t output_bytes)
{
    uint64_t input = input_bytes / TOKEN_BYTES + 1;
    uint64_t output = output_bytes / TOKEN_BYTES + 1;
    dj_json_key(w, "usage");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "prompt_tokens", input);
    dj_json_member_u64(w, "completion_tokens", output);
    dj_json_member_u64(w, "total_tokens", input + output);
    dj_json_end_object(w);
}

static void write_completion(struct dj_buf *body, struct deja_slice text, size_t request_bytes,
                             uint32_t number)
{
    struct dj_json_writer w = dj_json_writer(body);
    char id[32];
    snprintf(id, sizeof id, "chatcmpl-demo-%u", number);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "id", id);
    dj_json_member_text(&w, "object", "chat.completion");
    dj_json_key(&w, "created");
    dj_json_put_i64(&w, dj_clock_now_ms() / 1000);
    dj_json_member_text(&w, "model", "demo");
    dj_json_key(&w, "choices");
    dj_json_put_raw(&w, deja_slice_text("[{\"index\":0,\"finish_reason\":\"stop\",\"message\":"
                                        "{\"role\":\"assistant\",\"content\":\""));
    dj_json_escape(body, text);
    dj_buf_append_text(body, "\"}}]");
    write_usage(&w, request_bytes, text.len);
    dj_json_end_object(&w);
}

static void answer(struct dj_fake_model *model, struct dj_http_exchange *exchange)
{
    static const struct dj_http_header json[] = {
        {{"Content-Type", sizeof "Content-Type" - 1},
         {"application/json", sizeof "application/json" - 1}}};
    const struct dj_http_request *request = dj_http_exchange_request(exchange);
    struct dj_buf text = {0};
    struct dj_buf body = {0};
    model->options.answer(model->options.ctx, request, &text);
    write_completion(&body, dj_buf_slice(&text), request->body.len, atomic_load(&model->calls));
    if (text.status == DEJA_OK && body.status == DEJA_OK)
        dj_http_respond(exchange, 200, json, 1, dj_buf_slice(&body));
    else
        dj_http_respond(exchange, 503, NULL, 0, deja_slice_text("out of memory\n"));
    dj_buf_fini(&text);
    dj_buf_fini(&body);
}

static void end_if_quiet(struct dj_fake_model *model)
{
    if (!model->is_drained || model->waiting)
        return;
    dj_http_server_destroy(model->server);
    dj_loop_stop(model->loop);
}

static void on_due(void *ctx)
{
    struct waiter *waiter = ctx;
    struct dj_fake_model *model = waiter->model;
    answer(model, waiter->exchange);
    dj_timer_destroy(waiter->timer);
    dj_free(waiter);
    model->waiting--;
    end_if_quiet(model);
}

static void on_request(void *ctx, struct dj_http_exchange *exchange)
{
    struct dj_fake_model *model = ctx;
    const struct dj_http_request *request = dj_http_exchange_request(exchange);
    if (!dj_slice_is(request->path, "/v1/chat/completions")) {
        dj_http_respond(exchange, 404, NULL, 0, deja_slice_text("only chat completions here\n"));
        return;
    }
    atomic_fetch_add(&model->calls, 1);
    struct waiter *waiter = dj_alloc_zeroed(1, sizeof *waiter);
    if (!waiter || dj_timer_create(model->loop, waiter, on_due, &waiter->timer) != DEJA_OK) {
        dj_free(waiter);
        dj_http_respond(exchange, 503, NULL, 0, deja_slice_text("out of memory\n"));
        return;
    }
    waiter->model = model;
    waiter->exchange = exchange;
    model->waiting++;
    dj_timer_start(waiter->timer, model->options.delay_ms, 0);
}

static void on_drained(void *ctx)
{
    struct dj_fake_model *model = ctx;
    model->is_drained = true;
    end_if_quiet(model);
}

static void run_stop(void *ctx)
{
    struct dj_fake_model *model = ctx;
    dj_http_server_drain(model->server, DRAIN_MS, model, on_drained);
}

static void *run_loop(void *ctx)
{
    struct dj_fake_model *model = ctx;
    dj_loop_run(model->loop);
    return NULL;
}

/* Signals are the main thread's. */
static bool start_thread(struct dj_fake_model *model)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool is_started = pthread_create(&model->thread, NULL, run_loop, model) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return is_started;
}

enum deja_status dj_fake_model_create(const struct dj_fake_model_options *options,
                                      struct dj_fake_model **out_model, struct deja_error *error)
{
    struct dj_fake_model *model = dj_alloc_zeroed(1, sizeof *model);
    if (!model)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    model->options = *options;
    model->stop = (struct dj_task){.run = run_stop, .ctx = model};
    enum deja_status status = dj_loop_create(0, &model->loop);
    if (status != DEJA_OK) {
        dj_free(model);
        return deja_error_set(error, status, "%s", deja_status_text(status));
    }
    status = dj_http_server_open(model->loop, "127.0.0.1", options->port, &dj_http_limits_default,
                                 model, on_request, NULL, &model->server, error);
    if (status == DEJA_OK)
        model->port = dj_http_server_port(model->server);
    if (status == DEJA_OK && start_thread(model)) {
        *out_model = model;
        return DEJA_OK;
    }
    if (status == DEJA_OK) {
        status = deja_error_set(error, DEJA_ERR_LIMIT, "no more threads can be started");
        dj_loop_post(model->loop, &model->stop);
    } else {
        dj_loop_stop(model->loop);
    }
    dj_loop_run(model->loop);
    dj_loop_destroy(model->loop);
    dj_free(model);
    return status;
}

void dj_fake_model_destroy(struct dj_fake_model *model)
{
    if (!model)
        return;
    dj_loop_post(model->loop, &model->stop);
    pthread_join(model->thread, NULL);
    dj_loop_destroy(model->loop);
    dj_free(model);
}

uint16_t dj_fake_model_port(const struct dj_fake_model *model)
{
    return model->port;
}

uint32_t dj_fake_model_calls(const struct dj_fake_model *model)
{
    return atomic_load(&model->calls);
}
