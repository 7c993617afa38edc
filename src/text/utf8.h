/* text/utf8.h - UTF-8 in and out, classes and normal forms of code points (over utf8proc).
 *
 * Trust: untrusted. Threads: any.
 */
#ifndef DJ_TEXT_UTF8_H
#define DJ_TEXT_UTF8_H

#include <deja/base.h>

#include "base/buf.h"

bool dj_utf8_is_valid(struct deja_slice text); /* no surrogates, no overlong forms */
/* Next code point at *offset, which is moved on; -1 for an invalid sequence (one byte is skipped).
 */
int32_t dj_utf8_next(struct deja_slice text, size_t *offset);
void dj_utf8_append(struct dj_buf *buf, int32_t code_point);
size_t dj_utf8_count(struct deja_slice text); /* code points of valid text */

enum dj_char_class {
    DJ_CHAR_LETTER,
    DJ_CHAR_MARK,
    DJ_CHAR_DIGIT, /* Nd */
    DJ_CHAR_NUMBER_OTHER,
    DJ_CHAR_PUNCTUATION, /* P* */
    DJ_CHAR_SYMBOL,      /* S* */
    DJ_CHAR_SPACE,       /* Z*, and tab, line feed, carriage return */
    DJ_CHAR_CONTROL,     /* Cc, Cf and unassigned */
};
enum dj_char_class dj_char_class(int32_t code_point);
bool dj_char_is_nonspacing_mark(int32_t code_point); /* Mn, what BERT strips as accents */
bool dj_char_is_assigned(int32_t code_point);        /* by the Unicode version of utf8proc */
int32_t dj_char_lower(int32_t code_point);
/* Canonical decomposition (NFD) of one code point; returns how many parts, at least 1. */
enum { DJ_CHAR_PARTS_MAX = 8 }; /* Unicode needs 4 */
size_t dj_char_decompose(int32_t code_point, int32_t out_parts[DJ_CHAR_PARTS_MAX]);

/* Appends the normal form of text. DEJA_ERR_INVALID (not UTF-8), DEJA_ERR_NOMEM, DEJA_ERR_LIMIT. */
enum deja_status dj_utf8_nfd(struct deja_slice text, struct dj_buf *out) DEJA_NODISCARD;
enum deja_status dj_utf8_nfc(struct deja_slice text, struct dj_buf *out) DEJA_NODISCARD;

#endif
