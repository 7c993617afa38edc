/* api/draft.c - see draft.h. */
#include "api/draft.h"

#include "base/slice.h"
#include "cache/plain.h"

#define INLINE_BYTES_MAX 4096u /* a few microseconds */

void dj_draft_fini(struct dj_draft *draft)
{
    dj_buf_fini(&draft->body);
    dj_buf_fini(&draft->metadata);
    dj_sensitive_fini(&draft->verdict);
    *draft = (struct dj_draft){.status = DEJA_OK};
}

void dj_draft_set_key(struct dj_draft *draft, const struct dj_fingerprint *fingerprint)
{
    struct dj_entry *entry = &draft->entry;
    memcpy(entry->tenant, fingerprint->key.tenant, sizeof entry->tenant);
    memcpy(entry->id, fingerprint->key.id, sizeof entry->id);
    memcpy(entry->exact, fingerprint->exact, sizeof entry->exact);
    memcpy(entry->scope, fingerprint->scope, sizeof entry->scope);
    entry->query = fingerprint->text;
}

static void judge(void *ctx)
{
    struct dj_drafts *drafts = ctx;
    const struct dj_request *request = drafts->request;
    const struct dj_rules_values *rules = dj_rules_of(request->who.rules);
    for (size_t i = 0; i < drafts->count; i++) {
        struct dj_draft *draft = drafts->items[i];
        if (draft && draft->status == DEJA_OK)
            dj_sensitive_judge(request->api->proxy->detector, rules, &draft->entry, draft->response,
                               &draft->verdict);
    }
}

static void on_judged(void *ctx)
{
    struct dj_drafts *drafts = ctx;
    for (size_t i = 0; i < drafts->count; i++)
        if (drafts->items[i])
            dj_telemetry_sensitive(drafts->request->api->proxy->telemetry,
                                   &drafts->items[i]->verdict);
    drafts->judged(drafts->ctx);
}

/* The slices that were not there when the entry was filled, and how long all is. */
static size_t finish(struct dj_draft *draft)
{
    draft->entry.body = dj_buf_slice(&draft->body);
    draft->entry.metadata = dj_buf_slice(&draft->metadata);
    if (draft->status == DEJA_OK)
        draft->status = draft->body.status != DEJA_OK ? draft->body.status : draft->metadata.status;
    return draft->body.len + draft->metadata.len + draft->entry.query.len;
}

void dj_drafts_judge(struct dj_drafts *drafts)
{
    const struct dj_request *request = drafts->request;
    const struct dj_proxy_context *context = request->api->proxy;
    size_t bytes = 0;
    for (size_t i = 0; i < drafts->count; i++)
        bytes += drafts->items[i] ? finish(drafts->items[i]) : 0;
    bool is_asked = context->detector && dj_sensitive_classes(dj_rules_of(request->who.rules));
    if (!is_asked || bytes <= INLINE_BYTES_MAX) {
        judge(drafts);
        on_judged(drafts);
        return;
    }
    drafts->job =
        (struct dj_job){.work = judge, .done = on_judged, .ctx = drafts, .loop = request->loop};
    if (dj_pool_submit(context->pool, &drafts->job) == DEJA_OK)
        return;
    for (size_t i = 0; i < drafts->count; i++)
        if (drafts->items[i] && drafts->items[i]->status == DEJA_OK)
            drafts->items[i]->status = DEJA_ERR_BUSY;
    on_judged(drafts);
}

struct dj_problem dj_draft_problem(const struct dj_draft *draft)
{
    static const char type[] = "sensitive_data";
    if (draft->status != DEJA_OK)
        return dj_problem_of(draft->status);
    if (!draft->verdict.is_refused)
        return (struct dj_problem){.status = 0};
    const char *reason = draft->verdict.reason;
    const char *detail =
        strcmp(reason, "sensitive-secret") == 0
            ? "not stored: it holds a key, a password or a token, which this tenant refuses to keep"
        : strcmp(reason, "sensitive-card") == 0
            ? "not stored: it holds the number of a payment card, which this tenant refuses to keep"
        : strcmp(reason, "sensitive-identity") == 0
            ? "not stored: it holds the number of a person, which this tenant refuses to keep"
        : strcmp(reason, "sensitive-contact") == 0
            ? "not stored: it holds an address, which this tenant refuses to keep"
            : "not stored: it could not be looked at to its end for sensitive data";
    return (struct dj_problem){.status = 422, .type = type, .detail = detail};
}

void dj_draft_put_verdict(struct dj_json_writer *w, const struct dj_draft *draft)
{
    if (!draft->verdict.classes)
        return;
    dj_json_key(w, "sensitive");
    dj_json_begin_array(w);
    for (unsigned i = 0; i < DJ_SENSITIVE_CLASS_COUNT; i++)
        if (draft->verdict.classes & DJ_SENSITIVE_BIT(i))
            dj_json_put_text(w, dj_sensitive_class_text((enum dj_sensitive_class)i));
    dj_json_end_array(w);
    if (draft->verdict.is_redacted)
        dj_json_member_bool(w, "redacted", true);
}
