/* daemon/tier_redis.c - the tier of Valkey or Redis as the settings say, and the shared secret.
 *
 * Programs that share the tier must name tenants and entries alike, so the first one publishes its
 * secret there and the others take it over, and keep it for a start at which the tier is down. A
 * start waits at most START_TIMEOUT_MS for that and never fails because the tier is down (I4): with
 * another secret there are only misses, and health and the log say so.
 */
#include "daemon/tier_redis.h"

#include <stdio.h>

#include "daemon/daemon_internal.h"
#include "proto/json.h"
#include "security/secret.h"

#define START_TIMEOUT_MS 3000u

struct dj_redis_options dj_tier_redis_options(const struct dj_settings *settings)
{
    const struct dj_settings_redis *redis = &settings->redis;
    return (struct dj_redis_options){
        .mode = redis->mode,
        .addresses = redis->addresses,
        .address_count = redis->address_count,
        .master_name = redis->master_name,
        .user = redis->user,
        .password = redis->password,
        .sentinel_user = redis->sentinel_user,
        .sentinel_password = redis->sentinel_password,
        .db = redis->db,
        .prefix = redis->prefix,
        .packing = dj_settings_packing(&settings->compression),
        .is_tls = redis->is_tls,
        .ca_file = redis->ca_file,
        .cert_file = redis->cert_file,
        .key_file = redis->key_file,
        .server_name = redis->server_name,
        .is_scriptless = redis->scripts == DJ_REDIS_SCRIPTS_OFF,
        .loop_count = settings->server.loops < DJ_LOOPS_MAX ? settings->server.loops : DJ_LOOPS_MAX,
        .connections_max = redis->connections_max,
        .idle_min = redis->idle_min,
        .dial_ms = (uint32_t)redis->dial_ms,
        .read_ms = (uint32_t)redis->read_ms,
        .write_ms = (uint32_t)redis->write_ms,
        .idle_ms = (uint32_t)redis->idle_ms,
        .ttl_ms = redis->ttl_ms,
        .tombstone_ms = (uint32_t)redis->tombstone_ms,
        .queue_max = redis->queue_max,
        .record_bytes_max = redis->record_bytes_max,
    };
}

static void warn(const struct dj_daemon *daemon, const char *what, const char *reason,
                 const char *cure)
{
    const struct dj_log_field fields[] = {DJ_LOG_TEXT("tier", "redis"),
                                          DJ_LOG_TEXT("reason", reason),
                                          DJ_LOG_TEXT("cure", cure),
                                          {.name = NULL}};
    dj_log_write(daemon->log, DJ_LOG_WARN, what, fields);
}

static void look(struct dj_daemon *daemon, const struct dj_redis_options *options)
{
    struct deja_error error = {.message = ""};
    if (dj_redis_look(options, START_TIMEOUT_MS, &daemon->redis_security, &error) == DEJA_OK)
        daemon->is_redis_seen = true;
}

/* false: the tier cannot be reached. */
static bool adopt_secret(struct dj_daemon *daemon, const struct dj_redis_options *options)
{
    struct dj_secret shared;
    struct deja_error error = {.message = ""};
    uint8_t *mine = daemon->secret.bytes;
    enum deja_status status =
        dj_redis_adopt_secret(options, START_TIMEOUT_MS, mine, shared.bytes, &error);
    if (status != DEJA_OK) {
        warn(daemon, "the shared tier cannot be used yet; it is tried again", error.message,
             "deja doctor looks closer");
        return false;
    }
    if (!dj_is_equal_constant_time(mine, shared.bytes, sizeof shared.bytes)) {
        if (daemon->settings->secret) {
            warn(daemon, "entries of other programs in the shared tier are not found",
                 "security.secret is not the secret that the tier's programs share",
                 "take security.secret out, or use a l2.redis.prefix of its own");
        } else {
            memcpy(mine, shared.bytes, sizeof shared.bytes);
            if (dj_secret_keep(daemon->settings->data_dir, &shared, &error) != DEJA_OK)
                warn(daemon, "the shared secret is not kept for the next start", error.message,
                     "see that the data directory can be written");
        }
    }
    dj_secret_fini(&shared);
    return true;
}

