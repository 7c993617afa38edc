/* proxy/upstream.h - may the upstream be asked now? Breaker, retries and throttle in front of it.
 *
 *   dj_upstream_admit -> ask it -> dj_upstream_tell (its status line, or why there was none)
 *
 * The breaker is told when an answer is whole; of an error, a stream and what is passed through,
 * when it begins.
 *
 * One sentry for each family of endpoints (an embeddings service that is down says nothing of the
 * chat service behind the same name). The throttle is per tenant: the rate limit of one credential
 * is no reason to hold back another's calls. Retries only of what never reached a client: no
 * connection, or no answer in time.
 *
 * Threads: any; a short lock. Time: the monotonic clock.
 */
#ifndef DJ_PROXY_UPSTREAM_H
#define DJ_PROXY_UPSTREAM_H

#include <deja/base.h>

#include "guarded/board.h"
#include "guarded/sentry.h"
#include "proto/record.h" /* DJ_ID_BYTES */

enum dj_upstream_family {
    DJ_UPSTREAM_CHAT, /* chat, completions, responses, messages: what may be answered by text */
    DJ_UPSTREAM_EMBEDDINGS,
    DJ_UPSTREAM_OTHER, /* passed through */
    DJ_UPSTREAM_FAMILY_COUNT
};

struct dj_upstream; /* owned by its creator */

struct dj_upstream_options {
    struct dj_sentry_options sentry; /* slow_ms is not used: answers may take their time */
    double throttle_k;               /* 0: off */
    /* Of the sentries, constant; a NULL: that family is never asked. NULL: "upstream" and its
     * like. */
    const char *const *names;
};

/* Of one question; the caller's, between admit and tell. */
struct dj_upstream_leave {
    struct dj_sentry_ticket ticket;
    enum dj_upstream_family family;
    bool is_taken; /* somebody has to be told */
};

enum dj_upstream_verdict {
    DJ_UPSTREAM_ASK,
    DJ_UPSTREAM_OPEN,     /* 503 circuit_open: the breaker is open */
    DJ_UPSTREAM_THROTTLED /* 429 rate_limited: it has turned most of this tenant's calls away */
};

/* events (NULL: nobody is told) as of a sentry; ctx: until it is destroyed. */
enum deja_status dj_upstream_create(const struct dj_upstream_options *options,
                                    const struct dj_sentry_events *events, void *ctx,
                                    struct dj_upstream **out_upstream) DEJA_NODISCARD;
void dj_upstream_destroy(struct dj_upstream *upstream); /* accepts NULL; after the loops */
void dj_upstream_set_options(struct dj_upstream *upstream,
                             const struct dj_upstream_options *options);
void dj_upstream_show(struct dj_upstream *upstream, struct dj_sentry_board *board);

/* is_first: not a retry. *out_wait_ms is set unless DJ_UPSTREAM_ASK: for Retry-After. upstream
 * NULL: asks always, as do the calls below then do nothing. */
enum dj_upstream_verdict dj_upstream_admit(struct dj_upstream *upstream,
                                           enum dj_upstream_family family,
                                           const uint8_t tenant[DJ_ID_BYTES], bool is_first,
                                           struct dj_upstream_leave *out_leave,
                                           uint64_t *out_wait_ms);
/* http_status: of the status line; 0: there was none, and status says why. A leave that was told of
 * already is told of no more. */
void dj_upstream_tell(struct dj_upstream *upstream, struct dj_upstream_leave *leave,
                      const uint8_t tenant[DJ_ID_BYTES], int http_status, enum deja_status status);
/* Before the first byte only, and not when a client gave up. */
bool dj_upstream_may_retry(struct dj_upstream *upstream, enum dj_upstream_family family,
                           const struct dj_sentry_again *again, uint64_t *out_pause_ms);

/* The upstream is not to be asked now: for those who can do without (a stale answer, a refresh
 * that may wait). Takes nothing. */
bool dj_upstream_is_open(struct dj_upstream *upstream, enum dj_upstream_family family);

#endif
