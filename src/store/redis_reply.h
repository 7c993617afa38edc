/* store/redis_reply.h - one reply of a Valkey or Redis server, within bounds.
 *
 * hiredis parses the protocol; what it finds is laid out here, in memory that is bounded in bytes,
 * elements and nesting, because its own objects are not: a few bytes on the wire can ask for
 * gigabytes. Trust: untrusted. Threads: none of its own.
 */
#ifndef DJ_STORE_REDIS_REPLY_H
#define DJ_STORE_REDIS_REPLY_H

#include <hiredis/read.h>

#include <deja/base.h>

#include "base/arena.h"

#define DJ_REDIS_ELEMENTS_MAX 65536u /* of one array */
#define DJ_REDIS_NESTING_MAX 8u

enum dj_redis_type {
    DJ_REDIS_NIL,
    DJ_REDIS_INTEGER, /* also booleans: 0, 1 */
    DJ_REDIS_TEXT,    /* strings of every kind; doubles and big numbers as they were written */
    DJ_REDIS_ERROR,   /* text: "WORD rest" */
    DJ_REDIS_ARRAY,   /* arrays and sets; maps as key, value, key, value */
    DJ_REDIS_PUSH,    /* not an answer to anything */
};

/* Borrowed until the callee of a reply returns. */
struct dj_redis_reply {
    enum dj_redis_type type;
    int64_t integer;
    struct deja_slice text;
    struct dj_redis_reply *elements; /* count of them */
    size_t count;
};

struct redisContext; /* hiredis' */

/* Takes replies out of a hiredis context; zeroed before dj_redis_reader_attach. */
struct dj_redis_reader {
    struct dj_arena arena;
    size_t reply_bytes_max;
    bool is_over; /* a bound was passed */
    struct redisContext *wire;
    redisReplyObjectFunctions makers; /* hiredis wants it writable */
};

/* From now on wire's replies are made by reader, which must stay where it is. */
void dj_redis_reader_attach(struct dj_redis_reader *reader, struct redisContext *wire,
                            size_t reply_bytes_max);
void dj_redis_reader_fini(struct dj_redis_reader *reader);

/* Hands bytes to the parser; for tests, and for what did not come from a socket. */
enum deja_status dj_redis_reader_feed(struct dj_redis_reader *reader,
                                      struct deja_slice bytes) DEJA_NODISCARD;
/* The next whole reply, or NULL: more bytes are needed; valid until the next call.
 * DEJA_ERR_CORRUPT (not the protocol), DEJA_ERR_LIMIT (a bound was passed), DEJA_ERR_NOMEM: the
 * connection is of no use any more. */
enum deja_status dj_redis_reader_next(struct dj_redis_reader *reader,
                                      const struct dj_redis_reply **out_reply) DEJA_NODISCARD;

/* An element, or NULL; so that nested replies are read without asking each time. */
const struct dj_redis_reply *dj_redis_at(const struct dj_redis_reply *reply, size_t index);
/* An integer, or text that is a decimal one. */
bool dj_redis_integer(const struct dj_redis_reply *reply, int64_t *out_value);
/* Text (never an error); NULL reply: false. */
bool dj_redis_text(const struct dj_redis_reply *reply, struct deja_slice *out_text);
/* An error whose first word is `word`. */
bool dj_redis_is_error(const struct dj_redis_reply *reply, const char *word);
/* What an error means for a store; DEJA_OK when it is none. */
enum deja_status dj_redis_status_of(const struct dj_redis_reply *reply);

#endif
