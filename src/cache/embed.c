/* cache/embed.c - many texts at once: as many jobs of the embedding queue, handed over together so
 * that the embedder sees them as one batch (or as few as it takes at a time). */
#include "base/alloc.h"
#include "base/buf.h"
#include "cache/engine_internal.h"

struct batch {
    struct dj_engine *engine;
    uint32_t dim;
    size_t count;
    size_t left;
    float *vectors;      /* count * dim; owned */
    struct dj_buf texts; /* one behind the other */
    struct dj_semantic_job *jobs;
    void *ctx;
    dj_embed_done_fn *done;
};

static void destroy(struct batch *batch)
{
    dj_engine_leave(batch->engine);
    dj_buf_fini(&batch->texts);
    dj_free(batch->vectors);
    dj_free(batch->jobs);
    dj_free(batch);
}

static void on_embedded(void *ctx)
{
    struct batch *batch = ctx;
    enum deja_status status = DEJA_OK;
    uint32_t embed_us = 0;
    if (--batch->left > 0)
        return;
    for (size_t i = 0; i < batch->count; i++) {
        const struct dj_semantic_job *job = &batch->jobs[i];
        status = status == DEJA_OK ? job->status : status;
        embed_us = job->embed_us > embed_us ? job->embed_us : embed_us;
    }
    batch->done(batch->ctx, status, status == DEJA_OK ? batch->vectors : NULL, batch->dim,
                embed_us);
    destroy(batch);
}

static enum deja_status make_room(struct batch *batch, const struct deja_slice *texts)
{
    batch->vectors = dj_alloc(batch->count * batch->dim * sizeof *batch->vectors);
    batch->jobs = dj_alloc_zeroed(batch->count, sizeof *batch->jobs);
    dj_buf_init(&batch->texts, 0);
    for (size_t i = 0; i < batch->count; i++)
        dj_buf_append_slice(&batch->texts, texts[i]);
    return batch->vectors && batch->jobs ? batch->texts.status : DEJA_ERR_NOMEM;
}

static void prepare_jobs(struct batch *batch, struct dj_loop *loop,
                         const uint8_t tenant[DJ_ID_BYTES], const struct deja_slice *texts)
{
    size_t offset = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct dj_semantic_job *job = &batch->jobs[i];
        *job = (struct dj_semantic_job){
            .next = i + 1 < batch->count ? job + 1 : NULL,
            .loop = loop,
            .ctx = batch,
            .done = on_embedded,
            .name = {.label = deja_slice("", 0), .dim = batch->dim},
            .text = deja_slice(batch->texts.data ? batch->texts.data + offset : "", texts[i].len),
            .vector = batch->vectors + i * batch->dim,
            .search = DJ_SEARCH_NONE};
        memcpy(job->tenant, tenant, sizeof job->tenant);
        offset += texts[i].len;
    }
}

enum deja_status dj_engine_embed(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t tenant[DJ_ID_BYTES], const struct deja_slice *texts,
                                 size_t count, void *ctx, dj_embed_done_fn *done)
{
    if (count == 0 || count > DJ_EMBED_BATCH_MAX)
        return DEJA_ERR_INVALID;
    if (!engine->options.embedder)
        return DEJA_ERR_UNSUPPORTED;
    struct batch *batch = dj_alloc_zeroed(1, sizeof *batch);
    if (!batch)
        return DEJA_ERR_NOMEM;
    *batch = (struct batch){.engine = engine,
                            .dim = engine->options.embedder->dim,
                            .count = count,
                            .left = count,
                            .ctx = ctx,
                            .done = done};
    dj_engine_enter(engine);
    enum deja_status status = make_room(batch, texts);
    if (status == DEJA_OK) {
        prepare_jobs(batch, loop, tenant, texts);
        status = dj_semantic_submit_all(engine->semantic, batch->jobs, (uint32_t)count);
    }
    if (status != DEJA_OK)
        destroy(batch);
    return status;
}
