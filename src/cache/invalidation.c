/* cache/invalidation.c - see invalidation.h. */
#include "cache/invalidation.h"

#include "base/alloc.h"
#include "base/num.h"
#include "base/slice.h"
#include "policy/glob.h"

static const char *const words[] = {"entry", "key",     "query",    "tag",   "namespace",
                                    "age",   "filter",  "pattern",  "event", "cascade",
                                    "all",   "version", "selection"};

const char *dj_invalidation_kind(struct deja_slice text)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (dj_slice_is(text, words[i]))
            return words[i];
    return "selection";
}

/* ---- events ---- */

/* The kinds' tags do not outlive the call. */
static enum deja_status take_voided(struct dj_invalidation *invalidation, struct dj_arena *arena,
                                    const struct dj_kinds_voided *voided)
{
    struct dj_selector *selector = &invalidation->selector;
    struct deja_slice *tags = dj_arena_alloc(arena, (voided->tag_count + 1) * sizeof *tags);
    if (!tags)
        return DEJA_ERR_NOMEM;
    for (size_t i = 0; i < voided->tag_count; i++) {
        tags[i] = dj_arena_copy(arena, voided->tags[i]);
        if (!tags[i].data)
            return DEJA_ERR_NOMEM;
    }
    selector->any_tags = tags;
    selector->any_tag_count = voided->tag_count;
    if (voided->is_by_model) {
        invalidation->maker =
            (struct dj_maker){.provider = voided->provider, .model = voided->model};
        selector->maker = &invalidation->maker;
    }
    return DEJA_OK;
}

enum deja_status dj_invalidation_set_event(struct dj_invalidation *invalidation,
                                           const struct dj_kinds *kinds, struct deja_slice event,
                                           const struct dj_kind_field *fields, size_t count,
                                           struct dj_arena *arena)
{
    struct dj_kinds_voided voided = {.tag_count = 0};
    enum deja_status status = dj_kinds_event(kinds, event, fields, count, &voided);
    if (status == DEJA_OK)
        status = take_voided(invalidation, arena, &voided);
    dj_kinds_voided_fini(&voided);
    if (status == DEJA_OK && !invalidation->selector.any_tag_count && !invalidation->selector.maker)
        status = DEJA_ERR_INVALID;
    if (status == DEJA_OK)
        invalidation->name = event;
    return status;
}

/* ---- as a document ---- */

static void put_text(struct dj_json_writer *w, const char *name, struct deja_slice text)
{
    if (!text.len)
        return;
    dj_json_key(w, name);
    dj_json_put_string(w, text);
}

static void put_event(struct dj_json_writer *w, const struct dj_selector *selector)
{
    if (selector->any_tag_count) {
        dj_json_key(w, "any_tags");
        dj_json_begin_array(w);
        for (size_t i = 0; i < selector->any_tag_count; i++)
            dj_json_put_string(w, selector->any_tags[i]);
        dj_json_end_array(w);
    }
    if (selector->maker) {
        dj_json_key(w, "maker");
        dj_json_begin_object(w);
        put_text(w, "provider", selector->maker->provider);
        put_text(w, "model", selector->maker->model);
        dj_json_end_object(w);
    }
}

void dj_invalidation_write(struct dj_json_writer *w, const struct dj_invalidation *invalidation)
{
    const struct dj_selector *selector = &invalidation->selector;
    dj_json_begin_object(w);
    dj_json_member_text(w, "kind", invalidation->kind);
    if (invalidation->has_key) {
        char hex[2 * DJ_ID_BYTES + 1];
        dj_hex_encode(invalidation->key.id, DJ_ID_BYTES, hex);
        dj_json_member_text(w, "key", hex);
    }
    put_text(w, "tag", selector->tag);
    if (selector->has_name_space) {
        dj_json_key(w, "namespace");
        dj_json_put_string(w, selector->name_space);
    }
    if (invalidation->older_ms)
        dj_json_member_u64(w, "older_than_ms", invalidation->older_ms);
    if (invalidation->filter.len) {
        dj_json_key(w, "filter");
        dj_json_put_raw(w, invalidation->filter);
    }
    put_text(w, "pattern", selector->pattern);
    put_event(w, selector);
    put_text(w, "cascade_name", invalidation->cascade_name);
    if (invalidation->is_cascade)
        dj_json_member_bool(w, "cascade", true);
    put_text(w, "name", invalidation->name);
    put_text(w, "reason", invalidation->reason);
    dj_json_end_object(w);
}

