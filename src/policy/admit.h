/* policy/admit.h - may this answer be stored, and for a normal or a short life? (I6)
 *
 * What an answer must not be: unasked for (no-store), an error, incomplete, cut short, filtered,
 * a tool call, one of several, or anything whose truth lies outside the request. Pure: facts in,
 * decision out. Threads: any. Trust: the facts are the upstream's and the caller's words.
 */
#ifndef DJ_POLICY_ADMIT_H
#define DJ_POLICY_ADMIT_H

#include <deja/base.h>

#define DJ_ADMIT_CONFIDENCE_MIN 0.7

enum dj_ttl_class {
    DJ_TTL_NORMAL,
    DJ_TTL_SHORT, /* refusals, and questions whose answer ages by the hour */
};

/* Zeroed is a refusal: nothing is admitted by forgetting a field. */
struct dj_admit_facts {
    int status;                /* of the upstream; 200 is the only one stored */
    bool is_complete;          /* the terminal event or the whole body arrived */
    bool is_no_store;          /* the caller said no-store, or opted out */
    bool is_moderated;         /* blocked by moderation */
    bool is_content_empty;     /* no text, no audio, no tool call */
    bool is_empty_allowed;     /* cache API: an empty result is a valid payload */
    bool is_refusal;           /* the model declined to answer */
    bool has_tool_calls;       /* tool or function calls in the answer */
    bool is_tool_calls_stored; /* setting: proxy.cache_tool_calls */
    bool has_hosted_tools;     /* web search, code interpreter ... in the request */
    bool is_stateful;          /* previous_response_id, conversation, background */
    bool is_volatile;          /* dj_guard_features_is_volatile of the question */
    bool has_confidence;
    double confidence;                       /* 0-1, when has_confidence */
    int64_t choices_wanted;                  /* n; 0 or 1: one */
    const struct deja_slice *finish_reasons; /* one per choice; borrowed for the call */
    size_t finish_reason_count;
};

struct dj_admit_decision {
    bool is_stored;
    enum dj_ttl_class ttl_class;
    const char *reason; /* constant: "stored", "no-store", "status", "incomplete", ... */
};

struct dj_admit_decision dj_admit_decide(const struct dj_admit_facts *facts);

#endif
