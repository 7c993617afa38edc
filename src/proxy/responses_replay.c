/* proxy/responses_replay.c - see responses.h; response to stream, where there is no tape.
 *
 *   created, in_progress, then each item: added, its parts (added, delta, done, done), done;
 *   completed. Events count from 0. Of an item whose kind tells nothing in between, added and done.
 */
#include "base/slice.h"
#include "proto/sse.h"
#include "proxy/responses.h"

struct telling {
    struct dj_buf *out;
    struct dj_json_writer w;
    uint64_t sequence;
    /* of the item that is told */
    const struct dj_json *item;
    int64_t output_index;
};

static bool has_type(const struct dj_json *value, const char *type)
{
    return dj_slice_is(dj_json_string(dj_json_get(value, "type")), type);
}

static struct dj_json_writer *begin(struct telling *telling, const char *type)
{
    dj_sse_begin(telling->out, deja_slice_text(type));
    telling->w = dj_json_writer(telling->out);
    dj_json_begin_object(&telling->w);
    dj_json_member_text(&telling->w, "type", type);
    dj_json_member_u64(&telling->w, "sequence_number", telling->sequence++);
    return &telling->w;
}

static void end(struct telling *telling)
{
    dj_json_end_object(&telling->w);
    dj_sse_end(telling->out);
}

/* ---- the response around its items ---- */

/* As it was before anything had been said. */
static void put_unfinished(struct dj_json_writer *w, const struct dj_json *response)
{
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(response); dj_json_walk_next(&m);) {
        dj_json_key_slice(w, m.key);
        if (dj_slice_is(m.key, "status"))
            dj_json_put_text(w, "in_progress");
        else if (dj_slice_is(m.key, "output"))
            dj_json_put_raw(w, deja_slice_text("[]"));
        else if (dj_slice_is(m.key, "output_text"))
            dj_json_put_text(w, "");
        else if (dj_slice_is(m.key, "usage") || dj_slice_is(m.key, "completed_at"))
            dj_json_put_null(w);
        else
            dj_json_put_value(w, m.value);
    }
    dj_json_end_object(w);
}

static void tell_response(struct telling *telling, const char *type, const struct dj_json *response,
                          bool is_finished)
{
    struct dj_json_writer *w = begin(telling, type);
    dj_json_key(w, "response");
    if (is_finished)
        dj_json_put_value(w, response);
    else
        put_unfinished(w, response);
    end(telling);
}

/* ---- items ---- */

/* Its members that are told later are empty when it is added. */
static void put_empty_item(struct dj_json_writer *w, const struct dj_json *item)
{
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(item); dj_json_walk_next(&m);) {
        bool is_list = dj_slice_is(m.key, "content") || dj_slice_is(m.key, "summary");
        bool is_text = dj_slice_is(m.key, "arguments") || dj_slice_is(m.key, "input");
        dj_json_key_slice(w, m.key);
        if (dj_slice_is(m.key, "status"))
            dj_json_put_text(w, "in_progress");
        else if (is_list && dj_json_is(m.value, DJ_JSON_ARRAY))
            dj_json_put_raw(w, deja_slice_text("[]"));
        else if (is_text && dj_json_is(m.value, DJ_JSON_STRING))
            dj_json_put_text(w, "");
        else
            dj_json_put_value(w, m.value);
    }
    dj_json_end_object(w);
}

static struct dj_json_writer *begin_in_item(struct telling *telling, const char *type)
{
    const struct dj_json *id = dj_json_get(telling->item, "id");
    struct dj_json_writer *w = begin(telling, type);
    if (id) {
        dj_json_key(w, "item_id");
        dj_json_put_value(w, id);
    }
    dj_json_key(w, "output_index");
    dj_json_put_i64(w, telling->output_index);
    return w;
}

/* How the parts of one kind of item are told. */
struct part_kind {
    const char *type;   /* of the part */
    const char *member; /* that is told in a delta */
    const char *index;  /* what its place is called */
    const char *added;
    const char *delta;
    const char *done; /* with the whole of the member */
    const char *part_done;
};

static const struct part_kind part_kinds[] = {
    {"output_text", "text", "content_index", "response.content_part.added",
     "response.output_text.delta", "response.output_text.done", "response.content_part.done"},
    {"refusal", "refusal", "content_index", "response.content_part.added", "response.refusal.delta",
     "response.refusal.done", "response.content_part.done"},
    {"reasoning_text", "text", "content_index", "response.content_part.added",
     "response.reasoning_text.delta", "response.reasoning_text.done", "response.content_part.done"},
    {"summary_text", "text", "summary_index", "response.reasoning_summary_part.added",
     "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
     "response.reasoning_summary_part.done"},
};

static const struct part_kind *kind_of(const struct dj_json *part)
{
    for (size_t i = 0; i < sizeof part_kinds / sizeof *part_kinds; i++)
        if (has_type(part, part_kinds[i].type) &&
            dj_json_is(dj_json_get(part, part_kinds[i].member), DJ_JSON_STRING))
            return &part_kinds[i];
    return NULL;
}

static struct dj_json_writer *begin_in_part(struct telling *telling, const char *type,
                                            const struct part_kind *kind, int64_t index)
{
    struct dj_json_writer *w = begin_in_item(telling, type);
    dj_json_key(w, kind->index);
    dj_json_put_i64(w, index);
    return w;
}

