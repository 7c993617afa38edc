#include "policy/guards.h"
#include "check.h"

#include "base/buf.h"

struct pair {
    const char *a;
    const char *b;
};

static uint32_t compare(const char *a, const char *b)
{
    struct dj_guard_features fa;
    struct dj_guard_features fb;
    struct dj_guard_verdict verdict;
    struct dj_guard_verdict reverse;
    assert_int_equal(dj_guard_features_init(&fa, deja_slice_text(a)), DEJA_OK);
    assert_int_equal(dj_guard_features_init(&fb, deja_slice_text(b)), DEJA_OK);
    dj_guards_compare(&fa, &fb, &verdict);
    dj_guards_compare(&fb, &fa, &reverse);
    assert_int_equal(verdict.refused, reverse.refused);
    dj_guard_features_fini(&fa);
    dj_guard_features_fini(&fb);
    return verdict.refused;
}

static void check_pair(const char *a, const char *b, bool is_right)
{
    if (!is_right)
        print_error("\"%s\" against \"%s\"\n", a, b);
    assert_true(is_right);
}

/* Guard refuses every pair (perhaps with others). */
static void refuses(enum dj_guard guard, const struct pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_pair(pairs[i].a, pairs[i].b, compare(pairs[i].a, pairs[i].b) & 1u << guard);
}

static void passes(const struct pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_pair(pairs[i].a, pairs[i].b, compare(pairs[i].a, pairs[i].b) == 0);
}

#define REFUSES(guard, ...)                                  \
    do {                                                     \
        static const struct pair pairs[] = {__VA_ARGS__};    \
        refuses(guard, pairs, sizeof pairs / sizeof *pairs); \
    } while (0)
#define PASSES(...)                                       \
    do {                                                  \
        static const struct pair pairs[] = {__VA_ARGS__}; \
        passes(pairs, sizeof pairs / sizeof *pairs);      \
    } while (0)

static void reworded_questions_pass(void **state)
{
    (void)state;
    PASSES({"What is the capital of Spain?", "Which city is the capital of Spain?"},
           {"how old is the earth", "How old is Earth?"},
           {"How can I lose weight quickly?", "What is the best way to lose weight?"},
           {"Which clients for Valkey are common?", "which valkey clients are common?"},
           {"Show me code that reverses a string in Rust", "How do I reverse a string in Rust?"},
           {"Can dogs eat chocolate?", "Is it okay for dogs to eat chocolate?"}, {"", ""});
}

static void other_numbers_are_refused(void **state)
{
    (void)state;
    REFUSES(DJ_GUARD_NUMBERS, {"What is 15% of 100?", "What is 25% of 100?"},
            {"Order 10041 status", "Order 10042 status"}, /* one digit */
            {"List 5 tips for a job interview", "List tips for a job interview"},
            {"What happened in 1995?", "What happened in 1996?"},
            {"Give me two examples", "Give me three examples"},
            {"How far is 2.5 million km?", "How far is 2.5 km?"},
            {"Install Python 3.1", "Install Python 3.10"},
            {"Is it -5 outside?", "Is it 5 outside?"},
            {"Explain the first law", "Explain the second law"},
            {"Is 1/2/2020 a holiday?", "Is 2/1/2020 a holiday?"});
}

static void same_numbers_in_other_forms_pass(void **state)
{
    (void)state;
    PASSES({"List five fruits.", "List 5 fruits."},
           {"Write a 200 word essay on honesty.", "Write a two-hundred-word essay on honesty."},
           {"What is 10% of 500?", "Calculate 10 percent of 500."},
           {"Is 1,000,000 a lot?", "Is one million a lot?"},
           {"laptops under $30k", "laptops under 30,000 dollars"},
           {"Install CUDA 12.0 now", "Install CUDA 12 now"},
           {"the 21st amendment", "the twenty-first amendment"},
           {"Is GPT4 better?", "Is GPT-4 better?"}, {"5. How do I start?", "How do I start?"},
           {"the 1,500 metre race", "the 1500 meters race"});
}

