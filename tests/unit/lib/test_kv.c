#include "library.h"

#include "failing_malloc.h"
#include "store/directory.h"

static uint64_t set(struct deja *deja, const char *key, const char *body)
{
    struct deja_kv kv = kv_of(key, body);
    uint64_t count = 7;
    assert_int_equal(deja_kv_set(deja, &kv, &count), DEJA_OK);
    return count;
}

/* body NULL: a miss. */
static void expect(struct deja *deja, const char *key, const char *body)
{
    struct deja_kv kv = kv_of(key, "");
    struct deja_answer *answer = NULL;
    assert_int_equal(deja_kv_get(deja, &kv, &answer), DEJA_OK);
    assert_int_equal(deja_answer_outcome(answer), body ? DEJA_HIT_EXACT : DEJA_MISS);
    assert_slice(deja_answer_body(answer), body ? body : "");
    deja_answer_release(answer);
}

static void key_is_set_got_and_deleted(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_kv kv = kv_of("a", "");
    uint64_t count = 7;
    expect(deja, "a", NULL);
    assert_int_equal(set(deja, "a", "1"), 1);
    expect(deja, "a", "1");
    assert_int_equal(deja_kv_exists(deja, &kv, &count), DEJA_OK);
    assert_int_equal(count, 1);
    assert_int_equal(deja_kv_delete(deja, &kv, &count), DEJA_OK);
    assert_int_equal(count, 1);
    assert_int_equal(deja_kv_delete(deja, &kv, &count), DEJA_OK);
    assert_int_equal(count, 0);
    expect(deja, "a", NULL);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void keys_outlive_the_program(void **state)
{
    (void)state;
    struct directory directory;
    struct deja_options options;
    struct deja *deja = NULL;
    static const char bytes[] = "\xff\0\r\n";
    directory_create(&directory);
    deja_options_init(&options);
    options.data_dir = directory.path;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    struct deja_kv kv = kv_of("", "");
    kv.key = deja_slice(bytes, sizeof bytes);
    kv.body = kv.key;
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_OK);
    assert_int_equal(deja_close(deja), DEJA_OK);
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    struct deja_answer *answer = NULL;
    assert_int_equal(deja_kv_get(deja, &kv, &answer), DEJA_OK);
    assert_string_equal(deja_answer_reason(answer), "lmdb");
    assert_int_equal(deja_answer_body(answer).len, sizeof bytes);
    deja_answer_release(answer);
    assert_int_equal(deja_close(deja), DEJA_OK);
    directory_remove(&directory);
}

