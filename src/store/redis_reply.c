/* store/redis_reply.c - see redis_reply.h. Trust: untrusted.
 *
 * (1) A reply costs at most reply_bytes_max for its texts and as much again for its structure; what
 *     waits unparsed in hiredis' buffer is bounded too, since a string is parsed only when whole.
 * (2) hiredis nests without end: the depth is counted when an array begins.
 */
#include "store/redis_reply.h"

#include <string.h>

#include <hiredis/hiredis.h>

#include "base/num.h"

static void *take(struct dj_redis_reader *reader, size_t size)
{
    if (size > reader->arena.bytes_max - reader->arena.used_bytes) {
        reader->is_over = true;
        return NULL;
    }
    return dj_arena_alloc(&reader->arena, size);
}

/* Where the task's object belongs: in its parent's elements, or on its own at the root. */
static struct dj_redis_reply *place(const redisReadTask *task, enum dj_redis_type type)
{
    struct dj_redis_reader *reader = task->privdata;
    struct dj_redis_reply *reply = NULL;
    if (task->parent) {
        struct dj_redis_reply *parent = task->parent->obj;
        reply = &parent->elements[task->idx];
    } else {
        reply = take(reader, sizeof *reply);
    }
    if (reply)
        *reply = (struct dj_redis_reply){.type = type};
    return reply;
}

static void *make_text(const redisReadTask *task, char *text, size_t len)
{
    struct dj_redis_reader *reader = task->privdata;
    size_t skip = task->type == REDIS_REPLY_VERB && len >= 4 ? 4 : 0; /* "txt:" */
    enum dj_redis_type type = task->type == REDIS_REPLY_ERROR ? DJ_REDIS_ERROR : DJ_REDIS_TEXT;
    struct dj_redis_reply *reply = place(task, type);
    if (!reply || len == skip)
        return reply;
    char *copy = take(reader, len - skip);
    if (!copy)
        return NULL;
    memcpy(copy, text + skip, len - skip);
    reply->text = deja_slice(copy, len - skip);
    return reply;
}

static void *make_array(const redisReadTask *task, size_t count)
{
    struct dj_redis_reader *reader = task->privdata;
    uint32_t depth = 0;
    for (const redisReadTask *above = task->parent; above; above = above->parent)
        depth++;
    if (depth >= DJ_REDIS_NESTING_MAX || count > 2 * (size_t)DJ_REDIS_ELEMENTS_MAX) {
        reader->is_over = true;
        return NULL;
    }
    struct dj_redis_reply *reply =
        place(task, task->type == REDIS_REPLY_PUSH ? DJ_REDIS_PUSH : DJ_REDIS_ARRAY);
    if (!reply || count == 0)
        return reply;
    reply->elements = take(reader, count * sizeof *reply->elements);
    if (!reply->elements)
        return NULL;
    memset(reply->elements, 0, count * sizeof *reply->elements);
    reply->count = count;
    return reply;
}

static void *make_integer(const redisReadTask *task, long long value)
{
    struct dj_redis_reply *reply = place(task, DJ_REDIS_INTEGER);
    if (reply)
        reply->integer = value;
    return reply;
}

static void *make_double(const redisReadTask *task, double value, char *text, size_t len)
{
    (void)value;
    return make_text(task, text, len);
}

static void *make_nil(const redisReadTask *task)
{
    return place(task, DJ_REDIS_NIL);
}

static void *make_bool(const redisReadTask *task, int value)
{
    return make_integer(task, value);
}

/* The arena's. */
static void forget(void *object)
{
    (void)object;
}

