/* daemon/daemon_internal.h - the running daemon: every part, in the order in which it is built. */
#ifndef DJ_DAEMON_DAEMON_INTERNAL_H
#define DJ_DAEMON_DAEMON_INTERNAL_H

#include <pthread.h>

#include "api/router.h"
#include "cache/kinds.h"
#include "cache/plain.h"
#include "daemon/authority.h"
#include "daemon/channels.h"
#include "daemon/encryption.h"
#include "daemon/directory.h"
#include "daemon/erasures.h"
#include "daemon/guards.h"
#include "daemon/keys.h"
#include "daemon/resp.h"
#include "daemon/schedules.h"
#include "daemon/settings.h"
#include "daemon/savings.h"
#include "daemon/spends.h"
#include "daemon/tenants.h"
#include "daemon/transfers.h"
#include "daemon/webhooks.h"
#include "net/http_server.h"
#include "net/outbound.h"
#include "policy/guards.h"
#include "proxy/context.h"
#include "proxy/warm.h"
#include "security/audit.h"
#include "security/directory.h"
#include "security/local_guard.h"

#define DJ_LOOPS_MAX 64u
#define DJ_LISTEN_MAX 8u
#define DJ_POLICIES_MAX 1024u

/* What one loop owns. */
struct dj_node {
    struct dj_daemon *daemon;
    struct dj_loop *loop;
    struct dj_outbound *outbound;
    struct dj_flights *flights;
    struct dj_http_server *servers[2 * DJ_LISTEN_MAX]; /* of server.listen, then of admin.listen */
    uint32_t server_count;
    struct dj_node_resp resp;
    uint32_t draining; /* servers not drained yet */
    struct dj_timer *sweep;
    struct dj_timer *pull; /* loop 0 */
    struct dj_task stop;
    struct dj_task watch; /* the watchdog's question */
    pthread_t thread;
    bool is_thread_started;
};

struct dj_daemon {
    const struct dj_settings *settings; /* of the start, as are options */
    const struct dj_options *options;
    const struct dj_settings_source *source;
    const struct dj_serve_hooks *hooks; /* NULL: none */
    struct dj_detector *detector;       /* the log's and the entries' */
    struct dj_log *log;
    struct dj_metrics *metrics;
    struct dj_telemetry *telemetry;
    struct dj_volatile *volatiles;
    struct dj_pool *work;  /* embedding, index, large bodies */
    struct dj_pool *reads; /* the embedded tier's */
    struct dj_node nodes[DJ_LOOPS_MAX];
    struct dj_loop *loops[DJ_LOOPS_MAX];
    struct dj_outbound *outbounds[DJ_LOOPS_MAX];
    struct dj_flights *flights[DJ_LOOPS_MAX];
    struct dj_tls_server *tls;       /* of server.listen; NULL: none speaks it */
    struct dj_tls_server *admin_tls; /* of admin.listen, likewise */
    struct dj_timer *rotate;         /* loop 0: of the keys of TLS tickets */
    int fds[2 * DJ_LISTEN_MAX];      /* as servers of a node; bound once for all loops; 0: none */
    struct dj_daemon_resp resp;
    struct dj_http_addresses *addresses; /* of clients, all loops */
    _Atomic uint64_t bytes_in_flight;    /* of clients, all loops */
    uint32_t loop_count;
    struct dj_lmdb_meta *meta;               /* what this machine keeps beside its entries */
    struct dj_authorities *authorities;      /* over it; made before the tiers */
    const struct dj_authority *authority;    /* theirs */
    struct dj_audit *audit;                  /* over it; likewise */
    struct dj_erasures *erasures;            /* over all of them */
    struct dj_transfers *transfers;          /* likewise */
    struct dj_schedules *schedules;          /* likewise */
    struct dj_notices *notices;              /* the engine's, and of who listens */
    struct dj_channels *channels;            /* from and to other programs */
    struct dj_webhooks *webhooks;            /* NULL: none is named */
    struct dj_encryption *encryption;        /* made with the tiers */
    struct dj_store *redis;                  /* likewise the engine's, unwrapped; NULL: none */
    struct dj_redis_security redis_security; /* as it was at the start */
    bool is_redis_seen;
    struct dj_store *s3;       /* the engine's, unwrapped; NULL: none */
    struct dj_store *embedded; /* likewise */
    struct dj_store *lmdb;     /* the engine's, as are the next */
    struct dj_store *guarded[DJ_GUARDS_TIERS_MAX];
    uint32_t guarded_count;
    struct dj_sentry *embedder_sentry; /* NULL: no embedder behind an address */
    struct dj_upstream *upstream;
    struct dj_upstream *anthropic;       /* where it is another; NULL: it is the same */
    struct dj_sentry_board dependencies; /* all of these, to look at */
    struct dj_kind_book *kinds;          /* asked by the tiers: ends after them */
    struct dj_engine *engine;
    struct dj_plain *plain;
    struct dj_secret secret; /* until the tiers are open: a shared one may bring another */
    struct dj_tenant_root root;
    struct dj_tenants *tenants;
    struct dj_registry *registry;
    struct dj_keys *keys;
    struct dj_vault *vault;
    struct dj_vault_seal *vault_seal;
    bool is_keys_due;               /* not all of them could be read yet */
    struct dj_rules *rules;         /* of tenants nobody configured */
    struct dj_directory *directory; /* of those somebody did */
    const char *guard_names[DJ_GUARD_COUNT];
    struct dj_job refresh; /* of the directory; one at a time */
    _Atomic bool is_refreshing;
    bool is_directory_stale; /* the refresh's own: said once */
    struct dj_limiter *limiter;
    struct dj_spends *spends;
    struct dj_savings *savings;
    struct dj_admission *admission;
    struct dj_proxy_policy *policies[DJ_POLICIES_MAX]; /* all ever used; freed at the end */
    uint32_t policy_count;
    struct dj_proxy_context proxy;
    struct dj_warm *warm;
    struct dj_api api;
    char admin_token[DJ_ADMIN_TOKEN_TEXT_BYTES]; /* of this start; unless one was chosen */
    struct dj_job load;
    struct dj_signal *signals[3];
    struct dj_timer *watchdog;    /* loop 0; NULL: no manager watches */
    struct dj_timer *snapshot;    /* loop 0 */
    struct dj_timer *flush;       /* loop 0: hits that wait to be counted */
    struct dj_timer *drain_delay; /* loop 0 */
    _Atomic uint32_t watch_left;  /* loops that have not answered the watchdog's question */
    uint64_t drain_delay_ms;      /* in force, as is the next */
    uint64_t drain_timeout_ms;
    _Atomic uint32_t draining; /* nodes */
    _Atomic uint32_t quieting; /* nodes whose calls upstream are not given up yet */
    struct dj_timer *settle;   /* loop 0: waits until nothing is under way */
    uint32_t settle_turns;
    struct dj_task reload_task;
    struct dj_task stop_task;
    _Atomic bool is_reload_posted;
    bool is_stopping; /* loop 0 */
    bool is_settled;  /* nothing was under way when the loops ended */
};

