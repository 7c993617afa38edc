/* proxy/asked.c - see asked.h.
 *
 * (1) A key is in its shard's map and list, or in neither.
 * (2) bytes of a shard is the length of its requests, and never above its part of bytes_max.
 * (3) Where a shard is full, of SAMPLE keys drawn by chance the one that was asked for least goes:
 *     nobody has to keep all of them in order.
 */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "crypto/digest.h"
#include "proto/http_text.h"
#include "proxy/asked_internal.h"

#define SAMPLE 8u

/* What is in some family's key beside the body, or narrows it (WIRE §5). */
static const char *const kept_headers[] = {
    "anthropic-beta",   "anthropic-version", "openai-organization", "openai-project",
    "x-deja-namespace", "x-deja-tags",       "x-deja-ttl",          "x-bf-vk",
};
static_assert(sizeof kept_headers / sizeof *kept_headers <= DJ_ASKED_HEADERS_MAX, "all have room");

/* ---- life ---- */

enum deja_status dj_asked_create(const struct dj_asked_options *options,
                                 struct dj_asked **out_asked)
{
    struct dj_asked *asked = dj_alloc_zeroed(1, sizeof *asked);
    if (!asked)
        return DEJA_ERR_NOMEM;
    asked->options = *options;
    size_t part = options->keys_max / ASKED_SHARDS + 1;
    enum deja_status status = dj_map_create(DJ_ASKED_TENANTS_MAX, NULL, NULL, &asked->tenants);
    pthread_mutex_init(&asked->tenants_lock, NULL);
    for (size_t i = 0; i < ASKED_SHARDS; i++) {
        struct asked_shard *shard = &asked->shards[i];
        pthread_mutex_init(&shard->lock, NULL);
        if (status == DEJA_OK)
            status = dj_map_create(part, NULL, NULL, &shard->map);
        shard->keys = dj_alloc_zeroed(part, sizeof *shard->keys);
        if (status == DEJA_OK && !shard->keys)
            status = DEJA_ERR_NOMEM;
    }
    if (status != DEJA_OK) {
        dj_asked_destroy(asked);
        return status;
    }
    *out_asked = asked;
    return DEJA_OK;
}

static void drop_request(struct asked_shard *shard, struct asked_key *key)
{
    if (!key->request)
        return;
    shard->bytes -= key->request_len;
    dj_wipe(key->request, key->request_len);
    dj_free(key->request);
    key->request = NULL;
    key->request_len = 0;
}

static void drop_key(struct dj_asked *asked, struct asked_shard *shard, struct asked_key *key)
{
    if (key->is_warm)
        atomic_fetch_sub(&asked->warm, 1);
    dj_map_remove(shard->map, deja_slice(&key->name, sizeof key->name));
    shard->keys[key->place] = shard->keys[--shard->count];
    shard->keys[key->place]->place = key->place;
    drop_request(shard, key);
    dj_free(key);
}

void dj_asked_destroy(struct dj_asked *asked)
{
    if (!asked)
        return;
    for (size_t i = 0; i < ASKED_SHARDS; i++) {
        struct asked_shard *shard = &asked->shards[i];
        while (shard->count)
            drop_key(asked, shard, shard->keys[shard->count - 1]);
        dj_map_destroy(shard->map);
        dj_free(shard->keys);
        pthread_mutex_destroy(&shard->lock);
    }
    size_t cursor = 0;
    struct deja_slice key;
    void *tenant = NULL;
    while (asked->tenants && dj_map_next(asked->tenants, &cursor, &key, &tenant))
        dj_free(tenant);
    dj_map_destroy(asked->tenants);
    pthread_mutex_destroy(&asked->tenants_lock);
    dj_free(asked);
}

/* ---- keys ---- */

struct asked_shard *asked_shard_of(struct dj_asked *asked, const uint8_t id[DJ_ID_BYTES])
{
    return &asked->shards[id[DJ_ID_BYTES - 1] % ASKED_SHARDS];
}

struct asked_key *asked_find(struct asked_shard *shard, const struct asked_name *name)
{
    return dj_map_find(shard->map, deja_slice(name, sizeof *name));
}

