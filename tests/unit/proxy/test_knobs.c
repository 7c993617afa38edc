/* tests/unit/proxy/test_knobs.c - headers of every family, their order of strength, bad values. */
#include "check.h"

#include <stdio.h>

#include "cache/tiers.h"
#include "proxy/knobs.h"

#define TTL_MAX_MS (3600u * 1000u)
#define HEADERS_MAX 80u

/* Names and values by turns, NULL-terminated. */
static struct dj_knobs read_all(const char *const *pairs, const char *body)
{
    struct dj_http_header headers[HEADERS_MAX];
    struct dj_http_request request = {.headers = headers};
    struct dj_json_doc *doc = NULL;
    struct dj_knobs knobs;
    for (; pairs && *pairs; pairs += 2) {
        assert_true(request.header_count < HEADERS_MAX);
        headers[request.header_count++] =
            (struct dj_http_header){deja_slice_text(pairs[0]), deja_slice_text(pairs[1])};
    }
    if (body)
        assert_int_equal(dj_json_parse(deja_slice_text(body), &doc, NULL), DEJA_OK);
    dj_knobs_read(&request, dj_json_root(doc), &knobs);
    dj_knobs_cut_ttl(&knobs, TTL_MAX_MS);
    if (knobs.name_space.len && body)
        knobs.name_space = deja_slice(NULL, knobs.name_space.len); /* the document goes */
    dj_json_doc_destroy(doc);
    return knobs;
}

#define READ(...) read_all((const char *const[]){__VA_ARGS__, NULL}, NULL)

struct row {
    const char *name;
    const char *value;
    struct dj_knobs wanted;
};

static void assert_same_slice(struct deja_slice a, struct deja_slice b)
{
    assert_int_equal(a.len, b.len);
    if (a.data && b.data)
        assert_true(deja_slice_is_equal(a, b));
}

static void assert_knobs(const char *what, const struct dj_knobs *got,
                         const struct dj_knobs *wanted)
{
    if (got->is_bypass != wanted->is_bypass || got->is_no_read != wanted->is_no_read ||
        got->is_no_store != wanted->is_no_store ||
        got->is_only_if_cached != wanted->is_only_if_cached ||
        got->is_exact_only != wanted->is_exact_only || got->ttl_ms != wanted->ttl_ms ||
        got->max_age_ms != wanted->max_age_ms || got->threshold != wanted->threshold ||
        got->compat != wanted->compat || got->variants != wanted->variants)
        fail_msg("%s", what);
    assert_int_equal(got->skip, wanted->skip);
    assert_int_equal(got->wish.min_fresh_ms, wanted->wish.min_fresh_ms);
    assert_int_equal(got->wish.has_max_stale, wanted->wish.has_max_stale);
    assert_true(!got->wish.has_max_stale || got->wish.max_stale_ms == wanted->wish.max_stale_ms);
    assert_int_equal(got->wish.has_while_revalidate, wanted->wish.has_while_revalidate);
    assert_int_equal(got->wish.while_revalidate_ms, wanted->wish.while_revalidate_ms);
    assert_int_equal(got->wish.has_if_error, wanted->wish.has_if_error);
    assert_int_equal(got->wish.if_error_ms, wanted->wish.if_error_ms);
    assert_same_slice(got->name_space, wanted->name_space);
    assert_same_slice(got->tags, wanted->tags);
    assert_same_slice(got->ignored, wanted->ignored);
    assert_same_slice(got->trace_id, wanted->trace_id);
    assert_same_slice(got->labels, wanted->labels);
    assert_int_equal(got->is_wanted, wanted->is_wanted);
    if (!got->detail != !wanted->detail)
        fail_msg("%s: detail %s", what, got->detail ? got->detail : "missing");
    if (wanted->detail)
        assert_string_equal(got->detail, wanted->detail);
}

