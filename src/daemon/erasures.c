/* daemon/erasures.c - see erasures.h.
 *
 * (1) The order of TRUST: what makes data void is durable with the authority before anything is
 *     swept, and the document is open from then on; only a whole pass closes it.
 * (2) Each step may be done again: a pass after a restart begins with the first one.
 * (3) A pass belongs to one thread at a time: worker, loop, worker, loop.
 */
#include "daemon/erasures.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/date.h"
#include "base/num.h"
#include "base/slice.h"
#include "cache/erase.h"
#include "proto/json.h"

#define TABLE "erasures"
#define RETRY_MS 5000
#define ENDED_MAX 256u
#define NEWS_MS 60000

struct erasure {
    struct dj_erasures *erasures;
    struct erasure *next; /* in the list; under lock, as is is_running */
    bool is_running;
    uint8_t id[DJ_ERASURE_ID_BYTES];
    struct dj_erase_order order;
    struct dj_loop *loop; /* of this pass */
    struct dj_job job;
    int64_t requested_ms;
    int64_t completed_ms;
    int64_t retry_ms;
    uint64_t removed; /* over all passes */
    uint32_t attempts;
    bool is_echo;    /* another program's: swept here, written down there */
    bool is_written; /* the authority has it */
    bool are_keys_destroyed;
    bool is_done;
    enum deja_status status; /* of the step under way */
    enum deja_status keys_status;
    const char *failed_step; /* constant; NULL: none */
    struct dj_erase_result result;
    struct dj_buf document;
    void *told_ctx;
    dj_erase_told_fn *told; /* NULL: nobody waits */
};

struct dj_erasures {
    struct dj_erasures_options options;
    struct dj_erase_service service;
    pthread_mutex_t lock;
    struct erasure *open;
    uint32_t open_count;
    uint32_t running;
    bool is_stopping;
    atomic_bool is_unread; /* the authority did not answer when it was asked for what is open */
    int64_t began_ms;
    uint8_t ended[ENDED_MAX][DJ_ERASURE_ID_BYTES]; /* the last of this program's; under lock */
    size_t ended_next;
};

/* ---- documents ---- */

static void put_hex(struct dj_json_writer *w, const char *name, const uint8_t *bytes, size_t len)
{
    char hex[2 * DJ_ERASURE_ID_BYTES + 1];
    dj_hex_encode(bytes, len, hex);
    dj_json_member_text(w, name, hex);
}

static void put_time(struct dj_json_writer *w, const char *name, int64_t ms)
{
    char text[DJ_DATE_RFC3339_BYTES];
    if (ms)
        dj_date_rfc3339(ms, text);
    dj_json_member_text(w, name, ms ? text : NULL);
}

static void put_levels(struct dj_json_writer *w, const struct dj_erase_result *result)
{
    dj_json_key(w, "levels");
    dj_json_begin_object(w);
    for (uint32_t i = 0; i < result->count; i++) {
        const struct dj_erase_level *level = &result->levels[i];
        dj_json_key(w, level->level);
        dj_json_begin_object(w);
        dj_json_member_text(w, "state",
                            level->status != DEJA_OK ? "unreachable"
                            : level->is_read_only && (level->left || level->is_unlisted)
                                ? "read_only"
                            : level->left        ? "left"
                            : level->is_unlisted ? "unverified"
                                                 : "empty");
        dj_json_member_u64(w, "removed", level->removed);
        dj_json_member_u64(w, "left", level->left);
        if (level->status != DEJA_OK)
            dj_json_member_text(w, "error", deja_status_name(level->status));
        dj_json_end_object(w);
    }
    dj_json_end_object(w);
}

