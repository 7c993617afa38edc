/* proxy/asked_keep.c - asked.h's knowledge as bytes.
 *
 *   "DJAS" version:u32 count:u32 checksum:u64 (XXH3 of what follows)
 *   count times: id[16] first:i64 last:i64 week:i64 total:u64 user:u8 kind:u8 weeks[168] len:u32
 *                request[len]
 *
 * Numbers are little-endian, as every machine that this runs on writes them. Trust: our own,
 * checksummed (and sealed by who keeps it); every length is checked.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "proxy/asked_internal.h"

#define MAGIC "DJAS"
#define VERSION 1u
#define HEAD_BYTES 20u
#define KEY_BYTES (DJ_ID_BYTES + 4 * 8 + 2 + DJ_PREDICT_HOURS + 4)

static int compare_busyness(const void *a, const void *b)
{
    const struct dj_asked_item *one = a;
    const struct dj_asked_item *other = b;
    uint32_t left = dj_habit_count(&one->habit);
    uint32_t right = dj_habit_count(&other->habit);
    return left < right ? 1 : left > right ? -1 : memcmp(one->id, other->id, DJ_ID_BYTES);
}

static void write_key(struct dj_buf *out, const struct dj_asked_item *item,
                      struct deja_slice request)
{
    const int64_t times[] = {item->habit.first_hour, item->habit.last_hour, item->habit.week};
    const uint8_t types[] = {item->habit.user, item->habit.request};
    uint32_t len = (uint32_t)request.len;
    dj_buf_append(out, item->id, sizeof item->id);
    dj_buf_append(out, times, sizeof times);
    dj_buf_append(out, &item->total, sizeof item->total);
    dj_buf_append(out, types, sizeof types);
    dj_buf_append(out, item->habit.weeks, sizeof item->habit.weeks);
    dj_buf_append(out, &len, sizeof len);
    dj_buf_append_slice(out, request);
}

/* Empty: it has none. */
static void copy_request(struct dj_asked *asked, const uint8_t *tenant,
                         const struct dj_asked_item *item, struct dj_buf *out)
{
    struct asked_shard *shard = asked_shard_of(asked, item->id);
    struct asked_name name;
    memcpy(name.id, item->id, sizeof name.id);
    memcpy(name.tenant, tenant, sizeof name.tenant);
    dj_buf_clear(out);
    pthread_mutex_lock(&shard->lock);
    const struct asked_key *key = asked_find(shard, &name);
    if (key && key->request)
        dj_buf_append(out, key->request, key->request_len);
    pthread_mutex_unlock(&shard->lock);
}

static void write_keys(struct dj_asked *asked, const uint8_t *tenant,
                       const struct dj_asked_item *items, size_t count, size_t bytes_max,
                       struct dj_buf *keys, uint32_t *out_count)
{
    struct dj_buf request = {0};
    for (size_t i = 0; i < count; i++) {
        if (dj_habit_count(&items[i].habit) < 2)
            break; /* and so are all that follow */
        copy_request(asked, tenant, &items[i], &request);
        if (keys->len + KEY_BYTES + request.len > bytes_max)
            continue;
        write_key(keys, &items[i], dj_buf_slice(&request));
        (*out_count)++;
    }
    dj_buf_fini(&request);
}

enum deja_status dj_asked_write(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                                size_t bytes_max, struct dj_buf *out)
{
    struct dj_asked_item *items = NULL;
    struct dj_buf keys = {0};
    const uint32_t version = VERSION;
    uint32_t written = 0;
    size_t count = 0;
    pthread_mutex_lock(&asked->tenants_lock);
    struct asked_tenant *known = asked_tenant_of(asked, tenant);
    if (known)
        known->is_changed = false;
    pthread_mutex_unlock(&asked->tenants_lock);
    enum deja_status status = asked_copy(asked, tenant, 0, &items, &count);
    if (status != DEJA_OK)
        return status;
    qsort(items, count, sizeof *items, compare_busyness);
    write_keys(asked, tenant, items, count, bytes_max, &keys, &written);
    dj_free(items);
    uint64_t checksum = dj_hash64(keys.data, keys.len, 0);
    dj_buf_append(out, MAGIC, 4);
    dj_buf_append(out, &version, sizeof version);
    dj_buf_append(out, &written, sizeof written);
    dj_buf_append(out, &checksum, sizeof checksum);
    dj_buf_append_slice(out, dj_buf_slice(&keys));
    status = keys.status == DEJA_OK ? out->status : keys.status;
    dj_buf_fini(&keys);
    return status;
}

