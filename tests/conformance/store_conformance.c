/* What every tier does the same, whatever is behind its table: store_conformance TIER [guarded]
 * [sealed].
 *
 * One suite for all: a tier that is wrong here is wrong in the same words as any other. What
 * differs on purpose is a member of struct backend (backends.h) and a paragraph of docs/tiers.md.
 */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "backends.h"

#define AN_HOUR_MS 3600000
#define SKEW_MS 1000 /* what is promised of an end: within a second */

enum { LISTED = 150, MANY = 400, VERSIONS = 64 };

static struct dj_loop *loop_of(const struct fixture *fixture)
{
    return fixture->loops.loop[0];
}

/* ---- shorter words ---- */

static void put(struct fixture *fixture, struct dj_value *value)
{
    assert_int_equal(wait_put(fixture->store, loop_of(fixture), value), DEJA_OK);
}

static void put_text(struct fixture *fixture, uint32_t tenant, uint32_t id, uint64_t version,
                     const char *body)
{
    put(fixture, value_of(fixture->tenant + tenant, id, version, body));
}

static struct dj_value *get(struct fixture *fixture, uint32_t tenant, uint32_t id)
{
    return wait_get(fixture->store, fixture->loops.loop[1], key_of(fixture->tenant + tenant, id));
}

static bool has(struct fixture *fixture, uint32_t tenant, uint32_t id, const char *body)
{
    struct dj_value *value = get(fixture, tenant, id);
    bool is_it = value && deja_slice_is_equal(dj_value_entry(value)->body, deja_slice_text(body));
    dj_value_unref(value);
    return is_it;
}

static bool is_miss(struct fixture *fixture, uint32_t tenant, uint32_t id)
{
    struct dj_value *value = get(fixture, tenant, id);
    dj_value_unref(value);
    return !value;
}

static uint64_t remove_up_to(struct fixture *fixture, uint32_t tenant, uint32_t id,
                             uint64_t version)
{
    struct call call = {.store = fixture->store,
                        .loop = loop_of(fixture),
                        .kind = CALL_REMOVE,
                        .key = key_of(fixture->tenant + tenant, id),
                        .version_max = version};
    call_wait(&call);
    assert_int_equal(call.status, DEJA_OK);
    return call.removed;
}

static uint64_t clear(struct fixture *fixture, uint32_t tenant)
{
    return wait_clear(fixture->store, loop_of(fixture), key_of(fixture->tenant + tenant, 0));
}

/* ---- one entry ---- */

