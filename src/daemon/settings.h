/* daemon/settings.h - everything the daemon can be told, as one plain struct.
 *
 * The table in settings.c names each option, its default, bounds and help; docs/configuration.md is
 * written from it. Filled once at start and again at reload; rooms get what they need as arguments.
 *
 * Threads: immutable once loaded. Durations are milliseconds, sizes bytes. Texts are owned by the
 * struct; a text that was not given is NULL.
 */
#ifndef DJ_DAEMON_SETTINGS_H
#define DJ_DAEMON_SETTINGS_H

#include <deja/base.h>

#include "cache/key.h" /* dj_fold */
#include "config/diagnostics.h"
#include "config/options.h"
#include "daemon/settings_audit.h"
#include "daemon/settings_encryption.h"
#include "daemon/settings_network.h"
#include "daemon/settings_resp.h"
#include "daemon/settings_notices.h"
#include "daemon/settings_tiers.h"
#include "daemon/settings_warmup.h"
#include "daemon/settings_kinds.h"
#include "obs/log.h" /* dj_log_level, dj_log_format */
#include "security/address_guard.h"
#include "security/rules.h"
#include "store/lmdb.h" /* dj_durability */

/* In the order of the option's choices. */
enum dj_embedder_choice {
    DJ_EMBEDDER_AUTO,
    DJ_EMBEDDER_TRANSFORMER,
    DJ_EMBEDDER_LEXICAL,
    DJ_EMBEDDER_HTTP
};
enum dj_usage_on_hit { DJ_USAGE_ORIGINAL, DJ_USAGE_ZERO };
enum dj_similarity_scale { DJ_SCALE_NORMALIZED, DJ_SCALE_COSINE };
enum dj_id_on_hit { DJ_HIT_ID_ORIGINAL, DJ_HIT_ID_NEW };
enum dj_replay { DJ_REPLAY_INSTANT };
enum dj_store_policy { DJ_STORE_POLICY_BYPASS, DJ_STORE_POLICY_KEEP };

