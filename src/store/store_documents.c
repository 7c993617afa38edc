/* store/store_documents.c - see store_documents.h.
 *
 * (1) A question outlives its asker where he gave up: whoever is last of the two ends it.
 */
#include "store/store_documents.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "crypto/digest.h"

#define TABLE "data_keys"
#define PULL_US (UINT64_C(60) * 1000 * 1000)

/* The tenant that nobody is: derived ones are UUIDv8, configured ones UUIDs. */
static const uint8_t nobody[DJ_ID_BYTES] = "deja data keys";

struct dj_store_documents {
    struct dj_store *store;
    struct dj_loop *loop;
    uint32_t timeout_ms;
    atomic_bool is_stopped;
};

enum question_kind { QUESTION_GET, QUESTION_PUT, QUESTION_REMOVE, QUESTION_LIST };

struct question {
    struct dj_store_documents *documents;
    enum question_kind kind;
    struct dj_store_key key;
    struct dj_value *value; /* put: to be put; get: found; owned */
    struct dj_store_page page;
    struct dj_task task;
    pthread_mutex_t mutex;
    pthread_cond_t answered;
    bool is_answered;  /* under mutex, as is the next */
    bool is_abandoned; /* the asker waits no more */
    enum deja_status status;
    uint64_t count;
};

static void destroy(struct question *question)
{
    dj_value_unref(question->value);
    for (uint32_t i = 0; i < question->page.count; i++)
        dj_value_unref(question->page.values[i]);
    pthread_cond_destroy(&question->answered);
    pthread_mutex_destroy(&question->mutex);
    dj_free(question);
}

/* ---- on the loop ---- */

static void answer(struct question *question, enum deja_status status, uint64_t count)
{
    pthread_mutex_lock(&question->mutex);
    question->status = status;
    question->count = count;
    question->is_answered = true;
    bool is_last = question->is_abandoned;
    pthread_cond_signal(&question->answered);
    pthread_mutex_unlock(&question->mutex);
    if (is_last)
        destroy(question);
}

static void on_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct question *question = ctx;
    question->value = value;
    answer(question, status, value != NULL);
}

static void on_done(void *ctx, enum deja_status status, uint64_t count)
{
    answer(ctx, status, count);
}

static void on_asked(void *ctx)
{
    struct question *question = ctx;
    struct dj_store *store = question->documents->store;
    struct dj_loop *loop = question->documents->loop;
    enum deja_status status = DEJA_ERR_UNSUPPORTED;
    if (atomic_load(&question->documents->is_stopped))
        status = DEJA_ERR_CANCELLED;
    else if (question->kind == QUESTION_GET)
        status = store->ops->get(store, loop, &question->key, question, on_got);
    else if (question->kind == QUESTION_PUT)
        status = store->ops->put(store, loop, question->value, NULL, 0, question, on_done);
    else if (question->kind == QUESTION_REMOVE)
        status = store->ops->remove(store, loop, &question->key, UINT64_MAX, question, on_done);
    else if (store->ops->list)
        status = store->ops->list(store, loop, nobody, &question->page, question, on_done);
    if (status != DEJA_OK)
        answer(question, status, 0);
}

/* ---- on a worker ---- */

static struct question *create(struct dj_store_documents *documents, enum question_kind kind,
                               struct deja_slice name)
{
    struct question *question = dj_alloc_zeroed(1, sizeof *question);
    uint8_t digest[DJ_SHA256_BYTES];
    if (!question)
        return NULL;
    question->documents = documents;
    question->kind = kind;
    dj_sha256(name, digest);
    memcpy(question->key.tenant, nobody, sizeof nobody);
    memcpy(question->key.id, digest, sizeof question->key.id);
    int code = pthread_mutex_init(&question->mutex, NULL);
    assert(code == 0);
    code = pthread_cond_init(&question->answered, NULL);
    assert(code == 0);
    return question;
}

