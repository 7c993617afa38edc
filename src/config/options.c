/* config/options.c - see options.h.
 *
 * Sources are applied from the weakest to the strongest, each value parsed where it stands, so that
 * a fault in a file is told even when a flag would have hidden it.
 */
#include "config/options.h"

#include <stdio.h>

#include "base/alloc.h"
#include "config/expand.h"
#include "config/option_value.h"
#include "base/suggest.h"

#define WHERE_MAX 1200u
#define KEY_MAX 256u

struct dj_options {
    const struct dj_option *table; /* borrowed */
    size_t count;
    struct dj_option_value *values; /* owned, count */
};

struct resolver {
    const struct dj_options_input *input;
    struct dj_options *options;
    struct dj_diagnostics *diagnostics;
    enum deja_status status;       /* DEJA_ERR_NOMEM ends everything; faults are diagnostics */
    char unknown_section[KEY_MAX]; /* the last one told: once, not for every key in it */
};

/* One value on its way in. */
struct offer {
    size_t index;
    const char *value;
    const char *where;
    const char *key_where;     /* where its name stands; NULL: where the value does */
    const char *section_where; /* and the first part of the name */
    enum dj_origin origin;
    char separator;
    bool is_quoted;
    bool is_from_old_name;
};

size_t dj_options_count(const struct dj_options *options)
{
    return options->count;
}

const struct dj_option *dj_options_at(const struct dj_options *options, size_t index)
{
    return &options->table[index];
}

const char *dj_options_text(const struct dj_options *options, size_t index)
{
    return options->values[index].shown;
}

enum dj_origin dj_options_origin(const struct dj_options *options, size_t index)
{
    return options->values[index].origin;
}

const char *dj_options_where(const struct dj_options *options, size_t index)
{
    return options->values[index].where;
}

static size_t find_row(const struct dj_option *table, size_t count, const char *name)
{
    size_t i = 0;
    while (i < count && strcmp(table[i].name, name) != 0)
        i++;
    return i;
}

size_t dj_options_find(const struct dj_options *options, const char *name)
{
    return find_row(options->table, options->count, name);
}

bool dj_options_is_equal(const struct dj_options *a, const struct dj_options *b, size_t index)
{
    return dj_option_value_is_equal(&a->table[index], &a->values[index], &b->values[index]);
}

void dj_options_destroy(struct dj_options *options)
{
    if (!options)
        return;
    for (size_t i = 0; options->values && i < options->count; i++)
        dj_option_value_fini(&options->values[i]);
    dj_free(options->values);
    dj_free(options);
}

/* A value that was quoted in the file is text: it does not become a number or a boolean. */
static bool wants_plain(enum dj_option_type type)
{
    return type == DJ_OPTION_BOOL || type == DJ_OPTION_INT || type == DJ_OPTION_DOUBLE;
}

static enum deja_status set_text(struct resolver *resolver, const struct offer *offer,
                                 struct deja_slice text, struct deja_error *error)
{
    const struct dj_option *option = &resolver->input->table[offer->index];
    struct dj_option_value *value = &resolver->options->values[offer->index];
    char *where = dj_strdup(deja_slice_text(offer->where));
    if (!where)
        return DEJA_ERR_NOMEM;
    enum deja_status status = dj_option_value_parse(option, text, offer->separator, value, error);
    if (status != DEJA_OK) {
        dj_free(where);
        return status;
    }
    value->where = where; /* parse replaced the whole value, its old place included */
    value->origin = offer->origin;
    value->is_from_old_name = offer->is_from_old_name;
    return DEJA_OK;
}

static void apply(struct resolver *resolver, const struct offer *offer)
{
    const struct dj_option *option = &resolver->input->table[offer->index];
    struct deja_error error = {.message = ""};
    struct dj_buf expanded = {0};
    struct deja_slice text = deja_slice_text(offer->value);
    enum deja_status status = DEJA_OK;
    dj_buf_init(&expanded, DJ_CONFIG_BYTES_MAX);
    bool is_expanded = dj_has_expansion(offer->value);
    if (is_expanded) {
        status = dj_expand(offer->value, resolver->input->environment, &expanded, &error);
        text = dj_buf_slice(&expanded);
    } else if (offer->is_quoted && wants_plain(option->type)) {
        status = deja_error_set(&error, DEJA_ERR_INVALID, "%s: a number or boolean has no quotes",
                                option->name);
    }
    if (status == DEJA_OK)
        status = set_text(resolver, offer, text, &error);
    if (status == DEJA_ERR_NOMEM)
        resolver->status = status;
    else if (status != DEJA_OK)
        dj_diagnostics_error(resolver->diagnostics, offer->where, "%s",
                             error.message[0] ? error.message : deja_status_text(status));
    if (expanded.data)
        explicit_bzero(expanded.data, expanded.len);
    dj_buf_fini(&expanded);
}

