/* proto/json.c - JSON in: strict parsing over yyjson, read-only access.
 *
 * Trust: untrusted. Order of work: (1) one pass over the bytes that counts brackets outside
 * strings, so that nothing deep reaches code that recurses; (2) yyjson with numbers kept as text,
 * which also refuses invalid UTF-8, lone surrogates, trailing bytes and everything beyond RFC 8259;
 * (3) one pass over the values, which lie in one array, that refuses duplicate names.
 *
 * Duplicate names: pairs are compared in small objects, larger ones are sorted with memory from
 * outside the document, so 10^6 names cost 10^6 log 10^6 comparisons whatever a stranger chooses;
 * no hash is involved that could be aimed at.
 */
#include "proto/json_internal.h"

#include "base/alloc.h"
#include "base/num.h"

static void *yy_malloc(void *ctx, size_t size)
{
    (void)ctx;
    return dj_alloc(size);
}

static void *yy_realloc(void *ctx, void *old, size_t old_size, size_t size)
{
    (void)ctx;
    (void)old_size;
    return dj_realloc(old, size);
}

static void yy_free(void *ctx, void *memory)
{
    (void)ctx;
    dj_free(memory);
}

const yyjson_alc dj_json_allocator = {
    .malloc = yy_malloc, .realloc = yy_realloc, .free = yy_free, .ctx = NULL};

/* Offset of the byte after the string that starts after an opening quote at `at`, or len. Counting
 * the backslashes before a quote looks at each byte at most once more, as runs end at a quote. */
static size_t skip_string(struct deja_slice text, size_t at)
{
    size_t start = at;
    while (at < text.len) {
        const char *quote = memchr(text.data + at, '"', text.len - at);
        if (!quote)
            return text.len;
        size_t end = (size_t)(quote - text.data);
        size_t slashes = 0;
        while (end - slashes > start && text.data[end - slashes - 1] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            return end + 1;
        at = end + 1;
        start = at;
    }
    return text.len;
}

/* SIZE_MAX: fine; otherwise where the depth passes its bound. */
static size_t find_too_deep(struct deja_slice text)
{
    size_t depth = 0;
    for (size_t i = 0; i < text.len;) {
        char c = text.data[i];
        if (c == '"') {
            i = skip_string(text, i + 1);
            continue;
        }
        if ((c | 0x20) == '{') { /* '[' and '{' differ in one bit, as do ']' and '}' */
            if (++depth > DJ_JSON_DEPTH_MAX)
                return i;
        } else if ((c | 0x20) == '}' && depth) {
            depth--;
        }
        i++;
    }
    return SIZE_MAX;
}

void dj_json_members_read(yyjson_val *object, struct dj_json_member *members)
{
    yyjson_obj_iter iter = yyjson_obj_iter_with(object);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iter)); members++) {
        members->name = deja_slice(unsafe_yyjson_get_str(key), unsafe_yyjson_get_len(key));
        members->value = yyjson_obj_iter_get_val(key);
    }
}

static int compare_names(struct deja_slice a, struct deja_slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.data, b.data, len) : 0;
    if (order)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

static void insertion_sort(struct dj_json_member *members, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct dj_json_member moving = members[i];
        size_t at = i;
        for (; at && compare_names(members[at - 1].name, moving.name) > 0; at--)
            members[at] = members[at - 1];
        members[at] = moving;
    }
}

static void merge(const struct dj_json_member *from, size_t begin, size_t middle, size_t end,
                  struct dj_json_member *to)
{
    size_t left = begin;
    size_t right = middle;
    for (size_t i = begin; i < end; i++) {
        bool is_left = left < middle &&
                       (right >= end || compare_names(from[left].name, from[right].name) <= 0);
        to[i] = from[is_left ? left++ : right++];
    }
}

