/* A model of two layers with random weights, written to a temporary directory by the test itself,
 * and the same forward pass written here plainly in double precision. */
#include "embed/transformer.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "check.h"
#include "simd/simd.h"

enum {
    HIDDEN = 24,
    HEADS = 3,
    DEPTH = HIDDEN / HEADS,
    INNER = 50,
    LAYERS = 2,
    WORDS = 30,
    PLACES = 40,
    TYPES = 2,
    TENSORS_MAX = 64
};

static const char *const config_text =
    "{\"model_type\":\"bert\",\"hidden_act\":\"gelu\",\"hidden_size\":24,"
    "\"num_attention_heads\":3,\"intermediate_size\":50,\"num_hidden_layers\":2,"
    "\"vocab_size\":30,\"max_position_embeddings\":40,\"type_vocab_size\":2,"
    "\"layer_norm_eps\":1e-5}";
static const char *const vocab_text =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\nquick\nbrown\nfox\njumps\nover\nlazy\ndog\n##s\n.\n,\n?\n";

struct tensor {
    char name[96];
    uint32_t rows; /* 0: a vector */
    uint32_t columns;
    float *values; /* owned */
};

struct model {
    struct tensor tensors[TENSORS_MAX];
    size_t count;
    uint32_t seed;
};

static void add_tensor(struct model *model, const char *name, uint32_t rows, uint32_t columns,
                       float centre)
{
    struct tensor *tensor = &model->tensors[model->count++];
    size_t len = (rows ? rows : 1) * (size_t)columns;
    assert_true(model->count <= TENSORS_MAX);
    (void)snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->rows = rows;
    tensor->columns = columns;
    tensor->values = dj_alloc(len * sizeof *tensor->values);
    assert_non_null(tensor->values);
    for (size_t i = 0; i < len; i++) {
        model->seed = model->seed * 1664525U + 1013904223U;
        /* 256ths of a small range, so that binary16 keeps them exactly */
        tensor->values[i] = centre + (float)((int)(model->seed >> 24) - 128) / 256.0F;
    }
}

static void add_linear(struct model *model, const char *layer, const char *name, uint32_t n,
                       uint32_t k)
{
    char full[96];
    (void)snprintf(full, sizeof full, "%s%s.weight", layer, name);
    add_tensor(model, full, n, k, 0.0F);
    (void)snprintf(full, sizeof full, "%s%s.bias", layer, name);
    add_tensor(model, full, 0, n, 0.0F);
}

static void add_norm(struct model *model, const char *layer, const char *name)
{
    char full[96];
    (void)snprintf(full, sizeof full, "%s%s.weight", layer, name);
    add_tensor(model, full, 0, HIDDEN, 1.0F);
    (void)snprintf(full, sizeof full, "%s%s.bias", layer, name);
    add_tensor(model, full, 0, HIDDEN, 0.0F);
}

static void make_model(struct model *model)
{
    memset(model, 0, sizeof *model);
    model->seed = 7;
    add_tensor(model, "embeddings.word_embeddings.weight", WORDS, HIDDEN, 0.0F);
    add_tensor(model, "embeddings.position_embeddings.weight", PLACES, HIDDEN, 0.0F);
    add_tensor(model, "embeddings.token_type_embeddings.weight", TYPES, HIDDEN, 0.0F);
    add_norm(model, "", "embeddings.LayerNorm");
    for (int i = 0; i < LAYERS; i++) {
        char layer[32];
        (void)snprintf(layer, sizeof layer, "encoder.layer.%d.", i);
        add_linear(model, layer, "attention.self.query", HIDDEN, HIDDEN);
        add_linear(model, layer, "attention.self.key", HIDDEN, HIDDEN);
        add_linear(model, layer, "attention.self.value", HIDDEN, HIDDEN);
        add_linear(model, layer, "attention.output.dense", HIDDEN, HIDDEN);
        add_norm(model, layer, "attention.output.LayerNorm");
        add_linear(model, layer, "intermediate.dense", INNER, HIDDEN);
        add_linear(model, layer, "output.dense", HIDDEN, INNER);
        add_norm(model, layer, "output.LayerNorm");
    }
}

static void free_model(struct model *model)
{
    for (size_t i = 0; i < model->count; i++)
        dj_free(model->tensors[i].values);
}

