/* api/kv_common.c - see kv.h. */
#include "api/kv.h"
#include "api/query.h"
#include "cache/depends.h"
#include "cache/kinds.h"
#include "base/num.h"
#include "base/slice.h"
#include "proto/form.h"
#include "base/base64.h"
#include "proxy/identity.h"
#include "proxy/telemetry.h"
#include "proxy/tenant_rules.h"
#include "text/utf8.h"

#define MEDIA_DEFAULT "application/octet-stream"
#define MEDIA_BYTES_MAX 128u
#define TAG_BYTES_MAX 256u
#define TTL_MS_MAX (UINT64_C(100) * 366 * 24 * 3600 * 1000)
#define MS_PER_S 1000

static bool is_name(struct deja_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f)
            return false;
    return dj_utf8_is_valid(text);
}

struct deja_slice dj_kv_said(struct dj_request *request, const char *header, const char *member)
{
    struct deja_slice text = dj_http_find_header(request->http, header);
    if (!text.data && !dj_query_url_member(request, member, &text))
        return (struct deja_slice){0};
    return text;
}

bool dj_kv_read_names(struct dj_request *request, struct dj_kv_names *out_names)
{
    struct dj_entry noted = {.tag_count = 0};
    struct deja_slice name_space = dj_kv_said(request, "x-deja-namespace", "namespace");
    if (request->complaint)
        return false;
    *out_names = (struct dj_kv_names){.name_space = deja_slice("", 0)};
    out_names->user_tag = deja_slice("", 0);
    if (name_space.len > DJ_NAMESPACE_BYTES_MAX || !is_name(name_space)) {
        dj_request_complain(request, "invalid_request", "X-Deja-Namespace", "format",
                            dj_request_text(request,
                                            "at most %u bytes of text without control characters",
                                            DJ_NAMESPACE_BYTES_MAX));
        return false;
    }
    if (!dj_identity_tag(&request->who, request->arena, &noted)) {
        dj_request_complain(request, "cache_unavailable", "X-Deja-User", "memory", "out of memory");
        return false;
    }
    if (name_space.len)
        out_names->name_space = name_space;
    if (noted.tag_count)
        out_names->user_tag = noted.tags[0].name;
    return true;
}

void dj_kv_space(const struct dj_request *request, const struct dj_kv_names *names,
                 struct dj_plain_space *out_space)
{
    dj_plain_space_init(out_space, request->tenant, request->fingerprint_key.bytes,
                        names->name_space, names->user_tag);
}

void dj_kv_name_resource(struct dj_request *request, const struct dj_kv_names *names,
                         struct deja_slice key)
{
    struct dj_plain_space space;
    struct dj_store_key id;
    char hex[2 * DJ_ID_BYTES + 1];
    bool is_write = !dj_slice_is(request->http->method, "GET");
    if (!request->api->audit || !dj_audit_wants(request->who.rules, is_write))
        return;
    dj_kv_space(request, names, &space);
    dj_plain_key(&space, key, &id);
    dj_plain_space_fini(&space);
    dj_hex_encode(id.id, sizeof id.id, hex);
    request->key_id = dj_arena_copy(request->arena, deja_slice_text(hex));
}

bool dj_kv_check_key(struct dj_request *request, struct deja_slice key, const char *where)
{
    bool is_length = key.len > 0 && key.len <= DJ_PLAIN_KEY_BYTES_MAX;
    if (is_length && !dj_plain_is_previous(key))
        return true;
    dj_request_complain(
        request, "invalid_request", dj_request_text(request, "%skey", where),
        is_length ? "reserved" : "length",
        is_length ? "names that end in " DJ_PLAIN_PREVIOUS
                    " are those of versions: ask for ?version=…"
                  : dj_request_text(request, "a key has 1 to %u bytes", DJ_PLAIN_KEY_BYTES_MAX));
    return false;
}

