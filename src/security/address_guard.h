/* security/address_guard.h - which machines may be called on behalf of somebody who is not the
 * operator: an upstream named through an API must not reach what only this machine can reach.
 *
 * Two checks, both needed: of the URL before it is kept, and of each address a connection is made
 * to (net/outbound.h), since a name may lead anywhere, and elsewhere each time it is asked. Public
 * unicast addresses pass; everything else, and everything that carries an IPv4 address inside an
 * IPv6 one, only if the operator has named it. Webhooks are held to the same. An upstream in the
 * operator's own file or flag does not come here.
 *
 * Pure. Trust: untrusted URLs; exceptions are the operator's. Threads: any; immutable once filled.
 */
#ifndef DJ_SECURITY_ADDRESS_GUARD_H
#define DJ_SECURITY_ADDRESS_GUARD_H

#include <deja/base.h>

#define DJ_ADDRESS_EXCEPTIONS_MAX 64u
#define DJ_ADDRESS_URL_BYTES_MAX 2048u

/* IPv4 in the first 4 bytes (is_v6 false), or IPv6 in all 16. */
struct dj_address {
    bool is_v6;
    uint8_t bytes[16];
};

enum dj_address_kind {
    DJ_ADDRESS_PUBLIC,
    DJ_ADDRESS_UNSPECIFIED, /* 0.0.0.0/8, :: */
    DJ_ADDRESS_LOOPBACK,
    DJ_ADDRESS_PRIVATE, /* RFC 1918, ULA */
    DJ_ADDRESS_SHARED,  /* behind a carrier's NAT */
    DJ_ADDRESS_LINK_LOCAL,
    DJ_ADDRESS_METADATA, /* of clouds */
    DJ_ADDRESS_MULTICAST,
    DJ_ADDRESS_BROADCAST,
    DJ_ADDRESS_DOCUMENTATION,
    DJ_ADDRESS_RESERVED,   /* benchmarks, protocols, not handed out */
    DJ_ADDRESS_TRANSLATED, /* IPv4 inside: mapped, NAT64, 6to4, Teredo, ISATAP */
};
enum dj_address_kind dj_address_kind(const struct dj_address *address);
const char *dj_address_kind_text(enum dj_address_kind kind); /* "a private address" */

/* One address or network, and one port or any (0). */
struct dj_address_exception {
    struct dj_address address;
    uint8_t prefix_bits;
    uint16_t port;
};

struct dj_address_guard {
    size_t count;
    struct dj_address_exception exceptions[DJ_ADDRESS_EXCEPTIONS_MAX];
};

/* Adds "10.0.0.5", "10.0.0.0/24", "127.0.0.1:11434", "fd00::5", "[fd00::5]:8080" or
 * "[fd00::]/64". DEJA_ERR_INVALID: none of these; DEJA_ERR_LIMIT: one too many. */
enum deja_status dj_address_guard_add(struct dj_address_guard *guard,
                                      struct deja_slice text) DEJA_NODISCARD;

/* Is a connection to that address and port fine? guard NULL: without exceptions. */
bool dj_address_is_allowed(const struct dj_address_guard *guard, const struct dj_address *address,
                           uint16_t port);

/* Has the operator named it? */
bool dj_address_is_excepted(const struct dj_address_guard *guard, const struct dj_address *address,
                            uint16_t port);

/* May url be kept as an upstream's base? https://HOST[:PORT][/PATH], where HOST is a name with a
 * dot or a public address in its one usual form; for an exception of the guard also http. DEJA_OK,
 * or DEJA_ERR_INVALID and *out_reason, constant text that continues "the URL …". */
enum deja_status dj_address_check_url(const struct dj_address_guard *guard, struct deja_slice url,
                                      const char **out_reason) DEJA_NODISCARD;

/* Will a call of an operator's url be refused, as far as can be seen now: is its host an address
 * that does not pass, or, without TLS, that is no exception? Names show it when they are called. */
bool dj_address_is_url_refused(const struct dj_address_guard *guard, struct deja_slice url);

#endif
