/* api/resp_internal.h - shared by the files of RESP's commands.
 *
 * resp.c           a client's life, from a command to its function, transactions
 * resp_auth.c      who asks, and may they
 * resp_table.c     the table of commands, and what COMMAND tells of it
 * resp_read.c      GET, MGET, TTL, ...          resp_change.c   writes, and their replies in order
 * resp_set.c       SET and its kin              resp_number.c   INCR, APPEND, ...
 * resp_expire.c    EXPIRE, PERSIST, GETEX       resp_keys.c     SCAN, KEYS, FLUSHDB, ...
 * resp_hello.c     PING, HELLO, CLIENT, ...     resp_info.c     INFO, CONFIG, MEMORY
 * resp_notice.c    SUBSCRIBE, PUBLISH           resp_sensitive.c  what is looked at before
 */
#ifndef DJ_API_RESP_INTERNAL_H
#define DJ_API_RESP_INTERNAL_H

#include "api/resp.h"
#include "base/arena.h"
#include "base/list.h"
#include "proto/resp.h"
#include "cache/sensitive.h"
#include "security/principal.h"
#include "security/user.h"

/* The one whose commands are served; clients look at it. */
#define DJ_RESP_REDIS_VERSION "7.2.4"

enum {
    DJ_RESP_DATABASES = 16,
    DJ_RESP_NAME_BYTES_MAX = 128, /* of CLIENT SETNAME and SETINFO */
    DJ_RESP_BEHIND_MAX = 1024,    /* writes of one client whose replies are behind */
    DJ_RESP_BEHIND_BYTES_MAX = 16 << 20,
    DJ_RESP_QUEUE_MAX = 16384, /* commands between MULTI and EXEC */
    DJ_RESP_QUEUE_BYTES_MAX = 64 << 20,
    DJ_RESP_CREDENTIAL_BYTES_MAX = 4096,
    DJ_RESP_KEYS_MAX = 100000, /* names of one KEYS */
};

struct dj_resp_client;

struct dj_resp_args {
    const struct deja_slice *items;
    size_t count;
};

/* out: where the reply goes unless the command waits or is left behind. */
typedef enum dj_resp_flow dj_resp_command_fn(struct dj_resp_client *client,
                                             const struct dj_resp_args *args, struct dj_buf *out);

enum dj_resp_flags {
    DJ_RESP_READ = 1, /* needs the role, as does the next */
    DJ_RESP_WRITE = 2,
    DJ_RESP_ANYBODY = 4,  /* may be asked before AUTH */
    DJ_RESP_OVERLAPS = 8, /* a write of its own keys: may begin before earlier ones have ended */
    DJ_RESP_ON_PUSH = 16, /* also where a RESP2 client is subscribed */
    DJ_RESP_AT_ONCE = 32, /* also between MULTI and EXEC */
    DJ_RESP_FAST = 64,    /* for COMMAND, as are the next */
    DJ_RESP_DENYOOM = 128,
    DJ_RESP_ADMINISTERS = 256,
    DJ_RESP_PUBSUB = 512,
    DJ_RESP_NO_MULTI = 1024, /* not between MULTI and EXEC */
};

struct dj_resp_command {
    const char *name; /* lower case; the table is sorted by it */
    dj_resp_command_fn *run;
    int arity; /* its name included; -n: at least n */
    unsigned flags;
    int first_key; /* as in COMMAND: 0: none; */
    int last_key;  /* negative: from the end */
    int key_step;
    const char *audit; /* operation in the audit log; NULL: none */
    const char *since; /* of Redis */
    const char *group;
    const char *summary;
};

/* A command's arguments that outlive its call, one after another in the arena. */
struct dj_resp_held {
    struct dj_arena arena;
    const struct dj_resp_command *command;
    struct dj_resp_args args;
};

/* A command of a transaction. */
struct dj_resp_queued {
    struct dj_resp_queued *next;
    struct dj_resp_held held;
};

