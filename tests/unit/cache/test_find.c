/* Callers' own vectors, find-similar, filtered lookups. */
#include "check.h"

#include <math.h>

#include "disk_fixture.h"

static void put_vector(struct fixture *fixture, uint32_t number,
                       const struct dj_query_vector *vector, enum deja_status expected)
{
    struct dj_entry entry = numbered(fixture, number, "");
    struct call call = {.fixture = fixture, .entry = &entry, .is_semantic = true, .vector = vector};
    if (expected == DEJA_OK) {
        run_call(&call, start_put);
        assert_int_equal(call.status, DEJA_OK);
        assert_true(call.is_stored);
        return;
    }
    assert_int_equal(dj_engine_put(fixture->engine, caller(&call), &entry,
                                   &(struct dj_put_options){.is_semantic = true, .vector = vector},
                                   NULL, NULL),
                     expected);
}

/* find: in the call's candidates. */
static void find_vector(struct fixture *fixture, struct call *call,
                        const struct dj_query_vector *vector, double threshold)
{
    struct dj_fingerprint asked = question(tenant_a, 99, "");
    asked.text = deja_slice(NULL, 0);
    call->fixture = fixture;
    call->fingerprint = &asked;
    call->vector = vector;
    call->options.is_semantic = true;
    call->options.is_find = true;
    call->options.threshold = threshold;
    run_call(call, start_lookup);
    assert_null(call->value);
    call->fingerprint = NULL;
}

static void vectors_of_any_dimension_are_found_among_their_own(void **state)
{
    (void)state;
    static const uint32_t dims[] = {1, 3, 768, DJ_VECTOR_DIM_MAX};
    static float floats[DJ_VECTOR_DIM_MAX];
    struct disk disk;
    disk_open(&disk);
    for (uint32_t i = 0; i < 4; i++) {
        floats[dims[i] - 1] = 1.0f;
        const struct dj_query_vector vector = {
            .floats = floats, .dim = dims[i], .embedder = deja_slice_text("mine")};
        put_vector(&disk.fixture, i, &vector, DEJA_OK);
        floats[dims[i] - 1] = 0.0f;
    }
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 4; i++) {
            floats[dims[i] - 1] = 2.0f;
            const struct dj_query_vector vector = {
                .floats = floats, .dim = dims[i], .embedder = deja_slice_text("mine")};
            struct call call = {.options = {.limit = 100}};
            find_vector(&disk.fixture, &call, &vector, 0.5);
            floats[dims[i] - 1] = 0.0f;
            assert_int_equal(call.status, DEJA_OK);
            assert_int_equal(call.candidate_count, 1);
            assert_int_equal(call.candidates[0].id[0], i);
            assert_true(fabsf(call.candidates[0].similarity - 1.0f) < 1e-5f);
        }
        disk_restart(&disk); /* indexes are rebuilt from the embedded tier */
    }
    disk_close(&disk);
}

