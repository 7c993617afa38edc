/* daemon/schedules.c - see schedules.h.
 *
 * (1) The document with the authority is the schedule; the list here is a copy of all documents,
 *     changed only after the authority has been, or when it tells.
 * (2) A schedule that runs belongs to its run: changes told meanwhile wait for its end (the run
 *     writes or removes the document anyway, and then reads nothing of the old one).
 * (3) A claim is a document of its own, named by schedule, time and try; put as new, so one program
 *     has it. It is removed with the run's end.
 */
#include "base/alloc.h"
#include "base/list.h"
#include "daemon/schedules_internal.h"

#define DOCUMENT_BYTES_MAX (48u << 10)

/* An addition or a removal under way. */
struct change {
    struct dj_list member; /* of adds, until it is on the list */
    struct dj_schedules *schedules;
    struct dj_job job;
    uint8_t id[DJ_SCHEDULE_ID_BYTES];
    uint8_t tenant[DJ_TENANT_BYTES]; /* of an add */
    struct dj_buf document;
    enum deja_status status;
    void *told_ctx;
    dj_schedule_told_fn *told;
};

/* ---- the list; under the lock ---- */

static struct dj_schedule *find(struct dj_schedules *schedules,
                                const uint8_t id[DJ_SCHEDULE_ID_BYTES])
{
    for (struct dj_list *at = schedules->list.next; at != &schedules->list; at = at->next) {
        struct dj_schedule *schedule = DJ_CONTAINER(at, struct dj_schedule, node);
        if (memcmp(schedule->id, id, DJ_SCHEDULE_ID_BYTES) == 0)
            return schedule;
    }
    return NULL;
}

void dj_schedules_drop(struct dj_schedules *schedules, struct dj_schedule *schedule)
{
    dj_list_remove(&schedule->node);
    schedules->count--;
    dj_schedule_destroy(schedule);
}

/* Soonest first; takes made. Replaces what has its id, unless that runs (2). */
void dj_schedules_insert(struct dj_schedules *schedules, struct dj_schedule *made)
{
    struct dj_schedule *old = find(schedules, made->id);
    if (old && old->is_running) {
        dj_schedule_destroy(made);
        return;
    }
    if (old)
        dj_schedules_drop(schedules, old);
    if (schedules->count >= DJ_SCHEDULES_MAX) {
        dj_schedule_destroy(made); /* kept with the authority; this program does not run it */
        return;
    }
    struct dj_list *at = schedules->list.next;
    while (at != &schedules->list &&
           DJ_CONTAINER(at, struct dj_schedule, node)->next_ms <= made->next_ms)
        at = at->next;
    dj_list_insert_before(at, &made->node);
    schedules->count++;
}

/* One that was added has its place on the list now. */
static void release_place(struct dj_schedules *schedules, const uint8_t id[DJ_SCHEDULE_ID_BYTES])
{
    for (struct dj_list *at = schedules->adds.next; at != &schedules->adds; at = at->next) {
        struct change *change = DJ_CONTAINER(at, struct change, member);
        if (memcmp(change->id, id, sizeof change->id) == 0) {
            dj_list_remove(at);
            return;
        }
    }
}

void dj_schedules_on_change(void *ctx, const char *table, struct deja_slice key,
                            struct deja_slice value)
{
    struct dj_schedules *schedules = ctx;
    struct dj_schedule *made = NULL;
    uint8_t id[DJ_SCHEDULE_ID_BYTES];
    if (strcmp(table, DJ_SCHEDULES_TABLE) != 0 || dj_hex_decode(key, id, sizeof id) != DEJA_OK)
        return;
    if (value.data && dj_schedule_make(value, &made) != DEJA_OK)
        return; /* of a later version, or no memory: the program that has it runs it */
    pthread_mutex_lock(&schedules->lock);
    struct dj_schedule *old = find(schedules, id);
    if (made) {
        release_place(schedules, id);
        dj_schedules_insert(schedules, made);
    } else if (old && old->is_running) {
        old->is_gone = true;
    } else if (old) {
        dj_schedules_drop(schedules, old);
    }
    pthread_mutex_unlock(&schedules->lock);
}

/* ---- service ---- */

static struct change *change_create(struct dj_schedules *schedules, void *told_ctx,
                                    dj_schedule_told_fn *told)
{
    struct change *change = dj_alloc_zeroed(1, sizeof *change);
    if (!change)
        return NULL;
    *change = (struct change){.schedules = schedules, .told_ctx = told_ctx, .told = told};
    dj_list_init(&change->member);
    return change;
}

