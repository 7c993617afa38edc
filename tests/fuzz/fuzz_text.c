/* A question's text: normal forms are their own normal forms, words lie in the text in order, the
 * guards are symmetric, a vector has unit length. The text is cut in two at the first NUL.
 */
#include "fuzz.h"

#include <math.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "embed/lexical.h"
#include "policy/guards.h"
#include "text/normalise.h"
#include "text/question.h"
#include "text/utf8.h"
#include "text/words.h"

#define WORDS_MAX 512u
#define DIM_MAX 1024u

typedef enum deja_status form_fn(struct deja_slice text, struct dj_buf *out);

/* form(form(text)) is form(text). */
static void check_form(form_fn *form, struct deja_slice text, struct dj_buf *out)
{
    struct dj_buf again = {0};
    FUZZ_CHECK(form(text, out) == DEJA_OK);
    FUZZ_CHECK(dj_utf8_is_valid(dj_buf_slice(out)));
    FUZZ_CHECK(form(dj_buf_slice(out), &again) == DEJA_OK);
    FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(out), dj_buf_slice(&again)));
    dj_buf_fini(&again);
}

static void check_normal_forms(struct deja_slice text)
{
    struct dj_buf nfd = {0};
    struct dj_buf nfc = {0};
    struct dj_buf normal = {0};
    struct dj_buf both = {0};
    check_form(dj_utf8_nfd, text, &nfd);
    check_form(dj_utf8_nfc, text, &nfc);
    check_form(dj_text_normalise, text, &normal);
    FUZZ_CHECK(dj_utf8_nfc(dj_buf_slice(&nfd), &both) == DEJA_OK);
    FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&nfc), dj_buf_slice(&both)));
    dj_buf_fini(&nfd);
    dj_buf_fini(&nfc);
    dj_buf_fini(&normal);
    dj_buf_fini(&both);
}

/* Code points one by one say what the whole check says, and are written as they were. */
static bool check_code_points(struct deja_slice text)
{
    struct dj_buf copy = {0};
    size_t count = 0;
    bool is_valid = true;
    for (size_t offset = 0; offset < text.len; count++) {
        size_t before = offset;
        int32_t code_point = dj_utf8_next(text, &offset);
        int32_t parts[DJ_CHAR_PARTS_MAX];
        FUZZ_CHECK(offset > before && offset <= text.len && offset - before <= 4);
        if (code_point < 0) {
            FUZZ_CHECK(offset == before + 1);
            is_valid = false;
            continue;
        }
        size_t part_count = dj_char_decompose(code_point, parts);
        FUZZ_CHECK(part_count >= 1 && part_count <= DJ_CHAR_PARTS_MAX);
        FUZZ_CHECK(dj_char_class(code_point) <= DJ_CHAR_CONTROL && dj_char_lower(code_point) >= 0);
        dj_utf8_append(&copy, code_point);
    }
    FUZZ_CHECK(is_valid == dj_utf8_is_valid(text));
    if (is_valid) {
        FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&copy), text));
        FUZZ_CHECK(dj_utf8_count(text) == count);
    }
    dj_buf_fini(&copy);
    return is_valid;
}

static void check_words(struct deja_slice text)
{
    struct dj_words words = {0};
    size_t end = 0;
    FUZZ_CHECK(dj_words_init(&words, text, WORDS_MAX) == DEJA_OK);
    FUZZ_CHECK(words.count <= WORDS_MAX);
    for (uint32_t i = 0; i < words.count; i++) {
        const struct dj_word *word = &words.items[i];
        FUZZ_CHECK(word->offset >= end && word->len > 0);
        end = (size_t)word->offset + word->len;
        FUZZ_CHECK(end <= text.len && word->lower.len > 0);
        FUZZ_CHECK(dj_utf8_is_valid(word->lower));
    }
    dj_words_fini(&words);
}

static void check_guards(struct deja_slice a, struct deja_slice b)
{
    struct dj_guard_features left = {0};
    struct dj_guard_features right = {0};
    struct dj_guard_verdict there = {0};
    struct dj_guard_verdict back = {0};
    FUZZ_CHECK(dj_guard_features_init(&left, a) == DEJA_OK);
    FUZZ_CHECK(dj_guard_features_init(&right, b) == DEJA_OK);
    dj_guards_compare(&left, &right, &there);
    dj_guards_compare(&right, &left, &back);
    FUZZ_CHECK(there.refused == back.refused && there.refused < 1u << DJ_GUARD_COUNT);
    FUZZ_CHECK(dj_guard_name(dj_guard_first(there.refused)) || !there.refused);
    dj_guard_features_is_volatile(&left);
    /* Short texts are inside every bound: nothing speaks against the text itself. */
    if (a.len <= 48) {
        dj_guards_compare(&left, &left, &there);
        FUZZ_CHECK(there.refused == 0);
    }
    dj_guard_features_fini(&left);
    dj_guard_features_fini(&right);
}

static void check_vector(struct deja_slice text)
{
    struct dj_embedder *embedder = NULL;
    float vector[DIM_MAX];
    double sum = 0;
    FUZZ_CHECK(dj_lexical_create(&embedder) == DEJA_OK && embedder->dim <= DIM_MAX);
    FUZZ_CHECK(dj_embedder_embed(embedder, &text, 1, vector) == DEJA_OK);
    for (uint32_t i = 0; i < embedder->dim; i++)
        sum += (double)vector[i] * (double)vector[i];
    FUZZ_CHECK(fabs(sum - 1) < 1e-4);
    dj_embedder_destroy(embedder);
}

/* What may be asked is text with ink, and its length is that of its code points. */
static void check_question(struct deja_slice text)
{
    size_t chars = SIZE_MAX;
    enum deja_status status = dj_question_check(text, 40, &chars);
    if (status == DEJA_OK || status == DEJA_ERR_QUERY_TOO_LONG) {
        FUZZ_CHECK(chars == dj_utf8_count(text) && (chars > 40) == (status != DEJA_OK));
        FUZZ_CHECK(!memchr(text.data, 0, text.len) && !memchr(text.data, 0x1b, text.len));
    } else {
        FUZZ_CHECK(chars == SIZE_MAX);
        FUZZ_CHECK(status == DEJA_ERR_QUERY_EMPTY || status == DEJA_ERR_QUERY_INVALID_CHARACTERS);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (!len || len > 16384)
        return 0;
    struct deja_slice text = deja_slice(data, len);
    const char *cut = memchr(text.data, 0, len);
    size_t first = cut ? (size_t)(cut - text.data) : len / 2;
    bool is_valid = check_code_points(text);
    check_question(text);
    check_words(text);
    check_guards(deja_slice(data, first), deja_slice(data + first, len - first));
    if (is_valid) {
        check_normal_forms(text);
        check_vector(text);
    } else {
        struct dj_buf out = {0};
        FUZZ_CHECK(dj_utf8_nfc(text, &out) == DEJA_ERR_INVALID && out.len == 0);
        FUZZ_CHECK(dj_text_normalise(text, &out) == DEJA_ERR_INVALID && out.len == 0);
        dj_buf_fini(&out);
    }
    return 0;
}
