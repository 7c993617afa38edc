/* proxy/trace.h - W3C Trace Context: which trace a request belongs to (WIRE §14).
 *
 *   traceparent: 00-<32 hex: trace>-<16 hex: the caller's span>-<2 hex: flags>
 *
 * A caller's trace is carried on: its id goes to the log, and upstream with a span id of our own. A
 * value that cannot be read starts a new trace, as the recommendation wants; a request without one
 * stays without one. Trust: untrusted. Threads: any.
 */
#ifndef DJ_PROXY_TRACE_H
#define DJ_PROXY_TRACE_H

#include <deja/base.h>

#include "net/http_server.h"

#define DJ_TRACE_ID_TEXT_BYTES 33u
#define DJ_TRACEPARENT_BYTES 56u

/* Plain data; zeroed: the request belongs to no trace. */
struct dj_trace {
    char id[DJ_TRACE_ID_TEXT_BYTES]; /* "": none */
    char flags[3];
    bool is_restarted; /* the value could not be read: tracestate means nothing any more */
};

/* From the request's header; without one nothing is set. */
void dj_trace_read(const struct dj_http_request *request, struct dj_trace *out_trace);
/* The header for the next hop, with a new span id. Only for a trace that has an id. */
void dj_trace_write(const struct dj_trace *trace, char out_text[DJ_TRACEPARENT_BYTES]);
/* For log fields: NULL if there is none. */
const char *dj_trace_id(const struct dj_trace *trace);

#endif
