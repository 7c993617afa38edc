/* Whatever a configuration file says, its faults are told or its values can be said again: the text
 * shown for each option, given as a flag, is the same value. The first byte says YAML or JSON.
 */
#include "fuzz.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "config/config.h"
#include "config/options.h"
#include "base/suggest.h"
#include "daemon/settings.h"

#define FLAGS_MAX 512u

static const char *const environment[] = {"HOME=/nowhere", "NAME=10", NULL};

static void check_items(const struct dj_config *config)
{
    for (size_t i = 0; i < dj_config_count(config); i++) {
        const struct dj_config_item *item = dj_config_at(config, i);
        FUZZ_CHECK(item->key && item->value && item->kind <= DJ_CONFIG_EMPTY);
        FUZZ_CHECK(item->line >= 1 && item->column >= 1);
        FUZZ_CHECK(item->key_line >= 1 && item->key_column >= 1);
        for (size_t k = 0; k < i && i < 64; k++)
            FUZZ_CHECK(strcmp(item->key, dj_config_at(config, k)->key) != 0);
    }
    FUZZ_CHECK(dj_config_count(config) <= DJ_CONFIG_KEYS_MAX);
}

/* Secrets are not shown; what is expanded once is not to be expanded again; a flag cannot say an
 * item that has a comma or blanks of its own. */
static bool is_sayable(const struct dj_option *option, const char *text, const void *settings)
{
    if (option->type == DJ_OPTION_SECRET || strstr(text, "${"))
        return false;
    if (option->type != DJ_OPTION_LIST)
        return true;
    const struct dj_text_list *list = (const void *)((const char *)settings + option->offset);
    for (size_t i = 0; i < list->count; i++)
        if (!list->items[i][0] || strpbrk(list->items[i], ", \t\n\r"))
            return false;
    return true;
}

static void check_said_again(const struct dj_options *options, const struct dj_settings *settings)
{
    struct dj_options_input input = {.environment = environment};
    struct dj_diagnostics diagnostics = {0};
    struct dj_options *again = NULL;
    struct dj_flag flags[FLAGS_MAX];
    input.table = dj_settings_table(&input.count);
    FUZZ_CHECK(input.count <= FLAGS_MAX);
    for (size_t i = 0; i < input.count; i++)
        if (is_sayable(&input.table[i], dj_options_text(options, i), settings))
            flags[input.flag_count++] =
                (struct dj_flag){input.table[i].name, dj_options_text(options, i)};
    input.flags = flags;
    enum deja_status status = dj_options_resolve(&input, &diagnostics, &again);
    if (status != DEJA_OK)
        fprintf(stderr, "%.*s\n", (int)diagnostics.text.len, diagnostics.text.data);
    FUZZ_CHECK(status == DEJA_OK && diagnostics.error_count == 0);
    for (size_t i = 0; i < input.count; i++)
        if (is_sayable(&input.table[i], dj_options_text(options, i), settings))
            FUZZ_CHECK(dj_options_is_equal(options, again, i));
    dj_options_destroy(again);
    dj_diagnostics_fini(&diagnostics);
}

static void check_options(const struct dj_config *config)
{
    struct dj_options_input input = {.file = config, .environment = environment};
    struct dj_diagnostics diagnostics = {0};
    struct dj_options *options = NULL;
    input.table = dj_settings_table(&input.count);
    enum deja_status status = dj_options_resolve(&input, &diagnostics, &options);
    FUZZ_CHECK((status == DEJA_OK) == (diagnostics.error_count == 0));
    FUZZ_CHECK((status == DEJA_OK) == (options != NULL));
    if (options) {
        struct dj_settings settings = {0};
        FUZZ_CHECK(dj_options_fill(options, &settings) == DEJA_OK);
        check_said_again(options, &settings);
        dj_options_release(input.table, input.count, &settings);
    }
    dj_options_destroy(options);
    dj_diagnostics_fini(&diagnostics);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_diagnostics diagnostics = {0};
    struct dj_config *config = NULL;
    if (len < 1 || len > 16384)
        return 0;
    enum deja_status status = dj_config_parse(deja_slice(data + 1, len - 1), "deja.yaml",
                                              data[0] & 1, &diagnostics, &config);
    FUZZ_CHECK((status == DEJA_OK) == (config != NULL));
    FUZZ_CHECK((status == DEJA_ERR_CONFIG) == (diagnostics.error_count > 0));
    if (config) {
        check_items(config);
        check_options(config);
    }
    dj_config_destroy(config);
    dj_diagnostics_fini(&diagnostics);
    return 0;
}
