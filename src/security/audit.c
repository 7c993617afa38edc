/* security/audit.c - see audit.h: the queue and its one writer.
 *
 * (1) A line gets its number when it is written, so numbers have no gap whatever failed before.
 * (2) What waits for its line (write) is told once the whole batch is synced, or that it is not
 *     there; what was only noted stays in the queue then and is tried again with the next tick.
 * (3) The lock is held for moving pointers only, never while something is written.
 * (4) The head goes to the authority after the batch: a log may be longer than its head says, never
 *     shorter. An authority that fails is asked again a few seconds later, and nobody waits for it.
 */
#include "security/audit.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/num.h"
#include "proto/json.h"
#include "security/audit_internal.h"

#define BATCH_WAKE 256u
#define FILE_BYTES_DEFAULT (16u << 20)
#define FILE_AGE_MS_DEFAULT UINT64_C(86400000)
#define HEAD_RETRY_MS 5000
#define REFUSALS_MAX 100u /* between two ticks: strangers do not fill the disk */
#define LINE_FRONT "{\"v\":1,\"seq\":%llu,\"node\":\"%s\""

struct waiter {
    enum deja_status status;
    bool is_done;
};

struct item {
    struct item *next;
    struct waiter *waiter; /* NULL: noted */
    struct dj_buf middle;
};

struct queue {
    struct item *first;
    struct item **last;
    size_t count;
};

struct dj_audit {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_cond_t done;
    pthread_t thread;
    bool is_thread_started;
    struct queue queue;     /* this and the next eight: under lock */
    size_t waiting;         /* items of it somebody waits for */
    uint64_t lost_unspoken; /* not told by an event yet */
    unsigned refusals;      /* noted since the last tick */
    bool is_flush_due;
    bool is_stopping;
    int64_t now_ms; /* the latest that was heard */
    struct dj_audit_stats stats;
    struct dj_audit_folder folder; /* this and the rest: the writer's */
    const struct dj_authority *authority;
    char *place;
    uint64_t file_bytes_max;
    uint64_t file_age_ms;
    uint64_t keep_ms;
    int64_t head_retry_ms;
};

/* ---- queue ---- */

static void queue_init(struct queue *queue)
{
    *queue = (struct queue){.first = NULL};
    queue->last = &queue->first;
}

static void queue_push(struct queue *queue, struct item *item)
{
    item->next = NULL;
    *queue->last = item;
    queue->last = &item->next;
    queue->count++;
}

static struct item *queue_pop(struct queue *queue)
{
    struct item *item = queue->first;
    if (item) {
        queue->first = item->next;
        queue->count--;
        if (!queue->first)
            queue->last = &queue->first;
    }
    return item;
}

static void item_destroy(struct item *item)
{
    if (!item)
        return;
    dj_buf_fini(&item->middle);
    dj_free(item);
}

static struct item *item_create(const struct dj_audit_event *event, int64_t now_ms)
{
    struct item *item = dj_alloc_zeroed(1, sizeof *item);
    if (item && dj_audit_event_write(event, now_ms, &item->middle) != DEJA_OK) {
        item_destroy(item);
        item = NULL;
    }
    return item;
}

/* ---- the writer ---- */

/* One line of the batch, with its end; folder's place in the chain goes with it. */
static enum deja_status add_line(struct dj_audit_folder *folder, const struct item *item,
                                 bool is_last, struct dj_buf *lines)
{
    struct dj_buf line = {0};
    dj_buf_append_format(&line, LINE_FRONT, (unsigned long long)(folder->seq + 1), folder->node);
    dj_buf_append_slice(&line, dj_buf_slice(&item->middle));
    enum deja_status status = line.status;
    if (status == DEJA_OK)
        status = dj_audit_line_end(&line, folder->node, folder->seq + 1,
                                   is_last ? &folder->key : NULL, folder->hash);
    if (status == DEJA_OK) {
        dj_buf_append_slice(lines, dj_buf_slice(&line));
        dj_buf_append_byte(lines, '\n');
        folder->seq++;
        status = lines->status;
    }
    dj_buf_fini(&line);
    return status;
}