/* Of a few keys by chance the one that was asked for least, and longest ago. */
static struct asked_key *weakest(struct asked_shard *shard)
{
    struct asked_key *worst = NULL;
    for (uint32_t i = 0; i < SAMPLE; i++) {
        shard->draws = shard->draws * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        struct asked_key *key = shard->keys[(shard->draws >> 33) % shard->count];
        if (!worst || key->total < worst->total ||
            (key->total == worst->total && key->habit.last_hour < worst->habit.last_hour))
            worst = key;
    }
    return worst;
}

struct asked_key *asked_key_of(struct dj_asked *asked, struct asked_shard *shard,
                               const struct asked_name *name)
{
    struct asked_key *key = asked_find(shard, name);
    if (key)
        return key;
    key = dj_alloc_zeroed(1, sizeof *key);
    if (!key)
        return NULL;
    if (shard->count >= asked->options.keys_max / ASKED_SHARDS)
        drop_key(asked, shard, weakest(shard));
    key->name = *name;
    if (dj_map_put(shard->map, deja_slice(name, sizeof *name), key, NULL) != DEJA_OK) {
        dj_free(key);
        return NULL;
    }
    key->place = shard->count;
    shard->keys[shard->count++] = key;
    return key;
}

/* (2): requests of others go first. */
static bool make_room(struct dj_asked *asked, struct asked_shard *shard,
                      const struct asked_key *asking, size_t len)
{
    uint64_t max = asked->options.bytes_max / ASKED_SHARDS;
    for (uint32_t tries = 0; shard->bytes + len > max && tries < 64; tries++) {
        struct asked_key *worst = weakest(shard);
        if (worst != asking && worst->total <= asking->total)
            drop_request(shard, worst);
    }
    return shard->bytes + len <= max;
}

void asked_set_request(struct dj_asked *asked, struct asked_shard *shard, struct asked_key *key,
                       char *packed, size_t len)
{
    drop_request(shard, key);
    if (!make_room(asked, shard, key, len)) {
        dj_wipe(packed, len);
        dj_free(packed);
        return;
    }
    key->request = packed;
    key->request_len = len;
    shard->bytes += len;
}

struct asked_tenant *asked_tenant_of(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES])
{
    struct asked_tenant *found =
        dj_map_find_or_make(asked->tenants, deja_slice(tenant, DJ_ID_BYTES), sizeof *found);
    if (found)
        memcpy(found->id, tenant, DJ_ID_BYTES);
    return found;
}

/* ---- requests, packed: lengths, then target, headers, body ---- */

static void put_text(struct dj_buf *out, struct deja_slice text)
{
    uint32_t len = (uint32_t)text.len;
    dj_buf_append(out, &len, sizeof len);
    dj_buf_append_slice(out, text);
}

static bool get_text(struct deja_slice *bytes, struct deja_slice *out)
{
    uint32_t len = 0;
    if (bytes->len < sizeof len)
        return false;
    memcpy(&len, bytes->data, sizeof len);
    if (bytes->len - sizeof len < len)
        return false;
    *out = deja_slice(bytes->data + sizeof len, len);
    *bytes = deja_slice(bytes->data + sizeof len + len, bytes->len - sizeof len - len);
    return true;
}

static enum deja_status pack(const struct dj_asked_request *request, struct dj_buf *out)
{
    uint32_t count = (uint32_t)request->header_count;
    dj_buf_append(out, &count, sizeof count);
    put_text(out, request->target);
    for (size_t i = 0; i < request->header_count; i++) {
        put_text(out, request->headers[i].name);
        put_text(out, request->headers[i].value);
    }
    put_text(out, request->body);
    return out->status;
}

bool asked_unpack(struct deja_slice packed, struct dj_asked_request *out_request)
{
    struct dj_asked_request request = {.header_count = 0};
    uint32_t count = 0;
    if (packed.len < sizeof count)
        return false;
    memcpy(&count, packed.data, sizeof count);
    struct deja_slice rest = deja_slice(packed.data + sizeof count, packed.len - sizeof count);
    if (count > DJ_ASKED_HEADERS_MAX || !get_text(&rest, &request.target))
        return false;
    for (; request.header_count < count; request.header_count++) {
        struct dj_http_header *header = &request.headers[request.header_count];
        if (!get_text(&rest, &header->name) || !get_text(&rest, &header->value))
            return false;
    }
    if (!get_text(&rest, &request.body) || rest.len)
        return false;
    *out_request = request;
    return true;
}

