/* proxy/knobs.c - see knobs.h. One table of headers, read from the weakest family to the strongest,
 * so that the last word wins. */
#include "proxy/knobs.h"

#include "base/num.h"
#include "base/slice.h"
#include "cache/tiers.h"
#include "proto/http_text.h"
#include "text/question.h"

#define NAME_SPACE_LEN_MAX 256u
#define TAGS_LEN_MAX 2048u
#define LABELS_LEN_MAX 4096u
#define LABELS_MAX 32u
#define LABEL_NAME_LEN_MAX 128u
#define MS_PER_S 1000u

enum knob {
    KNOB_BYPASS_IF_TRUE,
    KNOB_BYPASS_IF_FALSE,
    KNOB_BYPASS_IF_ON,
    KNOB_BYPASS_IF_SET,
    KNOB_REFRESH_IF_TRUE,
    KNOB_NO_STORE_IF_TRUE,
    KNOB_TTL,
    KNOB_MAX_AGE,
    KNOB_THRESHOLD,
    KNOB_NAME_SPACE,
    KNOB_TAGS,
    KNOB_MODE,       /* exact|direct, semantic */
    KNOB_OP_CACHE,   /* readWrite, readOnly, writeOnly */
    KNOB_DEJA,       /* bypass, refresh, no-store, read-only, write-only */
    KNOB_DIRECTIVES, /* as Cache-Control */
    KNOB_PORTKEY,    /* JSON with cache.mode and cache.max_age */
    KNOB_VARIANTS,
    KNOB_SKIP,
    KNOB_IGNORED, /* members out of the key: only where the policy permits it */
    KNOB_ASKED,   /* true: the cache is wanted; false: bypass */
    KNOB_TRACE,   /* told again in the answer */
    KNOB_LABELS,  /* kept with the answer */
};

const char *const dj_compat_names[] = {"portkey", "cloudflare", "helicone", "litellm", "bifrost",
                                       "apisix",  "openrouter", "kong",     "vsr",     NULL};

static const struct row {
    const char *name;
    enum knob knob;
    unsigned compat;
} rows[] = {
    {"cache-control", KNOB_DIRECTIVES, 0},
    {"x-portkey-cache-force-refresh", KNOB_REFRESH_IF_TRUE, DJ_COMPAT_PORTKEY},
    {"x-portkey-cache-namespace", KNOB_NAME_SPACE, DJ_COMPAT_PORTKEY},
    {"x-portkey-debug", KNOB_BYPASS_IF_FALSE, DJ_COMPAT_PORTKEY},
    {"x-portkey-config", KNOB_PORTKEY, DJ_COMPAT_PORTKEY},
    {"x-portkey-trace-id", KNOB_TRACE, DJ_COMPAT_PORTKEY},
    {"x-portkey-metadata", KNOB_LABELS, DJ_COMPAT_PORTKEY},
    {"cf-skip-cache", KNOB_BYPASS_IF_TRUE, DJ_COMPAT_CLOUDFLARE},
    {"cf-cache-ttl", KNOB_TTL, DJ_COMPAT_CLOUDFLARE},
    {"cf-aig-skip-cache", KNOB_BYPASS_IF_TRUE, DJ_COMPAT_CLOUDFLARE},
    {"cf-aig-cache-ttl", KNOB_TTL, DJ_COMPAT_CLOUDFLARE},
    {"cf-aig-cache-key", KNOB_NAME_SPACE, DJ_COMPAT_CLOUDFLARE},
    {"cf-aig-metadata", KNOB_LABELS, DJ_COMPAT_CLOUDFLARE},
    {"helicone-cache-enabled", KNOB_ASKED, DJ_COMPAT_HELICONE},
    {"helicone-cache-seed", KNOB_NAME_SPACE, DJ_COMPAT_HELICONE},
    {"helicone-cache-bucket-max-size", KNOB_VARIANTS, DJ_COMPAT_HELICONE},
    {"helicone-cache-ignore-keys", KNOB_IGNORED, DJ_COMPAT_HELICONE},
    {"x-bf-cache-key", KNOB_NAME_SPACE, DJ_COMPAT_BIFROST},
    {"x-bf-cache-ttl", KNOB_TTL, DJ_COMPAT_BIFROST},
    {"x-bf-cache-threshold", KNOB_THRESHOLD, DJ_COMPAT_BIFROST},
    {"x-bf-cache-type", KNOB_MODE, DJ_COMPAT_BIFROST},
    {"x-bf-cache-no-store", KNOB_NO_STORE_IF_TRUE, DJ_COMPAT_BIFROST},
    {"x-openrouter-cache", KNOB_ASKED, DJ_COMPAT_OPENROUTER},
    {"x-openrouter-cache-ttl", KNOB_TTL, DJ_COMPAT_OPENROUTER},
    {"x-openrouter-cache-clear", KNOB_REFRESH_IF_TRUE, DJ_COMPAT_OPENROUTER},
    {"x-cache-bypass", KNOB_BYPASS_IF_SET, DJ_COMPAT_APISIX},
    {"x-higress-skip-ai-cache", KNOB_BYPASS_IF_ON, 0},
    {"op-cache", KNOB_OP_CACHE, 0},
    {"x-vsr-cache-control", KNOB_DIRECTIVES, DJ_COMPAT_VSR},
    {"x-deja-cache", KNOB_DEJA, 0},
    {"x-deja-mode", KNOB_MODE, 0},
    {"x-deja-ttl", KNOB_TTL, 0},
    {"x-deja-max-age", KNOB_MAX_AGE, 0},
    {"x-deja-threshold", KNOB_THRESHOLD, 0},
    {"x-deja-namespace", KNOB_NAME_SPACE, 0},
    {"x-deja-tags", KNOB_TAGS, 0},
    {"x-deja-variants", KNOB_VARIANTS, 0},
    {"x-deja-skip-tiers", KNOB_SKIP, 0},
};

