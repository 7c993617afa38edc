/* tests/unit/api/test_access.c - every role at every endpoint (TRUST S23): a route without a row
 * here fails, and so does a row whose route is gone. */
#include "api_fixture.h"

#include "memory_authority.h"
#include "proto/json.h"
#include "security/directory.h"
#include "security/keys.h"
#include "security/vault_seal.h"

static const struct dj_api_route rows[] = {
    {"PUT", "/api/v1/entries", "write"},
    {"DELETE", "/api/v1/entries", "write"},
    {"GET", "/api/v1/entries/*", "read"},
    {"DELETE", "/api/v1/entries/*", "write"},
    {"POST", "/api/v1/lookup", "read"},
    {"POST", "/api/v1/invalidate", "write"},
    {"GET", "/api/v1/schedules", "read"},
    {"GET", "/api/v1/schedules/*", "read"},
    {"DELETE", "/api/v1/schedules/*", "write"},
    {"GET", "/api/v1/invalidations", "read"},
    {"GET", "/api/v1/kv", "read"},
    {"DELETE", "/api/v1/kv", "write"},
    {"GET", "/api/v1/kv/*", "read"},
    {"PUT", "/api/v1/kv/*", "write"},
    {"PATCH", "/api/v1/kv/*", "write"},
    {"DELETE", "/api/v1/kv/*", "write"},
    {"POST", "/api/v1/kv:batch", "read"},
    {"GET", "/api/v1/kv:stats", "read"},
    {"POST", "/api/v1/kv:lock", "write"},
    {"POST", "/api/v1/kv:unlock", "write"},
    {"GET", "/api/v1/explain", "read"},
    {"POST", "/api/v1/explain", "read"},
    {"GET", "/api/v1/stats", "read"},
    {"GET", "/api/v1/kinds", "read"},
    {"POST", "/api/v1/kv:key", "read"},
    {"GET", "/api/v1/patterns", "read"},
    {"GET", "/api/v1/limits", "read"},
    {"GET", "/api/v1/top", "read"},
    {"POST", "/api/v1/evict", "write"},
    {"GET", "/api/v1/index", "read"},
    {"POST", "/api/v1/index", "write"},
    {"GET", "/api/v1/tail", "read"},
    {"POST", "/api/v1/feedback", "write"},
    {"GET", "/api/v1/tenants", "admin"},
    {"POST", "/api/v1/tenants", "admin"},
    {"POST", "/api/v1/tenants/reload", "admin"},
    {"GET", "/api/v1/tenants/*", "admin"},
    {"PUT", "/api/v1/tenants/*", "admin"},
    {"PATCH", "/api/v1/tenants/*", "admin"},
    {"DELETE", "/api/v1/tenants/*", "admin"},
    {"POST", "/api/v1/tenants/*/suspend", "admin"},
    {"POST", "/api/v1/tenants/*/resume", "admin"},
    {"POST", "/api/v1/tenants/*/links", "admin"},
    {"DELETE", "/api/v1/tenants/*/links/*", "admin"},
    {"GET", "/api/v1/keys", "admin"},
    {"POST", "/api/v1/keys", "admin"},
    {"GET", "/api/v1/keys/*", "admin"},
    {"DELETE", "/api/v1/keys/*", "admin"},
    {"POST", "/api/v1/keys/*/rotate", "admin"},
    {"GET", "/api/v1/upstream-credentials/*", "admin"},
    {"PUT", "/api/v1/upstream-credentials/*", "admin"},
    {"DELETE", "/api/v1/upstream-credentials/*", "admin"},
    {"GET", "/api/v1/export", "read"},
    {"POST", "/api/v1/import", "admin"},
    {"POST", "/api/v1/backup", "admin"},
    {"POST", "/api/v1/restore", "admin"},
    {"POST", "/api/v1/verify", "admin"},
    {"POST", "/api/v1/migrate", "admin"},
    {"GET", "/api/v1/transfers", "admin"},
    {"GET", "/api/v1/transfers/*", "admin"},
    {"DELETE", "/api/v1/transfers/*", "admin"},
    {"GET", "/api/v1/encryption", "admin"},
    {"POST", "/api/v1/encryption/rotate", "admin"},
    {"POST", "/api/v1/erase", "admin"},
    {"GET", "/api/v1/erase/*", "admin"},
    {"GET", "/api/v1/audit", "audit"},
    {"POST", "/v1/caches/*/entries", "write"},
    {"DELETE", "/v1/caches/*/entries", "write"},
    {"POST", "/v1/caches/*/entries/search", "read"},
    {"DELETE", "/v1/caches/*/entries/*", "write"},
    {"POST", "/v1/caches/*/conversations/search", "read"},
    {"POST", "/v1/caches/*/flush", "write"},
    {"GET", "/gptcache", "open"},
    {"GET", "/gptcache/", "open"},
    {"POST", "/gptcache/put", "write"},
    {"POST", "/gptcache/get", "read"},
    {"POST", "/gptcache/flush", "write"},
    {"DELETE", "/api/cache/clear/*", "write"},
    {"DELETE", "/api/cache/clear-by-key/*", "write"},
    {"GET", "/cache/ping", "read"},
    {"POST", "/cache/delete", "write"},
    {"POST", "/cache/flushall", "write"},
    {"GET", "/cache/redis/info", "read"},
    {"GET", "/metrics", "operator"},
    {"GET", "/livez", "open"},
    {"GET", "/healthz", "open"},
    {"GET", "/startupz", "open"},
    {"GET", "/readyz", "open"},
    {"GET", "/health", "operator"},
    {"GET", "/health/detailed", "operator"},
    {"GET", "/openapi.json", "open"},
    {"POST", "/admin/reload", "admin"},
    {"POST", "/v1/chat/completions", "write"},
    {"POST", "/v1/completions", "write"},
    {"POST", "/v1/responses", "write"},
    {"POST", "/v1/messages", "write"},
    {"POST", "/v1/embeddings", "write"},
    {"*", "/v1/*", "write"},
};
#define ROWS (sizeof rows / sizeof *rows)

