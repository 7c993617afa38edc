/* tests/unit/api/test_entries.c - what is put is found, told, explained and removed. */
#include "api_fixture.h"

#define PUT_FRANCE                                                                               \
    "{\"query\":\"what is the capital of France\",\"response\":{\"text\":\"Paris\",\"n\":1.50}," \
    "\"ttl\":\"1h\",\"tags\":[\"geo\",\"eu\"],\"metadata\":{\"a\":[1]},\"model\":\"m1\","        \
    "\"tokens\":{\"input\":7,\"output\":3},\"cost\":0.5,\"confidence\":0.9}"

static int put(struct fixture *fixture, const char *body)
{
    return ask(fixture, "PUT", "/api/v1/entries", JSON, body);
}

static int look_up(struct fixture *fixture, const char *body)
{
    return ask(fixture, "POST", "/api/v1/lookup", JSON, body);
}

static void what_was_put_is_read_by_id_until_removed(void **state)
{
    struct fixture *fixture = *state;
    char id[64];
    char target[128];
    assert_int_equal(put(fixture, PUT_FRANCE), 201);
    assert_reply(fixture, "\"version\":");
    assert_reply(fixture, "\"expires_at\":\"20");
    take(fixture, "id", id, sizeof id);
    assert_int_equal(strlen(id), 32);
    snprintf(target, sizeof target, "/api/v1/entries/%s", id);
    assert_int_equal(ask(fixture, "GET", target, "", ""), 200);
    assert_reply(fixture, "\"response\":{\"text\":\"Paris\",\"n\":1.50}");
    assert_reply(fixture, "\"query\":\"what is the capital of France\"");
    assert_reply(fixture, "\"metadata\":{\"a\":[1]}");
    assert_reply(fixture, "\"tags\":[\"geo\",\"eu\"]");
    assert_reply(fixture, "\"tokens\":{\"input\":7,\"output\":3}");
    assert_reply(fixture, "\"confidence\":0.9");
    assert_int_equal(ask(fixture, "GET", target, "Authorization: Bearer other\r\n", ""), 404);
    assert_int_equal(ask(fixture, "DELETE", target, "Authorization: Bearer other\r\n", ""), 404);
    assert_int_equal(ask(fixture, "DELETE", target, "", ""), 200);
    assert_reply(fixture, "{\"removed\":1}");
    assert_int_equal(ask(fixture, "GET", target, "", ""), 404);
    assert_reply(fixture, "\"type\":\"not_found\"");
    assert_int_equal(ask(fixture, "DELETE", target, "", ""), 404);
    assert_int_equal(ask(fixture, "GET", "/api/v1/entries/xyz", "", ""), 404);
}

static void lookups_hit_exactly_normalised_and_by_meaning(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(put(fixture, PUT_FRANCE), 201);
    assert_int_equal(look_up(fixture, "{\"query\":\"what is the capital of France\"}"), 200);
    assert_reply(fixture, "\"hit\":true,\"kind\":\"exact\",\"tier\":\"memory\"");
    assert_reply(fixture, "X-Cache-Hit: true\r\n");
    assert_reply(fixture, "X-Cache-Id: ");
    assert_reply(fixture, "Age: 0\r\n");
    assert_reply(fixture, "Cache-Status: deja; hit; ttl=");
    assert_int_equal(look_up(fixture, "{\"query\":\"what  is the capital of France \"}"), 200);
    assert_reply(fixture, "\"hit\":true,\"kind\":\"normalized\"");
    assert_int_equal(
        look_up(fixture, "{\"query\":\"what is the capital of France?\",\"threshold\":0.5}"), 200);
    assert_reply(fixture, "\"hit\":true,\"kind\":\"semantic\"");
    assert_reply(fixture, "\"text\":\"Paris\"");
    assert_reply(fixture, "Server-Timing: embed;dur=");
    assert_int_equal(look_up(fixture, "{\"query\":\"how do I bake bread\",\"limit\":2}"), 200);
    assert_reply(fixture, "\"hit\":false,\"kind\":null,\"reason\":\"below-threshold\"");
    assert_reply(fixture, "X-Cache-Status: MISS\r\n");
    assert_int_equal(
        look_up(fixture, "{\"query\":\"what is the capital of France\",\"namespace\":\"n\"}"), 200);
    assert_reply(fixture, "\"hit\":false");
    assert_int_equal(ask(fixture, "POST", "/api/v1/lookup", JSON "Authorization: Bearer k2\r\n",
                         "{\"query\":\"what is the capital of France\"}"),
                     200);
    assert_reply(fixture, "\"reason\":\"scope-empty\"");
}