static void write_security(struct dj_json_writer *w, const struct dj_redis_security *security)
{
    dj_json_key(w, "security");
    dj_json_begin_object(w);
    dj_json_member_bool(w, "tls", security->is_tls);
    dj_json_member_bool(w, "client_certificate", security->has_certificate);
    dj_json_member_bool(w, "authenticated", security->is_authenticated);
    dj_json_member_text(w, "user", security->user);
    dj_json_key(w, "recommendations");
    dj_json_begin_array(w);
    for (size_t i = 0; i < security->advice_count; i++)
        dj_json_put_text(w, security->advice[i].cure);
    dj_json_end_array(w);
    dj_json_end_object(w);
}

/* As LiteLLM tells it, and in it what Redis' INFO does by its names; of all masters together. Who
 * is connected is not asked for. */
static void write_info(struct dj_json_writer *w, const struct dj_redis_figures *figures)
{
    const char *version = strchr(figures->software, ' ');
    dj_json_key(w, "num_clients");
    dj_json_put_i64(w, figures->servers ? (int64_t)figures->clients : -1);
    dj_json_key(w, "clients");
    dj_json_put_raw(w, deja_slice_text("[]"));
    dj_json_key(w, "info");
    dj_json_begin_object(w);
    if (version) {
        char name[sizeof figures->software + sizeof "_version"];
        int len = (int)(version - figures->software);
        (void)snprintf(name, sizeof name, "%.*s_version", len, figures->software);
        dj_json_member_text(w, name, version + 1);
    }
    dj_json_member_u64(w, "servers", figures->servers);
    if (figures->servers) {
        dj_json_member_u64(w, "keys", figures->keys);
        dj_json_member_u64(w, "connected_clients", figures->clients);
        dj_json_member_u64(w, "used_memory", figures->memory_bytes);
        dj_json_member_u64(w, "maxmemory", figures->memory_bytes_max);
        dj_json_member_u64(w, "evicted_keys", figures->evictions);
        dj_json_member_u64(w, "expired_keys", figures->expired);
    }
    dj_json_end_object(w);
}

void dj_tier_describe_redis(void *ctx, const char *component, struct dj_json_writer *w)
{
    const struct dj_daemon *daemon = ctx;
    struct dj_redis_figures figures;
    struct deja_error trouble;
    bool is_info = strcmp(component, "redis/info") == 0;
    if (!daemon->redis || (!is_info && strcmp(component, "redis") != 0))
        return;
    dj_redis_figures(daemon->redis, &figures);
    if (is_info) {
        write_info(w, &figures);
        return;
    }
    dj_redis_trouble(daemon->redis, &trouble);
    dj_json_member_text(w, "server", figures.software);
    dj_json_member_u64(w, "servers", figures.servers);
    dj_json_member_u64(w, "keys", figures.keys);
    dj_json_member_u64(w, "memory_bytes", figures.memory_bytes);
    dj_json_member_u64(w, "memory_bytes_max", figures.memory_bytes_max);
    if (trouble.message[0])
        dj_json_member_text(w, "trouble", trouble.message);
    if (daemon->is_redis_seen)
        write_security(w, &daemon->redis_security);
}

enum deja_status dj_tier_open_redis(struct dj_daemon *daemon, struct dj_store **out_store,
                                    struct deja_error *error)
{
    struct dj_redis_options options = dj_tier_redis_options(daemon->settings);
    struct dj_store *store = NULL;
    if (options.address_count > 0) {
        enum deja_status status = dj_redis_open(&options, &store, error);
        if (status != DEJA_OK)
            return status;
        if (adopt_secret(daemon, &options))
            look(daemon, &options);
        daemon->redis = store;
    }
    *out_store = store;
    return DEJA_OK;
}
