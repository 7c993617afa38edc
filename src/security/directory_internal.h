/* security/directory_internal.h - what the two files of the directory share: directory.c keeps the
 * tables, directory_admin.c writes and shows documents.
 *
 * Locks, in this order: writes -> (the authority's own) -> changes -> table.
 *   writes   an administrator's change of this program, from reading to writing
 *   changes  who changes the tables; under it they may be read without `table`
 *   table    around each change of a map, and of what an entry points to; readers take it
 */
#ifndef DJ_SECURITY_DIRECTORY_INTERNAL_H
#define DJ_SECURITY_DIRECTORY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "security/directory.h"

/* One tenant; immutable but for rules, which follow those it inherits from. */
struct dj_directory_entry {
    uint8_t id[DJ_TENANT_BYTES];
    uint8_t parent[DJ_TENANT_BYTES];
    bool has_parent;
    bool is_suspended;
    bool is_broken; /* its document cannot be used */
    int64_t created_ms;
    int64_t updated_ms;
    char *name;                      /* owned, as are the next three */
    char *config_text;               /* JSON, as stored */
    struct dj_tenant_config *config; /* NULL: broken */
    struct dj_rules *rules;          /* one reference */
};

struct dj_directory_link {
    uint8_t tenant[DJ_TENANT_BYTES];
    int64_t created_ms;
    char name[DJ_DIRECTORY_NAME_BYTES_MAX + 1];
};

struct dj_directory {
    struct dj_directory_options options;
    struct dj_rules_values defaults;
    pthread_mutex_t writes;
    pthread_mutex_t changes;
    pthread_rwlock_t table;
    struct dj_map *tenants; /* id -> entry */
    struct dj_map *links;   /* derived id -> link */
    uint64_t change_count;  /* under changes: a reload must not undo what came while it read */
    atomic_size_t tenant_count;
    atomic_bool is_missed;
    _Atomic int64_t loaded_ms; /* 0: never */
};

/* The entry, or NULL; under changes or table. */
static inline struct dj_directory_entry *dj_directory_entry_of(const struct dj_map *tenants,
                                                               const uint8_t id[DJ_TENANT_BYTES])
{
    return dj_map_find(tenants, deja_slice(id, DJ_TENANT_BYTES));
}

#endif
