#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "cache/flight.h"
#include "loops.h"

enum { CHUNKS = 300, RIDERS = 6, RECORD_MAX = 1 << 20, MIB = 1 << 20 };

static const uint8_t some_key[DJ_SHA256_BYTES] = "key";

/* A flight whose home is loop 0. */
struct fixture {
    struct loops loops;
    struct dj_flights *flights;
    struct dj_flight *flight;
    uint64_t record_max;
    struct deja_slice bytes; /* of the next append */
    bool is_drained;
};

/* A reader that collects what it reads, unless it is idle, and leaves when the flight ended. */
struct reader {
    struct fixture *fixture;
    uint32_t loop;
    struct dj_flight *found;
    struct dj_chunk *start;
    struct dj_rider rider;
    struct dj_buf read;
    struct event ended;
    enum dj_flight_phase phase;
    uint32_t wakes;
    bool is_idle;
    bool is_cut;
};

static struct dj_loop *loop_of(const struct reader *reader)
{
    return reader->fixture->loops.loop[reader->loop];
}

static void open_step(void *ctx)
{
    struct fixture *fixture = ctx;
    assert_int_equal(dj_flights_create(fixture->loops.loop[0], LOOPS, &fixture->flights), DEJA_OK);
    assert_int_equal(dj_flights_open(fixture->flights, some_key, fixture->record_max, NULL, NULL,
                                     &fixture->flight),
                     DEJA_OK);
    struct dj_flight_head head = {.status = 200};
    dj_flight_run(fixture->flight, &head);
}

static void fixture_open(struct fixture *fixture, uint64_t record_max)
{
    *fixture = (struct fixture){.record_max = record_max};
    loops_start(&fixture->loops);
    on_loop(fixture->loops.loop[0], open_step, fixture);
}

static void fixture_close(struct fixture *fixture)
{
    loops_stop(&fixture->loops);
    loops_destroy(&fixture->loops);
    assert_int_equal(dj_flights_count(fixture->flights), 0);
    dj_flights_destroy(fixture->flights);
}

static void append_step(void *ctx)
{
    struct fixture *fixture = ctx;
    assert_int_equal(dj_flight_append(fixture->flight, fixture->bytes, false), DEJA_OK);
}

static void append(struct fixture *fixture, const char *text)
{
    fixture->bytes = deja_slice_text(text);
    on_loop(fixture->loops.loop[0], append_step, fixture);
}

static void append_many(struct fixture *fixture, size_t chunk_bytes, size_t count)
{
    char *chunk = calloc(1, chunk_bytes);
    fixture->bytes = deja_slice(chunk, chunk_bytes);
    for (size_t i = 0; i < count; i++)
        on_loop(fixture->loops.loop[0], append_step, fixture);
    free(chunk);
}

static void land_step(void *ctx)
{
    struct fixture *fixture = ctx;
    dj_flight_land(fixture->flight, &(struct dj_flight_end){.reason = "done"});
}

static void fail_step(void *ctx)
{
    struct fixture *fixture = ctx;
    dj_flight_fail(fixture->flight, DEJA_ERR_IO, "gone");
}

static void on_wake(void *ctx)
{
    struct reader *reader = ctx;
    struct dj_flight *flight = reader->rider.flight;
    reader->wakes++;
    if (reader->is_idle)
        return;
    /* The phase first: what it announces is then there to be read. */
    enum dj_flight_phase phase = dj_flight_phase(flight);
    for (const struct dj_chunk *chunk; (chunk = dj_rider_next(&reader->rider)) != NULL;) {
        assert_int_equal(chunk->offset, reader->read.len);
        dj_buf_append(&reader->read, chunk->bytes, chunk->len);
    }
    if (phase < DJ_FLIGHT_LANDED)
        return;
    reader->phase = phase;
    if (phase == DJ_FLIGHT_FAILED)
        assert_int_equal(dj_flight_end(flight)->failure, DEJA_ERR_IO);
    dj_flight_leave(&reader->rider);
    event_set(&reader->ended);
}

