/* proxy/admission.c - see admission.h.
 *
 * Fates are decided under the lock and told by a task on the place's loop, so nobody is called back
 * inside a call of his own.
 *
 * While somebody waits, a timer of the first loop looks for those who have waited too long: turns
 * alone would not find them where every call that runs takes minutes.
 */
#include "proxy/admission.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/list.h"

struct dj_admission {
    pthread_mutex_t mutex;
    struct dj_fair *fair;
    bool is_stopping;
    bool is_ticking; /* the timer runs, or is about to */
    uint64_t tick_ms;
    struct dj_loop *first;
    struct dj_timer *timer;
    struct dj_task start;
};

static struct dj_admission_place *place_of(struct dj_fair_ticket *ticket)
{
    return DJ_CONTAINER(ticket, struct dj_admission_place, ticket);
}

static void tell(void *ctx)
{
    struct dj_admission_place *place = ctx;
    place->told(place->ctx, place->is_let);
}

/* Under the lock; the place may be gone once its task has run. */
static void post(struct dj_fair_ticket *ticket)
{
    struct dj_admission_place *place = place_of(ticket);
    place->is_let = ticket->state == DJ_FAIR_RUNNING;
    place->task = (struct dj_task){.run = tell, .ctx = place};
    dj_loop_post(place->loop, &place->task);
}

static void take_turns(struct dj_admission *admission)
{
    struct dj_fair_ticket *ticket;
    while ((ticket = dj_fair_turn(admission->fair, dj_clock_monotonic_us())))
        post(ticket);
}

static void on_tick(void *ctx)
{
    struct dj_admission *admission = ctx;
    pthread_mutex_lock(&admission->mutex);
    take_turns(admission);
    if (!dj_fair_waiting(admission->fair)) {
        admission->is_ticking = false;
        dj_timer_stop(admission->timer);
    }
    pthread_mutex_unlock(&admission->mutex);
}

static void on_start(void *ctx)
{
    struct dj_admission *admission = ctx;
    dj_timer_start(admission->timer, admission->tick_ms, admission->tick_ms);
}

enum deja_status dj_admission_create(const struct dj_fair_options *options, struct dj_loop *first,
                                     struct dj_admission **out_admission)
{
    struct dj_admission *admission = dj_alloc_zeroed(1, sizeof *admission);
    if (!admission)
        return DEJA_ERR_NOMEM;
    pthread_mutex_init(&admission->mutex, NULL); /* cannot fail on Linux */
    admission->first = first;
    admission->tick_ms = options->standing.target_us / 2000 + 1;
    admission->start = (struct dj_task){.run = on_start, .ctx = admission};
    enum deja_status status = dj_fair_create(options, &admission->fair);
    if (status == DEJA_OK)
        status = dj_timer_create(first, admission, on_tick, &admission->timer);
    if (status != DEJA_OK) {
        dj_admission_destroy(admission);
        return status;
    }
    dj_timer_set_background(admission->timer);
    *out_admission = admission;
    return DEJA_OK;
}

void dj_admission_destroy(struct dj_admission *admission)
{
    if (!admission)
        return;
    dj_timer_destroy(admission->timer);
    while (admission->fair && dj_fair_give_up(admission->fair)) {
        /* their owners are gone: nobody is told */
    }
    dj_fair_destroy(admission->fair);
    pthread_mutex_destroy(&admission->mutex);
    dj_free(admission);
}

void dj_admission_stop(struct dj_admission *admission)
{
    struct dj_fair_ticket *ticket;
    pthread_mutex_lock(&admission->mutex);
    admission->is_stopping = true;
    while ((ticket = dj_fair_give_up(admission->fair)))
        post(ticket);
    pthread_mutex_unlock(&admission->mutex);
}

/* Under the lock. */
static enum dj_admission_verdict enter(struct dj_admission *admission,
                                       struct dj_admission_place *place,
                                       const struct dj_admission_question *question)
{
    struct dj_fair_ticket *displaced = NULL;
    bool must_go = !question->is_patient || admission->is_stopping;
    if (must_go && !dj_fair_has_room(admission->fair))
        return DJ_ADMISSION_REFUSED;
    dj_fair_enter(admission->fair, &place->ticket, question->tenant, question->weight,
                  dj_clock_monotonic_us(), &displaced);
    if (displaced)
        post(displaced);
    if (place->ticket.state == DJ_FAIR_RUNNING)
        return DJ_ADMISSION_LET;
    if (place->ticket.state == DJ_FAIR_REFUSED)
        return DJ_ADMISSION_REFUSED;
    if (!admission->is_ticking) {
        admission->is_ticking = true;
        dj_loop_post(admission->first, &admission->start);
    }
    return DJ_ADMISSION_WAITS;
}

enum dj_admission_verdict dj_admission_enter(struct dj_admission *admission,
                                             struct dj_admission_place *place,
                                             const struct dj_admission_question *question)
{
    if (!admission)
        return DJ_ADMISSION_LET;
    *place = (struct dj_admission_place){
        .loop = question->loop, .ctx = question->ctx, .told = question->told};
    pthread_mutex_lock(&admission->mutex);
    enum dj_admission_verdict verdict = enter(admission, place, question);
    pthread_mutex_unlock(&admission->mutex);
    return verdict;
}

void dj_admission_leave(struct dj_admission *admission, struct dj_admission_place *place)
{
    if (!admission || place->ticket.state == DJ_FAIR_OUT)
        return;
    pthread_mutex_lock(&admission->mutex);
    dj_fair_leave(admission->fair, &place->ticket);
    place->ticket.state = DJ_FAIR_OUT;
    take_turns(admission);
    pthread_mutex_unlock(&admission->mutex);
}

uint32_t dj_admission_waiting(struct dj_admission *admission)
{
    if (!admission)
        return 0;
    pthread_mutex_lock(&admission->mutex);
    uint32_t waiting = dj_fair_waiting(admission->fair);
    pthread_mutex_unlock(&admission->mutex);
    return waiting;
}
