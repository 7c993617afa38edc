/* security/tenant_config.c - see tenant_config.h.
 *
 * Plain values are rows of a table: where they stand in JSON and in struct dj_rules_values, of what
 * kind, within which bounds. Sets of switches (features, guards) and lists are by hand.
 */
#include "security/tenant_config.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/num.h"
#include "base/slice.h"
#include "base/suggest.h"
#include "text/utf8.h"

#define DAY_MS 86400000.0
#define TTL_MS_MAX (3650 * DAY_MS)
#define COUNT_MAX 1e8
#define BYTES_MAX 1e15
#define MESSAGE_BYTES 320u

enum kind {
    KIND_DURATION, /* uint64_t, milliseconds */
    KIND_NUMBER,   /* double */
    KIND_COUNT,    /* uint32_t */
    KIND_SIZE,     /* uint64_t, bytes */
    KIND_CHOICE,   /* an enum, stored as int */
};

struct field {
    const char *section; /* NULL: at the top */
    const char *name;
    enum kind kind;
    size_t offset;
    double low, high;           /* of numbers */
    const char *const *choices; /* NULL-terminated */
};

#define AT(member) offsetof(struct dj_rules_values, member)

static const char *const policies[] = {"allow", "encrypt", "redact", "refuse", NULL};
static const char *const audits[] = {"off", "writes", "all", NULL};
static const char *const contents[] = {"off", "hash", "full", NULL};

/* clang-format off: a table is read by its columns */
static const struct field fields[] = {
    {"ttl", "response", KIND_DURATION, AT(response_ttl_ms), 1000, TTL_MS_MAX, NULL},
    {"ttl", "api", KIND_DURATION, AT(api_ttl_ms), 1000, TTL_MS_MAX, NULL},
    {"ttl", "small_text", KIND_DURATION, AT(size_ttl_ms[0]), 1000, TTL_MS_MAX, NULL},
    {"ttl", "medium_text", KIND_DURATION, AT(size_ttl_ms[1]), 1000, TTL_MS_MAX, NULL},
    {"ttl", "large_text", KIND_DURATION, AT(size_ttl_ms[2]), 1000, TTL_MS_MAX, NULL},
    {"ttl", "max", KIND_DURATION, AT(ttl_max_ms), 1000, TTL_MS_MAX, NULL},
    {"semantic", "threshold", KIND_NUMBER, AT(threshold), 0.01, 1, NULL},
    {"semantic", "api_threshold", KIND_NUMBER, AT(api_threshold), 0.01, 1, NULL},
    {"semantic", "delta", KIND_NUMBER, AT(delta), 0, 1, NULL},
    {"limits", "requests_per_s", KIND_NUMBER, AT(limits.requests_per_s), 0, 1e7, NULL},
    {"limits", "burst", KIND_COUNT, AT(limits.burst), 0, COUNT_MAX, NULL},
    {"limits", "misses_per_minute", KIND_NUMBER, AT(limits.misses_per_minute), 0, 1e9, NULL},
    {"limits", "spend_usd_per_day", KIND_NUMBER, AT(limits.spend_usd_per_day), 0, 1e9, NULL},
    {"limits", "max_connections", KIND_COUNT, AT(limits.connections_max), 0, COUNT_MAX, NULL},
    {"limits", "max_in_flight", KIND_COUNT, AT(limits.requests_max), 0, COUNT_MAX, NULL},
    {"limits", "weight", KIND_COUNT, AT(limits.weight), 0, 10000, NULL},
    {"limits", "bytes_per_s", KIND_SIZE, AT(limits.bytes_per_s), 0, BYTES_MAX, NULL},
    {"limits", "max_entries", KIND_COUNT, AT(limits.entries_max), 0, COUNT_MAX, NULL},
    {"limits", "max_entry_bytes", KIND_SIZE, AT(limits.entry_bytes_max), 0, BYTES_MAX, NULL},
    {"sensitive", "secret", KIND_CHOICE, AT(sensitive[DJ_SENSITIVE_SECRET]), 0, 0, policies},
    {"sensitive", "card", KIND_CHOICE, AT(sensitive[DJ_SENSITIVE_CARD]), 0, 0, policies},
    {"sensitive", "identity", KIND_CHOICE, AT(sensitive[DJ_SENSITIVE_IDENTITY]), 0, 0, policies},
    {"sensitive", "contact", KIND_CHOICE, AT(sensitive[DJ_SENSITIVE_CONTACT]), 0, 0, policies},
    {"log", "content", KIND_CHOICE, AT(content_log), 0, 0, contents},
    {NULL, "audit", KIND_CHOICE, AT(audit), 0, 0, audits},
};
/* clang-format on */
#define FIELDS (sizeof fields / sizeof *fields)

