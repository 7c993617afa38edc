/* store/redis_topology.c - who is master, and how full the servers are.
 *
 * Standalone: the one address. Sentinel: asked of the sentinels in turn. Cluster: any server that
 * can be reached tells all slots; until one has, a command goes to any and is redirected.
 */
#include <string.h>

#include "base/num.h"
#include "store/redis_internal.h"

/* Between two questions about the topology: a failover takes seconds, a storm of errors none. */
#define LOOK_PAUSE_US 100000u
#define LOOK_EVERY_US 30000000u
#define MEASURE_EVERY_US 10000000u

static bool is_same_address(const struct dj_redis_address *a, const struct dj_redis_address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

uint32_t dj_redis_node_of(struct dj_redis_link *link, const struct dj_redis_address *address)
{
    uint32_t spare = DJ_REDIS_NODE_NONE;
    for (uint32_t i = 0; i < link->node_count; i++) {
        const struct dj_redis_node *node = &link->nodes[i];
        if (is_same_address(&node->address, address))
            return i;
        if (!node->is_seed && !node->has_slots && node->connection_count == 0 && i != link->master)
            spare = i;
    }
    if (link->node_count < DJ_REDIS_NODES_MAX)
        spare = link->node_count++;
    if (spare == DJ_REDIS_NODE_NONE)
        return spare;
    struct dj_redis_node *node = &link->nodes[spare];
    for (size_t slot = 0; slot < DJ_REDIS_SLOTS; slot++)
        if (link->slots[slot] == spare)
            link->slots[slot] = 0xff;
    node->address = *address;
    node->retry_at_us = 0;
    node->backoff_ms = 0;
    return spare;
}

uint32_t dj_redis_next_master(const struct dj_redis_link *link, uint32_t node)
{
    if (link->redis->options.mode != DJ_REDIS_CLUSTER)
        return node == 0 && link->master != DJ_REDIS_NODE_NONE ? link->master : DJ_REDIS_NODE_NONE;
    for (; node < link->node_count; node++)
        if (link->nodes[node].has_slots)
            return node;
    return DJ_REDIS_NODE_NONE;
}

void dj_redis_look_again(struct dj_redis_link *link)
{
    if (link->redis->options.mode == DJ_REDIS_STANDALONE || link->has_left)
        return;
    link->is_look_wanted = true;
    dj_redis_link_wake(link);
}

/* ---- calls that wait ---- */

static struct dj_redis_call *take_waiting(struct dj_redis_link *link)
{
    struct dj_redis_call *first = link->waiting;
    link->waiting = NULL;
    link->waiting_end = &link->waiting;
    return first;
}

void dj_redis_waiting_go(struct dj_redis_link *link)
{
    struct dj_redis_call *call = take_waiting(link);
    while (call) {
        struct dj_redis_call *next = call->next;
        enum deja_status status = dj_redis_send_to(link, link->master, call);
        if (status != DEJA_OK)
            dj_redis_link_failed(link, call, status);
        call = next;
    }
}

void dj_redis_waiting_fail(struct dj_redis_link *link, enum deja_status status)
{
    struct dj_redis_call *call = take_waiting(link);
    while (call) {
        struct dj_redis_call *next = call->next;
        dj_redis_link_failed(link, call, status);
        call = next;
    }
}

/* ---- looking ---- */

static bool on_range(void *ctx, uint16_t first, uint16_t last,
                     const struct dj_redis_address *master)
{
    struct dj_redis_link *link = ctx;
    uint32_t node = dj_redis_node_of(link, master);
    if (node == DJ_REDIS_NODE_NONE)
        return true; /* more masters than are kept: reached by redirects alone, or not */
    link->nodes[node].has_slots = true;
    memset(link->slots + first, (int)node, (size_t)(last - first) + 1);
    return true;
}

bool dj_redis_slots_take(struct dj_redis_link *link, const char *from,
                         const struct dj_redis_reply *reply)
{
    if (reply->type != DJ_REDIS_ARRAY || reply->count == 0)
        return false;
    for (uint32_t i = 0; i < link->node_count; i++)
        link->nodes[i].has_slots = false;
    return dj_redis_slots_parse(reply, from, link, on_range);
}

static bool take_master(struct dj_redis_link *link, const struct dj_redis_reply *reply)
{
    struct deja_slice host;
    int64_t port = 0;
    struct dj_redis_address address = {.port = 0};
    if (!dj_redis_text(dj_redis_at(reply, 0), &host) ||
        !dj_redis_integer(dj_redis_at(reply, 1), &port) || host.len == 0 ||
        host.len >= sizeof address.host || port < 1 || port > UINT16_MAX)
        return false;
    memcpy(address.host, host.data, host.len);
    address.port = (uint16_t)port;
    uint32_t node = dj_redis_node_of(link, &address);
    if (node == DJ_REDIS_NODE_NONE || link->nodes[node].is_sentinel)
        return false;
    link->master = node;
    return true;
}

static void on_looked(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct dj_redis_link *link = ctx;
    bool is_cluster = link->redis->options.mode == DJ_REDIS_CLUSTER;
    link->is_looking = false;
    if (link->has_left)
        return;
    bool is_taken =
        status == DEJA_OK &&
        (is_cluster ? dj_redis_slots_take(link, link->nodes[link->look.node].address.host, reply)
                    : take_master(link, reply));
    if (!is_taken) {
        if (status == DEJA_OK) {
            const char *why =
                is_cluster ? "it is no server of a cluster: l2.redis.mode is to be standalone"
                           : "the sentinel knows no such master: see l2.redis.master_name";
            dj_redis_note_trouble(link->redis, &link->nodes[link->look.node], "%s", why);
        }
        link->rotor++;
        link->is_look_wanted = true;
        dj_redis_link_watch(link, link->looked_us + LOOK_PAUSE_US);
        return;
    }
    if (link->master != DJ_REDIS_NODE_NONE)
        dj_redis_waiting_go(link);
}

/* Of those that can tell: sentinels, or any server of the cluster; the next in turn. */
static uint32_t whom_to_ask(struct dj_redis_link *link, uint64_t now_us)
{
    bool is_cluster = link->redis->options.mode == DJ_REDIS_CLUSTER;
    for (uint32_t i = 0; i < link->node_count; i++) {
        uint32_t index = (link->rotor + i) % link->node_count;
        const struct dj_redis_node *node = &link->nodes[index];
        bool can_tell = is_cluster ? node->is_seed || node->has_slots : node->is_sentinel;
        if (can_tell && now_us >= node->retry_at_us)
            return index;
    }
    return DJ_REDIS_NODE_NONE;
}

void dj_redis_ask_slots(struct dj_buf *bytes)
{
    dj_redis_command(bytes, 2);
    dj_redis_argument_text(bytes, "CLUSTER");
    dj_redis_argument_text(bytes, "SLOTS");
}

static void ask_topology(struct dj_redis_link *link, struct dj_buf *bytes)
{
    const char *name = link->redis->options.master_name;
    if (link->redis->options.mode == DJ_REDIS_CLUSTER) {
        dj_redis_ask_slots(bytes);
        return;
    }
    dj_redis_command(bytes, 3);
    dj_redis_argument_text(bytes, "SENTINEL");
    dj_redis_argument_text(bytes, "GET-MASTER-ADDR-BY-NAME");
    dj_redis_argument_text(bytes, name);
}

void dj_redis_look_now(struct dj_redis_link *link, uint64_t now_us)
{
    bool is_due = link->looked_us && now_us >= link->looked_us + LOOK_EVERY_US;
    if (link->redis->options.mode == DJ_REDIS_STANDALONE || link->is_looking ||
        !(link->is_look_wanted || is_due))
        return;
    if (link->looked_us && now_us < link->looked_us + LOOK_PAUSE_US) {
        dj_redis_link_watch(link, link->looked_us + LOOK_PAUSE_US);
        return;
    }
    link->looked_us = now_us;
    uint32_t node = whom_to_ask(link, now_us);
    if (node == DJ_REDIS_NODE_NONE) {
        dj_redis_link_watch(link, now_us + LOOK_PAUSE_US);
        return;
    }
    dj_redis_call_init(&link->look, link, on_looked);
    link->look.is_inner = true;
    link->look.node = node;
    link->look.link = link;
    ask_topology(link, &link->look.bytes);
    if (link->look.bytes.status != DEJA_OK ||
        dj_redis_send_to(link, node, &link->look) != DEJA_OK) {
        dj_buf_fini(&link->look.bytes);
        link->rotor++;
        dj_redis_link_watch(link, now_us + LOOK_PAUSE_US);
        return;
    }
    link->is_looking = true;
    link->is_look_wanted = false;
}

/* ---- figures ---- */

/* The number behind "name:" at the start of a line; 0: it is not there. */
static uint64_t info_number(struct deja_slice info, const char *name)
{
    size_t len = strlen(name);
    const char *at = info.data;
    const char *end = info.data + info.len;
    while (at && at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        size_t line = (size_t)((line_end ? line_end : end) - at);
        if (line > 0 && at[line - 1] == '\r')
            line--;
        if (line > len && memcmp(at, name, len) == 0 && at[len] == ':') {
            uint64_t value = 0;
            const char *digits = at + len + 1;
            size_t count = 0;
            while (digits + count < at + line && digits[count] >= '0' && digits[count] <= '9')
                count++;
            return dj_num_parse_u64(deja_slice(digits, count), &value) == DEJA_OK ? value : 0;
        }
        at = line_end ? line_end + 1 : NULL;
    }
    return 0;
}

/* "db0:keys=12,expires=…": the sum over databases. */
static uint64_t info_keys(struct deja_slice info)
{
    static const char mark[] = ":keys=";
    uint64_t sum = 0;
    for (size_t i = 0; i + sizeof mark - 1 < info.len; i++) {
        uint64_t value = 0;
        size_t count = 0;
        if (memcmp(info.data + i, mark, sizeof mark - 1) != 0)
            continue;
        i += sizeof mark - 1;
        while (i + count < info.len && info.data[i + count] >= '0' && info.data[i + count] <= '9')
            count++;
        if (dj_num_parse_u64(deja_slice(info.data + i, count), &value) == DEJA_OK)
            sum += value;
    }
    return sum;
}

static void measure_next(struct dj_redis_link *link);

static void on_measured(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct dj_redis_link *link = ctx;
    struct deja_slice info;
    link->is_measuring = false;
    if (status != DEJA_OK || !dj_redis_text(reply, &info) || link->has_left)
        return; /* the figures stay as they were */
    link->figures.keys += info_keys(info);
    link->figures.memory_bytes += info_number(info, "used_memory");
    link->figures.memory_bytes_max += info_number(info, "maxmemory");
    link->figures.evictions += info_number(info, "evicted_keys");
    link->figures.expired += info_number(info, "expired_keys");
    link->figures.clients += info_number(info, "connected_clients");
    link->figures.servers++;
    link->measure_node = link->measure.node + 1;
    if (link->redis->options.mode != DJ_REDIS_CLUSTER)
        link->measure_node = DJ_REDIS_NODES_MAX;
    measure_next(link);
}

static void measure_next(struct dj_redis_link *link)
{
    struct dj_redis *redis = link->redis;
    uint32_t node = dj_redis_next_master(link, link->measure_node);
    if (node == DJ_REDIS_NODE_NONE) {
        if (link->figures.servers == 0)
            return;
        pthread_mutex_lock(&redis->mutex);
        memcpy(link->figures.software, redis->figures.software, sizeof redis->figures.software);
        redis->figures = link->figures;
        pthread_mutex_unlock(&redis->mutex);
        return;
    }
    dj_redis_call_init(&link->measure, link, on_measured);
    link->measure.is_inner = true;
    link->measure.node = node;
    link->measure.link = link;
    dj_redis_command(&link->measure.bytes, 1);
    dj_redis_argument_text(&link->measure.bytes, "INFO");
    if (link->measure.bytes.status == DEJA_OK &&
        dj_redis_send_to(link, node, &link->measure) == DEJA_OK)
        link->is_measuring = true;
    else
        dj_buf_fini(&link->measure.bytes);
}

void dj_redis_measure(struct dj_redis_link *link, uint64_t now_us)
{
    /* One loop speaks for all. */
    uint32_t nobody = 0;
    uint32_t mine = dj_loop_index(link->loop) + 1;
    if (!atomic_compare_exchange_strong(&link->redis->measurer, &nobody, mine) && nobody != mine)
        return;
    if (link->is_measuring || (link->measured_us && now_us < link->measured_us + MEASURE_EVERY_US))
        return;
    link->measured_us = now_us;
    link->measure_node = 0;
    link->figures = (struct dj_redis_figures){.keys = 0};
    measure_next(link);
}
