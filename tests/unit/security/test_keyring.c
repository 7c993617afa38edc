/* tests/unit/security/test_keyring.c - keys of tenants: made, followed, rotated, destroyed; and
 * what is sealed with them. */
#include "security/keyring.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "check.h"
#include "memory_authority.h"
#include "security/data_key.h"

static const uint8_t master[32] = "a master key of thirty-two bytes";
static const uint8_t other_master[32] = "another one of thirty-two bytes!";
static const uint8_t ann[16] = "tenant ann......";
static const uint8_t bob[16] = "tenant bob......";

static int64_t clock_ms;

static int64_t now_ms(void)
{
    return clock_ms;
}

struct fixture {
    struct memory_authority memory;
    struct dj_keyring *keyring;
};

static struct dj_keyring *ring_of(struct memory_authority *memory, const uint8_t key[32])
{
    const struct dj_keyring_options options = {
        .master = key, .authority = &memory->authority, .now_ms = now_ms, .tenants_max = 4};
    struct dj_keyring *keyring = NULL;
    assert_int_equal(dj_keyring_create(&options, &keyring), DEJA_OK);
    return keyring;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    clock_ms = 1000000;
    memory_authority_init(&fixture.memory);
    fixture.keyring = ring_of(&fixture.memory, master);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    dj_keyring_destroy(fixture->keyring);
    return 0;
}

static struct deja_slice text(const char *bytes)
{
    return deja_slice_text(bytes);
}

/* The caller ends it. */
static struct dj_buf seal(struct dj_keyring *keyring, const uint8_t *tenant, const char *bound,
                          const char *plain)
{
    struct dj_buf sealed = {0};
    assert_int_equal(dj_keyring_seal(keyring, tenant, text(bound), text(plain), &sealed), DEJA_OK);
    return sealed;
}

static enum deja_status open_as(struct dj_keyring *keyring, const uint8_t *tenant,
                                const char *bound, const struct dj_buf *sealed,
                                const char *expected)
{
    struct dj_buf plain = {0};
    enum deja_status status =
        dj_keyring_open(keyring, tenant, text(bound), dj_buf_slice(sealed), &plain);
    if (status == DEJA_OK)
        assert_true(deja_slice_is_equal(dj_buf_slice(&plain), text(expected)));
    else
        assert_int_equal(plain.len, 0);
    dj_buf_fini(&plain);
    return status;
}

static void nothing_is_sealed_before_the_key_was_fetched(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf sealed = {0};
    assert_int_equal(dj_keyring_seal(fixture->keyring, ann, text("e1"), text("secret"), &sealed),
                     DEJA_ERR_NOT_FOUND);
    assert_int_equal(sealed.len, 0);
    assert_int_equal(dj_keyring_active(fixture->keyring, ann), 0);
    dj_buf_fini(&sealed);
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    assert_int_equal(dj_keyring_active(fixture->keyring, ann), 1);
    sealed = seal(fixture->keyring, ann, "e1", "secret");
    assert_int_equal(sealed.len, strlen("secret") + DJ_SEALED_BYTES);
    assert_int_equal(dj_keyring_id_of(dj_buf_slice(&sealed)), 1);
    assert_memory_not_equal(sealed.data + 60, "secret", 6);
    assert_int_equal(open_as(fixture->keyring, ann, "e1", &sealed, "secret"), DEJA_OK);
    dj_buf_fini(&sealed);
}

