/* store/key_filter.c - 64 segments of linear probing with backward-shift deletion.
 *
 * Whole hashes are kept, not fingerprints: 8 bytes a key against about 2, for growing without the
 * keys at hand and for deletes that cannot take a neighbour along. Load is at most 1/2 … 3/4.
 */
#include "store/key_filter.h"

#include <assert.h>
#include <pthread.h>

#include "base/alloc.h"

enum { SEGMENT_COUNT = 64, SLOTS_MIN = 16 };

struct segment {
    _Alignas(64) pthread_mutex_t mutex; /* a leaf */
    uint64_t *slots;                    /* 0: free */
    uint64_t mask;
    uint64_t count;
    bool is_blind; /* could not grow: everything may be there */
};

struct dj_key_filter {
    struct segment segments[SEGMENT_COUNT];
};

/* The upper bits choose the segment, the lower the slot. */
static struct segment *segment_of(struct dj_key_filter *filter, uint64_t hash)
{
    return &filter->segments[hash >> 58];
}

static uint64_t nonzero(uint64_t hash)
{
    return hash ? hash : 1;
}

enum deja_status dj_key_filter_create(uint64_t entry_count, struct dj_key_filter **out_filter)
{
    struct dj_key_filter *filter = dj_alloc_aligned(_Alignof(struct dj_key_filter), sizeof *filter);
    if (!filter)
        return DEJA_ERR_NOMEM;
    memset(filter, 0, sizeof *filter);
    uint64_t slot_count = SLOTS_MIN;
    while (slot_count < entry_count / SEGMENT_COUNT * 2)
        slot_count *= 2;
    enum deja_status status = DEJA_OK;
    for (int i = 0; i < SEGMENT_COUNT; i++) {
        struct segment *segment = &filter->segments[i];
        pthread_mutex_init(&segment->mutex, NULL);
        segment->mask = slot_count - 1;
        segment->slots = dj_alloc_zeroed(slot_count, sizeof *segment->slots);
        if (!segment->slots)
            status = DEJA_ERR_NOMEM;
    }
    if (status != DEJA_OK) {
        dj_key_filter_destroy(filter);
        return status;
    }
    *out_filter = filter;
    return DEJA_OK;
}

void dj_key_filter_destroy(struct dj_key_filter *filter)
{
    if (!filter)
        return;
    for (int i = 0; i < SEGMENT_COUNT; i++) {
        dj_free(filter->segments[i].slots);
        pthread_mutex_destroy(&filter->segments[i].mutex);
    }
    dj_free(filter);
}

/* The slot that has hash, or the free one where it would go. */
static uint64_t *probe(const struct segment *segment, uint64_t hash)
{
    uint64_t at = hash & segment->mask;
    while (segment->slots[at] != 0 && segment->slots[at] != hash)
        at = (at + 1) & segment->mask;
    return &segment->slots[at];
}

static bool grow(struct segment *segment)
{
    uint64_t slot_count = (segment->mask + 1) * 2;
    uint64_t *slots = dj_alloc_zeroed(slot_count, sizeof *slots);
    if (!slots)
        return false;
    struct segment grown = {.slots = slots, .mask = slot_count - 1};
    for (uint64_t i = 0; i <= segment->mask; i++)
        if (segment->slots[i] != 0)
            *probe(&grown, segment->slots[i]) = segment->slots[i];
    dj_free(segment->slots);
    segment->slots = slots;
    segment->mask = slot_count - 1;
    return true;
}

void dj_key_filter_add(struct dj_key_filter *filter, uint64_t hash)
{
    hash = nonzero(hash);
    struct segment *segment = segment_of(filter, hash);
    pthread_mutex_lock(&segment->mutex);
    if (!segment->is_blind && *probe(segment, hash) == 0) {
        if ((segment->count + 1) * 4 > (segment->mask + 1) * 3 && !grow(segment)) {
            segment->is_blind = true;
        } else {
            *probe(segment, hash) = hash;
            segment->count++;
        }
    }
    pthread_mutex_unlock(&segment->mutex);
}

void dj_key_filter_remove(struct dj_key_filter *filter, uint64_t hash)
{
    hash = nonzero(hash);
    struct segment *segment = segment_of(filter, hash);
    pthread_mutex_lock(&segment->mutex);
    uint64_t *slot = probe(segment, hash);
    if (!segment->is_blind && *slot != 0) {
        uint64_t hole = (uint64_t)(slot - segment->slots);
        uint64_t mask = segment->mask;
        for (uint64_t i = (hole + 1) & mask; segment->slots[i] != 0; i = (i + 1) & mask) {
            uint64_t home = segment->slots[i] & mask;
            if (((i - home) & mask) >= ((i - hole) & mask)) {
                segment->slots[hole] = segment->slots[i];
                hole = i;
            }
        }
        segment->slots[hole] = 0;
        segment->count--;
    }
    pthread_mutex_unlock(&segment->mutex);
}

bool dj_key_filter_has(struct dj_key_filter *filter, uint64_t hash)
{
    hash = nonzero(hash);
    struct segment *segment = segment_of(filter, hash);
    pthread_mutex_lock(&segment->mutex);
    bool has = segment->is_blind || *probe(segment, hash) == hash;
    pthread_mutex_unlock(&segment->mutex);
    return has;
}
