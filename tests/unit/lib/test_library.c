#include "library.h"

#include "store/directory.h"

static void reworded_question_is_a_semantic_hit(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_query query = query_of(REWORDED);
    struct deja_answer *answer = NULL;
    put(deja, STORED, "an answer");
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_OK);
    assert_int_equal(deja_answer_outcome(answer), DEJA_HIT_SEMANTIC);
    assert_slice(deja_answer_body(answer), "an answer");
    assert_slice(deja_answer_text(answer), STORED);
    assert_true(deja_answer_similarity(answer) >= 0.7 && deja_answer_similarity(answer) < 1);
    assert_string_equal(deja_answer_reason(answer), "memory");
    assert_true(deja_answer_expires_ms(answer) > deja_answer_created_ms(answer));
    deja_answer_release(answer);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void same_question_is_an_exact_hit_and_other_space_a_normalized_one(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    put(deja, "two words", "an answer");
    assert_int_equal(lookup_text(deja, "two words"), DEJA_HIT_EXACT);
    assert_int_equal(lookup_text(deja, " two   words "), DEJA_HIT_NORMALIZED);
    assert_int_equal(lookup_text(deja, "something else entirely"), DEJA_MISS);
    deja_close(deja);
}

static void answer_outlives_the_cache(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_query query = query_of(STORED);
    struct deja_answer *answer = NULL;
    put(deja, STORED, "kept");
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_OK);
    deja_close(deja);
    assert_slice(deja_answer_body(answer), "kept");
    deja_answer_release(answer);
}

static void tenants_name_spaces_and_thresholds_divide(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_query query = query_of(STORED);
    put(deja, STORED, "an answer");
    query.tenant[0] = 1;
    assert_int_equal(lookup(deja, &query), DEJA_MISS);
    query = query_of(STORED);
    query.name_space = deja_slice_text("other");
    assert_int_equal(lookup(deja, &query), DEJA_MISS);
    query = query_of(REWORDED);
    query.threshold = 0.999;
    assert_int_equal(lookup(deja, &query), DEJA_MISS);
    query = query_of(REWORDED);
    query.is_exact_only = true;
    assert_int_equal(lookup(deja, &query), DEJA_MISS);
    deja_close(deja);
}

static void what_cannot_be_asked_has_a_name(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum deja_status status;
        const char *name;
    } rows[] = {{"", DEJA_ERR_QUERY_EMPTY, "query_empty"},
                {" \n", DEJA_ERR_QUERY_EMPTY, "query_empty"},
                {"12345678901", DEJA_ERR_QUERY_TOO_LONG, "query_too_long"},
                {"a\x01", DEJA_ERR_QUERY_INVALID_CHARACTERS, "query_invalid_characters"},
                {"\xff", DEJA_ERR_QUERY_INVALID_CHARACTERS, "query_invalid_characters"}};
    struct deja_options options;
    struct deja *deja = NULL;
    struct deja_answer *answer = NULL;
    deja_options_init(&options);
    options.query_chars_max = 10;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct deja_query query = query_of(rows[i].text);
        assert_int_equal(deja_lookup(deja, &query, &answer), rows[i].status);
        assert_string_equal(deja_status_name(rows[i].status), rows[i].name);
    }
    struct deja_query query = query_of("x");
    query.threshold = 1.5;
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_ERR_INVALID);
    query = query_of("x");
    query.struct_bytes = 0;
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_ERR_INVALID);
    assert_null(answer);
    deja_close(deja);
}

static void struct_of_a_newer_header_is_read_and_what_it_asks_newly_refused(void **state)
{
    (void)state;
    struct {
        struct deja_query query;
        uint64_t newer;
    } grown = {.newer = 0};
    struct deja *deja = open_memory();
    struct deja_answer *answer = NULL;
    grown.query = query_of(STORED);
    grown.query.struct_bytes = sizeof grown;
    assert_int_equal(deja_lookup(deja, &grown.query, &answer), DEJA_OK);
    deja_answer_release(answer);
    grown.newer = 1;
    assert_int_equal(deja_lookup(deja, &grown.query, &answer), DEJA_ERR_UNSUPPORTED);
    deja_close(deja);
}

