/* proxy/limiter.c - see limiter.h.
 *
 *   shard: lock, chains (by SipHash of the account's id), list (who was not used for longest first)
 *
 * An account's id is the tenant, or the tenant and the key; both hash by the tenant, so that a
 * request takes one lock.
 *
 * (1) An account is in one chain and on its shard's list, from insert to drop.
 * (2) A shard has at most accounts_max / DJ_LIMITER_SHARDS + 1 accounts (I7).
 * (3) Accounts with connections or requests under way are never dropped: what is counted up is
 *     counted down.
 */
#include "proxy/limiter_internal.h"

#include <assert.h>

#include "base/alloc.h"
#include "crypto/digest.h"

#define CANDIDATES 16u /* that are looked at to make room */

/* One period for all buckets of a kind, however its limit changes; short enough for high limits,
 * long enough for low ones. */
#define REQUESTS_PERIOD_US UINT64_C(1000000000)
#define BYTES_PERIOD_US UINT64_C(1000000)

static const char *const texts[DJ_LIMIT_COUNT] = {
    [DJ_LIMIT_NONE] = "none",
    [DJ_LIMIT_REQUESTS] = "requests",
    [DJ_LIMIT_KEY] = "key",
    [DJ_LIMIT_BYTES] = "bytes",
    [DJ_LIMIT_CONNECTIONS] = "connections",
    [DJ_LIMIT_CONCURRENCY] = "concurrency",
    [DJ_LIMIT_MISSES] = "misses",
    [DJ_LIMIT_SPEND] = "spend",
    [DJ_LIMIT_ACCOUNTS] = "accounts",
};
static const char *const details[DJ_LIMIT_COUNT] = {
    [DJ_LIMIT_NONE] = "",
    [DJ_LIMIT_REQUESTS] = "This tenant's requests per second are used up. Wait for the time given.",
    [DJ_LIMIT_KEY] = "This API key's requests per second are used up. Wait for the time given.",
    [DJ_LIMIT_BYTES] = "This tenant's bytes per second are used up. Wait for the time given.",
    [DJ_LIMIT_CONNECTIONS] = "This tenant has as many connections open as it may. Use fewer, or "
                             "close idle ones.",
    [DJ_LIMIT_CONCURRENCY] = "This tenant has as many requests under way as it may. Wait for one "
                             "of them.",
    [DJ_LIMIT_MISSES] = "Not in the cache, and this tenant's calls to the upstream per minute are "
                        "used up. Answers from the cache go on.",
    [DJ_LIMIT_SPEND] = "Not in the cache, and this tenant's upstream budget of the day is used up. "
                       "Answers from the cache go on.",
    [DJ_LIMIT_ACCOUNTS] = "Too many different callers at once. Wait for the time given.",
};

const char *dj_limit_text(enum dj_limit limit)
{
    return texts[limit];
}

const char *dj_limit_detail(enum dj_limit limit)
{
    return details[limit];
}

enum deja_status dj_limiter_create(size_t accounts_max, struct dj_limiter **out_limiter)
{
    struct dj_limiter *limiter = dj_alloc_zeroed(1, sizeof *limiter);
    if (!limiter)
        return DEJA_ERR_NOMEM;
    dj_random_bytes(limiter->key, sizeof limiter->key);
    limiter->shard_accounts_max = accounts_max / DJ_LIMITER_SHARDS + 1;
    /* Who was met last is never among the candidates: one request holds two. */
    if (limiter->shard_accounts_max < CANDIDATES + 2)
        limiter->shard_accounts_max = CANDIDATES + 2;
    for (size_t i = 0; i < DJ_LIMITER_SHARDS; i++) {
        pthread_mutex_init(&limiter->shards[i].mutex, NULL); /* cannot fail on Linux */
        dj_list_init(&limiter->shards[i].used);
    }
    *out_limiter = limiter;
    return DEJA_OK;
}

static struct dj_limiter_account *account_of(struct dj_list *node)
{
    return DJ_CONTAINER(node, struct dj_limiter_account, node);
}

