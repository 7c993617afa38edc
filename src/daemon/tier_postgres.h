/* daemon/tier_postgres.h - the settings of the PostgreSQL tier as its options. */
#ifndef DJ_DAEMON_TIER_POSTGRES_H
#define DJ_DAEMON_TIER_POSTGRES_H

#include "daemon/settings.h"
#include "store/postgres.h"

/* Texts are borrowed from settings; url NULL: no such tier. */
struct dj_postgres_options dj_tier_postgres_options(const struct dj_settings *settings);

/* dj_optimise_tier_fn over the daemon: its indexes are made anew over a connection of its own. */
enum deja_status dj_tier_optimise_postgres(void *daemon, void *step_ctx,
                                           dj_postgres_progress_fn *step);

#endif
