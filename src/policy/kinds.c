/* policy/kinds.c - the table made, and keys and names looked up in it. See kinds.h.
 *
 * Patterns stand sorted by their first byte beside the rows: most keys are told to be of no kind
 * without a comparison, the others after a few.
 */
#include "policy/kinds_internal.h"

#include "base/alloc.h"
#include "base/num.h"
#include "policy/glob.h"

#define TEXT_BYTES_MAX (1u << 20) /* of all rows */

static const char *const levels[DJ_KIND_LEVEL_COUNT] = {"l1", "disk", "l2", "postgres", "s3"};

const char *dj_kind_level_text(enum dj_kind_level level)
{
    return levels[level];
}

/* ---- making ---- */

static bool split(struct deja_slice text, char separator, struct dj_kind_texts *out_texts)
{
    *out_texts = (struct dj_kind_texts){.count = 0};
    for (size_t start = 0, at = 0; at <= text.len; at++) {
        if (at < text.len && text.data[at] != separator)
            continue;
        if (at > start) {
            if (out_texts->count == DJ_KIND_LIST_MAX)
                return false;
            out_texts->items[out_texts->count++] = deja_slice(text.data + start, at - start);
        }
        start = at + 1;
    }
    return true;
}

/* At the end of the rows; NULL: there is no room, or no memory for its name. */
static struct dj_kind *add_row(struct dj_kinds *kinds, struct deja_slice name)
{
    struct deja_slice copy = dj_arena_copy(&kinds->arena, name);
    if (!copy.data || kinds->count == DJ_KINDS_MAX)
        return NULL;
    struct dj_kind *kind = &kinds->rows[kinds->count];
    *kind = (struct dj_kind){.name = copy,
                             .family = deja_slice_text("own"),
                             .levels = (1u << DJ_KIND_LEVEL_COUNT) - 1,
                             .threshold = 0.85,
                             .limit = 4,
                             .index = (uint32_t)kinds->count};
    kinds->count++;
    return kind;
}

static enum deja_status add_shipped(struct dj_kinds *kinds, const struct dj_kind_shipped *row)
{
    const struct {
        const char *name;
        const char *text;
    } members[] = {{"patterns", row->patterns},
                   {"tags", row->tags},
                   {"events", row->events},
                   {"parts", row->parts},
                   {"ignore", row->ignored},
                   {"ttl", row->ttl},
                   {"l1", row->l1},
                   {"disk", row->disk},
                   {"l2", row->l2},
                   {"postgres", row->postgres},
                   {"s3", row->s3},
                   {"sliding", row->sliding},
                   {"semantic", row->semantic},
                   {"threshold", row->threshold},
                   {"limit", row->limit}};
    struct dj_kind *kind = add_row(kinds, deja_slice_text(row->name));
    if (!kind)
        return DEJA_ERR_NOMEM;
    kind->is_shipped = true;
    kind->family = deja_slice_text(row->family);
    kind->help = deja_slice_text(row->help);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        struct dj_kind_texts values;
        if (!members[i].text)
            continue;
        if (!split(deja_slice_text(members[i].text), ' ', &values))
            return DEJA_ERR_LIMIT;
        enum deja_status status =
            dj_kind_set(kinds, kind, deja_slice_text(members[i].name), &values, NULL);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

static struct dj_kind *find_row(const struct dj_kinds *kinds, struct deja_slice name)
{
    for (size_t i = 0; i < kinds->count; i++)
        if (deja_slice_is_equal(kinds->rows[i].name, name))
            return &kinds->rows[i];
    return NULL;
}

static enum deja_status apply(struct dj_kinds *kinds, const struct dj_kind_setting *setting,
                              struct deja_error *error)
{
    struct dj_kind_texts values = {.items = {setting->value}, .count = 1};
    struct dj_kind *kind = find_row(kinds, setting->kind);
    if (setting->is_list && !split(setting->value, '\n', &values))
        return deja_error_set(error, DEJA_ERR_CONFIG, "takes up to %u items", DJ_KIND_LIST_MAX);
    if (!kind && kinds->count == DJ_KINDS_MAX)
        return deja_error_set(error, DEJA_ERR_CONFIG, "is one kind too many: %u are the most",
                              DJ_KINDS_MAX);
    if (!kind)
        kind = add_row(kinds, setting->kind);
    if (!kind)
        return DEJA_ERR_NOMEM;
    return dj_kind_set(kinds, kind, setting->member, &values, error);
}

/* Index of the last setting of that kind. */
static size_t setting_of(const struct dj_kind_setting *settings, size_t count,
                         const struct dj_kind *kind)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        if (deja_slice_is_equal(settings[i].kind, kind->name))
            found = i;
    return found;
}

struct faults {
    void *ctx;
    dj_kinds_fault_fn *tell;
    bool is_any;
};

