/* proxy/turn.h - whose turn is it to ask upstream, among all programs of a shared tier?
 *
 *   create -> ask -> held: renewed until it ends      -> end
 *               \--> another program's: wait, ask again -/
 *
 * A turn is a lock of the shared tier with a lease, under a token nobody else knows. Whoever holds
 * it looks into the tier once more before it calls upstream, and ends it when its answer has been
 * stored, so that who waits finds it. A tier that is sick gives no turns: everybody asks for
 * himself (I4). Threads: loop-bound.
 */
#ifndef DJ_PROXY_TURN_H
#define DJ_PROXY_TURN_H

#include <deja/base.h>

#include "cache/engine.h"

#define DJ_TURN_LEASE_MS 30000u
/* A tier that takes longer to answer than a read of it may (its soft timeout) cannot say; this,
 * when it has none. */
#define DJ_TURN_ANSWER_MS 1000u

struct dj_turn;

enum dj_turn_state {
    DJ_TURN_HELD,
    DJ_TURN_OTHERS, /* another program's */
    DJ_TURN_UNKNOWN /* the tier could not say */
};
typedef void dj_turn_told_fn(void *ctx, enum dj_turn_state state);
typedef void dj_turn_waited_fn(void *ctx);

/* DEJA_ERR_UNSUPPORTED: no tier has locks. lease_ms 0: DJ_TURN_LEASE_MS. */
enum deja_status dj_turn_create(struct dj_engine *engine, struct dj_loop *loop,
                                const struct dj_store_key *key, uint32_t lease_ms,
                                struct dj_turn **out_turn) DEJA_NODISCARD;
/* One at a time. told runs once, later, unless the turn is ended before. */
enum deja_status dj_turn_ask(struct dj_turn *turn, void *ctx, dj_turn_told_fn *told) DEJA_NODISCARD;
/* Not while it is held. waited runs once, unless the turn is ended before. */
void dj_turn_wait(struct dj_turn *turn, uint32_t after_ms, void *ctx, dj_turn_waited_fn *waited);
/* Gives it up; frees it, now or when the tier has answered. Accepts NULL. */
void dj_turn_end(struct dj_turn *turn);

/* How long to wait before the n-th question but the first (from 0): 10 ms, doubled up to 250. */
uint32_t dj_turn_pause_ms(uint32_t n);

#endif
