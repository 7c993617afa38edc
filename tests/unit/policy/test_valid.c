#include "policy/valid.h"
#include "check.h"

#define S(text)                 \
    {                           \
        text, sizeof(text) - 1, \
    }

static void entry_is_used_when_it_says_all_that_is_wished(void **state)
{
    (void)state;
    const struct dj_valid_facts entry = {.model = S("m"),
                                         .provider = S("p"),
                                         .type = S("analysis"),
                                         .version = S("2"),
                                         .parameters = S("{\"t\":0}"),
                                         .age_ms = 1000};
    static const struct {
        struct dj_valid_facts wish;
        const char *reason; /* NULL: valid */
    } cases[] = {
        {{.age_ms = 0}, NULL},
        {{.model = S("m"), .provider = S("p"), .type = S("analysis"), .version = S("2")}, NULL},
        {{.parameters = S("{\"t\":0}"), .age_ms = 1000}, NULL},
        {{.model = S("M")}, "invalid-model"},
        {{.provider = S("q")}, "invalid-provider"},
        {{.type = S("response")}, "invalid-type"},
        {{.version = S("3")}, "invalid-version"},
        {{.parameters = S("{\"t\":1}")}, "invalid-parameters"},
        {{.age_ms = 999}, "invalid-age"},
        {{.model = S("m"), .version = S("1"), .age_ms = 1}, "invalid-version"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = dj_valid_objection(&cases[i].wish, &entry);
        if (cases[i].reason)
            assert_string_equal(got, cases[i].reason);
        else
            assert_null(got);
    }
}

static void what_an_entry_does_not_say_it_is_not_of(void **state)
{
    (void)state;
    const struct dj_valid_facts silent = {.age_ms = 0};
    const struct dj_valid_facts wish = {.model = S("m")};
    assert_string_equal(dj_valid_objection(&wish, &silent), "invalid-model");
    assert_null(dj_valid_objection(&silent, &silent));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_is_used_when_it_says_all_that_is_wished),
        cmocka_unit_test(what_an_entry_does_not_say_it_is_not_of),
    };
    return RUN_TESTS(tests);
}
