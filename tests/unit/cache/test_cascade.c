/* tests/unit/cache/test_cascade.c - what goes with something that changed: chains, diamonds,
 * cycles, bounds. */
#include "engine_fixture.h"

#include "base/num.h"
#include "cache/cascade.h"
#include "cache/depends.h"
#include "crypto/digest.h"

enum { NODES_MAX = 600 };

struct cascade_call {
    struct fixture *fixture;
    struct event ended;
    struct dj_cascade_options options;
    enum deja_status status;
    bool has_trouble;
    uint64_t removed;
    uint32_t depth;
    size_t count;
    struct {
        uint8_t number; /* first byte of its id */
        uint32_t depth;
        uint32_t parent;
        char because[64];
    } nodes[NODES_MAX];
};

static void on_cascaded(void *ctx, const struct dj_cascade_result *result)
{
    struct cascade_call *call = ctx;
    call->status = result->status;
    call->has_trouble = result->trouble != NULL;
    call->removed = result->removed;
    call->depth = result->depth;
    call->count = result->count;
    for (size_t i = 0; i < result->count && i < NODES_MAX; i++) {
        call->nodes[i].number = result->nodes[i].id[0];
        call->nodes[i].depth = result->nodes[i].depth;
        call->nodes[i].parent = result->nodes[i].parent;
        snprintf(call->nodes[i].because, sizeof call->nodes[i].because, "%.*s",
                 (int)result->nodes[i].because.len, result->nodes[i].because.data);
    }
    event_set(&call->ended);
}

static void start_cascade(void *ctx)
{
    struct cascade_call *call = ctx;
    assert_int_equal(dj_engine_cascade(call->fixture->engine, call->fixture->loops.loop[1],
                                       tenant_a, &call->options, call, on_cascaded),
                     DEJA_OK);
}

static void cascade(struct cascade_call *call)
{
    event_init(&call->ended);
    on_loop(call->fixture->loops.loop[1], start_cascade, call);
    event_wait(&call->ended);
}

/* An entry of that number that depends on names; its own name is its id in hex. */
static struct dj_entry depends(struct fixture *fixture, uint8_t number, const char *const *names)
{
    char bytes[4][DJ_DEPENDS_TAG_BYTES];
    struct dj_fill fill;
    struct dj_entry entry = entry_of(fixture, tenant_a, number, "");
    for (size_t i = 0; names && names[i]; i++)
        entry.tags[entry.tag_count++].name = dj_depends_tag(deja_slice_text(names[i]), bytes[i]);
    dj_engine_begin_fill(fixture->engine, &entry, &fill);
    assert_true(put(fixture, &entry));
    return entry;
}

static const char *hex_of(uint8_t number, char hex[2 * DJ_ID_BYTES + 1])
{
    uint8_t id[DJ_ID_BYTES];
    memset(id, number, sizeof id);
    dj_hex_encode(id, sizeof id, hex);
    return hex;
}

static bool is_there(struct fixture *fixture, uint8_t number)
{
    struct dj_store_key key;
    memcpy(key.tenant, tenant_a, sizeof key.tenant);
    memset(key.id, number, sizeof key.id);
    return is_found(fixture, key, 0);
}

static void dependants_of_dependants_go_and_a_dry_run_shows_them(void **state)
{
    (void)state;
    struct fixture fixture;
    char one[2 * DJ_ID_BYTES + 1];
    char two[2 * DJ_ID_BYTES + 1];
    fixture_open(&fixture);
    depends(&fixture, 1, (const char *const[]){"doc:7", NULL});
    depends(&fixture, 2, (const char *const[]){hex_of(1, one), NULL});
    depends(&fixture, 3, (const char *const[]){hex_of(2, two), NULL});
    depends(&fixture, 4, (const char *const[]){"doc:8", NULL});
    struct cascade_call call = {.fixture = &fixture,
                                .options = {.name = deja_slice_text("doc:7"), .is_dry_run = true}};
    cascade(&call);
    assert_int_equal(call.status, DEJA_OK);
    assert_int_equal(call.removed, 3);
    assert_int_equal(call.depth, 3);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(call.nodes[i].number, i + 1);
        assert_int_equal(call.nodes[i].depth, i + 1);
        assert_int_equal(call.nodes[i].parent, i ? i - 1u : UINT32_MAX);
    }
    assert_string_equal(call.nodes[0].because, "doc:7");
    assert_string_equal(call.nodes[1].because, one);
    assert_true(is_there(&fixture, 1) && is_there(&fixture, 3));
    call.options.is_dry_run = false;
    cascade(&call);
    assert_int_equal(call.removed, 3);
    assert_false(is_there(&fixture, 1) || is_there(&fixture, 2) || is_there(&fixture, 3));
    assert_true(is_there(&fixture, 4));
    fixture_close(&fixture);
}