static void other_units_are_refused(void **state)
{
    (void)state;
    REFUSES(DJ_GUARD_UNITS, {"Convert 5 kilometers to miles.", "Convert 5 miles to kilometers."},
            {"How many pounds is 3 kilograms?", "What is 3 pounds in kilograms?"},
            {"Is 40 celsius hot?", "Is 40 fahrenheit hot?"},
            {"What can I buy for $20?", "What can I buy for 20 euros?"},
            {"a timer of 10 minutes", "a timer of 10 hours"});
    PASSES({"What is 12 km in miles?", "How many miles is 12 kilometers?"},
           {"earphones under 1000", "earphones under Rs 1000"});
}

static void other_dates_and_times_are_refused(void **state)
{
    (void)state;
    REFUSES(DJ_GUARD_DATES, {"weather in Rome in March", "weather in Rome in May"},
            {"Is the shop open on Monday?", "Is the shop open on Sunday?"},
            {"What will the weather be today?", "What will the weather be tomorrow?"},
            {"events in Oslo in July", "events in Oslo"});
    REFUSES(DJ_GUARD_NUMBERS, {"Wake me at 3 pm", "Wake me at 3 am"});
    PASSES({"Set an alarm for 7 am.", "Set an alarm for 7:00 AM."},
           {"What time is it when it is 15:00?", "What time is it when it is 3 pm?"},
           {"What happened on 2024-01-15?", "What happened on January 15, 2024?"},
           {"May I bring a dog?", "Can I bring a dog?"});
}

static void a_negation_on_one_side_is_refused(void **state)
{
    (void)state;
    REFUSES(DJ_GUARD_NEGATION, {"Which animals can fly?", "Which animals cannot fly?"},
            {"What animals are able to fly?", "What animals are unable to fly?"},
            {"Is it legal to record a call?", "Is it illegal to record a call?"},
            {"Is it legal to record a call?", "Is it illegal to not record a call?"},
            {"Should I invest in gold?", "Should I avoid investing in gold?"},
            {"Explain recursion with code", "Explain recursion without code"},
            {"Why is the sky blue?", "Why isn't the sky blue?"});
    PASSES({"Why don't cats like water?", "Why do cats not like water?"},
           {"Which animals cannot fly?", "What animals are unable to fly?"},
           {"Explain recursion without code", "Explain recursion, do not include code"},
           {"Is it legal?", "Is it legal or not?"},
           {"Why was the parcel late?", "I don't understand why the parcel was late."},
           {"Play the next song", "Stop the song, play the next one"},
           {"Should I not invest in gold now?", "Should I avoid investing in gold now?"});
}

static void opposites_are_refused(void **state)
{
    (void)state;
    /* The cases users report of other caches (enable against disable scores above turn on). */
    REFUSES(DJ_GUARD_OPPOSITES, {"enable 2FA", "disable 2FA"}, {"turn on 2FA", "disable 2FA"},
            {"turn on dark mode", "turn off dark mode"},
            {"Turn the lights on", "Turn the lights off"},
            {"How do I lock my card?", "How do I unlock my card?"},
            {"What should I eat before a run?", "What should I eat after a run?"},
            {"What are the advantages of nuclear power?", "What are the cons of nuclear power?"},
            {"How do I install Docker?", "How do I remove Docker?"},
            {"How to increase blood pressure", "How to lower blood pressure"});
    PASSES({"turn on 2FA", "enable 2FA"},
           {"How do I disable cookies?", "How can cookies be turned off?"});
}

static void other_quantities_are_refused(void **state)
{
    (void)state;
    REFUSES(DJ_GUARD_QUANTIFIERS, {"Find the maximum of a list", "Find the smallest in a list"},
            {"What is the largest planet?", "What is the smallest planet?"},
            {"What is the cheapest way to ship?", "What is the fastest way to ship?"},
            {"Is it at least ten?", "Is it at most ten?"});
    PASSES({"the cheapest way to ship it", "the least expensive way to ship it"},
           {"Find the maximum of a list", "Find the largest of a list"});
}

static void other_names_are_refused(void **state)
{
    (void)state;
    REFUSES(DJ_GUARD_ENTITIES, {"Who is the CEO of Apple?", "Who is the CEO of Tesla?"},
            {"how old is tom hanks in france", "how old is tom hanks in spain"},
            {"Can dogs eat rice?", "Is cheese safe for dogs?"},
            {"reverse a string in C++", "reverse a string in C#"},
            {"Sort a list in Python", "Sort a list"},
            {"Translate it into French", "Translate it into German"},
            {"Answer as JSON", "Answer as a table in CSV"},
            {"Write a biography of Grace Hopper", "Write a biography of Alan Turing"},
            {"Is 7 prime for user Alice", "Is 7 prime for user Bob"});
}

