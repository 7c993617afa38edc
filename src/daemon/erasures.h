/* daemon/erasures.h - erasures from the order to the receipt, over restarts and tiers that are
 * down.
 *
 *   order ── audit: requested ── authority: document, open ── keys destroyed ──┐   worker
 *     ┌────────────────────────────────────────────────────────────────────────┘
 *     └─> void everywhere, every tier emptied and looked at (cache/erase.h) ──┐   loop
 *     ┌───────────────────────────────────────────────────────────────────────┘
 *     └─> orders removed, files wiped ── receipt: audit, document: done           worker
 *          └─ something was not reached: stays open, tried again every few seconds
 *
 * Threads: start and get on any loop, tick on loop 0. Time: the loops' clock.
 */
#ifndef DJ_DAEMON_ERASURES_H
#define DJ_DAEMON_ERASURES_H

#include <deja/base.h>

#include "api/erase.h"
#include "cache/engine.h"
#include "loop/pool.h"
#include "security/audit.h"
#include "security/authority.h"

#define DJ_ERASURES_OPEN_MAX 64u

struct dj_erasures;

/* Everything is borrowed until destroy. */
struct dj_erasures_options {
    struct dj_engine *engine;
    struct dj_loop *loop; /* 0: what is tried again runs there */
    struct dj_pool *pool;
    const struct dj_authority *authority;
    struct dj_audit *audit;
    void *hooks_ctx;
    /* Blocking, worker. Keys of the tenant are destroyed, for good; NULL: there are none. */
    enum deja_status (*destroy_keys)(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES]);
    /* Any thread: a new key, and what the one before still seals is sealed anew before that is
     * destroyed: for a user, who has no key of his own. DEJA_ERR_BUSY: later. */
    enum deja_status (*renew_keys)(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES]);
    /* Any thread, before tiers are emptied, in each pass: what the process would go on writing to
     * them of it. */
    void (*forget)(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES]);
    /* Blocking, worker: what only this process remembers of it, and what files still hold. */
    enum deja_status (*wipe)(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES]);
    /* Likewise, before it: what the authority keeps of a tenant's own orders, for all programs; not
     * called for a user. NULL: nothing. */
    enum deja_status (*drop_documents)(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES]);
};

/* Takes up what was open when the process ended; start-up, blocking. */
enum deja_status dj_erasures_create(const struct dj_erasures_options *options,
                                    struct dj_erasures **out_erasures) DEJA_NODISCARD;
void dj_erasures_destroy(struct dj_erasures *erasures); /* after loops and pool; accepts NULL */
const struct dj_erase_service *dj_erasures_service(struct dj_erasures *erasures);
void dj_erasures_tick(struct dj_erasures *erasures);
/* None is tried again from now on: the daemon stops. */
void dj_erasures_stop(struct dj_erasures *erasures);
/* Everything was told: what could not be read at the start is known now. */
void dj_erasures_on_anew(void *erasures);
/* A dj_authority_change_fn: what other programs erase is swept here too, without a receipt. */
void dj_erasures_on_change(void *erasures, const char *table, struct deja_slice key,
                           struct deja_slice value);
/* How many are at work on a loop or a worker now. */
uint32_t dj_erasures_running(struct dj_erasures *erasures);

#endif
