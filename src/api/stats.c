/* api/stats.c - GET /api/v1/stats: what the cache did for this tenant, and what it keeps. */
#include "api/handlers.h"
#include "api/query.h"
#include "base/num.h"
#include "proxy/identity.h"
#include "proxy/ledger.h"
#include "proxy/asked.h"
#include "security/tenant.h"

static void write_requests(struct dj_json_writer *w, const struct dj_telemetry_totals *totals)
{
    uint64_t exact = totals->results[DJ_RESULT_HIT_EXACT];
    uint64_t semantic = totals->results[DJ_RESULT_HIT_SEMANTIC];
    uint64_t misses = totals->results[DJ_RESULT_MISS];
    uint64_t asked = exact + semantic + misses;
    dj_json_member_u64(w, "requests", totals->requests);
    dj_json_key(w, "hits");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "exact", exact);
    dj_json_member_u64(w, "semantic", semantic);
    dj_json_member_u64(w, "total", exact + semantic);
    dj_json_end_object(w);
    dj_json_member_u64(w, "misses", misses);
    dj_json_member_u64(w, "collapsed", totals->results[DJ_RESULT_COLLAPSED]);
    dj_json_member_u64(w, "bypassed", totals->results[DJ_RESULT_BYPASS]);
    dj_json_member_u64(w, "refreshed", totals->results[DJ_RESULT_REFRESH]);
    dj_json_member_u64(w, "errors", totals->results[DJ_RESULT_ERROR]);
    dj_json_member_double(w, "hit_rate", asked ? (double)(exact + semantic) / (double)asked : 0);
    dj_json_key(w, "saved");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "input_tokens", totals->saved_input_tokens);
    dj_json_member_u64(w, "output_tokens", totals->saved_output_tokens);
    dj_json_member_double(w, "seconds", totals->saved_seconds);
    dj_json_member_double(w, "cost_usd", totals->saved_cost_usd);
    dj_json_end_object(w);
}

static void write_warmed(struct dj_json_writer *w, struct dj_request *request)
{
    struct dj_asked_counts counts = {.keys = 0};
    if (request->api->proxy->asked)
        dj_asked_counts(request->api->proxy->asked, request->tenant, &counts);
    dj_json_key(w, "warmed");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "entries", counts.warmed);
    dj_json_member_u64(w, "used", counts.used);
    dj_json_member_double(w, "cost_usd", counts.cost_usd);
    dj_json_end_object(w);
}

static void write_level(struct dj_json_writer *w, const struct dj_level_figures *level)
{
    dj_json_key(w, level->level);
    dj_json_begin_object(w);
    dj_json_member_u64(w, "entries", level->entries);
    dj_json_member_u64(w, "bytes", level->bytes);
    dj_json_member_u64(w, "bytes_max", level->bytes_max);
    dj_json_member_u64(w, "evictions", level->evictions);
    dj_json_member_u64(w, "expired", level->expired);
    dj_json_member_u64(w, "hits", level->hits);
    dj_json_member_u64(w, "misses", level->misses);
    dj_json_member_double(w, "hit_rate", level->hit_rate);
    dj_json_member_double(w, "latency_ms", level->latency_s * 1e3);
    dj_json_end_object(w);
}

static void write_levels(struct dj_json_writer *w, struct dj_request *request)
{
    struct dj_proxy_context *context = request->api->proxy;
    struct dj_level_figures levels[DJ_TELEMETRY_LEVELS];
    uint32_t count =
        dj_telemetry_levels(context->telemetry, context->engine, request->tenant, levels);
    dj_json_key(w, "levels");
    dj_json_begin_object(w);
    for (uint32_t i = 0; i < count; i++)
        write_level(w, &levels[i]);
    dj_json_end_object(w);
}

static void write_feedback(struct dj_json_writer *w, const struct dj_engine_stats *stats)
{
    dj_json_member_u64(w, "served",
                       stats->hits); /* kept over restarts, as `hits` of an entry are */
    dj_json_key(w, "feedback");
    dj_json_begin_object(w);
    dj_json_member_u64(
        w, "right",
        stats->verdicts > stats->verdicts_wrong ? stats->verdicts - stats->verdicts_wrong : 0);
    dj_json_member_u64(w, "wrong", stats->verdicts_wrong);
    dj_json_end_object(w);
}

static void write_embedder(struct dj_json_writer *w, const struct dj_engine *engine)
{
    const struct dj_embedder *embedder = dj_engine_embedder(engine);
    dj_json_key(w, "embedder");
    if (!embedder) {
        dj_json_put_null(w);
        return;
    }
    dj_json_begin_object(w);
    dj_json_member_text(w, "id", embedder->id);
    dj_json_member_text(w, "kind", embedder->kind);
    dj_json_member_u64(w, "dimension", embedder->dim);
    dj_json_end_object(w);
}

static double usd(uint64_t nano)
{
    return (double)nano / 1e9;
}

static void write_kind(struct dj_json_writer *w, const struct dj_ledger_line *line)
{
    uint64_t hits = line->sums[DJ_LEDGER_HITS];
    uint64_t asked = hits + line->sums[DJ_LEDGER_MISSES];
    dj_json_begin_object(w);
    dj_json_member_u64(w, "hits", hits);
    dj_json_member_u64(w, "misses", line->sums[DJ_LEDGER_MISSES]);
    dj_json_member_double(w, "hit_rate", asked ? (double)hits / (double)asked : 0);
    dj_json_key(w, "saved");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "input_tokens", line->sums[DJ_LEDGER_INPUT_TOKENS]);
    dj_json_member_u64(w, "output_tokens", line->sums[DJ_LEDGER_OUTPUT_TOKENS]);
    dj_json_member_double(w, "seconds", (double)line->sums[DJ_LEDGER_MS] / 1e3);
    dj_json_member_double(w, "cost_usd", usd(line->sums[DJ_LEDGER_NANO_USD]));
    dj_json_member_double(w, "guessed_usd", usd(line->sums[DJ_LEDGER_GUESSED_NANO_USD]));
    dj_json_end_object(w);
    dj_json_member_double(w, "spent_usd", usd(line->sums[DJ_LEDGER_SPENT_NANO_USD]));
    dj_json_end_object(w);
}

