/* tests/unit/security/test_vault.c - upstream credentials: sealed where they are kept, told to
 * nobody but the upstream. */
#include "check.h"
#include "memory_authority.h"

#include <stdlib.h>

#include "security/vault_seal.h"

#define NOW INT64_C(1800000000000)

static const uint8_t secret[DJ_SHA256_BYTES] = {5};
static const uint8_t acme[DJ_TENANT_BYTES] = {1, 1, 1, 1, 1, 1, 1, 1};
static const uint8_t other[DJ_TENANT_BYTES] = {2, 2, 2, 2, 2, 2, 2, 2};

struct fixture {
    struct memory_authority memory;
    struct dj_vault_seal *seal;
    struct dj_vault *vault;
    struct dj_arena arena;
};

static enum deja_status open_vault(struct fixture *fixture, struct dj_vault **out_vault)
{
    const struct dj_vault_sealer sealer = dj_vault_seal_table(fixture->seal);
    struct dj_vault *vault = NULL;
    enum deja_status status = dj_vault_create(&fixture->memory.authority, &sealer, 4, &vault);
    if (status == DEJA_OK)
        status = dj_vault_reload(vault);
    if (status == DEJA_OK)
        *out_vault = vault;
    else
        dj_vault_destroy(vault);
    return status;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    memory_authority_init(&fixture->memory);
    dj_arena_init(&fixture->arena, 1u << 20);
    assert_int_equal(dj_vault_seal_create(secret, &fixture->seal), DEJA_OK);
    assert_int_equal(open_vault(fixture, &fixture->vault), DEJA_OK);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    dj_vault_destroy(fixture->vault);
    dj_vault_seal_destroy(fixture->seal);
    dj_arena_fini(&fixture->arena);
    free(fixture);
    return 0;
}

static void set(struct fixture *fixture, const uint8_t *tenant, const char *value)
{
    assert_int_equal(
        dj_vault_set(fixture->vault, tenant, DJ_VAULT_BEARER, deja_slice_text(value), NOW),
        DEJA_OK);
}

static void assert_shown(struct fixture *fixture, struct dj_vault *vault, const uint8_t *tenant,
                         const char *name, const char *value)
{
    struct deja_slice shown_name;
    struct deja_slice shown_value;
    assert_int_equal(dj_vault_look(vault, tenant, &fixture->arena, &shown_name, &shown_value),
                     DEJA_OK);
    assert_true(deja_slice_is_equal(shown_name, deja_slice_text(name)));
    assert_true(deja_slice_is_equal(shown_value, deja_slice_text(value)));
}

static enum deja_status look(struct fixture *fixture, struct dj_vault *vault, const uint8_t *tenant)
{
    struct deja_slice name;
    struct deja_slice value;
    return dj_vault_look(vault, tenant, &fixture->arena, &name, &value);
}

static void each_tenant_shows_its_own(void **state)
{
    struct fixture *fixture = *state;
    set(fixture, acme, "sk-acme");
    assert_shown(fixture, fixture->vault, acme, "Authorization", "Bearer sk-acme");
    assert_int_equal(look(fixture, fixture->vault, other), DEJA_ERR_NOT_FOUND);
    set(fixture, other, "sk-other");
    set(fixture, acme, "sk-acme-2");
    assert_shown(fixture, fixture->vault, acme, "Authorization", "Bearer sk-acme-2");
    assert_shown(fixture, fixture->vault, other, "Authorization", "Bearer sk-other");
    assert_int_equal(
        dj_vault_set(fixture->vault, acme, DJ_VAULT_X_API_KEY, deja_slice_text("sk-ant"), NOW),
        DEJA_OK);
    assert_shown(fixture, fixture->vault, acme, "x-api-key", "sk-ant");
}

static void credentials_are_sealed_and_survive_a_restart(void **state)
{
    struct fixture *fixture = *state;
    struct dj_vault *again = NULL;
    set(fixture, acme, "sk-acme");
    const struct memory_row *row = &fixture->memory.rows[0];
    for (size_t i = 0; i + 7 <= row->value_len; i++)
        assert_memory_not_equal(row->value + i, "sk-acme", 7);
    assert_int_equal(open_vault(fixture, &again), DEJA_OK);
    assert_shown(fixture, again, acme, "Authorization", "Bearer sk-acme");
    dj_vault_destroy(again);
}

