#include "embed/lexical.h"

#include <math.h>

#include "base/buf.h"
#include "check.h"
#include "simd/simd.h"

enum { DIM = 512 };

static struct dj_embedder *created(void)
{
    struct dj_embedder *embedder = NULL;
    dj_simd_init();
    assert_int_equal(dj_lexical_create(&embedder), DEJA_OK);
    assert_int_equal(embedder->dim, DIM);
    assert_string_equal(embedder->kind, "lexical");
    return embedder;
}

static float similarity(struct dj_embedder *embedder, const char *a, const char *b)
{
    float vectors[2 * DIM];
    struct deja_slice texts[2] = {deja_slice_text(a), deja_slice_text(b)};
    assert_int_equal(dj_embedder_embed(embedder, texts, 2, vectors), DEJA_OK);
    return dj_simd()->dot_f32(vectors, vectors + DIM, DIM);
}

static void every_text_has_a_vector_of_length_one(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", " ", "?!", "a", "hello world", "\xff", "\xf0\x9f\x98\x80", "\xe4\xbd\xa0\xe5\xa5\xbd"};
    struct dj_embedder *embedder = created();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        float vector[DIM];
        struct deja_slice text = deja_slice_text(texts[i]);
        assert_int_equal(dj_embedder_embed(embedder, &text, 1, vector), DEJA_OK);
        assert_true(fabsf(dj_simd_norm(vector, DIM) - 1.0F) < 1e-5F);
    }
    struct dj_buf text = {0};
    for (int i = 0; i < 3000; i++)
        dj_buf_append_format(&text, "word%d ", i);
    float vector[DIM];
    struct deja_slice slice = dj_buf_slice(&text);
    assert_int_equal(dj_embedder_embed(embedder, &slice, 1, vector), DEJA_OK);
    assert_true(fabsf(dj_simd_norm(vector, DIM) - 1.0F) < 1e-5F);
    dj_buf_fini(&text);
    dj_embedder_destroy(embedder);
}

static void shared_wording_is_nearer_than_none(void **state)
{
    (void)state;
    struct dj_embedder *embedder = created();
    const char *question = "How do I reset my password?";
    assert_true(similarity(embedder, question, question) > 0.9999F);
    assert_true(similarity(embedder, question, "how do i reset my PASSWORD") > 0.9999F);
    float near = similarity(embedder, question, "How can I reset my passwords?");
    float far = similarity(embedder, question, "What is the capital of France?");
    assert_true(near > 0.6F);
    assert_true(far < 0.3F);
    assert_true(similarity(embedder, question, "password my reset I do how?") < 0.999F);
    assert_true(similarity(embedder, "caf\xc3\xa9", "cafe\xcc\x81") > 0.9999F);
    assert_true(similarity(embedder, "?", "!") < 0.5F);
    dj_embedder_destroy(embedder);
}

static void lexical_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_embedder *embedder = NULL;
    failing_malloc_arm(1);
    assert_int_equal(dj_lexical_create(&embedder), DEJA_ERR_NOMEM);
    assert_true(failing_malloc_disarm());
    assert_null(embedder);
}

static void words_are_what_it_counts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t count;
    } cases[] = {{"", 0}, {"  ", 0}, {"one", 1}, {" two  words\n", 2}, {"a\tb c", 3}};
    struct dj_embedder *embedder = NULL;
    assert_int_equal(dj_lexical_create(&embedder), DEJA_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(dj_embedder_count(embedder, deja_slice_text(cases[i].text)),
                         cases[i].count);
    dj_embedder_destroy(embedder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_what_it_counts),
        cmocka_unit_test(every_text_has_a_vector_of_length_one),
        cmocka_unit_test(shared_wording_is_nearer_than_none),
        cmocka_unit_test(lexical_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
