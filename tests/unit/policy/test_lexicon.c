#include "policy/lexicon.h"
#include "check.h"

static void every_row_is_found_by_its_word(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < dj_lex_row_count; i++) {
        struct dj_lex_span span = dj_lex_find(deja_slice_text(dj_lex_rows[i].word));
        assert_non_null(span.rows);
        assert_true(span.rows <= &dj_lex_rows[i] && &dj_lex_rows[i] < span.rows + span.count);
    }
}

static void strangers_are_not_found(void **state)
{
    (void)state;
    assert_null(dj_lex_find(deja_slice_text("")).rows);
    assert_null(dj_lex_find(deja_slice_text("qwzx")).rows);
    assert_null(dj_lex_find(deja_slice_text("a word that is longer than any in the table")).rows);
}

static void synonyms_share_an_id_and_senses_are_kept_apart(void **state)
{
    (void)state;
    const struct dj_lex_row *km = dj_lex_sense(dj_lex_find(deja_slice_text("km")), DJ_LEX_UNIT);
    const struct dj_lex_row *long_km =
        dj_lex_sense(dj_lex_find(deja_slice_text("kilometers")), DJ_LEX_UNIT);
    assert_non_null(km);
    assert_non_null(long_km);
    assert_int_equal(km->id, long_km->id);
    struct dj_lex_span second = dj_lex_find(deja_slice_text("second"));
    assert_non_null(dj_lex_sense(second, DJ_LEX_ORDINAL));
    assert_non_null(dj_lex_sense(second, DJ_LEX_UNIT));
    assert_null(dj_lex_sense(second, DJ_LEX_MONTH));
}

static void classes_have_names(void **state)
{
    (void)state;
    const struct dj_lex_row *row =
        dj_lex_sense(dj_lex_find(deja_slice_text("python")), DJ_LEX_CLASS);
    assert_non_null(row);
    assert_string_equal(dj_lex_class_name(row->value), "programming_language");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_found_by_its_word),
        cmocka_unit_test(strangers_are_not_found),
        cmocka_unit_test(synonyms_share_an_id_and_senses_are_kept_apart),
        cmocka_unit_test(classes_have_names),
    };
    return RUN_TESTS(tests);
}
