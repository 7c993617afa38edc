/* daemon/schedules_run.c - a schedule that is due: claimed, run, and what comes next.
 *
 * (1) A schedule that runs belongs to its run: changes told meanwhile wait for its end.
 * (2) A claim is a document of its own, named by schedule, time and try; put as new, so one program
 *     has it. It is removed with the run's end; one that is older than CLAIM_MS is passed over.
 * (3) Who has the claim reads the document again: another program may have run it, changed it and
 *     given the claim back before that was told here.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "daemon/schedules_internal.h"
#include "policy/cron.h"

#define CLAIMS "schedule_claims"
#define CLAIM_MS 60000
#define TRIES_MAX 8u
#define RUNNING_MAX 4u
#define RETRY_MS 5000

struct run {
    struct dj_schedules *schedules;
    struct dj_job job;
    struct dj_schedule *schedule; /* is_running keeps it */
    struct dj_json_doc *doc;
    struct dj_arena arena;
    struct dj_schedule_facts facts;
    struct dj_invalidation invalidation;
    uint32_t tries; /* claims of others that were met */
    bool is_claimed;
    bool is_void; /* another program has run it, or removed it */
    enum deja_status status;
    uint64_t removed;
    struct dj_buf document; /* the next one; empty: it is over */
};

/* On loop 0. */
static void end_run(void *ctx)
{
    struct run *run = ctx;
    struct dj_schedules *schedules = run->schedules;
    struct dj_schedule *schedule = run->schedule;
    struct dj_schedule *made = NULL;
    bool is_over =
        run->is_void || (run->is_claimed && run->status == DEJA_OK && !run->document.len);
    if (run->document.len && run->document.status == DEJA_OK &&
        dj_schedule_make(dj_buf_slice(&run->document), &made) != DEJA_OK)
        made = NULL;
    pthread_mutex_lock(&schedules->lock);
    bool is_gone = schedule->is_gone;
    schedule->is_running = false;
    schedule->retry_ms = dj_clock_now_ms() + RETRY_MS;
    if (is_over || is_gone)
        dj_schedules_drop(schedules, schedule);
    if (made && is_gone)
        dj_schedule_destroy(made);
    else if (made)
        dj_schedules_insert(schedules, made);
    schedules->runs--;
    schedules->running--;
    pthread_mutex_unlock(&schedules->lock);
    dj_json_doc_destroy(run->doc);
    dj_arena_fini(&run->arena);
    dj_buf_fini(&run->document);
    dj_free(run);
}

static struct deja_slice claim_key(const struct run *run, uint32_t try,
                                   char bytes[DJ_AUTHORITY_KEY_BYTES_MAX])
{
    char hex[DJ_SCHEDULE_KEY_BYTES + 1];
    dj_schedule_key(run->facts.id, hex);
    int len = snprintf(bytes, DJ_AUTHORITY_KEY_BYTES_MAX, "%s/%lld/%u", hex,
                       (long long)run->facts.next_ms, try);
    return deja_slice(bytes, len > 0 ? (size_t)len : 0);
}

static void on_claim_read(void *ctx, struct deja_slice value)
{
    int64_t *since_ms = ctx;
    if (dj_num_parse_i64(value, since_ms) != DEJA_OK)
        *since_ms = 0;
}

/* Worker. The first claim that is ours; or another's that is fresh: false (2). */
static bool take_claim(struct run *run)
{
    const struct dj_authority *authority = run->schedules->options.authority;
    int64_t now_ms = dj_clock_now_ms();
    char now[DJ_NUM_U64_DIGITS_MAX];
    size_t now_len = dj_num_write_u64((uint64_t)now_ms, now);
    if (!authority->pull)
        return true; /* nobody else knows of it */
    for (run->tries = 0; run->tries < TRIES_MAX; run->tries++) {
        char bytes[DJ_AUTHORITY_KEY_BYTES_MAX];
        struct deja_slice key = claim_key(run, run->tries, bytes);
        int64_t since_ms = 0;
        enum deja_status status =
            authority->put(authority->ctx, CLAIMS, key, deja_slice(now, now_len), true);
        if (status != DEJA_ERR_BUSY) {
            run->status = status;
            return status == DEJA_OK;
        }
        status = authority->get(authority->ctx, CLAIMS, key, &since_ms, on_claim_read);
        if (status == DEJA_OK && now_ms - since_ms < CLAIM_MS)
            return false;
    }
    return false;
}

