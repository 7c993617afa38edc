/* tests/unit/cache/test_key_maker.c - every documented form of a key, and what makes two alike. */
#include "cache/key_maker.h"
#include "check.h"

#include <stdio.h>

#include "cache/key_sql.h"
#include "failing_malloc.h"

#define T(text) deja_slice_text(text)
/* printf 'hello' | sha256sum */
#define HELLO "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

static struct dj_kinds *kinds;

static int begin(void **state)
{
    (void)state;
    return dj_kinds_create(NULL, 0, NULL, NULL, &kinds) == DEJA_OK ? 0 : 1;
}

static int end(void **state)
{
    (void)state;
    dj_kinds_destroy(kinds);
    return 0;
}

/* One call of dj_key_maker_*. */
struct said {
    char what; /* k kind, p pattern, n namespace, f field, s part, t text, i input, o options, q sql
                */
    const char *a, *b;
};

/* The key, or "! " and what is wrong; the caller's buffer. */
static const char *make(const struct said *said, char out[DJ_KEY_BYTES_MAX + 1])
{
    struct dj_key_maker *maker = NULL;
    struct dj_json_doc *doc = NULL;
    struct dj_made_key made;
    struct deja_error error = {.message = ""};
    assert_int_equal(dj_key_maker_create(kinds, &maker), DEJA_OK);
    for (; said->what; said++) {
        if (said->what == 'o' || (said->what == 'q' && said->b))
            assert_int_equal(dj_json_parse(T(said->what == 'o' ? said->a : said->b), &doc, &error),
                             DEJA_OK);
        switch (said->what) {
        case 'k':
            dj_key_maker_kind(maker, T(said->a));
            break;
        case 'p':
            dj_key_maker_pattern(maker, T(said->a));
            break;
        case 'n':
            dj_key_maker_namespace(maker, T(said->a), T(said->b));
            break;
        case 'f':
            dj_key_maker_field(maker, T(said->a), T(said->b));
            break;
        case 's':
            dj_key_maker_part(maker, T(said->a));
            break;
        case 't':
            dj_key_maker_text(maker, T(said->a));
            break;
        case 'i':
            dj_key_maker_input(maker, T(said->a), T(said->b));
            break;
        case 'o':
            dj_key_maker_options(maker, dj_json_root(doc));
            break;
        default:
            dj_key_maker_sql(maker, T(said->a), said->b ? dj_json_root(doc) : NULL);
        }
    }
    if (dj_key_maker_finish(maker, &made, &error) == DEJA_OK)
        snprintf(out, DJ_KEY_BYTES_MAX + 1, "%.*s", (int)made.key.len, made.key.data);
    else
        snprintf(out, DJ_KEY_BYTES_MAX + 1, "! %s", error.message);
    dj_json_doc_destroy(doc);
    dj_key_maker_destroy(maker);
    return out;
}

