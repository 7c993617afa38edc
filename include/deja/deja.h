/* deja/deja.h - a semantic cache inside your own process: answers given before, found again by
 * their words or by their meaning.
 *
 *     struct deja_options options;
 *     deja_options_init(&options);
 *     options.data_dir = "/var/lib/app/cache";    (leave it out: memory only)
 *     status = deja_open(&options, &deja, &error);
 *     ... deja_put, deja_lookup, deja_get_or_compute ...
 *     deja_close(deja);
 *
 * Build:    cc app.c $(pkg-config --cflags --libs deja)
 * Threads:  every call may be made by any thread at any time between deja_open and deja_close. A
 *           cache has a few threads of its own, all signals blocked in them. After fork() a child
 *           may not use a cache of its parent.
 * Blocking: a call without _async blocks up to its timeout. It must not be made inside a
 *           deja_answer_fn or deja_done_fn (DEJA_ERR_INVALID). Its twin with _async returns at
 * once; if it returned DEJA_OK its callback runs exactly once, on the cache's own thread, later;
 *           with any other status never. A callback must not block: nothing else is called back
 *           meanwhile. It may start _async calls.
 * Errors:   enum deja_status (deja/base.h). Outputs are untouched unless DEJA_OK is returned. A
 * miss is an outcome, never an error; a store or an embedder that fails is a miss with a reason.
 * Tenants:  16 bytes that say whose entry it is; no call sees another tenant's entries. All zero:
 *           the local tenant, right for a program that serves one user.
 * Slices:   borrowed during the call (also by _async twins: copied before they return).
 * Growth:   structs begin with struct_bytes, set by their _init. Always call it; a program built
 *           against an older header goes on working with a newer library.
 */
#ifndef DEJA_DEJA_H
#define DEJA_DEJA_H

#include <deja/base.h>
#include <deja/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

struct deja;        /* one cache; opaque, any thread */
struct deja_answer; /* what a lookup found; opaque, immutable, any thread; you release it */
struct deja_made;   /* an answer being computed; its function's only, until that returns */

#define DEJA_TENANT_BYTES 16
#define DEJA_ID_BYTES 16
#define DEJA_SECRET_BYTES 32
#define DEJA_NO_TIMEOUT UINT32_MAX
#define DEJA_TAGS_MAX 32
#define DEJA_NAME_SPACE_BYTES_MAX 256
#define DEJA_TAG_BYTES_MAX 256
#define DEJA_BODY_BYTES_MAX (32u << 20)
#define DEJA_KIND_SETTINGS_MAX 1024
#define DEJA_EVENT_FIELDS_MAX 8

/* "0.1.0", of the library that is running (DEJA_VERSION: of the header). */
DEJA_API const char *deja_version(void);

/* ---- open and close ---- */

enum deja_embedding {
    DEJA_EMBED_GIVEN = 0, /* options.embedder, else options.model_dir, else DEJA_EMBED_LEXICAL */
    DEJA_EMBED_LEXICAL,   /* letters and words only: needs no file, finds repeated wording */
    DEJA_EMBED_NONE       /* exact hits only */
};

/* What becomes of a write that holds sensitive data, in the order of strictness. Looked at are text
 * or key, body, metadata, name space, tags, depends_on and model. Who computed it or waited for
 * that has it as it came; what is found later is what was stored. */
enum deja_sensitive {
    DEJA_SENSITIVE_DEFAULT = 0,
    DEJA_SENSITIVE_ALLOW,   /* stored like all else, and not looked for */
    DEJA_SENSITIVE_ENCRYPT, /* in memory and, sealed, in data_dir; not in a store of your own */
    DEJA_SENSITIVE_REDACT,  /* [REDACTED] in what is stored, which is then not found by meaning; in
                             * names (key, name space, tags) as DEJA_SENSITIVE_REFUSE */
    DEJA_SENSITIVE_REFUSE   /* DEJA_ERR_DENIED, and nothing is stored */
};

/* One member of one kind, as `kinds:` of a daemon's settings says it (docs/kinds.md):
 * {"invoice", "pattern", "invoice:{invoice_id}"}, {"invoice", "ttl", "2d"}. Of a list: one setting
 * with a line for each item. A kind that does not ship is made by the first that names it; of one
 * that ships only what is said changes. */
