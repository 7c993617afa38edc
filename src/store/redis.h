/* store/redis.h - the shared tier: Valkey or Redis, alone, watched by Sentinels, or as a cluster.
 *
 * Connections belong to a loop and are made when they are needed; what is asked in one turn of a
 * loop leaves in one write per server. A connection that dies fails what is under way on it
 * (DEJA_ERR_IO); one that is silent for read_ms does so with DEJA_ERR_TIMEOUT. Nothing is retried
 * here but what a cluster redirects. docs/adr/0007.
 *
 * Trust: the server is not trusted: every reply is bounded, every record verified; what does not
 * verify is a miss and is removed. Tenants: part of every key.
 * Threads: the table's functions on the loop that is named (index below loop_count), `leave` on
 * each such loop before it ends; the others say.
 */
#ifndef DJ_STORE_REDIS_H
#define DJ_STORE_REDIS_H

#include "store/store.h"

#define DJ_REDIS_HOST_BYTES 256u
#define DJ_REDIS_SEEDS_MAX 32u
#define DJ_REDIS_LOOPS_MAX 64u
#define DJ_REDIS_CONNECTIONS_MAX 64u
#define DJ_REDIS_PREFIX_BYTES_MAX 64u

struct dj_redis_address {
    char host[DJ_REDIS_HOST_BYTES]; /* a name or a numeric address, without brackets */
    uint16_t port;
};

enum dj_redis_mode { DJ_REDIS_STANDALONE, DJ_REDIS_SENTINEL, DJ_REDIS_CLUSTER };

struct dj_redis_options {
    enum dj_redis_mode mode;
    const struct dj_redis_address *addresses; /* the server, the sentinels, some of the cluster */
    size_t address_count;                     /* 1 … DJ_REDIS_SEEDS_MAX */
    const char *master_name;                  /* as the sentinels call it; NULL: "mymaster" */
    const char *user;                         /* ACL; NULL: "default" */
    const char *password;                     /* NULL: none */
    const char *sentinel_user;                /* of the sentinels themselves */
    const char *sentinel_password;
    uint32_t db;        /* standalone and Sentinel */
    const char *prefix; /* of every key; NULL: "deja"; letters, digits, - _ . : / */
    bool is_tls;
    const char *ca_file; /* PEM; NULL: the system's */
    const char *cert_file;
    const char *key_file;
    const char *server_name;   /* in the server's certificate; NULL: its host */
    bool is_scriptless;        /* no EVAL; false: none only once the server has refused it */
    uint32_t loop_count;       /* 0: 1; at most DJ_REDIS_LOOPS_MAX */
    uint32_t connections_max;  /* of a loop to one server; 0: 10 */
    uint32_t idle_min;         /* kept open though idle */
    uint32_t dial_ms;          /* TCP, TLS, greeting; 0: 5 s */
    uint32_t read_ms;          /* 0: 3 s */
    uint32_t write_ms;         /* 0: 3 s */
    uint32_t idle_ms;          /* 0: 5 min */
    uint64_t ttl_ms;           /* longest stay; 0: 1 h */
    uint32_t tombstone_ms;     /* of what was removed; 0: 1 h */
    uint32_t queue_max;        /* commands under way on a loop, then DEJA_ERR_BUSY; 0: 16,384 */
    uint64_t queue_bytes_max;  /* of these; 0: 128 MiB */
    uint64_t record_bytes_max; /* larger ones are DEJA_ERR_LIMIT; 0: 33 MiB */
    struct dj_packing packing; /* of records */
};

/* A zeroed address becomes that of "host:port", "host" (port 6379), "[v6]:port".
 * DEJA_ERR_INVALID. */
enum deja_status dj_redis_address_read(struct deja_slice text, uint16_t port,
                                       struct dj_redis_address *out_address) DEJA_NODISCARD;

/* Everything in options is copied. Succeeds whether or not a server is there. DEJA_ERR_CONFIG: a
 * TLS file cannot be read, or a name is not usable; DEJA_ERR_NOMEM; DEJA_ERR_IO (no thread). */
enum deja_status dj_redis_open(const struct dj_redis_options *options, struct dj_store **out_store,
                               struct deja_error *error) DEJA_NODISCARD;

/* Why the last connection could not be used, with what to do; empty while all is well. Any
 * thread. */
void dj_redis_trouble(struct dj_store *store, struct deja_error *out_trouble);

/* Figures of the servers, as they were at most a minute ago while the tier is used. Any thread. */
struct dj_redis_figures {
    uint64_t keys;             /* of the masters together, whoever wrote them */
    uint64_t memory_bytes;     /* used_memory */
    uint64_t memory_bytes_max; /* 0: no bound */
    uint64_t evictions;
    uint64_t expired;
    uint64_t clients;  /* connected, ours among them */
    uint32_t servers;  /* masters known; 0: no figures were heard yet */
    char software[32]; /* "valkey 8.1.1"; empty: nothing was heard yet */
};
void dj_redis_figures(struct dj_store *store, struct dj_redis_figures *out_figures);

/* ---- looking at a server; blocking: start-up, tools and workers only ---- */

#define DJ_REDIS_ADVICE_MAX 16u

/* Constant texts. */
struct dj_redis_advice {
    const char *fault; /* what is so */
    const char *cure;  /* what to do */
};

/* How the connection is secured and what could be better. Plain data. */
struct dj_redis_security {
    bool is_tls;
    bool is_verified;     /* the server's certificate was checked: always with TLS */
    bool has_certificate; /* of our own */
    bool is_authenticated;
    bool is_local; /* the server is on this machine */
    char user[64]; /* ACL; empty: unknown */
    char software[32];
    size_t advice_count;
    struct dj_redis_advice advice[DJ_REDIS_ADVICE_MAX];
};

/* Connects anew and looks, its configuration included where that is allowed. DEJA_ERR_IO,
 * DEJA_ERR_TIMEOUT, DEJA_ERR_DENIED, DEJA_ERR_NOMEM; error: why, and what to do. */
enum deja_status dj_redis_look(const struct dj_redis_options *options, uint32_t timeout_ms,
                               struct dj_redis_security *out_security,
                               struct deja_error *error) DEJA_NODISCARD;

/* The secret all programs of this tier share: the first one publishes its own, the others get that.
 * Errors as dj_redis_look, and DEJA_ERR_CORRUPT: what is there is no secret. */
enum deja_status dj_redis_adopt_secret(const struct dj_redis_options *options, uint32_t timeout_ms,
                                       const uint8_t mine[32], uint8_t out_secret[32],
                                       struct deja_error *error) DEJA_NODISCARD;

#endif