static const struct {
    struct said said[8];
    const char *key;
} forms[] = {
    {{{'k', "template_score", ""}, {'f', "template_id", "42"}}, "template:score:42"},
    {{{'k', "template_score", ""}, {'f', "id", "42"}}, "template:score:42"},
    {{{'k', "template_match", ""}, {'f', "id", "42"}}, "template:match:42"},
    {{{'k', "template_semantic", ""}, {'f', "id", "42"}}, "template:semantic:42"},
    {{{'k', "template_render", ""}, {'f', "id", "42"}, {'t', "hello", ""}},
     "template:render:42:" HELLO},
    {{{'k', "ai_response", ""},
      {'f', "provider", "openai"},
      {'f', "model", "gpt-4o"},
      {'t', "hello", ""}},
     "ai:response:openai:gpt-4o:" HELLO},
    {{{'k', "analysis", ""}, {'f', "type", "tone"}, {'t', "hello", ""}}, "ai:analysis:tone:" HELLO},
    {{{'k', "embedding", ""}, {'f', "model", "small"}, {'t', "hello", ""}},
     "ai:embedding:small:" HELLO},
    {{{'k', "embedding", ""},
      {'f', "provider", "openai"},
      {'f', "model", "small"},
      {'t', "hello", ""}},
     "ai:embedding:openai:small:" HELLO},
    {{{'n', "shop", "2"},
      {'k', "embedding", ""},
      {'p', "embedding:{model}:{hash}", ""},
      {'f', "model", "small"},
      {'t', "hello", ""}},
     "shop:v2:embedding:small:" HELLO},
    {{{'k', "doc_parse", ""}, {'f', "format", "pdf"}, {'t', "hello", ""}}, "doc:parse:pdf:" HELLO},
    {{{'k', "doc_analysis", ""}, {'f', "document_id", "d7"}, {'f', "type", "tone"}},
     "doc:analysis:d7:tone"},
    {{{'k', "doc_extraction", ""}, {'f', "id", "d7"}}, "doc:extract:d7"},
    {{{'k', "doc_extraction", ""}, {'f', "id", "d7"}, {'f', "part", "features"}},
     "doc:extract:d7:features"},
    {{{'k', "doc_chunk", ""}, {'f', "id", "d7"}, {'f', "n", "12"}}, "doc:chunk:d7:12"},
    {{{'k', "doc_chunks", ""}, {'f', "id", "d7"}}, "doc:chunks:d7:meta"},
    {{{'k', "ocr_result", ""}, {'t', "hello", ""}}, "ocr:result:" HELLO},
    {{{'k', "ocr_result", ""}, {'f', "hash", "f00"}}, "ocr:result:f00"},
    {{{'k', "ocr_result", ""}, {'p', "ocr-cache/{hash}.json", ""}, {'f', "hash", "f00"}},
     "ocr-cache/f00.json"},
    {{{'k', "session_user", ""}, {'f', "user_id", "u1"}}, "session:user:u1"},
    {{{'k', "session_ws", ""}, {'f', "id", "c1"}}, "session:ws:c1"},
    {{{'k', "session_rate", ""}, {'f', "id", "u1"}}, "session:rate:u1"},
    {{{'n', "shop", ""}, {'k', "invoice", ""}, {'f', "id", "7"}}, "shop:v1:invoice:7"},
    {{{'n', "shop", "v3"}, {'k', "invoice", ""}, {'t', "hello", ""}}, "shop:v3:invoice:" HELLO},
    {{{'k', "semantic_cache", ""}, {'f', "id", "acme"}, {'s', "lock", ""}},
     "semantic_cache:acme:lock"},
    {{{'k', "template_score", ""}, {'f', "id", "42"}, {'s', "q", ""}}, "template:score:42:q"},
    {{{0, "", ""}}, "empty_key"},
    {{{'k', "invoice", ""}}, "invoice:empty_key"},
    {{{'k', "template_score", ""}, {'f', "id", ""}}, "template:score:empty_key"},
    {{{'n', "", ""}, {'k', "invoice", ""}, {'f', "id", "7"}}, "empty_key:v1:invoice:7"},
    {{{'k', "template_score", ""}, {'f', "id", "a:b{c}*?[d]\\ \n%/\xff"}},
     "template:score:a%3ab%7bc%7d%2a%3f%5bd%5d%5c%20%0a%25%2f%ff"},
    {{{'k', "template_score", ""}, {'f', "id", "caf\xc3\xa9"}}, "template:score:caf\xc3\xa9"},
};

static void every_documented_form_of_a_key_is_made(void **state)
{
    (void)state;
    char key[DJ_KEY_BYTES_MAX + 1];
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        assert_string_equal(make(forms[i].said, key), forms[i].key);
}

static const struct {
    struct said said[8];
    const char *why;
} wrong[] = {
    {{{'k', "template_score", ""}}, "! template_id is missing: the kind's pattern needs it"},
    {{{'k', "ocr_result", ""}}, "! hash is missing: give the hash, or a text to be hashed"},
    {{{'k', "template_score", ""}, {'p', "x:{y}", ""}, {'f', "id", "1"}},
     "! x:{y} is no pattern of that kind"},
    {{{'k', "invoice", ""}, {'p', "x:{y}", ""}}, "! pattern needs a kind that has patterns"},
    {{{'n', "shop", "two"}, {'k', "invoice", ""}}, "! version expects a number like 2 or v2"},
    {{{'i', "colour", "red"}}, "! colour is no input; there are operation and question"},
    {{{'i', "question", "a"}, {'i', "question", "b"}}, "! question was given twice"},
};

static void what_is_missing_or_too_much_is_told(void **state)
{
    (void)state;
    char key[DJ_KEY_BYTES_MAX + 1];
    char longer[DJ_KEY_FIELD_BYTES_MAX + 2];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_string_equal(make(wrong[i].said, key), wrong[i].why);
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    const struct said said[] = {{'k', "invoice", ""}, {'f', "id", longer}, {0, NULL, NULL}};
    assert_non_null(strstr(make(said, key), "give it as text, to be hashed"));
}

