/* api/invalidate_read.c - what POST /api/v1/invalidate says, member by member.
 *
 *   one entry     key, or query with its namespace
 *   a selection   tag, namespace, older_than, filter, version, pattern, event: all that are said
 *                 must hold
 *   all           everything of the tenant
 *   cascade       a name: what depends on it; or true beside one of the others
 *   when          at, after, cron; otherwise now
 */
#include "api/invalidate_internal.h"

#include "api/query.h"
#include "base/date.h"
#include "base/slice.h"
#include "policy/cron.h"
#include "policy/glob.h"

#define EVENT_FIELDS_MAX DJ_KIND_FIELDS_MAX
#define DEPENDS_NAME_BYTES_MAX 128u /* as entries may say it */
#define AHEAD_MAX_MS (INT64_C(10) * 366 * 24 * 3600 * 1000)

static bool complain(struct dj_request *request, const char *field, const char *rule,
                     const char *message)
{
    dj_request_complain(request, "invalid_request", field, rule, message);
    return false;
}

/* Elsewhere null is as good as nothing; here it would turn one entry into all of a namespace. */
static bool refuse_null(struct dj_request *request)
{
    static const char *const selectors[] = {
        "key",     "query", "tag",     "namespace", "older_than", "filter", "all",
        "pattern", "event", "cascade", "version",   "at",         "after",  "cron"};
    for (size_t i = 0; i < sizeof selectors / sizeof *selectors; i++) {
        if (!dj_json_is(dj_json_get(request->body, selectors[i]), DJ_JSON_NULL))
            continue;
        complain(request, selectors[i], "type",
                 "is null: leave it out if nothing is selected by it");
        return true;
    }
    return false;
}

static bool read_key(struct dj_request *request, struct dj_invalidation *order)
{
    struct deja_slice key = {0};
    if (!dj_query_label(request, request->body, "key", "", DJ_LABEL_BYTES_MAX, &key))
        return false;
    order->has_key = key.data != NULL;
    if (!key.data || dj_query_id(request, key, &order->key))
        return true;
    return complain(
        request, "key", "format",
        "must be an entry's id: 32 hex digits; a plain key goes with DELETE /api/v1/kv/{key}");
}

/* The filter's own text, for a schedule; and "version" as the filter it is short for. */
static bool read_filter(struct dj_request *request, struct dj_invalidation *order)
{
    const struct dj_json *filter = dj_json_get(request->body, "filter");
    const struct dj_json *version = dj_json_get(request->body, "version");
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    struct dj_json_doc *doc = NULL;
    bool is_read = true;
    if (filter && version)
        return complain(request, "version", "exclusive",
                        "goes without filter: say {\"$version\": …} in the filter");
    if (version && !dj_json_is(version, DJ_JSON_STRING) && !dj_json_is(version, DJ_JSON_NUMBER))
        return complain(request, "version", "type", "must be a text or a number");
    if (!filter && !version)
        return true;
    if (version) {
        dj_json_begin_object(&w);
        dj_json_key(&w, "$version");
        dj_json_put_value(&w, version);
        dj_json_end_object(&w);
    } else {
        dj_json_put_value(&w, filter);
        is_read = dj_query_filter(request, request->body, "", &order->selector.filter);
    }
    order->filter = dj_arena_copy(request->arena, dj_buf_slice(&text));
    if (version && (dj_json_parse(dj_buf_slice(&text), &doc, NULL) != DEJA_OK ||
                    dj_filter_read(dj_json_root(doc), request->arena, &order->selector.filter,
                                   NULL) != DEJA_OK))
        is_read = complain(request, "version", "range", "cannot be compared");
    dj_json_doc_destroy(doc);
    dj_buf_fini(&text);
    if (is_read && !order->filter.data)
        is_read = complain(request, "filter", "size", "out of memory");
    return is_read;
}

static bool read_pattern(struct dj_request *request, struct dj_invalidation *order)
{
    struct deja_slice *pattern = &order->selector.pattern;
    if (!dj_query_label(request, request->body, "pattern", "", DJ_GLOB_PATTERN_BYTES_MAX, pattern))
        return false;
    if (pattern->data && !pattern->len)
        return complain(request, "pattern", "length",
                        "is empty: \"*\" is every plain key and every tagged entry");
    return true;
}

static bool read_selector(struct dj_request *request, struct dj_invalidate *invalidate)
{
    struct dj_invalidation *order = &invalidate->order;
    struct dj_selector *selector = &order->selector;
    const struct dj_json *body = request->body;
    if (!dj_query_label(request, body, "tag", "", DJ_LABEL_BYTES_MAX, &selector->tag) ||
        !dj_query_label(request, body, "namespace", "", DJ_NAMESPACE_BYTES_MAX,
                        &invalidate->name_space) ||
        !dj_query_duration(request, body, "older_than", "", &order->older_ms) ||
        !read_filter(request, order) || !read_pattern(request, order))
        return false;
    if (selector->tag.data && !selector->tag.len)
        return complain(request, "tag", "length", "is empty");
    selector->has_name_space = invalidate->name_space.data != NULL;
    selector->name_space = invalidate->name_space;
    return true;
}

