/* config/option_value.c - see option_value.h. */
#include "config/option_value.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/num.h"
#include "base/slice.h"

struct unit {
    const char *name;
    uint64_t factor;
};

static void show_with_unit(uint64_t value, const struct unit *units, size_t count,
                           struct dj_buf *out)
{
    for (size_t i = 0; i < count; i++) {
        if (value % units[i].factor || (!value && units[i].factor != 1))
            continue;
        dj_buf_append_u64(out, value / units[i].factor);
        dj_buf_append_text(out, units[i].name);
        return;
    }
}

void dj_duration_show(uint64_t ms, struct dj_buf *out)
{
    static const struct unit units[] = {
        {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    bool is_one_day = ms == 86400000; /* people say 24h */
    show_with_unit(ms, is_one_day ? units + 1 : units, is_one_day ? 4 : 5, out);
}

void dj_size_show(uint64_t bytes, struct dj_buf *out)
{
    static const struct unit units[] = {
        {"tb", 1ull << 40}, {"gb", 1u << 30}, {"mb", 1u << 20}, {"kb", 1u << 10}, {"", 1}};
    show_with_unit(bytes, units, 5, out);
}

struct deja_slice dj_word_at(const char *words, char separator, size_t index)
{
    const char *start = words;
    while (start && *start) {
        const char *end = strchr(start, separator);
        size_t len = end ? (size_t)(end - start) : strlen(start);
        if (!index--)
            return deja_slice(start, len);
        start = end ? end + 1 : NULL;
    }
    return deja_slice(NULL, 0);
}

void dj_text_wipe_free(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    dj_free(text);
}

void dj_text_list_fini(struct dj_text_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        dj_free(list->items[i]);
    dj_free(list->items);
    *list = (struct dj_text_list){0};
}

void dj_option_value_fini(struct dj_option_value *value)
{
    dj_text_wipe_free(value->text);
    dj_text_list_fini(&value->list);
    dj_free(value->shown);
    dj_free(value->where);
    *value = (struct dj_option_value){0};
}

static enum deja_status fail(const struct dj_option *option, struct deja_slice text,
                             struct deja_error *error, const char *expected)
{
    if (option->type == DJ_OPTION_SECRET || !text.data)
        return deja_error_set(error, DEJA_ERR_INVALID, "%s expects %s", option->name, expected);
    return deja_error_set(error, DEJA_ERR_INVALID, "%s expects %s, not \"%.*s%s\"", option->name,
                          expected, (int)(text.len < 60 ? text.len : 60), text.data,
                          text.len < 60 ? "" : "…");
}

static void show_bound(const struct dj_option *option, double bound, struct dj_buf *out)
{
    if (option->type == DJ_OPTION_DURATION)
        dj_duration_show((uint64_t)bound, out);
    else if (option->type == DJ_OPTION_SIZE)
        dj_size_show((uint64_t)bound, out);
    else
        dj_buf_append_format(out, "%.10g", bound);
}

static enum deja_status check_range(const struct dj_option *option, double number,
                                    struct deja_slice text, struct deja_error *error)
{
    bool has_range = option->min < option->max;
    if (!has_range || (number >= option->min && number <= option->max))
        return DEJA_OK;
    struct dj_buf range = {0};
    show_bound(option, option->min, &range);
    dj_buf_append_text(&range, " to ");
    show_bound(option, option->max, &range);
    enum deja_status status = deja_error_set(
        error, DEJA_ERR_INVALID, "%s must be from %.*s, not %.*s", option->name, (int)range.len,
        range.data ? range.data : "", (int)(text.len < 60 ? text.len : 60), text.data);
    dj_buf_fini(&range);
    return status;
}

static enum deja_status parse_bool(const struct dj_option *option, struct deja_slice text,
                                   struct dj_option_value *value, struct deja_error *error)
{
    value->boolean = dj_slice_is(text, "true");
    if (!value->boolean && !dj_slice_is(text, "false"))
        return fail(option, text, error, "true or false");
    return DEJA_OK;
}

static enum deja_status parse_number(const struct dj_option *option, struct deja_slice text,
                                     struct dj_option_value *value, struct deja_error *error)
{
    enum deja_status status;
    const char *expected;
    if (option->type == DJ_OPTION_DOUBLE) {
        expected = "a number";
        status = dj_num_parse_double(text, &value->real);
    } else if (option->type == DJ_OPTION_DURATION) {
        expected = "a duration like 250ms, 30s, 5m, 1h, 2d or whole seconds";
        status = dj_num_parse_duration(text, &value->number);
    } else if (option->type == DJ_OPTION_SIZE) {
        expected = "a size like 64kb, 100mb, 2gb or whole bytes";
        status = dj_num_parse_size(text, &value->number);
    } else {
        expected = "a whole number";
        status = dj_num_parse_u64(text, &value->number);
        if (status == DEJA_OK && value->number > UINT32_MAX)
            status = DEJA_ERR_LIMIT;
    }
    if (status != DEJA_OK)
        return fail(option, text, error, expected);
    return check_range(option,
                       option->type == DJ_OPTION_DOUBLE ? value->real : (double)value->number, text,
                       error);
}

static bool find_choice(const struct dj_option *option, struct deja_slice text, int *out_choice)
{
    for (size_t i = 0;; i++) {
        struct deja_slice choice = dj_word_at(option->choices, '|', i);
        if (!choice.data)
            return false;
        if (deja_slice_is_equal(choice, text)) {
            *out_choice = (int)i;
            return true;
        }
    }
}

static enum deja_status fail_choice(const struct dj_option *option, struct deja_slice text,
                                    struct deja_error *error)
{
    char expected[160] = "one of ";
    size_t len = strlen(expected);
    for (const char *c = option->choices; *c && len < sizeof expected - 3; c++) {
        expected[len++] = *c == '|' ? ',' : *c;
        if (*c == '|')
            expected[len++] = ' ';
    }
    expected[len] = '\0';
    return fail(option, text, error, expected);
}

static enum deja_status parse_text(const struct dj_option *option, struct deja_slice text,
                                   struct dj_option_value *value, struct deja_error *error)
{
    if (text.len > DJ_OPTION_TEXT_MAX)
        return deja_error_set(error, DEJA_ERR_INVALID, "%s is longer than %u bytes", option->name,
                              DJ_OPTION_TEXT_MAX);
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f)
            return deja_error_set(error, DEJA_ERR_INVALID, "%s holds a control character",
                                  option->name);
    if (!text.len)
        return DEJA_OK;
    value->text = dj_strdup(text);
    return value->text ? DEJA_OK : DEJA_ERR_NOMEM;
}

static struct deja_slice trim(struct deja_slice text)
{
    while (text.len && text.data[0] == ' ')
        text = deja_slice(text.data + 1, text.len - 1);
    while (text.len && text.data[text.len - 1] == ' ')
        text.len--;
    return text;
}

static enum deja_status parse_list(const struct dj_option *option, struct deja_slice text,
                                   char separator, struct dj_option_value *value,
                                   struct deja_error *error)
{
    struct dj_text_list *list = &value->list;
    if (!trim(text).len)
        return DEJA_OK;
    list->items = dj_alloc_zeroed(DJ_OPTION_LIST_MAX, sizeof *list->items);
    if (!list->items)
        return DEJA_ERR_NOMEM;
    for (size_t start = 0; start <= text.len;) {
        const char *end = memchr(text.data + start, separator, text.len - start);
        size_t len = end ? (size_t)(end - text.data) - start : text.len - start;
        struct deja_slice item = trim(deja_slice(text.data + start, len));
        int choice = 0;
        start += len + 1;
        if (!item.len)
            return deja_error_set(error, DEJA_ERR_INVALID, "%s holds an empty item", option->name);
        if (option->choices && !find_choice(option, item, &choice))
            return fail_choice(option, item, error);
        if (list->count == DJ_OPTION_LIST_MAX)
            return deja_error_set(error, DEJA_ERR_INVALID, "%s holds more than %u items",
                                  option->name, DJ_OPTION_LIST_MAX);
        list->items[list->count] = dj_strdup(item);
        if (!list->items[list->count])
            return DEJA_ERR_NOMEM;
        list->count++;
    }
    return DEJA_OK;
}

static enum deja_status show(const struct dj_option *option, struct dj_option_value *value)
{
    struct dj_buf out = {0};
    switch (option->type) {
    case DJ_OPTION_BOOL:
        dj_buf_append_text(&out, value->boolean ? "true" : "false");
        break;
    case DJ_OPTION_INT:
        dj_buf_append_u64(&out, value->number);
        break;
    case DJ_OPTION_DOUBLE:
        dj_buf_append_format(&out, "%.10g", value->real);
        break;
    case DJ_OPTION_DURATION:
        dj_duration_show(value->number, &out);
        break;
    case DJ_OPTION_SIZE:
        dj_size_show(value->number, &out);
        break;
    case DJ_OPTION_TEXT:
        dj_buf_append_text(&out, value->text ? value->text : "");
        break;
    case DJ_OPTION_ENUM:
        dj_buf_append_slice(&out, dj_word_at(option->choices, '|', (size_t)value->choice));
        break;
    case DJ_OPTION_LIST:
        for (size_t i = 0; i < value->list.count; i++)
            dj_buf_append_format(&out, "%s%s", i ? ", " : "", value->list.items[i]);
        break;
    case DJ_OPTION_SECRET:
        dj_buf_append_text(&out, value->text ? "***" : "");
        break;
    }
    value->shown = dj_buf_take_text(&out);
    return value->shown ? DEJA_OK : DEJA_ERR_NOMEM;
}

enum deja_status dj_option_value_parse(const struct dj_option *option, struct deja_slice text,
                                       char separator, struct dj_option_value *out_value,
                                       struct deja_error *error)
{
    struct dj_option_value value = {0};
    enum deja_status status = DEJA_OK;
    switch (option->type) {
    case DJ_OPTION_BOOL:
        status = parse_bool(option, text, &value, error);
        break;
    case DJ_OPTION_INT:
    case DJ_OPTION_DOUBLE:
    case DJ_OPTION_DURATION:
    case DJ_OPTION_SIZE:
        status = parse_number(option, text, &value, error);
        break;
    case DJ_OPTION_TEXT:
    case DJ_OPTION_SECRET:
        status = parse_text(option, text, &value, error);
        break;
    case DJ_OPTION_ENUM:
        if (!find_choice(option, text, &value.choice))
            status = fail_choice(option, text, error);
        break;
    case DJ_OPTION_LIST:
        status = parse_list(option, text, separator, &value, error);
        break;
    }
    if (status == DEJA_OK)
        status = show(option, &value);
    if (status != DEJA_OK) {
        dj_option_value_fini(&value);
        return status;
    }
    dj_option_value_fini(out_value);
    *out_value = value;
    return DEJA_OK;
}

bool dj_option_value_is_equal(const struct dj_option *option, const struct dj_option_value *a,
                              const struct dj_option_value *b)
{
    if (option->type == DJ_OPTION_SECRET)
        return (!a->text && !b->text) || (a->text && b->text && strcmp(a->text, b->text) == 0);
    return strcmp(a->shown, b->shown) == 0;
}

static enum deja_status store_list(const struct dj_text_list *from, struct dj_text_list *out_list)
{
    struct dj_text_list list = {0};
    if (!from->count)
        return DEJA_OK;
    list.items = dj_alloc_zeroed(from->count + 1, sizeof *list.items); /* NULL ends it */
    if (!list.items)
        return DEJA_ERR_NOMEM;
    for (; list.count < from->count; list.count++) {
        list.items[list.count] = dj_strdup(deja_slice_text(from->items[list.count]));
        if (!list.items[list.count]) {
            dj_text_list_fini(&list);
            return DEJA_ERR_NOMEM;
        }
    }
    *out_list = list;
    return DEJA_OK;
}

enum deja_status dj_option_value_store(const struct dj_option *option,
                                       const struct dj_option_value *value, void *target)
{
    char *at = (char *)target + option->offset;
    uint32_t small = (uint32_t)value->number;
    char *text = NULL;
    struct dj_text_list list = {0};
    switch (option->type) {
    case DJ_OPTION_BOOL:
        memcpy(at, &value->boolean, sizeof value->boolean);
        break;
    case DJ_OPTION_INT:
        memcpy(at, &small, sizeof small);
        break;
    case DJ_OPTION_DOUBLE:
        memcpy(at, &value->real, sizeof value->real);
        break;
    case DJ_OPTION_DURATION:
    case DJ_OPTION_SIZE:
        memcpy(at, &value->number, sizeof value->number);
        break;
    case DJ_OPTION_ENUM:
        memcpy(at, &value->choice, sizeof value->choice);
        break;
    case DJ_OPTION_TEXT:
    case DJ_OPTION_SECRET:
        if (value->text && !(text = dj_strdup(deja_slice_text(value->text))))
            return DEJA_ERR_NOMEM;
        memcpy(at, &text, sizeof text);
        break;
    case DJ_OPTION_LIST:
        if (store_list(&value->list, &list) != DEJA_OK)
            return DEJA_ERR_NOMEM;
        memcpy(at, &list, sizeof list);
        break;
    }
    return DEJA_OK;
}

void dj_option_value_release(const struct dj_option *option, void *target)
{
    char *at = (char *)target + option->offset;
    char *text = NULL;
    struct dj_text_list list;
    if (option->type == DJ_OPTION_TEXT || option->type == DJ_OPTION_SECRET) {
        memcpy(&text, at, sizeof text);
        dj_text_wipe_free(text);
        text = NULL;
        memcpy(at, &text, sizeof text);
    } else if (option->type == DJ_OPTION_LIST) {
        memcpy(&list, at, sizeof list);
        dj_text_list_fini(&list);
        memcpy(at, &list, sizeof list);
    }
}
