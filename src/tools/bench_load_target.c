/* tools/bench_load_target.c - whom the clients of `deja bench load` ask: a daemon of our own in a
 * folder of its own, with a model behind it that knows the right answers; or one that runs already.
 *
 * The daemon is a process like any other user's, this program started again, so that its memory and
 * its open files are its own and can be looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/num.h"
#include "base/slice.h"
#include "net/client.h"
#include "proto/json.h"
#include "tools/bench_load_internal.h"
#include "tools/file.h"

#define START_MS 120000u /* a sanitized daemon on a busy machine is slow to start */
#define STOP_MS 60000u
#define TURN_MS 20u
#define LOG_BYTES_MAX (1u << 20)
#define SPARE_CONNECTIONS 64u
#define MODEL_MS 5u

static void wait_a_turn(void)
{
    const struct timespec turn = {.tv_nsec = TURN_MS * 1000000};
    nanosleep(&turn, NULL);
}

/* ---- texts ---- */

struct deja_slice dj_load_question(uint32_t question, char out_text[DJ_BENCH_TEXT_BYTES])
{
    char text[DJ_BENCH_TEXT_BYTES];
    struct deja_slice words = dj_bench_question(question, false, text);
    int len = snprintf(out_text, DJ_BENCH_TEXT_BYTES, "Order %u: %.*s", question, (int)words.len,
                       words.data);
    return deja_slice(out_text, (size_t)len);
}

size_t dj_load_answer(const struct dj_load_target *target, uint32_t tenant, uint32_t question,
                      char out_text[DJ_LOAD_ANSWER_BYTES])
{
    int len = snprintf(out_text, DJ_LOAD_ANSWER_BYTES, "%s asked: ", target->names[tenant]);
    memcpy(out_text + len, target->fillers[question], DJ_BENCH_ANSWER_BYTES);
    return (size_t)len + DJ_BENCH_ANSWER_BYTES;
}

static bool begins_with_name(const struct dj_load_target *target, uint32_t tenant,
                             struct deja_slice text)
{
    const char *name = target->names[tenant];
    size_t len = strlen(name);
    return text.len > len && memcmp(text.data, name, len) == 0 && text.data[len] == ' ';
}

bool dj_load_is_foreign(const struct dj_load_target *target, uint32_t tenant,
                        struct deja_slice text)
{
    for (uint32_t i = 0; i < target->tenant_count; i++)
        if (i != tenant && begins_with_name(target, i, text))
            return true;
    return false;
}

/* ---- the model ---- */

static struct deja_slice last_text(const struct dj_json *root)
{
    const struct dj_json *messages = dj_json_get(root, "messages");
    size_t count = dj_json_count(messages);
    return count ? dj_json_string(dj_json_get(dj_json_at(messages, count - 1), "content"))
                 : deja_slice(NULL, 0);
}

/* The number in a question of ours; false: it is none. */
static bool read_question(const struct dj_load_target *target, struct deja_slice text,
                          uint32_t *out_question)
{
    static const char start[] = "Order ";
    char whole[DJ_BENCH_TEXT_BYTES];
    uint64_t number = 0;
    const char *colon = text.len ? memchr(text.data, ':', text.len) : NULL;
    if (!colon || (size_t)(colon - text.data) < sizeof start)
        return false;
    const char *digits = text.data + sizeof start - 1;
    if (dj_num_parse_u64(deja_slice(digits, (size_t)(colon - digits)), &number) != DEJA_OK ||
        number >= target->options->questions ||
        !deja_slice_is_equal(text, dj_load_question((uint32_t)number, whole)))
        return false;
    *out_question = (uint32_t)number;
    return true;
}

/* Whose name the request carries; tenant_count: nobody's. */
static uint32_t read_tenant(const struct dj_load_target *target,
                            const struct dj_http_request *request)
{
    static const char scheme[] = "Bearer ";
    struct deja_slice value = dj_http_find_header(request, "Authorization");
    uint32_t i = 0;
    if (value.len < sizeof scheme)
        return target->tenant_count;
    value = deja_slice(value.data + sizeof scheme - 1, value.len - (sizeof scheme - 1));
    while (i < target->tenant_count && !dj_slice_is(value, target->names[i]))
        i++;
    return i;
}

