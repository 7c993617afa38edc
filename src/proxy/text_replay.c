/* proxy/text_replay.c - see completion.h; legacy completions: object to stream, and what the write
 * gate asks.
 *
 * Per choice: one event with all it says, one with the finish reason. Then usage if asked for, then
 * the end.
 */
#include "base/slice.h"
#include "proto/sse.h"
#include "proxy/completion.h"

struct telling {
    const struct dj_json *object;
    struct dj_buf *out;
    struct dj_buf event;
    struct dj_json_writer w;
};

static struct dj_json_writer *begin(struct telling *telling)
{
    dj_buf_clear(&telling->event);
    telling->w = dj_json_writer(&telling->event);
    dj_json_begin_object(&telling->w);
    for (struct dj_json_walk m = dj_json_walk(telling->object); dj_json_walk_next(&m);) {
        if (dj_slice_is(m.key, "choices") || dj_slice_is(m.key, "usage"))
            continue;
        dj_json_key_slice(&telling->w, m.key);
        dj_json_put_value(&telling->w, m.value);
    }
    dj_json_key(&telling->w, "choices");
    dj_json_begin_array(&telling->w);
    return &telling->w;
}

static void end(struct telling *telling)
{
    dj_json_end_object(&telling->w);
    if (telling->event.status != DEJA_OK)
        telling->out->status = telling->event.status;
    dj_sse_append(telling->out, dj_buf_slice(&telling->event));
}

/* The choice's members; the last event of it says only why it stopped. */
static void tell_choice(struct telling *telling, const struct dj_json *choice, bool is_last)
{
    struct dj_json_writer *w = begin(telling);
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
    end(telling);
}

enum deja_status dj_text_completion_replay(const struct dj_json *object, bool has_usage,
                                           struct dj_buf *out_sse)
{
    struct telling telling = {.object = object, .out = out_sse};
    for (struct dj_json_walk c = dj_json_walk(dj_json_get(object, "choices"));
         dj_json_walk_next(&c);) {
        if (!dj_json_is(c.value, DJ_JSON_OBJECT))
            continue;
        tell_choice(&telling, c.value, false);
        tell_choice(&telling, c.value, true);
    }
    if (has_usage && dj_json_get(object, "usage")) {
        struct dj_json_writer *w = begin(&telling);
        dj_json_end_array(w);
        dj_json_key(w, "usage");
        dj_json_put_value(w, dj_json_get(object, "usage"));
        end(&telling);
    }
    dj_sse_append(out_sse, deja_slice_text("[DONE]"));
    dj_buf_fini(&telling.event);
    return out_sse->status;
}

void dj_text_completion_inspect(const struct dj_json *object, struct dj_answer_facts *out_facts)
{
    const struct dj_json *usage = dj_json_get(object, "usage");
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
    facts.model = dj_json_string(dj_json_get(object, "model"));
    facts.input_tokens = dj_answer_tokens(usage, "prompt_tokens");
    facts.cached_tokens =
        dj_answer_tokens(dj_json_get(usage, "prompt_tokens_details"), "cached_tokens");
    facts.output_tokens = dj_answer_tokens(usage, "completion_tokens");
    *out_facts = facts;
}
