/* tests/unit/security/test_keys.c - keys: made, presented, rotated, revoked, guessed at. */
#include "check.h"
#include "memory_authority.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "security/keys.h"

#define NOW INT64_C(1800000000000)
#define DAY INT64_C(86400000)

static const uint8_t secret[DJ_SHA256_BYTES] = {7};
static const uint8_t home[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
static const uint8_t away[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [15] = 1};

struct fixture {
    struct memory_authority memory;
    struct dj_keys *keys;
    struct dj_key wish;
    struct dj_key key; /* the last one made or let in */
    char text[DJ_KEY_TEXT_BYTES];
    int64_t retry_ms;
};

static enum deja_status open_keys(struct fixture *fixture, const uint8_t *with,
                                  struct dj_keys **out_keys)
{
    struct dj_keys *keys = NULL;
    enum deja_status status = dj_keys_create(&fixture->memory.authority, with, 8, &keys);
    if (status == DEJA_OK)
        status = dj_keys_reload(keys);
    if (status == DEJA_OK)
        *out_keys = keys;
    else
        dj_keys_destroy(keys);
    return status;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    memory_authority_init(&fixture->memory);
    fixture->memory.authority.pull = NULL; /* nobody else writes here */
    fixture->wish = (struct dj_key){.name = "team a",
                                    .tenant = {1, 2, 3},
                                    .has_tenant = true,
                                    .roles = DJ_ROLE_READ | DJ_ROLE_WRITE};
    assert_int_equal(open_keys(fixture, secret, &fixture->keys), DEJA_OK);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    dj_keys_destroy(fixture->keys);
    free(fixture);
    return 0;
}

static void make(struct fixture *fixture)
{
    assert_int_equal(dj_keys_make(fixture->keys, &fixture->wish, NOW, fixture->text, &fixture->key),
                     DEJA_OK);
}

static enum dj_key_verdict check_from(struct fixture *fixture, const uint8_t *address,
                                      const char *text, int64_t now_ms)
{
    return dj_keys_check(fixture->keys, deja_slice_text(text), address, now_ms, &fixture->key,
                         &fixture->retry_ms);
}

static enum dj_key_verdict check(struct fixture *fixture, const char *text, int64_t now_ms)
{
    return check_from(fixture, home, text, now_ms);
}

/* The same id with another secret. */
static void guess(const char *text, char out[DJ_KEY_TEXT_BYTES])
{
    memcpy(out, text, DJ_KEY_TEXT_BYTES);
    char *last = &out[DJ_KEY_TEXT_BYTES - 2];
    *last = *last == '0' ? '1' : '0';
}

static struct deja_slice id_of(const struct fixture *fixture)
{
    return deja_slice(fixture->text + 5, DJ_KEY_ID_BYTES);
}

static void a_key_is_right_and_nothing_else_is(void **state)
{
    struct fixture *fixture = *state;
    char other[DJ_KEY_TEXT_BYTES + 2];
    make(fixture);
    assert_int_equal(strlen(fixture->text), DJ_KEY_TEXT_BYTES - 1);
    fixture->key = (struct dj_key){.id = ""};
    assert_int_equal(check(fixture, fixture->text, NOW), DJ_KEY_GOOD);
    assert_string_equal(fixture->key.name, "team a");
    assert_int_equal(fixture->key.roles, DJ_ROLE_READ | DJ_ROLE_WRITE);
    assert_memory_equal(fixture->key.tenant, fixture->wish.tenant, DJ_TENANT_BYTES);
    assert_int_equal(fixture->key.used_ms, NOW);
    for (size_t i = 0; i < DJ_KEY_TEXT_BYTES - 1; i++) { /* each byte counts */
        int64_t now_ms = NOW + (int64_t)i * DAY;         /* so that no lock-out answers instead */
        memcpy(other, fixture->text, DJ_KEY_TEXT_BYTES);
        other[i] = other[i] == '3' ? '4' : '3';
        assert_int_equal(check(fixture, other, now_ms), DJ_KEY_WRONG);
        memcpy(other, fixture->text, DJ_KEY_TEXT_BYTES);
        other[i] = '\0'; /* cut */
        assert_int_equal(check(fixture, other, now_ms), DJ_KEY_WRONG);
    }
    memcpy(other, fixture->text, DJ_KEY_TEXT_BYTES);
    memcpy(other + DJ_KEY_TEXT_BYTES - 1, "0", 2);
    assert_int_equal(check(fixture, other, NOW), DJ_KEY_WRONG);
}

static void what_begins_like_a_key_is_claimed(void **state)
{
    (void)state;
    assert_true(dj_key_is_claimed(deja_slice_text("deja_")));
    assert_true(dj_key_is_claimed(deja_slice_text("deja_cut off")));
    assert_false(dj_key_is_claimed(deja_slice_text("deja")));
    assert_false(dj_key_is_claimed(deja_slice_text("sk-deja_")));
}

static void neither_the_key_nor_its_secret_is_stored(void **state)
{
    struct fixture *fixture = *state;
    make(fixture);
    assert_int_equal(fixture->memory.count, 1);
    const struct memory_row *document = &fixture->memory.rows[0];
    char value[sizeof document->value + 1] = "";
    memcpy(value, document->value, document->value_len);
    assert_non_null(strstr(value, "\"name\":\"team a\""));
    assert_null(strstr(value, fixture->text + 5 + DJ_KEY_ID_BYTES + 1));
    /* Under another deployment's secret the same document accepts nothing. */
    static const uint8_t other_secret[DJ_SHA256_BYTES] = {8};
    struct dj_keys *other = NULL;
    assert_int_equal(open_keys(fixture, other_secret, &other), DEJA_OK);
    assert_int_equal(dj_keys_check(other, deja_slice_text(fixture->text), home, NOW, &fixture->key,
                                   &fixture->retry_ms),
                     DJ_KEY_WRONG);
    dj_keys_destroy(other);
}

static void keys_are_there_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    fixture->wish.requests_per_s = 2.5;
    fixture->wish.burst = 7;
    fixture->wish.expires_ms = NOW + DAY;
    make(fixture);
    dj_keys_destroy(fixture->keys);
    assert_int_equal(open_keys(fixture, secret, &fixture->keys), DEJA_OK);
    assert_int_equal(check(fixture, fixture->text, NOW), DJ_KEY_GOOD);
    assert_true(fixture->key.requests_per_s > 2.4 && fixture->key.requests_per_s < 2.6);
    assert_int_equal(fixture->key.burst, 7);
    assert_int_equal(fixture->key.expires_ms, NOW + DAY);
}

