#include "text/utf8.h"

#include "check.h"

static bool is_valid(const char *text)
{
    return dj_utf8_is_valid(deja_slice_text(text));
}

static void well_formed_text_is_valid(void **state)
{
    (void)state;
    assert_true(dj_utf8_is_valid(deja_slice(NULL, 0)));
    assert_true(dj_utf8_is_valid(deja_slice("\0a", 2)));
    assert_true(is_valid("plain words, longer than eight bytes"));
    assert_true(is_valid("\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf"));
    assert_true(is_valid("\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf"));
}

static void broken_text_is_not_valid(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xc2 ",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xe1\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "long enough text \xfe",
        "\xf1\x80\x80",
        "\xe1\x80\xc0",
        "\xf1\x80\x80\x41",
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_false(is_valid(broken[i]));
}

static void every_code_point_survives_a_round_trip(void **state)
{
    (void)state;
    for (int32_t c = 0; c <= 0x10ffff; c++) {
        if (c >= 0xd800 && c <= 0xdfff)
            continue;
        char bytes[8];
        struct dj_buf buf = {.data = bytes, .cap = sizeof bytes};
        dj_utf8_append(&buf, c);
        size_t offset = 0;
        int32_t back = dj_utf8_next(deja_slice(bytes, buf.len), &offset);
        if (back != c || offset != buf.len)
            fail_msg("U+%04X came back as U+%04X", (unsigned)c, (unsigned)back);
    }
}

static void next_skips_one_byte_of_a_broken_sequence(void **state)
{
    (void)state;
    struct deja_slice text = deja_slice_text("\xe1\x80z");
    size_t offset = 0;
    assert_int_equal(dj_utf8_next(text, &offset), -1);
    assert_int_equal(dj_utf8_next(text, &offset), -1);
    assert_int_equal(dj_utf8_next(text, &offset), 'z');
    assert_int_equal(offset, 3);
    assert_int_equal(dj_utf8_next(text, &offset), -1);
}

static void surrogates_are_written_as_the_replacement_character(void **state)
{
    (void)state;
    struct dj_buf buf = {0};
    dj_utf8_append(&buf, 0xd800);
    dj_utf8_append(&buf, -5);
    dj_utf8_append(&buf, 0x110000);
    assert_true(deja_slice_is_equal(dj_buf_slice(&buf),
                                    deja_slice_text("\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd")));
    dj_buf_fini(&buf);
}

static void count_is_of_code_points(void **state)
{
    (void)state;
    assert_int_equal(dj_utf8_count(deja_slice_text("a\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80")), 4);
}

static void classes_follow_the_general_category(void **state)
{
    (void)state;
    static const struct {
        int32_t code_point;
        enum dj_char_class class;
    } cases[] = {
        {'a', DJ_CHAR_LETTER},        {0x4f60, DJ_CHAR_LETTER},   {0x301, DJ_CHAR_MARK},
        {0x903, DJ_CHAR_MARK},        {'7', DJ_CHAR_DIGIT},       {0x663, DJ_CHAR_DIGIT},
        {0xbd, DJ_CHAR_NUMBER_OTHER}, {'.', DJ_CHAR_PUNCTUATION}, {0x3002, DJ_CHAR_PUNCTUATION},
        {'$', DJ_CHAR_SYMBOL},        {0x1f600, DJ_CHAR_SYMBOL},  {' ', DJ_CHAR_SPACE},
        {'\n', DJ_CHAR_SPACE},        {0x2028, DJ_CHAR_SPACE},    {0, DJ_CHAR_CONTROL},
        {0x200d, DJ_CHAR_CONTROL},    {0x378, DJ_CHAR_CONTROL},   {0x7f, DJ_CHAR_CONTROL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(dj_char_class(cases[i].code_point), cases[i].class);
    assert_true(dj_char_is_nonspacing_mark(0x301));
    assert_false(dj_char_is_nonspacing_mark(0x903));
    assert_false(dj_char_is_nonspacing_mark('a'));
    assert_true(dj_char_is_assigned('a') && dj_char_is_assigned(0xe000));
    assert_false(dj_char_is_assigned(0x378));
    assert_int_equal(dj_char_lower('Q'), 'q');
    assert_int_equal(dj_char_lower(0xc9), 0xe9);
    assert_int_equal(dj_char_lower(0x3a3), 0x3c3);
    assert_int_equal(dj_char_lower('['), '[');
}

static void decomposition_of_one_code_point(void **state)
{
    (void)state;
    int32_t parts[DJ_CHAR_PARTS_MAX];
    assert_int_equal(dj_char_decompose('a', parts), 1);
    assert_int_equal(parts[0], 'a');
    assert_int_equal(dj_char_decompose(0x1ed9, parts), 3); /* o, dot below, circumflex */
    assert_int_equal(parts[0], 'o');
    assert_int_equal(parts[1], 0x323);
    assert_int_equal(parts[2], 0x302);
    assert_int_equal(dj_char_decompose(0x10ffff, parts), 1);
    for (int32_t c = 0; c <= 0x10ffff; c++)
        assert_in_range(dj_char_decompose(c, parts), 1, 4);
}

static void normal_forms_are_those_of_the_standard(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *nfd;
        const char *nfc;
    } cases[] = {
        {"plain", "plain", "plain"},
        {"\xc3\xa9", "e\xcc\x81", "\xc3\xa9"},
        {"e\xcc\x81", "e\xcc\x81", "\xc3\xa9"},
        /* dot below (220) sorts before dot above (230) */
        {"s\xcc\x87\xcc\xa3", "s\xcc\xa3\xcc\x87", "\xe1\xb9\xa9"},
        /* Hangul */
        {"\xea\xb0\x81", "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"},
        /* a compatibility letter stays, it is no canonical equivalent */
        {"\xef\xac\x81", "\xef\xac\x81", "\xef\xac\x81"},
        /* ohm sign is omega */
        {"\xe2\x84\xa6", "\xce\xa9", "\xce\xa9"},
    };
    struct dj_buf out = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dj_buf_clear(&out);
        assert_int_equal(dj_utf8_nfd(deja_slice_text(cases[i].text), &out), DEJA_OK);
        assert_true(deja_slice_is_equal(dj_buf_slice(&out), deja_slice_text(cases[i].nfd)));
        dj_buf_clear(&out);
        assert_int_equal(dj_utf8_nfc(deja_slice_text(cases[i].text), &out), DEJA_OK);
        assert_true(deja_slice_is_equal(dj_buf_slice(&out), deja_slice_text(cases[i].nfc)));
    }
    dj_buf_fini(&out);
}

