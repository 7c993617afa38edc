/* tools/call.h - a command's call to a daemon; what went wrong is told on stderr. Blocking.
 *
 * A line of progress that stands on a terminal is taken away first.
 */
#ifndef DJ_TOOLS_CALL_H
#define DJ_TOOLS_CALL_H

#include "net/client.h"
#include "net/tenant_name.h"
#include "proto/json.h"

struct dj_tool_caller {
    struct dj_client client;
    const char *command; /* "backup" */
    const char *without; /* what helps where there is no daemon: "--offline"; NULL: nothing */
};

/* DJ_EXIT_OK: answered with 2xx. *answer is ended first and is the caller's to end, whatever the
 * code, as is *out_doc, which is set in any case. out_doc NULL: the answer is no JSON. */
int dj_tool_call(const struct dj_tool_caller *caller, const char *method, const char *path,
                 struct deja_slice body, struct dj_client_answer *answer,
                 struct dj_json_doc **out_doc);

/* The id of the tenant that text names, by its id or its name; an exit code. text NULL: out_id is
 * "". */
int dj_tool_find_tenant(const struct dj_tool_caller *caller, const char *text,
                        char out_id[DJ_TENANT_NAME_ID_BYTES]);

#endif
