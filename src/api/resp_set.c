/* api/resp_set.c - SET and its kin. */
#include "api/resp_internal.h"
#include "proxy/tenant_rules.h"

/* ---- what is put ---- */

static enum dj_plain_verdict put_value(struct dj_resp_part *part, const struct dj_entry *now,
                                       int64_t now_ms, struct dj_plain_new *out_new)
{
    struct dj_resp_write *write = part->write;
    bool is_refused = ((write->conditions & DJ_RESP_IF_ABSENT) && now) ||
                      ((write->conditions & DJ_RESP_IF_THERE) && !now);
    if (is_refused)
        return DJ_PLAIN_KEEP;
    out_new->body = part->value;
    out_new->metadata = part->metadata;
    out_new->expires_ms = write->expires_ms;
    if ((write->conditions & DJ_RESP_KEEPS_TTL) && now)
        out_new->expires_ms = now->expires_ms;
    if (write->expires_ms && dj_resp_is_over(write, now_ms))
        return DJ_PLAIN_REMOVE;
    return DJ_PLAIN_PUT;
}

static void put_before(const struct dj_resp_write *write, struct dj_buf *out)
{
    if (write->before)
        dj_resp_put_bulk(out, dj_value_entry(write->before)->body);
    else
        dj_resp_put_null(out, write->client->version);
}

static void reply_ok(struct dj_resp_write *write, struct dj_buf *out)
{
    bool is_done = write->was_put || write->was_removed;
    if (write->conditions & DJ_RESP_WANTS_OLD)
        put_before(write, out);
    else if (is_done)
        dj_resp_put_status(out, "OK");
    else
        dj_resp_put_null(out, write->client->version);
}

static void reply_whether(struct dj_resp_write *write, struct dj_buf *out)
{
    dj_resp_put_integer(out, write->was_put || write->was_removed);
}

/* False: the error is in out. */
static bool check_values(const struct dj_resp_client *client, const struct dj_resp_write *write,
                         struct dj_buf *out)
{
    for (size_t i = 0; i < write->part_count; i++) {
        uint64_t bytes = write->parts[i].value.len;
        if (bytes <= DJ_PLAIN_VALUE_BYTES_MAX && dj_tenant_keeps(client->who.rules, bytes))
            continue;
        dj_resp_put_error(out, "ERR the value has %llu bytes, more than this tenant may keep",
                          (unsigned long long)bytes);
        return false;
    }
    return true;
}

/* Keys and values from args[first] on. */
static enum dj_resp_flow start(struct dj_resp_client *client, struct dj_resp_write *write,
                               struct dj_buf *out)
{
    if (!write)
        return DJ_RESP_ANSWERED;
    if (!check_values(client, write, out)) {
        dj_resp_write_destroy(write);
        return DJ_RESP_ANSWERED;
    }
    int64_t now_ms = dj_loop_now_ms(client->loop);
    if (!(write->conditions & DJ_RESP_KEEPS_TTL))
        write->expires_ms = dj_resp_cut_expiry(client, write->expires_ms, now_ms);
    bool is_blind = !(write->conditions & (DJ_RESP_IF_ABSENT | DJ_RESP_IF_THERE |
                                           DJ_RESP_WANTS_OLD | DJ_RESP_KEEPS_TTL));
    write->mode = is_blind ? DJ_PLAIN_BLIND : DJ_PLAIN_LOOKING;
    write->change = put_value;
    return dj_resp_write_judge(write, out);
}

/* ---- options ---- */

bool dj_resp_take_expiry(struct dj_resp_client *client, const struct dj_resp_expiry *expiry,
                         int64_t *out_expires_ms, struct dj_buf *out)
{
    int64_t value = 0;
    int64_t now_ms = dj_loop_now_ms(client->loop);
    if (!dj_resp_take_integer(expiry->word, &value, out))
        return false;
    bool is_sane = value > 0 || expiry->may_be_past;
    if (expiry->is_seconds && is_sane) {
        is_sane = value <= INT64_MAX / 1000 && value >= INT64_MIN / 1000;
        value = is_sane ? value * 1000 : 0;
    }
    if (!expiry->is_absolute && is_sane) {
        is_sane = value <= INT64_MAX - now_ms;
        value = is_sane ? value + now_ms : 0;
    }
    if (!is_sane) {
        dj_resp_put_error(out, "ERR invalid expire time in '%s' command", client->last->name);
        return false;
    }
    *out_expires_ms = value;
    return true;
}

