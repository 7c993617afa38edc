/* Both tiers list a tenant's entries, remove by version; the embedded one keeps access statistics.
 */
#include "lmdb_fixture.h"
#include "store/memory.h"

enum { ENTRIES = 300 };

/* Lists all of tenant 1 and calls back between the pieces. */
static uint32_t list_all(struct dj_store *store, struct dj_loop *loop, uint8_t seen[ENTRIES],
                         void (*between)(void *ctx, uint32_t piece), void *ctx)
{
    struct dj_store_page page = {0};
    uint32_t count = 0;
    for (uint32_t piece = 0; !page.is_last; piece++) {
        struct call call = {
            .store = store, .loop = loop, .kind = CALL_LIST, .key = key_of(1, 0), .page = &page};
        call_wait(&call);
        assert_int_equal(call.status, DEJA_OK);
        assert_int_equal(call.removed, page.count);
        assert_true(page.count <= DJ_STORE_PAGE_MAX);
        for (uint32_t i = 0; i < page.count; i++) {
            const struct dj_entry *entry = dj_value_entry(page.values[i]);
            uint32_t id = 0;
            memcpy(&id, entry->id, sizeof id);
            assert_true(id < ENTRIES);
            assert_memory_equal(entry->tenant, key_of(1, 0).tenant, DJ_ID_BYTES);
            seen[id]++;
            count++;
            dj_value_unref(page.values[i]);
        }
        if (between)
            between(ctx, piece);
    }
    return count;
}

static void expect_each_once(struct dj_store *store, struct dj_loop *loop)
{
    uint8_t seen[ENTRIES] = {0};
    for (uint32_t id = 0; id < ENTRIES; id++) {
        assert_int_equal(wait_put(store, loop, value_of(1, id, 1, "body")), DEJA_OK);
        assert_int_equal(wait_put(store, loop, value_of(2, id, 1, "body")), DEJA_OK);
    }
    assert_int_equal(list_all(store, loop, seen, NULL, NULL), ENTRIES);
    for (uint32_t id = 0; id < ENTRIES; id++)
        assert_int_equal(seen[id], 1);
}

struct remover {
    struct dj_store *store;
    struct dj_loop *loop;
    uint8_t *seen;
};

/* Removes what was seen, and one that was not yet. */
static void on_piece(void *ctx, uint32_t piece)
{
    struct remover *remover = ctx;
    (void)piece;
    for (uint32_t id = 0; id < ENTRIES; id++)
        if (remover->seen[id])
            wait_remove(remover->store, remover->loop, key_of(1, id));
}

static void expect_each_once_while_they_go(struct dj_store *store, struct dj_loop *loop)
{
    uint8_t seen[ENTRIES] = {0};
    struct remover remover = {.store = store, .loop = loop, .seen = seen};
    assert_int_equal(list_all(store, loop, seen, on_piece, &remover), ENTRIES);
    memset(seen, 0, sizeof seen);
    assert_int_equal(list_all(store, loop, seen, NULL, NULL), 0);
}

static uint64_t remove_up_to(struct dj_store *store, struct dj_loop *loop, uint64_t version)
{
    struct call call = {.store = store,
                        .loop = loop,
                        .kind = CALL_REMOVE,
                        .key = key_of(3, 1),
                        .version_max = version};
    call_wait(&call);
    assert_int_equal(call.status, DEJA_OK);
    return call.removed;
}

static void expect_newer_version_stays(struct dj_store *store, struct dj_loop *loop)
{
    assert_int_equal(wait_put(store, loop, value_of(3, 1, 5, "five")), DEJA_OK);
    assert_int_equal(remove_up_to(store, loop, 4), 0);
    assert_int_equal(remove_up_to(store, loop, 5), 1);
    assert_int_equal(remove_up_to(store, loop, 5), 0);
}

static void memory_lists_each_entry_once(void **state)
{
    (void)state;
    struct loops loops;
    struct dj_store *store = NULL;
    loops_create(&loops, 3);
    const struct dj_memory_options options = {
        .bytes_max = 100 << 20, .entries_max = 1000, .tenant_entries_max = 1000, .loop_count = 3};
    assert_int_equal(dj_memory_open(&options, loops.loop, &store), DEJA_OK);
    loops_start(&loops);
    expect_each_once(store, loops.loop[1]);
    expect_each_once_while_they_go(store, loops.loop[1]);
    expect_newer_version_stays(store, loops.loop[2]);
    loops_stop(&loops);
    store->ops->close(store);
    loops_destroy(&loops);
}

static void lmdb_lists_each_entry_once(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    expect_each_once(fixture.store, loop_of(&fixture));
    reopen(&fixture);
    uint8_t seen[ENTRIES] = {0};
    assert_int_equal(list_all(fixture.store, loop_of(&fixture), seen, NULL, NULL), ENTRIES);
    expect_each_once_while_they_go(fixture.store, loop_of(&fixture));
    expect_newer_version_stays(fixture.store, loop_of(&fixture));
    destroy(&fixture);
}