/* "security.secret_file" names a file with the value of "security.secret". */
static void apply_file(struct resolver *resolver, struct offer offer)
{
    struct deja_error error = {.message = ""};
    struct dj_buf bytes = {0};
    bool is_open = false;
    if (!offer.value[0])
        return;
    dj_buf_init(&bytes, 2 * DJ_SECRET_FILE_MAX);
    enum deja_status status = dj_secret_file_read(offer.value, &bytes, &is_open, &error);
    if (status == DEJA_OK && is_open)
        dj_diagnostics_warning(resolver->diagnostics, offer.where,
                               "%s can be read by others: chmod 600 %s", offer.value, offer.value);
    if (status == DEJA_OK)
        status = set_text(resolver, &offer, dj_buf_slice(&bytes), &error);
    if (status == DEJA_ERR_NOMEM)
        resolver->status = status;
    else if (status != DEJA_OK)
        dj_diagnostics_error(resolver->diagnostics, offer.where, "%s", error.message);
    if (bytes.data)
        explicit_bzero(bytes.data, bytes.len);
    dj_buf_fini(&bytes);
}

static size_t find_old_name(const struct dj_options_input *input, const char *key)
{
    struct deja_slice wanted = deja_slice_text(key);
    for (size_t i = 0; i < input->count; i++)
        for (size_t j = 0; input->table[i].old_names; j++) {
            struct deja_slice old = dj_word_at(input->table[i].old_names, ' ', j);
            if (!old.data)
                break;
            if (deja_slice_is_equal(old, wanted))
                return i;
        }
    return input->count;
}

/* The secret whose name with "_file" appended is key, or count. */
static size_t find_secret_file(const struct dj_options_input *input, const char *key)
{
    size_t len = strlen(key);
    if (len <= 5 || strcmp(key + len - 5, "_file") != 0)
        return input->count;
    for (size_t i = 0; i < input->count; i++)
        if (input->table[i].type == DJ_OPTION_SECRET && strlen(input->table[i].name) == len - 5 &&
            memcmp(input->table[i].name, key, len - 5) == 0)
            return i;
    return input->count;
}

static const struct dj_reserved *find_reserved(const struct dj_options_input *input,
                                               const char *key)
{
    for (size_t i = 0; i < input->reserved_count; i++) {
        size_t len = strlen(input->reserved[i].prefix);
        if (strncmp(key, input->reserved[i].prefix, len) == 0 && (!key[len] || key[len] == '.'))
            return &input->reserved[i];
    }
    return NULL;
}

static bool is_section(const struct dj_options_input *input, const char *key)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < input->count; i++)
        if (strncmp(input->table[i].name, key, len) == 0 && input->table[i].name[len] == '.')
            return true;
    return strcmp(key, "cache") == 0;
}

static bool is_switched_off(const char *key, const char *value)
{
    size_t len = strlen(key);
    return len >= 8 && strcmp(key + len - 8, ".enabled") == 0 && strcmp(value, "false") == 0;
}

/* The first part of key, terminated; false: it has only one, or one that is too long. */
static bool section_of(const char *key, char out_section[KEY_MAX])
{
    const char *dot = strchr(key, '.');
    size_t len = dot ? (size_t)(dot - key) : KEY_MAX;
    if (len >= KEY_MAX)
        return false;
    memcpy(out_section, key, len);
    out_section[len] = '\0';
    return true;
}

