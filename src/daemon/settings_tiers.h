/* daemon/settings_tiers.h - what can be said about tiers and those who guard them; see settings.h.
 *
 * One struct for each file of rows, settings_*.def. Durations are milliseconds, sizes bytes; a text
 * that was not given is NULL.
 */
#ifndef DJ_DAEMON_SETTINGS_TIERS_H
#define DJ_DAEMON_SETTINGS_TIERS_H

#include <deja/base.h>

#endif
