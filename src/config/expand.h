/* config/expand.h - ${ENV:NAME} and ${CRED:name} inside values, and secrets kept in files.
 *
 * Expanded once: what comes out is not looked at again. Trust: the operator's.
 */
#ifndef DJ_CONFIG_EXPAND_H
#define DJ_CONFIG_EXPAND_H

#include <deja/base.h>

#include "base/buf.h"
#include "config/diagnostics.h"

#define DJ_SECRET_FILE_MAX 65536u

/* Value of NAME in a NULL-terminated "NAME=value" list (may be NULL), or NULL. Borrowed. */
const char *dj_environment_find(const char *const *environment, struct deja_slice name);

/* True if text holds "${". */
bool dj_has_expansion(const char *text);
/* Appends text with its references replaced. DEJA_ERR_INVALID: error says which. */
enum deja_status dj_expand(const char *text, const char *const *environment, struct dj_buf *out,
                           struct deja_error *error) DEJA_NODISCARD;

/* Appends the file's bytes without one trailing line end. *out_is_open: somebody beside its owner
 * may read it. */
enum deja_status dj_secret_file_read(const char *path, struct dj_buf *out, bool *out_is_open,
                                     struct deja_error *error) DEJA_NODISCARD;

#endif
