/* cache/happenings.c - see happenings.h. A lock for the time of one copy; the ring is made at once,
 * so that nothing is asked of the allocator later. */
#include "cache/happenings.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/date.h"
#include "base/num.h"
#include "proto/entry_json.h"
#include "security/tenant.h"

#define READ_MAX 64u /* copied under the lock at once */
#define MS_PER_S 1000u

struct dj_happenings {
    unsigned kinds;
    pthread_mutex_t lock; /* of what follows; a leaf */
    uint64_t last;        /* how many there were */
    struct dj_happening items[DJ_HAPPENINGS_KEPT];
};

const char *dj_happening_text(enum dj_happening_kind kind)
{
    static const char *const texts[DJ_HAPPENING_KINDS] = {
        [DJ_HAPPENED_GET] = "get_success",   [DJ_HAPPENED_MISS] = "get_miss",
        [DJ_HAPPENED_SET] = "set_success",   [DJ_HAPPENED_DELETE] = "delete_success",
        [DJ_HAPPENED_EVICTION] = "eviction",
    };
    return texts[kind];
}

enum deja_status dj_happenings_create(unsigned kinds, struct dj_happenings **out_happenings)
{
    struct dj_happenings *happenings = dj_alloc_zeroed(1, sizeof *happenings);
    if (!happenings)
        return DEJA_ERR_NOMEM;
    happenings->kinds = kinds;
    pthread_mutex_init(&happenings->lock, NULL);
    *out_happenings = happenings;
    return DEJA_OK;
}

void dj_happenings_destroy(struct dj_happenings *happenings)
{
    if (!happenings)
        return;
    pthread_mutex_destroy(&happenings->lock);
    dj_free(happenings);
}

void dj_happenings_note(struct dj_happenings *happenings, const struct dj_happening *happening)
{
    if (!happenings || !(happenings->kinds & (1u << happening->kind)))
        return;
    pthread_mutex_lock(&happenings->lock);
    happenings->items[happenings->last++ % DJ_HAPPENINGS_KEPT] = *happening;
    pthread_mutex_unlock(&happenings->lock);
}

struct dj_happening dj_happening_of(enum dj_happening_kind kind, const struct dj_entry *entry,
                                    int64_t now_ms)
{
    struct dj_happening happening = {.kind = kind,
                                     .time_ms = now_ms,
                                     .has_id = true,
                                     .entry_kind = dj_entry_kind_text(entry->kind),
                                     .ttl_ms = DJ_HAPPENING_NEVER};
    memcpy(happening.tenant, entry->tenant, sizeof happening.tenant);
    memcpy(happening.id, entry->id, sizeof happening.id);
    if (entry->expires_ms)
        happening.ttl_ms = entry->expires_ms > now_ms ? (uint64_t)(entry->expires_ms - now_ms) : 0;
    return happening;
}

size_t dj_happenings_read(struct dj_happenings *happenings, uint64_t *place,
                          struct dj_happening *out_items, size_t max, uint64_t *lost)
{
    size_t count = 0;
    bool is_more = true;
    while (is_more && count < max) {
        pthread_mutex_lock(&happenings->lock);
        uint64_t last = happenings->last;
        uint64_t first = last > DJ_HAPPENINGS_KEPT ? last - DJ_HAPPENINGS_KEPT : 0;
        if (*place < first) {
            *lost += first - *place;
            *place = first;
        }
        for (size_t i = 0; i < READ_MAX && count < max && *place < last; i++)
            out_items[count++] = happenings->items[(*place)++ % DJ_HAPPENINGS_KEPT];
        is_more = *place < last;
        pthread_mutex_unlock(&happenings->lock);
    }
    return count;
}

static void put_text(struct dj_json_writer *w, const char *name, const char *text)
{
    dj_json_key(w, name);
    if (text)
        dj_json_put_text(w, text);
    else
        dj_json_put_null(w);
}

void dj_happening_write(struct dj_json_writer *w, const struct dj_happening *happening)
{
    char time[DJ_DATE_RFC3339_BYTES];
    char tenant[DJ_TENANT_TEXT_BYTES];
    char id[2 * DJ_ID_BYTES + 1];
    dj_date_rfc3339(happening->time_ms, time);
    dj_tenant_text(happening->tenant, tenant);
    dj_hex_encode(happening->id, sizeof happening->id, id);
    dj_json_begin_object(w);
    put_text(w, "event", dj_happening_text(happening->kind));
    put_text(w, "time", time);
    put_text(w, "tenant", tenant);
    put_text(w, "id", happening->has_id ? id : NULL);
    put_text(w, "kind", happening->entry_kind);
    put_text(w, "tier", happening->tier);
    put_text(w, "reason", happening->reason);
    dj_json_key(w, "ttl_s");
    if (happening->ttl_ms && happening->ttl_ms != DJ_HAPPENING_NEVER)
        dj_json_put_double(w, (double)happening->ttl_ms / MS_PER_S);
    else
        dj_json_put_null(w);
    dj_json_end_object(w);
}
