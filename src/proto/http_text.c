/* proto/http_text.c - see http_text.h. Trust: untrusted. */
#include "proto/http_text.h"

#include "base/date.h"

/* Not ctype.h: those ask the locale. */
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

/* RFC 9110 5.6.2, a sign for each ASCII character: every byte of every header's name is looked up,
 * of requests and of answers. */
static const char token_chars[128 + 1] = "________________"
                                         "________________"
                                         "_x_xxxxx__xx_xx_" /*  !"#$%&'()*+,-./ */
                                         "xxxxxxxxxx______" /* 0-9 :;<=>? */
                                         "_xxxxxxxxxxxxxxx" /* @ A-O */
                                         "xxxxxxxxxxx___xx" /* P-Z [\]^_ */
                                         "xxxxxxxxxxxxxxxx" /* ` a-o */
                                         "xxxxxxxxxxx_x_x_" /* p-z {|}~ and delete */;

bool dj_http_is_token(struct deja_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c >= 128 || token_chars[c] != 'x')
            return false;
    }
    return text.len > 0;
}

/* May one of these eight bytes be a control character? The usual tricks with borrows: exact for
 * "none", so that what is clean, which is nearly everything, is passed at eight bytes a step. */
static bool may_hold_control(const char *bytes)
{
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    uint64_t is_delete = word ^ (ones * 0x7f);
    return ((((word - ones * 0x20) & ~word) | ((is_delete - ones) & ~is_delete)) & (ones << 7)) !=
           0;
}

bool dj_http_is_value(struct deja_slice text)
{
    size_t i = 0;
    while (text.len - i >= 8 && !may_hold_control(text.data + i))
        i += 8;
    /* The last eight again rather than what is left one by one. */
    if (text.len >= 8 && text.len - i < 8 && !may_hold_control(text.data + text.len - 8))
        return true;
    for (; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool is_port(struct deja_slice text)
{
    if (!text.len)
        return true;
    if (text.data[0] != ':' || text.len > 6)
        return false;
    for (size_t i = 1; i < text.len; i++)
        if (!is_digit(text.data[i]))
            return false;
    return true;
}

bool dj_http_is_host(struct deja_slice text)
{
    bool is_bracketed = text.len && text.data[0] == '[';
    size_t at = is_bracketed;
    for (; at < text.len; at++) {
        char c = text.data[at];
        bool is_hex = is_digit(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'f');
        if (is_bracketed && !is_hex && c != ':' && c != '.')
            break;
        if (!is_bracketed && !is_alnum(c) && !is_one_of(c, "-._~%!$&'()*+;="))
            break;
    }
    if (is_bracketed) {
        if (at == 1 || at == text.len || text.data[at] != ']')
            return false;
        at++;
    }
    return at > 0 && is_port(deja_slice(text.data + at, text.len - at));
}

bool dj_http_is_same_bytes(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (to_lower(a[i]) != to_lower(b[i]))
            return false;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct deja_slice dj_http_trim(struct deja_slice text)
{
    while (text.len && is_blank(text.data[text.len - 1]))
        text.len--;
    while (text.len && is_blank(text.data[0]))
        text = deja_slice(text.data + 1, text.len - 1);
    return text;
}

bool dj_http_list_next(struct deja_slice *list, struct deja_slice *out_item)
{
    while (list->len) {
        const char *comma = memchr(list->data, ',', list->len);
        size_t len = comma ? (size_t)(comma - list->data) : list->len;
        struct deja_slice item = dj_http_trim(deja_slice(list->data, len));
        len += comma != NULL;
        *list = deja_slice(list->data + len, list->len - len);
        if (!item.len)
            continue;
        *out_item = item;
        return true;
    }
    return false;
}

bool dj_http_list_has(struct deja_slice list, const char *token)
{
    struct deja_slice item;
    while (dj_http_list_next(&list, &item)) {
        const char *semicolon = memchr(item.data, ';', item.len);
        if (semicolon)
            item = dj_http_trim(deja_slice(item.data, (size_t)(semicolon - item.data)));
        if (dj_http_is_same(item, token))
            return true;
    }
    return false;
}

const char *dj_http_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {203, "Non-Authoritative Information"},
        {204, "No Content"},
        {206, "Partial Content"},
        {207, "Multi-Status"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {424, "Failed Dependency"},
        {425, "Too Early"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {451, "Unavailable For Legal Reasons"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
        {529, "Overloaded"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

static void put_two(char *out, unsigned value)
{
    out[0] = (char)('0' + value / 10);
    out[1] = (char)('0' + value % 10);
}

void dj_http_date(int64_t now_ms, char out_text[DJ_HTTP_DATE_BYTES])
{
    struct dj_date date = dj_date_from_ms(now_ms);
    memcpy(out_text, "Sun, 00 Jan 0000 00:00:00 GMT", DJ_HTTP_DATE_BYTES);
    memcpy(out_text, &"SunMonTueWedThuFriSat"[3 * date.weekday], 3);
    put_two(out_text + 5, date.day);
    memcpy(out_text + 8, &"JanFebMarAprMayJunJulAugSepOctNovDec"[3 * (date.month - 1)], 3);
    put_two(out_text + 12, (unsigned)date.year / 100);
    put_two(out_text + 14, (unsigned)date.year % 100);
    put_two(out_text + 17, date.hour);
    put_two(out_text + 20, date.minute);
    put_two(out_text + 23, date.second);
}
