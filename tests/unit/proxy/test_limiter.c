/* tests/unit/proxy/test_limiter.c - the gate of tenants and keys, on a clock of its own. */
#include "proxy/limiter.h"
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

#include "failing_malloc.h"
#include "security/principal.h"

#define NOON INT64_C(1700006400000) /* a wall clock, ms: 2023-11-15 00:00:00 UTC */
#define SECOND UINT64_C(1000000)

static struct dj_principal who_of(uint32_t number, const struct dj_rules_limits *limits)
{
    const struct dj_rules_values values = {.is_configured = true, .limits = *limits};
    struct dj_principal who = {.origin = DJ_ORIGIN_KEY};
    memcpy(who.tenant, &number, sizeof number);
    assert_int_equal(dj_rules_create(&values, &who.rules), DEJA_OK);
    return who;
}

static struct dj_limiter *make(void)
{
    struct dj_limiter *limiter = NULL;
    assert_int_equal(dj_limiter_create(DJ_LIMITER_ACCOUNTS_MAX, &limiter), DEJA_OK);
    return limiter;
}

/* In and out; what it was refused for. */
static enum dj_limit ask(struct dj_limiter *limiter, const struct dj_principal *who,
                         uint64_t now_us)
{
    struct dj_limit_pass pass;
    struct dj_limit_verdict verdict;
    bool may_enter = dj_limiter_enter(limiter, who, 10, now_us, &pass, &verdict);
    assert_int_equal(may_enter, verdict.limit == DJ_LIMIT_NONE);
    if (may_enter)
        dj_limiter_leave(&pass, 100, now_us);
    else
        assert_true(verdict.wait_ms >= 1);
    return verdict.limit;
}

static void tenant_has_its_burst_and_its_rate(void **state)
{
    (void)state;
    struct dj_limiter *limiter = make();
    struct dj_principal who =
        who_of(1, &(struct dj_rules_limits){.requests_per_s = 100, .burst = 200});
    unsigned passed = 0;
    for (unsigned i = 0; i < 1000; i++)
        passed += ask(limiter, &who, SECOND) == DJ_LIMIT_NONE;
    assert_int_equal(passed, 200);
    for (uint64_t now_us = SECOND; now_us < 11 * SECOND; now_us += 1000)
        passed += ask(limiter, &who, now_us) == DJ_LIMIT_NONE;
    assert_int_equal(passed, 200 + 999);
    struct dj_limit_pass pass;
    struct dj_limit_verdict verdict;
    assert_false(dj_limiter_enter(limiter, &who, 0, 11 * SECOND - 1000, &pass, &verdict));
    assert_int_equal(verdict.limit, DJ_LIMIT_REQUESTS);
    assert_true(verdict.has_quota);
    assert_int_equal(verdict.quota, 200);
    assert_int_equal(verdict.left, 0);
    assert_int_equal(verdict.per_second, 100);
    assert_true(verdict.wait_ms <= 10);
    dj_principal_fini(&who);
    dj_limiter_destroy(limiter);
}

static void one_tenant_does_not_use_up_what_is_anothers(void **state)
{
    (void)state;
    struct dj_limiter *limiter = make();
    const struct dj_rules_limits limits = {.requests_per_s = 100, .burst = 200};
    struct dj_principal flood = who_of(1, &limits);
    struct dj_principal victim = who_of(2, &limits);
    unsigned passed = 0;
    for (unsigned i = 0; i < 100000; i++) {
        ask(limiter, &flood, SECOND);
        if (i % 500 == 0)
            passed += ask(limiter, &victim, SECOND) == DJ_LIMIT_NONE;
    }
    assert_int_equal(passed, 200);
    dj_principal_fini(&flood);
    dj_principal_fini(&victim);
    dj_limiter_destroy(limiter);
}

