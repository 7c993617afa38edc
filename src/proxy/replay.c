/* proxy/replay.c - see completion.h; object to stream, and what the write gate asks.
 *
 * Per choice of chat: one event with the role, one per further field of the message (log
 * probabilities ride with the content), one with the finish reason. Of legacy completions: one with
 * all it says, one with the finish reason. Then usage if asked for, then the end.
 */
#include "base/slice.h"
#include "proto/sse.h"
#include "proxy/completion.h"

struct replay {
    const struct dj_json *object;
    const char *chunk; /* what an event calls itself; NULL: as the object does */
    struct dj_buf *out;
    struct dj_json_writer w;
};

/* Opens an event with the members every chunk carries; the caller fills "choices" and ends it. */
static void begin_event(struct replay *replay)
{
    dj_sse_begin(replay->out, deja_slice(NULL, 0));
    replay->w = dj_json_writer(replay->out);
    struct dj_json_writer *w = &replay->w;
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(replay->object); dj_json_walk_next(&m);) {
        if (dj_slice_is(m.key, "choices") || dj_slice_is(m.key, "usage"))
            continue;
        dj_json_key_slice(w, m.key);
        if (replay->chunk && dj_slice_is(m.key, "object"))
            dj_json_put_text(w, replay->chunk);
        else
            dj_json_put_value(w, m.value);
    }
    dj_json_key(w, "choices");
    dj_json_begin_array(w);
}

static void end_event(struct replay *replay)
{
    dj_json_end_object(&replay->w);
    dj_sse_end(replay->out);
}

static enum deja_status finish(struct replay *replay, bool has_usage)
{
    const struct dj_json *usage = dj_json_get(replay->object, "usage");
    if (has_usage && usage) {
        begin_event(replay);
        dj_json_end_array(&replay->w);
        dj_json_key(&replay->w, "usage");
        dj_json_put_value(&replay->w, usage);
        end_event(replay);
    }
    dj_sse_append(replay->out, deja_slice_text("[DONE]"));
    return replay->out->status;
}

/* ---- chat ---- */

static void begin_choice(struct replay *replay, const struct dj_json *choice)
{
    struct dj_json_writer *w = &replay->w;
    begin_event(replay);
    dj_json_begin_object(w);
    dj_json_key(w, "index");
    dj_json_put_i64(w, dj_json_i64(dj_json_get(choice, "index"), 0));
    dj_json_key(w, "delta");
    dj_json_begin_object(w);
}

/* logprobs and finish_reason: NULL writes null, as streams do until the last chunk. */
static void end_choice(struct replay *replay, const struct dj_json *logprobs,
                       const struct dj_json *finish_reason, const struct dj_json *rest)
{
    struct dj_json_writer *w = &replay->w;
    dj_json_end_object(w);
    if (logprobs) {
        dj_json_key(w, "logprobs");
        dj_json_put_value(w, logprobs);
    }
    for (struct dj_json_walk m = dj_json_walk(rest); dj_json_walk_next(&m);) {
        if (dj_slice_is(m.key, "index") || dj_slice_is(m.key, "message") ||
            dj_slice_is(m.key, "logprobs") || dj_slice_is(m.key, "finish_reason"))
            continue;
        dj_json_key_slice(w, m.key);
        dj_json_put_value(w, m.value);
    }
    dj_json_key(w, "finish_reason");
    if (finish_reason)
        dj_json_put_value(w, finish_reason);
    else
        dj_json_put_null(w);
    dj_json_end_object(w);
    dj_json_end_array(w);
    end_event(replay);
}

/* In a stream each tool call tells its place. */
static void put_tool_calls(struct dj_json_writer *w, const struct dj_json *calls)
{
    int64_t index = 0;
    dj_json_begin_array(w);
    for (struct dj_json_walk call = dj_json_walk(calls); dj_json_walk_next(&call); index++) {
        if (!dj_json_is(call.value, DJ_JSON_OBJECT)) {
            dj_json_put_value(w, call.value);
            continue;
        }
        dj_json_begin_object(w);
        dj_json_key(w, "index");
        dj_json_put_i64(w, index);
        for (struct dj_json_walk m = dj_json_walk(call.value); dj_json_walk_next(&m);) {
            if (dj_slice_is(m.key, "index"))
                continue;
            dj_json_key_slice(w, m.key);
            dj_json_put_value(w, m.value);
        }
        dj_json_end_object(w);
    }
    dj_json_end_array(w);
}

static void replay_choice(struct replay *replay, const struct dj_json *choice)
{
    const struct dj_json *message = dj_json_get(choice, "message");
    const struct dj_json *role = dj_json_get(message, "role");
    const struct dj_json *logprobs = dj_json_get(choice, "logprobs");
    if (role) {
        begin_choice(replay, choice);
        dj_json_key(&replay->w, "role");
        dj_json_put_value(&replay->w, role);
        end_choice(replay, NULL, NULL, NULL);
    }
    for (struct dj_json_walk m = dj_json_walk(message); dj_json_walk_next(&m);) {
        if (dj_slice_is(m.key, "role"))
            continue;
        begin_choice(replay, choice);
        dj_json_key_slice(&replay->w, m.key);
        if (dj_slice_is(m.key, "tool_calls") && dj_json_is(m.value, DJ_JSON_ARRAY))
            put_tool_calls(&replay->w, m.value);
        else
            dj_json_put_value(&replay->w, m.value);
        end_choice(replay, dj_slice_is(m.key, "content") ? logprobs : NULL, NULL, NULL);
    }
    begin_choice(replay, choice);
    end_choice(replay, dj_json_get(message, "content") ? NULL : logprobs,
               dj_json_get(choice, "finish_reason"), choice);
}

