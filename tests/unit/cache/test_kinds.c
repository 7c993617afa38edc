/* tests/unit/cache/test_kinds.c - whose entry is of which kind, how long each level keeps it. */
#include "cache/kinds.h"
#include "check.h"

#include "failing_malloc.h"

#define MINUTE INT64_C(60000)
#define HOUR (60 * MINUTE)
#define NOW INT64_C(1000000000000)

static struct dj_kinds *kinds;
static struct dj_kind_book *book;
static const uint8_t tenant[DJ_ID_BYTES] = "tenant a";

static int begin(void **state)
{
    (void)state;
    return dj_kinds_create(NULL, 0, NULL, NULL, &kinds) == DEJA_OK &&
                   dj_kind_book_create(kinds, &book) == DEJA_OK
               ? 0
               : 1;
}

static int end(void **state)
{
    (void)state;
    dj_kind_book_destroy(book);
    dj_kinds_destroy(kinds);
    return 0;
}

static struct dj_entry plain(const char *key, int64_t life_ms)
{
    return (struct dj_entry){.kind = DJ_ENTRY_PLAIN,
                             .query = deja_slice_text(key),
                             .created_ms = NOW,
                             .expires_ms = life_ms ? NOW + life_ms : 0};
}

static int64_t stay(enum dj_level level, const struct dj_entry *entry)
{
    struct dj_stay asked = dj_kind_book_stay(book, level);
    int64_t until_ms = asked.of(asked.ctx, entry, NOW);
    return until_ms == INT64_MAX || !until_ms ? until_ms : until_ms - NOW;
}

static void each_level_keeps_an_entry_as_long_as_its_kind_says(void **state)
{
    (void)state;
    struct dj_entry score = plain("template:score:42", 6 * HOUR);
    struct dj_entry longer = plain("template:score:42", 48 * HOUR);
    struct dj_entry session = plain("session:user:u", 30 * MINUTE);
    assert_int_equal(stay(DJ_LEVEL_MEMORY, &score), 15 * MINUTE);
    assert_int_equal(stay(DJ_LEVEL_REDIS, &score), 6 * HOUR);
    assert_int_equal(stay(DJ_LEVEL_S3, &score), 0);
    assert_int_equal(stay(DJ_LEVEL_MEMORY, &longer), 15 * MINUTE);
    assert_true(stay(DJ_LEVEL_REDIS, &longer) == INT64_MAX);
    assert_int_equal(stay(DJ_LEVEL_POSTGRES, &session), 0);
    assert_int_equal(dj_kind_skip(dj_kind_of(kinds, &session)),
                     DJ_LEVEL_BIT(DJ_LEVEL_POSTGRES) | DJ_LEVEL_BIT(DJ_LEVEL_S3));
}

static void what_is_of_no_kind_is_kept_as_the_level_says_and_a_plain_key_as_long_as_it_lives(
    void **state)
{
    (void)state;
    struct dj_entry key = plain("anything", HOUR);
    struct dj_entry chat = {.kind = DJ_ENTRY_CHAT, .query = deja_slice_text("template:score:42")};
    assert_int_equal(stay(DJ_LEVEL_MEMORY, &key), 0);
    assert_true(stay(DJ_LEVEL_REDIS, &key) == INT64_MAX);
    assert_int_equal(stay(DJ_LEVEL_REDIS, &chat), 0);
    assert_null(dj_kind_of(kinds, &chat));
    assert_null(dj_kind_book_stay(NULL, DJ_LEVEL_REDIS).of);
}

static void an_entry_may_name_its_kind_by_a_tag(void **state)
{
    (void)state;
    struct dj_entry entry = {.kind = DJ_ENTRY_API, .created_ms = NOW, .expires_ms = NOW + 2 * HOUR};
    entry.tags[0].name = deja_slice_text("other");
    entry.tags[1].name = deja_slice_text("kind:template_semantic");
    entry.tag_count = 2;
    const struct dj_kind *kind = dj_kind_of(kinds, &entry);
    assert_non_null(kind);
    assert_true(kind->is_semantic);
    assert_int_equal(stay(DJ_LEVEL_MEMORY, &entry), 15 * MINUTE);
}

