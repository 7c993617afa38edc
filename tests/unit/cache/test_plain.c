#include "check.h"

#include "cache/plain.h"
#include "failing_malloc.h"
#include "security/user.h"
#include "shared_fixture.h"

#define HOUR_MS (INT64_C(3600) * 1000)

static const uint8_t fingerprint_key[DJ_SHA256_BYTES] = "a key of the tests";

/* ---- a plain cache over an engine ---- */

struct cache {
    struct disk disk;
    struct fixture *fixture;
    struct dj_plain *plain;
    struct dj_plain_space space;
};

static enum deja_status try_plain(struct cache *cache)
{
    const struct dj_plain_options options = {.engine = cache->fixture->engine,
                                             .loops = cache->fixture->loops.loop,
                                             .loop_count = LOOPS,
                                             .wait_ms = 60000};
    return dj_plain_create(&options, &cache->plain);
}

static struct dj_plain_space space_of(const uint8_t *tenant, const char *name_space)
{
    struct dj_plain_space space;
    dj_plain_space_init(&space, tenant, fingerprint_key, deja_slice_text(name_space),
                        deja_slice("", 0));
    return space;
}

static void begin(struct cache *cache)
{
    cache->fixture = &cache->disk.fixture;
    assert_int_equal(try_plain(cache), DEJA_OK);
    cache->space = space_of(tenant_a, "");
}

static void cache_open(struct cache *cache) /* memory alone */
{
    *cache = (struct cache){0};
    fixture_open(&cache->disk.fixture);
    begin(cache);
}

static void cache_open_disk(struct cache *cache)
{
    *cache = (struct cache){0};
    disk_open(&cache->disk);
    begin(cache);
}

/* Over tiers that were added to its fixture before. */
static void cache_open_shared(struct cache *cache)
{
    fixture_start(&cache->disk.fixture);
    begin(cache);
    pull_now(cache->fixture);
}

static void cache_close(struct cache *cache)
{
    settle(cache->fixture);
    dj_plain_destroy(cache->plain);
    if (cache->fixture->directory)
        disk_close(&cache->disk);
    else
        fixture_close(cache->fixture);
    dj_plain_space_fini(&cache->space);
}

static void restart(struct cache *cache)
{
    settle(cache->fixture);
    dj_plain_destroy(cache->plain);
    disk_restart(&cache->disk);
    assert_int_equal(try_plain(cache), DEJA_OK);
}

/* ---- calls that are waited for ---- */

struct plain_call {
    struct cache *cache;
    struct event ended;
    const struct dj_plain_space *space;
    struct deja_slice key;
    struct dj_plain_change change;
    uint32_t loop;
    uint32_t skip;
    /* what the function shall do */
    struct deja_slice body;
    struct deja_slice tag;
    struct deja_slice metadata;
    int64_t expires_ms;
    enum dj_plain_verdict verdict;
    bool is_only_if_absent;
    /* results */
    enum deja_status status;
    enum dj_plain_verdict decided;
    bool is_stored;
    bool was_there;
    bool had_before;
    struct dj_value *value;
    char level[16];
};

static struct dj_loop *loop_of(const struct plain_call *call)
{
    return call->cache->fixture->loops.loop[call->loop];
}

static void on_plain_got(void *ctx, struct dj_value *value, const char *level)
{
    struct plain_call *call = ctx;
    assert_true(dj_loop_is_current(loop_of(call)));
    call->value = value;
    snprintf(call->level, sizeof call->level, "%s", level ? level : "");
    event_set(&call->ended);
}

static void start_plain_get(void *ctx)
{
    struct plain_call *call = ctx;
    assert_int_equal(dj_plain_get(call->cache->plain, loop_of(call), call->space, call->key,
                                  call->skip, call, on_plain_got),
                     DEJA_OK);
}

static struct plain_call plain_call(struct cache *cache, const char *key)
{
    return (struct plain_call){.cache = cache,
                               .space = &cache->space,
                               .key = deja_slice_text(key),
                               .loop = 1,
                               .verdict = DJ_PLAIN_PUT};
}

