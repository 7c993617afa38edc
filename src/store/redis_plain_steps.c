/* store/redis_plain_steps.c - what each script reads, decides and writes, in plain commands.
 *
 * The scripts themselves are in redis_command.c, and these do the same: an EXEC after nothing that
 * was read has changed is as one moment as a script is. Trust: replies are untrusted.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "store/redis_plain.h"

#define ROWS_MAX 4096u

void dj_redis_plain_forget(struct dj_redis_plain *plain)
{
    dj_buf_fini(&plain->fields);
    dj_free(plain->rows);
    dj_free(plain->elements);
    plain->rows = NULL;
    plain->elements = NULL;
    plain->row_count = 0;
}

static void give_integer(struct dj_redis_plain *plain, int64_t value)
{
    plain->reply = (struct dj_redis_reply){.type = DJ_REDIS_INTEGER, .integer = value};
}

static void say_key(struct dj_redis_plain *plain, const char *word)
{
    dj_redis_argument(dj_redis_plain_say(plain, word, 1), plain->keys[0]);
}

/* SET key value PX the last argument. */
static void say_set(struct dj_redis_plain *plain, struct deja_slice value, struct deja_slice ms)
{
    struct dj_buf *bytes = dj_redis_plain_say(plain, "SET", 4);
    dj_redis_argument(bytes, plain->keys[0]);
    dj_redis_argument(bytes, value);
    dj_redis_argument_text(bytes, "PX");
    dj_redis_argument(bytes, ms);
}

/* ---- asking ---- */

static void say_version(struct dj_redis_plain *plain)
{
    struct dj_buf *bytes = dj_redis_plain_say(plain, "GETRANGE", 3);
    dj_redis_argument(bytes, plain->keys[0]);
    dj_redis_argument_text(bytes, "0");
    dj_redis_argument_text(bytes, "7");
}

static void look_at_counters(struct dj_redis_plain *plain)
{
    struct dj_buf *bytes = dj_redis_plain_say(plain, "WATCH", 2);
    dj_redis_argument(bytes, plain->keys[0]);
    dj_redis_argument(bytes, plain->keys[2]);
    dj_redis_plain_say(plain, "TIME", 0);
    bytes = dj_redis_plain_say(plain, "HGET", 2);
    dj_redis_argument(bytes, plain->keys[0]);
    dj_redis_argument(bytes, plain->arguments[0]);
    dj_redis_argument(dj_redis_plain_say(plain, "GET", 1), plain->keys[2]);
}

static void look_at_order(struct dj_redis_plain *plain)
{
    char since[DJ_NUM_U64_DIGITS_MAX + 1];
    since[0] = '(';
    size_t len = 1 + dj_num_write_u64(plain->since, since + 1);
    dj_redis_argument(dj_redis_plain_say(plain, "WATCH", 1), plain->keys[2]);
    dj_redis_argument(dj_redis_plain_say(plain, "GET", 1), plain->keys[2]);
    struct dj_buf *bytes = dj_redis_plain_say(plain, "ZRANGEBYSCORE", 7);
    dj_redis_argument(bytes, plain->keys[1]);
    dj_redis_argument(bytes, deja_slice(since, len));
    dj_redis_argument_text(bytes, "+inf");
    dj_redis_argument_text(bytes, "WITHSCORES");
    dj_redis_argument_text(bytes, "LIMIT");
    dj_redis_argument_text(bytes, "0");
    dj_redis_argument(bytes, plain->arguments[1]);
}

void dj_redis_plain_ask(struct dj_redis_plain *plain)
{
    enum dj_redis_script script = plain->origin->script;
    dj_redis_plain_forget(plain);
    memset(plain->numbers, 0, sizeof plain->numbers);
    plain->found_len = 0;
    plain->is_found = plain->is_again = false;
    plain->part_count = 0;
    if (script == DJ_REDIS_RAISE) {
        look_at_counters(plain);
    } else if (script == DJ_REDIS_PULL) {
        look_at_order(plain);
    } else {
        say_key(plain, "WATCH");
        if (script == DJ_REDIS_PUT || script == DJ_REDIS_REMOVE)
            say_version(plain);
        if (script == DJ_REDIS_REMOVE || script == DJ_REDIS_CLEAR)
            say_key(plain, "STRLEN");
        if (script == DJ_REDIS_LOCK || script == DJ_REDIS_UNLOCK)
            say_key(plain, "GET");
    }
    dj_redis_plain_say(plain, "MULTI", 0);
}

/* A counter that is not there is 0. */
static bool take_number(const struct dj_redis_reply *reply, int64_t *out_value)
{
    if (reply->type != DJ_REDIS_NIL)
        return dj_redis_integer(reply, out_value) && *out_value >= 0;
    *out_value = 0;
    return true;
}

static bool take_time(const struct dj_redis_reply *reply, int64_t *out_us)
{
    int64_t seconds = 0;
    int64_t us = 0;
    if (!dj_redis_integer(dj_redis_at(reply, 0), &seconds) || seconds < 0 ||
        seconds > INT64_MAX / 2000000 || !dj_redis_integer(dj_redis_at(reply, 1), &us) || us < 0 ||
        us >= 1000000)
        return false;
    *out_us = seconds * 1000000 + us;
    return true;
}

