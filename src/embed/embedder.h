/* embed/embedder.h - the table of embedders: text in, unit vector out.
 *
 * Identity: id names model, weights and pooling ("minilm:sha256-…:mean:384"); vectors of different
 * ids never meet. Threads: embed() is worker only and safe from several workers at once.
 */
#ifndef DJ_EMBED_EMBEDDER_H
#define DJ_EMBED_EMBEDDER_H

#include <deja/base.h>

struct dj_embedder;

struct dj_embedder_ops {
    /* count texts (UTF-8, checked by the caller) into out: count * dim floats, L2-normalised. */
    enum deja_status (*embed)(struct dj_embedder *embedder, const struct deja_slice *texts,
                              size_t count, float *out);
    void (*destroy)(struct dj_embedder *embedder);
    /* Optional: tokens of text that embed() makes use of, its own marks not among them. Any thread.
     */
    uint32_t (*count)(const struct dj_embedder *embedder, struct deja_slice text);
};

/* Every embedder embeds this as its first member. */
struct dj_embedder {
    const struct dj_embedder_ops *ops;
    const char *kind; /* "transformer", "lexical": names the shipped threshold */
    char id[96];      /* terminated, printable ASCII */
    uint32_t dim;
    uint32_t batch_max;   /* texts that are worth embedding together */
    uint64_t memo_ttl_ms; /* a vector may be remembered so long; 0: it never changes */
};

static inline enum deja_status dj_embedder_embed(struct dj_embedder *embedder,
                                                 const struct deja_slice *texts, size_t count,
                                                 float *out)
{
    return embedder->ops->embed(embedder, texts, count, out);
}

/* 0: it does not count. */
static inline uint32_t dj_embedder_count(const struct dj_embedder *embedder, struct deja_slice text)
{
    return embedder->ops->count ? embedder->ops->count(embedder, text) : 0;
}

static inline void dj_embedder_destroy(struct dj_embedder *embedder)
{
    if (embedder)
        embedder->ops->destroy(embedder);
}

#endif
