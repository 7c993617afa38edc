/* daemon/demo_upstream.h - the model of `deja demo`: chat completions after a fixed delay.
 *
 * A loop and a thread of its own, on a free loopback port. Its answers are few and always the same.
 * Threads: create and destroy on one thread; the counter from any.
 */
#ifndef DJ_DAEMON_DEMO_UPSTREAM_H
#define DJ_DAEMON_DEMO_UPSTREAM_H

#include <deja/base.h>

struct dj_demo_upstream;

enum deja_status dj_demo_upstream_create(uint32_t delay_ms, struct dj_demo_upstream **out_upstream,
                                         struct deja_error *error) DEJA_NODISCARD;
/* Running calls are cut. Waits for the thread. Accepts NULL. */
void dj_demo_upstream_destroy(struct dj_demo_upstream *upstream);

uint16_t dj_demo_upstream_port(const struct dj_demo_upstream *upstream);
uint32_t dj_demo_upstream_calls(const struct dj_demo_upstream *upstream); /* chat requests so far */

#endif