/* 200,000 marks of two classes in turn: quadratic ordering would take minutes. */
static void a_long_run_of_marks_is_ordered_in_linear_time(void **state)
{
    (void)state;
    enum { PAIRS = 100000 };
    struct dj_buf text = {0};
    struct dj_buf out = {0};
    dj_buf_append_byte(&text, 'a');
    for (int i = 0; i < PAIRS; i++)
        dj_buf_append_text(&text, "\xcc\x84\xcc\xa3");
    assert_int_equal(dj_utf8_nfd(dj_buf_slice(&text), &out), DEJA_OK);
    assert_int_equal(out.len, text.len);
    assert_memory_equal(out.data, "a\xcc\xa3", 3);
    assert_memory_equal(out.data + out.len - 2, "\xcc\x84", 2);
    assert_memory_equal(out.data + 1 + 2 * PAIRS - 2, "\xcc\xa3\xcc\x84", 4);
    dj_buf_fini(&text);
    dj_buf_fini(&out);
}

static void failures_leave_the_bytes_before_as_they_were(void **state)
{
    (void)state;
    struct dj_buf out;
    dj_buf_init(&out, 6);
    dj_buf_append_text(&out, "abcd");
    assert_int_equal(dj_utf8_nfd(deja_slice_text("\xc3\xa9\xff"), &out), DEJA_ERR_INVALID);
    assert_int_equal(dj_utf8_nfd(deja_slice_text("\xc3\xa9"), &out), DEJA_ERR_LIMIT);
    assert_true(deja_slice_is_equal(dj_buf_slice(&out), deja_slice_text("abcd")));
    dj_buf_fini(&out);
}

static void normalising_survives_each_failed_allocation(void **state)
{
    (void)state;
    char marks[2 + 40 * 2 + 1] = "\xc3\xa9";
    for (int i = 0; i < 40; i++)
        memcpy(marks + 2 + (size_t)i * 2, i % 2 ? "\xcc\x84" : "\xcc\xa3", 2);
    for (size_t n = 1;; n++) {
        struct dj_buf out = {0};
        failing_malloc_arm(n);
        enum deja_status status = dj_utf8_nfc(deja_slice_text(marks), &out);
        if (status == DEJA_OK)
            status = dj_utf8_nfd(deja_slice_text(marks), &out);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_buf_fini(&out);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_text_is_valid),
        cmocka_unit_test(broken_text_is_not_valid),
        cmocka_unit_test(every_code_point_survives_a_round_trip),
        cmocka_unit_test(next_skips_one_byte_of_a_broken_sequence),
        cmocka_unit_test(surrogates_are_written_as_the_replacement_character),
        cmocka_unit_test(count_is_of_code_points),
        cmocka_unit_test(classes_follow_the_general_category),
        cmocka_unit_test(decomposition_of_one_code_point),
        cmocka_unit_test(normal_forms_are_those_of_the_standard),
        cmocka_unit_test(a_long_run_of_marks_is_ordered_in_linear_time),
        cmocka_unit_test(failures_leave_the_bytes_before_as_they_were),
        cmocka_unit_test(normalising_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