static void what_is_put_is_got_whole(struct fixture *fixture)
{
    static const char body[] = "\0\x01\xff\xfe{}[]*?\r\n\"'\\%s$1;--\xc3\x28 end";
    static const char odd[] = "ns{v:1}:*\r\n'\"\\ \xf0\x9f\x98\x80";
    struct dj_entry entry = entry_of(fixture->tenant, 1, 7, "");
    entry.body = deja_slice(body, sizeof body - 1);
    entry.created_ms = dj_clock_now_ms();
    entry.expires_ms = entry.created_ms + AN_HOUR_MS;
    entry.stale_until_ms = entry.expires_ms + AN_HOUR_MS;
    entry.kind = DJ_ENTRY_BYTES;
    entry.tenant_generation = UINT64_MAX - 1;
    entry.input_tokens = 4000000000u;
    entry.output_tokens = 17;
    entry.cost_usd = 0.1 + 0.2;
    entry.make_ms = 1234;
    entry.query = deja_slice_text("What is 1 + 1?");
    entry.name_space = deja_slice_text(odd);
    entry.model = deja_slice_text("m:odel/1");
    entry.provider = deja_slice_text("p");
    entry.metadata = deja_slice_text("{\"a\":[1,2,{\"b\":null}]}");
    entry.tag_count = 2;
    entry.tags[0] = (struct dj_entry_tag){.name = deja_slice_text("user:1"), .generation = 3};
    entry.tags[1] = (struct dj_entry_tag){.name = deja_slice_text(odd), .generation = 0};
    memset(entry.exact, 0xab, sizeof entry.exact);
    memset(entry.scope, 0x80, sizeof entry.scope);
    struct dj_value *value = NULL;
    assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
    put(fixture, value);

    struct dj_value *found = get(fixture, 0, 1);
    assert_non_null(found);
    const struct dj_entry *back = dj_value_entry(found);
    assert_memory_equal(back->tenant, entry.tenant, sizeof entry.tenant);
    assert_memory_equal(back->id, entry.id, sizeof entry.id);
    assert_memory_equal(back->exact, entry.exact, sizeof entry.exact);
    assert_memory_equal(back->scope, entry.scope, sizeof entry.scope);
    assert_true(back->version == entry.version && back->created_ms == entry.created_ms);
    assert_true(back->expires_ms == entry.expires_ms &&
                back->stale_until_ms == entry.stale_until_ms);
    assert_true(back->kind == entry.kind && back->tenant_generation == entry.tenant_generation);
    assert_true(back->input_tokens == entry.input_tokens &&
                back->output_tokens == entry.output_tokens && back->make_ms == entry.make_ms);
    assert_true(memcmp(&back->cost_usd, &entry.cost_usd, sizeof entry.cost_usd) == 0);
    assert_true(deja_slice_is_equal(back->body, entry.body));
    assert_true(deja_slice_is_equal(back->query, entry.query));
    assert_true(deja_slice_is_equal(back->name_space, entry.name_space));
    assert_true(deja_slice_is_equal(back->model, entry.model));
    assert_true(deja_slice_is_equal(back->provider, entry.provider));
    assert_true(deja_slice_is_equal(back->metadata, entry.metadata));
    assert_int_equal(back->tag_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(deja_slice_is_equal(back->tags[i].name, entry.tags[i].name));
        assert_true(back->tags[i].generation == entry.tags[i].generation);
    }
    dj_value_unref(found);
}

static void what_is_not_there_is_a_miss_and_no_error(struct fixture *fixture)
{
    assert_true(is_miss(fixture, 0, 1));
    assert_int_equal(remove_up_to(fixture, 0, 1, 0), 0);
    assert_int_equal(clear(fixture, 0), 0);
}

static void newer_version_overwrites_and_older_or_equal_does_not(struct fixture *fixture)
{
    put_text(fixture, 0, 1, 5, "five");
    put_text(fixture, 0, 1, 4, "four");
    assert_true(has(fixture, 0, 1, "five"));
    put_text(fixture, 0, 1, 5, "another five");
    assert_true(has(fixture, 0, 1, "five"));
    put_text(fixture, 0, 1, UINT64_MAX - 1, "huge");
    assert_true(has(fixture, 0, 1, "huge"));
    put_text(fixture, 0, 1, 6, "six");
    assert_true(has(fixture, 0, 1, "huge"));
}

static void remove_tells_what_was_there_and_leaves_a_miss(struct fixture *fixture)
{
    put_text(fixture, 0, 1, 5, "five");
    assert_int_equal(remove_up_to(fixture, 0, 1, 0), 1);
    assert_true(is_miss(fixture, 0, 1));
    assert_int_equal(remove_up_to(fixture, 0, 1, 0), 0);
}

static void remove_spares_what_is_newer_than_its_version(struct fixture *fixture)
{
    put_text(fixture, 0, 1, 5, "five");
    assert_int_equal(remove_up_to(fixture, 0, 1, 4), 0);
    assert_true(has(fixture, 0, 1, "five"));
    assert_int_equal(remove_up_to(fixture, 0, 1, 5), 1);
    assert_true(is_miss(fixture, 0, 1));
}

