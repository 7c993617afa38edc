/* tests/unit/proxy/test_identity.c - from a request's headers to a tenant and a key prefix. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#include "proxy/identity.h"

static struct dj_tenant_root root; /* made by main */
static const struct dj_proxy_context context = {.root = &root,
                                                .targets = {{.id = "up"}, {.id = "up"}}};

static struct dj_http_request request_of(const struct dj_http_header *headers, size_t count)
{
    return (struct dj_http_request){.headers = headers, .header_count = count};
}

static struct dj_http_header header(const char *name, const char *value)
{
    return (struct dj_http_header){deja_slice_text(name), deja_slice_text(value)};
}

static void credential_is_taken_out_of_its_header(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *value;
        const char *credential;
    } rows[] = {
        {"Authorization", "Bearer sk-1", "sk-1"},
        {"AUTHORIZATION", "bEaReR sk-1", "sk-1"},
        {"authorization", "Bearer   sk-1\t", "sk-1"},
        {"authorization", "Bearer", "Bearer"},
        {"authorization", "Bearersk-1", "Bearersk-1"},
        {"authorization", "Basic dTpw", "Basic dTpw"},
        {"x-api-key", "sk-2", "sk-2"},
        {"X-Api-Key", "Bearer sk-2", "Bearer sk-2"},
        {"x-bf-vk", "vk-1", "vk-1"},
        {"x-other", "sk-3", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_http_header headers[] = {header(rows[i].name, rows[i].value)};
        struct dj_http_request request = request_of(headers, 1);
        assert_true(deja_slice_is_equal(dj_identity_credential(&request),
                                        deja_slice_text(rows[i].credential)));
    }
}

static void authorization_is_stronger_than_x_api_key(void **state)
{
    (void)state;
    struct dj_http_header headers[] = {header("x-api-key", "weak"),
                                       header("authorization", "Bearer strong")};
    struct dj_http_request request = request_of(headers, 2);
    assert_true(deja_slice_is_equal(dj_identity_credential(&request), deja_slice_text("strong")));
    headers[1] = header("authorization", "");
    assert_true(deja_slice_is_equal(dj_identity_credential(&request), deja_slice_text("weak")));
}

static void tenant(const struct dj_proxy_context *who, const char *authorization,
                   uint8_t out_tenant[DJ_ID_BYTES])
{
    struct dj_http_header headers[] = {header("authorization", authorization)};
    struct dj_http_request request = request_of(headers, 1);
    dj_identity_tenant(who, &request, out_tenant);
}

static struct dj_principal principal(const uint8_t id[DJ_ID_BYTES])
{
    struct dj_principal who = {.has_tenant = true};
    memcpy(who.tenant, id, sizeof who.tenant);
    return who;
}

static void each_credential_is_its_own_tenant(void **state)
{
    (void)state;
    uint8_t a[DJ_ID_BYTES];
    uint8_t b[DJ_ID_BYTES];
    tenant(&context, "Bearer sk-1", a);
    tenant(&context, "bearer  sk-1", b);
    assert_memory_equal(a, b, sizeof a);
    tenant(&context, "Bearer sk-2", b);
    assert_memory_not_equal(a, b, sizeof a);
    tenant(&context, "", b);
    assert_memory_not_equal(a, b, sizeof a);
    /* The same credential as x-api-key is the same tenant. */
    struct dj_http_header headers[] = {header("x-api-key", "sk-1")};
    struct dj_http_request request = request_of(headers, 1);
    dj_identity_tenant(&context, &request, b);
    assert_memory_equal(a, b, sizeof a);
}

static void another_deployment_has_other_tenants(void **state)
{
    (void)state;
    static const uint8_t other_secret[DJ_SHA256_BYTES] = {9};
    struct dj_tenant_root other_root;
    const struct dj_proxy_context other = {.root = &other_root,
                                           .targets = {{.id = "up"}, {.id = "up"}}};
    dj_tenant_root_init(&other_root, other_secret);
    uint8_t a[DJ_ID_BYTES];
    uint8_t b[DJ_ID_BYTES];
    tenant(&context, "Bearer sk-1", a);
    tenant(&other, "Bearer sk-1", b);
    assert_memory_not_equal(a, b, sizeof a);
}

static void a_named_tenant_is_everybody(void **state)
{
    (void)state;
    struct dj_proxy_context forced = {
        .root = &root, .targets = {{.id = "up"}, {.id = "up"}}, .forced_tenant = "team"};
    uint8_t a[DJ_ID_BYTES];
    uint8_t b[DJ_ID_BYTES];
    tenant(&forced, "Bearer sk-1", a);
    tenant(&forced, "Bearer sk-2", b);
    assert_memory_equal(a, b, sizeof a);
}

