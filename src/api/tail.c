/* api/tail.c - GET /api/v1/tail: the tenant's requests as they are answered, by long polling.
 *
 *   last=N             its last N requests that are still known
 *   after=NEXT         those since the answer that told this `next`
 *   wait=DURATION      with nothing to tell, asks again every POLL_MS until there is something, the
 *                      time is over, the daemon drains or the client leaves
 */
#include <math.h>
#include <string.h>

#include "api/handlers.h"
#include "api/place.h"
#include "api/query.h"
#include "api/user.h"
#include "base/num.h"
#include "proxy/recent.h"

#define LAST_DEFAULT 10u
#define REQUESTS_MAX 1000u /* of one answer */
#define WAIT_MAX_MS 30000u
#define POLL_MS 100u
#define TENANT_WAITERS_MAX 32u
#define CHUNK 16u
#define PURPOSE "tail"

/* In the request's arena. */
struct tail {
    struct dj_request *request;
    struct dj_timer *timer; /* owned; NULL: it does not wait */
    uint32_t place;         /* while it waits: in the api's tail_places */
    uint64_t from;
    uint64_t lost;
    uint64_t end_us; /* monotonic: answered then at the latest */
};

/* ---- answering ---- */

static const struct dj_recent *recent_of(const struct tail *tail)
{
    return dj_telemetry_recent(tail->request->api->proxy->telemetry);
}

static void write_request(struct dj_json_writer *w, const struct dj_recent_request *recent)
{
    dj_json_begin_object(w);
    dj_request_put_time(w, "time", recent->time_ms);
    dj_json_member_text(w, "api", recent->api);
    dj_json_member_text(w, "result", recent->result);
    dj_json_member_text(w, "level", recent->level);
    dj_json_key(w, "similarity");
    if (isnan(recent->similarity))
        dj_json_put_null(w);
    else
        dj_json_put_double(w, round(recent->similarity * 1e6) / 1e6);
    dj_json_member_double(w, "duration_ms", (double)recent->duration_us / 1e3);
    if (recent->has_id) {
        dj_request_put_id(w, "id", recent->id);
    } else {
        dj_json_key(w, "id");
        dj_json_put_null(w);
    }
    dj_json_end_object(w);
}

/* Of what was overwritten, at most so many can have been this tenant's. */
static uint64_t own_lost(const struct tail *tail)
{
    struct dj_telemetry_totals totals = {0};
    if (!tail->lost)
        return 0;
    dj_telemetry_totals(tail->request->api->proxy->telemetry, tail->request->tenant, &totals);
    return tail->lost < totals.requests ? tail->lost : totals.requests;
}

/* Never 0. Tenants that share one share their places. */
static uint64_t name_of(const uint8_t tenant[DJ_ID_BYTES])
{
    uint64_t name;
    memcpy(&name, tenant, sizeof name);
    return name | 1;
}

static void leave_place(struct tail *tail)
{
    atomic_store(&tail->request->api->tail_places[tail->place], 0);
}

/* False: all are taken, or too many by this tenant. Two that come for the last one at once may both
 * be refused, never both be let in. */
static bool take_place(struct tail *tail)
{
    struct dj_api *api = tail->request->api;
    const uint64_t name = name_of(tail->request->tenant);
    uint32_t own = 0;
    bool is_taken = false;
    for (uint32_t i = 0; i < DJ_TAIL_PLACES && !is_taken; i++) {
        uint64_t nobody = 0;
        is_taken = atomic_compare_exchange_strong(&api->tail_places[i], &nobody, name);
        if (is_taken)
            tail->place = i;
    }
    for (uint32_t i = 0; i < DJ_TAIL_PLACES; i++)
        own += atomic_load(&api->tail_places[i]) == name;
    if (is_taken && own > TENANT_WAITERS_MAX)
        leave_place(tail);
    return is_taken && own <= TENANT_WAITERS_MAX;
}

static void stop_waiting(struct tail *tail)
{
    if (!tail->timer)
        return;
    dj_timer_destroy(tail->timer);
    tail->timer = NULL;
    leave_place(tail);
}

