/* store/redis_plain.h - one call that is done without scripts: how the two files of it share work.
 *
 *   redis_plain.c        connections, stages, ends: redis_plain_steps.c: what is read, and decided
 */
#ifndef DJ_STORE_REDIS_PLAIN_H
#define DJ_STORE_REDIS_PLAIN_H

#include "store/redis_internal.h"

#define DJ_REDIS_PARTS_MAX 6u
#define DJ_REDIS_FOUND_BYTES 40u /* a version, a token: what is longer is neither */
#define DJ_REDIS_PLAIN_KEYS 3u
#define DJ_REDIS_PLAIN_ARGUMENTS 2u
#define DJ_REDIS_REFUSAL_BYTES 256u

struct dj_redis_plain;

struct dj_redis_part {
    struct dj_redis_call call;
    struct dj_redis_plain *plain;
};

/* One counter of a pull. */
struct dj_redis_row {
    size_t at; /* in fields */
    size_t len;
    int64_t place;
};

enum dj_redis_stage { DJ_REDIS_STAGE_LOOK, DJ_REDIS_STAGE_END };

struct dj_redis_plain {
    struct dj_list member; /* of those that wait for a connection */
    struct dj_redis_link *link;
    struct dj_redis_call *origin;
    uint32_t node;
    struct dj_redis_connection *connection;
    struct deja_slice keys[DJ_REDIS_PLAIN_KEYS]; /* in origin's bytes */
    struct deja_slice arguments[DJ_REDIS_PLAIN_ARGUMENTS];
    uint64_t since; /* of a pull */
    enum dj_redis_stage stage;
    uint32_t tries;
    struct dj_redis_part parts[DJ_REDIS_PARTS_MAX];
    uint32_t part_count;
    uint32_t left; /* without a reply */
    bool is_again;
    enum deja_status status;
    char refusal[DJ_REDIS_REFUSAL_BYTES];
    size_t refusal_len; /* 0: none */
    /* What LOOK has found. */
    char found[DJ_REDIS_FOUND_BYTES];
    size_t found_len;
    bool is_found;
    int64_t numbers[3];
    struct dj_buf fields;
    struct dj_redis_row *rows;
    uint32_t row_count;
    /* What the script would have said. */
    struct dj_redis_reply reply;
    struct dj_redis_reply *elements; /* owned */
};

/* The next command of the stage; its arguments are to be appended. */
struct dj_buf *dj_redis_plain_say(struct dj_redis_plain *plain, const char *word,
                                  uint32_t argument_count);

/* ---- redis_plain_steps.c ---- */

/* Says what is read between WATCH and MULTI, both included; forgets what was found before. */
void dj_redis_plain_ask(struct dj_redis_plain *plain);
/* The reply to the index-th of these. false: no such reply. */
bool dj_redis_plain_take(struct dj_redis_plain *plain, uint32_t index,
                         const struct dj_redis_reply *reply);
/* Says what is written, if anything, and makes the reply; is_again: to be asked anew instead. */
enum deja_status dj_redis_plain_decide(struct dj_redis_plain *plain) DEJA_NODISCARD;
/* What EXEC says of a pull's counters; false: no such reply. */
bool dj_redis_plain_take_counters(struct dj_redis_plain *plain, const struct dj_redis_reply *reply);
void dj_redis_plain_forget(struct dj_redis_plain *plain);

#endif
