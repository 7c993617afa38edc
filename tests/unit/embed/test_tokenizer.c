#include "embed/tokenizer.h"

#include "base/buf.h"
#include "check.h"

static const char *const vocabulary =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nun\n##aff\n##able\nhello\nwor\n##ld\n!\n$\n[\n]"
    "\ncls\n"
    "caf\n##e\n\xe4\xbd\xa0\n\xe5\xa5\xbd\na\n##a\n;\nsig\n##\xcf\x83\n,\n"; /* ids 0 to 26 */

enum { UNK = 1, CLS = 2, SEP = 3, MASK = 4 };

static struct dj_tokenizer *created(void)
{
    struct dj_tokenizer *tokenizer = NULL;
    assert_int_equal(dj_tokenizer_create(deja_slice_text(vocabulary), &tokenizer, NULL), DEJA_OK);
    return tokenizer;
}

static void texts_become_the_ids_of_the_reference(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t ids[12]; /* between [CLS] and [SEP]; ends with 0 */
    } cases[] = {
        {"", {0}},
        {"   \t\r\n", {0}},
        {"the", {5, 0}},
        {"THE the", {5, 5, 0}},
        {"unaffable", {6, 7, 8, 0}},
        {"hello world!", {9, 10, 11, 12, 0}},
        {"hello$world", {9, 13, 10, 11, 0}},
        {"unknown", {UNK, 0}},
        {"caf\xc3\xa9", {17, 18, 0}},
        {"cafe\xcc\x81", {17, 18, 0}},
        {"\xe4\xbd\xa0\xe5\xa5\xbd", {19, 20, 0}},
        {"the\xe4\xbd\xa0the", {5, 19, 5, 0}},
        {"t\xe2\x80\x8bhe", {5, 0}},       /* zero width space is dropped */
        {"the\xc2\xa0the", {5, 5, 0}},     /* no-break space divides */
        {"the\xe2\x80\xa8the", {5, 5, 0}}, /* line separator too */
        {"t\xef\xbf\xbdhe", {5, 0}},       /* replacement character is dropped */
        {"t\xffhe", {5, 0}},               /* so are broken bytes */
        {"\xcd\xbe", {23, 0}},             /* the Greek question mark is a semicolon */
        {"SIG\xce\xa3", {24, 25, 0}},      /* capital sigma, no final form */
        {"\xcd\xb8", {UNK, 0}},            /* unassigned */
        {"[CLS] a[MASK]a", {CLS, 21, MASK, 21, 0}},
        {"[cls]", {14, 16, 15, 0}},
        {"[SEP", {14, UNK, 0}},
    };
    struct dj_tokenizer *tokenizer = created();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t ids[16];
        uint32_t count = dj_tokenizer_encode(tokenizer, deja_slice_text(cases[i].text), 16, ids);
        size_t want = 0;
        while (cases[i].ids[want])
            want++;
        if (count != want + 2 || memcmp(ids + 1, cases[i].ids, want * sizeof *ids) != 0)
            fail_msg("case %zu, \"%s\": %u ids, first %u", i, cases[i].text, count - 2, ids[1]);
        assert_int_equal(ids[0], CLS);
        assert_int_equal(ids[count - 1], SEP);
    }
    dj_tokenizer_destroy(tokenizer);
}

static void words_of_more_than_100_characters_are_unknown(void **state)
{
    (void)state;
    struct dj_tokenizer *tokenizer = created();
    char word[400];
    uint32_t ids[256];
    memset(word, 'a', sizeof word);
    assert_int_equal(dj_tokenizer_encode(tokenizer, deja_slice(word, 100), 256, ids), 102);
    assert_int_equal(ids[1], 21);
    assert_int_equal(ids[100], 22);
    assert_int_equal(dj_tokenizer_encode(tokenizer, deja_slice(word, 101), 256, ids), 3);
    assert_int_equal(ids[1], UNK);
    assert_int_equal(dj_tokenizer_encode(tokenizer, deja_slice(word, 400), 256, ids), 3);
    dj_tokenizer_destroy(tokenizer);
}

