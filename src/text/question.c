/* text/question.c - see question.h. */
#include "text/question.h"

#include "text/utf8.h"

bool dj_question_is_control(int32_t code_point)
{
    if (code_point == '\t' || code_point == '\n' || code_point == '\r')
        return false;
    return code_point < 0x20 || (code_point >= 0x7f && code_point <= 0x9f);
}

bool dj_question_is_name(struct deja_slice text)
{
    if (!dj_utf8_is_valid(text))
        return false;
    for (size_t at = 0; at < text.len;) {
        int32_t code_point = dj_utf8_next(text, &at);
        if (code_point < 0x20 || (code_point >= 0x7f && code_point <= 0x9f))
            return false;
    }
    return true;
}

enum deja_status dj_question_check(struct deja_slice text, size_t chars_max, size_t *out_chars)
{
    size_t chars = 0;
    bool has_ink = false;
    if (!dj_utf8_is_valid(text))
        return DEJA_ERR_QUERY_INVALID_CHARACTERS;
    for (size_t at = 0; at < text.len; chars++) {
        int32_t code_point = dj_utf8_next(text, &at);
        if (dj_question_is_control(code_point))
            return DEJA_ERR_QUERY_INVALID_CHARACTERS;
        has_ink = has_ink || dj_char_class(code_point) != DJ_CHAR_SPACE;
    }
    if (!has_ink)
        return DEJA_ERR_QUERY_EMPTY;
    if (out_chars)
        *out_chars = chars;
    return chars > chars_max ? DEJA_ERR_QUERY_TOO_LONG : DEJA_OK;
}
