/* tests/unit/api/test_idempotency.c - writes that are sent twice. */
#include "check.h"

#include "api/idempotency.h"

enum { HOUR_MS = 3600 * 1000 };

static void name_of(uint32_t number, uint8_t out[DJ_SHA256_BYTES])
{
    dj_sha256(deja_slice((const char *)&number, sizeof number), out);
}

static enum dj_idempotent begin(struct dj_idempotency *table, uint32_t name, uint32_t body,
                                int64_t now_ms, struct dj_buf *answer)
{
    uint8_t name_digest[DJ_SHA256_BYTES];
    uint8_t body_digest[DJ_SHA256_BYTES];
    int status = 0;
    name_of(name, name_digest);
    name_of(body, body_digest);
    enum dj_idempotent outcome =
        dj_idempotency_begin(table, name_digest, body_digest, now_ms, &status, answer);
    if (outcome == DJ_IDEMPOTENT_REPLAY)
        assert_int_equal(status, 201);
    return outcome;
}

static void finish(struct dj_idempotency *table, uint32_t name, const char *answer)
{
    uint8_t digest[DJ_SHA256_BYTES];
    name_of(name, digest);
    dj_idempotency_finish(table, digest, 201, deja_slice_text(answer));
}

static void forget(struct dj_idempotency *table, uint32_t name)
{
    uint8_t digest[DJ_SHA256_BYTES];
    name_of(name, digest);
    dj_idempotency_forget(table, digest);
}

static struct dj_idempotency *create(size_t count_max, size_t bytes_max)
{
    struct dj_idempotency *table = NULL;
    assert_int_equal(dj_idempotency_create(count_max, bytes_max, &table), DEJA_OK);
    return table;
}

static void the_first_answer_is_given_again(void **state)
{
    struct dj_idempotency *table = create(10, 1000);
    struct dj_buf answer = {0};
    (void)state;
    assert_int_equal(begin(table, 1, 1, 1, &answer), DJ_IDEMPOTENT_NEW);
    assert_int_equal(begin(table, 1, 1, 2, &answer), DJ_IDEMPOTENT_IN_FLIGHT);
    assert_int_equal(begin(table, 1, 2, 2, &answer), DJ_IDEMPOTENT_OTHER_BODY);
    assert_int_equal(begin(table, 2, 1, 2, &answer), DJ_IDEMPOTENT_NEW);
    finish(table, 1, "first");
    finish(table, 1, "second");
    assert_int_equal(begin(table, 1, 1, 23 * HOUR_MS, &answer), DJ_IDEMPOTENT_REPLAY);
    assert_true(deja_slice_is_equal(dj_buf_slice(&answer), deja_slice_text("first")));
    assert_int_equal(begin(table, 1, 2, 23 * HOUR_MS, &answer), DJ_IDEMPOTENT_OTHER_BODY);
    dj_buf_fini(&answer);
    dj_idempotency_destroy(table);
}

static void an_answer_is_forgotten_after_a_day(void **state)
{
    struct dj_idempotency *table = create(10, 1000);
    (void)state;
    assert_int_equal(begin(table, 1, 1, 1, NULL), DJ_IDEMPOTENT_NEW);
    finish(table, 1, "");
    assert_int_equal(begin(table, 1, 2, 1 + 24 * (int64_t)HOUR_MS, NULL), DJ_IDEMPOTENT_NEW);
    dj_idempotency_destroy(table);
}

static void what_failed_may_be_sent_again(void **state)
{
    struct dj_idempotency *table = create(10, 1000);
    (void)state;
    assert_int_equal(begin(table, 1, 1, 1, NULL), DJ_IDEMPOTENT_NEW);
    forget(table, 1);
    assert_int_equal(begin(table, 1, 2, 2, NULL), DJ_IDEMPOTENT_NEW);
    forget(table, 7);
    dj_idempotency_destroy(table);
}

static void the_oldest_answer_makes_room_and_none_in_flight_does(void **state)
{
    struct dj_idempotency *table = create(2, 1000);
    struct dj_buf answer = {0};
    (void)state;
    assert_int_equal(begin(table, 1, 1, 1, NULL), DJ_IDEMPOTENT_NEW);
    assert_int_equal(begin(table, 2, 1, 1, NULL), DJ_IDEMPOTENT_NEW);
    assert_int_equal(begin(table, 3, 1, 1, NULL), DJ_IDEMPOTENT_FULL);
    finish(table, 2, "two");
    assert_int_equal(begin(table, 3, 1, 1, NULL), DJ_IDEMPOTENT_NEW);
    finish(table, 1, "one");
    assert_int_equal(begin(table, 1, 1, 1, &answer), DJ_IDEMPOTENT_REPLAY);
    assert_int_equal(begin(table, 2, 1, 1, NULL), DJ_IDEMPOTENT_NEW);
    dj_buf_fini(&answer);
    dj_idempotency_destroy(table);
}

static void answers_stay_within_their_bytes(void **state)
{
    struct dj_idempotency *table = create(10, 10);
    struct dj_buf answer = {0};
    (void)state;
    for (uint32_t name = 1; name <= 3; name++) {
        assert_int_equal(begin(table, name, 1, 1, NULL), DJ_IDEMPOTENT_NEW);
        finish(table, name, "12345");
    }
    assert_int_equal(begin(table, 2, 1, 1, &answer), DJ_IDEMPOTENT_REPLAY);
    assert_int_equal(begin(table, 3, 1, 1, &answer), DJ_IDEMPOTENT_REPLAY);
    assert_int_equal(begin(table, 1, 1, 1, NULL), DJ_IDEMPOTENT_NEW);
    dj_buf_fini(&answer);
    dj_idempotency_destroy(table);
}

static void the_table_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 0; n < 100; n++) {
        struct dj_idempotency *table = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_idempotency_create(10, 1000, &table);
        if (status == DEJA_OK && begin(table, 1, 1, 1, NULL) == DJ_IDEMPOTENT_NEW)
            finish(table, 1, "answer");
        bool has_failed = failing_malloc_disarm();
        if (status != DEJA_OK)
            assert_null(table);
        dj_idempotency_destroy(table);
        if (!has_failed)
            return;
    }
    fail_msg("never got through");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_answer_is_given_again),
        cmocka_unit_test(an_answer_is_forgotten_after_a_day),
        cmocka_unit_test(what_failed_may_be_sent_again),
        cmocka_unit_test(the_oldest_answer_makes_room_and_none_in_flight_does),
        cmocka_unit_test(answers_stay_within_their_bytes),
        cmocka_unit_test(the_table_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
