/* proxy/refreshes.h - which answers are being made anew behind the scenes, so that each is made
 * once and few at a time.
 *
 * A key has one of DJ_REFRESHES_MAX places; while its place is taken by another key it is not made
 * anew, and its next hit tries again. After a failure a key rests for a while: an upstream that is
 * down is not asked by every hit. Threads: any; no lock.
 */
#ifndef DJ_PROXY_REFRESHES_H
#define DJ_PROXY_REFRESHES_H

#include <deja/base.h>

#include <stdatomic.h>

#include "cache/engine.h" /* dj_store_key */

#define DJ_REFRESHES_MAX 1024u
#define DJ_REFRESH_REST_MS 5000 /* after a failure */
#define DJ_REFRESH_LEFT_MS 250  /* when another program is at it */

struct dj_refreshes {
    _Atomic uint32_t running;
    _Atomic uint64_t claims[DJ_REFRESHES_MAX]; /* the key's mark; its lowest bit: running */
    _Atomic int64_t rest_until_ms[DJ_REFRESHES_MAX];
};

/* Zeroed memory is an empty one. running_max: of all; 0: never. True: *out_place is to be ended
 * with dj_refreshes_end. */
bool dj_refreshes_begin(struct dj_refreshes *refreshes, const struct dj_store_key *key,
                        uint32_t running_max, int64_t now_ms, uint32_t *out_place);
/* rest_ms: how long the key rests; 0: it was made. */
void dj_refreshes_end(struct dj_refreshes *refreshes, uint32_t place, int64_t rest_ms,
                      int64_t now_ms);

#endif
