/* store/redis_internal.h - how the files of the Valkey/Redis tier share their work.
 *
 *   redis.c, redis_scan.c, redis_shared.c   operations: a call each, and what its reply means
 *        │ dj_redis_send
 *   redis_link.c        one per loop: which server, redirects; redis_topology.c: who is master;
 *        │              redis_plain.c: scripts' work without scripts
 *        │ dj_redis_connection_send
 *   redis_connection.c  one socket: dial, TLS, in order of sending the replies; redis_talk.c:
 * greets
 *
 * A call belongs to the link from dj_redis_send until `replied` has run. All of it is loop-bound.
 */
#ifndef DJ_STORE_REDIS_INTERNAL_H
#define DJ_STORE_REDIS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "crypto/tls.h"
#include "loop/pool.h"
#include "loop/stream.h"
#include "store/redis.h"
#include "store/redis_command.h"
#include "store/redis_reply.h"
#include "store/redis_slots.h"

#define DJ_REDIS_NODES_MAX 128u
#define DJ_REDIS_NODE_NONE UINT32_MAX
#define DJ_REDIS_REDIRECTS_MAX 8u
#define DJ_REDIS_SCRIPT_NONE DJ_REDIS_SCRIPT_COUNT

struct dj_redis;
struct dj_redis_link;
struct dj_redis_connection;
struct dj_redis_plain;
struct dj_redis_channel;

/* status other than DEJA_OK: reply is NULL. An error reply arrives with DEJA_OK and as itself. */
typedef void dj_redis_replied_fn(void *ctx, enum deja_status status,
                                 const struct dj_redis_reply *reply);

/* Embedded in its owner. Filled by dj_redis_call_init, then bytes; the rest is the link's. */
struct dj_redis_call {
    struct dj_redis_call *next;
    struct dj_buf bytes; /* the whole command; freed once replied */
    void *ctx;
    dj_redis_replied_fn *replied;
    uint32_t node;               /* to which alone; DJ_REDIS_NODE_NONE: by slot */
    uint16_t slot;               /* of its key */
    enum dj_redis_script script; /* that it names, or DJ_REDIS_SCRIPT_NONE */
    bool is_whole;               /* not by its digest */
    bool is_plain;               /* done without it: nobody tries it again */
    uint8_t redirects;
    uint16_t skip;  /* replies before its own: to ASKING, to what EXEC will tell of */
    bool is_asking; /* its next server is told so */
    bool is_inner;  /* greeting, topology: not counted among what callers have under way */
    uint64_t at_us; /* sent, or began to wait */
    enum deja_status failure;
    struct dj_redis_link *link;
};

/* One server, as one loop knows it. */
struct dj_redis_node {
    struct dj_redis_address address;
    struct dj_list connections;
    uint32_t connection_count;
    uint32_t own_count;   /* of these, those that have one call at a time */
    uint64_t retry_at_us; /* not dialled before */
    uint32_t backoff_ms;
    bool is_used;
    bool is_sentinel;
    bool is_seed;   /* named by the options */
    bool has_slots; /* a master of a cluster */
};

struct dj_redis_link {
    struct dj_redis *redis;
    struct dj_loop *loop;
    struct dj_timer *timer;
    uint64_t timer_at_us; /* when it fires; 0: it does not run */
    struct dj_task turn; /* writes what this turn of the loop has asked for, ends what has failed */
    bool is_turn_posted;
    bool has_left;
    uint32_t resolving;           /* names being looked up */
    struct dj_unpacker *unpacker; /* made with the first record; NULL: not yet, or no memory */
    struct dj_redis_node nodes[DJ_REDIS_NODES_MAX];
    uint32_t node_count;
    uint8_t slots[DJ_REDIS_SLOTS]; /* node that is master, 0xff: not known */
    uint32_t master;               /* standalone and Sentinel; DJ_REDIS_NODE_NONE: not known */
    uint32_t rotor;                /* where no server is better than another */
    struct dj_redis_call look;     /* at the topology */
    bool is_looking;
    bool is_look_wanted;
    uint64_t looked_us;
    struct dj_redis_call measure; /* INFO */
    bool is_measuring;
    uint64_t measured_us;
    uint32_t measure_node;
    struct dj_redis_figures figures; /* being added up */
    struct dj_redis_call *waiting;   /* for a master to be known; oldest first */
    struct dj_redis_call **waiting_end;
    struct dj_redis_call *failed; /* to be told in the next turn; oldest first */
    struct dj_redis_call **failed_end;
    struct dj_list plain_waiting; /* calls without scripts, for a connection */
    bool is_starting;             /* one of these */
    struct dj_list dying;         /* connections without a future, ended in the next turn */
    uint32_t under_way;
    size_t bytes_under_way;
};