static void run_plain(struct plain_call *call, dj_task_fn *start)
{
    event_init(&call->ended);
    on_loop(loop_of(call), start, call);
    event_wait(&call->ended);
}

static void expect_got(struct plain_call *call, const char *body, const char *level)
{
    run_plain(call, start_plain_get);
    assert_string_equal(call->level, level);
    assert_int_equal(call->value != NULL, body != NULL);
    if (body)
        assert_true(deja_slice_is_equal(dj_value_entry(call->value)->body, deja_slice_text(body)));
    dj_value_unref(call->value);
}

static void expect(struct cache *cache, const char *key, const char *body, const char *level)
{
    struct plain_call call = plain_call(cache, key);
    expect_got(&call, body, level);
}

static enum dj_plain_verdict decide(void *ctx, const struct dj_entry *now, int64_t now_ms,
                                    struct dj_plain_new *out_new)
{
    struct plain_call *call = ctx;
    (void)now_ms;
    call->had_before = now != NULL;
    if (call->is_only_if_absent && now)
        return DJ_PLAIN_KEEP;
    out_new->body = call->body;
    out_new->metadata = call->metadata;
    out_new->expires_ms = call->expires_ms;
    if (call->tag.len) {
        out_new->tags = &call->tag;
        out_new->tag_count = 1;
    }
    return call->verdict;
}

static void on_plain_changed(void *ctx, enum deja_status status,
                             const struct dj_plain_outcome *outcome)
{
    struct plain_call *call = ctx;
    assert_true(dj_loop_is_current(loop_of(call)));
    call->status = status;
    call->decided = outcome->verdict;
    call->is_stored = outcome->is_stored;
    call->was_there = outcome->was_there;
    event_set(&call->ended);
}

static void start_plain_change(void *ctx)
{
    struct plain_call *call = ctx;
    call->change.change = decide;
    call->change.done = on_plain_changed;
    call->change.ctx = call;
    assert_int_equal(
        dj_plain_change(call->cache->plain, loop_of(call), call->space, call->key, &call->change),
        DEJA_OK);
}

static void set(struct cache *cache, const char *key, const char *body)
{
    struct plain_call call = plain_call(cache, key);
    call.body = deja_slice_text(body);
    run_plain(&call, start_plain_change);
    assert_int_equal(call.status, DEJA_OK);
    assert_int_equal(call.decided, DJ_PLAIN_PUT);
    assert_true(call.is_stored);
}

static void start_plain_remove(void *ctx)
{
    struct plain_call *call = ctx;
    assert_int_equal(dj_plain_remove(call->cache->plain, loop_of(call), call->space, call->key,
                                     call, on_plain_changed),
                     DEJA_OK);
}

static bool remove_key(struct cache *cache, const char *key)
{
    struct plain_call call = plain_call(cache, key);
    run_plain(&call, start_plain_remove);
    assert_int_equal(call.status, DEJA_OK);
    return call.was_there;
}

/* ---- one key ---- */

static void key_that_was_set_is_got(void **state)
{
    (void)state;
    struct cache cache;
    cache_open(&cache);
    expect(&cache, "a", NULL, "");
    set(&cache, "a", "1");
    expect(&cache, "a", "1", "memory");
    set(&cache, "a", "2");
    expect(&cache, "a", "2", "memory");
    expect(&cache, "A", NULL, "");
    cache_close(&cache);
}

static void key_outlives_a_restart_and_is_promoted(void **state)
{
    (void)state;
    struct cache cache;
    cache_open_disk(&cache);
    set(&cache, "a", "1");
    restart(&cache);
    expect(&cache, "a", "1", "lmdb");
    settle(cache.fixture);
    expect(&cache, "a", "1", "memory");
    cache_close(&cache);
}

