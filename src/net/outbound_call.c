/* net/outbound_call.c - one request: its options, its headers, its deadlines.
 *
 * Trust: the answer is untrusted; libcurl parses it. Head: at most 256 KiB (interim heads and
 * trailers counted) and 256 fields.
 *
 * Deadlines: total and first byte count from the start; idle counts from the last byte once the
 * head is there, and rests while the caller has paused the call.
 */
#include <assert.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "net/http_headers.h"
#include "net/outbound_internal.h"
#include "proto/http_text.h"

void dj_outbound_call_free(struct dj_outbound_call *call)
{
    curl_slist_free_all(call->headers);
    dj_timer_destroy(call->timer);
    dj_free(call);
}

static void on_task(void *ctx)
{
    struct dj_outbound_call *call = ctx;
    call->is_posted = false;
    if (call->is_finished) {
        dj_outbound_call_free(call);
        return;
    }
    if (call->end_status != DEJA_OK) {
        dj_outbound_finish(call, call->end_status, call->end_detail);
        return;
    }
    if (!call->is_added) {
        dj_outbound_add(call);
        return;
    }
    if (call->wants_resume) {
        call->wants_resume = false;
        if (call->is_curl_paused && !call->is_paused)
            dj_outbound_unpause(call);
    }
}

static void post_task(struct dj_outbound_call *call)
{
    if (call->is_posted)
        return;
    call->is_posted = true;
    dj_loop_post(call->outbound->loop, &call->task);
}

void dj_outbound_call_end(struct dj_outbound_call *call, enum deja_status status,
                          const char *detail)
{
    if (call->is_finished || call->end_status != DEJA_OK)
        return;
    call->end_status = status;
    call->end_detail = detail;
    post_task(call);
}

static uint64_t earliest(uint64_t deadline_us, uint64_t from_us, uint32_t timeout_ms)
{
    uint64_t other_us = from_us + (uint64_t)timeout_ms * 1000;
    return timeout_ms > 0 && other_us < deadline_us ? other_us : deadline_us;
}

/* Monotonic; UINT64_MAX: none. */
static uint64_t next_deadline_us(const struct dj_outbound_call *call)
{
    uint64_t deadline_us = earliest(UINT64_MAX, call->started_us, call->total_timeout_ms);
    if (!call->has_head)
        return earliest(deadline_us, call->started_us, call->first_byte_timeout_ms);
    if (!call->is_paused)
        return earliest(deadline_us, call->last_byte_us, call->idle_timeout_ms);
    return deadline_us;
}

static void arm_timer(struct dj_outbound_call *call, uint64_t now_us)
{
    uint64_t deadline_us = next_deadline_us(call);
    if (deadline_us == UINT64_MAX)
        dj_timer_stop(call->timer);
    else
        dj_timer_start(call->timer, deadline_us > now_us ? (deadline_us - now_us + 999) / 1000 : 0,
                       0);
}

static void on_deadline(void *ctx)
{
    struct dj_outbound_call *call = ctx;
    if (call->is_finished || call->end_status != DEJA_OK)
        return;
    uint64_t now_us = dj_loop_monotonic_us(call->outbound->loop);
    if (next_deadline_us(call) > now_us) { /* bytes came since it was armed */
        arm_timer(call, now_us);
        return;
    }
    const char *detail = "the upstream stopped sending";
    if (earliest(UINT64_MAX, call->started_us, call->total_timeout_ms) <= now_us)
        detail = "the call took too long";
    else if (!call->has_head)
        detail = "the upstream did not answer in time";
    dj_outbound_call_end(call, DEJA_ERR_TIMEOUT, detail);
}

