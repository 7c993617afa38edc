/* policy/kinds_member.c - one member of one kind, as a file would say it.
 *
 * Trust: the operator's texts, bounded all the same.
 */
#include "policy/kinds_internal.h"

#include "base/num.h"
#include "base/slice.h"
#include "base/suggest.h"

#define LIFE_MS_MAX (UINT64_C(3650) * 86400000)

enum form { DURATION, LEVEL, SWITCH, LIST, TEXT, NUMBER, THRESHOLD };

struct member {
    const char *name;
    enum form form;
    size_t offset;   /* in struct dj_kind */
    uint32_t levels; /* LEVEL: which */
};

#define AT(member) offsetof(struct dj_kind, member)
#define BIT(level) (1u << (level))

static const struct member members[] = {
    {"family", TEXT, AT(family), 0},
    {"help", TEXT, AT(help), 0},
    {"pattern", LIST, AT(patterns), 0},
    {"patterns", LIST, AT(patterns), 0},
    {"ttl", DURATION, AT(ttl_ms), 0},
    {"l1", LEVEL, 0, BIT(DJ_KIND_L1)},
    {"disk", LEVEL, 0, BIT(DJ_KIND_DISK)},
    {"l2", LEVEL, 0, BIT(DJ_KIND_L2)},
    {"l3", LEVEL, 0, BIT(DJ_KIND_POSTGRES) | BIT(DJ_KIND_S3)},
    {"postgres", LEVEL, 0, BIT(DJ_KIND_POSTGRES)},
    {"s3", LEVEL, 0, BIT(DJ_KIND_S3)},
    {"tags", LIST, AT(tags), 0},
    {"events", LIST, AT(events), 0},
    {"parts", LIST, AT(parts), 0},
    {"ignore", LIST, AT(ignored), 0},
    {"ttl_for", LIST, AT(ttl_for), 0},
    {"sliding", SWITCH, AT(is_sliding), 0},
    {"semantic", SWITCH, AT(is_semantic), 0},
    {"threshold", THRESHOLD, AT(threshold), 0},
    {"limit", NUMBER, AT(limit), 0},
};
#define MEMBERS (sizeof members / sizeof *members)

static const struct member *find_member(struct deja_slice name)
{
    for (size_t i = 0; i < MEMBERS; i++)
        if (dj_slice_is(name, members[i].name))
            return &members[i];
    return NULL;
}

static enum deja_status unknown(struct deja_slice name, struct deja_error *error)
{
    char word[DJ_SUGGEST_WORD_MAX + 1] = "";
    if (name.len <= DJ_SUGGEST_WORD_MAX)
        memcpy(word, name.data, name.len);
    struct dj_suggest suggest = dj_suggest(word);
    for (size_t i = 0; i < MEMBERS; i++)
        dj_suggest_offer(&suggest, members[i].name);
    if (suggest.best)
        return deja_error_set(error, DEJA_ERR_CONFIG, "is unknown: did you mean %s?", suggest.best);
    return deja_error_set(error, DEJA_ERR_CONFIG,
                          "is unknown; a kind has pattern, ttl, l1, disk, l2, postgres, s3, "
                          "sliding, tags, events, parts, ttl_for, ignore, semantic, "
                          "threshold, limit, family and help");
}

static enum deja_status parse_life(struct deja_slice text, uint64_t *out_ms,
                                   struct deja_error *error)
{
    uint64_t ms = 0;
    if (dj_num_parse_duration(text, &ms) != DEJA_OK || ms == 0 || ms > LIFE_MS_MAX)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "expects a time like 30s, 15m, 6h or 7d, up to 3650d, not \"%.*s\"",
                              (int)(text.len < 64 ? text.len : 64), text.data);
    *out_ms = ms;
    return DEJA_OK;
}

static enum deja_status set_level(struct dj_kind *kind, uint32_t levels, struct deja_slice text,
                                  struct deja_error *error)
{
    uint64_t ms = 0;
    bool is_off = dj_slice_is(text, "off") || dj_slice_is(text, "false");
    enum deja_status status = is_off ? DEJA_OK : parse_life(text, &ms, error);
    if (status != DEJA_OK)
        return status;
    for (uint32_t i = 0; i < DJ_KIND_LEVEL_COUNT; i++)
        if (levels & BIT(i))
            kind->level_ms[i] = ms;
    kind->levels = is_off ? kind->levels & ~levels : kind->levels | levels;
    return DEJA_OK;
}

static enum deja_status set_switch(bool *out_is_on, struct deja_slice text,
                                   struct deja_error *error)
{
    bool is_on = dj_slice_is(text, "true");
    if (!is_on && !dj_slice_is(text, "false"))
        return deja_error_set(error, DEJA_ERR_CONFIG, "expects true or false");
    *out_is_on = is_on;
    return DEJA_OK;
}

static enum deja_status set_number(uint32_t *out_number, struct deja_slice text, uint32_t max,
                                   struct deja_error *error)
{
    uint64_t number = 0;
    if (dj_num_parse_u64(text, &number) != DEJA_OK || number < 1 || number > max)
        return deja_error_set(error, DEJA_ERR_CONFIG, "expects a number from 1 to %u", max);
    *out_number = (uint32_t)number;
    return DEJA_OK;
}

static enum deja_status set_threshold(double *out_threshold, struct deja_slice text,
                                      struct deja_error *error)
{
    double value = 0;
    if (dj_num_parse_double(text, &value) != DEJA_OK || value < 0 || value > 1)
        return deja_error_set(error, DEJA_ERR_CONFIG, "expects a similarity from 0 to 1");
    *out_threshold = value;
    return DEJA_OK;
}