static void a_key_ends_at_its_expiry(void **state)
{
    struct fixture *fixture = *state;
    fixture->wish.expires_ms = NOW + 1000;
    make(fixture);
    assert_int_equal(check(fixture, fixture->text, NOW + 999), DJ_KEY_GOOD);
    assert_int_equal(check(fixture, fixture->text, NOW + 1000), DJ_KEY_EXPIRED);
    char text[DJ_KEY_TEXT_BYTES];
    struct dj_key key;
    assert_int_equal(dj_keys_rotate(fixture->keys, id_of(fixture), 0, NOW + 1000, text, &key),
                     DEJA_ERR_DENIED);
}

static void both_secrets_are_right_while_a_rotation_overlaps(void **state)
{
    struct fixture *fixture = *state;
    char before[DJ_KEY_TEXT_BYTES];
    make(fixture);
    memcpy(before, fixture->text, sizeof before);
    assert_int_equal(
        dj_keys_rotate(fixture->keys, id_of(fixture), 5000, NOW, fixture->text, &fixture->key),
        DEJA_OK);
    assert_memory_equal(before, fixture->text, 5 + DJ_KEY_ID_BYTES);
    assert_string_not_equal(before, fixture->text);
    assert_int_equal(check(fixture, before, NOW + 4999), DJ_KEY_GOOD);
    assert_int_equal(check(fixture, fixture->text, NOW + 4999), DJ_KEY_GOOD);
    for (int i = 0; i < 50; i++) /* an old secret is a mistake, not a guess */
        assert_int_equal(check(fixture, before, NOW + 5000), DJ_KEY_REPLACED);
    assert_int_equal(check(fixture, fixture->text, NOW + 5000), DJ_KEY_GOOD);
    /* The one before the last is right no more, however long the overlap. */
    assert_int_equal(
        dj_keys_rotate(fixture->keys, id_of(fixture), 5000, NOW, fixture->text, &fixture->key),
        DEJA_OK);
    assert_int_equal(check(fixture, before, NOW), DJ_KEY_WRONG);
}