void dj_limiter_destroy(struct dj_limiter *limiter)
{
    if (!limiter)
        return;
    for (size_t i = 0; i < DJ_LIMITER_SHARDS; i++) {
        struct dj_limiter_shard *shard = &limiter->shards[i];
        while (!dj_list_is_empty(&shard->used)) {
            struct dj_limiter_account *account = account_of(shard->used.next);
            dj_list_remove(&account->node);
            dj_free(account);
        }
        pthread_mutex_destroy(&shard->mutex);
    }
    dj_free(limiter);
}

/* ---- accounts ---- */

uint64_t dj_limiter_hash(const struct dj_limiter *limiter, const uint8_t tenant[DJ_TENANT_BYTES])
{
    return dj_siphash(limiter->key, deja_slice(tenant, DJ_TENANT_BYTES));
}

struct dj_limiter_shard *dj_limiter_shard(struct dj_limiter *limiter, uint64_t hash)
{
    return &limiter->shards[hash % DJ_LIMITER_SHARDS];
}

static struct dj_limiter_account **chain_of(struct dj_limiter_shard *shard, uint64_t hash)
{
    return &shard->chains[(hash / DJ_LIMITER_SHARDS) % DJ_LIMITER_CHAINS];
}

struct dj_limiter_account *dj_limiter_find(struct dj_limiter_shard *shard, uint64_t hash,
                                           const uint8_t tenant[DJ_TENANT_BYTES],
                                           const char *key_id)
{
    struct dj_limiter_account *at = *chain_of(shard, hash);
    while (at && (at->hash != hash || memcmp(at->tenant, tenant, DJ_TENANT_BYTES) != 0 ||
                  strcmp(at->key_id, key_id) != 0))
        at = at->next;
    return at;
}

static void drop(struct dj_limiter_shard *shard, struct dj_limiter_account *account)
{
    struct dj_limiter_account **at = chain_of(shard, account->hash);
    while (*at != account)
        at = &(*at)->next;
    *at = account->next;
    dj_list_remove(&account->node);
    shard->count--;
    dj_free(account);
}

static bool is_full(struct dj_bucket *bucket, const struct dj_bucket_rate *rate, uint64_t now_us)
{
    return !bucket->has_begun || dj_bucket_full_us(bucket, rate, now_us) == 0;
}

static bool is_under_way(const struct dj_limiter_account *account)
{
    return account->connections || account->requests_under_way;
}

/* A new one would say the same. */
static bool is_forgettable(struct dj_limiter_account *account, uint64_t now_us)
{
    return now_us >= account->spent_until_us &&
           is_full(&account->requests, &account->rates[DJ_RATE_REQUESTS], now_us) &&
           is_full(&account->bytes, &account->rates[DJ_RATE_BYTES], now_us) &&
           is_full(&account->misses, &account->rates[DJ_RATE_MISSES], now_us);
}

static bool make_room(struct dj_limiter *limiter, struct dj_limiter_shard *shard, uint64_t now_us)
{
    struct dj_limiter_account *derived = NULL;
    if (shard->count < limiter->shard_accounts_max)
        return true;
    struct dj_list *node = shard->used.next;
    for (size_t i = 0; i < CANDIDATES && node != &shard->used; i++, node = node->next) {
        struct dj_limiter_account *account = account_of(node);
        if (is_under_way(account))
            continue;
        if (is_forgettable(account, now_us)) {
            drop(shard, account);
            return true;
        }
        if (!derived && !account->is_configured)
            derived = account;
    }
    if (derived)
        drop(shard, derived);
    return derived != NULL;
}

struct dj_limiter_account *dj_limiter_meet(struct dj_limiter *limiter,
                                           struct dj_limiter_shard *shard, uint64_t hash,
                                           const uint8_t tenant[DJ_TENANT_BYTES],
                                           const char *key_id, uint64_t now_us)
{
    struct dj_limiter_account *account = dj_limiter_find(shard, hash, tenant, key_id);
    if (!account) {
        account = make_room(limiter, shard, now_us) ? dj_alloc_zeroed(1, sizeof *account) : NULL;
        if (!account)
            return NULL;
        struct dj_limiter_account **chain = chain_of(shard, hash);
        account->hash = hash;
        account->next = *chain;
        memcpy(account->tenant, tenant, DJ_TENANT_BYTES);
        memcpy(account->key_id, key_id, strlen(key_id) + 1);
        dj_list_init(&account->node);
        *chain = account;
        shard->count++;
    }
    dj_list_remove(&account->node);
    dj_list_push_back(&shard->used, &account->node);
    return account;
}