static void prefix_holds_what_separates_answers(void **state)
{
    (void)state;
    struct dj_http_header headers[] = {header("OpenAI-Project", "p"),
                                       header("OpenAI-Organization", "o"),
                                       header("Anthropic-Beta", "b")};
    struct dj_http_request request = request_of(headers, 3);
    uint8_t a[DJ_ID_BYTES];
    uint8_t b[DJ_ID_BYTES];
    struct dj_key_prefix prefix;
    struct dj_key_prefix other;
    tenant(&context, "Bearer sk-1", a);
    tenant(&context, "Bearer sk-2", b);
    memset(&prefix, 0xff, sizeof prefix);
    const struct dj_principal who_a = principal(a);
    const struct dj_principal who_b = principal(b);
    dj_identity_prefix(&context, &request, &who_a, "chat", &prefix);
    dj_identity_prefix(&context, &request, &who_b, "chat", &other);
    assert_memory_equal(prefix.tenant, a, sizeof a);
    assert_string_equal(prefix.family, "chat");
    assert_true(deja_slice_is_equal(prefix.upstream_id, deja_slice_text("up")));
    assert_true(deja_slice_is_equal(prefix.headers[0], deja_slice_text("b")));
    assert_true(deja_slice_is_equal(prefix.headers[1], deja_slice_text("o")));
    assert_true(deja_slice_is_equal(prefix.headers[2], deja_slice_text("p")));
    assert_int_equal(prefix.name_space.len, 0);
    assert_int_equal(prefix.policy_epoch, 0);
    assert_memory_not_equal(prefix.fingerprint_key, other.fingerprint_key,
                            sizeof prefix.fingerprint_key);
    struct dj_secret key;
    dj_tenant_fingerprint_key(&root, a, &key);
    assert_memory_equal(prefix.fingerprint_key, key.bytes, sizeof key.bytes);
    dj_secret_fini(&key);
}

static void narrow(const struct dj_http_header *headers, size_t count, struct dj_knobs knobs,
                   struct dj_arena *arena, struct dj_key_prefix *out_prefix, uint32_t *out_variant)
{
    struct dj_http_request request = request_of(headers, count);
    uint8_t id[DJ_ID_BYTES];
    request.arena = arena;
    dj_identity_tenant(&context, &request, id);
    const struct dj_principal who = principal(id);
    dj_identity_prefix(&context, &request, &who, "chat", out_prefix);
    assert_true(dj_identity_narrow(&request, &knobs, out_prefix, out_variant));
}

static void virtual_keys_of_one_bearer_are_apart(void **state)
{
    (void)state;
    struct dj_arena arena;
    struct dj_key_prefix plain;
    struct dj_key_prefix one;
    struct dj_key_prefix two;
    uint32_t variant;
    struct dj_http_header headers[] = {header("authorization", "Bearer shared"),
                                       header("x-bf-vk", "vk-1")};
    dj_arena_init(&arena, 4096);
    narrow(headers, 1, (struct dj_knobs){.name_space = {"n", 1}}, &arena, &plain, &variant);
    assert_true(deja_slice_is_equal(plain.name_space, deja_slice_text("n")));
    narrow(headers, 2, (struct dj_knobs){.name_space = {"n", 1}}, &arena, &one, &variant);
    headers[1] = header("x-bf-vk", "vk-2");
    narrow(headers, 2, (struct dj_knobs){.name_space = {"n", 1}}, &arena, &two, &variant);
    assert_false(deja_slice_is_equal(one.name_space, plain.name_space));
    assert_false(deja_slice_is_equal(one.name_space, two.name_space));
    dj_arena_fini(&arena);
}

static void each_variant_is_met_and_has_its_own_namespace(void **state)
{
    (void)state;
    struct dj_arena arena;
    bool is_met[3] = {false};
    dj_arena_init(&arena, 1 << 20);
    for (int i = 0; i < 400; i++) {
        struct dj_key_prefix prefix;
        uint32_t variant;
        narrow(NULL, 0, (struct dj_knobs){.variants = 3}, &arena, &prefix, &variant);
        assert_true(variant < 3);
        assert_int_equal(prefix.name_space.len == 0, variant == 0);
        is_met[variant] = true;
    }
    assert_true(is_met[0] && is_met[1] && is_met[2]); /* all but once in 10^70 */
    dj_arena_fini(&arena);
}

