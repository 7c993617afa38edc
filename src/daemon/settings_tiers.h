/* daemon/settings_tiers.h - what can be said about tiers and those who guard them; see settings.h.
 *
 * One struct for each file of rows, settings_*.def. Durations are milliseconds, sizes bytes; a text
 * that was not given is NULL.
 */
#ifndef DJ_DAEMON_SETTINGS_TIERS_H
#define DJ_DAEMON_SETTINGS_TIERS_H

#include <deja/base.h>

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

#endif
