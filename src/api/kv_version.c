/* api/kv_version.c - the last two versions of a plain key; see kv.h.
 *
 *   PUT ?version=v7    KEY = the new value, then KEY:@previous = what was there
 *   GET ?version=v6    KEY, if it is that version; else KEY:@previous, if it is
 *
 * The two are two keys: who reads between the two writes finds the new value and, for a moment, the
 * version before the last in the place of the last one; never a value under another's name, since
 * each carries its own. What lies beside the key is served only if it was put there after the value
 * that is under the key now: after a delete, or a put without a version, it is not.
 */
#include "api/kv.h"
#include "api/query.h"
#include "text/question.h"

bool dj_kv_read_version(struct dj_request *request, struct deja_slice *out_version)
{
    struct deja_slice version = dj_kv_said(request, "x-deja-version", "version");
    if (request->complaint)
        return false;
    if (version.data && (version.len == 0 || version.len > DJ_KV_VERSION_BYTES_MAX ||
                         !dj_question_is_name(version))) {
        dj_request_complain(request, "invalid_request", "version", "format",
                            "1 to 128 bytes of text without control characters");
        return false;
    }
    *out_version = version;
    return true;
}

void dj_kv_draft_version(struct deja_slice version, struct dj_draft *draft)
{
    struct dj_buf *metadata = &draft->metadata;
    if (!version.data)
        return;
    if (metadata->len) {
        metadata->len--; /* the brace */
        dj_buf_append_byte(metadata, ',');
    } else {
        dj_buf_append_byte(metadata, '{');
    }
    dj_buf_append_text(metadata, "\"version\":\"");
    dj_json_escape(metadata, version);
    dj_buf_append_text(metadata, "\"}");
}

bool dj_kv_is_version(const struct dj_entry *entry, struct deja_slice version)
{
    struct dj_json_doc *doc = NULL;
    bool is_same =
        entry->metadata.len && dj_json_parse(entry->metadata, &doc, NULL) == DEJA_OK &&
        deja_slice_is_equal(dj_json_string(dj_json_get(dj_json_root(doc), "version")), version);
    dj_json_doc_destroy(doc);
    return is_same;
}

struct deja_slice dj_kv_previous_key(struct dj_request *request, struct deja_slice key)
{
    size_t len = key.len + sizeof DJ_PLAIN_PREVIOUS - 1;
    char *text = len <= DJ_PLAIN_KEY_BYTES_MAX ? dj_arena_alloc(request->arena, len) : NULL;
    if (!text)
        return deja_slice(NULL, 0);
    memcpy(text, key.data, key.len);
    memcpy(text + key.len, DJ_PLAIN_PREVIOUS, sizeof DJ_PLAIN_PREVIOUS - 1);
    return deja_slice(text, len);
}

/* In the request's arena. */
struct keeping {
    struct dj_value *value; /* owned: what was under the key */
    struct deja_slice user_tag;
    struct deja_slice tags[DJ_PLAIN_TAGS_MAX];
    void *ctx;
    void (*done)(void *ctx);
};

static void copy(struct keeping *keeping, const struct dj_entry *entry,
                 struct dj_plain_new *out_new)
{
    size_t count = 0;
    for (size_t i = 0; i < entry->tag_count && count < DJ_PLAIN_TAGS_MAX; i++)
        if (!deja_slice_is_equal(entry->tags[i].name, keeping->user_tag))
            keeping->tags[count++] = entry->tags[i].name;
    *out_new = (struct dj_plain_new){.body = entry->body,
                                     .metadata = entry->metadata,
                                     .expires_ms = entry->expires_ms,
                                     .tags = keeping->tags,
                                     .tag_count = count};
}

static enum dj_plain_verdict put_previous(void *ctx, const struct dj_entry *now, int64_t now_ms,
                                          struct dj_plain_new *out_new)
{
    struct keeping *keeping = ctx;
    (void)now;
    (void)now_ms;
    copy(keeping, dj_value_entry(keeping->value), out_new);
    return DJ_PLAIN_PUT;
}

/* The value under the key is newer than what lies beside it now: put once more, so that it goes on
 * being served. */
static enum dj_plain_verdict put_again(void *ctx, const struct dj_entry *now, int64_t now_ms,
                                       struct dj_plain_new *out_new)
{
    struct keeping *keeping = ctx;
    (void)now_ms;
    if (!now || now->version <= dj_value_entry(keeping->value)->version)
        return DJ_PLAIN_KEEP;
    copy(keeping, now, out_new);
    return DJ_PLAIN_PUT;
}

static void on_kept(void *ctx, enum deja_status status, const struct dj_plain_outcome *outcome)
{
    struct keeping *keeping = ctx;
    (void)status; /* a version that is not kept is a miss */
    (void)outcome;
    dj_value_unref(keeping->value);
    keeping->done(keeping->ctx);
}

enum deja_status dj_kv_keep_previous(struct dj_request *request, const struct dj_kv_names *names,
                                     struct deja_slice key, struct dj_value *value,
                                     bool is_same_version, void *ctx, void (*done)(void *ctx))
{
    struct dj_plain_space space;
    struct deja_slice place = dj_kv_previous_key(request, key);
    struct keeping *keeping = dj_arena_alloc(request->arena, sizeof *keeping);
    if (!place.data || !keeping)
        return DEJA_ERR_NOMEM;
    *keeping =
        (struct keeping){.value = value, .user_tag = names->user_tag, .ctx = ctx, .done = done};
    const struct dj_plain_change change = {.mode =
                                               is_same_version ? DJ_PLAIN_LOOKING : DJ_PLAIN_BLIND,
                                           .change = is_same_version ? put_again : put_previous,
                                           .done = on_kept,
                                           .ctx = keeping};
    dj_kv_space(request, names, &space);
    enum deja_status status =
        dj_plain_change(request->api->proxy->plain, request->loop, &space, place, &change);
    dj_plain_space_fini(&space);
    return status;
}