/* Two sets of inputs, and whether they are to give the same key. */
static const struct {
    struct said a[6], b[6];
    bool is_same;
} pairs[] = {
    {{{'o', "{\"a\":1,\"b\":2.0}", ""}}, {{'o', "{\"b\":2,\"a\":1e0}", ""}}, true},
    {{{'o', "{\"a\":1}", ""}}, {{'o', "{\"a\":\"1\"}", ""}}, false},
    {{{'k', "analysis", ""}, {'f', "type", "t"}, {'o', "{\"a\":1,\"requestId\":\"x\"}", ""}},
     {{'k', "analysis", ""}, {'f', "type", "t"}, {'o', "{\"timestamp\":9,\"a\":1}", ""}},
     true},
    {{{'k', "template_render", ""}, {'f', "id", "1"}, {'o', "{\"a\":1,\"requestId\":\"x\"}", ""}},
     {{'k', "template_render", ""}, {'f', "id", "1"}, {'o', "{\"a\":1}", ""}},
     false},
    {{{'k', "template_render", ""}, {'f', "id", "1"}, {'o', "{\"a\":1,\"userId\":\"x\"}", ""}},
     {{'k', "template_render", ""}, {'f', "id", "1"}, {'o', "{\"a\":1}", ""}},
     true},
    {{{'t', "ab", ""}, {'t', "c", ""}}, {{'t', "abc", ""}}, true},
    {{{'i', "operation", "ab"}, {'i', "question", "c"}},
     {{'i', "operation", "a"}, {'i', "question", "bc"}},
     false},
    {{{'i', "operation", "a"}}, {{'i', "question", "a"}}, false},
    {{{'i', "operation", "a"}, {'i', "question", "b"}},
     {{'i', "question", "b"}, {'i', "operation", "a"}},
     true},
    {{{'t', "x", ""}}, {{'t', "x", ""}, {'i', "operation", ""}}, false},
    {{{'q', "SELECT  *\n FROM users ;", NULL}}, {{'q', "SELECT * FROM users", NULL}}, true},
    {{{'q', "SELECT 'a  b'", NULL}}, {{'q', "SELECT 'a b'", NULL}}, false},
    {{{'q', "SELECT 1", "[1, 2.0]"}}, {{'q', "SELECT 1", "[1.0,2]"}}, true},
    {{{'q', "SELECT 1", "[1,2]"}}, {{'q', "SELECT 1", "[2,1]"}}, false},
    {{{'q', "SELECT 1", "[]"}}, {{'q', "SELECT 1", NULL}}, false},
};

static void inputs_that_mean_the_same_give_the_same_key_and_no_others(void **state)
{
    (void)state;
    char a[DJ_KEY_BYTES_MAX + 1], b[DJ_KEY_BYTES_MAX + 1];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        make(pairs[i].a, a);
        make(pairs[i].b, b);
        assert_int_not_equal(a[0], '!');
        if ((strcmp(a, b) == 0) != pairs[i].is_same)
            fail_msg("pair %zu: %s and %s", i, a, b);
    }
}

static void a_large_text_is_hashed_as_a_stream(void **state)
{
    (void)state;
    struct dj_key_maker *maker = NULL;
    struct dj_made_key made;
    char piece[1024];
    memset(piece, 'a', sizeof piece);
    assert_int_equal(dj_key_maker_create(kinds, &maker), DEJA_OK);
    dj_key_maker_kind(maker, T("ocr_result"));
    for (size_t i = 0; i < 1000000 / 1000; i++)
        dj_key_maker_text(maker, deja_slice(piece, 1000));
    assert_int_equal(dj_key_maker_finish(maker, &made, NULL), DEJA_OK);
    assert_true(made.is_streamed);
    assert_int_equal(made.hashed_bytes, 1000000);
    /* FIPS 180: a million times "a" */
    assert_true(deja_slice_is_equal(
        made.hash, T("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")));
    assert_true(deja_slice_is_equal(made.kind->name, T("ocr_result")));
    dj_key_maker_destroy(maker);
}

static const struct {
    const char *sql, *verb, *table;
} statements[] = {
    {"SELECT * FROM users WHERE id = 1", "select", "users"},
    {"  insert into Shop.Orders(a) values (1)", "insert", "shop.orders"},
    {"UPDATE \"Users\" SET a = 1", "update", "users"},
    {"DELETE FROM ONLY `logs`", "delete", "logs"},
    {"CREATE TABLE IF NOT EXISTS t(a int)", "create", "t"},
    {"SELECT 'from x' AS a FROM b", "select", "b"},
    {"WITH c AS (SELECT 1 FROM d) SELECT * FROM c", "with", "d"},
    {"SELECT 1", "select", "none"},
    {"", "none", "none"},
    {"'unfinished", "none", "none"},
    {"SELECT * FROM", "select", "none"},
};

