/* daemon/channel_message.c - see channel_message.h. */
#include "daemon/channel_message.h"

#include "base/num.h"
#include "base/slice.h"
#include "cache/plain.h"
#include "policy/glob.h"
#include "text/question.h"

#define ARENA_BYTES_MAX (1u << 20)

static const char *const members[] = {"key",     "pattern", "tag",     "namespace", "all",
                                      "cascade", "event",   "reason",  "tenant",    "from",
                                      "kind",    "time",    "removed", "source",    "name"};

static bool is_known(struct deja_slice name)
{
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (dj_slice_is(name, members[i]))
            return true;
    return false;
}

/* A text member without control characters; false: it is something else, or too long. */
static bool read_text(const struct dj_json *root, const char *name, size_t len_max,
                      struct deja_slice *out_text)
{
    const struct dj_json *value = dj_json_get(root, name);
    *out_text = dj_json_string(value);
    if (!value || dj_json_is(value, DJ_JSON_NULL))
        return true;
    return out_text->data && out_text->len <= len_max && dj_question_is_name(*out_text);
}

static const char *read_tenant(const struct dj_json *root, const struct dj_channel_rules *rules,
                               uint8_t out_tenant[DJ_TENANT_BYTES])
{
    struct deja_slice text;
    if (!read_text(root, "tenant", DJ_TENANT_TEXT_BYTES, &text))
        return "tenant must be a tenant's id";
    if (!text.len && rules->is_unnamed_refused)
        return "it names no tenant (invalidations.refuse_unnamed)";
    if (!text.len && rules->tenant)
        text = deja_slice_text(rules->tenant);
    if (!text.len)
        dj_tenant_derive(rules->root, deja_slice(NULL, 0), out_tenant);
    else if (dj_tenant_parse(text, out_tenant) != DEJA_OK)
        return "tenant must be a tenant's id";
    return NULL;
}

static const char *read_event(const struct dj_json *event, const struct dj_channel_rules *rules,
                              struct dj_channel_message *message)
{
    struct dj_kind_field fields[DJ_KIND_FIELDS_MAX];
    size_t count = 0;
    bool is_object = dj_json_is(event, DJ_JSON_OBJECT);
    struct deja_slice name = dj_json_string(is_object ? dj_json_get(event, "name") : event);
    for (struct dj_json_walk w = dj_json_walk(is_object ? event : NULL); dj_json_walk_next(&w);) {
        struct deja_slice value = dj_json_string(w.value);
        if (dj_slice_is(w.key, "name"))
            continue;
        if (!value.len || value.len > DJ_KIND_TEXT_MAX || count == DJ_KIND_FIELDS_MAX)
            return "event carries at most 8 texts";
        fields[count++] = (struct dj_kind_field){.name = w.key, .value = value};
    }
    if (!name.len || !rules->kinds)
        return "event must be a name, or an object with one";
    switch (dj_invalidation_set_event(&message->order, rules->kinds, name, fields, count,
                                      &message->arena)) {
    case DEJA_OK:
        return NULL;
    case DEJA_ERR_NOT_FOUND:
        return "no kind names that event";
    default:
        return "event voids too much, or nothing";
    }
}

/* "key": the name of a plain key; or, of 32 hex digits, the id of an entry. */
static void read_key(struct deja_slice key, struct dj_channel_message *message)
{
    struct dj_invalidation *order = &message->order;
    memcpy(order->key.tenant, message->tenant, sizeof order->key.tenant);
    order->kind = "key";
    order->name = key;
    if (key.len == 2 * DJ_ID_BYTES && dj_hex_decode(key, order->key.id, DJ_ID_BYTES) == DEJA_OK) {
        order->has_key = true;
        order->kind = "entry";
    } else {
        message->plain_key = key;
    }
}

