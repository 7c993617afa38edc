/* net/outbound.c - curl's multi interface on a loop.
 *
 *   socket ready (dj_poll) ─┐
 *   curl's timer (dj_timer) ─┴─▶ drive() ─▶ curl ─▶ on_head, on_data
 *                                  └─▶ collect() ─▶ finish ─▶ on_done
 *
 * (1) curl is never entered while it is on the stack (is_inside): what callers ask for inside
 *     on_head and on_data waits for a task.
 * (2) A call is freed after on_done and after its task, if one was posted, has run.
 *
 * A request on a kept connection that died before the first byte of the answer is sent once more
 * by curl on a new one.
 */
#include "net/outbound.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "loop/stream.h"
#include "net/outbound_internal.h"

const struct dj_outbound_options dj_outbound_options_default = {
    .connections_max = 256,
    .connect_timeout_ms = 5000,
};

struct watch {
    struct dj_list node;
    struct dj_outbound *outbound;
    struct dj_poll *poll;
    curl_socket_t fd;
    int events; /* what curl wants to hear of */
};

static enum deja_status status_from_curl(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return DEJA_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return DEJA_ERR_TIMEOUT;
    case CURLE_OUT_OF_MEMORY:
        return DEJA_ERR_NOMEM;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
        return DEJA_ERR_DENIED;
    default:
        return DEJA_ERR_IO;
    }
}

/* NULL: a handle of curl's own, with which newer versions shut connections down. */
static struct dj_outbound_call *call_of(CURL *easy)
{
    char *call = NULL;
    CURLcode code = curl_easy_getinfo(easy, CURLINFO_PRIVATE, &call);
    return code == CURLE_OK ? (struct dj_outbound_call *)(void *)call : NULL;
}

void dj_outbound_finish(struct dj_outbound_call *call, enum deja_status status, const char *detail)
{
    struct dj_outbound *outbound = call->outbound;
    assert(!call->is_finished && !outbound->is_inside);
    if (call->is_added) {
        outbound->is_inside = true;
        CURLMcode code = curl_multi_remove_handle(outbound->multi, call->easy);
        outbound->is_inside = false;
        assert(code == CURLM_OK);
    }
    curl_easy_cleanup(call->easy); /* never used again: outbound_call.c says why */
    call->easy = NULL;
    dj_list_remove(&call->node);
    outbound->call_count--;
    call->is_finished = true;
    call->events.on_done(call->ctx, status, detail);
    if (!call->is_posted)
        dj_outbound_call_free(call);
}

static void finish_done(struct dj_outbound_call *call, CURLcode code)
{
    enum deja_status status = status_from_curl(code);
    const char *detail = "";
    if (status != DEJA_OK)
        detail = call->error_text[0] ? call->error_text : curl_easy_strerror(code);
    if (status == DEJA_OK && !call->has_head) {
        status = DEJA_ERR_IO;
        detail = "the answer has no head";
    }
    if (status == DEJA_ERR_IO && call->is_refused) {
        status = DEJA_ERR_DENIED;
        detail = call->refused_text;
    }
    if (call->end_status != DEJA_OK) { /* our reason comes before what curl made of it */
        status = call->end_status;
        detail = call->end_detail;
    }
    dj_outbound_finish(call, status, detail);
}

static void collect(struct dj_outbound *outbound)
{
    int left = 0;
    for (;;) {
        CURLMsg *message = curl_multi_info_read(outbound->multi, &left);
        if (!message)
            return;
        if (message->msg == CURLMSG_DONE)
            finish_done(call_of(message->easy_handle), message->data.result);
    }
}

static void drive(struct dj_outbound *outbound, curl_socket_t fd, int events)
{
    int running = 0;
    assert(!outbound->is_inside);
    outbound->is_inside = true;
    CURLMcode code = curl_multi_socket_action(outbound->multi, fd, events, &running);
    outbound->is_inside = false;
    assert(code == CURLM_OK);
    collect(outbound);
}

static void on_curl_timer(void *ctx)
{
    drive(ctx, CURL_SOCKET_TIMEOUT, 0);
}

static void on_socket_ready(void *ctx, int ready)
{
    struct watch *watch = ctx;
    if (ready < 0) {
        /* A reset, mostly. curl shall find it by reading: told of an error, it would give up a call
         * on a kept connection instead of sending it once more. */
        dj_poll_set(watch->poll, watch->events); /* watching has ended with the failure */
        ready = DJ_POLL_READ | DJ_POLL_WRITE;
    }
    int events = ((ready & DJ_POLL_READ) ? CURL_CSELECT_IN : 0) |
                 ((ready & DJ_POLL_WRITE) ? CURL_CSELECT_OUT : 0);
    drive(watch->outbound, watch->fd, events);
}

static int on_timer_wish(CURLM *multi, long timeout_ms, void *ctx)
{
    (void)multi;
    struct dj_outbound *outbound = ctx;
    if (timeout_ms < 0)
        dj_timer_stop(outbound->timer);
    else
        dj_timer_start(outbound->timer, (uint64_t)timeout_ms, 0);
    return 0;
}

static struct watch *watch_create(struct dj_outbound *outbound, curl_socket_t fd)
{
    struct watch *watch = dj_alloc_zeroed(1, sizeof(*watch));
    if (!watch)
        return NULL;
    watch->outbound = outbound;
    watch->fd = fd;
    if (dj_poll_open(outbound->loop, fd, watch, on_socket_ready, &watch->poll) != DEJA_OK) {
        dj_free(watch);
        return NULL;
    }
    dj_list_push_back(&outbound->watches, &watch->node);
    return watch;
}

