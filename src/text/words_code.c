/* text/words_code.c - tells code from prose, by signs that prose does not use inside a word.
 *
 * Trust: untrusted. Chunks are bounded by the caller, a look at one is linear.
 */
#include "text/words_internal.h"

/* Between letters, digits or both: what prose does not do. */
static bool has_inner_code_sign(struct deja_slice chunk)
{
    for (size_t i = 0; i + 1 < chunk.len; i++) {
        char c = chunk.data[i];
        char next = chunk.data[i + 1];
        char before = i ? chunk.data[i - 1] : '\0';
        char after = i + 2 < chunk.len ? chunk.data[i + 2] : '\0';
        if (c == '_' && dj_ascii_is_alnum(next) &&
            (dj_ascii_is_alnum(before) || before == '_' || i == 0))
            return true;
        if ((c == ':' && next == ':') || (c == '-' && next == '>' && dj_ascii_is_alpha(before)))
            return true;
        if (c == ':' && next == '/' && after == '/')
            return true;
        if (c == '(' && next == ')' && dj_ascii_is_alnum(before))
            return true;
        if (c == '\\' && dj_ascii_is_alnum(next))
            return true;
        if ((c == '@' || c == '=') && dj_ascii_is_alnum(before) && dj_ascii_is_alpha(next))
            return true;
        if (c == '[' && dj_ascii_is_alnum(before) && dj_ascii_is_alnum(next))
            return true;
        /* torch.compile, node.js, a.py; not "word.Next" nor "e.g". */
        if (c == '.' && dj_ascii_is_alpha(before) && dj_ascii_is_lower(next) &&
            dj_ascii_is_lower(after))
            return true;
    }
    return false;
}

/* f(x), range(10); not path(s). */
static bool is_call(struct deja_slice chunk)
{
    if (chunk.len < 4 || chunk.data[chunk.len - 1] != ')' || !dj_ascii_is_alpha(chunk.data[0]))
        return false;
    const char *open = memchr(chunk.data, '(', chunk.len);
    if (!open || !dj_ascii_is_alnum(open[-1]))
        return false;
    size_t inner = (size_t)(chunk.data + chunk.len - 1 - (open + 1));
    return inner >= 1 && inner <= 3 && chunk.data[chunk.len - 2] != 's';
}

bool dj_words_is_code(struct deja_slice chunk)
{
    if (chunk.len < 2)
        return false;
    const char *d = chunk.data;
    if (chunk.len > 4 && memcmp(d, "www.", 4) == 0)
        return true;
    if (chunk.len > 2 && d[0] == '-' && d[1] == '-' && dj_ascii_is_alpha(d[2]))
        return true;
    bool is_path = d[0] == '/' || (chunk.len > 2 && (d[0] == '.' || d[0] == '~') && d[1] == '/');
    if (is_path && dj_ascii_is_alpha(d[chunk.len - 1]) && memchr(d + 1, '/', chunk.len - 1))
        return true;
    return has_inner_code_sign(chunk) || is_call(chunk);
}
