/* proxy/respond.c - see respond.h. */
#include "proxy/respond.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/num.h"

#define VALUE_LEN_MAX 512u
#define DETAIL_LEN_MAX 256u

void dj_answer_add(struct dj_answer_headers *headers, const char *name, struct deja_slice value)
{
    if (headers->count < DJ_ANSWER_HEADERS_MAX)
        headers->items[headers->count++] =
            (struct dj_http_header){.name = deja_slice_text(name), .value = value};
}

void dj_answer_add_format(struct dj_answer_headers *headers, const char *name, const char *format,
                          ...)
{
    char text[VALUE_LEN_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len < 0)
        return;
    size_t kept = (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    struct deja_slice copy = dj_arena_copy(headers->arena, deja_slice(text, kept));
    if (copy.data)
        dj_answer_add(headers, name, copy);
}

/* printf's %f is the slowest thing on the way of a hit; a thousandth is told as an integer. */
static unsigned long long whole_ms(uint64_t us)
{
    return us / 1000;
}

static unsigned rest_us(uint64_t us)
{
    return (unsigned)(us % 1000);
}

static void add_similarity(struct dj_answer_headers *headers, const char *name, float similarity)
{
    unsigned parts = similarity > 0 ? (unsigned)(similarity * 10000.0f + 0.5f) : 0;
    dj_answer_add_format(headers, name, "%u.%04u", parts / 10000, parts % 10000);
}

static int64_t seconds_left(const struct dj_outcome *outcome)
{
    int64_t left = (outcome->entry->expires_ms - outcome->now_ms) / 1000;
    return left > 0 ? left : 0;
}

/* As RFC 9211 has it: below zero for so long as it has been stale. */
static int64_t seconds_fresh(const struct dj_outcome *outcome)
{
    int64_t left_ms = outcome->entry->expires_ms - outcome->now_ms;
    return left_ms > 0 ? left_ms / 1000 : (left_ms - 999) / 1000;
}

/* The parts of `detail` (docs/operations.md lists them): a token if there is one, else a string. */
static void write_detail(const struct dj_outcome *outcome, const char *first,
                         char out_text[DETAIL_LEN_MAX])
{
    const struct {
        const char *prefix;
        const char *text;
    } parts[] = {{"", first},
                 {"", outcome->stale},
                 {"asked:", first ? NULL : outcome->rule},
                 {"not-kept:", outcome->refused},
                 {"", outcome->cut}};
    size_t count = 0;
    size_t len = 0;
    char text[DETAIL_LEN_MAX / 2] = "";
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!parts[i].text)
            continue;
        int more = snprintf(text + len, sizeof text - len, "%s%s%s", count ? ", " : "",
                            parts[i].prefix, parts[i].text);
        if (more > 0 && (size_t)more < sizeof text - len)
            len += (size_t)more;
        count++;
    }
    const char *quote = count > 1 ? "\"" : "";
    int whole = snprintf(out_text, DETAIL_LEN_MAX, "%s%s%s%s", count ? "; detail=" : "", quote,
                         text, quote);
    if (whole < 0)
        out_text[0] = '\0';
}

/* "; fwd-status=503", or nothing when the upstream was not asked or did not answer. */
static void write_forwarded(const struct dj_outcome *outcome, char out_text[32])
{
    if (!outcome->upstream_status ||
        snprintf(out_text, 32, "; fwd-status=%d", outcome->upstream_status) < 0)
        out_text[0] = '\0';
}

/* Served after its end: at once, or because the upstream, which was asked, failed. */
static void add_stale_status(struct dj_answer_headers *headers, const struct dj_outcome *outcome,
                             const char *id)
{
    char detail[DETAIL_LEN_MAX];
    char status[32];
    write_detail(outcome, dj_hit_kind_text(outcome->kind), detail);
    write_forwarded(outcome, status);
    dj_answer_add_format(headers, "Cache-Status", "deja; %s%s; ttl=%lld; key=\"%s\"%s",
                         outcome->is_if_error ? "fwd=stale" : "hit", status,
                         (long long)seconds_fresh(outcome), id, detail);
}

