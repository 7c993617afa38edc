/* daemon/tier_s3.c - the tier of an S3 service, out of the settings. */
#include "daemon/daemon_internal.h"

enum deja_status dj_tier_open_s3(struct dj_daemon *daemon, struct dj_store **out_store,
                                 struct deja_error *error)
{
    (void)daemon;
    (void)error;
    *out_store = NULL;
    return DEJA_OK;
}