static void batches_are_answered_in_order(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(put(fixture, "{\"entries\":[{\"query\":\"alpha one\",\"response\":1},"
                                  "{\"query\":\"beta two\",\"response\":null}]}"),
                     201);
    assert_reply(fixture, "{\"results\":[{\"id\":");
    assert_int_equal(look_up(fixture, "{\"queries\":[{\"query\":\"beta two\"},"
                                      "{\"query\":\"gamma three\"},{\"query\":\"alpha one\"}]}"),
                     200);
    const char *null = strstr(fixture->reply, "\"response\":null");
    const char *miss = strstr(fixture->reply, "\"hit\":false");
    const char *one = strstr(fixture->reply, "\"response\":1");
    assert_true(null && miss && one && null < miss && miss < one);
}

static void a_wrong_entry_of_a_batch_has_its_error_and_the_others_are_stored(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(put(fixture, "{\"entries\":[{\"query\":\"fine\",\"response\":1},"
                                  "{\"query\":\"\",\"response\":1},{\"query\":\"x\"},7]}"),
                     207);
    assert_reply(fixture, "{\"results\":[{\"id\":");
    assert_reply(fixture, "{\"error\":{\"type\":\"query_empty\",\"title\":\"Bad Request\","
                          "\"status\":400,");
    assert_reply(fixture, "\"field\":\"entries[1].query\"");
    assert_reply(fixture, "\"field\":\"entries[2].response\"");
    assert_reply(fixture, "must be an object");
    assert_int_equal(look_up(fixture, "{\"query\":\"fine\"}"), 200);
    assert_reply(fixture, "\"hit\":true");
}

static void a_wrong_question_of_a_batch_has_its_error_and_the_others_are_answered(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(put(fixture, "{\"query\":\"fine\",\"response\":1}"), 201);
    assert_int_equal(look_up(fixture, "{\"queries\":[{\"query\":\"\\u0000\"},{},5,"
                                      "{\"query\":\"fine\"},{\"query\":\"other\"}]}"),
                     207);
    assert_reply(fixture, "{\"results\":[{\"error\":{\"type\":\"query_invalid_characters\"");
    assert_reply(fixture, "\"field\":\"queries[1].query\"");
    assert_reply(fixture, "\"hit\":true");
    assert_reply(fixture, "\"hit\":false");
}

static void bad_input_is_named(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *body;
        const char *words;
    } cases[] = {
        {"{", "\"type\":\"invalid_json\""},
        {"[]", "must be a JSON object"},
        {"{\"response\":1}", "\"type\":\"query_empty\""},
        {"{\"query\":\" \\t \",\"response\":1}", "\"type\":\"query_empty\""},
        {"{\"query\":\"a\\u0000b\",\"response\":1}", "\"type\":\"query_invalid_characters\""},
        {"{\"query\":\"a\\u0007b\",\"response\":1}", "\"type\":\"query_invalid_characters\""},
        {"{\"query\":7,\"response\":1}", "must be a string"},
        {"{\"query\":\"q\"}", "\"field\":\"response\",\"rule\":\"required\""},
        {"{\"query\":\"q\",\"response\":1,\"ttl\":0}", "\"field\":\"ttl\""},
        {"{\"query\":\"q\",\"response\":1,\"ttl\":\"soon\"}", "\"field\":\"ttl\""},
        {"{\"query\":\"q\",\"response\":1,\"tll\":5}", "\"type\":\"unsupported_field\""},
        {"{\"query\":\"q\",\"response\":1,\"tags\":[\"\"]}", "\"field\":\"tags\""},
        {"{\"query\":\"q\",\"response\":1,\"metadata\":[]}", "\"field\":\"metadata\""},
        {"{\"query\":\"q\",\"response\":1,\"confidence\":2}", "must be from 0 to 1"},
        {"{\"query\":\"q\",\"response\":1,\"embedding\":[1,2],\"embedder\":\"toy:64\"}",
         "has 2 dimensions; the embedder toy:64 has 64"},
        {"{\"query\":\"q\",\"response\":1,\"embedder\":\"toy:64\"}", "\"field\":\"embedder\""},
        {"{\"query\":\"q\",\"response\":1,\"embedding\":[]}", "1 to 4096 are taken"},
        {"{\"query\":\"q\",\"response\":1,\"name\":\"n\"}", "\"field\":\"name\""},
        {"{\"query\":\"q\",\"response\":1,\"depends_on\":\"d\"}", "\"field\":\"depends_on\""},
        {"{\"query\":\"q\",\"response\":1,\"kind\":1}", "\"field\":\"kind\""},
        {"{\"query\":\"q\",\"response\":1,\"embedding\":\"x\"}", "array of numbers"},
        {"{\"entries\":[]}", "1 to 100 entries"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(put(fixture, cases[i].body), 400);
        assert_reply(fixture, cases[i].words);
    }
    assert_int_equal(put(fixture, "{\"query\":\"\xff\",\"response\":1}"), 400);
    assert_int_equal(look_up(fixture, "{\"query\":\"q\",\"threshold\":\"high\"}"), 400);
    assert_int_equal(look_up(fixture, "{\"query\":\"q\",\"filter\":[]}"), 400);
    assert_int_equal(look_up(fixture, "{}"), 400);
}

