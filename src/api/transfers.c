/* api/transfers.c - POST /api/v1/backup, /restore, /verify, /migrate; GET and DELETE
 * /api/v1/transfers/{id}: for administrators. */
#include "api/handlers.h"
#include "api/query.h"
#include "base/num.h"
#include "base/slice.h"

#define FILE_BYTES_MAX 255u

/* NULL: the request was answered. */
static const struct dj_transfer_service *service_of(struct dj_request *request)
{
    const struct dj_transfer_service *service = request->api->transfers;
    if (!service)
        dj_request_refuse(request, DEJA_ERR_UNSUPPORTED); /* request is gone then */
    return service;
}

static void answer(struct dj_request *request, int status, const uint8_t id[DJ_TRANSFER_ID_BYTES])
{
    const struct dj_transfer_service *service = request->api->transfers;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (service->write(service->ctx, id, &w))
        dj_request_answer(request, status, NULL, &body);
    else
        dj_request_problem(request, 404, "not_found", "there is no such transfer");
    dj_buf_fini(&body);
}

static void start(struct dj_request *request, const struct dj_transfer_order *order)
{
    const struct dj_transfer_service *service = request->api->transfers;
    uint8_t id[DJ_TRANSFER_ID_BYTES];
    struct deja_error error = {.message = ""};
    enum deja_status status = service->start(service->ctx, order, id, &error);
    if (status == DEJA_ERR_BUSY)
        dj_request_problem(request, 409, "transfer_in_progress",
                           "another one is running: GET /api/v1/transfers tells how far it is");
    else if (status == DEJA_ERR_INVALID)
        dj_request_problem(request, 400, "invalid_request",
                           dj_request_text(request, "%s", error.message));
    else if (status != DEJA_OK)
        dj_request_refuse(request, status);
    else
        answer(request, 202, id);
}

/* ---- orders ---- */

static void read_level(struct dj_request *request, const char *name, uint32_t *out_levels)
{
    struct deja_slice text = {0};
    if (!dj_query_label(request, request->body, name, "", DJ_LABEL_BYTES_MAX, &text) || !text.data)
        return;
    *out_levels = dj_level_bit(text);
    if (!*out_levels)
        dj_request_complain(request, "invalid_request", name, "value",
                            "must be memory, lmdb, redis, postgres or s3");
}

static void read_tenant(struct dj_request *request, struct dj_transfer_order *order)
{
    struct deja_slice text = {0};
    if (!dj_query_label(request, request->body, "tenant", "", DJ_LABEL_BYTES_MAX, &text) ||
        !text.data)
        return;
    order->has_tenant = true;
    if (dj_tenant_parse(text, order->tenant) != DEJA_OK)
        dj_request_complain(request, "invalid_request", "tenant", "format",
                            "must be a tenant's id, as /api/v1/tenants lists them");
}

static void read_file(struct dj_request *request, bool is_wanted, struct dj_transfer_order *order)
{
    if (!dj_query_label(request, request->body, "file", "", FILE_BYTES_MAX, &order->file))
        return;
    if (is_wanted && !order->file.len)
        dj_request_complain(request, "invalid_request", "file", "required",
                            "is missing: a name in backup.dir, or s3://NAME");
}

static void read_into(struct dj_request *request, struct dj_transfer_order *order)
{
    struct deja_slice text = {0};
    if (!dj_query_label(request, request->body, "into", "", DJ_LABEL_BYTES_MAX, &text) ||
        !text.data)
        return;
    order->is_merge = dj_slice_is(text, "merge");
    if (!order->is_merge && !dj_slice_is(text, "empty"))
        dj_request_complain(request, "invalid_request", "into", "value",
                            "must be empty (the default) or merge");
}

/* The documents of every tenant are in one part of the file. */
static void check_whole(struct dj_request *request, const struct dj_transfer_order *order)
{
    if (order->has_tenant && order->has_config)
        dj_request_complain(request, "invalid_request", "config", "exclusive",
                            "is of all tenants: say either tenant or config");
}

static void on_backup(struct dj_request *request)
{
    static const char *const members[] = {"file", "tenant", "config", "from", NULL};
    struct dj_transfer_order order = {.kind = DJ_TRANSFER_BACKUP};
    if (dj_query_check_members(request, request->body, "", members) &&
        dj_query_flag(request, request->body, "config", "", &order.has_config)) {
        read_file(request, true, &order);
        read_tenant(request, &order);
        read_level(request, "from", &order.from);
        check_whole(request, &order);
    }
    if (!dj_request_has_complaints(request))
        start(request, &order);
}

static void on_restore(struct dj_request *request)
{
    static const char *const members[] = {"file", "tenant", "config", "check", "into", "to", NULL};
    struct dj_transfer_order order = {.kind = DJ_TRANSFER_RESTORE};
    if (dj_query_check_members(request, request->body, "", members) &&
        dj_query_flag(request, request->body, "check", "", &order.is_check) &&
        dj_query_flag(request, request->body, "config", "", &order.has_config)) {
        read_file(request, true, &order);
        read_tenant(request, &order);
        read_into(request, &order);
        read_level(request, "to", &order.to);
        check_whole(request, &order);
    }
    if (!dj_request_has_complaints(request))
        start(request, &order);
}

