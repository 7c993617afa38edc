/* security/local_guard.c - see local_guard.h. Trust: untrusted.
 *
 * Names are compared as they are written, not as a resolver would read them: 127.1, 0x7f000001,
 * "localhost." and their kin reach loopback as well, but no program of good will sends them.
 */
#include "security/local_guard.h"

#include "base/num.h"
#include "base/slice.h"

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_same(struct deja_slice a, struct deja_slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (to_lower(a.data[i]) != to_lower(b.data[i]))
            return false;
    return true;
}

static bool is_same_text(struct deja_slice a, const char *b)
{
    return is_same(a, deja_slice_text(b));
}

struct authority {
    struct deja_slice name; /* with brackets if it has them */
    struct deja_slice port; /* empty: none */
};

static bool is_name_char(char c)
{
    c = to_lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

static bool is_address_char(char c)
{
    c = to_lower(c);
    return (c >= 'a' && c <= 'f') || (c >= '0' && c <= '9') || c == ':' || c == '.';
}

static bool split_authority(struct deja_slice text, struct authority *out)
{
    if (!text.len)
        return false;
    bool is_bracketed = text.data[0] == '[';
    size_t len = is_bracketed;
    while (len < text.len &&
           (is_bracketed ? is_address_char(text.data[len]) : is_name_char(text.data[len])))
        len++;
    if (is_bracketed) {
        if (len == text.len || text.data[len] != ']')
            return false;
        len++;
    }
    struct deja_slice rest = deja_slice(text.data + len, text.len - len);
    if (!len || (rest.len && (rest.data[0] != ':' || rest.len < 2 || rest.len > 6)))
        return false;
    for (size_t i = 1; i < rest.len; i++)
        if (rest.data[i] < '0' || rest.data[i] > '9')
            return false;
    out->name = deja_slice(text.data, len);
    out->port = rest.len ? deja_slice(rest.data + 1, rest.len - 1) : deja_slice("", 0);
    return true;
}

/* One decimal part of an address, without leading zeros; moves text on. */
static bool take_part(struct deja_slice *text, uint64_t *out_value)
{
    size_t len = 0;
    while (len < text->len && text->data[len] >= '0' && text->data[len] <= '9')
        len++;
    if (!len || len > 3 || (len > 1 && text->data[0] == '0'))
        return false;
    if (dj_num_parse_u64(deja_slice(text->data, len), out_value) != DEJA_OK || *out_value > 255)
        return false;
    *text = deja_slice(text->data + len, text->len - len);
    return true;
}

static bool is_loopback_v4(struct deja_slice name)
{
    for (unsigned i = 0; i < 4; i++) {
        uint64_t part = 0;
        if (!take_part(&name, &part) || (i == 0 && part != 127))
            return false;
        if (i == 3)
            break;
        if (!name.len || name.data[0] != '.')
            return false;
        name = deja_slice(name.data + 1, name.len - 1);
    }
    return name.len == 0;
}

static bool is_loopback_name(struct deja_slice name)
{
    return is_same_text(name, "localhost") || is_same_text(name, "[::1]") || is_loopback_v4(name);
}

bool dj_local_is_loopback(struct deja_slice host)
{
    struct authority authority;
    return split_authority(host, &authority) && is_loopback_name(authority.name);
}

static bool is_host_allowed(const struct dj_local_config *config, struct deja_slice host)
{
    struct authority authority;
    if (!split_authority(host, &authority))
        return false;
    if (is_loopback_name(authority.name))
        return true;
    for (size_t i = 0; i < config->host_count; i++)
        if (is_same_text(host, config->hosts[i]) || is_same_text(authority.name, config->hosts[i]))
            return true;
    return false;
}

static struct deja_slice port_or(struct authority authority, const char *usual)
{
    return authority.port.len ? authority.port : deja_slice_text(usual);
}

/* "http://host[:port]" and nothing behind it, naming just the host that was asked. */
static bool is_own_origin(struct deja_slice origin, struct deja_slice host)
{
    static const struct {
        const char *scheme;
        const char *port;
    } schemes[] = {{"http://", "80"}, {"https://", "443"}};
    struct authority from;
    struct authority to;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t len = strlen(schemes[i].scheme);
        if (origin.len <= len || !is_same_text(deja_slice(origin.data, len), schemes[i].scheme))
            continue;
        struct deja_slice rest = deja_slice(origin.data + len, origin.len - len);
        return split_authority(rest, &from) && split_authority(host, &to) &&
               is_same(from.name, to.name) &&
               is_same(port_or(from, schemes[i].port), port_or(to, schemes[i].port));
    }
    return false;
}

