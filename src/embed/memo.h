/* embed/memo.h - vectors of texts embedded lately, so that a text is embedded once.
 *
 * One memo per embedder: its vectors have one dimension and one meaning. Least recently used go
 * first. Bounds: entries and bytes (texts, vectors and their bookkeeping). Texts are the secrets of
 * tenants: a memo belongs to one tenant or is keyed by something that names the tenant.
 * Threads: any; a mutex, held for one lookup or one copy.
 */
#ifndef DJ_EMBED_MEMO_H
#define DJ_EMBED_MEMO_H

#include <deja/base.h>

struct dj_memo;

/* dim, entries_max and bytes_max at least 1. */
enum deja_status dj_memo_create(uint32_t dim, uint32_t entries_max, size_t bytes_max,
                                struct dj_memo **out_memo) DEJA_NODISCARD;
void dj_memo_destroy(struct dj_memo *memo); /* accepts NULL */

/* True: out holds dim floats. What was put before since_ms (0: any time) is forgotten. */
bool dj_memo_get(struct dj_memo *memo, struct deja_slice text, uint64_t since_ms,
                 float *out) DEJA_NODISCARD;
/* Copies both; replaces. Best effort: what does not fit or finds no memory is not remembered. */
void dj_memo_put(struct dj_memo *memo, struct deja_slice text, uint64_t now_ms,
                 const float *vector);
void dj_memo_clear(struct dj_memo *memo);

struct dj_memo_stats {
    uint64_t hits;
    uint64_t misses;
    size_t entries;
    size_t bytes;
};
struct dj_memo_stats dj_memo_stats(struct dj_memo *memo);

#endif
