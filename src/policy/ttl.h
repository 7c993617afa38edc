/* policy/ttl.h - when an entry ends, as an absolute time.
 *
 * base (of the kind or the class) -> the caller's own ttl -> caps -> jitter. Jitter keeps entries
 * written together from ending together; it only shortens, for a ttl is also a promise that the
 * answer is gone by then. Pure: the clock and the random value are given (I5). Threads: any.
 */
#ifndef DJ_POLICY_TTL_H
#define DJ_POLICY_TTL_H

#include <deja/base.h>

#define DJ_TTL_MIN_MS UINT64_C(1000) /* less would be a miss by the next request */
#define DJ_TTL_MAX_MS (UINT64_C(365) * 24 * 3600 * 1000) /* whatever the settings say */
#define DJ_TTL_JITTER_MAX 0.5

struct dj_ttl_input {
    int64_t now_ms;
    uint64_t base_ms;    /* of the kind; 0: DJ_TTL_MAX_MS */
    uint64_t request_ms; /* the caller's ttl, replaces base; 0: none */
    uint64_t cap_ms;     /* settings' or tenant's longest life; 0: DJ_TTL_MAX_MS */
    uint64_t max_age_ms; /* the caller's max-age or s-maxage, a further cap; 0: none */
    double jitter;       /* 0.1: up to ten per cent are taken off; outside 0-0.5 is bounded */
    uint64_t random;     /* uniform over all 64 bits */
};

/* The life in ms: between DJ_TTL_MIN_MS and the least cap (a cap below the minimum wins). */
uint64_t dj_ttl_life(const struct dj_ttl_input *input);

/* now + life; INT64_MAX when that does not fit. */
int64_t dj_ttl_expiry(const struct dj_ttl_input *input);

/* Classes of what is asked, by its length. */
enum dj_ttl_size { DJ_TTL_SMALL, DJ_TTL_MEDIUM, DJ_TTL_LARGE, DJ_TTL_SIZE_COUNT };
struct dj_ttl_sizes {
    uint64_t life_ms[DJ_TTL_SIZE_COUNT]; /* 0: that class has none of its own */
    uint32_t small_max;                  /* characters of the longest small text */
    uint32_t medium_max;                 /* of the longest medium one */
};
/* text: valid UTF-8, whose code points are counted where its bytes do not tell already. */
enum dj_ttl_size dj_ttl_size_of(const struct dj_ttl_sizes *sizes, struct deja_slice text);

/* Multipliers of the dynamic TTL: confidence > 0.9 doubles, cost > 0.10 (USD) adds half, an
 * analysis doubles. Not finite: as if not given. Saturates at DJ_TTL_MAX_MS. */
uint64_t dj_ttl_dynamic(uint64_t base_ms, double confidence, double cost_usd, bool is_analysis);

/* Early refresh (Vattani, Chierichetti, Lowenstein 2015): who is served an answer makes it anew
 * before its end, the likelier the nearer the end and the longer its making takes, so that the
 * many who ask for it at its end find a new one. */

/* -beta * make_ms * ln(u), u in (0, 1]: so long before its end an answer is made anew. */
double dj_ttl_early_ms(uint64_t make_ms, double beta, double u);
/* Could any draw be early? Without a logarithm: for every hit. */
bool dj_ttl_may_be_early(int64_t left_ms, uint64_t make_ms, double beta);
/* random: uniform over all 64 bits. */
bool dj_ttl_is_early(int64_t left_ms, uint64_t make_ms, double beta, uint64_t random);

#endif
