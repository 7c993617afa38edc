/* net/http_headers.c - see http_headers.h. Trust: untrusted. */
#include "net/http_headers.h"

#include <strings.h>

enum { NAME_BYTES_MAX = 256 };

static bool is_same(struct deja_slice a, struct deja_slice b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.data, b.data, a.len) == 0);
}

bool dj_http_name_is(struct deja_slice name, const char *text)
{
    return is_same(name, deja_slice_text(text));
}

static bool is_token_byte(char byte)
{
    if ((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
        (byte >= 'A' && byte <= 'Z'))
        return true;
    return byte != '\0' && strchr("!#$%&'*+-.^_`|~", byte) != NULL;
}

bool dj_http_is_name_valid(struct deja_slice name)
{
    if (name.len == 0 || name.len > NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!is_token_byte(name.data[i]))
            return false;
    return true;
}

bool dj_http_is_value_valid(struct deja_slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char byte = (unsigned char)value.data[i];
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f)
            return false;
    }
    return true;
}

struct deja_slice dj_http_find(const struct dj_http_header *headers, size_t count, const char *name)
{
    struct deja_slice wanted = deja_slice_text(name);
    for (size_t i = 0; i < count; i++)
        if (is_same(headers[i].name, wanted))
            return headers[i].value;
    return (struct deja_slice){0};
}

bool dj_http_list_has(struct deja_slice list, struct deja_slice token)
{
    size_t start = 0;
    while (start <= list.len) {
        size_t end = start;
        while (end < list.len && list.data[end] != ',')
            end++;
        size_t first = start;
        size_t last = end;
        while (first < last && (list.data[first] == ' ' || list.data[first] == '\t'))
            first++;
        while (last > first && (list.data[last - 1] == ' ' || list.data[last - 1] == '\t'))
            last--;
        if (last > first && is_same(deja_slice(list.data + first, last - first), token))
            return true;
        start = end + 1;
    }
    return false;
}

bool dj_http_is_hop_by_hop(const struct dj_http_header *headers, size_t count,
                           struct deja_slice name)
{
    static const char *const names[] = {
        "connection", "keep-alive",    "proxy-connection",  "proxy-authenticate",
        "te",         "trailer",       "transfer-encoding", "proxy-authorization",
        "upgrade",    "http2-settings"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (dj_http_name_is(name, names[i]))
            return true;
    for (size_t i = 0; i < count; i++)
        if (dj_http_name_is(headers[i].name, "connection") &&
            dj_http_list_has(headers[i].value, name))
            return true;
    return false;
}