static void every_flipped_bit_of_the_sealed_form_is_refused(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    struct dj_buf sealed = seal(fixture->keyring, ann, "e1", "the answer");
    for (size_t bit = 0; bit < sealed.len * 8; bit++) {
        sealed.data[bit / 8] = (char)(sealed.data[bit / 8] ^ (1 << bit % 8));
        enum deja_status status = open_as(fixture->keyring, ann, "e1", &sealed, "");
        bool is_id = bit / 8 >= 4 && bit / 8 < 8; /* then it asks for a key nobody has */
        assert_true(status == DEJA_ERR_CORRUPT || (is_id && status == DEJA_ERR_NOT_FOUND));
        sealed.data[bit / 8] = (char)(sealed.data[bit / 8] ^ (1 << bit % 8));
    }
    size_t len = sealed.len;
    for (sealed.len = 0; sealed.len < len; sealed.len++)
        assert_int_equal(open_as(fixture->keyring, ann, "e1", &sealed, ""), DEJA_ERR_CORRUPT);
    assert_int_equal(open_as(fixture->keyring, ann, "e1", &sealed, "the answer"), DEJA_OK);
    dj_buf_fini(&sealed);
}

static void what_is_sealed_opens_only_in_its_own_place(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    assert_int_equal(dj_keyring_fetch(fixture->keyring, bob), DEJA_OK);
    struct dj_buf sealed = seal(fixture->keyring, ann, "e1", "the answer");
    assert_int_equal(open_as(fixture->keyring, ann, "e2", &sealed, ""), DEJA_ERR_CORRUPT);
    assert_int_equal(open_as(fixture->keyring, bob, "e1", &sealed, ""), DEJA_ERR_CORRUPT);
    assert_int_equal(open_as(fixture->keyring, ann, "", &sealed, ""), DEJA_ERR_CORRUPT);
    dj_buf_fini(&sealed);
}

static void the_same_text_is_never_sealed_the_same(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    struct dj_buf a = seal(fixture->keyring, ann, "e1", "the answer");
    struct dj_buf b = seal(fixture->keyring, ann, "e1", "the answer");
    assert_memory_not_equal(a.data + 12, b.data + 12, 32);
    assert_memory_not_equal(a.data + 60, b.data + 60, 10);
    dj_buf_fini(&a);
    dj_buf_fini(&b);
}

static void a_second_program_reads_what_the_first_sealed(void **state)
{
    struct fixture *fixture = *state;
    struct dj_keyring *second = ring_of(&fixture->memory, master);
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    struct dj_buf sealed = seal(fixture->keyring, ann, "e1", "the answer");
    assert_int_equal(open_as(second, ann, "e1", &sealed, ""), DEJA_ERR_NOT_FOUND);
    assert_int_equal(dj_keyring_fetch(second, ann), DEJA_OK);
    assert_int_equal(open_as(second, ann, "e1", &sealed, "the answer"), DEJA_OK);
    dj_buf_fini(&sealed);
    dj_keyring_destroy(second);
}

static void rotation_keeps_the_old_key_for_reading_until_it_is_destroyed(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    struct dj_buf old = seal(fixture->keyring, ann, "e1", "old answer");
    assert_int_equal(dj_keyring_rotate(fixture->keyring, ann, false), DEJA_OK);
    assert_int_equal(dj_keyring_active(fixture->keyring, ann), 2);
    struct dj_buf new = seal(fixture->keyring, ann, "e2", "new answer");
    assert_int_equal(dj_keyring_id_of(dj_buf_slice(&new)), 2);
    assert_int_equal(open_as(fixture->keyring, ann, "e1", &old, "old answer"), DEJA_OK);
    assert_int_equal(dj_keyring_destroy_old(fixture->keyring, ann, 3), DEJA_ERR_INVALID);
    assert_int_equal(dj_keyring_destroy_old(fixture->keyring, ann, 2), DEJA_OK);
    assert_int_equal(open_as(fixture->keyring, ann, "e1", &old, ""), DEJA_ERR_DENIED);
    assert_int_equal(open_as(fixture->keyring, ann, "e2", &new, "new answer"), DEJA_OK);
    dj_buf_fini(&old);
    dj_buf_fini(&new);
}

