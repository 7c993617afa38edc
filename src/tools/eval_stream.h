/* tools/eval_stream.h - one labelled stream of requests, replayed against a cut.
 *
 * Neighbours of every text are found once, by comparing all vectors exactly; a replay only walks
 * them, so that a sweep over many cuts costs little more than one. What a replay decides is what
 * the daemon decides: the best DJ_EVAL_CANDIDATES entries in the cache, guards, threshold.
 *
 * Trust: untrusted file; bounded below. Threads: none of its own.
 */
#ifndef DJ_TOOLS_EVAL_STREAM_H
#define DJ_TOOLS_EVAL_STREAM_H

#include <deja/base.h>

#include "embed/embedder.h"

#define DJ_EVAL_CANDIDATES 4u
#define DJ_EVAL_FILE_BYTES_MAX (UINT64_C(512) << 20)
#define DJ_EVAL_TEXTS_MAX 200000u /* distinct prompts and classes of one stream */

struct dj_eval_stream;

struct dj_eval_result {
    double threshold;
    uint64_t requests;
    uint64_t hits;  /* exact repeats among them */
    uint64_t wrong; /* hits of another answer class */
    uint64_t exact; /* hits by equal text */
};

/* done of total texts are embedded. */
typedef void dj_eval_progress_fn(void *ctx, size_t done, size_t total);

/* Reads path. *out_stream: owned. Errors name the file and the line. */
enum deja_status dj_eval_stream_create(const char *path, struct dj_eval_stream **out_stream,
                                       struct deja_error *error) DEJA_NODISCARD;
void dj_eval_stream_destroy(struct dj_eval_stream *stream); /* accepts NULL */

/* Vectors, neighbours at least as similar as floor, and (has_guards) features. Once per stream. */
enum deja_status dj_eval_stream_prepare(struct dj_eval_stream *stream, struct dj_embedder *embedder,
                                        double floor, bool has_guards, void *ctx,
                                        dj_eval_progress_fn *progress,
                                        struct deja_error *error) DEJA_NODISCARD;

/* Replays with a cut not below the floor it was prepared for. DEJA_ERR_NOMEM. */
enum deja_status dj_eval_stream_replay(struct dj_eval_stream *stream, double threshold,
                                       struct dj_eval_result *out_result) DEJA_NODISCARD;

const char *dj_eval_stream_name(const struct dj_eval_stream *stream); /* file name, no ending */

#endif
