/* proxy/warm.h - answers made before they are asked for: on a schedule, by order, or because they
 * are likely.
 *
 *   order or schedule ─▶ list (worker): requests given, a file, what is asked most, what ends soon,
 *                        keys of lower tiers, what the next hour will bring (policy/predict.h)
 *     ─▶ each: still good? promoted, done : asked as its tenant, through the proxy's own way
 *        (net/http_inner.h): kept, counted, paid for like any other answer
 *
 * Invariants: a run goes upstream only within its budget and its tenant's for the day; waits for
 * users and stops where they wait; is alone in its tenant, here and among the programs of a shared
 * tier; with no credential but one that Deja holds for the tenant, the operator's, or that of who
 * ordered it, which is wiped when it ends. Nothing that was ordered outlives the process.
 *
 * Threads: any, but for tick and stop (loop 0). A run lives on the loop it was started on.
 */
#ifndef DJ_PROXY_WARM_H
#define DJ_PROXY_WARM_H

#include <deja/base.h>

#include "policy/cron.h"
#include "proto/json.h"
#include "proxy/asked.h"
#include "proxy/context.h"

#define DJ_WARM_ITEMS_MAX 10000u
#define DJ_WARM_PATTERNS_MAX 32u
#define DJ_WARM_RUNS_MAX 16u /* of all tenants at the same time */

enum dj_warm_source {
    DJ_WARM_TOP = 1,      /* what was asked most in the last 24 hours */
    DJ_WARM_EXPIRING = 2, /* of that, what ends before the next run */
    DJ_WARM_KEYS = 4,     /* patterns of what lower tiers keep: into memory */
    DJ_WARM_FILE = 8,     /* the operator's, a request or prompt a line */
    DJ_WARM_PREDICT = 16, /* what the next hour will bring */
    DJ_WARM_GIVEN = 32,   /* with the order */
};
extern const char *const dj_warm_source_names[]; /* bit i is the i-th, NULL-terminated */
const char *dj_warm_source_text(unsigned source);

/* Texts are borrowed from the settings until destroy. */
struct dj_warm_options {
    struct dj_proxy_context *context; /* borrowed */
    struct dj_loop *loop;             /* 0: of what is scheduled */
    void *handler_ctx;                /* of requests that Deja makes of itself */
    dj_http_handler_fn *handler;
    const struct dj_authority
        *authority;  /* where it is noted whose habits are kept; NULL: nowhere */
    bool is_enabled; /* the schedule */
    struct dj_cron cron;
    unsigned sources;       /* of the schedule: bits of enum dj_warm_source */
    const char *file;       /* NULL: none */
    const char *model;      /* of prompts that name none; NULL: none */
    const char *credential; /* the operator's, sent as a bearer; NULL: none */
    const char *const *patterns;
    size_t pattern_count;
    uint32_t limit;        /* of what is asked most, and of what ends */
    uint32_t batch;        /* 100 */
    uint32_t concurrency;  /* 5 */
    uint32_t run_requests; /* upstream, of a run; 0: none */
    double run_usd;        /* 0: not looked at */
    uint32_t day_requests; /* of a tenant's runs of a day (UTC); 0: not looked at */
    double day_usd;
    bool is_predicting;
    double threshold; /* 0.7 */
    uint64_t lead_ms; /* before the hour */
    size_t keys_max;
    uint64_t bytes_max;
};

struct dj_warm;

/* Where nothing asks for habits none are kept. */
enum deja_status dj_warm_create(const struct dj_warm_options *options,
                                struct dj_warm **out_warm) DEJA_NODISCARD;
void dj_warm_destroy(struct dj_warm *warm); /* after the loops have ended; accepts NULL */
struct dj_asked *dj_warm_asked(struct dj_warm *warm);
const char *dj_warm_model(const struct dj_warm *warm); /* of prompts that name none; or NULL */
/* Once a second, on loop 0. */
void dj_warm_tick(struct dj_warm *warm);
/* No run goes on, and what is known is put away; on loop 0, when the daemon begins to end. */
void dj_warm_stop(struct dj_warm *warm);
uint32_t dj_warm_running(struct dj_warm *warm); /* runs that have not ended: any thread */
void dj_warm_forget(struct dj_warm *warm, const uint8_t tenant[DJ_ID_BYTES]);

/* One line of a file, or member of "requests": a prompt, {"prompt","model"?}, a whole request of a
 * family ({"model","messages"}, …), or {"path","body","headers"?}. Appends it, packed, to out.
 * DEJA_ERR_INVALID: error says why; DEJA_ERR_NOMEM. Trust: untrusted. */
enum deja_status dj_warm_line(const struct dj_json *line, const char *model, struct dj_buf *out,
                              struct deja_error *error) DEJA_NODISCARD;

struct dj_warm_order {
    uint8_t tenant[DJ_ID_BYTES];
    unsigned sources;
    bool is_dry_run;
    uint32_t requests_max;          /* upstream; 0: the settings' */
    double usd_max;                 /* 0: the settings' */
    uint32_t limit;                 /* 0: the settings' */
    const struct deja_slice *given; /* packed by dj_warm_line */
    size_t given_count;             /* at most DJ_WARM_ITEMS_MAX */
    const struct deja_slice *patterns;
    size_t pattern_count;             /* at most DJ_WARM_PATTERNS_MAX */
    int64_t at_ms;                    /* predict: as if it were then; 0: now */
    double threshold;                 /* 0: the settings' */
    struct dj_http_header credential; /* of who ordered it; value empty: none was shown */
    bool is_local; /* the tenant without a credential: its upstream may want none */
};

/* Why there is no run: constant texts. */
struct dj_warm_refusal {
    int status;
    const char *type;
    const char *detail;
};
/* A dry run: what would be done, written as JSON; else empty. */
typedef void dj_warm_listed_fn(void *ctx, enum deja_status status, struct deja_slice json);
/* Copies order. DEJA_OK: out_id is the run's; of a dry run listed is called later, on loop (else
 * never). Otherwise *out_refusal. */
enum deja_status dj_warm_start(struct dj_warm *warm, struct dj_loop *loop,
                               const struct dj_warm_order *order, void *ctx,
                               dj_warm_listed_fn *listed, uint64_t *out_id,
                               struct dj_warm_refusal *out_refusal) DEJA_NODISCARD;
/* False: there is none. */
bool dj_warm_cancel(struct dj_warm *warm, const uint8_t tenant[DJ_ID_BYTES]);
/* What is known of the tenant's warming, as members of an object. */
void dj_warm_put_status(struct dj_warm *warm, const uint8_t tenant[DJ_ID_BYTES], int64_t now_ms,
                        struct dj_json_writer *w);

/* Past accesses of a request (packed), so that habits need not be learned anew. Its key is worked
 * out by asking the proxy for it, from the cache alone. learned runs once, on loop. */
typedef void dj_warm_learned_fn(void *ctx, bool is_known);
enum deja_status dj_warm_learn(struct dj_warm *warm, struct dj_loop *loop,
                               const uint8_t tenant[DJ_ID_BYTES], struct deja_slice packed,
                               const int64_t *times_ms, size_t count, void *ctx,
                               dj_warm_learned_fn *learned) DEJA_NODISCARD;

#endif
