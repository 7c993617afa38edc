/* proxy/ledger.c - see ledger.h.
 *
 *   accounts[]  insert only, read without a lock; each has two rings of buckets:
 *   hours: 25 of an hour, days: 32 of a day. A bucket is that of its number modulo the ring's size.
 *
 * (1) A ring's `newest` is the number of the newest bucket that is in use. Who has a newer one
 * takes the lock, empties every bucket between, and publishes the number last: so nobody adds to a
 *     bucket before it is empty.
 * (2) What belongs to a bucket that has left the ring is dropped.
 * (3) account_count <= DJ_LEDGER_ACCOUNTS_MAX < SLOTS, so every probe meets an empty slot (I7).
 */
#include "proxy/ledger.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "crypto/digest.h"

#define SLOTS 8192u
#define HOUR_MS 3600000
#define HOURS 25u
#define DAYS 32u

struct ring {
    int64_t bucket_ms;
    int64_t count;
    _Atomic int64_t newest;
    _Atomic uint64_t (*buckets)[DJ_LEDGER_SUM_COUNT];
};

struct account {
    uint8_t tenant[DJ_ID_BYTES];
    char kind[DJ_LEDGER_KIND_BYTES];
    struct ring hours;
    struct ring days;
    _Atomic uint64_t hour_buckets[HOURS][DJ_LEDGER_SUM_COUNT];
    _Atomic uint64_t day_buckets[DAYS][DJ_LEDGER_SUM_COUNT];
};

struct dj_ledger {
    uint8_t hash_key[16]; /* kinds are named by strangers */
    pthread_mutex_t lock; /* inserts, and buckets that begin */
    uint32_t account_count;
    _Atomic(struct account *) *accounts; /* SLOTS */
};

enum deja_status dj_ledger_create(struct dj_ledger **out_ledger)
{
    struct dj_ledger *ledger = dj_alloc_zeroed(1, sizeof *ledger);
    if (!ledger)
        return DEJA_ERR_NOMEM;
    ledger->accounts = dj_alloc_zeroed(SLOTS, sizeof *ledger->accounts);
    if (!ledger->accounts) {
        dj_free(ledger);
        return DEJA_ERR_NOMEM;
    }
    pthread_mutex_init(&ledger->lock, NULL); /* default attributes cannot fail on Linux */
    dj_random_bytes(ledger->hash_key, sizeof ledger->hash_key);
    *out_ledger = ledger;
    return DEJA_OK;
}

void dj_ledger_destroy(struct dj_ledger *ledger)
{
    if (!ledger)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        dj_free(atomic_load_explicit(&ledger->accounts[i], memory_order_relaxed));
    dj_free(ledger->accounts);
    pthread_mutex_destroy(&ledger->lock);
    dj_free(ledger);
}

/* ---- accounts ---- */

/* Found, or NULL with *out_slot where it would go. */
static struct account *find(const struct dj_ledger *ledger, const uint8_t tenant[DJ_ID_BYTES],
                            const char *kind, size_t *out_slot)
{
    uint8_t key[DJ_ID_BYTES + DJ_LEDGER_KIND_BYTES];
    size_t kind_len = strlen(kind);
    memcpy(key, tenant, DJ_ID_BYTES);
    memcpy(key + DJ_ID_BYTES, kind, kind_len);
    size_t slot =
        dj_siphash(ledger->hash_key, deja_slice((const char *)key, DJ_ID_BYTES + kind_len)) &
        (SLOTS - 1);
    for (;;) {
        struct account *at = atomic_load_explicit(&ledger->accounts[slot], memory_order_acquire);
        if (!at) {
            *out_slot = slot;
            return NULL;
        }
        if (memcmp(at->tenant, tenant, DJ_ID_BYTES) == 0 && strcmp(at->kind, kind) == 0)
            return at;
        slot = (slot + 1) & (SLOTS - 1);
    }
}

