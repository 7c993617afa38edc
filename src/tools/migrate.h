/* tools/migrate.h - `deja migrate up|down|status`: the schema of the PostgreSQL tier. */
#ifndef DJ_TOOLS_MIGRATE_H
#define DJ_TOOLS_MIGRATE_H

#include "config/command.h"
#include "store/postgres.h"

extern const struct dj_command dj_migrate_command;

/* argv: after "migrate". options: of the settings; url NULL: there is no such tier, DJ_EXIT_CONFIG.
 * Results on stdout. Returns the exit code; status: 0 where the schema is this program's, else 1.
 */
int dj_migrate_run(const struct dj_postgres_options *options, int argc, char *const *argv);

#endif
