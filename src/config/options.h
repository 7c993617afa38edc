/* config/options.h - options declared as tables, and their values with the place each came from.
 *
 * A room (or daemon/settings.c for it) declares `static const struct dj_option` rows; a resolved
 * set holds one value per row. Who wins: flag > environment DEJA_SECTION__KEY > further environment
 * names > file > profile > default. Every fault is collected (config/diagnostics.h) with its
 * position.
 *
 * Trust: the file, the environment and the flags are the operator's; sizes are bounded all the
 * same. Threads: a resolved set is immutable after dj_options_resolve and may be read anywhere.
 */
#ifndef DJ_CONFIG_OPTIONS_H
#define DJ_CONFIG_OPTIONS_H

#include <deja/base.h>

#include "base/buf.h"
#include "config/config.h"
#include "config/diagnostics.h"

/* Values as dj_options_fill stores them. */
enum dj_option_type {
    DJ_OPTION_BOOL,     /* bool: true | false */
    DJ_OPTION_INT,      /* uint32_t */
    DJ_OPTION_DOUBLE,   /* double */
    DJ_OPTION_DURATION, /* uint64_t, milliseconds: 250ms 30s 5m 1h 2d, or seconds */
    DJ_OPTION_SIZE,     /* uint64_t, bytes: 64kb 100mb 2gb */
    DJ_OPTION_TEXT,     /* char *, owned; NULL when empty */
    DJ_OPTION_ENUM,     /* int: index into choices; enum types of that size fit */
    DJ_OPTION_LIST,     /* struct dj_text_list; with choices each item must be one of them */
    DJ_OPTION_SECRET,   /* char *, owned, wiped; NULL when empty; never printed, never a flag */
};

struct dj_text_list {
    char **items; /* owned, terminated; in settings NULL comes after the last, or none is there */
    size_t count;
};

#define DJ_OPTION_LIST_MAX 64u
#define DJ_OPTION_TEXT_MAX 4096u

struct dj_option {
    const char *name; /* "l1.max_size" */
    enum dj_option_type type;
    const char *default_text; /* as a file would say it; lists: comma separated; "" allowed */
    double min, max;          /* int, double, duration (ms), size (bytes); both 0: any */
    const char *choices;      /* enum, list: "original|zero" */
    const char *help;         /* one sentence */
    const char *flag;         /* "--listen", or NULL */
    const char *old_names;    /* "memory_cache_size cache.l1.size": accepted with a warning */
    const char *env_names;    /* "CACHE_L1_MAX_SIZE CACHE_MEMORY_SIZE", below DEJA_ names */
    bool is_reloadable;
    size_t offset; /* in the struct that dj_options_fill writes */
};

enum dj_origin {
    DJ_ORIGIN_DEFAULT,
    DJ_ORIGIN_PROFILE,
    DJ_ORIGIN_FILE,
    DJ_ORIGIN_ENV,
    DJ_ORIGIN_FLAG
};

struct dj_flag {
    const char *name;  /* "l1.max_size", or the option's flag "--listen" */
    const char *value; /* borrowed */
};

/* A key that is understood and not offered: a file that says it is refused with `reason`. */
struct dj_reserved {
    const char *prefix; /* "l2" covers l2 and l2.anything */
    const char *reason;
};

/* A value that another option's value brings with it, where nobody said one: a profile. */
struct dj_preset {
    const char *name; /* of the option it is for; one that the table has not is passed over */
    const char *profile;
    const char *text; /* as a file would say it */
};

/* A key that the table has not. Borrowed until return. */
struct dj_options_other {
    const char *key;
    const char *value;     /* a list: items joined by '\n' */
    const char *where;     /* of the value */
    const char *key_where; /* of the key; where there is none: of the value */
    bool is_list;
};
/* false: it is not the callee's either. What is wrong with it, the callee tells. Told in the order
 * of the sources, weakest first. */
typedef bool dj_options_other_fn(void *ctx, const struct dj_options_other *other);

struct dj_options_input {
    const struct dj_option *table; /* borrowed for the life of the set */
    size_t count;
    const char *profile; /* name of the option that chooses among the presets; NULL: none */
    const struct dj_preset *presets;
    size_t preset_count;
    const struct dj_reserved *reserved;
    size_t reserved_count;
    dj_options_other_fn *other; /* NULL: every key is in the table */
    void *other_ctx;
    const char *reserved_env;       /* names that are only warned about: "REDIS_URL REDIS_ADDR" */
    const struct dj_config *file;   /* NULL: none */
    const char *const *environment; /* "NAME=value", NULL-terminated; NULL: none */
    const struct dj_flag *flags;
    size_t flag_count;
};

struct dj_options; /* opaque: the resolved set */

/* Reports every fault; DEJA_ERR_CONFIG if there was one (no set), DEJA_ERR_NOMEM. */
enum deja_status dj_options_resolve(const struct dj_options_input *input,
                                    struct dj_diagnostics *diagnostics,
                                    struct dj_options **out_options) DEJA_NODISCARD;
void dj_options_destroy(struct dj_options *options); /* wipes secrets; accepts NULL */

size_t dj_options_count(const struct dj_options *options);
const struct dj_option *dj_options_at(const struct dj_options *options, size_t index);
/* The value as text in its shortest form; secrets: "***" or "". Borrowed from the set. */
const char *dj_options_text(const struct dj_options *options, size_t index);
enum dj_origin dj_options_origin(const struct dj_options *options, size_t index);
/* "default", "profile low-latency", "deja.yaml:3:5", "environment DEJA_L1__MAX_SIZE", "flag
 * --listen". Borrowed. */
const char *dj_options_where(const struct dj_options *options, size_t index);
/* Index of a name (current names only), or count. */
size_t dj_options_find(const struct dj_options *options, const char *name);
/* Same value in both sets (same table); secrets are compared, never shown. */
bool dj_options_is_equal(const struct dj_options *a, const struct dj_options *b, size_t index);

/* Writes each value at its row's offset into target (zeroed by the caller). On failure what was
 * written is released. DEJA_ERR_NOMEM. */
enum deja_status dj_options_fill(const struct dj_options *options, void *target) DEJA_NODISCARD;
/* Releases texts, lists and secrets that fill() wrote, and zeroes them. */
void dj_options_release(const struct dj_option *table, size_t count, void *target);

/* Every row of a table, for people: markdown (docs/configuration.md), a commented YAML file with
 * the defaults (deja.yaml.example), one JSON array, or the body of deja.conf(5). */
enum dj_describe_form {
    DJ_DESCRIBE_MARKDOWN,
    DJ_DESCRIBE_YAML,
    DJ_DESCRIBE_JSON,
    DJ_DESCRIBE_ROFF,
};
void dj_options_describe(const struct dj_option *table, size_t count, enum dj_describe_form form,
                         struct dj_buf *out);

#endif
