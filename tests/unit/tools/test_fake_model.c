#include "tools/fake_model.h"

#include <stdio.h>

#include "base/slice.h"
#include "check.h"
#include "failing_malloc.h"
#include "net/client.h"

static void on_answer(void *ctx, const struct dj_http_request *request, struct dj_buf *out_text)
{
    (void)ctx;
    dj_buf_append_text(out_text, "heard: \"");
    dj_buf_append_slice(out_text, request->body);
}

static const struct dj_fake_model_options options = {.delay_ms = 1, .answer = on_answer};

static enum deja_status post(const struct dj_fake_model *model, const char *path, const char *body,
                             struct dj_client_answer *out_answer)
{
    char server[64];
    const struct dj_client client = {.server = server, .timeout_ms = 60000};
    snprintf(server, sizeof server, "http://127.0.0.1:%u", dj_fake_model_port(model));
    return dj_client_call(&client, "POST", path, deja_slice_text(body), out_answer);
}

static void it_answers_what_its_caller_says_and_counts(void **state)
{
    (void)state;
    struct dj_fake_model *model = NULL;
    struct dj_client_answer answer;
    assert_int_equal(dj_fake_model_create(&options, &model, NULL), DEJA_OK);
    assert_int_equal(dj_fake_model_calls(model), 0);

    assert_int_equal(post(model, "/v1/chat/completions", "what?", &answer), DEJA_OK);
    assert_int_equal(answer.http_status, 200);
    assert_true(dj_slice_contains(dj_buf_slice(&answer.body), "heard: \\\"what?"));
    assert_true(dj_slice_contains(dj_buf_slice(&answer.body), "\"usage\""));
    dj_client_answer_fini(&answer);

    assert_int_equal(post(model, "/v1/embeddings", "{}", &answer), DEJA_OK);
    assert_int_equal(answer.http_status, 404);
    dj_client_answer_fini(&answer);
    assert_int_equal(dj_fake_model_calls(model), 1);
    dj_fake_model_destroy(model);
}

static void two_take_ports_of_their_own(void **state)
{
    (void)state;
    struct dj_fake_model *a = NULL;
    struct dj_fake_model *b = NULL;
    assert_int_equal(dj_fake_model_create(&options, &a, NULL), DEJA_OK);
    assert_int_equal(dj_fake_model_create(&options, &b, NULL), DEJA_OK);
    assert_int_not_equal(dj_fake_model_port(a), dj_fake_model_port(b));
    dj_fake_model_destroy(a);
    dj_fake_model_destroy(b);
    dj_fake_model_destroy(NULL);
}

static void create_survives_each_failed_allocation(void **state)
{
    (void)state;
    bool was_hit = true;
    for (size_t n = 1; was_hit; n++) {
        struct dj_fake_model *model = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_fake_model_create(&options, &model, NULL);
        was_hit = failing_malloc_disarm();
        assert_true(status == DEJA_OK || (status == DEJA_ERR_NOMEM && !model));
        assert_true(was_hit || status == DEJA_OK);
        dj_fake_model_destroy(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_answers_what_its_caller_says_and_counts),
        cmocka_unit_test(two_take_ports_of_their_own),
        cmocka_unit_test(create_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