/* ---- the gate ---- */

static uint64_t ms_of(uint64_t us)
{
    return us == UINT64_MAX ? (uint64_t)DJ_LIMITER_DAY_MS : us / 1000 + 1;
}

void dj_limiter_refuse(struct dj_limit_verdict *verdict, enum dj_limit limit, uint64_t wait_us)
{
    verdict->limit = limit;
    verdict->wait_ms = ms_of(wait_us);
}

static bool has_gate(const struct dj_rules_limits *limits, const struct dj_principal *who)
{
    return limits->requests_per_s > 0 || limits->bytes_per_s || limits->requests_max ||
           (who->key_id[0] && who->key_requests_per_s > 0);
}

/* The tighter of two buckets is told. */
static void tell_quota(struct dj_limit_verdict *verdict, struct dj_limiter_account *account,
                       uint64_t now_us)
{
    const struct dj_bucket_rate *rate = &account->rates[DJ_RATE_REQUESTS];
    uint64_t left = dj_bucket_left(&account->requests, rate, now_us);
    if (verdict->has_quota && verdict->left <= left)
        return;
    verdict->has_quota = true;
    verdict->quota = rate->burst;
    verdict->left = left;
    verdict->full_ms = ms_of(dj_bucket_full_us(&account->requests, rate, now_us)) - 1;
    verdict->per_second = (rate->tokens * 1000000 + rate->period_us - 1) / rate->period_us;
}

/* What an account has to say about one request, without taking anything. */
static bool may_pass(struct dj_limiter_account *account, uint64_t now_us, enum dj_limit limit,
                     struct dj_limit_verdict *verdict)
{
    uint64_t wait_us =
        dj_bucket_wait_us(&account->requests, &account->rates[DJ_RATE_REQUESTS], 1, now_us);
    if (wait_us)
        dj_limiter_refuse(verdict, limit, wait_us);
    return wait_us == 0;
}

/* Both accounts of one request; each is NULL where it has no limit. */
struct entering {
    const struct dj_rules_limits *limits;
    struct dj_limiter_account *key;
    struct dj_limiter_account *tenant;
    bool has_requests;
    bool has_bytes;
    uint64_t body_bytes;
    uint64_t now_us;
};

static bool decide(struct entering *entering, struct dj_limit_verdict *verdict)
{
    struct dj_limiter_account *tenant = entering->tenant;
    uint64_t now_us = entering->now_us;
    if (entering->key && !may_pass(entering->key, now_us, DJ_LIMIT_KEY, verdict))
        return false;
    if (entering->has_requests && !may_pass(tenant, now_us, DJ_LIMIT_REQUESTS, verdict))
        return false;
    uint64_t wait_us =
        entering->has_bytes
            ? dj_bucket_wait_us(&tenant->bytes, &tenant->rates[DJ_RATE_BYTES], 0, now_us)
            : 0;
    if (wait_us) {
        dj_limiter_refuse(verdict, DJ_LIMIT_BYTES, wait_us);
        return false;
    }
    if (entering->limits->requests_max &&
        tenant->requests_under_way >= entering->limits->requests_max) {
        dj_limiter_refuse(verdict, DJ_LIMIT_CONCURRENCY, 999000);
        return false;
    }
    return true;
}

static void take(struct entering *entering, struct dj_limit_pass *pass)
{
    struct dj_limiter_account *tenant = entering->tenant;
    uint64_t now_us = entering->now_us;
    bool is_taken = true;
    if (entering->key)
        is_taken = dj_bucket_take(&entering->key->requests, &entering->key->rates[DJ_RATE_REQUESTS],
                                  1, now_us);
    if (entering->has_requests)
        is_taken = is_taken &&
                   dj_bucket_take(&tenant->requests, &tenant->rates[DJ_RATE_REQUESTS], 1, now_us);
    assert(is_taken);
    if (entering->has_bytes) {
        dj_bucket_charge(&tenant->bytes, &tenant->rates[DJ_RATE_BYTES], entering->body_bytes,
                         now_us);
        pass->bytes_per_s = entering->limits->bytes_per_s;
    }
    if (entering->limits->requests_max) {
        tenant->requests_under_way++;
        pass->is_counted = true;
    }
}

