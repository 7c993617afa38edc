/* stream_kit.h - streams of named events for the tests of the families: built from a list, cut,
 * spoiled, assembled, and compared with what they should have become.
 */
#ifndef DJ_TEST_STREAM_KIT_H
#define DJ_TEST_STREAM_KIT_H

#include "check.h"

#include <stdlib.h>

#include "proto/sse.h"
#include "proxy/family.h"
#include "proxy/tape.h"

static inline struct dj_json_doc *kit_parse(struct deja_slice text)
{
    struct dj_json_doc *doc = NULL;
    struct deja_error error = {""};
    if (dj_json_parse(text, &doc, &error) != DEJA_OK)
        fail_msg("%s: %.*s", error.message, (int)text.len, text.data);
    return doc;
}

static inline size_t kit_count(const char *const *events)
{
    size_t count = 0;
    while (events[count])
        count++;
    return count;
}

/* "event: TYPE", then data; skip: this one is left out, SIZE_MAX: none; instead: in its place. */
static inline void kit_stream(const char *const *events, size_t count, size_t skip,
                              const char *instead, struct dj_buf *out)
{
    for (size_t i = 0; i < count; i++) {
        const char *event = i == skip ? instead : events[i];
        struct dj_json_doc *doc = NULL;
        struct deja_slice type = deja_slice(NULL, 0);
        if (!event)
            continue;
        if (dj_json_parse(deja_slice_text(event), &doc, NULL) == DEJA_OK)
            type = dj_json_string(dj_json_get(dj_json_root(doc), "type"));
        dj_sse_begin(out, type);
        dj_buf_append_text(out, event);
        dj_sse_end(out);
        dj_json_doc_destroy(doc);
    }
    assert_int_equal(out->status, DEJA_OK);
}

static inline struct dj_buf kit_whole(const char *const *events)
{
    struct dj_buf sse = {0};
    kit_stream(events, kit_count(events), SIZE_MAX, NULL, &sse);
    return sse;
}

static inline void kit_assert_same_json(struct deja_slice got, struct deja_slice wanted)
{
    struct dj_buf texts[2] = {{0}, {0}};
    const struct deja_slice sources[] = {got, wanted};
    for (int i = 0; i < 2; i++) {
        struct dj_json_doc *doc = kit_parse(sources[i]);
        dj_json_canonical(&texts[i], dj_json_root(doc), NULL, NULL, NULL, NULL);
        dj_buf_append_byte(&texts[i], '\0');
        dj_json_doc_destroy(doc);
    }
    assert_string_equal(texts[0].data, texts[1].data);
    dj_buf_fini(&texts[0]);
    dj_buf_fini(&texts[1]);
}

/* Would an entry be made of it? */
static inline bool kit_is_whole(const struct dj_family *family, struct deja_slice sse)
{
    struct dj_assembly assembly = {.is_done = false};
    bool is_whole = family->assemble(sse, &assembly) == DEJA_OK && assembly.is_done;
    if (is_whole) {
        struct dj_answer_facts facts;
        struct dj_json_doc *doc = kit_parse(dj_buf_slice(&assembly.object));
        family->inspect(dj_json_root(doc), &facts);
        is_whole = facts.is_every_choice_stopped && facts.choice_count == 1;
        dj_json_doc_destroy(doc);
    }
    dj_assembly_fini(&assembly);
    return is_whole;
}

/* It becomes wanted, and its tape tells it again to the byte. */
static inline void kit_assert_recorded(const struct dj_family *family, const char *const *events,
                                       const char *wanted)
{
    struct dj_buf sse = kit_whole(events);
    struct dj_buf told = {0};
    struct dj_assembly assembly = {.is_done = false};
    assert_int_equal(family->assemble(dj_buf_slice(&sse), &assembly), DEJA_OK);
    assert_true(assembly.is_done);
    kit_assert_same_json(dj_buf_slice(&assembly.object), deja_slice_text(wanted));
    struct dj_json_doc *doc = kit_parse(dj_buf_slice(&assembly.object));
    const struct dj_replay_options options = {.tape = dj_buf_slice(&assembly.tape)};
    assert_int_equal(family->replay(dj_json_root(doc), &options, &told), DEJA_OK);
    dj_buf_append_byte(&told, '\0');
    dj_buf_append_byte(&sse, '\0');
    assert_string_equal(told.data, sse.data);
    dj_json_doc_destroy(doc);
    dj_buf_fini(&sse);
    dj_buf_fini(&told);
    dj_assembly_fini(&assembly);
}

