/* api/audit.c - GET /api/v1/audit: the audit log, newest first, a page at a time. */
#include "api/handlers.h"
#include "api/query.h"
#include "base/num.h"
#include "loop/pool.h"
#include "security/audit_search.h"

#define LIMIT_DEFAULT 100u
#define LIMIT_MAX 1000u

/* In the request's arena. */
struct reading {
    struct dj_job job;
    struct dj_request *request;
    struct dj_audit_query query;
    uint32_t limit;
    uint32_t count;
    uint64_t next; /* 0: there are no more */
    uint64_t last_seq;
    enum deja_status status;
    struct dj_buf body;
    struct dj_json_writer w;
};

static bool on_line(void *ctx, const struct dj_audit_line *line, struct deja_slice text,
                    bool is_match)
{
    struct reading *reading = ctx;
    if (!is_match)
        return true;
    if (reading->count == reading->limit) {
        reading->next = reading->last_seq;
        return false;
    }
    dj_json_put_raw(&reading->w, text);
    reading->last_seq = line->seq;
    reading->count++;
    return reading->body.status == DEJA_OK;
}

static void search(void *ctx)
{
    struct reading *reading = ctx;
    struct dj_audit *audit = reading->request->api->audit;
    reading->w = dj_json_writer(&reading->body);
    dj_json_begin_object(&reading->w);
    dj_json_key(&reading->w, "events");
    dj_json_begin_array(&reading->w);
    reading->status =
        dj_audit_search(dj_audit_directory(audit), &reading->query, true, reading, on_line);
    if (reading->status == DEJA_ERR_NOT_FOUND)
        reading->status = DEJA_OK;
    dj_json_end_array(&reading->w);
    dj_json_key(&reading->w, "next");
    if (reading->next)
        dj_json_put_u64(&reading->w, reading->next);
    else
        dj_json_put_null(&reading->w);
    dj_json_end_object(&reading->w);
}

static void on_searched(void *ctx)
{
    struct reading *reading = ctx;
    struct dj_buf body = reading->body; /* the rest goes with the exchange */
    if (reading->status != DEJA_OK)
        dj_request_refuse(reading->request, reading->status);
    else
        dj_request_answer(reading->request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static bool read_time(struct dj_request *request, const char *name,
                      char out_time[DJ_DATE_RFC3339_BYTES])
{
    struct deja_slice text = {0};
    if (!dj_query_url_member(request, name, &text))
        return false;
    if (text.data && !dj_audit_is_time(text)) {
        dj_request_complain(request, "invalid_request", name, "format",
                            "must be a time in UTC, or its front: 2026-02-03T04:05:06.789Z");
        return false;
    }
    if (text.len)
        memcpy(out_time, text.data, text.len);
    out_time[text.len] = '\0';
    return true;
}

static bool read_number(struct dj_request *request, const char *name, uint64_t max,
                        uint64_t *out_number)
{
    struct deja_slice text = {0};
    if (!dj_query_url_member(request, name, &text))
        return false;
    if (!text.data)
        return true;
    if (dj_num_parse_u64(text, out_number) == DEJA_OK && *out_number >= 1 && *out_number <= max)
        return true;
    dj_request_complain(
        request, "invalid_request", name, "range",
        dj_request_text(request, "must be a whole number from 1 to %llu", (unsigned long long)max));
    return false;
}

static bool read_query(struct dj_request *request, struct reading *reading)
{
    struct dj_audit_query *query = &reading->query;
    struct deja_slice tenant = {0};
    uint8_t id[DJ_TENANT_BYTES];
    uint64_t limit = LIMIT_DEFAULT;
    if (!read_time(request, "from", query->from) || !read_time(request, "to", query->to) ||
        !read_number(request, "limit", LIMIT_MAX, &limit) ||
        !read_number(request, "before", INT64_MAX, &query->before_seq) ||
        !dj_query_url_member(request, "tenant", &tenant) ||
        !dj_query_url_member(request, "type", &query->type) ||
        !dj_query_url_member(request, "operation", &query->operation) ||
        !dj_query_url_member(request, "result", &query->result))
        return false;
    reading->limit = (uint32_t)limit;
    if (tenant.data && dj_tenant_parse(tenant, id) != DEJA_OK) {
        dj_request_complain(request, "invalid_request", "tenant", "format",
                            "must be a tenant's id");
        return false;
    }
    if (tenant.data)
        dj_tenant_text(id, query->tenant);
    return true;
}

void dj_audit_get(struct dj_request *request)
{
    struct reading *reading = dj_arena_alloc(request->arena, sizeof *reading);
    if (!reading) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *reading = (struct reading){.request = request};
    read_query(request, reading);
    if (dj_request_has_complaints(request))
        return;
    if (!request->api->audit) {
        dj_request_problem(request, 501, "feature_disabled", "this daemon keeps no audit log");
        return;
    }
    reading->job =
        (struct dj_job){.work = search, .done = on_searched, .ctx = reading, .loop = request->loop};
    enum deja_status status = dj_pool_submit(request->api->proxy->pool, &reading->job);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}
