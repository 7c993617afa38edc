/* Budgets over restarts and among programs. */
#include "daemon/spends.h"
#include "check.h"

#include <stdlib.h>

#include "failing_malloc.h"
#include "loop/loop.h"
#include "memory_authority.h"
#include "security/principal.h"

#define SECOND UINT64_C(1000000)

static struct memory_authority *make_authority(void)
{
    struct memory_authority *memory = calloc(1, sizeof *memory);
    assert_non_null(memory);
    memory_authority_init(memory);
    return memory;
}

/* A program: a limiter and what it writes down. */
struct program {
    struct dj_limiter *limiter;
    struct dj_spends *spends;
};

static struct program start(struct memory_authority *memory, const char *place)
{
    struct program program = {.limiter = NULL};
    assert_int_equal(dj_limiter_create(DJ_LIMITER_ACCOUNTS_MAX, &program.limiter), DEJA_OK);
    const struct dj_spends_options options = {
        .limiter = program.limiter, .authority = &memory->authority, .place = place};
    assert_int_equal(dj_spends_create(&options, &program.spends), DEJA_OK);
    return program;
}

static void stop(struct program *program)
{
    dj_spends_destroy(program->spends);
    dj_limiter_destroy(program->limiter);
}

static struct dj_principal who_of(uint8_t number)
{
    const struct dj_rules_values values = {.is_configured = true,
                                           .limits = {.spend_usd_per_day = 10}};
    struct dj_principal who = {.origin = DJ_ORIGIN_KEY};
    memset(who.tenant, number, sizeof who.tenant);
    assert_int_equal(dj_rules_create(&values, &who.rules), DEJA_OK);
    return who;
}

static void spend(struct program *program, const struct dj_principal *who, double usd)
{
    struct dj_limit_verdict verdict;
    int64_t now_ms = dj_clock_now_ms();
    assert_true(
        dj_limiter_take_miss(program->limiter, who->tenant, who->rules, SECOND, now_ms, &verdict));
    dj_limiter_spend(program->limiter, who->tenant, who->rules, usd, SECOND, now_ms);
}

static double spent(struct program *program, const struct dj_principal *who)
{
    struct dj_limit_usage usage;
    dj_limiter_look(program->limiter, who, SECOND, dj_clock_now_ms(), &usage);
    return usage.spent_usd;
}

static void assert_near(double value, double wanted)
{
    assert_true(value > wanted - 1e-6 && value < wanted + 1e-6);
}

static void what_was_spent_is_there_after_a_restart(void **state)
{
    (void)state;
    struct memory_authority *memory = make_authority();
    struct dj_principal one = who_of(1);
    struct dj_principal two = who_of(2);
    struct program program = start(memory, "host:/a");
    spend(&program, &one, 1.5);
    spend(&program, &two, 0.25);
    dj_spends_keep(program.spends);
    spend(&program, &one, 1);
    dj_spends_keep(program.spends);
    stop(&program);
    program = start(memory, "host:/a");
    assert_near(spent(&program, &one), 2.5);
    assert_near(spent(&program, &two), 0.25);
    unsigned calls = memory->calls;
    dj_spends_keep(program.spends); /* nothing new: only the others are read */
    assert_true(memory->calls <= calls + 1);
    stop(&program);
    dj_principal_fini(&one);
    dj_principal_fini(&two);
    free(memory);
}

static void programs_add_up_what_they_spend(void **state)
{
    (void)state;
    struct memory_authority *memory = make_authority();
    struct dj_principal who = who_of(1);
    struct program a = start(memory, "host:/a");
    struct program b = start(memory, "host:/b");
    struct program c = start(memory, "host:/c");
    spend(&a, &who, 1);
    spend(&b, &who, 2);
    dj_spends_keep(a.spends);
    dj_spends_keep(b.spends);
    dj_spends_keep(a.spends);
    dj_spends_keep(c.spends);
    dj_spends_keep(c.spends);
    assert_near(spent(&a, &who), 3);
    assert_near(spent(&b, &who), 3);
    assert_near(spent(&c, &who), 3);
    stop(&c);
    c = start(memory, "host:/c"); /* at once, not ten seconds later */
    assert_near(spent(&c, &who), 3);
    stop(&a);
    stop(&b);
    stop(&c);
    dj_principal_fini(&who);
    free(memory);
}

static void what_is_of_another_day_or_unreadable_counts_for_nothing_and_is_removed(void **state)
{
    (void)state;
    struct memory_authority *memory = make_authority();
    const struct dj_authority *authority = &memory->authority;
    struct dj_principal who = who_of(0xaa);
    static const char *const documents[] = {"{\"day\":1,\"nano_usd\":9000000000}", "no JSON",
                                            "{\"day\":99999999999999,\"nano_usd\":1}"};
    char key[64] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:0000000000000000";
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        key[48] = (char)('0' + i);
        assert_int_equal(authority->put(authority->ctx, DJ_SPENDS_TABLE, deja_slice_text(key),
                                        deja_slice_text(documents[i]), false),
                         DEJA_OK);
    }
    struct program program = start(memory, "host:/a");
    assert_near(spent(&program, &who), 0);
    for (unsigned i = 0; i < memory->count; i++)
        assert_false(memory->rows[i].is_there);
    stop(&program);
    dj_principal_fini(&who);
    free(memory);
}

static void authority_that_fails_loses_nothing(void **state)
{
    (void)state;
    struct memory_authority *memory = make_authority();
    struct dj_principal who = who_of(1);
    struct program program = start(memory, "host:/a");
    spend(&program, &who, 1);
    memory->trouble = DEJA_ERR_IO;
    dj_spends_keep(program.spends);
    memory->trouble = DEJA_OK;
    dj_spends_keep(program.spends);
    stop(&program);
    program = start(memory, "host:/a");
    assert_near(spent(&program, &who), 1);
    stop(&program);
    dj_principal_fini(&who);
    free(memory);
}

static void spends_create_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct memory_authority *memory = make_authority();
    struct dj_principal who = who_of(1);
    struct program program = start(memory, "host:/a");
    spend(&program, &who, 1);
    dj_spends_keep(program.spends);
    const struct dj_spends_options options = {
        .limiter = program.limiter, .authority = &memory->authority, .place = "host:/b"};
    for (size_t n = 1;; n++) {
        struct dj_spends *spends = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_spends_create(&options, &spends);
        bool had_failure = failing_malloc_disarm();
        assert_true(status == DEJA_OK || (status == DEJA_ERR_NOMEM && !spends));
        dj_spends_destroy(spends);
        if (!had_failure)
            break;
    }
    stop(&program);
    dj_principal_fini(&who);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_spent_is_there_after_a_restart),
        cmocka_unit_test(programs_add_up_what_they_spend),
        cmocka_unit_test(what_is_of_another_day_or_unreadable_counts_for_nothing_and_is_removed),
        cmocka_unit_test(authority_that_fails_loses_nothing),
        cmocka_unit_test(spends_create_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