/* Builds everything but signals and threads. On failure what was built is taken down by
 * dj_daemon_fini. The exit code of DESIGN §9, 0 for success; error says why. */
int dj_daemon_init(struct dj_daemon *daemon, const struct dj_settings *settings,
                   struct deja_error *error);
void dj_daemon_fini(struct dj_daemon *daemon); /* after the loops have ended; half-built is fine */
/* Opens the tiers and the embedder, and the engine over them. Blocking: start. */
enum deja_status dj_daemon_make_engine(struct dj_daemon *daemon,
                                       struct deja_error *error) DEJA_NODISCARD;
/* Timers of loop 0, before it runs; unwatch on loop 0. */
enum deja_status dj_daemon_watch(struct dj_daemon *daemon) DEJA_NODISCARD;
void dj_daemon_set_snapshot(struct dj_daemon *daemon, uint64_t every_ms);
void dj_daemon_unwatch(struct dj_daemon *daemon);
/* What a tier knows of itself, for health; a dj_api_describe_fn, as are the next. */
void dj_daemon_describe_tier(void *daemon, const char *component, struct dj_json_writer *w);
void dj_tier_describe_redis(void *daemon, const char *component, struct dj_json_writer *w);
void dj_tier_describe_s3(void *daemon, const char *component, struct dj_json_writer *w);
/* The store of that tier; DEJA_OK with *out_store NULL: it is not configured. Blocking: start. */
enum deja_status dj_tier_open_redis(struct dj_daemon *daemon, struct dj_store **out_store,
                                    struct deja_error *error) DEJA_NODISCARD;
/* Its schema is looked at, and brought up where the settings say so; what is wrong is told.
 * Blocking: start, before the next. False: it does not answer, or cannot be used. */
bool dj_tier_prepare_postgres(struct dj_daemon *daemon);
enum deja_status dj_tier_open_postgres(struct dj_daemon *daemon, struct dj_store **out_store,
                                       struct deja_error *error) DEJA_NODISCARD;
enum deja_status dj_tier_open_s3(struct dj_daemon *daemon, struct dj_store **out_store,
                                 struct deja_error *error) DEJA_NODISCARD;
/* Fills options' tiers; on failure those that were opened are there too, for the caller to close.
 */
enum deja_status dj_daemon_open_tiers(struct dj_daemon *daemon, struct dj_engine_options *options,
                                      struct deja_error *error) DEJA_NODISCARD;
/* Do other programs see what is written there, and say what they made void? */
bool dj_daemon_is_shared(const struct dj_engine_options *options);
/* Is there an embedded tier beside them, and may what it kept be believed? */
enum deja_status dj_daemon_place_lmdb(struct dj_daemon *daemon, bool is_shared,
                                      struct dj_lmdb_options *options,
                                      struct deja_error *error) DEJA_NODISCARD;
/* It is open, and as new as it was to be. */
void dj_daemon_lmdb_begun(struct dj_daemon *daemon, bool is_shared);

/* Both blocking: start. DATA/audit: */
#define DJ_PLACE_BYTES 4400u
/* What names this program among those of the deployment, also after a restart: host and folder. */
void dj_daemon_place(const char *directory, char out_place[DJ_PLACE_BYTES]);
enum deja_status dj_daemon_open_audit(struct dj_daemon *daemon,
                                      struct deja_error *error) DEJA_NODISCARD;
enum deja_status dj_daemon_make_erasures(struct dj_daemon *daemon) DEJA_NODISCARD;
enum deja_status dj_daemon_make_schedules(struct dj_daemon *daemon) DEJA_NODISCARD;

/* A policy of these settings becomes the one in force. */
enum deja_status dj_daemon_set_policy(struct dj_daemon *daemon,
                                      const struct dj_settings *settings) DEJA_NODISCARD;

#endif
