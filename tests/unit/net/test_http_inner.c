#include "net/http_inner.h"
#include "check.h"

#include <stdio.h>
#include <string.h>

static const uint8_t tenant[16] = {1, 2, 3};

struct fixture {
    struct dj_loop *loop;
    int way; /* of answering: 0 whole, 1 streamed, 2 broken off, 3 later */
    struct dj_http_exchange *exchange;
    struct dj_task task;
    uint32_t handled;
    uint32_t done;
    int status;
    bool is_whole;
    char body[64];
    char header[64];
};

static void answer(struct fixture *fixture, struct dj_http_exchange *exchange)
{
    static const struct dj_http_header header = {{"X-Answer", 8}, {"yes", 3}};
    if (fixture->way == 0 || fixture->way == 3) {
        dj_http_respond(exchange, 200, &header, 1, deja_slice_text("whole"));
        return;
    }
    dj_http_respond_begin(exchange, 201, &header, 1, -1);
    assert_true(dj_http_respond_write(exchange, deja_slice_text("one ")));
    assert_true(dj_http_respond_write(exchange, deja_slice_text("two")));
    if (fixture->way == 1)
        dj_http_respond_end(exchange);
    else
        dj_http_respond_abort(exchange);
}

static void on_later(void *ctx)
{
    struct fixture *fixture = ctx;
    answer(fixture, fixture->exchange);
}

static void handle(void *ctx, struct dj_http_exchange *exchange)
{
    struct fixture *fixture = ctx;
    const struct dj_http_request *request = dj_http_exchange_request(exchange);
    fixture->handled++;
    assert_memory_equal(request->inner_tenant, tenant, sizeof tenant);
    assert_true(deja_slice_is_equal(request->method, deja_slice_text("POST")));
    assert_true(deja_slice_is_equal(request->path, deja_slice_text("/v1/x")));
    assert_true(deja_slice_is_equal(request->query, deja_slice_text("a=b")));
    assert_true(deja_slice_is_equal(request->body, deja_slice_text("{}")));
    assert_true(deja_slice_is_equal(dj_http_find_header(request, "x-ask"), deja_slice_text("1")));
    assert_ptr_equal(dj_http_exchange_loop(exchange), fixture->loop);
    assert_non_null(dj_arena_alloc(request->arena, 100));
    dj_http_exchange_close_after(exchange);
    if (request->inner_id)
        request->inner_id[0] = 9;
    if (fixture->way != 3) {
        answer(fixture, exchange);
        return;
    }
    fixture->exchange = exchange;
    fixture->task = (struct dj_task){.run = on_later, .ctx = fixture};
    dj_loop_post(fixture->loop, &fixture->task);
}

static void on_done(void *ctx, int status, const struct dj_http_header *headers,
                    size_t header_count, struct deja_slice body, bool is_whole)
{
    struct fixture *fixture = ctx;
    struct deja_slice header =
        dj_http_find_slice(headers, header_count, deja_slice_text("x-answer"));
    fixture->done++;
    fixture->status = status;
    fixture->is_whole = is_whole;
    snprintf(fixture->body, sizeof fixture->body, "%.*s", (int)body.len, body.data);
    snprintf(fixture->header, sizeof fixture->header, "%.*s", (int)header.len, header.data);
    dj_loop_stop(fixture->loop);
}

static enum deja_status ask(struct fixture *fixture, uint8_t *id)
{
    static const struct dj_http_header header = {{"X-Ask", 5}, {"1", 1}};
    const struct dj_http_inner_request request = {.tenant = tenant,
                                                  .method = "POST",
                                                  .target = deja_slice_text("/v1/x?a=b"),
                                                  .headers = &header,
                                                  .header_count = 1,
                                                  .body = deja_slice_text("{}"),
                                                  .id = id};
    return dj_http_inner_ask(fixture->loop, &request, fixture, handle, fixture, on_done);
}

static void run(struct fixture *fixture, int way)
{
    uint8_t id[16] = {0};
    *fixture = (struct fixture){.way = way};
    assert_int_equal(dj_loop_create(0, &fixture->loop), DEJA_OK);
    assert_int_equal(ask(fixture, id), DEJA_OK);
    assert_int_equal(fixture->handled, 0); /* not inside the call */
    dj_loop_run(fixture->loop);
    assert_int_equal(fixture->handled, 1);
    assert_int_equal(fixture->done, 1);
    assert_int_equal(id[0], 9);
    dj_loop_destroy(fixture->loop);
}

static void a_whole_answer_comes_back(void **state)
{
    (void)state;
    struct fixture fixture;
    run(&fixture, 0);
    assert_int_equal(fixture.status, 200);
    assert_true(fixture.is_whole);
    assert_string_equal(fixture.body, "whole");
    assert_string_equal(fixture.header, "yes");
}

static void a_streamed_answer_comes_back_in_one_piece(void **state)
{
    (void)state;
    struct fixture fixture;
    run(&fixture, 1);
    assert_int_equal(fixture.status, 201);
    assert_true(fixture.is_whole);
    assert_string_equal(fixture.body, "one two");
}

static void an_answer_that_breaks_off_is_not_whole(void **state)
{
    (void)state;
    struct fixture fixture;
    run(&fixture, 2);
    assert_false(fixture.is_whole);
    assert_string_equal(fixture.body, "one two");
}

static void an_answer_may_come_later(void **state)
{
    (void)state;
    struct fixture fixture;
    run(&fixture, 3);
    assert_true(fixture.is_whole);
    assert_string_equal(fixture.body, "whole");
}

static void too_many_headers_are_refused(void **state)
{
    (void)state;
    struct fixture fixture = {.way = 0};
    struct dj_http_header headers[DJ_HTTP_INNER_HEADERS_MAX + 1] = {{{"a", 1}, {"b", 1}}};
    const struct dj_http_inner_request request = {.tenant = tenant,
                                                  .method = "POST",
                                                  .headers = headers,
                                                  .header_count = DJ_HTTP_INNER_HEADERS_MAX + 1};
    assert_int_equal(dj_http_inner_ask(NULL, &request, &fixture, handle, &fixture, on_done),
                     DEJA_ERR_LIMIT);
    assert_int_equal(fixture.done, 0);
}

static void ask_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct fixture fixture = {.way = 0};
        assert_int_equal(dj_loop_create(0, &fixture.loop), DEJA_OK);
        failing_malloc_arm(n);
        enum deja_status status = ask(&fixture, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed) {
            dj_loop_run(fixture.loop);
            assert_int_equal(fixture.done, 1);
        } else {
            dj_loop_stop(fixture.loop);
            dj_loop_run(fixture.loop);
        }
        dj_loop_destroy(fixture.loop);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_answer_comes_back),
        cmocka_unit_test(a_streamed_answer_comes_back_in_one_piece),
        cmocka_unit_test(an_answer_that_breaks_off_is_not_whole),
        cmocka_unit_test(an_answer_may_come_later),
        cmocka_unit_test(too_many_headers_are_refused),
        cmocka_unit_test(ask_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
