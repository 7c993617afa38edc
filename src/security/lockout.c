/* security/lockout.c - see lockout.h. Trust: names are untrusted, and known by their hash only: two
 * that share one share a score, which 64 bits under a random key leave to chance. */
#include "security/lockout.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "crypto/digest.h"

#define WAYS 4u
/* After so many half-lives a score is less than a thousandth: forgotten. */
#define HALF_LIVES_MAX 16

struct slot {
    uint64_t name; /* 0: free */
    double score;  /* as it was at at_ms */
    int64_t at_ms;
};

struct dj_lockout {
    pthread_mutex_t lock;
    struct slot *slots;
    size_t mask; /* of sets */
    int64_t half_life_ms;
    _Atomic int64_t last_ms; /* of the last failure */
    uint8_t hash_key[16];
};

enum deja_status dj_lockout_create(size_t slots, int64_t half_life_ms,
                                   struct dj_lockout **out_lockout)
{
    struct dj_lockout *lockout = dj_alloc_zeroed(1, sizeof *lockout);
    size_t sets = 1;
    if (!lockout)
        return DEJA_ERR_NOMEM;
    while (sets * WAYS < slots)
        sets *= 2;
    lockout->slots = dj_alloc_zeroed(sets * WAYS, sizeof *lockout->slots);
    if (!lockout->slots) {
        dj_free(lockout);
        return DEJA_ERR_NOMEM;
    }
    lockout->mask = sets - 1;
    lockout->half_life_ms = half_life_ms;
    pthread_mutex_init(&lockout->lock, NULL);
    atomic_store(&lockout->last_ms, INT64_MIN / 2);
    dj_random_bytes(lockout->hash_key, sizeof lockout->hash_key);
    *out_lockout = lockout;
    return DEJA_OK;
}

void dj_lockout_destroy(struct dj_lockout *lockout)
{
    if (!lockout)
        return;
    pthread_mutex_destroy(&lockout->lock);
    dj_free(lockout->slots);
    dj_free(lockout);
}

static double decayed(const struct dj_lockout *lockout, const struct slot *slot, int64_t now_ms)
{
    double halves = (double)(now_ms - slot->at_ms) / (double)lockout->half_life_ms;
    if (halves >= HALF_LIVES_MAX)
        return 0;
    return halves > 0 ? slot->score * exp2(-halves) : slot->score;
}

static uint64_t hash_of(const struct dj_lockout *lockout, struct deja_slice name)
{
    uint64_t hash = dj_siphash(lockout->hash_key, name);
    return hash ? hash : 1;
}

static struct slot *set_of(struct dj_lockout *lockout, uint64_t hash)
{
    return lockout->slots + (hash & lockout->mask) * WAYS;
}

void dj_lockout_fail(struct dj_lockout *lockout, struct deja_slice name, double limit,
                     int64_t now_ms)
{
    uint64_t hash = hash_of(lockout, name);
    pthread_mutex_lock(&lockout->lock);
    struct slot *set = set_of(lockout, hash);
    struct slot *chosen = set;
    double lowest = INFINITY;
    for (size_t i = 0; i < WAYS; i++) {
        double score = set[i].name ? decayed(lockout, &set[i], now_ms) : -1;
        if (set[i].name == hash) {
            chosen = &set[i];
            break;
        }
        if (score < lowest) {
            lowest = score;
            chosen = &set[i];
        }
    }
    double score = chosen->name == hash ? decayed(lockout, chosen, now_ms) : 0;
    *chosen = (struct slot){.name = hash, .score = fmin(score + 1, 2 * limit), .at_ms = now_ms};
    atomic_store_explicit(&lockout->last_ms, now_ms, memory_order_relaxed);
    pthread_mutex_unlock(&lockout->lock);
}

double dj_lockout_score(struct dj_lockout *lockout, struct deja_slice name, int64_t now_ms)
{
    int64_t last_ms = atomic_load_explicit(&lockout->last_ms, memory_order_relaxed);
    double score = 0;
    if (now_ms - last_ms >= lockout->half_life_ms * HALF_LIVES_MAX)
        return 0;
    uint64_t hash = hash_of(lockout, name);
    pthread_mutex_lock(&lockout->lock);
    const struct slot *set = set_of(lockout, hash);
    for (size_t i = 0; i < WAYS; i++)
        if (set[i].name == hash)
            score = decayed(lockout, &set[i], now_ms);
    pthread_mutex_unlock(&lockout->lock);
    return score;
}

int64_t dj_lockout_rest_ms(const struct dj_lockout *lockout, double score, double limit)
{
    if (score < limit)
        return 0;
    double rest_ms = ceil(log2(score / limit) * (double)lockout->half_life_ms);
    return rest_ms >= 1 ? (int64_t)rest_ms : 1;
}
