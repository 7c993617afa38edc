/* cache/lines.h - entries as lines of JSON (proto/entry_json.h), as source and as sink of a
 * transfer. Bounded: one line of at most DJ_LINES_BYTES_MAX. Threads: as transfer.h.
 */
#ifndef DJ_CACHE_LINES_H
#define DJ_CACHE_LINES_H

#include "cache/transfer.h"

#define DJ_LINES_BYTES_MAX ((size_t)128 << 20)

struct dj_lines_options {
    bool skips_bad; /* a line that cannot be read is told, counted and left out; else it ends all */
    void *ctx;
    /* A bad line; may be NULL. */
    void (*bad)(void *ctx, uint64_t line, const char *what);
};

/* in: taken on DEJA_OK. Empty lines are passed over. error names the line: DEJA_ERR_INVALID. */
enum deja_status dj_transfer_from_lines(const struct dj_archive_in *in,
                                        const struct dj_transfer_lane *lane,
                                        const struct dj_lines_options *options,
                                        struct dj_transfer_source *out_source) DEJA_NODISCARD;
/* out: taken on DEJA_OK. Documents are passed over: keys and secrets are nothing for plain text. */
enum deja_status dj_transfer_into_lines(const struct dj_archive_out *out,
                                        const struct dj_transfer_lane *lane,
                                        struct dj_transfer_counts *counts,
                                        struct dj_transfer_sink *out_sink) DEJA_NODISCARD;

#endif