static void the_longest_query_passes_and_one_more_character_does_not(void **state)
{
    struct fixture *fixture = *state;
    char body[4096];
    int len = snprintf(body, sizeof body, "{\"response\":1,\"query\":\"");
    for (size_t i = 0; i < 1000; i++) /* characters, not bytes */
        len += snprintf(body + len, sizeof body - (size_t)len, "\xc3\xa9");
    snprintf(body + len, sizeof body - (size_t)len, "\"}");
    assert_int_equal(put(fixture, body), 201);
    snprintf(body + len, sizeof body - (size_t)len, "e\"}");
    assert_int_equal(put(fixture, body), 400);
    assert_reply(fixture, "\"type\":\"query_too_long\"");
}

static void vector_of(const char *number, char *out, size_t cap)
{
    size_t len = (size_t)snprintf(out, cap, "[%s", number);
    for (size_t i = 1; i < TOY_DIM; i++)
        len += (size_t)snprintf(out + len, cap - len, ",0");
    snprintf(out + len, cap - len, "]");
}

static void a_callers_vector_is_kept_and_found(void **state)
{
    struct fixture *fixture = *state;
    char vector[1024];
    char body[2048];
    static const char *const wrong[] = {"0", "1e999", "null", "\"1\"", "1e300"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        vector_of(wrong[i], vector, sizeof vector);
        snprintf(body, sizeof body, "{\"query\":\"q\",\"response\":1,\"embedding\":%s}", vector);
        assert_int_equal(put(fixture, body), 400);
    }
    vector_of("3", vector, sizeof vector);
    snprintf(body, sizeof body, "{\"query\":\"my own vector\",\"response\":1,\"embedding\":%s}",
             vector);
    assert_int_equal(put(fixture, body), 201);
    snprintf(body, sizeof body, "{\"query\":\"my own vectors\",\"embedding\":%s}", vector);
    assert_int_equal(look_up(fixture, body), 200);
    assert_reply(fixture, "\"similarity\":1");
}

static void large_and_compressed_bodies_are_read_on_a_worker(void **state)
{
    struct fixture *fixture = *state;
    size_t cap = 200000;
    char *body = dj_alloc(cap + 100);
    assert_non_null(body);
    int len = snprintf(body, cap, "{\"query\":\"large\",\"response\":\"");
    memset(body + len, 'x', cap - (size_t)len);
    memcpy(body + cap, "\"}", 3);
    assert_int_equal(put(fixture, body), 201);
    assert_int_equal(look_up(fixture, "{\"query\":\"large\"}"), 200);
    assert_reply(fixture, "\"hit\":true");
    assert_true(strlen(fixture->reply) > cap - 100);
    dj_free(body);
    assert_int_equal(
        ask(fixture, "PUT", "/api/v1/entries", JSON "Content-Encoding: gzip\r\n", "{}"), 400);
    assert_reply(fixture, "\"type\":\"invalid_encoding\"");
    assert_int_equal(ask(fixture, "PUT", "/api/v1/entries", JSON "Content-Encoding: br\r\n", "{}"),
                     415);
    assert_int_equal(ask(fixture, "POST", "/api/v1/lookup", JSON "Content-Encoding: identity\r\n",
                         "{\"query\":\"large\"}"),
                     200);
}