void dj_asked_take(const struct dj_http_request *request, struct deja_slice body,
                   struct dj_asked_request *out_request)
{
    *out_request = (struct dj_asked_request){.target = request->target, .body = body};
    for (size_t i = 0; i < sizeof kept_headers / sizeof *kept_headers; i++) {
        struct deja_slice value = dj_http_find_header(request, kept_headers[i]);
        if (value.len)
            out_request->headers[out_request->header_count++] =
                (struct dj_http_header){deja_slice_text(kept_headers[i]), value};
    }
}

enum dj_predict_request dj_asked_kind(const struct dj_asked_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        struct deja_slice list = request->headers[i].value;
        struct deja_slice tag;
        if (!dj_http_is_same(request->headers[i].name, "x-deja-tags"))
            continue;
        while (dj_http_list_next(&list, &tag)) {
            if (tag.len >= 8 && memcmp(tag.data, "template", 8) == 0)
                return DJ_PREDICT_TEMPLATE;
            if (tag.len >= 8 && memcmp(tag.data, "document", 8) == 0)
                return DJ_PREDICT_DOCUMENT;
        }
    }
    return DJ_PREDICT_ANSWER;
}

bool dj_asked_request(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                      const uint8_t id[DJ_ID_BYTES], struct dj_buf *out,
                      struct dj_asked_request *out_request)
{
    struct asked_shard *shard = asked_shard_of(asked, id);
    struct asked_name name;
    memcpy(name.id, id, sizeof name.id);
    memcpy(name.tenant, tenant, sizeof name.tenant);
    pthread_mutex_lock(&shard->lock);
    const struct asked_key *key = asked_find(shard, &name);
    if (key && key->request)
        dj_buf_append(out, key->request, key->request_len);
    pthread_mutex_unlock(&shard->lock);
    return out->len && out->status == DEJA_OK && asked_unpack(dj_buf_slice(out), out_request);
}

/* ---- what happens ---- */

static void count_hour(struct asked_key *key, int64_t hour)
{
    int64_t passed = hour - key->day_hour;
    for (int64_t i = 1; i <= passed && i <= (int64_t)ASKED_DAY; i++)
        key->day[(uint64_t)(key->day_hour + i) % ASKED_DAY] = 0;
    if (passed > 0)
        key->day_hour = hour;
    uint16_t *count = &key->day[(uint64_t)hour % ASKED_DAY];
    if (key->day_hour - hour < (int64_t)ASKED_DAY && *count < UINT16_MAX)
        (*count)++;
    key->total++;
}

uint32_t asked_in_day(const struct asked_key *key, int64_t hour)
{
    uint32_t sum = 0;
    for (int64_t h = key->day_hour; h > key->day_hour - (int64_t)ASKED_DAY; h--)
        if (h > hour - (int64_t)ASKED_DAY && h <= hour && h >= 0)
            sum += key->day[(uint64_t)h % ASKED_DAY];
    return sum;
}

static void keep_request(struct dj_asked *asked, struct asked_shard *shard, struct asked_key *key,
                         const struct dj_asked_request *request)
{
    struct dj_buf packed = {0};
    if (!request || key->request || request->body.len > asked->options.request_bytes ||
        request->target.len > 4096)
        return;
    if (pack(request, &packed) == DEJA_OK)
        asked_set_request(asked, shard, key, packed.data, packed.len);
    else
        dj_buf_fini(&packed);
}

bool dj_asked_is_learning(const struct dj_asked *asked)
{
    return asked && asked->options.is_learning;
}

