/* proxy/telemetry_internal.h - what telemetry.c (counting) and telemetry_gauges.c (looking up)
 * share.
 */
#ifndef DJ_PROXY_TELEMETRY_INTERNAL_H
#define DJ_PROXY_TELEMETRY_INTERNAL_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "guarded/board.h"
#include "proxy/ledger.h"
#include "proxy/recent.h"
#include "proxy/telemetry.h"
#include "security/tenant.h"

enum api {
    API_CHAT,
    API_COMPLETIONS,
    API_MESSAGES,
    API_RESPONSES,
    API_EMBEDDINGS,
    API_API,
    API_PASSTHROUGH,
    API_OTHER,
    API_COUNT
};
enum level {
    LEVEL_NONE,
    LEVEL_MEMORY,
    LEVEL_LMDB,
    LEVEL_REDIS,
    LEVEL_POSTGRES,
    LEVEL_S3,
    LEVEL_COUNT
};
static_assert(LEVEL_COUNT == DJ_TELEMETRY_LEVELS, "totals have all levels");
enum family {
    FAMILY_HITS,
    FAMILY_MISSES,
    FAMILY_OPERATION,
    FAMILY_SIZE,
    FAMILY_EVICTIONS,
    FAMILY_REQUESTS,
    FAMILY_REQUEST_DURATION,
    FAMILY_STAGE,
    FAMILY_SIMILARITY,
    FAMILY_SAVED_TOKENS,
    FAMILY_SAVED_COST,
    FAMILY_SAVED_SECONDS,
    FAMILY_SPENT_COST,
    FAMILY_INVALIDATIONS,
    FAMILY_WEBHOOKS,
    FAMILY_ENTRIES,
    FAMILY_LEVEL_BYTES,
    FAMILY_LEVEL_UP,
    FAMILY_LEVEL_MISSES,
    FAMILY_LEVEL_EVICTIONS,
    FAMILY_LEVEL_EXPIRED,
    FAMILY_LEVEL_HIT_RATE,
    FAMILY_LEVEL_LATENCY,
    FAMILY_CIRCUIT,
    FAMILY_CALLS_REFUSED,
    FAMILY_RETRIES,
    FAMILY_CALLS_LATE,
    FAMILY_MISSED,
    FAMILY_REPLAYED,
    FAMILY_MISSED_DROPPED,
    FAMILY_FALSE_HITS,
    FAMILY_RECOVERED,
    FAMILY_REFRESHES,
    FAMILY_STALE,
    FAMILY_WARMED,
    FAMILY_WARMED_USED,
    FAMILY_WARMED_COST,
    FAMILY_TURNS,
    FAMILY_DROPPED,
    FAMILY_SENSITIVE,
    FAMILY_LIMITED,
    FAMILY_LIMITED_REASONS,
    FAMILY_OVERLOADED,
    FAMILY_SLOW,
    FAMILY_VOLATILE,
    FAMILY_HIT_RATE,
    FAMILY_MEMORY,
    FAMILY_COMPRESSION,
    FAMILY_KEY_DURATION,
    FAMILY_DEGRADED,
    FAMILY_UPSTREAM,
    FAMILY_EMBEDDER_CALLS,
    FAMILY_EMBEDDER_TEXTS,
    FAMILY_EMBEDDER_TOKENS,
    FAMILY_EMBEDDER_COST,
    FAMILY_INFLIGHT,
    FAMILY_QUEUE_DEPTH,
    FAMILY_RELOAD_SUCCESS,
    FAMILY_RELOAD_TIME,
    FAMILY_BUILD_INFO,
    FAMILY_CPU,
    FAMILY_RESIDENT,
    FAMILY_VIRTUAL,
    FAMILY_OPEN_FDS,
    FAMILY_MAX_FDS,
    FAMILY_START_TIME,
    FAMILY_COUNT
};

extern const struct dj_metric_desc dj_telemetry_families[FAMILY_COUNT];
/* What kind of thing is cached on an API; NULL: nothing. */
extern const char *const dj_telemetry_cache_types[API_COUNT];

typedef _Atomic(struct dj_series *) series_slot;

/* Series of one tenant that every request touches; the rest goes through the label table. */
struct labels {
    char tenant[DJ_TENANT_TEXT_BYTES];
    series_slot requests[API_COUNT][DJ_RESULT_COUNT][LEVEL_COUNT];
    series_slot hits[API_COUNT][LEVEL_COUNT];
    series_slot misses[API_COUNT];
    series_slot saved_seconds;
};

