/* proxy/turn.c - see turn.h.
 *
 * (1) While an answer of the tier is under way the turn lives, for a lock that was got must be
 *     given back; nobody is told any more once it has been ended.
 * (2) Renewing is asking once more with the same token. A renewal that fails changes nothing here:
 *     the answer is on its way, and at worst another program makes it, too.
 */
#include "proxy/turn.h"

#include "base/alloc.h"

#define TOKEN_BYTES 16u
#define PAUSE_FIRST_MS 10u
#define PAUSE_MAX_MS 250u

struct dj_turn {
    struct dj_engine *engine;
    struct dj_loop *loop;
    struct dj_store_key key;
    uint8_t token[TOKEN_BYTES];
    uint32_t lease_ms;
    struct dj_timer *timer; /* of the next renewal, or of a wait */
    bool is_held;
    bool is_late;   /* its time is over; what the loop has not read yet still counts */
    bool is_asking; /* an answer of the tier is under way */
    bool is_ended;
    void *ctx;
    dj_turn_told_fn *told; /* NULL: a renewal */
    dj_turn_waited_fn *waited;
};

static void on_timer(void *ctx);

enum deja_status dj_turn_create(struct dj_engine *engine, struct dj_loop *loop,
                                const struct dj_store_key *key, uint32_t lease_ms,
                                struct dj_turn **out_turn)
{
    if (!dj_engine_has_lock(engine))
        return DEJA_ERR_UNSUPPORTED;
    struct dj_turn *turn = dj_alloc_zeroed(1, sizeof *turn);
    if (!turn)
        return DEJA_ERR_NOMEM;
    turn->engine = engine;
    turn->loop = loop;
    turn->key = *key;
    turn->lease_ms = lease_ms ? lease_ms : DJ_TURN_LEASE_MS;
    dj_random_bytes(turn->token, sizeof turn->token);
    enum deja_status status = dj_timer_create(loop, turn, on_timer, &turn->timer);
    if (status != DEJA_OK) {
        dj_free(turn);
        return status;
    }
    *out_turn = turn;
    return DEJA_OK;
}

static void release(struct dj_turn *turn)
{
    if (turn->is_held)
        dj_engine_unlock(turn->engine, turn->loop, &turn->key, turn->token);
    dj_timer_destroy(turn->timer);
    dj_free(turn);
}

static void on_locked(void *ctx, enum deja_status status, bool is_held)
{
    struct dj_turn *turn = ctx;
    dj_turn_told_fn *told = turn->told;
    turn->is_asking = false;
    turn->told = NULL;
    if (status == DEJA_OK && is_held)
        turn->is_held = true;
    if (turn->is_ended) {
        release(turn);
        return;
    }
    if (turn->is_held)
        dj_timer_start(turn->timer, turn->lease_ms / 3, 0);
    else if (told)
        dj_timer_stop(turn->timer);
    if (told)
        told(turn->ctx, status != DEJA_OK ? DJ_TURN_UNKNOWN
                        : is_held         ? DJ_TURN_HELD
                                          : DJ_TURN_OTHERS);
}

static enum deja_status ask(struct dj_turn *turn)
{
    enum deja_status status = dj_engine_lock(turn->engine, turn->loop, &turn->key, turn->token,
                                             turn->lease_ms, turn, on_locked);
    turn->is_asking = status == DEJA_OK;
    return status;
}

static void on_timer(void *ctx)
{
    struct dj_turn *turn = ctx;
    dj_turn_waited_fn *waited = turn->waited;
    dj_turn_told_fn *told = turn->told;
    if (told && !turn->is_late) { /* a busy loop runs its timers before it reads */
        turn->is_late = true;
        dj_timer_start(turn->timer, 1, 0);
        return;
    }
    turn->waited = NULL;
    turn->told = NULL;
    if (waited)
        waited(turn->ctx);
    else if (told)
        told(turn->ctx, DJ_TURN_UNKNOWN); /* should it be ours all the same, it is until the end */
    else if (turn->is_held && (turn->is_asking || ask(turn) != DEJA_OK))
        dj_timer_start(turn->timer, turn->lease_ms / 3, 0);
}

enum deja_status dj_turn_ask(struct dj_turn *turn, void *ctx, dj_turn_told_fn *told)
{
    turn->ctx = ctx;
    turn->told = told;
    turn->is_late = false;
    enum deja_status status = ask(turn);
    uint32_t patience_ms = dj_engine_lock_patience_ms(turn->engine);
    if (status == DEJA_OK)
        dj_timer_start(turn->timer, patience_ms ? patience_ms : DJ_TURN_ANSWER_MS, 0);
    else
        turn->told = NULL;
    return status;
}

void dj_turn_wait(struct dj_turn *turn, uint32_t after_ms, void *ctx, dj_turn_waited_fn *waited)
{
    turn->ctx = ctx;
    turn->waited = waited;
    dj_timer_start(turn->timer, after_ms, 0);
}

void dj_turn_end(struct dj_turn *turn)
{
    if (!turn)
        return;
    turn->is_ended = true;
    turn->told = NULL;
    turn->waited = NULL;
    dj_timer_stop(turn->timer);
    if (!turn->is_asking)
        release(turn);
}

uint32_t dj_turn_pause_ms(uint32_t n)
{
    return n < 5 ? PAUSE_FIRST_MS << n : PAUSE_MAX_MS;
}