static void encode_model(const struct model *model, const char *prefix, struct dj_buf *file)
{
    struct dj_buf header = {0};
    size_t offset = 0;
    for (size_t i = 0; i < model->count; i++) {
        const struct tensor *tensor = &model->tensors[i];
        size_t bytes = (tensor->rows ? tensor->rows : 1) * (size_t)tensor->columns * 4;
        dj_buf_append_format(&header, "%c\"%s%s\":{\"dtype\":\"F32\",\"shape\":[", i ? ',' : '{',
                             prefix, tensor->name);
        if (tensor->rows)
            dj_buf_append_format(&header, "%u,", tensor->rows);
        dj_buf_append_format(&header, "%u],\"data_offsets\":[%zu,%zu]}", tensor->columns, offset,
                             offset + bytes);
        offset += bytes;
    }
    dj_buf_append_byte(&header, '}');
    dj_buf_clear(file);
    for (size_t i = 0; i < 8; i++)
        dj_buf_append_byte(file, (char)((uint64_t)header.len >> (8 * i)));
    dj_buf_append_slice(file, dj_buf_slice(&header));
    for (size_t i = 0; i < model->count; i++) {
        const struct tensor *tensor = &model->tensors[i];
        dj_buf_append(file, tensor->values,
                      (tensor->rows ? tensor->rows : 1) * (size_t)tensor->columns * 4);
    }
    assert_int_equal(file->status, DEJA_OK);
    dj_buf_fini(&header);
}

struct fixture {
    struct model model;
    char directory[64];
    struct dj_buf file; /* of the whole model */
};

static const char *const file_names[] = {"config.json", "vocab.txt", "model.safetensors"};

static void write_file(const struct fixture *fixture, const char *name, struct deja_slice bytes)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", fixture->directory, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes.data, 1, bytes.len, file), bytes.len);
    assert_int_equal(fclose(file), 0);
}

static void write_model(const struct fixture *fixture)
{
    write_file(fixture, "config.json", deja_slice_text(config_text));
    write_file(fixture, "vocab.txt", deja_slice_text(vocab_text));
    write_file(fixture, "model.safetensors", dj_buf_slice(&fixture->file));
}

static int set_up(void **state)
{
    struct fixture *fixture = dj_alloc_zeroed(1, sizeof *fixture);
    assert_non_null(fixture);
    (void)snprintf(fixture->directory, sizeof fixture->directory, "/tmp/deja-model-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    make_model(&fixture->model);
    encode_model(&fixture->model, "", &fixture->file);
    write_model(fixture);
    dj_simd_init();
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", fixture->directory, file_names[i]);
        (void)remove(path);
    }
    (void)rmdir(fixture->directory);
    free_model(&fixture->model);
    dj_buf_fini(&fixture->file);
    dj_free(fixture);
    return 0;
}

static struct dj_embedder *opened(const struct fixture *fixture)
{
    struct dj_embedder *embedder = NULL;
    struct deja_error error = {""};
    if (dj_transformer_open(fixture->directory, &embedder, &error) != DEJA_OK)
        fail_msg("%s", error.message);
    return embedder;
}

static const float *values_of(const struct model *model, int layer, const char *name)
{
    char full[96];
    if (layer < 0)
        (void)snprintf(full, sizeof full, "%s", name);
    else
        (void)snprintf(full, sizeof full, "encoder.layer.%d.%s", layer, name);
    for (size_t i = 0; i < model->count; i++) {
        if (strcmp(model->tensors[i].name, full) == 0)
            return model->tensors[i].values;
    }
    fail_msg("no %s", full);
    return NULL;
}

static void plain_linear(const double *in, const float *w, const float *bias, size_t n, size_t k,
                         double *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = (double)bias[i];
        for (size_t j = 0; j < k; j++)
            out[i] += in[j] * (double)w[i * k + j];
    }
}

static void plain_norm(double *row, const float *gain, const float *bias)
{
    double mean = 0;
    double variance = 0;
    for (size_t i = 0; i < HIDDEN; i++)
        mean += row[i] / HIDDEN;
    for (size_t i = 0; i < HIDDEN; i++)
        variance += (row[i] - mean) * (row[i] - mean) / HIDDEN;
    for (size_t i = 0; i < HIDDEN; i++)
        row[i] = (row[i] - mean) / sqrt(variance + 1e-5) * (double)gain[i] + (double)bias[i];
}

