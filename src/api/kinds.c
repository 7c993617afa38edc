/* api/kinds.c - GET /api/v1/kinds: the table in force and what became of it for this tenant;
 * POST /api/v1/kv:key: a key made of its parts.
 *
 * Trust: what a key is made of is untrusted.
 */
#include "cache/kinds.h"

#include "api/handlers.h"
#include "api/query.h"
#include "cache/key_maker.h"

/* ---- the table ---- */

static void put_texts(struct dj_json_writer *w, const char *name, const struct dj_kind_texts *texts)
{
    dj_json_key(w, name);
    dj_json_begin_array(w);
    for (size_t i = 0; i < texts->count; i++)
        dj_json_put_string(w, texts->items[i]);
    dj_json_end_array(w);
}

/* Seconds; 0 and no end: null. */
static void put_life(struct dj_json_writer *w, const char *name, uint64_t ms)
{
    dj_json_key(w, name);
    if (ms)
        dj_json_put_double(w, (double)ms / 1000);
    else
        dj_json_put_null(w);
}

/* false: none of it is kept there; null: as long as it lives. */
static void put_levels(struct dj_json_writer *w, const struct dj_kind *kind)
{
    dj_json_key(w, "levels");
    dj_json_begin_object(w);
    for (uint32_t i = 0; i < DJ_KIND_LEVEL_COUNT; i++) {
        const char *name = dj_kind_level_text((enum dj_kind_level)i);
        if (dj_kind_is_kept(kind, (enum dj_kind_level)i))
            put_life(w, name, kind->level_ms[i]);
        else
            dj_json_member_bool(w, name, false);
    }
    dj_json_end_object(w);
}

static void put_figures(struct dj_json_writer *w, const struct dj_kind_figures *figures)
{
    uint64_t hits = 0;
    dj_json_key(w, "hits");
    dj_json_begin_object(w);
    for (uint32_t i = 0; i < DJ_LEVEL_COUNT; i++) {
        hits += figures->hits[i];
        if (figures->hits[i])
            dj_json_member_u64(w, dj_level_text((enum dj_level)i), figures->hits[i]);
    }
    dj_json_member_u64(w, "total", hits);
    dj_json_end_object(w);
    uint64_t asked = hits + figures->misses;
    dj_json_member_u64(w, "misses", figures->misses);
    dj_json_member_double(w, "hit_rate", asked ? (double)hits / (double)asked : 0);
    dj_json_member_u64(w, "puts", figures->puts);
    dj_json_member_u64(w, "put_bytes", figures->put_bytes);
    dj_json_member_u64(w, "slides", figures->slides);
}

static void put_kind(struct dj_json_writer *w, const struct dj_request *request,
                     const struct dj_kind *kind)
{
    struct dj_kind_figures figures;
    dj_kind_book_figures(request->api->proxy->kinds, request->tenant, kind, &figures);
    dj_json_begin_object(w);
    dj_json_key(w, "name");
    dj_json_put_string(w, kind->name);
    dj_json_key(w, "family");
    dj_json_put_string(w, kind->family);
    dj_json_key(w, "help");
    dj_json_put_string(w, kind->help);
    dj_json_member_bool(w, "shipped", kind->is_shipped);
    put_texts(w, "patterns", &kind->patterns);
    put_life(w, "ttl_s", kind->ttl_ms);
    put_texts(w, "ttl_for", &kind->ttl_for);
    put_levels(w, kind);
    dj_json_member_bool(w, "sliding", kind->is_sliding);
    dj_json_key(w, "semantic");
    if (kind->is_semantic) {
        dj_json_begin_object(w);
        dj_json_member_double(w, "threshold", kind->threshold);
        dj_json_member_u64(w, "limit", kind->limit);
        dj_json_end_object(w);
    } else {
        dj_json_put_null(w);
    }
    put_texts(w, "tags", &kind->tags);
    put_texts(w, "events", &kind->events);
    put_texts(w, "parts", &kind->parts);
    put_texts(w, "ignore", &kind->ignored);
    put_figures(w, &figures);
    dj_json_end_object(w);
}

