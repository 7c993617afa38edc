/* tests/unit/proxy/test_content.c - what the log tells of texts. */
#include "check.h"

#include "proxy/content.h"

static size_t count_fields(const struct dj_content *content)
{
    struct dj_log_field fields[DJ_CONTENT_FIELDS + 1];
    size_t count = 0;
    dj_content_fields(content, fields);
    while (fields[count].name)
        count++;
    return count;
}

static void log_tells_of_texts_what_was_asked_for(void **state)
{
    (void)state;
    static const uint8_t key[DJ_SHA256_BYTES] = {1};
    static const uint8_t other_key[DJ_SHA256_BYTES] = {2};
    static const size_t fields[] = {0, 4, 6};
    char hash[9] = "";
    for (int how = DJ_CONTENT_OFF; how <= DJ_CONTENT_FULL; how++) {
        struct dj_content content = {0};
        dj_content_note_prompt(&content, (enum dj_content_log)how, key, deja_slice_text("a b"));
        dj_content_note_answer(&content, (enum dj_content_log)how, key, deja_slice_text("c"));
        assert_int_equal(count_fields(&content), fields[how]);
        memcpy(hash, content.prompt_hash, sizeof hash);
        dj_content_fini(&content);
    }
    struct dj_content content = {0};
    dj_content_note_prompt(&content, DJ_CONTENT_HASH, other_key, deja_slice_text("a b"));
    assert_string_not_equal(content.prompt_hash, hash);
    assert_int_equal(strlen(hash), 8);
    assert_int_equal(content.prompt_bytes, 3);
    dj_content_note_answer_bytes(&content, DJ_CONTENT_HASH, 7);
    assert_int_equal(count_fields(&content), 3);
    dj_content_fini(&content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_tells_of_texts_what_was_asked_for),
    };
    return RUN_TESTS(tests);
}
