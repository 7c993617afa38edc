/* store/postgres_migrations.h - the schema as steps up and down. Constant. Threads: any. */
#ifndef DJ_STORE_POSTGRES_MIGRATIONS_H
#define DJ_STORE_POSTGRES_MIGRATIONS_H

#include <deja/base.h>

struct dj_pg_migration {
    const char *name;
    const char *up; /* statements, run in one transaction with the note that it was applied */
    const char *down;
};
extern const struct dj_pg_migration dj_pg_migrations[]; /* [0] makes version 1 */
extern const uint32_t dj_pg_migration_count;

#endif
