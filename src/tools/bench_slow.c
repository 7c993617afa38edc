/* tools/bench_slow.c - see bench_slow.h.
 *
 *   the caller's thread   one request after the other, timed: alone, beside slow clients of a sink,
 *                         beside slow clients of the daemon that is asked
 *   the slow thread       one tick each millisecond: a thousandth of the peers, each a byte
 *
 * (1) A peer that the server ends is noted with its age and begins anew: the pressure stays.
 * (2) Peers of the slow thread are touched by it alone; `opened` and `is_over` are what both see.
 * (3) On few cores, making so many slow clients holds up who asks more than serving them does. So
 *     they are made twice: the sink shows what they cost whoever serves them, in no way.
 */
#include "tools/bench_slow.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/num.h"
#include "loop/stream.h"
#include "proto/json.h"
#include "tools/bench_load_internal.h"
#include "tools/bench_sink.h"

/* Strangers do not wait for each other: what they send in a second comes evenly over it. */
#define TICK_MS 1u
#define TICKS_PER_TURN 1000u /* each peer has its byte once a second */
#define OPENED_AT_ONCE 100u  /* the server has a queue for those that come together */
#define OPEN_MS_MAX 120000u
#define ALONE_PART 4u /* of the time beside, the time alone */
#define SINK_PART 2u  /* likewise, beside those of the sink */
#define SERIES_CAP 2000000u
#define ROUNDS 8u
#define FILES_SPARE 256u
#define ANSWER_BYTES 65536u
#define RATIO_MAX 1.2
#define SECONDS_PATIENCE 30

const struct dj_slow_options dj_slow_options_default = {.connections = 10000, .seconds = 45};

/* What the server's defaults promise, and room for its sweep, our turn and a busy machine. */
enum kind { KIND_HEAD, KIND_BODY, KIND_READER, KIND_COUNT };
static const struct {
    const char *check;
    uint32_t bound_s;
    uint32_t life_s;   /* how long a peer of the sink stays: what the daemon's usually reach */
    const char *first; /* sent at once; then a byte a turn */
} kinds[KIND_COUNT] = {
    {"oldest_slow_head", 10 + 5, 11, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: "},
    {"oldest_slow_body", 5 + 2 + 5, 6,
     "POST /api/v1/lookup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
     "Content-Length: 1000000\r\n\r\n{"},
    /* Requests for what is long: 30 s, or as an idle client where memory was short, so that it got
     * a small refusal and owes nobody anything. */
    {"oldest_slow_reader", 75 + 2 + 5, 45, NULL},
};
#define READER_REQUEST "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define READER_REQUESTS 16u

struct peer {
    int fd; /* -1: none */
    uint64_t began_us;
};

struct slow {
    const struct sockaddr_storage *address;
    socklen_t address_len;
    bool is_sink;
    struct peer *peers; /* owned */
    uint32_t count;
    uint32_t turn;
    _Atomic uint32_t opened; /* each once, (2) */
    _Atomic bool is_over;
    uint64_t ended[KIND_COUNT];
    uint64_t oldest_us[KIND_COUNT];
    uint64_t failed; /* to connect */
};

static void wait_ms(uint32_t ms)
{
    const struct timespec turn = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&turn, NULL);
}

/* ---- slow ones ---- */

static enum kind kind_of(const struct slow *slow, const struct peer *peer)
{
    return (enum kind)((size_t)(peer - slow->peers) % KIND_COUNT);
}

static int connect_to(const struct sockaddr_storage *address, socklen_t len, int receive_bytes)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (receive_bytes)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    if (connect(fd, (const struct sockaddr *)(const void *)address, len) == 0)
        return fd;
    close(fd);
    return -1;
}

