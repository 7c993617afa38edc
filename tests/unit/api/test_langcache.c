/* tests/unit/api/test_langcache.c - LangCache's API in this process, over the toy embedder: what is
 * matched by which strategy, and keys of attributes and of LangChain's messages.
 */
#include "api_fixture.h"

#include "api/langcache_entry.h"
#include "base/arena.h"

#define KEY "Authorization: Bearer k\r\n"
#define MESSAGE(class, text)                                                                    \
    "{\"lc\":1,\"type\":\"constructor\",\"id\":[\"langchain\",\"schema\",\"messages\",\"" class \
        "\"],\"kwargs\":{\"content\":\"" text "\"}}"

static int set(struct fixture *fixture, const char *body)
{
    return ask(fixture, "POST", "/v1/caches/c/entries", JSON KEY, body);
}

static int search(struct fixture *fixture, const char *body)
{
    return ask(fixture, "POST", "/v1/caches/c/entries/search", JSON KEY, body);
}

static void the_same_words_are_exact_and_others_are_not(void **state)
{
    struct fixture *fixture = *state;
    char id[64];
    assert_int_equal(set(fixture, "{\"prompt\":\"who  are you\",\"response\":\"\\\"me\\\"\"}"),
                     201);
    take(fixture, "entryId", id, sizeof id);
    assert_int_equal(search(fixture, "{\"prompt\":\"who  are you\"}"), 200);
    assert_reply(fixture, id);
    assert_reply(fixture,
                 "\"prompt\":\"who  are you\",\"response\":\"\\\"me\\\"\",\"attributes\":{},"
                 "\"similarity\":1,\"searchStrategy\":\"exact\"}]}");
    assert_reply(fixture, "X-Cache-Hit: true\r\n");
    assert_int_equal(search(fixture, "{\"prompt\":\"who are you\"}"), 200);
    assert_reply(fixture, "\"similarity\":1,\"searchStrategy\":\"semantic\"");
    assert_int_equal(
        search(fixture, "{\"prompt\":\"who are you\",\"searchStrategies\":[\"exact\"]}"), 200);
    assert_reply(fixture, "{\"data\":[]}");
    assert_reply(fixture, "X-Cache-Status: MISS\r\n");
}

static void similarity_is_on_the_normalised_scale_or_the_cosine(void **state)
{
    struct fixture *fixture = *state;
    /* Three of four words are shared: cosine 0.75, shown as 0.875. */
    assert_int_equal(set(fixture, "{\"prompt\":\"explain how magnets work\",\"response\":\"r\"}"),
                     201);
    static const char low[] =
        "{\"prompt\":\"describe how magnets work\",\"similarityThreshold\":0.874}";
    static const char high[] =
        "{\"prompt\":\"describe how magnets work\",\"similarityThreshold\":0.876}";
    assert_int_equal(search(fixture, low), 200);
    assert_reply(fixture, "\"similarity\":0.87");
    assert_int_equal(search(fixture, high), 200);
    assert_reply(fixture, "{\"data\":[]}");
    fixture->policy.is_langcache_cosine = true;
    assert_int_equal(search(fixture, low), 200);
    assert_reply(fixture, "{\"data\":[]}");
    assert_int_equal(
        search(fixture, "{\"prompt\":\"describe how magnets work\",\"similarityThreshold\":0.7}"),
        200);
    assert_reply(fixture, "\"similarity\":0.7");
}

static void what_guards_refuse_is_not_given(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(
        set(fixture,
            "{\"prompt\":\"please convert 5 euros to dollars for me\",\"response\":\"r\"}"),
        201);
    assert_int_equal(search(fixture, "{\"prompt\":\"please convert 50 euros to dollars for me\","
                                     "\"similarityThreshold\":0.5,\"maxResults\":10}"),
                     200);
    assert_reply(fixture, "{\"data\":[]}");
}

static void the_bearer_is_wanted_and_names_the_tenant(void **state)
{
    struct fixture *fixture = *state;
    static const char body[] = "{\"prompt\":\"p\",\"response\":\"r\"}";
    assert_int_equal(ask(fixture, "POST", "/v1/caches/c/entries", JSON, body), 401);
    assert_reply(fixture, "\"type\":\"/errors/authentication-failed\"");
    assert_reply(fixture, "Content-Type: application/json\r\n");
    assert_int_equal(set(fixture, body), 201);
    assert_int_equal(ask(fixture, "POST", "/v1/caches/c/entries/search",
                         JSON "Authorization: Bearer other\r\n", body),
                     200);
    assert_reply(fixture, "{\"data\":[]}");
    fixture->context.forced_tenant = "everybody";
    assert_int_equal(ask(fixture, "POST", "/v1/caches/c/entries", JSON, body), 201);
}

