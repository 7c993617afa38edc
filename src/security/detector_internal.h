/* security/detector_internal.h - a rule: where it begins, how it goes on, what must hold. */
#ifndef DJ_SECURITY_DETECTOR_INTERNAL_H
#define DJ_SECURITY_DETECTOR_INTERNAL_H

#include <deja/base.h>

#include "security/detector.h"

/* What a pattern matched. value: its first group, or all of it. */
struct dj_candidate {
    struct deja_slice text;
    struct deja_slice value;
};
/* May make value shorter. */
typedef bool dj_candidate_fn(struct dj_candidate *candidate);

enum dj_rule_start {
    DJ_START_AT,     /* at the word */
    DJ_START_AFTER,  /* behind it */
    DJ_START_DIGITS, /* at a run of digits that has digits_min to digits_max */
};

/* Words are lower case and found in any case; the pattern tells cases apart again. */
struct dj_rule {
    const char *name;
    enum dj_sensitive_class class;
    bool is_named; /* only where DJ_SENSITIVE_NAMED is asked for */
    enum dj_rule_start start;
    const char *words; /* parted by '|'; NULL for runs of digits */
    uint8_t digits_min;
    uint8_t digits_max;
    const char *back; /* bytes the start moves back over, as a range "az" after "az"; NULL: none */
    uint8_t back_max;
    bool is_whole;          /* its first group is not the value */
    const char *pattern;    /* PCRE2, anchored, over bytes */
    dj_candidate_fn *check; /* NULL: the pattern says it all */
};

extern const struct dj_rule dj_detector_rules[];
extern const size_t dj_detector_rule_count;

/* detector_numbers.c: numbers with check digits. */
bool dj_check_card(struct dj_candidate *candidate);
bool dj_check_ssn(struct dj_candidate *candidate);
bool dj_check_iban(struct dj_candidate *candidate);
bool dj_check_nino(struct dj_candidate *candidate);
bool dj_check_nir(struct dj_candidate *candidate);
bool dj_check_dni(struct dj_candidate *candidate);
bool dj_check_cpf(struct dj_candidate *candidate);
bool dj_check_codice(struct dj_candidate *candidate);
bool dj_check_phone(struct dj_candidate *candidate);

/* detector_words.c: is it chosen at random, or by a person as a secret? */
bool dj_check_random(struct dj_candidate *candidate);
bool dj_check_password(struct dj_candidate *candidate);
bool dj_check_spoken_password(struct dj_candidate *candidate);
bool dj_check_secret(struct dj_candidate *candidate);
bool dj_check_credential(struct dj_candidate *candidate);
bool dj_check_url_password(struct dj_candidate *candidate);
bool dj_check_named(struct dj_candidate *candidate);

#endif
