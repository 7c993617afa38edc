/* net/http_addresses.h - how many connections each client address has, over all servers that share
 * this table.
 *
 * An IPv6 client counts with its /64: whoever has one address there has all of them. Keys are
 * hashed with a random key, because strangers choose them. Threads: any; one short lock. Bound: an
 * address is in the table only while it has a connection.
 */
#ifndef DJ_NET_HTTP_ADDRESSES_H
#define DJ_NET_HTTP_ADDRESSES_H

#include <deja/base.h>

struct dj_http_addresses;

/* each_max: connections of one address; 0: no cap. local_max: the same for this machine's own
 * addresses, behind which all clients of a local proxy stand. addresses_max: in the table. */
enum deja_status dj_http_addresses_create(uint32_t each_max, uint32_t local_max,
                                          size_t addresses_max,
                                          struct dj_http_addresses **out_addresses) DEJA_NODISCARD;
void dj_http_addresses_destroy(struct dj_http_addresses *addresses); /* accepts NULL */

/* peer: an IPv6 address, or an IPv4 one mapped into it. False: the address has as many as it may,
 * or there is no memory to count it; leave() only after true. */
bool dj_http_addresses_enter(struct dj_http_addresses *addresses, const uint8_t peer[16]);
void dj_http_addresses_leave(struct dj_http_addresses *addresses, const uint8_t peer[16]);
uint32_t dj_http_addresses_count(struct dj_http_addresses *addresses, const uint8_t peer[16]);

#endif
