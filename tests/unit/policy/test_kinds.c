/* tests/unit/policy/test_kinds.c - the shipped table, what an operator lays over it, keys, events.
 */
#include "policy/kinds.h"

#include <stdio.h>

#include "check.h"

#include "failing_malloc.h"

#define T(text) deja_slice_text(text)
#define MINUTE UINT64_C(60000)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static struct dj_kinds *shipped(void)
{
    struct dj_kinds *kinds = NULL;
    assert_int_equal(dj_kinds_create(NULL, 0, NULL, NULL, &kinds), DEJA_OK);
    return kinds;
}

struct faults {
    char text[2048];
    size_t count;
    size_t indexes[32];
};

static void on_fault(void *ctx, size_t index, const char *why)
{
    struct faults *faults = ctx;
    assert_in_range(faults->count, 0, 31);
    faults->indexes[faults->count++] = index;
    strncat(faults->text, why, sizeof faults->text - strlen(faults->text) - 1);
    strncat(faults->text, "\n", sizeof faults->text - strlen(faults->text) - 1);
}

static struct dj_kinds *with(const struct dj_kind_setting *settings, size_t count)
{
    struct dj_kinds *kinds = NULL;
    struct faults faults = {.count = 0};
    enum deja_status status = dj_kinds_create(settings, count, &faults, on_fault, &kinds);
    if (status != DEJA_OK)
        print_error("%s", faults.text);
    assert_int_equal(status, DEJA_OK);
    return kinds;
}

static void assert_text(struct deja_slice slice, const char *text)
{
    char bytes[512] = "";
    assert_in_range(slice.len, 0, sizeof bytes - 1);
    memcpy(bytes, slice.data ? slice.data : "", slice.len);
    assert_string_equal(bytes, text);
}

/* ---- keys ---- */

static const struct {
    const char *key;
    const char *kind; /* NULL: of none */
    const char *fields;
    const char *rest;
} keys[] = {
    {"template:score:42", "template_score", "template_id=42", ""},
    {"template:score:42:abc", "template_score", "template_id=42", "abc"},
    {"template:match:42", "template_match", "template_id=42", ""},
    {"template:semantic:42", "template_semantic", "template_id=42", ""},
    {"template:render:42:f00", "template_render", "template_id=42 hash=f00", ""},
    {"template:render:42", NULL, "", ""},
    {"template:score:", NULL, "", ""},
    {"template:score", NULL, "", ""},
    {"template:scores:42", NULL, "", ""},
    {"Template:score:42", NULL, "", ""},
    {"ai:response:openai:gpt-4o:f00", "ai_response", "provider=openai model=gpt-4o hash=f00", ""},
    {"ai:embedding:openai:small:f00", "embedding", "provider=openai model=small hash=f00", ""},
    {"ai:embedding:small:f00", "embedding", "model=small hash=f00", ""},
    {"embedding:small:f00", "embedding", "model=small hash=f00", ""},
    {"ai:analysis:sentiment:f00", "analysis", "type=sentiment hash=f00", ""},
    {"doc:parse:pdf:f00", "doc_parse", "format=pdf hash=f00", ""},
    {"doc:analysis:d7:summary", "doc_analysis", "document_id=d7 type=summary", ""},
    {"doc:extract:d7", "doc_extraction", "document_id=d7", ""},
    {"doc:extract:d7:features", "doc_extraction", "document_id=d7 part=features", ""},
    {"doc:chunk:d7:12", "doc_chunk", "document_id=d7 n=12", ""},
    {"doc:chunks:d7:meta", "doc_chunks", "document_id=d7", ""},
    {"doc:chunks:d7:other", NULL, "", ""},
    {"ocr:result:f00", "ocr_result", "hash=f00", ""},
    {"ocr-cache/f00.json", "ocr_result", "hash=f00", ""},
    {"ocr-cache/f00.jso", NULL, "", ""},
    {"ocr-cache/.json", NULL, "", ""},
    {"session:user:u1", "session_user", "user_id=u1", ""},
    {"session:user:u1:cart", "session_user", "user_id=u1", "cart"},
    {"session:ws:c1", "session_ws", "connection_id=c1", ""},
    {"session:rate:u1", "session_rate", "user_id=u1", ""},
    {"query:select:users:f00", "query_result", "verb=select table=users hash=f00", ""},
    {"", NULL, "", ""},
    {":", NULL, "", ""},
    {"user:1", NULL, "", ""},
};

