/* tools/bench_server.c - a running daemon over HTTP: exact and semantic hits of its cache API.
 *
 * One loop, N clients on it: each sends its next request when its answer is there, over a
 * connection that stays open. The client runs on the machine it measures and costs what libcurl
 * costs (tens of microseconds a call), so this says what a program sees, not what the server could
 * do. All entries are in a namespace of their own, live for ten minutes, and are removed at the
 * end.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/slice.h"
#include "loop/loop.h"
#include "net/outbound.h"
#include "proto/json.h"
#include "tools/bench_internal.h"

#define ANSWER_MAX (1u << 20)
#define URL_MAX 2048u
#define KEY_MAX 1024u
#define CALL_TIMEOUT_MS 20000u
#define BATCH 100u
#define TTL_S 600
#define THRESHOLD 0.7
#define QUESTIONS 500u
#define QUESTIONS_QUICK 100u
#define SLOW_SLICES 4u /* where texts are embedded */

struct server;
struct load;

/* Writes the index-th request's body. */
typedef void write_fn(struct server *server, uint64_t index, struct dj_json_writer *w);
/* Is this the right answer? */
typedef bool check_fn(uint64_t index, int http_status, const struct dj_json *answer);

/* What one phase does: requests of one kind, by all clients, in rounds. */
struct phase {
    const char *method;
    const char *path;
    write_fn *write;
    check_fn *check;
    uint64_t steps_max; /* all in all; 0: any */
    uint32_t rounds;    /* 0: as many steps as steps_max says, and nothing measured */
    uint32_t slices;    /* of the time of a round; 0: 1 */
};

struct slot {
    struct load *load;
    struct dj_buf body; /* owned */
    struct dj_buf answer;
    uint64_t index;
    uint64_t began_ns;
    int http_status;
};

/* A phase while it runs; loop-bound. */
struct load {
    struct server *server;
    const struct phase *phase;
    struct dj_loop *loop;
    struct dj_outbound *outbound;
    struct dj_task finish;
    struct slot *slots; /* owned; clients of them */
    uint32_t clients;
    uint32_t active;
    uint64_t next;
    uint32_t round; /* 0: the warm-up */
    uint64_t round_steps;
    uint64_t round_began_us;
    struct dj_bench_series *series;
    bool is_over;
    uint64_t right; /* answers that were */
    enum deja_status status;
};

struct server {
    struct dj_bench *bench;
    char url[URL_MAX]; /* without trailing "/" */
    char authorization[KEY_MAX];
    char name_space[40];
    uint64_t entries;
};

/* ---- one call ---- */

static void on_head(void *ctx, int status, const struct dj_http_header *headers, size_t count)
{
    struct slot *slot = ctx;
    (void)headers;
    (void)count;
    slot->http_status = status;
}

static void on_data(void *ctx, struct deja_slice bytes)
{
    struct slot *slot = ctx;
    dj_buf_append_slice(&slot->answer, bytes);
}

static void on_done(void *ctx, enum deja_status status, const char *detail);

static enum deja_status send(struct slot *slot)
{
    static const struct dj_outbound_events events = {on_head, on_data, on_done};
    struct load *load = slot->load;
    struct server *server = load->server;
    char url[URL_MAX + 64];
    struct dj_outbound_call *call = NULL;
    struct dj_http_header headers[2] = {
        {deja_slice_text("Content-Type"), deja_slice_text("application/json")},
        {deja_slice_text("Authorization"), deja_slice_text(server->authorization)}};
    dj_buf_clear(&slot->body);
    dj_buf_clear(&slot->answer);
    struct dj_json_writer w = dj_json_writer(&slot->body);
    slot->index = load->next++;
    slot->http_status = 0;
    load->phase->write(server, slot->index, &w);
    snprintf(url, sizeof url, "%s%s", server->url, load->phase->path);
    struct dj_outbound_request request = {.method = load->phase->method,
                                          .url = url,
                                          .headers = headers,
                                          .header_count = server->authorization[0] ? 2 : 1,
                                          .body = dj_buf_slice(&slot->body),
                                          .total_timeout_ms = CALL_TIMEOUT_MS};
    slot->began_ns = dj_clock_monotonic_ns();
    if (slot->body.status != DEJA_OK)
        return slot->body.status;
    return dj_outbound_start(load->outbound, &request, &events, slot, &call);
}

