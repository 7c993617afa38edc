/* Batches of embeddings, access statistics and feedback through the engine. */
#include "check.h"

#include <math.h>

#include "disk_fixture.h"

struct embedding {
    struct call call;
    struct deja_slice texts[DJ_EMBED_BATCH_MAX];
    size_t count;
    double first; /* a sum that tells vectors apart */
    double last;
};

static double mark_of(const float *vector, uint32_t dim)
{
    double mark = 0;
    for (uint32_t i = 0; i < dim; i++)
        mark += (double)vector[i] * (i + 1);
    return mark;
}

static void on_embedded(void *ctx, enum deja_status status, const float *vectors, uint32_t dim,
                        uint32_t embed_us)
{
    struct embedding *embedding = ctx;
    (void)embed_us;
    embedding->call.status = status;
    embedding->first = mark_of(vectors, dim);
    embedding->last = mark_of(vectors + (embedding->count - 1) * dim, dim);
    event_set(&embedding->call.ended);
}

static void start_embed(void *ctx)
{
    struct embedding *embedding = ctx;
    assert_int_equal(dj_engine_embed(embedding->call.fixture->engine, caller(&embedding->call),
                                     tenant_a, embedding->texts, embedding->count, embedding,
                                     on_embedded),
                     DEJA_OK);
}

static void embed(struct embedding *embedding)
{
    event_init(&embedding->call.ended);
    on_loop(caller(&embedding->call), start_embed, embedding);
    event_wait(&embedding->call.ended);
    assert_int_equal(embedding->call.status, DEJA_OK);
}

static void batch_gives_each_text_its_vector_in_order(void **state)
{
    (void)state;
    static char texts[DJ_EMBED_BATCH_MAX][64];
    struct fixture fixture;
    fixture_open(&fixture);
    struct embedding all = {.call = {.fixture = &fixture}, .count = DJ_EMBED_BATCH_MAX};
    for (size_t i = 0; i < all.count; i++) {
        snprintf(texts[i], sizeof texts[i], "text number %zu", i);
        all.texts[i] = deja_slice_text(texts[i]);
    }
    embed(&all);
    struct embedding one = {.call = {.fixture = &fixture}, .count = 1, .texts = {all.texts[99]}};
    embed(&one);
    assert_true(fabs(one.first - all.last) < 1e-4);
    assert_true(fabs(one.first - all.first) > 1e-4);
    struct embedding none = {.call = {.fixture = &fixture}};
    assert_int_equal(dj_engine_embed(fixture.engine, caller(&none.call), tenant_a, none.texts, 0,
                                     &none, on_embedded),
                     DEJA_ERR_INVALID);
    fixture_close(&fixture);
}

static void embed_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct embedding one = {
        .call = {.fixture = &fixture}, .count = 1, .texts = {deja_slice_text("some text")}};
    event_init(&one.call.ended);
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = dj_engine_embed(fixture.engine, caller(&one.call), tenant_a,
                                                  one.texts, 1, &one, on_embedded);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed)
            break;
    }
    event_wait(&one.call.ended);
    drain_loop(caller(&one.call));
    assert_int_equal(dj_engine_pending(fixture.engine), 0);
    fixture_close(&fixture);
}

struct topping {
    struct call call;
    uint32_t count;
    struct dj_top_entry entries[DJ_TOP_MAX];
};

static void on_top(void *ctx, enum deja_status status, const struct dj_top_entry *entries,
                   uint32_t count)
{
    struct topping *topping = ctx;
    topping->call.status = status;
    topping->count = count;
    memcpy(topping->entries, entries, count * sizeof *entries);
    event_set(&topping->call.ended);
}

/* The calls' own allocations; those of other threads are not made to fail. */
static void calls_survive_each_failed_allocation(void **state)
{
    (void)state;
    static const float floats[3] = {1, 2, 3};
    const struct dj_query_vector vector = {.floats = floats, .dim = 3};
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_entry entry = numbered(&fixture, 1, "text");
    struct dj_fingerprint asked = question(tenant_a, 2, REWORDED);
    struct dj_store_key key = key_of(&entry);
    for (int kind = 0; kind < 4; kind++) {
        struct topping top = {.call = {.fixture = &fixture}};
        struct call *call = &top.call;
        call->options.is_semantic = true;
        event_init(&call->ended);
        for (size_t n = 1;; n++) {
            enum deja_status status = DEJA_OK;
            failing_malloc_arm(n);
            if (kind == 0)
                status = dj_engine_put(
                    fixture.engine, caller(call), &entry,
                    &(struct dj_put_options){.is_semantic = true, .vector = &vector}, call, on_put);
            else if (kind == 1)
                status = dj_engine_lookup(fixture.engine, caller(call), &asked, &call->options,
                                          &vector, call, on_lookup);
            else if (kind == 2)
                status = dj_engine_top(fixture.engine, caller(call), tenant_a, 3, &top, on_top);
            else
                status =
                    dj_engine_feedback(fixture.engine, caller(call), &key, false, call, on_removed);
            bool has_failed = failing_malloc_disarm();
            if (status == DEJA_OK)
                break;
            assert_true(has_failed);
            assert_int_equal(status, DEJA_ERR_NOMEM);
        }
        event_wait(&call->ended);
        dj_value_unref(call->value);
    }
    drain_loop(fixture.loops.loop[1]);
    assert_int_equal(dj_engine_pending(fixture.engine), 0);
    fixture_close(&fixture);
}

