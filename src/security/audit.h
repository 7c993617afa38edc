/* security/audit.h - what administrators, erasures and keys did, so that nobody can change it later
 * unseen: one JSON object per line, each with the digest of the one before.
 *
 * Threads: any. note copies and returns; a thread of its own writes and syncs. Never lost: where
 * the buffer (1,000 events) is full the caller waits, so: note_admin from workers, note where an
 * event may be left out under pressure (it is counted, and the gap is an event of its own).
 */
#ifndef DJ_SECURITY_AUDIT_H
#define DJ_SECURITY_AUDIT_H

#include <deja/base.h>

#include "security/principal.h"

struct dj_audit;

enum dj_audit_type {
    DJ_AUDIT_ADMIN,           /* tenants, configuration, reload */
    DJ_AUDIT_KEY,             /* API keys and data keys: made, rotated, revoked, destroyed */
    DJ_AUDIT_ERASURE,         /* and its receipt */
    DJ_AUDIT_ACCESS,          /* refused credentials, lock-outs */
    DJ_AUDIT_CACHE_OPERATION, /* by the tenant's choice */
};

/* Texts are borrowed for the call; NULL: left out. Never prompts, answers or secrets. */
struct dj_audit_event {
    enum dj_audit_type type;
    const struct dj_principal *who; /* NULL: Deja itself */
    const uint8_t *tenant;          /* whom it concerns; NULL: who's, or nobody */
    const char *operation;          /* "tenant.create", "key.revoke", "entry.put" */
    const char *resource;           /* an id: of a tenant, key, entry */
    bool is_failure;
    const char *error; /* problem type */
    uint64_t duration_us;
    const char *metadata; /* a JSON object */
    const char *request_id;
};

/* audit NULL: nothing. Waits where the buffer is full: not on a loop. DEJA_ERR_IO: it could not be
 * written, and what it tells of must not be done. Durable on return. */
enum deja_status dj_audit_write(struct dj_audit *audit, const struct dj_audit_event *event,
                                int64_t now_ms) DEJA_NODISCARD;
/* Any thread, a loop too; never waits. */
void dj_audit_note(struct dj_audit *audit, const struct dj_audit_event *event, int64_t now_ms);

#endif
