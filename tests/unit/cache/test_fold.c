#include "check.h"

#include "cache/key.h"

enum { FOLD_ALL = DJ_FOLD_TIME | DJ_FOLD_UUID | DJ_FOLD_REQUEST_ID | DJ_FOLD_DATE };

static enum deja_status fold(const char *body, unsigned kinds, struct dj_arena *arena,
                             struct deja_slice *out_body, unsigned *out_kinds)
{
    struct dj_json_doc *doc = NULL;
    struct deja_error error = {0};
    assert_int_equal(dj_json_parse(deja_slice_text(body), &doc, &error), DEJA_OK);
    enum deja_status status = dj_key_fold(dj_json_root(doc), kinds, arena, out_body, out_kinds);
    dj_json_doc_destroy(doc);
    return status;
}

static void expect(const char *body, const char *folded, unsigned kinds)
{
    struct dj_arena arena;
    struct deja_slice out = {NULL, 0};
    unsigned met = 0;
    dj_arena_init(&arena, 0);
    assert_int_equal(fold(body, FOLD_ALL, &arena, &out, &met), DEJA_OK);
    assert_int_equal(out.len, strlen(folded));
    assert_memory_equal(out.data, folded, out.len);
    assert_int_equal(met, kinds);
    dj_arena_fini(&arena);
}

static void expect_nothing(const char *body, unsigned kinds)
{
    struct dj_arena arena;
    struct deja_slice out = {NULL, 0};
    unsigned met = 77;
    dj_arena_init(&arena, 0);
    assert_int_equal(fold(body, kinds, &arena, &out, &met), DEJA_ERR_NOT_FOUND);
    assert_null(out.data);
    assert_int_equal(met, 77);
    dj_arena_fini(&arena);
}

#define SYSTEM(text) "{\"messages\":[{\"role\":\"system\",\"content\":\"" text "\"}]}"

static void times_are_folded(void **state)
{
    (void)state;
    expect(SYSTEM("It is 10:31:07."), SYSTEM("It is <time>."), DJ_FOLD_TIME);
    expect(SYSTEM("It is 9:05 AM now"), SYSTEM("It is <time> now"), DJ_FOLD_TIME);
    expect(SYSTEM("at 10:31:07.250+02:00"), SYSTEM("at <time>"), DJ_FOLD_TIME);
}

static void dates_are_folded(void **state)
{
    (void)state;
    expect(SYSTEM("Today: 2026-03-01."), SYSTEM("Today: <date>."), DJ_FOLD_DATE);
    expect(SYSTEM("Today: March 1, 2026"), SYSTEM("Today: <date>"), DJ_FOLD_DATE);
    expect(SYSTEM("Today: 3/14/2026"), SYSTEM("Today: <date>"), DJ_FOLD_DATE);
    expect(SYSTEM("Now 2026-03-01T10:31:07Z."), SYSTEM("Now <date>T<time>."),
           DJ_FOLD_DATE | DJ_FOLD_TIME);
}

static void uuids_and_request_ids_are_folded(void **state)
{
    (void)state;
    expect(SYSTEM("id 123e4567-e89b-12d3-a456-426614174000"), SYSTEM("id <uuid>"), DJ_FOLD_UUID);
    expect(SYSTEM("call req_8fk20dkw91 go"), SYSTEM("call <id> go"), DJ_FOLD_REQUEST_ID);
    expect(SYSTEM("trace 0123456789abcdef0123456789abcdef"), SYSTEM("trace <id>"),
           DJ_FOLD_REQUEST_ID);
}

static void developer_prompts_are_folded_too(void **state)
{
    (void)state;
    expect("{\"messages\":[{\"role\":\"developer\",\"content\":\"10:31\"}]}",
           "{\"messages\":[{\"role\":\"developer\",\"content\":\"<time>\"}]}", DJ_FOLD_TIME);
}

static void two_prompts_that_differ_only_in_their_time_become_equal(void **state)
{
    (void)state;
    struct dj_arena arena;
    struct deja_slice one = {NULL, 0};
    struct deja_slice two = {NULL, 0};
    dj_arena_init(&arena, 0);
    assert_int_equal(fold(SYSTEM("Now: 10:31:07"), FOLD_ALL, &arena, &one, NULL), DEJA_OK);
    assert_int_equal(fold(SYSTEM("Now: 22:00:59"), FOLD_ALL, &arena, &two, NULL), DEJA_OK);
    assert_true(deja_slice_is_equal(one, two));
    dj_arena_fini(&arena);
}