/* Both count, the tighter one is told, and what the tenant refuses costs the key nothing. */
static void key_has_a_limit_of_its_own_inside_its_tenant(void **state)
{
    (void)state;
    struct dj_limiter *limiter = make();
    const struct dj_rules_limits limits = {.requests_per_s = 10, .burst = 10};
    struct dj_principal first = who_of(1, &limits);
    struct dj_principal second = who_of(1, &limits);
    memcpy(first.key_id, "a", 2);
    memcpy(second.key_id, "b", 2);
    first.key_requests_per_s = 3;
    first.key_burst = 3;
    unsigned passed = 0;
    for (unsigned i = 0; i < 10; i++)
        passed += ask(limiter, &first, SECOND) == DJ_LIMIT_NONE;
    assert_int_equal(passed, 3);
    assert_int_equal(ask(limiter, &first, SECOND), DJ_LIMIT_KEY);
    for (unsigned i = 0; i < 10; i++)
        passed += ask(limiter, &second, SECOND) == DJ_LIMIT_NONE;
    assert_int_equal(passed, 10); /* the tenant's */
    assert_int_equal(ask(limiter, &second, SECOND), DJ_LIMIT_REQUESTS);
    struct dj_limit_usage usage;
    dj_limiter_look(limiter, &first, 2 * SECOND, NOON, &usage);
    assert_int_equal(usage.key_left, 3);
    assert_int_equal(usage.requests_left, 10);
    dj_principal_fini(&first);
    dj_principal_fini(&second);
    dj_limiter_destroy(limiter);
}

static void who_has_no_limit_has_no_account(void **state)
{
    (void)state;
    struct dj_limiter *limiter = make();
    struct dj_principal who = who_of(1, &(struct dj_rules_limits){.burst = 5});
    struct dj_limit_verdict verdict;
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(ask(limiter, &who, SECOND), DJ_LIMIT_NONE);
    assert_true(dj_limiter_take_miss(limiter, who.tenant, who.rules, SECOND, NOON, &verdict));
    dj_limiter_spend(limiter, who.tenant, who.rules, 5, SECOND, NOON);
    assert_int_equal(dj_limiter_count(limiter), 0);
    assert_int_equal(ask(NULL, &who, SECOND), DJ_LIMIT_NONE);
    dj_principal_fini(&who);
    dj_limiter_destroy(limiter);
}

static bool may_miss(struct dj_limiter *limiter, const struct dj_principal *who, int64_t wall_ms)
{
    struct dj_limit_verdict verdict;
    return dj_limiter_take_miss(limiter, who->tenant, who->rules, SECOND, wall_ms, &verdict);
}

/* What is to be written down of all shards; the last one in *out_spent. */
static size_t unkept(struct dj_limiter *limiter, int64_t wall_ms, struct dj_limit_spent *out_spent)
{
    size_t count = 0;
    for (size_t i = 0; i < DJ_LIMITER_SHARDS; i++)
        count += dj_limiter_unkept(limiter, i, wall_ms, out_spent, 1);
    return count;
}

static void spend_is_written_down_once_and_restored(void **state)
{
    (void)state;
    struct dj_limiter *limiter = make();
    struct dj_principal who = who_of(1, &(struct dj_rules_limits){.spend_usd_per_day = 1});
    struct dj_limit_spent spent;
    assert_int_equal(unkept(limiter, NOON, &spent), 0);
    assert_true(may_miss(limiter, &who, NOON));
    dj_limiter_spend(limiter, who.tenant, who.rules, 0.75, SECOND, NOON);
    assert_int_equal(unkept(limiter, NOON, &spent), 1);
    assert_memory_equal(spent.tenant, who.tenant, sizeof spent.tenant);
    assert_int_equal(spent.nano_usd / 1000, 750000);
    assert_int_equal(unkept(limiter, NOON, &spent), 1); /* it was not written */
    dj_limiter_note_kept(limiter, &spent);
    assert_int_equal(unkept(limiter, NOON, &(struct dj_limit_spent){0}), 0);
    dj_limiter_destroy(limiter);
    limiter = make();
    dj_limiter_restore(limiter, &spent, SECOND, NOON);
    assert_int_equal(unkept(limiter, NOON, &(struct dj_limit_spent){0}), 0);
    assert_true(may_miss(limiter, &who, NOON));
    dj_limiter_spend(limiter, who.tenant, who.rules, 0.5, SECOND, NOON);
    assert_false(may_miss(limiter, &who, NOON));
    assert_int_equal(unkept(limiter, NOON, &spent), 1);
    assert_int_equal(spent.nano_usd / 1000, 1250000);
    dj_principal_fini(&who);
    dj_limiter_destroy(limiter);
}

