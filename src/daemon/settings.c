/* daemon/settings.c - the option table, and how it is filled. See settings.h.
 *
 * Rows of one section stand together: the documents are written in this order.
 */
#include "daemon/settings.h"

#include <assert.h>
#include <unistd.h>

#include "base/alloc.h"
#include "config/expand.h"
#include "daemon/settings_internal.h"

#define SYSTEM_CONFIG "/etc/deja/deja.yaml"
#define AT(member) .offset = offsetof(struct dj_settings, member)
#define RELOADS .is_reloadable = true
#define DAY_MS 86400000.0
#define GB 1073741824.0

static_assert(sizeof(enum dj_durability) == sizeof(int) &&
                  sizeof(enum dj_evict_strategy) == sizeof(int),
              "choices are stored as int");

/* clang-format off: a table is read by its columns */
static const struct dj_option table[] = {
    {"server.listen", DJ_OPTION_LIST, "127.0.0.1:7070", AT(server.listen_texts), .flag = "--listen",
     .help = "Addresses to listen on, as host:port; port 0 takes a free one."},
    {"server.loops", DJ_OPTION_INT, "0", 0, 256, AT(server.loops),
     .help = "Event loop threads; 0 takes half of the cores."},
    {"server.workers", DJ_OPTION_INT, "0", 0, 256, AT(server.workers),
     .help = "Worker threads for embedding and disk reads; 0 takes half of the cores."},
    {"server.allowed_hosts", DJ_OPTION_LIST, "", AT(server.allowed_hosts), RELOADS,
     .help = "Names accepted in the Host header beside the loopback names."},
    {"server.allowed_origins", DJ_OPTION_LIST, "", AT(server.allowed_origins), RELOADS,
     .help = "Origins of web pages that may call, as https://host; others get 403."},
    {"server.insecure", DJ_OPTION_BOOL, "false", AT(server.is_insecure), .flag = "--insecure",
     .help = "Accepts a public address without API keys and TLS."},
    {"server.max_header_bytes", DJ_OPTION_SIZE, "64kb", 1024, 1048576, AT(server.header_bytes_max),
     .help = "Largest head of a request."},
    {"server.max_headers", DJ_OPTION_INT, "100", 8, 1000, AT(server.headers_max),
     .help = "Most header lines of a request."},
    {"server.max_body_bytes", DJ_OPTION_SIZE, "32mb", 1024, GB, AT(server.body_bytes_max),
     .help = "Largest body of a request."},
    {"server.max_in_flight_bytes", DJ_OPTION_SIZE, "256mb", 65536, 64 * GB,
     AT(server.bytes_in_flight_max), .help = "Bytes of all running requests; beyond: 503."},
    {"server.max_connections", DJ_OPTION_INT, "10000", 1, 1000000, AT(server.connections_max),
     .help = "Open client connections; beyond, the one that has waited longest for its request is "
             "closed."},
    {"server.max_connections_per_address", DJ_OPTION_INT, "0", 0, 1000000,
     AT(server.address_connections_max),
     .help = "Open connections of one client address (IPv6: of its /64); 0 takes half of "
             "max_connections, and no cap for this machine's own."},
    {"server.header_timeout", DJ_OPTION_DURATION, "10s", 100, 600000, AT(server.header_timeout_ms),
     .help = "Time for the head of a request, from its first byte."},
    {"server.idle_timeout", DJ_OPTION_DURATION, "75s", 100, DAY_MS, AT(server.idle_timeout_ms),
     .help = "Time a connection may wait between requests."},
    {"server.min_body_rate", DJ_OPTION_SIZE, "1kb", 0, GB, AT(server.body_bytes_per_s_min),
     .help = "Bytes a second a body must arrive with, after 5 seconds."},
    {"server.write_timeout", DJ_OPTION_DURATION, "30s", 100, DAY_MS, AT(server.write_timeout_ms),
     .help = "Time a client may take without reading anything."},
    {"server.drain_timeout", DJ_OPTION_DURATION, "30s", 0, DAY_MS, AT(server.drain_timeout_ms),
     RELOADS, .help = "Time for running requests at shutdown."},
    {"server.drain_delay", DJ_OPTION_DURATION, "0ms", 0, DAY_MS, AT(server.drain_delay_ms), RELOADS,
     .help = "Time between /readyz answering 503 and the end of listening, for balancers "
             "that have to notice."},
    {"server.user", DJ_OPTION_TEXT, "", AT(process.user),
     .help = "User to become once the sockets are open, where the daemon was started as root (for "
             "ports below 1024); its files should be that user's."},
    {"server.core_dumps", DJ_OPTION_BOOL, "false", AT(process.has_core_dumps),
     .help = "Lets a crash write memory, with prompts and keys in it, to disk, and a debugger "
             "attach."},
#include "daemon/settings_network.def"
    {"data.dir", DJ_OPTION_TEXT, "", AT(data_dir), .flag = "--data", .env_names = "DEJA_DATA",
     .help = "Data directory; empty: $XDG_DATA_HOME/deja, ~/.local/share/deja, or /var/lib/deja "
             "for root."},
    {"upstream.url", DJ_OPTION_TEXT, "https://api.openai.com", AT(upstream.url),
     .flag = "--upstream", .help = "Where misses go; with or without a trailing /v1."},
    {"upstream.anthropic.url", DJ_OPTION_TEXT, "", AT(upstream.anthropic_url),
     .help = "Where misses of /v1/messages go, and what else is sent with anthropic-version; "
             "empty: https://api.anthropic.com where upstream.url is api.openai.com, which knows "
             "no such path, else upstream.url."},
    {"upstream.ca_file", DJ_OPTION_TEXT, "", AT(upstream.ca_file),
     .help = "Certificates to trust instead of the system's."},
    {"upstream.connect_timeout", DJ_OPTION_DURATION, "5s", 10, DAY_MS,
     AT(upstream.connect_timeout_ms), .help = "Time to connect, TLS included."},
    {"upstream.first_byte_timeout", DJ_OPTION_DURATION, "60s", 10, DAY_MS,
     AT(upstream.first_byte_timeout_ms), .help = "Time to the first byte of the answer."},
    {"upstream.total_timeout", DJ_OPTION_DURATION, "600s", 10, DAY_MS,
     AT(upstream.total_timeout_ms), .help = "Time for a whole answer."},
    {"upstream.idle_timeout", DJ_OPTION_DURATION, "60s", 10, DAY_MS, AT(upstream.idle_timeout_ms),
     .help = "Time without a byte within an answer."},
    {"upstream.max_connections", DJ_OPTION_INT, "256", 1, 65535, AT(upstream.connections_max),
     .help = "Open connections to the upstream."},
    {"upstream.respect_cache_control", DJ_OPTION_BOOL, "false", AT(upstream.respect_cache_control),
     .help = "Obeys Cache-Control of the upstream's answers; AI services always say no-cache."},
    {"upstream.allowed_addresses", DJ_OPTION_LIST, "", AT(upstream_allowed_texts),
     .help = "Addresses that are not public and still may be an upstream named through the API, as "
             "ADDRESS, ADDRESS:PORT or ADDRESS/PREFIX; upstream.url itself needs none."},
    {"l1.enabled", DJ_OPTION_BOOL, "true", AT(l1.is_enabled), .env_names = "CACHE_L1_ENABLED",
     .help = "The memory tier."},
    {"l1.max_size", DJ_OPTION_INT, "10000", 1, 100000000, AT(l1.entries_max),
     .env_names = "CACHE_L1_MAX_SIZE CACHE_MEMORY_SIZE", .old_names = "memory_cache_size",
     .help = "Entries in memory."},
    {"l1.max_bytes", DJ_OPTION_SIZE, "100mb", 1048576, 1024 * GB, AT(l1.bytes_max),
     .help = "Bytes in memory."},
    {"l1.default_ttl", DJ_OPTION_DURATION, "5m", 1000, 365 * DAY_MS, AT(l1.default_ttl_ms),
     .env_names = "CACHE_L1_DEFAULT_TTL",
     .help =
         "Longest stay in memory beside a shared tier: so long memory answers while that tier does "
         "not. Without one, entries stay until they end."},
    {"l1.lease", DJ_OPTION_DURATION, "5s", 1, DAY_MS, AT(l1.lease_ms),
     .help =
         "So long memory answers without asking again, beside a shared tier that answers: how late "
         "what another program removed or put anew may be seen here."},
    {"tenant.max_entries", DJ_OPTION_INT, "1000", 1, 100000000, AT(tenant.entries_max),
     .help = "A tenant's fair share of the memory tier once it is full."},
    {"tenant.max_derived", DJ_OPTION_INT, "10000", 1, 1000000, AT(tenant.derived_max),
     .help = "Tenants made from upstream credentials."},
    {"tenant.derived", DJ_OPTION_ENUM, "auto", .choices = "auto|true|false", AT(tenant.derived),
     .help = "Whether an upstream credential that nobody configured is a tenant of its own: auto "
             "until a tenant is configured, and never on an address that other machines reach "
             "(but with server.insecure)."},
    {"lmdb.enabled", DJ_OPTION_BOOL, "true", AT(lmdb.is_enabled),
     .help = "The embedded tier on disk; survives a restart. Beside a shared tier it is off unless "
             "this is said, and then begins anew at each start."},
    {"lmdb.max_bytes", DJ_OPTION_SIZE, "0", 0, 65536 * GB, AT(lmdb.bytes_max),
     .help = "Bytes on disk; 0 takes 10 GB or a fifth of the disk, whichever is less."},
    {"lmdb.max_queue", DJ_OPTION_INT, "65536", 16, 10000000, AT(lmdb.queue_max),
     .help = "Writes that may wait for the disk."},
#include "daemon/settings_redis.def"
#include "daemon/settings_postgres.def"
#include "daemon/settings_s3.def"
#include "daemon/settings_limits.def"
#include "daemon/settings_guard.def"
#include "daemon/settings_upkeep.def"
#include "daemon/settings_kv.def"
#include "daemon/settings_notices.def"
#include "daemon/settings_audit.def"
#include "daemon/settings_compression.def"
#include "daemon/settings_encryption.def"
#include "daemon/settings_backup.def"
#include "daemon/settings_warmup.def"
#include "daemon/settings_resp.def"
    {"store.durability", DJ_OPTION_ENUM, "everysec", .choices = "os|everysec|always",
     AT(durability), .help = "When a write is confirmed: written, synced each second, or synced."},
    {"semantic.enabled", DJ_OPTION_BOOL, "true", AT(semantic.is_enabled),
     .help = "Finds answers by meaning; off: exact and normalised only."},
    {"semantic.threshold", DJ_OPTION_DOUBLE, "0", 0, 1, AT(semantic.threshold), RELOADS,
     .help = "Similarity at which the proxy may reuse an answer; 0 takes the one shipped for the "
             "embedder."},
    {"semantic.api_threshold", DJ_OPTION_DOUBLE, "0.95", 0, 1, AT(semantic.api_threshold), RELOADS,
     .old_names = "semantic.similarity_threshold similarity_threshold",
     .help = "Similarity for the cache API where a call names none."},
    {"semantic.embedder", DJ_OPTION_ENUM, "auto", .choices = "auto|transformer|lexical|http",
     AT(semantic.embedder),
     .help = "auto takes the transformer when its model is there; http asks "
             "semantic.http.url."},
    {"semantic.model", DJ_OPTION_TEXT, "all-minilm-l6-v2", AT(semantic.model),
     .help = "Model of the transformer."},
    {"semantic.model_dir", DJ_OPTION_TEXT, "", AT(semantic.model_dir),
     .help = "Folder with the model's files; empty: models/MODEL in the data directory."},
    {"semantic.candidates", DJ_OPTION_INT, "4", 1, 100, AT(semantic.candidates), RELOADS,
     .help = "Nearest neighbours that are judged."},
    {"semantic.max_vectors", DJ_OPTION_INT, "100000", 1, 10000000, AT(semantic.vectors_max),
     .help = "Vectors held in memory."},
#include "daemon/settings_embedder.def"
    {"ttl.response", DJ_OPTION_DURATION, "24h", 1000, 3650 * DAY_MS, AT(ttl.response_ms), RELOADS,
     .help = "Life of an answer."},
    {"ttl.embedding", DJ_OPTION_DURATION, "24h", 1000, 3650 * DAY_MS, AT(ttl.embedding_ms), RELOADS,
     .help = "Life of an embedding."},
    {"ttl.refusal", DJ_OPTION_DURATION, "10m", 0, 3650 * DAY_MS, AT(ttl.refusal_ms), RELOADS,
     .help = "Life of an answer that is a refusal; 0: not stored."},
    {"ttl.api", DJ_OPTION_DURATION, "24h", 1000, 3650 * DAY_MS, AT(ttl.api_ms), RELOADS,
     .env_names = "CACHE_DEFAULT_TTL", .old_names = "default_ttl semantic.ttl",
     .help = "Life of an entry put through the cache API without a ttl."},
    {"ttl.max", DJ_OPTION_DURATION, "365d", 1000, 3650 * DAY_MS, AT(ttl.max_ms), RELOADS,
     .help = "Longest life that anybody may ask for."},
    {"ttl.jitter", DJ_OPTION_DOUBLE, "0.1", 0, 0.5, AT(ttl.jitter), RELOADS,
     .help = "Part of a life that is taken off at random, so that entries do not end together."},
    {"ttl.stale_while_revalidate", DJ_OPTION_DURATION, "0s", 0, 365 * DAY_MS,
     AT(ttl.stale_revalidate_ms), RELOADS,
     .help = "Time after its end in which a proxied answer is served at once while a new one is "
             "made behind it; 0: never."},
    {"ttl.stale_if_error", DJ_OPTION_DURATION, "0s", 0, 365 * DAY_MS, AT(ttl.stale_error_ms),
     RELOADS,
     .help = "Time after its end in which a proxied answer is served when the upstream fails; "
             "0: never."},
    {"ttl.negative", DJ_OPTION_DURATION, "0s", 0, DAY_MS, AT(ttl.negative_ms), RELOADS,
     .help = "Life of a refusal that speaks of the request itself (400, 404, 405, 410, 413, 414, "
             "415, 422); 0: not stored."},
    {"ttl.small_text", DJ_OPTION_DURATION, "0s", 0, 3650 * DAY_MS, AT(ttl.small_ms), RELOADS,
     .help = "Life of what answers a small text (the question, the query), in the place of "
             "ttl.response and ttl.api; 0: no difference."},
    {"ttl.medium_text", DJ_OPTION_DURATION, "0s", 0, 3650 * DAY_MS, AT(ttl.medium_ms), RELOADS,
     .help = "The same of a medium text."},
    {"ttl.large_text", DJ_OPTION_DURATION, "0s", 0, 3650 * DAY_MS, AT(ttl.large_ms), RELOADS,
     .help = "The same of a large one: all that are longer."},
    {"ttl.small_text_max", DJ_OPTION_INT, "1000", 1, 100000000, AT(ttl.small_max), RELOADS,
     .help = "Characters of the longest small text."},
    {"ttl.medium_text_max", DJ_OPTION_INT, "10000", 1, 100000000, AT(ttl.medium_max), RELOADS,
     .help = "Characters of the longest medium text. The cache API takes longer texts than 1000 "
             "where validation.query_max_chars says so."},
#include "daemon/settings_rules.def"
    {"proxy.usage_on_hit", DJ_OPTION_ENUM, "original", .choices = "original|zero",
     AT(proxy.usage_on_hit), RELOADS, .help = "Token usage shown in an answer from the cache."},
    {"proxy.id_on_hit", DJ_OPTION_ENUM, "original", .choices = "original|new", AT(proxy.id_on_hit),
     RELOADS, .help = "The id field of an answer from the cache."},
    {"proxy.replay", DJ_OPTION_ENUM, "instant", .choices = "instant", AT(proxy.replay), RELOADS,
     .help = "Speed at which a stored answer is streamed."},
    {"proxy.max_record_bytes", DJ_OPTION_SIZE, "8mb", 1024, GB, AT(proxy.record_bytes_max),
     .help = "Largest answer that is stored."},
    {"proxy.max_followers", DJ_OPTION_INT, "10000", 0, 1000000, AT(proxy.followers_max),
     .help = "Requests that may wait for one running upstream call."},
    {"proxy.compat", DJ_OPTION_LIST, "",
     .choices = "portkey|cloudflare|helicone|litellm|bifrost|apisix|openrouter|kong|vsr",
     AT(compat_texts), RELOADS,
     .help = "Families whose answer headers are always sent, not only to their own clients."},
    {"proxy.cache_tool_calls", DJ_OPTION_BOOL, "false", AT(proxy.cache_tool_calls), RELOADS,
     .help = "Stores answers that call tools."},
    {"proxy.responses.store_policy", DJ_OPTION_ENUM, "bypass", .choices = "bypass|keep",
     AT(proxy.store_policy), RELOADS,
     .help = "Answers of /v1/responses that the upstream stores (store is not false), whose ids "
             "clients may ask it for: not cached, or cached like all others."},
    {"proxy.early_refresh", DJ_OPTION_BOOL, "true", AT(proxy.early_refresh), RELOADS,
     .help = "Makes an answer that is still asked for anew shortly before its end, so that nobody "
             "waits for it."},
    {"proxy.max_refreshes", DJ_OPTION_INT, "32", 0, 1024, AT(proxy.refreshes_max), RELOADS,
     .help = "Answers made anew behind the scenes at the same time; 0: none."},
    {"proxy.max_stores", DJ_OPTION_INT, "16384", 1, 1000000, AT(proxy.stores_max), RELOADS,
     .help = "Answers on their way into the tiers behind their clients; beyond, into memory only."},
    {"proxy.max_store_bytes", DJ_OPTION_SIZE, "128mb", 65536, 64 * GB, AT(proxy.store_bytes_max),
     RELOADS, .help = "Bytes of these."},
    {"proxy.peer_wait", DJ_OPTION_DURATION, "30s", 0, DAY_MS, AT(proxy.peer_wait_ms), RELOADS,
     .help = "Time to wait for another program of the shared tier that makes the same answer; "
             "0: everybody asks upstream."},
    {"langcache.similarity_scale", DJ_OPTION_ENUM, "normalized", .choices = "normalized|cosine",
     AT(langcache_scale), RELOADS,
     .help = "Similarities and thresholds of the LangCache API: (1 + cosine) / 2, or the cosine."},
    {"scope.fold", DJ_OPTION_LIST, "", .choices = "time|uuid|request_id|date", AT(scope_fold_texts),
     .help = "Volatile words of system prompts that do not part scopes."},
    {"validation.query_max_chars", DJ_OPTION_INT, "1000", 1, 1000000, AT(query_chars_max), RELOADS,
     .help = "Longest query of the cache API."},
    {"log.level", DJ_OPTION_ENUM, "info", .choices = "debug|info|warn|error", AT(log.level),
     RELOADS, .help = "Least severe lines that are written."},
    {"log.format", DJ_OPTION_ENUM, "auto", .choices = "auto|json|pretty", AT(log.format),
     .help = "auto is pretty on a terminal and JSON elsewhere."},
    {"log.content", DJ_OPTION_ENUM, "off", .choices = "off|hash|full", AT(log.content),
     .help = "What a request's line tells of its texts: nothing; their lengths and 8 digits of a "
             "keyed hash; or their beginning too, redacted. A tenant may have its own choice."},
    {"monitoring.slow_operation", DJ_OPTION_DURATION, "100ms", 1, DAY_MS, AT(slow_operation_ms),
     RELOADS, .help = "Operations that take longer are logged and counted."},
    {"monitoring.snapshot", DJ_OPTION_DURATION, "30s", 10, DAY_MS, AT(snapshot_ms), RELOADS,
     .help = "Time between two lines of figures in the log, at level debug."},
    {"security.secret", DJ_OPTION_SECRET, "", AT(secret),
     .help = "The deployment's secret, 64 hex digits; empty: made at the first start and kept in "
             "the data directory."},
    {"security.admin_token", DJ_OPTION_SECRET, "", AT(security.admin_token),
     .help = "The admin token, 32 to 256 visible characters; empty: a new one at each start, "
             "printed there."},
#include "daemon/settings_sensitive.def"
};
/* clang-format on */
#define TABLE_COUNT (sizeof table / sizeof *table)

