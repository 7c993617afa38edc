/* cache/later.c - calls of the engine whose parts are being written: refused until then. */
#include "cache/engine.h"

#define UNUSED(x) (void)(x)

enum deja_status dj_engine_embed(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t tenant[DJ_ID_BYTES], const struct deja_slice *texts,
                                 size_t count, void *ctx, dj_embed_done_fn *done)
{
    UNUSED(engine);
    UNUSED(loop);
    UNUSED(tenant);
    UNUSED(texts);
    UNUSED(count);
    UNUSED(ctx);
    UNUSED(done);
    return DEJA_ERR_UNSUPPORTED;
}
void dj_engine_note_hit(struct dj_engine *engine, struct dj_loop *loop,
                        const struct dj_entry *entry)
{
    UNUSED(engine);
    UNUSED(loop);
    UNUSED(entry);
}
void dj_engine_access(struct dj_engine *engine, const struct dj_store_key *key,
                      struct dj_access_stats *out_stats)
{
    UNUSED(engine);
    UNUSED(key);
    *out_stats = (struct dj_access_stats){0};
}
enum deja_status dj_engine_top(struct dj_engine *engine, struct dj_loop *loop,
                               const uint8_t tenant[DJ_ID_BYTES], uint32_t k, void *ctx,
                               dj_top_done_fn *done)
{
    UNUSED(engine);
    UNUSED(loop);
    UNUSED(tenant);
    UNUSED(k);
    UNUSED(ctx);
    UNUSED(done);
    return DEJA_ERR_UNSUPPORTED;
}
enum deja_status dj_engine_feedback(struct dj_engine *engine, struct dj_loop *loop,
                                    const struct dj_store_key *key, bool is_wrong, void *ctx,
                                    dj_remove_done_fn *done)
{
    UNUSED(is_wrong);
    return dj_engine_remove(engine, loop, key, ctx, done);
}