struct dj_settings {
    struct {
        struct dj_text_list listen_texts;   /* as written */
        struct dj_settings_address *listen; /* owned; at least one */
        size_t listen_count;
        uint32_t loops;                    /* resolved, never 0 */
        uint32_t workers;                  /* resolved, never 0 */
        struct dj_text_list allowed_hosts; /* beside the loopback names */
        struct dj_text_list allowed_origins;
        bool is_insecure; /* a public address without keys and TLS is accepted */
        uint64_t header_bytes_max;
        uint32_t headers_max;
        uint64_t body_bytes_max;
        uint64_t bytes_in_flight_max;
        uint32_t connections_max;
        uint32_t
            address_connections_max; /* 0: half of the above, this machine's own without a cap */
        uint64_t header_timeout_ms;
        uint64_t idle_timeout_ms;
        uint64_t body_bytes_per_s_min;
        uint64_t write_timeout_ms;
        uint64_t drain_timeout_ms;
        uint64_t drain_delay_ms; /* between "not ready" and closed listeners */
    } server;
    struct dj_settings_tls tls;
    struct dj_settings_tls admin_tls; /* resolved: those of tls where none were given */
    struct dj_settings_admin admin;
    struct dj_settings_resp resp;
    struct dj_settings_process process;
    struct dj_text_list upstream_allowed_texts; /* as written */
    struct dj_address_guard upstream_guard;     /* resolved: upstream.allowed_addresses */
    struct dj_kinds *kinds;                     /* owned: the shipped ones, and `kinds` over them */
    char *data_dir;                             /* resolved, never NULL; may not exist yet */
    struct {
        char *url; /* without trailing "/" and without trailing "/v1": append the path "/v1/…" */
        char *anthropic_url; /* likewise, never empty once checked */
        char *ca_file;
        uint64_t connect_timeout_ms;
        uint64_t first_byte_timeout_ms;
        uint64_t total_timeout_ms;
        uint64_t idle_timeout_ms;
        uint32_t connections_max;
        bool respect_cache_control;
    } upstream;
    struct {
        bool is_enabled;
        uint32_t entries_max;
        uint64_t bytes_max;
        uint64_t default_ttl_ms; /* longest stay in memory beside a shared tier */
        uint64_t lease_ms;       /* so long memory answers there without asking again */
    } l1;
    struct {
        uint32_t entries_max; /* fair share in memory under pressure */
        uint32_t derived_max; /* tenants made from credentials */
        int derived;          /* enum dj_derive: may there be such */
    } tenant;
    struct {
        bool is_enabled;
        bool is_chosen;     /* somebody said so: it stays on beside a shared tier */
        uint64_t bytes_max; /* 0: 10 GB or 20 % of the disk */
        uint32_t queue_max;
    } lmdb;
    struct dj_settings_limits limits; /* rate_limit */
    struct dj_settings_guard guard;   /* circuit_breaker, retry, performance */
    struct dj_settings_compression compression;
    struct dj_settings_postgres postgres;
    struct dj_settings_s3 s3;
    struct dj_settings_audit audit;
    enum dj_durability durability; /* store.durability */
    struct {
        bool is_enabled;
        double threshold;     /* proxy; 0: the one shipped for the embedder */
        double api_threshold; /* cache API, when the caller names none */
        enum dj_embedder_choice embedder;
        char *model;
        char *model_dir; /* resolved, never NULL: DATA/models/MODEL unless set */
        uint32_t candidates;
        uint32_t vectors_max;
    } semantic;
    struct dj_settings_http_embedder http_embedder; /* semantic.http */
    struct dj_settings_performance performance;
    struct dj_settings_eviction eviction;
    struct dj_settings_kv kv;
    struct dj_settings_notices notices;
    struct dj_settings_encryption encryption;
    struct dj_settings_warmup warmup;
    struct {
        char *dir; /* NULL: DATA/backups */
        char *s3_prefix;
    } backup;
    struct {
        uint64_t response_ms;
        uint64_t embedding_ms;
        uint64_t refusal_ms;
        uint64_t api_ms; /* cache API, when the caller names none */
        uint64_t max_ms; /* no entry lives longer */
        double jitter;   /* part of the ttl that is drawn at random and taken off, 0 … 0.5 */
        uint64_t stale_revalidate_ms; /* windows after an answer's end */
        uint64_t stale_error_ms;
        uint64_t negative_ms; /* 0: not stored */
        uint64_t small_ms;    /* by the length of what is asked; 0: no difference */
        uint64_t medium_ms;
        uint64_t large_ms;
        uint32_t small_max; /* characters */
        uint32_t medium_max;
    } ttl;
    struct {
        bool is_ttl_dynamic;
        uint64_t ttl_base_ms;
        double confidence_min;
        bool is_several_kept;
        int mode; /* 1: only who asks for the cache */
        struct dj_text_list ignorable;
    } rules;
    struct {
        char *file;
        uint32_t tokens;
        double token_usd;
        double embedded_usd;
        double document_usd;
    } prices;
    struct {
        enum dj_usage_on_hit usage_on_hit;
        enum dj_id_on_hit id_on_hit;
        enum dj_replay replay;
        uint64_t record_bytes_max;
        uint32_t followers_max;
        bool cache_tool_calls;
        enum dj_store_policy store_policy;
        bool early_refresh;
        uint32_t refreshes_max;
        uint64_t peer_wait_ms;
        uint32_t stores_max;
        uint64_t store_bytes_max;
    } proxy;
    struct dj_text_list compat_texts;         /* as written */
    uint32_t compat;                          /* bits of enum dj_compat */
    enum dj_similarity_scale langcache_scale; /* langcache.similarity_scale */
    struct dj_text_list scope_fold_texts;     /* as written */
    uint32_t scope_fold;                      /* bits of enum dj_fold */
    uint32_t query_chars_max;                 /* validation.query_max_chars */
    struct {
        enum dj_log_level level;
        enum dj_log_format format;
        enum dj_content_log content; /* of tenants that have no choice of their own */
    } log;
    enum dj_sensitive_policy sensitive[DJ_SENSITIVE_CLASS_COUNT]; /* likewise */
    struct dj_settings_redis redis;
    struct dj_settings_paths paths;
    struct {
        char *admin_token; /* NULL: a new one at each start */
    } security;
    char *secret; /* security.secret: 64 hex digits; NULL: the file in the data directory */
    uint64_t slow_operation_ms; /* monitoring.slow_operation */
    uint64_t snapshot_ms;       /* monitoring.snapshot */
};

/* Where settings come from. Everything is borrowed until dj_settings_load returns. */
struct dj_settings_source {
    const char *config_path; /* NULL: $DEJA_CONFIG, else /etc/deja/deja.yaml if it is there */
    const struct dj_flag *flags;
    size_t flag_count;
    const char *const *environment; /* "NAME=value", NULL-terminated */
};

/* *out_settings: the caller's, ended with dj_settings_fini. *out_options (may be NULL): the
 * resolved set behind it, for reload and `config print`. DEJA_ERR_CONFIG: diagnostics hold every
 * reason. */
enum deja_status dj_settings_load(const struct dj_settings_source *source,
                                  struct dj_diagnostics *diagnostics,
                                  struct dj_settings *out_settings,
                                  struct dj_options **out_options) DEJA_NODISCARD;
void dj_settings_fini(struct dj_settings *settings); /* zeroed: does nothing; wipes the secret */

/* Names (one per line, into out_names) of what differs and cannot be reloaded; those keep their old
 * value until restart. Returns how many. */
size_t dj_settings_not_reloadable(const struct dj_options *running, const struct dj_options *loaded,
                                  struct dj_buf *out_names);

/* The table itself, for `deja config` and the documents. */
const struct dj_option *dj_settings_table(size_t *out_count);

/* upstream.anthropic.url where it is not upstream.url; NULL: one upstream has both. Borrowed. */
const char *dj_settings_other_anthropic(const struct dj_settings *settings);

#endif
