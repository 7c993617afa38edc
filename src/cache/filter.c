/* cache/filter.c - see filter.h.
 *
 * A field of an entry is a list of values: a scalar is a list of one, an array its scalars, tags
 * all tags. eq and in hold when one value does, ne when none is equal; gt … lte when one value is
 * of the operand's type and on the right side.
 */
#include "cache/filter.h"
#include "base/slice.h"
#include "security/user.h"

#include <math.h>
#include <stdio.h>

#define VALUES_MAX 128u /* of one field that are looked at */

enum op { OP_EQ, OP_NE, OP_IN, OP_GT, OP_GTE, OP_LT, OP_LTE, OP_EXISTS, OP_COUNT };
static const char *const op_names[OP_COUNT] = {"eq",  "ne", "in",  "gt",
                                               "gte", "lt", "lte", "exists"};

enum field {
    FIELD_METADATA,
    FIELD_PROVIDER,
    FIELD_MODEL,
    FIELD_TYPE,
    FIELD_KIND,
    FIELD_NAMESPACE,
    FIELD_TAG,
    FIELD_CONFIDENCE,
    FIELD_COST,
    FIELD_VERSION,
    FIELD_COUNT
};
static const char *const field_names[FIELD_COUNT] = {"",      "$provider",  "$model", "$type",
                                                     "$kind", "$namespace", "$tag",   "$confidence",
                                                     "$cost", "$version"};

struct scalar {
    enum dj_json_type type; /* null, bool, number, string */
    bool boolean;
    double number;
    struct deja_slice text;
};

struct condition {
    enum field field;
    const char *name; /* of a metadata member */
    enum op op;
    struct scalar *operands;
    size_t operand_count;
    struct condition *next;
};

struct dj_filter {
    struct condition *first;
    bool needs_metadata; /* the column has to be parsed */
};

/* ---- reading ---- */

struct reading {
    struct dj_arena *arena;
    struct dj_filter *filter;
    struct condition **last;
    const char *fault;
};

/* "name: what is wrong", in the arena. */
static enum deja_status fault(struct reading *reading, const char *name, const char *rule)
{
    size_t size = strlen(name) + strlen(rule) + sizeof ": ";
    char *text = dj_arena_alloc(reading->arena, size);
    if (!text)
        return DEJA_ERR_NOMEM;
    snprintf(text, size, "%s: %s", name, rule);
    reading->fault = text;
    return DEJA_ERR_INVALID;
}

static bool read_scalar(const struct dj_json *value, struct scalar *out)
{
    *out = (struct scalar){.type = dj_json_type(value)};
    switch (out->type) {
    case DJ_JSON_NULL:
        return true;
    case DJ_JSON_BOOL:
        out->boolean = dj_json_bool(value, false);
        return true;
    case DJ_JSON_NUMBER:
        out->number = dj_json_double(value, NAN);
        return !isnan(out->number);
    case DJ_JSON_STRING:
        out->text = dj_json_string(value);
        return true;
    default:
        return false;
    }
}

/* An operand, its text copied. */
static enum deja_status read_operand(struct reading *reading, const struct dj_json *value,
                                     const char *name, struct scalar *out)
{
    struct scalar scalar;
    if (!read_scalar(value, &scalar))
        return fault(reading, name, "a value is a string, a number, true, false or null");
    if (scalar.type == DJ_JSON_STRING && scalar.text.len) {
        scalar.text = dj_arena_copy(reading->arena, scalar.text);
        if (!scalar.text.data)
            return DEJA_ERR_NOMEM;
    }
    *out = scalar;
    return DEJA_OK;
}

static enum deja_status read_list(struct reading *reading, const struct dj_json *list,
                                  struct condition *condition)
{
    size_t count = dj_json_count(list);
    if (!dj_json_is(list, DJ_JSON_ARRAY) || count > DJ_FILTER_VALUES_MAX)
        return fault(reading, condition->name, "\"in\" takes an array of at most 100 values");
    if (count == 0)
        return DEJA_OK; /* nothing is in it */
    condition->operands = dj_arena_alloc(reading->arena, count * sizeof *condition->operands);
    if (!condition->operands)
        return DEJA_ERR_NOMEM;
    for (struct dj_json_walk w = dj_json_walk(list); dj_json_walk_next(&w);) {
        enum deja_status status = read_operand(reading, w.value, condition->name,
                                               &condition->operands[condition->operand_count]);
        if (status != DEJA_OK)
            return status;
        condition->operand_count++;
    }
    return DEJA_OK;
}

