/* daemon/webhooks.c - see webhooks.h. */
#include "daemon/webhooks.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/list.h"
#include "base/num.h"
#include "cache/happenings.h"
#include "cache/notices.h"
#include "daemon/daemon_internal.h"

#define ID_BYTES 16u
#define PAUSE_FIRST_MS 1000u
#define PAUSE_MAX_MS 60000u
#define EVENTS_MAX 500u /* of one delivery */

struct delivery {
    struct dj_list node;
    char id[2 * ID_BYTES + 1];
    struct dj_buf body;
    const char *event;    /* X-Deja-Event */
    uint32_t event_count; /* in it; 0: it is one invalidation */
    uint32_t attempts;
};

struct hook {
    struct dj_webhooks *webhooks;
    const char *url;
    struct dj_list waiting; /* the first is under way, if is_sending */
    uint32_t waiting_count;
    uint32_t pause_ms;
    uint64_t retry_us; /* monotonic */
    uint64_t place;    /* in the happenings */
    uint64_t lost;     /* of them, and not told yet */
    bool is_sending;
    int status; /* of the answer */
    struct dj_outbound_call *call;
};

struct dj_webhooks {
    struct dj_daemon *daemon;
    struct dj_loop *loop;
    struct dj_notices_reader *reader;
    bool is_stopped;
    uint32_t hook_count;
    struct hook hooks[DJ_WEBHOOKS_MAX];
    struct dj_happening read[EVENTS_MAX]; /* while a delivery is made of them */
};

static void send_next(struct hook *hook);

static void delivery_destroy(struct delivery *delivery)
{
    dj_buf_fini(&delivery->body);
    dj_free(delivery);
}

static struct delivery *first(const struct hook *hook)
{
    return DJ_CONTAINER(hook->waiting.next, struct delivery, node);
}

static void drop_first(struct hook *hook)
{
    struct delivery *delivery = first(hook);
    dj_list_remove(&delivery->node);
    hook->waiting_count--;
    delivery_destroy(delivery);
}

/* event_count: 0: an invalidation. */
static void tell_lost(struct hook *hook, uint32_t event_count, const char *why)
{
    struct dj_log *log = hook->webhooks->daemon->log;
    struct dj_telemetry *telemetry = hook->webhooks->daemon->telemetry;
    dj_telemetry_webhook(telemetry, "dropped");
    dj_telemetry_webhook_lost(telemetry, event_count);
    hook->lost += event_count;
    const struct dj_log_field fields[] = {
        DJ_LOG_TEXT("upstream", hook->url), DJ_LOG_TEXT("error", why), {.name = NULL}};
    dj_log_write(log, DJ_LOG_WARN,
                 event_count ? "events could not be delivered to a webhook"
                             : "an invalidation could not be delivered to a webhook",
                 fields);
}

static void lose_first(struct hook *hook, const char *why)
{
    tell_lost(hook, first(hook)->event_count, why);
    drop_first(hook);
}

/* ---- sending ---- */

static void on_head(void *ctx, int status, const struct dj_http_header *headers, size_t count)
{
    struct hook *hook = ctx;
    (void)headers;
    (void)count;
    hook->status = status;
}

static void on_data(void *ctx, struct deja_slice bytes)
{
    (void)ctx; /* what they say is of no use */
    (void)bytes;
}

static void fail_one(struct hook *hook, const char *why)
{
    const struct dj_settings_notices *settings = &hook->webhooks->daemon->settings->notices;
    hook->pause_ms = hook->pause_ms ? 2 * hook->pause_ms : PAUSE_FIRST_MS;
    if (hook->pause_ms > PAUSE_MAX_MS)
        hook->pause_ms = PAUSE_MAX_MS;
    hook->retry_us = dj_loop_monotonic_us(hook->webhooks->loop) + (uint64_t)hook->pause_ms * 1000;
    if (++first(hook)->attempts >= settings->attempts_max) {
        lose_first(hook, why);
        hook->pause_ms = 0;
    } else {
        dj_telemetry_webhook(hook->webhooks->daemon->telemetry, "retried");
    }
}

