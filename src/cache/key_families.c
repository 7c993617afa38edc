/* cache/key_families.c - see key.h: keys of Anthropic messages, OpenAI responses and legacy
 * completions.
 *
 * As of chat: all members are in the key but those on a deny-list (WIRE §1.1), so one that is new
 * makes a new key instead of a wrong answer. Of messages, the marks that steer the provider's own
 * cache are left out where the API has them and nowhere else: a tool's schema may have a property
 * of that name.
 */
#include "cache/key_internal.h"

#define MARKS_MAX 64u /* the API allows 4; beyond, they are in the key */

/* ---- Anthropic messages ---- */

static const char *const messages_skip[] = {
    "stream", "metadata", "service_tier", "cache_control", "cache", "cache_skip", NULL};

struct marks {
    const struct dj_json *values[MARKS_MAX];
    size_t count;
};

static void take_marks(const struct dj_json *blocks, unsigned depth, struct marks *marks);

static void take_mark(const struct dj_json *block, unsigned depth, struct marks *marks)
{
    const struct dj_json *mark = dj_json_get(block, "cache_control");
    if (mark && marks->count < MARKS_MAX)
        marks->values[marks->count++] = mark;
    if (depth == 0)
        return;
    take_marks(dj_json_get(block, "content"), depth - 1, marks); /* of a tool's result */
    take_marks(dj_json_get(dj_json_get(block, "source"), "content"), depth - 1, marks);
}

/* Blocks; what is no array has none. */
static void take_marks(const struct dj_json *blocks, unsigned depth, struct marks *marks)
{
    if (!dj_json_is(blocks, DJ_JSON_ARRAY))
        return;
    for (struct dj_json_walk block = dj_json_walk(blocks); dj_json_walk_next(&block);)
        take_mark(block.value, depth, marks);
}

/* A string, or an array of one block of text. */
static const struct dj_json *only_text(const struct dj_json *content, const char *type)
{
    if (dj_json_is(content, DJ_JSON_STRING))
        return content;
    if (!dj_json_is(content, DJ_JSON_ARRAY) || dj_json_count(content) != 1)
        return NULL;
    const struct dj_json *part = dj_json_at(content, 0);
    const struct dj_json *text = dj_json_get(part, "text");
    return dj_key_is_text(dj_json_get(part, "type"), type) && dj_json_is(text, DJ_JSON_STRING)
               ? text
               : NULL;
}

/* content is a string or parts of these types (NULL-terminated) alone. */
static bool has_only(const struct dj_json *content, const char *const *types)
{
    if (!dj_json_is(content, DJ_JSON_ARRAY))
        return dj_json_is(content, DJ_JSON_STRING);
    for (struct dj_json_walk part = dj_json_walk(content); dj_json_walk_next(&part);) {
        const char *const *type = types;
        while (*type && !dj_key_is_text(dj_json_get(part.value, "type"), *type))
            type++;
        if (!*type)
            return false;
    }
    return true;
}

enum deja_status dj_key_messages(const struct dj_key_prefix *prefix, const struct dj_json *root,
                                 struct dj_arena *arena, struct dj_fingerprint *out_fingerprint)
{
    /* Of what was thought before, a question in other words depends as on any text. */
    static const char *const plain[] = {"text", "thinking", "redacted_thinking", NULL};
    const struct dj_json *messages = dj_json_get(root, "messages");
    const struct dj_json *last = NULL;
    struct marks marks = {.count = 0};
    bool is_plain = true;
    if (!dj_json_is(messages, DJ_JSON_ARRAY))
        return DEJA_ERR_INVALID;
    take_marks(dj_json_get(root, "system"), 0, &marks);
    take_marks(dj_json_get(root, "tools"), 0, &marks);
    for (struct dj_json_walk turn = dj_json_walk(messages); dj_json_walk_next(&turn);) {
        const struct dj_json *content = dj_json_get(turn.value, "content");
        take_marks(content, 2, &marks);
        is_plain = is_plain && has_only(content, plain);
        last = turn.value;
    }
    struct dj_key_subject subject = {
        .skip = messages_skip,
        .cut = {marks.values, marks.count},
        .has_history = dj_json_count(messages) > 1,
    };
    if (is_plain && dj_key_is_text(dj_json_get(last, "role"), "user")) {
        subject.text = only_text(dj_json_get(last, "content"), "text");
        subject.is_semantic =
            !dj_key_has_members(root, "tools") && !dj_key_has_members(root, "mcp_servers");
    }
    return dj_key_of_body(prefix, root, &subject, arena, out_fingerprint);
}

