/* security/detector_words.c - is a value a secret, or a word of the sentence or code it stands in?
 *
 * After "password" a value must not be a place holder, and out of quotes it must have what names in
 * code and words have not: a digit or a sign. After "token" and "key" it must look drawn at random.
 */
#include "security/detector_internal.h"

#include <math.h>

#define SECRET_LEN_MIN 8u
#define RANDOM_BITS_MIN 2.5 /* per byte; of 12 hex digits drawn at random 99 % are above */

struct shape {
    size_t digits;
    size_t lower;
    size_t upper;
    size_t other; /* visible, none of these, not '_' or '.' */
    size_t spaces;
    double bits; /* Shannon's, per byte */
};

static struct shape shape_of(struct deja_slice value)
{
    struct shape shape = {0};
    uint32_t counts[256] = {0};
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        counts[c]++;
        shape.digits += c >= '0' && c <= '9';
        shape.lower += c >= 'a' && c <= 'z';
        shape.upper += c >= 'A' && c <= 'Z';
        shape.spaces += c <= ' ';
        shape.other += c > ' ' && !(c >= '0' && c <= '9') &&
                       !((c | 32) >= 'a' && (c | 32) <= 'z') && c != '_' && c != '.';
    }
    for (size_t i = 0; i < 256; i++)
        if (counts[i])
            shape.bits -= counts[i] / (double)value.len * log2(counts[i] / (double)value.len);
    return shape;
}

static char lower_of(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
}

static bool is_word(struct deja_slice value, const char *word)
{
    size_t len = strlen(word);
    if (value.len != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (lower_of(value.data[i]) != word[i])
            return false;
    return true;
}

static bool has_word(struct deja_slice value, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= value.len; i++)
        if (is_word(deja_slice(value.data + i, len), word))
            return true;
    return false;
}

/* "$NAME", "${…}", "{{…}}", "%s", "<…>", "****", "xxxx", "your-password", "null": no value at all.
 */
static bool is_placeholder(struct deja_slice value)
{
    static const char *const words[] = {"null",      "none",      "nil",    "true",     "false",
                                        "undefined", "string",    "text",   "password", "passwd",
                                        "pass",      "pwd",       "secret", "token",    "required",
                                        "optional",  "hidden",    "self",   "this",     "value",
                                        "invalid",   "incorrect", "wrong",  "missing",  "empty",
                                        "redacted",  "passwort",  "bearer", "basic"};
    static const char *const parts[] = {"your", "placeholder",  "redacted", "xxxx", "****",
                                        "...",  "\xe2\x80\xa6", "<",        "{{",   "${",
                                        "$("};
    bool is_one_byte = true;
    for (size_t i = 1; i < value.len && is_one_byte; i++)
        is_one_byte = value.data[i] == value.data[0];
    if (is_one_byte)
        return true;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (is_word(value, words[i]))
            return true;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (has_word(value, parts[i]))
            return true;
    char second = value.len > 1 ? lower_of(value.data[1]) : '\0';
    bool is_variable = (second >= 'a' && second <= 'z') || second == '_';
    return (value.data[0] == '$' || value.data[0] == '%') && is_variable && value.len <= 64 &&
           shape_of(value).other == 1;
}

/* The byte before the value, and the one behind it; '\0': none. */
static char before(const struct dj_candidate *candidate)
{
    return candidate->value.data > candidate->text.data ? candidate->value.data[-1] : '\0';
}

static char behind(const struct dj_candidate *candidate)
{
    const char *at = candidate->value.data + candidate->value.len;
    return at < candidate->text.data + candidate->text.len ? *at : '\0';
}

static bool is_quoted(const struct dj_candidate *candidate)
{
    char c = before(candidate);
    return c == '"' || c == '\'' || c == '`';
}

/* The end of a sentence is no part of it. */
static void trim(struct dj_candidate *candidate)
{
    struct deja_slice *value = &candidate->value;
    if (is_quoted(candidate))
        return;
    while (value->len > 1 && memchr(".,:!?", value->data[value->len - 1], 5))
        value->len--;
}

/* os.environ, user.password, getpass(…): code, not a value. */
static bool is_code(const struct dj_candidate *candidate, const struct shape *shape)
{
    char next = behind(candidate);
    if (is_quoted(candidate))
        return false;
    return next == '(' || next == '[' || next == '{' || (!shape->digits && !shape->other);
}

bool dj_check_password(struct dj_candidate *candidate)
{
    trim(candidate);
    struct shape shape = shape_of(candidate->value);
    return candidate->value.len >= 4 && !shape.spaces && !is_placeholder(candidate->value) &&
           !is_code(candidate, &shape);
}

bool dj_check_spoken_password(struct dj_candidate *candidate)
{
    if (!dj_check_password(candidate))
        return false;
    struct shape shape = shape_of(candidate->value);
    return is_quoted(candidate) || (shape.digits && candidate->value.len >= 6);
}

bool dj_check_secret(struct dj_candidate *candidate)
{
    trim(candidate);
    struct deja_slice value = candidate->value;
    struct shape shape = shape_of(value);
    size_t letters = shape.lower + shape.upper;
    if (value.len < SECRET_LEN_MIN || shape.spaces || shape.bits < RANDOM_BITS_MIN ||
        is_placeholder(value) || is_code(candidate, &shape))
        return false;
    return (shape.digits && letters) || (value.len >= 20 && shape.lower && shape.upper) ||
           (value.len >= 12 && shape.digits && shape.other) || (shape.other >= 3 && letters);
}

/* What an Authorization header carries: "user:pass" in base64 may have no digit. */
bool dj_check_credential(struct dj_candidate *candidate)
{
    trim(candidate);
    struct shape shape = shape_of(candidate->value);
    return candidate->value.len >= SECRET_LEN_MIN && !is_placeholder(candidate->value) &&
           (shape.digits || (shape.lower && shape.upper));
}

bool dj_check_random(struct dj_candidate *candidate)
{
    struct shape shape = shape_of(candidate->value);
    return shape.digits >= 2 && shape.lower + shape.upper >= 2 && shape.bits >= 3.0;
}

bool dj_check_url_password(struct dj_candidate *candidate)
{
    return !is_placeholder(candidate->value);
}

bool dj_check_named(struct dj_candidate *candidate)
{
    return !has_word(candidate->value, "[redacted]") && !is_word(candidate->value, "***");
}
