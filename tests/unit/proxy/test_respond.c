/* tests/unit/proxy/test_respond.c - what the headers of an answer say. */
#include "check.h"

#include "proxy/respond.h"

#define NOW_MS 1700000000000

struct answer {
    struct dj_arena arena;
    struct dj_answer_headers headers;
};

static struct dj_entry entry_of(int64_t age_ms, int64_t left_ms)
{
    struct dj_entry entry = {.created_ms = NOW_MS - age_ms,
                             .expires_ms = left_ms ? NOW_MS + left_ms : 0};
    memset(entry.id, 0xab, sizeof entry.id);
    return entry;
}

static struct dj_outcome hit_of(const struct dj_entry *entry)
{
    return (struct dj_outcome){.is_hit = true,
                               .kind = DJ_HIT_EXACT,
                               .level = "memory",
                               .similarity = 1.0f,
                               .entry = entry,
                               .now_ms = NOW_MS,
                               .verify_us = 7,
                               .total_us = 12034,
                               .request_id = deja_slice_text("r-1")};
}

static void tell(struct answer *answer, const struct dj_outcome *outcome)
{
    dj_arena_init(&answer->arena, 0);
    dj_answer_init(&answer->headers, &answer->arena);
    dj_answer_add_outcome(&answer->headers, outcome);
}

static void assert_header(const struct answer *answer, const char *name, const char *wanted)
{
    for (size_t i = 0; i < answer->headers.count; i++) {
        const struct dj_http_header *header = &answer->headers.items[i];
        if (!deja_slice_is_equal(header->name, deja_slice_text(name)))
            continue;
        assert_int_equal(header->value.len, strlen(wanted));
        assert_memory_equal(header->value.data, wanted, header->value.len);
        return;
    }
    fail_msg("no %s", name);
}

static void a_hit_tells_its_age_key_and_times(void **state)
{
    (void)state;
    struct answer answer;
    struct dj_entry entry = entry_of(61999, 5000);
    struct dj_outcome outcome = hit_of(&entry);
    tell(&answer, &outcome);
    assert_header(&answer, "Cache-Status",
                  "deja; hit; ttl=5; key=\"abababababababababababababababab\"; detail=exact");
    assert_header(&answer, "Age", "61");
    assert_header(&answer, "X-Cache-Id", "abababababababababababababababab");
    assert_header(&answer, "X-Cache-Similarity", "1.0000");
    assert_header(&answer, "X-Cache-Tier", "memory");
    assert_header(&answer, "X-Request-Id", "r-1");
    assert_header(&answer, "Server-Timing", "canon;dur=0.007, total;dur=12.034");
    dj_arena_fini(&answer.arena);
}

static void two_details_are_one_string_and_no_expiry_is_no_ttl(void **state)
{
    (void)state;
    struct answer answer;
    struct dj_entry entry = entry_of(-5000, 0); /* from a clock that is ahead */
    struct dj_outcome outcome = hit_of(&entry);
    outcome.kind = DJ_HIT_SEMANTIC;
    outcome.similarity = 0.90336f;
    outcome.cut = "ttl-clamped";
    outcome.verify_us = 0;
    outcome.total_us = 0;
    tell(&answer, &outcome);
    assert_header(&answer, "Cache-Status",
                  "deja; hit; key=\"abababababababababababababababab\"; "
                  "detail=\"semantic, ttl-clamped\"");
    assert_header(&answer, "Age", "0");
    assert_header(&answer, "X-Cache-Similarity", "0.9034");
    assert_header(&answer, "Server-Timing", "total;dur=0.001");
    dj_arena_fini(&answer.arena);
}

static void a_miss_tells_why_and_what_became_of_the_answer(void **state)
{
    (void)state;
    struct answer answer;
    struct dj_outcome outcome = {.level = "none",
                                 .upstream_status = 200,
                                 .is_stored = true,
                                 .is_collapsed = true,
                                 .upstream_us = 1500000,
                                 .request_id = deja_slice_text("r-2")};
    tell(&answer, &outcome);
    assert_header(&answer, "Cache-Status", "deja; fwd=miss; fwd-status=200; stored; collapsed");
    assert_header(&answer, "Server-Timing", "upstream;dur=1500.000");
    dj_arena_fini(&answer.arena);
    outcome = (struct dj_outcome){
        .is_bypass = true, .rule = "Cache-Control", .refused = "too-large", .level = "none"};
    tell(&answer, &outcome);
    assert_header(&answer, "Cache-Status",
                  "deja; fwd=bypass; detail=\"asked:Cache-Control, not-kept:too-large\"");
    dj_arena_fini(&answer.arena);
}

static void a_value_without_memory_takes_its_name_along(void **state)
{
    (void)state;
    struct answer answer;
    struct dj_entry entry = entry_of(1000, 5000);
    struct dj_outcome outcome = hit_of(&entry);
    outcome.compat = ~0u;
    dj_arena_init(&answer.arena, 1); /* room for nothing */
    dj_answer_init(&answer.headers, &answer.arena);
    dj_answer_add_outcome(&answer.headers, &outcome);
    assert_true(answer.headers.count > 0);
    for (size_t i = 0; i < answer.headers.count; i++)
        assert_true(answer.headers.items[i].value.len > 0);
    dj_arena_fini(&answer.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hit_tells_its_age_key_and_times),
        cmocka_unit_test(two_details_are_one_string_and_no_expiry_is_no_ttl),
        cmocka_unit_test(a_miss_tells_why_and_what_became_of_the_answer),
        cmocka_unit_test(a_value_without_memory_takes_its_name_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
