/* proxy/completion.c - see completion.h; stream to object.
 *
 * A stream is folded into a tree of nodes in an arena: strings of a delta are joined (their pieces
 * are listed, so n deltas cost n), identifying strings (role, id, type, name) are taken once,
 * arrays whose members carry "index" are merged by it, other arrays are appended, the last number
 * or bool wins, null never overwrites. Unknown fields follow the same rules, so they survive.
 */
#include "proxy/completion.h"

#include "base/arena.h"
#include "base/slice.h"
#include "proto/sse.h"

#define EVENT_BYTES_MAX (16u << 20)
#define INDEX_MAX 256
#define MEMBERS_MAX 1024u /* of one object: they are looked up one after another */

enum node_kind { NODE_NONE, NODE_TEXT, NODE_RAW, NODE_OBJECT, NODE_ARRAY };

struct piece {
    struct piece *next;
    struct deja_slice bytes;
};

struct node {
    enum node_kind kind;
    struct deja_slice name; /* as a member */
    int64_t index;          /* as an indexed item; -1: none */
    struct node *next;
    struct node *children;
    struct node **children_end;
    size_t child_count;
    struct piece *pieces; /* text: parts; raw: one */
    struct piece **pieces_end;
};

struct fold {
    struct dj_arena arena;
    struct node root;
    struct node choices;
    bool is_text; /* of a legacy completion: the text lies in the choice itself */
    bool is_done;
    size_t events;
    enum deja_status status;
};

static bool is_one_of(struct deja_slice name, const char *const *names)
{
    for (; *names; names++)
        if (dj_slice_is(name, *names))
            return true;
    return false;
}

static void *take(struct fold *fold, size_t size)
{
    void *memory = dj_arena_alloc(&fold->arena, size);
    if (!memory)
        fold->status = DEJA_ERR_NOMEM;
    else
        memset(memory, 0, size);
    return memory;
}

static void add_piece(struct fold *fold, struct node *node, struct deja_slice bytes)
{
    struct piece *piece = take(fold, sizeof *piece);
    if (!piece)
        return;
    piece->bytes = dj_arena_copy(&fold->arena, bytes);
    if (!piece->bytes.data) {
        fold->status = DEJA_ERR_NOMEM;
        return;
    }
    if (!node->pieces)
        node->pieces_end = &node->pieces;
    *node->pieces_end = piece;
    node->pieces_end = &piece->next;
}

/* A value of another kind starts anew: what was gathered as the old kind is forgotten. */
static void become(struct node *node, enum node_kind kind)
{
    if (node->kind == kind)
        return;
    node->kind = kind;
    node->pieces = NULL;
    node->children = NULL;
    node->child_count = 0;
}

static void set_raw(struct fold *fold, struct node *node, const struct dj_json *value)
{
    struct dj_buf raw = {0};
    struct dj_json_writer w = dj_json_writer(&raw);
    dj_json_put_value(&w, value);
    become(node, NODE_RAW);
    node->pieces = NULL;
    if (raw.status != DEJA_OK)
        fold->status = raw.status;
    else
        add_piece(fold, node, dj_buf_slice(&raw));
    dj_buf_fini(&raw);
}

static struct node *add_child(struct fold *fold, struct node *parent, struct deja_slice name,
                              int64_t index)
{
    struct node *child = take(fold, sizeof *child);
    if (!child)
        return NULL;
    child->name = name.data ? dj_arena_copy(&fold->arena, name) : name;
    if (name.data && !child->name.data) {
        fold->status = DEJA_ERR_NOMEM;
        return NULL;
    }
    child->index = index;
    parent->child_count++;
    if (!parent->children)
        parent->children_end = &parent->children;
    *parent->children_end = child;
    parent->children_end = &child->next;
    return child;
}

static struct node *member(struct fold *fold, struct node *parent, struct deja_slice name)
{
    for (struct node *child = parent->children; child; child = child->next)
        if (deja_slice_is_equal(child->name, name))
            return child;
    if (parent->child_count >= MEMBERS_MAX) {
        fold->status = DEJA_ERR_LIMIT;
        return NULL;
    }
    return add_child(fold, parent, name, -1);
}

static struct node *item(struct fold *fold, struct node *parent, int64_t index)
{
    if (index < 0 || index > INDEX_MAX) {
        fold->status = DEJA_ERR_LIMIT;
        return NULL;
    }
    for (struct node *child = parent->children; child; child = child->next)
        if (child->index == index)
            return child;
    return add_child(fold, parent, deja_slice(NULL, 0), index);
}

static void merge(struct fold *fold, struct node *node, const struct dj_json *value);

static void merge_text(struct fold *fold, struct node *node, const struct dj_json *value)
{
    static const char *const once[] = {"role", "id", "type", "name", "object", "format", NULL};
    struct deja_slice text = dj_json_string(value);
    become(node, NODE_TEXT);
    if (is_one_of(node->name, once) && node->pieces) {
        if (node->pieces->bytes.len)
            return;
        node->pieces = NULL; /* an empty one was a place holder */
    }
    add_piece(fold, node, text);
}

