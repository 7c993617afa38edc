/* security/address_guard.c - see address_guard.h. Trust: untrusted.
 *
 * The URL is read by rules narrower than any library's: what two readers could take for two things
 * (a backslash, "@", "%", numbers that are not four decimals, a second port) is refused. Networks
 * are IANA's registries of special-purpose addresses as of 2025; of IPv6 only global unicast
 * (2000::/3) is public at all.
 */
#include "security/address_guard.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "base/num.h"

enum { HOST_BYTES_MAX = 253, LABEL_BYTES_MAX = 63, TEXT_BYTES_MAX = 64 };

struct network {
    uint8_t bytes[16];
    uint8_t bits;
    enum dj_address_kind kind;
};

/* The first that fits counts. */
static const struct network networks_v4[] = {
    {{169, 254, 169, 254}, 32, DJ_ADDRESS_METADATA},
    {{168, 63, 129, 16}, 32, DJ_ADDRESS_METADATA}, /* Azure's, public by its number */
    {{100, 100, 100, 200}, 32, DJ_ADDRESS_METADATA},
    {{192, 0, 0, 192}, 32, DJ_ADDRESS_METADATA},
    {{255, 255, 255, 255}, 32, DJ_ADDRESS_BROADCAST},
    {{0}, 8, DJ_ADDRESS_UNSPECIFIED},
    {{10}, 8, DJ_ADDRESS_PRIVATE},
    {{100, 64}, 10, DJ_ADDRESS_SHARED},
    {{127}, 8, DJ_ADDRESS_LOOPBACK},
    {{169, 254}, 16, DJ_ADDRESS_LINK_LOCAL},
    {{172, 16}, 12, DJ_ADDRESS_PRIVATE},
    {{192, 0, 0}, 24, DJ_ADDRESS_RESERVED},
    {{192, 0, 2}, 24, DJ_ADDRESS_DOCUMENTATION},
    {{192, 31, 196}, 24, DJ_ADDRESS_RESERVED},
    {{192, 52, 193}, 24, DJ_ADDRESS_RESERVED},
    {{192, 88, 99}, 24, DJ_ADDRESS_TRANSLATED},
    {{192, 168}, 16, DJ_ADDRESS_PRIVATE},
    {{192, 175, 48}, 24, DJ_ADDRESS_RESERVED},
    {{198, 18}, 15, DJ_ADDRESS_RESERVED},
    {{198, 51, 100}, 24, DJ_ADDRESS_DOCUMENTATION},
    {{203, 0, 113}, 24, DJ_ADDRESS_DOCUMENTATION},
    {{224}, 4, DJ_ADDRESS_MULTICAST},
    {{240}, 4, DJ_ADDRESS_RESERVED},
};

static const struct network networks_v6[] = {
    {{0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x54}, 128, DJ_ADDRESS_METADATA},
    {{0}, 128, DJ_ADDRESS_UNSPECIFIED},
    {{[15] = 1}, 128, DJ_ADDRESS_LOOPBACK},
    {{0}, 96, DJ_ADDRESS_TRANSLATED},                         /* compatible */
    {{[10] = 0xff, [11] = 0xff}, 96, DJ_ADDRESS_TRANSLATED},  /* mapped */
    {{[8] = 0xff, [9] = 0xff}, 96, DJ_ADDRESS_TRANSLATED},    /* SIIT */
    {{0, 0x64, 0xff, 0x9b}, 96, DJ_ADDRESS_TRANSLATED},       /* NAT64 */
    {{0, 0x64, 0xff, 0x9b, 0, 1}, 48, DJ_ADDRESS_TRANSLATED}, /* local NAT64 */
    {{0x20, 0x01, 0, 0}, 32, DJ_ADDRESS_TRANSLATED},          /* Teredo */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, DJ_ADDRESS_DOCUMENTATION},
    {{0x20, 0x01}, 23, DJ_ADDRESS_RESERVED},
    {{0x20, 0x02}, 16, DJ_ADDRESS_TRANSLATED}, /* 6to4 */
    {{0x26, 0x20, 0, 0x4f, 0x80}, 48, DJ_ADDRESS_RESERVED},
    {{0x3f, 0xfe}, 16, DJ_ADDRESS_RESERVED}, /* the old 6bone */
    {{0x3f, 0xff}, 20, DJ_ADDRESS_DOCUMENTATION},
    {{0xfe, 0x80}, 10, DJ_ADDRESS_LINK_LOCAL},
    {{0xfe, 0xc0}, 10, DJ_ADDRESS_PRIVATE}, /* site-local, given up */
    {{0xfc}, 7, DJ_ADDRESS_PRIVATE},
    {{0xff}, 8, DJ_ADDRESS_MULTICAST},
};