/* NULL: no room, or no memory. */
static struct account *insert(struct dj_ledger *ledger, const uint8_t tenant[DJ_ID_BYTES],
                              const char *kind)
{
    size_t slot = 0;
    pthread_mutex_lock(&ledger->lock);
    struct account *at = find(ledger, tenant, kind, &slot);
    if (!at && ledger->account_count < DJ_LEDGER_ACCOUNTS_MAX)
        at = dj_alloc_zeroed(1, sizeof *at);
    else
        slot = SLOTS;
    if (at && slot < SLOTS) {
        memcpy(at->tenant, tenant, DJ_ID_BYTES);
        memcpy(at->kind, kind, strlen(kind) + 1);
        at->hours.bucket_ms = HOUR_MS;
        at->hours.count = HOURS;
        at->hours.buckets = at->hour_buckets;
        at->days.bucket_ms = (int64_t)DJ_LEDGER_DAY_MS;
        at->days.count = DAYS;
        at->days.buckets = at->day_buckets;
        ledger->account_count++;
        atomic_store_explicit(&ledger->accounts[slot], at, memory_order_release);
    }
    pthread_mutex_unlock(&ledger->lock);
    return at;
}

/* ---- rings ---- */

static void begin_bucket(struct dj_ledger *ledger, struct ring *ring, int64_t number)
{
    pthread_mutex_lock(&ledger->lock);
    int64_t newest = atomic_load_explicit(&ring->newest, memory_order_relaxed);
    int64_t first = newest + 1 > number - ring->count + 1 ? newest + 1 : number - ring->count + 1;
    for (int64_t n = first; n <= number; n++)
        for (size_t i = 0; i < DJ_LEDGER_SUM_COUNT; i++)
            atomic_store_explicit(&ring->buckets[n % ring->count][i], 0, memory_order_relaxed);
    if (number > newest)
        atomic_store_explicit(&ring->newest, number, memory_order_release);
    pthread_mutex_unlock(&ledger->lock);
}

static void add(struct dj_ledger *ledger, struct ring *ring, int64_t now_ms,
                const uint64_t sums[DJ_LEDGER_SUM_COUNT])
{
    int64_t number = now_ms / ring->bucket_ms;
    if (number > atomic_load_explicit(&ring->newest, memory_order_acquire))
        begin_bucket(ledger, ring, number);
    else if (number <= atomic_load_explicit(&ring->newest, memory_order_acquire) - ring->count)
        return; /* (2) */
    for (size_t i = 0; i < DJ_LEDGER_SUM_COUNT; i++)
        if (sums[i])
            atomic_fetch_add_explicit(&ring->buckets[number % ring->count][i], sums[i],
                                      memory_order_relaxed);
}

/* NULL: no room, or no memory. */
static struct account *account_of(struct dj_ledger *ledger, const uint8_t tenant[DJ_ID_BYTES],
                                  const char *kind)
{
    size_t slot = 0;
    if (strlen(kind) >= DJ_LEDGER_KIND_BYTES)
        kind = "other";
    struct account *account = find(ledger, tenant, kind, &slot);
    return account ? account : insert(ledger, tenant, kind);
}

void dj_ledger_add(struct dj_ledger *ledger, const uint8_t tenant[DJ_ID_BYTES], const char *kind,
                   int64_t now_ms, const uint64_t sums[DJ_LEDGER_SUM_COUNT])
{
    struct account *account = now_ms > 0 ? account_of(ledger, tenant, kind) : NULL;
    if (!account)
        return;
    add(ledger, &account->hours, now_ms, sums);
    add(ledger, &account->days, now_ms, sums);
}

void dj_ledger_restore(struct dj_ledger *ledger, const struct dj_ledger_bucket *bucket)
{
    struct account *account =
        bucket->at_ms > 0 ? account_of(ledger, bucket->tenant, bucket->kind) : NULL;
    if (account)
        add(ledger, bucket->is_day ? &account->days : &account->hours, bucket->at_ms, bucket->sums);
}

/* ---- reading ---- */

