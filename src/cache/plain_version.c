/* cache/plain_version.c - see plain_version.h. Trust: keys and versions are strangers'. */
#include "cache/plain_version.h"

#include "base/alloc.h"
#include "base/slice.h"
#include "proto/json.h"
#include "security/user.h"
#include "text/question.h"

#define PREVIOUS_BYTES (sizeof DJ_PLAIN_PREVIOUS - 1)

bool dj_plain_version_is_name(struct deja_slice version)
{
    return version.len > 0 && version.len <= DJ_PLAIN_VERSION_BYTES_MAX &&
           dj_question_is_name(version);
}

enum deja_status dj_plain_version_write(struct deja_slice metadata, struct deja_slice version,
                                        struct dj_buf *out)
{
    struct dj_json_doc *doc = NULL;
    struct dj_json_writer w = dj_json_writer(out);
    enum deja_status status = metadata.len ? dj_json_parse(metadata, &doc, NULL) : DEJA_OK;
    const struct dj_json *object = doc ? dj_json_root(doc) : NULL;
    if (status == DEJA_OK && object && !dj_json_is(object, DJ_JSON_OBJECT))
        status = DEJA_ERR_INVALID;
    if (status != DEJA_OK) {
        dj_json_doc_destroy(doc);
        return status == DEJA_ERR_NOMEM ? status : DEJA_ERR_INVALID;
    }
    dj_json_begin_object(&w);
    for (struct dj_json_walk walk = dj_json_walk(object); object && dj_json_walk_next(&walk);) {
        if (deja_slice_is_equal(walk.key, deja_slice_text("version")))
            continue;
        dj_json_key_slice(&w, walk.key);
        dj_json_put_value(&w, walk.value);
    }
    dj_json_key(&w, "version");
    dj_json_put_string(&w, version);
    dj_json_end_object(&w);
    dj_json_doc_destroy(doc);
    return out->status;
}

bool dj_plain_version_is(const struct dj_entry *entry, struct deja_slice version)
{
    struct dj_json_doc *doc = NULL;
    bool is_same =
        entry->metadata.len && dj_json_parse(entry->metadata, &doc, NULL) == DEJA_OK &&
        deja_slice_is_equal(dj_json_string(dj_json_get(dj_json_root(doc), "version")), version);
    dj_json_doc_destroy(doc);
    return is_same;
}

/* ---- get ---- */

struct get {
    struct dj_plain *plain;
    struct dj_loop *loop;
    struct dj_plain_space space; /* its slices are in bytes, as are the next two */
    struct deja_slice place;     /* the key, and DJ_PLAIN_PREVIOUS */
    struct deja_slice version;
    uint32_t skip;
    uint64_t kept_after; /* the version of the value under the key; 0: not seen yet */
    void *ctx;
    dj_plain_version_got_fn *got;
    char bytes[];
};

static struct get *create(const struct dj_plain_space *space, struct deja_slice key,
                          struct deja_slice version)
{
    size_t bytes =
        space->name_space.len + space->user_tag.len + key.len + PREVIOUS_BYTES + version.len;
    struct get *get = dj_alloc_zeroed(1, sizeof *get + bytes);
    if (!get)
        return NULL;
    char *at = get->bytes;
    get->space = *space;
    get->space.name_space = dj_slice_place(&at, space->name_space);
    get->space.user_tag = dj_slice_place(&at, space->user_tag);
    get->version = dj_slice_place(&at, version);
    get->place = dj_slice_place(&at, key);
    dj_slice_place(&at, deja_slice_text(DJ_PLAIN_PREVIOUS));
    get->place.len += PREVIOUS_BYTES;
    return get;
}

static void destroy(struct get *get)
{
    dj_plain_space_fini(&get->space);
    dj_free(get);
}

static void end(struct get *get, struct dj_value *value, const char *level)
{
    get->got(get->ctx, value, level, !value && get->kept_after);
    destroy(get);
}

/* What lies beside a key that was deleted since, or put without a version, is nobody's any more
 * (I10). */
static void on_previous(void *ctx, struct dj_value *value, const char *level)
{
    struct get *get = ctx;
    const struct dj_entry *entry = value ? dj_value_entry(value) : NULL;
    if (entry && entry->version > get->kept_after && dj_plain_version_is(entry, get->version)) {
        end(get, value, level);
        return;
    }
    dj_value_unref(value);
    end(get, NULL, NULL);
}

static void on_last(void *ctx, struct dj_value *value, const char *level)
{
    struct get *get = ctx;
    const struct dj_entry *entry = value ? dj_value_entry(value) : NULL;
    if (!entry || dj_plain_version_is(entry, get->version)) {
        end(get, value, level);
        return;
    }
    get->kept_after = entry->version;
    dj_value_unref(value);
    if (get->place.len > DJ_PLAIN_KEY_BYTES_MAX ||
        dj_plain_get(get->plain, get->loop, &get->space, get->place, get->skip, get, on_previous) !=
            DEJA_OK)
        end(get, NULL, NULL);
}

