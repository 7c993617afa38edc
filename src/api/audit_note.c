/* api/audit_note.c - what requests to this API leave in the audit log.
 *
 *   administration   before it is done, durably ("phase": "requested"): what cannot be written down
 *                    is refused; and once it is answered, with what became of it
 *   the cache        when it is answered, where the tenant wants it
 *   who may not      when it is refused
 *
 * Never what was asked, answered or stored: ids, names of operations and figures.
 */
#include <stdio.h>

#include "api/handlers.h"
#include "base/slice.h"
#include "loop/pool.h"

#define RESOURCE_BYTES_MAX 128u
#define KEY_ROUTE "/api/v1/kv/*" /* its names are the tenant's own words: their ids are noted */

/* Operations on the cache, then administration. What administers and is not named here is
 * noted by its method and path. */
static const struct operation {
    const char *method;
    const char *path;
    const char *name;
    bool is_write;
} operations[] = {
    {"PUT", "/api/v1/entries", "entry.put", true},
    {"DELETE", "/api/v1/entries", "cache.invalidate", true},
    {"GET", "/api/v1/entries/*", "entry.get", false},
    {"DELETE", "/api/v1/entries/*", "entry.remove", true},
    {"POST", "/api/v1/lookup", "entry.lookup", false},
    {"POST", "/api/v1/invalidate", "cache.invalidate", true},
    {"GET", "/api/v1/kv", "kv.list", false},
    {"DELETE", "/api/v1/kv", "kv.clear", true},
    {"GET", KEY_ROUTE, "kv.get", false},
    {"PUT", KEY_ROUTE, "kv.put", true},
    {"PATCH", KEY_ROUTE, "kv.patch", true},
    {"DELETE", KEY_ROUTE, "kv.remove", true},
    {"POST", "/api/v1/kv:batch", "kv.batch", true},
    {"POST", "/api/v1/kv:lock", "kv.lock", true},
    {"POST", "/api/v1/kv:unlock", "kv.unlock", true},
    {"DELETE", "/api/v1/schedules/*", "schedule.remove", true},
    {"GET", "/api/v1/explain", "entry.explain", false},
    {"POST", "/api/v1/explain", "entry.explain", false},
    {"POST", "/api/v1/evict", "cache.evict", true},
    {"POST", "/api/v1/index", "index.optimise", true},
    {"POST", "/api/v1/feedback", "entry.feedback", true},
    {"POST", "/v1/caches/*/entries", "entry.put", true},
    {"DELETE", "/v1/caches/*/entries", "cache.invalidate", true},
    {"POST", "/v1/caches/*/entries/search", "entry.lookup", false},
    {"DELETE", "/v1/caches/*/entries/*", "entry.remove", true},
    {"POST", "/v1/caches/*/conversations/search", "entry.lookup", false},
    {"POST", "/v1/caches/*/flush", "cache.clear", true},
    {"POST", "/gptcache/put", "entry.put", true},
    {"POST", "/gptcache/get", "entry.lookup", false},
    {"POST", "/gptcache/flush", "cache.clear", true},
    {"POST", "/cache/delete", "entry.remove", true},
    {"POST", "/cache/flushall", "cache.clear", true},
    {"POST", "/admin/reload", "config.reload", true},
    {"POST", "/api/v1/tenants", "tenant.create", true},
    {"POST", "/api/v1/tenants/reload", "tenant.reload", true},
    {"PUT", "/api/v1/tenants/*", "tenant.replace", true},
    {"PATCH", "/api/v1/tenants/*", "tenant.configure", true},
    {"DELETE", "/api/v1/tenants/*", "tenant.delete", true},
    {"POST", "/api/v1/tenants/*/suspend", "tenant.suspend", true},
    {"POST", "/api/v1/tenants/*/resume", "tenant.resume", true},
    {"POST", "/api/v1/tenants/*/links", "tenant.link", true},
    {"DELETE", "/api/v1/tenants/*/links/*", "tenant.unlink", true},
    {"POST", "/api/v1/keys", "key.create", true},
    {"DELETE", "/api/v1/keys/*", "key.revoke", true},
    {"POST", "/api/v1/keys/*/rotate", "key.rotate", true},
    {"PUT", "/api/v1/upstream-credentials/*", "key.hold_upstream", true},
    {"DELETE", "/api/v1/upstream-credentials/*", "key.drop_upstream", true},
    {"POST", "/api/v1/encryption/rotate", "key.rotate_data", true},
};

static const struct operation *find_operation(const struct dj_request *request)
{
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (strcmp(operations[i].path, request->route) == 0 &&
            dj_slice_is(request->http->method, operations[i].method))
            return &operations[i];
    return NULL;
}

