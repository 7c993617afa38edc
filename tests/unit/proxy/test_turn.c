/* tests/unit/proxy/test_turn.c - two programs over one tier: whose turn it is, and what happens to
 * the lock in every order of answers and ends. */
#include "check.h"

#include "../cache/shared_fixture.h"
#include "failing_malloc.h"
#include "proxy/turn.h"

/* Two programs and the tier they share. */
struct pair {
    struct scripted tier;
    struct fixture one;
    struct fixture two;
};

static void pair_open(struct pair *pair)
{
    *pair = (struct pair){.one = {.tier_count = 0}};
    scripted_init(&pair->tier);
    add_tier(&pair->one, &pair->tier, "redis", false);
    add_tier(&pair->two, &pair->tier, "redis", false);
    fixture_start(&pair->one);
    fixture_start(&pair->two);
}

static void pair_close(struct pair *pair)
{
    fixture_close(&pair->one);
    fixture_close(&pair->two);
    scripted_fini(&pair->tier);
}

static const struct dj_store_key key = {.tenant = "tenant", .id = "question"};

/* One program's turn; everything runs on its loop 1. */
struct player {
    struct fixture *fixture;
    struct dj_turn *turn;
    uint32_t lease_ms;
    struct event told;
    enum dj_turn_state state;
    enum deja_status status;
};

static struct dj_loop *loop_of(const struct player *player)
{
    return player->fixture->loops.loop[1];
}

static void on_told(void *ctx, enum dj_turn_state state)
{
    struct player *player = ctx;
    player->state = state;
    event_set(&player->told);
}

static void create_step(void *ctx)
{
    struct player *player = ctx;
    player->status = dj_turn_create(player->fixture->engine, loop_of(player), &key,
                                    player->lease_ms, &player->turn);
}

static void ask_step(void *ctx)
{
    struct player *player = ctx;
    assert_int_equal(dj_turn_ask(player->turn, player, on_told), DEJA_OK);
}

static void end_step(void *ctx)
{
    struct player *player = ctx;
    dj_turn_end(player->turn);
    player->turn = NULL;
}

static void on_waited(void *ctx)
{
    struct player *player = ctx;
    event_set(&player->told);
}

static void wait_step(void *ctx)
{
    struct player *player = ctx;
    dj_turn_wait(player->turn, 1, player, on_waited);
}

static void ask_and_end_step(void *ctx)
{
    ask_step(ctx);
    end_step(ctx);
}

static struct player join(struct fixture *fixture)
{
    struct player player = {.fixture = fixture};
    on_loop(loop_of(&player), create_step, &player);
    assert_int_equal(player.status, DEJA_OK);
    return player;
}

static enum dj_turn_state ask(struct player *player)
{
    event_init(&player->told);
    on_loop(loop_of(player), ask_step, player);
    event_wait(&player->told);
    return player->state;
}

static void end(struct player *player)
{
    on_loop(loop_of(player), end_step, player);
    settle(player->fixture);
}

static uint32_t locks_held(struct scripted *tier)
{
    uint32_t count = 0;
    pthread_mutex_lock(&tier->lock);
    for (size_t i = 0; i < SCRIPTED_LOCKS; i++)
        count += tier->locks[i].is_held;
    pthread_mutex_unlock(&tier->lock);
    return count;
}

static void one_program_has_the_turn_and_the_next_one_after_it(void **state)
{
    (void)state;
    static struct pair pair;
    pair_open(&pair);
    struct player one = join(&pair.one);
    struct player two = join(&pair.two);
    assert_int_equal(ask(&one), DJ_TURN_HELD);
    assert_int_equal(ask(&two), DJ_TURN_OTHERS);
    end(&one);
    assert_int_equal(ask(&two), DJ_TURN_HELD);
    end(&two);
    assert_int_equal(locks_held(&pair.tier), 0);
    pair_close(&pair);
}

static void turn_that_is_ended_while_it_is_asked_for_gives_its_lock_back(void **state)
{
    (void)state;
    static struct pair pair;
    pair_open(&pair);
    struct player one = join(&pair.one);
    on_loop(loop_of(&one), ask_and_end_step, &one);
    settle(&pair.one);
    assert_int_equal(locks_held(&pair.tier), 0);
    assert_int_equal(pair.tier.lockings, 1);
    assert_int_equal(pair.tier.unlockings, 1);
    pair_close(&pair);
}

static void turn_that_is_not_held_frees_nothing(void **state)
{
    (void)state;
    static struct pair pair;
    pair_open(&pair);
    struct player one = join(&pair.one);
    struct player two = join(&pair.two);
    assert_int_equal(ask(&one), DJ_TURN_HELD);
    assert_int_equal(ask(&two), DJ_TURN_OTHERS);
    end(&two);
    assert_int_equal(locks_held(&pair.tier), 1);
    assert_int_equal(pair.tier.unlockings, 0);
    end(&one);
    pair_close(&pair);
}

