/* policy/admit.c - see admit.h. The first rule that says no names the reason. */
#include "policy/admit.h"

#include <math.h>

/* NULL: nothing speaks against storing it. */
static const char *objection(const struct dj_admit_question *q)
{
    if (q->is_no_store)
        return "no-store";
    if (q->status != 200)
        return "status";
    if (!q->is_complete)
        return "incomplete";
    if (q->is_other_type)
        return "content-type";
    if (q->is_moderated)
        return "moderated";
    if (q->is_stateful)
        return "stateful";
    if (q->has_hosted_tools)
        return "hosted-tools";
    if (q->has_length)
        return "length";
    if (q->has_content_filter)
        return "content-filter";
    if (q->has_tool_calls && !q->is_tool_calls_cached)
        return "tool-calls";
    if (q->choice_count > 1 && !q->is_several_kept)
        return "several-choices";
    if (q->choice_count == 0 || (!q->has_content && !q->is_empty_allowed))
        return "empty";
    if (!q->is_every_choice_stopped)
        return "finish-reason"; /* also one we do not know: providers invent new ways to stop short
                                 */
    /* Not "below": of NaN that would be false. */
    return q->has_confidence && !dj_admit_is_confident(q->confidence, q->confidence_min)
               ? "confidence"
               : NULL;
}

bool dj_admit_is_confident(double confidence, double min)
{
    return isfinite(confidence) && confidence >= (min > 0 ? min : DJ_ADMIT_CONFIDENCE_MIN);
}

bool dj_admit_is_negative(int status)
{
    static const int kept[] = {400, 404, 405, 410, 413, 414, 415, 422};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (status == kept[i])
            return true;
    return false;
}

void dj_admit_decide(const struct dj_admit_question *question, struct dj_admit_answer *out_answer)
{
    const char *reason = objection(question);
    *out_answer = (struct dj_admit_answer){
        .is_admitted = !reason,
        .is_short_lived = question->has_refusal || question->is_volatile,
        .reason = reason ? reason : "admitted",
    };
}