static enum dj_audit_type type_of(const char *operation)
{
    return strncmp(operation, "key.", 4) == 0 ? DJ_AUDIT_KEY : DJ_AUDIT_ADMIN;
}

/* Of a path's last variable part: an id. "": none. */
static void copy_text(struct deja_slice text, char out_text[RESOURCE_BYTES_MAX])
{
    size_t len = text.len < RESOURCE_BYTES_MAX - 1 ? text.len : RESOURCE_BYTES_MAX - 1;
    if (len)
        memcpy(out_text, text.data, len);
    out_text[len] = '\0';
}

/* Texts of an event, alive as long as it. */
struct texts {
    char name[RESOURCE_BYTES_MAX];
    char resource[RESOURCE_BYTES_MAX];
    char request_id[RESOURCE_BYTES_MAX];
};

static void fill(const struct dj_request *request, struct texts *texts,
                 struct dj_audit_event *out_event)
{
    const struct operation *operation = find_operation(request);
    if (operation)
        snprintf(texts->name, sizeof texts->name, "%s", operation->name);
    else
        snprintf(texts->name, sizeof texts->name, "%.*s %s", (int)request->http->method.len,
                 request->http->method.data, request->route);
    texts->resource[0] = '\0';
    bool is_key = strcmp(request->route, KEY_ROUTE) == 0;
    copy_text(is_key || request->key_id.len ? request->key_id : request->rest, texts->resource);
    copy_text(request->request_id, texts->request_id);
    *out_event = (struct dj_audit_event){
        .type = type_of(texts->name),
        .who = &request->who,
        .operation = texts->name,
        .resource = texts->resource[0] ? texts->resource : NULL,
        .request_id = texts->request_id,
        .trace_id = dj_trace_id(&request->trace),
    };
}

/* ---- administration ---- */

/* In the request's arena. */
struct asking {
    struct dj_job job;
    struct dj_request *request;
    dj_request_fn *next;
    enum deja_status status;
};

static void write_event(void *ctx)
{
    struct asking *asking = ctx;
    struct texts texts;
    struct dj_audit_event event;
    fill(asking->request, &texts, &event);
    event.metadata = "{\"phase\":\"requested\"}";
    asking->status = dj_audit_write(asking->request->api->audit, &event, dj_clock_now_ms());
}

static void on_written(void *ctx)
{
    struct asking *asking = ctx;
    if (asking->status == DEJA_OK) {
        asking->request->is_audited = true;
        asking->next(asking->request);
        return;
    }
    dj_request_problem(asking->request, 503, "audit_unavailable",
                       "the audit log cannot be written, so nothing was done: is the disk full?");
}

void dj_request_audit(struct dj_request *request, dj_request_fn *next)
{
    struct asking *asking = dj_arena_alloc(request->arena, sizeof *asking);
    if (!request->api->audit) {
        next(request);
        return;
    }
    if (!asking) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *asking = (struct asking){.request = request, .next = next};
    asking->job = (struct dj_job){
        .work = write_event, .done = on_written, .ctx = asking, .loop = request->loop};
    enum deja_status status = dj_pool_submit(request->api->proxy->pool, &asking->job);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

/* ---- what became of it ---- */

void dj_request_note(const struct dj_request *request, int status, const char *type)
{
    struct dj_audit *audit = request->api->audit;
    const struct operation *operation = find_operation(request);
    bool is_denied = type && strcmp(type, "forbidden") == 0;
    bool is_wanted =
        request->has_tenant && operation && dj_audit_wants(request->who.rules, operation->is_write);
    struct texts texts;
    struct dj_audit_event event;
    if (!audit || (!is_wanted && !is_denied && !request->is_audited))
        return;
    fill(request, &texts, &event);
    if (is_denied)
        event.type = DJ_AUDIT_ACCESS;
    else if (!request->is_audited)
        event.type = DJ_AUDIT_CACHE_OPERATION;
    event.is_failure = status == 0 || status >= 400;
    event.error = event.is_failure ? type : NULL;
    event.duration_us = dj_clock_monotonic_us() - request->handled_us;
    struct dj_buf metadata = {0};
    struct dj_json_writer w = dj_json_writer(&metadata);
    dj_json_begin_object(&w);
    if (request->is_audited)
        dj_json_member_text(&w, "phase", "answered");
    dj_json_key(&w, "status");
    dj_json_put_i64(&w, status);
    if (request->reason.len) {
        dj_json_key(&w, "reason");
        dj_json_put_string(&w, request->reason);
    }
    dj_json_end_object(&w);
    dj_buf_append_byte(&metadata, '\0');
    event.metadata = metadata.status == DEJA_OK ? metadata.data : NULL;
    dj_audit_note(audit, &event, dj_clock_now_ms());
    dj_buf_fini(&metadata);
}