struct reading {
    const struct dj_json *object;
    struct dj_arena *arena;
    enum deja_status status;
};

static struct deja_slice keep(struct reading *reading, struct deja_slice text)
{
    struct deja_slice kept = dj_arena_copy(reading->arena, text);
    if (text.len && !kept.data)
        reading->status = DEJA_ERR_NOMEM;
    return kept;
}

static struct deja_slice read_text(struct reading *reading, const struct dj_json *object,
                                   const char *name)
{
    struct deja_slice text = dj_json_string(dj_json_get(object, name));
    if (text.len > DJ_INVALIDATION_NAME_BYTES_MAX)
        reading->status = DEJA_ERR_INVALID;
    return text.len ? keep(reading, text) : deja_slice(NULL, 0);
}

static void read_event(struct reading *reading, struct dj_invalidation *invalidation)
{
    const struct dj_json *tags = dj_json_get(reading->object, "any_tags");
    const struct dj_json *maker = dj_json_get(reading->object, "maker");
    size_t count = dj_json_count(tags);
    if (count > DJ_SELECTOR_TAGS_MAX)
        reading->status = DEJA_ERR_INVALID;
    if (count && reading->status == DEJA_OK) {
        struct deja_slice *kept = dj_arena_alloc(reading->arena, count * sizeof *kept);
        if (!kept)
            reading->status = DEJA_ERR_NOMEM;
        size_t index = 0;
        for (struct dj_json_walk walk = dj_json_walk(tags); kept && dj_json_walk_next(&walk);)
            kept[index++] = keep(reading, dj_json_string(walk.value));
        invalidation->selector.any_tags = kept;
        invalidation->selector.any_tag_count = kept ? count : 0;
    }
    if (!maker)
        return;
    invalidation->maker.provider = read_text(reading, maker, "provider");
    invalidation->maker.model = read_text(reading, maker, "model");
    invalidation->selector.maker = &invalidation->maker;
}

static void read_filter(struct reading *reading, struct dj_invalidation *invalidation)
{
    const struct dj_json *filter = dj_json_get(reading->object, "filter");
    if (!filter || reading->status != DEJA_OK)
        return;
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_put_value(&w, filter);
    if (text.status == DEJA_OK)
        invalidation->filter = keep(reading, dj_buf_slice(&text));
    else
        reading->status = text.status;
    dj_buf_fini(&text);
    if (reading->status == DEJA_OK)
        reading->status =
            dj_filter_read(filter, reading->arena, &invalidation->selector.filter, NULL);
}

enum deja_status dj_invalidation_read(const struct dj_json *object,
                                      const uint8_t tenant[DJ_ID_BYTES], struct dj_arena *arena,
                                      struct dj_invalidation *out_invalidation)
{
    struct reading reading = {.object = object, .arena = arena};
    struct dj_invalidation *read = out_invalidation;
    *read = (struct dj_invalidation){
        .kind = dj_invalidation_kind(dj_json_string(dj_json_get(object, "kind")))};
    struct deja_slice key = dj_json_string(dj_json_get(object, "key"));
    const struct dj_json *name_space = dj_json_get(object, "namespace");
    if (!dj_json_is(object, DJ_JSON_OBJECT))
        return DEJA_ERR_INVALID;
    read->has_key = key.data != NULL;
    memcpy(read->key.tenant, tenant, DJ_ID_BYTES);
    if (key.data && dj_hex_decode(key, read->key.id, DJ_ID_BYTES) != DEJA_OK)
        return DEJA_ERR_INVALID;
    read->selector.tag = read_text(&reading, object, "tag");
    read->selector.has_name_space = name_space != NULL;
    if (name_space)
        read->selector.name_space = read_text(&reading, object, "namespace");
    int64_t older_ms = dj_json_i64(dj_json_get(object, "older_than_ms"), 0);
    read->older_ms = older_ms > 0 ? (uint64_t)older_ms : 0;
    read->selector.pattern = read_text(&reading, object, "pattern");
    read_event(&reading, read);
    read_filter(&reading, read);
    read->cascade_name = read_text(&reading, object, "cascade_name");
    read->is_cascade = dj_json_bool(dj_json_get(object, "cascade"), false);
    read->name = read_text(&reading, object, "name");
    read->reason = read_text(&reading, object, "reason");
    return reading.status;
}

