/* guarded/call.c - calls on their loops: bulkhead, deadlines, pauses, late answers; see sentry.h.
 *
 *   queued --place free--> running --ended--> done
 *      | deadline             | attempt's or whole deadline, failure
 *      v                      v
 *     done                 pausing --pause over--> queued or running      | no retry: done
 *
 * (1) A call that is not done is on exactly one timed list while it is queued, pausing or running.
 * (2) `wanted` is the attempt whose end decides; others that run were given up, and only hold
 *     their place in the bulkhead (they are still a burden to the dependency) and the memory.
 * (3) begin() never calls done: what it returns, other than DEJA_OK, is how the call ended.
 * (4) finish() may free the call: it comes last.
 */
#include <assert.h>

#include "base/alloc.h"
#include "guarded/sentry_internal.h"

static void on_timer(void *ctx);

static struct dj_sentry_lane *lane_create(struct dj_sentry *sentry, struct dj_loop *loop)
{
    struct dj_sentry_lane *lane = dj_alloc_zeroed(1, sizeof *lane);
    if (!lane)
        return NULL;
    if (dj_timer_create(loop, lane, on_timer, &lane->timer) != DEJA_OK) {
        dj_free(lane);
        return NULL;
    }
    dj_timer_set_background(lane->timer);
    lane->sentry = sentry;
    lane->loop = loop;
    dj_list_init(&lane->queue);
    for (size_t i = 0; i < SENTRY_ROWS; i++)
        dj_list_init(&lane->rows[i].timed);
    return lane;
}

/* NULL: out of memory. */
static struct dj_sentry_lane *lane_of(struct dj_sentry *sentry, struct dj_loop *loop)
{
    uint32_t index = dj_loop_index(loop);
    assert(index < DJ_SENTRY_LOOPS_MAX && dj_loop_is_current(loop));
    struct dj_sentry_lane *lane = atomic_load(&sentry->lanes[index]);
    if (lane)
        return lane;
    lane = lane_create(sentry, loop);
    if (lane)
        atomic_store(&sentry->lanes[index], lane);
    return lane;
}

/* ---- time ---- */

static struct dj_sentry_call *timed_call(struct dj_list *node)
{
    return DJ_CONTAINER(node, struct dj_sentry_call, timed);
}

static void arm(struct dj_sentry_lane *lane, uint64_t now_us)
{
    uint64_t first_us = UINT64_MAX;
    for (size_t i = 0; i < SENTRY_ROWS; i++) {
        struct dj_list *timed = &lane->rows[i].timed;
        if (!dj_list_is_empty(timed) && timed_call(timed->next)->due_us < first_us)
            first_us = timed_call(timed->next)->due_us;
    }
    if (!lane->timer || first_us == UINT64_MAX || (lane->armed_us && lane->armed_us <= first_us))
        return;
    lane->armed_us = first_us;
    /* Rounded up, or it would fire a moment too early and again and again. */
    dj_timer_start(lane->timer, first_us > now_us ? (first_us - now_us + 999) / 1000 : 0, 0);
}

static struct sentry_row *row_of(struct dj_sentry_lane *lane, uint64_t after_us)
{
    struct sentry_row *row = NULL;
    for (size_t i = 0; i + 1 < SENTRY_ROWS; i++) {
        if (!dj_list_is_empty(&lane->rows[i].timed) && lane->rows[i].after_us == after_us)
            return &lane->rows[i];
        if (!row && dj_list_is_empty(&lane->rows[i].timed))
            row = &lane->rows[i];
    }
    if (!row)
        row = &lane->rows[SENTRY_ROWS - 1];
    row->after_us = after_us;
    return row;
}

static void time_call(struct dj_sentry_call *call, uint64_t now_us, uint64_t after_us)
{
    struct sentry_row *row = row_of(call->lane, after_us);
    struct dj_list *at = &row->timed;
    call->due_us = now_us + after_us;
    while (at->prev != &row->timed && timed_call(at->prev)->due_us > call->due_us)
        at = at->prev; /* at once in a row of one duration */
    dj_list_insert_before(at, &call->timed);
    arm(call->lane, now_us);
}

/* ---- the life of a call ---- */

static void release(struct dj_sentry_call *call)
{
    struct dj_sentry *sentry = call->sentry;
    call->work->release(call);
    sentry_unref(sentry);
}

static void finish(struct dj_sentry_call *call, enum deja_status status)
{
    call->is_done = true;
    call->wanted = NULL;
    dj_list_remove(&call->timed);
    call->running++; /* not released inside done, whatever ends there */
    call->work->done(call, status);
    call->running--;
    if (call->running == 0)
        release(call);
}

