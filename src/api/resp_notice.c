/* api/resp_notice.c - the channel of invalidations. */
#include "api/resp_internal.h"

struct dj_resp_subscription {
    uint32_t count;
};

static enum dj_resp_flow refuse(struct dj_buf *out)
{
    dj_resp_put_error(out, "ERR only the channel cache:invalidate is served");
    return DJ_RESP_ANSWERED;
}

uint32_t dj_resp_subscriptions(const struct dj_resp_client *client)
{
    return client->subscription ? client->subscription->count : 0;
}

void dj_resp_unsubscribe_all(struct dj_resp_client *client)
{
    (void)client;
}

enum dj_resp_flow dj_resp_subscribe(struct dj_resp_client *client, const struct dj_resp_args *args,
                                    struct dj_buf *out)
{
    (void)client;
    (void)args;
    return refuse(out);
}

enum dj_resp_flow dj_resp_psubscribe(struct dj_resp_client *client, const struct dj_resp_args *args,
                                     struct dj_buf *out)
{
    (void)client;
    (void)args;
    return refuse(out);
}

enum dj_resp_flow dj_resp_unsubscribe(struct dj_resp_client *client,
                                      const struct dj_resp_args *args, struct dj_buf *out)
{
    (void)client;
    (void)args;
    return refuse(out);
}

enum dj_resp_flow dj_resp_punsubscribe(struct dj_resp_client *client,
                                       const struct dj_resp_args *args, struct dj_buf *out)
{
    (void)client;
    (void)args;
    return refuse(out);
}

enum dj_resp_flow dj_resp_publish(struct dj_resp_client *client, const struct dj_resp_args *args,
                                  struct dj_buf *out)
{
    (void)client;
    (void)args;
    return refuse(out);
}

enum dj_resp_flow dj_resp_pubsub(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    (void)client;
    (void)args;
    return refuse(out);
}
