/* guarded/board.h - every dependency of a program in one place to look at: health, metrics, doctor.
 *
 * Threads: add before the loops start; look from any thread.
 */
#ifndef DJ_GUARDED_BOARD_H
#define DJ_GUARDED_BOARD_H

#include "guarded/sentry.h"

#define DJ_SENTRY_BOARD_MAX 16u

/* One dependency as it is now. */
struct dj_sentry_sight {
    struct dj_sentry_report sentry;
    const char *state; /* "up", "behind", "down", "lost"; "half_open" while it is tried */
    bool is_tier;      /* the rest is only of those */
    uint64_t missed_puts;
    uint64_t missed_removes; /* removals, clears, raises */
    uint64_t missed_bytes;
    uint64_t missed_reads;
    uint64_t replayed;
    uint64_t dropped; /* puts that found no room, records that the tier does not want */
};
/* Fills all of it. Any thread, quick. */
typedef void dj_sentry_look_fn(void *ctx, struct dj_sentry_sight *out_sight);

/* Zeroed: empty. */
struct dj_sentry_board {
    struct {
        void *ctx;
        dj_sentry_look_fn *look;
    } rows[DJ_SENTRY_BOARD_MAX];
    uint32_t count;
};

/* ctx: until the board is looked at no more. Beyond DJ_SENTRY_BOARD_MAX it is not shown. */
void dj_sentry_board_add(struct dj_sentry_board *board, void *ctx, dj_sentry_look_fn *look);
/* A look_fn for a sentry on its own. */
void dj_sentry_board_look(void *sentry, struct dj_sentry_sight *out_sight);

#endif
