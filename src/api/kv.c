/* api/kv.c - one plain key: GET, HEAD, PUT, PATCH and DELETE of /api/v1/kv/{key}.
 *
 *   GET     memory -> tiers -> the bytes as they were put
 *   PUT     headers -> sensitive data? -> change -> 201
 *   PATCH   a JSON merge patch, or only another end -> change -> 200
 *   DELETE  change -> 200
 *
 * The version of a value is its ETag: If-Match and If-None-Match are looked at where the change
 * happens, so of two that race one is told 412. A value is served as a download of its own media
 * type and never as a page of this origin (Content-Security-Policy: sandbox).
 */
#include "api/kv.h"

#include "api/as_of.h"
#include "api/handlers.h"
#include "api/query.h"
#include "base/list.h"
#include "base/slice.h"
#include "cache/kinds.h"
#include "base/num.h"
#include "proto/form.h"
#include "proto/http_text.h"
#include "proxy/telemetry.h"

#define SANDBOX "sandbox; default-src 'none'"

/* In the request's arena. */
struct kv {
    struct dj_plain_op op;
    struct dj_request *request;
    struct dj_kv_names names;
    struct deja_slice key;
    struct deja_slice version; /* data NULL: not said */
    struct dj_buf answer;      /* put: until the value before is kept */
    struct dj_draft draft;
    struct dj_draft *drafts_of[1];
    struct dj_drafts drafts;
    bool is_judged;
};

static struct kv *kv_of(void *op)
{
    return DJ_CONTAINER((struct dj_plain_op *)op, struct kv, op);
}

static void kv_end(struct kv *kv)
{
    dj_plain_op_fini(&kv->op);
    dj_draft_fini(&kv->draft);
}

/* ---- reading ---- */

static bool read_key(struct dj_request *request, struct deja_slice *out_key)
{
    struct dj_buf key;
    dj_buf_init(&key, DJ_PLAIN_KEY_BYTES_MAX);
    enum deja_status status = dj_form_segment(request->rest, &key);
    if (status == DEJA_ERR_INVALID)
        dj_request_complain(request, "invalid_request", "key", "encoding",
                            "the path has a broken percent escape");
    else if (status == DEJA_OK || status == DEJA_ERR_LIMIT)
        dj_kv_check_key(request, status == DEJA_OK ? dj_buf_slice(&key) : deja_slice("", 0), "");
    if (status == DEJA_OK && key.len)
        *out_key = dj_arena_copy(request->arena, dj_buf_slice(&key));
    dj_buf_fini(&key);
    return !request->complaint;
}

/* "V", W/"V" is never equal, *; more than one: the first that is a version. *out_is_any: "*". */
static bool read_version(struct dj_request *request, const char *name, uint64_t *out_version,
                         bool *out_is_any)
{
    struct deja_slice text = dj_http_find_header(request->http, name);
    *out_is_any = dj_slice_is(text, "*");
    if (*out_is_any)
        return true;
    if (text.len > 2 && text.data[0] == '"' && text.data[text.len - 1] == '"' &&
        dj_num_parse_u64(deja_slice(text.data + 1, text.len - 2), out_version) == DEJA_OK)
        return true;
    dj_request_complain(request, "invalid_request", name, "format",
                        "must be one ETag as this API tells it, or *");
    return false;
}

static bool has_header(const struct dj_request *request, const char *name)
{
    return dj_http_find_header(request->http, name).data != NULL;
}

static bool read_condition(struct dj_request *request, struct dj_plain_op *op)
{
    bool is_match = has_header(request, "if-match");
    bool is_none = has_header(request, "if-none-match");
    bool is_any = false;
    if (is_match && is_none) {
        dj_request_complain(request, "invalid_request", "If-Match", "conflict",
                            "If-Match and If-None-Match exclude each other");
        return false;
    }
    if (!is_match && !is_none)
        return true;
    if (!read_version(request, is_match ? "if-match" : "if-none-match", &op->version, &is_any))
        return false;
    if (is_match)
        op->condition = is_any ? DJ_PLAIN_IF_PRESENT : DJ_PLAIN_IF_VERSION;
    else
        op->condition = is_any ? DJ_PLAIN_IF_ABSENT : DJ_PLAIN_IF_OTHER;
    return true;
}