/* One operator of one member. */
static enum deja_status add(struct reading *reading, enum field field, const char *name, enum op op,
                            const struct dj_json *value)
{
    struct condition *condition = dj_arena_alloc(reading->arena, sizeof *condition);
    if (!condition)
        return DEJA_ERR_NOMEM;
    *condition = (struct condition){.field = field, .name = name, .op = op};
    enum deja_status status = DEJA_OK;
    if (op == OP_IN) {
        status = read_list(reading, value, condition);
    } else {
        condition->operands = dj_arena_alloc(reading->arena, sizeof *condition->operands);
        if (!condition->operands)
            return DEJA_ERR_NOMEM;
        condition->operand_count = 1;
        status = read_operand(reading, value, name, condition->operands);
    }
    if (status != DEJA_OK)
        return status;
    enum dj_json_type type = condition->operand_count ? condition->operands[0].type : DJ_JSON_NULL;
    if (op == OP_EXISTS && type != DJ_JSON_BOOL)
        return fault(reading, name, "\"exists\" takes true or false");
    bool is_order = op == OP_GT || op == OP_GTE || op == OP_LT || op == OP_LTE;
    if (is_order && type != DJ_JSON_NUMBER && type != DJ_JSON_STRING)
        return fault(reading, name, "gt, gte, lt and lte take a number or a string");
    *reading->last = condition;
    reading->last = &condition->next;
    return DEJA_OK;
}

static enum deja_status find_field(struct reading *reading, const char *name, enum field *out_field)
{
    *out_field = FIELD_METADATA;
    if (name[0] != '$')
        return DEJA_OK;
    for (size_t i = FIELD_METADATA + 1; i < FIELD_COUNT; i++) {
        if (strcmp(name, field_names[i]) == 0) {
            *out_field = (enum field)i;
            return DEJA_OK;
        }
    }
    return fault(reading, name,
                 "not a column; there are $provider, $model, $type, $kind, $namespace, $tag, "
                 "$confidence, $cost, $version");
}