static void drop_claims(struct run *run)
{
    const struct dj_authority *authority = run->schedules->options.authority;
    for (uint32_t try = 0; authority->pull && try <= run->tries; try++) {
        char bytes[DJ_AUTHORITY_KEY_BYTES_MAX];
        if (authority->remove(authority->ctx, CLAIMS, claim_key(run, try, bytes)) != DEJA_OK) {
            /* It is of a time that is over: no run looks for it again. */
        }
    }
}

static void audit_run(const struct run *run)
{
    struct dj_audit *audit = run->schedules->options.audit;
    struct dj_buf metadata = {0};
    struct dj_json_writer w = dj_json_writer(&metadata);
    char id[DJ_SCHEDULE_KEY_BYTES + 1];
    if (!audit)
        return;
    dj_schedule_key(run->facts.id, id);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "schedule", id);
    dj_json_member_text(&w, "kind", run->invalidation.kind);
    dj_json_member_u64(&w, "removed", run->removed);
    dj_schedule_put_text(&w, "reason", run->invalidation.reason);
    dj_json_end_object(&w);
    dj_buf_append_byte(&metadata, '\0');
    const struct dj_audit_event event = {
        .type = DJ_AUDIT_CACHE_OPERATION,
        .tenant = run->facts.tenant,
        .operation = "cache.invalidate",
        .resource = id,
        .is_failure = run->status != DEJA_OK,
        .error = run->status == DEJA_OK ? NULL : deja_status_name(run->status),
        .metadata = metadata.status == DEJA_OK ? metadata.data : NULL,
    };
    dj_audit_note(audit, &event, dj_clock_now_ms());
    dj_buf_fini(&metadata);
}

static void log_run(const struct run *run)
{
    struct dj_log *log = run->schedules->options.log;
    enum dj_log_level level = run->status == DEJA_OK ? DJ_LOG_INFO : DJ_LOG_WARN;
    char tenant[DJ_TENANT_TEXT_BYTES];
    char id[DJ_SCHEDULE_KEY_BYTES + 1];
    if (!log || !dj_log_is_on(log, level))
        return;
    dj_tenant_text(run->facts.tenant, tenant);
    dj_schedule_key(run->facts.id, id);
    const struct dj_log_field fields[] = {
        DJ_LOG_TEXT("tenant", tenant),
        DJ_LOG_TEXT("schedule", id),
        DJ_LOG_TEXT("kind", run->invalidation.kind),
        DJ_LOG_I64("removed", (int64_t)run->removed),
        DJ_LOG_SLICE("reason", run->invalidation.reason),
        DJ_LOG_TEXT("error", run->status == DEJA_OK ? "" : deja_status_name(run->status)),
        {.name = NULL},
    };
    dj_log_write(log, level, "scheduled invalidation ran", fields);
}

static bool is_removed(const struct run *run)
{
    struct dj_schedules *schedules = run->schedules;
    pthread_mutex_lock(&schedules->lock);
    bool is = run->schedule->is_gone || run->schedule->is_removing;
    pthread_mutex_unlock(&schedules->lock);
    return is;
}

/* Who removed it while it ran had been told that it is gone: the next time must not bring it back.
 * Asked for after the put: a removal that begins later finds what was put. */