static bool is_text(struct deja_slice value, const char *text)
{
    return dj_http_is_same(value, text);
}

static void read_ttl(struct deja_slice value, struct dj_knobs *knobs)
{
    uint64_t ms = 0;
    if (dj_num_parse_duration(value, &ms) == DEJA_OK && ms > 0)
        knobs->ttl_ms = ms;
    else
        knobs->detail = "ttl-ignored";
}

static void read_threshold(struct deja_slice value, struct dj_knobs *knobs)
{
    double threshold = 0;
    if (dj_num_parse_double(value, &threshold) == DEJA_OK && threshold >= 0 && threshold <= 1)
        knobs->threshold = threshold;
    else
        knobs->detail = "threshold-ignored";
}

/* A max-age is both the oldest acceptable entry and a cap of the store TTL (WIRE §6). */
static void read_max_age(struct deja_slice value, struct dj_knobs *knobs)
{
    uint64_t ms = 0;
    if (dj_num_parse_duration(value, &ms) != DEJA_OK) {
        knobs->detail = "max-age-ignored";
        return;
    }
    if (ms == 0) {
        knobs->is_no_read = true;
        return;
    }
    knobs->max_age_ms = ms;
    if (!knobs->ttl_ms || knobs->ttl_ms > ms)
        knobs->ttl_ms = ms;
}

/* Seconds of a directive into *out_ms; false when they cannot be read. */
static bool read_window(struct deja_slice value, uint64_t *out_ms, struct dj_knobs *knobs)
{
    if (dj_num_parse_duration(value, out_ms) == DEJA_OK)
        return true;
    knobs->detail = "stale-ignored";
    return false;
}