static bool is_within(const uint8_t *bytes, const uint8_t *network, unsigned bits)
{
    unsigned whole = bits / 8;
    unsigned rest = bits % 8;
    if (memcmp(bytes, network, whole) != 0)
        return false;
    uint8_t mask = (uint8_t)(0xff00u >> rest);
    return rest == 0 || ((bytes[whole] ^ network[whole]) & mask) == 0;
}

static enum dj_address_kind find_kind(const struct dj_address *address,
                                      const struct network *networks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_within(address->bytes, networks[i].bytes, networks[i].bits))
            return networks[i].kind;
    return DJ_ADDRESS_PUBLIC;
}

/* …:0:5efe:a.b.c.d and …:200:5efe:a.b.c.d in any network. */
static bool is_isatap(const uint8_t bytes[16])
{
    return (bytes[8] & 0xfd) == 0 && bytes[9] == 0 && bytes[10] == 0x5e && bytes[11] == 0xfe;
}

enum dj_address_kind dj_address_kind(const struct dj_address *address)
{
    if (!address->is_v6)
        return find_kind(address, networks_v4, sizeof networks_v4 / sizeof *networks_v4);
    enum dj_address_kind kind =
        find_kind(address, networks_v6, sizeof networks_v6 / sizeof *networks_v6);
    if (kind != DJ_ADDRESS_PUBLIC)
        return kind;
    if (is_isatap(address->bytes))
        return DJ_ADDRESS_TRANSLATED;
    return (address->bytes[0] & 0xe0) == 0x20 ? DJ_ADDRESS_PUBLIC : DJ_ADDRESS_RESERVED;
}

const char *dj_address_kind_text(enum dj_address_kind kind)
{
    static const char *const texts[] = {
        [DJ_ADDRESS_PUBLIC] = "a public address",
        [DJ_ADDRESS_UNSPECIFIED] = "an unspecified address",
        [DJ_ADDRESS_LOOPBACK] = "an address of this machine",
        [DJ_ADDRESS_PRIVATE] = "a private address",
        [DJ_ADDRESS_SHARED] = "an address behind a carrier's NAT",
        [DJ_ADDRESS_LINK_LOCAL] = "a link-local address",
        [DJ_ADDRESS_METADATA] = "the metadata service of a cloud",
        [DJ_ADDRESS_MULTICAST] = "a multicast address",
        [DJ_ADDRESS_BROADCAST] = "a broadcast address",
        [DJ_ADDRESS_DOCUMENTATION] = "an address for documentation",
        [DJ_ADDRESS_RESERVED] = "a reserved address",
        [DJ_ADDRESS_TRANSLATED] = "an IPv6 address that stands for an IPv4 one",
    };
    return texts[kind];
}

/* ---- exceptions ---- */

bool dj_address_is_excepted(const struct dj_address_guard *guard, const struct dj_address *address,
                            uint16_t port)
{
    for (size_t i = 0; guard && i < guard->count; i++) {
        const struct dj_address_exception *exception = &guard->exceptions[i];
        if (exception->address.is_v6 == address->is_v6 &&
            (exception->port == 0 || exception->port == port) &&
            is_within(address->bytes, exception->address.bytes, exception->prefix_bits))
            return true;
    }
    return false;
}

bool dj_address_is_allowed(const struct dj_address_guard *guard, const struct dj_address *address,
                           uint16_t port)
{
    return dj_address_kind(address) == DJ_ADDRESS_PUBLIC ||
           dj_address_is_excepted(guard, address, port);
}

