/* proxy/warm_run.c - a run, from its list to its end; all of it on the run's loop.
 *
 *   begin ─▶ lock (among programs) ─▶ keys of lower tiers ─▶ list (worker) ─┬▶ dry run: told ─▶ end
 *                                                                           └▶ pump ─▶ … ─▶ end
 *   pump:  up to `concurrency` items; each: good in some tier? done : asked, as its tenant
 *
 * (1) A run ends when it was told to stop, or has no more items, and none is in flight.
 * (2) Nothing is begun while users wait for the upstream: the run pauses, and gives up after
 *     PAUSES_MAX of them in a row.
 * (3) After finish() the run is gone: it comes last in a function.
 */
#include "proxy/warm_internal.h"

#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "cache/collect.h"
#include "net/http_headers.h"
#include "net/http_inner.h"
#include "policy/glob.h"
#include "proto/http_text.h"
#include "proxy/asked_internal.h"

#define PAUSE_MS 1000u
#define PAUSES_MAX 30u
#define TRIES_MAX 3u
#define LEASE_MS 60000u
#define SCHEDULE_LEASE_MS 3600000u
#define RENEW_US UINT64_C(20000000)
#define KEPT_MS INT64_C(86400000) /* of an answer whose end is not known */

/* One item in flight. */
struct flying {
    struct warm_run *run;
    size_t index;
    uint8_t id[DJ_ID_BYTES]; /* of the entry it is about */
    bool is_anew;            /* there is one, which ends too soon */
};

static void pump(struct warm_run *run);

void warm_run_destroy(struct warm_run *run)
{
    if (!run)
        return;
    for (size_t i = 0; i < run->item_count; i++) {
        if (run->items[i].packed)
            dj_wipe(run->items[i].packed, run->items[i].packed_len);
        dj_free(run->items[i].packed);
    }
    if (run->order.credential.value.len)
        dj_wipe((void *)(uintptr_t)run->order.credential.value.data,
                run->order.credential.value.len);
    dj_free(run->items);
    dj_arena_fini(&run->arena);
    dj_free(run);
}

static struct dj_engine *engine_of(const struct warm_run *run)
{
    return run->warm->options.context->engine;
}

/* Of a schedule's run another name for each time it is due. */
static void lock_key(const struct warm_run *run, struct dj_store_key *out_key)
{
    uint8_t digest[DJ_SHA256_BYTES];
    static const char purpose[] = "deja warm run 1";
    uint8_t bytes[sizeof purpose + sizeof run->due_ms + sizeof run->order.sources];
    memcpy(bytes, purpose, sizeof purpose);
    memcpy(bytes + sizeof purpose, &run->due_ms, sizeof run->due_ms);
    memcpy(bytes + sizeof purpose + sizeof run->due_ms, &run->order.sources,
           sizeof run->order.sources);
    if (!run->is_scheduled)
        memset(bytes + sizeof purpose, 0, sizeof bytes - sizeof purpose);
    dj_sha256(deja_slice(bytes, sizeof bytes), digest);
    memcpy(out_key->tenant, run->order.tenant, sizeof out_key->tenant);
    memcpy(out_key->id, digest, sizeof out_key->id);
}

/* ---- the end ---- */

/* Nobody waits for what is scheduled. */
static void log_end(const struct warm_run *run)
{
    char tenant[DJ_TENANT_TEXT_BYTES];
    if (!run->is_scheduled)
        return;
    dj_tenant_text(run->order.tenant, tenant);
    const struct dj_log_field fields[] = {DJ_LOG_TEXT("tenant", tenant),
                                          DJ_LOG_TEXT("result", run->progress.status),
                                          DJ_LOG_TEXT("reason", run->stop),
                                          {.name = NULL}};
    dj_log_write(run->warm->options.context->log, DJ_LOG_INFO, "a scheduled run of warming ended",
                 fields);
}

/* (3) */
static void finish(struct warm_run *run)
{
    struct dj_store_key key;
    if (run->timer)
        dj_timer_destroy(run->timer);
    lock_key(run, &key);
    if (run->has_lock && !run->is_scheduled) /* a schedule's time does not come again */
        dj_engine_unlock(engine_of(run), run->loop, &key, run->token);
    run->progress.status = run->stop                         ? "stopped"
                           : atomic_load(&run->is_cancelled) ? "cancelled"
                                                             : "done";
    run->progress.reason = run->stop;
    run->progress.ended_ms = dj_loop_now_ms(run->loop);
    log_end(run);
    warm_ended(run);
    warm_run_destroy(run);
}