_Static_assert(FIELDS <= 64, "a bit for each");
_Static_assert(sizeof(enum dj_sensitive_policy) == sizeof(int) &&
                   sizeof(enum dj_audit_choice) == sizeof(int) &&
                   sizeof(enum dj_content_log) == sizeof(int),
               "choices are stored as int");

/* In the order of enum dj_feature's bits. */
static const char *const features[] = {"proxy", "api", "semantic", "embeddings"};
#define FEATURES (sizeof features / sizeof *features)

/* Sections that are no rows of the table. */
static const char *const others[] = {"features", "guards", "models", "upstream", "prices"};

struct dj_tenant_config {
    struct dj_rules_values values; /* what `set` names; its texts are owned */
    uint64_t set;                  /* bit of a row of fields */
    unsigned features_named;
    unsigned guards_named;
    bool has_models;
    bool has_upstream;
    bool has_obeyed;
    bool has_prices;
    bool is_broken;
};

struct reader {
    const struct dj_tenant_config_names *names;
    const struct dj_tenant_config_faults *faults;
    struct dj_tenant_config *config;
    bool is_faulty;
    enum deja_status status; /* of memory */
};

static size_t size_of(enum kind kind)
{
    switch (kind) {
    case KIND_COUNT:
        return sizeof(uint32_t);
    case KIND_CHOICE:
        return sizeof(int);
    default:
        return sizeof(uint64_t);
    }
}

/* ---- faults ---- */

static void tell(struct reader *reader, const char *section, struct deja_slice name,
                 const char *rule, const char *message)
{
    char field[DJ_TENANT_FIELD_BYTES];
    reader->is_faulty = true;
    if (!reader->faults)
        return;
    snprintf(field, sizeof field, "%s%s%.*s", section ? section : "",
             section && name.len ? "." : "",
             (int)(name.len < DJ_SUGGEST_WORD_MAX ? name.len : DJ_SUGGEST_WORD_MAX),
             name.len ? name.data : "");
    reader->faults->tell(reader->faults->ctx, field, rule, message);
}

static void complain(struct reader *reader, const char *section, struct deja_slice name,
                     const char *rule, const char *message)
{
    reader->config->is_broken = true;
    tell(reader, section, name, rule, message);
}

static void offer_section(struct dj_suggest *suggest, const struct reader *reader,
                          const char *section)
{
    for (size_t i = 0; i < FIELDS; i++)
        if (section ? fields[i].section && strcmp(fields[i].section, section) == 0 : true)
            dj_suggest_offer(suggest,
                             section || !fields[i].section ? fields[i].name : fields[i].section);
    for (size_t i = 0; !section && i < sizeof others / sizeof *others; i++)
        dj_suggest_offer(suggest, others[i]);
    if (section && strcmp(section, "features") == 0)
        for (size_t i = 0; i < FEATURES; i++)
            dj_suggest_offer(suggest, features[i]);
    if (section && strcmp(section, "guards") == 0)
        for (size_t i = 0; i < reader->names->guard_count; i++)
            dj_suggest_offer(suggest, reader->names->guards[i]);
    if (section && strcmp(section, "upstream") == 0)
        dj_suggest_offer(suggest, "url");
}

static void complain_unknown(struct reader *reader, const char *section, struct deja_slice name)
{
    char word[DJ_SUGGEST_WORD_MAX + 1] = "";
    char message[MESSAGE_BYTES] = "no such member";
    if (name.len <= DJ_SUGGEST_WORD_MAX)
        memcpy(word, name.data, name.len);
    struct dj_suggest suggest = dj_suggest(word);
    offer_section(&suggest, reader, section);
    if (suggest.best)
        snprintf(message, sizeof message, "no such member: did you mean %s?", suggest.best);
    tell(reader, section, name, "unknown", message);
}

static bool is_object(struct reader *reader, const char *section, const struct dj_json *value)
{
    bool is = dj_json_is(value, DJ_JSON_OBJECT);
    if (!is)
        complain(reader, section, deja_slice(NULL, 0), "type", "must be an object");
    return is;
}