/* In inet_pton's one form: four decimals, or IPv6 without a zone. */
static bool read_address(struct deja_slice text, bool is_v6, struct dj_address *out_address)
{
    char copy[TEXT_BYTES_MAX];
    struct dj_address address = {.is_v6 = is_v6};
    if (text.len == 0 || text.len >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (strlen(copy) != text.len || inet_pton(is_v6 ? AF_INET6 : AF_INET, copy, address.bytes) != 1)
        return false;
    *out_address = address;
    return true;
}

static bool read_number(struct deja_slice text, uint64_t max, uint64_t *out_number)
{
    uint64_t number = 0;
    if (text.len == 0 || text.len > 5 || (text.len > 1 && text.data[0] == '0') ||
        dj_num_parse_u64(text, &number) != DEJA_OK || number > max)
        return false;
    *out_number = number;
    return true;
}

static const char *find_byte(struct deja_slice text, char byte)
{
    return text.len ? memchr(text.data, byte, text.len) : NULL;
}

static struct deja_slice before(struct deja_slice text, const char *at)
{
    return at ? deja_slice(text.data, (size_t)(at - text.data)) : text;
}

static struct deja_slice after(struct deja_slice text, const char *at)
{
    return at ? deja_slice(at + 1, text.len - (size_t)(at + 1 - text.data)) : deja_slice(NULL, 0);
}

enum deja_status dj_address_guard_add(struct dj_address_guard *guard, struct deja_slice text)
{
    struct dj_address_exception exception = {.port = 0};
    const char *slash = find_byte(text, '/');
    struct deja_slice host = before(text, slash);
    struct deja_slice port = {0};
    bool is_bracketed = host.len > 0 && host.data[0] == '[';
    const char *end = is_bracketed ? find_byte(host, ']') : NULL;
    const char *colon = find_byte(host, ':');
    bool is_v6 = is_bracketed || (colon && find_byte(after(host, colon), ':'));
    if (is_bracketed) {
        if (!end)
            return DEJA_ERR_INVALID;
        port = after(host, end);
        if (port.len > 0 && port.data[0] != ':')
            return DEJA_ERR_INVALID;
        host = deja_slice(host.data + 1, (size_t)(end - host.data - 1));
        colon = port.len > 0 ? port.data : NULL;
        port = after(port, colon);
    } else if (!is_v6 && colon) {
        port = after(host, colon);
        host = before(host, colon);
    } else {
        colon = NULL;
    }
    uint64_t bits = is_v6 ? 128 : 32;
    uint64_t number = 0;
    if (!read_address(host, is_v6, &exception.address) ||
        (colon && (slash || !read_number(port, 65535, &number) || number == 0)) ||
        (slash && !read_number(after(text, slash), bits, &bits)))
        return DEJA_ERR_INVALID;
    if (guard->count == DJ_ADDRESS_EXCEPTIONS_MAX)
        return DEJA_ERR_LIMIT;
    exception.prefix_bits = (uint8_t)bits;
    exception.port = (uint16_t)number;
    guard->exceptions[guard->count++] = exception;
    return DEJA_OK;
}

/* ---- URLs ---- */

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_letter(char byte)
{
    return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
}

static bool is_host_byte(char byte)
{
    return is_digit(byte) || is_letter(byte) || byte == '-';
}

/* Would somebody take it for a number? WHATWG's rule: digits alone, or 0x and hex. */
static bool is_number_like(struct deja_slice label)
{
    if (label.len >= 2 && label.data[0] == '0' && (label.data[1] | 0x20) == 'x')
        return true;
    for (size_t i = 0; i < label.len; i++)
        if (!is_digit(label.data[i]))
            return false;
    return true;
}

static bool is_local_suffix(struct deja_slice label)
{
    static const char *const names[] = {"localhost", "local", "internal", "localdomain", "lan",
                                        "home",      "corp",  "intranet", "onion",       "arpa"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (label.len == strlen(names[i]) && strncasecmp(label.data, names[i], label.len) == 0)
            return true;
    return false;
}

static const char *find_name_fault(struct deja_slice host)
{
    size_t labels = 0;
    struct deja_slice rest = host;
    struct deja_slice label = {0};
    if (host.len > HOST_BYTES_MAX)
        return "has a host name longer than 253 characters";
    while (rest.data) {
        const char *dot = find_byte(rest, '.');
        label = before(rest, dot);
        rest = after(rest, dot);
        labels++;
        if (label.len == 0)
            return dot && labels > 0 && rest.len > 0 ? "has a host name with an empty part"
                                                     : "has a host name that ends with a dot";
        if (label.len > LABEL_BYTES_MAX || label.data[0] == '-' || label.data[label.len - 1] == '-')
            return "has a host name with a part that no name may have";
        for (size_t i = 0; i < label.len; i++)
            if (!is_host_byte(label.data[i]))
                return "has a host name with characters other than letters, digits and hyphens";
    }
    if (is_number_like(label))
        return "has a host that is a number but not an address of four decimals";
    if (labels < 2)
        return "has a host name without a dot, which only this network would know";
    return is_local_suffix(label) ? "has a host name of a local network" : NULL;
}

static const char *address_fault(enum dj_address_kind kind)
{
    switch (kind) {
    case DJ_ADDRESS_METADATA:
        return "leads to the metadata service of a cloud";
    case DJ_ADDRESS_LOOPBACK:
    case DJ_ADDRESS_UNSPECIFIED:
        return "leads to this machine itself; the operator may name it in "
               "upstream.allowed_addresses";
    default:
        return "leads to an address that is not public; the operator may name it in "
               "upstream.allowed_addresses";
    }
}

struct url {
    bool is_https;
    bool is_literal;
    struct dj_address address;
    struct deja_slice host;
    uint16_t port;
};

static const char *read_port(struct deja_slice text, struct url *url)
{
    uint64_t port = url->is_https ? 443 : 80;
    if (text.data && (!read_number(text, 65535, &port) || port == 0))
        return "has a port that is not a number from 1 to 65535";
    url->port = (uint16_t)port;
    return NULL;
}

static const char *read_authority(struct deja_slice authority, struct url *url)
{
    const char *colon = NULL;
    if (authority.len == 0)
        return "has no host";
    if (find_byte(authority, '@'))
        return "carries a user name or password";
    if (find_byte(authority, '%'))
        return "has a host with percent signs";
    if (authority.data[0] == '[') {
        const char *end = find_byte(authority, ']');
        url->host = deja_slice(authority.data + 1,
                               end ? (size_t)(end - authority.data - 1) : authority.len - 1);
        struct deja_slice rest = after(authority, end);
        if (!end || !read_address(url->host, true, &url->address) ||
            (rest.len > 0 && rest.data[0] != ':'))
            return "has a host in brackets that is not an IPv6 address";
        url->is_literal = true;
        return read_port(
            rest.len > 0 ? deja_slice(rest.data + 1, rest.len - 1) : deja_slice(NULL, 0), url);
    }
    colon = find_byte(authority, ':');
    url->host = before(authority, colon);
    if (colon && find_byte(after(authority, colon), ':'))
        return "has a host with colons that is not in brackets";
    if (url->host.len == 0)
        return "has no host";
    url->is_literal = read_address(url->host, false, &url->address);
    return read_port(after(authority, colon), url);
}

/* The scheme; *out_rest: what is behind it. */
static const char *read_scheme(struct deja_slice text, struct url *url, struct deja_slice *out_rest)
{
    size_t scheme = 8;
    url->is_https = true;
    if (text.len < 8 || strncasecmp(text.data, "https://", 8) != 0) {
        if (text.len < 7 || strncasecmp(text.data, "http://", 7) != 0)
            return "does not begin with https://";
        url->is_https = false;
        scheme = 7;
    }
    *out_rest = deja_slice(text.data + scheme, text.len - scheme);
    return NULL;
}

static const char *find_fault(const struct dj_address_guard *guard, struct deja_slice text)
{
    struct url url = {.is_https = false};
    if (text.len > DJ_ADDRESS_URL_BYTES_MAX)
        return "is longer than 2048 characters";
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] <= ' ' || text.data[i] > '~' || strchr("\\\"<>^`{|}", text.data[i]))
            return "has characters that belong into no URL; names in other scripts are written "
                   "in their xn-- form";
    const char *fault = read_scheme(text, &url, &text);
    if (fault)
        return fault;
    if (find_byte(text, '?') || find_byte(text, '#'))
        return "has a query or a fragment";
    const char *slash = find_byte(text, '/');
    fault = read_authority(before(text, slash), &url);
    if (!fault && !url.is_literal)
        fault = url.is_https ? find_name_fault(url.host) : "does not begin with https://";
    if (fault)
        return fault;
    bool is_exception = url.is_literal && dj_address_is_excepted(guard, &url.address, url.port);
    if (url.is_literal && !is_exception && dj_address_kind(&url.address) != DJ_ADDRESS_PUBLIC)
        return address_fault(dj_address_kind(&url.address));
    if (!url.is_https && !is_exception)
        return "does not begin with https://";
    return NULL;
}

enum deja_status dj_address_check_url(const struct dj_address_guard *guard, struct deja_slice url,
                                      const char **out_reason)
{
    const char *fault = find_fault(guard, url);
    if (!fault)
        return DEJA_OK;
    *out_reason = fault;
    return DEJA_ERR_INVALID;
}

bool dj_address_is_url_refused(const struct dj_address_guard *guard, struct deja_slice text)
{
    struct url url = {.is_https = false};
    if (read_scheme(text, &url, &text) != NULL)
        return false;
    text = before(text, find_byte(text, '/'));
    text = before(text, find_byte(text, '?'));
    text = before(text, find_byte(text, '#'));
    if (read_authority(text, &url) != NULL || !url.is_literal)
        return false;
    return url.is_https ? !dj_address_is_allowed(guard, &url.address, url.port)
                        : !dj_address_is_excepted(guard, &url.address, url.port);
}
