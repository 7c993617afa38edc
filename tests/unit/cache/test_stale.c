/* tests/unit/cache/test_stale.c - answers past their end: who sees them, and who never does. */
#include "check.h"

#include "disk_fixture.h"

/* What came of a look-up with rules. */
struct asked {
    struct call call;
    bool is_stale;
    bool has_stale;
    char stale_level[16];
};

static void on_asked(void *ctx, const struct dj_lookup_result *result)
{
    struct asked *asked = ctx;
    asked->is_stale = result->is_stale;
    asked->has_stale = result->stale != NULL;
    snprintf(asked->stale_level, sizeof asked->stale_level, "%s",
             result->stale ? result->stale_level : "");
    on_lookup(&asked->call, result);
}

static void start_asking(void *ctx)
{
    struct asked *asked = ctx;
    struct call *call = &asked->call;
    assert_int_equal(dj_engine_lookup(call->fixture->engine, caller(call), call->fingerprint,
                                      &call->options, NULL, asked, on_asked),
                     DEJA_OK);
}

static struct asked ask(struct fixture *fixture, uint8_t number, struct dj_fresh_rules rules)
{
    struct dj_fingerprint fingerprint = question(tenant_a, number, STORED);
    struct asked asked = {.call = {.fixture = fixture,
                                   .fingerprint = &fingerprint,
                                   .options = {.is_exact = true, .fresh = rules}}};
    event_init(&asked.call.ended);
    on_loop(caller(&asked.call), start_asking, &asked);
    event_wait(&asked.call.ended);
    dj_value_unref(asked.call.value);
    return asked;
}

/* Ended a second ago, kept for a minute. */
static struct dj_entry expired(struct fixture *fixture, uint8_t number)
{
    struct dj_entry entry = entry_of(fixture, tenant_a, number, STORED);
    int64_t now_ms = dj_clock_now_ms();
    entry.created_ms = now_ms - 5000;
    entry.expires_ms = now_ms - 1000;
    entry.stale_until_ms = now_ms + 60000;
    return entry;
}

static const struct dj_fresh_rules none;
static const struct dj_fresh_rules serve = {.serve_stale_ms = 60000};
static const struct dj_fresh_rules on_error = {.error_stale_ms = 60000};

static void expired_answer_is_a_miss_without_rules(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry entry = expired(&fixture, 1);
    assert_true(put(&fixture, &entry));
    assert_false(is_found(&fixture, key_of(&entry), 0));
    struct asked asked = ask(&fixture, 1, none);
    assert_int_equal(asked.call.kind, DJ_HIT_NONE);
    assert_false(asked.has_stale);
    fixture_close(&fixture);
}

static void expired_answer_is_a_stale_hit_or_kept_for_an_error(void **state)
{
    (void)state;
    struct disk disk;
    disk_open(&disk);
    struct dj_entry entry = expired(&disk.fixture, 1);
    assert_true(put(&disk.fixture, &entry));
    for (int turn = 0; turn < 2; turn++) { /* out of memory first, then out of the embedded tier */
        const char *level = turn == 0 ? "memory" : "lmdb";
        struct asked asked = ask(&disk.fixture, 1, on_error);
        assert_int_equal(asked.call.kind, DJ_HIT_NONE);
        assert_true(asked.has_stale);
        assert_string_equal(asked.stale_level, level);
        asked = ask(&disk.fixture, 1, serve);
        assert_int_equal(asked.call.kind, DJ_HIT_EXACT);
        assert_true(asked.is_stale);
        assert_string_equal(asked.call.level, level);
        disk_restart(&disk);
    }
    disk_close(&disk);
}

static void removed_or_invalidated_answer_is_not_stale_but_gone(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry removed = expired(&fixture, 1);
    assert_true(put(&fixture, &removed));
    assert_int_equal(change(&fixture, &removed, NULL, start_remove), 1);
    struct dj_entry tagged = expired(&fixture, 2);
    tagged.tags[0].name = deja_slice_text("t");
    tagged.tag_count = 1;
    assert_true(put(&fixture, &tagged));
    change(&fixture, &tagged, "t", start_invalidate);
    for (uint8_t i = 1; i <= 2; i++) {
        assert_int_equal(ask(&fixture, i, serve).call.kind, DJ_HIT_NONE);
        assert_false(ask(&fixture, i, on_error).has_stale);
    }
    fixture_close(&fixture);
}

struct check {
    struct fixture *fixture;
    struct dj_value *value;
    bool may_serve;
};

static void ask_home(void *ctx)
{
    struct check *check = ctx;
    struct dj_store_key key = key_of(dj_value_entry(check->value));
    struct dj_engine *engine = check->fixture->engine;
    check->may_serve = dj_engine_may_serve(
        engine, dj_engine_loop(engine, dj_engine_home(engine, &key)), check->value);
}

static bool may_serve(struct fixture *fixture, struct dj_value *value)
{
    struct check check = {.fixture = fixture, .value = value};
    struct dj_store_key key = key_of(dj_value_entry(value));
    on_loop(dj_engine_loop(fixture->engine, dj_engine_home(fixture->engine, &key)), ask_home,
            &check);
    return check.may_serve;
}

static void held_answer_may_not_be_served_once_it_was_removed(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry entry = expired(&fixture, 1);
    struct dj_value *value = NULL;
    assert_true(put(&fixture, &entry));
    assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
    assert_true(may_serve(&fixture, value));
    change(&fixture, &entry, NULL, start_remove);
    assert_false(may_serve(&fixture, value));
    dj_value_unref(value);
    entry = expired(&fixture, 2);
    entry.stale_until_ms = entry.expires_ms + 1;
    assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
    assert_false(may_serve(&fixture, value));
    dj_value_unref(value);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expired_answer_is_a_miss_without_rules),
        cmocka_unit_test(expired_answer_is_a_stale_hit_or_kept_for_an_error),
        cmocka_unit_test(removed_or_invalidated_answer_is_not_stale_but_gone),
        cmocka_unit_test(held_answer_may_not_be_served_once_it_was_removed),
    };
    return RUN_TESTS(tests);
}
