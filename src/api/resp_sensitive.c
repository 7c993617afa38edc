/* api/resp_sensitive.c - what is written is looked at for sensitive data first, as over HTTP
 * (api/draft.h).
 *
 *   write ─▶ rules name a class? ─ no ──────────────────────────────────▶ begins
 *                 └─ yes ─▶ short: here
 *                           long: a worker; the write is behind, and no other command begins
 *                      └─▶ refused: an error, nothing of it is written (of MSET: not one key)
 *                          redacted, sealed only: the part's value and metadata say so ─▶ begins
 *
 * APPEND is looked at twice: what is appended, and, where the key is at home, what it makes with
 * the bytes before it; of a long value those around the seam.
 */
#include "api/resp_internal.h"

#include "api/draft.h"

#define INLINE_BYTES_MAX 4096u /* a few microseconds */

/* In the write's arena. */
struct dj_resp_judging {
    struct dj_job job;
    struct dj_plain_space space; /* the client's may be made anew meanwhile */
};

static const char *refusal(const struct dj_sensitive_verdict *verdict)
{
    static const struct {
        const char *reason;
        const char *error;
    } texts[] = {
        {"sensitive-secret",
         "ERR sensitive data is not stored (secret): it holds a key, a password "
         "or a token, which this tenant refuses to keep"},
        {"sensitive-card", "ERR sensitive data is not stored (card): it holds the number of a "
                           "payment card, which this tenant refuses to keep"},
        {"sensitive-identity", "ERR sensitive data is not stored (identity): it holds the number "
                               "of a person, which this tenant refuses to keep"},
        {"sensitive-contact", "ERR sensitive data is not stored (contact): it holds an address, "
                              "which this tenant refuses to keep"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(verdict->reason, texts[i].reason) == 0)
            return texts[i].error;
    return "ERR sensitive data is not stored: the value could not be looked at to its end";
}

/* ---- one part ---- */

/* In the arena, with what is known of the part already. NULL: no memory. */
static struct dj_sensitive_verdict *keep(struct dj_resp_part *part,
                                         struct dj_sensitive_verdict *verdict)
{
    struct dj_resp_write *write = part->write;
    struct dj_sensitive_verdict *kept = dj_arena_alloc(&write->arena, sizeof *kept);
    if (!kept) {
        dj_sensitive_fini(verdict);
        return NULL;
    }
    if (part->verdict) {
        verdict->classes |= part->verdict->classes;
        verdict->is_sealed_only |= part->verdict->is_sealed_only;
    }
    *kept = *verdict;
    write->has_verdict = true;
    return kept;
}

static void judge_part(struct dj_resp_part *part, const struct dj_rules *rules)
{
    struct dj_resp_write *write = part->write;
    const struct dj_proxy_context *proxy = write->client->api->proxy;
    const struct dj_entry entry = {.kind = DJ_ENTRY_PLAIN, .query = part->key, .body = part->value};
    struct dj_sensitive_verdict found;
    dj_sensitive_judge(proxy->detector, dj_rules_of(rules), &entry, NULL, &found);
    if (!found.classes)
        return;
    struct dj_sensitive_verdict *verdict = part->verdict = keep(part, &found);
    if (verdict && verdict->is_refused)
        write->fault = refusal(verdict);
    else if (!verdict || dj_sensitive_mark(&write->arena, verdict->is_redacted,
                                           verdict->is_sealed_only, &part->metadata) != DEJA_OK)
        write->status = DEJA_ERR_NOMEM;
    else if (verdict->is_redacted)
        part->value = dj_buf_slice(&verdict->body);
}

static void judge(struct dj_resp_write *write, const struct dj_rules *rules)
{
    for (size_t i = 0; i < write->part_count && !write->fault && write->status == DEJA_OK; i++)
        judge_part(&write->parts[i], rules);
}

/* ---- the write ---- */

static void on_work(void *ctx)
{
    struct dj_resp_write *write = ctx;
    judge(write, write->rules);
}

static void on_judged(void *ctx)
{
    struct dj_resp_write *write = ctx;
    write->client->is_judging = false;
    if (write->fault || write->status != DEJA_OK)
        dj_resp_write_end(write);
    else
        dj_resp_write_begin(write, &write->judging->space);
}

static enum deja_status hand_over(struct dj_resp_write *write)
{
    struct dj_resp_client *client = write->client;
    struct dj_resp_judging *judging = dj_arena_alloc(&write->arena, sizeof *judging);
    if (!judging)
        return DEJA_ERR_NOMEM;
    *judging = (struct dj_resp_judging){
        .job = {.work = on_work, .done = on_judged, .ctx = write, .loop = client->loop},
        .space = client->space,
    };
    write->judging = judging;
    judging->space.name_space = dj_arena_copy(&write->arena, client->space.name_space);
    judging->space.user_tag = dj_arena_copy(&write->arena, client->space.user_tag);
    if ((client->space.name_space.len && !judging->space.name_space.data) ||
        (client->space.user_tag.len && !judging->space.user_tag.data))
        return DEJA_ERR_NOMEM;
    dj_resp_write_keep_rules(write);
    return dj_pool_submit(client->api->proxy->pool, &judging->job);
}

void dj_resp_write_keep_rules(struct dj_resp_write *write)
{
    struct dj_rules *rules = write->client->who.rules;
    if (!write->rules && rules && dj_sensitive_classes(dj_rules_of(rules)))
        write->rules = dj_rules_ref(rules);
}

enum dj_resp_flow dj_resp_write_judge(struct dj_resp_write *write, struct dj_buf *out)
{
    struct dj_resp_client *client = write->client;
    const struct dj_rules *rules = client->who.rules;
    enum deja_status status = DEJA_OK;
    if (!client->api->proxy->detector || !rules || !dj_sensitive_classes(dj_rules_of(rules)))
        return dj_resp_write_start(write);
    if (write->bytes <= INLINE_BYTES_MAX) {
        judge(write, rules);
        status = write->status;
    } else {
        status = hand_over(write);
        if (status == DEJA_OK) {
            client->is_judging = true;
            dj_resp_write_list(write);
            return DJ_RESP_BEHIND;
        }
    }
    if (status == DEJA_OK && !write->fault)
        return dj_resp_write_start(write);
    if (status != DEJA_OK)
        dj_resp_put_failure(out, status);
    else
        dj_resp_put_error(out, "%s", write->fault);
    dj_resp_write_count(write);
    dj_resp_write_destroy(write);
    return DJ_RESP_ANSWERED;
}

/* ---- what is made of the value before ---- */

/* All of a short one; else what is around the seam, each side half of that. */
static struct deja_slice around(struct deja_slice body, size_t seam)
{
    size_t half = INLINE_BYTES_MAX / 2;
    if (body.len <= INLINE_BYTES_MAX)
        return body;
    size_t begin = seam > half ? seam - half : 0;
    size_t end = body.len - seam > half ? seam + half : body.len;
    return deja_slice(body.data + begin, end - begin);
}

/* NULL in *out_verdict: nothing was found. False: no memory. */
static bool judge_made(struct dj_resp_part *part, struct deja_slice body,
                       struct dj_sensitive_verdict **out_verdict)
{
    struct dj_resp_write *write = part->write;
    const struct dj_entry entry = {.kind = DJ_ENTRY_PLAIN, .query = part->key, .body = body};
    struct dj_sensitive_verdict found;
    *out_verdict = NULL;
    dj_sensitive_judge(write->client->api->proxy->detector, dj_rules_of(write->rules), &entry, NULL,
                       &found);
    if (!found.classes)
        return true;
    *out_verdict = write->made_verdict = keep(part, &found);
    return *out_verdict != NULL;
}

bool dj_resp_judge_made(struct dj_resp_part *part, size_t head_len, struct dj_plain_new *out_new)
{
    struct dj_resp_write *write = part->write;
    struct deja_slice body = around(out_new->body, head_len);
    struct dj_sensitive_verdict *verdict = NULL;
    if (write->made_verdict) /* another program was faster, and this is called again */
        dj_sensitive_fini(write->made_verdict);
    write->made_verdict = NULL;
    bool is_done = !write->rules || head_len == 0 || judge_made(part, body, &verdict);
    bool is_redacted = part->verdict && part->verdict->is_redacted;
    bool is_sealed_only = part->verdict && part->verdict->is_sealed_only;
    if (verdict) {
        /* A long value is not written anew around what it holds. */
        verdict->is_refused |= verdict->is_redacted && body.len < out_new->body.len;
        if (verdict->is_refused) {
            write->fault = refusal(verdict);
            return false;
        }
        if (verdict->is_redacted)
            out_new->body = dj_buf_slice(&verdict->body);
        is_redacted |= verdict->is_redacted;
        is_sealed_only |= verdict->is_sealed_only;
    }
    if (is_done && dj_sensitive_mark(&write->arena, is_redacted, is_sealed_only,
                                     &out_new->metadata) == DEJA_OK)
        return true;
    write->fault = "OOM out of memory";
    return false;
}

/* ---- its end ---- */

void dj_resp_write_count(const struct dj_resp_write *write)
{
    struct dj_telemetry *telemetry = write->client->api->proxy->telemetry;
    if (write->made_verdict)
        dj_telemetry_sensitive(telemetry, write->made_verdict);
    for (size_t i = 0; i < write->part_count && !write->made_verdict; i++)
        if (write->parts[i].verdict)
            dj_telemetry_sensitive(telemetry, write->parts[i].verdict);
}

void dj_resp_write_forget(struct dj_resp_write *write)
{
    for (size_t i = 0; write->has_verdict && i < write->part_count; i++)
        if (write->parts[i].verdict)
            dj_sensitive_fini(write->parts[i].verdict);
    if (write->made_verdict)
        dj_sensitive_fini(write->made_verdict);
    if (write->judging)
        dj_plain_space_fini(&write->judging->space);
    dj_rules_unref(write->rules);
}
