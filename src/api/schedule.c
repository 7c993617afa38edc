/* api/schedule.c - invalidations for later: kept (POST /api/v1/invalidate with at, after or cron),
 * listed and removed (/api/v1/schedules).
 */
#include "api/handlers.h"
#include "api/invalidate_internal.h"
#include "api/schedules.h"
#include "api/user.h"
#include "base/num.h"

static const struct dj_schedule_service *service_of(struct dj_request *request)
{
    const struct dj_schedule_service *service = request->api->schedules;
    if (!service) /* after which the request is gone */
        dj_request_problem(request, 501, "feature_disabled", "this daemon keeps no schedules");
    return service;
}

static void refuse(struct dj_request *request, enum deja_status status)
{
    if (status == DEJA_ERR_LIMIT)
        dj_request_problem(request, 429, "too_many_schedules",
                           dj_request_text(request,
                                           "a tenant has at most %u: remove one, or let one cron "
                                           "line do for several",
                                           DJ_SCHEDULES_TENANT_MAX));
    else if (status == DEJA_ERR_NOT_FOUND)
        dj_request_problem(request, 404, "not_found",
                           "there is no such schedule: it may have run, or was removed");
    else
        dj_request_refuse(request, status == DEJA_ERR_IO ? DEJA_ERR_CACHE_UNAVAILABLE : status);
}

/* ---- keeping ---- */

static void on_kept(void *ctx, enum deja_status status, const uint8_t id[DJ_SCHEDULE_ID_BYTES])
{
    const struct dj_invalidate *invalidate = ctx;
    struct dj_request *request = invalidate->request;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (status != DEJA_OK) {
        refuse(request, status);
        return;
    }
    dj_json_begin_object(&w);
    dj_request_put_id(&w, "schedule", id);
    dj_json_member_text(&w, "kind", invalidate->order.kind);
    dj_request_put_time(&w, "next_at", invalidate->when.at_ms);
    dj_json_key(&w, "cron");
    if (invalidate->when.cron.len)
        dj_json_put_string(&w, invalidate->when.cron);
    else
        dj_json_put_null(&w);
    dj_json_end_object(&w);
    dj_request_answer(request, 202, NULL, &body);
    dj_buf_fini(&body);
}

void dj_invalidate_later(struct dj_invalidate *invalidate)
{
    struct dj_request *request = invalidate->request;
    const struct dj_schedule_service *service;
    if (dj_user_is_refused(request) || !(service = service_of(request)))
        return;
    struct dj_schedule_order order = {
        .invalidation = &invalidate->order,
        .cron = invalidate->when.cron,
        .at_ms = invalidate->when.at_ms,
        .by = request->who.key_id[0] ? request->who.key_id : NULL,
    };
    memcpy(order.tenant, request->tenant, sizeof order.tenant);
    enum deja_status status =
        service->add(service->ctx, request->loop, &order, invalidate, on_kept);
    if (status != DEJA_OK)
        refuse(request, status);
}

/* ---- listing, removing ---- */

void dj_schedules_list(struct dj_request *request)
{
    const struct dj_schedule_service *service;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (dj_user_is_refused(request) || !(service = service_of(request)))
        return;
    dj_json_begin_object(&w);
    dj_json_key(&w, "schedules");
    dj_json_begin_array(&w);
    service->list(service->ctx, request->tenant, NULL, &w);
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

/* False: the request was answered. */
static bool read_id(struct dj_request *request, uint8_t id[DJ_SCHEDULE_ID_BYTES])
{
    if (dj_hex_decode(request->rest, id, DJ_SCHEDULE_ID_BYTES) == DEJA_OK)
        return true;
    refuse(request, DEJA_ERR_NOT_FOUND);
    return false;
}

void dj_schedules_get(struct dj_request *request)
{
    const struct dj_schedule_service *service;
    uint8_t id[DJ_SCHEDULE_ID_BYTES];
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (dj_user_is_refused(request) || !(service = service_of(request)) || !read_id(request, id))
        return;
    if (service->list(service->ctx, request->tenant, id, &w))
        dj_request_answer(request, 200, NULL, &body);
    else
        refuse(request, DEJA_ERR_NOT_FOUND);
    dj_buf_fini(&body);
}

static void on_removed(void *ctx, enum deja_status status, const uint8_t id[DJ_SCHEDULE_ID_BYTES])
{
    struct dj_request *request = ctx;
    static const struct dj_buf nothing;
    (void)id;
    if (status == DEJA_OK)
        dj_request_answer(request, 204, NULL, &nothing);
    else
        refuse(request, status);
}

void dj_schedules_remove(struct dj_request *request)
{
    const struct dj_schedule_service *service;
    uint8_t id[DJ_SCHEDULE_ID_BYTES];
    if (dj_user_is_refused(request) || !(service = service_of(request)) || !read_id(request, id))
        return;
    enum deja_status status =
        service->remove(service->ctx, request->loop, request->tenant, id, request, on_removed);
    if (status != DEJA_OK)
        refuse(request, status);
}