/* ---- values ---- */

static void complain_range(struct reader *reader, const struct field *field)
{
    char message[MESSAGE_BYTES];
    if (field->kind == KIND_DURATION)
        snprintf(message, sizeof message, "must be a time of %gs to %gd, such as \"5m\" or 300",
                 field->low / 1000, field->high / DAY_MS);
    else
        snprintf(message, sizeof message, "must be %s from %g to %g%s",
                 field->kind == KIND_NUMBER ? "a number" : "a whole number", field->low,
                 field->high, field->kind == KIND_SIZE ? ", or a size such as \"64kb\"" : "");
    complain(reader, field->section, deja_slice_text(field->name), "range", message);
}

static void complain_choice(struct reader *reader, const struct field *field)
{
    char message[MESSAGE_BYTES] = "must be ";
    for (size_t i = 0; field->choices[i]; i++) {
        size_t len = strlen(message);
        snprintf(message + len, sizeof message - len, "%s%s",
                 !i                      ? ""
                 : field->choices[i + 1] ? ", "
                                         : " or ",
                 field->choices[i]);
    }
    complain(reader, field->section, deja_slice_text(field->name), "value", message);
}

/* In the unit of the field: milliseconds, bytes. */
static bool read_number(const struct field *field, const struct dj_json *value, double *out_number)
{
    uint64_t whole = 0;
    struct deja_slice text = dj_json_string(value);
    bool is_duration = field->kind == KIND_DURATION;
    double number = dj_json_double(value, NAN);
    if (text.data && (is_duration || field->kind == KIND_SIZE)) {
        if ((is_duration ? dj_num_parse_duration(text, &whole) : dj_num_parse_size(text, &whole)) !=
            DEJA_OK)
            return false;
        number = (double)whole;
    } else if (is_duration) {
        number *= 1000;
    }
    if (!(number >= field->low && number <= field->high))
        return false;
    if (field->kind != KIND_NUMBER && !is_duration && floor(number) < number)
        return false;
    *out_number = number;
    return true;
}

static void store_number(struct dj_rules_values *values, const struct field *field, double number)
{
    char *at = (char *)values + field->offset;
    uint64_t whole = field->kind == KIND_NUMBER ? 0 : (uint64_t)number;
    uint32_t count = (uint32_t)(whole < UINT32_MAX ? whole : UINT32_MAX);
    if (field->kind == KIND_NUMBER)
        memcpy(at, &number, sizeof number);
    else if (field->kind == KIND_COUNT)
        memcpy(at, &count, sizeof count);
    else
        memcpy(at, &whole, sizeof whole);
}

static bool store_choice(struct dj_rules_values *values, const struct field *field,
                         struct deja_slice text)
{
    char *at = (char *)values + field->offset;
    for (int i = 0; text.data && field->choices[i]; i++) {
        if (!dj_slice_is(text, field->choices[i]))
            continue;
        memcpy(at, &i, sizeof i);
        return true;
    }
    return false;
}

static void read_value(struct reader *reader, size_t index, const struct dj_json *value)
{
    const struct field *field = &fields[index];
    struct dj_tenant_config *config = reader->config;
    double number = 0;
    if (field->choices) {
        if (!store_choice(&config->values, field, dj_json_string(value))) {
            complain_choice(reader, field);
            return;
        }
    } else if (!read_number(field, value, &number)) {
        complain_range(reader, field);
        return;
    } else {
        store_number(&config->values, field, number);
    }
    config->set |= (uint64_t)1 << index;
}

static bool find_field(const char *section, struct deja_slice name, size_t *out_index)
{
    for (size_t i = 0; i < FIELDS; i++) {
        bool is_here = section ? fields[i].section && strcmp(fields[i].section, section) == 0
                               : !fields[i].section;
        if (!is_here || !dj_slice_is(name, fields[i].name))
            continue;
        *out_index = i;
        return true;
    }
    return false;
}

static bool has_section(struct deja_slice name, const char **out_section)
{
    for (size_t i = 0; i < FIELDS; i++)
        if (fields[i].section && dj_slice_is(name, fields[i].section)) {
            *out_section = fields[i].section;
            return true;
        }
    return false;
}

