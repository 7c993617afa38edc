/* deja/kv.h - plain keys: any bytes under a name, beside the entries that are found by meaning.
 *
 *     struct deja_kv kv;
 *     deja_kv_init(&kv);
 *     kv.key = deja_slice_text("session:7");
 *     kv.body = deja_slice_text("{}");
 *     status = deja_kv_set(deja, &kv, NULL);
 *     status = deja_kv_get(deja, &kv, &answer);          (deja_answer_outcome: a hit or DEJA_MISS)
 *
 * One cache, one set of tiers: what is said in deja/deja.h of threads, blocking, errors, tenants
 * and slices holds here. deja_clear and deja_invalidate reach plain keys too. Changes of one key
 * take effect one after the other, in the order in which they were made.
 */
#ifndef DEJA_KV_H
#define DEJA_KV_H

#include <deja/deja.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DEJA_KEY_BYTES_MAX 4096
#define DEJA_KEYS_MAX 1000 /* of one call for many */
#define DEJA_PATTERN_BYTES_MAX 1024
#define DEJA_VERSION_BYTES_MAX 128
#define DEJA_TTL_NEVER UINT64_MAX

enum deja_kv_if {
    DEJA_IF_ANY = 0,
    DEJA_IF_ABSENT,  /* only where nothing is */
    DEJA_IF_PRESENT, /* only where something is */
    DEJA_IF_VERSION  /* only where that version is: deja_answer_version */
};

/* ---- events ---- */

enum deja_event_kind {
    DEJA_ON_GET_SUCCESS,    /* found: tier */
    DEJA_ON_GET_MISS,       /* not found */
    DEJA_ON_SET_SUCCESS,    /* stored: ttl_ms */
    DEJA_ON_DELETE_SUCCESS, /* removed: count */
    DEJA_ON_EVICTION,       /* an entry left a tier without being asked to: tier, reason */
    DEJA_EVENT_KIND_COUNT
};

/* Borrowed until the callback returns; what an event does not tell is empty or 0. */
struct deja_event {
    enum deja_event_kind kind;
    const uint8_t *tenant;  /* DEJA_TENANT_BYTES */
    struct deja_slice text; /* the plain key, or the text of a question */
    const char *tier;       /* "memory", "lmdb", "store", "computed" */
    const char *reason;     /* "ttl", "size", "tenant_limit" */
    uint64_t ttl_ms;        /* DEJA_TTL_NEVER: it never ends */
    uint64_t count;
};

/* On one of the cache's own threads; it must not block, nor call the cache but for _async calls
 * (none at all in an eviction). What it returns changes nothing: DEJA_OK, or it is counted in
 * deja_kv_stats.events_failed. */
typedef enum deja_status deja_event_fn(void *ctx, const struct deja_event *event);

#define DEJA_HANDLERS_MAX 64
#define DEJA_HANDLER_NAME_BYTES_MAX 63

/* Calls fn for every such event of the cache, of plain keys and of entries alike, from now on. name
 * (1 to DEJA_HANDLER_NAME_BYTES_MAX bytes) is for deja_off; a second one of that kind and name
 * takes the place of the first. DEJA_ERR_LIMIT: DEJA_HANDLERS_MAX there are. */
DEJA_API DEJA_NODISCARD enum deja_status deja_on(struct deja *deja, enum deja_event_kind kind,
                                                 const char *name, void *ctx, deja_event_fn *fn);
/* Unless it was called inside a callback, fn is not running any more when this returns.
 * DEJA_ERR_NOT_FOUND. */
DEJA_API enum deja_status deja_off(struct deja *deja, enum deja_event_kind kind, const char *name);

/* ---- one key ---- */

/* Each call says which members it reads besides these six: struct_bytes, tenant, name_space, key,
 * timeout_ms, on_event. */
