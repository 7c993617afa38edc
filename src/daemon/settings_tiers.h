/* daemon/settings_tiers.h - what can be said about tiers and those who guard them; see settings.h.
 *
 * One struct for each file of rows, settings_*.def. Durations are milliseconds, sizes bytes; a text
 * that was not given is NULL.
 */
#ifndef DJ_DAEMON_SETTINGS_TIERS_H
#define DJ_DAEMON_SETTINGS_TIERS_H

#include <deja/base.h>

#include "config/options.h"

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
    uint64_t connect_timeout_ms;
    uint64_t timeout_ms;
};

#endif