enum { OPTION_NONE, OPTION_EX, OPTION_PX, OPTION_EXAT, OPTION_PXAT };

static int expiry_option(struct deja_slice word)
{
    return dj_resp_is(word, "ex")     ? OPTION_EX
           : dj_resp_is(word, "px")   ? OPTION_PX
           : dj_resp_is(word, "exat") ? OPTION_EXAT
           : dj_resp_is(word, "pxat") ? OPTION_PXAT
                                      : OPTION_NONE;
}

bool dj_resp_is_expiry(struct deja_slice word, struct dj_resp_expiry *out_expiry)
{
    int option = expiry_option(word);
    out_expiry->is_seconds = option == OPTION_EX || option == OPTION_EXAT;
    out_expiry->is_absolute = option == OPTION_EXAT || option == OPTION_PXAT;
    out_expiry->may_be_past = false;
    return option != OPTION_NONE;
}

/* One that has no argument, and does not stand beside what it contradicts; 0: none. */
static unsigned set_option(struct deja_slice word, unsigned conditions, bool has_expiry)
{
    if (dj_resp_is(word, "nx") && !(conditions & DJ_RESP_IF_THERE))
        return DJ_RESP_IF_ABSENT;
    if (dj_resp_is(word, "xx") && !(conditions & DJ_RESP_IF_ABSENT))
        return DJ_RESP_IF_THERE;
    if (dj_resp_is(word, "get"))
        return DJ_RESP_WANTS_OLD;
    if (dj_resp_is(word, "keepttl") && !has_expiry)
        return DJ_RESP_KEEPS_TTL;
    return 0;
}

/* The same one twice is fine with Redis: the last counts. */
static bool is_same_expiry(const struct dj_resp_expiry *a, const struct dj_resp_expiry *b)
{
    return a->is_seconds == b->is_seconds && a->is_absolute == b->is_absolute;
}

/* SET key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]; false: the error is in out. */
static bool read_options(struct dj_resp_client *client, const struct dj_resp_args *args,
                         unsigned *out_conditions, int64_t *out_expires_ms, struct dj_buf *out)
{
    struct dj_resp_expiry expiry = {.word = {0}};
    struct dj_resp_expiry found = {.word = {0}};
    unsigned conditions = 0;
    for (size_t i = 3; i < args->count; i++) {
        unsigned option = set_option(args->items[i], conditions, found.word.data != NULL);
        bool is_expiry = !option && !(conditions & DJ_RESP_KEEPS_TTL) && i + 1 < args->count &&
                         dj_resp_is_expiry(args->items[i], &expiry) &&
                         (!found.word.data || is_same_expiry(&found, &expiry));
        if (!option && !is_expiry) {
            dj_resp_syntax_error(out);
            return false;
        }
        conditions |= option;
        if (is_expiry) {
            found = expiry;
            found.word = args->items[++i];
        }
    }
    *out_conditions = conditions;
    return !found.word.data || dj_resp_take_expiry(client, &found, out_expires_ms, out);
}

enum dj_resp_flow dj_resp_set(struct dj_resp_client *client, const struct dj_resp_args *args,
                              struct dj_buf *out)
{
    unsigned conditions = 0;
    int64_t expires_ms = 0;
    if (!read_options(client, args, &conditions, &expires_ms, out))
        return DJ_RESP_ANSWERED;
    struct dj_resp_write *write = dj_resp_write_create(client, args, 1, 2, 1, out);
    if (write) {
        write->conditions = conditions;
        write->expires_ms = expires_ms;
        write->written = reply_ok;
    }
    return start(client, write, out);
}

enum dj_resp_flow dj_resp_setnx(struct dj_resp_client *client, const struct dj_resp_args *args,
                                struct dj_buf *out)
{
    struct dj_resp_write *write = dj_resp_write_create(client, args, 1, 2, 1, out);
    if (write) {
        write->conditions = DJ_RESP_IF_ABSENT;
        write->written = reply_whether;
    }
    return start(client, write, out);
}

