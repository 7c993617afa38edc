#include "proxy/usage.h"
#include "check.h"

static void read_of(const char *text, size_t step, uint64_t *out_input, uint64_t *out_output)
{
    static struct dj_usage_tail tail;
    memset(&tail, 0, sizeof tail);
    for (size_t at = 0, len = strlen(text); at < len; at += step)
        dj_usage_feed(&tail, deja_slice(text + at, len - at < step ? len - at : step));
    dj_usage_read(&tail, out_input, out_output);
}

static void usage_is_read_in_each_services_words(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t input;
        uint64_t output;
    } cases[] = {
        {"{\"id\":1,\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":34,\"total_tokens\":46}}",
         12, 34},
        {"{\"usage\": {\"input_tokens\" : 7,\n \"input_tokens_details\": {\"cached_tokens\": 3}, "
         "\"output_tokens\":\t9 }}",
         7, 9},
        {"event: message_start\ndata: {\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}\n\n"
         "event: message_delta\ndata: {\"usage\":{\"output_tokens\":15}}\n\n",
         25, 15},
        {"{\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}", 8, 0},
        {"{\"usage\":null}", 0, 0},
        {"", 0, 0},
        {"{\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":\"many\"}}", 0, 0},
        {"{\"usage\":{\"prompt_tokens\":99999999999999999999999}}", 0, 0},
        {"{\"usage\":{\"prompt_tokens\":12", 0, 0}, /* cut off */
        {"\"prompt_tokens\" 12 ", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step < 40; step += 13) {
            uint64_t input = 1;
            uint64_t output = 1;
            read_of(cases[i].text, step, &input, &output);
            assert_int_equal(input, cases[i].input);
            assert_int_equal(output, cases[i].output);
        }
}

static void only_the_end_is_kept(void **state)
{
    (void)state;
    static struct dj_usage_tail tail;
    static char large[3 * DJ_USAGE_TAIL_BYTES];
    static const char end[] = "\"usage\":{\"input_tokens\":3,\"output_tokens\":4}";
    uint64_t input;
    uint64_t output;
    memset(large, 'x', sizeof large);
    memcpy(large + sizeof large - (sizeof end - 1), end, sizeof end - 1);
    dj_usage_feed(&tail, deja_slice("\"input_tokens\":100,", 19));
    dj_usage_feed(&tail, deja_slice(large, sizeof large));
    dj_usage_feed(&tail, deja_slice("", 0));
    assert_int_equal(tail.len, DJ_USAGE_TAIL_BYTES);
    dj_usage_read(&tail, &input, &output);
    assert_int_equal(input, 3);
    assert_int_equal(output, 4);
    for (size_t i = 0; i < 2 * DJ_USAGE_TAIL_BYTES; i++)
        dj_usage_feed(&tail, deja_slice("y", 1));
    dj_usage_read(&tail, &input, &output);
    assert_int_equal(input, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage_is_read_in_each_services_words),
        cmocka_unit_test(only_the_end_is_kept),
    };
    return RUN_TESTS(tests);
}
