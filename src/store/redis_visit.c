/* store/redis_visit.c - see redis_visit.h: a store and a loop of its own for each visit. */
#include "store/redis_visit.h"

#include <string.h>

static void end(struct dj_redis_visit *visit, enum deja_status status)
{
    if (visit->is_over)
        return;
    visit->is_over = true;
    visit->status = status;
    visit->store->ops->leave(visit->store, visit->loop);
    dj_timer_destroy(visit->timer);
    dj_loop_stop(visit->loop);
}

static void on_replied(void *ctx, enum deja_status status, const struct dj_redis_reply *reply);

static void go_on(struct dj_redis_visit *visit)
{
    struct dj_redis_link *link = NULL;
    enum deja_status status = dj_redis_link_of((struct dj_redis *)visit->store, visit->loop, &link);
    if (status == DEJA_OK) {
        dj_redis_call_init(&visit->call, visit, on_replied);
        if (!visit->ask(visit, &visit->call)) {
            end(visit, DEJA_OK);
            return;
        }
        status = dj_redis_send(link, &visit->call);
    }
    if (status != DEJA_OK)
        end(visit, status);
}

static void on_replied(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct dj_redis_visit *visit = ctx;
    if (visit->is_over)
        return;
    if (status == DEJA_OK)
        status = visit->take(visit, reply);
    if (status != DEJA_OK) {
        end(visit, status);
        return;
    }
    visit->step++;
    go_on(visit);
}

static void on_late(void *ctx)
{
    end(ctx, DEJA_ERR_TIMEOUT);
}

static void on_begin(void *ctx)
{
    go_on(ctx);
}

/* What stands in the way, for a person. */
static enum deja_status explain(struct dj_redis_visit *visit, struct deja_error *error)
{
    struct deja_error trouble = {.message = ""};
    dj_redis_trouble(visit->store, &trouble);
    return deja_error_set(error, visit->status, "the shared tier: %s",
                          trouble.message[0] ? trouble.message : deja_status_text(visit->status));
}

enum deja_status dj_redis_visit_run(const struct dj_redis_options *options, uint32_t timeout_ms,
                                    struct dj_redis_visit *visit, struct deja_error *error)
{
    struct dj_redis_options mine = *options;
    mine.loop_count = 1;
    enum deja_status status = dj_loop_create(0, &visit->loop);
    if (status != DEJA_OK)
        return status;
    status = dj_redis_open(&mine, &visit->store, error);
    if (status == DEJA_OK)
        status = dj_timer_create(visit->loop, visit, on_late, &visit->timer);
    if (status == DEJA_OK) {
        dj_timer_start(visit->timer, timeout_ms, 0);
        visit->begin = (struct dj_task){.run = on_begin, .ctx = visit};
        dj_loop_post(visit->loop, &visit->begin);
        dj_loop_run(visit->loop);
        status = visit->status;
        if (status != DEJA_OK)
            status = explain(visit, error);
        else
            memcpy(visit->software, ((struct dj_redis *)visit->store)->figures.software,
                   sizeof visit->software);
    }
    if (visit->store)
        visit->store->ops->close(visit->store);
    dj_loop_destroy(visit->loop);
    return status;
}