struct dj_redis {
    struct dj_store base;
    struct dj_redis_options options; /* texts are owned copies */
    struct dj_redis_address addresses[DJ_REDIS_SEEDS_MAX];
    struct dj_tls_client *tls;                       /* NULL: plain */
    struct dj_pool *names;                           /* looks names up */
    struct dj_redis_link *links[DJ_REDIS_LOOPS_MAX]; /* each its loop's own, made when first used */
    bool has_left[DJ_REDIS_LOOPS_MAX];               /* likewise */
    _Atomic uint32_t measurer;                       /* loop index + 1 of who asks for figures */
    _Atomic bool is_scriptless;                      /* the server lets us run none */
    _Atomic uint64_t corrupt;
    _Atomic uint64_t record_bytes;
    _Atomic uint64_t plain_bytes;
    _Atomic uint32_t queued;
    pthread_mutex_t mutex; /* over the next two: written rarely, read by anyone */
    struct deja_error trouble;
    struct dj_redis_figures figures;
    bool is_mutex_made;
};

/* ---- redis_options.c ---- */

/* redis->options becomes a copy, whatever the result; dj_redis_options_free ends it. */
enum deja_status dj_redis_options_copy(struct dj_redis *redis,
                                       const struct dj_redis_options *options,
                                       struct deja_error *error) DEJA_NODISCARD;
void dj_redis_options_free(struct dj_redis *redis);

/* ---- redis_connection.c ---- */

enum dj_redis_state {
    DJ_REDIS_RESOLVING,
    DJ_REDIS_CONNECTING,
    DJ_REDIS_GREETING,
    DJ_REDIS_READY,
    DJ_REDIS_DEAD
};

struct dj_redis_lookup; /* a name being looked up */

struct dj_redis_connection {
    struct dj_list member; /* of its node's, or of the dying */
    struct dj_redis_link *link;
    struct dj_redis_node *node;
    enum dj_redis_state state;
    struct dj_redis_lookup *lookup;
    struct redisContext *wire; /* NULL until there is a socket */
    struct ssl_st *session;    /* wire's */
    struct dj_poll *poll;
    struct dj_redis_reader reader;
    struct dj_redis_call *sent; /* oldest first */
    struct dj_redis_call **sent_end;
    struct dj_redis_call *held; /* until the greeting is over */
    struct dj_redis_call **held_end;
    uint32_t count; /* of both */
    struct dj_redis_call greeting;
    uint8_t greeting_step;
    bool is_resp3;
    bool is_own;                      /* of calls without scripts, one at a time: */
    struct dj_redis_plain *plain;     /* this one */
    struct dj_redis_channel *channel; /* what comes after the greeting is its; NULL: none */
    bool has_output;                  /* to be written at the end of the turn */
    bool is_write_hung;               /* the socket takes no more for now */
    uint64_t begun_us;
    uint64_t heard_us; /* last byte */
    uint64_t wrote_us; /* last progress of writing, or when it began */
    uint64_t used_us;
    enum deja_status failure; /* of a dying one */
};

/* Begins to dial; a failure comes later, to its calls. DEJA_ERR_NOMEM. */
enum deja_status dj_redis_connection_open(struct dj_redis_link *link, struct dj_redis_node *node,
                                          struct dj_redis_connection **out_connection)
    DEJA_NODISCARD;
/* Takes the call. DEJA_ERR_NOMEM: it does not. */
enum deja_status dj_redis_connection_send(struct dj_redis_connection *connection,
                                          struct dj_redis_call *call) DEJA_NODISCARD;
void dj_redis_connection_flush(struct dj_redis_connection *connection);
/* It is used no more; its calls fail at the end of the turn. */
void dj_redis_connection_fail(struct dj_redis_connection *connection, enum deja_status status,
                              const char *why);
/* Closes, and fails the calls. Only from the turn and from leave. */
void dj_redis_connection_end(struct dj_redis_connection *connection);
/* Fails what is overdue; returns when to look again (UINT64_MAX: nothing is awaited). */
uint64_t dj_redis_connection_check(struct dj_redis_connection *connection, uint64_t now_us);

/* ---- redis_talk.c ---- */

/* The socket is there: greet, log in, choose the database; then READY, or it fails. */
void dj_redis_greet(struct dj_redis_connection *connection);
void dj_redis_ready(struct dj_redis_connection *connection); /* redis_connection.c */
void dj_redis_note_trouble(struct dj_redis *redis, const struct dj_redis_node *node,
                           const char *format, ...) DEJA_PRINTF(3, 4);
void dj_redis_forget_trouble(struct dj_redis *redis);

/* ---- redis_link.c ---- */

/* The loop's link, made when there is none. DEJA_ERR_CANCELLED: the loop was left. */
enum deja_status dj_redis_link_of(struct dj_redis *redis, struct dj_loop *loop,
                                  struct dj_redis_link **out_link) DEJA_NODISCARD;
void dj_redis_link_leave(struct dj_redis_link *link);
void dj_redis_link_destroy(struct dj_redis_link *link); /* left; accepts NULL */