static void watch_destroy(struct watch *watch)
{
    dj_list_remove(&watch->node);
    dj_poll_close(watch->poll);
    dj_free(watch);
}

static int on_socket_wish(CURL *easy, curl_socket_t fd, int wish, void *ctx, void *socket_ctx)
{
    struct dj_outbound *outbound = ctx;
    struct watch *watch = socket_ctx;
    if (wish == CURL_POLL_REMOVE) {
        if (watch) {
            curl_multi_assign(outbound->multi, fd, NULL);
            watch_destroy(watch);
        }
        return 0;
    }
    if (!watch) {
        watch = watch_create(outbound, fd);
        if (!watch) {
            /* An error here would kill every call of the multi handle; this one is enough. */
            struct dj_outbound_call *call = call_of(easy);
            if (call)
                dj_outbound_call_end(call, DEJA_ERR_NOMEM, "no memory to watch a socket");
            return 0;
        }
        curl_multi_assign(outbound->multi, fd, watch);
    }
    int events = 0;
    if (wish == CURL_POLL_IN || wish == CURL_POLL_INOUT)
        events |= DJ_POLL_READ;
    if (wish == CURL_POLL_OUT || wish == CURL_POLL_INOUT)
        events |= DJ_POLL_WRITE;
    watch->events = events;
    dj_poll_set(watch->poll, events);
    return 0;
}

void dj_outbound_add(struct dj_outbound_call *call)
{
    struct dj_outbound *outbound = call->outbound;
    outbound->is_inside = true;
    CURLMcode code = curl_multi_add_handle(outbound->multi, call->easy);
    outbound->is_inside = false;
    if (code == CURLM_OK)
        call->is_added = true;
    else
        dj_outbound_call_end(call, code == CURLM_OUT_OF_MEMORY ? DEJA_ERR_NOMEM : DEJA_ERR_IO,
                             "the call could not be started");
}

void dj_outbound_unpause(struct dj_outbound_call *call)
{
    struct dj_outbound *outbound = call->outbound;
    call->is_curl_paused = false; /* before: curl may hand out held bytes and be paused again */
    outbound->is_inside = true;
    CURLcode code = curl_easy_pause(call->easy, CURLPAUSE_CONT);
    outbound->is_inside = false;
    if (code != CURLE_OK)
        dj_outbound_call_end(call, status_from_curl(code), "the answer could not be resumed");
}

static bool set_up_multi(struct dj_outbound *outbound)
{
    CURLM *multi = outbound->multi;
    long connections_max = (long)outbound->options.connections_max;
    return curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket_wish) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, outbound) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer_wish) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_TIMERDATA, outbound) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, connections_max) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections_max) == CURLM_OK;
}

enum deja_status dj_outbound_create(struct dj_loop *loop, const struct dj_outbound_options *options,
                                    struct dj_outbound **out_outbound)
{
    if (!options)
        options = &dj_outbound_options_default;
    assert(dj_loop_is_current(loop) && options->connections_max > 0);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) /* counted, paired in destroy */
        return DEJA_ERR_NOMEM;
    enum deja_status status = DEJA_ERR_NOMEM;
    struct dj_outbound *outbound = dj_alloc_zeroed(1, sizeof(*outbound));
    if (!outbound) {
        curl_global_cleanup();
        return status;
    }
    outbound->loop = loop;
    outbound->options = *options;
    outbound->options.ca_file = NULL;
    dj_list_init(&outbound->calls);
    dj_list_init(&outbound->watches);
    /* Before 8.4 curl had trouble with HTTP/2 streams that are paused; HTTP/1.1 will do. */
    outbound->http_version = curl_version_info(CURLVERSION_NOW)->version_num >= 0x080400
                                 ? CURL_HTTP_VERSION_2TLS
                                 : CURL_HTTP_VERSION_1_1;
    /* OpenSSL's own variable; libcurl sets a file of its own and so would never look at it. */
    const char *ca_file = options->ca_file ? options->ca_file : getenv("SSL_CERT_FILE");
    if (ca_file && ca_file[0]) {
        outbound->ca_file = dj_strdup(deja_slice_text(ca_file));
        if (!outbound->ca_file)
            goto failed;
    }
    status = dj_timer_create(loop, outbound, on_curl_timer, &outbound->timer);
    if (status != DEJA_OK)
        goto failed;
    outbound->multi = curl_multi_init();
    if (!outbound->multi || !set_up_multi(outbound)) {
        status = DEJA_ERR_NOMEM;
        goto failed;
    }
    *out_outbound = outbound;
    return DEJA_OK;
failed:
    dj_outbound_destroy(outbound);
    return status;
}

void dj_outbound_destroy(struct dj_outbound *outbound)
{
    if (!outbound)
        return;
    assert(dj_loop_is_current(outbound->loop) && !outbound->is_inside);
    outbound->is_ending = true; /* dj_outbound_start in on_done is refused */
    while (!dj_list_is_empty(&outbound->calls))
        dj_outbound_finish(DJ_CONTAINER(outbound->calls.next, struct dj_outbound_call, node),
                           DEJA_ERR_CANCELLED, "the client was closed");
    if (outbound->multi) {
        outbound->is_inside = true;
        curl_multi_cleanup(outbound->multi);
    }
    while (!dj_list_is_empty(&outbound->watches))
        watch_destroy(DJ_CONTAINER(outbound->watches.next, struct watch, node));
    dj_timer_destroy(outbound->timer);
    dj_free(outbound->ca_file);
    dj_free(outbound);
    curl_global_cleanup();
}
