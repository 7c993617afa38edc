#include "check.h"

#include "cache/tombstones.h"
#include "cache/voids.h"
#include "crypto/digest.h"

static const uint8_t tenant_a[DJ_ID_BYTES] = "tenant a";
static const uint8_t tenant_b[DJ_ID_BYTES] = "tenant b";

#define START 1000u

static struct dj_voids *create(void)
{
    struct dj_voids *voids = NULL;
    assert_int_equal(dj_voids_create(START, &voids), DEJA_OK);
    return voids;
}

static struct dj_entry entry_of(const uint8_t tenant[DJ_ID_BYTES], const char *name_space,
                                const char *tag)
{
    struct dj_entry entry = {.name_space = deja_slice_text(name_space), .tag_count = tag ? 1 : 0};
    memcpy(entry.tenant, tenant, sizeof entry.tenant);
    entry.tags[0].name = deja_slice_text(tag ? tag : "");
    return entry;
}

static bool refuse(struct dj_voids *voids, struct dj_entry entry, uint64_t as_of)
{
    return dj_voids_refuse(voids, &entry, as_of);
}

static void what_began_before_the_program_is_refused(void **state)
{
    (void)state;
    struct dj_voids *voids = create();
    assert_true(refuse(voids, entry_of(tenant_a, "", NULL), START));
    assert_false(refuse(voids, entry_of(tenant_a, "", NULL), START + 1));
    dj_voids_note_all(voids, 5000);
    assert_true(refuse(voids, entry_of(tenant_b, "", NULL), 5000));
    assert_false(refuse(voids, entry_of(tenant_b, "", NULL), 5001));
    dj_voids_note_all(voids, 4000);
    assert_true(refuse(voids, entry_of(tenant_b, "", NULL), 5000));
    dj_voids_destroy(voids);
}

static void each_counter_speaks_for_its_own(void **state)
{
    (void)state;
    struct dj_voids *voids = create();
    dj_voids_note(voids, tenant_a, deja_slice_text("tag"), 2000);
    assert_true(refuse(voids, entry_of(tenant_a, "", "tag"), 2000));
    assert_false(refuse(voids, entry_of(tenant_a, "", "tag"), 2001));
    assert_false(refuse(voids, entry_of(tenant_a, "", "other"), 1500));
    assert_false(refuse(voids, entry_of(tenant_b, "", "tag"), 1500));
    dj_voids_note(voids, tenant_a, deja_slice("\0sports", 7), 3000);
    assert_true(refuse(voids, entry_of(tenant_a, "sports", NULL), 3000));
    assert_false(refuse(voids, entry_of(tenant_a, "", NULL), 3000));
    dj_voids_note(voids, tenant_a, dj_voids_selection(), 4000);
    assert_true(refuse(voids, entry_of(tenant_a, "", NULL), 4000));
    assert_false(refuse(voids, entry_of(tenant_a, "", NULL), 4001));
    assert_true(dj_voids_refuse_selected(voids, tenant_a, 4000));
    assert_false(dj_voids_refuse_selected(voids, tenant_a, 4001));
    assert_false(dj_voids_refuse_selected(voids, tenant_b, 4000));
    assert_true(dj_voids_refuse_selected(voids, tenant_b, START));
    dj_voids_note(voids, tenant_a, deja_slice("", 0), 5000);
    assert_false(dj_voids_refuse_selected(voids, tenant_a, 4500)); /* that voids what is kept */
    assert_true(refuse(voids, entry_of(tenant_a, "", NULL), 5000));
    assert_false(refuse(voids, entry_of(tenant_b, "", NULL), 1500));
    dj_voids_destroy(voids);
}

static void selection_is_told_from_every_other_tag(void **state)
{
    (void)state;
    assert_true(dj_voids_is_selection(dj_voids_selection()));
    assert_false(dj_voids_is_selection(deja_slice_text("selected")));
    assert_false(dj_voids_is_selection(deja_slice("", 0)));
}