/* The place of an add that came to nothing is free. */
static void change_destroy(struct change *change)
{
    pthread_mutex_lock(&change->schedules->lock);
    dj_list_remove(&change->member);
    pthread_mutex_unlock(&change->schedules->lock);
    dj_buf_fini(&change->document);
    dj_free(change);
}

/* Its removal came to nothing. */
static void keep_on(struct dj_schedules *schedules, const uint8_t id[DJ_SCHEDULE_ID_BYTES])
{
    pthread_mutex_lock(&schedules->lock);
    struct dj_schedule *kept = find(schedules, id);
    if (kept)
        kept->is_removing = false;
    pthread_mutex_unlock(&schedules->lock);
}

static void on_changed(void *ctx)
{
    struct change *change = ctx;
    struct dj_schedules *schedules = change->schedules;
    char key[DJ_SCHEDULE_KEY_BYTES + 1];
    if (change->status == DEJA_OK) /* before the authority tells it, which it also does */
        dj_schedules_on_change(schedules, DJ_SCHEDULES_TABLE, dj_schedule_key(change->id, key),
                               change->document.len ? dj_buf_slice(&change->document)
                                                    : deja_slice(NULL, 0));
    change->told(change->told_ctx, change->status, change->id);
    if (change->status != DEJA_OK)
        keep_on(schedules, change->id);
    change_destroy(change);
    pthread_mutex_lock(&schedules->lock);
    schedules->running--;
    pthread_mutex_unlock(&schedules->lock);
}

static void put_change(void *ctx)
{
    struct change *change = ctx;
    const struct dj_authority *authority = change->schedules->options.authority;
    char key[DJ_SCHEDULE_KEY_BYTES + 1];
    change->status =
        authority->put(authority->ctx, DJ_SCHEDULES_TABLE, dj_schedule_key(change->id, key),
                       dj_buf_slice(&change->document), true);
}

