/* api/resp_info.c - what clients ask about the server: INFO, CONFIG.
 *
 * How many keys there are is a walk over all of them. Many clients ask for INFO every few seconds,
 * so the walk is made where its section is asked for by name, and counts as a DBSIZE does.
 */
#include <stdio.h>
#include <unistd.h>

#include "api/resp_internal.h"
#include "base/num.h"
#include "policy/glob.h"
#include "proxy/telemetry.h"

/* ---- INFO ---- */

static void put_server(const struct dj_resp_client *client, struct dj_buf *text)
{
    const struct dj_resp_api *api = client->api;
    char run_id[2 * sizeof api->run_id + 1];
    int64_t up_s = (dj_loop_now_ms(client->loop) - api->started_ms) / 1000;
    dj_hex_encode(api->run_id, sizeof api->run_id, run_id);
    dj_buf_append_format(text,
                         "# Server\r\nredis_version:" DJ_RESP_REDIS_VERSION
                         "\r\nserver_name:deja\r\ndeja_version:" DEJA_VERSION
                         "\r\nredis_mode:standalone\r\nos:Linux\r\narch_bits:%u\r\n"
                         "process_id:%ld\r\nrun_id:%s\r\ntcp_port:%u\r\nuptime_in_seconds:%lld\r\n"
                         "uptime_in_days:%lld\r\n\r\n",
                         (unsigned)sizeof(void *) * 8, (long)getpid(), run_id, api->port,
                         (long long)up_s, (long long)(up_s / 86400));
}

static void put_clients(const struct dj_resp_client *client, struct dj_buf *text)
{
    const struct dj_resp_counters *counters = client->api->counters;
    dj_buf_append_format(text, "# Clients\r\nconnected_clients:%llu\r\nblocked_clients:0\r\n\r\n",
                         (unsigned long long)atomic_load(&counters->open));
}

/* Of the asking tenant; the memory is everybody's. */
static void put_memory(const struct dj_resp_client *client, struct dj_buf *text)
{
    struct dj_engine_stats stats;
    dj_engine_stats(client->api->proxy->engine, client->who.tenant, &stats);
    dj_buf_append_format(text,
                         "# Memory\r\nused_memory:%llu\r\nused_memory_human:%.2fM\r\n"
                         "maxmemory:%llu\r\nmaxmemory_policy:%s\r\n\r\n",
                         (unsigned long long)stats.memory.bytes,
                         (double)stats.memory.bytes / 1048576.0,
                         (unsigned long long)stats.memory.bytes_max, client->api->eviction);
}

static void put_persistence(const struct dj_resp_client *client, struct dj_buf *text)
{
    (void)client;
    dj_buf_append_text(text, "# Persistence\r\nloading:0\r\nasync_loading:0\r\n"
                             "rdb_bgsave_in_progress:0\r\naof_enabled:0\r\n\r\n");
}

/* Hits, misses and what left memory are the asking tenant's; of all it is how much, never whose. */
static void put_stats(const struct dj_resp_client *client, struct dj_buf *text)
{
    const struct dj_resp_api *api = client->api;
    const struct dj_resp_counters *counters = api->counters;
    struct dj_plain_stats stats;
    struct dj_level_figures levels[DJ_TELEMETRY_LEVELS];
    dj_plain_stats(api->plain, client->who.tenant, &stats);
    dj_telemetry_levels(api->proxy->telemetry, api->proxy->engine, client->who.tenant, levels);
    uint64_t hits = 0;
    for (size_t i = 0; i < DJ_LEVEL_COUNT; i++)
        hits += stats.hits[i];
    dj_buf_append_format(
        text,
        "# Stats\r\ntotal_connections_received:%llu\r\ntotal_commands_processed:%llu\r\n"
        "total_net_input_bytes:%llu\r\ntotal_net_output_bytes:%llu\r\n"
        "rejected_connections:%llu\r\nexpired_keys:%llu\r\nevicted_keys:%llu\r\n"
        "keyspace_hits:%llu\r\nkeyspace_misses:%llu\r\n\r\n",
        (unsigned long long)atomic_load(&counters->connections),
        (unsigned long long)atomic_load(&api->commands),
        (unsigned long long)atomic_load(&counters->bytes_in),
        (unsigned long long)atomic_load(&counters->bytes_out),
        (unsigned long long)atomic_load(&counters->refused), (unsigned long long)levels[0].expired,
        (unsigned long long)levels[0].evictions, (unsigned long long)hits,
        (unsigned long long)stats.misses);
}

static void put_replication(const struct dj_resp_client *client, struct dj_buf *text)
{
    (void)client;
    dj_buf_append_text(text, "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n");
}

static void put_cluster(const struct dj_resp_client *client, struct dj_buf *text)
{
    (void)client;
    dj_buf_append_text(text, "# Cluster\r\ncluster_enabled:0\r\n\r\n");
}

