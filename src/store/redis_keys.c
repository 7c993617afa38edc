/* store/redis_keys.c - see redis_keys.h.
 *
 *   SCAN ──> key by key: GET, PTTL ──> told
 */
#include "store/redis_keys.h"

#include <stdio.h>

#include "base/num.h"
#include "store/redis_visit.h"

#define COUNT_TEXT "200"

struct reading {
    struct dj_redis_keys *keys;
    const char *match;
    void *ctx;
    dj_redis_pair_fn *each;
    struct dj_buf names; /* of the piece: length 4, bytes */
    size_t at;           /* of names: the key under way */
    struct dj_buf value;
    bool is_got;     /* of the key under way */
    bool is_skipped; /* likewise */
    uint64_t next;
};

static struct deja_slice key_at(const struct reading *reading)
{
    uint32_t len;
    memcpy(&len, reading->names.data + reading->at, sizeof len);
    return deja_slice(reading->names.data + reading->at + sizeof len, len);
}

static void ask_scan(struct reading *reading, struct dj_buf *out)
{
    dj_redis_command(out, reading->match ? 6 : 4);
    dj_redis_argument_text(out, "SCAN");
    dj_redis_argument_u64(out, reading->keys->cursor);
    if (reading->match) {
        dj_redis_argument_text(out, "MATCH");
        dj_redis_argument_text(out, reading->match);
    }
    dj_redis_argument_text(out, "COUNT");
    dj_redis_argument_text(out, COUNT_TEXT);
}

static bool ask(struct dj_redis_visit *visit, struct dj_redis_call *call)
{
    struct reading *reading = visit->ctx;
    if (visit->step == 0) {
        dj_redis_call_key(call, deja_slice("", 0));
        ask_scan(reading, &call->bytes);
        return true;
    }
    if (reading->at >= reading->names.len)
        return false;
    struct deja_slice key = key_at(reading);
    dj_redis_call_key(call, key);
    dj_redis_command(&call->bytes, 2);
    dj_redis_argument_text(&call->bytes, reading->is_got ? "PTTL" : "GET");
    dj_redis_argument(&call->bytes, key);
    return true;
}

static enum deja_status take_scan(struct reading *reading, const struct dj_redis_reply *reply)
{
    const struct dj_redis_reply *list = dj_redis_at(reply, 1);
    struct deja_slice cursor;
    enum deja_status status = dj_redis_status_of(reply);
    if (status != DEJA_OK)
        return status;
    if (!dj_redis_text(dj_redis_at(reply, 0), &cursor) ||
        dj_num_parse_u64(cursor, &reading->next) != DEJA_OK || !list ||
        list->type != DJ_REDIS_ARRAY)
        return DEJA_ERR_CORRUPT;
    for (size_t i = 0; i < list->count; i++) {
        struct deja_slice key;
        if (!dj_redis_text(dj_redis_at(list, i), &key))
            return DEJA_ERR_CORRUPT;
        uint32_t len = (uint32_t)key.len;
        dj_buf_append(&reading->names, &len, sizeof len);
        dj_buf_append_slice(&reading->names, key);
    }
    return reading->names.status;
}

static void end_key(struct reading *reading)
{
    reading->at += sizeof(uint32_t) + key_at(reading).len;
    reading->keys->skipped += reading->is_skipped;
    reading->is_got = false;
    reading->is_skipped = false;
}

static enum deja_status take(struct dj_redis_visit *visit, const struct dj_redis_reply *reply)
{
    struct reading *reading = visit->ctx;
    struct deja_slice text;
    int64_t ttl_ms = 0;
    if (visit->step == 0)
        return take_scan(reading, reply);
    if (!reading->is_got) {
        dj_buf_clear(&reading->value);
        reading->is_got = dj_redis_text(reply, &text);
        reading->is_skipped = !reading->is_got;
        if (!reading->is_got)
            end_key(reading); /* a list, a hash … or gone */
        else
            dj_buf_append_slice(&reading->value, text);
        return reading->value.status;
    }
    if (dj_redis_integer(reply, &ttl_ms) && ttl_ms != -2) {
        const struct dj_redis_pair pair = {
            .key = key_at(reading), .value = dj_buf_slice(&reading->value), .ttl_ms = ttl_ms};
        reading->each(reading->ctx, &pair);
    } else {
        reading->is_skipped = true;
    }
    end_key(reading);
    return DEJA_OK;
}

enum deja_status dj_redis_read_keys(const struct dj_redis_options *options, uint32_t timeout_ms,
                                    const char *match, struct dj_redis_keys *keys, void *ctx,
                                    dj_redis_pair_fn *each, struct deja_error *error)
{
    struct reading reading = {.keys = keys, .match = match, .ctx = ctx, .each = each};
    struct dj_redis_visit visit = {.ask = ask, .take = take, .ctx = &reading};
    if (options->mode == DJ_REDIS_CLUSTER)
        return deja_error_set(error, DEJA_ERR_UNSUPPORTED,
                              "keys are read server by server: name each of the cluster's masters");
    enum deja_status status = dj_redis_visit_run(options, timeout_ms, &visit, error);
    if (status == DEJA_OK) {
        keys->cursor = reading.next;
        keys->is_last = reading.next == 0;
    } else if (status == DEJA_ERR_CORRUPT) {
        deja_error_set(error, status, "what answers there does not speak as Valkey or Redis does");
    }
    dj_buf_fini(&reading.names);
    dj_buf_fini(&reading.value);
    return status;
}
