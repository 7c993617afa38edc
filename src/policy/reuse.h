/* policy/reuse.h - may one of these candidates answer the question? (ACCURACY.md §2, §3)
 *
 * The mode without labels: a cut per embedder, chosen once on development data and shipped
 * (docs/accuracy.md says how), and the guards. No bound on wrong answers is claimed here. A caller
 * may raise the cut, never lower it below the floor of the surface. Pure. Threads: any.
 */
#ifndef DJ_POLICY_REUSE_H
#define DJ_POLICY_REUSE_H

#include <deja/base.h>

#define DJ_REUSE_FLOOR_RESPONSE 0.85 /* model answers */
#define DJ_REUSE_FLOOR_API 0.95      /* the cache API, whose callers bring their own texts */

/* As fetched and rescored; in any order. */
struct dj_reuse_candidate {
    float similarity;        /* fp32 cosine; not finite: never served */
    uint32_t guards_refused; /* dj_guard_verdict.refused */
    bool is_usable;          /* its record was there, valid, of this tenant and scope */
};

struct dj_reuse_decision {
    bool is_served;
    uint32_t index;     /* of the candidate to serve; 0 when none is */
    const char *reason; /* "served", "no-candidate", "below-threshold", "guard:numbers", ... */
};

/* The shipped cut for answers of models: by kind of embedder ("transformer", "lexical"; NULL and
 * unknown kinds get the strictest). */
double dj_reuse_shipped_threshold(const char *embedder_kind);

/* The cut in force: asked (0 or not finite: nothing asked), but at least shipped and floor. */
double dj_reuse_threshold(double shipped, double floor, double asked);

/* The most similar usable candidate that is at or above the threshold and passed all guards. When
 * none is, the reason speaks of the most similar usable one. */
void dj_reuse_decide(const struct dj_reuse_candidate *candidates, uint32_t count, double threshold,
                     struct dj_reuse_decision *out_decision);

#endif