static void read_section(struct reader *reader, const char *section, const struct dj_json *object)
{
    if (!is_object(reader, section, object))
        return;
    struct dj_json_walk walk = dj_json_walk(object);
    while (dj_json_walk_next(&walk)) {
        size_t index = 0;
        if (!find_field(section, walk.key, &index))
            complain_unknown(reader, section, walk.key);
        else if (!dj_json_is(walk.value, DJ_JSON_NULL))
            read_value(reader, index, walk.value);
    }
}

/* ---- switches ---- */

/* names: the bit of each is its place. */
static void read_switches(struct reader *reader, const char *section, const struct dj_json *object,
                          const char *const *names, size_t count, unsigned *named, unsigned *on)
{
    if (!is_object(reader, section, object))
        return;
    struct dj_json_walk walk = dj_json_walk(object);
    while (dj_json_walk_next(&walk)) {
        size_t i = 0;
        while (i < count && !dj_slice_is(walk.key, names[i]))
            i++;
        if (i == count) {
            complain_unknown(reader, section, walk.key);
        } else if (dj_json_is(walk.value, DJ_JSON_BOOL)) {
            *named |= 1u << i;
            *on |= dj_json_bool(walk.value, false) ? 1u << i : 0;
        } else if (!dj_json_is(walk.value, DJ_JSON_NULL)) {
            complain(reader, section, walk.key, "type", "must be true or false");
        }
    }
}

static void read_guards(struct reader *reader, const struct dj_json *object)
{
    unsigned on = 0;
    read_switches(reader, "guards", object, reader->names->guards, reader->names->guard_count,
                  &reader->config->guards_named, &on);
    reader->config->values.guards_off = reader->config->guards_named & ~on;
}

/* ---- lists and texts ---- */

static bool is_plain(struct deja_slice text, size_t bytes_max)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] <= ' ' || text.data[i] == 127)
            return false;
    return text.len > 0 && text.len <= bytes_max && dj_utf8_is_valid(text);
}

static const char *keep(struct reader *reader, struct deja_slice text)
{
    char *copy = dj_strdup(text);
    if (!copy)
        reader->status = DEJA_ERR_NOMEM;
    return copy;
}

static void read_models(struct reader *reader, const struct dj_json *list)
{
    struct dj_rules_values *values = &reader->config->values;
    struct deja_slice none = deja_slice(NULL, 0);
    if (!dj_json_is(list, DJ_JSON_ARRAY) || dj_json_count(list) > DJ_RULES_MODELS_MAX) {
        complain(reader, "models", none, "type", "must be a list of at most 64 names of models");
        return;
    }
    struct dj_json_walk walk = dj_json_walk(list);
    while (dj_json_walk_next(&walk) && reader->status == DEJA_OK) {
        struct deja_slice text = dj_json_string(walk.value);
        const char *star = text.len ? memchr(text.data, '*', text.len) : NULL;
        if (!is_plain(text, DJ_TENANT_MODEL_BYTES_MAX) ||
            (star && star != text.data + text.len - 1)) {
            complain(reader, "models", none, "value",
                     "must be names of models such as \"gpt-4o\" or \"gpt-4o*\"");
            continue;
        }
        values->models[values->model_count] = keep(reader, text);
        values->model_count += reader->status == DEJA_OK;
    }
    reader->config->has_models = true;
}

static void read_obeyed(struct reader *reader, struct deja_slice name, const struct dj_json *value)
{
    if (dj_json_is(value, DJ_JSON_NULL))
        return;
    reader->config->has_obeyed = dj_json_is(value, DJ_JSON_BOOL);
    reader->config->values.is_upstream_obeyed = dj_json_bool(value, false);
    if (!reader->config->has_obeyed)
        complain(reader, "upstream", name, "type", "must be true or false");
}

static void read_upstream(struct reader *reader, const struct dj_json *object)
{
    if (!is_object(reader, "upstream", object))
        return;
    struct dj_json_walk walk = dj_json_walk(object);
    while (dj_json_walk_next(&walk) && reader->status == DEJA_OK) {
        struct deja_slice text = dj_json_string(walk.value);
        const char *why = "must be an https:// address of up to 2048 plain characters";
        if (dj_slice_is(walk.key, "respect_cache_control")) {
            read_obeyed(reader, walk.key, walk.value);
            continue;
        }
        if (!dj_slice_is(walk.key, "url")) {
            complain_unknown(reader, "upstream", walk.key);
            continue;
        }
        if (dj_json_is(walk.value, DJ_JSON_NULL))
            continue;
        const char *url = is_plain(text, DJ_TENANT_URL_BYTES_MAX) ? keep(reader, text) : NULL;
        bool is_allowed =
            url && dj_address_check_url(reader->names->upstream_guard, text, &why) == DEJA_OK;
        if (is_allowed) {
            reader->config->values.upstream_url = url;
            reader->config->has_upstream = true;
            continue;
        }
        dj_free((void *)(uintptr_t)url);
        complain(reader, "upstream", walk.key, "url", why);
    }
}

