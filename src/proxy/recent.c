/* proxy/recent.c - a ring that any thread writes without a lock: one cache line and one state per
 * slot.
 *
 *   state of slot n % SLOTS:   2n + 1  number n is being written      2n + 2  number n is whole
 *
 * (1) A writer takes a number, then the slot by one compare-and-swap. Where another writer still
 *     has it (it was held up for a whole lap) or a later one was quicker, the record is dropped:
 *     nobody waits, and two never write the same slot.
 * (2) Words are stored with release and loaded with acquire, which costs nothing on x86: a reader
 *     that met a word of a later record is sure to see the later state afterwards, and throws away
 *     what it read.
 * (3) A reader stops before a number that is taken but not yet whole, so that none is passed over;
 *     but for one that was dropped, or it would wait for a lap.
 */
#include "proxy/recent.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"

#define SLOT_MASK (DJ_RECENT_SLOTS - 1u)

enum word {
    WORD_TENANT, /* two */
    WORD_ID = 2, /* two */
    WORD_TIME = 4,
    WORD_DURATION,
    WORD_KIND, /* similarity (float) << 32 | has_id << 24 | level << 16 | result << 8 | api */
    WORD_COUNT
};

struct slot {
    _Atomic uint64_t state;
    _Atomic uint64_t words[WORD_COUNT];
};
static_assert(sizeof(struct slot) == 64, "a record is one cache line");

struct dj_recent {
    _Atomic uint64_t next;
    _Atomic uint64_t dropped; /* the last number that was dropped, + 1 */
    _Alignas(64) struct slot slots[DJ_RECENT_SLOTS];
};

/* What is not among them is the last one's. */
static const char *const apis[] = {"chat", "completions", "messages",  "responses", "embeddings",
                                   "api",  "passthrough", "langcache", "gptcache",  "other"};
static const char *const levels[] = {"memory", "lmdb", "redis", "postgres", "s3", "none"};

static uint64_t index_of(const char *const *names, size_t count, const char *name)
{
    size_t i = 0;
    while (i < count - 1 && strcmp(names[i], name) != 0)
        i++;
    return i;
}

enum deja_status dj_recent_create(struct dj_recent **out_recent)
{
    struct dj_recent *recent = dj_alloc_aligned(64, sizeof *recent);
    if (!recent)
        return DEJA_ERR_NOMEM;
    memset(recent, 0, sizeof *recent); /* no slot was ever written */
    *out_recent = recent;
    return DEJA_OK;
}

void dj_recent_destroy(struct dj_recent *recent)
{
    dj_free(recent);
}

/* ---- writing ---- */

static void make_words(const struct dj_finished *finished, uint64_t words[WORD_COUNT])
{
    float similarity = (float)finished->similarity;
    uint32_t similarity_bits = 0;
    double us = finished->seconds * 1e6;
    memcpy(&similarity_bits, &similarity, sizeof similarity_bits);
    memcpy(&words[WORD_TENANT], finished->tenant, DJ_ID_BYTES);
    memset(&words[WORD_ID], 0, DJ_ID_BYTES);
    if (finished->entry_id)
        memcpy(&words[WORD_ID], finished->entry_id, DJ_ID_BYTES);
    words[WORD_TIME] = (uint64_t)finished->now_ms;
    words[WORD_DURATION] = us > 0 && us < 1e15 ? (uint64_t)us : 0;
    words[WORD_KIND] = (uint64_t)similarity_bits << 32 | (finished->entry_id ? 1u << 24 : 0u) |
                       index_of(levels, sizeof levels / sizeof *levels, finished->level) << 16 |
                       (uint64_t)finished->result << 8 |
                       index_of(apis, sizeof apis / sizeof *apis, finished->api);
}

void dj_recent_put(struct dj_recent *recent, const struct dj_finished *finished)
{
    uint64_t words[WORD_COUNT];
    uint64_t number = atomic_fetch_add_explicit(&recent->next, 1, memory_order_relaxed);
    struct slot *slot = &recent->slots[number & SLOT_MASK];
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    if ((state & 1) || state > 2 * number ||
        !atomic_compare_exchange_strong_explicit(&slot->state, &state, 2 * number + 1,
                                                 memory_order_acquire, memory_order_relaxed)) {
        atomic_store_explicit(&recent->dropped, number + 1, memory_order_release);
        return;
    }
    make_words(finished, words);
    for (size_t i = 0; i < WORD_COUNT; i++)
        atomic_store_explicit(&slot->words[i], words[i], memory_order_release);
    atomic_store_explicit(&slot->state, 2 * number + 2, memory_order_release);
}

