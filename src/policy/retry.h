/* policy/retry.h - may a failed call be tried again, and after what pause?
 *
 * At most attempts_max attempts within elapsed_ms_max, pauses drawn from [0, initial * growth^n]
 * (full jitter, so that those who failed together do not come back together), never past the
 * caller's deadline, and paid for out of a bucket that every first attempt fills a little: retries
 * are at most budget_ratio of the calls (and budget_reserve beyond, for those who ask seldom), so
 * they cannot multiply an outage. Pure; random values are given. Threads: the caller's lock.
 */
#ifndef DJ_POLICY_RETRY_H
#define DJ_POLICY_RETRY_H

#include <deja/base.h>

struct dj_retry_options {
    uint32_t attempts_max; /* 1: never again */
    uint64_t initial_ms;   /* bound of the first pause */
    double growth;         /* at least 1 */
    uint64_t pause_ms_max;
    uint64_t elapsed_ms_max; /* since the first attempt began; 0: not looked at */
    double budget_ratio;     /* 0.1: one retry for ten calls */
    uint32_t budget_reserve; /* retries that may be saved up; at the start it is full */
};
extern const struct dj_retry_options dj_retry_options_default;

/* The caller's memory; zeroed: full. */
struct dj_retry_budget {
    double spent; /* retries out of the reserve, 0 … budget_reserve */
};

/* A call is made for the first time: pays in. */
void dj_retry_earn(struct dj_retry_budget *budget, const struct dj_retry_options *options);

struct dj_retry_question {
    enum deja_status status; /* of the attempt that failed */
    uint32_t attempts;       /* made so far, at least 1 */
    uint64_t elapsed_ms;     /* since the first began */
    uint64_t remaining_ms;   /* of the caller's deadline */
    uint64_t random;         /* uniform over all 64 bits */
};
enum dj_retry_answer {
    DJ_RETRY_YES,
    DJ_RETRY_NOT_RETRYABLE, /* another attempt would fail likewise */
    DJ_RETRY_TOO_MANY,      /* attempts or time */
    DJ_RETRY_TOO_LATE,      /* the deadline would pass first */
    DJ_RETRY_NO_BUDGET      /* too many retries lately */
};
/* On DJ_RETRY_YES the retry is paid for and *out_pause_ms says how long to wait before it. */
enum dj_retry_answer dj_retry_decide(struct dj_retry_budget *budget,
                                     const struct dj_retry_options *options,
                                     const struct dj_retry_question *question,
                                     uint64_t *out_pause_ms);

/* Connection refused or broken off, I/O timed out: nothing else. */
bool dj_retry_is_retryable(enum deja_status status);

#endif
