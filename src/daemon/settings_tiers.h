/* daemon/settings_tiers.h - what can be said about tiers and those who guard them; see settings.h.
 *
 * One struct for each file of rows, settings_*.def. Durations are milliseconds, sizes bytes; a text
 * that was not given is NULL.
 */
#ifndef DJ_DAEMON_SETTINGS_TIERS_H
#define DJ_DAEMON_SETTINGS_TIERS_H

#include <deja/base.h>

#include "policy/evict.h"

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
    uint64_t hold_max_ms;
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

#endif
