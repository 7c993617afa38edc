/* daemon/prices.h - prices.file, read: the operator's table of what models cost.
 *
 *   gpt-4o: {input: 2.5, cached: 1.25, output: 10}
 *   "house-*": {input: 0, output: 0}
 *
 * Trust: the operator's file, bounded as a configuration is. Threads: none of its own.
 */
#ifndef DJ_DAEMON_PRICES_H
#define DJ_DAEMON_PRICES_H

#include <deja/base.h>

#include "config/diagnostics.h"
#include "policy/prices.h"

/* path NULL: *out_prices is NULL. DEJA_ERR_CONFIG: diagnostics say where and why; DEJA_ERR_NOMEM.
 */
enum deja_status dj_prices_read(const char *path, struct dj_diagnostics *diagnostics,
                                struct dj_prices **out_prices) DEJA_NODISCARD;
/* The shipped table. */
enum deja_status dj_prices_make_shipped(struct dj_prices **out_prices) DEJA_NODISCARD;

#endif
