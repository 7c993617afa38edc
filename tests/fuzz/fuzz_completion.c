/* Whatever a stream holds, what was made of it is JSON, replays, and is made again of its replay.
 */
#include "fuzz.h"

#include "proxy/completion.h"
#include "proxy/family.h"

static const struct dj_rewrite hit_changes = {.is_usage_zero = true, .id = "new", .created_s = 1};

static struct dj_json_doc *parse(const struct dj_buf *text)
{
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_json_parse(dj_buf_slice(text), &doc, NULL);
    FUZZ_CHECK(status == DEJA_OK);
    return doc;
}

static void replay(const struct dj_json *object)
{
    struct dj_answer_facts facts;
    struct dj_buf sse = {0};
    struct dj_buf again = {0};
    bool is_done = false;
    dj_completion_inspect(object, &facts);
    FUZZ_CHECK(dj_completion_replay(object, true, &sse) == DEJA_OK);
    enum deja_status status = dj_completion_assemble(dj_buf_slice(&sse), &again, &is_done);
    if (status == DEJA_ERR_LIMIT) {
        /* The replay numbers tool calls that had no number, and there may be too many. */
    } else if (facts.choice_count || dj_json_get(object, "usage")) {
        FUZZ_CHECK(status == DEJA_OK && is_done);
        struct dj_answer_facts facts_again;
        struct dj_json_doc *doc = parse(&again);
        dj_completion_inspect(dj_json_root(doc), &facts_again);
        FUZZ_CHECK(facts_again.choice_count == facts.choice_count);
        FUZZ_CHECK(facts_again.is_every_choice_stopped == facts.is_every_choice_stopped);
        FUZZ_CHECK(facts_again.has_tool_calls == facts.has_tool_calls);
        FUZZ_CHECK(facts_again.has_content == facts.has_content);
        dj_json_doc_destroy(doc);
    } else {
        FUZZ_CHECK(status == DEJA_ERR_INVALID); /* an answer without a chunk */
    }
    dj_buf_fini(&sse);
    dj_buf_fini(&again);
}

/* Shaped as APIs answer: others are replayed too, but not as what they were. */
static bool is_usual(const struct dj_json *object)
{
    int64_t next = 0;
    if (dj_json_get(object, "error") || !dj_json_count(dj_json_get(object, "choices")))
        return false;
    for (struct dj_json_walk walk = dj_json_walk(dj_json_get(object, "choices"));
         dj_json_walk_next(&walk);)
        if (dj_json_i64(dj_json_get(walk.value, "index"), -1) != next++ ||
            !dj_json_is(dj_json_get(walk.value, "message"), DJ_JSON_OBJECT))
            return false;
    return true;
}

static void replay_unusual(const struct dj_json *object)
{
    struct dj_buf sse = {0};
    struct dj_buf again = {0};
    bool is_done = false;
    enum deja_status status = dj_completion_replay(object, false, &sse);
    if (status == DEJA_OK)
        status = dj_completion_assemble(dj_buf_slice(&sse), &again, &is_done);
    if (status == DEJA_OK)
        dj_json_doc_destroy(parse(&again));
    else
        FUZZ_CHECK(again.len == 0);
    dj_buf_fini(&sse);
    dj_buf_fini(&again);
}

/* What an upstream answers that does not stream: any JSON at all. */
static void check_object(struct deja_slice text)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf hit = {0};
    if (dj_json_parse(text, &doc, NULL) != DEJA_OK)
        return;
    dj_family_rewrite(&dj_family_chat, dj_json_root(doc), &hit_changes, &hit);
    if (hit.status == DEJA_OK && hit.len)
        dj_json_doc_destroy(parse(&hit));
    if (is_usual(dj_json_root(doc)))
        replay(dj_json_root(doc));
    else
        replay_unusual(dj_json_root(doc));
    dj_json_doc_destroy(doc);
    dj_buf_fini(&hit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_buf object = {0};
    struct dj_buf hit = {0};
    bool is_done = false;
    if (!len || len > 65536)
        return 0;
    struct deja_slice sse = deja_slice(data, len);
    if (data[0] == '{' || data[0] == '[') {
        check_object(sse);
        return 0;
    }
    dj_completion_is_usage_only(sse);
    if (dj_completion_assemble(sse, &object, &is_done) == DEJA_OK) {
        struct dj_json_doc *doc = parse(&object);
        dj_family_rewrite(&dj_family_chat, dj_json_root(doc), &hit_changes, &hit);
        struct dj_json_doc *hit_doc = parse(&hit);
        replay(dj_json_root(doc));
        dj_json_doc_destroy(hit_doc);
        dj_json_doc_destroy(doc);
    } else {
        FUZZ_CHECK(object.len == 0);
    }
    dj_buf_fini(&object);
    dj_buf_fini(&hit);
    return 0;
}