static bool is_over(const struct warm_run *run)
{
    return run->stop || atomic_load(&run->is_cancelled) || run->next >= run->item_count ||
           atomic_load(&run->warm->options.context->is_stopping);
}

static void item_done(struct warm_run *run)
{
    run->in_flight--;
    run->progress.done++;
    warm_tell(run);
    pump(run);
}

/* ---- one item ---- */

static double cost_of(const struct dj_entry *entry)
{
    double tokens = (double)entry->input_tokens + (double)entry->output_tokens;
    return entry->cost_usd > 0 ? entry->cost_usd : tokens * DJ_PRICE_GUESS.token_usd;
}

/* What was kept is looked at once more: what it cost, and until when it can be served. */
static bool note_kept(struct warm_run *run, const struct flying *flying, unsigned source)
{
    struct dj_proxy_context *context = run->warm->options.context;
    struct dj_store_key key;
    double cost_usd = 0;
    int64_t until_ms = dj_loop_now_ms(run->loop) + KEPT_MS;
    memcpy(key.tenant, run->order.tenant, sizeof key.tenant);
    memcpy(key.id, flying->id, sizeof key.id);
    struct dj_value *value = dj_engine_find(context->engine, run->loop, &key, 0);
    if (value) {
        const struct dj_entry *entry = dj_value_entry(value);
        cost_usd = cost_of(entry);
        until_ms = entry->expires_ms ? entry->expires_ms : until_ms;
    }
    dj_value_unref(value);
    warm_spent(run, cost_usd);
    dj_telemetry_warmed(context->telemetry, dj_warm_source_text(source), cost_usd);
    dj_asked_note_warmed(run->warm->asked, run->order.tenant, flying->id, until_ms, cost_usd);
    return value != NULL;
}

static bool says(struct deja_slice text, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= text.len; i++)
        if (dj_http_is_same(deja_slice(text.data + i, len), word))
            return true;
    return false;
}

static void pause_for(struct warm_run *run, uint64_t ms);

/* Refused for a while: taken up again behind all others, after a pause. */
static bool comes_again(struct warm_run *run, size_t index, int status)
{
    if ((status != 429 && status != 503) || run->items[index].tries >= TRIES_MAX ||
        ++run->pauses > PAUSES_MAX || !warm_put_back(run, index))
        return false;
    if (!run->is_pausing)
        pause_for(run, PAUSE_MS);
    return true;
}

/* Of an answer that is whole and good: true where it came out of the cache, or was kept. */
static bool count_good(struct warm_run *run, const struct flying *flying,
                       const struct dj_http_header *headers, size_t header_count)
{
    struct deja_slice hit = dj_http_find(headers, header_count, "x-cache-hit");
    struct deja_slice told = dj_http_find(headers, header_count, "cache-status");
    if (dj_http_is_same(hit, "true")) {
        run->progress.present++;
        return true;
    }
    bool is_kept = says(told, "stored") && note_kept(run, flying, run->items[flying->index].source);
    run->progress.warmed += is_kept;
    if (!is_kept && !says(told, "stored"))
        warm_spent(run, 0);
    return is_kept;
}

static void on_answered(void *ctx, int status, const struct dj_http_header *headers,
                        size_t header_count, struct deja_slice body, bool is_whole)
{
    struct flying *flying = ctx;
    struct warm_run *run = flying->run;
    bool is_good = is_whole && status == 200;
    (void)body;
    if (comes_again(run, flying->index, status)) {
        dj_free(flying);
        run->in_flight--;
        pump(run);
        return;
    }
    if (!is_good || !count_good(run, flying, headers, header_count))
        run->progress.failed++;
    if (!is_good && status >= 400 && status < 500 && status != 429)
        warm_spent(run, 0);
    if (status == 401 || status == 403)
        run->stop = "the upstream refused the credential, or the tenant may not ask";
    else if (status == 429 || status == 503)
        run->stop = "the upstream, or Deja itself, is overloaded or has refused too often";
    else
        run->pauses = 0;
    dj_free(flying);
    item_done(run);
}

static void give_up(struct flying *flying)
{
    struct warm_run *run = flying->run;
    run->progress.failed++;
    dj_free(flying);
    item_done(run);
}

