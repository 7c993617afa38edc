#include "check.h"

#include "cache/semantic.h"
#include "engine_fixture.h"

#define OTHER_NUMBER "Which of the 12 planets of the old list is the largest one?"
#define NUMBER "Which of the 13 planets of the old list is the largest one?"

static void what_was_put_is_found_by_its_tenant_alone(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    for (uint8_t i = 1; i <= 9; i++) { /* keys of every home loop */
        struct dj_entry entry = entry_of(&fixture, tenant_a, i, "");
        assert_true(put(&fixture, &entry));
        struct dj_store_key key = key_of(&entry);
        assert_true(is_found(&fixture, key, 0));
        memcpy(key.tenant, tenant_b, sizeof key.tenant);
        assert_false(is_found(&fixture, key, 0));
    }
    fixture_close(&fixture);
}

static void lookup_tells_exact_from_normalized(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry entry = entry_of(&fixture, tenant_a, 1, STORED);
    assert_true(put(&fixture, &entry));
    struct dj_fingerprint asked = question(tenant_a, 1, STORED);
    expect_lookup(&fixture, &asked, DJ_HIT_EXACT, NULL);
    asked.exact[0]++;
    expect_lookup(&fixture, &asked, DJ_HIT_NORMALIZED, NULL);
    fixture_close(&fixture);
}

static void reworded_question_is_found_by_meaning(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry entry = entry_of(&fixture, tenant_a, 1, STORED);
    assert_true(put(&fixture, &entry));
    struct dj_fingerprint asked = question(tenant_a, 2, REWORDED);
    expect_lookup(&fixture, &asked, DJ_HIT_SEMANTIC, "served");
    struct dj_fingerprint far = question(tenant_a, 3, "Name a good film about the sea");
    expect_lookup(&fixture, &far, DJ_HIT_NONE, "below-threshold");
    fixture_close(&fixture);
}

static void guard_refuses_another_number(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry entry = entry_of(&fixture, tenant_a, 1, NUMBER);
    assert_true(put(&fixture, &entry));
    struct dj_fingerprint asked = question(tenant_a, 2, OTHER_NUMBER);
    expect_lookup(&fixture, &asked, DJ_HIT_NONE, "guard:numbers");
    fixture_close(&fixture);
}

static void meaning_stays_within_tenant_and_scope(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry entry = entry_of(&fixture, tenant_a, 1, STORED);
    assert_true(put(&fixture, &entry));
    struct dj_fingerprint foreign = question(tenant_b, 1, STORED);
    expect_lookup(&fixture, &foreign, DJ_HIT_NONE, "scope-empty");
    struct dj_fingerprint elsewhere = question(tenant_a, 2, STORED);
    elsewhere.scope[0]++;
    expect_lookup(&fixture, &elsewhere, DJ_HIT_NONE, "scope-empty");
    fixture_close(&fixture);
}

static void scope_of_zeros_is_never_searched(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry entry = entry_of(&fixture, tenant_a, 1, STORED);
    memset(entry.scope, 0, sizeof entry.scope);
    assert_true(put(&fixture, &entry));
    struct dj_fingerprint asked = question(tenant_a, 2, REWORDED);
    memset(asked.scope, 0, sizeof asked.scope);
    expect_lookup(&fixture, &asked, DJ_HIT_NONE, NULL);
    fixture_close(&fixture);
}

static void delete_beats_a_fill_that_began_before_it(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry entry = entry_of(&fixture, tenant_a, 1, STORED);
    assert_int_equal(change(&fixture, &entry, NULL, start_remove), 0);
    assert_false(put(&fixture, &entry));
    assert_false(is_found(&fixture, key_of(&entry), 0));

    entry = entry_of(&fixture, tenant_a, 1, STORED);
    assert_true(put(&fixture, &entry));
    assert_int_equal(change(&fixture, &entry, NULL, start_remove), 1);
    assert_false(is_found(&fixture, key_of(&entry), 0));
    struct dj_fingerprint asked = question(tenant_a, 2, REWORDED);
    expect_lookup(&fixture, &asked, DJ_HIT_NONE, NULL);
    fixture_close(&fixture);
}

static void invalidated_tag_takes_its_entries_and_running_fills(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_fill fill;
    fixture_open(&fixture);
    struct dj_entry tagged = entry_of(&fixture, tenant_a, 1, STORED);
    struct dj_entry plain = entry_of(&fixture, tenant_a, 2, "");
    tagged.tags[tagged.tag_count++].name = deja_slice_text("news");
    dj_engine_begin_fill(fixture.engine, &tagged, &fill);
    assert_true(put(&fixture, &tagged));
    assert_true(put(&fixture, &plain));
    change(&fixture, &tagged, "news", start_invalidate);
    assert_false(is_found(&fixture, key_of(&tagged), 0));
    assert_true(is_found(&fixture, key_of(&plain), 0));
    struct dj_fingerprint asked = question(tenant_a, 3, REWORDED);
    expect_lookup(&fixture, &asked, DJ_HIT_NONE, NULL);
    tagged.version++;
    assert_false(put(&fixture, &tagged)); /* began before */
    dj_engine_begin_fill(fixture.engine, &tagged, &fill);
    assert_true(put(&fixture, &tagged));
    assert_true(is_found(&fixture, key_of(&tagged), 0));
    fixture_close(&fixture);
}

