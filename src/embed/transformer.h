/* embed/transformer.h - sentence vectors of BERT-family encoders, computed in the process.
 *
 * A directory holds config.json, vocab.txt and model.safetensors (F32, F16 or BF16). All sizes come
 * from config.json. At most 256 tokens of a text count, mean pooling over all of them, unit length.
 * Arithmetic is fp32; the word table is kept as binary16, which halves it and moves a cosine by
 * less than 1e-6. The files are closed again once the weights are packed.
 *
 * Trust: the files may come from anywhere and are checked; they must not shrink while being read.
 * Threads: any number of workers at once; each call has scratch memory of its own.
 */
#ifndef DJ_EMBED_TRANSFORMER_H
#define DJ_EMBED_TRANSFORMER_H

#include <deja/base.h>

#include "embed/embedder.h"

/* *out_embedder is owned by the caller (dj_embedder_destroy). dj_simd_init() comes first.
 * DEJA_ERR_NOT_FOUND (a file is missing), DEJA_ERR_INVALID, DEJA_ERR_UNSUPPORTED, DEJA_ERR_LIMIT,
 * DEJA_ERR_NOMEM, DEJA_ERR_IO. */
enum deja_status dj_transformer_open(const char *directory, struct dj_embedder **out_embedder,
                                     struct deja_error *error) DEJA_NODISCARD;

/* The ids that embed() would see, for tests and tools; at most 256, returns how many. */
uint32_t dj_transformer_tokens(const struct dj_embedder *embedder, struct deja_slice text,
                               uint32_t out_ids[256]);

#endif
