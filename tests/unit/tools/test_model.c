#include "tools/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "check.h"

struct place {
    char root[64]; /* holds from/ and data/ */
    char from[80];
    char data[80];
};

#define RUN(place, ...)                                                                       \
    dj_model_tool_run((place)->data, (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)), \
                      (char *[]){__VA_ARGS__, NULL})

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* The smallest BERT there is: one layer, four wide, all weights zero. */
static void write_weights(const char *folder)
{
    static const struct {
        const char *name;
        unsigned rows; /* 0: a vector */
        unsigned columns;
    } tensors[] = {
        {"embeddings.word_embeddings.weight", 5, 4},
        {"embeddings.position_embeddings.weight", 8, 4},
        {"embeddings.token_type_embeddings.weight", 2, 4},
        {"embeddings.LayerNorm.weight", 0, 4},
        {"embeddings.LayerNorm.bias", 0, 4},
        {"encoder.layer.0.attention.self.query.weight", 4, 4},
        {"encoder.layer.0.attention.self.query.bias", 0, 4},
        {"encoder.layer.0.attention.self.key.weight", 4, 4},
        {"encoder.layer.0.attention.self.key.bias", 0, 4},
        {"encoder.layer.0.attention.self.value.weight", 4, 4},
        {"encoder.layer.0.attention.self.value.bias", 0, 4},
        {"encoder.layer.0.attention.output.dense.weight", 4, 4},
        {"encoder.layer.0.attention.output.dense.bias", 0, 4},
        {"encoder.layer.0.attention.output.LayerNorm.weight", 0, 4},
        {"encoder.layer.0.attention.output.LayerNorm.bias", 0, 4},
        {"encoder.layer.0.intermediate.dense.weight", 4, 4},
        {"encoder.layer.0.intermediate.dense.bias", 0, 4},
        {"encoder.layer.0.output.dense.weight", 4, 4},
        {"encoder.layer.0.output.dense.bias", 0, 4},
        {"encoder.layer.0.output.LayerNorm.weight", 0, 4},
        {"encoder.layer.0.output.LayerNorm.bias", 0, 4},
    };
    struct dj_buf header = {0};
    unsigned offset = 0;
    char path[256];
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        unsigned bytes = (tensors[i].rows ? tensors[i].rows : 1) * tensors[i].columns * 4;
        dj_buf_append_format(&header, "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? ',' : '{',
                             tensors[i].name);
        if (tensors[i].rows)
            dj_buf_append_format(&header, "%u,", tensors[i].rows);
        dj_buf_append_format(&header, "%u],\"data_offsets\":[%u,%u]}", tensors[i].columns, offset,
                             offset + bytes);
        offset += bytes;
    }
    dj_buf_append_byte(&header, '}');
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t i = 0; i < 8; i++)
        fputc((int)((uint64_t)header.len >> (8 * i) & 255), file);
    fwrite(header.data, 1, header.len, file);
    for (unsigned i = 0; i < offset; i++)
        fputc(0, file);
    assert_int_equal(fclose(file), 0);
    dj_buf_fini(&header);
}

/* Same size: only the digest tells. */
static void change_last_byte(const char *folder)
{
    char path[256];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, -1, SEEK_END), 0);
    fputc(1, file);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    struct place *place = test_calloc(1, sizeof *place);
    snprintf(place->root, sizeof place->root, "/tmp/deja-model-XXXXXX");
    assert_non_null(mkdtemp(place->root));
    snprintf(place->from, sizeof place->from, "%s/from", place->root);
    snprintf(place->data, sizeof place->data, "%s/data/deja", place->root);
    assert_int_equal(mkdir(place->from, 0700), 0);
    write_file(place->from, "config.json",
               "{\"model_type\":\"bert\",\"hidden_act\":\"gelu\",\"hidden_size\":4,"
               "\"num_attention_heads\":1,\"intermediate_size\":4,\"num_hidden_layers\":1,"
               "\"vocab_size\":5,\"max_position_embeddings\":8,\"type_vocab_size\":2,"
               "\"layer_norm_eps\":1e-5}");
    write_file(place->from, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n");
    write_weights(place->from);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    static const char *const files[] = {"from/config.json",
                                        "from/vocab.txt",
                                        "from/model.safetensors",
                                        "data/deja/models/mine/config.json",
                                        "data/deja/models/mine/vocab.txt",
                                        "data/deja/models/mine/model.safetensors",
                                        "data/deja/models/mine/verified",
                                        "from/x.whl",
                                        "data/deja/models/all-minilm-l6-v2/config.json.part"};
    static const char *const folders[] = {"from",
                                          "data/deja/models/mine",
                                          "data/deja/models/all-minilm-l6-v2",
                                          "data/deja/models",
                                          "data/deja",
                                          "data",
                                          ""};
    char path[256];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", place->root, files[i]);
        unlink(path);
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", place->root, folders[i]);
        rmdir(path);
    }
    test_free(place);
    return 0;
}