static void add_hit_status(struct dj_answer_headers *headers, const struct dj_outcome *outcome,
                           const char *id)
{
    char detail[DETAIL_LEN_MAX];
    const char *kind = dj_hit_kind_text(outcome->kind);
    if (outcome->stale) {
        add_stale_status(headers, outcome, id);
        return;
    }
    if (!outcome->cut && outcome->entry->expires_ms) { /* nearly all: one pass */
        dj_answer_add_format(headers, "Cache-Status", "deja; hit; ttl=%lld; key=\"%s\"; detail=%s",
                             (long long)seconds_left(outcome), id, kind);
        return;
    }
    write_detail(outcome, kind, detail);
    if (outcome->entry->expires_ms)
        dj_answer_add_format(headers, "Cache-Status", "deja; hit; ttl=%lld; key=\"%s\"%s",
                             (long long)seconds_left(outcome), id, detail);
    else
        dj_answer_add_format(headers, "Cache-Status", "deja; hit; key=\"%s\"%s", id, detail);
}

static void add_miss_status(struct dj_answer_headers *headers, const struct dj_outcome *outcome)
{
    char detail[DETAIL_LEN_MAX];
    char status[32];
    const char *fwd = outcome->is_bypass      ? "bypass"
                      : outcome->is_refresh   ? "request"
                      : outcome->is_stale_met ? "stale"
                                              : "miss";
    write_detail(outcome, outcome->detail, detail);
    write_forwarded(outcome, status);
    dj_answer_add_format(headers, "Cache-Status", "deja; fwd=%s%s%s%s%s", fwd, status,
                         outcome->is_stored ? "; stored" : "",
                         outcome->is_collapsed ? "; collapsed" : "", detail);
}

/* Of a hit: what these families tell beside their status word. */
static void add_hit_details(struct dj_answer_headers *headers, const struct dj_outcome *outcome,
                            const char *id)
{
    long long age_s = (outcome->now_ms - outcome->entry->created_ms) / 1000;
    if (outcome->compat & DJ_COMPAT_LITELLM) {
        dj_answer_add_format(headers, "x-litellm-cache-key", "%s", id);
        if (outcome->kind == DJ_HIT_SEMANTIC)
            add_similarity(headers, "x-litellm-semantic-similarity", outcome->similarity);
    }
    if (outcome->compat & DJ_COMPAT_APISIX) {
        dj_answer_add_format(headers, "X-AI-Cache-Age", "%lld", age_s);
        if (outcome->kind == DJ_HIT_SEMANTIC)
            add_similarity(headers, "X-AI-Cache-Similarity", outcome->similarity);
    }
    if (outcome->compat & DJ_COMPAT_OPENROUTER) {
        dj_answer_add_format(headers, "X-OpenRouter-Cache-Age", "%lld", age_s);
        dj_answer_add_format(headers, "X-OpenRouter-Cache-TTL", "%lld",
                             (long long)seconds_left(outcome));
        dj_answer_add_format(headers, "X-OpenRouter-Cache-Source-Id", "%s", id);
    }
    if (outcome->compat & DJ_COMPAT_KONG) {
        dj_answer_add_format(headers, "X-Cache-Key", "%s", id);
        dj_answer_add_format(headers, "X-Cache-Ttl", "%lld", (long long)seconds_left(outcome));
    }
}

static void add_families(struct dj_answer_headers *headers, const struct dj_outcome *outcome,
                         const char *id)
{
    bool is_hit = outcome->is_hit;
    struct deja_slice word = deja_slice_text(is_hit ? "HIT" : "MISS");
    if (outcome->compat & DJ_COMPAT_PORTKEY)
        dj_answer_add(headers, "x-portkey-cache-status",
                      outcome->is_refresh                ? deja_slice_text("REFRESH")
                      : outcome->is_bypass               ? deja_slice_text("DISABLED")
                      : outcome->kind == DJ_HIT_SEMANTIC ? deja_slice_text("SEMANTIC HIT")
                                                         : word);
    if (outcome->compat & DJ_COMPAT_CLOUDFLARE)
        dj_answer_add(headers, "cf-aig-cache-status", word);
    if (outcome->compat & DJ_COMPAT_HELICONE) {
        dj_answer_add(headers, "Helicone-Cache", word);
        dj_answer_add_format(headers, "Helicone-Cache-Bucket-Idx", "%u", outcome->variant);
    }
    if (outcome->compat & DJ_COMPAT_OPENROUTER)
        dj_answer_add(headers, "X-OpenRouter-Cache-Status", word);
    if (outcome->compat & DJ_COMPAT_APISIX)
        dj_answer_add(headers, "X-AI-Cache-Status",
                      outcome->is_bypass                 ? deja_slice_text("BYPASS")
                      : !is_hit                          ? word
                      : outcome->kind == DJ_HIT_SEMANTIC ? deja_slice_text("HIT-L2")
                                                         : deja_slice_text("HIT-L1"));
    if (is_hit)
        add_hit_details(headers, outcome, id);
}

