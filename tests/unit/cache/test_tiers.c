/* The engine over both tiers: what is put stays through a restart, what is removed stays away. */
#include "check.h"

#include <math.h>

#include "base/arena.h"
#include "engine_fixture.h"
#include "proto/json.h"
#include "store/directory.h"

enum { MANY = 150 }; /* more than memory holds, more than two pieces of a listing */

struct disk {
    struct directory directory;
    struct fixture fixture;
};

static void disk_open(struct disk *disk)
{
    *disk = (struct disk){0};
    directory_create(&disk->directory);
    disk->fixture.directory = disk->directory.path;
    fixture_start(&disk->fixture);
}

static void disk_restart(struct disk *disk)
{
    fixture_close(&disk->fixture);
    disk->fixture = (struct fixture){.directory = disk->directory.path};
    fixture_start(&disk->fixture);
}

static void disk_close(struct disk *disk)
{
    fixture_close(&disk->fixture);
    directory_remove(&disk->directory);
}

/* ---- calls that the fixture has not ---- */

struct selecting {
    struct call call;
    const struct dj_selector *selector;
    bool is_removing;
    uint64_t count;
};

static void on_selected(void *ctx, enum deja_status status, uint64_t count)
{
    struct selecting *selecting = ctx;
    assert_true(dj_loop_is_current(caller(&selecting->call)));
    selecting->call.status = status;
    selecting->count = count;
    event_set(&selecting->call.ended);
}

static void start_select(void *ctx)
{
    struct selecting *s = ctx;
    struct call *call = &s->call;
    enum deja_status status = s->is_removing
                                  ? dj_engine_remove_selected(call->fixture->engine, caller(call),
                                                              tenant_a, s->selector, s, on_selected)
                                  : dj_engine_count(call->fixture->engine, caller(call), tenant_a,
                                                    s->selector, s, on_selected);
    assert_int_equal(status, DEJA_OK);
}

static uint64_t select_entries(struct fixture *fixture, const struct dj_selector *selector,
                               bool is_removing)
{
    struct selecting s = {
        .call = {.fixture = fixture}, .selector = selector, .is_removing = is_removing};
    event_init(&s.call.ended);
    on_loop(caller(&s.call), start_select, &s);
    event_wait(&s.call.ended);
    assert_int_equal(s.call.status, DEJA_OK);
    return s.count;
}

static uint64_t count_of(struct fixture *fixture, const struct dj_selector *selector)
{
    return select_entries(fixture, selector, false);
}

static void on_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct call *call = ctx;
    call->status = status;
    call->value = value;
    event_set(&call->ended);
}

static void start_get(void *ctx)
{
    struct call *call = ctx;
    assert_int_equal(dj_engine_get(call->fixture->engine, caller(call), &call->key, call, on_got),
                     DEJA_OK);
}

static bool is_there(struct fixture *fixture, struct dj_store_key key)
{
    struct call call = {.fixture = fixture, .key = key};
    run_call(&call, start_get);
    assert_int_equal(call.status, DEJA_OK);
    dj_value_unref(call.value);
    return call.value != NULL;
}

/* Entry `number` of tenant a, with an id of two bytes. */
static struct dj_entry numbered(struct fixture *fixture, uint32_t number, const char *text)
{
    struct dj_fill fill;
    struct dj_entry entry = entry_of(fixture, tenant_a, 1, text);
    entry.id[0] = (uint8_t)number;
    entry.id[1] = (uint8_t)(number >> 8);
    entry.id[9] = (uint8_t)number;
    memcpy(entry.exact, entry.id, sizeof entry.id);
    dj_engine_begin_fill(fixture->engine, &entry, &fill);
    return entry;
}

static void put_all(struct fixture *fixture, struct dj_entry *entry)
{
    struct dj_fill fill;
    dj_engine_begin_fill(fixture->engine, entry, &fill);
    assert_true(put(fixture, entry));
}

static const struct dj_filter *filter_of(struct dj_arena *arena, const char *text)
{
    struct dj_json_doc *doc = NULL;
    const struct dj_filter *filter = NULL;
    assert_int_equal(dj_json_parse(deja_slice_text(text), &doc, NULL), DEJA_OK);
    assert_int_equal(dj_filter_read(dj_json_root(doc), arena, &filter, NULL), DEJA_OK);
    dj_json_doc_destroy(doc);
    return filter;
}

/* ---- tests ---- */

