/* config/args.h - flags and words of a command line.
 *
 * `--name value`, `--name=value`, `--switch`, `--` ends the flags; "-" and negative numbers are
 * words. Flags may stand anywhere. Trust: the operator's. Threads: none of its own; every text is
 * borrowed from argv.
 */
#ifndef DJ_CONFIG_ARGS_H
#define DJ_CONFIG_ARGS_H

#include <deja/base.h>

#define DJ_ARGS_WORDS_MAX 64u
#define DJ_ARG_VALUES_MAX 32u

struct dj_arg_values {
    const char *items[DJ_ARG_VALUES_MAX];
    size_t count;
};

/* Exactly one of the three outputs is set; they are written when the flag is met. */
struct dj_arg {
    const char *name; /* "--ttl" */
    bool *out_switch;
    const char **out_value;           /* the last one wins */
    struct dj_arg_values *out_values; /* all of them */
};

struct dj_words {
    const char *items[DJ_ARGS_WORDS_MAX];
    size_t count;
};

/* argv: what follows the command. DEJA_ERR_INVALID: error says what, with "did you mean". */
enum deja_status dj_args_parse(int argc, char *const *argv, const struct dj_arg *args, size_t count,
                               struct dj_words *out_words, struct deja_error *error) DEJA_NODISCARD;

#endif
