/* api/tenants.c - /api/v1/tenants…: tenants made, shown, configured, suspended, removed, and the
 * upstream credentials that are theirs.
 *
 *   loop: read the body ──> worker: the directory, which blocks ──> loop: answer
 *
 * A credential that is linked goes no further than the digest it is made into here.
 */
#include "api/handlers.h"
#include "api/query.h"
#include "base/num.h"
#include "loop/pool.h"
#include "security/directory.h"
#include "security/vault.h"

#define PAGE_DEFAULT 100u
#define PAGE_MAX 1000u
#define BODY_BYTES_MAX 65536u
#define FAULT_FIELD_BYTES 192u
#define FAULT_MESSAGE_BYTES 256u

enum operation { CREATE, LIST, SHOW, CHANGE, REMOVE, LINK, UNLINK, RELOAD };

struct fault {
    char field[FAULT_FIELD_BYTES];
    char message[FAULT_MESSAGE_BYTES];
    const char *rule;
};

/* One request on its way through a worker; in the request's arena. */
struct call {
    struct dj_job job;
    struct dj_request *request;
    enum operation operation;
    int64_t now_ms;
    uint8_t tenant[DJ_TENANT_BYTES];
    bool has_tenant;
    bool is_patch;
    const struct dj_json *wanted; /* the request's body, or document's */
    struct dj_json_doc *document; /* owned: of suspend and resume */
    uint8_t derived[DJ_TENANT_BYTES];
    struct deja_slice name;
    uint8_t after[DJ_TENANT_BYTES];
    bool has_after;
    uint64_t limit;
    enum deja_status status;
    struct dj_buf answer; /* owned */
    struct fault faults[DJ_REQUEST_FIELDS_MAX];
    size_t fault_count;
};

/* ---- on a worker ---- */

static void copy_text(char *to, size_t size, const char *from)
{
    size_t len = strlen(from);
    len = len < size ? len : size - 1;
    memcpy(to, from, len);
    to[len] = '\0';
}

static void on_fault(void *ctx, const char *field, const char *rule, const char *message)
{
    struct call *call = ctx;
    if (call->fault_count == DJ_REQUEST_FIELDS_MAX)
        return;
    struct fault *fault = &call->faults[call->fault_count++];
    copy_text(fault->field, sizeof fault->field, field);
    copy_text(fault->message, sizeof fault->message, message);
    fault->rule = rule;
}

static enum deja_status list(struct call *call, struct dj_directory *directory)
{
    uint8_t next[DJ_TENANT_BYTES];
    char text[DJ_TENANT_TEXT_BYTES];
    bool has_more = false;
    struct dj_json_writer w = dj_json_writer(&call->answer);
    dj_json_begin_object(&w);
    dj_json_key(&w, "tenants");
    dj_json_begin_array(&w);
    enum deja_status status =
        dj_directory_list(directory, call->has_after ? call->after : NULL, call->name,
                          (size_t)call->limit, &w, next, &has_more);
    dj_json_end_array(&w);
    if (has_more)
        dj_tenant_text(next, text);
    dj_json_member_text(&w, "next", has_more ? text : NULL);
    dj_json_member_u64(&w, "count", dj_directory_count(directory));
    dj_json_end_object(&w);
    return status;
}

static enum deja_status show(struct call *call, struct dj_directory *directory)
{
    struct dj_json_writer w = dj_json_writer(&call->answer);
    return dj_directory_put(directory, call->tenant, true, &w);
}

/* Neither its entries nor its keys are anybody's who gets this id again. */
static enum deja_status remove_tenant(struct call *call, struct dj_directory *directory)
{
    struct dj_proxy_context *context = call->request->api->proxy;
    enum deja_status status = dj_directory_remove(directory, call->tenant);
    if (status == DEJA_OK)
        status = dj_engine_forget(context->engine, call->tenant);
    if (status == DEJA_OK && context->keys)
        status = dj_keys_remove_tenant(context->keys, call->tenant);
    if (status == DEJA_OK && context->vault) {
        status = dj_vault_remove(context->vault, call->tenant);
        if (status == DEJA_ERR_NOT_FOUND) /* none was held */
            status = DEJA_OK;
    }
    return status;
}

