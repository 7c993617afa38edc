/* daemon/demo_internal.h - what the demo's steps find out, and who tells it. */
#ifndef DJ_DAEMON_DEMO_INTERNAL_H
#define DJ_DAEMON_DEMO_INTERNAL_H

#include <stdatomic.h>

#include "base/buf.h"
#include "tools/fake_model.h"
#include "net/client.h"

#define DJ_DEMO_DELAY_MS 300u
#define DJ_DEMO_CROWD 10u
#define DJ_DEMO_STEPS_MAX 8u

struct dj_demo_step {
    const char *name;   /* of the JSON: "exact_hit" */
    const char *title;  /* "The same question again" */
    const char *prompt; /* NULL: none */
    const char *says;   /* what it means, in a sentence */
    bool is_ok;
    char result[32];         /* "miss", "hit_exact", "hit_semantic", "collapsed" */
    char detail[64];         /* of Cache-Status: "guard:numbers"; "" for none */
    char answer[160];        /* the model's words, as they arrived */
    char fault[240];         /* "" unless it went otherwise */
    double similarity;       /* < 0: none */
    double took_ms;          /* as the client saw it */
    uint32_t requests;       /* that were made */
    uint32_t upstream_calls; /* that they led to */
    uint32_t joined;         /* that waited for another's call */
    uint32_t events;         /* of a stream */
};

struct dj_demo_saved {
    bool is_ok;
    char fault[160];
    uint64_t requests, upstream_calls, hits_exact, hits_semantic, joined, tokens;
    double cost_usd, seconds;
};

struct dj_demo_report {
    bool wants_json, has_color;
    char embedder[64]; /* kind: "transformer", "lexical" */
    struct dj_demo_step steps[DJ_DEMO_STEPS_MAX];
    size_t step_count;
    struct dj_demo_saved saved;
};

/* One by one, as they are known; nothing is printed with wants_json. demo_report.c */
void dj_demo_tell_start(const struct dj_demo_report *report);
void dj_demo_tell_step(const struct dj_demo_report *report, const struct dj_demo_step *step);
/* The end, or the whole JSON object. True: every step showed what it claims, and stdout took it. */
bool dj_demo_tell_end(const struct dj_demo_report *report);

/* What the demo's model says; a dj_fake_model_answer_fn. demo_steps.c */
void dj_demo_answer(void *ctx, const struct dj_http_request *request, struct dj_buf *out_text);

/* All steps against the daemon at client->server, told as they end. Gives up early once
 * *is_stopping. Blocks. demo_steps.c */
void dj_demo_run_steps(struct dj_demo_report *report, const struct dj_client *client,
                       const struct dj_fake_model *upstream, const _Atomic bool *is_stopping);

#endif
