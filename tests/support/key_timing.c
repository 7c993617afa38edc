/* Does the time of a key check tell something of the key? After dudect (Reparaz, Balasch,
 * Verbauwhede: "dude, is my code constant time?"): two classes of credentials, checked in random
 * order, and Welch's t-test of their times; beyond 4.5 they differ.
 *
 *   key_timing          how much work each outcome costs, counted, not timed: must be the same
 *   key_timing COUNT    so many checks of each pair of classes; prints t, over all times and over
 *                       the shortest 99 and 90 %; exit 1 when that of the secrets is 4.5 or more
 *
 * The work is counted by wrapping the HMAC, the comparison and the hash at link time.
 */
#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/num.h"
#include "security/keys.h"

#define NOW INT64_C(1800000000000)
#define STEP_MS INT64_C(3600000) /* from one check to the next: no failure is lately */
#define T_MAX 4.5
#define CROPS 3u
#define BATCH 1000u

static struct {
    unsigned macs, comparisons, hashes;
} work;

void __real_dj_hmac_ready(const struct dj_hmac_key *ready, const struct deja_slice *parts,
                          size_t count, uint8_t out_digest[DJ_SHA256_BYTES]);
bool __real_dj_is_equal_constant_time(const void *a, const void *b, size_t len);
uint64_t __real_dj_siphash(const uint8_t key[16], struct deja_slice bytes);

void __wrap_dj_hmac_ready(const struct dj_hmac_key *ready, const struct deja_slice *parts,
                          size_t count, uint8_t out_digest[DJ_SHA256_BYTES]);
bool __wrap_dj_is_equal_constant_time(const void *a, const void *b, size_t len);
uint64_t __wrap_dj_siphash(const uint8_t key[16], struct deja_slice bytes);

void __wrap_dj_hmac_ready(const struct dj_hmac_key *ready, const struct deja_slice *parts,
                          size_t count, uint8_t out_digest[DJ_SHA256_BYTES])
{
    work.macs++;
    __real_dj_hmac_ready(ready, parts, count, out_digest);
}

bool __wrap_dj_is_equal_constant_time(const void *a, const void *b, size_t len)
{
    work.comparisons++;
    return __real_dj_is_equal_constant_time(a, b, len);
}

uint64_t __wrap_dj_siphash(const uint8_t key[16], struct deja_slice bytes)
{
    work.hashes++;
    return __real_dj_siphash(key, bytes);
}

/* ---- credentials ---- */

enum { SECRET_AT = 5 + DJ_KEY_ID_BYTES + 1, SECRET_DIGITS = 64 };

#define IDS 64u

struct keys {
    struct dj_keys *table;
    char wrong[DJ_KEY_TEXT_BYTES];
    char known[IDS][DJ_KEY_ID_BYTES];
    char unknown[IDS][DJ_KEY_ID_BYTES];
    char right[DJ_KEY_TEXT_BYTES];
    char replaced[DJ_KEY_TEXT_BYTES];
    char expired[DJ_KEY_TEXT_BYTES];
    char revoked[DJ_KEY_TEXT_BYTES];
};

static void need(enum deja_status status)
{
    if (status == DEJA_OK)
        return;
    fprintf(stderr, "key_timing: %s\n", deja_status_text(status));
    exit(1);
}

static void draw_digits(char *out, size_t count)
{
    uint8_t random[SECRET_DIGITS / 2];
    char digits[SECRET_DIGITS + 1];
    dj_random_bytes(random, sizeof random);
    dj_hex_encode(random, sizeof random, digits);
    memcpy(out, digits, count);
}

/* Drawn once, as the right ones are: both classes of a pair come from texts of the same kind. */
static void draw_wrong(struct keys *keys)
{
    memcpy(keys->wrong, keys->right, sizeof keys->wrong);
    draw_digits(keys->wrong + SECRET_AT, SECRET_DIGITS);
    for (size_t i = 0; i < IDS; i++)
        draw_digits(keys->unknown[i], DJ_KEY_ID_BYTES);
}

