/* net/http_headers.c - see http_headers.h. Trust: untrusted. */
#include "net/http_headers.h"

#include "proto/http_text.h"

struct deja_slice dj_http_find_slice(const struct dj_http_header *headers, size_t count,
                                     struct deja_slice name)
{
    for (size_t i = 0; i < count; i++)
        if (dj_http_is_same_slice(headers[i].name, name))
            return headers[i].value;
    return deja_slice(NULL, 0);
}

static bool has_item(struct deja_slice list, struct deja_slice name)
{
    struct deja_slice item;
    while (dj_http_list_next(&list, &item))
        if (dj_http_is_same_slice(item, name))
            return true;
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
        if (dj_http_is_same(name, names[i]))
            return true;
    for (size_t i = 0; i < count; i++)
        if (dj_http_is_same(headers[i].name, "connection") && has_item(headers[i].value, name))
            return true;
    return false;
}
