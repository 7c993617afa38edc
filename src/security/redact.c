/* security/redact.c - see redact.h. */
#include "security/redact.h"

#define NAME_BYTES_MAX 64u    /* of a name that is looked for */
#define SECRET_BYTES_MAX 400u /* what follows a name and is longer is a text, not a secret */
#define NESTED_MAX 4u         /* JSON in a string in JSON … */

/* ---- names ---- */

static char folded(char c)
{
    if (c == '-')
        return '_';
    return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
}

bool dj_redact_is_name(struct deja_slice name)
{
    static const char *const parts[] = {"api_key",       "apikey",      "password",
                                        "passwd",        "pwd",         "secret",
                                        "token",         "private_key", "ssn",
                                        "credit_card",   "card_number", "social_security_number",
                                        "authorization", "cookie"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t len = strlen(parts[i]);
        for (size_t at = 0; at + len <= name.len; at++) {
            size_t same = 0;
            while (same < len && folded(name.data[at + same]) == parts[i][same])
                same++;
            if (same == len)
                return true;
        }
    }
    return false;
}

/* ---- texts ---- */

void dj_redact_spans(struct deja_slice text, const struct dj_findings *findings, struct dj_buf *out)
{
    size_t done = 0;
    for (size_t i = 0; i < findings->count; i++) {
        const struct dj_sensitive_span *span = &findings->spans[i];
        size_t end = span->offset + span->len;
        if (i == 0 || span->offset > done) {
            dj_buf_append(out, text.data + done, span->offset - done);
            dj_buf_append_text(out, DJ_REDACTED);
        }
        if (end > done)
            done = end;
    }
    dj_buf_append(out, text.data + done, text.len - done);
}

enum deja_status dj_redact_text(const struct dj_detector *detector, unsigned classes,
                                struct deja_slice text, struct dj_findings *findings,
                                struct dj_buf *out)
{
    enum deja_status status = dj_detector_scan(detector, classes, text, findings);
    if (status == DEJA_OK && out) {
        dj_redact_spans(text, findings, out);
        status = out->status;
    }
    return status;
}

void dj_redact_log(void *detector, const char *name, struct deja_slice text, struct dj_buf *out)
{
    struct dj_findings findings = {0};
    bool is_hidden = name && dj_redact_is_name(deja_slice_text(name));
    if (!is_hidden && dj_detector_scan(detector, DJ_SENSITIVE_ALL | DJ_SENSITIVE_NAMED, text,
                                       &findings) != DEJA_OK)
        is_hidden = true;
    if (is_hidden || findings.is_limited)
        dj_buf_append_text(out, DJ_REDACTED);
    else
        dj_redact_spans(text, &findings, out);
    dj_findings_fini(&findings);
}

/* ---- JSON ---- */

struct walk {
    const struct dj_detector *detector;
    unsigned classes;
    struct dj_findings *findings;
    uint32_t depth;  /* of JSON within strings */
    uint32_t hidden; /* member names that were replaced: they must stay different */
    enum deja_status status;
};

/* w NULL, here and below: looks only. */
static void walk_value(struct walk *walk, struct deja_slice name, const struct dj_json *value,
                       struct dj_json_writer *w);

static bool look(struct walk *walk, struct deja_slice text)
{
    enum deja_status status = dj_detector_scan(walk->detector, walk->classes, text, walk->findings);
    if (status != DEJA_OK && walk->status == DEJA_OK)
        walk->status = status;
    return walk->findings->count > 0;
}

/* Is all of value told to be sensitive by the member's name? They are put together as rules want
 * them, "name":"value"; what would end the value there is made harmless. */
static bool is_told_by_name(struct walk *walk, struct deja_slice name, struct deja_slice value)
{
    char text[NAME_BYTES_MAX + SECRET_BYTES_MAX + 8];
    size_t len = 0;
    if (!name.len || !value.len || value.len > SECRET_BYTES_MAX)
        return false;
    if (name.len > NAME_BYTES_MAX)
        name = deja_slice(name.data + name.len - NAME_BYTES_MAX, NAME_BYTES_MAX);
    text[len++] = '"';
    memcpy(text + len, name.data, name.len);
    len += name.len;
    memcpy(text + len, "\":\"", 3);
    len += 3;
    size_t start = len;
    for (size_t i = 0; i < value.len; i++)
        text[len++] = memchr("\"\\\r\n", value.data[i], 4) ? '#' : value.data[i];
    text[len++] = '"';
    struct dj_findings before = *walk->findings;
    look(walk, deja_slice(text, len));
    for (size_t i = 0; i < walk->findings->count; i++) {
        const struct dj_sensitive_span *span = &walk->findings->spans[i];
        if (span->offset == start && span->len == value.len)
            return true;
    }
    /* Parts of it are found once more, where they lie. */
    walk->findings->classes = before.classes;
    walk->findings->rule = before.rule;
    return false;
}

