/* base/num.c - see num.h. */
#include "base/num.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

#define NUM_DOUBLE_LEN_MAX 63u

enum deja_status dj_num_parse_u64(struct deja_slice text, uint64_t *out_value)
{
    uint64_t value = 0;
    if (!text.len)
        return DEJA_ERR_INVALID;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';
        if (digit > 9)
            return DEJA_ERR_INVALID;
        if (value > (UINT64_MAX - digit) / 10)
            return DEJA_ERR_LIMIT;
        value = value * 10 + digit;
    }
    *out_value = value;
    return DEJA_OK;
}

enum deja_status dj_num_parse_i64(struct deja_slice text, int64_t *out_value)
{
    bool is_negative = text.len && text.data[0] == '-';
    if (is_negative)
        text = deja_slice(text.data + 1, text.len - 1);
    uint64_t value = 0;
    enum deja_status status = dj_num_parse_u64(text, &value);
    if (status != DEJA_OK)
        return status;
    if (value > (uint64_t)INT64_MAX + is_negative)
        return DEJA_ERR_LIMIT;
    *out_value = is_negative ? (int64_t)(0 - value) : (int64_t)value;
    return DEJA_OK;
}

static bool is_number_text(struct deja_slice text)
{
    size_t digits = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c >= '0' && c <= '9')
            digits++;
        else if (c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E')
            return false;
    }
    return digits > 0;
}

enum deja_status dj_num_parse_double(struct deja_slice text, double *out_value)
{
    char copy[NUM_DOUBLE_LEN_MAX + 1];
    if (!text.len || text.len > NUM_DOUBLE_LEN_MAX || !is_number_text(text))
        return DEJA_ERR_INVALID;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    char *end = NULL;
    errno = 0;
    double value = strtod(copy, &end); /* the process keeps the C locale */
    if (*end != '\0')
        return DEJA_ERR_INVALID;
    if (!isfinite(value))
        return DEJA_ERR_LIMIT;
    *out_value = value;
    return DEJA_OK;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static bool is_unit(struct deja_slice text, const char *name)
{
    size_t len = strlen(name);
    if (text.len != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text.data[i];
        if ((c >= 'A' && c <= 'Z' ? (char)(c + 32) : c) != name[i])
            return false;
    }
    return true;
}

static enum deja_status parse_with_unit(struct deja_slice text, const struct unit *units,
                                        size_t count, uint64_t *out_value)
{
    size_t digits = 0;
    while (digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9')
        digits++;
    uint64_t value = 0;
    enum deja_status status = dj_num_parse_u64(deja_slice(text.data, digits), &value);
    if (status != DEJA_OK)
        return status;
    struct deja_slice rest = deja_slice(text.data + digits, text.len - digits);
    for (size_t i = 0; i < count; i++) {
        if (!is_unit(rest, units[i].name))
            continue;
        if (value > UINT64_MAX / units[i].factor)
            return DEJA_ERR_LIMIT;
        *out_value = value * units[i].factor;
        return DEJA_OK;
    }
    return DEJA_ERR_INVALID;
}

enum deja_status dj_num_parse_duration(struct deja_slice text, uint64_t *out_ms)
{
    static const struct unit units[] = {{"", 1000},   {"ms", 1},      {"s", 1000},
                                        {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    return parse_with_unit(text, units, sizeof units / sizeof *units, out_ms);
}

enum deja_status dj_num_parse_size(struct deja_slice text, uint64_t *out_bytes)
{
    static const struct unit units[] = {
        {"", 1},          {"b", 1},        {"k", 1u << 10},  {"kb", 1u << 10},  {"m", 1u << 20},
        {"mb", 1u << 20}, {"g", 1u << 30}, {"gb", 1u << 30}, {"t", 1ull << 40}, {"tb", 1ull << 40}};
    return parse_with_unit(text, units, sizeof units / sizeof *units, out_bytes);
}

size_t dj_num_write_u64(uint64_t value, char out_text[DJ_NUM_U64_DIGITS_MAX])
{
    char digits[DJ_NUM_U64_DIGITS_MAX];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    memcpy(out_text, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

void dj_hex_encode(const uint8_t *bytes, size_t len, char *out_text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out_text[2 * i] = digits[bytes[i] >> 4];
        out_text[2 * i + 1] = digits[bytes[i] & 15];
    }
    out_text[2 * len] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

enum deja_status dj_hex_decode(struct deja_slice text, uint8_t *out_bytes, size_t len)
{
    if (text.len != 2 * len)
        return DEJA_ERR_INVALID;
    for (size_t i = 0; i < text.len; i++)
        if (hex_digit(text.data[i]) < 0)
            return DEJA_ERR_INVALID;
    for (size_t i = 0; i < len; i++)
        out_bytes[i] =
            (uint8_t)(hex_digit(text.data[2 * i]) * 16 + hex_digit(text.data[2 * i + 1]));
    return DEJA_OK;
}
