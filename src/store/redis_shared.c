/* store/redis_shared.c - what programs keep together in the shared tier: generations and locks.
 *
 * A counter's name is its tenant and tag; its value and its place in the order of raising are kept
 * by one script, so that a pull that follows place n misses nothing raised after it.
 */
#include <string.h>

#include "base/alloc.h"
#include "store/redis_internal.h"

/* Of one piece of a pull. */
#define PULL_COUNT 512u
/* Any sane tag; what is longer was not raised by us. */
#define TAG_BYTES_MAX 4096u

struct raise {
    struct dj_redis_call call;
    void *ctx;
    dj_store_raised_fn *raised;
};

struct pull {
    struct dj_redis_call call;
    struct dj_redis_link *link;
    uint64_t since;
    uint64_t last; /* the newest place there was */
    void *ctx;
    dj_store_generation_fn *each;
    dj_store_pulled_fn *pulled;
};

struct hold {
    struct dj_redis_call call;
    void *ctx;
    dj_store_locked_fn *locked;
    dj_store_done_fn *done;
};

/* The three keys, which share a slot. */
static void name_counters(struct dj_redis_link *link, struct dj_redis_call *call)
{
    static const char *const names[] = {"g:n", "g:s", "g:q"};
    char key[DJ_REDIS_KEY_BYTES];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t len = dj_redis_shared_key(link->redis->options.prefix, names[i], key);
        dj_redis_call_key(call, deja_slice(key, len));
        dj_redis_argument(&call->bytes, deja_slice(key, len));
    }
}

static void on_raised(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct raise *raise = ctx;
    int64_t generation = 0;
    if (status == DEJA_OK)
        status = dj_redis_status_of(reply);
    if (status == DEJA_OK &&
        (!dj_redis_integer(dj_redis_at(reply, 0), &generation) || generation < 0))
        status = DEJA_ERR_CORRUPT;
    raise->raised(raise->ctx, status, status == DEJA_OK ? (uint64_t)generation : 0);
    dj_free(raise);
}

enum deja_status dj_redis_raise(struct dj_store *store, struct dj_loop *loop,
                                const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag, void *ctx,
                                dj_store_raised_fn *raised)
{
    struct dj_redis_link *link = NULL;
    if (tag.len > TAG_BYTES_MAX)
        return DEJA_ERR_LIMIT;
    enum deja_status status = dj_redis_link_of((struct dj_redis *)store, loop, &link);
    if (status != DEJA_OK)
        return status;
    struct raise *raise = dj_alloc_zeroed(1, sizeof *raise);
    if (!raise)
        return DEJA_ERR_NOMEM;
    raise->ctx = ctx;
    raise->raised = raised;
    dj_redis_call_init(&raise->call, raise, on_raised);
    raise->call.script = DJ_REDIS_RAISE;
    dj_redis_command_script(&raise->call.bytes, DJ_REDIS_RAISE, 3, 4);
    name_counters(link, &raise->call);
    char field[DJ_ID_BYTES + TAG_BYTES_MAX];
    memcpy(field, tenant, DJ_ID_BYTES);
    if (tag.len > 0)
        memcpy(field + DJ_ID_BYTES, tag.data, tag.len);
    dj_redis_argument(&raise->call.bytes, deja_slice(field, DJ_ID_BYTES + tag.len));
    status = dj_redis_send(link, &raise->call);
    if (status != DEJA_OK)
        dj_free(raise);
    return status;
}

static enum deja_status pull_piece(struct pull *pull);

/* One counter of a piece: field, generation, place. */
static bool give_counter(struct pull *pull, const struct dj_redis_reply *reply, size_t at)
{
    struct dj_store_generation counter;
    struct deja_slice field;
    int64_t generation = 0;
    int64_t place = 0;
    if (!dj_redis_text(dj_redis_at(reply, at), &field) || field.len < DJ_ID_BYTES ||
        !dj_redis_integer(dj_redis_at(reply, at + 1), &generation) || generation < 0 ||
        !dj_redis_integer(dj_redis_at(reply, at + 2), &place) || place < 0)
        return false;
    memcpy(counter.tenant, field.data, DJ_ID_BYTES);
    counter.tag = deja_slice(field.data + DJ_ID_BYTES, field.len - DJ_ID_BYTES);
    counter.generation = (uint64_t)generation;
    pull->since = (uint64_t)place;
    pull->each(pull->ctx, &counter);
    return true;
}

static void on_pulled(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct pull *pull = ctx;
    int64_t last = 0;
    if (status == DEJA_OK)
        status = dj_redis_status_of(reply);
    if (status == DEJA_OK && (!dj_redis_integer(dj_redis_at(reply, 0), &last) || last < 0 ||
                              reply->count % 3 != 1 || reply->count > 3 * PULL_COUNT + 1))
        status = DEJA_ERR_CORRUPT;
    for (size_t i = 1; status == DEJA_OK && i < reply->count; i += 3)
        if (!give_counter(pull, reply, i))
            status = DEJA_ERR_CORRUPT;
    if (status == DEJA_OK && reply->count == 3 * PULL_COUNT + 1) {
        status = pull_piece(pull);
        if (status == DEJA_OK)
            return;
    }
    /* Places above the last one given were raised again meanwhile, or are none. */
    uint64_t sequence = status == DEJA_OK ? (uint64_t)last : 0;
    pull->pulled(pull->ctx, status, sequence);
    dj_free(pull);
}

