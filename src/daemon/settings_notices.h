/* daemon/settings_notices.h - what is told of invalidations, and who may order them:
 * settings_notices.def. */
#ifndef DJ_DAEMON_SETTINGS_NOTICES_H
#define DJ_DAEMON_SETTINGS_NOTICES_H

#include <deja/base.h>

#include "config/options.h"
#include "security/address_guard.h"

#define DJ_WEBHOOKS_MAX 8u

struct dj_settings_notices {
    char *tenant; /* as every text here: NULL: empty */
    bool is_unnamed_refused;
    bool is_redis_obeyed;
    char *redis_channel;
    bool is_redis_told;
    bool is_postgres_obeyed;
    bool is_postgres_told;
    struct dj_text_list urls;
    struct dj_text_list event_texts; /* as written */
    bool is_invalidation_told;
    unsigned happenings;               /* bits 1 << enum dj_happening_kind that are told */
    struct dj_text_list allowed_texts; /* as written */
    struct dj_address_guard guard;     /* resolved */
    char *secret;
    uint64_t timeout_ms;
    uint32_t attempts_max;
    uint32_t queue_max;
};

#endif
