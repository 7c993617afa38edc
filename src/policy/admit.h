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

/* What is known of an answer. A zeroed one is not admitted: the facts that speak for storing must
 * be given, those that speak against default to "no". */
struct dj_admit_question {
    int status;                   /* of the upstream; 200 is the only one stored */
    bool is_complete;             /* the terminal event or the whole body arrived */
    uint32_t choice_count;        /* answers in it; several are not stored */
    bool is_every_choice_stopped; /* each ended by itself: stop, end_turn, completed, tool calls */
    bool has_content;             /* some text, audio or tool call */

    bool is_other_type;      /* its Content-Type is that of something else */
    bool has_length;         /* some answer was cut short */
    bool has_content_filter; /* some answer was filtered */
    bool has_tool_calls;
    bool has_refusal;      /* the model declined */
    bool is_moderated;     /* a moderation block */
    bool is_no_store;      /* the caller said no-store, or opted out */
    bool has_hosted_tools; /* web search, code interpreter ... in the request */
    bool is_stateful;      /* previous_response_id, conversation, background */
    bool is_volatile;      /* dj_guard_features_is_volatile of the question */
    bool has_confidence;
    double confidence;     /* 0-1, when has_confidence */
    double confidence_min; /* 0: DJ_ADMIT_CONFIDENCE_MIN */

    bool is_several_kept;      /* setting: admission.several_answers */
    bool is_tool_calls_cached; /* setting: proxy.cache_tool_calls */
    bool is_empty_allowed;     /* cache API: an empty result is a valid payload */
};

struct dj_admit_answer {
    bool is_admitted;
    bool is_short_lived; /* refusals, and questions whose answer ages by the hour */
    const char *reason;  /* constant: "admitted", "no-store", "status", "incomplete", ... */
};

/* min 0: DJ_ADMIT_CONFIDENCE_MIN. What is no number is not confident. */
bool dj_admit_is_confident(double confidence, double min);

/* May a refusal with this status be kept for a while, where that is allowed? Only those that speak
 * of the request itself and will be the same for the next equal one: never who may ask (401, 403),
 * how much (402, 429), when (408, 409, 425), or a failure of the upstream (5xx). */
bool dj_admit_is_negative(int status);

void dj_admit_decide(const struct dj_admit_question *question, struct dj_admit_answer *out_answer);

#endif
