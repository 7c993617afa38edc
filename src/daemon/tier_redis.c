/* daemon/tier_redis.c - the tier of Valkey or Redis as the settings say, and the shared secret.
 *
 * Programs that share the tier must name tenants and entries alike, so the first one publishes its
 * secret there and the others take it over, and keep it for a start at which the tier is down. A
 * start waits at most START_TIMEOUT_MS for that and never fails because the tier is down (I4): with
 * another secret there are only misses, and health and the log say so.
 */
#include "daemon/tier_redis.h"

#include "daemon/daemon_internal.h"
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
        .is_tls = redis->is_tls,
        .ca_file = redis->ca_file,
        .cert_file = redis->cert_file,
        .key_file = redis->key_file,
        .server_name = redis->server_name,
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
    const struct dj_log_field fields[] = {DJ_LOG_TEXT("level", "redis"),
                                          DJ_LOG_TEXT("reason", reason),
                                          DJ_LOG_TEXT("cure", cure),
                                          {.name = NULL}};
    dj_log_write(daemon->log, DJ_LOG_WARN, what, fields);
}

static void adopt_secret(struct dj_daemon *daemon, const struct dj_redis_options *options)
{
    struct dj_secret shared;
    struct deja_error error = {.message = ""};
    uint8_t *mine = daemon->secret.bytes;
    enum deja_status status =
        dj_redis_adopt_secret(options, START_TIMEOUT_MS, mine, shared.bytes, &error);
    if (status != DEJA_OK) {
        warn(daemon, "the shared tier cannot be used yet; it is tried again", error.message,
             "deja doctor looks closer");
        return;
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
        adopt_secret(daemon, &options);
    }
    *out_store = store;
    return DEJA_OK;
}