static void plain_attention(const struct model *model, int layer, double (*state)[HIDDEN],
                            size_t tokens)
{
    static const char *const names[] = {"query", "key", "value"};
    double parts[3][PLACES][HIDDEN];
    for (size_t p = 0; p < 3; p++) {
        char weight[64];
        char bias[64];
        (void)snprintf(weight, sizeof weight, "attention.self.%s.weight", names[p]);
        (void)snprintf(bias, sizeof bias, "attention.self.%s.bias", names[p]);
        for (size_t t = 0; t < tokens; t++)
            plain_linear(state[t], values_of(model, layer, weight), values_of(model, layer, bias),
                         HIDDEN, HIDDEN, parts[p][t]);
    }
    for (size_t t = 0; t < tokens; t++) {
        double mixed[HIDDEN] = {0};
        double out[HIDDEN];
        for (size_t i = 0; i < HIDDEN; i++) {
            size_t first = i / DEPTH * DEPTH;
            double sum = 0;
            for (size_t other = 0; other < tokens; other++) {
                double score = 0;
                for (size_t d = first; d < first + DEPTH; d++)
                    score += parts[0][t][d] * parts[1][other][d];
                double e = exp(score / sqrt(DEPTH));
                sum += e;
                mixed[i] += e * parts[2][other][i];
            }
            mixed[i] /= sum;
        }
        plain_linear(mixed, values_of(model, layer, "attention.output.dense.weight"),
                     values_of(model, layer, "attention.output.dense.bias"), HIDDEN, HIDDEN, out);
        for (size_t i = 0; i < HIDDEN; i++)
            state[t][i] += out[i];
    }
}

static void plain_layer(const struct model *model, int layer, double (*state)[HIDDEN],
                        size_t tokens)
{
    plain_attention(model, layer, state, tokens);
    for (size_t t = 0; t < tokens; t++) {
        double inner[INNER];
        double out[HIDDEN];
        plain_norm(state[t], values_of(model, layer, "attention.output.LayerNorm.weight"),
                   values_of(model, layer, "attention.output.LayerNorm.bias"));
        plain_linear(state[t], values_of(model, layer, "intermediate.dense.weight"),
                     values_of(model, layer, "intermediate.dense.bias"), INNER, HIDDEN, inner);
        for (size_t i = 0; i < INNER; i++)
            inner[i] *= 0.5 * (1 + erf(inner[i] / sqrt(2)));
        plain_linear(inner, values_of(model, layer, "output.dense.weight"),
                     values_of(model, layer, "output.dense.bias"), HIDDEN, INNER, out);
        for (size_t i = 0; i < HIDDEN; i++)
            state[t][i] += out[i];
        plain_norm(state[t], values_of(model, layer, "output.LayerNorm.weight"),
                   values_of(model, layer, "output.LayerNorm.bias"));
    }
}

static void plain_embed(const struct model *model, const uint32_t *ids, size_t tokens,
                        double out[HIDDEN])
{
    double state[PLACES][HIDDEN];
    double squares = 0;
    for (size_t t = 0; t < tokens; t++) {
        for (size_t i = 0; i < HIDDEN; i++)
            state[t][i] =
                (double)values_of(model, -1,
                                  "embeddings.word_embeddings.weight")[ids[t] * HIDDEN + i] +
                (double)values_of(model, -1,
                                  "embeddings.position_embeddings.weight")[t * HIDDEN + i] +
                (double)values_of(model, -1, "embeddings.token_type_embeddings.weight")[i];
        plain_norm(state[t], values_of(model, -1, "embeddings.LayerNorm.weight"),
                   values_of(model, -1, "embeddings.LayerNorm.bias"));
    }
    for (int layer = 0; layer < LAYERS; layer++)
        plain_layer(model, layer, state, tokens);
    memset(out, 0, HIDDEN * sizeof *out);
    for (size_t i = 0; i < HIDDEN; i++) {
        for (size_t t = 0; t < tokens; t++)
            out[i] += state[t][i];
        squares += out[i] * out[i];
    }
    for (size_t i = 0; i < HIDDEN; i++)
        out[i] /= sqrt(squares);
}

static const char *const texts[] = {
    "",
    "the quick brown fox jumps over the lazy dog.",
    "fox",
    "dogs, dogs, dogs?",
    "the the the the the the the the the the the the the the the the the the the the the the the "
    "the the the the the the the the the the the the the the the the the the the the the the the",
    "unknown things",
};
enum { TEXTS = sizeof texts / sizeof *texts };

