/* proxy/telemetry_saved.c - what hits spared and calls cost: tokens, money, time. */
#include "loop/loop.h"
#include "proto/json.h"
#include "proxy/telemetry_internal.h"

#define USD_MAX 1e6 /* of one call: more is a mistake */
#define NANO 1e9

/* A model's name comes from the wire: printable, bounded, or it is "other". */
static const char *model_label(struct deja_slice model, char text[65])
{
    if (model.len == 0)
        return "unknown";
    if (model.len > 64)
        return "other";
    for (size_t i = 0; i < model.len; i++)
        if (model.data[i] <= ' ' || model.data[i] > '~')
            return "other";
    memcpy(text, model.data, model.len);
    text[model.len] = '\0';
    return text;
}

void dj_telemetry_set_guess(struct dj_telemetry *telemetry, const struct dj_price_guess *guess)
{
    telemetry->guess = *guess;
}

struct dj_price_guess dj_telemetry_guess(const struct dj_telemetry *telemetry)
{
    return telemetry->guess;
}

struct dj_ledger *dj_telemetry_ledger(const struct dj_telemetry *telemetry)
{
    return telemetry->ledger;
}

void dj_telemetry_missed(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                         const char *kind)
{
    const uint64_t sums[DJ_LEDGER_SUM_COUNT] = {[DJ_LEDGER_MISSES] = 1};
    dj_ledger_add(telemetry->ledger, tenant, kind, dj_clock_now_ms(), sums);
}

/* The kind that was named when an entry was put, else its type. */
static const char *named_kind(const struct dj_entry *entry, char text[DJ_LEDGER_KIND_BYTES])
{
    struct dj_json_doc *doc = NULL;
    const char *kind = "semantic";
    if (!entry->metadata.len || dj_json_parse(entry->metadata, &doc, NULL) != DEJA_OK)
        return kind;
    struct deja_slice name = dj_json_string(dj_json_get(dj_json_root(doc), "kind"));
    if (!name.len)
        name = dj_json_string(dj_json_get(dj_json_root(doc), "type"));
    if (name.len && name.len < DJ_LEDGER_KIND_BYTES && !memchr(name.data, 0, name.len)) {
        memcpy(text, name.data, name.len);
        text[name.len] = '\0';
        kind = text;
    }
    dj_json_doc_destroy(doc);
    return kind;
}

void dj_telemetry_saved(struct dj_telemetry *telemetry, const struct dj_entry *entry)
{
    char text[DJ_LEDGER_KIND_BYTES];
    dj_telemetry_saved_kind(telemetry, entry,
                            entry->kind == DJ_ENTRY_CHAT        ? "response"
                            : entry->kind == DJ_ENTRY_EMBEDDING ? "embedding"
                            : entry->kind == DJ_ENTRY_NEGATIVE  ? "negative"
                            : entry->kind == DJ_ENTRY_API       ? named_kind(entry, text)
                                                                : "plain");
}

static void keep_saved(struct dj_telemetry *telemetry, const struct dj_entry *entry,
                       const char *kind, const struct dj_saving *saving, uint64_t nano_usd)
{
    const uint64_t sums[DJ_LEDGER_SUM_COUNT] = {
        [DJ_LEDGER_HITS] = 1,
        [DJ_LEDGER_INPUT_TOKENS] = saving->input_tokens,
        [DJ_LEDGER_OUTPUT_TOKENS] = saving->output_tokens,
        [DJ_LEDGER_MS] = saving->ms,
        [DJ_LEDGER_NANO_USD] = nano_usd,
        [DJ_LEDGER_GUESSED_NANO_USD] = saving->is_guess ? nano_usd : 0,
    };
    dj_ledger_add(telemetry->ledger, entry->tenant, kind, dj_clock_now_ms(), sums);
}

static void count_tokens(struct dj_telemetry *telemetry, struct tenant *tenant, const char *model,
                         const struct dj_saving *saving)
{
    const char *const input[] = {tenant->labels->tenant, model, "input"};
    const char *const output[] = {tenant->labels->tenant, model, "output"};
    atomic_fetch_add_explicit(&tenant->saved_input_tokens, saving->input_tokens,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&tenant->saved_output_tokens, saving->output_tokens,
                              memory_order_relaxed);
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_SAVED_TOKENS, input),
                  (double)saving->input_tokens);
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_SAVED_TOKENS, output),
                  (double)saving->output_tokens);
}