static void late_write_does_not_bring_back_what_was_removed(struct fixture *fixture)
{
    put_text(fixture, 0, 1, 5, "five");
    assert_int_equal(remove_up_to(fixture, 0, 1, 5), 1);
    put_text(fixture, 0, 1, 5, "late five");
    put_text(fixture, 0, 1, 3, "late three");
    assert_true(is_miss(fixture, 0, 1) || !fixture->backend->has_tombstones);
    put_text(fixture, 0, 1, 6, "six");
    assert_true(has(fixture, 0, 1, "six"));
    /* A removal may be told before the write it forbids. */
    assert_int_equal(remove_up_to(fixture, 0, 2, 9), 0);
    put_text(fixture, 0, 2, 8, "late eight");
    assert_true(is_miss(fixture, 0, 2) || !fixture->backend->has_tombstones);
    put_text(fixture, 0, 2, 10, "ten");
    assert_true(has(fixture, 0, 2, "ten"));
}

/* ---- tenants ---- */

static void tenants_do_not_meet(struct fixture *fixture)
{
    for (uint32_t tenant = 0; tenant < 3; tenant++)
        put_text(fixture, tenant, 1, 5, tenant == 0 ? "a" : tenant == 1 ? "b" : "c");
    assert_true(has(fixture, 0, 1, "a") && has(fixture, 1, 1, "b") && has(fixture, 2, 1, "c"));
    assert_int_equal(remove_up_to(fixture, 1, 1, 0), 1);
    assert_true(has(fixture, 0, 1, "a") && is_miss(fixture, 1, 1) && has(fixture, 2, 1, "c"));
    assert_int_equal(clear(fixture, 2), 1);
    assert_true(has(fixture, 0, 1, "a") && is_miss(fixture, 2, 1));
}

static void clear_takes_all_of_a_tenant_and_lets_it_begin_anew(struct fixture *fixture)
{
    for (uint32_t id = 1; id <= 20; id++)
        put_text(fixture, 0, id, 5, "body");
    assert_int_equal(clear(fixture, 0), 20);
    for (uint32_t id = 1; id <= 20; id++)
        assert_true(is_miss(fixture, 0, id));
    put_text(fixture, 0, 3, 6, "again");
    assert_true(has(fixture, 0, 3, "again"));
}

/* ---- time ---- */

static void what_has_ended_is_a_miss_and_what_is_stale_is_not(struct fixture *fixture)
{
    int64_t now_ms = dj_clock_now_ms();
    put(fixture, value_until(fixture->tenant, 1, now_ms - 60000, 0));
    put(fixture, value_until(fixture->tenant, 2, now_ms - 60000, now_ms + AN_HOUR_MS));
    put(fixture, value_until(fixture->tenant, 3, now_ms + AN_HOUR_MS, 0));
    put(fixture, value_until(fixture->tenant, 4, now_ms - 60000, now_ms - 30000));
    put(fixture, value_until(fixture->tenant, 5, 0, 0));
    assert_true(is_miss(fixture, 0, 1));
    assert_true(has(fixture, 0, 2, "body"));
    assert_true(has(fixture, 0, 3, "body"));
    assert_true(is_miss(fixture, 0, 4));
    assert_true(has(fixture, 0, 5, "body"));
}

static void entry_ends_while_it_is_kept(struct fixture *fixture)
{
    int64_t end_ms = dj_clock_now_ms() + 700;
    const struct timespec turn = {.tv_nsec = 20000000};
    bool is_there = true;
    put(fixture, value_until(fixture->tenant, 1, end_ms, 0));
    put(fixture, value_until(fixture->tenant, 2, end_ms, 0));
    while (is_there) {
        int64_t asked_ms = dj_clock_now_ms();
        is_there = has(fixture, 0, 1, "body");
        assert_false(is_there && asked_ms > end_ms + SKEW_MS);
        nanosleep(&turn, NULL);
    }
    assert_true(dj_clock_now_ms() > end_ms - SKEW_MS);
    while (dj_clock_now_ms() <= end_ms + SKEW_MS)
        nanosleep(&turn, NULL);
    assert_int_equal(remove_up_to(fixture, 0, 2, 0), 0); /* it was not there */
    struct dj_entry entry = entry_of(fixture->tenant, 1, 2, "newer");
    struct dj_value *value = NULL;
    assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
    put(fixture, value);
    assert_true(has(fixture, 0, 1, "newer"));
}

