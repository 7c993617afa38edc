/* proxy/limiter.h - how much of Deja a tenant, and a key of it, may use: the gate every request of
 * a tenant passes, and the budgets of what it may cause upstream.
 *
 *   dj_identity_take -> enter -> (on a miss: take_miss; when its price is known: spend) -> leave
 *
 * What is refused is told with a reason and how long to wait; nothing is queued here
 * (proxy/admission.h does). A tenant whose rules name no limit is not even looked up.
 *
 * Accounts lie in a table of shards with a lock each, found by SipHash under a random key. One that
 * says no more than a new one would (its buckets are full again, nothing under way, nothing spent
 * today) goes first when a shard is full; if there is none, that of a tenant nobody configured.
 * Strangers with made-up credentials can thus not shake off what an account remembers of a
 * configured tenant.
 *
 * Counted is what this process sees; the spend of a day, which begins anew at 00:00 UTC, is the one
 * figure that whoever owns a limiter may write down, restore and add up with that of other
 * programs.
 *
 * Threads: any; a short lock, one a request. Time: given, the monotonic clock but for days.
 */
#ifndef DJ_PROXY_LIMITER_H
#define DJ_PROXY_LIMITER_H

#include <deja/base.h>

#include "security/rules.h"
#include "security/tenant.h"

#define DJ_LIMITER_ACCOUNTS_MAX 32768u
#define DJ_LIMITER_SHARDS 64u

struct dj_limiter;
struct dj_principal; /* security/principal.h */

enum dj_limit {
    DJ_LIMIT_NONE,
    DJ_LIMIT_REQUESTS,    /* per second, of the tenant */
    DJ_LIMIT_KEY,         /* per second, of the key */
    DJ_LIMIT_BYTES,       /* per second */
    DJ_LIMIT_CONNECTIONS, /* open */
    DJ_LIMIT_CONCURRENCY, /* requests being answered */
    DJ_LIMIT_MISSES,      /* calls upstream per minute */
    DJ_LIMIT_SPEND,       /* upstream money per day */
    DJ_LIMIT_ACCOUNTS,    /* no room to count this caller */
    DJ_LIMIT_COUNT
};
/* "requests", "key", ... as in metrics and logs; constant. */
const char *dj_limit_text(enum dj_limit limit);
/* What a person reads who was refused for it; constant. */
const char *dj_limit_detail(enum dj_limit limit);

/* What the gate said. */
struct dj_limit_verdict {
    enum dj_limit limit; /* DJ_LIMIT_NONE: go on */
    uint64_t wait_ms;    /* of a refusal, at least 1 */
    /* The tighter of the two request buckets, for the headers; false: there is none. */
    bool has_quota;
    uint64_t quota;      /* at once */
    uint64_t left;       /* of it */
    uint64_t full_ms;    /* until there is all of it again */
    uint64_t per_second; /* that come back, rounded up */
};

/* What is to be given back; zeroed: nothing. The caller's, between enter and leave. */
struct dj_limit_pass {
    struct dj_limiter *limiter;
    uint8_t tenant[DJ_TENANT_BYTES];
    bool is_counted;      /* one of requests_max */
    uint64_t bytes_per_s; /* answers are charged; 0: they are not */
};

/* accounts_max: beyond, see above; a table has room for 1,152 at least. */
enum deja_status dj_limiter_create(size_t accounts_max,
                                   struct dj_limiter **out_limiter) DEJA_NODISCARD;
void dj_limiter_destroy(struct dj_limiter *limiter); /* accepts NULL */

/* A request of who with a body of so many bytes. True: it goes on, and leaves with *out_pass. Sets
 * *out_verdict either way. limiter NULL: goes on. */
bool dj_limiter_enter(struct dj_limiter *limiter, const struct dj_principal *who,
                      uint64_t body_bytes, uint64_t now_us, struct dj_limit_pass *out_pass,
                      struct dj_limit_verdict *out_verdict);
/* answer_bytes: of the answer's body. A second time: does nothing. */
void dj_limiter_leave(struct dj_limit_pass *pass, uint64_t answer_bytes, uint64_t now_us);

/* May the tenant cause a call upstream? False: *out_verdict says why not. */
bool dj_limiter_take_miss(struct dj_limiter *limiter, const uint8_t tenant[DJ_TENANT_BYTES],
                          const struct dj_rules *rules, uint64_t now_us, int64_t wall_ms,
                          struct dj_limit_verdict *out_verdict);
/* What one cost. */
void dj_limiter_spend(struct dj_limiter *limiter, const uint8_t tenant[DJ_TENANT_BYTES],
                      const struct dj_rules *rules, double usd, uint64_t now_us, int64_t wall_ms);

/* Upstream money of a tenant with a budget, of one day in UTC. */
struct dj_limit_spent {
    uint8_t tenant[DJ_TENANT_BYTES];
    int64_t day; /* since 1970 */
    uint64_t nano_usd;
};
/* What was spent here today and is not written down yet, of at most `max` accounts of a shard (0 …
 * DJ_LIMITER_SHARDS - 1); how many there are. What is written down is noted, so that the others
 * come the next time. */
size_t dj_limiter_unkept(struct dj_limiter *limiter, size_t shard, int64_t wall_ms,
                         struct dj_limit_spent *out_spent, size_t max);
void dj_limiter_note_kept(struct dj_limiter *limiter, const struct dj_limit_spent *spent);
/* Spent here, before a restart: it is added. Of another day: nothing. */
void dj_limiter_restore(struct dj_limiter *limiter, const struct dj_limit_spent *spent,
                        uint64_t now_us, int64_t wall_ms);
/* Spent by all other programs together: replaces what was said of them before. Likewise. */
void dj_limiter_set_elsewhere(struct dj_limiter *limiter, const struct dj_limit_spent *spent,
                              uint64_t now_us, int64_t wall_ms);

/* A connection of the tenant; false: it has too many already. What was connected is disconnected
 * once. */
bool dj_limiter_connect(struct dj_limiter *limiter, const struct dj_principal *who,
                        uint64_t now_us);
void dj_limiter_disconnect(struct dj_limiter *limiter, const uint8_t tenant[DJ_TENANT_BYTES]);

/* What is left of each limit, for whoever asks. Members whose limit is not set are 0. */
struct dj_limit_usage {
    uint64_t requests_left;
    uint64_t key_left;
    uint64_t bytes_left;
    uint64_t misses_left;
    double spent_usd;
    uint32_t connections;
    uint32_t requests; /* being answered */
};
void dj_limiter_look(struct dj_limiter *limiter, const struct dj_principal *who, uint64_t now_us,
                     int64_t wall_ms, struct dj_limit_usage *out_usage);

size_t dj_limiter_count(struct dj_limiter *limiter); /* accounts */

#endif