static void merge_array(struct fold *fold, struct node *node, const struct dj_json *value)
{
    become(node, NODE_ARRAY);
    for (struct dj_json_walk walk = dj_json_walk(value); dj_json_walk_next(&walk);) {
        const struct dj_json *index = dj_json_get(walk.value, "index");
        bool is_indexed = dj_json_is(index, DJ_JSON_NUMBER);
        struct node *child = is_indexed ? item(fold, node, dj_json_i64(index, -1))
                                        : add_child(fold, node, deja_slice(NULL, 0), -1);
        if (!child || fold->status != DEJA_OK)
            return;
        if (is_indexed)
            merge(fold, child, walk.value);
        else
            set_raw(fold, child, walk.value);
    }
}

static void merge(struct fold *fold, struct node *node, const struct dj_json *value)
{
    if (!node || fold->status != DEJA_OK)
        return;
    switch (dj_json_type(value)) {
    case DJ_JSON_NULL:
        if (node->kind == NODE_NONE)
            set_raw(fold, node, value);
        break;
    case DJ_JSON_BOOL:
    case DJ_JSON_NUMBER:
        set_raw(fold, node, value);
        break;
    case DJ_JSON_STRING:
        merge_text(fold, node, value);
        break;
    case DJ_JSON_ARRAY:
        merge_array(fold, node, value);
        break;
    case DJ_JSON_OBJECT:
        become(node, NODE_OBJECT);
        for (struct dj_json_walk walk = dj_json_walk(value); dj_json_walk_next(&walk);)
            merge(fold, member(fold, node, walk.key), walk.value);
        break;
    }
}

/* Last value wins, null never. */
static void replace(struct fold *fold, struct node *node, const struct dj_json *value)
{
    if (node && (dj_json_type(value) != DJ_JSON_NULL || node->kind == NODE_NONE))
        set_raw(fold, node, value);
}

static void fold_choice(struct fold *fold, const struct dj_json *choice)
{
    struct node *node = item(fold, &fold->choices, dj_json_i64(dj_json_get(choice, "index"), 0));
    if (!node)
        return;
    node->kind = NODE_OBJECT;
    for (struct dj_json_walk walk = dj_json_walk(choice); dj_json_walk_next(&walk);) {
        if (dj_slice_is(walk.key, "index"))
            continue;
        if (fold->is_text && dj_slice_is(walk.key, "text"))
            merge(fold, member(fold, node, walk.key), walk.value);
        else if (dj_slice_is(walk.key, "delta"))
            merge(fold, member(fold, node, deja_slice_text("message")), walk.value);
        else if (dj_json_is(walk.value, DJ_JSON_STRING)) /* finish_reason and its like */
            replace(fold, member(fold, node, walk.key), walk.value);
        else
            merge(fold, member(fold, node, walk.key), walk.value);
    }
}

static void fold_chunk(struct fold *fold, const struct dj_json *chunk)
{
    static const char *const left_out[] = {"choices", "object", "obfuscation", NULL};
    if (!dj_json_is(chunk, DJ_JSON_OBJECT) ||
        dj_json_type(dj_json_get(chunk, "error")) != DJ_JSON_NULL) {
        fold->status = DEJA_ERR_INVALID;
        return;
    }
    fold->events++;
    for (struct dj_json_walk walk = dj_json_walk(chunk); dj_json_walk_next(&walk);)
        if (!is_one_of(walk.key, left_out))
            replace(fold, member(fold, &fold->root, walk.key), walk.value);
    for (struct dj_json_walk walk = dj_json_walk(dj_json_get(chunk, "choices"));
         dj_json_walk_next(&walk);)
        fold_choice(fold, walk.value);
}

static bool on_event(void *ctx, const struct dj_sse_event *event)
{
    struct fold *fold = ctx;
    struct dj_json_doc *doc = NULL;
    if (fold->is_done || event->data.len == 0)
        return true;
    if (event->data.len >= 6 && memcmp(event->data.data, "[DONE]", 6) == 0) {
        fold->is_done = true;
        return true;
    }
    enum deja_status status = dj_json_parse(event->data, &doc, NULL);
    if (status != DEJA_OK)
        fold->status = status;
    else
        fold_chunk(fold, dj_json_root(doc));
    dj_json_doc_destroy(doc);
    return fold->status == DEJA_OK;
}

/* ---- writing the tree ---- */

static void write_node(struct dj_json_writer *w, const struct node *node);

static void write_text(struct dj_json_writer *w, const struct node *node)
{
    struct dj_buf whole = {0};
    for (const struct piece *piece = node->pieces; piece; piece = piece->next)
        dj_buf_append_slice(&whole, piece->bytes);
    if (whole.status != DEJA_OK)
        w->buf->status = whole.status;
    dj_json_put_string(w, dj_buf_slice(&whole));
    dj_buf_fini(&whole);
}

