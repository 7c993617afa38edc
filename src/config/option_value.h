/* config/option_value.h - one option's value: parsed, shown, compared, handed out. */
#ifndef DJ_CONFIG_OPTION_VALUE_H
#define DJ_CONFIG_OPTION_VALUE_H

#include "config/options.h"

struct dj_option_value {
    union {
        bool boolean;
        uint64_t number; /* int, duration, size */
        double real;
        int choice;
    };
    char *text;               /* owned: text and secret; NULL when empty */
    struct dj_text_list list; /* owned */
    char *shown;              /* owned, never NULL once parsed */
    char *where;              /* owned, never NULL once parsed */
    enum dj_origin origin;
    bool is_from_old_name;
};

/* text as a file, the environment or a flag says it; items of a list are parted by separator.
 * *out_value (zeroed or parsed before) is replaced on DEJA_OK. DEJA_ERR_INVALID: error says what
 * was expected, without the value when it is a secret. */
enum deja_status dj_option_value_parse(const struct dj_option *option, struct deja_slice text,
                                       char separator, struct dj_option_value *out_value,
                                       struct deja_error *error) DEJA_NODISCARD;
void dj_option_value_fini(struct dj_option_value *value); /* wipes and zeroes */
bool dj_option_value_is_equal(const struct dj_option *option, const struct dj_option_value *a,
                              const struct dj_option_value *b);
/* At option->offset in target. */
enum deja_status dj_option_value_store(const struct dj_option *option,
                                       const struct dj_option_value *value,
                                       void *target) DEJA_NODISCARD;
void dj_option_value_release(const struct dj_option *option, void *target);

void dj_text_list_fini(struct dj_text_list *list);
/* Wipes, then frees; accepts NULL. */
void dj_text_wipe_free(char *text);
/* "30s", "5m", "24h"; "64kb", "100mb": the largest unit that leaves a whole number. */
void dj_duration_show(uint64_t ms, struct dj_buf *out);
void dj_size_show(uint64_t bytes, struct dj_buf *out);
/* The index-th word of "a|b c" parted by separator, or a NULL slice. */
struct deja_slice dj_word_at(const char *words, char separator, size_t index);

#endif