static const struct {
    const char *name;
    void (*put)(const struct dj_resp_client *client, struct dj_buf *text);
} sections[] = {
    {"server", put_server},           {"clients", put_clients}, {"memory", put_memory},
    {"persistence", put_persistence}, {"stats", put_stats},     {"replication", put_replication},
    {"cluster", put_cluster},
};

static bool is_asked(const struct dj_resp_args *args, const char *section)
{
    bool is_asked = args->count == 1;
    for (size_t i = 1; i < args->count && !is_asked; i++) {
        struct deja_slice word = args->items[i];
        is_asked = dj_resp_is(word, section) || dj_resp_is(word, "all") ||
                   dj_resp_is(word, "default") || dj_resp_is(word, "everything");
    }
    return is_asked;
}

/* Of the database of SELECT; sum NULL: nobody counted. */
static void put_keyspace(const struct dj_resp_client *client, const struct dj_plain_sum *sum,
                         struct dj_buf *text)
{
    dj_buf_append_text(text, "# Keyspace\r\n");
    if (sum && sum->keys)
        dj_buf_append_format(text, "db%u:keys=%llu,expires=%llu,avg_ttl=0\r\n", client->database,
                             (unsigned long long)sum->keys, (unsigned long long)sum->ending);
}

static void put_sections(const struct dj_resp_client *client, const struct dj_resp_args *args,
                         const struct dj_plain_sum *sum, struct dj_buf *out)
{
    struct dj_buf text = {0};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (is_asked(args, sections[i].name))
            sections[i].put(client, &text);
    if (is_asked(args, "keyspace"))
        put_keyspace(client, sum, &text);
    if (text.status == DEJA_OK)
        dj_resp_put_verbatim(out, client->version, "txt", dj_buf_slice(&text));
    else
        dj_resp_put_failure(out, text.status);
    dj_buf_fini(&text);
}

static void on_counted(void *ctx, enum deja_status status, const struct dj_plain_sum *sum)
{
    struct dj_resp_client *client = ctx;
    struct dj_buf *out = dj_resp_reply_begin(client);
    if (status == DEJA_OK)
        put_sections(client, client->work, sum, out);
    else
        dj_resp_put_failure(out, status);
    dj_resp_reply_end(client);
}

static enum dj_resp_flow count(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    if (!dj_resp_admit(client, dj_resp_find_command(deja_slice_text("dbsize")), args, out))
        return DJ_RESP_ANSWERED;
    if (!dj_resp_hold(client, args, out))
        return DJ_RESP_ANSWERED;
    client->work = &client->held.args;
    return dj_resp_count(client, on_counted, out);
}

enum dj_resp_flow dj_resp_info(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    for (size_t i = 1; i < args->count; i++)
        if (dj_resp_is(args->items[i], "keyspace"))
            return count(client, args, out);
    put_sections(client, args, NULL, out);
    return DJ_RESP_ANSWERED;
}

/* ---- CONFIG ---- */

struct pair {
    const char *name;
    const char *value;
};

static void get_config(const struct dj_resp_client *client, const struct dj_resp_args *args,
                       struct dj_buf *out)
{
    struct dj_engine_stats stats;
    dj_engine_stats(client->api->proxy->engine, client->who.tenant, &stats);
    char bulk[DJ_NUM_U64_DIGITS_MAX + 1];
    char memory[DJ_NUM_U64_DIGITS_MAX + 1];
    memory[dj_num_write_u64(stats.memory.bytes_max, memory)] = '\0';
    bulk[dj_num_write_u64(client->api->bulk_bytes_max, bulk)] = '\0';
    const struct pair pairs[] = {
        {"appendfsync", "everysec"},
        {"appendonly", "no"},
        {"databases", "16"},
        {"lfu-log-factor", "10"},
        {"maxmemory", memory},
        {"maxmemory-policy", client->api->eviction},
        {"notify-keyspace-events", ""},
        {"proto-max-bulk-len", bulk},
        {"save", ""},
        {"timeout", "0"},
    };
    bool is_wanted[sizeof pairs / sizeof *pairs] = {false};
    size_t count = 0;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        for (size_t k = 2; k < args->count && !is_wanted[i]; k++)
            is_wanted[i] = args->items[k].len <= DJ_GLOB_PATTERN_BYTES_MAX &&
                           dj_glob_is_match(args->items[k], deja_slice_text(pairs[i].name));
        count += is_wanted[i];
    }
    dj_resp_put_map(out, client->version, count);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (!is_wanted[i])
            continue;
        dj_resp_put_text(out, pairs[i].name);
        dj_resp_put_text(out, pairs[i].value);
    }
}

enum dj_resp_flow dj_resp_config(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    if (args->count >= 3 && dj_resp_is(args->items[1], "get"))
        get_config(client, args, out);
    else
        dj_resp_put_error(out, "ERR CONFIG has GET here; settings are in deja.yaml (deja config)");
    return DJ_RESP_ANSWERED;
}