/* False: no account. Under the shard's lock. */
static bool find_accounts(struct dj_limiter *limiter, struct dj_limiter_shard *shard, uint64_t hash,
                          const struct dj_principal *who, struct entering *entering)
{
    const struct dj_rules_limits *limits = entering->limits;
    bool is_configured = dj_rules_of(who->rules)->is_configured;
    uint64_t now_us = entering->now_us;
    struct dj_bucket_rate rate;
    if (who->key_id[0] &&
        dj_bucket_rate_of(who->key_requests_per_s, who->key_burst, REQUESTS_PERIOD_US, &rate)) {
        entering->key = dj_limiter_meet(limiter, shard, hash, who->tenant, who->key_id, now_us);
        if (!entering->key)
            return false;
        entering->key->rates[DJ_RATE_REQUESTS] = rate;
        entering->key->is_configured = true;
    }
    entering->tenant = dj_limiter_meet(limiter, shard, hash, who->tenant, "", now_us);
    if (!entering->tenant)
        return false;
    entering->tenant->is_configured = is_configured;
    entering->has_requests =
        dj_bucket_rate_of(limits->requests_per_s, limits->burst, REQUESTS_PERIOD_US,
                          &entering->tenant->rates[DJ_RATE_REQUESTS]);
    entering->has_bytes = dj_bucket_rate_of((double)limits->bytes_per_s, 0, BYTES_PERIOD_US,
                                            &entering->tenant->rates[DJ_RATE_BYTES]);
    return true;
}

bool dj_limiter_enter(struct dj_limiter *limiter, const struct dj_principal *who,
                      uint64_t body_bytes, uint64_t now_us, struct dj_limit_pass *out_pass,
                      struct dj_limit_verdict *out_verdict)
{
    const struct dj_rules_limits *limits = &dj_rules_of(who->rules)->limits;
    *out_pass = (struct dj_limit_pass){.limiter = limiter};
    *out_verdict = (struct dj_limit_verdict){.limit = DJ_LIMIT_NONE};
    if (!limiter || !has_gate(limits, who))
        return true;
    memcpy(out_pass->tenant, who->tenant, DJ_TENANT_BYTES);
    struct entering entering = {.limits = limits, .body_bytes = body_bytes, .now_us = now_us};
    uint64_t hash = dj_limiter_hash(limiter, who->tenant);
    struct dj_limiter_shard *shard = dj_limiter_shard(limiter, hash);
    pthread_mutex_lock(&shard->mutex);
    bool may_enter = find_accounts(limiter, shard, hash, who, &entering);
    if (!may_enter) {
        dj_limiter_refuse(out_verdict, DJ_LIMIT_ACCOUNTS, 999000);
    } else {
        may_enter = decide(&entering, out_verdict);
        if (may_enter)
            take(&entering, out_pass);
        if (entering.has_requests)
            tell_quota(out_verdict, entering.tenant, now_us);
        if (entering.key)
            tell_quota(out_verdict, entering.key, now_us);
    }
    pthread_mutex_unlock(&shard->mutex);
    return may_enter;
}

void dj_limiter_leave(struct dj_limit_pass *pass, uint64_t answer_bytes, uint64_t now_us)
{
    struct dj_limiter *limiter = pass->limiter;
    struct dj_bucket_rate rate;
    if (!limiter || (!pass->is_counted && !pass->bytes_per_s))
        return;
    uint64_t hash = dj_limiter_hash(limiter, pass->tenant);
    struct dj_limiter_shard *shard = dj_limiter_shard(limiter, hash);
    pthread_mutex_lock(&shard->mutex);
    struct dj_limiter_account *account = dj_limiter_find(shard, hash, pass->tenant, "");
    if (account && pass->is_counted)
        account->requests_under_way--;
    if (account && dj_bucket_rate_of((double)pass->bytes_per_s, 0, BYTES_PERIOD_US, &rate))
        dj_bucket_charge(&account->bytes, &rate, answer_bytes, now_us);
    pthread_mutex_unlock(&shard->mutex);
    *pass = (struct dj_limit_pass){.limiter = NULL};
}

/* ---- connections ---- */