/* CLIENT REPLY, of the next command. */
enum dj_resp_muting { DJ_RESP_REPLY_ON, DJ_RESP_REPLY_OFF, DJ_RESP_REPLY_SKIP };

struct dj_resp_subscription;

struct dj_resp_client {
    struct dj_resp_api *api;
    struct dj_resp_session *session;
    struct dj_loop *loop;
    uint64_t id;
    int version; /* 2, 3 */
    uint32_t database;
    int64_t opened_ms;
    char name[DJ_RESP_NAME_BYTES_MAX + 1];
    char library[DJ_RESP_NAME_BYTES_MAX + 1];
    char library_version[DJ_RESP_NAME_BYTES_MAX + 1];
    const struct dj_resp_command *last;
    enum dj_resp_muting muting;
    bool is_muted; /* the command that runs */

    /* Who it is (resp_auth.c). */
    char *credential; /* owned, wiped; NULL: none was shown */
    size_t credential_len;
    char *user; /* likewise: "user:NAME" of AUTH, without "user:" */
    size_t user_len;
    bool is_known;   /* who, space are set */
    bool is_refused; /* nothing is done until another AUTH, or RESET */
    bool is_counted; /* among the tenant's connections */
    uint8_t counted[DJ_TENANT_BYTES];
    uint64_t checked_us; /* when that was last looked at */
    struct dj_principal who;
    struct dj_plain_space space;
    char name_space[16];
    char user_tag[DJ_USER_TAG_BYTES];
    struct dj_limit_pass pass; /* of the command that runs */

    /* The command that waits; one at a time. */
    struct dj_resp_held held;
    bool is_held_due; /* it has not begun: what is behind comes first */
    bool is_judging;  /* a write behind is looked at by a worker: nothing begins meanwhile */
    uint64_t began_us;
    void *work; /* of its function, in its arena */
    size_t reply_before;

    /* Writes whose replies are behind, oldest first. */
    struct dj_list writes;
    uint32_t write_count;
    size_t write_bytes;
    struct dj_task flush;
    bool is_flush_posted;

    /* MULTI … EXEC. */
    bool is_queueing;
    bool is_queue_bad;
    bool is_executing;
    bool is_closing; /* QUIT in a transaction */
    struct dj_resp_queued *queue;
    struct dj_resp_queued **queue_end;
    uint32_t queue_count;
    size_t queue_bytes;
    struct dj_buf results; /* of EXEC so far */

    struct dj_resp_subscription *subscription; /* NULL: none */
};

/* ---- resp.c ---- */

/* The reply of the command that waits, as it says it later: begin, write, end; in one turn. */
struct dj_buf *dj_resp_reply_begin(struct dj_resp_client *client);
void dj_resp_reply_end(struct dj_resp_client *client);
/* Instead of its end: a write was started that replies. Nothing was written. */
void dj_resp_reply_behind(struct dj_resp_client *client);
/* Copies args, which then live until the reply's end; NULL: no memory, an error is in out. */
const struct dj_resp_args *dj_resp_hold(struct dj_resp_client *client,
                                        const struct dj_resp_args *args, struct dj_buf *out);
/* Memory that lives as long. NULL: likewise. */
void *dj_resp_hold_alloc(struct dj_resp_client *client, size_t size, struct dj_buf *out);
/* All that was behind has been replied. */
void dj_resp_writes_ended(struct dj_resp_client *client);
void dj_resp_end_transaction(struct dj_resp_client *client);
dj_resp_command_fn dj_resp_multi;
dj_resp_command_fn dj_resp_exec;
dj_resp_command_fn dj_resp_discard;
dj_resp_command_fn dj_resp_watch;
dj_resp_command_fn dj_resp_unwatch;

/* Without case. */
bool dj_resp_is(struct deja_slice word, const char *lower);
/* Writes an error where it is none (as Redis reads them). */
bool dj_resp_take_integer(struct deja_slice word, int64_t *out_value, struct dj_buf *out);
/* 1 … 4096 bytes, else an error. */
bool dj_resp_check_key(struct deja_slice key, struct dj_buf *out);
enum dj_resp_flow dj_resp_syntax_error(struct dj_buf *out);
enum dj_resp_flow dj_resp_wrong_arity(const char *command, struct dj_buf *out);
/* A status of the engine as an error. */
void dj_resp_put_failure(struct dj_buf *out, enum deja_status status);