/* ---- keys and certificates ---- */

#define NOW INT64_C(1800000000000)
static const char fingerprint[] =
    "abababababababababababababababababababababababababababababababab";

struct keyed {
    struct dj_proxy_context context;
    char text[DJ_KEY_TEXT_BYTES];
    char certified[DJ_KEY_TEXT_BYTES];
    struct dj_principal who;
    struct dj_identity_refusal refusal;
};

static int set_up_keys(void **state)
{
    static const uint8_t secret[DJ_SHA256_BYTES] = {3};
    static const struct dj_rules_values values = {.features = DJ_FEATURES_ALL};
    struct keyed *keyed = calloc(1, sizeof *keyed);
    struct dj_key wish = {.tenant = {1}, .has_tenant = true, .roles = DJ_ROLE_READ};
    struct dj_key key;
    assert_non_null(keyed);
    keyed->context = (struct dj_proxy_context){
        .root = &root, .targets = {{.id = "up"}, {.id = "up"}}, .operator_token = "operator-token"};
    assert_int_equal(dj_rules_create(&values, &keyed->context.rules), DEJA_OK);
    assert_int_equal(dj_registry_create(10, NULL, &keyed->context.registry), DEJA_OK);
    assert_int_equal(dj_keys_create(NULL, secret, 10, &keyed->context.keys), DEJA_OK);
    assert_int_equal(dj_keys_make(keyed->context.keys, &wish, NOW, keyed->text, &key), DEJA_OK);
    wish.tenant[0] = 2;
    memcpy(wish.certificate, fingerprint, sizeof wish.certificate);
    assert_int_equal(dj_keys_make(keyed->context.keys, &wish, NOW, keyed->certified, &key),
                     DEJA_OK);
    *state = keyed;
    return 0;
}

static int tear_down_keys(void **state)
{
    struct keyed *keyed = *state;
    dj_principal_fini(&keyed->who);
    dj_keys_destroy(keyed->context.keys);
    dj_registry_destroy(keyed->context.registry);
    dj_rules_unref(keyed->context.rules);
    free(keyed);
    return 0;
}

static bool take(struct keyed *keyed, const struct dj_http_header *headers, size_t count,
                 const char *certificate)
{
    struct dj_http_request request = request_of(headers, count);
    if (certificate)
        request.peer_identity = deja_slice_text(certificate);
    dj_principal_fini(&keyed->who);
    return dj_identity_take(&keyed->context, &request, NOW, &keyed->who, &keyed->refusal);
}

static void a_certificate_counts_where_nothing_better_is_shown(void **state)
{
    struct keyed *keyed = *state;
    struct dj_http_header headers[] = {header("x-api-key", keyed->text)};
    assert_true(take(keyed, NULL, 0, fingerprint));
    assert_int_equal(keyed->who.origin, DJ_ORIGIN_CERTIFICATE);
    assert_int_equal(keyed->who.tenant[0], 2);
    assert_false(keyed->who.has_proof);
    assert_true(take(keyed, headers, 1, fingerprint));
    assert_int_equal(keyed->who.origin, DJ_ORIGIN_KEY);
    assert_int_equal(keyed->who.tenant[0], 1);
    /* One that no key names says nothing. */
    assert_true(take(keyed, NULL, 0, "cdcd"));
    assert_int_equal(keyed->who.origin, DJ_ORIGIN_LOCAL);
    struct dj_key key;
    assert_int_equal(dj_keys_revoke(keyed->context.keys,
                                    deja_slice(keyed->certified + 5, DJ_KEY_ID_BYTES), NOW, &key),
                     DEJA_OK);
    assert_false(take(keyed, NULL, 0, fingerprint));
    assert_int_equal(keyed->refusal.status, 401);
}

static void strangers_are_tenants_only_where_that_was_said(void **state)
{
    struct keyed *keyed = *state;
    struct dj_http_header headers[] = {header("authorization", "Bearer sk-1")};
    assert_true(take(keyed, headers, 1, NULL));
    assert_true(keyed->who.is_derived && keyed->who.has_proof);
    keyed->context.derive = DJ_DERIVE_NEVER;
    assert_false(take(keyed, headers, 1, NULL));
    assert_int_equal(keyed->refusal.status, 401);
    assert_string_equal(keyed->refusal.type, "tenant_missing");
    assert_null(keyed->who.rules);
    headers[0] = header("authorization", keyed->text);
    assert_true(take(keyed, headers, 1, NULL)); /* without a scheme, too */
    assert_true(dj_identity_may(&keyed->who, DJ_ROLE_READ));
    assert_false(dj_identity_may(&keyed->who, DJ_ROLE_WRITE));
}