static void check_vectors(const struct fixture *fixture, struct dj_embedder *embedder,
                          const float *vectors)
{
    for (size_t i = 0; i < TEXTS; i++) {
        uint32_t ids[256];
        double want[HIDDEN];
        uint32_t count = dj_transformer_tokens(embedder, deja_slice_text(texts[i]), ids);
        assert_in_range(count, 2, PLACES);
        plain_embed(&fixture->model, ids, count, want);
        for (size_t j = 0; j < HIDDEN; j++) {
            if (fabs((double)vectors[i * HIDDEN + j] - want[j]) > 2e-5)
                fail_msg("text %zu, dimension %zu: %g for %g", i, j,
                         (double)vectors[i * HIDDEN + j], want[j]);
        }
    }
}

static void a_batch_agrees_with_the_plain_forward_pass(void **state)
{
    struct dj_embedder *embedder = opened(*state);
    struct deja_slice slices[TEXTS];
    float vectors[TEXTS * HIDDEN];
    assert_int_equal(embedder->dim, HIDDEN);
    assert_string_equal(embedder->kind, "transformer");
    for (size_t i = 0; i < TEXTS; i++)
        slices[i] = deja_slice_text(texts[i]);
    assert_int_equal(dj_embedder_embed(embedder, slices, TEXTS, vectors), DEJA_OK);
    check_vectors(*state, embedder, vectors);
    for (size_t i = 0; i < TEXTS; i++)
        assert_int_equal(dj_embedder_embed(embedder, &slices[i], 1, vectors + i * HIDDEN), DEJA_OK);
    check_vectors(*state, embedder, vectors);
    dj_embedder_destroy(embedder);
}

static void many_texts_are_cut_into_batches(void **state)
{
    enum { COUNT = 300 };
    struct dj_embedder *embedder = opened(*state);
    struct deja_slice slices[COUNT];
    float *vectors = dj_alloc(COUNT * HIDDEN * sizeof *vectors);
    float one[HIDDEN];
    assert_non_null(vectors);
    for (size_t i = 0; i < COUNT; i++)
        slices[i] = deja_slice_text(texts[i % TEXTS]);
    assert_int_equal(dj_embedder_embed(embedder, slices, COUNT, vectors), DEJA_OK);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(dj_embedder_embed(embedder, &slices[i], 1, one), DEJA_OK);
        assert_true(dj_simd()->dot_f32(one, vectors + i * HIDDEN, HIDDEN) > 0.99999F);
    }
    assert_int_equal(dj_embedder_embed(embedder, slices, 0, NULL), DEJA_OK);
    dj_embedder_destroy(embedder);
    dj_free(vectors);
}

static void the_id_names_the_weights(void **state)
{
    struct fixture *fixture = *state;
    char first[96];
    struct dj_embedder *embedder = opened(fixture);
    (void)snprintf(first, sizeof first, "%s", embedder->id);
    assert_non_null(strstr(first, ":mean:24"));
    dj_embedder_destroy(embedder);
    embedder = opened(fixture);
    assert_string_equal(embedder->id, first);
    dj_embedder_destroy(embedder);
    fixture->file.data[fixture->file.len - 2] ^= 1;
    write_model(fixture);
    embedder = opened(fixture);
    assert_string_not_equal(embedder->id, first);
    dj_embedder_destroy(embedder);
}

static void names_with_a_prefix_are_found(void **state)
{
    struct fixture *fixture = *state;
    encode_model(&fixture->model, "bert.", &fixture->file);
    write_model(fixture);
    dj_embedder_destroy(opened(fixture));
}

