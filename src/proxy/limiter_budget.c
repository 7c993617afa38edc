/* proxy/limiter_budget.c - calls upstream a minute, and their money a day; what of that is written
 * down, and what was read of other programs. */
#include "proxy/limiter_internal.h"

static uint64_t budget_nano(const struct dj_rules_limits *limits)
{
    return limits->spend_usd_per_day > 0 && limits->spend_usd_per_day < 1e9
               ? (uint64_t)(limits->spend_usd_per_day * DJ_LIMITER_NANO)
               : 0;
}

void dj_limiter_turn_day(struct dj_limiter_account *account, int64_t wall_ms)
{
    if (account->day == wall_ms / DJ_LIMITER_DAY_MS)
        return;
    account->day = wall_ms / DJ_LIMITER_DAY_MS;
    account->spent_nano = 0;
    account->kept_nano = 0;
    account->elsewhere_nano = 0;
}

/* Until then what was spent is not to be forgotten. */
static uint64_t day_end_us(uint64_t now_us, int64_t wall_ms)
{
    return now_us + (uint64_t)(DJ_LIMITER_DAY_MS - wall_ms % DJ_LIMITER_DAY_MS) * 1000;
}

bool dj_limiter_take_miss(struct dj_limiter *limiter, const uint8_t tenant[DJ_TENANT_BYTES],
                          const struct dj_rules *rules, uint64_t now_us, int64_t wall_ms,
                          struct dj_limit_verdict *out_verdict)
{
    const struct dj_rules_limits *limits = &dj_rules_of(rules)->limits;
    uint64_t budget = budget_nano(limits);
    *out_verdict = (struct dj_limit_verdict){.limit = DJ_LIMIT_NONE};
    if (!limiter || (!budget && !(limits->misses_per_minute > 0)))
        return true;
    uint64_t hash = dj_limiter_hash(limiter, tenant);
    struct dj_limiter_shard *shard = dj_limiter_shard(limiter, hash);
    pthread_mutex_lock(&shard->mutex);
    struct dj_limiter_account *account = dj_limiter_meet(limiter, shard, hash, tenant, "", now_us);
    if (!account) {
        dj_limiter_refuse(out_verdict, DJ_LIMIT_ACCOUNTS, 999000);
        pthread_mutex_unlock(&shard->mutex);
        return false;
    }
    account->is_configured = dj_rules_of(rules)->is_configured;
    dj_limiter_turn_day(account, wall_ms);
    struct dj_bucket_rate *rate = &account->rates[DJ_RATE_MISSES];
    uint64_t burst = limits->misses_per_minute < 1 ? 1 : (uint64_t)limits->misses_per_minute;
    if (budget && account->spent_nano + account->elsewhere_nano >= budget)
        dj_limiter_refuse(out_verdict, DJ_LIMIT_SPEND,
                          (uint64_t)(DJ_LIMITER_DAY_MS - wall_ms % DJ_LIMITER_DAY_MS) * 1000);
    else if (dj_bucket_rate_of(limits->misses_per_minute / 60, burst, DJ_LIMITER_MISSES_PERIOD_US,
                               rate) &&
             !dj_bucket_take(&account->misses, rate, 1, now_us))
        dj_limiter_refuse(out_verdict, DJ_LIMIT_MISSES,
                          dj_bucket_wait_us(&account->misses, rate, 1, now_us));
    pthread_mutex_unlock(&shard->mutex);
    return out_verdict->limit == DJ_LIMIT_NONE;
}

void dj_limiter_spend(struct dj_limiter *limiter, const uint8_t tenant[DJ_TENANT_BYTES],
                      const struct dj_rules *rules, double usd, uint64_t now_us, int64_t wall_ms)
{
    if (!limiter || !budget_nano(&dj_rules_of(rules)->limits) || !(usd > 0) || usd > 1e6)
        return;
    uint64_t hash = dj_limiter_hash(limiter, tenant);
    struct dj_limiter_shard *shard = dj_limiter_shard(limiter, hash);
    pthread_mutex_lock(&shard->mutex);
    struct dj_limiter_account *account = dj_limiter_find(shard, hash, tenant, "");
    if (account) { /* it was met when the call was let through, and has spent since */
        dj_limiter_turn_day(account, wall_ms);
        account->spent_nano += (uint64_t)(usd * DJ_LIMITER_NANO) + 1;
        account->spent_until_us = day_end_us(now_us, wall_ms);
    }
    pthread_mutex_unlock(&shard->mutex);
}

/* ---- over restarts, and among programs ---- */

size_t dj_limiter_unkept(struct dj_limiter *limiter, size_t shard_index, int64_t wall_ms,
                         struct dj_limit_spent *out_spent, size_t max)
{
    struct dj_limiter_shard *shard = &limiter->shards[shard_index];
    int64_t day = wall_ms / DJ_LIMITER_DAY_MS;
    size_t count = 0;
    pthread_mutex_lock(&shard->mutex);
    for (struct dj_list *node = shard->used.next; node != &shard->used && count < max;
         node = node->next) {
        const struct dj_limiter_account *account =
            DJ_CONTAINER(node, struct dj_limiter_account, node);
        if (account->day != day || account->spent_nano <= account->kept_nano)
            continue;
        out_spent[count] = (struct dj_limit_spent){.day = day, .nano_usd = account->spent_nano};
        memcpy(out_spent[count++].tenant, account->tenant, DJ_TENANT_BYTES);
    }
    pthread_mutex_unlock(&shard->mutex);
    return count;
}

void dj_limiter_note_kept(struct dj_limiter *limiter, const struct dj_limit_spent *spent)
{
    uint64_t hash = dj_limiter_hash(limiter, spent->tenant);
    struct dj_limiter_shard *shard = dj_limiter_shard(limiter, hash);
    pthread_mutex_lock(&shard->mutex);
    struct dj_limiter_account *account = dj_limiter_find(shard, hash, spent->tenant, "");
    if (account && account->day == spent->day)
        account->kept_nano = spent->nano_usd;
    pthread_mutex_unlock(&shard->mutex);
}

static void take_over(struct dj_limiter *limiter, const struct dj_limit_spent *spent, bool is_own,
                      uint64_t now_us, int64_t wall_ms)
{
    if (spent->day != wall_ms / DJ_LIMITER_DAY_MS)
        return;
    uint64_t hash = dj_limiter_hash(limiter, spent->tenant);
    struct dj_limiter_shard *shard = dj_limiter_shard(limiter, hash);
    pthread_mutex_lock(&shard->mutex);
    struct dj_limiter_account *account =
        dj_limiter_meet(limiter, shard, hash, spent->tenant, "", now_us);
    if (account) {
        dj_limiter_turn_day(account, wall_ms);
        account->spent_until_us = day_end_us(now_us, wall_ms);
        if (is_own) {
            account->spent_nano += spent->nano_usd;
            account->kept_nano += spent->nano_usd;
        } else {
            account->elsewhere_nano = spent->nano_usd;
        }
    }
    pthread_mutex_unlock(&shard->mutex);
}

void dj_limiter_restore(struct dj_limiter *limiter, const struct dj_limit_spent *spent,
                        uint64_t now_us, int64_t wall_ms)
{
    take_over(limiter, spent, true, now_us, wall_ms);
}

void dj_limiter_set_elsewhere(struct dj_limiter *limiter, const struct dj_limit_spent *spent,
                              uint64_t now_us, int64_t wall_ms)
{
    take_over(limiter, spent, false, now_us, wall_ms);
}
