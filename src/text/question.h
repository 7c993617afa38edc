/* text/question.h - may this text be asked? The same answer on every surface.
 *
 * Trust: untrusted. Threads: any.
 */
#ifndef DJ_TEXT_QUESTION_H
#define DJ_TEXT_QUESTION_H

#include <deja/base.h>

/* Cc but for tab and line ends: what has no business in a question. */
bool dj_question_is_control(int32_t code_point);

/* May it be a name: of a namespace, a tag, a member? UTF-8 without any control character. */
bool dj_question_is_name(struct deja_slice text);

/* DEJA_ERR_QUERY_INVALID_CHARACTERS (not UTF-8, or control characters), DEJA_ERR_QUERY_EMPTY (white
 * space only), DEJA_ERR_QUERY_TOO_LONG (over chars_max code points; *out_chars has how many there
 * are). out_chars may be NULL. */
enum deja_status dj_question_check(struct deja_slice text, size_t chars_max,
                                   size_t *out_chars) DEJA_NODISCARD;

#endif