struct deja_kind_setting {
    const char *kind;   /* a-z 0-9 _ */
    const char *member; /* "pattern", "ttl", "ttl_for", "tags", "events", "sliding", ... */
    const char *value;
};

/* 0 and NULL mean the default said here. Pointers are borrowed until deja_open returns, but for the
 * plug-ins' ctx. */
struct deja_options {
    size_t struct_bytes;  /* deja_options_init */
    const char *data_dir; /* made if missing, 0700; NULL: nothing is kept on disk. It belongs to
                           * one open cache or daemon at a time (DEJA_ERR_BUSY) */
    enum deja_embedding embed; /* DEJA_EMBED_GIVEN */
    const char *model_dir; /* config.json, vocab.txt, model.safetensors of a BERT-family encoder,
                            * as `deja model pull` leaves them */
    const struct deja_embedder_ops *embedder; /* yours (deja/plugin.h) */
    void *embedder_ctx;
    const struct deja_store_ops *store; /* yours, in place of data_dir's (deja/plugin.h) */
    void *store_ctx;
    const uint8_t *secret; /* DEJA_SECRET_BYTES: names of entries are made with it, so what is
                            * stored is found again only with the same. NULL: the file `secret` in
                            * data_dir, made once; without data_dir: random */

    uint64_t memory_bytes_max;   /* 100 MB: of answers in memory */
    uint64_t memory_entries_max; /* 10,000 */
    uint64_t tenant_entries_max; /* memory_entries_max; a tenant's fair share once memory is full */
    uint64_t disk_bytes_max;     /* 10 GiB or 20 % of the disk, whichever is less */
    uint32_t vectors_max;        /* 100,000: entries found by meaning, per tenant */
    double threshold;            /* 0.95: similarity, 0 to 1, from which another wording serves */
    uint64_t ttl_ms;             /* 24 hours: life of an entry that names none; up to 10 % are taken
                                  * off by chance, so that entries do not end together */
    uint64_t ttl_max_ms;         /* 30 days */
    uint32_t query_chars_max;    /* 1,000 code points */
    uint32_t worker_threads;     /* 2, at most 64: embedding, search */
    uint32_t compute_threads;    /* 4, at most 256: functions of deja_get_or_compute_async */
    uint32_t operations_max;     /* 65,536 under way at once; more: DEJA_ERR_RATE_LIMITED */
    uint32_t waiters_max;        /* 1,000 that wait for one computation; more likewise */
    uint64_t
        operation_bytes_max; /* 256 MB: what calls under way hold of texts and bodies; likewise */
    uint64_t nothing_ttl_ms; /* how long it is remembered that a function made nothing
                              * (deja_made_set_nothing); 0: it is not */
    /* Life of an entry that names none by the length of its text, in the place of ttl_ms; 0: that
     * makes no difference. */
    uint64_t ttl_small_ms;                  /* of a text of at most text_small_max code points */
    uint64_t ttl_medium_ms;                 /* of a longer one of at most text_medium_max */
    uint64_t ttl_large_ms;                  /* of all others */
    uint32_t text_small_max;                /* 1,000 */
    uint32_t text_medium_max;               /* 10,000; query_chars_max bounds all texts */
    enum deja_sensitive sensitive_secret;   /* keys, passwords, tokens: DEJA_SENSITIVE_ENCRYPT */
    enum deja_sensitive sensitive_card;     /* payment cards: DEJA_SENSITIVE_ENCRYPT */
    enum deja_sensitive sensitive_identity; /* numbers of persons: DEJA_SENSITIVE_ENCRYPT */
    enum deja_sensitive sensitive_contact;  /* e-mail, phone: DEJA_SENSITIVE_ALLOW */
    const struct deja_kind_setting *kinds;  /* your own kinds of plain keys, and what you change of
                                             * those that ship; deja_open names what is wrong */
    size_t kind_count;                      /* at most DEJA_KIND_SETTINGS_MAX */
};

static inline void deja_options_init(struct deja_options *options)
{
    memset(options, 0, sizeof *options);
    options->struct_bytes = sizeof *options;
}

