/* store/redis_visit.h - a short visit to the server: one question after another over a connection
 * of its own, blocking.
 *
 * Threads: none of its own; a worker or the start. Bound: one question at a time, timeout_ms for
 * all of them.
 */
#ifndef DJ_STORE_REDIS_VISIT_H
#define DJ_STORE_REDIS_VISIT_H

#include "store/redis_internal.h"

struct dj_redis_visit;
/* Takes the reply to one question; returns what ends the visit, or DEJA_OK to go on. */
typedef enum deja_status dj_redis_visit_take_fn(struct dj_redis_visit *visit,
                                                const struct dj_redis_reply *reply);
/* Fills the command of question number visit->step, and its key; false: there is none. */
typedef bool dj_redis_visit_ask_fn(struct dj_redis_visit *visit, struct dj_redis_call *call);

/* Zeroed but for ask, take and ctx. */
struct dj_redis_visit {
    dj_redis_visit_ask_fn *ask;
    dj_redis_visit_take_fn *take;
    void *ctx;
    struct dj_store *store; /* this one and the next are for ask */
    uint32_t step;
    char software[sizeof((struct dj_redis_security *)0)->software];
    struct dj_loop *loop;
    struct dj_timer *timer;
    struct dj_task begin;
    struct dj_redis_call call;
    enum deja_status status;
    bool is_over;
};

/* error: what stands in the way, for a person. */
enum deja_status dj_redis_visit_run(const struct dj_redis_options *options, uint32_t timeout_ms,
                                    struct dj_redis_visit *visit,
                                    struct deja_error *error) DEJA_NODISCARD;
/* What the visited store is called. */
static inline const char *dj_redis_visit_prefix(const struct dj_redis_visit *visit)
{
    return ((const struct dj_redis *)visit->store)->options.prefix;
}

#endif