static enum deja_status write_document(struct erasure *erasure)
{
    char tenant[DJ_TENANT_TEXT_BYTES];
    dj_buf_clear(&erasure->document);
    struct dj_json_writer w = dj_json_writer(&erasure->document);
    dj_tenant_text(erasure->order.tenant, tenant);
    dj_json_begin_object(&w);
    put_hex(&w, "id", erasure->id, sizeof erasure->id);
    dj_json_member_text(&w, "state", erasure->is_done ? "done" : "open");
    dj_json_member_text(&w, "tenant", tenant);
    if (erasure->order.has_user)
        put_hex(&w, "user_id", erasure->order.user, sizeof erasure->order.user);
    put_time(&w, "requested_at", erasure->requested_ms);
    dj_json_member_u64(&w, "requested_ms", (uint64_t)erasure->requested_ms);
    put_time(&w, "completed_at", erasure->completed_ms);
    dj_json_member_u64(&w, "attempts", erasure->attempts);
    dj_json_member_bool(&w, "keys_destroyed", erasure->are_keys_destroyed);
    dj_json_member_u64(&w, "removed", erasure->removed);
    put_levels(&w, &erasure->result);
    if (erasure->failed_step) {
        dj_json_member_text(&w, "waits_for", erasure->failed_step);
        dj_json_member_text(&w, "error", deja_status_name(erasure->status));
    }
    dj_json_end_object(&w);
    return erasure->document.status;
}

static struct deja_slice key_of(const struct erasure *erasure,
                                char hex[2 * DJ_ERASURE_ID_BYTES + 1])
{
    dj_hex_encode(erasure->id, sizeof erasure->id, hex);
    return deja_slice(hex, 2 * DJ_ERASURE_ID_BYTES);
}

/* Worker. */
static enum deja_status keep_document(struct erasure *erasure)
{
    const struct dj_authority *authority = erasure->erasures->options.authority;
    char hex[2 * DJ_ERASURE_ID_BYTES + 1];
    enum deja_status status = write_document(erasure);
    return status == DEJA_OK ? authority->put(authority->ctx, TABLE, key_of(erasure, hex),
                                              dj_buf_slice(&erasure->document), false)
                             : status;
}

/* ---- events ---- */

static enum deja_status write_event(struct erasure *erasure, const char *operation, bool is_failure)
{
    char hex[2 * DJ_ERASURE_ID_BYTES + 1];
    enum deja_status status = write_document(erasure);
    struct dj_buf text = {0};
    dj_buf_append_slice(&text, dj_buf_slice(&erasure->document));
    dj_buf_append_byte(&text, '\0');
    key_of(erasure, hex);
    const struct dj_audit_event event = {
        .type = DJ_AUDIT_ERASURE,
        .who = erasure->order.who,
        .tenant = erasure->order.tenant,
        .operation = operation,
        .resource = hex,
        .is_failure = is_failure,
        .error = is_failure ? deja_status_name(erasure->status) : NULL,
        .metadata = text.data,
        .request_id = erasure->order.request_id,
    };
    if (status == DEJA_OK)
        status = text.status;
    if (status == DEJA_OK)
        status = dj_audit_write(erasure->erasures->options.audit, &event, dj_clock_now_ms());
    dj_buf_fini(&text);
    return status;
}

/* ---- one pass ---- */

static void erasure_destroy(struct erasure *erasure)
{
    if (!erasure)
        return;
    dj_buf_fini(&erasure->document);
    dj_free(erasure);
}

/* On its loop: who waits is told; it stays in the list while it is open. */
static void end_pass(struct erasure *erasure, enum deja_status status)
{
    struct dj_erasures *erasures = erasure->erasures;
    dj_erase_told_fn *told = erasure->told;
    erasure->told = NULL;
    if (told)
        told(erasure->told_ctx, status,
             status == DEJA_OK ? dj_buf_slice(&erasure->document) : deja_slice(NULL, 0));
    erasure->order.who = NULL; /* the request's */
    erasure->order.request_id = NULL;
    erasure->retry_ms = dj_clock_now_ms() + RETRY_MS;
    bool is_over = erasure->is_done || !erasure->is_written;
    pthread_mutex_lock(&erasures->lock);
    erasure->is_running = false;
    for (struct erasure **at = &erasures->open; is_over && *at; at = &(*at)->next)
        if (*at == erasure) {
            *at = erasure->next;
            erasures->open_count--;
            memcpy(erasures->ended[erasures->ended_next], erasure->id, sizeof erasure->id);
            erasures->ended_next = (erasures->ended_next + 1) % ENDED_MAX;
            break;
        }
    erasures->running--;
    pthread_mutex_unlock(&erasures->lock);
    if (is_over)
        erasure_destroy(erasure);
}

