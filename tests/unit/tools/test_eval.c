#include "tools/eval_stream.h"
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "embed/lexical.h"
#include "simd/simd.h"
#include "tools/eval.h"

/* Writes text to a file of its own; path: 32 bytes. */
static void write_file(char *path, const char *text)
{
    memcpy(path, "/tmp/deja-eval-XXXXXX", 22);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static const char questions[] =
    "{\"prompt\":\"What is the capital of Spain?\",\"answer_class\":\"madrid\"}\n"
    "{\"prompt\":\"What is the capital of Spain?\",\"answer_class\":\"madrid\"}\n"
    "\n"
    "{\"prompt\":\"What is the capital of Spain\",\"answer_class\":\"madrid\"}\r\n"
    "{\"prompt\":\"What is the capital of France?\",\"answer_class\":\"paris\"}\n"
    "{\"prompt\":\"What is the capital of France?\",\"answer_class\":\"lyon\"}";

static struct dj_eval_result replay(const char *text, double threshold, bool has_guards)
{
    char path[32];
    struct dj_eval_stream *stream = NULL;
    struct dj_embedder *embedder = NULL;
    struct deja_error error;
    struct dj_eval_result result;
    write_file(path, text);
    assert_int_equal(dj_lexical_create(&embedder), DEJA_OK);
    assert_int_equal(dj_eval_stream_create(path, &stream, &error), DEJA_OK);
    assert_int_equal(
        dj_eval_stream_prepare(stream, embedder, threshold, has_guards, NULL, NULL, &error),
        DEJA_OK);
    assert_int_equal(dj_eval_stream_replay(stream, threshold, &result), DEJA_OK);
    dj_eval_stream_destroy(stream);
    dj_embedder_destroy(embedder);
    unlink(path);
    return result;
}

static void misses_insert_and_hits_reuse_what_they_found(void **state)
{
    (void)state;
    struct dj_eval_result result = replay(questions, 0.9, true);
    assert_true(result.requests == 5);
    assert_true(result.hits == 3); /* repeat, question mark, repeat with another class */
    assert_true(result.exact == 2);
    assert_true(result.wrong == 1);
}

static void without_guards_a_similar_question_takes_the_answer(void **state)
{
    (void)state;
    struct dj_eval_result guarded = replay(questions, 0.5, true);
    struct dj_eval_result bare = replay(questions, 0.5, false);
    assert_true(guarded.hits == 3 && guarded.wrong == 1);
    assert_true(bare.hits == 4 && bare.wrong == 2);
}

static void broken_lines_are_named_by_file_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *place;
    } cases[] = {{"{\"prompt\":\"a\",\"answer_class\":\"x\"}\nnonsense\n", ":2: "},
                 {"{\"prompt\":1,\"answer_class\":\"x\"}", ":1: "},
                 {"{\"prompt\":\"a\"}", ":1: "},
                 {"[]", ":1: "},
                 {"\n\n", ": holds no requests"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[32];
        struct dj_eval_stream *stream = NULL;
        struct deja_error error;
        write_file(path, cases[i].text);
        assert_int_equal(dj_eval_stream_create(path, &stream, &error), DEJA_ERR_INVALID);
        assert_non_null(strstr(error.message, cases[i].place));
        assert_non_null(strstr(error.message, path));
        assert_null(stream);
        unlink(path);
    }
}

static void usage_errors_exit_with_two_and_failures_with_one(void **state)
{
    (void)state;
    static const struct {
        const char *words[4];
        int code;
    } cases[] = {{{"eval", NULL}, 2},
                 {{"eval", "--what", NULL}, 2},
                 {{"eval", "--threshold", "2", NULL}, 2},
                 {{"eval", "--threshold", NULL}, 2},
                 {{"eval", "--embedder", "other", NULL}, 2},
                 {{"eval", "--model", "/nowhere", "/nowhere/x.jsonl"}, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[4][32];
        char *argv[5] = {NULL};
        int argc = 0;
        for (; argc < 4 && cases[i].words[argc]; argc++) {
            memcpy(words[argc], cases[i].words[argc], strlen(cases[i].words[argc]) + 1);
            argv[argc] = words[argc];
        }
        assert_int_equal(dj_tool_eval(argc, argv), cases[i].code);
    }
}

static void reading_survives_each_failed_allocation(void **state)
{
    (void)state;
    char path[32];
    write_file(path, questions);
    for (size_t n = 1;; n++) {
        struct dj_eval_stream *stream = NULL;
        struct deja_error error;
        failing_malloc_arm(n);
        enum deja_status status = dj_eval_stream_create(path, &stream, &error);
        bool has_failed = failing_malloc_disarm();
        assert_true(status == DEJA_OK || has_failed);
        assert_true((status == DEJA_OK) == (stream != NULL));
        dj_eval_stream_destroy(stream);
        if (!has_failed)
            break;
    }
    unlink(path);
}

int main(void)
{
    dj_simd_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misses_insert_and_hits_reuse_what_they_found),
        cmocka_unit_test(without_guards_a_similar_question_takes_the_answer),
        cmocka_unit_test(broken_lines_are_named_by_file_and_line),
        cmocka_unit_test(usage_errors_exit_with_two_and_failures_with_one),
        cmocka_unit_test(reading_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