/* Told without a tape and made whole again it is the same. */
static inline void kit_assert_comes_back(const struct dj_family *family, const char *object)
{
    struct dj_buf told = {0};
    struct dj_assembly assembly = {.is_done = false};
    struct dj_json_doc *doc = kit_parse(deja_slice_text(object));
    const struct dj_replay_options options = {.has_usage = true};
    assert_int_equal(family->replay(dj_json_root(doc), &options, &told), DEJA_OK);
    assert_int_equal(family->assemble(dj_buf_slice(&told), &assembly), DEJA_OK);
    assert_true(assembly.is_done);
    kit_assert_same_json(dj_buf_slice(&assembly.object), deja_slice_text(object));
    dj_json_doc_destroy(doc);
    dj_buf_fini(&told);
    dj_assembly_fini(&assembly);
}

/* Cut behind each event, and at each byte: never whole. */
static inline void kit_assert_no_part_is_whole(const struct dj_family *family,
                                               const char *const *events)
{
    struct dj_buf sse = kit_whole(events);
    assert_true(kit_is_whole(family, dj_buf_slice(&sse)));
    for (size_t len = 0; len + 2 < sse.len; len++)
        if (kit_is_whole(family, deja_slice(sse.data, len)))
            fail_msg("whole when cut at byte %zu of %zu", len, sse.len);
    dj_buf_fini(&sse);
}

/* Each event in turn is replaced by `instead`, or left out where that is NULL: never whole, but
 * where may_lack says so. */
static inline void kit_assert_none_may(const struct dj_family *family, const char *const *events,
                                       const char *instead, const char *const *may_lack)
{
    size_t count = kit_count(events);
    for (size_t i = 0; i < count; i++) {
        struct dj_buf sse = {0};
        bool may = false;
        kit_stream(events, count, i, instead, &sse);
        for (const char *const *type = may_lack; type && *type; type++)
            may = may || strstr(events[i], *type);
        if (!may && kit_is_whole(family, dj_buf_slice(&sse)))
            fail_msg("whole without %s", events[i]);
        dj_buf_fini(&sse);
    }
}

static inline void kit_assemble_survives_each_failed_allocation(const struct dj_family *family,
                                                                const char *const *events)
{
    struct dj_buf sse = kit_whole(events);
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_assembly assembly = {.is_done = false};
        failing_malloc_arm(n);
        enum deja_status status = family->assemble(dj_buf_slice(&sse), &assembly);
        has_failed = failing_malloc_disarm();
        if (status != (has_failed ? DEJA_ERR_NOMEM : DEJA_OK))
            fail_msg("%s at allocation %zu", deja_status_text(status), n);
        assert_int_equal(assembly.is_done, !has_failed);
        dj_assembly_fini(&assembly);
    }
    dj_buf_fini(&sse);
}

static inline void kit_replay_survives_each_failed_allocation(const struct dj_family *family,
                                                              const char *const *events)
{
    struct dj_buf sse = kit_whole(events);
    struct dj_assembly assembly = {.is_done = false};
    assert_int_equal(family->assemble(dj_buf_slice(&sse), &assembly), DEJA_OK);
    struct dj_json_doc *doc = kit_parse(dj_buf_slice(&assembly.object));
    for (int has_tape = 0; has_tape < 2; has_tape++) {
        const struct dj_replay_options options = {.tape = has_tape ? dj_buf_slice(&assembly.tape)
                                                                   : deja_slice(NULL, 0)};
        bool has_failed = true;
        for (size_t n = 1; has_failed; n++) {
            struct dj_buf told = {0};
            failing_malloc_arm(n);
            enum deja_status status = family->replay(dj_json_root(doc), &options, &told);
            has_failed = failing_malloc_disarm();
            assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
            dj_buf_fini(&told);
        }
    }
    dj_json_doc_destroy(doc);
    dj_buf_fini(&sse);
    dj_assembly_fini(&assembly);
}

#endif
