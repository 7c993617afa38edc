/* api/limits.c - GET /api/v1/limits: what this tenant may use, and what is left of it. */
#include "api/handlers.h"
#include "proxy/limiter.h"
#include "security/tenant.h"

#define DAY_MS INT64_C(86400000)

/* "name": null where there is no such limit; true: the object is begun. */
static bool begin(struct dj_json_writer *w, const char *name, bool is_set)
{
    dj_json_key(w, name);
    if (is_set)
        dj_json_begin_object(w);
    else
        dj_json_put_null(w);
    return is_set;
}

static void put_rate(struct dj_json_writer *w, const char *name, double per_second, uint32_t burst,
                     uint64_t left)
{
    if (!begin(w, name, per_second > 0))
        return;
    dj_json_member_double(w, "per_second", per_second);
    dj_json_member_u64(w, "burst", burst);
    dj_json_member_u64(w, "left", left);
    dj_json_end_object(w);
}

static void put_count(struct dj_json_writer *w, const char *name, uint32_t max, uint32_t now)
{
    if (!begin(w, name, max > 0))
        return;
    dj_json_member_u64(w, "max", max);
    dj_json_member_u64(w, "now", now);
    dj_json_end_object(w);
}

static void put_upstream(struct dj_json_writer *w, const struct dj_rules_limits *limits,
                         const struct dj_limit_usage *usage, int64_t wall_ms)
{
    if (begin(w, "misses", limits->misses_per_minute > 0)) {
        dj_json_member_double(w, "per_minute", limits->misses_per_minute);
        dj_json_member_u64(w, "left", usage->misses_left);
        dj_json_end_object(w);
    }
    if (begin(w, "spend", limits->spend_usd_per_day > 0)) {
        dj_json_member_double(w, "usd_per_day", limits->spend_usd_per_day);
        dj_json_member_double(w, "spent_usd", usage->spent_usd);
        dj_request_put_time(w, "resets_at", wall_ms - wall_ms % DAY_MS + DAY_MS);
        dj_json_end_object(w);
    }
}

void dj_limits(struct dj_request *request)
{
    const struct dj_principal *who = &request->who;
    const struct dj_rules_limits *limits = &dj_rules_of(who->rules)->limits;
    struct dj_limit_usage usage;
    char tenant[DJ_TENANT_TEXT_BYTES];
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    int64_t wall_ms = dj_loop_now_ms(request->loop);
    dj_limiter_look(request->api->proxy->limiter, who, dj_loop_turn_us(request->loop), wall_ms,
                    &usage);
    dj_tenant_text(request->tenant, tenant);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "tenant", tenant);
    put_rate(&w, "requests", limits->requests_per_s, limits->burst, usage.requests_left);
    put_rate(&w, "key", who->key_id[0] ? who->key_requests_per_s : 0, who->key_burst,
             usage.key_left);
    put_upstream(&w, limits, &usage, wall_ms);
    if (begin(&w, "bytes", limits->bytes_per_s > 0)) {
        dj_json_member_u64(&w, "per_second", limits->bytes_per_s);
        dj_json_member_u64(&w, "left", usage.bytes_left);
        dj_json_end_object(&w);
    }
    put_count(&w, "connections", limits->connections_max, usage.connections);
    put_count(&w, "in_flight", limits->requests_max, usage.requests);
    dj_json_member_u64(&w, "weight", limits->weight ? limits->weight : 1);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}
