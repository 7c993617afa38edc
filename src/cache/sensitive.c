/* cache/sensitive.c - see sensitive.h. Trust: entries are untrusted. */
#include "cache/sensitive.h"

#include "base/slice.h"
#include "cache/plain.h"
#include "security/redact.h"

#define MARK "{" DJ_SENSITIVE_REDACTED

struct look {
    const struct dj_detector *detector;
    const struct dj_rules_values *rules;
    unsigned classes;
    unsigned named; /* found in what entries are looked up by */
    unsigned query; /* found in the question */
    struct dj_findings findings;
    enum deja_status status;
};

const char *dj_sensitive_class_text(enum dj_sensitive_class class)
{
    static const char *const texts[] = {"secret", "card", "identity", "contact"};
    return texts[class];
}

static const char *reason_text(enum dj_sensitive_class class)
{
    static const char *const texts[] = {"sensitive-secret", "sensitive-card", "sensitive-identity",
                                        "sensitive-contact"};
    return texts[class];
}

unsigned dj_sensitive_classes(const struct dj_rules_values *rules)
{
    unsigned classes = 0;
    for (unsigned i = 0; i < DJ_SENSITIVE_CLASS_COUNT; i++)
        if (rules->sensitive[i] != DJ_SENSITIVE_ALLOW)
            classes |= DJ_SENSITIVE_BIT(i);
    return classes;
}

void dj_sensitive_fini(struct dj_sensitive_verdict *verdict)
{
    dj_buf_fini(&verdict->query);
    dj_buf_fini(&verdict->body);
    dj_buf_fini(&verdict->metadata);
    *verdict = (struct dj_sensitive_verdict){.is_refused = false};
}

static void note(struct look *look, enum deja_status status)
{
    if (look->status == DEJA_OK)
        look->status = status;
}

static void look_at(struct look *look, struct deja_slice text)
{
    note(look, dj_redact_text(look->detector, look->classes, text, &look->findings, NULL));
}

static void look_at_json(struct look *look, const struct dj_json *value)
{
    note(look, dj_redact_json(look->detector, look->classes, value, &look->findings, NULL));
}

/* A plain value and what a program put may be JSON, or any bytes. */
static bool is_json_kind(const struct dj_entry *entry)
{
    return entry->kind == DJ_ENTRY_CHAT || entry->kind == DJ_ENTRY_API ||
           entry->kind == DJ_ENTRY_NEGATIVE || entry->kind == DJ_ENTRY_PLAIN ||
           entry->kind == DJ_ENTRY_BYTES;
}

/* What is not JSON is looked at as the bytes it is. */
static void look_at_bytes(struct look *look, struct deja_slice bytes)
{
    struct dj_json_doc *doc = NULL;
    enum deja_status status = bytes.len ? dj_json_parse(bytes, &doc, NULL) : DEJA_ERR_INVALID;
    if (status == DEJA_OK)
        look_at_json(look, dj_json_root(doc));
    else if (status == DEJA_ERR_NOMEM)
        note(look, status);
    else
        look_at(look, bytes);
    dj_json_doc_destroy(doc);
}

/* Finds of the part that is looked at next are told apart from those before. */
static unsigned begin_part(struct look *look)
{
    unsigned before = look->findings.classes;
    look->findings.classes = 0;
    return before;
}

static unsigned end_part(struct look *look, unsigned before)
{
    unsigned found = look->findings.classes;
    look->findings.classes |= before;
    return found;
}

static void look_at_entry(struct look *look, const struct dj_entry *entry,
                          const struct dj_json *body)
{
    unsigned before = begin_part(look);
    look_at(look, entry->name_space);
    look_at(look, entry->model);
    if (entry->kind == DJ_ENTRY_API) /* otherwise it is the upstream's address */
        look_at(look, entry->provider);
    for (size_t i = 0; i < entry->tag_count; i++)
        look_at(look, entry->tags[i].name);
    if (entry->kind == DJ_ENTRY_PLAIN)
        look_at(look, entry->query);
    look->named = end_part(look, before);
    before = begin_part(look);
    if (entry->kind != DJ_ENTRY_PLAIN)
        look_at(look, entry->query);
    look->query = end_part(look, before);
    if (body)
        look_at_json(look, body);
    else if (is_json_kind(entry))
        look_at_bytes(look, entry->body);
    if (entry->metadata.len)
        look_at_bytes(look, entry->metadata);
}

/* ---- the verdict ---- */