static void work(void *ctx)
{
    struct call *call = ctx;
    struct dj_directory *directory = call->request->api->proxy->directory;
    const struct dj_tenant_config_faults faults = {.ctx = call, .tell = on_fault};
    switch (call->operation) {
    case CREATE:
        call->status =
            dj_directory_add(directory, call->wanted, call->now_ms, &faults, call->tenant);
        break;
    case CHANGE:
        call->status = dj_directory_set(directory, call->tenant, call->wanted, call->is_patch,
                                        call->now_ms, &faults);
        break;
    case REMOVE:
        call->status = remove_tenant(call, directory);
        break;
    case LINK:
        call->status =
            dj_directory_add_link(directory, call->derived, call->tenant, call->name, call->now_ms);
        break;
    case UNLINK:
        call->status = dj_directory_remove_link(directory, call->derived, call->tenant);
        break;
    case RELOAD:
        call->status = call->has_tenant ? dj_directory_invalidate(directory, call->tenant)
                                        : dj_directory_reload(directory, call->now_ms);
        break;
    case LIST:
    case SHOW:
        break;
    }
    if (call->status == DEJA_OK && call->operation == LIST)
        call->status = list(call, directory);
    else if (call->status == DEJA_OK && call->operation <= CHANGE)
        call->status = show(call, directory);
}

/* ---- answering ---- */

static void refuse(struct call *call)
{
    struct dj_request *request = call->request;
    bool is_removal = call->operation == REMOVE;
    switch (call->status) {
    case DEJA_ERR_INVALID:
        for (size_t i = 0; i < call->fault_count; i++)
            dj_request_complain(request, "invalid_request", call->faults[i].field,
                                call->faults[i].rule, call->faults[i].message);
        if (!dj_request_has_complaints(request))
            dj_request_problem(request, 400, "invalid_request", "name: not acceptable");
        return;
    case DEJA_ERR_BUSY:
        if (call->operation == RELOAD)
            dj_request_refuse(request, call->status);
        else
            dj_request_problem(request, 409, is_removal ? "tenant_inherited" : "tenant_exists",
                               is_removal ? "other tenants inherit from this one: change them first"
                                          : "there is a tenant of that name or id already");
        return;
    case DEJA_ERR_NOT_FOUND:
        dj_request_problem(request, 404, "not_found",
                           call->operation == UNLINK ? "this tenant has no such link"
                                                     : "there is no such tenant");
        return;
    case DEJA_ERR_LIMIT:
        dj_request_problem(request, 409, "limit_reached",
                           "there is no room for more tenants or links, or the document is longer "
                           "than 32 KiB");
        return;
    case DEJA_ERR_IO:
    case DEJA_ERR_TIMEOUT:
        dj_request_problem(
            request, 503, "authority_unavailable",
            "where tenants are kept does not answer: nothing is known to be changed; "
            "see /health/detailed, then try again");
        return;
    default:
        dj_request_refuse(request, call->status);
    }
}

static void answer_empty(struct call *call)
{
    struct dj_json_writer w = dj_json_writer(&call->answer);
    char text[DJ_TENANT_TEXT_BYTES];
    dj_json_begin_object(&w);
    if (call->operation == LINK || call->operation == UNLINK) {
        dj_tenant_text(call->derived, text);
        dj_json_member_text(&w, "id", text);
        dj_tenant_text(call->tenant, text);
        dj_json_member_text(&w, "tenant", text);
    }
    if (call->operation == REMOVE || call->operation == UNLINK)
        dj_json_member_bool(&w, "removed", true);
    if (call->operation == RELOAD)
        dj_json_member_u64(&w, "count", dj_directory_count(call->request->api->proxy->directory));
    dj_json_end_object(&w);
}

