/* api/entry.c - see entry.h. */
#include "api/entry.h"

#include "api/as_of.h"
#include "api/entry_kind.h"
#include "security/user.h"

#include <math.h>

#include "base/slice.h"
#include "cache/sensitive.h"
#include "text/question.h"
#include "text/utf8.h"

#define METADATA_BYTES_MAX (64u * 1024u)
#define TAG_BYTES_MAX 128u
#define DEPENDS_MAX 32u

static const char *const members[] = {
    "query",   "response",   "ttl",        "tags",   "namespace", "metadata", "model", "provider",
    "type",    "cost",       "confidence", "tokens", "embedding", "embedder", "name",  "kind",
    "version", "depends_on", "require",    "as_of",  "make_ms",   NULL};

static void complain(struct dj_request *request, const char *where, const char *name,
                     const char *rule, const char *message)
{
    dj_request_complain(request, "invalid_request", dj_request_text(request, "%s%s", where, name),
                        rule, message);
}

static bool read_require(struct dj_request *request, const struct dj_json *object,
                         const char *where, struct dj_entry_input *input)
{
    const struct dj_json *value = dj_json_get(object, "require");
    if (!value || dj_json_is(value, DJ_JSON_NULL))
        return true;
    input->is_shared_required = dj_slice_is(dj_json_string(value), "shared");
    if (!input->is_shared_required)
        complain(request, where, "require", "value",
                 "must be \"shared\": kept by every shared tier, or refused");
    return input->is_shared_required;
}

static bool is_tag(struct deja_slice text)
{
    return text.len > 0 && text.len <= TAG_BYTES_MAX && dj_question_is_name(text);
}

static bool read_tags(struct dj_request *request, const struct dj_json *object, const char *where,
                      struct dj_entry_input *input)
{
    const struct dj_json *tags = dj_json_get(object, "tags");
    if (!tags || dj_json_is(tags, DJ_JSON_NULL))
        return true;
    if (!dj_json_is(tags, DJ_JSON_ARRAY) || dj_json_count(tags) > DJ_TAGS_MAX) {
        complain(request, where, "tags", "type",
                 dj_request_text(request, "must be an array of at most %u strings", DJ_TAGS_MAX));
        return false;
    }
    for (struct dj_json_walk w = dj_json_walk(tags); dj_json_walk_next(&w);) {
        struct deja_slice tag = dj_json_string(w.value);
        if (!is_tag(tag)) {
            complain(request, where, "tags", "length",
                     dj_request_text(request, "a tag has 1 to %u bytes and no control characters",
                                     TAG_BYTES_MAX));
            return false;
        }
        bool is_known = false;
        for (size_t i = 0; i < input->tag_count && !is_known; i++)
            is_known = deja_slice_is_equal(input->tags[i], tag);
        if (!is_known)
            input->tags[input->tag_count++] = tag;
    }
    return true;
}

/* Names of what the answer was made from. */
static bool read_depends_on(struct dj_request *request, const struct dj_json *object,
                            const char *where, struct dj_entry_input *input)
{
    const struct dj_json *names = dj_json_get(object, "depends_on");
    if (!names || dj_json_is(names, DJ_JSON_NULL))
        return true;
    bool is_good = dj_json_is(names, DJ_JSON_ARRAY) && dj_json_count(names) <= DEPENDS_MAX;
    for (struct dj_json_walk w = dj_json_walk(names); is_good && dj_json_walk_next(&w);) {
        is_good = is_tag(dj_json_string(w.value));
    }
    if (is_good && input->tag_count + dj_json_count(names) > DJ_TAGS_MAX) {
        complain(
            request, where, "depends_on", "length",
            dj_request_text(request, "tags and depends_on are at most %u together", DJ_TAGS_MAX));
        return false;
    }
    if (!is_good) {
        complain(request, where, "depends_on", "length",
                 dj_request_text(request, "must be an array of at most %u strings of 1 to %u bytes",
                                 DEPENDS_MAX, TAG_BYTES_MAX));
        return false;
    }
    input->depends_on = names;
    return true;
}