/* Classes that were found and whose rule is that one. */
static unsigned ruled(const struct look *look, unsigned found, enum dj_sensitive_policy policy)
{
    unsigned classes = 0;
    for (unsigned i = 0; i < DJ_SENSITIVE_CLASS_COUNT; i++)
        if ((found & DJ_SENSITIVE_BIT(i)) && look->rules->sensitive[i] == policy)
            classes |= DJ_SENSITIVE_BIT(i);
    return classes;
}

static void refuse(struct dj_sensitive_verdict *verdict, const char *reason)
{
    verdict->is_refused = true;
    verdict->is_redacted = false;
    verdict->is_query_redacted = false;
    verdict->reason = reason;
}

static const char *first_reason(unsigned classes)
{
    for (unsigned i = 0; i < DJ_SENSITIVE_CLASS_COUNT; i++)
        if (classes & DJ_SENSITIVE_BIT(i))
            return reason_text((enum dj_sensitive_class)i);
    return NULL;
}

/* Something may have been overlooked: the strictest rule of all that was asked for holds. */
static void judge_unseen(struct look *look, struct dj_sensitive_verdict *verdict)
{
    bool is_strict = ruled(look, look->classes, DJ_SENSITIVE_REFUSE) ||
                     ruled(look, look->classes, DJ_SENSITIVE_REDACT);
    verdict->classes = look->classes;
    verdict->is_sealed_only = true;
    verdict->reason = look->status == DEJA_OK ? "sensitive-limit" : "sensitive-memory";
    if (is_strict)
        refuse(verdict, verdict->reason);
}

/* ---- the copy ---- */

/* Or nothing yet; a program's own may be any bytes. */
static bool is_object(struct deja_slice metadata)
{
    return metadata.len == 0 || (metadata.data[0] == '{' && metadata.data[metadata.len - 1] == '}');
}

/* The kept metadata with the mark in front: {"redacted":true,…}. */
static void put_metadata(struct deja_slice metadata, struct dj_buf *out)
{
    if (!is_object(metadata)) {
        dj_buf_append_slice(out, metadata);
        return;
    }
    dj_buf_append_text(out, MARK);
    if (metadata.len > 2) {
        dj_buf_append_byte(out, ',');
        dj_buf_append(out, metadata.data + 1, metadata.len - 1);
    } else {
        dj_buf_append_byte(out, '}');
    }
}

static enum deja_status redact_json(struct look *look, struct deja_slice bytes,
                                    const struct dj_json *value, unsigned classes,
                                    struct dj_buf *out)
{
    struct dj_json_doc *doc = NULL;
    enum deja_status status = value ? DEJA_OK : dj_json_parse(bytes, &doc, NULL);
    if (status == DEJA_OK)
        status = dj_redact_json(look->detector, classes, value ? value : dj_json_root(doc),
                                &look->findings, out);
    else if (status != DEJA_ERR_NOMEM)
        status = dj_redact_text(look->detector, classes, bytes, &look->findings, out);
    dj_json_doc_destroy(doc);
    return status;
}

static enum deja_status redact(struct look *look, const struct dj_entry *entry,
                               const struct dj_json *body, unsigned classes,
                               struct dj_sensitive_verdict *verdict)
{
    struct dj_buf metadata = {0};
    enum deja_status status =
        dj_redact_text(look->detector, classes, entry->query, &look->findings, &verdict->query);
    if (status == DEJA_OK && is_json_kind(entry))
        status = redact_json(look, entry->body, body, classes, &verdict->body);
    else if (status == DEJA_OK)
        dj_buf_append_slice(&verdict->body, entry->body);
    if (status == DEJA_OK && entry->metadata.len)
        status = redact_json(look, entry->metadata, NULL, classes, &metadata);
    put_metadata(dj_buf_slice(&metadata), &verdict->metadata);
    dj_buf_fini(&metadata);
    if (status == DEJA_OK)
        status = verdict->body.status;
    return status == DEJA_OK ? verdict->metadata.status : status;
}

void dj_sensitive_judge(const struct dj_detector *detector, const struct dj_rules_values *rules,
                        const struct dj_entry *entry, const struct dj_json *body,
                        struct dj_sensitive_verdict *out_verdict)
{
    struct look look = {
        .detector = detector, .rules = rules, .classes = dj_sensitive_classes(rules)};
    *out_verdict = (struct dj_sensitive_verdict){.is_refused = false};
    if (!detector || !look.classes)
        return;
    look_at_entry(&look, entry, body);
    unsigned found = look.findings.classes;
    unsigned redacted = ruled(&look, found, DJ_SENSITIVE_REDACT);
    if (look.status != DEJA_OK || look.findings.is_limited) {
        judge_unseen(&look, out_verdict);
    } else if (found) {
        unsigned refused = ruled(&look, found, DJ_SENSITIVE_REFUSE) | (redacted & look.named);
        out_verdict->classes = found;
        out_verdict->reason = first_reason(refused ? refused : found);
        out_verdict->is_sealed_only = ruled(&look, found, DJ_SENSITIVE_ENCRYPT) != 0;
        out_verdict->is_redacted = redacted != 0;
        out_verdict->is_query_redacted = (redacted & look.query) != 0;
        if (refused)
            refuse(out_verdict, out_verdict->reason);
        else if (redacted && redact(&look, entry, body, redacted, out_verdict) != DEJA_OK)
            refuse(out_verdict, "sensitive-memory");
    }
    dj_findings_fini(&look.findings);
}