/* False: it is no JSON. */
static bool walk_nested(struct walk *walk, struct deja_slice text, struct dj_json_writer *w)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf inside = {0};
    if (walk->depth == NESTED_MAX || text.len < 2 || (text.data[0] != '{' && text.data[0] != '['))
        return false;
    enum deja_status status = dj_json_parse(text, &doc, NULL);
    if (status == DEJA_ERR_NOMEM)
        walk->status = status;
    if (status != DEJA_OK)
        return false;
    unsigned classes = walk->findings->classes;
    walk->depth++;
    struct dj_json_writer inner = dj_json_writer(&inside);
    walk->findings->classes = 0;
    walk_value(walk, deja_slice(NULL, 0), dj_json_root(doc), w ? &inner : NULL);
    walk->depth--;
    if (inside.status != DEJA_OK)
        walk->status = inside.status;
    /* Untouched if there was nothing: white space and the like stay as they were. */
    if (w)
        dj_json_put_string(w, walk->findings->classes ? dj_buf_slice(&inside) : text);
    walk->findings->classes |= classes;
    dj_buf_fini(&inside);
    dj_json_doc_destroy(doc);
    return true;
}

static void walk_string(struct walk *walk, struct deja_slice name, struct deja_slice text,
                        struct dj_json_writer *w)
{
    struct dj_buf seen = {0};
    if (walk_nested(walk, text, w))
        return;
    if (is_told_by_name(walk, name, text)) {
        if (w)
            dj_json_put_text(w, DJ_REDACTED);
        return;
    }
    bool is_found = look(walk, text);
    if (!w)
        return;
    if (is_found)
        dj_redact_spans(text, walk->findings, &seen);
    if (seen.status != DEJA_OK)
        walk->status = seen.status;
    dj_json_put_string(w, is_found ? dj_buf_slice(&seen) : text);
    dj_buf_fini(&seen);
}

static void walk_number(struct walk *walk, struct deja_slice name, const struct dj_json *value,
                        struct dj_json_writer *w)
{
    struct deja_slice text = dj_json_number_text(value);
    bool is_found = is_told_by_name(walk, name, text) || look(walk, text);
    if (w && is_found)
        dj_json_put_text(w, DJ_REDACTED);
    else if (w)
        dj_json_put_value(w, value);
}

static void walk_name(struct walk *walk, struct deja_slice name, struct dj_json_writer *w)
{
    struct dj_buf shown = {0};
    if (!look(walk, name)) {
        if (w)
            dj_json_key_slice(w, name);
        return;
    }
    dj_buf_append_text(&shown, DJ_REDACTED);
    if (walk->hidden)
        dj_buf_append_format(&shown, " %u", walk->hidden + 1);
    walk->hidden++;
    if (shown.status != DEJA_OK)
        walk->status = shown.status;
    if (w)
        dj_json_key_slice(w, dj_buf_slice(&shown));
    dj_buf_fini(&shown);
}

static void walk_value(struct walk *walk, struct deja_slice name, const struct dj_json *value,
                       struct dj_json_writer *w)
{
    bool is_object = dj_json_is(value, DJ_JSON_OBJECT);
    if (dj_json_is(value, DJ_JSON_STRING)) {
        walk_string(walk, name, dj_json_string(value), w);
    } else if (dj_json_is(value, DJ_JSON_NUMBER)) {
        walk_number(walk, name, value, w);
    } else if (!is_object && !dj_json_is(value, DJ_JSON_ARRAY)) {
        if (w)
            dj_json_put_value(w, value);
    } else {
        if (w && is_object)
            dj_json_begin_object(w);
        else if (w)
            dj_json_begin_array(w);
        for (struct dj_json_walk m = dj_json_walk(value); dj_json_walk_next(&m);) {
            if (is_object)
                walk_name(walk, m.key, w);
            walk_value(walk, is_object ? m.key : name, m.value, w);
        }
        if (w && is_object)
            dj_json_end_object(w);
        else if (w)
            dj_json_end_array(w);
    }
}

enum deja_status dj_redact_json(const struct dj_detector *detector, unsigned classes,
                                const struct dj_json *value, struct dj_findings *findings,
                                struct dj_buf *out)
{
    struct walk walk = {.detector = detector, .classes = classes, .findings = findings};
    struct dj_json_writer w = dj_json_writer(out);
    walk_value(&walk, deja_slice(NULL, 0), value, out ? &w : NULL);
    return walk.status == DEJA_OK && out ? out->status : walk.status;
}
