/* lib/store_plugin.h - a caller's blocking store behind the table of stores.
 *
 * Reads run on the pool it is given; writes on one thread of its own, in the order of the calls.
 */
#ifndef DJ_LIB_STORE_PLUGIN_H
#define DJ_LIB_STORE_PLUGIN_H

#include <deja/plugin.h>

#include "loop/pool.h"
#include "store/store.h"

/* ops is copied and checked; reads: borrowed until close. DEJA_ERR_CONFIG (error says what),
 * DEJA_ERR_NOMEM. Closing it calls ops->close only after dj_store_plugin_adopt. */
enum deja_status dj_store_plugin_open(const struct deja_store_ops *ops, void *ctx,
                                      struct dj_pool *reads, struct dj_store **out_store,
                                      struct deja_error *error) DEJA_NODISCARD;
void dj_store_plugin_adopt(struct dj_store *store);

#endif
