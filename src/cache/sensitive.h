/* cache/sensitive.h - what becomes of an entry that holds sensitive data, by its tenant's rules.
 *
 *   allow    nothing
 *   encrypt  memory, and only those tiers that seal what they keep
 *   redact   a copy without it; if the question had it, never found by meaning
 *   refuse   not stored
 *
 * Looked at is all that would be kept: question, answer (strings within it, arguments of tools),
 * metadata, namespace, tags, model and provider. The strictest rule of what was found holds; names
 * by which entries are looked up (namespace, tags, a plain key) cannot be redacted: redact is
 * refuse there. What could not be looked at to its end (a limit, memory) is as if every class had
 * been found, and is not redacted but refused.
 *
 * Who asked has the answer as it came; later hits get the stored copy, as it was stored (trust-I4).
 * Threads: any; a worker where texts are long.
 */
#ifndef DJ_CACHE_SENSITIVE_H
#define DJ_CACHE_SENSITIVE_H

#include <deja/base.h>

#include "base/arena.h"
#include "base/buf.h"
#include "cache/engine.h"
#include "proto/json.h"
#include "proto/record.h"
#include "security/detector.h"
#include "security/rules.h"

/* Zeroed: nothing was found. */
struct dj_sensitive_verdict {
    bool is_refused;
    bool is_redacted;       /* the texts below take the places of the entry's */
    bool is_query_redacted; /* not indexed by meaning */
    bool is_sealed_only;
    unsigned classes;   /* bits of what was found */
    const char *reason; /* "sensitive-secret", …: constant; NULL: nothing was found */
    struct dj_buf query;
    struct dj_buf body;
    struct dj_buf metadata; /* says "redacted":true, if it is an object */
};
void dj_sensitive_fini(struct dj_sensitive_verdict *verdict);

/* "secret", "card", "identity", "contact": constant. */
const char *dj_sensitive_class_text(enum dj_sensitive_class class);

/* Classes whose rule is not allow: there is something to look for. */
unsigned dj_sensitive_classes(const struct dj_rules_values *rules);

/* detector NULL: nothing is found. body: entry->body parsed, or NULL: it is, if its kind is JSON.
 * *out_verdict is overwritten; ended with dj_sensitive_fini. */
void dj_sensitive_judge(const struct dj_detector *detector, const struct dj_rules_values *rules,
                        const struct dj_entry *entry, const struct dj_json *body,
                        struct dj_sensitive_verdict *out_verdict);
/* A text that is kept in another form (the input of a vector): nothing to redact, so redact is
 * refuse. text: its JSON. Adds to verdict. */
void dj_sensitive_judge_source(const struct dj_detector *detector,
                               const struct dj_rules_values *rules, const struct dj_json *text,
                               struct dj_sensitive_verdict *verdict);

/* After a verdict that does not refuse: entry (texts borrowed from verdict) and options as it wants
 * them. sealed_levels: bits of the levels below memory that seal. */
void dj_sensitive_apply(const struct dj_sensitive_verdict *verdict, uint32_t sealed_levels,
                        struct dj_entry *entry, struct dj_put_options *options);

/* The first member of a redacted copy's metadata. */
#define DJ_SENSITIVE_REDACTED "\"redacted\":true"
/* Is the entry a redacted copy? */
bool dj_sensitive_is_redacted(const struct dj_entry *entry);

/* Makes metadata of a plain value (a JSON object, or empty) say so too: of a redacted copy, and of
 * one that is kept only where it is sealed (DJ_PLAIN_SEALED_ONLY), because who changes or copies
 * the value later does not look at it again. *metadata is overwritten, in the arena. Metadata that
 * is no object stays as it is; DEJA_ERR_DENIED if it would have had to say sealed only.
 * DEJA_ERR_NOMEM. */
enum deja_status dj_sensitive_mark(struct dj_arena *arena, bool is_redacted, bool is_sealed_only,
                                   struct deja_slice *metadata) DEJA_NODISCARD;

#endif