int64_t dj_kv_end(const struct dj_request *request, uint64_t ttl_ms)
{
    uint64_t cap_ms = request->who.rules ? dj_rules_of(request->who.rules)->ttl_max_ms : 0;
    if (cap_ms && (ttl_ms == 0 || ttl_ms > cap_ms))
        ttl_ms = cap_ms;
    return ttl_ms ? dj_loop_now_ms(request->loop) + (int64_t)ttl_ms : 0;
}

bool dj_kv_read_ttl(struct dj_request *request, struct deja_slice text, const char *name,
                    uint64_t *out_ms)
{
    uint64_t ttl_ms = 0;
    if (dj_num_parse_duration(text, &ttl_ms) == DEJA_OK && ttl_ms <= TTL_MS_MAX) {
        *out_ms = ttl_ms;
        return true;
    }
    dj_request_complain(request, "invalid_request", name, "format",
                        "must be seconds, or a time such as \"5m\"; 0: the key never ends");
    return false;
}

uint64_t dj_kv_default_ttl(const struct dj_request *request, struct deja_slice key)
{
    const struct dj_kinds *kinds = dj_kind_book_table(request->api->proxy->kinds);
    const struct dj_kind *kind = kinds ? dj_kinds_match(kinds, key, NULL) : NULL;
    uint64_t ttl_ms = kind ? dj_request_kind_ttl(request, kind, dj_kind_ttl_ms(kind, key)) : 0;
    const struct dj_rules *rules = request->who.rules;
    if (!ttl_ms && rules)
        ttl_ms = dj_rules_of(rules)->plain_ttl_ms;
    return ttl_ms ? ttl_ms : atomic_load(&request->api->proxy->policy)->plain_ttl_ms;
}