static void missing_and_broken_files_are_refused_with_a_reason(void **state)
{
    struct fixture *fixture = *state;
    struct dj_embedder *embedder = NULL;
    struct deja_error error = {""};
    assert_int_equal(dj_transformer_open("/nonexistent", &embedder, &error), DEJA_ERR_NOT_FOUND);
    static const struct {
        const char *name;
        const char *text;
        enum deja_status status;
        const char *reason;
    } cases[] = {
        {"config.json", "{}", DEJA_ERR_INVALID, "config.json"},
        {"config.json", "", DEJA_ERR_INVALID, "config.json"},
        {"vocab.txt", "no marks", DEJA_ERR_INVALID, "vocabulary"},
        {"model.safetensors", "\1\0", DEJA_ERR_INVALID, "weights"},
        {"vocab.txt",
         "[UNK]\n[CLS]\n[SEP]\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n"
         "20\n21\n22\n23\n24\n25\n26\n27\n28\n29\n",
         DEJA_ERR_INVALID, "vocab.txt"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_model(fixture);
        write_file(fixture, cases[i].name, deja_slice_text(cases[i].text));
        assert_int_equal(dj_transformer_open(fixture->directory, &embedder, &error),
                         cases[i].status);
        assert_non_null(strstr(error.message, cases[i].reason));
        assert_null(embedder);
    }
    write_model(fixture);
    for (size_t len = 1; len < fixture->file.len; len += 1 + fixture->file.len / 50) {
        write_file(fixture, "model.safetensors", deja_slice(fixture->file.data, len));
        assert_int_equal(dj_transformer_open(fixture->directory, &embedder, &error),
                         DEJA_ERR_INVALID);
    }
}

static void wrong_tensors_are_refused_by_name(void **state)
{
    struct fixture *fixture = *state;
    struct dj_embedder *embedder = NULL;
    for (size_t i = 0; i < fixture->model.count; i++) {
        struct tensor *tensor = &fixture->model.tensors[i];
        struct deja_error error = {""};
        float value = tensor->values[0];
        tensor->values[0] = NAN;
        encode_model(&fixture->model, "", &fixture->file);
        write_model(fixture);
        enum deja_status status = dj_transformer_open(fixture->directory, &embedder, &error);
        assert_int_equal(status, DEJA_ERR_INVALID);
        assert_non_null(strstr(error.message, tensor->name));
        tensor->values[0] = value;
        tensor->name[0] = 'X';
        encode_model(&fixture->model, "", &fixture->file);
        write_model(fixture);
        assert_int_equal(dj_transformer_open(fixture->directory, &embedder, &error),
                         DEJA_ERR_INVALID);
        assert_non_null(strstr(error.message, tensor->name + 1));
        tensor->name[0] = 'e'; /* as all of them begin */
        tensor->columns--;
        encode_model(&fixture->model, "", &fixture->file);
        write_model(fixture);
        assert_int_equal(dj_transformer_open(fixture->directory, &embedder, &error),
                         DEJA_ERR_INVALID);
        tensor->columns++;
    }
    assert_null(embedder);
}

static void transformer_survives_each_failed_allocation(void **state)
{
    const struct fixture *fixture = *state;
    for (size_t n = 1;; n++) {
        struct dj_embedder *embedder = NULL;
        float vector[HIDDEN];
        struct deja_slice text = deja_slice_text(texts[1]);
        failing_malloc_arm(n);
        enum deja_status status = dj_transformer_open(fixture->directory, &embedder, NULL);
        if (status == DEJA_OK)
            status = dj_embedder_embed(embedder, &text, 1, vector);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (embedder)
            assert_int_equal(dj_embedder_embed(embedder, &text, 1, vector), DEJA_OK);
        dj_embedder_destroy(embedder);
        if (!has_failed)
            break;
    }
}

static void *embed_all_the_time(void *ctx)
{
    struct deja_slice slices[TEXTS];
    float first[TEXTS * HIDDEN];
    float again[TEXTS * HIDDEN];
    for (size_t i = 0; i < TEXTS; i++)
        slices[i] = deja_slice_text(texts[i]);
    if (dj_embedder_embed(ctx, slices, TEXTS, first) != DEJA_OK)
        return ctx;
    for (int round = 0; round < 50; round++) {
        if (dj_embedder_embed(ctx, slices, TEXTS, again) != DEJA_OK ||
            memcmp(first, again, sizeof first) != 0)
            return ctx;
    }
    return NULL;
}

static void workers_share_a_model(void **state)
{
    struct dj_embedder *embedder = opened(*state);
    pthread_t workers[3];
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&workers[i], NULL, embed_all_the_time, embedder), 0);
    for (size_t i = 0; i < 3; i++) {
        void *failure = embedder;
        assert_int_equal(pthread_join(workers[i], &failure), 0);
        assert_null(failure);
    }
    dj_embedder_destroy(embedder);
}

#define WITH_MODEL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_MODEL(a_batch_agrees_with_the_plain_forward_pass),
        WITH_MODEL(many_texts_are_cut_into_batches),
        WITH_MODEL(the_id_names_the_weights),
        WITH_MODEL(names_with_a_prefix_are_found),
        WITH_MODEL(missing_and_broken_files_are_refused_with_a_reason),
        WITH_MODEL(wrong_tensors_are_refused_by_name),
        WITH_MODEL(transformer_survives_each_failed_allocation),
        WITH_MODEL(workers_share_a_model),
    };
    return RUN_TESTS(tests);
}