static void entry_survives_a_restart_and_its_removal_does_too(void **state)
{
    (void)state;
    struct disk disk;
    disk_open(&disk);
    struct dj_entry kept = entry_of(&disk.fixture, tenant_a, 1, STORED);
    struct dj_entry gone = entry_of(&disk.fixture, tenant_a, 2, "");
    assert_true(put(&disk.fixture, &kept));
    assert_true(put(&disk.fixture, &gone));
    assert_int_equal(change(&disk.fixture, &gone, NULL, start_remove), 1);
    disk_restart(&disk);
    assert_false(is_found(&disk.fixture, key_of(&kept), 0)); /* memory is empty */
    assert_true(is_there(&disk.fixture, key_of(&kept)));
    assert_false(is_there(&disk.fixture, key_of(&gone)));
    struct dj_fingerprint asked = question(tenant_a, 3, REWORDED);
    expect_lookup(&disk.fixture, &asked, DJ_HIT_SEMANTIC, "served");
    asked = question(tenant_a, 1, STORED);
    expect_lookup(&disk.fixture, &asked, DJ_HIT_EXACT, NULL);
    disk_close(&disk);
}

static void clear_empties_both_tiers_for_good(void **state)
{
    (void)state;
    struct disk disk;
    disk_open(&disk);
    struct dj_entry theirs = entry_of(&disk.fixture, tenant_b, 1, STORED);
    assert_true(put(&disk.fixture, &theirs));
    struct dj_entry last;
    for (uint32_t i = 0; i < MANY; i++) {
        last = numbered(&disk.fixture, i, "");
        assert_true(put(&disk.fixture, &last));
    }
    assert_int_equal(change(&disk.fixture, &last, NULL, start_clear), MANY);
    assert_false(is_there(&disk.fixture, key_of(&last)));
    disk_restart(&disk);
    static const struct dj_selector all;
    assert_int_equal(count_of(&disk.fixture, &all), 0);
    assert_false(is_there(&disk.fixture, key_of(&last)));
    assert_true(is_there(&disk.fixture, key_of(&theirs)));
    struct dj_engine_stats stats;
    dj_engine_stats(disk.fixture.engine, tenant_a, &stats);
    assert_int_equal(stats.lmdb.entries, 0);
    disk_close(&disk);
}

static void each_entry_is_counted_once_over_the_tiers(void **state)
{
    (void)state;
    static const struct dj_selector all;
    struct disk disk;
    disk_open(&disk);
    for (uint32_t i = 0; i < MANY; i++) {
        struct dj_entry entry = numbered(&disk.fixture, i, "");
        assert_true(put(&disk.fixture, &entry));
    }
    assert_int_equal(count_of(&disk.fixture, &all), MANY);
    disk_restart(&disk);
    assert_int_equal(count_of(&disk.fixture, &all), MANY);
    for (uint32_t i = 0; i < 20; i++) { /* newer versions, in memory too */
        struct dj_entry entry = numbered(&disk.fixture, i, "");
        assert_true(put(&disk.fixture, &entry));
    }
    assert_int_equal(count_of(&disk.fixture, &all), MANY);
    disk_close(&disk);
}