/* ---- events ---- */

static bool read_fields(struct dj_request *request, const struct dj_json *event,
                        struct dj_kind_field fields[EVENT_FIELDS_MAX], size_t *out_count)
{
    *out_count = 0;
    for (struct dj_json_walk w = dj_json_walk(event); dj_json_walk_next(&w);) {
        struct deja_slice value = dj_json_string(w.value);
        if (dj_slice_is(w.key, "name"))
            continue;
        if (!value.data)
            value = dj_json_number_text(w.value);
        if (!value.len || value.len > DJ_KIND_TEXT_MAX || *out_count == EVENT_FIELDS_MAX)
            return complain(request, "event", "type",
                            "carries at most 8 texts or numbers of up to 256 bytes, such as "
                            "{\"name\": \"template:updated\", \"template_id\": \"42\"}");
        fields[(*out_count)++] = (struct dj_kind_field){.name = w.key, .value = value};
    }
    return true;
}

static const char *names_of(struct dj_request *request, const struct dj_kinds *kinds)
{
    struct dj_buf names = {0};
    dj_kinds_event_names(kinds, &names);
    const char *text = names.status == DEJA_OK
                           ? dj_request_text(request, "no kind names that event; known are %.*s",
                                             (int)(names.len < 400 ? names.len : 400), names.data)
                           : "no kind names that event";
    dj_buf_fini(&names);
    return text;
}

/* "template:updated", or an object with its name and what it carries. */
static bool read_event(struct dj_request *request, struct dj_invalidation *order)
{
    const struct dj_json *event = dj_json_get(request->body, "event");
    const struct dj_kinds *kinds = request->api->event_kinds;
    struct dj_kind_field fields[EVENT_FIELDS_MAX];
    size_t count = 0;
    if (!event)
        return true;
    struct deja_slice name =
        dj_json_string(dj_json_is(event, DJ_JSON_OBJECT) ? dj_json_get(event, "name") : event);
    if (!name.len || name.len > DJ_KIND_TEXT_MAX)
        return complain(request, "event", "type",
                        "must be a name, or an object with one: {\"name\": \"template:updated\", "
                        "\"template_id\": \"42\"}");
    if (!kinds)
        return complain(request, "event", "unsupported", "this daemon knows no kinds");
    if (dj_json_is(event, DJ_JSON_OBJECT) && !read_fields(request, event, fields, &count))
        return false;
    switch (dj_invalidation_set_event(order, kinds, name, fields, count, request->arena)) {
    case DEJA_OK:
        return true;
    case DEJA_ERR_NOT_FOUND:
        return complain(request, "event", "value", names_of(request, kinds));
    case DEJA_ERR_LIMIT:
        return complain(request, "event", "size", "voids more than 256 tags at once");
    case DEJA_ERR_INVALID:
        return complain(request, "event", "value",
                        "what it carries is in no tag of the kinds that name it, so nothing "
                        "would go; without it the whole kind does");
    default:
        return complain(request, "event", "size", "out of memory");
    }
}

/* ---- cascade, time ---- */

static bool read_cascade(struct dj_request *request, struct dj_invalidation *order)
{
    const struct dj_json *cascade = dj_json_get(request->body, "cascade");
    if (!cascade)
        return true;
    if (dj_json_is(cascade, DJ_JSON_BOOL)) {
        order->is_cascade = dj_json_bool(cascade, false);
        return true;
    }
    if (!dj_json_is(cascade, DJ_JSON_STRING))
        return complain(request, "cascade", "type",
                        "must be the name of what has changed, or true beside what is to be "
                        "removed with its dependants");
    if (!dj_query_label(request, request->body, "cascade", "", DEPENDS_NAME_BYTES_MAX,
                        &order->cascade_name))
        return false;
    if (!order->cascade_name.len)
        return complain(request, "cascade", "length", "is empty");
    order->is_cascade = true;
    return true;
}

static bool read_at(struct dj_request *request, const struct dj_json *at, int64_t *out_ms)
{
    double seconds = dj_json_double(at, -1);
    if (dj_json_is(at, DJ_JSON_STRING) && dj_date_parse(dj_json_string(at), out_ms) == DEJA_OK)
        return true;
    if (!dj_json_is(at, DJ_JSON_NUMBER) || !(seconds >= 0 && seconds < 1e10))
        return complain(request, "at", "format",
                        "must be a time such as \"2026-02-03T04:05:06Z\", or seconds since 1970");
    *out_ms = (int64_t)(seconds * 1000.0);
    return true;
}