/* ---- lists ---- */

/* How often each id below count was met, over all pieces; others are counted at 0. */
static void list_ids(struct fixture *fixture, uint32_t tenant, uint8_t *met, uint32_t count)
{
    struct dj_store_page page = {.position = 0};
    memset(met, 0, count);
    for (unsigned pieces = 0; !page.is_last; pieces++) {
        struct call call = {.store = fixture->store,
                            .loop = loop_of(fixture),
                            .kind = CALL_LIST,
                            .key = key_of(fixture->tenant + tenant, 0),
                            .page = &page};
        assert_true(pieces < 10000);
        call_wait(&call);
        assert_int_equal(call.status, DEJA_OK);
        assert_true(page.count <= DJ_STORE_PAGE_MAX);
        for (uint32_t i = 0; i < page.count; i++) {
            uint32_t id = 0;
            const struct dj_entry *entry = dj_value_entry(page.values[i]);
            assert_memory_equal(entry->tenant, call.key.tenant, sizeof entry->tenant);
            memcpy(&id, entry->id, sizeof id);
            met[id < count ? id : 0]++;
            dj_value_unref(page.values[i]);
        }
    }
}

static void list_meets_every_entry_of_its_tenant_once(struct fixture *fixture)
{
    static uint8_t met[LISTED + 1];
    if (!fixture->store->ops->list) {
        print_message("%s has no lists\n", fixture->backend->name);
        return;
    }
    list_ids(fixture, 0, met, LISTED + 1);
    for (uint32_t id = 0; id <= LISTED; id++)
        assert_int_equal(met[id], 0);
    for (uint32_t id = 1; id <= LISTED; id++)
        put_text(fixture, 0, id, 5, "body");
    put_text(fixture, 1, 1000, 5, "another's");
    put(fixture, value_until(fixture->tenant, 2000, dj_clock_now_ms() - 60000, 0));
    for (uint32_t id = 10; id <= LISTED; id += 10)
        assert_int_equal(remove_up_to(fixture, 0, id, 0), 1);
    list_ids(fixture, 0, met, LISTED + 1);
    assert_int_equal(met[0], 0);
    for (uint32_t id = 1; id <= LISTED; id++)
        assert_int_equal(met[id], id % 10 == 0 ? 0 : 1);
    /* Nor was another's row met and taken for a damaged one. */
    struct dj_store_stats stats = {0};
    fixture->store->ops->stats(fixture->store, NULL, &stats);
    assert_int_equal(stats.corrupt, 0);
}

/* ---- search ---- */

static void put_vector(struct fixture *fixture, uint32_t tenant, uint32_t id, uint8_t scope)
{
    static const float vector[4] = {1, 2, 3, 4};
    struct dj_entry entry = entry_of(fixture->tenant + tenant, id, 5, "body");
    struct call call = {.store = fixture->store,
                        .loop = loop_of(fixture),
                        .kind = CALL_PUT,
                        .vector = vector,
                        .dim = 4};
    memset(entry.scope, scope, sizeof entry.scope);
    entry.embedder_id = deja_slice_text("test");
    assert_int_equal(dj_value_create(&entry, &call.value), DEJA_OK);
    call_wait(&call);
    dj_value_unref(call.value);
    assert_int_equal(call.status, DEJA_OK);
}