static void selectors_take_what_they_name_and_nothing_else(void **state)
{
    (void)state;
    struct disk disk;
    struct dj_arena arena;
    dj_arena_init(&arena, 0);
    disk_open(&disk);
    for (uint32_t i = 0; i < 60; i++) {
        struct dj_entry entry = numbered(&disk.fixture, i, "");
        entry.name_space = deja_slice_text(i % 2 ? "odd" : "even");
        if (i % 3 == 0)
            entry.tags[entry.tag_count++].name = deja_slice_text("three");
        entry.created_ms -= i % 5 == 0 ? 100000 : 0;
        entry.metadata = deja_slice_text(i % 4 == 0 ? "{\"metadata\":{\"four\":true}}" : "");
        put_all(&disk.fixture, &entry);
    }
    const struct dj_selector odd = {.has_name_space = true, .name_space = deja_slice_text("odd")};
    const struct dj_selector three = {.tag = deja_slice_text("three")};
    const struct dj_selector odd_three = {
        .has_name_space = true, .name_space = odd.name_space, .tag = three.tag};
    const struct dj_selector old = {.created_before_ms = dj_clock_now_ms() - 50000};
    const struct dj_selector four = {.filter = filter_of(&arena, "{\"four\":true}")};
    const struct dj_selector unnamed = {.has_name_space = true};
    static const struct dj_selector all;
    assert_int_equal(count_of(&disk.fixture, &odd), 30);
    assert_int_equal(count_of(&disk.fixture, &three), 20);
    assert_int_equal(count_of(&disk.fixture, &odd_three), 10);
    assert_int_equal(count_of(&disk.fixture, &old), 12);
    assert_int_equal(count_of(&disk.fixture, &four), 15);
    assert_int_equal(count_of(&disk.fixture, &unnamed), 0);
    assert_int_equal(select_entries(&disk.fixture, &four, true), 15);
    assert_int_equal(count_of(&disk.fixture, &all), 45);
    assert_int_equal(select_entries(&disk.fixture, &odd, true), 30);
    assert_int_equal(select_entries(&disk.fixture, &odd, true), 0);
    disk_restart(&disk);
    assert_int_equal(count_of(&disk.fixture, &odd), 0);
    assert_int_equal(count_of(&disk.fixture, &all), 15);
    assert_int_equal(select_entries(&disk.fixture, &three, true), 5);
    assert_int_equal(select_entries(&disk.fixture, &old, true), 2);
    assert_int_equal(count_of(&disk.fixture, &all), 8);
    disk_close(&disk);
    dj_arena_fini(&arena);
}

static void removed_namespace_refuses_fills_that_began_before(void **state)
{
    (void)state;
    struct disk disk;
    struct dj_fill fill;
    disk_open(&disk);
    const struct dj_selector news = {.has_name_space = true, .name_space = deja_slice_text("news")};
    struct dj_entry running = numbered(&disk.fixture, 1, "");
    struct dj_entry other = numbered(&disk.fixture, 2, "");
    running.name_space = news.name_space;
    dj_engine_begin_fill(disk.fixture.engine, &running, &fill);
    assert_int_equal(select_entries(&disk.fixture, &news, true), 0);
    assert_false(put(&disk.fixture, &running));
    assert_true(put(&disk.fixture, &other)); /* of another namespace */
    put_all(&disk.fixture, &running);
    disk_restart(&disk);
    assert_true(is_there(&disk.fixture, key_of(&running)));
    assert_true(is_there(&disk.fixture, key_of(&other)));
    disk_close(&disk);
}

static void removal_by_filter_leaves_a_tombstone(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_arena arena;
    dj_arena_init(&arena, 0);
    fixture_open(&fixture);
    struct dj_entry entry = entry_of(&fixture, tenant_a, 1, "");
    entry.model = deja_slice_text("m");
    struct dj_entry running = entry;
    put_all(&fixture, &entry);
    running.version = entry.version + 1; /* began before the removal, ends after it */
    const struct dj_selector selector = {.filter = filter_of(&arena, "{\"$model\":\"m\"}")};
    assert_int_equal(select_entries(&fixture, &selector, true), 1);
    assert_false(put(&fixture, &running));
    put_all(&fixture, &running);
    assert_true(is_found(&fixture, key_of(&running), 0));
    fixture_close(&fixture);
    dj_arena_fini(&arena);
}

/* ---- vectors ---- */

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
    assert_int_equal(
        dj_engine_put(fixture->engine, caller(&call), &entry, true, vector, NULL, NULL), expected);
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

/* ---- batches, use, feedback ---- */

struct embedding {
    struct call call;
    struct deja_slice texts[DJ_EMBED_BATCH_MAX];
    size_t count;
    double first; /* a sum that tells vectors apart */
    double last;
};

static double mark_of(const float *vector, uint32_t dim)
{
    double mark = 0;
    for (uint32_t i = 0; i < dim; i++)
        mark += (double)vector[i] * (i + 1);
    return mark;
}

static void on_embedded(void *ctx, enum deja_status status, const float *vectors, uint32_t dim,
                        uint32_t embed_us)
{
    struct embedding *embedding = ctx;
    (void)embed_us;
    embedding->call.status = status;
    embedding->first = mark_of(vectors, dim);
    embedding->last = mark_of(vectors + (embedding->count - 1) * dim, dim);
    event_set(&embedding->call.ended);
}

static void start_embed(void *ctx)
{
    struct embedding *embedding = ctx;
    assert_int_equal(dj_engine_embed(embedding->call.fixture->engine, caller(&embedding->call),
                                     tenant_a, embedding->texts, embedding->count, embedding,
                                     on_embedded),
                     DEJA_OK);
}