static void long_texts_are_cut_and_keep_their_end_mark(void **state)
{
    (void)state;
    struct dj_tokenizer *tokenizer = created();
    struct dj_buf text = {0};
    for (int i = 0; i < 1000; i++)
        dj_buf_append_text(&text, "unaffable ");
    for (uint32_t max = 2; max < 20; max++) {
        uint32_t ids[21];
        ids[max] = 4711;
        assert_int_equal(dj_tokenizer_encode(tokenizer, dj_buf_slice(&text), max, ids), max);
        assert_int_equal(ids[0], CLS);
        assert_int_equal(ids[max - 1], SEP);
        assert_int_equal(ids[max], 4711);
    }
    dj_buf_fini(&text);
    dj_tokenizer_destroy(tokenizer);
}

static void any_bytes_are_encoded_within_bounds(void **state)
{
    (void)state;
    struct dj_tokenizer *tokenizer = created();
    uint32_t seed = 3;
    char text[300];
    uint32_t ids[64];
    for (int round = 0; round < 3000; round++) {
        size_t len = seed % sizeof text;
        for (size_t i = 0; i < len; i++) {
            seed = seed * 1664525U + 1013904223U;
            text[i] = (char)(round % 3 ? seed >> 24 : (seed >> 24) | 0x80);
        }
        seed = seed * 1664525U + 1013904223U;
        uint32_t count = dj_tokenizer_encode(tokenizer, deja_slice(text, len), 64, ids);
        assert_in_range(count, 2, 64);
        for (uint32_t i = 0; i < count; i++)
            assert_in_range(ids[i], 0, dj_tokenizer_count(tokenizer) - 1);
    }
    dj_tokenizer_destroy(tokenizer);
}

static void vocabularies_without_the_marks_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "\n", "a\nb\n", "[CLS]\n[SEP]", "[UNK]\n[CLS]\n[SEP"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct dj_tokenizer *tokenizer = NULL;
        struct deja_error error = {""};
        assert_int_equal(dj_tokenizer_create(deja_slice_text(bad[i]), &tokenizer, &error),
                         DEJA_ERR_INVALID);
        assert_non_null(strstr(error.message, "vocabulary"));
        assert_null(tokenizer);
    }
}

static void windows_line_ends_and_a_missing_last_one_do_not_matter(void **state)
{
    (void)state;
    struct dj_tokenizer *tokenizer = NULL;
    uint32_t ids[4];
    assert_int_equal(
        dj_tokenizer_create(deja_slice_text("[UNK]\r\n[CLS]\r\n[SEP]\r\nlast"), &tokenizer, NULL),
        DEJA_OK);
    assert_int_equal(dj_tokenizer_count(tokenizer), 4);
    assert_int_equal(dj_tokenizer_encode(tokenizer, deja_slice_text("last"), 4, ids), 3);
    assert_int_equal(ids[1], 3);
    dj_tokenizer_destroy(tokenizer);
}

static void tokenizer_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_tokenizer *tokenizer = NULL;
        failing_malloc_arm(n);
        enum deja_status status =
            dj_tokenizer_create(deja_slice_text(vocabulary), &tokenizer, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_tokenizer_destroy(tokenizer);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_become_the_ids_of_the_reference),
        cmocka_unit_test(words_of_more_than_100_characters_are_unknown),
        cmocka_unit_test(long_texts_are_cut_and_keep_their_end_mark),
        cmocka_unit_test(any_bytes_are_encoded_within_bounds),
        cmocka_unit_test(vocabularies_without_the_marks_are_refused),
        cmocka_unit_test(windows_line_ends_and_a_missing_last_one_do_not_matter),
        cmocka_unit_test(tokenizer_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