static void a_sealed_document_belongs_to_its_tenant_and_deployment(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t other_secret[DJ_SHA256_BYTES] = {6};
    struct dj_vault *vault = NULL;
    char name[DJ_TENANT_TEXT_BYTES];
    set(fixture, acme, "sk-acme");
    struct memory_row *row = &fixture->memory.rows[0];
    dj_tenant_text(other, name);
    memcpy(row->key, name, row->key_len); /* as if it were the other's */
    assert_int_equal(open_vault(fixture, &vault), DEJA_OK);
    assert_int_equal(look(fixture, vault, other), DEJA_ERR_NOT_FOUND);
    assert_int_equal(dj_vault_damaged(vault), 1);
    dj_vault_destroy(vault);
    dj_tenant_text(acme, name);
    memcpy(row->key, name, row->key_len);
    dj_vault_seal_destroy(fixture->seal);
    assert_int_equal(dj_vault_seal_create(other_secret, &fixture->seal), DEJA_OK);
    assert_int_equal(open_vault(fixture, &vault), DEJA_OK);
    assert_int_equal(look(fixture, vault, acme), DEJA_ERR_NOT_FOUND);
    dj_vault_destroy(vault);
}

static void every_byte_of_a_document_counts(void **state)
{
    struct fixture *fixture = *state;
    set(fixture, acme, "sk-acme");
    struct memory_row *row = &fixture->memory.rows[0];
    for (size_t i = 0; i < row->value_len; i++) {
        struct dj_vault *vault = NULL;
        row->value[i] ^= 1;
        assert_int_equal(open_vault(fixture, &vault), DEJA_OK);
        assert_int_equal(look(fixture, vault, acme), DEJA_ERR_NOT_FOUND);
        dj_vault_destroy(vault);
        row->value[i] ^= 1;
    }
    for (size_t len = row->value_len; len-- > 0;) {
        struct dj_vault *vault = NULL;
        row->value_len = len;
        assert_int_equal(open_vault(fixture, &vault), DEJA_OK);
        assert_int_equal(look(fixture, vault, acme), DEJA_ERR_NOT_FOUND);
        dj_vault_destroy(vault);
    }
}

static void a_credential_is_removed_and_told_of(void **state)
{
    struct fixture *fixture = *state;
    struct dj_vault_facts facts;
    set(fixture, acme, "sk-acme");
    assert_int_equal(dj_vault_get(fixture->vault, acme, &facts), DEJA_OK);
    assert_int_equal(facts.scheme, DJ_VAULT_BEARER);
    assert_int_equal(facts.set_ms, NOW);
    assert_int_equal(dj_vault_remove(fixture->vault, acme), DEJA_OK);
    assert_int_equal(dj_vault_get(fixture->vault, acme, &facts), DEJA_ERR_NOT_FOUND);
    assert_int_equal(dj_vault_remove(fixture->vault, acme), DEJA_ERR_NOT_FOUND);
    assert_int_equal(look(fixture, fixture->vault, acme), DEJA_ERR_NOT_FOUND);
}

static void only_what_fits_into_a_header_is_taken(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bad[] = {"",      "two words", "line\r\nX-Evil: 1",
                                      "tab\t", "\x7f",      "\xc3\xa4"};
    char long_value[DJ_VAULT_VALUE_BYTES_MAX + 2];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(
            dj_vault_set(fixture->vault, acme, DJ_VAULT_BEARER, deja_slice_text(bad[i]), NOW),
            DEJA_ERR_INVALID);
    memset(long_value, 'a', sizeof long_value);
    long_value[DJ_VAULT_VALUE_BYTES_MAX + 1] = '\0';
    assert_int_equal(
        dj_vault_set(fixture->vault, acme, DJ_VAULT_BEARER, deja_slice_text(long_value), NOW),
        DEJA_ERR_INVALID);
    assert_int_equal(fixture->memory.count, 0);
}

static void nothing_changes_where_it_cannot_be_kept(void **state)
{
    struct fixture *fixture = *state;
    set(fixture, acme, "sk-acme");
    fixture->memory.trouble = DEJA_ERR_IO;
    assert_int_equal(
        dj_vault_set(fixture->vault, acme, DJ_VAULT_BEARER, deja_slice_text("sk-2"), NOW),
        DEJA_ERR_IO);
    assert_int_equal(dj_vault_remove(fixture->vault, acme), DEJA_ERR_IO);
    assert_int_equal(dj_vault_reload(fixture->vault), DEJA_ERR_IO);
    assert_shown(fixture, fixture->vault, acme, "Authorization", "Bearer sk-acme");
}