static enum deja_status copy_text(struct dj_kinds *kinds, struct deja_slice text,
                                  struct deja_slice *out_text, struct deja_error *error)
{
    if (text.len == 0 || text.len > DJ_KIND_TEXT_MAX)
        return deja_error_set(error, DEJA_ERR_CONFIG, "expects texts of 1 to %u bytes",
                              DJ_KIND_TEXT_MAX);
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < ' ')
            return deja_error_set(error, DEJA_ERR_CONFIG, "must not hold control characters");
    struct deja_slice copy = dj_arena_copy(&kinds->arena, text);
    if (!copy.data)
        return DEJA_ERR_NOMEM;
    *out_text = copy;
    return DEJA_OK;
}

/* ---- patterns, tags, rules ---- */

bool dj_kind_piece(struct deja_slice text, size_t *at, bool *out_is_field,
                   struct deja_slice *out_piece)
{
    if (*at >= text.len)
        return false;
    bool is_field = text.data[*at] == '{';
    size_t start = *at + is_field;
    size_t end = start;
    while (end < text.len && text.data[end] != (is_field ? '}' : '{'))
        end++;
    *out_is_field = is_field;
    *out_piece = deja_slice(text.data + start, end - start);
    *at = end + is_field;
    return true;
}

static bool is_name(struct deja_slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_')
            return false;
    }
    return name.len > 0 && name.len <= DJ_KIND_NAME_MAX;
}

/* A pattern or a tag. */
static enum deja_status check_form(struct deja_slice text, bool is_pattern,
                                   struct deja_error *error)
{
    size_t at = 0, fields = 0;
    bool is_field = false, was_field = false;
    struct deja_slice piece;
    size_t open = 0, close = 0;
    for (size_t i = 0; i < text.len; i++) {
        open += text.data[i] == '{';
        close += text.data[i] == '}';
        if (close > open || open > close + 1)
            break;
    }
    if (open != close)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "has braces that do not go together; a field is {name}");
    for (bool is_start = true; dj_kind_piece(text, &at, &is_field, &piece); is_start = false) {
        if (is_pattern && is_start && is_field)
            return deja_error_set(error, DEJA_ERR_CONFIG,
                                  "must begin with text, or it would take every key");
        if (is_field && !is_name(piece))
            return deja_error_set(error, DEJA_ERR_CONFIG,
                                  "has a field whose name is not of a-z, 0-9 and _");
        if (is_field && was_field)
            return deja_error_set(error, DEJA_ERR_CONFIG,
                                  "has two fields with nothing between them");
        fields += is_field;
        was_field = is_field;
    }
    if (fields > DJ_KIND_FIELDS_MAX)
        return deja_error_set(error, DEJA_ERR_CONFIG, "has more than %u fields",
                              DJ_KIND_FIELDS_MAX);
    return DEJA_OK;
}

/* "GLOB TTL". */
static enum deja_status check_rule(struct deja_slice text, struct deja_error *error)
{
    uint64_t ms = 0;
    size_t blank = text.len;
    while (blank > 0 && text.data[blank - 1] != ' ')
        blank--;
    if (blank < 2)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "expects a pattern of keys and a time, as "
                              "\"ai:embedding:*:text-embedding-3-* 30d\"");
    return parse_life(deja_slice(text.data + blank, text.len - blank), &ms, error);
}

static enum deja_status set_list(struct dj_kinds *kinds, const struct member *member,
                                 struct dj_kind_texts *list, const struct dj_kind_texts *values,
                                 struct deja_error *error)
{
    struct dj_kind_texts copies = {.count = values->count};
    bool is_pattern = member->offset == AT(patterns);
    for (size_t i = 0; i < values->count; i++) {
        enum deja_status status = copy_text(kinds, values->items[i], &copies.items[i], error);
        if (status == DEJA_OK && (is_pattern || member->offset == AT(tags)))
            status = check_form(values->items[i], is_pattern, error);
        if (status == DEJA_OK && member->offset == AT(ttl_for))
            status = check_rule(values->items[i], error);
        if (status != DEJA_OK)
            return status;
    }
    *list = copies;
    return DEJA_OK;
}

enum deja_status dj_kind_set(struct dj_kinds *kinds, struct dj_kind *kind, struct deja_slice name,
                             const struct dj_kind_texts *values, struct deja_error *error)
{
    const struct member *member = find_member(name);
    if (!member)
        return unknown(name, error);
    void *place = (char *)kind + member->offset;
    if (member->form == LIST)
        return set_list(kinds, member, place, values, error);
    if (values->count != 1)
        return deja_error_set(error, DEJA_ERR_CONFIG, "expects one value, not a list");
    struct deja_slice text = values->items[0];
    switch (member->form) {
    case DURATION:
        return parse_life(text, place, error);
    case LEVEL:
        return set_level(kind, member->levels, text, error);
    case SWITCH:
        return set_switch(place, text, error);
    case NUMBER:
        return set_number(place, text, 100, error);
    case THRESHOLD:
        return set_threshold(place, text, error);
    default:
        return copy_text(kinds, text, place, error);
    }
}

enum deja_status dj_kind_check(const struct dj_kind *kind, struct deja_error *error)
{
    if (!is_name(kind->name))
        return deja_error_set(error, DEJA_ERR_CONFIG, "a kind's name is 1 to %u of a-z, 0-9 and _",
                              DJ_KIND_NAME_MAX);
    if (!kind->levels)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "every level is off: nothing of this kind would be kept");
    if (kind->is_sliding && !kind->ttl_ms)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "sliding needs a ttl: it is what a read begins anew");
    return DEJA_OK;
}
