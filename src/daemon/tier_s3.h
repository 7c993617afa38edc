/* daemon/tier_s3.h - the settings of the S3 tier, completed, checked and tried. */
#ifndef DJ_DAEMON_TIER_S3_H
#define DJ_DAEMON_TIER_S3_H

#include <deja/base.h>

#include "daemon/settings_tiers.h"

/* Where the credentials file is, if that was not said. environment: "NAME=value",
 * NULL-terminated, or NULL. */
enum deja_status dj_tier_s3_complete(struct dj_settings_s3 *settings,
                                     const char *const *environment) DEJA_NODISCARD;
/* DEJA_ERR_CONFIG with a text that names the setting. */
enum deja_status dj_tier_s3_check(const struct dj_settings_s3 *settings,
                                  struct deja_error *error) DEJA_NODISCARD;
/* For `deja doctor`: asks for the bucket. Blocks for seconds at most. text: on failure what is
 * wrong and what to do; on DEJA_OK where the bucket is. */
enum deja_status dj_tier_s3_try(const struct dj_settings_s3 *settings,
                                struct deja_error *text) DEJA_NODISCARD;

#endif