static int invalidate(struct fixture *fixture, const char *body)
{
    return ask(fixture, "POST", "/api/v1/invalidate", JSON, body);
}

static void invalidation_by_query_tag_and_all(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(put(fixture, PUT_FRANCE), 201);
    assert_int_equal(put(fixture, "{\"query\":\"alpha\",\"response\":1,\"tags\":[\"t\"]}"), 201);
    assert_int_equal(put(fixture, "{\"query\":\"beta\",\"response\":1}"), 201);
    assert_int_equal(invalidate(fixture, "{\"query\":\"beta\",\"dry_run\":true}"), 200);
    assert_reply(fixture, "\"would_remove\":1");
    assert_int_equal(invalidate(fixture, "{\"query\":\"beta\"}"), 200);
    assert_reply(fixture, "\"removed\":1");
    assert_int_equal(invalidate(fixture, "{\"query\":\"beta\"}"), 200);
    assert_reply(fixture, "\"removed\":0");
    assert_int_equal(invalidate(fixture, "{\"tag\":\"t\"}"), 200);
    assert_int_equal(look_up(fixture, "{\"query\":\"alpha\"}"), 200);
    assert_reply(fixture, "\"hit\":false");
    assert_int_equal(look_up(fixture, "{\"query\":\"what is the capital of France\"}"), 200);
    assert_reply(fixture, "\"hit\":true");
    assert_int_equal(invalidate(fixture, "{\"all\":true}"), 200);
    assert_int_equal(look_up(fixture, "{\"query\":\"what is the capital of France\"}"), 200);
    assert_reply(fixture, "\"hit\":false");
    assert_int_equal(invalidate(fixture, "{}"), 400);
    assert_int_equal(invalidate(fixture, "{\"all\":true,\"tag\":\"t\"}"), 400);
    assert_int_equal(invalidate(fixture, "{\"pattern\":\"\"}"), 400);
    assert_int_equal(invalidate(fixture, "{\"pattern\":\"*\"}"), 200);
    assert_int_equal(invalidate(fixture, "{\"tag\":\"t\",\"after\":5}"), 501); /* no daemon */
}

static int explain(struct fixture *fixture, const char *query)
{
    char target[256];
    snprintf(target, sizeof target, "/api/v1/explain?%s", query);
    return ask(fixture, "GET", target, "", "");
}

static void explain_tells_candidates_verdicts_and_scope(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(put(fixture, PUT_FRANCE), 201);
    assert_int_equal(put(fixture, "{\"query\":\"top 5 hotels in Rome\",\"response\":1,"
                                  "\"namespace\":\"travel\"}"),
                     201);
    assert_int_equal(explain(fixture, "query=what+is+the+capital+of+France"), 200);
    assert_reply(fixture, "\"hit\":true,\"kind\":\"exact\"");
    assert_int_equal(explain(fixture, "query=top%206%20hotels%20in%20Rome&namespace=travel"), 200);
    assert_reply(fixture, "\"hit\":false");
    assert_reply(fixture, "\"numbers\":\"refused\"");
    assert_reply(fixture, "\"searched\":\"this scope\"");
    assert_reply(fixture, "\"query\":\"top 5 hotels in Rome\"");
    assert_int_equal(explain(fixture, "query=top%206%20hotels%20in%20Rome"), 200);
    assert_reply(fixture, "\"searched\":\"all scopes of the tenant\"");
    assert_reply(fixture, "\"same_scope\":false");
    assert_reply(fixture, "\"verdict\":\"other-scope\"");
    assert_int_equal(ask(fixture, "POST", "/api/v1/explain", JSON,
                         "{\"request\":{\"model\":\"m\",\"messages\":[{\"role\":\"user\","
                         "\"content\":\"hello\"}]}}"),
                     200);
    assert_reply(fixture, "\"surface\":\"chat\"");
    assert_reply(fixture, "\"reason\":\"scope-empty\"");
    assert_int_equal(explain(fixture, "query=%zz"), 400);
    assert_int_equal(explain(fixture, ""), 400);
    assert_reply(fixture, "\"type\":\"query_empty\"");
    assert_int_equal(explain(fixture, "query=q&threshold=2"), 400);
    assert_int_equal(ask(fixture, "POST", "/api/v1/explain", JSON, "{\"request\":{}}"), 400);
}

