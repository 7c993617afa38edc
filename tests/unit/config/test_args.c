#include "config/args.h"
#include "check.h"

struct parsed {
    bool is_json;
    const char *ttl;
    struct dj_arg_values tags;
    struct dj_words words;
    struct deja_error error;
    enum deja_status status;
};

static struct parsed parse(int argc, char **argv)
{
    struct parsed p = {.is_json = false};
    const struct dj_arg args[] = {{.name = "--json", .out_switch = &p.is_json},
                                  {.name = "--ttl", .out_value = &p.ttl},
                                  {.name = "--tag", .out_values = &p.tags}};
    p.status = dj_args_parse(argc, argv, args, 3, &p.words, &p.error);
    return p;
}

static void flags_and_words_stand_in_any_order(void **state)
{
    (void)state;
    struct parsed p =
        parse(8, (char *[]){"a", "--ttl", "5m", "--tag=x", "-", "--tag", "y", "--json"});
    assert_int_equal(p.status, DEJA_OK);
    assert_true(p.is_json);
    assert_string_equal(p.ttl, "5m");
    assert_int_equal(p.tags.count, 2);
    assert_int_equal(p.words.count, 2);
    assert_string_equal(p.words.items[1], "-");
}

static void double_dash_ends_the_flags(void **state)
{
    (void)state;
    struct parsed p = parse(3, (char *[]){"--json=false", "--", "--ttl"});
    assert_int_equal(p.status, DEJA_OK);
    assert_false(p.is_json);
    assert_string_equal(p.words.items[0], "--ttl");
}

static void negative_number_is_a_word(void **state)
{
    (void)state;
    struct parsed p = parse(4, (char *[]){"incr", "-7", "--ttl", "-5"});
    assert_int_equal(p.status, DEJA_OK);
    assert_int_equal(p.words.count, 2);
    assert_string_equal(p.words.items[1], "-7");
    assert_string_equal(p.ttl, "-5");
    p = parse(1, (char *[]){"-v"});
    assert_int_equal(p.status, DEJA_ERR_INVALID);
    assert_non_null(strstr(p.error.message, "stands behind --"));
}

static void faults_say_what_was_meant(void **state)
{
    (void)state;
    assert_non_null(strstr(parse(1, (char *[]){"--jsno"}).error.message, "did you mean --json?"));
    assert_non_null(strstr(parse(1, (char *[]){"--ttl"}).error.message, "needs a value"));
    assert_int_equal(parse(1, (char *[]){"--json=maybe"}).status, DEJA_ERR_INVALID);
    char *many[100];
    for (size_t i = 0; i < 100; i++)
        many[i] = "w";
    assert_int_equal(parse(100, many).status, DEJA_ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_and_words_stand_in_any_order),
        cmocka_unit_test(double_dash_ends_the_flags),
        cmocka_unit_test(negative_number_is_a_word),
        cmocka_unit_test(faults_say_what_was_meant),
    };
    return RUN_TESTS(tests);
}
