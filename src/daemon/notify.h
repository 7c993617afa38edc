/* daemon/notify.h - what a service manager is told, and what it hands over (WIRE §17).
 *
 * systemd's protocol without its library: one datagram a message to $NOTIFY_SOCKET. Without that
 * variable nothing is sent. Failures are the manager's to notice: a daemon serves without it.
 * Threads: any; reads the environment, which nobody changes.
 */
#ifndef DJ_DAEMON_NOTIFY_H
#define DJ_DAEMON_NOTIFY_H

#include <deja/base.h>

/* state: "READY=1", or several lines. */
void dj_notify(const char *state);
/* "RELOADING=1" with the monotonic time, by which the manager tells the READY=1 that follows from
 * an older one. */
void dj_notify_reloading(void);

/* How often the manager wants to hear WATCHDOG=1, in microseconds; 0: it does not, or it asks
 * another process. */
uint64_t dj_notify_watchdog_us(void);

/* Sockets that the manager has bound for us: descriptors DJ_NOTIFY_FIRST_FD and up; how many. 0: it
 * has none, or they are another process's. */
#define DJ_NOTIFY_FIRST_FD 3
uint32_t dj_notify_sockets(void);

#endif