static bool is_full(const struct dj_sentry_lane *lane)
{
    return atomic_load_explicit(&lane->running, memory_order_relaxed) >=
           atomic_load_explicit(&lane->sentry->calls_max, memory_order_relaxed);
}

static void leave_queue(struct dj_sentry_call *call)
{
    dj_list_remove(&call->queued);
    dj_list_remove(&call->timed);
    call->is_queued = false;
    atomic_fetch_sub_explicit(&call->lane->queued, 1, memory_order_relaxed);
}

static enum deja_status join_queue(struct dj_sentry_call *call, uint64_t now_us)
{
    struct dj_sentry_lane *lane = call->lane;
    if (atomic_load(&lane->queued) >= atomic_load(&lane->sentry->queue_max)) {
        sentry_count(call->sentry, SENTRY_OVERFLOWED);
        return DEJA_ERR_BUSY;
    }
    if (now_us >= call->ends_us)
        return DEJA_ERR_TIMEOUT;
    call->is_queued = true;
    atomic_fetch_add_explicit(&lane->queued, 1, memory_order_relaxed);
    dj_list_push_back(&lane->queue, &call->queued);
    time_call(call, now_us, call->ends_us - now_us);
    return DEJA_OK;
}

/* After a failed attempt. DEJA_OK: there will be another. */
static enum deja_status pause_call(struct dj_sentry_call *call, enum deja_status status)
{
    uint64_t pause_ms = 0;
    uint64_t now_us = dj_clock_monotonic_us();
    if (status == DEJA_OK || call->is_once || call->is_probe || !call->lane->timer)
        return status;
    const struct dj_sentry_again again = {
        .status = status,
        .attempts = call->attempts,
        .elapsed_ms = (now_us - call->began_us) / 1000,
        .remaining_ms = call->ends_us > now_us ? (call->ends_us - now_us) / 1000 : 0,
    };
    if (call->attempts >= DJ_SENTRY_ATTEMPTS_MAX ||
        !dj_sentry_may_retry(call->sentry, &again, &pause_ms))
        return status;
    time_call(call, now_us, pause_ms * 1000);
    return DEJA_OK;
}

static void take_place(struct dj_sentry_call *call, struct dj_sentry_attempt *attempt)
{
    attempt->call = call;
    attempt->is_running = true;
    call->running++;
    call->wanted = attempt;
    if (!call->is_probe)
        atomic_fetch_add_explicit(&call->lane->running, 1, memory_order_relaxed);
}

static void leave_place(struct dj_sentry_call *call, struct dj_sentry_attempt *attempt)
{
    attempt->is_running = false;
    call->running--;
    if (!call->is_probe)
        atomic_fetch_sub_explicit(&call->lane->running, 1, memory_order_relaxed);
}

static void tell(struct dj_sentry_call *call, const struct dj_sentry_attempt *attempt,
                 enum deja_status status)
{
    const struct sentry_told told = {.ticket = call->is_probe ? NULL : &attempt->ticket,
                                     .started_us = attempt->ticket.started_us,
                                     .operation = call->operation,
                                     .status = status,
                                     .is_long = call->is_long};
    sentry_tell(call->sentry, &told);
}

static enum deja_status begin(struct dj_sentry_call *call)
{
    uint64_t now_us = dj_clock_monotonic_us();
    struct dj_sentry_attempt *attempt = &call->attempt[call->attempts];
    if (now_us >= call->ends_us) {
        sentry_count(call->sentry, SENTRY_EXPIRED);
        return DEJA_ERR_TIMEOUT;
    }
    attempt->ticket.started_us = now_us;
    if (!call->is_probe && !dj_sentry_admit(call->sentry, &attempt->ticket, NULL))
        return DEJA_ERR_CIRCUIT_OPEN;
    if (call->attempts == 0 && !call->is_probe)
        dj_sentry_earn(call->sentry);
    call->attempts++;
    take_place(call, attempt);
    uint64_t left_us = call->ends_us - now_us;
    uint64_t cap_us = (uint64_t)call->attempt_ms * 1000;
    time_call(call, now_us, cap_us && cap_us < left_us ? cap_us : left_us);
    enum deja_status status = call->work->start(call, attempt);
    if (status == DEJA_OK)
        return DEJA_OK;
    leave_place(call, attempt);
    call->wanted = NULL;
    dj_list_remove(&call->timed);
    tell(call, attempt, status);
    return pause_call(call, status);
}