static void embed(struct embedding *embedding)
{
    event_init(&embedding->call.ended);
    on_loop(caller(&embedding->call), start_embed, embedding);
    event_wait(&embedding->call.ended);
    assert_int_equal(embedding->call.status, DEJA_OK);
}

static void batch_gives_each_text_its_vector_in_order(void **state)
{
    (void)state;
    static char texts[DJ_EMBED_BATCH_MAX][64];
    struct fixture fixture;
    fixture_open(&fixture);
    struct embedding all = {.call = {.fixture = &fixture}, .count = DJ_EMBED_BATCH_MAX};
    for (size_t i = 0; i < all.count; i++) {
        snprintf(texts[i], sizeof texts[i], "text number %zu", i);
        all.texts[i] = deja_slice_text(texts[i]);
    }
    embed(&all);
    struct embedding one = {.call = {.fixture = &fixture}, .count = 1, .texts = {all.texts[99]}};
    embed(&one);
    assert_true(fabs(one.first - all.last) < 1e-4);
    assert_true(fabs(one.first - all.first) > 1e-4);
    struct embedding none = {.call = {.fixture = &fixture}};
    assert_int_equal(dj_engine_embed(fixture.engine, caller(&none.call), tenant_a, none.texts, 0,
                                     &none, on_embedded),
                     DEJA_ERR_INVALID);
    fixture_close(&fixture);
}

static void embed_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct embedding one = {
        .call = {.fixture = &fixture}, .count = 1, .texts = {deja_slice_text("some text")}};
    event_init(&one.call.ended);
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = dj_engine_embed(fixture.engine, caller(&one.call), tenant_a,
                                                  one.texts, 1, &one, on_embedded);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed)
            break;
    }
    event_wait(&one.call.ended);
    assert_int_equal(dj_engine_pending(fixture.engine), 0);
    fixture_close(&fixture);
}

static void selection_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const struct dj_selector all;
    struct disk disk;
    disk_open(&disk);
    struct selecting s = {.call = {.fixture = &disk.fixture}};
    event_init(&s.call.ended);
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = dj_engine_remove_selected(disk.fixture.engine, caller(&s.call),
                                                            tenant_a, &all, &s, on_selected);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed)
            break;
    }
    event_wait(&s.call.ended);
    disk_close(&disk);
}

struct hits {
    struct fixture *fixture;
    struct dj_entry *entry;
    uint32_t count;
};

static void note_hits(void *ctx)
{
    struct hits *hits = ctx;
    for (uint32_t i = 0; i < hits->count; i++)
        dj_engine_note_hit(hits->fixture->engine, hits->fixture->loops.loop[1], hits->entry);
}

static void hit(struct fixture *fixture, struct dj_entry *entry, uint32_t count)
{
    struct hits hits = {.fixture = fixture, .entry = entry, .count = count};
    on_loop(fixture->loops.loop[1], note_hits, &hits);
}

static uint64_t hits_of(struct fixture *fixture, const struct dj_entry *entry)
{
    struct dj_store_key key = key_of(entry);
    struct dj_access_stats stats;
    dj_engine_access(fixture->engine, &key, &stats);
    assert_int_equal(stats.hits > 0, stats.last_access_ms > 0);
    return stats.hits;
}

struct topping {
    struct call call;
    uint32_t count;
    struct dj_top_entry entries[DJ_TOP_MAX];
};

static void on_top(void *ctx, enum deja_status status, const struct dj_top_entry *entries,
                   uint32_t count)
{
    struct topping *topping = ctx;
    topping->call.status = status;
    topping->count = count;
    memcpy(topping->entries, entries, count * sizeof *entries);
    event_set(&topping->call.ended);
}

static void start_top(void *ctx)
{
    struct topping *topping = ctx;
    assert_int_equal(dj_engine_top(topping->call.fixture->engine, caller(&topping->call), tenant_a,
                                   3, topping, on_top),
                     DEJA_OK);
}

