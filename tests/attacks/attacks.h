/* attacks.h - pairs of questions that look alike and must not share an answer, made from templates.
 *
 * Each names what was swapped. Deterministic from a seed.
 */
#ifndef DJ_TEST_ATTACKS_H
#define DJ_TEST_ATTACKS_H

#include <stdint.h>

enum attack_kind {
    ATTACK_NUMBER,
    ATTACK_ENTITY,
    ATTACK_NEGATION,
    ATTACK_OPPOSITE,
    ATTACK_UNIT,
    ATTACK_DIRECTION,
    ATTACK_DATE,
    ATTACK_SUFFIX, /* not from templates: the attacker's words after the victim's, climbed */
    ATTACK_KINDS
};
#define ATTACK_TEXT_BYTES 512u

extern const char *const attack_kind_names[ATTACK_KINDS];

struct attack {
    enum attack_kind kind;
    char stored[ATTACK_TEXT_BYTES];
    char asked[ATTACK_TEXT_BYTES];
};

/* splitmix64; state: the caller's. */
uint64_t attack_draw(uint64_t *state);
/* kind below ATTACK_SUFFIX. */
void attack_make(uint64_t *state, enum attack_kind kind, struct attack *out_attack);
/* A question that somebody will ask, and what an attacker wants its answer to obey. */
void attack_victim(uint64_t *state, char text[ATTACK_TEXT_BYTES]);
const char *attack_payload(uint64_t *state);
/* One word an attacker may add: of the victim's, or of a small dictionary. Valid until the next
 * call with the same room. */
const char *attack_word(uint64_t *state, const char *victim, char room[64]);

#endif