/* (2) is looked at before, in pump; the budget here, where it is known that upstream is asked. */
static void ask(struct flying *flying)
{
    struct warm_run *run = flying->run;
    struct dj_warm *warm = run->warm;
    const struct warm_item *item = &run->items[flying->index];
    struct dj_http_header headers[DJ_ASKED_HEADERS_MAX + 4];
    size_t count = 0;
    struct dj_asked_request request;
    const char *reason = run->stop ? run->stop : NULL;
    run->in_flight--; /* itself is not yet one that costs */
    if (!reason)
        reason = warm_budget(run);
    run->in_flight++;
    if (reason || !asked_unpack(deja_slice(item->packed, item->packed_len), &request)) {
        run->stop = reason;
        run->progress.failed += reason ? 0u : 1u;
        dj_free(flying);
        run->in_flight--;
        if (!reason)
            run->progress.done++;
        pump(run);
        return;
    }
    headers[count++] = (struct dj_http_header){deja_slice_text("content-type"),
                                               deja_slice_text("application/json")};
    if (flying->is_anew)
        headers[count++] =
            (struct dj_http_header){deja_slice_text("cache-control"), deja_slice_text("no-cache")};
    for (size_t i = 0; i < request.header_count; i++)
        headers[count++] = request.headers[i];
    struct dj_http_header credential = warm_credential(warm, &run->order, &run->arena);
    if (credential.value.len)
        headers[count++] = credential;
    const struct dj_http_inner_request inner = {.tenant = run->order.tenant,
                                                .method = "POST",
                                                .target = request.target,
                                                .headers = headers,
                                                .header_count = count,
                                                .body = request.body,
                                                .id = flying->id};
    if (dj_http_inner_ask(run->loop, &inner, warm->options.handler_ctx, warm->options.handler,
                          flying, on_answered) != DEJA_OK)
        give_up(flying);
}

static void on_found(void *ctx, struct dj_value *value, const char *level)
{
    struct flying *flying = ctx;
    struct warm_run *run = flying->run;
    const struct warm_item *item = &run->items[flying->index];
    const struct dj_entry *entry = value ? dj_value_entry(value) : NULL;
    bool is_good = entry && (entry->expires_ms == 0 || entry->expires_ms >= item->good_until_ms ||
                             !item->packed);
    flying->is_anew = entry != NULL;
    dj_value_unref(value);
    if (is_good) {
        bool is_promoted = level && strcmp(level, "memory") != 0;
        run->progress.promoted += is_promoted;
        run->progress.present += !is_promoted;
        dj_free(flying);
        item_done(run);
    } else if (item->packed) {
        ask(flying);
    } else {
        run->progress.missing++;
        dj_free(flying);
        item_done(run);
    }
}

static void begin_item(struct warm_run *run)
{
    struct flying *flying = dj_alloc_zeroed(1, sizeof *flying);
    const struct warm_item *item = &run->items[run->next];
    struct dj_store_key key;
    if (!flying) {
        run->stop = "out of memory";
        return;
    }
    flying->run = run;
    flying->index = run->next++;
    run->in_flight++;
    if (!item->has_id) {
        ask(flying);
        return;
    }
    memcpy(key.tenant, run->order.tenant, sizeof key.tenant);
    memcpy(key.id, item->id, sizeof key.id);
    memcpy(flying->id, item->id, sizeof flying->id);
    if (dj_engine_get(engine_of(run), run->loop, &key, 0, flying, on_found) != DEJA_OK)
        give_up(flying);
}

/* ---- all of them ---- */

static void on_pause_over(void *ctx)
{
    struct warm_run *run = ctx;
    run->is_pausing = false;
    pump(run);
}

static void pause_for(struct warm_run *run, uint64_t ms)
{
    run->is_pausing = true;
    if (!run->timer && dj_timer_create(run->loop, run, on_pause_over, &run->timer) != DEJA_OK) {
        run->is_pausing = false;
        run->stop = "out of memory";
        return;
    }
    dj_timer_start(run->timer, ms, 0);
}

static void on_renewed(void *ctx, enum deja_status status, bool is_held)
{
    (void)ctx; /* the run may be gone: what it has begun it ends */
    (void)status;
    (void)is_held;
}