static void make(struct keys *keys)
{
    static const uint8_t secret[DJ_SHA256_BYTES] = {3};
    struct dj_key wish = {.roles = DJ_ROLE_READ, .has_tenant = true};
    struct dj_key key;
    need(dj_keys_create(NULL, secret, 1000, &keys->table));
    for (size_t i = 0; i < IDS; i++) {
        need(dj_keys_make(keys->table, &wish, NOW, keys->right, &key));
        memcpy(keys->known[i], key.id, DJ_KEY_ID_BYTES);
    }
    need(dj_keys_make(keys->table, &wish, NOW, keys->replaced, &key));
    need(dj_keys_rotate(keys->table, deja_slice_text(key.id), 0, NOW, keys->right, &key));
    need(dj_keys_make(keys->table, &wish, NOW, keys->revoked, &key));
    need(dj_keys_revoke(keys->table, deja_slice_text(key.id), NOW, &key));
    wish.expires_ms = 1;
    need(dj_keys_make(keys->table, &wish, NOW, keys->expired, &key));
    draw_wrong(keys);
}

static void end_wrong(const struct keys *keys, char out[DJ_KEY_TEXT_BYTES])
{
    char *last = &out[DJ_KEY_TEXT_BYTES - 2];
    draw_digits(last - 1, 2);
    if (memcmp(out, keys->right, DJ_KEY_TEXT_BYTES) == 0)
        *last = *last == '0' ? '1' : '0';
}

/* Wrong from its first byte on. */
static void guess_all(const struct keys *keys, char out[DJ_KEY_TEXT_BYTES])
{
    memcpy(out, keys->wrong, DJ_KEY_TEXT_BYTES);
    end_wrong(keys, out);
}

/* Wrong in its last byte only. */
static void guess_last_byte(const struct keys *keys, char out[DJ_KEY_TEXT_BYTES])
{
    memcpy(out, keys->right, DJ_KEY_TEXT_BYTES);
    end_wrong(keys, out);
}

static size_t pick(void)
{
    uint8_t random = 0;
    dj_random_bytes(&random, 1);
    return random % IDS;
}

static void guess_known_id(const struct keys *keys, char out[DJ_KEY_TEXT_BYTES])
{
    guess_all(keys, out);
    memcpy(out + 5, keys->known[pick()], DJ_KEY_ID_BYTES);
}

static void guess_id(const struct keys *keys, char out[DJ_KEY_TEXT_BYTES])
{
    guess_all(keys, out);
    memcpy(out + 5, keys->unknown[pick()], DJ_KEY_ID_BYTES);
}

static enum dj_key_verdict check(const struct keys *keys, const char *text, int64_t now_ms)
{
    static const uint8_t address[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [15] = 1};
    struct dj_key key;
    int64_t retry_ms = 0;
    return dj_keys_check(keys->table, deja_slice_text(text), address, now_ms, &key, &retry_ms);
}

/* ---- work ---- */

static int count_work(const struct keys *keys)
{
    char all[DJ_KEY_TEXT_BYTES];
    char last[DJ_KEY_TEXT_BYTES];
    char id[DJ_KEY_TEXT_BYTES];
    guess_all(keys, all);
    guess_last_byte(keys, last);
    guess_id(keys, id);
    const struct {
        const char *name;
        const char *text;
    } rows[] = {{"wrong secret", all},        {"wrong in its last byte", last},
                {"unknown id", id},           {"right", keys->right},
                {"replaced", keys->replaced}, {"expired", keys->expired},
                {"revoked", keys->revoked}};
    unsigned hashes = 0;
    int code = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        memset(&work, 0, sizeof work);
        enum dj_key_verdict verdict =
            check(keys, rows[i].text, NOW + (int64_t)(i + 1) * STEP_MS * 24);
        printf("%-24s %u HMAC, %u comparisons, %u hashes\n", rows[i].name, work.macs,
               work.comparisons, work.hashes);
        hashes = i ? hashes : work.hashes;
        bool is_same = work.macs == 1 && work.comparisons == 2 &&
                       (verdict != DJ_KEY_WRONG || work.hashes == hashes);
        if (!is_same || (verdict == DJ_KEY_GOOD) != (rows[i].text == keys->right)) {
            fprintf(stderr, "key_timing: %s is not as the first\n", rows[i].name);
            code = 1;
        }
    }
    return code;
}

/* ---- time ---- */

struct moments {
    double count, mean, squares;
};

