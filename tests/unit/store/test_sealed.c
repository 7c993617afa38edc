/* tests/unit/store/test_sealed.c - a store that is sealed: what lies in it, and what comes back. */
#include "store/sealed.h"

#include <string.h>

#include "check.h"
#include "directory.h"
#include "entries.h"
#include "loop/pool.h"
#include "loops.h"
#include "memory_authority.h"
#include "store/key_internal.h"
#include "store/lmdb.h"
#include "store/sealed_form.h"

static const uint8_t master[32] = "a master key of thirty-two bytes";

struct fixture {
    struct loops loops;
    struct directory directory;
    struct dj_pool *pool;
    struct memory_authority authority;
    struct dj_keyring *keyring;
    struct dj_store *inner; /* the sealed one's */
    struct dj_store *store;
};

static void open_store(struct fixture *fixture, bool is_sealing)
{
    struct dj_lmdb_options options = {
        .pool = fixture->pool, .bytes_max = 64u << 20, .directory = fixture->directory.path};
    struct deja_error error;
    bool is_discarded;
    const struct dj_sealed_options sealing = {.keyring = is_sealing ? fixture->keyring : NULL,
                                              .pool = fixture->pool,
                                              .vectors = DJ_SEALED_VECTORS_SEALED};
    assert_int_equal(dj_lmdb_open(&options, &fixture->inner, &is_discarded, &error), DEJA_OK);
    assert_int_equal(dj_sealed_store_open(fixture->inner, &sealing, &fixture->store), DEJA_OK);
}

static void close_store(struct fixture *fixture)
{
    fixture->store->ops->close(fixture->store);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof fixture);
    loops_create(&fixture.loops, 2);
    directory_create(&fixture.directory);
    memory_authority_init(&fixture.authority);
    const struct dj_keyring_options keys = {
        .master = master, .authority = &fixture.authority.authority, .now_ms = dj_clock_now_ms};
    if (dj_pool_create("sealed", 2, 1000, &fixture.pool) != DEJA_OK ||
        dj_keyring_create(&keys, &fixture.keyring) != DEJA_OK)
        return 1;
    open_store(&fixture, true);
    loops_start(&fixture.loops);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    loops_stop(&fixture->loops);
    close_store(fixture);
    dj_pool_destroy(fixture->pool);
    dj_keyring_destroy(fixture->keyring);
    loops_destroy(&fixture->loops);
    directory_remove(&fixture->directory);
    return 0;
}

static struct dj_loop *loop_of(struct fixture *fixture)
{
    return fixture->loops.loop[0];
}

static void put(struct fixture *fixture, uint32_t tenant, uint32_t id, uint64_t version,
                const char *body)
{
    assert_int_equal(
        wait_put(fixture->store, loop_of(fixture), value_of(tenant, id, version, body)), DEJA_OK);
}

static bool has(struct fixture *fixture, uint32_t tenant, uint32_t id, const char *body)
{
    struct dj_value *value = wait_get(fixture->store, loop_of(fixture), key_of(tenant, id));
    bool is_it = value && deja_slice_is_equal(dj_value_entry(value)->body, deja_slice_text(body));
    dj_value_unref(value);
    return is_it;
}

static struct dj_value *kept(struct fixture *fixture, uint32_t tenant, uint32_t id)
{
    struct dj_value *value = wait_get(fixture->inner, loop_of(fixture), key_of(tenant, id));
    assert_non_null(value);
    return value;
}

static struct dj_sealed_report report_of(struct fixture *fixture)
{
    struct dj_sealed_report report;
    dj_sealed_store_report(fixture->store, &report);
    return report;
}

static void what_lies_there_tells_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct dj_entry entry = entry_of(1, 1, 7, "the answer");
    entry.query = deja_slice_text("the question");
    entry.model = deja_slice_text("the model");
    entry.metadata = deja_slice_text("{\"a\":1}");
    entry.input_tokens = 5;
    struct dj_value *value = NULL;
    assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
    assert_int_equal(wait_put(fixture->store, loop_of(fixture), value), DEJA_OK);
    struct dj_value *outside = kept(fixture, 1, 1);
    const struct dj_entry *seen = dj_value_entry(outside);
    assert_int_equal(seen->key_id, 1);
    assert_int_equal(seen->query.len + seen->model.len + seen->metadata.len + seen->embedder_id.len,
                     0);
    assert_int_equal(seen->input_tokens, 0);
    assert_int_equal(dj_keyring_id_of(seen->body), 1);
    dj_value_unref(outside);
    struct dj_value *back = wait_get(fixture->store, loop_of(fixture), key_of(1, 1));
    assert_non_null(back);
    assert_int_equal(dj_value_entry(back)->version, 7);
    assert_int_equal(dj_value_entry(back)->input_tokens, 5);
    assert_true(deja_slice_is_equal(dj_value_entry(back)->query, deja_slice_text("the question")));
    dj_value_unref(back);
}

