/* loop/stream.c - TCP on libuv: write at once what the socket takes, queue copies of the rest.
 *
 * (1) All streams of a loop read into the loop's one buffer; a callback that wants to keep bytes
 *     copies them.
 * (2) A listener that cannot get memory for a connection leaves it in libuv's hands and asks again
 *     after ACCEPT_RETRY_MS: libuv accepts no other before that one was taken.
 */
#include "loop/stream.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "loop/loop_internal.h"

enum { ACCEPT_RETRY_MS = 50, LISTEN_BACKLOG = 1024 };

uint64_t dj_stream_raise_file_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return 0;
    rlim_t before = files.rlim_cur;
    files.rlim_cur = files.rlim_max;
    /* Where it fails there are only fewer connections. */
    return before == files.rlim_max || setrlimit(RLIMIT_NOFILE, &files) == 0 ? files.rlim_max
                                                                             : before;
}

struct dj_listener {
    uv_tcp_t handle;
    uv_timer_t retry;
    uint32_t open_count; /* of the two handles */
    struct dj_loop *loop;
    void *ctx;
    dj_accept_fn *on_accept;
    uint16_t port;
};

struct dj_stream {
    uv_tcp_t handle;
    struct dj_loop *loop;
    void *read_ctx;
    dj_stream_read_fn *on_read;
    void *closed_ctx;
    dj_stream_closed_fn *closed;
    uint8_t peer[16]; /* IPv6, or IPv4 mapped into it */
};

/* What a socket did not take at once; owns its bytes until written or failed. */
struct write {
    uv_write_t request;
    void *ctx;
    dj_stream_written_fn *on_written;
    char bytes[];
};

static void take_peer(struct dj_stream *stream, const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        memset(stream->peer + 10, 0xff, 2);
        memcpy(stream->peer + 12, &v4->sin_addr, 4);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
        memcpy(stream->peer, &v6->sin6_addr, sizeof(stream->peer));
    } else if (address->ss_family == AF_UNIX) {
        stream->peer[15] = 1; /* ::1: this machine */
    }
}

static void on_stream_closed(uv_handle_t *handle)
{
    struct dj_stream *stream = handle->data;
    if (stream->closed)
        stream->closed(stream->closed_ctx);
    stream->loop->handle_count--;
    dj_free(stream);
}

static void on_listener_part_closed(uv_handle_t *handle)
{
    struct dj_listener *listener = handle->data;
    listener->loop->handle_count--;
    if (--listener->open_count == 0)
        dj_free(listener);
}

static void on_retry(uv_timer_t *handle);

static void accept_one(struct dj_listener *listener)
{
    struct dj_loop *loop = listener->loop;
    struct dj_stream *stream = dj_alloc_zeroed(1, sizeof(*stream));
    if (!stream)
        goto later;
    if (uv_tcp_init(&loop->uv, &stream->handle) < 0)
        goto later;
    stream->handle.data = stream;
    stream->loop = loop;
    loop->handle_count++;
    if (uv_accept((uv_stream_t *)&listener->handle, (uv_stream_t *)&stream->handle) < 0) {
        uv_close((uv_handle_t *)&stream->handle, on_stream_closed); /* it was gone already */
        return;
    }
    uv_tcp_nodelay(&stream->handle, 1); /* without it answers are only slower */
    struct sockaddr_storage peer = {0};
    int peer_len = (int)sizeof(peer);
    if (uv_tcp_getpeername(&stream->handle, (struct sockaddr *)&peer, &peer_len) == 0)
        take_peer(stream, &peer);
    listener->on_accept(listener->ctx, stream);
    return;
later:
    dj_free(stream);
    uv_timer_start(&listener->retry, on_retry, ACCEPT_RETRY_MS, 0);
}

static void on_connection(uv_stream_t *handle, int status)
{
    if (status == 0) /* a failed accept is the peer's loss; the next one is told anew */
        accept_one(handle->data);
}

static void on_retry(uv_timer_t *handle)
{
    accept_one(handle->data);
}

/* A bound socket of our own, because SO_REUSEPORT has to be set before bind; -1: see errno. */
static int bind_socket(const struct sockaddr_storage *address, bool is_shared)
{
    bool is_v6 = address->ss_family == AF_INET6;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    const int on = 1;
    const int shared = is_shared;
    socklen_t len = is_v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &shared, sizeof(shared)) < 0 ||
        bind(fd, (const struct sockaddr *)(const void *)address, len) < 0) {
        int code = errno;
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

static uint16_t bound_port(const uv_tcp_t *handle)
{
    struct sockaddr_storage address = {0};
    int len = (int)sizeof(address);
    int code = uv_tcp_getsockname(handle, (struct sockaddr *)&address, &len);
    assert(code == 0);
    if (address.ss_family == AF_UNIX)
        return 0;
    if (address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)&address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)(const void *)&address)->sin_port);
}

