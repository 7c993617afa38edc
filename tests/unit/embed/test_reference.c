/* The encoder against vectors computed elsewhere: ids equal, cosine at least 0.99999.
 *
 * Lines of {"text": …, "input_ids": […], "emb": […]}. The model's directory comes from
 * DEJA_TEST_MODEL; without it, or without a file, the test skips and says so.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "check.h"
#include "embed/transformer.h"
#include "simd/simd.h"
#include "text/utf8.h"

enum { LINE_BYTES_MAX = 1 << 20, IDS_MAX = 256, DIM = 384, TEXTS_MAX = 1000 };

struct sample {
    struct dj_buf text;
    uint32_t ids[IDS_MAX];
    uint32_t ids_count;
    float vector[DIM];
};

static const char *after(const char *at, const char *name)
{
    const char *found = strstr(at, name);
    assert_non_null(found);
    return found + strlen(name);
}

static int32_t read_hex4(const char *at)
{
    char digits[5] = {at[0], at[1], at[2], at[3], '\0'};
    return (int32_t)strtoul(digits, NULL, 16);
}

/* A JSON string after its opening quote; returns what follows the closing one. */
static const char *read_string(const char *at, struct dj_buf *out)
{
    static const char escapes[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    for (; *at != '"'; at++) {
        assert_true(*at != '\0');
        if (*at != '\\') {
            dj_buf_append_byte(out, *at);
            continue;
        }
        at++;
        const char *escape = strchr(escapes, *at);
        if (escape) {
            dj_buf_append_byte(out, meanings[escape - escapes]);
            continue;
        }
        int32_t code_point = read_hex4(at + 1);
        at += 4;
        if (code_point >= 0xd800 && code_point < 0xdc00) {
            code_point = 0x10000 + ((code_point - 0xd800) << 10) + read_hex4(at + 3) - 0xdc00;
            at += 6;
        }
        dj_utf8_append(out, code_point);
    }
    return at + 1;
}

static void read_sample(const char *line, struct sample *sample)
{
    char *end = NULL;
    dj_buf_clear(&sample->text);
    const char *at = read_string(after(line, "\"text\": \""), &sample->text);
    sample->ids_count = 0;
    for (at = after(at, "\"input_ids\": ["); *at != ']'; at = end + strspn(end, ", ")) {
        assert_true(sample->ids_count < IDS_MAX);
        sample->ids[sample->ids_count++] = (uint32_t)strtoul(at, &end, 10);
    }
    size_t dim = 0;
    for (at = after(at, "\"emb\": ["); *at != ']'; at = end + strspn(end, ", ")) {
        assert_true(dim < DIM);
        sample->vector[dim++] = strtof(at, &end);
    }
    assert_int_equal(dim, DIM);
}

static size_t read_samples(const char *path, struct sample *samples)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    char *line = dj_alloc(LINE_BYTES_MAX);
    assert_non_null(line);
    size_t count = 0;
    while (count < TEXTS_MAX && fgets(line, LINE_BYTES_MAX, file))
        read_sample(line, &samples[count++]);
    dj_free(line);
    assert_int_equal(fclose(file), 0);
    return count;
}

static void check_samples(struct dj_embedder *embedder, const struct sample *samples, size_t count)
{
    struct deja_slice *texts = dj_alloc(count * sizeof *texts);
    float *vectors = dj_alloc(count * DIM * sizeof *vectors);
    assert_non_null(texts);
    assert_non_null(vectors);
    double lowest = 1.0;
    for (size_t i = 0; i < count; i++) {
        uint32_t ids[IDS_MAX];
        texts[i] = dj_buf_slice(&samples[i].text);
        uint32_t ids_count = dj_transformer_tokens(embedder, texts[i], ids);
        if (ids_count != samples[i].ids_count ||
            memcmp(ids, samples[i].ids, ids_count * sizeof *ids) != 0)
            fail_msg("other ids for \"%.*s\"", (int)texts[i].len, texts[i].data);
    }
    /* together: in batches of many lengths; and the first ones alone: the same to the bit or not,
     * but within the bound */
    assert_int_equal(dj_embedder_embed(embedder, texts, count, vectors), DEJA_OK);
    for (size_t i = 0; i < 20 && i < count; i++)
        assert_int_equal(dj_embedder_embed(embedder, &texts[i], 1, vectors + i * DIM), DEJA_OK);
    for (size_t i = 0; i < count; i++) {
        double dot = 0;
        double squares = 0;
        for (size_t j = 0; j < DIM; j++) {
            dot += (double)vectors[i * DIM + j] * (double)samples[i].vector[j];
            squares += (double)samples[i].vector[j] * (double)samples[i].vector[j];
        }
        lowest = fmin(lowest, dot / sqrt(squares));
    }
    print_message("%zu texts, lowest cosine %.8f (%s)\n", count, lowest, dj_simd()->name);
    assert_true(lowest >= 0.99999);
    dj_free(texts);
    dj_free(vectors);
}

static void check_file(const char *path)
{
    const char *directory = getenv("DEJA_TEST_MODEL");
    if (!directory) {
        print_message("skipped: DEJA_TEST_MODEL does not name a model\n");
        skip();
    }
    struct sample *samples = dj_alloc_zeroed(TEXTS_MAX, sizeof *samples);
    assert_non_null(samples);
    size_t count = read_samples(path, samples);
    if (!count) {
        dj_free(samples);
        print_message("skipped: no %s\n", path);
        skip();
    }
    struct dj_embedder *embedder = NULL;
    struct deja_error error = {""};
    dj_simd_init();
    if (dj_transformer_open(directory, &embedder, &error) != DEJA_OK)
        fail_msg("%s", error.message);
    assert_int_equal(embedder->dim, DIM);
    check_samples(embedder, samples, count);
    dj_embedder_destroy(embedder);
    for (size_t i = 0; i < count; i++)
        dj_buf_fini(&samples[i].text);
    dj_free(samples);
}

static void encoder_agrees_with_the_thousand_reference_vectors(void **state)
{
    (void)state;
    check_file(DJ_SOURCE_ROOT "/../shared/data/reference/minilm_reference_1000.jsonl");
}

static void encoder_agrees_with_the_committed_vectors(void **state)
{
    (void)state;
    check_file(DJ_SOURCE_ROOT "/tests/data/minilm_32.jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encoder_agrees_with_the_committed_vectors),
        cmocka_unit_test(encoder_agrees_with_the_thousand_reference_vectors),
    };
    return RUN_TESTS(tests);
}
