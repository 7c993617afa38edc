/* daemon/schedules.c - see schedules.h.
 *
 * (1) The document with the authority is the schedule; the list here is a copy of all documents,
 *     changed only after the authority has been, or when it tells.
 * (2) A schedule that runs belongs to its run: changes told meanwhile wait for its end (the run
 *     writes or removes the document anyway, and then reads nothing of the old one).
 * (3) A claim is a document of its own, named by schedule, time and try; put as new, so one program
 *     has it. It is removed with the run's end.
 */
#include "daemon/schedules.h"

#include <pthread.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/date.h"
#include "base/list.h"
#include "base/num.h"
#include "policy/cron.h"

#define TABLE "schedules"
#define CLAIMS "schedule_claims"
#define CLAIM_MS 60000
#define TRIES_MAX 8u
#define RUNNING_MAX 4u
#define RETRY_MS 5000
#define DOCUMENT_BYTES_MAX (48u << 10)
#define KEY_BYTES (2 * DJ_SCHEDULE_ID_BYTES)

struct schedule {
    struct dj_list node;
    uint8_t id[DJ_SCHEDULE_ID_BYTES];
    uint8_t tenant[DJ_TENANT_BYTES];
    char *document; /* owned, terminated JSON */
    size_t document_len;
    int64_t next_ms;
    int64_t retry_ms; /* not before; 0: at once */
    bool is_running;
    bool is_gone; /* removed while it ran */
};

struct dj_schedules {
    struct dj_schedules_options options;
    struct dj_schedule_service service;
    pthread_mutex_t lock; /* of what follows */
    struct dj_list list;
    uint32_t count;
    uint32_t running; /* runs, adds and removals under way */
    uint32_t runs;
    bool is_stopping;
};

static void destroy(struct schedule *schedule)
{
    if (!schedule)
        return;
    dj_free(schedule->document);
    dj_free(schedule);
}

static struct deja_slice key_of(const uint8_t id[DJ_SCHEDULE_ID_BYTES], char hex[KEY_BYTES + 1])
{
    dj_hex_encode(id, DJ_SCHEDULE_ID_BYTES, hex);
    return deja_slice(hex, KEY_BYTES);
}

/* ---- documents ---- */

/* What a document says beside its invalidation. */
struct facts {
    uint8_t id[DJ_SCHEDULE_ID_BYTES];
    uint8_t tenant[DJ_TENANT_BYTES];
    struct deja_slice cron; /* empty: once */
    struct deja_slice by;
    int64_t created_ms;
    int64_t next_ms;
    int64_t last_ms; /* 0: never ran */
    int64_t runs;
    int64_t last_removed;
    struct deja_slice last_error;
};

static void put_time(struct dj_json_writer *w, const char *name, int64_t ms)
{
    char text[DJ_DATE_RFC3339_BYTES];
    if (ms)
        dj_date_rfc3339(ms, text);
    dj_json_member_text(w, name, ms ? text : NULL);
}

static void put_slice(struct dj_json_writer *w, const char *name, struct deja_slice text)
{
    dj_json_key(w, name);
    if (text.len)
        dj_json_put_string(w, text);
    else
        dj_json_put_null(w);
}

/* invalidate: its JSON. is_kept: with what only we read. */
static void write_document(struct dj_json_writer *w, const struct facts *facts,
                           struct deja_slice invalidate, bool is_kept)
{
    char id[KEY_BYTES + 1];
    key_of(facts->id, id);
    dj_json_begin_object(w);
    dj_json_member_text(w, "id", id);
    if (is_kept) {
        char tenant[DJ_TENANT_TEXT_BYTES];
        dj_tenant_text(facts->tenant, tenant);
        dj_json_member_text(w, "tenant", tenant);
        dj_json_member_u64(w, "next_ms", (uint64_t)facts->next_ms);
        dj_json_member_u64(w, "created_ms", (uint64_t)facts->created_ms);
        dj_json_member_u64(w, "last_ms", (uint64_t)facts->last_ms);
    } else {
        put_time(w, "next_at", facts->next_ms);
        put_time(w, "created_at", facts->created_ms);
        put_time(w, "last_run_at", facts->last_ms);
    }
    put_slice(w, "cron", facts->cron);
    put_slice(w, "by", facts->by);
    dj_json_member_u64(w, "runs", (uint64_t)facts->runs);
    dj_json_member_u64(w, "last_removed", (uint64_t)facts->last_removed);
    put_slice(w, "last_error", facts->last_error);
    dj_json_key(w, "invalidate");
    dj_json_put_raw(w, invalidate);
    dj_json_end_object(w);
}