static bool is_right(const struct slot *slot)
{
    struct dj_json_doc *doc = NULL;
    if (slot->answer.status != DEJA_OK ||
        dj_json_parse(dj_buf_slice(&slot->answer), &doc, NULL) != DEJA_OK)
        return false;
    bool result = slot->load->phase->check(slot->index, slot->http_status, dj_json_root(doc));
    dj_json_doc_destroy(doc);
    return result;
}

/* ---- rounds ---- */

static void next_round(struct load *load, uint64_t now_us)
{
    double wall_us = (double)(now_us - load->round_began_us);
    if (load->round == 0)
        dj_bench_series_clear(load->series);
    else
        dj_bench_series_end_round(load->series, wall_us);
    load->round++;
    load->round_steps = 0;
    load->round_began_us = now_us;
    if (load->round > load->phase->rounds || dj_bench_is_interrupted())
        load->is_over = true;
}

static void count_step(struct load *load, const struct slot *slot, bool was_right)
{
    const struct phase *phase = load->phase;
    uint64_t now_ns = dj_clock_monotonic_ns();
    load->right += was_right;
    load->round_steps++;
    if (phase->steps_max && load->next >= phase->steps_max)
        load->is_over = true;
    if (!phase->rounds)
        return;
    uint64_t share = phase->steps_max ? phase->steps_max / (phase->rounds + 1)
                                      : load->series->cap / phase->rounds;
    uint64_t slice_us = load->server->bench->slice_us * (phase->slices ? phase->slices : 1);
    dj_bench_series_add(load->series, (double)(now_ns - slot->began_ns) / 1000, was_right);
    if (load->round_steps >= share || now_ns / 1000 - load->round_began_us >= slice_us)
        next_round(load, now_ns / 1000);
}

static void fail(struct load *load, enum deja_status status, const char *detail)
{
    load->is_over = true;
    if (load->status != DEJA_OK)
        return;
    load->status = status;
    deja_error_set(&load->server->bench->error, status, "%s: %s", load->server->url, detail);
}

static void leave(struct load *load)
{
    if (--load->active == 0)
        dj_loop_post(load->loop, &load->finish);
}

static void on_done(void *ctx, enum deja_status status, const char *detail)
{
    struct slot *slot = ctx;
    struct load *load = slot->load;
    if (status != DEJA_OK)
        fail(load, status == DEJA_ERR_IO ? DEJA_ERR_CIRCUIT_OPEN : status,
             detail && *detail ? detail : deja_status_text(status));
    else if (slot->http_status == 401 || slot->http_status == 403)
        fail(load, DEJA_ERR_DENIED, "refused: --key names a key");
    else
        count_step(load, slot, is_right(slot));
    if (!load->is_over) {
        status = send(slot);
        if (status != DEJA_OK)
            fail(load, status, deja_status_text(status));
    }
    if (load->is_over)
        leave(load);
}

/* ---- a phase ---- */

/* Outbound ends outside its own callbacks. */
static void on_finish(void *ctx)
{
    struct load *load = ctx;
    dj_outbound_destroy(load->outbound);
    load->outbound = NULL;
    dj_loop_stop(load->loop);
}

static enum deja_status make_load(struct load *load)
{
    struct dj_outbound_options options = dj_outbound_options_default;
    load->finish = (struct dj_task){.run = on_finish, .ctx = load};
    load->slots = dj_alloc_zeroed(load->clients, sizeof *load->slots);
    if (!load->slots)
        return DEJA_ERR_NOMEM;
    for (uint32_t i = 0; i < load->clients; i++) {
        load->slots[i].load = load;
        dj_buf_init(&load->slots[i].answer, ANSWER_MAX);
    }
    enum deja_status status = dj_loop_create(0, &load->loop);
    return status == DEJA_OK ? dj_outbound_create(load->loop, &options, &load->outbound) : status;
}