static bool parse_address(const char *host, uint16_t port, struct sockaddr_storage *out_address)
{
    return uv_ip4_addr(host, port, (struct sockaddr_in *)(void *)out_address) == 0 ||
           uv_ip6_addr(host, port, (struct sockaddr_in6 *)(void *)out_address) == 0;
}

enum deja_status dj_listener_bind(const char *host, uint16_t port, int *out_fd,
                                  struct deja_error *error)
{
    struct sockaddr_storage address = {0};
    if (!parse_address(host, port, &address))
        return deja_error_set(error, DEJA_ERR_INVALID, "\"%s\" is not a numeric address", host);
    int fd = bind_socket(&address, false);
    if (fd < 0 && errno == EADDRINUSE)
        return deja_error_set(error, DEJA_ERR_BUSY, "another process listens on %s port %u already",
                              host, port);
    if (fd < 0)
        return deja_error_set(error, DEJA_ERR_IO, "cannot listen on %s port %u: %s", host, port,
                              uv_strerror(uv_translate_sys_error(errno)));
    *out_fd = fd;
    return DEJA_OK;
}

enum deja_status dj_listener_check_free(const char *host, uint16_t port, struct deja_error *error)
{
    int fd = -1;
    enum deja_status status = dj_listener_bind(host, port, &fd, error);
    if (fd >= 0)
        close(fd);
    return status == DEJA_ERR_IO ? DEJA_OK : status; /* the rest is told when it is opened */
}

/* fd: taken, also on failure; < 0: errno says why. */
static int listen_on(struct dj_loop *loop, int fd, void *ctx, dj_accept_fn *on_accept,
                     struct dj_listener **out_listener)
{
    if (fd < 0)
        return uv_translate_sys_error(errno);
    struct dj_listener *listener = dj_alloc_zeroed(1, sizeof(*listener));
    int code = listener ? uv_tcp_init(&loop->uv, &listener->handle) : UV_ENOMEM;
    if (code < 0) {
        close(fd);
        dj_free(listener);
        return code;
    }
    listener->loop = loop;
    listener->ctx = ctx;
    listener->on_accept = on_accept;
    listener->handle.data = listener;
    uv_timer_init(&loop->uv, &listener->retry);
    listener->retry.data = listener;
    listener->open_count = 2;
    loop->handle_count += 2;
    code = uv_tcp_open(&listener->handle, fd); /* takes fd */
    if (code < 0)
        close(fd);
    else
        code = uv_listen((uv_stream_t *)&listener->handle, LISTEN_BACKLOG, on_connection);
    if (code < 0) {
        dj_listener_close(listener);
        return code;
    }
    listener->port = bound_port(&listener->handle);
    *out_listener = listener;
    return 0;
}

enum deja_status dj_listener_open(struct dj_loop *loop, const char *host, uint16_t port, void *ctx,
                                  dj_accept_fn *on_accept, struct dj_listener **out_listener,
                                  struct deja_error *error)
{
    assert(dj_loop_is_current(loop) && on_accept);
    struct sockaddr_storage address = {0};
    if (!parse_address(host, port, &address))
        return deja_error_set(error, DEJA_ERR_INVALID, "\"%s\" is not a numeric address", host);
    int code = listen_on(loop, bind_socket(&address, true), ctx, on_accept, out_listener);
    return code < 0
               ? deja_error_set(error, dj_loop_status_from_uv(code),
                                "cannot listen on %s port %u: %s", host, port, uv_strerror(code))
               : DEJA_OK;
}

enum deja_status dj_listener_open_fd(struct dj_loop *loop, int fd, void *ctx,
                                     dj_accept_fn *on_accept, struct dj_listener **out_listener,
                                     struct deja_error *error)
{
    assert(dj_loop_is_current(loop) && on_accept);
    int code = listen_on(loop, fcntl(fd, F_DUPFD_CLOEXEC, 0), ctx, on_accept, out_listener);
    return code < 0 ? deja_error_set(error, dj_loop_status_from_uv(code),
                                     "cannot listen on the socket passed as descriptor %d: %s", fd,
                                     uv_strerror(code))
                    : DEJA_OK;
}

