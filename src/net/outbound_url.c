/* net/outbound_url.c - which addresses are called at all. Trust: untrusted; parsed by libcurl. */
#include <strings.h>

#include "net/outbound_internal.h"

enum { URL_BYTES_MAX = 16 * 1024 };

static bool has_host(CURLU *parsed)
{
    char *host = NULL;
    bool is_there = curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK && host[0] != '\0';
    curl_free(host);
    return is_there;
}

/* NULL: fine. */
static const char *find_fault(const char *url)
{
    size_t len = strnlen(url, URL_BYTES_MAX + 1);
    if (len > URL_BYTES_MAX)
        return "it is longer than 16 KiB";
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)url[i];
        if (byte <= 0x20 || byte == 0x7f || byte == '\\')
            return "it has a space, a control character or a backslash";
    }
    size_t scheme_len = strncasecmp(url, "https://", 8) == 0  ? 8
                        : strncasecmp(url, "http://", 7) == 0 ? 7
                                                              : 0;
    if (scheme_len == 0)
        return "it does not begin with http:// or https://";
    /* libcurl would forgive further slashes and take the first path segment for the host. */
    if (url[scheme_len] == '/' || url[scheme_len] == '\0')
        return "it has no host";
    return NULL;
}

enum deja_status dj_outbound_check_url(const char *url, struct deja_error *error)
{
    const char *fault = find_fault(url);
    if (fault)
        return deja_error_set(error, DEJA_ERR_INVALID, "the address cannot be called: %s", fault);
    CURLU *parsed = curl_url();
    if (!parsed)
        return deja_error_set(error, DEJA_ERR_NOMEM, "no memory to read an address");
    CURLUcode code = curl_url_set(parsed, CURLUPART_URL, url, CURLU_DISALLOW_USER);
    bool is_hosted = code == CURLUE_OK && has_host(parsed);
    curl_url_cleanup(parsed);
    if (code == CURLUE_OUT_OF_MEMORY)
        return deja_error_set(error, DEJA_ERR_NOMEM, "no memory to read an address");
    if (code == CURLUE_USER_NOT_ALLOWED)
        return deja_error_set(error, DEJA_ERR_INVALID,
                              "the address cannot be called: it carries a user name or password");
    if (code != CURLUE_OK)
        return deja_error_set(error, DEJA_ERR_INVALID, "the address cannot be called: %s",
                              curl_url_strerror(code));
    if (!is_hosted)
        return deja_error_set(error, DEJA_ERR_INVALID, "the address cannot be called: no host");
    return DEJA_OK;
}