void dj_sensitive_judge_source(const struct dj_detector *detector,
                               const struct dj_rules_values *rules, const struct dj_json *text,
                               struct dj_sensitive_verdict *verdict)
{
    struct look look = {
        .detector = detector, .rules = rules, .classes = dj_sensitive_classes(rules)};
    if (!detector || !look.classes)
        return;
    look_at_json(&look, text);
    unsigned found = look.findings.classes;
    unsigned refused =
        ruled(&look, found, DJ_SENSITIVE_REFUSE) | ruled(&look, found, DJ_SENSITIVE_REDACT);
    if (look.status != DEJA_OK || look.findings.is_limited) {
        judge_unseen(&look, verdict);
    } else if (found) {
        verdict->classes |= found;
        verdict->is_sealed_only = true;
        verdict->reason = first_reason(refused ? refused : found);
        if (refused)
            refuse(verdict, verdict->reason);
    }
    dj_findings_fini(&look.findings);
}

void dj_sensitive_apply(const struct dj_sensitive_verdict *verdict, uint32_t sealed_levels,
                        struct dj_entry *entry, struct dj_put_options *options)
{
    if (verdict->is_sealed_only)
        options->skip |= ~(DJ_LEVEL_BIT(DJ_LEVEL_MEMORY) | sealed_levels);
    if (!verdict->is_redacted)
        return;
    entry->query = dj_buf_slice(&verdict->query);
    entry->body = dj_buf_slice(&verdict->body);
    entry->metadata = dj_buf_slice(&verdict->metadata);
    if (verdict->is_query_redacted) {
        memset(entry->scope, 0, sizeof entry->scope);
        options->is_semantic = false;
        options->vector = NULL;
    }
}

bool dj_sensitive_is_redacted(const struct dj_entry *entry)
{
    return entry->metadata.len >= sizeof MARK - 1 &&
           memcmp(entry->metadata.data, MARK, sizeof MARK - 1) == 0;
}

/* ---- what metadata says of it ---- */

static bool add_member(struct dj_arena *arena, const char *member, bool is_first,
                       struct deja_slice *metadata)
{
    size_t len = strlen(member);
    struct deja_slice kept = deja_slice("", 0);
    if (metadata->len > 2) /* without its braces */
        kept = deja_slice(metadata->data + 1, metadata->len - 2);
    size_t comma = kept.len > 0;
    char *text = dj_arena_alloc(arena, kept.len + comma + len + 2);
    if (!text)
        return false;
    size_t at = is_first ? 1 : 1 + kept.len + comma;
    size_t kept_at = is_first ? 1 + len + comma : 1;
    if (comma)
        text[is_first ? 1 + len : 1 + kept.len] = ',';
    memcpy(text + at, member, len);
    memcpy(text + kept_at, kept.data, kept.len);
    text[0] = '{';
    text[kept.len + comma + len + 1] = '}';
    *metadata = deja_slice(text, kept.len + comma + len + 2);
    return true;
}

enum deja_status dj_sensitive_mark(struct dj_arena *arena, bool is_redacted, bool is_sealed_only,
                                   struct deja_slice *metadata)
{
    if (!is_object(*metadata))
        return is_sealed_only ? DEJA_ERR_DENIED : DEJA_OK;
    const struct dj_entry now = {.metadata = *metadata};
    struct deja_slice marked = *metadata;
    if (is_sealed_only && !dj_slice_contains(marked, DJ_PLAIN_SEALED_ONLY) &&
        !add_member(arena, DJ_PLAIN_SEALED_ONLY, false, &marked))
        return DEJA_ERR_NOMEM;
    if (is_redacted && !dj_sensitive_is_redacted(&now) &&
        !add_member(arena, DJ_SENSITIVE_REDACTED, true, &marked))
        return DEJA_ERR_NOMEM;
    *metadata = marked;
    return DEJA_OK;
}