/* RFC 9111 §5.2.1 and RFC 5861; true when it was one of these. */
static bool read_stale(struct deja_slice name, struct deja_slice value, struct dj_knobs *knobs)
{
    struct dj_fresh_wish *wish = &knobs->wish;
    if (is_text(name, "max-stale")) {
        wish->max_stale_ms = UINT64_MAX; /* without a number: however old */
        wish->has_max_stale = !value.len || read_window(value, &wish->max_stale_ms, knobs);
    } else if (is_text(name, "min-fresh")) {
        read_window(value, &wish->min_fresh_ms, knobs);
    } else if (is_text(name, "stale-while-revalidate")) {
        wish->has_while_revalidate = read_window(value, &wish->while_revalidate_ms, knobs);
    } else if (is_text(name, "stale-if-error")) {
        wish->has_if_error = read_window(value, &wish->if_error_ms, knobs);
    } else {
        return false;
    }
    return true;
}

static void read_directive(struct deja_slice directive, struct dj_knobs *knobs)
{
    size_t name_len = 0;
    while (name_len < directive.len && directive.data[name_len] != '=')
        name_len++;
    struct deja_slice name = deja_slice(directive.data, name_len);
    struct deja_slice value = deja_slice(NULL, 0);
    if (name_len < directive.len)
        value = deja_slice(directive.data + name_len + 1, directive.len - name_len - 1);
    if (value.len >= 2 && value.data[0] == '"')
        value = deja_slice(value.data + 1, value.len - 2);
    if (read_stale(name, value, knobs))
        return;
    if (is_text(name, "no-cache"))
        knobs->is_no_read = true;
    else if (is_text(name, "no-store") || is_text(name, "bypass"))
        knobs->is_bypass = true; /* for privacy nothing is read either */
    else if (is_text(name, "only-if-cached"))
        knobs->is_only_if_cached = true;
    else if (is_text(name, "max-age"))
        read_max_age(value, knobs);
    else if (is_text(name, "s-maxage") || is_text(name, "ttl"))
        read_ttl(value, knobs);
}

static void read_directives(struct deja_slice value, struct dj_knobs *knobs)
{
    size_t at = 0;
    while (at < value.len) {
        while (at < value.len && (value.data[at] == ' ' || value.data[at] == ','))
            at++;
        size_t end = at;
        while (end < value.len && value.data[end] != ',')
            end++;
        size_t trimmed = end;
        while (trimmed > at && value.data[trimmed - 1] == ' ')
            trimmed--;
        if (trimmed > at)
            read_directive(deja_slice(value.data + at, trimmed - at), knobs);
        at = end;
    }
}

static void read_deja(struct deja_slice value, struct dj_knobs *knobs)
{
    if (is_text(value, "bypass"))
        knobs->is_bypass = true;
    else if (is_text(value, "refresh") || is_text(value, "write-only"))
        knobs->is_no_read = true;
    else if (is_text(value, "no-store"))
        knobs->is_bypass = true;
    else if (is_text(value, "read-only"))
        knobs->is_no_store = true;
    else if (is_text(value, "use"))
        knobs->is_wanted = true;
    else
        knobs->detail = "x-deja-cache-ignored";
}

static void read_name_space(struct deja_slice value, struct dj_knobs *knobs)
{
    if (value.len <= NAME_SPACE_LEN_MAX && dj_question_is_name(value)) {
        knobs->name_space = value;
        return;
    }
    knobs->is_bypass = true; /* never a wider namespace than was asked for */
    knobs->detail =
        value.len > NAME_SPACE_LEN_MAX ? "namespace-too-long" : "namespace-invalid-characters";
}

static void read_mode(struct deja_slice value, struct dj_knobs *knobs)
{
    if (is_text(value, "exact") || is_text(value, "direct"))
        knobs->is_exact_only = true;
    else if (is_text(value, "semantic"))
        knobs->is_exact_only = false;
    else
        knobs->detail = "mode-ignored";
}

static void read_op_cache(struct deja_slice value, struct dj_knobs *knobs)
{
    bool is_read_only = is_text(value, "readOnly");
    bool is_write_only = is_text(value, "writeOnly");
    if (!is_read_only && !is_write_only && !is_text(value, "readWrite")) {
        knobs->detail = "op-cache-ignored";
        return;
    }
    knobs->is_no_store = is_read_only;
    knobs->is_no_read = is_write_only;
}

