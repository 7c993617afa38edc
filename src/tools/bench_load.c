/* tools/bench_load.c - ramps, rounds and the verdict of `deja bench load`; see bench_load.h.
 *
 *   clients   1,000          _______
 *                          /|       \        a ramp is five shares of the time: to a tenth of the
 *               500     __/ |       |\       clients, to half, to all of them, all of them, and
 *               100  __/    |       | \      down to none; 2, 5, 2, 5 and 2 of 16 shares
 *                    0 2    7 9     14 16
 *
 * Then, if connections are to be held: all connect and ask once, `clients` of them go on asking,
 * the others do nothing, and at the end each of those asks again over the connection it has.
 *
 * (1) One loop, one thread. A tick of TICK_MS lets clients in and out, ends rounds and ramps.
 * (2) A client asks only while its number is below `wanted`; one that is above leaves at its next
 *     answer.
 * (3) What is measured is a call as its client sees it, connecting included.
 */
#include "tools/bench_load.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "tools/bench_load_internal.h"

#define TICK_MS 50u
#define CALL_TIMEOUT_MS 10000u
#define PAUSE_AFTER_FAULT_MS 500u
#define SERIES_CAP (4u << 20) /* 4 M calls of a ramp; memory is taken as it is used */
#define ROUNDS 10u
#define SHARES 16u
#define CONNECTS_PER_TICK 200u
#define LATE_PER_TICK 100u
#define HOLD_MS_MAX 30000u
#define OPEN_MS_MAX 120000u
#define FILES_SPARE 64u

/* What must hold. */
#define P95_US_MAX 100000.0
#define HIT_RATE_MIN 0.8
#define SUCCESS_RATE_MIN 0.999

const struct dj_load_options dj_load_options_default = {
    .seconds = 960, .clients = 1000, .tenants = 5, .questions = 100, .pause_ms = 100};

/* clang-format off: a table is read by its columns */
static const struct ramp {
    const char *name;
    double from, to; /* of the clients */
    uint32_t shares; /* of the time */
} ramps[] = {
    {"load.up.first", 0.0, 0.1, 2}, {"load.up.second", 0.1, 0.5, 5}, {"load.up.third", 0.5, 1.0, 2},
    {"load.all", 1.0, 1.0, 5},      {"load.down", 1.0, 0.0, 2},
};
/* clang-format on */
#define RAMP_COUNT (sizeof ramps / sizeof *ramps)

enum phase {
    PHASE_RAMPS,
    PHASE_OPENING, /* connections that are to be held */
    PHASE_HOLDING,
    PHASE_ASKING_AGAIN,
    PHASE_OVER,
};

struct dj_load {
    struct dj_bench *bench;
    const struct dj_load_options *options;
    struct dj_load_target target;
    struct dj_loop *loop;
    struct dj_timer *tick;
    struct dj_task finish;
    struct dj_load_client *clients; /* owned */
    uint32_t client_count;
    uint32_t wanted;  /* clients that ask: those with lower numbers */
    uint32_t started; /* clients that were let in, of the phase */
    enum phase phase;
    size_t ramp;
    uint64_t phase_began_us; /* the ramp's, too */
    uint64_t round_began_us;
    double *shares; /* owned: of each question, summed up */
    uint64_t seed;
    struct dj_bench_series series; /* of the ramp */
    uint64_t outcomes[DJ_LOAD_OUTCOMES];
    uint64_t lookups, hits;
    uint64_t dropped; /* connections the server ended while nothing was asked */
    uint32_t held;    /* connections that answered before and after */
    double p95_us;    /* of the slowest ramp */
    char fault[240];  /* the first one's words */
    enum deja_status status;
};

struct dj_loop *dj_load_loop(const struct dj_load *load)
{
    return load->loop;
}

const struct dj_load_target *dj_load_target(const struct dj_load *load)
{
    return &load->target;
}

/* ---- what is asked ---- */

/* 0 to below 1; the same in every run. */
static double next_random(struct dj_load *load)
{
    load->seed += 0x9e3779b97f4a7c15u;
    uint64_t x = load->seed;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (double)((x ^ x >> 31) >> 11) * 0x1p-53;
}

/* The n-th question is asked a n-th as often as the first. */
static enum deja_status make_shares(struct dj_load *load)
{
    double sum = 0;
    load->shares = dj_alloc_zeroed(load->options->questions, sizeof *load->shares);
    if (!load->shares)
        return DEJA_ERR_NOMEM;
    for (uint32_t i = 0; i < load->options->questions; i++)
        load->shares[i] = sum += 1.0 / (i + 1);
    return DEJA_OK;
}