static void any_bytes_are_a_key_and_a_value(void **state)
{
    (void)state;
    static const char bytes[] = "\0\xff\xfe\r\n \x01\x80 tail";
    struct cache cache;
    cache_open_disk(&cache);
    struct plain_call call = plain_call(&cache, "");
    call.key = deja_slice(bytes, sizeof bytes);
    call.body = deja_slice(bytes, 3);
    run_plain(&call, start_plain_change);
    assert_true(call.is_stored);
    restart(&cache);
    run_plain(&call, start_plain_get);
    assert_true(deja_slice_is_equal(dj_value_entry(call.value)->body, deja_slice(bytes, 3)));
    assert_true(
        deja_slice_is_equal(dj_value_entry(call.value)->query, deja_slice(bytes, sizeof bytes)));
    assert_int_equal(dj_value_entry(call.value)->kind, DJ_ENTRY_PLAIN);
    dj_value_unref(call.value);
    cache_close(&cache);
}

static void removed_key_is_a_miss_on_every_tier(void **state)
{
    (void)state;
    struct cache cache;
    cache_open_disk(&cache);
    set(&cache, "a", "1");
    assert_true(remove_key(&cache, "a"));
    expect(&cache, "a", NULL, "");
    assert_false(remove_key(&cache, "a"));
    set(&cache, "a", "2");
    restart(&cache);
    expect(&cache, "a", "2", "lmdb");
    cache_close(&cache);
}

static void expired_key_is_a_miss_and_a_past_end_removes(void **state)
{
    (void)state;
    struct cache cache;
    cache_open_disk(&cache);
    struct plain_call call = plain_call(&cache, "a");
    call.expires_ms = dj_clock_now_ms() + HOUR_MS;
    run_plain(&call, start_plain_change);
    assert_int_equal(call.decided, DJ_PLAIN_PUT);
    expect(&cache, "a", "", "memory");
    call.expires_ms = 1;
    run_plain(&call, start_plain_change);
    assert_int_equal(call.decided, DJ_PLAIN_REMOVE);
    expect(&cache, "a", NULL, "");
    cache_close(&cache);
}

static void change_sees_what_is_there(void **state)
{
    (void)state;
    struct cache cache;
    cache_open_disk(&cache);
    struct plain_call call = plain_call(&cache, "a");
    call.change.mode = DJ_PLAIN_LOOKING;
    call.is_only_if_absent = true;
    run_plain(&call, start_plain_change);
    assert_false(call.had_before);
    assert_int_equal(call.decided, DJ_PLAIN_PUT);
    restart(&cache); /* what only a tier has is seen too */
    run_plain(&call, start_plain_change);
    assert_true(call.had_before);
    assert_int_equal(call.decided, DJ_PLAIN_KEEP);
    cache_close(&cache);
}

static void key_too_long_or_empty_is_refused(void **state)
{
    (void)state;
    static char text[DJ_PLAIN_KEY_BYTES_MAX + 1];
    struct cache cache;
    cache_open(&cache);
    const struct dj_plain_change change = {.change = decide};
    struct dj_loop *loop = cache.fixture->loops.loop[0];
    assert_int_equal(
        dj_plain_change(cache.plain, loop, &cache.space, deja_slice(text, sizeof text), &change),
        DEJA_ERR_INVALID);
    assert_int_equal(dj_plain_change(cache.plain, loop, &cache.space, deja_slice("", 0), &change),
                     DEJA_ERR_INVALID);
    cache_close(&cache);
}

static void invalidated_tag_takes_its_keys_along(void **state)
{
    (void)state;
    struct cache cache;
    cache_open_disk(&cache);
    struct plain_call call = plain_call(&cache, "a");
    call.tag = deja_slice_text("user:1");
    run_plain(&call, start_plain_change);
    set(&cache, "b", "2");
    struct dj_entry entry = {.kind = DJ_ENTRY_PLAIN};
    memcpy(entry.tenant, tenant_a, sizeof entry.tenant);
    assert_int_equal(change(cache.fixture, &entry, "user:1", start_invalidate), 1);
    expect(&cache, "a", NULL, "");
    expect(&cache, "b", "2", "memory");
    cache_close(&cache);
}