void dj_telemetry_saved_kind(struct dj_telemetry *telemetry, const struct dj_entry *entry,
                             const char *kind)
{
    dj_telemetry_saved_class(telemetry, entry, kind, dj_saving_class_of(deja_slice_text(kind)));
}

void dj_telemetry_saved_class(struct dj_telemetry *telemetry, const struct dj_entry *entry,
                              const char *kind, enum dj_saving_class class)
{
    struct tenant *tenant = dj_telemetry_tenant_of(telemetry, entry->tenant, true);
    struct labels *labels = tenant->labels;
    const struct dj_saving_facts facts = {.class = class,
                                          .cost_usd = entry->cost_usd,
                                          .input_tokens = entry->input_tokens,
                                          .output_tokens = entry->output_tokens,
                                          .make_ms = entry->make_ms};
    struct dj_saving saving;
    char text[65];
    const char *model = model_label(entry->model, text);
    dj_saving_work_out(&telemetry->guess, &facts, &saving);
    atomic_fetch_add_explicit(&tenant->saved_ms, saving.ms, memory_order_relaxed);
    if (saving.ms > 0) {
        const char *const of_tenant[] = {labels->tenant};
        dj_series_add(dj_telemetry_slot_series(telemetry, &labels->saved_seconds,
                                               FAMILY_SAVED_SECONDS, of_tenant),
                      (double)saving.ms / 1000.0);
    }
    if (saving.input_tokens + saving.output_tokens > 0)
        count_tokens(telemetry, tenant, model, &saving);
    uint64_t nano_usd = saving.cost_usd < USD_MAX ? (uint64_t)(saving.cost_usd * NANO + 0.5) : 0;
    if (nano_usd) {
        const char *const values[] = {labels->tenant, model};
        atomic_fetch_add_explicit(&tenant->saved_nano_usd, nano_usd, memory_order_relaxed);
        dj_series_add(dj_telemetry_series(telemetry, FAMILY_SAVED_COST, values),
                      (double)nano_usd / NANO);
    }
    keep_saved(telemetry, entry, kind, &saving, nano_usd);
}

void dj_telemetry_spent(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                        const char *kind, double cost_usd)
{
    if (!(cost_usd > 0 && cost_usd < USD_MAX))
        return;
    const uint64_t sums[DJ_LEDGER_SUM_COUNT] = {[DJ_LEDGER_SPENT_NANO_USD] =
                                                    (uint64_t)(cost_usd * NANO + 0.5)};
    const char *const values[] = {dj_telemetry_tenant_of(telemetry, tenant, true)->labels->tenant,
                                  kind};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_SPENT_COST, values), cost_usd);
    dj_ledger_add(telemetry->ledger, tenant, kind, dj_clock_now_ms(), sums);
}

void dj_telemetry_embedding(struct dj_telemetry *telemetry,
                            const struct dj_telemetry_embedding *embedding)
{
    char text[65];
    const char *const values[] = {model_label(embedding->model, text), embedding->status};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_EMBEDDER_CALLS, values), 1);
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_EMBEDDER_TEXTS, values),
                  (double)embedding->texts);
    if (embedding->tokens)
        dj_series_add(dj_telemetry_series(telemetry, FAMILY_EMBEDDER_TOKENS, values),
                      (double)embedding->tokens);
    if (embedding->cost_usd > 0) {
        /* Texts of many tenants are one batch: it is the deployment's. */
        static const uint8_t nobody[DJ_ID_BYTES];
        const uint64_t sums[DJ_LEDGER_SUM_COUNT] = {
            [DJ_LEDGER_SPENT_NANO_USD] = (uint64_t)(embedding->cost_usd * NANO + 0.5)};
        dj_series_add(dj_telemetry_series(telemetry, FAMILY_EMBEDDER_COST, values),
                      embedding->cost_usd);
        dj_ledger_add(telemetry->ledger, nobody, "embedder", dj_clock_now_ms(), sums);
    }
}
