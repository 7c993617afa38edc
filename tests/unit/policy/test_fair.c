/* tests/unit/policy/test_fair.c - shares, bounds and drops, on a clock of its own. */
#include "policy/fair.h"
#include "check.h"

#include "failing_malloc.h"

#define MS UINT64_C(1000)
#define TICKETS 4096u

static const struct dj_fair_options plain = {
    .running_max = 2,
    .waiting_max = 64,
    .standing = {.target_us = 100 * MS, .interval_us = 1000 * MS}};

static struct dj_fair *make(const struct dj_fair_options *options)
{
    struct dj_fair *fair = NULL;
    assert_int_equal(dj_fair_create(options, &fair), DEJA_OK);
    return fair;
}

static void end(struct dj_fair *fair)
{
    while (dj_fair_give_up(fair)) {
    }
    dj_fair_destroy(fair);
}

static struct dj_fair_ticket *enter(struct dj_fair *fair, struct dj_fair_ticket *ticket,
                                    uint32_t tenant, uint32_t weight, uint64_t now_us)
{
    uint8_t id[DJ_FAIR_TENANT_BYTES] = {0};
    struct dj_fair_ticket *refused;
    memcpy(id, &tenant, sizeof tenant);
    *ticket = (struct dj_fair_ticket){.state = DJ_FAIR_OUT};
    dj_fair_enter(fair, ticket, id, weight, now_us, &refused);
    return refused;
}

static void where_there_is_room_nobody_waits(void **state)
{
    (void)state;
    struct dj_fair *fair = make(&plain);
    struct dj_fair_ticket a, b, c;
    enter(fair, &a, 1, 1, 0);
    enter(fair, &b, 1, 1, 0);
    enter(fair, &c, 2, 1, 0);
    assert_int_equal(a.state, DJ_FAIR_RUNNING);
    assert_int_equal(b.state, DJ_FAIR_RUNNING);
    assert_int_equal(c.state, DJ_FAIR_WAITING);
    assert_null(dj_fair_turn(fair, 1));
    dj_fair_leave(fair, &a);
    dj_fair_leave(fair, &a); /* once only */
    assert_ptr_equal(dj_fair_turn(fair, 2), &c);
    assert_int_equal(c.state, DJ_FAIR_RUNNING);
    assert_int_equal(dj_fair_running(fair), 2);
    assert_int_equal(dj_fair_waiting(fair), 0);
    end(fair);
}

/* One tenant has filled the house and its line; another's single call goes next. */
static void a_flood_delays_others_by_one_turn(void **state)
{
    (void)state;
    static struct dj_fair_ticket flood[TICKETS];
    struct dj_fair_ticket victim;
    struct dj_fair *fair = make(&plain);
    for (unsigned i = 0; i < TICKETS; i++)
        enter(fair, &flood[i], 1, 1, i);
    assert_int_equal(dj_fair_waiting(fair), 64);
    for (unsigned round = 0; round < 32; round++) {
        enter(fair, &victim, 2, 1, TICKETS);
        assert_int_equal(victim.state, DJ_FAIR_WAITING);
        unsigned turns = 0;
        while (victim.state == DJ_FAIR_WAITING) {
            struct dj_fair_ticket *running = round == 0 && turns == 0 ? &flood[0] : NULL;
            for (unsigned i = 0; !running && i < TICKETS; i++)
                if (flood[i].state == DJ_FAIR_RUNNING)
                    running = &flood[i];
            dj_fair_leave(fair, running);
            assert_non_null(dj_fair_turn(fair, TICKETS));
            turns++;
        }
        assert_true(turns <= 2);
        dj_fair_leave(fair, &victim);
        dj_fair_turn(fair, TICKETS);
        for (unsigned i = 0; i < 4; i++) { /* the flood goes on */
            for (unsigned k = 0; k < TICKETS; k++) {
                if (flood[k].state == DJ_FAIR_WAITING || flood[k].state == DJ_FAIR_RUNNING)
                    continue;
                enter(fair, &flood[k], 1, 1, TICKETS);
                break;
            }
        }
    }
    end(fair);
}