static void add_timing(struct dj_answer_headers *headers, const struct dj_outcome *outcome)
{
    char text[VALUE_LEN_MAX] = "";
    const struct {
        const char *name;
        uint64_t us;
    } stages[] = {{"canon", outcome->verify_us},
                  {"embed", outcome->embed_us},
                  {"search", outcome->search_us},
                  {"upstream", outcome->upstream_us},
                  {"total", outcome->total_us}};
    size_t at = 0;
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        if (!stages[i].us)
            continue;
        int len = snprintf(text + at, sizeof text - at, "%s%s;dur=%llu.%03u", at ? ", " : "",
                           stages[i].name, whole_ms(stages[i].us), rest_us(stages[i].us));
        if (len > 0 && (size_t)len < sizeof text - at)
            at += (size_t)len;
    }
    dj_answer_add_format(headers, "Server-Timing", "%s", at ? text : "total;dur=0.001");
}

void dj_answer_add_outcome(struct dj_answer_headers *headers, const struct dj_outcome *outcome)
{
    char id[2 * DJ_ID_BYTES + 1] = "";
    bool is_kong = (outcome->compat & DJ_COMPAT_KONG) != 0; /* it spells the word its own way */
    const char *word = outcome->is_hit       ? is_kong ? "Hit" : "HIT"
                       : outcome->is_bypass  ? is_kong ? "Bypass" : "BYPASS"
                       : outcome->is_refresh ? is_kong ? "Refresh" : "REFRESH"
                       : is_kong             ? "Miss"
                                             : "MISS";
    if (outcome->is_hit) {
        int64_t age_s = (outcome->now_ms - outcome->entry->created_ms) / 1000;
        dj_hex_encode(outcome->entry->id, DJ_ID_BYTES, id);
        add_hit_status(headers, outcome, id);
        dj_answer_add_format(headers, "Age", "%lld", (long long)(age_s > 0 ? age_s : 0));
        dj_answer_add_format(headers, "X-Cache-Id", "%s", id);
        add_similarity(headers, "X-Cache-Similarity", outcome->similarity);
        dj_answer_add(headers, "X-Cache-Tier", deja_slice_text(outcome->level));
    } else {
        add_miss_status(headers, outcome);
    }
    dj_answer_add(headers, "X-Cache-Hit", deja_slice_text(outcome->is_hit ? "true" : "false"));
    dj_answer_add(headers, "X-Cache-Status", deja_slice_text(word));
    dj_answer_add(headers, "X-Request-Id", outcome->request_id);
    add_timing(headers, outcome);
    if (outcome->compat)
        add_families(headers, outcome, id);
}

static const char *error_type(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    default:
        return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

void dj_proxy_error_body(struct dj_buf *out, int status, const char *message, const char *param,
                         const char *code)
{
    struct dj_json_writer w = dj_json_writer(out);
    dj_json_begin_object(&w);
    dj_json_key(&w, "error");
    dj_json_begin_object(&w);
    dj_json_key(&w, "message");
    dj_json_put_text(&w, message);
    dj_json_key(&w, "type");
    dj_json_put_text(&w, error_type(status));
    dj_json_key(&w, "param");
    if (param)
        dj_json_put_text(&w, param);
    else
        dj_json_put_null(&w);
    dj_json_key(&w, "code");
    if (code)
        dj_json_put_text(&w, code);
    else
        dj_json_put_null(&w);
    dj_json_end_object(&w);
    dj_json_end_object(&w);
}

void dj_proxy_error(struct dj_http_exchange *exchange, int status, const char *message,
                    const char *param, const char *code, const struct dj_outcome *outcome)
{
    struct dj_buf body = {0};
    const struct dj_http_request *request = dj_http_exchange_request(exchange);
    struct dj_answer_headers headers = {.arena = request->arena};
    struct dj_outcome told = *outcome;
    told.detail = code;
    dj_proxy_error_body(&body, status, message, param, code);
    dj_answer_add(&headers, "Content-Type", deja_slice_text("application/json"));
    dj_answer_add_outcome(&headers, &told);
    if (status < 500)
        dj_answer_add(&headers, "x-should-retry", deja_slice_text("false"));
    dj_http_respond(exchange, status, headers.items, headers.count, dj_buf_slice(&body));
    dj_buf_fini(&body);
}
