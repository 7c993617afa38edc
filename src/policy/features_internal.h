/* policy/features_internal.h - what guards remember of one text.
 *
 * Filled by features.c (words, names, opposites, negation), features_numbers.c (numbers, units,
 * dates); read by guards.c, guards_names.c and guards_direction.c.
 */
#ifndef DJ_POLICY_FEATURES_INTERNAL_H
#define DJ_POLICY_FEATURES_INTERNAL_H

#include "policy/guards.h"
#include "policy/lexicon.h"
#include "text/words.h"

/* Bounds (I7). A question that overflows one is long enough to be asked again. */
enum {
    DJ_FEATURE_WORDS_MAX = 1024, /* four times what the encoder sees of a text */
    DJ_FEATURE_LITERALS_MAX = 64,
    DJ_FEATURE_NUMBERS_MAX = 64,
    DJ_FEATURE_ITEMS_MAX = 96,
    DJ_FEATURE_NAMES_MAX = 160,
};

enum dj_tongue {
    DJ_TONGUE_UNKNOWN,
    DJ_TONGUE_ENGLISH,
    DJ_TONGUE_SPANISH,
    DJ_TONGUE_FRENCH,
    DJ_TONGUE_GERMAN,
    DJ_TONGUE_ITALIAN,
    DJ_TONGUE_PORTUGUESE,
    DJ_TONGUE_DUTCH,
    DJ_TONGUE_CYRILLIC, /* from here on by script */
    DJ_TONGUE_GREEK,
    DJ_TONGUE_ARABIC,
    DJ_TONGUE_HEBREW,
    DJ_TONGUE_DEVANAGARI,
    DJ_TONGUE_HAN,
    DJ_TONGUE_JAPANESE,
    DJ_TONGUE_KOREAN,
    DJ_TONGUE_THAI,
    DJ_TONGUE_COUNT,
};

enum dj_question {
    DJ_QUESTION_OTHER, /* what, which, how, yes-no, imperative: too freely exchanged to compare */
    DJ_QUESTION_WHO,
    DJ_QUESTION_WHEN,
    DJ_QUESTION_WHERE,
    DJ_QUESTION_WHY,
    DJ_QUESTION_HOW_MANY,
};

/* Per word, parallel to words.items. */
struct dj_word_note {
    uint32_t stem;   /* hash of the word without endings */
    uint32_t lower;  /* hash of the word as it is, without 's */
    bool is_stop;    /* function word */
    bool is_filler;  /* furniture of asking */
    bool is_counted; /* part of a number, unit or date: not content of its own */
    bool is_name;
    bool is_negation;
};

struct dj_feature_number {
    uint64_t key;  /* value; equal numbers have equal keys */
    uint32_t unit; /* 0: none */
    uint32_t word;
    bool is_currency; /* its unit is money: often left out */
    bool is_soft;     /* "one", "first", the 4 of GPT4: speaks only against another number */
};

struct dj_feature_item {
    uint32_t key;   /* lexicon id, date key or hash */
    uint32_t group; /* class number; 0: a name known by its capital letter only */
    uint32_t word;  /* index of its first word */
    uint8_t flags;  /* enum dj_lex_flag */
    int8_t pole;    /* of an axis */
    bool is_soft;   /* speaks only against another of its kind */
    uint8_t words;  /* how many words it has */
};

struct dj_feature_list {
    struct dj_feature_item items[DJ_FEATURE_ITEMS_MAX];
    uint32_t count;
};

struct dj_guard_parts {
    struct dj_words words;
    struct dj_word_note *notes; /* in the words' arena */
    struct dj_feature_number numbers[DJ_FEATURE_NUMBERS_MAX];
    uint32_t number_count;
    struct dj_feature_list units; /* named without a number: "in pounds" */
    struct dj_feature_list dates;
    struct dj_feature_list names;
    struct dj_feature_list axes;
    struct dj_feature_list superlatives; /* cheapest, largest; not best, which is anything */
    uint32_t negations;
    bool has_from;      /* something goes from somewhere */
    uint32_t operators; /* hash of the signs of arithmetic in order; 0: none */
    uint32_t content;   /* content words */
    uint32_t literals;  /* words of code or between backticks */
    enum dj_tongue tongue;
    enum dj_question question;
    bool is_overfull; /* a table above was too small */
    bool is_volatile;
};

/* Phrase of up to three words at index: its senses and length in words (>= 1). */
struct dj_lex_span dj_feature_phrase(const struct dj_guard_parts *parts, uint32_t index,
                                     uint32_t *out_len);
void dj_feature_add(struct dj_guard_parts *parts, struct dj_feature_list *list,
                    struct dj_feature_item item);
/* Word without a final 's or apostrophe. */
struct deja_slice dj_feature_base(struct deja_slice word);
bool dj_feature_is(const struct dj_guard_parts *parts, uint32_t index, const char *word);

/* Reads the number, unit or date at index; returns how many words it took, 0 when it is none. */
uint32_t dj_feature_read_number(struct dj_guard_parts *parts, struct deja_slice text,
                                uint32_t index);
uint32_t dj_feature_read_unit(struct dj_guard_parts *parts, uint32_t index);
uint32_t dj_feature_read_date(struct dj_guard_parts *parts, uint32_t index);

bool dj_guard_has_stem(const struct dj_guard_parts *parts, uint32_t stem);
/* Two neighbouring words of parts written together are word. */
bool dj_guard_is_joined_in(struct deja_slice word, const struct dj_guard_parts *parts);
/* 0 or the bit of DJ_GUARD_ENTITIES. */
uint32_t dj_guard_compare_names(const struct dj_guard_parts *a, const struct dj_guard_parts *b);
/* True when direction or roles of what both texts name are exchanged. */
bool dj_guard_is_turned_round(const struct dj_guard_parts *a, const struct dj_guard_parts *b);

#endif
