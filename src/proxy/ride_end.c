/* proxy/ride_end.c - how a ride ended: what is counted, noted for the audit log and logged. */
#include <math.h>

#include "base/alloc.h"
#include "proxy/asked.h"
#include "proxy/audit_note.h"
#include "proxy/gate.h"
#include "proxy/ride_internal.h"

#define LOG_FIELDS 11u /* of each request */

/* In metrics and logs: what Deja asks by itself is not counted among what clients ask. */
static const char *api_of(const struct ride *ride)
{
    return ride->is_inner ? "warm" : ride->ops->api;
}

/* The call behind it, once what it found may be read; NULL before. */
static const struct dj_call *settled_call(const struct ride *ride)
{
    if (!ride->is_boarded || dj_flight_phase(ride->rider.flight) == DJ_FLIGHT_PENDING)
        return NULL;
    return dj_flight_owner(ride->rider.flight);
}

const char *ride_reason(const struct ride *ride)
{
    const struct dj_call *call = settled_call(ride);
    if (ride->detail)
        return ride->detail;
    if (ride->is_unknown)
        return "tenants-full";
    if (ride->knobs.is_bypass || ride->knobs.is_no_read)
        return NULL;
    return call && call->is_lookup ? call->why : NULL;
}

/* The similarity of the hit, else of the nearest candidate; NaN: none was met. */
static double nearest_of(const struct ride *ride, bool is_hit)
{
    const struct dj_call *call = settled_call(ride);
    return is_hit                         ? (double)ride->similarity
           : call && call->nearest > 0.0F ? (double)call->nearest
                                          : NAN;
}

/* For people: the trace of W3C, else what Portkey's header calls it. */
static const char *trace_of(const struct ride *ride)
{
    const char *id = dj_trace_id(&ride->trace);
    return id || !ride->trace_text[0] ? id : ride->trace_text;
}

/* Hits at debug, what went upstream at info, failures as warnings; of the content only what the
 * tenant's log.content lets. */
static void log_end(const struct ride *ride, enum dj_result result, const char *level,
                    double seconds)
{
    char tenant[DJ_TENANT_TEXT_BYTES];
    bool is_hit = result == DJ_RESULT_HIT_EXACT || result == DJ_RESULT_HIT_SEMANTIC;
    /* A flood that is refused is in the metrics; it does not flood the log as well. */
    enum dj_log_level severity = is_hit || ride->is_limited  ? DJ_LOG_DEBUG
                                 : result == DJ_RESULT_ERROR ? DJ_LOG_WARN
                                                             : DJ_LOG_INFO;
    if (!dj_log_is_on(ride->context->log, severity))
        return;
    const char *reason = is_hit ? NULL : ride_reason(ride);
    dj_tenant_text(ride->tenant, tenant);
    struct dj_log_field fields[] = {
        DJ_LOG_TEXT("tenant", tenant),
        DJ_LOG_TEXT("req_id", ride->request_id_text),
        DJ_LOG_TEXT("trace_id", trace_of(ride)),
        DJ_LOG_TEXT("api", api_of(ride)),
        DJ_LOG_TEXT("result", dj_result_text(result)),
        DJ_LOG_TEXT("reason", reason || is_hit ? reason : ride->knobs.rule),
        DJ_LOG_TEXT("tier", level),
        DJ_LOG_DOUBLE("similarity", nearest_of(ride, is_hit)), /* NaN reads null */
        DJ_LOG_I64("body_bytes", (int64_t)ride->body.len),
        DJ_LOG_I64("code", ride->code),
        DJ_LOG_DOUBLE("dur_ms", seconds * 1000),
        [LOG_FIELDS + DJ_CONTENT_FIELDS] = {.name = NULL}};
    dj_content_fields(&ride->content, fields + LOG_FIELDS);
    dj_log_write(ride->context->log, severity,
                 result == DJ_RESULT_ERROR ? "request failed" : "request answered", fields);
}