static void spend_of_others_counts_and_ends_with_the_day(void **state)
{
    (void)state;
    struct dj_limiter *limiter = make();
    struct dj_principal who = who_of(1, &(struct dj_rules_limits){.spend_usd_per_day = 1});
    const int64_t tomorrow = NOON + 86400000;
    struct dj_limit_spent others = {.day = NOON / 86400000, .nano_usd = 900000000};
    struct dj_limit_usage usage;
    memcpy(others.tenant, who.tenant, sizeof others.tenant);
    dj_limiter_set_elsewhere(limiter, &others, SECOND, NOON);
    dj_limiter_set_elsewhere(limiter, &others, SECOND, NOON); /* a sum, not another part of one */
    assert_true(may_miss(limiter, &who, NOON));
    others.nano_usd = 1000000000;
    dj_limiter_set_elsewhere(limiter, &others, SECOND, NOON);
    assert_false(may_miss(limiter, &who, NOON));
    dj_limiter_look(limiter, &who, SECOND, NOON, &usage);
    assert_true(usage.spent_usd > 0.999 && usage.spent_usd < 1.001);
    assert_int_equal(unkept(limiter, NOON, &(struct dj_limit_spent){0}), 0); /* not ours to tell */
    assert_true(may_miss(limiter, &who, tomorrow));
    dj_limiter_set_elsewhere(limiter, &others, SECOND, tomorrow); /* of yesterday */
    assert_true(may_miss(limiter, &who, tomorrow));
    dj_principal_fini(&who);
    dj_limiter_destroy(limiter);
}

static void misses_have_a_budget_that_hits_do_not_touch(void **state)
{
    (void)state;
    struct dj_limiter *limiter = make();
    struct dj_principal who = who_of(1, &(struct dj_rules_limits){.misses_per_minute = 30});
    struct dj_limit_verdict verdict;
    for (unsigned i = 0; i < 30; i++)
        assert_true(dj_limiter_take_miss(limiter, who.tenant, who.rules, SECOND, NOON, &verdict));
    assert_false(dj_limiter_take_miss(limiter, who.tenant, who.rules, SECOND, NOON, &verdict));
    assert_int_equal(verdict.limit, DJ_LIMIT_MISSES);
    assert_true(verdict.wait_ms > 1900 && verdict.wait_ms <= 2001);
    assert_int_equal(ask(limiter, &who, SECOND), DJ_LIMIT_NONE);
    assert_true(dj_limiter_take_miss(limiter, who.tenant, who.rules, 3 * SECOND, NOON, &verdict));
    dj_principal_fini(&who);
    dj_limiter_destroy(limiter);
}

static void money_is_for_a_day(void **state)
{
    (void)state;
    struct dj_limiter *limiter = make();
    struct dj_principal who = who_of(1, &(struct dj_rules_limits){.spend_usd_per_day = 0.5});
    struct dj_limit_verdict verdict;
    int64_t evening = NOON + 86400000 - 60000;
    assert_true(dj_limiter_take_miss(limiter, who.tenant, who.rules, SECOND, evening, &verdict));
    dj_limiter_spend(limiter, who.tenant, who.rules, 0.4, SECOND, evening);
    assert_true(dj_limiter_take_miss(limiter, who.tenant, who.rules, SECOND, evening, &verdict));
    dj_limiter_spend(limiter, who.tenant, who.rules, 0.2, SECOND, evening);
    assert_false(dj_limiter_take_miss(limiter, who.tenant, who.rules, SECOND, evening, &verdict));
    assert_int_equal(verdict.limit, DJ_LIMIT_SPEND);
    assert_true(verdict.wait_ms >= 60000 && verdict.wait_ms <= 60001);
    struct dj_limit_usage usage;
    dj_limiter_look(limiter, &who, SECOND, evening, &usage);
    assert_true(usage.spent_usd > 0.5999 && usage.spent_usd < 0.6001);
    assert_true(
        dj_limiter_take_miss(limiter, who.tenant, who.rules, SECOND, evening + 60000, &verdict));
    dj_principal_fini(&who);
    dj_limiter_destroy(limiter);
}