static void other_programs_follow_a_rotation_and_a_destruction(void **state)
{
    struct fixture *fixture = *state;
    struct dj_keyring *second = ring_of(&fixture->memory, master);
    uint32_t last = 0;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    assert_int_equal(dj_keyring_fetch(second, ann), DEJA_OK);
    assert_int_equal(dj_keyring_rotate(fixture->keyring, ann, false), DEJA_OK);
    assert_int_equal(dj_keyring_active(second, ann), 1);
    assert_int_equal(dj_keyring_refresh(second), DEJA_OK);
    assert_int_equal(dj_keyring_active(second, ann), 2);
    struct dj_buf sealed = seal(second, ann, "e1", "the answer");
    assert_int_equal(dj_keyring_destroy_tenant(fixture->keyring, ann, &last), DEJA_OK);
    assert_int_equal(last, 2);
    assert_int_equal(dj_keyring_refresh(second), DEJA_OK);
    assert_int_equal(open_as(second, ann, "e1", &sealed, ""), DEJA_ERR_DENIED);
    dj_buf_fini(&sealed);
    dj_keyring_destroy(second);
}

static void two_rotations_at_once_agree_on_one_key(void **state)
{
    struct fixture *fixture = *state;
    struct dj_keyring *second = ring_of(&fixture->memory, master);
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    assert_int_equal(dj_keyring_fetch(second, ann), DEJA_OK);
    struct dj_buf sealed = seal(second, ann, "e1", "the answer");
    assert_int_equal(open_as(fixture->keyring, ann, "e1", &sealed, "the answer"), DEJA_OK);
    assert_int_equal(dj_keyring_rotate(fixture->keyring, ann, false), DEJA_OK);
    assert_int_equal(dj_keyring_rotate(second, ann, false), DEJA_OK);
    assert_int_equal(dj_keyring_active(second, ann), 3);
    assert_int_equal(dj_keyring_refresh(fixture->keyring), DEJA_OK);
    assert_int_equal(dj_keyring_active(fixture->keyring, ann), 3);
    dj_buf_fini(&sealed);
    dj_keyring_destroy(second);
}

static void a_destroyed_tenant_starts_anew_with_another_key(void **state)
{
    struct fixture *fixture = *state;
    uint32_t last = 0;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    struct dj_buf sealed = seal(fixture->keyring, ann, "e1", "the answer");
    assert_int_equal(dj_keyring_destroy_tenant(fixture->keyring, ann, &last), DEJA_OK);
    assert_int_equal(last, 1);
    assert_int_equal(open_as(fixture->keyring, ann, "e1", &sealed, ""), DEJA_ERR_DENIED);
    assert_int_equal(dj_keyring_active(fixture->keyring, ann), 0);
    clock_ms += 2000;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    assert_int_equal(dj_keyring_active(fixture->keyring, ann), 2);
    assert_int_equal(open_as(fixture->keyring, ann, "e1", &sealed, ""), DEJA_ERR_DENIED);
    assert_int_equal(dj_keyring_destroy_tenant(fixture->keyring, bob, &last), DEJA_OK);
    assert_int_equal(last, 0);
    dj_buf_fini(&sealed);
}

static void another_master_key_reads_nothing_and_seals_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf sealed = {0};
    struct dj_keyring_figures figures;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    struct dj_buf old = seal(fixture->keyring, ann, "e1", "the answer");
    struct dj_keyring *wrong = ring_of(&fixture->memory, other_master);
    assert_int_equal(dj_keyring_fetch(wrong, ann), DEJA_ERR_DENIED);
    assert_int_equal(open_as(wrong, ann, "e1", &old, ""), DEJA_ERR_DENIED);
    assert_int_equal(dj_keyring_seal(wrong, ann, text("e2"), text("x"), &sealed), DEJA_ERR_DENIED);
    dj_buf_fini(&sealed);
    assert_int_equal(dj_keyring_rotate(wrong, ann, false), DEJA_ERR_DENIED);
    dj_keyring_look(wrong, &figures);
    assert_int_equal(figures.locked, 1);
    assert_int_equal(dj_keyring_rotate(wrong, ann, true), DEJA_OK);
    assert_int_equal(dj_keyring_active(wrong, ann), 2);
    sealed = seal(wrong, ann, "e2", "later");
    assert_int_equal(open_as(wrong, ann, "e2", &sealed, "later"), DEJA_OK);
    assert_int_equal(open_as(wrong, ann, "e1", &old, ""), DEJA_ERR_DENIED);
    dj_keyring_look(wrong, &figures);
    assert_int_equal(figures.locked, 0);
    dj_buf_fini(&sealed);
    dj_buf_fini(&old);
    dj_keyring_destroy(wrong);
}

