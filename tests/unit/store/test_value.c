#include "check.h"

#include "entries.h"

static struct dj_entry full_entry(void)
{
    struct dj_entry entry = entry_of(1, 2, 3, "the body");
    entry.query = deja_slice_text("the query");
    entry.name_space = deja_slice_text("space");
    entry.model = deja_slice_text("model");
    entry.provider = deja_slice_text("provider");
    entry.embedder_id = deja_slice_text("embedder");
    entry.metadata = deja_slice_text("{}");
    entry.cost_usd = 0.25;
    entry.tag_count = 2;
    entry.tags[0] = (struct dj_entry_tag){deja_slice_text("one"), 7};
    entry.tags[1] = (struct dj_entry_tag){deja_slice_text("two"), 8};
    return entry;
}

static void value_owns_copies_of_everything(void **state)
{
    (void)state;
    char body[] = "the body";
    struct dj_entry entry = full_entry();
    entry.body = deja_slice_text(body);
    struct dj_value *value;
    assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
    memset(body, 'x', sizeof body - 1);
    const struct dj_entry *kept = dj_value_entry(value);
    assert_true(deja_slice_is_equal(kept->body, deja_slice_text("the body")));
    assert_true(deja_slice_is_equal(kept->query, deja_slice_text("the query")));
    assert_true(deja_slice_is_equal(kept->name_space, deja_slice_text("space")));
    assert_true(deja_slice_is_equal(kept->model, deja_slice_text("model")));
    assert_true(deja_slice_is_equal(kept->provider, deja_slice_text("provider")));
    assert_true(deja_slice_is_equal(kept->embedder_id, deja_slice_text("embedder")));
    assert_true(deja_slice_is_equal(kept->metadata, deja_slice_text("{}")));
    assert_int_equal(kept->tag_count, 2);
    assert_true(deja_slice_is_equal(kept->tags[1].name, deja_slice_text("two")));
    assert_int_equal(kept->tags[1].generation, 8);
    assert_true(kept->cost_usd > 0.2 && kept->version == 3);
    dj_value_unref(value);
}

static void body_is_aligned_for_floats(void **state)
{
    (void)state;
    for (uint32_t tags = 0; tags < 4; tags++) {
        struct dj_entry entry = full_entry();
        entry.tag_count = tags;
        entry.tags[2] = entry.tags[3] = entry.tags[0];
        struct dj_value *value;
        assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
        assert_int_equal((uintptr_t)dj_value_entry(value)->body.data % 16, 0);
        dj_value_unref(value);
    }
}

static void entry_may_be_copied_whole_and_costs_no_unused_tags(void **state)
{
    (void)state;
    struct dj_entry entry = entry_of(1, 2, 3, "");
    struct dj_value *small;
    assert_int_equal(dj_value_create(&entry, &small), DEJA_OK);
    struct dj_entry copied = *dj_value_entry(small);
    assert_int_equal(copied.version, 3);
    char body[4096];
    memset(body, 'b', sizeof body);
    entry.body = deja_slice(body, sizeof body);
    struct dj_value *big;
    assert_int_equal(dj_value_create(&entry, &big), DEJA_OK);
    assert_true(dj_value_bytes(big) < sizeof body + 400);
    dj_value_unref(small);
    dj_value_unref(big);
}

static void value_lives_until_its_last_reference(void **state)
{
    (void)state;
    struct dj_value *value = value_of(1, 1, 1, "body");
    assert_ptr_equal(dj_value_ref(value), value);
    dj_value_unref(value);
    assert_int_equal(dj_value_entry(value)->body.len, 4);
    dj_value_unref(value);
    dj_value_unref(NULL);
}

static void create_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_entry entry = full_entry();
    struct dj_value *value = NULL;
    failing_malloc_arm(1);
    assert_int_equal(dj_value_create(&entry, &value), DEJA_ERR_NOMEM);
    assert_true(failing_malloc_disarm());
    assert_null(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(value_owns_copies_of_everything),
        cmocka_unit_test(body_is_aligned_for_floats),
        cmocka_unit_test(entry_may_be_copied_whole_and_costs_no_unused_tags),
        cmocka_unit_test(value_lives_until_its_last_reference),
        cmocka_unit_test(create_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
