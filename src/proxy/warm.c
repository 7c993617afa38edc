/* proxy/warm.c - see warm.h: orders, budgets, the schedule, what is told.
 *
 * (1) What is known of tenants changes under `lock`; a run itself is its loop's.
 * (2) A tenant has at most one run: `run` is set when it is made and cleared when it has ended.
 * (3) The schedule's tenants come one after the other, so that a full hour is not all of them at
 *     once.
 */
#include "proxy/warm_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "security/vault.h"

#define DAY_MS INT64_C(86400000)
#define HOUR_MS INT64_C(3600000)
#define REQUEST_BYTES_MAX (64u << 10)
#define ORDER_REQUESTS 1000u /* of an order without a budget, where the settings name none */

const char *const dj_warm_source_names[] = {"top",     "expiring", "keys", "file",
                                            "predict", "given",    NULL};

const char *dj_warm_source_text(unsigned source)
{
    for (size_t i = 0; dj_warm_source_names[i]; i++)
        if (source & (1u << i))
            return dj_warm_source_names[i];
    return "none";
}

/* ---- life ---- */

enum deja_status dj_warm_create(const struct dj_warm_options *options, struct dj_warm **out_warm)
{
    struct dj_warm *warm = dj_alloc_zeroed(1, sizeof *warm);
    if (!warm)
        return DEJA_ERR_NOMEM;
    warm->options = *options;
    pthread_mutex_init(&warm->lock, NULL);
    dj_tenant_derive(options->context->root, deja_slice(NULL, 0), warm->local);
    enum deja_status status = dj_map_create(DJ_ASKED_TENANTS_MAX, NULL, NULL, &warm->tenants);
    bool is_wanted =
        options->is_predicting || (options->sources & (DJ_WARM_TOP | DJ_WARM_EXPIRING));
    const struct dj_asked_options asked = {.keys_max = options->keys_max,
                                           .bytes_max = options->bytes_max,
                                           .request_bytes = REQUEST_BYTES_MAX,
                                           .is_learning = is_wanted};
    if (status == DEJA_OK)
        status = dj_asked_create(&asked, &warm->asked);
    warm->due = dj_alloc_zeroed(DJ_ASKED_TENANTS_MAX, sizeof *warm->due);
    if (status == DEJA_OK && !warm->due)
        status = DEJA_ERR_NOMEM;
    if (status != DEJA_OK) {
        dj_warm_destroy(warm);
        return status;
    }
    *out_warm = warm;
    return DEJA_OK;
}

void dj_warm_destroy(struct dj_warm *warm)
{
    size_t cursor = 0;
    struct deja_slice key;
    void *tenant = NULL;
    if (!warm)
        return;
    while (warm->tenants && dj_map_next(warm->tenants, &cursor, &key, &tenant))
        dj_free(tenant);
    dj_map_destroy(warm->tenants);
    dj_asked_destroy(warm->asked);
    pthread_mutex_destroy(&warm->lock);
    warm_keep_destroy(warm);
    dj_free(warm->due);
    dj_free(warm);
}

struct dj_asked *dj_warm_asked(struct dj_warm *warm)
{
    return warm ? warm->asked : NULL;
}

const char *dj_warm_model(const struct dj_warm *warm)
{
    return warm->options.model;
}

struct warm_tenant *warm_tenant_of(struct dj_warm *warm, const uint8_t tenant[DJ_ID_BYTES])
{
    struct warm_tenant *found =
        dj_map_find_or_make(warm->tenants, deja_slice(tenant, DJ_ID_BYTES), sizeof *found);
    if (found)
        memcpy(found->id, tenant, DJ_ID_BYTES);
    return found;
}

/* ---- who may ask upstream ---- */

static bool is_held(const struct dj_warm *warm, const uint8_t tenant[DJ_ID_BYTES])
{
    struct dj_vault_facts facts;
    struct dj_vault *vault = warm->options.context->vault;
    return vault && dj_vault_get(vault, tenant, &facts) == DEJA_OK;
}

/* The operator's goes to the operator's upstream, never to one that a tenant named. */
static bool has_own_upstream(const struct dj_warm *warm, const uint8_t tenant[DJ_ID_BYTES])
{
    struct dj_directory *directory = warm->options.context->directory;
    struct dj_rules *rules = directory ? dj_directory_find(directory, tenant) : NULL;
    bool has_own = rules && dj_rules_of(rules)->upstream_url;
    dj_rules_unref(rules);
    return has_own;
}