static void renew(struct warm_run *run)
{
    uint64_t now_us = dj_loop_monotonic_us(run->loop);
    struct dj_store_key key;
    if (!run->has_lock || now_us - run->renewed_us < RENEW_US)
        return;
    run->renewed_us = now_us;
    lock_key(run, &key);
    if (dj_engine_lock(engine_of(run), run->loop, &key, run->token,
                       run->is_scheduled ? SCHEDULE_LEASE_MS : LEASE_MS, NULL,
                       on_renewed) != DEJA_OK)
        run->has_lock = false; /* it ends by itself */
}

static bool users_wait(const struct warm_run *run)
{
    return dj_admission_waiting(run->warm->options.context->admission) > 0;
}

/* begin_item may come back here when its item ends at once: is_ending keeps that flat. */
static void pump(struct warm_run *run)
{
    if (run->is_ending)
        return;
    run->is_ending = true;
    renew(run);
    while (!is_over(run) && !run->is_pausing && run->in_flight < run->warm->options.concurrency) {
        if (users_wait(run)) {
            if (++run->pauses > PAUSES_MAX)
                run->stop = "users wait for the upstream";
            else
                pause_for(run, PAUSE_MS);
            break;
        }
        if (run->batch_left == 0) {
            if (run->in_flight > 0)
                break;
            run->batch_left = run->warm->options.batch;
            pause_for(run, 1); /* others have their turn between two batches */
            break;
        }
        run->batch_left--;
        begin_item(run);
    }
    run->is_ending = false;
    if (is_over(run) && run->in_flight == 0)
        finish(run);
}

static void tell_list(struct warm_run *run)
{
    struct dj_buf json = {0};
    enum deja_status status = run->is_list_failed ? DEJA_ERR_NOMEM : warm_write_list(run, &json);
    run->listed(run->ctx, status, dj_buf_slice(&json));
    dj_buf_fini(&json);
    finish(run);
}

static void on_listed(void *ctx)
{
    struct warm_run *run = ctx;
    run->progress.total = run->item_count;
    if (run->listed) {
        tell_list(run);
        return;
    }
    if (run->is_list_failed)
        run->stop = "what there is to do could not be found out: no memory, or the file of "
                    "warmup.file cannot be read";
    run->progress.status = "running";
    warm_tell(run);
    pump(run);
}

static void list(struct warm_run *run)
{
    run->job = (struct dj_job){.work = warm_list, .done = on_listed, .ctx = run, .loop = run->loop};
    if (dj_pool_submit(run->warm->options.context->pool, &run->job) == DEJA_OK)
        return;
    run->is_list_failed = true;
    on_listed(run);
}

static bool is_wanted(void *ctx, const struct dj_entry *entry)
{
    const struct warm_run *run = ctx;
    const struct dj_warm_options *options = &run->warm->options;
    for (size_t i = 0; i < run->order.pattern_count; i++)
        if (dj_glob_is_match(run->order.patterns[i], entry->query))
            return true;
    for (size_t i = 0; i < options->pattern_count && !run->order.pattern_count; i++)
        if (dj_glob_is_match(deja_slice_text(options->patterns[i]), entry->query))
            return true;
    return false;
}

static void on_collected(void *ctx, const uint8_t (*ids)[DJ_ID_BYTES], size_t count)
{
    struct warm_run *run = ctx;
    for (size_t i = 0; i < count; i++) {
        struct warm_item item = {.source = DJ_WARM_KEYS, .has_id = true};
        memcpy(item.id, ids[i], sizeof item.id);
        if (!warm_add(run, &item, deja_slice(NULL, 0)))
            break;
    }
    list(run);
}

static void collect(struct warm_run *run)
{
    if (!(run->order.sources & DJ_WARM_KEYS) ||
        dj_engine_collect(engine_of(run), run->loop, run->order.tenant, DJ_COLLECT_MAX, run,
                          is_wanted, on_collected) != DEJA_OK)
        list(run);
}

/* Nobody can tell: better twice than not at all. */
static void on_locked(void *ctx, enum deja_status status, bool is_held)
{
    struct warm_run *run = ctx;
    run->has_lock = status == DEJA_OK && is_held;
    run->renewed_us = dj_loop_monotonic_us(run->loop);
    if (status != DEJA_OK || is_held) {
        collect(run);
        return;
    }
    run->stop = "another program of the shared tier makes this run";
    finish(run);
}