static enum deja_status lay_over(struct dj_kinds *kinds, const struct dj_kind_setting *settings,
                                 size_t count, struct faults *faults)
{
    struct deja_error error = {.message = ""};
    for (size_t i = 0; i < count; i++) {
        enum deja_status status = apply(kinds, &settings[i], &error);
        if (status == DEJA_ERR_NOMEM)
            return status;
        if (status != DEJA_OK) {
            faults->tell(faults->ctx, i, error.message);
            faults->is_any = true;
        }
    }
    for (size_t i = 0; i < kinds->count; i++) {
        if (dj_kind_check(&kinds->rows[i], &error) == DEJA_OK)
            continue;
        if (!count)
            return DEJA_ERR_CONFIG; /* a shipped row: the tests would have seen it */
        faults->tell(faults->ctx, setting_of(settings, count, &kinds->rows[i]), error.message);
        faults->is_any = true;
    }
    return faults->is_any ? DEJA_ERR_CONFIG : DEJA_OK;
}

static size_t literal_len(struct deja_slice pattern)
{
    size_t at = 0, len = 0;
    bool is_field = false;
    struct deja_slice piece;
    while (dj_kind_piece(pattern, &at, &is_field, &piece))
        len += is_field ? 0 : piece.len;
    return len;
}

static enum deja_status sort_patterns(struct dj_kinds *kinds)
{
    size_t count = 0;
    for (size_t i = 0; i < kinds->count; i++)
        count += kinds->rows[i].patterns.count;
    kinds->patterns = dj_alloc_zeroed(count + 1, sizeof *kinds->patterns);
    if (!kinds->patterns)
        return DEJA_ERR_NOMEM;
    for (unsigned byte = 0; byte < 256; byte++) {
        kinds->first[byte] = (uint32_t)kinds->pattern_count;
        for (size_t i = 0; i < kinds->count; i++) {
            const struct dj_kind_texts *own = &kinds->rows[i].patterns;
            for (size_t k = 0; k < own->count; k++)
                if ((unsigned char)own->items[k].data[0] == byte)
                    kinds->patterns[kinds->pattern_count++] =
                        (struct dj_kinds_pattern){.text = own->items[k],
                                                  .literal_len = literal_len(own->items[k]),
                                                  .row = (uint32_t)i};
        }
    }
    kinds->first[256] = (uint32_t)kinds->pattern_count;
    return DEJA_OK;
}

enum deja_status dj_kinds_create(const struct dj_kind_setting *settings, size_t count, void *ctx,
                                 dj_kinds_fault_fn *fault, struct dj_kinds **out_kinds)
{
    struct faults faults = {.ctx = ctx, .tell = fault};
    struct dj_kinds *kinds = dj_alloc_zeroed(1, sizeof *kinds);
    if (!kinds)
        return DEJA_ERR_NOMEM;
    dj_arena_init(&kinds->arena, TEXT_BYTES_MAX);
    kinds->rows = dj_alloc_zeroed(DJ_KINDS_MAX, sizeof *kinds->rows);
    enum deja_status status = kinds->rows ? DEJA_OK : DEJA_ERR_NOMEM;
    for (size_t i = 0; status == DEJA_OK && i < dj_kinds_shipped_count; i++)
        status = add_shipped(kinds, &dj_kinds_shipped[i]);
    if (status == DEJA_OK)
        status = lay_over(kinds, settings, count, &faults);
    if (status == DEJA_OK)
        status = sort_patterns(kinds);
    if (status != DEJA_OK) {
        dj_kinds_destroy(kinds);
        return status;
    }
    *out_kinds = kinds;
    return DEJA_OK;
}

void dj_kinds_destroy(struct dj_kinds *kinds)
{
    if (!kinds)
        return;
    dj_free(kinds->patterns);
    dj_free(kinds->rows);
    dj_arena_fini(&kinds->arena);
    dj_free(kinds);
}

size_t dj_kinds_count(const struct dj_kinds *kinds)
{
    return kinds->count;
}

const struct dj_kind *dj_kinds_at(const struct dj_kinds *kinds, size_t index)
{
    return index < kinds->count ? &kinds->rows[index] : NULL;
}

const struct dj_kind *dj_kinds_find(const struct dj_kinds *kinds, struct deja_slice name)
{
    return find_row(kinds, name);
}

/* ---- by key ---- */

static bool begins_with(struct deja_slice text, size_t at, struct deja_slice part)
{
    return text.len - at >= part.len && memcmp(text.data + at, part.data, part.len) == 0;
}