static void open_peer(struct slow *slow, struct peer *peer)
{
    enum kind kind = kind_of(slow, peer);
    peer->fd = connect_to(slow->address, slow->address_len, kind == KIND_READER ? 2048 : 0);
    if (peer->fd < 0) {
        slow->failed++;
        return;
    }
    fcntl(peer->fd, F_SETFL, O_NONBLOCK);
    peer->began_us = dj_clock_monotonic_us();
    size_t times = kind == KIND_READER ? READER_REQUESTS : 1;
    const char *text = kind == KIND_READER ? READER_REQUEST : kinds[kind].first;
    for (size_t i = 0; i < times; i++)
        if (send(peer->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
            return; /* the next turn sees why */
}

static void note_age(struct slow *slow, const struct peer *peer, uint64_t age_us)
{
    uint64_t *oldest_us = &slow->oldest_us[kind_of(slow, peer)];
    if (age_us > *oldest_us)
        *oldest_us = age_us;
}

/* Without a trace in the system's tables: there would be too many. */
static void close_peer(struct peer *peer)
{
    const struct linger at_once = {.l_onoff = 1};
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(peer->fd);
    peer->fd = -1;
}

/* Has the server answered or ended it? A reader does not look at what came. */
static bool has_ended(const struct slow *slow, const struct peer *peer)
{
    char bytes[512];
    int fault = 0;
    socklen_t len = sizeof fault;
    if (kind_of(slow, peer) == KIND_READER)
        return getsockopt(peer->fd, SOL_SOCKET, SO_ERROR, &fault, &len) != 0 || fault != 0;
    ssize_t count = recv(peer->fd, bytes, sizeof bytes, 0);
    return count >= 0 || (errno != EAGAIN && errno != EINTR);
}

static void turn_peer(struct slow *slow, struct peer *peer)
{
    if (peer->fd < 0) {
        open_peer(slow, peer);
        return;
    }
    uint64_t age_us = dj_clock_monotonic_us() - peer->began_us;
    bool is_left = slow->is_sink && age_us > kinds[kind_of(slow, peer)].life_s * 1000000ull;
    note_age(slow, peer, age_us);
    if (!is_left && !has_ended(slow, peer) &&
        (kind_of(slow, peer) == KIND_READER || send(peer->fd, "x", 1, MSG_NOSIGNAL) == 1))
        return;
    slow->ended[kind_of(slow, peer)]++;
    close_peer(peer);
    open_peer(slow, peer);
}

static void *run_slow(void *ctx)
{
    struct slow *slow = ctx;
    for (uint32_t i = 0; i < slow->count && !atomic_load(&slow->is_over); i++) {
        open_peer(slow, &slow->peers[i]);
        atomic_store(&slow->opened, i + 1);
        if (i % OPENED_AT_ONCE == 0)
            wait_ms(1);
    }
    while (!atomic_load(&slow->is_over)) {
        for (uint32_t i = slow->turn; i < slow->count; i += TICKS_PER_TURN)
            turn_peer(slow, &slow->peers[i]);
        slow->turn = (slow->turn + 1) % TICKS_PER_TURN;
        wait_ms(TICK_MS);
    }
    for (uint32_t i = 0; i < slow->count; i++)
        if (slow->peers[i].fd >= 0)
            close_peer(&slow->peers[i]);
    return NULL;
}

/* ---- who asks beside them ---- */

struct asker {
    int fd;
    struct dj_buf request; /* owned */
    char answer[ANSWER_BYTES];
};

static enum deja_status write_request(const struct dj_load_target *target, struct dj_buf *out)
{
    char text[DJ_BENCH_TEXT_BYTES];
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "model", "load");
    dj_json_key(&w, "messages");
    dj_json_begin_array(&w);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "role", "user");
    dj_json_key(&w, "content");
    dj_json_put_string(&w, dj_load_question(0, text));
    dj_json_end_object(&w);
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    dj_buf_append_format(out,
                         "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\n"
                         "Authorization: Bearer %s\r\nContent-Type: application/json\r\n"
                         "Content-Length: %zu\r\n\r\n",
                         target->host, target->names[0], body.len);
    dj_buf_append_slice(out, dj_buf_slice(&body));
    enum deja_status status = body.status != DEJA_OK ? body.status : out->status;
    dj_buf_fini(&body);
    return status;
}