static void on_done(void *ctx, enum deja_status status, const char *detail)
{
    struct hook *hook = ctx;
    bool is_taken = status == DEJA_OK && hook->status >= 200 && hook->status < 300;
    hook->is_sending = false;
    hook->call = NULL;
    if (hook->webhooks->is_stopped || dj_list_is_empty(&hook->waiting))
        return;
    if (is_taken) {
        dj_telemetry_webhook(hook->webhooks->daemon->telemetry, "delivered");
        drop_first(hook);
        hook->pause_ms = 0;
        hook->retry_us = 0;
        send_next(hook);
    } else {
        fail_one(hook, status == DEJA_OK ? "it answered with an error" : detail);
    }
}

static void sign(const struct dj_settings_notices *settings, const char *seconds,
                 struct deja_slice body, char out_text[80])
{
    uint8_t digest[DJ_SHA256_BYTES];
    const struct deja_slice parts[] = {deja_slice_text(seconds), deja_slice(".", 1), body};
    dj_hmac_any(deja_slice_text(settings->secret), parts, 3, digest);
    memcpy(out_text, "sha256=", 7);
    dj_hex_encode(digest, sizeof digest, out_text + 7);
}

static enum deja_status start(struct hook *hook, struct dj_outbound *outbound)
{
    const struct dj_settings_notices *settings = &hook->webhooks->daemon->settings->notices;
    static const struct dj_outbound_events events = {
        .on_head = on_head, .on_data = on_data, .on_done = on_done};
    const struct delivery *delivery = first(hook);
    char seconds[24];
    char signature[80];
    snprintf(seconds, sizeof seconds, "%lld",
             (long long)(dj_loop_now_ms(hook->webhooks->loop) / 1000));
    sign(settings, seconds, dj_buf_slice(&delivery->body), signature);
    const struct dj_http_header headers[] = {
        {deja_slice_text("Content-Type"), deja_slice_text("application/json")},
        {deja_slice_text("User-Agent"), deja_slice_text("deja/" DEJA_VERSION)},
        {deja_slice_text("X-Deja-Event"), deja_slice_text(delivery->event)},
        {deja_slice_text("X-Deja-Delivery"), deja_slice_text(delivery->id)},
        {deja_slice_text("X-Deja-Timestamp"), deja_slice_text(seconds)},
        {deja_slice_text("X-Deja-Signature"), deja_slice_text(signature)},
    };
    const struct dj_outbound_request request = {
        .method = "POST",
        .url = hook->url,
        .headers = headers,
        .header_count = sizeof headers / sizeof *headers,
        .body = dj_buf_slice(&delivery->body),
        .total_timeout_ms = (uint32_t)settings->timeout_ms,
        .guard = &settings->guard,
    };
    return dj_outbound_start(outbound, &request, &events, hook, &hook->call);
}

/* NULL: no memory. */
static struct delivery *create_delivery(const char *event)
{
    struct delivery *delivery = dj_alloc_zeroed(1, sizeof *delivery);
    uint8_t id[ID_BYTES];
    if (!delivery)
        return NULL;
    delivery->event = event;
    dj_random_bytes(id, sizeof id);
    dj_hex_encode(id, sizeof id, delivery->id);
    return delivery;
}

static void push(struct hook *hook, struct delivery *delivery)
{
    dj_list_push_back(&hook->waiting, &delivery->node);
    hook->waiting_count++;
}

/* What happened since the last delivery of that, as one more. */
static void take_happenings(struct hook *hook)
{
    struct dj_webhooks *webhooks = hook->webhooks;
    uint64_t lost = 0;
    if (!webhooks->daemon->happenings)
        return;
    size_t count = dj_happenings_read(webhooks->daemon->happenings, &hook->place, webhooks->read,
                                      EVENTS_MAX, &lost);
    dj_telemetry_webhook_lost(webhooks->daemon->telemetry, lost);
    hook->lost += lost;
    struct delivery *delivery = count ? create_delivery("cache") : NULL;
    if (!delivery) {
        if (count)
            tell_lost(hook, (uint32_t)count, "out of memory");
        return;
    }
    struct dj_json_writer w = dj_json_writer(&delivery->body);
    delivery->event_count = (uint32_t)count;
    dj_json_begin_object(&w);
    dj_json_key(&w, "events");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < count; i++)
        dj_happening_write(&w, &webhooks->read[i]);
    dj_json_end_array(&w);
    dj_json_member_u64(&w, "lost", hook->lost);
    dj_json_end_object(&w);
    if (delivery->body.status != DEJA_OK) {
        tell_lost(hook, (uint32_t)count, "out of memory");
        delivery_destroy(delivery);
        return;
    }
    hook->lost = 0;
    push(hook, delivery);
}

