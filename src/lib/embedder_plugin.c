/* lib/embedder_plugin.c - see embedder_plugin.h. What comes back is checked and brought to unit
 * length: one bad vector in an index would spoil every search. */
#include "lib/embedder_plugin.h"

#include "base/alloc.h"
#include "embed/unit.h"

#define DIM_MAX 4096u
#define BATCH_MAX 32u

struct embedder_plugin {
    struct dj_embedder base;
    struct deja_embedder_ops ops;
    void *ctx;
    bool is_adopted;
};

static enum deja_status embed(struct dj_embedder *embedder, const struct deja_slice *texts,
                              size_t count, float *out)
{
    struct embedder_plugin *plugin = (struct embedder_plugin *)embedder;
    size_t dim = embedder->dim;
    enum deja_status status = plugin->ops.embed(plugin->ctx, texts, count, out);
    if (status != DEJA_OK)
        return status > DEJA_OK ? DEJA_ERR_INVALID : status;
    for (size_t i = 0; i < count; i++)
        if (!dj_unit_make(out + i * dim, embedder->dim))
            return DEJA_ERR_INVALID;
    return DEJA_OK;
}

static void destroy(struct dj_embedder *embedder)
{
    struct embedder_plugin *plugin = (struct embedder_plugin *)embedder;
    if (plugin->is_adopted && plugin->ops.close)
        plugin->ops.close(plugin->ctx);
    dj_free(plugin);
}

void dj_embedder_plugin_adopt(struct dj_embedder *embedder)
{
    ((struct embedder_plugin *)embedder)->is_adopted = true;
}

static bool is_printable(const char *id)
{
    size_t len = strnlen(id, sizeof((struct dj_embedder *)0)->id);
    for (size_t i = 0; i < len; i++)
        if (id[i] < '!' || id[i] > '~')
            return false;
    return len > 0 && len < sizeof((struct dj_embedder *)0)->id;
}

enum deja_status dj_embedder_plugin_create(const struct deja_embedder_ops *ops, void *ctx,
                                           struct dj_embedder **out_embedder,
                                           struct deja_error *error)
{
    static const struct dj_embedder_ops table = {.embed = embed, .destroy = destroy};
    if (ops->struct_bytes < sizeof *ops || !ops->embed)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "embedder: struct_bytes and embed must be set");
    if (!ops->id || !is_printable(ops->id))
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "embedder: id must be 1 to 95 printable characters without spaces");
    if (ops->dim == 0 || ops->dim > DIM_MAX || ops->batch_max > BATCH_MAX)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "embedder: dim must be 1 to %u, batch_max at most %u", DIM_MAX,
                              BATCH_MAX);
    struct embedder_plugin *plugin = dj_alloc_zeroed(1, sizeof *plugin);
    if (!plugin)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    plugin->base.ops = &table;
    plugin->base.kind = "plugin";
    memcpy(plugin->base.id, ops->id, strlen(ops->id));
    plugin->base.dim = ops->dim;
    plugin->base.batch_max = ops->batch_max ? ops->batch_max : 1;
    memcpy(&plugin->ops, ops, sizeof plugin->ops);
    plugin->ctx = ctx;
    *out_embedder = &plugin->base;
    return DEJA_OK;
}
