/* api/resp_notice.c - the channel cache:invalidate: what is made void in the tenant, as it is, and
 * a way to make something void.
 *
 * A message is the JSON object that GET /api/v1/invalidations sends. There are no other channels:
 * subscribing to one would wait for ever, so it is refused.
 */
#include <stdio.h>

#include "api/resp_internal.h"
#include "base/alloc.h"
#include "base/slice.h"
#include "cache/invalidation.h"
#include "cache/notices.h"
#include "policy/glob.h"
#include "proto/json.h"

#define CHANNEL "cache:invalidate"
enum { PATTERNS_MAX = 16, PATTERN_BYTES_MAX = 256 };

struct dj_resp_subscription {
    struct dj_resp_client *client;
    struct dj_notices_reader *reader;
    uint8_t tenant[DJ_TENANT_BYTES]; /* whose notices these are */
    bool has_channel;
    char *patterns[PATTERNS_MAX]; /* terminated; as they were said */
    size_t pattern_lens[PATTERNS_MAX];
    uint32_t pattern_count;
};

/* ---- messages ---- */

static void put_message(const struct dj_resp_client *client, struct deja_slice pattern,
                        struct deja_slice data, struct dj_buf *out)
{
    dj_resp_put_push(out, client->version, pattern.data ? 4 : 3);
    dj_resp_put_text(out, pattern.data ? "pmessage" : "message");
    if (pattern.data)
        dj_resp_put_bulk(out, pattern);
    dj_resp_put_text(out, CHANNEL);
    dj_resp_put_bulk(out, data);
}

/* False: the client does not take them. */
static bool send(struct dj_resp_subscription *subscription, struct deja_slice data)
{
    struct dj_resp_client *client = subscription->client;
    struct dj_buf message = {0};
    if (subscription->has_channel)
        put_message(client, deja_slice(NULL, 0), data, &message);
    for (uint32_t i = 0; i < subscription->pattern_count; i++)
        put_message(client, deja_slice(subscription->patterns[i], subscription->pattern_lens[i]),
                    data, &message);
    bool is_taken =
        message.status == DEJA_OK && dj_resp_session_push(client->session, dj_buf_slice(&message));
    dj_buf_fini(&message);
    return is_taken;
}

static bool tell(struct dj_resp_subscription *subscription, const struct dj_notice *notice)
{
    struct dj_buf data = {0};
    struct dj_json_writer w = dj_json_writer(&data);
    dj_notice_write(&w, notice, false);
    bool is_taken =
        send(subscription,
             data.status == DEJA_OK ? dj_buf_slice(&data) : deja_slice_text("{\"kind\":\"lost\"}"));
    dj_buf_fini(&data);
    return is_taken;
}

static void on_news(void *ctx)
{
    struct dj_resp_subscription *subscription = ctx;
    struct dj_resp_client *client = subscription->client;
    if (!dj_resp_is_still(client)) {
        dj_resp_session_end(client->session);
        return;
    }
    for (bool is_taken = true; is_taken;) {
        uint64_t lost = 0;
        const struct dj_notice *notice = dj_notices_next(subscription->reader, &lost);
        if (lost)
            is_taken = send(subscription, deja_slice_text("{\"kind\":\"lost\"}"));
        if (!notice)
            return;
        is_taken = is_taken && tell(subscription, notice);
        dj_notice_unref(notice);
    }
}

/* ---- subscribing ---- */

uint32_t dj_resp_subscriptions(const struct dj_resp_client *client)
{
    const struct dj_resp_subscription *subscription = client->subscription;
    return subscription ? subscription->has_channel + subscription->pattern_count : 0;
}

const uint8_t *dj_resp_listened(const struct dj_resp_client *client)
{
    return client->subscription->tenant;
}

void dj_resp_unsubscribe_all(struct dj_resp_client *client)
{
    struct dj_resp_subscription *subscription = client->subscription;
    if (!subscription)
        return;
    client->subscription = NULL;
    dj_resp_session_listen(client->session, false);
    dj_notices_close(subscription->reader);
    for (uint32_t i = 0; i < subscription->pattern_count; i++)
        dj_free(subscription->patterns[i]);
    dj_free(subscription);
}

static void put_change(const struct dj_resp_client *client, const char *what,
                       struct deja_slice name, struct dj_buf *out)
{
    dj_resp_put_push(out, client->version, 3);
    dj_resp_put_text(out, what);
    if (name.data)
        dj_resp_put_bulk(out, name);
    else
        dj_resp_put_null(out, client->version);
    dj_resp_put_integer(out, dj_resp_subscriptions(client));
}