static void read_tags(struct deja_slice value, struct dj_knobs *knobs)
{
    if (value.len <= TAGS_LEN_MAX && dj_question_is_name(value))
        knobs->tags = value;
    else
        knobs->detail = "tags-ignored";
}

/* Names with commas, as in metrics; "l1", "l2", "l3" too. */
static void read_skip(struct deja_slice value, struct dj_knobs *knobs)
{
    struct deja_slice name;
    while (dj_http_list_next(&value, &name)) {
        uint32_t bit = dj_level_bit(name);
        knobs->skip |= bit;
        if (!bit)
            knobs->detail = "skip-tiers-ignored";
    }
}

static void read_variants(struct deja_slice value, struct dj_knobs *knobs)
{
    uint64_t variants = 0;
    if (dj_num_parse_u64(value, &variants) == DEJA_OK && variants >= 1 &&
        variants <= DJ_VARIANTS_MAX)
        knobs->variants = (uint32_t)variants;
    else
        knobs->detail = "variants-ignored";
}

/* {"cache":{"mode":"simple"|"semantic","max_age":seconds}}; the rest of it is the upstream's. A
 * name of a saved configuration says nothing to us. */
static void read_portkey(struct deja_slice value, struct dj_knobs *knobs)
{
    static const double age_s[2] = {60, 7776000};
    struct dj_json_doc *doc = NULL;
    if (dj_json_parse(value, &doc, NULL) != DEJA_OK) {
        knobs->detail = "portkey-config-ignored";
        return;
    }
    const struct dj_json *cache = dj_json_get(dj_json_root(doc), "cache");
    const struct dj_json *mode =
        dj_json_is(cache, DJ_JSON_STRING) ? cache : dj_json_get(cache, "mode");
    if (dj_json_is(mode, DJ_JSON_STRING)) {
        if (dj_slice_is(dj_json_string(mode), "simple"))
            knobs->is_exact_only = true;
        else
            read_mode(dj_json_string(mode), knobs);
    }
    const struct dj_json *max_age = dj_json_get(cache, "max_age");
    double seconds = dj_json_double(max_age, 0);
    if (seconds >= age_s[0] && seconds <= age_s[1]) {
        knobs->max_age_ms = (uint64_t)(seconds * MS_PER_S);
        if (!knobs->ttl_ms || knobs->ttl_ms > knobs->max_age_ms)
            knobs->ttl_ms = knobs->max_age_ms;
    } else if (max_age) {
        knobs->detail = "max-age-ignored";
    }
    dj_json_doc_destroy(doc);
}

static bool is_label(struct deja_slice name, const struct dj_json *value)
{
    return name.len && name.len <= LABEL_NAME_LEN_MAX && dj_question_is_name(name) &&
           !dj_json_is(value, DJ_JSON_ARRAY) && !dj_json_is(value, DJ_JSON_OBJECT);
}

/* All of them or none: half of what somebody filters by would mislead. */
static void read_labels(struct deja_slice value, struct dj_knobs *knobs)
{
    struct dj_json_doc *doc = NULL;
    bool is_read = value.len <= LABELS_LEN_MAX && dj_json_parse(value, &doc, NULL) == DEJA_OK;
    const struct dj_json *root = is_read ? dj_json_root(doc) : NULL;
    size_t count = dj_json_count(root);
    is_read = dj_json_is(root, DJ_JSON_OBJECT) && count <= LABELS_MAX;
    for (struct dj_json_walk w = dj_json_walk(root); is_read && dj_json_walk_next(&w);)
        is_read = is_label(w.key, w.value);
    dj_json_doc_destroy(doc);
    if (!is_read)
        knobs->detail = "metadata-ignored";
    else if (count)
        knobs->labels = value;
}

