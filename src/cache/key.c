/* cache/key.c - see key.h.
 *
 *   exact      HMAC("E" prefix canonical)
 *   normalised HMAC("E" prefix canonical with the last user text normalised)   equal to exact when
 *              the text was normal already, so most requests need one HMAC
 *   scope      HMAC("S" prefix canonical with the last user text taken out, policy epoch)
 *
 * Every variable part of the prefix is preceded by its length, so no two prefixes run together.
 */
#include "cache/key_internal.h"

#include "base/buf.h"
#include "base/slice.h"
#include "text/normalise.h"

#define KEY_FORMAT "deja-key-1"
#define PREFIX_BYTES_MAX 8192u
#define HEADER_COUNT (sizeof((struct dj_key_prefix *)0)->headers / sizeof(struct deja_slice))

const char *const dj_key_skip[] = {"stream",
                                   "stream_options",
                                   "metadata",
                                   "store",
                                   "service_tier",
                                   "prompt_cache_key",
                                   "prompt_cache_options",
                                   "prompt_cache_retention",
                                   "safety_identifier",
                                   "cache",
                                   "cache_skip",
                                   NULL};

static void append_part(struct dj_buf *buf, struct deja_slice part)
{
    uint32_t len = (uint32_t)part.len;
    dj_buf_append(buf, &len, sizeof len);
    dj_buf_append_slice(buf, part);
}

static void append_prefix(struct dj_buf *buf, char purpose, const struct dj_key_prefix *prefix)
{
    dj_buf_append_byte(buf, purpose);
    append_part(buf, deja_slice_text(KEY_FORMAT));
    append_part(buf, deja_slice(prefix->tenant, sizeof prefix->tenant));
    append_part(buf, prefix->name_space);
    append_part(buf, deja_slice_text(prefix->family));
    append_part(buf, prefix->upstream_id);
    for (size_t i = 0; i < HEADER_COUNT; i++)
        append_part(buf, prefix->headers[i]);
}

/* HMAC over the prefix and canonical, with the bytes of the mark replaced by `instead`. */
static enum deja_status digest(const struct dj_key_prefix *prefix, char purpose,
                               const struct dj_fingerprint *fingerprint, struct deja_slice instead,
                               uint64_t epoch, uint8_t out_digest[DJ_SHA256_BYTES])
{
    struct dj_buf head;
    dj_buf_init(&head, PREFIX_BYTES_MAX);
    append_prefix(&head, purpose, prefix);
    enum deja_status status = head.status;
    if (status == DEJA_OK) {
        struct deja_slice body = fingerprint->canonical;
        size_t after = fingerprint->mark_offset + fingerprint->mark_len;
        const struct deja_slice parts[] = {
            dj_buf_slice(&head),
            deja_slice(body.data, fingerprint->mark_offset),
            instead,
            deja_slice(body.data + after, body.len - after),
            deja_slice(&epoch, sizeof epoch),
        };
        dj_hmac(prefix->fingerprint_key, parts, sizeof parts / sizeof *parts, out_digest);
    }
    dj_buf_fini(&head);
    return status;
}

void dj_key_scope(const struct dj_key_prefix *prefix, struct dj_fingerprint *fingerprint)
{
    uint8_t scope[DJ_SHA256_BYTES];
    if (!fingerprint->mark_len)
        return; /* nothing that may differ within a scope */
    /* The prefix was within its bound when the key was made; should memory run out now, the scope
     * stays zero, which is never searched. */
    if (digest(prefix, 'S', fingerprint, deja_slice("\0", 1), prefix->policy_epoch, scope) ==
        DEJA_OK)
        memcpy(fingerprint->scope, scope, sizeof fingerprint->scope);
}

/* Exact and normalised key of canonical, whose mark holds raw. */
static enum deja_status finish(const struct dj_key_prefix *prefix, struct deja_slice raw,
                               struct dj_arena *arena, struct dj_fingerprint *fingerprint)
{
    struct dj_buf normal = {0};
    struct dj_buf quoted = {0};
    uint8_t normal_key[DJ_SHA256_BYTES];
    struct deja_slice body = fingerprint->canonical;
    struct deja_slice marked =
        deja_slice(body.data + fingerprint->mark_offset, fingerprint->mark_len);
    enum deja_status status = digest(prefix, 'E', fingerprint, marked, 0, fingerprint->exact);
    memcpy(normal_key, fingerprint->exact, sizeof normal_key);
    if (status == DEJA_OK && raw.data) {
        status = dj_text_normalise(raw, &normal);
        if (status == DEJA_OK && normal.len) {
            fingerprint->text = dj_arena_copy(arena, dj_buf_slice(&normal));
            status = fingerprint->text.data ? DEJA_OK : DEJA_ERR_NOMEM;
        }
        if (status == DEJA_OK && !deja_slice_is_equal(dj_buf_slice(&normal), raw)) {
            dj_buf_append_byte(&quoted, '"');
            dj_json_escape(&quoted, dj_buf_slice(&normal));
            dj_buf_append_byte(&quoted, '"');
            status = quoted.status;
            if (status == DEJA_OK)
                status = digest(prefix, 'E', fingerprint, dj_buf_slice(&quoted), 0, normal_key);
        }
    }
    if (status == DEJA_OK) {
        memcpy(fingerprint->key.tenant, prefix->tenant, sizeof fingerprint->key.tenant);
        memcpy(fingerprint->key.id, normal_key, sizeof fingerprint->key.id);
    }
    dj_buf_fini(&normal);
    dj_buf_fini(&quoted);
    return status;
}

