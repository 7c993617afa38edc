/* cache/plain_slide.c - lives that begin anew when they are read.
 *
 *   found ── a tenth of the life has passed? ──> a looking change, which nobody waits for:
 *            still there, still due ──> the same value, its end as far away as it was at first
 *
 * (1) Not a write per read: ten in a life at most, however many read.
 * (2) The change looks: a value that was replaced or removed meanwhile is not brought back.
 * (3) At most SLIDES_MAX of a loop are under way; beyond, the next read tries again.
 */
#include "base/alloc.h"
#include "base/slice.h"
#include "cache/plain_internal.h"

#define SLIDES_MAX 1024u

struct dj_plain_slide {
    struct dj_plain *plain;
    struct dj_loop *loop;
    const struct dj_kind *kind;
    struct dj_plain_space space; /* its slices in `bytes` */
    struct deja_slice key;
    struct deja_slice tags[DJ_ENTRY_TAGS_MAX];
    char bytes[];
};

struct dj_plain_slide *dj_plain_slide_create(struct dj_plain *plain, struct dj_loop *loop,
                                             const struct dj_kind *kind,
                                             const struct dj_plain_space *space,
                                             struct deja_slice key)
{
    struct dj_plain_loop *here = dj_plain_here(plain, loop);
    if (!kind || !kind->is_sliding || here->slides == SLIDES_MAX)
        return NULL;
    size_t bytes = space->name_space.len + space->user_tag.len + key.len;
    struct dj_plain_slide *slide = dj_alloc(sizeof *slide + bytes);
    if (!slide)
        return NULL;
    here->slides++;
    char *at = slide->bytes;
    slide->plain = plain;
    slide->loop = loop;
    slide->kind = kind;
    slide->space = *space;
    slide->space.name_space = dj_slice_place(&at, space->name_space);
    slide->space.user_tag = dj_slice_place(&at, space->user_tag);
    slide->key = dj_slice_place(&at, key);
    return slide;
}

static void end(struct dj_plain_slide *slide)
{
    dj_plain_here(slide->plain, slide->loop)->slides--;
    dj_plain_space_fini(&slide->space);
    dj_free(slide);
}

static bool is_due(const struct dj_plain_slide *slide, const struct dj_entry *entry, int64_t now_ms)
{
    return dj_kind_is_slide_due(slide->kind, entry->created_ms, entry->expires_ms, now_ms);
}

static enum dj_plain_verdict begin_anew(void *ctx, const struct dj_entry *now, int64_t now_ms,
                                        struct dj_plain_new *out_new)
{
    struct dj_plain_slide *slide = ctx;
    if (!now || !is_due(slide, now, now_ms))
        return DJ_PLAIN_KEEP;
    size_t count = 0; /* the user's own is added anew */
    for (size_t i = 0; i < now->tag_count; i++)
        if (!deja_slice_is_equal(now->tags[i].name, slide->space.user_tag))
            slide->tags[count++] = now->tags[i].name;
    *out_new = (struct dj_plain_new){.body = now->body,
                                     .metadata = now->metadata,
                                     .make_ms = now->make_ms,
                                     .expires_ms = now_ms + (now->expires_ms - now->created_ms),
                                     .tags = slide->tags,
                                     .tag_count = count};
    return DJ_PLAIN_PUT;
}

static void on_changed(void *ctx, enum deja_status status, const struct dj_plain_outcome *outcome)
{
    struct dj_plain_slide *slide = ctx;
    if (status == DEJA_OK && outcome->verdict == DJ_PLAIN_PUT)
        dj_kind_book_note(slide->plain->options.kinds, slide->space.tenant, slide->kind,
                          DJ_KIND_NOTE_SLIDE, DJ_LEVEL_MEMORY, 1);
    end(slide);
}

void dj_plain_slide_found(struct dj_plain_slide *slide, const struct dj_value *value)
{
    if (!slide)
        return;
    const struct dj_plain_change change = {
        .mode = DJ_PLAIN_LOOKING, .change = begin_anew, .done = on_changed, .ctx = slide};
    if (!value || !is_due(slide, dj_value_entry(value), dj_loop_now_ms(slide->loop)) ||
        dj_plain_change(slide->plain, slide->loop, &slide->space, slide->key, &change) != DEJA_OK)
        end(slide);
}