static void on_verify(struct dj_request *request)
{
    static const char *const members[] = {"file", "tenant", "from", "to", NULL};
    struct dj_transfer_order order = {.kind = DJ_TRANSFER_VERIFY};
    if (dj_query_check_members(request, request->body, "", members)) {
        read_file(request, false, &order);
        read_tenant(request, &order);
        read_level(request, "from", &order.from);
        read_level(request, "to", &order.to);
    }
    if (order.to && !order.from)
        dj_request_complain(request, "invalid_request", "from", "required",
                            "is missing: to is compared with it");
    if (!dj_request_has_complaints(request))
        start(request, &order);
}

static void read_action(struct dj_request *request, struct dj_transfer_order *order)
{
    struct deja_slice text = {0};
    if (!dj_query_label(request, request->body, "action", "", DJ_LABEL_BYTES_MAX, &text))
        return;
    if (!text.data || dj_slice_is(text, "start"))
        order->kind = DJ_TRANSFER_MIGRATE;
    else if (dj_slice_is(text, "confirm"))
        order->kind = DJ_TRANSFER_CONFIRM;
    else if (dj_slice_is(text, "rollback"))
        order->kind = DJ_TRANSFER_ROLLBACK;
    else
        dj_request_complain(request, "invalid_request", "action", "value",
                            "must be start, confirm or rollback");
}

static void on_migrate(struct dj_request *request)
{
    static const char *const members[] = {"action", "name", "from", "to", "tenant", "force", NULL};
    struct dj_transfer_order order = {.kind = DJ_TRANSFER_MIGRATE};
    if (dj_query_check_members(request, request->body, "", members) &&
        dj_query_label(request, request->body, "name", "", FILE_BYTES_MAX, &order.file) &&
        dj_query_flag(request, request->body, "force", "", &order.is_forced)) {
        read_action(request, &order);
        read_tenant(request, &order);
        read_level(request, "from", &order.from);
        read_level(request, "to", &order.to);
    }
    bool is_start = order.kind == DJ_TRANSFER_MIGRATE;
    if (is_start && (!order.from || !order.to))
        dj_request_complain(request, "invalid_request", order.from ? "to" : "from", "required",
                            "from and to must be two different tiers");
    else if (is_start && order.from == order.to)
        dj_request_complain(request, "invalid_request", "to", "value",
                            "from and to must be two different tiers");
    if (order.is_forced && order.kind != DJ_TRANSFER_CONFIRM)
        dj_request_complain(request, "invalid_request", "force", "exclusive",
                            "goes with action confirm");
    if (!is_start && !order.file.len)
        dj_request_complain(request, "invalid_request", "name", "required",
                            "is missing: of the migration, as its start told it");
    if (!dj_request_has_complaints(request))
        start(request, &order);
}

/* ---- handlers ---- */

void dj_transfers_backup(struct dj_request *request)
{
    if (service_of(request))
        dj_request_read(request, on_backup);
}

void dj_transfers_restore(struct dj_request *request)
{
    if (service_of(request))
        dj_request_read(request, on_restore);
}

void dj_transfers_verify(struct dj_request *request)
{
    if (service_of(request))
        dj_request_read(request, on_verify);
}

void dj_transfers_migrate(struct dj_request *request)
{
    if (service_of(request))
        dj_request_read(request, on_migrate);
}

void dj_transfers_list(struct dj_request *request)
{
    const struct dj_transfer_service *service = service_of(request);
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (!service)
        return;
    dj_json_begin_object(&w);
    dj_json_key(&w, "transfers");
    dj_json_begin_array(&w);
    service->list(service->ctx, &w);
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

/* False: the request was answered. */
static bool read_id(struct dj_request *request, uint8_t out_id[DJ_TRANSFER_ID_BYTES])
{
    if (!service_of(request))
        return false;
    if (dj_hex_decode(request->rest, out_id, DJ_TRANSFER_ID_BYTES) == DEJA_OK)
        return true;
    dj_request_problem(request, 404, "not_found", "there is no such transfer");
    return false;
}

void dj_transfers_get(struct dj_request *request)
{
    uint8_t id[DJ_TRANSFER_ID_BYTES];
    if (read_id(request, id))
        answer(request, 200, id);
}

void dj_transfers_cancel(struct dj_request *request)
{
    uint8_t id[DJ_TRANSFER_ID_BYTES];
    if (!read_id(request, id))
        return;
    if (request->api->transfers->cancel(request->api->transfers->ctx, id))
        answer(request, 202, id);
    else
        dj_request_problem(request, 404, "not_found", "no such transfer is running");
}
