/* cache/transfer_internal.h - one answer that a thread waits for. */
#ifndef DJ_CACHE_TRANSFER_INTERNAL_H
#define DJ_CACHE_TRANSFER_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

struct transfer_wait {
    pthread_mutex_t mutex;
    pthread_cond_t is_over;
    bool is_told;
};
void transfer_wait_init(struct transfer_wait *wait);
void transfer_wait_tell(struct transfer_wait *wait); /* once; it may be gone afterwards */
void transfer_wait_for(struct transfer_wait *wait);  /* and ends it */

#endif
