/* A request's key does not depend on the order of members, on white space or on members of the
 * deny-list; it does on the text, and the scope does not. A folded request is a request.
 */
#include "fuzz.h"

#include "base/buf.h"
#include "cache/key.h"

static const struct dj_key_prefix prefix = {
    .tenant = "tenant", .fingerprint_key = "secret", .family = "chat", .policy_epoch = 1};

static struct dj_json_doc *parse(struct deja_slice text)
{
    struct dj_json_doc *doc = NULL;
    return dj_json_parse(text, &doc, NULL) == DEJA_OK ? doc : NULL;
}

/* Writes value with the members of every object rotated by `turn`; the root object gets members
 * that do not count. */
static void put_turned(struct dj_json_writer *w, const struct dj_json *value, unsigned turn,
                       unsigned depth)
{
    size_t count = dj_json_count(value);
    if (dj_json_is(value, DJ_JSON_ARRAY)) {
        dj_json_begin_array(w);
        for (struct dj_json_walk item = dj_json_walk(value); dj_json_walk_next(&item);)
            put_turned(w, item.value, turn, depth + 1);
        dj_json_end_array(w);
    } else if (dj_json_is(value, DJ_JSON_OBJECT)) {
        dj_json_begin_object(w);
        for (unsigned half = 0; half < 2; half++) {
            for (struct dj_json_walk item = dj_json_walk(value); dj_json_walk_next(&item);) {
                if ((item.index < turn % (count ? count : 1)) != (half == 1))
                    continue;
                dj_json_key_slice(w, item.key);
                put_turned(w, item.value, turn, depth + 1);
            }
        }
        if (!depth && !dj_json_get(value, "cache_skip")) {
            dj_json_key(w, "cache_skip");
            dj_json_put_bool(w, true);
        }
        dj_json_end_object(w);
    } else {
        dj_json_put_value(w, value);
    }
}

/* The request with the text of its last turn made another one; false if that is no plain string. */
static bool put_other_text(struct dj_buf *out, const struct dj_fingerprint *fingerprint)
{
    struct deja_slice canonical = fingerprint->canonical;
    size_t after = fingerprint->mark_offset + fingerprint->mark_len;
    if (!fingerprint->mark_len)
        return false;
    dj_buf_append(out, canonical.data, fingerprint->mark_offset + 1);
    dj_buf_append_text(out, "zq9 ");
    dj_buf_append(out, canonical.data + fingerprint->mark_offset + 1,
                  canonical.len - fingerprint->mark_offset - 1);
    FUZZ_CHECK(after <= canonical.len && out->status == DEJA_OK);
    return true;
}

static bool key_of(const struct dj_json *root, struct dj_arena *arena,
                   struct dj_fingerprint *out_fingerprint)
{
    if (dj_key_chat(&prefix, root, arena, out_fingerprint) != DEJA_OK)
        return false;
    dj_key_scope(&prefix, out_fingerprint);
    return true;
}

static void check_same(const struct dj_fingerprint *a, const struct dj_fingerprint *b)
{
    FUZZ_CHECK(memcmp(a->exact, b->exact, sizeof a->exact) == 0);
    FUZZ_CHECK(memcmp(a->scope, b->scope, sizeof a->scope) == 0);
    FUZZ_CHECK(memcmp(&a->key, &b->key, sizeof a->key) == 0);
    FUZZ_CHECK(a->is_semantic == b->is_semantic && a->has_history == b->has_history);
    FUZZ_CHECK(deja_slice_is_equal(a->canonical, b->canonical));
    FUZZ_CHECK(deja_slice_is_equal(a->text, b->text));
}

static void check_other_text(const struct dj_fingerprint *key, struct dj_arena *arena)
{
    struct dj_buf text = {0};
    struct dj_fingerprint other;
    if (put_other_text(&text, key)) {
        struct dj_json_doc *doc = parse(dj_buf_slice(&text));
        FUZZ_CHECK(doc && key_of(dj_json_root(doc), arena, &other));
        FUZZ_CHECK(memcmp(other.exact, key->exact, sizeof key->exact) != 0);
        FUZZ_CHECK(memcmp(&other.key, &key->key, sizeof key->key) != 0);
        FUZZ_CHECK(memcmp(other.scope, key->scope, sizeof key->scope) == 0);
        dj_json_doc_destroy(doc);
    }
    dj_buf_fini(&text);
}

static void check_fold(const struct dj_json *root, struct dj_arena *arena)
{
    const unsigned all = DJ_FOLD_TIME | DJ_FOLD_UUID | DJ_FOLD_REQUEST_ID | DJ_FOLD_DATE;
    struct deja_slice folded;
    struct deja_slice twice;
    unsigned kinds = 0;
    enum deja_status status = dj_key_fold(root, all, arena, &folded, &kinds);
    FUZZ_CHECK(status == DEJA_OK || status == DEJA_ERR_NOT_FOUND);
    if (status != DEJA_OK)
        return;
    struct dj_json_doc *doc = parse(folded);
    FUZZ_CHECK(doc && kinds && !(kinds & ~all));
    status = dj_key_fold(dj_json_root(doc), all, arena, &twice, NULL);
    /* Not always NOT_FOUND: a token's end may have hidden the start of the next. */
    FUZZ_CHECK(status == DEJA_ERR_NOT_FOUND || status == DEJA_OK);
    dj_json_doc_destroy(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_arena arena;
    struct dj_fingerprint key;
    struct dj_fingerprint turned_key;
    if (len < 2 || len > 16384)
        return 0;
    struct deja_slice text = deja_slice(data + 1, len - 1);
    dj_arena_init(&arena, 0);
    struct dj_json_doc *doc = parse(text);
    const struct dj_json *root = doc ? dj_json_root(doc) : NULL;
    if (dj_key_query(&prefix, text, &arena, &key) == DEJA_OK)
        dj_key_scope(&prefix, &key);
    if (dj_json_is(root, DJ_JSON_OBJECT) && key_of(root, &arena, &key)) {
        struct dj_buf turned = {0};
        struct dj_json_writer writer = dj_json_writer(&turned);
        put_turned(&writer, root, data[0], 0);
        struct dj_json_doc *turned_doc = parse(dj_buf_slice(&turned));
        FUZZ_CHECK(turned_doc && key_of(dj_json_root(turned_doc), &arena, &turned_key));
        check_same(&key, &turned_key);
        check_other_text(&key, &arena);
        check_fold(root, &arena);
        dj_json_doc_destroy(turned_doc);
        dj_buf_fini(&turned);
    }
    dj_json_doc_destroy(doc);
    dj_arena_fini(&arena);
    return 0;
}
