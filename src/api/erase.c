/* api/erase.c - POST /api/v1/erase, GET /api/v1/erase/{id}: everything of a tenant, or of one of
 * its users, for good. */
#include "api/handlers.h"
#include "api/query.h"
#include "base/num.h"
#include "base/slice.h"
#include "security/user.h"

#define USER_BYTES_MAX 256u

/* In the request's arena. */
struct erasing {
    struct dj_request *request;
    struct dj_erase_order order;
    struct dj_selector selector;
    bool is_dry_run;
    char tag[DJ_USER_TAG_BYTES];
};

static void on_told(void *ctx, enum deja_status status, struct deja_slice document)
{
    struct dj_request *request = ctx;
    struct dj_buf body = {0};
    if (status == DEJA_ERR_NOT_FOUND) {
        dj_request_problem(request, 404, "not_found", "there is no such erasure");
        return;
    }
    if (status == DEJA_ERR_IO) {
        dj_request_problem(request, 503, "audit_unavailable",
                           "the order could not be written down, so nothing was erased: is the "
                           "disk full?");
        return;
    }
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    static const char open[] = "\"state\":\"open\"";
    dj_buf_append_slice(&body, document);
    bool is_open = dj_slice_contains(document, open);
    bool is_get = dj_slice_is(request->http->method, "GET");
    dj_request_answer(request, is_open && !is_get ? 202 : 200, NULL, &body);
    dj_buf_fini(&body);
}

static void on_counted(void *ctx, enum deja_status status, uint64_t count)
{
    const struct erasing *erasing = ctx;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (status != DEJA_OK) {
        dj_request_refuse(erasing->request, status);
        return;
    }
    dj_json_begin_object(&w);
    dj_json_member_bool(&w, "dry_run", true);
    dj_json_member_u64(&w, "would_remove", count);
    dj_json_end_object(&w);
    dj_request_answer(erasing->request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void read_order(struct dj_request *request, struct erasing *erasing)
{
    static const char *const members[] = {"tenant", "user", "dry_run", NULL};
    struct deja_slice tenant = {0};
    struct deja_slice user = {0};
    struct dj_secret key;
    if (!dj_query_check_members(request, request->body, "", members) ||
        !dj_query_label(request, request->body, "tenant", "", DJ_LABEL_BYTES_MAX, &tenant) ||
        !dj_query_label(request, request->body, "user", "", USER_BYTES_MAX, &user) ||
        !dj_query_flag(request, request->body, "dry_run", "", &erasing->is_dry_run))
        return;
    if (!tenant.data || dj_tenant_parse(tenant, erasing->order.tenant) != DEJA_OK) {
        dj_request_complain(request, "invalid_request", "tenant", "format",
                            "must be a tenant's id, as /api/v1/tenants lists them");
        return;
    }
    if (user.data && !user.len) {
        dj_request_complain(request, "invalid_request", "user", "length",
                            "is empty; leave it out to erase the whole tenant");
        return;
    }
    if (!user.data)
        return;
    dj_tenant_fingerprint_key(request->api->proxy->root, erasing->order.tenant, &key);
    dj_user_digest(key.bytes, user, erasing->order.user);
    dj_secret_fini(&key);
    erasing->order.has_user = true;
    dj_user_tag(erasing->order.user, erasing->tag);
    erasing->selector.tag = deja_slice_text(erasing->tag);
}

static void on_body(struct dj_request *request)
{
    const struct dj_erase_service *service = request->api->erase;
    struct erasing *erasing = dj_arena_alloc(request->arena, sizeof *erasing);
    enum deja_status status = DEJA_ERR_NOMEM;
    if (!erasing) {
        dj_request_refuse(request, status);
        return;
    }
    *erasing = (struct erasing){.request = request};
    read_order(request, erasing);
    if (dj_request_has_complaints(request))
        return;
    erasing->order.who = &request->who;
    erasing->order.request_id =
        dj_request_text(request, "%.*s", (int)request->request_id.len, request->request_id.data);
    if (erasing->is_dry_run)
        status = dj_engine_count(request->api->proxy->engine, request->loop, erasing->order.tenant,
                                 &erasing->selector, erasing, on_counted);
    else if (service)
        status = service->start(service->ctx, request->loop, &erasing->order, request, on_told);
    else
        status = DEJA_ERR_UNSUPPORTED;
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

void dj_erase(struct dj_request *request)
{
    dj_request_read(request, on_body);
}

void dj_erase_get(struct dj_request *request)
{
    const struct dj_erase_service *service = request->api->erase;
    uint8_t id[DJ_ERASURE_ID_BYTES];
    if (!service || dj_hex_decode(request->rest, id, sizeof id) != DEJA_OK) {
        dj_request_problem(request, 404, "not_found", "there is no such erasure");
        return;
    }
    enum deja_status status = service->get(service->ctx, request->loop, id, request, on_told);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}