static enum deja_status put_next(struct run *run, struct deja_slice key)
{
    const struct dj_authority *authority = run->schedules->options.authority;
    enum deja_status status = authority->put(authority->ctx, DJ_SCHEDULES_TABLE, key,
                                             dj_buf_slice(&run->document), false);
    if (status != DEJA_OK || !is_removed(run))
        return status;
    dj_buf_clear(&run->document);
    status = authority->remove(authority->ctx, DJ_SCHEDULES_TABLE, key);
    return status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status;
}

/* Worker: what comes next is durable before anything forgets that it ran. */
static void keep_outcome(void *ctx)
{
    struct run *run = ctx;
    const struct dj_authority *authority = run->schedules->options.authority;
    struct dj_schedule_facts facts = run->facts;
    struct dj_cron cron;
    char key[DJ_SCHEDULE_KEY_BYTES + 1];
    int64_t now_ms = dj_clock_now_ms();
    bool is_again = facts.cron.len && dj_cron_read(facts.cron, &cron, NULL) == DEJA_OK;
    if (run->status == DEJA_ERR_CANCELLED || (!is_again && run->status != DEJA_OK))
        return; /* tried again in a while, or by the next process, under another claim */
    if (is_again) {
        struct dj_buf invalidate = {0};
        struct dj_json_writer inner = dj_json_writer(&invalidate);
        struct dj_json_writer w = dj_json_writer(&run->document);
        facts.next_ms = dj_cron_next(&cron, now_ms > facts.next_ms ? now_ms : facts.next_ms);
        facts.last_ms = now_ms;
        facts.runs++;
        facts.last_removed = (int64_t)run->removed;
        facts.last_error = run->status == DEJA_OK ? deja_slice(NULL, 0)
                                                  : deja_slice_text(deja_status_name(run->status));
        dj_invalidation_write(&inner, &run->invalidation);
        dj_schedule_write(&w, &facts, dj_buf_slice(&invalidate), true);
        run->status = invalidate.status != DEJA_OK ? invalidate.status : run->document.status;
        dj_buf_fini(&invalidate);
        if (run->status == DEJA_OK)
            run->status = put_next(run, dj_schedule_key(facts.id, key));
    } else {
        run->status =
            authority->remove(authority->ctx, DJ_SCHEDULES_TABLE, dj_schedule_key(facts.id, key));
        if (run->status == DEJA_ERR_NOT_FOUND)
            run->status = DEJA_OK;
    }
    if (run->status == DEJA_OK)
        drop_claims(run);
    else
        dj_buf_clear(&run->document);
}

static void on_ran(void *ctx, enum deja_status status, uint64_t count,
                   const struct dj_cascade_result *cascade)
{
    struct run *run = ctx;
    (void)cascade;
    run->status = status;
    run->removed = count;
    if (run->schedules->options.telemetry && status == DEJA_OK)
        dj_telemetry_invalidation(run->schedules->options.telemetry, run->facts.tenant,
                                  run->invalidation.kind);
    audit_run(run);
    log_run(run);
    run->job = (struct dj_job){
        .work = keep_outcome, .done = end_run, .ctx = run, .loop = run->schedules->options.loop};
    if (dj_pool_submit(run->schedules->options.pool, &run->job) != DEJA_OK) {
        run->status = DEJA_ERR_BUSY; /* it is run again then */
        end_run(run);
    }
}

static void on_claimed(void *ctx)
{
    struct run *run = ctx;
    const struct dj_schedules_options *options = &run->schedules->options;
    enum deja_status status = DEJA_ERR_BUSY;
    if (run->is_claimed)
        status = dj_invalidation_run(options->engine, options->loop, run->facts.tenant,
                                     &run->invalidation, false, run, on_ran);
    if (status == DEJA_OK)
        return;
    run->status = status;
    end_run(run);
}

static void on_document(void *ctx, struct deja_slice value)
{
    struct run *run = ctx;
    dj_buf_append_slice(&run->document, value);
}