static bool take_row(struct dj_redis_plain *plain, const struct dj_redis_reply *field,
                     const struct dj_redis_reply *score)
{
    struct deja_slice name;
    struct deja_slice number;
    double place = 0;
    if (!dj_redis_text(field, &name) || !dj_redis_text(score, &number) ||
        dj_num_parse_double(number, &place) != DEJA_OK || place < 0 || place > 9e15)
        return false;
    plain->rows[plain->row_count++] =
        (struct dj_redis_row){.at = plain->fields.len, .len = name.len, .place = (int64_t)place};
    dj_buf_append_slice(&plain->fields, name);
    return plain->fields.status == DEJA_OK;
}

/* Pairs in a row, or, of RESP3, each in an array of its own. */
static bool take_rows(struct dj_redis_plain *plain, const struct dj_redis_reply *reply)
{
    bool is_nested = reply->count > 0 && reply->elements[0].type == DJ_REDIS_ARRAY;
    size_t count = is_nested ? reply->count : reply->count / 2;
    bool is_good = reply->type == DJ_REDIS_ARRAY && count <= ROWS_MAX;
    if (!is_good || count == 0)
        return is_good;
    plain->rows = dj_alloc_zeroed(count, sizeof *plain->rows);
    if (!plain->rows)
        return false;
    dj_buf_init(&plain->fields, 0);
    for (size_t i = 0; i < count && is_good; i++) {
        const struct dj_redis_reply *pair = is_nested ? &reply->elements[i] : NULL;
        is_good = take_row(plain, dj_redis_at(pair ? pair : reply, pair ? 0 : 2 * i),
                           dj_redis_at(pair ? pair : reply, pair ? 1 : 2 * i + 1));
    }
    return is_good;
}

/* What is longer than any token or version is compared as unequal to all. */
static bool take_text(struct dj_redis_plain *plain, const struct dj_redis_reply *reply)
{
    struct deja_slice text;
    if (reply->type == DJ_REDIS_NIL)
        return true;
    if (!dj_redis_text(reply, &text))
        return false;
    plain->is_found = true;
    plain->found_len = text.len < sizeof plain->found ? text.len : sizeof plain->found;
    if (plain->found_len)
        memcpy(plain->found, text.data, plain->found_len);
    return true;
}

/* WATCH and MULTI say OK. false: no such reply. */
bool dj_redis_plain_take(struct dj_redis_plain *plain, uint32_t index,
                         const struct dj_redis_reply *reply)
{
    enum dj_redis_script script = plain->origin->script;
    if (index == 0 || index + 1 == plain->part_count)
        return reply->type == DJ_REDIS_TEXT;
    if (script == DJ_REDIS_RAISE)
        return index == 1 ? take_time(reply, &plain->numbers[0])
                          : take_number(reply, &plain->numbers[index - 1]);
    if (script == DJ_REDIS_PULL)
        return index == 1 ? take_number(reply, &plain->numbers[0]) : take_rows(plain, reply);
    if (script == DJ_REDIS_CLEAR || index == 2)
        return take_number(reply, &plain->numbers[0]);
    return take_text(plain, reply);
}

/* ---- deciding ---- */

static bool is_newer(const char *a, const char *b, size_t b_len)
{
    return b_len < DJ_REDIS_VERSION_BYTES || memcmp(a, b, DJ_REDIS_VERSION_BYTES) > 0;
}