static const char *read_what(const struct dj_json *root, const struct dj_channel_rules *rules,
                             struct dj_channel_message *message)
{
    struct dj_invalidation *order = &message->order;
    struct dj_selector *selector = &order->selector;
    const struct dj_json *event = dj_json_get(root, "event");
    const struct dj_json *cascade = dj_json_get(root, "cascade");
    const struct dj_json *name_space = dj_json_get(root, "namespace");
    bool is_all = dj_json_bool(dj_json_get(root, "all"), false);
    struct deja_slice key;
    if (!read_text(root, "key", DJ_PLAIN_KEY_BYTES_MAX, &key) ||
        !read_text(root, "pattern", DJ_GLOB_PATTERN_BYTES_MAX, &selector->pattern) ||
        !read_text(root, "tag", 256, &selector->tag) ||
        !read_text(root, "namespace", 128, &selector->name_space) ||
        !read_text(root, "reason", DJ_NOTICE_REASON_BYTES_MAX, &order->reason))
        return "a member is no text, too long, or has control characters";
    if (dj_json_is(cascade, DJ_JSON_STRING))
        order->cascade_name = dj_json_string(cascade);
    order->is_cascade = order->cascade_name.len || dj_json_bool(cascade, false);
    if (order->cascade_name.len > DJ_DEPENDS_NAME_BYTES_MAX)
        return "cascade is too long";
    selector->has_name_space =
        name_space && !dj_json_is(name_space, DJ_JSON_NULL) && !key.len && !is_all;
    int ways = (key.len > 0) + (selector->pattern.len > 0) + (selector->tag.len > 0) + is_all +
               (event != NULL) + (order->cascade_name.len > 0);
    if (ways != 1 && !(ways == 0 && selector->has_name_space))
        return "it must say one of key, pattern, tag, event, cascade, namespace, all";
    order->kind = selector->pattern.len     ? "pattern"
                  : selector->tag.len       ? "tag"
                  : is_all                  ? "all"
                  : event                   ? "event"
                  : order->cascade_name.len ? "cascade"
                                            : "namespace";
    if (!selector->pattern.len)
        selector->pattern = deja_slice(NULL, 0);
    if (key.len)
        read_key(key, message);
    return event ? read_event(event, rules, message) : NULL;
}

const char *dj_channel_message_read(struct deja_slice text, const struct dj_channel_rules *rules,
                                    struct dj_channel_message *out_message)
{
    struct dj_channel_message *message = out_message;
    const char *trouble = NULL;
    *message = (struct dj_channel_message){.doc = NULL};
    dj_arena_init(&message->arena, ARENA_BYTES_MAX);
    if (dj_json_parse(text, &message->doc, NULL) != DEJA_OK)
        return "it is not JSON";
    const struct dj_json *root = dj_json_root(message->doc);
    if (!dj_json_is(root, DJ_JSON_OBJECT))
        trouble = "it is no JSON object";
    for (struct dj_json_walk w = dj_json_walk(trouble ? NULL : root); dj_json_walk_next(&w);)
        if (!is_known(w.key))
            trouble = "it has a member that is not known";
    if (!trouble && !read_text(root, "from", 64, &message->from))
        trouble = "from is no text";
    if (!trouble)
        trouble = read_tenant(root, rules, message->tenant);
    if (!trouble && message->from.len) /* of Deja: which entry, if it is one */
        message->order.has_key = dj_slice_is(dj_json_string(dj_json_get(root, "kind")), "entry") &&
                                 dj_hex_decode(dj_json_string(dj_json_get(root, "key")),
                                               message->order.key.id, DJ_ID_BYTES) == DEJA_OK;
    else if (!trouble)
        trouble = read_what(root, rules, message);
    memcpy(message->order.key.tenant, message->tenant, sizeof message->tenant);
    if (trouble)
        dj_channel_message_fini(message);
    return trouble;
}

void dj_channel_message_fini(struct dj_channel_message *message)
{
    dj_json_doc_destroy(message->doc);
    dj_arena_fini(&message->arena);
    *message = (struct dj_channel_message){.doc = NULL};
}

void dj_channel_message_write(const struct dj_notice *notice, const char *node, struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    char tenant[DJ_TENANT_TEXT_BYTES];
    dj_tenant_text(notice->tenant, tenant);
    dj_json_begin_object(&w);
    dj_notice_put_text(&w, "key", notice->name);
    dj_notice_put_text(&w, "reason", notice->reason);
    dj_json_member_text(&w, "kind", notice->kind);
    dj_json_member_text(&w, "tenant", tenant);
    dj_json_key(&w, "namespace");
    if (notice->name_space.data)
        dj_json_put_string(&w, notice->name_space);
    else
        dj_json_put_null(&w);
    dj_json_member_u64(&w, "removed", notice->removed);
    dj_json_member_text(&w, "from", node);
    dj_json_end_object(&w);
}