struct hits {
    struct fixture *fixture;
    struct dj_entry *entry;
    uint32_t count;
};

static void note_hits(void *ctx)
{
    struct hits *hits = ctx;
    for (uint32_t i = 0; i < hits->count; i++)
        dj_engine_note_hit(hits->fixture->engine, hits->fixture->loops.loop[1], hits->entry,
                           "memory");
}

static void hit(struct fixture *fixture, struct dj_entry *entry, uint32_t count)
{
    struct hits hits = {.fixture = fixture, .entry = entry, .count = count};
    on_loop(fixture->loops.loop[1], note_hits, &hits);
}

static uint64_t hits_of(struct fixture *fixture, const struct dj_entry *entry)
{
    struct dj_store_key key = key_of(entry);
    struct dj_access_stats stats;
    dj_engine_access(fixture->engine, &key, &stats);
    assert_int_equal(stats.hits > 0, stats.last_access_ms > 0);
    return stats.hits;
}

static void start_top(void *ctx)
{
    struct topping *topping = ctx;
    assert_int_equal(dj_engine_top(topping->call.fixture->engine, caller(&topping->call), tenant_a,
                                   3, topping, on_top),
                     DEJA_OK);
}

static void hits_are_counted_and_kept_through_a_restart(void **state)
{
    (void)state;
    struct disk disk;
    disk_open(&disk);
    struct dj_entry entries[5];
    for (uint32_t i = 0; i < 5; i++) {
        entries[i] = numbered(&disk.fixture, i, "");
        assert_true(put(&disk.fixture, &entries[i]));
        hit(&disk.fixture, &entries[i], 10 * i);
    }
    for (int round = 0; round < 2; round++) {
        struct topping top = {.call = {.fixture = &disk.fixture}};
        event_init(&top.call.ended);
        on_loop(caller(&top.call), start_top, &top);
        event_wait(&top.call.ended);
        assert_int_equal(top.count, 3);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(top.entries[i].hits, 10 * (4 - i));
            assert_int_equal(top.entries[i].id[0], 4 - i);
        }
        assert_int_equal(hits_of(&disk.fixture, &entries[0]), 0);
        assert_int_equal(hits_of(&disk.fixture, &entries[4]), 40);
        struct dj_engine_stats stats;
        dj_engine_stats(disk.fixture.engine, tenant_a, &stats);
        assert_int_equal(stats.hits, 100);
        dj_engine_stats(disk.fixture.engine, tenant_b, &stats);
        assert_int_equal(stats.hits, 0);
        disk_restart(&disk);
    }
    change(&disk.fixture, &entries[4], NULL, start_remove);
    assert_int_equal(hits_of(&disk.fixture, &entries[4]), 0);
    disk_restart(&disk);
    assert_int_equal(hits_of(&disk.fixture, &entries[4]), 0);
    assert_int_equal(hits_of(&disk.fixture, &entries[3]), 30);
    disk_close(&disk);
}

static void start_wrong(void *ctx)
{
    struct call *call = ctx;
    assert_int_equal(
        dj_engine_feedback(call->fixture->engine, caller(call), &call->key, true, call, on_removed),
        DEJA_OK);
}

static void start_right(void *ctx)
{
    struct call *call = ctx;
    assert_int_equal(dj_engine_feedback(call->fixture->engine, caller(call), &call->key, false,
                                        call, on_removed),
                     DEJA_OK);
}

static void wrong_answer_is_withdrawn_at_once(void **state)
{
    (void)state;
    struct disk disk;
    disk_open(&disk);
    struct dj_entry entry = entry_of(&disk.fixture, tenant_a, 1, STORED);
    struct dj_entry running = entry;
    assert_true(put(&disk.fixture, &entry));
    change(&disk.fixture, &entry, NULL, start_right);
    assert_true(is_there(&disk.fixture, key_of(&entry)));
    assert_int_equal(change(&disk.fixture, &entry, NULL, start_wrong), 1);
    assert_false(is_there(&disk.fixture, key_of(&entry)));
    struct dj_fingerprint asked = question(tenant_a, 2, REWORDED);
    expect_lookup(&disk.fixture, &asked, DJ_HIT_NONE, NULL);
    running.version++;
    assert_false(put(&disk.fixture, &running));
    disk_restart(&disk);
    assert_false(is_there(&disk.fixture, key_of(&entry)));
    struct dj_engine_stats stats;
    dj_engine_stats(disk.fixture.engine, tenant_a, &stats);
    assert_int_equal(stats.verdicts, 2);
    assert_int_equal(stats.verdicts_wrong, 1);
    disk_close(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_gives_each_text_its_vector_in_order),
        cmocka_unit_test(embed_survives_each_failed_allocation),
        cmocka_unit_test(calls_survive_each_failed_allocation),
        cmocka_unit_test(hits_are_counted_and_kept_through_a_restart),
        cmocka_unit_test(wrong_answer_is_withdrawn_at_once),
    };
    return RUN_TESTS(tests);
}