static void what_says_who_asks_is_said_once(void **state)
{
    struct keyed *keyed = *state;
    static const char *const names[] = {"authorization", "x-api-key",   "x-deja-key",
                                        "x-deja-tenant", "X-Deja-User", "api-key"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct dj_http_header headers[] = {header(names[i], "a"), header(names[i], "")};
        assert_false(take(keyed, headers, 2, NULL));
        assert_int_equal(keyed->refusal.status, 400);
    }
}

static void own_credentials_are_known_in_every_header(void **state)
{
    struct keyed *keyed = *state;
    char bearer[8 + DJ_KEY_TEXT_BYTES];
    snprintf(bearer, sizeof bearer, "Bearer %s", keyed->text);
    struct dj_http_header own[] = {
        header("Authorization", bearer),           header("authorization", keyed->text),
        header("X-Api-Key", keyed->text),          header("x-goog-api-key", "deja_"),
        header("authorization", "operator-token"), header("api-key", "operator-token"),
    };
    struct dj_http_header others[] = {header("authorization", "Bearer sk-1"),
                                      header("x-api-key", "sk-1"), header("x-other", keyed->text)};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        assert_true(dj_identity_is_own(&keyed->context, &own[i]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(dj_identity_is_own(&keyed->context, &others[i]));
}

static void deja_itself_is_the_tenant_it_names_whatever_the_headers_say(void **state)
{
    struct keyed *keyed = *state;
    static const uint8_t tenant_of_the_run[DJ_ID_BYTES] = {7, 7};
    struct dj_http_header headers[] = {header("authorization", "Bearer sk-of-the-run"),
                                       header("x-deja-tenant", "no uuid"),
                                       header("x-deja-token", "operator-token")};
    struct dj_http_request request = request_of(headers, 3);
    keyed->context.derive = DJ_DERIVE_NEVER;
    request.inner_tenant = tenant_of_the_run;
    assert_true(dj_identity_take(&keyed->context, &request, NOW, &keyed->who, &keyed->refusal));
    assert_memory_equal(keyed->who.tenant, tenant_of_the_run, sizeof keyed->who.tenant);
    assert_false(keyed->who.has_proof); /* what the upstream says of a key is not held against it */
    assert_true(dj_identity_may(&keyed->who, DJ_ROLE_WRITE));
    assert_false(dj_identity_may(&keyed->who, DJ_ROLE_ADMIN));
}

static void a_user_narrows_every_key(void **state)
{
    struct keyed *keyed = *state;
    struct dj_secret keys[3];
    static const char *const users[] = {NULL, "ann", "bob"};
    for (size_t i = 0; i < 3; i++) {
        struct dj_http_header headers[] = {header("x-deja-key", keyed->text),
                                           header("x-deja-user", users[i])};
        assert_true(take(keyed, headers, users[i] ? 2 : 1, NULL));
        assert_int_equal(keyed->who.has_user, i > 0);
        dj_identity_fingerprint_key(&keyed->context, &keyed->who, &keys[i]);
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(keys[i].bytes, keys[k].bytes, sizeof keys[i].bytes);
    }
}

#define KEYED(name) cmocka_unit_test_setup_teardown(name, set_up_keys, tear_down_keys)

int main(void)
{
    static const uint8_t secret[DJ_SHA256_BYTES] = {1, 2, 3};
    dj_tenant_root_init(&root, secret);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(credential_is_taken_out_of_its_header),
        cmocka_unit_test(authorization_is_stronger_than_x_api_key),
        cmocka_unit_test(each_credential_is_its_own_tenant),
        cmocka_unit_test(another_deployment_has_other_tenants),
        cmocka_unit_test(a_named_tenant_is_everybody),
        cmocka_unit_test(prefix_holds_what_separates_answers),
        cmocka_unit_test(virtual_keys_of_one_bearer_are_apart),
        cmocka_unit_test(each_variant_is_met_and_has_its_own_namespace),
        KEYED(a_certificate_counts_where_nothing_better_is_shown),
        KEYED(strangers_are_tenants_only_where_that_was_said),
        KEYED(what_says_who_asks_is_said_once),
        KEYED(own_credentials_are_known_in_every_header),
        KEYED(deja_itself_is_the_tenant_it_names_whatever_the_headers_say),
        KEYED(a_user_narrows_every_key),
    };
    return RUN_TESTS(tests);
}