static void tenants_namespaces_and_users_have_keys_of_their_own(void **state)
{
    (void)state;
    uint8_t user[DJ_USER_BYTES];
    uint8_t narrowed[DJ_SHA256_BYTES];
    char tag[DJ_USER_TAG_BYTES];
    struct cache cache;
    cache_open(&cache);
    set(&cache, "a", "1");
    dj_user_digest(fingerprint_key, deja_slice_text("ann"), user);
    memcpy(narrowed, fingerprint_key, sizeof narrowed);
    dj_user_narrow(narrowed, user);
    dj_user_tag(user, tag);
    struct dj_plain_space spaces[3] = {space_of(tenant_b, ""), space_of(tenant_a, "other")};
    dj_plain_space_init(&spaces[2], tenant_a, narrowed, deja_slice("", 0), deja_slice_text(tag));
    for (size_t i = 0; i < 3; i++) {
        struct plain_call call = plain_call(&cache, "a");
        call.space = &spaces[i];
        expect_got(&call, NULL, "");
    }
    cache_close(&cache);
}

/* ---- many changes of one key ---- */

enum { CHANGES = 200, ORIGINS = LOOPS };

struct counting {
    struct cache *cache;
    uint32_t loop;
    uint32_t left;
    char text[32];
    struct event ended;
};

static enum dj_plain_verdict add_one(void *ctx, const struct dj_entry *now, int64_t now_ms,
                                     struct dj_plain_new *out_new)
{
    char *text = ctx;
    unsigned long number = 0;
    (void)now_ms;
    for (size_t i = 0; now && i < now->body.len; i++)
        number = number * 10 + (unsigned long)(now->body.data[i] - '0');
    snprintf(text, 32, "%lu", number + 1);
    out_new->body = deja_slice_text(text);
    return DJ_PLAIN_PUT;
}

struct increment {
    char text[32]; /* the change function's, on the key's home */
    struct counting *counting;
};

static void on_incremented(void *ctx, enum deja_status status,
                           const struct dj_plain_outcome *outcome)
{
    struct increment *increment = ctx;
    struct counting *counting = increment->counting;
    assert_int_equal(status, DEJA_OK);
    assert_true(outcome->is_stored);
    free(increment);
    if (--counting->left == 0)
        event_set(&counting->ended);
}

static void start_counting(void *ctx)
{
    struct counting *counting = ctx;
    struct cache *cache = counting->cache;
    for (uint32_t i = 0; i < CHANGES; i++) {
        struct increment *increment = calloc(1, sizeof *increment);
        assert_non_null(increment);
        increment->counting = counting;
        const struct dj_plain_change change = {
            .mode = DJ_PLAIN_LOOKING, .change = add_one, .done = on_incremented, .ctx = increment};
        assert_int_equal(dj_plain_change(cache->plain, cache->fixture->loops.loop[counting->loop],
                                         &cache->space, deja_slice_text("counter"), &change),
                         DEJA_OK);
    }
}

/* Each cache is counted up on all its loops at the same time. */
static void count_up(struct cache *const *caches, size_t cache_count)
{
    struct counting counting[2 * ORIGINS];
    size_t count = 0;
    struct dj_task tasks[2 * ORIGINS];
    for (size_t c = 0; c < cache_count; c++)
        for (uint32_t i = 0; i < ORIGINS; i++) {
            counting[count] = (struct counting){.cache = caches[c], .loop = i, .left = CHANGES};
            event_init(&counting[count].ended);
            tasks[count] = (struct dj_task){.run = start_counting, .ctx = &counting[count]};
            dj_loop_post(caches[c]->fixture->loops.loop[i], &tasks[count]);
            count++;
        }
    for (size_t i = 0; i < count; i++)
        event_wait(&counting[i].ended);
}

static void concurrent_increments_are_all_counted(void **state)
{
    (void)state;
    struct cache cache;
    struct cache *const caches[] = {&cache};
    char total[16];
    cache_open_disk(&cache);
    count_up(caches, 1);
    snprintf(total, sizeof total, "%d", CHANGES * ORIGINS);
    expect(&cache, "counter", total, "memory");
    restart(&cache);
    expect(&cache, "counter", total, "lmdb");
    cache_close(&cache);
}