static void expect_step(void *ctx)
{
    struct reader *reader = ctx;
    reader->found = dj_flights_find(reader->fixture->flights, some_key, RIDERS);
    reader->start = reader->found ? dj_flight_expect(reader->found, loop_of(reader)) : NULL;
}

static void board_step(void *ctx)
{
    struct reader *reader = ctx;
    dj_flight_board(reader->found, reader->start, &reader->rider, loop_of(reader), reader, on_wake);
    assert_int_equal(reader->wakes, 0); /* never inside */
}

static void leave_step(void *ctx)
{
    struct reader *reader = ctx;
    dj_flight_leave(&reader->rider);
    dj_flight_leave(&reader->rider); /* a second time is nothing */
}

static void cut_step(void *ctx)
{
    struct reader *reader = ctx;
    reader->is_cut = dj_rider_is_cut(&reader->rider);
}

static bool join(struct fixture *fixture, uint32_t loop, struct reader *reader, bool is_idle)
{
    *reader = (struct reader){.fixture = fixture, .loop = loop, .is_idle = is_idle};
    event_init(&reader->ended);
    on_loop(fixture->loops.loop[0], expect_step, reader);
    if (!reader->start)
        return false;
    on_loop(loop_of(reader), board_step, reader);
    return true;
}

static void leave(struct reader *reader)
{
    on_loop(loop_of(reader), leave_step, reader);
    dj_buf_fini(&reader->read);
}

static void expect_read(struct reader *reader, enum dj_flight_phase phase, struct deja_slice bytes)
{
    event_wait(&reader->ended);
    assert_int_equal(reader->phase, phase);
    assert_true(deja_slice_is_equal(dj_buf_slice(&reader->read), bytes));
    dj_buf_fini(&reader->read);
}

static void appends_and_lands(void *ctx)
{
    struct fixture *fixture = ctx;
    char text[32];
    for (uint32_t i = 0; i < CHUNKS; i++) {
        int len = snprintf(text, sizeof text, "chunk %u;", i);
        assert_int_equal(dj_flight_append(fixture->flight, deja_slice(text, (size_t)len), false),
                         DEJA_OK);
    }
    land_step(fixture);
}

static void riders_of_all_loops_read_the_same_bytes_in_order(void **state)
{
    (void)state;
    struct fixture fixture;
    struct reader readers[RIDERS];
    struct dj_buf whole = {0};
    char text[32];
    for (uint32_t i = 0; i < CHUNKS; i++) {
        int len = snprintf(text, sizeof text, "chunk %u;", i);
        dj_buf_append(&whole, text, (size_t)len);
    }
    fixture_open(&fixture, RECORD_MAX);
    for (uint32_t i = 0; i < RIDERS; i++)
        assert_true(join(&fixture, i % LOOPS, &readers[i], false));
    struct dj_task task = {.run = appends_and_lands, .ctx = &fixture};
    dj_loop_post(fixture.loops.loop[0], &task);
    for (uint32_t i = 0; i < RIDERS; i++)
        expect_read(&readers[i], DJ_FLIGHT_LANDED, dj_buf_slice(&whole));
    dj_buf_fini(&whole);
    fixture_close(&fixture);
}

static void late_rider_gets_the_beginning_too(void **state)
{
    (void)state;
    struct fixture fixture;
    struct reader reader;
    fixture_open(&fixture, RECORD_MAX);
    append(&fixture, "one ");
    append(&fixture, "two ");
    assert_true(join(&fixture, 1, &reader, false));
    append(&fixture, "three");
    on_loop(fixture.loops.loop[0], land_step, &fixture);
    expect_read(&reader, DJ_FLIGHT_LANDED, deja_slice_text("one two three"));
    fixture_close(&fixture);
}

static void rider_that_leaves_ends_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    struct reader leaves;
    struct reader stays;
    fixture_open(&fixture, RECORD_MAX);
    assert_true(join(&fixture, 1, &leaves, false));
    assert_true(join(&fixture, 1, &stays, false));
    append(&fixture, "one ");
    leave(&leaves);
    append(&fixture, "two");
    assert_true(dj_flight_is_wanted(fixture.flight));
    on_loop(fixture.loops.loop[0], land_step, &fixture);
    expect_read(&stays, DJ_FLIGHT_LANDED, deja_slice_text("one two"));
    fixture_close(&fixture);
}

