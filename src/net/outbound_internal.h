/* net/outbound_internal.h - shared by the client's files: outbound.c drives curl, outbound_call.c
 * is one request. */
#ifndef DJ_NET_OUTBOUND_INTERNAL_H
#define DJ_NET_OUTBOUND_INTERNAL_H

#include <curl/curl.h>

#include "base/list.h"
#include "net/outbound.h"

enum {
    DJ_OUTBOUND_CALLS_PER_CONNECTION = 16,
    DJ_OUTBOUND_HEAD_BYTES_MAX = 256 * 1024,
    DJ_OUTBOUND_HEADERS_MAX = 256,
    DJ_OUTBOUND_METHOD_BYTES = 32,
    DJ_OUTBOUND_REFUSED_BYTES = 256,
};

struct dj_outbound {
    struct dj_loop *loop;
    CURLM *multi;
    struct dj_timer *timer; /* curl's own wish to be called */
    struct dj_list calls;   /* running */
    struct dj_list watches; /* sockets curl wants watched */
    size_t call_count;
    struct dj_outbound_options options;
    char *ca_file; /* owned; NULL: libcurl's default */
    long http_version;
    bool is_inside; /* curl is on the stack: it must not be called */
    bool is_ending;
};

struct dj_outbound_call {
    struct dj_list node; /* in outbound->calls */
    struct dj_outbound *outbound;
    CURL *easy;                 /* owned until finished */
    struct curl_slist *headers; /* owned */
    struct dj_timer *timer;     /* the next deadline of this call */
    struct dj_outbound_events events;
    void *ctx;
    struct dj_task task; /* what must not happen inside curl or inside the caller */
    bool is_posted;      /* task is under way: the memory must stay */
    bool is_finished;    /* on_done has run */
    bool is_added;       /* to the multi handle */
    bool wants_resume;
    bool is_paused;      /* by the caller */
    bool is_curl_paused; /* curl was told so and holds bytes back */
    bool has_head;
    const struct dj_address_guard *guard;
    bool is_https;   /* this and the next of guarded calls only */
    bool is_refused; /* an address was; refused_text says which */
    char refused_text[DJ_OUTBOUND_REFUSED_BYTES];
    enum deja_status end_status; /* decided by us; DEJA_OK: not */
    const char *end_detail;
    size_t head_bytes;
    bool is_status_line; /* the last line of the head was one */
    uint64_t started_us;
    uint64_t last_byte_us;
    uint32_t first_byte_timeout_ms;
    uint32_t idle_timeout_ms;
    uint32_t total_timeout_ms;
    char error_text[CURL_ERROR_SIZE];
    char method[DJ_OUTBOUND_METHOD_BYTES];
    char url[]; /* terminated */
};

/* outbound.c */
void dj_outbound_add(struct dj_outbound_call *call);
void dj_outbound_unpause(struct dj_outbound_call *call);
/* on_done runs inside. */
void dj_outbound_finish(struct dj_outbound_call *call, enum deja_status status, const char *detail);

/* outbound_guard.c */
/* The call goes nowhere but where guard lets it; false: no memory. */
bool dj_outbound_guard(struct dj_outbound_call *call, const struct dj_address_guard *guard);

/* outbound_call.c */
void dj_outbound_call_end(struct dj_outbound_call *call, enum deja_status status,
                          const char *detail); /* soon, by task */
void dj_outbound_call_free(struct dj_outbound_call *call);

#endif