enum deja_status dj_plain_version_get(struct dj_plain *plain, struct dj_loop *loop,
                                      const struct dj_plain_space *space, struct deja_slice key,
                                      struct deja_slice version, uint32_t skip, void *ctx,
                                      dj_plain_version_got_fn *got)
{
    struct get *get = create(space, key, version);
    if (!get)
        return DEJA_ERR_NOMEM;
    get->plain = plain;
    get->loop = loop;
    get->skip = skip;
    get->ctx = ctx;
    get->got = got;
    enum deja_status status = dj_plain_get(plain, loop, space, key, skip, get, on_last);
    if (status != DEJA_OK)
        destroy(get);
    return status;
}

/* ---- keep ---- */

struct keeping {
    struct dj_value *before; /* owned */
    uint32_t skip;
    struct deja_slice tags[DJ_PLAIN_TAGS_MAX];
    void *ctx;
    void (*done)(void *ctx);
};

/* The user's own tag is added again by who puts. */
static void copy(struct keeping *keeping, const struct dj_entry *entry,
                 struct dj_plain_new *out_new)
{
    size_t count = 0;
    for (size_t i = 0; i < entry->tag_count && count < DJ_PLAIN_TAGS_MAX; i++)
        if (!dj_tag_is_of_user(entry->tags[i].name))
            keeping->tags[count++] = entry->tags[i].name;
    *out_new = (struct dj_plain_new){.body = entry->body,
                                     .metadata = entry->metadata,
                                     .expires_ms = entry->expires_ms,
                                     .make_ms = entry->make_ms,
                                     .tags = keeping->tags,
                                     .tag_count = count,
                                     .skip = keeping->skip};
}

static enum dj_plain_verdict put_previous(void *ctx, const struct dj_entry *now, int64_t now_ms,
                                          struct dj_plain_new *out_new)
{
    struct keeping *keeping = ctx;
    (void)now;
    (void)now_ms;
    copy(keeping, dj_value_entry(keeping->before), out_new);
    return DJ_PLAIN_PUT;
}

/* The value under the key is newer than what lies beside it now: put once more, so that it goes on
 * being served. */
static enum dj_plain_verdict put_again(void *ctx, const struct dj_entry *now, int64_t now_ms,
                                       struct dj_plain_new *out_new)
{
    struct keeping *keeping = ctx;
    (void)now_ms;
    if (!now || now->version <= dj_value_entry(keeping->before)->version)
        return DJ_PLAIN_KEEP;
    copy(keeping, now, out_new);
    return DJ_PLAIN_PUT;
}

static void on_kept(void *ctx, enum deja_status status, const struct dj_plain_outcome *outcome)
{
    struct keeping *keeping = ctx;
    (void)status; /* a version that is not kept is a miss */
    (void)outcome;
    keeping->done(keeping->ctx);
    dj_value_unref(keeping->before);
    dj_free(keeping);
}

enum deja_status dj_plain_version_keep(struct dj_plain *plain, struct dj_loop *loop,
                                       const struct dj_plain_space *space, struct deja_slice key,
                                       struct deja_slice version, struct dj_value *before,
                                       uint32_t skip, void *ctx, void (*done)(void *ctx))
{
    char place[DJ_PLAIN_KEY_BYTES_MAX];
    bool is_same = dj_plain_version_is(dj_value_entry(before), version);
    if (key.len + PREVIOUS_BYTES > sizeof place)
        return DEJA_ERR_LIMIT;
    struct keeping *keeping = dj_alloc_zeroed(1, sizeof *keeping);
    if (!keeping)
        return DEJA_ERR_NOMEM;
    *keeping = (struct keeping){.before = before, .skip = skip, .ctx = ctx, .done = done};
    const struct dj_plain_change change = {.mode = is_same ? DJ_PLAIN_LOOKING : DJ_PLAIN_BLIND,
                                           .change = is_same ? put_again : put_previous,
                                           .done = on_kept,
                                           .ctx = keeping};
    memcpy(place, key.data, key.len);
    memcpy(place + key.len, DJ_PLAIN_PREVIOUS, PREVIOUS_BYTES);
    dj_value_ref(before);
    enum deja_status status =
        dj_plain_change(plain, loop, space, deja_slice(place, key.len + PREVIOUS_BYTES), &change);
    if (status != DEJA_OK) {
        dj_value_unref(before);
        dj_free(keeping);
    }
    return status;
}
