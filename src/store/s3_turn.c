/* store/s3_turn.c - writes of one object go one after another, in the order in which they came.
 *
 * Conditions would keep the newest of them without it, at a price: each loser of a round looks and
 * uploads anew, and services over a file system test a condition and write in two steps that
 * another write comes between. What is left to conditions is the race with other nodes.
 *
 * (1) A lane lists the writes that its objects have under way, oldest first; a write has its turn
 * while no older one of the same object is on it. (2) Whoever waits has a timer, which keeps its
 * loop alive until the turn comes, and bounds the wait; which of the two was first is settled under
 * the mutex.
 */
#include <assert.h>

#include "store/s3_internal.h"

static struct dj_s3_turn **lane_of(struct dj_s3 *s3, const struct dj_store_key *key)
{
    return &s3->lanes[key->id[0] % DJ_S3_LANES];
}

static bool is_same_key(const struct dj_store_key *a, const struct dj_store_key *b)
{
    return memcmp(a->id, b->id, sizeof a->id) == 0 &&
           memcmp(a->tenant, b->tenant, sizeof a->tenant) == 0;
}

static void on_turn(void *ctx)
{
    struct dj_s3_turn *turn = ctx;
    dj_timer_destroy(turn->patience);
    turn->patience = NULL;
    turn->begin(turn->op);
}

static void on_impatient(void *ctx)
{
    struct dj_s3_turn *turn = ctx;
    struct dj_s3 *s3 = turn->op->s3;
    pthread_mutex_lock(&s3->lanes_mutex);
    bool has_come = turn->has_come;
    pthread_mutex_unlock(&s3->lanes_mutex);
    if (!has_come) /* otherwise on_turn is on its way; nobody gives a turn twice */
        dj_s3_op_finish(turn->op, DEJA_ERR_TIMEOUT);
}

/* Appends; is it the turn already? Under the mutex. */
static bool append(struct dj_s3_turn *turn)
{
    const struct dj_store_key *key = &turn->op->key;
    bool is_first = true;
    struct dj_s3_turn **end = lane_of(turn->op->s3, key);
    for (; *end; end = &(*end)->next)
        is_first = is_first && !is_same_key(&(*end)->op->key, key);
    *end = turn;
    return is_first;
}

enum deja_status dj_s3_turn_take(struct dj_s3_turn *turn, struct dj_s3_op *op, dj_s3_step_fn *begin)
{
    struct dj_s3 *s3 = op->s3;
    assert(!turn->op);
    enum deja_status status = dj_timer_create(op->loop, turn, on_impatient, &turn->patience);
    if (status != DEJA_OK)
        return status;
    turn->op = op;
    turn->begin = begin;
    pthread_mutex_lock(&s3->lanes_mutex);
    turn->has_come = append(turn);
    bool is_now = turn->has_come;
    pthread_mutex_unlock(&s3->lanes_mutex);
    if (is_now)
        on_turn(turn);
    else
        dj_timer_start(turn->patience, s3->total_timeout_ms, 0);
    return DEJA_OK;
}

void dj_s3_turn_end(struct dj_s3_turn *turn)
{
    if (!turn->op)
        return;
    struct dj_s3 *s3 = turn->op->s3;
    struct dj_s3_turn *next = NULL;
    dj_timer_destroy(turn->patience);
    pthread_mutex_lock(&s3->lanes_mutex);
    struct dj_s3_turn **at = lane_of(s3, &turn->op->key);
    while (*at != turn)
        at = &(*at)->next;
    *at = turn->next;
    for (struct dj_s3_turn *later = turn->next; later && turn->has_come && !next;
         later = later->next)
        if (is_same_key(&later->op->key, &turn->op->key))
            next = later;
    if (next) {
        next->has_come = true;
        next->op->task = (struct dj_task){.run = on_turn, .ctx = next};
        dj_loop_post(next->op->loop, &next->op->task);
    }
    pthread_mutex_unlock(&s3->lanes_mutex);
}
