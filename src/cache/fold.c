/* cache/fold.c - volatile tokens of system prompts: times, dates, UUIDs, request ids.
 *
 * A prompt that says "Current time: 10:31:07" makes every request a new scope. The scan is one pass
 * over each system text, no regular expressions, linear in its length. What is found is replaced
 * by the token's kind, so two prompts that differ only there become equal.
 */
#include "base/buf.h"
#include "base/slice.h"
#include "cache/key.h"

struct scan {
    struct deja_slice text;
    size_t at;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

/* The pattern's length when text at `at` has its shape: 9 a digit, # a hex digit, else itself. */
static size_t match_shape(struct deja_slice text, size_t at, const char *shape)
{
    size_t len = strlen(shape);
    if (text.len - at < len)
        return 0;
    for (size_t i = 0; i < len; i++) {
        char c = text.data[at + i];
        bool is_same = shape[i] == '9' ? is_digit(c) : shape[i] == '#' ? is_hex(c) : c == shape[i];
        if (!is_same)
            return 0;
    }
    return len;
}

static size_t match_first(struct deja_slice text, size_t at, const char *const *shapes)
{
    for (; *shapes; shapes++) {
        size_t len = match_shape(text, at, *shapes);
        if (len)
            return len;
    }
    return 0;
}

static size_t match_uuid(struct deja_slice text, size_t at)
{
    return match_shape(text, at, "########-####-####-####-############");
}

static size_t match_month_date(struct deja_slice text, size_t at)
{
    static const char *const months[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
    for (size_t i = 0; i < sizeof months / sizeof *months; i++) {
        size_t name = match_shape(text, at, months[i]);
        if (!name)
            continue;
        static const char *const rest[] = {" 99, 9999", " 9, 9999", " 99 9999", " 9 9999", NULL};
        size_t len = match_first(text, at + name, rest);
        return len ? name + len : 0;
    }
    return 0;
}

static size_t match_date(struct deja_slice text, size_t at)
{
    static const char *const shapes[] = {"9999-99-99", "9999/99/99", "99.99.9999",
                                         "99/99/9999", "9/99/9999",  NULL};
    size_t len = match_first(text, at, shapes);
    return len ? len : match_month_date(text, at);
}

/* hh:mm, then seconds, a fraction, a zone or AM/PM where they follow. */
static size_t match_time(struct deja_slice text, size_t at)
{
    static const char *const clocks[] = {"99:99:99", "9:99:99", "99:99", "9:99", NULL};
    static const char *const zones[] = {"Z",   "+99:99", "-99:99", " UTC", " GMT", " AM",
                                        " PM", " am",    " pm",    "AM",   "PM",   NULL};
    size_t len = match_first(text, at, clocks);
    if (!len)
        return 0;
    if (at + len + 1 < text.len && text.data[at + len] == '.' && is_digit(text.data[at + len + 1]))
        for (len++; at + len < text.len && is_digit(text.data[at + len]);)
            len++;
    return len + match_first(text, at + len, zones);
}

/* req_…, request-…, trace-… with at least eight characters, or 24 and more hex digits alone. */
static size_t match_request_id(struct deja_slice text, size_t at)
{
    static const char *const heads[] = {"req_",     "req-",   "request_", "request-",
                                        "trace_",   "trace-", "sess_",    "session_",
                                        "session-", "run_",   "msg_",     NULL};
    size_t head = match_first(text, at, heads);
    size_t len = head;
    while (at + len < text.len && (head ? is_word(text.data[at + len]) || text.data[at + len] == '-'
                                        : is_hex(text.data[at + len])))
        len++;
    return len >= (head ? head + 8 : 24) ? len : 0;
}

static size_t match_any(struct scan *scan, unsigned fold, unsigned *out_kind)
{
    static const struct {
        unsigned kind;
        size_t (*match)(struct deja_slice text, size_t at);
    } kinds[] = {{DJ_FOLD_UUID, match_uuid},
                 {DJ_FOLD_REQUEST_ID, match_request_id},
                 {DJ_FOLD_DATE, match_date},
                 {DJ_FOLD_TIME, match_time}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!(fold & kinds[i].kind))
            continue;
        size_t len = kinds[i].match(scan->text, scan->at);
        size_t end = scan->at + len;
        if (len && (end == scan->text.len || !is_word(scan->text.data[end]) ||
                    (kinds[i].kind == DJ_FOLD_DATE && scan->text.data[end] == 'T'))) {
            *out_kind = kinds[i].kind;
            return len;
        }
    }
    return 0;
}

static const char *kind_text(unsigned kind)
{
    return kind == DJ_FOLD_UUID   ? "<uuid>"
           : kind == DJ_FOLD_TIME ? "<time>"
           : kind == DJ_FOLD_DATE ? "<date>"
                                  : "<id>";
}

/* Appends text with its volatile tokens replaced; returns the kinds met. */
static unsigned fold_text(struct deja_slice text, unsigned fold, struct dj_buf *out)
{
    struct scan scan = {.text = text};
    unsigned met = 0;
    while (scan.at < text.len) {
        char before = scan.at ? text.data[scan.at - 1] : ' ';
        bool is_start = !is_word(before) || (before == 'T' && (met & DJ_FOLD_DATE));
        unsigned kind = 0;
        size_t len = is_start && text.data[scan.at] != ' ' ? match_any(&scan, fold, &kind) : 0;
        if (len) {
            dj_buf_append_text(out, kind_text(kind));
            met |= kind;
            scan.at += len;
        } else {
            dj_buf_append_byte(out, text.data[scan.at++]);
        }
    }
    return met;
}

static bool is_system(const struct dj_json *message)
{
    struct deja_slice role = dj_json_string(dj_json_get(message, "role"));
    return dj_slice_is(role, "system") || dj_slice_is(role, "developer");
}

/* A part of a content: its text member is folded. */
static unsigned fold_part(struct dj_json_writer *w, const struct dj_json *part, unsigned fold,
                          struct dj_buf *scratch)
{
    unsigned met = 0;
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(part); dj_json_walk_next(&m);) {
        dj_json_key_slice(w, m.key);
        if (dj_slice_is(m.key, "text") && dj_json_is(m.value, DJ_JSON_STRING)) {
            dj_buf_clear(scratch);
            met |= fold_text(dj_json_string(m.value), fold, scratch);
            dj_json_put_string(w, dj_buf_slice(scratch));
        } else {
            dj_json_put_value(w, m.value);
        }
    }
    dj_json_end_object(w);
    return met;
}

