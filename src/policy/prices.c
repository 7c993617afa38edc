/* policy/prices.c - see prices.h. A table is sorted by what a row says: the longer its name the
 * more, and a whole name more than a beginning of the same length; so the first that fits is right.
 */
#include "policy/prices.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/slice.h"

#define NONE (-1.0)

struct row {
    struct dj_price price;
    size_t place; /* among the rows as given */
    char name[DJ_PRICE_NAME_BYTES];
};

struct dj_prices {
    size_t count;
    struct row rows[];
};

/* clang-format off: a table is read by its columns */
static const struct dj_price shipped[] = {
#include "policy/prices_shipped.def"
};
/* clang-format on */

const struct dj_price *dj_prices_shipped(size_t *out_count)
{
    *out_count = sizeof shipped / sizeof *shipped;
    return shipped;
}

/* ---- a table ---- */

static bool is_usd(double usd)
{
    return isfinite(usd) && usd >= 0 && usd <= DJ_PRICE_USD_MAX;
}

static bool is_row(const struct dj_price *price)
{
    size_t len = price->name ? strlen(price->name) : 0;
    return len > 0 && len < DJ_PRICE_NAME_BYTES && is_usd(price->input_usd) &&
           is_usd(price->output_usd) && (price->cached_usd < 0 || is_usd(price->cached_usd));
}

/* Longest first; of equal names the later one. */
static int compare_rows(const void *a, const void *b)
{
    const struct row *left = a;
    const struct row *right = b;
    size_t left_len = strlen(left->name);
    size_t right_len = strlen(right->name);
    if (left_len != right_len)
        return left_len > right_len ? -1 : 1;
    int order = strcmp(left->name, right->name);
    if (order)
        return order;
    return left->place > right->place ? -1 : left->place < right->place;
}

enum deja_status dj_prices_create(const struct dj_price *rows, size_t count,
                                  struct dj_prices **out_prices)
{
    if (count > DJ_PRICES_MAX)
        return DEJA_ERR_LIMIT;
    for (size_t i = 0; i < count; i++)
        if (!is_row(&rows[i]))
            return DEJA_ERR_INVALID;
    struct dj_prices *prices = dj_alloc(sizeof *prices + count * sizeof *prices->rows);
    if (!prices)
        return DEJA_ERR_NOMEM;
    prices->count = count;
    for (size_t i = 0; i < count; i++) {
        struct row *row = &prices->rows[i];
        *row = (struct row){.price = rows[i], .place = i};
        memcpy(row->name, rows[i].name, strlen(rows[i].name) + 1);
    }
    qsort(prices->rows, count, sizeof *prices->rows, compare_rows);
    for (size_t i = 0; i < count; i++)
        prices->rows[i].price.name = prices->rows[i].name; /* they have moved */
    *out_prices = prices;
    return DEJA_OK;
}

void dj_prices_destroy(struct dj_prices *prices)
{
    dj_free(prices);
}

size_t dj_prices_count(const struct dj_prices *prices)
{
    return prices ? prices->count : 0;
}

const struct dj_price *dj_prices_at(const struct dj_prices *prices, size_t index)
{
    return &prices->rows[index].price;
}

/* ---- which row ---- */

static bool begins(struct deja_slice text, struct deja_slice with)
{
    return text.len >= with.len && memcmp(text.data, with.data, with.len) == 0;
}

/* What follows a model's name in that of a snapshot of it: "-0613", "-20250929", "-2024-08-06",
 * "-latest"; not "-5", which is another model. */
static bool is_snapshot(struct deja_slice rest)
{
    size_t digits = 0;
    if (dj_slice_is(rest, "-latest"))
        return true;
    if (rest.len < 5 || (rest.data[0] != '-' && rest.data[0] != '@'))
        return false;
    for (size_t i = 1; i < rest.len; i++) {
        bool is_digit = rest.data[i] >= '0' && rest.data[i] <= '9';
        if (!is_digit && (rest.data[i] != '-' || digits < 4))
            return false;
        digits += is_digit;
    }
    return true;
}

