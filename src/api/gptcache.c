/* api/gptcache.c - the routes of a GPTCache server (WIRE §9), below /gptcache.
 *
 *   GET  /gptcache        "hello gptcache server"
 *   POST /gptcache/put    {"prompt","answer"}    "successfully update the cache"
 *   POST /gptcache/get    {"prompt"}             {"prompt","answer"}, answer null on a miss
 *   POST /gptcache/flush                         "successfully flush the cache"
 *
 * Entries are those of the cache API in the default namespace. The client sends no credential of
 * its own; one in its address (http://:KEY@host/gptcache) names a tenant like any other. flush
 * there writes out what is only in memory and removes nothing; here an acknowledged put needs no
 * such thing, so it does nothing.
 */
#include <math.h>

#include "api/handlers.h"
#include "api/langcache_entry.h"

struct gptcache {
    struct dj_request *request;
    struct dj_prompt prompt;
    uint8_t id[DJ_ID_BYTES];
};

static void answer_text(struct dj_request *request, const char *text)
{
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_put_text(&w, text);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

void dj_gptcache_hello(struct dj_request *request)
{
    answer_text(request, "hello gptcache server");
}

void dj_gptcache_flush(struct dj_request *request)
{
    answer_text(request, "successfully flush the cache");
}

/* NULL: the request was answered. */
static struct gptcache *begin(struct dj_request *request)
{
    struct gptcache *call = NULL;
    struct dj_prompt prompt = {0};
    dj_prompt_read_text(request, "prompt", &prompt.text);
    if (dj_request_has_complaints(request))
        return NULL;
    call = dj_arena_alloc(request->arena, sizeof *call);
    if (!call) {
        dj_prompt_refuse(request, DEJA_ERR_NOMEM);
        return NULL;
    }
    *call = (struct gptcache){.request = request, .prompt = prompt};
    return call;
}

/* ---- put ---- */

static void on_put(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome)
{
    struct gptcache *call = ctx;
    /* Overtaken by a newer one: nothing went wrong; and what one tier missed is found in another.
     */
    status = outcome->is_stored ? DEJA_OK : status;
    dj_prompt_count(call->request, "set", "none", status == DEJA_OK ? "ok" : "error");
    if (status != DEJA_OK) {
        dj_prompt_refuse(call->request, status);
        return;
    }
    dj_prompt_finish_put(call->request);
    answer_text(call->request, "successfully update the cache");
}

static void put_body(struct dj_request *request)
{
    const struct dj_json *answer = dj_json_get(request->body, "answer");
    if (answer && !dj_json_is(answer, DJ_JSON_STRING) && !dj_json_is(answer, DJ_JSON_NULL))
        dj_request_complain(request, "invalid_request", "answer", "type", "must be a string");
    struct gptcache *call = begin(request);
    if (!call)
        return;
    enum deja_status status =
        dj_prompt_put(request, &call->prompt, dj_json_string(answer), 0, call->id, call, on_put);
    if (status != DEJA_OK)
        dj_prompt_refuse(request, status);
}

void dj_gptcache_put(struct dj_request *request)
{
    dj_request_read(request, put_body);
}

/* ---- get ---- */

/* value NULL: a miss; similarity NaN: none was measured. */
static void answer_get(struct gptcache *call, const struct dj_value *value, enum dj_hit_kind kind,
                       const char *level, double similarity)
{
    struct dj_request *request = call->request;
    struct dj_telemetry *telemetry = request->api->proxy->telemetry;
    double seconds =
        (double)(dj_loop_monotonic_us(request->loop) - request->http->started_us) / 1e6;
    enum dj_result result = !value                    ? DJ_RESULT_MISS
                            : kind == DJ_HIT_SEMANTIC ? DJ_RESULT_HIT_SEMANTIC
                                                      : DJ_RESULT_HIT_EXACT;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_key(&w, "prompt");
    dj_json_put_string(&w, call->prompt.text);
    dj_json_key(&w, "answer");
    if (value)
        dj_prompt_put_response(&w, dj_value_entry(value));
    else
        dj_json_put_null(&w);
    dj_json_end_object(&w);
    dj_telemetry_request(telemetry,
                         &(struct dj_finished){.tenant = request->tenant,
                                               .api = "gptcache",
                                               .result = result,
                                               .level = level,
                                               .seconds = seconds,
                                               .similarity = similarity,
                                               .entry_id = value ? dj_value_entry(value)->id : NULL,
                                               .now_ms = dj_loop_now_ms(request->loop)});
    dj_prompt_count(request, "lookup", level, value ? "hit" : "miss");
    if (value) {
        dj_telemetry_saved(telemetry, dj_value_entry(value));
        dj_engine_note_hit(request->api->proxy->engine, request->loop, dj_value_entry(value),
                           level);
    } else {
        dj_engine_note_miss(request->api->proxy->engine, request->loop, request->tenant, NULL,
                            DJ_ENTRY_API);
    }
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void on_found(void *ctx, const struct dj_lookup_result *result)
{
    answer_get(ctx, result->value, result->kind, result->value ? result->level : "none",
               result->similarity > 0 ? (double)result->similarity : NAN);
}

static void get_body(struct dj_request *request)
{
    struct dj_engine *engine = request->api->proxy->engine;
    struct dj_fingerprint fingerprint;
    struct gptcache *call = begin(request);
    if (!call)
        return;
    enum deja_status status = dj_prompt_fingerprint(request, &call->prompt, &fingerprint);
    if (status != DEJA_OK) {
        dj_prompt_refuse(request, status);
        return;
    }
    struct dj_value *value = dj_request_find(request, &fingerprint.key, 0);
    if (value) {
        answer_get(call, value, dj_engine_hit_kind(value, fingerprint.exact), "memory", 1);
        dj_value_unref(value);
        return;
    }
    const struct dj_lookup_options options = {.is_exact = true,
                                              .skip = request->skip,
                                              .is_semantic = dj_request_may_search(request),
                                              .threshold = dj_request_threshold(request, NAN),
                                              .guards_off = dj_request_guards_off(request),
                                              .is_threshold_free = true};
    if (dj_engine_lookup(engine, request->loop, &fingerprint, &options, NULL, call, on_found) !=
        DEJA_OK)
        answer_get(call, NULL, DJ_HIT_NONE, "none", NAN); /* out of memory: a miss (I4) */
}

void dj_gptcache_get(struct dj_request *request)
{
    dj_request_read(request, get_body);
}