static void remove_change(void *ctx)
{
    struct change *change = ctx;
    const struct dj_authority *authority = change->schedules->options.authority;
    char key[DJ_SCHEDULE_KEY_BYTES + 1];
    change->status =
        authority->remove(authority->ctx, DJ_SCHEDULES_TABLE, dj_schedule_key(change->id, key));
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

/* Takes a place before anything is written, so that adds at the same time cannot share one. */
static bool take_place(struct dj_schedules *schedules, struct change *change)
{
    size_t own = 0;
    size_t all = 0;
    pthread_mutex_lock(&schedules->lock);
    for (struct dj_list *at = schedules->list.next; at != &schedules->list; at = at->next, all++)
        own += memcmp(DJ_CONTAINER(at, struct dj_schedule, node)->tenant, change->tenant,
                      DJ_TENANT_BYTES) == 0;
    for (struct dj_list *at = schedules->adds.next; at != &schedules->adds; at = at->next, all++)
        own += memcmp(DJ_CONTAINER(at, struct change, member)->tenant, change->tenant,
                      DJ_TENANT_BYTES) == 0;
    bool has_room = all < DJ_SCHEDULES_MAX && own < DJ_SCHEDULES_TENANT_MAX;
    if (has_room)
        dj_list_push_back(&schedules->adds, &change->member);
    pthread_mutex_unlock(&schedules->lock);
    return has_room;
}

static enum deja_status add(void *ctx, struct dj_loop *loop, const struct dj_schedule_order *order,
                            void *told_ctx, dj_schedule_told_fn *told)
{
    struct change *change = change_create(ctx, told_ctx, told);
    if (!change)
        return DEJA_ERR_NOMEM;
    dj_random_bytes(change->id, sizeof change->id);
    memcpy(change->tenant, order->tenant, sizeof change->tenant);
    if (!take_place(ctx, change)) {
        change_destroy(change);
        return DEJA_ERR_LIMIT;
    }
    struct dj_schedule_facts facts = {.cron = order->cron,
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
    dj_schedule_write(&w, &facts, dj_buf_slice(&invalidate), true);
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
    struct dj_schedule *known = find(schedules, id);
    bool is_own = known && memcmp(known->tenant, tenant, DJ_TENANT_BYTES) == 0;
    struct change *change = is_own ? change_create(schedules, told_ctx, told) : NULL;
    if (change)
        known->is_removing = true; /* before its document goes: a run would put it again */
    pthread_mutex_unlock(&schedules->lock);
    if (!is_own)
        return DEJA_ERR_NOT_FOUND;
    if (!change)
        return DEJA_ERR_NOMEM;
    memcpy(change->id, id, sizeof change->id);
    enum deja_status status = submit(change, loop, remove_change);
    if (status != DEJA_OK) {
        keep_on(schedules, id);
        change_destroy(change);
    }
    return status;
}

static void list_one(const struct dj_schedule *schedule, struct dj_json_writer *w)
{
    struct dj_json_doc *doc = NULL;
    struct dj_schedule_facts facts;
    struct dj_buf invalidate = {0};
    struct dj_json_writer inner = dj_json_writer(&invalidate);
    if (dj_json_parse(deja_slice(schedule->document, schedule->document_len), &doc, NULL) ==
            DEJA_OK &&
        dj_schedule_read(dj_json_root(doc), &facts) == DEJA_OK) {
        dj_json_put_value(&inner, dj_json_get(dj_json_root(doc), "invalidate"));
        dj_schedule_write(w, &facts, dj_buf_slice(&invalidate), false);
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
        const struct dj_schedule *schedule = DJ_CONTAINER(at, struct dj_schedule, node);
        if (memcmp(schedule->tenant, tenant, DJ_TENANT_BYTES) != 0 ||
            (id && memcmp(schedule->id, id, DJ_SCHEDULE_ID_BYTES) != 0))
            continue;
        list_one(schedule, w);
        count++;
    }
    pthread_mutex_unlock(&schedules->lock);
    return count;
}

/* ---- erasing ---- */

struct erasing {
    uint8_t tenant[DJ_TENANT_BYTES];
    struct dj_buf ids; /* of its schedules, one behind the other */
};

static bool collect(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct erasing *erasing = ctx;
    struct dj_json_doc *doc = NULL;
    struct dj_schedule_facts facts;
    (void)key;
    if (dj_json_parse(value, &doc, NULL) == DEJA_OK &&
        dj_schedule_read(dj_json_root(doc), &facts) == DEJA_OK &&
        memcmp(facts.tenant, erasing->tenant, sizeof facts.tenant) == 0)
        dj_buf_append(&erasing->ids, facts.id, sizeof facts.id);
    dj_json_doc_destroy(doc);
    return erasing->ids.status == DEJA_OK;
}

enum deja_status dj_schedules_erase(struct dj_schedules *schedules,
                                    const uint8_t tenant[DJ_TENANT_BYTES])
{
    const struct dj_authority *authority = schedules->options.authority;
    struct erasing erasing = {.ids = {0}};
    char key[DJ_SCHEDULE_KEY_BYTES + 1];
    memcpy(erasing.tenant, tenant, sizeof erasing.tenant);
    /* Of the authority's, not of the list: that may lack some. */
    enum deja_status status =
        authority->walk(authority->ctx, DJ_SCHEDULES_TABLE, &erasing, collect);
    if (status == DEJA_OK)
        status = erasing.ids.status;
    for (size_t at = 0; status == DEJA_OK && at < erasing.ids.len; at += DJ_SCHEDULE_ID_BYTES) {
        const uint8_t *id = (const uint8_t *)erasing.ids.data + at;
        pthread_mutex_lock(&schedules->lock);
        struct dj_schedule *known = find(schedules, id);
        if (known)
            known->is_removing = true;
        pthread_mutex_unlock(&schedules->lock);
        status = authority->remove(authority->ctx, DJ_SCHEDULES_TABLE, dj_schedule_key(id, key));
        if (status == DEJA_ERR_NOT_FOUND)
            status = DEJA_OK; /* it has run, or another program erases, too */
        if (status == DEJA_OK)
            dj_schedules_on_change(schedules, DJ_SCHEDULES_TABLE, dj_schedule_key(id, key),
                                   deja_slice(NULL, 0));
    }
    dj_buf_fini(&erasing.ids);
    return status;
}

/* ---- life ---- */

static bool on_kept(void *ctx, struct deja_slice key, struct deja_slice value)
{
    dj_schedules_on_change(ctx, DJ_SCHEDULES_TABLE, key, value);
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
    dj_list_init(&schedules->adds);
    schedules->service = (struct dj_schedule_service){
        .ctx = schedules, .add = add, .remove = remove_one, .list = list};
    /* Where the authority is away the start is not: all of it is told when it is back. */
    if (authority->walk(authority->ctx, DJ_SCHEDULES_TABLE, schedules, on_kept) == DEJA_ERR_NOMEM) {
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
        dj_schedules_drop(schedules, DJ_CONTAINER(schedules->list.next, struct dj_schedule, node));
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