/* A string; or an array, of which the parts that are text are folded. */
static unsigned fold_content(struct dj_json_writer *w, const struct dj_json *content, unsigned fold,
                             struct dj_buf *scratch)
{
    unsigned met = 0;
    if (dj_json_is(content, DJ_JSON_STRING)) {
        dj_buf_clear(scratch);
        met = fold_text(dj_json_string(content), fold, scratch);
        dj_json_put_string(w, dj_buf_slice(scratch));
        return met;
    }
    if (!dj_json_is(content, DJ_JSON_ARRAY)) {
        dj_json_put_value(w, content);
        return 0;
    }
    dj_json_begin_array(w);
    for (struct dj_json_walk part = dj_json_walk(content); dj_json_walk_next(&part);) {
        struct deja_slice type = dj_json_string(dj_json_get(part.value, "type"));
        if (dj_slice_is(type, "text") || dj_slice_is(type, "input_text"))
            met |= fold_part(w, part.value, fold, scratch);
        else
            dj_json_put_value(w, part.value);
    }
    dj_json_end_array(w);
    return met;
}

static unsigned fold_message(struct dj_json_writer *w, const struct dj_json *message, unsigned fold,
                             struct dj_buf *scratch)
{
    unsigned met = 0;
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(message); dj_json_walk_next(&m);) {
        dj_json_key_slice(w, m.key);
        if (dj_slice_is(m.key, "content"))
            met |= fold_content(w, m.value, fold, scratch);
        else
            dj_json_put_value(w, m.value);
    }
    dj_json_end_object(w);
    return met;
}

static unsigned fold_turns(struct dj_json_writer *w, const struct dj_json *turns, unsigned fold,
                           struct dj_buf *scratch)
{
    unsigned met = 0;
    dj_json_begin_array(w);
    for (struct dj_json_walk turn = dj_json_walk(turns); dj_json_walk_next(&turn);) {
        if (is_system(turn.value))
            met |= fold_message(w, turn.value, fold, scratch);
        else
            dj_json_put_value(w, turn.value);
    }
    dj_json_end_array(w);
    return met;
}

static bool is_name(struct deja_slice name, const char *one, const char *other)
{
    return dj_slice_is(name, one) || dj_slice_is(name, other);
}

enum deja_status dj_key_fold(const struct dj_json *root, unsigned fold, struct dj_arena *arena,
                             struct deja_slice *out_body, unsigned *out_kinds)
{
    struct dj_buf body = {0};
    struct dj_buf scratch = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    unsigned met = 0;
    dj_json_begin_object(&w);
    for (struct dj_json_walk m = dj_json_walk(root); dj_json_walk_next(&m);) {
        dj_json_key_slice(&w, m.key);
        if (is_name(m.key, "messages", "input") && dj_json_is(m.value, DJ_JSON_ARRAY))
            met |= fold_turns(&w, m.value, fold, &scratch);
        else if (is_name(m.key, "system", "instructions"))
            met |= fold_content(&w, m.value, fold, &scratch);
        else
            dj_json_put_value(&w, m.value);
    }
    dj_json_end_object(&w);
    enum deja_status status = body.status != DEJA_OK ? body.status
                              : met                  ? scratch.status
                                                     : DEJA_ERR_NOT_FOUND;
    if (status == DEJA_OK) {
        struct deja_slice copy = dj_arena_copy(arena, dj_buf_slice(&body));
        status = copy.data ? DEJA_OK : DEJA_ERR_NOMEM;
        if (copy.data) {
            *out_body = copy;
            if (out_kinds)
                *out_kinds = met;
        }
    }
    dj_buf_fini(&body);
    dj_buf_fini(&scratch);
    return status;
}
