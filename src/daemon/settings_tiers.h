/* daemon/settings_tiers.h - what can be said about tiers and those who guard them; see settings.h.
 *
 * One struct for each file of rows, settings_*.def. Durations are milliseconds, sizes bytes; a text
 * that was not given is NULL.
 */
#ifndef DJ_DAEMON_SETTINGS_TIERS_H
#define DJ_DAEMON_SETTINGS_TIERS_H

#include <deja/base.h>

#include "config/options.h" /* dj_text_list */

/* l3.s3: the cold tier. */
struct dj_settings_s3 {
    bool is_enabled;
    bool is_read_only;
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
    struct dj_text_list kind_texts; /* as written */
    uint32_t kinds;                 /* 1 << enum dj_entry_kind each; 0: all */
    int encryption;                 /* none, AES256, aws:kms */
    char *kms_key_id;
    char *storage_class;
    char *ca_file;
    uint64_t ttl_ms;
    uint64_t tombstone_ttl_ms;
    uint64_t timeout_ms;
    uint64_t connect_timeout_ms;
    uint32_t connections_max;
};

#endif
