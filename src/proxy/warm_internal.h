/* proxy/warm_internal.h - warm.c orders and schedules, warm_list.c finds out what there is to do,
 * warm_run.c does it, warm_line.c reads requests, warm_keep.c puts habits away, warm_status.c
 * tells. */
#ifndef DJ_PROXY_WARM_INTERNAL_H
#define DJ_PROXY_WARM_INTERNAL_H

#include <pthread.h>

#include "base/arena.h"
#include "base/map.h"
#include "crypto/digest.h"
#include "proxy/warm.h"

/* One thing to do. */
struct warm_item {
    unsigned source; /* of enum dj_warm_source */
    bool has_id;
    uint8_t id[DJ_ID_BYTES];
    char *packed; /* owned; NULL: cannot be asked, only promoted */
    size_t packed_len;
    int64_t good_until_ms; /* what lives so long is left as it is; 0: what can be served */
    uint32_t day;          /* requests in the last 24 hours */
    struct dj_prediction prediction;
    uint32_t tries; /* that were refused for a while */
};

/* Copied out under the lock of the service. */
struct warm_progress {
    uint64_t id;        /* 0: there was no run */
    const char *status; /* constant: "listing", "running", "done", "cancelled", "stopped" */
    const char *reason; /* why it stopped: constant; NULL: it did not */
    unsigned sources;
    bool is_scheduled;
    uint64_t total;
    uint64_t done;
    uint64_t warmed;   /* asked upstream, and kept */
    uint64_t promoted; /* found below memory */
    uint64_t present;  /* there already */
    uint64_t missing;  /* neither there nor known how to ask */
    uint64_t failed;   /* asked, and not kept */
    uint64_t requests; /* upstream */
    double cost_usd;
    int64_t started_ms;
    int64_t ended_ms;
};

struct warm_run;

/* What is known of one tenant. */
struct warm_tenant {
    uint8_t id[DJ_ID_BYTES];
    struct warm_run *run; /* NULL: none */
    struct warm_progress progress;
    int64_t day; /* since 1970, of the next two */
    uint64_t day_requests;
    double day_usd;
    uint32_t clusters;   /* of the last prediction */
    const char *skipped; /* why the schedule left it out: constant; NULL: it did not */
};

struct dj_warm {
    struct dj_warm_options options;
    struct dj_asked *asked;
    pthread_mutex_t lock; /* of what follows */
    struct dj_map *tenants;
    uint32_t running;
    uint64_t last_id;
    bool is_stopping;
    /* loop 0's */
    _Atomic bool is_ready;       /* habits kept before are known; any thread */
    int64_t next_ms;             /* of the schedule; 0: not known yet */
    int64_t predicted_hour;      /* the last one that was predicted */
    uint8_t (*due)[DJ_ID_BYTES]; /* tenants whose turn is to come; owned */
    size_t due_count;
    size_t due_at;
    unsigned due_sources;
    int64_t due_ms;
    struct warm_keep *keep;     /* warm_keep.c; NULL: nothing is put away */
    uint8_t local[DJ_ID_BYTES]; /* the tenant without a credential */
};

/* A run, on its loop. */
struct warm_run {
    struct dj_warm *warm;
    struct dj_loop *loop;
    struct dj_arena arena;
    struct dj_warm_order order; /* slices in the arena */
    struct warm_progress progress;
    bool is_scheduled;
    int64_t due_ms; /* of the schedule: one run of it among all programs */
    struct warm_item *items;
    size_t item_count;
    size_t item_cap;
    size_t next;
    size_t batch_left;
    uint32_t in_flight;
    uint32_t pauses;
    const char *stop; /* why no more is begun: constant; NULL: go on */
    bool is_ending;
    bool is_pausing;
    bool has_lock;
    bool is_list_failed;
    uint32_t clusters;
    uint8_t token[16];
    uint64_t renewed_us;
    struct dj_timer *timer;
    struct dj_job job;
    struct dj_task task;
    void *ctx;
    dj_warm_listed_fn *listed;
    _Atomic bool is_cancelled;
};

/* warm.c; under warm->lock. NULL: too many, or no memory. */
struct warm_tenant *warm_tenant_of(struct dj_warm *warm, const uint8_t tenant[DJ_ID_BYTES]);
/* Of the day's budget: it begins anew. Likewise under the lock. */
void warm_enter_day(struct warm_tenant *tenant, int64_t now_ms);
/* Takes it over: what the run knows, for who asks. */
void warm_tell(struct warm_run *run);
/* The run is no more; also counts what it cost. */
void warm_ended(struct warm_run *run);
/* What a request more would be beyond: constant; NULL: nothing. */
const char *warm_budget(struct warm_run *run);
void warm_spent(struct warm_run *run, double cost_usd);
/* May the tenant's requests go upstream, and as whom? NULL: yes. */
const char *warm_objection(struct dj_warm *warm, const struct dj_warm_order *order);
/* The operator's, for who has none; value empty: none is to be sent. */
struct dj_http_header warm_credential(struct dj_warm *warm, const struct dj_warm_order *order,
                                      struct dj_arena *arena);

/* warm_run.c: takes run. */
void warm_begin(struct warm_run *run);
void warm_run_destroy(struct warm_run *run);

/* warm_line.c: the same request, packed, without what asks for a stream. */
enum deja_status warm_repack(const struct dj_asked_request *request,
                             struct dj_buf *out) DEJA_NODISCARD;

/* warm_list.c */
bool warm_add(struct warm_run *run, const struct warm_item *item, struct deja_slice packed);
/* The item is taken up again behind all others, and its request moves there; false: no memory. */
bool warm_put_back(struct warm_run *run, size_t index);
void warm_list(void *run); /* worker */
/* Which of the items there is nothing to do for, as far as memory knows. */
enum deja_status warm_write_list(struct warm_run *run, struct dj_buf *out) DEJA_NODISCARD;

/* warm_keep.c: loop 0 */
/* What a former life knew is known again. Any thread. */
bool warm_keep_is_ready(const struct dj_warm *warm);
void warm_keep_destroy(struct dj_warm *warm); /* after the loops have ended */
void warm_keep_tick(struct dj_warm *warm, int64_t now_ms, bool is_last);

#endif
