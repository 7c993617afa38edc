/* config/config.h - a YAML or JSON file as a flat list of dotted keys with positions.
 *
 * {l1: {max_size: 10}} becomes "l1.max_size" = "10". A sequence of scalars is one value of kind
 * list; deeper sequences are refused. A duplicate key, an alias, a tag, a second document and a
 * key that is not plain text are errors.
 *
 * Trust: the operator's file; at most 1 MB, 16 levels, 10,000 keys. Threads: immutable once read.
 */
#ifndef DJ_CONFIG_CONFIG_H
#define DJ_CONFIG_CONFIG_H

#include <deja/base.h>

#include "config/diagnostics.h"

#define DJ_CONFIG_BYTES_MAX (1u << 20)
#define DJ_CONFIG_DEPTH_MAX 16u
#define DJ_CONFIG_KEYS_MAX 10000u

enum dj_config_kind {
    DJ_CONFIG_NULL,   /* nothing, ~ or null: as if the key were not there */
    DJ_CONFIG_SCALAR, /* plain: 10, true, lru */
    DJ_CONFIG_TEXT,   /* quoted: never a number or a boolean by itself */
    DJ_CONFIG_LIST,   /* items, one scalar each */
    DJ_CONFIG_EMPTY,  /* an empty mapping */
};

struct dj_config_item {
    const char *key;   /* "l1.max_size"; terminated, borrowed from the config */
    const char *value; /* terminated; list: the items joined by '\n' */
    enum dj_config_kind kind;
    uint32_t line, column; /* of the value, from 1 */
    uint32_t key_line, key_column;
    uint32_t section_line, section_column; /* of the first key of the path */
};

struct dj_config; /* opaque */

/* name: for messages. JSON when is_json, YAML otherwise. DEJA_ERR_CONFIG: diagnostics say why. */
enum deja_status dj_config_parse(struct deja_slice text, const char *name, bool is_json,
                                 struct dj_diagnostics *diagnostics,
                                 struct dj_config **out_config) DEJA_NODISCARD;
/* A name ending in ".json" is JSON. DEJA_ERR_CONFIG: also when the file cannot be read. */
enum deja_status dj_config_read(const char *path, struct dj_diagnostics *diagnostics,
                                struct dj_config **out_config) DEJA_NODISCARD;
void dj_config_destroy(struct dj_config *config); /* accepts NULL */

const char *dj_config_name(const struct dj_config *config);
size_t dj_config_count(const struct dj_config *config);
const struct dj_config_item *dj_config_at(const struct dj_config *config, size_t index);

#endif
