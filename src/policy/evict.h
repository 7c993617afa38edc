/* policy/evict.h - which of two entries goes first when room is needed.
 *
 * Pure. Threads: any. s3fifo is no comparison of two entries: it keeps queues
 * (store/memory_evict.c).
 */
#ifndef DJ_POLICY_EVICT_H
#define DJ_POLICY_EVICT_H

#include <deja/base.h>

/* In the order of the setting's choices. */
enum dj_evict_strategy {
    DJ_EVICT_S3FIFO,
    DJ_EVICT_LRU, /* longest not served */
    DJ_EVICT_LFU, /* lowest score */
    DJ_EVICT_TTL, /* expires first; what never does goes last */
};

struct dj_evict_facts {
    uint64_t hits;
    int64_t last_ms; /* served last, or stored */
    int64_t gone_ms; /* 0: never */
};

/* The access score: hits and the store itself, worth half after each day without another. */
double dj_evict_score(const struct dj_evict_facts *facts, int64_t now_ms);
/* strategy: not s3fifo. Equal ones: false. */
bool dj_evict_goes_before(enum dj_evict_strategy strategy, const struct dj_evict_facts *a,
                          const struct dj_evict_facts *b, int64_t now_ms);

#endif
