#include "tools/bench_texts.h"

#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"

static int compare_texts(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void questions_are_all_different_and_terminated(void **state)
{
    (void)state;
    char(*texts)[DJ_BENCH_TEXT_BYTES] = dj_alloc_zeroed(DJ_BENCH_QUESTIONS_MAX, sizeof *texts);
    assert_non_null(texts);
    for (uint64_t i = 0; i < DJ_BENCH_QUESTIONS_MAX; i++) {
        struct deja_slice question = dj_bench_question(i, false, texts[i]);
        assert_int_equal(question.len, strlen(texts[i]));
    }
    qsort(texts, DJ_BENCH_QUESTIONS_MAX, sizeof *texts, compare_texts);
    for (size_t i = 1; i < DJ_BENCH_QUESTIONS_MAX; i++)
        assert_string_not_equal(texts[i - 1], texts[i]);
    dj_free(texts);
}

static void reworded_question_is_another_text(void **state)
{
    (void)state;
    char text[DJ_BENCH_TEXT_BYTES];
    char reworded[DJ_BENCH_TEXT_BYTES];
    dj_bench_question(7, false, text);
    dj_bench_question(7, true, reworded);
    assert_string_not_equal(text, reworded);
}

static void answer_is_told_from_another_one(void **state)
{
    (void)state;
    char body[DJ_BENCH_ANSWER_BYTES];
    dj_bench_answer(12, body);
    assert_true(dj_bench_is_answer(12, deja_slice(body, sizeof body)));
    assert_false(dj_bench_is_answer(1, deja_slice(body, sizeof body)));
    assert_false(dj_bench_is_answer(123, deja_slice(body, sizeof body)));
    assert_false(dj_bench_is_answer(12, deja_slice(body, 2)));
    assert_false(dj_bench_is_answer(12, deja_slice(NULL, 0)));
}

static void vectors_have_length_one_and_differ(void **state)
{
    (void)state;
    enum { DIM = 384 };
    float a[DIM];
    float b[DIM];
    double length = 0;
    double similarity = 0;
    dj_bench_vector(0, a, DIM);
    dj_bench_vector(1, b, DIM);
    for (size_t i = 0; i < DIM; i++) {
        length += (double)a[i] * (double)a[i];
        similarity += (double)a[i] * (double)b[i];
    }
    assert_true(fabs(length - 1) < 1e-5);
    assert_true(fabs(similarity) < 0.3);
}

static void texts_have_their_length_and_are_the_same_every_time(void **state)
{
    (void)state;
    for (unsigned kind = DJ_BENCH_PROSE; kind <= DJ_BENCH_RANDOM; kind++) {
        struct dj_buf first = {0};
        struct dj_buf second = {0};
        dj_bench_text((enum dj_bench_text_kind)kind, 3, 1001, &first);
        dj_bench_text((enum dj_bench_text_kind)kind, 3, 1001, &second);
        assert_int_equal(first.status, DEJA_OK);
        assert_int_equal(first.len, 1001);
        assert_true(deja_slice_is_equal(dj_buf_slice(&first), dj_buf_slice(&second)));
        dj_buf_fini(&first);
        dj_buf_fini(&second);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_are_all_different_and_terminated),
        cmocka_unit_test(reworded_question_is_another_text),
        cmocka_unit_test(answer_is_told_from_another_one),
        cmocka_unit_test(vectors_have_length_one_and_differ),
        cmocka_unit_test(texts_have_their_length_and_are_the_same_every_time),
    };
    return RUN_TESTS(tests);
}
