/* cache/selector.c - which entries a selector names, and what is told when they are void. */
#include "cache/engine_internal.h"
#include "policy/glob.h"
#include "security/user.h"

struct deja_slice dj_selector_tag(const struct dj_selector *selector)
{
    return selector->tag.len ? selector->tag : selector->user_tag;
}

/* tag empty: true. */
static bool has_tag(const struct dj_entry *entry, struct deja_slice tag)
{
    bool is_there = tag.len == 0;
    for (size_t i = 0; i < entry->tag_count && !is_there; i++)
        is_there = deja_slice_is_equal(entry->tags[i].name, tag);
    return is_there;
}

static bool is_fit(const struct dj_entry *entry, struct deja_slice pattern)
{
    bool is_fit =
        !pattern.data || (entry->kind == DJ_ENTRY_PLAIN && dj_glob_is_match(pattern, entry->query));
    for (size_t i = 0; i < entry->tag_count && !is_fit; i++)
        is_fit = !dj_tag_is_internal(entry->tags[i].name) &&
                 dj_glob_is_match(pattern, entry->tags[i].name);
    return is_fit;
}

static bool is_made_by(const struct dj_entry *entry, const struct dj_maker *maker)
{
    if (entry->kind != DJ_ENTRY_CHAT && entry->kind != DJ_ENTRY_EMBEDDING &&
        entry->kind != DJ_ENTRY_API)
        return false;
    return (!maker->provider.len || deja_slice_is_equal(entry->provider, maker->provider)) &&
           (!maker->model.len || deja_slice_is_equal(entry->model, maker->model));
}

static bool is_of_event(const struct dj_selector *selector, const struct dj_entry *entry)
{
    bool is_found = !selector->any_tag_count && !selector->maker;
    if (selector->maker)
        is_found = is_made_by(entry, selector->maker);
    for (size_t i = 0; i < selector->any_tag_count && !is_found; i++)
        is_found = has_tag(entry, selector->any_tags[i]);
    return is_found;
}

bool dj_selector_is_match(const struct dj_selector *selector, const struct dj_entry *entry)
{
    if (!has_tag(entry, selector->tag) || !has_tag(entry, selector->user_tag) ||
        (selector->has_name_space && !deja_slice_is_equal(entry->name_space, selector->name_space)))
        return false;
    if (selector->created_before_ms && entry->created_ms >= selector->created_before_ms)
        return false;
    return is_fit(entry, selector->pattern) && is_of_event(selector, entry) &&
           dj_filter_is_match(selector->filter, entry) &&
           (!selector->matches || selector->matches(selector->ctx, entry));
}

/* ---- telling ---- */

/* What a selector names, in one word, and the name itself. */
static const char *describe(const struct dj_selector *selector, struct deja_slice *out_name)
{
    int parts = (selector->tag.len > 0) + (selector->created_before_ms != 0) +
                (selector->filter != NULL) + selector->has_name_space +
                (selector->pattern.data != NULL) + (selector->any_tag_count || selector->maker);
    *out_name = deja_slice(NULL, 0);
    if (parts > 1)
        return "selection";
    if (selector->filter)
        return "filter";
    if (selector->created_before_ms)
        return "age";
    if (selector->any_tag_count || selector->maker)
        return "event";
    if (!parts)
        return selector->user_tag.len ? "user" : "all";
    *out_name = selector->pattern.data ? selector->pattern
                : selector->tag.len    ? selector->tag
                                       : selector->name_space;
    return selector->pattern.data ? "pattern" : selector->tag.len ? "tag" : "namespace";
}

void dj_engine_tell(struct dj_engine *engine, struct dj_loop *loop,
                    const uint8_t tenant[DJ_ID_BYTES], const struct dj_selector *selector,
                    uint64_t removed)
{
    static const struct dj_cause nothing;
    const struct dj_cause *cause = selector->cause ? selector->cause : &nothing;
    struct dj_notice notice = {.time_ms = dj_loop_now_ms(loop),
                               .source = cause->source,
                               .reason = cause->reason,
                               .removed = removed,
                               .is_user = selector->user_tag.len > 0};
    if (cause->is_untold)
        return;
    memcpy(notice.tenant, tenant, sizeof notice.tenant);
    notice.kind = describe(selector, &notice.name);
    if (selector->has_name_space)
        notice.name_space = deja_slice(selector->name_space.len ? selector->name_space.data : "",
                                       selector->name_space.len);
    if (cause->kind)
        notice.kind = cause->kind;
    if (cause->name.len)
        notice.name = cause->name;
    dj_notices_publish(engine->options.notices, &notice);
}

/* ---- the two selectors that existed first ---- */

void dj_engine_tell_key(struct dj_engine *engine, struct dj_loop *loop,
                        const struct dj_store_key *key, struct deja_slice name,
                        struct deja_slice name_space, bool is_user, struct deja_slice reason)
{
    struct dj_notice notice = {
        .time_ms = dj_loop_now_ms(loop),
        .kind = "key",
        .name = name,
        .name_space = deja_slice(name_space.len ? name_space.data : "", name_space.len),
        .removed = 1,
        .reason = reason,
        .is_user = is_user};
    memcpy(notice.tenant, key->tenant, sizeof notice.tenant);
    dj_notices_publish(engine->options.notices, &notice);
}