/* Our own daemon's answer: a head with a length. False: it broke off, or is no 200. */
static bool read_answer(struct asker *asker, bool *out_is_hit)
{
    static const char length[] = "\r\nContent-Length: ";
    size_t len = 0;
    size_t whole = SIZE_MAX;
    while (len < whole) {
        ssize_t count = recv(asker->fd, asker->answer + len, sizeof asker->answer - 1 - len, 0);
        if (count <= 0)
            return false;
        len += (size_t)count;
        asker->answer[len] = '\0';
        const char *end = whole == SIZE_MAX ? strstr(asker->answer, "\r\n\r\n") : NULL;
        const char *at = end ? strstr(asker->answer, length) : NULL;
        uint64_t body = 0;
        if (end && (!at || dj_num_parse_u64(deja_slice(at + sizeof length - 1,
                                                       strcspn(at + sizeof length - 1, "\r")),
                                            &body) != DEJA_OK))
            return false;
        if (end)
            whole = (size_t)(end + 4 - asker->answer) + (size_t)body;
        if (whole != SIZE_MAX && whole >= sizeof asker->answer)
            return false;
    }
    *out_is_hit = strstr(asker->answer, "\r\nX-Cache-Hit: true\r\n") != NULL;
    return strncmp(asker->answer, "HTTP/1.1 200 ", 13) == 0;
}

