/* proxy/upstream.c - see upstream.h.
 *
 * Throttles of tenants lie in a table of fixed size with short chains of slots; where a chain is
 * full, whoever was quiet longest gives way, and begins anew when he comes again.
 */
#include "proxy/upstream.h"

#include <assert.h>
#include <pthread.h>

#include "base/alloc.h"
#include "loop/loop.h"
#include "policy/throttle.h"

#define THROTTLE_CHAINS 256u
#define THROTTLE_CHAIN_LEN 4u

struct tenant_throttle {
    uint8_t tenant[DJ_ID_BYTES];
    uint64_t used_ms; /* 0: free */
    struct dj_throttle throttle;
};

struct dj_upstream {
    struct dj_sentry *sentries[DJ_UPSTREAM_FAMILY_COUNT];
    pthread_mutex_t mutex; /* the rest; nothing is called under it */
    struct dj_throttle_options throttle;
    uint64_t random;
    struct tenant_throttle tenants[THROTTLE_CHAINS][THROTTLE_CHAIN_LEN];
};

static const char *const names[] = {
    [DJ_UPSTREAM_CHAT] = "upstream",
    [DJ_UPSTREAM_EMBEDDINGS] = "upstream_embeddings",
    [DJ_UPSTREAM_OTHER] = "upstream_other",
};

void dj_upstream_set_options(struct dj_upstream *upstream,
                             const struct dj_upstream_options *options)
{
    struct dj_sentry_options sentry = options->sentry;
    sentry.breaker.slow_ms = 0;
    for (size_t i = 0; i < DJ_UPSTREAM_FAMILY_COUNT; i++)
        if (upstream->sentries[i])
            dj_sentry_set_options(upstream->sentries[i], &sentry);
    pthread_mutex_lock(&upstream->mutex);
    upstream->throttle = dj_throttle_options_default;
    upstream->throttle.k = options->throttle_k;
    pthread_mutex_unlock(&upstream->mutex);
}

enum deja_status dj_upstream_create(const struct dj_upstream_options *options,
                                    const struct dj_sentry_events *events, void *ctx,
                                    struct dj_upstream **out_upstream)
{
    struct dj_upstream *upstream = dj_alloc_zeroed(1, sizeof *upstream);
    if (!upstream)
        return DEJA_ERR_NOMEM;
    int code = pthread_mutex_init(&upstream->mutex, NULL);
    assert(code == 0);
    upstream->random = dj_clock_monotonic_ns();
    for (size_t i = 0; i < DJ_UPSTREAM_FAMILY_COUNT; i++) {
        const char *name = (options->names ? options->names : names)[i];
        if (!name)
            continue;
        enum deja_status status =
            dj_sentry_create(name, &options->sentry, events, ctx, &upstream->sentries[i]);
        if (status != DEJA_OK) {
            dj_upstream_destroy(upstream);
            return status;
        }
    }
    dj_upstream_set_options(upstream, options);
    *out_upstream = upstream;
    return DEJA_OK;
}

void dj_upstream_destroy(struct dj_upstream *upstream)
{
    if (!upstream)
        return;
    for (size_t i = 0; i < DJ_UPSTREAM_FAMILY_COUNT; i++)
        dj_sentry_destroy(upstream->sentries[i]);
    pthread_mutex_destroy(&upstream->mutex);
    dj_free(upstream);
}

void dj_upstream_show(struct dj_upstream *upstream, struct dj_sentry_board *board)
{
    for (size_t i = 0; i < DJ_UPSTREAM_FAMILY_COUNT; i++)
        if (upstream->sentries[i])
            dj_sentry_board_add(board, upstream->sentries[i], dj_sentry_board_look);
}

/* The tenant's slot. Under the mutex. */
static struct tenant_throttle *slot_of(struct dj_upstream *upstream,
                                       const uint8_t tenant[DJ_ID_BYTES], uint64_t now_ms)
{
    uint32_t hash;
    memcpy(&hash, tenant, sizeof hash); /* of a digest */
    struct tenant_throttle *chain = upstream->tenants[hash % THROTTLE_CHAINS];
    struct tenant_throttle *oldest = chain;
    for (size_t i = 0; i < THROTTLE_CHAIN_LEN; i++) {
        if (chain[i].used_ms && memcmp(chain[i].tenant, tenant, DJ_ID_BYTES) == 0) {
            chain[i].used_ms = now_ms;
            return &chain[i];
        }
        if (chain[i].used_ms < oldest->used_ms)
            oldest = &chain[i];
    }
    memset(oldest, 0, sizeof *oldest);
    memcpy(oldest->tenant, tenant, DJ_ID_BYTES);
    oldest->used_ms = now_ms;
    return oldest;
}