static void assert_match(const struct dj_kinds *kinds, size_t row, const char *prefix)
{
    char key[256];
    struct dj_kind_match match = {.kind = NULL};
    struct dj_buf fields = {0};
    snprintf(key, sizeof key, "%s%s", prefix, keys[row].key);
    const struct dj_kind *kind = dj_kinds_match(kinds, T(key), &match);
    if (!keys[row].kind) {
        assert_null(kind);
        return;
    }
    if (!kind)
        fail_msg("%s is of no kind", key);
    assert_text(kind->name, keys[row].kind);
    for (size_t i = 0; i < match.field_count; i++)
        dj_buf_append_format(&fields, "%s%.*s=%.*s", i ? " " : "", (int)match.fields[i].name.len,
                             match.fields[i].name.data, (int)match.fields[i].value.len,
                             match.fields[i].value.data);
    assert_text(dj_buf_slice(&fields), keys[row].fields);
    assert_text(match.rest, keys[row].rest);
    assert_text(match.name_space, *prefix ? "shop" : "");
    assert_text(match.version, *prefix ? "v12" : "");
    dj_buf_fini(&fields);
}

static void a_key_belongs_to_the_kind_whose_pattern_it_begins_with(void **state)
{
    (void)state;
    struct dj_kinds *kinds = shipped();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_match(kinds, i, "");
    dj_kinds_destroy(kinds);
}

static void a_namespace_and_a_version_before_the_pattern_change_nothing(void **state)
{
    (void)state;
    struct dj_kinds *kinds = shipped();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_match(kinds, i, "shop:v12:");
    assert_null(dj_kinds_match(kinds, T("shop:v:template:score:42"), NULL));
    assert_null(dj_kinds_match(kinds, T("shop:x1:template:score:42"), NULL));
    assert_null(dj_kinds_match(kinds, T(":v1:template:score:42"), NULL));
    assert_null(dj_kinds_match(kinds, T("shop:v1"), NULL));
    dj_kinds_destroy(kinds);
}

static void without_a_table_a_key_is_of_no_kind(void **state)
{
    (void)state;
    assert_null(dj_kinds_match(NULL, T("template:score:42"), NULL));
}

/* ---- lives ---- */

static void a_copy_stays_as_long_as_its_level_says_and_longer_only_where_the_entry_was_given_more(
    void **state)
{
    (void)state;
    struct dj_kinds *kinds = shipped();
    const struct dj_kind *score = dj_kinds_find(kinds, T("template_score"));
    const struct dj_kind *ocr = dj_kinds_find(kinds, T("ocr_result"));
    struct deja_slice key = T("template:score:42");
    assert_int_equal(dj_kind_ttl_ms(score, key), 6 * HOUR);
    assert_int_equal(dj_kind_stay_ms(score, DJ_KIND_L1, key, 6 * HOUR), 15 * MINUTE);
    assert_int_equal(dj_kind_stay_ms(score, DJ_KIND_L2, key, 6 * HOUR), 6 * HOUR);
    assert_int_equal(dj_kind_stay_ms(score, DJ_KIND_L1, key, 2 * DAY), 15 * MINUTE);
    assert_true(dj_kind_stay_ms(score, DJ_KIND_L2, key, 2 * DAY) == UINT64_MAX);
    assert_true(dj_kind_stay_ms(score, DJ_KIND_L2, key, 0) == UINT64_MAX);
    assert_int_equal(dj_kind_ttl_ms(ocr, T("ocr:result:f")), 365 * DAY);
    assert_int_equal(dj_kind_stay_ms(ocr, DJ_KIND_L2, T("ocr:result:f"), 365 * DAY), 7 * DAY);
    assert_int_equal(dj_kind_stay_ms(ocr, DJ_KIND_S3, T("ocr:result:f"), 365 * DAY), 365 * DAY);
    assert_false(dj_kind_is_kept(ocr, DJ_KIND_POSTGRES));
    assert_true(dj_kind_is_kept(ocr, DJ_KIND_S3));
    dj_kinds_destroy(kinds);
}

