/* proxy/respond.h - the headers every answer carries (WIRE §5.3, §12), and errors of this surface.
 *
 * Threads: loop-bound to the exchange.
 */
#ifndef DJ_PROXY_RESPOND_H
#define DJ_PROXY_RESPOND_H

#include <deja/base.h>

#include "cache/engine.h"
#include "net/http_server.h"
#include "proxy/knobs.h"

/* What is known about how a request was answered. Plain data; texts borrowed or constant. */
struct dj_outcome {
    bool is_hit;
    bool is_bypass;
    bool is_refresh;
    bool is_collapsed;
    bool is_stored;
    bool is_stale_met; /* a miss: an answer whose time is over was there */
    const char *stale; /* of a hit that has expired: why it was served; NULL: fresh */
    bool is_negative;  /* of a hit that is a refusal */
    bool is_if_error;  /* it was: the upstream failed */
    enum dj_hit_kind kind;
    const char *level;
    float similarity;
    const struct dj_entry *entry; /* of a hit */
    const char *detail;           /* why missed or bypassed: constant; NULL: see rule */
    const char *rule;             /* the header or member that asked for it; NULL: none */
    const char *refused;          /* why the answer was not kept; NULL: it was, or not known yet */
    const char *cut;              /* an override that was cut or ignored; NULL: none */
    int upstream_status;          /* 0: not asked */
    uint32_t embed_us;
    uint32_t search_us;
    uint32_t upstream_us; /* to its first byte */
    uint32_t verify_us;   /* canonical form and keys */
    int64_t now_ms;
    uint64_t total_us;
    uint64_t retry_after_ms; /* of an error that passes by itself; 0: not known */
    unsigned compat;
    uint32_t variant;           /* of several answers kept: which */
    uint32_t attempts;          /* the upstream was asked so often */
    bool is_partial;            /* a miss of a part: the rest was there */
    struct deja_slice trace_id; /* the client's, in Portkey's header; empty: none */
    struct deja_slice request_id;
    bool is_messages; /* the client speaks Anthropic's API: its errors, its request-id */
};

#define DJ_ANSWER_HEADERS_MAX 128u

/* Headers being gathered; values lie in the exchange's arena. What does not fit is left out. */
struct dj_answer_headers {
    struct dj_http_header items[DJ_ANSWER_HEADERS_MAX];
    size_t count;
    struct dj_arena *arena;
};

/* Instead of an initialiser, which would write zeroes over the whole array for each answer. */
void dj_answer_init(struct dj_answer_headers *headers, struct dj_arena *arena);
/* A value without data, for want of memory, is left out with its name. */
void dj_answer_add(struct dj_answer_headers *headers, const char *name, struct deja_slice value);
void dj_answer_add_outcome(struct dj_answer_headers *headers, const struct dj_outcome *outcome);

/* "invalid_request_error", … as Anthropic's API names them by status: constant. */
const char *dj_proxy_messages_type(int status);
/* {"type":"error","error":{type,message},"request_id"}; texts are UTF-8. */
void dj_proxy_messages_error_body(struct dj_buf *out, int status, const char *message,
                                  struct deja_slice request_id);

/* {"error":{message,type,param,code}}, or as Anthropic's clients want it, for whom what is
 * overloaded is a 529; type by status; code is also why there was no hit. Below 500 a client is
 * told not to try again. */
void dj_proxy_error(struct dj_http_exchange *exchange, int status, const char *message,
                    const char *param, const char *code, const struct dj_outcome *outcome);
/* Only the body; texts are UTF-8. */
void dj_proxy_error_body(struct dj_buf *out, int status, const char *message, const char *param,
                         const char *code);

#endif