/* What is read here is no secret; who checks a log elsewhere asks for it. */
static void keep_head(struct dj_audit *audit, int64_t now_ms)
{
    const struct dj_authority *authority = audit->authority;
    const struct dj_audit_folder *folder = &audit->folder;
    char hex[2 * DJ_SHA256_BYTES + 1];
    char time[DJ_DATE_RFC3339_BYTES];
    struct dj_buf document = {0};
    struct dj_json_writer w = dj_json_writer(&document);
    if (!authority || now_ms < audit->head_retry_ms)
        return;
    dj_date_rfc3339(now_ms, time);
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "seq", folder->seq);
    dj_hex_encode(folder->hash, sizeof folder->hash, hex);
    dj_json_member_text(&w, "hash", hex);
    dj_json_member_u64(&w, "first_seq", folder->first_seq);
    dj_json_member_u64(&w, "file", folder->number);
    dj_hex_encode(folder->public_key, sizeof folder->public_key, hex);
    dj_json_member_text(&w, "public_key", hex);
    dj_json_member_text(&w, "place", audit->place);
    dj_json_member_text(&w, "time", time);
    dj_json_end_object(&w);
    enum deja_status status = document.status;
    if (status == DEJA_OK)
        status = authority->put(authority->ctx, DJ_AUDIT_HEADS_TABLE, deja_slice_text(folder->node),
                                dj_buf_slice(&document), false);
    audit->head_retry_ms = status == DEJA_OK ? 0 : now_ms + HEAD_RETRY_MS;
    dj_buf_fini(&document);
    pthread_mutex_lock(&audit->lock);
    audit->stats.is_head_late = status != DEJA_OK;
    pthread_mutex_unlock(&audit->lock);
}

static enum deja_status rotate_when_due(struct dj_audit *audit, int64_t now_ms)
{
    struct dj_audit_folder *folder = &audit->folder;
    char oldest[DJ_DATE_RFC3339_BYTES];
    dj_date_rfc3339(now_ms - (int64_t)audit->file_age_ms, oldest);
    bool is_due = dj_audit_folder_is_gone(folder) || folder->bytes >= audit->file_bytes_max ||
                  (folder->begun[0] && strcmp(folder->begun, oldest) < 0);
    if (!is_due)
        return DEJA_OK;
    enum deja_status status = dj_audit_folder_rotate(folder);
    uint32_t removed = 0;
    if (status == DEJA_OK && audit->keep_ms)
        removed = dj_audit_folder_prune(folder, now_ms - (int64_t)audit->keep_ms);
    if (removed) {
        char metadata[96];
        snprintf(metadata, sizeof metadata, "{\"files\":%u,\"first_seq\":%llu}", removed,
                 (unsigned long long)folder->first_seq);
        const struct dj_audit_event event = {
            .type = DJ_AUDIT_LOG, .operation = "audit.pruned", .metadata = metadata};
        dj_audit_note(audit, &event, now_ms);
    }
    return status;
}

static enum deja_status write_batch(struct dj_audit *audit, const struct queue *batch,
                                    int64_t now_ms)
{
    struct dj_audit_folder *folder = &audit->folder;
    struct dj_buf lines = {0};
    uint8_t hash[DJ_SHA256_BYTES];
    enum deja_status status = rotate_when_due(audit, now_ms);
    uint64_t seq = folder->seq;
    memcpy(hash, folder->hash, sizeof hash);
    for (const struct item *item = batch->first; item && status == DEJA_OK; item = item->next)
        status = add_line(folder, item, !item->next, &lines);
    if (status == DEJA_OK)
        status = dj_audit_folder_append(folder, dj_buf_slice(&lines));
    dj_buf_fini(&lines);
    if (status != DEJA_OK) {
        folder->seq = seq;
        memcpy(folder->hash, hash, sizeof hash);
        return status;
    }
    if (!folder->first_seq)
        folder->first_seq = seq + 1;
    if (!folder->begun[0])
        dj_date_rfc3339(now_ms, folder->begun);
    keep_head(audit, now_ms);
    return DEJA_OK;
}

/* What could not be noted is an event of its own, in front of what came after it. */
static struct item *lost_item(uint64_t lost, int64_t now_ms)
{
    char metadata[48];
    snprintf(metadata, sizeof metadata, "{\"events\":%llu}", (unsigned long long)lost);
    const struct dj_audit_event event = {
        .type = DJ_AUDIT_LOG, .operation = "audit.lost", .is_failure = true, .metadata = metadata};
    return lost ? item_create(&event, now_ms) : NULL;
}