static void removed_and_cleared_entries_are_misses(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_query query = query_of(STORED);
    uint64_t count = 0;
    put(deja, STORED, "an answer");
    assert_int_equal(deja_remove(deja, &query, &count), DEJA_OK);
    assert_int_equal(count, 1);
    assert_int_equal(lookup(deja, &query), DEJA_MISS);
    assert_int_equal(lookup_text(deja, REWORDED), DEJA_MISS);
    assert_int_equal(deja_remove(deja, &query, &count), DEJA_OK);
    assert_int_equal(count, 0);
    put(deja, STORED, "an answer");
    assert_int_equal(deja_clear(deja, NULL, NO_LIMIT_MS, &count), DEJA_OK);
    assert_int_equal(count, 1);
    assert_int_equal(lookup(deja, &query), DEJA_MISS);
    deja_close(deja);
}

static void invalidated_tag_takes_its_entries(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_slice tag = deja_slice_text("prices");
    struct deja_entry entry = entry_of("tagged question", "an answer");
    entry.tags = &tag;
    entry.tag_count = 1;
    assert_int_equal(deja_put(deja, &entry, NULL), DEJA_OK);
    put(deja, "another question", "an answer");
    assert_int_equal(deja_invalidate(deja, NULL, tag, NO_LIMIT_MS, NULL), DEJA_OK);
    assert_int_equal(lookup_text(deja, "tagged question"), DEJA_MISS);
    assert_int_equal(lookup_text(deja, "another question"), DEJA_HIT_EXACT);
    assert_int_equal(deja_invalidate(deja, NULL, deja_slice_text(""), 0, NULL), DEJA_ERR_INVALID);
    deja_close(deja);
}

static void data_directory_is_kept_and_belongs_to_one(void **state)
{
    (void)state;
    struct directory folder;
    struct deja_options options;
    struct deja_error error;
    struct deja *deja = NULL;
    struct deja *second = NULL;
    directory_create(&folder);
    deja_options_init(&options);
    options.data_dir = folder.path;
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_OK);
    put(deja, STORED, "kept");
    assert_int_equal(deja_open(&options, &second, &error), DEJA_ERR_BUSY);
    assert_null(second);
    deja_close(deja);
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_OK);
    struct deja_query query = query_of(REWORDED);
    struct deja_answer *answer = NULL;
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_OK);
    assert_int_equal(deja_answer_outcome(answer), DEJA_HIT_SEMANTIC);
    assert_string_equal(deja_answer_reason(answer), "lmdb");
    assert_slice(deja_answer_body(answer), "kept");
    deja_answer_release(answer);
    deja_close(deja);
    directory_remove(&folder);
}

static void two_instances_do_not_know_each_other(void **state)
{
    (void)state;
    struct deja *a = open_memory();
    struct deja *b = open_memory();
    put(a, STORED, "an answer");
    assert_int_equal(lookup_text(b, STORED), DEJA_MISS);
    deja_close(a);
    assert_int_equal(lookup_text(b, STORED), DEJA_MISS);
    deja_close(b);
}

static void statistics_count_what_happened(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_stats stats;
    put(deja, STORED, "an answer");
    lookup_text(deja, STORED);
    lookup_text(deja, REWORDED);
    lookup_text(deja, "something else entirely");
    deja_stats_init(&stats);
    assert_int_equal(deja_stats(deja, NULL, &stats), DEJA_OK);
    assert_int_equal(stats.lookups, 3);
    assert_int_equal(stats.hits_exact, 1);
    assert_int_equal(stats.hits_semantic, 1);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.puts, 1);
    assert_int_equal(stats.memory_entries, 1);
    assert_int_equal(stats.vectors, 1);
    stats.struct_bytes = 0;
    assert_int_equal(deja_stats(deja, NULL, &stats), DEJA_ERR_INVALID);
    deja_close(deja);
}