static void put_keys(struct dj_json_writer *w, const struct dj_kind_book *book)
{
    struct dj_key_figures keys;
    dj_kind_book_keys(book, &keys);
    dj_json_key(w, "keys");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "made", keys.made);
    dj_json_member_u64(w, "refused", keys.refused);
    dj_json_member_u64(w, "hashed", keys.hashed);
    dj_json_member_u64(w, "hashed_bytes", keys.hashed_bytes);
    dj_json_member_u64(w, "streamed", keys.streamed);
    dj_json_member_u64(w, "empty", keys.empty);
    dj_json_end_object(w);
}

void dj_kinds_list(struct dj_request *request)
{
    const struct dj_kind_book *book = request->api->proxy->kinds;
    const struct dj_kinds *kinds = dj_kind_book_table(book);
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_key(&w, "kinds");
    dj_json_begin_array(&w);
    for (size_t i = 0; kinds && i < dj_kinds_count(kinds); i++)
        put_kind(&w, request, dj_kinds_at(kinds, i));
    dj_json_end_array(&w);
    /* Of everybody: for who operates it. */
    if (book && dj_request_is_operators(request))
        put_keys(&w, book);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

/* ---- a key ---- */

/* A string or a number; false: it is neither. */
static bool text_of(const struct dj_json *value, struct deja_slice *out_text)
{
    if (dj_json_is(value, DJ_JSON_STRING))
        *out_text = dj_json_string(value);
    else if (dj_json_is(value, DJ_JSON_NUMBER))
        *out_text = dj_json_number_text(value);
    else
        return false;
    return true;
}

static bool member(struct dj_request *request, const char *name, bool *out_is_there,
                   struct deja_slice *out_text)
{
    const struct dj_json *value = dj_json_get(request->body, name);
    *out_text = deja_slice("", 0);
    *out_is_there = value && !dj_json_is(value, DJ_JSON_NULL);
    if (!*out_is_there || text_of(value, out_text))
        return true;
    dj_request_complain(request, "invalid_request", name, "type", "must be a string or a number");
    return false;
}

static bool take_names(struct dj_request *request, struct dj_key_maker *maker)
{
    struct deja_slice text, version;
    bool is_there = false, has_version = false;
    if (!member(request, "kind", &is_there, &text))
        return false;
    if (is_there)
        dj_key_maker_kind(maker, text);
    if (!member(request, "pattern", &is_there, &text))
        return false;
    if (is_there)
        dj_key_maker_pattern(maker, text);
    if (!member(request, "id", &is_there, &text))
        return false;
    if (is_there)
        dj_key_maker_field(maker, deja_slice_text("id"), text);
    if (!member(request, "part", &is_there, &text))
        return false;
    if (is_there)
        dj_key_maker_part(maker, text);
    if (!member(request, "namespace", &is_there, &text) ||
        !member(request, "version", &has_version, &version))
        return false;
    if (is_there)
        dj_key_maker_namespace(maker, text, version);
    else if (has_version)
        dj_request_complain(request, "invalid_request", "version", "key",
                            "goes with a namespace: it stands behind it in the key");
    return is_there || !has_version;
}

static bool take_fields(struct dj_request *request, struct dj_key_maker *maker)
{
    const struct dj_json *fields = dj_json_get(request->body, "fields");
    if (fields && !dj_json_is(fields, DJ_JSON_OBJECT)) {
        dj_request_complain(request, "invalid_request", "fields", "type",
                            "must be an object of strings and numbers");
        return false;
    }
    for (struct dj_json_walk walk = dj_json_walk(fields); dj_json_walk_next(&walk);) {
        struct deja_slice value;
        if (!text_of(walk.value, &value)) {
            dj_request_complain(request, "invalid_request", "fields", "type",
                                "holds what is no string and no number");
            return false;
        }
        dj_key_maker_field(maker, walk.key, value);
    }
    return true;
}

static bool take_inputs(struct dj_request *request, struct dj_key_maker *maker)
{
    static const char *const names[] = {"operation", "question"};
    const struct dj_json *options = dj_json_get(request->body, "options");
    const struct dj_json *args = dj_json_get(request->body, "args");
    struct deja_slice text;
    bool is_there = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!member(request, names[i], &is_there, &text))
            return false;
        if (is_there)
            dj_key_maker_input(maker, deja_slice_text(names[i]), text);
    }
    if (!member(request, "text", &is_there, &text))
        return false;
    if (is_there)
        dj_key_maker_text(maker, text);
    if (options)
        dj_key_maker_options(maker, options);
    if (!member(request, "sql", &is_there, &text))
        return false;
    if (is_there)
        dj_key_maker_sql(maker, text, args);
    else if (args)
        dj_request_complain(request, "invalid_request", "args", "key",
                            "are those of a statement: say sql, too");
    return is_there || !args;
}

