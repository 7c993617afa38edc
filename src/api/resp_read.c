/* api/resp_read.c - reads: what memory has is answered at once, without an allocation; the rest
 * walks the tiers.
 */
#include <stdio.h>

#include "api/resp_internal.h"
#include "base/num.h"

/* The reply to one key; value NULL: it is not there. */
typedef void reply_fn(const struct dj_resp_client *client, struct dj_value *value,
                      const struct dj_resp_args *args, struct dj_buf *out);

/* ---- one key ---- */

/* Of a command that waits. */
struct reading {
    reply_fn *reply;
    const struct dj_resp_args *args;
};

static void on_got(void *ctx, struct dj_value *value, const char *level)
{
    struct dj_resp_client *client = ctx;
    struct reading *reading = client->work;
    (void)level;
    struct dj_buf *out = dj_resp_reply_begin(client);
    reading->reply(client, value, reading->args, out);
    dj_value_unref(value);
    dj_resp_reply_end(client);
}

static enum dj_resp_flow read_key(struct dj_resp_client *client, const struct dj_resp_args *args,
                                  struct deja_slice key, reply_fn *reply, struct dj_buf *out)
{
    struct dj_plain *plain = client->api->plain;
    if (!dj_resp_check_key(key, out))
        return DJ_RESP_ANSWERED;
    struct dj_value *value = dj_plain_find(plain, client->loop, &client->space, key);
    if (value) {
        reply(client, value, args, out);
        dj_value_unref(value);
        return DJ_RESP_ANSWERED;
    }
    args = dj_resp_hold(client, args, out);
    struct reading *reading = args ? dj_resp_hold_alloc(client, sizeof *reading, out) : NULL;
    if (!reading)
        return DJ_RESP_ANSWERED;
    *reading = (struct reading){reply, args};
    client->work = reading;
    enum deja_status status =
        dj_plain_get(plain, client->loop, &client->space, key, 0, client, on_got);
    if (status == DEJA_OK)
        return DJ_RESP_WAITING;
    dj_resp_put_failure(out, status);
    return DJ_RESP_ANSWERED;
}

static void put_body(const struct dj_resp_client *client, struct dj_value *value,
                     const struct dj_resp_args *args, struct dj_buf *out)
{
    (void)args;
    if (value)
        dj_resp_put_bulk(out, dj_value_entry(value)->body);
    else
        dj_resp_put_null(out, client->version);
}

enum dj_resp_flow dj_resp_get(struct dj_resp_client *client, const struct dj_resp_args *args,
                              struct dj_buf *out)
{
    return read_key(client, args, args->items[1], put_body, out);
}

static void put_length(const struct dj_resp_client *client, struct dj_value *value,
                       const struct dj_resp_args *args, struct dj_buf *out)
{
    (void)client;
    (void)args;
    dj_resp_put_integer(out, value ? (int64_t)dj_value_entry(value)->body.len : 0);
}

enum dj_resp_flow dj_resp_strlen(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    return read_key(client, args, args->items[1], put_length, out);
}

static void put_type(const struct dj_resp_client *client, struct dj_value *value,
                     const struct dj_resp_args *args, struct dj_buf *out)
{
    (void)client;
    (void)args;
    dj_resp_put_status(out, value ? "string" : "none");
}

enum dj_resp_flow dj_resp_type(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    return read_key(client, args, args->items[1], put_type, out);
}

/* ---- ends ---- */

enum { MS, SECONDS };

static void put_end(struct dj_value *value, int64_t from_ms, int unit, struct dj_buf *out)
{
    int64_t expires_ms = value ? dj_value_entry(value)->expires_ms : 0;
    int64_t left_ms = expires_ms > from_ms ? expires_ms - from_ms : 0;
    if (!value)
        dj_resp_put_integer(out, -2);
    else if (!expires_ms)
        dj_resp_put_integer(out, -1);
    else
        dj_resp_put_integer(out,
                            unit == SECONDS ? left_ms / 1000 + (left_ms % 1000 >= 500) : left_ms);
}

static void put_ttl(const struct dj_resp_client *client, struct dj_value *value,
                    const struct dj_resp_args *args, struct dj_buf *out)
{
    (void)args;
    put_end(value, dj_loop_now_ms(client->loop), SECONDS, out);
}

static void put_pttl(const struct dj_resp_client *client, struct dj_value *value,
                     const struct dj_resp_args *args, struct dj_buf *out)
{
    (void)args;
    put_end(value, dj_loop_now_ms(client->loop), MS, out);
}

