/* security/local_guard.h - a listener on loopback is reachable from every web page its user opens;
 * this tells such requests from those of the user's own programs.
 *
 *   Host          a loopback name or a configured one: a page whose name was made to point here
 *                 (DNS rebinding) sends its own name
 *   Origin        if sent, that of the very Host or a configured one: browsers send it with every
 *                 request of a page that could change something, programs do not send it
 *   Content-Type  application/json where the caller asks for it: a page can send that to a foreign
 *                 host only after a preflight, which is not answered
 *   admin token   for admin and dashboard, made at start
 *
 * Trust: untrusted headers. Threads: any; pure functions.
 */
#ifndef DJ_SECURITY_LOCAL_GUARD_H
#define DJ_SECURITY_LOCAL_GUARD_H

#include <deja/base.h>

#include "crypto/digest.h"

struct dj_local_config {
    /* Further hosts: "name" for any port, "name:port" for that one. Borrowed. */
    const char *const *hosts;
    size_t host_count;
    /* Further origins, whole: "https://app.example:8443". Borrowed. */
    const char *const *origins;
    size_t origin_count;
};

struct dj_local_request {
    struct deja_slice method;
    struct deja_slice host;         /* of the Host header; empty: none */
    struct deja_slice origin;       /* data NULL: no such header */
    struct deja_slice content_type; /* data NULL: no such header */
    bool has_body;
    bool needs_json; /* the route writes and takes JSON only */
};

enum dj_local_verdict {
    DJ_LOCAL_OK = 0,
    DJ_LOCAL_BAD_HOST,
    DJ_LOCAL_BAD_ORIGIN,
    DJ_LOCAL_BAD_CONTENT_TYPE,
};

enum dj_local_verdict dj_local_check(const struct dj_local_config *config,
                                     const struct dj_local_request *request);
int dj_local_status(enum dj_local_verdict verdict);       /* 200, 403 or 415 */
const char *dj_local_text(enum dj_local_verdict verdict); /* constant, for people */

/* localhost, 127.0.0.0/8 in four plain decimal parts, [::1]; with any port or none. */
bool dj_local_is_loopback(struct deja_slice host);

struct dj_admin_token {
    struct dj_secret secret;
};
#define DJ_ADMIN_TOKEN_TEXT_BYTES 65u
void dj_admin_token_make(struct dj_admin_token *token); /* 32 random bytes */
void dj_admin_token_fini(struct dj_admin_token *token);
/* 64 hex digits, terminated; to be shown once to who started the program. Wipe it. */
void dj_admin_token_text(const struct dj_admin_token *token,
                         char out_text[DJ_ADMIN_TOKEN_TEXT_BYTES]);
/* In time that does not tell how much of it was right. */
bool dj_admin_token_is(const struct dj_admin_token *token, struct deja_slice presented);

#endif
