/* api/query.c - see query.h. */
#include "api/query.h"

#include <math.h>

#include "base/num.h"
#include "base/slice.h"
#include "cache/notices.h"
#include "proto/form.h"
#include "text/question.h"
#include "text/utf8.h"

bool dj_query_check_members(struct dj_request *request, const struct dj_json *object,
                            const char *where, const char *const *known)
{
    for (struct dj_json_walk w = dj_json_walk(object); dj_json_walk_next(&w);) {
        bool is_known = false;
        for (size_t i = 0; known[i] && !is_known; i++)
            is_known = dj_slice_is(w.key, known[i]);
        if (!is_known) {
            int shown = w.key.len < 64 ? (int)w.key.len : 64;
            dj_request_complain(request, "unsupported_field",
                                dj_request_text(request, "%s%.*s", where, shown, w.key.data),
                                "unknown", "not a member this route knows (see docs/api.md)");
            return false;
        }
    }
    return true;
}

static bool complain(struct dj_request *request, const char *type, const char *where,
                     const char *name, const char *rule, const char *message)
{
    dj_request_complain(request, type, dj_request_text(request, "%s%s", where, name), rule,
                        message);
    return false;
}

bool dj_query_check_text(struct dj_request *request, struct deja_slice text, const char *where)
{
    uint32_t chars_max = atomic_load(&request->api->proxy->policy)->query_chars_max;
    size_t chars = 0;
    enum deja_status status = dj_question_check(text, chars_max, &chars);
    if (status == DEJA_ERR_QUERY_INVALID_CHARACTERS)
        return complain(request, deja_status_name(status), where, "query", "characters",
                        "must be UTF-8 without control characters");
    if (status == DEJA_ERR_QUERY_EMPTY)
        return complain(request, deja_status_name(status), where, "query", "required",
                        "the query is empty");
    if (status == DEJA_ERR_QUERY_TOO_LONG)
        return complain(
            request, deja_status_name(status), where, "query", "length",
            dj_request_text(request, "at most %u characters, these are %zu", chars_max, chars));
    return true;
}

static bool take_label(struct dj_request *request, const char *name, const char *where,
                       struct deja_slice text, size_t len_max, struct deja_slice *out_text)
{
    if (text.len > len_max)
        return complain(request, "invalid_request", where, name, "length",
                        dj_request_text(request, "at most %zu bytes", len_max));
    if (!dj_question_is_name(text))
        return complain(request, "invalid_request", where, name, "characters",
                        "control characters are not allowed");
    *out_text = text;
    return true;
}

bool dj_query_label(struct dj_request *request, const struct dj_json *object, const char *name,
                    const char *where, size_t len_max, struct deja_slice *out_text)
{
    const struct dj_json *value = dj_json_get(object, name);
    if (!value || dj_json_is(value, DJ_JSON_NULL))
        return true;
    if (!dj_json_is(value, DJ_JSON_STRING))
        return complain(request, "invalid_request", where, name, "type", "must be a string");
    struct deja_slice text = dj_json_string(value);
    return take_label(request, name, where, text, len_max, out_text);
}

bool dj_query_number(struct dj_request *request, const struct dj_json *object, const char *name,
                     const char *where, const double range[2], double *out_value)
{
    const struct dj_json *value = dj_json_get(object, name);
    if (!value || dj_json_is(value, DJ_JSON_NULL))
        return true;
    if (!dj_json_is(value, DJ_JSON_NUMBER))
        return complain(request, "invalid_request", where, name, "type", "must be a number");
    double number = dj_json_double(value, NAN);
    if (!(number >= range[0] && number <= range[1]))
        return complain(request, "invalid_request", where, name, "range",
                        dj_request_text(request, "must be from %g to %g", range[0], range[1]));
    *out_value = number;
    return true;
}

bool dj_query_duration(struct dj_request *request, const struct dj_json *object, const char *name,
                       const char *where, uint64_t *out_ms)
{
    const struct dj_json *value = dj_json_get(object, name);
    static const char form[] = "seconds above 0, or text such as \"90s\", \"5m\", \"1h\", \"2d\"";
    uint64_t ms = 0;
    if (!value || dj_json_is(value, DJ_JSON_NULL))
        return true;
    if (dj_json_is(value, DJ_JSON_STRING)) {
        if (dj_num_parse_duration(dj_json_string(value), &ms) != DEJA_OK)
            ms = 0;
    } else if (dj_json_is(value, DJ_JSON_NUMBER)) {
        double seconds = dj_json_double(value, NAN);
        if (seconds > 0 && seconds <= 1e11)
            ms = seconds < 0.001 ? 1 : (uint64_t)(seconds * 1000.0);
    }
    if (ms == 0)
        return complain(request, "invalid_request", where, name, "duration", form);
    *out_ms = ms;
    return true;
}