static void what_another_node_did_is_seen(void **state)
{
    struct fixture *fixture = *state;
    struct dj_vault *node = NULL;
    assert_int_equal(open_vault(fixture, &node), DEJA_OK);
    set(fixture, acme, "sk-acme");
    const struct memory_row *row = &fixture->memory.rows[0];
    struct deja_slice key = deja_slice(row->key, row->key_len);
    dj_vault_on_change(node, "api_keys", key, deja_slice(row->value, row->value_len));
    assert_int_equal(look(fixture, node, acme), DEJA_ERR_NOT_FOUND);
    dj_vault_on_change(node, DJ_VAULT_TABLE, key, deja_slice(row->value, row->value_len));
    assert_shown(fixture, node, acme, "Authorization", "Bearer sk-acme");
    dj_vault_on_change(node, DJ_VAULT_TABLE, key, deja_slice(row->value, row->value_len - 1));
    assert_int_equal(look(fixture, node, acme), DEJA_ERR_NOT_FOUND);
    assert_int_equal(dj_vault_reload(node), DEJA_OK);
    assert_shown(fixture, node, acme, "Authorization", "Bearer sk-acme");
    assert_int_equal(dj_vault_remove(fixture->vault, acme), DEJA_OK);
    assert_int_equal(dj_vault_reload(node), DEJA_OK);
    assert_int_equal(look(fixture, node, acme), DEJA_ERR_NOT_FOUND);
    dj_vault_destroy(node);
}

static void schemes_have_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DJ_VAULT_SCHEMES; i++) {
        enum dj_vault_scheme scheme;
        const char *name = dj_vault_scheme_text((enum dj_vault_scheme)i);
        assert_int_equal(dj_vault_scheme_of(deja_slice_text(name), &scheme), DEJA_OK);
        assert_int_equal(scheme, i);
    }
    enum dj_vault_scheme scheme;
    assert_int_equal(dj_vault_scheme_of(deja_slice_text("basic"), &scheme), DEJA_ERR_INVALID);
}

static void vault_survives_each_failed_allocation(void **state)
{
    struct fixture *fixture = *state;
    set(fixture, acme, "sk-acme");
    for (size_t n = 1;; n++) {
        const uint8_t odd[DJ_TENANT_BYTES] = {3, 3, 3, 3, 3, 3, 3, 3};
        struct dj_vault_seal *seal = NULL;
        struct dj_vault *vault = NULL;
        struct dj_vault_facts facts;
        unsigned rows = fixture->memory.count;
        failing_malloc_arm(n);
        enum deja_status status = dj_vault_seal_create(secret, &seal);
        struct dj_vault_seal *own = fixture->seal;
        fixture->seal = status == DEJA_OK ? seal : own;
        if (status == DEJA_OK)
            status = open_vault(fixture, &vault);
        fixture->seal = own;
        if (status == DEJA_OK)
            status = dj_vault_set(vault, odd, DJ_VAULT_BEARER, deja_slice_text("sk"), NOW);
        struct deja_slice name;
        struct deja_slice value;
        enum dj_vault_scheme scheme;
        if (status == DEJA_OK)
            status = dj_vault_get(vault, odd, &facts);
        if (status == DEJA_OK)
            status = dj_vault_look(vault, odd, &fixture->arena, &name, &value);
        if (status == DEJA_OK)
            status = dj_vault_scheme_of(deja_slice_text("bearer"), &scheme);
        if (status == DEJA_OK)
            status = dj_vault_remove(vault, odd);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (fixture->memory.count > rows)
            fixture->memory.rows[rows] = (struct memory_row){.key_len = 0};
        fixture->memory.count = rows;
        dj_vault_destroy(vault);
        dj_vault_seal_destroy(seal);
        if (!has_failed)
            break;
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_tenant_shows_its_own),
        TEST(credentials_are_sealed_and_survive_a_restart),
        TEST(a_sealed_document_belongs_to_its_tenant_and_deployment),
        TEST(every_byte_of_a_document_counts),
        TEST(a_credential_is_removed_and_told_of),
        TEST(only_what_fits_into_a_header_is_taken),
        TEST(nothing_changes_where_it_cannot_be_kept),
        TEST(what_another_node_did_is_seen),
        TEST(schemes_have_names),
        TEST(vault_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
