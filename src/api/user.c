/* api/user.c - see user.h. */
#include "api/user.h"

#include "security/user.h"

bool dj_user_owns(const struct dj_request *request, const struct dj_entry *entry)
{
    char tag[DJ_USER_TAG_BYTES];
    if (!request->who.has_user)
        return true;
    dj_user_tag(request->who.user, tag);
    for (size_t i = 0; i < entry->tag_count; i++)
        if (deja_slice_is_equal(entry->tags[i].name, deja_slice(tag, DJ_USER_TAG_BYTES - 1)))
            return true;
    return false;
}

bool dj_user_select(struct dj_request *request, struct dj_selector *selector)
{
    if (!request->who.has_user)
        return true;
    char *tag = dj_arena_alloc(request->arena, DJ_USER_TAG_BYTES);
    if (!tag)
        return false;
    dj_user_tag(request->who.user, tag);
    selector->user_tag = deja_slice(tag, DJ_USER_TAG_BYTES - 1);
    return true;
}

bool dj_user_is_refused(struct dj_request *request)
{
    if (!request->who.has_user)
        return false;
    dj_request_problem(request, 403, "forbidden",
                       "this concerns all users of the tenant: ask without X-Deja-User");
    return true;
}

static enum deja_status remove_it(const struct dj_request *request, const struct dj_store_key *key,
                                  void *ctx, dj_remove_done_fn *done)
{
    const struct dj_cause cause = {.reason = request->reason};
    return dj_engine_remove_because(request->api->proxy->engine, request->loop, key, &cause, ctx,
                                    done);
}

/* In the request's arena. */
struct removal {
    struct dj_request *request;
    struct dj_store_key key;
    void *ctx;
    dj_remove_done_fn *done;
};

static void on_got(void *ctx, struct dj_value *value, const char *level)
{
    struct removal *removal = ctx;
    struct dj_request *request = removal->request;
    bool is_own = value && dj_user_owns(request, dj_value_entry(value));
    enum deja_status status = DEJA_OK;
    (void)level;
    dj_value_unref(value);
    if (is_own)
        status = remove_it(request, &removal->key, removal->ctx, removal->done);
    if (!is_own || status != DEJA_OK)
        removal->done(removal->ctx, status, 0);
}

enum deja_status dj_user_remove(struct dj_request *request, const struct dj_store_key *key,
                                void *ctx, dj_remove_done_fn *done)
{
    struct dj_engine *engine = request->api->proxy->engine;
    if (!request->who.has_user)
        return remove_it(request, key, ctx, done);
    struct removal *removal = dj_arena_alloc(request->arena, sizeof *removal);
    if (!removal)
        return DEJA_ERR_NOMEM;
    *removal = (struct removal){.request = request, .key = *key, .ctx = ctx, .done = done};
    return dj_engine_get(engine, request->loop, key, 0, removal, on_got);
}
