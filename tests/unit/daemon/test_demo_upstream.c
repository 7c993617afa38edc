#include "daemon/demo_upstream.h"

#include <stdio.h>

#include "base/slice.h"
#include "check.h"
#include "failing_malloc.h"
#include "net/client.h"

static enum deja_status post(const struct dj_demo_upstream *upstream, const char *path,
                             const char *body, struct dj_client_answer *out_answer)
{
    char server[64];
    const struct dj_client client = {.server = server, .timeout_ms = 60000};
    snprintf(server, sizeof server, "http://127.0.0.1:%u", dj_demo_upstream_port(upstream));
    return dj_client_call(&client, "POST", path, deja_slice_text(body), out_answer);
}

static void it_answers_by_what_was_asked_and_counts(void **state)
{
    (void)state;
    struct dj_demo_upstream *upstream = NULL;
    struct dj_client_answer answer;
    assert_int_equal(dj_demo_upstream_create(1, &upstream, NULL), DEJA_OK);
    assert_int_equal(dj_demo_upstream_calls(upstream), 0);

    assert_int_equal(post(upstream, "/v1/chat/completions", "{\"q\":\"2024\"}", &answer), DEJA_OK);
    assert_int_equal(answer.http_status, 200);
    assert_true(dj_slice_contains(dj_buf_slice(&answer.body), "three years"));
    assert_true(dj_slice_contains(dj_buf_slice(&answer.body), "\"usage\""));
    dj_client_answer_fini(&answer);

    assert_int_equal(post(upstream, "/v1/embeddings", "{}", &answer), DEJA_OK);
    assert_int_equal(answer.http_status, 404);
    dj_client_answer_fini(&answer);
    assert_int_equal(dj_demo_upstream_calls(upstream), 1);
    dj_demo_upstream_destroy(upstream);
}

static void two_take_ports_of_their_own(void **state)
{
    (void)state;
    struct dj_demo_upstream *a = NULL;
    struct dj_demo_upstream *b = NULL;
    assert_int_equal(dj_demo_upstream_create(1, &a, NULL), DEJA_OK);
    assert_int_equal(dj_demo_upstream_create(1, &b, NULL), DEJA_OK);
    assert_int_not_equal(dj_demo_upstream_port(a), dj_demo_upstream_port(b));
    dj_demo_upstream_destroy(a);
    dj_demo_upstream_destroy(b);
    dj_demo_upstream_destroy(NULL);
}

static void create_survives_each_failed_allocation(void **state)
{
    (void)state;
    bool was_hit = true;
    for (size_t n = 1; was_hit; n++) {
        struct dj_demo_upstream *upstream = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_demo_upstream_create(1, &upstream, NULL);
        was_hit = failing_malloc_disarm();
        assert_true(status == DEJA_OK || (status == DEJA_ERR_NOMEM && !upstream));
        assert_true(was_hit || status == DEJA_OK);
        dj_demo_upstream_destroy(upstream);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_answers_by_what_was_asked_and_counts),
        cmocka_unit_test(two_take_ports_of_their_own),
        cmocka_unit_test(create_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
