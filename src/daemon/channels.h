/* daemon/channels.h - invalidations from and to other programs: the Redis channel cache:invalidate
 * and PostgreSQL's NOTIFY deja_invalidate.
 *
 *   message ──> {"key","reason",…} ──> tenant named, or that of the settings ──> run ──> told here
 *   made void here ──(publish_… is set)──> message with "from": this node
 *
 * Loops cannot be: only what began in this program is sent, and a message "from" a Deja node is
 * never run: its sender has made it void for all already. It only drops what memory has of it, and
 * has the shared counters asked for at once.
 *
 * Trust: messages are anybody's who may publish there: bounded, parsed, refused whole or obeyed
 * whole. Threads: loop 0.
 */
#ifndef DJ_DAEMON_CHANNELS_H
#define DJ_DAEMON_CHANNELS_H

#include <deja/base.h>

struct dj_channels;
struct dj_daemon;

/* daemon: engine, notices, tiers and settings are there; borrowed. */
enum deja_status dj_channels_create(struct dj_daemon *daemon,
                                    struct dj_channels **out_channels) DEJA_NODISCARD;
void dj_channels_destroy(struct dj_channels *channels); /* after loops; accepts NULL */
void dj_channels_tick(struct dj_channels *channels);    /* about once a second; accepts NULL */
/* Nothing is begun or sent from now on. On loop 0; accepts NULL. */
void dj_channels_stop(struct dj_channels *channels);
uint32_t dj_channels_running(struct dj_channels *channels); /* accepts NULL */

#endif
