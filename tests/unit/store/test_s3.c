/* What needs no server: options, places, calls that fail before they begin. The rest is proven
 * against a real one, tests/integration/test_store_s3.py. */
#include "store/s3.h"

#include "check.h"
#include "entries.h"
#include "loops.h"

struct fixture {
    struct dj_loop *loop;
    struct dj_pool *pool;
    struct dj_s3_options options;
};

static void fixture_open(struct fixture *fixture)
{
    assert_int_equal(dj_loop_create(0, &fixture->loop), DEJA_OK);
    assert_int_equal(dj_pool_create("test", 1, 16, &fixture->pool), DEJA_OK);
    fixture->options = dj_s3_options_default;
    fixture->options.bucket = "shelf";
    fixture->options.endpoint = "http://127.0.0.1:9"; /* nobody listens there */
    fixture->options.identity = (struct dj_s3_identity){{"key", 3}, {"secret", 6}, {"token", 5}};
    fixture->options.pool = fixture->pool;
}

static void fixture_close(struct fixture *fixture)
{
    dj_loop_destroy(fixture->loop);
    dj_pool_destroy(fixture->pool);
}

struct leaving {
    struct dj_store *store;
    struct dj_loop *loop;
};

static void leave(void *ctx)
{
    struct leaving *leaving = ctx;
    leaving->store->ops->leave(leaving->store, leaving->loop);
}

/* Each call of the table on a loop that is current because it does not run; what is begun is ended
 * by leave. */
struct count {
    unsigned calls;
    enum deja_status status;
};

static void count_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct count *count = ctx;
    count->calls++;
    count->status = status;
    dj_value_unref(value);
}

static void count_done(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)removed;
    count_got(ctx, status, NULL);
}

static enum deja_status begin(struct dj_store *store, struct dj_loop *loop, unsigned which,
                              struct dj_value *value, struct dj_store_page *page,
                              struct count *count)
{
    const struct dj_store_key key = key_of(1, 1);
    switch (which) {
    case 0:
        return store->ops->get(store, loop, &key, count, count_got);
    case 1:
        return store->ops->probe(store, loop, count, count_got);
    case 2:
        return store->ops->put(store, loop, value, NULL, 0, count, count_done);
    case 3:
        return store->ops->remove(store, loop, &key, 7, count, count_done);
    case 4:
        return store->ops->list(store, loop, key.tenant, page, count, count_done);
    default:
        return store->ops->clear(store, loop, key.tenant, count, count_done);
    }
}

static void each_call_ends_once_when_its_loop_leaves(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 6; which++) {
        struct fixture fixture;
        struct dj_store *store = NULL;
        struct dj_store_page page = {.count = 0};
        struct count count = {.calls = 0};
        struct dj_value *value = value_of(1, 1, 1, "body");
        fixture_open(&fixture);
        assert_int_equal(dj_s3_open(&fixture.options, &store, NULL), DEJA_OK);
        assert_int_equal(begin(store, fixture.loop, which, value, &page, &count), DEJA_OK);
        assert_int_equal(count.calls, 0);
        store->ops->leave(store, fixture.loop);
        assert_int_equal(count.calls, 1);
        assert_int_equal(count.status, DEJA_ERR_CANCELLED);
        enum deja_status status = begin(store, fixture.loop, which, value, &page, &count);
        store->ops->close(store);
        fixture_close(&fixture); /* what was posted is told here */
        assert_true(status == DEJA_ERR_CANCELLED ||
                    (status == DEJA_OK && count.status == DEJA_ERR_CANCELLED));
        assert_int_equal(count.calls, status == DEJA_OK ? 2 : 1);
        dj_value_unref(value);
    }
}