static void increments_of_two_programs_are_all_counted(void **state)
{
    (void)state;
    static struct scripted shared;
    struct cache a = {0};
    struct cache b = {0};
    struct cache *const caches[] = {&a, &b};
    char total[16];
    shared = (struct scripted){.lock = PTHREAD_MUTEX_INITIALIZER};
    add_tier(&a.disk.fixture, &shared, "redis", true);
    add_tier(&b.disk.fixture, &shared, "redis", true);
    cache_open_shared(&a);
    cache_open_shared(&b);
    count_up(caches, 2);
    snprintf(total, sizeof total, "%d", 2 * CHANGES * ORIGINS);
    struct plain_call call = plain_call(&a, "counter");
    call.skip = MEMORY;
    expect_got(&call, total, "redis");
    assert_int_equal(shared.locks[0].is_held, false);
    assert_true(shared.lockings > 0);
    cache_close(&a);
    cache_close(&b);
    for (size_t i = 0; i < shared.entry_count; i++)
        dj_value_unref(shared.entries[i].value);
}

static void sick_lock_leaves_changes_of_this_program(void **state)
{
    (void)state;
    static struct scripted shared;
    struct cache cache = {0};
    shared = (struct scripted){.lock = PTHREAD_MUTEX_INITIALIZER};
    add_tier(&cache.disk.fixture, &shared, "redis", true);
    cache_open_shared(&cache);
    shared.is_refusing = true;
    struct plain_call call = plain_call(&cache, "a");
    call.change.mode = DJ_PLAIN_LOOKING;
    call.body = deja_slice_text("1");
    run_plain(&call, start_plain_change);
    assert_true(call.is_stored); /* memory has it */
    call.is_only_if_absent = true;
    run_plain(&call, start_plain_change);
    assert_int_equal(call.decided, DJ_PLAIN_KEEP);
    shared.is_refusing = false;
    cache_close(&cache);
}

static void lock_of_another_program_ends_in_busy(void **state)
{
    (void)state;
    static struct scripted shared;
    struct cache cache = {0};
    shared = (struct scripted){.lock = PTHREAD_MUTEX_INITIALIZER};
    add_tier(&cache.disk.fixture, &shared, "redis", true);
    fixture_start(&cache.disk.fixture);
    cache.fixture = &cache.disk.fixture;
    const struct dj_plain_options options = {.engine = cache.fixture->engine,
                                             .loops = cache.fixture->loops.loop,
                                             .loop_count = LOOPS,
                                             .lease_ms = 1,
                                             .wait_ms = 1};
    assert_int_equal(dj_plain_create(&options, &cache.plain), DEJA_OK);
    cache.space = space_of(tenant_a, "");
    pull_now(cache.fixture);
    shared.locks[0] = (struct scripted_lock){.is_held = true};
    dj_plain_key(&cache.space, deja_slice_text("a"), &shared.locks[0].key);
    struct plain_call call = plain_call(&cache, "a");
    call.change.mode = DJ_PLAIN_LOOKING;
    run_plain(&call, start_plain_change);
    assert_int_equal(call.status, DEJA_ERR_BUSY);
    assert_int_equal(call.decided, DJ_PLAIN_KEEP);
    cache_close(&cache);
}

static void what_may_lie_only_where_it_is_sealed_stays_there_however_it_is_changed(void **state)
{
    (void)state;
    static struct scripted shared;
    struct cache cache = {0};
    shared = (struct scripted){.lock = PTHREAD_MUTEX_INITIALIZER};
    add_tier(&cache.disk.fixture, &shared, "redis", true);
    fixture_start(&cache.disk.fixture);
    cache.fixture = &cache.disk.fixture;
    const struct dj_plain_options options = {.engine = cache.fixture->engine,
                                             .loops = cache.fixture->loops.loop,
                                             .loop_count = LOOPS,
                                             .wait_ms = 60000,
                                             .unsealed = ~DJ_LEVEL_BIT(DJ_LEVEL_MEMORY)};
    assert_int_equal(dj_plain_create(&options, &cache.plain), DEJA_OK);
    cache.space = space_of(tenant_a, "");
    pull_now(cache.fixture);
    struct plain_call call = plain_call(&cache, "a");
    call.body = deja_slice_text("v");
    call.metadata = deja_slice_text("{\"type\":\"x/y\"," DJ_PLAIN_SEALED_ONLY "}");
    run_plain(&call, start_plain_change);
    assert_int_equal(call.decided, DJ_PLAIN_PUT);
    assert_int_equal(shared.puts, 0);
    /* As a text it is no mark. */
    call.metadata = deja_slice_text("{\"type\":\"\\\"sealed_only\\\":true\"}");
    run_plain(&call, start_plain_change);
    assert_int_equal(shared.puts, 1);
    cache_close(&cache);
    scripted_fini(&shared);
}

