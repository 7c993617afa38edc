/* proxy/target.h - which upstream a request is for: OpenAI's and its like, or Anthropic's.
 *
 * A request is for Anthropic's if its path is /v1/messages or below it, or if it carries
 * anthropic-version and its path is none of those that OpenAI has and Deja caches. Where one
 * upstream speaks both, both targets are that one. Threads: any; read-only.
 */
#ifndef DJ_PROXY_TARGET_H
#define DJ_PROXY_TARGET_H

#include <deja/base.h>

#include "net/http_server.h"

struct dj_upstream;

enum dj_target { DJ_TARGET_OPENAI, DJ_TARGET_ANTHROPIC, DJ_TARGET_COUNT };

struct dj_proxy_target {
    const char *url;              /* without a trailing slash, without /v1 */
    const char *id;               /* in keys, as provenance, in metrics */
    struct dj_upstream *upstream; /* what stands before it; NULL: nothing */
};

enum dj_target dj_target_of(const struct dj_http_request *request);

/* The path is of Anthropic's API: its clients want their own errors and headers. */
bool dj_target_is_messages(struct deja_slice path);

#endif