/* False: the error is in out. */
static bool open_reader(struct dj_resp_client *client, struct dj_buf *out)
{
    struct dj_resp_subscription *subscription = client->subscription;
    if (subscription)
        return true;
    if (!client->api->notices) {
        dj_resp_put_error(out, "ERR invalidations are not told here");
        return false;
    }
    if (client->who.has_user) {
        dj_resp_put_error(out, "NOPERM this concerns all users of the tenant: AUTH without a user");
        return false;
    }
    subscription = dj_alloc_zeroed(1, sizeof *subscription);
    enum deja_status status = subscription ? DEJA_OK : DEJA_ERR_NOMEM;
    if (subscription) {
        subscription->client = client;
        memcpy(subscription->tenant, client->who.tenant, sizeof subscription->tenant);
        status = dj_notices_open(client->api->notices, client->loop, client->who.tenant, UINT64_MAX,
                                 subscription, on_news, &subscription->reader);
    }
    if (status != DEJA_OK) {
        dj_free(subscription);
        if (status == DEJA_ERR_LIMIT)
            dj_resp_put_error(out,
                              "ERR too many clients follow (%u of a tenant, %u of all): close one, "
                              "or try again later",
                              DJ_NOTICES_TENANT_READERS_MAX, DJ_NOTICES_READERS_MAX);
        else
            dj_resp_put_failure(out, status);
        return false;
    }
    client->subscription = subscription;
    dj_resp_session_listen(client->session, true);
    return true;
}

static bool is_channel(struct deja_slice name)
{
    return dj_slice_is(name, CHANNEL);
}