/* The one text of a user turn: a string, or an array with a single text part. */
static const struct dj_json *turn_text(const struct dj_json *message)
{
    const struct dj_json *content = dj_json_get(message, "content");
    if (dj_json_is(content, DJ_JSON_STRING))
        return content;
    if (dj_json_is(content, DJ_JSON_ARRAY) && dj_json_count(content) == 1) {
        const struct dj_json *text = dj_json_get(dj_json_at(content, 0), "text");
        return dj_json_is(text, DJ_JSON_STRING) ? text : NULL;
    }
    return NULL;
}

static bool is_text_only(const struct dj_json *message)
{
    const struct dj_json *content = dj_json_get(message, "content");
    if (!dj_json_is(content, DJ_JSON_ARRAY))
        return true;
    for (struct dj_json_walk part = dj_json_walk(content); dj_json_walk_next(&part);) {
        struct deja_slice type = dj_json_string(dj_json_get(part.value, "type"));
        if (!dj_slice_is(type, "text"))
            return false;
    }
    return true;
}

/* Which turn may be found by meaning, and whether the request may at all. */
static void find_text(const struct dj_json *root, const struct dj_json *messages,
                      struct dj_key_subject *subject)
{
    const struct dj_json *last = NULL;
    bool is_plain = true;
    for (struct dj_json_walk turn = dj_json_walk(messages); dj_json_walk_next(&turn);) {
        const struct dj_json *role = dj_json_get(turn.value, "role");
        is_plain = is_plain && is_text_only(turn.value);
        if (turn.left == 0)
            last = turn.value;
        else if (dj_key_is_text(role, "user") || dj_key_is_text(role, "assistant"))
            subject->has_history = true;
    }
    if (!is_plain || !dj_key_is_text(dj_json_get(last, "role"), "user"))
        return;
    subject->is_semantic =
        !dj_key_has_members(root, "tools") && !dj_key_has_members(root, "functions") &&
        !dj_json_get(root, "web_search_options") && dj_json_i64(dj_json_get(root, "n"), 1) == 1;
    subject->text = turn_text(last);
}

enum deja_status dj_key_of_body(const struct dj_key_prefix *prefix, const struct dj_json *root,
                                const struct dj_key_subject *subject, struct dj_arena *arena,
                                struct dj_fingerprint *out_fingerprint)
{
    struct dj_fingerprint fingerprint = {.has_history = subject->has_history};
    struct dj_buf canonical = {0};
    size_t mark_offset = SIZE_MAX;
    size_t mark_len = 0;
    dj_json_canonical_cut(&canonical, root, subject->skip, &subject->cut, subject->text,
                          &mark_offset, &mark_len);
    enum deja_status status = canonical.status;
    if (status == DEJA_OK) {
        fingerprint.canonical = dj_arena_copy(arena, dj_buf_slice(&canonical));
        status = fingerprint.canonical.data ? DEJA_OK : DEJA_ERR_NOMEM;
    }
    if (status == DEJA_OK) {
        bool is_marked = subject->text && mark_offset != SIZE_MAX;
        fingerprint.mark_offset = is_marked ? mark_offset : 0;
        fingerprint.mark_len = is_marked ? mark_len : 0;
        status = finish(prefix, is_marked ? dj_json_string(subject->text) : deja_slice(NULL, 0),
                        arena, &fingerprint);
    }
    if (status == DEJA_OK) {
        fingerprint.is_semantic = subject->is_semantic && fingerprint.text.data;
        *out_fingerprint = fingerprint;
    }
    dj_buf_fini(&canonical);
    return status;
}

enum deja_status dj_key_chat(const struct dj_key_prefix *prefix, const struct dj_json *root,
                             struct dj_arena *arena, struct dj_fingerprint *out_fingerprint)
{
    const struct dj_json *messages = dj_json_get(root, "messages");
    struct dj_key_subject subject = {.skip = dj_key_skip};
    if (!dj_json_is(messages, DJ_JSON_ARRAY))
        return DEJA_ERR_INVALID;
    find_text(root, messages, &subject);
    return dj_key_of_body(prefix, root, &subject, arena, out_fingerprint);
}

enum deja_status dj_key_query(const struct dj_key_prefix *prefix, struct deja_slice query,
                              struct dj_arena *arena, struct dj_fingerprint *out_fingerprint)
{
    struct dj_fingerprint fingerprint = {0};
    struct dj_buf canonical = {0};
    dj_buf_append_byte(&canonical, '"');
    dj_json_escape(&canonical, query);
    dj_buf_append_byte(&canonical, '"');
    enum deja_status status = canonical.status;
    if (status == DEJA_OK) {
        fingerprint.canonical = dj_arena_copy(arena, dj_buf_slice(&canonical));
        status = fingerprint.canonical.data ? DEJA_OK : DEJA_ERR_NOMEM;
    }
    if (status == DEJA_OK) {
        fingerprint.mark_len = fingerprint.canonical.len;
        status = finish(prefix, query, arena, &fingerprint);
    }
    if (status == DEJA_OK) {
        fingerprint.is_semantic = fingerprint.text.data != NULL;
        *out_fingerprint = fingerprint;
    }
    dj_buf_fini(&canonical);
    return status;
}

void dj_key_item(const struct dj_key_prefix *prefix, struct deja_slice rest, struct deja_slice item,
                 struct dj_fingerprint *out_fingerprint)
{
    struct dj_fingerprint fingerprint = {.canonical = rest, .mark_offset = rest.len};
    memcpy(fingerprint.key.tenant, prefix->tenant, sizeof fingerprint.key.tenant);
    if (digest(prefix, 'I', &fingerprint, item, 0, fingerprint.exact) != DEJA_OK)
        dj_random_bytes(fingerprint.exact, sizeof fingerprint.exact); /* a key nobody ever asks */
    memcpy(fingerprint.key.id, fingerprint.exact, sizeof fingerprint.key.id);
    *out_fingerprint = fingerprint;
}
