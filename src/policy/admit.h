#ifndef DJ_POLICY_ADMIT_H
#define DJ_POLICY_ADMIT_H
#include <deja/base.h>
struct dj_admit_question { int status; bool is_complete; uint32_t choice_count; bool is_every_choice_stopped, has_length, has_content_filter, has_tool_calls, has_refusal, has_content, is_moderated, is_tool_calls_cached; };
struct dj_admit_answer { bool is_admitted, is_short_lived; const char *reason; };
static inline void dj_admit_decide(const struct dj_admit_question *q, struct dj_admit_answer *a)
{ *a = (struct dj_admit_answer){.is_admitted = q->status == 200 && q->is_complete && q->choice_count && q->is_every_choice_stopped && !q->has_tool_calls && q->has_content, .is_short_lived = q->has_refusal, .reason = "refused"}; }
#endif