/* Three lines that are never empty: each gets its weight's part of the turns, exactly. */
static void shares_follow_the_weights(void **state)
{
    (void)state;
    static struct dj_fair_ticket tickets[3][20];
    static const uint32_t weights[3] = {1, 2, 5};
    const struct dj_fair_options options = {
        .running_max = 1, .waiting_max = 1000, .standing = {UINT64_MAX, UINT64_MAX}};
    struct dj_fair *fair = make(&options);
    unsigned gone[3] = {0, 0, 0};
    struct dj_fair_ticket first;
    enter(fair, &first, 9, 1, 0);
    for (unsigned line = 0; line < 3; line++)
        for (unsigned i = 0; i < 20; i++)
            enter(fair, &tickets[line][i], line, weights[line], 0);
    struct dj_fair_ticket *running = &first;
    for (unsigned turn = 0; turn < 8000; turn++) {
        dj_fair_leave(fair, running);
        running = dj_fair_turn(fair, turn);
        unsigned line = (unsigned)(running - &tickets[0][0]) / 20;
        gone[line]++;
        struct dj_fair_ticket *again = NULL; /* a ticket of that line that is out */
        for (unsigned i = 0; i < 20 && !again; i++)
            if (tickets[line][i].state == DJ_FAIR_OUT)
                again = &tickets[line][i];
        if (again)
            enter(fair, again, line, weights[line], turn);
    }
    assert_in_range(gone[0], 999, 1001);
    assert_in_range(gone[1], 1999, 2001);
    assert_in_range(gone[2], 4999, 5001);
    end(fair);
}

/* A tenant that was away does not come back with turns it has saved. */
static void turns_are_not_saved_up(void **state)
{
    (void)state;
    static struct dj_fair_ticket busy[200];
    static struct dj_fair_ticket late[20];
    const struct dj_fair_options options = {
        .running_max = 1, .waiting_max = 1000, .standing = {UINT64_MAX, UINT64_MAX}};
    struct dj_fair *fair = make(&options);
    for (unsigned i = 0; i < 200; i++)
        enter(fair, &busy[i], 1, 1, 0);
    struct dj_fair_ticket *running = &busy[0];
    for (unsigned i = 0; i < 100; i++) {
        dj_fair_leave(fair, running);
        running = dj_fair_turn(fair, 0);
    }
    for (unsigned i = 0; i < 20; i++)
        enter(fair, &late[i], 2, 1, 0);
    unsigned of_late = 0;
    for (unsigned i = 0; i < 20; i++) {
        dj_fair_leave(fair, running);
        running = dj_fair_turn(fair, 0);
        of_late += running >= late && running < late + 20;
    }
    assert_in_range(of_late, 9, 11);
    end(fair);
}

static void a_burst_that_drains_loses_nobody(void **state)
{
    (void)state;
    static struct dj_fair_ticket tickets[60];
    struct dj_fair *fair = make(&plain);
    for (unsigned i = 0; i < 60; i++)
        enter(fair, &tickets[i], 1, 1, 0);
    /* Two at a time, 30 ms each: the last of them waits for 870 ms. */
    for (unsigned done = 0; done < 60; done += 2) {
        uint64_t now_us = (done / 2 + 1) * 30 * MS;
        dj_fair_leave(fair, &tickets[done]);
        dj_fair_leave(fair, &tickets[done + 1]);
        for (unsigned i = done + 2; i < done + 4 && i < 60; i++)
            assert_ptr_equal(dj_fair_turn(fair, now_us), &tickets[i]); /* oldest first */
        assert_null(dj_fair_turn(fair, now_us));
    }
    end(fair);
}

/* 200 a second come, 20 a second go: those who are let go have waited for hardly more than the
 * target, the line stays short, and when fewer come everybody is let go again. */
