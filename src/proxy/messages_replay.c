/* proxy/messages_replay.c - see messages.h; message to stream, what its tape may refer to, and what
 * the write gate asks.
 *
 * A message that came whole is told as the API would: each block opened without what is told in
 * deltas, one delta for each thing it says, closed; then why it stopped and the counters.
 */
#include "base/slice.h"
#include "proto/sse.h"
#include "proxy/messages.h"

struct telling {
    struct dj_buf *out;
    struct dj_json_writer w;
};

static bool has_end(struct deja_slice text, const char *end)
{
    size_t len = strlen(end);
    return text.len >= len && memcmp(text.data + text.len - len, end, len) == 0;
}

static struct dj_json_writer *begin(struct telling *telling, const char *type)
{
    dj_sse_begin(telling->out, deja_slice_text(type));
    telling->w = dj_json_writer(telling->out);
    dj_json_begin_object(&telling->w);
    dj_json_member_text(&telling->w, "type", type);
    return &telling->w;
}

static void end(struct telling *telling)
{
    dj_json_end_object(&telling->w);
    dj_sse_end(telling->out);
}

/* ---- blocks ---- */

/* Members of a block that are told in deltas, and how. */
static const struct {
    const char *member;
    const char *type; /* of the delta */
    const char *name; /* in the delta */
} in_deltas[] = {
    {"text", "text_delta", "text"},
    {"thinking", "thinking_delta", "thinking"},
    {"signature", "signature_delta", "signature"},
    {"input", "input_json_delta", "partial_json"},
    {"citations", "citations_delta", "citation"},
};
#define IN_DELTAS (sizeof in_deltas / sizeof *in_deltas)

/* Which of them this member is; IN_DELTAS: none, it is told when the block is opened. */
static size_t delta_of(struct deja_slice type, struct deja_slice name, const struct dj_json *value)
{
    bool is_text = dj_slice_is(type, "text");
    bool is_thinking = dj_slice_is(type, "thinking");
    if (dj_json_is(value, DJ_JSON_STRING)) {
        if (is_text && dj_slice_is(name, "text"))
            return 0;
        if (is_thinking && dj_slice_is(name, "thinking"))
            return 1;
        if (is_thinking && dj_slice_is(name, "signature"))
            return 2;
    }
    if (dj_slice_is(name, "input") && has_end(type, "tool_use") &&
        dj_json_is(value, DJ_JSON_OBJECT))
        return 3;
    if (is_text && dj_slice_is(name, "citations") && dj_json_count(value) > 0)
        return 4;
    return IN_DELTAS;
}

static void begin_block(struct telling *telling, int64_t index, const struct dj_json *block)
{
    struct deja_slice type = dj_json_string(dj_json_get(block, "type"));
    struct dj_json_writer *w = begin(telling, "content_block_start");
    dj_json_key(w, "index");
    dj_json_put_i64(w, index);
    dj_json_key(w, "content_block");
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(block); dj_json_walk_next(&m);) {
        size_t delta = delta_of(type, m.key, m.value);
        dj_json_key_slice(w, m.key);
        if (delta < 3)
            dj_json_put_text(w, "");
        else if (delta < IN_DELTAS)
            dj_json_put_raw(w, deja_slice_text(delta == 3 ? "{}" : "[]"));
        else
            dj_json_put_value(w, m.value);
    }
    dj_json_end_object(w);
    end(telling);
}

static struct dj_json_writer *begin_delta(struct telling *telling, int64_t index, size_t delta)
{
    struct dj_json_writer *w = begin(telling, "content_block_delta");
    dj_json_key(w, "index");
    dj_json_put_i64(w, index);
    dj_json_key(w, "delta");
    dj_json_begin_object(w);
    dj_json_member_text(w, "type", in_deltas[delta].type);
    dj_json_key(w, in_deltas[delta].name);
    return w;
}

static void end_delta(struct telling *telling)
{
    dj_json_end_object(&telling->w);
    end(telling);
}