/* A number is the output's; an object tells both. */
static bool read_tokens(struct dj_request *request, const struct dj_json *object, const char *where,
                        struct dj_entry_input *input)
{
    static const char *const parts[] = {"input", "output", NULL};
    static const double range[2] = {0, UINT32_MAX};
    const struct dj_json *tokens = dj_json_get(object, "tokens");
    double in = 0;
    double out = 0;
    if (!tokens || dj_json_is(tokens, DJ_JSON_NULL))
        return true;
    if (dj_json_is(tokens, DJ_JSON_OBJECT)) {
        const char *inside = dj_request_text(request, "%stokens.", where);
        if (!dj_query_check_members(request, tokens, inside, parts) ||
            !dj_query_number(request, tokens, "input", inside, range, &in) ||
            !dj_query_number(request, tokens, "output", inside, range, &out))
            return false;
    } else if (!dj_query_number(request, object, "tokens", where, range, &out)) {
        return false;
    }
    input->input_tokens = (uint32_t)in;
    input->output_tokens = (uint32_t)out;
    return true;
}

/* The question; or, for a bare vector, its name. */
static bool read_query(struct dj_request *request, const struct dj_json *object, const char *where,
                       struct dj_entry_input *input)
{
    const struct dj_json *query = dj_json_get(object, "query");
    bool has_query = query && !dj_json_is(query, DJ_JSON_NULL);
    if (!dj_query_vector(request, object, where, &input->vector) ||
        !dj_query_label(request, object, "name", where, DJ_LABEL_BYTES_MAX, &input->name))
        return false;
    if (!has_query && input->vector)
        return true;
    if (!dj_json_is(query, DJ_JSON_STRING)) {
        dj_request_complain(request, has_query ? "invalid_request" : "query_empty",
                            dj_request_text(request, "%squery", where),
                            has_query ? "type" : "required",
                            "must be a string (or give an embedding)");
        return false;
    }
    if (input->name.len) {
        complain(request, where, "name", "unsupported",
                 "goes with an embedding without a query; a query is its own name");
        return false;
    }
    input->query = dj_json_string(query);
    return dj_query_check_text(request, input->query, where);
}

/* Filters name them, and so do people who read the log. */
static bool has_good_names(const struct dj_json *value)
{
    for (struct dj_json_walk w = dj_json_walk(value); dj_json_walk_next(&w);)
        if (!dj_question_is_name(w.key) || !has_good_names(w.value))
            return false;
    return true;
}

static bool read_payload(struct dj_request *request, const struct dj_json *object,
                         const char *where, struct dj_entry_input *input)
{
    if (!read_query(request, object, where, input))
        return false;
    input->response = dj_json_get(object, "response");
    input->metadata = dj_json_get(object, "metadata");
    if (!input->response && input->query.len) { /* null is an answer, a missing member a mistake */
        complain(request, where, "response", "required", "must be there; any JSON will do");
        return false;
    }
    if (dj_json_is(input->metadata, DJ_JSON_NULL))
        input->metadata = NULL;
    if (input->metadata && !dj_json_is(input->metadata, DJ_JSON_OBJECT)) {
        complain(request, where, "metadata", "type", "must be an object");
        return false;
    }
    if (!has_good_names(input->metadata)) {
        complain(request, where, "metadata", "characters",
                 "control characters are not allowed in its members' names");
        return false;
    }
    return true;
}

