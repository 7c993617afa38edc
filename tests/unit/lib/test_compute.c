#include "library.h"

/* A computation that waits until it is let go, so that a test decides the order of things. */
struct gate {
    struct deja *deja;
    struct tally begun;
    struct tally let_go;
    enum deja_status status;
    bool is_kept_out;
    const char *tag;
    enum deja_status closing;
};

static void gate_init(struct gate *gate, struct deja *deja)
{
    *gate = (struct gate){.deja = deja};
    tally_init(&gate->begun);
    tally_init(&gate->let_go);
}

static void gate_fini(struct gate *gate)
{
    tally_fini(&gate->begun);
    tally_fini(&gate->let_go);
}

static enum deja_status compute(void *ctx, struct deja_made *made)
{
    struct gate *gate = ctx;
    if (gate->tag)
        deja_made_add_tag(made, deja_slice_text(gate->tag));
    tally_add(&gate->begun);
    tally_wait(&gate->let_go, 1);
    deja_made_append(made, deja_slice_text("com"));
    deja_made_append(made, deja_slice_text("puted"));
    deja_made_set_model(made, deja_slice_text("a model"));
    deja_made_set_metadata(made, deja_slice_text("{}"));
    if (gate->is_kept_out)
        deja_made_keep_out(made);
    return gate->status;
}

static enum deja_status compute_nothing(void *ctx, struct deja_made *made)
{
    unsigned *calls = ctx;
    ++*calls;
    deja_made_append(made, deja_slice_text("dropped"));
    deja_made_set_nothing(made);
    return DEJA_OK;
}

struct asker {
    struct gate *gate;
    struct tally *ended;
    enum deja_status status;
    struct deja_answer *answer;
    pthread_t thread;
};

static void *ask(void *ctx)
{
    struct asker *asker = ctx;
    struct deja_query query = query_of(STORED);
    asker->status =
        deja_get_or_compute(asker->gate->deja, &query, asker->gate, compute, &asker->answer);
    return NULL;
}

static void start(struct asker *asker, struct gate *gate)
{
    *asker = (struct asker){.gate = gate};
    assert_int_equal(pthread_create(&asker->thread, NULL, ask, asker), 0);
}

static void on_answer(void *ctx, enum deja_status status, struct deja_answer *answer)
{
    struct asker *asker = ctx;
    asker->status = status;
    asker->answer = answer;
    tally_add(asker->ended);
}

static struct deja_stats stats_of(struct deja *deja)
{
    struct deja_stats stats;
    deja_stats_init(&stats);
    assert_int_equal(deja_stats(deja, NULL, &stats), DEJA_OK);
    return stats;
}

/* Its vector is made after the answer was handed over. */
static enum deja_outcome find_reworded(struct deja *deja)
{
    enum deja_outcome outcome = DEJA_MISS;
    for (int i = 0; i < 1000000 && outcome == DEJA_MISS; i++)
        outcome = lookup_text(deja, REWORDED);
    return outcome;
}

static void answer_is_computed_once_and_then_found(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct gate gate;
    struct asker asker = {.gate = &gate};
    gate_init(&gate, deja);
    tally_add(&gate.let_go);
    ask(&asker);
    assert_int_equal(asker.status, DEJA_OK);
    assert_int_equal(deja_answer_outcome(asker.answer), DEJA_COMPUTED);
    assert_slice(deja_answer_body(asker.answer), "computed");
    assert_slice(deja_answer_model(asker.answer), "a model");
    assert_slice(deja_answer_metadata(asker.answer), "{}");
    deja_answer_release(asker.answer);
    ask(&asker);
    assert_int_equal(deja_answer_outcome(asker.answer), DEJA_HIT_EXACT);
    deja_answer_release(asker.answer);
    assert_int_equal(find_reworded(deja), DEJA_HIT_SEMANTIC);
    assert_int_equal(gate.begun.count, 1);
    gate_fini(&gate);
    deja_close(deja);
}

