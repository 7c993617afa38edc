/* daemon/demo.h - `deja demo`: the daemon and a small model in one process, and what it shows.
 *
 *   this thread      serves, as `deja serve` does, on a free port with a folder of its own
 *   model's thread   the built-in upstream (tools/fake_model.h), which takes DJ_DEMO_DELAY_MS
 *   traffic's thread asks over HTTP, step by step (demo_steps.c), then stops the daemon
 */
#ifndef DJ_DAEMON_DEMO_H
#define DJ_DAEMON_DEMO_H

#include "daemon/commands.h"
#include "daemon/settings.h"

/* settings: the operator's, of which only the choice of the embedder counts. environment:
 * "NAME=value", NULL-terminated. The report goes to stdout. Blocks; returns the exit code: 0 when
 * every step showed what it claims, else 1. */
int dj_demo_run(const struct dj_settings *settings, const struct dj_demo_flags *flags,
                const char *const *environment);

#endif