static void clear_empties_one_tenant(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry mine = entry_of(&fixture, tenant_a, 1, STORED);
    struct dj_entry running = entry_of(&fixture, tenant_a, 2, "");
    struct dj_entry theirs = entry_of(&fixture, tenant_b, 1, STORED);
    assert_true(put(&fixture, &mine));
    assert_true(put(&fixture, &theirs));
    assert_int_equal(change(&fixture, &mine, NULL, start_clear), 1);
    assert_false(is_found(&fixture, key_of(&mine), 0));
    assert_true(is_found(&fixture, key_of(&theirs), 0));
    assert_false(put(&fixture, &running)); /* began before */
    struct dj_fingerprint asked = question(tenant_a, 3, REWORDED);
    expect_lookup(&fixture, &asked, DJ_HIT_NONE, "scope-empty");
    memcpy(asked.key.tenant, tenant_b, sizeof asked.key.tenant);
    expect_lookup(&fixture, &asked, DJ_HIT_SEMANTIC, NULL);
    fixture_close(&fixture);
}

static void expired_entry_is_not_served(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry entry = entry_of(&fixture, tenant_a, 1, "");
    entry.expires_ms = entry.created_ms - 1;
    entry.stale_until_ms = entry.created_ms + 3600000; /* kept, for revalidation only */
    (void)put(&fixture, &entry);
    assert_false(is_found(&fixture, key_of(&entry), 0));
    entry = entry_of(&fixture, tenant_a, 2, "");
    entry.expires_ms = entry.created_ms + 3600000;
    assert_true(put(&fixture, &entry));
    assert_true(is_found(&fixture, key_of(&entry), 0));
    fixture_close(&fixture);
}

static void caller_may_refuse_what_is_too_old_for_him(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry entry = entry_of(&fixture, tenant_a, 1, "");
    entry.created_ms -= 3600000;
    assert_true(put(&fixture, &entry));
    assert_true(is_found(&fixture, key_of(&entry), 0));
    assert_true(is_found(&fixture, key_of(&entry), 7200000));
    assert_false(is_found(&fixture, key_of(&entry), 1800000));
    fixture_close(&fixture);
}

static void later_turns_are_indexed_once_their_scope_is_asked_again(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_fingerprint asked = question(tenant_a, 1, STORED);
    assert_true(dj_engine_is_worth_indexing(fixture.engine, &asked));
    asked.has_history = true;
    assert_false(dj_engine_is_worth_indexing(fixture.engine, &asked));
    assert_true(dj_engine_is_worth_indexing(fixture.engine, &asked));
    asked.is_semantic = false;
    assert_false(dj_engine_is_worth_indexing(fixture.engine, &asked));
    fixture_close(&fixture);
}

static void engine_create_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture = {0};
    loops_start(&fixture.loops);
    assert_int_equal(dj_pool_create("test", 1, 10, &fixture.pool), DEJA_OK);
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = try_create(&fixture);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(fixture.engine);
    }
    fixture_close(&fixture);
}

static void semantic_create_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_embedder *embedder = NULL;
    assert_int_equal(dj_lexical_create(&embedder), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_semantic *semantic = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_semantic_create(NULL, embedder, 10, &semantic);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            dj_semantic_destroy(semantic);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(semantic);
    }
    dj_semantic_destroy(NULL);
    dj_embedder_destroy(embedder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found_by_its_tenant_alone),
        cmocka_unit_test(lookup_tells_exact_from_normalized),
        cmocka_unit_test(reworded_question_is_found_by_meaning),
        cmocka_unit_test(guard_refuses_another_number),
        cmocka_unit_test(meaning_stays_within_tenant_and_scope),
        cmocka_unit_test(scope_of_zeros_is_never_searched),
        cmocka_unit_test(delete_beats_a_fill_that_began_before_it),
        cmocka_unit_test(invalidated_tag_takes_its_entries_and_running_fills),
        cmocka_unit_test(clear_empties_one_tenant),
        cmocka_unit_test(expired_entry_is_not_served),
        cmocka_unit_test(caller_may_refuse_what_is_too_old_for_him),
        cmocka_unit_test(later_turns_are_indexed_once_their_scope_is_asked_again),
        cmocka_unit_test(engine_create_survives_each_failed_allocation),
        cmocka_unit_test(semantic_create_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