static void on_question(void *ctx, const struct dj_http_request *request, struct dj_buf *out_text)
{
    const struct dj_load_target *target = ctx;
    struct dj_json_doc *doc = NULL;
    char answer[DJ_LOAD_ANSWER_BYTES];
    uint32_t question = 0;
    uint32_t tenant = read_tenant(target, request);
    if (tenant < target->tenant_count && dj_json_parse(request->body, &doc, NULL) == DEJA_OK &&
        read_question(target, last_text(dj_json_root(doc)), &question))
        dj_buf_append(out_text, answer, dj_load_answer(target, tenant, question, answer));
    else
        dj_buf_append_text(out_text, "nobody of this run asked this");
    dj_json_doc_destroy(doc);
}

static enum deja_status start_model(struct dj_bench *bench, struct dj_load_target *target)
{
    const struct dj_fake_model_options options = {.port = target->options->model_port,
                                                  .delay_ms = MODEL_MS,
                                                  .ctx = target,
                                                  .answer = on_question};
    return dj_fake_model_create(&options, &target->model, &bench->error);
}

/* ---- a daemon of our own ---- */

static void run_daemon(char *const *argv, const char *log)
{
    static char *const environment[] = {NULL};
    sigset_t none;
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0)
        execve("/proc/self/exe", argv, environment);
    _exit(127);
}

/* An empty file of settings keeps those of this machine out. */
static enum deja_status spawn_daemon(struct dj_bench *bench, struct dj_load_target *target,
                                     const char *log)
{
    char config[DJ_BENCH_PATH_BYTES + 16];
    char upstream[64];
    char connections[64];
    char model[DJ_BENCH_PATH_BYTES * 4] = "semantic.embedder=lexical";
    snprintf(config, sizeof config, "%s/deja.yaml", target->folder);
    snprintf(upstream, sizeof upstream, "http://127.0.0.1:%u", dj_fake_model_port(target->model));
    snprintf(connections, sizeof connections, "server.max_connections=%u",
             (target->options->connections > target->options->clients ? target->options->connections
                                                                      : target->options->clients) +
                 SPARE_CONNECTIONS);
    if (bench->model_dir)
        snprintf(model, sizeof model, "semantic.model_dir=%s", bench->model_dir);
    FILE *file = fopen(config, "w");
    if (!file || fputs("log:\n  level: error\n", file) < 0 || fclose(file) != 0)
        return deja_error_set(&bench->error, DEJA_ERR_IO, "%s: %s", config, strerror(errno));
    char serve[] = "serve", name[] = "deja", set[] = "--set", data_flag[] = "--data";
    char config_flag[] = "--config", listen_flag[] = "--listen", listen[] = "127.0.0.1:0";
    char upstream_flag[] = "--upstream";
    char *const argv[] = {name,        serve,  config_flag,   config,   data_flag, target->folder,
                          listen_flag, listen, upstream_flag, upstream, set,       connections,
                          set,         model,  NULL};
    pid_t child = fork();
    if (child < 0)
        return deja_error_set(&bench->error, DEJA_ERR_LIMIT, "fork: %s", strerror(errno));
    if (!child)
        run_daemon(argv, log);
    target->daemon = child;
    return DEJA_OK;
}

/* "http://127.0.0.1:41234" out of the daemon's first line; false: not there yet. */
static bool read_address(const char *log, char *out_url, size_t room)
{
    static const char mark[] = "listens on ";
    struct dj_buf text = {.bytes_max = LOG_BYTES_MAX};
    struct deja_error error;
    bool is_found = false;
    if (dj_tool_read_file(log, &text, &error) == DEJA_OK) {
        dj_buf_append_byte(&text, '\0');
        const char *at = text.status == DEJA_OK ? strstr(text.data, mark) : NULL;
        size_t len = at ? strcspn(at + sizeof mark - 1, "\n") : 0;
        is_found = at && at[sizeof mark - 1 + len] == '\n' && len < room;
        if (is_found)
            snprintf(out_url, room, "%.*s", (int)len, at + sizeof mark - 1);
    }
    dj_buf_fini(&text);
    return is_found;
}