static void same_names_in_other_forms_pass(void **state)
{
    (void)state;
    PASSES(
        {"What does NASA do?", "What does the National Aeronautics and Space Administration do?"},
        {"Define GDP.", "Define gross domestic product."},
        {"How do I parse JSON in JS?", "How do I parse JSON in JavaScript?"},
        {"Who was the PM of the UK in 1990?",
         "Who was the prime minister of the United Kingdom in 1990?"},
        {"What exactly is Snow Drift?", "what is snowdrift"},
        {"the Berlin weather", "Berlin's weather"},
        {"Who is Vladimir Horowitz?", "Who is Vladimir Horovitz?"});
}

static void other_literals_are_refused(void **state)
{
    (void)state;
    REFUSES(DJ_GUARD_LITERALS, {"What does `os.path` do?", "What does `os.walk` do?"},
            {"What does \"foo\" mean?", "What does \"bar\" mean?"},
            {"Open /etc/passwd/x now", "Open /etc/shadow/x now"},
            {"What is 7 - 3?", "What is 3 - 7?"}, {"What is 4 + 2?", "What is 4 * 2?"});
    PASSES({"What is `app.compile`?", "What is \"app.compile\"?"},
           {"What does write_rows() do?", "What does Table.write_rows do?"});
}

static void exchanged_roles_are_refused(void **state)
{
    (void)state;
    REFUSES(DJ_GUARD_DIRECTION,
            {"Find flights from Rome to Oslo", "Find flights from Oslo to Rome"},
            {"flights from rome to oslo", "flights to rome from oslo"},
            {"an email from Bob to Carlos", "an email Carlos should send Bob"},
            {"Why did Norway invade Germany?", "Why did Germany invade Norway?"},
            {"Is Python faster than Java?", "Is Java faster than Python?"},
            {"move it from alpha to beta", "move it from beta to alpha"},
            {"Sort from smallest to largest", "Sort in descending order"},
            {"Turn Java code into Go", "Port Go code to Java"},
            /* names of different classes */
            {"Convert a file from PDF to Word", "Convert a file from Word to PDF"},
            {"Is Oracle older than Google?", "Is Google older than Oracle?"},
            {"Did English lend money to French?", "Did French lend money to English?"});
    PASSES({"flights from Rome to Oslo", "flights to Oslo from Rome"},
           {"Why did Germany invade Norway?", "Why was Norway invaded by Germany?"},
           {"Compare Java and Python", "Compare Python and Java"},
           {"Sort from smallest to largest", "Sort in ascending order"},
           {"use Redis with Django", "with Django use Redis"});
}

static void other_kinds_of_question_are_refused(void **state)
{
    (void)state;
    REFUSES(DJ_GUARD_QUESTION_TYPE, {"When was the bridge built?", "Who was the bridge built by?"},
            {"Why was it built?", "Where was it built?"});
    PASSES({"What is the reason for rain?", "Why is there rain?"});
}

static void other_languages_are_refused(void **state)
{
    (void)state;
    REFUSES(DJ_GUARD_LANGUAGE,
            {"What is the capital of this land?", "\xc2\xbf"
                                                  "Cu\xc3\xa1l es la capital de este pa\xc3\xads?"},
            {"What is the capital of this land?",
             "\xd0\x9a\xd0\xb0\xd0\xba\xd0\xb0\xd1\x8f \xd1\x81\xd1\x82\xd0\xbe\xd0\xbb\xd0\xb8"
             "\xd1\x86\xd0\xb0"});
}

static void much_longer_questions_are_refused(void **state)
{
    (void)state;
    REFUSES(DJ_GUARD_LENGTH_RATIO,
            {"What is rain?", "What is rain, how does it form, why does it fall, and what would "
                              "become of a farm without any?"});
    PASSES({"What is AI?", "What is artificial intelligence?"});
}

