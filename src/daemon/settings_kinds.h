/* daemon/settings_kinds.h - the section `kinds`: rows laid over the shipped table (policy/kinds.h).
 *
 *   kinds.NAME.MEMBER   one member of one kind, of a file or as DEJA_KINDS__NAME__MEMBER
 *   ttl.NAME            the same as kinds.NAME.ttl, for kinds that are shipped
 *
 * Filled while the sources are read (config/options.h, dj_options_other_fn), made into a table
 * after.
 */
#ifndef DJ_DAEMON_SETTINGS_KINDS_H
#define DJ_DAEMON_SETTINGS_KINDS_H

#include "base/arena.h"
#include "config/diagnostics.h"
#include "config/options.h"
#include "policy/kinds.h"

#define DJ_SETTINGS_KINDS_MAX 2048u /* members said */

/* Zeroed is empty and may be fini'd. */
struct dj_settings_kinds {
    struct dj_arena arena;
    struct dj_kind_setting *settings; /* owned */
    const char **wheres;              /* owned; of the values; texts in the arena */
    const char **keys;                /* likewise, as written */
    size_t count;
    bool is_full;            /* one more than that was said: told when the table is made */
    enum deja_status status; /* DEJA_ERR_NOMEM: likewise */
};

/* A dj_options_other_fn; ctx: struct dj_settings_kinds. */
bool dj_settings_kinds_take(void *ctx, const struct dj_options_other *other);
/* DEJA_ERR_CONFIG: diagnostics say why, with positions; DEJA_ERR_NOMEM. */
enum deja_status dj_settings_kinds_make(const struct dj_settings_kinds *said,
                                        struct dj_diagnostics *diagnostics,
                                        struct dj_kinds **out_kinds) DEJA_NODISCARD;
void dj_settings_kinds_fini(struct dj_settings_kinds *said);

#endif