static void a_diamond_goes_once_and_a_cycle_ends(void **state)
{
    (void)state;
    struct fixture fixture;
    char hex[6][2 * DJ_ID_BYTES + 1];
    fixture_open(&fixture);
    for (uint8_t i = 1; i < 6; i++)
        hex_of(i, hex[i]);
    depends(&fixture, 1, (const char *const[]){"root", hex[5], NULL}); /* 5 closes the circle */
    depends(&fixture, 2, (const char *const[]){hex[1], NULL});
    depends(&fixture, 3, (const char *const[]){hex[1], NULL});
    depends(&fixture, 4, (const char *const[]){hex[2], hex[3], NULL});
    depends(&fixture, 5, (const char *const[]){hex[4], hex[5], NULL}); /* and on itself */
    struct cascade_call call = {.fixture = &fixture, .options = {.name = deja_slice_text("root")}};
    cascade(&call);
    assert_int_equal(call.status, DEJA_OK);
    assert_int_equal(call.removed, 5);
    for (uint8_t i = 1; i < 6; i++)
        assert_false(is_there(&fixture, i));
    cascade(&call); /* nothing is left */
    assert_int_equal(call.removed, 0);
    fixture_close(&fixture);
}

static void what_is_named_itself_goes_with_its_dependants(void **state)
{
    (void)state;
    struct fixture fixture;
    char hex[2 * DJ_ID_BYTES + 1];
    fixture_open(&fixture);
    struct dj_entry root = depends(&fixture, 1, NULL);
    depends(&fixture, 2, (const char *const[]){hex_of(1, hex), NULL});
    struct dj_store_key key = key_of(&root);
    struct cascade_call call = {.fixture = &fixture, .options = {.key = &key}};
    cascade(&call);
    assert_int_equal(call.removed, 2);
    assert_int_equal(call.nodes[0].depth, 0);
    assert_false(is_there(&fixture, 1) || is_there(&fixture, 2));

    struct dj_fill fill;
    struct dj_entry tagged = entry_of(&fixture, tenant_a, 3, "");
    tagged.tags[tagged.tag_count++].name = deja_slice_text("red");
    dj_engine_begin_fill(fixture.engine, &tagged, &fill);
    assert_true(put(&fixture, &tagged));
    depends(&fixture, 4, (const char *const[]){hex_of(3, hex), NULL});
    depends(&fixture, 5, (const char *const[]){"red", NULL}); /* a name is no tag */
    const struct dj_selector selector = {.tag = deja_slice_text("red")};
    call.options = (struct dj_cascade_options){.selector = &selector};
    cascade(&call);
    assert_int_equal(call.removed, 2);
    assert_true(is_there(&fixture, 5));
    fixture_close(&fixture);
}

static void a_plain_key_is_depended_on_by_its_name(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_fill fill;
    fixture_open(&fixture);
    struct dj_entry plain = entry_of(&fixture, tenant_a, 1, "template:7");
    plain.kind = DJ_ENTRY_PLAIN;
    memset(plain.scope, 0, sizeof plain.scope);
    dj_engine_begin_fill(fixture.engine, &plain, &fill);
    struct call stored = {.fixture = &fixture, .entry = &plain};
    run_call(&stored, start_put);
    assert_true(stored.is_stored);
    depends(&fixture, 2, (const char *const[]){"template:7", NULL});
    const struct dj_selector selector = {.pattern = deja_slice_text("template:*")};
    struct cascade_call call = {.fixture = &fixture, .options = {.selector = &selector}};
    cascade(&call);
    assert_int_equal(call.removed, 2);
    assert_false(is_there(&fixture, 1) || is_there(&fixture, 2));
    fixture_close(&fixture);
}

