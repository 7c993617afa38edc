/* proxy/messages.c - see messages.h; stream to message.
 *
 *   message_start -> (content_block_start -> content_block_delta … -> content_block_stop) …
 *                 -> message_delta … -> message_stop             ping, unknown events: anywhere
 *
 * (1) An order that is not this one is not understood: half a block is never taken for a whole one.
 * (2) A delta is known by the member it has: texts are joined to the block's member of that name,
 *     other values take its place. Only two are otherwise: partial_json is the input of a tool, in
 *     pieces, and a citation is one of the block's citations.
 */
#include "proxy/messages.h"

#include "base/arena.h"
#include "base/slice.h"
#include "proto/sse.h"

#define EVENT_BYTES_MAX (16u << 20)
#define BLOCKS_MAX 1024u
#define FIELDS_MAX 16u /* of one block, beside those it was opened with */
#define MESSAGE_BYTES_MAX (64u << 20)

struct field {
    struct deja_slice name; /* in the arena */
    struct dj_buf value;    /* a text's pieces, or JSON */
    bool is_json;
};

struct block {
    struct block *next;
    struct dj_json_doc *start; /* the event that opened it */
    struct field fields[FIELDS_MAX];
    size_t field_count;
    struct dj_buf input;     /* partial_json */
    struct dj_buf citations; /* JSON, with commas between */
    bool is_closed;
};

struct making {
    struct dj_arena arena;
    struct dj_json_doc *start; /* message_start */
    struct dj_json_doc *delta; /* the last message_delta */
    struct block *blocks;
    struct block **blocks_end;
    size_t block_count;
    bool is_stopped; /* message_stop */
    enum deja_status status;
};

static void fail(struct making *making, enum deja_status status)
{
    if (making->status == DEJA_OK)
        making->status = status;
}

/* ---- blocks ---- */

static struct block *block_of(struct making *making, const struct dj_json *event)
{
    int64_t index = dj_json_i64(dj_json_get(event, "index"), -1);
    struct block *block = making->blocks;
    if (index < 0 || (uint64_t)index >= making->block_count)
        return NULL;
    while (index-- > 0)
        block = block->next;
    return block;
}

/* doc is taken. */
static void open_block(struct making *making, struct dj_json_doc *doc)
{
    const struct dj_json *event = dj_json_root(doc);
    struct block *block = NULL;
    bool is_next = dj_json_i64(dj_json_get(event, "index"), -1) == (int64_t)making->block_count &&
                   dj_json_is(dj_json_get(event, "content_block"), DJ_JSON_OBJECT);
    if (is_next && making->block_count < BLOCKS_MAX)
        block = dj_arena_alloc(&making->arena, sizeof *block);
    if (!block) {
        fail(making, !is_next                            ? DEJA_ERR_INVALID
                     : making->block_count == BLOCKS_MAX ? DEJA_ERR_LIMIT
                                                         : DEJA_ERR_NOMEM);
        dj_json_doc_destroy(doc);
        return;
    }
    memset(block, 0, sizeof *block);
    block->start = doc;
    *making->blocks_end = block;
    making->blocks_end = &block->next;
    making->block_count++;
}

static struct field *field_of(struct making *making, struct block *block, struct deja_slice name)
{
    for (size_t i = 0; i < block->field_count; i++)
        if (deja_slice_is_equal(block->fields[i].name, name))
            return &block->fields[i];
    if (block->field_count == FIELDS_MAX) {
        fail(making, DEJA_ERR_LIMIT);
        return NULL;
    }
    struct field *field = &block->fields[block->field_count];
    field->name = dj_arena_copy(&making->arena, name);
    if (!field->name.data) {
        fail(making, DEJA_ERR_NOMEM);
        return NULL;
    }
    block->field_count++;
    return field;
}

static void add_citation(struct making *making, struct block *block, const struct dj_json *citation)
{
    struct dj_json_writer w = dj_json_writer(&block->citations);
    if (block->citations.len)
        dj_buf_append_byte(&block->citations, ',');
    dj_json_put_value(&w, citation);
    if (block->citations.status != DEJA_OK)
        fail(making, block->citations.status);
}