/* ---- resp_auth.c ---- */

/* May it do that? False: the error is in out. */
bool dj_resp_admit(struct dj_resp_client *client, const struct dj_resp_command *command,
                   const struct dj_resp_args *args, struct dj_buf *out);
/* AUTH, and AUTH of HELLO; false: the error is in out. */
bool dj_resp_authenticate(struct dj_resp_client *client, struct deja_slice user,
                          struct deja_slice password, struct dj_buf *out);
/* HELLO without AUTH; false: the error is in out. */
bool dj_resp_is_welcome(struct dj_resp_client *client, struct dj_buf *out);
/* Is it still who it was? Asked for a client that only listens. */
bool dj_resp_is_still(struct dj_resp_client *client);
void dj_resp_forget_who(struct dj_resp_client *client); /* as if just connected */
void dj_resp_select(struct dj_resp_client *client, uint32_t database);
/* The space of another database, for as long as the call it is given to; fini it. */
void dj_resp_space_of(const struct dj_resp_client *client, uint32_t database, char name_space[16],
                      struct dj_plain_space *out_space);
/* key: the one it was about; data NULL: none, or several. reply: to it. */
void dj_resp_note_audit(const struct dj_resp_client *client, const struct dj_resp_command *command,
                        struct deja_slice key, struct deja_slice reply);
/* Time of a write's end, cut to what the tenant may keep; 0: never, if it may. */
int64_t dj_resp_cut_expiry(const struct dj_resp_client *client, int64_t expires_ms, int64_t now_ms);
/* Counts the keys of the database of SELECT: done tells, later. */
enum dj_resp_flow dj_resp_count(struct dj_resp_client *client, dj_plain_counted_fn *done,
                                struct dj_buf *out);
dj_resp_command_fn dj_resp_auth;

/* ---- resp_table.c ---- */

const struct dj_resp_command *dj_resp_find_command(struct deja_slice name);
const struct dj_resp_command *dj_resp_command_at(size_t index); /* NULL: no more */
size_t dj_resp_command_index(const struct dj_resp_command *command);
dj_resp_command_fn dj_resp_command;

/* ---- resp_change.c ---- */

struct dj_resp_write;

/* What one write does to one key; runs where the key is at home (dj_plain_change_fn), and may
 * touch only the write, and change it only where the write has one key. */
struct dj_resp_part;
typedef enum dj_plain_verdict dj_resp_change_fn(struct dj_resp_part *part,
                                                const struct dj_entry *now, int64_t now_ms,
                                                struct dj_plain_new *out_new);
/* The reply, when all its keys are done; on the client's loop. */
typedef void dj_resp_written_fn(struct dj_resp_write *write, struct dj_buf *out);

/* One key of a write. */
struct dj_resp_part {
    struct dj_resp_write *write;
    struct deja_slice key;
    struct deja_slice value;
    struct deja_slice metadata;           /* what a verdict says of the value; empty: nothing */
    struct dj_sensitive_verdict *verdict; /* NULL: nothing was found */
};

struct dj_resp_write {
    struct dj_list node;
    struct dj_resp_client *client;
    struct dj_arena arena; /* this, and all it points to */
    const struct dj_resp_command *command;
    dj_resp_change_fn *change;
    dj_resp_written_fn *written;
    enum dj_plain_mode mode;
    struct dj_resp_part *parts;
    size_t part_count;
    size_t parts_left;
    size_t bytes;
    struct dj_limit_pass pass;
    uint64_t began_us;
    bool is_done;
    bool is_muted;
    struct dj_buf reply;
    enum deja_status status; /* the first failure */
    uint64_t removed;        /* keys that were there */
    uint32_t missed;
    bool is_unstored; /* no tier took it */
    bool has_verdict; /* of one of its parts */
    bool was_put;     /* the last change was */
    bool was_removed;
    struct dj_value *before; /* references, of the last change */
    struct dj_value *after;