static void failure_reaches_every_rider(void **state)
{
    (void)state;
    struct fixture fixture;
    struct reader readers[LOOPS];
    fixture_open(&fixture, RECORD_MAX);
    for (uint32_t i = 0; i < LOOPS; i++)
        assert_true(join(&fixture, i, &readers[i], false));
    append(&fixture, "one");
    on_loop(fixture.loops.loop[0], fail_step, &fixture);
    for (uint32_t i = 0; i < LOOPS; i++)
        expect_read(&readers[i], DJ_FLIGHT_FAILED, deja_slice_text("one"));
    struct reader late;
    assert_false(join(&fixture, 1, &late, false)); /* it left the table */
    fixture_close(&fixture);
}

static void nobody_joins_beyond_what_is_recorded(void **state)
{
    (void)state;
    struct fixture fixture;
    struct reader early;
    struct reader late;
    fixture_open(&fixture, 8);
    assert_true(join(&fixture, 1, &early, false));
    append(&fixture, "12345678");
    assert_true(dj_flight_is_recorded(fixture.flight));
    append(&fixture, "9");
    assert_false(dj_flight_is_recorded(fixture.flight));
    assert_false(join(&fixture, 1, &late, false));
    on_loop(fixture.loops.loop[0], land_step, &fixture);
    expect_read(&early, DJ_FLIGHT_LANDED, deja_slice_text("123456789"));
    fixture_close(&fixture);
}

static void riders_are_bounded(void **state)
{
    (void)state;
    struct fixture fixture;
    struct reader readers[RIDERS + 1];
    fixture_open(&fixture, RECORD_MAX);
    for (uint32_t i = 0; i < RIDERS; i++)
        assert_true(join(&fixture, 1, &readers[i], false));
    assert_false(join(&fixture, 1, &readers[RIDERS], false));
    on_loop(fixture.loops.loop[0], land_step, &fixture);
    for (uint32_t i = 0; i < RIDERS; i++)
        expect_read(&readers[i], DJ_FLIGHT_LANDED, deja_slice(NULL, 0));
    fixture_close(&fixture);
}

static void rider_that_falls_too_far_behind_is_cut(void **state)
{
    (void)state;
    struct fixture fixture;
    struct reader idle;
    fixture_open(&fixture, 1);
    assert_true(join(&fixture, 1, &idle, true));
    append_many(&fixture, MIB, 4);
    on_loop(loop_of(&idle), cut_step, &idle);
    assert_false(idle.is_cut);
    append_many(&fixture, MIB, 6);
    on_loop(loop_of(&idle), cut_step, &idle);
    assert_true(idle.is_cut);
    leave(&idle);
    assert_false(dj_flight_is_wanted(fixture.flight)); /* nobody rides, nothing recorded */
    on_loop(fixture.loops.loop[0], land_step, &fixture);
    fixture_close(&fixture);
}

struct held {
    struct event reached;
    struct event released;
};

static void hold_loop(void *ctx)
{
    struct held *held = ctx;
    event_set(&held->reached);
    event_wait(&held->released);
}

static void many_appends_are_one_wake(void **state)
{
    (void)state;
    struct fixture fixture;
    struct reader reader;
    struct held held;
    fixture_open(&fixture, RECORD_MAX);
    assert_true(join(&fixture, 1, &reader, true));
    drain_loop(loop_of(&reader));
    uint32_t before = reader.wakes;
    event_init(&held.reached);
    event_init(&held.released);
    struct dj_task task = {.run = hold_loop, .ctx = &held};
    dj_loop_post(loop_of(&reader), &task);
    event_wait(&held.reached);
    append_many(&fixture, 10, 50);
    event_set(&held.released);
    drain_loop(loop_of(&reader));
    assert_int_equal(reader.wakes, before + 1);
    leave(&reader);
    on_loop(fixture.loops.loop[0], land_step, &fixture);
    fixture_close(&fixture);
}