struct deja_kv {
    size_t struct_bytes; /* deja_kv_init */
    uint8_t tenant[DEJA_TENANT_BYTES];
    struct deja_slice name_space; /* at most DEJA_NAME_SPACE_BYTES_MAX */
    struct deja_slice key;        /* 1 to DEJA_KEY_BYTES_MAX bytes of any kind, but for ":@previous"
                                   * at the end, where the version before is kept */
    struct deja_slice body;       /* at most DEJA_BODY_BYTES_MAX */
    struct deja_slice metadata;   /* at most 64 KB */
    const struct deja_slice *tags; /* as in deja_entry */
    size_t tag_count;
    uint64_t ttl_ms;  /* 0: its kind's, else an hour; DEJA_TTL_NEVER */
    bool is_ttl_kept; /* what is there keeps its end */
    enum deja_kv_if condition;
    uint64_t version;        /* of the condition */
    uint32_t timeout_ms;     /* 0: as in deja.h: 1 s to read, 2 s to write, 10 s to clear */
    deja_event_fn *on_event; /* NULL, or told of this call's event, whatever else is registered */
    void *event_ctx;
    struct deja_slice kind; /* of a key that says nothing of its kind (docs/kinds.md): its life and
                             * the tag "kind:NAME" */
    const struct deja_slice *depends_on; /* as in deja_entry; with tags DEJA_TAGS_MAX together */
    size_t depends_on_count;
    struct deja_slice version_name; /* set: the value's name, and what was there is kept beside it
                                     * until its own end; get: only that one of the last two. At
                                     * most DEJA_VERSION_BYTES_MAX bytes of text */
};

static inline void deja_kv_init(struct deja_kv *kv)
{
    memset(kv, 0, sizeof *kv);
    kv->struct_bytes = sizeof *kv;
}

/* version_name. DEJA_OK: *out_answer is yours, a miss too. Errors as deja_lookup. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_get(struct deja *deja, const struct deja_kv *kv,
                                                     struct deja_answer **out_answer);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_get_async(struct deja *deja,
                                                           const struct deja_kv *kv, void *ctx,
                                                           deja_answer_fn *done);
/* For DEJA_IF_VERSION; 0: a miss. */
DEJA_API uint64_t deja_answer_version(const struct deja_answer *answer);

/* body, metadata, tags, ttl_ms, is_ttl_kept, condition, kind, depends_on, version_name. *out_count
 * (may be NULL): 1, or 0 when the condition did not hold. Errors as deja_put; DEJA_ERR_INVALID: no
 * kind has that name; with version_name metadata must be empty or a JSON object, where the name is
 * noted. Sensitive data for which a store of your own is no place wants such metadata, too: else
 * DEJA_ERR_DENIED. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_set(struct deja *deja, const struct deja_kv *kv,
                                                     uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_set_async(struct deja *deja,
                                                           const struct deja_kv *kv, void *ctx,
                                                           deja_done_fn *done);
/* condition. *out_count: 1, or 0 when there was nothing to remove. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_delete(struct deja *deja, const struct deja_kv *kv,
                                                        uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_delete_async(struct deja *deja,
                                                              const struct deja_kv *kv, void *ctx,
                                                              deja_done_fn *done);
/* *out_count: 1 or 0. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_exists(struct deja *deja, const struct deja_kv *kv,
                                                        uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_exists_async(struct deja *deja,
                                                              const struct deja_kv *kv, void *ctx,
                                                              deja_done_fn *done);
/* What is left of its life, DEJA_TTL_NEVER, or 0: it is not there. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_ttl(struct deja *deja, const struct deja_kv *kv,
                                                     uint64_t *out_ttl_ms);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_ttl_async(struct deja *deja,
                                                           const struct deja_kv *kv, void *ctx,
                                                           deja_done_fn *done);
/* Another life, from now: ttl_ms, condition. *out_count: 1, or 0: it is not there. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_expire(struct deja *deja, const struct deja_kv *kv,
                                                        uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_expire_async(struct deja *deja,
                                                              const struct deja_kv *kv, void *ctx,
                                                              deja_done_fn *done);
/* Adds to the decimal integer that is there, or to 0; a new key gets ttl_ms and tags. *out_number
 * (may be NULL): the sum; the _async twin tells it as count. DEJA_ERR_INVALID: no integer is there;
 * DEJA_ERR_LIMIT: the sum does not fit. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_increment(struct deja *deja,
                                                           const struct deja_kv *kv, int64_t by,
                                                           int64_t *out_number);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_increment_async(struct deja *deja,
                                                                 const struct deja_kv *kv,
                                                                 int64_t by, void *ctx,
                                                                 deja_done_fn *done);
/* A JSON object in body is merged into the JSON that is there (RFC 7396), whose end stays unless
 * ttl_ms is said. *out_count: 1, or 0: nothing is there. DEJA_ERR_INVALID: no JSON object is
 * there. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_merge(struct deja *deja, const struct deja_kv *kv,
                                                       uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_merge_async(struct deja *deja,
                                                             const struct deja_kv *kv, void *ctx,
                                                             deja_done_fn *done);

/* As deja_get_or_compute, of a plain key: tags, metadata, kind, depends_on; ttl_ms unless the
 * function says another. DEJA_ERR_INVALID: with version_name. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_get_or_compute(struct deja *deja,
                                                                const struct deja_kv *kv,
                                                                void *compute_ctx,
                                                                deja_compute_fn *compute,
                                                                struct deja_answer **out_answer);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_get_or_compute_async(
    struct deja *deja, const struct deja_kv *kv, void *compute_ctx, deja_compute_fn *compute,
    void *ctx, deja_answer_fn *done);

/* ---- many keys ---- */

