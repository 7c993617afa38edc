/* api/resp.h - plain keys for any client of Redis: what commands mean.
 *
 * The keys are those of /api/v1/kv (cache/plain.h), in all tiers. AUTH chooses the tenant as a
 * bearer does over HTTP, SELECT n the namespace "dbN" (0: the default one). What is served, and
 * where it departs from Redis: docs/resp.md; why: docs/adr/0023.
 *
 * Threads: shared by all loops and immutable; a client belongs to its loop. Trust: commands are
 * untrusted.
 */
#ifndef DJ_API_RESP_H
#define DJ_API_RESP_H

#include <deja/base.h>

#include "api/resp_metrics.h"
#include "cache/plain.h"
#include "net/resp_server.h"
#include "proxy/context.h"

/* Borrowed for the life of the servers. */
struct dj_resp_api {
    struct dj_proxy_context *proxy;
    struct dj_plain *plain;
    struct dj_notices *notices;        /* NULL: nobody can listen */
    struct dj_resp_counters *counters; /* of all servers */
    uint64_t bulk_bytes_max;           /* as their limits */
    uint32_t port;                     /* for INFO, as the next */
    const char *eviction;              /* "allkeys-…": who leaves memory when it is full */
    int64_t started_ms;
    uint8_t run_id[20];              /* random, for INFO */
    _Atomic uint64_t client_id;      /* the last one given */
    _Atomic uint64_t commands;       /* run since the start */
    struct dj_resp_metrics *metrics; /* NULL: none are kept */
};

/* For dj_resp_server_open, with a struct dj_resp_api as ctx. */
extern const struct dj_resp_handler dj_resp_api_handler;

/* Names of commands, in order; NULL: there are no more. */
const char *dj_resp_api_command(size_t index);

#endif