static void own_model_is_added_listed_and_verified(void **state)
{
    struct place *place = *state;
    assert_int_equal(RUN(place, "path", "mine"), 1);
    assert_int_equal(RUN(place, "add", place->from, "--name", "mine"), 0);
    assert_int_equal(RUN(place, "path", "mine"), 0);
    assert_int_equal(RUN(place, "verify", "mine"), 0);
    assert_int_equal(RUN(place, "list", "--json"), 0);
}

static void folder_that_cannot_be_loaded_is_refused(void **state)
{
    struct place *place = *state;
    write_file(place->from, "model.safetensors", "weights");
    assert_int_equal(RUN(place, "add", place->from, "--name", "mine"), 1);
    assert_int_equal(RUN(place, "path", "mine"), 1);
}

static void changed_weights_are_noticed(void **state)
{
    struct place *place = *state;
    char models[128];
    assert_int_equal(RUN(place, "add", place->from, "--name", "mine"), 0);
    snprintf(models, sizeof models, "%s/models/mine", place->data);
    change_last_byte(models);
    assert_int_equal(RUN(place, "path", "mine"), 0);
    assert_int_equal(RUN(place, "verify", "mine"), 1);
    write_file(models, "model.safetensors", "longer than before");
    assert_int_equal(RUN(place, "path", "mine"), 1);
}

static void known_name_holds_nothing_but_the_known_files(void **state)
{
    struct place *place = *state;
    assert_int_equal(RUN(place, "add", place->from, "--name", "all-minilm-l6-v2"), 1);
    assert_int_equal(RUN(place, "path", "all-minilm-l6-v2"), 1);
    assert_int_equal(RUN(place, "add", place->from), 2); /* not recognised: needs a name */
}

static void file_that_is_no_wheel_is_refused(void **state)
{
    struct place *place = *state;
    char wheel[128];
    write_file(place->from, "x.whl", "PK\3\4 not really");
    snprintf(wheel, sizeof wheel, "%s/x.whl", place->from);
    assert_int_equal(RUN(place, "add", wheel), 1);
}

static void wrong_use_is_exit_2(void **state)
{
    struct place *place = *state;
    assert_int_equal(RUN(place, "pull"), 2);
    assert_int_equal(RUN(place, "pull", "all-minilm-l6-v3"), 2);
    assert_int_equal(RUN(place, "fetch", "x"), 2);
    assert_int_equal(RUN(place, "path", "../x"), 2);
    assert_int_equal(RUN(place, "add", place->from, "--name", "a/b"), 2);
    assert_int_equal(RUN(place, "list", "--jsn"), 2);
}

static void unreachable_source_is_exit_75(void **state)
{
    struct place *place = *state;
    assert_int_equal(RUN(place, "pull", "all-minilm-l6-v2", "--from", "http://127.0.0.1:1/"), 75);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(own_model_is_added_listed_and_verified, set_up, tear_down),
        cmocka_unit_test_setup_teardown(folder_that_cannot_be_loaded_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changed_weights_are_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(known_name_holds_nothing_but_the_known_files, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(file_that_is_no_wheel_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_use_is_exit_2, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unreachable_source_is_exit_75, set_up, tear_down),
    };
    return RUN_TESTS(tests);
}