static void change_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct cache cache;
    cache_open(&cache);
    /* On its own loop, whose thread is not this one's: only what the caller allocates fails. */
    for (size_t n = 1;; n++) {
        struct plain_call call = plain_call(&cache, "a");
        event_init(&call.ended);
        const struct dj_plain_change change = {
            .change = decide, .done = on_plain_changed, .ctx = &call};
        uint32_t home = 0;
        struct dj_store_key key;
        dj_plain_key(&cache.space, call.key, &key);
        home = dj_engine_home(cache.fixture->engine, &key);
        call.loop = (home + 1) % LOOPS;
        failing_malloc_arm(n);
        enum deja_status status =
            dj_plain_change(cache.plain, loop_of(&call), &cache.space, call.key, &change);
        bool has_failed = failing_malloc_disarm();
        if (status == DEJA_OK)
            event_wait(&call.ended);
        if (!has_failed) {
            assert_int_equal(status, DEJA_OK);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
    }
    cache_close(&cache);
}

struct failing {
    struct plain_call call;
    size_t n;
    bool has_failed;
};

static void start_failing(void *ctx)
{
    struct failing *failing = ctx;
    failing_malloc_arm(failing->n);
    start_plain_change(&failing->call);
    failing->has_failed = failing_malloc_disarm();
}

static void change_at_home_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct cache cache;
    cache_open(&cache);
    for (size_t n = 2;; n++) { /* the first is the caller's */
        struct failing failing = {.call = plain_call(&cache, "a"), .n = n};
        struct dj_store_key key;
        dj_plain_key(&cache.space, failing.call.key, &key);
        failing.call.loop = dj_engine_home(cache.fixture->engine, &key);
        failing.call.change.mode = DJ_PLAIN_LOOKING;
        failing.call.body = deja_slice_text("some value");
        event_init(&failing.call.ended);
        on_loop(loop_of(&failing.call), start_failing, &failing);
        event_wait(&failing.call.ended);
        if (!failing.has_failed) {
            assert_int_equal(failing.call.status, DEJA_OK);
            assert_true(failing.call.is_stored);
            break;
        }
        assert_true(failing.call.status == DEJA_ERR_NOMEM || !failing.call.is_stored);
    }
    expect(&cache, "a", "some value", "memory");
    cache_close(&cache);
}

static void plain_create_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct cache cache = {0};
    fixture_open(&cache.disk.fixture);
    cache.fixture = &cache.disk.fixture;
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = try_plain(&cache);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(cache.plain);
    }
    dj_plain_destroy(NULL);
    cache.space = space_of(tenant_a, "");
    cache_close(&cache);
}

/* ---- many keys ---- */

struct many_call {
    struct cache *cache;
    struct event ended;
    struct deja_slice keys[4];
    char bodies[4][16];
    char levels[4][16];
};

static void on_got_many(void *ctx, struct dj_value **values, const char **levels, size_t count)
{
    struct many_call *call = ctx;
    assert_int_equal(count, 4);
    for (size_t i = 0; i < count; i++) {
        struct deja_slice body = values[i] ? dj_value_entry(values[i])->body : deja_slice_text("-");
        snprintf(call->bodies[i], sizeof call->bodies[i], "%.*s", (int)body.len, body.data);
        snprintf(call->levels[i], sizeof call->levels[i], "%s", levels[i] ? levels[i] : "");
        dj_value_unref(values[i]);
    }
    event_set(&call->ended);
}