static bool read_when(struct dj_request *request, struct dj_invalidate *invalidate)
{
    const struct dj_json *at = dj_json_get(request->body, "at");
    struct dj_invalidate_when *when = &invalidate->when;
    int64_t now_ms = dj_loop_now_ms(request->loop);
    uint64_t after_ms = 0;
    struct deja_error error = {""};
    struct dj_cron cron;
    if (!dj_query_duration(request, request->body, "after", "", &after_ms) ||
        !dj_query_label(request, request->body, "cron", "", DJ_CRON_TEXT_BYTES_MAX, &when->cron))
        return false;
    if ((at != NULL) + (after_ms > 0) + (when->cron.data != NULL) > 1)
        return complain(request, "at", "exclusive", "say one of at, after and cron");
    if (at && !read_at(request, at, &when->at_ms))
        return false;
    if (after_ms)
        when->at_ms = after_ms < AHEAD_MAX_MS ? now_ms + (int64_t)after_ms : INT64_MAX;
    if (when->cron.data && dj_cron_read(when->cron, &cron, &error) != DEJA_OK)
        return complain(request, "cron", "format", dj_request_text(request, "%s", error.message));
    if (when->cron.data)
        when->at_ms = dj_cron_next(&cron, now_ms);
    else if (when->at_ms > now_ms + AHEAD_MAX_MS)
        return complain(request, at ? "at" : "after", "range", "at most ten years ahead");
    if (when->at_ms && invalidate->is_dry_run)
        return complain(request, "dry_run", "exclusive",
                        "looks at what is there now: leave at, after and cron out");
    return true;
}

/* ---- which way of saying it ---- */

static void name_kind(const struct dj_invalidate *invalidate, struct dj_invalidation *order,
                      int parts)
{
    const struct dj_selector *selector = &order->selector;
    if (order->cascade_name.len)
        order->kind = "cascade";
    else if (order->has_key)
        order->kind = "entry";
    else if (invalidate->query.data)
        order->kind = "query";
    else if (parts > 1)
        order->kind = "selection";
    else if (selector->tag.len)
        order->kind = "tag";
    else if (selector->any_tag_count || selector->maker)
        order->kind = "event";
    else if (selector->pattern.data)
        order->kind = "pattern";
    else if (selector->filter)
        order->kind = dj_json_get(invalidate->request->body, "version") ? "version" : "filter";
    else if (order->older_ms)
        order->kind = "age";
    else
        order->kind = selector->has_name_space ? "namespace" : "all";
}

/* Complains when it is none or more than one. */
static void choose_kind(struct dj_request *request, struct dj_invalidate *invalidate)
{
    struct dj_invalidation *order = &invalidate->order;
    const struct dj_selector *selector = &order->selector;
    bool is_event = selector->any_tag_count || selector->maker;
    bool is_selection = selector->tag.len || order->older_ms || selector->filter ||
                        selector->pattern.data || is_event;
    bool is_narrowed = is_selection ||
                       (selector->has_name_space && !invalidate->query.data && !invalidate->is_all);
    int ways = order->has_key + (invalidate->query.data != NULL) + invalidate->is_all +
               is_narrowed + (order->cascade_name.len > 0);
    int parts = (selector->tag.len > 0) + (order->older_ms != 0) + (selector->filter != NULL) +
                selector->has_name_space + (selector->pattern.data != NULL) + is_event;
    if (ways != 1)
        complain(request, "query", "required",
                 "say one of key, query, all (true), cascade (a name), or a selection by tag, "
                 "namespace, older_than, filter, version, pattern, event");
    else
        name_kind(invalidate, order, parts);
}

enum deja_status dj_invalidate_find_key(struct dj_invalidate *invalidate)
{
    struct dj_fingerprint fingerprint;
    enum deja_status status = dj_query_fingerprint(invalidate->request, invalidate->name_space,
                                                   invalidate->query, &fingerprint);
    if (status != DEJA_OK)
        return status;
    invalidate->order.key = fingerprint.key;
    invalidate->order.has_key = true;
    return DEJA_OK;
}

void dj_invalidate_read(struct dj_request *request, struct dj_invalidate *invalidate)
{
    static const char *const members[] = {"key",    "query",   "tag",     "namespace", "older_than",
                                          "filter", "all",     "dry_run", "reason",    "pattern",
                                          "event",  "cascade", "version", "at",        "after",
                                          "cron",   NULL};
    const struct dj_json *body = request->body;
    struct dj_invalidation *order = &invalidate->order;
    if (refuse_null(request) || !dj_query_check_members(request, body, "", members) ||
        !read_key(request, order) || !read_selector(request, invalidate) ||
        !dj_query_label(request, body, "query", "", SIZE_MAX, &invalidate->query) ||
        !dj_query_label(request, body, "reason", "", DJ_NOTICE_REASON_BYTES_MAX, &order->reason) ||
        !dj_query_flag(request, body, "all", "", &invalidate->is_all) ||
        !dj_query_flag(request, body, "dry_run", "", &invalidate->is_dry_run) ||
        !read_event(request, order) || !read_cascade(request, order) ||
        !read_when(request, invalidate))
        return;
    choose_kind(request, invalidate);
    if (invalidate->query.data)
        dj_query_check_text(request, invalidate->query, "");
}
