#include "check.h"

#include "cache/generations.h"
#include "loops.h"

enum { KEPT_MAX = 8, KEY_MAX = 64 };

/* What a durable table would hold. */
struct kept {
    struct {
        char key[KEY_MAX];
        size_t len;
        uint64_t value;
    } rows[KEPT_MAX];
    size_t count;
    enum deja_status fail;
};

static const uint8_t tenant_a[DJ_ID_BYTES] = "tenant a";
static const uint8_t tenant_b[DJ_ID_BYTES] = "tenant b";

static enum deja_status keep(void *ctx, struct deja_slice key, uint64_t value)
{
    struct kept *kept = ctx;
    if (kept->fail != DEJA_OK)
        return kept->fail;
    assert_true(kept->count < KEPT_MAX && key.len <= KEY_MAX);
    memcpy(kept->rows[kept->count].key, key.data, key.len);
    kept->rows[kept->count].len = key.len;
    kept->rows[kept->count++].value = value;
    return DEJA_OK;
}

static struct dj_generations *create(size_t entries_max, struct kept *kept)
{
    struct dj_generations *generations = NULL;
    assert_int_equal(dj_generations_create(entries_max, kept, kept ? keep : NULL, &generations),
                     DEJA_OK);
    return generations;
}

static uint64_t get(struct dj_generations *generations, const uint8_t *tenant, const char *tag)
{
    return dj_generations_get(generations, tenant, deja_slice_text(tag));
}

static enum deja_status raise_tag(struct dj_generations *generations, const uint8_t *tenant,
                                  const char *tag)
{
    return dj_generations_raise(generations, tenant, deja_slice_text(tag), NULL);
}

static void counter_that_was_never_raised_is_zero(void **state)
{
    (void)state;
    struct dj_generations *generations = create(10, NULL);
    assert_true(dj_generations_are_all_zero(generations));
    assert_int_equal(get(generations, tenant_a, NULL), 0);
    assert_int_equal(get(generations, tenant_a, "news"), 0);
    assert_true(dj_generations_are_all_zero(generations));
    dj_generations_destroy(generations);
}

static void raise_counts_one_tag_of_one_tenant(void **state)
{
    (void)state;
    struct dj_generations *generations = create(10, NULL);
    assert_int_equal(raise_tag(generations, tenant_a, "news"), DEJA_OK);
    assert_int_equal(raise_tag(generations, tenant_a, "news"), DEJA_OK);
    assert_int_equal(get(generations, tenant_a, "news"), 2);
    assert_int_equal(get(generations, tenant_a, "new"), 0);
    assert_int_equal(get(generations, tenant_a, NULL), 0);
    assert_int_equal(get(generations, tenant_b, "news"), 0);
    assert_false(dj_generations_are_all_zero(generations));
    dj_generations_destroy(generations);
}

static void tenants_own_counter_is_apart_from_its_tags(void **state)
{
    (void)state;
    struct dj_generations *generations = create(10, NULL);
    assert_int_equal(raise_tag(generations, tenant_a, NULL), DEJA_OK);
    assert_int_equal(get(generations, tenant_a, NULL), 1);
    assert_int_equal(get(generations, tenant_a, "news"), 0);
    assert_int_equal(get(generations, tenant_b, NULL), 0);
    dj_generations_destroy(generations);
}

static void raise_that_cannot_be_kept_does_not_count(void **state)
{
    (void)state;
    struct kept kept = {.fail = DEJA_ERR_IO};
    struct dj_generations *generations = create(10, &kept);
    assert_int_equal(raise_tag(generations, tenant_a, "news"), DEJA_ERR_IO);
    assert_int_equal(get(generations, tenant_a, "news"), 0);
    assert_true(dj_generations_are_all_zero(generations));
    kept.fail = DEJA_OK;
    assert_int_equal(raise_tag(generations, tenant_a, "news"), DEJA_OK);
    assert_int_equal(get(generations, tenant_a, "news"), 1);
    dj_generations_destroy(generations);
}

/* A disk that takes its time. */
struct slow {
    struct event begun;
    struct event over;
    struct dj_generations *generations;
    uint64_t calls;
};

static enum deja_status keep_slowly(void *ctx, struct deja_slice key, uint64_t value)
{
    struct slow *slow = ctx;
    (void)key;
    assert_int_equal(value, ++slow->calls); /* under the table's own lock of raises */
    if (value == 1) {
        event_set(&slow->begun);
        event_wait(&slow->over);
    }
    return DEJA_OK;
}

