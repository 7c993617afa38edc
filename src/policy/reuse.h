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
#define DJ_REUSE_NONE SIZE_MAX

enum dj_reuse_reason {
    DJ_REUSE_SERVED,
    DJ_REUSE_NO_CANDIDATE,
    DJ_REUSE_BELOW_THRESHOLD,
    DJ_REUSE_GUARD, /* similar enough, but a guard refused: which one is in the decision */
};

/* As fetched and rescored; in any order. */
struct dj_reuse_candidate {
    float similarity;        /* fp32 cosine; not finite: never served */
    uint32_t guards_refused; /* dj_guard_verdict.refused */
};

struct dj_reuse_decision {
    size_t index; /* of the candidate to serve, or DJ_REUSE_NONE */
    enum dj_reuse_reason reason;
    const char *reason_text; /* "served", "no-candidate", "below-threshold", "guard:numbers", ... */
    double threshold;        /* the cut in force */
};

/* The shipped cut for answers of models: by kind of embedder ("transformer", "lexical"; NULL and
 * unknown kinds get the strictest). */
double dj_reuse_shipped_threshold(const char *embedder_kind);

/* The cut in force: asked (0 or not finite: nothing asked), but at least shipped and floor. */
double dj_reuse_threshold(double shipped, double floor, double asked);

/* The most similar candidate that is at or above the threshold and passed all guards. When none is,
 * the reason speaks of the most similar one. */
struct dj_reuse_decision dj_reuse_decide(const struct dj_reuse_candidate *candidates, size_t count,
                                         double threshold);

#endif