static void tell_input(struct telling *telling, int64_t index, const struct dj_json *input)
{
    struct dj_buf text = {0};
    struct dj_json_writer inner = dj_json_writer(&text);
    if (dj_json_count(input) > 0)
        dj_json_put_value(&inner, input);
    if (text.status != DEJA_OK)
        telling->out->status = text.status;
    dj_json_put_string(begin_delta(telling, index, 3), dj_buf_slice(&text));
    end_delta(telling);
    dj_buf_fini(&text);
}

static void tell_block(struct telling *telling, int64_t index, const struct dj_json *block)
{
    struct deja_slice type = dj_json_string(dj_json_get(block, "type"));
    begin_block(telling, index, block);
    for (struct dj_json_walk m = dj_json_walk(block); dj_json_walk_next(&m);) {
        size_t delta = delta_of(type, m.key, m.value);
        if (delta < 3) {
            dj_json_put_value(begin_delta(telling, index, delta), m.value);
            end_delta(telling);
        } else if (delta == 3) {
            tell_input(telling, index, m.value);
        } else if (delta == 4) {
            for (struct dj_json_walk c = dj_json_walk(m.value); dj_json_walk_next(&c);) {
                dj_json_put_value(begin_delta(telling, index, delta), c.value);
                end_delta(telling);
            }
        }
    }
    dj_json_key(begin(telling, "content_block_stop"), "index");
    dj_json_put_i64(&telling->w, index);
    end(telling);
}

/* ---- the message around them ---- */

/* Said at the end, as it is known only then. */
static bool is_of_end(struct deja_slice name)
{
    return dj_slice_is(name, "stop_reason") || dj_slice_is(name, "stop_sequence") ||
           dj_slice_is(name, "stop_details") || dj_slice_is(name, "container");
}

/* At the start hardly anything has been written yet. */
static void tell_usage_at_start(struct dj_json_writer *w, const struct dj_json *usage)
{
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(usage); dj_json_walk_next(&m);) {
        dj_json_key_slice(w, m.key);
        if (dj_slice_is(m.key, "output_tokens") && dj_json_i64(m.value, 0) > 1)
            dj_json_put_i64(w, 1);
        else
            dj_json_put_value(w, m.value);
    }
    dj_json_end_object(w);
}

static void tell_start(struct telling *telling, const struct dj_json *message)
{
    struct dj_json_writer *w = begin(telling, "message_start");
    dj_json_key(w, "message");
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(message); dj_json_walk_next(&m);) {
        dj_json_key_slice(w, m.key);
        if (dj_slice_is(m.key, "content"))
            dj_json_put_raw(w, deja_slice_text("[]"));
        else if (is_of_end(m.key))
            dj_json_put_null(w);
        else if (dj_slice_is(m.key, "usage") && dj_json_is(m.value, DJ_JSON_OBJECT))
            tell_usage_at_start(w, m.value);
        else
            dj_json_put_value(w, m.value);
    }
    dj_json_end_object(w);
    end(telling);
}

static void tell_end(struct telling *telling, const struct dj_json *message)
{
    const struct dj_json *usage = dj_json_get(message, "usage");
    struct dj_json_writer *w = begin(telling, "message_delta");
    dj_json_key(w, "delta");
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(message); dj_json_walk_next(&m);) {
        if (!is_of_end(m.key))
            continue;
        dj_json_key_slice(w, m.key);
        dj_json_put_value(w, m.value);
    }
    dj_json_end_object(w);
    if (usage) {
        dj_json_key(w, "usage");
        dj_json_put_value(w, usage);
    }
    end(telling);
    begin(telling, "message_stop");
    end(telling);
}

enum deja_status dj_messages_replay(const struct dj_json *object,
                                    const struct dj_replay_options *options, struct dj_buf *out_sse)
{
    struct telling telling = {.out = out_sse};
    int64_t index = 0;
    enum deja_status status = dj_tape_play(object, options->tape, dj_messages_resolve, out_sse);
    if (status == DEJA_OK || status == DEJA_ERR_NOMEM)
        return status;
    dj_buf_clear(out_sse);
    tell_start(&telling, object);
    for (struct dj_json_walk block = dj_json_walk(dj_json_get(object, "content"));
         dj_json_walk_next(&block); index++)
        tell_block(&telling, index, block.value);
    tell_end(&telling, object);
    return out_sse->status;
}