static void a_fill_that_began_before_a_cascade_is_not_stored(void **state)
{
    (void)state;
    struct fixture fixture;
    char bytes[DJ_DEPENDS_TAG_BYTES];
    struct dj_fill fill;
    fixture_open(&fixture);
    struct dj_entry late = entry_of(&fixture, tenant_a, 1, "");
    late.tags[late.tag_count++].name = dj_depends_tag(deja_slice_text("doc:7"), bytes);
    dj_engine_begin_fill(fixture.engine, &late, &fill);
    struct cascade_call call = {.fixture = &fixture, .options = {.name = deja_slice_text("doc:7")}};
    cascade(&call);
    assert_int_equal(call.removed, 0);
    assert_false(put(&fixture, &late));
    fixture_close(&fixture);
}

static void what_is_too_deep_is_refused_and_nothing_has_changed(void **state)
{
    (void)state;
    struct fixture fixture;
    char hex[2 * DJ_ID_BYTES + 1];
    fixture_open(&fixture);
    depends(&fixture, 1, (const char *const[]){"root", NULL});
    for (uint8_t i = 2; i < 70; i++)
        depends(&fixture, i, (const char *const[]){hex_of((uint8_t)(i - 1), hex), NULL});
    struct cascade_call call = {.fixture = &fixture, .options = {.name = deja_slice_text("root")}};
    cascade(&call);
    assert_int_equal(call.status, DEJA_ERR_LIMIT);
    assert_true(call.has_trouble);
    assert_true(is_there(&fixture, 1) && is_there(&fixture, 69));
    fixture_close(&fixture);
}

static void another_tenants_dependants_stay(void **state)
{
    (void)state;
    struct fixture fixture;
    char bytes[DJ_DEPENDS_TAG_BYTES];
    struct dj_fill fill;
    fixture_open(&fixture);
    struct dj_entry other = entry_of(&fixture, tenant_b, 1, "");
    other.tags[other.tag_count++].name = dj_depends_tag(deja_slice_text("doc:7"), bytes);
    dj_engine_begin_fill(fixture.engine, &other, &fill);
    assert_true(put(&fixture, &other));
    struct cascade_call call = {.fixture = &fixture, .options = {.name = deja_slice_text("doc:7")}};
    cascade(&call);
    assert_int_equal(call.removed, 0);
    assert_true(is_found(&fixture, key_of(&other), 0));
    fixture_close(&fixture);
}

/* ---- who waits for whom ---- */

enum { QUEUE_MAX = 1000, WORKERS = 2 };

struct hold {
    struct event begun;
    struct event over;
    struct dj_job job;
};

static void hold_worker(void *ctx)
{
    struct hold *hold = ctx;
    event_set(&hold->begun);
    event_wait(&hold->over);
}

/* Every worker of the fixture has something else to do. */
static void hold_workers(struct fixture *fixture, struct hold holds[WORKERS])
{
    for (int i = 0; i < WORKERS; i++) {
        event_init(&holds[i].begun);
        event_init(&holds[i].over);
        holds[i].job = (struct dj_job){.work = hold_worker, .ctx = &holds[i]};
        assert_int_equal(dj_pool_submit(fixture->pool, &holds[i].job), DEJA_OK);
        event_wait(&holds[i].begun);
    }
}

static void release_workers(struct hold holds[WORKERS])
{
    for (int i = 0; i < WORKERS; i++)
        event_set(&holds[i].over);
}

static void begin_cascade(struct cascade_call *call)
{
    event_init(&call->ended);
    on_loop(call->fixture->loops.loop[1], start_cascade, call);
}

static bool has_ended(struct cascade_call *call)
{
    pthread_mutex_lock(&call->ended.mutex);
    bool has = call->ended.has_happened;
    pthread_mutex_unlock(&call->ended.mutex);
    return has;
}