/* Asks by the _async call until the cache says that so many wait. */
static void all_who_ask_meanwhile_get_the_one_answer(void **state)
{
    (void)state;
    enum { ASKERS = 20 };
    struct deja *deja = open_memory();
    struct gate gate;
    struct asker first;
    struct asker others[ASKERS];
    struct tally ended;
    gate_init(&gate, deja);
    tally_init(&ended);
    start(&first, &gate);
    tally_wait(&gate.begun, 1);
    for (int i = 0; i < ASKERS; i++) {
        struct deja_query query = query_of(STORED);
        others[i] = (struct asker){.gate = &gate, .ended = &ended};
        assert_int_equal(
            deja_get_or_compute_async(deja, &query, &gate, compute, &others[i], on_answer),
            DEJA_OK);
    }
    tally_add(&gate.let_go);
    pthread_join(first.thread, NULL);
    tally_wait(&ended, ASKERS);
    assert_int_equal(deja_answer_outcome(first.answer), DEJA_COMPUTED);
    deja_answer_release(first.answer);
    for (int i = 0; i < ASKERS; i++) {
        assert_int_equal(others[i].status, DEJA_OK);
        assert_slice(deja_answer_body(others[i].answer), "computed");
        deja_answer_release(others[i].answer);
    }
    assert_int_equal(gate.begun.count, 1);
    assert_int_equal(stats_of(deja).computations, 1);
    tally_fini(&ended);
    gate_fini(&gate);
    deja_close(deja);
}

static void failure_is_everybodys_and_is_not_stored(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct gate gate;
    struct asker asker = {.gate = &gate};
    gate_init(&gate, deja);
    gate.status = DEJA_ERR_DENIED;
    tally_add(&gate.let_go);
    ask(&asker);
    assert_int_equal(asker.status, DEJA_ERR_DENIED);
    assert_null(asker.answer);
    gate.status = (enum deja_status)7;
    ask(&asker);
    assert_int_equal(asker.status, DEJA_ERR_INVALID);
    assert_int_equal(gate.begun.count, 2);
    assert_int_equal(lookup_text(deja, STORED), DEJA_MISS);
    gate_fini(&gate);
    deja_close(deja);
}

static void answer_kept_out_is_handed_on_and_not_stored(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct gate gate;
    struct asker asker = {.gate = &gate};
    gate_init(&gate, deja);
    gate.is_kept_out = true;
    tally_add(&gate.let_go);
    ask(&asker);
    assert_slice(deja_answer_body(asker.answer), "computed");
    deja_answer_release(asker.answer);
    assert_int_equal(lookup_text(deja, STORED), DEJA_MISS);
    gate_fini(&gate);
    deja_close(deja);
}

/* Twice; how often it was computed. */
static unsigned ask_for_nothing(struct deja *deja, const char *text)
{
    unsigned calls = 0;
    struct deja_query query = query_of(text);
    for (int i = 0; i < 2; i++) {
        struct deja_answer *answer = NULL;
        assert_int_equal(deja_get_or_compute(deja, &query, &calls, compute_nothing, &answer),
                         DEJA_OK);
        assert_true(deja_answer_is_nothing(answer));
        assert_int_equal(deja_answer_body(answer).len, 0);
        assert_int_equal(deja_answer_outcome(answer),
                         (int)calls == i + 1 ? DEJA_COMPUTED : DEJA_HIT_EXACT);
        deja_answer_release(answer);
    }
    return calls;
}

static void nothing_is_remembered_only_where_the_options_say_so(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    assert_int_equal(ask_for_nothing(deja, STORED), 2);
    assert_int_equal(lookup_text(deja, STORED), DEJA_MISS);
    deja_close(deja);
    struct deja_options options;
    deja_options_init(&options);
    options.nothing_ttl_ms = NO_LIMIT_MS;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    assert_int_equal(ask_for_nothing(deja, STORED), 1);
    assert_int_equal(lookup_text(deja, REWORDED), DEJA_MISS);
    put(deja, STORED, "an answer after all");
    struct deja_query query = query_of(STORED);
    struct deja_answer *answer = NULL;
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_OK);
    assert_false(deja_answer_is_nothing(answer));
    assert_slice(deja_answer_body(answer), "an answer after all");
    assert_true(deja_answer_expires_ms(answer) > deja_answer_created_ms(answer) + NO_LIMIT_MS);
    deja_answer_release(answer);
    deja_close(deja);
}

static void who_waits_too_long_is_told_and_the_computation_goes_on(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct gate gate;
    struct asker first;
    struct deja_answer *answer = NULL;
    struct deja_query query = query_of(STORED);
    gate_init(&gate, deja);
    start(&first, &gate);
    tally_wait(&gate.begun, 1);
    query.timeout_ms = 1;
    assert_int_equal(deja_get_or_compute(deja, &query, &gate, compute, &answer), DEJA_ERR_TIMEOUT);
    assert_null(answer);
    tally_add(&gate.let_go);
    pthread_join(first.thread, NULL);
    assert_int_equal(first.status, DEJA_OK);
    deja_answer_release(first.answer);
    assert_int_equal(stats_of(deja).timeouts, 1);
    gate_fini(&gate);
    deja_close(deja);
}

