/* policy/lexicon.h - what the guards know of words: lexicon.txt as one constant hash table.
 *
 * Threads: any; constant. A word may have several senses ("second": an ordinal and a unit).
 */
#ifndef DJ_POLICY_LEXICON_H
#define DJ_POLICY_LEXICON_H

#include <deja/base.h>

#define DJ_LEX_WORD_BYTES 26

enum dj_lex_kind {
    DJ_LEX_NUMBER,   /* value */
    DJ_LEX_SCALE,    /* value */
    DJ_LEX_ORDINAL,  /* value */
    DJ_LEX_MONTH,    /* value: 1-12 */
    DJ_LEX_WEEKDAY,  /* value: 1-7 */
    DJ_LEX_DAY,      /* id: part of a day, a season, today ... */
    DJ_LEX_UNIT,     /* id: synonyms share it */
    DJ_LEX_NEGATION, /* */
    DJ_LEX_STOP,     /* function word */
    DJ_LEX_FILLER,   /* changes how something is asked, not what */
    DJ_LEX_VOLATILE, /* the answer ages quickly */
    DJ_LEX_TONGUE,   /* id: enum dj_tongue */
    DJ_LEX_CLASS,    /* id: synonyms share it; value: number of the class */
    DJ_LEX_AXIS,     /* id: the pair of opposites; value: +1 or -1 */
    DJ_LEX_PHRASE,   /* phrases of several words begin like this */
};

enum dj_lex_flag {
    DJ_LEX_NAME = 1,     /* only when written with a capital inside a sentence */
    DJ_LEX_ALONE = 2,    /* naming it on one side only makes another question */
    DJ_LEX_QUANTITY = 4, /* an axis of the quantifiers' guard */
    DJ_LEX_PROPER = 8,   /* a name even in lower case */
    DJ_LEX_CURRENCY = 16,
};

struct dj_lex_row {
    char word[DJ_LEX_WORD_BYTES];
    uint8_t kind;
    uint8_t flags;
    uint16_t id; /* unique over units, classes and axes */
    double value;
};

struct dj_lex_span {
    const struct dj_lex_row *rows; /* NULL: not a word we know */
    uint32_t count;
};

/* All senses of a word or phrase in lower case. */
struct dj_lex_span dj_lex_find(struct deja_slice word);
/* The first sense of that kind, or NULL. */
const struct dj_lex_row *dj_lex_sense(struct dj_lex_span span, enum dj_lex_kind kind);
const char *dj_lex_class_name(double class_number);

uint32_t dj_lex_hash(struct deja_slice bytes); /* FNV-1a; for equality here only, never on disk */

/* Made from lexicon.txt; rows are sorted by word. Only lexicon.c and its test look at them. */
extern const struct dj_lex_row dj_lex_rows[];
extern const uint32_t dj_lex_row_count;
extern const uint16_t dj_lex_slots[];
extern const uint32_t dj_lex_slot_count;
extern const char *const dj_lex_class_names[];

#endif