/* ---- the tape ---- */

struct dj_tape_reference dj_messages_resolve(const struct dj_json *object,
                                             const struct dj_tape_place *place,
                                             struct deja_slice parent, struct deja_slice name)
{
    const struct dj_json *content = dj_json_get(object, "content");
    const struct dj_json *block =
        place->index >= 0 ? dj_json_at(content, (size_t)place->index) : NULL;
    bool is_of_block = dj_slice_is(place->type, "content_block_start") ||
                       dj_slice_is(place->type, "content_block_delta");
    const struct dj_json *source = is_of_block ? block : object;
    if (!parent.len)
        return (struct dj_tape_reference){
            .value = dj_slice_is(name, "usage") ? dj_json_get(object, "usage")
                     : dj_slice_is(name, "message") || dj_slice_is(name, "content_block") ||
                             dj_slice_is(name, "delta")
                         ? source
                         : NULL};
    if (dj_slice_is(parent, "usage"))
        source = dj_json_get(object, "usage");
    return (struct dj_tape_reference){
        .value = dj_json_get_slice(source, name),
        .is_in_pieces =
            is_of_block && (dj_slice_is(name, "text") || dj_slice_is(name, "thinking") ||
                            dj_slice_is(name, "signature")),
    };
}

/* ---- what the write gate asks ---- */

static void inspect_block(const struct dj_json *block, struct dj_answer_facts *facts)
{
    struct deja_slice type = dj_json_string(dj_json_get(block, "type"));
    if (dj_slice_is(type, "text"))
        facts->has_content |= dj_json_string(dj_json_get(block, "text")).len > 0;
    else if (dj_slice_is(type, "thinking") || dj_slice_is(type, "redacted_thinking"))
        facts->is_signed = true;
    else if (dj_slice_is(type, "tool_use"))
        facts->has_tool_calls = true;
    else if (has_end(type, "tool_use") || has_end(type, "tool_result"))
        facts->has_hosted_tools = true;
}

void dj_messages_inspect(const struct dj_json *object, struct dj_answer_facts *out_facts)
{
    struct dj_answer_facts facts = {.choice_count = 1};
    const struct dj_json *content = dj_json_get(object, "content");
    const struct dj_json *usage = dj_json_get(object, "usage");
    struct deja_slice reason = dj_json_string(dj_json_get(object, "stop_reason"));
    if (!dj_slice_is(dj_json_string(dj_json_get(object, "type")), "message") ||
        !dj_json_is(content, DJ_JSON_ARRAY))
        facts.choice_count = 0; /* an error, or something else */
    for (struct dj_json_walk block = dj_json_walk(content); dj_json_walk_next(&block);)
        inspect_block(block.value, &facts);
    facts.has_tool_calls |= dj_slice_is(reason, "tool_use");
    facts.has_refusal = dj_slice_is(reason, "refusal");
    facts.has_length =
        dj_slice_is(reason, "max_tokens") || dj_slice_is(reason, "model_context_window_exceeded");
    facts.is_every_choice_stopped = dj_slice_is(reason, "end_turn") ||
                                    dj_slice_is(reason, "stop_sequence") ||
                                    dj_slice_is(reason, "tool_use") || facts.has_refusal;
    facts.has_content |= facts.has_tool_calls;
    facts.model = dj_json_string(dj_json_get(object, "model"));
    /* What was read from or written to the provider's own cache was sent all the same. */
    uint64_t input = (uint64_t)dj_answer_tokens(usage, "input_tokens") +
                     dj_answer_tokens(usage, "cache_creation_input_tokens") +
                     dj_answer_tokens(usage, "cache_read_input_tokens");
    facts.cached_tokens = dj_answer_tokens(usage, "cache_read_input_tokens");
    facts.input_tokens = input > UINT32_MAX ? UINT32_MAX : (uint32_t)input;
    facts.output_tokens = dj_answer_tokens(usage, "output_tokens");
    *out_facts = facts;
}
