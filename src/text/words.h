/* text/words.h - a text cut into words that keep their place, case and kind.
 *
 * "How do I call `torch.compile` 2 times?" gives: how do i call torch.compile 2 times
 * Scripts written without spaces (Han, kana, Thai, ...) give one word per character.
 *
 * Trust: untrusted; bounded by words_max. Threads: none of its own, immutable once made.
 */
#ifndef DJ_TEXT_WORDS_H
#define DJ_TEXT_WORDS_H

#include <deja/base.h>

#include "base/arena.h"

enum dj_word_kind {
    DJ_WORD_PLAIN,  /* letters, inner apostrophes; "C++", "C#", "F#" too */
    DJ_WORD_NUMBER, /* starts with a digit: "3", "1,000.5", "3.10.2", "15:30", never a letter */
    DJ_WORD_CODE,   /* identifier, path, address: torch.compile, a_b, f(), --x, http://..., x@y.z */
    DJ_WORD_SYMBOL, /* % $ and other signs that carry meaning, and + - * / = < > ^ between words */
};

struct dj_word {
    struct deja_slice lower; /* in lower case, apostrophes as ', without quotes and brackets;
                              * lives as long as the words */
    uint32_t offset;         /* of the first byte in the text */
    uint32_t len;            /* bytes in the text */
    enum dj_word_kind kind : 8;
    bool is_capitalised;   /* first letter is upper case */
    bool is_acronym;       /* two or more letters, all upper case */
    bool is_mixed;         /* an upper-case letter after a lower-case one: iPhone, GitHub */
    bool is_quoted;        /* between quotation marks */
    bool is_backticked;    /* between backticks */
    bool is_sentence_head; /* first word of the text, or after . ! ? : or a line end */
    bool is_glued;         /* no white space before it: "10" "km" of "10km", "hard" of "too-hard" */
    bool has_comma_before; /* a comma, semicolon, colon, bracket or dash stands before it */
};

struct dj_words {
    struct dj_word *items; /* in order of offset */
    uint32_t count;
    bool is_cut; /* the text had more than words_max */
    struct dj_arena arena;
};

/* DEJA_ERR_NOMEM; DEJA_ERR_LIMIT: text longer than 4 GiB. Invalid UTF-8 is skipped byte by byte.
 * The text need not outlive the call. */
enum deja_status dj_words_init(struct dj_words *words, struct deja_slice text,
                               uint32_t words_max) DEJA_NODISCARD;
void dj_words_fini(struct dj_words *words); /* zeroed: does nothing */

#endif
