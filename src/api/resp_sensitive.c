/* api/resp_sensitive.c - what a client sets, looked at by its tenant's rules for sensitive data, as
 * values over HTTP are (proxy/sensitive.h).
 *
 * On the client's loop, since its writes stay in order: so only where the rules ask for more than
 * the tiers do anyway, and not at what is long. What was not looked at is as if all had been found.
 */
#include "api/resp_internal.h"
#include "proxy/sensitive.h"
#include "proxy/telemetry.h"

enum { LOOK_BYTES_MAX = 64 * 1024 };

static const char sealed_metadata[] = "{" DJ_PLAIN_SEALED_ONLY "}";
static const char redacted_metadata[] = "{\"redacted\":true}";
static const char both_metadata[] = "{\"redacted\":true," DJ_PLAIN_SEALED_ONLY "}";

static bool is_strict(const struct dj_rules_values *rules)
{
    bool is = false;
    for (unsigned i = 0; i < DJ_SENSITIVE_CLASS_COUNT; i++)
        is = is || rules->sensitive[i] >= DJ_SENSITIVE_REDACT;
    return is;
}

/* Where every tier seals, "encrypt" changes nothing. */
static bool is_looked_at(const struct dj_proxy_context *proxy, const struct dj_rules_values *rules)
{
    const uint32_t all = DJ_LEVEL_BIT(DJ_LEVEL_LMDB) | DJ_LEVELS_SHARED;
    return proxy->detector && dj_sensitive_classes(rules) &&
           (is_strict(rules) || (proxy->sealed_levels & all) != all);
}

static void take_metadata(struct dj_resp_part *part, const struct dj_sensitive_verdict *verdict)
{
    const char *text = verdict->is_redacted && verdict->is_sealed_only ? both_metadata
                       : verdict->is_redacted                          ? redacted_metadata
                       : verdict->is_sealed_only                       ? sealed_metadata
                                                                       : NULL;
    part->metadata = text ? deja_slice_text(text) : deja_slice(NULL, 0);
}

static void look_at_part(struct dj_resp_write *write, struct dj_resp_part *part)
{
    const struct dj_resp_client *client = write->client;
    const struct dj_proxy_context *proxy = client->api->proxy;
    const struct dj_rules_values *rules = dj_rules_of(client->who.rules);
    const struct dj_entry entry = {.kind = DJ_ENTRY_PLAIN,
                                   .query = part->key,
                                   .name_space = client->space.name_space,
                                   .body = part->value};
    struct dj_sensitive_verdict verdict = {.is_sealed_only = true, .reason = "sensitive-limit"};
    if (part->value.len > LOOK_BYTES_MAX)
        verdict.is_refused = is_strict(rules);
    else
        dj_sensitive_judge(proxy->detector, rules, &entry, NULL, &verdict);
    dj_telemetry_sensitive(proxy->telemetry, &verdict);
    if (verdict.is_refused)
        write->fault = "ERR not stored: it holds sensitive data, which this tenant's rules refuse, "
                       "or is too long to be looked at";
    take_metadata(part, &verdict);
    if (!verdict.is_refused && verdict.is_redacted) {
        part->value = dj_arena_copy(&write->arena, dj_buf_slice(&verdict.body));
        if (!part->value.data)
            write->status = DEJA_ERR_NOMEM;
    }
    dj_sensitive_fini(&verdict);
}

bool dj_resp_write_may(struct dj_resp_write *write)
{
    const struct dj_resp_client *client = write->client;
    if (!is_looked_at(client->api->proxy, dj_rules_of(client->who.rules)))
        return true;
    for (size_t i = 0; i < write->part_count; i++)
        if (write->parts[i].value.data)
            look_at_part(write, &write->parts[i]);
    return !write->fault && write->status == DEJA_OK;
}