/* Blocks: reads the model, and what data_dir holds, so that the first lookup already finds it.
 * options NULL: memory only, lexical. On DEJA_OK the caller owns *out_deja. error (may be NULL)
 * says in words what is wrong: DEJA_ERR_BUSY (data_dir is in use), DEJA_ERR_NOT_FOUND (no model
 * there), DEJA_ERR_CONFIG, DEJA_ERR_IO, DEJA_ERR_CORRUPT, DEJA_ERR_LIMIT (no thread),
 * DEJA_ERR_NOMEM. Several caches may be open in one process. */
DEJA_API DEJA_NODISCARD enum deja_status deja_open(const struct deja_options *options,
                                                   struct deja **out_deja,
                                                   struct deja_error *error);

/* New calls end with DEJA_ERR_CANCELLED; what is under way is waited for, callbacks included, and
 * what was put is written. Then the cache is gone; answers not released yet stay valid. NULL: does
 * nothing. Returns DEJA_ERR_INVALID, having done nothing, when it is called inside a callback or a
 * deja_compute_fn of the same cache, which could never end. */
DEJA_API enum deja_status deja_close(struct deja *deja);

/* ---- questions and answers ---- */

struct deja_query {
    size_t struct_bytes;               /* deja_query_init */
    uint8_t tenant[DEJA_TENANT_BYTES]; /* all zero: the local tenant */
    struct deja_slice name_space; /* what must match to the byte (model, language, ...); at most
                                   * DEJA_NAME_SPACE_BYTES_MAX; empty: the default one */
    struct deja_slice text;       /* UTF-8 */
    double threshold;             /* 0: the cache's; else 0 to 1 */
    uint64_t max_age_ms;          /* 0: any age */
    bool is_exact_only;           /* do not look by meaning */
    uint32_t timeout_ms;          /* 0: 1 s; deja_get_or_compute: 30 s. DEJA_NO_TIMEOUT */
    const float *vector;          /* NULL: the text is embedded; else vector_dim finite floats,
                                   * not all 0, 1 to 4,096 of them */
    uint32_t vector_dim;
    struct deja_slice vector_model; /* what made vector, at most 95 bytes. Empty, and as many floats
                                     * as the cache's own embedder makes: found among its vectors.
                                     * Otherwise only vectors of the same model and dimension are
                                     * compared; at most 8 such kinds a tenant */
};

static inline void deja_query_init(struct deja_query *query)
{
    memset(query, 0, sizeof *query);
    query->struct_bytes = sizeof *query;
}

enum deja_outcome {
    DEJA_MISS = 0,
    DEJA_HIT_EXACT,      /* the same text */
    DEJA_HIT_NORMALIZED, /* but for white space or Unicode form */
    DEJA_HIT_SEMANTIC,   /* another wording, near enough and not contradicted by a number, a name, a
                          * negation */
    DEJA_COMPUTED,       /* made by this call's own function */
    DEJA_JOINED          /* made by the function of another call, which this one waited for */
};

/* answer: yours to release; NULL unless status is DEJA_OK (then never NULL, also on a miss). */
typedef void deja_answer_fn(void *ctx, enum deja_status status, struct deja_answer *answer);

/* DEJA_OK: *out_answer is yours to release, a miss too. DEJA_ERR_QUERY_EMPTY,
 * DEJA_ERR_QUERY_TOO_LONG, DEJA_ERR_QUERY_INVALID_CHARACTERS, DEJA_ERR_INVALID (threshold, name
 * space, vector), DEJA_ERR_MISMATCH (the tenant has vectors, but none of that model and dimension),
 * DEJA_ERR_RATE_LIMITED, DEJA_ERR_TIMEOUT, DEJA_ERR_CANCELLED (closing), DEJA_ERR_NOMEM. */
DEJA_API DEJA_NODISCARD enum deja_status deja_lookup(struct deja *deja,
                                                     const struct deja_query *query,
                                                     struct deja_answer **out_answer);
DEJA_API DEJA_NODISCARD enum deja_status deja_lookup_async(struct deja *deja,
                                                           const struct deja_query *query,
                                                           void *ctx, deja_answer_fn *done);

DEJA_API enum deja_outcome deja_answer_outcome(const struct deja_answer *answer);
/* Slices of an answer are valid until it is released; all are empty on a miss. */
DEJA_API struct deja_slice deja_answer_body(const struct deja_answer *answer);
DEJA_API struct deja_slice deja_answer_text(const struct deja_answer *answer); /* question it was
                                                                                * stored under */
