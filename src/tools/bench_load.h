/* tools/bench_load.h - `deja bench load`: does it hold with a thousand clients at once?
 *
 * Clients come and go in ramps (to 100, to 500, to 1,000, stay, leave), each a tenant's, each over
 * a connection it keeps; what they ask is drawn so that few questions are asked often. Every answer
 * is checked: its cache header, its words, and that they are its own tenant's. With connections,
 * that many are held at the end, most of them idle.
 *
 * Without a server a daemon of its own is started, and a model behind it; both end with the run.
 * Threads: blocks the caller's; SIGINT and SIGTERM are blocked there and end the run between turns.
 */
#ifndef DJ_TOOLS_BENCH_LOAD_H
#define DJ_TOOLS_BENCH_LOAD_H

#include "tools/bench_internal.h"

#define DJ_LOAD_CONNECTIONS_MAX 50000u
#define DJ_LOAD_CLIENTS_MAX 10000u
#define DJ_LOAD_TENANTS_MAX 64u
#define DJ_LOAD_QUESTIONS_MAX 10000u

struct dj_load_options {
    uint32_t seconds;     /* of all ramps together; 960 */
    uint32_t clients;     /* of the highest ramp; 1,000: the others are a tenth and a half of it */
    uint32_t connections; /* to hold afterwards; 0: none */
    uint32_t tenants;     /* 5 */
    uint32_t questions;   /* of each tenant; 100 */
    uint32_t pause_ms;    /* between an answer and the client's next question, on average; 100 */
    uint16_t model_port;  /* of a server given: its upstream is our model, on this port; 0: the
                           * server's cache API is asked, its upstream never */
};
extern const struct dj_load_options dj_load_options_default;

/* Adds results and checks to bench->report. bench->server NULL: a daemon of its own; bench->key:
 * one or several keys parted by commas, each a tenant. DEJA_OK: it ran to its end, whatever the
 * checks say. */
enum deja_status dj_bench_load(struct dj_bench *bench,
                               const struct dj_load_options *options) DEJA_NODISCARD;

#endif