static bool is_local(const struct dj_warm *warm, const uint8_t tenant[DJ_ID_BYTES])
{
    return memcmp(warm->local, tenant, sizeof warm->local) == 0;
}

const char *warm_objection(struct dj_warm *warm, const struct dj_warm_order *order)
{
    if (order->credential.value.len || is_held(warm, order->tenant) ||
        is_local(warm, order->tenant) ||
        (warm->options.credential && !has_own_upstream(warm, order->tenant)))
        return NULL;
    return "there is no upstream credential to ask with: Deja keeps none of its clients'. Order "
           "the "
           "run with the upstream key itself as the bearer, let an administrator hold one for this "
           "tenant (deja key upstream set), or set warmup.credential";
}

struct dj_http_header warm_credential(struct dj_warm *warm, const struct dj_warm_order *order,
                                      struct dj_arena *arena)
{
    struct dj_http_header header = {deja_slice_text("authorization"), {0}};
    const char *credential = warm->options.credential;
    if (order->credential.value.len)
        return order->credential;
    if (!credential || is_held(warm, order->tenant) || has_own_upstream(warm, order->tenant))
        return header;
    size_t size = strlen(credential) + sizeof "Bearer ";
    char *text = dj_arena_alloc(arena, size);
    int len = text ? snprintf(text, size, "Bearer %s", credential) : 0;
    header.value = deja_slice(text, (size_t)(len > 0 ? len : 0));
    return header;
}

/* ---- budgets ---- */

void warm_enter_day(struct warm_tenant *tenant, int64_t now_ms)
{
    int64_t day = now_ms / DAY_MS;
    if (tenant->day == day)
        return;
    tenant->day = day;
    tenant->day_requests = 0;
    tenant->day_usd = 0;
}

/* What is under way costs what those before did, on average. */
static double foreseen(const struct warm_run *run)
{
    const struct warm_progress *progress = &run->progress;
    double each = progress->requests ? progress->cost_usd / (double)progress->requests : 0;
    return each * (run->in_flight + 1);
}

const char *warm_budget(struct warm_run *run)
{
    struct dj_warm *warm = run->warm;
    const struct dj_warm_options *options = &warm->options;
    const char *reason = NULL;
    if (run->progress.requests + run->in_flight >= run->order.requests_max)
        return "the run's budget of requests is used";
    if (run->order.usd_max > 0 && run->progress.cost_usd + foreseen(run) > run->order.usd_max)
        return "the run's budget of money is used";
    pthread_mutex_lock(&warm->lock);
    struct warm_tenant *tenant = warm_tenant_of(warm, run->order.tenant);
    if (tenant)
        warm_enter_day(tenant, dj_loop_now_ms(run->loop));
    if (!tenant)
        reason = "out of memory";
    else if (options->day_requests &&
             tenant->day_requests + run->in_flight >= options->day_requests)
        reason = "the tenant's requests for today are used";
    else if (options->day_usd > 0 && tenant->day_usd + foreseen(run) > options->day_usd)
        reason = "the tenant's money for today is used";
    pthread_mutex_unlock(&warm->lock);
    return reason;
}

void warm_spent(struct warm_run *run, double cost_usd)
{
    struct dj_warm *warm = run->warm;
    run->progress.requests++;
    run->progress.cost_usd += cost_usd;
    pthread_mutex_lock(&warm->lock);
    struct warm_tenant *tenant = warm_tenant_of(warm, run->order.tenant);
    if (tenant) {
        warm_enter_day(tenant, dj_loop_now_ms(run->loop));
        tenant->day_requests++;
        tenant->day_usd += cost_usd;
    }
    pthread_mutex_unlock(&warm->lock);
}

/* ---- runs ---- */

void warm_tell(struct warm_run *run)
{
    struct dj_warm *warm = run->warm;
    pthread_mutex_lock(&warm->lock);
    struct warm_tenant *tenant = warm_tenant_of(warm, run->order.tenant);
    if (tenant && !run->order.is_dry_run) {
        tenant->progress = run->progress;
        if (run->order.sources & DJ_WARM_PREDICT && run->clusters)
            tenant->clusters = run->clusters;
    }
    pthread_mutex_unlock(&warm->lock);
}

