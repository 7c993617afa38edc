/* proxy/call_internal.h - what the files of a call share: call.c joins, asks upstream and
 * publishes; call_lookup.c looks for an answer first and waits for other programs that make the
 * same. */
#ifndef DJ_PROXY_CALL_INTERNAL_H
#define DJ_PROXY_CALL_INTERNAL_H

#include "proxy/call.h"

/* All on home; after each the call may be gone. */

/* The flight is open: tiers, meaning, other programs, upstream. */
void dj_call_look_up(struct dj_call *call);
/* call_admit.c: once it has its turn. */
void dj_call_ask_upstream(struct dj_call *call);
void dj_call_ask_now(struct dj_call *call); /* breaker, then upstream */
/* Breaker and throttle before it; NULL: none, as before a tenant's own upstream. */
struct dj_upstream *dj_call_upstream(const struct dj_call *call);
/* negative.c: the answer was whole; keeps it for a while if it is a refusal that may be. */
void dj_call_keep_negative(struct dj_call *call, struct dj_flight_end *end);
/* Ends of the flight; end's value and items are taken. */
void dj_call_land(struct dj_call *call, const struct dj_flight_end *end);
void dj_call_fail(struct dj_call *call, enum deja_status status, const char *detail);

#endif
