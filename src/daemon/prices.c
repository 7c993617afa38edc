/* daemon/prices.c - see prices.h. A file is a list of dotted keys (config/config.h), and models
 * have dots in their names: the last part is the price's, what is before it the model's. */
#include "daemon/prices.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/num.h"
#include "config/config.h"

struct reading {
    const struct dj_config *config;
    struct dj_diagnostics *diagnostics;
    char (*names)[DJ_PRICE_NAME_BYTES];
    struct dj_price *rows;
    size_t count;
};

static void complain(const struct reading *reading, const struct dj_config_item *item,
                     const char *what)
{
    char where[256];
    snprintf(where, sizeof where, "%.200s:%u:%u", dj_config_name(reading->config), item->key_line,
             item->key_column);
    dj_diagnostics_error(reading->diagnostics, where, "%s: %s", item->key, what);
}

/* The row of that name, made where there is none; NULL: there is no room. */
static struct dj_price *row_of(struct reading *reading, const char *name, size_t len)
{
    for (size_t i = 0; i < reading->count; i++)
        if (strlen(reading->names[i]) == len && memcmp(reading->names[i], name, len) == 0)
            return &reading->rows[i];
    if (reading->count == DJ_PRICES_MAX)
        return NULL;
    char *kept = reading->names[reading->count];
    memcpy(kept, name, len);
    kept[len] = '\0';
    reading->rows[reading->count] = (struct dj_price){.name = kept, .cached_usd = -1};
    return &reading->rows[reading->count++];
}

static void read_item(struct reading *reading, const struct dj_config_item *item)
{
    const char *dot = strrchr(item->key, '.');
    size_t len = dot ? (size_t)(dot - item->key) : 0;
    double usd = 0;
    if (!len || len >= DJ_PRICE_NAME_BYTES) {
        complain(reading, item,
                 "expects MODEL: {input: N, output: N}, US dollars for a million tokens");
        return;
    }
    bool is_input = strcmp(dot + 1, "input") == 0;
    bool is_cached = strcmp(dot + 1, "cached") == 0;
    if (!is_input && !is_cached && strcmp(dot + 1, "output") != 0) {
        complain(reading, item, "a price is one of input, cached, output");
        return;
    }
    if (item->kind != DJ_CONFIG_SCALAR ||
        dj_num_parse_double(deja_slice_text(item->value), &usd) != DEJA_OK || usd < 0 ||
        usd > DJ_PRICE_USD_MAX) {
        complain(reading, item, "expects a number of US dollars, 0 to 1000000");
        return;
    }
    struct dj_price *row = row_of(reading, item->key, len);
    if (!row)
        complain(reading, item, "is one model too many: 2000 are the most");
    else
        *(is_input ? &row->input_usd : is_cached ? &row->cached_usd : &row->output_usd) = usd;
}

static enum deja_status read_rows(struct reading *reading, struct dj_prices **out_prices)
{
    size_t faults = reading->diagnostics->error_count;
    reading->rows = dj_alloc_zeroed(DJ_PRICES_MAX, sizeof *reading->rows);
    reading->names = dj_alloc_zeroed(DJ_PRICES_MAX, sizeof *reading->names);
    if (!reading->rows || !reading->names)
        return DEJA_ERR_NOMEM;
    for (size_t i = 0; i < dj_config_count(reading->config); i++)
        read_item(reading, dj_config_at(reading->config, i));
    return reading->diagnostics->error_count > faults
               ? DEJA_ERR_CONFIG
               : dj_prices_create(reading->rows, reading->count, out_prices);
}

enum deja_status dj_prices_read(const char *path, struct dj_diagnostics *diagnostics,
                                struct dj_prices **out_prices)
{
    struct dj_config *config = NULL;
    struct dj_prices *prices = NULL;
    enum deja_status status = path ? dj_config_read(path, diagnostics, &config) : DEJA_OK;
    struct reading reading = {.config = config, .diagnostics = diagnostics};
    if (status == DEJA_OK && config)
        status = read_rows(&reading, &prices);
    dj_free(reading.rows);
    dj_free(reading.names);
    dj_config_destroy(config);
    if (status == DEJA_OK)
        *out_prices = prices;
    return status;
}

enum deja_status dj_prices_make_shipped(struct dj_prices **out_prices)
{
    size_t count = 0;
    const struct dj_price *rows = dj_prices_shipped(&count);
    return dj_prices_create(rows, count, out_prices);
}