/* What was noted down of a key's seals; writes it where it is not NULL. */
static uint64_t noted(struct memory_authority *memory, const char *written)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < memory->count; i++) {
        struct memory_row *row = &memory->rows[i];
        if (!row->is_there || row->key[row->key_len - 1] != '+')
            continue;
        if (written)
            row->value_len = (size_t)snprintf(row->value, sizeof row->value, "%s", written);
        assert_int_equal(dj_num_parse_u64(deja_slice(row->value, row->value_len), &number),
                         DEJA_OK);
    }
    return number;
}

static void a_key_that_sealed_enough_is_due_over_restarts(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    struct dj_buf sealed = {0};
    for (uint32_t i = 0; i < 1u << 16; i++) {
        sealed.len = 0;
        assert_int_equal(dj_keyring_seal(fixture->keyring, ann, text("e"), text("x"), &sealed),
                         DEJA_OK);
    }
    dj_buf_fini(&sealed);
    assert_int_equal(dj_keyring_refresh(fixture->keyring), DEJA_OK);
    assert_int_equal(noted(&fixture->memory, NULL), 1u << 16);
    assert_false(dj_keyring_is_due(fixture->keyring, ann));
    char almost[DJ_NUM_U64_DIGITS_MAX];
    snprintf(almost, sizeof almost, "%llu", (unsigned long long)DJ_KEYRING_SEALED_MAX - 1);
    noted(&fixture->memory, almost);
    struct dj_keyring *next = ring_of(&fixture->memory, master);
    assert_int_equal(dj_keyring_fetch(next, ann), DEJA_OK);
    assert_false(dj_keyring_is_due(next, ann));
    sealed = seal(next, ann, "e", "the last one");
    assert_true(dj_keyring_is_due(next, ann));
    assert_int_equal(dj_keyring_rotate(next, ann, false), DEJA_OK);
    assert_false(dj_keyring_is_due(next, ann));
    assert_int_equal(open_as(next, ann, "e", &sealed, "the last one"), DEJA_OK);
    dj_buf_fini(&sealed);
    dj_keyring_destroy(next);
}

static void mark(void *ctx, const struct dj_data_key *key)
{
    *(bool *)ctx |= key->is_previous;
}

static void the_previous_master_key_is_read_and_due(void **state)
{
    struct fixture *fixture = *state;
    bool has_previous = false;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    assert_false(dj_keyring_is_due(fixture->keyring, ann));
    struct dj_buf old = seal(fixture->keyring, ann, "e1", "the answer");
    const struct dj_keyring_options options = {.master = other_master,
                                               .previous = master,
                                               .authority = &fixture->memory.authority,
                                               .now_ms = now_ms,
                                               .tenants_max = 4};
    struct dj_keyring *next = NULL;
    assert_int_equal(dj_keyring_create(&options, &next), DEJA_OK);
    assert_int_equal(dj_keyring_fetch(next, ann), DEJA_OK);
    assert_int_equal(open_as(next, ann, "e1", &old, "the answer"), DEJA_OK);
    assert_true(dj_keyring_is_due(next, ann));
    assert_int_equal(dj_keyring_walk(next, &has_previous, mark), DEJA_OK);
    assert_true(has_previous);
    assert_int_equal(dj_keyring_rotate(next, ann, false), DEJA_OK);
    assert_false(dj_keyring_is_due(next, ann));
    assert_int_equal(open_as(next, ann, "e1", &old, "the answer"), DEJA_OK);
    assert_int_equal(dj_keyring_destroy_old(next, ann, dj_keyring_active(next, ann)), DEJA_OK);
    assert_int_equal(open_as(next, ann, "e1", &old, ""), DEJA_ERR_DENIED);
    has_previous = false;
    assert_int_equal(dj_keyring_walk(next, &has_previous, mark), DEJA_OK);
    assert_false(has_previous);
    struct dj_buf sealed = seal(next, ann, "e2", "later");
    dj_keyring_destroy(next);
    next = ring_of(&fixture->memory, other_master); /* the old one is not needed any more */
    assert_int_equal(dj_keyring_fetch(next, ann), DEJA_OK);
    assert_int_equal(open_as(next, ann, "e2", &sealed, "later"), DEJA_OK);
    dj_buf_fini(&sealed);
    dj_buf_fini(&old);
    dj_keyring_destroy(next);
}