static void big_entries_make_short_pieces(void **state)
{
    (void)state;
    enum { BIG = 3 << 20, COUNT = 9 };
    struct fixture fixture;
    uint8_t seen[ENTRIES] = {0};
    char *body = malloc(BIG);
    create(&fixture, (struct dj_lmdb_options){0});
    for (uint32_t id = 0; id < COUNT; id++) {
        fill(body, BIG, id + 1);
        put(&fixture, value_of(1, id, 1, body));
    }
    assert_int_equal(list_all(fixture.store, loop_of(&fixture), seen, NULL, NULL), COUNT);
    destroy(&fixture);
    free(body);
}

static void list_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    put(&fixture, value_of(1, 1, 1, "body"));
    for (size_t n = 1;; n++) {
        struct dj_store_page page = {0};
        struct call call = {.store = fixture.store, .loop = loop_of(&fixture), .page = &page};
        struct dj_store_key key = key_of(1, 0);
        pthread_mutex_init(&call.mutex, NULL);
        pthread_cond_init(&call.cond, NULL);
        failing_malloc_arm(n); /* of this thread: the call itself */
        enum deja_status status = fixture.store->ops->list(fixture.store, call.loop, key.tenant,
                                                           &page, &call, on_call_done);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (has_failed)
            continue;
        pthread_mutex_lock(&call.mutex);
        while (!call.is_done)
            pthread_cond_wait(&call.cond, &call.mutex);
        pthread_mutex_unlock(&call.mutex);
        assert_int_equal(page.count, 1);
        dj_value_unref(page.values[0]);
        break;
    }
    destroy(&fixture);
}

/* ---- access statistics ---- */

struct rows {
    struct dj_store_access list[8];
    uint32_t count;
};

static bool on_row(void *ctx, const struct dj_store_access *row)
{
    struct rows *rows = ctx;
    rows->list[rows->count++] = *row;
    return rows->count < 8;
}

static struct rows access_of(struct fixture *fixture)
{
    struct rows rows = {.count = 0};
    assert_int_equal(fixture->store->ops->scan_access(fixture->store, &rows, on_row), DEJA_OK);
    return rows;
}

/* Queued before a write that is waited for. */
static void keep(struct fixture *fixture, const struct dj_store_access *rows, size_t count)
{
    assert_int_equal(fixture->store->ops->keep_access(fixture->store, rows, count), DEJA_OK);
    put(fixture, value_of(9, 9, 1, "body"));
}

static void access_rows_live_as_long_as_their_entry(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    put(&fixture, value_of(1, 1, 1, "body"));
    put(&fixture, value_of(1, 2, 1, "body"));
    const struct dj_store_access kept[] = {
        {.key = key_of(1, 1), .hits = 7, .last_ms = 123},
        {.key = key_of(1, 2), .hits = 8, .last_ms = 124},
        {.key = key_of(1, 3), .hits = 9, .last_ms = 125}, /* no such entry */
        {.key = key_of(1, 0), .hits = 15, .last_ms = 126, .verdicts = 3, .verdicts_wrong = 1},
    };
    keep(&fixture, kept, 4);
    reopen(&fixture);
    struct rows rows = access_of(&fixture);
    assert_int_equal(rows.count, 3); /* in the order of their keys: the tenant's first */
    assert_int_equal(rows.list[0].verdicts, 3);
    assert_int_equal(rows.list[0].verdicts_wrong, 1);
    assert_int_equal(rows.list[1].hits, 7);
    assert_int_equal(rows.list[1].last_ms, 123);
    put(&fixture, value_of(1, 1, 2, "newer")); /* the same question, its counts stay */
    assert_int_equal(access_of(&fixture).count, 3);
    wait_remove(fixture.store, loop_of(&fixture), key_of(1, 1));
    rows = access_of(&fixture);
    assert_int_equal(rows.count, 2);
    assert_int_equal(rows.list[1].hits, 8);
    wait_clear(fixture.store, loop_of(&fixture), key_of(1, 0));
    assert_int_equal(access_of(&fixture).count, 1);
    destroy(&fixture);
}

static void access_put_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    const struct dj_store_access row = {.key = key_of(1, 0), .hits = 1};
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = fixture.store->ops->keep_access(fixture.store, &row, 1);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed)
            break;
    }
    destroy(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_lists_each_entry_once),
        cmocka_unit_test(lmdb_lists_each_entry_once),
        cmocka_unit_test(big_entries_make_short_pieces),
        cmocka_unit_test(list_survives_each_failed_allocation),
        cmocka_unit_test(access_rows_live_as_long_as_their_entry),
        cmocka_unit_test(access_put_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