static bool pass_throttle(struct dj_upstream *upstream, const uint8_t tenant[DJ_ID_BYTES])
{
    uint64_t now_ms = dj_clock_monotonic_us() / 1000 + 1;
    pthread_mutex_lock(&upstream->mutex);
    /* A multiplicative generator: its upper bits are what the throttle looks at. */
    upstream->random =
        upstream->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    bool is_let = upstream->throttle.k <= 0 ||
                  dj_throttle_admit(&slot_of(upstream, tenant, now_ms)->throttle,
                                    &upstream->throttle, now_ms, upstream->random);
    if (is_let && upstream->throttle.k > 0) /* until it is turned away */
        dj_throttle_accepted(&slot_of(upstream, tenant, now_ms)->throttle, &upstream->throttle,
                             now_ms);
    pthread_mutex_unlock(&upstream->mutex);
    return is_let;
}

static void count_turned_away(struct dj_upstream *upstream, const uint8_t tenant[DJ_ID_BYTES])
{
    uint64_t now_ms = dj_clock_monotonic_us() / 1000 + 1;
    pthread_mutex_lock(&upstream->mutex);
    if (upstream->throttle.k > 0)
        dj_throttle_turned_away(&slot_of(upstream, tenant, now_ms)->throttle);
    pthread_mutex_unlock(&upstream->mutex);
}

enum dj_upstream_verdict dj_upstream_admit(struct dj_upstream *upstream,
                                           enum dj_upstream_family family,
                                           const uint8_t tenant[DJ_ID_BYTES], bool is_first,
                                           struct dj_upstream_leave *out_leave,
                                           uint64_t *out_wait_ms)
{
    *out_leave = (struct dj_upstream_leave){.family = family};
    if (!upstream)
        return DJ_UPSTREAM_ASK;
    *out_wait_ms = 1000;
    if (dj_sentry_is_open(upstream->sentries[family])) {
        /* Not asked, so not counted by the throttle: an outage is not the tenant's doing. */
        dj_sentry_admit(upstream->sentries[family], &out_leave->ticket, out_wait_ms);
        return DJ_UPSTREAM_OPEN;
    }
    if (!pass_throttle(upstream, tenant))
        return DJ_UPSTREAM_THROTTLED;
    if (!dj_sentry_admit(upstream->sentries[family], &out_leave->ticket, out_wait_ms))
        return DJ_UPSTREAM_OPEN;
    if (is_first)
        dj_sentry_earn(upstream->sentries[family]);
    out_leave->is_taken = true;
    return DJ_UPSTREAM_ASK;
}

/* 5xx but 501 (not offered here) is a failure; 429 is the throttle's; the rest is an answer. */
static enum deja_status status_of(int http_status)
{
    return http_status >= 500 && http_status != 501 ? DEJA_ERR_IO : DEJA_OK;
}

void dj_upstream_tell(struct dj_upstream *upstream, struct dj_upstream_leave *leave,
                      const uint8_t tenant[DJ_ID_BYTES], int http_status, enum deja_status status)
{
    if (!upstream || !leave->is_taken)
        return;
    leave->is_taken = false;
    dj_sentry_tell(upstream->sentries[leave->family], &leave->ticket, "upstream",
                   http_status ? status_of(http_status) : status);
    if (http_status == 429)
        count_turned_away(upstream, tenant);
}

bool dj_upstream_may_retry(struct dj_upstream *upstream, enum dj_upstream_family family,
                           const struct dj_sentry_again *again, uint64_t *out_pause_ms)
{
    return upstream && dj_sentry_may_retry(upstream->sentries[family], again, out_pause_ms);
}

bool dj_upstream_is_open(struct dj_upstream *upstream, enum dj_upstream_family family)
{
    return upstream && dj_sentry_is_open(upstream->sentries[family]);
}
