/* proxy/audit_note.h - what proxied requests leave in the audit log, where their tenant wants it:
 * lookups when they are answered, stores when the tiers have the answer.
 *
 * Never what was asked or answered: ids, names and figures. Threads: any; never waits.
 */
#ifndef DJ_PROXY_AUDIT_NOTE_H
#define DJ_PROXY_AUDIT_NOTE_H

#include <deja/base.h>

#include "proxy/context.h"
#include "security/principal.h"

/* A request that was looked for, as "entry.lookup". */
struct dj_lookup_note {
    const struct dj_principal *who;
    const char *api;         /* "chat", … as in metrics */
    enum dj_result result;   /* what became of it */
    const char *level;       /* where it was */
    const uint8_t *entry_id; /* NULL: no hit */
    const char *request_id;
    const char *trace_id;
    uint64_t duration_us;
    int64_t now_ms;
};
void dj_audit_note_lookup(struct dj_audit *audit, const struct dj_lookup_note *note);

/* An answer on its way into the tiers, as "entry.put". */
struct dj_store_note {
    struct dj_rules *rules; /* borrowed; NULL: nothing is noted */
    struct dj_store_key key;
    enum deja_status status;
    bool is_stored;
    uint64_t duration_us;
    int64_t now_ms;
};
void dj_audit_note_store(struct dj_audit *audit, const struct dj_store_note *note);

#endif
