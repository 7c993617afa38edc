/* api/entry_kind.c - see entry_kind.h. */
#include "api/entry_kind.h"

#include "cache/kinds.h"

#define FIELDS_MAX 16u
#define ROOM '\x1f' /* no namespace of a request holds it */

const struct dj_kind *dj_entry_kind(const struct dj_request *request, struct deja_slice name)
{
    const struct dj_kinds *kinds = dj_kind_book_table(request->api->proxy->kinds);
    return kinds && name.len ? dj_kinds_find(kinds, name) : NULL;
}

static void add_field(struct dj_kind_field fields[FIELDS_MAX], size_t *count,
                      struct deja_slice name, struct deja_slice value)
{
    if (value.len && *count < FIELDS_MAX)
        fields[(*count)++] = (struct dj_kind_field){name, value};
}

static size_t fields_of(const struct dj_entry_input *input, struct dj_kind_field fields[FIELDS_MAX])
{
    size_t count = 0;
    add_field(fields, &count, deja_slice_text("provider"), input->provider);
    add_field(fields, &count, deja_slice_text("model"), input->model);
    add_field(fields, &count, deja_slice_text("type"), input->type);
    for (struct dj_json_walk walk = dj_json_walk(input->metadata); dj_json_walk_next(&walk);) {
        struct deja_slice value = dj_json_string(walk.value);
        if (!value.data)
            value = dj_json_number_text(walk.value);
        add_field(fields, &count, walk.key, value);
    }
    return count;
}

static bool has_tag(const struct dj_entry_input *input, struct deja_slice tag)
{
    for (size_t i = 0; i < input->tag_count; i++)
        if (deja_slice_is_equal(input->tags[i], tag))
            return true;
    return false;
}

bool dj_entry_kind_apply(struct dj_request *request, const char *where,
                         struct dj_entry_input *input)
{
    const struct dj_kind *kind = dj_entry_kind(request, input->kind);
    struct dj_kind_field fields[FIELDS_MAX];
    struct deja_slice tags[DJ_KIND_TAGS_MAX];
    struct dj_buf bytes = {0};
    if (!kind)
        return true;
    if (!input->ttl_ms)
        input->ttl_ms = dj_request_kind_ttl(request, kind, kind->ttl_ms);
    size_t count = dj_kind_tags(kind, fields, fields_of(input, fields), &bytes, tags);
    size_t depends = dj_json_count(input->depends_on);
    bool is_fine = bytes.status == DEJA_OK;
    for (size_t i = 0; is_fine && i < count; i++) {
        if (has_tag(input, tags[i]))
            continue;
        struct deja_slice copy = dj_arena_copy(request->arena, tags[i]);
        is_fine = copy.data && input->tag_count + depends < DJ_TAGS_MAX;
        if (is_fine)
            input->tags[input->tag_count++] = copy;
    }
    dj_buf_fini(&bytes);
    if (!is_fine)
        dj_request_complain(request, "invalid_request", dj_request_text(request, "%stags", where),
                            "length", "leave no room for those of the entry's kind");
    return is_fine;
}

struct deja_slice dj_entry_kind_space(struct dj_request *request, const struct dj_kind *kind,
                                      struct deja_slice name_space)
{
    if (!kind || !kind->is_semantic)
        return name_space;
    char *text = dj_arena_alloc(request->arena, name_space.len + 1 + kind->name.len);
    if (!text)
        return deja_slice(NULL, 0);
    if (name_space.len)
        memcpy(text, name_space.data, name_space.len);
    text[name_space.len] = ROOM;
    memcpy(text + name_space.len + 1, kind->name.data, kind->name.len);
    return deja_slice(text, name_space.len + 1 + kind->name.len);
}
