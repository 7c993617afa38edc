/* config/diagnostics.h - everything that is wrong with a configuration, not only the first thing.
 *
 * Lines "file:line:col: error: message" (or "environment NAME: error: …", "flag --x: error: …"),
 * each an error or a warning. Threads: none of its own. Bound: DJ_DIAGNOSTICS_MAX lines are kept.
 */
#ifndef DJ_CONFIG_DIAGNOSTICS_H
#define DJ_CONFIG_DIAGNOSTICS_H

#include <deja/base.h>

#include "base/buf.h"

#define DJ_DIAGNOSTICS_MAX 200u

/* Zeroed is empty and may be fini'd. */
struct dj_diagnostics {
    struct dj_buf text; /* all lines */
    size_t error_count;
    size_t warning_count;
};

void dj_diagnostics_fini(struct dj_diagnostics *diagnostics);

/* where: "deja.yaml:3:5", "environment DEJA_L1__MAX_SIZE"; NULL: none. Lost when memory runs out,
 * but always counted. */
void dj_diagnostics_error(struct dj_diagnostics *diagnostics, const char *where, const char *format,
                          ...) DEJA_PRINTF(3, 4);
void dj_diagnostics_warning(struct dj_diagnostics *diagnostics, const char *where,
                            const char *format, ...) DEJA_PRINTF(3, 4);

#endif
