/* daemon/webhooks.h - every invalidation that begins here, and what else webhooks.events names,
 * POSTed to the operator's own programs.
 *
 *   POST URL   X-Deja-Event: invalidation | cache   X-Deja-Delivery: ID   X-Deja-Timestamp: SECONDS
 *              X-Deja-Signature: sha256=HEX of HMAC-SHA256(webhooks.secret, SECONDS "." body)
 *
 * An invalidation is a delivery of its own. Of the others (cache/happenings.h) a delivery takes
 * what came since the one before, up to 500, when nothing else waits for that URL; what is more
 * than the ring keeps is lost, counted, and told in the next one.
 *
 * One delivery at a time and URL, in order; 2xx is taken, anything else is tried again with pauses
 * that double, then dropped. A URL that does not answer fills its own queue, whose oldest are
 * dropped; nobody waits. URLs are the operator's, of the settings; what their names lead to is
 * another's, so only public addresses are called, and those of webhooks.allowed_addresses. No
 * redirect is followed.
 *
 * Threads: loop 0.
 */
#ifndef DJ_DAEMON_WEBHOOKS_H
#define DJ_DAEMON_WEBHOOKS_H

#include <deja/base.h>

struct dj_webhooks;
struct dj_daemon;

/* DEJA_OK and *out_webhooks NULL: no URL is named. daemon is borrowed. */
enum deja_status dj_webhooks_create(struct dj_daemon *daemon,
                                    struct dj_webhooks **out_webhooks) DEJA_NODISCARD;
void dj_webhooks_destroy(struct dj_webhooks *webhooks); /* after loops; accepts NULL */
void dj_webhooks_tick(struct dj_webhooks *webhooks);    /* about once a second; accepts NULL */
void dj_webhooks_stop(struct dj_webhooks *webhooks);    /* nothing is sent any more; accepts NULL */

#endif