static void put_tags(struct dj_json_writer *w, const struct dj_kinds *kinds,
                     const struct dj_made_key *made)
{
    struct dj_kind_match match;
    struct deja_slice tags[DJ_KIND_TAGS_MAX];
    struct dj_buf bytes = {0};
    size_t count = 0;
    if (dj_kinds_match(kinds, made->key, &match))
        count = dj_kind_tags(match.kind, match.fields, match.field_count, &bytes, tags);
    dj_json_key(w, "tags");
    dj_json_begin_array(w);
    for (size_t i = 0; i < count; i++)
        dj_json_put_string(w, tags[i]);
    dj_json_end_array(w);
    dj_buf_fini(&bytes);
}

static void answer_key(struct dj_request *request, const struct dj_kinds *kinds,
                       const struct dj_made_key *made)
{
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_key(&w, "key");
    dj_json_put_string(&w, made->key);
    dj_json_key(&w, "kind");
    if (made->kind)
        dj_json_put_string(&w, made->kind->name);
    else
        dj_json_put_null(&w);
    dj_json_key(&w, "hash");
    if (made->hash.len)
        dj_json_put_string(&w, made->hash);
    else
        dj_json_put_null(&w);
    put_life(&w, "ttl_s", made->kind ? dj_kind_ttl_ms(made->kind, made->key) : 0);
    put_tags(&w, kinds, made);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void on_key_body(struct dj_request *request)
{
    static const char *const members[] = {"kind",      "pattern", "fields", "id",        "part",
                                          "namespace", "version", "text",   "operation", "question",
                                          "options",   "sql",     "args",   NULL};
    struct dj_kind_book *book = request->api->proxy->kinds;
    const struct dj_kinds *kinds = dj_kind_book_table(book);
    struct dj_key_maker *maker = NULL;
    struct dj_made_key made;
    struct deja_error error = {.message = ""};
    enum deja_status status = dj_key_maker_create(kinds, &maker);
    if (status == DEJA_OK && dj_query_check_members(request, request->body, "", members) &&
        take_names(request, maker) && take_fields(request, maker) && take_inputs(request, maker)) {
        status = dj_key_maker_finish(maker, &made, &error);
        dj_kind_book_note_key(book, status == DEJA_OK ? &made : NULL);
        if (status == DEJA_ERR_INVALID || status == DEJA_ERR_LIMIT)
            dj_request_complain(request, "invalid_request", "", "key",
                                dj_request_text(request, "%s", error.message));
    }
    if (!dj_request_has_complaints(request)) {
        if (status == DEJA_OK)
            answer_key(request, kinds, &made);
        else
            dj_request_refuse(request, status);
    }
    dj_key_maker_destroy(maker);
}

void dj_kinds_make_key(struct dj_request *request)
{
    dj_request_read(request, on_key_body);
}