static void on_settled(void *ctx)
{
    end_pass(ctx, DEJA_OK);
}

/* Worker: the receipt is durable before the document says that all is done. */
static void settle(void *ctx)
{
    struct erasure *erasure = ctx;
    const struct dj_erasures_options *options = &erasure->erasures->options;
    if (erasure->is_echo) {
        erasure->is_done =
            erasure->result.is_complete &&
            (!options->wipe || options->wipe(options->hooks_ctx, erasure->order.tenant) == DEJA_OK);
        return;
    }
    bool are_keys_left =
        options->destroy_keys && !erasure->order.has_user && !erasure->are_keys_destroyed;
    if (are_keys_left) {
        erasure->failed_step = "keys";
        erasure->status = erasure->keys_status;
    } else if (!erasure->result.is_complete) {
        erasure->failed_step = "tiers";
        if (erasure->status == DEJA_OK)
            erasure->status = DEJA_ERR_BUSY; /* something is left, and can be reached */
    } else {
        erasure->failed_step = "files";
        /* Documents first: what is removed after the wiping may stay in free pages. */
        erasure->status = !erasure->order.has_user && options->drop_documents
                              ? options->drop_documents(options->hooks_ctx, erasure->order.tenant)
                              : DEJA_OK;
        if (erasure->status == DEJA_OK && options->wipe)
            erasure->status = options->wipe(options->hooks_ctx, erasure->order.tenant);
        if (erasure->status == DEJA_OK && erasure->order.has_user && options->renew_keys) {
            erasure->failed_step = "keys";
            erasure->status = options->renew_keys(options->hooks_ctx, erasure->order.tenant);
        }
        if (erasure->status == DEJA_OK)
            erasure->failed_step = NULL;
    }
    if (!erasure->failed_step) {
        erasure->completed_ms = dj_clock_now_ms();
        erasure->is_done = true;
        erasure->status = write_event(erasure, "erase.completed", false);
        if (erasure->status == DEJA_OK)
            erasure->status = keep_document(erasure);
        if (erasure->status != DEJA_OK) {
            erasure->is_done = false;
            erasure->completed_ms = 0;
            erasure->failed_step = "receipt";
        }
    } else if (erasure->attempts == 1 && write_event(erasure, "erase.open", true) != DEJA_OK) {
        erasure->failed_step = "receipt"; /* it is told when it is done */
    }
    if (!erasure->is_done && keep_document(erasure) != DEJA_OK &&
        write_document(erasure) != DEJA_OK)
        dj_buf_clear(&erasure->document);
}

static void on_erased(void *ctx, const struct dj_erase_result *result)
{
    struct erasure *erasure = ctx;
    erasure->result = *result;
    erasure->removed += result->removed;
    erasure->status = result->status;
    for (uint32_t i = 0; i < result->count; i++)
        if (result->levels[i].status != DEJA_OK && erasure->status == DEJA_OK)
            erasure->status = result->levels[i].status;
    erasure->job =
        (struct dj_job){.work = settle, .done = on_settled, .ctx = erasure, .loop = erasure->loop};
    if (dj_pool_submit(erasure->erasures->options.pool, &erasure->job) != DEJA_OK)
        end_pass(erasure, DEJA_ERR_BUSY);
}

