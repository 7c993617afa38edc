/* proxy/warm_line.c - one line of a file of requests, or member of "requests" (warm.h). */
#include <string.h>

#include "base/slice.h"
#include "net/http_headers.h"
#include "proto/http_text.h"
#include "proxy/warm_internal.h"

/* By what only their requests have. */
static const struct {
    const char *member;
    const char *path;
} families[] = {
    {"messages", "/v1/chat/completions"},
    {"input", "/v1/responses"},
    {"prompt", "/v1/completions"},
};

static void put_text(struct dj_buf *out, struct deja_slice text)
{
    uint32_t len = (uint32_t)text.len;
    dj_buf_append(out, &len, sizeof len);
    dj_buf_append_slice(out, text);
}

/* What is left out of a body: answers are made whole, and a hit can be streamed all the same. */
static bool is_left_out(struct deja_slice name)
{
    return dj_slice_is(name, "stream") || dj_slice_is(name, "stream_options");
}

static void write_body(const struct dj_json *body, struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    dj_json_begin_object(&w);
    for (struct dj_json_walk m = dj_json_walk(body); dj_json_walk_next(&m);) {
        if (is_left_out(m.key))
            continue;
        dj_json_key_slice(&w, m.key);
        dj_json_put_value(&w, m.value);
    }
    dj_json_end_object(&w);
}

static enum deja_status write_prompt(struct deja_slice prompt, struct deja_slice model,
                                     struct dj_buf *out, struct deja_error *error)
{
    if (!prompt.len)
        return deja_error_set(error, DEJA_ERR_INVALID, "the prompt is empty");
    if (!model.len)
        return deja_error_set(error, DEJA_ERR_INVALID,
                              "a prompt needs a model: name one with it, with --model, or as "
                              "warmup.model");
    struct dj_json_writer w = dj_json_writer(out);
    dj_json_begin_object(&w);
    dj_json_key(&w, "model");
    dj_json_put_string(&w, model);
    dj_json_key(&w, "messages");
    dj_json_begin_array(&w);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "role", "user");
    dj_json_key(&w, "content");
    dj_json_put_string(&w, prompt);
    dj_json_end_object(&w);
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    return out->status;
}

/* Only what is in some family's key: nothing that says who asks. */
static bool is_header(struct deja_slice name)
{
    static const char *const allowed[] = {
        "anthropic-beta",   "anthropic-version", "openai-organization", "openai-project",
        "x-deja-namespace", "x-deja-tags",       "x-deja-ttl",          "x-bf-vk",
    };
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (dj_http_is_same(name, allowed[i]))
            return true;
    return false;
}

static enum deja_status put_headers(const struct dj_json *headers, struct dj_buf *out,
                                    struct deja_error *error)
{
    uint32_t count = (uint32_t)dj_json_count(headers);
    if (headers && (!dj_json_is(headers, DJ_JSON_OBJECT) || count > DJ_ASKED_HEADERS_MAX))
        return deja_error_set(error, DEJA_ERR_INVALID, "headers: an object of at most %u",
                              DJ_ASKED_HEADERS_MAX);
    dj_buf_append(out, &count, sizeof count);
    return DEJA_OK;
}

static enum deja_status put_header_values(const struct dj_json *headers, struct dj_buf *out,
                                          struct deja_error *error)
{
    for (struct dj_json_walk m = dj_json_walk(headers); dj_json_walk_next(&m);) {
        struct deja_slice value = dj_json_string(m.value);
        if (!is_header(m.key))
            return deja_error_set(error, DEJA_ERR_INVALID,
                                  "headers: %.*s is not one that is part of a request's key",
                                  (int)(m.key.len < 64 ? m.key.len : 64), m.key.data);
        if (!value.data || value.len > 1024 || !dj_http_is_value(value))
            return deja_error_set(error, DEJA_ERR_INVALID, "headers: values are short texts");
        put_text(out, m.key);
        put_text(out, value);
    }
    return DEJA_OK;
}

/* What is kept when it is answered, and nothing else: the run may ask with a credential that is not
 * the client's. */
