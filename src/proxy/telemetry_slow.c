/* proxy/telemetry_slow.c - operations that took too long, and steps in the background that failed:
 * counted all, told a few of.
 *
 * A daemon in trouble is slow in everything, and a line for each would be more trouble: beyond
 * DJ_TELEMETRY_SLOW_LINES_MAX lines in one second they are counted, and the next line says how many
 * went without.
 */
#include "loop/loop.h"
#include "proxy/telemetry_internal.h"

void dj_telemetry_set_slow(struct dj_telemetry *telemetry, struct dj_log *log,
                           uint64_t threshold_ms)
{
    atomic_store_explicit(&telemetry->slow_log, log, memory_order_relaxed);
    atomic_store_explicit(&telemetry->slow_ms, threshold_ms, memory_order_relaxed);
}

/* Is there a line left in this second? */
static bool take_line(struct dj_telemetry *telemetry)
{
    uint64_t second = dj_clock_monotonic_us() / 1000000u;
    uint64_t old = atomic_load_explicit(&telemetry->slow_lines, memory_order_relaxed);
    uint64_t lines = 0;
    do {
        lines = old >> 32 == (uint32_t)second ? (uint32_t)old : 0;
        if (lines >= DJ_TELEMETRY_SLOW_LINES_MAX)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&telemetry->slow_lines, &old,
                                                    second << 32 | (lines + 1),
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

static void tell(struct dj_telemetry *telemetry, struct dj_log *log, const struct dj_slow *slow)
{
    char tenant[DJ_TENANT_TEXT_BYTES] = "";
    uint64_t unsaid = atomic_exchange_explicit(&telemetry->slow_unsaid, 0, memory_order_relaxed);
    if (slow->tenant)
        dj_tenant_text(slow->tenant, tenant);
    const struct dj_log_field fields[] = {
        DJ_LOG_TEXT("tenant", tenant[0] ? tenant : NULL),
        DJ_LOG_SLICE("req_id", slow->request_id),
        DJ_LOG_TEXT("trace_id", slow->trace_id),
        DJ_LOG_TEXT("operation", slow->operation),
        DJ_LOG_TEXT("tier", slow->level),
        DJ_LOG_DOUBLE("dur_ms", slow->seconds * 1000),
        DJ_LOG_I64("slower_than_ms", (int64_t)atomic_load(&telemetry->slow_ms)),
        DJ_LOG_I64("unsaid", (int64_t)unsaid),
        {.name = NULL}};
    dj_log_write(log, DJ_LOG_WARN, "slow operation", fields);
}

void dj_telemetry_slow(struct dj_telemetry *telemetry, const struct dj_slow *slow)
{
    uint64_t slow_ms = atomic_load_explicit(&telemetry->slow_ms, memory_order_relaxed);
    if (!slow_ms || slow->seconds * 1000 < (double)slow_ms)
        return;
    const char *const values[] = {slow->operation};
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_SLOW, values), 1);
    struct dj_log *log = atomic_load_explicit(&telemetry->slow_log, memory_order_relaxed);
    if (!dj_log_is_on(log, DJ_LOG_WARN))
        return;
    if (take_line(telemetry))
        tell(telemetry, log, slow);
    else
        atomic_fetch_add_explicit(&telemetry->slow_unsaid, 1, memory_order_relaxed);
}

void dj_telemetry_contained(struct dj_telemetry *telemetry, const char *operation,
                            enum deja_status status)
{
    if (status == DEJA_OK)
        return;
    dj_telemetry_recovered(telemetry, operation, 1);
    struct dj_log *log = atomic_load_explicit(&telemetry->slow_log, memory_order_relaxed);
    if (!dj_log_is_on(log, DJ_LOG_WARN) || !take_line(telemetry))
        return;
    const struct dj_log_field fields[] = {DJ_LOG_TEXT("operation", operation),
                                          DJ_LOG_TEXT("reason", deja_status_text(status)),
                                          {.name = NULL}};
    dj_log_write(log, DJ_LOG_WARN, "a step in the background failed and is left out", fields);
}