/* The switches; false: it is none. */
static bool read_switch(enum knob knob, struct deja_slice value, struct dj_knobs *knobs)
{
    bool is_true = is_text(value, "true") || is_text(value, "1");
    bool is_false = is_text(value, "false") || is_text(value, "0");
    switch (knob) {
    case KNOB_BYPASS_IF_TRUE:
        knobs->is_bypass |= is_true;
        return true;
    case KNOB_BYPASS_IF_FALSE:
        knobs->is_bypass |= is_false;
        return true;
    case KNOB_BYPASS_IF_ON:
        knobs->is_bypass |= is_text(value, "on");
        return true;
    case KNOB_BYPASS_IF_SET:
        knobs->is_bypass |= !is_false;
        return true;
    case KNOB_REFRESH_IF_TRUE:
        knobs->is_no_read |= is_true;
        return true;
    case KNOB_NO_STORE_IF_TRUE:
        knobs->is_no_store |= is_true;
        return true;
    case KNOB_ASKED:
        knobs->is_bypass |= is_false;
        knobs->is_wanted |= is_true;
        return true;
    default:
        return false;
    }
}

static void read_row(const struct row *row, struct deja_slice value, struct dj_knobs *knobs)
{
    knobs->compat |= row->compat;
    if (read_switch(row->knob, value, knobs))
        return;
    switch (row->knob) {
    case KNOB_TTL:
        read_ttl(value, knobs);
        break;
    case KNOB_MAX_AGE:
        read_max_age(value, knobs);
        break;
    case KNOB_THRESHOLD:
        read_threshold(value, knobs);
        break;
    case KNOB_NAME_SPACE:
        read_name_space(value, knobs);
        break;
    case KNOB_TAGS:
        read_tags(value, knobs);
        break;
    case KNOB_MODE:
        read_mode(value, knobs);
        break;
    case KNOB_OP_CACHE:
        read_op_cache(value, knobs);
        break;
    case KNOB_DEJA:
        read_deja(value, knobs);
        break;
    case KNOB_DIRECTIVES:
        read_directives(value, knobs);
        break;
    case KNOB_PORTKEY:
        read_portkey(value, knobs);
        break;
    case KNOB_VARIANTS:
        read_variants(value, knobs);
        break;
    case KNOB_SKIP:
        read_skip(value, knobs);
        break;
    case KNOB_IGNORED:
        knobs->ignored = value;
        break;
    case KNOB_TRACE:
        knobs->trace_id = value.len <= DJ_KNOBS_TRACE_BYTES_MAX ? value : knobs->trace_id;
        break;
    case KNOB_LABELS:
        read_labels(value, knobs);
        break;
    default: /* a switch */
        break;
    }
}

/* Seconds as a number into *ms; detail names one that cannot be read. */
static void read_seconds(const struct dj_json *value, const char *detail, uint64_t *ms,
                         struct dj_knobs *knobs)
{
    double seconds = dj_json_double(value, 0);
    if (dj_json_type(value) == DJ_JSON_NULL)
        return;
    if (seconds * MS_PER_S >= 1 && seconds < 1e9)
        *ms = (uint64_t)(seconds * MS_PER_S);
    else
        knobs->detail = detail;
}

static bool is_steered(const struct dj_knobs *knobs)
{
    return knobs->is_bypass || knobs->is_no_read || knobs->is_no_store;
}

/* Who asked first is the rule that is told. */
static void note_rule(struct dj_knobs *knobs, bool was_steered, const char *name)
{
    if (!was_steered && is_steered(knobs))
        knobs->rule = name;
}