bool dj_entry_read(struct dj_request *request, const struct dj_json *object, const char *where,
                   struct dj_entry_input *out_input)
{
    static const double unit[2] = {0, 1};
    static const double money[2] = {0, 1e6};
    struct dj_entry_input input = {.confidence = NAN, .as_of = out_input->as_of};
    if (!dj_json_is(object, DJ_JSON_OBJECT)) {
        complain(request, where, "entry", "type", "must be an object");
        return false;
    }
    if (!dj_query_check_members(request, object, where, members) ||
        !read_payload(request, object, where, &input) ||
        !read_tags(request, object, where, &input) ||
        !read_depends_on(request, object, where, &input) ||
        !read_tokens(request, object, where, &input) ||
        !read_require(request, object, where, &input) ||
        !dj_query_label(request, object, "namespace", where, DJ_NAMESPACE_BYTES_MAX,
                        &input.name_space) ||
        !dj_query_label(request, object, "model", where, DJ_LABEL_BYTES_MAX, &input.model) ||
        !dj_query_label(request, object, "provider", where, DJ_LABEL_BYTES_MAX, &input.provider) ||
        !dj_query_label(request, object, "type", where, DJ_LABEL_BYTES_MAX, &input.type) ||
        !dj_query_label(request, object, "kind", where, DJ_LABEL_BYTES_MAX, &input.kind) ||
        !dj_query_label(request, object, "version", where, DJ_LABEL_BYTES_MAX, &input.version) ||
        !dj_query_number(request, object, "confidence", where, unit, &input.confidence) ||
        !dj_query_number(request, object, "cost", where, money, &input.cost_usd) ||
        !dj_query_duration(request, object, "ttl", where, &input.ttl_ms) ||
        !dj_as_of_member(request, object, where, &input.as_of) ||
        !dj_as_of_make_member(request, object, where, input.as_of, &input.make_ms) ||
        !dj_entry_kind_apply(request, where, &input))
        return false;
    struct dj_buf kept;
    dj_buf_init(&kept, METADATA_BYTES_MAX);
    dj_entry_write_metadata(&input, input.query, &kept);
    bool is_small = kept.status == DEJA_OK;
    dj_buf_fini(&kept);
    if (!is_small) {
        complain(request, where, "metadata", "length",
                 dj_request_text(request, "at most %u bytes", METADATA_BYTES_MAX));
        return false;
    }
    *out_input = input;
    return true;
}

static void keep_value(struct dj_json_writer *w, const char *name, const struct dj_json *value)
{
    if (!value)
        return;
    dj_json_key(w, name);
    dj_json_put_value(w, value);
}

static void keep_text(struct dj_json_writer *w, const char *name, struct deja_slice text)
{
    if (!text.len)
        return;
    dj_json_key(w, name);
    dj_json_put_string(w, text);
}

void dj_entry_write_metadata(const struct dj_entry_input *input, struct deja_slice normalised,
                             struct dj_buf *out)
{
    bool is_reworded = !deja_slice_is_equal(input->query, normalised);
    if (!input->metadata && !input->type.len && !input->kind.len && !input->version.len &&
        !input->depends_on && !input->name.len && isnan(input->confidence) && !is_reworded)
        return;
    struct dj_json_writer w = dj_json_writer(out);
    dj_json_begin_object(&w);
    keep_value(&w, "metadata", input->metadata);
    keep_text(&w, "type", input->type);
    keep_text(&w, "kind", input->kind);
    keep_text(&w, "version", input->version);
    keep_value(&w, "depends_on", input->depends_on);
    keep_text(&w, "name", input->name);
    if (!isnan(input->confidence))
        dj_json_member_double(&w, "confidence", input->confidence);
    if (is_reworded)
        keep_text(&w, "query", input->query);
    dj_json_end_object(&w);
}

/* ---- writing ---- */

static void put_label(struct dj_json_writer *w, const char *name, struct deja_slice text)
{
    dj_json_key(w, name);
    if (text.len)
        dj_json_put_string(w, text);
    else
        dj_json_put_null(w);
}

static void put_member(struct dj_json_writer *w, const char *name, const struct dj_json *value)
{
    dj_json_key(w, name);
    if (value)
        dj_json_put_value(w, value);
    else
        dj_json_put_null(w);
}

static void write_metadata(struct dj_json_writer *w, const struct dj_entry *entry)
{
    struct dj_json_doc *doc = NULL;
    const struct dj_json *kept = NULL;
    if (dj_filter_has_words(entry) && dj_json_parse(entry->metadata, &doc, NULL) == DEJA_OK)
        kept = dj_json_root(doc);
    const struct dj_json *asked = dj_json_get(kept, "query");
    put_label(w, "query", asked ? dj_json_string(asked) : entry->query);
    put_label(w, "normalized_query", entry->query);
    put_member(w, "metadata", dj_json_get(kept, "metadata"));
    put_member(w, "type", dj_json_get(kept, "type"));
    put_member(w, "confidence", dj_json_get(kept, "confidence"));
    /* Of what was kept only: "version" and "kind" without more are the store's. */
    put_member(w, "content_kind", dj_json_get(kept, "kind"));
    put_member(w, "content_version", dj_json_get(kept, "version"));
    put_member(w, "depends_on", dj_json_get(kept, "depends_on"));
    put_member(w, "name", dj_json_get(kept, "name"));
    if (dj_sensitive_is_redacted(entry))
        dj_json_member_bool(w, "redacted", true);
    dj_json_doc_destroy(doc);
}

