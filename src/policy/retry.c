/* policy/retry.c - see retry.h. */
#include "policy/retry.h"

const struct dj_retry_options dj_retry_options_default = {
    .attempts_max = 3,
    .initial_ms = 100,
    .growth = 2,
    .pause_ms_max = 5000,
    .elapsed_ms_max = 10000,
    .budget_ratio = 0.1,
    .budget_reserve = 10,
};

bool dj_retry_is_retryable(enum deja_status status)
{
    return status == DEJA_ERR_IO || status == DEJA_ERR_TIMEOUT;
}

void dj_retry_earn(struct dj_retry_budget *budget, const struct dj_retry_options *options)
{
    if (options->budget_ratio > 0)
        budget->spent -= options->budget_ratio;
    if (!(budget->spent > 0))
        budget->spent = 0;
}

/* U(0, min(pause_ms_max, initial * growth^(attempts - 1))) */
static uint64_t draw_pause(const struct dj_retry_options *options, uint32_t attempts,
                           uint64_t random)
{
    double bound = (double)options->initial_ms;
    double most = (double)options->pause_ms_max;
    for (uint32_t i = 1; i < attempts && bound < most && options->growth > 1; i++)
        bound *= options->growth;
    bound = bound < most ? bound : most;
    /* 53 bits of it, in [0, 1) */
    return (uint64_t)(bound * ((double)(random >> 11) / (double)(UINT64_C(1) << 53)));
}

enum dj_retry_answer dj_retry_decide(struct dj_retry_budget *budget,
                                     const struct dj_retry_options *options,
                                     const struct dj_retry_question *question,
                                     uint64_t *out_pause_ms)
{
    if (!dj_retry_is_retryable(question->status))
        return DJ_RETRY_NOT_RETRYABLE;
    uint64_t pause_ms = draw_pause(options, question->attempts, question->random);
    if (question->attempts >= options->attempts_max ||
        (options->elapsed_ms_max && question->elapsed_ms + pause_ms >= options->elapsed_ms_max))
        return DJ_RETRY_TOO_MANY;
    if (pause_ms >= question->remaining_ms)
        return DJ_RETRY_TOO_LATE;
    if (budget->spent + 1 > (double)options->budget_reserve + 1e-9)
        return DJ_RETRY_NO_BUDGET;
    budget->spent += 1;
    *out_pause_ms = pause_ms;
    return DJ_RETRY_YES;
}
