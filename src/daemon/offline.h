/* daemon/offline.h - a command on the data directory of this machine while no daemon has it: it
 * runs one inside itself, on a free loopback port with a token of its own, speaks to it, and ends
 * it. So what is done offline is done by the code that does it in a running cache.
 */
#ifndef DJ_DAEMON_OFFLINE_H
#define DJ_DAEMON_OFFLINE_H

#include "daemon/settings.h"
#include "tools/transfer_tool.h"

/* source: what the settings are loaded from. Returns the exit code: DJ_EXIT_TRY_AGAIN where a
 * daemon has the directory. */
int dj_offline_transfer(const struct dj_settings_source *source,
                        const struct dj_transfer_request *request);

#endif