/* ---- OpenAI responses ---- */

static bool is_message(const struct dj_json *item)
{
    const struct dj_json *type = dj_json_get(item, "type");
    return !type || dj_key_is_text(type, "message");
}

/* What may be asked in other words of an input that is a list of items. */
static void find_input_text(const struct dj_json *items, struct dj_key_subject *subject)
{
    static const char *const plain[] = {"input_text", "output_text", "refusal", NULL};
    const struct dj_json *last = NULL;
    bool is_plain = true;
    for (struct dj_json_walk item = dj_json_walk(items); dj_json_walk_next(&item);) {
        const struct dj_json *role = dj_json_get(item.value, "role");
        is_plain = is_plain && is_message(item.value) &&
                   has_only(dj_json_get(item.value, "content"), plain);
        if (last && (dj_key_is_text(dj_json_get(last, "role"), "user") ||
                     dj_key_is_text(dj_json_get(last, "role"), "assistant")))
            subject->has_history = true;
        last = item.value;
        if (!role)
            is_plain = false;
    }
    if (is_plain && dj_key_is_text(dj_json_get(last, "role"), "user"))
        subject->text = only_text(dj_json_get(last, "content"), "input_text");
}

enum deja_status dj_key_responses(const struct dj_key_prefix *prefix, const struct dj_json *root,
                                  struct dj_arena *arena, struct dj_fingerprint *out_fingerprint)
{
    const struct dj_json *input = dj_json_get(root, "input");
    struct dj_key_subject subject = {.skip = dj_key_skip,
                                     .is_semantic = !dj_key_has_members(root, "tools")};
    if (dj_json_is(input, DJ_JSON_STRING))
        subject.text = input;
    else if (dj_json_is(input, DJ_JSON_ARRAY))
        find_input_text(input, &subject);
    else
        return DEJA_ERR_INVALID;
    return dj_key_of_body(prefix, root, &subject, arena, out_fingerprint);
}

/* ---- legacy completions ---- */

/* A member that asks for nothing: absent, null, false. */
static bool is_off(const struct dj_json *root, const char *name)
{
    const struct dj_json *value = dj_json_get(root, name);
    return dj_json_type(value) == DJ_JSON_NULL ||
           (dj_json_is(value, DJ_JSON_BOOL) && !dj_json_bool(value, true));
}

enum deja_status dj_key_completions(const struct dj_key_prefix *prefix, const struct dj_json *root,
                                    struct dj_arena *arena, struct dj_fingerprint *out_fingerprint)
{
    const struct dj_json *prompt = dj_json_get(root, "prompt");
    struct dj_key_subject subject = {.skip = dj_key_skip};
    if (!dj_json_is(prompt, DJ_JSON_STRING) && !dj_json_is(prompt, DJ_JSON_ARRAY))
        return DEJA_ERR_INVALID;
    if (dj_json_is(prompt, DJ_JSON_STRING))
        subject.text = prompt;
    /* Echo repeats the prompt and a suffix surrounds what is written: words matter, as they do for
     * log probabilities. */
    subject.is_semantic = is_off(root, "echo") && is_off(root, "suffix") &&
                          is_off(root, "logprobs") && dj_json_i64(dj_json_get(root, "n"), 1) == 1 &&
                          dj_json_i64(dj_json_get(root, "best_of"), 1) == 1;
    return dj_key_of_body(prefix, root, &subject, arena, out_fingerprint);
}