    /* What the change functions want to know, and what they found; each its own. */
    unsigned conditions; /* enum dj_resp_condition */
    int64_t expires_ms;  /* 0: never */
    int64_t asked_ms;    /* the client's loop's time, when it was asked */
    int64_t cut_ms;      /* the tenant's longest life from now; 0: none */
    int64_t number;
    long double real;
    struct dj_rules *rules; /* a reference: what it is judged by (worker, home) */
    struct dj_sensitive_verdict *made_verdict; /* of the last change; NULL: nothing was found */
    struct dj_resp_judging *judging;           /* on a worker; NULL: it was not */
    const char *fault;                         /* an error to reply instead */
    char *made;                                /* bytes made for the value; owned */
    struct deja_slice tags[DJ_PLAIN_TAGS_MAX]; /* of dj_resp_copy_entry */
    char text[64];
};

enum dj_resp_condition {
    DJ_RESP_IF_ABSENT = 1,
    DJ_RESP_IF_THERE = 2,
    DJ_RESP_WANTS_OLD = 4,
    DJ_RESP_KEEPS_TTL = 8,
    DJ_RESP_IF_GREATER = 16,
    DJ_RESP_IF_LESS = 32,
    DJ_RESP_IF_PERSISTENT = 64, /* NX of EXPIRE */
    DJ_RESP_IF_VOLATILE = 128,  /* XX of EXPIRE */
    DJ_RESP_PERSISTS = 256,
    DJ_RESP_SETS_TTL = 512,
};

/* Keys (and values, where stride is 2) are args from first on; copied. NULL: no memory, the error
 * is in out. */
struct dj_resp_write *dj_resp_write_create(struct dj_resp_client *client,
                                           const struct dj_resp_args *args, size_t first,
                                           size_t stride, size_t count, struct dj_buf *out);
/* Begins it; the write is the client's from here on. DJ_RESP_BEHIND. */
enum dj_resp_flow dj_resp_write_start(struct dj_resp_write *write);
/* The same in two steps: it is behind from the first on, and the second follows, or an end. */
void dj_resp_write_list(struct dj_resp_write *write);
void dj_resp_write_begin(struct dj_resp_write *write, const struct dj_plain_space *space);
void dj_resp_write_end(struct dj_resp_write *write); /* status or fault is set; nothing has begun */
/* A reply that belongs behind those that are not there yet. False: no memory. */
bool dj_resp_write_note(struct dj_resp_client *client, struct deja_slice reply);
void dj_resp_write_destroy(struct dj_resp_write *write); /* one that was not started */
/* What there is, as it is, into out_new; slices live as long as the change. */
void dj_resp_copy_entry(struct dj_resp_write *write, const struct dj_entry *now,
                        struct dj_plain_new *out_new);

/* ---- resp_sensitive.c ---- */

/* Looks at keys and values for what the tenant does not keep as it is, then begins the write, or
 * refuses it. DJ_RESP_ANSWERED: the error is in out, and the write is gone. */
enum dj_resp_flow dj_resp_write_judge(struct dj_resp_write *write, struct dj_buf *out);
/* Before it, for a write that makes its value of what is there: the next is called then. */
void dj_resp_write_keep_rules(struct dj_resp_write *write);
/* In the change function, with out_new as it is to be put, its body head_len bytes that were there
 * and the part's value: what the two say together. False: refused, the write has a fault. */
bool dj_resp_judge_made(struct dj_resp_part *part, size_t head_len, struct dj_plain_new *out_new);
/* Counts what was found, once. */
void dj_resp_write_count(const struct dj_resp_write *write);
void dj_resp_write_forget(struct dj_resp_write *write); /* verdicts, rules, space */