static void close_ends_what_no_loop_has_left(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 6; which++) {
        struct fixture fixture;
        struct dj_store *store = NULL;
        struct dj_store_page page = {.count = 0};
        struct count count = {.calls = 0};
        struct dj_value *value = value_of(1, 1, 1, "body");
        fixture_open(&fixture);
        assert_int_equal(dj_s3_open(&fixture.options, &store, NULL), DEJA_OK);
        assert_int_equal(begin(store, fixture.loop, which, value, &page, &count), DEJA_OK);
        store->ops->close(store);
        fixture_close(&fixture);
        assert_int_equal(count.calls, 1);
        assert_int_equal(count.status, DEJA_ERR_CANCELLED);
        dj_value_unref(value);
    }
}

static void calls_survive_each_failed_allocation(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 6; which++)
        for (size_t n = 1;; n++) {
            struct fixture fixture;
            struct dj_store *store = NULL;
            struct dj_store_page page = {.count = 0};
            struct count count = {.calls = 0};
            struct dj_value *value = value_of(1, 1, 1, "body");
            fixture_open(&fixture);
            assert_int_equal(dj_s3_open(&fixture.options, &store, NULL), DEJA_OK);
            failing_malloc_arm(n);
            enum deja_status status = begin(store, fixture.loop, which, value, &page, &count);
            bool has_failed = failing_malloc_disarm();
            store->ops->leave(store, fixture.loop);
            store->ops->close(store);
            fixture_close(&fixture);
            assert_int_equal(count.calls, status == DEJA_OK ? 1 : 0);
            assert_true(status == DEJA_OK || (status == DEJA_ERR_NOMEM && has_failed));
            dj_value_unref(value);
            if (!has_failed)
                break;
        }
}

