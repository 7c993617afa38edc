/* A filter of the cache API and the metadata it is held against, parted by the first NUL. Whatever
 * they are: a filter is refused with a reason or answers the same every time; eq is not ne, a
 * member more never matches more, order does not matter.
 */
#include "fuzz.h"

#include "base/buf.h"
#include "cache/filter.h"

/* Everything a filter may look at, but the metadata. */
static struct dj_entry entry_of(struct deja_slice metadata)
{
    struct dj_entry entry = {.kind = DJ_ENTRY_API, .cost_usd = 0.5, .version = 7};
    entry.model = deja_slice_text("gpt-x");
    entry.provider = deja_slice_text("openai");
    entry.name_space = deja_slice_text("docs");
    entry.metadata = metadata;
    entry.tags[0].name = deja_slice_text("red");
    entry.tags[1].name = deja_slice_text("blue");
    entry.tag_count = 2;
    return entry;
}

struct answer {
    bool is_read;
    bool is_match;
};

static struct answer ask(struct deja_slice text, const struct dj_entry *entry)
{
    struct answer answer = {false, false};
    struct dj_json_doc *doc = NULL;
    struct dj_arena arena = {0};
    const struct dj_filter *filter = NULL;
    const char *fault = NULL;
    if (dj_json_parse(text, &doc, NULL) != DEJA_OK)
        return answer;
    enum deja_status status = dj_filter_read(dj_json_root(doc), &arena, &filter, &fault);
    dj_json_doc_destroy(doc); /* it need not outlive the call */
    answer.is_read = status == DEJA_OK;
    if (answer.is_read) {
        answer.is_match = dj_filter_is_match(filter, entry);
        FUZZ_CHECK(dj_filter_is_match(filter, entry) == answer.is_match);
    } else {
        FUZZ_CHECK(status == DEJA_ERR_INVALID && fault && fault[0]);
    }
    dj_arena_fini(&arena);
    return answer;
}

/* The filter's members the other way round; only the one at index unless that is SIZE_MAX. */
static void rewrite(const struct dj_json *filter, size_t count, size_t index, struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    dj_json_begin_object(&w);
    for (size_t left = count; left-- > 0;) {
        struct dj_json_walk walk = dj_json_walk(filter);
        for (size_t i = 0; i <= left && dj_json_walk_next(&walk); i++) {
        }
        if (index != SIZE_MAX && left != index)
            continue;
        dj_json_key_slice(&w, walk.key);
        dj_json_put_value(&w, walk.value);
    }
    dj_json_end_object(&w);
}

/* A filter matches when each member alone does. */
static void check_members(const struct dj_json *filter, const struct dj_entry *entry,
                          struct answer whole)
{
    size_t count = dj_json_count(filter);
    bool is_match = true;
    if (count > DJ_FILTER_MEMBERS_MAX)
        return;
    for (size_t i = 0; i < count; i++) {
        struct dj_buf one = {0};
        rewrite(filter, count, i, &one);
        struct answer answer = ask(dj_buf_slice(&one), entry);
        FUZZ_CHECK(answer.is_read);
        is_match = is_match && answer.is_match;
        dj_buf_fini(&one);
    }
    FUZZ_CHECK(is_match == whole.is_match);
    struct dj_buf turned = {0};
    rewrite(filter, count, SIZE_MAX, &turned);
    struct answer answer = ask(dj_buf_slice(&turned), entry);
    FUZZ_CHECK(answer.is_read && answer.is_match == whole.is_match);
    dj_buf_fini(&turned);
}

static void write_op(struct deja_slice name, const char *op, const struct dj_json *value,
                     struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    dj_json_begin_object(&w);
    dj_json_key_slice(&w, name);
    dj_json_begin_object(&w);
    dj_json_key(&w, op);
    dj_json_put_value(&w, value);
    dj_json_end_object(&w);
    dj_json_end_object(&w);
}

/* What equals a scalar is what is not unequal to it. */
static void check_opposites(const struct dj_json *filter, const struct dj_entry *entry)
{
    size_t asked = 0;
    for (struct dj_json_walk walk = dj_json_walk(filter); dj_json_walk_next(&walk) && asked < 4;) {
        struct dj_buf eq = {0};
        struct dj_buf ne = {0};
        if (dj_json_is(walk.value, DJ_JSON_OBJECT) || dj_json_is(walk.value, DJ_JSON_ARRAY))
            continue;
        asked++;
        write_op(walk.key, "eq", walk.value, &eq);
        write_op(walk.key, "ne", walk.value, &ne);
        struct answer is_equal = ask(dj_buf_slice(&eq), entry);
        struct answer is_other = ask(dj_buf_slice(&ne), entry);
        FUZZ_CHECK(is_equal.is_read == is_other.is_read);
        if (is_equal.is_read)
            FUZZ_CHECK(is_equal.is_match != is_other.is_match);
        dj_buf_fini(&eq);
        dj_buf_fini(&ne);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (!len || len > 8192)
        return 0;
    const char *cut = memchr(data, 0, len);
    size_t filter_len = cut ? (size_t)(cut - (const char *)data) : len;
    struct deja_slice text = deja_slice(data, filter_len);
    struct deja_slice metadata =
        cut ? deja_slice(cut + 1, len - filter_len - 1) : deja_slice(NULL, 0);
    struct dj_json_doc *metadata_doc = NULL;
    struct dj_json_doc *doc = NULL;
    /* The store holds objects only, but a damaged one must do no harm. */
    bool is_whole = !metadata.len || dj_json_parse(metadata, &metadata_doc, NULL) == DEJA_OK;
    struct dj_entry entry = entry_of(metadata);
    struct answer answer = ask(text, &entry);
    if (answer.is_read && is_whole && dj_json_parse(text, &doc, NULL) == DEJA_OK) {
        check_members(dj_json_root(doc), &entry, answer);
        check_opposites(dj_json_root(doc), &entry);
    }
    dj_json_doc_destroy(metadata_doc);
    dj_json_doc_destroy(doc);
    return 0;
}
