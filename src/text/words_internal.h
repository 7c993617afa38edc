/* text/words_internal.h - what words.c and words_code.c share. */
#ifndef DJ_TEXT_WORDS_INTERNAL_H
#define DJ_TEXT_WORDS_INTERNAL_H

#include <deja/base.h>

static inline bool dj_ascii_is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static inline bool dj_ascii_is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static inline bool dj_ascii_is_alpha(char c)
{
    return dj_ascii_is_lower(c) || dj_ascii_is_upper(c);
}

static inline bool dj_ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool dj_ascii_is_alnum(char c)
{
    return dj_ascii_is_alpha(c) || dj_ascii_is_digit(c);
}

/* A chunk without spaces that is an identifier, a path, an address or a call, not prose. */
bool dj_words_is_code(struct deja_slice chunk);

#endif