static bool is_origin_allowed(const struct dj_local_config *config,
                              const struct dj_local_request *request)
{
    if (!request->origin.data || is_own_origin(request->origin, request->host))
        return true;
    for (size_t i = 0; i < config->origin_count; i++)
        if (is_same_text(request->origin, config->origins[i]))
            return true;
    return false;
}

static bool is_json(struct deja_slice content_type)
{
    size_t len = 0;
    while (len < content_type.len && content_type.data[len] != ';')
        len++;
    while (len && (content_type.data[len - 1] == ' ' || content_type.data[len - 1] == '\t'))
        len--;
    return is_same_text(deja_slice(content_type.data, len), "application/json");
}

/* A page may send POST without asking first, whatever its body; the other writing methods always
 * need a preflight, so that without a body they need no type. */
static bool must_be_json(const struct dj_local_request *request)
{
    static const char *const reading[] = {"GET", "HEAD", "OPTIONS"};
    for (size_t i = 0; i < sizeof reading / sizeof *reading; i++)
        if (dj_slice_is(request->method, reading[i]))
            return false;
    return request->needs_json && (request->has_body || dj_slice_is(request->method, "POST"));
}

enum dj_local_verdict dj_local_check(const struct dj_local_config *config,
                                     const struct dj_local_request *request)
{
    if (!is_host_allowed(config, request->host))
        return DJ_LOCAL_BAD_HOST;
    if (!is_origin_allowed(config, request))
        return DJ_LOCAL_BAD_ORIGIN;
    if (must_be_json(request) && !is_json(request->content_type))
        return DJ_LOCAL_BAD_CONTENT_TYPE;
    return DJ_LOCAL_OK;
}

int dj_local_status(enum dj_local_verdict verdict)
{
    static const int statuses[] = {200, 403, 403, 415};
    return statuses[verdict];
}

const char *dj_local_text(enum dj_local_verdict verdict)
{
    static const char *const texts[] = {
        "ok",
        "the Host header names neither this machine's loopback nor a configured host",
        "requests of web pages from other origins are not taken",
        "the content type must be application/json",
    };
    return texts[verdict];
}

void dj_admin_token_make(struct dj_admin_token *token)
{
    dj_random_bytes(token->secret.bytes, sizeof token->secret.bytes);
}

void dj_admin_token_fini(struct dj_admin_token *token)
{
    dj_secret_fini(&token->secret);
}

void dj_admin_token_text(const struct dj_admin_token *token,
                         char out_text[DJ_ADMIN_TOKEN_TEXT_BYTES])
{
    dj_hex_encode(token->secret.bytes, sizeof token->secret.bytes, out_text);
}

bool dj_admin_token_is(const struct dj_admin_token *token, struct deja_slice presented)
{
    struct dj_secret secret;
    if (dj_hex_decode(presented, secret.bytes, sizeof secret.bytes) != DEJA_OK)
        return false; /* tells only that it is no token at all */
    bool is_right =
        dj_is_equal_constant_time(secret.bytes, token->secret.bytes, sizeof secret.bytes);
    dj_secret_fini(&secret);
    return is_right;
}