static void a_document_under_another_name_or_damaged_is_no_key(void **state)
{
    struct fixture *fixture = *state;
    struct memory_authority *memory = &fixture->memory;
    char name[DJ_DATA_KEY_NAME_BYTES];
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    struct dj_keyring *second = ring_of(memory, master);
    dj_data_key_name(bob, 1, name); /* ann's document becomes bob's */
    memcpy(memory->rows[0].key, name, sizeof name);
    assert_int_equal(dj_keyring_fetch(second, bob), DEJA_ERR_DENIED);
    for (size_t i = 0; i < memory->rows[0].value_len; i++) {
        memory->rows[0].value[i] ^= 1;
        clock_ms += 2000;
        assert_int_equal(dj_keyring_fetch(second, bob), DEJA_ERR_DENIED);
        memory->rows[0].value[i] ^= 1;
    }
    dj_keyring_destroy(second);
}

static void a_fetch_asks_once_in_a_second(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    unsigned calls = fixture->memory.calls;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    assert_int_equal(fixture->memory.calls, calls);
    clock_ms += 1001;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    assert_true(fixture->memory.calls > calls);
}

static void trouble_of_the_authority_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    uint32_t last = 7;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    struct dj_buf sealed = seal(fixture->keyring, ann, "e1", "the answer");
    fixture->memory.trouble = DEJA_ERR_IO;
    clock_ms += 2000;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_ERR_IO);
    assert_int_equal(dj_keyring_rotate(fixture->keyring, ann, false), DEJA_ERR_IO);
    assert_int_equal(dj_keyring_destroy_tenant(fixture->keyring, ann, &last), DEJA_ERR_IO);
    assert_int_equal(last, 7);
    assert_int_equal(dj_keyring_refresh(fixture->keyring), DEJA_ERR_IO);
    assert_int_equal(open_as(fixture->keyring, ann, "e1", &sealed, "the answer"), DEJA_OK);
    assert_int_equal(dj_keyring_active(fixture->keyring, ann), 1);
    dj_buf_fini(&sealed);
}

static void the_least_recently_used_tenant_makes_room(void **state)
{
    struct fixture *fixture = *state;
    struct dj_keyring_figures figures;
    uint8_t tenant[16] = "tenant ........";
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    for (uint8_t i = 0; i < 40; i++) {
        tenant[7] = i;
        assert_int_equal(dj_keyring_fetch(fixture->keyring, tenant), DEJA_OK);
        struct dj_buf sealed = seal(fixture->keyring, ann, "e1", "used all the time");
        dj_buf_fini(&sealed);
    }
    dj_keyring_look(fixture->keyring, &figures);
    assert_int_equal(figures.tenants, 4);
    assert_int_equal(figures.sealed, 40);
}