static void decide_removal(struct dj_redis_plain *plain)
{
    static const char all[DJ_REDIS_VERSION_BYTES] = "\xff\xff\xff\xff\xff\xff\xff\xff";
    struct deja_slice wanted = plain->arguments[0];
    bool is_any = memcmp(wanted.data, all, sizeof all) == 0;
    bool is_there = plain->found_len >= DJ_REDIS_VERSION_BYTES;
    give_integer(plain, 0);
    if (is_there && !is_any && is_newer(plain->found, wanted.data, wanted.len))
        return;
    if (!is_there && is_any) {
        say_key(plain, "DEL");
        return;
    }
    give_integer(plain, plain->numbers[0] > (int64_t)DJ_REDIS_VERSION_BYTES);
    say_set(plain, is_any ? deja_slice(plain->found, DJ_REDIS_VERSION_BYTES) : wanted,
            plain->arguments[1]);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static enum deja_status decide_raise(struct dj_redis_plain *plain)
{
    int64_t generation = larger(plain->numbers[1] + 1, plain->numbers[0]);
    int64_t place = larger(plain->numbers[2] + 1, plain->numbers[0]);
    plain->elements = dj_alloc_zeroed(2, sizeof *plain->elements);
    if (!plain->elements)
        return DEJA_ERR_NOMEM;
    plain->elements[0] = (struct dj_redis_reply){.type = DJ_REDIS_INTEGER, .integer = generation};
    plain->elements[1] = (struct dj_redis_reply){.type = DJ_REDIS_INTEGER, .integer = place};
    plain->reply =
        (struct dj_redis_reply){.type = DJ_REDIS_ARRAY, .elements = plain->elements, .count = 2};
    struct dj_buf *bytes = dj_redis_plain_say(plain, "HSET", 3);
    dj_redis_argument(bytes, plain->keys[0]);
    dj_redis_argument(bytes, plain->arguments[0]);
    dj_redis_argument_u64(bytes, (uint64_t)generation);
    bytes = dj_redis_plain_say(plain, "SET", 2);
    dj_redis_argument(bytes, plain->keys[2]);
    dj_redis_argument_u64(bytes, (uint64_t)place);
    bytes = dj_redis_plain_say(plain, "ZADD", 3);
    dj_redis_argument(bytes, plain->keys[1]);
    dj_redis_argument_u64(bytes, (uint64_t)place);
    dj_redis_argument(bytes, plain->arguments[0]);
    return DEJA_OK;
}

/* The last place, then field, generation, place of each; the generations come with EXEC. */
static enum deja_status decide_pull(struct dj_redis_plain *plain)
{
    if (plain->since > (uint64_t)plain->numbers[0]) { /* the server has lost some: all of them */
        plain->since = 0;
        plain->is_again = true;
        return DEJA_OK;
    }
    plain->elements = dj_alloc_zeroed(3 * (size_t)plain->row_count + 1, sizeof *plain->elements);
    if (!plain->elements)
        return DEJA_ERR_NOMEM;
    plain->elements[0] =
        (struct dj_redis_reply){.type = DJ_REDIS_INTEGER, .integer = plain->numbers[0]};
    plain->reply = (struct dj_redis_reply){.type = DJ_REDIS_ARRAY,
                                           .elements = plain->elements,
                                           .count = 3 * (size_t)plain->row_count + 1};
    struct dj_buf *bytes = NULL;
    for (uint32_t i = 0; i < plain->row_count; i++) {
        const struct dj_redis_row *row = &plain->rows[i];
        struct deja_slice field = deja_slice(plain->fields.data + row->at, row->len);
        struct dj_redis_reply *out = &plain->elements[1 + 3 * i];
        out[0] = (struct dj_redis_reply){.type = DJ_REDIS_TEXT, .text = field};
        out[2] = (struct dj_redis_reply){.type = DJ_REDIS_INTEGER, .integer = row->place};
        if (!bytes) {
            bytes = dj_redis_plain_say(plain, "HGET", 2);
        } else { /* one call for all: EXEC tells of an error in any */
            dj_redis_command(bytes, 3);
            dj_redis_argument_text(bytes, "HGET");
        }
        dj_redis_argument(bytes, plain->keys[0]);
        dj_redis_argument(bytes, field);
    }
    if (bytes)
        plain->parts[0].call.skip = (uint16_t)(plain->row_count - 1);
    return DEJA_OK;
}

enum deja_status dj_redis_plain_decide(struct dj_redis_plain *plain)
{
    struct deja_slice found = deja_slice(plain->found, plain->found_len);
    bool is_own = plain->is_found && deja_slice_is_equal(found, plain->arguments[0]);
    plain->part_count = 0;
    give_integer(plain, 0);
    switch (plain->origin->script) {
    case DJ_REDIS_PUT:
        if (!is_newer(plain->arguments[0].data, plain->found, plain->found_len))
            return DEJA_OK;
        give_integer(plain, 1);
        say_set(plain, plain->arguments[0], plain->arguments[1]);
        return DEJA_OK;
    case DJ_REDIS_REMOVE:
        decide_removal(plain);
        return DEJA_OK;
    case DJ_REDIS_CLEAR:
        if (plain->numbers[0] > (int64_t)DJ_REDIS_VERSION_BYTES) {
            give_integer(plain, 1);
            say_key(plain, "UNLINK");
        }
        return DEJA_OK;
    case DJ_REDIS_LOCK:
        if (!plain->is_found || is_own) {
            give_integer(plain, 1);
            say_set(plain, plain->arguments[0], plain->arguments[1]);
        }
        return DEJA_OK;
    case DJ_REDIS_UNLOCK:
        if (is_own) {
            give_integer(plain, 1);
            say_key(plain, "DEL");
        }
        return DEJA_OK;
    case DJ_REDIS_RAISE:
        return decide_raise(plain);
    case DJ_REDIS_PULL:
        return decide_pull(plain);
    case DJ_REDIS_SCRIPT_COUNT:
        break;
    }
    return DEJA_ERR_UNSUPPORTED;
}

bool dj_redis_plain_take_counters(struct dj_redis_plain *plain, const struct dj_redis_reply *reply)
{
    if (reply->count != plain->row_count)
        return false;
    for (uint32_t i = 0; i < plain->row_count; i++) {
        struct dj_redis_reply *out = &plain->elements[3 + 3 * i - 1];
        out->type = DJ_REDIS_INTEGER;
        if (!take_number(&reply->elements[i], &out->integer))
            return false;
    }
    return true;
}
