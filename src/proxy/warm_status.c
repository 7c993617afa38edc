/* proxy/warm_status.c - what is told of a tenant's warming. */
#include <string.h>

#include "base/date.h"
#include "proxy/warm_internal.h"

static void put_time(struct dj_json_writer *w, const char *name, int64_t ms)
{
    char text[DJ_DATE_RFC3339_BYTES];
    if (ms)
        dj_date_rfc3339(ms, text);
    dj_json_member_text(w, name, ms ? text : NULL);
}

static void put_sources(struct dj_json_writer *w, unsigned sources)
{
    dj_json_key(w, "sources");
    dj_json_begin_array(w);
    for (size_t i = 0; dj_warm_source_names[i]; i++)
        if (sources & (1u << i))
            dj_json_put_text(w, dj_warm_source_names[i]);
    dj_json_end_array(w);
}

static void put_run(struct dj_json_writer *w, const struct warm_progress *progress)
{
    dj_json_key(w, "run");
    if (!progress->id) {
        dj_json_put_null(w);
        return;
    }
    dj_json_begin_object(w);
    dj_json_member_u64(w, "id", progress->id);
    dj_json_member_text(w, "status", progress->status);
    dj_json_member_text(w, "reason", progress->reason);
    dj_json_member_bool(w, "scheduled", progress->is_scheduled);
    put_sources(w, progress->sources);
    dj_json_member_u64(w, "total", progress->total);
    dj_json_member_u64(w, "done", progress->done);
    dj_json_member_u64(w, "warmed", progress->warmed);
    dj_json_member_u64(w, "promoted", progress->promoted);
    dj_json_member_u64(w, "present", progress->present);
    dj_json_member_u64(w, "missing", progress->missing);
    dj_json_member_u64(w, "failed", progress->failed);
    dj_json_member_u64(w, "requests", progress->requests);
    dj_json_member_double(w, "cost_usd", progress->cost_usd);
    put_time(w, "started_at", progress->started_ms);
    put_time(w, "ended_at", progress->ended_ms);
    dj_json_end_object(w);
}

static double part(double of, double whole)
{
    return whole > 0 ? of / whole : 0;
}

static void put_counts(struct dj_json_writer *w, const struct dj_asked_counts *counts)
{
    dj_json_key(w, "warmed");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "entries", counts->warmed);
    dj_json_member_u64(w, "used", counts->used);
    dj_json_member_double(w, "used_share", part((double)counts->used, (double)counts->warmed));
    dj_json_member_double(w, "cost_usd", counts->cost_usd);
    dj_json_member_double(w, "unused_usd", counts->unused_usd);
    dj_json_end_object(w);
}

static void put_prediction(struct dj_json_writer *w, struct dj_warm *warm,
                           const struct dj_asked_counts *counts, uint32_t clusters)
{
    dj_json_key(w, "predict");
    dj_json_begin_object(w);
    dj_json_member_bool(w, "enabled", warm->options.is_predicting);
    dj_json_member_bool(w, "ready", warm_keep_is_ready(warm));
    dj_json_member_double(w, "threshold", warm->options.threshold);
    dj_json_member_u64(w, "keys", counts->keys);
    dj_json_member_u64(w, "clusters", clusters);
    dj_json_member_u64(w, "asked", counts->asked);
    dj_json_member_u64(w, "covered", counts->covered);
    dj_json_member_double(w, "recall", part((double)counts->covered, (double)counts->asked));
    dj_json_end_object(w);
}

void dj_warm_put_status(struct dj_warm *warm, const uint8_t tenant[DJ_ID_BYTES], int64_t now_ms,
                        struct dj_json_writer *w)
{
    const struct dj_warm_options *options = &warm->options;
    struct warm_tenant copy = {.run = NULL};
    struct dj_asked_counts counts = {.keys = 0};
    bool has_schedule = options->is_enabled && options->sources && options->run_requests;
    pthread_mutex_lock(&warm->lock);
    struct warm_tenant *known = dj_map_find(warm->tenants, deja_slice(tenant, DJ_ID_BYTES));
    if (known) {
        warm_enter_day(known, now_ms);
        copy = *known;
    }
    pthread_mutex_unlock(&warm->lock);
    dj_asked_counts(warm->asked, tenant, &counts);
    dj_json_member_bool(w, "enabled", options->is_enabled);
    dj_json_member_bool(w, "idle", !has_schedule);
    put_sources(w, options->sources);
    put_time(w, "next_at", has_schedule ? dj_cron_next(&options->cron, now_ms) : 0);
    dj_json_member_text(w, "skipped", copy.skipped);
    put_run(w, &copy.progress);
    dj_json_key(w, "today");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "requests", copy.day_requests);
    dj_json_member_double(w, "cost_usd", copy.day_usd);
    dj_json_end_object(w);
    put_counts(w, &counts);
    put_prediction(w, warm, &counts, copy.clusters);
}
