/* cache/cascade.h - what was made from what: the dependants of something that changed, and theirs.
 *
 *   template:7 ──> score:7:a ──> report:1          depends_on points the other way
 *        └───────> score:7:b ──────┘               (a diamond: report:1 goes once)
 *
 *   read the tenant's entries once ──> edges in memory ──> breadth first, each entry once ──>
 *   what was named itself is removed ──> the names are raised, durably ──> dependants are removed
 *
 * The graph is kept with each entry: what it depends on (cache/depends.h). An entry is depended on
 * by its id in hex, and a plain key by its key too. Cycles end where they began. Everything is
 * bounded; what is larger is refused before anything has changed.
 *
 * What depends on the first DJ_CASCADE_RAISES_MAX names, nearest first, is void everywhere at once,
 * in the memory of other programs too; what is left goes entry by entry.
 *
 * Threads and tenants: as cache/engine.h. What the graph costs is the workers' time: a loop does no
 * more of it in a turn than asking for the next piece, or for the next removals.
 */
#ifndef DJ_CACHE_CASCADE_H
#define DJ_CACHE_CASCADE_H

#include <deja/base.h>

#include "cache/engine.h"

#define DJ_CASCADE_NODES_MAX 262144u
#define DJ_CASCADE_EDGES_MAX 1048576u
#define DJ_CASCADE_DEPTH_MAX 64u
#define DJ_CASCADE_RAISES_MAX 256u
#define DJ_CASCADE_LABEL_BYTES_MAX 128u

/* Plain data. Everything is borrowed until done ran. */
struct dj_cascade_options {
    struct deja_slice name;             /* of what has changed; empty: none */
    const struct dj_store_key *key;     /* an entry that goes with its dependants; NULL: none */
    const struct dj_selector *selector; /* entries that go with their dependants; NULL: none. Its
                                         * user_tag bounds the whole to that user's entries; its
                                         * matches, if any, is called on a worker */
    bool is_selector_a_bound;           /* it names no entries: only its user_tag is looked at */
    const struct dj_cause *cause;       /* NULL: none */
    bool is_dry_run;                    /* looks, changes nothing */
};

/* An entry that is reached; parents come before their children. */
struct dj_cascade_node {
    uint8_t id[DJ_ID_BYTES];
    uint8_t kind;            /* enum dj_entry_kind */
    uint32_t depth;          /* 0: named itself */
    uint32_t parent;         /* index of the node it depends on; UINT32_MAX: the name, or nothing */
    struct deja_slice label; /* the plain key, or the question; its beginning, any bytes */
    struct deja_slice because; /* the name it depends on; empty: it was named itself */
};

/* Borrowed until done returns. */
struct dj_cascade_result {
    /* DEJA_ERR_BUSY: too many jobs wait; DEJA_ERR_CANCELLED: dj_engine_stop, before anything has
     * changed or in the middle of the removals. */
    enum deja_status status;
    const char *trouble; /* DEJA_ERR_LIMIT: what was too large, and that nothing has changed */
    uint64_t removed;    /* or would be; each entry once */
    uint32_t depth;
    const struct dj_cascade_node *nodes; /* breadth first */
    size_t count;
};
typedef void dj_cascaded_fn(void *ctx, const struct dj_cascade_result *result);

/* done runs once, later, on loop. DEJA_ERR_NOMEM. */
enum deja_status dj_engine_cascade(struct dj_engine *engine, struct dj_loop *loop,
                                   const uint8_t tenant[DJ_ID_BYTES],
                                   const struct dj_cascade_options *options, void *ctx,
                                   dj_cascaded_fn *done) DEJA_NODISCARD;

#endif