bool dj_price_is_of(const struct dj_price *price, struct deja_slice model)
{
    struct deja_slice name = deja_slice_text(price->name);
    if (name.data[name.len - 1] == '*')
        return begins(model, deja_slice(name.data, name.len - 1));
    return begins(model, name) &&
           (model.len == name.len ||
            is_snapshot(deja_slice(model.data + name.len, model.len - name.len)));
}

static const struct dj_price *find(const struct dj_prices *prices, struct deja_slice model)
{
    for (size_t i = 0; i < prices->count; i++)
        if (dj_price_is_of(&prices->rows[i].price, model))
            return &prices->rows[i].price;
    return NULL;
}

const struct dj_price *dj_prices_find(const struct dj_prices *prices, struct deja_slice model)
{
    if (!prices || !model.len)
        return NULL;
    size_t start = model.len;
    while (start > 0 && model.data[start - 1] != '/')
        start--;
    const struct dj_price *whole = find(prices, model);
    if (!start || start == model.len)
        return whole;
    const struct dj_price *bare = find(prices, deja_slice(model.data + start, model.len - start));
    /* A row for every model says less than one that names this one without its provider. */
    bool is_better = bare && (!whole || strcmp(whole->name, "*") == 0);
    return is_better ? bare : whole;
}

/* ---- money ---- */

double dj_price_cost_usd(const struct dj_price *price, const struct dj_price_usage *usage)
{
    uint64_t cached =
        usage->cached_tokens < usage->input_tokens ? usage->cached_tokens : usage->input_tokens;
    double cached_usd = price->cached_usd < 0 ? price->input_usd : price->cached_usd;
    return ((double)(usage->input_tokens - cached) * price->input_usd +
            (double)cached * cached_usd + (double)usage->output_tokens * price->output_usd) /
           1e6;
}

enum dj_saving_class dj_saving_class_of(struct deja_slice kind)
{
    static const struct {
        const char *beginning;
        enum dj_saving_class class;
    } classes[] = {
        {"embedding", DJ_SAVING_EMBEDDING},
        {"doc", DJ_SAVING_DOCUMENT},
        {"ocr", DJ_SAVING_DOCUMENT},
        {"extract", DJ_SAVING_DOCUMENT},
        {"chunk", DJ_SAVING_DOCUMENT},
        {"parse", DJ_SAVING_DOCUMENT},
        {"session", DJ_SAVING_NOTHING},
        {"query", DJ_SAVING_NOTHING},
        {"plain", DJ_SAVING_NOTHING},
        {"negative", DJ_SAVING_NOTHING},
        {"template_embedding", DJ_SAVING_EMBEDDING},
    };
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (begins(kind, deja_slice_text(classes[i].beginning)))
            return classes[i].class;
    return DJ_SAVING_ANSWER;
}

void dj_saving_work_out(const struct dj_price_guess *guess, const struct dj_saving_facts *facts,
                        struct dj_saving *out_saving)
{
    struct dj_saving saving = {.input_tokens = facts->input_tokens,
                               .output_tokens = facts->output_tokens,
                               .ms = facts->make_ms};
    uint64_t tokens = facts->input_tokens + facts->output_tokens;
    bool is_known = isfinite(facts->cost_usd) && facts->cost_usd > 0;
    saving.cost_usd = is_known ? facts->cost_usd : 0;
    saving.is_guess = !is_known && facts->class != DJ_SAVING_NOTHING;
    if (saving.is_guess && facts->class == DJ_SAVING_EMBEDDING) {
        saving.cost_usd = (double)tokens * guess->embedded_usd;
    } else if (saving.is_guess && facts->class == DJ_SAVING_DOCUMENT) {
        saving.cost_usd = guess->document_usd;
    } else if (saving.is_guess) {
        if (!tokens)
            saving.output_tokens = tokens = guess->tokens;
        saving.cost_usd = (double)tokens * guess->token_usd;
    }
    *out_saving = saving;
}