static void start_slots(struct load *load)
{
    enum deja_status status = DEJA_OK;
    load->round_began_us = dj_clock_monotonic_us();
    load->active = 1; /* this function */
    for (uint32_t i = 0; i < load->clients && status == DEJA_OK; i++) {
        if (load->phase->steps_max && load->next >= load->phase->steps_max)
            break;
        status = send(&load->slots[i]);
        load->active += status == DEJA_OK;
    }
    if (status != DEJA_OK)
        fail(load, status, deja_status_text(status));
    leave(load);
}

/* series: NULL unless phase->rounds. *out_right (may be NULL): right answers. */
static enum deja_status run_phase(struct server *server, const struct phase *phase,
                                  uint32_t clients, struct dj_bench_series *series,
                                  uint64_t *out_right)
{
    struct load load = {.server = server, .phase = phase, .clients = clients, .series = series};
    enum deja_status status = make_load(&load);
    if (status == DEJA_OK) {
        start_slots(&load);
        dj_loop_run(load.loop);
        status = load.status;
    } else if (load.loop) {
        dj_loop_post(load.loop, &load.finish);
        dj_loop_run(load.loop);
    }
    dj_loop_destroy(load.loop);
    for (uint32_t i = 0; load.slots && i < clients; i++) {
        dj_buf_fini(&load.slots[i].body);
        dj_buf_fini(&load.slots[i].answer);
    }
    dj_free(load.slots);
    if (out_right)
        *out_right = load.right;
    return status;
}

static enum deja_status measure(struct server *server, const char *name, const struct phase *phase)
{
    struct dj_bench *bench = server->bench;
    struct dj_bench_series series = {.values = NULL};
    dj_bench_progress(bench, name);
    if (dj_bench_series_init(&series, DJ_BENCH_SERIES_CAP) != DEJA_OK)
        return deja_error_set(&bench->error, DEJA_ERR_NOMEM, "out of memory");
    enum deja_status status = run_phase(server, phase, bench->clients, &series, NULL);
    struct dj_bench_result result = dj_bench_result(name, "us");
    result.entries = server->entries;
    result.clients = bench->clients;
    if (status == DEJA_OK && dj_bench_is_interrupted())
        status = DEJA_ERR_CANCELLED;
    if (status == DEJA_OK)
        status = dj_bench_keep(bench, &result, &series);
    dj_bench_series_fini(&series);
    return status;
}

/* ---- requests ---- */

static void write_put(struct server *server, uint64_t index, struct dj_json_writer *w)
{
    char text[DJ_BENCH_TEXT_BYTES];
    char body[DJ_BENCH_ANSWER_BYTES];
    dj_json_begin_object(w);
    dj_json_key(w, "entries");
    dj_json_begin_array(w);
    for (uint64_t i = index * BATCH; i < (index + 1) * BATCH && i < server->entries; i++) {
        dj_bench_answer(i, body);
        dj_json_begin_object(w);
        dj_json_key(w, "query");
        dj_json_put_string(w, dj_bench_question(i, false, text));
        dj_json_key(w, "response");
        dj_json_put_string(w, deja_slice(body, sizeof body));
        dj_json_key(w, "ttl");
        dj_json_put_u64(w, TTL_S);
        dj_json_key(w, "namespace");
        dj_json_put_text(w, server->name_space);
        dj_json_end_object(w);
    }
    dj_json_end_array(w);
    dj_json_end_object(w);
}

static void write_lookup(struct server *server, uint64_t index, bool is_reworded,
                         struct dj_json_writer *w)
{
    char text[DJ_BENCH_TEXT_BYTES];
    dj_json_begin_object(w);
    dj_json_key(w, "query");
    dj_json_put_string(w, dj_bench_question(index % server->entries, is_reworded, text));
    dj_json_key(w, "namespace");
    dj_json_put_text(w, server->name_space);
    if (is_reworded) {
        dj_json_key(w, "threshold");
        dj_json_put_double(w, THRESHOLD);
    }
    dj_json_end_object(w);
}

static void write_exact(struct server *server, uint64_t index, struct dj_json_writer *w)
{
    write_lookup(server, index, false, w);
}