static struct deja_slice trim(struct deja_slice text)
{
    while (text.len && (*text.data == ' ' || *text.data == '\t')) {
        text.data++;
        text.len--;
    }
    while (text.len && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

bool dj_kv_read_tags(struct dj_request *request, struct deja_slice text,
                     const struct deja_slice **out_tags, size_t *out_count)
{
    struct deja_slice *tags =
        dj_arena_alloc(request->arena, DJ_PLAIN_TAGS_MAX * sizeof(struct deja_slice));
    size_t count = 0;
    bool is_fine = tags != NULL;
    for (size_t start = 0, at = 0; is_fine && text.len && at <= text.len; at++) {
        if (at < text.len && text.data[at] != ',')
            continue;
        struct deja_slice tag = trim(deja_slice(text.data + start, at - start));
        start = at + 1;
        if (tag.len == 0)
            continue;
        is_fine = count < DJ_PLAIN_TAGS_MAX && tag.len <= TAG_BYTES_MAX && is_name(tag);
        if (is_fine)
            tags[count++] = tag;
    }
    if (!is_fine) {
        dj_request_complain(request, "invalid_request", "tags", "format",
                            dj_request_text(request,
                                            "at most %u tags of 1 to %u bytes, without control "
                                            "characters",
                                            DJ_PLAIN_TAGS_MAX, TAG_BYTES_MAX));
        return false;
    }
    *out_tags = tags;
    *out_count = count;
    return true;
}

bool dj_kv_add_depends(struct dj_request *request, const struct deja_slice *names, size_t count,
                       struct dj_plain_op *op)
{
    if (!count)
        return true;
    struct deja_slice *tags =
        dj_arena_alloc(request->arena, (op->tag_count + count) * sizeof *tags);
    if (!tags || op->tag_count + count > DJ_PLAIN_TAGS_MAX) {
        dj_request_complain(request, "invalid_request", "depends_on", "length",
                            dj_request_text(request, "tags and depends_on are at most %u together",
                                            DJ_PLAIN_TAGS_MAX));
        return false;
    }
    for (size_t i = 0; i < op->tag_count; i++)
        tags[i] = op->tags[i];
    for (size_t i = 0; i < count; i++) {
        char *bytes = dj_arena_alloc(request->arena, DJ_DEPENDS_TAG_BYTES);
        if (!bytes) {
            dj_request_complain(request, "invalid_request", "depends_on", "size", "out of memory");
            return false;
        }
        tags[op->tag_count + i] = dj_depends_tag(names[i], bytes);
    }
    op->tags = tags;
    op->tag_count += count;
    return true;
}

/* ---- values ---- */

/* As a header may hold it. */
static bool is_media(struct deja_slice media)
{
    for (size_t i = 0; i < media.len; i++)
        if (media.data[i] < ' ' || media.data[i] > '~')
            return false;
    return media.len > 0 && media.len <= MEDIA_BYTES_MAX;
}

void dj_kv_draft(const struct dj_request *request, const struct dj_kv_names *names,
                 struct deja_slice key, struct deja_slice body, struct deja_slice media,
                 const struct dj_plain_op *op, struct dj_draft *draft)
{
    struct dj_json_writer w = dj_json_writer(&draft->metadata);
    draft->entry =
        (struct dj_entry){.kind = DJ_ENTRY_PLAIN, .query = key, .name_space = names->name_space};
    memcpy(draft->entry.tenant, request->tenant, sizeof draft->entry.tenant);
    for (size_t i = 0; i < op->tag_count; i++)
        draft->entry.tags[draft->entry.tag_count++].name = op->tags[i];
    dj_buf_append_slice(&draft->body, body);
    if (!is_media(media))
        return;
    dj_json_begin_object(&w);
    dj_json_key(&w, "type");
    dj_json_put_string(&w, media);
    dj_json_end_object(&w);
}

void dj_kv_apply(const struct dj_request *request, const struct dj_draft *draft,
                 struct dj_plain_op *op)
{
    struct dj_put_options options = {.skip = 0};
    struct dj_entry entry = draft->entry;
    dj_sensitive_apply(&draft->verdict, request->api->proxy->sealed_levels, &entry, &options);
    op->body = entry.body;
    op->metadata = entry.metadata;
    op->skip = options.skip;
    if (dj_sensitive_mark(request->arena, false, draft->verdict.is_sealed_only, &op->metadata) !=
        DEJA_OK)
        op->skip = ~DJ_LEVEL_BIT(DJ_LEVEL_MEMORY); /* no memory: from there it is not copied on */
}

enum deja_status dj_kv_change(const struct dj_request *request, const struct dj_kv_names *names,
                              struct deja_slice key, struct dj_plain_op *op,
                              dj_plain_changed_fn *done)
{
    struct dj_plain_space space;
    uint32_t shared =
        dj_engine_levels(request->api->proxy->engine, DJ_ENTRY_PLAIN) & DJ_LEVELS_SHARED;
    const struct dj_plain_change change = {.mode = dj_plain_op_mode(op),
                                           .change = dj_plain_op_change,
                                           .done = done,
                                           .ctx = op,
                                           .reason = request->reason};
    if (change.mode == DJ_PLAIN_LOOKING && op->kind != DJ_PLAIN_OP_REMOVE && shared &&
        !(shared & ~request->skip))
        return DEJA_ERR_UNSUPPORTED;
    op->skip |= request->skip;
    dj_kv_space(request, names, &space);
    enum deja_status status =
        dj_plain_change(request->api->proxy->plain, request->loop, &space, key, &change);
    dj_plain_space_fini(&space);
    return status;
}

static struct dj_problem problem(int status, const char *type, const char *detail)
{
    return (struct dj_problem){.status = status, .type = type, .detail = detail};
}

struct dj_problem dj_kv_problem(const struct dj_plain_op *op, enum deja_status status)
{
    if (op->is_refused && op->condition == DJ_PLAIN_IF_PRESENT)
        return problem(404, "not_found", "there is no such key");
    if (op->is_refused)
        return problem(412, "precondition_failed", "the key is not as the condition wants it");
    if (op->status == DEJA_ERR_INVALID && op->kind == DJ_PLAIN_OP_INCREMENT)
        return problem(409, "not_an_integer", "the value is not a decimal integer of 64 bits");
    if (op->status == DEJA_ERR_LIMIT && op->kind == DJ_PLAIN_OP_INCREMENT)
        return problem(409, "out_of_range", "the sum does not fit 64 bits");
    if (op->status == DEJA_ERR_INVALID && op->kind == DJ_PLAIN_OP_MERGE)
        return problem(409, "not_an_object", "the value is not a JSON object: PUT it anew");
    if (op->status == DEJA_ERR_LIMIT && op->kind == DJ_PLAIN_OP_MERGE)
        return problem(413, "payload_too_large",
                       "value and patch may have 1 MiB each, the patch 1,000 members");
    if (op->status != DEJA_OK)
        return dj_problem_of(op->status);
    if (status == DEJA_ERR_UNSUPPORTED)
        return problem(400, "invalid_request",
                       "X-Deja-Skip-Tiers leaves out every shared tier, and a change that looks at "
                       "what is there needs one of them");
    return status == DEJA_OK ? (struct dj_problem){.status = 0} : dj_problem_of(status);
}

const char *dj_kv_media(struct dj_request *request, const struct dj_entry *entry)
{
    struct dj_json_doc *doc = NULL;
    const char *media = MEDIA_DEFAULT;
    if (!entry->metadata.len || dj_json_parse(entry->metadata, &doc, NULL) != DEJA_OK)
        return media;
    struct deja_slice type = dj_json_string(dj_json_get(dj_json_root(doc), "type"));
    if (is_media(type))
        media = dj_request_text(request, "%.*s", (int)type.len, type.data);
    dj_json_doc_destroy(doc);
    return media;
}

static void write_base64(struct dj_json_writer *w, const char *name, struct deja_slice bytes)
{
    struct dj_buf text = {0};
    dj_base64_encode(bytes, &text);
    if (text.status != DEJA_OK)
        w->buf->status = text.status;
    dj_json_key(w, name);
    dj_json_put_string(w, dj_buf_slice(&text));
    dj_buf_fini(&text);
}

void dj_kv_write_key(struct dj_json_writer *w, struct deja_slice key)
{
    if (!dj_utf8_is_valid(key)) {
        write_base64(w, "key_base64", key);
        return;
    }
    dj_json_key(w, "key");
    dj_json_put_string(w, key);
}

int64_t dj_kv_ttl_s(const struct dj_entry *entry, int64_t now_ms)
{
    if (!entry->expires_ms)
        return 0;
    int64_t left_ms = entry->expires_ms > now_ms ? entry->expires_ms - now_ms : 1;
    return (left_ms + MS_PER_S - 1) / MS_PER_S;
}

void dj_kv_write_ttl(struct dj_json_writer *w, const struct dj_entry *entry, int64_t now_ms)
{
    dj_json_key(w, "ttl");
    if (entry->expires_ms)
        dj_json_put_i64(w, dj_kv_ttl_s(entry, now_ms));
    else
        dj_json_put_null(w);
}

void dj_kv_write_value(struct dj_json_writer *w, struct dj_request *request,
                       const struct dj_entry *entry)
{
    struct dj_json_doc *doc = NULL;
    bool is_json = strncmp(dj_kv_media(request, entry), "application/json", 16) == 0;
    if (is_json && dj_json_parse(entry->body, &doc, NULL) == DEJA_OK) {
        dj_json_key(w, "value");
        dj_json_put_value(w, dj_json_root(doc));
    } else if (dj_utf8_is_valid(entry->body)) {
        dj_json_key(w, "value");
        dj_json_put_string(w, entry->body);
    } else {
        write_base64(w, "value_base64", entry->body);
    }
    dj_json_doc_destroy(doc);
}

void dj_kv_note(const struct dj_request *request, const char *operation, const char *level,
                const char *status)
{
    double seconds =
        (double)(dj_loop_monotonic_us(request->loop) - request->http->started_us) / 1e6;
    dj_telemetry_operation(request->api->proxy->telemetry, operation, level, status, seconds);
}