/* X-Deja-Kind: of a key that says nothing of its kind; its TTL, and the tag it is known by. */
static bool read_kind(struct dj_request *request, struct kv *kv, uint64_t *ttl_ms)
{
    struct deja_slice name = dj_http_find_header(request->http, "x-deja-kind");
    const struct dj_kinds *kinds = dj_kind_book_table(request->api->proxy->kinds);
    const struct dj_kind *kind = name.data && kinds ? dj_kinds_find(kinds, name) : NULL;
    struct deja_slice *tags = dj_arena_alloc(request->arena, DJ_PLAIN_TAGS_MAX * sizeof *tags);
    if (!name.data)
        return true;
    if (!kind || !tags || kv->op.tag_count == DJ_PLAIN_TAGS_MAX) {
        dj_request_complain(request, "invalid_request", "X-Deja-Kind", "value",
                            kind ? "leaves no room for so many tags"
                                 : "no kind has that name; GET /api/v1/kinds lists them");
        return false;
    }
    if (kv->op.tag_count)
        memcpy(tags, kv->op.tags, kv->op.tag_count * sizeof *tags);
    tags[kv->op.tag_count++] = deja_slice_text(
        dj_request_text(request, "kind:%.*s", (int)kind->name.len, kind->name.data));
    kv->op.tags = tags;
    uint64_t kind_ms = dj_request_kind_ttl(request, kind, kind->ttl_ms);
    if (kind_ms)
        *ttl_ms = kind_ms;
    return true;
}

static bool read_put(struct dj_request *request, struct kv *kv)
{
    struct deja_slice depends = dj_kv_said(request, "x-deja-depends-on", "depends_on");
    const struct deja_slice *names = NULL;
    size_t count = 0;
    struct deja_slice ttl = dj_kv_said(request, "x-deja-ttl", "ttl");
    uint64_t ttl_ms = dj_kv_default_ttl(request, kv->key);
    uint64_t kind_ms = ttl_ms;
    if ((ttl.data && !dj_kv_read_ttl(request, ttl, "X-Deja-TTL", &ttl_ms)) ||
        !dj_kv_read_tags(request, dj_kv_said(request, "x-deja-tags", "tags"), &kv->op.tags,
                         &kv->op.tag_count) ||
        !dj_kv_read_tags(request, depends, &names, &count) ||
        !dj_kv_add_depends(request, names, count, &kv->op) || !read_kind(request, kv, &kind_ms) ||
        !dj_as_of_read(request, &kv->op.as_of) ||
        !dj_as_of_make_read(request, kv->op.as_of, &kv->op.make_ms))
        return false;
    if (!ttl.data)
        ttl_ms = kind_ms;
    kv->op.is_end_kept = kv->op.kind == DJ_PLAIN_OP_MERGE && !ttl.data;
    kv->op.expires_ms = dj_kv_end(request, ttl_ms);
    return true;
}

/* NULL: the request was answered. */
static struct kv *begin(struct dj_request *request, enum dj_plain_op_kind kind)
{
    struct kv *kv = dj_arena_alloc(request->arena, sizeof *kv);
    if (!kv) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return NULL;
    }
    *kv = (struct kv){.request = request, .op = {.kind = kind}};
    if (dj_kv_read_names(request, &kv->names) && read_key(request, &kv->key) &&
        dj_kv_read_version(request, &kv->version)) {
        dj_kv_name_resource(request, &kv->names, kv->key);
        return kv;
    }
    dj_request_has_complaints(request);
    return NULL;
}