static void write_reworded(struct server *server, uint64_t index, struct dj_json_writer *w)
{
    write_lookup(server, index, true, w);
}

static void write_removal(struct server *server, uint64_t index, struct dj_json_writer *w)
{
    (void)index;
    dj_json_begin_object(w);
    dj_json_key(w, "namespace");
    dj_json_put_text(w, server->name_space);
    dj_json_end_object(w);
}

static bool is_success(uint64_t index, int http_status, const struct dj_json *answer)
{
    (void)index;
    (void)answer;
    return http_status >= 200 && http_status < 300 && http_status != 207;
}

static bool has_kind(int http_status, const struct dj_json *answer, const char *kind)
{
    return http_status == 200 && dj_json_bool(dj_json_get(answer, "hit"), false) &&
           dj_slice_is(dj_json_string(dj_json_get(answer, "kind")), kind);
}

static bool is_exact_hit(uint64_t index, int http_status, const struct dj_json *answer)
{
    (void)index;
    return has_kind(http_status, answer, "exact");
}

static bool is_semantic_hit(uint64_t index, int http_status, const struct dj_json *answer)
{
    (void)index;
    return has_kind(http_status, answer, "semantic");
}

static const struct phase removal = {.method = "POST",
                                     .path = "/api/v1/invalidate",
                                     .write = write_removal,
                                     .check = is_success,
                                     .steps_max = 1};

/* ---- the group ---- */

static enum deja_status fill(struct server *server)
{
    struct dj_bench *bench = server->bench;
    const struct phase putting = {.method = "PUT",
                                  .path = "/api/v1/entries",
                                  .write = write_put,
                                  .check = is_success,
                                  .steps_max = (server->entries + BATCH - 1) / BATCH};
    uint64_t right = 0;
    dj_bench_progress(bench, "server: filling");
    enum deja_status status = run_phase(server, &putting, 1, NULL, &right);
    if (status == DEJA_OK && right < putting.steps_max)
        status =
            deja_error_set(&bench->error, DEJA_ERR_INVALID,
                           "%s: PUT /api/v1/entries did not store what it was sent", server->url);
    return status;
}

static enum deja_status measure_semantic(struct server *server)
{
    const struct phase asking = {.method = "POST",
                                 .path = "/api/v1/lookup",
                                 .write = write_reworded,
                                 .check = is_semantic_hit,
                                 .steps_max = server->entries,
                                 .slices = SLOW_SLICES,
                                 .rounds = server->bench->rounds};
    return measure(server, "server.semantic", &asking);
}

static enum deja_status measure_all(struct server *server)
{
    const struct phase asking = {.method = "POST",
                                 .path = "/api/v1/lookup",
                                 .write = write_exact,
                                 .check = is_exact_hit,
                                 .rounds = server->bench->rounds};
    enum deja_status status = fill(server);
    if (status == DEJA_OK)
        status = measure(server, "server.exact", &asking);
    if (status == DEJA_OK)
        status = measure_semantic(server);
    return status;
}

enum deja_status dj_bench_server_group(struct dj_bench *bench)
{
    struct server server = {.bench = bench,
                            .entries = bench->is_quick ? QUESTIONS_QUICK : QUESTIONS};
    size_t len = strlen(bench->server);
    while (len && bench->server[len - 1] == '/')
        len--;
    if (len >= sizeof server.url)
        return deja_error_set(&bench->error, DEJA_ERR_INVALID, "--server is too long");
    memcpy(server.url, bench->server, len);
    if (bench->key && *bench->key) {
        int key_len =
            snprintf(server.authorization, sizeof server.authorization, "Bearer %s", bench->key);
        if (key_len < 0 || (size_t)key_len >= sizeof server.authorization)
            return deja_error_set(&bench->error, DEJA_ERR_INVALID, "--key is too long");
    }
    snprintf(server.name_space, sizeof server.name_space, "deja-bench-%llx",
             (unsigned long long)dj_clock_monotonic_ns());
    enum deja_status status = measure_all(&server);
    enum deja_status removed = run_phase(&server, &removal, 1, NULL, NULL);
    explicit_bzero(server.authorization, sizeof server.authorization);
    return status == DEJA_OK ? removed : status;
}