/* chunk: what was read already. */
static void answer(struct tail *tail, struct dj_recent_request chunk[CHUNK], uint32_t count)
{
    struct dj_request *request = tail->request;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    uint32_t told = 0;
    dj_json_begin_object(&w);
    dj_json_key(&w, "requests");
    dj_json_begin_array(&w);
    while (count) {
        for (uint32_t i = 0; i < count; i++)
            write_request(&w, &chunk[i]);
        told += count;
        uint32_t max = REQUESTS_MAX - told < CHUNK ? REQUESTS_MAX - told : CHUNK;
        count = max ? dj_recent_read(recent_of(tail), request->tenant, &tail->from, &tail->lost,
                                     chunk, max)
                    : 0;
    }
    dj_json_end_array(&w);
    dj_json_member_u64(&w, "next", dj_place_scramble(request, PURPOSE, tail->from));
    dj_json_member_u64(&w, "lost", own_lost(tail));
    dj_json_end_object(&w);
    if (tail->timer) /* waiting was wished for: no slow operation */
        request->handled_us = dj_clock_monotonic_us();
    stop_waiting(tail);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

/* Answers when there is something to tell, or no time left to wait for it. */
static bool try_answer(struct tail *tail)
{
    struct dj_request *request = tail->request;
    struct dj_recent_request chunk[CHUNK];
    uint32_t count =
        dj_recent_read(recent_of(tail), request->tenant, &tail->from, &tail->lost, chunk, CHUNK);
    bool is_over = atomic_load(&request->api->is_draining) ||
                   dj_loop_monotonic_us(request->loop) >= tail->end_us;
    if (!count && !is_over && !own_lost(tail))
        return false;
    answer(tail, chunk, count);
    return true;
}

/* ---- waiting ---- */

static void on_poll(void *ctx)
{
    struct tail *tail = ctx;
    (void)try_answer(tail);
}

static void on_event(void *ctx, struct dj_http_exchange *exchange, enum dj_http_event event)
{
    struct tail *tail = ctx;
    (void)exchange;
    if (event != DJ_HTTP_GONE)
        return;
    tail->request->handled_us = dj_clock_monotonic_us();
    stop_waiting(tail);
    dj_request_abandon(tail->request);
}

static void wait_on(struct tail *tail)
{
    struct dj_request *request = tail->request;
    if (!take_place(tail)) {
        dj_request_problem(
            request, 429, "overloaded",
            dj_request_text(request,
                            "too many wait here: at most %u clients of a tenant, %u of all; ask "
                            "again later, or without wait",
                            TENANT_WAITERS_MAX, DJ_TAIL_PLACES));
        return;
    }
    if (dj_timer_create(request->loop, tail, on_poll, &tail->timer) != DEJA_OK) {
        leave_place(tail);
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    dj_http_exchange_watch(request->exchange, tail, on_event);
    dj_timer_start(tail->timer, POLL_MS, POLL_MS);
}

/* ---- asking ---- */

static void read_places(struct dj_request *request, struct tail *tail)
{
    const struct dj_recent *recent = recent_of(tail);
    struct deja_slice last = {0};
    struct deja_slice after = {0};
    uint64_t count = LAST_DEFAULT;
    uint64_t place = 0;
    if (!dj_query_url_member(request, "last", &last) ||
        !dj_query_url_member(request, "after", &after))
        return;
    if (last.data && after.data)
        dj_request_complain(request, "invalid_request", "after", "exclusive",
                            "goes without last: say one of the two");
    else if (last.data && (dj_num_parse_u64(last, &count) != DEJA_OK || count > REQUESTS_MAX))
        dj_request_complain(request, "invalid_request", "last", "range",
                            dj_request_text(request, "must be from 0 to %u", REQUESTS_MAX));
    else if (after.data && (dj_num_parse_u64(after, &place) != DEJA_OK || place >> DJ_PLACE_BITS))
        dj_request_complain(request, "invalid_request", "after", "format",
                            "must be the next of an answer before");
    else if (!after.data)
        tail->from = dj_recent_last(recent, request->tenant, (uint32_t)count);
    else
        tail->from = dj_place_unscramble(request, PURPOSE, place);
    if (tail->from > dj_recent_next(recent))
        tail->from = 0; /* of a daemon before this one: all that is known is news */
}

void dj_tail(struct dj_request *request)
{
    struct deja_slice wait = {0};
    uint64_t wait_ms = 0;
    if (dj_user_is_refused(request))
        return;
    struct tail *tail = dj_arena_alloc(request->arena, sizeof *tail);
    if (!tail) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *tail = (struct tail){.request = request};
    read_places(request, tail);
    if (dj_query_url_member(request, "wait", &wait) && wait.data &&
        (dj_num_parse_duration(wait, &wait_ms) != DEJA_OK || wait_ms > WAIT_MAX_MS))
        dj_request_complain(request, "invalid_request", "wait", "range",
                            "must be a duration of up to 30s");
    if (dj_request_has_complaints(request))
        return;
    tail->end_us = dj_loop_monotonic_us(request->loop) + wait_ms * 1000;
    if (!try_answer(tail))
        wait_on(tail);
}
