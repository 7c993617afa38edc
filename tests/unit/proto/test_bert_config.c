#include "proto/bert_config.h"

#include "check.h"

#define SIZES                                                                             \
    "\"num_hidden_layers\":6,\"intermediate_size\":1536,\"max_position_embeddings\":512," \
    "\"vocab_size\":30522,\"type_vocab_size\":2"

static const char *const good =
    "{\"hidden_size\":384,\"num_attention_heads\":12,\"hidden_act\":\"gelu\",\"model_type\":"
    "\"bert\",\"layer_norm_eps\":1e-12," SIZES "}";

static void a_published_config_is_read(void **state)
{
    (void)state;
    struct dj_bert_config config;
    assert_int_equal(dj_bert_config_parse(deja_slice_text(good), &config, NULL), DEJA_OK);
    assert_int_equal(config.layers, 6);
    assert_int_equal(config.heads, 12);
    assert_int_equal(config.hidden, 384);
    assert_int_equal(config.intermediate, 1536);
    assert_int_equal(config.positions, 512);
    assert_int_equal(config.vocabulary, 30522);
    assert_int_equal(config.token_types, 2);
    assert_true(config.layer_norm_epsilon == 1e-12F);
}

static void what_cannot_be_computed_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum deja_status status;
        const char *reason;
    } cases[] = {
        {"", DEJA_ERR_INVALID, "config.json"},
        {"[1]", DEJA_ERR_INVALID, "object"},
        {"{\"a\":", DEJA_ERR_INVALID, "byte"},
        {"{\"hidden_size\":385,\"num_attention_heads\":12," SIZES "}", DEJA_ERR_INVALID,
         "multiple"},
        {"{\"hidden_size\":0,\"num_attention_heads\":12," SIZES "}", DEJA_ERR_INVALID,
         "hidden_size"},
        {"{\"hidden_size\":-5,\"num_attention_heads\":12," SIZES "}", DEJA_ERR_INVALID,
         "hidden_size"},
        {"{\"hidden_size\":1e99,\"num_attention_heads\":12," SIZES "}", DEJA_ERR_INVALID,
         "hidden_size"},
        {"{\"hidden_size\":384,\"num_attention_heads\":12,\"hidden_act\":\"relu\"," SIZES "}",
         DEJA_ERR_UNSUPPORTED, "hidden_act"},
        {"{\"hidden_size\":384,\"num_attention_heads\":12,\"model_type\":\"gpt2\"," SIZES "}",
         DEJA_ERR_UNSUPPORTED, "model_type"},
        {"{\"hidden_size\":384,\"num_attention_heads\":12,\"layer_norm_eps\":0," SIZES "}",
         DEJA_ERR_INVALID, "layer_norm_eps"},
        {"{\"hidden_size\":384,\"num_attention_heads\":12,\"layer_norm_eps\":1e-300," SIZES "}",
         DEJA_ERR_INVALID, "layer_norm_eps"},
        {"{\"hidden_size\":384,\"num_attention_heads\":12,\"layer_norm_eps\":-1," SIZES "}",
         DEJA_ERR_INVALID, "layer_norm_eps"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_bert_config config = {.layers = 77};
        struct deja_error error = {""};
        assert_int_equal(dj_bert_config_parse(deja_slice_text(cases[i].text), &config, &error),
                         cases[i].status);
        assert_non_null(strstr(error.message, cases[i].reason));
        assert_int_equal(config.layers, 77);
    }
}

static void config_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_bert_config config;
        failing_malloc_arm(n);
        enum deja_status status = dj_bert_config_parse(deja_slice_text(good), &config, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_published_config_is_read),
        cmocka_unit_test(what_cannot_be_computed_is_refused_with_a_reason),
        cmocka_unit_test(config_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