/* Puts what lies there changed, as somebody who may write to the tier could. */
static void put_changed(struct fixture *fixture, const struct dj_entry *changed)
{
    struct dj_value *value = NULL;
    struct dj_store_key key = dj_store_key_of(changed);
    struct call removal = {.store = fixture->inner,
                           .loop = loop_of(fixture),
                           .kind = CALL_REMOVE,
                           .key = key,
                           .version_max = UINT64_MAX};
    call_wait(&removal);
    assert_int_equal(dj_value_create(changed, &value), DEJA_OK);
    assert_int_equal(wait_put(fixture->inner, loop_of(fixture), value), DEJA_OK);
}

static void every_flipped_byte_is_a_miss_and_is_removed(void **state)
{
    struct fixture *fixture = *state;
    put(fixture, 1, 1, 1, "the answer");
    struct dj_value *outside = kept(fixture, 1, 1);
    struct dj_entry changed = *dj_value_entry(outside);
    char body[1024];
    assert_true(changed.body.len <= sizeof body);
    uint64_t refused = 0;
    for (size_t i = 0; i < changed.body.len; i++) {
        memcpy(body, dj_value_entry(outside)->body.data, changed.body.len);
        body[i] = (char)(body[i] ^ 0x20);
        changed.body = deja_slice(body, changed.body.len);
        put_changed(fixture, &changed);
        assert_false(has(fixture, 1, 1, "the answer"));
        refused++;
        put(fixture, 1, 2, i + 1, "after the removal in the queue");
        struct dj_value *left = wait_get(fixture->inner, loop_of(fixture), key_of(1, 1));
        assert_null(left);
    }
    assert_int_equal(report_of(fixture).refused, refused);
    put_changed(fixture, dj_value_entry(outside));
    assert_true(has(fixture, 1, 1, "the answer"));
    dj_value_unref(outside);
}

static void a_record_in_anothers_place_is_a_miss(void **state)
{
    struct fixture *fixture = *state;
    put(fixture, 1, 1, 5, "of one");
    put(fixture, 1, 2, 5, "of two");
    put(fixture, 2, 1, 5, "of another tenant");
    struct dj_value *one = kept(fixture, 1, 1);
    struct dj_value *two = kept(fixture, 1, 2);
    struct dj_value *other = kept(fixture, 2, 1);
    struct dj_entry changed = *dj_value_entry(one);
    changed.body = dj_value_entry(two)->body; /* of another entry */
    put_changed(fixture, &changed);
    assert_false(has(fixture, 1, 1, "of two"));
    changed.body = dj_value_entry(other)->body; /* of another tenant */
    put_changed(fixture, &changed);
    assert_false(has(fixture, 1, 1, "of another tenant"));
    changed = *dj_value_entry(one);
    changed.version += 256; /* as if it were newer */
    put_changed(fixture, &changed);
    assert_false(has(fixture, 1, 1, "of one"));
    changed = *dj_value_entry(one);
    changed.scope[0] ^= 1; /* in another scope */
    put_changed(fixture, &changed);
    assert_false(has(fixture, 1, 1, "of one"));
    assert_int_equal(report_of(fixture).refused, 4);
    dj_value_unref(one);
    dj_value_unref(two);
    dj_value_unref(other);
}

static void without_a_key_it_is_a_miss_and_stays(void **state)
{
    struct fixture *fixture = *state;
    put(fixture, 1, 1, 1, "sealed");
    loops_stop(&fixture->loops);
    close_store(fixture);
    loops_destroy(&fixture->loops);
    loops_create(&fixture->loops, 2);
    open_store(fixture, false);
    loops_start(&fixture->loops);
    assert_false(has(fixture, 1, 1, "sealed"));
    assert_int_equal(report_of(fixture).unreadable, 1);
    put(fixture, 1, 2, 1, "in the open");
    assert_true(has(fixture, 1, 2, "in the open"));
    put(fixture, 1, 1, 2, "newer, in the open");
    assert_true(has(fixture, 1, 1, "newer, in the open"));
}

