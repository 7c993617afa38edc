/* daemon/listeners.c - see listeners.h.
 *
 *   server.listen   loopback, no admin.listen: everything     else: traffic alone
 *   admin.listen    operations and administration, and no traffic
 */
#include "daemon/listeners.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crypto/tls_server.h"
#include "daemon/daemon_internal.h"
#include "daemon/notify.h"
#include "loop/stream.h"
#include "net/http_addresses.h"

#define ROTATE_MS 3600000u
#define LOW_PORTS 1024u

/* ---- TLS ---- */

struct dj_tls_server_options dj_listeners_tls(const struct dj_settings_tls *tls)
{
    return (struct dj_tls_server_options){
        .cert_files = (const char *const *)tls->cert_files.items,
        .key_files = (const char *const *)tls->key_files.items,
        .count = tls->cert_files.count,
        .client_ca_file = tls->client_ca_file,
        .client_auth = (enum dj_tls_client_auth)tls->client_auth,
        .is_1_3_only = tls->min_version == DJ_SETTINGS_TLS_1_3,
    };
}

static bool has_tls(const struct dj_settings_address *addresses, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (addresses[i].is_tls)
            return true;
    return false;
}

static enum deja_status make_tls(const struct dj_settings_tls *tls,
                                 const struct dj_settings_address *addresses, size_t count,
                                 struct dj_tls_server **out_server, struct deja_error *error)
{
    if (!has_tls(addresses, count))
        return DEJA_OK;
    const struct dj_tls_server_options options = dj_listeners_tls(tls);
    return dj_tls_server_create(&options, out_server, error);
}

static enum deja_status reload_tls(struct dj_tls_server *server, const struct dj_settings_tls *tls,
                                   struct deja_error *error)
{
    if (!server)
        return DEJA_OK;
    const struct dj_tls_server_options options = dj_listeners_tls(tls);
    return dj_tls_server_load(server, &options, error);
}

enum deja_status dj_listeners_reload(struct dj_daemon *daemon, const struct dj_settings *settings,
                                     struct deja_error *error)
{
    enum deja_status status = reload_tls(daemon->tls, &settings->tls, error);
    return status == DEJA_OK ? reload_tls(daemon->admin_tls, &settings->admin_tls, error) : status;
}

static void on_rotate(void *ctx)
{
    struct dj_daemon *daemon = ctx;
    if (daemon->tls)
        dj_tls_server_rotate(daemon->tls);
    if (daemon->admin_tls)
        dj_tls_server_rotate(daemon->admin_tls);
}

/* ---- sockets ---- */

enum deja_status dj_listeners_make(struct dj_daemon *daemon, struct deja_error *error)
{
    const struct dj_settings *settings = daemon->settings;
    uint32_t connections_max = settings->server.connections_max;
    uint32_t each_max = settings->server.address_connections_max;
    enum deja_status status =
        dj_http_addresses_create(each_max ? each_max : connections_max / 2 + 1, each_max,
                                 (size_t)connections_max * 2, &daemon->addresses);
    if (status == DEJA_OK)
        status = make_tls(&settings->tls, settings->server.listen, settings->server.listen_count,
                          &daemon->tls, error);
    if (status == DEJA_OK && !daemon->tls)
        status = make_tls(&settings->tls, settings->resp.listen, settings->resp.listen_count,
                          &daemon->tls, error);
    if (status == DEJA_OK)
        status = make_tls(&settings->admin_tls, settings->admin.listen,
                          settings->admin.listen_count, &daemon->admin_tls, error);
    return status == DEJA_ERR_NOMEM ? deja_error_set(error, status, "no memory for listeners")
                                    : status;
}

static enum deja_status bind_low(const struct dj_settings_address *addresses, size_t count,
                                 int *fds, struct deja_error *error)
{
    enum deja_status status = DEJA_OK;
    for (size_t i = 0; i < count && status == DEJA_OK; i++)
        if (addresses[i].port > 0 && addresses[i].port < LOW_PORTS)
            status = dj_listener_bind(addresses[i].host, addresses[i].port, &fds[i], error);
    return status;
}

enum deja_status dj_listeners_bind(struct dj_daemon *daemon, struct deja_error *error)
{
    const struct dj_settings *settings = daemon->settings;
    size_t count = settings->server.listen_count;
    if (!settings->process.user || dj_notify_sockets() > 0)
        return DEJA_OK;
    enum deja_status status = bind_low(settings->server.listen, count, daemon->fds, error);
    return status == DEJA_OK ? bind_low(settings->admin.listen, settings->admin.listen_count,
                                        daemon->fds + count, error)
                             : status;
}