static bool ask(struct asker *asker, const struct dj_load_target *target, bool *out_is_hit)
{
    if (asker->fd < 0) {
        const struct timeval patience = {.tv_sec = SECONDS_PATIENCE};
        asker->fd = connect_to(&target->address, target->address_len, 0);
        if (asker->fd < 0)
            return false;
        setsockopt(asker->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    if (send(asker->fd, asker->request.data, asker->request.len, MSG_NOSIGNAL) ==
            (ssize_t)asker->request.len &&
        read_answer(asker, out_is_hit))
        return true;
    close(asker->fd);
    asker->fd = -1;
    return false;
}

/* Asks for that long, in rounds; one more result, and its p99 in microseconds. */
static enum deja_status measure(struct dj_bench *bench, struct asker *asker,
                                const struct dj_load_target *target, const char *name,
                                uint32_t seconds, double *out_p99_us)
{
    struct dj_bench_series series = {.count = 0};
    struct dj_bench_result result = dj_bench_result(name, "us");
    enum deja_status status = dj_bench_series_init(&series, SERIES_CAP);
    dj_bench_progress(bench, name);
    for (uint32_t round = 0; round < ROUNDS && status == DEJA_OK; round++) {
        uint64_t end_us = dj_clock_monotonic_us() + (uint64_t)seconds * 1000000 / ROUNDS;
        uint64_t now_us = 0;
        while ((now_us = dj_clock_monotonic_us()) < end_us) {
            bool is_hit = false;
            bool is_right = ask(asker, target, &is_hit) && is_hit;
            dj_bench_series_add(&series, (double)(dj_clock_monotonic_us() - now_us), is_right);
        }
        dj_bench_series_end_round(&series, 0);
        if (dj_bench_is_interrupted())
            status = DEJA_ERR_CANCELLED;
    }
    if (status == DEJA_OK)
        status = dj_bench_keep(bench, &result, &series);
    if (status == DEJA_OK)
        *out_p99_us = bench->report->results[bench->report->count - 1].figures.p99;
    dj_bench_series_fini(&series);
    return status;
}

/* ---- the run ---- */

static enum deja_status wait_until_open(struct slow *slow)
{
    uint64_t end_us = dj_clock_monotonic_us() + OPEN_MS_MAX * 1000ull;
    while (atomic_load(&slow->opened) < slow->count) {
        if (dj_bench_is_interrupted())
            return DEJA_ERR_CANCELLED;
        if (dj_clock_monotonic_us() > end_us)
            return DEJA_ERR_TIMEOUT;
        wait_ms(TICK_MS);
    }
    return DEJA_OK;
}

static void judge(struct dj_bench *bench, const struct slow *slow, double sink_us, double beside_us)
{
    struct dj_bench_report *report = bench->report;
    const struct dj_bench_result *beside = &report->results[report->count - 1];
    report->checks[report->check_count++] =
        (struct dj_bench_check){"p99_ratio", "ratio", beside_us / sink_us, 0, RATIO_MAX};
    report->checks[report->check_count++] =
        (struct dj_bench_check){"answered", "ratio", beside->figures.success_rate, 0.999, 1};
    for (size_t i = 0; i < KIND_COUNT; i++)
        report->checks[report->check_count++] = (struct dj_bench_check){
            kinds[i].check, "us", (double)slow->oldest_us[i], 0, (double)kinds[i].bound_s * 1e6};
    fprintf(stderr,
            "deja bench slow: %u slow connections; ended by the server: %llu heads, %llu bodies, "
            "%llu readers; %llu could not connect\n",
            slow->count, (unsigned long long)slow->ended[KIND_HEAD],
            (unsigned long long)slow->ended[KIND_BODY],
            (unsigned long long)slow->ended[KIND_READER], (unsigned long long)slow->failed);
}

/* Asks while slow->count of them are at slow->address. */
static enum deja_status measure_beside(struct dj_bench *bench, struct asker *asker,
                                       const struct dj_load_target *target, struct slow *slow,
                                       const char *name, uint32_t seconds, double *out_p99_us)
{
    pthread_t thread;
    slow->peers = dj_alloc_zeroed(slow->count, sizeof *slow->peers);
    if (!slow->peers)
        return DEJA_ERR_NOMEM;
    for (uint32_t i = 0; i < slow->count; i++)
        slow->peers[i].fd = -1;
    enum deja_status status = DEJA_ERR_LIMIT;
    if (pthread_create(&thread, NULL, run_slow, slow) == 0) {
        status = wait_until_open(slow);
        if (status == DEJA_OK)
            status = measure(bench, asker, target, name, seconds, out_p99_us);
        atomic_store(&slow->is_over, true);
        pthread_join(thread, NULL);
    }
    dj_free(slow->peers);
    return status;
}

static uint32_t part(uint32_t seconds, uint32_t count)
{
    return seconds / count ? seconds / count : 1;
}

/* (3) */
static enum deja_status measure_sink(struct dj_bench *bench, const struct dj_slow_options *options,
                                     const struct dj_load_target *target, struct asker *asker,
                                     double *out_p99_us)
{
    struct dj_bench_sink sink = {.child = 0};
    struct slow slow = {.address = &sink.address, .is_sink = true, .count = options->connections};
    enum deja_status status = dj_bench_sink_start(&sink);
    slow.address_len = sink.address_len;
    if (status == DEJA_OK)
        status = measure_beside(bench, asker, target, &slow, "slow.sink",
                                part(options->seconds, SINK_PART), out_p99_us);
    dj_bench_sink_stop(&sink);
    return status;
}

static enum deja_status run(struct dj_bench *bench, const struct dj_slow_options *options,
                            const struct dj_load_target *target, struct asker *asker)
{
    struct slow slow = {.address = &target->address,
                        .address_len = target->address_len,
                        .count = options->connections};
    double alone_us = 0;
    double sink_us = 0;
    double beside_us = 0;
    bool is_hit = false;
    if (!ask(asker, target, &is_hit)) /* puts it into the cache */
        return deja_error_set(&bench->error, DEJA_ERR_IO, "the daemon does not answer");
    enum deja_status status =
        measure(bench, asker, target, "slow.alone", part(options->seconds, ALONE_PART), &alone_us);
    if (status == DEJA_OK)
        status = measure_sink(bench, options, target, asker, &sink_us);
    if (status == DEJA_OK)
        status = measure_beside(bench, asker, target, &slow, "slow.beside", options->seconds,
                                &beside_us);
    if (status == DEJA_OK)
        judge(bench, &slow, sink_us, beside_us);
    return status;
}

enum deja_status dj_bench_slow(struct dj_bench *bench, const struct dj_slow_options *options)
{
    struct dj_load_options load = dj_load_options_default;
    struct dj_load_target target = {.options = NULL};
    uint64_t files = dj_stream_raise_file_limit();
    if (files < options->connections + FILES_SPARE)
        return deja_error_set(&bench->error, DEJA_ERR_LIMIT,
                              "%u connections need as many open files, and this shell allows "
                              "%llu: raise its hard limit (ulimit -Hn), or ask for fewer with "
                              "--connections",
                              options->connections, (unsigned long long)files);
    struct asker *asker = dj_alloc_zeroed(1, sizeof *asker);
    if (!asker)
        return DEJA_ERR_NOMEM;
    asker->fd = -1;
    load.connections = options->connections;
    load.tenants = 1;
    load.questions = 1;
    dj_bench_progress(bench, "slow: starting");
    enum deja_status status = dj_load_target_start(bench, &load, &target);
    if (status == DEJA_OK)
        status = write_request(&target, &asker->request);
    if (status == DEJA_OK)
        status = run(bench, options, &target, asker);
    if (asker->fd >= 0)
        close(asker->fd);
    dj_buf_fini(&asker->request);
    dj_free(asker);
    dj_load_target_stop(bench, &target);
    return status;
}