static void put_empty_part(struct dj_json_writer *w, const struct dj_json *part,
                           const struct part_kind *kind)
{
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(part); dj_json_walk_next(&m);) {
        dj_json_key_slice(w, m.key);
        if (dj_slice_is(m.key, kind->member))
            dj_json_put_text(w, "");
        else if (dj_slice_is(m.key, "annotations") || dj_slice_is(m.key, "logprobs"))
            dj_json_put_raw(w, deja_slice_text("[]"));
        else
            dj_json_put_value(w, m.value);
    }
    dj_json_end_object(w);
}

static void put_logprobs(struct dj_json_writer *w, const struct dj_json *part,
                         const struct part_kind *kind)
{
    const struct dj_json *logprobs = dj_json_get(part, "logprobs");
    if (strcmp(kind->type, "output_text") != 0)
        return;
    dj_json_key(w, "logprobs");
    if (dj_json_is(logprobs, DJ_JSON_ARRAY))
        dj_json_put_value(w, logprobs);
    else
        dj_json_put_raw(w, deja_slice_text("[]"));
}

static void tell_annotations(struct telling *telling, const struct dj_json *part,
                             const struct part_kind *kind, int64_t index)
{
    int64_t at = 0;
    for (struct dj_json_walk m = dj_json_walk(dj_json_get(part, "annotations"));
         dj_json_walk_next(&m); at++) {
        struct dj_json_writer *w =
            begin_in_part(telling, "response.output_text.annotation.added", kind, index);
        dj_json_key(w, "annotation_index");
        dj_json_put_i64(w, at);
        dj_json_key(w, "annotation");
        dj_json_put_value(w, m.value);
        end(telling);
    }
}

static void tell_part(struct telling *telling, const struct dj_json *part, int64_t index)
{
    const struct part_kind *kind = kind_of(part);
    if (!kind)
        return; /* whole in its item */
    struct dj_json_writer *w = begin_in_part(telling, kind->added, kind, index);
    dj_json_key(w, "part");
    put_empty_part(w, part, kind);
    end(telling);
    w = begin_in_part(telling, kind->delta, kind, index);
    dj_json_key(w, "delta");
    dj_json_put_value(w, dj_json_get(part, kind->member));
    put_logprobs(w, part, kind);
    end(telling);
    tell_annotations(telling, part, kind, index);
    w = begin_in_part(telling, kind->done, kind, index);
    dj_json_key(w, kind->member);
    dj_json_put_value(w, dj_json_get(part, kind->member));
    put_logprobs(w, part, kind);
    end(telling);
    w = begin_in_part(telling, kind->part_done, kind, index);
    dj_json_key(w, "part");
    dj_json_put_value(w, part);
    end(telling);
}

static void tell_call(struct telling *telling, const char *member, const char *delta,
                      const char *done)
{
    const struct dj_json *text = dj_json_get(telling->item, member);
    struct dj_json_writer *w = begin_in_item(telling, delta);
    dj_json_key(w, "delta");
    dj_json_put_value(w, text);
    end(telling);
    w = begin_in_item(telling, done);
    dj_json_key(w, member);
    dj_json_put_value(w, text);
    if (dj_json_get(telling->item, "name")) {
        dj_json_key(w, "name");
        dj_json_put_value(w, dj_json_get(telling->item, "name"));
    }
    end(telling);
}

static void tell_parts(struct telling *telling, const char *list)
{
    int64_t index = 0;
    for (struct dj_json_walk part = dj_json_walk(dj_json_get(telling->item, list));
         dj_json_walk_next(&part); index++)
        tell_part(telling, part.value, index);
}

static void tell_whole_item(struct telling *telling, const char *type, bool is_finished)
{
    struct dj_json_writer *w = begin(telling, type);
    dj_json_key(w, "output_index");
    dj_json_put_i64(w, telling->output_index);
    dj_json_key(w, "item");
    if (is_finished)
        dj_json_put_value(w, telling->item);
    else
        put_empty_item(w, telling->item);
    end(telling);
}

static void tell_item(struct telling *telling)
{
    tell_whole_item(telling, "response.output_item.added", false);
    if (has_type(telling->item, "message") || has_type(telling->item, "reasoning")) {
        tell_parts(telling, "summary");
        tell_parts(telling, "content");
    } else if (has_type(telling->item, "function_call")) {
        tell_call(telling, "arguments", "response.function_call_arguments.delta",
                  "response.function_call_arguments.done");
    } else if (has_type(telling->item, "custom_tool_call")) {
        tell_call(telling, "input", "response.custom_tool_call_input.delta",
                  "response.custom_tool_call_input.done");
    }
    tell_whole_item(telling, "response.output_item.done", true);
}

enum deja_status dj_responses_replay(const struct dj_json *object,
                                     const struct dj_replay_options *options,
                                     struct dj_buf *out_sse)
{
    struct telling telling = {.out = out_sse};
    enum deja_status status = dj_tape_play(object, options->tape, dj_responses_resolve, out_sse);
    if (status == DEJA_OK || status == DEJA_ERR_NOMEM)
        return status;
    dj_buf_clear(out_sse);
    tell_response(&telling, "response.created", object, false);
    tell_response(&telling, "response.in_progress", object, false);
    for (struct dj_json_walk item = dj_json_walk(dj_json_get(object, "output"));
         dj_json_walk_next(&item); telling.output_index++) {
        telling.item = item.value;
        tell_item(&telling);
    }
    tell_response(&telling, "response.completed", object, true);
    return out_sse->status;
}