static void bytes_are_charged_when_they_are_known(void **state)
{
    (void)state;
    struct dj_limiter *limiter = make();
    struct dj_principal who = who_of(1, &(struct dj_rules_limits){.bytes_per_s = 1000});
    struct dj_limit_pass pass;
    struct dj_limit_verdict verdict;
    assert_true(dj_limiter_enter(limiter, &who, 400, SECOND, &pass, &verdict));
    dj_limiter_leave(&pass, 2600, SECOND); /* 2,000 in debt */
    dj_limiter_leave(&pass, 2600, SECOND); /* once only */
    assert_int_equal(ask(limiter, &who, 2 * SECOND), DJ_LIMIT_BYTES);
    assert_int_equal(ask(limiter, &who, 3 * SECOND), DJ_LIMIT_NONE);
    dj_principal_fini(&who);
    dj_limiter_destroy(limiter);
}

static void requests_and_connections_are_counted_up_and_down(void **state)
{
    (void)state;
    struct dj_limiter *limiter = make();
    struct dj_principal who =
        who_of(1, &(struct dj_rules_limits){.requests_max = 2, .connections_max = 2});
    struct dj_limit_pass passes[3];
    struct dj_limit_verdict verdict;
    assert_true(dj_limiter_enter(limiter, &who, 0, SECOND, &passes[0], &verdict));
    assert_true(dj_limiter_enter(limiter, &who, 0, SECOND, &passes[1], &verdict));
    assert_false(dj_limiter_enter(limiter, &who, 0, SECOND, &passes[2], &verdict));
    assert_int_equal(verdict.limit, DJ_LIMIT_CONCURRENCY);
    dj_limiter_leave(&passes[2], 0, SECOND); /* refused: nothing to give back */
    dj_limiter_leave(&passes[0], 0, SECOND);
    assert_true(dj_limiter_enter(limiter, &who, 0, SECOND, &passes[0], &verdict));
    assert_true(dj_limiter_connect(limiter, &who, SECOND));
    assert_true(dj_limiter_connect(limiter, &who, SECOND));
    assert_false(dj_limiter_connect(limiter, &who, SECOND));
    dj_limiter_disconnect(limiter, who.tenant);
    assert_true(dj_limiter_connect(limiter, &who, SECOND));
    struct dj_limit_usage usage;
    dj_limiter_look(limiter, &who, SECOND, NOON, &usage);
    assert_int_equal(usage.requests, 2);
    assert_int_equal(usage.connections, 2);
    dj_limiter_leave(&passes[0], 0, SECOND);
    dj_limiter_leave(&passes[1], 0, SECOND);
    dj_principal_fini(&who);
    dj_limiter_destroy(limiter);
}

/* A million made-up tenants: the table stays bounded, and a configured one that has used up its
 * burst does not get another. */
static void strangers_do_not_make_it_forget(void **state)
{
    (void)state;
    struct dj_limiter *limiter = NULL;
    assert_int_equal(dj_limiter_create(2048, &limiter), DEJA_OK);
    struct dj_principal who =
        who_of(1, &(struct dj_rules_limits){.requests_per_s = 0.001, .burst = 3});
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ask(limiter, &who, SECOND), DJ_LIMIT_NONE);
    const struct dj_rules_values derived = {.limits = {.requests_per_s = 0.001, .burst = 3}};
    struct dj_principal stranger = {.origin = DJ_ORIGIN_CREDENTIAL};
    assert_int_equal(dj_rules_create(&derived, &stranger.rules), DEJA_OK);
    for (uint32_t i = 2; i < 200000; i++) {
        memcpy(stranger.tenant, &i, sizeof i);
        assert_int_equal(ask(limiter, &stranger, SECOND), DJ_LIMIT_NONE);
    }
    assert_true(dj_limiter_count(limiter) <= 2048 + 64);
    assert_int_equal(ask(limiter, &who, SECOND), DJ_LIMIT_REQUESTS);
    dj_principal_fini(&who);
    dj_principal_fini(&stranger);
    dj_limiter_destroy(limiter);
}

/* Full of configured tenants in use: a new one is refused, not let through unseen; idle ones give
 * way. */