static void put_expiretime(const struct dj_resp_client *client, struct dj_value *value,
                           const struct dj_resp_args *args, struct dj_buf *out)
{
    (void)client;
    (void)args;
    put_end(value, 0, SECONDS, out);
}

static void put_pexpiretime(const struct dj_resp_client *client, struct dj_value *value,
                            const struct dj_resp_args *args, struct dj_buf *out)
{
    (void)client;
    (void)args;
    put_end(value, 0, MS, out);
}

enum dj_resp_flow dj_resp_ttl(struct dj_resp_client *client, const struct dj_resp_args *args,
                              struct dj_buf *out)
{
    return read_key(client, args, args->items[1], put_ttl, out);
}

enum dj_resp_flow dj_resp_pttl(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    return read_key(client, args, args->items[1], put_pttl, out);
}

enum dj_resp_flow dj_resp_expiretime(struct dj_resp_client *client, const struct dj_resp_args *args,
                                     struct dj_buf *out)
{
    return read_key(client, args, args->items[1], put_expiretime, out);
}

enum dj_resp_flow dj_resp_pexpiretime(struct dj_resp_client *client,
                                      const struct dj_resp_args *args, struct dj_buf *out)
{
    return read_key(client, args, args->items[1], put_pexpiretime, out);
}

/* ---- GETRANGE ---- */

static void put_range(const struct dj_resp_client *client, struct dj_value *value,
                      const struct dj_resp_args *args, struct dj_buf *out)
{
    int64_t first = 0;
    int64_t last = 0;
    (void)client;
    if (!dj_resp_take_integer(args->items[2], &first, out) ||
        !dj_resp_take_integer(args->items[3], &last, out))
        return; /* cannot be: looked at before */
    struct deja_slice body = value ? dj_value_entry(value)->body : deja_slice(NULL, 0);
    int64_t len = (int64_t)body.len;
    bool is_crossed = first < 0 && last < 0 && first > last;
    first = first < 0 ? (first < -len ? 0 : first + len) : first;
    last = last < 0 ? (last < -len ? 0 : last + len) : last;
    last = last >= len ? len - 1 : last;
    if (is_crossed || first > last || len == 0)
        dj_resp_put_bulk(out, deja_slice(NULL, 0));
    else
        dj_resp_put_bulk(out, deja_slice(body.data + first, (size_t)(last - first) + 1));
}

enum dj_resp_flow dj_resp_getrange(struct dj_resp_client *client, const struct dj_resp_args *args,
                                   struct dj_buf *out)
{
    int64_t number = 0;
    if (!dj_resp_take_integer(args->items[2], &number, out) ||
        !dj_resp_take_integer(args->items[3], &number, out))
        return DJ_RESP_ANSWERED;
    return read_key(client, args, args->items[1], put_range, out);
}

/* ---- OBJECT, MEMORY ---- */

static bool is_integer(struct deja_slice text)
{
    int64_t value = 0;
    size_t sign = text.len > 0 && text.data[0] == '-';
    return text.len > sign && text.data[sign] >= '0' && text.data[sign] <= '9' &&
           (text.data[sign] != '0' || text.len == 1) && dj_num_parse_i64(text, &value) == DEJA_OK;
}

/* As Redis would keep it. */
static void put_encoding(const struct dj_resp_client *client, struct dj_value *value,
                         const struct dj_resp_args *args, struct dj_buf *out)
{
    (void)args;
    if (!value) {
        dj_resp_put_null(out, client->version);
        return;
    }
    struct deja_slice body = dj_value_entry(value)->body;
    dj_resp_put_text(out, is_integer(body) ? "int" : body.len <= 44 ? "embstr" : "raw");
}

static void put_refcount(const struct dj_resp_client *client, struct dj_value *value,
                         const struct dj_resp_args *args, struct dj_buf *out)
{
    (void)args;
    if (value)
        dj_resp_put_integer(out, 1);
    else
        dj_resp_put_null(out, client->version);
}

enum dj_resp_flow dj_resp_object(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    bool is_encoding = dj_resp_is(args->items[1], "encoding");
    if (args->count == 3 && (is_encoding || dj_resp_is(args->items[1], "refcount")))
        return read_key(client, args, args->items[2], is_encoding ? put_encoding : put_refcount,
                        out);
    dj_resp_put_error(out, "ERR OBJECT has ENCODING and REFCOUNT here");
    return DJ_RESP_ANSWERED;
}