/* The body of an embedding entry is float32 as the machine has them. */
static void write_embedding(struct dj_json_writer *w, struct deja_slice body)
{
    dj_json_begin_array(w);
    for (size_t at = 0; at + sizeof(float) <= body.len; at += sizeof(float)) {
        float number = 0;
        memcpy(&number, body.data + at, sizeof number);
        dj_json_put_double(w, (double)number);
    }
    dj_json_end_array(w);
}

static const char *kind_text(uint8_t kind)
{
    switch (kind) {
    case DJ_ENTRY_CHAT:
        return "chat";
    case DJ_ENTRY_EMBEDDING:
        return "embedding";
    case DJ_ENTRY_BYTES:
        return "library";
    case DJ_ENTRY_NEGATIVE:
        return "negative";
    case DJ_ENTRY_PLAIN:
        return "plain";
    default:
        return "api";
    }
}

static void write_tags(struct dj_json_writer *w, const struct dj_entry *entry)
{
    dj_json_key(w, "tags");
    dj_json_begin_array(w);
    for (size_t i = 0; i < entry->tag_count; i++)
        if (!dj_tag_is_internal(entry->tags[i].name))
            dj_json_put_string(w, entry->tags[i].name);
    dj_json_end_array(w);
}

void dj_entry_write_facts(struct dj_json_writer *w, const struct dj_entry *entry, int64_t now_ms)
{
    int64_t age_ms = now_ms > entry->created_ms ? now_ms - entry->created_ms : 0;
    dj_request_put_id(w, "id", entry->id);
    dj_json_member_u64(w, "version", entry->version);
    dj_json_member_text(w, "entry_kind", kind_text(entry->kind));
    write_metadata(w, entry);
    put_label(w, "namespace", entry->name_space);
    put_label(w, "model", entry->model);
    put_label(w, "provider", entry->provider);
    write_tags(w, entry);
    dj_json_key(w, "tokens");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "input", entry->input_tokens);
    dj_json_member_u64(w, "output", entry->output_tokens);
    dj_json_end_object(w);
    dj_json_member_double(w, "cost", entry->cost_usd);
    dj_request_put_time(w, "created_at", entry->created_ms);
    dj_request_put_time(w, "expires_at", entry->expires_ms);
    dj_json_key(w, "age_s");
    dj_json_put_i64(w, age_ms / 1000);
    dj_json_key(w, "ttl_s");
    if (entry->expires_ms)
        dj_json_put_i64(w, entry->expires_ms > now_ms ? (entry->expires_ms - now_ms) / 1000 : 0);
    else
        dj_json_put_null(w);
}

void dj_entry_write(struct dj_json_writer *w, const struct dj_entry *entry, int64_t now_ms)
{
    bool is_bytes = entry->kind == DJ_ENTRY_BYTES || entry->kind == DJ_ENTRY_PLAIN;
    dj_entry_write_facts(w, entry, now_ms);
    dj_json_key(w, "response");
    if (entry->kind == DJ_ENTRY_EMBEDDING)
        write_embedding(w, entry->body);
    else if (is_bytes && dj_utf8_is_valid(entry->body))
        dj_json_put_string(w, entry->body);
    else if (is_bytes)
        dj_json_put_null(w); /* only who put them knows what they are */
    else
        dj_json_put_raw(w, entry->body);
}

void dj_entry_write_access(struct dj_json_writer *w, const struct dj_access_stats *access)
{
    dj_json_member_u64(w, "hits", access->hits);
    dj_request_put_time(w, "last_access_at", access->last_access_ms);
}
