/* cache/tombstones.h - deletes that are still younger than fills that may be running.
 *
 * A delete at version v makes every fill of that key whose version is not above v void: a fill
 * takes its version when it starts. One table per home loop, so it needs no lock (loop-bound).
 * Bound: DJ_TOMBSTONES_MAX; when it is full the oldest goes and `floor` rises to its version, so
 * fills older than that are refused whatever their key.
 */
#ifndef DJ_CACHE_TOMBSTONES_H
#define DJ_CACHE_TOMBSTONES_H

#include <deja/base.h>

#include "store/store.h"

#define DJ_TOMBSTONES_MAX 16384u

struct dj_tombstones;

enum deja_status dj_tombstones_create(struct dj_tombstones **out_tombstones) DEJA_NODISCARD;
void dj_tombstones_destroy(struct dj_tombstones *tombstones); /* accepts NULL */

void dj_tombstones_add(struct dj_tombstones *tombstones, const struct dj_store_key *key,
                       uint64_t version);
/* True: a fill of this version must not be stored any more. */
bool dj_tombstones_refuse(const struct dj_tombstones *tombstones, const struct dj_store_key *key,
                          uint64_t version);
/* As dj_map_probes_max: what the worst question has to look at. */
size_t dj_tombstones_probes_max(const struct dj_tombstones *tombstones);

#endif
