/* cache/plain.h - plain keys: bytes under a name, in every tier, without any AI feature.
 *
 *   find   (memory, synchronous)   the hit path of the request's own loop
 *   get    (all tiers)             after a miss in memory; what is found is promoted
 *   change (one key)               THE write: a function sees what is there and says what shall be
 *   scan / count / clear           names by pattern
 *
 * An entry of kind DJ_ENTRY_PLAIN: query = the key as it was given (any bytes), body = the value,
 * metadata = a small JSON object or empty, expires_ms 0 = never. So plain keys are sealed,
 * promoted, counted, erased and invalidated like every other entry; by meaning they are never
 * found.
 *
 * Changes of one key are serial: in this program on the key's home loop, among programs of a shared
 * tier under that tier's lock (those that look at what is there). See docs/adr/0022.
 *
 * Threads: one dj_plain is shared by all loops; calls name the loop they are made on, and callbacks
 * come back there, once, later. Tenants: a space names one; nothing crosses (I1). Trust: keys,
 * values and patterns are strangers'.
 */
#ifndef DJ_CACHE_PLAIN_H
#define DJ_CACHE_PLAIN_H

#include <deja/base.h>

#include "cache/engine.h"
#include "cache/tiers.h"
#include "crypto/digest.h"
#include "policy/kinds.h"
#include "store/store.h"

#define DJ_PLAIN_KEY_BYTES_MAX 4096u
/* The end of the name under which the version before a key's value is kept. Callers let nobody else
 * say such a name; scans do not tell it, counts leave it out, removals by pattern take it along. */
#define DJ_PLAIN_PREVIOUS ":@previous"
#define DJ_PLAIN_VALUE_BYTES_MAX (UINT64_C(32) * 1024 * 1024)
#define DJ_PLAIN_MANY_MAX 1000u /* keys of one get_many */
#define DJ_PLAIN_PAGE_MAX 1000u /* names of one scan */
#define DJ_PLAIN_TTL_DEFAULT_MS (UINT64_C(3600) * 1000)
#define DJ_PLAIN_TAGS_MAX DJ_TAGS_MAX

struct dj_kind_book;
struct dj_plain;

/* A key of a kind (policy/kinds.h) is not put into, nor looked for on, levels that keep none of it;
 * carries the kind's tags; and, where the kind slides, begins its life anew when it is read and a
 * tenth of that life has passed, or changed with its end kept. */
/* A member of the metadata of a value that is kept only where it is sealed. Within a text its
 * quotes would be escaped, so nobody else can write it. */
#define DJ_PLAIN_SEALED_ONLY "\"sealed_only\":true"

/* A key was looked up, on that look-up's loop: entry NULL: it was not there. kind NULL: of none. It
 * must be quick. */
typedef void dj_plain_looked_fn(void *ctx, const uint8_t tenant[DJ_ID_BYTES],
                                const struct dj_kind *kind, const struct dj_entry *entry);

struct dj_plain_options {
    struct dj_engine *engine;   /* borrowed */
    struct dj_kind_book *kinds; /* borrowed; NULL: keys are of no kind */
    struct dj_loop *const *loops;
    uint32_t loop_count;
    uint32_t unsealed;          /* bits of levels: nothing with DJ_PLAIN_SEALED_ONLY is put there */
    uint32_t changes_max;       /* of one loop, under way; 0: 65,536 */
    uint32_t lease_ms;          /* of a lock among programs; 0: 5,000 */
    uint32_t wait_ms;           /* for that lock; then DEJA_ERR_BUSY; 0: 3,000 */
    dj_plain_looked_fn *looked; /* NULL: nobody is told */
    void *looked_ctx;
};

enum deja_status dj_plain_create(const struct dj_plain_options *options,
                                 struct dj_plain **out_plain) DEJA_NODISCARD;
/* After the loops have ended. Accepts NULL. What is under way counts in dj_engine_pending. */
void dj_plain_destroy(struct dj_plain *plain);
/* ---- whose keys ---- */

/* The keys of a tenant, or of one of its users, in one namespace. Plain data, but as secret as the
 * tenant's fingerprint key: fini wipes it. A connection may keep one for its whole life. */
struct dj_plain_space {
    uint8_t tenant[DJ_ID_BYTES];
    struct dj_hmac_key names;     /* of that tenant, or of that user of it */
    struct deja_slice name_space; /* borrowed as long as the space is used; calls copy it */
    struct deja_slice user_tag;   /* likewise; empty: no user (security/user.h) */
};

