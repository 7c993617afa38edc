/* proxy/responses.c - see responses.h; stream to response, what its tape may refer to, and what the
 * write gate asks. */
#include "proxy/responses.h"

#include "base/slice.h"
#include "proto/sse.h"

#define EVENT_BYTES_MAX (16u << 20)

struct making {
    struct dj_json_doc *end; /* the event that ends it */
    bool is_started;
    enum deja_status status;
};

static bool is_end(struct deja_slice type)
{
    return dj_slice_is(type, "response.completed") || dj_slice_is(type, "response.incomplete") ||
           dj_slice_is(type, "response.failed");
}

/* Some gateways end every stream as chat streams do. */
static bool is_done_mark(struct deja_slice data)
{
    return data.len == 6 && memcmp(data.data, "[DONE]", 6) == 0;
}

static bool on_event(void *ctx, const struct dj_sse_event *event)
{
    struct making *making = ctx;
    struct dj_json_doc *doc = NULL;
    if (!event->data.len || (making->end && is_done_mark(event->data)))
        return true;
    enum deja_status status = dj_json_parse(event->data, &doc, NULL);
    struct deja_slice type = dj_json_string(dj_json_get(dj_json_root(doc), "type"));
    bool is_sane = status == DEJA_OK && type.len > 0 && !making->end && !dj_slice_is(type, "error");
    if (is_sane && is_end(type)) {
        is_sane = making->is_started &&
                  dj_json_is(dj_json_get(dj_json_root(doc), "response"), DJ_JSON_OBJECT);
        if (is_sane) {
            making->end = doc;
            doc = NULL;
        }
    }
    making->is_started = true;
    if (!is_sane)
        making->status = status == DEJA_OK ? DEJA_ERR_INVALID : status;
    dj_json_doc_destroy(doc);
    return making->status == DEJA_OK;
}

/* A stream too long for a tape is told from the response. */
static enum deja_status record(struct deja_slice sse, struct dj_assembly *assembly)
{
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_json_parse(dj_buf_slice(&assembly->object), &doc, NULL);
    if (status == DEJA_OK)
        status = dj_tape_record(sse, dj_json_root(doc), dj_responses_resolve, &assembly->tape);
    if (status != DEJA_OK && status != DEJA_ERR_NOMEM) {
        dj_buf_fini(&assembly->tape);
        status = DEJA_OK;
    }
    dj_json_doc_destroy(doc);
    return status;
}

enum deja_status dj_responses_assemble(struct deja_slice sse, struct dj_assembly *out_assembly)
{
    struct making making = {.end = NULL};
    struct dj_assembly assembly = {.is_done = false};
    struct dj_sse_parser parser;
    dj_sse_init(&parser, EVENT_BYTES_MAX);
    enum deja_status status = dj_sse_feed(&parser, sse, &making, on_event);
    if (making.status != DEJA_OK)
        status = making.status;
    if (status == DEJA_OK && (!making.is_started || !dj_sse_is_at_boundary(&parser)))
        status = DEJA_ERR_INVALID;
    if (status == DEJA_OK && making.end) {
        struct dj_json_writer w = dj_json_writer(&assembly.object);
        dj_json_put_value(&w, dj_json_get(dj_json_root(making.end), "response"));
        assembly.is_done = true;
        status = assembly.object.status;
        if (status == DEJA_OK)
            status = record(sse, &assembly);
    }
    dj_sse_fini(&parser);
    dj_json_doc_destroy(making.end);
    if (status == DEJA_OK)
        *out_assembly = assembly;
    else
        dj_assembly_fini(&assembly);
    return status;
}

/* ---- the tape ---- */

static const struct dj_json *item_of(const struct dj_json *array, int64_t index)
{
    return index >= 0 ? dj_json_at(array, (size_t)index) : NULL;
}