static enum deja_status check_path(struct deja_slice path, struct deja_error *error)
{
    static const char *const paths[] = {"/v1/chat/completions", "/v1/completions", "/v1/responses",
                                        "/v1/messages", "/v1/embeddings"};
    const char *query = path.len ? memchr(path.data, '?', path.len) : NULL;
    struct deja_slice bare = deja_slice(path.data, query ? (size_t)(query - path.data) : path.len);
    bool is_good = false;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        is_good = is_good || dj_slice_is(bare, paths[i]);
    is_good = is_good && path.len <= 1024;
    for (size_t i = 0; i < path.len && is_good; i++)
        is_good = path.data[i] > ' ' && path.data[i] <= '~';
    return is_good ? DEJA_OK
                   : deja_error_set(error, DEJA_ERR_INVALID,
                                    "path: one whose answers are kept, as /v1/chat/completions, "
                                    "/v1/completions, /v1/responses, /v1/messages, /v1/embeddings");
}

static enum deja_status pack(struct deja_slice path, const struct dj_json *headers,
                             struct deja_slice body, struct dj_buf *out, struct deja_error *error)
{
    enum deja_status status = check_path(path, error);
    size_t begin = out->len;
    if (status == DEJA_OK)
        status = put_headers(headers, out, error);
    put_text(out, path);
    if (status == DEJA_OK)
        status = put_header_values(headers, out, error);
    put_text(out, body);
    if (status != DEJA_OK)
        out->len = begin;
    return status == DEJA_OK ? out->status : status;
}

/* {"path","body","headers"}, or a body whose members tell its path. */
static enum deja_status read_request(const struct dj_json *line, struct dj_buf *body,
                                     struct deja_slice *out_path, struct deja_error *error)
{
    const struct dj_json *inner = dj_json_get(line, "body");
    struct deja_slice path = dj_json_string(dj_json_get(line, "path"));
    if (inner || path.len) {
        if (!dj_json_is(inner, DJ_JSON_OBJECT))
            return deja_error_set(error, DEJA_ERR_INVALID, "body: the request, an object");
        *out_path = path.len ? path : deja_slice_text("/v1/chat/completions");
        write_body(inner, body);
        return body->status;
    }
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (!dj_json_get(line, families[i].member))
            continue;
        *out_path = deja_slice_text(families[i].path);
        write_body(line, body);
        return body->status;
    }
    return deja_error_set(
        error, DEJA_ERR_INVALID,
        "expects a prompt, or a request: {\"model\", \"messages\"}, or {\"path\", "
        "\"body\"}");
}

enum deja_status warm_repack(const struct dj_asked_request *request, struct dj_buf *out)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf body = {0};
    uint32_t count = (uint32_t)request->header_count;
    enum deja_status status = dj_json_parse(request->body, &doc, NULL);
    if (status == DEJA_OK && dj_json_is(dj_json_root(doc), DJ_JSON_OBJECT))
        write_body(dj_json_root(doc), &body);
    else
        dj_buf_append_slice(&body, request->body);
    dj_buf_append(out, &count, sizeof count);
    put_text(out, request->target);
    for (size_t i = 0; i < request->header_count; i++) {
        put_text(out, request->headers[i].name);
        put_text(out, request->headers[i].value);
    }
    put_text(out, dj_buf_slice(&body));
    status = body.status == DEJA_OK ? out->status : body.status;
    dj_json_doc_destroy(doc);
    dj_buf_fini(&body);
    return status;
}

enum deja_status dj_warm_line(const struct dj_json *line, const char *model, struct dj_buf *out,
                              struct deja_error *error)
{
    struct dj_buf body = {0};
    struct deja_slice prompt = dj_json_string(line);
    struct deja_slice fallback = deja_slice_text(model ? model : "");
    struct deja_slice path = deja_slice_text("/v1/chat/completions");
    enum deja_status status = DEJA_OK;
    bool is_object = dj_json_is(line, DJ_JSON_OBJECT);
    struct deja_slice named = dj_json_string(dj_json_get(line, "prompt"));
    /* A prompt and perhaps a model, nothing else: the question of a user. */
    size_t members = is_object ? dj_json_count(line) : 0;
    bool is_prompt = named.data && members == 1u + (dj_json_get(line, "model") ? 1u : 0u);
    if (prompt.data) {
        status = write_prompt(prompt, fallback, &body, error);
    } else if (is_prompt) {
        struct deja_slice own = dj_json_string(dj_json_get(line, "model"));
        status = write_prompt(named, own.len ? own : fallback, &body, error);
    } else {
        status = is_object ? read_request(line, &body, &path, error)
                           : deja_error_set(error, DEJA_ERR_INVALID, "expects a text or an object");
    }
    if (status == DEJA_OK)
        status = pack(path,
                      dj_json_get(line, "path") || dj_json_get(line, "body")
                          ? dj_json_get(line, "headers")
                          : NULL,
                      dj_buf_slice(&body), out, error);
    dj_buf_fini(&body);
    return status;
}