static void long_texts_must_share_their_words(void **state)
{
    (void)state;
    struct dj_buf a = {0};
    struct dj_buf b = {0};
    dj_buf_append_text(&a, "Summarise: ");
    dj_buf_append_text(&b, "Summarise: ");
    for (int i = 0; i < 200; i++) {
        dj_buf_append_format(&a, "%c%c%ca ", 'a' + i % 26, 'a' + i / 26, 'a' + i % 7);
        dj_buf_append_format(&b, "%c%c%cb ", 'a' + i % 26, 'a' + i / 26, 'a' + i % 7);
    }
    dj_buf_append_byte(&a, '\0');
    dj_buf_append_byte(&b, '\0');
    assert_true(compare(a.data, b.data) & 1u << DJ_GUARD_CONTENT);
    assert_int_equal(compare(a.data, a.data), 0);
    dj_buf_fini(&a);
    dj_buf_fini(&b);
}

static void texts_beyond_the_bounds_are_refused(void **state)
{
    (void)state;
    struct dj_buf text = {0};
    for (int i = 0; i < 5000; i++)
        dj_buf_append_format(&text, "%d ", i);
    dj_buf_append_byte(&text, '\0');
    assert_true(compare(text.data, text.data) & 1u << DJ_GUARD_CONTENT);
    dj_buf_fini(&text);
}

static void hostile_bytes_do_no_harm(void **state)
{
    (void)state;
    static const char *const texts[] = {"\xff\xfe\xfd",  "((((((((((",   "\"\"\"\"`````",
                                        "$$$%%%---",     "1.2.3.4.5.6",  "....",
                                        "1,2,3,4,5,6,7", "no no no not", "from to from to",
                                        "'s 's",         "C++C++C++",    "9999999999999999999999"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (size_t j = 0; j < sizeof texts / sizeof *texts; j++)
            compare(texts[i], texts[j]);
    }
}

static void questions_of_the_hour_are_volatile(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_volatile;
    } cases[] = {{"What is the weather in Rome today?", true},
                 {"restaurants near me", true},
                 {"latest news", true},
                 {"What is the capital of Spain?", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_guard_features features;
        assert_int_equal(dj_guard_features_init(&features, deja_slice_text(cases[i].text)),
                         DEJA_OK);
        assert_int_equal(dj_guard_features_is_volatile(&features), cases[i].is_volatile);
        dj_guard_features_fini(&features);
    }
}

static void every_guard_has_a_name(void **state)
{
    (void)state;
    for (int guard = 0; guard < DJ_GUARD_COUNT; guard++) {
        assert_non_null(dj_guard_name((enum dj_guard)guard));
        assert_int_equal(dj_guard_first(1u << guard), guard);
    }
    assert_null(dj_guard_name(DJ_GUARD_COUNT));
    assert_int_equal(dj_guard_first(0), DJ_GUARD_COUNT);
    assert_string_equal(dj_guard_reason(DJ_GUARD_UNITS), "guard:units");
}

static void features_survive_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_guard_features features = {0};
        failing_malloc_arm(n);
        enum deja_status status =
            dj_guard_features_init(&features, deja_slice_text("From Rome to Oslo in 3 hours"));
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_true(!has_failed || !features.parts);
        dj_guard_features_fini(&features);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reworded_questions_pass),
        cmocka_unit_test(other_numbers_are_refused),
        cmocka_unit_test(same_numbers_in_other_forms_pass),
        cmocka_unit_test(other_units_are_refused),
        cmocka_unit_test(other_dates_and_times_are_refused),
        cmocka_unit_test(a_negation_on_one_side_is_refused),
        cmocka_unit_test(opposites_are_refused),
        cmocka_unit_test(other_quantities_are_refused),
        cmocka_unit_test(other_names_are_refused),
        cmocka_unit_test(same_names_in_other_forms_pass),
        cmocka_unit_test(other_literals_are_refused),
        cmocka_unit_test(exchanged_roles_are_refused),
        cmocka_unit_test(other_kinds_of_question_are_refused),
        cmocka_unit_test(other_languages_are_refused),
        cmocka_unit_test(much_longer_questions_are_refused),
        cmocka_unit_test(long_texts_must_share_their_words),
        cmocka_unit_test(texts_beyond_the_bounds_are_refused),
        cmocka_unit_test(hostile_bytes_do_no_harm),
        cmocka_unit_test(questions_of_the_hour_are_volatile),
        cmocka_unit_test(every_guard_has_a_name),
        cmocka_unit_test(features_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