/* What a member of the event itself repeats. */
static struct dj_tape_reference resolve_root(const struct dj_json *object,
                                             const struct dj_tape_place *place,
                                             struct deja_slice name)
{
    static const struct {
        const char *type;
        const char *member; /* of the item or its part: what is told in pieces */
        bool is_of_item;
    } pieces[] = {
        {"response.output_text.delta", "text", false},
        {"response.refusal.delta", "refusal", false},
        {"response.reasoning_text.delta", "text", false},
        {"response.reasoning_summary_text.delta", "text", false},
        {"response.function_call_arguments.delta", "arguments", true},
        {"response.mcp_call_arguments.delta", "arguments", true},
        {"response.custom_tool_call_input.delta", "input", true},
        {"response.code_interpreter_call_code.delta", "code", true},
    };
    static const char *const of_item[] = {"arguments", "input", "code", "name", NULL};
    const struct dj_json *item = item_of(dj_json_get(object, "output"), place->output_index);
    const struct dj_json *part = place->summary_index >= 0
                                     ? item_of(dj_json_get(item, "summary"), place->summary_index)
                                     : item_of(dj_json_get(item, "content"), place->content_index);
    if (dj_slice_is(name, "response"))
        return (struct dj_tape_reference){.value = object};
    if (dj_slice_is(name, "item"))
        return (struct dj_tape_reference){.value = item};
    if (dj_slice_is(name, "part"))
        return (struct dj_tape_reference){.value = part};
    if (dj_slice_is(name, "item_id"))
        return (struct dj_tape_reference){.value = dj_json_get(item, "id")};
    if (dj_slice_is(name, "text") || dj_slice_is(name, "refusal"))
        return (struct dj_tape_reference){.value = dj_json_get_slice(part, name)};
    for (const char *const *of = of_item; *of; of++)
        if (dj_slice_is(name, *of))
            return (struct dj_tape_reference){.value = dj_json_get(item, *of)};
    for (size_t i = 0; dj_slice_is(name, "delta") && i < sizeof pieces / sizeof *pieces; i++)
        if (dj_slice_is(place->type, pieces[i].type))
            return (struct dj_tape_reference){
                .value = dj_json_get(pieces[i].is_of_item ? item : part, pieces[i].member),
                .is_in_pieces = true};
    return (struct dj_tape_reference){.value = NULL};
}

struct dj_tape_reference dj_responses_resolve(const struct dj_json *object,
                                              const struct dj_tape_place *place,
                                              struct deja_slice parent, struct deja_slice name)
{
    if (!parent.len)
        return resolve_root(object, place, name);
    const struct dj_tape_reference of = resolve_root(object, place, parent);
    return (struct dj_tape_reference){.value = dj_json_get_slice(of.value, name)};
}

/* ---- what the write gate asks ---- */

static void inspect_part(const struct dj_json *part, struct dj_answer_facts *facts)
{
    facts->has_content |= dj_json_string(dj_json_get(part, "text")).len > 0;
    facts->has_refusal |= dj_slice_is(dj_json_string(dj_json_get(part, "type")), "refusal");
}

static void inspect_item(const struct dj_json *item, struct dj_answer_facts *facts)
{
    struct deja_slice type = dj_json_string(dj_json_get(item, "type"));
    const struct dj_json *status = dj_json_get(item, "status");
    if (dj_slice_is(type, "message")) {
        for (struct dj_json_walk part = dj_json_walk(dj_json_get(item, "content"));
             dj_json_walk_next(&part);)
            inspect_part(part.value, facts);
    } else if (dj_slice_is(type, "function_call") || dj_slice_is(type, "custom_tool_call") ||
               dj_slice_is(type, "local_shell_call") || dj_slice_is(type, "shell_call") ||
               dj_slice_is(type, "apply_patch_call") || dj_slice_is(type, "computer_call")) {
        facts->has_tool_calls = true;
    } else if (dj_slice_is(type, "reasoning")) {
        facts->is_signed |= dj_json_string(dj_json_get(item, "encrypted_content")).len > 0;
    } else {
        facts->has_hosted_tools = true; /* searches and their like, and what is not known */
    }
    if (status && dj_json_type(status) != DJ_JSON_NULL &&
        !dj_slice_is(dj_json_string(status), "completed"))
        facts->is_every_choice_stopped = false;
}

void dj_responses_inspect(const struct dj_json *object, struct dj_answer_facts *out_facts)
{
    const struct dj_json *output = dj_json_get(object, "output");
    const struct dj_json *usage = dj_json_get(object, "usage");
    struct deja_slice status = dj_json_string(dj_json_get(object, "status"));
    struct deja_slice cut_by =
        dj_json_string(dj_json_get(dj_json_get(object, "incomplete_details"), "reason"));
    struct dj_answer_facts facts = {
        .choice_count = dj_json_is(output, DJ_JSON_ARRAY) ? 1 : 0,
        .is_every_choice_stopped = dj_slice_is(status, "completed") &&
                                   dj_json_type(dj_json_get(object, "error")) == DJ_JSON_NULL,
        .has_length = dj_slice_is(cut_by, "max_output_tokens"),
        .has_content_filter = dj_slice_is(cut_by, "content_filter"),
        .is_moderated = dj_json_is(dj_json_get(object, "moderation"), DJ_JSON_OBJECT),
        .model = dj_json_string(dj_json_get(object, "model")),
        .input_tokens = dj_answer_tokens(usage, "input_tokens"),
        .cached_tokens =
            dj_answer_tokens(dj_json_get(usage, "input_tokens_details"), "cached_tokens"),
        .output_tokens = dj_answer_tokens(usage, "output_tokens"),
    };
    for (struct dj_json_walk item = dj_json_walk(output); dj_json_walk_next(&item);)
        inspect_item(item.value, &facts);
    facts.has_content |= facts.has_tool_calls || facts.has_refusal;
    *out_facts = facts;
}