/* The same vector is everywhere. */
static void search_stays_within_its_tenant_and_scope(struct fixture *fixture)
{
    static const float vector[4] = {1, 2, 3, 4};
    struct dj_store_search search = {
        .embedder_id = deja_slice_text("test"), .vector = vector, .dim = 4, .limit = 10};
    struct call call = {
        .store = fixture->store, .loop = loop_of(fixture), .kind = CALL_SEARCH, .search = &search};
    if (!fixture->store->ops->search) {
        print_message("%s has no search\n", fixture->backend->name);
        return;
    }
    for (uint32_t tenant = 0; tenant < 3; tenant++)
        for (uint32_t id = 1; id <= 4; id++)
            put_vector(fixture, tenant, tenant * 10 + id, (uint8_t)(id % 2 + 1));
    uint8_t scope[DJ_ID_BYTES];
    memset(scope, 1, sizeof scope);
    for (unsigned is_all = 0; is_all < 2; is_all++) {
        search.scope = is_all ? NULL : scope;
        memcpy(search.tenant, key_of(fixture->tenant + 1, 0).tenant, sizeof search.tenant);
        call.is_done = false;
        call_wait(&call);
        assert_int_equal(call.status, DEJA_OK);
        assert_int_equal(call.match_count, is_all ? 4 : 2);
        for (uint32_t i = 0; i < call.match_count; i++) {
            assert_in_range(call.matches[i].id[0], 11, 14);
            if (!is_all)
                assert_int_equal(call.matches[i].id[0] % 2, 0);
        }
    }
}

/* ---- sizes ---- */

static void fill_noise(char *bytes, size_t len)
{
    uint64_t x = 0x9e3779b97f4a7c15u + len;
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes[i] = (char)x;
    }
}

static void bodies_of_any_size_come_back_the_same(struct fixture *fixture)
{
    static const size_t sizes[] = {0, 1, 1023, 1024, 65535, 65536, 1u << 20, (9u << 20) + 7};
    char *body = malloc(sizes[7]);
    assert_non_null(body);
    for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct dj_value *value = NULL;
        struct dj_entry entry = entry_of(fixture->tenant, i + 1, 1, "");
        fill_noise(body, sizes[i]);
        entry.body = deja_slice(body, sizes[i]);
        assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
        put(fixture, value);
        struct dj_value *found = get(fixture, 0, i + 1);
        assert_non_null(found);
        assert_int_equal(dj_value_entry(found)->body.len, sizes[i]);
        assert_memory_equal(sizes[i] ? dj_value_entry(found)->body.data : "", body, sizes[i]);
        dj_value_unref(found);
    }
    free(body);
}

/* ---- many at once ---- */

struct crowd {
    struct fixture *fixture;
    struct crowd_call {
        struct crowd *crowd;
        uint32_t id;
        uint64_t version;
        uint32_t ended; /* how often */
        uint64_t found; /* version; 0: a miss */
        enum deja_status status;
    } calls[MANY];
    uint32_t count;
    bool is_get;
    uint32_t ended;
    struct dj_task tasks[LOOPS];
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static void end_of_call(struct crowd_call *call, enum deja_status status, uint64_t found)
{
    struct crowd *crowd = call->crowd;
    pthread_mutex_lock(&crowd->mutex);
    call->status = status;
    call->found = found;
    call->ended++;
    crowd->ended++;
    pthread_cond_signal(&crowd->cond);
    pthread_mutex_unlock(&crowd->mutex);
}

static void on_crowd_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    end_of_call(ctx, status, value ? dj_value_entry(value)->version : 0);
    dj_value_unref(value);
}

static void on_crowd_done(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)removed;
    end_of_call(ctx, status, 0);
}

/* Every second call, all in one turn of the loop. */
static void run_crowd(struct crowd *crowd, uint32_t loop_index)
{
    struct dj_store *store = crowd->fixture->store;
    struct dj_loop *loop = crowd->fixture->loops.loop[loop_index];
    for (uint32_t i = loop_index; i < crowd->count; i += LOOPS) {
        struct crowd_call *call = &crowd->calls[i];
        struct dj_store_key key = key_of(crowd->fixture->tenant, call->id);
        enum deja_status status = DEJA_OK;
        if (crowd->is_get) {
            status = store->ops->get(store, loop, &key, call, on_crowd_got);
        } else {
            struct dj_value *value =
                value_of(crowd->fixture->tenant, call->id, call->version, "body");
            status = store->ops->put(store, loop, value, NULL, 0, call, on_crowd_done);
            dj_value_unref(value);
        }
        assert(status == DEJA_OK);
    }
}