/* performance.profile; balanced is the defaults. docs/operations.md shows it as a table. */
#define PROFILE "performance.profile"
static const struct dj_preset presets[] = {
    {"performance.tracker_size", "low-latency", "1000"},
    {"performance.tracker_batch", "low-latency", "10"},
    {"performance.tracker_flush", "low-latency", "10ms"},
    {"performance.get_timeout", "low-latency", "500ms"},
    {"performance.set_timeout", "low-latency", "1s"},
    {"performance.recovery_probe", "low-latency", "5s"},
    {"circuit_breaker.failure_ratio", "low-latency", "0.5"},
    {"circuit_breaker.min_requests", "low-latency", "20"},
    {"circuit_breaker.timeout", "low-latency", "5s"},
    {"circuit_breaker.max_timeout", "low-latency", "60s"},
    {"circuit_breaker.growth", "low-latency", "2"},
    {"circuit_breaker.jitter", "low-latency", "0.1"},
    {"circuit_breaker.half_open_first", "low-latency", "1"},
    {"circuit_breaker.half_open_requests", "low-latency", "3"},
    {"retry.max_attempts", "low-latency", "2"},
    {"performance.tracker_size", "high-throughput", "100000"},
    {"performance.tracker_batch", "high-throughput", "1000"},
    {"performance.tracker_flush", "high-throughput", "500ms"},
    {"performance.get_timeout", "high-throughput", "5s"},
    {"performance.set_timeout", "high-throughput", "10s"},
};

