/* api/found.c - see found.h. */
#include "api/found.h"

#include "api/as_of.h"

#include <math.h>

#include "api/entry.h"
#include "base/num.h"

void dj_found_set(struct dj_found *found, const struct dj_lookup_result *result)
{
    if (result->status == DEJA_ERR_MISMATCH) /* never a silent miss */
        found->fault.problem = dj_problem_of(result->status);
    found->kind = result->kind;
    found->value = result->value ? dj_value_ref(result->value) : NULL;
    found->level = result->level ? result->level : "none";
    found->reason = result->reason ? result->reason : "not-stored";
    found->threshold = result->threshold;
    found->embed_us += result->embed_us;
    found->search_us += result->search_us;
    found->fetch_us += result->fetch_us;
    found->verify_us += result->verify_us;
    if (result->value || result->search_us || result->candidate_count)
        found->similarity = (double)result->similarity;
}

void dj_found_add(struct dj_found *found, const struct dj_lookup_result *result,
                  struct dj_arena *arena)
{
    uint32_t count = 0;
    found->embed_us += result->embed_us;
    found->search_us += result->search_us;
    found->fetch_us += result->fetch_us;
    if (result->status == DEJA_ERR_MISMATCH)
        found->fault.problem = dj_problem_of(result->status);
    if (!result->candidate_count)
        return;
    found->candidates = dj_arena_alloc(arena, result->candidate_count * sizeof *found->candidates);
    for (uint32_t i = 0; found->candidates && i < result->candidate_count; i++) {
        const struct dj_candidate *candidate = &result->candidates[i];
        if (!candidate->is_fetched || !candidate->value)
            continue; /* gone meanwhile */
        found->candidates[count++] = (struct dj_found_candidate){
            .value = dj_value_ref(candidate->value),
            .similarity = (double)candidate->similarity,
            .access = {.hits = candidate->hits, .last_access_ms = candidate->last_access_ms},
        };
    }
    found->candidate_count = count;
}

void dj_found_fini(struct dj_found *found)
{
    dj_value_unref(found->value);
    found->value = NULL;
    for (uint32_t i = 0; i < found->candidate_count; i++)
        dj_value_unref(found->candidates[i].value);
    found->candidate_count = 0;
}

/* ---- writing ---- */

static void put_similarity(struct dj_json_writer *w, double similarity)
{
    dj_json_key(w, "similarity");
    if (isnan(similarity))
        dj_json_put_null(w);
    else
        dj_json_put_double(w, round(similarity * 1e6) / 1e6);
}

static void write_candidates(struct dj_json_writer *w, const struct dj_found *found, int64_t now_ms)
{
    dj_json_key(w, "candidates");
    dj_json_begin_array(w);
    for (uint32_t i = 0; i < found->candidate_count; i++) {
        const struct dj_found_candidate *candidate = &found->candidates[i];
        dj_json_begin_object(w);
        put_similarity(w, candidate->similarity);
        if (found->has_responses)
            dj_entry_write(w, dj_value_entry(candidate->value), now_ms);
        else
            dj_entry_write_facts(w, dj_value_entry(candidate->value), now_ms);
        dj_entry_write_access(w, &candidate->access);
        dj_json_end_object(w);
    }
    dj_json_end_array(w);
}

void dj_found_write(struct dj_json_writer *w, const struct dj_found *found, int64_t now_ms)
{
    dj_json_begin_object(w);
    if (found->fault.problem.status) {
        dj_request_put_fault(w, &found->fault);
        dj_json_end_object(w);
        return;
    }
    dj_json_member_bool(w, "hit", found->value != NULL);
    dj_json_key(w, "kind");
    if (found->value) {
        dj_json_put_text(w, dj_hit_kind_text(found->kind));
        dj_json_member_text(w, "tier", found->level);
    } else {
        dj_json_put_null(w);
        dj_json_member_text(w, "reason", found->reason);
        dj_json_member_u64(w, "as_of", found->as_of);
    }
    put_similarity(w, found->similarity);
    dj_json_member_double(w, "threshold", found->threshold);
    if (found->value)
        dj_entry_write(w, dj_value_entry(found->value), now_ms);
    if (found->has_candidates)
        write_candidates(w, found, now_ms);
    dj_json_end_object(w);
}

void dj_found_headers(struct dj_request *request, const struct dj_found *found, int64_t now_ms)
{
    char id[2 * DJ_ID_BYTES + 1];
    dj_request_header(request, "X-Cache-Hit", found->value ? "true" : "false");
    dj_request_header(request, "X-Cache-Status", found->value ? "HIT" : "MISS");
    if (!found->value) {
        dj_request_header(request, DJ_AS_OF_HEADER,
                          dj_request_text(request, "%llu", (unsigned long long)found->as_of));
        dj_request_header(request, "Cache-Status",
                          dj_request_text(request, "deja; fwd=miss; detail=\"%s\"", found->reason));
        return;
    }
    const struct dj_entry *entry = dj_value_entry(found->value);
    int64_t ttl_s = entry->expires_ms > now_ms ? (entry->expires_ms - now_ms) / 1000 : 0;
    int64_t age_s = now_ms > entry->created_ms ? (now_ms - entry->created_ms) / 1000 : 0;
    dj_hex_encode(entry->id, sizeof entry->id, id);
    dj_request_header(request, "Cache-Status",
                      dj_request_text(request, "deja; hit; ttl=%lld; detail=%s", (long long)ttl_s,
                                      dj_hit_kind_text(found->kind)));
    dj_request_header(request, "Age", dj_request_text(request, "%lld", (long long)age_s));
    dj_request_header(request, "X-Cache-Tier", found->level);
    dj_request_header(request, "X-Cache-Id", dj_request_text(request, "%s", id));
    dj_request_header(request, "X-Cache-Similarity",
                      dj_request_text(request, "%.4f", found->similarity));
}

void dj_found_count(struct dj_request *request, const struct dj_found *found)
{
    struct dj_telemetry *telemetry = request->api->proxy->telemetry;
    const char *level = found->value ? found->level : "none";
    double seconds =
        (double)(dj_loop_monotonic_us(request->loop) - request->http->started_us) / 1e6;
    enum dj_result result = DJ_RESULT_MISS;
    if (found->fault.problem.status)
        result = DJ_RESULT_ERROR;
    else if (found->value)
        result = found->kind == DJ_HIT_SEMANTIC ? DJ_RESULT_HIT_SEMANTIC : DJ_RESULT_HIT_EXACT;
    dj_telemetry_request(
        telemetry,
        &(struct dj_finished){.tenant = request->tenant,
                              .api = "api",
                              .kind = found->asked_kind,
                              .result = result,
                              .level = level,
                              .seconds = seconds,
                              .similarity = found->similarity,
                              .entry_id = found->value ? dj_value_entry(found->value)->id : NULL,
                              .now_ms = dj_loop_now_ms(request->loop)});
    dj_telemetry_lookup(telemetry, &(struct dj_telemetry_lookup){
                                       .is_hit = found->value != NULL,
                                       .level = level,
                                       .embed_us = found->embed_us,
                                       .search_us = found->search_us,
                                       .fetch_us = found->fetch_us,
                                       .verify_us = found->verify_us,
                                       .similarity = found->similarity,
                                       .threshold = found->threshold,
                                       .seconds = seconds,
                                   });
    if (!found->value)
        return;
    dj_telemetry_saved(telemetry, dj_value_entry(found->value));
    dj_engine_note_hit(request->api->proxy->engine, request->loop, dj_value_entry(found->value),
                       level);
}
