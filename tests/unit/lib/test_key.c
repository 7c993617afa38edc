#include "library.h"

#include <deja/key.h>

#include "failing_malloc.h"
#include "store/directory.h"

static struct deja *deja;

static int begin(void **state)
{
    (void)state;
    deja = open_memory();
    return 0;
}

static int end(void **state)
{
    (void)state;
    return deja_close(deja) == DEJA_OK ? 0 : 1;
}

static const char *end_key(struct deja_key *key, char name[DEJA_KEY_BYTES_MAX + 1])
{
    size_t len = 0;
    struct deja_error error = {.message = ""};
    enum deja_status status = deja_key_end(key, name, DEJA_KEY_BYTES_MAX, &len, &error);
    if (status == DEJA_OK)
        name[len] = '\0';
    else
        snprintf(name, DEJA_KEY_BYTES_MAX, "! %s", error.message);
    return name;
}

static struct deja_key *key_of(const char *kind)
{
    struct deja_key *key = NULL;
    assert_int_equal(deja_key_begin(deja, deja_slice_text(kind), &key), DEJA_OK);
    return key;
}

static void a_key_is_made_of_its_parts(void **state)
{
    (void)state;
    char name[DEJA_KEY_BYTES_MAX + 1];
    struct deja_key *key = key_of("template_score");
    deja_key_set(key, "id", deja_slice_text("42"));
    assert_string_equal(end_key(key, name), "template:score:42");
    key = key_of("embedding");
    deja_key_set(key, "namespace", deja_slice_text("shop"));
    deja_key_set(key, "version", deja_slice_text("2"));
    deja_key_set(key, "pattern", deja_slice_text("embedding:{model}:{hash}"));
    deja_key_set(key, "model", deja_slice_text("small"));
    deja_key_text(key, deja_slice_text("hel"));
    deja_key_text(key, deja_slice_text("lo"));
    assert_string_equal(end_key(key, name),
                        "shop:v2:embedding:small:"
                        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    key = key_of("query_result");
    deja_key_set(key, "sql", deja_slice_text("SELECT * FROM users"));
    deja_key_set(key, "args", deja_slice_text("[1]"));
    assert_memory_equal(end_key(key, name), "query:select:users:", 19);
}

static void what_is_wrong_with_a_key_is_told(void **state)
{
    (void)state;
    char name[DEJA_KEY_BYTES_MAX + 1];
    struct deja_key *key = key_of("template_score");
    assert_string_equal(end_key(key, name),
                        "! template_id is missing: the kind's pattern needs it");
    key = key_of("analysis");
    deja_key_set(key, "options", deja_slice_text("{\"a\":"));
    assert_memory_equal(end_key(key, name), "! options ", 10);
    key = key_of("analysis");
    deja_key_set(key, "args", deja_slice_text("[]"));
    assert_string_equal(end_key(key, name), "! args are those of a statement: set sql, too");
    key = key_of("template_score");
    deja_key_set(key, "id", deja_slice_text("42"));
    size_t len = 0;
    assert_int_equal(deja_key_end(key, name, 3, &len, NULL), DEJA_ERR_LIMIT);
    deja_key_abort(key_of("x"));
    deja_key_abort(NULL);
}

static void a_plain_key_lives_as_its_kind_says(void **state)
{
    (void)state;
    struct deja_kv kv;
    uint64_t ttl_ms = 0;
    deja_kv_init(&kv);
    kv.key = deja_slice_text("session:user:u1");
    kv.body = deja_slice_text("{}");
    kv.timeout_ms = NO_LIMIT_MS;
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_OK);
    assert_int_equal(deja_kv_ttl(deja, &kv, &ttl_ms), DEJA_OK);
    assert_in_range(ttl_ms, 1, 30 * 60 * 1000);
    kv.key = deja_slice_text("ocr:result:f00");
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_OK);
    assert_int_equal(deja_kv_ttl(deja, &kv, &ttl_ms), DEJA_OK);
    assert_in_range(ttl_ms, UINT64_C(364) * 86400000, UINT64_C(365) * 86400000);
    assert_int_equal(deja_invalidate(deja, NULL, deja_slice_text("image:f00"), NO_LIMIT_MS, NULL),
                     DEJA_OK);
    struct deja_answer *answer = NULL;
    assert_int_equal(deja_kv_get(deja, &kv, &answer), DEJA_OK);
    assert_int_equal(deja_answer_outcome(answer), DEJA_MISS);
    deja_answer_release(answer);
}

static void key_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        char name[DEJA_KEY_BYTES_MAX];
        size_t len = 0;
        struct deja_key *key = NULL;
        failing_malloc_arm(n);
        enum deja_status status = deja_key_begin(deja, deja_slice_text("query_result"), &key);
        if (status == DEJA_OK) {
            deja_key_set(key, "namespace", deja_slice_text("shop"));
            deja_key_set(key, "sql", deja_slice_text("SELECT 1 FROM t"));
            deja_key_set(key, "args", deja_slice_text("[1]"));
            deja_key_text(key, deja_slice_text("x"));
            status = deja_key_end(key, name, sizeof name, &len, NULL);
        }
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status == DEJA_OK, !has_failed);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_made_of_its_parts),
        cmocka_unit_test(what_is_wrong_with_a_key_is_told),
        cmocka_unit_test(a_plain_key_lives_as_its_kind_says),
        cmocka_unit_test(key_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