/* Slices are borrowed from doc. */
static enum deja_status read_facts(const struct dj_json *root, struct facts *out_facts)
{
    struct facts facts = {
        .cron = dj_json_string(dj_json_get(root, "cron")),
        .by = dj_json_string(dj_json_get(root, "by")),
        .created_ms = dj_json_i64(dj_json_get(root, "created_ms"), 0),
        .next_ms = dj_json_i64(dj_json_get(root, "next_ms"), -1),
        .last_ms = dj_json_i64(dj_json_get(root, "last_ms"), 0),
        .runs = dj_json_i64(dj_json_get(root, "runs"), 0),
        .last_removed = dj_json_i64(dj_json_get(root, "last_removed"), 0),
        .last_error = dj_json_string(dj_json_get(root, "last_error")),
    };
    if (dj_hex_decode(dj_json_string(dj_json_get(root, "id")), facts.id, sizeof facts.id) !=
            DEJA_OK ||
        dj_tenant_parse(dj_json_string(dj_json_get(root, "tenant")), facts.tenant) != DEJA_OK ||
        facts.next_ms < 0)
        return DEJA_ERR_INVALID;
    *out_facts = facts;
    return DEJA_OK;
}

static enum deja_status make(struct deja_slice document, struct schedule **out_schedule)
{
    struct dj_json_doc *doc = NULL;
    struct facts facts;
    enum deja_status status = dj_json_parse(document, &doc, NULL);
    if (status == DEJA_OK)
        status = read_facts(dj_json_root(doc), &facts);
    struct schedule *made = status == DEJA_OK ? dj_alloc_zeroed(1, sizeof *made) : NULL;
    if (status == DEJA_OK && made) {
        dj_list_init(&made->node);
        memcpy(made->id, facts.id, sizeof made->id);
        memcpy(made->tenant, facts.tenant, sizeof made->tenant);
        made->next_ms = facts.next_ms;
        made->document = dj_strdup(document);
        made->document_len = document.len;
    }
    dj_json_doc_destroy(doc);
    if (status == DEJA_OK && (!made || !made->document)) {
        destroy(made);
        return DEJA_ERR_NOMEM;
    }
    if (status == DEJA_OK)
        *out_schedule = made;
    return status;
}

/* ---- the list; under the lock ---- */

static struct schedule *find(struct dj_schedules *schedules, const uint8_t id[DJ_SCHEDULE_ID_BYTES])
{
    for (struct dj_list *at = schedules->list.next; at != &schedules->list; at = at->next) {
        struct schedule *schedule = DJ_CONTAINER(at, struct schedule, node);
        if (memcmp(schedule->id, id, DJ_SCHEDULE_ID_BYTES) == 0)
            return schedule;
    }
    return NULL;
}

static void drop(struct dj_schedules *schedules, struct schedule *schedule)
{
    dj_list_remove(&schedule->node);
    schedules->count--;
    destroy(schedule);
}

/* Soonest first; takes made. Replaces what has its id, unless that runs (2). */
static void insert(struct dj_schedules *schedules, struct schedule *made)
{
    struct schedule *old = find(schedules, made->id);
    if (old && old->is_running) {
        destroy(made);
        return;
    }
    if (old)
        drop(schedules, old);
    if (schedules->count >= DJ_SCHEDULES_MAX) {
        destroy(made); /* kept with the authority; this program does not run it */
        return;
    }
    struct dj_list *at = schedules->list.next;
    while (at != &schedules->list &&
           DJ_CONTAINER(at, struct schedule, node)->next_ms <= made->next_ms)
        at = at->next;
    dj_list_insert_before(at, &made->node);
    schedules->count++;
}

void dj_schedules_on_change(void *ctx, const char *table, struct deja_slice key,
                            struct deja_slice value)
{
    struct dj_schedules *schedules = ctx;
    struct schedule *made = NULL;
    uint8_t id[DJ_SCHEDULE_ID_BYTES];
    if (strcmp(table, TABLE) != 0 || dj_hex_decode(key, id, sizeof id) != DEJA_OK)
        return;
    if (value.data && make(value, &made) != DEJA_OK)
        return; /* of a later version, or no memory: the program that has it runs it */
    pthread_mutex_lock(&schedules->lock);
    struct schedule *old = find(schedules, id);
    if (made)
        insert(schedules, made);
    else if (old && old->is_running)
        old->is_gone = true;
    else if (old)
        drop(schedules, old);
    pthread_mutex_unlock(&schedules->lock);
}

/* ---- a run ---- */