static void run_crowd_0(void *ctx)
{
    run_crowd(ctx, 0);
}

static void run_crowd_1(void *ctx)
{
    run_crowd(ctx, 1);
}

static void wait_crowd(struct crowd *crowd, bool is_get)
{
    crowd->is_get = is_get;
    crowd->ended = 0;
    crowd->tasks[0] = (struct dj_task){.run = run_crowd_0, .ctx = crowd};
    crowd->tasks[1] = (struct dj_task){.run = run_crowd_1, .ctx = crowd};
    for (uint32_t i = 0; i < LOOPS; i++)
        dj_loop_post(crowd->fixture->loops.loop[i], &crowd->tasks[i]);
    pthread_mutex_lock(&crowd->mutex);
    while (crowd->ended < crowd->count)
        pthread_cond_wait(&crowd->cond, &crowd->mutex);
    pthread_mutex_unlock(&crowd->mutex);
    for (uint32_t i = 0; i < crowd->count; i++) {
        bool is_ok = crowd->calls[i].status == DEJA_OK;
        bool may_be_busy = !is_get && !crowd->fixture->backend->has_ordered_writers;
        assert_true(is_ok || (may_be_busy && crowd->calls[i].status == DEJA_ERR_BUSY));
        assert_int_equal(crowd->calls[i].ended, 1);
        crowd->calls[i].ended = 0;
    }
}

static struct crowd *crowd_of(struct fixture *fixture, uint32_t count)
{
    static struct crowd crowd;
    crowd = (struct crowd){.fixture = fixture,
                           .count = count,
                           .mutex = PTHREAD_MUTEX_INITIALIZER,
                           .cond = PTHREAD_COND_INITIALIZER};
    for (uint32_t i = 0; i < count; i++)
        crowd.calls[i] = (struct crowd_call){.crowd = &crowd, .id = i + 1, .version = i + 1};
    return &crowd;
}

static void many_at_once_from_two_loops_are_each_answered_once(struct fixture *fixture)
{
    struct crowd *crowd = crowd_of(fixture, MANY);
    wait_crowd(crowd, false);
    wait_crowd(crowd, true);
    for (uint32_t i = 0; i < MANY; i++)
        assert_true(crowd->calls[i].found == crowd->calls[i].version);
}

static void newest_of_many_versions_at_once_stays(struct fixture *fixture)
{
    struct crowd *crowd = crowd_of(fixture, VERSIONS);
    for (uint32_t i = 0; i < VERSIONS; i++) { /* in no order */
        crowd->calls[i].id = 1;
        crowd->calls[i].version = i * 37 % VERSIONS + 1;
    }
    wait_crowd(crowd, false);
    struct dj_value *value = get(fixture, 0, 1);
    assert_non_null(value);
    if (fixture->backend->has_ordered_writers)
        assert_int_equal(dj_value_entry(value)->version, VERSIONS);
    dj_value_unref(value);
    put_text(fixture, 0, 1, VERSIONS + 1, "newest");
    assert_true(has(fixture, 0, 1, "newest"));
    put_text(fixture, 0, 1, VERSIONS, "late");
    assert_true(has(fixture, 0, 1, "newest"));
}

/* ---- what only shared tiers have ---- */

