/* proxy/respond.c - see respond.h. */
#include "proxy/respond.h"

#include "base/num.h"
#include "cache/sensitive.h"

#define VALUE_LEN_MAX 512u
#define STATUS_OVERLOADED 529 /* of Anthropic's API */
#define PATIENCE_MS 60000u    /* as of proxy/gate.c */

/* A header's value while it is written. Not by printf, which took a sixth of all user time of a
 * hit; what would not fit is left out. */
struct text {
    size_t len;
    char bytes[VALUE_LEN_MAX];
};

static void begin(struct text *text)
{
    text->len = 0; /* the bytes need no zeroes */
}

static void put(struct text *text, const char *bytes, size_t len)
{
    if (len > sizeof text->bytes - text->len)
        return;
    memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
}

static inline void put_text(struct text *text, const char *word)
{
    put(text, word, strlen(word));
}

static void put_u64(struct text *text, uint64_t value)
{
    char digits[DJ_NUM_U64_DIGITS_MAX];
    put(text, digits, dj_num_write_u64(value, digits));
}

static void put_i64(struct text *text, int64_t value)
{
    if (value < 0)
        put(text, "-", 1);
    put_u64(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* value / 10^places, with all its places. */
static void put_decimal(struct text *text, uint64_t value, unsigned places)
{
    uint64_t scale = 1;
    for (unsigned i = 0; i < places; i++)
        scale *= 10;
    put_u64(text, value / scale);
    put(text, ".", 1);
    for (value %= scale; scale > 1; value %= scale) {
        scale /= 10;
        char digit = (char)('0' + value / scale);
        put(text, &digit, 1);
    }
}

void dj_answer_init(struct dj_answer_headers *headers, struct dj_arena *arena)
{
    headers->count = 0;
    headers->arena = arena;
}

void dj_answer_add(struct dj_answer_headers *headers, const char *name, struct deja_slice value)
{
    if (value.data && headers->count < DJ_ANSWER_HEADERS_MAX)
        headers->items[headers->count++] =
            (struct dj_http_header){.name = deja_slice_text(name), .value = value};
}

/* Without memory for a copy the header is left out. */
static void add_text(struct dj_answer_headers *headers, const char *name, const struct text *text)
{
    struct deja_slice copy = dj_arena_copy(headers->arena, deja_slice(text->bytes, text->len));
    dj_answer_add(headers, name, copy);
}

static void add_i64(struct dj_answer_headers *headers, const char *name, int64_t value)
{
    struct text text;
    begin(&text);
    put_i64(&text, value);
    add_text(headers, name, &text);
}

static void add_similarity(struct dj_answer_headers *headers, const char *name, float similarity)
{
    struct text text;
    begin(&text);
    put_decimal(&text, similarity > 0 ? (uint64_t)(similarity * 10000.0f + 0.5f) : 0, 4);
    add_text(headers, name, &text);
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

/* "; detail=" and its parts (docs/operations.md lists them): a token if there is one, else a
 * string. */
static void put_detail(struct text *text, const struct dj_outcome *outcome, const char *first)
{
    const struct {
        const char *prefix;
        const char *text;
    } parts[] = {{"", first},
                 {"", outcome->stale},
                 {"", outcome->is_negative ? "negative" : NULL},
                 {"asked:", first ? NULL : outcome->rule},
                 {"not-kept:", outcome->refused},
                 {"", outcome->cut}};
    size_t count = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        count += parts[i].text != NULL;
    const char *quote = count > 1 ? "\"" : "";
    const char *before = "; detail=";
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!parts[i].text)
            continue;
        put_text(text, before);
        put_text(text, before[0] == ';' ? quote : "");
        put_text(text, parts[i].prefix);
        put_text(text, parts[i].text);
        before = ", ";
    }
    if (count)
        put_text(text, quote);
}

/* Nothing when the upstream was not asked or did not answer. */
static void put_forwarded(struct text *text, const struct dj_outcome *outcome)
{
    if (!outcome->upstream_status)
        return;
    put_text(text, "; fwd-status=");
    put_i64(text, outcome->upstream_status);
}

static void add_hit_status(struct dj_answer_headers *headers, const struct dj_outcome *outcome,
                           const char *id)
{
    struct text text;
    begin(&text);
    put_text(&text, outcome->is_if_error ? "deja; fwd=stale" : "deja; hit");
    put_forwarded(&text, outcome);
    if (outcome->entry->expires_ms) {
        put_text(&text, "; ttl=");
        put_i64(&text, outcome->stale ? seconds_fresh(outcome) : seconds_left(outcome));
    }
    put_text(&text, "; key=\"");
    put_text(&text, id);
    put_text(&text, "\"");
    put_detail(&text, outcome, dj_hit_kind_text(outcome->kind));
    add_text(headers, "Cache-Status", &text);
}

static void add_miss_status(struct dj_answer_headers *headers, const struct dj_outcome *outcome)
{
    struct text text;
    begin(&text);
    put_text(&text, "deja; fwd=");
    put_text(&text, outcome->is_bypass      ? "bypass"
                    : outcome->is_refresh   ? "request"
                    : outcome->is_stale_met ? "stale"
                    : outcome->is_partial   ? "partial"
                                            : "miss");
    put_forwarded(&text, outcome);
    put_text(&text, outcome->is_stored ? "; stored" : "");
    put_text(&text, outcome->is_collapsed ? "; collapsed" : "");
    put_detail(&text, outcome, outcome->detail);
    add_text(headers, "Cache-Status", &text);
}

/* Of a hit: what these families tell beside their status word. */
static void add_hit_details(struct dj_answer_headers *headers, const struct dj_outcome *outcome,
                            struct deja_slice id)
{
    int64_t age_s = (outcome->now_ms - outcome->entry->created_ms) / 1000;
    if (outcome->compat & DJ_COMPAT_LITELLM) {
        dj_answer_add(headers, "x-litellm-cache-key", id);
        if (outcome->kind == DJ_HIT_SEMANTIC)
            add_similarity(headers, "x-litellm-semantic-similarity", outcome->similarity);
    }
    if (outcome->compat & DJ_COMPAT_APISIX) {
        add_i64(headers, "X-AI-Cache-Age", age_s);
        if (outcome->kind == DJ_HIT_SEMANTIC)
            add_similarity(headers, "X-AI-Cache-Similarity", outcome->similarity);
    }
    if (outcome->compat & DJ_COMPAT_OPENROUTER) {
        add_i64(headers, "X-OpenRouter-Cache-Age", age_s);
        add_i64(headers, "X-OpenRouter-Cache-TTL", seconds_left(outcome));
        dj_answer_add(headers, "X-OpenRouter-Cache-Source-Id", id);
    }
    if (outcome->compat & DJ_COMPAT_KONG) {
        dj_answer_add(headers, "X-Cache-Key", id);
        add_i64(headers, "X-Cache-Ttl", seconds_left(outcome));
    }
}

/* Thousandths of a second as milliseconds with three places. */
static void add_ms(struct dj_answer_headers *headers, const char *name, uint64_t us)
{
    struct text text;
    begin(&text);
    put_decimal(&text, us, 3);
    add_text(headers, name, &text);
}

static void add_portkey(struct dj_answer_headers *headers, const struct dj_outcome *outcome)
{
    bool is_by_meaning = outcome->embed_us || outcome->search_us;
    dj_answer_add(headers, "x-portkey-cache-status",
                  deja_slice_text(outcome->is_refresh                ? "REFRESH"
                                  : outcome->is_bypass               ? "DISABLED"
                                  : outcome->kind == DJ_HIT_SEMANTIC ? "SEMANTIC HIT"
                                  : outcome->is_hit                  ? "HIT"
                                  : is_by_meaning                    ? "SEMANTIC MISS"
                                                                     : "MISS"));
    dj_answer_add(headers, "x-portkey-trace-id",
                  outcome->trace_id.len ? outcome->trace_id : outcome->request_id);
    add_i64(headers, "x-portkey-retry-attempt-count",
            outcome->attempts > 1 ? outcome->attempts - 1 : 0);
    dj_answer_add(headers, "x-portkey-last-used-option-index", deja_slice_text("config"));
}

static void add_litellm(struct dj_answer_headers *headers, const struct dj_outcome *outcome)
{
    uint64_t upstream_us =
        outcome->upstream_us < outcome->total_us ? outcome->upstream_us : outcome->total_us;
    dj_answer_add(headers, "x-litellm-call-id", outcome->request_id);
    if (outcome->is_hit) /* what it costs to be given again */
        dj_answer_add(headers, "x-litellm-response-cost", deja_slice_text("0.0"));
    add_ms(headers, "x-litellm-response-duration-ms", outcome->total_us);
    add_ms(headers, "x-litellm-overhead-duration-ms", outcome->total_us - upstream_us);
}

static void add_kong(struct dj_answer_headers *headers, const struct dj_outcome *outcome)
{
    uint64_t upstream_us =
        outcome->upstream_us < outcome->total_us ? outcome->upstream_us : outcome->total_us;
    if (!outcome->is_hit && outcome->upstream_us)
        add_i64(headers, "X-Kong-Upstream-Latency", (int64_t)(upstream_us / 1000));
    add_i64(headers, "X-Kong-Proxy-Latency", (int64_t)((outcome->total_us - upstream_us) / 1000));
}

static void add_vsr(struct dj_answer_headers *headers, const struct dj_outcome *outcome)
{
    dj_answer_add(headers, "x-vsr-cache-hit", deja_slice_text(outcome->is_hit ? "true" : "false"));
    dj_answer_add(headers, "x-vsr-response-path",
                  deja_slice_text(outcome->is_hit ? "cache" : "upstream"));
    if (outcome->kind == DJ_HIT_SEMANTIC)
        add_similarity(headers, "x-vsr-cache-similarity", outcome->similarity);
}

static void add_families(struct dj_answer_headers *headers, const struct dj_outcome *outcome,
                         struct deja_slice id)
{
    bool is_hit = outcome->is_hit;
    struct deja_slice word = deja_slice_text(is_hit ? "HIT" : "MISS");
    if (outcome->compat & DJ_COMPAT_PORTKEY)
        add_portkey(headers, outcome);
    if (outcome->compat & DJ_COMPAT_CLOUDFLARE) {
        dj_answer_add(headers, "cf-aig-cache-status", word);
        dj_answer_add(headers, "cf-aig-log-id", outcome->request_id);
        dj_answer_add(headers, "cf-aig-event-id", outcome->request_id);
    }
    if (outcome->compat & DJ_COMPAT_HELICONE) {
        dj_answer_add(headers, "Helicone-Cache", word);
        add_i64(headers, "Helicone-Cache-Bucket-Idx", outcome->variant);
    }
    if (outcome->compat & DJ_COMPAT_LITELLM)
        add_litellm(headers, outcome);
    if (outcome->compat & DJ_COMPAT_KONG)
        add_kong(headers, outcome);
    if (outcome->compat & DJ_COMPAT_OPENROUTER) {
        dj_answer_add(headers, "X-OpenRouter-Cache-Status", word);
        dj_answer_add(headers, "X-Generation-Id", outcome->request_id);
    }
    if (outcome->compat & DJ_COMPAT_APISIX)
        dj_answer_add(headers, "X-AI-Cache-Status",
                      outcome->is_bypass                 ? deja_slice_text("BYPASS")
                      : !is_hit                          ? word
                      : outcome->kind == DJ_HIT_SEMANTIC ? deja_slice_text("HIT-L2")
                                                         : deja_slice_text("HIT-L1"));
    if (outcome->compat & DJ_COMPAT_VSR)
        add_vsr(headers, outcome);
    if (is_hit)
        add_hit_details(headers, outcome, id);
}

static void add_timing(struct dj_answer_headers *headers, const struct dj_outcome *outcome)
{
    struct text text;
    const struct {
        const char *name;
        uint64_t us;
    } stages[] = {{"canon", outcome->verify_us},
                  {"embed", outcome->embed_us},
                  {"search", outcome->search_us},
                  {"upstream", outcome->upstream_us},
                  {"total", outcome->total_us}};
    begin(&text);
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        if (!stages[i].us)
            continue;
        put_text(&text, text.len ? ", " : "");
        put_text(&text, stages[i].name);
        put_text(&text, ";dur=");
        put_decimal(&text, stages[i].us, 3);
    }
    if (!text.len)
        put_text(&text, "total;dur=0.001");
    add_text(headers, "Server-Timing", &text);
}