static enum dj_resp_flow refuse_channel(struct dj_buf *out)
{
    dj_resp_put_error(out, "ERR there is no such channel: " CHANNEL " is the only one");
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_subscribe(struct dj_resp_client *client, const struct dj_resp_args *args,
                                    struct dj_buf *out)
{
    for (size_t i = 1; i < args->count; i++)
        if (!is_channel(args->items[i]))
            return refuse_channel(out);
    if (!open_reader(client, out))
        return DJ_RESP_ANSWERED;
    client->subscription->has_channel = true;
    for (size_t i = 1; i < args->count; i++)
        put_change(client, "subscribe", args->items[i], out);
    return DJ_RESP_ANSWERED;
}

static uint32_t find_pattern(const struct dj_resp_subscription *subscription,
                             struct deja_slice pattern)
{
    uint32_t i = 0;
    while (i < subscription->pattern_count &&
           !deja_slice_is_equal(
               pattern, deja_slice(subscription->patterns[i], subscription->pattern_lens[i])))
        i++;
    return i;
}

/* False: too many, or no memory. */
static bool add_pattern(struct dj_resp_subscription *subscription, struct deja_slice pattern)
{
    uint32_t at = find_pattern(subscription, pattern);
    if (at < subscription->pattern_count)
        return true;
    if (at == PATTERNS_MAX || !(subscription->patterns[at] = dj_strdup(pattern)))
        return false;
    subscription->pattern_lens[at] = pattern.len;
    subscription->pattern_count++;
    return true;
}

enum dj_resp_flow dj_resp_psubscribe(struct dj_resp_client *client, const struct dj_resp_args *args,
                                     struct dj_buf *out)
{
    for (size_t i = 1; i < args->count; i++)
        if (args->items[i].len > PATTERN_BYTES_MAX ||
            !dj_glob_is_match(args->items[i], deja_slice_text(CHANNEL)))
            return refuse_channel(out);
    if (!open_reader(client, out))
        return DJ_RESP_ANSWERED;
    for (size_t i = 1; i < args->count; i++) {
        if (add_pattern(client->subscription, args->items[i]))
            put_change(client, "psubscribe", args->items[i], out);
        else
            dj_resp_put_error(out, "ERR at most %d patterns", PATTERNS_MAX);
    }
    return DJ_RESP_ANSWERED;
}

static void close_if_over(struct dj_resp_client *client)
{
    if (dj_resp_subscriptions(client) == 0)
        dj_resp_unsubscribe_all(client);
}

enum dj_resp_flow dj_resp_unsubscribe(struct dj_resp_client *client,
                                      const struct dj_resp_args *args, struct dj_buf *out)
{
    struct dj_resp_subscription *subscription = client->subscription;
    bool had_channel = subscription && subscription->has_channel;
    bool is_named = args->count == 1;
    for (size_t i = 1; i < args->count; i++)
        is_named = is_named || is_channel(args->items[i]);
    if (subscription && is_named)
        subscription->has_channel = false;
    if (args->count == 1)
        put_change(client, "unsubscribe",
                   had_channel ? deja_slice_text(CHANNEL) : deja_slice(NULL, 0), out);
    for (size_t i = 1; i < args->count; i++)
        put_change(client, "unsubscribe", args->items[i], out);
    close_if_over(client);
    return DJ_RESP_ANSWERED;
}

static void drop_pattern(struct dj_resp_subscription *subscription, uint32_t at)
{
    uint32_t last = --subscription->pattern_count;
    dj_free(subscription->patterns[at]);
    subscription->patterns[at] = subscription->patterns[last];
    subscription->pattern_lens[at] = subscription->pattern_lens[last];
}

enum dj_resp_flow dj_resp_punsubscribe(struct dj_resp_client *client,
                                       const struct dj_resp_args *args, struct dj_buf *out)
{
    struct dj_resp_subscription *subscription = client->subscription;
    bool is_all = args->count == 1;
    if (is_all && (!subscription || !subscription->pattern_count))
        put_change(client, "punsubscribe", deja_slice(NULL, 0), out);
    while (is_all && subscription && subscription->pattern_count) {
        char *pattern = subscription->patterns[0];
        size_t len = subscription->pattern_lens[0];
        subscription->patterns[0] = NULL; /* freed after it was told */
        drop_pattern(subscription, 0);
        put_change(client, "punsubscribe", deja_slice(pattern, len), out);
        dj_free(pattern);
    }
    for (size_t i = 1; i < args->count; i++) {
        uint32_t at = subscription ? find_pattern(subscription, args->items[i]) : 0;
        if (subscription && at < subscription->pattern_count)
            drop_pattern(subscription, at);
        put_change(client, "punsubscribe", args->items[i], out);
    }
    close_if_over(client);
    return DJ_RESP_ANSWERED;
}

/* ---- publishing ---- */

/* Of a command that waits. */
struct publishing {
    struct dj_json_doc *doc;
    struct dj_invalidation invalidation;
};

static void on_invalidated(void *ctx, enum deja_status status, uint64_t count,
                           const struct dj_cascade_result *cascade)
{
    struct dj_resp_client *client = ctx;
    struct publishing *publishing = client->work;
    (void)cascade;
    struct dj_buf *out = dj_resp_reply_begin(client);
    if (status == DEJA_OK)
        dj_resp_put_integer(out, (int64_t)count);
    else
        dj_resp_put_failure(out, status);
    dj_json_doc_destroy(publishing->doc);
    dj_resp_reply_end(client);
}

static struct deja_slice text_of(const struct dj_json *object, const char *name)
{
    return dj_json_string(dj_json_get(object, name));
}

/* One of key, tag, pattern, namespace, "all": true; and a reason. False: it says something else. */
static bool read_message(const struct dj_resp_client *client, const struct dj_json *object,
                         struct dj_invalidation *out_invalidation)
{
    struct deja_slice key = text_of(object, "key");
    struct deja_slice tag = text_of(object, "tag");
    struct deja_slice pattern = text_of(object, "pattern");
    struct deja_slice name_space = text_of(object, "namespace");
    bool is_all = dj_json_bool(dj_json_get(object, "all"), false);
    struct dj_invalidation *made = out_invalidation;
    if ((key.len > 0) + (tag.len > 0) + (pattern.len > 0) + (name_space.len > 0) + is_all != 1 ||
        key.len > DJ_PLAIN_KEY_BYTES_MAX || pattern.len > DJ_GLOB_PATTERN_BYTES_MAX ||
        tag.len > DJ_INVALIDATION_NAME_BYTES_MAX || dj_tag_is_internal(tag) ||
        name_space.len > DJ_INVALIDATION_NAME_BYTES_MAX)
        return false;
    *made = (struct dj_invalidation){
        .kind = key.len          ? "key"
                : tag.len        ? "tag"
                : pattern.len    ? "pattern"
                : name_space.len ? "namespace"
                                 : "all",
        .has_key = key.len > 0,
        .name = key,
        .reason = text_of(object, "reason"),
        .selector = {.has_name_space = name_space.len > 0,
                     .name_space = name_space,
                     .tag = tag,
                     .pattern = pattern,
                     .user_tag = deja_slice_text(client->user_tag)},
    };
    if (key.len)
        dj_plain_key(&client->space, key, &made->key);
    return true;
}

enum dj_resp_flow dj_resp_publish(struct dj_resp_client *client, const struct dj_resp_args *args,
                                  struct dj_buf *out)
{
    if (!is_channel(args->items[1]))
        return refuse_channel(out);
    args = dj_resp_hold(client, args, out);
    struct publishing *publishing =
        args ? dj_resp_hold_alloc(client, sizeof *publishing, out) : NULL;
    if (!publishing)
        return DJ_RESP_ANSWERED;
    client->work = publishing;
    if (dj_json_parse(args->items[2], &publishing->doc, NULL) != DEJA_OK ||
        !read_message(client, dj_json_root(publishing->doc), &publishing->invalidation)) {
        dj_json_doc_destroy(publishing->doc);
        dj_resp_put_error(out, "ERR a message to " CHANNEL " is a JSON object with one of \"key\", "
                               "\"tag\", \"pattern\", \"namespace\" or \"all\": true, and a "
                               "\"reason\" if there is one");
        return DJ_RESP_ANSWERED;
    }
    enum deja_status status =
        dj_invalidation_run(client->api->proxy->engine, client->loop, client->who.tenant,
                            &publishing->invalidation, false, client, on_invalidated);
    if (status == DEJA_OK)
        return DJ_RESP_WAITING;
    dj_json_doc_destroy(publishing->doc);
    dj_resp_put_failure(out, status);
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_pubsub(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    bool is_fit = args->count < 3 || (args->items[2].len <= PATTERN_BYTES_MAX &&
                                      dj_glob_is_match(args->items[2], deja_slice_text(CHANNEL)));
    (void)client;
    if (dj_resp_is(args->items[1], "channels")) {
        dj_resp_put_array(out, is_fit);
        if (is_fit)
            dj_resp_put_text(out, CHANNEL);
    } else {
        dj_resp_put_error(out, "ERR PUBSUB has CHANNELS here");
    }
    return DJ_RESP_ANSWERED;
}