static void a_rotation_without_overlap_is_at_once(void **state)
{
    struct fixture *fixture = *state;
    char before[DJ_KEY_TEXT_BYTES];
    make(fixture);
    memcpy(before, fixture->text, sizeof before);
    assert_int_equal(
        dj_keys_rotate(fixture->keys, id_of(fixture), 0, NOW, fixture->text, &fixture->key),
        DEJA_OK);
    assert_int_equal(check(fixture, before, NOW), DJ_KEY_REPLACED);
    assert_int_equal(check(fixture, fixture->text, NOW), DJ_KEY_GOOD);
}

static void a_revoked_key_is_refused_and_stays_listed(void **state)
{
    struct fixture *fixture = *state;
    struct dj_key *list = NULL;
    size_t count = 0;
    make(fixture);
    assert_int_equal(dj_keys_revoke(fixture->keys, id_of(fixture), NOW, &fixture->key), DEJA_OK);
    assert_int_equal(check(fixture, fixture->text, NOW), DJ_KEY_REVOKED);
    assert_int_equal(dj_keys_revoke(fixture->keys, id_of(fixture), NOW + 5, &fixture->key),
                     DEJA_OK);
    assert_int_equal(fixture->key.revoked_ms, NOW); /* as it was */
    assert_int_equal(dj_keys_list(fixture->keys, NULL, deja_slice(NULL, 0), 100, &list, &count),
                     DEJA_OK);
    assert_int_equal(count, 1);
    assert_int_equal(list[0].revoked_ms, NOW);
    dj_free(list);
    assert_int_equal(
        dj_keys_revoke(fixture->keys, deja_slice_text("0123456789abcdef"), NOW, &fixture->key),
        DEJA_ERR_NOT_FOUND);
}

static void lists_are_of_one_tenant_and_in_pages(void **state)
{
    struct fixture *fixture = *state;
    struct dj_key *list = NULL;
    size_t count = 0;
    for (int i = 0; i < 5; i++)
        make(fixture);
    fixture->wish.tenant[0] = 9;
    make(fixture);
    fixture->wish.has_tenant = false;
    make(fixture);
    assert_int_equal(
        dj_keys_list(fixture->keys, fixture->wish.tenant, deja_slice(NULL, 0), 100, &list, &count),
        DEJA_OK);
    assert_int_equal(count, 1);
    dj_free(list);
    char after[DJ_KEY_ID_BYTES + 1] = "";
    size_t total = 0;
    for (;;) {
        assert_int_equal(
            dj_keys_list(fixture->keys, NULL, deja_slice_text(after), 2, &list, &count), DEJA_OK);
        for (size_t i = 0; i < count; i++) {
            assert_true(strcmp(after, list[i].id) < 0);
            memcpy(after, list[i].id, sizeof after);
        }
        total += count;
        dj_free(list);
        if (!count)
            break;
    }
    assert_int_equal(total, 7);
    assert_int_equal(dj_keys_count(fixture->keys), 7);
}

static void the_table_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 8; i++)
        make(fixture);
    assert_int_equal(dj_keys_make(fixture->keys, &fixture->wish, NOW, fixture->text, &fixture->key),
                     DEJA_ERR_LIMIT);
    assert_int_equal(dj_keys_remove_tenant(fixture->keys, fixture->wish.tenant), DEJA_OK);
    assert_false(fixture->memory.rows[0].is_there);
    make(fixture);
}

