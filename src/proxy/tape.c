/* proxy/tape.c - see tape.h; recording.
 *
 * Each event is written as a shape, in which the length of its piece is a hole. Where the shape is
 * that of the event before, the length alone is the item: a text of a thousand pieces costs a few
 * bytes for each of them.
 *
 * (1) At most one piece an event: the first text that can be one.
 */
#include "base/slice.h"
#include "proto/sse.h"
#include "proxy/tape_internal.h"
#include "text/utf8.h"

#define NOWHERE SIZE_MAX

struct recorder {
    const struct dj_json *object;
    dj_tape_resolve_fn *resolve;
    struct tape_cursors cursors;
    struct dj_tape_place place;
    int64_t sequence;
    struct dj_buf shape;
    struct dj_buf before; /* the shape of the event before */
    size_t hole;          /* in shape, where the length goes; NOWHERE: no piece */
    size_t before_hole;
    size_t piece_len;
    struct dj_buf left; /* scratch of is_same */
    struct dj_buf right;
    struct dj_buf *out;
    bool has_items;
    enum deja_status status;
};

struct tape_cursor *tape_cursor_of(struct tape_cursors *cursors, const struct dj_json *text)
{
    if (cursors->last < cursors->count && cursors->items[cursors->last].text == text)
        return &cursors->items[cursors->last];
    for (size_t i = 0; i < cursors->count; i++)
        if (cursors->items[i].text == text) {
            cursors->last = i;
            return &cursors->items[i];
        }
    if (cursors->count == TAPE_CURSORS_MAX)
        return NULL;
    cursors->last = cursors->count++;
    cursors->items[cursors->last] = (struct tape_cursor){.text = text};
    return &cursors->items[cursors->last];
}

static bool is_same(struct recorder *recorder, const struct dj_json *a, const struct dj_json *b)
{
    if (!a || !b || dj_json_type(a) != dj_json_type(b))
        return false;
    if (dj_json_is(a, DJ_JSON_STRING))
        return deja_slice_is_equal(dj_json_string(a), dj_json_string(b));
    struct dj_json_writer left = dj_json_writer(&recorder->left);
    struct dj_json_writer right = dj_json_writer(&recorder->right);
    dj_buf_clear(&recorder->left);
    dj_buf_clear(&recorder->right);
    dj_json_put_value(&left, a);
    dj_json_put_value(&right, b);
    if (recorder->left.status != DEJA_OK || recorder->right.status != DEJA_OK)
        recorder->status = DEJA_ERR_NOMEM;
    return recorder->status == DEJA_OK &&
           deja_slice_is_equal(dj_buf_slice(&recorder->left), dj_buf_slice(&recorder->right));
}

/* True: value is the next piece of text, and the cursor has passed it. */
static bool take_piece(struct recorder *recorder, const struct dj_json *text,
                       const struct dj_json *value, size_t *out_len)
{
    struct deja_slice whole = dj_json_string(text);
    struct deja_slice piece = dj_json_string(value);
    if (recorder->hole != NOWHERE || !dj_json_is(text, DJ_JSON_STRING) ||
        !dj_json_is(value, DJ_JSON_STRING))
        return false;
    struct tape_cursor *cursor = tape_cursor_of(&recorder->cursors, text);
    if (!cursor || piece.len > whole.len - cursor->offset ||
        (piece.len && memcmp(whole.data + cursor->offset, piece.data, piece.len) != 0))
        return false;
    cursor->offset += piece.len;
    *out_len = piece.len;
    return true;
}

static void write_members(struct recorder *recorder, struct dj_json_writer *w,
                          struct deja_slice parent, const struct dj_json *container);

static void write_member(struct recorder *recorder, struct dj_json_writer *w,
                         struct deja_slice parent, struct deja_slice name,
                         const struct dj_json *value)
{
    const struct dj_tape_reference reference =
        recorder->resolve(recorder->object, &recorder->place, parent, name);
    bool is_next = !parent.len && dj_slice_is(name, "sequence_number") &&
                   dj_json_is(value, DJ_JSON_NUMBER) &&
                   dj_json_i64(value, -1) == recorder->sequence + 1;
    if (is_next)
        recorder->sequence++;
    dj_json_begin_array(w);
    dj_json_put_string(w, name);
    if (is_next) {
        /* no more to say */
    } else if (reference.is_in_pieces &&
               take_piece(recorder, reference.value, value, &recorder->piece_len)) {
        dj_json_put_u64(w, 0);
        recorder->hole = recorder->shape.len ? recorder->shape.len - 1 : 0;
        dj_json_put_text(w, "p");
    } else if (!reference.is_in_pieces && is_same(recorder, value, reference.value)) {
        /* as the object has it */
    } else if (!parent.len && !reference.is_in_pieces && dj_json_is(value, DJ_JSON_OBJECT) &&
               dj_json_is(reference.value, DJ_JSON_OBJECT)) {
        write_members(recorder, w, name, value);
        dj_json_put_text(w, "o");
    } else {
        dj_json_put_value(w, value);
    }
    dj_json_end_array(w);
}

