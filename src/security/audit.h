/* security/audit.h - what administrators, erasures and keys did, so that nobody can change it later
 * unseen: one JSON object per line, each with the digest of the one before (audit_chain.h).
 *
 *   write ──┐                                    ┌─ DATA/audit/audit-000001.jsonl, …  (0600)
 *           ├─> queue (1,000) ─> thread: batch ──┤   signed at the end of each batch, synced
 *   note ───┘                                    └─ its head, in the authority
 *
 * write returns when the line is on the disk; where it cannot be written nothing may be done of
 * what it tells. note returns at once: a second later at most, its line is there too; what found no
 * room is counted, and the count is an event of its own ("audit.lost").
 * Threads: any. Time: given by the caller.
 */
#ifndef DJ_SECURITY_AUDIT_H
#define DJ_SECURITY_AUDIT_H

#include <deja/base.h>

#include "crypto/sign.h"
#include "security/authority.h"
#include "security/principal.h"

#define DJ_AUDIT_QUEUE_MAX 1000u
#define DJ_AUDIT_METADATA_BYTES_MAX 4096u
#define DJ_AUDIT_TEXT_BYTES_MAX 512u
#define DJ_AUDIT_HEADS_TABLE "audit_heads"

struct dj_audit;

enum dj_audit_type {
    DJ_AUDIT_ADMIN,           /* tenants, configuration, reload */
    DJ_AUDIT_KEY,             /* API keys and data keys: made, rotated, revoked, destroyed */
    DJ_AUDIT_ERASURE,         /* and its receipt */
    DJ_AUDIT_ACCESS,          /* refused credentials, lock-outs */
    DJ_AUDIT_CACHE_OPERATION, /* by the tenant's choice */
    DJ_AUDIT_LOG,             /* about the log itself */
    DJ_AUDIT_TYPE_COUNT
};
/* "admin", "key", "erasure", "access", "cache_operation", "audit". */
const char *dj_audit_type_text(enum dj_audit_type type);

/* Texts are borrowed for the call; NULL: left out. Never prompts, answers or secrets. What is no
 * UTF-8 is written with "?" in its place, what is too long is cut. */
struct dj_audit_event {
    enum dj_audit_type type;
    const struct dj_principal *who; /* NULL: Deja itself */
    const uint8_t *tenant;          /* whom it concerns; NULL: who's, or nobody */
    const char *operation;          /* "tenant.create", "key.revoke", "entry.put" */
    const char *resource;           /* an id: of a tenant, key, entry */
    bool is_failure;
    const char *error; /* problem type; into metadata */
    uint64_t duration_us;
    const char *metadata; /* a JSON object */
    const char *request_id;
    const char *trace_id; /* 32 hex digits */
};

struct dj_audit_options {
    const char *directory;   /* made if it is not there; borrowed during open, as is the rest */
    uint64_t file_bytes_max; /* the next file begins; 0: 16 MiB */
    uint64_t file_age_ms;    /* likewise; 0: a day */
    uint64_t keep_ms;        /* older files are removed, which is an event; 0: never */
    const struct dj_authority *authority; /* NULL: nobody knows the head; until close */
    const char *place;                    /* host and directory: whose head it is */
    int64_t now_ms;
};

/* Recovers what a kill has left: half a line is cut off, a log that ends before its head goes on
 * after it, so that the gap stays to be seen. Blocking: start. DEJA_ERR_IO, DEJA_ERR_CORRUPT (the
 * signing key), DEJA_ERR_CONFIG, DEJA_ERR_NOMEM. */
enum deja_status dj_audit_open(const struct dj_audit_options *options, struct dj_audit **out_audit,
                               struct deja_error *error) DEJA_NODISCARD;
/* What was noted is written. Accepts NULL. */
void dj_audit_close(struct dj_audit *audit);

/* audit NULL: nothing. Waits for the disk: not on a loop. DEJA_ERR_IO, DEJA_ERR_NOMEM: it could not
 * be written, and what it tells of must not be done. Durable on return. */
enum deja_status dj_audit_write(struct dj_audit *audit, const struct dj_audit_event *event,
                                int64_t now_ms) DEJA_NODISCARD;
/* Any thread, a loop too; never waits. */
void dj_audit_note(struct dj_audit *audit, const struct dj_audit_event *event, int64_t now_ms);
/* Does the tenant want its cache operations noted? */
static inline bool dj_audit_wants(const struct dj_rules *rules, bool is_write)
{
    enum dj_audit_choice choice = rules ? dj_rules_of(rules)->audit : DJ_AUDIT_OFF;
    return choice == DJ_AUDIT_ALL || (choice == DJ_AUDIT_WRITES && is_write);
}
/* About once a second: what was noted since is written, and a file that is old enough is ended. */
void dj_audit_tick(struct dj_audit *audit, int64_t now_ms);

struct dj_audit_stats {
    uint64_t seq;      /* of the last line */
    uint64_t queued;   /* noted, not written yet */
    uint64_t lost;     /* could not be noted */
    uint64_t failures; /* batches that could not be written */
    bool is_failing;   /* the last one */
    bool is_head_late; /* the authority has not taken the head of the last batch */
};
void dj_audit_stats(struct dj_audit *audit, struct dj_audit_stats *out_stats);

const char *dj_audit_directory(const struct dj_audit *audit); /* until close */

/* ---- reading: any program, while the log is written or not ---- */

/* DIRECTORY/audit.pub: 64 hex digits, to be copied to where logs are checked. DEJA_ERR_NOT_FOUND,
 * DEJA_ERR_CORRUPT, DEJA_ERR_IO. */
enum deja_status dj_audit_read_public(const char *directory,
                                      uint8_t out_public[DJ_SIGN_PUBLIC_BYTES]) DEJA_NODISCARD;
/* Numbers of the files, oldest first; owned by the caller (dj_free). DEJA_ERR_NOT_FOUND: there is
 * no log. */
enum deja_status dj_audit_files(const char *directory, uint32_t **out_numbers,
                                size_t *out_count) DEJA_NODISCARD;
/* "DIRECTORY/audit-000001.jsonl"; false: too long. */
bool dj_audit_file_path(const char *directory, uint32_t number, char *out_path, size_t size);

struct dj_audit_head; /* audit_chain.h */
/* As the authority keeps it under its node: a JSON document. DEJA_ERR_CORRUPT, DEJA_ERR_NOMEM. */
enum deja_status dj_audit_head_read(struct deja_slice document, struct dj_audit_head *out_head,
                                    uint8_t out_public[DJ_SIGN_PUBLIC_BYTES]) DEJA_NODISCARD;

#endif