void warm_ended(struct warm_run *run)
{
    struct dj_warm *warm = run->warm;
    warm_tell(run);
    pthread_mutex_lock(&warm->lock);
    struct warm_tenant *tenant = warm_tenant_of(warm, run->order.tenant);
    if (tenant && tenant->run == run)
        tenant->run = NULL;
    warm->running--;
    pthread_mutex_unlock(&warm->lock);
}

/* Copies what an order points to. False: no memory. */
static bool copy_order(struct warm_run *run, const struct dj_warm_order *order)
{
    struct dj_arena *arena = &run->arena;
    run->order = *order;
    run->order.given = NULL;
    struct deja_slice *patterns =
        dj_arena_alloc(arena, (order->pattern_count + 1) * sizeof *patterns);
    for (size_t i = 0; patterns && i < order->pattern_count; i++) {
        patterns[i] = dj_arena_copy(arena, order->patterns[i]);
        if (!patterns[i].data)
            return false;
    }
    run->order.patterns = patterns;
    if (order->credential.value.len) {
        run->order.credential.name = dj_arena_copy(arena, order->credential.name);
        run->order.credential.value = dj_arena_copy(arena, order->credential.value);
        if (!run->order.credential.name.data || !run->order.credential.value.data)
            return false;
    }
    for (size_t i = 0; i < order->given_count; i++) {
        const struct warm_item item = {.source = DJ_WARM_GIVEN};
        if (!warm_add(run, &item, order->given[i]))
            return false;
    }
    return patterns != NULL;
}

static struct warm_run *make_run(struct dj_warm *warm, struct dj_loop *loop,
                                 const struct dj_warm_order *order)
{
    const struct dj_warm_options *options = &warm->options;
    struct warm_run *run = dj_alloc_zeroed(1, sizeof *run);
    if (!run)
        return NULL;
    run->warm = warm;
    run->loop = loop;
    run->batch_left = options->batch;
    dj_arena_init(&run->arena, 1u << 20);
    dj_random_bytes(run->token, sizeof run->token);
    if (!copy_order(run, order)) {
        warm_run_destroy(run);
        return NULL;
    }
    if (!run->order.requests_max)
        run->order.requests_max = options->run_requests ? options->run_requests : ORDER_REQUESTS;
    if (run->order.requests_max > DJ_WARM_ITEMS_MAX)
        run->order.requests_max = DJ_WARM_ITEMS_MAX;
    if (!(run->order.usd_max > 0))
        run->order.usd_max = options->run_usd;
    if (!run->order.limit)
        run->order.limit = options->limit;
    if (!(run->order.threshold > 0))
        run->order.threshold = options->threshold;
    run->progress.status = "listing";
    run->progress.sources = order->sources;
    run->progress.started_ms = dj_loop_now_ms(loop);
    return run;
}

static bool refuse(struct dj_warm_refusal *refusal, int status, const char *type,
                   const char *detail)
{
    *refusal = (struct dj_warm_refusal){status, type, detail};
    return false;
}

/* Takes the tenant's place for run; false: refused. */
static bool enter(struct dj_warm *warm, struct warm_run *run, struct dj_warm_refusal *refusal)
{
    bool is_in = false;
    pthread_mutex_lock(&warm->lock);
    struct warm_tenant *tenant = warm_tenant_of(warm, run->order.tenant);
    if (!tenant)
        refuse(refusal, 503, "cache_unavailable", "too many tenants are known here, or no memory");
    else if (warm->is_stopping)
        refuse(refusal, 503, "cache_unavailable", "the daemon is about to end");
    else if (tenant->run && !run->order.is_dry_run)
        refuse(refusal, 409, "warm_in_progress",
               "a run of this tenant goes on: look at it with GET, or end it with DELETE");
    else if (warm->running >= DJ_WARM_RUNS_MAX)
        refuse(refusal, 429, "overloaded", "too many runs go on at the same time: try again later");
    else
        is_in = true;
    if (is_in) {
        run->progress.id = ++warm->last_id;
        warm->running++;
        if (!run->order.is_dry_run) {
            tenant->run = run;
            tenant->skipped = NULL;
        }
    }
    pthread_mutex_unlock(&warm->lock);
    return is_in;
}