/* ---- running ---- */

struct run {
    struct dj_engine *engine;
    struct dj_loop *loop;
    const struct dj_invalidation *invalidation;
    struct dj_selector selector; /* with its age worked out */
    struct dj_cause cause;
    bool is_dry_run;
    void *ctx;
    dj_invalidated_fn *done;
};

static void end(struct run *run, enum deja_status status, uint64_t count,
                const struct dj_cascade_result *cascade)
{
    run->done(run->ctx, status, count, cascade);
    dj_free(run);
}

static void on_selected(void *ctx, enum deja_status status, uint64_t count)
{
    end(ctx, status, count, NULL);
}

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    end(ctx, status, removed ? 1 : 0, NULL); /* however many tiers had it */
}

static void on_found(void *ctx, struct dj_value *value, const char *level)
{
    bool is_there = value != NULL;
    (void)level;
    dj_value_unref(value);
    end(ctx, DEJA_OK, is_there ? 1 : 0, NULL);
}

static void on_cascaded(void *ctx, const struct dj_cascade_result *result)
{
    end(ctx, result->status, result->removed, result);
}

static enum deja_status start_cascade(struct run *run, const uint8_t tenant[DJ_ID_BYTES])
{
    const struct dj_invalidation *invalidation = run->invalidation;
    const struct dj_cascade_options options = {
        .name = invalidation->cascade_name,
        .key = invalidation->has_key ? &invalidation->key : NULL,
        .selector = &run->selector,
        .cause = &run->cause,
        .is_dry_run = run->is_dry_run,
        .is_selector_a_bound = invalidation->has_key || invalidation->cascade_name.len,
    };
    /* The options' members live in run and invalidation. */
    return dj_engine_cascade(run->engine, run->loop, tenant, &options, run, on_cascaded);
}

static enum deja_status start(struct run *run, const uint8_t tenant[DJ_ID_BYTES])
{
    const struct dj_invalidation *invalidation = run->invalidation;
    if (invalidation->is_cascade || invalidation->cascade_name.len)
        return start_cascade(run, tenant);
    if (invalidation->has_key && run->is_dry_run)
        return dj_engine_get(run->engine, run->loop, &invalidation->key, 0, run, on_found);
    if (invalidation->has_key)
        return dj_engine_remove_because(run->engine, run->loop, &invalidation->key, &run->cause,
                                        run, on_removed);
    if (run->is_dry_run)
        return dj_engine_count(run->engine, run->loop, tenant, &run->selector, run, on_selected);
    return dj_engine_remove_selected(run->engine, run->loop, tenant, &run->selector, run,
                                     on_selected);
}

enum deja_status dj_invalidation_run(struct dj_engine *engine, struct dj_loop *loop,
                                     const uint8_t tenant[DJ_ID_BYTES],
                                     const struct dj_invalidation *invalidation, bool is_dry_run,
                                     void *ctx, dj_invalidated_fn *done)
{
    struct run *run = dj_alloc_zeroed(1, sizeof *run);
    if (!run)
        return DEJA_ERR_NOMEM;
    *run = (struct run){.engine = engine,
                        .loop = loop,
                        .invalidation = invalidation,
                        .selector = invalidation->selector,
                        .is_dry_run = is_dry_run,
                        .ctx = ctx,
                        .done = done};
    run->cause = (struct dj_cause){.kind = invalidation->kind,
                                   .source = invalidation->source,
                                   .name = invalidation->name,
                                   .reason = invalidation->reason};
    run->selector.cause = &run->cause;
    if (invalidation->older_ms) {
        int64_t now_ms = dj_loop_now_ms(loop);
        /* Older than time itself: nothing was made before 1 ms. */
        run->selector.created_before_ms = invalidation->older_ms < (uint64_t)now_ms
                                              ? now_ms - (int64_t)invalidation->older_ms
                                              : 1;
    }
    enum deja_status status = start(run, tenant);
    if (status != DEJA_OK)
        dj_free(run);
    return status;
}
