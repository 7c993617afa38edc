/* daemon/resp.c - see resp.h. */
#include "daemon/resp.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/resp_metrics.h"
#include "daemon/daemon_internal.h"
#include "daemon/listeners.h"

static struct dj_resp_server_limits limits_of(struct dj_daemon *daemon)
{
    const struct dj_settings *settings = daemon->settings;
    struct dj_resp_server_limits limits = dj_resp_server_limits_default;
    limits.connections_max = settings->resp.connections_max / daemon->loop_count + 1;
    limits.reply_bytes_max = settings->resp.reply_bytes_max;
    limits.push_bytes_max = settings->resp.push_bytes_max;
    limits.bytes_in_flight_max = settings->server.bytes_in_flight_max;
    limits.bytes_in_flight = &daemon->bytes_in_flight;
    limits.addresses = daemon->addresses;
    limits.counters = &daemon->resp.counters;
    limits.login_timeout_ms = (uint32_t)settings->resp.login_timeout_ms;
    limits.idle_timeout_ms = (uint32_t)settings->resp.idle_timeout_ms;
    limits.send_bytes_per_s_min = (uint32_t)settings->server.body_bytes_per_s_min;
    limits.write_stall_ms = (uint32_t)settings->server.write_timeout_ms;
    return limits;
}

static enum deja_status open_one(struct dj_daemon *daemon, struct dj_node *node, size_t index,
                                 const struct dj_resp_server_limits *limits,
                                 struct deja_error *error)
{
    const struct dj_settings_address *address = &daemon->settings->resp.listen[index];
    bool is_first = dj_loop_index(node->loop) == 0;
    struct dj_crowd_place place = {.host = address->host, .port = address->port, .fd = -1};
    enum deja_status status =
        dj_listeners_socket(address, &daemon->resp.fds[index], is_first, &place.fd, error);
    if (status != DEJA_OK)
        return status;
    /* With port 0 the system chooses once; the other loops share what it chose. */
    if (!place.port && !is_first && place.fd < 0)
        place.port = dj_resp_server_port(daemon->nodes[0].resp.servers[index]);
    struct dj_resp_server *server = NULL;
    status = dj_resp_server_open(node->loop, &place, limits, &dj_resp_api_handler,
                                 &daemon->resp.api, &server, error);
    if (status != DEJA_OK)
        return status;
    node->resp.servers[node->resp.count++] = server;
    if (address->is_tls && dj_resp_server_set_tls(server, daemon->tls) != DEJA_OK)
        return deja_error_set(error, DEJA_ERR_NOMEM, "no memory for a server");
    return DEJA_OK;
}

/* Redis has no name for two of them. */
static const char *const policies[] = {
    [DJ_EVICT_S3FIFO] = "allkeys-s3fifo",
    [DJ_EVICT_LRU] = "allkeys-lru",
    [DJ_EVICT_LFU] = "allkeys-lfu",
    [DJ_EVICT_TTL] = "allkeys-ttl",
};

enum deja_status dj_daemon_open_resp(struct dj_daemon *daemon, struct deja_error *error)
{
    const struct dj_settings_resp *settings = &daemon->settings->resp;
    struct dj_resp_api *api = &daemon->resp.api;
    if (!settings->listen_count)
        return DEJA_OK;
    const struct dj_resp_server_limits limits = limits_of(daemon);
    api->proxy = &daemon->proxy;
    api->plain = daemon->plain;
    api->notices = daemon->notices;
    api->counters = &daemon->resp.counters;
    api->bulk_bytes_max = limits.bulk_bytes_max;
    api->eviction = policies[daemon->settings->eviction.strategy];
    api->started_ms = dj_clock_now_ms();
    dj_random_bytes(api->run_id, sizeof api->run_id);
    enum deja_status status = dj_resp_metrics_create(daemon->metrics, &api->metrics);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "no memory for metrics");
    for (uint32_t i = 0; i < daemon->loop_count; i++)
        for (size_t k = 0; k < settings->listen_count && status == DEJA_OK; k++)
            status = open_one(daemon, &daemon->nodes[i], k, &limits, error);
    if (status != DEJA_OK)
        return status;
    api->port = dj_resp_server_port(daemon->nodes[0].resp.servers[0]);
    daemon->api.resp = api;
    return DEJA_OK;
}

uint32_t dj_daemon_drain_resp(struct dj_node *node, uint32_t timeout_ms, dj_task_fn *drained)
{
    for (uint32_t i = 0; i < node->resp.count; i++)
        dj_resp_server_drain(node->resp.servers[i], timeout_ms, node, drained);
    return node->resp.count;
}

void dj_daemon_end_resp_node(struct dj_node *node)
{
    for (uint32_t i = 0; i < node->resp.count; i++)
        dj_resp_server_destroy(node->resp.servers[i]);
    node->resp.count = 0;
}

void dj_daemon_end_resp(struct dj_daemon *daemon)
{
    const struct dj_settings_resp *settings = &daemon->settings->resp;
    for (size_t k = 0; k < settings->listen_count && k < DJ_RESP_LISTEN_MAX; k++) {
        if (daemon->resp.fds[k] <= 0)
            continue;
        close(daemon->resp.fds[k]);
        if (settings->listen[k].is_unix)
            unlink(settings->listen[k].host);
    }
    dj_resp_metrics_destroy(daemon->resp.api.metrics);
}

void dj_daemon_print_resp(const struct dj_daemon *daemon)
{
    const struct dj_settings_resp *settings = &daemon->settings->resp;
    for (size_t k = 0; k < settings->listen_count; k++) {
        const struct dj_settings_address *address = &settings->listen[k];
        bool is_v6 = !address->is_unix && strchr(address->host, ':');
        if (address->is_unix)
            fprintf(stderr, "  redis      unix://%s\n", address->host);
        else
            fprintf(stderr, "  redis      %s://%s%s%s:%u\n", address->is_tls ? "rediss" : "redis",
                    is_v6 ? "[" : "", address->host, is_v6 ? "]" : "",
                    dj_resp_server_port(daemon->nodes[0].resp.servers[k]));
    }
}
