/* lib/events.c - who wants to be told of what: handlers by kind and name, and telling them.
 *
 * (1) A handler runs outside the mutex, so it may make _async calls and register others.
 * (2) `telling` counts who is telling; off waits until nobody is, so that what it names has ended,
 *     unless it is called in a callback, which it would wait for in vain.
 * (3) What a handler returns is counted and changes nothing.
 */
#include <assert.h>

#include "base/alloc.h"
#include "lib/lib_internal.h"

struct handler {
    enum deja_event_kind kind;
    char name[DEJA_HANDLER_NAME_BYTES_MAX + 1];
    void *ctx;
    deja_event_fn *fn;
};

struct dj_events {
    pthread_mutex_t mutex;
    pthread_cond_t is_quiet;
    _Atomic uint32_t count; /* of handlers; looked at without the mutex, changed under it */
    uint32_t telling;
    _Atomic uint64_t failed;
    struct handler handlers[DEJA_HANDLERS_MAX];
};

enum deja_status dj_events_create(struct dj_events **out_events)
{
    struct dj_events *events = dj_alloc_zeroed(1, sizeof *events);
    if (!events)
        return DEJA_ERR_NOMEM;
    int code = pthread_mutex_init(&events->mutex, NULL);
    assert(code == 0);
    code = pthread_cond_init(&events->is_quiet, NULL);
    assert(code == 0);
    *out_events = events;
    return DEJA_OK;
}

void dj_events_destroy(struct dj_events *events)
{
    if (!events)
        return;
    pthread_cond_destroy(&events->is_quiet);
    pthread_mutex_destroy(&events->mutex);
    dj_free(events);
}

uint64_t dj_events_failed(const struct dj_events *events)
{
    return atomic_load(&events->failed);
}

/* ---- handlers ---- */

/* Under mutex. NULL: there is none. */
static struct handler *find(struct dj_events *events, enum deja_event_kind kind, const char *name)
{
    uint32_t count = atomic_load(&events->count);
    for (uint32_t i = 0; i < count; i++)
        if (events->handlers[i].kind == kind && strcmp(events->handlers[i].name, name) == 0)
            return &events->handlers[i];
    return NULL;
}

static bool is_name(const char *name)
{
    size_t len = name ? strlen(name) : 0;
    return len > 0 && len <= DEJA_HANDLER_NAME_BYTES_MAX;
}

enum deja_status deja_on(struct deja *deja, enum deja_event_kind kind, const char *name, void *ctx,
                         deja_event_fn *fn)
{
    struct dj_events *events = deja->events;
    enum deja_status status = DEJA_OK;
    if ((unsigned)kind >= DEJA_EVENT_KIND_COUNT || !is_name(name) || !fn)
        return DEJA_ERR_INVALID;
    pthread_mutex_lock(&events->mutex);
    struct handler *handler = find(events, kind, name);
    uint32_t count = atomic_load(&events->count);
    if (!handler && count == DEJA_HANDLERS_MAX) {
        status = DEJA_ERR_LIMIT;
    } else {
        if (!handler) {
            handler = &events->handlers[count];
            handler->kind = kind;
            memcpy(handler->name, name, strlen(name) + 1);
            atomic_store(&events->count, count + 1);
        }
        handler->ctx = ctx;
        handler->fn = fn;
    }
    pthread_mutex_unlock(&events->mutex);
    return status;
}

enum deja_status deja_off(struct deja *deja, enum deja_event_kind kind, const char *name)
{
    struct dj_events *events = deja->events;
    bool is_inside = pthread_equal(pthread_self(), deja->thread);
    enum deja_status status = DEJA_ERR_NOT_FOUND;
    if (!is_name(name))
        return DEJA_ERR_INVALID;
    pthread_mutex_lock(&events->mutex);
    struct handler *handler = find(events, kind, name);
    if (handler) {
        uint32_t last = atomic_load(&events->count) - 1;
        *handler = events->handlers[last];
        atomic_store(&events->count, last);
        status = DEJA_OK;
    }
    while (!is_inside && events->telling > 0)
        pthread_cond_wait(&events->is_quiet, &events->mutex);
    pthread_mutex_unlock(&events->mutex);
    return status;
}