static uint32_t draw_question(struct dj_load *load)
{
    uint32_t low = 0;
    uint32_t high = load->options->questions - 1;
    double at = next_random(load) * load->shares[high];
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (load->shares[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void ask(struct dj_load *load, struct dj_load_client *client)
{
    dj_load_client_ask(client, draw_question(load));
}

/* ---- what comes of it ---- */

static bool is_measured(const struct dj_load *load)
{
    return load->phase == PHASE_RAMPS || load->phase == PHASE_HOLDING;
}

static void remember(struct dj_load *load, const struct dj_load_client *client,
                     enum dj_load_outcome outcome, const char *detail)
{
    static const char *const texts[DJ_LOAD_OUTCOMES] = {
        [DJ_LOAD_WRONG] = "not the answer to its question",
        [DJ_LOAD_FOREIGN] = "the answer of another tenant",
        [DJ_LOAD_NO_HEADER] = "an answer without X-Cache-Hit",
        [DJ_LOAD_FAILED] = "no answer",
    };
    if (!load->fault[0])
        snprintf(load->fault, sizeof load->fault, "client %u, question %u: %s%s%.160s",
                 client->index, client->question, texts[outcome], detail ? ": " : "",
                 detail ? detail : "");
}

static void pause_or_leave(struct dj_load *load, struct dj_load_client *client, bool is_fault)
{
    if (load->phase == PHASE_OVER)
        return;
    if (client->index >= load->wanted) {
        if (load->phase == PHASE_RAMPS)
            dj_load_client_close(client);
        return;
    }
    double pause_ms = load->options->pause_ms * (0.5 + next_random(load));
    if (is_fault && pause_ms < PAUSE_AFTER_FAULT_MS)
        pause_ms = PAUSE_AFTER_FAULT_MS;
    dj_load_client_pause(client, (uint32_t)pause_ms);
}

void dj_load_on_answer(struct dj_load *load, struct dj_load_client *client,
                       enum dj_load_outcome outcome, enum dj_load_header header, const char *detail)
{
    double took_us = (double)(dj_clock_monotonic_ns() - client->began_ns) / 1000;
    load->outcomes[outcome]++;
    if (outcome != DJ_LOAD_RIGHT)
        remember(load, client, outcome, detail);
    if (is_measured(load))
        dj_bench_series_add(&load->series, took_us, outcome == DJ_LOAD_RIGHT);
    load->lookups += header != DJ_LOAD_NOTHING;
    load->hits += header == DJ_LOAD_HIT;
    if (load->phase == PHASE_ASKING_AGAIN && outcome == DJ_LOAD_RIGHT &&
        client->index >= load->wanted)
        load->held++;
    pause_or_leave(load, client, outcome == DJ_LOAD_FAILED);
}

void dj_load_on_pause_over(struct dj_load *load, struct dj_load_client *client)
{
    if (load->phase == PHASE_OVER || client->state == DJ_LOAD_ASKING)
        return;
    if (client->index < load->wanted)
        ask(load, client);
    else
        pause_or_leave(load, client, false);
}

void dj_load_on_dropped(struct dj_load *load, struct dj_load_client *client)
{
    (void)client; /* its next question connects anew */
    load->dropped++;
}

/* ---- ramps ---- */

static uint64_t ramp_us(const struct dj_load *load)
{
    return (uint64_t)load->options->seconds * 1000000 * ramps[load->ramp].shares / SHARES;
}

static void begin_measuring(struct dj_load *load, const char *name, uint64_t now_us)
{
    dj_bench_progress(load->bench, name);
    dj_bench_series_clear(&load->series);
    load->phase_began_us = load->round_began_us = now_us;
}

static void end_round(struct dj_load *load, uint64_t now_us)
{
    dj_bench_series_end_round(&load->series, (double)(now_us - load->round_began_us));
    load->round_began_us = now_us;
}

static void keep_result(struct dj_load *load, const char *name, uint64_t clients)
{
    struct dj_bench *bench = load->bench;
    struct dj_bench_result result = dj_bench_result(name, "us");
    result.clients = clients;
    if (load->target.daemon)
        result.memory_bytes = dj_bench_memory_of(load->target.daemon);
    enum deja_status status = dj_bench_keep(bench, &result, &load->series);
    if (load->status == DEJA_OK)
        load->status = status;
}

static void end_ramp(struct dj_load *load, uint64_t now_us)
{
    const struct ramp *ramp = &ramps[load->ramp];
    double most = ramp->from > ramp->to ? ramp->from : ramp->to;
    end_round(load, now_us);
    keep_result(load, ramp->name, (uint64_t)(most * load->options->clients));
    const struct dj_bench_report *report = load->bench->report;
    double p95_us = report->results[report->count - 1].figures.p95;
    if (!(p95_us <= load->p95_us))
        load->p95_us = p95_us;
    load->ramp++;
    if (load->ramp < RAMP_COUNT)
        begin_measuring(load, ramps[load->ramp].name, now_us);
}

static void let_in(struct dj_load *load, uint32_t count, uint32_t per_tick)
{
    for (uint32_t i = 0; load->started < count && i < per_tick; i++, load->started++) {
        struct dj_load_client *client = &load->clients[load->started];
        if (client->state != DJ_LOAD_ASKING)
            ask(load, client);
    }
}

static void tick_ramps(struct dj_load *load, uint64_t now_us)
{
    const struct ramp *ramp = &ramps[load->ramp];
    uint64_t length_us = ramp_us(load);
    double at = (double)(now_us - load->phase_began_us) / (double)length_us;
    double share = ramp->from + (ramp->to - ramp->from) * (at < 1 ? at : 1);
    load->wanted = (uint32_t)ceil(share * load->options->clients);
    if (load->started > load->wanted)
        load->started = load->wanted; /* the others leave at their next answer */
    let_in(load, load->wanted, load->wanted);
    if (now_us - load->round_began_us >= length_us / ROUNDS)
        end_round(load, now_us);
    if (at < 1)
        return;
    end_ramp(load, now_us);
    if (load->ramp < RAMP_COUNT)
        return;
    load->phase = load->options->connections ? PHASE_OPENING : PHASE_OVER;
    load->phase_began_us = now_us;
    load->started = 0;
    load->wanted = 0;
    if (load->phase == PHASE_OPENING)
        dj_bench_progress(load->bench, "load.held: connecting");
}

/* ---- connections that are held ---- */

static uint32_t count_answered(const struct dj_load *load)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < load->options->connections; i++)
        count += load->clients[i].state == DJ_LOAD_IDLE && load->clients[i].has_answered;
    return count;
}

static void tick_opening(struct dj_load *load, uint64_t now_us)
{
    uint32_t connections = load->options->connections;
    let_in(load, connections, CONNECTS_PER_TICK);
    if (load->started < connections || (count_answered(load) < connections &&
                                        now_us - load->phase_began_us < OPEN_MS_MAX * 1000ull))
        return;
    load->phase = PHASE_HOLDING;
    load->wanted = load->options->clients < connections ? load->options->clients : connections;
    load->dropped = 0;
    for (uint32_t i = 0; i < load->wanted; i++)
        pause_or_leave(load, &load->clients[i], false);
    begin_measuring(load, "load.held", now_us);
}

static uint64_t hold_us(const struct dj_load *load)
{
    uint64_t ms = (uint64_t)load->options->seconds * 1000 / 4;
    return (ms < HOLD_MS_MAX ? ms : HOLD_MS_MAX) * 1000;
}

static void tick_holding(struct dj_load *load, uint64_t now_us)
{
    if (now_us - load->round_began_us >= hold_us(load) / ROUNDS)
        end_round(load, now_us);
    if (now_us - load->phase_began_us < hold_us(load))
        return;
    end_round(load, now_us);
    keep_result(load, "load.held", load->options->connections);
    load->phase = PHASE_ASKING_AGAIN;
    load->phase_began_us = now_us;
    load->started = load->wanted;
    for (uint32_t i = 0; i < load->wanted; i++)
        load->held += load->clients[i].state != DJ_LOAD_OFF;
}

/* Only over the connection it has: one that is gone is not held. */
static void tick_asking_again(struct dj_load *load, uint64_t now_us)
{
    uint32_t connections = load->options->connections;
    for (uint32_t i = 0; load->started < connections && i < LATE_PER_TICK; i++) {
        struct dj_load_client *client = &load->clients[load->started++];
        if (client->state == DJ_LOAD_IDLE)
            ask(load, client);
    }
    bool is_late = now_us - load->phase_began_us > OPEN_MS_MAX * 1000ull;
    if (load->started < connections)
        return;
    for (uint32_t i = load->wanted; i < connections && !is_late; i++)
        if (load->clients[i].state == DJ_LOAD_ASKING)
            return;
    load->phase = PHASE_OVER;
}

/* ---- the loop ---- */

static void expire(struct dj_load *load, uint64_t now_us)
{
    uint64_t before_ns = (now_us - CALL_TIMEOUT_MS * 1000ull) * 1000;
    for (uint32_t i = 0; i < load->client_count; i++)
        dj_load_client_expire(&load->clients[i], before_ns);
}

static void on_finish(void *ctx)
{
    struct dj_load *load = ctx;
    for (uint32_t i = 0; i < load->client_count; i++)
        dj_load_client_fini(&load->clients[i]);
    dj_timer_destroy(load->tick);
    load->tick = NULL;
    dj_loop_stop(load->loop);
}

static void on_tick(void *ctx)
{
    struct dj_load *load = ctx;
    uint64_t now_us = dj_clock_monotonic_us();
    if (load->phase == PHASE_OVER)
        return;
    if (dj_bench_is_interrupted())
        load->status = DEJA_ERR_CANCELLED;
    expire(load, now_us);
    if (load->phase == PHASE_RAMPS)
        tick_ramps(load, now_us);
    else if (load->phase == PHASE_OPENING)
        tick_opening(load, now_us);
    else if (load->phase == PHASE_HOLDING)
        tick_holding(load, now_us);
    else
        tick_asking_again(load, now_us);
    if (load->status != DEJA_OK)
        load->phase = PHASE_OVER;
    if (load->phase == PHASE_OVER)
        dj_loop_post(load->loop, &load->finish);
}

static enum deja_status make_load(struct dj_load *load)
{
    const struct dj_load_options *options = load->options;
    uint32_t count =
        options->connections > options->clients ? options->connections : options->clients;
    load->finish = (struct dj_task){.run = on_finish, .ctx = load};
    enum deja_status status = make_shares(load);
    if (status == DEJA_OK)
        status = dj_bench_series_init(&load->series, SERIES_CAP);
    load->clients = dj_alloc_zeroed(count, sizeof *load->clients);
    if (status == DEJA_OK && !load->clients)
        status = DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        status = dj_loop_create(0, &load->loop);
    if (status == DEJA_OK)
        status = dj_timer_create(load->loop, load, on_tick, &load->tick);
    while (status == DEJA_OK && load->client_count < count) {
        status = dj_load_client_init(&load->clients[load->client_count], load, load->client_count);
        load->client_count++;
    }
    return status;
}

static enum deja_status run_load(struct dj_load *load)
{
    enum deja_status status = make_load(load);
    if (status == DEJA_OK) {
        begin_measuring(load, ramps[0].name, dj_clock_monotonic_us());
        dj_timer_start(load->tick, TICK_MS, TICK_MS);
        dj_loop_run(load->loop);
        status = load->status;
    } else if (load->loop) {
        dj_loop_post(load->loop, &load->finish);
        dj_loop_run(load->loop);
    }
    dj_loop_destroy(load->loop);
    dj_bench_series_fini(&load->series);
    dj_free(load->clients);
    dj_free(load->shares);
    return status;
}

/* ---- the verdict ---- */

static void judge(struct dj_load *load)
{
    struct dj_bench_report *report = load->bench->report;
    const uint64_t *outcomes = load->outcomes;
    double held = load->options->connections;
    double lookups = (double)load->lookups;
    double calls = 0;
    for (size_t i = 0; i < DJ_LOAD_OUTCOMES; i++)
        calls += (double)outcomes[i];
    const struct dj_bench_check checks[] = {
        {"p95", "us", load->p95_us, 0, nextafter(P95_US_MAX, 0)},
        {"hit_rate", "ratio", lookups > 0 ? (double)load->hits / lookups : 0,
         nextafter(HIT_RATE_MIN, 1), 1},
        {"answered", "ratio", calls > 0 ? 1 - (double)outcomes[DJ_LOAD_FAILED] / calls : 0,
         SUCCESS_RATE_MIN, 1},
        {"wrong_answers", "", (double)outcomes[DJ_LOAD_WRONG], 0, 0},
        {"answers_of_other_tenants", "", (double)outcomes[DJ_LOAD_FOREIGN], 0, 0},
        {"without_cache_header", "", (double)outcomes[DJ_LOAD_NO_HEADER], 0, 0},
        {"connections_held", "", load->held, held, held},
    };
    report->check_count = sizeof checks / sizeof *checks - (held > 0 ? 0 : 1);
    memcpy(report->checks, checks, sizeof checks);
    if (load->fault[0])
        fprintf(stderr, "deja bench load: first fault: %s\n", load->fault);
}

/* Both ends of a connection of ours, but each in its own process. */
static enum deja_status check_files(struct dj_bench *bench, const struct dj_load_options *options)
{
    uint64_t files = dj_stream_raise_file_limit();
    uint32_t most =
        options->connections > options->clients ? options->connections : options->clients;
    if (files >= most + FILES_SPARE)
        return DEJA_OK;
    return deja_error_set(&bench->error, DEJA_ERR_LIMIT,
                          "%u connections need as many open files, and this shell allows %llu: "
                          "raise its hard limit (ulimit -Hn), or ask for fewer with --connections",
                          most, (unsigned long long)files);
}

enum deja_status dj_bench_load(struct dj_bench *bench, const struct dj_load_options *options)
{
    struct dj_load load = {.bench = bench, .options = options, .seed = 1};
    enum deja_status status = check_files(bench, options);
    if (status != DEJA_OK)
        return status;
    dj_bench_progress(bench, "load: starting");
    status = dj_load_target_start(bench, options, &load.target);
    if (status != DEJA_OK)
        return status;
    status = run_load(&load);
    if (status == DEJA_OK)
        judge(&load);
    dj_load_target_stop(bench, &load.target);
    return status;
}
