/* tests/unit/cache/test_key_names.c - no text of a user reaches the name of a key in a shared tier,
 * nor its hash tag, and nobody can choose the slot his keys fall into (TRUST S18).
 */
#include "check.h"

#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "cache/key.h"
#include "store/redis_command.h"
#include "store/redis_slots.h"

#define KEYS 20000u
#define GROUPS 64u           /* of slots */
#define CHI_SQUARE_MAX 113.0 /* 63 degrees of freedom: one in ten thousand is above */

/* What means something to Valkey, its protocol, its patterns or a script. */
static const char *const hostile[] = {
    "*",
    "?",
    "[a-z]*",
    "\\",
    "{tag}",
    "}{v:0}:secret",
    "deja:{v:0}:secret",
    "{",
    "{}",
    "a}b{c",
    "\r\nFLUSHALL\r\n",
    "*1\r\n$8\r\nFLUSHALL\r\n",
    "$-1",
    "'; DROP TABLE entries; --",
    "\" OR 1=1",
    "return redis.call('KEYS','*')",
    "../../etc/passwd",
    "%00",
    "\xe2\x80\xae",
    "\xf0\x9f\x92\xa9",
    ":q:",
    "00000000-0000-0000-0000-000000000000",
    " ",
    "\t",
    "\x7f",
    "\x1f",
    "a b",
    "$(id)",
};

static size_t name_of(const char *text, const char *name_space, char out_name[DJ_REDIS_KEY_BYTES],
                      struct dj_store_key *out_key)
{
    const struct dj_key_prefix prefix = {.tenant = "tenant",
                                         .fingerprint_key = "secret",
                                         .family = "api",
                                         .name_space = deja_slice_text(name_space),
                                         .policy_epoch = 1};
    struct dj_arena arena;
    struct dj_fingerprint fingerprint;
    dj_arena_init(&arena, 0);
    assert_int_equal(dj_key_query(&prefix, deja_slice_text(text), &arena, &fingerprint), DEJA_OK);
    *out_key = fingerprint.key;
    dj_arena_fini(&arena);
    return dj_redis_key("deja", out_key, 'q', out_name);
}

/* "deja:{v:" digits "}:" tenant ":q:" 32 hex digits. */
static void assert_is_plain(const char *name, size_t len)
{
    unsigned shard = 0;
    assert_true(len < DJ_REDIS_KEY_BYTES && strlen(name) == len);
    assert_memory_equal(name, "deja:{v:", 8);
    const char *at = name + 8;
    while (*at >= '0' && *at <= '9')
        shard = shard * 10 + (unsigned)(*at++ - '0');
    assert_true(shard < DJ_REDIS_SHARDS);
    assert_memory_equal(at, "}:", 2);
    at += 2;
    assert_int_equal(strspn(at, "0123456789abcdef-"), 36);
    assert_memory_equal(at + 36, ":q:", 3);
    at += 39;
    assert_int_equal(strspn(at, "0123456789abcdef"), 32);
    assert_int_equal(at[32], '\0');
}

static void no_text_reaches_the_name_of_a_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++)
        for (size_t k = 0; k < sizeof hostile / sizeof *hostile; k++) {
            char name[DJ_REDIS_KEY_BYTES];
            struct dj_store_key key;
            size_t len = name_of(hostile[i], hostile[k], name, &key);
            assert_is_plain(name, len);
        }
}

/* Of KEYS keys spread evenly over the shards, as many would fall into each group of slots. */
static void expect(double out_expected[GROUPS])
{
    for (size_t i = 0; i < GROUPS; i++)
        out_expected[i] = 0;
    for (unsigned shard = 0; shard < DJ_REDIS_SHARDS; shard++) {
        char tag[32];
        int len = snprintf(tag, sizeof tag, "{v:%u}", shard);
        out_expected[dj_redis_slot(deja_slice(tag, (size_t)len)) % GROUPS] +=
            (double)KEYS / DJ_REDIS_SHARDS;
    }
}

/* Texts that count up, that share all but one byte, that carry tags: each family spreads. */
static void nobody_chooses_the_slot_of_his_keys(void **state)
{
    (void)state;
    static const char *const families[] = {"%u", "{same}%u", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%u",
                                           "*%u*", "%u\r\n"};
    double expected[GROUPS];
    expect(expected);
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        uint32_t counts[GROUPS] = {0};
        double chi_square = 0;
        for (unsigned i = 0; i < KEYS; i++) {
            char name[DJ_REDIS_KEY_BYTES];
            struct dj_store_key key;
            char number[16];
            int digits = snprintf(number, sizeof number, "%u", i);
            struct dj_buf made = {0};
            const char *mark = strstr(families[f], "%u");
            dj_buf_append(&made, families[f], (size_t)(mark - families[f]));
            dj_buf_append(&made, number, (size_t)digits);
            dj_buf_append_text(&made, mark + 2);
            dj_buf_append_byte(&made, '\0');
            assert_int_equal(made.status, DEJA_OK);
            size_t len = name_of(made.data, "{ns}", name, &key);
            counts[dj_redis_slot(deja_slice(name, len)) % GROUPS]++;
            dj_buf_fini(&made);
        }
        for (size_t i = 0; i < GROUPS; i++) {
            double gap = (double)counts[i] - expected[i];
            chi_square += gap * gap / expected[i];
        }
        print_message("          chi square of 64 groups of slots: %.1f\n", chi_square);
        assert_true(chi_square < CHI_SQUARE_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_text_reaches_the_name_of_a_key),
        cmocka_unit_test(nobody_chooses_the_slot_of_his_keys),
    };
    return RUN_TESTS(tests);
}