static void start_many(void *ctx)
{
    struct many_call *call = ctx;
    struct dj_loop *loop = call->cache->fixture->loops.loop[2];
    assert_int_equal(dj_plain_get_many(call->cache->plain, loop, &call->cache->space, call->keys, 4,
                                       0, call, on_got_many),
                     DEJA_OK);
    assert_int_equal(dj_plain_get_many(call->cache->plain, loop, &call->cache->space, call->keys, 0,
                                       0, call, on_got_many),
                     DEJA_ERR_INVALID);
}

static void many_keys_come_in_order_whatever_tier_has_them(void **state)
{
    (void)state;
    struct cache cache;
    struct dj_plain_stats stats;
    cache_open_disk(&cache);
    set(&cache, "a", "1");
    set(&cache, "b", "2");
    restart(&cache);
    set(&cache, "c", "3");
    struct many_call call = {.cache = &cache,
                             .keys = {deja_slice_text("c"), deja_slice_text("x"),
                                      deja_slice_text("a"), deja_slice_text("b")}};
    event_init(&call.ended);
    on_loop(cache.fixture->loops.loop[2], start_many, &call);
    event_wait(&call.ended);
    assert_string_equal(call.bodies[0], "3");
    assert_string_equal(call.bodies[1], "-");
    assert_string_equal(call.bodies[2], "1");
    assert_string_equal(call.bodies[3], "2");
    assert_string_equal(call.levels[0], "memory");
    assert_string_equal(call.levels[2], "lmdb");
    dj_plain_stats(cache.plain, tenant_a, &stats);
    assert_int_equal(stats.hits[DJ_LEVEL_MEMORY], 1);
    assert_int_equal(stats.hits[DJ_LEVEL_LMDB], 2);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.waiting, 0);
    cache_close(&cache);
}

enum { NAMES = 90 };

struct scan_call {
    struct cache *cache;
    struct event ended;
    const struct dj_plain_space *space;
    struct dj_plain_selector selector;
    uint64_t cursor;
    uint32_t limit;
    bool is_removing;
    enum deja_status status;
    uint32_t told[NAMES];
    uint32_t count;
    struct dj_plain_sum sum;
};

static void on_scanned(void *ctx, enum deja_status status, uint64_t cursor,
                       struct dj_value *const *values, size_t count)
{
    struct scan_call *call = ctx;
    call->status = status;
    call->cursor = cursor;
    for (size_t i = 0; i < count; i++) {
        struct deja_slice key = dj_value_entry(values[i])->query;
        assert_int_equal(key.len, 5); /* "k:NNN" */
        unsigned number = 0;
        for (size_t at = 2; at < key.len; at++)
            number = number * 10 + (unsigned)(key.data[at] - '0');
        assert_true(number < NAMES);
        call->told[number]++;
    }
    call->count += (uint32_t)count;
    event_set(&call->ended);
}

static void start_scan(void *ctx)
{
    struct scan_call *call = ctx;
    assert_int_equal(dj_plain_scan(call->cache->plain, call->cache->fixture->loops.loop[1],
                                   call->space, &call->selector, call->cursor, call->limit, call,
                                   on_scanned),
                     DEJA_OK);
}

static void run_scan(struct scan_call *call, dj_task_fn *start)
{
    event_init(&call->ended);
    on_loop(call->cache->fixture->loops.loop[1], start, call);
    event_wait(&call->ended);
    assert_int_equal(call->status, DEJA_OK);
}

static uint32_t scan_all(struct scan_call *call)
{
    uint32_t pieces = 0;
    call->count = 0;
    memset(call->told, 0, sizeof call->told);
    do {
        run_scan(call, start_scan);
        pieces++;
    } while (call->cursor);
    return pieces;
}

static void on_counted(void *ctx, enum deja_status status, const struct dj_plain_sum *sum)
{
    struct scan_call *call = ctx;
    call->status = status;
    call->sum = *sum;
    event_set(&call->ended);
}

static void start_sum(void *ctx)
{
    struct scan_call *call = ctx;
    struct dj_loop *loop = call->cache->fixture->loops.loop[1];
    enum deja_status status = call->is_removing
                                  ? dj_plain_clear(call->cache->plain, loop, call->space,
                                                   &call->selector, call, on_counted)
                                  : dj_plain_count(call->cache->plain, loop, call->space,
                                                   &call->selector, call, on_counted);
    assert_int_equal(status, DEJA_OK);
}