static void callers_vector_stands_for_the_text(void **state)
{
    (void)state;
    static float vector[512];
    struct deja *deja = open_memory();
    struct deja_entry entry = entry_of("colour of water", "by vector");
    struct deja_query query = query_of("shade of the sea");
    struct deja_answer *answer = NULL;
    vector[3] = 2;
    entry.vector = vector;
    entry.vector_dim = 512;
    assert_int_equal(deja_put(deja, &entry, NULL), DEJA_OK);
    query.vector = vector;
    query.vector_dim = 512;
    assert_int_equal(lookup(deja, &query), DEJA_HIT_SEMANTIC);
    query.vector_dim = 511;
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_ERR_MISMATCH);
    query.vector_dim = 512;
    vector[3] = 0;
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_ERR_INVALID);
    deja_close(deja);
}

static void without_an_embedder_there_are_exact_hits(void **state)
{
    (void)state;
    static const float vector[3] = {1, 2, 3};
    struct deja_options options;
    struct deja *deja = NULL;
    struct deja_answer *answer = NULL;
    deja_options_init(&options);
    options.embed = DEJA_EMBED_NONE;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    assert_string_equal(deja_embedder_id(deja), "");
    put(deja, STORED, "an answer");
    assert_int_equal(lookup_text(deja, STORED), DEJA_HIT_EXACT);
    assert_int_equal(lookup_text(deja, REWORDED), DEJA_MISS);
    struct deja_entry entry = entry_of("colour of water", "by vector");
    struct deja_query query = query_of("shade of the sea");
    entry.vector = vector;
    entry.vector_dim = 3;
    entry.vector_model = deja_slice_text("mine");
    assert_int_equal(deja_put(deja, &entry, NULL), DEJA_OK);
    query.vector = vector;
    query.vector_dim = 3;
    query.vector_model = deja_slice_text("mine");
    assert_int_equal(lookup(deja, &query), DEJA_HIT_SEMANTIC);
    query.vector_model = deja_slice_text("yours");
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_ERR_MISMATCH);
    deja_close(deja);
}

static int64_t life_of(struct deja *deja, const char *text, uint64_t ttl_ms)
{
    struct deja_answer *answer = NULL;
    struct deja_query query = query_of(text);
    struct deja_entry entry = entry_of(text, "body");
    uint64_t count = 0;
    entry.ttl_ms = ttl_ms;
    assert_int_equal(deja_put(deja, &entry, &count), DEJA_OK);
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_OK);
    int64_t life_ms = deja_answer_expires_ms(answer) - deja_answer_created_ms(answer);
    deja_answer_release(answer);
    return life_ms;
}

static void a_life_is_the_entrys_else_that_of_its_texts_length(void **state)
{
    (void)state;
    struct deja *deja = NULL;
    struct deja_options options;
    struct deja_error error = {0};
    deja_options_init(&options);
    options.ttl_ms = 1000000;
    options.ttl_small_ms = 2000000;
    options.ttl_large_ms = 3000000;
    options.text_small_max = 5;
    options.text_medium_max = 5;
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_ERR_CONFIG);
    assert_non_null(strstr(error.message, "text_medium_max"));
    options.text_medium_max = 10;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    assert_in_range(life_of(deja, "short", 0), 1800000, 2000000);
    assert_in_range(life_of(deja, "no longer", 0), 900000, 1000000);
    assert_in_range(life_of(deja, "longer than ten", 0), 2700000, 3000000);
    assert_in_range(life_of(deja, "short", 50000), 45000, 50000);
    deja_close(deja);
}