static void more_raises_than_are_remembered_refuse_too_much(void **state)
{
    (void)state;
    struct dj_voids *voids = create();
    dj_voids_note(voids, tenant_a, deja_slice_text("first"), 2000);
    for (uint32_t i = 0; i < DJ_TOMBSTONES_MAX; i++)
        dj_voids_note(voids, tenant_b, deja_slice((const char *)&i, sizeof i), 3000 + i);
    assert_true(refuse(voids, entry_of(tenant_a, "", "first"), 2000));
    assert_true(refuse(voids, entry_of(tenant_a, "", "other"), 2000));
    assert_false(refuse(voids, entry_of(tenant_a, "", "other"), 2001));
    dj_voids_destroy(voids);
}

static void keep(struct dj_voids *voids, const uint8_t tenant[DJ_ID_BYTES], uint64_t version)
{
    struct dj_kept kept = {.version = version};
    memcpy(kept.key.tenant, tenant, sizeof kept.key.tenant);
    dj_voids_keep(voids, &kept);
}

static uint64_t kept_sum(struct dj_voids *voids, const uint8_t tenant[DJ_ID_BYTES])
{
    struct dj_kept kept;
    uint64_t cursor = 0;
    uint64_t sum = 0;
    while (dj_voids_next(voids, tenant, &cursor, &kept))
        sum += kept.version;
    return sum;
}

static void what_was_kept_is_known_until_a_pull_that_began_later_has_ended(void **state)
{
    (void)state;
    struct dj_voids *voids = create();
    keep(voids, tenant_a, 1);
    keep(voids, tenant_b, 10);
    dj_voids_begin_pull(voids);
    keep(voids, tenant_a, 100);
    assert_int_equal(kept_sum(voids, tenant_a), 101);
    assert_int_equal(kept_sum(voids, tenant_b), 10);
    dj_voids_end_pull(voids);
    assert_int_equal(kept_sum(voids, tenant_a), 100);
    assert_int_equal(kept_sum(voids, tenant_b), 0);
    dj_voids_begin_pull(voids); /* and fails */
    dj_voids_begin_pull(voids);
    dj_voids_end_pull(voids);
    assert_int_equal(kept_sum(voids, tenant_a), 0);
    dj_voids_destroy(voids);
}

static void more_than_can_be_remembered_is_said(void **state)
{
    (void)state;
    struct dj_voids *voids = create();
    for (uint32_t i = 0; i < DJ_KEPT_MAX; i++)
        keep(voids, tenant_a, 1);
    assert_false(dj_voids_is_kept_lost(voids));
    keep(voids, tenant_a, 1);
    assert_true(dj_voids_is_kept_lost(voids));
    assert_int_equal(kept_sum(voids, tenant_a), DJ_KEPT_MAX);
    dj_voids_begin_pull(voids);
    keep(voids, tenant_a, 1);
    dj_voids_end_pull(voids);
    assert_false(dj_voids_is_kept_lost(voids));
    assert_int_equal(kept_sum(voids, tenant_a), 1);
    dj_voids_begin_pull(voids);
    for (uint32_t i = 0; i < DJ_KEPT_MAX + 1; i++)
        keep(voids, tenant_a, 1);
    dj_voids_end_pull(voids);
    assert_true(dj_voids_is_kept_lost(voids)); /* of those since it began */
    dj_voids_destroy(voids);
}

static void create_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_voids *voids = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_voids_create(START, &voids);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            dj_voids_destroy(voids);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(voids);
    }
    dj_voids_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_began_before_the_program_is_refused),
        cmocka_unit_test(each_counter_speaks_for_its_own),
        cmocka_unit_test(selection_is_told_from_every_other_tag),
        cmocka_unit_test(more_raises_than_are_remembered_refuse_too_much),
        cmocka_unit_test(what_was_kept_is_known_until_a_pull_that_began_later_has_ended),
        cmocka_unit_test(more_than_can_be_remembered_is_said),
        cmocka_unit_test(create_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