static void waiters_are_bounded(void **state)
{
    (void)state;
    struct deja_options options;
    struct deja *deja = NULL;
    struct gate gate;
    struct asker first;
    struct asker second = {.gate = &gate};
    struct deja_answer *answer = NULL;
    struct tally ended;
    struct deja_query query = query_of(STORED);
    deja_options_init(&options);
    options.waiters_max = 1;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    gate_init(&gate, deja);
    tally_init(&ended);
    second.ended = &ended;
    start(&first, &gate);
    tally_wait(&gate.begun, 1);
    assert_int_equal(deja_get_or_compute_async(deja, &query, &gate, compute, &second, on_answer),
                     DEJA_OK);
    assert_int_equal(deja_get_or_compute(deja, &query, &gate, compute, &answer),
                     DEJA_ERR_RATE_LIMITED);
    tally_add(&gate.let_go);
    pthread_join(first.thread, NULL);
    tally_wait(&ended, 1);
    deja_answer_release(first.answer);
    deja_answer_release(second.answer);
    tally_fini(&ended);
    gate_fini(&gate);
    deja_close(deja);
}

static void operations_are_bounded(void **state)
{
    (void)state;
    struct deja_options options;
    struct deja *deja = NULL;
    struct gate gate;
    struct asker first;
    struct deja_answer *answer = NULL;
    struct deja_query query = query_of(STORED);
    deja_options_init(&options);
    options.operations_max = 1;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    gate_init(&gate, deja);
    start(&first, &gate);
    tally_wait(&gate.begun, 1);
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_ERR_RATE_LIMITED);
    tally_add(&gate.let_go);
    pthread_join(first.thread, NULL);
    deja_answer_release(first.answer);
    gate_fini(&gate);
    deja_close(deja);
}

static void bytes_under_way_are_bounded(void **state)
{
    (void)state;
    struct deja_options options;
    struct deja *deja = NULL;
    struct gate gate;
    struct asker first;
    struct deja_entry entry = entry_of("large", "more than a byte");
    deja_options_init(&options);
    options.operation_bytes_max = 1;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    for (int i = 0; i < 100; i++)
        put(deja, "alone it passes", "whatever its size");
    gate_init(&gate, deja);
    start(&first, &gate);
    tally_wait(&gate.begun, 1);
    assert_int_equal(deja_put(deja, &entry, NULL), DEJA_ERR_RATE_LIMITED);
    tally_add(&gate.let_go);
    pthread_join(first.thread, NULL);
    deja_answer_release(first.answer);
    gate_fini(&gate);
    deja_close(deja);
}

/* remove, clear, invalidate: what was being computed before is handed to who asked before, stored
 * for nobody, and joined by nobody after. */
static void check_outrun(int how)
{
    struct deja *deja = open_memory();
    struct gate gate;
    struct gate second_gate;
    struct asker first;
    struct asker second = {.gate = &second_gate};
    struct deja_query query = query_of(STORED);
    gate_init(&gate, deja);
    gate_init(&second_gate, deja);
    gate.tag = "a tag";
    start(&first, &gate);
    tally_wait(&gate.begun, 1);
    if (how == 0)
        assert_int_equal(deja_remove(deja, &query, NULL), DEJA_OK);
    else if (how == 1)
        assert_int_equal(deja_clear(deja, NULL, NO_LIMIT_MS, NULL), DEJA_OK);
    else if (how == 2)
        assert_int_equal(deja_invalidate(deja, NULL, deja_slice_text("a tag"), NO_LIMIT_MS, NULL),
                         DEJA_OK);
    else
        assert_int_equal(
            deja_invalidate_pattern(deja, NULL, deja_slice_text("a t*"), NO_LIMIT_MS, NULL),
            DEJA_OK);
    tally_add(&second_gate.let_go);
    second_gate.is_kept_out = true;
    ask(&second);
    assert_int_equal(deja_answer_outcome(second.answer), DEJA_COMPUTED);
    tally_add(&gate.let_go);
    pthread_join(first.thread, NULL);
    assert_int_equal(first.status, DEJA_OK);
    assert_int_equal(lookup_text(deja, STORED), DEJA_MISS);
    deja_answer_release(first.answer);
    deja_answer_release(second.answer);
    gate_fini(&gate);
    gate_fini(&second_gate);
    deja_close(deja);
}

