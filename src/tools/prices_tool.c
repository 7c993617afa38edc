/* tools/prices_tool.c - see prices_tool.h. */
#include "tools/prices_tool.h"

#include <stdio.h>

#include "proto/json.h"

struct request {
    bool wants_json;
};

static const struct dj_command_option rows[] = {
    {"--json", DJ_COMMAND_SWITCH, NULL, "Print JSON", offsetof(struct request, wants_json)},
};

const struct dj_command dj_prices_command = {
    .name = "prices",
    .summary = "what models cost, as savings and budgets count it",
    .synopsis = "[MODEL...]",
    .examples = "deja prices\tevery row, US dollars for a million tokens\n"
                "deja prices gpt-4o-2024-08-06\tthe row that speaks of this model; exit 3: none "
                "does\n"
                "deja prices --json > prices.json\tas prices.file wants it",
    .description =
        "Shipped are list prices of the vendors, last compared in " DJ_PRICES_SHIPPED
        ". Rows of prices.file come before them, and a tenant's own prices before both. A name "
        "stands for its dated snapshots too; a * at its end for every model that begins so.",
    .options = {{rows, sizeof rows / sizeof *rows}},
    .takes_settings = true,
};

static void put_usd(struct dj_json_writer *w, const char *name, double usd)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%.10g", usd);
    dj_json_key(w, name);
    dj_json_put_raw(w, deja_slice(text, len > 0 ? (size_t)len : 0));
}

static void write_json(struct dj_json_writer *w, const char *name, const struct dj_price *price)
{
    dj_json_key(w, name);
    dj_json_begin_object(w);
    put_usd(w, "input", price->input_usd);
    if (price->cached_usd >= 0)
        put_usd(w, "cached", price->cached_usd);
    put_usd(w, "output", price->output_usd);
    dj_json_end_object(w);
}

static void write_line(const char *name, const struct dj_price *price, const char *source)
{
    char cached[32] = "-";
    if (price->cached_usd >= 0)
        snprintf(cached, sizeof cached, "%g", price->cached_usd);
    printf("%-32s %10g %10s %10g  %s\n", name, price->input_usd, cached, price->output_usd, source);
}

/* Row i of the two tables together; NULL: no more. */
static const struct dj_price *row_at(const struct dj_prices_tool *tool, size_t i,
                                     const char **out_source)
{
    size_t own_count = dj_prices_count(tool->own);
    *out_source = i < own_count ? tool->own_name : "shipped";
    if (i < own_count)
        return dj_prices_at(tool->own, i);
    return i - own_count < dj_prices_count(tool->shipped)
               ? dj_prices_at(tool->shipped, i - own_count)
               : NULL;
}

static const struct dj_price *find(const struct dj_prices_tool *tool, const char *model,
                                   const char **out_source)
{
    const struct dj_price *price = dj_prices_find(tool->own, deja_slice_text(model));
    *out_source = price ? tool->own_name : "shipped";
    return price ? price : dj_prices_find(tool->shipped, deja_slice_text(model));
}

static void head(bool wants_json)
{
    if (!wants_json)
        printf("%-32s %10s %10s %10s  %s\n", "MODEL", "INPUT", "CACHED", "OUTPUT", "FROM");
}

static void list(const struct dj_prices_tool *tool, struct dj_json_writer *w)
{
    const char *source = NULL;
    const struct dj_price *price = NULL;
    for (size_t i = 0; (price = row_at(tool, i, &source)) != NULL; i++) {
        const struct dj_price *said = dj_prices_find(tool->own, deja_slice_text(price->name));
        if (i >= dj_prices_count(tool->own) && said)
            continue; /* the file says otherwise */
        if (w)
            write_json(w, price->name, price);
        else
            write_line(price->name, price, source);
    }
}

int dj_prices_tool_run(const struct dj_prices_tool *tool, int argc, char *const *argv)
{
    struct request request = {false};
    struct dj_words words = {.count = 0};
    struct deja_error error = {""};
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    int code = DJ_EXIT_OK;
    if (dj_command_parse(&dj_prices_command, argc, argv, &request, &words, &error) != DEJA_OK)
        return dj_command_misused(&dj_prices_command, error.message);
    head(request.wants_json);
    dj_json_begin_object(&w);
    if (!words.count)
        list(tool, request.wants_json ? &w : NULL);
    for (size_t i = 0; i < words.count; i++) {
        const char *source = NULL;
        const struct dj_price *price = find(tool, words.items[i], &source);
        if (!price) {
            fprintf(stderr, "deja prices: no row speaks of %s: a token of it is guessed at\n",
                    words.items[i]);
            code = DJ_EXIT_MISS;
        } else if (request.wants_json) {
            write_json(&w, words.items[i], price);
        } else {
            write_line(price->name, price, source);
        }
    }
    dj_json_end_object(&w);
    if (text.status != DEJA_OK)
        code = DJ_EXIT_FAILED;
    else if (request.wants_json)
        printf("%.*s\n", (int)text.len, text.data);
    dj_buf_fini(&text);
    return code;
}