/* Who asks, and what is answered to them: 0: as the route pleases, but neither 401 nor 403. */
enum { OPEN, OPERATOR, READ, WRITE, ADMIN, AUDIT, ACCESSES };
static const char *const accesses[] = {"open", "operator", "read", "write", "admin", "audit"};

struct actor {
    const char *name;
    char headers[320];
    int answers[ACCESSES]; /* on loopback, where operators need nothing */
};

struct deployment {
    struct fixture *fixture;
    struct memory_authority memory;
    struct dj_vault_seal *seal;
    uint8_t tenant[DJ_TENANT_BYTES];
    char tenant_text[DJ_TENANT_TEXT_BYTES];
};

static void on_fault(void *ctx, const char *field, const char *rule, const char *message)
{
    (void)ctx;
    fail_msg("%s: %s %s", field, rule, message);
}

static void add_tenant(struct deployment *deployment)
{
    struct dj_directory *directory = deployment->fixture->context.directory;
    const struct dj_tenant_config_faults faults = {.tell = on_fault};
    struct dj_json_doc *doc = NULL;
    assert_int_equal(dj_json_parse(deja_slice_text("{\"name\":\"acme\"}"), &doc, NULL), DEJA_OK);
    assert_int_equal(dj_directory_add(directory, dj_json_root(doc), 1, &faults, deployment->tenant),
                     DEJA_OK);
    assert_int_equal(dj_directory_reload(directory, 1), DEJA_OK);
    dj_json_doc_destroy(doc);
    dj_tenant_text(deployment->tenant, deployment->tenant_text);
}

static int begin(void **state)
{
    static const uint8_t secret[DJ_SHA256_BYTES] = {1};
    static const struct dj_rules_values defaults = {.features = DJ_FEATURES_ALL};
    struct deployment *deployment = dj_alloc_zeroed(1, sizeof *deployment);
    void *fixture = NULL;
    assert_non_null(deployment);
    set_up(&fixture);
    deployment->fixture = fixture;
    memory_authority_init(&deployment->memory);
    deployment->memory.authority.pull = NULL; /* nobody else writes here */
    struct dj_proxy_context *context = &deployment->fixture->context;
    const struct dj_directory_options options = {.authority = &deployment->memory.authority,
                                                 .defaults = &defaults};
    assert_int_equal(dj_directory_create(&options, &context->directory), DEJA_OK);
    add_tenant(deployment);
    assert_int_equal(dj_keys_create(&deployment->memory.authority, secret, 100, &context->keys),
                     DEJA_OK);
    assert_int_equal(dj_vault_seal_create(secret, &deployment->seal), DEJA_OK);
    const struct dj_vault_sealer sealer = dj_vault_seal_table(deployment->seal);
    assert_int_equal(dj_vault_create(&deployment->memory.authority, &sealer, 100, &context->vault),
                     DEJA_OK);
    *state = deployment;
    return 0;
}

static int end(void **state)
{
    struct deployment *deployment = *state;
    struct dj_proxy_context context = deployment->fixture->context;
    void *fixture = deployment->fixture;
    tear_down(&fixture);
    dj_keys_destroy(context.keys);
    dj_vault_destroy(context.vault);
    dj_vault_seal_destroy(deployment->seal);
    dj_directory_destroy(context.directory);
    dj_free(deployment);
    return 0;
}

static void make_key(struct deployment *deployment, unsigned roles, bool has_tenant,
                     struct actor *actor)
{
    struct dj_key wish = {.roles = roles, .has_tenant = has_tenant};
    struct dj_key key;
    char text[DJ_KEY_TEXT_BYTES];
    memcpy(wish.tenant, deployment->tenant, sizeof wish.tenant);
    assert_int_equal(dj_keys_make(deployment->fixture->context.keys, &wish, 1, text, &key),
                     DEJA_OK);
    snprintf(actor->headers, sizeof actor->headers, "Authorization: Bearer %s\r\n", text);
}

static const struct dj_api_route *row_of(const struct dj_api_route *route)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].method, route->method) == 0 && strcmp(rows[i].path, route->path) == 0)
            return &rows[i];
    return NULL;
}