/* ---- telling ---- */

static void note(struct dj_events *events, enum deja_status status)
{
    if (status != DEJA_OK)
        atomic_fetch_add(&events->failed, 1);
}

static void tell(struct deja *deja, const struct dj_operation *operation,
                 const struct deja_event *event)
{
    struct dj_events *events = deja->events;
    struct handler told[DEJA_HANDLERS_MAX];
    uint32_t count = 0;
    if (operation && operation->on_event)
        note(events, operation->on_event(operation->event_ctx, event));
    if (atomic_load(&events->count) == 0)
        return;
    pthread_mutex_lock(&events->mutex);
    for (uint32_t i = 0; i < atomic_load(&events->count); i++)
        if (events->handlers[i].kind == event->kind)
            told[count++] = events->handlers[i];
    events->telling++;
    pthread_mutex_unlock(&events->mutex);
    for (uint32_t i = 0; i < count; i++)
        note(events, told[i].fn(told[i].ctx, event));
    pthread_mutex_lock(&events->mutex);
    if (--events->telling == 0)
        pthread_cond_broadcast(&events->is_quiet);
    pthread_mutex_unlock(&events->mutex);
}

void dj_events_gone(void *ctx, const uint8_t tenant[DJ_ID_BYTES], enum dj_gone_reason reason)
{
    static const char *const reasons[] = {
        [DJ_GONE_TTL] = "ttl", [DJ_GONE_SIZE] = "size", [DJ_GONE_TENANT_LIMIT] = "tenant_limit"};
    const struct deja_event event = {.kind = DEJA_ON_EVICTION,
                                     .tenant = tenant,
                                     .tier = "memory",
                                     .reason = reasons[reason],
                                     .count = 1};
    tell(ctx, NULL, &event);
}

static uint64_t ttl_of(const struct dj_entry *entry, int64_t now_ms)
{
    if (!entry->expires_ms)
        return DEJA_TTL_NEVER;
    return entry->expires_ms > now_ms ? (uint64_t)(entry->expires_ms - now_ms) : 0;
}

void dj_event_got(struct dj_operation *operation, struct deja_slice text,
                  const struct dj_value *value, const char *level)
{
    struct deja *deja = operation->deja;
    const struct deja_event event = {
        .kind = value ? DEJA_ON_GET_SUCCESS : DEJA_ON_GET_MISS,
        .tenant = operation->fingerprint.key.tenant,
        .text = text,
        .tier = level ? level : "",
        .reason = "",
        .ttl_ms = value ? ttl_of(dj_value_entry(value), dj_loop_now_ms(deja->loop)) : 0,
        .count = value ? 1 : 0,
    };
    tell(deja, operation, &event);
}

void dj_event_stored(struct deja *deja, struct dj_operation *operation,
                     const struct dj_entry *entry)
{
    const struct deja_event event = {
        .kind = DEJA_ON_SET_SUCCESS,
        .tenant = entry->tenant,
        .text = entry->query,
        .tier = operation ? "" : "computed",
        .reason = "",
        .ttl_ms = ttl_of(entry, dj_loop_now_ms(deja->loop)),
        .count = 1,
    };
    tell(deja, operation, &event);
}

void dj_event_removed(struct dj_operation *operation, struct deja_slice text, uint64_t count)
{
    const struct deja_event event = {
        .kind = DEJA_ON_DELETE_SUCCESS,
        .tenant = operation->fingerprint.key.tenant,
        .text = text,
        .tier = "",
        .reason = "",
        .count = count,
    };
    if (count > 0)
        tell(operation->deja, operation, &event);
}
