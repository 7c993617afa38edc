/* daemon/audit.h - where the head of an audit log is found, for `deja audit verify`. */
#ifndef DJ_DAEMON_AUDIT_H
#define DJ_DAEMON_AUDIT_H

#include <deja/base.h>

#include "security/audit_chain.h"

/* A dj_audit_head_fn over a struct dj_settings. Blocking. */
enum deja_status dj_daemon_read_head(void *settings, const char *node,
                                     struct dj_audit_head *out_head,
                                     uint8_t out_public[DJ_SIGN_PUBLIC_BYTES]) DEJA_NODISCARD;

#endif