static void hits_are_counted_and_kept_through_a_restart(void **state)
{
    (void)state;
    struct disk disk;
    disk_open(&disk);
    struct dj_entry entries[5];
    for (uint32_t i = 0; i < 5; i++) {
        entries[i] = numbered(&disk.fixture, i, "");
        assert_true(put(&disk.fixture, &entries[i]));
        hit(&disk.fixture, &entries[i], 10 * i);
    }
    for (int round = 0; round < 2; round++) {
        struct topping top = {.call = {.fixture = &disk.fixture}};
        event_init(&top.call.ended);
        on_loop(caller(&top.call), start_top, &top);
        event_wait(&top.call.ended);
        assert_int_equal(top.count, 3);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(top.entries[i].hits, 10 * (4 - i));
            assert_int_equal(top.entries[i].id[0], 4 - i);
        }
        assert_int_equal(hits_of(&disk.fixture, &entries[0]), 0);
        assert_int_equal(hits_of(&disk.fixture, &entries[4]), 40);
        struct dj_engine_stats stats;
        dj_engine_stats(disk.fixture.engine, tenant_a, &stats);
        assert_int_equal(stats.hits, 100);
        dj_engine_stats(disk.fixture.engine, tenant_b, &stats);
        assert_int_equal(stats.hits, 0);
        disk_restart(&disk);
    }
    change(&disk.fixture, &entries[4], NULL, start_remove);
    assert_int_equal(hits_of(&disk.fixture, &entries[4]), 0);
    disk_restart(&disk);
    assert_int_equal(hits_of(&disk.fixture, &entries[4]), 0);
    assert_int_equal(hits_of(&disk.fixture, &entries[3]), 30);
    disk_close(&disk);
}

static void start_wrong(void *ctx)
{
    struct call *call = ctx;
    assert_int_equal(
        dj_engine_feedback(call->fixture->engine, caller(call), &call->key, true, call, on_removed),
        DEJA_OK);
}

static void start_right(void *ctx)
{
    struct call *call = ctx;
    assert_int_equal(dj_engine_feedback(call->fixture->engine, caller(call), &call->key, false,
                                        call, on_removed),
                     DEJA_OK);
}

static void wrong_answer_is_withdrawn_at_once(void **state)
{
    (void)state;
    struct disk disk;
    disk_open(&disk);
    struct dj_entry entry = entry_of(&disk.fixture, tenant_a, 1, STORED);
    struct dj_entry running = entry;
    assert_true(put(&disk.fixture, &entry));
    change(&disk.fixture, &entry, NULL, start_right);
    assert_true(is_there(&disk.fixture, key_of(&entry)));
    assert_int_equal(change(&disk.fixture, &entry, NULL, start_wrong), 1);
    assert_false(is_there(&disk.fixture, key_of(&entry)));
    struct dj_fingerprint asked = question(tenant_a, 2, REWORDED);
    expect_lookup(&disk.fixture, &asked, DJ_HIT_NONE, NULL);
    running.version++;
    assert_false(put(&disk.fixture, &running));
    disk_restart(&disk);
    assert_false(is_there(&disk.fixture, key_of(&entry)));
    struct dj_engine_stats stats;
    dj_engine_stats(disk.fixture.engine, tenant_a, &stats);
    assert_int_equal(stats.verdicts, 2);
    assert_int_equal(stats.verdicts_wrong, 1);
    disk_close(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_survives_a_restart_and_its_removal_does_too),
        cmocka_unit_test(clear_empties_both_tiers_for_good),
        cmocka_unit_test(each_entry_is_counted_once_over_the_tiers),
        cmocka_unit_test(selectors_take_what_they_name_and_nothing_else),
        cmocka_unit_test(removed_namespace_refuses_fills_that_began_before),
        cmocka_unit_test(removal_by_filter_leaves_a_tombstone),
        cmocka_unit_test(vectors_of_any_dimension_are_found_among_their_own),
        cmocka_unit_test(vector_of_another_kind_is_an_error_not_a_miss),
        cmocka_unit_test(bad_vectors_and_too_many_kinds_are_refused),
        cmocka_unit_test(find_gives_all_that_reach_the_threshold_best_first),
        cmocka_unit_test(filter_widens_the_search_to_the_best_that_match),
        cmocka_unit_test(entry_found_by_its_key_must_match_the_filter_too),
        cmocka_unit_test(batch_gives_each_text_its_vector_in_order),
        cmocka_unit_test(embed_survives_each_failed_allocation),
        cmocka_unit_test(selection_survives_each_failed_allocation),
        cmocka_unit_test(hits_are_counted_and_kept_through_a_restart),
        cmocka_unit_test(wrong_answer_is_withdrawn_at_once),
    };
    return RUN_TESTS(tests);
}