struct answer {
    struct fixture *fixture;
    struct dj_loop *loop;
    struct dj_store_key key;
    uint8_t token[16];
    uint32_t lease_ms;
    enum { LOCK, UNLOCK, RAISE, PULL } kind;
    uint64_t since;
    enum deja_status status;
    uint64_t number;
    uint64_t pulled; /* the counter's, of the test's tenant; 0: not told */
    struct dj_task task;
    bool is_done;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static void end_of_answer(struct answer *answer, enum deja_status status, uint64_t value)
{
    pthread_mutex_lock(&answer->mutex);
    answer->status = status;
    answer->number = value;
    answer->is_done = true;
    pthread_cond_signal(&answer->cond);
    pthread_mutex_unlock(&answer->mutex);
}

static void on_answer_locked(void *ctx, enum deja_status status, bool is_held)
{
    end_of_answer(ctx, status, is_held);
}

static void on_answer_number(void *ctx, enum deja_status status, uint64_t value)
{
    end_of_answer(ctx, status, value);
}

static void on_counter(void *ctx, const struct dj_store_generation *counter)
{
    struct answer *answer = ctx;
    if (memcmp(counter->tenant, answer->key.tenant, DJ_ID_BYTES) == 0 &&
        deja_slice_is_equal(counter->tag, deja_slice_text("tag{v:1}")))
        answer->pulled = counter->generation;
}

static void run_answer(void *ctx)
{
    struct answer *answer = ctx;
    struct dj_store *store = answer->fixture->store;
    const struct dj_store_ops *ops = store->ops;
    enum deja_status status;
    if (answer->kind == LOCK)
        status = ops->lock(store, answer->loop, &answer->key, answer->token, answer->lease_ms,
                           answer, on_answer_locked);
    else if (answer->kind == UNLOCK)
        status =
            ops->unlock(store, answer->loop, &answer->key, answer->token, answer, on_answer_number);
    else if (answer->kind == RAISE)
        status = ops->raise(store, answer->loop, answer->key.tenant, deja_slice_text("tag{v:1}"),
                            answer, on_answer_number);
    else
        status =
            ops->pull(store, answer->loop, answer->since, answer, on_counter, on_answer_number);
    if (status != DEJA_OK)
        end_of_answer(answer, status, 0);
}

static uint64_t wait_answer(struct answer *answer)
{
    answer->is_done = false;
    answer->pulled = 0;
    answer->task = (struct dj_task){.run = run_answer, .ctx = answer};
    dj_loop_post(answer->loop, &answer->task);
    pthread_mutex_lock(&answer->mutex);
    while (!answer->is_done)
        pthread_cond_wait(&answer->cond, &answer->mutex);
    pthread_mutex_unlock(&answer->mutex);
    assert_int_equal(answer->status, DEJA_OK);
    return answer->number;
}

static struct answer answer_of(struct fixture *fixture, int kind)
{
    return (struct answer){.fixture = fixture,
                           .loop = loop_of(fixture),
                           .key = key_of(fixture->tenant, 1),
                           .token = "0123456789abcde",
                           .lease_ms = 60000,
                           .kind = kind,
                           .mutex = PTHREAD_MUTEX_INITIALIZER,
                           .cond = PTHREAD_COND_INITIALIZER};
}

static void lock_has_one_holder_and_ends_by_itself(struct fixture *fixture)
{
    if (!fixture->store->ops->lock) {
        print_message("%s has no locks\n", fixture->backend->name);
        return;
    }
    struct answer mine = answer_of(fixture, LOCK);
    struct answer theirs = answer_of(fixture, LOCK);
    struct answer key_of_mine = answer_of(fixture, UNLOCK);
    struct answer key_of_theirs = answer_of(fixture, UNLOCK);
    const struct timespec turn = {.tv_nsec = 20000000};
    theirs.token[0] = key_of_theirs.token[0] = 'x';
    assert_int_equal(wait_answer(&mine), 1);
    assert_int_equal(wait_answer(&theirs), 0);
    wait_answer(&key_of_theirs); /* frees nothing */
    assert_int_equal(wait_answer(&theirs), 0);
    wait_answer(&key_of_mine);
    theirs.lease_ms = 300;
    assert_int_equal(wait_answer(&theirs), 1);
    while (!wait_answer(&mine)) /* a tier where it never ended would end the test */
        nanosleep(&turn, NULL);
    wait_answer(&key_of_theirs); /* too late: it is another's now */
    theirs.lease_ms = 60000;
    assert_int_equal(wait_answer(&theirs), 0);
    wait_answer(&key_of_mine);
}

static void generations_only_grow_and_are_pulled_by_all(struct fixture *fixture)
{
    if (!fixture->store->ops->raise) {
        print_message("%s keeps no generations\n", fixture->backend->name);
        return;
    }
    struct answer raise = answer_of(fixture, RAISE);
    struct answer pull = answer_of(fixture, PULL);
    uint64_t before = wait_answer(&pull);
    uint64_t first = wait_answer(&raise);
    uint64_t second = wait_answer(&raise);
    assert_true(first > 0 && second > first);
    pull.loop = fixture->loops.loop[1];
    pull.since = before;
    uint64_t after = wait_answer(&pull);
    assert_true(pull.pulled == second);
    pull.since = after;
    wait_answer(&pull);
    assert_true(pull.pulled == 0 || pull.pulled == second); /* twice does no harm */
    pull.since = 0;
    wait_answer(&pull);
    assert_true(pull.pulled == second);
}

/* ---- the suite ---- */

static const struct test {
    const char *name;
    void (*run)(struct fixture *fixture);
} tests[] = {
#define TEST(name)  \
    {               \
#name, name \
    }
    TEST(what_is_put_is_got_whole),
    TEST(what_is_not_there_is_a_miss_and_no_error),
    TEST(newer_version_overwrites_and_older_or_equal_does_not),
    TEST(remove_tells_what_was_there_and_leaves_a_miss),
    TEST(remove_spares_what_is_newer_than_its_version),
    TEST(late_write_does_not_bring_back_what_was_removed),
    TEST(tenants_do_not_meet),
    TEST(clear_takes_all_of_a_tenant_and_lets_it_begin_anew),
    TEST(what_has_ended_is_a_miss_and_what_is_stale_is_not),
    TEST(entry_ends_while_it_is_kept),
    TEST(list_meets_every_entry_of_its_tenant_once),
    TEST(search_stays_within_its_tenant_and_scope),
    TEST(bodies_of_any_size_come_back_the_same),
    TEST(many_at_once_from_two_loops_are_each_answered_once),
    TEST(newest_of_many_versions_at_once_stays),
    TEST(lock_has_one_holder_and_ends_by_itself),
    TEST(generations_only_grow_and_are_pulled_by_all),
#undef TEST
};
#define TEST_COUNT (sizeof tests / sizeof *tests)

struct given {
    const struct backend *backend;
    struct wrappers wrappers;
    const struct test *test;
    uint32_t tenant;
};

static void run_given(void **state)
{
    const struct given *given = *state;
    struct fixture fixture;
    fixture_open(&fixture, given->backend, given->wrappers, given->tenant);
    given->test->run(&fixture);
    fixture_close(&fixture);
}

int main(int argc, char **argv)
{
    struct CMUnitTest made[TEST_COUNT];
    struct given given[TEST_COUNT];
    const struct backend *backend = NULL;
    for (size_t i = 0; argc > 1 && i < sizeof backends / sizeof *backends; i++)
        if (strcmp(backends[i].name, argv[1]) == 0)
            backend = &backends[i];
    struct wrappers wrappers = {false};
    int known = 2;
    for (; known < argc; known++)
        if (strcmp(argv[known], "guarded") == 0)
            wrappers.is_guarded = true;
        else if (strcmp(argv[known], "sealed") == 0)
            wrappers.is_sealed = true;
        else
            break;
    if (!backend || known < argc) {
        fputs("usage: store_conformance memory|lmdb|redis|postgres|s3 [guarded] [sealed]\n",
              stderr);
        return 2;
    }
    /* Tenants of its own, as a server may have those of another run. */
    uint32_t first = (uint32_t)getpid() << 10;
    for (size_t i = 0; i < TEST_COUNT; i++) {
        given[i] = (struct given){backend, wrappers, &tests[i], first + (uint32_t)i * 8};
        made[i] = (struct CMUnitTest){
            .name = tests[i].name, .test_func = run_given, .initial_state = &given[i]};
    }
    return RUN_TESTS(made);
}