static void condition_that_does_not_hold_changes_nothing(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_answer *answer = NULL;
    struct deja_kv kv = kv_of("a", "2");
    uint64_t count = 7;
    set(deja, "a", "1");
    kv.condition = DEJA_IF_ABSENT;
    assert_int_equal(deja_kv_set(deja, &kv, &count), DEJA_OK);
    assert_int_equal(count, 0);
    assert_int_equal(deja_kv_get(deja, &kv, &answer), DEJA_OK);
    kv.condition = DEJA_IF_VERSION;
    kv.version = deja_answer_version(answer);
    deja_answer_release(answer);
    assert_int_equal(deja_kv_set(deja, &kv, &count), DEJA_OK);
    assert_int_equal(count, 1);
    assert_int_equal(deja_kv_set(deja, &kv, &count), DEJA_OK); /* of the old version */
    assert_int_equal(count, 0);
    expect(deja, "a", "2");
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void life_is_told_and_changed(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_kv kv = kv_of("a", "1");
    uint64_t ttl_ms = 7;
    assert_int_equal(deja_kv_ttl(deja, &kv, &ttl_ms), DEJA_OK);
    assert_int_equal(ttl_ms, 0);
    set(deja, "a", "1");
    assert_int_equal(deja_kv_ttl(deja, &kv, &ttl_ms), DEJA_OK);
    assert_true(ttl_ms > 0 && ttl_ms <= 3600000);
    kv.ttl_ms = DEJA_TTL_NEVER;
    assert_int_equal(deja_kv_expire(deja, &kv, NULL), DEJA_OK);
    assert_int_equal(deja_kv_ttl(deja, &kv, &ttl_ms), DEJA_OK);
    assert_true(ttl_ms == DEJA_TTL_NEVER);
    expect(deja, "a", "1");
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void increments_and_merges_keep_what_else_is_said(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_kv kv = kv_of("n", "");
    int64_t number = 0;
    uint64_t count = 7;
    assert_int_equal(deja_kv_increment(deja, &kv, -3, &number), DEJA_OK);
    assert_int_equal(number, -3);
    assert_int_equal(deja_kv_increment(deja, &kv, 5, NULL), DEJA_OK);
    expect(deja, "n", "2");
    assert_int_equal(deja_kv_increment(deja, &kv, INT64_MAX, NULL), DEJA_ERR_LIMIT);
    set(deja, "j", "{\"a\":1,\"b\":2}");
    assert_int_equal(
        deja_kv_increment(deja,
                          &(struct deja_kv){.struct_bytes = sizeof kv, .key = deja_slice_text("j")},
                          1, NULL),
        DEJA_ERR_INVALID);
    kv = kv_of("j", "{\"b\":null,\"c\":3}");
    assert_int_equal(deja_kv_merge(deja, &kv, &count), DEJA_OK);
    assert_int_equal(count, 1);
    expect(deja, "j", "{\"a\":1,\"c\":3}");
    kv = kv_of("none", "{}");
    assert_int_equal(deja_kv_merge(deja, &kv, &count), DEJA_OK);
    assert_int_equal(count, 0);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static enum deja_status make(void *ctx, struct deja_made *made)
{
    int *runs = ctx;
    (*runs)++;
    deja_made_append(made, deja_slice_text("made"));
    return DEJA_OK;
}

static void missing_key_is_computed_once(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_kv kv = kv_of("a", "");
    int runs = 0;
    for (int i = 0; i < 3; i++) {
        struct deja_answer *answer = NULL;
        assert_int_equal(deja_kv_get_or_compute(deja, &kv, &runs, make, &answer), DEJA_OK);
        assert_int_equal(deja_answer_outcome(answer), i ? DEJA_HIT_EXACT : DEJA_COMPUTED);
        assert_slice(deja_answer_body(answer), "made");
        deja_answer_release(answer);
    }
    assert_int_equal(runs, 1);
    expect(deja, "a", "made");
    assert_int_equal(deja_close(deja), DEJA_OK);
}

/* What a computation makes void while it runs. */
struct voiding {
    struct deja *deja;
    enum { BY_PATTERN, BY_KEY, BY_TAG, BY_CLEAR, BY_PUT, VOIDINGS } how;
};

static enum deja_status make_void(void *ctx, struct deja_made *made)
{
    const struct voiding *voiding = ctx;
    struct deja *deja = voiding->deja;
    struct deja_kv kv = kv_of(voiding->how == BY_PATTERN ? "a*" : "a1", "");
    struct deja_kv newer = kv_of("a1", "newer");
    enum deja_status status = DEJA_OK;
    switch (voiding->how) {
    case BY_PATTERN:
        status = deja_kv_invalidate(deja, &kv, NULL);
        break;
    case BY_KEY:
        status = deja_kv_delete(deja, &kv, NULL);
        break;
    case BY_TAG:
        status = deja_invalidate(deja, NULL, deja_slice_text("tag"), NO_LIMIT_MS, NULL);
        break;
    case BY_CLEAR:
        status = deja_kv_clear(deja, &kv, NULL);
        break;
    default:
        status = deja_kv_set(deja, &newer, NULL);
    }
    assert_int_equal(status, DEJA_OK);
    deja_made_append(made, deja_slice_text("old"));
    return DEJA_OK;
}

static void computation_does_not_bring_back_what_it_made_void(void **state)
{
    (void)state;
    static const struct deja_slice tags[] = {{"tag", 3}};
    for (int how = 0; how < VOIDINGS; how++) {
        struct deja *deja = open_memory();
        struct voiding voiding = {.deja = deja, .how = how};
        struct deja_kv kv = kv_of("a1", "");
        struct deja_answer *answer = NULL;
        kv.tags = tags;
        kv.tag_count = 1;
        assert_int_equal(deja_kv_get_or_compute(deja, &kv, &voiding, make_void, &answer), DEJA_OK);
        assert_slice(deja_answer_body(answer), "old");
        deja_answer_release(answer);
        assert_int_equal(deja_kv_get(deja, &kv, &answer), DEJA_OK);
        assert_int_equal(deja_answer_outcome(answer), how == BY_PUT ? DEJA_HIT_EXACT : DEJA_MISS);
        deja_answer_release(answer);
        if (how == BY_PUT)
            expect(deja, "a1", "newer");
        assert_int_equal(deja_close(deja), DEJA_OK);
    }
}

static void many_keys_come_in_their_order(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_kv items[2] = {kv_of("a", "1"), kv_of("b", "2")};
    const struct deja_slice keys[] = {deja_slice_text("b"), deja_slice_text("x"),
                                      deja_slice_text("a")};
    struct deja_answer *answers[3] = {NULL, NULL, NULL};
    uint64_t count = 0;
    assert_int_equal(deja_kv_mset(deja, items, 2, &count), DEJA_OK);
    assert_int_equal(count, 2);
    assert_int_equal(deja_kv_mget(deja, &items[0], keys, 3, answers), DEJA_OK);
    assert_slice(deja_answer_body(answers[0]), "2");
    assert_int_equal(deja_answer_outcome(answers[1]), DEJA_MISS);
    assert_slice(deja_answer_body(answers[2]), "1");
    for (size_t i = 0; i < 3; i++)
        deja_answer_release(answers[i]);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

struct names {
    uint64_t cursor;
    size_t count;
};

static void on_keys(void *ctx, enum deja_status status, uint64_t cursor,
                    const struct deja_slice *keys, size_t count)
{
    struct names *names = ctx;
    assert_int_equal(status, DEJA_OK);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(keys[i].data[0], 'k');
    names->cursor = cursor;
    names->count += count;
}

static void keys_are_listed_and_removed_by_pattern(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_kv kv = kv_of("k*", "");
    struct deja_kv_stats stats;
    struct names names = {.cursor = 0};
    uint64_t count = 0;
    char key[8];
    for (int i = 0; i < 30; i++) {
        snprintf(key, sizeof key, "k%d", i);
        set(deja, key, "v");
    }
    set(deja, "other", "v");
    do {
        assert_int_equal(deja_kv_keys(deja, &kv, names.cursor, 10, &names, on_keys), DEJA_OK);
    } while (names.cursor);
    assert_int_equal(names.count, 30);
    deja_kv_stats_init(&stats);
    assert_int_equal(deja_kv_stats(deja, &kv, &stats), DEJA_OK);
    assert_int_equal(stats.keys, 31);
    assert_int_equal(stats.sets, 31);
    assert_int_equal(deja_kv_invalidate(deja, &kv, &count), DEJA_OK);
    assert_int_equal(count, 30);
    expect(deja, "other", "v");
    assert_int_equal(deja_kv_clear(deja, &kv, &count), DEJA_OK);
    assert_int_equal(count, 1);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

/* ---- events ---- */

struct heard {
    int count[DEJA_EVENT_KIND_COUNT];
    char tier[16];
    uint64_t ttl_ms;
    char text[64];
};

static enum deja_status on_event(void *ctx, const struct deja_event *event)
{
    struct heard *heard = ctx;
    heard->count[event->kind]++;
    heard->ttl_ms = event->ttl_ms;
    snprintf(heard->tier, sizeof heard->tier, "%s", event->tier);
    snprintf(heard->text, sizeof heard->text, "%.*s", (int)event->text.len, event->text.data);
    return DEJA_ERR_IO; /* it fails, and breaks nothing */
}

static void handlers_are_told_and_break_nothing(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct heard heard = {.ttl_ms = 0};
    struct deja_kv kv = kv_of("a", "1");
    struct deja_kv_stats stats;
    for (int kind = 0; kind < DEJA_EVENT_KIND_COUNT; kind++)
        assert_int_equal(deja_on(deja, (enum deja_event_kind)kind, "test", &heard, on_event),
                         DEJA_OK);
    expect(deja, "a", NULL);
    assert_int_equal(heard.count[DEJA_ON_GET_MISS], 1);
    kv.ttl_ms = 5000;
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_OK);
    assert_int_equal(heard.count[DEJA_ON_SET_SUCCESS], 1);
    assert_true(heard.ttl_ms > 0 && heard.ttl_ms <= 5000);
    expect(deja, "a", "1");
    assert_int_equal(heard.count[DEJA_ON_GET_SUCCESS], 1);
    assert_string_equal(heard.tier, "memory");
    assert_string_equal(heard.text, "a");
    assert_int_equal(deja_kv_delete(deja, &kv, NULL), DEJA_OK);
    assert_int_equal(heard.count[DEJA_ON_DELETE_SUCCESS], 1);
    put(deja, STORED, "\"x\""); /* entries found by meaning tell it too */
    assert_int_equal(heard.count[DEJA_ON_SET_SUCCESS], 2);
    assert_int_equal(lookup_text(deja, STORED), DEJA_HIT_EXACT);
    assert_int_equal(heard.count[DEJA_ON_GET_SUCCESS], 2);
    deja_kv_stats_init(&stats);
    assert_int_equal(deja_kv_stats(deja, &kv, &stats), DEJA_OK);
    assert_int_equal(stats.events_failed, 6);
    assert_int_equal(deja_off(deja, DEJA_ON_SET_SUCCESS, "test"), DEJA_OK);
    assert_int_equal(deja_off(deja, DEJA_ON_SET_SUCCESS, "test"), DEJA_ERR_NOT_FOUND);
    set(deja, "b", "1");
    assert_int_equal(heard.count[DEJA_ON_SET_SUCCESS], 2);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void call_has_a_callback_of_its_own(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct heard heard = {.ttl_ms = 0};
    struct deja_kv kv = kv_of("a", "1");
    kv.on_event = on_event;
    kv.event_ctx = &heard;
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_OK);
    set(deja, "b", "1");
    assert_int_equal(heard.count[DEJA_ON_SET_SUCCESS], 1);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void eviction_is_told(void **state)
{
    (void)state;
    struct deja_options options;
    struct deja *deja = NULL;
    struct heard heard = {.ttl_ms = 0};
    char key[8];
    deja_options_init(&options);
    options.memory_entries_max = 10;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    assert_int_equal(deja_on(deja, DEJA_ON_EVICTION, "test", &heard, on_event), DEJA_OK);
    for (int i = 0; i < 30; i++) {
        snprintf(key, sizeof key, "k%d", i);
        set(deja, key, "v");
    }
    assert_true(heard.count[DEJA_ON_EVICTION] >= 20);
    assert_string_equal(heard.tier, "memory");
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void handlers_are_bounded_and_named(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct heard heard = {.ttl_ms = 0};
    char name[80] = "";
    for (int i = 0; i < DEJA_HANDLERS_MAX; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(deja_on(deja, DEJA_ON_GET_MISS, name, &heard, on_event), DEJA_OK);
    }
    assert_int_equal(deja_on(deja, DEJA_ON_GET_MISS, "0", &heard, on_event), DEJA_OK);
    assert_int_equal(deja_on(deja, DEJA_ON_GET_MISS, "one more", &heard, on_event), DEJA_ERR_LIMIT);
    memset(name, 'n', sizeof name - 1);
    assert_int_equal(deja_on(deja, DEJA_ON_GET_MISS, name, &heard, on_event), DEJA_ERR_INVALID);
    assert_int_equal(deja_on(deja, DEJA_ON_GET_MISS, "", &heard, on_event), DEJA_ERR_INVALID);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void what_cannot_be_a_key_is_refused(void **state)
{
    (void)state;
    static char text[DEJA_KEY_BYTES_MAX + 1];
    struct deja *deja = open_memory();
    struct deja_kv kv = kv_of("", "1");
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_ERR_INVALID);
    kv.key = deja_slice(text, sizeof text);
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_ERR_INVALID);
    struct deja_kv raw = {.struct_bytes = 0};
    assert_int_equal(deja_kv_set(deja, &raw, NULL), DEJA_ERR_INVALID);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

/* ---- sensitive data ---- */

#define CARD "4111 1111 1111 1111"

static struct deja *open_strict(enum deja_sensitive secret, enum deja_sensitive card)
{
    struct deja_options options;
    struct deja *deja = NULL;
    deja_options_init(&options);
    options.sensitive_secret = secret;
    options.sensitive_card = card;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    return deja;
}

static enum deja_status compute_card(void *ctx, struct deja_made *made)
{
    (void)ctx;
    deja_made_append(made, deja_slice_text("pay with " CARD));
    return DEJA_OK;
}

static void what_options_refuse_is_not_stored(void **state)
{
    (void)state;
    static const struct deja_slice card = {CARD, sizeof CARD - 1};
    struct deja *deja = open_strict(DEJA_SENSITIVE_DEFAULT, DEJA_SENSITIVE_REFUSE);
    struct deja_kv kv = kv_of("k", CARD);
    struct deja_entry entry = entry_of("a question", CARD);
    uint64_t count = 7;
    assert_int_equal(deja_kv_set(deja, &kv, &count), DEJA_ERR_DENIED);
    assert_int_equal(deja_kv_mset(deja, &kv, 1, &count), DEJA_ERR_DENIED);
    assert_int_equal(deja_put(deja, &entry, &count), DEJA_ERR_DENIED);
    assert_int_equal(count, 7);
    kv = kv_of(CARD, "1");
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_ERR_DENIED);
    assert_int_equal(deja_kv_increment(deja, &kv, 1, NULL), DEJA_ERR_DENIED);
    kv = kv_of("k", "1");
    kv.tags = &card;
    kv.tag_count = 1;
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_ERR_DENIED);
    kv = kv_of("k", "{\"a\":1}");
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_OK);
    kv = kv_of("k", "{\"b\":\"" CARD "\"}");
    assert_int_equal(deja_kv_merge(deja, &kv, NULL), DEJA_ERR_DENIED);
    expect(deja, "k", "{\"a\":1}");
    kv = kv_of("n", "");
    assert_int_equal(deja_kv_increment(deja, &kv, 4111111111111111, NULL), DEJA_OK);
    expect(deja, "n", "4111111111111111");
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void computed_is_told_as_it_came_and_stored_as_options_want(void **state)
{
    (void)state;
    static const struct {
        enum deja_sensitive card;
        const char *body; /* stored; NULL: not at all */
    } cases[] = {
        {DEJA_SENSITIVE_REFUSE, NULL},
        {DEJA_SENSITIVE_REDACT, "pay with [REDACTED]"},
        {DEJA_SENSITIVE_DEFAULT, "pay with " CARD},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct deja *deja = open_strict(DEJA_SENSITIVE_DEFAULT, cases[i].card);
        struct deja_kv kv = kv_of("k", "");
        struct deja_answer *answer = NULL;
        assert_int_equal(deja_kv_get_or_compute(deja, &kv, NULL, compute_card, &answer), DEJA_OK);
        assert_slice(deja_answer_body(answer), "pay with " CARD);
        deja_answer_release(answer);
        expect(deja, "k", cases[i].body);
        assert_int_equal(deja_close(deja), DEJA_OK);
    }
}

static void redacted_value_is_what_is_found(void **state)
{
    (void)state;
    struct deja *deja = open_strict(DEJA_SENSITIVE_REDACT, DEJA_SENSITIVE_DEFAULT);
    struct deja_kv kv = kv_of("k", "{\"a\":1}");
    struct deja_answer *answer = NULL;
    set(deja, "text", "my password is hunter2-Tr0ub4dor");
    expect(deja, "text", "my password is [REDACTED]");
    kv.metadata = deja_slice_text("{\"by\":\"me\"}");
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_OK);
    kv = kv_of("k", "{\"password\":\"letmein\"}");
    assert_int_equal(deja_kv_merge(deja, &kv, NULL), DEJA_OK);
    assert_int_equal(deja_kv_get(deja, &kv, &answer), DEJA_OK);
    assert_slice(deja_answer_body(answer), "{\"a\":1,\"password\":\"[REDACTED]\"}");
    assert_slice(deja_answer_metadata(answer), "{\"redacted\":true,\"by\":\"me\"}");
    deja_answer_release(answer);
    struct deja_entry entry = entry_of("is hunter2 a good password=hunter2-Tr0ub4dor", "yes");
    assert_int_equal(deja_put(deja, &entry, NULL), DEJA_OK);
    struct deja_query query = query_of("is hunter2 a good password=hunter2-Tr0ub4dor");
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_OK);
    assert_int_equal(deja_answer_outcome(answer), DEJA_HIT_EXACT);
    assert_slice(deja_answer_text(answer), "is hunter2 a good password=[REDACTED]");
    deja_answer_release(answer);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void rule_that_is_none_is_refused(void **state)
{
    (void)state;
    struct deja_options options;
    struct deja_error error;
    struct deja *deja = NULL;
    deja_options_init(&options);
    options.sensitive_contact = (enum deja_sensitive)9;
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_ERR_CONFIG);
    assert_non_null(strstr(error.message, "sensitive"));
}

static void calls_survive_each_failed_allocation(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_slice tag = deja_slice_text("t");
    for (size_t n = 1;; n++) {
        struct deja_kv kv = kv_of("a", "1");
        struct deja_answer *answer = NULL;
        kv.tags = &tag;
        kv.tag_count = 1;
        failing_malloc_arm(n);
        enum deja_status status = deja_kv_set(deja, &kv, NULL);
        if (status == DEJA_OK)
            status = deja_kv_get(deja, &kv, &answer);
        bool has_failed = failing_malloc_disarm();
        deja_answer_release(answer);
        if (!has_failed) {
            assert_int_equal(status, DEJA_OK);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
    }
    assert_int_equal(deja_close(deja), DEJA_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_is_set_got_and_deleted),
        cmocka_unit_test(keys_outlive_the_program),
        cmocka_unit_test(condition_that_does_not_hold_changes_nothing),
        cmocka_unit_test(life_is_told_and_changed),
        cmocka_unit_test(increments_and_merges_keep_what_else_is_said),
        cmocka_unit_test(missing_key_is_computed_once),
        cmocka_unit_test(computation_does_not_bring_back_what_it_made_void),
        cmocka_unit_test(many_keys_come_in_their_order),
        cmocka_unit_test(keys_are_listed_and_removed_by_pattern),
        cmocka_unit_test(handlers_are_told_and_break_nothing),
        cmocka_unit_test(call_has_a_callback_of_its_own),
        cmocka_unit_test(eviction_is_told),
        cmocka_unit_test(handlers_are_bounded_and_named),
        cmocka_unit_test(what_cannot_be_a_key_is_refused),
        cmocka_unit_test(what_options_refuse_is_not_stored),
        cmocka_unit_test(computed_is_told_as_it_came_and_stored_as_options_want),
        cmocka_unit_test(redacted_value_is_what_is_found),
        cmocka_unit_test(rule_that_is_none_is_refused),
        cmocka_unit_test(calls_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