/* Worker. */
static void commit(void *ctx)
{
    struct erasure *erasure = ctx;
    const struct dj_erasures_options *options = &erasure->erasures->options;
    erasure->attempts++;
    erasure->failed_step = NULL;
    erasure->status = DEJA_OK;
    if (!erasure->is_written) {
        erasure->status = write_event(erasure, "erase.requested", false);
        if (erasure->status == DEJA_OK)
            erasure->status = keep_document(erasure);
        erasure->is_written = erasure->status == DEJA_OK;
    }
    if (erasure->is_written && options->forget)
        options->forget(options->hooks_ctx, erasure->order.tenant);
    if (erasure->is_echo)
        return;
    if (erasure->status == DEJA_OK && !erasure->order.has_user && options->destroy_keys) {
        erasure->keys_status = options->destroy_keys(options->hooks_ctx, erasure->order.tenant);
        erasure->are_keys_destroyed = erasure->keys_status == DEJA_OK;
    }
}

static void on_committed(void *ctx)
{
    struct erasure *erasure = ctx;
    char tag[DJ_USER_TAG_BYTES] = "";
    if (!erasure->is_written) { /* nothing was done, and nothing is owed */
        end_pass(erasure, erasure->status);
        return;
    }
    /* Keys that could not be destroyed are no reason to leave the data: the pass goes on. */
    if (erasure->order.has_user)
        dj_user_tag(erasure->order.user, tag);
    enum deja_status status =
        dj_engine_erase(erasure->erasures->options.engine, erasure->loop, erasure->order.tenant,
                        deja_slice_text(tag), erasure, on_erased);
    if (status != DEJA_OK)
        end_pass(erasure, status);
}

static enum deja_status run_pass(struct erasure *erasure, struct dj_loop *loop)
{
    erasure->loop = loop;
    erasure->job =
        (struct dj_job){.work = commit, .done = on_committed, .ctx = erasure, .loop = loop};
    return dj_pool_submit(erasure->erasures->options.pool, &erasure->job);
}

/* ---- service ---- */

/* Into the list, as it is; NULL: no memory, or too many. */
static struct erasure *add(struct dj_erasures *erasures, const struct erasure *made)
{
    struct erasure *erasure = dj_alloc_zeroed(1, sizeof *erasure);
    if (!erasure)
        return NULL;
    *erasure = *made;
    erasure->erasures = erasures;
    pthread_mutex_lock(&erasures->lock);
    bool has_room = erasures->open_count < DJ_ERASURES_OPEN_MAX && !erasures->is_stopping;
    if (has_room) {
        erasure->next = erasures->open;
        erasures->open = erasure;
        erasures->open_count++;
        erasures->running += erasure->is_running;
    }
    pthread_mutex_unlock(&erasures->lock);
    if (!has_room) {
        dj_free(erasure);
        return NULL;
    }
    return erasure;
}

static enum deja_status start(void *ctx, struct dj_loop *loop, const struct dj_erase_order *order,
                              void *told_ctx, dj_erase_told_fn *told)
{
    struct dj_erasures *erasures = ctx;
    struct erasure made = {.is_running = true, .order = *order, .requested_ms = dj_clock_now_ms()};
    dj_random_bytes(made.id, sizeof made.id);
    struct erasure *erasure = add(erasures, &made);
    if (!erasure)
        return DEJA_ERR_BUSY;
    enum deja_status status = run_pass(erasure, loop);
    if (status != DEJA_OK) {
        end_pass(erasure, status);
        return status;
    }
    erasure->told_ctx = told_ctx;
    erasure->told = told;
    return DEJA_OK;
}

struct reading {
    struct dj_job job;
    struct dj_erasures *erasures;
    uint8_t id[DJ_ERASURE_ID_BYTES];
    enum deja_status status;
    struct dj_buf document;
    void *told_ctx;
    dj_erase_told_fn *told;
};

static void on_document(void *ctx, struct deja_slice value)
{
    struct reading *reading = ctx;
    dj_buf_append_slice(&reading->document, value);
}