static void set_names(struct cache *cache)
{
    char key[8];
    for (int i = 0; i < NAMES; i++) {
        snprintf(key, sizeof key, "k:%03d", i);
        set(cache, key, "v");
    }
    struct plain_call call = plain_call(cache, "elsewhere");
    struct dj_plain_space other = space_of(tenant_a, "other");
    call.space = &other;
    run_plain(&call, start_plain_change);
    struct dj_entry entry = entry_of(cache->fixture, tenant_a, 9, "no plain key");
    put_all(cache->fixture, &entry);
}

static void scan_tells_each_key_once(void **state)
{
    (void)state;
    struct cache cache;
    cache_open_disk(&cache);
    set_names(&cache);
    struct scan_call call = {.cache = &cache, .space = &cache.space, .limit = 10};
    assert_true(scan_all(&call) > 1);
    for (size_t i = 0; i < NAMES; i++)
        assert_int_equal(call.told[i], 1);
    call.selector.pattern = deja_slice_text("k:01?");
    scan_all(&call);
    assert_int_equal(call.count, 10);
    call.cursor = 4711; /* nobody's */
    run_scan(&call, start_scan);
    assert_int_equal(call.cursor, 0);
    cache_close(&cache);
}

static void count_and_clear_are_of_one_space_and_pattern(void **state)
{
    (void)state;
    struct cache cache;
    cache_open_disk(&cache);
    set_names(&cache);
    struct dj_plain_space other = space_of(tenant_a, "other");
    struct scan_call call = {.cache = &cache, .space = &cache.space};
    run_scan(&call, start_sum);
    assert_int_equal(call.sum.keys, NAMES);
    assert_int_equal(call.sum.bytes, NAMES * 6);
    call.selector.pattern = deja_slice_text("k:00*");
    call.is_removing = true;
    run_scan(&call, start_sum);
    assert_int_equal(call.sum.keys, 10);
    expect(&cache, "k:005", NULL, "");
    expect(&cache, "k:010", "v", "memory");
    call.selector.pattern = deja_slice(NULL, 0);
    run_scan(&call, start_sum);
    assert_int_equal(call.sum.keys, NAMES - 10);
    call.is_removing = false;
    run_scan(&call, start_sum);
    assert_int_equal(call.sum.keys, 0);
    call.space = &other;
    run_scan(&call, start_sum);
    assert_int_equal(call.sum.keys, 1);
    cache_close(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_that_was_set_is_got),
        cmocka_unit_test(key_outlives_a_restart_and_is_promoted),
        cmocka_unit_test(any_bytes_are_a_key_and_a_value),
        cmocka_unit_test(removed_key_is_a_miss_on_every_tier),
        cmocka_unit_test(expired_key_is_a_miss_and_a_past_end_removes),
        cmocka_unit_test(change_sees_what_is_there),
        cmocka_unit_test(key_too_long_or_empty_is_refused),
        cmocka_unit_test(invalidated_tag_takes_its_keys_along),
        cmocka_unit_test(tenants_namespaces_and_users_have_keys_of_their_own),
        cmocka_unit_test(concurrent_increments_are_all_counted),
        cmocka_unit_test(increments_of_two_programs_are_all_counted),
        cmocka_unit_test(sick_lock_leaves_changes_of_this_program),
        cmocka_unit_test(lock_of_another_program_ends_in_busy),
        cmocka_unit_test(what_may_lie_only_where_it_is_sealed_stays_there_however_it_is_changed),
        cmocka_unit_test(change_survives_each_failed_allocation),
        cmocka_unit_test(change_at_home_survives_each_failed_allocation),
        cmocka_unit_test(plain_create_survives_each_failed_allocation),
        cmocka_unit_test(many_keys_come_in_order_whatever_tier_has_them),
        cmocka_unit_test(scan_tells_each_key_once),
        cmocka_unit_test(count_and_clear_are_of_one_space_and_pattern),
    };
    return RUN_TESTS(tests);
}