static enum deja_status tell_log(struct dj_bench *bench, const char *log, const char *what)
{
    struct dj_buf text = {.bytes_max = LOG_BYTES_MAX};
    struct deja_error error;
    if (dj_tool_read_file(log, &text, &error) == DEJA_OK)
        deja_error_set(&bench->error, DEJA_ERR_IO, "the daemon %s; it says: %.*s", what,
                       (int)(text.len < 300 ? text.len : 300), text.data ? text.data : "");
    else
        deja_error_set(&bench->error, DEJA_ERR_IO, "the daemon %s", what);
    dj_buf_fini(&text);
    return DEJA_ERR_IO;
}

/* DEJA_OK: something speaks HTTP there; *out_http_status: what it thinks of itself. */
static enum deja_status look_whether_ready(const char *url, int *out_http_status,
                                           struct deja_error *error)
{
    struct dj_client client = {.server = url, .timeout_ms = 5000};
    struct dj_client_answer answer;
    enum deja_status status =
        dj_client_call(&client, "GET", "/readyz", deja_slice(NULL, 0), &answer);
    *out_http_status = answer.http_status;
    if (status != DEJA_OK)
        status = deja_error_set(error, DEJA_ERR_CIRCUIT_OPEN,
                                "%.200s: %.200s; does deja serve run there?", url, answer.detail);
    dj_client_answer_fini(&answer);
    return status;
}

static bool is_ready(const char *url)
{
    int http_status = 0;
    return look_whether_ready(url, &http_status, NULL) == DEJA_OK && http_status == 200;
}

static enum deja_status start_daemon(struct dj_bench *bench, struct dj_load_target *target,
                                     char *out_url, size_t room)
{
    char log[DJ_BENCH_PATH_BYTES + 16];
    enum deja_status status = dj_bench_folder_make(target->folder, &bench->error);
    if (status != DEJA_OK)
        return status;
    snprintf(log, sizeof log, "%s/daemon.log", target->folder);
    status = spawn_daemon(bench, target, log);
    uint64_t end_us = dj_clock_monotonic_us() + START_MS * 1000ull;
    while (status == DEJA_OK) {
        if (read_address(log, out_url, room) && is_ready(out_url))
            return DEJA_OK;
        if (waitpid(target->daemon, NULL, WNOHANG) == target->daemon) {
            target->daemon = 0;
            return tell_log(bench, log, "did not start");
        }
        if (dj_clock_monotonic_us() > end_us)
            return tell_log(bench, log, "is not ready");
        if (dj_bench_is_interrupted())
            return DEJA_ERR_CANCELLED;
        wait_a_turn();
    }
    return status;
}

static void stop_daemon(pid_t daemon)
{
    uint64_t end_us = dj_clock_monotonic_us() + STOP_MS * 1000ull;
    kill(daemon, SIGTERM);
    while (waitpid(daemon, NULL, WNOHANG) == 0) {
        if (dj_clock_monotonic_us() > end_us) {
            kill(daemon, SIGKILL);
            end_us = UINT64_MAX;
        }
        wait_a_turn();
    }
}

/* ---- one that runs ---- */

/* "http://host:port" to an address; url was checked. */
static enum deja_status resolve(struct dj_bench *bench, struct dj_load_target *target,
                                const char *url)
{
    static const char scheme[] = "http://";
    char host[sizeof target->host];
    const char *port = "80";
    if (strncmp(url, scheme, sizeof scheme - 1) != 0)
        return deja_error_set(&bench->error, DEJA_ERR_INVALID,
                              "%s: deja bench load speaks plain http only; give it the daemon's "
                              "own port, not that of a proxy with TLS",
                              url);
    url += sizeof scheme - 1;
    int len = snprintf(target->host, sizeof target->host, "%.*s", (int)strcspn(url, "/"), url);
    if (len < 0 || (size_t)len >= sizeof target->host)
        return deja_error_set(&bench->error, DEJA_ERR_INVALID, "--server is too long");
    memcpy(host, target->host, sizeof host);
    char *end = host + (host[0] == '[' ? strcspn(host, "]") : 0);
    char *colon = strrchr(end, ':');
    if (colon) {
        *colon = '\0';
        port = colon + 1;
    }
    char *name = host;
    if (host[0] == '[') {
        *end = '\0';
        name++;
    }
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(name, port, &hints, &found);
    if (code || !found)
        return deja_error_set(&bench->error, DEJA_ERR_CIRCUIT_OPEN, "%s: %s", target->host,
                              gai_strerror(code));
    memcpy(&target->address, found->ai_addr, found->ai_addrlen);
    target->address_len = found->ai_addrlen;
    freeaddrinfo(found);
    return DEJA_OK;
}