/* Is it still as it is known here? Otherwise it is not run, and what is kept is taken over (3). */
static void check_document(struct run *run)
{
    const struct dj_authority *authority = run->schedules->options.authority;
    struct dj_json_doc *doc = NULL;
    struct dj_schedule_facts facts = {.next_ms = -1};
    char key[DJ_SCHEDULE_KEY_BYTES + 1];
    enum deja_status status = authority->get(authority->ctx, DJ_SCHEDULES_TABLE,
                                             dj_schedule_key(run->facts.id, key), run, on_document);
    run->is_void = status == DEJA_ERR_NOT_FOUND;
    if (status == DEJA_OK)
        status = dj_json_parse(dj_buf_slice(&run->document), &doc, NULL);
    if (status == DEJA_OK)
        status = dj_schedule_read(dj_json_root(doc), &facts);
    dj_json_doc_destroy(doc);
    bool is_same = status == DEJA_OK && facts.next_ms == run->facts.next_ms;
    if (is_same || status != DEJA_OK)
        dj_buf_clear(&run->document);
    run->is_claimed = is_same;
    if (!is_same)
        drop_claims(run);
}

static void claim(void *ctx)
{
    struct run *run = ctx;
    run->is_claimed = take_claim(run);
    if (run->is_claimed && run->schedules->options.authority->pull)
        check_document(run);
}

/* The document in memory is read again: what is run is what is kept. */
static enum deja_status begin(struct dj_schedules *schedules, struct dj_schedule *schedule)
{
    struct run *run = dj_alloc_zeroed(1, sizeof *run);
    if (!run)
        return DEJA_ERR_NOMEM;
    *run = (struct run){.schedules = schedules, .schedule = schedule};
    dj_arena_init(&run->arena, 1u << 20);
    enum deja_status status =
        dj_json_parse(deja_slice(schedule->document, schedule->document_len), &run->doc, NULL);
    if (status == DEJA_OK)
        status = dj_schedule_read(dj_json_root(run->doc), &run->facts);
    if (status == DEJA_OK)
        status = dj_invalidation_read(dj_json_get(dj_json_root(run->doc), "invalidate"),
                                      run->facts.tenant, &run->arena, &run->invalidation);
    run->job = (struct dj_job){
        .work = claim, .done = on_claimed, .ctx = run, .loop = schedules->options.loop};
    if (status == DEJA_OK)
        status = dj_pool_submit(schedules->options.pool, &run->job);
    if (status != DEJA_OK) {
        dj_json_doc_destroy(run->doc);
        dj_arena_fini(&run->arena);
        dj_free(run);
    }
    return status;
}

static struct dj_schedule *next_due(struct dj_schedules *schedules, int64_t now_ms)
{
    struct dj_schedule *due = NULL;
    if (schedules->is_stopping || schedules->runs >= RUNNING_MAX)
        return NULL;
    for (struct dj_list *at = schedules->list.next; at != &schedules->list && !due; at = at->next) {
        struct dj_schedule *schedule = DJ_CONTAINER(at, struct dj_schedule, node);
        if (schedule->next_ms > now_ms)
            break;
        if (!schedule->is_running && schedule->retry_ms <= now_ms)
            due = schedule;
    }
    if (due) {
        due->is_running = true;
        schedules->runs++;
        schedules->running++;
    }
    return due;
}

void dj_schedules_tick(struct dj_schedules *schedules)
{
    int64_t now_ms = dj_clock_now_ms();
    struct dj_schedule *due = NULL;
    if (!schedules)
        return;
    do {
        pthread_mutex_lock(&schedules->lock);
        due = next_due(schedules, now_ms);
        pthread_mutex_unlock(&schedules->lock);
        if (due && begin(schedules, due) != DEJA_OK) {
            pthread_mutex_lock(&schedules->lock);
            due->is_running = false;
            due->retry_ms = now_ms + RETRY_MS;
            schedules->runs--;
            schedules->running--;
            pthread_mutex_unlock(&schedules->lock);
        }
    } while (due);
}
