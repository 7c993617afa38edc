/* proxy/ledger.h - what hits spared and what calls cost, by tenant and kind, over the last hours
 * and days.
 *
 * Kept in memory: buckets of an hour for a day, of a day for a month; who wants them to outlive the
 * process walks them and adds them again. A period is looked up in whole buckets, so it begins up
 * to one bucket earlier than asked. Threads: any; an addition takes no lock but where an hour
 * begins or a kind is met for the first time. Bounds: DJ_LEDGER_ACCOUNTS_MAX pairs of tenant and
 * kind; what comes later is not kept.
 */
#ifndef DJ_PROXY_LEDGER_H
#define DJ_PROXY_LEDGER_H

#include <deja/base.h>

#include "proto/record.h"

#define DJ_LEDGER_ACCOUNTS_MAX 4096u /* of 3 KB */
#define DJ_LEDGER_KINDS_MAX 64u      /* of one tenant, in a report */
#define DJ_LEDGER_KIND_BYTES 32u     /* the end included; a longer name is "other" */
#define DJ_LEDGER_DAY_MS UINT64_C(86400000)
#define DJ_LEDGER_PERIOD_MAX_MS (30 * DJ_LEDGER_DAY_MS)

enum dj_ledger_sum {
    DJ_LEDGER_HITS,
    DJ_LEDGER_MISSES,
    DJ_LEDGER_INPUT_TOKENS, /* spared, as are the next four */
    DJ_LEDGER_OUTPUT_TOKENS,
    DJ_LEDGER_MS,
    DJ_LEDGER_NANO_USD,
    DJ_LEDGER_GUESSED_NANO_USD, /* of these, by policy/prices.h's guesses */
    DJ_LEDGER_SPENT_NANO_USD,   /* by calls that were made all the same */
    DJ_LEDGER_SUM_COUNT
};

struct dj_ledger;

enum deja_status dj_ledger_create(struct dj_ledger **out_ledger) DEJA_NODISCARD;
void dj_ledger_destroy(struct dj_ledger *ledger); /* accepts NULL */

/* kind: terminated, not empty: "response", "embedding", … */
void dj_ledger_add(struct dj_ledger *ledger, const uint8_t tenant[DJ_ID_BYTES], const char *kind,
                   int64_t now_ms, const uint64_t sums[DJ_LEDGER_SUM_COUNT]);

/* One bucket of an account. */
struct dj_ledger_bucket {
    uint8_t tenant[DJ_ID_BYTES];
    char kind[DJ_LEDGER_KIND_BYTES];
    bool is_day;
    int64_t at_ms; /* within its hour or day, since 1970 */
    uint64_t sums[DJ_LEDGER_SUM_COUNT];
};
typedef void dj_ledger_each_fn(void *ctx, const struct dj_ledger_bucket *bucket);
/* Those that hold anything, in no order; additions go on meanwhile. */
void dj_ledger_walk(struct dj_ledger *ledger, void *ctx, dj_ledger_each_fn *each);
/* Adds to that bucket alone; one that has left its ring is dropped. */
void dj_ledger_restore(struct dj_ledger *ledger, const struct dj_ledger_bucket *bucket);

struct dj_ledger_line {
    char kind[DJ_LEDGER_KIND_BYTES];
    uint64_t sums[DJ_LEDGER_SUM_COUNT];
};
/* What a tenant has had in the last period_ms (0: a day; at most DJ_LEDGER_PERIOD_MAX_MS), by name
 * of kind; kinds without anything in it are left out. tenant NULL: all together. *out_from_ms:
 * where the first bucket begins. How many lines. */
size_t dj_ledger_read(struct dj_ledger *ledger, const uint8_t *tenant, int64_t now_ms,
                      uint64_t period_ms, struct dj_ledger_line out_lines[DJ_LEDGER_KINDS_MAX],
                      int64_t *out_from_ms);

#endif