/* resp_set.c */
/* EX, PX, EXAT, PXAT and what stands behind it. */
struct dj_resp_expiry {
    struct deja_slice word;
    bool is_seconds;
    bool is_absolute;
    bool may_be_past;
};
bool dj_resp_is_expiry(struct deja_slice word, struct dj_resp_expiry *out_expiry);
/* False: the error is in out. */
bool dj_resp_take_expiry(struct dj_resp_client *client, const struct dj_resp_expiry *expiry,
                         int64_t *out_expires_ms, struct dj_buf *out);

/* The clocks of two loops may be a turn apart: what is over on either is over. */
static inline bool dj_resp_is_over(const struct dj_resp_write *write, int64_t now_ms)
{
    return write->expires_ms <= now_ms || write->expires_ms <= write->asked_ms;
}

dj_resp_command_fn dj_resp_set;
dj_resp_command_fn dj_resp_setnx;
dj_resp_command_fn dj_resp_setex;
dj_resp_command_fn dj_resp_psetex;
dj_resp_command_fn dj_resp_getset;
dj_resp_command_fn dj_resp_mset;
dj_resp_command_fn dj_resp_msetnx;
dj_resp_command_fn dj_resp_del;
dj_resp_command_fn dj_resp_getdel;
dj_resp_command_fn dj_resp_append;
dj_resp_command_fn dj_resp_incr;
dj_resp_command_fn dj_resp_decr;
dj_resp_command_fn dj_resp_incrby;
dj_resp_command_fn dj_resp_decrby;
dj_resp_command_fn dj_resp_incrbyfloat;
dj_resp_command_fn dj_resp_expire;
dj_resp_command_fn dj_resp_pexpire;
dj_resp_command_fn dj_resp_expireat;
dj_resp_command_fn dj_resp_pexpireat;
dj_resp_command_fn dj_resp_persist;
dj_resp_command_fn dj_resp_getex;

/* ---- reads and the rest ---- */

dj_resp_command_fn dj_resp_get;
dj_resp_command_fn dj_resp_mget;
dj_resp_command_fn dj_resp_exists;
dj_resp_command_fn dj_resp_strlen;
dj_resp_command_fn dj_resp_type;
dj_resp_command_fn dj_resp_ttl;
dj_resp_command_fn dj_resp_pttl;
dj_resp_command_fn dj_resp_expiretime;
dj_resp_command_fn dj_resp_pexpiretime;
dj_resp_command_fn dj_resp_getrange;
dj_resp_command_fn dj_resp_object;
dj_resp_command_fn dj_resp_memory;
dj_resp_command_fn dj_resp_scan;
dj_resp_command_fn dj_resp_keys;
dj_resp_command_fn dj_resp_randomkey;
dj_resp_command_fn dj_resp_dbsize;
dj_resp_command_fn dj_resp_flushdb;
dj_resp_command_fn dj_resp_flushall;

dj_resp_command_fn dj_resp_ping;
dj_resp_command_fn dj_resp_echo;
dj_resp_command_fn dj_resp_hello;
dj_resp_command_fn dj_resp_client;
dj_resp_command_fn dj_resp_select_db;
dj_resp_command_fn dj_resp_reset;
dj_resp_command_fn dj_resp_quit;
dj_resp_command_fn dj_resp_time;
dj_resp_command_fn dj_resp_wait;
dj_resp_command_fn dj_resp_info;
dj_resp_command_fn dj_resp_config;

dj_resp_command_fn dj_resp_subscribe;
dj_resp_command_fn dj_resp_psubscribe;
dj_resp_command_fn dj_resp_unsubscribe;
dj_resp_command_fn dj_resp_punsubscribe;
dj_resp_command_fn dj_resp_publish;
dj_resp_command_fn dj_resp_pubsub;
uint32_t dj_resp_subscriptions(const struct dj_resp_client *client); /* channels and patterns */
/* Whose notices it is told; there is a subscription. */
const uint8_t *dj_resp_listened(const struct dj_resp_client *client);
void dj_resp_unsubscribe_all(struct dj_resp_client *client);

#endif