static void the_first_rule_that_fits_a_key_says_how_long_it_lives(void **state)
{
    (void)state;
    const struct dj_kind_setting settings[] = {
        {T("embedding"), T("ttl_for"),
         T("ai:embedding:*:text-embedding-3-* 30d\nai:embedding:* 2d"), true},
        {T("query_result"), T("ttl_for"), T("query:select:countries:* 7d"), true}};
    struct dj_kinds *kinds = with(settings, 2);
    const struct dj_kind *kind = dj_kinds_find(kinds, T("embedding"));
    struct deja_slice large = T("ai:embedding:openai:text-embedding-3-large:f");
    assert_int_equal(dj_kind_ttl_ms(kind, large), 30 * DAY);
    assert_true(dj_kind_stay_ms(kind, DJ_KIND_L2, large, 30 * DAY) == UINT64_MAX);
    assert_int_equal(dj_kind_ttl_ms(kind, T("ai:embedding:other:f")), 2 * DAY);
    assert_int_equal(dj_kind_ttl_ms(kind, T("embedding:other:f")), DAY);
    kind = dj_kinds_find(kinds, T("query_result"));
    assert_int_equal(dj_kind_ttl_ms(kind, T("query:select:countries:f")), 7 * DAY);
    assert_int_equal(dj_kind_ttl_ms(kind, T("query:select:users:f")), 15 * MINUTE);
    dj_kinds_destroy(kinds);
}

static void a_sliding_life_is_written_anew_when_a_tenth_has_passed(void **state)
{
    (void)state;
    struct dj_kinds *kinds = shipped();
    const struct dj_kind *session = dj_kinds_find(kinds, T("session_user"));
    const struct dj_kind *score = dj_kinds_find(kinds, T("template_score"));
    assert_false(dj_kind_is_slide_due(session, 1000, 2000, 1099));
    assert_true(dj_kind_is_slide_due(session, 1000, 2000, 1100));
    assert_true(dj_kind_is_slide_due(session, 1000, 2000, 1999));
    assert_false(dj_kind_is_slide_due(session, 1000, 2000, 2000));
    assert_false(dj_kind_is_slide_due(session, 1000, 0, 5000));
    assert_false(dj_kind_is_slide_due(score, 1000, 2000, 1500));
    dj_kinds_destroy(kinds);
}

/* ---- tags and events ---- */

static void assert_tags(const struct dj_kinds *kinds, const char *key, const char *expected)
{
    struct dj_kind_match match;
    struct deja_slice tags[DJ_KIND_TAGS_MAX];
    struct dj_buf bytes = {0}, joined = {0};
    const struct dj_kind *kind = dj_kinds_match(kinds, T(key), &match);
    assert_non_null(kind);
    size_t count = dj_kind_tags(kind, match.fields, match.field_count, &bytes, tags);
    for (size_t i = 0; i < count; i++)
        dj_buf_append_format(&joined, "%s%.*s", i ? " " : "", (int)tags[i].len, tags[i].data);
    assert_text(dj_buf_slice(&joined), expected);
    dj_buf_fini(&bytes);
    dj_buf_fini(&joined);
}