void dj_answer_add_outcome(struct dj_answer_headers *headers, const struct dj_outcome *outcome)
{
    char id[2 * DJ_ID_BYTES + 1] = "";
    struct deja_slice kept_id = deja_slice(NULL, 0);        /* outlives this call */
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
        add_i64(headers, "Age", age_s > 0 ? age_s : 0);
        kept_id = dj_arena_copy(headers->arena, deja_slice(id, 2 * DJ_ID_BYTES));
        dj_answer_add(headers, "X-Cache-Id", kept_id);
        add_similarity(headers, "X-Cache-Similarity", outcome->similarity);
        dj_answer_add(headers, "X-Cache-Tier", deja_slice_text(outcome->level));
        if (dj_sensitive_is_redacted(outcome->entry))
            dj_answer_add(headers, "X-Deja-Redacted", deja_slice_text("true"));
    } else {
        add_miss_status(headers, outcome);
    }
    dj_answer_add(headers, "X-Cache-Hit", deja_slice_text(outcome->is_hit ? "true" : "false"));
    dj_answer_add(headers, "X-Cache-Status", deja_slice_text(word));
    dj_answer_add(headers, "X-Request-Id", outcome->request_id);
    if (outcome->is_messages)
        dj_answer_add(headers, "request-id", outcome->request_id);
    add_timing(headers, outcome);
    if (outcome->compat)
        add_families(headers, outcome, kept_id);
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
    dj_json_member_text(&w, "message", message);
    dj_json_member_text(&w, "type", error_type(status));
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