static void add_member(struct making *making, struct block *block, struct deja_slice name,
                       const struct dj_json *value)
{
    struct field *field = field_of(making, block, name);
    if (!field)
        return;
    if (dj_json_is(value, DJ_JSON_STRING) && !field->is_json) {
        dj_buf_append_slice(&field->value, dj_json_string(value));
    } else {
        dj_buf_clear(&field->value);
        struct dj_json_writer w = dj_json_writer(&field->value);
        dj_json_put_value(&w, value);
        field->is_json = true;
    }
    if (field->value.status != DEJA_OK)
        fail(making, field->value.status);
}

static void add_delta(struct making *making, const struct dj_json *event)
{
    const struct dj_json *delta = dj_json_get(event, "delta");
    struct block *block = block_of(making, event);
    struct deja_slice type = dj_json_string(dj_json_get(delta, "type"));
    if (!block || block->is_closed || !dj_json_is(delta, DJ_JSON_OBJECT) || !type.len) {
        fail(making, DEJA_ERR_INVALID);
        return;
    }
    for (struct dj_json_walk m = dj_json_walk(delta); dj_json_walk_next(&m);) {
        if (dj_slice_is(m.key, "type"))
            continue;
        if (dj_slice_is(type, "input_json_delta") && dj_slice_is(m.key, "partial_json"))
            dj_buf_append_slice(&block->input, dj_json_string(m.value));
        else if (dj_slice_is(type, "citations_delta") && dj_slice_is(m.key, "citation"))
            add_citation(making, block, m.value);
        else
            add_member(making, block, m.key, m.value);
    }
    if (block->input.status != DEJA_OK)
        fail(making, block->input.status);
}

static void close_block(struct making *making, const struct dj_json *event)
{
    struct block *block = block_of(making, event);
    if (!block || block->is_closed)
        fail(making, DEJA_ERR_INVALID);
    else
        block->is_closed = true;
}

/* ---- events ---- */

static bool is_every_block_closed(const struct making *making)
{
    for (const struct block *block = making->blocks; block; block = block->next)
        if (!block->is_closed)
            return false;
    return true;
}

/* doc is taken. Why it stopped, and the last counters: a later one says all of it anew. */
static void take_end(struct making *making, struct dj_json_doc *doc)
{
    if (!is_every_block_closed(making) ||
        !dj_json_is(dj_json_get(dj_json_root(doc), "delta"), DJ_JSON_OBJECT)) {
        fail(making, DEJA_ERR_INVALID);
        dj_json_doc_destroy(doc);
        return;
    }
    dj_json_doc_destroy(making->delta);
    making->delta = doc;
}

static void stop(struct making *making)
{
    const struct dj_json *delta = dj_json_get(dj_json_root(making->delta), "delta");
    if (!making->delta || !dj_json_is(dj_json_get(delta, "stop_reason"), DJ_JSON_STRING) ||
        !is_every_block_closed(making))
        fail(making, DEJA_ERR_INVALID);
    making->is_stopped = true;
}

/* doc is taken. */
static void take_event(struct making *making, struct dj_json_doc *doc)
{
    const struct dj_json *event = dj_json_root(doc);
    struct deja_slice type = dj_json_string(dj_json_get(event, "type"));
    if (dj_slice_is(type, "message_start") && !making->start &&
        dj_json_is(dj_json_get(event, "message"), DJ_JSON_OBJECT)) {
        making->start = doc;
        return;
    }
    if (dj_slice_is(type, "error") || dj_slice_is(type, "message_start") || !type.len) {
        fail(making, DEJA_ERR_INVALID);
    } else if (dj_slice_is(type, "content_block_start") && making->start && !making->delta) {
        open_block(making, doc);
        return;
    } else if (dj_slice_is(type, "message_delta") && making->start) {
        take_end(making, doc);
        return;
    } else if (dj_slice_is(type, "content_block_delta")) {
        add_delta(making, event);
    } else if (dj_slice_is(type, "content_block_stop")) {
        close_block(making, event);
    } else if (dj_slice_is(type, "message_stop")) {
        stop(making);
    } else if (dj_slice_is(type, "content_block_start") || dj_slice_is(type, "message_delta")) {
        fail(making, DEJA_ERR_INVALID);
    } /* ping, and what is not known: on the tape */
    dj_json_doc_destroy(doc);
}