static void a_statement_tells_its_verb_and_its_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        struct dj_buf verb = {0}, table = {0};
        dj_key_sql_about(T(statements[i].sql), &verb, &table);
        assert_true(deja_slice_is_equal(dj_buf_slice(&verb), T(statements[i].verb)));
        assert_true(deja_slice_is_equal(dj_buf_slice(&table), T(statements[i].table)));
        dj_buf_fini(&verb);
        dj_buf_fini(&table);
    }
}

static bool is_one_form(const char *a, const char *b)
{
    struct dj_buf first = {0}, second = {0};
    dj_key_sql_form(T(a), &first);
    dj_key_sql_form(T(b), &second);
    bool is_same = deja_slice_is_equal(dj_buf_slice(&first), dj_buf_slice(&second));
    dj_buf_fini(&first);
    dj_buf_fini(&second);
    return is_same;
}

static void statements_that_ask_something_else_have_another_form(void **state)
{
    (void)state;
    assert_true(is_one_form(" SELECT a\n FROM  t WHERE b = $1; ", "SELECT a FROM t WHERE b = $1"));
    assert_false(is_one_form("SELECT 'a  b'", "SELECT 'a b'"));
    assert_false(is_one_form("SELECT a -- x\n, b FROM t", "SELECT a -- x , b FROM t"));
    assert_false(is_one_form("SELECT a # x\n, b FROM t", "SELECT a # x , b FROM t"));
    assert_false(is_one_form("SELECT 'it\\'s  x'", "SELECT 'it\\'s x'"));
    assert_false(is_one_form("SELECT $$a  b$$", "SELECT $$a b$$"));
    assert_false(is_one_form("SELECT $q$a  b$q$", "SELECT $q$a b$q$"));
    assert_false(is_one_form("/* don't */ SELECT 'a  b'", "/* don't */ SELECT 'a b'"));
}

/* An event names what a key was made of: their tags meet. */
static void a_key_made_of_an_id_carries_the_tag_that_its_event_voids(void **state)
{
    (void)state;
    static const char *const ids[] = {"42", "a:b", "a b", "x%41", "caf\xc3\xa9", "\xff", "*"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char key[DJ_KEY_BYTES_MAX + 1];
        const struct said said[] = {
            {'k', "template_score", ""}, {'f', "id", ids[i]}, {0, NULL, NULL}};
        struct dj_kind_match match;
        struct deja_slice tags[DJ_KIND_TAGS_MAX];
        struct dj_buf bytes = {0};
        struct dj_kinds_voided voided = {.tag_count = 0};
        const struct dj_kind_field field = {T("template_id"), T(ids[i])};
        const struct dj_kind *kind = dj_kinds_match(kinds, T(make(said, key)), &match);
        assert_non_null(kind);
        assert_int_equal(dj_kind_tags(kind, match.fields, match.field_count, &bytes, tags), 2);
        assert_int_equal(dj_kinds_event(kinds, T("template:updated"), &field, 1, &voided), DEJA_OK);
        assert_true(deja_slice_is_equal(voided.tags[0], tags[1]));
        dj_kinds_voided_fini(&voided);
        dj_buf_fini(&bytes);
    }
}

static void key_maker_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_json_doc *doc = NULL;
    assert_int_equal(dj_json_parse(T("{\"a\":1}"), &doc, NULL), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_key_maker *maker = NULL;
        struct dj_made_key made;
        failing_malloc_arm(n);
        enum deja_status status = dj_key_maker_create(kinds, &maker);
        if (status == DEJA_OK) {
            dj_key_maker_kind(maker, T("query_result"));
            dj_key_maker_text(maker, T("hello"));
            dj_key_maker_sql(maker, T("SELECT 1 FROM t"), dj_json_root(doc));
            dj_key_maker_options(maker, dj_json_root(doc));
            status = dj_key_maker_finish(maker, &made, NULL);
        }
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status == DEJA_OK, !has_failed);
        dj_key_maker_destroy(maker);
        if (!has_failed)
            break;
    }
    dj_json_doc_destroy(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_documented_form_of_a_key_is_made),
        cmocka_unit_test(what_is_missing_or_too_much_is_told),
        cmocka_unit_test(inputs_that_mean_the_same_give_the_same_key_and_no_others),
        cmocka_unit_test(a_large_text_is_hashed_as_a_stream),
        cmocka_unit_test(a_statement_tells_its_verb_and_its_table),
        cmocka_unit_test(statements_that_ask_something_else_have_another_form),
        cmocka_unit_test(a_key_made_of_an_id_carries_the_tag_that_its_event_voids),
        cmocka_unit_test(key_maker_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