/* A key of a file whose section nobody knows: the section is told, once. */
static bool report_unknown_section(struct resolver *resolver, const char *key, const char *where)
{
    const struct dj_options_input *input = resolver->input;
    char section[KEY_MAX];
    char offered[KEY_MAX];
    char best[KEY_MAX] = "";
    if (!where || !section_of(key, section) || is_section(input, section))
        return false;
    if (strcmp(resolver->unknown_section, section) == 0)
        return true;
    memcpy(resolver->unknown_section, section, sizeof section);
    struct dj_suggest suggest = dj_suggest(section);
    for (size_t i = 0; i < input->count; i++) {
        size_t distance = suggest.best ? suggest.distance : SIZE_MAX;
        if (!section_of(input->table[i].name, offered))
            continue;
        dj_suggest_offer(&suggest, offered);
        if (suggest.best && suggest.distance < distance)
            memcpy(best, offered, sizeof best);
    }
    if (*best)
        dj_diagnostics_error(resolver->diagnostics, where,
                             "unknown section \"%s\": did you mean \"%s\"?", section, best);
    else
        dj_diagnostics_error(resolver->diagnostics, where, "unknown section \"%s\"", section);
    return true;
}

static void report_unknown(struct resolver *resolver, const char *key, const struct offer *offer)
{
    const struct dj_options_input *input = resolver->input;
    const struct dj_reserved *reserved = find_reserved(input, key);
    const char *where = offer->key_where ? offer->key_where : offer->where;
    struct dj_suggest suggest = dj_suggest(key);
    if (reserved) {
        if (!is_switched_off(key, offer->value))
            dj_diagnostics_error(resolver->diagnostics, where, "%s: %s", key, reserved->reason);
        return;
    }
    if (report_unknown_section(resolver, key, offer->section_where))
        return;
    for (size_t i = 0; i < input->count; i++)
        dj_suggest_offer(&suggest, input->table[i].name);
    if (suggest.best)
        dj_diagnostics_error(resolver->diagnostics, where,
                             "unknown key \"%s\": did you mean \"%s\"?", key, suggest.best);
    else
        dj_diagnostics_error(resolver->diagnostics, where, "unknown key \"%s\"", key);
}

static bool give_away(const struct resolver *resolver, const char *key, const struct offer *offer)
{
    const struct dj_options_input *input = resolver->input;
    const struct dj_options_other other = {.key = key,
                                           .value = offer->value ? offer->value : "",
                                           .where = offer->where,
                                           .key_where =
                                               offer->key_where ? offer->key_where : offer->where,
                                           .is_list = offer->separator == '\n'};
    return input->other && input->other(input->other_ctx, &other);
}

/* Finds the row of a key, also of an old one (told with a warning), and applies the value there. */
static void apply_key(struct resolver *resolver, const char *key, struct offer offer)
{
    const struct dj_options_input *input = resolver->input;
    offer.index = find_row(input->table, input->count, key);
    if (offer.index < input->count) {
        apply(resolver, &offer);
        return;
    }
    offer.index = find_secret_file(input, key);
    if (offer.index < input->count) {
        apply_file(resolver, offer);
        return;
    }
    offer.index = find_old_name(input, key);
    if (offer.index == input->count && strncmp(key, "cache.", 6) == 0) {
        offer.index = find_row(input->table, input->count, key + 6);
        if (offer.index == input->count)
            offer.index = find_old_name(input, key + 6);
        if (offer.index == input->count && find_reserved(input, key + 6))
            key += 6;
    }
    if (offer.index == input->count) {
        if (!give_away(resolver, key, &offer))
            report_unknown(resolver, key, &offer);
        return;
    }
    dj_diagnostics_warning(resolver->diagnostics, offer.where, "\"%s\" is an old name of \"%s\"",
                           key, input->table[offer.index].name);
    const struct dj_option_value *value = &resolver->options->values[offer.index];
    bool has_current = value->origin == offer.origin && !value->is_from_old_name;
    offer.is_from_old_name = true;
    if (!has_current)
        apply(resolver, &offer);
}

static void apply_defaults(struct resolver *resolver)
{
    const struct dj_options_input *input = resolver->input;
    for (size_t i = 0; i < input->count && resolver->status == DEJA_OK; i++) {
        struct offer offer = {.index = i,
                              .value = input->table[i].default_text,
                              .where = "default",
                              .origin = DJ_ORIGIN_DEFAULT,
                              .separator = ','};
        apply(resolver, &offer);
    }
}