static void sealed_anew_it_is_the_same_answer_under_the_new_key(void **state)
{
    struct fixture *fixture = *state;
    struct dj_value *anew = NULL;
    const struct dj_store_key key = key_of(1, 1);
    put(fixture, 1, 1, 9, "the answer");
    struct dj_value *before = kept(fixture, 1, 1);
    assert_int_equal(dj_keyring_rotate(fixture->keyring, key.tenant, false), DEJA_OK);
    assert_int_equal(dj_seal_anew(fixture->keyring, dj_value_entry(before), &anew), DEJA_OK);
    assert_int_equal(dj_value_entry(anew)->key_id, 2);
    assert_int_equal(wait_put(fixture->inner, loop_of(fixture), anew), DEJA_OK);
    assert_true(has(fixture, 1, 1, "the answer"));
    assert_int_equal(dj_keyring_destroy_old(fixture->keyring, key.tenant, 2), DEJA_OK);
    assert_true(has(fixture, 1, 1, "the answer"));
    struct dj_value *back = wait_get(fixture->store, loop_of(fixture), key_of(1, 1));
    assert_int_equal(dj_value_entry(back)->version, 9);
    dj_value_unref(back);
    dj_value_unref(before);
}

static uint64_t remove_up_to(struct fixture *fixture, uint64_t version)
{
    struct call removal = {.store = fixture->store,
                           .loop = loop_of(fixture),
                           .kind = CALL_REMOVE,
                           .key = key_of(1, 1),
                           .version_max = version};
    call_wait(&removal);
    return removal.removed;
}

static void a_removal_up_to_its_version_meets_what_was_sealed_anew(void **state)
{
    struct fixture *fixture = *state;
    struct dj_value *anew = NULL;
    put(fixture, 1, 1, 9, "the answer");
    struct dj_value *before = kept(fixture, 1, 1);
    assert_int_equal(dj_seal_anew(fixture->keyring, dj_value_entry(before), &anew), DEJA_OK);
    assert_int_equal(wait_put(fixture->inner, loop_of(fixture), anew), DEJA_OK);
    assert_int_equal(remove_up_to(fixture, 8), 0);
    assert_int_equal(remove_up_to(fixture, 9), 1);
    dj_value_unref(before);
}

static void versions_outside_keep_the_order(void **state)
{
    (void)state;
    const uint64_t versions[] = {0, 1, 2, 1700000000000000u, (UINT64_C(1) << 55) - 1};
    for (size_t i = 1; i < sizeof versions / sizeof *versions; i++) {
        assert_true(dj_sealed_version(versions[i]) > dj_sealed_version_max(versions[i - 1]));
        assert_true(dj_sealed_version_max(versions[i]) <= INT64_MAX);
    }
    assert_true(dj_sealed_version_max(UINT64_MAX) == UINT64_MAX);
}

static void form_survives_each_failed_allocation(void **state)
{
    struct fixture *fixture = *state;
    struct dj_entry entry = entry_of(1, 1, 7, "the answer");
    const float vector[4] = {1, 2, 3, 4};
    entry.embedder_id = deja_slice_text("e");
    assert_int_equal(dj_keyring_fetch(fixture->keyring, entry.tenant), DEJA_OK);
    for (size_t n = 1;; n++) {
        const struct dj_seal seal = {
            .keyring = fixture->keyring, .entry = &entry, .vector = vector, .dim = 4};
        struct dj_value *sealed = NULL;
        struct dj_value *anew = NULL;
        struct dj_value *opened = NULL;
        failing_malloc_arm(n);
        bool is_ok =
            dj_seal_entry(&seal, &sealed) == DEJA_OK &&
            dj_seal_anew(fixture->keyring, dj_value_entry(sealed), &anew) == DEJA_OK &&
            dj_unseal_entry(fixture->keyring, NULL, dj_value_entry(anew), &opened) == DEJA_OK;
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(is_ok, !has_failed);
        dj_value_unref(sealed);
        dj_value_unref(anew);
        dj_value_unref(opened);
        if (!has_failed)
            break;
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_lies_there_tells_nothing),
        TEST(every_flipped_byte_is_a_miss_and_is_removed),
        TEST(a_record_in_anothers_place_is_a_miss),
        TEST(without_a_key_it_is_a_miss_and_stays),
        TEST(sealed_anew_it_is_the_same_answer_under_the_new_key),
        TEST(a_removal_up_to_its_version_meets_what_was_sealed_anew),
        cmocka_unit_test(versions_outside_keep_the_order),
        TEST(form_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
