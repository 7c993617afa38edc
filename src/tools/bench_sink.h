/* tools/bench_sink.h - a TCP server that does as little as one can: it accepts, reads and forgets.
 *
 * What slow clients cost a machine that serves them in no way: the measure for one that does.
 * Threads: none of its own; a process.
 */
#ifndef DJ_TOOLS_BENCH_SINK_H
#define DJ_TOOLS_BENCH_SINK_H

#include <deja/base.h>

#include <sys/socket.h>
#include <sys/types.h>

struct dj_bench_sink {
    struct sockaddr_storage address; /* of loopback, on a free port */
    socklen_t address_len;
    pid_t child; /* 0: it does not run */
};

/* DEJA_ERR_IO, DEJA_ERR_LIMIT (no process). */
enum deja_status dj_bench_sink_start(struct dj_bench_sink *out_sink) DEJA_NODISCARD;
/* Its connections are closed. Accepts a zeroed one. */
void dj_bench_sink_stop(struct dj_bench_sink *sink);

#endif
