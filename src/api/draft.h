/* api/draft.h - entries on their way in through the cache APIs: written out, looked at for
 * sensitive data, and only then put.
 *
 * Drafts live in the request's arena, their bufs are owned: whoever fills one ends it with
 * dj_draft_fini. Threads: the request's loop; long ones are looked at on a worker meanwhile.
 */
#ifndef DJ_API_DRAFT_H
#define DJ_API_DRAFT_H

#include <deja/base.h>

#include "api/request.h"
#include "base/arena.h"
#include "cache/sensitive.h"

struct dj_draft {
    struct dj_entry entry; /* id, texts; slices of the request and of the next two */
    struct dj_buf body;
    struct dj_buf metadata;
    const struct dj_json *response; /* what body was written from; NULL: a null */
    struct dj_sensitive_verdict verdict;
    enum deja_status status; /* not DEJA_OK: it could not be looked at or written */
};

/* Frees and zeroes; zeroed is fine. */
void dj_draft_fini(struct dj_draft *draft);
/* Ids and scope of a fingerprint, which the text is borrowed from. */
void dj_draft_set_key(struct dj_draft *draft, const struct dj_fingerprint *fingerprint);

typedef void dj_drafts_judged_fn(void *ctx);
/* In the arena, until judged() has run. */
struct dj_drafts {
    struct dj_request *request;
    struct dj_draft **items; /* NULL ones are passed over */
    size_t count;
    void *ctx;
    dj_drafts_judged_fn *judged;
    struct dj_job job;
};
/* Fills the verdicts, counts them, then judged() once: at once if all are short. */
void dj_drafts_judge(struct dj_drafts *drafts);

/* Of a draft that must not be put; status 0: it may. */
struct dj_problem dj_draft_problem(const struct dj_draft *draft);
/* "sensitive": what was found, and "redacted": true; nothing found: no member. */
void dj_draft_put_verdict(struct dj_json_writer *w, const struct dj_draft *draft);

#endif
