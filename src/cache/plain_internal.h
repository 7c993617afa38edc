/* cache/plain_internal.h - what the files of plain keys share. */
#ifndef DJ_CACHE_PLAIN_INTERNAL_H
#define DJ_CACHE_PLAIN_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "cache/engine_internal.h"
#include "cache/kinds.h"
#include "cache/plain.h"

#define DJ_PLAIN_CACHE_LINE 64u

struct dj_plain_counters {
    _Atomic uint64_t hits[DJ_LEVEL_COUNT];
    _Atomic uint64_t misses;
    _Atomic uint64_t puts;
    _Atomic uint64_t removals;
};

/* What is under way and what was counted on one loop; its own line of the processor's cache, as
 * every hit counts. */
struct dj_plain_loop {
    _Alignas(DJ_PLAIN_CACHE_LINE) struct dj_loop *loop; /* borrowed */
    struct dj_map *lines; /* keys that are being changed; loop-bound, as is the next */
    uint32_t changes;
    struct dj_plain_counters all;
    _Atomic uint64_t waiting;
    uint32_t slides;       /* under way, of those that nobody waits for; loop-bound */
    pthread_mutex_t mutex; /* of tenants, but for this loop's own reads */
    bool has_mutex;
    struct dj_map *tenants; /* tenant to counters; changed by this loop only */
};

struct dj_plain_walks; /* plain_scan.c: scans that were begun */

struct dj_plain {
    struct dj_plain_options options;
    bool is_shared; /* other programs change these keys too, and there is a lock for it */
    struct dj_plain_loop *loops;
    struct dj_plain_walks *walks;
};

enum deja_status dj_plain_walks_create(struct dj_plain_walks **out_walks) DEJA_NODISCARD;
void dj_plain_walks_destroy(struct dj_plain_walks *walks); /* accepts NULL */

/* plain_slide.c: a life that is to begin anew when the value was found. NULL: the kind does not
 * slide, or no room: then it does not. */
struct dj_plain_slide;
struct dj_plain_slide *dj_plain_slide_create(struct dj_plain *plain, struct dj_loop *loop,
                                             const struct dj_kind *kind,
                                             const struct dj_plain_space *space,
                                             struct deja_slice key);
/* value: what was found, NULL: nothing. Begins the change if it is due; the slide ends itself.
 * Accepts NULL. */
void dj_plain_slide_found(struct dj_plain_slide *slide, const struct dj_value *value);

/* Kind of the key; NULL: of none. */
static inline const struct dj_kind *dj_plain_kind(const struct dj_plain *plain,
                                                  struct deja_slice key)
{
    return dj_kinds_match(dj_kind_book_table(plain->options.kinds), key, NULL);
}

static inline struct dj_plain_loop *dj_plain_here(const struct dj_plain *plain,
                                                  const struct dj_loop *loop)
{
    return &plain->loops[dj_loop_index(loop)];
}

enum dj_plain_event { DJ_PLAIN_HIT, DJ_PLAIN_MISS, DJ_PLAIN_WRITTEN, DJ_PLAIN_REMOVED };
/* On that loop. level: of a hit. */
void dj_plain_note(struct dj_plain_loop *here, const uint8_t tenant[DJ_ID_BYTES],
                   enum dj_plain_event event, enum dj_level level);

#endif
