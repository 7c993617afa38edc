/* daemon/settings_tiers.h - what can be said about tiers and those who guard them; see settings.h.
 *
 * One struct for each file of rows, settings_*.def. Durations are milliseconds, sizes bytes; a text
 * that was not given is NULL.
 */
#ifndef DJ_DAEMON_SETTINGS_TIERS_H
#define DJ_DAEMON_SETTINGS_TIERS_H

#include <deja/base.h>

#include "config/diagnostics.h"
#include "config/options.h"
#include "policy/evict.h"
#include "proto/record.h"
#include "store/redis.h"

/* In the order of the option's choices. */
enum dj_redis_scripts { DJ_REDIS_SCRIPTS_AUTO, DJ_REDIS_SCRIPTS_OFF };

/* settings_redis.def. */
struct dj_settings_redis {
    bool is_enabled;
    uint64_t ttl_ms;
    char *url; /* its parts are in the members below once settings are loaded */
    enum dj_redis_mode mode;
    enum dj_redis_scripts scripts;
    struct dj_text_list address_texts; /* as written */
    char *host;
    uint32_t port;
    char *user;
    char *password;
    uint32_t db;
    char *master_name;
    char *sentinel_user;
    char *sentinel_password;
    char *prefix;
    bool is_tls;
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *server_name;
    uint64_t record_bytes_max;
    uint32_t queue_max;
    uint64_t tombstone_ms;
    uint32_t connections_max;
    uint32_t idle_min;
    uint64_t dial_ms;
    uint64_t read_ms;
    uint64_t write_ms;
    uint64_t idle_ms;
    struct dj_redis_address addresses[DJ_REDIS_SEEDS_MAX]; /* resolved */
    size_t address_count;                                  /* 0: no such tier */
};

/* l2.redis, l3.postgres, l3.s3: how reads and writes go through one tier. */
enum dj_tier_write { DJ_TIER_WRITE_THROUGH, DJ_TIER_WRITE_BEHIND };
struct dj_settings_path {
    bool is_read_only;
    enum dj_tier_write write;
    uint64_t soft_timeout_ms;
    struct dj_text_list kind_texts; /* as written */
};
struct dj_settings_paths {
    struct dj_settings_path redis;
    struct dj_settings_path postgres;
    struct dj_settings_path s3;
};

/* In the order of the option's choices. */
enum dj_compression { DJ_COMPRESSION_ZSTD, DJ_COMPRESSION_GZIP };

/* settings_compression.def. */
struct dj_settings_compression {
    bool is_enabled;
    enum dj_compression algorithm;
    uint32_t level; /* 0: the algorithm's own */
    uint64_t bytes_min;
};
/* As the tiers want it. */
struct dj_packing dj_settings_packing(const struct dj_settings_compression *compression);

/* circuit_breaker, retry, performance: how what is outside the process is asked. */
struct dj_settings_guard {
    bool is_breaker_enabled;
    uint32_t failures_max;
    double failure_ratio;
    uint32_t ratio_requests_min;
    uint64_t window_ms;
    uint64_t open_ms;
    uint64_t open_ms_max;
    double open_growth;
    double open_jitter;
    uint32_t half_open_first;
    uint32_t half_open_max;
    uint32_t successes_min;
    uint64_t slow_ms;
    bool is_retry_enabled;
    uint32_t attempts_max;
    uint64_t retry_initial_ms;
    double retry_growth;
    uint64_t retry_pause_ms_max;
    uint64_t retry_elapsed_ms_max;
    double retry_budget;
    double throttle_k; /* 0: off */
    uint64_t get_ms;
    uint64_t set_ms;
    uint64_t delete_ms;
    uint64_t health_ms;
    uint64_t clear_ms;
    uint64_t attempt_ms; /* 0: the deadline alone */
    uint32_t calls_max;
    uint32_t queue_max;
    uint64_t probe_ms;
    uint32_t journal_records_max;
    uint64_t journal_bytes_max;
};

/* rate_limit: what a tenant may use where nobody says otherwise, and all of them together. */
enum dj_limits_choice { DJ_LIMITS_AUTO, DJ_LIMITS_ON, DJ_LIMITS_OFF }; /* as the option's choices */
struct dj_settings_limits {
    enum dj_limits_choice enabled;
    double requests_per_s;
    uint32_t burst;
    double misses_per_minute;
    double spend_usd_per_day;
    uint64_t bytes_per_s;
    uint32_t connections_max;
    uint32_t requests_max;
    uint32_t calls_max; /* of all tenants, as are the next */
    uint32_t queue_max;
    uint64_t delay_ms;
};

/* In the order of the option's choices. */
enum dj_postgres_migrate { DJ_POSTGRES_MANUAL, DJ_POSTGRES_CREATE, DJ_POSTGRES_AUTO };

struct dj_settings_postgres {
    char *url; /* NULL: no such tier */
    char *password;
    char *schema;
    enum dj_postgres_migrate migrate;
    uint32_t connections_max;
    uint64_t ttl_ms; /* 0: as long as an entry lives */
    struct dj_text_list kinds;
    uint32_t history_max;
    uint64_t record_bytes_max;
    uint32_t exact_rows_max;
    bool is_searched; /* vectors lie there readable */
    uint64_t connect_timeout_ms;
    uint64_t timeout_ms;
};

/* Fills what is resolved from what was written; faults go to diagnostics. DEJA_ERR_NOMEM. */
enum deja_status dj_settings_work_out_redis(const struct dj_options *options,
                                            struct dj_diagnostics *diagnostics,
                                            struct dj_settings_redis *redis) DEJA_NODISCARD;

/* l3.s3: the cold tier. */
struct dj_settings_s3 {
    bool is_enabled;
    bool has_kind_tags;
    char *bucket;
    char *endpoint;
    char *region;
    char *prefix;
    int style; /* enum dj_s3_style */
    char *access_key_id;
    char *secret_access_key;
    char *session_token;
    char *credentials_file; /* resolved; NULL: no home directory */
    char *profile;
    int encryption; /* none, AES256, aws:kms */
    char *kms_key_id;
    char *storage_class;
    char *ca_file;
    uint64_t ttl_ms;
    uint64_t tombstone_ttl_ms;
    uint64_t timeout_ms;
    uint64_t connect_timeout_ms;
    uint32_t connections_max;
};

/* semantic.http: the embedder behind an address. */
struct dj_settings_http_embedder {
    char *url;
    char *model;
    char *key;
    char *ca_file;
    uint64_t timeout_ms;
    uint32_t dimensions; /* 0: asked for at start */
    bool send_dimensions;
    uint32_t batch;
    uint64_t memo_ttl_ms;
    double price_per_1k;
};

/* performance. */
struct dj_settings_performance {
    int profile; /* what it chose is in the other values */
    uint32_t tracker_size;
    uint32_t tracker_batch;
    uint64_t tracker_flush_ms;
};

/* eviction. */
struct dj_settings_eviction {
    bool is_enabled;
    enum dj_evict_strategy strategy;
    double low_water; /* part, 0.1 … 1 */
    uint32_t batch;
    uint64_t sweep_ms;
    uint64_t check_ms;
};

/* settings_kv.def. */
struct dj_settings_kv {
    uint64_t default_ttl_ms;
    uint64_t memory_ttl_ms;
};

#endif
