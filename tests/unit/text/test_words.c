#include "text/words.h"
#include "check.h"

#include "base/buf.h"

/* The words of text with | between them; kinds as a letter in front when not plain. */
static void expect(const char *text, const char *wanted)
{
    struct dj_words words;
    struct dj_buf out = {0};
    assert_int_equal(dj_words_init(&words, deja_slice_text(text), 100), DEJA_OK);
    for (uint32_t i = 0; i < words.count; i++) {
        const struct dj_word *word = &words.items[i];
        if (i)
            dj_buf_append_byte(&out, '|');
        if (word->kind != DJ_WORD_PLAIN)
            dj_buf_append_byte(&out, "?N#$"[word->kind]);
        dj_buf_append_slice(&out, word->lower);
        assert_true(word->offset + word->len <= strlen(text));
    }
    dj_buf_append_byte(&out, '\0');
    assert_string_equal(out.data, wanted);
    dj_buf_fini(&out);
    dj_words_fini(&words);
}

static void prose_is_cut_at_spaces_and_marks(void **state)
{
    (void)state;
    expect("", "");
    expect("How do I log in?", "how|do|i|log|in");
    expect("Don't; it\xe2\x80\x99s John's", "don't|it's|john's");
    expect("read-only state-of-the-art", "read|only|state|of|the|art");
    expect("and/or he/she", "and|or|he|she");
    expect("Stra\xc3\x9f"
           "e \xc3\x89t\xc3\xa9",
           "stra\xc3\x9f"
           "e|\xc3\xa9t\xc3\xa9");
    expect("\xe4\xbd\xa0\xe5\xa5\xbd", "\xe4\xbd\xa0|\xe5\xa5\xbd"); /* a word per ideograph */
}

static void abbreviations_and_languages_stay_whole(void **state)
{
    (void)state;
    expect("the U.S. and e.g. 5 p.m.", "the|us|and|eg|N5|pm");
    expect("C++ or C#?", "c++|or|c#");
}

static void numbers_lose_their_commas_and_keep_their_points(void **state)
{
    (void)state;
    expect("1,000,000 or 10,00,000", "N1000000|or|N1000000");
    expect("500,1000", "N500|N1000");
    expect("3.9, 3.10.2.", "N3.9|N3.10.2");
    expect("at 15:30 on 2024-01-15", "at|N15:30|on|N2024-01-15");
    expect("5km GPT4 21st", "N5|km|gpt|N4|N21|st");
    expect("\xd9\xa3\xd9\xa4", "N34"); /* Arabic-Indic digits */
}

static void code_paths_and_addresses_are_one_word(void **state)
{
    (void)state;
    expect("call `torch.compile` now", "call|#torch.compile|now");
    expect("use save_to_disk() here", "use|#save_to_disk()|here");
    expect("see https://a.org/b?c=1.", "see|#https://a.org/b?c=1");
    expect("mail me@b.org, or --force", "mail|#me@b.org|or|#--force");
    expect("the path(s) of std::map", "the|path|s|of|#std::map");
    expect("End.Next one", "end|next|one");
}

static void signs_with_a_meaning_are_words(void **state)
{
    (void)state;
    expect("$5 is 10%", "$$|N5|is|N10|$%");
    expect("3 + 4 * 2", "N3|$+|N4|$*|N2");
    expect("7-3 = x", "N7|$-|N3|$=|x");
    expect("well - no", "well|no");
    expect("it is -5 outside", "it|is|$-|N5|outside");
}

static void words_know_how_they_were_written(void **state)
{
    (void)state;
    struct dj_words words;
    assert_int_equal(dj_words_init(&words, deja_slice_text("Ask NASA, \"the iPhone\". Go"), 100),
                     DEJA_OK);
    assert_int_equal(words.count, 5);
    assert_true(words.items[0].is_capitalised && words.items[0].is_sentence_head);
    assert_true(words.items[1].is_acronym && !words.items[1].is_sentence_head);
    assert_true(words.items[2].is_quoted && words.items[2].has_comma_before);
    assert_true(words.items[3].is_mixed && !words.items[3].is_capitalised);
    assert_true(words.items[4].is_sentence_head && !words.items[4].is_quoted);
    dj_words_fini(&words);
}

static void more_words_than_asked_for_are_cut(void **state)
{
    (void)state;
    struct dj_words words;
    assert_int_equal(dj_words_init(&words, deja_slice_text("a b c d"), 3), DEJA_OK);
    assert_int_equal(words.count, 3);
    assert_true(words.is_cut);
    dj_words_fini(&words);
}

static void broken_utf8_is_skipped(void **state)
{
    (void)state;
    struct dj_words words;
    assert_int_equal(dj_words_init(&words, deja_slice("a \xff\xfe b\xc3", 7), 10), DEJA_OK);
    assert_int_equal(words.count, 2);
    dj_words_fini(&words);
}

static void words_survive_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_words words = {0};
        failing_malloc_arm(n);
        enum deja_status status = dj_words_init(&words, deja_slice_text("one two"), 10);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_words_fini(&words);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prose_is_cut_at_spaces_and_marks),
        cmocka_unit_test(abbreviations_and_languages_stay_whole),
        cmocka_unit_test(numbers_lose_their_commas_and_keep_their_points),
        cmocka_unit_test(code_paths_and_addresses_are_one_word),
        cmocka_unit_test(signs_with_a_meaning_are_words),
        cmocka_unit_test(words_know_how_they_were_written),
        cmocka_unit_test(more_words_than_asked_for_are_cut),
        cmocka_unit_test(broken_utf8_is_skipped),
        cmocka_unit_test(words_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