static void *raise_news(void *ctx)
{
    struct slow *slow = ctx;
    enum deja_status status = raise_tag(slow->generations, tenant_a, "news");
    assert_int_equal(status, DEJA_OK);
    return NULL;
}

static void who_reads_does_not_wait_until_a_raise_is_kept(void **state)
{
    (void)state;
    struct slow slow = {.calls = 0};
    pthread_t threads[2];
    event_init(&slow.begun);
    event_init(&slow.over);
    assert_int_equal(dj_generations_create(10, &slow, keep_slowly, &slow.generations), DEJA_OK);
    assert_int_equal(dj_generations_load(slow.generations, deja_slice(tenant_b, DJ_ID_BYTES), 7),
                     DEJA_OK);
    assert_int_equal(pthread_create(&threads[0], NULL, raise_news, &slow), 0);
    event_wait(&slow.begun);
    assert_int_equal(pthread_create(&threads[1], NULL, raise_news, &slow), 0);
    /* Would never end if they waited: only this thread ends the first raise. */
    assert_int_equal(get(slow.generations, tenant_a, "news"), 0);
    assert_int_equal(dj_generations_sum(slow.generations, tenant_b, deja_slice_text("news")), 7);
    event_set(&slow.over);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(get(slow.generations, tenant_a, "news"), 2);
    dj_generations_destroy(slow.generations);
}

static void what_was_kept_is_there_after_a_load(void **state)
{
    (void)state;
    struct kept kept = {0};
    struct dj_generations *generations = create(10, &kept);
    assert_int_equal(raise_tag(generations, tenant_a, NULL), DEJA_OK);
    assert_int_equal(raise_tag(generations, tenant_a, "news"), DEJA_OK);
    assert_int_equal(raise_tag(generations, tenant_a, "news"), DEJA_OK);
    dj_generations_destroy(generations);

    generations = create(10, NULL);
    for (size_t i = 0; i < kept.count; i++)
        assert_int_equal(dj_generations_load(generations,
                                             deja_slice(kept.rows[i].key, kept.rows[i].len),
                                             kept.rows[i].value),
                         DEJA_OK);
    assert_false(dj_generations_are_all_zero(generations));
    assert_int_equal(get(generations, tenant_a, NULL), 1);
    assert_int_equal(get(generations, tenant_a, "news"), 2);
    assert_int_equal(raise_tag(generations, tenant_a, "news"), DEJA_OK);
    assert_int_equal(get(generations, tenant_a, "news"), 3);
    dj_generations_destroy(generations);
}

static void counters_are_bounded(void **state)
{
    (void)state;
    struct dj_generations *generations = create(2, NULL);
    assert_int_equal(raise_tag(generations, tenant_a, "1"), DEJA_OK);
    assert_int_equal(raise_tag(generations, tenant_a, "2"), DEJA_OK);
    assert_int_equal(raise_tag(generations, tenant_a, "3"), DEJA_ERR_LIMIT);
    assert_int_equal(raise_tag(generations, tenant_a, "2"), DEJA_OK); /* known ones go on */
    assert_int_equal(get(generations, tenant_a, "2"), 2);
    dj_generations_destroy(generations);
}

static void create_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_generations *generations = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_generations_create(10, NULL, NULL, &generations);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            dj_generations_destroy(generations);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(generations);
    }
    dj_generations_destroy(NULL);
}

static void raise_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_generations *generations = create(10, NULL);
        failing_malloc_arm(n);
        enum deja_status status = raise_tag(generations, tenant_a, "news");
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(get(generations, tenant_a, "news"), has_failed ? 0 : 1);
        dj_generations_destroy(generations);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counter_that_was_never_raised_is_zero),
        cmocka_unit_test(raise_counts_one_tag_of_one_tenant),
        cmocka_unit_test(tenants_own_counter_is_apart_from_its_tags),
        cmocka_unit_test(raise_that_cannot_be_kept_does_not_count),
        cmocka_unit_test(who_reads_does_not_wait_until_a_raise_is_kept),
        cmocka_unit_test(what_was_kept_is_there_after_a_load),
        cmocka_unit_test(counters_are_bounded),
        cmocka_unit_test(create_survives_each_failed_allocation),
        cmocka_unit_test(raise_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