/* ---- reading ---- */

static void take(void *to, const char **at, size_t len)
{
    memcpy(to, *at, len);
    *at += len;
}

/* One key; false: it is cut short. *bytes moves behind it. */
static bool read_key(struct deja_slice *bytes, struct dj_asked_item *out,
                     struct deja_slice *out_request)
{
    const char *at = bytes->data;
    uint8_t types[2];
    uint32_t len = 0;
    if (bytes->len < KEY_BYTES)
        return false;
    *out = (struct dj_asked_item){.habit = {.has_begun = true}};
    take(out->id, &at, sizeof out->id);
    take(&out->habit.first_hour, &at, 8);
    take(&out->habit.last_hour, &at, 8);
    take(&out->habit.week, &at, 8);
    take(&out->total, &at, 8);
    take(types, &at, 2);
    take(out->habit.weeks, &at, sizeof out->habit.weeks);
    take(&len, &at, 4);
    if (bytes->len - KEY_BYTES < len || types[0] >= DJ_PREDICT_USERS ||
        types[1] >= DJ_PREDICT_REQUESTS)
        return false;
    out->habit.user = types[0];
    out->habit.request = types[1];
    *out_request = deja_slice(at, len);
    *bytes = deja_slice(at + len, bytes->len - KEY_BYTES - len);
    return true;
}

static bool is_whole(struct deja_slice keys, uint32_t count)
{
    struct dj_asked_item item;
    struct dj_asked_request request;
    struct deja_slice packed;
    for (uint32_t i = 0; i < count; i++)
        if (!read_key(&keys, &item, &packed) || (packed.len && !asked_unpack(packed, &request)))
            return false;
    return keys.len == 0;
}

static void merge(struct dj_asked *asked, const uint8_t *tenant, const struct dj_asked_item *item,
                  struct deja_slice packed)
{
    struct asked_shard *shard = asked_shard_of(asked, item->id);
    struct asked_name name;
    memcpy(name.id, item->id, sizeof name.id);
    memcpy(name.tenant, tenant, sizeof name.tenant);
    pthread_mutex_lock(&shard->lock);
    struct asked_key *key = asked_key_of(asked, shard, &name);
    if (key) {
        dj_habit_merge(&key->habit, &item->habit);
        key->total = key->total > item->total ? key->total : item->total;
        char *copy = packed.len && !key->request ? dj_alloc(packed.len) : NULL;
        if (copy) {
            memcpy(copy, packed.data, packed.len);
            asked_set_request(asked, shard, key, copy, packed.len);
        }
    }
    pthread_mutex_unlock(&shard->lock);
}

enum deja_status dj_asked_read(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                               struct deja_slice bytes)
{
    uint32_t version = 0;
    uint32_t count = 0;
    uint64_t checksum = 0;
    const char *at = bytes.data + 4;
    if (bytes.len < HEAD_BYTES || memcmp(bytes.data, MAGIC, 4) != 0)
        return DEJA_ERR_CORRUPT;
    take(&version, &at, sizeof version);
    take(&count, &at, sizeof count);
    take(&checksum, &at, sizeof checksum);
    struct deja_slice keys = deja_slice(at, bytes.len - HEAD_BYTES);
    if (version != VERSION)
        return DEJA_ERR_UNSUPPORTED;
    if (dj_hash64(keys.data, keys.len, 0) != checksum || !is_whole(keys, count))
        return DEJA_ERR_CORRUPT;
    for (uint32_t i = 0; i < count; i++) {
        struct dj_asked_item item;
        struct deja_slice packed;
        if (read_key(&keys, &item, &packed))
            merge(asked, tenant, &item, packed);
    }
    pthread_mutex_lock(&asked->tenants_lock);
    if (count && !asked_tenant_of(asked, tenant)) {
        /* No room for another tenant: nothing asks for its keys, they go as others come. */
    }
    pthread_mutex_unlock(&asked->tenants_lock);
    return DEJA_OK;
}
