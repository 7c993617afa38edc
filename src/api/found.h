/* api/found.h - what a look-up found, and how it is told.
 *
 * Threads: the request's loop.
 */
#ifndef DJ_API_FOUND_H
#define DJ_API_FOUND_H

#include <deja/base.h>

#include "api/request.h"
#include "cache/engine.h"

/* One entry that is near; value is owned. */
struct dj_found_candidate {
    struct dj_value *value;
    double similarity;
    struct dj_access_stats access;
};

/* One question's answer. Zeroed may be fini'd. */
struct dj_found {
    struct dj_fault fault;  /* the question could not be asked */
    const char *asked_kind; /* that it named, in the arena; NULL, "": none */
    enum dj_hit_kind kind;
    struct dj_value *value; /* owned; NULL: a miss */
    const char *level;
    const char *reason;
    uint64_t as_of;    /* of a miss: what is computed now is as of then (api/as_of.h) */
    double similarity; /* NAN: no candidate was met */
    double threshold;
    bool has_candidates; /* they were asked for */
    bool has_responses;  /* theirs too */
    uint32_t candidate_count;
    struct dj_found_candidate *candidates; /* in the arena; best first */
    uint32_t embed_us;                     /* stage times; 0: not run */
    uint32_t search_us;
    uint32_t fetch_us;
    uint32_t verify_us;
};

/* Takes what the engine says, but for candidates. */
void dj_found_set(struct dj_found *found, const struct dj_lookup_result *result);
/* Takes the candidates (as many as there is memory for in arena). */
void dj_found_add(struct dj_found *found, const struct dj_lookup_result *result,
                  struct dj_arena *arena);
void dj_found_fini(struct dj_found *found);

void dj_found_write(struct dj_json_writer *w, const struct dj_found *found, int64_t now_ms);
/* What the proxy says in headers about one answer is said here too (WIRE §5.3). */
void dj_found_headers(struct dj_request *request, const struct dj_found *found, int64_t now_ms);
/* Counts it: metrics, savings, the entry's hits. */
void dj_found_count(struct dj_request *request, const struct dj_found *found);

#endif
