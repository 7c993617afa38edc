/* net/outbound.h - HTTP client over libcurl multi on a loop: pooled connections, verified TLS,
 * timeouts, back-pressure, cancel.
 *
 * No proxy from the environment, no redirects, http and https only. Bearer credentials are per
 * request, so connections are shared. Threads: loop-bound.
 */
#ifndef DJ_NET_OUTBOUND_H
#define DJ_NET_OUTBOUND_H

#include <deja/base.h>

#include "loop/loop.h"
#include "net/http_server.h" /* dj_http_header */
#include "security/address_guard.h"

struct dj_outbound;
struct dj_outbound_call;

struct dj_outbound_options {
    uint32_t connections_max;    /* 256 */
    uint32_t connect_timeout_ms; /* 5 s */
    const char *ca_file;         /* NULL: the system's */
};
extern const struct dj_outbound_options dj_outbound_options_default;

struct dj_outbound_request {
    const char *method;
    const char *url;                      /* copied */
    const struct dj_http_header *headers; /* copied; hop-by-hop, Host and Content-Length are ours */
    size_t header_count;
    struct deja_slice body;         /* borrowed until done() */
    uint32_t first_byte_timeout_ms; /* 0: none */
    uint32_t idle_timeout_ms;       /* no byte for so long: fails; 0: none */
    uint32_t total_timeout_ms;      /* 0: none */
    /* Who named url is not the operator: only addresses that pass are connected to, whatever the
     * name in it leads to; without TLS only exceptions. Borrowed until done(). NULL: trusted as
     * written. */
    const struct dj_address_guard *guard;
};

struct dj_outbound_events {
    /* Once, before data. Slices are borrowed until return. Content codings are not decoded unless
     * the caller asked for them; curl adds none of its own. */
    void (*on_head)(void *ctx, int status, const struct dj_http_header *headers, size_t count);
    void (*on_data)(void *ctx, struct deja_slice bytes);
    /* Once, last, never inside dj_outbound_start. DEJA_OK: the answer arrived whole.
     * DEJA_ERR_TIMEOUT, DEJA_ERR_IO (could not connect, broken off), DEJA_ERR_DENIED (TLS did not
     * verify, or the guard refused), DEJA_ERR_CANCELLED. detail: constant or borrowed until return.
     */
    void (*on_done)(void *ctx, enum deja_status status, const char *detail);
};

enum deja_status dj_outbound_create(struct dj_loop *loop, const struct dj_outbound_options *options,
                                    struct dj_outbound **out_outbound) DEJA_NODISCARD;
/* Running calls end with DEJA_ERR_CANCELLED first. Accepts NULL. */
void dj_outbound_destroy(struct dj_outbound *outbound);

enum deja_status dj_outbound_start(struct dj_outbound *outbound,
                                   const struct dj_outbound_request *request,
                                   const struct dj_outbound_events *events, void *ctx,
                                   struct dj_outbound_call **out_call) DEJA_NODISCARD;
void dj_outbound_pause(struct dj_outbound_call *call); /* no on_data until resumed */
void dj_outbound_resume(struct dj_outbound_call *call);
void dj_outbound_cancel(struct dj_outbound_call *call); /* on_done comes later, once */

/* scheme is http or https, a host, no userinfo, no control characters; text says what is wrong. */
enum deja_status dj_outbound_check_url(const char *url, struct deja_error *error) DEJA_NODISCARD;

#endif
