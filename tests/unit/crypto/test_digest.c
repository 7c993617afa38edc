#include "base/hash.h"
#include "base/map.h"
#include "base/num.h"
#include "check.h"
#include "crypto/digest.h"

static void assert_hex(const uint8_t digest[DJ_SHA256_BYTES], const char *expected)
{
    char text[2 * DJ_SHA256_BYTES + 1];
    dj_hex_encode(digest, DJ_SHA256_BYTES, text);
    assert_string_equal(text, expected);
}

static void count_up(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)i;
}

static void sha256_gives_the_published_digests(void **state)
{
    (void)state;
    uint8_t digest[DJ_SHA256_BYTES];
    dj_sha256(deja_slice(NULL, 0), digest);
    assert_hex(digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    dj_sha256(deja_slice_text("abc"), digest);
    assert_hex(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void sha256_in_pieces_is_sha256_at_once(void **state)
{
    (void)state;
    uint8_t bytes[200];
    uint8_t once[DJ_SHA256_BYTES];
    uint8_t pieces[DJ_SHA256_BYTES];
    struct dj_sha256_state *sha = NULL;
    count_up(bytes, sizeof bytes);
    dj_sha256(deja_slice(bytes, sizeof bytes), once);
    assert_int_equal(dj_sha256_create(&sha), DEJA_OK);
    for (unsigned round = 0; round < 2; round++) { /* finish leaves it ready for the next */
        for (size_t i = 0; i < sizeof bytes; i += 7)
            dj_sha256_update(sha,
                             deja_slice(bytes + i, sizeof bytes - i < 7 ? sizeof bytes - i : 7));
        dj_sha256_update(sha, deja_slice(NULL, 0));
        dj_sha256_finish(sha, pieces);
        assert_memory_equal(once, pieces, sizeof once);
    }
    dj_sha256_destroy(sha);
    dj_sha256_destroy(NULL);
}

static void sha256_create_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_sha256_state *sha = NULL;
    failing_malloc_arm(1);
    assert_int_equal(dj_sha256_create(&sha), DEJA_ERR_NOMEM);
    assert_true(failing_malloc_disarm());
    assert_null(sha);
}

static void hmac_and_hkdf_give_what_other_implementations_give(void **state)
{
    (void)state;
    uint8_t key[DJ_SHA256_BYTES];
    uint8_t digest[DJ_SHA256_BYTES];
    count_up(key, sizeof key);
    struct deja_slice whole = deja_slice_text("what do ya want for nothing?");
    dj_hmac(key, &whole, 1, digest);
    assert_hex(digest, "099805f4ac310786968565c098db515cc50862b420ae31e20238312344bed36a");
    const struct deja_slice parts[] = {deja_slice(whole.data, 5), deja_slice(NULL, 0),
                                       deja_slice(whole.data + 5, whole.len - 5)};
    dj_hmac(key, parts, 3, digest);
    assert_hex(digest, "099805f4ac310786968565c098db515cc50862b420ae31e20238312344bed36a");
    dj_hkdf(key, deja_slice_text("info"), digest);
    assert_hex(digest, "cccad7895238973b7b227c5216571c432f4602b7264e8e35cde4d3249e93720e");
}

/* RFC 4231, test cases 2 and 6. */
static void hmac_takes_keys_of_any_length(void **state)
{
    (void)state;
    uint8_t digest[DJ_SHA256_BYTES];
    uint8_t key[131];
    struct deja_slice text = deja_slice_text("what do ya want for nothing?");
    dj_hmac_any(deja_slice_text("Jefe"), &text, 1, digest);
    assert_hex(digest, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    text = deja_slice_text("Test Using Larger Than Block-Size Key - Hash Key First");
    dj_hmac_any(deja_slice(key, sizeof key), &text, 1, digest);
    assert_hex(digest, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void siphash_gives_what_other_implementations_give(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        uint64_t expected;
    } rows[] = {
        {0, 0xabac0158050fc4dcu}, {1, 0xc9f49bf37d57ca93u},  {7, 0xd3927d989bb11140u},
        {8, 0x369095118d299a8eu}, {15, 0xd320d86d2a519956u}, {63, 0x9d199062b7bbb3a8u},
    };
    uint8_t key[16];
    uint8_t bytes[64];
    count_up(key, sizeof key);
    count_up(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_true(dj_siphash(key, deja_slice(bytes, rows[i].len)) == rows[i].expected);
}

static void random_bytes_differ_and_fill_any_length(void **state)
{
    (void)state;
    uint8_t a[DJ_SHA256_BYTES] = {0};
    uint8_t b[DJ_SHA256_BYTES] = {0};
    dj_random_bytes(a, sizeof a);
    dj_random_bytes(b, sizeof b);
    assert_false(dj_is_equal_constant_time(a, b, sizeof a));
    assert_true(dj_is_equal_constant_time(a, a, sizeof a));
    uint8_t large[100000] = {0};
    dj_random_bytes(large, sizeof large);
    size_t zeros = 0;
    for (size_t i = sizeof large - 1000; i < sizeof large; i++)
        zeros += !large[i];
    assert_true(zeros < 100);
    dj_random_bytes(a, 0);
}

enum { FLOOD_KEYS = 4096 };

static uint64_t hash_without_key(void *ctx, struct deja_slice key)
{
    (void)ctx;
    return dj_hash64(key.data, key.len, 0);
}

static uint64_t hash_with_key(void *ctx, struct deja_slice key)
{
    return dj_siphash(ctx, key);
}

/* The worst find of a map with these keys. */
static size_t probes_with(dj_map_hash_fn *hash, void *ctx, const uint64_t *keys)
{
    struct dj_map *map = NULL;
    static int value;
    assert_int_equal(dj_map_create(FLOOD_KEYS, hash, ctx, &map), DEJA_OK);
    for (size_t i = 0; i < FLOOD_KEYS; i++)
        assert_int_equal(dj_map_put(map, deja_slice(&keys[i], sizeof keys[i]), &value, NULL),
                         DEJA_OK);
    size_t probes = dj_map_probes_max(map);
    dj_map_destroy(map);
    return probes;
}

static void keys_made_to_collide_are_spread_by_a_random_key(void **state)
{
    (void)state;
    static uint64_t keys[FLOOD_KEYS];
    uint64_t candidate = 0;
    for (size_t i = 0; i < FLOOD_KEYS; candidate++)
        if (dj_hash64(&candidate, sizeof candidate, 0) % FLOOD_KEYS == 0)
            keys[i++] = candidate;
    uint8_t key[16];
    dj_random_bytes(key, sizeof key);
    assert_true(probes_with(hash_without_key, NULL, keys) > FLOOD_KEYS / 4);
    assert_true(probes_with(hash_with_key, key, keys) < FLOOD_KEYS / 16);
}

static void secret_is_gone_after_fini(void **state)
{
    (void)state;
    static const struct dj_secret zero;
    struct dj_secret secret;
    dj_random_bytes(secret.bytes, sizeof secret.bytes);
    dj_secret_fini(&secret);
    assert_memory_equal(&secret, &zero, sizeof secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_gives_the_published_digests),
        cmocka_unit_test(sha256_in_pieces_is_sha256_at_once),
        cmocka_unit_test(sha256_create_survives_each_failed_allocation),
        cmocka_unit_test(hmac_and_hkdf_give_what_other_implementations_give),
        cmocka_unit_test(hmac_takes_keys_of_any_length),
        cmocka_unit_test(siphash_gives_what_other_implementations_give),
        cmocka_unit_test(random_bytes_differ_and_fill_any_length),
        cmocka_unit_test(keys_made_to_collide_are_spread_by_a_random_key),
        cmocka_unit_test(secret_is_gone_after_fini),
    };
    return RUN_TESTS(tests);
}