/* fingerprint_key: of the tenant, narrowed to the user where there is one (dj_user_narrow). */
void dj_plain_space_init(struct dj_plain_space *space, const uint8_t tenant[DJ_ID_BYTES],
                         const uint8_t fingerprint_key[DJ_SHA256_BYTES],
                         struct deja_slice name_space, struct deja_slice user_tag);
void dj_plain_space_fini(struct dj_plain_space *space);

bool dj_plain_is_previous(struct deja_slice key);

/* The entry's key: HMAC over "plain", namespace and key. key: 1 … DJ_PLAIN_KEY_BYTES_MAX bytes,
 * which the caller has checked. */
void dj_plain_key(const struct dj_plain_space *space, struct deja_slice key,
                  struct dj_store_key *out_key);

/* What a value lives that is put under that key without a TTL of its own, where the kind says so;
 * 0: it does not, or there is none. Any thread. */
uint64_t dj_plain_ttl_ms(const struct dj_plain *plain, struct deja_slice key);
/* The whole digest, of which the id is the beginning: dj_entry.exact. */
void dj_plain_digest(const struct dj_plain_space *space, struct deja_slice key,
                     uint8_t out_digest[DJ_SHA256_BYTES]);

/* ---- reads ---- */

/* Valid value in memory: a reference the caller owns, or NULL. On loop. Counts a hit, never a miss
 * (get does, when nothing has it). */
struct dj_value *dj_plain_find(struct dj_plain *plain, struct dj_loop *loop,
                               const struct dj_plain_space *space, struct deja_slice key);

/* value: a reference the callee owns, or NULL: a miss; level: where it was, or NULL. */
typedef void dj_plain_got_fn(void *ctx, struct dj_value *value, const char *level);
/* Memory, then the tiers but for the levels to skip, which it is not promoted into either. space
 * and key are copied. DEJA_ERR_NOMEM. */
enum deja_status dj_plain_get(struct dj_plain *plain, struct dj_loop *loop,
                              const struct dj_plain_space *space, struct deja_slice key,
                              uint32_t skip, void *ctx, dj_plain_got_fn *got) DEJA_NODISCARD;

/* values: one for each key, in order, NULL: a miss; references the callee owns. levels: likewise,
 * NULL: a miss. Both arrays are borrowed until return. */
typedef void dj_plain_got_many_fn(void *ctx, struct dj_value **values, const char **levels,
                                  size_t count);
/* 1 … DJ_PLAIN_MANY_MAX keys, else DEJA_ERR_INVALID. What memory lacks is asked of the first tier
 * all together, what that lacks of the next. */
enum deja_status dj_plain_get_many(struct dj_plain *plain, struct dj_loop *loop,
                                   const struct dj_plain_space *space,
                                   const struct deja_slice *keys, size_t count, uint32_t skip,
                                   void *ctx, dj_plain_got_many_fn *got) DEJA_NODISCARD;

/* ---- writes ---- */

enum dj_plain_verdict {
    DJ_PLAIN_KEEP,   /* nothing changes */
    DJ_PLAIN_PUT,    /* what was written to out_new */
    DJ_PLAIN_REMOVE, /* nothing shall be there */
};

/* What shall be there. Zeroed before each call; slices: the change function's, valid until done ran
 * or the function is called again. */
struct dj_plain_new {
    struct deja_slice body;     /* <= DJ_PLAIN_VALUE_BYTES_MAX */
    struct deja_slice metadata; /* JSON object or empty */
    int64_t expires_ms;         /* absolute; 0: never. In the past: as DJ_PLAIN_REMOVE */
    const struct deja_slice *tags;
    size_t tag_count; /* <= DJ_PLAIN_TAGS_MAX; the user's own is added */
    uint32_t skip;    /* levels it shall not be put into */
    bool is_through;  /* tiers behind the answer are waited for too */
    uint64_t as_of;   /* its version, then, as in dj_put_options; 0: a word of now */
};

/* now: what is there, borrowed until return; NULL: nothing (or the change is blind). now_ms: of the
 * key's home loop. Runs on that loop, which is not the caller's: it may touch only what ctx owns,
 * must be quick, and may run again before done (another program was faster): the last call counts.
 */
typedef enum dj_plain_verdict dj_plain_change_fn(void *ctx, const struct dj_entry *now,
                                                 int64_t now_ms, struct dj_plain_new *out_new);