static void many_rotations_keep_what_fits_and_what_is_newest(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    for (int i = 0; i < 20; i++)
        assert_int_equal(dj_keyring_rotate(fixture->keyring, ann, false), DEJA_OK);
    assert_int_equal(dj_keyring_active(fixture->keyring, ann), 21);
    uint32_t last = 0;
    assert_int_equal(dj_keyring_destroy_tenant(fixture->keyring, ann, &last), DEJA_OK);
    assert_int_equal(last, 21);
    struct dj_keyring *second = ring_of(&fixture->memory, master);
    assert_int_equal(dj_keyring_fetch(second, ann), DEJA_OK);
    assert_int_equal(dj_keyring_active(second, ann), 22);
    dj_keyring_destroy(second);
}

static void count(void *ctx, const struct dj_data_key *key)
{
    unsigned *counts = ctx;
    counts[key->is_destroyed ? 1 : key->is_locked ? 2 : 0]++;
}

static void every_key_is_told_of(void **state)
{
    struct fixture *fixture = *state;
    unsigned counts[3] = {0};
    assert_int_equal(dj_keyring_fetch(fixture->keyring, ann), DEJA_OK);
    assert_int_equal(dj_keyring_fetch(fixture->keyring, bob), DEJA_OK);
    assert_int_equal(dj_keyring_rotate(fixture->keyring, bob, false), DEJA_OK);
    assert_int_equal(dj_keyring_destroy_old(fixture->keyring, bob, 2), DEJA_OK);
    assert_int_equal(dj_keyring_walk(fixture->keyring, counts, count), DEJA_OK);
    assert_int_equal(counts[0], 2);
    assert_int_equal(counts[1], 1);
    assert_int_equal(counts[2], 0);
}

static void keyring_survives_each_failed_allocation(void **state)
{
    (void)state;
    static struct memory_authority memory;
    for (size_t n = 1;; n++) {
        struct dj_keyring *keyring = NULL;
        struct dj_buf sealed = {0};
        struct dj_buf plain = {0};
        unsigned counts[3] = {0};
        uint32_t last = 0;
        memory_authority_init(&memory);
        const struct dj_keyring_options options = {
            .master = master, .authority = &memory.authority, .now_ms = now_ms, .tenants_max = 4};
        failing_malloc_arm(n);
        bool is_ok =
            dj_keyring_create(&options, &keyring) == DEJA_OK &&
            dj_keyring_fetch(keyring, ann) == DEJA_OK &&
            dj_keyring_rotate(keyring, ann, false) == DEJA_OK &&
            dj_keyring_seal(keyring, ann, text("e"), text("plain"), &sealed) == DEJA_OK &&
            dj_keyring_open(keyring, ann, text("e"), dj_buf_slice(&sealed), &plain) == DEJA_OK &&
            dj_keyring_destroy_old(keyring, ann, 2) == DEJA_OK &&
            dj_keyring_walk(keyring, counts, count) == DEJA_OK &&
            dj_keyring_refresh(keyring) == DEJA_OK &&
            dj_keyring_destroy_tenant(keyring, ann, &last) == DEJA_OK;
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(is_ok, !has_failed);
        dj_buf_fini(&sealed);
        dj_buf_fini(&plain);
        dj_keyring_destroy(keyring);
        if (!has_failed)
            break;
    }
}

static void data_key_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_hmac_key ready;
        struct dj_aead *aead = NULL;
        struct dj_data_key_document document;
        uint8_t bytes[DJ_DATA_KEY_BYTES];
        uint8_t back[DJ_AEAD_KEY_BYTES];
        dj_hkdf_extract(master, &ready);
        failing_malloc_arm(n);
        bool is_ok = dj_aead_create(&aead) == DEJA_OK &&
                     dj_data_key_wrap(aead, &ready, ann, 1, 5, other_master, bytes) == DEJA_OK &&
                     dj_data_key_read(deja_slice(bytes, sizeof bytes), &document) == DEJA_OK &&
                     dj_data_key_unwrap(aead, &ready, ann, &document, back) == DEJA_OK;
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(is_ok, !has_failed);
        if (is_ok)
            assert_memory_equal(back, other_master, sizeof back);
        dj_aead_destroy(aead);
        dj_hmac_key_fini(&ready);
        if (!has_failed)
            break;
    }
}