/* Does a process listen there still? */
static bool is_answering(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_there = fd >= 0 && connect(fd, (const struct sockaddr *)(const void *)address,
                                       sizeof(*address)) == 0;
    if (fd >= 0)
        close(fd);
    return is_there;
}

enum deja_status dj_listener_bind_unix(const char *path, int *out_fd, struct deja_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat there;
    if (strlen(path) >= sizeof(address.sun_path))
        return deja_error_set(error, DEJA_ERR_INVALID, "%s: longer than a socket's path may be",
                              path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (lstat(path, &there) == 0 && S_ISSOCK(there.st_mode)) {
        if (is_answering(&address))
            return deja_error_set(error, DEJA_ERR_BUSY, "another process listens on %s already",
                                  path);
        unlink(path); /* where that fails, bind says so */
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode of the socket itself is that of its file, from its first moment. */
    if (fd < 0 || fchmod(fd, S_IRUSR | S_IWUSR) < 0 ||
        bind(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)) < 0) {
        int code = errno;
        if (fd >= 0)
            close(fd);
        return deja_error_set(error, DEJA_ERR_IO, "cannot listen on %s: %s", path,
                              uv_strerror(uv_translate_sys_error(code)));
    }
    *out_fd = fd;
    return DEJA_OK;
}

bool dj_listener_is_bound_to(int fd, const char *host, uint16_t port)
{
    struct sockaddr_storage wanted = {0};
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof(bound);
    int type = 0;
    socklen_t type_len = sizeof(type);
    if (!parse_address(host, port, &wanted) ||
        getsockname(fd, (struct sockaddr *)(void *)&bound, &len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0 || type != SOCK_STREAM ||
        bound.ss_family != wanted.ss_family)
        return false;
    if (bound.ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)(const void *)&wanted;
        const struct sockaddr_in6 *b = (const struct sockaddr_in6 *)(const void *)&bound;
        return a->sin6_port == b->sin6_port &&
               memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr)) == 0;
    }
    const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)&wanted;
    const struct sockaddr_in *b = (const struct sockaddr_in *)(const void *)&bound;
    return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
}

uint16_t dj_listener_port(const struct dj_listener *listener)
{
    return listener->port;
}

void dj_listener_close(struct dj_listener *listener)
{
    if (!listener)
        return;
    assert(dj_loop_is_current(listener->loop));
    uv_close((uv_handle_t *)&listener->handle, on_listener_part_closed);
    uv_close((uv_handle_t *)&listener->retry, on_listener_part_closed);
}

static void on_read_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *out_buffer)
{
    (void)suggested;
    struct dj_stream *stream = handle->data;
    *out_buffer = uv_buf_init(stream->loop->read_buffer, DJ_READ_BUFFER_BYTES); /* (1) */
}

static void on_bytes(uv_stream_t *handle, ssize_t count, const uv_buf_t *buffer)
{
    struct dj_stream *stream = handle->data;
    if (count == 0)
        return; /* EAGAIN */
    if (count > 0) {
        stream->on_read(stream->read_ctx, DEJA_OK, deja_slice(buffer->base, (size_t)count));
        return;
    }
    uv_read_stop(handle);
    stream->on_read(stream->read_ctx, count == UV_EOF ? DEJA_OK : DEJA_ERR_IO, deja_slice(NULL, 0));
}

void dj_stream_read_start(struct dj_stream *stream, void *ctx, dj_stream_read_fn *on_read)
{
    assert(dj_loop_is_current(stream->loop) && on_read);
    stream->read_ctx = ctx;
    stream->on_read = on_read;
    /* Fails only on a handle that is closing (the caller's bug) or already reading (fine). */
    int code = uv_read_start((uv_stream_t *)&stream->handle, on_read_buffer, on_bytes);
    assert(code == 0 || code == UV_EALREADY || code == UV_ENOTCONN);
}

void dj_stream_read_stop(struct dj_stream *stream)
{
    assert(dj_loop_is_current(stream->loop));
    uv_read_stop((uv_stream_t *)&stream->handle);
}

static void on_write_done(uv_write_t *request, int code)
{
    struct write *write = request->data;
    dj_stream_written_fn *on_written = write->on_written;
    void *ctx = write->ctx;
    dj_free(write);
    on_written(ctx, code < 0 ? dj_loop_status_from_uv(code) : DEJA_OK);
}