static void on_worked(void *ctx)
{
    struct call *call = ctx;
    bool is_made = call->operation == CREATE || call->operation == LINK;
    dj_json_doc_destroy(call->document);
    if (call->status != DEJA_OK) {
        dj_buf_fini(&call->answer);
        refuse(call);
        return;
    }
    if (call->operation > CHANGE)
        answer_empty(call);
    struct dj_buf answer = call->answer; /* the call ends with its request */
    dj_request_answer(call->request, is_made ? 201 : 200, NULL, &answer);
    dj_buf_fini(&answer);
}

static void start(struct call *call)
{
    call->job =
        (struct dj_job){.work = work, .done = on_worked, .ctx = call, .loop = call->request->loop};
    enum deja_status status = dj_pool_submit(call->request->api->proxy->pool, &call->job);
    if (status == DEJA_OK)
        return;
    dj_json_doc_destroy(call->document);
    dj_request_refuse(call->request, status);
}

/* ---- reading ---- */

/* NULL: the request was answered. */
static struct call *call_of(struct dj_request *request, enum operation operation)
{
    struct call *call = NULL;
    if (!request->api->proxy->directory)
        dj_request_problem(request, 501, "not_supported", "this server keeps no tenants");
    else if (!(call = dj_arena_alloc(request->arena, sizeof *call)))
        dj_request_refuse(request, DEJA_ERR_NOMEM);
    if (!call)
        return NULL;
    *call = (struct call){.request = request,
                          .operation = operation,
                          .now_ms = dj_loop_now_ms(request->loop),
                          .wanted = request->body};
    return call;
}

/* The tenant of the path; false: the request was answered. */
static bool take_tenant(struct call *call)
{
    static const char before[] = "/api/v1/tenants/";
    struct deja_slice path = call->request->http->path;
    struct deja_slice text =
        deja_slice(path.data + sizeof before - 1, path.len - (sizeof before - 1));
    const char *end = memchr(text.data, '/', text.len);
    if (end)
        text.len = (size_t)(end - text.data);
    call->has_tenant = dj_tenant_parse(text, call->tenant) == DEJA_OK;
    if (!call->has_tenant)
        dj_request_problem(call->request, 404, "not_found",
                           "a tenant's id has the form 01234567-89ab-4cde-8f01-23456789abcd");
    return call->has_tenant;
}

static void start_with_tenant(struct dj_request *request, enum operation operation, bool is_patch)
{
    struct call *call = call_of(request, operation);
    if (!call || !take_tenant(call))
        return;
    call->is_patch = is_patch;
    start(call);
}

static void on_create(struct dj_request *request)
{
    struct call *call = call_of(request, CREATE);
    if (call)
        start(call);
}

static void on_replace(struct dj_request *request)
{
    start_with_tenant(request, CHANGE, false);
}

static void on_patch(struct dj_request *request)
{
    start_with_tenant(request, CHANGE, true);
}

/* Bodies are small: what is longer would not be kept. */
static void read_small(struct dj_request *request, dj_request_fn *next)
{
    if (request->http->body.len > BODY_BYTES_MAX)
        dj_request_problem(request, 413, "payload_too_large", "a tenant has at most 64 KiB");
    else
        dj_request_read(request, next);
}

void dj_tenants_create_one(struct dj_request *request)
{
    read_small(request, on_create);
}

void dj_tenants_replace(struct dj_request *request)
{
    read_small(request, on_replace);
}

void dj_tenants_patch(struct dj_request *request)
{
    read_small(request, on_patch);
}

void dj_tenants_list(struct dj_request *request)
{
    struct call *call = call_of(request, LIST);
    struct deja_slice limit = {0};
    struct deja_slice after = {0};
    if (!call)
        return;
    call->limit = PAGE_DEFAULT;
    if (dj_query_url_member(request, "limit", &limit) && limit.data &&
        (dj_num_parse_u64(limit, &call->limit) != DEJA_OK || call->limit < 1 ||
         call->limit > PAGE_MAX))
        dj_request_complain(request, "invalid_request", "limit", "range",
                            dj_request_text(request, "must be from 1 to %u", PAGE_MAX));
    if (dj_query_url_member(request, "after", &after) && after.data) {
        call->has_after = dj_tenant_parse(after, call->after) == DEJA_OK;
        if (!call->has_after)
            dj_request_complain(request, "invalid_request", "after", "format",
                                "must be what `next` was");
    }
    if (dj_query_url_member(request, "name", &call->name) &&
        call->name.len > DJ_DIRECTORY_NAME_BYTES_MAX)
        dj_request_complain(request, "invalid_request", "name", "length", "at most 128 bytes");
    if (!dj_request_has_complaints(request))
        start(call);
}