struct run {
    struct dj_schedules *schedules;
    struct dj_job job;
    struct schedule *schedule; /* is_running keeps it */
    struct dj_json_doc *doc;
    struct dj_arena arena;
    struct facts facts;
    struct dj_invalidation invalidation;
    uint32_t tries; /* claims of others that were met */
    bool is_claimed;
    enum deja_status status;
    uint64_t removed;
    struct dj_buf document; /* the next one; empty: it is over */
};

/* On loop 0. */
static void end_run(void *ctx)
{
    struct run *run = ctx;
    struct dj_schedules *schedules = run->schedules;
    struct schedule *schedule = run->schedule;
    struct schedule *made = NULL;
    bool is_over = run->is_claimed && run->status == DEJA_OK && !run->document.len;
    if (run->document.len && run->document.status == DEJA_OK &&
        make(dj_buf_slice(&run->document), &made) != DEJA_OK)
        made = NULL;
    pthread_mutex_lock(&schedules->lock);
    bool is_gone = schedule->is_gone;
    schedule->is_running = false;
    schedule->retry_ms = dj_clock_now_ms() + RETRY_MS;
    if (is_over || is_gone)
        drop(schedules, schedule);
    if (made && is_gone)
        destroy(made);
    else if (made)
        insert(schedules, made);
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
    char hex[KEY_BYTES + 1];
    key_of(run->facts.id, hex);
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

/* Worker. The first claim that is ours; or another's that is fresh: false (3). */
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
    char id[KEY_BYTES + 1];
    if (!audit)
        return;
    key_of(run->facts.id, id);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "schedule", id);
    dj_json_member_text(&w, "kind", run->invalidation.kind);
    dj_json_member_u64(&w, "removed", run->removed);
    put_slice(&w, "reason", run->invalidation.reason);
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
    char id[KEY_BYTES + 1];
    if (!log || !dj_log_is_on(log, level))
        return;
    dj_tenant_text(run->facts.tenant, tenant);
    key_of(run->facts.id, id);
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