const char *dj_proxy_messages_type(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 402:
        return "billing_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_error";
    case 504:
        return "timeout_error";
    case STATUS_OVERLOADED:
        return "overloaded_error";
    default:
        return status >= 500 ? "api_error" : "invalid_request_error";
    }
}

void dj_proxy_messages_error_body(struct dj_buf *out, int status, const char *message,
                                  struct deja_slice request_id)
{
    struct dj_json_writer w = dj_json_writer(out);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "type", "error");
    dj_json_key(&w, "error");
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "type", dj_proxy_messages_type(status));
    dj_json_member_text(&w, "message", message);
    dj_json_end_object(&w);
    dj_json_key(&w, "request_id");
    if (request_id.len)
        dj_json_put_string(&w, request_id);
    else
        dj_json_put_null(&w);
    dj_json_end_object(&w);
}

void dj_proxy_error(struct dj_http_exchange *exchange, int status, const char *message,
                    const char *param, const char *code, const struct dj_outcome *outcome)
{
    struct dj_buf body = {0};
    const struct dj_http_request *request = dj_http_exchange_request(exchange);
    struct dj_answer_headers headers;
    struct dj_outcome told = *outcome;
    dj_answer_init(&headers, request->arena);
    told.detail = code;
    if (told.is_messages && status == 503 && code && strcmp(code, "overloaded") == 0)
        status = STATUS_OVERLOADED;
    if (told.is_messages)
        dj_proxy_messages_error_body(&body, status, message, told.request_id);
    else
        dj_proxy_error_body(&body, status, message, param, code);
    dj_answer_add(&headers, "Content-Type", deja_slice_text("application/json"));
    dj_answer_add_outcome(&headers, &told);
    if (told.retry_after_ms)
        add_i64(&headers, "Retry-After", (int64_t)((told.retry_after_ms + 999) / 1000));
    if (status == 429 && told.retry_after_ms) /* a day's budget is not for trying again by itself */
        dj_answer_add(&headers, "x-should-retry",
                      deja_slice_text(told.retry_after_ms <= PATIENCE_MS ? "true" : "false"));
    else if (status < 500 && !told.retry_after_ms)
        dj_answer_add(&headers, "x-should-retry", deja_slice_text("false"));
    dj_http_respond(exchange, status, headers.items, headers.count, dj_buf_slice(&body));
    dj_buf_fini(&body);
}