static void apply_config_file(struct resolver *resolver)
{
    const struct dj_options_input *input = resolver->input;
    const char *name = dj_config_name(input->file);
    char where[WHERE_MAX];
    char key_where[WHERE_MAX];
    char section_where[WHERE_MAX];
    for (size_t i = 0; i < dj_config_count(input->file) && resolver->status == DEJA_OK; i++) {
        const struct dj_config_item *item = dj_config_at(input->file, i);
        size_t row = find_row(input->table, input->count, item->key);
        bool is_list = row < input->count && input->table[row].type == DJ_OPTION_LIST;
        snprintf(where, sizeof where, "%s:%u:%u", name, item->line, item->column);
        snprintf(key_where, sizeof key_where, "%s:%u:%u", name, item->key_line, item->key_column);
        snprintf(section_where, sizeof section_where, "%s:%u:%u", name, item->section_line,
                 item->section_column);
        struct offer offer = {.value = item->value,
                              .where = where,
                              .key_where = key_where,
                              .section_where = section_where,
                              .origin = DJ_ORIGIN_FILE,
                              .separator = item->kind == DJ_CONFIG_LIST ? '\n' : ',',
                              .is_quoted = item->kind == DJ_CONFIG_TEXT};
        if (item->kind == DJ_CONFIG_EMPTY || item->kind == DJ_CONFIG_NULL) {
            bool is_known = row < input->count || is_section(input, item->key) ||
                            find_old_name(input, item->key) < input->count ||
                            find_secret_file(input, item->key) < input->count ||
                            find_reserved(input, item->key);
            if (!is_known && !give_away(resolver, item->key, &offer))
                report_unknown(resolver, item->key, &offer);
            continue;
        }
        if (item->kind == DJ_CONFIG_LIST && row < input->count && !is_list) {
            dj_diagnostics_error(resolver->diagnostics, where, "%s takes one value, not a list",
                                 item->key);
            continue;
        }
        apply_key(resolver, item->key, offer);
    }
}

/* Further names, weaker than any DEJA_ name; an empty one is as if it were not set. */
static void apply_environment_names(struct resolver *resolver)
{
    const struct dj_options_input *input = resolver->input;
    char where[WHERE_MAX];
    for (size_t i = 0; i < input->count; i++) {
        for (size_t j = 0; input->table[i].env_names && resolver->status == DEJA_OK; j++) {
            struct deja_slice name = dj_word_at(input->table[i].env_names, ' ', j);
            const char *value = name.data ? dj_environment_find(input->environment, name) : NULL;
            if (!name.data)
                break;
            if (!value || !*value)
                continue;
            snprintf(where, sizeof where, "environment %.*s", (int)name.len, name.data);
            struct offer offer = {.index = i,
                                  .value = value,
                                  .where = where,
                                  .origin = DJ_ORIGIN_ENV,
                                  .separator = ',',
                                  .is_from_old_name = true};
            apply(resolver, &offer);
            break; /* the first name that is set wins */
        }
    }
    for (size_t j = 0; input->reserved_env; j++) {
        struct deja_slice name = dj_word_at(input->reserved_env, ' ', j);
        if (!name.data)
            break;
        const char *value = dj_environment_find(input->environment, name);
        if (!value || !*value || strcmp(value, "false") == 0)
            continue;
        snprintf(where, sizeof where, "environment %.*s", (int)name.len, name.data);
        dj_diagnostics_warning(resolver->diagnostics, where,
                               "set, but this version has no use for it");
    }
}

/* "L1__MAX_SIZE" to "l1.max_size"; false: not the name of an option (no section, too long). */
static bool environment_key(const char *name, size_t len, char out_key[KEY_MAX])
{
    size_t used = 0;
    bool has_section = false;
    for (size_t i = 0; i < len; i++) {
        bool is_dot = name[i] == '_' && i + 1 < len && name[i + 1] == '_';
        if (used + 1 >= KEY_MAX)
            return false;
        has_section = has_section || is_dot;
        out_key[used++] = is_dot                             ? '.'
                          : name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] + 32)
                                                             : name[i];
        i += is_dot;
    }
    out_key[used] = '\0';
    return has_section;
}

static void apply_environment(struct resolver *resolver)
{
    const char *const *environment = resolver->input->environment;
    char key[KEY_MAX];
    char where[WHERE_MAX];
    for (; environment && *environment && resolver->status == DEJA_OK; environment++) {
        const char *equals = strchr(*environment, '=');
        if (!equals || strncmp(*environment, "DEJA_", 5) != 0)
            continue;
        if (!environment_key(*environment + 5, (size_t)(equals - *environment) - 5, key))
            continue;
        snprintf(where, sizeof where, "environment %.*s", (int)(equals - *environment),
                 *environment);
        struct offer offer = {
            .value = equals + 1, .where = where, .origin = DJ_ORIGIN_ENV, .separator = ','};
        apply_key(resolver, key, offer);
    }
}