struct tenant {
    uint8_t id[DJ_ID_BYTES];
    struct labels *labels; /* owned, or that of "other" */
    _Atomic uint64_t results[DJ_RESULT_COUNT];
    struct {
        _Atomic uint64_t hits; /* answers that were there */
        _Atomic uint64_t us;   /* the time these took */
        _Atomic uint64_t evictions;
        _Atomic uint64_t expired;
    } levels[LEVEL_COUNT];
    _Atomic uint64_t saved_input_tokens;
    _Atomic uint64_t saved_output_tokens;
    _Atomic uint64_t saved_ms;
    _Atomic uint64_t saved_nano_usd;
};

/* One set of label values that was met; never removed. */
struct labelled;

#define TENANT_SLOTS 32768u /* power of two, > 2 * DJ_TELEMETRY_TENANTS_MAX */
#define LABELLED_SLOTS 4096u
#define LABELLED_MAX 2048u

struct dj_telemetry {
    uint8_t hash_key[16]; /* of labelled */
    struct dj_metric *families[FAMILY_COUNT];
    struct dj_series *stages[DJ_STAGE_COUNT];
    struct dj_series *inflight;
    struct dj_series *key_duration;
    struct dj_series *memory_hits; /* operation "lookup" that memory answered */
    series_slot durations[API_COUNT][DJ_RESULT_COUNT];
    _Atomic(struct dj_log *) slow_log; /* borrowed */
    _Atomic uint64_t slow_ms;
    _Atomic uint64_t slow_lines;  /* second << 32 | lines written in it */
    _Atomic uint64_t slow_unsaid; /* slow operations since the last line that had none */
    uint64_t recovered_seen[2];   /* gauges_lock: corrupt and dropped records already added */
    uint64_t volatile_seen;       /* gauges_lock, as are the next: what the metrics say already */
    struct level_seen {
        uint64_t misses;
        uint64_t evictions;
        uint64_t expired;
    } level_seen[LEVEL_COUNT];
    struct {
        uint64_t refused;
        uint64_t retries;
        uint64_t late;
        uint64_t replayed;
        uint64_t dropped;
    } sentries_seen[DJ_SENTRY_BOARD_MAX];
    struct dj_recent *recent; /* owned, as is the next */
    struct dj_ledger *ledger;
    struct dj_price_guess guess; /* set before requests come */
    struct tenant other;
    struct labels other_labels;
    pthread_mutex_t lock; /* inserts into both tables; innermost but for the registry's own */
    pthread_mutex_t gauges_lock; /* one scrape at a time; outside lock */
    uint32_t tenant_count;
    uint32_t labels_count;
    uint32_t labelled_count;
    _Atomic(struct tenant *) *tenants;    /* TENANT_SLOTS; insert only, read without a lock */
    _Atomic(struct labelled *) *labelled; /* LABELLED_SLOTS, likewise */
};

struct dj_kind_book;
/* Under gauges_lock. book NULL: nothing. */
void dj_telemetry_kinds(struct dj_telemetry *telemetry, struct dj_kind_book *book);

extern const char *const dj_telemetry_level_names[LEVEL_COUNT];

/* The series of these values (one per label of the family), kept after the first time. NULL only
 * when memory ran out. */
struct dj_series *dj_telemetry_series(struct dj_telemetry *telemetry, enum family family,
                                      const char *const *values);
/* The series in a slot of an array, made at first use. */
struct dj_series *dj_telemetry_slot_series(struct dj_telemetry *telemetry, series_slot *slot,
                                           enum family family, const char *const *values);
/* is_made: a tenant that is not known becomes known; else, and where there is no room, the one that
 * stands for all others. */
struct tenant *dj_telemetry_tenant_of(struct dj_telemetry *telemetry, const uint8_t id[DJ_ID_BYTES],
                                      bool is_made);
/* A look-up for that kind of thing found nothing. */
/* Of that kind, and of that class where nothing better is known of what it cost. */
void dj_telemetry_saved_class(struct dj_telemetry *telemetry, const struct dj_entry *entry,
                              const char *kind, enum dj_saving_class class);
void dj_telemetry_missed(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                         const char *kind);

#endif