static void paths_below_caches_are_never_the_proxys(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, "GET", "/v1/caches/c", KEY, ""), 404);
    assert_reply(fixture, "\"type\":\"/errors/resource-not-found\"");
    assert_int_equal(ask(fixture, "POST", "/v1/caches//entries", JSON KEY, "{}"), 404);
    assert_int_equal(ask(fixture, "DELETE", "/v1/caches/c/entries/", JSON KEY, "{}"), 404);
    assert_int_equal(ask(fixture, "GET", "/v1/caches/c/entries", KEY, ""), 405);
    assert_reply(fixture, "Allow: POST, DELETE\r\n");
}

static void a_gptcache_server_is_below_its_prefix(void **state)
{
    struct fixture *fixture = *state;
    static const char question[] = "{\"prompt\":\"who\",\"answer\":\"me\"}";
    assert_int_equal(ask(fixture, "POST", "/gptcache/get", JSON, question), 200);
    assert_reply(fixture, "{\"prompt\":\"who\",\"answer\":null}");
    assert_int_equal(ask(fixture, "POST", "/gptcache/put", JSON, question), 200);
    assert_int_equal(ask(fixture, "POST", "/gptcache/flush", "", ""), 200);
    assert_int_equal(ask(fixture, "POST", "/gptcache/get", JSON, question), 200);
    assert_reply(fixture, "{\"prompt\":\"who\",\"answer\":\"me\"}");
    assert_int_equal(ask(fixture, "POST", "/gptcache/put", JSON, "{}"), 422);
    assert_reply(fixture, "{\"detail\":[{\"type\":\"required\",\"loc\":[\"body\",\"prompt\"]");
}

/* ---- keys ---- */

struct keyed {
    struct dj_arena arena;
    struct dj_request request;
};

static void keyed_init(struct keyed *keyed)
{
    *keyed = (struct keyed){0};
    dj_arena_init(&keyed->arena, 0);
    keyed->request.arena = &keyed->arena;
    memset(keyed->request.tenant, 1, sizeof keyed->request.tenant);
}

static struct dj_fingerprint key_of(struct keyed *keyed, const char *text, const char *attributes)
{
    struct dj_json_doc *doc = NULL;
    struct dj_fingerprint fingerprint;
    if (attributes)
        assert_int_equal(dj_json_parse(deja_slice_text(attributes), &doc, NULL), DEJA_OK);
    const struct dj_prompt prompt = {.text = deja_slice_text(text),
                                     .name_space = deja_slice_text("c"),
                                     .attributes = dj_json_root(doc)};
    assert_int_equal(dj_prompt_fingerprint(&keyed->request, &prompt, &fingerprint), DEJA_OK);
    dj_json_doc_destroy(doc);
    return fingerprint;
}

static bool is_same_id(struct dj_fingerprint a, struct dj_fingerprint b)
{
    return memcmp(a.key.id, b.key.id, sizeof a.key.id) == 0;
}

static bool is_same_scope(struct dj_fingerprint a, struct dj_fingerprint b)
{
    return memcmp(a.scope, b.scope, sizeof a.scope) == 0;
}

static void attributes_part_keys_but_not_scopes(void **state)
{
    (void)state;
    struct keyed keyed;
    keyed_init(&keyed);
    struct dj_fingerprint none = key_of(&keyed, "p", NULL);
    struct dj_fingerprint one = key_of(&keyed, "p", "{\"a\":\"1\",\"b\":\"2\"}");
    assert_true(is_same_id(one, key_of(&keyed, "p", "{ \"b\":\"2\", \"a\":\"1\" }")));
    assert_false(is_same_id(one, none));
    assert_false(is_same_id(one, key_of(&keyed, "p", "{\"a\":\"1\",\"b\":\"%32\"}")));
    assert_true(is_same_scope(one, none));
    dj_arena_fini(&keyed.arena);
}

static void messages_are_compared_by_the_last_human_text(void **state)
{
    (void)state;
    struct keyed keyed;
    keyed_init(&keyed);
    struct dj_fingerprint brief =
        key_of(&keyed,
               "[" MESSAGE("SystemMessage", "brief") "," MESSAGE("HumanMessage", "who?") "]", NULL);
    struct dj_fingerprint other = key_of(
        &keyed, "[" MESSAGE("SystemMessage", "brief") "," MESSAGE("HumanMessage", "what?") "]",
        NULL);
    struct dj_fingerprint wordy =
        key_of(&keyed,
               "[" MESSAGE("SystemMessage", "wordy") "," MESSAGE("HumanMessage", "who?") "]", NULL);
    struct dj_fingerprint answered = key_of(
        &keyed, "[" MESSAGE("HumanMessage", "who?") "," MESSAGE("AIMessage", "me") "]", NULL);
    assert_true(deja_slice_is_equal(brief.text, deja_slice_text("who?")));
    assert_true(brief.is_semantic);
    assert_false(is_same_id(brief, other));
    assert_true(is_same_scope(brief, other));
    assert_false(is_same_scope(brief, wordy));
    assert_false(answered.is_semantic);
    dj_arena_fini(&keyed.arena);
}

