/* Request headers as a stranger sends them: what they ask of the cache is bounded, what they do not
 * name changes nothing, a credential is a part of one of them, a foreign host is never loopback.
 * Input: "name: value" lines, an empty line, a body.
 */
#include "fuzz.h"

#include "proto/http_text.h"
#include "proxy/identity.h"
#include "proxy/knobs.h"
#include "proxy/trace.h"
#include "security/local_guard.h"

#define HEADERS_MAX 32u
#define TTL_MAX_MS UINT64_C(86400000)

struct lines {
    struct dj_http_header headers[HEADERS_MAX + 1];
    size_t count;
    struct deja_slice body;
};

static struct deja_slice take_line(struct deja_slice *rest)
{
    const char *end = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
    size_t len = end ? (size_t)(end - rest->data) : rest->len;
    struct deja_slice line = deja_slice(rest->data, len);
    *rest = deja_slice(rest->data + len + (end ? 1 : 0), rest->len - len - (end ? 1 : 0));
    return line;
}

/* As the parser would give them: names are tokens, values are trimmed and have no controls. */
static void read_lines(struct deja_slice input, struct lines *out)
{
    *out = (struct lines){.count = 0};
    while (input.len) {
        struct deja_slice line = take_line(&input);
        if (!line.len)
            break;
        const char *colon = memchr(line.data, ':', line.len);
        if (!colon || out->count == HEADERS_MAX)
            continue;
        size_t name_len = (size_t)(colon - line.data);
        struct deja_slice name = deja_slice(line.data, name_len);
        struct deja_slice value = dj_http_trim(deja_slice(colon + 1, line.len - name_len - 1));
        if (dj_http_is_token(name) && dj_http_is_value(value))
            out->headers[out->count++] = (struct dj_http_header){name, value};
    }
    out->body = input;
}

static bool is_inside(struct deja_slice part, const struct dj_http_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        struct deja_slice value = request->headers[i].value;
        if (part.data >= value.data && part.data + part.len <= value.data + value.len)
            return true;
    }
    return part.len == 0;
}

static void check_knobs(struct lines *lines, const struct dj_json *body)
{
    struct dj_http_request request = {.headers = lines->headers, .header_count = lines->count};
    struct dj_knobs knobs;
    struct dj_knobs other;
    dj_knobs_read(&request, body, &knobs);
    dj_knobs_cut_ttl(&knobs, TTL_MAX_MS);
    FUZZ_CHECK(knobs.ttl_ms <= TTL_MAX_MS);
    FUZZ_CHECK(knobs.threshold >= 0 && knobs.threshold <= 1);
    FUZZ_CHECK(knobs.variants <= DJ_VARIANTS_MAX);
    FUZZ_CHECK(knobs.rule || !(knobs.is_bypass || knobs.is_no_read || knobs.is_no_store));
    if (!body)
        FUZZ_CHECK(is_inside(knobs.name_space, &request) && is_inside(knobs.tags, &request));
    lines->headers[lines->count] =
        (struct dj_http_header){deja_slice_text("accept-language"), deja_slice_text("no-store")};
    request.header_count++;
    dj_knobs_read(&request, body, &other);
    dj_knobs_cut_ttl(&other, TTL_MAX_MS);
    FUZZ_CHECK(knobs.is_bypass == other.is_bypass && knobs.is_no_read == other.is_no_read &&
               knobs.is_no_store == other.is_no_store &&
               knobs.is_only_if_cached == other.is_only_if_cached &&
               knobs.is_exact_only == other.is_exact_only && knobs.ttl_ms == other.ttl_ms &&
               knobs.max_age_ms == other.max_age_ms && knobs.compat == other.compat &&
               knobs.detail == other.detail);
    FUZZ_CHECK(deja_slice_is_equal(knobs.name_space, other.name_space));
}

static struct deja_slice find(const struct lines *lines, const char *name)
{
    for (size_t i = 0; i < lines->count; i++)
        if (dj_http_is_same(lines->headers[i].name, name))
            return lines->headers[i].value;
    return deja_slice(NULL, 0);
}

static void check_guard(const struct lines *lines)
{
    static const char *const hosts[] = {"deja.example"};
    static const char *const origins[] = {"https://app.example"};
    const struct dj_local_config config = {hosts, 1, origins, 1};
    const struct dj_local_config none = {NULL, 0, NULL, 0};
    struct dj_local_request request = {
        .method = deja_slice_text("POST"),
        .host = find(lines, "host"),
        .origin = find(lines, "origin"),
        .content_type = find(lines, "content-type"),
        .needs_json = true,
    };
    enum dj_local_verdict verdict = dj_local_check(&config, &request);
    int status = dj_local_status(verdict);
    FUZZ_CHECK(status == (verdict == DJ_LOCAL_OK                 ? 200
                          : verdict == DJ_LOCAL_BAD_CONTENT_TYPE ? 415
                                                                 : 403));
    /* With nothing allowed only loopback names get through, and every such name is a host. */
    if (dj_local_check(&none, &request) != DJ_LOCAL_BAD_HOST)
        FUZZ_CHECK(dj_local_is_loopback(request.host) && dj_http_is_host(request.host));
    if (dj_local_check(&none, &request) == DJ_LOCAL_OK)
        FUZZ_CHECK(verdict == DJ_LOCAL_OK);
}

static void check_lists(const struct lines *lines)
{
    for (size_t i = 0; i < lines->count; i++) {
        struct deja_slice list = lines->headers[i].value;
        struct deja_slice item;
        size_t bytes = 0;
        while (dj_http_list_next(&list, &item)) {
            FUZZ_CHECK(item.len > 0 && deja_slice_is_equal(item, dj_http_trim(item)));
            bytes += item.len;
        }
        FUZZ_CHECK(bytes <= lines->headers[i].value.len);
        if (dj_http_list_has(lines->headers[i].value, "gzip"))
            FUZZ_CHECK(bytes >= 4);
    }
}

/* What is sent on can be read again and names the same trace. */
static void check_trace(const struct dj_http_request *request)
{
    struct dj_trace trace = {0};
    struct dj_trace again = {0};
    char text[DJ_TRACEPARENT_BYTES];
    dj_trace_read(request, &trace);
    FUZZ_CHECK(strlen(trace.id) == 0 || strlen(trace.id) == DJ_TRACE_ID_TEXT_BYTES - 1);
    FUZZ_CHECK((dj_trace_id(&trace) != NULL) == (trace.id[0] != 0));
    if (!trace.id[0])
        return;
    dj_trace_write(&trace, text);
    const struct dj_http_header header = {deja_slice_text("traceparent"), deja_slice_text(text)};
    const struct dj_http_request next = {.headers = &header, .header_count = 1};
    dj_trace_read(&next, &again);
    FUZZ_CHECK(strcmp(trace.id, again.id) == 0 && !again.is_restarted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct lines lines;
    struct dj_json_doc *doc = NULL;
    if (!len || len > 16384)
        return 0;
    read_lines(deja_slice(data, len), &lines);
    struct dj_http_request request = {.headers = lines.headers, .header_count = lines.count};
    FUZZ_CHECK(is_inside(dj_identity_credential(&request), &request));
    check_trace(&request);
    check_guard(&lines);
    check_lists(&lines);
    if (dj_json_parse(lines.body, &doc, NULL) != DEJA_OK)
        doc = NULL;
    check_knobs(&lines, doc ? dj_json_root(doc) : NULL);
    dj_json_doc_destroy(doc);
    return 0;
}
