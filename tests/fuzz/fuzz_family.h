/* fuzz/fuzz_family.h - what holds for every family of answers, whatever a stream or a body says.
 *
 *   a stream that is whole -> object, facts, tape: told by the tape, it becomes the same object
 *   any object             -> told without a tape: JSON events, and if that is whole, told again as
 * it was any tape               -> played or refused, never half
 */
#ifndef DJ_FUZZ_FUZZ_FAMILY_H
#define DJ_FUZZ_FUZZ_FAMILY_H

#include "fuzz.h"

#include "proxy/family.h"
#include "proxy/tape.h"

static struct dj_json_doc *fuzz_parse(struct deja_slice text)
{
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_json_parse(text, &doc, NULL);
    FUZZ_CHECK(status == DEJA_OK);
    return doc;
}

static void fuzz_rewrite(const struct dj_family *family, const struct dj_json *object)
{
    static const struct dj_rewrite changes = {.is_usage_zero = true, .id = "new", .created_s = 1};
    struct dj_buf out = {0};
    dj_family_rewrite(family, object, &changes, &out);
    dj_json_doc_destroy(fuzz_parse(dj_buf_slice(&out)));
    dj_buf_fini(&out);
}

/* Tells object, and makes it whole again; *out_again is empty if that is refused. */
static void fuzz_again(const struct dj_family *family, const struct dj_json *object,
                       struct deja_slice tape, struct dj_assembly *out_again)
{
    struct dj_buf sse = {0};
    const struct dj_replay_options options = {.has_usage = true, .tape = tape};
    FUZZ_CHECK(family->replay(object, &options, &sse) == DEJA_OK);
    if (family->assemble(dj_buf_slice(&sse), out_again) != DEJA_OK)
        FUZZ_CHECK(out_again->object.len == 0 && out_again->tape.len == 0);
    dj_buf_fini(&sse);
}

static void fuzz_object(const struct dj_family *family, struct deja_slice text)
{
    struct dj_answer_facts facts;
    struct dj_json_doc *doc = NULL;
    struct dj_assembly again = {.is_done = false};
    if (dj_json_parse(text, &doc, NULL) != DEJA_OK)
        return;
    family->inspect(dj_json_root(doc), &facts);
    if (dj_json_is(dj_json_root(doc), DJ_JSON_OBJECT)) {
        fuzz_rewrite(family, dj_json_root(doc));
        fuzz_again(family, dj_json_root(doc), deja_slice(NULL, 0), &again);
        dj_assembly_fini(&again);
        again = (struct dj_assembly){.is_done = false};
        fuzz_again(family, dj_json_root(doc), text, &again); /* a tape and its object at once */
    }
    dj_assembly_fini(&again);
    dj_json_doc_destroy(doc);
}

static void fuzz_stream(const struct dj_family *family, struct deja_slice sse)
{
    struct dj_assembly made = {.is_done = false};
    struct dj_assembly again = {.is_done = false};
    struct dj_answer_facts facts;
    if (family->assemble(sse, &made) == DEJA_OK && made.is_done) {
        struct dj_json_doc *doc = fuzz_parse(dj_buf_slice(&made.object));
        family->inspect(dj_json_root(doc), &facts);
        if (dj_json_is(dj_json_root(doc), DJ_JSON_OBJECT))
            fuzz_rewrite(family, dj_json_root(doc));
        if (made.tape.len) {
            dj_json_doc_destroy(fuzz_parse(dj_buf_slice(&made.tape)));
            fuzz_again(family, dj_json_root(doc), dj_buf_slice(&made.tape), &again);
            FUZZ_CHECK(again.is_done && deja_slice_is_equal(dj_buf_slice(&again.object),
                                                            dj_buf_slice(&made.object)));
            FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&again.tape), dj_buf_slice(&made.tape)));
        }
        dj_json_doc_destroy(doc);
    }
    dj_assembly_fini(&made);
    dj_assembly_fini(&again);
}

static int fuzz_family(const struct dj_family *family, const uint8_t *data, size_t len)
{
    if (!len || len > 65536)
        return 0;
    if (data[0] == '{' || data[0] == '[')
        fuzz_object(family, deja_slice(data, len));
    else
        fuzz_stream(family, deja_slice(data, len));
    return 0;
}

#endif