static void add(struct moments *moments, double value)
{
    double delta = value - moments->mean;
    moments->count++;
    moments->mean += delta / moments->count;
    moments->squares += delta * (value - moments->mean);
}

static double welch(const struct moments *a, const struct moments *b)
{
    double variance_a = a->squares / (a->count - 1) / a->count;
    double variance_b = b->squares / (b->count - 1) / b->count;
    double deviation = sqrt(variance_a + variance_b);
    return deviation > 0 ? (a->mean - b->mean) / deviation : 0;
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

typedef void make_fn(const struct keys *keys, char out[DJ_KEY_TEXT_BYTES]);

/* Of both classes together, below some part of which times are counted: interruptions are long. */
static const double crops[CROPS] = {1.0, 0.99, 0.9};

static double print_t(const char *name, const uint32_t *times, const uint8_t *classes, size_t count)
{
    double worst = 0;
    uint32_t *sorted = malloc(count * sizeof *sorted);
    if (!sorted)
        need(DEJA_ERR_NOMEM);
    memcpy(sorted, times, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_value);
    printf("%-34s", name);
    for (size_t k = 0; k < CROPS; k++) {
        struct moments moments[2] = {{0}};
        uint32_t bound = sorted[(size_t)((double)(count - 1) * crops[k])];
        for (size_t i = 0; i < count; i++)
            if (times[i] <= bound)
                add(&moments[classes[i]], times[i]);
        double t = welch(&moments[0], &moments[1]);
        printf("  t %+7.2f (%g %%: %.0f, %.0f ns)", t, crops[k] * 100, moments[0].mean,
               moments[1].mean);
        worst = fabs(t) > worst && k > 0 ? fabs(t) : worst;
    }
    printf("  %s\n", worst < T_MAX ? "same" : "DIFFERENT");
    free(sorted);
    return worst;
}

static double compare(const struct keys *keys, const char *name, make_fn *const make[2],
                      size_t count)
{
    uint32_t *times = malloc(count * sizeof *times);
    uint8_t *classes = malloc(count);
    char(*texts)[DJ_KEY_TEXT_BYTES] = malloc(BATCH * sizeof *texts);
    if (!times || !classes || !texts)
        need(DEJA_ERR_NOMEM);
    dj_random_bytes(classes, count);
    for (size_t i = 0; i < count; i++) {
        if (i % BATCH == 0) /* made before they are timed: making them must not show */
            for (size_t k = i; k < i + BATCH && k < count; k++) {
                classes[k] &= 1;
                make[classes[k]](keys, texts[k % BATCH]);
            }
        const char *text = texts[i % BATCH];
        int64_t now_ms = NOW + (int64_t)(i + 1) * STEP_MS;
        uint64_t started = now_ns();
        enum dj_key_verdict verdict = check(keys, text, now_ms);
        uint64_t ns = now_ns() - started;
        times[i] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
        if (verdict != DJ_KEY_WRONG)
            need(DEJA_ERR_CORRUPT);
    }
    double t = print_t(name, times, classes, count);
    free(times);
    free(classes);
    free(texts);
    return t;
}

enum { SECRETS, KEY_IDS, NOISE, PAIRS };

int main(int argc, char **argv)
{
    static make_fn *const pairs[PAIRS][2] = {
        {guess_all, guess_last_byte}, {guess_known_id, guess_id}, {guess_all, guess_all}};
    static const char *const names[PAIRS] = {"no right byte, 31 right ones", "known id, unknown id",
                                             "the same twice (the noise)"};
    struct keys keys = {.table = NULL};
    uint64_t count = 0;
    int code = 0;
    make(&keys);
    if (argc < 2) {
        code = count_work(&keys);
    } else if (dj_num_parse_u64(deja_slice_text(argv[1]), &count) != DEJA_OK || count < 100) {
        fputs("key_timing: expects a number of checks, at least 100\n", stderr);
        code = 2;
    } else {
        double t[PAIRS];
        for (size_t i = 0; i < PAIRS; i++)
            t[i] = compare(&keys, names[i], pairs[i], (size_t)count);
        /* Not the ids: they are public, and a table is quicker where it finds something. */
        code = t[SECRETS] >= T_MAX && t[NOISE] < T_MAX;
    }
    dj_keys_destroy(keys.table);
    return code;
}
