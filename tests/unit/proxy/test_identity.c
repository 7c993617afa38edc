/* tests/unit/proxy/test_identity.c - from a request's headers to a tenant and a key prefix. */
#include "check.h"

#include "proxy/identity.h"

static struct dj_tenant_root root; /* made by main */
static const struct dj_proxy_context context = {.root = &root, .upstream_id = "up"};

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
    const struct dj_proxy_context other = {.root = &other_root, .upstream_id = "up"};
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
    struct dj_proxy_context forced = {.root = &root, .upstream_id = "up", .forced_tenant = "team"};
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
    };
    return RUN_TESTS(tests);
}