bool dj_query_flag(struct dj_request *request, const struct dj_json *object, const char *name,
                   const char *where, bool *out_flag)
{
    const struct dj_json *value = dj_json_get(object, name);
    if (!value)
        return true;
    if (!dj_json_is(value, DJ_JSON_BOOL))
        return complain(request, "invalid_request", where, name, "type", "must be true or false");
    *out_flag = dj_json_bool(value, false);
    return true;
}

/* Finite numbers, not all zero. */
static bool read_floats(struct dj_request *request, const struct dj_json *array, const char *where,
                        float *floats)
{
    static const char name[] = "embedding";
    double norm = 0;
    for (struct dj_json_walk w = dj_json_walk(array); dj_json_walk_next(&w);) {
        double number = dj_json_is(w.value, DJ_JSON_NUMBER) ? dj_json_double(w.value, NAN) : NAN;
        /* Beyond this a square overflows a float. */
        if (!(fabs(number) <= 1e18))
            return complain(request, "invalid_request", where, name, "finite",
                            dj_request_text(request, "number %zu is not a finite number", w.index));
        floats[w.index] = (float)number;
        norm += (double)floats[w.index] * (double)floats[w.index];
    }
    if (!(norm > 1e-30))
        return complain(request, "invalid_request", where, name, "zero", "all numbers are zero");
    return true;
}

bool dj_query_vector(struct dj_request *request, const struct dj_json *object, const char *where,
                     const struct dj_query_vector **out_vector)
{
    static const char name[] = "embedding";
    const struct dj_json *value = dj_json_get(object, name);
    const struct dj_embedder *own = dj_engine_embedder(request->api->proxy->engine);
    struct deja_slice embedder = {0};
    size_t dim = dj_json_count(value);
    if (!dj_query_label(request, object, "embedder", where, DJ_LABEL_BYTES_MAX, &embedder))
        return false;
    if (!value || dj_json_is(value, DJ_JSON_NULL)) {
        if (!embedder.len)
            return true;
        return complain(request, "invalid_request", where, "embedder", "required",
                        "names who made the embedding, which is missing");
    }
    if (!dj_json_is(value, DJ_JSON_ARRAY))
        return complain(request, "invalid_request", where, name, "type",
                        "must be an array of numbers");
    if (dim == 0 || dim > DJ_VECTOR_DIM_MAX)
        return complain(request, "invalid_request", where, name, "dimension",
                        dj_request_text(request, "has %zu dimensions; 1 to %u are taken", dim,
                                        DJ_VECTOR_DIM_MAX));
    if (own && dim != own->dim && dj_slice_is(embedder, own->id))
        return complain(request, "invalid_request", where, name, "dimension",
                        dj_request_text(request, "has %zu dimensions; the embedder %s has %u", dim,
                                        own->id, own->dim));
    struct dj_query_vector *vector = dj_arena_alloc(request->arena, sizeof *vector);
    float *floats = dj_arena_alloc(request->arena, sizeof *floats * dim);
    if (!vector || !floats)
        return complain(request, "invalid_request", where, name, "size", "out of memory");
    if (!read_floats(request, value, where, floats))
        return false;
    *vector =
        (struct dj_query_vector){.floats = floats, .dim = (uint32_t)dim, .embedder = embedder};
    *out_vector = vector;
    return true;
}

bool dj_query_filter(struct dj_request *request, const struct dj_json *object, const char *where,
                     const struct dj_filter **out_filter)
{
    const struct dj_json *value = dj_json_get(object, "filter");
    const char *fault = NULL;
    if (!value || dj_json_is(value, DJ_JSON_NULL))
        return true;
    if (!dj_json_is(value, DJ_JSON_OBJECT))
        return complain(request, "invalid_request", where, "filter", "type", "must be an object");
    enum deja_status status = dj_filter_read(value, request->arena, out_filter, &fault);
    if (status != DEJA_OK)
        return complain(request, "invalid_request", where, "filter", "filter",
                        fault ? fault : deja_status_text(status));
    return true;
}

