/* proxy/limiter_internal.h - what the files of the limiter share: accounts, and how they are found.
 */
#ifndef DJ_PROXY_LIMITER_INTERNAL_H
#define DJ_PROXY_LIMITER_INTERNAL_H

#include <deja/base.h>

#include <pthread.h>

#include "base/list.h"
#include "policy/bucket.h"
#include "proxy/limiter.h"
#include "security/principal.h"

#define DJ_LIMITER_CHAINS 256u
#define DJ_LIMITER_DAY_MS INT64_C(86400000)
#define DJ_LIMITER_MISSES_PERIOD_US UINT64_C(60000000000)
#define DJ_LIMITER_NANO 1e9

struct dj_limiter_account {
    struct dj_list node;
    struct dj_limiter_account *next; /* in its chain */
    uint64_t hash;
    uint8_t tenant[DJ_TENANT_BYTES];
    char key_id[DJ_KEY_ID_BYTES_MAX + 1]; /* "": the tenant's own */
    bool is_configured;
    uint32_t connections;
    uint32_t requests_under_way;
    int64_t day;             /* of what was spent: days since 1970 */
    uint64_t spent_nano;     /* here */
    uint64_t kept_nano;      /* of that, what is written down */
    uint64_t elsewhere_nano; /* by other programs */
    uint64_t spent_until_us; /* then it is another day */
    struct dj_bucket requests;
    struct dj_bucket bytes;
    struct dj_bucket misses;
    struct dj_bucket_rate rates[3]; /* of these, when they were last used */
};
enum { DJ_RATE_REQUESTS, DJ_RATE_BYTES, DJ_RATE_MISSES };

struct dj_limiter_shard {
    pthread_mutex_t mutex; /* nothing is called under it but policy/bucket */
    struct dj_limiter_account *chains[DJ_LIMITER_CHAINS];
    struct dj_list used; /* longest unused first */
    size_t count;
};

struct dj_limiter {
    uint8_t key[16];
    size_t shard_accounts_max;
    struct dj_limiter_shard shards[DJ_LIMITER_SHARDS];
};

uint64_t dj_limiter_hash(const struct dj_limiter *limiter, const uint8_t tenant[DJ_TENANT_BYTES]);
struct dj_limiter_shard *dj_limiter_shard(struct dj_limiter *limiter, uint64_t hash);
/* NULL: there is none. Under the shard's lock, as the next. */
struct dj_limiter_account *dj_limiter_find(struct dj_limiter_shard *shard, uint64_t hash,
                                           const uint8_t tenant[DJ_TENANT_BYTES],
                                           const char *key_id);
/* Found or made, and the last to give way; NULL: no room, no memory. */
struct dj_limiter_account *dj_limiter_meet(struct dj_limiter *limiter,
                                           struct dj_limiter_shard *shard, uint64_t hash,
                                           const uint8_t tenant[DJ_TENANT_BYTES],
                                           const char *key_id, uint64_t now_us);
/* What was spent on another day is not spent today. */
void dj_limiter_turn_day(struct dj_limiter_account *account, int64_t wall_ms);
void dj_limiter_refuse(struct dj_limit_verdict *verdict, enum dj_limit limit, uint64_t wait_us);

#endif