/* What is said about a message, not only its text, tells it from others. */
static void messages_that_differ_anywhere_have_other_keys(void **state)
{
    (void)state;
    static const char *const lists[] = {
        "[{\"lc\":1,\"id\":[\"ChatMessage\"],\"kwargs\":{\"content\":\"x\",\"role\":\"a\"}}]",
        "[{\"lc\":1,\"id\":[\"ChatMessage\"],\"kwargs\":{\"content\":\"x\",\"role\":\"b\"}}]",
        "[{\"lc\":1,\"id\":[\"HumanMessage\"],\"kwargs\":{\"content\":\"x\"}}]",
        "[{\"lc\":1,\"id\":[\"HumanMessage\"],\"kwargs\":{\"content\":\"x\",\"name\":\"n\"}}]",
        "[{\"lc\":1,\"id\":[\"a\",\"HumanMessage\"],\"kwargs\":{\"content\":\"x\"}}]",
        "[{\"lc\":2,\"id\":[\"HumanMessage\"],\"kwargs\":{\"content\":\"x\"}}]",
        "[{\"lc\":1,\"id\":[\"HumanMessage\"],\"kwargs\":{\"content\":\"x\"},\"graph\":1}]",
        "[{\"lc\":1,\"id\":[\"HumanMessage\"],\"kwargs\":{\"content\":[\"x\"]}}]",
    };
    enum { LISTS = sizeof lists / sizeof *lists };
    struct dj_fingerprint keys[LISTS];
    struct keyed keyed;
    keyed_init(&keyed);
    for (size_t i = 0; i < LISTS; i++)
        keys[i] = key_of(&keyed, lists[i], NULL);
    for (size_t i = 0; i < LISTS; i++)
        for (size_t j = 0; j < i; j++)
            assert_false(is_same_id(keys[i], keys[j]));
    dj_arena_fini(&keyed.arena);
}

static void what_only_looks_like_messages_is_a_text(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[",
        "[]",
        "[1]",
        "[{\"lc\":1}]",
        "[{\"lc\":1,\"id\":[]}]",
        "[{\"id\":[\"HumanMessage\"],\"kwargs\":{\"content\":\"x\"}}]",
        "[" MESSAGE("HumanMessage", "x") ",{}]"};
    struct keyed keyed;
    keyed_init(&keyed);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct dj_fingerprint fingerprint = key_of(&keyed, texts[i], NULL);
        assert_true(deja_slice_is_equal(fingerprint.text, deja_slice_text(texts[i])));
    }
    dj_arena_fini(&keyed.arena);
}

static void a_fingerprint_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const char text[] = "[" MESSAGE("HumanMessage", "who  are you") "]";
    struct dj_json_doc *doc = NULL;
    assert_int_equal(dj_json_parse(deja_slice_text("{\"a\":\"b\"}"), &doc, NULL), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct keyed keyed;
        struct dj_fingerprint fingerprint;
        keyed_init(&keyed);
        const struct dj_prompt prompt = {.text = deja_slice(text, sizeof text - 1),
                                         .attributes = dj_json_root(doc)};
        failing_malloc_arm(n);
        enum deja_status status = dj_prompt_fingerprint(&keyed.request, &prompt, &fingerprint);
        bool has_failed = failing_malloc_disarm();
        assert_true(has_failed || status == DEJA_OK);
        assert_true(status == DEJA_OK || status == DEJA_ERR_NOMEM);
        dj_arena_fini(&keyed.arena);
        if (!has_failed)
            break;
    }
    dj_json_doc_destroy(doc);
}

int main(void)
{
#define OVER_HTTP(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        OVER_HTTP(the_same_words_are_exact_and_others_are_not),
        OVER_HTTP(similarity_is_on_the_normalised_scale_or_the_cosine),
        OVER_HTTP(what_guards_refuse_is_not_given),
        OVER_HTTP(the_bearer_is_wanted_and_names_the_tenant),
        OVER_HTTP(paths_below_caches_are_never_the_proxys),
        OVER_HTTP(a_gptcache_server_is_below_its_prefix),
        cmocka_unit_test(attributes_part_keys_but_not_scopes),
        cmocka_unit_test(messages_are_compared_by_the_last_human_text),
        cmocka_unit_test(messages_that_differ_anywhere_have_other_keys),
        cmocka_unit_test(what_only_looks_like_messages_is_a_text),
        cmocka_unit_test(a_fingerprint_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
