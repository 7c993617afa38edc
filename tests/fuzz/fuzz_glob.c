/* A pattern and a text, parted by the first NUL. The answer is that of a slow matcher which tries
 * everything; an escaped text fits itself alone; a text that fits begins as its pattern does.
 */
#include "fuzz.h"

#include "policy/glob.h"

enum { PART_MAX = 256 };

static struct deja_slice skip(struct deja_slice text, size_t count)
{
    return deja_slice(text.data + count, text.len - count);
}

/* Behind the thing that stands at pattern[at]; *out_fits: which bytes it fits. */
static size_t read_one(struct deja_slice pattern, size_t at, bool out_fits[256])
{
    unsigned char c = (unsigned char)pattern.data[at];
    for (unsigned i = 0; i < 256; i++)
        out_fits[i] = c == '?';
    if (c == '\\' && at + 1 < pattern.len)
        c = (unsigned char)pattern.data[++at];
    else if (c == '?')
        return at + 1;
    else if (c == '[') {
        size_t end = at + 1;
        while (end < pattern.len && pattern.data[end] != ']')
            end += pattern.data[end] == '\\' && end + 1 < pattern.len ? 2
                   : end + 2 < pattern.len && pattern.data[end + 1] == '-' &&
                           !(end == at + 1 && pattern.data[end] == '^')
                       ? 3
                       : 1;
        end = end < pattern.len ? end + 1 : pattern.len;
        for (unsigned i = 0; i < 256; i++) {
            char byte = (char)i;
            out_fits[i] =
                dj_glob_is_match(deja_slice(pattern.data + at, end - at), deja_slice(&byte, 1));
        }
        return end;
    }
    out_fits[c] = true;
    return at + 1;
}

/* Line by line: can the pattern up to here fit the text up to there? */
static bool is_match_slowly(struct deja_slice pattern, struct deja_slice text)
{
    bool fits[PART_MAX + 1] = {true};
    bool bytes[256];
    for (size_t at = 0; at < pattern.len;) {
        bool next[PART_MAX + 1] = {false};
        bool is_star = pattern.data[at] == '*';
        if (is_star) {
            at++;
            next[0] = fits[0];
        } else {
            at = read_one(pattern, at, bytes);
        }
        for (size_t i = 0; i < text.len; i++)
            next[i + 1] =
                is_star ? fits[i + 1] || next[i] : fits[i] && bytes[(unsigned char)text.data[i]];
        memcpy(fits, next, sizeof fits);
    }
    return fits[text.len];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *cut = len ? memchr(data, 0, len) : NULL;
    if (!cut || len > PART_MAX)
        return 0;
    struct deja_slice pattern = deja_slice(data, (size_t)(cut - (const char *)data));
    struct deja_slice text = skip(deja_slice(data, len), pattern.len + 1);
    bool is_match = dj_glob_is_match(pattern, text);
    FUZZ_CHECK(is_match == is_match_slowly(pattern, text));
    char literal[PART_MAX];
    size_t literal_len = dj_glob_literal(pattern, literal);
    if (is_match) {
        FUZZ_CHECK(literal_len <= text.len && memcmp(literal, text.data, literal_len) == 0);
        if (dj_glob_is_literal(pattern))
            FUZZ_CHECK(literal_len == text.len);
    }
    char escaped[2 * PART_MAX];
    struct deja_slice own = deja_slice(escaped, dj_glob_escape(text, escaped));
    FUZZ_CHECK(dj_glob_is_literal(own) && dj_glob_is_match(own, text));
    FUZZ_CHECK(!text.len || !dj_glob_is_match(own, skip(text, 1)));
    return 0;
}