static void read_document(void *ctx)
{
    struct reading *reading = ctx;
    const struct dj_authority *authority = reading->erasures->options.authority;
    char hex[2 * DJ_ERASURE_ID_BYTES + 1];
    dj_hex_encode(reading->id, sizeof reading->id, hex);
    reading->status = authority->get(
        authority->ctx, TABLE, deja_slice(hex, 2 * DJ_ERASURE_ID_BYTES), reading, on_document);
    if (reading->status == DEJA_OK)
        reading->status = reading->document.status;
}

static void on_read(void *ctx)
{
    struct reading *reading = ctx;
    reading->told(reading->told_ctx, reading->status,
                  reading->status == DEJA_OK ? dj_buf_slice(&reading->document)
                                             : deja_slice(NULL, 0));
    dj_buf_fini(&reading->document);
    dj_free(reading);
}

static enum deja_status get(void *ctx, struct dj_loop *loop, const uint8_t id[DJ_ERASURE_ID_BYTES],
                            void *told_ctx, dj_erase_told_fn *told)
{
    struct dj_erasures *erasures = ctx;
    struct reading *reading = dj_alloc_zeroed(1, sizeof *reading);
    if (!reading)
        return DEJA_ERR_NOMEM;
    *reading = (struct reading){.erasures = erasures, .told_ctx = told_ctx, .told = told};
    memcpy(reading->id, id, sizeof reading->id);
    reading->job =
        (struct dj_job){.work = read_document, .done = on_read, .ctx = reading, .loop = loop};
    enum deja_status status = dj_pool_submit(erasures->options.pool, &reading->job);
    if (status != DEJA_OK)
        dj_free(reading);
    return status;
}

/* ---- over restarts ---- */

/* False: it is not of the form. */
static bool read_kept(struct deja_slice key, struct deja_slice value, struct erasure *out_kept,
                      bool *out_is_open)
{
    struct dj_json_doc *doc = NULL;
    struct erasure kept = {.is_written = true};
    if (dj_json_parse(value, &doc, NULL) != DEJA_OK)
        return false;
    const struct dj_json *root = dj_json_root(doc);
    struct deja_slice user = dj_json_string(dj_json_get(root, "user_id"));
    kept.order.has_user = user.len > 0;
    *out_is_open = dj_slice_is(dj_json_string(dj_json_get(root, "state")), "open");
    bool is_right =
        dj_hex_decode(key, kept.id, sizeof kept.id) == DEJA_OK &&
        dj_tenant_parse(dj_json_string(dj_json_get(root, "tenant")), kept.order.tenant) ==
            DEJA_OK &&
        (!user.len || dj_hex_decode(user, kept.order.user, sizeof kept.order.user) == DEJA_OK);
    kept.requested_ms = dj_json_i64(dj_json_get(root, "requested_ms"), 0);
    kept.removed = (uint64_t)dj_json_i64(dj_json_get(root, "removed"), 0);
    kept.attempts = (uint32_t)dj_json_i64(dj_json_get(root, "attempts"), 1);
    dj_json_doc_destroy(doc);
    *out_kept = kept;
    return is_right;
}

static bool is_known(struct dj_erasures *erasures, const uint8_t id[DJ_ERASURE_ID_BYTES])
{
    bool is_there = false;
    pthread_mutex_lock(&erasures->lock);
    for (const struct erasure *at = erasures->open; at && !is_there; at = at->next)
        is_there = memcmp(at->id, id, DJ_ERASURE_ID_BYTES) == 0;
    for (size_t i = 0; i < ENDED_MAX && !is_there; i++)
        is_there = memcmp(erasures->ended[i], id, DJ_ERASURE_ID_BYTES) == 0;
    pthread_mutex_unlock(&erasures->lock);
    return is_there;
}

/* An open one is taken up; others are receipts. */
static bool on_kept(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct erasure kept;
    bool is_open = false;
    /* Where there is no room it is taken up at the next start. */
    if (read_kept(key, value, &kept, &is_open) && is_open && !is_known(ctx, kept.id) &&
        !add(ctx, &kept))
        return false;
    return true;
}

