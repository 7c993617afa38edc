/* proxy/spending.c - see spending.h. A tenant's table is short and asked on misses only: it is read
 * out of its text each time. */
#include "proxy/spending.h"

#include "proto/json.h"

/* What a tenant's table says of one model: {name: {"input", "output", "cached"}}, checked when it
 * was written. */
static bool find_own(const struct dj_rules *rules, struct deja_slice model,
                     struct dj_price *out_price)
{
    const char *text = rules ? dj_rules_of(rules)->prices : NULL;
    struct dj_json_doc *doc = NULL;
    size_t best_len = 0;
    if (!text || dj_json_parse(deja_slice_text(text), &doc, NULL) != DEJA_OK)
        return false;
    for (struct dj_json_walk w = dj_json_walk(dj_json_root(doc)); dj_json_walk_next(&w);) {
        char name[DJ_PRICE_NAME_BYTES];
        if (w.key.len <= best_len || w.key.len >= sizeof name)
            continue;
        memcpy(name, w.key.data, w.key.len);
        name[w.key.len] = '\0';
        const struct dj_price price = {
            .name = name,
            .input_usd = dj_json_double(dj_json_get(w.value, "input"), 0),
            .cached_usd = dj_json_double(dj_json_get(w.value, "cached"), -1),
            .output_usd = dj_json_double(dj_json_get(w.value, "output"), 0)};
        if (!dj_price_is_of(&price, model))
            continue;
        best_len = w.key.len;
        *out_price = price;
        out_price->name = NULL; /* it lay here */
    }
    dj_json_doc_destroy(doc);
    return best_len > 0;
}

void dj_spending_work_out(const struct dj_proxy_context *context, const struct dj_rules *rules,
                          const char *kind, struct deja_slice model,
                          const struct dj_price_usage *usage, struct dj_spending *out_spending)
{
    const struct dj_proxy_policy *policy = atomic_load(&context->policy);
    struct dj_price price;
    const struct dj_price *known = find_own(rules, model, &price) ? &price : NULL;
    if (!known)
        known = dj_prices_find(policy->prices_own, model);
    if (!known)
        known = dj_prices_find(policy->prices_shipped, model);
    if (known) {
        *out_spending = (struct dj_spending){.cost_usd = dj_price_cost_usd(known, usage)};
        return;
    }
    const struct dj_price_guess guess = dj_telemetry_guess(context->telemetry);
    bool is_embedding = dj_saving_class_of(deja_slice_text(kind)) == DJ_SAVING_EMBEDDING;
    *out_spending =
        (struct dj_spending){.cost_usd = (double)(usage->input_tokens + usage->output_tokens) *
                                         (is_embedding ? guess.embedded_usd : guess.token_usd),
                             .is_guess = true};
}
