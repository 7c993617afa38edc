/* security/rules.c - see rules.h: one block, the texts behind the values. */
#include "security/rules.h"

#include <stdatomic.h>

#include "base/alloc.h"

struct dj_rules {
    atomic_uint ref_count;
    struct dj_rules_values values;
    char texts[];
};

static size_t text_bytes(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static const char *keep(char **at, const char *text)
{
    size_t bytes = text_bytes(text);
    if (!bytes)
        return NULL;
    char *kept = memcpy(*at, text, bytes);
    *at += bytes;
    return kept;
}

enum deja_status dj_rules_create(const struct dj_rules_values *values, struct dj_rules **out_rules)
{
    if (values->model_count > DJ_RULES_MODELS_MAX || values->kind_count > DJ_RULES_KINDS_MAX)
        return DEJA_ERR_LIMIT;
    size_t bytes = text_bytes(values->upstream_url) + text_bytes(values->prices);
    for (size_t i = 0; i < values->model_count; i++)
        bytes += text_bytes(values->models[i]);
    for (size_t i = 0; i < values->kind_count; i++)
        bytes += text_bytes(values->kinds[i].name);
    struct dj_rules *rules = dj_alloc(sizeof *rules + bytes);
    if (!rules)
        return DEJA_ERR_NOMEM;
    char *at = rules->texts;
    atomic_init(&rules->ref_count, 1);
    rules->values = *values;
    rules->values.upstream_url = keep(&at, values->upstream_url);
    rules->values.prices = keep(&at, values->prices);
    for (size_t i = 0; i < values->model_count; i++)
        rules->values.models[i] = keep(&at, values->models[i]);
    for (size_t i = 0; i < values->kind_count; i++)
        rules->values.kinds[i].name = keep(&at, values->kinds[i].name);
    *out_rules = rules;
    return DEJA_OK;
}

const struct dj_rules_values *dj_rules_of(const struct dj_rules *rules)
{
    return &rules->values;
}

struct dj_rules *dj_rules_ref(struct dj_rules *rules)
{
    atomic_fetch_add_explicit(&rules->ref_count, 1, memory_order_relaxed);
    return rules;
}

void dj_rules_unref(struct dj_rules *rules)
{
    if (rules && atomic_fetch_sub_explicit(&rules->ref_count, 1, memory_order_acq_rel) == 1)
        dj_free(rules);
}

uint64_t dj_rules_kind_ttl(const struct dj_rules_values *values, struct deja_slice kind)
{
    for (size_t i = 0; i < values->kind_count; i++)
        if (deja_slice_is_equal(kind, deja_slice_text(values->kinds[i].name)))
            return values->kinds[i].ttl_ms;
    return 0;
}

bool dj_rules_allow_model(const struct dj_rules_values *values, struct deja_slice model)
{
    for (size_t i = 0; i < values->model_count; i++) {
        struct deja_slice name = deja_slice_text(values->models[i]);
        bool is_beginning = name.data[name.len - 1] == '*';
        if (is_beginning
                ? model.len >= name.len - 1 && memcmp(model.data, name.data, name.len - 1) == 0
                : deja_slice_is_equal(model, name))
            return true;
    }
    return values->model_count == 0;
}