void dj_asked_note(struct dj_asked *asked, const struct dj_asked_access *access)
{
    struct asked_shard *shard = asked_shard_of(asked, access->id);
    struct asked_name name;
    int64_t hour = dj_predict_hour_of(access->at_ms);
    memcpy(name.id, access->id, sizeof name.id);
    memcpy(name.tenant, access->tenant, sizeof name.tenant);
    pthread_mutex_lock(&shard->lock);
    struct asked_key *key = asked_key_of(asked, shard, &name);
    if (!key) {
        pthread_mutex_unlock(&shard->lock);
        return;
    }
    bool is_first = !dj_habit_has(&key->habit, hour);
    bool is_covered = access->at_ms < key->warm_until_ms;
    dj_habit_note(&key->habit, access->at_ms, access->user, access->kind);
    count_hour(key, hour);
    keep_request(asked, shard, key, access->request);
    pthread_mutex_unlock(&shard->lock);
    if (!is_first)
        return; /* so the tenants' lock is taken once an hour and key */
    pthread_mutex_lock(&asked->tenants_lock);
    struct asked_tenant *tenant = asked_tenant_of(asked, access->tenant);
    if (tenant) {
        tenant->is_changed = true;
        tenant->counts.asked++;
        tenant->counts.covered += is_covered;
    }
    pthread_mutex_unlock(&asked->tenants_lock);
}

static void count(struct dj_asked *asked, const uint8_t *id, uint64_t warmed, uint64_t used,
                  double cost_usd, double unused_usd)
{
    pthread_mutex_lock(&asked->tenants_lock);
    struct asked_tenant *tenant = asked_tenant_of(asked, id);
    if (tenant) {
        tenant->counts.warmed += warmed;
        tenant->counts.used += used;
        tenant->counts.cost_usd += cost_usd;
        tenant->counts.unused_usd += unused_usd;
    }
    pthread_mutex_unlock(&asked->tenants_lock);
}

void dj_asked_note_warmed(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                          const uint8_t id[DJ_ID_BYTES], int64_t until_ms, double cost_usd)
{
    struct asked_shard *shard = asked_shard_of(asked, id);
    struct asked_name name;
    memcpy(name.id, id, sizeof name.id);
    memcpy(name.tenant, tenant, sizeof name.tenant);
    pthread_mutex_lock(&shard->lock);
    struct asked_key *key = asked_key_of(asked, shard, &name);
    if (key) {
        if (!key->is_warm)
            atomic_fetch_add(&asked->warm, 1);
        key->is_warm = true;
        key->warm_until_ms = until_ms;
        key->warm_cost_usd = cost_usd;
    }
    pthread_mutex_unlock(&shard->lock);
    count(asked, tenant, 1, 0, cost_usd, cost_usd);
}

bool dj_asked_note_hit(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                       const uint8_t id[DJ_ID_BYTES], int64_t now_ms)
{
    struct asked_shard *shard = asked_shard_of(asked, id);
    struct asked_name name;
    double cost_usd = 0;
    bool is_first_use = false;
    if (atomic_load_explicit(&asked->warm, memory_order_relaxed) == 0)
        return false;
    memcpy(name.id, id, sizeof name.id);
    memcpy(name.tenant, tenant, sizeof name.tenant);
    pthread_mutex_lock(&shard->lock);
    struct asked_key *key = asked_find(shard, &name);
    if (key && key->is_warm) {
        is_first_use = now_ms < key->warm_until_ms;
        cost_usd = key->warm_cost_usd;
        key->is_warm = false;
        atomic_fetch_sub(&asked->warm, 1);
    }
    pthread_mutex_unlock(&shard->lock);
    if (is_first_use)
        count(asked, tenant, 0, 1, 0, -cost_usd);
    return is_first_use;
}

void dj_asked_forget(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES])
{
    for (size_t s = 0; s < ASKED_SHARDS; s++) {
        struct asked_shard *shard = &asked->shards[s];
        pthread_mutex_lock(&shard->lock);
        for (size_t i = shard->count; i > 0; i--)
            if (memcmp(shard->keys[i - 1]->name.tenant, tenant, DJ_ID_BYTES) == 0)
                drop_key(asked, shard, shard->keys[i - 1]);
        pthread_mutex_unlock(&shard->lock);
    }
    pthread_mutex_lock(&asked->tenants_lock);
    dj_free(dj_map_remove(asked->tenants, deja_slice(tenant, DJ_ID_BYTES)));
    pthread_mutex_unlock(&asked->tenants_lock);
}