static void figures_are_kept_for_each_tenant_and_told_once(void **state)
{
    (void)state;
    const struct dj_kind *kind = dj_kinds_find(kinds, deja_slice_text("ocr_result"));
    struct dj_kind_figures figures, more;
    dj_kind_book_note(book, tenant, kind, DJ_KIND_NOTE_HIT, DJ_LEVEL_S3, 1);
    dj_kind_book_note(book, tenant, kind, DJ_KIND_NOTE_MISS, DJ_LEVEL_MEMORY, 1);
    dj_kind_book_note(book, tenant, kind, DJ_KIND_NOTE_PUT, DJ_LEVEL_MEMORY, 100);
    dj_kind_book_note(book, tenant, kind, DJ_KIND_NOTE_SLIDE, DJ_LEVEL_MEMORY, 1);
    dj_kind_book_note(book, tenant, kind, DJ_KIND_NOTE_REMOVE, DJ_LEVEL_MEMORY, 1);
    dj_kind_book_note(NULL, tenant, kind, DJ_KIND_NOTE_HIT, DJ_LEVEL_S3, 1);
    dj_kind_book_note(book, tenant, NULL, DJ_KIND_NOTE_HIT, DJ_LEVEL_S3, 1);
    dj_kind_book_figures(book, tenant, kind, &figures);
    assert_int_equal(figures.hits[DJ_LEVEL_S3], 1);
    assert_int_equal(figures.misses + figures.puts + figures.slides + figures.removals, 4);
    assert_int_equal(figures.put_bytes, 100);
    dj_kind_book_figures(book, NULL, kind, &figures);
    assert_int_equal(figures.hits[DJ_LEVEL_S3], 1);
    dj_kind_book_figures(book, (const uint8_t *)"another tenant..", kind, &figures);
    assert_int_equal(figures.hits[DJ_LEVEL_S3], 0);
    dj_kind_book_tell(book, tenant, kind, &more);
    assert_int_equal(more.hits[DJ_LEVEL_S3], 1);
    dj_kind_book_tell(book, tenant, kind, &more);
    assert_int_equal(more.hits[DJ_LEVEL_S3], 0);
}

static void beyond_its_places_tenants_are_counted_together(void **state)
{
    (void)state;
    const struct dj_kind *kind = dj_kinds_find(kinds, deja_slice_text("doc_chunk"));
    struct dj_kind_figures all, others;
    for (uint32_t i = 0; i < DJ_KIND_TENANTS_MAX + 10; i++) {
        uint8_t id[DJ_ID_BYTES] = "many";
        memcpy(id + 8, &i, sizeof i);
        dj_kind_book_note(book, id, kind, DJ_KIND_NOTE_MISS, DJ_LEVEL_MEMORY, 1);
    }
    dj_kind_book_figures(book, NULL, kind, &all);
    dj_kind_book_others(book, kind, &others);
    assert_int_equal(all.misses, DJ_KIND_TENANTS_MAX + 10);
    assert_in_range(others.misses, 10, 11);
}

static void kind_book_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_kind_book *made = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_kind_book_create(kinds, &made);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_kind_book_destroy(made);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_level_keeps_an_entry_as_long_as_its_kind_says),
        cmocka_unit_test(
            what_is_of_no_kind_is_kept_as_the_level_says_and_a_plain_key_as_long_as_it_lives),
        cmocka_unit_test(an_entry_may_name_its_kind_by_a_tag),
        cmocka_unit_test(figures_are_kept_for_each_tenant_and_told_once),
        cmocka_unit_test(beyond_its_places_tenants_are_counted_together),
        cmocka_unit_test(kind_book_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
