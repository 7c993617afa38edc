/* proxy/tenant_rules.c - see tenant_rules.h. */
#include "proxy/tenant_rules.h"

#include <assert.h>

static uint64_t cut(const struct dj_rules *rules, uint64_t ttl_ms)
{
    uint64_t max_ms = rules ? dj_rules_of(rules)->ttl_max_ms : 0;
    return max_ms && ttl_ms > max_ms ? max_ms : ttl_ms;
}

bool dj_tenant_has(const struct dj_principal *who, unsigned features)
{
    if (!who->rules || (who->roles & DJ_ROLE_ADMIN))
        return true;
    return (dj_rules_of(who->rules)->features & features) == features;
}

const char *dj_tenant_lacks_text(enum dj_feature feature)
{
    switch (feature) {
    case DJ_FEATURE_PROXY:
        return "This tenant may not use the proxy (features.proxy).";
    case DJ_FEATURE_API:
        return "this tenant may not use the cache API (features.api)";
    case DJ_FEATURE_EMBEDDINGS:
        return "This tenant may not use embeddings (features.embeddings).";
    default:
        return "This tenant may not use that (features).";
    }
}

static_assert(sizeof(((struct dj_rules_values *)0)->size_ttl_ms) ==
                  sizeof(((struct dj_ttl_sizes *)0)->life_ms),
              "a life of each size");

/* 0: none of its own. Characters are not counted where no size has one. */
static uint64_t ttl_of_size(const struct dj_rules *rules, const struct dj_ttl_sizes *sizes,
                            struct deja_slice text)
{
    uint64_t lives[DJ_TTL_SIZE_COUNT];
    uint64_t any = 0;
    for (int i = 0; i < DJ_TTL_SIZE_COUNT; i++) {
        uint64_t own = rules ? dj_rules_of(rules)->size_ttl_ms[i] : 0;
        lives[i] = own ? own : sizes->life_ms[i];
        any |= lives[i];
    }
    return any && text.len ? lives[dj_ttl_size_of(sizes, text)] : 0;
}

uint64_t dj_tenant_ttl(const struct dj_rules *rules, const struct dj_ttl_sizes *sizes,
                       struct deja_slice text, uint64_t said_ms, uint64_t deployment_ms)
{
    uint64_t size_ms = ttl_of_size(rules, sizes, text);
    return cut(rules, size_ms ? size_ms : said_ms ? said_ms : deployment_ms);
}

uint64_t dj_tenant_cut_ttl(const struct dj_rules *rules, uint64_t asked_ms)
{
    return cut(rules, asked_ms);
}

bool dj_tenant_keeps(const struct dj_rules *rules, uint64_t bytes)
{
    uint64_t bytes_max = rules ? dj_rules_of(rules)->limits.entry_bytes_max : 0;
    return !bytes_max || bytes <= bytes_max;
}

bool dj_tenant_allows_model(const struct dj_rules *rules, struct deja_slice model)
{
    const struct dj_rules_values *values = rules ? dj_rules_of(rules) : NULL;
    return !values || !values->model_count || dj_rules_allow_model(values, model);
}

bool dj_tenant_allows(const struct dj_rules *rules, const struct dj_json *root)
{
    return dj_tenant_allows_model(rules, dj_json_string(dj_json_get(root, "model")));
}