/* What was spent here: of a hit everything since the request was whole, else the preparing and the
 * look-up. The upstream's time is its own. */
static void count_slow(const struct ride *ride, enum dj_result result, const char *level,
                       uint64_t now_us)
{
    const struct dj_call *call = settled_call(ride);
    bool is_hit = result == DJ_RESULT_HIT_EXACT || result == DJ_RESULT_HIT_SEMANTIC;
    uint64_t us = is_hit ? now_us - ride->handled_us
                         : (uint64_t)ride->canon_us + (call ? call->lookup_us : 0);
    dj_telemetry_slow(ride->context->telemetry,
                      &(struct dj_slow){
                          .operation = api_of(ride),
                          .level = level,
                          .tenant = ride->tenant,
                          .request_id = deja_slice_text(ride->request_id_text),
                          .trace_id = trace_of(ride),
                          .seconds = (double)us / 1e6,
                      });
}

static void count_end(struct ride *ride, enum dj_result result, const char *level, uint64_t now_us)
{
    struct dj_telemetry *telemetry = ride->context->telemetry;
    int64_t now_ms = dj_loop_now_ms(ride->loop);
    double seconds = (double)(now_us - ride->started_us) / 1e6;
    bool is_hit = result == DJ_RESULT_HIT_EXACT || result == DJ_RESULT_HIT_SEMANTIC;
    if (is_hit && !ride->is_inner && ride->context->asked &&
        dj_asked_note_hit(ride->context->asked, ride->tenant, ride->entry_id, now_ms))
        dj_telemetry_warmed_used(telemetry);
    if (!ride->is_inner) /* nor among what clients were answered */
        dj_telemetry_request(telemetry, &(struct dj_finished){
                                            .tenant = ride->tenant,
                                            .api = api_of(ride),
                                            .result = result,
                                            .level = level,
                                            .seconds = seconds,
                                            .similarity = nearest_of(ride, is_hit),
                                            .entry_id = is_hit ? ride->entry_id : NULL,
                                            .now_ms = now_ms,
                                        });
    if (ride->trace.id[0])
        dj_telemetry_exemplar(telemetry, api_of(ride), result, seconds, ride->trace.id);
    dj_telemetry_inflight(telemetry, -1);
    count_slow(ride, result, level, now_us);
}

static void audit_end(const struct ride *ride, enum dj_result result, const char *level,
                      uint64_t now_us)
{
    bool is_hit = result == DJ_RESULT_HIT_EXACT || result == DJ_RESULT_HIT_SEMANTIC;
    if (!ride->who.has_tenant)
        return;
    dj_audit_note_lookup(ride->context->audit,
                         &(struct dj_lookup_note){.who = &ride->who,
                                                  .api = api_of(ride),
                                                  .result = result,
                                                  .level = level,
                                                  .entry_id = is_hit ? ride->entry_id : NULL,
                                                  .request_id = ride->request_id_text,
                                                  .trace_id = dj_trace_id(&ride->trace),
                                                  .duration_us = now_us - ride->started_us,
                                                  .now_ms = dj_loop_now_ms(ride->loop)});
}

void ride_end(struct ride *ride, enum dj_result result, const char *level)
{
    uint64_t now_us = dj_loop_monotonic_us(ride->loop);
    count_end(ride, result, level, now_us);
    audit_end(ride, result, level, now_us);
    log_end(ride, result, level, (double)(now_us - ride->started_us) / 1e6);
    if (ride->is_boarded)
        dj_flight_leave(&ride->rider);
    if (ride->ops->leave)
        ride->ops->leave(ride);
    dj_gate_leave(&ride->pass, ride->answer_bytes);
    dj_principal_fini(&ride->who);
    dj_content_fini(&ride->content);
    dj_json_doc_destroy(ride->doc);
    dj_buf_fini(&ride->decoded);
    dj_free(ride);
}
