/* tests/unit/net/test_crowd.c - who is let in, who is looked at, and how all of them leave. */
#include "net/crowd.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "net/http_addresses.h"

enum { CLIENTS_MAX = 8, SHORTEST_MS = 40, LONG_MS = 60000 };

struct member {
    struct dj_list node;
    struct dj_stream *stream;
    struct fixture *fixture;
};

/* Clients have connected before the loop runs: it meets them all, and drains. */
struct fixture {
    struct dj_crowd crowd;
    struct dj_loop *loop;
    struct member members[CLIENTS_MAX];
    int clients[CLIENTS_MAX];
    uint32_t client_count;
    uint32_t drain_ms;
    bool is_stubborn; /* who drains stays until it is cut */
    bool has_no_room; /* whoever is accepted is not */
    bool waits_sweep; /* the drain begins when all have been looked at */
    struct dj_task drain;
    uint32_t accepted;
    uint32_t refused;
    uint32_t moved; /* made room for another */
    uint32_t swept;
    uint32_t drained_members;
    uint32_t cut;
    uint32_t closed;
    uint32_t drained;
};

static struct fixture *fixture_of(struct dj_crowd *crowd)
{
    return DJ_CONTAINER(crowd, struct fixture, crowd);
}

static void on_drained(void *ctx)
{
    struct fixture *fixture = ctx;
    assert_int_equal(fixture->crowd.open_count, 0);
    fixture->drained++;
    dj_crowd_fini(&fixture->crowd);
    dj_loop_stop(fixture->loop);
}

static void start_drain(void *ctx)
{
    struct fixture *fixture = ctx;
    dj_crowd_drain(&fixture->crowd, fixture->drain_ms, fixture, on_drained);
    assert_int_equal(fixture->drained, 0); /* later */
}

static void drain_if_all_came(struct fixture *fixture)
{
    if (fixture->accepted + fixture->refused < fixture->client_count ||
        (fixture->waits_sweep && !fixture->swept) || fixture->drain.run)
        return;
    fixture->drain = (struct dj_task){.run = start_drain, .ctx = fixture};
    dj_loop_post(fixture->loop, &fixture->drain);
}

static void leave(struct member *member)
{
    if (!member->stream)
        return;
    struct fixture *fixture = member->fixture;
    uint8_t peer[16];
    dj_stream_peer(member->stream, peer);
    if (fixture->crowd.addresses)
        dj_http_addresses_leave(fixture->crowd.addresses, peer);
    dj_stream_close(member->stream, NULL, NULL);
    member->stream = NULL;
    dj_list_remove(&member->node);
    fixture->closed++;
    dj_crowd_closed_one(&fixture->crowd);
}

static struct member *member_of(struct dj_list *node)
{
    return DJ_CONTAINER(node, struct member, node);
}

static bool on_accept(struct dj_crowd *crowd, struct dj_stream *stream)
{
    struct fixture *fixture = fixture_of(crowd);
    struct member *member = &fixture->members[fixture->accepted++];
    drain_if_all_came(fixture);
    if (fixture->has_no_room) {
        dj_stream_close(stream, NULL, NULL);
        return false;
    }
    member->stream = stream;
    member->fixture = fixture;
    dj_crowd_join(crowd, &member->node);
    return true;
}

static void on_refuse(struct dj_crowd *crowd, struct dj_stream *stream)
{
    struct fixture *fixture = fixture_of(crowd);
    fixture->refused++;
    dj_stream_close(stream, NULL, NULL);
    drain_if_all_came(fixture);
}

static bool make_room(struct dj_crowd *crowd)
{
    if (dj_list_is_empty(&crowd->members))
        return false;
    fixture_of(crowd)->moved++;
    leave(member_of(crowd->members.next));
    return true;
}

static void on_sweep(struct dj_list *node, uint64_t now_us)
{
    struct fixture *fixture = member_of(node)->fixture;
    assert_true(now_us > 0 && fixture->crowd.is_visiting);
    fixture->swept++;
    drain_if_all_came(fixture);
}

static void on_drain(struct dj_list *node, uint64_t now_us)
{
    (void)now_us;
    struct fixture *fixture = member_of(node)->fixture;
    fixture->drained_members++;
    if (!fixture->is_stubborn)
        leave(member_of(node)); /* takes itself off the list that is walked */
}

static void on_cut(struct dj_list *node, uint64_t now_us)
{
    (void)now_us;
    member_of(node)->fixture->cut++;
    leave(member_of(node));
}

static const struct dj_crowd_ops strict = {
    .accept = on_accept, .refuse = on_refuse, .sweep = on_sweep, .drain = on_drain, .cut = on_cut};
static const struct dj_crowd_ops lenient = {.accept = on_accept,
                                            .refuse = on_refuse,
                                            .make_room = make_room,
                                            .sweep = on_sweep,
                                            .drain = on_drain,
                                            .cut = on_cut};

