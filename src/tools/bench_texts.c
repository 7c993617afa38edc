/* tools/bench_texts.c - see bench_texts.h. Made, not stored. */
#include "tools/bench_texts.h"

#include <math.h>
#include <stdio.h>

#include "base/hash.h"

#define CHOICES 10u

static const char *const verbs[CHOICES] = {"rename",  "delete", "share", "export", "print",
                                           "archive", "copy",   "move",  "lock",   "encrypt"};
static const char *const kinds[CHOICES] = {"old",    "shared", "private", "monthly", "draft",
                                           "signed", "blue",   "public",  "hidden",  "large"};
static const char *const things[CHOICES] = {"invoice",  "photo",   "report",   "calendar",
                                            "contract", "recipe",  "playlist", "spreadsheet",
                                            "ticket",   "passport"};
static const char *const places[CHOICES] = {"phone",  "laptop",  "office",  "archive", "account",
                                            "garage", "library", "kitchen", "browser", "folder"};

static const char *const words[] = {
    "the",    "answer",  "to",      "a",     "question", "that",    "was",       "asked",
    "before", "is",      "kept",    "in",    "memory",   "and",     "on",        "disk",
    "so",     "people",  "who",     "ask",   "again",    "get",     "it",        "at",
    "once",   "while",   "others",  "wait",  "for",      "model",   "which",     "costs",
    "time",   "money",   "each",    "entry", "has",      "its",     "own",       "life",
    "when",   "ends",    "nobody",  "will",  "see",      "because", "something", "newer",
    "came",   "instead", "morning", "river", "station",  "between", "seven",     "houses",
    "wind",   "turned",  "towards", "north", "slowly",   "painted", "window",    "remembered",
};
#define WORD_COUNT (sizeof words / sizeof *words)

static uint64_t random_of(uint64_t seed, uint64_t number)
{
    return dj_hash64(&number, sizeof number, seed);
}

struct deja_slice dj_bench_question(uint64_t index, bool is_reworded,
                                    char out_text[DJ_BENCH_TEXT_BYTES])
{
    /* 7919 shares no factor with 10,000: neighbours in number are no neighbours in wording. */
    uint64_t at = index % DJ_BENCH_QUESTIONS_MAX * 7919 % DJ_BENCH_QUESTIONS_MAX;
    int len = snprintf(out_text, DJ_BENCH_TEXT_BYTES, "How %s I %s the %s %s in my %s?",
                       is_reworded ? "can" : "do", verbs[at % CHOICES],
                       kinds[at / CHOICES % CHOICES], things[at / (CHOICES * CHOICES) % CHOICES],
                       places[at / (CHOICES * CHOICES * CHOICES) % CHOICES]);
    return deja_slice(out_text, (size_t)len);
}

void dj_bench_answer(uint64_t index, char out_body[DJ_BENCH_ANSWER_BYTES])
{
    int len = snprintf(out_body, DJ_BENCH_ANSWER_BYTES, "%llu: ", (unsigned long long)index);
    size_t at = (size_t)len;
    for (uint64_t i = 0; at < DJ_BENCH_ANSWER_BYTES; i++) {
        const char *word = words[random_of(index, i) % WORD_COUNT];
        while (*word && at < DJ_BENCH_ANSWER_BYTES)
            out_body[at++] = *word++;
        if (at < DJ_BENCH_ANSWER_BYTES)
            out_body[at++] = ' ';
    }
}

bool dj_bench_is_answer(uint64_t index, struct deja_slice body)
{
    char start[32];
    int len = snprintf(start, sizeof start, "%llu: ", (unsigned long long)index);
    return body.len > (size_t)len && memcmp(body.data, start, (size_t)len) == 0;
}

void dj_bench_vector(uint64_t index, float *out, uint32_t dim)
{
    double sum = 0;
    for (uint32_t i = 0; i < dim; i++) {
        double value = (double)(random_of(index + 1, i) >> 11) * 0x1p-52 - 1; /* -1 to 1 */
        out[i] = (float)value;
        sum += value * value;
    }
    for (uint32_t i = 0; i < dim; i++)
        out[i] = (float)(out[i] / sqrt(sum));
}

static void add_prose(uint64_t seed, size_t end, struct dj_buf *out)
{
    for (uint64_t i = 0; out->status == DEJA_OK && out->len < end; i++) {
        uint64_t chosen = random_of(seed, i);
        dj_buf_append_text(out, words[chosen % WORD_COUNT]);
        dj_buf_append_text(out, (chosen >> 32) % 12 == 0 ? ". " : " ");
    }
}

static void add_json(uint64_t seed, size_t end, struct dj_buf *out)
{
    for (uint64_t i = 0; out->status == DEJA_OK && out->len < end; i++) {
        uint64_t chosen = random_of(seed, i);
        dj_buf_append_format(
            out, "{\"id\": %u, \"name\": \"%s %s\", \"price\": %u.%02u, \"in_stock\": %s}, ",
            (unsigned)(chosen % 100000), kinds[(chosen >> 20) % CHOICES],
            things[(chosen >> 30) % CHOICES], (unsigned)(chosen >> 40) % 1000,
            (unsigned)(chosen >> 50) % 100, chosen >> 63 ? "true" : "false");
    }
}

static void add_random(uint64_t seed, size_t end, struct dj_buf *out)
{
    for (uint64_t i = 0; out->status == DEJA_OK && out->len < end; i++) {
        uint64_t chosen = random_of(seed, i);
        dj_buf_append(out, &chosen, sizeof chosen);
    }
}

void dj_bench_text(enum dj_bench_text_kind kind, uint64_t index, size_t len, struct dj_buf *out)
{
    size_t end = out->len + len;
    switch (kind) {
    case DJ_BENCH_PROSE:
        add_prose(index, end, out);
        break;
    case DJ_BENCH_JSON:
        add_json(index, end, out);
        break;
    case DJ_BENCH_RANDOM:
        add_random(index, end, out);
        break;
    }
    if (out->len > end)
        out->len = end;
}