/* Plain result; borrowed until done returns. */
struct dj_plain_outcome {
    enum dj_plain_verdict verdict;
    struct dj_value *before; /* what the function saw; NULL: nothing */
    struct dj_value *after;  /* what is there now; NULL: nothing. Ref it to keep it */
    bool is_stored;          /* DJ_PLAIN_PUT: false: outrun by an invalidation or a newer write, or
                              * no tier took it */
    bool is_outrun;          /* then: not the latter */
    bool was_there;          /* DJ_PLAIN_REMOVE: there was something to remove */
    uint32_t missed;         /* levels that were to have it and have not */
};
/* status: DEJA_ERR_BUSY (too many changes wait, or another program kept the lock), DEJA_ERR_LIMIT
 * (too long), DEJA_ERR_NOMEM, or the first failure of a tier that is waited for, which the others
 * may have all the same. outcome: never NULL; all zero where nothing was decided. */
typedef void dj_plain_changed_fn(void *ctx, enum deja_status status,
                                 const struct dj_plain_outcome *outcome);

enum dj_plain_mode {
    DJ_PLAIN_BLIND,   /* the function does not look: `now` is NULL, no tier is read first */
    DJ_PLAIN_LOOKING, /* it sees what is there, and nobody changes it meanwhile, in no program */
};

struct dj_plain_change {
    enum dj_plain_mode mode;
    dj_plain_change_fn *change;
    dj_plain_changed_fn *done;
    void *ctx; /* of both */
};

/* space and key are copied. DEJA_ERR_INVALID: no such key; DEJA_ERR_NOMEM. done runs once, later,
 * on loop, when every tier that is waited for has it as durably as it promises. Changes of one key
 * take effect, and are seen by this program's reads, in the order in which they reach its home. */
enum deja_status dj_plain_change(struct dj_plain *plain, struct dj_loop *loop,
                                 const struct dj_plain_space *space, struct deja_slice key,
                                 const struct dj_plain_change *change) DEJA_NODISCARD;

/* A blind change to DJ_PLAIN_REMOVE; done: outcome->was_there. */
enum deja_status dj_plain_remove(struct dj_plain *plain, struct dj_loop *loop,
                                 const struct dj_plain_space *space, struct deja_slice key,
                                 void *ctx, dj_plain_changed_fn *done) DEJA_NODISCARD;

/* ---- names ---- */

struct dj_plain_selector {
    struct deja_slice pattern; /* a glob (policy/glob.h); data NULL: every key of the space */
    bool is_every_user;        /* of the tenant: the space's user is not looked at */
};

/* values: borrowed until return (ref one to keep it); each matched, and was valid. cursor: for the
 * next piece; 0: that was the last. A piece may be empty and not the last. */
typedef void dj_plain_scanned_fn(void *ctx, enum deja_status status, uint64_t cursor,
                                 struct dj_value *const *values, size_t count);
/* cursor 0: from the beginning. limit: 1 … DJ_PLAIN_PAGE_MAX names, more or less (less where
 * values are large: a piece holds them). What is there from the first piece to the last is told at
 * least once. A cursor belongs to this program and its space; an unknown one (too old: 1,024 are
 * remembered) ends the walk. DEJA_ERR_INVALID: the pattern is not a glob. */
enum deja_status dj_plain_scan(struct dj_plain *plain, struct dj_loop *loop,
                               const struct dj_plain_space *space,
                               const struct dj_plain_selector *selector, uint64_t cursor,
                               uint32_t limit, void *ctx,
                               dj_plain_scanned_fn *scanned) DEJA_NODISCARD;

struct dj_plain_sum {
    uint64_t keys;
    uint64_t ending; /* of them: those that have an end */
    uint64_t bytes;  /* of keys, values and metadata */
};
typedef void dj_plain_counted_fn(void *ctx, enum deja_status status,
                                 const struct dj_plain_sum *sum);
/* Each key once however many tiers have it; looks at every entry of the tenant. */
enum deja_status dj_plain_count(struct dj_plain *plain, struct dj_loop *loop,
                                const struct dj_plain_space *space,
                                const struct dj_plain_selector *selector, void *ctx,
                                dj_plain_counted_fn *done) DEJA_NODISCARD;
/* Removes them; what is put meanwhile stays. sum: what was removed. */
enum deja_status dj_plain_clear(struct dj_plain *plain, struct dj_loop *loop,
                                const struct dj_plain_space *space,
                                const struct dj_plain_selector *selector, void *ctx,
                                dj_plain_counted_fn *done) DEJA_NODISCARD;

/* ---- inspect ---- */

struct dj_plain_stats {
    uint64_t hits[DJ_LEVEL_COUNT];
    uint64_t misses;
    uint64_t puts;
    uint64_t removals;
    uint64_t waiting; /* changes under way; of all tenants only */
};
/* Since the start. tenant NULL: of all; of the first 20,000 tenants each is counted for itself too.
 * Any thread. */
void dj_plain_stats(const struct dj_plain *plain, const uint8_t *tenant,
                    struct dj_plain_stats *out_stats);

#endif