void dj_redis_reader_attach(struct dj_redis_reader *reader, struct redisContext *wire,
                            size_t reply_bytes_max)
{
    dj_arena_init(&reader->arena, 2 * reply_bytes_max + 4096);
    reader->reply_bytes_max = reply_bytes_max;
    reader->is_over = false;
    reader->wire = wire;
    reader->makers = (redisReplyObjectFunctions){.createString = make_text,
                                                 .createArray = make_array,
                                                 .createInteger = make_integer,
                                                 .createDouble = make_double,
                                                 .createNil = make_nil,
                                                 .createBool = make_bool,
                                                 .freeObject = forget};
    wire->reader->fn = &reader->makers;
    wire->reader->privdata = reader;
    wire->reader->maxelements = DJ_REDIS_ELEMENTS_MAX;
}

void dj_redis_reader_fini(struct dj_redis_reader *reader)
{
    dj_arena_fini(&reader->arena);
    reader->wire = NULL;
}

enum deja_status dj_redis_reader_feed(struct dj_redis_reader *reader, struct deja_slice bytes)
{
    return redisReaderFeed(reader->wire->reader, bytes.data, bytes.len) == REDIS_OK
               ? DEJA_OK
               : DEJA_ERR_NOMEM;
}

enum deja_status dj_redis_reader_next(struct dj_redis_reader *reader,
                                      const struct dj_redis_reply **out_reply)
{
    redisReader *parser = reader->wire->reader;
    void *reply = NULL;
    if (!parser->reply) { /* between replies */
        size_t bytes_max = reader->arena.bytes_max;
        dj_arena_fini(&reader->arena);
        dj_arena_init(&reader->arena, bytes_max);
    }
    if (redisReaderGetReply(parser, &reply) != REDIS_OK) {
        if (parser->err == REDIS_ERR_PROTOCOL)
            return DEJA_ERR_CORRUPT;
        return reader->is_over ? DEJA_ERR_LIMIT : DEJA_ERR_NOMEM;
    }
    if (!reply && parser->len - parser->pos > reader->reply_bytes_max)
        return DEJA_ERR_LIMIT;
    *out_reply = reply;
    return DEJA_OK;
}

const struct dj_redis_reply *dj_redis_at(const struct dj_redis_reply *reply, size_t index)
{
    if (!reply || (reply->type != DJ_REDIS_ARRAY && reply->type != DJ_REDIS_PUSH))
        return NULL;
    return index < reply->count ? &reply->elements[index] : NULL;
}

bool dj_redis_integer(const struct dj_redis_reply *reply, int64_t *out_value)
{
    if (!reply)
        return false;
    if (reply->type == DJ_REDIS_TEXT)
        return dj_num_parse_i64(reply->text, out_value) == DEJA_OK;
    if (reply->type != DJ_REDIS_INTEGER)
        return false;
    *out_value = reply->integer;
    return true;
}

bool dj_redis_text(const struct dj_redis_reply *reply, struct deja_slice *out_text)
{
    if (!reply || reply->type != DJ_REDIS_TEXT)
        return false;
    *out_text = reply->text;
    return true;
}

bool dj_redis_is_error(const struct dj_redis_reply *reply, const char *word)
{
    size_t len = strlen(word);
    return reply && reply->type == DJ_REDIS_ERROR && reply->text.len >= len &&
           memcmp(reply->text.data, word, len) == 0 &&
           (reply->text.len == len || reply->text.data[len] == ' ');
}

enum deja_status dj_redis_status_of(const struct dj_redis_reply *reply)
{
    static const struct {
        const char *word;
        enum deja_status status;
    } words[] = {
        {"NOAUTH", DEJA_ERR_DENIED}, {"WRONGPASS", DEJA_ERR_DENIED},  {"NOPERM", DEJA_ERR_DENIED},
        {"OOM", DEJA_ERR_LIMIT},     {"WRONGTYPE", DEJA_ERR_CORRUPT}, {"BUSY", DEJA_ERR_BUSY},
    };
    if (!reply)
        return DEJA_ERR_CORRUPT;
    if (reply->type != DJ_REDIS_ERROR)
        return DEJA_OK;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (dj_redis_is_error(reply, words[i].word))
            return words[i].status;
    return DEJA_ERR_IO;
}
