/* policy/guards.h - reasons why a similar question is not the same question (ACCURACY.md §4).
 *
 * A vector says that two questions are about the same thing; it hardly sees that one says 5 and
 * the other 50, "enable" and "disable", "from Rome to Oslo" and "from Oslo to Rome". Guards read
 * the words. They only ever refuse: what they let pass still has to be similar enough.
 *
 *   dj_guard_features_init(&a, question);  dj_guard_features_init(&b, stored question);
 *   dj_guards_compare(&a, &b, &verdict);   verdict.refused == 0: nothing speaks against it
 *
 * English has all guards; other languages those that need no word list (numbers, literals, names,
 * language, length, content). Pure, deterministic, about 10 us for a pair of questions.
 * Trust: untrusted; every table is bounded, and a text that overflows one is refused (the exact and
 * the normalised key do not need guards). Threads: any; features are immutable once made.
 */
#ifndef DJ_POLICY_GUARDS_H
#define DJ_POLICY_GUARDS_H

#include <deja/base.h>

enum dj_guard {
    DJ_GUARD_NUMBERS,       /* 5, five, fifth, 1,000, two hundred, 2.5 million */
    DJ_GUARD_UNITS,         /* units and currencies, with their numbers */
    DJ_GUARD_DATES,         /* months, weekdays, clock times, today */
    DJ_GUARD_NEGATION,      /* not, never, without, un-, in parity */
    DJ_GUARD_QUANTIFIERS,   /* all, none, most, least, at most; cheapest against fastest */
    DJ_GUARD_OPPOSITES,     /* enable, disable; before, after; buy, sell */
    DJ_GUARD_ENTITIES,      /* names, places, languages, products, foods, formats ... */
    DJ_GUARD_LITERALS,      /* quoted text, code, paths, addresses, arithmetic */
    DJ_GUARD_DIRECTION,     /* from, to; who does it to whom; over, than */
    DJ_GUARD_QUESTION_TYPE, /* who, when, where, why, how many */
    DJ_GUARD_LANGUAGE,
    DJ_GUARD_LENGTH_RATIO, /* one is much longer than the other */
    DJ_GUARD_CONTENT,      /* long texts that share too few words, texts beyond the bounds */
    DJ_GUARD_COUNT,
};

/* Owned; NULL in a zeroed struct, which compares as empty text and may be fini'd. */
struct dj_guard_features {
    struct dj_guard_parts *parts;
};

struct dj_guard_verdict {
    uint32_t refused; /* bit 1 << guard; 0: every guard passes */
};

/* "numbers", "units", ...; also as "guard:numbers" in reasons. NULL for DJ_GUARD_COUNT and above.
 */
const char *dj_guard_name(enum dj_guard guard);
/* "guard:numbers": constant text. */
const char *dj_guard_reason(enum dj_guard guard);
/* The lowest guard of a mask; DJ_GUARD_COUNT for 0. */
enum dj_guard dj_guard_first(uint32_t refused);

/* text: UTF-8, borrowed for the call only. DEJA_ERR_NOMEM. */
enum deja_status dj_guard_features_init(struct dj_guard_features *features,
                                        struct deja_slice text) DEJA_NODISCARD;
void dj_guard_features_fini(struct dj_guard_features *features);

/* Symmetric. Cannot fail. */
void dj_guards_compare(const struct dj_guard_features *a, const struct dj_guard_features *b,
                       struct dj_guard_verdict *out_verdict);

/* The text asks for something that changes by the hour ("today", "latest", "near me"): a short
 * life for its answer. */
bool dj_guard_features_is_volatile(const struct dj_guard_features *features);

#endif
