/* api/kv_batch_read.c - the operations of kv:batch as they were sent. Trust: untrusted. */
#include "api/as_of.h"
#include "api/kv_batch_internal.h"
#include "api/query.h"
#include "base/base64.h"
#include "base/slice.h"
#include "proxy/identity.h"

#define TTL_S_MAX 3e9

static const char *const step_names[] = {"get",    "exists", "ttl",  "set",
                                         "delete", "expire", "incr", "merge"};
#define STEP_KINDS (sizeof step_names / sizeof *step_names)

/* A member that is text, or its twin in base64; in the arena. false: complained. */
static bool read_bytes(struct dj_request *request, const struct dj_json *object, const char *name,
                       const char *where, struct deja_slice *out_bytes)
{
    const char *twin = dj_request_text(request, "%s_base64", name);
    const struct dj_json *text = dj_json_get(object, name);
    const struct dj_json *coded = dj_json_get(object, twin);
    struct dj_buf bytes = {0};
    if (!coded) {
        *out_bytes = dj_json_string(text);
        return true;
    }
    bool is_fine = !text && dj_json_is(coded, DJ_JSON_STRING) &&
                   dj_base64_decode(dj_json_string(coded), &bytes) == DEJA_OK;
    if (is_fine)
        *out_bytes =
            bytes.len ? dj_arena_copy(request->arena, dj_buf_slice(&bytes)) : deja_slice("", 0);
    dj_buf_fini(&bytes);
    if (!is_fine)
        dj_request_complain(request, "invalid_request",
                            dj_request_text(request, "%s%s", where, twin), "format",
                            "must be standard base64, and stand alone");
    return is_fine;
}

static void complain(struct dj_request *request, const char *where, const char *name,
                     const char *message)
{
    dj_request_complain(request, "invalid_request", dj_request_text(request, "%s%s", where, name),
                        "value", message);
}

static bool read_end(struct dj_kv_step *step, const struct dj_json *object, const char *where)
{
    struct dj_request *request = step->batch->request;
    const struct dj_json *ttl = dj_json_get(object, "ttl");
    uint64_t ttl_ms = dj_kv_default_ttl(request, step->key);
    double seconds = dj_json_double(ttl, -1);
    if (dj_json_is(ttl, DJ_JSON_NULL)) {
        ttl_ms = 0;
    } else if (seconds >= 0 && seconds <= TTL_S_MAX) {
        ttl_ms = seconds > 0 && seconds < 0.001 ? 1 : (uint64_t)(seconds * 1000);
    } else if (ttl && !dj_kv_read_ttl(request, dj_json_string(ttl),
                                      dj_request_text(request, "%sttl", where), &ttl_ms)) {
        return false;
    }
    if (!ttl && step->kind == DJ_KV_STEP_EXPIRE) {
        complain(request, where, "ttl", "is missing");
        return false;
    }
    step->op.expires_ms = dj_kv_end(request, ttl_ms);
    if (step->kind == DJ_KV_STEP_MERGE && !ttl) {
        step->op.is_end_kept = true;
        return true;
    }
    return dj_query_flag(request, object, "keep_ttl", where, &step->op.is_end_kept);
}

static bool read_condition(struct dj_kv_step *step, const struct dj_json *object, const char *where)
{
    const struct dj_json *wanted = dj_json_get(object, "if");
    struct deja_slice text = dj_json_string(wanted);
    int64_t version = dj_json_i64(wanted, -1);
    if (step->kind == DJ_KV_STEP_MERGE)
        step->op.condition = DJ_PLAIN_IF_PRESENT;
    if (!wanted)
        return true;
    if (dj_slice_is(text, "absent")) {
        step->op.condition = DJ_PLAIN_IF_ABSENT;
    } else if (dj_slice_is(text, "present")) {
        step->op.condition = DJ_PLAIN_IF_PRESENT;
    } else if (version > 0) {
        step->op.condition = DJ_PLAIN_IF_VERSION;
        step->op.version = (uint64_t)version;
    } else {
        complain(step->batch->request, where, "if", "must be \"absent\", \"present\" or a version");
        return false;
    }
    return true;
}

