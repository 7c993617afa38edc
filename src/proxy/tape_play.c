/* proxy/tape_play.c - see tape.h; playing. */
#include "base/slice.h"
#include "proto/sse.h"
#include "proxy/tape_internal.h"

struct player {
    const struct dj_json *object;
    dj_tape_resolve_fn *resolve;
    struct tape_cursors cursors;
    struct dj_tape_place place;
    int64_t sequence;
    int64_t piece_len; /* of the event that is told once more; -1: as the item has it */
    bool has_piece;    /* the event that is told has one */
    enum deja_status status;
};

static void damage(struct player *player)
{
    if (player->status == DEJA_OK)
        player->status = DEJA_ERR_CORRUPT;
}

/* In the place of a value: the writer wants one behind a key. */
static void damage_value(struct player *player, struct dj_json_writer *w)
{
    damage(player);
    dj_json_put_null(w);
}

/* The value of a member that is kept as it came; -1: there is none. */
static int64_t raw_number(const struct dj_json *members, const char *name)
{
    for (struct dj_json_walk m = dj_json_walk(members); dj_json_walk_next(&m);)
        if (dj_json_count(m.value) == 2 &&
            dj_slice_is(dj_json_string(dj_json_at(m.value, 0)), name))
            return dj_json_i64(dj_json_at(m.value, 1), -1);
    return -1;
}

static struct deja_slice raw_text(const struct dj_json *members, const char *name)
{
    for (struct dj_json_walk m = dj_json_walk(members); dj_json_walk_next(&m);)
        if (dj_json_count(m.value) == 2 &&
            dj_slice_is(dj_json_string(dj_json_at(m.value, 0)), name))
            return dj_json_string(dj_json_at(m.value, 1));
    return deja_slice(NULL, 0);
}

static void read_place(const struct dj_json *members, struct dj_tape_place *out_place)
{
    *out_place = (struct dj_tape_place){
        .type = raw_text(members, "type"),
        .index = raw_number(members, "index"),
        .output_index = raw_number(members, "output_index"),
        .content_index = raw_number(members, "content_index"),
        .summary_index = raw_number(members, "summary_index"),
    };
}

static void play_piece(struct player *player, struct dj_json_writer *w, const struct dj_json *text,
                       int64_t len)
{
    struct deja_slice whole = dj_json_string(text);
    struct tape_cursor *cursor =
        dj_json_is(text, DJ_JSON_STRING) ? tape_cursor_of(&player->cursors, text) : NULL;
    if (player->piece_len >= 0)
        len = player->piece_len;
    if (!cursor || len < 0 || (uint64_t)len > whole.len - cursor->offset) {
        damage_value(player, w);
        return;
    }
    dj_json_put_string(w, deja_slice(whole.data + cursor->offset, (size_t)len));
    cursor->offset += (size_t)len;
    player->has_piece = true;
}

static void play_members(struct player *player, struct dj_json_writer *w, struct deja_slice parent,
                         const struct dj_json *members);

static void play_member(struct player *player, struct dj_json_writer *w, struct deja_slice parent,
                        const struct dj_json *member)
{
    size_t count = dj_json_count(member);
    const struct dj_json *key = dj_json_at(member, 0);
    const struct dj_json *value = dj_json_at(member, 1);
    struct deja_slice name = dj_json_string(key);
    const struct dj_json *kind = count == 3 ? dj_json_at(member, 2) : NULL;
    if (!dj_json_is(member, DJ_JSON_ARRAY) || !dj_json_is(key, DJ_JSON_STRING) || count > 3) {
        damage(player);
        return;
    }
    const struct dj_tape_reference reference =
        player->resolve(player->object, &player->place, parent, name);
    dj_json_key_slice(w, name);
    if (count == 2)
        dj_json_put_value(w, value);
    else if (count == 1 && !parent.len && dj_slice_is(name, "sequence_number"))
        dj_json_put_i64(w, ++player->sequence);
    else if (count == 1 && reference.value)
        dj_json_put_value(w, reference.value);
    else if (dj_slice_is(dj_json_string(kind), "p"))
        play_piece(player, w, reference.value, dj_json_i64(value, -1));
    else if (dj_slice_is(dj_json_string(kind), "o") && !parent.len)
        play_members(player, w, name, value);
    else
        damage_value(player, w);
}

static void play_members(struct player *player, struct dj_json_writer *w, struct deja_slice parent,
                         const struct dj_json *members)
{
    if (!dj_json_is(members, DJ_JSON_ARRAY))
        damage(player);
    dj_json_begin_object(w);
    for (struct dj_json_walk m = dj_json_walk(members);
         player->status == DEJA_OK && dj_json_walk_next(&m);)
        play_member(player, w, parent, m.value);
    dj_json_end_object(w);
}

/* The name of the event, from the item's first. */
static struct deja_slice name_of(const struct dj_json *name, struct deja_slice type)
{
    struct deja_slice text = dj_json_string(name);
    return dj_json_is(name, DJ_JSON_STRING) && !text.len ? type : text;
}

static bool has_line_break(struct deja_slice text)
{
    return text.len && memchr(text.data, '\n', text.len);
}

static void play_event(struct player *player, const struct dj_json *item, struct dj_buf *out_sse)
{
    const struct dj_json *data = dj_json_at(item, 1);
    struct deja_slice text = dj_json_string(data);
    bool is_text = dj_json_is(data, DJ_JSON_STRING);
    player->place = (struct dj_tape_place){.index = -1};
    if (!is_text)
        read_place(data, &player->place);
    struct deja_slice name = name_of(dj_json_at(item, 0), player->place.type);
    if (has_line_break(name) || has_line_break(text))
        damage(player);
    dj_sse_begin(out_sse, name);
    struct dj_json_writer w = dj_json_writer(out_sse);
    if (is_text)
        dj_buf_append_slice(out_sse, text);
    else
        play_members(player, &w, deja_slice(NULL, 0), data);
    dj_sse_end(out_sse);
}

enum deja_status dj_tape_play(const struct dj_json *object, struct deja_slice tape,
                              dj_tape_resolve_fn *resolve, struct dj_buf *out_sse)
{
    struct player player = {.object = object, .resolve = resolve, .sequence = -1};
    struct dj_json_doc *doc = NULL;
    const struct dj_json *before = NULL;
    if (!tape.len)
        return DEJA_ERR_NOT_FOUND;
    enum deja_status status = dj_json_parse(tape, &doc, NULL);
    if (status != DEJA_OK)
        return status == DEJA_ERR_NOMEM ? status : DEJA_ERR_CORRUPT;
    const struct dj_json *items = dj_json_get(dj_json_root(doc), "tape");
    if (!dj_json_is(items, DJ_JSON_ARRAY))
        player.status = DEJA_ERR_NOT_FOUND;
    for (struct dj_json_walk item = dj_json_walk(items);
         player.status == DEJA_OK && dj_json_walk_next(&item);) {
        bool is_again = dj_json_is(item.value, DJ_JSON_NUMBER);
        player.has_piece = false;
        player.piece_len = is_again ? dj_json_i64(item.value, -1) : -1;
        if (!is_again)
            before = item.value;
        if (!before || !dj_json_is(before, DJ_JSON_ARRAY) || dj_json_count(before) != 2 ||
            (is_again && player.piece_len < 0))
            damage(&player);
        else
            play_event(&player, before, out_sse);
        if (is_again && !player.has_piece)
            damage(&player);
    }
    dj_json_doc_destroy(doc);
    return player.status == DEJA_OK ? out_sse->status : player.status;
}