static const struct row rows[] = {
    /* RFC 9111 */
    {"Cache-Control", "no-cache", {.is_no_read = true}},
    {"Cache-Control", "No-Store", {.is_bypass = true}},
    {"Cache-Control", "only-if-cached", {.is_only_if_cached = true}},
    {"Cache-Control", "max-age=60", {.max_age_ms = 60000, .ttl_ms = 60000}},
    {"Cache-Control", "max-age=\"60\"", {.max_age_ms = 60000, .ttl_ms = 60000}},
    {"Cache-Control", "max-age=0", {.is_no_read = true}},
    {"Cache-Control",
     "max-age=60, no-cache ,",
     {.max_age_ms = 60000, .ttl_ms = 60000, .is_no_read = true}},
    {"Cache-Control", "max-age=x", {.detail = "max-age-ignored"}},
    {"Cache-Control", "max-age", {.detail = "max-age-ignored"}},
    {"Cache-Control", "max-age=\"", {.detail = "max-age-ignored"}},
    {"Cache-Control", "max-age=-1", {.detail = "max-age-ignored"}},
    {"Cache-Control", "s-maxage=30", {.ttl_ms = 30000}}, /* LiteLLM: the store TTL */
    {"X-Deja-Skip-Tiers", "redis", {.skip = DJ_LEVEL_BIT(DJ_LEVEL_REDIS)}},
    {"X-Deja-Skip-Tiers",
     "l1, l3,postgres",
     {.skip = DJ_LEVEL_BIT(DJ_LEVEL_MEMORY) | DJ_LEVEL_BIT(DJ_LEVEL_S3) |
              DJ_LEVEL_BIT(DJ_LEVEL_POSTGRES)}},
    {"X-Deja-Skip-Tiers", "upstream", {.detail = "skip-tiers-ignored"}},
    {"Cache-Control", "min-fresh=30", {.wish = {.min_fresh_ms = 30000}}},
    {"Cache-Control", "max-stale", {.wish = {.has_max_stale = true, .max_stale_ms = UINT64_MAX}}},
    {"Cache-Control",
     "max-stale=5, stale-while-revalidate=6",
     {.wish = {.has_max_stale = true,
               .max_stale_ms = 5000,
               .has_while_revalidate = true,
               .while_revalidate_ms = 6000}}},
    {"Cache-Control", "stale-if-error=0", {.wish = {.has_if_error = true, .if_error_ms = 0}}},
    {"Cache-Control", "stale-if-error", {.detail = "stale-ignored"}},
    {"Cache-Control", "min-fresh=x", {.detail = "stale-ignored"}},
    {"Cache-Control", "no-transform, immutable", {0}},
    {"Cache-Control", "", {0}},
    {"Cache-Control", ",,=,;", {0}},
    /* Portkey */
    {"x-portkey-cache-force-refresh", "true", {.is_no_read = true, .compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-cache-force-refresh", "false", {.compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-debug", "false", {.is_bypass = true, .compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-debug", "true", {.compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-cache-namespace", "n", {.name_space = {"n", 1}, .compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-config", "{}", {.compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-config",
     "{\"retry\":{\"attempts\":3},\"cache\":{\"mode\":\"simple\",\"max_age\":600}}",
     {.is_exact_only = true, .max_age_ms = 600000, .ttl_ms = 600000, .compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-config", "{\"cache\":{\"mode\":\"semantic\"}}", {.compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-config",
     "{\"cache\":\"simple\"}",
     {.is_exact_only = true, .compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-config",
     "{\"cache\":{\"mode\":\"guess\"}}",
     {.detail = "mode-ignored", .compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-config",
     "{\"cache\":{\"max_age\":59}}",
     {.detail = "max-age-ignored", .compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-config",
     "{\"cache\":{\"max_age\":\"1h\"}}",
     {.detail = "max-age-ignored", .compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-config",
     "pc-saved-4f2a",
     {.detail = "portkey-config-ignored", .compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-config", "[1,2]", {.compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-trace-id", "t-1", {.trace_id = {"t-1", 3}, .compat = DJ_COMPAT_PORTKEY}},
    {"x-portkey-metadata",
     "{\"_user\":\"a\"}",
     {.labels = {"{\"_user\":\"a\"}", 13}, .compat = DJ_COMPAT_PORTKEY}},
    {"cf-aig-metadata",
     "{ \"team\": 1, \"b\": true, \"n\": null }",
     {.labels = {"{ \"team\": 1, \"b\": true, \"n\": null }", 35}, .compat = DJ_COMPAT_CLOUDFLARE}},
    {"cf-aig-metadata", "{}", {.compat = DJ_COMPAT_CLOUDFLARE}},
#define IGNORED                                                      \
    {                                                                \
        .detail = "metadata-ignored", .compat = DJ_COMPAT_CLOUDFLARE \
    }
    {"cf-aig-metadata", "team=1", IGNORED},
    {"cf-aig-metadata", "", IGNORED},
    {"cf-aig-metadata", "[1]", IGNORED},
    {"cf-aig-metadata", "7", IGNORED},
    {"cf-aig-metadata", "{\"a\":1,\"b\":{}}", IGNORED},
    {"cf-aig-metadata", "{\"a\":[1]}", IGNORED},
    {"cf-aig-metadata", "{\"\":1}", IGNORED},
    {"cf-aig-metadata", "{\"a\\u0001\":1}", IGNORED},
    {"cf-aig-metadata", "{\"a\":1,\"a\":2}", IGNORED},
    {"cf-aig-metadata", "{\"a\":1}}", IGNORED},
#undef IGNORED
    /* Cloudflare */
    {"cf-aig-skip-cache", "true", {.is_bypass = true, .compat = DJ_COMPAT_CLOUDFLARE}},
    {"cf-skip-cache", "true", {.is_bypass = true, .compat = DJ_COMPAT_CLOUDFLARE}},
    {"cf-aig-cache-ttl", "60", {.ttl_ms = 60000, .compat = DJ_COMPAT_CLOUDFLARE}},
    {"cf-cache-ttl", "61", {.ttl_ms = 61000, .compat = DJ_COMPAT_CLOUDFLARE}},
    {"cf-aig-cache-key", "k", {.name_space = {"k", 1}, .compat = DJ_COMPAT_CLOUDFLARE}},
    /* Helicone */
    {"Helicone-Cache-Enabled", "true", {.is_wanted = true, .compat = DJ_COMPAT_HELICONE}},
    {"Helicone-Cache-Enabled", "false", {.is_bypass = true, .compat = DJ_COMPAT_HELICONE}},
    {"Helicone-Cache-Seed", "s", {.name_space = {"s", 1}, .compat = DJ_COMPAT_HELICONE}},
    {"Helicone-Cache-Bucket-Max-Size", "3", {.variants = 3, .compat = DJ_COMPAT_HELICONE}},
    {"Helicone-Cache-Bucket-Max-Size",
     "21",
     {.detail = "variants-ignored", .compat = DJ_COMPAT_HELICONE}},
    {"Helicone-Cache-Ignore-Keys",
     "[\"seed\"]",
     {.ignored = {"[\"seed\"]", 8}, .compat = DJ_COMPAT_HELICONE}},
    /* Bifrost */
    {"x-bf-cache-key", "k", {.name_space = {"k", 1}, .compat = DJ_COMPAT_BIFROST}},
    {"x-bf-cache-ttl", "30s", {.ttl_ms = 30000, .compat = DJ_COMPAT_BIFROST}},
    {"x-bf-cache-ttl", "30", {.ttl_ms = 30000, .compat = DJ_COMPAT_BIFROST}},
    {"x-bf-cache-threshold", "0.9", {.threshold = 0.9, .compat = DJ_COMPAT_BIFROST}},
    {"x-bf-cache-type", "direct", {.is_exact_only = true, .compat = DJ_COMPAT_BIFROST}},
    {"x-bf-cache-type", "semantic", {.compat = DJ_COMPAT_BIFROST}},
    {"x-bf-cache-no-store", "true", {.is_no_store = true, .compat = DJ_COMPAT_BIFROST}},
    /* OpenRouter */
    {"X-OpenRouter-Cache", "false", {.is_bypass = true, .compat = DJ_COMPAT_OPENROUTER}},
    {"X-OpenRouter-Cache", "true", {.is_wanted = true, .compat = DJ_COMPAT_OPENROUTER}},
    {"X-OpenRouter-Cache-TTL", "300", {.ttl_ms = 300000, .compat = DJ_COMPAT_OPENROUTER}},
    {"X-OpenRouter-Cache-Clear", "true", {.is_no_read = true, .compat = DJ_COMPAT_OPENROUTER}},
    /* APISIX, Higress, OpenPipe, vLLM */
    {"X-Cache-Bypass", "1", {.is_bypass = true, .compat = DJ_COMPAT_APISIX}},
    {"X-Cache-Bypass", "0", {.compat = DJ_COMPAT_APISIX}},
    {"x-higress-skip-ai-cache", "on", {.is_bypass = true}},
    {"x-higress-skip-ai-cache", "off", {0}},
    {"op-cache", "readWrite", {0}},
    {"op-cache", "readOnly", {.is_no_store = true}},
    {"op-cache", "writeOnly", {.is_no_read = true}},
    {"op-cache", "sometimes", {.detail = "op-cache-ignored"}},
    {"x-vsr-cache-control", "bypass", {.is_bypass = true, .compat = DJ_COMPAT_VSR}},
    {"x-vsr-cache-control", "ttl=10", {.ttl_ms = 10000, .compat = DJ_COMPAT_VSR}},
    /* Deja */
    {"X-Deja-Cache", "bypass", {.is_bypass = true}},
    {"X-Deja-Cache", "refresh", {.is_no_read = true}},
    {"X-Deja-Cache", "write-only", {.is_no_read = true}},
    {"X-Deja-Cache", "read-only", {.is_no_store = true}},
    {"X-Deja-Cache", "no-store", {.is_bypass = true}},
    {"X-Deja-Cache", "use", {.is_wanted = true}},
    {"X-Deja-Cache", "please", {.detail = "x-deja-cache-ignored"}},
    {"X-Deja-Mode", "exact", {.is_exact_only = true}},
    {"X-Deja-Mode", "semantic", {0}},
    {"X-Deja-Mode", "fuzzy", {.detail = "mode-ignored"}},
    {"X-Deja-TTL", "5m", {.ttl_ms = 300000}},
    {"X-Deja-TTL", "0", {.detail = "ttl-ignored"}},
    {"X-Deja-TTL", "-5", {.detail = "ttl-ignored"}},
    {"X-Deja-TTL", "soon", {.detail = "ttl-ignored"}},
    {"X-Deja-TTL", "99999999999999999999", {.detail = "ttl-ignored"}},
    {"X-Deja-TTL", "2d", {.ttl_ms = TTL_MAX_MS, .detail = "ttl-clamped"}},
    {"X-Deja-Max-Age", "30", {.max_age_ms = 30000, .ttl_ms = 30000}},
    {"X-Deja-Threshold", "0.97", {.threshold = 0.97}},
    {"X-Deja-Threshold", "1.01", {.detail = "threshold-ignored"}},
    {"X-Deja-Threshold", "-0.1", {.detail = "threshold-ignored"}},
    {"X-Deja-Threshold", "nan", {.detail = "threshold-ignored"}},
    {"X-Deja-Threshold", "inf", {.detail = "threshold-ignored"}},
    {"X-Deja-Namespace", "team a", {.name_space = {"team a", 6}}},
    {"X-Deja-Tags", "a,b", {.tags = {"a,b", 3}}},
    {"X-Deja-Variants", "20", {.variants = 20}},
    {"X-Deja-Variants", "0", {.detail = "variants-ignored"}},
    {"X-Deja-Variants", "many", {.detail = "variants-ignored"}},
    /* none of ours */
    {"x-other", "true", {0}},
    {"content-type", "application/json", {0}},
};

static void each_header_sets_its_knob(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_knobs got = READ(rows[i].name, rows[i].value);
        char what[128];
        snprintf(what, sizeof what, "%s: %s", rows[i].name, rows[i].value);
        assert_knobs(what, &got, &rows[i].wanted);
    }
}

static void body_sets_knobs(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        struct dj_knobs wanted;
    } table[] = {
        {"{}", {0}},
        {"[]", {0}},
        {"{\"cache\":true}", {0}},
        {"{\"cache_skip\":true}", {.is_bypass = true}},
        {"{\"cache_skip\":\"true\"}", {0}},
        {"{\"cache\":{}}", {.compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"no-cache\":true}}", {.is_no_read = true, .compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"no-store\":true}}", {.is_bypass = true, .compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"ttl\":1.5}}", {.ttl_ms = 1500, .compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"s-maxage\":9}}", {.max_age_ms = 9000, .compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"s-max-age\":9}}", {.max_age_ms = 9000, .compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"ttl\":null}}", {.compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"ttl\":\"x\"}}", {.detail = "ttl-ignored", .compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"ttl\":-1}}", {.detail = "ttl-ignored", .compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"ttl\":1e300}}", {.detail = "ttl-ignored", .compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"ttl\":1e-9}}", {.detail = "ttl-ignored", .compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"s-maxage\":[]}}",
         {.detail = "max-age-ignored", .compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"ttl\":86400}}",
         {.ttl_ms = TTL_MAX_MS, .detail = "ttl-clamped", .compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"namespace\":\"n\"}}",
         {.name_space = {NULL, 1}, .compat = DJ_COMPAT_LITELLM}},
        {"{\"cache\":{\"namespace\":7}}", {.compat = DJ_COMPAT_LITELLM}},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct dj_knobs got = read_all(NULL, table[i].body);
        assert_knobs(table[i].body, &got, &table[i].wanted);
    }
}

/* X-Deja-* > a peer's header > body > Cache-Control, in whatever order they come. */
static void the_stronger_family_wins(void **state)
{
    (void)state;
    static const char *const all[] = {"X-Deja-TTL", "4", "x-bf-cache-ttl", "3", "Cache-Control",
                                      "s-maxage=1", NULL};
    static const char *const turned[] = {
        "Cache-Control", "s-maxage=1", "x-bf-cache-ttl", "3", "X-Deja-TTL", "4", NULL};
    static const char body[] = "{\"cache\":{\"ttl\":2}}";
    assert_int_equal(read_all(all, body).ttl_ms, 4000);
    assert_int_equal(read_all(turned, body).ttl_ms, 4000);
    assert_int_equal(read_all(all + 2, body).ttl_ms, 3000);
    assert_int_equal(read_all(turned + 2, body).ttl_ms, 4000);
    assert_int_equal(read_all(all + 4, body).ttl_ms, 2000);
    assert_int_equal(read_all(all + 4, NULL).ttl_ms, 1000);

    struct dj_knobs knobs = READ("X-Deja-Namespace", "mine", "x-portkey-cache-namespace", "peer");
    assert_true(deja_slice_is_equal(knobs.name_space, deja_slice_text("mine")));
    knobs = READ("X-Deja-Mode", "semantic", "x-bf-cache-type", "direct");
    assert_false(knobs.is_exact_only);
    knobs = READ("X-Deja-Threshold", "0.9", "x-bf-cache-threshold", "0.8");
    assert_true(knobs.threshold == 0.9);
}

static void a_bad_value_leaves_the_weaker_one(void **state)
{
    (void)state;
    struct dj_knobs knobs = READ("X-Deja-TTL", "soon", "x-bf-cache-ttl", "3");
    assert_int_equal(knobs.ttl_ms, 3000);
    assert_string_equal(knobs.detail, "ttl-ignored");
    knobs = READ("op-cache", "junk", "x-bf-cache-no-store", "true", "Cache-Control", "no-cache");
    assert_true(knobs.is_no_store && knobs.is_no_read);
    assert_string_equal(knobs.detail, "op-cache-ignored");
}

static void nobody_takes_a_bypass_back(void **state)
{
    (void)state;
    assert_true(READ("Cache-Control", "no-store", "X-Deja-Cache", "refresh").is_bypass);
    assert_true(READ("cf-aig-skip-cache", "true", "X-OpenRouter-Cache", "true").is_bypass);
    assert_true(READ("X-Cache-Bypass", "1", "Helicone-Cache-Enabled", "true").is_bypass);
}

static void a_max_age_caps_the_ttl(void **state)
{
    (void)state;
    struct dj_knobs knobs = READ("X-Deja-TTL", "100", "X-Deja-Max-Age", "10");
    assert_int_equal(knobs.ttl_ms, 10000);
    assert_int_equal(knobs.max_age_ms, 10000);
    knobs = READ("X-Deja-TTL", "5", "X-Deja-Max-Age", "10");
    assert_int_equal(knobs.ttl_ms, 5000);
}

static void too_long_values_never_widen(void **state)
{
    (void)state;
    static char text[4096];
    memset(text, 'n', sizeof text - 1);
    struct dj_knobs knobs = READ("X-Deja-Namespace", text);
    assert_true(knobs.is_bypass);
    assert_int_equal(knobs.name_space.len, 0);
    knobs = READ("X-Deja-Tags", text);
    assert_int_equal(knobs.tags.len, 0);
    assert_string_equal(knobs.detail, "tags-ignored");
    text[256] = '\0';
    knobs = READ("X-Deja-Namespace", text);
    assert_false(knobs.is_bypass);
    assert_int_equal(knobs.name_space.len, 256);
}

static void ignored_members_are_an_array_or_a_list(void **state)
{
    (void)state;
    static const char *const forms[] = {"[\"user\", \"metadata\"]", "user,metadata",
                                        "['user' ,metadata]"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct dj_knobs knobs = READ("Helicone-Cache-Ignore-Keys", forms[i]);
        assert_true(dj_knobs_ignores(&knobs, deja_slice_text("user")));
        assert_true(dj_knobs_ignores(&knobs, deja_slice_text("metadata")));
        assert_false(dj_knobs_ignores(&knobs, deja_slice_text("use")));
        assert_false(dj_knobs_ignores(&knobs, deja_slice_text("messages")));
    }
    struct dj_knobs none = READ("Helicone-Cache-Ignore-Keys", "[]");
    assert_false(dj_knobs_ignores(&none, deja_slice_text("")));
}

static void families_add_up(void **state)
{
    (void)state;
    struct dj_knobs knobs =
        READ("x-portkey-config", "{}", "cf-aig-cache-ttl", "x", "Helicone-Cache-Enabled", "true");
    assert_int_equal(knobs.compat, DJ_COMPAT_PORTKEY | DJ_COMPAT_CLOUDFLARE | DJ_COMPAT_HELICONE);
}

static void many_headers_stay_within_bounds(void **state)
{
    (void)state;
    const char *pairs[2 * HEADERS_MAX + 1];
    for (size_t i = 0; i < HEADERS_MAX; i++) {
        pairs[2 * i] = "X-Deja-TTL";
        pairs[2 * i + 1] = "7";
    }
    pairs[2 * HEADERS_MAX] = NULL;
    assert_int_equal(read_all(pairs, NULL).ttl_ms, 7000);
}

static void cache_headers_do_not_go_upstream(void **state)
{
    (void)state;
    static const char *const kept[] = {
        "Cache-Control",  "authorization", "content-type",      "x-api-key", "x-request-id",
        "openai-project", "cf-ray",        "x-portkey-api-key", "x-dej",     "",
        "helicone-auth",  "x-deja"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool is_ours =
            strcmp(rows[i].name, "Cache-Control") != 0 && strcmp(rows[i].name, "x-other") != 0 &&
            strcmp(rows[i].name, "x-portkey-config") != 0 &&   /* it routes, too */
            strcmp(rows[i].name, "x-portkey-trace-id") != 0 && /* for who comes next */
            !strstr(rows[i].name, "-metadata") && strcmp(rows[i].name, "content-type") != 0;
        if (dj_knobs_is_cache_header(deja_slice_text(rows[i].name)) != is_ours)
            fail_msg("%s", rows[i].name);
    }
    assert_true(dj_knobs_is_cache_header(deja_slice_text("X-DEJA-Anything")));
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (dj_knobs_is_cache_header(deja_slice_text(kept[i])))
            fail_msg("%s", kept[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_header_sets_its_knob),
        cmocka_unit_test(body_sets_knobs),
        cmocka_unit_test(the_stronger_family_wins),
        cmocka_unit_test(a_bad_value_leaves_the_weaker_one),
        cmocka_unit_test(nobody_takes_a_bypass_back),
        cmocka_unit_test(a_max_age_caps_the_ttl),
        cmocka_unit_test(too_long_values_never_widen),
        cmocka_unit_test(ignored_members_are_an_array_or_a_list),
        cmocka_unit_test(families_add_up),
        cmocka_unit_test(many_headers_stay_within_bounds),
        cmocka_unit_test(cache_headers_do_not_go_upstream),
    };
    return RUN_TESTS(tests);
}