enum deja_status dj_completion_replay(const struct dj_json *object, bool has_usage,
                                      struct dj_buf *out_sse)
{
    struct replay replay = {.object = object, .chunk = "chat.completion.chunk", .out = out_sse};
    for (struct dj_json_walk c = dj_json_walk(dj_json_get(object, "choices"));
         dj_json_walk_next(&c);)
        replay_choice(&replay, c.value);
    return finish(&replay, has_usage);
}

/* ---- legacy completions ---- */

/* The choice's members; the last event of it says only why it stopped. */
static void replay_text_choice(struct replay *replay, const struct dj_json *choice, bool is_last)
{
    struct dj_json_writer *w = &replay->w;
    begin_event(replay);
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(choice); dj_json_walk_next(&m);) {
        bool is_reason = dj_slice_is(m.key, "finish_reason");
        dj_json_key_slice(w, m.key);
        if (is_last && dj_slice_is(m.key, "text"))
            dj_json_put_text(w, "");
        else if (dj_slice_is(m.key, "index") || is_reason == is_last)
            dj_json_put_value(w, m.value);
        else
            dj_json_put_null(w);
    }
    dj_json_end_object(w);
    dj_json_end_array(w);
    end_event(replay);
}

enum deja_status dj_text_completion_replay(const struct dj_json *object, bool has_usage,
                                           struct dj_buf *out_sse)
{
    struct replay replay = {.object = object, .out = out_sse};
    for (struct dj_json_walk c = dj_json_walk(dj_json_get(object, "choices"));
         dj_json_walk_next(&c);) {
        if (!dj_json_is(c.value, DJ_JSON_OBJECT))
            continue;
        replay_text_choice(&replay, c.value, false);
        replay_text_choice(&replay, c.value, true);
    }
    return finish(&replay, has_usage);
}

/* ---- what the write gate asks ---- */

static void inspect_rest(const struct dj_json *object, struct dj_answer_facts *facts)
{
    const struct dj_json *usage = dj_json_get(object, "usage");
    facts->model = dj_json_string(dj_json_get(object, "model"));
    facts->input_tokens = dj_answer_tokens(usage, "prompt_tokens");
    facts->output_tokens = dj_answer_tokens(usage, "completion_tokens");
    facts->cached_tokens =
        dj_answer_tokens(dj_json_get(usage, "prompt_tokens_details"), "cached_tokens");
}

static bool has_text(const struct dj_json *value)
{
    return dj_json_string(value).len > 0;
}

static void inspect_choice(const struct dj_json *choice, struct dj_answer_facts *facts)
{
    const struct dj_json *message = dj_json_get(choice, "message");
    struct deja_slice reason = dj_json_string(dj_json_get(choice, "finish_reason"));
    facts->choice_count++;
    facts->has_length = facts->has_length || dj_slice_is(reason, "length");
    facts->has_content_filter = facts->has_content_filter || dj_slice_is(reason, "content_filter");
    if (!dj_slice_is(reason, "stop") && !dj_slice_is(reason, "tool_calls") &&
        !dj_slice_is(reason, "function_call"))
        facts->is_every_choice_stopped = false;
    if (dj_json_count(dj_json_get(message, "tool_calls")) > 0 ||
        dj_json_is(dj_json_get(message, "function_call"), DJ_JSON_OBJECT))
        facts->has_tool_calls = true;
    if (has_text(dj_json_get(message, "refusal")))
        facts->has_refusal = true;
    const struct dj_json *content = dj_json_get(message, "content");
    if (has_text(content) || dj_json_count(content) > 0 ||
        dj_json_is(dj_json_get(message, "audio"), DJ_JSON_OBJECT))
        facts->has_content = true;
}

void dj_completion_inspect(const struct dj_json *object, struct dj_answer_facts *out_facts)
{
    struct dj_answer_facts facts = {.is_every_choice_stopped = true};
    for (struct dj_json_walk c = dj_json_walk(dj_json_get(object, "choices"));
         dj_json_walk_next(&c);)
        inspect_choice(c.value, &facts);
    facts.has_content = facts.has_content || facts.has_tool_calls;
    facts.is_moderated = dj_json_is(dj_json_get(object, "moderation"), DJ_JSON_OBJECT);
    inspect_rest(object, &facts);
    *out_facts = facts;
}

void dj_text_completion_inspect(const struct dj_json *object, struct dj_answer_facts *out_facts)
{
    struct dj_answer_facts facts = {.is_every_choice_stopped = true};
    for (struct dj_json_walk c = dj_json_walk(dj_json_get(object, "choices"));
         dj_json_walk_next(&c);) {
        struct deja_slice reason = dj_json_string(dj_json_get(c.value, "finish_reason"));
        facts.choice_count++;
        facts.has_length |= dj_slice_is(reason, "length");
        facts.has_content_filter |= dj_slice_is(reason, "content_filter");
        facts.is_every_choice_stopped &= dj_slice_is(reason, "stop");
        facts.has_content |= dj_json_string(dj_json_get(c.value, "text")).len > 0;
    }
    inspect_rest(object, &facts);
    *out_facts = facts;
}

bool dj_completion_is_usage_only(struct deja_slice event_data)
{
    struct dj_json_doc *doc = NULL;
    if (!event_data.len || event_data.data[0] != '{' ||
        dj_json_parse(event_data, &doc, NULL) != DEJA_OK)
        return false;
    const struct dj_json *root = dj_json_root(doc);
    const struct dj_json *choices = dj_json_get(root, "choices");
    bool is_usage = dj_json_is(choices, DJ_JSON_ARRAY) && dj_json_count(choices) == 0 &&
                    dj_json_is(dj_json_get(root, "usage"), DJ_JSON_OBJECT);
    dj_json_doc_destroy(doc);
    return is_usage;
}
