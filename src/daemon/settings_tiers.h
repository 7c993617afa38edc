/* daemon/settings_tiers.h - what can be said about tiers and those who guard them; see settings.h.
 *
 * One struct for each file of rows, settings_*.def. Durations are milliseconds, sizes bytes; a text
 * that was not given is NULL.
 */
#ifndef DJ_DAEMON_SETTINGS_TIERS_H
#define DJ_DAEMON_SETTINGS_TIERS_H

#include <deja/base.h>

#include "config/options.h"

/* settings_paths.def: how reads and writes go through one tier. */
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

#endif