static void sick_tier_cannot_tell(void **state)
{
    (void)state;
    static struct pair pair;
    pair_open(&pair);
    struct player one = join(&pair.one);
    pair.tier.failure = DEJA_ERR_IO;
    assert_int_equal(ask(&one), DJ_TURN_UNKNOWN);
    end(&one);
    assert_int_equal(pair.tier.unlockings, 0);
    pair.tier.failure = DEJA_OK;
    pair_close(&pair);
}

static void tier_that_is_slow_cannot_tell_and_its_late_lock_is_given_back(void **state)
{
    (void)state;
    static struct pair pair;
    pair_open(&pair);
    struct player one = join(&pair.one);
    pair.tier.is_holding_locks = true;
    assert_int_equal(ask(&one), DJ_TURN_UNKNOWN);
    scripted_release(&pair.tier);
    settle(&pair.one);
    assert_int_equal(locks_held(&pair.tier), 1);
    end(&one);
    assert_int_equal(locks_held(&pair.tier), 0);
    pair_close(&pair);
}

static void held_turn_is_renewed_until_it_ends(void **state)
{
    (void)state;
    static struct pair pair;
    pair_open(&pair);
    struct player one = {.fixture = &pair.one, .lease_ms = 3};
    on_loop(loop_of(&one), create_step, &one);
    assert_int_equal(ask(&one), DJ_TURN_HELD);
    struct player clock = join(&pair.one);
    uint32_t lockings = 0;
    while (lockings < 4) { /* each turn of the loop lets a millisecond's timer run */
        event_init(&clock.told);
        on_loop(loop_of(&clock), wait_step, &clock);
        event_wait(&clock.told);
        pthread_mutex_lock(&pair.tier.lock);
        lockings = pair.tier.lockings;
        pthread_mutex_unlock(&pair.tier.lock);
    }
    assert_int_equal(locks_held(&pair.tier), 1);
    end(&clock);
    end(&one);
    assert_int_equal(locks_held(&pair.tier), 0);
    pair_close(&pair);
}

static void wait_ends_once_or_not_at_all(void **state)
{
    (void)state;
    static struct pair pair;
    pair_open(&pair);
    struct player one = join(&pair.one);
    event_init(&one.told);
    on_loop(loop_of(&one), wait_step, &one);
    event_wait(&one.told);
    on_loop(loop_of(&one), wait_step, &one);
    end(&one); /* in the middle of the second */
    pair_close(&pair);
}

static void without_locks_there_are_no_turns(void **state)
{
    (void)state;
    struct fixture alone;
    fixture_open(&alone);
    struct player player = {.fixture = &alone};
    on_loop(loop_of(&player), create_step, &player);
    assert_int_equal(player.status, DEJA_ERR_UNSUPPORTED);
    fixture_close(&alone);
}

static void pauses_double_up_to_a_quarter_of_a_second(void **state)
{
    (void)state;
    static const uint32_t wanted[] = {10, 20, 40, 80, 160, 250, 250};
    for (uint32_t n = 0; n < sizeof wanted / sizeof *wanted; n++)
        assert_int_equal(dj_turn_pause_ms(n), wanted[n]);
    assert_int_equal(dj_turn_pause_ms(UINT32_MAX), 250);
}

static void failing_create_step(void *ctx)
{
    struct player *player = ctx;
    size_t n = 1;
    for (bool has_failed = true; has_failed; n++) {
        failing_malloc_arm(n);
        create_step(player);
        has_failed = failing_malloc_disarm();
        assert_int_equal(player->status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(player->turn == NULL, has_failed);
    }
}

static void create_survives_each_failed_allocation(void **state)
{
    (void)state;
    static struct pair pair;
    pair_open(&pair);
    struct player one = {.fixture = &pair.one};
    on_loop(loop_of(&one), failing_create_step, &one);
    assert_int_equal(one.status, DEJA_OK);
    end(&one);
    pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_program_has_the_turn_and_the_next_one_after_it),
        cmocka_unit_test(turn_that_is_ended_while_it_is_asked_for_gives_its_lock_back),
        cmocka_unit_test(turn_that_is_not_held_frees_nothing),
        cmocka_unit_test(sick_tier_cannot_tell),
        cmocka_unit_test(tier_that_is_slow_cannot_tell_and_its_late_lock_is_given_back),
        cmocka_unit_test(held_turn_is_renewed_until_it_ends),
        cmocka_unit_test(wait_ends_once_or_not_at_all),
        cmocka_unit_test(without_locks_there_are_no_turns),
        cmocka_unit_test(pauses_double_up_to_a_quarter_of_a_second),
        cmocka_unit_test(create_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