static void put_memory(const struct dj_resp_client *client, struct dj_value *value,
                       const struct dj_resp_args *args, struct dj_buf *out)
{
    (void)args;
    if (value)
        dj_resp_put_integer(out, (int64_t)dj_value_bytes(value));
    else
        dj_resp_put_null(out, client->version);
}

enum dj_resp_flow dj_resp_memory(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    if (args->count >= 3 && dj_resp_is(args->items[1], "usage"))
        return read_key(client, args, args->items[2], put_memory, out);
    dj_resp_put_error(out, "ERR MEMORY has USAGE here");
    return DJ_RESP_ANSWERED;
}

/* ---- many keys ---- */

/* Of a command that waits: asked for DJ_PLAIN_MANY_MAX at a time. */
struct reading_many {
    const struct deja_slice *keys;
    struct dj_value **values; /* references */
    size_t count;
    size_t done;
    bool is_counting; /* EXISTS */
};

static void on_got_many(void *ctx, struct dj_value **values, const char **levels, size_t count);

/* The next keys; false: *out_status says why not. */
static bool ask(struct dj_resp_client *client, enum deja_status *out_status)
{
    struct reading_many *many = client->work;
    size_t left = many->count - many->done;
    *out_status = dj_plain_get_many(
        client->api->plain, client->loop, &client->space, many->keys + many->done,
        left < DJ_PLAIN_MANY_MAX ? left : DJ_PLAIN_MANY_MAX, 0, client, on_got_many);
    return *out_status == DEJA_OK;
}

static void put_many(struct dj_resp_client *client, const struct reading_many *many,
                     struct dj_buf *out)
{
    int64_t there = 0;
    if (!many->is_counting)
        dj_resp_put_array(out, many->count);
    for (size_t i = 0; i < many->count; i++) {
        there += many->values[i] != NULL;
        if (!many->is_counting)
            put_body(client, many->values[i], NULL, out);
    }
    if (many->is_counting)
        dj_resp_put_integer(out, there);
}

static void on_got_many(void *ctx, struct dj_value **values, const char **levels, size_t count)
{
    struct dj_resp_client *client = ctx;
    struct reading_many *many = client->work;
    enum deja_status status = DEJA_OK;
    (void)levels;
    memcpy(many->values + many->done, values, count * sizeof(struct dj_value *));
    many->done += count;
    if (many->done < many->count && ask(client, &status))
        return;
    struct dj_buf *out = dj_resp_reply_begin(client);
    if (status == DEJA_OK)
        put_many(client, many, out);
    else
        dj_resp_put_failure(out, status);
    for (size_t i = 0; i < many->done; i++)
        dj_value_unref(many->values[i]);
    dj_resp_reply_end(client);
}

static enum dj_resp_flow read_many(struct dj_resp_client *client, const struct dj_resp_args *args,
                                   bool is_counting, struct dj_buf *out)
{
    size_t count = args->count - 1;
    args = dj_resp_hold(client, args, out);
    struct reading_many *many = args ? dj_resp_hold_alloc(client, sizeof *many, out) : NULL;
    if (many)
        many->values = dj_resp_hold_alloc(client, count * sizeof(struct dj_value *), out);
    if (!many || !many->values)
        return DJ_RESP_ANSWERED;
    many->keys = args->items + 1;
    many->count = count;
    many->is_counting = is_counting;
    client->work = many;
    enum deja_status status = DEJA_OK;
    if (ask(client, &status))
        return DJ_RESP_WAITING;
    dj_resp_put_failure(out, status);
    return DJ_RESP_ANSWERED;
}

static bool check_keys(const struct dj_resp_args *args, struct dj_buf *out)
{
    for (size_t i = 1; i < args->count; i++)
        if (!dj_resp_check_key(args->items[i], out))
            return false;
    return true;
}

enum dj_resp_flow dj_resp_mget(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    size_t before = out->len;
    size_t at = 1;
    if (!check_keys(args, out))
        return DJ_RESP_ANSWERED;
    dj_resp_put_array(out, args->count - 1);
    for (; at < args->count; at++) {
        struct dj_value *value =
            dj_plain_find(client->api->plain, client->loop, &client->space, args->items[at]);
        if (!value)
            break;
        dj_resp_put_bulk(out, dj_value_entry(value)->body);
        dj_value_unref(value);
    }
    if (at == args->count)
        return DJ_RESP_ANSWERED;
    out->len = before;
    return read_many(client, args, false, out);
}

enum dj_resp_flow dj_resp_exists(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    return check_keys(args, out) ? read_many(client, args, true, out) : DJ_RESP_ANSWERED;
}
