/* daemon/tier_redis.h - the settings of the shared tier as its options. */
#ifndef DJ_DAEMON_TIER_REDIS_H
#define DJ_DAEMON_TIER_REDIS_H

#include "daemon/settings.h"
#include "store/redis.h"

/* Texts and addresses are borrowed from settings; address_count 0: no such tier. */
struct dj_redis_options dj_tier_redis_options(const struct dj_settings *settings);

#endif
