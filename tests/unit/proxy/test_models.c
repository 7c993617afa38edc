#include "proxy/models_internal.h"

#include "check.h"
#include "failing_malloc.h"
#include "proto/json.h"

static const struct models_own own = {.id = "local/m", .created_s = 5};
#define OWN "{\"id\":\"local/m\",\"object\":\"model\",\"created\":5,\"owned_by\":\"deja\"}"

static void own_model_comes_last_and_the_rest_stays_as_it_was(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        const char *wanted;
    } cases[] = {
        {"", "{\"object\":\"list\",\"data\":[" OWN "]}"},
        {"{\"object\":\"list\",\"data\":[]}", "{\"object\":\"list\",\"data\":[" OWN "]}"},
        {"{ \"data\": [ {\"id\":\"a\", \"price\": 1.50, \"x\":[{}]} ], \"more\": {\"b\": null} }",
         "{\"data\":[{\"id\":\"a\",\"price\":1.50,\"x\":[{}]}," OWN "],\"more\":{\"b\":null}}"},
        {"{\"object\":\"list\",\"data\":[7,\"b\"],\"has_more\":false}",
         "{\"object\":\"list\",\"data\":[7,\"b\"," OWN "],\"has_more\":false}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_buf out = {0};
        assert_true(models_merge(&own, deja_slice_text(cases[i].list), &out));
        dj_buf_append_byte(&out, '\0');
        assert_string_equal(out.data, cases[i].wanted);
        dj_buf_fini(&out);
    }
}

static void what_is_no_list_or_has_the_model_is_left_alone(void **state)
{
    (void)state;
    static const char *const lists[] = {
        "[]",
        "null",
        "{\"data\":{}}",
        "{\"object\":\"error\",\"data\":[]}",
        "{\"object\":7,\"data\":[]}",
        "{\"object\":\"list\",\"data\":[],\"has_more\":true}",
        "{\"object\":\"list\",\"data\":[{\"id\":\"local/m\"}]}",
        "{\"object\":\"list\",\"data\":[]",
        "<html>",
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct dj_buf out = {0};
        assert_false(models_merge(&own, deja_slice_text(lists[i]), &out));
        dj_buf_fini(&out);
    }
}

static void merging_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const char list[] = "{\"object\":\"list\",\"data\":[{\"id\":\"a\"}]}";
    for (uint64_t nth = 1;; nth++) {
        struct dj_buf out = {0};
        failing_malloc_arm(nth);
        bool is_merged = models_merge(&own, deja_slice_text(list), &out);
        bool has_failed = failing_malloc_disarm();
        dj_buf_fini(&out);
        assert_int_equal(is_merged, !has_failed);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_model_comes_last_and_the_rest_stays_as_it_was),
        cmocka_unit_test(what_is_no_list_or_has_the_model_is_left_alone),
        cmocka_unit_test(merging_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