static void an_entry_carries_its_kind_and_what_its_key_names(void **state)
{
    (void)state;
    struct dj_kinds *kinds = shipped();
    assert_tags(kinds, "template:score:42", "kind:template_score template:42");
    assert_tags(kinds, "doc:parse:pdf:f00", "kind:doc_parse");
    assert_tags(kinds, "ai:response:openai:gpt-4o:f00",
                "kind:ai_response provider:openai model:gpt-4o model:openai:gpt-4o");
    assert_tags(kinds, "embedding:small:f00", "kind:embedding model:small");
    assert_tags(kinds, "template:score:a\nb\xff", "kind:template_score template:a%0ab%ff");
    assert_tags(kinds, "template:score:caf\xc3\xa9", "kind:template_score template:caf\xc3\xa9");
    dj_kinds_destroy(kinds);
}

static void a_long_value_shares_the_tag_of_those_that_begin_alike(void **state)
{
    (void)state;
    struct dj_kinds *kinds = shipped();
    char key[512] = "template:score:";
    struct dj_kind_match match;
    struct deja_slice tags[DJ_KIND_TAGS_MAX];
    struct dj_buf bytes = {0};
    struct dj_kinds_voided voided = {.tag_count = 0};
    for (size_t i = strlen(key); i < 300; i += 2)
        memcpy(key + i, "\xc3\xa9", 3);
    const struct dj_kind *kind = dj_kinds_match(kinds, T(key), &match);
    assert_non_null(kind);
    assert_int_equal(dj_kind_tags(kind, match.fields, match.field_count, &bytes, tags), 2);
    assert_in_range(tags[1].len, DJ_KIND_TAG_BYTES - 1, DJ_KIND_TAG_BYTES);
    struct dj_kind_field id = {T("template_id"), T(key + strlen("template:score:"))};
    assert_int_equal(dj_kinds_event(kinds, T("template:updated"), &id, 1, &voided), DEJA_OK);
    assert_int_equal(voided.tag_count, 1);
    assert_true(deja_slice_is_equal(voided.tags[0], tags[1]));
    dj_kinds_voided_fini(&voided);
    dj_buf_fini(&bytes);
    dj_kinds_destroy(kinds);
}

struct event_case {
    const char *event;
    struct dj_kind_field fields[3];
    size_t count;
    const char *tags;
    const char *models; /* NULL: not by model; "PROVIDER/MODEL" */
};

static void assert_event(const struct dj_kinds *kinds, const struct event_case *c)
{
    struct dj_kinds_voided voided = {.tag_count = 0};
    struct dj_buf joined = {0};
    assert_int_equal(dj_kinds_event(kinds, T(c->event), c->fields, c->count, &voided), DEJA_OK);
    for (size_t i = 0; i < voided.tag_count; i++)
        dj_buf_append_format(&joined, "%s%.*s", i ? " " : "", (int)voided.tags[i].len,
                             voided.tags[i].data);
    assert_text(dj_buf_slice(&joined), c->tags);
    dj_buf_clear(&joined);
    dj_buf_append_slice(&joined, voided.provider);
    dj_buf_append_byte(&joined, '/');
    dj_buf_append_slice(&joined, voided.model);
    assert_true(voided.is_by_model == (c->models != NULL));
    if (c->models)
        assert_text(dj_buf_slice(&joined), c->models);
    dj_buf_fini(&joined);
    dj_kinds_voided_fini(&voided);
}