static void send_next(struct hook *hook)
{
    struct dj_outbound *outbound = hook->webhooks->daemon->nodes[0].outbound;
    if (hook->is_sending || hook->webhooks->is_stopped || !outbound ||
        dj_loop_monotonic_us(hook->webhooks->loop) < hook->retry_us)
        return;
    if (dj_list_is_empty(&hook->waiting))
        take_happenings(hook);
    if (dj_list_is_empty(&hook->waiting))
        return;
    hook->status = 0;
    if (start(hook, outbound) == DEJA_OK)
        hook->is_sending = true;
    else
        fail_one(hook, "it cannot be asked");
}

/* ---- taking ---- */

static void add(struct hook *hook, const struct dj_notice *notice)
{
    const struct dj_settings_notices *settings = &hook->webhooks->daemon->settings->notices;
    struct delivery *delivery = create_delivery("invalidation");
    if (!delivery) {
        tell_lost(hook, 0, "out of memory");
        return;
    }
    struct dj_json_writer w = dj_json_writer(&delivery->body);
    dj_notice_write(&w, notice, true);
    if (delivery->body.status != DEJA_OK) {
        tell_lost(hook, 0, "out of memory");
        delivery_destroy(delivery);
        return;
    }
    if (hook->waiting_count >= settings->queue_max && !hook->is_sending) {
        lose_first(hook, "too many wait");
    } else if (hook->waiting_count >= settings->queue_max) {
        tell_lost(hook, 0, "too many wait");
        delivery_destroy(delivery);
        return;
    }
    push(hook, delivery);
    send_next(hook);
}

static void on_news(void *ctx)
{
    struct dj_webhooks *webhooks = ctx;
    const struct dj_notice *notice;
    while (webhooks->reader && (notice = dj_notices_next(webhooks->reader, NULL))) {
        for (uint32_t i = 0; i < webhooks->hook_count && notice->source == DJ_NOTICE_HERE; i++)
            add(&webhooks->hooks[i], notice);
        dj_notice_unref(notice);
    }
}

/* ---- life ---- */

enum deja_status dj_webhooks_create(struct dj_daemon *daemon, struct dj_webhooks **out_webhooks)
{
    const struct dj_settings_notices *settings = &daemon->settings->notices;
    if (!settings->urls.count) {
        *out_webhooks = NULL;
        return DEJA_OK;
    }
    struct dj_webhooks *webhooks = dj_alloc_zeroed(1, sizeof *webhooks);
    if (!webhooks)
        return DEJA_ERR_NOMEM;
    webhooks->daemon = daemon;
    webhooks->loop = daemon->loops[0];
    for (size_t i = 0; i < settings->urls.count && i < DJ_WEBHOOKS_MAX; i++) {
        struct hook *hook = &webhooks->hooks[webhooks->hook_count++];
        hook->webhooks = webhooks;
        hook->url = settings->urls.items[i];
        dj_list_init(&hook->waiting);
    }
    enum deja_status status = DEJA_OK;
    if (settings->is_invalidation_told)
        status = dj_notices_open(daemon->notices, webhooks->loop, NULL, UINT64_MAX, webhooks,
                                 on_news, &webhooks->reader);
    if (status != DEJA_OK) {
        dj_webhooks_destroy(webhooks);
        return status;
    }
    *out_webhooks = webhooks;
    return DEJA_OK;
}

void dj_webhooks_tick(struct dj_webhooks *webhooks)
{
    for (uint32_t i = 0; webhooks && i < webhooks->hook_count; i++)
        send_next(&webhooks->hooks[i]);
}

void dj_webhooks_stop(struct dj_webhooks *webhooks)
{
    if (!webhooks)
        return;
    webhooks->is_stopped = true;
    dj_notices_close(webhooks->reader);
    webhooks->reader = NULL;
}

void dj_webhooks_destroy(struct dj_webhooks *webhooks)
{
    if (webhooks)
        dj_notices_close(webhooks->reader); /* of a start that failed */
    for (uint32_t i = 0; webhooks && i < webhooks->hook_count; i++)
        while (!dj_list_is_empty(&webhooks->hooks[i].waiting))
            drop_first(&webhooks->hooks[i]);
    dj_free(webhooks);
}