/* Until the first piece waits for a worker: the loops need turns for that, and have them. */
static void wait_for_piece(struct cascade_call *call)
{
    while (!dj_pool_queued(call->fixture->pool))
        for (int i = 0; i < LOOPS; i++)
            drain_loop(call->fixture->loops.loop[i]);
}

/* The loop turns while the whole of the graph waits for somebody else's thread. */
static void a_loop_does_other_work_while_a_cascade_is_at_its_graph(void **state)
{
    (void)state;
    struct fixture fixture;
    struct hold holds[WORKERS];
    fixture_open(&fixture);
    for (uint8_t i = 1; i < 80; i++)
        depends(&fixture, i, (const char *const[]){"doc:7", NULL});
    struct cascade_call call = {.fixture = &fixture, .options = {.name = deja_slice_text("doc:7")}};
    hold_workers(&fixture, holds);
    begin_cascade(&call);
    wait_for_piece(&call);
    for (int turn = 0; turn < 100; turn++)
        assert_true(is_there(&fixture, 79)); /* a turn of the cascade's own loop */
    assert_int_equal(dj_pool_queued(fixture.pool), 1);
    assert_false(has_ended(&call));
    release_workers(holds);
    event_wait(&call.ended);
    assert_int_equal(call.status, DEJA_OK);
    assert_int_equal(call.removed, 79);
    assert_false(is_there(&fixture, 1) || is_there(&fixture, 79));
    fixture_close(&fixture);
}

static void a_cascade_that_is_under_way_when_the_engine_stops_changes_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    struct hold holds[WORKERS];
    fixture_open(&fixture);
    depends(&fixture, 1, (const char *const[]){"doc:7", NULL});
    struct cascade_call call = {.fixture = &fixture, .options = {.name = deja_slice_text("doc:7")}};
    hold_workers(&fixture, holds);
    begin_cascade(&call);
    wait_for_piece(&call);
    dj_engine_stop(fixture.engine);
    release_workers(holds);
    event_wait(&call.ended);
    assert_int_equal(call.status, DEJA_ERR_CANCELLED);
    assert_true(is_there(&fixture, 1));
    fixture_close(&fixture);
}

static void where_too_many_jobs_wait_a_cascade_is_refused_and_nothing_has_changed(void **state)
{
    (void)state;
    static struct dj_job jobs[QUEUE_MAX];
    struct fixture fixture;
    struct hold holds[WORKERS];
    fixture_open(&fixture);
    depends(&fixture, 1, (const char *const[]){"doc:7", NULL});
    struct cascade_call call = {.fixture = &fixture, .options = {.name = deja_slice_text("doc:7")}};
    hold_workers(&fixture, holds);
    for (int i = 0; i < QUEUE_MAX; i++) {
        jobs[i] = (struct dj_job){.work = nothing};
        assert_int_equal(dj_pool_submit(fixture.pool, &jobs[i]), DEJA_OK);
    }
    cascade(&call);
    assert_int_equal(call.status, DEJA_ERR_BUSY);
    assert_true(is_there(&fixture, 1));
    release_workers(holds);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dependants_of_dependants_go_and_a_dry_run_shows_them),
        cmocka_unit_test(a_diamond_goes_once_and_a_cycle_ends),
        cmocka_unit_test(what_is_named_itself_goes_with_its_dependants),
        cmocka_unit_test(a_plain_key_is_depended_on_by_its_name),
        cmocka_unit_test(a_fill_that_began_before_a_cascade_is_not_stored),
        cmocka_unit_test(what_is_too_deep_is_refused_and_nothing_has_changed),
        cmocka_unit_test(another_tenants_dependants_stay),
        cmocka_unit_test(a_loop_does_other_work_while_a_cascade_is_at_its_graph),
        cmocka_unit_test(a_cascade_that_is_under_way_when_the_engine_stops_changes_nothing),
        cmocka_unit_test(where_too_many_jobs_wait_a_cascade_is_refused_and_nothing_has_changed),
    };
    return RUN_TESTS(tests);
}