static enum deja_status read_member(struct reading *reading, struct deja_slice key,
                                    const struct dj_json *value)
{
    enum field field;
    char *name = dj_arena_alloc(reading->arena, key.len + 1);
    if (!name)
        return DEJA_ERR_NOMEM;
    if (key.len)
        memcpy(name, key.data, key.len);
    name[key.len] = '\0';
    if (strlen(name) != key.len)
        return fault(reading, name, "a name has no NUL");
    enum deja_status status = find_field(reading, name, &field);
    if (status != DEJA_OK)
        return status;
    if (field == FIELD_METADATA || field == FIELD_TYPE || field == FIELD_KIND ||
        field == FIELD_CONFIDENCE || field == FIELD_VERSION)
        reading->filter->needs_metadata = true;
    if (dj_json_is(value, DJ_JSON_ARRAY))
        return fault(reading, name, "one of several is written {\"in\": […]}");
    if (!dj_json_is(value, DJ_JSON_OBJECT))
        return add(reading, field, name, OP_EQ, value);
    if (dj_json_count(value) == 0)
        return fault(reading, name, "give an operator: eq, ne, in, gt, gte, lt, lte, exists");
    for (struct dj_json_walk w = dj_json_walk(value); dj_json_walk_next(&w);) {
        size_t op = 0;
        while (op < OP_COUNT && !dj_slice_is(w.key, op_names[op]))
            op++;
        if (op == OP_COUNT)
            return fault(reading, name, "operators are eq, ne, in, gt, gte, lt, lte, exists");
        status = add(reading, field, name, (enum op)op, w.value);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

enum deja_status dj_filter_read(const struct dj_json *object, struct dj_arena *arena,
                                const struct dj_filter **out_filter, const char **out_fault)
{
    struct dj_filter *filter = dj_arena_alloc(arena, sizeof *filter);
    if (!filter)
        return DEJA_ERR_NOMEM;
    *filter = (struct dj_filter){0};
    struct reading reading = {.arena = arena, .filter = filter, .last = &filter->first};
    enum deja_status status = DEJA_OK;
    if (!dj_json_is(object, DJ_JSON_OBJECT))
        status = fault(&reading, "filter", "must be an object of fields");
    else if (dj_json_count(object) > DJ_FILTER_MEMBERS_MAX)
        status = fault(&reading, "filter", "at most 32 fields");
    for (struct dj_json_walk w = dj_json_walk(object); status == DEJA_OK && dj_json_walk_next(&w);)
        status = read_member(&reading, w.key, w.value);
    if (status == DEJA_OK)
        *out_filter = filter;
    else if (status == DEJA_ERR_INVALID && out_fault)
        *out_fault = reading.fault;
    return status;
}

/* ---- matching ---- */

struct values {
    struct scalar list[VALUES_MAX];
    size_t count;
    bool is_there; /* an object is there without being a value */
};

static void add_text(struct values *values, struct deja_slice text)
{
    values->is_there = true;
    if (values->count < VALUES_MAX)
        values->list[values->count++] = (struct scalar){.type = DJ_JSON_STRING, .text = text};
}

static void add_number(struct values *values, double number)
{
    values->is_there = true;
    if (values->count < VALUES_MAX)
        values->list[values->count++] = (struct scalar){.type = DJ_JSON_NUMBER, .number = number};
}

static void add_json(struct values *values, const struct dj_json *value)
{
    struct scalar scalar;
    if (!value)
        return;
    values->is_there = true;
    if (dj_json_is(value, DJ_JSON_ARRAY)) {
        for (struct dj_json_walk w = dj_json_walk(value); dj_json_walk_next(&w);)
            if (read_scalar(w.value, &scalar) && values->count < VALUES_MAX)
                values->list[values->count++] = scalar;
    } else if (read_scalar(value, &scalar) && values->count < VALUES_MAX) {
        values->list[values->count++] = scalar;
    }
}

static const char *kind_text(uint8_t kind)
{
    return kind == DJ_ENTRY_CHAT        ? "chat"
           : kind == DJ_ENTRY_EMBEDDING ? "embedding"
           : kind == DJ_ENTRY_NEGATIVE  ? "negative"
           : kind == DJ_ENTRY_PLAIN     ? "plain"
                                        : "api";
}

static void collect(const struct dj_entry *entry, const struct dj_json *column,
                    const struct condition *condition, struct values *values)
{
    values->count = 0;
    values->is_there = false;
    switch (condition->field) {
    case FIELD_METADATA:
        add_json(values, dj_json_get(dj_json_get(column, "metadata"), condition->name));
        break;
    case FIELD_PROVIDER:
        if (entry->provider.len)
            add_text(values, entry->provider);
        break;
    case FIELD_MODEL:
        if (entry->model.len)
            add_text(values, entry->model);
        break;
    case FIELD_TYPE:
        add_json(values, dj_json_get(column, "type"));
        break;
    case FIELD_KIND: /* what its writer called it, and what Deja calls it */
        add_json(values, dj_json_get(column, "kind"));
        add_text(values, deja_slice_text(kind_text(entry->kind)));
        break;
    case FIELD_NAMESPACE:
        add_text(values, entry->name_space);
        break;
    case FIELD_TAG:
        for (size_t i = 0; i < entry->tag_count; i++)
            if (!dj_tag_is_internal(entry->tags[i].name))
                add_text(values, entry->tags[i].name);
        break;
    case FIELD_CONFIDENCE:
        add_json(values, dj_json_get(column, "confidence"));
        break;
    case FIELD_COST:
        add_number(values, entry->cost_usd);
        break;
    case FIELD_VERSION: /* its writer's label, and Deja's number */
        add_json(values, dj_json_get(column, "version"));
        add_number(values, (double)entry->version);
        break;
    case FIELD_COUNT:
        break;
    }
}

static int compare_text(struct deja_slice a, struct deja_slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.data, b.data, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static bool is_equal(const struct scalar *a, const struct scalar *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case DJ_JSON_NULL:
        return true;
    case DJ_JSON_BOOL:
        return a->boolean == b->boolean;
    case DJ_JSON_NUMBER:
        return !(a->number < b->number) && !(a->number > b->number);
    default:
        return deja_slice_is_equal(a->text, b->text);
    }
}

static bool is_ordered(const struct scalar *value, enum op op, const struct scalar *operand)
{
    if (value->type != operand->type)
        return false;
    int order = value->type == DJ_JSON_STRING
                    ? compare_text(value->text, operand->text)
                    : (value->number > operand->number) - (value->number < operand->number);
    switch (op) {
    case OP_GT:
        return order > 0;
    case OP_GTE:
        return order >= 0;
    case OP_LT:
        return order < 0;
    default:
        return order <= 0;
    }
}

static bool has_equal(const struct values *values, const struct condition *condition)
{
    for (size_t i = 0; i < values->count; i++)
        for (size_t j = 0; j < condition->operand_count; j++)
            if (is_equal(&values->list[i], &condition->operands[j]))
                return true;
    return false;
}

static bool holds(const struct condition *condition, const struct values *values)
{
    switch (condition->op) {
    case OP_EQ:
    case OP_IN:
        return has_equal(values, condition);
    case OP_NE:
        return !has_equal(values, condition);
    case OP_EXISTS:
        return values->is_there == condition->operands[0].boolean;
    default:
        for (size_t i = 0; i < values->count; i++)
            if (is_ordered(&values->list[i], condition->op, &condition->operands[0]))
                return true;
        return false;
    }
}

bool dj_filter_has_words(const struct dj_entry *entry)
{
    static const char tape[] = "{\"tape\":";
    bool is_tape = entry->metadata.len >= sizeof tape - 1 &&
                   memcmp(entry->metadata.data, tape, sizeof tape - 1) == 0;
    bool is_answer = entry->kind == DJ_ENTRY_CHAT || entry->kind == DJ_ENTRY_EMBEDDING;
    return entry->metadata.len && (entry->kind == DJ_ENTRY_API || (is_answer && !is_tape));
}

bool dj_filter_is_match(const struct dj_filter *filter, const struct dj_entry *entry)
{
    struct dj_json_doc *doc = NULL;
    struct values values;
    if (!filter)
        return true;
    if (filter->needs_metadata && dj_filter_has_words(entry) &&
        dj_json_parse(entry->metadata, &doc, NULL) != DEJA_OK)
        return false;
    const struct dj_json *column = doc ? dj_json_root(doc) : NULL;
    bool is_match = true;
    for (const struct condition *c = filter->first; c && is_match; c = c->next) {
        collect(entry, column, c, &values);
        is_match = holds(c, &values);
    }
    dj_json_doc_destroy(doc);
    return is_match;
}