/* DEJA_ERR_TIMEOUT: the question is not the caller's any more. Else it is, with its answer. */
static enum deja_status ask(struct question *question)
{
    const struct dj_store_documents *documents = question->documents;
    struct timespec until;
    int code = 0;
    if (atomic_load(&documents->is_stopped)) {
        destroy(question);
        return DEJA_ERR_TIMEOUT;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += documents->timeout_ms / 1000 + 1;
    question->task = (struct dj_task){.run = on_asked, .ctx = question};
    dj_loop_post(documents->loop, &question->task);
    pthread_mutex_lock(&question->mutex);
    while (!question->is_answered && code != ETIMEDOUT)
        code = pthread_cond_timedwait(&question->answered, &question->mutex, &until);
    bool is_answered = question->is_answered;
    question->is_abandoned = !is_answered;
    pthread_mutex_unlock(&question->mutex);
    return is_answered ? DEJA_OK : DEJA_ERR_TIMEOUT;
}

/* Asks, and ends the question unless *out_question wants it. */
static enum deja_status ask_once(struct question *question, struct question **out_question)
{
    if (!question)
        return DEJA_ERR_NOMEM;
    enum deja_status status = ask(question);
    if (status != DEJA_OK)
        return status;
    status = question->status;
    if (status == DEJA_OK && out_question)
        *out_question = question;
    else
        destroy(question);
    return status;
}

static bool is_ours(const char *table, struct deja_slice key)
{
    return strcmp(table, TABLE) == 0 && key.len && key.len <= DJ_AUTHORITY_KEY_BYTES_MAX;
}

static enum deja_status get(void *ctx, const char *table, struct deja_slice key, void *found_ctx,
                            dj_authority_found_fn *found)
{
    struct question *question = NULL;
    if (!is_ours(table, key))
        return DEJA_ERR_UNSUPPORTED;
    enum deja_status status = ask_once(create(ctx, QUESTION_GET, key), &question);
    if (status != DEJA_OK)
        return status;
    const struct dj_entry *entry = question->value ? dj_value_entry(question->value) : NULL;
    bool is_it = entry && deja_slice_is_equal(entry->query, key);
    if (is_it)
        found(found_ctx, entry->body);
    destroy(question);
    return is_it ? DEJA_OK : DEJA_ERR_NOT_FOUND;
}

struct comparison {
    struct deja_slice wanted;
    bool is_equal;
};

static void on_compared(void *ctx, struct deja_slice value)
{
    struct comparison *comparison = ctx;
    comparison->is_equal = deja_slice_is_equal(comparison->wanted, value);
}

static enum deja_status put(void *ctx, const char *table, struct deja_slice key,
                            struct deja_slice value, bool is_new)
{
    if (!is_ours(table, key) || value.len > DJ_AUTHORITY_VALUE_BYTES_MAX)
        return DEJA_ERR_UNSUPPORTED;
    struct question *question = create(ctx, QUESTION_PUT, key);
    if (!question)
        return DEJA_ERR_NOMEM;
    struct dj_entry entry = {.version = is_new ? 1 : (uint64_t)dj_clock_now_ms() * 1000,
                             .created_ms = dj_clock_now_ms(),
                             .kind = DJ_ENTRY_BYTES,
                             .query = key,
                             .body = value};
    memcpy(entry.tenant, question->key.tenant, sizeof entry.tenant);
    memcpy(entry.id, question->key.id, sizeof entry.id);
    enum deja_status status = dj_value_create(&entry, &question->value);
    if (status != DEJA_OK) {
        destroy(question);
        return status;
    }
    status = ask_once(question, NULL);
    if (status != DEJA_OK || !is_new)
        return status;
    struct comparison comparison = {.wanted = value};
    status = get(ctx, table, key, &comparison, on_compared);
    return status == DEJA_OK && !comparison.is_equal ? DEJA_ERR_BUSY : status;
}

static enum deja_status remove_document(void *ctx, const char *table, struct deja_slice key)
{
    if (!is_ours(table, key))
        return DEJA_ERR_UNSUPPORTED;
    return ask_once(create(ctx, QUESTION_REMOVE, key), NULL);
}

/* ---- all of them ---- */

static enum deja_status list(struct dj_store_documents *documents, void *ctx,
                             dj_authority_each_fn *each, dj_authority_change_fn *change)
{
    struct dj_store_page place = {.count = 0};
    bool is_over = false;
    enum deja_status status = DEJA_OK;
    while (status == DEJA_OK && !is_over) {
        struct question *question = create(documents, QUESTION_LIST, deja_slice_text(TABLE));
        if (!question)
            return DEJA_ERR_NOMEM;
        question->page = place;
        struct question *answered = NULL;
        status = ask_once(question, &answered);
        if (status != DEJA_OK)
            return status;
        for (uint32_t i = 0; i < answered->page.count && !is_over; i++) {
            const struct dj_entry *entry = dj_value_entry(answered->page.values[i]);
            if (change)
                change(ctx, TABLE, entry->query, entry->body);
            else
                is_over = !each(ctx, entry->query, entry->body);
        }
        is_over = is_over || answered->page.is_last;
        place = answered->page;
        place.count = 0;
        destroy(answered);
    }
    return status;
}

static enum deja_status walk(void *ctx, const char *table, void *each_ctx,
                             dj_authority_each_fn *each)
{
    return strcmp(table, TABLE) == 0 ? list(ctx, each_ctx, each, NULL) : DEJA_ERR_UNSUPPORTED;
}

/* The sequence is when it was last listed. */
static enum deja_status pull(void *ctx, uint64_t since, void *change_ctx,
                             dj_authority_change_fn *change, uint64_t *out_sequence)
{
    uint64_t now_us = dj_clock_monotonic_us();
    if (since && now_us - since < PULL_US)
        return DEJA_OK;
    enum deja_status status = list(ctx, change_ctx, NULL, change);
    if (status == DEJA_OK)
        *out_sequence = now_us;
    return status;
}

/* ---- life ---- */

enum deja_status dj_store_documents_create(struct dj_store *store, struct dj_loop *loop,
                                           uint32_t timeout_ms,
                                           struct dj_store_documents **out_documents)
{
    struct dj_store_documents *documents = dj_alloc_zeroed(1, sizeof *documents);
    if (!documents)
        return DEJA_ERR_NOMEM;
    documents->store = store;
    documents->loop = loop;
    documents->timeout_ms = timeout_ms;
    *out_documents = documents;
    return DEJA_OK;
}

void dj_store_documents_destroy(struct dj_store_documents *documents)
{
    dj_free(documents);
}

void dj_store_documents_stop(struct dj_store_documents *documents)
{
    atomic_store(&documents->is_stopped, true);
}

struct dj_authority dj_store_documents_table(struct dj_store_documents *documents)
{
    return (struct dj_authority){.ctx = documents,
                                 .name = documents->store->ops->level,
                                 .get = get,
                                 .put = put,
                                 .remove = remove_document,
                                 .walk = walk,
                                 .pull = pull};
}