/* The final head is whole; false: it is not acceptable. */
static bool tell_head(struct dj_outbound_call *call, long status)
{
    struct dj_http_header headers[DJ_OUTBOUND_HEADERS_MAX];
    size_t count = 0;
    struct curl_header *header = NULL;
    while ((header = curl_easy_nextheader(call->easy, CURLH_HEADER, -1, header)) != NULL) {
        if (count == DJ_OUTBOUND_HEADERS_MAX) {
            dj_outbound_call_end(call, DEJA_ERR_IO, "the answer has too many header fields");
            return false;
        }
        headers[count].name = deja_slice_text(header->name);
        headers[count++].value = deja_slice_text(header->value);
    }
    call->has_head = true;
    arm_timer(call, call->last_byte_us);
    call->events.on_head(call->ctx, (int)status, headers, count);
    return true;
}

static size_t on_head_line(char *line, size_t size, size_t count, void *ctx)
{
    struct dj_outbound_call *call = ctx;
    size_t len = size * count;
    if (call->end_status != DEJA_OK)
        return 0;
    call->last_byte_us = dj_loop_monotonic_us(call->outbound->loop);
    call->head_bytes += len;
    if (call->head_bytes > DJ_OUTBOUND_HEAD_BYTES_MAX) {
        dj_outbound_call_end(call, DEJA_ERR_IO, "the answer's head is too long");
        return 0;
    }
    bool is_fold = len > 0 && (line[0] == ' ' || line[0] == '\t');
    if (call->is_status_line && is_fold) { /* libcurl 8 takes it for a field */
        dj_outbound_call_end(call, DEJA_ERR_IO, "the answer's first field continues none");
        return 0;
    }
    call->is_status_line = len >= 5 && memcmp(line, "HTTP/", 5) == 0;
    bool is_blank = len > 0 && (line[0] == '\r' || line[0] == '\n');
    if (call->has_head || !is_blank)
        return len;
    long status = 0;
    if (curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK)
        return 0;
    if (status == 101 || status < 100 || status > 599) {
        dj_outbound_call_end(call, DEJA_ERR_IO, "the upstream's status is not an answer");
        return 0;
    }
    if (status < 200)
        return len; /* interim; the final head follows */
    return tell_head(call, status) ? len : 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx)
{
    struct dj_outbound_call *call = ctx;
    size_t len = size * count;
    if (call->end_status != DEJA_OK || !call->has_head)
        return CURL_WRITEFUNC_ERROR;
    if (call->is_paused) {
        call->is_curl_paused = true;
        return CURL_WRITEFUNC_PAUSE; /* curl keeps the bytes and gives them again */
    }
    call->last_byte_us = dj_loop_monotonic_us(call->outbound->loop);
    if (len > 0)
        call->events.on_data(call->ctx, deja_slice(bytes, len));
    return len;
}

static bool append_header(struct dj_outbound_call *call, const char *line)
{
    struct curl_slist *longer = curl_slist_append(call->headers, line);
    if (!longer)
        return false;
    call->headers = longer;
    return true;
}

/* curl's notation: "Name: value"; "Name;" sends it empty. */
static enum deja_status add_header(struct dj_outbound_call *call, struct dj_arena *arena,
                                   const struct dj_http_header *header)
{
    size_t len = header->name.len + header->value.len + 3;
    char *line = dj_arena_alloc(arena, len);
    if (!line)
        return DEJA_ERR_NOMEM;
    memcpy(line, header->name.data, header->name.len);
    char *end = line + header->name.len;
    if (header->value.len == 0) {
        memcpy(end, ";", 2);
    } else {
        memcpy(end, ": ", 2);
        memcpy(end + 2, header->value.data, header->value.len);
        end[2 + header->value.len] = '\0';
    }
    return append_header(call, line) ? DEJA_OK : DEJA_ERR_NOMEM;
}

static bool is_ours(const struct dj_outbound_request *request, struct deja_slice name)
{
    return dj_http_is_same(name, "host") || dj_http_is_same(name, "content-length") ||
           dj_http_is_same(name, "expect") ||
           dj_http_is_hop_by_hop(request->headers, request->header_count, name);
}