static size_t access_of(const char *name)
{
    size_t i = 0;
    while (i < ACCESSES && strcmp(accesses[i], name) != 0)
        i++;
    assert_true(i < ACCESSES);
    return i;
}

static void every_route_has_a_row_and_every_row_a_route(void **state)
{
    (void)state;
    struct dj_api_route route;
    size_t count = 0;
    for (; dj_api_route(count, &route); count++) {
        const struct dj_api_route *row = row_of(&route);
        if (!row)
            fail_msg("no row for %s %s (%s)", route.method, route.path, route.access);
        if (strcmp(row->access, route.access) != 0)
            fail_msg("%s %s is for %s, not for %s", route.method, route.path, route.access,
                     row->access);
    }
    assert_int_equal(count, ROWS);
}

/* A path of the route: "x" for what varies, and no waiting for events. */
static void fill_path(const struct dj_api_route *route, char *out, size_t room)
{
    size_t len = 0;
    for (const char *at = route->path; *at && len + 1 < room; at++)
        out[len++] = *at == '*' ? 'x' : *at;
    out[len] = '\0';
    if (strcmp(out, "/api/v1/tail") == 0)
        snprintf(out + len, room - len, "?wait=0");
}

static void try_route(struct deployment *deployment, const struct actor *actor,
                      const struct dj_api_route *route)
{
    char path[128];
    char headers[512];
    int wanted = actor->answers[access_of(route->access)];
    bool is_proxied = memcmp(route->path, "/v1/", 4) == 0 && !strstr(route->path, "caches");
    const char *method = route->method[0] == '*' ? "PATCH" : route->method;
    bool is_get = strcmp(method, "GET") == 0;
    if (is_proxied && !wanted)
        return; /* there is no upstream here */
    fill_path(route, path, sizeof path);
    snprintf(headers, sizeof headers, "%s%s", actor->headers, is_get ? "" : JSON);
    int status = ask(deployment->fixture, method, path, headers, is_get ? "" : "{}");
    bool is_refused = status == 401 || status == 403;
    if (wanted ? status != wanted : is_refused || !status)
        fail_msg("%s: %s %s (%s) answers %d, wanted %d\n%s", actor->name, method, path,
                 route->access, status, wanted, deployment->fixture->reply);
    if (status == 401 && !is_proxied)
        assert_reply(deployment->fixture, "WWW-Authenticate: Bearer\r\n");
}

static void each_role_may_what_its_row_says(void **state)
{
    struct deployment *deployment = *state;
    struct dj_api_route route;
    /*                                            open oper. read write admin audit */
    struct actor actors[] = {
        {"nobody", "", {0, 0, 401, 401, 401, 401}},
        {"a stranger", "Authorization: Bearer sk-1\r\n", {0, 0, 401, 401, 401, 401}},
        {"a guesser", "Authorization: Bearer deja_1\r\n", {0, 0, 401, 401, 401, 401}},
        {"a wrong token", "X-Deja-Token: 0123456789abcdee\r\n", {0, 0, 401, 401, 401, 401}},
        {"a cookie", "Cookie: X-Deja-Token=0123456789abcdef\r\n", {0, 0, 401, 401, 401, 401}},
        {"read", "", {0, 0, 0, 403, 403, 403}},
        {"write", "", {0, 0, 403, 0, 403, 403}},
        {"audit", "", {0, 0, 403, 403, 403, 0}},
        {"admin", "", {0, 0, 0, 0, 0, 403}},
        {"admin of no tenant", "", {0, 0, 401, 401, 0, 403}},
        {"admin for a tenant", "", {0, 0, 0, 0, 0, 403}},
        {"the token", "X-Deja-Token: 0123456789abcdef\r\n", {0, 0, 401, 401, 0, 0}},
        {"the token for a tenant", "", {0, 0, 0, 0, 0, 0}},
    };
    make_key(deployment, DJ_ROLE_READ, true, &actors[5]);
    make_key(deployment, DJ_ROLE_WRITE, true, &actors[6]);
    make_key(deployment, DJ_ROLE_AUDIT, true, &actors[7]);
    make_key(deployment, DJ_ROLE_ADMIN, true, &actors[8]);
    make_key(deployment, DJ_ROLE_ADMIN, false, &actors[9]);
    make_key(deployment, DJ_ROLE_ADMIN, false, &actors[10]);
    size_t len = strlen(actors[10].headers);
    snprintf(actors[10].headers + len, sizeof actors[10].headers - len, "X-Deja-Tenant: %s\r\n",
             deployment->tenant_text);
    snprintf(actors[12].headers, sizeof actors[12].headers,
             "X-Deja-Token: 0123456789abcdef\r\nX-Deja-Tenant: %s\r\n", deployment->tenant_text);
    for (size_t i = 0; i < sizeof actors / sizeof *actors; i++)
        for (size_t k = 0; dj_api_route(k, &route); k++)
            try_route(deployment, &actors[i], &route);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_has_a_row_and_every_row_a_route),
        cmocka_unit_test_setup_teardown(each_role_may_what_its_row_says, begin, end),
    };
    return RUN_TESTS(tests);
}
