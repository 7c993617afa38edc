/* security/roles.h - the names of roles, as requests, documents and commands write them.
 *
 * Threads: any; no state.
 */
#ifndef DJ_SECURITY_ROLES_H
#define DJ_SECURITY_ROLES_H

#include <deja/base.h>

#include "security/principal.h"

/* "read", "write", "admin", "audit"; NULL: role is none of enum dj_role. */
const char *dj_role_text(unsigned role);
/* 0: it is the name of none. */
unsigned dj_role_of(struct deja_slice text);

#endif
