/* daemon/transfers.h - backups, restores, checks and migrations of the running daemon: one at a
 * time, each on a thread of its own that may wait (cache/transfer.h).
 *
 * Threads: create and destroy at start and end, the service on any loop.
 */
#ifndef DJ_DAEMON_TRANSFERS_H
#define DJ_DAEMON_TRANSFERS_H

#include "api/transfer.h"

struct dj_daemon;
struct dj_transfers;

enum deja_status dj_transfers_create(struct dj_daemon *daemon,
                                     struct dj_transfers **out_transfers) DEJA_NODISCARD;
/* The loops are about to end: what runs ends soon, and nothing begins. Accepts NULL. */
void dj_transfers_stop(struct dj_transfers *transfers);
bool dj_transfers_is_running(struct dj_transfers *transfers); /* accepts NULL */
void dj_transfers_destroy(struct dj_transfers *transfers);    /* waits; accepts NULL */
const struct dj_transfer_service *dj_transfers_service(struct dj_transfers *transfers);

/* What names a deployment's secret without telling it: entries are named under it. */
struct dj_tenant_root;
uint64_t dj_transfers_secret_name(const struct dj_tenant_root *root);

#endif