static bool is_kind(const struct dj_ledger_line *line, const char *kind)
{
    return strcmp(line->kind, kind) == 0;
}

/* What calls cost: those that were asked for, those that check answers, and (the deployment's, for
 * who may know) those of the embedder. */
static void write_spent(struct dj_json_writer *w, const struct dj_request *request,
                        const struct dj_ledger_line *lines, size_t count, uint64_t period_ms)
{
    static const uint8_t nobody[DJ_ID_BYTES];
    struct dj_ledger_line own[DJ_LEDGER_KINDS_MAX];
    uint64_t upstream = 0;
    uint64_t verification = 0;
    uint64_t embedder = 0;
    int64_t from_ms = 0;
    for (size_t i = 0; i < count; i++)
        *(is_kind(&lines[i], "verification") ? &verification : &upstream) +=
            lines[i].sums[DJ_LEDGER_SPENT_NANO_USD];
    dj_json_key(w, "spent");
    dj_json_begin_object(w);
    dj_json_member_double(w, "upstream_usd", usd(upstream));
    dj_json_member_double(w, "verification_usd", usd(verification));
    if (request->http->is_loopback_peer || dj_identity_may(&request->who, DJ_ROLE_ADMIN)) {
        size_t own_count =
            dj_ledger_read(dj_telemetry_ledger(request->api->proxy->telemetry), nobody,
                           dj_loop_now_ms(request->loop), period_ms, own, &from_ms);
        for (size_t i = 0; i < own_count; i++)
            embedder += own[i].sums[DJ_LEDGER_SPENT_NANO_USD];
        dj_json_member_double(w, "embedder_usd", usd(embedder));
    }
    dj_json_end_object(w);
}

/* Savings by kind over the last period_ms. */
static void write_period(struct dj_json_writer *w, const struct dj_request *request,
                         uint64_t period_ms)
{
    struct dj_ledger_line lines[DJ_LEDGER_KINDS_MAX];
    struct dj_ledger *ledger = dj_telemetry_ledger(request->api->proxy->telemetry);
    int64_t from_ms = 0;
    size_t count = dj_ledger_read(ledger, request->tenant, dj_loop_now_ms(request->loop), period_ms,
                                  lines, &from_ms);
    if (from_ms < request->api->proxy->started_ms)
        from_ms = request->api->proxy->started_ms; /* it is kept in memory */
    struct dj_ledger_line total = {.kind = ""};
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < DJ_LEDGER_SUM_COUNT; k++)
            total.sums[k] += lines[i].sums[k];
    dj_json_key(w, "period");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "seconds", period_ms / 1000);
    dj_request_put_time(w, "from", from_ms);
    dj_json_key(w, "total");
    write_kind(w, &total);
    write_spent(w, request, lines, count, period_ms);
    dj_json_key(w, "kinds");
    dj_json_begin_object(w);
    for (size_t i = 0; i < count; i++) {
        dj_json_key(w, lines[i].kind);
        write_kind(w, &lines[i]);
    }
    dj_json_end_object(w);
    dj_json_end_object(w);
}

/* ?period=; false: it was complained about. */
static bool read_period(struct dj_request *request, uint64_t *out_ms)
{
    struct deja_slice text = {0};
    if (!dj_query_url_member(request, "period", &text))
        return false;
    if (!text.data)
        return true;
    if (dj_num_parse_duration(text, out_ms) == DEJA_OK && *out_ms > 0 &&
        *out_ms <= DJ_LEDGER_PERIOD_MAX_MS)
        return true;
    dj_request_complain(request, "invalid_request", "period", "range",
                        "must be a time of up to 30 days, as 1h, 24h, 7d");
    return false;
}

void dj_stats(struct dj_request *request)
{
    uint64_t period_ms = DJ_LEDGER_DAY_MS;
    struct dj_proxy_context *context = request->api->proxy;
    struct dj_telemetry_totals totals;
    struct dj_engine_stats stats;
    char tenant[DJ_TENANT_TEXT_BYTES];
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (!read_period(request, &period_ms)) {
        dj_request_has_complaints(request);
        return;
    }
    dj_telemetry_totals(context->telemetry, request->tenant, &totals);
    dj_engine_stats(context->engine, request->tenant, &stats);
    dj_tenant_text(request->tenant, tenant);

    dj_json_begin_object(&w);
    dj_json_member_text(&w, "tenant", tenant);
    write_requests(&w, &totals);
    write_period(&w, request, period_ms);
    write_warmed(&w, request);
    write_levels(&w, request);
    write_feedback(&w, &stats);
    dj_json_member_u64(&w, "vectors", stats.vectors);
    dj_json_member_u64(&w, "vector_bytes", stats.vector_bytes);
    dj_json_member_bool(&w, "index_ready", stats.is_index_ready);
    write_embedder(&w, context->engine);
    dj_json_member_double(&w, "threshold", dj_engine_threshold(context->engine, false));
    dj_json_member_double(&w, "api_threshold", dj_engine_threshold(context->engine, true));
    dj_json_member_text(&w, "version", DEJA_VERSION);
    dj_json_key(&w, "uptime_s");
    dj_json_put_i64(&w, (dj_loop_now_ms(request->loop) - request->api->proxy->started_ms) / 1000);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}