static enum deja_status start(struct dj_warm *warm, struct warm_run *run,
                              struct dj_warm_refusal *out_refusal)
{
    if (!enter(warm, run, out_refusal)) {
        warm_run_destroy(run);
        return DEJA_ERR_BUSY;
    }
    warm_tell(run);
    warm_begin(run);
    return DEJA_OK;
}

static bool is_possible(struct dj_warm *warm, const struct dj_warm_order *order,
                        struct dj_warm_refusal *refusal)
{
    unsigned habits = DJ_WARM_TOP | DJ_WARM_EXPIRING | DJ_WARM_PREDICT;
    const char *objection = warm_objection(warm, order);
    if (!order->sources)
        return refuse(refusal, 400, "nothing_to_warm", "say what: requests, keys, or sources");
    if ((order->sources & habits) && !dj_asked_is_learning(warm->asked))
        return refuse(refusal, 409, "habits_unknown",
                      "what was asked is not remembered here: set warmup.predict.enabled, or "
                      "warmup.sources with top or expiring, and start again");
    if ((order->sources & DJ_WARM_FILE) && !warm->options.file)
        return refuse(refusal, 409, "no_file", "there is no file: set warmup.file");
    if ((order->sources & DJ_WARM_FILE) && !is_local(warm, order->tenant))
        return refuse(refusal, 409, "no_file",
                      "warmup.file is the local tenant's: order its lines as requests");
    if ((order->sources & DJ_WARM_KEYS) && !order->pattern_count && !warm->options.pattern_count)
        return refuse(refusal, 400, "nothing_to_warm",
                      "keys needs patterns: name them, or set warmup.keys");
    if (objection && !order->is_dry_run && (order->sources & ~(unsigned)DJ_WARM_KEYS))
        return refuse(refusal, 409, "no_upstream_credential", objection);
    return true;
}

enum deja_status dj_warm_start(struct dj_warm *warm, struct dj_loop *loop,
                               const struct dj_warm_order *order, void *ctx,
                               dj_warm_listed_fn *listed, uint64_t *out_id,
                               struct dj_warm_refusal *out_refusal)
{
    if (!is_possible(warm, order, out_refusal))
        return DEJA_ERR_INVALID;
    struct warm_run *run = make_run(warm, loop, order);
    if (!run) {
        refuse(out_refusal, 503, "cache_unavailable", "out of memory");
        return DEJA_ERR_NOMEM;
    }
    if (order->is_dry_run) {
        run->ctx = ctx;
        run->listed = listed;
    }
    enum deja_status status = start(warm, run, out_refusal);
    if (status == DEJA_OK)
        *out_id = run->progress.id; /* it begins by task, so it is still there */
    return status;
}

bool dj_warm_cancel(struct dj_warm *warm, const uint8_t tenant[DJ_ID_BYTES])
{
    pthread_mutex_lock(&warm->lock);
    const struct warm_tenant *found = dj_map_find(warm->tenants, deja_slice(tenant, DJ_ID_BYTES));
    bool is_there = found && found->run;
    if (is_there)
        atomic_store(&found->run->is_cancelled, true);
    pthread_mutex_unlock(&warm->lock);
    return is_there;
}

uint32_t dj_warm_running(struct dj_warm *warm)
{
    if (!warm)
        return 0;
    pthread_mutex_lock(&warm->lock);
    uint32_t running = warm->running;
    pthread_mutex_unlock(&warm->lock);
    return running;
}

void dj_warm_stop(struct dj_warm *warm)
{
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    if (!warm)
        return;
    pthread_mutex_lock(&warm->lock);
    warm->is_stopping = true;
    while (dj_map_next(warm->tenants, &cursor, &key, &value)) {
        const struct warm_tenant *tenant = value;
        if (tenant->run)
            atomic_store(&tenant->run->is_cancelled, true);
    }
    pthread_mutex_unlock(&warm->lock);
    warm_keep_tick(warm, dj_loop_now_ms(warm->options.loop), true);
}

void dj_warm_forget(struct dj_warm *warm, const uint8_t tenant[DJ_ID_BYTES])
{
    if (warm)
        dj_asked_forget(warm->asked, tenant);
}

/* ---- the schedule ---- */