DEJA_API struct deja_slice deja_answer_model(const struct deja_answer *answer);
DEJA_API struct deja_slice deja_answer_metadata(const struct deja_answer *answer);
/* A function made nothing, now or at most options.nothing_ttl_ms ago: there is no answer, and no
 * use in computing one. The body is empty. */
DEJA_API bool deja_answer_is_nothing(const struct deja_answer *answer);
/* 1 for an exact hit; on a miss how near the nearest came, 0 when none was met. */
DEJA_API double deja_answer_similarity(const struct deja_answer *answer);
/* Where a hit came from ("memory", "lmdb", "store"), or why there was none ("scope-empty",
 * "below-threshold", "guard:numbers", ...). Constant text, never NULL. */
DEJA_API const char *deja_answer_reason(const struct deja_answer *answer);
DEJA_API int64_t deja_answer_created_ms(const struct deja_answer *answer); /* since 1970; 0: miss */
DEJA_API int64_t deja_answer_expires_ms(const struct deja_answer *answer);
DEJA_API void deja_answer_id(const struct deja_answer *answer, uint8_t out_id[DEJA_ID_BYTES]);
DEJA_API void deja_answer_release(struct deja_answer *answer); /* accepts NULL */

/* ---- writing ---- */

struct deja_entry {
    size_t struct_bytes; /* deja_entry_init */
    uint8_t tenant[DEJA_TENANT_BYTES];
    struct deja_slice name_space;
    struct deja_slice text;
    struct deja_slice body;        /* the answer: any bytes, at most DEJA_BODY_BYTES_MAX */
    struct deja_slice model;       /* for people; at most 256 bytes */
    struct deja_slice metadata;    /* any bytes, at most 64 KB */
    const struct deja_slice *tags; /* tag_count <= DEJA_TAGS_MAX of them, each 1 to
                                    * DEJA_TAG_BYTES_MAX bytes */
    size_t tag_count;
    uint64_t ttl_ms;     /* 0: options.ttl_ms */
    bool is_exact_only;  /* never found by meaning; not embedded */
    uint32_t timeout_ms; /* 0: 2 s */
    const float *vector; /* as in deja_query */
    uint32_t vector_dim;
    struct deja_slice vector_model;
    const struct deja_slice *depends_on; /* depends_on_count names of what it was made from, each 1
                                          * to DEJA_TAG_BYTES_MAX bytes: for deja_cascade; with tags
                                          * DEJA_TAGS_MAX together */
    size_t depends_on_count;
};

static inline void deja_entry_init(struct deja_entry *entry)
{
    memset(entry, 0, sizeof *entry);
    entry->struct_bytes = sizeof *entry;
}

typedef void deja_done_fn(void *ctx, enum deja_status status, uint64_t count);

/* Stores; the same text in the same name space is replaced. Returns when memory, index and disk
 * have it (disk: handed to the system, written out within a second). *out_count (may be NULL) is 1,
 * or 0 when a remove, clear or invalidate that began later won. After DEJA_ERR_TIMEOUT it may still
 * be stored. Errors as deja_lookup, and DEJA_ERR_LIMIT (too large, too many kinds of vectors),
 * DEJA_ERR_DENIED (sensitive data that options refuse),
 * DEJA_ERR_CACHE_UNAVAILABLE (memory has it; the disk or your store failed). */