bool dj_limiter_connect(struct dj_limiter *limiter, const struct dj_principal *who, uint64_t now_us)
{
    uint32_t connections_max = dj_rules_of(who->rules)->limits.connections_max;
    uint64_t hash = dj_limiter_hash(limiter, who->tenant);
    struct dj_limiter_shard *shard = dj_limiter_shard(limiter, hash);
    pthread_mutex_lock(&shard->mutex);
    struct dj_limiter_account *account =
        dj_limiter_meet(limiter, shard, hash, who->tenant, "", now_us);
    bool may_connect = account && account->connections < connections_max;
    if (may_connect)
        account->connections++;
    pthread_mutex_unlock(&shard->mutex);
    return may_connect;
}

void dj_limiter_disconnect(struct dj_limiter *limiter, const uint8_t tenant[DJ_TENANT_BYTES])
{
    uint64_t hash = dj_limiter_hash(limiter, tenant);
    struct dj_limiter_shard *shard = dj_limiter_shard(limiter, hash);
    pthread_mutex_lock(&shard->mutex);
    struct dj_limiter_account *account = dj_limiter_find(shard, hash, tenant, "");
    if (account && account->connections)
        account->connections--;
    pthread_mutex_unlock(&shard->mutex);
}

/* ---- looking ---- */

static uint64_t left_of(struct dj_limiter_account *account, struct dj_bucket *bucket,
                        unsigned which, const struct dj_bucket_rate *rate, uint64_t now_us)
{
    if (!account)
        return rate->burst;
    account->rates[which] = *rate;
    return dj_bucket_left(bucket, rate, now_us);
}

void dj_limiter_look(struct dj_limiter *limiter, const struct dj_principal *who, uint64_t now_us,
                     int64_t wall_ms, struct dj_limit_usage *out_usage)
{
    const struct dj_rules_limits *limits = &dj_rules_of(who->rules)->limits;
    *out_usage = (struct dj_limit_usage){0};
    if (!limiter)
        return;
    struct dj_bucket_rate rate;
    uint64_t hash = dj_limiter_hash(limiter, who->tenant);
    struct dj_limiter_shard *shard = dj_limiter_shard(limiter, hash);
    uint64_t burst = limits->misses_per_minute < 1 ? 1 : (uint64_t)limits->misses_per_minute;
    pthread_mutex_lock(&shard->mutex);
    struct dj_limiter_account *own = dj_limiter_find(shard, hash, who->tenant, "");
    struct dj_limiter_account *key =
        who->key_id[0] ? dj_limiter_find(shard, hash, who->tenant, who->key_id) : NULL;
    if (dj_bucket_rate_of(limits->requests_per_s, limits->burst, REQUESTS_PERIOD_US, &rate))
        out_usage->requests_left =
            left_of(own, own ? &own->requests : NULL, DJ_RATE_REQUESTS, &rate, now_us);
    if (dj_bucket_rate_of((double)limits->bytes_per_s, 0, BYTES_PERIOD_US, &rate))
        out_usage->bytes_left =
            left_of(own, own ? &own->bytes : NULL, DJ_RATE_BYTES, &rate, now_us);
    if (dj_bucket_rate_of(limits->misses_per_minute / 60, burst, DJ_LIMITER_MISSES_PERIOD_US,
                          &rate))
        out_usage->misses_left =
            left_of(own, own ? &own->misses : NULL, DJ_RATE_MISSES, &rate, now_us);
    if (who->key_id[0] &&
        dj_bucket_rate_of(who->key_requests_per_s, who->key_burst, REQUESTS_PERIOD_US, &rate))
        out_usage->key_left =
            left_of(key, key ? &key->requests : NULL, DJ_RATE_REQUESTS, &rate, now_us);
    if (own) {
        dj_limiter_turn_day(own, wall_ms);
        out_usage->spent_usd = (double)(own->spent_nano + own->elsewhere_nano) / DJ_LIMITER_NANO;
        out_usage->connections = own->connections;
        out_usage->requests = own->requests_under_way;
    }
    pthread_mutex_unlock(&shard->mutex);
}

size_t dj_limiter_count(struct dj_limiter *limiter)
{
    size_t count = 0;
    for (size_t i = 0; i < DJ_LIMITER_SHARDS; i++) {
        pthread_mutex_lock(&limiter->shards[i].mutex);
        count += limiter->shards[i].count;
        pthread_mutex_unlock(&limiter->shards[i].mutex);
    }
    return count;
}