static enum deja_status pull_piece(struct pull *pull)
{
    dj_redis_call_init(&pull->call, pull, on_pulled);
    pull->call.script = DJ_REDIS_PULL;
    dj_redis_command_script(&pull->call.bytes, DJ_REDIS_PULL, 3, 5);
    name_counters(pull->link, &pull->call);
    dj_redis_argument_u64(&pull->call.bytes, pull->since);
    dj_redis_argument_u64(&pull->call.bytes, PULL_COUNT);
    return dj_redis_send(pull->link, &pull->call);
}

enum deja_status dj_redis_pull(struct dj_store *store, struct dj_loop *loop, uint64_t since,
                               void *ctx, dj_store_generation_fn *each, dj_store_pulled_fn *pulled)
{
    struct dj_redis_link *link = NULL;
    enum deja_status status = dj_redis_link_of((struct dj_redis *)store, loop, &link);
    if (status != DEJA_OK)
        return status;
    struct pull *pull = dj_alloc_zeroed(1, sizeof *pull);
    if (!pull)
        return DEJA_ERR_NOMEM;
    pull->link = link;
    pull->since = since;
    pull->ctx = ctx;
    pull->each = each;
    pull->pulled = pulled;
    status = pull_piece(pull);
    if (status != DEJA_OK)
        dj_free(pull);
    return status;
}

/* ---- locks ---- */

/* 1: it was so, 0: it was not. */
static enum deja_status read_count(enum deja_status status, const struct dj_redis_reply *reply,
                                   int64_t *out_count)
{
    if (status == DEJA_OK)
        status = dj_redis_status_of(reply);
    return status == DEJA_OK && !dj_redis_integer(reply, out_count) ? DEJA_ERR_CORRUPT : status;
}

static void on_locked(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct hold *hold = ctx;
    int64_t count = 0;
    status = read_count(status, reply, &count);
    hold->locked(hold->ctx, status, count == 1);
    dj_free(hold);
}

static void on_unlocked(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct hold *hold = ctx;
    int64_t count = 0;
    status = read_count(status, reply, &count);
    hold->done(hold->ctx, status, count == 1 ? 1 : 0);
    dj_free(hold);
}

/* NULL: no memory. */
static struct hold *make_hold(const struct dj_redis_link *link, const struct dj_store_key *key,
                              const uint8_t token[16], enum dj_redis_script script,
                              dj_redis_replied_fn *replied)
{
    struct hold *hold = dj_alloc_zeroed(1, sizeof *hold);
    if (!hold)
        return NULL;
    char name[DJ_REDIS_KEY_BYTES];
    size_t len = dj_redis_key(link->redis->options.prefix, key, 'l', name);
    dj_redis_call_init(&hold->call, hold, replied);
    hold->call.script = script;
    dj_redis_call_key(&hold->call, deja_slice(name, len));
    dj_redis_command_script(&hold->call.bytes, script, 1, script == DJ_REDIS_LOCK ? 3 : 2);
    dj_redis_argument(&hold->call.bytes, deja_slice(name, len));
    dj_redis_argument(&hold->call.bytes, deja_slice(token, 16));
    return hold;
}

static enum deja_status send_hold(struct dj_redis_link *link, struct hold *hold)
{
    enum deja_status status = dj_redis_send(link, &hold->call);
    if (status != DEJA_OK)
        dj_free(hold);
    return status;
}

enum deja_status dj_redis_lock(struct dj_store *store, struct dj_loop *loop,
                               const struct dj_store_key *key, const uint8_t token[16],
                               uint32_t lease_ms, void *ctx, dj_store_locked_fn *locked)
{
    struct dj_redis_link *link = NULL;
    enum deja_status status = dj_redis_link_of((struct dj_redis *)store, loop, &link);
    if (status != DEJA_OK)
        return status;
    struct hold *hold = make_hold(link, key, token, DJ_REDIS_LOCK, on_locked);
    if (!hold)
        return DEJA_ERR_NOMEM;
    hold->ctx = ctx;
    hold->locked = locked;
    dj_redis_argument_u64(&hold->call.bytes, lease_ms > 0 ? lease_ms : 1);
    return send_hold(link, hold);
}

enum deja_status dj_redis_unlock(struct dj_store *store, struct dj_loop *loop,
                                 const struct dj_store_key *key, const uint8_t token[16], void *ctx,
                                 dj_store_done_fn *done)
{
    struct dj_redis_link *link = NULL;
    enum deja_status status = dj_redis_link_of((struct dj_redis *)store, loop, &link);
    if (status != DEJA_OK)
        return status;
    struct hold *hold = make_hold(link, key, token, DJ_REDIS_UNLOCK, on_unlocked);
    if (!hold)
        return DEJA_ERR_NOMEM;
    hold->ctx = ctx;
    hold->done = done;
    return send_hold(link, hold);
}