bool dj_query_url_member(struct dj_request *request, const char *name, struct deja_slice *out_value)
{
    struct dj_buf value;
    dj_buf_init(&value, 64u * 1024u);
    enum deja_status status = dj_form_get(request->http->query, name, &value);
    bool is_text = dj_utf8_is_valid(dj_buf_slice(&value));
    if (status == DEJA_OK && is_text)
        *out_value =
            value.len ? dj_arena_copy(request->arena, dj_buf_slice(&value)) : deja_slice("", 0);
    dj_buf_fini(&value);
    if (status == DEJA_ERR_NOT_FOUND || (status == DEJA_OK && is_text))
        return true;
    return complain(request, "invalid_request", "", name, "encoding",
                    "not percent-encoded UTF-8 text");
}

/* Not in the URL's query: empty. */
static bool url_label(struct dj_request *request, const char *name, size_t len_max,
                      struct deja_slice *out_text)
{
    struct deja_slice text = {0};
    return dj_query_url_member(request, name, &text) &&
           take_label(request, name, "", text, len_max, out_text);
}

bool dj_query_url_namespace(struct dj_request *request, struct deja_slice *out_name_space)
{
    return url_label(request, "namespace", DJ_NAMESPACE_BYTES_MAX, out_name_space);
}

bool dj_query_url_reason(struct dj_request *request)
{
    return url_label(request, "reason", DJ_NOTICE_REASON_BYTES_MAX, &request->reason);
}

bool dj_query_id(const struct dj_request *request, struct deja_slice text,
                 struct dj_store_key *out_key)
{
    struct dj_store_key key;
    memcpy(key.tenant, request->tenant, sizeof key.tenant);
    if (dj_hex_decode(text, key.id, sizeof key.id) != DEJA_OK)
        return false;
    *out_key = key;
    return true;
}

void dj_query_prefix(struct dj_request *request, struct deja_slice name_space,
                     struct dj_key_prefix *out_prefix)
{
    *out_prefix = (struct dj_key_prefix){.name_space = name_space, .family = "api"};
    memcpy(out_prefix->tenant, request->tenant, sizeof out_prefix->tenant);
    memcpy(out_prefix->fingerprint_key, request->fingerprint_key.bytes,
           sizeof out_prefix->fingerprint_key);
}

enum deja_status dj_query_fingerprint(struct dj_request *request, struct deja_slice name_space,
                                      struct deja_slice query,
                                      struct dj_fingerprint *out_fingerprint)
{
    struct dj_key_prefix prefix;
    struct dj_fingerprint fingerprint;
    bool is_vector_only = query.len == 0;
    dj_query_prefix(request, name_space, &prefix);
    /* The scope leaves the text out, so any text gives the namespace's. */
    enum deja_status status = dj_key_query(&prefix, is_vector_only ? deja_slice_text("-") : query,
                                           request->arena, &fingerprint);
    if (status == DEJA_OK) {
        dj_key_scope(&prefix, &fingerprint);
        if (is_vector_only)
            fingerprint.text = deja_slice(NULL, 0);
        *out_fingerprint = fingerprint;
    }
    dj_wipe(prefix.fingerprint_key, sizeof prefix.fingerprint_key);
    return status;
}

enum deja_status dj_query_fingerprint_vector(struct dj_request *request,
                                             struct deja_slice name_space, struct deja_slice name,
                                             const struct dj_query_vector *vector,
                                             struct dj_fingerprint *out_fingerprint)
{
    uint8_t digest[DJ_SHA256_BYTES];
    char digits[2 * DJ_SHA256_BYTES + 1];
    struct dj_key_prefix prefix;
    struct dj_fingerprint named;
    struct dj_fingerprint scoped;
    dj_sha256(deja_slice((const char *)vector->floats, sizeof(float) * vector->dim), digest);
    dj_hex_encode(digest, sizeof digest, digits);
    dj_query_prefix(request, name_space, &prefix);
    prefix.family = name.len ? "api-vector" : "api-floats";
    enum deja_status status =
        dj_key_query(&prefix, name.len ? name : deja_slice_text(digits), request->arena, &named);
    if (status == DEJA_OK)
        status = dj_query_fingerprint(request, name_space, deja_slice(NULL, 0), &scoped);
    if (status == DEJA_OK) {
        memcpy(named.scope, scoped.scope, sizeof named.scope);
        named.text = deja_slice(NULL, 0);
        named.is_semantic = false; /* there is no text to embed */
        *out_fingerprint = named;
    }
    dj_wipe(prefix.fingerprint_key, sizeof prefix.fingerprint_key);
    return status;
}