static bool is_price(const struct dj_json *price)
{
    struct dj_json_walk walk = dj_json_walk(price);
    if (!dj_json_is(price, DJ_JSON_OBJECT))
        return false;
    while (dj_json_walk_next(&walk)) {
        bool is_known = dj_slice_is(walk.key, "input") || dj_slice_is(walk.key, "cached") ||
                        dj_slice_is(walk.key, "output");
        double number = dj_json_double(walk.value, -1);
        if (!is_known || !(number >= 0 && number <= 1e6))
            return false;
    }
    return true;
}

static void read_prices(struct reader *reader, const struct dj_json *object)
{
    if (!is_object(reader, "prices", object))
        return;
    struct dj_buf text;
    dj_buf_init(&text, DJ_TENANT_PRICES_BYTES_MAX);
    struct dj_json_walk walk = dj_json_walk(object);
    bool is_valid = true;
    while (dj_json_walk_next(&walk)) {
        bool is_one = is_plain(walk.key, DJ_TENANT_MODEL_BYTES_MAX) && is_price(walk.value);
        if (!is_one)
            complain(
                reader, "prices", walk.key, "value",
                "must be {\"input\": N, \"cached\": N, \"output\": N}, US dollars for a million "
                "tokens");
        is_valid = is_valid && is_one;
    }
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_put_value(&w, object);
    if (text.status == DEJA_ERR_LIMIT)
        complain(reader, "prices", deja_slice(NULL, 0), "length", "must have at most 16 KiB");
    else if (text.status != DEJA_OK)
        reader->status = text.status;
    else if (is_valid)
        reader->config->values.prices = keep(reader, dj_buf_slice(&text));
    reader->config->has_prices = reader->config->values.prices != NULL;
    dj_buf_fini(&text);
}

/* ---- the whole ---- */

static void read_member(struct reader *reader, struct deja_slice name, const struct dj_json *value)
{
    const char *section = NULL;
    size_t index = 0;
    if (has_section(name, &section)) {
        read_section(reader, section, value);
    } else if (find_field(NULL, name, &index)) {
        read_value(reader, index, value);
    } else if (dj_slice_is(name, "features")) {
        read_switches(reader, "features", value, features, FEATURES,
                      &reader->config->features_named, &reader->config->values.features);
    } else if (dj_slice_is(name, "guards")) {
        read_guards(reader, value);
    } else if (dj_slice_is(name, "models")) {
        read_models(reader, value);
    } else if (dj_slice_is(name, "upstream")) {
        read_upstream(reader, value);
    } else if (dj_slice_is(name, "prices")) {
        read_prices(reader, value);
    } else {
        complain_unknown(reader, NULL, name);
    }
}

enum deja_status dj_tenant_config_read(const struct dj_json *object,
                                       const struct dj_tenant_config_names *names,
                                       const struct dj_tenant_config_faults *faults,
                                       struct dj_tenant_config **out_config)
{
    struct reader reader = {
        .names = names, .faults = faults, .config = dj_alloc_zeroed(1, sizeof *reader.config)};
    if (!reader.config)
        return DEJA_ERR_NOMEM;
    if (object && !dj_json_is(object, DJ_JSON_NULL) && !dj_json_is(object, DJ_JSON_OBJECT))
        complain(&reader, NULL, deja_slice_text("config"), "type", "must be an object");
    struct dj_json_walk walk = dj_json_walk(object);
    while (dj_json_walk_next(&walk) && reader.status == DEJA_OK)
        if (!dj_json_is(walk.value, DJ_JSON_NULL))
            read_member(&reader, walk.key, walk.value);
    if (reader.status == DEJA_OK && reader.is_faulty && faults)
        reader.status = DEJA_ERR_INVALID;
    if (reader.status != DEJA_OK) {
        dj_tenant_config_destroy(reader.config);
        return reader.status;
    }
    *out_config = reader.config;
    return DEJA_OK;
}