/* ---- reading ---- */

enum found { FOUND_WHOLE, FOUND_LOST, FOUND_NOT_YET };

static enum found read_words(const struct dj_recent *recent, uint64_t number,
                             uint64_t words[WORD_COUNT])
{
    const struct slot *slot = &recent->slots[number & SLOT_MASK];
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
    if (state < 2 * number + 2) {
        bool is_dropped = state != 2 * number + 1 &&
                          atomic_load_explicit(&recent->dropped, memory_order_acquire) > number;
        return is_dropped ? FOUND_LOST : FOUND_NOT_YET;
    }
    for (size_t i = 0; i < WORD_COUNT; i++)
        words[i] = atomic_load_explicit(&slot->words[i], memory_order_acquire);
    bool is_same = state == 2 * number + 2 &&
                   atomic_load_explicit(&slot->state, memory_order_relaxed) == state;
    return is_same ? FOUND_WHOLE : FOUND_LOST;
}

static void make_request(const uint64_t words[WORD_COUNT], struct dj_recent_request *out_request)
{
    uint64_t kind = words[WORD_KIND];
    uint32_t similarity_bits = (uint32_t)(kind >> 32);
    float similarity = 0;
    memcpy(&similarity, &similarity_bits, sizeof similarity);
    *out_request = (struct dj_recent_request){
        .api = apis[kind & 0xff],
        .result = dj_result_text((enum dj_result)(kind >> 8 & 0xff)),
        .level = levels[kind >> 16 & 0xff],
        .similarity = (double)similarity,
        .time_ms = (int64_t)words[WORD_TIME],
        .duration_us = words[WORD_DURATION],
        .has_id = (kind >> 24 & 1) != 0,
    };
    memcpy(out_request->id, &words[WORD_ID], DJ_ID_BYTES);
}

uint64_t dj_recent_next(const struct dj_recent *recent)
{
    return atomic_load_explicit(&recent->next, memory_order_acquire);
}

static uint64_t oldest_of(uint64_t next)
{
    return next > DJ_RECENT_SLOTS ? next - DJ_RECENT_SLOTS : 0;
}

uint64_t dj_recent_last(const struct dj_recent *recent, const uint8_t tenant[DJ_ID_BYTES],
                        uint32_t count)
{
    uint64_t words[WORD_COUNT];
    uint64_t next = dj_recent_next(recent);
    uint64_t from = next;
    for (uint64_t number = next; count && number > oldest_of(next); number--) {
        enum found found = read_words(recent, number - 1, words);
        bool is_own = found == FOUND_WHOLE && memcmp(&words[WORD_TENANT], tenant, DJ_ID_BYTES) == 0;
        if (is_own || found == FOUND_NOT_YET) /* it may be the tenant's: not to be passed over */
            from = number - 1;
        count -= is_own;
    }
    return from;
}

uint32_t dj_recent_read(const struct dj_recent *recent, const uint8_t tenant[DJ_ID_BYTES],
                        uint64_t *from, uint64_t *lost, struct dj_recent_request *out_requests,
                        uint32_t max)
{
    uint64_t words[WORD_COUNT];
    uint64_t next = dj_recent_next(recent);
    uint64_t number = *from;
    uint32_t count = 0;
    if (number < oldest_of(next)) {
        *lost += oldest_of(next) - number;
        number = oldest_of(next);
    }
    for (; number < next && count < max; number++) {
        enum found found = read_words(recent, number, words);
        if (found == FOUND_NOT_YET)
            break;
        if (found == FOUND_LOST)
            (*lost)++;
        else if (memcmp(&words[WORD_TENANT], tenant, DJ_ID_BYTES) == 0)
            make_request(words, &out_requests[count++]);
    }
    *from = number;
    return count;
}
