/* api/notices.c - GET /api/v1/invalidations: what is made void in the tenant, as it is, as a stream
 * of server-sent events.
 *
 *   id: PLACE                      Last-Event-ID (or ?after=) goes on behind it, as long as it is
 * kept event: invalidation            data: {"time","kind","name","namespace","reason","removed",…}
 *   event: lost                    some were not kept long enough, or the daemon began anew:
 * whoever holds copies should drop them all : a comment every HEARTBEAT_MS, so that both ends know
 * the other is there
 *
 * A reader that is slower than what happens loses the oldest and is told so; nothing waits for it,
 * and at most 256 KiB wait for it in the connection.
 */
#include "api/handlers.h"
#include "api/place.h"
#include "api/query.h"
#include "api/user.h"
#include "base/num.h"
#include "base/slice.h"
#include "cache/notices.h"
#include "proxy/gate.h"
#include "proxy/identity.h"
#include "proxy/tenant_rules.h"

#define PURPOSE "invalidations"
#define TICK_MS 200u /* how soon a drain ends a stream */
#define HEARTBEAT_MS 15000u
#define RECHECK_US UINT64_C(1000000)
#define WAIT_MAX_MS UINT64_C(86400000)

/* In the request's arena. */
struct follower {
    struct dj_request *request;
    struct dj_notices_reader *reader;
    struct dj_timer *timer;
    uint64_t end_us;     /* monotonic; UINT64_MAX: as long as the client stays */
    uint64_t beat_us;    /* of the next heartbeat */
    uint64_t check_us;   /* when it is next asked who the client is */
    bool is_from_oldest; /* what came before that is not missed */
    bool is_paused;      /* the client reads too slowly: until what is queued has left */
};

/* Once; afterwards the exchange may be ended. */
static void stop(struct follower *follower)
{
    struct dj_request *request = follower->request;
    dj_timer_destroy(follower->timer);
    dj_notices_close(follower->reader);
    follower->timer = NULL;
    follower->reader = NULL;
    request->handled_us = dj_clock_monotonic_us(); /* a long stream was wished for */
}

static void end(struct follower *follower)
{
    struct dj_http_exchange *exchange = follower->request->exchange;
    stop(follower);
    dj_request_abandon(follower->request);
    dj_http_respond_end(exchange);
}

static void write_event(struct follower *follower, const char *name, struct deja_slice data)
{
    char place[DJ_NUM_U64_DIGITS_MAX];
    struct dj_buf text = {0};
    size_t len = dj_num_write_u64(
        dj_place_scramble(follower->request, PURPOSE, dj_notices_place(follower->reader)), place);
    dj_buf_append_text(&text, "id: ");
    dj_buf_append(&text, place, len);
    dj_buf_append_text(&text, "\nevent: ");
    dj_buf_append_text(&text, name);
    dj_buf_append_text(&text, "\ndata: ");
    dj_buf_append_slice(&text, data);
    dj_buf_append_text(&text, "\n\n");
    if (text.status == DEJA_OK &&
        !dj_http_respond_write(follower->request->exchange, dj_buf_slice(&text)))
        follower->is_paused = true;
    dj_buf_fini(&text);
}

static void write_notice(struct follower *follower, const struct dj_notice *notice)
{
    struct dj_buf data = {0};
    struct dj_json_writer w = dj_json_writer(&data);
    dj_notice_write(&w, notice, false);
    if (data.status == DEJA_OK)
        write_event(follower, "invalidation", dj_buf_slice(&data));
    else
        write_event(follower, "lost", deja_slice_text("{}"));
    dj_buf_fini(&data);
}

/* All there is, as far as the client takes it. */
static void on_news(void *ctx)
{
    struct follower *follower = ctx;
    while (!follower->is_paused) {
        uint64_t lost = 0;
        const struct dj_notice *notice = dj_notices_next(follower->reader, &lost);
        if (lost && !follower->is_from_oldest)
            write_event(follower, "lost", deja_slice_text("{}"));
        follower->is_from_oldest = false;
        if (!notice)
            return;
        write_notice(follower, notice);
        dj_notice_unref(notice);
    }
}

/* A stream may outlive the key it was asked with, and what that key may. */
static bool may_still(struct follower *follower, uint64_t now_us)
{
    struct dj_request *request = follower->request;
    struct dj_identity_refusal refusal = {.status = 0};
    struct dj_principal who;
    if (now_us < follower->check_us)
        return true;
    follower->check_us = now_us + RECHECK_US;
    if (!dj_identity_take(request->api->proxy, request->http, dj_loop_now_ms(request->loop), &who,
                          &refusal))
        return refusal.status == 503; /* nobody can tell just now */
    bool may = memcmp(who.tenant, request->tenant, sizeof request->tenant) == 0 && who.may_hit &&
               dj_identity_may(&who, DJ_ROLE_READ) && dj_tenant_has(&who, DJ_FEATURE_API);
    dj_principal_fini(&who);
    return may;
}