/* ---- get ---- */

static void add_facts(struct dj_request *request, const struct dj_entry *entry, int64_t now_ms)
{
    int64_t age_s = now_ms > entry->created_ms ? (now_ms - entry->created_ms) / 1000 : 0;
    dj_request_header(request, "ETag",
                      dj_request_text(request, "\"%llu\"", (unsigned long long)entry->version));
    dj_request_header(request, "X-Deja-TTL",
                      dj_request_text(request, "%lld", (long long)dj_kv_ttl_s(entry, now_ms)));
    dj_request_header(request, "Age", dj_request_text(request, "%lld", (long long)age_s));
}

static void answer_value(struct kv *kv, struct dj_value *value, const char *level)
{
    struct dj_request *request = kv->request;
    const struct dj_entry *entry = dj_value_entry(value);
    int64_t now_ms = dj_loop_now_ms(request->loop);
    struct dj_buf body = {0};
    bool is_any = false;
    uint64_t version = 0;
    bool is_same = has_header(request, "if-none-match") &&
                   read_version(request, "if-none-match", &version, &is_any) &&
                   (is_any || version == entry->version);
    dj_kv_note(request, "get", level, "ok");
    if (!dj_request_has_complaints(request)) {
        add_facts(request, entry, now_ms);
        dj_as_of_tell(request); /* of who makes it anew before its end */
        dj_request_header(request, "X-Cache-Hit", "true");
        dj_request_header(request, "X-Cache-Tier", level);
        dj_request_header(request, "Cache-Status",
                          dj_request_text(request, "deja; hit; ttl=%lld; detail=%s",
                                          (long long)dj_kv_ttl_s(entry, now_ms), level));
        dj_request_header(request, "Content-Security-Policy", SANDBOX);
        if (!is_same)
            dj_buf_append_slice(&body, entry->body);
        dj_request_answer(request, is_same ? 304 : 200, dj_kv_media(request, entry), &body);
    }
    dj_buf_fini(&body);
    dj_value_unref(value);
}

/* value NULL: nothing is there; has_other: but in another version. */
static void take_found(struct kv *kv, struct dj_value *value, const char *level, bool has_other)
{
    if (value) {
        answer_value(kv, value, level);
        return;
    }
    dj_request_refusal_header(kv->request, "Cache-Status", "deja; fwd=miss");
    dj_as_of_tell(kv->request);
    dj_kv_note(kv->request, "get", "none", "miss");
    dj_request_problem(kv->request, 404, "not_found",
                       has_other ? "that version of the key is not kept" : "there is no such key");
}

static void on_version(void *ctx, struct dj_value *value, const char *level, bool has_other)
{
    take_found(ctx, value, level, has_other);
}

static void on_got(void *ctx, struct dj_value *value, const char *level)
{
    take_found(ctx, value, level, false);
}

static void ask(struct kv *kv)
{
    struct dj_request *request = kv->request;
    struct dj_plain *plain = request->api->proxy->plain;
    struct dj_plain_space space;
    enum deja_status status = DEJA_OK;
    struct dj_value *value = NULL;
    dj_kv_space(request, &kv->names, &space);
    if (!kv->version.data && !(request->skip & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY)))
        value = dj_plain_find(plain, request->loop, &space, kv->key);
    if (kv->version.data)
        status = dj_plain_version_get(plain, request->loop, &space, kv->key, kv->version,
                                      request->skip, kv, on_version);
    else if (!value)
        status = dj_plain_get(plain, request->loop, &space, kv->key, request->skip, kv, on_got);
    dj_plain_space_fini(&space);
    if (value)
        take_found(kv, value, dj_level_text(DJ_LEVEL_MEMORY), false);
    else if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

void dj_kv_get(struct dj_request *request)
{
    struct kv *kv = begin(request, DJ_PLAIN_OP_SET);
    if (kv)
        ask(kv);
}

