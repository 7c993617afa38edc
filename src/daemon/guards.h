/* daemon/guards.h - everything outside the process is asked behind a sentry: made, reloaded, shown.
 *
 * Threads: start and reload on the main thread's loop, as the rest of compose.c.
 */
#ifndef DJ_DAEMON_GUARDS_H
#define DJ_DAEMON_GUARDS_H

#include "daemon/settings.h"
#include "proxy/upstream.h"
#include "store/guarded.h"

struct dj_daemon;
struct dj_proxy_context;

/* What the settings say, in the rooms' own terms. */
struct dj_guarded_options dj_guards_tier_options(const struct dj_settings *settings);
struct dj_upstream_options dj_guards_upstream_options(const struct dj_settings *settings);

/* Which upstreams there are, into the proxy; after dj_guards_make. */
void dj_guards_name_targets(const struct dj_daemon *daemon, struct dj_proxy_context *proxy);
/* The sentries of the upstream, before the proxy is made. */
enum deja_status dj_guards_make(struct dj_daemon *daemon) DEJA_NODISCARD;
/* Likewise of the embedder behind an address, before it is opened. */
enum deja_status dj_guards_make_embedder(struct dj_daemon *daemon) DEJA_NODISCARD;
/* Wraps a tier: counted, logged, shown in health and metrics, reloaded. inner: taken on DEJA_OK;
 * *out_store is closed by whoever it is handed to. At most DJ_GUARDS_TIERS_MAX. */
#define DJ_GUARDS_TIERS_MAX 8u
enum deja_status dj_guards_wrap(struct dj_daemon *daemon, struct dj_store *inner,
                                struct dj_store **out_store) DEJA_NODISCARD;
void dj_guards_reload(struct dj_daemon *daemon, const struct dj_settings *settings);
void dj_guards_end(struct dj_daemon *daemon); /* after the loops are destroyed */

/* What a tenant may use where nobody says otherwise: one an administrator made, or one made from a
 * credential. Plain values; all 0: no limit. */
struct dj_rules_limits dj_guards_limits(const struct dj_settings *settings, bool is_configured);

#endif