/* A call with no bytes yet. */
void dj_redis_call_init(struct dj_redis_call *call, void *ctx, dj_redis_replied_fn *replied);
/* The call's server is that of this key's slot. */
void dj_redis_call_key(struct dj_redis_call *call, struct deja_slice key);
/* Sends what bytes hold; replied runs once, later. On failure (the first of bytes' own) it never
 * runs and bytes are freed: DEJA_ERR_BUSY (too much under way), DEJA_ERR_IO (no server can be
 * reached and a short wait after the last try is not over), DEJA_ERR_NOMEM, DEJA_ERR_LIMIT. */
enum deja_status dj_redis_send(struct dj_redis_link *link,
                               struct dj_redis_call *call) DEJA_NODISCARD;

/* For the connection: */
void dj_redis_link_wake(struct dj_redis_link *link);                  /* a turn is due */
void dj_redis_link_watch(struct dj_redis_link *link, uint64_t at_us); /* a check is due then */
void dj_redis_link_failed(struct dj_redis_link *link, struct dj_redis_call *call,
                          enum deja_status status); /* told in the next turn */
void dj_redis_link_replied(struct dj_redis_connection *connection, struct dj_redis_call *call,
                           const struct dj_redis_reply *reply);
void dj_redis_link_unreachable(struct dj_redis_link *link, struct dj_redis_node *node);
/* Ends the call: counted out, bytes freed, replied. */
void dj_redis_call_end(struct dj_redis_call *call, enum deja_status status,
                       const struct dj_redis_reply *reply);

/* ---- redis_plain.c ---- */

/* Does what the call's script would, on a connection of its own; the call belongs to it until then.
 * DEJA_ERR_IO, DEJA_ERR_NOMEM: it does not. */
enum deja_status dj_redis_plain_start(struct dj_redis_link *link, uint32_t node,
                                      struct dj_redis_call *call) DEJA_NODISCARD;
void dj_redis_plain_leave(struct dj_redis_link *link); /* those that wait fail */
/* The server knows no scripts, or this user may run none. */
bool dj_redis_is_script_refused(const struct dj_redis_reply *reply);

/* ---- redis_channel.c: for its connection ---- */

void dj_redis_channel_ready(struct dj_redis_channel *channel);
void dj_redis_channel_take(struct dj_redis_channel *channel, const struct dj_redis_reply *reply);
void dj_redis_channel_gone(struct dj_redis_channel *channel);

/* ---- redis_topology.c ---- */

/* The node of an address, made if there is room. */
uint32_t dj_redis_node_of(struct dj_redis_link *link, const struct dj_redis_address *address);
/* Who is master is to be asked anew, soon. */
void dj_redis_look_again(struct dj_redis_link *link);
/* Asks, if that is wanted and not just done. From the turn and the timer. */
void dj_redis_look_now(struct dj_redis_link *link, uint64_t now_us);
void dj_redis_measure(struct dj_redis_link *link, uint64_t now_us);
/* The question for all slots, and its answer, given by the server at `from`. */
void dj_redis_ask_slots(struct dj_buf *bytes);
bool dj_redis_slots_take(struct dj_redis_link *link, const char *from,
                         const struct dj_redis_reply *reply);
/* Sends through one server, whatever the topology. */
enum deja_status dj_redis_send_to(struct dj_redis_link *link, uint32_t node,
                                  struct dj_redis_call *call) DEJA_NODISCARD;
/* Those waiting for a master. */
void dj_redis_waiting_go(struct dj_redis_link *link);
void dj_redis_waiting_fail(struct dj_redis_link *link, enum deja_status status);

/* ---- operations ---- */

enum deja_status dj_redis_clear(struct dj_store *store, struct dj_loop *loop,
                                const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                                dj_store_done_fn *done);
enum deja_status dj_redis_list(struct dj_store *store, struct dj_loop *loop,
                               const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                               void *ctx, dj_store_done_fn *done);
enum deja_status dj_redis_raise(struct dj_store *store, struct dj_loop *loop,
                                const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag, void *ctx,
                                dj_store_raised_fn *raised);
enum deja_status dj_redis_pull(struct dj_store *store, struct dj_loop *loop, uint64_t since,
                               void *ctx, dj_store_generation_fn *each, dj_store_pulled_fn *pulled);
enum deja_status dj_redis_lock(struct dj_store *store, struct dj_loop *loop,
                               const struct dj_store_key *key, const uint8_t token[16],
                               uint32_t lease_ms, void *ctx, dj_store_locked_fn *locked);
enum deja_status dj_redis_unlock(struct dj_store *store, struct dj_loop *loop,
                                 const struct dj_store_key *key, const uint8_t token[16], void *ctx,
                                 dj_store_done_fn *done);
/* The record of a reply to GET as a value, or NULL; what does not verify is counted and removed. */
enum deja_status dj_redis_value(struct dj_redis_link *link, const struct dj_store_key *key,
                                const struct dj_redis_reply *reply, struct dj_value **out_value);
/* Masters one after another: the first at or after `node`, DJ_REDIS_NODE_NONE: no more. */
uint32_t dj_redis_next_master(const struct dj_redis_link *link, uint32_t node);

#endif
