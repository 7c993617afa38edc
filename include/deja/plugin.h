/* deja/plugin.h - your own store and your own embedder under a cache: two tables of functions.
 *
 * A table is copied by deja_open; ctx is yours and must live until `close` was called (or, when
 * deja_open fails, until it has returned: close is then not called).
 * Threads: functions are called on worker threads and may block. Return DEJA_OK or a negative
 * status.
 */
#ifndef DEJA_PLUGIN_H
#define DEJA_PLUGIN_H

#include <deja/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- store ---- */

#define DEJA_STORE_KEY_BYTES 32 /* tenant, then id; 16 bytes each, as good as random */

/* Where get and walk put what they found. Valid until the function returns. */
struct deja_store_sink;

/* Copies record and returns DEJA_OK, or why not (then stop). get gives at most one, under the key
 * it was asked for; nothing given is a miss. walk gives every pair there is. */
DEJA_API enum deja_status deja_store_give(struct deja_store_sink *sink, const uint8_t *key,
                                          struct deja_slice record);

/* A record is opaque, checked by its own checksum when it comes back, and names its version itself:
 * keep bytes under a key and give back the same. Slices and keys are borrowed until return.
 *
 * get and walk are called by several threads at once, also while a write runs. put, remove and
 * clear are called by one thread at a time, in the order in which they were asked for; the next one
 * is not called before the last has returned. What was removed must not come back. */
struct deja_store_ops {
    size_t struct_bytes; /* sizeof(struct deja_store_ops) */
    enum deja_status (*get)(void *ctx, const uint8_t *key, struct deja_store_sink *sink);
    /* Replaces. expires_ms: ms since 1970 after which it may be dropped; 0: never. */
    enum deja_status (*put)(void *ctx, const uint8_t *key, struct deja_slice record,
                            int64_t expires_ms);
    /* *out_count: 1 when it was there; 0 stands there already. */
    enum deja_status (*remove)(void *ctx, const uint8_t *key, uint64_t *out_count);
    /* Every key that begins with these 16 bytes. */
    enum deja_status (*clear)(void *ctx, const uint8_t *tenant, uint64_t *out_count);
    /* May be NULL: then what an earlier run stored is found by its text, not by meaning. Called
     * inside deja_open. */
    enum deja_status (*walk)(void *ctx, struct deja_store_sink *sink);
    /* May be NULL. Inside deja_close, after every other call has returned. */
    void (*close)(void *ctx);
};

/* ---- embedder ---- */

struct deja_embedder_ops {
    size_t struct_bytes; /* sizeof(struct deja_embedder_ops) */
    /* Names model and version, 1 to 95 printable ASCII bytes; copied. Vectors of another id are
     * never compared: change it whenever the same text would get another vector. */
    const char *id;
    uint32_t dim;       /* 1 to 4,096 */
    uint32_t batch_max; /* texts worth embedding together, 1 to 32; 0: 1 */
    /* count texts (UTF-8) into out: count * dim floats, text after text. Any length but 0: they are
     * brought to unit length. Called by several threads at once. A failure is a miss. */
    enum deja_status (*embed)(void *ctx, const struct deja_slice *texts, size_t count, float *out);
    void (*close)(
        void *ctx); /* may be NULL; inside deja_close, after the last embed has returned */
};

#ifdef __cplusplus
}
#endif
#endif