static void options_that_cannot_be_used_are_refused_with_words(void **state)
{
    (void)state;
    const struct {
        const char *bucket, *endpoint, *region, *prefix, *encryption, *key_id, *storage, *words;
    } rows[] = {
        {NULL, NULL, NULL, NULL, NULL, NULL, NULL, "l3.s3.bucket"},
        {"ab", NULL, NULL, NULL, NULL, NULL, NULL, "l3.s3.bucket"},
        {"Abc", NULL, NULL, NULL, NULL, NULL, NULL, "l3.s3.bucket"},
        {"a..b", NULL, NULL, NULL, NULL, NULL, NULL, "l3.s3.bucket"},
        {"-abc", NULL, NULL, NULL, NULL, NULL, NULL, "l3.s3.bucket"},
        {"a/c", NULL, NULL, NULL, NULL, NULL, NULL, "l3.s3.bucket"},
        {"abc", "127.0.0.1:9000", NULL, NULL, NULL, NULL, NULL, "l3.s3.endpoint"},
        {"abc", "http://u:p@h", NULL, NULL, NULL, NULL, NULL, "l3.s3.endpoint"},
        {"abc", "http://h/path", NULL, NULL, NULL, NULL, NULL, "l3.s3.bucket"},
        {"abc", "http://h?x", NULL, NULL, NULL, NULL, NULL, "host alone"},
        {"abc", NULL, "us east", NULL, NULL, NULL, NULL, "l3.s3.region"},
        {"abc", NULL, NULL, "/cache", NULL, NULL, NULL, "l3.s3.prefix"},
        {"abc", NULL, NULL, "a//b", NULL, NULL, NULL, "l3.s3.prefix"},
        {"abc", NULL, NULL, "a/../b", NULL, NULL, NULL, "l3.s3.prefix"},
        {"abc", NULL, NULL, "a b", NULL, NULL, NULL, "l3.s3.prefix"},
        {"abc", NULL, NULL, NULL, "AES128", NULL, NULL, "l3.s3.encryption"},
        {"abc", NULL, NULL, NULL, "AES256", "id", NULL, "l3.s3.kms_key_id"},
        {"abc", NULL, NULL, NULL, "aws:kms", "a b", NULL, "l3.s3.kms_key_id"},
        {"abc", NULL, NULL, NULL, NULL, NULL, "a b", "l3.s3.storage_class"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_s3_options options = dj_s3_options_default;
        struct deja_error error = {""};
        options.bucket = rows[i].bucket;
        options.endpoint = rows[i].endpoint;
        options.region = rows[i].region;
        options.prefix = rows[i].prefix;
        options.encryption = rows[i].encryption;
        options.encryption_key_id = rows[i].key_id;
        options.storage_class = rows[i].storage;
        if (dj_s3_check(&options, &error) != DEJA_ERR_CONFIG)
            print_message("row %zu\n", i);
        assert_int_equal(dj_s3_check(&options, NULL), DEJA_ERR_CONFIG);
        assert_non_null(strstr(error.message, rows[i].words));
    }
}

static void options_of_all_kinds_are_accepted(void **state)
{
    (void)state;
    struct dj_s3_options options = dj_s3_options_default;
    options.bucket = "my.bucket-1";
    assert_int_equal(dj_s3_check(&options, NULL), DEJA_OK);
    options.endpoint = "https://s3.example.com/";
    options.prefix = "team_a/cache-1.0/";
    options.region = "eu-central-1";
    options.encryption = "aws:kms";
    options.encryption_key_id = "arn:aws:kms:eu-central-1:1234:key/abcd-ef";
    options.storage_class = "STANDARD_IA";
    assert_int_equal(dj_s3_check(&options, NULL), DEJA_OK);
}

static void nobody_there_is_an_error_and_its_words_are_kept(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_store *store = NULL;
    struct deja_error fault = {""};
    fixture_open(&fixture);
    assert_int_equal(dj_s3_open(&fixture.options, &store, NULL), DEJA_OK);
    struct loops loops = {.loop = {fixture.loop}, .count = 1};
    loops_start(&loops);
    struct call get = {.store = store, .loop = fixture.loop, .kind = CALL_GET, .key = key_of(1, 1)};
    call_wait(&get);
    assert_int_equal(get.status, DEJA_ERR_IO);
    assert_null(get.value);
    dj_s3_fault(store, &fault);
    assert_non_null(strstr(fault.message, "http://127.0.0.1:9"));
    assert_int_equal(wait_put(store, fixture.loop, value_of(1, 1, 1, "body")), DEJA_ERR_IO);
    /* Packed on the pool; under ThreadSanitizer this is the test of who has the op when. */
    static char large[200 * 1024];
    memset(large, 'x', sizeof large - 1);
    for (uint64_t version = 1; version <= 8; version++)
        assert_int_equal(wait_put(store, fixture.loop, value_of(1, 2, version, large)),
                         DEJA_ERR_IO);
    struct dj_store_stats stats;
    store->ops->stats(store, NULL, &stats);
    assert_int_equal(stats.dropped, 9);
    assert_int_equal(stats.queued, 0);
    struct leaving leaving = {store, fixture.loop};
    struct dj_task task = {.run = leave, .ctx = &leaving};
    dj_loop_post(fixture.loop, &task);
    loops_stop(&loops);
    store->ops->close(store);
    fixture_close(&fixture);
}

static void open_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    fixture.options.encryption = "aws:kms";
    fixture.options.encryption_key_id = "id";
    fixture.options.storage_class = "GLACIER_IR";
    fixture.options.ca_file = "/etc/ssl/cert.pem";
    for (size_t n = 1;; n++) {
        struct dj_store *store = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_s3_open(&fixture.options, &store, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (store)
            store->ops->close(store);
        if (!has_failed)
            break;
    }
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_that_cannot_be_used_are_refused_with_words),
        cmocka_unit_test(options_of_all_kinds_are_accepted),
        cmocka_unit_test(nobody_there_is_an_error_and_its_words_are_kept),
        cmocka_unit_test(each_call_ends_once_when_its_loop_leaves),
        cmocka_unit_test(close_ends_what_no_loop_has_left),
        cmocka_unit_test(calls_survive_each_failed_allocation),
        cmocka_unit_test(open_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