static void key_apart_is_read_by_its_name_and_master_alone(void **state)
{
    struct fixture *fixture = *state;
    uint8_t document[DJ_DATA_KEY_BYTES];
    struct deja_slice wrapped = deja_slice(document, sizeof document);
    uint8_t key[DJ_KEYRING_KEY_BYTES];
    uint8_t back[DJ_KEYRING_KEY_BYTES] = {0};
    assert_int_equal(dj_keyring_wrap_apart(fixture->keyring, ann, key, document), DEJA_OK);
    struct dj_keyring *second = ring_of(&fixture->memory, master);
    assert_int_equal(dj_keyring_unwrap_apart(second, ann, wrapped, back), DEJA_OK);
    assert_memory_equal(back, key, sizeof key);
    assert_int_not_equal(dj_keyring_unwrap_apart(second, bob, wrapped, back), DEJA_OK);
    struct dj_keyring *wrong = ring_of(&fixture->memory, other_master);
    assert_int_equal(dj_keyring_unwrap_apart(wrong, ann, wrapped, back), DEJA_ERR_DENIED);
    document[DJ_DATA_KEY_BYTES - 1] ^= 1;
    assert_int_not_equal(dj_keyring_unwrap_apart(second, ann, wrapped, back), DEJA_OK);
    assert_memory_equal(back, key, sizeof key);
    dj_keyring_destroy(wrong);
    dj_keyring_destroy(second);
}

static void key_apart_survives_each_failed_allocation(void **state)
{
    (void)state;
    static struct memory_authority memory;
    for (size_t n = 1;; n++) {
        struct dj_keyring *keyring = NULL;
        uint8_t document[DJ_DATA_KEY_BYTES];
        struct deja_slice wrapped = deja_slice(document, sizeof document);
        uint8_t key[DJ_KEYRING_KEY_BYTES];
        uint8_t back[DJ_KEYRING_KEY_BYTES];
        memory_authority_init(&memory);
        const struct dj_keyring_options options = {
            .master = master, .authority = &memory.authority, .now_ms = now_ms, .tenants_max = 4};
        failing_malloc_arm(n);
        bool is_ok = dj_keyring_create(&options, &keyring) == DEJA_OK &&
                     dj_keyring_wrap_apart(keyring, ann, key, document) == DEJA_OK &&
                     dj_keyring_unwrap_apart(keyring, ann, wrapped, back) == DEJA_OK;
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(is_ok, !has_failed);
        if (is_ok)
            assert_memory_equal(back, key, sizeof key);
        dj_keyring_destroy(keyring);
        if (!has_failed)
            break;
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_sealed_before_the_key_was_fetched),
        TEST(every_flipped_bit_of_the_sealed_form_is_refused),
        TEST(what_is_sealed_opens_only_in_its_own_place),
        TEST(the_same_text_is_never_sealed_the_same),
        TEST(a_second_program_reads_what_the_first_sealed),
        TEST(rotation_keeps_the_old_key_for_reading_until_it_is_destroyed),
        TEST(other_programs_follow_a_rotation_and_a_destruction),
        TEST(two_rotations_at_once_agree_on_one_key),
        TEST(a_destroyed_tenant_starts_anew_with_another_key),
        TEST(the_previous_master_key_is_read_and_due),
        TEST(a_key_that_sealed_enough_is_due_over_restarts),
        TEST(another_master_key_reads_nothing_and_seals_nothing),
        TEST(a_document_under_another_name_or_damaged_is_no_key),
        TEST(a_fetch_asks_once_in_a_second),
        TEST(trouble_of_the_authority_changes_nothing),
        TEST(the_least_recently_used_tenant_makes_room),
        TEST(many_rotations_keep_what_fits_and_what_is_newest),
        TEST(every_key_is_told_of),
        TEST(keyring_survives_each_failed_allocation),
        TEST(data_key_survives_each_failed_allocation),
        TEST(key_apart_is_read_by_its_name_and_master_alone),
        TEST(key_apart_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