/* "tags" or "depends_on"; in the arena. */
static bool read_names(struct dj_kv_step *step, const struct dj_json *object, const char *name,
                       const char *where, const struct deja_slice **out_tags, size_t *out_count)
{
    struct dj_request *request = step->batch->request;
    const struct dj_json *list = dj_json_get(object, name);
    size_t count = dj_json_count(list);
    *out_tags = NULL;
    *out_count = 0;
    if (!list)
        return true;
    struct deja_slice *tags = dj_arena_alloc(request->arena, (count + 1) * sizeof *tags);
    bool is_fine = tags && dj_json_is(list, DJ_JSON_ARRAY) && count <= DJ_PLAIN_TAGS_MAX;
    for (struct dj_json_walk w = dj_json_walk(list); is_fine && dj_json_walk_next(&w);) {
        const struct deja_slice *read = NULL;
        size_t one = 0;
        struct deja_slice tag = dj_json_string(w.value);
        is_fine = tag.len && !memchr(tag.data, ',', tag.len) &&
                  dj_kv_read_tags(request, tag, &read, &one) && one == 1;
        if (is_fine)
            tags[w.index] = tag;
    }
    if (!is_fine) {
        complain(request, where, name, "must be an array of at most 32 texts without commas");
        return false;
    }
    *out_tags = tags;
    *out_count = count;
    return true;
}

static bool read_tags(struct dj_kv_step *step, const struct dj_json *object, const char *where)
{
    const struct deja_slice *names = NULL;
    size_t count = 0;
    return read_names(step, object, "tags", where, &step->op.tags, &step->op.tag_count) &&
           read_names(step, object, "depends_on", where, &names, &count) &&
           dj_kv_add_depends(step->batch->request, names, count, &step->op);
}

/* Text is put as it is, other JSON as JSON. */
static bool read_value(struct dj_kv_step *step, const struct dj_json *object, const char *where)
{
    struct dj_request *request = step->batch->request;
    const struct dj_json *value = dj_json_get(object, "value");
    struct deja_slice media = deja_slice_text("text/plain; charset=utf-8");
    struct deja_slice bytes = {0};
    struct dj_buf json = {0};
    if (!value && !dj_json_get(object, "value_base64")) {
        complain(request, where, "value", "is missing");
        return false;
    }
    if (step->kind == DJ_KV_STEP_MERGE && !dj_json_is(value, DJ_JSON_OBJECT)) {
        complain(request, where, "value",
                 "must be an object: what changes in the one that is there");
        return false;
    }
    if (!read_bytes(request, object, "value", where, &bytes))
        return false;
    if (!value)
        media = deja_slice_text("application/octet-stream");
    if (value && !dj_json_is(value, DJ_JSON_STRING)) {
        struct dj_json_writer w = dj_json_writer(&json);
        dj_json_put_value(&w, value);
        bytes = dj_buf_slice(&json);
        media = deja_slice_text("application/json");
    }
    bool is_kept = bytes.len <= DJ_PLAIN_VALUE_BYTES_MAX && dj_request_keeps(request, bytes.len);
    if (is_kept)
        dj_kv_draft(request, &step->batch->names, step->key, bytes, media, &step->op, &step->draft);
    if (json.status != DEJA_OK)
        step->draft.status = json.status;
    dj_buf_fini(&json);
    if (!is_kept)
        complain(request, where, "value", "is longer than this tenant may keep");
    return is_kept;
}

static bool read_by(struct dj_kv_step *step, const struct dj_json *object, const char *where)
{
    const struct dj_json *by = dj_json_get(object, "by");
    step->op.by = dj_json_i64(by, 1);
    if (!by || (dj_json_is(by, DJ_JSON_NUMBER) &&
                dj_json_i64(by, 1) == dj_json_i64(by, 2))) /* it is an integer */
        return true;
    complain(step->batch->request, where, "by", "must be an integer of 64 bits");
    return false;
}