/* The descriptor of a socket that the service manager has bound to that address; -1: none. */
static int inherited(const struct dj_settings_address *address)
{
    int end = DJ_NOTIFY_FIRST_FD + (int)dj_notify_sockets();
    for (int fd = DJ_NOTIFY_FIRST_FD; fd < end; fd++)
        if (dj_listener_is_bound_to(fd, address->host, address->port))
            return fd;
    return -1;
}

static bool is_named(int fd, const struct dj_settings_address *addresses, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (dj_listener_is_bound_to(fd, addresses[i].host, addresses[i].port))
            return true;
    return false;
}

/* Only what the settings name is listened on: the rules for public addresses would be bypassed
 * otherwise. */
static enum deja_status check_inherited(const struct dj_daemon *daemon, struct deja_error *error)
{
    const struct dj_settings *settings = daemon->settings;
    int end = DJ_NOTIFY_FIRST_FD + (int)dj_notify_sockets();
    for (int fd = DJ_NOTIFY_FIRST_FD; fd < end; fd++)
        if (!is_named(fd, settings->server.listen, settings->server.listen_count) &&
            !is_named(fd, settings->resp.listen, settings->resp.listen_count) &&
            !is_named(fd, settings->admin.listen, settings->admin.listen_count))
            return deja_error_set(error, DEJA_ERR_CONFIG,
                                  "the service manager passed a socket (descriptor %d) for an "
                                  "address that server.listen does not name: name it there too",
                                  fd);
    return DEJA_OK;
}

/* One address on one loop. fd: of a socket that all loops share; 0: there is none. */
struct opening {
    struct dj_node *node;
    const struct dj_settings_address *address;
    const struct dj_http_limits *limits;
    struct dj_tls_server *tls;
    enum dj_listener_kind kind;
    int *fd;
};

enum deja_status dj_listeners_socket(const struct dj_settings_address *address, int *shared_fd,
                                     bool is_first, int *out_fd, struct deja_error *error)
{
    *out_fd = inherited(address);
    if (*out_fd < 0 && *shared_fd > 0)
        *out_fd = *shared_fd;
    if (*out_fd >= 0 || !is_first)
        return DEJA_OK;
    if (!address->is_unix)
        return address->port ? dj_listener_check_free(address->host, address->port, error)
                             : DEJA_OK;
    enum deja_status status = dj_listener_bind_unix(address->host, shared_fd, error);
    if (status == DEJA_OK)
        *out_fd = *shared_fd;
    return status;
}

static enum deja_status open_server(struct dj_daemon *daemon, const struct opening *opening,
                                    struct deja_error *error)
{
    struct dj_node *node = opening->node;
    const struct dj_settings_address *address = opening->address;
    bool is_first = dj_loop_index(node->loop) == 0;
    struct dj_http_server **out_server = &node->servers[node->server_count];
    int fd = -1;
    enum deja_status status = dj_listeners_socket(address, opening->fd, is_first, &fd, error);
    if (status != DEJA_OK)
        return status;
    /* With port 0 the system chooses once; the other loops share what it chose. */
    uint16_t port = address->port;
    if (!port && !is_first)
        port = dj_http_server_port(daemon->nodes[0].servers[node->server_count]);
    status = fd >= 0 ? dj_http_server_open_fd(node->loop, fd, opening->limits, &daemon->api,
                                              dj_api_handle, dj_api_handle_error, out_server, error)
                     : dj_http_server_open(node->loop, address->host, port, opening->limits,
                                           &daemon->api, dj_api_handle, dj_api_handle_error,
                                           out_server, error);
    if (status != DEJA_OK)
        return status;
    node->server_count++;
    dj_http_server_mark(*out_server, opening->kind);
    if (address->is_tls && dj_http_server_set_tls(*out_server, opening->tls) != DEJA_OK)
        return deja_error_set(error, DEJA_ERR_NOMEM, "no memory for a server");
    return DEJA_OK;
}