/* What curl would add by itself is taken out where the caller did not give it. */
static bool drop_curls_own(struct dj_outbound_call *call, const struct dj_outbound_request *request)
{
    static const char *const own[][2] = {
        {"accept", "Accept:"}, {"content-type", "Content-Type:"}, {"user-agent", "User-Agent:"}};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (!dj_http_find(request->headers, request->header_count, own[i][0]).data &&
            !append_header(call, own[i][1]))
            return false;
    return append_header(call, "Expect:");
}

static bool is_blank(struct deja_slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] != ' ' && value.data[i] != '\t')
            return false;
    return true;
}

static enum deja_status build_headers(struct dj_outbound_call *call,
                                      const struct dj_outbound_request *request)
{
    struct dj_arena arena;
    dj_arena_init(&arena, 2 * DJ_OUTBOUND_HEAD_BYTES_MAX);
    enum deja_status status = DEJA_OK;
    for (size_t i = 0; i < request->header_count && status == DEJA_OK; i++) {
        struct dj_http_header header = request->headers[i];
        if (!dj_http_is_token(header.name) || !dj_http_is_value(header.value))
            status = DEJA_ERR_INVALID;
        else if (is_blank(header.value))
            header.value.len = 0;
        if (status == DEJA_OK && !is_ours(request, header.name))
            status = add_header(call, &arena, &header);
    }
    if (status == DEJA_OK && !drop_curls_own(call, request))
        status = DEJA_ERR_NOMEM;
    dj_arena_fini(&arena);
    return status;
}

static bool set_numbers(const struct dj_outbound_call *call)
{
    const struct dj_outbound *outbound = call->outbound;
    const struct {
        CURLoption option;
        long value;
    } settings[] = {
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_FOLLOWLOCATION, 0},
        {CURLOPT_NETRC, CURL_NETRC_IGNORED},
        {CURLOPT_DISALLOW_USERNAME_IN_URL, 1},
        {CURLOPT_PATH_AS_IS, 1},
        {CURLOPT_SSL_VERIFYPEER, 1},
        {CURLOPT_SSL_VERIFYHOST, 2},
        {CURLOPT_TCP_KEEPALIVE, 1},
        {CURLOPT_HTTP_VERSION, outbound->http_version},
        {CURLOPT_HTTP_CONTENT_DECODING, 0},
        {CURLOPT_HTTP09_ALLOWED, 0},
        {CURLOPT_CONNECTTIMEOUT_MS, (long)outbound->options.connect_timeout_ms},
    };
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        if (curl_easy_setopt(call->easy, settings[i].option, settings[i].value) != CURLE_OK)
            return false;
    return true;
}

static bool set_texts(struct dj_outbound_call *call)
{
    CURL *easy = call->easy;
    const char *url = call->url; /* curl's type check cannot take the size of an open array */
    return curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
           (!call->outbound->ca_file ||
            curl_easy_setopt(easy, CURLOPT_CAINFO, call->outbound->ca_file) == CURLE_OK) &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PRIVATE, call) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error_text) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head_line) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERDATA, call) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, call) == CURLE_OK;
}

static bool set_method(struct dj_outbound_call *call, struct deja_slice body)
{
    CURL *easy = call->easy;
    if (strcmp(call->method, "HEAD") == 0)
        return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L) == CURLE_OK;
    bool has_body = body.len > 0 || strcmp(call->method, "POST") == 0 ||
                    strcmp(call->method, "PUT") == 0 || strcmp(call->method, "PATCH") == 0;
    if (has_body &&
        (curl_easy_setopt(easy, CURLOPT_POST, 1L) != CURLE_OK ||
         curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len) != CURLE_OK ||
         curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body.len ? body.data : "") != CURLE_OK))
        return false;
    return curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method) == CURLE_OK;
}

