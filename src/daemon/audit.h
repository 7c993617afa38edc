/* daemon/audit.h - where the head of an audit log, and a tenant by its name, are found,
 * for `deja audit`. */
#ifndef DJ_DAEMON_AUDIT_H
#define DJ_DAEMON_AUDIT_H

#include <deja/base.h>

#include "security/audit_chain.h"
#include "security/tenant.h"

/* A dj_audit_head_fn over a struct dj_settings. Blocking. */
enum deja_status dj_daemon_read_head(void *settings, const char *node,
                                     struct dj_audit_head *out_head,
                                     uint8_t out_public[DJ_SIGN_PUBLIC_BYTES]) DEJA_NODISCARD;
/* A dj_audit_tenant_fn likewise. */
bool dj_daemon_find_tenant(void *settings, const char *name, char out_id[DJ_TENANT_TEXT_BYTES]);

#endif