static void guesses_lock_out_their_address_and_nobody_else(void **state)
{
    struct fixture *fixture = *state;
    char wrong[DJ_KEY_TEXT_BYTES];
    make(fixture);
    guess(fixture->text, wrong);
    for (int i = 0; i < 10; i++)
        assert_int_equal(check_from(fixture, away, wrong, NOW), DJ_KEY_WRONG);
    assert_int_equal(check_from(fixture, away, wrong, NOW), DJ_KEY_LOCKED);
    assert_in_range(fixture->retry_ms, 1, 60000);
    /* Even the right one, or guessing could go on until it is met. */
    assert_int_equal(check_from(fixture, away, fixture->text, NOW), DJ_KEY_LOCKED);
    assert_int_equal(check_from(fixture, home, fixture->text, NOW), DJ_KEY_GOOD);
    assert_int_equal(check_from(fixture, away, fixture->text, NOW + 60000), DJ_KEY_GOOD);
}

static void a_lock_stays_while_guessing_goes_on(void **state)
{
    struct fixture *fixture = *state;
    char wrong[DJ_KEY_TEXT_BYTES];
    int64_t now_ms = NOW;
    make(fixture);
    guess(fixture->text, wrong);
    for (int i = 0; i < 10; i++)
        assert_int_equal(check(fixture, wrong, now_ms), DJ_KEY_WRONG);
    for (int i = 0; i < 100; i++, now_ms += 1000)
        assert_int_equal(check(fixture, wrong, now_ms), DJ_KEY_LOCKED);
    assert_int_equal(check(fixture, fixture->text, now_ms), DJ_KEY_LOCKED);
    assert_int_equal(check(fixture, fixture->text, now_ms + 61000), DJ_KEY_GOOD);
}

/* 2001:db8:0:i::, a network of its own. */
static void network(uint8_t address[16], unsigned i)
{
    memset(address, 0, 16);
    address[0] = 0x20;
    address[1] = 0x01;
    address[6] = (uint8_t)(i >> 8);
    address[7] = (uint8_t)i;
}

static void guesses_from_many_addresses_lock_the_id_for_guessers(void **state)
{
    struct fixture *fixture = *state;
    char wrong[DJ_KEY_TEXT_BYTES];
    uint8_t address[16];
    make(fixture);
    guess(fixture->text, wrong);
    for (unsigned i = 0; i < 100; i++) {
        network(address, i);
        assert_int_equal(check_from(fixture, address, wrong, NOW), DJ_KEY_WRONG);
    }
    network(address, 0);
    address[15] = 77; /* the same network */
    assert_int_equal(check_from(fixture, address, wrong, NOW), DJ_KEY_LOCKED);
    assert_int_equal(check_from(fixture, address, fixture->text, NOW), DJ_KEY_LOCKED);
    assert_int_equal(check_from(fixture, home, fixture->text, NOW), DJ_KEY_GOOD);
}

static void an_address_that_tries_many_ids_is_locked_out_of_them(void **state)
{
    struct fixture *fixture = *state;
    char wrong[DJ_KEY_TEXT_BYTES];
    make(fixture);
    for (int i = 0; i < 50; i++) {
        guess(fixture->text, wrong);
        wrong[5] = (char)('0' + i / 10); /* an id nobody has, or a wrong secret */
        wrong[6] = (char)('0' + i % 10);
        assert_int_equal(check_from(fixture, away, wrong, NOW), DJ_KEY_WRONG);
    }
    assert_int_equal(check_from(fixture, away, wrong, NOW), DJ_KEY_LOCKED);
    /* Who shares the address with it, behind a proxy, goes on. */
    guess(fixture->text, wrong);
    if (memcmp(fixture->text + 5, "4", 1) > 0)
        assert_int_equal(check_from(fixture, away, fixture->text, NOW), DJ_KEY_GOOD);
}