/* Under lock: who waits is told; on failure what was noted goes back to the front. */
static void settle_batch(struct dj_audit *audit, struct queue *batch, enum deja_status status)
{
    struct queue again;
    queue_init(&again);
    for (struct item *item = queue_pop(batch); item; item = queue_pop(batch)) {
        if (item->waiter) {
            item->waiter->status =
                status == DEJA_OK || status == DEJA_ERR_NOMEM ? status : DEJA_ERR_IO;
            item->waiter->is_done = true;
        }
        if (item->waiter || status == DEJA_OK)
            item_destroy(item);
        else
            queue_push(&again, item);
    }
    if (again.first) {
        *again.last = audit->queue.first;
        if (!audit->queue.first)
            audit->queue.last = again.last;
        audit->queue.first = again.first;
        audit->queue.count += again.count;
    }
    audit->stats.is_failing = status != DEJA_OK;
    audit->stats.failures += status != DEJA_OK;
    audit->stats.seq = audit->folder.seq;
    pthread_cond_broadcast(&audit->done);
}

/* Under lock, as on return. */
static void run_batch(struct dj_audit *audit)
{
    struct queue batch = audit->queue;
    uint64_t lost = audit->lost_unspoken;
    int64_t now_ms = audit->now_ms;
    if (!batch.first)
        batch.last = &batch.first;
    queue_init(&audit->queue);
    audit->waiting = 0;
    audit->is_flush_due = false;
    audit->lost_unspoken = 0;
    pthread_mutex_unlock(&audit->lock);
    struct item *told = lost_item(lost, now_ms);
    if (told) {
        told->next = batch.first;
        if (!batch.first)
            batch.last = &told->next;
        batch.first = told;
    }
    enum deja_status status = batch.first ? write_batch(audit, &batch, now_ms) : DEJA_OK;
    if (told && status != DEJA_OK) { /* made anew with what is lost until then */
        batch.first = told->next;
        if (!batch.first)
            batch.last = &batch.first;
    }
    if (told && status != DEJA_OK)
        item_destroy(told);
    pthread_mutex_lock(&audit->lock);
    if (lost && (!told || status != DEJA_OK))
        audit->lost_unspoken += lost;
    settle_batch(audit, &batch, status);
}

static void *run_writer(void *ctx)
{
    struct dj_audit *audit = ctx;
    pthread_mutex_lock(&audit->lock);
    for (;;) {
        bool is_many = audit->queue.count >= BATCH_WAKE && !audit->stats.is_failing;
        if (audit->waiting || audit->is_flush_due || is_many)
            run_batch(audit);
        else if (audit->is_stopping)
            break;
        else
            pthread_cond_wait(&audit->wake, &audit->lock);
    }
    run_batch(audit);
    pthread_mutex_unlock(&audit->lock);
    return NULL;
}

/* ---- events ---- */

enum deja_status dj_audit_write(struct dj_audit *audit, const struct dj_audit_event *event,
                                int64_t now_ms)
{
    struct waiter waiter = {.status = DEJA_ERR_IO};
    if (!audit)
        return DEJA_OK;
    struct item *item = item_create(event, now_ms);
    if (!item)
        return DEJA_ERR_NOMEM;
    item->waiter = &waiter;
    pthread_mutex_lock(&audit->lock);
    if (now_ms > audit->now_ms)
        audit->now_ms = now_ms;
    queue_push(&audit->queue, item);
    audit->waiting++;
    pthread_cond_signal(&audit->wake);
    while (!waiter.is_done)
        pthread_cond_wait(&audit->done, &audit->lock);
    pthread_mutex_unlock(&audit->lock);
    return waiter.status;
}