/* Bytes of key that the pattern takes; 0: it does not fit. fields may be NULL. */
static size_t take(struct deja_slice pattern, struct deja_slice key, struct dj_kind_field *fields,
                   size_t *out_field_count)
{
    size_t at = 0, in = 0, count = 0;
    bool is_field = false;
    struct deja_slice piece;
    while (dj_kind_piece(pattern, &in, &is_field, &piece)) {
        if (!is_field) {
            if (!begins_with(key, at, piece))
                return 0;
            at += piece.len;
            continue;
        }
        bool is_next_field = false;
        size_t ahead = in, start = at;
        struct deja_slice next = {.data = NULL, .len = 0};
        bool has_next = dj_kind_piece(pattern, &ahead, &is_next_field, &next);
        while (at < key.len && key.data[at] != ':' && !(has_next && begins_with(key, at, next)))
            at++;
        if (at == start)
            return 0;
        fields[count++] = (struct dj_kind_field){piece, deja_slice(key.data + start, at - start)};
    }
    *out_field_count = count;
    return at == key.len || key.data[at] == ':' ? at : 0;
}

static bool match_at(const struct dj_kinds *kinds, struct deja_slice key,
                     struct dj_kind_match *out_match)
{
    struct dj_kind_field fields[DJ_KIND_FIELDS_MAX];
    size_t best_len = 0, best_literal = 0;
    if (!key.len)
        return false;
    unsigned byte = (unsigned char)key.data[0];
    for (uint32_t i = kinds->first[byte]; i < kinds->first[byte + 1]; i++) {
        const struct dj_kinds_pattern *pattern = &kinds->patterns[i];
        size_t count = 0;
        size_t len = take(pattern->text, key, fields, &count);
        /* An operator's row comes later: of two alike it is the one that holds. */
        if (!len || len < best_len || (len == best_len && pattern->literal_len < best_literal))
            continue;
        best_len = len;
        best_literal = pattern->literal_len;
        out_match->kind = &kinds->rows[pattern->row];
        memcpy(out_match->fields, fields, count * sizeof *fields);
        out_match->field_count = count;
    }
    if (best_len && best_len < key.len)
        out_match->rest = deja_slice(key.data + best_len + 1, key.len - best_len - 1);
    return best_len > 0;
}

/* Where the key goes on after "NAMESPACE:vN:"; 0: it does not begin like that. */
static size_t prefix_len(struct deja_slice key, struct dj_kind_match *match)
{
    const char *colon = key.len ? memchr(key.data, ':', key.len) : NULL;
    if (!colon || colon == key.data)
        return 0;
    size_t start = (size_t)(colon - key.data) + 1;
    size_t at = start;
    if (at == key.len || key.data[at] != 'v')
        return 0;
    for (at++; at < key.len && key.data[at] >= '0' && key.data[at] <= '9';)
        at++;
    if (at == start + 1 || at == key.len || key.data[at] != ':')
        return 0;
    match->name_space = deja_slice(key.data, start - 1);
    match->version = deja_slice(key.data + start, at - start);
    return at + 1;
}

const struct dj_kind *dj_kinds_match(const struct dj_kinds *kinds, struct deja_slice key,
                                     struct dj_kind_match *out_match)
{
    struct dj_kind_match match = {.kind = NULL};
    if (!kinds)
        return NULL;
    if (!match_at(kinds, key, &match)) {
        size_t len = prefix_len(key, &match);
        if (!len || !match_at(kinds, deja_slice(key.data + len, key.len - len), &match))
            return NULL;
    }
    if (out_match)
        *out_match = match;
    return match.kind;
}

/* ---- lives ---- */

/* Of the first rule whose glob fits; false: none does. */
static bool rule_ttl(const struct dj_kind *kind, struct deja_slice key, uint64_t *out_ms)
{
    for (size_t i = 0; i < kind->ttl_for.count; i++) {
        struct deja_slice rule = kind->ttl_for.items[i];
        size_t blank = rule.len;
        while (blank > 0 && rule.data[blank - 1] != ' ')
            blank--;
        if (dj_glob_is_match(deja_slice(rule.data, blank - 1), key))
            return dj_num_parse_duration(deja_slice(rule.data + blank, rule.len - blank), out_ms) ==
                   DEJA_OK;
    }
    return false;
}

uint64_t dj_kind_ttl_ms(const struct dj_kind *kind, struct deja_slice key)
{
    uint64_t ms = kind->ttl_ms;
    return rule_ttl(kind, key, &ms) ? ms : kind->ttl_ms;
}

uint64_t dj_kind_stay_ms(const struct dj_kind *kind, enum dj_kind_level level,
                         struct deja_slice key, uint64_t life_ms)
{
    uint64_t ms = 0;
    uint64_t own_ms = kind->level_ms[level] ? kind->level_ms[level] : UINT64_MAX;
    if (level == DJ_KIND_L1)
        return own_ms;
    if (!life_ms || (kind->ttl_ms && life_ms > kind->ttl_ms) || rule_ttl(kind, key, &ms))
        return UINT64_MAX;
    return own_ms;
}

bool dj_kind_is_slide_due(const struct dj_kind *kind, int64_t begun_ms, int64_t expires_ms,
                          int64_t now_ms)
{
    return kind->is_sliding && expires_ms > begun_ms && now_ms < expires_ms &&
           now_ms - begun_ms >= (expires_ms - begun_ms) / 10;
}