/* 1 to DEJA_KEYS_MAX keys of kv's tenant and name space; kv->key is not read. out_answers: room for
 * count of them, all yours, misses too. What memory lacks is asked of the disk in one go. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_mget(struct deja *deja, const struct deja_kv *kv,
                                                      const struct deja_slice *keys, size_t count,
                                                      struct deja_answer **out_answers);
/* Sets each of 1 to DEJA_KEYS_MAX; *out_count (may be NULL): how many were stored. The first
 * failure is returned, the others are set all the same. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_mset(struct deja *deja,
                                                      const struct deja_kv *items, size_t count,
                                                      uint64_t *out_count);

/* Names and where the next piece begins; borrowed until return. */
typedef void deja_keys_fn(void *ctx, enum deja_status status, uint64_t cursor,
                          const struct deja_slice *keys, size_t count);
/* Keys of kv's tenant and name space that fit the glob in kv->key (empty: all), about limit (1 to
 * DEJA_KEYS_MAX) of them. cursor: 0, or where the last piece said; it says 0 when that was all. The
 * blocking call runs told on the cache's thread before it returns. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_keys(struct deja *deja, const struct deja_kv *kv,
                                                      uint64_t cursor, uint32_t limit, void *ctx,
                                                      deja_keys_fn *told);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_keys_async(struct deja *deja,
                                                            const struct deja_kv *kv,
                                                            uint64_t cursor, uint32_t limit,
                                                            void *ctx, deja_keys_fn *told);
/* Removes every key of kv's tenant and name space / those that fit the glob in kv->key. *out_count
 * (may be NULL): how many. What the tenant is computing meanwhile is stored for nobody. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_clear(struct deja *deja, const struct deja_kv *kv,
                                                       uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_clear_async(struct deja *deja,
                                                             const struct deja_kv *kv, void *ctx,
                                                             deja_done_fn *done);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_invalidate(struct deja *deja,
                                                            const struct deja_kv *kv,
                                                            uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_invalidate_async(struct deja *deja,
                                                                  const struct deja_kv *kv,
                                                                  void *ctx, deja_done_fn *done);

/* ---- inspect ---- */

struct deja_kv_stats {
    size_t struct_bytes; /* deja_kv_stats_init */
    uint64_t keys;       /* of kv's name space, now */
    uint64_t bytes;
    uint64_t hits_memory; /* of kv's tenant, since deja_open, as are the next */
    uint64_t hits_below;
    uint64_t misses;
    uint64_t sets;
    uint64_t removes;
    uint64_t events_failed; /* of the whole cache */
};

static inline void deja_kv_stats_init(struct deja_kv_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    stats->struct_bytes = sizeof *stats;
}

/* Counts: looks at every entry of the tenant. Memory: deja_stats. */
DEJA_API DEJA_NODISCARD enum deja_status deja_kv_stats(struct deja *deja, const struct deja_kv *kv,
                                                       struct deja_kv_stats *out_stats);

#ifdef __cplusplus
}
#endif
#endif
