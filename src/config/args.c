/* config/args.c - see args.h. */
#include "config/args.h"

#include "base/slice.h"
#include "base/suggest.h"

static const struct dj_arg *find_arg(const struct dj_arg *args, size_t count,
                                     struct deja_slice name)
{
    for (size_t i = 0; i < count; i++)
        if (dj_slice_is(name, args[i].name))
            return &args[i];
    return NULL;
}

static enum deja_status unknown(const char *text, const struct dj_arg *args, size_t count,
                                struct deja_error *error)
{
    struct dj_suggest suggest = dj_suggest(text);
    for (size_t i = 0; i < count; i++)
        dj_suggest_offer(&suggest, args[i].name);
    if (suggest.best)
        return deja_error_set(error, DEJA_ERR_INVALID, "unknown flag %s: did you mean %s?", text,
                              suggest.best);
    return deja_error_set(error, DEJA_ERR_INVALID,
                          "unknown flag %s (a word that begins with - stands behind --)", text);
}

/* No flag begins with a digit, so -7 is a word. */
static bool is_flag(const char *text)
{
    return text[0] == '-' && text[1] && !(text[1] >= '0' && text[1] <= '9');
}

static enum deja_status add_value(const struct dj_arg *arg, const char *value,
                                  struct deja_error *error)
{
    if (arg->out_value) {
        *arg->out_value = value;
        return DEJA_OK;
    }
    if (arg->out_values->count == DJ_ARG_VALUES_MAX)
        return deja_error_set(error, DEJA_ERR_INVALID, "too many %s", arg->name);
    arg->out_values->items[arg->out_values->count++] = value;
    return DEJA_OK;
}

/* One flag at argv[*at]; *at moves on when its value is the next argument. */
static enum deja_status parse_flag(int argc, char *const *argv, int *at, const struct dj_arg *args,
                                   size_t count, struct deja_error *error)
{
    const char *text = argv[*at];
    const char *equals = strchr(text, '=');
    struct deja_slice name = deja_slice(text, equals ? (size_t)(equals - text) : strlen(text));
    const struct dj_arg *arg = find_arg(args, count, name);
    if (!arg)
        return unknown(text, args, count, error);
    if (arg->out_switch) {
        bool is_off = equals && strcmp(equals, "=false") == 0;
        if (equals && !is_off && strcmp(equals, "=true") != 0)
            return deja_error_set(error, DEJA_ERR_INVALID, "%s takes no value", arg->name);
        *arg->out_switch = !is_off;
        return DEJA_OK;
    }
    if (equals)
        return add_value(arg, equals + 1, error);
    if (*at + 1 >= argc)
        return deja_error_set(error, DEJA_ERR_INVALID, "%s needs a value", arg->name);
    return add_value(arg, argv[++*at], error);
}

enum deja_status dj_args_parse(int argc, char *const *argv, const struct dj_arg *args, size_t count,
                               struct dj_words *out_words, struct deja_error *error)
{
    struct dj_words words = {.count = 0};
    bool is_over = false;
    for (int i = 0; i < argc; i++) {
        if (!is_over && strcmp(argv[i], "--") == 0) {
            is_over = true;
            continue;
        }
        if (!is_over && is_flag(argv[i])) {
            enum deja_status status = parse_flag(argc, argv, &i, args, count, error);
            if (status != DEJA_OK)
                return status;
            continue;
        }
        if (words.count == DJ_ARGS_WORDS_MAX)
            return deja_error_set(error, DEJA_ERR_INVALID, "too many words");
        words.items[words.count++] = argv[i];
    }
    *out_words = words;
    return DEJA_OK;
}
