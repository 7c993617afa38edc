/* proxy/models.c - see models_internal.h. */
#include "proxy/models_internal.h"

#include "base/slice.h"
#include "proto/form.h"
#include "proto/json.h"
#include "proxy/tenant_rules.h"

static bool may_use(const struct ride *ride, const char *id)
{
    return dj_tenant_has(&ride->who, DJ_FEATURE_EMBEDDINGS) &&
           dj_tenant_allows_model(ride->who.rules, deja_slice_text(id));
}

/* A segment of a path: SDKs write the slash as it is or as "%2F". */
static bool is_own(struct deja_slice segment, const char *id)
{
    struct dj_buf name = {0};
    bool is_it = dj_form_segment(segment, &name) == DEJA_OK &&
                 embeddings_is_own_model(dj_buf_slice(&name), id);
    dj_buf_fini(&name);
    return is_it;
}

enum models_asked models_ask(const struct ride *ride, struct models_own *out_own)
{
    static const char list[] = "/v1/models";
    const struct dj_http_request *request = dj_http_exchange_request(ride->exchange);
    struct models_own own = {.created_s = ride->context->started_ms / 1000};
    struct deja_slice path = request->path;
    size_t len = sizeof list - 1;
    if (!dj_slice_is(request->method, "GET") || path.len < len ||
        memcmp(path.data, list, len) != 0 || dj_target_of(request) != DJ_TARGET_OPENAI ||
        !embeddings_own_model(ride->context, own.id) || !may_use(ride, own.id))
        return MODELS_OTHER;
    bool is_list = path.len == len;
    if (!is_list && (path.data[len] != '/' ||
                     !is_own(deja_slice(path.data + len + 1, path.len - len - 1), own.id)))
        return MODELS_OTHER;
    *out_own = own;
    return is_list ? MODELS_LIST : MODELS_OWN;
}

static void put(struct dj_json_writer *w, const struct models_own *own)
{
    dj_json_begin_object(w);
    dj_json_member_text(w, "id", own->id);
    dj_json_member_text(w, "object", "model");
    dj_json_key(w, "created");
    dj_json_put_i64(w, own->created_s);
    dj_json_member_text(w, "owned_by", "deja");
    dj_json_end_object(w);
}

void models_put(const struct models_own *own, struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    put(&w, own);
}

/* Some services leave "object" out of it. */
static bool is_list(const struct dj_json *root)
{
    const struct dj_json *object = dj_json_get(root, "object");
    return dj_json_is(dj_json_get(root, "data"), DJ_JSON_ARRAY) &&
           (!object || dj_slice_is(dj_json_string(object), "list")) &&
           !dj_json_bool(dj_json_get(root, "has_more"), false);
}

static bool has_model(const struct dj_json *models, const char *id)
{
    for (struct dj_json_walk m = dj_json_walk(models); dj_json_walk_next(&m);)
        if (dj_slice_is(dj_json_string(dj_json_get(m.value, "id")), id))
            return true;
    return false;
}

static void put_with(struct dj_json_writer *w, const struct dj_json *models,
                     const struct models_own *own)
{
    dj_json_begin_array(w);
    for (struct dj_json_walk m = dj_json_walk(models); dj_json_walk_next(&m);)
        dj_json_put_value(w, m.value);
    put(w, own);
    dj_json_end_array(w);
}

bool models_merge(const struct models_own *own, struct deja_slice list, struct dj_buf *out)
{
    static const char none[] = "{\"object\":\"list\",\"data\":[]}";
    struct dj_json_doc *doc = NULL;
    if (dj_json_parse(list.len ? list : deja_slice_text(none), &doc, NULL) != DEJA_OK)
        return false;
    const struct dj_json *root = dj_json_root(doc);
    bool is_told = is_list(root) && !has_model(dj_json_get(root, "data"), own->id);
    if (is_told) {
        struct dj_json_writer w = dj_json_writer(out);
        dj_json_begin_object(&w);
        for (struct dj_json_walk m = dj_json_walk(root); dj_json_walk_next(&m);) {
            dj_json_key_slice(&w, m.key);
            if (dj_slice_is(m.key, "data"))
                put_with(&w, m.value, own);
            else
                dj_json_put_value(&w, m.value);
        }
        dj_json_end_object(&w);
    }
    dj_json_doc_destroy(doc);
    return is_told && out->status == DEJA_OK;
}
