/* api/idempotency.c - see idempotency.h.
 *
 * (1) A record is in the map; it is on the list, too, once its answer is kept. (2) The list is in
 * the order in which answers came, so what has expired is at its front.
 */
#include "api/idempotency.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/list.h"
#include "base/map.h"

#define LIFE_MS (24 * 3600 * INT64_C(1000))

struct record {
    struct dj_list node; /* kept only */
    uint8_t name[DJ_SHA256_BYTES];
    uint8_t body[DJ_SHA256_BYTES];
    int64_t began_ms;
    int status; /* 0: in flight */
    char *answer;
    size_t answer_len;
};

struct dj_idempotency {
    pthread_mutex_t lock;
    struct dj_map *records;
    struct dj_list kept; /* oldest first */
    size_t count_max;
    size_t bytes_max;
    size_t bytes; /* of kept answers */
};

enum deja_status dj_idempotency_create(size_t count_max, size_t bytes_max,
                                       struct dj_idempotency **out_table)
{
    struct dj_idempotency *table = dj_alloc_zeroed(1, sizeof *table);
    if (!table)
        return DEJA_ERR_NOMEM;
    /* Names are HMACs: their first bytes are a hash nobody can aim. */
    enum deja_status status = dj_map_create(count_max, NULL, NULL, &table->records);
    if (status == DEJA_OK && pthread_mutex_init(&table->lock, NULL) != 0)
        status = DEJA_ERR_NOMEM;
    if (status != DEJA_OK) {
        dj_map_destroy(table->records);
        dj_free(table);
        return status;
    }
    dj_list_init(&table->kept);
    table->count_max = count_max;
    table->bytes_max = bytes_max;
    *out_table = table;
    return DEJA_OK;
}

static void record_destroy(struct record *record)
{
    dj_free(record->answer);
    dj_free(record);
}

void dj_idempotency_destroy(struct dj_idempotency *table)
{
    if (!table)
        return;
    size_t cursor = 0;
    struct deja_slice key;
    void *record;
    while (dj_map_next(table->records, &cursor, &key, &record))
        record_destroy(record);
    dj_map_destroy(table->records);
    pthread_mutex_destroy(&table->lock);
    dj_free(table);
}

static struct deja_slice name_of(const uint8_t name[DJ_SHA256_BYTES])
{
    return deja_slice((const char *)name, DJ_SHA256_BYTES);
}

static void drop(struct dj_idempotency *table, struct record *record)
{
    dj_map_remove(table->records, name_of(record->name));
    if (record->status) {
        dj_list_remove(&record->node);
        table->bytes -= record->answer_len;
    }
    record_destroy(record);
}

static struct record *oldest(struct dj_idempotency *table)
{
    return dj_list_is_empty(&table->kept) ? NULL
                                          : DJ_CONTAINER(table->kept.next, struct record, node);
}

/* Drops what has expired, then the oldest until there is room for one more. */
static void make_room(struct dj_idempotency *table, int64_t now_ms, size_t bytes)
{
    struct record *record = oldest(table);
    while (record && (record->began_ms + LIFE_MS <= now_ms ||
                      dj_map_count(table->records) >= table->count_max ||
                      table->bytes + bytes > table->bytes_max)) {
        drop(table, record);
        record = oldest(table);
    }
}

static enum dj_idempotent begin_new(struct dj_idempotency *table, const uint8_t *name,
                                    const uint8_t *body, int64_t now_ms)
{
    struct record *record = dj_alloc_zeroed(1, sizeof *record);
    if (!record)
        return DJ_IDEMPOTENT_FULL;
    memcpy(record->name, name, sizeof record->name);
    memcpy(record->body, body, sizeof record->body);
    record->began_ms = now_ms;
    if (dj_map_put(table->records, name_of(record->name), record, NULL) == DEJA_OK)
        return DJ_IDEMPOTENT_NEW;
    dj_free(record);
    return DJ_IDEMPOTENT_FULL;
}

enum dj_idempotent dj_idempotency_begin(struct dj_idempotency *table,
                                        const uint8_t name[DJ_SHA256_BYTES],
                                        const uint8_t body[DJ_SHA256_BYTES], int64_t now_ms,
                                        int *out_status, struct dj_buf *out_body)
{
    enum dj_idempotent outcome;
    pthread_mutex_lock(&table->lock);
    struct record *record = dj_map_find(table->records, name_of(name));
    if (record && record->status && record->began_ms + LIFE_MS <= now_ms) {
        drop(table, record);
        record = NULL;
    }
    if (!record) {
        make_room(table, now_ms, 0);
        outcome = begin_new(table, name, body, now_ms);
    } else if (memcmp(record->body, body, sizeof record->body) != 0) {
        outcome = DJ_IDEMPOTENT_OTHER_BODY;
    } else if (!record->status) {
        outcome = DJ_IDEMPOTENT_IN_FLIGHT;
    } else {
        outcome = DJ_IDEMPOTENT_REPLAY;
        *out_status = record->status;
        dj_buf_append(out_body, record->answer, record->answer_len);
    }
    pthread_mutex_unlock(&table->lock);
    return outcome;
}

void dj_idempotency_finish(struct dj_idempotency *table, const uint8_t name[DJ_SHA256_BYTES],
                           int status, struct deja_slice answer)
{
    pthread_mutex_lock(&table->lock);
    struct record *record = dj_map_find(table->records, name_of(name));
    if (record && !record->status) {
        bool is_kept = answer.len <= DJ_IDEMPOTENCY_ANSWER_BYTES_MAX;
        if (is_kept && answer.len)
            record->answer = dj_alloc(answer.len);
        if (is_kept && (record->answer || !answer.len)) {
            make_room(table, record->began_ms, answer.len);
            if (answer.len)
                memcpy(record->answer, answer.data, answer.len);
            record->answer_len = answer.len;
            record->status = status;
            table->bytes += answer.len;
            dj_list_push_back(&table->kept, &record->node);
        } else {
            drop(table, record);
        }
    }
    pthread_mutex_unlock(&table->lock);
}

void dj_idempotency_forget(struct dj_idempotency *table, const uint8_t name[DJ_SHA256_BYTES])
{
    pthread_mutex_lock(&table->lock);
    struct record *record = dj_map_find(table->records, name_of(name));
    if (record && !record->status)
        drop(table, record);
    pthread_mutex_unlock(&table->lock);
}

void dj_idempotency_clear(struct dj_idempotency *table)
{
    pthread_mutex_lock(&table->lock);
    for (struct record *record = oldest(table); record; record = oldest(table))
        drop(table, record);
    pthread_mutex_unlock(&table->lock);
}