static int connect_to(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* What else the fixture says is filled in already. */
static void run(struct fixture *fixture, const struct dj_crowd_ops *ops, uint32_t connections_max)
{
    const struct dj_crowd_place place = {.host = "127.0.0.1", .fd = -1};
    assert_int_equal(dj_loop_create(0, &fixture->loop), DEJA_OK);
    fixture->crowd.ops = ops;
    fixture->crowd.loop = fixture->loop;
    fixture->crowd.connections_max = connections_max;
    assert_int_equal(dj_crowd_init(&fixture->crowd), DEJA_OK);
    assert_int_equal(dj_crowd_listen(&fixture->crowd, &place, SHORTEST_MS, NULL), DEJA_OK);
    for (uint32_t i = 0; i < fixture->client_count; i++)
        fixture->clients[i] = connect_to(fixture->crowd.port);
    if (!fixture->client_count)
        drain_if_all_came(fixture);
    dj_loop_run(fixture->loop);
    for (uint32_t i = 0; i < fixture->client_count; i++)
        close(fixture->clients[i]);
    dj_loop_destroy(fixture->loop);
    assert_int_equal(fixture->drained, 1);
}

static void more_than_fit_are_refused(void **state)
{
    (void)state;
    struct fixture fixture = {.client_count = 5, .drain_ms = LONG_MS};
    run(&fixture, &strict, 3);
    assert_int_equal(fixture.accepted, 3);
    assert_int_equal(fixture.refused, 2);
    assert_int_equal(fixture.drained_members, 3);
    assert_int_equal(fixture.closed, 3);
    assert_int_equal(fixture.cut, 0);
}

static void one_that_waits_makes_room_for_a_new_one(void **state)
{
    (void)state;
    struct fixture fixture = {.client_count = 5, .drain_ms = LONG_MS};
    run(&fixture, &lenient, 3);
    assert_int_equal(fixture.accepted, 5);
    assert_int_equal(fixture.refused, 0);
    assert_int_equal(fixture.moved, 2);
    assert_int_equal(fixture.closed, 5);
}

static void members_are_looked_at_until_they_leave(void **state)
{
    (void)state;
    struct fixture fixture = {.client_count = 2, .drain_ms = LONG_MS, .waits_sweep = true};
    run(&fixture, &strict, 3);
    assert_true(fixture.swept >= 1);
    assert_int_equal(fixture.closed, 2);
}

static void who_does_not_end_in_time_is_cut(void **state)
{
    (void)state;
    struct fixture fixture = {.client_count = 2, .drain_ms = 10, .is_stubborn = true};
    run(&fixture, &strict, 3);
    assert_int_equal(fixture.drained_members, 2);
    assert_int_equal(fixture.cut, 2);
    assert_int_equal(fixture.closed, 2);
}

static void empty_crowd_is_drained_later_too(void **state)
{
    (void)state;
    struct fixture fixture = {.drain_ms = LONG_MS};
    run(&fixture, &strict, 3);
    assert_int_equal(fixture.accepted + fixture.refused, 0);
}

static void address_is_counted_only_while_its_member_is_here(void **state)
{
    (void)state;
    const uint8_t loopback[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
    struct dj_http_addresses *addresses = NULL;
    assert_int_equal(dj_http_addresses_create(2, 2, 10, &addresses), DEJA_OK);
    struct fixture many = {.client_count = 5, .drain_ms = LONG_MS, .crowd.addresses = addresses};
    run(&many, &strict, 10);
    assert_int_equal(many.accepted, 2);
    assert_int_equal(many.refused, 3);
    struct fixture full = {.client_count = 5, .drain_ms = LONG_MS, .crowd.addresses = addresses};
    run(&full, &strict, 0);
    assert_int_equal(full.refused, 5);
    struct fixture poor = {
        .client_count = 5, .drain_ms = LONG_MS, .has_no_room = true, .crowd.addresses = addresses};
    run(&poor, &strict, 10);
    assert_int_equal(poor.accepted, 5);
    assert_int_equal(dj_http_addresses_count(addresses, loopback), 0);
    dj_http_addresses_destroy(addresses);
}

static void crowd_survives_each_failed_allocation(void **state)
{
    (void)state;
    const struct dj_crowd_place place = {.host = "127.0.0.1", .fd = -1};
    struct dj_loop *loop;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_crowd crowd = {.ops = &strict, .loop = loop, .connections_max = 1};
        failing_malloc_arm(n);
        enum deja_status status = dj_crowd_init(&crowd);
        if (status == DEJA_OK)
            status = dj_crowd_listen(&crowd, &place, SHORTEST_MS, NULL);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_crowd_fini(&crowd);
    }
    dj_loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_than_fit_are_refused),
        cmocka_unit_test(one_that_waits_makes_room_for_a_new_one),
        cmocka_unit_test(members_are_looked_at_until_they_leave),
        cmocka_unit_test(who_does_not_end_in_time_is_cut),
        cmocka_unit_test(empty_crowd_is_drained_later_too),
        cmocka_unit_test(address_is_counted_only_while_its_member_is_here),
        cmocka_unit_test(crowd_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