static enum deja_status open_node(struct dj_daemon *daemon, struct dj_node *node,
                                  const struct dj_http_limits *limits, struct deja_error *error)
{
    const struct dj_settings *settings = daemon->settings;
    bool is_split = settings->admin.listen_count > 0;
    enum deja_status status = DEJA_OK;
    for (size_t k = 0; k < settings->server.listen_count && status == DEJA_OK; k++) {
        const struct dj_settings_address *address = &settings->server.listen[k];
        const struct opening opening = {
            .node = node,
            .address = address,
            .limits = limits,
            .tls = daemon->tls,
            .kind = address->is_loopback && !is_split ? DJ_LISTENER_ALL : DJ_LISTENER_TRAFFIC,
            .fd = &daemon->fds[k],
        };
        status = open_server(daemon, &opening, error);
    }
    for (size_t k = 0; k < settings->admin.listen_count && status == DEJA_OK; k++) {
        const struct opening opening = {
            .node = node,
            .address = &settings->admin.listen[k],
            .limits = limits,
            .tls = daemon->admin_tls,
            .kind = DJ_LISTENER_ADMIN,
            .fd = &daemon->fds[settings->server.listen_count + k],
        };
        status = open_server(daemon, &opening, error);
    }
    return status;
}

enum deja_status dj_listeners_open(struct dj_daemon *daemon, struct deja_error *error)
{
    const struct dj_settings *settings = daemon->settings;
    struct dj_http_limits limits = dj_http_limits_default;
    limits.header_bytes_max = (uint32_t)settings->server.header_bytes_max;
    limits.headers_max = settings->server.headers_max;
    limits.body_bytes_max = settings->server.body_bytes_max;
    limits.bytes_in_flight_max = settings->server.bytes_in_flight_max;
    limits.bytes_in_flight = &daemon->bytes_in_flight;
    limits.connections_max = settings->server.connections_max / daemon->loop_count + 1;
    limits.addresses = daemon->addresses;
    limits.header_timeout_ms = (uint32_t)settings->server.header_timeout_ms;
    limits.idle_timeout_ms = (uint32_t)settings->server.idle_timeout_ms;
    limits.body_bytes_per_s_min = (uint32_t)settings->server.body_bytes_per_s_min;
    limits.write_stall_ms = (uint32_t)settings->server.write_timeout_ms;
    enum deja_status status = check_inherited(daemon, error);
    for (uint32_t i = 0; i < daemon->loop_count && status == DEJA_OK; i++)
        status = open_node(daemon, &daemon->nodes[i], &limits, error);
    if (status != DEJA_OK || (!daemon->tls && !daemon->admin_tls))
        return status;
    status = dj_timer_create(daemon->loops[0], daemon, on_rotate, &daemon->rotate);
    if (status == DEJA_OK)
        dj_timer_start(daemon->rotate, ROTATE_MS, ROTATE_MS);
    return status;
}

void dj_listeners_stop(struct dj_daemon *daemon)
{
    dj_timer_destroy(daemon->rotate);
    daemon->rotate = NULL;
}

void dj_listeners_fini(struct dj_daemon *daemon)
{
    const struct dj_settings *settings = daemon->settings;
    for (size_t k = 0; k < 2 * DJ_LISTEN_MAX; k++) {
        if (daemon->fds[k] <= 0)
            continue;
        close(daemon->fds[k]);
        size_t admin = k - settings->server.listen_count; /* wraps for the others */
        if (admin < settings->admin.listen_count && settings->admin.listen[admin].is_unix)
            unlink(settings->admin.listen[admin].host); /* of no use to anybody any more */
    }
    dj_tls_server_destroy(daemon->tls);
    dj_tls_server_destroy(daemon->admin_tls);
    dj_http_addresses_destroy(daemon->addresses);
}

bool dj_listeners_has_operations(const struct dj_settings *settings)
{
    bool has_loopback = false;
    for (size_t i = 0; i < settings->server.listen_count; i++)
        has_loopback = has_loopback || settings->server.listen[i].is_loopback;
    return has_loopback || settings->admin.listen_count > 0;
}

void dj_listeners_url(const struct dj_settings_address *address, uint16_t port, char *out_text,
                      size_t cap)
{
    bool is_v6 = !address->is_unix && strchr(address->host, ':') != NULL;
    if (address->is_unix)
        snprintf(out_text, cap, "unix:%s", address->host);
    else
        snprintf(out_text, cap, "http%s://%s%s%s:%u", address->is_tls ? "s" : "", is_v6 ? "[" : "",
                 address->host, is_v6 ? "]" : "", port);
}