static enum deja_status read_open(struct dj_erasures *erasures)
{
    const struct dj_authority *authority = erasures->options.authority;
    enum deja_status status = authority->walk(authority->ctx, TABLE, erasures, on_kept);
    return status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status;
}

/* Told once when it is made and once when it is done, or the second time only; of those before
 * this program began nothing is here. */
void dj_erasures_on_change(void *ctx, const char *table, struct deja_slice key,
                           struct deja_slice value)
{
    struct dj_erasures *erasures = ctx;
    struct erasure kept;
    bool is_open = false;
    if (strcmp(table, TABLE) != 0 || !value.data || !read_kept(key, value, &kept, &is_open) ||
        is_known(erasures, kept.id))
        return;
    bool is_of_the_start = atomic_load(&erasures->is_unread);
    if (is_of_the_start ? !is_open : kept.requested_ms < erasures->began_ms - NEWS_MS)
        return;
    kept.is_echo = !is_of_the_start;
    if (!add(erasures, &kept))
        return; /* void here all the same, by its generation; it goes as it expires */
}

void dj_erasures_on_anew(void *ctx)
{
    struct dj_erasures *erasures = ctx;
    atomic_store(&erasures->is_unread, false);
}

/* ---- life ---- */

enum deja_status dj_erasures_create(const struct dj_erasures_options *options,
                                    struct dj_erasures **out_erasures)
{
    struct dj_erasures *erasures = dj_alloc_zeroed(1, sizeof *erasures);
    if (!erasures)
        return DEJA_ERR_NOMEM;
    erasures->options = *options;
    erasures->began_ms = dj_clock_now_ms();
    erasures->service = (struct dj_erase_service){.ctx = erasures, .start = start, .get = get};
    pthread_mutex_init(&erasures->lock, NULL);
    enum deja_status status = read_open(erasures);
    if (status == DEJA_ERR_NOMEM) {
        dj_erasures_destroy(erasures);
        return status;
    }
    /* Where it is away the start is not: what was open is taken up when it is back. */
    atomic_init(&erasures->is_unread, status != DEJA_OK);
    *out_erasures = erasures;
    return DEJA_OK;
}

void dj_erasures_destroy(struct dj_erasures *erasures)
{
    if (!erasures)
        return;
    while (erasures->open) {
        struct erasure *next = erasures->open->next;
        erasure_destroy(erasures->open);
        erasures->open = next;
    }
    pthread_mutex_destroy(&erasures->lock);
    dj_free(erasures);
}

const struct dj_erase_service *dj_erasures_service(struct dj_erasures *erasures)
{
    return &erasures->service;
}

void dj_erasures_tick(struct dj_erasures *erasures)
{
    int64_t now_ms = dj_clock_now_ms();
    struct erasure *due = NULL;
    if (!erasures)
        return;
    pthread_mutex_lock(&erasures->lock);
    for (struct erasure *at = erasures->open; at && !erasures->is_stopping && !due; at = at->next)
        if (!at->is_running && now_ms >= at->retry_ms)
            due = at;
    if (due) {
        due->is_running = true;
        erasures->running++;
    }
    pthread_mutex_unlock(&erasures->lock);
    if (due && run_pass(due, erasures->options.loop) != DEJA_OK)
        end_pass(due, DEJA_ERR_BUSY);
}

void dj_erasures_stop(struct dj_erasures *erasures)
{
    if (!erasures)
        return;
    pthread_mutex_lock(&erasures->lock);
    erasures->is_stopping = true;
    pthread_mutex_unlock(&erasures->lock);
}

uint32_t dj_erasures_running(struct dj_erasures *erasures)
{
    if (!erasures)
        return 0;
    pthread_mutex_lock(&erasures->lock);
    uint32_t running = erasures->running;
    pthread_mutex_unlock(&erasures->lock);
    return running;
}