static void a_certificate_stands_for_its_key(void **state)
{
    struct fixture *fixture = *state;
    struct deja_slice fingerprint = deja_slice(fixture->wish.certificate, DJ_CERTIFICATE_BYTES);
    memset(fixture->wish.certificate, 'a', DJ_CERTIFICATE_BYTES);
    make(fixture);
    assert_int_equal(dj_keys_make(fixture->keys, &fixture->wish, NOW, fixture->text, &fixture->key),
                     DEJA_ERR_BUSY);
    assert_int_equal(dj_keys_check_certificate(fixture->keys, fingerprint, NOW, &fixture->key),
                     DJ_KEY_GOOD);
    assert_string_equal(fixture->key.name, "team a");
    assert_int_equal(
        dj_keys_revoke(fixture->keys, deja_slice_text(fixture->key.id), NOW, &fixture->key),
        DEJA_OK);
    assert_int_equal(dj_keys_check_certificate(fixture->keys, fingerprint, NOW, &fixture->key),
                     DJ_KEY_REVOKED);
    fixture->wish.certificate[3] = 'b';
    assert_int_equal(dj_keys_check_certificate(fixture->keys, fingerprint, NOW, &fixture->key),
                     DJ_KEY_WRONG);
}

static void nothing_changes_where_it_cannot_be_kept(void **state)
{
    struct fixture *fixture = *state;
    char text[DJ_KEY_TEXT_BYTES];
    make(fixture);
    fixture->memory.trouble = DEJA_ERR_IO;
    assert_int_equal(dj_keys_make(fixture->keys, &fixture->wish, NOW, text, &fixture->key),
                     DEJA_ERR_IO);
    assert_int_equal(dj_keys_rotate(fixture->keys, id_of(fixture), 0, NOW, text, &fixture->key),
                     DEJA_ERR_IO);
    assert_int_equal(dj_keys_revoke(fixture->keys, id_of(fixture), NOW, &fixture->key),
                     DEJA_ERR_IO);
    assert_int_equal(check(fixture, fixture->text, NOW), DJ_KEY_GOOD);
    assert_int_equal(dj_keys_count(fixture->keys), 1);
}

/* Only that there is one makes the difference. */
static enum deja_status pull(void *ctx, uint64_t since, void *change_ctx,
                             dj_authority_change_fn *change, uint64_t *out_sequence)
{
    (void)ctx;
    (void)change_ctx;
    (void)change;
    *out_sequence = since;
    return DEJA_OK;
}

static void what_another_node_did_is_seen_and_believed_for_a_while(void **state)
{
    struct fixture *fixture = *state;
    struct dj_keys *other = NULL;
    fixture->memory.authority.pull = pull;
    assert_int_equal(open_keys(fixture, secret, &other), DEJA_OK);
    dj_keys_on_pulled(fixture->keys, NOW);
    assert_int_equal(dj_keys_make(other, &fixture->wish, NOW, fixture->text, &fixture->key),
                     DEJA_OK);
    assert_int_equal(check(fixture, fixture->text, NOW), DJ_KEY_WRONG);
    const struct memory_row *document = &fixture->memory.rows[0];
    struct deja_slice id = deja_slice(document->key, document->key_len);
    struct deja_slice value = deja_slice(document->value, document->value_len);
    dj_keys_on_change(fixture->keys, "other_table", id, value);
    assert_int_equal(check(fixture, fixture->text, NOW), DJ_KEY_WRONG);
    dj_keys_on_change(fixture->keys, DJ_KEYS_TABLE, id, value);
    assert_int_equal(check(fixture, fixture->text, NOW), DJ_KEY_GOOD);
    assert_int_equal(check(fixture, fixture->text, NOW + DJ_KEYS_LEASE_MS), DJ_KEY_GOOD);
    assert_int_equal(check(fixture, fixture->text, NOW + DJ_KEYS_LEASE_MS + 1), DJ_KEY_UNSURE);
    /* What was on its way before this node changed it does not undo that. */
    struct memory_row earlier = *document;
    assert_int_equal(dj_keys_revoke(fixture->keys, id, NOW, &fixture->key), DEJA_OK);
    dj_keys_on_change(fixture->keys, DJ_KEYS_TABLE, id,
                      deja_slice(earlier.value, earlier.value_len));
    assert_int_equal(check(fixture, fixture->text, NOW), DJ_KEY_REVOKED);
    dj_keys_on_change(fixture->keys, DJ_KEYS_TABLE, id, deja_slice(NULL, 0));
    assert_int_equal(check(fixture, fixture->text, NOW), DJ_KEY_WRONG);
    dj_keys_destroy(other);
}