void dj_tenants_get(struct dj_request *request)
{
    start_with_tenant(request, SHOW, false);
}

void dj_tenants_remove(struct dj_request *request)
{
    start_with_tenant(request, REMOVE, false);
}

static void set_state(struct dj_request *request, const char *document)
{
    struct call *call = call_of(request, CHANGE);
    if (!call || !take_tenant(call))
        return;
    enum deja_status status = dj_json_parse(deja_slice_text(document), &call->document, NULL);
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    call->is_patch = true;
    call->wanted = dj_json_root(call->document);
    start(call);
}

void dj_tenants_suspend(struct dj_request *request)
{
    set_state(request, "{\"state\":\"suspended\"}");
}

void dj_tenants_resume(struct dj_request *request)
{
    set_state(request, "{\"state\":\"active\"}");
}

/* ---- links ---- */

static bool read_link(struct call *call)
{
    static const char *const members[] = {"credential", "id", "name", NULL};
    struct dj_request *request = call->request;
    struct deja_slice credential = {0};
    struct deja_slice id = {0};
    if (!dj_query_check_members(request, request->body, "", members) ||
        !dj_query_label(request, request->body, "credential", "", 4096, &credential) ||
        !dj_query_label(request, request->body, "id", "", DJ_LABEL_BYTES_MAX, &id) ||
        !dj_query_label(request, request->body, "name", "", DJ_DIRECTORY_NAME_BYTES_MAX,
                        &call->name))
        return false;
    if (!credential.len == !id.len)
        dj_request_complain(request, "invalid_request", "credential", "required",
                            "say the upstream credential, or the id of the tenant that was made "
                            "of it; one of the two");
    else if (credential.len)
        dj_tenant_derive(request->api->proxy->root, credential, call->derived);
    else if (dj_tenant_parse(id, call->derived) != DEJA_OK)
        dj_request_complain(request, "invalid_request", "id", "format",
                            "must be a tenant's id, as /api/v1/stats tells it");
    return true;
}

static void on_link(struct dj_request *request)
{
    struct call *call = call_of(request, LINK);
    if (!call || !take_tenant(call))
        return;
    read_link(call);
    if (!dj_request_has_complaints(request))
        start(call);
}

void dj_tenants_link(struct dj_request *request)
{
    read_small(request, on_link);
}

void dj_tenants_unlink(struct dj_request *request)
{
    struct call *call = call_of(request, UNLINK);
    if (!call || !take_tenant(call))
        return;
    if (dj_tenant_parse(request->rest, call->derived) == DEJA_OK)
        start(call);
    else
        dj_request_problem(request, 404, "not_found", "this tenant has no such link");
}

/* ---- what is known is read anew ---- */

static void on_reload(struct dj_request *request)
{
    static const char *const members[] = {"tenant", NULL};
    struct deja_slice tenant = {0};
    struct call *call = call_of(request, RELOAD);
    if (!call)
        return;
    if (dj_query_check_members(request, request->body, "", members) &&
        dj_query_label(request, request->body, "tenant", "", DJ_LABEL_BYTES_MAX, &tenant) &&
        tenant.len) {
        call->has_tenant = dj_tenant_parse(tenant, call->tenant) == DEJA_OK;
        if (!call->has_tenant)
            dj_request_complain(request, "invalid_request", "tenant", "format",
                                "must be a tenant's id; without one all are read anew");
    }
    if (!dj_request_has_complaints(request))
        start(call);
}

void dj_tenants_reload(struct dj_request *request)
{
    read_small(request, on_reload);
}
