/* tools/audit_tool.h - `deja audit verify|export|tail`: the audit log, without a daemon.
 *
 * Reads the data directory, also while a daemon writes there, or files that were exported.
 */
#ifndef DJ_TOOLS_AUDIT_TOOL_H
#define DJ_TOOLS_AUDIT_TOOL_H

#include "config/command.h"
#include "security/audit_chain.h"
#include "security/tenant.h"

extern const struct dj_command dj_audit_command;

/* What the authority knows of the log of that node; DEJA_ERR_NOT_FOUND: nothing. */
typedef enum deja_status dj_audit_head_fn(void *ctx, const char *node,
                                          struct dj_audit_head *out_head,
                                          uint8_t out_public[DJ_SIGN_PUBLIC_BYTES]);

/* The id of the tenant of that name; false: this machine knows none, *out_id is untouched. */
typedef bool dj_audit_tenant_fn(void *ctx, const char *name, char out_id[DJ_TENANT_TEXT_BYTES]);

struct dj_audit_facts {
    const char *data_dir;
    dj_audit_head_fn *head;
    dj_audit_tenant_fn *tenant;
    void *ctx; /* of both */
};

/* argv: after "audit". Results on stdout. Returns the exit code; verify: 1 where something is not
 * as it was written. */
int dj_audit_run(const struct dj_audit_facts *facts, int argc, char *const *argv);

#endif