static void stats_are_of_the_tenant_that_asks(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(put(fixture, PUT_FRANCE), 201);
    look_up(fixture, "{\"query\":\"what is the capital of France\"}");
    look_up(fixture, "{\"query\":\"something else\"}");
    assert_int_equal(ask(fixture, "GET", "/api/v1/stats", "", ""), 200);
    assert_reply(fixture, "\"requests\":2");
    assert_reply(fixture, "\"hits\":{\"exact\":1,\"semantic\":0,\"total\":1}");
    assert_reply(fixture, "\"hit_rate\":0.5");
    assert_reply(fixture, "\"saved\":{\"input_tokens\":7,\"output_tokens\":3");
    assert_reply(fixture, "\"vectors\":1");
    assert_reply(fixture, "\"id\":\"toy:64\"");
    assert_int_equal(ask(fixture, "GET", "/api/v1/stats", "Authorization: Bearer other\r\n", ""),
                     200);
    assert_reply(fixture, "\"requests\":0");
    assert_reply(fixture, "\"vectors\":0");
}

static void a_suspended_credential_reads_nothing(void **state)
{
    struct fixture *fixture = *state;
    uint8_t tenant[DJ_ID_BYTES];
    static const char key[] = JSON "Authorization: Bearer revoked\r\n";
    static const char query[] = "{\"query\":\"what is the capital of France\"}";
    assert_int_equal(ask(fixture, "PUT", "/api/v1/entries", key, PUT_FRANCE), 201);
    assert_int_equal(ask(fixture, "POST", "/api/v1/lookup", key, query), 200);
    assert_reply(fixture, "\"hit\":true");
    dj_tenant_derive(&fixture->root, deja_slice_text("revoked"), tenant);
    dj_registry_on_upstream_status(fixture->context.registry, tenant, 401, dj_clock_now_ms());
    assert_int_equal(ask(fixture, "POST", "/api/v1/lookup", key, query), 403);
    assert_reply(fixture, "\"type\":\"credential_suspended\"");
}

static void a_vector_alone_finds_by_meaning(void **state)
{
    struct fixture *fixture = *state;
    char vector[1024];
    char body[2048];
    vector_of("3", vector, sizeof vector);
    snprintf(body, sizeof body, "{\"query\":\"my own vector\",\"response\":1,\"embedding\":%s}",
             vector);
    assert_int_equal(put(fixture, body), 201);
    snprintf(body, sizeof body, "{\"limit\":3,\"embedding\":%s}", vector);
    assert_int_equal(look_up(fixture, body), 200);
    assert_reply(fixture, "\"similarity\":1");
    assert_reply(fixture, "\"hit\":true");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_put_is_read_by_id_until_removed),
        TEST(lookups_hit_exactly_normalised_and_by_meaning),
        TEST(batches_are_answered_in_order),
        TEST(a_wrong_entry_of_a_batch_has_its_error_and_the_others_are_stored),
        TEST(a_wrong_question_of_a_batch_has_its_error_and_the_others_are_answered),
        TEST(bad_input_is_named),
        TEST(the_longest_query_passes_and_one_more_character_does_not),
        TEST(a_callers_vector_is_kept_and_found),
        TEST(large_and_compressed_bodies_are_read_on_a_worker),
        TEST(invalidation_by_query_tag_and_all),
        TEST(explain_tells_candidates_verdicts_and_scope),
        TEST(a_suspended_credential_reads_nothing),
        TEST(a_vector_alone_finds_by_meaning),
        TEST(stats_are_of_the_tenant_that_asks),
    };
    return RUN_TESTS(tests);
}