static bool on_event(void *ctx, const struct dj_sse_event *event)
{
    struct making *making = ctx;
    struct dj_json_doc *doc = NULL;
    if (!event->data.len)
        return true;
    enum deja_status status = dj_json_parse(event->data, &doc, NULL);
    if (status != DEJA_OK || !dj_json_is(dj_json_root(doc), DJ_JSON_OBJECT) || making->is_stopped) {
        fail(making, status == DEJA_OK ? DEJA_ERR_INVALID : status);
        dj_json_doc_destroy(doc);
    } else {
        take_event(making, doc);
    }
    return making->status == DEJA_OK;
}

/* ---- writing the message ---- */

/* What was said of member `name` after the block was opened with `value` (NULL: without it). */
static void write_field(struct dj_json_writer *w, const struct field *field,
                        const struct dj_json *value)
{
    struct dj_buf whole = {0};
    if (field->is_json) {
        dj_json_put_raw(w, dj_buf_slice(&field->value));
        return;
    }
    dj_buf_append_slice(&whole, dj_json_string(value));
    dj_buf_append_slice(&whole, dj_buf_slice(&field->value));
    dj_json_put_string(w, dj_buf_slice(&whole));
    if (whole.status != DEJA_OK)
        w->buf->status = whole.status;
    dj_buf_fini(&whole);
}

static void write_citations(struct dj_json_writer *w, const struct block *block,
                            const struct dj_json *value)
{
    dj_json_begin_array(w);
    if (dj_json_is(value, DJ_JSON_ARRAY))
        for (struct dj_json_walk m = dj_json_walk(value); dj_json_walk_next(&m);)
            dj_json_put_value(w, m.value);
    dj_json_put_raw(w, dj_buf_slice(&block->citations));
    dj_json_end_array(w);
}

static const struct field *find_field(const struct block *block, struct deja_slice name)
{
    for (size_t i = 0; i < block->field_count; i++)
        if (deja_slice_is_equal(block->fields[i].name, name))
            return &block->fields[i];
    return NULL;
}

static void write_block(struct making *making, struct dj_json_writer *w, const struct block *block)
{
    const struct dj_json *object = dj_json_get(dj_json_root(block->start), "content_block");
    struct dj_json_doc *input = NULL;
    /* An input that is cut short is no input. */
    if (block->input.len)
        fail(making, dj_json_parse(dj_buf_slice(&block->input), &input, NULL));
    if (making->status != DEJA_OK)
        return;
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(object); dj_json_walk_next(&m);) {
        const struct field *field = find_field(block, m.key);
        dj_json_key_slice(w, m.key);
        if (input && dj_slice_is(m.key, "input"))
            dj_json_put_value(w, dj_json_root(input));
        else if (block->citations.len && dj_slice_is(m.key, "citations"))
            write_citations(w, block, m.value);
        else if (field)
            write_field(w, field, m.value);
        else
            dj_json_put_value(w, m.value);
    }
    for (size_t i = 0; i < block->field_count; i++) {
        if (dj_json_get_slice(object, block->fields[i].name))
            continue;
        dj_json_key_slice(w, block->fields[i].name);
        write_field(w, &block->fields[i], NULL);
    }
    if (input && !dj_json_get(object, "input")) {
        dj_json_key(w, "input");
        dj_json_put_value(w, dj_json_root(input));
    }
    if (block->citations.len && !dj_json_get(object, "citations")) {
        dj_json_key(w, "citations");
        write_citations(w, block, NULL);
    }
    dj_json_end_object(w);
    dj_json_doc_destroy(input);
}

/* Members of first, with those of second in their places and the rest behind; of second, null says
 * nothing. */
static void write_merged(struct dj_json_writer *w, const struct dj_json *first,
                         const struct dj_json *second)
{
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(first); dj_json_walk_next(&m);) {
        const struct dj_json *later = dj_json_get_slice(second, m.key);
        dj_json_key_slice(w, m.key);
        dj_json_put_value(w, dj_json_type(later) == DJ_JSON_NULL ? m.value : later);
    }
    for (struct dj_json_walk m = dj_json_walk(second); dj_json_walk_next(&m);) {
        if (dj_json_get_slice(first, m.key))
            continue;
        dj_json_key_slice(w, m.key);
        dj_json_put_value(w, m.value);
    }
    dj_json_end_object(w);
}

