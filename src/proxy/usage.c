/* proxy/usage.c - see usage.h. */
#include "proxy/usage.h"

#define TOKENS_MAX UINT64_C(1000000000)

void dj_usage_feed(struct dj_usage_tail *tail, struct deja_slice bytes)
{
    size_t taken = bytes.len < DJ_USAGE_TAIL_BYTES ? bytes.len : DJ_USAGE_TAIL_BYTES;
    if (!taken)
        return;
    size_t room = DJ_USAGE_TAIL_BYTES - taken;
    size_t kept = tail->len < room ? tail->len : room;
    memmove(tail->bytes, tail->bytes + tail->len - kept, kept);
    memcpy(tail->bytes + kept, bytes.data + bytes.len - taken, taken);
    tail->len = kept + taken;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* The number behind "name": at `at`, which is behind the name. False: there is none. */
static bool read_number(const struct dj_usage_tail *tail, size_t at, uint64_t *out_number)
{
    uint64_t number = 0;
    bool has_colon = false;
    for (; at < tail->len && (is_space(tail->bytes[at]) || (tail->bytes[at] == ':' && !has_colon));
         at++)
        has_colon = has_colon || tail->bytes[at] == ':';
    size_t digits = at;
    for (; at < tail->len && tail->bytes[at] >= '0' && tail->bytes[at] <= '9'; at++)
        if (number <= TOKENS_MAX)
            number = number * 10 + (uint64_t)(tail->bytes[at] - '0');
    /* A number that the end cuts off is not whole. */
    if (!has_colon || at == digits || at == tail->len || number > TOKENS_MAX)
        return false;
    *out_number = number;
    return true;
}

/* 0: it is not there. name: with its quotes. */
static uint64_t last_of(const struct dj_usage_tail *tail, const char *name)
{
    size_t name_len = strlen(name);
    uint64_t number = 0;
    for (size_t at = tail->len; at-- > 0;)
        if (tail->len - at >= name_len && memcmp(tail->bytes + at, name, name_len) == 0 &&
            read_number(tail, at + name_len, &number))
            return number;
    return 0;
}

void dj_usage_read(const struct dj_usage_tail *tail, uint64_t *out_input, uint64_t *out_output)
{
    uint64_t input = last_of(tail, "\"input_tokens\"");
    uint64_t output = last_of(tail, "\"output_tokens\"");
    *out_input = input ? input : last_of(tail, "\"prompt_tokens\"");
    *out_output = output ? output : last_of(tail, "\"completion_tokens\"");
}