static void write_members(struct dj_json_writer *w, const struct node *node)
{
    for (const struct node *child = node->children; child; child = child->next) {
        dj_json_key_slice(w, child->name);
        write_node(w, child);
    }
}

/* The index of a tool call is the stream's own: the complete object has none. */
static void write_tool_call(struct dj_json_writer *w, const struct node *node)
{
    if (node->kind != NODE_OBJECT || node->index < 0) {
        write_node(w, node);
        return;
    }
    dj_json_begin_object(w);
    for (const struct node *child = node->children; child; child = child->next) {
        if (dj_slice_is(child->name, "index"))
            continue;
        dj_json_key_slice(w, child->name);
        write_node(w, child);
    }
    dj_json_end_object(w);
}

static void write_node(struct dj_json_writer *w, const struct node *node)
{
    switch (node->kind) {
    case NODE_NONE:
        dj_json_put_null(w);
        break;
    case NODE_TEXT:
        write_text(w, node);
        break;
    case NODE_RAW:
        dj_json_put_raw(w, node->pieces ? node->pieces->bytes : deja_slice_text("null"));
        break;
    case NODE_OBJECT:
        dj_json_begin_object(w);
        write_members(w, node);
        dj_json_end_object(w);
        break;
    case NODE_ARRAY:
        dj_json_begin_array(w);
        for (const struct node *child = node->children; child; child = child->next) {
            if (dj_slice_is(node->name, "tool_calls"))
                write_tool_call(w, child);
            else
                write_node(w, child);
        }
        dj_json_end_array(w);
        break;
    }
}

static const struct node *find_member(const struct node *node, const char *name)
{
    for (const struct node *child = node->children; child; child = child->next)
        if (dj_slice_is(child->name, name))
            return child;
    return NULL;
}

static void write_choice(struct dj_json_writer *w, const struct node *choice)
{
    dj_json_begin_object(w);
    dj_json_key(w, "index");
    dj_json_put_i64(w, choice->index);
    for (const struct node *child = choice->children; child; child = child->next) {
        dj_json_key_slice(w, child->name);
        bool is_message = dj_slice_is(child->name, "message") && child->kind == NODE_OBJECT;
        if (!is_message) {
            write_node(w, child);
            continue;
        }
        dj_json_begin_object(w);
        write_members(w, child);
        if (!find_member(child, "content")) {
            dj_json_key(w, "content");
            dj_json_put_null(w);
        }
        dj_json_end_object(w);
    }
    dj_json_end_object(w);
}

static void write_object(struct dj_json_writer *w, const struct fold *fold)
{
    dj_json_begin_object(w);
    const struct node *id = find_member(&fold->root, "id");
    if (id) {
        dj_json_key(w, "id");
        write_node(w, id);
    }
    dj_json_member_text(w, "object", fold->is_text ? "text_completion" : "chat.completion");
    for (const struct node *child = fold->root.children; child; child = child->next) {
        if (child == id || dj_slice_is(child->name, "usage"))
            continue;
        dj_json_key_slice(w, child->name);
        write_node(w, child);
    }
    dj_json_key(w, "choices");
    dj_json_begin_array(w);
    for (int64_t i = 0; i <= INDEX_MAX; i++)
        for (const struct node *c = fold->choices.children; c; c = c->next)
            if (c->index == i)
                write_choice(w, c);
    dj_json_end_array(w);
    const struct node *usage = find_member(&fold->root, "usage");
    if (usage) {
        dj_json_key(w, "usage");
        write_node(w, usage);
    }
    dj_json_end_object(w);
}

static enum deja_status assemble(struct deja_slice sse, bool is_text, struct dj_buf *out_json,
                                 bool *out_is_done)
{
    struct fold fold = {
        .root = {.kind = NODE_OBJECT}, .choices = {.kind = NODE_ARRAY}, .is_text = is_text};
    struct dj_sse_parser parser;
    dj_sse_init(&parser, EVENT_BYTES_MAX);
    enum deja_status status = dj_sse_feed(&parser, sse, &fold, on_event);
    if (status == DEJA_ERR_CANCELLED || fold.status != DEJA_OK)
        status = fold.status;
    if (status == DEJA_OK && !fold.events)
        status = DEJA_ERR_INVALID;
    if (status == DEJA_OK) {
        struct dj_json_writer w = dj_json_writer(out_json);
        write_object(&w, &fold);
        status = out_json->status;
    }
    if (status == DEJA_OK)
        *out_is_done = fold.is_done;
    dj_sse_fini(&parser);
    dj_arena_fini(&fold.arena);
    return status;
}

enum deja_status dj_completion_assemble(struct deja_slice sse, struct dj_buf *out_json,
                                        bool *out_is_done)
{
    return assemble(sse, false, out_json, out_is_done);
}

enum deja_status dj_text_completion_assemble(struct deja_slice sse, struct dj_buf *out_json,
                                             bool *out_is_done)
{
    return assemble(sse, true, out_json, out_is_done);
}