static void too_large_is_refused(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_entry entry = entry_of("a question", "an answer");
    entry.body = deja_slice("", (size_t)DEJA_BODY_BYTES_MAX + 1);
    assert_int_equal(deja_put(deja, &entry, NULL), DEJA_ERR_LIMIT);
    entry = entry_of("a question", "an answer");
    entry.tag_count = DEJA_TAGS_MAX + 1;
    assert_int_equal(deja_put(deja, &entry, NULL), DEJA_ERR_LIMIT);
    deja_close(deja);
}

/* ---- callbacks ---- */

struct inside {
    struct deja *deja;
    struct tally tally;
    enum deja_status blocking;
    enum deja_status closing;
};

static void on_found(void *ctx, enum deja_status status, struct deja_answer *answer)
{
    struct inside *inside = ctx;
    struct deja_query query = query_of(STORED);
    struct deja_answer *unused = NULL;
    assert_int_equal(status, DEJA_OK);
    deja_answer_release(answer);
    inside->blocking = deja_lookup(inside->deja, &query, &unused);
    inside->closing = deja_close(inside->deja);
    tally_add(&inside->tally);
}

static void blocking_inside_a_callback_is_refused(void **state)
{
    (void)state;
    struct inside inside = {.deja = open_memory()};
    struct deja_query query = query_of(STORED);
    tally_init(&inside.tally);
    assert_int_equal(deja_lookup_async(inside.deja, &query, &inside, on_found), DEJA_OK);
    tally_wait(&inside.tally, 1);
    assert_int_equal(inside.blocking, DEJA_ERR_INVALID);
    assert_int_equal(inside.closing, DEJA_ERR_INVALID);
    assert_int_equal(deja_close(inside.deja), DEJA_OK);
    tally_fini(&inside.tally);
}

static void on_stored(void *ctx, enum deja_status status, uint64_t count)
{
    struct tally *tally = ctx;
    assert_int_equal(status, DEJA_OK);
    assert_int_equal(count, 1);
    tally_add(tally);
}

static void close_drains(void **state)
{
    (void)state;
    enum { PUTS = 200 };
    struct deja *deja = open_memory();
    struct tally tally;
    char text[32];
    tally_init(&tally);
    for (int i = 0; i < PUTS; i++) {
        snprintf(text, sizeof text, "question %d", i);
        struct deja_entry entry = entry_of(text, "an answer");
        assert_int_equal(deja_put_async(deja, &entry, &tally, on_stored), DEJA_OK);
    }
    assert_int_equal(deja_close(deja), DEJA_OK);
    assert_int_equal(tally.count, PUTS);
    tally_fini(&tally);
}

static void bad_options_are_told_in_words(void **state)
{
    (void)state;
    struct deja_options options = {.struct_bytes = 0};
    struct deja_error error = {""};
    struct deja *deja = NULL;
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_ERR_CONFIG);
    assert_non_null(strstr(error.message, "deja_options_init"));
    deja_options_init(&options);
    options.model_dir = "/nowhere/at/all";
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_ERR_NOT_FOUND);
    assert_non_null(strstr(error.message, "/nowhere/at/all"));
    deja_options_init(&options);
    options.threshold = 2;
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_ERR_CONFIG);
    assert_null(deja);
    assert_int_equal(deja_close(NULL), DEJA_OK);
}

static void deja_open_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct directory folder;
    struct deja_options options;
    directory_create(&folder);
    deja_options_init(&options);
    options.data_dir = folder.path;
    for (size_t n = 1;; n++) {
        struct deja *deja = NULL;
        failing_malloc_arm(n);
        enum deja_status status = deja_open(&options, &deja, NULL);
        bool has_failed = failing_malloc_disarm();
        if (status == DEJA_OK)
            deja_close(deja);
        else
            assert_null(deja);
        assert_true(status == DEJA_OK || has_failed);
        if (!has_failed)
            break;
    }
    directory_remove(&folder);
}

