#include "policy/prices.h"
#include "check.h"

#include <math.h>

static struct dj_prices *table_of(const struct dj_price *rows, size_t count)
{
    struct dj_prices *prices = NULL;
    assert_int_equal(dj_prices_create(rows, count, &prices), DEJA_OK);
    return prices;
}

static struct dj_prices *shipped_table(void)
{
    size_t count = 0;
    const struct dj_price *rows = dj_prices_shipped(&count);
    return table_of(rows, count);
}

static void model_costs_what_the_row_says_that_says_most_about_it(void **state)
{
    (void)state;
    struct dj_prices *prices = shipped_table();
    static const struct {
        const char *model;
        double input_usd; /* < 0: nobody knows it */
    } cases[] = {
        {"gpt-4o", 2.5},
        {"gpt-4o-2024-08-06", 2.5},
        {"gpt-4o-2024-05-13", 5},
        {"gpt-4o-mini", 0.15},
        {"gpt-4o-mini-2024-07-18", 0.15},
        {"openai/gpt-4o-mini", 0.15},
        {"models/gemini-2.5-flash", 0.3},
        {"gpt-4-0613", 30},
        {"gpt-4-1106-preview", 10},
        {"gpt-4-turbo-2024-04-09", 10},
        {"ft:gpt-4o-mini-2024-07-18:acme::x", 0.3},
        {"claude-opus-4-20250514", 15},
        {"claude-opus-4-5-20251101", 5},
        {"claude-3-5-haiku-latest", 0.8},
        {"mistral-small-2603", 0.15},
        /* another model than any of these */
        {"claude-opus-4-9", -1},
        {"claude-opus-4-9-20270101", -1},
        {"gpt-4o-audio-preview", -1},
        {"gpt-9", -1},
        {"llama3.1:8b", -1},
        {"", -1},
        {"openai/", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct dj_price *price = dj_prices_find(prices, deja_slice_text(cases[i].model));
        if (cases[i].input_usd < 0 ? price != NULL
                                   : !price || fabs(price->input_usd - cases[i].input_usd) > 1e-9)
            fail_msg("%s: %s", cases[i].model, price ? price->name : "no row");
    }
    assert_null(dj_prices_find(NULL, deja_slice_text("gpt-4o")));
    dj_prices_destroy(prices);
}

static void shipped_rows_are_sound_and_each_is_found_by_its_own_name(void **state)
{
    (void)state;
    size_t count = 0;
    const struct dj_price *rows = dj_prices_shipped(&count);
    struct dj_prices *prices = table_of(rows, count);
    assert_true(count > 100);
    for (size_t i = 0; i < count; i++) {
        const struct dj_price *found = dj_prices_find(prices, deja_slice_text(rows[i].name));
        assert_non_null(found);
        assert_string_equal(found->name, rows[i].name);
        assert_true(found->cached_usd < 0 || found->cached_usd <= found->input_usd);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(rows[k].name, rows[i].name);
    }
    dj_prices_destroy(prices);
}

static void longer_beginning_wins_and_a_later_row_replaces_an_equal_one(void **state)
{
    (void)state;
    const struct dj_price rows[] = {{"*", 1, -1, 1},
                                    {"house-*", 2, -1, 2},
                                    {"house-large", 3, -1, 3},
                                    {"house-large", 4, -1, 4}};
    struct dj_prices *prices = table_of(rows, 4);
    static const struct {
        const char *model;
        double usd;
    } cases[] = {{"anything", 1},    {"x/anything", 1},    {"house-small", 2},
                 {"house-large", 4}, {"x/house-large", 4}, {"x/house-small", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct dj_price *price = dj_prices_find(prices, deja_slice_text(cases[i].model));
        assert_non_null(price);
        if (fabs(price->input_usd - cases[i].usd) > 1e-9)
            fail_msg("%s: %s", cases[i].model, price->name);
    }
    dj_prices_destroy(prices);
}

static void rows_that_are_no_prices_are_refused(void **state)
{
    (void)state;
    const struct dj_price rows[] = {{"", 1, -1, 1},
                                    {NULL, 1, -1, 1},
                                    {"m", -1, -1, 1},
                                    {"m", 1, -1, (double)NAN},
                                    {"m", 1, (double)INFINITY, 1},
                                    {"m", 2 * DJ_PRICE_USD_MAX, -1, 1}};
    struct dj_prices *prices = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(dj_prices_create(&rows[i], 1, &prices), DEJA_ERR_INVALID);
    assert_int_equal(dj_prices_create(rows, DJ_PRICES_MAX + 1, &prices), DEJA_ERR_LIMIT);
    assert_null(prices);
}

static void cached_input_costs_its_own_price_where_there_is_one(void **state)
{
    (void)state;
    const struct dj_price price = {"m", 2, 0.5, 8};
    const struct dj_price plain = {"m", 2, -1, 8};
    const struct dj_price_usage usage = {
        .input_tokens = 1000000, .cached_tokens = 400000, .output_tokens = 500000};
    assert_true(fabs(dj_price_cost_usd(&price, &usage) - (1.2 + 0.2 + 4)) < 1e-9);
    assert_true(fabs(dj_price_cost_usd(&plain, &usage) - (2 + 4)) < 1e-9);
    const struct dj_price_usage liar = {.input_tokens = 1000000, .cached_tokens = UINT64_MAX};
    assert_true(fabs(dj_price_cost_usd(&price, &liar) - 0.5) < 1e-9);
}

static void hit_saves_what_is_known_else_a_guess_that_says_so(void **state)
{
    (void)state;
    const struct dj_price_guess guess = DJ_PRICE_GUESS;
    static const struct {
        struct dj_saving_facts facts;
        double usd;
        uint64_t tokens;
        bool is_guess;
    } cases[] = {
        {{DJ_SAVING_ANSWER, .cost_usd = 0.25, .input_tokens = 10, .output_tokens = 20},
         0.25,
         30,
         false},
        {{DJ_SAVING_ANSWER, .input_tokens = 10, .output_tokens = 20}, 0.0009, 30, true},
        {{.class = DJ_SAVING_ANSWER}, 0.03, 1000, true},
        {{DJ_SAVING_ANSWER, .cost_usd = (double)NAN}, 0.03, 1000, true},
        {{DJ_SAVING_EMBEDDING, .input_tokens = 1000000}, 0.02, 1000000, true},
        {{.class = DJ_SAVING_EMBEDDING}, 0, 0, true},
        {{.class = DJ_SAVING_DOCUMENT}, 0.05, 0, true},
        {{DJ_SAVING_DOCUMENT, .cost_usd = 0.4}, 0.4, 0, false},
        {{.class = DJ_SAVING_NOTHING}, 0, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_saving saving;
        dj_saving_work_out(&guess, &cases[i].facts, &saving);
        assert_true(fabs(saving.cost_usd - cases[i].usd) < 1e-9);
        assert_true(saving.input_tokens + saving.output_tokens == cases[i].tokens);
        assert_int_equal(saving.is_guess, cases[i].is_guess);
    }
}

static void kinds_save_what_stood_behind_them(void **state)
{
    (void)state;
    static const struct {
        const char *kind;
        enum dj_saving_class class;
    } cases[] = {{"response", DJ_SAVING_ANSWER},       {"analysis", DJ_SAVING_ANSWER},
                 {"template_score", DJ_SAVING_ANSWER}, {"template_embedding", DJ_SAVING_EMBEDDING},
                 {"embedding", DJ_SAVING_EMBEDDING},   {"document", DJ_SAVING_DOCUMENT},
                 {"ocr", DJ_SAVING_DOCUMENT},          {"doc_chunk", DJ_SAVING_DOCUMENT},
                 {"session", DJ_SAVING_NOTHING},       {"query", DJ_SAVING_NOTHING},
                 {"plain", DJ_SAVING_NOTHING},         {"", DJ_SAVING_ANSWER}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(dj_saving_class_of(deja_slice_text(cases[i].kind)), cases[i].class);
}

static void prices_survive_each_failed_allocation(void **state)
{
    (void)state;
    const struct dj_price row = {"m", 1, -1, 1};
    for (size_t n = 1;; n++) {
        struct dj_prices *prices = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_prices_create(&row, 1, &prices);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(prices == NULL, has_failed);
        dj_prices_destroy(prices);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_costs_what_the_row_says_that_says_most_about_it),
        cmocka_unit_test(shipped_rows_are_sound_and_each_is_found_by_its_own_name),
        cmocka_unit_test(longer_beginning_wins_and_a_later_row_replaces_an_equal_one),
        cmocka_unit_test(rows_that_are_no_prices_are_refused),
        cmocka_unit_test(cached_input_costs_its_own_price_where_there_is_one),
        cmocka_unit_test(hit_saves_what_is_known_else_a_guess_that_says_so),
        cmocka_unit_test(kinds_save_what_stood_behind_them),
        cmocka_unit_test(prices_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