void dj_audit_note(struct dj_audit *audit, const struct dj_audit_event *event, int64_t now_ms)
{
    if (!audit)
        return;
    struct item *item = item_create(event, now_ms);
    pthread_mutex_lock(&audit->lock);
    if (now_ms > audit->now_ms)
        audit->now_ms = now_ms;
    bool is_flood = event->type == DJ_AUDIT_ACCESS && ++audit->refusals > REFUSALS_MAX;
    if (item && !is_flood && audit->queue.count < DJ_AUDIT_QUEUE_MAX) {
        queue_push(&audit->queue, item);
        if (audit->queue.count == BATCH_WAKE)
            pthread_cond_signal(&audit->wake);
        item = NULL;
    } else {
        audit->lost_unspoken++;
        audit->stats.lost++;
    }
    pthread_mutex_unlock(&audit->lock);
    item_destroy(item);
}

void dj_audit_tick(struct dj_audit *audit, int64_t now_ms)
{
    if (!audit)
        return;
    pthread_mutex_lock(&audit->lock);
    audit->now_ms = now_ms;
    audit->refusals = 0;
    audit->is_flush_due = audit->queue.count || audit->lost_unspoken;
    if (audit->is_flush_due)
        pthread_cond_signal(&audit->wake);
    pthread_mutex_unlock(&audit->lock);
}

void dj_audit_stats(struct dj_audit *audit, struct dj_audit_stats *out_stats)
{
    *out_stats = (struct dj_audit_stats){.seq = 0};
    if (!audit)
        return;
    pthread_mutex_lock(&audit->lock);
    *out_stats = audit->stats;
    out_stats->queued = audit->queue.count;
    pthread_mutex_unlock(&audit->lock);
}

const char *dj_audit_directory(const struct dj_audit *audit)
{
    return audit->folder.directory;
}

/* ---- life ---- */

static enum deja_status start_writer(struct dj_audit *audit)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main loop's */
    audit->is_thread_started = pthread_create(&audit->thread, NULL, run_writer, audit) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return audit->is_thread_started ? DEJA_OK : DEJA_ERR_LIMIT;
}

enum deja_status dj_audit_open(const struct dj_audit_options *options, struct dj_audit **out_audit,
                               struct deja_error *error)
{
    struct dj_audit_found found;
    struct dj_audit *audit = dj_alloc_zeroed(1, sizeof *audit);
    if (!audit)
        return deja_error_set(error, DEJA_ERR_NOMEM, "the audit log: out of memory");
    pthread_mutex_init(&audit->lock, NULL);
    pthread_cond_init(&audit->wake, NULL);
    pthread_cond_init(&audit->done, NULL);
    queue_init(&audit->queue);
    audit->folder.fd = -1;
    audit->authority = options->authority;
    audit->file_bytes_max = options->file_bytes_max ? options->file_bytes_max : FILE_BYTES_DEFAULT;
    audit->file_age_ms = options->file_age_ms ? options->file_age_ms : FILE_AGE_MS_DEFAULT;
    audit->keep_ms = options->keep_ms;
    audit->now_ms = options->now_ms;
    audit->place = dj_strdup(deja_slice_text(options->place ? options->place : ""));
    enum deja_status status =
        audit->place ? dj_audit_folder_open(&audit->folder, options->directory, &found, error)
                     : deja_error_set(error, DEJA_ERR_NOMEM, "the audit log: out of memory");
    if (status == DEJA_OK) {
        dj_audit_recover(audit->authority, audit->place, &audit->folder, &found, audit,
                         options->now_ms);
        audit->stats.seq = audit->folder.seq;
        status = start_writer(audit);
        if (status != DEJA_OK)
            deja_error_set(error, status, "the audit log: no thread can be started");
    }
    if (status != DEJA_OK) {
        dj_audit_close(audit);
        return status;
    }
    *out_audit = audit;
    return DEJA_OK;
}

void dj_audit_close(struct dj_audit *audit)
{
    if (!audit)
        return;
    if (audit->is_thread_started) {
        pthread_mutex_lock(&audit->lock);
        audit->is_stopping = true;
        pthread_cond_signal(&audit->wake);
        pthread_mutex_unlock(&audit->lock);
        pthread_join(audit->thread, NULL);
    }
    for (struct item *item = queue_pop(&audit->queue); item; item = queue_pop(&audit->queue))
        item_destroy(item);
    dj_audit_folder_close(&audit->folder);
    pthread_cond_destroy(&audit->done);
    pthread_cond_destroy(&audit->wake);
    pthread_mutex_destroy(&audit->lock);
    dj_free(audit->place);
    dj_free(audit);
}