void dj_json_members_sort(struct dj_json_member *members, size_t count,
                          struct dj_json_member *scratch)
{
    size_t run = DJ_JSON_MEMBERS_SMALL;
    for (size_t i = 0; i < count; i += run)
        insertion_sort(members + i, count - i < run ? count - i : run);
    struct dj_json_member *from = members;
    struct dj_json_member *to = scratch;
    for (; run < count; run *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * run) {
            size_t middle = count - begin < run ? count : begin + run;
            size_t end = count - begin < 2 * run ? count : begin + 2 * run;
            merge(from, begin, middle, end, to);
        }
        struct dj_json_member *swap = from;
        from = to;
        to = swap;
    }
    if (from != members)
        memcpy(members, from, count * sizeof *members);
}

/* A name that occurs twice, or a NULL slice. */
static struct deja_slice find_twin(const struct dj_json_member *members, size_t count,
                                   bool is_sorted)
{
    for (size_t i = 1; i < count; i++)
        for (size_t j = is_sorted ? i - 1 : 0; j < i; j++)
            if (deja_slice_is_equal(members[i].name, members[j].name))
                return members[i].name;
    return deja_slice(NULL, 0);
}

static enum deja_status check_names(yyjson_val *object, struct deja_slice *out_twin)
{
    size_t count = unsafe_yyjson_get_len(object);
    struct dj_json_member small[DJ_JSON_MEMBERS_SMALL];
    if (count <= DJ_JSON_MEMBERS_SMALL) {
        dj_json_members_read(object, small);
        *out_twin = find_twin(small, count, false);
        return DEJA_OK;
    }
    struct dj_json_member *members = dj_alloc_zeroed(count * 2, sizeof *members);
    if (!members)
        return DEJA_ERR_NOMEM;
    dj_json_members_read(object, members);
    dj_json_members_sort(members, count, members + count);
    *out_twin = find_twin(members, count, true);
    dj_free(members);
    return DEJA_OK;
}

/* Keys point into the document's copy of the text (escapes are undone in place, from the same
 * start), which tells where they stood. */
static enum deja_status check_all_names(yyjson_doc *doc, struct deja_error *error)
{
    for (size_t i = 0; i < doc->val_read; i++) {
        yyjson_val *val = doc->root + i;
        if (!unsafe_yyjson_is_obj(val) || unsafe_yyjson_get_len(val) < 2)
            continue;
        struct deja_slice twin = {NULL, 0};
        enum deja_status status = check_names(val, &twin);
        if (status != DEJA_OK)
            return deja_error_set(error, status, "out of memory");
        if (twin.data)
            return deja_error_set(error, DEJA_ERR_INVALID, "duplicate name at byte %zu",
                                  (size_t)(twin.data - doc->str_pool));
    }
    return DEJA_OK;
}

enum deja_status dj_json_parse(struct deja_slice text, struct dj_json_doc **out_doc,
                               struct deja_error *error)
{
    size_t deep = find_too_deep(text);
    if (deep != SIZE_MAX)
        return deja_error_set(error, DEJA_ERR_LIMIT, "nested deeper than %u at byte %zu",
                              DJ_JSON_DEPTH_MAX, deep);
    if (!text.len)
        return deja_error_set(error, DEJA_ERR_INVALID, "empty text at byte 0");
    yyjson_read_err failure = {0};
    /* Without YYJSON_READ_INSITU the text is only read. */
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.data, text.len,
                                       YYJSON_READ_NUMBER_AS_RAW, &dj_json_allocator, &failure);
    if (!doc && failure.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    if (!doc)
        return deja_error_set(error, DEJA_ERR_INVALID, "%s at byte %zu",
                              failure.msg ? failure.msg : "not JSON", failure.pos);
    enum deja_status status = check_all_names(doc, error);
    if (status != DEJA_OK) {
        yyjson_doc_free(doc);
        return status;
    }
    *out_doc = (struct dj_json_doc *)doc;
    return DEJA_OK;
}

void dj_json_doc_destroy(struct dj_json_doc *doc)
{
    yyjson_doc_free((yyjson_doc *)doc);
}

