/* tools/bench_sink.c - see bench_sink.h.
 *
 * A process of its own, forked and never exec'ed: both ends of a connection would be more open
 * files than one process may have. It ends with its parent.
 */
#include "tools/bench_sink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop/stream.h"

#define PARENT_CHECK_MS 1000u
#define EXIT_UNABLE 1

/* ---- the child ---- */

static void on_read(void *ctx, enum deja_status status, struct deja_slice bytes)
{
    struct dj_stream *stream = ctx;
    if (status != DEJA_OK || bytes.len == 0)
        dj_stream_close(stream, NULL, NULL);
}

static void on_accept(void *ctx, struct dj_stream *stream)
{
    (void)ctx;
    dj_stream_read_start(stream, stream, on_read);
}

static void look_after_parent(void *ctx)
{
    const pid_t *parent = ctx;
    if (getppid() != *parent)
        _exit(0);
}

static _Noreturn void run(int listen_fd, pid_t parent)
{
    struct dj_loop *loop = NULL;
    struct dj_listener *listener = NULL;
    struct dj_timer *timer = NULL;
    if (dj_loop_create(0, &loop) != DEJA_OK ||
        dj_timer_create(loop, &parent, look_after_parent, &timer) != DEJA_OK ||
        dj_listener_open_fd(loop, listen_fd, NULL, on_accept, &listener, NULL) != DEJA_OK)
        _exit(EXIT_UNABLE);
    dj_timer_start(timer, PARENT_CHECK_MS, PARENT_CHECK_MS);
    dj_loop_run(loop);
    _exit(0);
}

/* ---- start and stop ---- */

static bool listen_on(int fd, struct sockaddr_storage *out_address, socklen_t *out_len)
{
    const struct sockaddr_in any_port = {.sin_family = AF_INET,
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *out_len = sizeof *out_address;
    return bind(fd, (const struct sockaddr *)(const void *)&any_port, sizeof any_port) == 0 &&
           listen(fd, SOMAXCONN) == 0 &&
           getsockname(fd, (struct sockaddr *)(void *)out_address, out_len) == 0;
}

enum deja_status dj_bench_sink_start(struct dj_bench_sink *out_sink)
{
    struct dj_bench_sink sink = {.child = 0};
    pid_t parent = getpid();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    enum deja_status status = DEJA_ERR_IO;
    if (fd >= 0 && listen_on(fd, &sink.address, &sink.address_len)) {
        sink.child = fork();
        if (sink.child == 0)
            run(fd, parent);
        status = sink.child > 0 ? DEJA_OK : DEJA_ERR_LIMIT;
    }
    if (fd >= 0)
        close(fd);
    if (status == DEJA_OK)
        *out_sink = sink;
    return status;
}

void dj_bench_sink_stop(struct dj_bench_sink *sink)
{
    if (sink->child <= 0)
        return;
    kill(sink->child, SIGKILL);
    while (waitpid(sink->child, NULL, 0) < 0 && errno == EINTR)
        ;
    sink->child = 0;
}