/* Keys of the server's own configuration, parted by commas. */
static enum deja_status take_keys(struct dj_bench *bench, struct dj_load_target *target)
{
    const char *at = bench->key;
    target->tenant_count = 0;
    while (*at) {
        size_t len = strcspn(at, ",");
        if (target->tenant_count == DJ_LOAD_TENANTS_MAX || !len || len >= DJ_LOAD_NAME_BYTES)
            return deja_error_set(&bench->error, DEJA_ERR_INVALID,
                                  "--key expects up to %u keys parted by commas",
                                  DJ_LOAD_TENANTS_MAX);
        memcpy(target->names[target->tenant_count++], at, len);
        at += len + (at[len] == ',');
    }
    return DEJA_OK;
}

static enum deja_status make_texts(struct dj_bench *bench, struct dj_load_target *target)
{
    unsigned long long number = dj_clock_monotonic_ns();
    uint32_t questions = target->options->questions;
    target->fillers = dj_alloc_zeroed(questions, sizeof *target->fillers);
    if (!target->fillers)
        return deja_error_set(&bench->error, DEJA_ERR_NOMEM, "out of memory");
    for (uint32_t i = 0; i < questions; i++)
        dj_bench_answer(i, target->fillers[i]);
    snprintf(target->name_space, sizeof target->name_space, "deja-load-%llx", number);
    target->tenant_count = target->options->tenants;
    for (uint32_t i = 0; i < target->tenant_count; i++)
        snprintf(target->names[i], sizeof target->names[i], "load-%llx-%u", number, i);
    return bench->server && bench->key && *bench->key ? take_keys(bench, target) : DEJA_OK;
}

enum deja_status dj_load_target_start(struct dj_bench *bench, const struct dj_load_options *options,
                                      struct dj_load_target *out_target)
{
    char url[64];
    int http_status = 0;
    *out_target = (struct dj_load_target){.options = options,
                                          .is_api = bench->server && !options->model_port};
    enum deja_status status = make_texts(bench, out_target);
    if (status == DEJA_OK && !out_target->is_api)
        status = start_model(bench, out_target);
    if (status == DEJA_OK && !bench->server)
        status = start_daemon(bench, out_target, url, sizeof url);
    if (status == DEJA_OK && bench->server)
        status = look_whether_ready(bench->server, &http_status, &bench->error);
    if (status == DEJA_OK)
        status = resolve(bench, out_target, bench->server ? bench->server : url);
    if (status != DEJA_OK)
        dj_load_target_stop(bench, out_target);
    return status;
}

/* Of a server that goes on; best effort, as entries end by themselves. */
static void remove_entries(const struct dj_bench *bench, const struct dj_load_target *target)
{
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "namespace", target->name_space);
    dj_json_end_object(&w);
    for (uint32_t i = 0; i < target->tenant_count && body.status == DEJA_OK; i++) {
        const struct dj_client client = {.server = bench->server, .key = target->names[i]};
        struct dj_client_answer answer;
        if (dj_client_call(&client, "POST", "/api/v1/invalidate", dj_buf_slice(&body), &answer) !=
            DEJA_OK)
            fprintf(stderr, "deja bench: entries of namespace %s stay until they expire: %s\n",
                    target->name_space, answer.detail);
        dj_client_answer_fini(&answer);
    }
    dj_buf_fini(&body);
}

void dj_load_target_stop(struct dj_bench *bench, struct dj_load_target *target)
{
    if (target->is_api && target->address_len)
        remove_entries(bench, target);
    if (target->daemon)
        stop_daemon(target->daemon);
    dj_fake_model_destroy(target->model);
    if (target->folder[0])
        dj_bench_folder_remove(target->folder);
    dj_free(target->fillers);
    explicit_bzero(target->names, sizeof target->names);
    *target = (struct dj_load_target){.options = NULL};
}