static bool read_ring(const struct ring *ring, int64_t first, int64_t last,
                      uint64_t out_sums[DJ_LEDGER_SUM_COUNT])
{
    int64_t newest = atomic_load_explicit(&ring->newest, memory_order_acquire);
    bool has_any = false;
    first = first > newest - ring->count + 1 ? first : newest - ring->count + 1;
    first = first < 0 ? 0 : first;
    last = last < newest ? last : newest;
    for (int64_t n = first; n <= last; n++) {
        for (size_t i = 0; i < DJ_LEDGER_SUM_COUNT; i++) {
            uint64_t sum =
                atomic_load_explicit(&ring->buckets[n % ring->count][i], memory_order_relaxed);
            out_sums[i] += sum;
            has_any |= sum > 0;
        }
    }
    return has_any;
}

static void walk_ring(const struct account *account, bool is_day, void *ctx,
                      dj_ledger_each_fn *each)
{
    const struct ring *ring = is_day ? &account->days : &account->hours;
    int64_t newest = atomic_load_explicit(&ring->newest, memory_order_acquire);
    for (int64_t n = newest - ring->count + 1; n <= newest; n++) {
        struct dj_ledger_bucket bucket = {.is_day = is_day, .at_ms = n * ring->bucket_ms};
        if (!read_ring(ring, n, n, bucket.sums))
            continue;
        memcpy(bucket.tenant, account->tenant, sizeof bucket.tenant);
        memcpy(bucket.kind, account->kind, sizeof bucket.kind);
        each(ctx, &bucket);
    }
}

void dj_ledger_walk(struct dj_ledger *ledger, void *ctx, dj_ledger_each_fn *each)
{
    for (size_t i = 0; i < SLOTS; i++) {
        const struct account *account =
            atomic_load_explicit(&ledger->accounts[i], memory_order_acquire);
        if (!account)
            continue;
        walk_ring(account, false, ctx, each);
        walk_ring(account, true, ctx, each);
    }
}

static int compare_lines(const void *a, const void *b)
{
    const struct dj_ledger_line *left = a;
    const struct dj_ledger_line *right = b;
    return strcmp(left->kind, right->kind);
}

static struct dj_ledger_line *line_of(struct dj_ledger_line *lines, size_t *count, const char *kind)
{
    for (size_t i = 0; i < *count; i++)
        if (strcmp(lines[i].kind, kind) == 0)
            return &lines[i];
    if (*count == DJ_LEDGER_KINDS_MAX)
        return NULL;
    struct dj_ledger_line *line = &lines[(*count)++];
    *line = (struct dj_ledger_line){.kind = ""};
    memcpy(line->kind, kind, strlen(kind) + 1);
    return line;
}

size_t dj_ledger_read(struct dj_ledger *ledger, const uint8_t *tenant, int64_t now_ms,
                      uint64_t period_ms, struct dj_ledger_line out_lines[DJ_LEDGER_KINDS_MAX],
                      int64_t *out_from_ms)
{
    size_t count = 0;
    period_ms = period_ms ? period_ms : DJ_LEDGER_DAY_MS;
    if (period_ms > DJ_LEDGER_PERIOD_MAX_MS)
        period_ms = DJ_LEDGER_PERIOD_MAX_MS;
    bool is_short = period_ms <= DJ_LEDGER_DAY_MS;
    int64_t bucket_ms = is_short ? HOUR_MS : (int64_t)DJ_LEDGER_DAY_MS;
    int64_t from_ms = now_ms - (int64_t)period_ms;
    int64_t first = from_ms > 0 ? from_ms / bucket_ms : 0;
    for (size_t i = 0; i < SLOTS; i++) {
        uint64_t sums[DJ_LEDGER_SUM_COUNT] = {0};
        const struct account *account =
            atomic_load_explicit(&ledger->accounts[i], memory_order_acquire);
        if (!account || (tenant && memcmp(account->tenant, tenant, DJ_ID_BYTES) != 0) ||
            !read_ring(is_short ? &account->hours : &account->days, first, now_ms / bucket_ms,
                       sums))
            continue;
        struct dj_ledger_line *line = line_of(out_lines, &count, account->kind);
        for (size_t k = 0; line && k < DJ_LEDGER_SUM_COUNT; k++)
            line->sums[k] += sums[k];
    }
    qsort(out_lines, count, sizeof *out_lines, compare_lines);
    *out_from_ms = first * bucket_ms;
    return count;
}
