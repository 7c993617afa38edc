/* net/outbound_guard.c - connections of guarded calls: the address itself is looked at, after its
 * name was resolved and before a byte is sent, on a new connection and on a kept one.
 *
 *   resolved ─▶ on_socket: each address, before its socket exists
 *   connected or taken from the pool ─▶ on_before_request: the address that it is
 *
 * So a name that leads elsewhere the second time changes nothing: what was looked at is what is
 * spoken to. Trust: names and their addresses are untrusted.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>

#include "net/outbound_internal.h"

static bool is_allowed(struct dj_outbound_call *call, const struct dj_address *address,
                       uint16_t port)
{
    /* Without TLS only where the operator has said that this machine may be spoken to. */
    bool is_fine = call->is_https ? dj_address_is_allowed(call->guard, address, port)
                                  : dj_address_is_excepted(call->guard, address, port);
    if (is_fine)
        return true;
    char text[INET6_ADDRSTRLEN] = "";
    if (!inet_ntop(address->is_v6 ? AF_INET6 : AF_INET, address->bytes, text, sizeof text))
        text[0] = '\0';
    call->is_refused = true;
    snprintf(call->refused_text, sizeof call->refused_text,
             "it leads to %s port %u, %s, which the operator has not allowed%s", text, port,
             dj_address_kind_text(dj_address_kind(address)),
             call->is_https ? "" : " to be called without TLS");
    return false;
}

/* curl's question for a socket to that address. */
static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *target)
{
    struct dj_address address = {.is_v6 = target->family == AF_INET6};
    uint16_t port = 0;
    (void)purpose;
    if (target->family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&target->addr;
        memcpy(address.bytes, &v4->sin_addr, 4);
        port = ntohs(v4->sin_port);
    } else if (target->family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&target->addr;
        memcpy(address.bytes, &v6->sin6_addr, 16);
        port = ntohs(v6->sin6_port);
    } else {
        return CURL_SOCKET_BAD;
    }
    if (!is_allowed(ctx, &address, port))
        return CURL_SOCKET_BAD;
    return socket(target->family, target->socktype | SOCK_CLOEXEC, target->protocol);
}

/* The connection is there, new or kept. */
static int on_before_request(void *ctx, char *peer, char *local, int peer_port, int local_port)
{
    struct dj_address address = {.is_v6 = strchr(peer, ':') != NULL};
    (void)local;
    (void)local_port;
    if (inet_pton(address.is_v6 ? AF_INET6 : AF_INET, peer, address.bytes) != 1 || peer_port < 0)
        return CURL_PREREQFUNC_ABORT;
    return is_allowed(ctx, &address, (uint16_t)peer_port) ? CURL_PREREQFUNC_OK
                                                          : CURL_PREREQFUNC_ABORT;
}

bool dj_outbound_guard(struct dj_outbound_call *call, const struct dj_address_guard *guard)
{
    CURL *easy = call->easy;
    call->guard = guard;
    call->is_https = strncasecmp(call->url, "https://", 8) == 0;
    return curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_before_request) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PREREQDATA, call) == CURLE_OK;
}
