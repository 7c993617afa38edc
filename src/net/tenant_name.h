/* net/tenant_name.h - which tenant a command means: its id, or its name, which the daemon is asked
 * for (GET /api/v1/tenants?name=). The call is the caller's, so that each tells its own failures.
 *
 * Threads: any; pure. Trust: the answer is untrusted.
 */
#ifndef DJ_NET_TENANT_NAME_H
#define DJ_NET_TENANT_NAME_H

#include <deja/base.h>

#include "base/buf.h"
#include "proto/json.h"

#define DJ_TENANT_NAME_ID_BYTES 37u

bool dj_tenant_name_is_id(const char *text);

/* True: text is an id, copied; nobody is to be asked. False: *out_path is where to GET, terminated;
 * its status may say that there was no memory. */
bool dj_tenant_name_read(const char *text, char out_id[DJ_TENANT_NAME_ID_BYTES],
                         struct dj_buf *out_path);
/* False: the answer has no tenant of that name. */
bool dj_tenant_name_found(const struct dj_json *answer, const char *text,
                          char out_id[DJ_TENANT_NAME_ID_BYTES]);

#endif
