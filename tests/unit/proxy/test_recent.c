/* tests/unit/proxy/test_recent.c - the ring of recent requests: order, tenants apart, laps,
 * threads.
 */
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "failing_malloc.h"
#include "proxy/recent.h"

enum { WRITERS = 4, PER_WRITER = 40000 };

static int set_up(void **state)
{
    struct dj_recent *recent = NULL;
    assert_int_equal(dj_recent_create(&recent), DEJA_OK);
    *state = recent;
    return 0;
}

static int tear_down(void **state)
{
    dj_recent_destroy(*state);
    return 0;
}

/* Every word of it follows from who and value, so that a mixed record shows. */
static void put(struct dj_recent *recent, uint8_t who, uint32_t value)
{
    uint8_t tenant[DJ_ID_BYTES];
    uint8_t id[DJ_ID_BYTES];
    memset(tenant, who, sizeof tenant);
    for (size_t i = 0; i < sizeof id; i += sizeof value)
        memcpy(id + i, &value, sizeof value);
    dj_recent_put(recent, &(struct dj_finished){
                              .tenant = tenant,
                              .api = who % 2 ? "langcache" : "chat",
                              .result = who % 2 ? DJ_RESULT_HIT_SEMANTIC : DJ_RESULT_HIT_EXACT,
                              .level = who % 2 ? "lmdb" : "memory",
                              .seconds = value / 1000.0,
                              .similarity = 0.5,
                              .entry_id = id,
                              .now_ms = value,
                          });
}

static uint32_t check(const struct dj_recent_request *request, uint8_t who)
{
    uint32_t value = (uint32_t)request->time_ms;
    assert_string_equal(request->api, who % 2 ? "langcache" : "chat");
    assert_string_equal(request->result, who % 2 ? "hit_semantic" : "hit_exact");
    assert_string_equal(request->level, who % 2 ? "lmdb" : "memory");
    assert_true(request->has_id && request->similarity == 0.5);
    assert_true(request->duration_us + 1 >= value * 1000ull &&
                request->duration_us <= value * 1000ull);
    for (size_t i = 0; i < DJ_ID_BYTES; i += sizeof value)
        assert_memory_equal(request->id + i, &value, sizeof value);
    return value;
}

static uint32_t read_all(const struct dj_recent *recent, uint8_t who, uint64_t *from,
                         uint64_t *lost, struct dj_recent_request *out, uint32_t max)
{
    uint8_t tenant[DJ_ID_BYTES];
    memset(tenant, who, sizeof tenant);
    return dj_recent_read(recent, tenant, from, lost, out, max);
}

static void what_ended_is_read_in_order_and_once(void **state)
{
    struct dj_recent_request found[8];
    uint64_t from = 0;
    uint64_t lost = 0;
    for (uint32_t i = 1; i <= 5; i++)
        put(*state, 2, i);
    assert_int_equal(read_all(*state, 2, &from, &lost, found, 3), 3);
    assert_int_equal(check(&found[0], 2), 1);
    assert_int_equal(check(&found[2], 2), 3);
    assert_int_equal(read_all(*state, 2, &from, &lost, found, 8), 2);
    assert_int_equal(check(&found[1], 2), 5);
    assert_int_equal(read_all(*state, 2, &from, &lost, found, 8), 0);
    assert_int_equal(from, dj_recent_next(*state));
    assert_int_equal(lost, 0);
}

static void a_request_that_was_no_hit_has_neither_id_nor_similarity(void **state)
{
    const uint8_t tenant[DJ_ID_BYTES] = {9};
    struct dj_recent_request found;
    uint64_t from = 0;
    uint64_t lost = 0;
    dj_recent_put(*state, &(struct dj_finished){.tenant = tenant,
                                                .api = "unheard-of",
                                                .result = DJ_RESULT_MISS,
                                                .level = "none",
                                                .similarity = NAN});
    assert_int_equal(dj_recent_read(*state, tenant, &from, &lost, &found, 1), 1);
    assert_string_equal(found.api, "other");
    assert_string_equal(found.result, "miss");
    assert_string_equal(found.level, "none");
    assert_true(isnan(found.similarity) && !found.has_id);
}