/* One write that holds a copy of all buffers but their first `skip` bytes; NULL: no memory. */
static struct write *copy_rest(const uv_buf_t *buffers, size_t count, size_t skip, size_t total)
{
    struct write *write = dj_alloc(sizeof(*write) + (total - skip));
    if (!write)
        return NULL;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        size_t gone = skip < buffers[i].len ? skip : buffers[i].len;
        skip -= gone;
        size_t left = buffers[i].len - gone;
        if (left > 0)
            memcpy(write->bytes + used, buffers[i].base + gone, left);
        used += left;
    }
    return write;
}

enum deja_status dj_stream_write(struct dj_stream *stream, const struct deja_slice *slices,
                                 size_t count, void *ctx, dj_stream_written_fn *on_written,
                                 bool *out_is_queued)
{
    assert(dj_loop_is_current(stream->loop) && count <= DJ_STREAM_SLICES_MAX && on_written);
    uv_buf_t buffers[DJ_STREAM_SLICES_MAX];
    unsigned int buffer_count = 0;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        if (slices[i].len == 0)
            continue;
        if (slices[i].len > DJ_STREAM_QUEUED_BYTES_MAX - total)
            return DEJA_ERR_LIMIT;
        /* libuv's type is not const; it only reads. */
        buffers[buffer_count].base = (char *)(uintptr_t)slices[i].data;
        buffers[buffer_count++].len = slices[i].len;
        total += slices[i].len;
    }
    size_t skip = 0;
    if (total > 0) {
        int code = uv_try_write((uv_stream_t *)&stream->handle, buffers, buffer_count);
        if (code < 0 && code != UV_EAGAIN)
            return dj_loop_status_from_uv(code);
        if (code > 0)
            skip = (size_t)code;
    }
    if (skip == total) {
        *out_is_queued = false;
        return DEJA_OK;
    }
    if (total - skip > DJ_STREAM_QUEUED_BYTES_MAX - dj_stream_queued_bytes(stream))
        return DEJA_ERR_LIMIT;
    struct write *write = copy_rest(buffers, buffer_count, skip, total);
    if (!write)
        return DEJA_ERR_NOMEM;
    write->request.data = write;
    write->ctx = ctx;
    write->on_written = on_written;
    uv_buf_t rest = uv_buf_init(write->bytes, (unsigned int)(total - skip));
    int code = uv_write(&write->request, (uv_stream_t *)&stream->handle, &rest, 1, on_write_done);
    if (code < 0) {
        dj_free(write);
        return dj_loop_status_from_uv(code);
    }
    *out_is_queued = true;
    return DEJA_OK;
}

size_t dj_stream_queued_bytes(const struct dj_stream *stream)
{
    return uv_stream_get_write_queue_size((const uv_stream_t *)&stream->handle);
}

bool dj_stream_is_loopback(const struct dj_stream *stream)
{
    struct in6_addr address;
    memcpy(&address, stream->peer, sizeof(address));
    return IN6_IS_ADDR_LOOPBACK(&address) ||
           (IN6_IS_ADDR_V4MAPPED(&address) && address.s6_addr[12] == IN_LOOPBACKNET);
}

void dj_stream_peer(const struct dj_stream *stream, uint8_t out_address[16])
{
    memcpy(out_address, stream->peer, sizeof(stream->peer));
}

void dj_stream_finish(struct dj_stream *stream)
{
    assert(dj_loop_is_current(stream->loop) && dj_stream_queued_bytes(stream) == 0);
    uv_os_fd_t fd;
    if (uv_fileno((const uv_handle_t *)&stream->handle, &fd) == 0)
        shutdown(fd, SHUT_WR); /* fails only where the peer is gone: then there is no one to tell */
}

void dj_stream_close(struct dj_stream *stream, void *ctx, dj_stream_closed_fn *closed)
{
    assert(dj_loop_is_current(stream->loop));
    stream->closed_ctx = ctx;
    stream->closed = closed;
    uv_close((uv_handle_t *)&stream->handle, on_stream_closed);
}

void dj_stream_abort(struct dj_stream *stream, void *ctx, dj_stream_closed_fn *closed)
{
    assert(dj_loop_is_current(stream->loop));
    stream->closed_ctx = ctx;
    stream->closed = closed;
    if (uv_tcp_close_reset(&stream->handle, on_stream_closed) < 0)
        uv_close((uv_handle_t *)&stream->handle, on_stream_closed);
}
