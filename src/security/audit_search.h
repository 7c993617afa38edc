/* security/audit_search.h - lines of an audit log that somebody asks for, newest first or in order.
 *
 * Reads the files, while they are written or not. Blocking: worker or command. Threads: any.
 * Trust: our own files; a line that is not one is passed over (audit_chain.h tells of it).
 */
#ifndef DJ_SECURITY_AUDIT_SEARCH_H
#define DJ_SECURITY_AUDIT_SEARCH_H

#include <deja/base.h>

#include "base/date.h"
#include "security/audit_chain.h"
#include "security/tenant.h"

/* Members that are empty or 0 match every line. */
struct dj_audit_query {
    char from[DJ_DATE_RFC3339_BYTES]; /* not before; "2026-02-03…", any leading part of a time */
    char to[DJ_DATE_RFC3339_BYTES];   /* before, or of that very part */
    char tenant[DJ_TENANT_TEXT_BYTES];
    struct deja_slice type;      /* borrowed, as are the next */
    struct deja_slice operation; /* whole, or up to a dot: "erase" for "erase.completed" */
    struct deja_slice result;
    uint64_t before_seq; /* only lines below that number */
};

/* "2026-02-03", "2026-02-03T04:05", "2026-02-03T04:05:06.789Z": a time, or the front of one. */
bool dj_audit_is_time(struct deja_slice text);
bool dj_audit_is_match(const struct dj_audit_query *query, const struct dj_audit_line *line,
                       struct deja_slice text);

/* text: the whole line, borrowed until return. False: stop. */
typedef bool dj_audit_each_fn(void *ctx, const struct dj_audit_line *line, struct deja_slice text,
                              bool is_match);
/* Every line of every file. DEJA_ERR_NOT_FOUND: there is no log; DEJA_ERR_IO, DEJA_ERR_NOMEM. */
enum deja_status dj_audit_search(const char *directory, const struct dj_audit_query *query,
                                 bool is_newest_first, void *ctx,
                                 dj_audit_each_fn *each) DEJA_NODISCARD;

/* A file as it is now, in memory until it is given back. Of length 0: data is NULL. */
enum deja_status dj_audit_map(const char *path, struct deja_slice *out_text) DEJA_NODISCARD;
void dj_audit_unmap(struct deja_slice text);

#endif