static void vector_of_another_kind_is_an_error_not_a_miss(void **state)
{
    (void)state;
    static const float floats[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const struct dj_query_vector stored = {.floats = floats, .dim = 8};
    const struct dj_query_vector shorter = {.floats = floats, .dim = 5};
    const struct dj_query_vector named = {
        .floats = floats, .dim = 8, .embedder = deja_slice_text("other")};
    struct fixture fixture;
    struct call call = {.options = {.limit = 1}};
    fixture_open(&fixture);
    find_vector(&fixture, &call, &stored, 0);
    assert_int_equal(call.status, DEJA_OK); /* there is nothing at all */
    put_vector(&fixture, 1, &stored, DEJA_OK);
    find_vector(&fixture, &call, &stored, 0);
    assert_int_equal(call.candidate_count, 1);
    find_vector(&fixture, &call, &shorter, 0);
    assert_int_equal(call.status, DEJA_ERR_MISMATCH);
    assert_string_equal(call.reason, "vector-mismatch");
    find_vector(&fixture, &call, &named, 0);
    assert_int_equal(call.status, DEJA_ERR_MISMATCH);
    const struct dj_query_vector wrong = {
        .floats = floats,
        .dim = 8,
        .embedder = deja_slice_text(dj_engine_embedder(fixture.engine)->id)};
    put_vector(&fixture, 2, &wrong, DEJA_ERR_MISMATCH);
    fixture_close(&fixture);
}

static void bad_vectors_and_too_many_kinds_are_refused(void **state)
{
    (void)state;
    static const float zero[4];
    const float infinite[4] = {1, INFINITY, 0, 0};
    static const float good[DJ_VECTOR_DIM_MAX + 1] = {1};
    struct fixture fixture;
    fixture_open(&fixture);
    put_vector(&fixture, 1, &(struct dj_query_vector){.floats = zero, .dim = 4}, DEJA_ERR_INVALID);
    put_vector(&fixture, 1, &(struct dj_query_vector){.floats = infinite, .dim = 4},
               DEJA_ERR_INVALID);
    put_vector(&fixture, 1, &(struct dj_query_vector){.floats = good, .dim = 0}, DEJA_ERR_INVALID);
    put_vector(&fixture, 1, &(struct dj_query_vector){.floats = good, .dim = DJ_VECTOR_DIM_MAX + 1},
               DEJA_ERR_INVALID);
    for (uint32_t i = 1; i <= DJ_VECTOR_INDEXES_MAX; i++)
        put_vector(&fixture, i, &(struct dj_query_vector){.floats = good, .dim = i}, DEJA_OK);
    put_vector(&fixture, 90, &(struct dj_query_vector){.floats = good, .dim = 90}, DEJA_ERR_LIMIT);
    struct dj_entry entry = entry_of(&fixture, tenant_a, 77, STORED);
    assert_true(put(&fixture, &entry)); /* the embedder's own has its place */
    fixture_close(&fixture);
}

static void find_gives_all_that_reach_the_threshold_best_first(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    for (uint32_t i = 0; i < 60; i++) {
        const float floats[2] = {1.0f, (float)i / 10.0f};
        put_vector(&fixture, i, &(struct dj_query_vector){.floats = floats, .dim = 2}, DEJA_OK);
    }
    static const float east[2] = {1, 0};
    const struct dj_query_vector vector = {.floats = east, .dim = 2};
    struct call call = {.options = {.limit = 100}};
    find_vector(&fixture, &call, &vector, 0);
    assert_int_equal(call.candidate_count, 60);
    for (uint32_t i = 0; i < 60; i++)
        assert_int_equal(call.candidates[i].id[0], i);
    find_vector(&fixture, &call, &vector, 0.7072); /* 45 degrees: i < 10 */
    assert_int_equal(call.candidate_count, 10);
    call.options.limit = 3;
    find_vector(&fixture, &call, &vector, 0);
    assert_int_equal(call.candidate_count, 3);
    fixture_close(&fixture);
}

static void filter_widens_the_search_to_the_best_that_match(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_arena arena;
    dj_arena_init(&arena, 0);
    fixture_open(&fixture);
    for (uint32_t i = 0; i < 90; i++) {
        const float floats[2] = {1.0f, (float)i / 100.0f};
        const struct dj_query_vector vector = {.floats = floats, .dim = 2};
        struct dj_entry entry = numbered(&fixture, i, "");
        entry.metadata = deja_slice_text(i >= 80 ? "{\"metadata\":{\"far\":1}}" : "");
        struct call call = {
            .fixture = &fixture, .entry = &entry, .is_semantic = true, .vector = &vector};
        run_call(&call, start_put);
        assert_int_equal(call.status, DEJA_OK);
    }
    static const float east[2] = {1, 0};
    const struct dj_query_vector vector = {.floats = east, .dim = 2};
    struct call call = {.options = {.limit = 2, .filter = filter_of(&arena, "{\"far\":1}")}};
    find_vector(&fixture, &call, &vector, 0);
    assert_int_equal(call.candidate_count, 2);
    assert_int_equal(call.candidates[0].id[0], 80);
    assert_int_equal(call.candidates[1].id[0], 81);
    call.options.filter = filter_of(&arena, "{\"far\":2}");
    find_vector(&fixture, &call, &vector, 0);
    assert_int_equal(call.candidate_count, 0);
    fixture_close(&fixture);
    dj_arena_fini(&arena);
}

static void entry_found_by_its_key_must_match_the_filter_too(void **state)
{
    (void)state;
    struct disk disk;
    struct dj_arena arena;
    dj_arena_init(&arena, 0);
    disk_open(&disk);
    struct dj_entry entry = entry_of(&disk.fixture, tenant_a, 1, STORED);
    entry.model = deja_slice_text("m");
    put_all(&disk.fixture, &entry);
    struct dj_fingerprint asked = question(tenant_a, 1, STORED);
    for (int round = 0; round < 2; round++) {
        static const char *const filters[] = {"{\"$model\":\"n\"}", "{\"$model\":\"m\"}"};
        for (int i = 0; i < 2; i++) {
            struct call call = {.fixture = &disk.fixture,
                                .fingerprint = &asked,
                                .options = {.is_exact = true,
                                            .is_semantic = true,
                                            .filter = filter_of(&arena, filters[i])}};
            run_call(&call, start_lookup);
            assert_int_equal(call.kind, i ? DJ_HIT_EXACT : DJ_HIT_NONE);
            dj_value_unref(call.value);
        }
        disk_restart(&disk); /* from the embedded tier */
    }
    disk_close(&disk);
    dj_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_of_any_dimension_are_found_among_their_own),
        cmocka_unit_test(vector_of_another_kind_is_an_error_not_a_miss),
        cmocka_unit_test(bad_vectors_and_too_many_kinds_are_refused),
        cmocka_unit_test(find_gives_all_that_reach_the_threshold_best_first),
        cmocka_unit_test(filter_widens_the_search_to_the_best_that_match),
        cmocka_unit_test(entry_found_by_its_key_must_match_the_filter_too),
    };
    return RUN_TESTS(tests);
}
