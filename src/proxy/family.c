/* proxy/family.c - see family.h. */
#include "proxy/family.h"

#include "base/slice.h"

static const struct dj_family *const families[] = {&dj_family_chat, &dj_family_completions,
                                                   &dj_family_messages, &dj_family_responses};

const struct dj_family *dj_family_find(struct deja_slice name)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (dj_slice_is(name, families[i]->name))
            return families[i];
    return NULL;
}

const struct dj_family *dj_family_guess(const struct dj_json *root)
{
    static const char *const anthropic[] = {"system", "stop_sequences", "top_k", "thinking", NULL};
    if (!dj_json_get(root, "messages"))
        return dj_json_get(root, "input")    ? &dj_family_responses
               : dj_json_get(root, "prompt") ? &dj_family_completions
                                             : &dj_family_chat;
    for (const char *const *name = anthropic; *name; name++)
        if (dj_json_get(root, *name))
            return &dj_family_messages;
    return &dj_family_chat;
}

void dj_family_set_headers(const struct dj_family *family, const struct dj_http_request *request,
                           struct dj_key_prefix *prefix)
{
    for (size_t i = 0; i < DJ_FAMILY_HEADERS_MAX; i++)
        prefix->headers[i] = family->key_headers[i]
                                 ? dj_http_find_header(request, family->key_headers[i])
                                 : deja_slice(NULL, 0);
}

static void put_zeroed(struct dj_json_writer *w, const struct dj_json *value)
{
    if (dj_json_is(value, DJ_JSON_NUMBER)) {
        dj_json_put_i64(w, 0);
    } else if (dj_json_is(value, DJ_JSON_OBJECT)) {
        dj_json_begin_object(w);
        for (struct dj_json_walk m = dj_json_walk(value); dj_json_walk_next(&m);) {
            dj_json_key_slice(w, m.key);
            put_zeroed(w, m.value);
        }
        dj_json_end_object(w);
    } else {
        dj_json_put_value(w, value);
    }
}

void dj_family_rewrite(const struct dj_family *family, const struct dj_json *object,
                       const struct dj_rewrite *rewrite, struct dj_buf *out_json)
{
    struct dj_json_writer w = dj_json_writer(out_json);
    dj_json_begin_object(&w);
    for (struct dj_json_walk m = dj_json_walk(object); dj_json_walk_next(&m);) {
        dj_json_key_slice(&w, m.key);
        if (rewrite->is_usage_zero && dj_slice_is(m.key, "usage"))
            put_zeroed(&w, m.value);
        else if (rewrite->id && dj_slice_is(m.key, "id"))
            dj_json_put_text(&w, rewrite->id);
        else if (rewrite->id && dj_slice_is(m.key, family->created_member))
            dj_json_put_i64(&w, rewrite->created_s);
        else
            dj_json_put_value(&w, m.value);
    }
    dj_json_end_object(&w);
}