static void apply_flags(struct resolver *resolver)
{
    const struct dj_options_input *input = resolver->input;
    char where[WHERE_MAX];
    for (size_t i = 0; i < input->flag_count && resolver->status == DEJA_OK; i++) {
        const struct dj_flag *flag = &input->flags[i];
        const char *key = flag->name;
        snprintf(where, sizeof where, "flag %s", flag->name);
        for (size_t row = 0; row < input->count; row++)
            if (input->table[row].flag && strcmp(input->table[row].flag, flag->name) == 0)
                key = input->table[row].name;
        size_t row = find_row(input->table, input->count, key);
        if (row < input->count && input->table[row].type == DJ_OPTION_SECRET) {
            dj_diagnostics_error(resolver->diagnostics, where,
                                 "a secret is never a flag: use the file or the environment");
            continue;
        }
        struct offer offer = {
            .value = flag->value, .where = where, .origin = DJ_ORIGIN_FLAG, .separator = ','};
        apply_key(resolver, key, offer);
    }
}

/* Last, because any source may choose the profile; it only fills what none of them said. */
static void apply_profile(struct resolver *resolver)
{
    const struct dj_options_input *input = resolver->input;
    size_t chooser =
        input->profile ? find_row(input->table, input->count, input->profile) : input->count;
    char where[WHERE_MAX];
    if (chooser == input->count)
        return;
    const char *chosen = resolver->options->values[chooser].shown;
    for (size_t i = 0; i < input->preset_count && resolver->status == DEJA_OK; i++) {
        const struct dj_preset *preset = &input->presets[i];
        struct offer offer = {.index = find_row(input->table, input->count, preset->name),
                              .value = preset->text,
                              .where = where,
                              .origin = DJ_ORIGIN_PROFILE,
                              .separator = ','};
        snprintf(where, sizeof where, "profile %s", preset->profile);
        if (chosen && strcmp(chosen, preset->profile) == 0 && offer.index < input->count &&
            resolver->options->values[offer.index].origin == DJ_ORIGIN_DEFAULT)
            apply(resolver, &offer);
    }
}

enum deja_status dj_options_resolve(const struct dj_options_input *input,
                                    struct dj_diagnostics *diagnostics,
                                    struct dj_options **out_options)
{
    size_t faults = diagnostics->error_count;
    struct dj_options *options = dj_alloc_zeroed(1, sizeof *options);
    if (!options)
        return DEJA_ERR_NOMEM;
    struct resolver resolver = {.input = input, .options = options, .diagnostics = diagnostics};
    options->table = input->table;
    options->count = input->count;
    options->values = dj_alloc_zeroed(input->count ? input->count : 1, sizeof *options->values);
    if (!options->values)
        resolver.status = DEJA_ERR_NOMEM;
    if (resolver.status == DEJA_OK)
        apply_defaults(&resolver);
    if (resolver.status == DEJA_OK && input->file)
        apply_config_file(&resolver);
    if (resolver.status == DEJA_OK)
        apply_environment_names(&resolver);
    if (resolver.status == DEJA_OK)
        apply_environment(&resolver);
    if (resolver.status == DEJA_OK)
        apply_flags(&resolver);
    if (resolver.status == DEJA_OK)
        apply_profile(&resolver);
    if (resolver.status == DEJA_OK && diagnostics->error_count > faults)
        resolver.status = DEJA_ERR_CONFIG;
    if (resolver.status != DEJA_OK) {
        dj_options_destroy(options);
        return resolver.status;
    }
    *out_options = options;
    return DEJA_OK;
}

enum deja_status dj_options_fill(const struct dj_options *options, void *target)
{
    for (size_t i = 0; i < options->count; i++) {
        enum deja_status status =
            dj_option_value_store(&options->table[i], &options->values[i], target);
        if (status != DEJA_OK) {
            dj_options_release(options->table, i, target);
            return status;
        }
    }
    return DEJA_OK;
}

void dj_options_release(const struct dj_option *table, size_t count, void *target)
{
    for (size_t i = 0; i < count; i++)
        dj_option_value_release(&table[i], target);
}