static void on_begin(void *ctx)
{
    struct warm_run *run = ctx;
    struct dj_store_key key;
    lock_key(run, &key);
    if (run->order.is_dry_run || !dj_engine_has_lock(engine_of(run)) ||
        dj_engine_lock(engine_of(run), run->loop, &key, run->token,
                       run->is_scheduled ? SCHEDULE_LEASE_MS : LEASE_MS, run, on_locked) != DEJA_OK)
        collect(run);
}

void warm_begin(struct warm_run *run)
{
    run->task = (struct dj_task){.run = on_begin, .ctx = run};
    dj_loop_post(run->loop, &run->task);
}

/* ---- learning ---- */

struct learning {
    struct dj_warm *warm;
    uint8_t tenant[DJ_ID_BYTES];
    uint8_t id[DJ_ID_BYTES];
    char *packed; /* owned */
    size_t packed_len;
    int64_t *times_ms; /* owned */
    size_t count;
    void *ctx;
    dj_warm_learned_fn *learned;
};

static void end_learning(struct learning *learning)
{
    dj_free(learning->packed);
    dj_free(learning->times_ms);
    dj_free(learning);
}

static void on_key_known(void *ctx, int status, const struct dj_http_header *headers,
                         size_t header_count, struct deja_slice body, bool is_whole)
{
    static const uint8_t none[DJ_ID_BYTES];
    struct learning *learning = ctx;
    struct dj_asked_request request;
    bool is_known = memcmp(learning->id, none, sizeof none) != 0 &&
                    asked_unpack(deja_slice(learning->packed, learning->packed_len), &request);
    (void)status;
    (void)headers;
    (void)header_count;
    (void)body;
    (void)is_whole;
    for (size_t i = 0; i < learning->count && is_known; i++)
        dj_asked_note(learning->warm->asked,
                      &(struct dj_asked_access){.tenant = learning->tenant,
                                                .id = learning->id,
                                                .at_ms = learning->times_ms[i],
                                                .user = DJ_PREDICT_USER_LOCAL,
                                                .kind = dj_asked_kind(&request),
                                                .request = &request});
    learning->learned(learning->ctx, is_known);
    end_learning(learning);
}

enum deja_status dj_warm_learn(struct dj_warm *warm, struct dj_loop *loop,
                               const uint8_t tenant[DJ_ID_BYTES], struct deja_slice packed,
                               const int64_t *times_ms, size_t count, void *ctx,
                               dj_warm_learned_fn *learned)
{
    struct dj_asked_request request;
    struct dj_http_header headers[DJ_ASKED_HEADERS_MAX + 3];
    size_t used = 0;
    if (!dj_asked_is_learning(warm->asked))
        return DEJA_ERR_UNSUPPORTED;
    if (!asked_unpack(packed, &request))
        return DEJA_ERR_INVALID;
    struct learning *learning = dj_alloc_zeroed(1, sizeof *learning);
    if (!learning)
        return DEJA_ERR_NOMEM;
    *learning = (struct learning){.warm = warm,
                                  .packed = dj_alloc(packed.len),
                                  .packed_len = packed.len,
                                  .times_ms = dj_alloc(count * sizeof *times_ms + 1),
                                  .count = count,
                                  .ctx = ctx,
                                  .learned = learned};
    memcpy(learning->tenant, tenant, sizeof learning->tenant);
    if (!learning->packed || !learning->times_ms) {
        end_learning(learning);
        return DEJA_ERR_NOMEM;
    }
    memcpy(learning->packed, packed.data, packed.len);
    memcpy(learning->times_ms, times_ms, count * sizeof *times_ms);
    headers[used++] = (struct dj_http_header){deja_slice_text("content-type"),
                                              deja_slice_text("application/json")};
    headers[used++] = (struct dj_http_header){deja_slice_text("cache-control"),
                                              deja_slice_text("only-if-cached")};
    for (size_t i = 0; i < request.header_count; i++)
        headers[used++] = request.headers[i];
    const struct dj_http_inner_request inner = {.tenant = tenant,
                                                .method = "POST",
                                                .target = request.target,
                                                .headers = headers,
                                                .header_count = used,
                                                .body = request.body,
                                                .id = learning->id};
    enum deja_status status = dj_http_inner_ask(loop, &inner, warm->options.handler_ctx,
                                                warm->options.handler, learning, on_key_known);
    if (status != DEJA_OK)
        end_learning(learning);
    return status;
}
