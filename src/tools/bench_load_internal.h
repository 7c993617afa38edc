/* tools/bench_load_internal.h - what the parts of `deja bench load` share.
 *
 *   bench_load.c         ramps, rounds, verdict
 *   bench_load_client.c  one client: its connection, its question, its answer
 *   bench_load_target.c  whom they ask: a daemon of our own or one that runs; the model behind it
 */
#ifndef DJ_TOOLS_BENCH_LOAD_INTERNAL_H
#define DJ_TOOLS_BENCH_LOAD_INTERNAL_H

#include <sys/socket.h>
#include <sys/types.h>

#include "loop/loop.h"
#include "loop/stream.h"
#include "proto/http_reply.h"
#include "tools/bench_load.h"
#include "tools/fake_model.h"

#define DJ_LOAD_NAME_BYTES 256u
#define DJ_LOAD_ANSWER_BYTES (DJ_BENCH_ANSWER_BYTES + 512u)

/* ---- bench_load_target.c ---- */

/* Whom the clients ask, and with which words. Constant while they do. */
struct dj_load_target {
    const struct dj_load_options *options;
    bool is_api; /* POST /api/v1/lookup; else through the proxy */
    uint32_t tenant_count;
    char names[DJ_LOAD_TENANTS_MAX][DJ_LOAD_NAME_BYTES]; /* bearer values */
    char name_space[40];
    char host[300]; /* of the Host header */
    struct sockaddr_storage address;
    socklen_t address_len;
    char (*fillers)[DJ_BENCH_ANSWER_BYTES]; /* owned; one for each question */
    struct dj_fake_model *model;            /* NULL: none */
    pid_t daemon;                           /* 0: not ours */
    char folder[DJ_BENCH_PATH_BYTES];       /* the daemon's; "": none */
};

/* Starts what is to be started and waits until it is ready. On failure nothing is left. */
enum deja_status dj_load_target_start(struct dj_bench *bench, const struct dj_load_options *options,
                                      struct dj_load_target *out_target) DEJA_NODISCARD;
/* Ends what was started, removes what was put. Accepts a zeroed one. */
void dj_load_target_stop(struct dj_bench *bench, struct dj_load_target *target);

/* Terminated. Questions differ in a number, so that no one is taken for another. */
struct deja_slice dj_load_question(uint32_t question, char out_text[DJ_BENCH_TEXT_BYTES]);
/* The right answer to a question, for a tenant; its length is below DJ_LOAD_ANSWER_BYTES. */
size_t dj_load_answer(const struct dj_load_target *target, uint32_t tenant, uint32_t question,
                      char out_text[DJ_LOAD_ANSWER_BYTES]);
/* Does an answer begin with the name of another tenant of this run? */
bool dj_load_is_foreign(const struct dj_load_target *target, uint32_t tenant,
                        struct deja_slice text);

/* ---- bench_load_client.c ---- */

struct dj_load;

enum dj_load_state {
    DJ_LOAD_OFF,    /* not connected */
    DJ_LOAD_IDLE,   /* connected; its pause runs, or nothing does */
    DJ_LOAD_ASKING, /* an answer is due */
};

/* Loop-bound. Zeroed may be fini'd. */
struct dj_load_client {
    struct dj_load *load;
    uint32_t index; /* among the clients; its tenant follows from it */
    enum dj_load_state state;
    int fd;
    struct dj_poll *poll;
    struct dj_timer *timer; /* the pause */
    struct dj_http_reply *reply;
    struct dj_buf request;
    struct dj_buf body; /* of the answer */
    size_t sent;
    uint64_t began_ns;
    uint32_t question;
    bool is_put; /* what is asked is kept first: the answer to a miss of the cache API */
    bool has_answered;
};

/* What came of one call. */
enum dj_load_outcome {
    DJ_LOAD_RIGHT,
    DJ_LOAD_WRONG,     /* an answer, but not the one to the question */
    DJ_LOAD_FOREIGN,   /* another tenant's */
    DJ_LOAD_NO_HEADER, /* right, without X-Cache-Hit */
    DJ_LOAD_FAILED,    /* refused, broken off, too late, a status other than 200 */
    DJ_LOAD_OUTCOMES
};

/* What X-Cache-Hit said. */
enum dj_load_header {
    DJ_LOAD_NOTHING, /* not there, or not asked for: a put */
    DJ_LOAD_MISS,
    DJ_LOAD_HIT,
};

enum deja_status dj_load_client_init(struct dj_load_client *client, struct dj_load *load,
                                     uint32_t index) DEJA_NODISCARD;
void dj_load_client_fini(struct dj_load_client *client);
/* Connects if need be and asks. Only while it is not asking. */
void dj_load_client_ask(struct dj_load_client *client, uint32_t question);
void dj_load_client_pause(struct dj_load_client *client, uint32_t pause_ms);
void dj_load_client_close(struct dj_load_client *client);
/* Ends a call that began before that time as failed. */
void dj_load_client_expire(struct dj_load_client *client, uint64_t began_before_ns);

/* ---- bench_load.c, called by clients ---- */

struct dj_loop *dj_load_loop(const struct dj_load *load);
const struct dj_load_target *dj_load_target(const struct dj_load *load);
/* A call ended; the client is idle, or off where its connection ended. detail: of a failure. */
void dj_load_on_answer(struct dj_load *load, struct dj_load_client *client,
                       enum dj_load_outcome outcome, enum dj_load_header header,
                       const char *detail);
void dj_load_on_pause_over(struct dj_load *load, struct dj_load_client *client);
/* The server ended the connection of a client that was idle. */
void dj_load_on_dropped(struct dj_load *load, struct dj_load_client *client);

#endif