static void calls_survive_each_failed_allocation(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    for (size_t n = 1;; n++) {
        struct deja_entry entry = entry_of(STORED, "an answer");
        struct deja_query query = query_of(STORED);
        struct deja_answer *answer = NULL;
        failing_malloc_arm(n);
        enum deja_status stored = deja_put(deja, &entry, NULL);
        enum deja_status found = deja_lookup(deja, &query, &answer);
        bool has_failed = failing_malloc_disarm();
        deja_answer_release(answer);
        assert_true(has_failed || (stored == DEJA_OK && found == DEJA_OK));
        assert_true(found == DEJA_OK || !answer);
        if (!has_failed)
            break;
    }
    deja_close(deja);
}

static void what_was_made_from_something_goes_with_it(void **state)
{
    (void)state;
    struct deja *deja = NULL;
    struct deja_options options;
    struct deja_entry entry;
    struct deja_slice root = deja_slice_text("doc:7");
    struct deja_slice tag = deja_slice_text("user:1");
    struct deja_slice reserved = deja_slice_text("\x01"
                                                 "dep:doc:7");
    uint64_t count = 9;
    deja_options_init(&options);
    options.embed = DEJA_EMBED_NONE;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    deja_entry_init(&entry);
    entry.text = deja_slice_text("made from it");
    entry.body = deja_slice_text("x");
    entry.depends_on = &root;
    entry.depends_on_count = 1;
    assert_int_equal(deja_put(deja, &entry, NULL), DEJA_OK);
    assert_int_equal(deja_cascade(deja, NULL, deja_slice_text("doc:8"), 0, &count), DEJA_OK);
    assert_int_equal(count, 0);
    assert_int_equal(deja_cascade(deja, NULL, root, 0, &count), DEJA_OK);
    assert_int_equal(count, 1);
    entry.depends_on_count = 0;
    entry.tags = &tag;
    entry.tag_count = 1;
    assert_int_equal(deja_put(deja, &entry, NULL), DEJA_OK);
    assert_int_equal(deja_invalidate_pattern(deja, NULL, deja_slice_text("user:*"), 0, &count),
                     DEJA_OK);
    assert_int_equal(count, 1);
    assert_int_equal(deja_invalidate_pattern(deja, NULL, deja_slice_text(""), 0, &count),
                     DEJA_ERR_INVALID);
    entry.tags = &reserved; /* nobody else can name it */
    assert_int_equal(deja_put(deja, &entry, NULL), DEJA_ERR_INVALID);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reworded_question_is_a_semantic_hit),
        cmocka_unit_test(same_question_is_an_exact_hit_and_other_space_a_normalized_one),
        cmocka_unit_test(answer_outlives_the_cache),
        cmocka_unit_test(tenants_name_spaces_and_thresholds_divide),
        cmocka_unit_test(what_cannot_be_asked_has_a_name),
        cmocka_unit_test(struct_of_a_newer_header_is_read_and_what_it_asks_newly_refused),
        cmocka_unit_test(removed_and_cleared_entries_are_misses),
        cmocka_unit_test(invalidated_tag_takes_its_entries),
        cmocka_unit_test(data_directory_is_kept_and_belongs_to_one),
        cmocka_unit_test(two_instances_do_not_know_each_other),
        cmocka_unit_test(statistics_count_what_happened),
        cmocka_unit_test(callers_vector_stands_for_the_text),
        cmocka_unit_test(without_an_embedder_there_are_exact_hits),
        cmocka_unit_test(a_life_is_the_entrys_else_that_of_its_texts_length),
        cmocka_unit_test(too_large_is_refused),
        cmocka_unit_test(blocking_inside_a_callback_is_refused),
        cmocka_unit_test(close_drains),
        cmocka_unit_test(bad_options_are_told_in_words),
        cmocka_unit_test(deja_open_survives_each_failed_allocation),
        cmocka_unit_test(calls_survive_each_failed_allocation),
        cmocka_unit_test(what_was_made_from_something_goes_with_it),
    };
    return RUN_TESTS(tests);
}
