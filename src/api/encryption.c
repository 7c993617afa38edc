/* api/encryption.c - GET /api/v1/encryption, POST /api/v1/encryption/rotate: for administrators. */
#include "api/handlers.h"
#include "api/query.h"
#include "security/tenant.h"

static void answer(struct dj_request *request, int status)
{
    const struct dj_api_encryption *encryption = &request->api->encryption;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    encryption->write(encryption->ctx, &w);
    dj_json_member_text(&w, "trouble", encryption->trouble(encryption->ctx));
    dj_json_end_object(&w);
    dj_request_answer(request, status, NULL, &body);
    dj_buf_fini(&body);
}

/* False: the request was answered. */
static bool is_there(struct dj_request *request)
{
    if (request->api->encryption.ctx)
        return true;
    dj_request_refuse(request, DEJA_ERR_UNSUPPORTED);
    return false;
}

void dj_encryption_get(struct dj_request *request)
{
    if (is_there(request))
        answer(request, 200);
}

static void on_rotate_body(struct dj_request *request)
{
    static const char *const members[] = {"tenant", "lost_master", NULL};
    const struct dj_api_encryption *encryption = &request->api->encryption;
    struct deja_slice text = {0};
    uint8_t tenant[DJ_ID_BYTES];
    bool has_lost_master = false;
    if (dj_query_check_members(request, request->body, "", members) &&
        dj_query_flag(request, request->body, "lost_master", "", &has_lost_master) &&
        dj_query_label(request, request->body, "tenant", "", DJ_LABEL_BYTES_MAX, &text) &&
        text.data && dj_tenant_parse(text, tenant) != DEJA_OK)
        dj_request_complain(request, "invalid_request", "tenant", "format",
                            "must be a tenant's id, as /api/v1/tenants tells it");
    if (dj_request_has_complaints(request))
        return;
    enum deja_status status =
        encryption->rotate(encryption->ctx, text.data ? tenant : NULL, has_lost_master);
    if (status == DEJA_ERR_BUSY)
        dj_request_problem(request, 409, "rotation_in_progress",
                           "a rotation is under way: GET /api/v1/encryption tells how far it is");
    else if (status == DEJA_ERR_UNSUPPORTED)
        dj_request_problem(request, 409, "encryption_disabled",
                           "encryption.enabled is false: nothing is sealed");
    else if (status != DEJA_OK)
        dj_request_refuse(request, status);
    else
        answer(request, 202);
}

void dj_encryption_rotate_now(struct dj_request *request)
{
    if (is_there(request))
        dj_request_read(request, on_rotate_body);
}
