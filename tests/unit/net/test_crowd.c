/* The connections of a server, whatever they speak. */
#include "net/crowd.h"
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "failing_malloc.h"
#include "loop/loop.h"

/* A server that knows only whether somebody is there. */
struct guest {
    struct dj_list node;
    struct host *host;
    struct dj_stream *stream;
};
struct host {
    struct dj_crowd crowd;
    struct dj_loop *loop;
    uint32_t accepted;
    uint32_t refused;
    uint32_t drained_guests;
    uint32_t cut_guests;
    bool is_drained;
    bool is_staying; /* guests do not end when they are asked to */
    int clients[4];
    uint32_t client_count;
    struct dj_timer *step;
};

static struct guest *guest_of(struct dj_list *member)
{
    return DJ_CONTAINER(member, struct guest, node);
}

static void on_closed(void *ctx)
{
    struct guest *guest = ctx;
    struct host *host = guest->host;
    dj_list_remove(&guest->node);
    free(guest);
    dj_crowd_closed_one(&host->crowd);
}

static void end(struct guest *guest)
{
    dj_stream_close(guest->stream, guest, on_closed);
}

static bool accept_guest(struct dj_crowd *crowd, struct dj_stream *stream)
{
    struct host *host = DJ_CONTAINER(crowd, struct host, crowd);
    struct guest *guest = calloc(1, sizeof *guest);
    assert_non_null(guest);
    guest->host = host;
    guest->stream = stream;
    host->accepted++;
    dj_crowd_join(crowd, &guest->node);
    return true;
}

static void refuse(struct dj_crowd *crowd, struct dj_stream *stream)
{
    DJ_CONTAINER(crowd, struct host, crowd)->refused++;
    dj_stream_close(stream, NULL, NULL);
}

static void sweep(struct dj_list *member, uint64_t now_us)
{
    (void)member;
    (void)now_us;
}

static void drain(struct dj_list *member, uint64_t now_us)
{
    struct guest *guest = guest_of(member);
    (void)now_us;
    guest->host->drained_guests++;
    if (!guest->host->is_staying)
        end(guest);
}

static void cut(struct dj_list *member, uint64_t now_us)
{
    struct guest *guest = guest_of(member);
    (void)now_us;
    guest->host->cut_guests++;
    end(guest);
}

static const struct dj_crowd_ops ops = {
    .accept = accept_guest, .refuse = refuse, .sweep = sweep, .drain = drain, .cut = cut};

static enum deja_status open_host(struct host *host, struct dj_loop *loop)
{
    const struct dj_crowd_place place = {.fd = -1, .host = "127.0.0.1"};
    *host = (struct host){.loop = loop, .crowd = {.ops = &ops, .loop = loop, .connections_max = 2}};
    enum deja_status status = dj_crowd_init(&host->crowd);
    return status == DEJA_OK ? dj_crowd_listen(&host->crowd, &place, 1000, NULL) : status;
}

static void crowd_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_loop *loop;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct host host;
        failing_malloc_arm(n);
        enum deja_status status = open_host(&host, loop);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_crowd_fini(&host.crowd);
    }
    dj_loop_destroy(loop);
}

/* ---- a life ---- */

static void connect_one(struct host *host)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(host->crowd.port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&address, sizeof address),
                     0);
    host->clients[host->client_count++] = fd;
}

static void on_drained(void *ctx)
{
    struct host *host = ctx;
    host->is_drained = true;
    dj_timer_destroy(host->step);
    dj_crowd_fini(&host->crowd);
    dj_loop_stop(host->loop);
}

/* Once all have been met, the drain begins. */
static void on_step(void *ctx)
{
    struct host *host = ctx;
    if (host->accepted + host->refused < host->client_count)
        return;
    dj_timer_stop(host->step);
    dj_crowd_drain(&host->crowd, 1, host, on_drained);
}

static struct host live(bool is_staying)
{
    static struct host host;
    struct dj_loop *loop;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    assert_int_equal(open_host(&host, loop), DEJA_OK);
    host.is_staying = is_staying;
    for (unsigned i = 0; i < 3; i++)
        connect_one(&host);
    assert_int_equal(dj_timer_create(loop, &host, on_step, &host.step), DEJA_OK);
    dj_timer_start(host.step, 1, 1);
    dj_loop_run(loop);
    for (uint32_t i = 0; i < host.client_count; i++)
        close(host.clients[i]);
    dj_loop_destroy(loop);
    return host;
}

static void as_many_as_may_are_accepted_and_all_are_drained(void **state)
{
    (void)state;
    struct host host = live(false);
    assert_int_equal(host.accepted, 2);
    assert_int_equal(host.refused, 1);
    assert_int_equal(host.drained_guests, 2);
    assert_int_equal(host.cut_guests, 0);
    assert_true(host.is_drained);
}

static void who_does_not_go_is_cut_when_the_time_is_over(void **state)
{
    (void)state;
    struct host host = live(true);
    assert_int_equal(host.drained_guests, 2);
    assert_int_equal(host.cut_guests, 2);
    assert_true(host.is_drained);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_as_may_are_accepted_and_all_are_drained),
        cmocka_unit_test(who_does_not_go_is_cut_when_the_time_is_over),
        cmocka_unit_test(crowd_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