static void serve_queue(struct dj_sentry_lane *lane)
{
    while (!dj_list_is_empty(&lane->queue) && !is_full(lane)) {
        struct dj_sentry_call *call = DJ_CONTAINER(lane->queue.next, struct dj_sentry_call, queued);
        leave_queue(call);
        enum deja_status status = begin(call);
        if (status != DEJA_OK)
            finish(call, status);
    }
}

enum deja_status dj_sentry_run(struct dj_sentry *sentry, struct dj_loop *loop,
                               struct dj_sentry_call *call)
{
    assert(call->work && call->deadline_ms > 0);
    call->sentry = sentry;
    atomic_fetch_add(&sentry->refs, 1);
    dj_list_init(&call->timed);
    dj_list_init(&call->queued);
    call->began_us = dj_clock_monotonic_us();
    call->ends_us = call->began_us + (uint64_t)call->deadline_ms * 1000;
    call->lane = lane_of(sentry, loop);
    enum deja_status status = !call->lane          ? DEJA_ERR_NOMEM
                              : !call->lane->timer ? DEJA_ERR_CANCELLED
                              : is_full(call->lane) && !call->is_probe
                                  ? join_queue(call, call->began_us)
                                  : begin(call);
    if (status != DEJA_OK)
        release(call);
    return status;
}

bool dj_sentry_is_wanted(const struct dj_sentry_attempt *attempt)
{
    return attempt->call->wanted == attempt;
}

void dj_sentry_end(struct dj_sentry_attempt *attempt, enum deja_status status)
{
    struct dj_sentry_call *call = attempt->call;
    struct dj_sentry_lane *lane = call->lane;
    struct dj_sentry *sentry = call->sentry;
    assert(attempt->is_running && dj_loop_is_current(lane->loop));
    atomic_fetch_add(&sentry->refs, 1); /* the lane outlives the call here */
    leave_place(call, attempt);
    if (call->wanted == attempt) {
        call->wanted = NULL;
        dj_list_remove(&call->timed);
        tell(call, attempt, status);
        enum deja_status end = pause_call(call, status);
        if (end != DEJA_OK || status == DEJA_OK)
            finish(call, end);
    } else {
        sentry_count(sentry, SENTRY_LATE);
        if (call->is_done && call->running == 0)
            release(call);
    }
    serve_queue(lane);
    sentry_unref(sentry);
}

/* ---- what comes due ---- */

static void on_due(struct dj_sentry_call *call)
{
    enum deja_status status = DEJA_ERR_TIMEOUT;
    struct dj_sentry_attempt *attempt = call->wanted;
    dj_list_remove(&call->timed);
    if (call->is_queued) {
        leave_queue(call);
        sentry_count(call->sentry, SENTRY_EXPIRED);
    } else if (attempt) { /* given up */
        call->wanted = NULL;
        tell(call, attempt, DEJA_ERR_TIMEOUT);
        status = pause_call(call, DEJA_ERR_TIMEOUT);
    } else { /* the pause is over */
        uint64_t now_us = dj_clock_monotonic_us();
        status = is_full(call->lane) ? join_queue(call, now_us) : begin(call);
    }
    if (status != DEJA_OK)
        finish(call, status);
}

static void on_timer(void *ctx)
{
    struct dj_sentry_lane *lane = ctx;
    uint64_t now_us = dj_clock_monotonic_us();
    lane->armed_us = 0;
    for (size_t i = 0; i < SENTRY_ROWS; i++) {
        struct dj_list *timed = &lane->rows[i].timed;
        while (!dj_list_is_empty(timed) && timed_call(timed->next)->due_us <= now_us)
            on_due(timed_call(timed->next));
    }
    arm(lane, dj_clock_monotonic_us());
}

static void end_lane(struct dj_sentry_lane *lane)
{
    dj_timer_destroy(lane->timer);
    lane->timer = NULL;
    for (size_t i = 0; i < SENTRY_ROWS; i++) {
        struct dj_list *timed = &lane->rows[i].timed;
        while (!dj_list_is_empty(timed)) {
            struct dj_sentry_call *call = timed_call(timed->next);
            dj_list_remove(&call->timed);
            if (call->is_queued)
                leave_queue(call);
            if (!call->wanted) /* others end when their attempt does */
                finish(call, DEJA_ERR_CANCELLED);
        }
    }
}

void sentry_lanes_end(struct dj_sentry *sentry)
{
    for (size_t i = 0; i < DJ_SENTRY_LOOPS_MAX; i++) {
        struct dj_sentry_lane *lane = atomic_load(&sentry->lanes[i]);
        if (lane)
            end_lane(lane);
    }
}