/* Worker: what comes next is durable before anything forgets that it ran. */
static void keep_outcome(void *ctx)
{
    struct run *run = ctx;
    const struct dj_authority *authority = run->schedules->options.authority;
    struct facts facts = run->facts;
    struct dj_cron cron;
    char key[KEY_BYTES + 1];
    int64_t now_ms = dj_clock_now_ms();
    bool is_again = facts.cron.len && dj_cron_read(facts.cron, &cron, NULL) == DEJA_OK;
    if (!is_again && run->status != DEJA_OK)
        return; /* tried again in a while, under another claim */
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
        write_document(&w, &facts, dj_buf_slice(&invalidate), true);
        run->status = invalidate.status != DEJA_OK ? invalidate.status : run->document.status;
        dj_buf_fini(&invalidate);
        if (run->status == DEJA_OK)
            run->status = authority->put(authority->ctx, TABLE, key_of(facts.id, key),
                                         dj_buf_slice(&run->document), false);
    } else {
        run->status = authority->remove(authority->ctx, TABLE, key_of(facts.id, key));
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

static void claim(void *ctx)
{
    struct run *run = ctx;
    run->is_claimed = take_claim(run);
}

/* The document in memory is read again: what is run is what is kept. */
static enum deja_status begin(struct dj_schedules *schedules, struct schedule *schedule)
{
    struct run *run = dj_alloc_zeroed(1, sizeof *run);
    if (!run)
        return DEJA_ERR_NOMEM;
    *run = (struct run){.schedules = schedules, .schedule = schedule};
    dj_arena_init(&run->arena, 1u << 20);
    enum deja_status status =
        dj_json_parse(deja_slice(schedule->document, schedule->document_len), &run->doc, NULL);
    if (status == DEJA_OK)
        status = read_facts(dj_json_root(run->doc), &run->facts);
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

static struct schedule *next_due(struct dj_schedules *schedules, int64_t now_ms)
{
    struct schedule *due = NULL;
    if (schedules->is_stopping || schedules->runs >= RUNNING_MAX)
        return NULL;
    for (struct dj_list *at = schedules->list.next; at != &schedules->list && !due; at = at->next) {
        struct schedule *schedule = DJ_CONTAINER(at, struct schedule, node);
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
    struct schedule *due = NULL;
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

/* ---- service ---- */

struct change {
    struct dj_schedules *schedules;
    struct dj_job job;
    uint8_t id[DJ_SCHEDULE_ID_BYTES];
    struct dj_buf document;
    enum deja_status status;
    void *told_ctx;
    dj_schedule_told_fn *told;
};

static void change_destroy(struct change *change)
{
    dj_buf_fini(&change->document);
    dj_free(change);
}

static void on_changed(void *ctx)
{
    struct change *change = ctx;
    struct dj_schedules *schedules = change->schedules;
    char key[KEY_BYTES + 1];
    if (change->status == DEJA_OK) /* before the authority tells it, which it also does */
        dj_schedules_on_change(schedules, TABLE, key_of(change->id, key),
                               change->document.len ? dj_buf_slice(&change->document)
                                                    : deja_slice(NULL, 0));
    change->told(change->told_ctx, change->status, change->id);
    pthread_mutex_lock(&schedules->lock);
    schedules->running--;
    pthread_mutex_unlock(&schedules->lock);
    change_destroy(change);
}

static void put_change(void *ctx)
{
    struct change *change = ctx;
    const struct dj_authority *authority = change->schedules->options.authority;
    char key[KEY_BYTES + 1];
    change->status = authority->put(authority->ctx, TABLE, key_of(change->id, key),
                                    dj_buf_slice(&change->document), true);
}

static void remove_change(void *ctx)
{
    struct change *change = ctx;
    const struct dj_authority *authority = change->schedules->options.authority;
    char key[KEY_BYTES + 1];
    change->status = authority->remove(authority->ctx, TABLE, key_of(change->id, key));
}

static enum deja_status submit(struct change *change, struct dj_loop *loop, void (*work)(void *ctx))
{
    struct dj_schedules *schedules = change->schedules;
    change->job = (struct dj_job){.work = work, .done = on_changed, .ctx = change, .loop = loop};
    pthread_mutex_lock(&schedules->lock);
    enum deja_status status = schedules->is_stopping ? DEJA_ERR_BUSY : DEJA_OK;
    schedules->running += status == DEJA_OK;
    pthread_mutex_unlock(&schedules->lock);
    if (status != DEJA_OK)
        return status;
    status = dj_pool_submit(schedules->options.pool, &change->job);
    if (status != DEJA_OK) {
        pthread_mutex_lock(&schedules->lock);
        schedules->running--;
        pthread_mutex_unlock(&schedules->lock);
    }
    return status;
}

static size_t count_of(struct dj_schedules *schedules, const uint8_t tenant[DJ_TENANT_BYTES])
{
    size_t count = 0;
    for (struct dj_list *at = schedules->list.next; at != &schedules->list; at = at->next)
        count +=
            memcmp(DJ_CONTAINER(at, struct schedule, node)->tenant, tenant, DJ_TENANT_BYTES) == 0;
    return count;
}

static enum deja_status add(void *ctx, struct dj_loop *loop, const struct dj_schedule_order *order,
                            void *told_ctx, dj_schedule_told_fn *told)
{
    struct dj_schedules *schedules = ctx;
    pthread_mutex_lock(&schedules->lock);
    bool has_room = schedules->count < DJ_SCHEDULES_MAX &&
                    count_of(schedules, order->tenant) < DJ_SCHEDULES_TENANT_MAX;
    pthread_mutex_unlock(&schedules->lock);
    if (!has_room)
        return DEJA_ERR_LIMIT;
    struct change *change = dj_alloc_zeroed(1, sizeof *change);
    if (!change)
        return DEJA_ERR_NOMEM;
    *change = (struct change){.schedules = schedules, .told_ctx = told_ctx, .told = told};
    dj_random_bytes(change->id, sizeof change->id);
    struct facts facts = {.cron = order->cron,
                          .by = deja_slice_text(order->by),
                          .created_ms = dj_loop_now_ms(loop),
                          .next_ms = order->at_ms};
    memcpy(facts.id, change->id, sizeof facts.id);
    memcpy(facts.tenant, order->tenant, sizeof facts.tenant);
    struct dj_buf invalidate = {0};
    struct dj_json_writer inner = dj_json_writer(&invalidate);
    dj_buf_init(&change->document, DOCUMENT_BYTES_MAX);
    struct dj_json_writer w = dj_json_writer(&change->document);
    dj_invalidation_write(&inner, order->invalidation);
    write_document(&w, &facts, dj_buf_slice(&invalidate), true);
    enum deja_status status =
        invalidate.status != DEJA_OK ? invalidate.status : change->document.status;
    dj_buf_fini(&invalidate);
    if (status == DEJA_OK)
        status = submit(change, loop, put_change);
    if (status != DEJA_OK)
        change_destroy(change);
    return status;
}

static enum deja_status remove_one(void *ctx, struct dj_loop *loop,
                                   const uint8_t tenant[DJ_TENANT_BYTES],
                                   const uint8_t id[DJ_SCHEDULE_ID_BYTES], void *told_ctx,
                                   dj_schedule_told_fn *told)
{
    struct dj_schedules *schedules = ctx;
    pthread_mutex_lock(&schedules->lock);
    const struct schedule *known = find(schedules, id);
    bool is_own = known && memcmp(known->tenant, tenant, DJ_TENANT_BYTES) == 0;
    pthread_mutex_unlock(&schedules->lock);
    if (!is_own)
        return DEJA_ERR_NOT_FOUND;
    struct change *change = dj_alloc_zeroed(1, sizeof *change);
    if (!change)
        return DEJA_ERR_NOMEM;
    *change = (struct change){.schedules = schedules, .told_ctx = told_ctx, .told = told};
    memcpy(change->id, id, sizeof change->id);
    enum deja_status status = submit(change, loop, remove_change);
    if (status != DEJA_OK)
        change_destroy(change);
    return status;
}

static void list_one(const struct schedule *schedule, struct dj_json_writer *w)
{
    struct dj_json_doc *doc = NULL;
    struct facts facts;
    struct dj_buf invalidate = {0};
    struct dj_json_writer inner = dj_json_writer(&invalidate);
    if (dj_json_parse(deja_slice(schedule->document, schedule->document_len), &doc, NULL) ==
            DEJA_OK &&
        read_facts(dj_json_root(doc), &facts) == DEJA_OK) {
        dj_json_put_value(&inner, dj_json_get(dj_json_root(doc), "invalidate"));
        write_document(w, &facts, dj_buf_slice(&invalidate), false);
    }
    dj_buf_fini(&invalidate);
    dj_json_doc_destroy(doc);
}

static size_t list(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES], const uint8_t *id,
                   struct dj_json_writer *w)
{
    struct dj_schedules *schedules = ctx;
    size_t count = 0;
    pthread_mutex_lock(&schedules->lock);
    for (struct dj_list *at = schedules->list.next; at != &schedules->list; at = at->next) {
        const struct schedule *schedule = DJ_CONTAINER(at, struct schedule, node);
        if (memcmp(schedule->tenant, tenant, DJ_TENANT_BYTES) != 0 ||
            (id && memcmp(schedule->id, id, DJ_SCHEDULE_ID_BYTES) != 0))
            continue;
        list_one(schedule, w);
        count++;
    }
    pthread_mutex_unlock(&schedules->lock);
    return count;
}

/* ---- life ---- */

static bool on_kept(void *ctx, struct deja_slice key, struct deja_slice value)
{
    dj_schedules_on_change(ctx, TABLE, key, value);
    return true;
}

enum deja_status dj_schedules_create(const struct dj_schedules_options *options,
                                     struct dj_schedules **out_schedules)
{
    const struct dj_authority *authority = options->authority;
    struct dj_schedules *schedules = dj_alloc_zeroed(1, sizeof *schedules);
    if (!schedules)
        return DEJA_ERR_NOMEM;
    if (pthread_mutex_init(&schedules->lock, NULL) != 0) {
        dj_free(schedules);
        return DEJA_ERR_NOMEM;
    }
    schedules->options = *options;
    dj_list_init(&schedules->list);
    schedules->service = (struct dj_schedule_service){
        .ctx = schedules, .add = add, .remove = remove_one, .list = list};
    /* Where the authority is away the start is not: all of it is told when it is back. */
    if (authority->walk(authority->ctx, TABLE, schedules, on_kept) == DEJA_ERR_NOMEM) {
        dj_schedules_destroy(schedules);
        return DEJA_ERR_NOMEM;
    }
    *out_schedules = schedules;
    return DEJA_OK;
}

void dj_schedules_destroy(struct dj_schedules *schedules)
{
    if (!schedules)
        return;
    while (!dj_list_is_empty(&schedules->list))
        drop(schedules, DJ_CONTAINER(schedules->list.next, struct schedule, node));
    pthread_mutex_destroy(&schedules->lock);
    dj_free(schedules);
}

const struct dj_schedule_service *dj_schedules_service(struct dj_schedules *schedules)
{
    return &schedules->service;
}

void dj_schedules_stop(struct dj_schedules *schedules)
{
    if (!schedules)
        return;
    pthread_mutex_lock(&schedules->lock);
    schedules->is_stopping = true;
    pthread_mutex_unlock(&schedules->lock);
}

uint32_t dj_schedules_running(struct dj_schedules *schedules)
{
    if (!schedules)
        return 0;
    pthread_mutex_lock(&schedules->lock);
    uint32_t running = schedules->running;
    pthread_mutex_unlock(&schedules->lock);
    return running;
}