void dj_tenant_config_destroy(struct dj_tenant_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->values.model_count; i++)
        dj_free((void *)(uintptr_t)config->values.models[i]);
    dj_free((void *)(uintptr_t)config->values.upstream_url);
    dj_free((void *)(uintptr_t)config->values.prices);
    dj_free(config);
}

bool dj_tenant_config_is_broken(const struct dj_tenant_config *config)
{
    return config->is_broken;
}

void dj_tenant_config_apply(const struct dj_tenant_config *config, struct dj_rules_values *values)
{
    const struct dj_rules_values *said = &config->values;
    for (size_t i = 0; i < FIELDS; i++)
        if (config->set >> i & 1)
            memcpy((char *)values + fields[i].offset, (const char *)said + fields[i].offset,
                   size_of(fields[i].kind));
    values->features = (values->features & ~config->features_named) | said->features;
    values->guards_off = (values->guards_off & ~config->guards_named) | said->guards_off;
    if (config->has_models) {
        values->model_count = said->model_count;
        memcpy(values->models, said->models, sizeof values->models);
    }
    if (config->has_upstream)
        values->upstream_url = said->upstream_url;
    if (config->has_obeyed)
        values->is_upstream_obeyed = said->is_upstream_obeyed;
    if (config->has_prices)
        values->prices = said->prices;
}

/* ---- writing ---- */

static void put_field(struct dj_json_writer *w, const struct field *field,
                      const struct dj_rules_values *values)
{
    const char *at = (const char *)values + field->offset;
    double number = 0;
    uint64_t whole = 0;
    uint32_t count = 0;
    int choice = 0;
    switch (field->kind) {
    case KIND_NUMBER:
        memcpy(&number, at, sizeof number);
        if (number > 0 || field->low <= 0)
            dj_json_member_double(w, field->name, number);
        break;
    case KIND_COUNT:
        memcpy(&count, at, sizeof count);
        dj_json_member_u64(w, field->name, count);
        break;
    case KIND_SIZE:
        memcpy(&whole, at, sizeof whole);
        dj_json_member_u64(w, field->name, whole);
        break;
    case KIND_DURATION:
        memcpy(&whole, at, sizeof whole);
        if (whole)
            dj_json_member_double(w, field->name, (double)whole / 1000);
        break;
    case KIND_CHOICE:
        memcpy(&choice, at, sizeof choice);
        dj_json_member_text(w, field->name, field->choices[choice]);
        break;
    }
}

static void put_switches(struct dj_json_writer *w, const char *section, const char *const *names,
                         size_t count, unsigned on)
{
    dj_json_key(w, section);
    dj_json_begin_object(w);
    for (size_t i = 0; i < count; i++)
        dj_json_member_bool(w, names[i], on >> i & 1);
    dj_json_end_object(w);
}

void dj_tenant_config_put(struct dj_json_writer *w, const struct dj_tenant_config_names *names,
                          const struct dj_rules_values *values)
{
    const char *section = NULL;
    put_switches(w, "features", features, FEATURES, values->features);
    for (size_t i = 0; i < FIELDS; i++) {
        bool is_same = section && fields[i].section && strcmp(section, fields[i].section) == 0;
        if (section && !is_same)
            dj_json_end_object(w);
        if (fields[i].section && !is_same) {
            dj_json_key(w, fields[i].section);
            dj_json_begin_object(w);
        }
        section = fields[i].section;
        put_field(w, &fields[i], values);
    }
    if (section)
        dj_json_end_object(w);
    put_switches(w, "guards", names->guards, names->guard_count, ~values->guards_off);
    dj_json_key(w, "models");
    dj_json_begin_array(w);
    for (size_t i = 0; i < values->model_count; i++)
        dj_json_put_text(w, values->models[i]);
    dj_json_end_array(w);
    if (values->upstream_url || values->is_upstream_obeyed) {
        dj_json_key(w, "upstream");
        dj_json_begin_object(w);
        if (values->upstream_url)
            dj_json_member_text(w, "url", values->upstream_url);
        if (values->is_upstream_obeyed)
            dj_json_member_bool(w, "respect_cache_control", true);
        dj_json_end_object(w);
    }
    if (values->prices) {
        dj_json_key(w, "prices");
        dj_json_put_raw(w, deja_slice_text(values->prices));
    }
}