static void a_full_table_refuses_until_somebody_is_idle(void **state)
{
    (void)state;
    struct dj_limiter *limiter = NULL;
    assert_int_equal(dj_limiter_create(1, &limiter), DEJA_OK);
    struct dj_principal who = who_of(1, &(struct dj_rules_limits){.requests_per_s = 1, .burst = 2});
    unsigned refused = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        memcpy(who.tenant, &i, sizeof i);
        refused += ask(limiter, &who, SECOND) == DJ_LIMIT_ACCOUNTS;
    }
    assert_true(refused >= 20000 - 64 * 18);
    assert_int_equal(ask(limiter, &who, 10 * SECOND), DJ_LIMIT_NONE);
    dj_principal_fini(&who);
    dj_limiter_destroy(limiter);
}

static void limiter_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_principal who = who_of(
        1, &(struct dj_rules_limits){
               .requests_per_s = 1, .burst = 2, .connections_max = 1, .misses_per_minute = 1});
    for (size_t n = 1;; n++) {
        struct dj_limiter *limiter = NULL;
        struct dj_limit_pass pass;
        struct dj_limit_verdict verdict;
        failing_malloc_arm(n);
        enum deja_status status = dj_limiter_create(100, &limiter);
        bool is_in =
            status == DEJA_OK && dj_limiter_enter(limiter, &who, 0, SECOND, &pass, &verdict);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(is_in, !has_failed);
        if (limiter) {
            assert_true(
                dj_limiter_take_miss(limiter, who.tenant, who.rules, SECOND, NOON, &verdict));
            assert_true(dj_limiter_connect(limiter, &who, SECOND));
        }
        dj_limiter_destroy(limiter);
        if (!has_failed)
            break;
    }
    dj_limiter_destroy(NULL);
    dj_principal_fini(&who);
}

#define THREADS 4
struct crowd {
    struct dj_limiter *limiter;
    struct dj_principal tenants[8];
    atomic_uint passed;
};

static void *push(void *arg)
{
    struct crowd *crowd = arg;
    for (unsigned i = 0; i < 8000; i++) {
        struct dj_principal *who = &crowd->tenants[i % 8];
        if (ask(crowd->limiter, who, SECOND) == DJ_LIMIT_NONE)
            atomic_fetch_add(&crowd->passed, 1);
        if (dj_limiter_connect(crowd->limiter, who, SECOND))
            dj_limiter_disconnect(crowd->limiter, who->tenant);
    }
    return NULL;
}

static void threads_together_get_no_more_than_one(void **state)
{
    (void)state;
    struct crowd crowd = {.limiter = make()};
    pthread_t threads[THREADS];
    for (uint32_t i = 0; i < 8; i++)
        crowd.tenants[i] = who_of(
            i, &(struct dj_rules_limits){
                   .requests_per_s = 100, .burst = 200, .requests_max = 100, .connections_max = 3});
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, push, &crowd), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.passed), 8 * 200);
    for (uint32_t i = 0; i < 8; i++) {
        struct dj_limit_usage usage;
        dj_limiter_look(crowd.limiter, &crowd.tenants[i], SECOND, NOON, &usage);
        assert_int_equal(usage.requests, 0);
        assert_int_equal(usage.connections, 0);
        dj_principal_fini(&crowd.tenants[i]);
    }
    dj_limiter_destroy(crowd.limiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tenant_has_its_burst_and_its_rate),
        cmocka_unit_test(one_tenant_does_not_use_up_what_is_anothers),
        cmocka_unit_test(key_has_a_limit_of_its_own_inside_its_tenant),
        cmocka_unit_test(who_has_no_limit_has_no_account),
        cmocka_unit_test(spend_is_written_down_once_and_restored),
        cmocka_unit_test(spend_of_others_counts_and_ends_with_the_day),
        cmocka_unit_test(misses_have_a_budget_that_hits_do_not_touch),
        cmocka_unit_test(money_is_for_a_day),
        cmocka_unit_test(bytes_are_charged_when_they_are_known),
        cmocka_unit_test(requests_and_connections_are_counted_up_and_down),
        cmocka_unit_test(strangers_do_not_make_it_forget),
        cmocka_unit_test(a_full_table_refuses_until_somebody_is_idle),
        cmocka_unit_test(limiter_survives_each_failed_allocation),
        cmocka_unit_test(threads_together_get_no_more_than_one),
    };
    return RUN_TESTS(tests);
}
