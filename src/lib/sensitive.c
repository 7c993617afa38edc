/* lib/sensitive.c - what is written is looked at for sensitive data, with the cache's own verdicts
 * (cache/sensitive.h), before it leaves the thread that brought it. Trust as calls.c.
 *
 *   options -> rules -> nothing to look for? no detector, no cost
 *   write   -> verdict, in the caller's thread ─ refused ──> DEJA_ERR_DENIED
 *                   └──> loop: what is stored, and where
 *
 * Memory and a data directory, which is always sealed, are where "encrypt" may keep things. So only
 * beside a store of the caller's is there anything to look for under that rule.
 */
#include "lib/lib_internal.h"

static const enum dj_sensitive_policy policies[] = {
    [DEJA_SENSITIVE_ALLOW] = DJ_SENSITIVE_ALLOW,
    [DEJA_SENSITIVE_ENCRYPT] = DJ_SENSITIVE_ENCRYPT,
    [DEJA_SENSITIVE_REDACT] = DJ_SENSITIVE_REDACT,
    [DEJA_SENSITIVE_REFUSE] = DJ_SENSITIVE_REFUSE,
};

static enum deja_status read_rule(const struct deja *deja, enum deja_sensitive given,
                                  enum deja_sensitive fallback, enum dj_sensitive_policy *out)
{
    if ((unsigned)given > DEJA_SENSITIVE_REFUSE)
        return DEJA_ERR_CONFIG;
    *out = policies[given ? given : fallback];
    if (*out == DJ_SENSITIVE_ENCRYPT && deja->sealed_levels)
        *out = DJ_SENSITIVE_ALLOW;
    return DEJA_OK;
}

enum deja_status dj_look_create(struct deja *deja, struct deja_error *error)
{
    const struct deja_options *options = &deja->options;
    enum dj_sensitive_policy *rules = deja->rules.sensitive;
    deja->sealed_levels = options->store ? 0 : DJ_LEVEL_BIT(DJ_LEVEL_LMDB);
    enum deja_status status = read_rule(deja, options->sensitive_secret, DEJA_SENSITIVE_ENCRYPT,
                                        &rules[DJ_SENSITIVE_SECRET]);
    if (status == DEJA_OK)
        status = read_rule(deja, options->sensitive_card, DEJA_SENSITIVE_ENCRYPT,
                           &rules[DJ_SENSITIVE_CARD]);
    if (status == DEJA_OK)
        status = read_rule(deja, options->sensitive_identity, DEJA_SENSITIVE_ENCRYPT,
                           &rules[DJ_SENSITIVE_IDENTITY]);
    if (status == DEJA_OK)
        status = read_rule(deja, options->sensitive_contact, DEJA_SENSITIVE_ALLOW,
                           &rules[DJ_SENSITIVE_CONTACT]);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "sensitive_… must be one of enum deja_sensitive");
    if (!dj_sensitive_classes(&deja->rules))
        return DEJA_OK;
    return dj_detector_create(NULL, 0, &deja->detector, error);
}

enum deja_status dj_look(const struct deja *deja, const struct dj_entry *entry,
                         struct dj_sensitive_verdict *out_verdict)
{
    dj_sensitive_judge(deja->detector, &deja->rules, entry, NULL, out_verdict);
    return out_verdict->is_refused ? DEJA_ERR_DENIED : DEJA_OK;
}

enum deja_status dj_look_apply(const struct deja *deja, const struct dj_sensitive_verdict *verdict,
                               struct dj_arena *arena, struct dj_entry *entry,
                               struct dj_put_options *options)
{
    dj_sensitive_apply(verdict, deja->sealed_levels, entry, options);
    if (entry->kind != DJ_ENTRY_PLAIN)
        return DEJA_OK;
    return dj_sensitive_mark(arena, verdict->is_redacted, verdict->is_sealed_only,
                             &entry->metadata);
}
