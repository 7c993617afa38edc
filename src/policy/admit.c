/* policy/admit.c - see admit.h. The first rule that says no names the reason. */
#include "policy/admit.h"

#include <math.h>

/* Ends of a whole answer, of OpenAI, Responses and Anthropic. A reason we do not know is not on
 * it: providers invent new ways of stopping short. */
static const char *const whole_ends[] = {"stop", "end_turn", "stop_sequence", "completed"};
static const char *const tool_ends[] = {"tool_calls", "function_call", "tool_use"};

static bool is_one_of(struct deja_slice reason, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (deja_slice_is_equal(reason, deja_slice_text(list[i])))
            return true;
    }
    return false;
}

/* NULL: every choice ended well. */
static const char *bad_end(const struct dj_admit_facts *facts)
{
    for (size_t i = 0; i < facts->finish_reason_count; i++) {
        struct deja_slice reason = facts->finish_reasons[i];
        if (is_one_of(reason, whole_ends, sizeof whole_ends / sizeof *whole_ends))
            continue;
        bool is_tool = is_one_of(reason, tool_ends, sizeof tool_ends / sizeof *tool_ends);
        if (is_tool && facts->is_tool_calls_stored)
            continue;
        return is_tool ? "tool-calls" : "finish-reason";
    }
    return NULL;
}

static const char *objection(const struct dj_admit_facts *facts)
{
    if (facts->is_no_store)
        return "no-store";
    if (facts->status != 200)
        return "status";
    if (!facts->is_complete)
        return "incomplete";
    if (facts->is_moderated)
        return "moderated";
    if (facts->is_stateful)
        return "stateful";
    if (facts->has_hosted_tools)
        return "hosted-tools";
    if (facts->has_tool_calls && !facts->is_tool_calls_stored)
        return "tool-calls";
    if (facts->choices_wanted > 1 || facts->choices_wanted < 0)
        return "several-choices";
    if (facts->is_content_empty && !facts->is_empty_allowed)
        return "empty";
    /* Not below, but not surely at or above: NaN is refused. */
    if (facts->has_confidence &&
        !(isfinite(facts->confidence) && facts->confidence >= DJ_ADMIT_CONFIDENCE_MIN))
        return "confidence";
    return bad_end(facts);
}

struct dj_admit_decision dj_admit_decide(const struct dj_admit_facts *facts)
{
    const char *reason = objection(facts);
    bool is_short = facts->is_refusal || facts->is_volatile;
    return (struct dj_admit_decision){
        .is_stored = !reason,
        .ttl_class = is_short ? DJ_TTL_SHORT : DJ_TTL_NORMAL,
        .reason = reason ? reason : "stored",
    };
}
