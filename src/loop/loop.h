/* loop/loop.h - event loops: one thread each, timers, messages between threads, the clock.
 *
 * A loop never blocks (I3). Only this room and daemon read the clock (I5): others ask their loop.
 * Threads: a loop is bound to the thread that runs dj_loop_run; only dj_loop_post and
 * dj_loop_stop may be called from any thread.
 */
#ifndef DJ_LOOP_LOOP_H
#define DJ_LOOP_LOOP_H

#include <deja/base.h>

struct dj_loop;  /* owned by its creator, loop-bound */
struct dj_timer; /* loop-bound */

/* A message; embedded in its owner, who keeps it alive until run() has been called. Any thread. */
typedef void dj_task_fn(void *ctx);
struct dj_task {
    struct dj_task *next; /* the loop's, while posted */
    dj_task_fn *run;
    void *ctx;
};

enum deja_status dj_loop_create(uint32_t index, struct dj_loop **out_loop) DEJA_NODISCARD;
/* After dj_loop_run has returned. Accepts NULL. */
void dj_loop_destroy(struct dj_loop *loop);

/* Runs until dj_loop_stop and until every handle on the loop has been closed. */
void dj_loop_run(struct dj_loop *loop);
void dj_loop_stop(struct dj_loop *loop); /* any thread; run() returns once handles are closed */

uint32_t dj_loop_index(const struct dj_loop *loop);
bool dj_loop_is_current(const struct dj_loop *loop); /* for asserts */

/* Appends; runs on the loop's thread, in order, never inside this call. Any thread; cannot fail. */
void dj_loop_post(struct dj_loop *loop, struct dj_task *task);

int64_t dj_loop_now_ms(const struct dj_loop *loop); /* wall clock, ms since 1970, cached per turn */
uint64_t dj_loop_monotonic_us(const struct dj_loop *loop); /* fresh, for durations */
/* The same clock when this turn began, in whole milliseconds: for timeouts, which it may bring
 * nearer by the length of a turn, and costs nothing. */
uint64_t dj_loop_turn_us(const struct dj_loop *loop);
/* The same clocks for threads that are not loops (workers, tools). */
int64_t dj_clock_now_ms(void);
uint64_t dj_clock_monotonic_us(void);
uint64_t dj_clock_monotonic_ns(void);

typedef void dj_timer_fn(void *ctx);
enum deja_status dj_timer_create(struct dj_loop *loop, void *ctx, dj_timer_fn *on_timer,
                                 struct dj_timer **out_timer) DEJA_NODISCARD;
/* (Re)arms; repeat_ms 0: once. Cannot fail. */
void dj_timer_start(struct dj_timer *timer, uint64_t after_ms, uint64_t repeat_ms);
void dj_timer_stop(struct dj_timer *timer);
void dj_timer_destroy(struct dj_timer *timer); /* accepts NULL; on_timer never runs again */
/* dj_loop_run does not wait for it to be destroyed: for owners that end after the loops. */
void dj_timer_set_background(struct dj_timer *timer);

/* Signals, on the main loop only; signal_number is SIGTERM, SIGINT, SIGHUP. */
typedef void dj_signal_fn(void *ctx, int signal_number);
struct dj_signal;
enum deja_status dj_signal_create(struct dj_loop *loop, int signal_number, void *ctx,
                                  dj_signal_fn *on_signal,
                                  struct dj_signal **out_signal) DEJA_NODISCARD;
void dj_signal_destroy(struct dj_signal *signal); /* accepts NULL */

#endif