static void on_drained(void *ctx)
{
    struct fixture *fixture = ctx;
    fixture->is_drained = true;
}

static void pause_step(void *ctx)
{
    struct fixture *fixture = ctx;
    assert_true(dj_flight_must_pause(fixture->flight, fixture, on_drained));
}

static void read_on(void *ctx)
{
    struct reader *reader = ctx;
    reader->is_idle = false;
    on_wake(reader);
    reader->is_idle = true;
}

static void home_pauses_until_the_fastest_rider_has_caught_up(void **state)
{
    (void)state;
    struct fixture fixture;
    struct reader reader;
    fixture_open(&fixture, 1);
    assert_true(join(&fixture, 1, &reader, true));
    append_many(&fixture, MIB, 2);
    on_loop(fixture.loops.loop[0], pause_step, &fixture);
    assert_false(fixture.is_drained);
    on_loop(loop_of(&reader), read_on, &reader);
    drain_loop(fixture.loops.loop[0]);
    assert_true(fixture.is_drained);
    leave(&reader);
    on_loop(fixture.loops.loop[0], land_step, &fixture);
    fixture_close(&fixture);
}

/* Home is busy, pauses, the rider catches up; twice, before home sees the first message. */
static void pause_twice(void *ctx)
{
    struct reader *reader = ctx;
    struct fixture *fixture = reader->fixture;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2; k++)
            append_step(fixture);
        pause_step(fixture);
        on_loop(loop_of(reader), read_on, reader);
    }
    assert_false(fixture->is_drained);
}

static void second_pause_before_the_first_drain_was_seen_is_sound(void **state)
{
    (void)state;
    struct fixture fixture;
    struct reader reader;
    fixture_open(&fixture, 1);
    assert_true(join(&fixture, 1, &reader, true));
    char *chunk = calloc(1, MIB);
    fixture.bytes = deja_slice(chunk, MIB);
    on_loop(fixture.loops.loop[0], pause_twice, &reader);
    drain_loop(fixture.loops.loop[0]);
    assert_true(fixture.is_drained);
    leave(&reader);
    on_loop(fixture.loops.loop[0], land_step, &fixture);
    fixture_close(&fixture);
    free(chunk);
}

static void create_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_loop *loop = NULL;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_flights *flights = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_flights_create(loop, 1, &flights);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            dj_flights_destroy(flights);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(flights);
    }
    dj_flights_destroy(NULL);
    dj_loop_destroy(loop);
}

static void open_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_loop *loop = NULL;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_flights *flights = NULL;
        struct dj_flight *flight = NULL;
        assert_int_equal(dj_flights_create(loop, 1, &flights), DEJA_OK);
        failing_malloc_arm(n);
        enum deja_status status = dj_flights_open(flights, some_key, 10, NULL, NULL, &flight);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(dj_flights_count(flights), has_failed ? 0 : 1);
        if (flight)
            dj_flight_fail(flight, DEJA_ERR_IO, "gone");
        dj_flights_destroy(flights);
        if (!has_failed)
            break;
    }
    dj_loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(riders_of_all_loops_read_the_same_bytes_in_order),
        cmocka_unit_test(late_rider_gets_the_beginning_too),
        cmocka_unit_test(rider_that_leaves_ends_nothing),
        cmocka_unit_test(failure_reaches_every_rider),
        cmocka_unit_test(nobody_joins_beyond_what_is_recorded),
        cmocka_unit_test(riders_are_bounded),
        cmocka_unit_test(rider_that_falls_too_far_behind_is_cut),
        cmocka_unit_test(many_appends_are_one_wake),
        cmocka_unit_test(home_pauses_until_the_fastest_rider_has_caught_up),
        cmocka_unit_test(second_pause_before_the_first_drain_was_seen_is_sound),
        cmocka_unit_test(create_survives_each_failed_allocation),
        cmocka_unit_test(open_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