/* ---- put and patch ---- */

static void write_put(struct kv *kv, const struct dj_plain_outcome *outcome, struct dj_buf *body)
{
    struct dj_request *request = kv->request;
    const struct dj_entry *entry = dj_value_entry(outcome->after);
    int64_t now_ms = dj_loop_now_ms(request->loop);
    struct dj_json_writer w = dj_json_writer(body);
    dj_json_begin_object(&w);
    dj_kv_write_key(&w, kv->key);
    dj_json_member_u64(&w, "version", entry->version);
    dj_kv_write_ttl(&w, entry, now_ms);
    dj_request_put_time(&w, "expires_at", entry->expires_ms);
    dj_request_put_levels(&w, "tiers_missing", outcome->missed);
    dj_draft_put_verdict(&w, &kv->draft);
    dj_as_of_write(&w, outcome->is_stored, outcome->is_outrun);
    dj_json_end_object(&w);
    dj_request_header(request, "ETag",
                      dj_request_text(request, "\"%llu\"", (unsigned long long)entry->version));
    dj_request_header(request, "X-Deja-TTL",
                      dj_request_text(request, "%lld", (long long)dj_kv_ttl_s(entry, now_ms)));
}

static void on_previous_kept(void *ctx)
{
    struct kv *kv = ctx;
    struct dj_buf body = kv->answer;
    dj_request_answer(kv->request, kv->op.kind == DJ_PLAIN_OP_SET ? 201 : 200, NULL, &body);
    dj_buf_fini(&body);
}

static void on_changed(void *ctx, enum deja_status status, const struct dj_plain_outcome *outcome)
{
    struct kv *kv = kv_of(ctx);
    struct dj_request *request = kv->request;
    struct dj_problem problem = dj_kv_problem(&kv->op, status);
    struct dj_buf body = {0};
    if (!problem.status && !outcome->after) /* of a new end: nothing was there */
        problem = (struct dj_problem){
            .status = 404, .type = "not_found", .detail = "there is no such key"};
    dj_kv_note(request, "set", "none", problem.status ? "error" : "ok");
    if (!problem.status)
        write_put(kv, outcome, &body);
    kv_end(kv);
    kv->answer = body;
    if (!problem.status && kv->version.data && outcome->is_stored && outcome->before &&
        dj_kv_keep_previous(request, &kv->names, kv->key, kv->version, outcome->before, kv,
                            on_previous_kept) == DEJA_OK)
        return;
    if (problem.status)
        dj_request_problem(request, problem.status, problem.type, problem.detail);
    else
        dj_request_answer(request, kv->op.kind == DJ_PLAIN_OP_SET ? 201 : 200, NULL, &body);
    dj_buf_fini(&body);
}

static void change(struct kv *kv, dj_plain_changed_fn *done)
{
    enum deja_status status = dj_kv_change(kv->request, &kv->names, kv->key, &kv->op, done);
    if (status == DEJA_OK)
        return;
    struct dj_problem problem = dj_kv_problem(&kv->op, status);
    kv_end(kv);
    dj_request_problem(kv->request, problem.status, problem.type, problem.detail);
}

static void on_judged(void *ctx)
{
    struct kv *kv = ctx;
    struct dj_problem problem = dj_draft_problem(&kv->draft);
    if (problem.status) {
        kv_end(kv);
        dj_request_problem(kv->request, problem.status, problem.type, problem.detail);
        return;
    }
    dj_kv_apply(kv->request, &kv->draft, &kv->op);
    kv->op.is_metadata_new = kv->op.kind == DJ_PLAIN_OP_MERGE && kv->draft.verdict.classes;
    change(kv, on_changed);
}

static void judge(struct kv *kv)
{
    kv->drafts_of[0] = &kv->draft;
    kv->drafts = (struct dj_drafts){
        .request = kv->request, .items = kv->drafts_of, .count = 1, .ctx = kv, .judged = on_judged};
    dj_drafts_judge(&kv->drafts);
}