static bool read_kind(struct dj_kv_step *step, const struct dj_json *object, const char *where)
{
    static const enum dj_plain_op_kind kinds[STEP_KINDS] = {
        [DJ_KV_STEP_SET] = DJ_PLAIN_OP_SET,       [DJ_KV_STEP_DELETE] = DJ_PLAIN_OP_REMOVE,
        [DJ_KV_STEP_EXPIRE] = DJ_PLAIN_OP_EXPIRE, [DJ_KV_STEP_INCR] = DJ_PLAIN_OP_INCREMENT,
        [DJ_KV_STEP_MERGE] = DJ_PLAIN_OP_MERGE,
    };
    struct dj_request *request = step->batch->request;
    struct deja_slice name = dj_json_string(dj_json_get(object, "op"));
    for (size_t i = 0; i < STEP_KINDS; i++) {
        if (!dj_slice_is(name, step_names[i]))
            continue;
        step->kind = (enum dj_kv_step_kind)i;
        step->op.kind = kinds[i];
        if (dj_kv_step_is_read(step) || dj_identity_may(&request->who, DJ_ROLE_WRITE))
            return true;
        dj_request_complain(request, "forbidden", dj_request_text(request, "%sop", where), "role",
                            "needs a key with the role write");
        return false;
    }
    complain(request, where, "op", "must be get, exists, ttl, set, delete, expire, incr or merge");
    return false;
}

/* Of a get: that one of the last two; of a set: its name. */
static bool read_version(struct dj_kv_step *step, const struct dj_json *object, const char *where)
{
    struct dj_request *request = step->batch->request;
    if (!dj_kv_version_member(request, object, where, &step->version))
        return false;
    if (step->version.data && step->kind != DJ_KV_STEP_GET && step->kind != DJ_KV_STEP_SET) {
        complain(request, where, "version", "goes with get and set");
        return false;
    }
    step->op.is_before_wanted = step->kind == DJ_KV_STEP_SET && step->version.data;
    return true;
}

/* What a set or a merge brings. */
static bool read_body(struct dj_kv_step *step, const struct dj_json *object, const char *where)
{
    struct dj_request *request = step->batch->request;
    if (!dj_as_of_member(request, object, where, &step->op.as_of) ||
        !dj_as_of_make_member(request, object, where, step->op.as_of, &step->op.make_ms) ||
        !read_value(step, object, where))
        return false;
    dj_kv_draft_version(step->version, &step->draft);
    if (step->kind == DJ_KV_STEP_MERGE)
        step->draft.response = dj_json_get(object, "value");
    return true;
}

bool dj_kv_step_read(struct dj_kv_step *step, const struct dj_json *object, const char *where)
{
    static const char *const members[] = {
        "op",         "key", "key_base64", "value", "value_base64", "ttl",     "keep_ttl", "tags",
        "depends_on", "if",  "by",         "as_of", "version",      "make_ms", NULL};
    struct dj_request *request = step->batch->request;
    if (!dj_query_check_members(request, object, where, members) ||
        !read_kind(step, object, where) || !read_bytes(request, object, "key", where, &step->key) ||
        !dj_kv_check_key(request, step->key, where) || !read_version(step, object, where))
        return false;
    if (dj_kv_step_is_read(step))
        return true;
    if (!read_condition(step, object, where) ||
        (step->kind != DJ_KV_STEP_DELETE && !read_end(step, object, where)) ||
        !read_tags(step, object, where) || !read_by(step, object, where))
        return false;
    if (step->kind == DJ_KV_STEP_INCR) /* for the key: a number is not looked at */
        dj_kv_draft(request, &step->batch->names, step->key, deja_slice("", 0), deja_slice("", 0),
                    &step->op, &step->draft);
    bool has_body = step->kind == DJ_KV_STEP_SET || step->kind == DJ_KV_STEP_MERGE;
    return !has_body || read_body(step, object, where);
}