DEJA_API DEJA_NODISCARD enum deja_status deja_put(struct deja *deja, const struct deja_entry *entry,
                                                  uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_put_async(struct deja *deja,
                                                        const struct deja_entry *entry, void *ctx,
                                                        deja_done_fn *done);

/* The entry of exactly this text; *out_count (may be NULL): 1, or 0 when there was none. Afterwards
 * it is never served again, also not by a computation or a put that was already running. Of query
 * only tenant, name_space, text and timeout_ms (0: 1 s) are read. */
DEJA_API DEJA_NODISCARD enum deja_status deja_remove(struct deja *deja,
                                                     const struct deja_query *query,
                                                     uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_remove_async(struct deja *deja,
                                                           const struct deja_query *query,
                                                           void *ctx, deja_done_fn *done);

/* Every entry of a tenant (NULL: the local one) / every entry of it that carries the tag: void at
 * once, and durably so; then removed, and *out_count (may be NULL) says how many there were.
 * timeout_ms 0: 10 s. With a store of your own deja_invalidate is DEJA_ERR_FEATURE_DISABLED: its
 * table cannot find entries by their tags, and nothing would remember the tag over a restart. */
DEJA_API DEJA_NODISCARD enum deja_status deja_clear(struct deja *deja, const uint8_t *tenant,
                                                    uint32_t timeout_ms, uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_clear_async(struct deja *deja, const uint8_t *tenant,
                                                          uint32_t timeout_ms, void *ctx,
                                                          deja_done_fn *done);
DEJA_API DEJA_NODISCARD enum deja_status deja_invalidate(struct deja *deja, const uint8_t *tenant,
                                                         struct deja_slice tag, uint32_t timeout_ms,
                                                         uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_invalidate_async(struct deja *deja,
                                                               const uint8_t *tenant,
                                                               struct deja_slice tag,
                                                               uint32_t timeout_ms, void *ctx,
                                                               deja_done_fn *done);

/* Every plain key whose name fits pattern (* ? [a-z] \\x, at most 1,024 bytes) and every entry with
 * a tag that does / what was made from name (depends_on), and from that in turn (by its id in 32
 * hex digits, or as a plain key by its name); cycles end, each entry goes once, what is named
 * stays. Otherwise as deja_invalidate. DEJA_ERR_LIMIT: the pattern is too long; more than 262,144
 * entries or 64 levels, and nothing was removed. A pattern: what the tenant is computing meanwhile
 * is stored for nobody, as its name and tags are not known yet. */
DEJA_API DEJA_NODISCARD enum deja_status deja_invalidate_pattern(struct deja *deja,
                                                                 const uint8_t *tenant,
                                                                 struct deja_slice pattern,
                                                                 uint32_t timeout_ms,
                                                                 uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_invalidate_pattern_async(
    struct deja *deja, const uint8_t *tenant, struct deja_slice pattern, uint32_t timeout_ms,
    void *ctx, deja_done_fn *done);
DEJA_API DEJA_NODISCARD enum deja_status deja_cascade(struct deja *deja, const uint8_t *tenant,
                                                      struct deja_slice name, uint32_t timeout_ms,
                                                      uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_cascade_async(struct deja *deja,
                                                            const uint8_t *tenant,
                                                            struct deja_slice name,
                                                            uint32_t timeout_ms, void *ctx,
                                                            deja_done_fn *done);

/* What shall be void: exactly one of tag, pattern, name and event. */
struct deja_selection {
    size_t struct_bytes; /* deja_selection_init */
    uint8_t tenant[DEJA_TENANT_BYTES];
    struct deja_slice tag;     /* as deja_invalidate */
    struct deja_slice pattern; /* as deja_invalidate_pattern */
    struct deja_slice name;    /* as deja_cascade */
    struct deja_slice event;   /* "template:updated", ...: what the kinds say that it voids, shipped
                                * ones and options.kinds (docs/kinds.md) */
    /* What the event carries, at most DEJA_EVENT_FIELDS_MAX: {"template_id", "42"}. None: it voids
     * those kinds whole. */
    const struct deja_event_field *fields;
    size_t field_count;
    bool is_cascade;     /* also what was made from what goes, as deja_cascade does it */
    bool is_dry_run;     /* counts what would go, and changes nothing */
    uint32_t timeout_ms; /* 0: 10 s */
};

struct deja_event_field {
    struct deja_slice name;
    struct deja_slice value; /* 1 to DEJA_TAG_BYTES_MAX bytes */
};

static inline void deja_selection_init(struct deja_selection *selection)
{
    memset(selection, 0, sizeof *selection);
    selection->struct_bytes = sizeof *selection;
}

/* *out_count (may be NULL): how many went, or would go. Errors as those calls, and DEJA_ERR_INVALID
 * (none of the four, or several; no tag knows what the event carries), DEJA_ERR_NOT_FOUND (no kind
 * names that event). */
DEJA_API DEJA_NODISCARD enum deja_status deja_invalidate_selected(
    struct deja *deja, const struct deja_selection *selection, uint64_t *out_count);
DEJA_API DEJA_NODISCARD enum deja_status deja_invalidate_selected_async(
    struct deja *deja, const struct deja_selection *selection, void *ctx, deja_done_fn *done);

/* ---- get or compute ---- */

/* Makes the answer that was not there: appends its bytes to made and returns DEJA_OK. A negative
 * status of your own choice stores nothing and is what every waiting call returns. It may block,
 * and may call the cache (but not ask for its own key, which it would wait for in vain). */
typedef enum deja_status deja_compute_fn(void *ctx, struct deja_made *made);

/* Looks up; on a miss one computation per key (tenant, name space, text) runs, and whoever asks the
 * same meanwhile waits for it. The blocking call runs compute in its own thread, and then no
 * timeout ends it; the _async one on one of compute_threads. The timeout bounds looking up and
 * waiting for another's computation, which goes on. All have the answer as soon as it is made; the
 * same text finds it from then on, another wording and a restart a moment later.
 *
 * compute_ctx is used only until this call returns, or until done() has run. Errors as deja_lookup,
 * the function's own, DEJA_ERR_LIMIT (body too large). */
DEJA_API DEJA_NODISCARD enum deja_status deja_get_or_compute(struct deja *deja,
                                                             const struct deja_query *query,
                                                             void *compute_ctx,
                                                             deja_compute_fn *compute,
                                                             struct deja_answer **out_answer);
DEJA_API DEJA_NODISCARD enum deja_status deja_get_or_compute_async(struct deja *deja,
                                                                   const struct deja_query *query,
                                                                   void *compute_ctx,
                                                                   deja_compute_fn *compute,
                                                                   void *ctx, deja_answer_fn *done);

/* For compute functions. What does not fit is told by the whole call's DEJA_ERR_LIMIT or
 * DEJA_ERR_NOMEM; appending can go on. All bytes are copied. */
DEJA_API void deja_made_append(struct deja_made *made, struct deja_slice bytes);
DEJA_API void deja_made_set_ttl(struct deja_made *made, uint64_t ttl_ms);
DEJA_API void deja_made_set_model(struct deja_made *made, struct deja_slice model);
DEJA_API void deja_made_set_metadata(struct deja_made *made, struct deja_slice metadata);
/* Before reading what the answer is made of: an invalidation of the tag from now on wins. */
DEJA_API void deja_made_add_tag(struct deja_made *made, struct deja_slice tag);
/* Hand it to those who wait, and do not store it. */
DEJA_API void deja_made_keep_out(struct deja_made *made);

/* There is no answer (a row that is not there). Those who wait are told so; it is stored only where
 * options.nothing_ttl_ms says so, never found by another wording, and what was appended is
 * dropped. */
DEJA_API void deja_made_set_nothing(struct deja_made *made);

/* ---- inspect ---- */

struct deja_stats {
    size_t struct_bytes; /* deja_stats_init */
    /* Since deja_open, of all tenants. */
    uint64_t lookups; /* deja_get_or_compute too */
    uint64_t hits_exact;
    uint64_t hits_normalized;
    uint64_t hits_semantic;
    uint64_t misses;
    uint64_t puts; /* stored, computed ones too */
    uint64_t removes;
    uint64_t computations;
    uint64_t joined;
    uint64_t timeouts;
    uint64_t failures;   /* other errors */
    uint64_t operations; /* under way now */
    /* Now, of the tenant asked about. */
    uint64_t memory_entries;
    uint64_t memory_bytes;
    uint64_t disk_entries;
    uint64_t disk_bytes;
    uint64_t vectors;
};

static inline void deja_stats_init(struct deja_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    stats->struct_bytes = sizeof *stats;
}

/* tenant NULL: all tenants. Does not block. DEJA_ERR_INVALID: deja_stats_init was not called. */
DEJA_API DEJA_NODISCARD enum deja_status deja_stats(struct deja *deja, const uint8_t *tenant,
                                                    struct deja_stats *out_stats);
/* Identity of the embedder ("lexical:...", "minilm:...", yours); "" when there is none. */
DEJA_API const char *deja_embedder_id(const struct deja *deja);

#ifdef __cplusplus
}
#endif
#endif
