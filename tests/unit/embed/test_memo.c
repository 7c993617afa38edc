#include "embed/memo.h"

#include <pthread.h>
#include <stdio.h>

#include "check.h"

static void put_number(struct dj_memo *memo, int number)
{
    char text[32];
    float vector[2] = {(float)number, 1.0F};
    int len = snprintf(text, sizeof text, "text %d", number);
    dj_memo_put(memo, deja_slice(text, (size_t)len), 0, vector);
}

static bool has_number(struct dj_memo *memo, int number)
{
    char text[32];
    float vector[2] = {-1.0F, -1.0F};
    int len = snprintf(text, sizeof text, "text %d", number);
    if (!dj_memo_get(memo, deja_slice(text, (size_t)len), 0, vector))
        return false;
    assert_true(vector[0] == (float)number && vector[1] == 1.0F);
    return true;
}

static void what_was_put_is_found_until_cleared(void **state)
{
    (void)state;
    struct dj_memo *memo = NULL;
    float vector[2] = {0.0F, 0.0F};
    assert_int_equal(dj_memo_create(2, 1000, 1 << 20, &memo), DEJA_OK);
    for (int i = 0; i < 500; i++)
        put_number(memo, i);
    for (int i = 0; i < 500; i++)
        assert_true(has_number(memo, i));
    assert_false(has_number(memo, 500));
    dj_memo_put(memo, deja_slice(NULL, 0), 0, (const float[2]){7.0F, 8.0F});
    dj_memo_put(memo, deja_slice(NULL, 0), 0, (const float[2]){9.0F, 8.0F});
    assert_true(dj_memo_get(memo, deja_slice(NULL, 0), 0, vector));
    assert_true(vector[0] == 9.0F);
    struct dj_memo_stats stats = dj_memo_stats(memo);
    assert_int_equal(stats.entries, 501);
    assert_int_equal(stats.hits, 501);
    assert_int_equal(stats.misses, 1);
    dj_memo_clear(memo);
    assert_false(has_number(memo, 3));
    stats = dj_memo_stats(memo);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.bytes, 0);
    dj_memo_destroy(memo);
    dj_memo_destroy(NULL);
}

static void the_least_recently_used_go_first(void **state)
{
    (void)state;
    struct dj_memo *memo = NULL;
    assert_int_equal(dj_memo_create(2, 3, 1 << 20, &memo), DEJA_OK);
    put_number(memo, 1);
    put_number(memo, 2);
    put_number(memo, 3);
    assert_true(has_number(memo, 1));
    put_number(memo, 4);
    assert_false(has_number(memo, 2));
    put_number(memo, 3); /* again counts as use */
    put_number(memo, 5);
    assert_false(has_number(memo, 1));
    assert_true(has_number(memo, 3) && has_number(memo, 4) && has_number(memo, 5));
    dj_memo_destroy(memo);
}

static void bytes_stay_within_their_bound(void **state)
{
    (void)state;
    enum { BYTES_MAX = 5000 };
    struct dj_memo *memo = NULL;
    static char text[6000];
    float vector[2] = {1.0F, 2.0F};
    assert_int_equal(dj_memo_create(2, 1000, BYTES_MAX, &memo), DEJA_OK);
    for (size_t i = 0; i < 3000; i++) {
        text[i % 1000] = (char)('a' + i % 26);
        dj_memo_put(memo, deja_slice(text, 1 + i % 1000), 0, vector);
        assert_in_range(dj_memo_stats(memo).bytes, 1, BYTES_MAX);
    }
    size_t entries = dj_memo_stats(memo).entries;
    dj_memo_put(memo, deja_slice(text, sizeof text), 0, vector);
    assert_int_equal(dj_memo_stats(memo).entries, entries);
    assert_false(dj_memo_get(memo, deja_slice(text, sizeof text), 0, vector));
    dj_memo_destroy(memo);
}

static void memo_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_memo *memo = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_memo_create(2, 10, 1000, &memo);
        if (status == DEJA_OK)
            put_number(memo, 1);
        bool has_failed = failing_malloc_disarm();
        if (memo)
            assert_int_equal(has_number(memo, 1), !has_failed);
        else
            assert_int_equal(status, DEJA_ERR_NOMEM);
        dj_memo_destroy(memo);
        if (!has_failed)
            break;
    }
}

static void *use_all_the_time(void *ctx)
{
    for (int i = 0; i < 3000; i++) {
        put_number(ctx, i % 97);
        if (has_number(ctx, (i * 31) % 97) && i == -1)
            return NULL;
    }
    return ctx;
}

static void threads_share_a_memo(void **state)
{
    (void)state;
    struct dj_memo *memo = NULL;
    pthread_t threads[3];
    assert_int_equal(dj_memo_create(2, 50, 1 << 20, &memo), DEJA_OK);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_all_the_time, memo), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(dj_memo_stats(memo).entries, 50);
    dj_memo_destroy(memo);
}

static void vector_put_too_long_ago_is_forgotten(void **state)
{
    (void)state;
    struct dj_memo *memo = NULL;
    const struct deja_slice text = deja_slice_text("text");
    float vector[2];
    assert_int_equal(dj_memo_create(2, 10, 1 << 20, &memo), DEJA_OK);
    dj_memo_put(memo, text, 1000, (const float[2]){1.0F, 2.0F});
    assert_true(dj_memo_get(memo, text, 1000, vector));
    assert_false(dj_memo_get(memo, text, 1001, vector));
    assert_false(dj_memo_get(memo, text, 0, vector)); /* gone for good */
    assert_int_equal(dj_memo_stats(memo).entries, 0);
    dj_memo_put(memo, text, 2000, (const float[2]){3.0F, 4.0F});
    assert_true(dj_memo_get(memo, text, 1001, vector));
    dj_memo_destroy(memo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_put_too_long_ago_is_forgotten),
        cmocka_unit_test(what_was_put_is_found_until_cleared),
        cmocka_unit_test(the_least_recently_used_go_first),
        cmocka_unit_test(bytes_stay_within_their_bound),
        cmocka_unit_test(memo_survives_each_failed_allocation),
        cmocka_unit_test(threads_share_a_memo),
    };
    return RUN_TESTS(tests);
}
