/* api/resp_expire.c - ends of keys: EXPIRE and its kin, PERSIST, GETEX. */
#include "api/resp_internal.h"

static void reply_whether(struct dj_resp_write *write, struct dj_buf *out)
{
    dj_resp_put_integer(out, write->was_put || write->was_removed);
}

/* Do NX, XX, GT and LT let the new end be? No end is later than any. */
static bool is_let(const struct dj_resp_write *write, int64_t old_ms)
{
    unsigned conditions = write->conditions;
    if ((conditions & DJ_RESP_IF_PERSISTENT) && old_ms)
        return false;
    if ((conditions & DJ_RESP_IF_VOLATILE) && !old_ms)
        return false;
    if ((conditions & DJ_RESP_IF_GREATER) && (!old_ms || write->expires_ms <= old_ms))
        return false;
    return !(conditions & DJ_RESP_IF_LESS) || !old_ms || write->expires_ms < old_ms;
}

static enum dj_plain_verdict set_end(struct dj_resp_part *part, const struct dj_entry *now,
                                     int64_t now_ms, struct dj_plain_new *out_new)
{
    struct dj_resp_write *write = part->write;
    if (!now || !is_let(write, now->expires_ms))
        return DJ_PLAIN_KEEP;
    if (dj_resp_is_over(write, now_ms))
        return DJ_PLAIN_REMOVE;
    dj_resp_copy_entry(write, now, out_new);
    out_new->expires_ms = write->expires_ms;
    return DJ_PLAIN_PUT;
}

static unsigned condition_of(struct deja_slice word)
{
    return dj_resp_is(word, "nx")   ? DJ_RESP_IF_PERSISTENT
           : dj_resp_is(word, "xx") ? DJ_RESP_IF_VOLATILE
           : dj_resp_is(word, "gt") ? DJ_RESP_IF_GREATER
           : dj_resp_is(word, "lt") ? DJ_RESP_IF_LESS
                                    : 0;
}

/* False: the error is in out. */
static bool read_conditions(const struct dj_resp_args *args, unsigned *out_conditions,
                            struct dj_buf *out)
{
    unsigned conditions = 0;
    for (size_t i = 3; i < args->count; i++) {
        unsigned condition = condition_of(args->items[i]);
        if (!condition) {
            struct deja_slice word = args->items[i];
            dj_resp_put_error(out, "ERR Unsupported option %.*s",
                              (int)(word.len < 64 ? word.len : 64), word.data);
            return false;
        }
        conditions |= condition;
    }
    if ((conditions & DJ_RESP_IF_PERSISTENT) && (conditions & ~(unsigned)DJ_RESP_IF_PERSISTENT)) {
        dj_resp_put_error(out,
                          "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if ((conditions & DJ_RESP_IF_GREATER) && (conditions & DJ_RESP_IF_LESS)) {
        dj_resp_put_error(out, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    *out_conditions = conditions;
    return true;
}

static enum dj_resp_flow expire(struct dj_resp_client *client, const struct dj_resp_args *args,
                                struct dj_resp_expiry expiry, struct dj_buf *out)
{
    unsigned conditions = 0;
    int64_t expires_ms = 0;
    expiry.word = args->items[2];
    expiry.may_be_past = true;
    if (!read_conditions(args, &conditions, out) ||
        !dj_resp_take_expiry(client, &expiry, &expires_ms, out))
        return DJ_RESP_ANSWERED;
    struct dj_resp_write *write = dj_resp_write_create(client, args, 1, 1, 1, out);
    if (!write)
        return DJ_RESP_ANSWERED;
    int64_t now_ms = dj_loop_now_ms(client->loop);
    write->conditions = conditions;
    /* 0 would be never. */
    write->expires_ms = dj_resp_cut_expiry(client, expires_ms ? expires_ms : -1, now_ms);
    write->change = set_end;
    write->written = reply_whether;
    return dj_resp_write_start(write);
}

enum dj_resp_flow dj_resp_expire(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    return expire(client, args, (struct dj_resp_expiry){.is_seconds = true}, out);
}

enum dj_resp_flow dj_resp_pexpire(struct dj_resp_client *client, const struct dj_resp_args *args,
                                  struct dj_buf *out)
{
    return expire(client, args, (struct dj_resp_expiry){.is_seconds = false}, out);
}

enum dj_resp_flow dj_resp_expireat(struct dj_resp_client *client, const struct dj_resp_args *args,
                                   struct dj_buf *out)
{
    return expire(client, args, (struct dj_resp_expiry){.is_seconds = true, .is_absolute = true},
                  out);
}

enum dj_resp_flow dj_resp_pexpireat(struct dj_resp_client *client, const struct dj_resp_args *args,
                                    struct dj_buf *out)
{
    return expire(client, args, (struct dj_resp_expiry){.is_absolute = true}, out);
}

/* ---- PERSIST, GETEX ---- */

static enum dj_plain_verdict persist(struct dj_resp_part *part, const struct dj_entry *now,
                                     int64_t now_ms, struct dj_plain_new *out_new)
{
    struct dj_resp_write *write = part->write;
    (void)now_ms;
    if (!now || !now->expires_ms)
        return DJ_PLAIN_KEEP;
    dj_resp_copy_entry(write, now, out_new);
    out_new->expires_ms = write->cut_ms;
    return DJ_PLAIN_PUT;
}

enum dj_resp_flow dj_resp_persist(struct dj_resp_client *client, const struct dj_resp_args *args,
                                  struct dj_buf *out)
{
    struct dj_resp_write *write = dj_resp_write_create(client, args, 1, 1, 1, out);
    if (!write)
        return DJ_RESP_ANSWERED;
    write->cut_ms = dj_resp_cut_expiry(client, 0, dj_loop_now_ms(client->loop));
    write->change = persist;
    write->written = reply_whether;
    return dj_resp_write_start(write);
}

static void reply_value(struct dj_resp_write *write, struct dj_buf *out)
{
    if (write->before)
        dj_resp_put_bulk(out, dj_value_entry(write->before)->body);
    else
        dj_resp_put_null(out, write->client->version);
}

enum dj_resp_flow dj_resp_getex(struct dj_resp_client *client, const struct dj_resp_args *args,
                                struct dj_buf *out)
{
    struct dj_resp_expiry expiry = {.word = {0}};
    int64_t expires_ms = 0;
    bool is_persist = args->count == 3 && dj_resp_is(args->items[2], "persist");
    bool is_expiry = args->count == 4 && dj_resp_is_expiry(args->items[2], &expiry);
    if (args->count == 2)
        return dj_resp_get(client, args, out);
    if (!is_persist && !is_expiry)
        return dj_resp_syntax_error(out);
    if (is_expiry) {
        expiry.word = args->items[3];
        if (!dj_resp_take_expiry(client, &expiry, &expires_ms, out))
            return DJ_RESP_ANSWERED;
    }
    struct dj_resp_write *write = dj_resp_write_create(client, args, 1, 1, 1, out);
    if (!write)
        return DJ_RESP_ANSWERED;
    int64_t now_ms = dj_loop_now_ms(client->loop);
    write->cut_ms = dj_resp_cut_expiry(client, 0, now_ms);
    if (is_expiry)
        write->expires_ms = dj_resp_cut_expiry(client, expires_ms, now_ms);
    write->change = is_persist ? persist : set_end;
    write->written = reply_value;
    return dj_resp_write_start(write);
}