/* LiteLLM's body knobs; there s-maxage is a freshness bound. */
static void read_body(const struct dj_json *body, struct dj_knobs *knobs)
{
    const struct dj_json *cache = dj_json_get(body, "cache");
    bool was_steered = is_steered(knobs);
    if (dj_json_bool(dj_json_get(body, "cache_skip"), false))
        knobs->is_bypass = true;
    note_rule(knobs, was_steered, "cache_skip");
    was_steered = is_steered(knobs);
    if (!dj_json_is(cache, DJ_JSON_OBJECT))
        return;
    knobs->compat |= DJ_COMPAT_LITELLM;
    if (dj_json_bool(dj_json_get(cache, "use-cache"), false))
        knobs->is_wanted = true;
    if (dj_json_bool(dj_json_get(cache, "no-cache"), false))
        knobs->is_no_read = true;
    if (dj_json_bool(dj_json_get(cache, "no-store"), false))
        knobs->is_bypass = true;
    read_seconds(dj_json_get(cache, "ttl"), "ttl-ignored", &knobs->ttl_ms, knobs);
    read_seconds(dj_json_get(cache, "s-max-age"), "max-age-ignored", &knobs->max_age_ms, knobs);
    read_seconds(dj_json_get(cache, "s-maxage"), "max-age-ignored", &knobs->max_age_ms, knobs);
    struct deja_slice name_space = dj_json_string(dj_json_get(cache, "namespace"));
    if (name_space.len)
        read_name_space(name_space, knobs);
    note_rule(knobs, was_steered, "cache");
}

static void read_header(const struct row *row, struct deja_slice value, struct dj_knobs *knobs)
{
    bool was_steered = is_steered(knobs);
    read_row(row, value, knobs);
    note_rule(knobs, was_steered, row->name);
}

/* Headers of a cache begin with one of few pairs of letters; most requests carry none, so a cheap
 * look first spares the table. */
static bool may_steer(struct deja_slice name)
{
    static const char *const starts[] = {"x-", "ca", "cf", "he", "op"};
    for (size_t i = 0; name.len > 5 && i < sizeof starts / sizeof *starts; i++)
        if (is_text(deja_slice(name.data, 2), starts[i]))
            return true;
    return false;
}

static const struct row *find_row(struct deja_slice name)
{
    if (!may_steer(name))
        return NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (is_text(name, rows[i].name))
            return &rows[i];
    return NULL;
}

void dj_knobs_read(const struct dj_http_request *request, const struct dj_json *body,
                   struct dj_knobs *out_knobs)
{
    struct dj_knobs knobs = {0};
    const struct row *met[64];
    struct deja_slice values[64];
    size_t count = 0;
    for (size_t i = 0; i < request->header_count && count < 64; i++) {
        met[count] = find_row(request->headers[i].name);
        if (met[count])
            values[count++] = request->headers[i].value;
    }
    for (size_t i = 0; i < count; i++)
        if (met[i] == &rows[0])
            read_header(met[i], values[i], &knobs);
    if (body)
        read_body(body, &knobs);
    for (const struct row *row = rows + 1; count && row < rows + sizeof rows / sizeof *rows; row++)
        for (size_t i = 0; i < count; i++)
            if (met[i] == row)
                read_header(row, values[i], &knobs);
    *out_knobs = knobs;
}

void dj_knobs_cut_ttl(struct dj_knobs *knobs, uint64_t ttl_max_ms)
{
    if (!ttl_max_ms || knobs->ttl_ms <= ttl_max_ms)
        return;
    knobs->ttl_ms = ttl_max_ms;
    knobs->detail = "ttl-clamped";
}

/* Names as an array of JSON or with commas; no name of a member has a quote or bracket in it. */
bool dj_knobs_ignores(const struct dj_knobs *knobs, struct deja_slice member)
{
    struct deja_slice list = knobs->ignored;
    struct deja_slice name;
    while (dj_http_list_next(&list, &name)) {
        while (name.len && strchr("[]\"' ", name.data[0]))
            name = deja_slice(name.data + 1, name.len - 1);
        while (name.len && strchr("[]\"' ", name.data[name.len - 1]))
            name.len--;
        if (name.len && deja_slice_is_equal(name, member))
            return true;
    }
    return false;
}

bool dj_knobs_is_cache_header(struct deja_slice name)
{
    const struct row *row = find_row(name);
    /* Cache-Control is every hop's own; Portkey's configuration also routes, and labels and traces
     * are for whoever comes next, too. */
    if (row)
        return row->knob != KNOB_PORTKEY && row->knob != KNOB_TRACE && row->knob != KNOB_LABELS &&
               row != &rows[0];
    return name.len >= 7 && is_text(deja_slice(name.data, 7), "x-deja-");
}
