/* policy/prices.h - what tokens cost, and what a hit has saved.
 *
 * A table of models, each by its name or the beginning of one; several tables are asked in turn
 * (the tenant's, the operator's file, the shipped one), and the first that knows the model has the
 * word. Pure: no clock, no file; reading a file is the caller's. Threads: a table is immutable once
 * made.
 */
#ifndef DJ_POLICY_PRICES_H
#define DJ_POLICY_PRICES_H

#include <deja/base.h>

#define DJ_PRICES_MAX 2000u        /* rows of one table */
#define DJ_PRICE_NAME_BYTES 128u   /* of a row's name, the end included */
#define DJ_PRICE_USD_MAX 1000000.0 /* for a million tokens */
#define DJ_PRICES_SHIPPED                                                   \
    "2026-11" /* when the shipped rows were last compared with their source \
               */

/* US dollars for a million tokens. */
struct dj_price {
    /* "gpt-4o": that name, with a date or "latest" behind it too (gpt-4o-2024-08-06); "gpt-4o*":
     * everything that begins so; "*": every model. */
    const char *name;
    double input_usd;
    double cached_usd; /* input that the provider's own prompt cache had; < 0: as input_usd */
    double output_usd;
};

struct dj_prices;

/* Copies the rows; of equal names the last one counts. DEJA_ERR_INVALID: a name that is empty or
 * too long, or a price that is not within 0 … DJ_PRICE_USD_MAX. DEJA_ERR_LIMIT; DEJA_ERR_NOMEM. */
enum deja_status dj_prices_create(const struct dj_price *rows, size_t count,
                                  struct dj_prices **out_prices) DEJA_NODISCARD;
void dj_prices_destroy(struct dj_prices *prices); /* accepts NULL */
/* The row that says most about the model, NULL when none does; borrowed. A name with a provider in
 * front ("openai/gpt-4o") is looked for as it is, then without. prices NULL: NULL. */
const struct dj_price *dj_prices_find(const struct dj_prices *prices, struct deja_slice model);

size_t dj_prices_count(const struct dj_prices *prices); /* NULL: 0 */
const struct dj_price *dj_prices_at(const struct dj_prices *prices, size_t index);

/* List prices of the vendors for text, the cheapest tier of context and no discount; constant. */
const struct dj_price *dj_prices_shipped(size_t *out_count);
/* Does this row speak of the model? */
bool dj_price_is_of(const struct dj_price *price, struct deja_slice model);

struct dj_price_usage {
    uint64_t input_tokens;
    uint64_t cached_tokens; /* of these; more than all is all */
    uint64_t output_tokens;
};
double dj_price_cost_usd(const struct dj_price *price, const struct dj_price_usage *usage);

/* ---- where nothing better is known ---- */

struct dj_price_guess {
    uint64_t tokens;     /* an answer whose tokens nobody counted: 1,000 */
    double token_usd;    /* a token whose price nobody knows: 0.00003 */
    double embedded_usd; /* the same where it is only embedded: 0.00000002 */
    double document_usd; /* processing a document once: 0.05 */
};
#define DJ_PRICE_GUESS        \
    ((struct dj_price_guess){ \
        .tokens = 1000, .token_usd = 3e-5, .embedded_usd = 2e-8, .document_usd = 0.05})

/* What stood behind an entry, and so what a hit on it spares. */
enum dj_saving_class {
    DJ_SAVING_ANSWER,    /* a model was asked */
    DJ_SAVING_EMBEDDING, /* a text was embedded */
    DJ_SAVING_DOCUMENT,  /* a document was read, parsed, recognised or analysed */
    DJ_SAVING_NOTHING,   /* time only: sessions, queries, plain keys */
};
/* Of a kind's name ("response", "ocr", "session", …); one nobody knows is an answer. */
enum dj_saving_class dj_saving_class_of(struct deja_slice kind);

struct dj_saving_facts {
    enum dj_saving_class class;
    double cost_usd; /* 0 or not finite: not known */
    uint64_t input_tokens;
    uint64_t output_tokens;
    uint64_t make_ms;
};
struct dj_saving {
    double cost_usd;
    uint64_t input_tokens;
    uint64_t output_tokens;
    uint64_t ms;
    bool is_guess; /* the money rests on a dj_price_guess */
};
void dj_saving_work_out(const struct dj_price_guess *guess, const struct dj_saving_facts *facts,
                        struct dj_saving *out_saving);

#endif
