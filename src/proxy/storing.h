/* proxy/storing.h - an answer on its way into the tiers, behind the client, who has it already.
 *
 * How much may be on its way is bounded by the policy (stores_max, store_bytes_max): what exceeds
 * it goes into memory only, and is counted as dropped. Threads: loop-bound to the call's home.
 */
#ifndef DJ_PROXY_STORING_H
#define DJ_PROXY_STORING_H

#include "proxy/call.h"

/* entry: copied. is_last: the call's turn ends once the tiers have it, so that who waits for the
 * answer finds it. False: it is not stored. */
bool dj_storing_begin(struct dj_call *call, const struct dj_entry *entry,
                      const struct dj_put_options *options, bool is_last);

#endif
