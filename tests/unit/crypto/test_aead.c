/* tests/unit/crypto/test_aead.c - AES-256-GCM against published vectors; memory for keys. */
#include "crypto/aead.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/num.h"
#include "check.h"

/* Of the submission of GCM to NIST (McGrew and Viega), test cases 13 to 16. */
static const struct {
    const char *key;
    const char *nonce;
    const char *bound;
    const char *plain;
    const char *sealed; /* ciphertext and tag */
} vectors[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
     "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
     "", "00000000000000000000000000000000",
     "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
     "b094dac5d93471bdec1a502270e3cc6c"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
     "76fc6ece0f4e1768cddf8853bb2d551b"},
};

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t len = strlen(hex) / 2;
    assert_int_equal(dj_hex_decode(deja_slice_text(hex), out, len), DEJA_OK);
    return len;
}

struct texts {
    uint8_t key[32];
    uint8_t nonce[12];
    uint8_t bound[32];
    uint8_t plain[64];
    uint8_t sealed[80];
    size_t bound_len;
    size_t plain_len;
    size_t sealed_len;
    struct deja_slice parts[2];
    struct dj_aead_call call;
};

static void read_vector(size_t i, struct texts *out)
{
    unhex(vectors[i].key, out->key);
    unhex(vectors[i].nonce, out->nonce);
    out->bound_len = unhex(vectors[i].bound, out->bound);
    out->plain_len = unhex(vectors[i].plain, out->plain);
    out->sealed_len = unhex(vectors[i].sealed, out->sealed);
    size_t half = out->bound_len / 2; /* one part or two is the same */
    out->parts[0] = deja_slice(out->bound, half);
    out->parts[1] = deja_slice(out->bound + half, out->bound_len - half);
    out->call = (struct dj_aead_call){out->key, out->nonce, out->parts, 2};
}

static int set_up(void **state)
{
    struct dj_aead *aead = NULL;
    int code = dj_aead_create(&aead) == DEJA_OK ? 0 : 1;
    *state = aead;
    return code;
}

static int tear_down(void **state)
{
    dj_aead_destroy(*state);
    return 0;
}

static void published_vectors_come_out(void **state)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct texts texts;
        char out[80];
        read_vector(i, &texts);
        assert_int_equal(
            dj_aead_seal(*state, &texts.call, deja_slice(texts.plain, texts.plain_len), out),
            DEJA_OK);
        assert_memory_equal(out, texts.sealed, texts.sealed_len);
        assert_int_equal(
            dj_aead_open(*state, &texts.call, deja_slice(texts.sealed, texts.sealed_len), out),
            DEJA_OK);
        assert_memory_equal(out, texts.plain, texts.plain_len);
    }
}

static void every_flipped_bit_and_every_cut_is_refused(void **state)
{
    struct texts texts;
    char out[80];
    read_vector(3, &texts);
    for (size_t bit = 0; bit < texts.sealed_len * 8; bit++) {
        texts.sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(
            dj_aead_open(*state, &texts.call, deja_slice(texts.sealed, texts.sealed_len), out),
            DEJA_ERR_CORRUPT);
        texts.sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t len = 0; len < texts.sealed_len; len++)
        assert_int_equal(dj_aead_open(*state, &texts.call, deja_slice(texts.sealed, len), out),
                         DEJA_ERR_CORRUPT);
    for (size_t i = 0; i < texts.bound_len; i++) {
        texts.bound[i] ^= 1;
        assert_int_equal(
            dj_aead_open(*state, &texts.call, deja_slice(texts.sealed, texts.sealed_len), out),
            DEJA_ERR_CORRUPT);
        texts.bound[i] ^= 1;
    }
}

static void nothing_is_left_of_what_was_refused(void **state)
{
    struct texts texts;
    char out[80];
    const char zeros[80] = {0};
    read_vector(2, &texts);
    texts.sealed[texts.sealed_len - 1] ^= 1;
    memset(out, 'x', sizeof out);
    assert_int_equal(
        dj_aead_open(*state, &texts.call, deja_slice(texts.sealed, texts.sealed_len), out),
        DEJA_ERR_CORRUPT);
    assert_memory_equal(out, zeros, texts.plain_len);
}

static void slots_are_given_out_once_and_come_back_wiped(void **state)
{
    (void)state;
    struct dj_key_memory *memory = NULL;
    const char zeros[20] = {0};
    assert_int_equal(dj_key_memory_create(20, 3, &memory), DEJA_OK);
    char *a = dj_key_memory_take(memory);
    char *b = dj_key_memory_take(memory);
    char *c = dj_key_memory_take(memory);
    assert_true(a && b && c && a != b && b != c && a != c);
    assert_null(dj_key_memory_take(memory));
    memset(b, 'k', 20);
    dj_key_memory_give(memory, b);
    dj_key_memory_give(memory, NULL);
    assert_ptr_equal(dj_key_memory_take(memory), b);
    assert_memory_equal(b, zeros, sizeof zeros);
    dj_key_memory_destroy(memory);
    dj_key_memory_destroy(NULL);
}

static void a_forked_child_has_no_keys(void **state)
{
    (void)state;
    struct dj_key_memory *memory = NULL;
    int code = 1;
    assert_int_equal(dj_key_memory_create(32, 1, &memory), DEJA_OK);
    char *key = dj_key_memory_take(memory);
    memset(key, 'k', 32);
    pid_t child = fork();
    if (child == 0)
        _exit(key[0] == 0 && key[31] == 0 ? 0 : 1);
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    assert_int_equal(key[31], 'k');
    dj_key_memory_destroy(memory);
}

static void aead_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_aead *aead = NULL;
        struct dj_key_memory *memory = NULL;
        failing_malloc_arm(n);
        bool is_ok = dj_aead_create(&aead) == DEJA_OK;
        is_ok &= dj_key_memory_create(32, 4, &memory) == DEJA_OK;
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(is_ok, !has_failed);
        dj_aead_destroy(aead);
        dj_key_memory_destroy(memory);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(published_vectors_come_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_flipped_bit_and_every_cut_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_left_of_what_was_refused, set_up, tear_down),
        cmocka_unit_test(slots_are_given_out_once_and_come_back_wiped),
        cmocka_unit_test(a_forked_child_has_no_keys),
        cmocka_unit_test(aead_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
