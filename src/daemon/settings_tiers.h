/* daemon/settings_tiers.h - what can be said about tiers and those who guard them; see settings.h.
 *
 * One struct for each file of rows, settings_*.def. Durations are milliseconds, sizes bytes; a text
 * that was not given is NULL.
 */
#ifndef DJ_DAEMON_SETTINGS_TIERS_H
#define DJ_DAEMON_SETTINGS_TIERS_H

#include <deja/base.h>

#include "config/options.h" /* dj_text_list */

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
