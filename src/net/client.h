/* net/client.h - one HTTP call and its answer, blocking, over a loop of its own: for commands.
 *
 * Trust: the answer is untrusted; at most DJ_CLIENT_BODY_MAX bytes of it are kept.
 * Threads: blocks the caller's.
 */
#ifndef DJ_NET_CLIENT_H
#define DJ_NET_CLIENT_H

#include <deja/base.h>

#include "base/buf.h"

#define DJ_CLIENT_BODY_MAX (64u << 20)
#define DJ_CLIENT_HEADERS_MAX 4u

struct dj_client {
    const char *server;  /* "http://127.0.0.1:7070", without trailing "/"; borrowed */
    const char *key;     /* bearer credential or NULL; borrowed */
    const char *token;   /* admin token or NULL; borrowed */
    const char *tenant;  /* whom an administrator acts for, or NULL; borrowed */
    const char *user;    /* of the tenant, or NULL; borrowed */
    uint32_t timeout_ms; /* of the whole call; 0: a minute */
    const char *ca_file; /* of https; NULL: the system's; borrowed */
    const char *media;   /* of bodies; NULL: application/json; borrowed */
    /* More headers: names and values by turns, DJ_CLIENT_HEADERS_MAX pairs at most, then NULL;
     * NULL: none; borrowed. */
    const char *const *headers;
};

struct dj_client_answer {
    int http_status;
    struct dj_buf body; /* owned */
    struct dj_buf head; /* owned: "name: value\n" of each header */
    char detail[200];   /* on failure */
};

/* path begins with "/". body: JSON, or empty for none. *out_answer: the caller's, ended with
 * dj_client_answer_fini, also on failure. DEJA_OK: any HTTP status arrived. DEJA_ERR_INVALID: the
 * address; DEJA_ERR_IO, _TIMEOUT, _DENIED (TLS) as in net/outbound.h; DEJA_ERR_LIMIT: too long. */
enum deja_status dj_client_call(const struct dj_client *client, const char *method,
                                const char *path, struct deja_slice body,
                                struct dj_client_answer *out_answer) DEJA_NODISCARD;
/* First header of that name (any case), or a NULL slice; lives as long as the answer. */
struct deja_slice dj_client_answer_header(const struct dj_client_answer *answer, const char *name);
void dj_client_answer_fini(struct dj_client_answer *answer);

/* Appends a value of a path or a query: all but letters, digits and -._~ as %XX. */
void dj_percent_encode(struct dj_buf *out, const char *text);

#endif