static void write_members(struct recorder *recorder, struct dj_json_writer *w,
                          struct deja_slice parent, const struct dj_json *container)
{
    dj_json_begin_array(w);
    for (struct dj_json_walk m = dj_json_walk(container); dj_json_walk_next(&m);)
        if (parent.len || !dj_slice_is(m.key, "obfuscation"))
            write_member(recorder, w, parent, m.key, m.value);
    dj_json_end_array(w);
}

/* The item is written: in full, or as a length. */
static void end_item(struct recorder *recorder)
{
    struct dj_buf *out = recorder->out;
    struct deja_slice shape = dj_buf_slice(&recorder->shape);
    bool is_again = recorder->hole != NOWHERE && recorder->hole == recorder->before_hole &&
                    deja_slice_is_equal(shape, dj_buf_slice(&recorder->before));
    if (recorder->shape.status != DEJA_OK) {
        recorder->status = recorder->shape.status;
        return;
    }
    if (recorder->has_items)
        dj_buf_append_byte(out, ',');
    recorder->has_items = true;
    if (is_again) {
        dj_buf_append_u64(out, recorder->piece_len);
    } else if (recorder->hole != NOWHERE) {
        dj_buf_append(out, shape.data, recorder->hole);
        dj_buf_append_u64(out, recorder->piece_len);
        dj_buf_append(out, shape.data + recorder->hole + 1, shape.len - recorder->hole - 1);
    } else {
        dj_buf_append_slice(out, shape);
    }
    struct dj_buf free_one = recorder->before;
    recorder->before = recorder->shape;
    recorder->shape = free_one;
    recorder->before_hole = recorder->hole;
    if (out->status != DEJA_OK)
        recorder->status = out->status;
    else if (out->len > DJ_TAPE_BYTES_MAX)
        recorder->status = DEJA_ERR_LIMIT;
}

static void write_name(struct dj_json_writer *w, struct deja_slice name, struct deja_slice type)
{
    if (!name.len)
        dj_json_put_null(w);
    else if (deja_slice_is_equal(name, type))
        dj_json_put_text(w, "");
    else
        dj_json_put_string(w, name);
}

static void read_place(const struct dj_json *data, struct dj_tape_place *out_place)
{
    *out_place = (struct dj_tape_place){
        .type = dj_json_string(dj_json_get(data, "type")),
        .index = dj_json_i64(dj_json_get(data, "index"), -1),
        .output_index = dj_json_i64(dj_json_get(data, "output_index"), -1),
        .content_index = dj_json_i64(dj_json_get(data, "content_index"), -1),
        .summary_index = dj_json_i64(dj_json_get(data, "summary_index"), -1),
    };
}

/* Text that may stand in JSON, and behind one "data:". */
static bool is_one_line(struct deja_slice data)
{
    return dj_utf8_is_valid(data) && !memchr(data.data, '\n', data.len);
}

static bool on_event(void *ctx, const struct dj_sse_event *event)
{
    struct recorder *recorder = ctx;
    struct dj_json_doc *doc = NULL;
    if (!event->data.len)
        return true;
    enum deja_status status = dj_json_parse(event->data, &doc, NULL);
    const struct dj_json *data = status == DEJA_OK ? dj_json_root(doc) : NULL;
    bool is_object = dj_json_is(data, DJ_JSON_OBJECT);
    bool is_told = dj_utf8_is_valid(event->name) && (is_object || is_one_line(event->data));
    if (status == DEJA_ERR_NOMEM || !is_told) {
        recorder->status = is_told ? status : DEJA_ERR_INVALID;
        dj_json_doc_destroy(doc);
        return false;
    }
    dj_buf_clear(&recorder->shape);
    recorder->hole = NOWHERE;
    read_place(data, &recorder->place);
    struct dj_json_writer w = dj_json_writer(&recorder->shape);
    dj_json_begin_array(&w);
    write_name(&w, event->name, recorder->place.type);
    if (is_object)
        write_members(recorder, &w, deja_slice(NULL, 0), data);
    else
        dj_json_put_string(&w, event->data);
    dj_json_end_array(&w);
    end_item(recorder);
    dj_json_doc_destroy(doc);
    return recorder->status == DEJA_OK;
}

enum deja_status dj_tape_record(struct deja_slice sse, const struct dj_json *object,
                                dj_tape_resolve_fn *resolve, struct dj_buf *out_tape)
{
    struct recorder recorder = {.object = object,
                                .resolve = resolve,
                                .sequence = -1,
                                .before_hole = NOWHERE,
                                .out = out_tape};
    struct dj_sse_parser parser;
    dj_sse_init(&parser, TAPE_EVENT_BYTES_MAX);
    dj_buf_append_text(out_tape, "{\"tape\":[");
    enum deja_status status = dj_sse_feed(&parser, sse, &recorder, on_event);
    if (recorder.status != DEJA_OK)
        status = recorder.status;
    dj_buf_append_text(out_tape, "]}");
    dj_sse_fini(&parser);
    dj_buf_fini(&recorder.shape);
    dj_buf_fini(&recorder.before);
    dj_buf_fini(&recorder.left);
    dj_buf_fini(&recorder.right);
    return status == DEJA_OK ? out_tape->status : status;
}