static void user_text_is_not_touched(void **state)
{
    (void)state;
    expect_nothing("{\"messages\":[{\"role\":\"user\",\"content\":\"at 10:31:07 on 2026-03-01\"}]}",
                   FOLD_ALL);
    expect("{\"messages\":[{\"role\":\"system\",\"content\":\"10:31\"},"
           "{\"role\":\"user\",\"content\":\"10:31\"}],\"user\":\"10:31\"}",
           "{\"messages\":[{\"role\":\"system\",\"content\":\"<time>\"},"
           "{\"role\":\"user\",\"content\":\"10:31\"}],\"user\":\"10:31\"}",
           DJ_FOLD_TIME);
}

static void plain_text_has_nothing_to_fold(void **state)
{
    (void)state;
    expect_nothing(SYSTEM("You are a helpful assistant. Answer in 100 words."), FOLD_ALL);
    expect_nothing(SYSTEM("x10:31 and 10:31x and 1234:567, request_a, deadbeef"), FOLD_ALL);
    expect_nothing(SYSTEM(""), FOLD_ALL);
    expect_nothing("{\"messages\":[]}", FOLD_ALL);
    expect_nothing("{\"messages\":7}", FOLD_ALL);
}

static void content_made_of_parts_is_folded_too(void **state)
{
    (void)state;
    struct dj_json_doc *doc = NULL;
    struct dj_arena arena;
    struct deja_slice out = {NULL, 0};
    unsigned met = 0;
    static const char body[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":"
        "\"It is 10:31:07.\"},{\"type\":\"other\",\"text\":\"It is 10:31:07.\"},"
        "{\"type\":\"text\",\"text\":\"Be kind.\"}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"At 10:31:07?\"}]}]}";
    dj_arena_init(&arena, 0);
    assert_int_equal(dj_json_parse(deja_slice_text(body), &doc, NULL), DEJA_OK);
    assert_int_equal(dj_key_fold(dj_json_root(doc), FOLD_ALL, &arena, &out, &met), DEJA_OK);
    assert_int_equal(met, DJ_FOLD_TIME);
    char text[512];
    assert_true(out.len < sizeof text);
    memcpy(text, out.data, out.len);
    text[out.len] = '\0';
    const char *first = strstr(text, "10:31:07"); /* of the other part, and the user's */
    assert_non_null(first);
    assert_non_null(strstr(first + 1, "10:31:07"));
    assert_null(strstr(strstr(first + 1, "10:31:07") + 1, "10:31:07"));
    assert_non_null(strstr(text, "Be kind."));
    dj_json_doc_destroy(doc);
    dj_arena_fini(&arena);
}

static void only_the_kinds_asked_for_are_folded(void **state)
{
    (void)state;
    expect_nothing(SYSTEM("It is 10:31:07."), DJ_FOLD_UUID | DJ_FOLD_REQUEST_ID);
    expect_nothing(SYSTEM("It is 10:31:07."), 0);
}

static void fold_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_json_doc *doc = NULL;
    struct deja_error error = {0};
    assert_int_equal(dj_json_parse(deja_slice_text(SYSTEM("It is 10:31:07.")), &doc, &error),
                     DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_arena arena;
        struct deja_slice out = {NULL, 0};
        unsigned met = 77;
        dj_arena_init(&arena, 0);
        failing_malloc_arm(n);
        enum deja_status status = dj_key_fold(dj_json_root(doc), FOLD_ALL, &arena, &out, &met);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(met, has_failed ? 77 : DJ_FOLD_TIME);
        assert_int_equal(out.data == NULL, has_failed);
        dj_arena_fini(&arena);
        if (!has_failed)
            break;
    }
    dj_json_doc_destroy(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_folded),
        cmocka_unit_test(dates_are_folded),
        cmocka_unit_test(uuids_and_request_ids_are_folded),
        cmocka_unit_test(developer_prompts_are_folded_too),
        cmocka_unit_test(two_prompts_that_differ_only_in_their_time_become_equal),
        cmocka_unit_test(user_text_is_not_touched),
        cmocka_unit_test(plain_text_has_nothing_to_fold),
        cmocka_unit_test(content_made_of_parts_is_folded_too),
        cmocka_unit_test(only_the_kinds_asked_for_are_folded),
        cmocka_unit_test(fold_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