static void an_event_voids_what_it_names_and_without_an_id_the_whole_family(void **state)
{
    (void)state;
    static const struct event_case cases[] = {
        {"template:updated", {{{"template_id", 11}, {"42", 2}}}, 1, "template:42", NULL},
        {"template:updated",
         {{{NULL, 0}, {NULL, 0}}},
         0,
         "kind:template_score kind:template_match kind:template_semantic kind:template_render "
         "kind:template_embedding",
         NULL},
        {"template:updated",
         {{{"template_id", 11}, {"", 0}}},
         1,
         "kind:template_score kind:template_match kind:template_semantic kind:template_render "
         "kind:template_embedding",
         NULL},
        {"template:updated", {{{"colour", 6}, {"red", 3}}}, 1, "", NULL},
        {"document:processed", {{{"document_id", 11}, {"d7", 2}}}, 1, "document:d7", NULL},
        {"model:updated", {{{"provider", 8}, {"openai", 6}}}, 1, "provider:openai", "openai/"},
        {"model:updated",
         {{{"provider", 8}, {"openai", 6}}, {{"model", 5}, {"gpt-4o", 6}}},
         2,
         "model:openai:gpt-4o",
         "openai/gpt-4o"},
        {"model:updated", {{{"model", 5}, {"gpt-4o", 6}}}, 1, "model:gpt-4o", "/gpt-4o"},
        {"model:updated",
         {{{NULL, 0}, {NULL, 0}}},
         0,
         "kind:ai_response kind:analysis kind:embedding",
         "/"},
        {"session:ended", {{{"user_id", 7}, {"u1", 2}}}, 1, "user:u1", NULL},
        {"table:updated", {{{"table", 5}, {"users", 5}}}, 1, "table:users", NULL},
        {"image:processed", {{{"hash", 4}, {"f00", 3}}}, 1, "image:f00", NULL},
    };
    struct dj_kinds *kinds = shipped();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_event(kinds, &cases[i]);
    struct dj_kinds_voided voided = {.tag_count = 0};
    assert_int_equal(dj_kinds_event(kinds, T("template:gone"), NULL, 0, &voided),
                     DEJA_ERR_NOT_FOUND);
    struct dj_buf names = {0};
    dj_kinds_event_names(kinds, &names);
    assert_text(dj_buf_slice(&names), "template:updated, document:processed, image:processed, "
                                      "model:updated, session:ended, table:updated");
    dj_buf_fini(&names);
    dj_kinds_destroy(kinds);
}

/* Whatever its pattern: an event that carries the fields of a key voids a tag of its entry. */
static void each_shipped_kind_is_voided_by_its_event(void **state)
{
    (void)state;
    struct dj_kinds *kinds = shipped();
    for (size_t i = 0; i < dj_kinds_count(kinds); i++) {
        const struct dj_kind *kind = dj_kinds_at(kinds, i);
        assert_in_range(kind->events.count, 1, DJ_KIND_LIST_MAX);
        assert_in_range(kind->patterns.count, 1, DJ_KIND_LIST_MAX);
        struct dj_kinds_voided voided = {.tag_count = 0};
        assert_int_equal(dj_kinds_event(kinds, kind->events.items[0], NULL, 0, &voided), DEJA_OK);
        bool is_met = false;
        struct dj_buf tag = {0};
        dj_buf_append_text(&tag, "kind:");
        dj_buf_append_slice(&tag, kind->name);
        for (size_t k = 0; k < voided.tag_count; k++)
            is_met = is_met || deja_slice_is_equal(voided.tags[k], dj_buf_slice(&tag));
        assert_true(is_met);
        dj_buf_fini(&tag);
        dj_kinds_voided_fini(&voided);
    }
    dj_kinds_destroy(kinds);
}

/* ---- the operator's own ---- */

