#include "net/tenant_name.h"

#include "check.h"

#define ID "0f8fad5b-d9cb-469f-a165-70867728950e"

static void id_is_taken_and_nobody_asked(void **state)
{
    (void)state;
    char id[DJ_TENANT_NAME_ID_BYTES] = "";
    struct dj_buf path = {0};
    assert_true(dj_tenant_name_read(ID, id, &path));
    assert_string_equal(id, ID);
    assert_int_equal(path.len, 0);
}

static void name_is_asked_for_whatever_is_in_it(void **state)
{
    (void)state;
    char id[DJ_TENANT_NAME_ID_BYTES] = "";
    struct dj_buf path = {0};
    assert_false(dj_tenant_name_read("a&b=\xc3\xbc c", id, &path));
    assert_string_equal(path.data, "/api/v1/tenants?limit=1&name=a%26b%3D%C3%BC%20c");
    assert_string_equal(id, "");
    dj_buf_fini(&path);
}

static void only_the_tenant_of_that_name_is_found(void **state)
{
    static const struct {
        const char *answer;
        const char *name;
        bool is_found;
    } cases[] = {
        {"{\"tenants\":[{\"id\":\"" ID "\",\"name\":\"acme\"}]}", "acme", true},
        {"{\"tenants\":[{\"id\":\"" ID "\",\"name\":\"acme\"}]}", "", false}, /* no name: any */
        {"{\"tenants\":[{\"id\":\"short\",\"name\":\"acme\"}]}", "acme", false},
        {"{\"tenants\":[]}", "acme", false},
        {"[]", "acme", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char id[DJ_TENANT_NAME_ID_BYTES] = "";
        struct dj_json_doc *doc = NULL;
        assert_int_equal(dj_json_parse(deja_slice_text(cases[i].answer), &doc, NULL), DEJA_OK);
        assert_int_equal(dj_tenant_name_found(dj_json_root(doc), cases[i].name, id),
                         cases[i].is_found);
        assert_string_equal(id, cases[i].is_found ? ID : "");
        dj_json_doc_destroy(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(id_is_taken_and_nobody_asked),
        cmocka_unit_test(name_is_asked_for_whatever_is_in_it),
        cmocka_unit_test(only_the_tenant_of_that_name_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