static void removed_meanwhile_is_not_stored_and_not_joined(void **state)
{
    (void)state;
    check_outrun(0);
}

static void cleared_meanwhile_is_not_stored_and_not_joined(void **state)
{
    (void)state;
    check_outrun(1);
}

static void invalidated_meanwhile_is_not_stored_and_not_joined(void **state)
{
    (void)state;
    check_outrun(2);
}

static void made_void_by_a_pattern_meanwhile_is_not_stored_and_not_joined(void **state)
{
    (void)state;
    check_outrun(3);
}

static enum deja_status invalidate_then_tag(void *ctx, struct deja_made *made)
{
    struct deja *deja = ctx;
    assert_int_equal(deja_invalidate(deja, NULL, deja_slice_text("late"), NO_LIMIT_MS, NULL),
                     DEJA_OK);
    deja_made_append(made, deja_slice_text("old"));
    deja_made_add_tag(made, deja_slice_text("late"));
    return DEJA_OK;
}

/* Its counter is noted when it is added, which is after the raise. */
static void tag_added_after_its_invalidation_is_looked_at_as_of_the_beginning(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_query query = query_of(STORED);
    struct deja_answer *answer = NULL;
    assert_int_equal(deja_get_or_compute(deja, &query, deja, invalidate_then_tag, &answer),
                     DEJA_OK);
    assert_slice(deja_answer_body(answer), "old");
    deja_answer_release(answer);
    assert_int_equal(lookup_text(deja, STORED), DEJA_MISS);
    deja_close(deja);
}

static enum deja_status close_inside(void *ctx, struct deja_made *made)
{
    struct gate *gate = ctx;
    gate->closing = deja_close(gate->deja);
    deja_made_append(made, deja_slice_text("x"));
    put(gate->deja, "another question", "put inside"); /* calls are allowed */
    return DEJA_OK;
}

static void close_inside_a_computation_is_refused(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct gate gate;
    struct deja_answer *answer = NULL;
    struct deja_query query = query_of(STORED);
    gate_init(&gate, deja);
    assert_int_equal(deja_get_or_compute(deja, &query, &gate, close_inside, &answer), DEJA_OK);
    assert_int_equal(gate.closing, DEJA_ERR_INVALID);
    assert_int_equal(lookup_text(deja, "another question"), DEJA_HIT_EXACT);
    deja_answer_release(answer);
    gate_fini(&gate);
    deja_close(deja);
}

static enum deja_status too_much(void *ctx, struct deja_made *made)
{
    (void)ctx;
    for (int i = 0; i < DEJA_TAGS_MAX + 1; i++)
        deja_made_add_tag(made, deja_slice_text("tag"));
    return DEJA_OK;
}

static void what_does_not_fit_is_told(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_answer *answer = NULL;
    struct deja_query query = query_of(STORED);
    assert_int_equal(deja_get_or_compute(deja, &query, NULL, too_much, &answer), DEJA_ERR_LIMIT);
    deja_close(deja);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_is_computed_once_and_then_found),
        cmocka_unit_test(all_who_ask_meanwhile_get_the_one_answer),
        cmocka_unit_test(failure_is_everybodys_and_is_not_stored),
        cmocka_unit_test(answer_kept_out_is_handed_on_and_not_stored),
        cmocka_unit_test(nothing_is_remembered_only_where_the_options_say_so),
        cmocka_unit_test(who_waits_too_long_is_told_and_the_computation_goes_on),
        cmocka_unit_test(waiters_are_bounded),
        cmocka_unit_test(operations_are_bounded),
        cmocka_unit_test(bytes_under_way_are_bounded),
        cmocka_unit_test(removed_meanwhile_is_not_stored_and_not_joined),
        cmocka_unit_test(cleared_meanwhile_is_not_stored_and_not_joined),
        cmocka_unit_test(invalidated_meanwhile_is_not_stored_and_not_joined),
        cmocka_unit_test(made_void_by_a_pattern_meanwhile_is_not_stored_and_not_joined),
        cmocka_unit_test(tag_added_after_its_invalidation_is_looked_at_as_of_the_beginning),
        cmocka_unit_test(close_inside_a_computation_is_refused),
        cmocka_unit_test(what_does_not_fit_is_told),
    };
    return RUN_TESTS(tests);
}