static void an_operator_changes_a_kind_and_adds_one(void **state)
{
    (void)state;
    const struct dj_kind_setting settings[] = {
        {T("template_score"), T("ttl"), T("1h"), false},
        {T("template_score"), T("l1"), T("30s"), false},
        {T("template_score"), T("l2"), T("off"), false},
        {T("invoice"), T("pattern"), T("invoice:{invoice_id}"), false},
        {T("invoice"), T("ttl"), T("2d"), false},
        {T("invoice"), T("l3"), T("90d"), false},
        {T("invoice"), T("tags"), T("invoice:{invoice_id}\nbooks"), true},
        {T("invoice"), T("events"), T("invoice:paid"), false},
        {T("invoice"), T("sliding"), T("true"), false},
        {T("special"), T("pattern"), T("template:score:special"), false},
    };
    struct dj_kinds *kinds = with(settings, sizeof settings / sizeof *settings);
    const struct dj_kind *score = dj_kinds_find(kinds, T("template_score"));
    const struct dj_kind *invoice = dj_kinds_match(kinds, T("invoice:7"), NULL);
    assert_int_equal(score->ttl_ms, HOUR);
    assert_int_equal(score->level_ms[DJ_KIND_L1], 30000);
    assert_false(dj_kind_is_kept(score, DJ_KIND_L2));
    assert_true(score->is_shipped);
    assert_non_null(invoice);
    assert_text(invoice->name, "invoice");
    assert_false(invoice->is_shipped);
    assert_int_equal(invoice->level_ms[DJ_KIND_POSTGRES], 90 * DAY);
    assert_int_equal(invoice->level_ms[DJ_KIND_S3], 90 * DAY);
    assert_true(invoice->is_sliding);
    assert_tags(kinds, "invoice:7", "kind:invoice invoice:7 books");
    assert_text(dj_kinds_match(kinds, T("template:score:special"), NULL)->name, "special");
    assert_text(dj_kinds_match(kinds, T("template:score:other"), NULL)->name, "template_score");
    dj_kinds_destroy(kinds);
}

static void every_fault_of_the_settings_is_told_with_its_cure(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *member, *value;
        const char *why;
    } wrong[] = {
        {"template_score", "tll", "1h", "is unknown: did you mean ttl?"},
        {"template_score", "colour", "1h", "is unknown; a kind has pattern, ttl, l1"},
        {"template_score", "ttl", "soon", "expects a time like 30s, 15m, 6h or 7d"},
        {"template_score", "ttl", "0", "expects a time like"},
        {"template_score", "l1", "4000d", "up to 3650d"},
        {"template_score", "sliding", "yes", "expects true or false"},
        {"template_score", "threshold", "2", "expects a similarity from 0 to 1"},
        {"template_score", "limit", "0", "expects a number from 1 to 100"},
        {"own", "pattern", "{id}:x", "must begin with text"},
        {"own", "pattern", "x:{id", "has braces that do not go together"},
        {"own", "pattern", "x:}id{", "has braces that do not go together"},
        {"own", "pattern", "x:{i d}", "whose name is not of a-z"},
        {"own", "pattern", "x:{a}{b}", "has two fields with nothing between them"},
        {"own", "tags", "x:{a", "has braces that do not go together"},
        {"own", "ttl_for", "30d", "expects a pattern of keys and a time"},
        {"own", "ttl_for", "x:* often", "expects a time like"},
        {"Own", "ttl", "1h", "a kind's name is 1 to 64 of a-z, 0-9 and _"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const struct dj_kind_setting settings[] = {
            {T("embedding"), T("ttl"), T("1h"), false},
            {T(wrong[i].kind), T(wrong[i].member), T(wrong[i].value), false}};
        struct faults faults = {.count = 0};
        struct dj_kinds *kinds = NULL;
        assert_int_equal(dj_kinds_create(settings, 2, &faults, on_fault, &kinds), DEJA_ERR_CONFIG);
        assert_null(kinds);
        assert_int_equal(faults.indexes[0], 1);
        if (!strstr(faults.text, wrong[i].why))
            fail_msg("%s.%s: %s", wrong[i].kind, wrong[i].member, faults.text);
    }
}

static void a_kind_that_would_keep_nothing_is_refused(void **state)
{
    (void)state;
    struct dj_kind_setting settings[DJ_KIND_LEVEL_COUNT + 1];
    struct faults faults = {.count = 0};
    struct dj_kinds *kinds = NULL;
    for (size_t i = 0; i < DJ_KIND_LEVEL_COUNT; i++)
        settings[i] = (struct dj_kind_setting){
            T("own"), T(dj_kind_level_text((enum dj_kind_level)i)), T("off"), false};
    settings[DJ_KIND_LEVEL_COUNT] =
        (struct dj_kind_setting){T("other"), T("sliding"), T("true"), false};
    assert_int_equal(dj_kinds_create(settings, DJ_KIND_LEVEL_COUNT + 1, &faults, on_fault, &kinds),
                     DEJA_ERR_CONFIG);
    assert_int_equal(faults.count, 2);
    assert_non_null(strstr(faults.text, "every level is off"));
    assert_non_null(strstr(faults.text, "sliding needs a ttl"));
}

