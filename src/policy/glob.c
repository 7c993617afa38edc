/* policy/glob.c - see glob.h.
 *
 * One pass with one place to go back to: the last star. When what follows it does not fit, the star
 * takes one byte more. An earlier star need never be asked again, for the shortest text it can take
 * leaves the most to what follows.
 */
#include "policy/glob.h"

/* Does byte fit the class whose '[' is at pattern[at]? *out_next: behind the class. */
static bool is_in_class(struct deja_slice pattern, size_t at, unsigned char byte, size_t *out_next)
{
    bool is_found = false;
    at++;
    bool is_turned = at < pattern.len && pattern.data[at] == '^';
    at += is_turned;
    while (at < pattern.len && pattern.data[at] != ']') {
        unsigned char first = (unsigned char)pattern.data[at];
        if (first == '\\' && at + 1 < pattern.len) {
            first = (unsigned char)pattern.data[++at];
            is_found = is_found || first == byte;
        } else if (at + 2 < pattern.len && pattern.data[at + 1] == '-') {
            unsigned char last = (unsigned char)pattern.data[at + 2];
            is_found = is_found || (first <= last ? first <= byte && byte <= last
                                                  : last <= byte && byte <= first);
            at += 2;
        } else {
            is_found = is_found || first == byte;
        }
        at++;
    }
    *out_next = at < pattern.len ? at + 1 : at;
    return is_found != is_turned;
}

/* Does byte fit what stands at pattern[at], which is not a star? *out_next: behind it. */
static bool is_fit(struct deja_slice pattern, size_t at, unsigned char byte, size_t *out_next)
{
    unsigned char c = (unsigned char)pattern.data[at];
    if (c == '[')
        return is_in_class(pattern, at, byte, out_next);
    if (c == '\\' && at + 1 < pattern.len)
        c = (unsigned char)pattern.data[++at];
    else if (c == '?')
        c = byte;
    *out_next = at + 1;
    return c == byte;
}

bool dj_glob_is_match(struct deja_slice pattern, struct deja_slice text)
{
    size_t at = 0;
    size_t index = 0;
    size_t star = SIZE_MAX; /* behind the last star that was reached */
    size_t star_index = 0;  /* the first byte it does not take */
    while (index < text.len) {
        size_t next;
        if (at < pattern.len && pattern.data[at] == '*') {
            star = ++at;
            star_index = index;
            if (star == pattern.len)
                return true;
        } else if (at < pattern.len &&
                   is_fit(pattern, at, (unsigned char)text.data[index], &next)) {
            at = next;
            index++;
        } else if (star != SIZE_MAX) {
            at = star;
            index = ++star_index;
        } else {
            return false;
        }
    }
    while (at < pattern.len && pattern.data[at] == '*')
        at++;
    return at == pattern.len;
}

/* Where the first thing stands that is not one byte for itself; writes those before it. */
static size_t literal_end(struct deja_slice pattern, char *out, size_t *out_len)
{
    size_t at = 0;
    size_t len = 0;
    while (at < pattern.len) {
        char c = pattern.data[at];
        if (c == '*' || c == '?' || c == '[')
            break;
        if (c == '\\' && at + 1 < pattern.len)
            c = pattern.data[++at];
        if (out)
            out[len] = c;
        len++;
        at++;
    }
    *out_len = len;
    return at;
}

bool dj_glob_is_literal(struct deja_slice pattern)
{
    size_t len;
    return literal_end(pattern, NULL, &len) == pattern.len;
}

size_t dj_glob_literal(struct deja_slice pattern, char *out)
{
    size_t len;
    literal_end(pattern, out, &len);
    return len;
}

size_t dj_glob_escape(struct deja_slice text, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '*' || c == '?' || c == '[' || c == ']' || c == '\\')
            out[len++] = '\\';
        out[len++] = c;
    }
    return len;
}