static enum dj_resp_flow set_for(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 bool is_seconds, struct dj_buf *out)
{
    const struct deja_slice key_and_value[] = {args->items[1], args->items[3]};
    const struct dj_resp_args pair = {key_and_value, 2};
    const struct dj_resp_expiry expiry = {.word = args->items[2], .is_seconds = is_seconds};
    int64_t expires_ms = 0;
    if (!dj_resp_take_expiry(client, &expiry, &expires_ms, out))
        return DJ_RESP_ANSWERED;
    struct dj_resp_write *write = dj_resp_write_create(client, &pair, 0, 2, 1, out);
    if (write) {
        write->expires_ms = expires_ms;
        write->written = reply_ok;
    }
    return start(client, write, out);
}

enum dj_resp_flow dj_resp_setex(struct dj_resp_client *client, const struct dj_resp_args *args,
                                struct dj_buf *out)
{
    return set_for(client, args, true, out);
}

enum dj_resp_flow dj_resp_psetex(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    return set_for(client, args, false, out);
}

enum dj_resp_flow dj_resp_getset(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    struct dj_resp_write *write = dj_resp_write_create(client, args, 1, 2, 1, out);
    if (write) {
        write->conditions = DJ_RESP_WANTS_OLD;
        write->written = reply_ok;
    }
    return start(client, write, out);
}

/* ---- many ---- */

enum dj_resp_flow dj_resp_mset(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    if (args->count % 2 == 0)
        return dj_resp_wrong_arity("mset", out);
    struct dj_resp_write *write =
        dj_resp_write_create(client, args, 1, 2, (args->count - 1) / 2, out);
    if (write)
        write->written = reply_ok;
    return start(client, write, out);
}

/* MSETNX first looks at all of them, then writes: between the two somebody else may write, which
 * docs/resp.md tells. */
static void on_looked(void *ctx, struct dj_value **values, const char **levels, size_t count)
{
    struct dj_resp_client *client = ctx;
    const struct dj_resp_args *args = client->work;
    bool is_any = false;
    (void)levels;
    for (size_t i = 0; i < count; i++) {
        is_any |= values[i] != NULL;
        dj_value_unref(values[i]);
    }
    struct dj_buf *out = dj_resp_reply_begin(client);
    struct dj_resp_write *write = NULL;
    if (is_any)
        dj_resp_put_integer(out, 0);
    else
        write = dj_resp_write_create(client, args, 1, 2, (args->count - 1) / 2, out);
    if (write)
        write->written = reply_whether;
    if (!write || start(client, write, out) != DJ_RESP_BEHIND)
        dj_resp_reply_end(client);
    else
        dj_resp_reply_behind(client);
}

enum dj_resp_flow dj_resp_msetnx(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    if (args->count % 2 == 0)
        return dj_resp_wrong_arity("msetnx", out);
    size_t count = (args->count - 1) / 2;
    if (count > DJ_PLAIN_MANY_MAX) {
        dj_resp_put_error(out, "ERR at most %u keys in one command", DJ_PLAIN_MANY_MAX);
        return DJ_RESP_ANSWERED;
    }
    for (size_t i = 1; i < args->count; i += 2)
        if (!dj_resp_check_key(args->items[i], out))
            return DJ_RESP_ANSWERED;
    args = dj_resp_hold(client, args, out);
    struct deja_slice *keys = args ? dj_resp_hold_alloc(client, count * sizeof *keys, out) : NULL;
    if (!keys)
        return DJ_RESP_ANSWERED;
    for (size_t i = 0; i < count; i++)
        keys[i] = args->items[1 + 2 * i];
    client->work = &client->held.args;
    enum deja_status status = dj_plain_get_many(client->api->plain, client->loop, &client->space,
                                                keys, count, 0, client, on_looked);
    if (status == DEJA_OK)
        return DJ_RESP_WAITING;
    dj_resp_put_failure(out, status);
    return DJ_RESP_ANSWERED;
}

/* ---- GETDEL ---- */

static enum dj_plain_verdict take_out(struct dj_resp_part *part, const struct dj_entry *now,
                                      int64_t now_ms, struct dj_plain_new *out_new)
{
    (void)part;
    (void)now_ms;
    (void)out_new;
    return now ? DJ_PLAIN_REMOVE : DJ_PLAIN_KEEP;
}

static void reply_before(struct dj_resp_write *write, struct dj_buf *out)
{
    put_before(write, out);
}

enum dj_resp_flow dj_resp_getdel(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    struct dj_resp_write *write = dj_resp_write_create(client, args, 1, 1, 1, out);
    if (!write)
        return DJ_RESP_ANSWERED;
    write->change = take_out;
    write->written = reply_before;
    return dj_resp_write_start(write);
}