static enum deja_status build_call(struct dj_outbound_call *call,
                                   const struct dj_outbound_request *request)
{
    enum deja_status status = build_headers(call, request);
    if (status != DEJA_OK)
        return status;
    status = dj_timer_create(call->outbound->loop, call, on_deadline, &call->timer);
    if (status != DEJA_OK)
        return status;
    /* A handle of its own: in a used one libcurl before 8.1 (Debian 12 has 7.88) keeps a pointer to
     * the freed headers of the answer before, and follows it when an answer begins with a folded
     * line (curl issue 11101). */
    call->easy = curl_easy_init();
    if (!call->easy || !set_numbers(call) || !set_texts(call) || !set_method(call, request->body))
        return DEJA_ERR_NOMEM;
    if (request->guard && !dj_outbound_guard(call, request->guard))
        return DEJA_ERR_NOMEM;
    return DEJA_OK;
}

enum deja_status dj_outbound_start(struct dj_outbound *outbound,
                                   const struct dj_outbound_request *request,
                                   const struct dj_outbound_events *events, void *ctx,
                                   struct dj_outbound_call **out_call)
{
    assert(dj_loop_is_current(outbound->loop));
    assert(events->on_head && events->on_data && events->on_done);
    struct deja_slice method = deja_slice_text(request->method);
    if (!dj_http_is_token(method) || method.len >= DJ_OUTBOUND_METHOD_BYTES)
        return DEJA_ERR_INVALID;
    enum deja_status status = dj_outbound_check_url(request->url, NULL);
    if (status != DEJA_OK)
        return status;
    if (outbound->is_ending || outbound->call_count >= (size_t)outbound->options.connections_max *
                                                           DJ_OUTBOUND_CALLS_PER_CONNECTION)
        return DEJA_ERR_BUSY;
    size_t url_bytes = strlen(request->url) + 1;
    struct dj_outbound_call *call = dj_alloc_zeroed(1, sizeof(*call) + url_bytes);
    if (!call)
        return DEJA_ERR_NOMEM;
    call->outbound = outbound;
    call->events = *events;
    call->ctx = ctx;
    call->task = (struct dj_task){.run = on_task, .ctx = call};
    memcpy(call->url, request->url, url_bytes);
    memcpy(call->method, method.data, method.len);
    call->first_byte_timeout_ms = request->first_byte_timeout_ms;
    call->idle_timeout_ms = request->idle_timeout_ms;
    call->total_timeout_ms = request->total_timeout_ms;
    status = build_call(call, request);
    if (status != DEJA_OK) {
        curl_easy_cleanup(call->easy);
        dj_outbound_call_free(call);
        return status;
    }
    dj_list_push_back(&outbound->calls, &call->node);
    outbound->call_count++;
    call->started_us = dj_loop_monotonic_us(outbound->loop);
    call->last_byte_us = call->started_us;
    arm_timer(call, call->started_us);
    if (outbound->is_inside)
        post_task(call); /* started from within on_head or on_data */
    else
        dj_outbound_add(call);
    *out_call = call;
    return DEJA_OK;
}

void dj_outbound_pause(struct dj_outbound_call *call)
{
    assert(dj_loop_is_current(call->outbound->loop));
    call->is_paused = true; /* curl hears of it with its next bytes */
}

void dj_outbound_resume(struct dj_outbound_call *call)
{
    assert(dj_loop_is_current(call->outbound->loop));
    if (!call->is_paused)
        return;
    call->is_paused = false;
    call->last_byte_us = dj_loop_monotonic_us(call->outbound->loop);
    arm_timer(call, call->last_byte_us);
    if (call->is_curl_paused) {
        call->wants_resume = true;
        post_task(call);
    }
}

void dj_outbound_cancel(struct dj_outbound_call *call)
{
    assert(dj_loop_is_current(call->outbound->loop));
    dj_outbound_call_end(call, DEJA_ERR_CANCELLED, "cancelled");
}
