/* guarded/board.c - see board.h. */
#include "guarded/board.h"

void dj_sentry_board_add(struct dj_sentry_board *board, void *ctx, dj_sentry_look_fn *look)
{
    if (board->count == DJ_SENTRY_BOARD_MAX)
        return;
    board->rows[board->count].ctx = ctx;
    board->rows[board->count].look = look;
    board->count++;
}

void dj_sentry_board_look(void *sentry, struct dj_sentry_sight *out_sight)
{
    struct dj_sentry_sight sight = {.is_tier = false};
    dj_sentry_look(sentry, &sight.sentry);
    sight.state = sight.sentry.state == DJ_BREAKER_OPEN        ? "down"
                  : sight.sentry.state == DJ_BREAKER_HALF_OPEN ? "half_open"
                                                               : "up";
    *out_sight = sight;
}