static void under_overload_the_newest_go_and_who_waited_too_long_is_refused(void **state)
{
    (void)state;
    static struct dj_fair_ticket tickets[TICKETS];
    struct dj_fair *fair = make(&plain);
    uint64_t ends_us[2] = {0, 0};
    struct dj_fair_ticket *slots[2] = {NULL, NULL};
    unsigned come = 0;
    unsigned let = 0;
    unsigned late_refusals = 0;
    uint64_t longest_us = 0;
    for (uint64_t now_us = 0; now_us < 20000 * MS; now_us += MS) {
        bool is_flood = now_us < 10000 * MS;
        if (now_us % ((is_flood ? 5 : 200) * MS) == 0) {
            struct dj_fair_ticket *ticket = &tickets[come++];
            enter(fair, ticket, 1, 1, now_us);
            for (unsigned i = 0; i < 2 && ticket->state == DJ_FAIR_RUNNING; i++)
                if (!slots[i]) {
                    slots[i] = ticket;
                    ends_us[i] = now_us + 100 * MS;
                    break;
                }
        }
        for (unsigned i = 0; i < 2; i++)
            if (slots[i] && ends_us[i] <= now_us) {
                dj_fair_leave(fair, slots[i]);
                slots[i] = NULL;
            }
        struct dj_fair_ticket *decided;
        while ((decided = dj_fair_turn(fair, now_us))) {
            if (decided->state == DJ_FAIR_REFUSED) {
                late_refusals += now_us > 11000 * MS;
                continue;
            }
            unsigned i = slots[0] ? 1 : 0;
            slots[i] = decided;
            ends_us[i] = now_us + 100 * MS;
            let++;
            if (now_us > 2000 * MS && now_us - decided->since_us > longest_us)
                longest_us = now_us - decided->since_us;
        }
        assert_true(dj_fair_waiting(fair) <= 64 && dj_fair_running(fair) <= 2);
    }
    assert_true(let >= 190); /* no slot stayed empty */
    assert_true(longest_us <= 100 * MS);
    assert_int_equal(late_refusals, 0);
    end(fair);
}

static void the_longest_line_makes_room(void **state)
{
    (void)state;
    static struct dj_fair_ticket flood[100];
    struct dj_fair_ticket running[2], other;
    struct dj_fair *fair = make(&plain);
    enter(fair, &running[0], 7, 1, 0);
    enter(fair, &running[1], 7, 1, 0);
    for (unsigned i = 0; i < 64; i++)
        assert_null(enter(fair, &flood[i], 1, 1, i));
    assert_ptr_equal(enter(fair, &other, 2, 1, 100), &flood[0]);
    assert_int_equal(flood[0].state, DJ_FAIR_REFUSED);
    assert_int_equal(other.state, DJ_FAIR_WAITING);
    assert_ptr_equal(enter(fair, &flood[64], 1, 1, 101), &flood[1]);
    assert_int_equal(dj_fair_waiting(fair), 64);
    end(fair);
}

static void nobody_waits_where_nobody_may(void **state)
{
    (void)state;
    struct dj_fair_options options = plain;
    options.running_max = 1;
    options.waiting_max = 0;
    struct dj_fair *fair = make(&options);
    struct dj_fair_ticket a, b;
    enter(fair, &a, 1, 1, 0);
    enter(fair, &b, 1, 1, 0);
    assert_int_equal(b.state, DJ_FAIR_REFUSED);
    end(fair);
    static struct dj_fair_ticket many[DJ_FAIR_LINES_MAX + 2];
    options.waiting_max = UINT32_MAX;
    fair = make(&options);
    for (uint32_t i = 0; i < DJ_FAIR_LINES_MAX + 2; i++)
        enter(fair, &many[i], i, 1, 0);
    assert_int_equal(many[DJ_FAIR_LINES_MAX].state, DJ_FAIR_WAITING);
    assert_int_equal(many[DJ_FAIR_LINES_MAX + 1].state, DJ_FAIR_REFUSED); /* no line is free */
    end(fair);
}

static void fair_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_fair *fair = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_fair_create(&plain, &fair);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status == DEJA_OK, !has_failed);
        dj_fair_destroy(fair);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_there_is_room_nobody_waits),
        cmocka_unit_test(a_flood_delays_others_by_one_turn),
        cmocka_unit_test(shares_follow_the_weights),
        cmocka_unit_test(turns_are_not_saved_up),
        cmocka_unit_test(a_burst_that_drains_loses_nobody),
        cmocka_unit_test(under_overload_the_newest_go_and_who_waited_too_long_is_refused),
        cmocka_unit_test(the_longest_line_makes_room),
        cmocka_unit_test(nobody_waits_where_nobody_may),
        cmocka_unit_test(fair_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