static void a_change_starts_from_what_is_stored(void **state)
{
    struct fixture *fixture = *state;
    struct dj_keys *other = NULL;
    char text[DJ_KEY_TEXT_BYTES];
    make(fixture);
    assert_int_equal(open_keys(fixture, secret, &other), DEJA_OK);
    assert_int_equal(dj_keys_revoke(other, id_of(fixture), NOW, &fixture->key), DEJA_OK);
    /* Not pulled yet, and still no new life for it. */
    assert_int_equal(dj_keys_rotate(fixture->keys, id_of(fixture), 0, NOW, text, &fixture->key),
                     DEJA_ERR_DENIED);
    dj_keys_destroy(other);
}

static void damaged_documents_are_keys_that_are_not_accepted(void **state)
{
    struct fixture *fixture = *state;
    struct dj_keys *keys = NULL;
    make(fixture);
    struct memory_row *document = &fixture->memory.rows[0];
    size_t len = document->value_len;
    char whole[sizeof document->value];
    memcpy(whole, document->value, sizeof whole);
    for (size_t i = 0; i < len; i++) {
        document->value_len = i;
        assert_int_equal(open_keys(fixture, secret, &keys), DEJA_OK);
        assert_int_equal(dj_keys_count(keys), 0);
        dj_keys_destroy(keys);
        document->value_len = len;
        document->value[i] ^= 1;
        assert_int_equal(open_keys(fixture, secret, &keys), DEJA_OK);
        dj_keys_destroy(keys);
        document->value[i] = whole[i];
    }
}

static void keys_survive_each_failed_allocation(void **state)
{
    struct fixture *fixture = *state;
    make(fixture);
    for (size_t n = 1;; n++) {
        struct dj_keys *keys = NULL;
        struct dj_key *list = NULL;
        struct dj_key key;
        char text[DJ_KEY_TEXT_BYTES];
        size_t count = 0;
        unsigned documents = fixture->memory.count;
        failing_malloc_arm(n);
        enum deja_status status = open_keys(fixture, secret, &keys);
        if (status == DEJA_OK)
            status = dj_keys_make(keys, &fixture->wish, NOW, text, &key);
        if (status == DEJA_OK)
            status = dj_keys_rotate(keys, deja_slice_text(key.id), 1, NOW, text, &key);
        if (status == DEJA_OK)
            status = dj_keys_list(keys, NULL, deja_slice(NULL, 0), 9, &list, &count);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (fixture->memory.count > documents)
            fixture->memory.rows[documents] = (struct memory_row){.key_len = 0};
        fixture->memory.count = documents;
        dj_free(list);
        dj_keys_destroy(keys);
        if (!has_failed)
            break;
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_key_is_right_and_nothing_else_is),
        TEST(what_begins_like_a_key_is_claimed),
        TEST(neither_the_key_nor_its_secret_is_stored),
        TEST(keys_are_there_after_a_restart),
        TEST(a_key_ends_at_its_expiry),
        TEST(both_secrets_are_right_while_a_rotation_overlaps),
        TEST(a_rotation_without_overlap_is_at_once),
        TEST(a_revoked_key_is_refused_and_stays_listed),
        TEST(lists_are_of_one_tenant_and_in_pages),
        TEST(the_table_is_bounded),
        TEST(guesses_lock_out_their_address_and_nobody_else),
        TEST(a_lock_stays_while_guessing_goes_on),
        TEST(guesses_from_many_addresses_lock_the_id_for_guessers),
        TEST(an_address_that_tries_many_ids_is_locked_out_of_them),
        TEST(a_certificate_stands_for_its_key),
        TEST(nothing_changes_where_it_cannot_be_kept),
        TEST(what_another_node_did_is_seen_and_believed_for_a_while),
        TEST(a_change_starts_from_what_is_stored),
        TEST(damaged_documents_are_keys_that_are_not_accepted),
        TEST(keys_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