static void write_content(struct making *making, struct dj_json_writer *w)
{
    dj_json_begin_array(w);
    for (const struct block *block = making->blocks; block; block = block->next)
        write_block(making, w, block);
    dj_json_end_array(w);
}

static void write_message(struct making *making, struct dj_json_writer *w)
{
    const struct dj_json *message = dj_json_get(dj_json_root(making->start), "message");
    const struct dj_json *end = dj_json_root(making->delta);
    const struct dj_json *delta = dj_json_get(end, "delta");
    const struct dj_json *usage = dj_json_get(end, "usage");
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(message); dj_json_walk_next(&m);) {
        const struct dj_json *later = dj_json_get_slice(delta, m.key);
        dj_json_key_slice(w, m.key);
        if (dj_slice_is(m.key, "content"))
            write_content(making, w);
        else if (dj_slice_is(m.key, "usage") && dj_json_is(m.value, DJ_JSON_OBJECT) && usage)
            write_merged(w, m.value, usage);
        else
            dj_json_put_value(w, later ? later : m.value);
    }
    for (struct dj_json_walk m = dj_json_walk(delta); dj_json_walk_next(&m);) {
        if (dj_json_get_slice(message, m.key))
            continue;
        dj_json_key_slice(w, m.key);
        dj_json_put_value(w, m.value);
    }
    if (!dj_json_get(message, "content")) {
        dj_json_key(w, "content");
        write_content(making, w);
    }
    if (usage && !dj_json_get(message, "usage")) {
        dj_json_key(w, "usage");
        dj_json_put_value(w, usage);
    }
    dj_json_end_object(w);
}

static void fini(struct making *making)
{
    for (struct block *block = making->blocks; block; block = block->next) {
        dj_json_doc_destroy(block->start);
        for (size_t i = 0; i < FIELDS_MAX; i++)
            dj_buf_fini(&block->fields[i].value);
        dj_buf_fini(&block->input);
        dj_buf_fini(&block->citations);
    }
    dj_json_doc_destroy(making->start);
    dj_json_doc_destroy(making->delta);
    dj_arena_fini(&making->arena);
}

/* A stream too long for a tape is told from the message. */
static enum deja_status record(struct deja_slice sse, struct dj_assembly *assembly)
{
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_json_parse(dj_buf_slice(&assembly->object), &doc, NULL);
    if (status == DEJA_OK)
        status = dj_tape_record(sse, dj_json_root(doc), dj_messages_resolve, &assembly->tape);
    if (status != DEJA_OK && status != DEJA_ERR_NOMEM) {
        dj_buf_fini(&assembly->tape);
        status = DEJA_OK;
    }
    dj_json_doc_destroy(doc);
    return status;
}

enum deja_status dj_messages_assemble(struct deja_slice sse, struct dj_assembly *out_assembly)
{
    struct making making = {.block_count = 0};
    struct dj_assembly assembly = {.is_done = false};
    struct dj_sse_parser parser;
    making.blocks_end = &making.blocks;
    dj_arena_init(&making.arena, MESSAGE_BYTES_MAX);
    dj_sse_init(&parser, EVENT_BYTES_MAX);
    enum deja_status status = dj_sse_feed(&parser, sse, &making, on_event);
    if (making.status != DEJA_OK)
        status = making.status;
    if (status == DEJA_OK && (!making.start || !dj_sse_is_at_boundary(&parser)))
        status = DEJA_ERR_INVALID;
    if (status == DEJA_OK) {
        struct dj_json_writer w = dj_json_writer(&assembly.object);
        write_message(&making, &w);
        status = making.status != DEJA_OK ? making.status : assembly.object.status;
    }
    if (status == DEJA_OK && making.is_stopped)
        status = record(sse, &assembly);
    assembly.is_done = making.is_stopped;
    dj_sse_fini(&parser);
    fini(&making);
    if (status == DEJA_OK)
        *out_assembly = assembly;
    else
        dj_assembly_fini(&assembly);
    return status;
}