static void a_table_has_room_for_so_many_kinds_and_no_more(void **state)
{
    (void)state;
    static char names[DJ_KINDS_MAX][24];
    struct dj_kind_setting settings[DJ_KINDS_MAX];
    struct faults faults = {.count = 0};
    struct dj_kinds *kinds = shipped();
    size_t room = DJ_KINDS_MAX - dj_kinds_count(kinds);
    dj_kinds_destroy(kinds);
    kinds = NULL;
    for (size_t i = 0; i < room + 1; i++) {
        snprintf(names[i], sizeof names[i], "k%zu", i);
        settings[i] = (struct dj_kind_setting){T(names[i]), T("ttl"), T("1h"), false};
    }
    assert_int_equal(dj_kinds_create(settings, room + 1, &faults, on_fault, &kinds),
                     DEJA_ERR_CONFIG);
    assert_non_null(strstr(faults.text, "is one kind too many"));
    dj_kinds_destroy(with(settings, room));
}

static void kinds_survives_each_failed_allocation(void **state)
{
    (void)state;
    const struct dj_kind_setting settings[] = {
        {T("invoice"), T("pattern"), T("invoice:{invoice_id}"), false},
        {T("invoice"), T("tags"), T("invoice:{invoice_id}\nbooks"), true}};
    for (size_t n = 1;; n++) {
        struct dj_kinds *kinds = NULL;
        struct faults faults = {.count = 0};
        failing_malloc_arm(n);
        enum deja_status status = dj_kinds_create(settings, 2, &faults, on_fault, &kinds);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(faults.count, 0);
        dj_kinds_destroy(kinds);
        if (!has_failed)
            break;
    }
}

static void an_event_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_kinds *kinds = shipped();
    for (size_t n = 1;; n++) {
        struct dj_kinds_voided voided = {.tag_count = 0};
        failing_malloc_arm(n);
        enum deja_status status = dj_kinds_event(kinds, T("template:updated"), NULL, 0, &voided);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_kinds_voided_fini(&voided);
        if (!has_failed)
            break;
    }
    dj_kinds_destroy(kinds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_belongs_to_the_kind_whose_pattern_it_begins_with),
        cmocka_unit_test(a_namespace_and_a_version_before_the_pattern_change_nothing),
        cmocka_unit_test(without_a_table_a_key_is_of_no_kind),
        cmocka_unit_test(
            a_copy_stays_as_long_as_its_level_says_and_longer_only_where_the_entry_was_given_more),
        cmocka_unit_test(the_first_rule_that_fits_a_key_says_how_long_it_lives),
        cmocka_unit_test(a_sliding_life_is_written_anew_when_a_tenth_has_passed),
        cmocka_unit_test(an_entry_carries_its_kind_and_what_its_key_names),
        cmocka_unit_test(a_long_value_shares_the_tag_of_those_that_begin_alike),
        cmocka_unit_test(an_event_voids_what_it_names_and_without_an_id_the_whole_family),
        cmocka_unit_test(each_shipped_kind_is_voided_by_its_event),
        cmocka_unit_test(an_operator_changes_a_kind_and_adds_one),
        cmocka_unit_test(every_fault_of_the_settings_is_told_with_its_cure),
        cmocka_unit_test(a_kind_that_would_keep_nothing_is_refused),
        cmocka_unit_test(a_table_has_room_for_so_many_kinds_and_no_more),
        cmocka_unit_test(kinds_survives_each_failed_allocation),
        cmocka_unit_test(an_event_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
