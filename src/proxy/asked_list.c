/* proxy/asked_list.c - asked.h's lists: copies of a tenant's keys, in an order. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "proxy/asked_internal.h"

#define SEED 1 /* of the clusters: the same habits give the same predictions */

static size_t count_keys(struct dj_asked *asked)
{
    size_t count = 0;
    for (size_t s = 0; s < ASKED_SHARDS; s++) {
        pthread_mutex_lock(&asked->shards[s].lock);
        count += asked->shards[s].count;
        pthread_mutex_unlock(&asked->shards[s].lock);
    }
    return count;
}

static int compare_ids(const void *a, const void *b)
{
    const struct dj_asked_item *one = a;
    const struct dj_asked_item *other = b;
    return memcmp(one->id, other->id, DJ_ID_BYTES);
}

enum deja_status asked_copy(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                            int64_t now_hour, struct dj_asked_item **out_items, size_t *out_count)
{
    size_t cap = count_keys(asked);
    size_t count = 0;
    struct dj_asked_item *items = dj_alloc(sizeof *items * (cap + 1));
    if (!items)
        return DEJA_ERR_NOMEM;
    for (size_t s = 0; s < ASKED_SHARDS; s++) {
        struct asked_shard *shard = &asked->shards[s];
        pthread_mutex_lock(&shard->lock);
        for (size_t i = 0; i < shard->count && count < cap; i++) {
            const struct asked_key *key = shard->keys[i];
            if (memcmp(key->name.tenant, tenant, DJ_ID_BYTES) != 0 || !key->habit.has_begun)
                continue;
            struct dj_asked_item *item = &items[count++];
            *item = (struct dj_asked_item){.habit = key->habit,
                                           .day = asked_in_day(key, now_hour),
                                           .total = key->total,
                                           .has_request = key->request != NULL};
            memcpy(item->id, key->name.id, sizeof item->id);
        }
        pthread_mutex_unlock(&shard->lock);
    }
    /* So that the same knowledge gives the same clusters. */
    qsort(items, count, sizeof *items, compare_ids);
    *out_items = items;
    *out_count = count;
    return DEJA_OK;
}

static int compare_days(const void *a, const void *b)
{
    const struct dj_asked_item *one = a;
    const struct dj_asked_item *other = b;
    if (one->day != other->day)
        return one->day < other->day ? 1 : -1;
    if (one->total != other->total)
        return one->total < other->total ? 1 : -1;
    return compare_ids(a, b);
}

enum deja_status dj_asked_top(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                              int64_t now_ms, size_t count_max, struct dj_asked_item **out_items,
                              size_t *out_count)
{
    struct dj_asked_item *items = NULL;
    size_t count = 0;
    enum deja_status status = asked_copy(asked, tenant, dj_predict_hour_of(now_ms), &items, &count);
    if (status != DEJA_OK)
        return status;
    qsort(items, count, sizeof *items, compare_days);
    *out_items = items;
    *out_count = count < count_max ? count : count_max;
    return DEJA_OK;
}

static int compare_chances(const void *a, const void *b)
{
    const struct dj_asked_item *one = a;
    const struct dj_asked_item *other = b;
    double apart = one->prediction.probability - other->prediction.probability;
    return apart > 0 ? -1 : apart < 0 ? 1 : compare_ids(a, b);
}

static enum deja_status train(const struct dj_asked_item *items, size_t count,
                              struct dj_predict_model *out_model)
{
    const struct dj_habit **habits = dj_alloc(sizeof *habits * (count + 1));
    if (!habits)
        return DEJA_ERR_NOMEM;
    for (size_t i = 0; i < count; i++)
        habits[i] = &items[i].habit;
    enum deja_status status = dj_predict_train(habits, count, SEED, out_model);
    dj_free(habits);
    return status;
}

enum deja_status dj_asked_likely(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                                 int64_t now_hour, int64_t hour, double threshold, size_t count_max,
                                 struct dj_asked_item **out_items, size_t *out_count,
                                 uint32_t *out_clusters)
{
    struct dj_asked_item *items = NULL;
    struct dj_predict_model *model = dj_alloc(sizeof *model);
    size_t count = 0;
    size_t kept = 0;
    enum deja_status status =
        model ? asked_copy(asked, tenant, now_hour, &items, &count) : DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        status = train(items, count, model);
    for (size_t i = 0; i < count && status == DEJA_OK; i++) {
        struct dj_asked_item *item = &items[i];
        if (!dj_habit_may_come(&item->habit, hour))
            continue;
        dj_predict_one(model, &item->habit, now_hour, hour, &item->prediction);
        if (item->prediction.probability > threshold)
            items[kept++] = *item;
    }
    if (status == DEJA_OK) {
        qsort(items, kept, sizeof *items, compare_chances);
        *out_items = items;
        *out_count = kept < count_max ? kept : count_max;
        *out_clusters = model->clusters.count;
    } else {
        dj_free(items);
    }
    dj_free(model);
    return status;
}

size_t dj_asked_tenants(struct dj_asked *asked, bool is_changed,
                        uint8_t (*out_tenants)[DJ_ID_BYTES], size_t count_max)
{
    size_t count = 0;
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    pthread_mutex_lock(&asked->tenants_lock);
    while (count < count_max && dj_map_next(asked->tenants, &cursor, &key, &value)) {
        const struct asked_tenant *tenant = value;
        if (!is_changed || tenant->is_changed)
            memcpy(out_tenants[count++], tenant->id, DJ_ID_BYTES);
    }
    pthread_mutex_unlock(&asked->tenants_lock);
    return count;
}

static void add(struct dj_asked_counts *sum, const struct dj_asked_counts *more)
{
    sum->warmed += more->warmed;
    sum->used += more->used;
    sum->cost_usd += more->cost_usd;
    sum->unused_usd += more->unused_usd;
    sum->asked += more->asked;
    sum->covered += more->covered;
}

void dj_asked_counts(struct dj_asked *asked, const uint8_t *tenant,
                     struct dj_asked_counts *out_counts)
{
    struct dj_asked_counts sum = {.keys = 0};
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    pthread_mutex_lock(&asked->tenants_lock);
    while (dj_map_next(asked->tenants, &cursor, &key, &value)) {
        const struct asked_tenant *one = value;
        if (!tenant || memcmp(one->id, tenant, DJ_ID_BYTES) == 0)
            add(&sum, &one->counts);
    }
    pthread_mutex_unlock(&asked->tenants_lock);
    for (size_t s = 0; s < ASKED_SHARDS; s++) {
        struct asked_shard *shard = &asked->shards[s];
        pthread_mutex_lock(&shard->lock);
        for (size_t i = 0; i < shard->count; i++)
            sum.keys +=
                !tenant || memcmp(shard->keys[i]->name.tenant, tenant, DJ_ID_BYTES) == 0 ? 1u : 0u;
        pthread_mutex_unlock(&shard->lock);
    }
    *out_counts = sum;
}