/* Whose turn it is: everybody who asked for something lately, or the local tenant alone where only
 * a file or keys are warmed. */
static void collect_due(struct dj_warm *warm, unsigned sources, int64_t due_ms)
{
    warm->due_sources = sources;
    warm->due_at = 0;
    warm->due_ms = due_ms;
    warm->due_count = 0;
    if (sources & (DJ_WARM_FILE | DJ_WARM_KEYS))
        memcpy(warm->due[warm->due_count++], warm->local, DJ_ID_BYTES);
    if (!dj_asked_is_learning(warm->asked))
        return;
    size_t room = DJ_ASKED_TENANTS_MAX - warm->due_count;
    size_t first = warm->due_count;
    size_t count = dj_asked_tenants(warm->asked, false, warm->due + first, room);
    for (size_t i = 0; i < count; i++)
        if (first == 0 || !is_local(warm, warm->due[first + i]))
            memmove(warm->due[warm->due_count++], warm->due[first + i], DJ_ID_BYTES);
}

static void note_skipped(struct dj_warm *warm, const uint8_t *id, const char *why)
{
    pthread_mutex_lock(&warm->lock);
    struct warm_tenant *tenant = warm_tenant_of(warm, id);
    if (tenant)
        tenant->skipped = why;
    pthread_mutex_unlock(&warm->lock);
}

static void start_due(struct dj_warm *warm)
{
    const uint8_t *id = warm->due[warm->due_at++];
    struct dj_warm_order order = {.sources = warm->due_sources};
    struct dj_warm_refusal refusal = {.detail = NULL};
    memcpy(order.tenant, id, sizeof order.tenant);
    if (!is_local(warm, id)) /* the operator's file is for whom nobody configured */
        order.sources &= ~(unsigned)(DJ_WARM_FILE | DJ_WARM_KEYS);
    if (!order.sources)
        return;
    if (!is_possible(warm, &order, &refusal)) {
        note_skipped(warm, id, refusal.detail);
        return;
    }
    struct warm_run *run = make_run(warm, warm->options.loop, &order);
    if (!run)
        return;
    run->is_scheduled = run->progress.is_scheduled = true;
    run->due_ms = warm->due_ms;
    if (start(warm, run, &refusal) != DEJA_OK)
        note_skipped(warm, id, refusal.detail);
}

/* Predictions for the next hour, once an hour, lead_ms before it begins. */
static void look_ahead(struct dj_warm *warm, int64_t now_ms)
{
    int64_t hour = dj_predict_hour_of(now_ms + (int64_t)warm->options.lead_ms);
    if (!warm->options.is_predicting || !warm->options.run_requests ||
        warm->predicted_hour == hour || !warm_keep_is_ready(warm))
        return;
    bool is_first = warm->predicted_hour == 0;
    if (warm->due_at < warm->due_count)
        return;
    warm->predicted_hour = hour;
    if (hour == dj_predict_hour_of(now_ms) && !is_first)
        return; /* it runs already: too late, but for the hour of the start */
    collect_due(warm, DJ_WARM_PREDICT, hour * HOUR_MS);
}

static void look_at_schedule(struct dj_warm *warm, int64_t now_ms)
{
    const struct dj_warm_options *options = &warm->options;
    if (!options->is_enabled || !options->sources || !options->run_requests)
        return;
    if (!warm->next_ms)
        warm->next_ms = dj_cron_next(&options->cron, now_ms);
    if (now_ms < warm->next_ms || warm->due_at < warm->due_count)
        return;
    collect_due(warm, options->sources & ~(unsigned)DJ_WARM_PREDICT, warm->next_ms);
    warm->next_ms = dj_cron_next(&options->cron, now_ms);
}

void dj_warm_tick(struct dj_warm *warm)
{
    if (!warm)
        return;
    int64_t now_ms = dj_loop_now_ms(warm->options.loop);
    pthread_mutex_lock(&warm->lock);
    bool is_free = !warm->is_stopping && warm->running < DJ_WARM_RUNS_MAX / 2;
    pthread_mutex_unlock(&warm->lock);
    warm_keep_tick(warm, now_ms, false);
    if (!is_free)
        return;
    look_at_schedule(warm, now_ms);
    look_ahead(warm, now_ms);
    if (warm->due_at < warm->due_count)
        start_due(warm);
}