void dj_kv_put(struct dj_request *request)
{
    struct deja_slice body = request->http->body;
    struct deja_slice encoding = dj_http_find_header(request->http, "content-encoding");
    struct kv *kv = begin(request, DJ_PLAIN_OP_SET);
    if (!kv)
        return;
    if (encoding.len && !dj_http_is_same(encoding, "identity")) {
        dj_request_problem(request, 415, "unsupported_encoding",
                           "send values without Content-Encoding; tiers compress them");
        return;
    }
    if (body.len > DJ_PLAIN_VALUE_BYTES_MAX || !dj_request_keeps(request, body.len)) {
        dj_request_problem(request, 413, "payload_too_large",
                           "the value is longer than this tenant may keep "
                           "(limits.max_entry_bytes)");
        return;
    }
    if (!read_put(request, kv) || !read_condition(request, &kv->op)) {
        dj_request_has_complaints(request);
        return;
    }
    dj_kv_draft(request, &kv->names, kv->key, body,
                dj_http_find_header(request->http, "content-type"), &kv->op, &kv->draft);
    dj_kv_draft_version(kv->version, &kv->draft);
    kv->op.is_before_wanted = kv->version.data != NULL;
    judge(kv);
}

static void on_patch(struct dj_request *request)
{
    struct kv *kv = begin(request, DJ_PLAIN_OP_MERGE);
    if (!kv)
        return;
    kv->op.condition = DJ_PLAIN_IF_PRESENT;
    if (!read_put(request, kv) || !read_condition(request, &kv->op)) {
        dj_request_has_complaints(request);
        return;
    }
    struct dj_buf patch = {0};
    struct dj_json_writer w = dj_json_writer(&patch);
    dj_json_put_value(&w, request->body);
    dj_kv_draft(request, &kv->names, kv->key, dj_buf_slice(&patch),
                deja_slice_text("application/json"), &kv->op, &kv->draft);
    if (patch.status != DEJA_OK)
        kv->draft.status = patch.status;
    dj_buf_fini(&patch);
    kv->draft.response = request->body;
    judge(kv);
}

void dj_kv_patch(struct dj_request *request)
{
    if (request->http->body.len) {
        dj_request_read(request, on_patch);
        return;
    }
    struct kv *kv = begin(request, DJ_PLAIN_OP_EXPIRE);
    if (!kv)
        return;
    kv->op.condition = DJ_PLAIN_IF_PRESENT;
    if (!dj_kv_said(request, "x-deja-ttl", "ttl").data)
        dj_request_complain(request, "invalid_request", "body", "required",
                            "a JSON object to be merged into the value, or X-Deja-TTL");
    if (!read_put(request, kv) || !read_condition(request, &kv->op)) {
        dj_request_has_complaints(request);
        return;
    }
    if (!dj_request_has_complaints(request))
        change(kv, on_changed);
}

/* ---- delete ---- */

static void on_removed(void *ctx, enum deja_status status, const struct dj_plain_outcome *outcome)
{
    struct kv *kv = kv_of(ctx);
    struct dj_request *request = kv->request;
    struct dj_problem problem = dj_kv_problem(&kv->op, status);
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_kv_note(request, "delete", "none", problem.status ? "error" : "ok");
    kv_end(kv);
    if (problem.status) {
        dj_request_problem(request, problem.status, problem.type, problem.detail);
        return;
    }
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "removed", outcome->was_there ? 1 : 0);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

void dj_kv_remove(struct dj_request *request)
{
    struct kv *kv = begin(request, DJ_PLAIN_OP_REMOVE);
    if (!kv)
        return;
    if (!read_condition(request, &kv->op) || !dj_query_url_reason(request))
        dj_request_has_complaints(request);
    else
        change(kv, on_removed);
}
