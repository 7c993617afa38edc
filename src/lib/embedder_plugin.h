/* lib/embedder_plugin.h - a caller's embedder behind the table of embedders. */
#ifndef DJ_LIB_EMBEDDER_PLUGIN_H
#define DJ_LIB_EMBEDDER_PLUGIN_H

#include <deja/plugin.h>

#include "embed/embedder.h"

/* ops is copied and checked. DEJA_ERR_CONFIG (error says what), DEJA_ERR_NOMEM. Destroying it calls
 * ops->close only after dj_embedder_plugin_adopt. */
enum deja_status dj_embedder_plugin_create(const struct deja_embedder_ops *ops, void *ctx,
                                           struct dj_embedder **out_embedder,
                                           struct deja_error *error) DEJA_NODISCARD;
void dj_embedder_plugin_adopt(struct dj_embedder *embedder);

#endif