/* Named in the documents, part of later versions: refused rather than ignored, since somebody who
 * asks for encryption must not believe to have it. `enabled: false` is fine. */
#define NOT_YET "not part of this version; remove it or say enabled: false"
static const struct dj_reserved reserved[] = {
    {"monitoring", NOT_YET},
};
const struct dj_option *dj_settings_table(size_t *out_count)
{
    *out_count = TABLE_COUNT;
    return table;
}

/* *out_config stays NULL when there is no file to read. */
static enum deja_status read_config(const struct dj_settings_source *source,
                                    struct dj_diagnostics *diagnostics,
                                    struct dj_config **out_config)
{
    const char *path = source->config_path;
    if (!path)
        path = dj_environment_find(source->environment, deja_slice_text("DEJA_CONFIG"));
    if (!path || !*path)
        path = access(SYSTEM_CONFIG, F_OK) == 0 ? SYSTEM_CONFIG : NULL;
    return path ? dj_config_read(path, diagnostics, out_config) : DEJA_OK;
}

enum deja_status dj_settings_load(const struct dj_settings_source *source,
                                  struct dj_diagnostics *diagnostics,
                                  struct dj_settings *out_settings, struct dj_options **out_options)
{
    size_t faults = diagnostics->error_count;
    struct dj_config *config = NULL;
    struct dj_options *options = NULL;
    struct dj_settings settings = {.data_dir = NULL};
    struct dj_settings_kinds kinds = {.count = 0};
    enum deja_status status = read_config(source, diagnostics, &config);
    if (status != DEJA_OK)
        goto done;
    struct dj_options_input input = {.table = table,
                                     .count = TABLE_COUNT,
                                     .profile = PROFILE,
                                     .presets = presets,
                                     .preset_count = sizeof presets / sizeof *presets,
                                     .reserved = reserved,
                                     .reserved_count = sizeof reserved / sizeof *reserved,
                                     .other = dj_settings_kinds_take,
                                     .other_ctx = &kinds,
                                     .file = config,
                                     .environment = source->environment,
                                     .flags = source->flags,
                                     .flag_count = source->flag_count};
    status = dj_options_resolve(&input, diagnostics, &options);
    if (status == DEJA_OK)
        status = dj_options_fill(options, &settings);
    /* Also after faults elsewhere: all are told at once. */
    if (status != DEJA_ERR_NOMEM) {
        enum deja_status made = dj_settings_kinds_make(&kinds, diagnostics, &settings.kinds);
        status = status == DEJA_OK ? made : status;
    }
    if (status == DEJA_OK)
        status = dj_settings_work_out(
            &(struct dj_settings_checker){options, source->environment, diagnostics, &settings});
    if (status == DEJA_OK && diagnostics->error_count > faults)
        status = DEJA_ERR_CONFIG;
done:
    dj_config_destroy(config);
    dj_settings_kinds_fini(&kinds);
    if (status != DEJA_OK) {
        dj_settings_fini(&settings);
        dj_options_destroy(options);
        return status;
    }
    *out_settings = settings;
    if (out_options)
        *out_options = options;
    else
        dj_options_destroy(options);
    return DEJA_OK;
}

void dj_settings_fini(struct dj_settings *settings)
{
    dj_settings_fini_network(settings);
    dj_kinds_destroy(settings->kinds);
    dj_options_release(table, TABLE_COUNT, settings);
    *settings = (struct dj_settings){.data_dir = NULL};
}

size_t dj_settings_not_reloadable(const struct dj_options *running, const struct dj_options *loaded,
                                  struct dj_buf *out_names)
{
    size_t count = 0;
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (table[i].is_reloadable || dj_options_is_equal(running, loaded, i))
            continue;
        dj_buf_append_format(out_names, "%s\n", table[i].name);
        count++;
    }
    return count;
}
