/* A request that says who asks, as a stranger sends it: who has not the key is not its tenant, and
 * what is Deja's own is known as such. Input: "name: value" lines; in values '%' stands for a right
 * key, '#' for the admin token.
 */
#include "fuzz.h"

#include "proto/http_text.h"
#include "proxy/identity.h"

#define HEADERS_MAX 16u
#define TEXT_BYTES_MAX 16384u
#define NOW INT64_C(1800000000000)

static const char token[] = "0123456789abcdef0123456789abcdef";

struct world {
    struct dj_tenant_root root;
    struct dj_proxy_context context;
    char key[DJ_KEY_TEXT_BYTES];
    struct dj_key made;
};

static const struct world *make_world(void)
{
    static struct world world;
    static const uint8_t secret[DJ_SHA256_BYTES] = {4};
    static const struct dj_rules_values rules = {.features = DJ_FEATURES_ALL};
    struct dj_key wish = {.roles = DJ_ROLE_READ, .has_tenant = true, .tenant = {9, 9}};
    if (world.context.keys)
        return &world;
    dj_tenant_root_init(&world.root, secret);
    world.context.root = &world.root;
    world.context.operator_token = token;
    FUZZ_CHECK(dj_rules_create(&rules, &world.context.rules) == DEJA_OK);
    FUZZ_CHECK(dj_registry_create(100, NULL, &world.context.registry) == DEJA_OK);
    FUZZ_CHECK(dj_keys_create(NULL, secret, 10, &world.context.keys) == DEJA_OK);
    FUZZ_CHECK(dj_keys_make(world.context.keys, &wish, 1, world.key, &world.made) == DEJA_OK);
    return &world;
}

/* The input with what stands for secrets put in. */
static struct deja_slice fill_in(const struct world *world, struct deja_slice input, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < input.len; i++) {
        const char *text = input.data[i] == '%' ? world->key : input.data[i] == '#' ? token : NULL;
        size_t more = text ? strlen(text) : 1;
        if (len + more > TEXT_BYTES_MAX)
            break;
        memcpy(out + len, text ? text : &input.data[i], more);
        len += more;
    }
    return deja_slice(out, len);
}

static size_t read_headers(struct deja_slice text, struct dj_http_header headers[HEADERS_MAX])
{
    size_t count = 0;
    while (text.len && count < HEADERS_MAX) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        const char *colon = memchr(text.data, ':', len);
        if (colon) {
            size_t name_len = (size_t)(colon - text.data);
            struct deja_slice name = deja_slice(text.data, name_len);
            struct deja_slice value = dj_http_trim(deja_slice(colon + 1, len - name_len - 1));
            if (dj_http_is_token(name) && dj_http_is_value(value))
                headers[count++] = (struct dj_http_header){name, value};
        }
        size_t used = end ? len + 1 : len;
        text = deja_slice(text.data + used, text.len - used);
    }
    return count;
}

static bool has_text(const struct dj_http_header *headers, size_t count, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < count; i++)
        for (size_t at = 0; at + len <= headers[i].value.len; at++)
            if (memcmp(headers[i].value.data + at, text, len) == 0)
                return true;
    return false;
}

static void check_taken(const struct world *world, const struct dj_http_header *headers,
                        size_t count, const struct dj_principal *who)
{
    bool is_own = memcmp(who->tenant, world->made.tenant, DJ_TENANT_BYTES) == 0;
    if (who->origin == DJ_ORIGIN_KEY || who->key_id[0])
        FUZZ_CHECK(has_text(headers, count, world->key));
    if (who->roles & (DJ_ROLE_ADMIN | DJ_ROLE_AUDIT))
        FUZZ_CHECK(has_text(headers, count, token));
    if (is_own && who->origin != DJ_ORIGIN_OPERATOR)
        FUZZ_CHECK(who->origin == DJ_ORIGIN_KEY);
    FUZZ_CHECK(!who->has_proof || who->is_derived);
    FUZZ_CHECK(!who->is_derived || !is_own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static char text[TEXT_BYTES_MAX];
    const struct world *world = make_world();
    struct dj_http_header headers[HEADERS_MAX];
    struct dj_principal who;
    struct dj_identity_refusal refusal;
    if (len > 8192)
        return 0;
    size_t count = read_headers(fill_in(world, deja_slice(data, len), text), headers);
    const struct dj_http_request request = {.headers = headers, .header_count = count};
    bool is_taken = dj_identity_take(&world->context, &request, NOW, &who, &refusal);
    if (is_taken)
        check_taken(world, headers, count, &who);
    else
        FUZZ_CHECK(refusal.status >= 400 && refusal.status <= 503 && refusal.type &&
                   refusal.detail);
    dj_principal_fini(&who);
    if (dj_identity_take_roles(&world->context, &request, NOW, &who, &refusal))
        check_taken(world, headers, count, &who);
    dj_principal_fini(&who);
    for (size_t i = 0; i < count; i++) {
        bool is_whole = deja_slice_is_equal(headers[i].value, deja_slice_text(world->key));
        if (is_whole && dj_http_is_same(headers[i].name, "x-api-key"))
            FUZZ_CHECK(dj_identity_is_own(&world->context, &headers[i]));
    }
    return 0;
}