static void on_tick(void *ctx)
{
    struct follower *follower = ctx;
    struct dj_request *request = follower->request;
    uint64_t now_us = dj_loop_monotonic_us(request->loop);
    if (atomic_load(&request->api->is_draining) || now_us >= follower->end_us ||
        !may_still(follower, now_us)) {
        end(follower);
        return;
    }
    if (now_us < follower->beat_us || follower->is_paused)
        return;
    follower->beat_us = now_us + HEARTBEAT_MS * 1000;
    if (!dj_http_respond_write(request->exchange, deja_slice_text(": still here\n\n")))
        follower->is_paused = true;
}

static void on_event(void *ctx, struct dj_http_exchange *exchange, enum dj_http_event event)
{
    struct follower *follower = ctx;
    (void)exchange;
    if (event == DJ_HTTP_GONE) {
        stop(follower);
        dj_request_abandon(follower->request);
        return;
    }
    follower->is_paused = false;
    on_news(follower);
}

/* ---- beginning ---- */

static bool is_oldest(struct deja_slice after)
{
    return dj_slice_is(after, "kept");
}

/* Where to begin; false: what came after it is not known any more. */
static bool find_place(struct dj_request *request, struct deja_slice after, uint64_t *out_number)
{
    uint64_t place = 0;
    uint64_t last = dj_notices_last(request->api->notices);
    *out_number = last;
    if (!after.len)
        return true;
    if (is_oldest(after)) {
        *out_number = 0;
        return true;
    }
    if (dj_num_parse_u64(after, &place) != DEJA_OK || place >> DJ_PLACE_BITS)
        return false;
    uint64_t number = dj_place_unscramble(request, PURPOSE, place);
    if (number > last)
        return false; /* of a daemon before this one */
    *out_number = number;
    return true;
}

static enum deja_status open_follower(struct follower *follower, uint64_t number)
{
    struct dj_request *request = follower->request;
    enum deja_status status = dj_timer_create(request->loop, follower, on_tick, &follower->timer);
    if (status == DEJA_OK)
        status = dj_notices_open(request->api->notices, request->loop, request->tenant, number,
                                 follower, on_news, &follower->reader);
    if (status != DEJA_OK)
        dj_timer_destroy(follower->timer);
    return status;
}

static void begin(struct follower *follower, struct deja_slice after)
{
    static const struct dj_http_header headers[] = {
        {{"Content-Type", 12}, {"text/event-stream", 17}},
        {{"Cache-Control", 13}, {"no-store", 8}},
        {{"X-Accel-Buffering", 17}, {"no", 2}},
    };
    struct dj_request *request = follower->request;
    uint64_t number = 0;
    bool is_known = find_place(request, after, &number);
    follower->is_from_oldest = is_oldest(after);
    enum deja_status status = open_follower(follower, number);
    if (status == DEJA_ERR_LIMIT)
        dj_request_problem(request, 429, "overloaded",
                           dj_request_text(request,
                                           "too many clients follow (%u of a tenant, %u of all): "
                                           "close one, or ask again later",
                                           DJ_NOTICES_TENANT_READERS_MAX, DJ_NOTICES_READERS_MAX));
    else if (status != DEJA_OK)
        dj_request_refuse(request, status);
    if (status != DEJA_OK)
        return;
    dj_gate_leave(&request->pass, 0); /* it does not count as a request under way */
    request->pass = (struct dj_limit_pass){0};
    dj_http_exchange_watch(request->exchange, follower, on_event);
    dj_http_respond_begin(request->exchange, 200, headers, sizeof headers / sizeof *headers, -1);
    follower->beat_us = dj_loop_monotonic_us(request->loop) + HEARTBEAT_MS * 1000;
    follower->check_us = dj_loop_monotonic_us(request->loop) + RECHECK_US;
    dj_timer_start(follower->timer, TICK_MS, TICK_MS);
    if (!is_known)
        write_event(follower, "lost", deja_slice_text("{}"));
    else /* so that a client knows from where on it is told */
        write_event(follower, "following", deja_slice_text("{}"));
}

void dj_follow_invalidations(struct dj_request *request)
{
    struct deja_slice after = {0};
    struct deja_slice wait = {0};
    struct dj_buf nothing = {0};
    uint64_t wait_ms = 0;
    if (dj_user_is_refused(request))
        return;
    struct follower *follower = dj_arena_alloc(request->arena, sizeof *follower);
    if (!follower) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *follower = (struct follower){.request = request, .end_us = UINT64_MAX};
    if (!dj_query_url_member(request, "after", &after) ||
        !dj_query_url_member(request, "wait", &wait) || !request->api->notices) {
        if (!dj_request_has_complaints(request))
            dj_request_problem(request, 501, "feature_disabled", "nobody is told here");
        return;
    }
    if (wait.data &&
        (dj_num_parse_duration(wait, &wait_ms) != DEJA_OK || !wait_ms || wait_ms > WAIT_MAX_MS))
        dj_request_complain(request, "invalid_request", "wait", "range",
                            "must be a duration of up to 24h");
    if (dj_request_has_complaints(request))
        return;
    if (!after.len)
        after = dj_http_find_header(request->http, "last-event-id");
    if (wait_ms)
        follower->end_us = dj_loop_monotonic_us(request->loop) + wait_ms * 1000;
    if (dj_slice_is(request->http->method, "HEAD"))
        dj_request_answer(request, 200, "text/event-stream", &nothing);
    else
        begin(follower, after);
}