const struct dj_json *dj_json_root(const struct dj_json_doc *doc)
{
    return doc ? dj_json_of(((const yyjson_doc *)(const void *)doc)->root) : NULL;
}

enum dj_json_type dj_json_type(const struct dj_json *value)
{
    if (!value)
        return DJ_JSON_NULL;
    switch (unsafe_yyjson_get_type(dj_json_val(value))) {
    case YYJSON_TYPE_BOOL:
        return DJ_JSON_BOOL;
    case YYJSON_TYPE_RAW: /* numbers: they are never anything else here */
        return DJ_JSON_NUMBER;
    case YYJSON_TYPE_STR:
        return DJ_JSON_STRING;
    case YYJSON_TYPE_ARR:
        return DJ_JSON_ARRAY;
    case YYJSON_TYPE_OBJ:
        return DJ_JSON_OBJECT;
    default:
        return DJ_JSON_NULL;
    }
}

bool dj_json_is(const struct dj_json *value, enum dj_json_type type)
{
    return value && dj_json_type(value) == type;
}

bool dj_json_bool(const struct dj_json *value, bool fallback)
{
    return dj_json_is(value, DJ_JSON_BOOL) ? unsafe_yyjson_get_bool(dj_json_val(value)) : fallback;
}

struct deja_slice dj_json_number_text(const struct dj_json *value)
{
    yyjson_val *val = dj_json_val(value);
    if (!dj_json_is(value, DJ_JSON_NUMBER))
        return deja_slice(NULL, 0);
    return deja_slice(unsafe_yyjson_get_raw(val), unsafe_yyjson_get_len(val));
}

double dj_json_double(const struct dj_json *value, double fallback)
{
    double number = fallback;
    struct deja_slice text = dj_json_number_text(value);
    return text.data && dj_num_parse_double(text, &number) == DEJA_OK ? number : fallback;
}

int64_t dj_json_i64(const struct dj_json *value, int64_t fallback)
{
    int64_t number = fallback;
    struct deja_slice text = dj_json_number_text(value);
    return text.data && dj_num_parse_i64(text, &number) == DEJA_OK ? number : fallback;
}

struct deja_slice dj_json_string(const struct dj_json *value)
{
    yyjson_val *val = dj_json_val(value);
    if (!dj_json_is(value, DJ_JSON_STRING))
        return deja_slice(NULL, 0);
    return deja_slice(unsafe_yyjson_get_str(val), unsafe_yyjson_get_len(val));
}

const struct dj_json *dj_json_get_slice(const struct dj_json *object, struct deja_slice name)
{
    return dj_json_of(yyjson_obj_getn(dj_json_val(object), name.data, name.len));
}

size_t dj_json_count(const struct dj_json *container)
{
    yyjson_val *val = dj_json_val(container);
    return container && unsafe_yyjson_is_ctn(val) ? unsafe_yyjson_get_len(val) : 0;
}

const struct dj_json *dj_json_at(const struct dj_json *array, size_t index)
{
    return dj_json_of(yyjson_arr_get(dj_json_val(array), index));
}

struct dj_json_walk dj_json_walk(const struct dj_json *container)
{
    return (struct dj_json_walk){.container = container, .left = dj_json_count(container)};
}

bool dj_json_walk_next(struct dj_json_walk *walk)
{
    if (!walk->left)
        return false;
    walk->left--;
    yyjson_val *next = walk->value ? unsafe_yyjson_get_next(dj_json_val(walk->value))
                                   : unsafe_yyjson_get_first(dj_json_val(walk->container));
    walk->index = walk->value ? walk->index + 1 : 0;
    if (unsafe_yyjson_is_obj(dj_json_val(walk->container))) {
        walk->key = deja_slice(unsafe_yyjson_get_str(next), unsafe_yyjson_get_len(next));
        next++; /* the value follows its key */
    }
    walk->position = next;
    walk->value = dj_json_of(next);
    return true;
}