static void a_tenant_reads_nothing_of_another(void **state)
{
    struct dj_recent_request found[8];
    uint64_t lost = 0;
    uint8_t tenant[DJ_ID_BYTES];
    for (uint32_t i = 1; i <= 6; i++)
        put(*state, i % 2 ? 3 : 4, i);
    for (uint8_t who = 3; who <= 5; who++) {
        uint64_t from = 0;
        uint32_t count = read_all(*state, who, &from, &lost, found, 8);
        assert_int_equal(count, who == 5 ? 0 : 3);
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(check(&found[i], who), 2 * i + (who == 3 ? 1 : 2));
    }
    memset(tenant, 3, sizeof tenant);
    assert_int_equal(dj_recent_last(*state, tenant, 2), 2);
    assert_int_equal(dj_recent_last(*state, tenant, 100), 0);
    assert_int_equal(dj_recent_last(*state, tenant, 0), 6);
}

static void a_lap_is_told_as_lost(void **state)
{
    static struct dj_recent_request found[DJ_RECENT_SLOTS];
    uint64_t from = 0;
    uint64_t lost = 0;
    for (uint32_t i = 0; i < DJ_RECENT_SLOTS + 100; i++)
        put(*state, 2, i);
    assert_int_equal(read_all(*state, 2, &from, &lost, found, DJ_RECENT_SLOTS), DJ_RECENT_SLOTS);
    assert_int_equal(lost, 100);
    assert_int_equal(check(&found[0], 2), 100);
    assert_int_equal(check(&found[DJ_RECENT_SLOTS - 1], 2), DJ_RECENT_SLOTS + 99);
}

struct writer {
    struct dj_recent *recent;
    _Atomic uint32_t *left;
    uint8_t who;
};

static void *write_many(void *ctx)
{
    struct writer *writer = ctx;
    for (uint32_t i = 1; i <= PER_WRITER; i++)
        put(writer->recent, writer->who, i);
    atomic_fetch_sub(writer->left, 1);
    return NULL;
}

/* Four writers that lap the ring, while this thread reads: no record is a mix of two, each tenant's
 * come in their order, and what was not read was told as lost. */
static void no_reader_meets_a_torn_record(void **state)
{
    static struct dj_recent_request found[64];
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    _Atomic uint32_t left = WRITERS;
    uint32_t newest[WRITERS] = {0};
    uint64_t from[WRITERS] = {0};
    uint64_t lost[WRITERS] = {0};
    uint64_t read[WRITERS] = {0};
    for (uint8_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.recent = *state, .left = &left, .who = (uint8_t)(i + 1)};
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writers[i]), 0);
    }
    for (bool is_last = false; !is_last;) {
        is_last = atomic_load(&left) == 0;
        for (uint8_t who = 0; who < WRITERS; who++) {
            uint32_t count = 0;
            do {
                count = read_all(*state, (uint8_t)(who + 1), &from[who], &lost[who], found, 64);
                for (uint32_t i = 0; i < count; i++) {
                    uint32_t value = check(&found[i], (uint8_t)(who + 1));
                    assert_true(value > newest[who]);
                    newest[who] = value;
                }
                read[who] += count;
            } while (count);
        }
    }
    for (size_t i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(from[i], (uint64_t)WRITERS * PER_WRITER);
        assert_true(read[i] + lost[i] >= PER_WRITER);
    }
    assert_int_equal(dj_recent_next(*state), (uint64_t)WRITERS * PER_WRITER);
}

static void the_ring_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_recent *recent = NULL;
    failing_malloc_arm(1);
    assert_int_equal(dj_recent_create(&recent), DEJA_ERR_NOMEM);
    assert_true(failing_malloc_disarm());
    assert_null(recent);
}

static void putting_allocates_nothing(void **state)
{
    failing_malloc_arm(1);
    put(*state, 1, 1);
    assert_false(failing_malloc_disarm());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_ended_is_read_in_order_and_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_request_that_was_no_hit_has_neither_id_nor_similarity,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_tenant_reads_nothing_of_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lap_is_told_as_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_reader_meets_a_torn_record, set_up, tear_down),
        cmocka_unit_test(the_ring_survives_each_failed_allocation),
        cmocka_unit_test_setup_teardown(putting_allocates_nothing, set_up, tear_down),
    };
    return RUN_TESTS(tests);
}
